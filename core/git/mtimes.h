/*
 * core/git/mtimes.h: <pack>.mtimes (gitformat-pack, "pack-*.mtimes files"): of each object of a cruft pack a time. Git takes
 * a pack with such a file for one of unreachable objects.
 * Ownership: the list that is read is malloc'ed and the caller's.
 * Threads:   values, no state.
 * Blocks on: disk.
 * Errors:    WR_E_STORAGE_FULL, WR_E_UNAVAILABLE, WR_E_INTERNAL (I/O; the file does not belong to the pack, or is damaged).
 */
#ifndef WR_MTIMES_H
#define WR_MTIMES_H

#include "core/git/pack.h"

/* times[i] is that of position i in the pack's index: seconds since 1970. The file must not exist; it is flushed. */
WR_MUST_CHECK enum wr_code wr_mtimes_write(uint64_t *written, int dir, const struct wr_pack *pack, const uint32_t *times,
					   struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_mtimes_read(uint32_t **out, int dir, const struct wr_pack *pack, struct wr_error *err);
/* The same of a file's bytes, for a pack of so many objects with this sum; WR_E_NOT_THERE, with no words: it is none. */
WR_MUST_CHECK enum wr_code wr_mtimes_of_bytes(uint32_t **out, const uint8_t *bytes, size_t len, uint32_t count,
					      const uint8_t pack_sum[WR_PACK_SUM], struct wr_error *err);

#endif
