/* What jobs on repositories do. Each may run again after a crash at any point. */
#include <limits.h>

#include "core/base/suspects.h"
#include "core/content/history.h"
#include "core/git/adopt.h"
#include "core/git/fork.h"
#include "server/api/api.h"
#include "server/api/fields.h"
#include "server/jobs_internal.h"
#include "server/jobs_repo.h"

#define HEADS "refs/heads/"
#define TAGS "refs/tags/"

struct args {
	struct wr_str source, branch, path;
	bool link, redelta;
};

static const struct wr_field arg_fields[] = {
	WR_FIELD(struct args, source, "source", STRING, false),
	WR_FIELD(struct args, branch, "branch", STRING, false),
	WR_FIELD(struct args, path, "path", STRING, false),
	WR_FIELD(struct args, link, "link", BOOL, false),
	WR_FIELD(struct args, redelta, "redelta", BOOL, false),
};

/* One run. */
struct doing {
	const struct wr_app *app;
	const struct wr_job_run *run;
	const struct wr_job *job;
	struct args args;
	struct wr_cancel cancel;
	struct wr_progress progress;
	char default_branch[WR_BRANCH_NAME_MAX + 1]; /* of the repository that is made */
};

static void note_progress(void *arg, const char *stage, uint64_t done, uint64_t total, bool last)
{
	const struct wr_job_run *run = arg;

	(void)last;
	run->progress(run->arg, stage, done, total);
}

static enum wr_code begin(struct doing *d, void *arg, const struct wr_job_run *run, struct wr_error *err)
{
	*d = (struct doing){.app = arg,
			    .run = run,
			    .job = run->job,
			    .cancel = {run->stop, run->arg},
			    .progress = {note_progress, (void *)(uintptr_t)run}};
	return wr_fields_read(&d->args, arg_fields, WR_ARRAY_LEN(arg_fields), run->job->args, err);
}

static enum wr_code give(json_t **out, json_t *value, struct wr_error *err)
{
	if (!value)
		return wr_fail_nomem(err);
	*out = value;
	return WR_OK;
}

/* The job's repository, which is there. */
static enum wr_code open_repo(struct wr_repo *row, struct wr_git_repo **out, const struct doing *d,
			      struct wr_error *err)
{
	enum wr_code code =
		wr_repo_get(row, d->app->db, d->job->account_id, wr_str(d->job->repo_id), err);

	return code == WR_OK ? wr_git_repo_open(out, d->app->git, row->id, err) : code;
}

/*
 * The job's repository, which is being made; *making is false where an earlier run of the job came to its end. What an
 * earlier one left is removed: nobody has opened it.
 */
static enum wr_code begin_making(bool *making, struct doing *d, struct wr_error *err)
{
	const struct wr_job *job = d->job;
	enum wr_code code = wr_repo_making(making, d->app->db, job->account_id, job->repo_id, job->id, err);

	if (code == WR_OK && wr_suspect_parked(job->repo_id))
		code = wr_fail(err, WR_E_REPO_PARKED, "making repository %s crashed twice", job->repo_id);
	if (code != WR_OK || !*making)
		return code;
	code = wr_repo_default_branch(d->default_branch, sizeof d->default_branch, d->app->db, job->repo_id, err);
	return code == WR_OK ? wr_git_remove(d->app->git, job->repo_id, err) : code;
}

static enum wr_code finish(const struct doing *d, struct wr_str default_branch, struct wr_error *err)
{
	return wr_repo_finish(d->app->db, d->job->account_id, d->job->repo_id, d->job->id, default_branch, err);
}

/* ---- fork ---- */

static bool is_wanted(const struct wr_ref *ref, struct wr_str branch)
{
	if (!branch.ptr)
		return wr_str_starts(ref->name, WR_S(HEADS)) || wr_str_starts(ref->name, WR_S(TAGS));
	return wr_str_starts(ref->name, WR_S(HEADS)) && wr_str_eq(wr_str_skip(ref->name, sizeof HEADS - 1), branch);
}

static enum wr_code choose(struct wr_ref **out, size_t *count, const struct wr_snapshot *snap, struct wr_str branch,
			   struct wr_error *err)
{
	size_t n, got = 0;
	const struct wr_ref *refs = wr_snapshot_refs(snap, &n);
	struct wr_ref *chosen = calloc(n + 1, sizeof *chosen);

	if (!chosen)
		return wr_fail_nomem(err);
	for (size_t i = 0; i < n; i++)
		if (is_wanted(&refs[i], branch))
			chosen[got++] = refs[i];
	*out = chosen;
	*count = got;
	return WR_OK;
}

static enum wr_code fork_from(json_t **result, const struct doing *d, const struct wr_repo *source,
			      struct wr_error *err)
{
	WR_AUTO(wr_git_repo) *repo = NULL;
	WR_AUTO(wr_snapshot) *snap = NULL;
	WR_AUTO_MEM struct wr_ref *refs = NULL;
	struct wr_fork fork = {.default_branch = wr_str(d->default_branch)};
	struct wr_repo still;
	enum wr_code code = wr_git_repo_open(&repo, d->app->git, source->id, err);

	if (code == WR_OK)
		code = wr_snapshot_take(&snap, repo, err);
	if (code == WR_OK)
		code = choose(&refs, &fork.ref_count, snap, d->args.branch, err);
	/* One that was deleted a moment ago looks empty, too. */
	if (code == WR_OK && fork.ref_count == 0)
		code = wr_repo_get(&still, d->app->db, source->account_id, wr_str(source->id), err);
	if (code != WR_OK)
		return code;
	if (fork.ref_count == 0 && d->args.branch.ptr)
		return wr_fail(err, WR_E_BRANCH_NOT_FOUND, "The repository has no branch \"%.*s\"",
			       (int)d->args.branch.len, d->args.branch.ptr);
	fork.refs = refs;
	/* An empty one is a row alone. */
	if (fork.ref_count > 0)
		code = wr_git_fork(&fork, d->app->git, d->job->repo_id, repo, snap, &d->cancel, err);
	if (code != WR_OK)
		return code;
	return give(result,
		    json_pack("{s:s, s:s, s:I, s:I, s:I, s:I}", "repoId", d->job->repo_id, "sourceId", source->id,
			      "refs", (json_int_t)fork.ref_count, "linked", (json_int_t)fork.linked, "copied",
			      (json_int_t)fork.copied, "bytesWritten", (json_int_t)fork.written),
		    err);
}

static enum wr_code run_fork(void *arg, json_t **result, const struct wr_job_run *run, struct wr_error *err)
{
	struct wr_suspect_mark mark;
	struct wr_repo source;
	struct doing d;
	bool making = true;
	enum wr_code code = begin(&d, arg, run, err);

	if (code == WR_OK)
		code = begin_making(&making, &d, err);
	if (code == WR_OK && !making)
		return give(result, json_pack("{s:s}", "repoId", d.job->repo_id), err);
	if (code == WR_OK)
		code = wr_repo_get(&source, d.app->db, d.job->account_id, d.args.source, err);
	if (code != WR_OK)
		return code;
	run->progress(run->arg, "forking", 0, 0);
	wr_suspect_begin(&mark, source.id);
	code = fork_from(result, &d, &source, err);
	wr_suspect_end(&mark);
	return code == WR_OK ? finish(&d, (struct wr_str){NULL, 0}, err) : code;
}

/* ---- adopt and export ---- */

static enum wr_code path_of(char out[PATH_MAX], const struct doing *d, struct wr_error *err)
{
	struct wr_str path = d->args.path;

	if (path.len == 0 || path.len >= PATH_MAX)
		return wr_fail(err, WR_E_INVALID_REQUEST, "The job has no path");
	memcpy(out, path.ptr, path.len);
	out[path.len] = '\0';
	return WR_OK;
}

static enum wr_code adopted(json_t **result, const struct doing *d, const struct wr_adopted *a, struct wr_str head,
			    struct wr_error *err)
{
	return give(result,
		    json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:s%}", "repoId", d->job->repo_id, "objects",
			      (json_int_t)a->objects, "refs", (json_int_t)a->refs, "bytes", (json_int_t)a->bytes,
			      "linked", (json_int_t)a->linked, "copied", (json_int_t)a->copied, "leftOut",
			      (json_int_t)a->left_out, "defaultBranch", head.ptr, head.len),
		    err);
}

/* What no checkpoint comes to do here. The row is live by now: an earlier run's folder is removed unopened. */
static void prepare(const struct doing *d, struct wr_str head)
{
	WR_AUTO(wr_git_repo) *repo = NULL;
	char branch[WR_BRANCH_NAME_MAX + 1];
	struct wr_suspect_mark mark;

	snprintf(branch, sizeof branch, "%.*s", (int)head.len, head.ptr);
	wr_suspect_begin(&mark, d->job->repo_id);
	if (wr_git_repo_open(&repo, d->app->git, d->job->repo_id, NULL) == WR_OK)
		wr_orders_prepare(d->app->git, repo, branch, &d->cancel);
	wr_suspect_end(&mark);
}

static enum wr_code run_adopt(void *arg, json_t **result, const struct wr_job_run *run, struct wr_error *err)
{
	struct wr_adopted a = {.objects = 0};
	struct wr_suspect_mark mark;
	char path[PATH_MAX];
	struct wr_str head;
	struct doing d;
	bool making = true;
	enum wr_code code = begin(&d, arg, run, err);

	if (code == WR_OK)
		code = path_of(path, &d, err);
	if (code == WR_OK)
		code = begin_making(&making, &d, err);
	if (code == WR_OK && !making)
		return give(result, json_pack("{s:s}", "repoId", d.job->repo_id), err);
	if (code != WR_OK)
		return code;
	wr_suspect_begin(&mark, d.job->repo_id);
	code = wr_git_adopt(&a, d.app->git, d.job->repo_id, path, d.args.link, &d.progress, &d.cancel, err);
	wr_suspect_end(&mark);
	if (code != WR_OK)
		return code;
	/* A detached HEAD, or a name that rows have no room for, or none that JSON has. */
	head = wr_str(a.head);
	if (head.len == 0 || head.len > WR_BRANCH_NAME_MAX || !wr_str_utf8(head))
		head = wr_str(d.default_branch);
	code = finish(&d, head, err);
	if (code == WR_OK)
		prepare(&d, head);
	return code == WR_OK ? adopted(result, &d, &a, head, err) : code;
}

static enum wr_code run_export(void *arg, json_t **result, const struct wr_job_run *run, struct wr_error *err)
{
	WR_AUTO(wr_git_repo) *repo = NULL;
	struct wr_adopted a = {.objects = 0};
	struct wr_suspect_mark mark;
	char path[PATH_MAX];
	struct wr_repo row;
	struct doing d;
	enum wr_code code = begin(&d, arg, run, err);

	if (code == WR_OK)
		code = path_of(path, &d, err);
	if (code != WR_OK)
		return code;
	wr_suspect_begin(&mark, d.job->repo_id);
	code = open_repo(&row, &repo, &d, err);
	if (code == WR_OK)
		code = wr_git_export(&a, repo, path, wr_str(row.default_branch), d.args.link, &d.progress, &d.cancel,
				     err);
	wr_suspect_end(&mark);
	if (code != WR_OK)
		return code;
	return give(result,
		    json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "repoId", d.job->repo_id, "path", path, "objects",
			      (json_int_t)a.objects, "refs", (json_int_t)a.refs, "bytes", (json_int_t)a.bytes, "linked",
			      (json_int_t)a.linked, "copied", (json_int_t)a.copied),
		    err);
}

/* ---- maintain ---- */

static enum wr_code run_maintain(void *arg, json_t **result, const struct wr_job_run *run, struct wr_error *err)
{
	WR_AUTO(wr_git_repo) *repo = NULL;
	struct wr_maintained m = {.rebased = false};
	struct wr_suspect_mark mark;
	struct wr_repo row;
	struct doing d;
	enum wr_code code = begin(&d, arg, run, err);

	if (code != WR_OK)
		return code;
	wr_suspect_begin(&mark, d.job->repo_id);
	run->progress(run->arg, "maintaining", 0, 0);
	code = open_repo(&row, &repo, &d, err);
	if (code == WR_OK)
		code = wr_git_repo_maintain(&m, repo, d.args.redelta, &d.progress, &d.cancel, err);
	wr_suspect_end(&mark);
	if (code != WR_OK)
		return code;
	return give(result,
		    json_pack("{s:s, s:I, s:I, s:I, s:I, s:b}", "repoId", d.job->repo_id, "bytesBefore",
			      (json_int_t)m.bytes_before, "bytesAfter", (json_int_t)m.bytes_after, "cruftObjects",
			      (json_int_t)m.cruft_objects, "droppedObjects", (json_int_t)m.dropped_objects, "rebased",
			      m.rebased),
		    err);
}

const struct wr_job_kind wr_repo_job_kinds[] = {
	{"repo.fork", false, run_fork},
	{"repo.adopt", false, run_adopt},
	{"repo.export", false, run_export},
	{"repo.maintain", false, run_maintain},
	/* server/making.h */
	{"repo.create", true, NULL},
};
const size_t wr_repo_job_kind_count = WR_ARRAY_LEN(wr_repo_job_kinds);
