/*
 * core/git/snapshot_internal.h: what a snapshot is made of; for the store's own files.
 * Ownership: a snapshot holds one reference to each of its packs; refs' names lie in its text.
 * Threads:   immutable once made.
 */
#ifndef WR_SNAPSHOT_INTERNAL_H
#define WR_SNAPSHOT_INTERNAL_H

#include <stdatomic.h>

#include "core/git/pack.h"
#include "core/git/snapshot.h"

struct wr_snapshot {
	atomic_uint users;
	uint64_t max_object;
	struct wr_ref *refs; /* sorted by name */
	size_t ref_count;
	char *text;		/* where the names of the refs lie */
	struct wr_pack **packs; /* oldest first */
	size_t pack_count;
};

/* Empty: no refs, no packs. */
WR_MUST_CHECK enum wr_code wr_snapshot_new(struct wr_snapshot **out, uint64_t max_object, struct wr_error *err);

/* Room for count packs, which the caller appends with a reference each. */
WR_MUST_CHECK enum wr_code wr_snapshot_room(struct wr_snapshot *snap, size_t count, struct wr_error *err);

/* The packs of old (may be NULL) and one more (may be NULL); no refs. */
WR_MUST_CHECK enum wr_code wr_snapshot_extend(struct wr_snapshot **out, const struct wr_snapshot *old,
					      struct wr_pack *more, struct wr_error *err);

struct wr_snapshot *wr_snapshot_ref_more(struct wr_snapshot *snap);

/* Where the object lies: the youngest of the packs that have it. */
bool wr_snapshot_find(size_t *pack, uint32_t *pos, const struct wr_snapshot *snap, const struct wr_oid *oid);

#endif
