/*
 * Versions 0 and 1 (gitprotocol-pack, gitprotocol-http):
 *   want <oid> <capabilities>\n    want <oid>\n ...
 *   shallow <oid>\n   deepen <n>\n   deepen-since <time>\n   deepen-not <ref>\n   filter <spec>\n
 *   0000
 *   have <oid>\n ...               nothing at all where only the depth is asked for
 *   0000 or done\n
 */
#include "smart-http/upload_parse.h"

static bool flag_capability(struct wr_upload *up, struct wr_str cap)
{
	static const struct {
		const char *word;
		size_t flag;
	} flags[] = {
		{"thin-pack", offsetof(struct wr_upload, thin)},
		{"ofs-delta", offsetof(struct wr_upload, ofs_delta)},
		{"include-tag", offsetof(struct wr_upload, include_tag)},
		{"no-progress", offsetof(struct wr_upload, no_progress)},
		{"no-done", offsetof(struct wr_upload, no_done)},
		{"deepen-relative", offsetof(struct wr_upload, deepen_relative)},
		{"filter", offsetof(struct wr_upload, may_filter)},
	};

	for (size_t i = 0; i < WR_ARRAY_LEN(flags); i++) {
		if (wr_str_eqz(cap, flags[i].word)) {
			*(bool *)((char *)up + flags[i].flag) = true;
			return true;
		}
	}
	return false;
}

/* The capabilities behind a want. Unknown ones are the client's business (gitprotocol-capabilities). */
static enum wr_code capabilities(struct wr_upload *up, struct wr_str list, struct wr_error *err)
{
	while (list.len) {
		const char *space = memchr(list.ptr, ' ', list.len);
		size_t n = space ? (size_t)(space - list.ptr) : list.len;
		struct wr_str cap = wr_str_n(list.ptr, n), value;
		enum wr_code code;

		list = wr_str_skip(list, space ? n + 1 : n);
		if (flag_capability(up, cap))
			continue;
		if (wr_str_eqz(cap, "multi_ack_detailed"))
			up->ack = WR_ACK_DETAILED;
		else if (wr_str_eqz(cap, "multi_ack") && up->ack == WR_ACK_ONE)
			up->ack = WR_ACK_MULTI;
		else if (wr_str_eqz(cap, "side-band-64k"))
			up->bands = WR_BAND_LARGE;
		else if (wr_str_eqz(cap, "side-band") && up->bands == WR_BAND_NONE)
			up->bands = WR_BAND_SMALL;
		else if (wr_upload_after(&value, cap, WR_S("object-format=")) &&
			 (code = wr_upload_format(up, value, err)) != WR_OK)
			return code;
	}
	return WR_OK;
}

static enum wr_code want(struct wr_upload *up, struct wr_str arg, struct wr_error *err)
{
	struct wr_str hex = wr_str_n(arg.ptr, arg.len < WR_OID_HEX ? arg.len : WR_OID_HEX);
	struct wr_str caps = wr_str_skip(arg, hex.len);
	enum wr_code code = wr_upload_add_want(up, hex, err);

	if (code == WR_OK && caps.len) {
		if (caps.ptr[0] != ' ')
			return wr_fail(err, WR_E_INVALID_REQUEST, "An object id is 40 hexadecimal digits");
		code = capabilities(up, caps, err);
	}
	return code;
}

/* Up to the flush behind the wants. *empty: there was nothing before it. */
static enum wr_code wants(bool *empty, struct wr_upload *up, struct wr_str *body, struct wr_error *err)
{
	*empty = true;
	for (;; *empty = false) {
		struct wr_pkt pkt;
		struct wr_str line, arg;
		enum wr_code code = wr_pkt_next(&pkt, body, err);
		bool taken;

		if (code != WR_OK || pkt.kind == WR_PKT_FLUSH || (pkt.kind == WR_PKT_EOF && *empty))
			return code;
		if (pkt.kind != WR_PKT_LINE)
			return wr_fail(err, WR_E_INVALID_REQUEST, "The wants do not end with a flush");
		line = wr_pkt_text(&pkt);
		if (wr_upload_after(&arg, line, WR_S("want ")))
			code = want(up, arg, err);
		else if ((code = wr_upload_common_line(&taken, up, line, err)) == WR_OK && !taken)
			code = wr_upload_unexpected(up, line, err);
		if (code != WR_OK)
			return code;
	}
}

/*
 * The negotiation. The server keeps no state between requests, so it ends with the first flush, and a client that has
 * more to say repeats the request with it; what follows the flush here has no meaning, but has to be of the same kind.
 */
static enum wr_code haves(struct wr_upload *up, struct wr_str *body, struct wr_error *err)
{
	for (bool open = false;;) {
		struct wr_pkt pkt;
		struct wr_str line, arg;
		enum wr_code code = wr_pkt_next(&pkt, body, err);

		if (code != WR_OK)
			return code;
		if (pkt.kind == WR_PKT_EOF)
			return !open ? WR_OK
				     : wr_fail(err, WR_E_INVALID_REQUEST, "The haves end with neither flush nor done");
		if (pkt.kind == WR_PKT_FLUSH) {
			up->paused = true;
			open = false;
			continue;
		}
		if (pkt.kind != WR_PKT_LINE)
			return wr_fail(err, WR_E_INVALID_REQUEST, "A packet of version 2 in a request of another");
		line = wr_pkt_text(&pkt);
		if (wr_str_eqz(line, "done")) {
			up->done = !up->paused;
			return wr_upload_end(*body, err);
		}
		open = true;
		if (!wr_upload_after(&arg, line, WR_S("have ")))
			return wr_upload_unexpected(up, line, err);
		if (!up->paused && (code = wr_upload_add_have(up, arg, err)) != WR_OK)
			return code;
	}
}

enum wr_code wr_upload_parse_v0(struct wr_upload *up, struct wr_str body, struct wr_error *err)
{
	enum wr_code code;
	bool empty;

	if ((code = wants(&empty, up, &body, err)) != WR_OK || (code = wr_upload_check(up, err)) != WR_OK)
		return code;
	if (up->wants.len == 0) {
		if (!empty)
			return wr_fail(err, WR_E_INVALID_REQUEST, "A fetch needs at least one want");
		return wr_upload_end(body, err);
	}
	up->kind = WR_UPLOAD_V0;
	return haves(up, &body, err);
}
