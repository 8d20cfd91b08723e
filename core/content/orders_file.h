/*
 * core/content/orders_file.h: an order in a repository's folder, so that the first who asks after a start need not wait for a
 * walk over all history. docs/store-format.md has the format.
 * Ownership: wr_order_load() gives one reference.
 * Threads, blocking: as orders.h.
 */
#ifndef WR_ORDERS_FILE_H
#define WR_ORDERS_FILE_H

#include "core/content/orders.h"

/* NULL: there is none, or none that is whole and of this repository's history as it is cut off. */
struct wr_order *wr_order_load(struct wr_git *git, const char *repo_id, const struct wr_view *v);
void wr_order_store(struct wr_git *git, const char *repo_id, const struct wr_view *v, const struct wr_order *order);

#endif
