/*
 * core/content/sizes.h: how large the files of a tree are, for trees that were listed lately. A tree says its files' ids and
 * not their sizes, and to find the size of one that is stored as a delta costs what finding and inflating it costs.
 * A tree's id stands for all that is below it, so nothing that is kept here ever becomes wrong, and who has no right to a
 * tree has none of its ids to ask with.
 * Ownership: wr_sizes_new() to wr_sizes_free(); a list is counted, wr_sizes_find() gives one reference.
 * Threads:   any; lists are immutable.
 * Blocks on: a short mutex.
 */
#ifndef WR_SIZES_H
#define WR_SIZES_H

#include <stdatomic.h>

#include "core/git/oidmap.h"

struct wr_sizes_list {
	atomic_uint users;
	uint32_t count; /* of the tree's files, submodules and folders left out */
	uint64_t v[];
};
void wr_sizes_list_unref(struct wr_sizes_list *list); /* NULL is allowed */

struct wr_sizes;
/* Holds max_bytes at most, about. */
WR_MUST_CHECK enum wr_code wr_sizes_new(struct wr_sizes **out, size_t max_bytes, struct wr_error *err);
void wr_sizes_free(struct wr_sizes *sizes);

/* NULL: not known, or sizes is NULL. */
struct wr_sizes_list *wr_sizes_find(struct wr_sizes *sizes, const struct wr_oid *tree);
/* Copies v. sizes may be NULL. */
void wr_sizes_keep(struct wr_sizes *sizes, const struct wr_oid *tree, const uint64_t *v, size_t count);

#endif
