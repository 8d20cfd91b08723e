/*
 * smart-http/upload_parse.h: what the parsers of fetch requests share.
 * Ownership: what lines say goes into the wr_upload, copied. Threads: one per request.
 * Errors:    WR_E_INVALID_REQUEST with a sentence. What is malformed becomes a 400; what is well formed and not granted
 *            (wr_upload_deny) is told inside a 200, because git shows its user no 400's words.
 */
#ifndef WR_UPLOAD_PARSE_H
#define WR_UPLOAD_PARSE_H

#include "smart-http/upload_internal.h"

/* The request is not granted; parsing ends, and the answer will be this sentence. */
enum wr_code wr_upload_deny(struct wr_upload *up, struct wr_error *err, const char *fmt, ...) WR_PRINTF(3, 4);
enum wr_code wr_upload_unexpected(struct wr_upload *up, struct wr_str line, struct wr_error *err);
enum wr_code wr_upload_too_many(struct wr_upload *up, size_t max, const char *what, const char *key,
				struct wr_error *err);

/* Whether line begins with word; then *rest is what follows. */
bool wr_upload_after(struct wr_str *rest, struct wr_str line, struct wr_str word);

/* A line whose number has no bound of its own: all of them together have one in bytes. */
WR_MUST_CHECK enum wr_code wr_upload_count(struct wr_upload *up, struct wr_str line, struct wr_error *err);

WR_MUST_CHECK enum wr_code wr_upload_add_want(struct wr_upload *up, struct wr_str hex, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_upload_add_have(struct wr_upload *up, struct wr_str hex, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_upload_add_name(struct wr_names *names, struct wr_str name, struct wr_error *err);

/*
 * The arguments that are the same in all versions: where history shall end, and what shall stay out. *taken: line was
 * one of them.
 */
WR_MUST_CHECK enum wr_code wr_upload_common_line(bool *taken, struct wr_upload *up, struct wr_str line,
						 struct wr_error *err);
/* What can be said of them once all have come. */
WR_MUST_CHECK enum wr_code wr_upload_check(struct wr_upload *up, struct wr_error *err);
/* The value of object-format. */
WR_MUST_CHECK enum wr_code wr_upload_format(struct wr_upload *up, struct wr_str value, struct wr_error *err);

/* Behind the request only flushes may follow: the empty requests that say goodbye. */
WR_MUST_CHECK enum wr_code wr_upload_end(struct wr_str body, struct wr_error *err);

WR_MUST_CHECK enum wr_code wr_upload_parse_v0(struct wr_upload *up, struct wr_str body, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_upload_parse_v2(struct wr_upload *up, struct wr_str body, struct wr_error *err);

#endif
