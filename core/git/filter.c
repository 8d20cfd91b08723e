#include "core/git/filter.h"

#include <stdlib.h>

#include "core/base/cleanup.h"

/* combine: inside combine: inside combine:. Clients nest at most once. */
#define MAX_NESTED 8

struct reading {
	struct wr_filter f;
	unsigned parts;
	struct wr_error *err;
};

static enum wr_code refused(struct wr_error *err)
{
	return wr_fail(err, WR_E_INVALID_REQUEST,
		       "The filter is unknown or malformed: blob:none, blob:limit=<n>[kmg], tree:<depth>, "
		       "object:type=<type> and combine:<filter>+<filter> are served here");
}

static int lower(char c)
{
	return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

/* 16 for what is no digit. */
static unsigned digit(char c)
{
	int at = lower(c);

	if (at >= '0' && at <= '9')
		return (unsigned)(at - '0');
	return at >= 'a' && at <= 'f' ? (unsigned)(at - 'a') + 10 : 16;
}

/* As git's options take numbers: decimal, 0x and hexadecimal, or 0 and octal; then k, m or g may follow. */
static bool number(uint64_t *out, struct wr_str s)
{
	uint64_t n = 0, base = 10;
	unsigned shift = 0;

	switch (s.len ? lower(s.ptr[s.len - 1]) : 0) {
	case 'k':
		shift = 10;
		break;
	case 'm':
		shift = 20;
		break;
	case 'g':
		shift = 30;
		break;
	default:
		break;
	}
	s.len -= shift > 0;
	if (s.len > 1 && s.ptr[0] == '0') {
		base = lower(s.ptr[1]) == 'x' ? 16 : 8;
		s = wr_str_skip(s, base == 16 ? 2 : 1);
	}
	for (size_t i = 0; i < s.len; i++) {
		unsigned d = digit(s.ptr[i]);

		if (d >= base || __builtin_mul_overflow(n, base, &n) || __builtin_add_overflow(n, d, &n))
			return false;
	}
	*out = n << shift;
	return s.len > 0 && n <= UINT64_MAX >> shift;
}

/* A filter that is no combination. */
static enum wr_code simple(struct reading *r, struct wr_str spec)
{
	uint64_t n = 0;

	if (wr_str_starts(spec, WR_S("sparse:")))
		return wr_fail(r->err, WR_E_INVALID_REQUEST,
			       "Filters by sparse patterns are not served here: take blob:none, and git fetches what "
			       "the sparse checkout needs");
	if (++r->parts > WR_FILTER_PARTS)
		return wr_fail(r->err, WR_E_INVALID_REQUEST, "A filter may combine %d others at most", WR_FILTER_PARTS);
	if (wr_str_starts(spec, WR_S("object:type="))) {
		for (enum wr_type type = WR_COMMIT; type <= WR_TAG; type++)
			if (wr_str_eqz(wr_str_skip(spec, 12), wr_type_name(type))) {
				r->f.types &= 1u << type;
				return WR_OK;
			}
		return wr_fail(r->err, WR_E_INVALID_REQUEST,
			       "In object:type=<type> the type is commit, tree, blob or tag");
	}
	if (wr_str_starts(spec, WR_S("tree:"))) {
		if (!number(&n, wr_str_skip(spec, 5)))
			return wr_fail(r->err, WR_E_INVALID_REQUEST, "In tree:<depth> the depth is a number");
		r->f.tree_depth = n < r->f.tree_depth ? n : r->f.tree_depth;
		return WR_OK;
	}
	if (wr_str_starts(spec, WR_S("blob:limit="))) {
		if (!number(&n, wr_str_skip(spec, 11)))
			return wr_fail(r->err, WR_E_INVALID_REQUEST,
				       "In blob:limit=<n> the limit is a number, and k, m or g may follow it");
	} else if (!wr_str_eqz(spec, "blob:none")) {
		return refused(r->err);
	}
	r->f.blob_limit = n < r->f.blob_limit ? n : r->f.blob_limit;
	return WR_OK;
}

/* What git wants encoded inside a combination, beside what is neither a sign nor a letter of ASCII. */
static bool reserved(char c)
{
	static const char signs[] = "~`!@#$^&*()[]{}\\;'\",<>?";

	return c <= ' ' || c > '~' || memchr(signs, c, sizeof signs - 1) != NULL;
}

/* Percent-encoding undone, where it stands. */
static enum wr_code decode(size_t *len, char *part, size_t n, struct wr_error *err)
{
	size_t to = 0;

	for (size_t i = 0; i < n; i++) {
		char c = part[i];

		if (reserved(c))
			return wr_fail(err, WR_E_INVALID_REQUEST,
				       "In combine:<filter>+<filter> each filter is percent-encoded");
		if (c == '%') {
			if (n - i < 3 || digit(part[i + 1]) > 15 || digit(part[i + 2]) > 15)
				return wr_fail(err, WR_E_INVALID_REQUEST,
					       "In a filter two hexadecimal digits follow a percent sign");
			c = (char)(digit(part[i + 1]) << 4 | digit(part[i + 2]));
			i += 2;
		}
		part[to++] = c;
	}
	*len = to;
	return WR_OK;
}

/* The bytes of spec are this call's to change. */
static enum wr_code parse(struct reading *r, char *spec, size_t len, unsigned nested)
{
	static const struct wr_str combine = WR_S("combine:");
	size_t at = combine.len;
	enum wr_code code;

	if (!wr_str_starts(wr_str_n(spec, len), combine))
		return simple(r, wr_str_n(spec, len));
	if (nested == MAX_NESTED)
		return wr_fail(r->err, WR_E_INVALID_REQUEST, "A filter is nested more than %d times", MAX_NESTED);
	for (;;) {
		const char *plus = memchr(spec + at, '+', len - at);
		size_t n = plus ? (size_t)(plus - spec) - at : len - at, plain = 0;

		if ((code = decode(&plain, spec + at, n, r->err)) != WR_OK ||
		    (code = parse(r, spec + at, plain, nested + 1)) != WR_OK || !plus)
			return code;
		at += n + 1;
	}
}

enum wr_code wr_filter_parse(struct wr_filter *out, struct wr_str spec, struct wr_error *err)
{
	struct reading r = {.f = WR_FILTER_INIT, .err = err};
	WR_AUTO_MEM char *copy = malloc(spec.len + 1);
	enum wr_code code;

	if (!copy)
		return wr_fail_nomem(err);
	if (spec.len)
		memcpy(copy, spec.ptr, spec.len);
	if ((code = parse(&r, copy, spec.len, 0)) == WR_OK)
		*out = r.f;
	return code;
}
