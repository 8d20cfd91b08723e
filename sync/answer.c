#include "sync/answer.h"

#include "sync/advert.h"

static enum wr_code nonsense(struct wr_error *err, const char *what)
{
	return wr_fail(err, WR_E_INVALID_REQUEST, "The other server's answer to the fetch makes no sense: %s", what);
}

static enum wr_code next(struct wr_pkt *pkt, struct wr_answer *a, struct wr_error *err)
{
	enum wr_code code = wr_pkt_read(pkt, a->reader, err);

	if (code != WR_OK)
		return code;
	if (pkt->kind == WR_PKT_EOF)
		return wr_fail(err, WR_E_INVALID_REQUEST, "The other server's answer breaks off before the pack's end");
	if (pkt->kind == WR_PKT_LINE && wr_str_starts(pkt->data, WR_S("ERR ")))
		return wr_remote_said(wr_str_skip(wr_pkt_text(pkt), 4), err);
	return WR_OK;
}

/* ---- before the pack ---- */

/* Lines "shallow ID", up to end. */
static enum wr_code read_shallow(struct wr_answer *a, struct wr_oids *shallow, enum wr_pkt_kind end,
				 struct wr_error *err)
{
	for (;;) {
		struct wr_pkt pkt;
		struct wr_str line;
		enum wr_code code = next(&pkt, a, err);

		if (code != WR_OK || pkt.kind == end)
			return code;
		line = wr_pkt_text(&pkt);
		if (pkt.kind != WR_PKT_LINE || !wr_str_starts(line, WR_S("shallow ")))
			return nonsense(err, "no shallow line where one is due");
		if ((code = wr_remote_root(shallow, wr_str_skip(line, 8), err)) != WR_OK)
			return code;
	}
}

static enum wr_code begin_v2(struct wr_answer *a, struct wr_oids *shallow, struct wr_error *err)
{
	struct wr_pkt pkt;
	enum wr_code code = next(&pkt, a, err);

	if (code == WR_OK && pkt.kind == WR_PKT_LINE && wr_str_eq(wr_pkt_text(&pkt), WR_S("shallow-info"))) {
		code = read_shallow(a, shallow, WR_PKT_DELIM, err);
		if (code == WR_OK)
			code = next(&pkt, a, err);
	}
	if (code != WR_OK)
		return code;
	if (pkt.kind != WR_PKT_LINE || !wr_str_eq(wr_pkt_text(&pkt), WR_S("packfile")))
		return nonsense(err, "no pack where one is due");
	return WR_OK;
}

static enum wr_code begin_v0(struct wr_answer *a, struct wr_oids *shallow, bool deepened, struct wr_error *err)
{
	struct wr_pkt pkt;
	enum wr_code code = WR_OK;

	if (deepened)
		code = read_shallow(a, shallow, WR_PKT_FLUSH, err);
	if (code == WR_OK)
		code = next(&pkt, a, err);
	if (code != WR_OK)
		return code;
	if (pkt.kind != WR_PKT_LINE || !wr_str_eq(wr_pkt_text(&pkt), WR_S("NAK")))
		return nonsense(err, "no NAK where one is due");
	return WR_OK;
}

enum wr_code wr_answer_begin(struct wr_answer *a, struct wr_oids *shallow, unsigned version, bool deepened,
			     struct wr_error *err)
{
	return version == 2 ? begin_v2(a, shallow, err) : begin_v0(a, shallow, deepened, err);
}

/* ---- the pack ---- */

/* The next packet with bytes of the pack. */
static enum wr_code next_data(struct wr_answer *a, struct wr_error *err)
{
	while (a->left.len == 0 && !a->ended) {
		struct wr_pkt pkt;
		enum wr_code code = next(&pkt, a, err);

		if (code != WR_OK)
			return code;
		if (pkt.kind == WR_PKT_FLUSH) {
			a->ended = true;
		} else if (pkt.kind != WR_PKT_LINE || pkt.data.len == 0 || pkt.data.ptr[0] < 1 || pkt.data.ptr[0] > 3) {
			return nonsense(err, "a packet without a band");
		} else if (pkt.data.ptr[0] == 3) {
			return wr_remote_said(wr_str_skip(pkt.data, 1), err);
		} else if (pkt.data.ptr[0] == 1) {
			a->left = wr_str_skip(pkt.data, 1);
			a->began |= a->left.len > 0;
		}
	}
	return WR_OK;
}

static enum wr_code read_pack(struct wr_source *src, void *buf, size_t cap, size_t *got, struct wr_error *err)
{
	struct wr_answer *a = (struct wr_answer *)src;
	size_t n;

	if (a->failed != WR_OK)
		return wr_fail(err, a->failed, "The pack was read after it had failed");
	a->failed = next_data(a, err);
	if (a->failed != WR_OK)
		return a->failed;
	n = a->left.len < cap ? a->left.len : cap;
	if (n)
		memcpy(buf, a->left.ptr, n);
	a->left = wr_str_skip(a->left, n);
	*got = n;
	return WR_OK;
}

enum wr_code wr_answer_init(struct wr_answer *a, struct wr_source *body, struct wr_error *err)
{
	*a = (struct wr_answer){.base.read = read_pack, .left = WR_S("")};
	return wr_pkt_reader_new(&a->reader, body, err);
}

void wr_answer_fini(struct wr_answer *a)
{
	wr_pkt_reader_free(a->reader);
	*a = (struct wr_answer){.base.read = NULL};
}
