#include "server/api/view.h"

#include <openssl/evp.h>

#include "core/base/config.h"
#include "core/base/json.h"

/* Bytes that are encoded at once; a multiple of 3. */
#define PIECE ((size_t)48 << 10)

enum wr_code wr_api_still_there(struct wr_app *app, const struct wr_request *req, const struct wr_snapshot *snap,
				bool for_git, struct wr_error *err)
{
	size_t refs;

	wr_snapshot_refs(snap, &refs);
	if (refs > 0)
		return WR_OK;
	return wr_access_again(app->db, wr_request_caller(req), wr_request_repo(req)->id, for_git, WR_LEVEL_READ, err);
}

enum wr_code wr_api_writable(struct wr_git_repo **out, struct wr_app *app, const struct wr_request *req,
			     struct wr_error *err)
{
	WR_AUTO(wr_git_repo) *git = NULL;
	const char *id = wr_request_repo(req)->id;
	enum wr_code code = wr_git_repo_open(&git, app->git, id, err);

	/* In this order: the handle of one that is deleted later is there to be told. */
	if (code == WR_OK)
		code = wr_access_again(app->db, wr_request_caller(req), id, false, WR_LEVEL_WRITE, err);
	if (code == WR_OK)
		*out = WR_STEAL(git);
	return code;
}

enum wr_code wr_api_view(struct wr_view *out, struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO(wr_git_repo) *git = NULL;
	const struct wr_repo *repo = wr_request_repo(req);
	enum wr_code code = wr_git_repo_open(&git, app->git, repo->id, err);

	if (code != WR_OK)
		return code;
	code = wr_view_open(out, git, wr_str(repo->default_branch), wr_request_level(req) >= WR_LEVEL_WRITE,
			    wr_request_cancel(req), err);
	if (code != WR_OK)
		return code;
	if ((code = wr_api_still_there(app, req, out->snap, false, err)) != WR_OK) {
		wr_view_fini(out);
		return code;
	}
	out->sizes = app->sizes;
	out->git = app->git;
	out->memory = wr_request_memory(req);
	/* Half of what an account may have, so that it comes free while others have some. */
	out->memory_max = app->cfg->http_max_buffered / 200 * app->cfg->lanes_account_share;
	return WR_OK;
}

struct wr_str wr_api_rev(const struct wr_request *req)
{
	struct wr_str rev = WR_S("");

	if (!wr_request_query(req, "rev", &rev))
		wr_request_query(req, "ref", &rev);
	return rev.ptr ? rev : WR_S("");
}

/* *n is less than PIECE only at the end. */
static enum wr_code next_piece(size_t *n, unsigned char bytes[PIECE], struct wr_source *source, struct wr_error *err)
{
	enum wr_code code = WR_OK;
	size_t len = 0, got = 1;

	while (len < PIECE && got > 0 && code == WR_OK)
		if ((code = wr_source_read(source, bytes + len, PIECE - len, &got, err)) == WR_OK)
			len += got;
	*n = len;
	return code;
}

static enum wr_code write_base64(struct wr_sink *sink, struct wr_source *source, struct wr_error *err)
{
	WR_AUTO_MEM unsigned char *bytes = malloc(PIECE + PIECE / 3 * 4 + 1);
	enum wr_code code = bytes ? WR_OK : wr_fail_nomem(err);
	size_t n = PIECE;

	while (n == PIECE && code == WR_OK && (code = next_piece(&n, bytes, source, err)) == WR_OK)
		code = wr_sink_write(sink, bytes + PIECE, (size_t)EVP_EncodeBlock(bytes + PIECE, bytes, (int)n), err);
	return code;
}

enum wr_code wr_reply_base64(struct wr_request *req, struct wr_buf *begun, const char *key,
			     struct wr_source *source, struct wr_error *err)
{
	struct wr_sink *sink;
	enum wr_code code;

	wr_json_key(begun, key);
	wr_buf_addc(begun, '"');
	if (!wr_buf_ok(begun))
		return wr_fail_nomem(err);
	if ((code = wr_reply_stream(&sink, req, "application/json", err)) != WR_OK ||
	    (code = wr_sink_write(sink, begun->ptr, begun->len, err)) != WR_OK ||
	    (code = write_base64(sink, source, err)) != WR_OK)
		return code;
	return wr_sink_write(sink, "\"}", 2, err);
}
