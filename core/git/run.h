/*
 * core/git/run.h: this process's folder for what is being built, run/<random>/, and who else lives in the data folder.
 *
 * Beside the folder lies run/worker-<random>.lock, made and locked before the folder is, and locked for as long as the
 * process lives. So what a dead process left is told from what another one is writing, without a word from either.
 * Ownership: by value; wr_run_leave() removes both.
 * Threads:   enter and leave from one; wr_run_others() from any.
 * Blocks on: disk.
 * Errors:    those of wr_fail_errno().
 */
#ifndef WR_RUN_H
#define WR_RUN_H

#include <limits.h>

#include "core/base/alive.h"

struct wr_run {
	char path[PATH_MAX]; /* "" while not entered */
	struct wr_alive alive;
};

/* Removes what dead processes left in <data>/run, then makes this one's own. */
WR_MUST_CHECK enum wr_code wr_run_enter(struct wr_run *run, const char *data, struct wr_error *err);
void wr_run_leave(struct wr_run *run);

/* Whether another process lives in the data folder; also where that cannot be told. */
bool wr_run_others(const struct wr_run *run);

#endif
