/*
 * server/api/api.h: the handlers of all routes, and what several of them share.
 * A handler starts authorised (server/http/request.h) and says only what is particular to its route.
 */
#ifndef WR_API_H
#define WR_API_H

#include "core/auth/identities.h"
#include "server/app.h"
#include "server/http/request.h"

#define X(method, path, access, body, lane, handler)                                                                  \
	enum wr_code handler(struct wr_app *app, struct wr_request *req, struct wr_error *err);
#include "server/http/routes.def"
#undef X

/* RFC 3339; JSON null for 0, which stands for "never" in rows. New reference, NULL without memory. */
json_t *wr_time_json(int64_t ms);
/* "public" or "private". */
const char *wr_visibility_text(bool public_);
/* "read" or "write"; NULL for none. */
const char *wr_level_text(enum wr_level level);

/* The field defaultBranch of a request. */
WR_MUST_CHECK enum wr_code wr_api_check_default_branch(struct wr_str branch, struct wr_error *err);

/* The query's limit (fallback when absent, lowered to max) and offset. */
WR_MUST_CHECK enum wr_code wr_page_read(struct wr_page *page, const struct wr_request *req, uint64_t fallback,
					uint64_t max, struct wr_error *err);

/*
 * {"<key>": rows, "total": ..., "offset": ...} as the answer; takes rows over. wr_reply() answers any body, where NULL
 * is what Jansson says without memory.
 */
WR_MUST_CHECK enum wr_code wr_reply(struct wr_request *req, json_t *body, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_reply_page(struct wr_request *req, const char *key, json_t *rows,
					 const struct wr_page *page, struct wr_error *err);
/* Appends to an array and takes over the row, where NULL is what Jansson says without memory. */
WR_MUST_CHECK enum wr_code wr_rows_add(json_t *rows, json_t *row, struct wr_error *err);

WR_DEFINE_AUTO_AS(json_t, json_t, json_decref);

#endif
