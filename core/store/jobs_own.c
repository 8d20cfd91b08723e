/* Jobs that need what is in their process's memory: running from their birth, until their maker ends them. */
#include <stdatomic.h>
#include <stdio.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/store/jobs_internal.h"

#define INSIST 5 /* tries to end a row, a second apart */

void wr_job_own_init(struct wr_job_own *own, struct wr_jobs *jobs, const char *id, const char *account_id,
		     const char *repo_id, const char *kind)
{
	*own = (struct wr_job_own){.jobs = jobs, .job = {.attempts = 1}};
	snprintf(own->job.id, sizeof own->job.id, "%s", id);
	snprintf(own->job.account_id, sizeof own->job.account_id, "%s", account_id);
	snprintf(own->job.repo_id, sizeof own->job.repo_id, "%s", repo_id ? repo_id : "");
	snprintf(own->job.kind, sizeof own->job.kind, "%s", kind);
	own->began_ms = wr_mono_ms();
	wr_jobs_own_link(jobs, own);
}

void wr_job_own_fini(struct wr_job_own *own)
{
	wr_jobs_own_unlink(own->jobs, own);
}

enum wr_code wr_job_own_add(struct wr_tx *tx, const struct wr_job_own *own, json_t *args, struct wr_error *err)
{
	WR_AUTO_MEM char *text = json_dumps(args, JSON_COMPACT);
	const struct wr_job *job = &own->job;

	if (!text)
		return wr_fail_nomem(err);
	if (strlen(text) > WR_JOB_ARGS_MAX)
		return wr_fail(err, WR_E_INVALID_REQUEST, "A job's arguments have at most %zu bytes", WR_JOB_ARGS_MAX);
	return wr_tx_run(tx, SQL_JOB_ADD_RUNNING, err, NULL, "sssssis", job->id, job->account_id,
			 job->repo_id[0] ? job->repo_id : NULL, job->kind, text, wr_now_ms(),
			 wr_jobs_process(own->jobs));
}

bool wr_job_own_stop(struct wr_job_own *own)
{
	if (wr_jobs_due(&own->look_at, WR_JOB_LOOK_MS) &&
	    !wr_job_wanted(wr_jobs_db(own->jobs), own->job.id, wr_jobs_process(own->jobs)))
		atomic_store(&own->cancelled, true);
	return atomic_load(&own->cancelled);
}

void wr_job_own_note(struct wr_job_own *own, const char *stage, uint64_t done, uint64_t total)
{
	bool other = strncmp(own->stage, stage, sizeof own->stage - 1) != 0;

	if (!wr_jobs_due(&own->note_at, WR_JOB_NOTE_MS) && !other)
		return;
	snprintf(own->stage, sizeof own->stage, "%s", stage);
	wr_job_note(wr_jobs_db(own->jobs), own->job.id, wr_jobs_process(own->jobs), stage, done, total);
}

/* ---- its end ---- */

struct ending {
	const struct wr_job_own *own;
	const struct wr_job_outcome *outcome;
	enum wr_code (*also)(struct wr_tx *tx, void *arg, struct wr_error *err);
	void *arg;
};

static enum wr_code end_in(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct ending *e = arg;
	bool changed = false;
	enum wr_code code = wr_job_leave_in(&changed, tx, &e->own->job, wr_jobs_process(e->own->jobs), e->outcome, err);

	if (code == WR_OK && !changed)
		return wr_fail(err, WR_E_CANCELLED, "job %s is this process's no more", e->own->job.id);
	return code == WR_OK ? e->also(tx, e->arg, err) : code;
}

enum wr_code wr_job_own_done(struct wr_job_own *own, json_t *result,
			     enum wr_code (*also)(struct wr_tx *tx, void *arg, struct wr_error *err), void *arg,
			     struct wr_error *err)
{
	WR_AUTO_MEM char *text = result ? json_dumps(result, JSON_COMPACT) : NULL;
	const struct wr_job_outcome outcome = {.state = WR_JOB_DONE, .result = text};
	struct ending e = {own, &outcome, also, arg};
	const struct wr_job *job = &own->job;
	enum wr_code code;

	if (result && !text)
		return wr_fail_nomem(err);
	if ((code = wr_db_write(wr_jobs_db(own->jobs), WR_DB_FULL, end_in, &e, err)) != WR_OK)
		return code;
	WR_LOG(WR_INFO, NULL, JOB_DONE, WR_STR("job", job->id), WR_STR("kind", job->kind), WR_STR("repo", job->repo_id),
	       WR_STR("account", job->account_id), WR_INT("ms", wr_mono_ms() - own->began_ms));
	wr_jobs_own_ended(own->jobs, job);
	return WR_OK;
}

static void end_failed(struct wr_job_own *own, const struct wr_job_outcome *o)
{
	for (int i = 0; i < INSIST; i++) {
		WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
		bool changed;

		if (wr_job_leave(&changed, wr_jobs_db(own->jobs), &own->job, wr_jobs_process(own->jobs), o, &err) ==
		    WR_OK)
			return;
		wr_log_error(NULL, WR_EV_JOB_FAILED, &err);
		nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
	}
}

void wr_job_own_fail(struct wr_job_own *own, bool cancelled, const struct wr_error *why)
{
	WR_AUTO_MEM char *fields = cancelled ? NULL : wr_jobs_fields_text(why);
	const struct wr_job_outcome o = {
		.state = cancelled ? WR_JOB_CANCELLED : WR_JOB_FAILED,
		.result = fields,
		.code = cancelled ? NULL : wr_code_wire(why->code),
		.message = cancelled ? NULL : wr_error_text(why),
	};
	const struct wr_job *job = &own->job;

	end_failed(own, &o);
	WR_LOG(cancelled ? WR_INFO : WR_WARN, NULL, JOB_FAILED, WR_STR("job", job->id), WR_STR("kind", job->kind),
	       WR_STR("repo", job->repo_id), WR_STR("account", job->account_id),
	       WR_INT("ms", wr_mono_ms() - own->began_ms), WR_STR("state", wr_job_state_name(o.state)),
	       WR_STR("code", o.code), WR_STR("detail", why->detail[0] ? why->detail : wr_error_text(why)));
	wr_jobs_own_ended(own->jobs, job);
}

char *wr_jobs_fields_text(const struct wr_error *err)
{
	char *text = err->fields ? json_dumps(err->fields, JSON_COMPACT) : NULL;

	if (text && strlen(text) > WR_JOB_RESULT_MAX) {
		free(text);
		return NULL;
	}
	return text;
}
