#include "core/git/graph.h"

#include "core/git/parse.h"
#include "core/git/snapshot_internal.h"

#define MAX_TAG_CHAIN 64
/* Commits are small, and where they are deltas, they are so on commits next to them. */
#define CACHE_BYTES ((size_t)1 << 20)
/*
 * Some 50 times what the largest histories have. As deltas of each other, commits of a thousand parents take no more
 * room in a pack than others, but a thousand times as much memory here.
 */
#define MAX_EDGES ((uint32_t)1 << 26)

void wr_graph_fini(struct wr_graph *g)
{
	wr_oidmap_fini(&g->map);
	wr_oidmap_fini(&g->ends);
	free(g->nodes);
	free(g->edges);
	wr_cache_free(g->cache);
	g->nodes = NULL;
	g->edges = NULL;
	g->cache = NULL;
}

enum wr_code wr_graph_node(uint32_t *out, struct wr_graph *g, const struct wr_oid *oid, struct wr_error *err)
{
	const uint32_t *slot = wr_oidmap_slot(&g->map, oid);
	enum wr_code code;

	if (slot) {
		*out = *slot - 1;
		return WR_OK;
	}
	if (g->count == g->cap) {
		uint32_t cap = g->cap ? g->cap * 2 : 64;
		struct wr_node *v = cap > g->cap ? reallocarray(g->nodes, cap, sizeof *v) : NULL;

		if (!v)
			return wr_fail_nomem(err);
		g->nodes = v;
		g->cap = cap;
	}
	if ((code = wr_oidmap_add(&g->map, oid, g->count, NULL, err)) != WR_OK)
		return code;
	g->nodes[g->count] = (struct wr_node){.oid = *oid};
	*out = g->count++;
	return WR_OK;
}

/* Refs reach complete histories only: what is absent or no commit there, is damage. */
static enum wr_code read_commit(struct wr_commit *out, struct wr_graph *g, const struct wr_oid *oid,
				struct wr_error *err)
{
	char hex[WR_OID_HEX + 1];
	enum wr_type type;
	struct wr_str bytes;
	enum wr_code code = WR_OK;

	if (!g->cache)
		code = wr_cache_new(&g->cache, CACHE_BYTES, err);
	if (code == WR_OK)
		code = wr_snapshot_borrow(&type, &bytes, g->snap, oid, g->cache, err);
	if (code == WR_OK)
		code = type == WR_COMMIT ? wr_commit_parse(out, bytes, err) : WR_E_BAD_PACK;
	if (code != WR_E_BAD_PACK && code != WR_E_NOT_THERE)
		return code;
	wr_oid_hex(hex, oid);
	return wr_fail(err, WR_E_INTERNAL, "commit %s is missing or damaged", hex);
}

enum wr_code wr_graph_load(struct wr_graph *g, uint32_t node, struct wr_error *err)
{
	WR_AUTO_S(wr_commit) c = {.parents = NULL};
	struct wr_oid oid = g->nodes[node].oid;
	uint32_t parent, first = g->edge_count;
	enum wr_code code;
	bool end;

	if (g->nodes[node].flags & WR_NODE_LOADED)
		return WR_OK;
	g->loads++;
	/* One may be thousands of deltas on a large one. */
	if ((code = wr_cancelled(g->cancel, err)) != WR_OK || (code = read_commit(&c, g, &oid, err)) != WR_OK)
		return code;
	if (!g->ends_known && (code = wr_snapshot_ends(&g->ends, g->snap, err)) != WR_OK)
		return code;
	g->ends_known = true;
	end = g->ends.len && wr_oidmap_has(&g->ends, &oid);
	if (end)
		c.parent_count = 0;
	if (c.parent_count > MAX_EDGES - g->edge_count)
		return wr_fail(err, WR_E_TOO_LARGE, "The commits of this history name more than %u parents", MAX_EDGES);
	for (size_t i = 0; i < c.parent_count; i++) {
		if ((code = wr_graph_node(&parent, g, &c.parents[i], err)) != WR_OK)
			return code;
		if (g->edge_count == g->edge_cap) {
			uint32_t cap = g->edge_cap ? g->edge_cap * 2 : 64;
			uint32_t *v = cap > g->edge_cap ? reallocarray(g->edges, cap, sizeof *v) : NULL;

			if (!v)
				return wr_fail_nomem(err);
			g->edges = v;
			g->edge_cap = cap;
		}
		g->edges[g->edge_count++] = parent;
	}
	g->nodes[node].tree = c.tree;
	g->nodes[node].date = c.date;
	g->nodes[node].parents = first;
	g->nodes[node].parent_count = g->edge_count - first;
	g->nodes[node].flags |= end ? WR_NODE_LOADED | WR_NODE_ROOT : WR_NODE_LOADED;
	return WR_OK;
}

enum wr_code wr_graph_flag(struct wr_graph *g, const struct wr_oids *oids, uint32_t flag, struct wr_error *err)
{
	enum wr_code code;
	uint32_t node;

	for (size_t i = 0; oids && i < oids->len; i++) {
		if ((code = wr_graph_node(&node, g, &oids->v[i], err)) != WR_OK)
			return code;
		g->nodes[node].flags |= flag;
	}
	return WR_OK;
}

/* One step: *tag says whether *at was one, and now is what that names. */
static enum wr_code peel_step(bool *tag, struct wr_oid *at, enum wr_type *type, struct wr_oids *chain,
			      const struct wr_snapshot *snap, struct wr_error *err)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	enum wr_code code = wr_snapshot_stat(snap, at, type, NULL, err);

	*tag = code == WR_OK && *type == WR_TAG;
	if (!*tag)
		return code;
	if ((chain && (code = wr_oids_add(chain, at, err)) != WR_OK) ||
	    (code = wr_snapshot_read(&obj, snap, at, err)) != WR_OK)
		return code;
	if (wr_tag_parse(at, type, wr_str_n(obj.data, obj.size), NULL) != WR_OK)
		return wr_fail(err, WR_E_INTERNAL, "a tag is damaged");
	return WR_OK;
}

void wr_peeler_fini(struct wr_peeler *p)
{
	wr_oidmap_fini(&p->met);
}

enum wr_code wr_peel(bool *again, struct wr_oid *out, enum wr_type *type, struct wr_oids *chain, struct wr_peeler *p,
		     const struct wr_oid *oid, struct wr_error *err)
{
	struct wr_oid at = *oid;

	for (int i = 0; i <= MAX_TAG_CHAIN; i++) {
		enum wr_type is;
		bool added, tag;
		enum wr_code code = wr_oidmap_add(&p->met, &at, 0, &added, err);

		*again = !added;
		if (code != WR_OK || *again)
			return code;
		if ((code = wr_cancelled(p->cancel, err)) != WR_OK ||
		    (code = peel_step(&tag, &at, &is, chain, p->snap, err)) != WR_OK)
			return code;
		if (!tag) {
			*out = at;
			*type = is;
			return WR_OK;
		}
	}
	return wr_fail(err, WR_E_INTERNAL, "a chain of more than %d tags", MAX_TAG_CHAIN);
}

void wr_heap_fini(struct wr_heap *heap)
{
	free(heap->v);
	*heap = (struct wr_heap){NULL, 0, 0};
}

static bool before(const struct wr_graph *g, uint32_t a, uint32_t b)
{
	int64_t x = g->nodes[a].date, y = g->nodes[b].date;

	return x != y ? x > y : a < b;
}

enum wr_code wr_heap_push(struct wr_heap *heap, const struct wr_graph *g, uint32_t node, struct wr_error *err)
{
	size_t i = heap->len;

	if (heap->len == heap->cap) {
		size_t cap = heap->cap ? heap->cap * 2 : 64;
		uint32_t *v = reallocarray(heap->v, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(err);
		heap->v = v;
		heap->cap = cap;
	}
	heap->len++;
	for (; i > 0 && before(g, node, heap->v[(i - 1) / 2]); i = (i - 1) / 2)
		heap->v[i] = heap->v[(i - 1) / 2];
	heap->v[i] = node;
	return WR_OK;
}

uint32_t wr_heap_pop(struct wr_heap *heap, const struct wr_graph *g)
{
	uint32_t top = heap->v[0], last = heap->v[--heap->len];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < heap->len) {
		if (child + 1 < heap->len && before(g, heap->v[child + 1], heap->v[child]))
			child++;
		if (!before(g, heap->v[child], last))
			break;
		heap->v[i] = heap->v[child];
		i = child;
	}
	if (heap->len)
		heap->v[i] = last;
	return top;
}

void wr_nums_fini(struct wr_nums *nums)
{
	free(nums->v);
	*nums = (struct wr_nums){NULL, 0, 0};
}

enum wr_code wr_nums_add(struct wr_nums *nums, uint32_t n, struct wr_error *err)
{
	if (nums->len == nums->cap) {
		size_t cap = nums->cap ? nums->cap * 2 : 64;
		uint32_t *v = reallocarray(nums->v, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(err);
		nums->v = v;
		nums->cap = cap;
	}
	nums->v[nums->len++] = n;
	return WR_OK;
}
