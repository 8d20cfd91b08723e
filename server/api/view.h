/*
 * server/api/view.h: what the handlers that read repositories share.
 * Ownership: what they fill is the caller's.
 * Threads:   as the request.
 * Blocks on: disk.
 */
#ifndef WR_API_VIEW_H
#define WR_API_VIEW_H

#include "core/content/rev.h"
#include "server/api/api.h"

/* The request's repository as its caller may see it. */
WR_MUST_CHECK enum wr_code wr_api_view(struct wr_view *out, struct wr_app *app, struct wr_request *req,
				       struct wr_error *err);
/* The query's rev, or ref; empty where neither was sent. */
struct wr_str wr_api_rev(const struct wr_request *req);

/*
 * The answer is this object (text, core/base/json.h; without the brace at its end), and one more member, the
 * source's bytes in base64: sent piece by piece, since they may be many.
 */
WR_MUST_CHECK enum wr_code wr_reply_base64(struct wr_request *req, struct wr_buf *begun, const char *key,
					   struct wr_source *source, struct wr_error *err);

#endif
