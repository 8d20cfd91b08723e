/*
 * core/git/pack_write.h: stored entries, wherever they lie, as a new pack that plain git reads too.
 * Ownership: *out is one reference to the open pack. places are the caller's; of those that name one object the first
 *            source's counts.
 * Threads:   one per call.
 * Blocks on: disk.
 * Errors:    WR_E_STORAGE_FULL, WR_E_CANCELLED, WR_E_TOO_LARGE and WR_E_INTERNAL (I/O; a stored entry is damaged: its
 *            bytes are compared with their sum before they are copied). No file of it is left then.
 *
 * Entries come in the order of their sources and offsets, but a base before its deltas. They are copied as they are; a
 * delta whose base is not in the new pack, or is only to be had from itself, or that would end a chain of more than
 * WR_PACK_CHAIN deltas, is stored whole.
 */
#ifndef WR_PACK_WRITE_H
#define WR_PACK_WRITE_H

#include "core/git/snapshot_internal.h"
#include "core/git/walk.h"

#define WR_PACK_CHAIN 250

/*
 * pack-<random>.pack, .idx and .rev in the folder, flushed (the folder is not). *written grows by their bytes.
 * count > 0.
 */
WR_MUST_CHECK enum wr_code wr_pack_write(struct wr_pack **out, uint64_t *written, int dir,
					 const struct wr_snapshot *snap, const struct wr_place *places,
					 size_t count, const struct wr_cancel *cancel, struct wr_error *err);

/* Removes the files of a pack; errors leave them to the sweep at the next opening. */
void wr_pack_remove(int dir, const char *name);

/* ---- inside: pack_write.c chooses and copies, pack_write_index.c makes the tables ---- */

struct wr_pack_item {
	struct wr_oid oid;
	uint32_t crc;
	uint64_t offset; /* 0: not written yet */
	struct wr_place place;
	uint16_t depth;
	bool open; /* waits for its base */
};

/* <name>.idx and <name>.rev of items sorted by id; sum: the pack's. */
WR_MUST_CHECK enum wr_code wr_pack_write_index(uint64_t *written, int dir, const char *name,
					       const struct wr_pack_item *items, uint32_t count,
					       const uint8_t sum[WR_PACK_SUM], struct wr_error *err);

#endif
