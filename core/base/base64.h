/*
 * core/base/base64.h: bytes as text (RFC 4648).
 * Ownership: the buffer is the caller's.
 * Threads:   values, no state.
 * Errors:    the buffer's own, which stick.
 */
#ifndef WR_BASE64_H
#define WR_BASE64_H

#include "core/base/buf.h"

/* Section 4: + and /, with padding. */
void wr_base64_add(struct wr_buf *b, struct wr_str bytes);
/* Section 5, without padding: - and _, as tokens and keys of the web have it. */
void wr_base64url_add(struct wr_buf *b, struct wr_str bytes);

/* Just n bytes out of the latter, n at most 1024; false for another length, another character, or bits that are left over. */
bool wr_base64url_read(void *out, size_t n, struct wr_str text);

#endif
