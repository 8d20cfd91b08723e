/*
 * Deltas: what is followed, and what is made. The first byte says which; two bytes for the base's length, the base;
 * then the delta, which a plain reading of the format judges as well, or the text that a delta is to make.
 */
#include <assert.h>

#include "core/base/buf.h"
#include "core/git/delta.h"
#include "core/git/delta_make.h"

#define MAX_RESULT ((uint64_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One byte at a time, as gitformat-pack puts it. False: git would refuse it. */
struct plain {
	struct wr_str in;
	bool bad;
};

static uint8_t byte(struct plain *p)
{
	uint8_t c;

	if (p->in.len == 0) {
		p->bad = true;
		return 0;
	}
	c = (uint8_t)p->in.ptr[0];
	p->in = wr_str_skip(p->in, 1);
	return c;
}

static unsigned __int128 number(struct plain *p)
{
	unsigned __int128 v = 0;
	unsigned shift = 0;
	uint8_t c;

	do {
		c = byte(p);
		if (shift < 100)
			v |= (unsigned __int128)(c & 0x7f) << shift;
		else if (c & 0x7f)
			p->bad = true;
		shift += 7;
	} while (c & 0x80 && !p->bad);
	return v;
}

/* Fills out, as long as that does not get longer than what is allowed. */
static bool follow(struct wr_buf *out, uint64_t *size, struct wr_str base, struct wr_str delta)
{
	struct plain p = {delta, delta.len < 4};
	unsigned __int128 base_size = number(&p), result = number(&p), made = 0;

	if (p.bad || base_size != base.len)
		return false;
	while (p.in.len > 0) {
		uint8_t op = byte(&p);
		uint64_t offset = 0, len = 0;

		if (op == 0)
			return false;
		if (op & 0x80) {
			for (unsigned i = 0; i < 4; i++)
				if (op >> i & 1)
					offset |= (uint64_t)byte(&p) << (8 * i);
			for (unsigned i = 0; i < 3; i++)
				if (op >> (4 + i) & 1)
					len |= (uint64_t)byte(&p) << (8 * i);
			len = len ? len : 0x10000;
			if (p.bad || offset + len > base.len)
				return false;
			if (made + len <= MAX_RESULT)
				wr_buf_add(out, base.ptr + offset, (size_t)len);
			made += len;
			continue;
		}
		for (; op > 0; op--, made++) {
			uint8_t c = byte(&p);

			if (made < MAX_RESULT)
				wr_buf_addc(out, (char)c);
		}
	}
	if (p.bad || made != result)
		return false;
	*size = (uint64_t)made;
	return true;
}

static void judge(struct wr_str base, struct wr_str delta)
{
	WR_AUTO_S(wr_buf) should = WR_BUF_INIT((size_t)MAX_RESULT + 1);
	WR_AUTO_MEM uint8_t *out = NULL;
	uint64_t base_size, size, plain_size = 0;
	struct wr_str body;
	bool ok = wr_delta_sizes(&base_size, &size, &body, delta) && base_size == base.len &&
		  wr_delta_ok(body, base_size, size);
	bool fine = follow(&should, &plain_size, base, delta);

	/* Numbers are refused that are spelled in more bytes than any has. */
	assert(ok == fine || (fine && !ok && delta.len > 10));
	if (!ok || size > MAX_RESULT)
		return;
	assert(size == plain_size && size == should.len);
	out = malloc((size_t)size + 1);
	if (!out)
		abort();
	wr_delta_apply(out, (const uint8_t *)base.ptr, body);
	assert(size == 0 || memcmp(out, should.ptr, (size_t)size) == 0);
}

static void make(struct wr_str base, struct wr_str target)
{
	WR_AUTO_S(wr_buf) made = WR_BUF_INIT((size_t)MAX_RESULT + 1);
	WR_AUTO_MEM uint8_t *delta = NULL;
	uint64_t size;
	size_t len;
	enum wr_code code = wr_delta_make(&delta, &len, base, target, SIZE_MAX, NULL);

	if (code != WR_OK) {
		assert(code == WR_E_NOT_THERE && (base.len == 0 || target.len == 0));
		return;
	}
	if (!follow(&made, &size, base, wr_str_n(delta, len)))
		abort();
	assert(wr_str_eq(wr_buf_str(&made), target));
	/* Never much worse than no delta at all. */
	assert(len <= target.len + target.len / 100 + 16);
	judge(base, wr_str_n(delta, len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WR_AUTO_MEM char *base = NULL;
	struct wr_str rest;
	size_t n;

	if (size < 3)
		return 0;
	n = (size_t)data[1] << 8 | data[2];
	n = n < size - 3 ? n : size - 3;
	/* A block of just this size, so that a sanitizer sees a read behind it. */
	base = malloc(n ? n : 1);
	if (!base)
		abort();
	memcpy(base, data + 3, n);
	rest = wr_str_n(data + 3 + n, size - 3 - n);
	if (data[0] & 1)
		make(wr_str_n(base, n), rest);
	else
		judge(wr_str_n(base, n), rest);
	return 0;
}
