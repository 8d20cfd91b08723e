#include "server/http/url.h"

#include "core/base/id.h"

/* Decodes s to *at, which moves on. False for an escape that is none or means NUL. */
static bool decode(struct wr_str *out, char **at, struct wr_str s, bool form)
{
	char *begin = *at, *p = begin;

	for (size_t i = 0; i < s.len; i++) {
		int high, low;

		if (form && s.ptr[i] == '+') {
			*p++ = ' ';
			continue;
		}
		if (s.ptr[i] != '%') {
			*p++ = s.ptr[i];
			continue;
		}
		if (s.len - i < 3 || (high = wr_hex_digit(s.ptr[i + 1])) < 0 || (low = wr_hex_digit(s.ptr[i + 2])) < 0 ||
		    (high == 0 && low == 0))
			return false;
		*p++ = (char)(high << 4 | low);
		i += 2;
	}
	*at = p;
	*out = wr_str_n(begin, (size_t)(p - begin));
	return true;
}

/* What stands before the next c, and moves *rest behind it. False when there is nothing left. */
static bool next_part(struct wr_str *part, struct wr_str *rest, char c, bool *more)
{
	const char *end;

	if (!*more)
		return false;
	end = rest->len ? memchr(rest->ptr, c, rest->len) : NULL;
	*more = end != NULL;
	*part = wr_str_n(rest->ptr, end ? (size_t)(end - rest->ptr) : rest->len);
	*rest = wr_str_skip(*rest, part->len + (end ? 1 : 0));
	return true;
}

static size_t count(struct wr_str s, char c)
{
	size_t n = 0;

	for (size_t i = 0; i < s.len; i++)
		n += s.ptr[i] == c;
	return n;
}

static bool split_path(struct wr_url *url, char **at)
{
	struct wr_str part, rest = wr_str_skip(url->path, 1);
	bool more = true;

	while (next_part(&part, &rest, '/', &more))
		if (!decode(&url->segments[url->n_segments++], at, part, false))
			return false;
	return true;
}

static bool split_query(struct wr_url *url, char **at, struct wr_str query)
{
	struct wr_str part, rest = query;
	bool more = query.len > 0;

	while (next_part(&part, &rest, '&', &more)) {
		const char *eq = part.len ? memchr(part.ptr, '=', part.len) : NULL;
		size_t n = eq ? (size_t)(eq - part.ptr) : part.len;
		struct wr_url_pair *pair = &url->pairs[url->n_pairs];

		if (part.len == 0)
			continue;
		if (!decode(&pair->name, at, wr_str_n(part.ptr, n), true) ||
		    !decode(&pair->value, at, wr_str_skip(part, n + (eq ? 1 : 0)), true))
			return false;
		url->n_pairs++;
	}
	return true;
}

/* Passes over "http://authority" (RFC 9112 section 3.2.2: a server must take this form too). */
static struct wr_str origin_form(struct wr_str target)
{
	size_t i = wr_str_starts(target, WR_S("http://")) ? 7 : wr_str_starts(target, WR_S("https://")) ? 8 : 0;

	if (i == 0)
		return target;
	while (i < target.len && target.ptr[i] != '/' && target.ptr[i] != '?')
		i++;
	return wr_str_skip(target, i);
}

static bool clean(struct wr_str s)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.ptr[i];

		if (c <= ' ' || c == 0x7f || c == '#')
			return false;
	}
	return true;
}

enum wr_code wr_url_parse(struct wr_url *out, struct wr_str target, struct wr_error *err)
{
	WR_AUTO_S(wr_url) url = {.memory = NULL};
	struct wr_str rest, query = {"", 0};
	const char *mark;
	char *at, *copy;
	size_t n_segments, n_pairs;

	if (target.len > WR_URL_MAX)
		return wr_fail(err, WR_E_INVALID_REQUEST, "The URL is longer than %zu bytes", WR_URL_MAX);
	rest = origin_form(target);
	if (!clean(rest))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The URL has characters that have to be percent-encoded");
	if (rest.len == 0 || rest.ptr[0] != '/')
		return wr_fail(err, WR_E_INVALID_REQUEST, "The URL's path has to begin with a slash");
	mark = memchr(rest.ptr, '?', rest.len);
	if (mark)
		query = wr_str_skip(rest, (size_t)(mark - rest.ptr) + 1);
	n_segments = count(rest, '/');
	n_pairs = count(query, '&') + 1;
	/* One block: the arrays, the path as sent, then all decoded text, which is never longer than what it came from.
	 */
	url.memory = malloc(n_segments * sizeof *url.segments + n_pairs * sizeof *url.pairs + 2 * rest.len);
	if (!url.memory)
		return wr_fail_nomem(err);
	url.segments = url.memory;
	url.pairs = (struct wr_url_pair *)(url.segments + n_segments);
	copy = (char *)(url.pairs + n_pairs);
	url.path = wr_str_n(copy, mark ? (size_t)(mark - rest.ptr) : rest.len);
	memcpy(copy, rest.ptr, url.path.len);
	at = copy + url.path.len;
	if (!split_path(&url, &at) || !split_query(&url, &at, query))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The URL has a percent-escape that is not valid");
	*out = url;
	url.memory = NULL;
	return WR_OK;
}

void wr_url_fini(struct wr_url *url)
{
	free(url->memory);
	url->memory = NULL;
	url->n_segments = url->n_pairs = 0;
}
