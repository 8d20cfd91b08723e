#include "server/api/api.h"

static json_t *wr_identity_json(const struct wr_identity *identity)
{
	return json_pack("{s:s, s:b}", "id", identity->id, "managed", (int)identity->managed);
}

static enum wr_code add_row(void *rows, const struct wr_identity *identity, struct wr_error *err)
{
	return wr_rows_add(rows, wr_identity_json(identity), err);
}

enum wr_code wr_api_identity_list(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO(json_t) *rows = json_array();
	struct wr_page page;
	bool managed = false;
	enum wr_code code = wr_page_read(&page, req, 100, 1000, err);

	if (code == WR_OK)
		code = wr_request_query_bool(req, "includeManaged", false, &managed, err);
	if (code == WR_OK)
		code = wr_identity_list(app->db, wr_request_caller(req)->account_id, managed, &page, add_row, rows,
					err);
	return code == WR_OK ? wr_reply_page(req, "identities", WR_STEAL(rows), &page, err) : code;
}

enum wr_code wr_api_identity_create(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	struct wr_identity identity;
	enum wr_code code = wr_identity_create(&identity, app->db, wr_request_caller(req)->account_id, err);

	return code == WR_OK ? wr_reply(req, wr_identity_json(&identity), err) : code;
}

enum wr_code wr_api_identity_delete(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	return wr_identity_delete(app->db, wr_request_caller(req)->account_id, wr_request_param(req, "identity"), err);
}
