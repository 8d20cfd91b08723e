#include "core/base/config.h"
#include "server/api/api.h"
#include "server/api/fields.h"

static json_t *optional_text(struct wr_str s)
{
	return s.ptr ? wr_json_str(s) : json_null();
}

/* The secret is not in here: it is shown once, by the creation. */
static json_t *wr_token_json(const struct wr_token *token)
{
	return json_pack("{s:s, s:o, s:s?, s:o, s:o, s:o}", "id", token->id, "description",
			 optional_text(token->description), "scope", token->read_only ? "read" : NULL, "createdAt",
			 wr_time_json(token->created_ms), "expiresAt", wr_time_json(token->expires_ms), "lastUsedAt",
			 wr_time_json(token->last_used_ms));
}

static enum wr_code add_row(void *rows, const struct wr_token *token, struct wr_error *err)
{
	return wr_rows_add(rows, wr_token_json(token), err);
}

enum wr_code wr_api_token_list(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO(json_t) *rows = json_array();
	enum wr_code code = wr_token_list(app->db, wr_request_caller(req)->account_id,
					  wr_request_param(req, "identity"), add_row, rows, err);

	return code == WR_OK ? wr_reply(req, json_pack("{s:o}", "tokens", WR_STEAL(rows)), err) : code;
}

static enum wr_code reply_one(void *req, const struct wr_token *token, struct wr_error *err)
{
	return wr_reply(req, wr_token_json(token), err);
}

enum wr_code wr_api_token_get(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	return wr_token_get(app->db, wr_request_caller(req)->account_id, wr_request_param(req, "identity"),
			    wr_request_param(req, "token"), reply_one, req, err);
}

struct token_body {
	struct wr_str description, scope;
	struct wr_field_int expires_in; /* seconds */
};

static const struct wr_field token_fields[] = {
	WR_FIELD(struct token_body, description, "description", STRING, false),
	WR_FIELD(struct token_body, scope, "scope", STRING, false),
	WR_FIELD(struct token_body, expires_in, "expiresIn", INT, false),
};

static enum wr_code read_token_body(struct wr_token_new *out, const struct wr_app *app, struct wr_request *req,
				    struct wr_error *err)
{
	struct token_body body = {.expires_in = {false, 0}};
	int64_t longest = (int64_t)(app->cfg->tokens_max_lifetime / 1000);
	enum wr_code code =
		wr_fields_read(&body, token_fields, WR_ARRAY_LEN(token_fields), wr_request_json(req), err);

	if (code != WR_OK)
		return code;
	if (body.description.len > WR_TOKEN_DESCRIPTION_MAX)
		return wr_fail(err, WR_E_INVALID_REQUEST, "The field description has at most %d bytes",
			       WR_TOKEN_DESCRIPTION_MAX);
	if (body.scope.ptr && !wr_str_eqz(body.scope, "read"))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The field scope has to be \"read\", or absent");
	if (body.expires_in.set && (body.expires_in.value < 1 || body.expires_in.value > longest))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The field expiresIn has to be between 1 and %lld seconds",
			       (long long)longest);
	*out = (struct wr_token_new){body.description, body.scope.ptr != NULL, body.expires_in.value * 1000};
	return WR_OK;
}

enum wr_code wr_api_token_create(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	char id[WR_UUID_LEN + 1], secret[WR_SECRET_LEN + 1];
	struct wr_token_new new;
	enum wr_code code = read_token_body(&new, app, req, err);

	if (code == WR_OK)
		code = wr_token_create(id, secret, app->db, wr_request_caller(req)->account_id,
				       wr_request_param(req, "identity"), &new, err);
	return code == WR_OK ? wr_reply(req, json_pack("{s:s, s:s}", "id", id, "token", secret), err) : code;
}

static enum wr_code revoke_token(struct wr_app *app, struct wr_request *req, struct wr_str token, struct wr_error *err)
{
	return wr_token_revoke(app->db, wr_request_caller(req)->account_id, wr_request_param(req, "identity"), token,
			       err);
}

enum wr_code wr_api_token_revoke(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	return revoke_token(app, req, wr_request_param(req, "token"), err);
}

struct revoke_body {
	struct wr_str token_id;
};

static const struct wr_field revoke_fields[] = {WR_FIELD(struct revoke_body, token_id, "tokenId", STRING, true)};

enum wr_code wr_api_token_revoke_by_body(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	struct revoke_body body = {{NULL, 0}};
	enum wr_code code =
		wr_fields_read(&body, revoke_fields, WR_ARRAY_LEN(revoke_fields), wr_request_json(req), err);

	return code == WR_OK ? revoke_token(app, req, body.token_id, err) : code;
}
