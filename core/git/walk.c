#include "core/git/walk.h"

#include "core/git/graph.h"
#include "core/git/snapshot_internal.h"

/* ---- ready ---- */

#define YES 1u /* has an ancestor among the commons, or is one */
#define NO 2u
#define OPEN 4u /* on the stack */
#define STOP 8u /* the client's history ends here */
#define WANT 16u

/*
 * The nodes of the commits that wants are or lead to, in their order and each once; they get the flag.
 */
static enum wr_code want_nodes(struct wr_nums *nodes, struct wr_graph *g, const struct wr_oids *wants, uint32_t flag,
			       struct wr_error *err)
{
	WR_AUTO_S(wr_peeler) peeler = {.snap = g->snap, .cancel = g->cancel};

	for (size_t i = 0; i < wants->len; i++) {
		struct wr_oid oid;
		enum wr_type type;
		uint32_t node;
		bool again;
		enum wr_code code = wr_peel(&again, &oid, &type, NULL, &peeler, &wants->v[i], err);

		if (code == WR_E_NOT_THERE)
			return wr_fail(err, WR_E_INTERNAL, "a want is missing");
		if (code == WR_OK && (again || type != WR_COMMIT))
			continue;
		if (code != WR_OK || (code = wr_graph_node(&node, g, &oid, err)) != WR_OK ||
		    (code = wr_nums_add(nodes, node, err)) != WR_OK)
			return code;
		g->nodes[node].flags |= flag;
	}
	return WR_OK;
}

static enum wr_code flag_commons(struct wr_graph *g, const struct wr_oids *commons, bool *any, struct wr_error *err)
{
	WR_AUTO_S(wr_peeler) peeler = {.snap = g->snap, .cancel = g->cancel};

	*any = false;
	for (size_t i = 0; i < commons->len; i++) {
		struct wr_oid oid;
		enum wr_type type;
		uint32_t node;
		bool again;
		enum wr_code code = wr_peel(&again, &oid, &type, NULL, &peeler, &commons->v[i], err);

		if (code == WR_E_NOT_THERE || (code == WR_OK && (again || type != WR_COMMIT)))
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

	if ((code = flag_commons(&g, commons, &ready, err)) != WR_OK)
		return code;
	if (!ready) {
		*out = false;
		return WR_OK;
	}
	if ((code = wr_graph_flag(&g, client_shallow, STOP, err)) != WR_OK ||
	    (code = want_nodes(&nodes, &g, wants, WANT, err)) != WR_OK)
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

/* ---- parents ---- */

#define TOLD 1u /* STOP is as above */

enum wr_code wr_walk_parents(struct wr_oids *out, int64_t *oldest, const struct wr_snapshot *snap,
			     const struct wr_oids *commits, const struct wr_oids *ends, const struct wr_cancel *cancel,
			     struct wr_error *err)
{
	WR_AUTO_S(wr_graph) g = {.snap = snap, .cancel = cancel};
	int64_t date = INT64_MAX;
	enum wr_code code = wr_graph_flag(&g, ends, STOP, err);
	uint32_t node;

	for (size_t i = 0; i < commits->len && code == WR_OK; i++) {
		if ((code = wr_graph_node(&node, &g, &commits->v[i], err)) != WR_OK ||
		    (code = wr_graph_load(&g, node, err)) != WR_OK)
			return code;
		date = g.nodes[node].date < date ? g.nodes[node].date : date;
		for (uint32_t p = 0; p < g.nodes[node].parent_count && !(g.nodes[node].flags & STOP); p++) {
			struct wr_node *parent = &g.nodes[g.edges[g.nodes[node].parents + p]];

			if (parent->flags & TOLD)
				continue;
			parent->flags |= TOLD;
			if ((code = wr_oids_add(out, &parent->oid, err)) != WR_OK)
				return code;
		}
	}
	if (oldest && code == WR_OK)
		*oldest = date;
	return code;
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
			if (level >= depth || g->nodes[node].flags & WR_NODE_ROOT) {
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

	if ((code = wr_graph_flag(&g, client_shallow, CLIENT, err)) != WR_OK ||
	    (code = want_nodes(&queue, &g, wants, QUEUED, err)) != WR_OK ||
	    (code = by_levels(&queue, &g, depth, err)) != WR_OK)
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

/* ---- choice ---- */

#define LEFT_OUT 4u
#define KEPT 8u /* QUEUED and CLIENT are as above */

/*
 * Visits what todo reaches, each commit once. kept NULL: nothing of it is kept; else it gets those that are no older
 * than since, and nothing is looked at behind the others, so that the walk costs what is kept and not all history.
 */
static enum wr_code choose(struct wr_nums *kept, struct wr_nums *todo, struct wr_graph *g, int64_t since,
			   struct wr_error *err)
{
	while (todo->len) {
		uint32_t node = todo->v[--todo->len];
		enum wr_code code;
		bool keep;

		if (g->nodes[node].flags & (LEFT_OUT | KEPT))
			continue;
		if ((code = wr_graph_load(g, node, err)) != WR_OK)
			return code;
		keep = kept && g->nodes[node].date >= since;
		g->nodes[node].flags |= keep ? KEPT : LEFT_OUT;
		if (keep && (code = wr_nums_add(kept, node, err)) != WR_OK)
			return code;
		for (uint32_t i = 0; i < g->nodes[node].parent_count && (keep || !kept); i++) {
			uint32_t parent = g->edges[g->nodes[node].parents + i];

			if (g->nodes[parent].flags & QUEUED)
				continue;
			g->nodes[parent].flags |= QUEUED;
			if ((code = wr_nums_add(todo, parent, err)) != WR_OK)
				return code;
		}
	}
	return WR_OK;
}

static bool parent_left_out(const struct wr_graph *g, const struct wr_node *n)
{
	for (uint32_t i = 0; i < n->parent_count; i++)
		if (g->nodes[g->edges[n->parents + i]].flags & LEFT_OUT)
			return true;
	return false;
}

enum wr_code wr_walk_choice(bool *any, struct wr_oids *shallow, struct wr_oids *unshallow,
			    const struct wr_snapshot *snap, const struct wr_oids *wants, const struct wr_oids *nots,
			    int64_t since, const struct wr_oids *client_shallow, const struct wr_cancel *cancel,
			    struct wr_error *err)
{
	WR_AUTO_S(wr_graph) g = {.snap = snap, .cancel = cancel};
	WR_AUTO_S(wr_nums) todo = {NULL, 0, 0};
	WR_AUTO_S(wr_nums) kept = {NULL, 0, 0};
	enum wr_code code;

	if ((code = wr_graph_flag(&g, client_shallow, CLIENT, err)) != WR_OK ||
	    (code = want_nodes(&todo, &g, nots, QUEUED, err)) != WR_OK ||
	    (code = choose(NULL, &todo, &g, 0, err)) != WR_OK ||
	    (code = want_nodes(&todo, &g, wants, QUEUED, err)) != WR_OK ||
	    (code = choose(&kept, &todo, &g, since, err)) != WR_OK)
		return code;
	for (size_t i = 0; i < kept.len && code == WR_OK; i++) {
		const struct wr_node *n = &g.nodes[kept.v[i]];
		bool root = n->flags & WR_NODE_ROOT || parent_left_out(&g, n);

		if (root != ((n->flags & CLIENT) != 0))
			code = wr_oids_add(root ? shallow : unshallow, &n->oid, err);
	}
	if (code == WR_OK)
		*any = kept.len > 0;
	return code;
}

/* ---- the repository's own roots ---- */

/* CLIENT is as above; where the client's history ends, or what it has. */

static bool all_wanted(const struct wr_snapshot *snap, struct wr_str folder, const struct wr_oidmap *wanted)
{
	struct wr_ref_cursor cursor;
	struct wr_ref ref;

	wr_ref_cursor_below(&cursor, snap, folder);
	while (wr_ref_cursor_next(&ref, &cursor))
		if (!wr_oidmap_has(wanted, &ref.oid))
			return false;
	return true;
}

/* Whether heads and tags, which are all wanted, reach all of the roots, as far as that can be told without a walk. */
static enum wr_code reach_all(bool *out, const struct wr_oids *roots, const struct wr_snapshot *snap,
			      const struct wr_oids *wants, struct wr_error *err)
{
	WR_AUTO_S(wr_oidmap) wanted = {.cap = 0};
	enum wr_code code = WR_OK;

	*out = !snap->lost;
	for (size_t i = 0; i < roots->len && *out; i++)
		*out = wr_snapshot_in_closure(snap, &roots->v[i]);
	for (size_t i = 0; i < wants->len && *out && code == WR_OK; i++)
		code = wr_oidmap_add(&wanted, &wants->v[i], 0, NULL, err);
	*out = *out && code == WR_OK && all_wanted(snap, WR_S("refs/heads/"), &wanted) &&
	       all_wanted(snap, WR_S("refs/tags/"), &wanted);
	return code;
}

static enum wr_code walk_roots(struct wr_oids *out, struct wr_graph *g, struct wr_nums *todo, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	while (todo->len && code == WR_OK) {
		uint32_t node = todo->v[--todo->len];

		if (g->nodes[node].flags & CLIENT)
			continue;
		if ((code = wr_graph_load(g, node, err)) == WR_OK && g->nodes[node].flags & WR_NODE_ROOT)
			code = wr_oids_add(out, &g->nodes[node].oid, err);
		for (uint32_t i = 0; i < g->nodes[node].parent_count && code == WR_OK; i++) {
			uint32_t parent = g->edges[g->nodes[node].parents + i];

			if (g->nodes[parent].flags & QUEUED)
				continue;
			g->nodes[parent].flags |= QUEUED;
			code = wr_nums_add(todo, parent, err);
		}
	}
	return code;
}

enum wr_code wr_walk_roots(struct wr_oids *out, const struct wr_snapshot *snap, const struct wr_oids *wants,
			   const struct wr_oids *haves, const struct wr_oids *client_shallow,
			   const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO_S(wr_graph) g = {.snap = snap, .cancel = cancel};
	WR_AUTO_S(wr_nums) todo = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) all = {NULL, 0, 0};
	enum wr_code code = wr_snapshot_roots(&all, snap, err);
	bool every = false;

	if (code != WR_OK || all.len == 0)
		return code;
	if (haves->len == 0 && client_shallow->len == 0 && (code = reach_all(&every, &all, snap, wants, err)) != WR_OK)
		return code;
	if (every) {
		*out = all;
		all = (struct wr_oids){NULL, 0, 0};
		return WR_OK;
	}
	if ((code = wr_graph_flag(&g, client_shallow, CLIENT, err)) != WR_OK ||
	    (code = wr_graph_flag(&g, haves, CLIENT, err)) != WR_OK ||
	    (code = want_nodes(&todo, &g, wants, QUEUED, err)) != WR_OK)
		return code;
	return walk_roots(out, &g, &todo, err);
}
