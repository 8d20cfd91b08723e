/*
 * core/git/summed.h: a new file that ends with the SHA-1 of all before, as pack indexes do: written through a buffer.
 * Ownership: heap; wr_summed_free() also closes the file. A file that was not ended is left behind.
 * Threads:   one per struct.
 * Blocks on: disk.
 * Errors:    the first failure stays, and wr_summed_end() tells it: WR_E_STORAGE_FULL, WR_E_INTERNAL, WR_E_UNAVAILABLE.
 */
#ifndef WR_SUMMED_H
#define WR_SUMMED_H

#include <openssl/evp.h>

#include "core/base/cleanup.h"
#include "core/base/error.h"

struct wr_summed {
	int fd;
	EVP_MD_CTX *sha;
	size_t len;
	enum wr_code code;
	struct wr_error *err;
	uint8_t buf[1 << 17];
};

/* Creates <pack><ending>; fails where it exists. pack: at most WR_PACK_NAME bytes. */
WR_MUST_CHECK enum wr_code wr_summed_new(struct wr_summed **out, int dir, const char *pack, const char *ending,
					 struct wr_error *err);
void wr_summed_free(struct wr_summed *s);
WR_DEFINE_AUTO(wr_summed);
void wr_summed_put(struct wr_summed *s, const void *data, size_t n); /* n no larger than the buffer */
void wr_summed_put32(struct wr_summed *s, uint32_t v);		     /* big-endian */
/* Writes the sum and flushes the file. */
WR_MUST_CHECK enum wr_code wr_summed_end(struct wr_summed *s);

#endif
