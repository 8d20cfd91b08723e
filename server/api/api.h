/*
 * server/api/api.h: the handlers of all routes, and what several of them share.
 * A handler starts authorised (server/http/request.h) and says only what is particular to its route.
 */
#ifndef WR_API_H
#define WR_API_H

#include "core/auth/identities.h"
#include "core/base/buf.h"
#include "core/git/append.h"
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

/* Who asks for a change of a repository; name is where the author's stands, for as long as this is used. */
struct wr_asker wr_api_asker(char name[WR_CALLER_NAME], const struct wr_request *req);

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


/*
 * {"<key>": [rows], ...} as text, of which each row is written at once: what has no bound of its own is counted against
 * [http] max_buffered while it grows. wr_list_fini() it, whatever happens.
 */
struct wr_list {
	struct wr_request *req;
	struct wr_buf text;
	uint64_t held; /* that was counted */
};
void wr_list_init(struct wr_list *list, struct wr_request *req, const char *key);
void wr_list_fini(struct wr_list *list);
WR_DEFINE_AUTO_S(wr_list);
/* Takes the row over. WR_E_UNAVAILABLE where no more fits. */
WR_MUST_CHECK enum wr_code wr_list_add(struct wr_list *list, json_t *row, struct wr_error *err);
/* The same for a row as text: where it is to be written, behind the others; and when it is. */
struct wr_buf *wr_list_row(struct wr_list *list);
WR_MUST_CHECK enum wr_code wr_list_grown(struct wr_list *list, struct wr_error *err);
/* Answers; rest: NULL, or an object with the further members, taken over. */
WR_MUST_CHECK enum wr_code wr_list_reply(struct wr_list *list, json_t *rest, struct wr_error *err);
/*
 * Counts n bytes that an answer holds until it was sent, or, where n is more than one account may ever have, all that it
 * may: such answers come one at a time. Little is not counted.
 */
WR_MUST_CHECK enum wr_code wr_answer_holds(const struct wr_app *app, struct wr_request *req, uint64_t n,
					   struct wr_error *err);

WR_DEFINE_AUTO_AS(json_t, json_t, json_decref);

#endif
