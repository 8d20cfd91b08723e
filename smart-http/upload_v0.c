/*
 * Versions 0 and 1 without a state between requests (gitprotocol-pack, gitprotocol-http): each request repeats the
 * wants and what was found in common, so one request is one conversation.
 *
 *   shallow <oid> ... 0000          when a depth was asked for
 *   ACK <oid> common|continue|ready, NAK      for each round of haves
 *   ACK <oid> or NAK, then the pack           after "done"
 */
#include "smart-http/upload_internal.h"

struct talk {
	struct wr_upload *up;
	const struct wr_snapshot *snap;
	const struct wr_cut *cut;
	struct wr_common *common;
	const struct wr_cancel *cancel;
	struct wr_pkt_writer *w;
	bool said_ready;
};

static void ack(struct talk *t, const struct wr_oid *oid, const char *status)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	wr_pkt_printf(t->w, "ACK %s%s\n", hex, status);
}

static enum wr_code answer_have(struct talk *t, const struct wr_oid *have, struct wr_error *err)
{
	size_t before = t->common->commits.len;
	bool known;
	enum wr_code code = wr_common_add(&known, t->common, t->up, t->snap, have, err);

	if (code != WR_OK)
		return code;
	if (known) {
		if (t->up->ack != WR_ACK_ONE)
			ack(t, have, t->up->ack == WR_ACK_DETAILED ? " common" : " continue");
		else if (before == 0)
			ack(t, have, "");
		return WR_OK;
	}
	/* Once there is enough in common, acknowledging what we lack makes the client stop looking further back. */
	if (t->up->ack == WR_ACK_ONE || before == 0)
		return WR_OK;
	code = wr_common_ready(t->common, t->up, t->snap, t->cut, false, t->cancel, err);
	if (code == WR_OK && t->common->ready) {
		t->said_ready |= t->up->ack == WR_ACK_DETAILED;
		ack(t, have, t->up->ack == WR_ACK_DETAILED ? " ready" : " continue");
	}
	return code;
}

/* A flush after haves. *pack: the client said that it will take a pack without asking again, and now gets it. */
static enum wr_code answer_round(bool *pack, struct talk *t, struct wr_error *err)
{
	bool common = t->common->commits.len > 0;
	enum wr_code code;

	if (t->up->ack == WR_ACK_DETAILED && common && !t->said_ready) {
		code = wr_common_ready(t->common, t->up, t->snap, t->cut, true, t->cancel, err);
		if (code != WR_OK)
			return code;
		if (t->common->ready) {
			ack(t, &t->common->last, " ready");
			t->said_ready = true;
		}
	}
	if (!common || t->up->ack != WR_ACK_ONE)
		wr_pkt_write(t->w, WR_S("NAK\n"));
	*pack = t->up->no_done && t->said_ready;
	if (*pack)
		ack(t, &t->common->last, "");
	return WR_OK;
}

/* *pack: the pack follows. */
static enum wr_code negotiate(bool *pack, struct talk *t, struct wr_error *err)
{
	const struct wr_upload *up = t->up;
	enum wr_code code = WR_OK;
	size_t have = 0;

	*pack = false;
	for (size_t r = 0; r <= up->round_count; r++) {
		size_t end = r < up->round_count ? up->rounds[r] : up->haves.len;

		for (; code == WR_OK && have < end; have++)
			code = answer_have(t, &up->haves.v[have], err);
		if (code == WR_OK && r < up->round_count)
			code = answer_round(pack, t, err);
		if (code != WR_OK || *pack)
			return code;
	}
	if (!up->done)
		return WR_OK;
	*pack = true;
	if (t->common->commits.len == 0)
		wr_pkt_write(t->w, WR_S("NAK\n"));
	else if (up->ack != WR_ACK_ONE)
		ack(t, &t->common->last, "");
	return WR_OK;
}

enum wr_code wr_upload_answer_v0(struct wr_upload *up, struct wr_snapshot *snap, struct wr_str default_branch,
				 struct wr_sink *sink, const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO_S(wr_pkt_writer) w;
	WR_AUTO_S(wr_cut) cut = {0};
	WR_AUTO_S(wr_common) common = {0};
	struct talk talk = {up, snap, &cut, &common, cancel, &w, false};
	enum wr_code code;
	bool pack;

	wr_pkt_writer_init(&w, sink, err);
	if ((code = wr_upload_begin(&cut, up, snap, default_branch, &w, cancel, err)) != WR_OK)
		return code;
	if (cut.asked) {
		wr_cut_write(&w, &cut);
		wr_pkt_flush(&w);
	}
	if ((code = negotiate(&pack, &talk, err)) != WR_OK || (code = wr_pkt_writer_send(&w)) != WR_OK || !pack)
		return code;
	return wr_upload_pack(up, snap, &common, &cut, sink, cancel, err);
}
