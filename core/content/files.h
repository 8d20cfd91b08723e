/*
 * core/content/files.h: a tree from a list of files in any order, as archives have them: of two with one path the later
 * one counts, and so it is for a file and a folder of one path.
 * Ownership: the struct is the caller's, wr_files_fini(); it copies the paths.
 * Threads:   one per list.
 * Blocks on: CPU; what the quarantine does.
 * Errors:    WR_E_TOO_LARGE (entries, folders, paths), WR_E_INVALID_FILE_PATH (path), WR_E_INVALID_REQUEST (a hard
 *            link to nothing), WR_E_NOT_THERE (no such folder; without words), WR_E_CANCELLED, and the quarantine's.
 */
#ifndef WR_FILES_H
#define WR_FILES_H

#include "core/base/buf.h"
#include "core/base/cancel.h"
#include "core/git/append.h"

/* The most that all paths of one list may have. */
#define WR_FILES_PATHS ((size_t)64 << 20)

struct wr_files_entry;
struct wr_files {
	uint64_t max;  /* entries, and folders of the tree */
	bool strict;   /* a path that is a file and a folder is refused, as there is no order */
	struct wr_buf paths;
	struct wr_files_entry *v;
	size_t len, cap;
};
void wr_files_init(struct wr_files *files, uint64_t max, bool strict);
void wr_files_fini(struct wr_files *files);
WR_DEFINE_AUTO_S(wr_files);

/* path: one that wr_edit_path_ok() takes. */
WR_MUST_CHECK enum wr_code wr_files_add(struct wr_files *files, struct wr_str path, const struct wr_oid *blob,
					unsigned mode, struct wr_error *err);
/* A hard link: what the last file of path `to` was when this was added. */
WR_MUST_CHECK enum wr_code wr_files_link(struct wr_files *files, struct wr_str path, struct wr_str to,
					 struct wr_error *err);
/*
 * A folder by itself, which no tree keeps: only that it is there counts, for wr_files_write() with this dir. path "" is
 * the root.
 */
WR_MUST_CHECK enum wr_code wr_files_folder(struct wr_files *files, struct wr_str path, struct wr_error *err);

/*
 * Adds the trees to q; *root: the tree of all, or of the folder dir ("": all). Then q has these trees and their blobs,
 * and nothing else that was added to it. Once.
 */
WR_MUST_CHECK enum wr_code wr_files_write(struct wr_oid *root, struct wr_files *files, struct wr_str dir,
					  struct wr_quarantine *q, const struct wr_cancel *cancel,
					  struct wr_error *err);

#endif
