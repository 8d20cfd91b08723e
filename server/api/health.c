#include "server/api/api.h"

enum wr_code wr_api_healthz(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	(void)app;
	return wr_reply(req, json_pack("{s:s}", "status", "ok"), err);
}
