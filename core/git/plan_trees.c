/*
 * Which trees and blobs a pack brings: what the wants and the commits of the plan refer to, but not what the client
 * has, nor what the filter leaves out.
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

/* ---- what the filter says ---- */

static bool no_blobs(const struct wr_filter *f)
{
	return f->blob_limit == 0 || !(f->types & 1u << WR_BLOB);
}

/* Whether trees are looked at only for themselves, or not at all. */
static bool no_trees(const struct wr_filter *f)
{
	return f->tree_depth == 0 || (no_blobs(f) && !(f->types & 1u << WR_TREE));
}

/* Not asked of blobs where the filter wants none. */
static enum wr_code lets_through(bool *yes, struct wr_planner *p, const struct wr_oid *oid, enum wr_type type)
{
	const struct wr_filter *f = &p->plan->filter;
	uint64_t size;
	enum wr_code code;

	*yes = f->types & 1u << type;
	if (type != WR_BLOB || f->blob_limit == UINT64_MAX)
		return WR_OK;
	/* What is in the map is decided: adding it changes nothing. */
	if (wr_oidmap_has(&p->plan->objects, oid))
		return WR_OK;
	code = wr_snapshot_stat(p->plan->snap, oid, NULL, &size, p->err);
	if (code == WR_E_NOT_THERE)
		return wr_plan_lost(oid, p->err);
	*yes = code == WR_OK && size < f->blob_limit;
	return code;
}

/* ---- walking ---- */

/* What trees are walked for. */
enum purpose { TO_SEND, TO_MARK };

static enum wr_code add_object(struct wr_planner *p, const struct wr_oid *oid, enum wr_type type, enum purpose why,
			       bool *added)
{
	bool yes;
	enum wr_code code;

	if (why == TO_MARK)
		return wr_oidmap_add(&p->plan->objects, oid, WR_PLAN_KNOWN, added, p->err);
	if ((code = lets_through(&yes, p, oid, type)) != WR_OK)
		return code;
	return yes ? wr_plan_add_item(p, oid, added)
		   : wr_oidmap_add(&p->plan->objects, oid, WR_PLAN_LEFT_OUT, added, p->err);
}

/* A tree to be read, unless all is known about it already. */
static enum wr_code enter(struct wr_planner *p, const struct wr_oid *oid, enum purpose why)
{
	bool added;
	enum wr_code code = add_object(p, oid, WR_TREE, why, &added);

	return code == WR_OK && added ? wr_oids_add(&p->trees, oid, p->err) : code;
}

/* Every entry of one tree: to the plan, or to what the client is known to have. Folders go to the list of trees. */
static enum wr_code read_tree(struct wr_planner *p, const struct wr_oid *oid, enum purpose why)
{
	bool blobs = !no_blobs(&p->plan->filter), added;
	struct wr_tree_entry e;
	struct wr_str rest;
	enum wr_type type;
	enum wr_code code = wr_plan_step(p);

	/* One may be thousands of deltas on a large one. */
	if (code == WR_OK && (code = wr_cancelled(p->g.cancel, p->err)) == WR_OK)
		code = wr_snapshot_borrow(&type, &rest, p->plan->snap, oid, p->cache, p->err);
	if (code == WR_E_NOT_THERE || (code == WR_OK && type != WR_TREE))
		return wr_plan_lost(oid, p->err);
	if (code != WR_OK)
		return code;
	while ((code = wr_tree_next(&e, &rest, NULL)) == WR_OK) {
		if (e.mode == WR_MODE_LINK || (e.mode != WR_MODE_TREE && !blobs) || met(p, &e.oid))
			continue;
		code = e.mode == WR_MODE_TREE ? enter(p, &e.oid, why) : add_object(p, &e.oid, WR_BLOB, why, &added);
		if (code != WR_OK)
			return code;
	}
	return code == WR_E_NOT_THERE ? WR_OK : wr_plan_lost(oid, p->err);
}

/* The trees to be read and all below them. The list takes the place of recursion, however deep they are nested. */
static enum wr_code read_all(struct wr_planner *p, enum purpose why)
{
	enum wr_code code = WR_OK;

	while (p->trees.len && code == WR_OK) {
		struct wr_oid oid = p->trees.v[--p->trees.len];

		code = read_tree(p, &oid, why);
	}
	return code;
}

/* Only they themselves: those below them are to be read then. */
static enum wr_code read_level(struct wr_planner *p, enum purpose why)
{
	struct wr_oids level = p->trees;
	enum wr_code code = WR_OK;

	p->trees = p->level;
	p->trees.len = 0;
	p->level = level;
	for (size_t i = 0; i < level.len && code == WR_OK; i++)
		code = read_tree(p, &level.v[i], why);
	return code;
}

/* ---- known ---- */

/* Below the filter's depth nothing is read: of those trees the client has no entries. */
static enum wr_code read_levels(struct wr_planner *p, enum purpose why)
{
	enum wr_code code = WR_OK;

	for (uint64_t depth = 1; depth < p->plan->filter.tree_depth && p->trees.len && code == WR_OK; depth++)
		code = read_level(p, why);
	p->trees.len = 0;
	return code;
}

/*
 * The client has this commit, so it has all of its tree; but for what lay too deep, which it may now be sent from where
 * it is less deep.
 */
static enum wr_code mark_tree(struct wr_planner *p, uint32_t node)
{
	struct wr_oid tree;
	enum wr_code code;

	if (p->g.nodes[node].flags & WR_PLAN_EDGE)
		return WR_OK;
	p->g.nodes[node].flags |= WR_PLAN_EDGE;
	if ((code = wr_graph_load(&p->g, node, p->err)) != WR_OK)
		return code;
	tree = p->g.nodes[node].tree;
	if ((code = enter(p, &tree, TO_MARK)) != WR_OK)
		return code;
	return p->plan->filter.tree_depth == UINT64_MAX ? read_all(p, TO_MARK) : read_levels(p, TO_MARK);
}

static enum wr_code mark_edges(struct wr_planner *p)
{
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < p->result.len; i++) {
		uint32_t node = p->result.v[i];

		if (p->g.nodes[node].flags & WR_PLAN_OLD)
			continue;
		for (uint32_t k = 0; k < p->g.nodes[node].parent_count && code == WR_OK; k++) {
			uint32_t parent = p->g.edges[p->g.nodes[node].parents + k];

			if (p->g.nodes[parent].flags & WR_PLAN_OLD)
				code = mark_tree(p, parent);
		}
	}
	return code;
}

static enum wr_code mark_known(struct wr_planner *p)
{
	enum wr_code code;

	code = mark_edges(p);
	for (size_t i = 0; i < p->haves.len && i < MAX_HAVE_TREES && code == WR_OK; i++)
		code = mark_tree(p, p->haves.v[i]);
	return code;
}

/* ---- sent ---- */

/* The trees of commits; each with all below it before the next, unless levels are counted. */
static enum wr_code add_roots(struct wr_planner *p, bool levels)
{
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < p->result.len && code == WR_OK; i++) {
		struct wr_node n = p->g.nodes[p->result.v[i]];

		if (n.flags & WR_PLAN_OLD)
			continue;
		if ((code = enter(p, &n.tree, TO_SEND)) == WR_OK && !levels)
			code = read_all(p, TO_SEND);
	}
	return code;
}

/*
 * All trees of one depth are read before those below them, so an object is met where it is least deep. The entries of
 * a tree that is wanted itself are as deep as a commit's tree, 0.
 */
static enum wr_code add_levels(struct wr_planner *p)
{
	enum wr_code code = read_level(p, TO_SEND);

	if (code == WR_OK)
		code = add_roots(p, true);
	return code == WR_OK ? read_levels(p, TO_SEND) : code;
}

enum wr_code wr_plan_add_trees(struct wr_planner *p)
{
	const struct wr_filter *f = &p->plan->filter;
	bool reads = !no_trees(f) && (p->result.len || p->folders.len), added;
	enum wr_code code = WR_OK;

	p->recent = calloc((size_t)1 << RECENT_BITS, sizeof *p->recent);
	if (!p->recent)
		return wr_fail_nomem(p->err);
	if (reads && (code = mark_known(p)) != WR_OK)
		return code;
	for (size_t i = 0; i < p->folders.len; i++)
		if ((code = wr_plan_add_wanted(p, &p->folders.v[i], &added)) != WR_OK ||
		    (added && (code = wr_oids_add(&p->trees, &p->folders.v[i], p->err)) != WR_OK))
			return code;
	if (!reads)
		return WR_OK;
	if (f->tree_depth != UINT64_MAX)
		return add_levels(p);
	return (code = read_all(p, TO_SEND)) != WR_OK ? code : add_roots(p, false);
}
