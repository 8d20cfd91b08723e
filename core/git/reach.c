#include "core/git/reach.h"

#include "core/git/closure.h"
#include "core/git/graph.h"
#include "core/git/lost.h"
#include "core/git/parse.h"
#include "core/git/trees.h"

/* Flags of nodes. */
#define SEEN 1u

struct wr_reach {
	struct wr_snapshot *snap;
	const struct wr_cancel *cancel;
	const struct wr_lost *lost; /* NULL: not asked for yet */
	struct wr_oidmap named;	    /* what shown refs name, tags peeled too; made when first needed */
	bool has_named, has_young;
	struct wr_oidmap young; /* commits and tags that refs reach, but for certain ones */
	uint64_t steps;
};

enum wr_code wr_reach_new(struct wr_reach **out, struct wr_snapshot *snap, const struct wr_cancel *cancel,
			  struct wr_error *err)
{
	struct wr_reach *r = calloc(1, sizeof *r);

	if (!r)
		return wr_fail_nomem(err);
	r->snap = wr_snapshot_ref_more(snap);
	r->cancel = cancel;
	*out = r;
	return WR_OK;
}

void wr_reach_free(struct wr_reach *reach)
{
	if (!reach)
		return;
	wr_oidmap_fini(&reach->named);
	wr_oidmap_fini(&reach->young);
	wr_snapshot_unref(reach->snap);
	free(reach);
}

uint64_t wr_reach_steps(const struct wr_reach *reach)
{
	return reach->steps;
}

/* ---- a walk from all shown refs ---- */

struct reaching {
	struct wr_reach *r;
	bool whole;		 /* nothing is taken for granted; else the walk ends at what is certain */
	struct wr_oidmap *asked; /* NULL: commits and tags only, which all become young. Else the ids, with places in yes */
	bool *yes;
	size_t left; /* of asked, those without an answer */
	struct wr_graph g;
	struct wr_heap heap;
	struct wr_marks marks; /* what was met */
	struct wr_oids direct; /* trees and files that refs and tags name */
	struct wr_trees trees;
	struct wr_error *err;
};

static void reaching_fini(struct reaching *w)
{
	w->r->steps += w->trees.steps + w->g.loads;
	wr_graph_fini(&w->g);
	wr_heap_fini(&w->heap);
	wr_marks_fini(&w->marks);
	wr_oids_fini(&w->direct);
	wr_trees_fini(&w->trees);
}

static bool ends_at(const struct reaching *w, const struct wr_oid *oid)
{
	return !w->whole && wr_lost_certain(w->r->lost, w->r->snap, oid);
}

static void answer(struct reaching *w, const struct wr_oid *oid)
{
	const uint32_t *slot = wr_oidmap_slot(w->asked, oid);

	if (!slot || w->yes[*slot - 1])
		return;
	w->yes[*slot - 1] = true;
	w->trees.stop = --w->left == 0;
}

static bool meet_below(void *arg, const struct wr_oid *oid, struct wr_place place, enum wr_type type)
{
	struct reaching *w = arg;

	if (!wr_marks_add(&w->marks, place) || ends_at(w, oid))
		return false;
	answer(w, oid);
	return type == WR_TREE;
}

/* A commit or a tag. *first: it was not met before. */
static enum wr_code meet(bool *first, struct reaching *w, const struct wr_oid *oid)
{
	struct wr_place place;
	char hex[WR_OID_HEX + 1];

	if (!wr_snapshot_find(&place, w->r->snap, oid)) {
		wr_oid_hex(hex, oid);
		return wr_fail(w->err, WR_E_INTERNAL, "object %s is missing", hex);
	}
	*first = wr_marks_add(&w->marks, place);
	if (!*first)
		return WR_OK;
	if (!w->asked)
		return wr_oidmap_add(&w->r->young, oid, 0, NULL, w->err);
	answer(w, oid);
	return WR_OK;
}

static enum wr_code enter(struct reaching *w, const struct wr_oid *oid)
{
	enum wr_code code;
	uint32_t node;
	bool first;

	if ((code = wr_graph_node(&node, &w->g, oid, w->err)) != WR_OK || w->g.nodes[node].flags & SEEN)
		return code;
	w->g.nodes[node].flags |= SEEN;
	if (ends_at(w, oid))
		return WR_OK;
	if ((code = meet(&first, w, oid)) != WR_OK || (code = wr_graph_load(&w->g, node, w->err)) != WR_OK)
		return code;
	return wr_heap_push(&w->heap, &w->g, node, w->err);
}

/* One tag: *at becomes what it names. *first: it was not met before. */
static enum wr_code enter_tag(bool *first, struct reaching *w, struct wr_oid *at)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	enum wr_type type;
	enum wr_code code = meet(first, w, at);

	if (code != WR_OK || !*first || (code = wr_cancelled(w->r->cancel, w->err)) != WR_OK ||
	    (code = wr_snapshot_read(&obj, w->r->snap, at, w->err)) != WR_OK)
		return code;
	if (wr_tag_parse(at, &type, wr_str_n(obj.data, obj.size), NULL) != WR_OK)
		return wr_fail(w->err, WR_E_INTERNAL, "a tag is damaged");
	return WR_OK;
}

static enum wr_code enter_tip(struct reaching *w, const struct wr_oid *tip)
{
	struct wr_oid at = *tip;
	bool first = true;

	while (first) {
		const uint32_t *slot = wr_oidmap_slot(&w->g.map, &at);
		enum wr_type type;
		enum wr_code code;

		if (++w->trees.steps % 256 == 0 && (code = wr_cancelled(w->r->cancel, w->err)) != WR_OK)
			return code;
		if ((slot && w->g.nodes[*slot - 1].flags & SEEN) || ends_at(w, &at))
			return WR_OK;
		code = wr_snapshot_stat(w->r->snap, &at, &type, NULL, w->err);
		if (code == WR_E_NOT_THERE)
			return wr_fail(w->err, WR_E_INTERNAL, "what a ref or tag names is missing");
		if (code != WR_OK)
			return code;
		if (type != WR_TAG)
			return type == WR_COMMIT ? enter(w, &at) : wr_oids_add(&w->direct, &at, w->err);
		if ((code = enter_tag(&first, w, &at)) != WR_OK)
			return code;
	}
	return WR_OK;
}

/* Branches and tags that did not change since the checkpoint lead to nothing but what is certain. */
static enum wr_code enter_refs(struct reaching *w)
{
	const struct wr_overlay *changed = w->r->snap->overlay;
	bool skip = !w->whole && !w->r->lost->all;
	size_t n;
	const struct wr_ref *refs = wr_snapshot_refs(w->r->snap, &n);
	enum wr_code code = WR_OK;

	for (size_t i = 0; skip && changed && i < changed->count && code == WR_OK; i++)
		if (!wr_oid_zero(&changed->v[i].oid) && wr_closure_is_head_or_tag(changed->v[i].name))
			code = enter_tip(w, &changed->v[i].oid);
	for (size_t i = 0; i < n && code == WR_OK; i++)
		if (wr_ref_shown(&refs[i]) && !(skip && wr_closure_is_head_or_tag(refs[i].name)))
			code = enter_tip(w, &refs[i].oid);
	return code;
}

static enum wr_code enter_direct(struct reaching *w, const struct wr_oid *oid)
{
	struct wr_place place;
	enum wr_type type;
	enum wr_code code = wr_snapshot_stat(w->r->snap, oid, &type, NULL, w->err);

	if (code != WR_OK)
		return code;
	if (type == WR_TREE)
		return wr_trees_walk(&w->trees, oid, w->err);
	if (wr_snapshot_find(&place, w->r->snap, oid))
		meet_below(w, oid, place, type);
	return WR_OK;
}

/*
 * Youngest commits first, each with its tree before the next one: what a partial clone lacks of its checkout, and what is
 * deepened by a little, is found before all else. *whole: there was nothing more to meet.
 */
static enum wr_code walk(bool *whole, struct reaching *w)
{
	enum wr_code code = wr_marks_init(&w->marks, w->r->snap, w->err);

	if (code == WR_OK)
		code = enter_refs(w);
	while (code == WR_OK && w->heap.len && !w->trees.stop) {
		struct wr_node n = w->g.nodes[wr_heap_pop(&w->heap, &w->g)];

		if (w->asked)
			code = wr_trees_walk(&w->trees, &n.tree, w->err);
		for (uint32_t i = 0; i < n.parent_count && code == WR_OK; i++) {
			struct wr_oid parent = w->g.nodes[w->g.edges[n.parents + i]].oid;

			code = enter(w, &parent);
		}
	}
	for (size_t i = 0; w->asked && i < w->direct.len && !w->trees.stop && code == WR_OK; i++)
		code = enter_direct(w, &w->direct.v[i]);
	*whole = code == WR_OK && !w->trees.stop;
	return code;
}

static void reaching_init(struct reaching *w, struct wr_reach *r, struct wr_error *err)
{
	*w = (struct reaching){
		.r = r,
		.g = {.snap = r->snap, .cancel = r->cancel},
		.trees = {.snap = r->snap, .cancel = r->cancel, .object = meet_below, .arg = w},
		.err = err,
	};
}

/* ---- answers ---- */

static enum wr_code is_named(bool *out, struct wr_reach *r, const struct wr_oid *oid, struct wr_error *err)
{
	size_t n;
	const struct wr_ref *refs = wr_snapshot_refs(r->snap, &n);
	enum wr_code code = WR_OK;

	for (size_t i = 0; !r->has_named && i < n && code == WR_OK; i++) {
		if (!wr_ref_shown(&refs[i]))
			continue;
		code = wr_oidmap_add(&r->named, &refs[i].oid, 0, NULL, err);
		if (code == WR_OK && !wr_oid_zero(&refs[i].peeled))
			code = wr_oidmap_add(&r->named, &refs[i].peeled, 0, NULL, err);
	}
	if (code != WR_OK)
		return code;
	r->has_named = true;
	*out = wr_oidmap_has(&r->named, oid);
	return WR_OK;
}

static enum wr_code is_certain(bool *out, struct wr_reach *r, const struct wr_oid *oid, struct wr_error *err)
{
	enum wr_code code;

	if (!r->lost && (code = wr_lost_get(&r->lost, r->snap, r->cancel, err)) != WR_OK)
		return code;
	*out = wr_lost_certain(r->lost, r->snap, oid);
	return WR_OK;
}

/* What needs no walk over history; of the two ways the one first that costs less to prepare. */
static enum wr_code at_once(bool *out, struct wr_reach *r, const struct wr_oid *oid, struct wr_error *err)
{
	enum wr_code code = r->snap->lost ? is_named(out, r, oid, err) : is_certain(out, r, oid, err);

	if (code != WR_OK || *out)
		return code;
	return r->snap->lost ? is_certain(out, r, oid, err) : is_named(out, r, oid, err);
}

enum wr_code wr_reach_cheap(bool *out, struct wr_reach *reach, const struct wr_oid *oid, struct wr_error *err)
{
	struct reaching w;
	bool whole;
	enum wr_code code = wr_cancelled(reach->cancel, err);

	if (code != WR_OK || (code = at_once(out, reach, oid, err)) != WR_OK || *out)
		return code;
	if (!reach->has_young) {
		reaching_init(&w, reach, err);
		code = walk(&whole, &w);
		reaching_fini(&w);
		if (code != WR_OK)
			return code;
		reach->has_young = true;
	}
	*out = wr_oidmap_has(&reach->young, oid);
	return WR_OK;
}

static enum wr_code search(bool *yes, size_t *left, struct wr_reach *r, struct wr_oidmap *asked, bool whole,
			   struct wr_error *err)
{
	struct reaching w;
	enum wr_code code;
	bool all;

	reaching_init(&w, r, err);
	w.asked = asked;
	w.yes = yes;
	w.left = *left;
	w.whole = whole;
	code = walk(&all, &w);
	*left = w.left;
	if (code == WR_OK && whole && all)
		code = wr_lost_settle(r->snap, &w.marks, err);
	reaching_fini(&w);
	return code;
}

/* What is in nobody's reach costs both walks, whether it is stored or not. */
static enum wr_code search_all(bool *yes, struct wr_reach *r, struct wr_oidmap *asked, struct wr_error *err)
{
	size_t left = asked->len;
	enum wr_code code = search(yes, &left, r, asked, false, err);

	if (code != WR_OK || left == 0 || !r->lost->any || r->lost->exact || r->lost->all)
		return code;
	if ((code = search(yes, &left, r, asked, true, err)) != WR_OK)
		return code;
	return wr_lost_get(&r->lost, r->snap, r->cancel, err);
}

enum wr_code wr_reach_each(bool *yes, struct wr_reach *reach, const struct wr_oids *oids, struct wr_error *err)
{
	WR_AUTO_S(wr_oidmap) asked = {0};
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < oids->len && code == WR_OK; i++) {
		code = at_once(&yes[i], reach, &oids->v[i], err);
		if (code == WR_OK && !yes[i])
			code = wr_oidmap_add(&asked, &oids->v[i], (uint32_t)i, NULL, err);
	}
	if (code != WR_OK || asked.len == 0 || (code = search_all(yes, reach, &asked, err)) != WR_OK)
		return code;
	for (size_t i = 0; i < oids->len; i++) {
		const uint32_t *slot = wr_oidmap_slot(&asked, &oids->v[i]);

		yes[i] = slot ? yes[*slot - 1] : yes[i];
	}
	return WR_OK;
}

enum wr_code wr_reach_all(size_t *first_bad, struct wr_reach *reach, const struct wr_oids *oids, struct wr_error *err)
{
	WR_AUTO_MEM bool *yes = calloc(oids->len + 1, sizeof *yes);
	enum wr_code code;
	size_t i = 0;

	if (!yes)
		return wr_fail_nomem(err);
	if ((code = wr_reach_each(yes, reach, oids, err)) != WR_OK)
		return code;
	while (i < oids->len && yes[i])
		i++;
	*first_bad = i;
	return WR_OK;
}
