/*
 * smart-http/names.h: HEAD, which is the default branch's second name.
 * Threads: values and snapshots, no state.
 */
#ifndef WR_NAMES_H
#define WR_NAMES_H

#include "core/git/snapshot.h"

/* The ref that HEAD leads to, or NULL while the default branch does not exist. */
const struct wr_ref *wr_ref_head(const struct wr_snapshot *snap, struct wr_str default_branch);

#endif
