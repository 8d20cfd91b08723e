/*
 * core/git/oidmap.h: a map from object id to a 32-bit value; also serves as a set.
 * Ownership: the struct is the caller's; wr_oidmap_fini() releases its memory. Zero-initialised is empty.
 * Threads:   one writer, or many readers.
 * Ids come from outside and need not be sums of anything: a tree, a commit or a want may name whatever its author likes.
 * So all of their bytes are hashed, with random seeds of the process against ids picked to collide.
 */
#ifndef WR_OIDMAP_H
#define WR_OIDMAP_H

#include "core/base/error.h"
#include "core/git/oid.h"

struct wr_hold;

struct wr_oidmap {
	struct wr_oid *keys;
	uint32_t *values; /* 0 marks a free slot; stored as value + 1 */
	size_t cap;	  /* a power of two, or 0 */
	size_t len;
	struct wr_hold *hold; /* NULL, or where its memory comes from (hold.h), which then lives longer than the map */
	bool mapped;
};

void wr_oidmap_fini(struct wr_oidmap *map);
WR_DEFINE_AUTO_S(wr_oidmap);

/*
 * Adds key with value unless it is there (then its value stays). *added says which; may be NULL. value < 2^32 - 1.
 * Errors: WR_E_UNAVAILABLE (memory).
 */
WR_MUST_CHECK enum wr_code wr_oidmap_add(struct wr_oidmap *map, const struct wr_oid *key, uint32_t value, bool *added,
					 struct wr_error *err);

/* The value's place, or NULL; valid until the next add. It holds value + 1. */
uint32_t *wr_oidmap_slot(const struct wr_oidmap *map, const struct wr_oid *key);

static inline bool wr_oidmap_has(const struct wr_oidmap *map, const struct wr_oid *key)
{
	return wr_oidmap_slot(map, key) != NULL;
}

/* The hash of an id, seeded for this process; for tables of others' own. */
uint64_t wr_oid_hash(const struct wr_oid *oid);

/* Growing array of ids, zero-initialised is empty. */
struct wr_oids {
	struct wr_oid *v;
	size_t len, cap;
};
void wr_oids_fini(struct wr_oids *list);
WR_DEFINE_AUTO_S(wr_oids);
WR_MUST_CHECK enum wr_code wr_oids_add(struct wr_oids *list, const struct wr_oid *oid, struct wr_error *err);

#endif
