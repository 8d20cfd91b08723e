/*
 * core/git/pack.h: reads one pack and its index (gitformat-pack: pack version 2, index version 2).
 * Ownership: counted; wr_pack_open() gives one reference.
 * Threads:   an open pack never changes; any number of threads read it without locks.
 * Blocks on: disk (mapped files).
 * Errors:    WR_E_INTERNAL for damage, WR_E_TOO_LARGE, WR_E_UNAVAILABLE.
 * Neither file is trusted: every offset is checked, chains are bounded, so that damage is an error and never a crash.
 */
#ifndef WR_PACK_H
#define WR_PACK_H

#include <stdatomic.h>

#include "core/git/snapshot.h"

#define WR_PACK_HEADER 12
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
	struct wr_guard *data_guard, *idx_guard; /* of the two maps */
	uint32_t count;
	const uint8_t *fanout, *names, *off32, *off64; /* inside idx */
	uint32_t *order;			       /* index positions by offset in the pack */
};

/* name without its extension: <name>.pack and <name>.idx in the folder. */
WR_MUST_CHECK enum wr_code wr_pack_open(struct wr_pack **out, int dir, const char *name, struct wr_error *err);
struct wr_pack *wr_pack_ref(struct wr_pack *p);
void wr_pack_unref(struct wr_pack *p);
WR_DEFINE_AUTO_AS(wr_pack, struct wr_pack, wr_pack_unref);

bool wr_pack_find(uint32_t *pos, const struct wr_pack *p, const struct wr_oid *oid);
void wr_pack_oid(struct wr_oid *out, const struct wr_pack *p, uint32_t pos);
uint64_t wr_pack_offset(const struct wr_pack *p, uint32_t pos);

struct wr_entry {
	unsigned kind;	    /* enum wr_type, WR_OFS_DELTA or WR_REF_DELTA */
	uint64_t size;	    /* inflated; of the delta itself for a delta */
	uint64_t data, end; /* the zlib stream, as offsets */
	uint32_t base;	    /* a delta's base, as position in the index */
};
WR_MUST_CHECK enum wr_code wr_pack_entry(struct wr_entry *out, const struct wr_pack *p, uint32_t pos,
					 struct wr_error *err);

WR_MUST_CHECK enum wr_code wr_pack_stat(enum wr_type *type, uint64_t *size, const struct wr_pack *p, uint32_t pos,
					struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_pack_read(struct wr_object *out, const struct wr_pack *p, uint32_t pos, uint64_t max,
					struct wr_error *err);

/*
 * An entry's header at the front of bytes (type, size): its length, or 0 when it is cut off or the size is too large.
 * wr_entry_put() writes one to out (16 bytes of room) and returns its length.
 */
size_t wr_entry_head(unsigned *kind, uint64_t *size, const uint8_t *bytes, size_t len);
size_t wr_entry_put(uint8_t *out, unsigned kind, uint64_t size);
/* The distance to an OFS_DELTA's base, in the same manner. */
size_t wr_entry_distance(uint64_t *distance, const uint8_t *bytes, size_t len);
size_t wr_entry_put_distance(uint8_t *out, uint64_t distance);

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
