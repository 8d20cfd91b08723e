/*
 * core/base/str.h: text that somebody else owns, with its length.
 * Git data are bytes: a wr_str may hold NUL and need not be UTF-8. Never assume a NUL behind it.
 * Threads: values, no state.
 */
#ifndef WR_STR_H
#define WR_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct wr_str {
	const char *ptr;
	size_t len;
};

#define WR_S(lit) ((struct wr_str){(lit), sizeof(lit) - 1})

static inline struct wr_str wr_str(const char *z)
{
	return (struct wr_str){z, z ? strlen(z) : 0};
}
static inline struct wr_str wr_str_n(const void *p, size_t n)
{
	return (struct wr_str){p, n};
}
static inline bool wr_str_eq(struct wr_str a, struct wr_str b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}
static inline bool wr_str_eqz(struct wr_str a, const char *z)
{
	return wr_str_eq(a, wr_str(z));
}
static inline bool wr_str_starts(struct wr_str s, struct wr_str prefix)
{
	return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}
static inline bool wr_str_ends(struct wr_str s, struct wr_str suffix)
{
	return s.len >= suffix.len &&
	       (suffix.len == 0 || memcmp(s.ptr + s.len - suffix.len, suffix.ptr, suffix.len) == 0);
}
static inline struct wr_str wr_str_skip(struct wr_str s, size_t n)
{
	return (struct wr_str){s.ptr + n, s.len - n};
}

/* ASCII case-insensitive equality, for HTTP header values. */
bool wr_str_caseeq(struct wr_str a, struct wr_str b);

/*
 * A whole decimal number, digits only, no sign, no spaces. False when s is empty, has another byte, or passes max;
 * *out is untouched then.
 */
bool wr_str_u64(struct wr_str s, uint64_t max, uint64_t *out);

/* Whether s is well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms, nothing above U+10FFFF). */
bool wr_str_utf8(struct wr_str s);
/* How many bytes its first character has, which goes to *out; 0: it is not well-formed. s is not empty. */
size_t wr_str_utf8_first(uint32_t *out, struct wr_str s);

/* A malloc'ed, NUL-terminated copy, or NULL without memory. */
char *wr_str_dup(struct wr_str s);

#endif
