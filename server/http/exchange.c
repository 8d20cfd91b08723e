#include "core/base/clock.h"
#include "core/base/log.h"
#include "server/http/http_internal.h"

/*
 * How libmicrohttpd calls us (0.9.75): once when the request line is there (wr_exchange_target); then
 * wr_exchange_request() with no data when the head is there, with data for each piece of the body (what is not taken
 * comes again), and with no data when the body is complete, again after each resume until an answer is queued. An
 * answer queued at the head closes the connection after it, and one in the middle of a body is refused.
 */

static bool has_body(const struct wr_request *req)
{
	return req->chunked || req->content_length > 0;
}

/* The reply is there; no handler runs, or none any more reads. */
static void refuse(struct wr_request *req, enum wr_code code, struct wr_error *err)
{
	wr_reply_error(req, code, err);
	req->refused = true;
}

static void discard_rest(struct wr_request *req)
{
	if (req->discarding)
		return;
	req->discarding = true;
	req->discard_until_ms = wr_mono_ms() + WR_DISCARD_MS;
}

static enum MHD_Result give_up(struct wr_request *req, const char *why)
{
	wr_request_give_up(req, why);
	return MHD_NO;
}

static enum wr_code submit(struct wr_request *req, struct wr_error *err)
{
	enum wr_code code;

	wr_request_ref(req);
	code = wr_lane_submit(wr_admit_lane(req), wr_admit_payer(req), wr_work_job, req, err);
	if (code)
		wr_request_unref(req);
	return code;
}

static enum wr_code begin_stream(struct wr_request *req, struct wr_error *err)
{
	if (!wr_request_charge(req, WR_PIPE_FIRST, WR_CHARGE_NEEDED))
		return wr_fail(err, WR_E_UNAVAILABLE, "max_buffered reached");
	req->has_in = true;
	return WR_OK;
}

static enum MHD_Result on_head(struct wr_request *req, const char *method, const char *version)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	enum wr_code code;

	atomic_store(&req->stage, WR_STAGE_BODY);
	code = wr_head_read(req, method, version, &err);
	if (!code)
		code = wr_admit(req, &err);
	if (!code && !req->refused && req->match.route->body == WR_BODY_STREAM)
		code = begin_stream(req, &err);
	if (code)
		refuse(req, code, &err);
	if (!req->refused)
		return MHD_YES;
	wr_pipe_end(&req->out, false);
	/* Nobody has to send what nobody wants; and a body that is too large to read first is not read at all. */
	if (req->broken_framing || (has_body(req) && (req->expects_continue || req->content_length > WR_DISCARD_MAX)))
		return wr_reply_send(req);
	discard_rest(req);
	return MHD_YES;
}

static enum MHD_Result drop(struct wr_request *req, size_t *len)
{
	discard_rest(req);
	req->discarded += *len;
	*len = 0;
	if (req->discarded > WR_DISCARD_MAX || wr_mono_ms() > req->discard_until_ms)
		return give_up(req, "refused body too long");
	return MHD_YES;
}

/* Takes the connection out of its pause where no worker will. */
static enum wr_code submit_stream(struct wr_request *req, struct wr_error *err)
{
	enum wr_code code = submit(req, err);

	req->submitted = code == WR_OK;
	if (code) {
		refuse(req, code, err);
		wr_pipe_end(&req->out, false);
		wr_pipe_shut(&req->in);
	}
	return code;
}

/* A limit met in the middle of a body: the answer waits for the body's end. */
static enum MHD_Result refuse_late(struct wr_request *req, enum wr_code code, size_t *len, const char *words)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;

	(void)wr_fail(&err, code, "%s", words);
	refuse(req, code, &err);
	/* What is here of it is of no use any more, and others wait for the room. */
	wr_buf_fini(&req->body);
	wr_request_uncharge(req, atomic_load(&req->charged));
	wr_pipe_end(&req->out, false);
	return drop(req, len);
}

/*
 * How much of max_buffered the body takes by now. What only promises to be large takes no room; but once it comes it takes
 * all that it will need, else many that come together would all get half, and none the rest.
 */
static uint64_t room_for_body(const struct wr_request *req)
{
	uint64_t room = req->body.cap;

	if (req->has_length && req->body.len > WR_PROMISE_BYTES && req->content_length > room)
		room = req->content_length;
	return room < req->limit ? room : req->limit;
}

static enum MHD_Result keep(struct wr_request *req, const char *data, size_t *len)
{
	uint64_t room;

	wr_buf_add(&req->body, data, *len);
	if (!wr_buf_ok(&req->body))
		return refuse_late(req, WR_E_TOO_LARGE, len, wr_code_text(WR_E_TOO_LARGE));
	room = room_for_body(req);
	if (room > req->charged && !wr_request_charge(req, room - req->charged, WR_CHARGE_NEEDED))
		return refuse_late(req, WR_E_UNAVAILABLE, len, "max_buffered reached");
	*len = 0;
	return MHD_YES;
}

/*
 * A push's handler runs while its body arrives, but only from when the ring is full, or all is here: whose body comes
 * slowly holds no thread.
 */
static enum MHD_Result stream(struct wr_request *req, const char *data, size_t *len)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	size_t n;

	if (wr_pipe_is_shut(&req->in)) {
		atomic_fetch_add(&req->bytes_in, *len);
		return drop(req, len);
	}
	n = wr_pipe_put(&req->in, data, *len);
	atomic_fetch_add(&req->bytes_in, n);
	*len -= n;
	if (*len && !req->submitted && submit_stream(req, &err))
		discard_rest(req);
	return MHD_YES;
}

static enum MHD_Result on_body(struct wr_request *req, const char *data, size_t *len)
{
	if (req->discarding) {
		atomic_fetch_add(&req->bytes_in, *len);
		return drop(req, len);
	}
	switch (req->match.route->body) {
	case WR_BODY_STREAM:
		return stream(req, data, len);
	case WR_BODY_NONE:
		if (atomic_fetch_add(&req->bytes_in, *len) + *len > req->limit)
			return refuse_late(req, WR_E_TOO_LARGE, len, wr_code_text(WR_E_TOO_LARGE));
		*len = 0;
		return MHD_YES;
	default:
		atomic_fetch_add(&req->bytes_in, *len);
		return keep(req, data, len);
	}
}

/* The body is complete: the handler's turn, unless it runs already or never will. */
static void start_work(struct wr_request *req)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	enum wr_code code;

	atomic_store(&req->stage, WR_STAGE_WORK);
	if (req->refused)
		return;
	if (req->match.route->body == WR_BODY_STREAM) {
		wr_pipe_end(&req->in, false);
		if (!req->submitted)
			(void)submit_stream(req, &err);
		return;
	}
	if ((req->match.route->lane == WR_LANE_INLINE || req->match.route->lane == WR_LANE_QUICK) && wr_work_at_once(req))
		return;
	code = submit(req, &err);
	if (code) {
		refuse(req, code, &err);
		wr_pipe_end(&req->out, false);
	}
}

void *wr_exchange_target(void *cls, const char *target, struct MHD_Connection *connection)
{
	struct wr_http *http = cls;
	struct wr_request *req = wr_request_new(http, connection);
	struct wr_str text = wr_str(target);

	if (!req)
		return NULL;
	/* libmicrohttpd ends the target with a NUL and goes on with the version: another NUL was in the request line.
	 */
	if (text.ptr && strncmp(text.ptr + text.len + 1, "HTTP/", 5) != 0)
		(void)wr_fail(&req->target_error, WR_E_INVALID_REQUEST, "The URL has a NUL byte");
	else
		req->has_url = wr_url_parse(&req->url, text, &req->target_error) == WR_OK;
	wr_watch_begin(http, connection, req);
	return req;
}

enum MHD_Result wr_exchange_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
				    const char *version, const char *upload, size_t *upload_len, void **context)
{
	struct wr_request *req = *context;

	(void)cls;
	(void)connection;
	(void)url;
	if (!req || atomic_load(&req->given_up))
		return MHD_NO;
	switch (atomic_load(&req->stage)) {
	case WR_STAGE_HEAD:
		return on_head(req, method, version);
	case WR_STAGE_BODY:
		if (*upload_len)
			return on_body(req, upload, upload_len);
		start_work(req);
		return wr_reply_send(req);
	default:
		return wr_reply_send(req);
	}
}

void wr_exchange_completed(void *cls, struct MHD_Connection *connection, void **context,
			   enum MHD_RequestTerminationCode how)
{
	struct wr_request *req = *context;

	*context = NULL;
	if (!req)
		return;
	wr_watch_end(cls, connection);
	if (how == MHD_REQUEST_TERMINATED_TIMEOUT_REACHED)
		wr_watch_forget_unsent(req);
	if (how != MHD_REQUEST_TERMINATED_COMPLETED_OK)
		wr_request_give_up(req, how == MHD_REQUEST_TERMINATED_TIMEOUT_REACHED ? "idle timeout" : "client left");
	wr_request_unref(req);
}
