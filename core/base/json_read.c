#include "core/base/json_read.h"

#include <stdio.h>

#include "core/base/id.h"

/* What Jansson 2.14 takes on a 64-bit machine, the growth of its tables included. */
#define COST_OBJECT 280
#define COST_ARRAY 180
#define COST_MEMBER 70 /* and its key's string */
#define COST_ITEM 60
#define COST_STRING 80 /* and its bytes */

void wr_json_look_fini(struct wr_json_look *look)
{
	free(look->longs);
	look->longs = NULL;
	look->kept = look->cap = 0;
}

/* Where the byte at `at` stands. Columns are counted as Jansson does, in characters. */
static enum wr_code wrong_at(const struct wr_json_look *look, size_t at, const char *what, struct wr_error *err)
{
	size_t line = 1, column = 0;

	for (size_t i = 0; i < at && i < look->len; i++) {
		unsigned char c = (unsigned char)look->text[i];

		line += c == '\n';
		column = c == '\n' ? 0 : column + ((c & 0xc0) != 0x80);
	}
	return wr_fail(err, WR_E_INVALID_REQUEST, "The body %s (line %zu, column %zu)", what, line, column);
}

/* ---- strings ---- */

/* The value of \uXXXX at p, or -1. */
static int unit(const char *p, const char *end)
{
	int value = 0;

	if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
		return -1;
	for (int i = 2; i < 6; i++) {
		int digit = wr_hex_digit(p[i]);

		if (digit < 0)
			return -1;
		value = value << 4 | digit;
	}
	return value;
}

/* The character that the escape at *p stands for; *p moves behind it. -1: it is none. */
static int escape(const char **p, const char *end)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *found;
	int c, low;

	if (end - *p < 2)
		return -1;
	if ((*p)[1] != 'u') {
		found = memchr(from, (*p)[1], sizeof from - 1);
		*p += 2;
		return found ? to[found - from] : -1;
	}
	c = unit(*p, end);
	*p += 6;
	if (c < 0xd800 || c > 0xdfff)
		return c;
	low = c < 0xdc00 ? unit(*p, end) : -1;
	*p += 6;
	return low >= 0xdc00 && low <= 0xdfff ? 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00) : -1;
}

static bool string_ok(struct wr_str s)
{
	const char *p = s.ptr, *end = p + s.len;

	while (p < end) {
		if ((unsigned char)*p < ' ')
			return false;
		if (*p != '\\')
			p++;
		else if (escape(&p, end) < 0)
			return false;
	}
	return wr_str_utf8(s);
}

static char *put_utf8(char *out, unsigned c)
{
	if (c < 0x80) {
		*out++ = (char)c;
		return out;
	}
	if (c < 0x800) {
		*out++ = (char)(0xc0 | c >> 6);
	} else {
		if (c < 0x10000) {
			*out++ = (char)(0xe0 | c >> 12);
		} else {
			*out++ = (char)(0xf0 | c >> 18);
			*out++ = (char)(0x80 | (c >> 12 & 0x3f));
		}
		*out++ = (char)(0x80 | (c >> 6 & 0x3f));
	}
	*out++ = (char)(0x80 | (c & 0x3f));
	return out;
}

/* In place: what an escape stands for is never longer than it. The string is a sound one. */
static struct wr_str unescape(char *text, size_t len)
{
	const char *p = text, *end = text + len;
	char *out = text;

	while (p < end) {
		const char *next = memchr(p, '\\', (size_t)(end - p));
		size_t n = (size_t)((next ? next : end) - p);

		memmove(out, p, n);
		out += n;
		p += n;
		if (p < end)
			out = put_utf8(out, (unsigned)escape(&p, end));
	}
	return wr_str_n(text, (size_t)(out - text));
}

/* ---- looking ---- */

struct scan {
	struct wr_json_look *look;
	size_t at, depth;
	struct wr_str key; /* the last string */
	char before;	   /* the last character that is no space and in no string; '"' for a string */
	char second;	   /* the container within the outermost: '[' or '{' */
};

static bool keep(struct wr_json_look *look, struct wr_str s)
{
	if (look->kept == look->cap) {
		size_t cap = look->cap ? look->cap * 2 : 16;
		struct wr_str *v = reallocarray(look->longs, cap, sizeof *v);

		if (!v)
			return false;
		look->longs = v;
		look->cap = cap;
	}
	look->longs[look->kept++] = s;
	look->cost += sizeof s * 2 + 2 * COST_STRING;
	return true;
}

static bool scan_string(struct scan *s)
{
	struct wr_json_look *look = s->look;
	size_t from = ++s->at;
	struct wr_str text;

	while (s->at < look->len && look->text[s->at] != '"')
		s->at += look->text[s->at] == '\\' ? 2 : 1;
	if (s->at > look->len)
		s->at = look->len;
	text = wr_str_n(look->text + from, s->at - from);
	if (text.len >= WR_JSON_LONG && s->before == ':' && wr_str_eqz(s->key, "content") && s->depth == 3 &&
	    s->second == '[' && s->at < look->len && string_ok(text))
		return keep(look, text);
	/* While it is read Jansson has it twice, once in a buffer that doubles. */
	look->cost += COST_STRING + text.len + (text.len >= WR_JSON_LONG ? 2 * text.len : 0);
	s->key = text;
	return true;
}

static uint64_t cost_of(char c)
{
	switch (c) {
	case '{':
		return COST_OBJECT + COST_ITEM;
	case '[':
		return COST_ARRAY + COST_ITEM;
	case ':':
		return COST_MEMBER;
	case ',':
		return COST_ITEM;
	default:
		return 0;
	}
}

enum wr_code wr_json_look(struct wr_json_look *out, char *text, size_t len, struct wr_error *err)
{
	struct scan s = {.look = out, .key = {NULL, 0}};

	*out = (struct wr_json_look){.text = text, .len = len};
	for (; s.at < len; s.at++) {
		char c = text[s.at];

		if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
			continue;
		if (c == '"' && !scan_string(&s))
			return wr_fail_nomem(err);
		if ((c == '{' || c == '[') && ++s.depth > WR_JSON_DEPTH)
			return wrong_at(out, s.at, "is nested too deeply", err);
		if ((c == '{' || c == '[') && s.depth == 2)
			s.second = c;
		if ((c == '}' || c == ']') && s.depth > 0)
			s.depth--;
		out->cost += cost_of(c);
		s.before = c;
	}
	return WR_OK;
}

/* ---- reading ---- */

/* What Jansson is given: the text, with a mark for each string that stays in it. */
struct feed {
	const struct wr_json_look *look;
	size_t at, next; /* in the text, of longs */
	char mark[WR_JSON_MARK + 24];
	struct wr_str rest; /* of the mark that is being given */
};

static size_t give(void *buffer, size_t room, void *arg)
{
	struct feed *f = arg;
	const struct wr_json_look *look = f->look;
	size_t end = f->next < look->kept ? (size_t)(look->longs[f->next].ptr - look->text) : look->len;
	size_t n;

	if (f->rest.len == 0 && f->at == end && f->next < look->kept) {
		snprintf(f->mark, sizeof f->mark, "%s:%zu", look->mark, f->next);
		f->rest = wr_str(f->mark);
		f->at += look->longs[f->next++].len;
	}
	if (f->rest.len > 0) {
		n = f->rest.len < room ? f->rest.len : room;
		memcpy(buffer, f->rest.ptr, n);
		f->rest = wr_str_skip(f->rest, n);
		return n;
	}
	n = end - f->at < room ? end - f->at : room;
	memcpy(buffer, look->text + f->at, n);
	f->at += n;
	return n;
}

/* The place in the text of a byte that Jansson was given. */
static size_t place_of(const struct wr_json_look *look, size_t given)
{
	char mark[WR_JSON_MARK + 24];
	size_t more = 0;

	for (size_t i = 0; i < look->kept; i++) {
		size_t n = (size_t)snprintf(mark, sizeof mark, "%s:%zu", look->mark, i);
		size_t from = (size_t)(look->longs[i].ptr - look->text);

		if (given + more < from + n)
			break;
		more += look->longs[i].len - n;
	}
	return given + more;
}

enum wr_code wr_json_read(json_t **out, struct wr_json_look *look, struct wr_error *err)
{
	struct feed feed = {.look = look, .rest = {NULL, 0}};
	json_error_t where;
	json_t *value;

	if (look->kept)
		wr_random_text(look->mark, WR_JSON_MARK);
	value = json_load_callback(give, &feed, JSON_ALLOW_NUL, &where);
	if (!value && json_error_code(&where) == json_error_out_of_memory)
		return wr_fail_nomem(err);
	if (!value && look->kept)
		return wrong_at(look, place_of(look, (size_t)where.position), "is not valid JSON", err);
	if (!value)
		return wr_fail(err, WR_E_INVALID_REQUEST, "The body is not valid JSON (line %d, column %d)", where.line,
			       where.column);
	for (size_t i = 0; i < look->kept; i++)
		look->longs[i] = unescape(look->text + (look->longs[i].ptr - look->text), look->longs[i].len);
	*out = value;
	return WR_OK;
}

struct wr_str wr_json_content(const struct wr_json_look *look, struct wr_str value)
{
	uint64_t i;

	if (look->kept && wr_str_starts(value, wr_str_n(look->mark, WR_JSON_MARK)) &&
	    wr_str_u64(wr_str_skip(value, WR_JSON_MARK + 1), look->kept - 1, &i))
		return look->longs[i];
	return value;
}
