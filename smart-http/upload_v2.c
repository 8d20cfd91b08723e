/*
 * Version 2 (gitprotocol-v2).
 *
 * ls-refs: <oid> <name>[ symref-target:<name>][ peeled:<oid>]\n ... 0000
 * fetch:   acknowledgments ... 0000                       when haves came and there is not enough in common yet
 *          [acknowledgments ... 0001] [shallow-info ... 0001] packfile <side-bands> 0000
 */
#include "smart-http/names.h"
#include "smart-http/upload_internal.h"

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

/* The section that answers haves. *pack: a pack follows it. */
static enum wr_code acknowledge(bool *pack, struct wr_pkt_writer *w, struct wr_upload *up,
				const struct wr_snapshot *snap, struct wr_common *common, const struct wr_cut *cut,
				const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO_S(wr_oidmap) said = {0};
	bool done = up->done && up->wants.len;
	char hex[WR_OID_HEX + 1];
	enum wr_code code;

	if (!done)
		wr_pkt_write(w, WR_S("acknowledgments\n"));
	for (size_t i = 0; i < up->haves.len; i++) {
		bool known, added = false;

		if ((code = wr_common_add(&known, common, up, snap, &up->haves.v[i], err)) != WR_OK ||
		    (known && (code = wr_oidmap_add(&said, &up->haves.v[i], 0, &added, err)) != WR_OK))
			return code;
		if (added && !done) {
			wr_oid_hex(hex, &up->haves.v[i]);
			wr_pkt_printf(w, "ACK %s\n", hex);
		}
	}
	*pack = done;
	if (done)
		return WR_OK;
	if (common->commits.len == 0)
		wr_pkt_write(w, WR_S("NAK\n"));
	if (!up->wait_for_done && up->wants.len) {
		if ((code = wr_common_ready(common, up, snap, cut, true, cancel, err)) != WR_OK)
			return code;
		*pack = common->ready;
	}
	if (*pack) {
		wr_pkt_write(w, WR_S("ready\n"));
		wr_pkt_delim(w);
	} else {
		wr_pkt_flush(w);
	}
	return WR_OK;
}

enum wr_code wr_upload_answer_fetch(struct wr_upload *up, struct wr_snapshot *snap, struct wr_str default_branch,
				    struct wr_sink *sink, const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO_S(wr_pkt_writer) w;
	WR_AUTO_S(wr_cut) cut = {0};
	WR_AUTO_S(wr_common) common = {0};
	enum wr_code code;
	bool pack = true;

	/* Without a want there is nothing to send; only negotiation for its own sake may go without. */
	if (up->wants.len == 0 && !up->wait_for_done)
		return WR_OK;
	wr_pkt_writer_init(&w, sink, err);
	if ((code = wr_upload_begin(&cut, up, snap, default_branch, &w, cancel, err)) != WR_OK)
		return code;
	if (up->haves.len || up->wants.len == 0)
		code = acknowledge(&pack, &w, up, snap, &common, &cut, cancel, err);
	if (code != WR_OK)
		return code;
	if (!pack)
		return wr_pkt_writer_send(&w);
	if (cut.asked || up->shallows.len) {
		wr_pkt_write(&w, WR_S("shallow-info\n"));
		wr_cut_write(&w, &cut);
		wr_pkt_delim(&w);
	}
	wr_pkt_write(&w, WR_S("packfile\n"));
	if ((code = wr_pkt_writer_send(&w)) != WR_OK)
		return code;
	return wr_upload_pack(up, snap, &common, &cut, sink, cancel, err);
}
