/*
 * Which commits a pack brings: a walk from wants and haves together, youngest first.
 */
#include "core/git/plan_internal.h"

/* Commits looked at after the last one that seems wanted, because dates need not go down along the history. */
#define SLOP 5

/* What base and tails hold goes whole, with all it refers to. */
static bool goes_whole(const struct wr_planner *p, const struct wr_oid *oid)
{
	return p->beyond && wr_snapshot_in_closure(p->plan->snap, oid);
}

static enum wr_code enqueue(struct wr_planner *p, uint32_t node)
{
	enum wr_code code;

	if ((p->g.nodes[node].flags & WR_PLAN_SEEN) || goes_whole(p, &p->g.nodes[node].oid))
		return WR_OK;
	if ((code = wr_graph_load(&p->g, node, p->err)) != WR_OK)
		return code;
	p->g.nodes[node].flags |= WR_PLAN_SEEN | WR_PLAN_QUEUED;
	p->young += !(p->g.nodes[node].flags & WR_PLAN_OLD);
	return wr_heap_push(&p->heap, &p->g, node, p->err);
}

static void set_old(struct wr_planner *p, uint32_t node)
{
	struct wr_node *n = &p->g.nodes[node];

	if ((n->flags & (WR_PLAN_QUEUED | WR_PLAN_OLD)) == WR_PLAN_QUEUED)
		p->young--;
	n->flags |= WR_PLAN_OLD;
}

/*
 * The parents of an old commit are old, and so on through all that was visited already. Nothing is followed beyond
 * the client's own ends of history: it lacks what lies behind them.
 */
static enum wr_code spread_old(struct wr_planner *p, uint32_t node)
{
	enum wr_code code;

	p->stack.len = 0;
	if ((code = wr_nums_add(&p->stack, node, p->err)) != WR_OK)
		return code;
	while (p->stack.len) {
		const struct wr_node *n = &p->g.nodes[p->stack.v[--p->stack.len]];

		if (!(n->flags & WR_NODE_LOADED) || (n->flags & WR_PLAN_STOP_HAVE))
			continue;
		for (uint32_t i = 0; i < n->parent_count; i++) {
			uint32_t parent = p->g.edges[n->parents + i];

			if (p->g.nodes[parent].flags & WR_PLAN_OLD)
				continue;
			set_old(p, parent);
			if ((code = wr_nums_add(&p->stack, parent, p->err)) != WR_OK)
				return code;
		}
	}
	return WR_OK;
}

static enum wr_code enqueue_parents(struct wr_planner *p, uint32_t node, uint32_t stop)
{
	enum wr_code code = WR_OK;

	if (p->g.nodes[node].flags & stop)
		return WR_OK;
	for (uint32_t i = 0; i < p->g.nodes[node].parent_count && code == WR_OK; i++)
		code = enqueue(p, p->g.edges[p->g.nodes[node].parents + i]);
	return code;
}

/*
 * A commit is taken unless it is WR_PLAN_OLD by then, and WR_PLAN_OLD is only what a have really reaches; so stopping
 * early, or dates that lie, can make the pack larger than needed but never incomplete.
 */
static enum wr_code walk_commits(struct wr_planner *p)
{
	int64_t oldest_wanted = INT64_MAX;
	int slop = SLOP;
	enum wr_code code;

	while (p->heap.len) {
		uint32_t node = wr_heap_pop(&p->heap, &p->g);
		struct wr_node *n = &p->g.nodes[node];

		n->flags &= ~WR_PLAN_QUEUED;
		if (n->flags & WR_PLAN_OLD) {
			int64_t date = n->date;

			if ((code = spread_old(p, node)) != WR_OK ||
			    (code = enqueue_parents(p, node, WR_PLAN_STOP_HAVE)) != WR_OK ||
			    (code = wr_plan_step(p)) != WR_OK)
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
		    (code = enqueue_parents(p, node, WR_PLAN_STOP_WANT)) != WR_OK || (code = wr_plan_step(p)) != WR_OK)
			return code;
	}
	return WR_OK;
}

/* Commits to start from; tags on the way and what is no commit go to the lists for later. */
static enum wr_code start_wants(struct wr_planner *p)
{
	const struct wr_plan_request *req = p->req;
	const struct wr_oids *wants = p->beyond ? &p->rest : req->wants;
	WR_AUTO_S(wr_peeler) peeler = {.snap = p->plan->snap, .cancel = p->g.cancel};
	enum wr_code code;
	uint32_t node;

	for (size_t i = 0; i < wants->len; i++) {
		struct wr_oid oid;
		enum wr_type type;
		bool again;

		if (goes_whole(p, &wants->v[i]))
			continue;
		code = wr_peel(&again, &oid, &type, &p->tags, &peeler, &wants->v[i], p->err);
		if (code == WR_E_NOT_THERE)
			return wr_plan_lost(&wants->v[i], p->err);
		if (code != WR_OK)
			return code;
		if (again)
			continue;
		if (type != WR_COMMIT) {
			code = wr_oids_add(type == WR_TREE ? &p->folders : &p->blobs, &oid, p->err);
		} else if ((code = wr_graph_node(&node, &p->g, &oid, p->err)) == WR_OK) {
			p->g.nodes[node].flags |= WR_PLAN_ASKED;
			code = enqueue(p, node);
		}
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

static enum wr_code start_haves(struct wr_planner *p, const struct wr_oids *haves)
{
	WR_AUTO_S(wr_oids) tags = {NULL, 0, 0};
	WR_AUTO_S(wr_peeler) peeler = {.snap = p->plan->snap, .cancel = p->g.cancel};
	enum wr_code code;

	for (size_t i = 0; haves && i < haves->len; i++) {
		struct wr_oid oid;
		enum wr_type type;
		uint32_t node;
		bool again;

		code = wr_peel(&again, &oid, &type, &tags, &peeler, &haves->v[i], p->err);
		if (code == WR_E_NOT_THERE || (code == WR_OK && (again || type != WR_COMMIT)))
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
static enum wr_code mark_stops(struct wr_planner *p)
{
	const struct wr_plan_request *req = p->req;
	enum wr_code code;
	uint32_t node;

	if ((code = wr_graph_flag(&p->g, req->client_shallow, WR_PLAN_STOP_HAVE | WR_PLAN_STOP_WANT, p->err)) != WR_OK)
		return code;
	for (size_t i = 0; req->unshallow && i < req->unshallow->len; i++) {
		if ((code = wr_graph_node(&node, &p->g, &req->unshallow->v[i], p->err)) != WR_OK)
			return code;
		p->g.nodes[node].flags &= ~WR_PLAN_STOP_WANT;
		p->g.nodes[node].flags |= WR_PLAN_STOP_HAVE;
	}
	return wr_graph_flag(&p->g, req->new_shallow, WR_PLAN_STOP_WANT, p->err);
}

enum wr_code wr_plan_commits(struct wr_planner *p)
{
	enum wr_code code;

	if ((code = mark_stops(p)) != WR_OK || (code = start_haves(p, p->req->haves)) != WR_OK ||
	    (code = start_haves(p, p->req->unshallow)) != WR_OK || (code = start_wants(p)) != WR_OK)
		return code;
	return walk_commits(p);
}
