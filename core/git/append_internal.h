/*
 * core/git/append_internal.h: what an append needs of a quarantine.
 * Ownership: the quarantine's pack stays its own; the append takes a reference where it keeps it.
 */
#ifndef WR_APPEND_INTERNAL_H
#define WR_APPEND_INTERNAL_H

#include "core/git/append.h"
#include "core/git/pack.h"

/*
 * Ends the collecting: objects that were added one by one become a pack, checked against snap. *pack is borrowed, NULL
 * when nothing came in; its files lie in *dir.
 */
WR_MUST_CHECK enum wr_code wr_quarantine_seal(struct wr_pack **pack, int *dir, struct wr_quarantine *q,
					      const struct wr_snapshot *snap, struct wr_error *err);

#endif
