#include "core/content/orders.h"

void wr_history_fini(struct wr_history *h)
{
	wr_oids_fini(&h->commits);
}

static enum wr_code not_in_branch(const struct wr_oid *oid, struct wr_error *err)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	wr_fail(err, WR_E_COMMIT_NOT_IN_BRANCH, "%s", wr_code_text(WR_E_COMMIT_NOT_IN_BRANCH));
	wr_error_field(err, "sha", wr_str(hex));
	return WR_E_COMMIT_NOT_IN_BRANCH;
}

static enum wr_code bad_range(const struct wr_history_ask *ask, struct wr_error *err)
{
	char since[WR_OID_HEX + 1], until[WR_OID_HEX + 1];

	wr_oid_hex(since, ask->since);
	wr_oid_hex(until, ask->until);
	wr_fail(err, WR_E_INVALID_RANGE, "%s", wr_code_text(WR_E_INVALID_RANGE));
	wr_error_field(err, "since", wr_str(since));
	wr_error_field(err, "until", wr_str(until));
	return WR_E_INVALID_RANGE;
}

/* What the selectors leave: the places from..to - 1 of the order, and of these those that are in `in` and not in `out`. */
struct selection {
	uint32_t from, to;
	bool *in, *out; /* NULL: all; none */
};

static void selection_fini(struct selection *s)
{
	free(s->in);
	free(s->out);
}

static enum wr_code mark(bool **yes, const struct wr_order *o, uint32_t from, struct wr_error *err)
{
	*yes = calloc(o->count, sizeof **yes);
	if (!*yes)
		return wr_fail_nomem(err);
	wr_order_mark(*yes, o, from);
	return WR_OK;
}

static enum wr_code find(uint32_t *place, const struct wr_order *o, const struct wr_oid *oid, struct wr_error *err)
{
	if (!oid)
		return WR_OK;
	*place = wr_order_find(o, oid);
	return *place == UINT32_MAX ? not_in_branch(oid, err) : WR_OK;
}

static enum wr_code select_commits(struct selection *s, const struct wr_order *o, const struct wr_history_ask *ask,
				   struct wr_error *err)
{
	uint32_t since = 0, until = 0;
	enum wr_code code;

	*s = (struct selection){.to = o->count};
	if ((code = find(&since, o, ask->since, err)) != WR_OK || (code = find(&until, o, ask->until, err)) != WR_OK)
		return code;
	if (ask->since && ask->until) {
		if ((code = mark(&s->in, o, until, err)) != WR_OK)
			return code;
		return s->in[since] ? mark(&s->out, o, since, err) : bad_range(ask, err);
	}
	if (ask->until && ask->ascending)
		return mark(&s->in, o, until, err);
	if (ask->until)
		s->from = until;
	if (ask->since && !ask->ascending)
		return mark(&s->out, o, since, err);
	if (ask->since)
		s->to = since + 1;
	return WR_OK;
}

static bool selected(const struct selection *s, uint32_t place)
{
	return !(s->in && !s->in[place]) && !(s->out && s->out[place]);
}

static enum wr_code fill(struct wr_history *h, const struct wr_order *o, const struct selection *s,
			 const struct wr_history_ask *ask, struct wr_error *err)
{
	bool all = !s->in && !s->out, more = false;
	uint32_t n = s->to - s->from;
	uint64_t met = 0;
	enum wr_code code = WR_OK;

	/* Where nothing is left out the page's place is known. */
	if (all)
		met = ask->offset < n ? ask->offset : n;
	for (uint32_t i = (uint32_t)met; i < n && code == WR_OK && !(more && !(ask->count && !all)); i++) {
		uint32_t place = ask->ascending ? s->to - 1 - i : s->from + i;

		if (!selected(s, place))
			continue;
		if (met++ < ask->offset)
			continue;
		if (h->commits.len < ask->limit)
			code = wr_oids_add(&h->commits, &o->commits[place], err);
		else if (!more)
			h->next = o->commits[place];
		more = met > ask->offset + ask->limit;
	}
	h->total = all ? n : met;
	return code;
}

enum wr_code wr_history_list(struct wr_history *out, struct wr_view *v, struct wr_orders *orders, const char *repo_id,
			     const struct wr_history_ask *ask, struct wr_error *err)
{
	WR_AUTO_S(wr_history) h = {.total = 0};
	WR_AUTO(wr_order) *o = NULL;
	struct selection s = {.in = NULL};
	enum wr_code code = wr_order_of(&o, orders, repo_id, v, &ask->tip, err);

	if (code == WR_OK && (code = select_commits(&s, o, ask, err)) == WR_OK)
		code = fill(&h, o, &s, ask, err);
	selection_fini(&s);
	if (code == WR_OK) {
		*out = h;
		h = (struct wr_history){.total = 0};
	}
	return code;
}

/* ---- two tips ---- */

static enum wr_code map_places(struct wr_oidmap *map, const struct wr_order *o, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	for (uint32_t i = 0; i < o->count && code == WR_OK; i++)
		code = wr_oidmap_add(map, &o->commits[i], i, NULL, err);
	return code;
}

/*
 * In head's order: what base reaches too, and what lies behind a commit that both reach, which is no best ancestor
 * then.
 */
static enum wr_code compare(uint64_t *common, struct wr_oids *bases, const struct wr_order *head,
			    const struct wr_oidmap *of_base, struct wr_error *err)
{
	WR_AUTO_MEM bool *behind = calloc(head->count, sizeof *behind);
	enum wr_code code = WR_OK;

	if (!behind)
		return wr_fail_nomem(err);
	*common = 0;
	for (uint32_t i = 0; i < head->count && code == WR_OK; i++) {
		if (!behind[i] && !wr_oidmap_has(of_base, &head->commits[i]))
			continue;
		++*common;
		if (!behind[i])
			code = wr_oids_add(bases, &head->commits[i], err);
		for (uint32_t k = head->first[i]; k < head->first[i + 1]; k++)
			behind[head->parents[k]] = true;
	}
	return code;
}

enum wr_code wr_history_compare(uint64_t *ahead, uint64_t *behind, struct wr_oids *bases, struct wr_view *v,
				struct wr_orders *orders, const char *repo_id, const struct wr_oid *base,
				const struct wr_oid *head, struct wr_error *err)
{
	WR_AUTO(wr_order) *of_head = NULL, *of_base = NULL;
	WR_AUTO_S(wr_oidmap) places = {.cap = 0};
	uint64_t common = 0;
	enum wr_code code = wr_order_of(&of_head, orders, repo_id, v, head, err);

	bases->len = 0;
	if (code == WR_OK)
		code = wr_order_of(&of_base, orders, repo_id, v, base, err);
	if (code == WR_OK)
		code = map_places(&places, of_base, err);
	if (code == WR_OK)
		code = compare(&common, bases, of_head, &places, err);
	if (code != WR_OK)
		return code;
	*ahead = of_head->count - common;
	*behind = of_base->count - common;
	return WR_OK;
}
