/*
 * core/content/changed.h: the paths at which two trees differ. Trees are compared folder by folder, and those that are the
 * same on both sides are not read. A folder itself is no path; a submodule is one, and so is a file whose mode alone changed.
 * What was a file and is a folder now, or the other way round, is gone under its name and has come under the new ones.
 * Ownership: the struct is the caller's, and needs no end. What path() gets is borrowed until it returns.
 * Threads:   one per struct.
 * Blocks on: disk. Asks cancel at each folder, and now and then within one.
 * Errors:    WR_E_INVALID_REQUEST with a sentence where entries_max or held_max is met, or folders are nested deeper than
 *            WR_PATH_DEPTH;
 *            WR_E_NOT_THERE for a tree that is not there, WR_E_INTERNAL for damage, WR_E_TOO_LARGE past max_object_bytes,
 *            WR_E_CANCELLED, WR_E_UNAVAILABLE; and what path() returns.
 */
#ifndef WR_CHANGED_H
#define WR_CHANGED_H

#include "core/base/cancel.h"
#include "core/git/parse.h"
#include "core/git/snapshot.h"

struct wr_changed {
	const struct wr_snapshot *snap;
	const struct wr_cancel *cancel;
	uint64_t entries_max; /* of all folders that are read, both sides together */
	uint64_t held_max;    /* bytes of the folders in memory, which are all on the way to a path; 0: WR_PATH_HELD */
	/* Told of each path once, or twice where one became a folder; in git's order of trees. old or new NULL: absent there. */
	enum wr_code (*path)(void *arg, struct wr_str path, const struct wr_tree_entry *old,
			     const struct wr_tree_entry *new, struct wr_error *err);
	void *arg;
	bool stop;	  /* path() may set it: it has heard enough */
	uint64_t entries; /* that were read so far */
};

/* Either tree may be NULL: an empty one. */
WR_MUST_CHECK enum wr_code wr_changed_paths(struct wr_changed *c, const struct wr_oid *old, const struct wr_oid *new,
					    struct wr_error *err);

#endif
