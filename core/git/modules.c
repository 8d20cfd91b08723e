#include "core/git/modules.h"

#include "core/git/gitconfig.h"

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

/* ---- what stands there ---- */

struct look {
	const struct wr_fsck_rules *rules;
	struct wr_fault *fault;
	/* Of the section, whose name may have a million bytes and which may have a million entries. */
	bool ours;
	struct wr_str name, key; /* key: of all its entries; ptr NULL: each has its own */
};

/* What git sees of bytes that it keeps as a string of C. */
static struct wr_str c_string(struct wr_str s)
{
	s.len = find(s, '\0');
	return s;
}

/* Notes a fault with the words that it is about, as far as a terminal and a line of the report take them. */
static bool note(const struct look *l, enum wr_fsck_id id, struct wr_str about)
{
	char *out = l->fault->about;
	size_t n = sizeof l->fault->about - 1;

	if (!wr_fsck_note(l->fault, l->rules, id))
		return false;
	n = about.len < n ? about.len : n;
	for (size_t i = 0; i < n; i++)
		out[i] = (char)(about.ptr[i] >= ' ' && about.ptr[i] <= '~' ? about.ptr[i] : '?');
	out[n] = '\0';
	return true;
}

/* Whose entries these are. A NUL in the section cuts it, and with it the key. */
static void look_at_section(struct look *l, struct wr_str whole)
{
	struct wr_str section = c_string(whole);
	bool cut = section.len < whole.len;
	const char *dot;

	l->key = wr_str_n(NULL, 0);
	l->ours = drop(&section, WR_S("submodule."));
	l->name = section;
	if (!l->ours || !cut)
		return;
	dot = section.len ? memrchr(section.ptr, '.', section.len) : NULL;
	l->ours = dot != NULL;
	if (!dot)
		return;
	l->name.len = (size_t)(dot - section.ptr);
	l->key = wr_str_skip(section, l->name.len + 1);
}

/* Whether a fault was noted. */
static bool look_at(void *arg, const struct wr_gitconfig_entry *e)
{
	struct wr_str key, value;
	struct look *l = arg;

	if (e->first)
		look_at_section(l, e->section);
	if (!l->ours)
		return false;
	if (e->first && !wr_module_name_ok(l->name) && note(l, WR_FSCK_GITMODULES_NAME, l->name))
		return true;
	if (!e->has_value)
		return false;
	key = l->key.ptr ? l->key : e->key;
	value = c_string(e->value);
	if (wr_str_eqz(key, "url"))
		return !wr_module_url_ok(value) && note(l, WR_FSCK_GITMODULES_URL, value);
	if (wr_str_eqz(key, "path"))
		return value.len && value.ptr[0] == '-' && note(l, WR_FSCK_GITMODULES_PATH, value);
	if (wr_str_eqz(key, "update"))
		return value.len && value.ptr[0] == '!' && note(l, WR_FSCK_GITMODULES_UPDATE, value);
	return false;
}

enum wr_code wr_modules_check(struct wr_fault *out, struct wr_str bytes, const struct wr_fsck_rules *rules,
			      struct wr_error *err)
{
	struct look look = {.rules = rules, .fault = out};
	bool whole;

	*out = (struct wr_fault){.id = WR_FSCK_SOUND};
	return wr_gitconfig_read(&whole, bytes, look_at, &look, err);
}
