/*
 * core/git/lost.h: what is in the closure (snapshot_internal.h) but perhaps reached no more, because a branch or tag was
 * rewound or deleted since the checkpoint.
 * Ownership: belongs to its snapshot, and lives as long.
 * Threads:   immutable once published; any number may ask at once.
 * Blocks on: disk, the first time.
 * Errors:    WR_E_CANCELLED, WR_E_UNAVAILABLE. Damage is none: then everything is a suspect.
 *
 * Suspects are found by commits first: those that the changed branches and tags reached then, and that no ref is seen to
 * reach now by a walk which ends as soon as only such commits are left that refs reach. Dates that lie make it end early,
 * so that commits become suspects which are reached, never the other way round. Their trees and files are suspects as
 * well, but for those of the commits that they stand on. All else in the closure is reached for certain.
 */
#ifndef WR_LOST_H
#define WR_LOST_H

#include "core/git/marks.h"
#include "core/git/walk.h"

struct wr_lost {
	bool any;   /* there are suspects */
	bool all;   /* nothing in the closure is certain */
	bool exact; /* no suspect is reached: nobody needs to look again */
	struct wr_marks marks; /* only where there are any */
};
void wr_lost_free(struct wr_lost *lost);

WR_MUST_CHECK enum wr_code wr_lost_get(const struct wr_lost **out, struct wr_snapshot *snap,
				       const struct wr_cancel *cancel, struct wr_error *err);

/* A walk met all that refs reach: from now on only the suspects that it did not meet count. */
WR_MUST_CHECK enum wr_code wr_lost_settle(struct wr_snapshot *snap, const struct wr_marks *met, struct wr_error *err);

/* Whether refs reach the object for certain. The work is the same for objects that they do not reach and for no objects. */
bool wr_lost_certain(const struct wr_lost *lost, const struct wr_snapshot *snap, const struct wr_oid *oid);

#endif
