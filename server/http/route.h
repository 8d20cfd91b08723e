/*
 * server/http/route.h: the rows of routes.def as data, and which of them a request means.
 * A path is matched segment by segment: fixed text before {name} before {name*}, so the most particular row wins. A
 * trailing slash after a fixed segment changes nothing; nothing is ever redirected.
 * Ownership: rows are literals; a wr_route_table borrows them. A match borrows the URL.
 * Threads:   read-only once built.
 */
#ifndef WR_ROUTE_H
#define WR_ROUTE_H

#include "core/base/buf.h"
#include "server/http/request.h"
#include "server/http/url.h"

enum wr_route_access {
	WR_ACCESS_NONE,
	WR_ACCESS_ANY,
	WR_ACCESS_ACCOUNT,
	WR_ACCESS_REPO_READ,
	WR_ACCESS_REPO_WRITE,
	WR_ACCESS_REPO_ADMIN,
	WR_ACCESS_GIT_SERVICE,
	WR_ACCESS_GIT_READ,
	WR_ACCESS_GIT_WRITE,
};
enum wr_route_body { WR_BODY_NONE, WR_BODY_JSON, WR_BODY_LARGE, WR_BODY_BYTES, WR_BODY_STREAM };
enum wr_route_lane { WR_LANE_INLINE, WR_LANE_QUICK, WR_LANE_COMMIT, WR_LANE_CPU };

struct wr_route {
	const char *method;
	const char *path;
	enum wr_route_access access;
	enum wr_route_body body;
	enum wr_route_lane lane;
	wr_handler handler;
};

struct wr_route_table {
	const struct wr_route *rows;
	size_t n;
	/* NULL, or the code that WR_E_INTERNAL has on this route (failures.def). */
	enum wr_code (*failure)(const struct wr_route *route);
};

static inline bool wr_route_is_git(const struct wr_route *route)
{
	return route->access >= WR_ACCESS_GIT_SERVICE;
}

#define WR_ROUTE_PARAMS 4

struct wr_match {
	const struct wr_route *route; /* NULL when the path is known, but not with this method */
	const struct wr_route *near;  /* the route, or else some row whose path matched */
	struct {
		struct wr_str name; /* without braces, star and .git */
		struct wr_str value;
	} params[WR_ROUTE_PARAMS];
	size_t n_params;
	char *joined; /* memory of a {name*} value */
};

/*
 * False when no row has this path. method "HEAD" means the row of GET.
 * Errors: none but out of memory, which reads as false with *nomem set.
 */
bool wr_route_match(struct wr_match *out, const struct wr_route_table *table, struct wr_str method,
		    const struct wr_url *url, bool *nomem);
void wr_match_fini(struct wr_match *match);

/* "GET, HEAD, POST, OPTIONS": what rows with this path take. */
void wr_route_allow(struct wr_buf *out, const struct wr_route_table *table, const struct wr_url *url);

#endif
