/*
 * core/git/blob_in.h: a blob that comes in pieces, of a size that is known at its end: a small one is kept, a large
 * one is packed as it comes.
 * Ownership: the struct is the caller's, wr_blob_in_fini(); zero-initialised.
 * Threads:   one.
 * Blocks on: CPU; the spool.
 * Errors:    those of spool.h; WR_E_TOO_LARGE.
 */
#ifndef WR_BLOB_IN_H
#define WR_BLOB_IN_H

#include <zlib.h>

#include "core/base/buf.h"
#include "core/git/spool.h"

/* A blob of more bytes is a large one. */
#define WR_BLOB_IN_HELD ((size_t)4 << 20)

struct wr_blob_in {
	struct wr_buf held; /* of a small one, all of it */
	bool large;
	uint64_t size;
	uint64_t at; /* in the spool: what is written down of a large one */
	z_stream zip;
};
void wr_blob_in_fini(struct wr_blob_in *b);

/* Where it goes, and the most that it may have. */
struct wr_blob_in_to {
	struct wr_spool *spool;
	const struct wr_index_folder *folder;
	uint64_t max;
};

void wr_blob_in_begin(struct wr_blob_in *b);
WR_MUST_CHECK enum wr_code wr_blob_in_put(struct wr_blob_in *b, const struct wr_blob_in_to *to, struct wr_str bytes,
					  struct wr_error *err);
/* The end of a large one: its id, and where its entry is in the spool. */
WR_MUST_CHECK enum wr_code wr_blob_in_end(struct wr_oid *oid, uint64_t *at, uint32_t *len, struct wr_blob_in *b,
					  const struct wr_blob_in_to *to, struct wr_error *err);

#endif
