/* What docs/openapi.yaml says, as the program that was built with it serves it. */
#include "server/api/api.h"

#include "reference.inc"

/* One of a list of tags is this one, or the list is a star; a cache may have weakened them. */
static bool names(struct wr_str list, const char *etag)
{
	return wr_str_eq(list, WR_S("*")) || (list.len && memmem(list.ptr, list.len, etag, strlen(etag)));
}

static enum wr_code serve(struct wr_request *req, const char *type, struct wr_str text, const char *etag,
			  struct wr_error *err)
{
	struct wr_sink *sink;
	enum wr_code code = wr_reply_stream(&sink, req, type, err);

	wr_reply_header(req, "ETag", etag);
	wr_reply_header(req, "Cache-Control", "no-cache");
	wr_reply_header(req, "X-Content-Type-Options", "nosniff");
	if (code != WR_OK)
		return code;
	if (names(wr_request_header(req, "If-None-Match"), etag)) {
		wr_reply_status(req, 304);
		return WR_OK;
	}
	return wr_sink_write(sink, text.ptr, text.len, err);
}

enum wr_code wr_api_openapi(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	(void)app;
	return serve(req, "application/json", WR_S(reference_json), REFERENCE_JSON_ETAG, err);
}

enum wr_code wr_api_docs(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	(void)app;
	wr_reply_header(req, "Content-Security-Policy", REFERENCE_PAGE_POLICY);
	wr_reply_header(req, "Referrer-Policy", "no-referrer");
	return serve(req, "text/html; charset=utf-8", WR_S(reference_page), REFERENCE_PAGE_ETAG, err);
}
