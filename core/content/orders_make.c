/* The order of a history, by a walk over all of it. */
#include "core/content/orders.h"
#include "core/git/graph.h"

#define ROOT 1u /* the repository's history ends here */

struct walk {
	const struct wr_view *view;
	uint32_t most;
	struct wr_graph g;
	struct wr_error *err;
};

static uint32_t parent_count(const struct wr_graph *g, uint32_t node)
{
	return g->nodes[node].flags & ROOT ? 0 : g->nodes[node].parent_count;
}

static enum wr_code load_all(struct walk *w, const struct wr_oid *tip)
{
	uint32_t node;
	enum wr_code code = wr_graph_flag(&w->g, &w->view->roots, ROOT, w->err);
	WR_AUTO_S(wr_nums) todo = {NULL, 0, 0};

	if (code == WR_OK)
		code = wr_graph_node(&node, &w->g, tip, w->err);
	if (code == WR_OK)
		code = wr_nums_add(&todo, node, w->err);
	while (code == WR_OK && todo.len > 0) {
		node = todo.v[--todo.len];
		if (w->g.nodes[node].flags & WR_NODE_LOADED)
			continue;
		code = wr_graph_load(&w->g, node, w->err);
		if (code == WR_OK && w->g.count > w->most)
			code = wr_fail(w->err, WR_E_TOO_LARGE, "The history has more than %u commits", w->most);
		for (uint32_t i = 0; code == WR_OK && i < parent_count(&w->g, node); i++)
			code = wr_nums_add(&todo, w->g.edges[w->g.nodes[node].parents + i], w->err);
	}
	return code;
}

static bool loaded(const struct wr_graph *g, uint32_t node)
{
	return g->nodes[node].flags & WR_NODE_LOADED;
}

/* How many children of each have not come yet. */
static void count_children(uint32_t *children, uint32_t *commits, uint32_t *edges, const struct wr_graph *g)
{
	*commits = *edges = 0;
	for (uint32_t i = 0; i < g->count; i++) {
		if (!loaded(g, i))
			continue;
		++*commits;
		for (uint32_t k = 0; k < parent_count(g, i); k++, ++*edges)
			children[g->edges[g->nodes[i].parents + k]]++;
	}
}

/* A commit all of whose children have come. */
struct ready {
	int64_t date;
	uint32_t turn; /* how many became ready before it */
	uint32_t node;
};

/* A heap with room for all. */
struct queue {
	struct ready *v;
	uint32_t len, turns;
};

static bool before(const struct ready *a, const struct ready *b)
{
	return a->date != b->date ? a->date > b->date : a->turn < b->turn;
}

static void queue_put(struct queue *q, const struct wr_graph *g, uint32_t node)
{
	const struct ready new = {g->nodes[node].date, q->turns++, node};
	uint32_t i = q->len++;

	for (; i > 0 && before(&new, &q->v[(i - 1) / 2]); i = (i - 1) / 2)
		q->v[i] = q->v[(i - 1) / 2];
	q->v[i] = new;
}

static uint32_t queue_take(struct queue *q)
{
	uint32_t node = q->v[0].node, i = 0, child;
	const struct ready last = q->v[--q->len];

	while ((child = 2 * i + 1) < q->len) {
		if (child + 1 < q->len && before(&q->v[child + 1], &q->v[child]))
			child++;
		if (!before(&q->v[child], &last))
			break;
		q->v[i] = q->v[child];
		i = child;
	}
	q->v[i] = last;
	return node;
}

/* place: of each node in the order. */
static enum wr_code sort(uint32_t *place, struct wr_order *o, uint32_t *children, const struct wr_graph *g, uint32_t tip,
			 struct wr_error *err)
{
	WR_AUTO_MEM struct ready *room = calloc((size_t)o->count + 1, sizeof *room);
	struct queue q = {.v = room};
	uint32_t n = 0;

	if (!room)
		return wr_fail_nomem(err);
	queue_put(&q, g, tip);
	while (q.len > 0) {
		uint32_t node = queue_take(&q);

		place[node] = n;
		o->commits[n++] = g->nodes[node].oid;
		for (uint32_t i = 0; i < parent_count(g, node); i++) {
			uint32_t parent = g->edges[g->nodes[node].parents + i];

			if (--children[parent] == 0)
				queue_put(&q, g, parent);
		}
	}
	return WR_OK;
}

static enum wr_code put_parents(struct wr_order *o, const uint32_t *place, struct wr_graph *g, struct wr_error *err)
{
	uint32_t at = 0;

	for (uint32_t i = 0; i < o->count; i++) {
		uint32_t node;
		enum wr_code code = wr_graph_node(&node, g, &o->commits[i], err);

		if (code != WR_OK)
			return code;
		o->first[i] = at;
		for (uint32_t k = 0; k < parent_count(g, node); k++)
			o->parents[at++] = place[g->edges[g->nodes[node].parents + k]];
	}
	o->first[o->count] = at;
	return WR_OK;
}

enum wr_code wr_order_make(struct wr_order **out, const struct wr_view *v, const struct wr_oid *tip, uint32_t most,
			   struct wr_error *err)
{
	struct walk w = {.view = v, .most = most, .g = {.snap = v->snap, .cancel = v->cancel}, .err = err};
	WR_AUTO_MEM uint32_t *children = NULL;
	WR_AUTO_MEM uint32_t *place = NULL;
	WR_AUTO(wr_order) *o = NULL;
	uint32_t commits, edges, node;
	enum wr_code code = load_all(&w, tip);

	if (code == WR_OK) {
		children = calloc((size_t)w.g.count + 1, sizeof *children);
		place = calloc((size_t)w.g.count + 1, sizeof *place);
		if (!children || !place)
			code = wr_fail_nomem(err);
	}
	if (code == WR_OK) {
		count_children(children, &commits, &edges, &w.g);
		code = wr_order_new(&o, commits, edges, err);
	}
	if (code == WR_OK && (code = wr_graph_node(&node, &w.g, tip, err)) == WR_OK &&
	    (code = sort(place, o, children, &w.g, node, err)) == WR_OK)
		code = put_parents(o, place, &w.g, err);
	wr_graph_fini(&w.g);
	if (code == WR_OK) {
		o->unstored = o->count;
		*out = WR_STEAL(o);
	}
	return code;
}
