/*
 * server/api/commit_body.h: what the routes that make commits read and answer alike: people, dates, messages.
 * Ownership: borrowed from the body.
 * Threads:   as the request.
 * Errors:    WR_E_INVALID_REQUEST with a sentence that names the field; WR_E_TOO_LARGE.
 */
#ifndef WR_COMMIT_BODY_H
#define WR_COMMIT_BODY_H

#include "core/content/headers.h"
#include "server/api/api.h"

#define WR_API_COMMIT_MAX ((size_t)64 << 20)

/* [git] author_name and author_email, now. */
struct wr_person wr_api_server_person(const struct wr_app *app);

/* {"name", "email"} and, where dated, {"date"}: null or absent is now. value is not null. */
WR_MUST_CHECK enum wr_code wr_api_person(struct wr_person *out, json_t *value, const char *field, bool dated,
					 struct wr_error *err);

WR_MUST_CHECK enum wr_code wr_api_message(struct wr_str message, struct wr_error *err);

/* {"commit": ...}; bytes: of the object. */
WR_MUST_CHECK enum wr_code wr_reply_commit(struct wr_request *req, const struct wr_oid *oid, struct wr_str bytes,
					   struct wr_error *err);

#endif
