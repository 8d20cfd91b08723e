/*
 * core/git/unreached.h: which stored objects no ref reaches, since when, and which of them are past their grace.
 * Ownership: wr_unreached_find() fills the caller's struct, wr_unreached_fini() releases it (also after an error); the
 *            closure stays the caller's.
 * Threads:   one.
 * Blocks on: disk.
 * Errors:    those of the closure's walks; WR_E_UNAVAILABLE.
 *
 * What heads and tags reach is known (closure.h). Of the rest, what other refs reach is found by a walk beyond the closure,
 * but only where that can have changed: another ref did, or the closure lost something. Else what the last checkpoint said
 * holds, and new objects are reached by no ref.
 *
 * An object's time is when a checkpoint found it unreached and the one before had not. It is never earlier than that of
 * an object that refers to it: whatever is reached from an object that is new here, or from what a ref was meanwhile, gets
 * the time of now. So what is past its grace goes in one piece, and whatever is still there has all that it refers to.
 */
#ifndef WR_UNREACHED_H
#define WR_UNREACHED_H

#include "core/git/closure.h"
#include "core/git/marks.h"

/* What a checkpoint is told about time. */
struct wr_grace {
	int64_t now_ms;	  /* since 1970 */
	int64_t grace_ms; /* unreached objects older than this are dropped; 0: they are kept for ever */
	bool keep;	  /* nothing is dropped: what is not part of the checkpoint may rely on it */
};

struct wr_unreached_item {
	struct wr_place home;
	uint32_t since; /* seconds since 1970, never 0 */
	bool is_new;	/* the last checkpoint did not have it among these */
	bool was_ahead; /* it had a time that lies ahead of the clock, which was wrong then */
	bool drop;
};

struct wr_unreached {
	struct wr_closure *closure;
	const struct wr_snapshot *snap;
	const struct wr_grace *grace;
	int packs;
	struct wr_error *err;
	size_t listed; /* packs of the last checkpoint; those behind them came since */
	uint32_t now;  /* seconds, rounded up */
	bool walked;   /* others is known */
	bool all;      /* every pack is looked at, whether anything in it can have changed or not */
	bool timeless; /* a list of times is lost */
	struct wr_marks others, young; /* homes that other refs reach; that something new reaches */
	uint32_t *other_counts, *young_counts; /* of each source */
	bool *looked; /* of each source: items has all of it. Else it is as it was */
	struct wr_unreached_item *v; /* by home */
	size_t len, cap;
	uint64_t kept, dropped; /* objects */
};

/* After wr_closure_walk() of heads and tags; the closure's marks are the same afterwards. packs: for the times of cruft. */
WR_MUST_CHECK enum wr_code wr_unreached_find(struct wr_unreached *u, struct wr_closure *closure, int packs,
					     const struct wr_grace *grace, bool all, struct wr_error *err);
void wr_unreached_fini(struct wr_unreached *u);
WR_DEFINE_AUTO_S(wr_unreached);

/* Looks at a pack of cruft that there was no reason to look at. *known: its times could be read; else nothing is changed. */
WR_MUST_CHECK enum wr_code wr_unreached_look(struct wr_unreached *u, bool *known, uint32_t src);

/* The item with this home, or NULL. */
const struct wr_unreached_item *wr_unreached_at(const struct wr_unreached *u, struct wr_place home);

/* Whether the object's home is this place. */
bool wr_closure_at_home(const struct wr_closure *closure, struct wr_place place);

#endif
