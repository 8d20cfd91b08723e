#include "core/base/json.h"

#include <stdio.h>

#include "core/base/base64.h"

static void comma(struct wr_buf *b)
{
	char last = b->len ? b->ptr[b->len - 1] : '{';

	if (last != '{' && last != '[')
		wr_buf_addc(b, ',');
}

void wr_json_key(struct wr_buf *b, const char *key)
{
	size_t n = strlen(key);
	char *p;

	comma(b);
	p = wr_buf_room(b, n + 3);
	if (!p)
		return;
	p[0] = '"';
	memcpy(p + 1, key, n);
	memcpy(p + 1 + n, "\":", 2);
	b->len += n + 3;
}

void wr_json_item(struct wr_buf *b)
{
	comma(b);
}

static const char *escape(char room[8], unsigned char c)
{
	switch (c) {
	case '"':
		return "\\\"";
	case '\\':
		return "\\\\";
	case '\b':
		return "\\b";
	case '\f':
		return "\\f";
	case '\n':
		return "\\n";
	case '\r':
		return "\\r";
	case '\t':
		return "\\t";
	default:
		snprintf(room, 8, "\\u%04X", c);
		return room;
	}
}

static bool is_plain(unsigned char c)
{
	return c >= ' ' && c != '"' && c != '\\';
}

/* UTF-8. */
static void add_text(struct wr_buf *b, struct wr_str s)
{
	size_t done = 0;

	for (size_t i = 0; i < s.len; i++) {
		char room[8];

		if (is_plain((unsigned char)s.ptr[i]))
			continue;
		wr_buf_add(b, s.ptr + done, i - done);
		wr_buf_addz(b, escape(room, (unsigned char)s.ptr[i]));
		done = i + 1;
	}
	wr_buf_adds(b, wr_str_skip(s, done));
}

void wr_json_text(struct wr_buf *b, struct wr_str s)
{
	wr_buf_addc(b, '"');
	if (wr_str_utf8(s)) {
		add_text(b, s);
	} else {
		WR_AUTO_S(wr_buf) mended = WR_BUF_INIT(SIZE_MAX / 2);

		wr_buf_add_utf8(&mended, s);
		add_text(b, wr_buf_str(&mended));
		b->failed |= !wr_buf_ok(&mended);
	}
	wr_buf_addc(b, '"');
}

void wr_json_int(struct wr_buf *b, int64_t n)
{
	char digits[24], *p = digits + sizeof digits;
	uint64_t v = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;

	do
		*--p = (char)('0' + v % 10);
	while ((v /= 10) > 0);
	if (n < 0)
		*--p = '-';
	wr_buf_add(b, p, (size_t)(digits + sizeof digits - p));
}

void wr_json_member(struct wr_buf *b, const char *key, struct wr_str text)
{
	wr_json_key(b, key);
	wr_json_text(b, text);
}

void wr_json_base64(struct wr_buf *b, const char *key, struct wr_str bytes)
{
	wr_json_key(b, key);
	wr_buf_addc(b, '"');
	wr_base64_add(b, bytes);
	wr_buf_addc(b, '"');
}

void wr_json_bytes(struct wr_buf *b, const char *key, struct wr_str bytes)
{
	char name[64];

	wr_json_member(b, key, bytes);
	if (wr_str_utf8(bytes))
		return;
	snprintf(name, sizeof name, "%sBase64", key);
	wr_json_base64(b, name, bytes);
}
