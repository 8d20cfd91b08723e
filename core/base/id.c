#include "core/base/id.h"

#include <stdlib.h>
#include <time.h>

#include <openssl/rand.h>

void wr_random_bytes(void *out, size_t n)
{
	unsigned char *p = out;

	while (n > 0) {
		int step = n > 4096 ? 4096 : (int)n;

		if (RAND_bytes(p, step) != 1)
			abort();
		p += step;
		n -= (size_t)step;
	}
}

void wr_hex(char *out, const void *bytes, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *p = bytes;

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[p[i] >> 4];
		out[2 * i + 1] = digits[p[i] & 15];
	}
	out[2 * n] = '\0';
}

int wr_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool wr_unhex(void *out, size_t n, struct wr_str s)
{
	unsigned char *p = out;

	if (s.len != 2 * n)
		return false;
	for (size_t i = 0; i < n; i++) {
		int hi = wr_hex_digit(s.ptr[2 * i]), lo = wr_hex_digit(s.ptr[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		p[i] = (unsigned char)(hi << 4 | lo);
	}
	return true;
}

static void uuid_text(char out[WR_UUID_LEN + 1], unsigned char b[16], unsigned version)
{
	char hex[33];
	size_t o = 0;

	b[6] = (unsigned char)((b[6] & 0x0f) | version << 4);
	b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
	wr_hex(hex, b, 16);
	for (size_t i = 0; i < 32; i++) {
		if (i == 8 || i == 12 || i == 16 || i == 20)
			out[o++] = '-';
		out[o++] = hex[i];
	}
	out[o] = '\0';
}

void wr_uuid_new(char out[WR_UUID_LEN + 1])
{
	unsigned char b[16];

	wr_random_bytes(b, sizeof b);
	uuid_text(out, b, 4);
}

void wr_uuid_ordered(char out[WR_UUID_LEN + 1])
{
	unsigned char b[16];
	struct timespec now;
	uint64_t ms;
	unsigned part; /* of the millisecond, in 4096ths */

	wr_random_bytes(b, sizeof b);
	clock_gettime(CLOCK_REALTIME, &now);
	ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	part = (unsigned)(now.tv_nsec % 1000000 * 4096 / 1000000);
	for (int i = 0; i < 6; i++)
		b[i] = (unsigned char)(ms >> (40 - 8 * i));
	b[6] = (unsigned char)(part >> 8);
	b[7] = (unsigned char)part;
	uuid_text(out, b, 7);
}

bool wr_uuid_parse(struct wr_str s, char out[WR_UUID_LEN + 1])
{
	char lowered[WR_UUID_LEN + 1];

	if (s.len != WR_UUID_LEN)
		return false;
	for (size_t i = 0; i < WR_UUID_LEN; i++) {
		char c = s.ptr[i];

		if (i == 8 || i == 13 || i == 18 || i == 23) {
			if (c != '-')
				return false;
		} else if (wr_hex_digit(c) < 0) {
			return false;
		}
		lowered[i] = (char)(c >= 'A' && c <= 'F' ? c | 0x20 : c);
	}
	lowered[WR_UUID_LEN] = '\0';
	memcpy(out, lowered, sizeof lowered);
	return true;
}

void wr_random_text(char *out, size_t n)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	size_t o = 0;

	while (o < n) {
		unsigned char b[64];

		wr_random_bytes(b, sizeof b);
		/* 248 = 4 * 62: larger bytes are thrown away, so that every character is equally likely. */
		for (size_t i = 0; i < sizeof b && o < n; i++)
			if (b[i] < 248)
				out[o++] = alphabet[b[i] % 62];
	}
	out[n] = '\0';
}

void wr_trace_new(char out[WR_TRACE_LEN + 1])
{
	static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz235678";
	/* A trace is no secret, so a thread may fetch the bytes of many at once. */
	static _Thread_local unsigned char pool[64 * WR_TRACE_LEN];
	static _Thread_local size_t left;

	if (left == 0) {
		wr_random_bytes(pool, sizeof pool);
		left = sizeof pool;
	}
	left -= WR_TRACE_LEN;
	for (size_t i = 0; i < WR_TRACE_LEN; i++)
		out[i] = alphabet[pool[left + i] & 31];
	out[WR_TRACE_LEN] = '\0';
}
