/*
 * core/base/buf.h: a growing byte buffer with a maximum.
 * Ownership: the struct is the caller's; its memory is released by wr_buf_fini().
 * Threads:   one at a time.
 * Errors:    adding past the maximum or without memory makes the buffer fail, and the failure sticks: do a chain of
 *            adds, then ask wr_buf_ok() once. A failed buffer keeps what it had and ignores further adds.
 * The bytes at ptr are always followed by a NUL that len does not count, once anything was added.
 */
#ifndef WR_BUF_H
#define WR_BUF_H

#include "core/base/cleanup.h"
#include "core/base/str.h"

struct wr_buf {
	char *ptr;
	size_t len;
	size_t cap;
	size_t max; /* the most it may ever hold */
	bool failed;
};

/* clang-format off */
#define WR_BUF_INIT(maximum) {NULL, 0, 0, (maximum), false}
/* clang-format on */

void wr_buf_fini(struct wr_buf *b);
WR_DEFINE_AUTO_S(wr_buf);

void wr_buf_add(struct wr_buf *b, const void *data, size_t len);
void wr_buf_adds(struct wr_buf *b, struct wr_str s);
void wr_buf_addz(struct wr_buf *b, const char *z);
void wr_buf_addc(struct wr_buf *b, char c);
/* With U+FFFD in the place of each byte that is no UTF-8. */
void wr_buf_add_utf8(struct wr_buf *b, struct wr_str s);
void wr_buf_printf(struct wr_buf *b, const char *fmt, ...) WR_PRINTF(2, 3);

/*
 * Room for n more bytes at the end. Returns where they go (write there, then add to b->len), or NULL when the buffer
 * has failed.
 */
char *wr_buf_room(struct wr_buf *b, size_t n);

/* Drops n bytes from the front. */
void wr_buf_consume(struct wr_buf *b, size_t n);

/* Empties it and forgives a failure; the memory is kept. */
void wr_buf_clear(struct wr_buf *b);

static inline bool wr_buf_ok(const struct wr_buf *b)
{
	return !b->failed;
}
static inline struct wr_str wr_buf_str(const struct wr_buf *b)
{
	return wr_str_n(b->ptr ? b->ptr : "", b->len);
}

/* The bytes, NUL-terminated, now the caller's to free(); NULL when the buffer has failed. The buffer is empty after. */
char *wr_buf_take(struct wr_buf *b);

#endif
