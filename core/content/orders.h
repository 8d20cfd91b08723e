/*
 * core/content/orders.h: the history of a tip as one array, in history.h's order, with each commit's parents as places in
 * it; and those that were asked for lately.
 * Ownership: an order is counted and immutable; wr_order_of() gives one reference.
 * Threads:   any.
 * Blocks on: disk and CPU; a short mutex.
 * Errors:    those of view.h.
 */
#ifndef WR_ORDERS_H
#define WR_ORDERS_H

#include <stdatomic.h>

#include "core/content/history.h"

struct wr_order {
	atomic_uint users;
	struct wr_oid *commits; /* children before parents; the tip first */
	uint32_t count;
	uint32_t *first;   /* count + 1: where each one's parents begin in parents */
	uint32_t *parents; /* places in commits; each is behind its child's */
	void *bytes;	   /* NULL, or malloc'ed memory in which the three lie */
	uint32_t unstored; /* how many of them the file in the repository's folder lacks; all of them where there is none */
};
/* Room for so many; WR_E_UNAVAILABLE without memory. The arrays are the caller's to fill. */
WR_MUST_CHECK enum wr_code wr_order_new(struct wr_order **out, uint32_t count, uint32_t parents, struct wr_error *err);
/*
 * By a walk over all of the tip's history: some microseconds and 200 bytes a commit. WR_E_TOO_LARGE where there are more
 * than `most`.
 */
WR_MUST_CHECK enum wr_code wr_order_make(struct wr_order **out, const struct wr_view *v, const struct wr_oid *tip,
					 uint32_t most, struct wr_error *err);
void wr_order_unref(struct wr_order *order);
WR_DEFINE_AUTO_AS(wr_order, struct wr_order, wr_order_unref);

/* orders NULL: nothing is kept. */
WR_MUST_CHECK enum wr_code wr_order_of(struct wr_order **out, struct wr_orders *orders, const char *repo_id,
				       const struct wr_view *v, const struct wr_oid *tip, struct wr_error *err);

/* The place of a commit, or UINT32_MAX. */
uint32_t wr_order_find(const struct wr_order *order, const struct wr_oid *oid);
/* Sets yes[i] of all that the commit at this place reaches, itself included; yes has count places, false so far. */
void wr_order_mark(bool *yes, const struct wr_order *order, uint32_t from);

#endif
