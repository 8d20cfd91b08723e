/*
 * core/auth/label.h: names that people give to accounts, keys and repositories.
 * Threads: any.
 */
#ifndef WR_LABEL_H
#define WR_LABEL_H

#include "core/base/str.h"

/* Whether s is UTF-8 of 1 to max_chars code points and at most max_bytes bytes, without control characters. */
bool wr_label_ok(struct wr_str s, size_t max_chars, size_t max_bytes);

/*
 * s with its letter case folded, one code point at a time; malloc'ed, NULL without memory or when s is no UTF-8. Two
 * texts that differ only in case fold alike; the result is for comparing, not for showing.
 */
char *wr_label_fold(struct wr_str s);

#endif
