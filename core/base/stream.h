/*
 * core/base/stream.h: request and response bodies as engines see them, so that an engine is tested without sockets.
 * Ownership: whoever makes a source or sink embeds these structs as the first member of his own and outlives its users.
 * Threads:   one user at a time.
 * Blocks on: whatever the maker says; a sink that is full blocks its writer, and a client that left makes it fail.
 */
#ifndef WR_STREAM_H
#define WR_STREAM_H

#include "core/base/error.h"

struct wr_source {
	/* Up to cap bytes into buf; *got = 0 is the end, and every later call says the same. */
	enum wr_code (*read)(struct wr_source *src, void *buf, size_t cap, size_t *got, struct wr_error *err);
};

struct wr_sink {
	/* All of data, or an error, after which nothing more may be written. */
	enum wr_code (*write)(struct wr_sink *sink, const void *data, size_t len, struct wr_error *err);
	/* Hands on what is buffered: call it before a long silence. May be NULL. */
	enum wr_code (*flush)(struct wr_sink *sink, struct wr_error *err);
	/* The pieces one after the other, as write() would, and perhaps without copying them. May be NULL. */
	enum wr_code (*gather)(struct wr_sink *sink, const struct wr_str *v, size_t n, struct wr_error *err);
};

WR_MUST_CHECK static inline enum wr_code wr_source_read(struct wr_source *src, void *buf, size_t cap, size_t *got,
							struct wr_error *err)
{
	return src->read(src, buf, cap, got, err);
}
WR_MUST_CHECK static inline enum wr_code wr_sink_write(struct wr_sink *sink, const void *data, size_t len,
						       struct wr_error *err)
{
	return sink->write(sink, data, len, err);
}
WR_MUST_CHECK static inline enum wr_code wr_sink_flush(struct wr_sink *sink, struct wr_error *err)
{
	return sink->flush ? sink->flush(sink, err) : WR_OK;
}

WR_MUST_CHECK static inline enum wr_code wr_sink_gather(struct wr_sink *sink, const struct wr_str *v, size_t n,
							struct wr_error *err)
{
	enum wr_code code = WR_OK;

	if (sink->gather)
		return sink->gather(sink, v, n, err);
	for (size_t i = 0; i < n && code == WR_OK; i++)
		code = sink->write(sink, v[i].ptr, v[i].len, err);
	return code;
}

/* A source over bytes in memory, which stay the caller's. */
struct wr_mem_source {
	struct wr_source base;
	struct wr_str rest;
};
void wr_mem_source_init(struct wr_mem_source *src, struct wr_str bytes);

/* A sink that fills a buffer, which stays the caller's. Past the buffer's maximum: WR_E_TOO_LARGE. */
struct wr_buf;
struct wr_buf_sink {
	struct wr_sink base;
	struct wr_buf *buf;
};
void wr_buf_sink_init(struct wr_buf_sink *sink, struct wr_buf *buf);

#endif
