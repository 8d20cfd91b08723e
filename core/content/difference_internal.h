/*
 * core/content/difference_internal.h: what difference.c and renames.c share.
 * Ownership, threads, errors: as difference.h.
 */
#ifndef WR_DIFFERENCE_INTERNAL_H
#define WR_DIFFERENCE_INTERNAL_H

#include "core/content/difference.h"

/* Joins what went away and what came where one is the other, renamed. */
WR_MUST_CHECK enum wr_code wr_find_renames(struct wr_difference *d, const struct wr_view *v, struct wr_error *err);

#endif
