#include "core/content/merge_base.h"

#include "core/git/graph.h"

/* Which of the two reaches a commit; BEHIND: so does a common ancestor that was found, so it is no best one. */
#define OF_A 1u
#define OF_B 2u
#define OF_BOTH (OF_A | OF_B)
#define BEHIND 4u
#define COLOURS (OF_BOTH | BEHIND)
#define QUEUED 8u
#define FOUND 16u

/*
 * Colours flow from the two to their ancestors, youngest commit first, until all that waits is behind what was found. Where
 * dates are wrong a commit may get another colour later, and waits once more.
 */
struct painter {
	struct wr_relation *r;
	struct wr_graph g;
	struct wr_heap heap;
	size_t live; /* of the heap, those that are not behind */
	struct wr_nums found;
	struct wr_error *err;
};

static void painter_fini(struct painter *p)
{
	wr_graph_fini(&p->g);
	wr_heap_fini(&p->heap);
	wr_nums_fini(&p->found);
}

static enum wr_code load(struct painter *p, uint32_t node)
{
	if (p->g.nodes[node].flags & WR_NODE_LOADED)
		return WR_OK;
	if (p->r->commits == p->r->commits_max)
		return wr_fail(p->err, WR_E_INVALID_REQUEST, "More than %llu commits lie between",
			       (unsigned long long)p->r->commits_max);
	p->r->commits++;
	return wr_graph_load(&p->g, node, p->err);
}

static bool is_live(uint32_t flags)
{
	return (flags & (QUEUED | BEHIND)) == QUEUED;
}

static enum wr_code paint(struct painter *p, uint32_t node, uint32_t colours)
{
	uint32_t had = p->g.nodes[node].flags, has = had | colours | QUEUED;
	enum wr_code code;

	if ((had & colours) == colours)
		return WR_OK;
	if ((code = load(p, node)) != WR_OK)
		return code;
	p->g.nodes[node].flags |= has;
	p->live -= is_live(had);
	p->live += is_live(has);
	return had & QUEUED ? WR_OK : wr_heap_push(&p->heap, &p->g, node, p->err);
}

/* The youngest that waits: its colours go to its parents. */
static enum wr_code step(struct painter *p)
{
	uint32_t node = wr_heap_pop(&p->heap, &p->g);
	struct wr_node *n = &p->g.nodes[node];
	uint32_t colours = n->flags & COLOURS, first = n->parents, count = n->parent_count;
	enum wr_code code = WR_OK;

	p->live -= is_live(n->flags);
	n->flags &= ~QUEUED;
	if (colours == OF_BOTH) {
		if (!(n->flags & FOUND))
			code = wr_nums_add(&p->found, node, p->err);
		n->flags |= FOUND;
		colours |= BEHIND;
	}
	for (uint32_t i = 0; i < count && code == WR_OK; i++)
		code = paint(p, p->g.edges[first + i], colours);
	return code;
}

static enum wr_code begin(struct painter *p, uint32_t *node, const struct wr_oid *oid, uint32_t colour)
{
	enum wr_code code;

	if (!wr_snapshot_has(p->r->snap, oid))
		return wr_fail(p->err, WR_E_NOT_THERE, "a commit is not there any more");
	code = wr_graph_node(node, &p->g, oid, p->err);
	return code == WR_OK ? paint(p, *node, colour) : code;
}

/* Until it is known which of what was found counts or, where that is enough, that the first of the two is reached by the other. */
static enum wr_code run(struct painter *p, bool *reached, const struct wr_oid *a, const struct wr_oid *b)
{
	uint32_t of_a, of_b;
	enum wr_code code = begin(p, &of_a, a, OF_A);

	if (code == WR_OK)
		code = begin(p, &of_b, b, OF_B);
	while (code == WR_OK && p->live > 0 && !(reached && p->g.nodes[of_a].flags & OF_B))
		code = step(p);
	if (code == WR_OK && reached)
		*reached = p->g.nodes[of_a].flags & OF_B;
	return code;
}

enum wr_code wr_is_ancestor(bool *out, struct wr_relation *r, const struct wr_oid *a, const struct wr_oid *b,
			    struct wr_error *err)
{
	struct painter p = {.r = r, .g = {.snap = r->snap, .cancel = r->cancel}, .err = err};
	enum wr_code code = run(&p, out, a, b);

	painter_fini(&p);
	return code;
}

/*
 * The first that none of the others descends from. One that lies behind another is passed on to it; what was passed over
 * cannot descend from that, or the first would have lain behind it, too.
 */
static enum wr_code choose(struct wr_oid *out, struct painter *p)
{
	enum wr_code code = WR_OK;
	bool behind, has = false;

	for (size_t i = 0; i < p->found.len && code == WR_OK; i++) {
		const struct wr_node *n = &p->g.nodes[p->found.v[i]];

		if (n->flags & BEHIND)
			continue;
		behind = !has;
		if (has)
			code = wr_is_ancestor(&behind, p->r, out, &n->oid, p->err);
		if (code == WR_OK && behind)
			*out = n->oid;
		has = true;
	}
	return code;
}

enum wr_code wr_merge_base(bool *has, struct wr_oid *out, struct wr_relation *r, const struct wr_oid *a,
			   const struct wr_oid *b, struct wr_error *err)
{
	struct painter p = {.r = r, .g = {.snap = r->snap, .cancel = r->cancel}, .err = err};
	struct wr_oid base = {{0}};
	enum wr_code code = run(&p, NULL, a, b);

	if (code == WR_OK)
		code = choose(&base, &p);
	if (code == WR_OK) {
		*has = p.found.len > 0;
		*out = base;
	}
	painter_fini(&p);
	return code;
}
