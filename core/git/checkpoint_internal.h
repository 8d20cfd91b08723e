/*
 * core/git/checkpoint_internal.h: what the files of the checkpoint share: checkpoint.c (the order of things),
 * checkpoint_plan.c (which pack becomes what), export.c.
 * Ownership: one wr_build per checkpoint, on the builder's stack.
 * Threads:   one.
 * Errors:    go to b->err.
 *
 * Every object's home (closure.h) survives, unless it is past its grace: it stays in its pack, or it is copied, to the
 * closure's new pack where heads or tags reach it, to a new pack of role "other" where other refs do, and to one of
 * cruft where none does. Repetitions elsewhere go, or are marked as gone.
 */
#ifndef WR_CHECKPOINT_INTERNAL_H
#define WR_CHECKPOINT_INTERNAL_H

#include "core/git/checkpoint.h"
#include "core/git/closure.h"
#include "core/git/pack_write.h"
#include "core/git/unreached.h"

struct wr_places {
	struct wr_place *v;
	size_t len, cap;
	uint64_t bytes; /* of the entries, as they are stored now */
	uint32_t *since; /* of each, for cruft; else NULL */
};

/* A pack of the snapshot that is a candidate to stay. */
struct wr_stay {
	uint32_t src;
	uint64_t bytes;
	struct wr_dead *dead; /* as it will be; a reference */
	uint32_t since;	      /* of cruft */
	bool merged;	      /* does not stay: its entries go to a new pack */
};

struct wr_stays {
	struct wr_stay *v; /* the largest first once all are there */
	size_t len;
};

struct wr_build {
	struct wr_closure closure;
	const struct wr_snapshot *snap;
	const struct wr_cancel *cancel;
	struct wr_error *err;
	struct wr_checkpoint_manner manner;
	struct wr_unreached unreached;
	struct wr_stays kin;	/* packs of the closure: base, tails and the pushed ones that become such as they are */
	struct wr_stays others; /* packs with anything that other refs reach, or that came since the last checkpoint */
	struct wr_stays crufts;
	struct wr_places fresh; /* of the closure, to be written */
	struct wr_places loose; /* of other refs, to be written */
	struct wr_places cruft; /* of none */
	uint32_t gained, died;
};

WR_MUST_CHECK enum wr_code wr_build_plan(struct wr_build *b);
void wr_build_fini(struct wr_build *b);
WR_DEFINE_AUTO_S(wr_build);

#endif
