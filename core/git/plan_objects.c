/*
 * What of commits, tags and wants a pack brings, and how an object comes to be in it.
 */
#include "core/git/plan_internal.h"

static enum wr_code append(struct wr_planner *p, const struct wr_oid *oid)
{
	struct wr_plan *plan = p->plan;
	struct wr_place place;

	if (!wr_snapshot_find(&place, plan->snap, oid))
		return wr_plan_lost(oid, p->err);
	if (plan->count == plan->cap) {
		uint32_t cap = plan->cap ? plan->cap * 2 : 256;
		struct wr_plan_item *v = cap > plan->cap ? reallocarray(plan->items, cap, sizeof *v) : NULL;

		if (!v)
			return wr_fail_nomem(p->err);
		plan->items = v;
		plan->cap = cap;
	}
	plan->items[plan->count++] = (struct wr_plan_item){place, 0};
	return wr_plan_step(p);
}

enum wr_code wr_plan_add_item(struct wr_planner *p, const struct wr_oid *oid, bool *added)
{
	enum wr_code code;

	*added = false;
	if (p->beyond && wr_snapshot_in_closure(p->plan->snap, oid))
		return WR_OK;
	code = wr_oidmap_add(&p->plan->objects, oid, 1 + p->plan->count, added, p->err);
	return code == WR_OK && *added ? append(p, oid) : code;
}

/*
 * Who asks for a tree or blob by its id lacks it, although it has a commit that holds it: it left it out when it
 * fetched that.
 */
enum wr_code wr_plan_add_wanted(struct wr_planner *p, const struct wr_oid *oid, bool *added)
{
	uint32_t *slot = wr_oidmap_slot(&p->plan->objects, oid);

	if (!slot || wr_plan_is_item(*slot - 1))
		return wr_plan_add_item(p, oid, added);
	*slot = 1 + (1 + p->plan->count);
	*added = true;
	return append(p, oid);
}

static enum wr_code add_commits(struct wr_planner *p)
{
	bool all = p->plan->filter.types & 1u << WR_COMMIT, added;
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < p->result.len && code == WR_OK; i++) {
		const struct wr_node *n = &p->g.nodes[p->result.v[i]];

		if (!(n->flags & WR_PLAN_OLD) && (all || (n->flags & WR_PLAN_ASKED)))
			code = wr_plan_add_item(p, &n->oid, &added);
	}
	return code;
}

static bool sent(const struct wr_planner *p, const struct wr_oid *oid)
{
	const uint32_t *slot = wr_oidmap_slot(&p->plan->objects, oid);

	return (slot && wr_plan_is_item(*slot - 1)) || (p->beyond && wr_snapshot_in_closure(p->plan->snap, oid));
}

static enum wr_code add_tag(struct wr_planner *p, struct wr_peeler *peeler, const struct wr_ref *ref)
{
	WR_AUTO_S(wr_oids) chain = {NULL, 0, 0};
	struct wr_oid target;
	enum wr_type type;
	enum wr_code code;
	bool again, added;

	if (wr_oid_zero(&ref->peeled) || !wr_str_starts(ref->name, WR_S("refs/tags/")) || !sent(p, &ref->peeled) ||
	    sent(p, &ref->oid))
		return WR_OK;
	if ((code = wr_peel(&again, &target, &type, &chain, peeler, &ref->oid, p->err)) != WR_OK)
		return code == WR_E_NOT_THERE ? wr_plan_lost(&ref->oid, p->err) : code;
	for (size_t k = 0; k < chain.len && code == WR_OK; k++)
		code = wr_plan_add_item(p, &chain.v[k], &added);
	return code;
}

/*
 * Tags whose object is sent go along, with the tags between; asked for by name as it were, so that no filter leaves
 * them out, as with git. What the checkpoint knew of them goes whole or not.
 */
static enum wr_code add_tags(struct wr_planner *p)
{
	WR_AUTO_S(wr_peeler) peeler = {.snap = p->plan->snap, .cancel = p->g.cancel};
	const struct wr_overlay *over = p->plan->snap->overlay;
	const struct wr_ref *refs = over ? over->v : NULL;
	size_t n = over ? over->count : 0;
	enum wr_code code = WR_OK;

	if (!p->beyond)
		refs = wr_snapshot_refs(p->plan->snap, &n);
	for (size_t i = 0; i < n && code == WR_OK; i++)
		code = add_tag(p, &peeler, &refs[i]);
	return code;
}

enum wr_code wr_plan_add_objects(struct wr_planner *p)
{
	enum wr_code code = wr_plan_add_trees(p);
	bool added;

	for (size_t i = 0; i < p->blobs.len && code == WR_OK; i++)
		code = wr_plan_add_wanted(p, &p->blobs.v[i], &added);
	if (code == WR_OK)
		code = add_commits(p);
	for (size_t i = 0; i < p->tags.len && code == WR_OK; i++)
		code = wr_plan_add_item(p, &p->tags.v[i], &added);
	if (code == WR_OK && p->req->include_tag)
		code = add_tags(p);
	return code;
}
