/*
 * core/content/unpack.h: the files of a tar (plain or gzip) or zip archive as changes of an empty tree, into a quarantine.
 * Nothing is ever written to a disk but by the quarantine. Paths that are absolute, have ".." or stand for .git are refused;
 * devices, FIFOs and sockets are left out, as are directories, which git does not keep; a hard link is a copy of what it
 * leads to inside of the archive; a symbolic link is kept whatever it leads to.
 * Ownership: all borrowed. Of two entries with one path the later one counts.
 * Threads:   any.
 * Blocks on: the source; CPU.
 * Errors:    WR_E_INVALID_FILE_PATH (path), WR_E_TOO_LARGE (any of the limits, with a sentence that says which),
 *            WR_E_INVALID_REQUEST (no archive, or a broken one), WR_E_IMPORT_SUBDIR_NOT_FOUND (source, dir), the source's and
 *            the quarantine's.
 */
#ifndef WR_UNPACK_H
#define WR_UNPACK_H

#include "core/base/cancel.h"
#include "core/base/stream.h"
#include "core/content/change_tree.h"

struct wr_unpack_limits {
	uint64_t max_entries;
	uint64_t max_file;   /* bytes of one */
	uint64_t max_bytes;  /* of all together */
	uint64_t max_ratio;  /* unpacked bytes for each byte of the archive, once there are more than a megabyte */
};

enum wr_unpack_format { WR_UNPACK_TAR, WR_UNPACK_ZIP };

/* dir: ptr NULL, or the folder of the archive whose content is taken; it becomes the root. */
WR_MUST_CHECK enum wr_code wr_unpack(struct wr_change_tree *out, struct wr_quarantine *q, struct wr_source *src,
				     enum wr_unpack_format format, struct wr_str dir,
				     const struct wr_unpack_limits *limits, const struct wr_progress *progress,
				     const struct wr_cancel *cancel, struct wr_error *err);

#endif
