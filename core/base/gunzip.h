/*
 * core/base/gunzip.h: a source that unzips another one (RFC 1952, one member), with a bound on what comes out.
 * Ownership: the struct is the caller's: init, fini; the inner source stays the caller's and outlives it.
 * Threads:   one at a time. Blocks on: the inner source.
 * Errors:    WR_E_INVALID_REQUEST for what is no gzip, ends early or has bytes behind it; WR_E_TOO_LARGE past max; what
 * the inner source says. The inner source is read to its end before this one says that it ended.
 */
#ifndef WR_GUNZIP_H
#define WR_GUNZIP_H

#include <zlib.h>

#include "core/base/buf.h"
#include "core/base/room.h"
#include "core/base/stream.h"

struct wr_gunzip {
	struct wr_source base;
	struct wr_source *inner;
	z_stream z;
	bool ready, done;
	uint64_t left, max;
	unsigned char in[16 * 1024];
};

WR_MUST_CHECK enum wr_code wr_gunzip_init(struct wr_gunzip *gz, struct wr_source *inner, uint64_t max,
					  struct wr_error *err);
void wr_gunzip_fini(struct wr_gunzip *gz);

/*
 * All of a gzipped text at once, appended to out, whose growth is asked for (a text may become a thousand times as long).
 * Past out's maximum: WR_E_TOO_LARGE; without room WR_E_UNAVAILABLE.
 */
WR_MUST_CHECK enum wr_code wr_gunzip_all(struct wr_buf *out, struct wr_str zipped, const struct wr_room *memory,
					 struct wr_error *err);

#endif
