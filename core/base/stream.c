#include "core/base/stream.h"

#include "core/base/buf.h"

static enum wr_code mem_read(struct wr_source *base, void *buf, size_t cap, size_t *got, struct wr_error *err)
{
	struct wr_mem_source *src = (struct wr_mem_source *)base;
	size_t n = src->rest.len < cap ? src->rest.len : cap;

	(void)err;
	if (n)
		memcpy(buf, src->rest.ptr, n);
	src->rest = wr_str_skip(src->rest, n);
	*got = n;
	return WR_OK;
}

void wr_mem_source_init(struct wr_mem_source *src, struct wr_str bytes)
{
	src->base.read = mem_read;
	src->rest = bytes;
}

static enum wr_code buf_write(struct wr_sink *base, const void *data, size_t len, struct wr_error *err)
{
	struct wr_buf *buf = ((struct wr_buf_sink *)base)->buf;

	wr_buf_add(buf, data, len);
	if (!wr_buf_ok(buf))
		return wr_fail(err, WR_E_TOO_LARGE, "More than %zu bytes", buf->max);
	return WR_OK;
}

void wr_buf_sink_init(struct wr_buf_sink *sink, struct wr_buf *buf)
{
	sink->base = (struct wr_sink){.write = buf_write};
	sink->buf = buf;
}
