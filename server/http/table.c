#include "server/api/api.h"
#include "server/http/http.h"
#include "server/http/route.h"

/* routes.def writes bare words; these are what they mean here. */
static const struct wr_route rows[] = {
#define X(method, path, access, body, lane, handler)                                                                   \
	{#method, path, WR_ACCESS_##access, WR_BODY_##body, WR_LANE_##lane, handler},
#include "server/http/routes.def"
#undef X
};

static enum wr_code failure(const struct wr_route *route)
{
	static const struct {
		wr_handler handler;
		enum wr_code code;
	} failures[] = {
#define X(handler, code) {handler, WR_E_##code},
#include "server/http/failures.def"
#undef X
	};

	for (size_t i = 0; i < WR_ARRAY_LEN(failures); i++)
		if (failures[i].handler == route->handler)
			return failures[i].code;
	return WR_E_INTERNAL;
}

static const struct wr_route_table table = {rows, WR_ARRAY_LEN(rows), failure};

enum wr_code wr_http_start(struct wr_http **out, struct wr_app *app, const struct wr_config *cfg,
			   const struct wr_listener *listener, struct wr_error *err)
{
	return wr_http_start_on(out, app, cfg, &table, listener, err);
}
