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

/*
 * What was deleted after the request had been let in looks like a repository without refs: of such a snapshot this says
 * which it is. WR_E_REPO_NOT_FOUND, WR_E_UNAUTHORIZED. for_git: as with wr_access_again().
 */
WR_MUST_CHECK enum wr_code wr_api_still_there(struct wr_app *app, const struct wr_request *req,
					      const struct wr_snapshot *snap, bool for_git, struct wr_error *err);

/*
 * The request's repository, to be written to by who still may: its body may have taken long to arrive. Nothing is written
 * to it once it is deleted. The errors of wr_git_repo_open() and wr_access_again().
 */
WR_MUST_CHECK enum wr_code wr_api_writable(struct wr_git_repo **out, struct wr_app *app, const struct wr_request *req,
					   struct wr_error *err);

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
