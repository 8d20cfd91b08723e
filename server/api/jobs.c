/* Work that outlasts a request, as its account sees it. */
#include "core/store/jobs.h"
#include "server/api/api.h"
#include "server/reaper.h"

#define LIST_DEFAULT 50
#define LIST_MAX 500

/* These read and write the server's own files for its administrator: of what they say, nothing is an account's. */
static bool is_administrators(const struct wr_job *job)
{
	return strcmp(job->kind, "repo.adopt") == 0 || strcmp(job->kind, "repo.export") == 0;
}

/* The code's own members are kept with a job that failed. */
static json_t *error_json(const struct wr_job *job)
{
	const char *words = is_administrators(job) ? "The server's operator knows why" : job->message;
	json_t *error;

	if (!job->code[0])
		return json_null();
	error = json_pack("{s:s, s:o}", "code", job->code, "message", wr_json_str(wr_str(words)));
	if (error && job->state == WR_JOB_FAILED && json_is_object(job->result) &&
	    json_object_update_missing(error, job->result) != 0) {
		json_decref(error);
		return NULL;
	}
	return error;
}

static json_t *result_json(const struct wr_job *job)
{
	if (job->state != WR_JOB_DONE || !job->result || is_administrators(job))
		return json_null();
	return json_incref(job->result);
}

static json_t *job_json(const struct wr_job *job)
{
	return json_pack("{s:s, s:s, s:s, s:o, s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "id", job->id, "kind",
			 job->kind, "state", wr_job_state_name(job->state), "repoId",
			 job->repo_id[0] ? json_string(job->repo_id) : json_null(), "stage",
			 wr_json_str(wr_str(job->stage)), "done", (json_int_t)job->done, "total",
			 (json_int_t)job->total, "createdAt", wr_time_json(job->created_ms), "startedAt", wr_time_json(job->started_ms),
			 "endedAt", wr_time_json(job->ended_ms), "result", result_json(job), "error", error_json(job));
}

static enum wr_code reply_job(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_S(wr_job) job = {.args = NULL};
	enum wr_code code =
		wr_job_get(&job, app->db, wr_request_caller(req)->account_id, wr_request_param(req, "job"), err);

	return code == WR_OK ? wr_reply(req, job_json(&job), err) : code;
}

enum wr_code wr_api_job_get(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	return reply_job(app, req, err);
}

enum wr_code wr_api_job_cancel(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	enum wr_code code =
		wr_job_cancel(app->db, wr_request_caller(req)->account_id, wr_request_param(req, "job"), err);

	if (code != WR_OK)
		return code;
	/* What it was to make is given up already where it had not begun. */
	wr_reaper_poke(app->reaper);
	return reply_job(app, req, err);
}

enum wr_code wr_api_job_list(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO(json_t) *rows = json_array();
	WR_AUTO_MEM struct wr_job *jobs = NULL;
	uint64_t limit;
	size_t n = 0;
	enum wr_code code = wr_request_query_int(req, "limit", LIST_DEFAULT, LIST_MAX, &limit, err);

	if (code != WR_OK)
		return code;
	jobs = calloc(limit + 1, sizeof *jobs);
	if (!jobs)
		return wr_fail_nomem(err);
	code = wr_job_list(jobs, &n, limit, app->db, wr_request_caller(req)->account_id, NULL, err);
	for (size_t i = 0; i < n && code == WR_OK; i++)
		code = wr_rows_add(rows, job_json(&jobs[i]), err);
	for (size_t i = 0; i < n; i++)
		wr_job_fini(&jobs[i]);
	return code == WR_OK ? wr_reply(req, json_pack("{s:o}", "jobs", WR_STEAL(rows)), err) : code;
}
