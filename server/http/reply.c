#include "core/base/clock.h"
#include "core/base/log.h"
#include "server/http/http_internal.h"

/* ---- what handlers set ---- */

void wr_reply_json(struct wr_request *req, json_t *body)
{
	json_decref(req->reply.json);
	req->reply.json = body;
}

void wr_reply_status(struct wr_request *req, int status)
{
	req->reply.status = status;
}

/* A value with a line end in it would be a header of its own. */
static bool is_header_value(const char *value)
{
	for (; *value; value++)
		if ((unsigned char)*value < ' ' || *value == 0x7f)
			return false;
	return true;
}

void wr_reply_header(struct wr_request *req, const char *name, const char *value)
{
	struct wr_reply *reply = &req->reply;
	char *copy = is_header_value(value) ? strdup(value) : NULL;

	if (!copy || reply->n_headers == WR_REPLY_HEADERS) {
		free(copy);
		return;
	}
	reply->headers[reply->n_headers].name = name;
	reply->headers[reply->n_headers++].value = copy;
}

void wr_reply_json_text(struct wr_request *req, struct wr_buf *text)
{
	wr_buf_fini(&req->reply.body);
	req->reply.body = *text;
	*text = (struct wr_buf)WR_BUF_INIT(0);
	snprintf(req->reply.type, sizeof req->reply.type, "application/json");
}

enum wr_code wr_reply_stream(struct wr_sink **out, struct wr_request *req, const char *content_type,
			     struct wr_error *err)
{
	struct wr_reply *reply = &req->reply;

	if (!reply->stream && !wr_request_charge(req, WR_PIPE_FIRST, WR_CHARGE_NEEDED))
		return wr_fail(err, WR_E_UNAVAILABLE, "max_buffered reached");
	snprintf(reply->type, sizeof reply->type, "%s", content_type);
	if (req->at_once) {
		/* An event thread may not wait for itself: the answer is gathered, and bounded. */
		reply->body.max = WR_INLINE_MAX;
		wr_buf_sink_init(&req->buf_sink, &reply->body);
		*out = &req->buf_sink.base;
		return WR_OK;
	}
	reply->stream = true;
	if (req->is_head)
		wr_pipe_count_only(&req->out);
	else if (req->http_1_1 && !req->http->cert)
		wr_pipe_direct(&req->out);
	wr_pipe_sink_init(&req->out_sink, &req->out);
	*out = &req->out_sink.base;
	return WR_OK;
}

void wr_reply_fini(struct wr_reply *reply)
{
	for (size_t i = 0; i < reply->n_headers; i++)
		free(reply->headers[i].value);
	reply->n_headers = 0;
	json_decref(reply->json);
	reply->json = NULL;
	wr_buf_fini(&reply->body);
}

/* ---- errors ---- */

static void to_json(struct wr_request *req)
{
	struct wr_reply *reply = &req->reply;
	char *text = json_dumps(reply->json, JSON_COMPACT);
	size_t len = text ? strlen(text) : 0;

	wr_buf_fini(&reply->body);
	reply->body = (struct wr_buf){text, len, text ? len + 1 : 0, SIZE_MAX / 2, text == NULL};
	snprintf(reply->type, sizeof reply->type, "application/json");
	json_decref(reply->json);
	reply->json = NULL;
}

/* The request's path without its query, for the reference's 401. */
static struct wr_str route_of(const struct wr_request *req)
{
	return req->has_url ? req->url.path : WR_S("/");
}

static json_t *message_of(const struct wr_request *req, const struct wr_error *err)
{
	WR_AUTO_S(wr_buf) words = WR_BUF_INIT(2 * WR_URL_MAX);

	if (err->code != WR_E_UNAUTHORIZED)
		return wr_json_str(wr_str(wr_error_text(err)));
	wr_buf_addz(&words, "Unauthorized request to ");
	wr_buf_adds(&words, route_of(req));
	return wr_json_str(wr_buf_str(&words));
}

static void error_json(struct wr_request *req, const struct wr_error *err)
{
	json_t *body = json_object();

	json_object_set_new(body, "code", json_string(wr_code_wire(err->code)));
	json_object_set_new(body, "message", message_of(req, err));
	if (err->code == WR_E_UNAUTHORIZED) {
		json_object_set_new(body, "route", wr_json_str(route_of(req)));
		json_object_set_new(body, "reason", json_null());
	}
	json_object_update(body, err->fields);
	if (!wr_code_in_sdk(err->code))
		json_object_set_new(body, "description", message_of(req, err));
	json_decref(req->reply.json);
	req->reply.json = body;
	to_json(req);
}

/* git shows a text/plain body to its user, and nothing else. */
static void error_text(struct wr_request *req, const struct wr_error *err)
{
	struct wr_reply *reply = &req->reply;

	wr_buf_fini(&reply->body);
	reply->body = (struct wr_buf)WR_BUF_INIT(4096);
	snprintf(reply->type, sizeof reply->type, "text/plain; charset=utf-8");
	wr_buf_addz(&reply->body,
		    err->code == WR_E_UNAUTHORIZED ? "This repository needs a valid credential" : wr_error_text(err));
	for (size_t i = 0; i < reply->body.len; i++)
		if ((unsigned char)reply->body.ptr[i] < ' ')
			reply->body.ptr[i] = ' ';
	wr_buf_addc(&reply->body, '\n');
}

/* A refusal may be none a moment later, like all that is said of a repository; also for caches of HTTP/1.0. */
static void no_cache(struct wr_request *req)
{
	wr_reply_header(req, "Expires", "Fri, 01 Jan 1980 00:00:00 GMT");
	wr_reply_header(req, "Pragma", "no-cache");
	wr_reply_header(req, "Cache-Control", "no-cache, max-age=0, must-revalidate");
}

void wr_reply_error(struct wr_request *req, enum wr_code code, struct wr_error *err)
{
	struct wr_reply *reply = &req->reply;

	if (err->code != code) {
		wr_error_fini(err);
		*err = (struct wr_error){.code = code};
	}
	reply->status = wr_code_status(code);
	reply->stream = false;
	if (wr_request_is_git(req) && code != WR_E_EXPECTED_SERVICE && code != WR_E_INVALID_SERVICE)
		error_text(req, err);
	else
		error_json(req, err);
	if (wr_request_is_git(req))
		no_cache(req);
	if (reply->status == 401 && wr_request_is_git(req))
		wr_reply_header(req, "WWW-Authenticate", "Basic realm=\"Warren\", charset=\"UTF-8\"");
	if (reply->status == 503)
		wr_reply_header(req, "Retry-After", "1");
	if (reply->status >= 500 && !atomic_load(&req->given_up))
		wr_log_error(req->trace, WR_EV_REQUEST_FAILED, err);
}

/* ---- the handler's result ---- */

static void drop_headers(struct wr_reply *reply)
{
	for (size_t i = 0; i < reply->n_headers; i++)
		free(reply->headers[i].value);
	reply->n_headers = 0;
}

static enum wr_code complete(struct wr_request *req, struct wr_error *err)
{
	struct wr_reply *reply = &req->reply;

	if (reply->stream)
		return WR_OK;
	if (reply->type[0])
		return wr_buf_ok(&reply->body) ? WR_OK : wr_fail_nomem(err);
	if (!reply->json)
		reply->json = json_object();
	to_json(req);
	return wr_buf_ok(&reply->body) ? WR_OK : wr_fail_nomem(err);
}

void wr_reply_finish(struct wr_request *req, enum wr_code code, struct wr_error *err)
{
	bool begun = req->reply.stream && wr_pipe_total(&req->out) > 0;

	if (!code)
		code = complete(req, err);
	if (code && begun) {
		/* Too late for another status: what was written goes out, and then the connection is cut. */
		if (!atomic_load(&req->given_up))
			wr_log_error(req->trace, WR_EV_REQUEST_FAILED, err);
	} else if (code) {
		drop_headers(&req->reply);
		wr_reply_error(req, code, err);
	}
	if (req->has_in)
		wr_pipe_shut(&req->in);
	wr_pipe_end(&req->out, code && begun);
}

/* ---- sending: the event thread ---- */

static void add_header(void *arg, const char *name, const char *value)
{
	MHD_add_response_header(arg, name, value);
}

static void add_headers(struct wr_request *req, struct MHD_Response *response)
{
	const struct wr_reply *reply = &req->reply;
	bool options = strcmp(req->method, "OPTIONS") == 0 && reply->status == 204;
	const char *allow = NULL;

	for (size_t i = 0; i < reply->n_headers; i++) {
		MHD_add_response_header(response, reply->headers[i].name, reply->headers[i].value);
		if (options && strcmp(reply->headers[i].name, "Allow") == 0)
			allow = reply->headers[i].value;
	}
	if (reply->type[0])
		MHD_add_response_header(response, "Content-Type", reply->type);
	MHD_add_response_header(response, "Server", "warren");
	MHD_add_response_header(response, "x-freestyle-trace-id", req->trace);
	wr_cors_headers(&req->http->cors, wr_request_header(req, "Origin"), allow, add_header, response);
	if (atomic_load(&req->http->draining) || atomic_load(&req->http->handing_over))
		MHD_add_response_header(response, "Connection", "close");
}

/*
 * The library is about to close the connection where its loop does not go on to the clean-up: the socket would stay
 * open until the connection's timeout (0.9.75, MHD_connection_handle_idle() and epoll). Those with a timeout of their
 * own are looked at in each turn of the loop.
 */
static void close_soon(struct wr_request *req)
{
	MHD_set_connection_option(req->connection, MHD_CONNECTION_OPTION_TIMEOUT, 1u);
}

static ssize_t read_answer(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct wr_request *req = cls;
	ssize_t n = wr_pipe_take(&req->out, buf, max);

	(void)pos;
	if (n > 0)
		atomic_fetch_add(&req->bytes_out, (uint64_t)n);
	if (n >= 0)
		return n;
	if (n == WR_PIPE_BROKEN || !req->http_1_1)
		close_soon(req);
	return n == WR_PIPE_END ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void free_answer(void *cls)
{
	wr_request_unref(cls);
}

static struct MHD_Response *streamed(struct wr_request *req, uint64_t size)
{
	struct MHD_Response *response;

	/* The block is only used for HTTP/1.0; chunks are built in the connection's own memory. */
	wr_request_ref(req);
	response = MHD_create_response_from_callback(size, 16 * 1024, read_answer, req, free_answer);
	if (!response)
		wr_request_unref(req);
	return response;
}

static struct MHD_Response *whole(struct wr_request *req)
{
	struct wr_reply *reply = &req->reply;
	struct MHD_Response *response;
	int64_t now = wr_mono_ms();
	const struct wr_config *cfg = req->http->cfg;
	size_t len;
	char *body;

	/* The answer to HEAD tells the length of what GET would send. */
	if (reply->stream && req->is_head)
		return streamed(req, wr_pipe_total(&req->out));
	if (reply->stream) {
		wr_buf_fini(&reply->body);
		reply->body = (struct wr_buf)WR_BUF_INIT(WR_RING_BYTES);
		wr_pipe_collect(&req->out, &reply->body);
	}
	len = reply->body.len;
	body = wr_buf_take(&reply->body);
	if (!body)
		return NULL;
	response = MHD_create_response_from_buffer(len, body, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		free(body);
		return NULL;
	}
	if (!req->is_head)
		atomic_store(&req->bytes_out, len);
	if (cfg->http_min_rate)
		atomic_store(&req->send_until_ms,
			     now + (int64_t)cfg->http_min_rate_window + (int64_t)(len * 1000 / cfg->http_min_rate));
	return response;
}

enum MHD_Result wr_reply_send(struct wr_request *req)
{
	struct MHD_Response *response;
	enum MHD_Result result;

	switch (wr_pipe_ready(&req->out, req->is_head ? SIZE_MAX : WR_GATHER_BYTES)) {
	case WR_PIPE_WAITING:
		return MHD_YES;
	case WR_PIPE_ABORTED:
		return MHD_NO;
	case WR_PIPE_BEGUN:
		response = streamed(req, MHD_SIZE_UNKNOWN);
		break;
	default:
		response = whole(req);
		break;
	}
	if (!response)
		return MHD_NO;
	add_headers(req, response);
	atomic_store(&req->stage, WR_STAGE_SEND);
	result = MHD_queue_response(req->connection, (unsigned)req->reply.status, response);
	MHD_destroy_response(response);
	return result;
}
