/*
 * core/content/unpack.h: the files of a tar (plain or gzip) or zip archive as a tree, into a quarantine.
 * Nothing is ever written to a disk but by the quarantine, and no file of more than some megabytes is in memory as a
 * whole. Paths that are absolute, have "..", or stand for .git are refused, wherever they are in the archive; segments
 * that are empty or "." say nothing. Names are bytes, whatever the archive says of their encoding; a backslash is no
 * slash. Devices, FIFOs and sockets are left out, as are folders, which git does not keep; a hard link is a copy of
 * what it leads to inside of the archive; a symbolic link is kept whatever it leads to. A file has mode 0755 where its
 * owner may execute it, else 0644. Of two entries with one path the later one counts; a file takes away a folder that
 * came before it, and the other way round.
 *
 * A zip is read as it comes, and its directory, which is its end, says which of what came counts, under which name and
 * mode.
 * Ownership: all borrowed.
 * Threads:   any.
 * Blocks on: the source; CPU; the quarantine.
 * Errors:    WR_E_INVALID_FILE_PATH (path), WR_E_TOO_LARGE (any of the limits, with a sentence that says which),
 *            WR_E_SOURCE_NOT_FOUND (no archive, or a broken or an encrypted one; no field), WR_E_INVALID_REQUEST (a hard
 *            link to nothing), WR_E_IMPORT_SUBDIR_NOT_FOUND (source, dir),
 *            the source's and the quarantine's.
 */
#ifndef WR_UNPACK_H
#define WR_UNPACK_H

#include "core/base/cancel.h"
#include "core/base/stream.h"
#include "core/git/append.h"

struct wr_unpack_limits {
	uint64_t max_entries;
	uint64_t max_file;  /* bytes of one */
	uint64_t max_bytes; /* of all together, with what describes them */
	uint64_t max_ratio; /* unpacked bytes for each byte of the archive, once there are more than a megabyte */
};

enum wr_unpack_format { WR_UNPACK_TAR, WR_UNPACK_ZIP };

/*
 * *root: the tree, which q has then, and its files, and nothing else. dir: ptr NULL or "", or the folder of the archive
 * whose content is taken; it becomes the root. progress: stage "unpacking", bytes of the archive.
 */
WR_MUST_CHECK enum wr_code wr_unpack(struct wr_oid *root, struct wr_quarantine *q, struct wr_source *src,
				     enum wr_unpack_format format, struct wr_str dir,
				     const struct wr_unpack_limits *limits, const struct wr_progress *progress,
				     const struct wr_cancel *cancel, struct wr_error *err);

/* A path of an archive without what says nothing; false for one that is refused. "": the root. */
bool wr_unpack_path(struct wr_buf *out, struct wr_str path);
/* source: "tar", "zip" or "git". */
enum wr_code wr_unpack_no_dir(const char *source, struct wr_str dir, struct wr_error *err);

#endif
