/*
 * core/base/suspects.h: which repository each thread works on, in memory that outlives a crash of the process.
 *
 * The supervisor makes the page before it starts a worker and reads it when the worker has died: what was being worked on
 * in two crashes in a row is parked, and no worker touches it until somebody says so. A thread that crashes says that it
 * was the one (a signal handler marks its slot), and then no other is suspected; nor is any where the thread had no slot.
 * Where the kernel killed the worker for its memory nobody can say who it was: then only what was alone at work is
 * suspected, since else whoever makes the server die could have another tenant's busy repository parked. Who kills a
 * worker by hand makes nothing suspect.
 * Without a supervisor (commands, tests) there is no page and all of this does nothing.
 * Ownership: wr_suspects_new() maps the page, shared with children; it stays for the process's life.
 * Threads:   any; each has one slot at a time, and begin/end nest by giving back what was there before.
 * Blocks on: nothing. Errors: WR_E_UNAVAILABLE without memory.
 */
#ifndef WR_SUSPECTS_H
#define WR_SUSPECTS_H

#include "core/base/error.h"

#define WR_SUSPECT_MAX 40     /* bytes of a name: a repository's id */
#define WR_SUSPECT_SLOTS 4096 /* threads; those beyond are not seen */
#define WR_PARKED_MAX 256

struct wr_suspects;

WR_MUST_CHECK enum wr_code wr_suspects_new(struct wr_suspects **out, struct wr_error *err);

/* ---- the worker's side ---- */

/* From now on this process's threads note what they do there, and a thread that gets a deadly signal says so. */
void wr_suspects_use(struct wr_suspects *s);
struct wr_suspect_mark {
	char before[WR_SUSPECT_MAX];
};
/* This thread works on it from now on, until end. name: at most WR_SUSPECT_MAX - 1 bytes, no NUL needed. */
void wr_suspect_begin(struct wr_suspect_mark *mark, const char *name);
void wr_suspect_end(const struct wr_suspect_mark *mark);
/* Whether it is parked: one look at shared memory, cheap while nothing is. */
bool wr_suspect_parked(const char *name);
/* For "warren repo unpark": false when it was not parked. And the list, for "warren repo parked". */
bool wr_suspect_unpark(const char *name);
size_t wr_suspects_parked(char (*out)[WR_SUSPECT_MAX], size_t max);

/* ---- the supervisor's side ---- */

enum wr_suspect_end {
	WR_SUSPECT_END_OTHER,  /* in order, or killed by somebody: says nothing, and clears what was suspected */
	WR_SUSPECT_END_CRASH,  /* a thread got a deadly signal */
	WR_SUSPECT_END_MEMORY, /* killed by the kernel for its memory */
};

/*
 * After a worker's end: what the dead one is blamed on becomes what is suspected; what was suspected after the end before,
 * too, is parked. parked gets the names of the newly parked, returns how many. Slots are empty afterwards.
 */
size_t wr_suspects_judge(char (*parked)[WR_SUSPECT_MAX], size_t max, struct wr_suspects *s, enum wr_suspect_end how);

#endif
