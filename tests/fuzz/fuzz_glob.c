/*
 * Globs and texts, "GLOB\nTEXT": whatever the bytes, nothing is read beyond them; and short ones match just where
 * another matcher says so, which writes out all alternatives and then tries one way after the other.
 */
#include <assert.h>

#include "core/base/glob.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SHORT 24
#define TOKENS 64

enum kind { ONE, EITHER, STAR, STARS, SEGMENTS, OPEN, COMMA, CLOSE };
struct token {
	enum kind kind;
	struct wr_str text; /* ONE: the character; EITHER: what stands between [ and ] */
};

/* ---- the other matcher ---- */

static struct wr_str first(struct wr_str s)
{
	size_t n = 1;

	while (n < 4 && n < s.len && !wr_str_utf8(wr_str_n(s.ptr, n)))
		n++;
	return wr_str_n(s.ptr, wr_str_utf8(wr_str_n(s.ptr, n)) ? n : 1);
}

static uint32_t value(struct wr_str c)
{
	static const uint32_t masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	uint32_t v = (unsigned char)c.ptr[0];

	if (c.len == 1)
		return v < 0x80 ? v : 0x110000 + v;
	v &= masks[c.len];
	for (size_t i = 1; i < c.len; i++)
		v = v << 6 | ((unsigned char)c.ptr[i] & 0x3f);
	return v;
}

static struct wr_str take(struct wr_str *rest)
{
	struct wr_str c = first(*rest);

	*rest = wr_str_skip(*rest, c.len);
	return c;
}

static bool next_is(struct wr_str rest, char c)
{
	return rest.len && rest.ptr[0] == c;
}

static struct wr_str take_plain(struct wr_str *rest)
{
	if (next_is(*rest, '\\'))
		*rest = wr_str_skip(*rest, 1);
	return take(rest);
}

/* glob compiles. */
static size_t split(struct token out[TOKENS], struct wr_str glob)
{
	size_t n = 0, depth = 0;

	while (glob.len) {
		struct wr_str from = glob, c = take(&glob);
		struct token *t = &out[n++];

		*t = (struct token){ONE, c};
		if (c.ptr[0] == '\\') {
			t->text = take(&glob);
		} else if (c.ptr[0] == '?') {
			*t = (struct token){EITHER, WR_S("!/")};
		} else if (c.ptr[0] == '*') {
			t->kind = next_is(glob, '*') ? STARS : STAR;
			while (next_is(glob, '*'))
				take(&glob);
			if (t->kind == STARS && next_is(glob, '/')) {
				t->kind = SEGMENTS;
				take(&glob);
			}
		} else if (c.ptr[0] == '[') {
			if (next_is(glob, '!') || next_is(glob, '^'))
				take(&glob);
			do
				take_plain(&glob);
			while (!next_is(glob, ']'));
			*t = (struct token){EITHER, wr_str_n(from.ptr + 1, (size_t)(glob.ptr - from.ptr) - 1)};
			take(&glob);
		} else if (c.ptr[0] == '{') {
			t->kind = OPEN;
			depth++;
		} else if (depth && c.ptr[0] == ',') {
			t->kind = COMMA;
		} else if (depth && c.ptr[0] == '}') {
			t->kind = CLOSE;
			depth--;
		}
	}
	return n;
}

static bool either(struct wr_str set, struct wr_str c)
{
	bool negated = next_is(set, '!') || next_is(set, '^'), in = false;

	if (negated)
		take(&set);
	while (set.len) {
		uint32_t from = value(take_plain(&set)), to = from;

		if (set.len > 1 && next_is(set, '-')) {
			take(&set);
			to = value(take_plain(&set));
		}
		in |= value(c) >= from && value(c) <= to;
	}
	return in != negated && c.ptr[0] != '/';
}

/* Without braces. begins: a segment does, here. */
static bool flat(const struct token *t, size_t n, struct wr_str text, bool begins)
{
	struct wr_str rest = text, c;

	if (n == 0)
		return text.len == 0;
	if (t->kind != ONE && t->kind != EITHER && flat(t + 1, n - 1, text, begins) && (t->kind != SEGMENTS || begins))
		return true;
	if (text.len == 0)
		return false;
	c = take(&rest);
	switch (t->kind) {
	case ONE:
		return wr_str_eq(c, t->text) && flat(t + 1, n - 1, rest, c.ptr[0] == '/');
	case EITHER:
		return either(t->text, c) && flat(t + 1, n - 1, rest, c.ptr[0] == '/');
	case STAR:
		return c.ptr[0] != '/' && flat(t, n, rest, false);
	case STARS:
		return flat(t, n, rest, c.ptr[0] == '/');
	default: /* any segments, that is up to any "/" */
		return (c.ptr[0] == '/' && flat(t + 1, n - 1, rest, true)) || flat(t, n, rest, c.ptr[0] == '/');
	}
}

/* The end of the alternative that begins at t[i]: its comma, or its brace. */
static size_t alternative_end(const struct token *t, size_t i)
{
	for (size_t depth = 0; depth || (t[i].kind != COMMA && t[i].kind != CLOSE); i++) {
		depth += t[i].kind == OPEN;
		depth -= t[i].kind == CLOSE;
	}
	return i;
}

/* *budget: so many alternatives are written out; 0: nobody knows. */
static bool reference(const struct token *t, size_t n, struct wr_str text, int *budget)
{
	struct token one[TOKENS];
	size_t open = 0, close;
	bool matches = false;

	while (open < n && t[open].kind != OPEN)
		open++;
	if (*budget == 0 || open == n)
		return *budget && flat(t, n, text, true);
	for (close = alternative_end(t, open + 1); t[close].kind != CLOSE; close = alternative_end(t, close + 1))
		;
	for (size_t from = open + 1, to; from <= close && *budget; from = to + 1) {
		size_t len = (to = alternative_end(t, from)) - from;

		memcpy(one, t, open * sizeof *t);
		memcpy(one + open, t + from, len * sizeof *t);
		memcpy(one + open + len, t + close + 1, (n - close - 1) * sizeof *t);
		*budget -= 1;
		matches |= reference(one, open + len + n - close - 1, text, budget);
	}
	return matches;
}

/* ---- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WR_AUTO(wr_glob) *glob = NULL;
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	const uint8_t *line = size ? memchr(data, '\n', size) : NULL;
	struct wr_str pattern = wr_str_n(data, line ? (size_t)(line - data) : size);
	struct wr_str text = wr_str_skip(wr_str_n(data, size), line ? pattern.len + 1 : size), last = text;
	struct token tokens[TOKENS];
	enum wr_code code = wr_glob_new(&glob, pattern, &err);
	bool matches;
	int budget = 200;

	if (code != WR_OK) {
		assert(code == WR_E_INVALID_REQUEST && err.text[0] && !glob);
		return 0;
	}
	matches = wr_glob_whole(glob, text);
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] == '/')
			last = wr_str_n(text.ptr + i + 1, text.len - i - 1);
	assert(wr_glob_path(glob, text) == wr_glob_whole(glob, memchr(pattern.ptr, '/', pattern.len) ? text : last));
	if (pattern.len > SHORT || text.len > SHORT)
		return 0;
	if (reference(tokens, split(tokens, pattern), text, &budget))
		assert(matches);
	else
		assert(budget == 0 || !matches);
	return 0;
}
