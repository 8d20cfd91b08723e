/*
 * core/git/trees.h: all folders and files below trees.
 * Ownership: the struct is the caller's, wr_trees_fini(); it borrows the snapshot and cancel.
 * Threads:   one per struct.
 * Blocks on: disk. Asks cancel now and then.
 * Errors:    WR_E_INTERNAL (an object is missing, damaged, or of another type than the tree says), WR_E_CANCELLED,
 *            WR_E_UNAVAILABLE; and what object() returns.
 */
#ifndef WR_TREES_H
#define WR_TREES_H

#include "core/git/snapshot_internal.h"
#include "core/git/walk.h"

struct wr_trees {
	const struct wr_snapshot *snap;
	const struct wr_cancel *cancel;
	/*
	 * Told of each object that a tree names, and of the tree that a walk begins with, at least once and mostly not much
	 * more often; never of submodules. Whether it is a tree to go into: for each tree once, or it is read again.
	 */
	bool (*object)(void *arg, const struct wr_oid *oid, struct wr_place place, enum wr_type type);
	void *arg;
	bool stop;	/* object() may set it: no more of it */
	uint64_t steps; /* objects that were looked up or read so far */
	struct wr_cache *cache;
	struct wr_oid *recent;
	struct wr_oids todo;
};
void wr_trees_fini(struct wr_trees *t);
WR_DEFINE_AUTO_S(wr_trees);

WR_MUST_CHECK enum wr_code wr_trees_walk(struct wr_trees *t, const struct wr_oid *tree, struct wr_error *err);

#endif
