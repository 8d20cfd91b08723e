/*
 * Versions 0 and 1 (gitprotocol-pack):      version 2 (gitprotocol-v2):
 *   want <oid> <capabilities>\n               command=fetch\n
 *   want <oid>\n                              agent=...\n        (capabilities)
 *   shallow <oid>\n  deepen <n>\n             0001
 *   0000                                      thin-pack\n        (arguments)
 *   have <oid>\n                              want <oid>\n  have <oid>\n
 *   0000 or done\n                            done\n
 *                                             0000
 */
#include "smart-http/upload_internal.h"

static enum wr_code too_many(struct wr_error *err, const char *what, size_t max)
{
	return wr_fail(err, WR_E_INVALID_REQUEST, "A request may hold %zu %s", max, what);
}

/* Part of a line for a sentence: short, and without what could confuse a terminal. */
static const char *quote(char out[41], struct wr_str s)
{
	size_t n = s.len < 40 ? s.len : 40;

	for (size_t i = 0; i < n; i++)
		out[i] = s.ptr[i] >= 32 && s.ptr[i] < 127 ? s.ptr[i] : '?';
	out[n] = '\0';
	return out;
}

static enum wr_code unexpected(struct wr_error *err, struct wr_str line)
{
	char text[41];

	return wr_fail(err, WR_E_INVALID_REQUEST, "Unexpected line '%s'", quote(text, line));
}

/* Whether line begins with word; then *rest is what follows. */
static bool after(struct wr_str *rest, struct wr_str line, struct wr_str word)
{
	if (!wr_str_starts(line, word))
		return false;
	*rest = wr_str_skip(line, word.len);
	return true;
}

static enum wr_code oid_add(struct wr_oids *list, struct wr_str hex, size_t max, const char *what, struct wr_error *err)
{
	struct wr_oid oid;

	if (!wr_oid_parse(&oid, hex))
		return wr_fail(err, WR_E_INVALID_REQUEST, "An object id is 40 hexadecimal digits");
	if (list->len >= max)
		return too_many(err, what, max);
	return wr_oids_add(list, &oid, err);
}

static enum wr_code names_add(struct wr_names *names, struct wr_str name, struct wr_error *err)
{
	char *copy;

	if (names->len == names->cap) {
		size_t cap = names->cap ? names->cap * 2 : 8;
		struct wr_str *v = realloc(names->v, cap * sizeof(*v));

		if (!v)
			return wr_fail_nomem(err);
		names->v = v;
		names->cap = cap;
	}
	if (!(copy = wr_str_dup(name)))
		return wr_fail_nomem(err);
	names->v[names->len++] = wr_str_n(copy, name.len);
	return WR_OK;
}

/* The lines that say where history shall end; the same in all versions. *taken: line was one of them. */
static enum wr_code deepen_line(bool *taken, struct wr_upload *up, struct wr_str line, struct wr_error *err)
{
	struct wr_str arg;
	uint64_t n;

	*taken = true;
	if (after(&arg, line, WR_S("shallow ")))
		return oid_add(&up->shallows, arg, up->limits.max_depth_lines, "lines about depth", err);
	if (after(&arg, line, WR_S("deepen "))) {
		if (!wr_str_u64(arg, UINT64_MAX, &n))
			return wr_fail(err, WR_E_INVALID_REQUEST, "deepen needs a number of commits");
		up->depth = n > WR_DEPTH_ALL ? WR_DEPTH_ALL : (uint32_t)n;
		return WR_OK;
	}
	if (after(&arg, line, WR_S("deepen-since "))) {
		if (!wr_str_u64(arg, INT64_MAX, &n))
			return wr_fail(err, WR_E_INVALID_REQUEST, "deepen-since needs a time in seconds");
		up->has_since = true;
		up->since = (int64_t)n;
		return WR_OK;
	}
	if (after(&arg, line, WR_S("deepen-not "))) {
		if (up->deepen_not.len >= up->limits.max_prefixes)
			return too_many(err, "deepen-not lines", up->limits.max_prefixes);
		return names_add(&up->deepen_not, arg, err);
	}
	*taken = false;
	return WR_OK;
}

static enum wr_code deepen_check(const struct wr_upload *up, struct wr_error *err)
{
	if (up->depth && (up->has_since || up->deepen_not.len))
		return wr_fail(err, WR_E_INVALID_REQUEST, "deepen goes with neither deepen-since nor deepen-not");
	return WR_OK;
}

/* object-format=..., in every version */
static enum wr_code format_check(struct wr_str value, struct wr_error *err)
{
	if (!wr_str_eqz(value, "sha1"))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The only object format here is sha1");
	return WR_OK;
}

/* The capabilities behind the first want. Unknown ones are the client's business (gitprotocol-capabilities). */
static enum wr_code v0_capabilities(struct wr_upload *up, struct wr_str list, struct wr_error *err)
{
	while (list.len) {
		const char *space = memchr(list.ptr, ' ', list.len);
		size_t n = space ? (size_t)(space - list.ptr) : list.len;
		struct wr_str cap = wr_str_n(list.ptr, n), value;
		enum wr_code code;

		list = wr_str_skip(list, space ? n + 1 : n);
		if (wr_str_eqz(cap, "multi_ack_detailed"))
			up->ack = WR_ACK_DETAILED;
		else if (wr_str_eqz(cap, "multi_ack") && up->ack == WR_ACK_ONE)
			up->ack = WR_ACK_MULTI;
		else if (wr_str_eqz(cap, "side-band-64k"))
			up->bands = WR_BAND_LARGE;
		else if (wr_str_eqz(cap, "side-band") && up->bands == WR_BAND_NONE)
			up->bands = WR_BAND_SMALL;
		else if (wr_str_eqz(cap, "thin-pack"))
			up->thin = true;
		else if (wr_str_eqz(cap, "ofs-delta"))
			up->ofs_delta = true;
		else if (wr_str_eqz(cap, "include-tag"))
			up->include_tag = true;
		else if (wr_str_eqz(cap, "no-progress"))
			up->no_progress = true;
		else if (wr_str_eqz(cap, "no-done"))
			up->no_done = true;
		else if (wr_str_eqz(cap, "deepen-relative"))
			up->deepen_relative = true;
		else if (after(&value, cap, WR_S("object-format=")) && (code = format_check(value, err)) != WR_OK)
			return code;
	}
	return WR_OK;
}

static enum wr_code v0_want(struct wr_upload *up, struct wr_str arg, struct wr_error *err)
{
	struct wr_str hex = wr_str_n(arg.ptr, arg.len < WR_OID_HEX ? arg.len : WR_OID_HEX);
	struct wr_str caps = wr_str_skip(arg, hex.len);
	enum wr_code code = oid_add(&up->wants, hex, up->limits.max_wants, "wants", err);

	if (code == WR_OK && caps.len) {
		if (caps.ptr[0] != ' ')
			return wr_fail(err, WR_E_INVALID_REQUEST, "An object id is 40 hexadecimal digits");
		code = v0_capabilities(up, caps, err);
	}
	return code;
}

/* Up to the flush behind the wants. *empty: there was nothing before it. */
static enum wr_code v0_wants(bool *empty, struct wr_upload *up, struct wr_str *body, struct wr_error *err)
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
		if (after(&arg, line, WR_S("want ")))
			code = v0_want(up, arg, err);
		else if ((code = deepen_line(&taken, up, line, err)) == WR_OK && !taken)
			code = unexpected(err, line);
		if (code != WR_OK)
			return code;
	}
}

static enum wr_code round_add(struct wr_upload *up, struct wr_error *err)
{
	/* Rounds without a have tell nothing, so there are never honestly more of them than haves. */
	if (up->round_count > up->limits.max_haves)
		return too_many(err, "rounds", up->limits.max_haves);
	if (up->round_count == up->round_cap) {
		size_t cap = up->round_cap ? up->round_cap * 2 : 8;
		size_t *v = realloc(up->rounds, cap * sizeof(*v));

		if (!v)
			return wr_fail_nomem(err);
		up->rounds = v;
		up->round_cap = cap;
	}
	up->rounds[up->round_count++] = up->haves.len;
	return WR_OK;
}

/* The negotiation: haves in rounds, each ended by a flush, the last by "done". Nothing at all is fine too. */
static enum wr_code v0_haves(struct wr_upload *up, struct wr_str *body, struct wr_error *err)
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
			code = round_add(up, err);
			open = false;
		} else if (pkt.kind != WR_PKT_LINE) {
			code = wr_fail(err, WR_E_INVALID_REQUEST, "A packet of version 2 in a request of another");
		} else {
			line = wr_pkt_text(&pkt);
			if (wr_str_eqz(line, "done")) {
				up->done = true;
				return WR_OK;
			}
			open = true;
			code = after(&arg, line, WR_S("have "))
				       ? oid_add(&up->haves, arg, up->limits.max_haves, "haves", err)
				       : unexpected(err, line);
		}
		if (code != WR_OK)
			return code;
	}
}

static enum wr_code v0_parse(struct wr_upload *up, struct wr_str body, struct wr_error *err)
{
	enum wr_code code;
	bool empty;

	if ((code = v0_wants(&empty, up, &body, err)) != WR_OK || (code = deepen_check(up, err)) != WR_OK)
		return code;
	if (up->wants.len == 0) {
		if (!empty)
			return wr_fail(err, WR_E_INVALID_REQUEST, "A fetch needs at least one want");
		return WR_OK;
	}
	up->kind = WR_UPLOAD_V0;
	return v0_haves(up, &body, err);
}

static enum wr_code ls_refs_line(struct wr_upload *up, struct wr_str line, struct wr_error *err)
{
	struct wr_str prefix;

	if (wr_str_eqz(line, "symrefs")) {
		up->symrefs = true;
	} else if (wr_str_eqz(line, "peel")) {
		up->peel = true;
	} else if (wr_str_eqz(line, "unborn")) {
		up->unborn = true;
	} else if (after(&prefix, line, WR_S("ref-prefix "))) {
		if (up->prefixes.len >= up->limits.max_prefixes)
			up->all_refs = true;
		return up->all_refs ? WR_OK : names_add(&up->prefixes, prefix, err);
	} else {
		return unexpected(err, line);
	}
	return WR_OK;
}

static enum wr_code fetch_line(struct wr_upload *up, struct wr_str line, struct wr_error *err)
{
	static const struct {
		const char *word;
		size_t flag;
	} flags[] = {
		{"done", offsetof(struct wr_upload, done)},
		{"thin-pack", offsetof(struct wr_upload, thin)},
		{"ofs-delta", offsetof(struct wr_upload, ofs_delta)},
		{"include-tag", offsetof(struct wr_upload, include_tag)},
		{"no-progress", offsetof(struct wr_upload, no_progress)},
		{"wait-for-done", offsetof(struct wr_upload, wait_for_done)},
		{"deepen-relative", offsetof(struct wr_upload, deepen_relative)},
	};
	static const char *const refused[] = {"filter", "want-ref", "sideband-all", "packfile-uris"};
	struct wr_str arg;
	enum wr_code code;
	bool taken;

	if (after(&arg, line, WR_S("want ")))
		return oid_add(&up->wants, arg, up->limits.max_wants, "wants", err);
	if (after(&arg, line, WR_S("have ")))
		return oid_add(&up->haves, arg, up->limits.max_haves, "haves", err);
	for (size_t i = 0; i < WR_ARRAY_LEN(flags); i++) {
		if (wr_str_eqz(line, flags[i].word)) {
			*(bool *)((char *)up + flags[i].flag) = true;
			return WR_OK;
		}
	}
	if ((code = deepen_line(&taken, up, line, err)) != WR_OK || taken)
		return code;
	for (size_t i = 0; i < WR_ARRAY_LEN(refused); i++) {
		if (after(&arg, line, wr_str(refused[i])) && (arg.len == 0 || arg.ptr[0] == ' '))
			return wr_fail(err, WR_E_INVALID_REQUEST, "This server does not announce '%s' and cannot do it",
				       refused[i]);
	}
	return unexpected(err, line);
}

/* A line before the delimiter: the command or a capability. Keys that this server never announced say nothing to it. */
static enum wr_code v2_head_line(struct wr_upload *up, struct wr_str line, struct wr_error *err)
{
	struct wr_str value;
	char text[41];

	if (after(&value, line, WR_S("object-format=")))
		return format_check(value, err);
	if (!after(&value, line, WR_S("command=")))
		return WR_OK;
	if (up->kind != WR_UPLOAD_NOTHING)
		return wr_fail(err, WR_E_INVALID_REQUEST, "A request holds one command");
	if (wr_str_eqz(value, "ls-refs"))
		up->kind = WR_UPLOAD_LS_REFS;
	else if (wr_str_eqz(value, "fetch"))
		up->kind = WR_UPLOAD_FETCH;
	else
		return wr_fail(err, WR_E_INVALID_REQUEST, "Unknown command '%s'", quote(text, value));
	return WR_OK;
}

/* Behind the request only more flushes may follow: the empty request that says goodbye. */
static enum wr_code v2_end(struct wr_str body, struct wr_error *err)
{
	for (;;) {
		struct wr_pkt pkt;
		enum wr_code code = wr_pkt_next(&pkt, &body, err);

		if (code != WR_OK || pkt.kind == WR_PKT_EOF)
			return code;
		if (pkt.kind != WR_PKT_FLUSH)
			return wr_fail(err, WR_E_INVALID_REQUEST, "A request holds one command");
	}
}

static enum wr_code v2_parse(struct wr_upload *up, struct wr_str body, struct wr_error *err)
{
	bool args = false, empty = true;
	enum wr_code code;

	for (;; empty = false) {
		struct wr_pkt pkt;
		struct wr_str line;

		if ((code = wr_pkt_next(&pkt, &body, err)) != WR_OK)
			return code;
		if (pkt.kind == WR_PKT_FLUSH || (pkt.kind == WR_PKT_EOF && empty))
			break;
		if (pkt.kind == WR_PKT_DELIM && !args && up->kind != WR_UPLOAD_NOTHING) {
			args = true;
			continue;
		}
		if (pkt.kind != WR_PKT_LINE)
			return wr_fail(err, WR_E_INVALID_REQUEST, "The request does not end with a flush");
		line = wr_pkt_text(&pkt);
		code = !args			       ? v2_head_line(up, line, err)
		       : up->kind == WR_UPLOAD_LS_REFS ? ls_refs_line(up, line, err)
						       : fetch_line(up, line, err);
		if (code != WR_OK)
			return code;
	}
	if (!empty && up->kind == WR_UPLOAD_NOTHING)
		return wr_fail(err, WR_E_INVALID_REQUEST, "The request names no command");
	if (up->prefixes.len == 0)
		up->all_refs = true;
	return (code = deepen_check(up, err)) != WR_OK ? code : v2_end(body, err);
}

enum wr_code wr_upload_parse(struct wr_upload **out, struct wr_str body, int version,
			     const struct wr_upload_limits *limits, struct wr_error *err)
{
	WR_AUTO(wr_upload) *up = calloc(1, sizeof(*up));
	enum wr_code code;

	if (!up)
		return wr_fail_nomem(err);
	up->kind = WR_UPLOAD_NOTHING;
	up->limits = *limits;
	if (version == 2) {
		up->bands = WR_BAND_LARGE;
		code = v2_parse(up, body, err);
	} else {
		code = v0_parse(up, body, err);
	}
	if (code == WR_OK)
		*out = WR_STEAL(up);
	return code;
}

static void names_fini(struct wr_names *names)
{
	for (size_t i = 0; i < names->len; i++)
		free((void *)names->v[i].ptr);
	free(names->v);
}

void wr_upload_free(struct wr_upload *up)
{
	if (!up)
		return;
	wr_oids_fini(&up->wants);
	wr_oids_fini(&up->haves);
	wr_oids_fini(&up->shallows);
	names_fini(&up->deepen_not);
	names_fini(&up->prefixes);
	free(up->rounds);
	free(up);
}
