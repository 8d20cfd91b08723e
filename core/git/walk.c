#include "core/git/walk.h"

#include "core/git/graph.h"

/* ---- ready ---- */

#define YES 1u /* has an ancestor among the commons, or is one */
#define NO 2u
#define OPEN 4u /* on the stack */
#define STOP 8u /* the client's history ends here */
#define WANT 16u

/* The want's peeled commit; *is = false when it leads to something else. */
static enum wr_code want_node(uint32_t *out, bool *is, struct wr_graph *g, const struct wr_oid *want,
			      struct wr_error *err)
{
	struct wr_oid oid;
	enum wr_type type;
	enum wr_code code = wr_peel(&oid, &type, NULL, g->snap, want, err);

	if (code == WR_E_NOT_THERE)
		return wr_fail(err, WR_E_INTERNAL, "a want is missing");
	if (code != WR_OK)
		return code;
	*is = type == WR_COMMIT;
	return *is ? wr_graph_node(out, g, &oid, err) : WR_OK;
}

static enum wr_code flag_wants(struct wr_nums *nodes, struct wr_graph *g, const struct wr_oids *wants,
			       struct wr_error *err)
{
	for (size_t i = 0; i < wants->len; i++) {
		uint32_t node;
		bool is;
		enum wr_code code = want_node(&node, &is, g, &wants->v[i], err);

		if (code == WR_OK && !is)
			continue;
		if (code != WR_OK || (code = wr_nums_add(nodes, node, err)) != WR_OK)
			return code;
		g->nodes[node].flags |= WANT;
	}
	return WR_OK;
}

static enum wr_code flag_commons(struct wr_graph *g, const struct wr_oids *commons, bool *any, struct wr_error *err)
{
	*any = false;
	for (size_t i = 0; i < commons->len; i++) {
		struct wr_oid oid;
		enum wr_type type;
		enum wr_code code = wr_peel(&oid, &type, NULL, g->snap, &commons->v[i], err);
		uint32_t node;

		if (code == WR_E_NOT_THERE || (code == WR_OK && type != WR_COMMIT))
			continue;
		if (code != WR_OK || (code = wr_graph_node(&node, g, &oid, err)) != WR_OK)
			return code;
		g->nodes[node].flags |= YES;
		*any = true;
	}
	return WR_OK;
}

struct visit {
	uint32_t node, next;
};

struct path {
	struct visit *v;
	size_t len, cap;
};

static enum wr_code path_push(struct path *path, struct wr_graph *g, uint32_t node, struct wr_error *err)
{
	if (path->len == path->cap) {
		size_t cap = path->cap ? path->cap * 2 : 64;
		struct visit *v = reallocarray(path->v, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(err);
		path->v = v;
		path->cap = cap;
	}
	path->v[path->len++] = (struct visit){node, 0};
	g->nodes[node].flags |= OPEN;
	/* One that is not loaded has no parents here. */
	return g->nodes[node].flags & STOP ? WR_OK : wr_graph_load(g, node, err);
}

/*
 * Depth first, every commit at most once over all wants: a commit is left either with YES, by which all those on the
 * path to it have it too, or with NO once all its parents have.
 */
static enum wr_code decide(struct path *path, struct wr_graph *g, uint32_t want, int64_t oldest, struct wr_error *err)
{
	enum wr_code code;

	path->len = 0;
	if (g->nodes[want].flags & (YES | NO))
		return WR_OK;
	if ((code = path_push(path, g, want, err)) != WR_OK)
		return code;
	while (path->len) {
		struct visit *at = &path->v[path->len - 1];
		struct wr_node *n = &g->nodes[at->node];
		uint32_t parent;

		if (at->next == n->parent_count) {
			n->flags |= NO;
			path->len--;
			continue;
		}
		parent = g->edges[n->parents + at->next++];
		if (g->nodes[parent].flags & YES) {
			for (size_t i = 0; i < path->len; i++)
				g->nodes[path->v[i].node].flags |= YES;
			return WR_OK;
		}
		if (g->nodes[parent].flags & (NO | OPEN))
			continue;
		if ((code = path_push(path, g, parent, err)) != WR_OK)
			return code;
		/* Wants are followed whatever their date, or it would depend on their order what is found. */
		if (!(g->nodes[parent].flags & (STOP | WANT)) && g->nodes[parent].date < oldest) {
			g->nodes[parent].flags |= NO;
			path->len--;
		}
	}
	return WR_OK;
}

enum wr_code wr_walk_ready(bool *out, const struct wr_snapshot *snap, const struct wr_oids *wants,
			   const struct wr_oids *commons, const struct wr_oids *client_shallow, int64_t oldest,
			   const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO_S(wr_graph) g = {.snap = snap, .cancel = cancel};
	WR_AUTO_MEM struct visit *visits = NULL;
	WR_AUTO_S(wr_nums) nodes = {NULL, 0, 0};
	struct path path = {NULL, 0, 0};
	bool ready;
	enum wr_code code;

	if ((code = flag_commons(&g, commons, &ready, err)) != WR_OK ||
	    (code = wr_graph_flag(&g, client_shallow, STOP, err)) != WR_OK ||
	    (code = flag_wants(&nodes, &g, wants, err)) != WR_OK)
		return code;
	for (size_t i = 0; i < nodes.len && ready; i++) {
		code = decide(&path, &g, nodes.v[i], oldest, err);
		visits = path.v;
		if (code != WR_OK)
			return code;
		ready = g.nodes[nodes.v[i]].flags & YES;
	}
	*out = ready;
	return WR_OK;
}

/* ---- depth ---- */

#define QUEUED 1u
#define CLIENT 2u /* the client's history ends here so far */
#define CUT 4u	  /* and from now on here */
#define WHOLE 8u  /* its parents are within the depth */

/* All commits of one depth, then those of the next: the first depth at which a commit is met is its least. */
static enum wr_code by_levels(struct wr_nums *queue, struct wr_graph *g, uint32_t depth, struct wr_error *err)
{
	size_t at = 0, level_end = queue->len;
	enum wr_code code;

	for (uint32_t level = 1; at < queue->len; level++, level_end = queue->len) {
		for (; at < level_end; at++) {
			uint32_t node = queue->v[at];

			if ((code = wr_graph_load(g, node, err)) != WR_OK)
				return code;
			if (level >= depth) {
				g->nodes[node].flags |= CUT;
				continue;
			}
			g->nodes[node].flags |= WHOLE;
			for (uint32_t i = 0; i < g->nodes[node].parent_count; i++) {
				uint32_t parent = g->edges[g->nodes[node].parents + i];

				if (g->nodes[parent].flags & QUEUED)
					continue;
				g->nodes[parent].flags |= QUEUED;
				if ((code = wr_nums_add(queue, parent, err)) != WR_OK)
					return code;
			}
		}
	}
	return WR_OK;
}

enum wr_code wr_walk_depth(struct wr_oids *shallow, struct wr_oids *unshallow, const struct wr_snapshot *snap,
			   const struct wr_oids *wants, const struct wr_oids *client_shallow, uint32_t depth,
			   const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO_S(wr_graph) g = {.snap = snap, .cancel = cancel};
	WR_AUTO_S(wr_nums) queue = {NULL, 0, 0};
	enum wr_code code;
	uint32_t node;
	bool is;

	if ((code = wr_graph_flag(&g, client_shallow, CLIENT, err)) != WR_OK)
		return code;
	for (size_t i = 0; i < wants->len; i++) {
		if ((code = want_node(&node, &is, &g, &wants->v[i], err)) != WR_OK)
			return code;
		if (!is || (g.nodes[node].flags & QUEUED))
			continue;
		g.nodes[node].flags |= QUEUED;
		if ((code = wr_nums_add(&queue, node, err)) != WR_OK)
			return code;
	}
	if ((code = by_levels(&queue, &g, depth, err)) != WR_OK)
		return code;
	for (size_t i = 0; i < queue.len; i++) {
		const struct wr_node *n = &g.nodes[queue.v[i]];

		if ((n->flags & (CUT | CLIENT)) == CUT && (code = wr_oids_add(shallow, &n->oid, err)) != WR_OK)
			return code;
		if ((n->flags & (WHOLE | CLIENT)) == (WHOLE | CLIENT) &&
		    (code = wr_oids_add(unshallow, &n->oid, err)) != WR_OK)
			return code;
	}
	return WR_OK;
}
