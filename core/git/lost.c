#include "core/git/lost.h"

#include "core/git/closure.h"
#include "core/git/graph.h"
#include "core/git/trees.h"

/* Flags of nodes. */
#define SEEN 1u
#define QUEUED 2u
#define KEPT 4u /* a ref reaches it; what is seen without this, may be lost */
#define BORDER 8u

struct finder {
	struct wr_snapshot *snap;
	struct wr_lost *lost;
	struct wr_graph g;
	struct wr_heap heap;
	size_t open; /* of the heap, those that are not KEPT */
	struct wr_nums stack, found;
	struct wr_oids direct; /* trees and files that a tag named */
	struct wr_marks known; /* trees and files that are reached */
	bool marking;	       /* suspects; else known ones */
	struct wr_trees trees;
	struct wr_error *err;
};

static void finder_fini(struct finder *f)
{
	wr_graph_fini(&f->g);
	wr_heap_fini(&f->heap);
	wr_nums_fini(&f->stack);
	wr_nums_fini(&f->found);
	wr_oids_fini(&f->direct);
	wr_marks_fini(&f->known);
	wr_trees_fini(&f->trees);
}

void wr_lost_free(struct wr_lost *lost)
{
	if (!lost)
		return;
	wr_marks_fini(&lost->marks);
	free(lost);
}

/* ---- commits ---- */

static void set_kept(struct finder *f, uint32_t node)
{
	struct wr_node *n = &f->g.nodes[node];

	if ((n->flags & (QUEUED | KEPT)) == QUEUED)
		f->open--;
	n->flags |= KEPT;
}

static enum wr_code enqueue(struct finder *f, uint32_t node)
{
	enum wr_code code;

	if (f->g.nodes[node].flags & SEEN)
		return WR_OK;
	if ((code = wr_graph_load(&f->g, node, f->err)) != WR_OK)
		return code;
	f->g.nodes[node].flags |= SEEN | QUEUED;
	f->open += !(f->g.nodes[node].flags & KEPT);
	return wr_heap_push(&f->heap, &f->g, node, f->err);
}

/* The parents of a kept commit are kept, and so on through all that was visited already. */
static enum wr_code spread(struct finder *f, uint32_t node)
{
	enum wr_code code;

	f->stack.len = 0;
	if ((code = wr_nums_add(&f->stack, node, f->err)) != WR_OK)
		return code;
	while (f->stack.len) {
		const struct wr_node *n = &f->g.nodes[f->stack.v[--f->stack.len]];

		for (uint32_t i = 0; i < n->parent_count; i++) {
			uint32_t parent = f->g.edges[n->parents + i];

			if (f->g.nodes[parent].flags & KEPT)
				continue;
			set_kept(f, parent);
			if ((code = wr_nums_add(&f->stack, parent, f->err)) != WR_OK)
				return code;
		}
	}
	return WR_OK;
}

static enum wr_code walk_commits(struct finder *f)
{
	enum wr_code code = WR_OK;

	while (code == WR_OK && f->open) {
		uint32_t node = wr_heap_pop(&f->heap, &f->g);
		struct wr_node *n = &f->g.nodes[node];

		n->flags &= ~QUEUED;
		if (n->flags & KEPT) {
			code = spread(f, node);
		} else {
			f->open--;
			code = wr_nums_add(&f->found, node, f->err);
		}
		for (uint32_t i = 0; code == WR_OK && i < f->g.nodes[node].parent_count; i++)
			code = enqueue(f, f->g.edges[f->g.nodes[node].parents + i]);
	}
	return code;
}

/* ---- where it begins ---- */

static enum wr_code suspect(struct finder *f, const struct wr_oid *oid)
{
	struct wr_place place;

	if (!wr_snapshot_find(&place, f->snap, oid))
		return wr_fail(f->err, WR_E_INTERNAL, "what a ref named at the checkpoint is missing");
	wr_marks_add(&f->lost->marks, place);
	f->lost->any = true;
	return WR_OK;
}

/* What a branch or tag was, that is something else now. */
static enum wr_code add_left(struct finder *f, struct wr_peeler *peeler, const struct wr_oid *tip)
{
	WR_AUTO_S(wr_oids) chain = {NULL, 0, 0};
	struct wr_oid oid;
	enum wr_type type;
	bool again;
	enum wr_code code = wr_peel(&again, &oid, &type, &chain, peeler, tip, f->err);
	uint32_t node;

	for (size_t i = 0; code == WR_OK && i < chain.len; i++)
		code = suspect(f, &chain.v[i]);
	if (code != WR_OK || again)
		return code;
	if (type != WR_COMMIT)
		return wr_oids_add(&f->direct, &oid, f->err);
	code = wr_graph_node(&node, &f->g, &oid, f->err);
	return code == WR_OK ? enqueue(f, node) : code;
}

static enum wr_code all_left(struct finder *f)
{
	WR_AUTO_S(wr_peeler) peeler = {.snap = f->snap, .cancel = f->g.cancel};
	const struct wr_overlay *now = f->snap->overlay;
	enum wr_code code = WR_OK;

	for (size_t i = 0; now && i < now->count && code == WR_OK; i++) {
		struct wr_ref then;
		bool was = false;
		size_t at;

		if (!wr_closure_is_head_or_tag(now->v[i].name))
			continue;
		at = wr_refsfile_lower(f->snap->stored, now->v[i].name, &was);
		if (!was)
			continue;
		wr_refsfile_ref_at(&then, f->snap->stored, at);
		if (!wr_oid_eq(&then.oid, &now->v[i].oid))
			code = add_left(f, &peeler, &then.oid);
	}
	return code;
}

static enum wr_code all_kept(struct finder *f)
{
	size_t n;
	const struct wr_ref *refs = wr_snapshot_refs(f->snap, &n);
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < n && code == WR_OK; i++) {
		const struct wr_oid *tip = wr_oid_zero(&refs[i].peeled) ? &refs[i].oid : &refs[i].peeled;
		const uint32_t *slot = wr_oidmap_slot(&f->g.map, tip);
		enum wr_type type;
		uint32_t node;

		if (!wr_ref_shown(&refs[i]) || (slot && f->g.nodes[*slot - 1].flags & KEPT))
			continue;
		if ((code = wr_snapshot_stat(f->snap, tip, &type, NULL, f->err)) != WR_OK || type != WR_COMMIT)
			continue;
		if ((code = wr_graph_node(&node, &f->g, tip, f->err)) == WR_OK) {
			set_kept(f, node);
			code = enqueue(f, node);
		}
	}
	return code;
}

/* ---- trees and files ---- */

static bool mark(void *arg, const struct wr_oid *oid, struct wr_place place, enum wr_type type)
{
	struct finder *f = arg;
	bool added;

	(void)oid;
	if (!f->marking)
		return wr_marks_add(&f->known, place) && type == WR_TREE;
	if (wr_marks_has(&f->known, place))
		return false;
	added = wr_marks_add(&f->lost->marks, place);
	f->lost->any |= added;
	return added && type == WR_TREE;
}

/* All of the trees of the kept commits that lost ones stand on. */
static enum wr_code mark_border(struct finder *f, uint32_t node)
{
	enum wr_code code = WR_OK;

	for (uint32_t i = 0; code == WR_OK && i < f->g.nodes[node].parent_count; i++) {
		uint32_t parent = f->g.edges[f->g.nodes[node].parents + i];

		if ((f->g.nodes[parent].flags & (KEPT | BORDER)) != KEPT)
			continue;
		f->g.nodes[parent].flags |= BORDER;
		if ((code = wr_graph_load(&f->g, parent, f->err)) == WR_OK)
			code = wr_trees_walk(&f->trees, &f->g.nodes[parent].tree, f->err);
	}
	return code;
}

static enum wr_code mark_direct(struct finder *f, const struct wr_oid *oid)
{
	enum wr_type type;
	enum wr_code code = wr_snapshot_stat(f->snap, oid, &type, NULL, f->err);

	if (code != WR_OK)
		return code;
	return type == WR_TREE ? wr_trees_walk(&f->trees, oid, f->err) : suspect(f, oid);
}

static enum wr_code mark_all(struct finder *f)
{
	enum wr_code code = WR_OK;

	for (size_t i = 0; code == WR_OK && i < f->found.len; i++)
		if (!(f->g.nodes[f->found.v[i]].flags & KEPT))
			code = mark_border(f, f->found.v[i]);
	f->marking = true;
	for (size_t i = 0; code == WR_OK && i < f->found.len; i++) {
		const struct wr_node *n = &f->g.nodes[f->found.v[i]];

		if (n->flags & KEPT)
			continue;
		if ((code = suspect(f, &n->oid)) == WR_OK)
			code = wr_trees_walk(&f->trees, &n->tree, f->err);
	}
	for (size_t i = 0; code == WR_OK && i < f->direct.len; i++)
		code = mark_direct(f, &f->direct.v[i]);
	return code;
}

/* ---- all of it ---- */

static enum wr_code find(struct finder *f)
{
	enum wr_code code;

	if ((code = wr_marks_init(&f->known, f->snap, f->err)) != WR_OK || (code = all_left(f)) != WR_OK)
		return code;
	if (f->open && ((code = all_kept(f)) != WR_OK || (code = walk_commits(f)) != WR_OK))
		return code;
	return mark_all(f);
}

/* A history that is damaged must not keep clients from what was never part of it. */
static enum wr_code find_or_doubt(struct wr_lost *lost, struct wr_snapshot *snap, const struct wr_cancel *cancel,
				  struct wr_error *err)
{
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	struct finder f = {.snap = snap,
			   .lost = lost,
			   .g = {.snap = snap, .cancel = cancel},
			   .trees = {.snap = snap, .cancel = cancel, .object = mark, .arg = &f},
			   .err = &why};
	enum wr_code code;

	if (!snap->lost || !snap->stored)
		return WR_OK;
	if ((code = wr_marks_init(&lost->marks, snap, err)) != WR_OK)
		return code;
	code = find(&f);
	finder_fini(&f);
	if (code == WR_E_CANCELLED || code == WR_E_UNAVAILABLE) {
		wr_error_move(err, &why);
		return code;
	}
	if (code != WR_OK)
		lost->all = lost->any = true;
	return WR_OK;
}

/* Who comes second takes what the first one made. */
static void publish(_Atomic(struct wr_lost *) *slot, struct wr_lost *made)
{
	struct wr_lost *none = NULL;

	if (!atomic_compare_exchange_strong_explicit(slot, &none, made, memory_order_acq_rel, memory_order_acquire))
		wr_lost_free(made);
}

enum wr_code wr_lost_get(const struct wr_lost **out, struct wr_snapshot *snap, const struct wr_cancel *cancel,
			 struct wr_error *err)
{
	struct wr_lost *found = atomic_load_explicit(&snap->gone, memory_order_acquire);
	enum wr_code code;

	if (!found)
		found = atomic_load_explicit(&snap->suspects, memory_order_acquire);
	if (!found) {
		found = calloc(1, sizeof *found);
		if (!found)
			return wr_fail_nomem(err);
		if ((code = find_or_doubt(found, snap, cancel, err)) != WR_OK) {
			wr_lost_free(found);
			return code;
		}
		publish(&snap->suspects, found);
		found = atomic_load_explicit(&snap->suspects, memory_order_acquire);
	}
	*out = found;
	return WR_OK;
}

enum wr_code wr_lost_settle(struct wr_snapshot *snap, const struct wr_marks *met, struct wr_error *err)
{
	const struct wr_lost *suspects = atomic_load_explicit(&snap->suspects, memory_order_acquire);
	struct wr_lost *gone;
	enum wr_code code;

	if (!suspects || suspects->all)
		return WR_OK;
	gone = calloc(1, sizeof *gone);
	if (!gone)
		return wr_fail_nomem(err);
	if ((code = wr_marks_init(&gone->marks, snap, err)) != WR_OK) {
		wr_lost_free(gone);
		return code;
	}
	wr_marks_copy(&gone->marks, &suspects->marks, snap);
	wr_marks_clear(&gone->marks, met, snap);
	gone->any = true;
	gone->exact = true;
	publish(&snap->gone, gone);
	return WR_OK;
}

bool wr_lost_certain(const struct wr_lost *lost, const struct wr_snapshot *snap, const struct wr_oid *oid)
{
	bool in_closure = wr_snapshot_in_closure(snap, oid), in_doubt = lost->all;
	struct wr_place place;

	if (lost->any && !lost->all)
		in_doubt = wr_snapshot_find(&place, snap, oid) && wr_marks_has(&lost->marks, place);
	return in_closure && !in_doubt;
}
