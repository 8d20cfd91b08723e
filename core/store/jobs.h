/*
 * core/store/jobs.h: work that outlasts a request: rows that workers lease, with progress and an end that stays visible.
 *
 *	queued -> running -> done | failed | cancelled
 *
 * A job runs at least once: a worker leases it, and its lease names this process's file in run/, which is locked while
 * the process lives; a job whose process is gone is queued again (handlers are idempotent), or fails at once where its
 * kind says that it cannot be repeated. Accounts take turns, so that one account's thousand jobs do not stop another's one.
 * Ownership: values; JSON in and out are new references.
 * Threads:   any; handlers run on the workers' own threads (wr-job, niced).
 * Blocks on: SQLite; wr_jobs_stop() on the handlers, whose cancel then says stop: such jobs go back to the queue.
 * Errors:    WR_E_JOB_NOT_FOUND (field jobId), WR_E_UNAVAILABLE, the database's.
 */
#ifndef WR_JOBS_H
#define WR_JOBS_H

#include <jansson.h>

#include "core/base/id.h"
#include "core/store/db.h"

enum wr_job_state { WR_JOB_QUEUED, WR_JOB_RUNNING, WR_JOB_DONE, WR_JOB_FAILED, WR_JOB_CANCELLED };
const char *wr_job_state_name(enum wr_job_state state);

struct wr_job {
	char id[WR_UUID_LEN + 1], account_id[WR_UUID_LEN + 1], repo_id[WR_UUID_LEN + 1];
	char kind[24];
	enum wr_job_state state;
	int64_t created_ms, started_ms, ended_ms; /* 0: not yet */
	char stage[80];				  /* progress: of what it does now */
	uint64_t done, total;			  /* total 0: not known */
	json_t *args, *result;			  /* result NULL until done */
	char code[40], message[256];		  /* of a failed one */
};
void wr_job_fini(struct wr_job *job);
WR_DEFINE_AUTO_S(wr_job);

/* Queues a job inside the caller's transaction, so that it exists if and only if what caused it does; wr_jobs_poke() then. */
WR_MUST_CHECK enum wr_code wr_job_add(char id[WR_UUID_LEN + 1], struct wr_tx *tx, const char *account_id,
				      const char *repo_id, const char *kind, json_t *args, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_job_get(struct wr_job *out, struct wr_db *db, const char *account_id, struct wr_str id,
				      struct wr_error *err);
/* Newest first, of one account (NULL: of all) and one repository (NULL: of all). */
WR_MUST_CHECK enum wr_code wr_job_list(struct wr_job *out, size_t *n, size_t max, struct wr_db *db,
				       const char *account_id, const char *repo_id, struct wr_error *err);
/* A queued one ends at once, a running one when its handler next looks; one that has ended stays as it is. */
WR_MUST_CHECK enum wr_code wr_job_cancel(struct wr_db *db, const char *account_id, struct wr_str id,
					 struct wr_error *err);

/* ---- workers ---- */

struct wr_job_run {
	const struct wr_job *job;
	bool (*stop)(void *arg); /* as wr_cancel's fn: cancelled, or the program stops; also renews the lease */
	void *arg;
	void (*progress)(void *arg, const char *stage, uint64_t done, uint64_t total); /* stored now and then */
};
struct wr_job_kind {
	const char *name;
	bool once; /* not repeated after a crash: it fails */
	/* *result: a new reference, or NULL. */
	enum wr_code (*run)(void *arg, json_t **result, const struct wr_job_run *run, struct wr_error *err);
	/* Undoes what an end without success left (failed, cancelled, crashed where once); may be NULL. */
	void (*undo)(void *arg, const struct wr_job *job);
};

struct wr_jobs;
/* kinds outlives it. data: the data folder, for the file in run/. */
WR_MUST_CHECK enum wr_code wr_jobs_start(struct wr_jobs **out, struct wr_db *db, const char *data,
					 const struct wr_job_kind *kinds, size_t n, void *arg, unsigned threads,
					 struct wr_error *err);
void wr_jobs_stop(struct wr_jobs *jobs);
void wr_jobs_poke(struct wr_jobs *jobs);
/* Waits until the job has ended, timeout_ms at most; *ended says whether it has. */
WR_MUST_CHECK enum wr_code wr_jobs_wait(bool *ended, struct wr_jobs *jobs, const char *id, int64_t timeout_ms,
					struct wr_error *err);

#endif
