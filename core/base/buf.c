#include "core/base/buf.h"

#include <stdarg.h>
#include <stdio.h>

void wr_buf_fini(struct wr_buf *b)
{
	free(b->ptr);
	b->ptr = NULL;
	b->len = b->cap = 0;
}

char *wr_buf_room(struct wr_buf *b, size_t n)
{
	if (b->failed)
		return NULL;
	if (n > b->max || b->len > b->max - n) {
		b->failed = true;
		return NULL;
	}
	if (b->len + n + 1 > b->cap) {
		size_t cap = b->cap ? b->cap : 64;
		char *p;

		while (cap < b->len + n + 1)
			cap = cap > SIZE_MAX / 2 ? b->len + n + 1 : cap * 2;
		if (cap > b->max + 1)
			cap = b->max + 1;
		p = realloc(b->ptr, cap);
		if (!p) {
			b->failed = true;
			return NULL;
		}
		b->ptr = p;
		b->cap = cap;
	}
	b->ptr[b->len + n] = '\0';
	return b->ptr + b->len;
}

void wr_buf_add(struct wr_buf *b, const void *data, size_t len)
{
	char *p = wr_buf_room(b, len);

	if (!p)
		return;
	if (len)
		memcpy(p, data, len);
	b->len += len;
}

void wr_buf_adds(struct wr_buf *b, struct wr_str s)
{
	wr_buf_add(b, s.ptr, s.len);
}

void wr_buf_addz(struct wr_buf *b, const char *z)
{
	wr_buf_add(b, z, strlen(z));
}

void wr_buf_addc(struct wr_buf *b, char c)
{
	wr_buf_add(b, &c, 1);
}

void wr_buf_add_utf8(struct wr_buf *b, struct wr_str s)
{
	size_t i = 0;

	while (i < s.len) {
		size_t n = 1;

		/* The longest well-formed sequence that begins here has at most four bytes. */
		while (n < 4 && i + n < s.len && !wr_str_utf8(wr_str_n(s.ptr + i, n)))
			n++;
		if (wr_str_utf8(wr_str_n(s.ptr + i, n))) {
			wr_buf_add(b, s.ptr + i, n);
			i += n;
		} else {
			wr_buf_addz(b, "\xef\xbf\xbd");
			i++;
		}
	}
}

void wr_buf_printf(struct wr_buf *b, const char *fmt, ...)
{
	va_list ap, again;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0) {
		b->failed = true;
	} else {
		char *p = wr_buf_room(b, (size_t)n);

		if (p) {
			vsnprintf(p, (size_t)n + 1, fmt, again);
			b->len += (size_t)n;
		}
	}
	va_end(again);
}

void wr_buf_consume(struct wr_buf *b, size_t n)
{
	if (n >= b->len) {
		b->len = 0;
	} else {
		memmove(b->ptr, b->ptr + n, b->len - n);
		b->len -= n;
	}
	if (b->ptr)
		b->ptr[b->len] = '\0';
}

void wr_buf_clear(struct wr_buf *b)
{
	b->len = 0;
	b->failed = false;
	if (b->ptr)
		b->ptr[0] = '\0';
}

char *wr_buf_take(struct wr_buf *b)
{
	char *p;

	wr_buf_room(b, 0);
	if (b->failed)
		return NULL;
	p = WR_STEAL(b->ptr);
	b->len = b->cap = 0;
	return p;
}
