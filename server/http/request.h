/*
 * server/http/request.h: a request as its handler sees it, and the reply that the handler fills.
 * A handler starts authorised (server/http/routes.def says for whom), with its repository looked up and its body
 * read (BODY_JSON, BODY_BYTES) or ready to stream (BODY_STREAM).
 * Ownership: all that the getters return is borrowed and lives as long as the request.
 * Threads:   a request is one thread's at a time: the epoll thread's for INLINE routes, else its lane worker's.
 */
#ifndef WR_REQUEST_H
#define WR_REQUEST_H

#include "core/auth/access.h"
#include "core/base/buf.h"
#include "core/base/room.h"
#include "core/base/stream.h"
#include "core/git/walk.h"

struct wr_app;
struct wr_request;

/* The matched route's parameter, percent-decoded once; {name*} takes the rest of the path. Never absent. */
struct wr_str wr_request_param(const struct wr_request *req, const char *name);

/* A query parameter, form-decoded; false when absent or empty ("rev=" means absent). The first of several counts. */
bool wr_request_query(const struct wr_request *req, const char *name, struct wr_str *out);

/* A whole number: *out = fallback when absent; larger than max is lowered to it; else WR_E_INVALID_REQUEST. */
WR_MUST_CHECK enum wr_code wr_request_query_int(const struct wr_request *req, const char *name, uint64_t fallback,
						uint64_t max, uint64_t *out, struct wr_error *err);
/* "true" or "false"; *out = fallback when absent; else WR_E_INVALID_REQUEST. */
WR_MUST_CHECK enum wr_code wr_request_query_bool(const struct wr_request *req, const char *name, bool fallback,
						 bool *out, struct wr_error *err);

/* A request header, or an empty string. */
struct wr_str wr_request_header(const struct wr_request *req, const char *name);

/* The parsed body of a BODY_JSON route: an object; an empty body is an empty object. */
json_t *wr_request_json(const struct wr_request *req);
/*
 * What the value of a field "content" of that JSON stands for: it may be long, and was then left in the body. It is the
 * request's memory, which may be written to.
 */
struct wr_str wr_request_content(const struct wr_request *req, struct wr_str value);
/* The whole (unzipped) body of a BODY_BYTES route. */
struct wr_str wr_request_body(const struct wr_request *req);
/* The (unzipped) body of a BODY_STREAM route. */
struct wr_source *wr_request_source(struct wr_request *req);

const struct wr_caller *wr_request_caller(const struct wr_request *req);
/* The repository of a route with {repo}; NULL on others. */
const struct wr_repo *wr_request_repo(const struct wr_request *req);
/* What the caller may do to it. */
enum wr_level wr_request_level(const struct wr_request *req);
const char *wr_request_trace(const struct wr_request *req);

/*
 * Whether the handler may wait: false on an epoll thread. A handler of a QUICK route that would have to returns
 * wr_request_later(), and is called again by a worker, which may.
 */
bool wr_request_may_wait(const struct wr_request *req);
enum wr_code wr_request_later(struct wr_request *req);

/* True once nobody waits for the answer any more: the client left, its deadline passed, or the server is stopping hard. */
const struct wr_cancel *wr_request_cancel(struct wr_request *req);

/* What it counts against [http] max_buffered, and the share of its account, until its end. */
const struct wr_room *wr_request_memory(struct wr_request *req);

/* Extra fields for this request's access line (pushes: refs accepted and so on). At most 8 are kept. */
void wr_request_log_int(struct wr_request *req, const char *key, int64_t value);

/* The whole answer, status 200: takes over the reference to body. A handler that sets none answers `{}`. */
void wr_reply_json(struct wr_request *req, json_t *body);

/* Another status than 200 for a success: 202, or 304, which needs a wr_reply_stream() without bytes: it has no body. */
void wr_reply_status(struct wr_request *req, int status);

/* A header of the answer; name is a literal, value is copied. Before the answer's first byte. */
void wr_reply_header(struct wr_request *req, const char *name, const char *value);

/* As wr_reply_json(), as text (core/base/json.h), taken over; a buffer that has failed becomes a 500. */
void wr_reply_json_text(struct wr_request *req, struct wr_buf *text);

/*
 * Begins a streamed answer, status 200, and gives its sink, which stays the request's. The header goes out with the first
 * written bytes, so a handler may still return an error as long as it has written nothing. A handler that ends without
 * writing sends an empty body. What it returns after it wrote can only cut the connection.
 */
WR_MUST_CHECK enum wr_code wr_reply_stream(struct wr_sink **out, struct wr_request *req, const char *content_type,
					   struct wr_error *err);

/* On an error return of code and *err the HTTP layer makes the error body (JSON, or plain text on Git routes). */
typedef enum wr_code (*wr_handler)(struct wr_app *app, struct wr_request *req, struct wr_error *err);

#endif
