/*
 * core/git/object_source.h: a large object as it is inflated, for who does not want to hold all of it.
 * Ownership: the struct is the caller's: zero-initialised, opened, wr_object_source_fini(). It borrows the snapshot.
 * Threads:   one at a time.
 * Blocks on: disk (mapped packs).
 * Errors:    WR_E_TOO_LARGE past max_object_bytes; WR_E_INTERNAL for damage, which may show only after all of the
 *            bytes: they are the object when a read told the end. WR_E_UNAVAILABLE (memory).
 */
#ifndef WR_OBJECT_SOURCE_H
#define WR_OBJECT_SOURCE_H

#include "core/base/stream.h"
#include "core/git/delta.h"
#include "core/git/snapshot.h"

struct wr_object_source {
	struct wr_source base;
	uint64_t size; /* of the object */
	/* The rest is the source's own: */
	struct wr_oid oid;
	struct wr_str zip; /* what was not inflated yet */
	uint64_t left;	   /* that has to come of it */
	struct wr_unzip unzip;
	bool ended;
};

/*
 * *opened: whether it could be. An object of less than min bytes, a delta (which needs all of its base), one that is
 * not there or damaged at its front is for wr_snapshot_read().
 */
WR_MUST_CHECK enum wr_code wr_object_source_open(struct wr_object_source *src, bool *opened,
						 const struct wr_snapshot *snap, const struct wr_oid *oid, uint64_t min,
						 struct wr_error *err);
void wr_object_source_fini(struct wr_object_source *src);
WR_DEFINE_AUTO_S(wr_object_source);

#endif
