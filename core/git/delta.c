#include "core/git/delta.h"

#include <limits.h>

/* zlib counts in unsigned int. */
#define SLICE (UINT_MAX / 2)

void wr_unzip_fini(struct wr_unzip *u)
{
	if (u->ready)
		inflateEnd(&u->z);
	u->ready = false;
}

enum wr_zip wr_unzip_begin(struct wr_unzip *u)
{
	if (u->ready)
		return inflateReset(&u->z) == Z_OK ? WR_ZIP_OK : WR_ZIP_BAD;
	memset(&u->z, 0, sizeof u->z);
	if (inflateInit(&u->z) != Z_OK)
		return WR_ZIP_NOMEM;
	u->ready = true;
	return WR_ZIP_OK;
}

static uInt slice(size_t n)
{
	return n > SLICE ? SLICE : (uInt)n;
}

/*
 * Inflates until the stream ends or out is full. *in_used and *out_used say how far; Z_STREAM_END tells that it ended.
 */
static int run(z_stream *z, struct wr_str in, size_t *in_used, uint8_t *out, size_t cap, size_t *out_used)
{
	size_t in_done = 0, out_done = 0;
	int rc;

	do {
		uInt in_now = slice(in.len - in_done), out_now = slice(cap - out_done);

		z->next_in = (Bytef *)(uintptr_t)(in.ptr + in_done);
		z->avail_in = in_now;
		z->next_out = out + out_done;
		z->avail_out = out_now;
		rc = inflate(z, Z_NO_FLUSH);
		in_done += in_now - z->avail_in;
		out_done += out_now - z->avail_out;
		if (rc == Z_OK && in_now == z->avail_in && out_now == z->avail_out)
			rc = Z_BUF_ERROR;
	} while (rc == Z_OK && (in_done < in.len || out_done < cap));
	*in_used = in_done;
	*out_used = out_done;
	return rc;
}

enum wr_zip wr_unzip_into(uint8_t *out, size_t *used, struct wr_unzip *u, struct wr_str in, size_t size)
{
	enum wr_zip zc = wr_unzip_begin(u);
	size_t took, made;

	if (zc != WR_ZIP_OK)
		return zc;
	/* One byte more than claimed, so that a stream that makes too much shows. */
	if (run(&u->z, in, &took, out, size + 1, &made) != Z_STREAM_END || made != size)
		return WR_ZIP_BAD;
	out[size] = '\0';
	*used = took;
	return WR_ZIP_OK;
}

enum wr_zip wr_unzip_all(uint8_t **out, size_t *used, struct wr_unzip *u, struct wr_str in, size_t size)
{
	WR_AUTO_MEM uint8_t *data = NULL;
	enum wr_zip zc;

	if (size / WR_ZIP_RATIO > in.len)
		return WR_ZIP_BAD;
	data = malloc(size + 1);
	if (!data)
		return WR_ZIP_NOMEM;
	if ((zc = wr_unzip_into(data, used, u, in, size)) == WR_ZIP_OK)
		*out = WR_STEAL(data);
	return zc;
}

enum wr_zip wr_unzip_front(uint8_t *out, size_t *got, struct wr_unzip *u, struct wr_str in, size_t n)
{
	enum wr_zip zc = wr_unzip_begin(u);
	size_t took;
	int rc;

	if (zc != WR_ZIP_OK)
		return zc;
	rc = run(&u->z, in, &took, out, n, got);
	return rc == Z_OK || rc == Z_STREAM_END || rc == Z_BUF_ERROR ? WR_ZIP_OK : WR_ZIP_BAD;
}

static bool varint(uint64_t *out, struct wr_str *s)
{
	uint64_t v = 0;

	for (unsigned shift = 0; s->len && shift < 63; shift += 7) {
		uint8_t c = (uint8_t)s->ptr[0];

		*s = wr_str_skip(*s, 1);
		v |= (uint64_t)(c & 0x7f) << shift;
		if (!(c & 0x80)) {
			*out = v;
			return true;
		}
	}
	return false;
}

bool wr_delta_sizes(uint64_t *base_size, uint64_t *size, struct wr_str *body, struct wr_str delta)
{
	if (!varint(base_size, &delta) || !varint(size, &delta))
		return false;
	*body = delta;
	return true;
}

/*
 * One instruction from the front of *s. copy: offset and len in the base; else len bytes that stand at *s, which are
 * not skipped. False when it is cut off or the reserved instruction 0.
 */
static bool next(struct wr_str *s, bool *copy, uint64_t *offset, uint64_t *len)
{
	uint8_t op = (uint8_t)s->ptr[0];
	uint64_t at = 0, n = 0;

	*s = wr_str_skip(*s, 1);
	*copy = op & 0x80;
	*offset = 0;
	*len = op;
	if (!*copy)
		return op != 0 && s->len >= op;
	for (unsigned bit = 0; bit < 7; bit++) {
		uint8_t c;

		if (!(op & (1u << bit)))
			continue;
		if (s->len == 0)
			return false;
		c = (uint8_t)s->ptr[0];
		*s = wr_str_skip(*s, 1);
		if (bit < 4)
			at |= (uint64_t)c << (8 * bit);
		else
			n |= (uint64_t)c << (8 * (bit - 4));
	}
	*offset = at;
	*len = n ? n : 0x10000;
	return true;
}

bool wr_delta_ok(struct wr_str body, uint64_t base_size, uint64_t size)
{
	uint64_t left = size, offset, len;
	bool copy;

	while (body.len) {
		if (!next(&body, &copy, &offset, &len) || len > left)
			return false;
		if (copy && (offset > base_size || len > base_size - offset))
			return false;
		if (!copy)
			body = wr_str_skip(body, (size_t)len);
		left -= len;
	}
	return left == 0;
}

void wr_delta_apply(uint8_t *out, const uint8_t *base, struct wr_str body)
{
	uint64_t offset, len;
	bool copy;

	while (body.len && next(&body, &copy, &offset, &len)) {
		memcpy(out, copy ? base + offset : (const uint8_t *)body.ptr, (size_t)len);
		if (!copy)
			body = wr_str_skip(body, (size_t)len);
		out += len;
	}
}
