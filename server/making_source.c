/* Repositories of other servers as sources. */
#include "core/base/config.h"
#include "server/making_internal.h"
#include "sync/fetch.h"

#define PACKETS_MARGIN ((uint64_t)16 << 20)

/* What one fetch brings. */
struct fetching {
	struct wr_making *m;
	struct wr_remote *remote;
	struct wr_ref *all; /* the other server's refs */
	size_t n;
	struct wr_making_from from;
	struct wr_making_refs refs;
	bool asked_by_id; /* for a commit that is no ref's value: it may refuse, or send something else */
};

static void fetching_fini(struct fetching *f)
{
	wr_making_refs_fini(&f->refs);
	free(f->all);
	wr_remote_free(f->remote);
}

static enum wr_code open_remote(struct fetching *f, struct wr_error *err)
{
	struct wr_net_rules rules = wr_making_rules(f->m);
	const struct wr_remote_ref *refs;
	enum wr_code code;

	/* The store bounds the pack itself; this, what is around it as well. */
	rules.max_bytes = f->m->app->cfg->git_max_pack + f->m->app->cfg->git_max_pack / 64 + PACKETS_MARGIN;
	wr_making_stage(f->m, "connecting");
	code = wr_remote_open(&f->remote, f->m->plan->url, &rules, f->m->cancel, err);
	if (code != WR_OK)
		return code;
	refs = wr_remote_refs(f->remote, &f->n);
	f->all = calloc(f->n + 1, sizeof *f->all);
	if (!f->all)
		return wr_fail_nomem(err);
	for (size_t i = 0; i < f->n; i++)
		f->all[i] = (struct wr_ref){refs[i].name, refs[i].oid, refs[i].peeled};
	return WR_OK;
}

/* ---- where it starts ---- */

static const struct wr_oid *commit_of(const struct wr_ref *ref)
{
	return wr_oid_zero(&ref->peeled) ? &ref->oid : &ref->peeled;
}

static enum wr_code start_at_head(struct fetching *f, struct wr_error *err)
{
	struct wr_oid oid;
	struct wr_str head = wr_remote_head(f->remote, &oid);

	f->from.branch = head.len ? wr_making_named(f->all, f->n, head) : NULL;
	if (f->from.branch && !wr_str_starts(head, WR_S(WR_HEADS)))
		f->from.branch = NULL;
	f->from.commit = f->from.branch ? f->from.branch->oid : oid;
	if (!wr_oid_zero(&f->from.commit) || f->m->plan->all_branches)
		return WR_OK;
	return wr_making_no_rev(err, WR_S("HEAD"), "the source's HEAD leads nowhere; name a branch, tag or commit");
}

/* The one value of all refs that begins with these digits. */
static enum wr_code by_digits(struct wr_oid *out, bool *found, const struct fetching *f, struct wr_str digits,
			      struct wr_error *err)
{
	*found = false;
	for (size_t i = 0; i < f->n; i++) {
		const struct wr_oid *oid = commit_of(&f->all[i]);
		char hex[2][WR_OID_HEX + 1];

		wr_oid_hex(hex[0], oid);
		wr_oid_hex(hex[1], &f->all[i].oid);
		if (!wr_str_caseeq(wr_str_n(hex[0], digits.len), digits) &&
		    !wr_str_caseeq(wr_str_n(hex[1], digits.len), digits))
			continue;
		if (*found && !wr_oid_eq(out, oid))
			return wr_making_no_rev(err, digits, "the abbreviated id is ambiguous; give more digits");
		*found = true;
		*out = *oid;
	}
	return WR_OK;
}

static bool is_digits(struct wr_str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (wr_hex_digit(s.ptr[i]) < 0)
			return false;
	return s.len >= 4 && s.len <= WR_OID_HEX;
}

static enum wr_code start_at_id(struct fetching *f, struct wr_str rev, struct wr_error *err)
{
	bool found = false;
	enum wr_code code = is_digits(rev) ? by_digits(&f->from.commit, &found, f, rev, err) : WR_OK;

	if (code != WR_OK || found)
		return code;
	f->asked_by_id = wr_oid_parse(&f->from.commit, rev);
	if (f->asked_by_id && !wr_oid_zero(&f->from.commit))
		return WR_OK;
	return wr_making_no_rev(err, rev,
				is_digits(rev) ? "no branch or tag of the source has this id; give all 40 digits"
					       : "the source has no branch or tag of this name");
}

static enum wr_code find_start(struct fetching *f, struct wr_error *err)
{
	struct wr_str rev = f->m->plan->rev, head = wr_remote_head(f->remote, &(struct wr_oid){{0}});
	const struct wr_ref *ref;

	if (wr_str_starts(head, WR_S(WR_HEADS)))
		f->from.fallback = wr_str_skip(head, sizeof WR_HEADS - 1);
	if (wr_making_from_head(f->m->plan))
		return start_at_head(f, err);
	ref = wr_making_named(f->all, f->n, rev);
	if (!ref)
		return start_at_id(f, rev, err);
	f->from.commit = *commit_of(ref);
	if (wr_str_starts(ref->name, WR_S(WR_HEADS)))
		f->from.branch = ref;
	return WR_OK;
}

/* ---- the objects ---- */

static enum wr_code wants_of(struct wr_oids *out, const struct fetching *f, struct wr_error *err)
{
	WR_AUTO_S(wr_oidmap) seen = {.len = 0};
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < f->refs.count && code == WR_OK; i++) {
		bool added;

		code = wr_oidmap_add(&seen, &f->refs.v[i].oid, 0, &added, err);
		if (code == WR_OK && added)
			code = wr_oids_add(out, &f->refs.v[i].oid, err);
	}
	return code;
}

static enum wr_code take_pack(struct fetching *f, struct wr_source *pack, const struct wr_oids *roots,
			      struct wr_error *err)
{
	struct wr_making *m = f->m;
	WR_AUTO(wr_quarantine) *q = NULL;
	enum wr_code code = wr_quarantine_new(&q, m->repo, err);

	if (code != WR_OK)
		return code;
	wr_quarantine_taken(q);
	wr_quarantine_room(q, m->room);
	if (roots->len > 0)
		wr_quarantine_roots(q, roots);
	code = wr_quarantine_pack(q, pack, m->progress, m->cancel, err);
	return code == WR_OK ? wr_making_append(m, q, &f->refs, err) : code;
}

static enum wr_code ask_for(struct wr_source **pack, struct wr_fetch *ask, struct fetching *f, struct wr_error *err)
{
	enum wr_code code;

	wr_making_stage(f->m, "receiving");
	code = wr_remote_fetch(pack, ask, f->remote, err);
	if (code == WR_E_INVALID_REVISION || (code == WR_E_INVALID_REQUEST && f->asked_by_id))
		code = wr_making_no_rev(err, wr_making_rev(f->m->plan),
					"the source does not give this commit; name a branch or tag that leads to it");
	return code;
}

static enum wr_code fetch(struct fetching *f, struct wr_error *err)
{
	WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};
	struct wr_fetch ask = {.depth = f->m->plan->depth};
	struct wr_source *pack;
	enum wr_code code = wants_of(&wants, f, err);

	if (code != WR_OK)
		return code;
	ask.wants = wants.v;
	ask.want_count = wants.len;
	code = ask_for(&pack, &ask, f, err);
	if (code == WR_OK)
		code = take_pack(f, pack, &ask.shallow, err);
	wr_oids_fini(&ask.shallow);
	return code;
}

static enum wr_code make(struct fetching *f, struct wr_error *err)
{
	enum wr_code code = open_remote(f, err);

	if (code == WR_OK && !wr_making_any(f->all, f->n) && wr_making_from_head(f->m->plan)) {
		struct wr_str head = wr_remote_head(f->remote, &(struct wr_oid){{0}});

		wr_making_unborn(f->m, wr_str_starts(head, WR_S(WR_HEADS)) ? wr_str_skip(head, sizeof WR_HEADS - 1)
									   : (struct wr_str){NULL, 0});
		return WR_OK;
	}
	if (code == WR_OK)
		code = find_start(f, err);
	if (code == WR_OK)
		code = wr_making_choose(&f->refs, f->all, f->n, &f->from, f->m->plan, err);
	return code == WR_OK ? fetch(f, err) : code;
}

enum wr_code wr_make_from_source(struct wr_making *m, struct wr_error *err)
{
	struct fetching f = {.m = m};
	enum wr_code code = make(&f, err);

	fetching_fini(&f);
	return code;
}

enum wr_code wr_making_fetch_tip(struct wr_making_tip *out, struct wr_making *m, struct wr_error *err)
{
	struct fetching f = {.m = m};
	struct wr_fetch ask = {.wants = &out->commit, .want_count = 1, .depth = 1};
	enum wr_code code = open_remote(&f, err);

	if (code == WR_OK)
		code = find_start(&f, err);
	if (code == WR_OK) {
		out->commit = f.from.commit;
		code = ask_for(&out->pack, &ask, &f, err);
		out->roots = ask.shallow;
	}
	out->remote = WR_STEAL(f.remote);
	fetching_fini(&f);
	return code;
}

void wr_making_tip_fini(struct wr_making_tip *tip)
{
	wr_oids_fini(&tip->roots);
	wr_remote_free(tip->remote);
	tip->remote = NULL;
}
