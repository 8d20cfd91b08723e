#include "core/base/share.h"
#include "core/base/suspects.h"
#include "server/http/http_internal.h"

/* The body that the handler gets: unzipped, parsed, or as a source. On the handler's thread. */
static enum wr_code unzip(struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_S(wr_buf) plain = WR_BUF_INIT((size_t)req->limit);
	enum wr_code code;

	if (!req->gzip || req->body.len == 0)
		return WR_OK;
	code = wr_gunzip_all(&plain, wr_buf_str(&req->body), wr_request_memory(req), err);
	if (code)
		return code;
	wr_buf_fini(&req->body);
	req->body = plain;
	plain = (struct wr_buf)WR_BUF_INIT(0);
	return WR_OK;
}

/* Room for the values, which may take a hundred times what their text does. */
static enum wr_code charge_values(struct wr_request *req, struct wr_error *err)
{
	const struct wr_config *cfg = req->http->cfg;
	uint64_t cost = req->look.cost;

	/* There are no more of them at once than threads that work. */
	if (cost <= WR_FREE_VALUES)
		return WR_OK;
	cost -= WR_FREE_VALUES;
	if (!wr_share_fits(0, 0, req->body.len + cost, cfg->http_max_buffered, (unsigned)cfg->lanes_account_share))
		return wr_fail(err, WR_E_TOO_LARGE,
			       "The body has too many values, or too long ones, for this server to hold; send it in parts");
	return wr_request_charge(req, cost, WR_CHARGE_NEEDED)
		       ? WR_OK
		       : wr_fail(err, WR_E_UNAVAILABLE, "max_buffered reached");
}

static enum wr_code parse(struct wr_request *req, struct wr_error *err)
{
	enum wr_code code;

	if (req->body.len == 0) {
		req->json = json_object();
		return req->json ? WR_OK : wr_fail_nomem(err);
	}
	if ((code = wr_json_look(&req->look, req->body.ptr, req->body.len, err)) != WR_OK ||
	    (code = charge_values(req, err)) != WR_OK || (code = wr_json_read(&req->json, &req->look, err)) != WR_OK)
		return code;
	if (!json_is_object(req->json))
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "The body is not a JSON object (it begins otherwise at line 1, column 1)");
	if (req->look.kept == 0)
		wr_buf_fini(&req->body);
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

/* The route's own words for a fault, and for a repository that was deleted after the request had been let in. */
static enum wr_code as_told(const struct wr_request *req, enum wr_code code, struct wr_error *err)
{
	const struct wr_repo *repo = wr_request_repo(req);

	if (code == WR_E_INTERNAL && req->http->table->failure)
		return err->code = req->http->table->failure(req->match.route);
	if (code == WR_E_NOT_THERE && repo && req->match.route->access < WR_ACCESS_GIT_SERVICE) {
		wr_fail(err, WR_E_REPO_NOT_FOUND, "%s", wr_code_text(WR_E_REPO_NOT_FOUND));
		wr_error_field(err, "repoId", wr_str(repo->id));
		return WR_E_REPO_NOT_FOUND;
	}
	return code;
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
	code = as_told(req, code, &err);
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
