/*
 * core/content/difference.h: how two trees differ: paths in byte order, renames found, lines counted. Folders that are the
 * same on both sides are not read.
 * Ownership: the struct is the caller's, wr_difference_fini(); paths are its own.
 * Threads:   one per struct.
 * Blocks on: disk and CPU.
 * Errors:    those of view.h; WR_E_INVALID_REQUEST where more files differ than DIFFERENCE_MAX.
 *
 * Renames as git finds them by default: what went away and what came, same content first, then content of at least half
 * the same lines; symbolic links, empty files and submodules only by the same content. Where so many came and went
 * that comparing all pairs would take too long, only same content counts.
 */
#ifndef WR_DIFFERENCE_H
#define WR_DIFFERENCE_H

#include "core/content/view.h"

enum wr_difference_status { WR_ADDED, WR_REMOVED, WR_MODIFIED, WR_RENAMED, WR_CHANGED /* mode or type alone */ };

struct wr_different {
	enum wr_difference_status status;
	char *path, *old_path; /* old_path: of a renamed one, else NULL */
	size_t path_len, old_path_len;
	unsigned old_mode, mode; /* 0: absent on that side */
	struct wr_oid old_oid, oid;
	uint64_t additions, deletions; /* lines; 0 for what is binary, or too large to be compared */
};

struct wr_difference {
	struct wr_different *v;
	size_t len, cap;
};
void wr_difference_fini(struct wr_difference *d);
WR_DEFINE_AUTO_S(wr_difference);

/* Either tree may be NULL: an empty one. */
WR_MUST_CHECK enum wr_code wr_difference_of(struct wr_difference *out, const struct wr_view *v, const struct wr_oid *old,
					    const struct wr_oid *new, struct wr_error *err);

#endif
