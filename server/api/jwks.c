#include <stdio.h>

#include "server/api/api.h"
#include "triggers/signing.h"

enum wr_code wr_api_jwks(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	json_t *keys = NULL;
	char cache[64];
	enum wr_code code = wr_signing_jwks(&keys, app->signing, err);

	if (code != WR_OK)
		return code;
	snprintf(cache, sizeof cache, "public, max-age=%lld", (long long)wr_signing_max_age(app->signing));
	wr_reply_header(req, "Cache-Control", cache);
	return wr_reply(req, keys, err);
}
