#include "core/base/json.h"
#include "server/api/api.h"

/* The key identityId is absent, not null, for an API key. */
enum wr_code wr_api_whoami(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	const struct wr_caller *caller = wr_request_caller(req);
	struct wr_buf text = WR_BUF_INIT(1024);

	(void)app;
	(void)err;
	wr_buf_addc(&text, '{');
	wr_json_member(&text, "accountId", wr_str(caller->account_id));
	if (caller->kind != WR_BY_KEY)
		wr_json_member(&text, "identityId", wr_str(caller->identity_id));
	wr_buf_addc(&text, '}');
	wr_reply_json_text(req, &text);
	return WR_OK;
}
