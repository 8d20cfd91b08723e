/*
 * core/git/index.h: takes in one pack from outside: checks it whole, completes it, writes it and its index to a folder.
 * Ownership: the folder, source and snapshot stay the caller's. After an error files may be left in the folder, which
 *            the caller removes as a whole.
 * Threads:   one per call.
 * Blocks on: disk, the source.
 * Errors:    WR_E_BAD_PACK with a sentence, WR_E_TOO_LARGE, WR_E_STORAGE_FULL, WR_E_CANCELLED, and what the source
 * says.
 *
 * Checked: framing and trailer, every zlib stream, every delta, ids (recomputed with collision detection), the
 * structure of commits, trees and tags, and that what they refer to is in the pack or in the snapshot with the right
 * type. Memory is about 100 bytes an object and some 100 MB at most for contents: larger ones lie in mapped files.
 */
#ifndef WR_INDEX_H
#define WR_INDEX_H

#include "core/git/append.h"

struct wr_index_limits {
	uint64_t max_bytes; /* of the pack as it arrives */
	uint32_t max_objects;
	uint64_t max_object;   /* inflated size of one */
	uint64_t max_unpacked; /* inflated size of all, deltas and what they make included */
};

/*
 * Reads the source to its end, which must be the end of the pack. *count is the number of entries; with more than none
 * <name>.pack and <name>.idx are in dir, flushed (dir itself is not).
 */
WR_MUST_CHECK enum wr_code wr_index_pack(uint32_t *count, int dir, const char *name, struct wr_source *src,
					 const struct wr_snapshot *snap, const struct wr_index_limits *limits,
					 const struct wr_progress *progress, const struct wr_cancel *cancel,
					 struct wr_error *err);

#endif
