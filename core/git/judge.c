/*
 * What becomes of each update of a change: compared with the refs as they are, and with the objects that come along.
 */
#include "core/git/append_internal.h"
#include "core/git/parse.h"

/* Tags of tags; nobody has more than a few. */
#define MAX_TAG_CHAIN 64

static void refuse(struct wr_ref_update *u, enum wr_code code, const char *reason)
{
	u->result = code;
	snprintf(u->reason, sizeof u->reason, "%.*s", (int)sizeof u->reason - 1, reason);
}

/* ---- each update alone ---- */

static int sorted_cmp(const void *a, const void *b, void *arg)
{
	const struct wr_ref_update *u = arg;
	size_t x = *(const size_t *)a, y = *(const size_t *)b;
	int c = wr_refname_cmp(u[x].name, u[y].name);

	return c ? c : (x > y) - (x < y);
}

static void check_name(struct wr_judge *j, struct wr_ref_update *u)
{
	struct wr_ref ref;

	u->result = WR_OK;
	u->reason[0] = '\0';
	memset(&u->before, 0, sizeof u->before);
	if (!wr_refname_ok(u->name)) {
		refuse(u, WR_E_INVALID_REQUEST, "funny refname");
		return;
	}
	if (wr_str_starts(u->name, WR_S("refs/warren/"))) {
		refuse(u, WR_E_INVALID_REQUEST, "refs/warren/ belongs to the server");
		return;
	}
	if (wr_snapshot_find_ref(&ref, j->now, u->name))
		u->before = ref.oid;
}

static void check_old(struct wr_ref_update *u)
{
	char is[WR_OID_HEX + 1], expected[WR_OID_HEX + 1];

	if (u->any_old || wr_oid_eq(&u->old, &u->before))
		return;
	u->result = WR_E_REF_CONFLICT;
	wr_oid_hex(is, &u->before);
	wr_oid_hex(expected, &u->old);
	if (wr_oid_zero(&u->old))
		snprintf(u->reason, sizeof u->reason, "the ref exists already, at %s", is);
	else if (wr_oid_zero(&u->before))
		snprintf(u->reason, sizeof u->reason, "the ref is gone, expected %s", expected);
	else
		snprintf(u->reason, sizeof u->reason, "the ref has moved: expected %s, is %s", expected, is);
}

static enum wr_code peeled_keep(struct wr_judge *j, const struct wr_oid *tag, struct wr_peeled end,
				struct wr_error *err)
{
	if (j->tags.len == j->ends_cap) {
		size_t cap = j->ends_cap ? j->ends_cap * 2 : 8;
		struct wr_peeled *v = reallocarray(j->ends, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(err);
		j->ends = v;
		j->ends_cap = cap;
	}
	j->ends[j->tags.len] = end;
	return wr_oidmap_add(&j->tags, tag, (uint32_t)j->tags.len, NULL, err);
}

/*
 * A tag's way to what it is about in the end. What others of the change found out before is known: a hundred thousand
 * refs may name one long chain of tags.
 */
static enum wr_code peel(struct wr_oid *out, struct wr_judge *j, struct wr_oid oid, struct wr_error *err)
{
	struct wr_oid way[MAX_TAG_CHAIN];
	struct wr_peeled end = {.tags = 0};
	size_t n = 0;
	enum wr_code code = WR_OK;

	for (enum wr_type type = WR_TAG; type == WR_TAG;) {
		WR_AUTO_S(wr_object) obj = {.data = NULL};
		const uint32_t *known = wr_oidmap_slot(&j->tags, &oid);

		if (known)
			end = j->ends[*known - 1];
		if (n + (known ? end.tags : 1) > MAX_TAG_CHAIN)
			return wr_fail(err, WR_E_BAD_PACK, "a chain of more than %d tags", MAX_TAG_CHAIN);
		if (known)
			break;
		way[n++] = oid;
		if ((code = wr_incoming_read(&obj, j->in, j->objects, &oid, err)) != WR_OK ||
		    (code = wr_tag_parse(&oid, &type, wr_str_n(obj.data, obj.size), err)) != WR_OK)
			return code;
		end.oid = oid;
	}
	*out = end.oid;
	while (n-- && code == WR_OK) {
		end.tags++;
		code = peeled_keep(j, &way[n], end, err);
	}
	return code;
}

/* A failure of the store ends the append; what the pusher can be told of, is the update's result. */
static enum wr_code check_new(struct wr_judge *j, size_t i, struct wr_error *err)
{
	struct wr_ref_update *u = &j->updates[i];
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	enum wr_type type;
	enum wr_code code;

	if (wr_oid_zero(&u->new))
		return WR_OK;
	code = wr_incoming_stat(&type, NULL, j->in, j->objects, &u->new, &why);
	if (code == WR_E_NOT_THERE) {
		refuse(u, WR_E_BAD_PACK, "bad object: the new value is not in the repository");
		return WR_OK;
	}
	if (code == WR_OK && wr_str_starts(u->name, WR_S("refs/heads/")) && type != WR_COMMIT) {
		refuse(u, WR_E_INVALID_REQUEST, "a branch must be a commit");
		return WR_OK;
	}
	if (code == WR_OK && type == WR_TAG)
		code = peel(&j->peeled[i], j, u->new, &why);
	if (code == WR_E_BAD_PACK) {
		refuse(u, code, why.text);
		return WR_OK;
	}
	if (code != WR_OK && err)
		wr_error_move(err, &why);
	return code;
}

/* ---- all updates ---- */

static void refuse_twins(struct wr_judge *j)
{
	for (size_t k = 1; k < j->count; k++) {
		struct wr_ref_update *a = &j->updates[j->sorted[k - 1]], *b = &j->updates[j->sorted[k]];

		if (!wr_str_eq(a->name, b->name))
			continue;
		refuse(a, WR_E_INVALID_REQUEST, "the ref is named more than once");
		refuse(b, WR_E_INVALID_REQUEST, "the ref is named more than once");
	}
}

static void all_or_none(struct wr_judge *j)
{
	bool refused = false;

	for (size_t i = 0; i < j->count; i++)
		refused = refused || j->updates[i].result != WR_OK;
	for (size_t i = 0; refused && i < j->count; i++)
		if (j->updates[i].result == WR_OK)
			refuse(&j->updates[i], WR_E_REF_CONFLICT, "atomic push failure");
}

enum wr_code wr_judge(struct wr_judge *j, bool atomic, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	j->sorted = calloc(j->count, sizeof *j->sorted);
	j->peeled = calloc(j->count, sizeof *j->peeled);
	if (!j->sorted || !j->peeled)
		return wr_fail_nomem(err);
	for (size_t i = 0; i < j->count; i++) {
		j->sorted[i] = i;
		check_name(j, &j->updates[i]);
	}
	qsort_r(j->sorted, j->count, sizeof *j->sorted, sorted_cmp, j->updates);
	refuse_twins(j);
	for (size_t i = 0; i < j->count && code == WR_OK; i++) {
		if (j->updates[i].result == WR_OK)
			check_old(&j->updates[i]);
		if (j->updates[i].result == WR_OK)
			code = check_new(j, i, err);
	}
	if (code == WR_OK)
		code = wr_judge_folders(j, err);
	if (code == WR_OK && atomic)
		all_or_none(j);
	return code;
}

void wr_judge_fini(struct wr_judge *j)
{
	free(j->sorted);
	free(j->peeled);
	free(j->ends);
	wr_oidmap_fini(&j->tags);
}
