#include "core/base/log.h"
#include "server/http/credential.h"
#include "server/http/http_internal.h"

/* A request header straight from libmicrohttpd: the credentials, which are not copied. */
static struct wr_str raw_header(struct wr_request *req, const char *name)
{
	const char *value = NULL;
	size_t len = 0;

	if (MHD_lookup_connection_value_n(req->connection, MHD_HEADER_KIND, name, strlen(name), &value, &len) == MHD_NO)
		return (struct wr_str){NULL, 0};
	return wr_str_n(value ? value : "", len);
}

static enum wr_code who(struct wr_request *req, struct wr_error *err)
{
	struct wr_credential_buf cred;
	enum wr_code code;

	wr_credential_read(&cred, raw_header(req, "Authorization"),
			   raw_header(req, "X-Freestyle-Identity-Access-Token"), wr_request_is_git(req));
	code = wr_access_caller(&req->caller, req->http->app->db, &cred.cred, err);
	wr_credential_wipe(&cred);
	return code;
}

static bool anonymous(const struct wr_request *req)
{
	return req->caller.kind == WR_ANONYMOUS;
}

static enum wr_code no_credential(struct wr_error *err)
{
	return wr_fail(err, WR_E_UNAUTHORIZED, "%s", wr_code_text(WR_E_UNAUTHORIZED));
}

/* The level that the route asks for on its repository. */
static enum wr_code needed_level(enum wr_level *out, const struct wr_request *req, struct wr_error *err)
{
	struct wr_str service;

	switch (req->match.route->access) {
	case WR_ACCESS_REPO_WRITE:
	case WR_ACCESS_GIT_WRITE:
		*out = WR_LEVEL_WRITE;
		return WR_OK;
	case WR_ACCESS_REPO_ADMIN:
		*out = WR_LEVEL_ADMIN;
		return WR_OK;
	case WR_ACCESS_GIT_SERVICE:
		if (!wr_request_query(req, "service", &service))
			return wr_fail(err, WR_E_EXPECTED_SERVICE, "%s", wr_code_text(WR_E_EXPECTED_SERVICE));
		if (!wr_str_eqz(service, "git-upload-pack") && !wr_str_eqz(service, "git-receive-pack"))
			return wr_fail(err, WR_E_INVALID_SERVICE, "%s", wr_code_text(WR_E_INVALID_SERVICE));
		*out = wr_str_eqz(service, "git-upload-pack") ? WR_LEVEL_READ : WR_LEVEL_WRITE;
		return WR_OK;
	default:
		*out = WR_LEVEL_READ;
		return WR_OK;
	}
}

/*
 * Whoever cannot read the repository learns nothing about it: 404, or 401 where a credential might help. Only those who
 * can read it hear what they lack (and that a Git URL wants a service).
 */
static enum wr_code judge_repo(struct wr_request *req, struct wr_error *err)
{
	struct wr_str id = wr_request_find_param(req, "repo");
	enum wr_level level = WR_LEVEL_NONE, needed = WR_LEVEL_ADMIN;
	enum wr_code code;

	code = wr_access_repo(&req->repo, &level, req->http->app->db, &req->caller, id, wr_request_is_git(req), err);
	if (!code && level < WR_LEVEL_READ)
		code = wr_fail(err, WR_E_REPO_NOT_FOUND, "%s", wr_code_text(WR_E_REPO_NOT_FOUND));
	if (code == WR_E_REPO_NOT_FOUND && anonymous(req))
		return no_credential(err);
	if (code == WR_E_REPO_NOT_FOUND)
		wr_error_field(err, "repoId", id);
	if (code)
		return code;
	req->has_repo = true;
	req->level = level;
	if ((code = needed_level(&needed, req, err)))
		return code;
	if (level >= needed)
		return WR_OK;
	if (anonymous(req))
		return no_credential(err);
	return wr_fail(err, WR_E_REPO_ACCESS_DENIED, "%s", wr_code_text(WR_E_REPO_ACCESS_DENIED));
}

static enum wr_code judge_caller(struct wr_request *req, struct wr_error *err)
{
	enum wr_route_access access = req->match.route->access;
	enum wr_code code;

	if (access == WR_ACCESS_NONE)
		return WR_OK;
	if ((code = who(req, err)))
		return code;
	if (anonymous(req) && !wr_request_is_git(req))
		return no_credential(err);
	if (access == WR_ACCESS_ANY)
		return WR_OK;
	if (access == WR_ACCESS_ACCOUNT)
		return req->caller.kind == WR_BY_KEY ? WR_OK
						     : wr_fail(err, WR_E_FORBIDDEN, "%s", wr_code_text(WR_E_FORBIDDEN));
	return judge_repo(req, err);
}

static uint64_t body_limit(const struct wr_request *req)
{
	const struct wr_config *cfg = req->http->cfg;

	switch (req->match.route->body) {
	case WR_BODY_JSON:
		return WR_JSON_MAX;
	case WR_BODY_LARGE:
		return cfg->http_max_commit;
	case WR_BODY_BYTES:
		return cfg->git_max_fetch_request;
	case WR_BODY_STREAM:
		return cfg->git_max_pack + WR_STREAM_MARGIN;
	default:
		return WR_IGNORED_MAX;
	}
}

static enum wr_code judge_body(struct wr_request *req, struct wr_error *err)
{
	enum wr_route_body body = req->match.route->body;
	struct wr_str encoding = wr_request_find_header(req, "Content-Encoding");

	req->limit = body_limit(req);
	req->body.max = (size_t)(req->has_length && req->content_length < req->limit ? req->content_length : req->limit);
	if (req->has_length && req->content_length > req->limit)
		return wr_fail(err, WR_E_TOO_LARGE, "The request's body is larger than %llu bytes",
			       (unsigned long long)req->limit);
	if (body == WR_BODY_NONE)
		return WR_OK;
	if (req->coded_twice)
		return wr_fail(err, WR_E_MEDIA_TYPE, "The only content encoding known is gzip, once");
	if (encoding.len && !wr_str_caseeq(encoding, WR_S("identity"))) {
		if (!wr_str_caseeq(encoding, WR_S("gzip")) && !wr_str_caseeq(encoding, WR_S("x-gzip")))
			return wr_fail(err, WR_E_MEDIA_TYPE, "The only content encoding known is gzip");
		req->gzip = true;
	}
	return WR_OK;
}

/* Room is asked for before the body is read: who has to come again later should not have sent it in vain. */
static enum wr_code judge_room(struct wr_request *req, struct wr_error *err)
{
	enum wr_route_body body = req->match.route->body;
	struct wr_lane *lane = wr_admit_lane(req);

	/* What is quick mostly needs no room in a lane, and hears later where it does. */
	if (lane && req->match.route->lane != WR_LANE_QUICK && wr_lane_full(lane, wr_admit_payer(req)))
		return wr_fail(err, WR_E_UNAVAILABLE, "no room in the lane");
	/* Only asked, not taken: what is promised and never sent must not cost anybody else his place. */
	if ((body == WR_BODY_JSON || body == WR_BODY_LARGE || body == WR_BODY_BYTES) &&
	    !wr_request_room(req, req->content_length, WR_CHARGE_NEEDED))
		return wr_fail(err, WR_E_UNAVAILABLE, "max_buffered reached");
	return WR_OK;
}

struct wr_lane *wr_admit_lane(const struct wr_request *req)
{
	switch (req->match.route->lane) {
	case WR_LANE_COMMIT:
		return req->http->commit;
	case WR_LANE_CPU:
	case WR_LANE_QUICK:
		return req->http->git;
	default:
		return NULL;
	}
}

struct wr_str wr_admit_payer(const struct wr_request *req)
{
	return wr_str(req->payer[0] ? req->payer : "-");
}

static void set_payer(struct wr_request *req)
{
	if (req->caller.account_id[0])
		snprintf(req->payer, sizeof req->payer, "%s", req->caller.account_id);
	else if (req->has_repo)
		snprintf(req->payer, sizeof req->payer, "?%s", req->repo.account_id);
}

static enum wr_code judge_route(struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_S(wr_buf) allow = WR_BUF_INIT(256);
	bool nomem, options = strcmp(req->method, "OPTIONS") == 0;

	if (!wr_route_match(&req->match, req->http->table, wr_str(req->method), &req->url, &nomem)) {
		if (nomem)
			return wr_fail_nomem(err);
		if (!options || !wr_request_find_header(req, "Access-Control-Request-Method").ptr)
			return wr_fail(err, WR_E_NOT_FOUND, "No such route");
		/* A preflight of what does not exist: refused, it would hide the 404 from the page that asks. */
		wr_reply_header(req, "Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
		req->reply.status = 204;
		req->refused = true;
		return WR_OK;
	}
	if (req->match.route)
		return WR_OK;
	wr_route_allow(&allow, req->http->table, &req->url);
	if (!wr_buf_ok(&allow))
		return wr_fail_nomem(err);
	wr_reply_header(req, "Allow", allow.ptr);
	if (!options)
		return wr_fail(err, WR_E_METHOD_NOT_ALLOWED, "This path takes %s", allow.ptr);
	req->reply.status = 204;
	req->refused = true;
	return WR_OK;
}

enum wr_code wr_admit(struct wr_request *req, struct wr_error *err)
{
	enum wr_code code;

	if (req->target_error.code) {
		code = req->target_error.code;
		wr_error_move(err, &req->target_error);
		return code;
	}
	code = judge_route(req, err);
	if (code || req->refused)
		return code;
	if (atomic_load(&req->http->draining) && strcmp(req->match.route->path, "/healthz") == 0)
		return wr_fail(err, WR_E_UNAVAILABLE, "draining");
	code = judge_caller(req, err);
	set_payer(req);
	if (!code)
		code = judge_body(req, err);
	if (!code)
		code = judge_room(req, err);
	return code;
}
