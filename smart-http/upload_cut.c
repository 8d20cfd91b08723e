/*
 * Where a client's history ends: gitprotocol-pack ("shallow" lines), gitprotocol-v2 (deepen, deepen-relative,
 * deepen-since, deepen-not).
 */
#include "core/git/parse.h"
#include "smart-http/names.h"
#include "smart-http/upload_internal.h"

void wr_cut_fini(struct wr_cut *cut)
{
	wr_oids_fini(&cut->client);
	wr_oids_fini(&cut->shallow);
	wr_oids_fini(&cut->unshallow);
	wr_oids_fini(&cut->roots);
	wr_oids_fini(&cut->own);
}

/*
 * The roots that the client named, as far as refs reach them: others cannot touch what it gets from here. Of those each
 * is needed, or the client would be taken for having what lies behind it.
 */
static enum wr_code known_roots(struct wr_oids *out, const struct wr_upload *up, const struct wr_snapshot *snap,
				struct wr_error *err)
{
	WR_AUTO_S(wr_oidmap) seen = {0};
	WR_AUTO_MEM bool *reached = calloc(up->shallows.len + 1, sizeof *reached);
	enum wr_code code;

	if (!reached)
		return wr_fail_nomem(err);
	code = wr_reach_each(reached, up->reach, &up->shallows, err);
	for (size_t i = 0; code == WR_OK && i < up->shallows.len; i++) {
		enum wr_type type;
		bool added;

		if (!reached[i])
			continue;
		code = wr_snapshot_stat(snap, &up->shallows.v[i], &type, NULL, err);
		if (code == WR_OK && type == WR_COMMIT &&
		    (code = wr_oidmap_add(&seen, &up->shallows.v[i], 0, &added, err)) == WR_OK && added)
			code = wr_oids_add(out, &up->shallows.v[i], err);
	}
	return code;
}

/*
 * Which of the client's roots a ref reaches, in one walk however many there are. A client that moves its roots names
 * only those refs as wants that moved too, so the wants do not say; and what lies behind roots that no ref reaches is
 * not ours to give.
 */
static enum wr_code roots_reached(struct wr_oids *out, const struct wr_cut *cut, const struct wr_snapshot *snap,
				  const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO_S(wr_oids) tips = {0}, none = {0};
	size_t n;
	const struct wr_ref *refs = wr_snapshot_refs(snap, &n);

	if (cut->client.len == 0)
		return WR_OK;
	for (size_t i = 0; i < n; i++) {
		enum wr_code code = wr_ref_shown(&refs[i]) ? wr_oids_add(&tips, &refs[i].oid, err) : WR_OK;

		if (code != WR_OK)
			return code;
	}
	return wr_walk_depth(&none, out, snap, &tips, &cut->client, WR_DEPTH_ALL, cancel, err);
}

/* deepen-relative: the depth counts from the client's roots. */
static enum wr_code cut_relative(struct wr_cut *cut, const struct wr_upload *up, const struct wr_snapshot *snap,
				 const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO_S(wr_oids) from = {0};
	enum wr_code code = roots_reached(&from, cut, snap, cancel, err);

	if (code != WR_OK || from.len == 0)
		return code;
	return wr_walk_depth(&cut->shallow, &cut->unshallow, snap, &from, &cut->client, up->depth + 1, cancel, err);
}

/* deepen-not's argument: the one ref that git would understand by this name. */
static const struct wr_ref *ref_by_name(const struct wr_snapshot *snap, struct wr_str name,
					struct wr_str default_branch)
{
	static const char *const prefixes[] = {"", "refs/", "refs/tags/", "refs/heads/", "refs/remotes/",
					       "refs/remotes/"};
	const struct wr_ref *found = wr_str_eqz(name, "HEAD") ? wr_ref_head(snap, default_branch) : NULL;

	for (size_t i = 0; i < WR_ARRAY_LEN(prefixes); i++) {
		WR_AUTO_S(wr_buf) full = WR_BUF_INIT(WR_PKT_MAX * 2);
		const struct wr_ref *ref;

		wr_buf_addz(&full, prefixes[i]);
		wr_buf_adds(&full, name);
		if (i + 1 == WR_ARRAY_LEN(prefixes))
			wr_buf_addz(&full, "/HEAD");
		ref = wr_buf_ok(&full) ? wr_snapshot_ref(snap, wr_buf_str(&full)) : NULL;
		if (!ref || !wr_ref_shown(ref))
			continue;
		if (found)
			return NULL;
		found = ref;
	}
	return found;
}

enum wr_code wr_upload_commit(struct wr_commit *out, const struct wr_snapshot *snap, const struct wr_oid *oid,
			      struct wr_error *err)
{
	WR_AUTO_S(wr_object) obj = {0};
	enum wr_code code = wr_snapshot_read(&obj, snap, oid, err);

	if (code == WR_OK && obj.type != WR_COMMIT)
		code = wr_fail(err, WR_E_INTERNAL, "a commit is expected");
	if (code == WR_OK && wr_commit_parse(out, wr_str_n(obj.data, obj.size), NULL) != WR_OK)
		code = wr_fail(err, WR_E_INTERNAL, "a stored commit does not parse");
	return code;
}

/* By time, and by what other refs reach. */
static enum wr_code cut_by_choice(struct wr_cut *cut, const struct wr_upload *up, const struct wr_snapshot *snap,
				  struct wr_str default_branch, const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO_S(wr_oids) nots = {0};
	enum wr_code code = WR_OK;
	char text[101];
	bool any;

	for (size_t i = 0; code == WR_OK && i < up->deepen_not.len; i++) {
		const struct wr_ref *ref = ref_by_name(snap, up->deepen_not.v[i], default_branch);

		if (!ref)
			return wr_fail(err, WR_E_INVALID_REQUEST,
				       "upload-pack: deepen-not '%s' names no ref here, or several",
				       wr_upload_quote(text, up->deepen_not.v[i]));
		code = wr_oids_add(&nots, &ref->oid, err);
	}
	if (code != WR_OK ||
	    (code = wr_walk_choice(&any, &cut->shallow, &cut->unshallow, snap, &up->wants, &nots,
				   up->has_since ? up->since : INT64_MIN, &cut->client, cancel, err)) != WR_OK)
		return code;
	return any ? WR_OK : wr_fail(err, WR_E_INVALID_REQUEST, "no commits selected for shallow requests");
}

/* All roots from now on: the client's that stay, and the new ones. */
static enum wr_code roots_sum(struct wr_cut *cut, struct wr_error *err)
{
	WR_AUTO_S(wr_oidmap) gone = {0};
	enum wr_code code = WR_OK;

	for (size_t i = 0; code == WR_OK && i < cut->unshallow.len; i++)
		code = wr_oidmap_add(&gone, &cut->unshallow.v[i], 0, NULL, err);
	for (size_t i = 0; code == WR_OK && i < cut->client.len; i++) {
		if (!wr_oidmap_has(&gone, &cut->client.v[i]))
			code = wr_oids_add(&cut->roots, &cut->client.v[i], err);
	}
	for (size_t i = 0; code == WR_OK && i < cut->shallow.len; i++)
		code = wr_oids_add(&cut->roots, &cut->shallow.v[i], err);
	return code;
}

/* fetch --unshallow: the client gets all that there is. */
static enum wr_code cut_nothing(struct wr_cut *cut, const struct wr_upload *up, const struct wr_snapshot *snap,
				const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO_S(wr_oids) none = {0};
	enum wr_code code = roots_reached(&cut->unshallow, cut, snap, cancel, err);

	if (code != WR_OK || !cut->own_history_ends)
		return code;
	return wr_walk_depth(&cut->own, &none, snap, &up->wants, &cut->client, WR_DEPTH_ALL, cancel, err);
}

enum wr_code wr_upload_own_roots(struct wr_cut *cut, const struct wr_upload *up, const struct wr_common *common,
				 const struct wr_snapshot *snap, const struct wr_cancel *cancel, struct wr_error *err)
{
	if (cut->asked || !cut->own_history_ends)
		return WR_OK;
	return wr_walk_roots(&cut->own, snap, &up->wants, &common->commits, &cut->client, cancel, err);
}

static enum wr_code has_own(bool *out, const struct wr_snapshot *snap, struct wr_error *err)
{
	WR_AUTO_S(wr_oids) roots = {0};
	enum wr_code code = wr_snapshot_roots(&roots, snap, err);

	*out = roots.len > 0;
	return code;
}

enum wr_code wr_upload_cut(struct wr_cut *cut, const struct wr_upload *up, const struct wr_snapshot *snap,
			   struct wr_str default_branch, const struct wr_cancel *cancel, struct wr_error *err)
{
	enum wr_code code = known_roots(&cut->client, up, snap, err);

	if (code != WR_OK || (code = has_own(&cut->own_history_ends, snap, err)) != WR_OK)
		return code;
	cut->asked = up->depth || up->has_since || up->deepen_not.len;
	if (up->depth == WR_DEPTH_ALL) {
		code = cut_nothing(cut, up, snap, cancel, err);
	} else if (up->depth && up->deepen_relative) {
		code = cut_relative(cut, up, snap, cancel, err);
	} else if (up->depth) {
		code = wr_walk_depth(&cut->shallow, &cut->unshallow, snap, &up->wants, &cut->client, up->depth, cancel,
				     err);
	} else if (cut->asked) {
		code = cut_by_choice(cut, up, snap, default_branch, cancel, err);
	}
	return code == WR_OK ? roots_sum(cut, err) : code;
}

static void lines(struct wr_pkt_writer *w, const char *word, const struct wr_oids *list)
{
	char hex[WR_OID_HEX + 1];

	for (size_t i = 0; i < list->len; i++) {
		wr_oid_hex(hex, &list->v[i]);
		wr_pkt_printf(w, "%s %s", word, hex);
	}
}

void wr_cut_write(struct wr_pkt_writer *w, const struct wr_cut *cut)
{
	lines(w, "shallow", &cut->shallow);
	lines(w, "shallow", &cut->own);
	lines(w, "unshallow", &cut->unshallow);
}
