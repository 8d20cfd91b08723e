#include "core/auth/accounts.h"
#include "server/admin_internal.h"
#include "server/api/api.h"
#include "server/jobs_repo.h"
#include "server/reaper.h"

#define LIST_MAX 100
#define WAIT_MS 1000

/* ---- what makes a job ---- */

static enum wr_code made(json_t **out, const struct wr_repo_job *job, struct wr_error *err)
{
	return wr_admin_give(out, json_pack("{s:s, s:s}", "jobId", job->job_id, "repoId", job->repo_id), err);
}

/* "" is what a command line may say for none. */
static struct wr_str name_of(const struct wr_admin *a)
{
	return a->args.name.len ? a->args.name : (struct wr_str){NULL, 0};
}

enum wr_code wr_admin_repo_fork(json_t **out, const struct wr_admin *a, struct wr_error *err)
{
	struct wr_repo_job job;
	struct wr_repo source;
	enum wr_code code = wr_repo_find(&source, a->app->db, a->args.repo, err);

	if (code == WR_OK)
		code = wr_repo_job_fork(&job, a->app, &source, name_of(a), a->args.branch, err);
	return code == WR_OK ? made(out, &job, err) : code;
}

enum wr_code wr_admin_repo_maintain(json_t **out, const struct wr_admin *a, struct wr_error *err)
{
	struct wr_repo_job job;
	struct wr_repo repo;
	enum wr_code code = wr_repo_find(&repo, a->app->db, a->args.repo, err);

	if (code == WR_OK)
		code = wr_repo_job_maintain(&job, a->app, &repo, a->args.redelta, err);
	return code == WR_OK ? made(out, &job, err) : code;
}

enum wr_code wr_admin_repo_adopt(json_t **out, const struct wr_admin *a, struct wr_error *err)
{
	struct wr_repo_job job;
	struct wr_account account;
	enum wr_code code = wr_account_find(&account, a->app->db, a->args.account, err);

	if (code == WR_OK)
		code = wr_repo_job_adopt(&job, a->app, account.id, name_of(a), a->args.path, a->args.link, err);
	return code == WR_OK ? made(out, &job, err) : code;
}

enum wr_code wr_admin_repo_export(json_t **out, const struct wr_admin *a, struct wr_error *err)
{
	struct wr_repo_job job;
	struct wr_repo repo;
	enum wr_code code = wr_repo_find(&repo, a->app->db, a->args.repo, err);

	if (code == WR_OK)
		code = wr_repo_job_export(&job, a->app, &repo, a->args.path, a->args.link, err);
	return code == WR_OK ? made(out, &job, err) : code;
}

/* ---- jobs ---- */

static json_t *error_json(const struct wr_job *job)
{
	return job->code[0] ? json_pack("{s:s, s:o}", "code", job->code, "message", wr_json_str(wr_str(job->message)))
			    : json_null();
}

static json_t *job_json(const struct wr_job *job)
{
	return json_pack("{s:s, s:s, s:o, s:s, s:s, s:b, s:I, s:O, s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "jobId",
			 job->id, "accountId", job->account_id, "repoId",
			 job->repo_id[0] ? json_string(job->repo_id) : json_null(), "kind", job->kind, "state",
			 wr_job_state_name(job->state), "cancelled", job->cancel, "attempts",
			 (json_int_t)job->attempts, "args", job->args, "stage", wr_json_str(wr_str(job->stage)), "done",
			 (json_int_t)job->done, "total", (json_int_t)job->total, "createdAt",
			 wr_time_json(job->created_ms), "startedAt", wr_time_json(job->started_ms), "endedAt",
			 wr_time_json(job->ended_ms), "result",
			 job->result ? json_incref(job->result) : json_null(), "error", error_json(job));
}

static enum wr_code account_id_of(char out[WR_UUID_LEN + 1], const struct wr_admin *a, struct wr_error *err)
{
	struct wr_account account;
	enum wr_code code = wr_account_find(&account, a->app->db, a->args.account, err);

	if (code == WR_OK)
		memcpy(out, account.id, sizeof account.id);
	return code;
}

static enum wr_code add_all(json_t *rows, const struct wr_job *jobs, size_t n, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < n && code == WR_OK; i++)
		code = wr_rows_add(rows, job_json(&jobs[i]), err);
	return code;
}

enum wr_code wr_admin_job_list(json_t **out, const struct wr_admin *a, struct wr_error *err)
{
	WR_AUTO_MEM struct wr_job *jobs = calloc(LIST_MAX, sizeof *jobs);
	WR_AUTO(json_t) *rows = json_array();
	char account[WR_UUID_LEN + 1] = "", repo[WR_UUID_LEN + 1] = "";
	enum wr_code code = jobs ? WR_OK : wr_fail_nomem(err);
	size_t n = 0;

	if (code == WR_OK && a->args.account.ptr)
		code = account_id_of(account, a, err);
	if (code == WR_OK && a->args.repo.ptr && !wr_uuid_parse(a->args.repo, repo))
		code = wr_fail(err, WR_E_INVALID_REQUEST, "A repository is named by its id here");
	if (code == WR_OK)
		code = wr_job_list(jobs, &n, LIST_MAX, a->app->db, account[0] ? account : NULL, repo[0] ? repo : NULL,
				   err);
	if (code == WR_OK)
		code = add_all(rows, jobs, n, err);
	for (size_t i = 0; i < n; i++)
		wr_job_fini(&jobs[i]);
	return code == WR_OK ? wr_admin_give(out, json_pack("{s:o}", "jobs", WR_STEAL(rows)), err) : code;
}

enum wr_code wr_admin_job_show(json_t **out, const struct wr_admin *a, struct wr_error *err)
{
	WR_AUTO_S(wr_job) job = {.args = NULL};
	enum wr_code code = wr_job_get(&job, a->app->db, NULL, a->args.job, err);

	return code == WR_OK ? wr_admin_give(out, job_json(&job), err) : code;
}

enum wr_code wr_admin_job_wait(json_t **out, const struct wr_admin *a, struct wr_error *err)
{
	char id[WR_UUID_LEN + 1];
	bool ended;

	/* What is no job is refused below. */
	if (a->app->jobs && wr_uuid_parse(a->args.job, id)) {
		enum wr_code code = wr_jobs_wait(&ended, a->app->jobs, id, WAIT_MS, err);

		if (code != WR_OK)
			return code;
	}
	return wr_admin_job_show(out, a, err);
}

enum wr_code wr_admin_job_cancel(json_t **out, const struct wr_admin *a, struct wr_error *err)
{
	enum wr_code code = wr_job_cancel(a->app->db, NULL, a->args.job, err);

	if (code != WR_OK)
		return code;
	/* What it was to make is given up already where it had not begun. */
	wr_reaper_poke(a->app->reaper);
	return wr_admin_job_show(out, a, err);
}
