/*
 * Versions 0 and 1 without a state between requests (gitprotocol-pack, gitprotocol-http): each request repeats the
 * wants and what was found in common, and ends with a flush or "done".
 *
 *   shallow <oid> unshallow <oid> ... 0000    when a depth was asked for
 *   ACK <oid> common|continue|ready ...       for haves
 *   NAK                                       for the flush; with no-done, once ready: ACK <oid>, then the pack
 *   ACK <oid> or NAK, then the pack           for "done"
 */
#include "smart-http/upload_internal.h"

struct talk {
	struct wr_upload *up;
	const struct wr_snapshot *snap;
	struct wr_common common;
	struct wr_oids wants;  /* and what lies behind roots that are none any more: that is wanted too */
	struct wr_oids stops;  /* where the client's history ends, before and after this answer */
	struct wr_oidmap told; /* without multi_ack: what the haves that were acknowledged are, and their parents */
	const struct wr_cancel *cancel;
	struct wr_pkt_writer *w;
	size_t known, acked;
	bool other; /* there was a have that is not known here */
	bool said_ready;
};

static void talk_fini(struct talk *t)
{
	wr_common_fini(&t->common);
	wr_oids_fini(&t->wants);
	wr_oids_fini(&t->stops);
	wr_oidmap_fini(&t->told);
}
WR_DEFINE_AUTO_S(talk);

static void ack(struct talk *t, const struct wr_oid *oid, const char *status)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	wr_pkt_printf(t->w, "ACK %s%s\n", hex, status);
}

/* What a client without multi_ack is told: one ACK for all that hangs together with the first that is known here. */
static enum wr_code answer_one(struct talk *t, const struct wr_oid *have, bool added, struct wr_error *err)
{
	WR_AUTO_S(wr_commit) commit = {0};
	const struct wr_oid *oid = added ? &t->common.commits.v[t->common.commits.len - 1] : NULL;
	enum wr_code code;

	if (oid && !wr_oidmap_has(&t->told, oid))
		t->acked++;
	if (t->acked != 1)
		return WR_OK;
	ack(t, have, "");
	if (!oid)
		return WR_OK;
	if ((code = wr_upload_commit(&commit, t->snap, oid, err)) == WR_OK)
		code = wr_oidmap_add(&t->told, oid, 0, NULL, err);
	for (size_t i = 0; i < commit.parent_count && code == WR_OK; i++)
		code = wr_oidmap_add(&t->told, &commit.parents[i], 0, NULL, err);
	return code;
}

static enum wr_code ready(struct talk *t, bool eager, struct wr_error *err)
{
	return wr_common_ready(&t->common, &t->wants, t->snap, &t->stops, eager, t->cancel, err);
}

static enum wr_code answer_have(struct talk *t, const struct wr_oid *have, struct wr_error *err)
{
	size_t before = t->common.commits.len;
	bool known;
	enum wr_code code = wr_common_add(&known, &t->common, t->up, t->snap, have, t->cancel, err);

	if (code != WR_OK)
		return code;
	if (known) {
		t->known++;
		if (t->up->ack == WR_ACK_ONE)
			return answer_one(t, have, t->common.commits.len > before, err);
		ack(t, have, t->up->ack == WR_ACK_DETAILED ? " common" : " continue");
		return WR_OK;
	}
	t->other = true;
	/* Once there is enough in common, acknowledging what we lack makes the client stop looking further back. */
	if (t->up->ack == WR_ACK_ONE || t->known == 0)
		return WR_OK;
	if ((code = ready(t, false, err)) == WR_OK && t->common.ready) {
		t->said_ready |= t->up->ack == WR_ACK_DETAILED;
		ack(t, have, t->up->ack == WR_ACK_DETAILED ? " ready" : " continue");
	}
	return code;
}

/* The flush behind the haves. *pack: the client takes a pack without asking again, and now gets it. */
static enum wr_code answer_flush(bool *pack, struct talk *t, struct wr_error *err)
{
	if (t->up->ack == WR_ACK_DETAILED && t->known && !t->other) {
		enum wr_code code = ready(t, true, err);

		if (code != WR_OK)
			return code;
		if (t->common.ready) {
			ack(t, &t->common.last, " ready");
			t->said_ready = true;
		}
	}
	if (t->known == 0 || t->up->ack != WR_ACK_ONE)
		wr_pkt_write(t->w, WR_S("NAK\n"));
	*pack = t->up->no_done && t->said_ready;
	if (*pack)
		ack(t, &t->common.last, "");
	return WR_OK;
}

/* *pack: the pack follows. */
static enum wr_code negotiate(bool *pack, struct talk *t, struct wr_error *err)
{
	const struct wr_upload *up = t->up;

	*pack = false;
	for (size_t i = 0; i < up->haves.len; i++) {
		enum wr_code code = answer_have(t, &up->haves.v[i], err);

		if (code != WR_OK)
			return code;
	}
	if (up->paused)
		return answer_flush(pack, t, err);
	*pack = up->done;
	if (up->done && t->known == 0)
		wr_pkt_write(t->w, WR_S("NAK\n"));
	else if (up->done && up->ack != WR_ACK_ONE)
		ack(t, &t->common.last, "");
	return WR_OK;
}

/* What is wanted, and where the client's history ends, as the walks for readiness see it. */
static enum wr_code apply_cut(struct talk *t, const struct wr_cut *cut, struct wr_error *err)
{
	enum wr_code code = wr_walk_parents(&t->wants, NULL, t->snap, &cut->unshallow, NULL, t->cancel, err);

	if (code == WR_OK && (code = wr_upload_add_all(&t->wants, &t->up->wants, err)) == WR_OK &&
	    (code = wr_upload_add_all(&t->stops, &cut->client, err)) == WR_OK)
		code = wr_upload_add_all(&t->stops, &cut->shallow, err);
	return code;
}

/* All up to the pack; *pack: it follows. */
static enum wr_code talk_all(bool *pack, struct talk *t, struct wr_cut *cut, struct wr_snapshot *snap,
			     struct wr_str default_branch, struct wr_error *err)
{
	enum wr_code code = wr_upload_begin(cut, t->up, snap, default_branch, t->w, t->cancel, err);

	if (code != WR_OK || (code = apply_cut(t, cut, err)) != WR_OK)
		return code;
	if (cut->asked) {
		wr_cut_write(t->w, cut);
		wr_pkt_flush(t->w);
	}
	code = negotiate(pack, t, err);
	return code == WR_OK ? wr_pkt_writer_send(t->w) : code;
}

enum wr_code wr_upload_answer_v0(struct wr_upload *up, struct wr_snapshot *snap, struct wr_str default_branch,
				 struct wr_sink *sink, const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO_S(wr_pkt_writer) w;
	WR_AUTO_S(wr_cut) cut = {0};
	WR_AUTO_S(talk) talk = {.up = up, .snap = snap, .cancel = cancel, .w = &w};
	enum wr_code code;
	bool pack = false;

	wr_pkt_writer_init(&w, sink, err);
	code = wr_upload_tell(up, &w, talk_all(&pack, &talk, &cut, snap, default_branch, err));
	return code == WR_OK && pack ? wr_upload_pack(up, snap, &talk.common, &cut, sink, cancel, err) : code;
}
