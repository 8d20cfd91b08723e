/*
 * server/follow.h: a command that waits for the job it made, and shows on stderr how far it is: one line that changes
 * on a terminal, else a line a second.
 * Ownership: *out is a new reference.
 * Threads:   the main thread.
 * Blocks on: the job, for as long as it takes.
 * Errors:    why the job ended without success, for the person at the keyboard; WR_E_UNAVAILABLE when the server went
 *            away and did not come back for half a minute.
 */
#ifndef WR_FOLLOW_H
#define WR_FOLLOW_H

#include <signal.h>

#include "core/base/error.h"

struct wr_follow {
	/* A command (server/admin.h), done somewhere; *no_server: nobody was there to do it, and that is no error. */
	enum wr_code (*call)(void *arg, json_t **out, json_t *command, bool *no_server, struct wr_error *err);
	void *arg;
	const volatile sig_atomic_t *interrupted; /* NULL, or: the job is to be cancelled once this is not 0 */
};

/* *out: the job's result, with its jobId. */
WR_MUST_CHECK enum wr_code wr_follow_job(json_t **out, const struct wr_follow *follow, const char *job_id,
					 struct wr_error *err);

#endif
