#include "core/base/gunzip.h"

static enum wr_code bad(struct wr_error *err, const char *what)
{
	return wr_fail(err, WR_E_INVALID_REQUEST, "The gzip encoding of the body %s", what);
}

static enum wr_code fill(struct wr_gunzip *gz, size_t *got, struct wr_error *err)
{
	enum wr_code code = wr_source_read(gz->inner, gz->in, sizeof gz->in, got, err);

	if (code)
		return code;
	gz->z.next_in = gz->in;
	gz->z.avail_in = (uInt)*got;
	return WR_OK;
}

/* Behind the last block nothing may follow; asking also reads the inner source to its end. */
static enum wr_code finish(struct wr_gunzip *gz, struct wr_error *err)
{
	size_t got = 0;
	enum wr_code code = WR_OK;

	if (gz->z.avail_in == 0)
		code = fill(gz, &got, err);
	if (code)
		return code;
	if (gz->z.avail_in)
		return bad(err, "has bytes behind its end");
	gz->done = true;
	return WR_OK;
}

static enum wr_code gunzip_read(struct wr_source *base, void *buf, size_t cap, size_t *got, struct wr_error *err)
{
	struct wr_gunzip *gz = (struct wr_gunzip *)base;
	uInt room = cap < ((size_t)1 << 30) ? (uInt)cap : (uInt)1 << 30;

	*got = 0;
	while (!gz->done && *got == 0 && room) {
		enum wr_code code;
		size_t more;
		int rc;

		if (gz->z.avail_in == 0) {
			if ((code = fill(gz, &more, err)))
				return code;
			if (more == 0)
				return bad(err, "ends too early");
		}
		gz->z.next_out = buf;
		gz->z.avail_out = room;
		rc = inflate(&gz->z, Z_NO_FLUSH);
		*got = room - gz->z.avail_out;
		if (*got > gz->left)
			return wr_fail(err, WR_E_TOO_LARGE, "The body unzips to more than %llu bytes",
				       (unsigned long long)gz->max);
		gz->left -= *got;
		if (rc == Z_MEM_ERROR)
			return wr_fail_nomem(err);
		if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
			return bad(err, "is damaged");
		if (rc == Z_STREAM_END && (code = finish(gz, err)))
			return code;
	}
	return WR_OK;
}

enum wr_code wr_gunzip_init(struct wr_gunzip *gz, struct wr_source *inner, uint64_t max, struct wr_error *err)
{
	gz->base.read = gunzip_read;
	gz->inner = inner;
	gz->left = gz->max = max;
	gz->done = false;
	memset(&gz->z, 0, sizeof gz->z);
	/* 16 + window bits: a gzip header is demanded. */
	gz->ready = inflateInit2(&gz->z, 16 + MAX_WBITS) == Z_OK;
	return gz->ready ? WR_OK : wr_fail_nomem(err);
}

void wr_gunzip_fini(struct wr_gunzip *gz)
{
	if (gz->ready)
		inflateEnd(&gz->z);
	gz->ready = false;
}

static enum wr_code inflate_into(struct wr_gunzip *gz, struct wr_buf *out, const struct wr_room *memory,
				 struct wr_error *err)
{
	for (;;) {
		size_t before = out->cap, left = out->max - out->len, got, want = left < 32 * 1024 ? left : 32 * 1024;
		char spare[1], *room = wr_buf_room(out, want);
		enum wr_code code;

		if (!room)
			return wr_fail_nomem(err);
		if (out->cap > before && !wr_room_take(memory, out->cap - before, false))
			return wr_fail(err, WR_E_UNAVAILABLE, "no room for what is unzipped");
		/* A full buffer still has to learn whether this was all; the source then refuses any further byte. */
		code = want ? wr_source_read(&gz->base, room, want, &got, err)
			    : wr_source_read(&gz->base, spare, 1, &got, err);
		if (code || got == 0)
			return code;
		out->len += got;
	}
}

enum wr_code wr_gunzip_all(struct wr_buf *out, struct wr_str zipped, const struct wr_room *memory, struct wr_error *err)
{
	struct wr_gunzip *gz = malloc(sizeof *gz);
	struct wr_mem_source src;
	enum wr_code code;

	if (!gz)
		return wr_fail_nomem(err);
	wr_mem_source_init(&src, zipped);
	code = wr_gunzip_init(gz, &src.base, out->max - out->len, err);
	if (!code)
		code = inflate_into(gz, out, memory, err);
	wr_gunzip_fini(gz);
	free(gz);
	return code;
}
