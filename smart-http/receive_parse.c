/*
 * shallow <oid>\n                                    (a client with a cut history; says nothing to a server that
 *                                                     checks every new object's references)
 * <old> <new> <name> NUL <capabilities>\n
 * <old> <new> <name>\n
 * 0000
 * PACK...                                            unless every command deletes
 */
#include "smart-http/receive_internal.h"

/* All names of a push together. */
#define MAX_NAMES (256u << 20)
/* No legal name is longer (core/git), and a longer one would not fit into the report's line. */
#define MAX_NAME 4096

#define IDS_LEN (2 * (WR_OID_HEX + 1)) /* "<old> <new> " */

static enum wr_code capability(struct wr_receive *rx, struct wr_str cap, struct wr_error *err)
{
	if (wr_str_eqz(cap, "report-status"))
		rx->report = true;
	else if (wr_str_eqz(cap, "side-band-64k"))
		rx->bands = true;
	else if (wr_str_eqz(cap, "atomic"))
		rx->atomic = true;
	else if (wr_str_eqz(cap, "quiet"))
		rx->quiet = true;
	else if (wr_str_eqz(cap, "push-options"))
		return wr_fail(err, WR_E_INVALID_REQUEST, "This server does not take push options");
	else if (wr_str_starts(cap, WR_S("object-format=")) && !wr_str_eqz(cap, "object-format=sha1"))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The only object format here is sha1");
	return WR_OK;
}

static enum wr_code capabilities(struct wr_receive *rx, struct wr_str list, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	while (code == WR_OK && list.len) {
		const char *space = memchr(list.ptr, ' ', list.len);
		size_t n = space ? (size_t)(space - list.ptr) : list.len;

		code = capability(rx, wr_str_n(list.ptr, n), err);
		list = wr_str_skip(list, space ? n + 1 : n);
	}
	return code;
}

static enum wr_code command_new(struct wr_command **out, struct wr_receive *rx, size_t max, struct wr_error *err)
{
	if (rx->count >= max)
		return wr_fail(err, WR_E_INVALID_REQUEST, "A push may update %zu refs", max);
	if (rx->count == rx->cap) {
		size_t cap = rx->cap ? rx->cap * 2 : 4;
		struct wr_command *v = realloc(rx->commands, cap * sizeof(*v));

		if (!v)
			return wr_fail_nomem(err);
		rx->commands = v;
		rx->cap = cap;
	}
	*out = &rx->commands[rx->count];
	memset(*out, 0, sizeof(**out));
	return WR_OK;
}

/* "<old> <new> <name>", capabilities taken off. */
static enum wr_code command(struct wr_receive *rx, struct wr_str line, size_t max, struct wr_error *err)
{
	struct wr_command *c = NULL;
	enum wr_code code = command_new(&c, rx, max, err);
	struct wr_str name;

	if (code != WR_OK)
		return code;
	if (line.len <= IDS_LEN || line.ptr[WR_OID_HEX] != ' ' || line.ptr[IDS_LEN - 1] != ' ' ||
	    !wr_oid_parse(&c->old, wr_str_n(line.ptr, WR_OID_HEX)) ||
	    !wr_oid_parse(&c->new, wr_str_n(line.ptr + WR_OID_HEX + 1, WR_OID_HEX)))
		return wr_fail(err, WR_E_INVALID_REQUEST, "A command is two object ids and the name of a ref");
	name = wr_str_skip(line, IDS_LEN);
	if (name.len > MAX_NAME)
		return wr_fail(err, WR_E_INVALID_REQUEST, "The name of a ref may have %d bytes", MAX_NAME);
	/* The buffer moves while it grows, so names point into it only when all are there. */
	c->name = wr_str_n(NULL, name.len);
	wr_buf_adds(&rx->names, name);
	if (!wr_buf_ok(&rx->names))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The names of the refs are too long together");
	rx->count++;
	return WR_OK;
}

static enum wr_code line_parse(struct wr_receive *rx, const struct wr_pkt *pkt, size_t max, struct wr_error *err)
{
	struct wr_str line = wr_pkt_text(pkt), caps = WR_S("");
	const char *nul = line.len ? memchr(line.ptr, '\0', line.len) : NULL;
	enum wr_code code;

	if (nul) {
		caps = wr_str_skip(line, (size_t)(nul - line.ptr) + 1);
		line.len = (size_t)(nul - line.ptr);
		if (rx->count)
			return wr_fail(err, WR_E_INVALID_REQUEST, "Capabilities stand behind the first command only");
	}
	if (wr_str_starts(line, WR_S("push-cert")))
		return wr_fail(err, WR_E_INVALID_REQUEST, "This server does not take signed pushes");
	code = command(rx, line, max, err);
	return code == WR_OK ? capabilities(rx, caps, err) : code;
}

static enum wr_code lines_parse(struct wr_receive *rx, size_t max, struct wr_error *err)
{
	for (size_t n = 0;; n++) {
		struct wr_pkt pkt;
		struct wr_oid root;
		enum wr_code code = wr_pkt_read(&pkt, rx->reader, err);

		if (code != WR_OK || pkt.kind == WR_PKT_FLUSH || (pkt.kind == WR_PKT_EOF && n == 0))
			return code;
		if (pkt.kind != WR_PKT_LINE)
			return wr_fail(err, WR_E_INVALID_REQUEST, "The commands do not end with a flush");
		if (rx->count == 0 && wr_str_starts(pkt.data, WR_S("shallow "))) {
			if (!wr_oid_parse(&root, wr_str_skip(wr_pkt_text(&pkt), 8)))
				return wr_fail(err, WR_E_INVALID_REQUEST, "An object id is 40 hexadecimal digits");
			continue;
		}
		if ((code = line_parse(rx, &pkt, max, err)) != WR_OK)
			return code;
	}
}

static void names_settle(struct wr_receive *rx)
{
	const char *p = rx->names.ptr;

	for (size_t i = 0; i < rx->count; i++) {
		rx->commands[i].name.ptr = p;
		p += rx->commands[i].name.len;
	}
}

enum wr_code wr_receive_parse(struct wr_receive **out, struct wr_source *src, const struct wr_receive_limits *limits,
			      struct wr_error *err)
{
	WR_AUTO(wr_receive) *rx = calloc(1, sizeof(*rx));
	enum wr_code code;

	if (!rx)
		return wr_fail_nomem(err);
	rx->names = (struct wr_buf)WR_BUF_INIT(MAX_NAMES);
	if ((code = wr_pkt_reader_new(&rx->reader, src, err)) != WR_OK ||
	    (code = lines_parse(rx, limits->max_commands, err)) != WR_OK)
		return code;
	names_settle(rx);
	*out = WR_STEAL(rx);
	return WR_OK;
}

void wr_receive_free(struct wr_receive *rx)
{
	if (!rx)
		return;
	wr_pkt_reader_free(rx->reader);
	wr_buf_fini(&rx->names);
	free(rx->commands);
	free(rx);
}
