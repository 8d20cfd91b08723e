#include "core/store/jobs.h"

#include <stdio.h>

#include "core/base/clock.h"
#include "core/store/jobs_internal.h"

static const char *const state_names[] = {"queued", "running", "done", "failed", "cancelled"};

const char *wr_job_state_name(enum wr_job_state state)
{
	return state_names[state];
}

void wr_job_fini(struct wr_job *job)
{
	json_decref(job->args);
	json_decref(job->result);
	job->args = job->result = NULL;
}

/* ---- rows ---- */

static enum wr_job_state state_of(struct wr_str name)
{
	for (unsigned i = 0; i < WR_ARRAY_LEN(state_names); i++)
		if (wr_str_eqz(name, state_names[i]))
			return (enum wr_job_state)i;
	return WR_JOB_FAILED;
}

static enum wr_code read_json(json_t **out, const struct wr_row *row, const char *column, struct wr_error *err)
{
	struct wr_str text = wr_row_text(row, column);

	*out = NULL;
	if (!text.ptr)
		return WR_OK;
	*out = json_loadb(text.ptr, text.len, JSON_DECODE_ANY, NULL);
	return *out ? WR_OK : wr_fail(err, WR_E_INTERNAL, "the %s of a job are no JSON", column);
}

enum wr_code wr_job_read(struct wr_job *out, const struct wr_row *row, struct wr_error *err)
{
	struct wr_job job = {.args = NULL};
	enum wr_code code;

	wr_row_copy(row, "id", job.id, sizeof job.id);
	wr_row_copy(row, "account_id", job.account_id, sizeof job.account_id);
	wr_row_copy(row, "repo_id", job.repo_id, sizeof job.repo_id);
	wr_row_copy(row, "kind", job.kind, sizeof job.kind);
	wr_row_copy(row, "stage", job.stage, sizeof job.stage);
	wr_row_copy(row, "code", job.code, sizeof job.code);
	wr_row_copy(row, "message", job.message, sizeof job.message);
	job.state = state_of(wr_row_text(row, "state"));
	job.cancel = wr_row_int(row, "cancel") != 0;
	job.attempts = (unsigned)wr_row_int(row, "attempts");
	job.created_ms = wr_row_int(row, "created_ms");
	job.started_ms = wr_row_int(row, "started_ms");
	job.ended_ms = wr_row_int(row, "ended_ms");
	job.done = (uint64_t)wr_row_int(row, "done");
	job.total = (uint64_t)wr_row_int(row, "total");
	if ((code = read_json(&job.args, row, "args", err)) == WR_OK)
		code = read_json(&job.result, row, "result", err);
	if (code == WR_OK)
		*out = job;
	else
		wr_job_fini(&job);
	return code;
}

static enum wr_code not_found(struct wr_str id, struct wr_error *err)
{
	wr_fail(err, WR_E_JOB_NOT_FOUND, "%s", wr_code_text(WR_E_JOB_NOT_FOUND));
	wr_error_field(err, "jobId", id);
	return WR_E_JOB_NOT_FOUND;
}

static enum wr_code refuse_many(struct wr_tx *tx, const char *account_id, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_tx_one(tx, SQL_JOB_QUEUED_OF, err, &row, "s", account_id);

	if (code == WR_OK && wr_row_int(&row, "n") >= WR_JOBS_QUEUED_MAX)
		return wr_fail(err, WR_E_UNAVAILABLE, "%d jobs of this account wait already", WR_JOBS_QUEUED_MAX);
	return code;
}

enum wr_code wr_job_add(struct wr_tx *tx, const char *id, const char *account_id, const char *repo_id, const char *kind,
			json_t *args, struct wr_error *err)
{
	WR_AUTO_MEM char *text = json_dumps(args, JSON_COMPACT);
	enum wr_code code;

	if (!text)
		return wr_fail_nomem(err);
	if (strlen(text) > WR_JOB_ARGS_MAX || strlen(kind) >= sizeof(((struct wr_job *)0)->kind))
		return wr_fail(err, WR_E_INVALID_REQUEST, "A job's arguments have at most %zu bytes", WR_JOB_ARGS_MAX);
	if ((code = refuse_many(tx, account_id, err)) != WR_OK)
		return code;
	return wr_tx_run(tx, SQL_JOB_ADD, err, NULL, "sssssi", id, account_id, repo_id, kind, text, wr_now_ms());
}

enum wr_code wr_job_get(struct wr_job *out, struct wr_db *db, const char *account_id, struct wr_str id,
			struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	char parsed[WR_UUID_LEN + 1];
	enum wr_code code = WR_E_NOT_THERE;

	if (wr_uuid_parse(id, parsed))
		code = wr_db_one(db, SQL_JOB_GET, err, &row, "ss", account_id, parsed);
	if (code == WR_E_NOT_THERE)
		return not_found(id, err);
	return code == WR_OK ? wr_job_read(out, &row, err) : code;
}

static enum wr_code query(struct wr_row *row, struct wr_db *db, size_t max, const char *account_id, const char *repo_id,
			  struct wr_error *err)
{
	if (repo_id)
		return wr_db_query(db, SQL_JOB_LIST_REPO, err, row, "ssi", account_id, repo_id, (int64_t)max);
	if (account_id)
		return wr_db_query(db, SQL_JOB_LIST_OF, err, row, "si", account_id, (int64_t)max);
	return wr_db_query(db, SQL_JOB_LIST, err, row, "ii", INT64_MAX, (int64_t)max);
}

enum wr_code wr_job_list(struct wr_job *out, size_t *n, size_t max, struct wr_db *db, const char *account_id,
			 const char *repo_id, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = query(&row, db, max, account_id, repo_id, err);
	size_t got = 0;

	while (code == WR_OK && got < max && (code = wr_row_next(&row, err)) == WR_OK)
		if ((code = wr_job_read(&out[got], &row, err)) == WR_OK)
			got++;
	if (code == WR_OK || code == WR_E_NOT_THERE) {
		*n = got;
		return WR_OK;
	}
	while (got > 0)
		wr_job_fini(&out[--got]);
	return code;
}

/* ---- cancelling ---- */

struct target {
	const char *account_id, *id;
};

static enum wr_code cancel(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct target *t = arg;
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	int64_t changed = 0;
	enum wr_code code =
		wr_tx_run(tx, SQL_JOB_CANCEL_QUEUED, err, &changed, "ssi", t->account_id, t->id, wr_now_ms());

	if (code == WR_OK && changed == 0)
		code = wr_tx_run(tx, SQL_JOB_CANCEL_RUNNING, err, &changed, "ss", t->account_id, t->id);
	if (code == WR_OK && changed == 0)
		code = wr_tx_one(tx, SQL_JOB_IS, err, &row, "ss", t->account_id, t->id);
	return code == WR_E_NOT_THERE ? not_found(wr_str(t->id), err) : code;
}

enum wr_code wr_job_cancel(struct wr_db *db, const char *account_id, struct wr_str id, struct wr_error *err)
{
	char parsed[WR_UUID_LEN + 1];
	struct target t = {account_id, parsed};

	if (!wr_uuid_parse(id, parsed))
		return not_found(id, err);
	return wr_db_write(db, WR_DB_FULL, cancel, &t, err);
}
