/*
 * Which trees, blobs and tags a pack brings: what the commits of the plan refer to, but not what is known to be at
 * the client.
 */
#include "core/git/parse.h"
#include "core/git/plan_internal.h"

/* The haves whose trees are compared in full, beside those next to what is sent. More only makes the pack smaller. */
#define MAX_HAVE_TREES 256
#define RECENT_BITS 15

/*
 * Whether this id was met a moment ago, by any name: then all is decided about it. Most entries of a tree are those
 * of the tree before it, and this is much cheaper than to look each of them up among all objects.
 */
static bool met(struct wr_planner *p, const struct wr_oid *oid)
{
	struct wr_oid *r;

	r = &p->recent[(unsigned)(oid->id[0] << 16 | oid->id[1] << 8 | oid->id[2]) >> (24 - RECENT_BITS)];
	if (wr_oid_eq(r, oid))
		return true;
	*r = *oid;
	return false;
}

static enum wr_code add_item(struct wr_planner *p, const struct wr_oid *oid, bool *added)
{
	struct wr_plan *plan = p->plan;
	struct wr_place place;
	enum wr_code code;

	*added = false;
	if (p->beyond && wr_snapshot_in_closure(plan->snap, oid))
		return WR_OK;
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
	if (!wr_snapshot_find(&place, plan->snap, oid))
		return wr_plan_lost(oid, p->err);
	plan->items[plan->count++] = (struct wr_plan_item){place, 0};
	return wr_plan_step(p);
}

/* What a tree that is walked is for: a value of the map, or this. */
#define TO_SEND UINT32_MAX

static enum wr_code add_object(struct wr_planner *p, const struct wr_oid *oid, uint32_t as, bool *added)
{
	return as == TO_SEND ? add_item(p, oid, added) : wr_oidmap_add(&p->plan->objects, oid, as, added, p->err);
}

/* Every entry of one tree: to the plan, or to what the client is known to have. Folders go to the list of trees. */
static enum wr_code read_tree(struct wr_planner *p, const struct wr_oid *oid, uint32_t as)
{
	struct wr_tree_entry e;
	struct wr_str rest;
	enum wr_type type;
	enum wr_code code = wr_snapshot_borrow(&type, &rest, p->plan->snap, oid, p->cache, p->err);
	bool added;

	if (code == WR_E_NOT_THERE || (code == WR_OK && type != WR_TREE))
		return wr_plan_lost(oid, p->err);
	if (code != WR_OK)
		return code;
	while ((code = wr_tree_next(&e, &rest, NULL)) == WR_OK) {
		if (e.mode == WR_MODE_LINK || met(p, &e.oid))
			continue;
		code = add_object(p, &e.oid, as, &added);
		if (code == WR_OK && added && e.mode == WR_MODE_TREE)
			code = wr_oids_add(&p->trees, &e.oid, p->err);
		if (code != WR_OK)
			return code;
	}
	return code == WR_E_NOT_THERE ? WR_OK : wr_plan_lost(oid, p->err);
}

/* A tree and all below it. The list of trees takes the place of recursion, however deep they are nested. */
static enum wr_code walk_tree(struct wr_planner *p, const struct wr_oid *root, uint32_t as)
{
	bool added;
	enum wr_code code = add_object(p, root, as, &added);

	if (code != WR_OK || !added)
		return code;
	p->trees.len = 0;
	if ((code = wr_oids_add(&p->trees, root, p->err)) != WR_OK)
		return code;
	while (p->trees.len && code == WR_OK) {
		struct wr_oid oid = p->trees.v[--p->trees.len];

		if ((code = wr_plan_step(p)) == WR_OK)
			code = read_tree(p, &oid, as);
	}
	return code;
}

/* The client has this commit, so it has all of its tree. */
static enum wr_code mark_tree(struct wr_planner *p, uint32_t node, uint32_t as)
{
	struct wr_oid tree;
	enum wr_code code;

	if (p->g.nodes[node].flags & WR_PLAN_EDGE)
		return WR_OK;
	p->g.nodes[node].flags |= WR_PLAN_EDGE;
	if ((code = wr_graph_load(&p->g, node, p->err)) != WR_OK)
		return code;
	tree = p->g.nodes[node].tree;
	return walk_tree(p, &tree, as);
}

static void mark_shown(struct wr_planner *p)
{
	size_t n;
	const struct wr_ref *refs = wr_snapshot_refs(p->plan->snap, &n);

	for (size_t i = 0; i < n; i++) {
		const struct wr_oid *tip = wr_oid_zero(&refs[i].peeled) ? &refs[i].oid : &refs[i].peeled;
		const uint32_t *slot = wr_oidmap_slot(&p->g.map, tip);

		if (slot)
			p->g.nodes[*slot - 1].flags |= WR_PLAN_SHOWN;
	}
}

static enum wr_code mark_haves(struct wr_planner *p, bool shown, uint32_t as)
{
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < p->haves.len && i < MAX_HAVE_TREES && code == WR_OK; i++)
		if (!(p->g.nodes[p->haves.v[i]].flags & WR_PLAN_SHOWN) == !shown)
			code = mark_tree(p, p->haves.v[i], as);
	return code;
}

/* First what refs reach: whatever else has the same objects then, their ids are told already. */
static enum wr_code mark_known(struct wr_planner *p)
{
	enum wr_code code = WR_OK;

	if (p->haves.len)
		mark_shown(p);
	for (size_t i = 0; i < p->result.len; i++) {
		uint32_t node = p->result.v[i];

		if (p->g.nodes[node].flags & WR_PLAN_OLD)
			continue;
		for (uint32_t k = 0; k < p->g.nodes[node].parent_count && code == WR_OK; k++) {
			uint32_t parent = p->g.edges[p->g.nodes[node].parents + k];

			if (p->g.nodes[parent].flags & WR_PLAN_OLD)
				code = mark_tree(p, parent, WR_PLAN_KNOWN);
		}
	}
	if (code == WR_OK)
		code = mark_haves(p, true, WR_PLAN_KNOWN);
	return code == WR_OK ? mark_haves(p, false, WR_PLAN_CLAIMED) : code;
}

static enum wr_code add_direct(struct wr_planner *p, const struct wr_oid *oid)
{
	enum wr_type type;
	enum wr_code code = wr_snapshot_stat(p->plan->snap, oid, &type, NULL, p->err);
	bool added;

	if (code != WR_OK)
		return code;
	return type == WR_TREE ? walk_tree(p, oid, TO_SEND) : add_item(p, oid, &added);
}

static bool sent(const struct wr_planner *p, const struct wr_oid *oid)
{
	const uint32_t *slot = wr_oidmap_slot(&p->plan->objects, oid);

	return (slot && wr_plan_is_item(*slot - 1)) || (p->beyond && wr_snapshot_in_closure(p->plan->snap, oid));
}

static enum wr_code add_tag(struct wr_planner *p, const struct wr_ref *ref)
{
	WR_AUTO_S(wr_oids) chain = {NULL, 0, 0};
	struct wr_oid target;
	enum wr_type type;
	enum wr_code code;
	bool added;

	if (wr_oid_zero(&ref->peeled) || !wr_str_starts(ref->name, WR_S("refs/tags/")) || !sent(p, &ref->peeled) ||
	    sent(p, &ref->oid))
		return WR_OK;
	if ((code = wr_peel(&target, &type, &chain, p->plan->snap, &ref->oid, p->err)) != WR_OK)
		return code == WR_E_NOT_THERE ? wr_plan_lost(&ref->oid, p->err) : code;
	for (size_t k = 0; k < chain.len && code == WR_OK; k++)
		code = add_item(p, &chain.v[k], &added);
	return code;
}

/* Tags whose object is sent go along, with the tags between. What the checkpoint knew of them goes whole or not. */
static enum wr_code add_tags(struct wr_planner *p)
{
	const struct wr_overlay *over = p->plan->snap->overlay;
	const struct wr_ref *refs = over ? over->v : NULL;
	size_t n = over ? over->count : 0;
	enum wr_code code = WR_OK;

	if (!p->beyond)
		refs = wr_snapshot_refs(p->plan->snap, &n);
	for (size_t i = 0; i < n && code == WR_OK; i++)
		code = add_tag(p, &refs[i]);
	return code;
}

enum wr_code wr_plan_add_objects(struct wr_planner *p)
{
	enum wr_code code;
	bool added;

	p->recent = calloc((size_t)1 << RECENT_BITS, sizeof *p->recent);
	if (!p->recent)
		return wr_fail_nomem(p->err);
	code = mark_known(p);

	for (size_t i = 0; i < p->result.len && code == WR_OK; i++) {
		struct wr_node n = p->g.nodes[p->result.v[i]];

		if (n.flags & WR_PLAN_OLD)
			continue;
		if ((code = add_item(p, &n.oid, &added)) == WR_OK)
			code = walk_tree(p, &n.tree, TO_SEND);
	}
	for (size_t i = 0; i < p->tags.len && code == WR_OK; i++)
		code = add_item(p, &p->tags.v[i], &added);
	for (size_t i = 0; i < p->direct.len && code == WR_OK; i++)
		code = add_direct(p, &p->direct.v[i]);
	if (code == WR_OK && p->req->include_tag)
		code = add_tags(p);
	return code;
}