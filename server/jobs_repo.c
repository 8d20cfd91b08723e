#include "server/jobs_repo.h"

#include <limits.h>

#include "core/auth/label.h"
#include "core/base/config.h"
#include "core/git/parse.h"
#include "server/api/api.h"
#include "server/jobs_internal.h"
#include "server/reaper.h"

struct adding {
	const struct wr_repo_job *ids;
	const char *account_id, *kind;
	const struct wr_repo_new *new; /* NULL: the repository is there */
	json_t *args;
};

static enum wr_code add_in(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct adding *a = arg;
	enum wr_code code = WR_OK;

	if (a->new)
		code = wr_repo_begin(tx, a->ids->repo_id, a->account_id, a->new, a->ids->job_id, err);
	if (code != WR_OK)
		return code;
	return wr_job_add(tx, a->ids->job_id, a->account_id, a->ids->repo_id, a->kind, a->args, err);
}

/* Takes args over, where NULL is what Jansson says without memory. repo_id NULL: of a repository that is made. */
static enum wr_code add(struct wr_repo_job *out, const struct wr_app *app, struct adding *a, const char *repo_id,
			json_t *args, struct wr_error *err)
{
	WR_AUTO(json_t) *owned = args;
	struct wr_repo_job ids;
	enum wr_code code;

	if (!owned)
		return wr_fail_nomem(err);
	wr_uuid_new(ids.job_id);
	if (repo_id)
		memcpy(ids.repo_id, repo_id, sizeof ids.repo_id);
	else
		wr_uuid_new(ids.repo_id);
	a->ids = &ids;
	a->args = owned;
	code = wr_db_write(app->db, WR_DB_FULL, add_in, a, err);
	if (code != WR_OK)
		return code;
	wr_jobs_poke(app->jobs);
	*out = ids;
	return WR_OK;
}

static enum wr_code check_name(struct wr_str name, struct wr_error *err)
{
	if (name.ptr && !wr_label_ok(name, WR_REPO_NAME_MAX, WR_REPO_NAME_MAX))
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "A repository's name has 1 to %d bytes, none of them control characters",
			       WR_REPO_NAME_MAX);
	return WR_OK;
}

static enum wr_code check_path(struct wr_str path, struct wr_error *err)
{
	if (path.len == 0 || path.ptr[0] != '/' || path.len >= PATH_MAX || memchr(path.ptr, '\0', path.len))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The path has to be an absolute one of less than %d bytes",
			       PATH_MAX);
	return WR_OK;
}

enum wr_code wr_repo_job_fork(struct wr_repo_job *out, const struct wr_app *app, const struct wr_repo *source,
			      struct wr_str name, struct wr_str branch, struct wr_error *err)
{
	const struct wr_repo_new new = {name, source->public_, branch.ptr ? branch : wr_str(source->default_branch)};
	struct adding a = {.account_id = source->account_id, .kind = "repo.fork", .new = &new};
	json_t *args;
	enum wr_code code = check_name(name, err);

	if (code == WR_OK && branch.ptr && (branch.len > WR_BRANCH_NAME_MAX || !wr_branchname_ok(branch)))
		code = wr_fail(err, WR_E_INVALID_REQUEST, "This is no legal branch name; give it without refs/heads/");
	if (code != WR_OK)
		return code;
	if (branch.ptr)
		args = json_pack("{s:s, s:s%}", "source", source->id, "branch", branch.ptr, branch.len);
	else
		args = json_pack("{s:s}", "source", source->id);
	/* What Jansson takes is UTF-8. */
	if (!args && branch.ptr && !wr_str_utf8(branch))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The name of the branch is not UTF-8");
	return add(out, app, &a, NULL, args, err);
}

enum wr_code wr_repo_job_maintain(struct wr_repo_job *out, const struct wr_app *app, const struct wr_repo *repo,
				  bool redelta, struct wr_error *err)
{
	struct adding a = {.account_id = repo->account_id, .kind = "repo.maintain"};

	return add(out, app, &a, repo->id, json_pack("{s:b}", "redelta", redelta), err);
}

enum wr_code wr_repo_job_adopt(struct wr_repo_job *out, const struct wr_app *app, const char *account_id,
			       struct wr_str name, struct wr_str path, bool link, struct wr_error *err)
{
	const struct wr_repo_new new = {name, false, WR_S("main")};
	struct adding a = {.account_id = account_id, .kind = "repo.adopt", .new = &new};
	enum wr_code code = check_name(name, err);

	if (code == WR_OK)
		code = check_path(path, err);
	if (code != WR_OK)
		return code;
	return add(out, app, &a, NULL, json_pack("{s:s%, s:b}", "path", path.ptr, path.len, "link", link), err);
}

enum wr_code wr_repo_job_export(struct wr_repo_job *out, const struct wr_app *app, const struct wr_repo *repo,
				struct wr_str path, bool link, struct wr_error *err)
{
	struct adding a = {.account_id = repo->account_id, .kind = "repo.export"};
	enum wr_code code = check_path(path, err);

	if (code != WR_OK)
		return code;
	return add(out, app, &a, repo->id, json_pack("{s:s%, s:b}", "path", path.ptr, path.len, "link", link), err);
}

/* The repository that it was to make is the reaper's now. */
static void ended(void *arg, const struct wr_job *job)
{
	const struct wr_app *app = arg;

	(void)job;
	wr_reaper_poke(app->reaper);
}

enum wr_code wr_repo_jobs_start(struct wr_jobs **out, const struct wr_app *app, const char *only, struct wr_error *err)
{
	const struct wr_jobs_config cfg = {
		.db = app->db,
		.kinds = wr_repo_job_kinds,
		.kind_count = wr_repo_job_kind_count,
		.arg = (void *)(uintptr_t)app,
		.threads = only ? 1 : (unsigned)app->cfg->jobs_threads,
		.only = only,
		.keep_ms = (int64_t)app->cfg->jobs_keep,
		.keep_max = (unsigned)app->cfg->jobs_keep_max,
		.ended = ended,
	};

	return wr_jobs_start(out, &cfg, err);
}
