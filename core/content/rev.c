#include "core/content/rev.h"

#include "core/base/buf.h"
#include "core/git/graph.h"

/* Names of refs have to fit, with what may follow them. */
#define REV_MAX ((size_t)2 * WR_REFNAME_MAX)
/* More objects with one abbreviation than this are ambiguous, whatever they are. */
#define CANDIDATES_MAX 256
#define STEPS_MAX 1000000000u

static enum wr_code invalid(struct wr_str rev, struct wr_error *err, const char *why)
{
	wr_fail(err, WR_E_INVALID_REVISION, "Invalid revision: %s", why);
	wr_error_field(err, "revision", rev);
	return WR_E_INVALID_REVISION;
}

static enum wr_code not_found(struct wr_str rev, struct wr_error *err)
{
	wr_fail(err, WR_E_REFERENCE_NOT_FOUND, "%s", wr_code_text(WR_E_REFERENCE_NOT_FOUND));
	wr_error_field(err, "reference", rev);
	return WR_E_REFERENCE_NOT_FOUND;
}

static enum wr_code ambiguous(struct wr_str rev, struct wr_error *err)
{
	wr_fail(err, WR_E_AMBIGUOUS, "%s", wr_code_text(WR_E_AMBIGUOUS));
	wr_error_field(err, "rev", rev);
	return WR_E_AMBIGUOUS;
}

/* ---- abbreviated ids ---- */

static bool is_digits(struct wr_str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (wr_hex_digit(s.ptr[i]) < 0)
			return false;
	return s.len >= 4 && s.len <= WR_OID_HEX;
}

/* Of the objects with these digits those of one type (0: commits and tags) that the view shows. */
static enum wr_code candidates(struct wr_oids *out, struct wr_view *v, struct wr_str digits, enum wr_type wanted,
			       struct wr_error *err)
{
	enum wr_code code = wr_snapshot_prefix(out, v->snap, digits, CANDIDATES_MAX, err);
	size_t kept = 0;

	if (code == WR_OK && out->len == CANDIDATES_MAX)
		return ambiguous(digits, err);
	for (size_t i = 0; i < out->len && code == WR_OK; i++) {
		enum wr_type type;

		code = wr_snapshot_stat(v->snap, &out->v[i], &type, NULL, err);
		if (code == WR_OK && (wanted ? type == wanted : type == WR_COMMIT || type == WR_TAG))
			out->v[kept++] = out->v[i];
	}
	if (code != WR_OK)
		return code;
	out->len = kept;
	return wr_view_filter(out, v, err);
}

enum wr_code wr_rev_id(struct wr_oid *out, struct wr_view *v, struct wr_str digits, enum wr_type type,
		       enum wr_code absent, struct wr_error *err)
{
	WR_AUTO_S(wr_oids) found = {NULL, 0, 0};
	enum wr_code code;

	if (!is_digits(digits)) {
		wr_fail(err, WR_E_INVALID_OBJECT_ID, "%s", wr_code_text(WR_E_INVALID_OBJECT_ID));
		wr_error_field(err, "hash", digits);
		return WR_E_INVALID_OBJECT_ID;
	}
	if ((code = candidates(&found, v, digits, type, err)) != WR_OK)
		return code;
	if (found.len == 0)
		return wr_fail(err, absent, "%s", wr_code_text(absent));
	if (found.len > 1)
		return ambiguous(digits, err);
	*out = found.v[0];
	return WR_OK;
}

/* ---- names ---- */

static bool find_ref(struct wr_oid *out, const struct wr_view *v, const char *folder, struct wr_str name)
{
	WR_AUTO_S(wr_buf) full = WR_BUF_INIT(WR_REFNAME_MAX);
	struct wr_ref ref;

	wr_buf_addz(&full, folder);
	wr_buf_adds(&full, name);
	if (!wr_buf_ok(&full) || !wr_refname_ok(wr_buf_str(&full)) ||
	    !wr_snapshot_find_ref(&ref, v->snap, wr_buf_str(&full)) || !wr_ref_shown(&ref))
		return false;
	*out = ref.oid;
	return true;
}

static enum wr_code by_digits(struct wr_oid *out, struct wr_view *v, struct wr_str base, struct wr_error *err)
{
	WR_AUTO_S(wr_oids) found = {NULL, 0, 0};
	enum wr_code code = candidates(&found, v, base, 0, err);

	if (code == WR_OK && found.len > 1)
		return ambiguous(base, err);
	if (code == WR_OK && found.len == 0)
		return WR_E_NOT_THERE;
	if (code == WR_OK)
		*out = found.v[0];
	return code;
}

/* WR_E_NOT_THERE, without words, where nothing has this name. */
static enum wr_code find_base(struct wr_oid *out, struct wr_view *v, struct wr_str base, struct wr_error *err)
{
	bool whole = base.len == WR_OID_HEX && is_digits(base);
	enum wr_code code = WR_E_NOT_THERE;

	if (base.len == 0 || wr_str_eq(base, WR_S("HEAD")))
		return wr_view_head(out, v);
	if (whole)
		code = by_digits(out, v, base, err);
	if (code != WR_E_NOT_THERE)
		return code;
	if ((wr_str_starts(base, WR_S("refs/")) && find_ref(out, v, "", base)) ||
	    find_ref(out, v, "refs/heads/", base) || find_ref(out, v, "refs/tags/", base))
		return WR_OK;
	return is_digits(base) && !whole ? by_digits(out, v, base, err) : WR_E_NOT_THERE;
}

/* What no ref may have in its name, "~" and "^" aside, is in no revision either. */
static bool possible(struct wr_str base)
{
	WR_AUTO_S(wr_buf) full = WR_BUF_INIT(WR_REFNAME_MAX);

	wr_buf_addz(&full, "refs/heads/");
	wr_buf_adds(&full, base);
	return base.len == 0 || (wr_buf_ok(&full) && wr_refname_ok(wr_buf_str(&full)));
}

/* ---- what stands behind them ---- */

static enum wr_code peel(struct wr_oid *oid, enum wr_type *type, const struct wr_view *v, struct wr_error *err)
{
	WR_AUTO_S(wr_peeler) peeler = {.snap = v->snap, .cancel = v->cancel};
	struct wr_oid start = *oid;
	bool again;

	return wr_peel(&again, oid, type, NULL, &peeler, &start, err);
}

/* The n-th parent, or the n-th first one. WR_E_NOT_THERE, without words, where history ends before it. */
static enum wr_code step(struct wr_oid *oid, const struct wr_view *v, bool first, uint64_t n, struct wr_error *err)
{
	uint64_t which = first ? 1 : n, times = first ? n : 1;

	for (uint64_t i = 0; i < times && which > 0; i++) {
		WR_AUTO_S(wr_commit) commit = {.parents = NULL};
		enum wr_code code = i % 1024 == 0 ? wr_cancelled(v->cancel, err) : WR_OK;

		if (code == WR_OK)
			code = wr_view_commit(&commit, v, oid, err);
		if (code != WR_OK)
			return code;
		if (commit.parent_count < which)
			return WR_E_NOT_THERE;
		*oid = commit.parents[which - 1];
	}
	return WR_OK;
}

/* "~2^" from the front of *rest. False where it is nothing of the kind. */
static bool read_step(bool *first, uint64_t *n, struct wr_str *rest)
{
	size_t digits = 1;

	*first = rest->ptr[0] == '~';
	if (!*first && rest->ptr[0] != '^')
		return false;
	while (digits < rest->len && rest->ptr[digits] >= '0' && rest->ptr[digits] <= '9')
		digits++;
	*n = 1;
	if (digits > 1 && !wr_str_u64(wr_str_n(rest->ptr + 1, digits - 1), STEPS_MAX, n))
		return false;
	*rest = wr_str_skip(*rest, digits);
	return true;
}

static struct wr_str base_of(struct wr_str rev)
{
	size_t n = 0;

	while (n < rev.len && rev.ptr[n] != '~' && rev.ptr[n] != '^')
		n++;
	return wr_str_n(rev.ptr, n);
}

/* Whether nothing but steps follows the name: what a text is does not depend on the history that it is read in. */
static bool only_steps(struct wr_str rest)
{
	bool first;
	uint64_t n;

	while (rest.len > 0)
		if (!read_step(&first, &n, &rest))
			return false;
	return true;
}

enum wr_code wr_rev(struct wr_oid *out, enum wr_type *type, struct wr_view *v, struct wr_str rev, struct wr_error *err)
{
	struct wr_str base = base_of(rev), rest = wr_str_skip(rev, base.len);
	struct wr_oid at;
	enum wr_code code;

	if (rev.len > REV_MAX || !possible(base) || (base.len == 0 && rest.len > 0))
		return invalid(rev, err, "give a branch, a tag, a full ref name or a commit id");
	if (!only_steps(rest))
		return invalid(rev, err, "only ~ and ^, each with a number or without, may follow a name");
	code = find_base(&at, v, base, err);
	if (code == WR_OK)
		code = peel(&at, type, v, err);
	while (code == WR_OK && rest.len > 0) {
		bool first;
		uint64_t n;

		read_step(&first, &n, &rest);
		if (*type != WR_COMMIT)
			return invalid(rev, err, "it does not name a commit, and has no parents");
		code = step(&at, v, first, n, err);
	}
	if (code == WR_E_NOT_THERE)
		return not_found(rev.len ? rev : WR_S("HEAD"), err);
	if (code == WR_OK)
		*out = at;
	return code;
}

enum wr_code wr_rev_commit(struct wr_oid *out, struct wr_view *v, struct wr_str rev, struct wr_error *err)
{
	enum wr_type type;
	struct wr_oid oid;
	enum wr_code code = wr_rev(&oid, &type, v, rev, err);

	if (code == WR_OK && type != WR_COMMIT)
		return invalid(rev, err, "it does not name a commit");
	if (code == WR_OK)
		*out = oid;
	return code;
}

enum wr_code wr_rev_tree_time(struct wr_oid *out, int64_t *when, struct wr_view *v, struct wr_str rev,
			      struct wr_error *err)
{
	WR_AUTO_S(wr_commit) commit = {.parents = NULL};
	enum wr_type type;
	struct wr_oid oid;
	enum wr_code code = wr_rev(&oid, &type, v, rev, err);

	if (code == WR_OK && type == WR_BLOB)
		return invalid(rev, err, "it names a file, not a commit");
	if (code == WR_OK && type == WR_COMMIT)
		code = wr_view_commit(&commit, v, &oid, err);
	if (code != WR_OK)
		return code;
	*out = type == WR_COMMIT ? commit.tree : oid;
	*when = type == WR_COMMIT ? commit.date : 0;
	return WR_OK;
}

enum wr_code wr_rev_tree(struct wr_oid *out, struct wr_view *v, struct wr_str rev, struct wr_error *err)
{
	int64_t when;

	return wr_rev_tree_time(out, &when, v, rev, err);
}
