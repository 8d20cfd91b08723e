/*
 * core/content/change_tree.h: a tree with changes on top: folders are read when a change touches them, and written
 * once, in the end, by the change alone: what stands before and behind it is copied.
 * Ownership: the struct is the caller's, wr_change_tree_fini(); it borrows the snapshot, and the names that are put.
 * Threads:   one per struct.
 * Blocks on: disk.
 * Errors:    WR_E_PATH_NOT_FOUND, WR_E_INVALID_FILE_PATH (both with field path), and the store's.
 */
#ifndef WR_CHANGE_TREE_H
#define WR_CHANGE_TREE_H

#include "core/content/keep.h"
#include "core/git/append.h"
#include "core/git/parse.h"

struct wr_change_dir;
struct wr_change_tree {
	const struct wr_snapshot *snap;
	struct wr_keep *keep;
	struct wr_change_dir *root;
};
/* root: NULL for an empty tree. keep: trees lately read and made, by their ids; may be NULL. */
WR_MUST_CHECK enum wr_code wr_change_tree_open(struct wr_change_tree *t, const struct wr_snapshot *snap,
					       const struct wr_oid *root, struct wr_keep *keep, struct wr_error *err);
void wr_change_tree_fini(struct wr_change_tree *t);
WR_DEFINE_AUTO_S(wr_change_tree);

/* The file (or submodule) at a path, as the changes so far left it; false where there is none. */
WR_MUST_CHECK enum wr_code wr_change_tree_file(bool *found, struct wr_oid *oid, unsigned *mode, struct wr_change_tree *t,
					       struct wr_str path, struct wr_error *err);
/*
 * Puts a file at a path; mode 0: the one that it has, or 0100644. Folders are made on the way; a file on the way, or a
 * folder at the path, is refused, so that nothing goes that no change names.
 */
WR_MUST_CHECK enum wr_code wr_change_tree_put(struct wr_change_tree *t, struct wr_str path, const struct wr_oid *blob,
					      unsigned mode, struct wr_error *err);
/* Takes a file away; a folder that is empty then goes too. */
WR_MUST_CHECK enum wr_code wr_change_tree_remove(struct wr_change_tree *t, struct wr_str path, struct wr_error *err);

/* Adds the changed trees to q, which builds on the same snapshot; *root: the tree's id then. Once. */
WR_MUST_CHECK enum wr_code wr_change_tree_write(struct wr_oid *root, struct wr_change_tree *t, struct wr_quarantine *q,
						struct wr_error *err);

#endif
