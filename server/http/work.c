#include "core/base/suspects.h"
#include "server/http/http_internal.h"

/* The body that the handler gets: unzipped, parsed, or as a source. On the handler's thread. */
static enum wr_code unzip(struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_S(wr_buf) plain = WR_BUF_INIT((size_t)req->limit);
	size_t before = req->body.cap;
	enum wr_code code;

	if (!req->gzip || req->body.len == 0)
		return WR_OK;
	code = wr_gunzip_all(&plain, wr_buf_str(&req->body), err);
	if (code)
		return code;
	if (plain.cap > before && !wr_request_charge(req, plain.cap - before, WR_CHARGE_NEEDED))
		return wr_fail(err, WR_E_UNAVAILABLE, "max_buffered reached");
	wr_buf_fini(&req->body);
	req->body = plain;
	plain = (struct wr_buf)WR_BUF_INIT(0);
	return WR_OK;
}

static enum wr_code parse(struct wr_request *req, struct wr_error *err)
{
	struct wr_str text = wr_buf_str(&req->body);
	json_error_t where;

	if (text.len == 0) {
		req->json = json_object();
		return req->json ? WR_OK : wr_fail_nomem(err);
	}
	req->json = json_loadb(text.ptr, text.len, JSON_ALLOW_NUL, &where);
	if (!req->json && json_error_code(&where) == json_error_out_of_memory)
		return wr_fail_nomem(err);
	if (!req->json)
		return wr_fail(err, WR_E_INVALID_REQUEST, "The body is not valid JSON (line %d, column %d)", where.line,
			       where.column);
	if (!json_is_object(req->json))
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "The body is not a JSON object (it begins otherwise at line 1, column 1)");
	return WR_OK;
}

static enum wr_code open_stream(struct wr_request *req, struct wr_error *err)
{
	wr_pipe_source_init(&req->in_source, &req->in, req->limit);
	req->source = &req->in_source.base;
	if (!req->gzip)
		return WR_OK;
	req->gunzip = calloc(1, sizeof *req->gunzip);
	if (!req->gunzip)
		return wr_fail_nomem(err);
	req->source = &req->gunzip->base;
	return wr_gunzip_init(req->gunzip, &req->in_source.base, req->limit, err);
}

static enum wr_code prepare(struct wr_request *req, struct wr_error *err)
{
	enum wr_code code;

	switch (req->match.route->body) {
	case WR_BODY_STREAM:
		return open_stream(req, err);
	case WR_BODY_JSON:
	case WR_BODY_LARGE:
		code = unzip(req, err);
		return code ? code : parse(req, err);
	case WR_BODY_BYTES:
		code = unzip(req, err);
		wr_mem_source_init(&req->mem_source, wr_buf_str(&req->body));
		req->source = &req->mem_source.base;
		return code;
	default:
		wr_mem_source_init(&req->mem_source, WR_S(""));
		req->source = &req->mem_source.base;
		return WR_OK;
	}
}

/* Runs the handler on this thread and finishes the reply, unless it has to come again. */
static void run(struct wr_request *req)
{
	const struct wr_repo *repo = wr_request_repo(req);
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_suspect_mark mark;
	enum wr_code code = WR_OK;

	wr_suspect_begin(&mark, repo ? repo->id : "");
	if (atomic_load(&req->given_up))
		code = wr_fail(&err, WR_E_CANCELLED, "given up before it began");
	if (!code)
		code = prepare(req, &err);
	if (!code)
		code = req->match.route->handler(req->http->app, req, &err);
	wr_suspect_end(&mark);
	if (!req->later)
		wr_reply_finish(req, code, &err);
}

bool wr_work_at_once(struct wr_request *req)
{
	req->at_once = true;
	run(req);
	req->at_once = false;
	return !req->later;
}

void wr_work_job(void *arg)
{
	struct wr_request *req = arg;
	bool computes = req->match.route->lane != WR_LANE_COMMIT;

	req->later = false;
	if (computes)
		wr_gate_enter(req->http->gate, wr_admit_payer(req));
	run(req);
	if (computes)
		wr_gate_leave(req->http->gate);
	wr_request_unref(req);
}
