/*
 * shallow <oid>\n                                    (a client with a cut history; anywhere among the commands)
 * <old> <new> <name> NUL <capabilities>\n
 * <old> <new> <name>\n
 * 0000
 * <push option>\n                                    these and their flush where "push-options" is a capability
 * 0000
 * PACK...                                            unless every command deletes
 *
 * What is no such request is an error. One that is too large is read on to where its pack begins, without being kept,
 * so that the report can say what the limit is: git shows people the report, and of an HTTP error the status alone.
 */
#include "smart-http/receive_internal.h"

#include <stdarg.h>
#include <stdio.h>

/* All names of a push together, by the refs that it may have: several times what people's are long. */
#define NAMES_EACH 320
#define NAMES_LEAST 65536
/* No legal name is longer (core/git), and a longer one would not fit into the report's line. */
#define MAX_NAME 4096
#define MAX_OPTION 4096
#define COUNT_STEP 16384

#define IDS_LEN (2 * (WR_OID_HEX + 1)) /* "<old> <new> " */

/* The first limit that is passed is the one that is told. */
static void WR_PRINTF(2, 3) pass_limit(struct wr_receive *rx, const char *fmt, ...)
{
	va_list ap;

	if (rx->limit[0])
		return;
	va_start(ap, fmt);
	vsnprintf(rx->limit, sizeof(rx->limit), fmt, ap);
	va_end(ap);
}

static enum wr_code capability(struct wr_receive *rx, struct wr_str cap, struct wr_error *err)
{
	/* The second version adds lines for refs that ended up elsewhere, which happens to none here. */
	if (wr_str_eqz(cap, "report-status") || wr_str_eqz(cap, "report-status-v2"))
		rx->report = true;
	else if (wr_str_eqz(cap, "side-band-64k"))
		rx->bands = true;
	else if (wr_str_eqz(cap, "atomic"))
		rx->atomic = true;
	else if (wr_str_eqz(cap, "quiet"))
		rx->quiet = true;
	else if (wr_str_eqz(cap, "push-options"))
		rx->takes_options = true;
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

/*
 * Room for what a line adds, in steps. Lists that grow have up to twice what they hold.
 */
static enum wr_code room_for(struct wr_receive *rx, size_t line, struct wr_error *err)
{
	rx->held += 2 * line;
	if (rx->held <= rx->taken)
		return WR_OK;
	if (!wr_room_take(rx->room, COUNT_STEP, false))
		return wr_fail(err, WR_E_UNAVAILABLE, "no room for the commands of a push");
	rx->taken += COUNT_STEP;
	return WR_OK;
}

/* Keeps a command, unless a limit is passed. The name's bytes move while there come more, so its place is set later. */
static enum wr_code command_keep(struct wr_receive *rx, const struct wr_command *c, size_t max, struct wr_error *err)
{
	enum wr_code code;

	if (rx->count >= max)
		pass_limit(rx, "A push may update %zu refs; push the others after these", max);
	if (c->name.len > MAX_NAME)
		pass_limit(rx, "The name of a ref may have %d bytes", MAX_NAME);
	if (c->name.len >= rx->names.max - rx->names.len)
		pass_limit(rx, "The names of the refs are too long together; push fewer at once");
	if (rx->limit[0])
		return WR_OK;
	if ((code = room_for(rx, sizeof *c + c->name.len, err)) != WR_OK)
		return code;
	if (rx->count == rx->cap) {
		size_t cap = rx->cap ? rx->cap * 2 : 4;
		struct wr_command *v = reallocarray(rx->commands, cap, sizeof(*v));

		if (!v)
			return wr_fail_nomem(err);
		rx->commands = v;
		rx->cap = cap;
	}
	wr_buf_adds(&rx->names, c->name);
	if (!wr_buf_ok(&rx->names))
		return wr_fail_nomem(err);
	rx->commands[rx->count++] = *c;
	return WR_OK;
}

/* "<old> <new> <name>", capabilities taken off. */
static enum wr_code command(struct wr_receive *rx, struct wr_str line, size_t max, struct wr_error *err)
{
	struct wr_command c = {.refused = NULL};

	if (line.len <= IDS_LEN || line.ptr[WR_OID_HEX] != ' ' || line.ptr[IDS_LEN - 1] != ' ' ||
	    !wr_oid_parse(&c.old, wr_str_n(line.ptr, WR_OID_HEX)) ||
	    !wr_oid_parse(&c.new, wr_str_n(line.ptr + WR_OID_HEX + 1, WR_OID_HEX)))
		return wr_fail(err, WR_E_INVALID_REQUEST, "A command is two object ids and the name of a ref");
	c.name = wr_str_skip(line, IDS_LEN);
	return command_keep(rx, &c, max, err);
}

static enum wr_code shallow(struct wr_receive *rx, struct wr_str hex, size_t max, struct wr_error *err)
{
	struct wr_oid root;
	enum wr_code code;

	if (!wr_oid_parse(&root, hex))
		return wr_fail(err, WR_E_INVALID_REQUEST, "An object id is 40 hexadecimal digits");
	if (rx->shallow.len >= max)
		pass_limit(rx, "A push may come with %zu shallow roots; run git fetch --unshallow, then push again",
			   max);
	if (rx->limit[0])
		return WR_OK;
	code = room_for(rx, sizeof root, err);
	return code == WR_OK ? wr_oids_add(&rx->shallow, &root, err) : code;
}

/* *first: no command has come yet, of which the first brings the capabilities. */
static enum wr_code line_parse(struct wr_receive *rx, const struct wr_pkt *pkt, bool *first,
			       const struct wr_receive_limits *limits, struct wr_error *err)
{
	struct wr_str line = wr_pkt_text(pkt), caps = WR_S("");
	const char *nul = line.len ? memchr(line.ptr, '\0', line.len) : NULL;
	enum wr_code code;

	if (wr_str_starts(line, WR_S("shallow ")))
		return shallow(rx, wr_str_skip(line, 8), limits->max_depth_lines, err);
	if (nul) {
		caps = wr_str_skip(line, (size_t)(nul - line.ptr) + 1);
		line.len = (size_t)(nul - line.ptr);
		if (!*first)
			return wr_fail(err, WR_E_INVALID_REQUEST, "Capabilities stand behind the first command only");
	}
	if (wr_str_starts(line, WR_S("push-cert")))
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "This server does not take signed pushes; push without --signed");
	*first = false;
	code = command(rx, line, limits->max_commands, err);
	return code == WR_OK ? capabilities(rx, caps, err) : code;
}

static enum wr_code commands_parse(struct wr_receive *rx, const struct wr_receive_limits *limits, struct wr_error *err)
{
	bool first = true;

	for (size_t n = 0;; n++) {
		struct wr_pkt pkt;
		enum wr_code code = wr_pkt_read(&pkt, rx->reader, err);

		if (code != WR_OK || pkt.kind == WR_PKT_FLUSH || (pkt.kind == WR_PKT_EOF && n == 0))
			return code;
		if (pkt.kind != WR_PKT_LINE)
			return wr_fail(err, WR_E_INVALID_REQUEST, "The commands do not end with a flush");
		if ((code = line_parse(rx, &pkt, &first, limits, err)) != WR_OK)
			return code;
	}
}

static enum wr_code option(struct wr_receive *rx, struct wr_str text, size_t max, struct wr_error *err)
{
	if (text.len && (memchr(text.ptr, '\0', text.len) || memchr(text.ptr, '\n', text.len)))
		return wr_fail(err, WR_E_INVALID_REQUEST, "A push option is one line of text");
	if (text.len > MAX_OPTION)
		pass_limit(rx, "A push option may have %d bytes", MAX_OPTION);
	if (rx->options >= max)
		pass_limit(rx, "A push may bring %zu push options", max);
	if (!rx->limit[0])
		rx->options++;
	return WR_OK;
}

/* They are counted; nothing reads them. */
static enum wr_code options_parse(struct wr_receive *rx, size_t max, struct wr_error *err)
{
	for (;;) {
		struct wr_pkt pkt;
		enum wr_code code = wr_pkt_read(&pkt, rx->reader, err);

		if (code != WR_OK || pkt.kind == WR_PKT_FLUSH)
			return code;
		if (pkt.kind != WR_PKT_LINE)
			return wr_fail(err, WR_E_INVALID_REQUEST, "The push options do not end with a flush");
		if ((code = option(rx, wr_pkt_text(&pkt), max, err)) != WR_OK)
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
	rx->room = limits->room;
	rx->names = (struct wr_buf)WR_BUF_INIT(NAMES_LEAST + limits->max_commands * NAMES_EACH);
	if ((code = wr_pkt_reader_new(&rx->reader, src, err)) != WR_OK ||
	    (code = commands_parse(rx, limits, err)) != WR_OK ||
	    (rx->takes_options && (code = options_parse(rx, limits->max_options, err)) != WR_OK))
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
	wr_oids_fini(&rx->shallow);
	free(rx->commands);
	wr_room_give(rx->room, rx->taken);
	free(rx);
}
