/* Leases of jobs: taking one, leaving it in one of the ways there are, and taking over what dead processes had. */
#include <stdio.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/store/jobs_internal.h"

enum wr_code wr_job_next(char id[WR_UUID_LEN + 1], char account[WR_UUID_LEN + 1], struct wr_db *db, const char *behind,
			 struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_db_one(db, SQL_JOB_NEXT, err, &row, "si", behind, wr_now_ms());

	id[0] = '\0';
	if (code == WR_E_NOT_THERE)
		return WR_OK;
	if (code != WR_OK)
		return code;
	wr_row_copy(&row, "id", id, WR_UUID_LEN + 1);
	wr_row_copy(&row, "account_id", account, WR_UUID_LEN + 1);
	return WR_OK;
}

struct leasing {
	struct wr_job *out;
	const char *id, *lease;
	bool got;
};

static enum wr_code lease_in(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	struct leasing *l = arg;
	int64_t now = wr_now_ms(), changed = 0;
	enum wr_code code = wr_tx_one(tx, SQL_JOB_DUE, err, &row, "si", l->id, now);

	if (code == WR_E_NOT_THERE)
		return WR_OK;
	wr_row_fini(&row);
	if (code == WR_OK)
		code = wr_tx_run(tx, SQL_JOB_LEASE, err, &changed, "ssi", l->id, l->lease, now);
	if (code == WR_OK)
		code = wr_tx_one(tx, SQL_JOB_GET, err, &row, "ss", NULL, l->id);
	if (code == WR_OK)
		code = wr_job_read(l->out, &row, err);
	l->got = code == WR_OK;
	return code;
}

enum wr_code wr_job_lease(bool *got, struct wr_job *out, struct wr_db *db, const char *id, const char *lease,
			  struct wr_error *err)
{
	struct leasing l = {out, id, lease, false};
	enum wr_code code = wr_db_write(db, WR_DB_FULL, lease_in, &l, err);

	/* What was read of a transaction that was lost after all. */
	if (code != WR_OK && l.got)
		wr_job_fini(out);
	*got = code == WR_OK && l.got;
	return code;
}

struct leaving {
	const struct wr_job *job;
	const char *lease;
	const struct wr_job_outcome *outcome;
	int64_t changed;
};

static enum wr_code end_in(int64_t *changed, struct wr_tx *tx, const struct wr_job *job, const char *lease,
			   const struct wr_job_outcome *o, struct wr_error *err)
{
	return wr_tx_run(tx, SQL_JOB_END, err, changed, "ssisisss", job->id, lease, (int64_t)job->attempts,
			 wr_job_state_name(o->state), wr_now_ms(), o->result, o->code, o->message);
}

enum wr_code wr_job_leave_in(bool *changed, struct wr_tx *tx, const struct wr_job *job, const char *lease,
			     const struct wr_job_outcome *outcome, struct wr_error *err)
{
	int64_t n = 0;
	enum wr_code code = end_in(&n, tx, job, lease, outcome, err);

	*changed = n > 0;
	return code;
}

static enum wr_code leave(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	struct leaving *l = arg;
	const struct wr_job_outcome *o = l->outcome;

	if (o->state == WR_JOB_QUEUED)
		return wr_tx_run(tx, SQL_JOB_GIVE_BACK, err, &l->changed, "ssiiiss", l->job->id, l->lease,
				 (int64_t)l->job->attempts, (int64_t)o->attempts, o->not_before_ms, o->code,
				 o->message);
	return end_in(&l->changed, tx, l->job, l->lease, o, err);
}

enum wr_code wr_job_leave(bool *changed, struct wr_db *db, const struct wr_job *job, const char *lease,
			  const struct wr_job_outcome *outcome, struct wr_error *err)
{
	struct leaving l = {job, lease, outcome, 0};
	enum wr_code code = wr_db_write(db, WR_DB_FULL, leave, &l, err);

	*changed = l.changed > 0;
	return code;
}

struct note {
	char id[WR_UUID_LEN + 1], lease[WR_ALIVE_NAME], stage[80];
	int64_t done, total;
};

static enum wr_code write_note(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct note *n = arg;

	return wr_tx_run(tx, SQL_JOB_PROGRESS, err, NULL, "sssii", n->id, n->lease, n->stage, n->done, n->total);
}

void wr_job_note(struct wr_db *db, const char *id, const char *lease, const char *stage, uint64_t done, uint64_t total)
{
	struct note *n = calloc(1, sizeof *n);

	/* The next one may have room. */
	if (!n)
		return;
	snprintf(n->id, sizeof n->id, "%s", id);
	snprintf(n->lease, sizeof n->lease, "%s", lease);
	snprintf(n->stage, sizeof n->stage, "%s", stage);
	n->done = done > INT64_MAX ? INT64_MAX : (int64_t)done;
	n->total = total > INT64_MAX ? INT64_MAX : (int64_t)total;
	(void)wr_db_post(db, write_note, n, free);
}

bool wr_job_wanted(struct wr_db *db, const char *id, const char *lease)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;

	return wr_db_one(db, SQL_JOB_MINE, NULL, &row, "ss", id, lease) != WR_E_NOT_THERE;
}

/* ---- what is forgotten ---- */

static enum wr_code forget(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	return wr_tx_run(tx, SQL_JOB_FORGET, err, NULL, "i", *(const int64_t *)arg);
}

enum wr_code wr_jobs_forget(struct wr_db *db, int64_t before_ms, struct wr_error *err)
{
	return wr_db_write(db, WR_DB_NORMAL, forget, &before_ms, err);
}

struct excess {
	const char *account_id;
	unsigned max;
};

static enum wr_code forget_of(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct excess *e = arg;

	return wr_tx_run(tx, SQL_JOB_FORGET_OF, err, NULL, "si", e->account_id, (int64_t)e->max);
}

enum wr_code wr_jobs_forget_of(struct wr_db *db, const char *account_id, unsigned max, struct wr_error *err)
{
	struct excess e = {account_id, max};

	return wr_db_write(db, WR_DB_NORMAL, forget_of, &e, err);
}

/* ---- what dead processes had ---- */

/* Which of the jobs of a lease comes next behind *seq; id "" where there is none. */
static enum wr_code next_leased(bool *got, struct wr_job *job, int64_t *seq, struct wr_db *db, const char *lease,
				struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_db_one(db, SQL_JOB_LEASED, err, &row, "si", lease, *seq);

	*got = code == WR_OK;
	if (code != WR_OK)
		return code == WR_E_NOT_THERE ? WR_OK : code;
	*seq = wr_row_int(&row, "seq");
	code = wr_job_read(job, &row, err);
	*got = code == WR_OK;
	return code;
}

static enum wr_code take_over(const struct wr_job_recovery *r, const struct wr_job *job, const char *lease,
			      struct wr_error *err)
{
	const struct wr_job_kind *kind = r->kind_of(r->arg, job->kind);
	struct wr_job_outcome o = {.state = WR_JOB_QUEUED, .attempts = job->attempts};
	bool changed = false;
	enum wr_code code;

	if (job->cancel) {
		o.state = WR_JOB_CANCELLED;
	} else if ((kind && kind->once) || job->attempts >= WR_JOB_ATTEMPTS) {
		o.state = WR_JOB_FAILED;
		o.code = wr_code_wire(WR_E_INTERNAL);
		o.message = kind && kind->once ? "The server ended while this ran, and it cannot be repeated"
					       : "The server ended again and again while this ran";
	}
	code = wr_job_leave(&changed, r->db, job, lease, &o, err);
	if (code != WR_OK || !changed)
		return code;
	WR_LOG(WR_WARN, NULL, JOB_GIVEN_BACK, WR_STR("job", job->id), WR_STR("kind", job->kind),
	       WR_STR("repo", job->repo_id), WR_STR("account", job->account_id),
	       WR_STR("state", wr_job_state_name(o.state)), WR_STR("reason", "its process is gone"));
	if (wr_job_ended(o.state))
		r->ended(r->arg, job);
	return WR_OK;
}

static enum wr_code recover_lease(const struct wr_job_recovery *r, const char *lease, struct wr_error *err)
{
	bool own = strcmp(lease, r->lease) == 0, got = true;
	enum wr_code code = WR_OK;
	int64_t seq = 0;

	if (!own && wr_alive_check(r->run, lease))
		return WR_OK;
	while (got && code == WR_OK) {
		WR_AUTO_S(wr_job) job = {.args = NULL};

		code = next_leased(&got, &job, &seq, r->db, lease, err);
		if (code == WR_OK && got && !(own && r->mine(r->arg, job.id)))
			code = take_over(r, &job, lease, err);
	}
	return code;
}

enum wr_code wr_jobs_recover(const struct wr_job_recovery *r, struct wr_error *err)
{
	char lease[WR_ALIVE_NAME] = "";

	for (;;) {
		WR_AUTO_S(wr_row) row = WR_ROW_INIT;
		enum wr_code code = wr_db_one(r->db, SQL_JOB_NEXT_LEASE, err, &row, "s", lease);

		if (code != WR_OK)
			return code == WR_E_NOT_THERE ? WR_OK : code;
		wr_row_copy(&row, "lease", lease, sizeof lease);
		wr_row_fini(&row);
		if ((code = recover_lease(r, lease, err)) != WR_OK)
			return code;
	}
}
