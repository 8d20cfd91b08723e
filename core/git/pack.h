/*
 * core/git/pack.h: one pack, its index, and its reverse index (gitformat-pack: pack version 2, index version 2, reverse
 * index version 1): where entries stand and how they are framed. What they unpack to is objects.c's.
 * Ownership: counted; wr_pack_open() gives one reference.
 * Threads:   an open pack never changes but for `order`, which is set once, atomically; any number of threads read it
 *            without locks.
 * Blocks on: disk (mapped files).
 * Errors:    WR_E_INTERNAL for damage or I/O, WR_E_UNAVAILABLE (memory, descriptors), WR_E_STORAGE_FULL.
 * No file is trusted: opening looks at sizes, headers and at whose the files are, in a time that does not grow with the
 * pack; every count, position and offset is checked where it is used, so that damage is an error and never a crash.
 */
#ifndef WR_PACK_H
#define WR_PACK_H

#include <stdatomic.h>

#include "core/git/snapshot.h"

#define WR_PACK_HEADER 12
#define WR_PACK_SUM 20
#define WR_PACK_NAME 45 /* "pack-" and 40 characters */
#define WR_DELTA_DEPTH 4096

/* Kinds of entries beyond enum wr_type. */
#define WR_OFS_DELTA 6u
#define WR_REF_DELTA 7u

struct wr_pack {
	atomic_uint refs;
	char name[WR_PACK_NAME + 1];
	const uint8_t *data;
	size_t size;
	const uint8_t *idx;
	size_t idx_size;
	const uint8_t *rev; /* NULL: none that is of use */
	size_t rev_size;
	struct wr_guard *data_guard, *idx_guard, *rev_guard; /* of the maps */
	uint32_t count;
	uint32_t long_count;			       /* of off64 */
	const uint8_t *fanout, *names, *off32, *off64; /* inside idx */
	_Atomic(uint32_t *) order;		       /* what rev would hold; made when first needed, never with rev */
	atomic_uint clones; /* that took it whole, as the base */
	atomic_bool anew;   /* its deltas were found by content here (keeper.h) */
};

/* name without its extension: <name>.pack, <name>.idx and perhaps <name>.rev in the folder. */
WR_MUST_CHECK enum wr_code wr_pack_open(struct wr_pack **out, int dir, const char *name, struct wr_error *err);
struct wr_pack *wr_pack_ref(struct wr_pack *p);
void wr_pack_unref(struct wr_pack *p);
WR_DEFINE_AUTO_AS(wr_pack, struct wr_pack, wr_pack_unref);

/* An entry's position in the index (pos < count) by its id. In a damaged index it may not be found. */
bool wr_pack_find(uint32_t *pos, const struct wr_pack *p, const struct wr_oid *oid);
/*
 * For who is about to look for many of them: fetches into the processor's caches where wr_pack_find() looks, or an entry's
 * first bytes, without waiting. Each takes two steps, the second of which (again) begins with what the first fetched; let
 * some other steps lie between. Nothing but the time depends on them.
 */
void wr_pack_hint_id(const struct wr_pack *p, const struct wr_oid *oid, bool again);
void wr_pack_hint_entry(const struct wr_pack *p, uint32_t pos, bool again);
/* False where the index is damaged so that wr_pack_find() cannot tell whether it holds this id. */
bool wr_pack_finds(const struct wr_pack *p, const struct wr_oid *oid);
/* The position of the first id that is not before this one; count where there is none. */
uint32_t wr_pack_lower(const struct wr_pack *p, const struct wr_oid *oid);
void wr_pack_oid(struct wr_oid *out, const struct wr_pack *p, uint32_t pos);
/*
 * What an entry's head says, and its zlib stream, with what follows that: its end is not looked for, which in a large pack
 * costs most of wr_pack_entry().
 */
WR_MUST_CHECK enum wr_code wr_pack_front(unsigned *kind, uint64_t *size, struct wr_str *zip, const struct wr_pack *p,
					 uint32_t pos, struct wr_error *err);
/* Where the entry begins, as the index says: nothing is known of it. 0: the index is damaged. */
uint64_t wr_pack_offset(const struct wr_pack *p, uint32_t pos);

/*
 * The order of the entries in the pack: rank 0 stands first. An entry ends where the next one begins.
 * wr_pack_at_offset(): of the entry that begins there.
 */
WR_MUST_CHECK enum wr_code wr_pack_rank(uint32_t *rank, const struct wr_pack *p, uint32_t pos, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_pack_at_rank(uint32_t *pos, const struct wr_pack *p, uint32_t rank, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_pack_at_offset(uint32_t *rank, uint32_t *pos, const struct wr_pack *p, uint64_t offset,
					     struct wr_error *err);

#define WR_NO_RANK UINT32_MAX

struct wr_entry {
	unsigned kind;		/* enum wr_type, WR_OFS_DELTA or WR_REF_DELTA */
	uint64_t size;		/* inflated; of the delta itself for a delta */
	uint64_t at, data, end; /* where it begins, its zlib stream, and what follows it, as offsets */
	uint32_t base;		/* a delta's base, as position in the index, */
	uint32_t base_rank;	/* and its rank, or WR_NO_RANK where nobody has looked for it */
};
WR_MUST_CHECK enum wr_code wr_pack_entry(struct wr_entry *out, const struct wr_pack *p, uint32_t pos,
					 struct wr_error *err);
/* The same for who knows its rank (or says WR_NO_RANK). */
WR_MUST_CHECK enum wr_code wr_pack_entry_ranked(struct wr_entry *out, const struct wr_pack *p, uint32_t pos,
						uint32_t rank, struct wr_error *err);

/*
 * An entry's header at the front of bytes (type, size): its length, or 0 when it is cut off or the size is too large.
 * wr_entry_put() writes one to out (16 bytes of room) and returns its length.
 */
size_t wr_entry_head(unsigned *kind, uint64_t *size, const uint8_t *bytes, size_t len);
size_t wr_entry_put(uint8_t *out, unsigned kind, uint64_t size);
/* The distance to an OFS_DELTA's base, in the same manner. */
size_t wr_entry_distance(uint64_t *distance, const uint8_t *bytes, size_t len);
size_t wr_entry_put_distance(uint8_t *out, uint64_t distance);

/*
 * idx.c: writes <name>.idx, which must not exist, and flushes it (not the folder). item() gives the entries in the order of
 * their ids, several times over. pack_sum: the pack's trailer.
 */
struct wr_idx_item {
	const struct wr_oid *oid;
	uint32_t crc;
	uint64_t offset;
};
struct wr_idx_source {
	struct wr_idx_item (*item)(const void *arg, uint32_t i);
	const void *arg;
};
WR_MUST_CHECK enum wr_code wr_pack_write_idx(int dir, const char *name, const struct wr_idx_source *src, uint32_t count,
					     const uint8_t pack_sum[WR_PACK_SUM], struct wr_error *err);

/*
 * rev.c: writes <name>.rev, which must not exist, and flushes it (not the folder): order[rank] is the position in the
 * index. pack_sum: the pack's trailer.
 */
WR_MUST_CHECK enum wr_code wr_pack_write_rev(int dir, const char *name, const uint32_t *order, uint32_t count,
					     const uint8_t pack_sum[WR_PACK_SUM], struct wr_error *err);
#define WR_REV_HEADER 12
#define WR_REV_MAGIC "RIDX\0\0\0\1\0\0\0\1" /* version 1, ids are SHA-1 */

static inline uint32_t wr_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline void wr_put_be32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

#endif
