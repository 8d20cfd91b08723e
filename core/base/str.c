#include "core/base/str.h"

#include <stdlib.h>

static unsigned char lower(unsigned char c)
{
	return (unsigned char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
}

bool wr_str_caseeq(struct wr_str a, struct wr_str b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (lower((unsigned char)a.ptr[i]) != lower((unsigned char)b.ptr[i]))
			return false;
	return true;
}

bool wr_str_u64(struct wr_str s, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;

	if (s.len == 0)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		unsigned d = (unsigned)(unsigned char)s.ptr[i] - '0';

		if (d > 9 || v > (UINT64_MAX - 9) / 10)
			return false;
		v = v * 10 + d;
		if (v > max)
			return false;
	}
	*out = v;
	return true;
}

size_t wr_str_utf8_first(uint32_t *out, struct wr_str s)
{
	const unsigned char *p = (const unsigned char *)s.ptr;
	unsigned lo = 0x80, hi = 0xbf;
	uint32_t c = p[0];
	size_t len;

	if (c < 0x80) {
		*out = c;
		return 1;
	}
	if (c >= 0xc2 && c <= 0xdf)
		len = 2;
	else if (c >= 0xe0 && c <= 0xef)
		len = 3;
	else if (c >= 0xf0 && c <= 0xf4)
		len = 4;
	else
		return 0;
	/* The first continuation byte carries the bounds that rule out overlong forms, surrogates, > U+10FFFF. */
	if (c == 0xe0)
		lo = 0xa0;
	else if (c == 0xed)
		hi = 0x9f;
	else if (c == 0xf0)
		lo = 0x90;
	else if (c == 0xf4)
		hi = 0x8f;
	if (s.len < len)
		return 0;
	c &= 0xffu >> (len + 1);
	for (size_t i = 1; i < len; i++, lo = 0x80, hi = 0xbf) {
		if (p[i] < lo || p[i] > hi)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	*out = c;
	return len;
}

bool wr_str_utf8(struct wr_str s)
{
	uint32_t c;

	while (s.len) {
		size_t n = (unsigned char)s.ptr[0] < 0x80 ? 1 : wr_str_utf8_first(&c, s);

		if (n == 0)
			return false;
		s = wr_str_skip(s, n);
	}
	return true;
}

char *wr_str_dup(struct wr_str s)
{
	char *z = malloc(s.len + 1);

	if (!z)
		return NULL;
	if (s.len)
		memcpy(z, s.ptr, s.len);
	z[s.len] = '\0';
	return z;
}
