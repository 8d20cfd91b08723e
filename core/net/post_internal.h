/*
 * core/net/post_internal.h: one POST's end, in words and numbers.
 * Threads: values, no state.
 */
#ifndef WR_POST_INTERNAL_H
#define WR_POST_INTERNAL_H

#include "core/net/curl_internal.h"
#include "core/net/post.h"

/* Of an answer's head; what is longer is no answer. */
#define WR_POST_HEAD_MAX ((size_t)64 << 10)
#define WR_POST_RETRY_AFTER_MAX ((int64_t)365 * 24 * 3600)

/* Why no answer came: fills in code and error. head_len: so many bytes of a head did. */
void wr_post_explain(struct wr_post_end *end, CURL *e, CURLcode result, const struct wr_curl_guard *guard,
		     size_t head_len);

/*
 * Seconds from now_s on that a value of Retry-After asks for: digits, or a date, which may have passed (0). -1: it is
 * neither. At most WR_POST_RETRY_AFTER_MAX.
 */
int64_t wr_post_retry_after(struct wr_str value, int64_t now_s);

#endif
