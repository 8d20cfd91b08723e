/*
 * core/git/plan_internal.h: what planning (plan.c) hands to writing (plan_write.c).
 */
#ifndef WR_PLAN_INTERNAL_H
#define WR_PLAN_INTERNAL_H

#include "core/git/plan.h"
#include "core/git/snapshot_internal.h"

struct wr_plan_item {
	uint32_t pack, pos;
	uint64_t out; /* offset in the pack that is written */
};

/* Values in the map of objects: the client has it, else 1 + its place among the items. */
#define WR_PLAN_KNOWN 0u

struct wr_plan {
	struct wr_snapshot *snap;
	bool thin, ofs_delta, written;
	struct wr_oidmap objects;
	struct wr_plan_item *items;
	uint32_t count, cap;
};

#endif
