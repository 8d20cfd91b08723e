/*
 * Refs by name.
 * ls-refs (gitprotocol-v2):   <oid> <name>[ symref-target:<name>][ peeled:<oid>]\n ... 0000
 */
#include "core/git/parse.h"
#include "smart-http/names.h"
#include "smart-http/upload_internal.h"

const struct wr_ref *wr_upload_ref(const struct wr_snapshot *snap, struct wr_str name, struct wr_str default_branch)
{
	const struct wr_ref *ref = NULL;

	if (wr_str_eqz(name, "HEAD"))
		ref = wr_ref_head(snap, default_branch);
	else if (wr_refname_ok(name))
		ref = wr_snapshot_ref(snap, name);
	return ref && wr_ref_shown(ref) ? ref : NULL;
}

enum wr_code wr_upload_want_refs(struct wr_upload *up, const struct wr_snapshot *snap, struct wr_str default_branch,
				 struct wr_pkt_writer *w, struct wr_error *err)
{
	char text[101];

	for (size_t i = 0; i < up->want_refs.len; i++) {
		const struct wr_ref *ref = wr_upload_ref(snap, up->want_refs.v[i], default_branch);
		enum wr_code code;

		if (!ref)
			return wr_upload_refuse(up, w, "unknown ref %s", wr_upload_quote(text, up->want_refs.v[i]));
		if ((code = wr_oids_add(&up->wants, &ref->oid, err)) != WR_OK)
			return code;
	}
	return WR_OK;
}

/* ---- ls-refs ---- */

static int by_bytes(const void *pa, const void *pb)
{
	const struct wr_str *a = pa, *b = pb;
	size_t n = a->len < b->len ? a->len : b->len;
	int d = n ? memcmp(a->ptr, b->ptr, n) : 0;

	return d ? d : (a->len > b->len) - (a->len < b->len);
}

static void ref_line(struct wr_pkt_writer *w, const struct wr_ref *ref, struct wr_str name, bool symref, bool peel)
{
	char hex[WR_OID_HEX + 1], peeled[WR_OID_HEX + 1] = "";

	peel = peel && !wr_oid_zero(&ref->peeled);
	wr_oid_hex(hex, &ref->oid);
	if (peel)
		wr_oid_hex(peeled, &ref->peeled);
	wr_pkt_printf(w, "%s %.*s%s%.*s%s%s\n", hex, (int)name.len, name.ptr, symref ? " symref-target:" : "",
		      symref ? (int)ref->name.len : 0, symref ? ref->name.ptr : "", peel ? " peeled:" : "", peeled);
}

static void head_line(struct wr_pkt_writer *w, const struct wr_upload *up, const struct wr_ref *head,
		      struct wr_str default_branch)
{
	bool match = up->all_refs;

	for (size_t i = 0; i < up->prefixes.len && !match; i++)
		match = wr_str_starts(WR_S("HEAD"), up->prefixes.v[i]);
	if (!match)
		return;
	if (head)
		ref_line(w, head, WR_S("HEAD"), up->symrefs, false);
	else if (up->unborn && up->symrefs && default_branch.len)
		wr_pkt_printf(w, "unborn HEAD symref-target:refs/heads/%.*s\n", (int)default_branch.len,
			      default_branch.ptr);
}

/* The first ref from at on whose name is not below prefix in byte order. */
static size_t seek(const struct wr_ref *refs, size_t n, size_t at, struct wr_str prefix)
{
	while (at < n) {
		size_t mid = at + (n - at) / 2;

		if (by_bytes(&refs[mid].name, &prefix) < 0)
			at = mid + 1;
		else
			n = mid;
	}
	return at;
}

enum wr_code wr_upload_answer_ls_refs(struct wr_upload *up, const struct wr_snapshot *snap,
				      struct wr_str default_branch, struct wr_sink *sink, struct wr_error *err)
{
	static const struct wr_str all[] = {{"", 0}};
	const struct wr_str *prefixes = up->all_refs ? all : up->prefixes.v;
	size_t prefix_count = up->all_refs ? 1 : up->prefixes.len, n, at = 0;
	const struct wr_ref *refs = wr_snapshot_refs(snap, &n);
	WR_AUTO_S(wr_pkt_writer) w;

	wr_pkt_writer_init(&w, sink, err);
	head_line(&w, up, wr_ref_head(snap, default_branch), default_branch);
	/* Refs and prefixes both in byte order: one pass over what matches, whatever the number of prefixes. */
	if (up->prefixes.len)
		qsort(up->prefixes.v, up->prefixes.len, sizeof(*up->prefixes.v), by_bytes);
	for (size_t i = 0; i < prefix_count; i++) {
		at = seek(refs, n, at, prefixes[i]);
		for (; at < n && wr_str_starts(refs[at].name, prefixes[i]); at++) {
			if (wr_ref_shown(&refs[at]))
				ref_line(&w, &refs[at], refs[at].name, false, up->peel);
		}
	}
	wr_pkt_flush(&w);
	return wr_pkt_writer_send(&w);
}
