/*
 * core/content/archive.h: a tree as one stream, tar or zip.
 * Paths begin at the tree's root. Files have mode 0644 or 0755, symbolic links stay links, submodules are left out. All
 * have one time, so that a commit always gives the same bytes.
 * Ownership: all borrowed.
 * Threads:   any.
 * Blocks on: disk; the sink.
 * Errors:    those of view.h and the sink's. What fails after the first bytes leaves a stream without an end, which no
 *            reader takes for a whole one.
 */
#ifndef WR_ARCHIVE_H
#define WR_ARCHIVE_H

#include "core/base/stream.h"
#include "core/content/view.h"

enum wr_archive_format { WR_ARCHIVE_TAR, WR_ARCHIVE_ZIP };

/* when: seconds since 1970. */
WR_MUST_CHECK enum wr_code wr_archive_write(struct wr_sink *sink, const struct wr_view *v, const struct wr_oid *tree,
					    enum wr_archive_format format, int64_t when, struct wr_error *err);

#endif
