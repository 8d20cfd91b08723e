/*
 * core/git/delta.h: zlib streams and deltas as packs hold them (gitformat-pack).
 * Ownership: a wr_unzip is the caller's and serves many streams in turn; wr_unzip_fini() releases it. Outputs are
 *            malloc'ed, each followed by a NUL that its size does not count.
 * Threads:   one per wr_unzip; the rest are values. Each thread keeps a compressor and a decompressor of its own, which
 *            go when it ends.
 * Errors:    an enum of its own, because the same bytes are a bad push at one place and a damaged store at another.
 * All input is hostile: nothing is read past its end, and nothing is allocated because of a claim alone.
 *
 * Streams of up to some megabytes are inflated by libdeflate, which is two to three times as fast but takes a stream as
 * one piece; what it finds bad zlib judges, so that exactly what git accepts is accepted.
 */
#ifndef WR_DELTA_H
#define WR_DELTA_H

#include <zlib.h>

#include "core/base/error.h"
#include "core/base/str.h"

enum wr_zip { WR_ZIP_OK, WR_ZIP_BAD, WR_ZIP_NOMEM };

/* zlib never makes more than this of one byte; a larger claim is a lie, which no memory need be spent on. */
#define WR_ZIP_RATIO 1040

struct wr_unzip {
	z_stream z;
	bool ready;
};
void wr_unzip_fini(struct wr_unzip *u);
WR_DEFINE_AUTO_S(wr_unzip);

/* Makes u ready for a new stream, for who feeds it piece by piece. */
WR_MUST_CHECK enum wr_zip wr_unzip_begin(struct wr_unzip *u);

/* The stream at the front of in, which must be size bytes long when inflated; *used is the stream's own length. */
WR_MUST_CHECK enum wr_zip wr_unzip_all(uint8_t **out, size_t *used, struct wr_unzip *u, struct wr_str in, size_t size);

/* The same into out, which has room for size + 1 bytes. */
WR_MUST_CHECK enum wr_zip wr_unzip_into(uint8_t *out, size_t *used, struct wr_unzip *u, struct wr_str in, size_t size);

/* Up to n bytes from the beginning of the inflated stream, for the numbers at the front of a delta. */
WR_MUST_CHECK enum wr_zip wr_unzip_front(uint8_t *out, size_t *got, struct wr_unzip *u, struct wr_str in, size_t n);

/* A zlib stream of all of in. WR_E_UNAVAILABLE without memory. */
WR_MUST_CHECK enum wr_code wr_deflate(uint8_t **out, size_t *len, struct wr_str in, struct wr_error *err);

/*
 * The two sizes at the front of a delta; *body is the rest of it. False when they are cut off or too large, or the
 * delta is shorter than git takes one to be.
 */
bool wr_delta_sizes(uint64_t *base_size, uint64_t *size, struct wr_str *body, struct wr_str delta);

/*
 * The same of a delta that is still a zlib stream, of which no more than the front is looked at: nothing is said of the
 * rest.
 */
WR_MUST_CHECK enum wr_zip wr_delta_front(uint64_t *base_size, uint64_t *size, struct wr_str zip);

/* Whether the instructions read only within base_size bytes and make exactly size. */
bool wr_delta_ok(struct wr_str body, uint64_t base_size, uint64_t size);

/* Follows instructions that wr_delta_ok() found good; out has the room. */
void wr_delta_apply(uint8_t *out, const uint8_t *base, struct wr_str body);

#endif
