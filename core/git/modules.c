#include "core/git/modules.h"

#include "core/base/buf.h"

/* ---- what may stand there ---- */

static bool is_separator(char c)
{
	return c == '/' || c == '\\';
}

bool wr_module_name_ok(struct wr_str name)
{
	size_t from = 0;

	if (name.len == 0)
		return false;
	for (size_t i = 0; i <= name.len; i++) {
		if (i < name.len && !is_separator(name.ptr[i]))
			continue;
		if (i - from == 2 && name.ptr[from] == '.' && name.ptr[from + 1] == '.')
			return false;
		from = i + 1;
	}
	return true;
}

static bool drop(struct wr_str *s, struct wr_str prefix)
{
	if (!wr_str_starts(*s, prefix))
		return false;
	*s = wr_str_skip(*s, prefix.len);
	return true;
}

/*
 * Whether the text has a line end, also as %0a: but not so in front of a colon, which git takes for the end of a
 * protocol and does not decode.
 */
static bool has_newline(struct wr_str s)
{
	const char *colon = s.len ? memchr(s.ptr, ':', s.len) : NULL;
	size_t i = colon ? (size_t)(colon - s.ptr) : 0;

	if (s.len && memchr(s.ptr, '\n', s.len))
		return true;
	for (; i + 2 < s.len; i++)
		if (s.ptr[i] == '%' && s.ptr[i + 1] == '0' && (s.ptr[i + 2] == 'a' || s.ptr[i + 2] == 'A'))
			return true;
	return false;
}

/* "./" or "../" in front; how many dots. */
static size_t dots(struct wr_str s)
{
	size_t n = 0;

	while (n < s.len && s.ptr[n] == '.')
		n++;
	return (n == 1 || n == 2) && n < s.len && is_separator(s.ptr[n]) ? n : 0;
}

/* One that climbs out of the parent's URL could name another host: CVE-2020-11008. */
static bool climbs_to_host(struct wr_str url)
{
	bool up = false;
	size_t n;

	while ((n = dots(url)) > 0) {
		up = up || n == 2;
		url = wr_str_skip(url, n + 1);
	}
	return up && url.len && (url.ptr[0] == ':' || url.ptr[0] == '/');
}

/* What git would hand to its HTTP and FTP client. */
static bool curl_url(struct wr_str *s)
{
	return drop(s, WR_S("http::")) || drop(s, WR_S("https::")) || drop(s, WR_S("ftp::")) ||
	       drop(s, WR_S("ftps::")) || wr_str_starts(*s, WR_S("http://")) || wr_str_starts(*s, WR_S("https://")) ||
	       wr_str_starts(*s, WR_S("ftp://")) || wr_str_starts(*s, WR_S("ftps://"));
}

static size_t find(struct wr_str s, char c)
{
	const char *p = s.len ? memchr(s.ptr, c, s.len) : NULL;

	return p ? (size_t)(p - s.ptr) : s.len;
}

/* "protocol://user:password@host/path": a host, and no line end in any part, which credential helpers would read. */
static bool curl_url_ok(struct wr_str url)
{
	const char *mark = url.len ? memmem(url.ptr, url.len, "://", 3) : NULL;
	struct wr_str s, host, path;
	size_t at, colon, end;

	if (!mark || mark == url.ptr || memchr(url.ptr, '\n', (size_t)(mark - url.ptr)))
		return false;
	s = wr_str_skip(url, (size_t)(mark - url.ptr) + 3);
	at = find(s, '@');
	colon = find(s, ':');
	end = find(s, '/');
	end = find(wr_str_n(s.ptr, end), '?');
	end = find(wr_str_n(s.ptr, end), '#');
	if (at < end) {
		if (colon < at && (has_newline(wr_str_n(s.ptr, colon)) ||
				   has_newline(wr_str_n(s.ptr + colon + 1, at - colon - 1))))
			return false;
		if (colon >= at && has_newline(wr_str_n(s.ptr, at)))
			return false;
		host = wr_str_n(s.ptr + at + 1, end - at - 1);
	} else {
		host = wr_str_n(s.ptr, end);
	}
	path = wr_str_skip(s, end);
	while (path.len && path.ptr[0] == '/')
		path = wr_str_skip(path, 1);
	return host.len > 0 && !has_newline(host) && !has_newline(path);
}

bool wr_module_url_ok(struct wr_str url)
{
	if (url.len && url.ptr[0] == '-')
		return false;
	if (dots(url) || wr_str_starts(url, WR_S("git://")))
		return !has_newline(url) && !climbs_to_host(url);
	return !curl_url(&url) || curl_url_ok(url);
}

/* ---- git's configuration files ---- */

struct reader {
	struct wr_str s;
	size_t pos;
	bool ended;		  /* a line end was made up behind the last byte */
	struct wr_buf section;	  /* "submodule.name": what stands between brackets */
	struct wr_buf key, value; /* of one entry */
	bool has_value;		  /* "key" alone has none */
	bool first;		  /* no entry of the section was looked at yet; else these are known: */
	bool ours;		  /* it is about a submodule, */
	struct wr_str name;	  /* of this name, borrowed from section */
	struct wr_str fixed_key;  /* ptr NULL, or what every entry has for a key */
	const struct wr_fsck_rules *rules;
	struct wr_fault *fault;
};

/* A byte, or "\r\n" as one line end. */
static int next_char(struct reader *r)
{
	unsigned char c;

	if (r->pos == r->s.len) {
		r->ended = true;
		return '\n';
	}
	c = (unsigned char)r->s.ptr[r->pos++];
	if (c == '\r' && r->pos < r->s.len && r->s.ptr[r->pos] == '\n')
		c = (unsigned char)r->s.ptr[r->pos++];
	return c;
}

static bool is_space(int c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_letter(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_key_char(int c)
{
	return is_letter(c) || (c >= '0' && c <= '9') || c == '-';
}

static char lower(int c)
{
	return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

/* What git sees of bytes that it keeps as a string of C. */
static struct wr_str c_string(const struct wr_buf *b)
{
	struct wr_str s = wr_buf_str(b);

	s.len = find(s, '\0');
	return s;
}

/* The rest of [section "subsection"]; c is the space behind the section. */
static bool read_subsection(struct reader *r, int c)
{
	while (is_space(c)) {
		if (c == '\n')
			return false;
		c = next_char(r);
	}
	if (c != '"')
		return false;
	wr_buf_addc(&r->section, '.');
	while ((c = next_char(r)) != '"') {
		if (c == '\n' || (c == '\\' && (c = next_char(r)) == '\n'))
			return false;
		wr_buf_addc(&r->section, (char)c);
	}
	return next_char(r) == ']';
}

/* Behind "[". */
static bool read_section(struct reader *r)
{
	wr_buf_clear(&r->section);
	r->first = true;
	for (;;) {
		int c = next_char(r);

		if (r->ended)
			return false;
		if (c == ']')
			return r->section.len > 0;
		if (is_space(c))
			return read_subsection(r, c);
		if (!is_key_char(c) && c != '.')
			return false;
		wr_buf_addc(&r->section, lower(c));
	}
}

/* A backslash and what follows it. */
static bool read_escape(struct reader *r)
{
	int c = next_char(r);

	switch (c) {
	case '\n':
		return true;
	case 't':
		c = '\t';
		break;
	case 'b':
		c = '\b';
		break;
	case 'n':
		c = '\n';
		break;
	case '\\':
	case '"':
		break;
	default:
		return false;
	}
	wr_buf_addc(&r->value, (char)c);
	return true;
}

/* Behind "=", to the end of the line, or of the lines that backslashes join. */
static bool read_value(struct reader *r)
{
	bool quoted = false, comment = false;
	size_t spaces = 0;

	for (;;) {
		int c = next_char(r);

		if (c == '\n')
			return !quoted;
		if (comment)
			continue;
		if (is_space(c) && !quoted) {
			spaces += r->value.len > 0;
			continue;
		}
		if (!quoted && (c == ';' || c == '#')) {
			comment = true;
			continue;
		}
		for (; spaces > 0; spaces--)
			wr_buf_addc(&r->value, ' ');
		if (c == '"')
			quoted = !quoted;
		else if (c != '\\')
			wr_buf_addc(&r->value, (char)c);
		else if (!read_escape(r))
			return false;
	}
}

/* "key", "key = value"; c is its first letter. */
static bool read_entry(struct reader *r, int c)
{
	wr_buf_clear(&r->key);
	wr_buf_clear(&r->value);
	do {
		wr_buf_addc(&r->key, lower(c));
		c = next_char(r);
	} while (!r->ended && is_key_char(c));
	while (c == ' ' || c == '\t')
		c = next_char(r);
	r->has_value = c == '=';
	return c == '\n' || (r->has_value && read_value(r));
}

/* Notes a fault with the words that it is about, as far as a terminal and a line of the report take them. */
static bool note(struct reader *r, enum wr_fsck_id id, struct wr_str about)
{
	char *out = r->fault->about;
	size_t n = sizeof r->fault->about - 1;

	if (!wr_fsck_note(r->fault, r->rules, id))
		return false;
	n = about.len < n ? about.len : n;
	for (size_t i = 0; i < n; i++)
		out[i] = (char)(about.ptr[i] >= ' ' && about.ptr[i] <= '~' ? about.ptr[i] : '?');
	out[n] = '\0';
	return true;
}

/* What the section is about. A NUL in it cuts it, and with it the keys. */
static void know_section(struct reader *r)
{
	struct wr_str section = c_string(&r->section);
	bool cut = section.len < r->section.len;
	const char *dot;

	r->first = false;
	r->fixed_key = wr_str_n(NULL, 0);
	r->ours = drop(&section, WR_S("submodule."));
	r->name = section;
	if (!r->ours || !cut)
		return;
	dot = section.len ? memrchr(section.ptr, '.', section.len) : NULL;
	r->ours = dot != NULL;
	if (!dot)
		return;
	r->name.len = (size_t)(dot - section.ptr);
	r->fixed_key = wr_str_skip(section, r->name.len + 1);
}

/* Whether a fault was noted. */
static bool look_at(struct reader *r)
{
	struct wr_str key, value = c_string(&r->value);

	/* A section with a long name may have a million entries: its name is looked at once. */
	if (r->first) {
		know_section(r);
		if (r->ours && !wr_module_name_ok(r->name) && note(r, WR_FSCK_GITMODULES_NAME, r->name))
			return true;
	}
	if (!r->ours || !r->has_value)
		return false;
	key = r->fixed_key.ptr ? r->fixed_key : wr_buf_str(&r->key);
	if (wr_str_eqz(key, "url"))
		return !wr_module_url_ok(value) && note(r, WR_FSCK_GITMODULES_URL, value);
	if (wr_str_eqz(key, "path"))
		return value.len && value.ptr[0] == '-' && note(r, WR_FSCK_GITMODULES_PATH, value);
	if (wr_str_eqz(key, "update"))
		return value.len && value.ptr[0] == '!' && note(r, WR_FSCK_GITMODULES_UPDATE, value);
	return false;
}

static bool in_memory(const struct reader *r)
{
	return wr_buf_ok(&r->section) && wr_buf_ok(&r->key) && wr_buf_ok(&r->value);
}

/* To the end, the first fault, or the first byte that cannot be understood. */
static void read_all(struct reader *r)
{
	bool comment = false;

	while (in_memory(r)) {
		int c = next_char(r);

		if (c == '\n' && r->ended)
			return;
		if (c == '\n')
			comment = false;
		if (comment || is_space(c))
			continue;
		if (c == '#' || c == ';')
			comment = true;
		else if (c == '[' ? !read_section(r) : !is_letter(c) || !read_entry(r, c) || look_at(r))
			return;
	}
}

enum wr_code wr_modules_check(struct wr_fault *out, struct wr_str bytes, const struct wr_fsck_rules *rules,
			      struct wr_error *err)
{
	struct reader r = {.s = bytes,
			   .section = WR_BUF_INIT(bytes.len + 1),
			   .key = WR_BUF_INIT(bytes.len + 1),
			   .value = WR_BUF_INIT(bytes.len + 1),
			   .rules = rules,
			   .fault = out};
	bool ok;

	*out = (struct wr_fault){.id = WR_FSCK_SOUND};
	if (wr_str_starts(bytes, WR_S("\xef\xbb\xbf"))) /* Windows editors write this mark */
		r.pos = 3;
	read_all(&r);
	ok = in_memory(&r);
	wr_buf_fini(&r.section);
	wr_buf_fini(&r.key);
	wr_buf_fini(&r.value);
	return ok ? WR_OK : wr_fail_nomem(err);
}
