/*
 * core/store/jobs.h: work that outlasts a request: rows that workers lease, with progress and an end that stays
 * visible.
 *
 *	queued -> running -> done | failed | cancelled
 *	   ^         |
 *	   +---------+  tried again, or given back by a worker that stops or is gone
 *
 * A job runs at least once, by one worker at a time: its lease names the worker's file in run/, which is locked while
 * the process lives. A job whose process is gone is queued again (handlers are idempotent), or fails at once where its
 * kind says that it cannot be repeated; so does one that began too often. Several processes may work on one database.
 * Accounts take turns, so that one account's thousand jobs do not stop another's one.
 * What has to be undone after an end without success is found by its own row, which names the job (wr_repo_begin() in
 * core/auth/repos.h): so it is undone whoever ends the job, and after any crash.
 * Ownership: values; JSON in and out are new references.
 * Threads:   any; handlers run on the workers' own threads (wr-job, niced).
 * Blocks on: SQLite; wr_jobs_stop() on the handlers, whose stop then says so: such jobs go back to the queue.
 * Errors:    WR_E_JOB_NOT_FOUND (field jobId), WR_E_UNAVAILABLE (also: too many wait), the database's.
 */
#ifndef WR_JOBS_H
#define WR_JOBS_H

#include <jansson.h>

#include "core/base/id.h"
#include "core/store/db.h"

#define WR_JOB_ARGS_MAX ((size_t)64 << 10)
#define WR_JOB_RESULT_MAX ((size_t)256 << 10)
/* Jobs of one account that wait; wr_job_add() refuses more. */
#define WR_JOBS_QUEUED_MAX 1000

enum wr_job_state { WR_JOB_QUEUED, WR_JOB_RUNNING, WR_JOB_DONE, WR_JOB_FAILED, WR_JOB_CANCELLED };
const char *wr_job_state_name(enum wr_job_state state);
static inline bool wr_job_ended(enum wr_job_state state)
{
	return state >= WR_JOB_DONE;
}

struct wr_job {
	char id[WR_UUID_LEN + 1], account_id[WR_UUID_LEN + 1], repo_id[WR_UUID_LEN + 1]; /* repo_id: "" for none */
	char kind[24];
	enum wr_job_state state;
	bool cancel; /* somebody wants it to end */
	unsigned attempts; /* how often it began, this time included */
	int64_t created_ms, started_ms, ended_ms; /* 0: not yet */
	char stage[80];				  /* progress: of what it does now */
	uint64_t done, total;			  /* total 0: not known */
	json_t *args;
	json_t *result; /* NULL until it ended; of one that failed, NULL or the members that go with its code */
	char code[40], message[256];		  /* of a failed one, or why it is tried again */
};
void wr_job_fini(struct wr_job *job);
WR_DEFINE_AUTO_S(wr_job);

/*
 * Queues a job inside the caller's transaction, so that it exists if and only if what caused it does; wr_jobs_poke()
 * then. id: a new one of the caller's (wr_uuid_new()), so that rows of the same transaction can name it. repo_id may be
 * NULL; args is borrowed.
 */
WR_MUST_CHECK enum wr_code wr_job_add(struct wr_tx *tx, const char *id, const char *account_id, const char *repo_id,
				      const char *kind, json_t *args, struct wr_error *err);
/* account_id NULL: of any, for the administrator. */
WR_MUST_CHECK enum wr_code wr_job_get(struct wr_job *out, struct wr_db *db, const char *account_id, struct wr_str id,
				      struct wr_error *err);
/* Newest first, of one account (NULL: of all) and one repository (NULL: of all). The caller releases *n of them. */
WR_MUST_CHECK enum wr_code wr_job_list(struct wr_job *out, size_t *n, size_t max, struct wr_db *db,
				       const char *account_id, const char *repo_id, struct wr_error *err);
/* A queued one ends at once, a running one when its handler next looks; one that has ended stays as it is. */
WR_MUST_CHECK enum wr_code wr_job_cancel(struct wr_db *db, const char *account_id, struct wr_str id,
					 struct wr_error *err);

/* ---- workers ---- */

struct wr_job_run {
	const struct wr_job *job;
	bool (*stop)(void *arg); /* as wr_cancel's fn: the job was cancelled, or its worker stops; from any thread */
	void *arg;
	void (*progress)(void *arg, const char *stage, uint64_t done, uint64_t total); /* stored now and then */
};
struct wr_job_kind {
	const char *name;
	bool once; /* not repeated after a crash: it fails */
	/*
	 * NULL: whoever makes such a job runs it himself (struct wr_job_own).
	 * *result: a new reference, or NULL. WR_E_UNAVAILABLE, WR_E_STORAGE_FULL and a WR_E_CANCELLED that nobody asked
	 * for are tried again for some minutes; every other error is the job's end, with the client's words for it.
	 */
	enum wr_code (*run)(void *arg, json_t **result, const struct wr_job_run *run, struct wr_error *err);
};

struct wr_jobs_config {
	struct wr_db *db;
	const struct wr_job_kind *kinds; /* this and db outlive the workers */
	size_t kind_count;
	void *arg;	    /* for the kinds and ended */
	unsigned threads;
	const char *only;   /* NULL, or the one job that is run: a command without a server; borrowed for the start */
	int64_t keep_ms;    /* jobs that have ended are forgotten after this; 0: never */
	unsigned keep_max;  /* and those of one account beyond so many; 0: none */
	int64_t retry_ms;   /* the first pause before another try, doubled each time; 0: a second */
	int64_t recovery_ms; /* between two looks for jobs whose process is gone; 0: three seconds */
	/* NULL, or told of each end without success: something may have to be removed. Must not block for long. */
	void (*ended)(void *arg, const struct wr_job *job);
};

struct wr_jobs;
WR_MUST_CHECK enum wr_code wr_jobs_start(struct wr_jobs **out, const struct wr_jobs_config *cfg, struct wr_error *err);
/* Takes no more, and has those that run given back to the queue, for another process. Returns at once. NULL-safe. */
void wr_jobs_retire(struct wr_jobs *jobs);
/* The same, and waits for it. NULL-safe. */
void wr_jobs_stop(struct wr_jobs *jobs);
/* There is something new in the queue. NULL-safe. */
void wr_jobs_poke(struct wr_jobs *jobs);
/* The name of this process's file in run/, for rows of what it makes outside of jobs. */
const char *wr_jobs_process(const struct wr_jobs *jobs);
/* ---- jobs that need what is in this process's memory alone ---- */

/*
 * A job that this process runs from its birth, on a thread of the caller's: nothing of what it needs is stored. Its kind
 * is one of cfg.kinds, once, and without a run; so it fails when the process ends.
 */
struct wr_job_own {
	struct wr_job_own *prev, *next; /* in jobs; under its lock */
	struct wr_jobs *jobs;
	struct wr_job job; /* id, account_id, repo_id, kind and attempts */
	_Atomic int64_t look_at, note_at;
	_Atomic bool cancelled; /* seen by wr_job_own_stop() */
	int64_t began_ms;
	char stage[80]; /* last told; the running thread's */
};
/* Before its row is added. id: a new one of the caller's; repo_id may be NULL. The struct stays in its place until fini. */
void wr_job_own_init(struct wr_job_own *own, struct wr_jobs *jobs, const char *id, const char *account_id,
		     const char *repo_id, const char *kind);
/* After its end, and before wr_jobs_stop(). A row that was not ended then is failed by the next look at all jobs. */
void wr_job_own_fini(struct wr_job_own *own);
/* Its row, already running, inside the caller's transaction. args is borrowed. */
WR_MUST_CHECK enum wr_code wr_job_own_add(struct wr_tx *tx, const struct wr_job_own *own, json_t *args,
					  struct wr_error *err);
/* Whether somebody wants it to end: as wr_cancel's fn, from any thread. */
bool wr_job_own_stop(struct wr_job_own *own);
/* Progress, stored now and then, and whenever the stage is another. */
void wr_job_own_note(struct wr_job_own *own, const char *stage, uint64_t done, uint64_t total);
/*
 * It is done, and also(tx, arg) in the same transaction. result is borrowed, or NULL. An error (also's, too; or the job
 * is this process's no more, WR_E_CANCELLED): nothing has changed, and the job has to be failed.
 */
WR_MUST_CHECK enum wr_code wr_job_own_done(struct wr_job_own *own, json_t *result,
					   enum wr_code (*also)(struct wr_tx *tx, void *arg, struct wr_error *err),
					   void *arg, struct wr_error *err);
/* It failed with *why, or was cancelled. Insists, for some seconds; then recovery does it. */
void wr_job_own_fail(struct wr_job_own *own, bool cancelled, const struct wr_error *why);

/*
 * Waits until the job has ended, timeout_ms at most; *ended says whether it has. Any process may be running it.
 */
WR_MUST_CHECK enum wr_code wr_jobs_wait(bool *ended, struct wr_jobs *jobs, const char *id, int64_t timeout_ms,
					struct wr_error *err);

#endif
