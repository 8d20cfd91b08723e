/*
 * core/store/jobs_internal.h: what the rows of jobs (jobs.c) and their workers (jobs_work.c, jobs_lease.c) share.
 * Ownership, threads, errors: as jobs.h says.
 */
#ifndef WR_JOBS_INTERNAL_H
#define WR_JOBS_INTERNAL_H

#include "core/base/alive.h"
#include "core/store/jobs.h"

/* *out gets all of a row with the columns of the table. */
WR_MUST_CHECK enum wr_code wr_job_read(struct wr_job *out, const struct wr_row *row, struct wr_error *err);

/* "": accounts take turns from the first. Fills id and account with the next job that is due, or id with "". */
WR_MUST_CHECK enum wr_code wr_job_next(char id[WR_UUID_LEN + 1], char account[WR_UUID_LEN + 1], struct wr_db *db,
				       const char *behind, struct wr_error *err);
/* *got: it was still in the queue, and this process has it; then *out is the job. */
WR_MUST_CHECK enum wr_code wr_job_lease(bool *got, struct wr_job *out, struct wr_db *db, const char *id,
					const char *lease, struct wr_error *err);

/* What becomes of a running one. */
struct wr_job_outcome {
	enum wr_job_state state; /* QUEUED: again */
	unsigned attempts;	 /* again: what the row counts from now on */
	int64_t not_before_ms;	 /* again: not before */
	const char *result;	 /* JSON, or NULL */
	const char *code, *message;
};
/* *changed false: the lease is another's by now, or the row is gone. */
WR_MUST_CHECK enum wr_code wr_job_leave(bool *changed, struct wr_db *db, const struct wr_job *job, const char *lease,
					const struct wr_job_outcome *outcome, struct wr_error *err);
/* The same inside a transaction of the caller's; outcome->state is not QUEUED. */
WR_MUST_CHECK enum wr_code wr_job_leave_in(bool *changed, struct wr_tx *tx, const struct wr_job *job, const char *lease,
					   const struct wr_job_outcome *outcome, struct wr_error *err);
/* Without waiting. */
void wr_job_note(struct wr_db *db, const char *id, const char *lease, const char *stage, uint64_t done, uint64_t total);
/* Whether it is this lease's, and nobody wants it to end. True where that cannot be read just now. */
bool wr_job_wanted(struct wr_db *db, const char *id, const char *lease);
/* Forgets what ended before, of all accounts; and what is beyond max of one. */
WR_MUST_CHECK enum wr_code wr_jobs_forget(struct wr_db *db, int64_t before_ms, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_jobs_forget_of(struct wr_db *db, const char *account_id, unsigned max,
					     struct wr_error *err);

/*
 * Jobs whose process is gone, and those of this one's lease that no thread of it runs (mine says which it does): each
 * is queued again, or has ended. The kinds are asked whether they may be repeated.
 */
struct wr_job_recovery {
	struct wr_db *db;
	const char *run; /* the folder */
	const char *lease;
	const struct wr_job_kind *(*kind_of)(void *arg, const char *name);
	bool (*mine)(void *arg, const char *id);
	void (*ended)(void *arg, const struct wr_job *job);
	void *arg;
};
WR_MUST_CHECK enum wr_code wr_jobs_recover(const struct wr_job_recovery *r, struct wr_error *err);

/* ---- jobs_work.c, for jobs_own.c ---- */

struct wr_db *wr_jobs_db(const struct wr_jobs *jobs);
/* From now on, and no more, this process runs it: recovery leaves it alone. */
void wr_jobs_own_link(struct wr_jobs *jobs, struct wr_job_own *own);
void wr_jobs_own_unlink(struct wr_jobs *jobs, struct wr_job_own *own);
/* One of its jobs has ended: whoever waits looks again, and old ones are forgotten. */
void wr_jobs_own_ended(struct wr_jobs *jobs, const struct wr_job *job);
/* True for one caller in so many milliseconds. */
bool wr_jobs_due(_Atomic int64_t *at, int64_t every_ms);
/* The fields of an error as text for the row; NULL where it has none, and without memory. */
char *wr_jobs_fields_text(const struct wr_error *err);

#define WR_JOB_LOOK_MS 500   /* between two looks whether a running job was cancelled */
#define WR_JOB_NOTE_MS 1000  /* between two notes of progress */
#define WR_JOB_ATTEMPTS 8 /* and then it fails */

#endif
