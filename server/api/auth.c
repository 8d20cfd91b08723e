#include "server/api/api.h"

/* The key identityId is absent, not null, for an API key. */
enum wr_code wr_api_whoami(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	const struct wr_caller *caller = wr_request_caller(req);

	(void)app;
	if (caller->kind == WR_BY_KEY)
		return wr_reply(req, json_pack("{s:s}", "accountId", caller->account_id), err);
	return wr_reply(req,
			json_pack("{s:s, s:s}", "accountId", caller->account_id, "identityId", caller->identity_id),
			err);
}
