/*
 * core/git/oid.h: object ids (SHA-1) and object types.
 * Threads: values, no state.
 */
#ifndef WR_OID_H
#define WR_OID_H

#include "core/base/id.h"

#define WR_OID_RAW 20
#define WR_OID_HEX 40

struct wr_oid {
	uint8_t id[WR_OID_RAW];
};

/* As pack entries number them (gitformat-pack). */
enum wr_type { WR_COMMIT = 1, WR_TREE = 2, WR_BLOB = 3, WR_TAG = 4 };

static inline int wr_oid_cmp(const struct wr_oid *a, const struct wr_oid *b)
{
	return memcmp(a->id, b->id, WR_OID_RAW);
}
static inline bool wr_oid_eq(const struct wr_oid *a, const struct wr_oid *b)
{
	return memcmp(a->id, b->id, WR_OID_RAW) == 0;
}
static inline bool wr_oid_zero(const struct wr_oid *a)
{
	static const struct wr_oid zero;

	return memcmp(a->id, zero.id, WR_OID_RAW) == 0;
}
static inline void wr_oid_hex(char out[WR_OID_HEX + 1], const struct wr_oid *oid)
{
	wr_hex(out, oid->id, WR_OID_RAW);
}
/* 40 hexadecimal digits of either case; false otherwise. */
static inline bool wr_oid_parse(struct wr_oid *out, struct wr_str hex)
{
	return wr_unhex(out->id, WR_OID_RAW, hex);
}

const char *wr_type_name(enum wr_type type);

#endif
