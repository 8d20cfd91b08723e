/*
 * Version 2 (gitprotocol-v2):
 *   command=fetch\n
 *   agent=...\n  server-option=...\n      capabilities
 *   0001
 *   thin-pack\n                           arguments
 *   want <oid>\n  want-ref <name>\n  have <oid>\n
 *   done\n
 *   0000
 */
#include "smart-http/upload_parse.h"

struct flag {
	const char *word;
	size_t at; /* of a bool in struct wr_upload */
};

/* Sets what line names; *taken says whether it is one of these. */
static enum wr_code flag_line(bool *taken, struct wr_upload *up, const struct flag *flags, size_t n,
			      struct wr_str line, struct wr_error *err)
{
	*taken = false;
	for (size_t i = 0; i < n; i++) {
		if (!wr_str_eqz(line, flags[i].word))
			continue;
		*taken = true;
		*(bool *)((char *)up + flags[i].at) = true;
		return wr_upload_count(up, line, err);
	}
	return WR_OK;
}

static enum wr_code ls_refs_line(struct wr_upload *up, struct wr_str line, struct wr_error *err)
{
	static const struct flag flags[] = {
		{"symrefs", offsetof(struct wr_upload, symrefs)},
		{"peel", offsetof(struct wr_upload, peel)},
		{"unborn", offsetof(struct wr_upload, unborn)},
	};
	struct wr_str prefix;
	bool taken;
	enum wr_code code = flag_line(&taken, up, flags, WR_ARRAY_LEN(flags), line, err);

	if (code != WR_OK || taken)
		return code;
	if (!wr_upload_after(&prefix, line, WR_S("ref-prefix ")))
		return wr_upload_unexpected(up, line, err);
	if (up->prefixes.len + 1 >= up->limits.max_prefixes)
		up->all_refs = true;
	return up->all_refs ? WR_OK : wr_upload_add_name(&up->prefixes, prefix, err);
}

static enum wr_code info_line(struct wr_upload *up, struct wr_str line, struct wr_error *err)
{
	static const struct flag flags[] = {{"size", offsetof(struct wr_upload, size)}};
	struct wr_str hex;
	bool taken;
	enum wr_code code = flag_line(&taken, up, flags, WR_ARRAY_LEN(flags), line, err);

	if (code != WR_OK || taken)
		return code;
	if (!wr_upload_after(&hex, line, WR_S("oid ")))
		return wr_upload_unexpected(up, line, err);
	return wr_upload_add_want(up, hex, err);
}

static enum wr_code want_ref(struct wr_upload *up, struct wr_str name, struct wr_error *err)
{
	if (up->wants.len + up->want_refs.len >= up->limits.max_wants)
		return wr_upload_too_many(up, up->limits.max_wants, "wants", "max_wants", err);
	return wr_upload_add_name(&up->want_refs, name, err);
}

static enum wr_code fetch_line(struct wr_upload *up, struct wr_str line, struct wr_error *err)
{
	static const struct flag flags[] = {
		{"done", offsetof(struct wr_upload, done)},
		{"thin-pack", offsetof(struct wr_upload, thin)},
		{"ofs-delta", offsetof(struct wr_upload, ofs_delta)},
		{"include-tag", offsetof(struct wr_upload, include_tag)},
		{"no-progress", offsetof(struct wr_upload, no_progress)},
		{"wait-for-done", offsetof(struct wr_upload, wait_for_done)},
		{"deepen-relative", offsetof(struct wr_upload, deepen_relative)},
		{"sideband-all", offsetof(struct wr_upload, sideband_all)},
	};
	struct wr_str arg;
	enum wr_code code;
	bool taken;

	if (wr_upload_after(&arg, line, WR_S("want ")))
		return wr_upload_add_want(up, arg, err);
	if (wr_upload_after(&arg, line, WR_S("want-ref ")))
		return want_ref(up, arg, err);
	if (wr_upload_after(&arg, line, WR_S("have ")))
		return wr_upload_add_have(up, arg, err);
	if ((code = flag_line(&taken, up, flags, WR_ARRAY_LEN(flags), line, err)) != WR_OK || taken ||
	    (code = wr_upload_common_line(&taken, up, line, err)) != WR_OK || taken)
		return code;
	if (wr_upload_after(&arg, line, WR_S("packfile-uris ")))
		return wr_upload_deny(up, err, "upload-pack: this server does not announce packfile-uris and has none");
	return wr_upload_unexpected(up, line, err);
}

static const struct command {
	const char *name;
	enum wr_upload_kind kind;
	enum wr_code (*line)(struct wr_upload *up, struct wr_str line, struct wr_error *err);
} commands[] = {
	{"ls-refs", WR_UPLOAD_LS_REFS, ls_refs_line},
	{"fetch", WR_UPLOAD_FETCH, fetch_line},
	{"object-info", WR_UPLOAD_OBJECT_INFO, info_line},
};

static enum wr_code command_line(const struct command **out, struct wr_upload *up, struct wr_str name,
				 struct wr_error *err)
{
	char text[101];

	if (*out)
		return wr_fail(err, WR_E_INVALID_REQUEST, "A request holds one command");
	for (size_t i = 0; i < WR_ARRAY_LEN(commands); i++) {
		if (wr_str_eqz(name, commands[i].name)) {
			*out = &commands[i];
			return WR_OK;
		}
	}
	return wr_upload_deny(up, err, "upload-pack: this server does not announce the command '%s'",
			      wr_upload_quote(text, name));
}

/* A line before the delimiter: the command, or a capability, of which a client may only send what was announced. */
static enum wr_code head_line(const struct command **command, struct wr_upload *up, struct wr_str line,
			      struct wr_error *err)
{
	static const char *const known[] = {"agent", "server-option"};
	const char *equals = memchr(line.ptr, '=', line.len);
	struct wr_str key = wr_str_n(line.ptr, equals ? (size_t)(equals - line.ptr) : line.len);
	struct wr_str value = wr_str_skip(line, key.len + (equals ? 1 : 0));
	char text[101];
	enum wr_code code = wr_upload_count(up, line, err);

	if (code != WR_OK)
		return code;
	if (wr_str_eqz(key, "command") && equals)
		return command_line(command, up, value, err);
	if (wr_str_eqz(key, "object-format"))
		return wr_upload_format(up, value, err);
	for (size_t i = 0; i < WR_ARRAY_LEN(known); i++) {
		if (wr_str_eqz(key, known[i]))
			return WR_OK;
	}
	return wr_upload_deny(up, err, "upload-pack: this server does not announce the capability '%s'",
			      wr_upload_quote(text, key));
}

/* All lines up to the flush. *empty: there was nothing before it. */
static enum wr_code lines(const struct command **command, bool *empty, struct wr_upload *up, struct wr_str *body,
			  struct wr_error *err)
{
	bool args = false;

	*empty = true;
	for (;; *empty = false) {
		struct wr_pkt pkt;
		enum wr_code code = wr_pkt_next(&pkt, body, err);

		if (code != WR_OK)
			return code;
		if (pkt.kind == WR_PKT_FLUSH || (pkt.kind == WR_PKT_EOF && *empty))
			return WR_OK;
		if (pkt.kind == WR_PKT_DELIM && !args) {
			if (!*command)
				break;
			args = true;
			continue;
		}
		if (pkt.kind != WR_PKT_LINE)
			return wr_fail(err, WR_E_INVALID_REQUEST, "The request does not end with a flush");
		code = args ? (*command)->line(up, wr_pkt_text(&pkt), err)
			    : head_line(command, up, wr_pkt_text(&pkt), err);
		if (code != WR_OK)
			return code;
	}
	return wr_fail(err, WR_E_INVALID_REQUEST, "The request names no command");
}

enum wr_code wr_upload_parse_v2(struct wr_upload *up, struct wr_str body, struct wr_error *err)
{
	const struct command *command = NULL;
	enum wr_code code;
	bool empty;

	up->bands = WR_BAND_LARGE;
	up->may_filter = true;
	if ((code = lines(&command, &empty, up, &body, err)) != WR_OK)
		return code;
	if (!empty && !command)
		return wr_fail(err, WR_E_INVALID_REQUEST, "The request names no command");
	if (command)
		up->kind = command->kind;
	if (up->prefixes.len == 0)
		up->all_refs = true;
	return (code = wr_upload_check(up, err)) != WR_OK ? code : wr_upload_end(body, err);
}
