#include "smart-http/upload_parse.h"

#include <stdarg.h>

const char *wr_upload_quote(char out[101], struct wr_str s)
{
	size_t n = s.len < 100 ? s.len : 100;

	for (size_t i = 0; i < n; i++)
		out[i] = s.ptr[i] >= 32 && s.ptr[i] < 127 ? s.ptr[i] : '?';
	out[n] = '\0';
	return out;
}

enum wr_code wr_upload_deny(struct wr_upload *up, struct wr_error *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(up->refusal, sizeof(up->refusal), fmt, ap);
	va_end(ap);
	up->refused = true;
	return wr_fail(err, WR_E_INVALID_REQUEST, "%s", up->refusal);
}

enum wr_code wr_upload_unexpected(struct wr_upload *up, struct wr_str line, struct wr_error *err)
{
	char text[101];

	return wr_upload_deny(up, err, "upload-pack: unexpected line '%s'", wr_upload_quote(text, line));
}

enum wr_code wr_upload_too_many(struct wr_upload *up, size_t max, const char *what, const char *key,
				struct wr_error *err)
{
	return wr_upload_deny(up, err,
			      "upload-pack: a request may hold %zu %s; fetch less at once, or let this server's "
			      "operator raise git.%s",
			      max, what, key);
}

bool wr_upload_after(struct wr_str *rest, struct wr_str line, struct wr_str word)
{
	if (!wr_str_starts(line, word))
		return false;
	*rest = wr_str_skip(line, word.len);
	return true;
}

enum wr_code wr_upload_count(struct wr_upload *up, struct wr_str line, struct wr_error *err)
{
	size_t max = up->limits.max_preamble;

	if (line.len > max || up->preamble > max - line.len)
		return wr_upload_too_many(up, max, "bytes besides wants and haves", "max_preamble", err);
	up->preamble += line.len;
	return WR_OK;
}

static enum wr_code oid_of(struct wr_oid *out, struct wr_str hex, struct wr_error *err)
{
	if (!wr_oid_parse(out, hex))
		return wr_fail(err, WR_E_INVALID_REQUEST, "An object id is 40 hexadecimal digits");
	return WR_OK;
}

enum wr_code wr_upload_add_want(struct wr_upload *up, struct wr_str hex, struct wr_error *err)
{
	struct wr_oid oid;
	enum wr_code code = oid_of(&oid, hex, err);

	if (code == WR_OK && up->wants.len + up->want_refs.len >= up->limits.max_wants)
		code = wr_upload_too_many(up, up->limits.max_wants, "wants", "max_wants", err);
	return code == WR_OK ? wr_oids_add(&up->wants, &oid, err) : code;
}

enum wr_code wr_upload_add_have(struct wr_upload *up, struct wr_str hex, struct wr_error *err)
{
	struct wr_oid oid;
	enum wr_code code = oid_of(&oid, hex, err);

	if (code == WR_OK && up->haves.len >= up->limits.max_haves)
		code = wr_upload_too_many(up, up->limits.max_haves, "haves", "max_haves", err);
	return code == WR_OK ? wr_oids_add(&up->haves, &oid, err) : code;
}

enum wr_code wr_upload_add_name(struct wr_names *names, struct wr_str name, struct wr_error *err)
{
	char *copy;

	if (names->len == names->cap) {
		size_t cap = names->cap ? names->cap * 2 : 8;
		struct wr_str *v = reallocarray(names->v, cap, sizeof(*v));

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

/* One more shallow or deepen-not line. */
static enum wr_code depth_line_room(struct wr_upload *up, struct wr_error *err)
{
	if (up->shallows.len + up->deepen_not.len < up->limits.max_depth_lines)
		return WR_OK;
	return wr_upload_too_many(up, up->limits.max_depth_lines, "lines about shallow commits", "max_depth_lines",
				  err);
}

static enum wr_code shallow(struct wr_upload *up, struct wr_str arg, struct wr_error *err)
{
	struct wr_oid oid;
	enum wr_code code = oid_of(&oid, arg, err);

	if (code == WR_OK && (code = depth_line_room(up, err)) == WR_OK)
		code = wr_oids_add(&up->shallows, &oid, err);
	return code;
}

static enum wr_code deepen(struct wr_upload *up, struct wr_str arg, struct wr_error *err)
{
	uint64_t n;

	if (!wr_str_u64(arg, UINT64_MAX, &n) || n == 0)
		return wr_fail(err, WR_E_INVALID_REQUEST, "deepen needs a number of commits, at least 1");
	up->depth = n > WR_DEPTH_ALL ? WR_DEPTH_ALL : (uint32_t)n;
	return WR_OK;
}

static enum wr_code deepen_since(struct wr_upload *up, struct wr_str arg, struct wr_error *err)
{
	uint64_t n;

	if (!wr_str_u64(arg, INT64_MAX, &n))
		return wr_fail(err, WR_E_INVALID_REQUEST, "deepen-since needs a time in seconds");
	up->has_since = true;
	up->since = (int64_t)n;
	return WR_OK;
}

static enum wr_code deepen_not(struct wr_upload *up, struct wr_str arg, struct wr_error *err)
{
	enum wr_code code = depth_line_room(up, err);

	return code == WR_OK ? wr_upload_add_name(&up->deepen_not, arg, err) : code;
}

static enum wr_code filter(struct wr_upload *up, struct wr_str arg, struct wr_error *err)
{
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	enum wr_code code;

	if (!up->may_filter)
		return wr_upload_deny(up, err, "upload-pack: a filter line needs the capability 'filter' before it");
	if (up->has_filter)
		return wr_upload_deny(
			up, err, "upload-pack: a request may hold one filter; combine:<filter>+<filter> joins several");
	if ((code = wr_filter_parse(&up->filter, arg, &why)) == WR_E_INVALID_REQUEST)
		return wr_upload_deny(up, err, "upload-pack: %s", wr_error_text(&why));
	up->has_filter = code == WR_OK;
	if (code != WR_OK)
		wr_error_move(err, &why);
	return code;
}

enum wr_code wr_upload_common_line(bool *taken, struct wr_upload *up, struct wr_str line, struct wr_error *err)
{
	static const struct {
		struct wr_str word;
		bool counted; /* by wr_upload_count() */
		enum wr_code (*take)(struct wr_upload *up, struct wr_str arg, struct wr_error *err);
	} rows[] = {
		{WR_S("shallow "), false, shallow},
		{WR_S("deepen "), true, deepen},
		{WR_S("deepen-since "), true, deepen_since},
		{WR_S("deepen-not "), false, deepen_not},
		{WR_S("filter "), true, filter},
	};

	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		struct wr_str arg;
		enum wr_code code;

		if (!wr_upload_after(&arg, line, rows[i].word))
			continue;
		*taken = true;
		code = rows[i].counted ? wr_upload_count(up, line, err) : WR_OK;
		return code == WR_OK ? rows[i].take(up, arg, err) : code;
	}
	*taken = false;
	return WR_OK;
}

enum wr_code wr_upload_check(struct wr_upload *up, struct wr_error *err)
{
	if (up->depth && (up->has_since || up->deepen_not.len))
		return wr_upload_deny(up, err,
				      "upload-pack: deepen and deepen-since (or deepen-not) cannot be used together");
	return WR_OK;
}

enum wr_code wr_upload_format(struct wr_upload *up, struct wr_str value, struct wr_error *err)
{
	char text[101];

	if (wr_str_eqz(value, "sha1"))
		return WR_OK;
	return wr_upload_deny(up, err, "upload-pack: repositories here have the object format sha1, not '%s'",
			      wr_upload_quote(text, value));
}

enum wr_code wr_upload_end(struct wr_str body, struct wr_error *err)
{
	for (;;) {
		struct wr_pkt pkt;
		enum wr_code code = wr_pkt_next(&pkt, &body, err);

		if (code != WR_OK || pkt.kind == WR_PKT_EOF)
			return code;
		if (pkt.kind != WR_PKT_FLUSH)
			return wr_fail(err, WR_E_INVALID_REQUEST, "Something follows the end of the request");
	}
}

/*
 * A request that is not granted was only read up to the line that says so. What follows it must at least be packets
 * that end as a request ends, or it is a malformed one.
 */
static enum wr_code framing(struct wr_str body, struct wr_error *err)
{
	bool ended = false;

	for (;;) {
		struct wr_pkt pkt;
		enum wr_code code = wr_pkt_next(&pkt, &body, err);

		if (code != WR_OK)
			return code;
		if (pkt.kind == WR_PKT_EOF)
			break;
		ended = pkt.kind == WR_PKT_FLUSH ||
			(pkt.kind == WR_PKT_LINE && wr_str_eqz(wr_pkt_text(&pkt), "done"));
	}
	return ended ? WR_OK : wr_fail(err, WR_E_INVALID_REQUEST, "The request does not end with a flush");
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
	code = version == 2 ? wr_upload_parse_v2(up, body, err) : wr_upload_parse_v0(up, body, err);
	if (code != WR_OK && up->refused && (code = framing(body, err)) == WR_OK)
		up->kind = WR_UPLOAD_REFUSED;
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
	names_fini(&up->want_refs);
	names_fini(&up->deepen_not);
	names_fini(&up->prefixes);
	free(up);
}
