/*
 * core/git/cache.h: inflated objects that were used lately; for objects.c. Making one is in snapshot_internal.h.
 * Ownership: the cache owns what it holds, and takes over what it is given in any case.
 * Threads:   one at a time.
 * Errors:    none: what cannot be held is not held.
 */
#ifndef WR_CACHE_H
#define WR_CACHE_H

#include "core/git/snapshot_internal.h"

struct wr_cached {
	struct wr_object obj;
	unsigned depth; /* deltas between it and a full object: a chain is as long for who has its end at hand */
};

/* obj is borrowed until the next call with this cache. False when it is not there, or cache is NULL. */
bool wr_cache_get(struct wr_cached *out, struct wr_cache *cache, struct wr_place place);

/* obj's data goes into the cache, or is freed where it does not fit or stands there already (or cache is NULL). */
void wr_cache_give(struct wr_cache *cache, struct wr_place place, const struct wr_cached *c);

/* The same, but what does not fit lives until the next call with this cache, which must not be NULL. */
void wr_cache_keep(struct wr_cache *cache, struct wr_place place, const struct wr_cached *c);

/* Whether one of this size would fit. False where cache is NULL. */
bool wr_cache_fits(const struct wr_cache *cache, size_t size);

#endif
