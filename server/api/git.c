/* Smart HTTP (gitprotocol-http): the three URLs behind which the engine in smart-http/ answers. */
#include "core/base/config.h"
#include "core/base/log.h"
#include "server/api/view.h"
#include "smart-http/advert.h"
#include "smart-http/receive.h"
#include "smart-http/upload.h"

/* Above this a client that lists prefixes gets all refs, which it filters itself. */
#define MAX_PREFIXES 65536

/* What is true of a repository now may not be a minute later; the words are for caches of HTTP/1.0 too. */
static void no_cache(struct wr_request *req)
{
	wr_reply_header(req, "Expires", "Fri, 01 Jan 1980 00:00:00 GMT");
	wr_reply_header(req, "Pragma", "no-cache");
	wr_reply_header(req, "Cache-Control", "no-cache, max-age=0, must-revalidate");
}

static enum wr_code stream_begin(struct wr_sink **sink, struct wr_request *req, enum wr_service service,
				 const char *kind, struct wr_error *err)
{
	char type[64];

	no_cache(req);
	snprintf(type, sizeof(type), "application/x-%s-%s", wr_service_name(service), kind);
	return wr_reply_stream(sink, req, type, err);
}

static enum wr_code check_type(const struct wr_request *req, enum wr_service service, struct wr_error *err)
{
	struct wr_str type = wr_request_header(req, "Content-Type");
	const char *semicolon = type.len ? memchr(type.ptr, ';', type.len) : NULL;
	char expected[64];

	if (semicolon)
		type.len = (size_t)(semicolon - type.ptr);
	while (type.len && (type.ptr[type.len - 1] == ' ' || type.ptr[type.len - 1] == '\t'))
		type.len--;
	snprintf(expected, sizeof(expected), "application/x-%s-request", wr_service_name(service));
	if (!wr_str_caseeq(type, wr_str(expected)))
		return wr_fail(err, WR_E_MEDIA_TYPE, "The Content-Type has to be %s", expected);
	return WR_OK;
}

static enum wr_code snapshot_of(struct wr_snapshot **out, struct wr_app *app, const struct wr_request *req,
				struct wr_error *err)
{
	WR_AUTO(wr_git_repo) *repo = NULL;
	WR_AUTO(wr_snapshot) *snap = NULL;
	enum wr_code code = wr_git_repo_open(&repo, app->git, wr_request_repo(req)->id, err);

	if (code != WR_OK || (code = wr_snapshot_take(&snap, repo, err)) != WR_OK ||
	    (code = wr_api_still_there(app, req, snap, true, err)) != WR_OK)
		return code;
	*out = WR_STEAL(snap);
	return WR_OK;
}

enum wr_code wr_api_git_info_refs(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_sink *sink;
	struct wr_str name;
	enum wr_service service;
	enum wr_code code;
	int version;

	if (!wr_request_query(req, "service", &name))
		return wr_fail(err, WR_E_EXPECTED_SERVICE, "%s", wr_code_text(WR_E_EXPECTED_SERVICE));
	if (!wr_service_parse(&service, name))
		return wr_fail(err, WR_E_INVALID_SERVICE, "%s", wr_code_text(WR_E_INVALID_SERVICE));
	version = wr_protocol_version(service, wr_request_header(req, "Git-Protocol"));
	if ((code = snapshot_of(&snap, app, req, err)) != WR_OK ||
	    (code = stream_begin(&sink, req, service, "advertisement", err)) != WR_OK)
		return code;
	wr_request_log_int(req, "protocol", version);
	return wr_advert_write(sink, snap, service, version, wr_str(wr_request_repo(req)->default_branch), err);
}

enum wr_code wr_api_git_upload_pack(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	const struct wr_upload_limits limits = {
		.max_wants = app->cfg->git_max_wants,
		.max_haves = app->cfg->git_max_haves,
		.max_prefixes = MAX_PREFIXES,
		.max_depth_lines = (size_t)app->cfg->git_max_depth_lines,
		.max_preamble = (size_t)app->cfg->git_max_preamble,
	};
	int version = wr_protocol_version(WR_UPLOAD_PACK, wr_request_header(req, "Git-Protocol"));
	WR_AUTO(wr_upload) *up = NULL;
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_sink *sink;
	enum wr_code code;

	if ((code = check_type(req, WR_UPLOAD_PACK, err)) != WR_OK ||
	    (code = wr_upload_parse(&up, wr_request_body(req), version, &limits, err)) != WR_OK ||
	    (code = snapshot_of(&snap, app, req, err)) != WR_OK ||
	    (code = stream_begin(&sink, req, WR_UPLOAD_PACK, "result", err)) != WR_OK)
		return code;
	wr_request_log_int(req, "protocol", version);
	code = wr_upload_answer(up, snap, wr_str(wr_request_repo(req)->default_branch), sink, wr_request_cancel(req),
				err);
	if (code != WR_OK && wr_upload_told(up)) {
		/* The answer is whole and says what is wrong; cutting the connection would lose it. */
		wr_log_error(wr_request_trace(req), WR_EV_REQUEST_FAILED, err);
		return WR_OK;
	}
	return code;
}

static void log_push(struct wr_request *req, const struct wr_receive_result *result)
{
	const struct wr_caller *caller = wr_request_caller(req);
	bool by_token = caller->kind == WR_BY_TOKEN;
	const char *who = by_token ? caller->identity_id : caller->account_id;
	const char *kind = by_token ? "identity" : "account";

	wr_request_log_int(req, "refs_accepted", (int64_t)result->accepted);
	wr_request_log_int(req, "refs_refused", (int64_t)result->refused);
	if (result->options)
		wr_request_log_int(req, "push_options", (int64_t)result->options);
	if (result->accepted)
		WR_LOG(WR_INFO, wr_request_trace(req), PUSH_ACCEPTED, WR_STR("repo", wr_request_repo(req)->id),
		       WR_STR(kind, who), WR_INT("refs", result->accepted));
	if (result->refused)
		WR_LOG(WR_INFO, wr_request_trace(req), PUSH_REFUSED, WR_STR("repo", wr_request_repo(req)->id),
		       WR_STR(kind, who), WR_INT("refs", result->refused), WR_STR("why", result->pack_refused));
}

struct pusher {
	struct wr_app *app;
	const struct wr_request *req;
};

static enum wr_code may_still_push(void *arg, struct wr_error *err)
{
	const struct pusher *p = arg;

	return wr_access_again(p->app->db, wr_request_caller(p->req), wr_request_repo(p->req)->id, true, WR_LEVEL_WRITE,
			       err);
}

enum wr_code wr_api_git_receive_pack(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	const struct wr_receive_limits limits = {
		.max_commands = app->cfg->git_max_commands,
		.max_depth_lines = (size_t)app->cfg->git_max_depth_lines,
		.max_options = (size_t)app->cfg->git_max_push_options,
		.room = wr_request_memory(req),
	};
	const struct wr_repo *row = wr_request_repo(req);
	struct pusher pusher = {app, req};
	char asker[WR_CALLER_NAME];
	const struct wr_receive_permit permit = {may_still_push, &pusher, wr_api_asker(asker, req)};
	struct wr_receive_result result = {0};
	WR_AUTO(wr_receive) *rx = NULL;
	WR_AUTO(wr_git_repo) *repo = NULL;
	struct wr_sink *sink;
	enum wr_code code;

	if ((code = check_type(req, WR_RECEIVE_PACK, err)) != WR_OK ||
	    (code = wr_receive_parse(&rx, wr_request_source(req), &limits, err)) != WR_OK ||
	    (code = wr_git_repo_open(&repo, app->git, row->id, err)) != WR_OK ||
	    (code = stream_begin(&sink, req, WR_RECEIVE_PACK, "result", err)) != WR_OK)
		return code;
	code = wr_receive_run(&result, rx, repo, wr_str(row->default_branch), &permit, wr_request_source(req), sink,
			      wr_request_cancel(req), err);
	log_push(req, &result);
	if (code != WR_OK && result.told) {
		wr_log_error(wr_request_trace(req), WR_EV_PUSH_REFUSED, err);
		return WR_OK;
	}
	return code;
}
