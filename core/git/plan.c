/*
 * Planning: commits by a walk from wants and haves together, youngest first, then the trees and blobs of what is left
 * over.
 */
#include "core/git/plan.h"

#include "core/base/clock.h"
#include "core/git/graph.h"
#include "core/git/parse.h"
#include "core/git/plan_internal.h"

#define TELL_MS 250
/* The haves whose trees are compared in full, beside those next to what is sent. More only makes the pack smaller. */
#define MAX_HAVE_TREES 256
/* Commits looked at after the last one that seems wanted, because dates need not go down along the history. */
#define SLOP 5

void wr_plan_free(struct wr_plan *plan)
{
	if (!plan)
		return;
	wr_oidmap_fini(&plan->objects);
	wr_snapshot_unref(plan->snap);
	free(plan->items);
	free(plan);
}

uint32_t wr_plan_objects(const struct wr_plan *plan)
{
	return plan->count;
}

/* ---- what one planning needs ---- */

#define SEEN 1u
#define OLD 2u /* the client has it */
#define QUEUED 4u
#define STOP_WANT 8u  /* history is cut here for the wants */
#define STOP_HAVE 16u /* and here for the haves */
#define EDGE 32u      /* its tree was marked */

struct planner {
	struct wr_plan *plan;
	const struct wr_plan_request *req;
	const struct wr_progress *progress;
	struct wr_graph g;
	struct wr_heap heap;
	size_t young; /* of the heap, those not OLD */
	struct wr_nums result, stack, haves;
	struct wr_oids tags, direct, trees; /* tags of wants; other wants; trees yet to be read */
	uint64_t steps;
	int64_t told;
	struct wr_error *err;
};

static void planner_fini(struct planner *p)
{
	wr_graph_fini(&p->g);
	wr_heap_fini(&p->heap);
	wr_nums_fini(&p->result);
	wr_nums_fini(&p->stack);
	wr_nums_fini(&p->haves);
	wr_oids_fini(&p->tags);
	wr_oids_fini(&p->direct);
	wr_oids_fini(&p->trees);
}

/* Now and then: is somebody still waiting, and what may he read meanwhile? */
static enum wr_code step(struct planner *p)
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
		p->progress->fn(p->progress->arg, "Enumerating objects", p->plan->count, 0, false);
	}
	return WR_OK;
}

static enum wr_code lost(const struct wr_oid *oid, struct wr_error *err)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	return wr_fail(err, WR_E_INTERNAL, "object %s is missing or damaged", hex);
}

/* ---- commits ---- */

static enum wr_code enqueue(struct planner *p, uint32_t node)
{
	enum wr_code code = wr_graph_load(&p->g, node, p->err);

	if (code != WR_OK || (p->g.nodes[node].flags & SEEN))
		return code;
	p->g.nodes[node].flags |= SEEN | QUEUED;
	p->young += !(p->g.nodes[node].flags & OLD);
	return wr_heap_push(&p->heap, &p->g, node, p->err);
}

static void set_old(struct planner *p, uint32_t node)
{
	struct wr_node *n = &p->g.nodes[node];

	if ((n->flags & (QUEUED | OLD)) == QUEUED)
		p->young--;
	n->flags |= OLD;
}

/*
 * The parents of an old commit are old, and so on through all that was visited already. Nothing is followed beyond
 * the client's own ends of history: it lacks what lies behind them.
 */
static enum wr_code spread_old(struct planner *p, uint32_t node)
{
	enum wr_code code;

	p->stack.len = 0;
	if ((code = wr_nums_add(&p->stack, node, p->err)) != WR_OK)
		return code;
	while (p->stack.len) {
		const struct wr_node *n = &p->g.nodes[p->stack.v[--p->stack.len]];

		if (!(n->flags & WR_NODE_LOADED) || (n->flags & STOP_HAVE))
			continue;
		for (uint32_t i = 0; i < n->parent_count; i++) {
			uint32_t parent = p->g.edges[n->parents + i];

			if (p->g.nodes[parent].flags & OLD)
				continue;
			set_old(p, parent);
			if ((code = wr_nums_add(&p->stack, parent, p->err)) != WR_OK)
				return code;
		}
	}
	return WR_OK;
}

static enum wr_code enqueue_parents(struct planner *p, uint32_t node, uint32_t stop)
{
	enum wr_code code = WR_OK;

	if (p->g.nodes[node].flags & stop)
		return WR_OK;
	for (uint32_t i = 0; i < p->g.nodes[node].parent_count && code == WR_OK; i++)
		code = enqueue(p, p->g.edges[p->g.nodes[node].parents + i]);
	return code;
}

/*
 * A commit is taken unless it is OLD by then, and OLD is only what a have really reaches; so stopping early, or dates
 * that lie, can make the pack larger than needed but never incomplete.
 */
static enum wr_code walk_commits(struct planner *p)
{
	int64_t oldest_wanted = INT64_MAX;
	int slop = SLOP;
	enum wr_code code;

	while (p->heap.len) {
		uint32_t node = wr_heap_pop(&p->heap, &p->g);
		struct wr_node *n = &p->g.nodes[node];

		n->flags &= ~QUEUED;
		if (n->flags & OLD) {
			int64_t date = n->date;

			if ((code = spread_old(p, node)) != WR_OK ||
			    (code = enqueue_parents(p, node, STOP_HAVE)) != WR_OK)
				return code;
			if (p->young || date >= oldest_wanted)
				slop = SLOP;
			else if (slop-- == 0)
				break;
			continue;
		}
		p->young--;
		if (n->date < oldest_wanted)
			oldest_wanted = n->date;
		if ((code = wr_nums_add(&p->result, node, p->err)) != WR_OK ||
		    (code = enqueue_parents(p, node, STOP_WANT)) != WR_OK || (code = step(p)) != WR_OK)
			return code;
	}
	return WR_OK;
}

/* Commits to start from; tags on the way and what is no commit go to the lists for later. */
static enum wr_code start_wants(struct planner *p)
{
	const struct wr_plan_request *req = p->req;
	enum wr_code code;
	uint32_t node;

	for (size_t i = 0; i < req->wants->len; i++) {
		struct wr_oid oid;
		enum wr_type type;

		code = wr_peel(&oid, &type, &p->tags, p->plan->snap, &req->wants->v[i], p->err);
		if (code == WR_E_NOT_THERE)
			return lost(&req->wants->v[i], p->err);
		if (code != WR_OK)
			return code;
		if (type != WR_COMMIT)
			code = wr_oids_add(&p->direct, &oid, p->err);
		else if ((code = wr_graph_node(&node, &p->g, &oid, p->err)) == WR_OK)
			code = enqueue(p, node);
		if (code != WR_OK)
			return code;
	}
	for (size_t i = 0; req->unshallow && i < req->unshallow->len; i++)
		if ((code = wr_graph_node(&node, &p->g, &req->unshallow->v[i], p->err)) != WR_OK ||
		    (code = wr_graph_load(&p->g, node, p->err)) != WR_OK ||
		    (code = enqueue_parents(p, node, 0)) != WR_OK)
			return code;
	return WR_OK;
}

static enum wr_code start_haves(struct planner *p, const struct wr_oids *haves)
{
	WR_AUTO_S(wr_oids) tags = {NULL, 0, 0};
	enum wr_code code;

	for (size_t i = 0; haves && i < haves->len; i++) {
		struct wr_oid oid;
		enum wr_type type;
		uint32_t node;

		code = wr_peel(&oid, &type, &tags, p->plan->snap, &haves->v[i], p->err);
		if (code == WR_E_NOT_THERE || (code == WR_OK && type != WR_COMMIT))
			continue;
		if (code != WR_OK || (code = wr_graph_node(&node, &p->g, &oid, p->err)) != WR_OK)
			return code;
		set_old(p, node);
		if ((code = enqueue(p, node)) != WR_OK || (code = wr_nums_add(&p->haves, node, p->err)) != WR_OK)
			return code;
	}
	for (size_t i = 0; i < tags.len; i++)
		if ((code = wr_oidmap_add(&p->plan->objects, &tags.v[i], WR_PLAN_KNOWN, NULL, p->err)) != WR_OK)
			return code;
	return WR_OK;
}

/* Where the walks stop. Roots of the client that stay roots stop the wants too: it did not ask for what is behind. */
static enum wr_code mark_stops(struct planner *p)
{
	const struct wr_plan_request *req = p->req;
	enum wr_code code;
	uint32_t node;

	if ((code = wr_graph_flag(&p->g, req->client_shallow, STOP_HAVE | STOP_WANT, p->err)) != WR_OK)
		return code;
	for (size_t i = 0; req->unshallow && i < req->unshallow->len; i++) {
		if ((code = wr_graph_node(&node, &p->g, &req->unshallow->v[i], p->err)) != WR_OK)
			return code;
		p->g.nodes[node].flags = (p->g.nodes[node].flags & ~STOP_WANT) | STOP_HAVE;
	}
	return wr_graph_flag(&p->g, req->new_shallow, STOP_WANT, p->err);
}

/* ---- trees and blobs ---- */

static enum wr_code add_item(struct planner *p, const struct wr_oid *oid, bool *added)
{
	struct wr_plan *plan = p->plan;
	enum wr_code code;
	uint32_t pos;
	size_t pack;

	if (plan->count == plan->cap) {
		uint32_t cap = plan->cap ? plan->cap * 2 : 256;
		struct wr_plan_item *v = cap > plan->cap ? reallocarray(plan->items, cap, sizeof *v) : NULL;

		if (!v)
			return wr_fail_nomem(p->err);
		plan->items = v;
		plan->cap = cap;
	}
	if ((code = wr_oidmap_add(&plan->objects, oid, 1 + plan->count, added, p->err)) != WR_OK || !*added)
		return code;
	if (!wr_snapshot_find(&pack, &pos, plan->snap, oid))
		return lost(oid, p->err);
	plan->items[plan->count++] = (struct wr_plan_item){(uint32_t)pack, pos, 0};
	return step(p);
}

/* Every entry of one tree: to the plan, or to what the client is known to have. Folders go to the list of trees. */
static enum wr_code read_tree(struct planner *p, const struct wr_oid *oid, bool known)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	struct wr_tree_entry e;
	struct wr_str rest;
	enum wr_code code = wr_snapshot_read(&obj, p->plan->snap, oid, p->err);
	bool added;

	if (code == WR_E_NOT_THERE || (code == WR_OK && obj.type != WR_TREE))
		return lost(oid, p->err);
	if (code != WR_OK)
		return code;
	rest = wr_str_n(obj.data, obj.size);
	while ((code = wr_tree_next(&e, &rest, NULL)) == WR_OK) {
		if (e.mode == WR_MODE_LINK)
			continue;
		code = known ? wr_oidmap_add(&p->plan->objects, &e.oid, WR_PLAN_KNOWN, &added, p->err)
			     : add_item(p, &e.oid, &added);
		if (code == WR_OK && added && e.mode == WR_MODE_TREE)
			code = wr_oids_add(&p->trees, &e.oid, p->err);
		if (code != WR_OK)
			return code;
	}
	return code == WR_E_NOT_THERE ? WR_OK : lost(oid, p->err);
}

/* A tree and all below it. The list of trees takes the place of recursion, however deep they are nested. */
static enum wr_code walk_tree(struct planner *p, const struct wr_oid *root, bool known)
{
	enum wr_code code;
	bool added;

	code = known ? wr_oidmap_add(&p->plan->objects, root, WR_PLAN_KNOWN, &added, p->err)
		     : add_item(p, root, &added);
	if (code != WR_OK || !added)
		return code;
	p->trees.len = 0;
	if ((code = wr_oids_add(&p->trees, root, p->err)) != WR_OK)
		return code;
	while (p->trees.len && code == WR_OK) {
		struct wr_oid oid = p->trees.v[--p->trees.len];

		if ((code = step(p)) == WR_OK)
			code = read_tree(p, &oid, known);
	}
	return code;
}

/* The client has this commit, so it has all of its tree. */
static enum wr_code mark_tree(struct planner *p, uint32_t node)
{
	struct wr_oid tree;
	enum wr_code code;

	if (p->g.nodes[node].flags & EDGE)
		return WR_OK;
	p->g.nodes[node].flags |= EDGE;
	if ((code = wr_graph_load(&p->g, node, p->err)) != WR_OK)
		return code;
	tree = p->g.nodes[node].tree;
	return walk_tree(p, &tree, true);
}

static enum wr_code mark_known(struct planner *p)
{
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < p->haves.len && i < MAX_HAVE_TREES && code == WR_OK; i++)
		code = mark_tree(p, p->haves.v[i]);
	for (size_t i = 0; i < p->result.len; i++) {
		uint32_t node = p->result.v[i];

		if (p->g.nodes[node].flags & OLD)
			continue;
		for (uint32_t k = 0; k < p->g.nodes[node].parent_count && code == WR_OK; k++) {
			uint32_t parent = p->g.edges[p->g.nodes[node].parents + k];

			if (p->g.nodes[parent].flags & OLD)
				code = mark_tree(p, parent);
		}
	}
	return code;
}

static enum wr_code add_direct(struct planner *p, const struct wr_oid *oid)
{
	enum wr_type type;
	enum wr_code code = wr_snapshot_stat(p->plan->snap, oid, &type, NULL, p->err);
	bool added;

	if (code != WR_OK)
		return code;
	return type == WR_TREE ? walk_tree(p, oid, false) : add_item(p, oid, &added);
}

/* Tags whose object is sent go along, with the tags between. */
static enum wr_code add_tags(struct planner *p)
{
	size_t n;
	const struct wr_ref *refs = wr_snapshot_refs(p->plan->snap, &n);
	enum wr_code code;
	bool added;

	for (size_t i = 0; i < n; i++) {
		WR_AUTO_S(wr_oids) chain = {NULL, 0, 0};
		const uint32_t *slot;
		struct wr_oid target;
		enum wr_type type;

		if (wr_oid_zero(&refs[i].peeled) || !wr_str_starts(refs[i].name, WR_S("refs/tags/")))
			continue;
		slot = wr_oidmap_slot(&p->plan->objects, &refs[i].peeled);
		if (!slot || *slot - 1 == WR_PLAN_KNOWN)
			continue;
		if ((code = wr_peel(&target, &type, &chain, p->plan->snap, &refs[i].oid, p->err)) != WR_OK)
			return code == WR_E_NOT_THERE ? lost(&refs[i].oid, p->err) : code;
		for (size_t k = 0; k < chain.len; k++)
			if ((code = add_item(p, &chain.v[k], &added)) != WR_OK)
				return code;
	}
	return WR_OK;
}

static enum wr_code add_objects(struct planner *p)
{
	enum wr_code code = WR_OK;
	bool added;

	for (size_t i = 0; i < p->result.len && code == WR_OK; i++) {
		struct wr_node n = p->g.nodes[p->result.v[i]];

		if (n.flags & OLD)
			continue;
		if ((code = add_item(p, &n.oid, &added)) == WR_OK)
			code = walk_tree(p, &n.tree, false);
	}
	for (size_t i = 0; i < p->tags.len && code == WR_OK; i++)
		code = add_item(p, &p->tags.v[i], &added);
	for (size_t i = 0; i < p->direct.len && code == WR_OK; i++)
		code = add_direct(p, &p->direct.v[i]);
	if (code == WR_OK && p->req->include_tag)
		code = add_tags(p);
	return code;
}

/* ---- the order of writing ---- */

struct sort_key {
	uint64_t offset;
	struct wr_plan_item item;
};

static int by_place(const void *a, const void *b)
{
	const struct sort_key *x = a, *y = b;

	if (x->item.pack != y->item.pack)
		return x->item.pack < y->item.pack ? -1 : 1;
	return (x->offset > y->offset) - (x->offset < y->offset);
}

/* By place in the stored packs: they are read from front to back, and bases mostly come before their deltas. */
static enum wr_code sort_items(struct planner *p)
{
	struct wr_plan *plan = p->plan;
	WR_AUTO_MEM struct sort_key *keys = calloc(plan->count ? plan->count : 1, sizeof *keys);

	if (!keys)
		return wr_fail_nomem(p->err);
	for (uint32_t i = 0; i < plan->count; i++) {
		const struct wr_plan_item *it = &plan->items[i];

		keys[i] = (struct sort_key){wr_pack_offset(plan->snap->packs[it->pack], it->pos), *it};
	}
	qsort(keys, plan->count, sizeof *keys, by_place);
	for (uint32_t i = 0; i < plan->count; i++) {
		struct wr_oid oid;
		uint32_t *slot;

		plan->items[i] = keys[i].item;
		wr_pack_oid(&oid, plan->snap->packs[keys[i].item.pack], keys[i].item.pos);
		slot = wr_oidmap_slot(&plan->objects, &oid);
		/* The index named another object before: its page has gone since. */
		if (!slot)
			return lost(&oid, p->err);
		*slot = 1 + (1 + i);
	}
	return WR_OK;
}

static enum wr_code make(struct planner *p)
{
	enum wr_code code;

	if ((code = mark_stops(p)) != WR_OK || (code = start_haves(p, p->req->haves)) != WR_OK ||
	    (code = start_haves(p, p->req->unshallow)) != WR_OK || (code = start_wants(p)) != WR_OK ||
	    (code = walk_commits(p)) != WR_OK || (code = mark_known(p)) != WR_OK || (code = add_objects(p)) != WR_OK)
		return code;
	if (p->progress && p->progress->fn)
		p->progress->fn(p->progress->arg, "Enumerating objects", p->plan->count, p->plan->count, true);
	return sort_items(p);
}

enum wr_code wr_plan_new(struct wr_plan **out, struct wr_snapshot *snap, const struct wr_plan_request *req,
			 const struct wr_progress *progress, const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO(wr_plan) *plan = calloc(1, sizeof *plan);
	struct planner p = {.plan = plan,
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
	code = make(&p);
	planner_fini(&p);
	if (code == WR_OK)
		*out = WR_STEAL(plan);
	return code;
}
