#include "server/api/api.h"
#include "server/api/fields.h"

/*
 * One grant has three names for its level: `permission` in requests, `accessLevel` in the single read, `permissions` in
 * the list. The routes call the repository {grant}, so that it is looked up here and not before: the identity comes
 * first.
 */

static json_t *wr_grant_json(const struct wr_grant *grant)
{
	return json_pack("{s:s, s:s, s:s?}", "identity", grant->identity_id, "repo", grant->repo.id, "accessLevel",
			 wr_level_text(grant->level));
}

static json_t *wr_granted_repo_json(const struct wr_grant *grant)
{
	const struct wr_repo *repo = &grant->repo;

	return json_pack("{s:s, s:s?, s:s, s:s, s:s}", "id", repo->id, "name", repo->has_name ? repo->name : NULL,
			 "accountId", repo->account_id, "permissions", wr_level_text(grant->level), "visibility",
			 wr_visibility_text(repo->public_));
}

static enum wr_code add_row(void *rows, const struct wr_grant *grant, struct wr_error *err)
{
	return wr_rows_add(rows, wr_granted_repo_json(grant), err);
}

enum wr_code wr_api_grant_list(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO(json_t) *rows = json_array();
	struct wr_page page;
	enum wr_code code = wr_page_read(&page, req, 100, 1000, err);

	if (code == WR_OK)
		code = wr_grant_list(app->db, wr_request_caller(req)->account_id, wr_request_param(req, "identity"),
				     &page, add_row, rows, err);
	return code == WR_OK ? wr_reply_page(req, "repositories", WR_STEAL(rows), &page, err) : code;
}

enum wr_code wr_api_grant_get(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	struct wr_grant grant;
	enum wr_code code = wr_grant_get(&grant, app->db, wr_request_caller(req)->account_id,
					 wr_request_param(req, "identity"), wr_request_param(req, "grant"), err);

	return code == WR_OK ? wr_reply(req, wr_grant_json(&grant), err) : code;
}

struct grant_body {
	struct wr_str permission;
};

static const struct wr_field grant_fields[] = {WR_FIELD(struct grant_body, permission, "permission", STRING, true)};

static enum wr_code read_level(enum wr_level *out, struct wr_request *req, struct wr_error *err)
{
	struct grant_body body = {{NULL, 0}};
	enum wr_code code = wr_fields_read(&body, grant_fields, WR_ARRAY_LEN(grant_fields), wr_request_json(req), err);

	if (code != WR_OK)
		return code;
	if (wr_str_eqz(body.permission, "read"))
		*out = WR_LEVEL_READ;
	else if (wr_str_eqz(body.permission, "write"))
		*out = WR_LEVEL_WRITE;
	else
		return wr_fail(err, WR_E_INVALID_REQUEST, "The field permission has to be \"read\" or \"write\"");
	return WR_OK;
}

enum wr_code wr_api_grant_create(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	enum wr_level level;
	enum wr_code code = read_level(&level, req, err);

	if (code != WR_OK)
		return code;
	return wr_grant_create(app->db, wr_request_caller(req)->account_id, wr_request_param(req, "identity"),
			       wr_request_param(req, "grant"), level, err);
}

enum wr_code wr_api_grant_update(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	enum wr_level level;
	enum wr_code code = read_level(&level, req, err);

	if (code != WR_OK)
		return code;
	return wr_grant_update(app->db, wr_request_caller(req)->account_id, wr_request_param(req, "identity"),
			       wr_request_param(req, "grant"), level, err);
}

enum wr_code wr_api_grant_revoke(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	return wr_grant_revoke(app->db, wr_request_caller(req)->account_id, wr_request_param(req, "identity"),
			       wr_request_param(req, "grant"), err);
}
