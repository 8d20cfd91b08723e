/*
 * core/content/keep.h: bytes that were worked out lately, by a key that they follow from for ever: an object's id, or an
 * id and a path. So nothing that is kept becomes wrong, and who has no right to the object does not come to ask.
 * Ownership: wr_keep_new() to wr_keep_free(); what is kept is counted, wr_keep_find() gives one reference.
 * Threads:   any; what is kept is immutable.
 * Blocks on: a short mutex.
 */
#ifndef WR_KEEP_H
#define WR_KEEP_H

#include <stdatomic.h>

#include "core/base/error.h"

struct wr_kept {
	atomic_uint users;
	size_t len;
	max_align_t bytes[]; /* len of them */
};
void wr_kept_unref(struct wr_kept *kept); /* NULL is allowed */
WR_DEFINE_AUTO_AS(wr_kept, struct wr_kept, wr_kept_unref);

struct wr_keep;
/* Holds max_bytes at most, about. */
WR_MUST_CHECK enum wr_code wr_keep_new(struct wr_keep **out, size_t max_bytes, struct wr_error *err);
void wr_keep_free(struct wr_keep *keep);

/* NULL: not known, or keep is NULL. */
struct wr_kept *wr_keep_find(struct wr_keep *keep, struct wr_str key);
/* Copies both. What is large against max_bytes is not kept. keep may be NULL. */
void wr_keep_add(struct wr_keep *keep, struct wr_str key, struct wr_str bytes);

#endif
