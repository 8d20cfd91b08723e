/*
 * Planning. Mostly: commits by a walk from wants and haves together, youngest first, then the trees and blobs of what
 * is left over. A clone of all heads and tags needs no walk: it is base and tails as they are, and what came after
 * them.
 */
#include "core/git/plan.h"

#include "core/base/clock.h"
#include "core/git/plan_internal.h"

#define TELL_MS 250
/* Trees are mostly deltas on trees read shortly before. */
#define CACHE_BYTES ((size_t)4 << 20)

void wr_plan_free(struct wr_plan *plan)
{
	if (!plan)
		return;
	wr_oidmap_fini(&plan->objects);
	wr_plan_whole_fini(plan);
	wr_snapshot_unref(plan->snap);
	free(plan->items);
	free(plan);
}

uint32_t wr_plan_objects(const struct wr_plan *plan)
{
	return plan->total;
}

static void planner_fini(struct wr_planner *p)
{
	wr_graph_fini(&p->g);
	wr_heap_fini(&p->heap);
	wr_nums_fini(&p->result);
	wr_nums_fini(&p->stack);
	wr_nums_fini(&p->haves);
	wr_oids_fini(&p->rest);
	wr_oids_fini(&p->tags);
	wr_oids_fini(&p->folders);
	wr_oids_fini(&p->blobs);
	wr_oids_fini(&p->trees);
	wr_oids_fini(&p->level);
	wr_cache_free(p->cache);
	free(p->recent);
}

enum wr_code wr_plan_step(struct wr_planner *p)
{
	enum wr_code code;
	int64_t now;

	if (++p->steps % 256 != 0)
		return WR_OK;
	if ((code = wr_cancelled(p->g.cancel, p->err)) != WR_OK || !p->progress || !p->progress->fn)
		return code;
	now = wr_mono_ms();
	if (now - p->told >= TELL_MS) {
		p->told = now;
		p->progress->fn(p->progress->arg, "Enumerating objects", p->plan->total + p->plan->count, 0, false);
	}
	return WR_OK;
}

enum wr_code wr_plan_lost(const struct wr_oid *oid, struct wr_error *err)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	return wr_fail(err, WR_E_INTERNAL, "object %s is missing or damaged", hex);
}

/* ---- the order of items ---- */

struct sort_key {
	uint64_t offset;
	struct wr_place place;
};

static int by_place(const void *a, const void *b)
{
	const struct sort_key *x = a, *y = b;

	if (x->place.src != y->place.src)
		return x->place.src < y->place.src ? -1 : 1;
	return (x->offset > y->offset) - (x->offset < y->offset);
}

/* By place in their sources: they are read from front to back, and bases mostly come before their deltas. */
static enum wr_code sort_items(struct wr_planner *p)
{
	struct wr_plan *plan = p->plan;
	WR_AUTO_MEM struct sort_key *keys = calloc(plan->count ? plan->count : 1, sizeof *keys);

	if (!keys)
		return wr_fail_nomem(p->err);
	for (uint32_t i = 0; i < plan->count; i++) {
		struct wr_place place = plan->items[i].place;

		keys[i] = (struct sort_key){wr_snapshot_offset(plan->snap, place), place};
	}
	qsort(keys, plan->count, sizeof *keys, by_place);
	for (uint32_t i = 0; i < plan->count; i++) {
		struct wr_oid oid;
		uint32_t *slot;

		plan->items[i].place = keys[i].place;
		wr_snapshot_oid(&oid, plan->snap, keys[i].place);
		slot = wr_oidmap_slot(&plan->objects, &oid);
		/* The index named another object before: its page has gone since. */
		if (!slot)
			return wr_plan_lost(&oid, p->err);
		*slot = 1 + (1 + i);
	}
	return WR_OK;
}

static enum wr_code make(struct wr_planner *p)
{
	struct wr_plan *plan = p->plan;
	enum wr_code code;

	if ((code = wr_cache_new(&p->cache, CACHE_BYTES, p->err)) != WR_OK ||
	    (code = wr_plan_whole(&p->beyond, &p->rest, plan, p->req, p->err)) != WR_OK ||
	    (code = wr_plan_commits(p)) != WR_OK || (code = wr_plan_add_objects(p)) != WR_OK)
		return code;
	if (plan->count > UINT32_MAX - plan->total)
		return wr_fail(p->err, WR_E_TOO_LARGE, "More objects than a pack can hold");
	plan->total += plan->count;
	if (p->progress && p->progress->fn)
		p->progress->fn(p->progress->arg, "Enumerating objects", plan->total, plan->total, true);
	return sort_items(p);
}

enum wr_code wr_plan_new(struct wr_plan **out, struct wr_snapshot *snap, const struct wr_plan_request *req,
			 const struct wr_progress *progress, const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO(wr_plan) *plan = calloc(1, sizeof *plan);
	struct wr_planner p = {.plan = plan,
			       .req = req,
			       .progress = progress,
			       .g = {.snap = snap, .cancel = cancel},
			       .told = wr_mono_ms(),
			       .err = err};
	enum wr_code code;

	if (!plan)
		return wr_fail_nomem(err);
	plan->snap = wr_snapshot_ref_more(snap);
	plan->thin = req->thin;
	plan->ofs_delta = req->ofs_delta;
	plan->filter = req->filter ? *req->filter : (struct wr_filter)WR_FILTER_INIT;
	code = make(&p);
	planner_fini(&p);
	if (code == WR_OK)
		*out = WR_STEAL(plan);
	return code;
}
