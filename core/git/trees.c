#include "core/git/trees.h"

#include "core/git/graph.h"
#include "core/git/parse.h"

/* Trees are mostly deltas on trees read shortly before. */
#define CACHE_BYTES ((size_t)4 << 20)
#define RECENT_BITS 15

void wr_trees_fini(struct wr_trees *t)
{
	wr_cache_free(t->cache);
	wr_oids_fini(&t->todo);
	free(t->recent);
	t->cache = NULL;
	t->recent = NULL;
}

static enum wr_code bad(const struct wr_oid *oid, struct wr_error *err)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	return wr_fail(err, WR_E_INTERNAL, "object %s is missing or damaged", hex);
}

static enum wr_code start(struct wr_trees *t, struct wr_error *err)
{
	if (!t->recent && !(t->recent = calloc((size_t)1 << RECENT_BITS, sizeof *t->recent)))
		return wr_fail_nomem(err);
	return t->cache ? WR_OK : wr_cache_new(&t->cache, CACHE_BYTES, err);
}

/* Whether it was met a moment ago: most entries of a tree are those of the tree before it. */
static bool met(struct wr_trees *t, const struct wr_oid *oid)
{
	struct wr_oid *r;

	r = &t->recent[(unsigned)(oid->id[0] << 16 | oid->id[1] << 8 | oid->id[2]) >> (24 - RECENT_BITS)];
	if (wr_oid_eq(r, oid) && !wr_oid_zero(oid))
		return true;
	*r = *oid;
	return false;
}

static enum wr_code step(struct wr_trees *t, struct wr_error *err)
{
	return ++t->steps % 1024 == 0 ? wr_cancelled(t->cancel, err) : WR_OK;
}

static enum wr_code named(struct wr_trees *t, const struct wr_oid *oid, enum wr_type type, struct wr_error *err)
{
	struct wr_place place;
	enum wr_code code = step(t, err);

	if (code != WR_OK)
		return code;
	if (!wr_snapshot_find(&place, t->snap, oid))
		return bad(oid, err);
	return t->object(t->arg, oid, place, type) && !t->stop ? wr_oids_add(&t->todo, oid, err) : WR_OK;
}

static enum wr_code read_tree(struct wr_trees *t, const struct wr_oid *oid, struct wr_error *err)
{
	struct wr_tree_entry e;
	struct wr_str rest;
	enum wr_type type;
	enum wr_code code = step(t, err);

	/* One may be thousands of deltas on a large one. */
	if (code == WR_OK && (code = wr_cancelled(t->cancel, err)) == WR_OK)
		code = wr_snapshot_borrow(&type, &rest, t->snap, oid, t->cache, err);
	if (code == WR_E_NOT_THERE || (code == WR_OK && type != WR_TREE))
		return bad(oid, err);
	if (code != WR_OK)
		return code;
	while (!t->stop && (code = wr_tree_next(&e, &rest, NULL)) == WR_OK) {
		if (e.mode == WR_MODE_LINK || met(t, &e.oid))
			continue;
		if ((code = named(t, &e.oid, e.mode == WR_MODE_TREE ? WR_TREE : WR_BLOB, err)) != WR_OK)
			return code;
	}
	return code == WR_OK || code == WR_E_NOT_THERE ? WR_OK : bad(oid, err);
}

enum wr_code wr_trees_walk(struct wr_trees *t, const struct wr_oid *tree, struct wr_error *err)
{
	enum wr_code code = start(t, err);

	t->todo.len = 0;
	if (code == WR_OK)
		code = named(t, tree, WR_TREE, err);
	while (code == WR_OK && t->todo.len && !t->stop) {
		struct wr_oid oid = t->todo.v[--t->todo.len];

		code = read_tree(t, &oid, err);
	}
	return code;
}
