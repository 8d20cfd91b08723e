/*
 * bench/commits.h: commits as an API makes them (one file of a tree of 10,000 changed), appended durably.
 * Ownership: a bench_writer is the caller's; it borrows its repository.
 * Threads:   one writer per thread.
 * Blocks on: disk.
 * Errors:    what fails ends the program with a line on stderr.
 */
#ifndef WR_BENCH_COMMITS_H
#define WR_BENCH_COMMITS_H

#include <time.h>

#include "core/git/append.h"

struct bench_writer {
	struct wr_git_repo *repo;
	char ref[64];
	unsigned number;
	uint64_t made;
	double end;
	double wait; /* longest time from call to return */
	/* of the change under way */
	struct wr_quarantine *q;
	struct wr_ref_update update;
};

_Noreturn void bench_die(const char *what, const struct wr_error *err);
double bench_seconds(clockid_t clock);

/* The first commit of a branch: 10,000 files, on top of nothing. */
void bench_first(struct wr_git_repo *repo, const char *branch);
/* One more on top of the branch w->ref. */
void bench_commit(struct bench_writer *w);

#endif
