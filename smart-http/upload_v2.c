/*
 * Version 2 (gitprotocol-v2), fetch:
 *   acknowledgments ... 0000                       when haves came and there is not enough in common yet
 *   [acknowledgments ... 0001] [shallow-info ... 0001] [wanted-refs ... 0001] packfile <side-bands> 0000
 *
 * The order is the documented one, by which git's client reads. Git's own server sends wanted-refs before shallow-info,
 * which that client does not understand.
 */
#include "smart-http/upload_internal.h"

struct fetch {
	struct wr_upload *up;
	const struct wr_snapshot *snap;
	struct wr_common common;
	struct wr_cut cut;
	const struct wr_cancel *cancel;
	struct wr_pkt_writer *w;
};

static void fetch_fini(struct fetch *f)
{
	wr_common_fini(&f->common);
	wr_cut_fini(&f->cut);
}
WR_DEFINE_AUTO_S(fetch);

/* Takes the haves; without "done" each that is known here is acknowledged. */
static enum wr_code answer_haves(struct fetch *f, struct wr_error *err)
{
	const struct wr_upload *up = f->up;
	char hex[WR_OID_HEX + 1];
	bool any = false;

	for (size_t i = 0; i < up->haves.len; i++) {
		bool known;
		enum wr_code code = wr_common_add(&known, &f->common, up, f->snap, &up->haves.v[i], f->cancel,
						 err);

		if (code != WR_OK)
			return code;
		any |= known;
		if (!known || up->done)
			continue;
		wr_oid_hex(hex, &up->haves.v[i]);
		wr_pkt_printf(f->w, "ACK %s\n", hex);
	}
	if (!any && !up->done)
		wr_pkt_write(f->w, WR_S("NAK\n"));
	return WR_OK;
}

/* The section that answers haves. *pack: a pack follows it. */
static enum wr_code acknowledge(bool *pack, struct fetch *f, struct wr_error *err)
{
	static const struct wr_oids nowhere;
	struct wr_upload *up = f->up;
	enum wr_code code;

	if (!up->done)
		wr_pkt_write(f->w, WR_S("acknowledgments\n"));
	if ((code = answer_haves(f, err)) != WR_OK)
		return code;
	*pack = up->done;
	if (up->done)
		return WR_OK;
	if (!up->wait_for_done) {
		code = wr_common_ready(&f->common, &up->wants, f->snap, &nowhere, true, f->cancel, err);
		if (code != WR_OK)
			return code;
		*pack = f->common.ready;
	}
	if (*pack) {
		wr_pkt_write(f->w, WR_S("ready\n"));
		wr_pkt_delim(f->w);
	} else {
		wr_pkt_flush(f->w);
	}
	return WR_OK;
}

/* What stands between the acknowledgments and the pack. */
static void sections(struct fetch *f)
{
	const struct wr_upload *up = f->up;
	const struct wr_oid *oids = up->wants.v + (up->wants.len - up->want_refs.len);
	char hex[WR_OID_HEX + 1];

	if (f->cut.asked || f->cut.client.len || f->cut.own_history_ends) {
		wr_pkt_write(f->w, WR_S("shallow-info\n"));
		wr_cut_write(f->w, &f->cut);
		wr_pkt_delim(f->w);
	}
	if (up->want_refs.len) {
		wr_pkt_write(f->w, WR_S("wanted-refs\n"));
		for (size_t i = 0; i < up->want_refs.len; i++) {
			struct wr_str name = up->want_refs.v[i];

			wr_oid_hex(hex, &oids[i]);
			wr_pkt_printf(f->w, "%s %.*s\n", hex, (int)name.len, name.ptr);
		}
		wr_pkt_delim(f->w);
	}
	wr_pkt_write(f->w, WR_S("packfile\n"));
}

/* All up to the pack; *pack: it follows. */
static enum wr_code talk_all(bool *pack, struct fetch *f, struct wr_snapshot *snap, struct wr_str default_branch,
			     struct wr_error *err)
{
	enum wr_code code = wr_upload_begin(&f->cut, f->up, snap, default_branch, f->w, f->cancel, err);

	*pack = true;
	/* Who only negotiates hears that nothing is in common. Git's server sends a pack then, at which its client dies. */
	if (code == WR_OK && (f->up->haves.len || (f->up->wants.len == 0 && !f->up->done)))
		code = acknowledge(pack, f, err);
	if (code == WR_OK && *pack)
		code = wr_upload_own_roots(&f->cut, f->up, &f->common, snap, f->cancel, err);
	if (code != WR_OK)
		return code;
	if (*pack)
		sections(f);
	return wr_pkt_writer_send(f->w);
}

enum wr_code wr_upload_answer_fetch(struct wr_upload *up, struct wr_snapshot *snap, struct wr_str default_branch,
				    struct wr_sink *sink, const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO_S(wr_pkt_writer) w;
	struct wr_upload_watch watch;
	WR_AUTO_S(fetch) f = {.up = up, .snap = snap, .cancel = &watch.base, .w = &w};
	enum wr_code code;
	bool pack = false;

	wr_pkt_writer_init(&w, sink, err);
	wr_upload_watch_init(&watch, cancel, &w);
	/* Without a want there is nothing to send; only negotiation for its own sake may go without. */
	if (up->wants.len + up->want_refs.len == 0 && !up->wait_for_done)
		return WR_OK;
	w.band = up->sideband_all ? 1 : 0;
	code = wr_upload_tell(up, &w, talk_all(&pack, &f, snap, default_branch, err));
	return code == WR_OK && pack ? wr_upload_pack(up, snap, &f.common, &f.cut, sink, cancel, err) : code;
}
