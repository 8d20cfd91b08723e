/*
 * core/content/path.h: what lies at a path, and what lies below a folder.
 * A path is bytes, "a/b/c" from the root; one that ends in "/" asks for a folder. Submodules are not there, and neither is
 * what a segment "", "." or ".." would name: no tree that was let in has such an entry.
 * Ownership: names are borrowed from the tree that a struct wr_items holds.
 * Threads, blocking: as view.h.
 * Errors: WR_E_PATH_NOT_FOUND (field path), and those of view.h.
 */
#ifndef WR_PATH_H
#define WR_PATH_H

#include "core/content/view.h"

/* Longest path that is looked up; those of real systems end at 4096. */
#define WR_PATH_MAX ((size_t)16 << 10)
/* Trees below trees that are gone into. */
#define WR_PATH_DEPTH 1024
/* Bytes of trees on the way from a root that are in memory at a time: large ones in one another cost little to push. */
#define WR_PATH_HELD ((uint64_t)128 << 20)

enum wr_kind { WR_KIND_FOLDER, WR_KIND_FILE };
struct wr_item {
	enum wr_kind kind;
	unsigned mode;	   /* of the entry, 0 for the root; a symbolic link is a file, whose content is where it leads */
	struct wr_oid oid; /* tree or blob */
	uint64_t size;	   /* of a file */
};

/* path "" is the root. */
WR_MUST_CHECK enum wr_code wr_path_find(struct wr_item *out, const struct wr_view *v, const struct wr_oid *root,
					struct wr_str path, struct wr_error *err);

/* One folder's entries in git's order, submodules left out. Zero-initialised, then opened; wr_items_fini(). */
struct wr_items {
	struct wr_object tree;
	struct wr_str rest;
	struct wr_oid id;	     /* of the tree */
	struct wr_kept *known;	     /* sizes of its files; NULL: not known, and collected: */
	uint64_t *sizes;	     /* of files so far, and of some that follow */
	uint32_t files, sized, cap;  /* files so far, of how many sizes are there, and for how many there is room */
	bool untold;		     /* nobody is told of them afterwards */
	bool unsized;	     /* set by who does not want to know sizes, which cost a look at each file */
};
WR_MUST_CHECK enum wr_code wr_items_open(struct wr_items *out, const struct wr_view *v, const struct wr_oid *tree,
					 struct wr_error *err);
void wr_items_fini(struct wr_items *items);
WR_DEFINE_AUTO_S(wr_items);
/* WR_E_NOT_THERE, without words, at the end. */
WR_MUST_CHECK enum wr_code wr_items_next(struct wr_item *out, struct wr_str *name, struct wr_items *items,
					 const struct wr_view *v, struct wr_error *err);

#endif
