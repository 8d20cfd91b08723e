#include "core/base/base64.h"

#include <openssl/evp.h>

void wr_base64_add(struct wr_buf *b, struct wr_str bytes)
{
	/* OpenSSL counts in int. The NUL that it puts behind is where the buffer has its own. */
	char *p = bytes.len < INT32_MAX / 2 ? wr_buf_room(b, 4 * (bytes.len / 3 + 1)) : NULL;

	if (p)
		b->len += (size_t)EVP_EncodeBlock((unsigned char *)p, (const unsigned char *)bytes.ptr, (int)bytes.len);
	b->failed |= !p;
}

void wr_base64url_add(struct wr_buf *b, struct wr_str bytes)
{
	size_t from = b->len;

	wr_base64_add(b, bytes);
	if (!wr_buf_ok(b))
		return;
	b->len = from + bytes.len / 3 * 4 + (bytes.len % 3 ? bytes.len % 3 + 1 : 0);
	b->ptr[b->len] = '\0';
	for (size_t i = from; i < b->len; i++)
		b->ptr[i] = (char)(b->ptr[i] == '+' ? '-' : b->ptr[i] == '/' ? '_' : b->ptr[i]);
}

static int digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool wr_base64url_read(void *out, size_t n, struct wr_str text)
{
	unsigned char bytes[1024];
	unsigned bits = 0, held = 0;
	size_t len = 0;

	if (n > sizeof bytes || text.len != n / 3 * 4 + (n % 3 ? n % 3 + 1 : 0))
		return false;
	for (size_t i = 0; i < text.len; i++) {
		int v = digit(text.ptr[i]);

		if (v < 0)
			return false;
		bits = (bits << 6 | (unsigned)v) & 0xffff;
		held += 6;
		if (held >= 8)
			bytes[len++] = (unsigned char)(bits >> (held -= 8));
	}
	if (bits & ((1u << held) - 1))
		return false;
	memcpy(out, bytes, n);
	return true;
}
