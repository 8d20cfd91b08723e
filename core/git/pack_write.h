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

#include <openssl/evp.h>

#include "core/git/graph.h"
#include "core/git/plan.h"
#include "core/git/snapshot_internal.h"

#define WR_PACK_CHAIN 250

/*
 * pack-<random>.pack, .idx and .rev in the folder, flushed (the folder is not). *written grows by their bytes.
 * count > 0.
 */
WR_MUST_CHECK enum wr_code wr_pack_write(struct wr_pack **out, uint64_t *written, int dir,
					 const struct wr_snapshot *snap, const struct wr_place *places,
					 size_t count, const struct wr_cancel *cancel, struct wr_error *err);

/*
 * The same, with deltas found by content instead of those that are stored: for each object among some of the same type,
 * the same name and about the same size. Reads everything several times; slow. progress may be NULL.
 */
WR_MUST_CHECK enum wr_code wr_pack_write_anew(struct wr_pack **out, uint64_t *written, int dir,
					      const struct wr_snapshot *snap, const struct wr_place *places, size_t count,
					      const struct wr_progress *progress, const struct wr_cancel *cancel,
					      struct wr_error *err);

/*
 * Whether the stored entry's bytes have the sum that its pack's index has of them; journals were checked whole when they
 * were opened.
 */
bool wr_pack_sound(const struct wr_snapshot *snap, struct wr_place place, const struct wr_stored *e);

/* Removes the files of a pack; errors leave them to the sweep at the next opening. */
void wr_pack_remove(int dir, const char *name);

/* ---- inside: pack_write.c copies, pack_choose.c finds deltas, pack_write_index.c makes the tables ---- */

struct wr_pack_item {
	struct wr_oid oid;
	uint32_t crc;
	uint64_t offset; /* 0: not written yet */
	struct wr_place place;
	uint16_t depth;
	bool open; /* waits for its base */
};

struct wr_pack_writer {
	const struct wr_snapshot *snap;
	const struct wr_cancel *cancel;
	struct wr_error *err;
	struct wr_pack_item *items; /* by id */
	uint32_t count;
	uint32_t fan[65537]; /* where the ids with these first two bytes begin */
	uint32_t *order;     /* as they shall be written */
	uint32_t *choice;    /* NULL: as stored; else of each item the item that it becomes a delta on, or WR_NO_ITEM */
	struct wr_nums waiting;
	struct wr_cache *cache;
	EVP_MD_CTX *sha;
	int fd;
	uint64_t at;	/* bytes so far */
	uint32_t src;	/* from which entries come now */
	size_t touched; /* of it, since pages were let go */
	size_t len;
	uint8_t buf[1 << 18];
};
#define WR_NO_ITEM UINT32_MAX

uint32_t wr_pack_item(const struct wr_pack_writer *w, const struct wr_oid *oid); /* WR_NO_ITEM: not among them */
/* Fills w->choice. No chain of choices is longer than WR_PACK_CHAIN / 5, none is a circle. */
WR_MUST_CHECK enum wr_code wr_pack_choose(struct wr_pack_writer *w, const struct wr_progress *progress);

/* <name>.idx and <name>.rev of items sorted by id; sum: the pack's. */
WR_MUST_CHECK enum wr_code wr_pack_write_index(uint64_t *written, int dir, const char *name,
					       const struct wr_pack_item *items, uint32_t count,
					       const uint8_t sum[WR_PACK_SUM], struct wr_error *err);

#endif
