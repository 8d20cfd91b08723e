#include "core/git/delta.h"

#include <limits.h>
#include <pthread.h>

#include <libdeflate.h>

/* zlib counts in unsigned int. */
#define SLICE (UINT_MAX / 2)
/* The most that libdeflate makes at once. */
#define FAST_MAX ((size_t)16 << 20)
#define LEVEL 6
/* git reads no delta of fewer bytes. */
#define DELTA_MIN 4

/* ---- a thread's tools ---- */

/* They hold nothing from one call to the next; only making them costs. */
struct tools {
	struct libdeflate_decompressor *inflater;
	struct libdeflate_compressor *deflater;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool have_key;
static _Thread_local struct tools *mine;

static void free_tools(void *p)
{
	struct tools *t = p;

	if (t->inflater)
		libdeflate_free_decompressor(t->inflater);
	if (t->deflater)
		libdeflate_free_compressor(t->deflater);
	free(t);
	mine = NULL;
}

static void make_key(void)
{
	have_key = pthread_key_create(&key, free_tools) == 0;
}

/* NULL without memory. */
static struct tools *my_tools(void)
{
	struct tools *t;

	if (mine)
		return mine;
	pthread_once(&once, make_key);
	t = have_key ? calloc(1, sizeof *t) : NULL;
	if (!t || pthread_setspecific(key, t) != 0) {
		free(t);
		return NULL;
	}
	mine = t;
	return t;
}

/* ---- zlib streams ---- */

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

/* The whole stream at once. False where that cannot be done, whatever the reason. */
static bool inflate_fast(uint8_t *out, size_t cap, size_t *used, size_t *made, struct wr_str in)
{
	struct tools *t = my_tools();

	if (t && !t->inflater)
		t->inflater = libdeflate_alloc_decompressor();
	return t && t->inflater &&
	       libdeflate_zlib_decompress_ex(t->inflater, in.ptr, in.len, out, cap, used, made) == LIBDEFLATE_SUCCESS;
}

enum wr_zip wr_unzip_into(uint8_t *out, size_t *used, struct wr_unzip *u, struct wr_str in, size_t size)
{
	enum wr_zip zc;
	size_t took, made;

	if (size <= FAST_MAX && inflate_fast(out, size, &took, &made, in)) {
		if (made != size)
			return WR_ZIP_BAD;
		out[size] = '\0';
		*used = took;
		return WR_ZIP_OK;
	}
	if ((zc = wr_unzip_begin(u)) != WR_ZIP_OK)
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
	enum wr_zip zc;
	size_t took;
	int rc;

	if ((zc = wr_unzip_begin(u)) != WR_ZIP_OK)
		return zc;
	rc = run(&u->z, in, &took, out, n, got);
	return rc == Z_OK || rc == Z_STREAM_END || rc == Z_BUF_ERROR ? WR_ZIP_OK : WR_ZIP_BAD;
}

enum wr_code wr_deflate(uint8_t **out, size_t *len, struct wr_str in, struct wr_error *err)
{
	WR_AUTO_MEM uint8_t *zip = NULL;
	struct tools *t = my_tools();
	size_t room, n;

	if (t && !t->deflater)
		t->deflater = libdeflate_alloc_compressor(LEVEL);
	if (!t || !t->deflater)
		return wr_fail_nomem(err);
	room = libdeflate_zlib_compress_bound(t->deflater, in.len);
	zip = malloc(room);
	if (!zip)
		return wr_fail_nomem(err);
	n = libdeflate_zlib_compress(t->deflater, in.ptr, in.len, zip, room);
	if (n == 0)
		return wr_fail(err, WR_E_INTERNAL, "deflate of %zu bytes", in.len);
	*out = WR_STEAL(zip);
	*len = n;
	return WR_OK;
}

/* ---- deltas ---- */

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
	if (delta.len < DELTA_MIN || !varint(base_size, &delta) || !varint(size, &delta))
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
