/* A tree as a file to download. */
#include "core/content/archive.h"
#include "server/api/view.h"

static enum wr_code archive(struct wr_app *app, struct wr_request *req, enum wr_archive_format format,
			    const char *type, const char *name, struct wr_error *err)
{
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	char disposition[64];
	struct wr_sink *sink;
	struct wr_oid tree;
	int64_t when;
	enum wr_code code = wr_api_view(&v, app, req, err);

	if (code != WR_OK || (code = wr_rev_tree_time(&tree, &when, &v, wr_api_rev(req), err)) != WR_OK)
		return code;
	snprintf(disposition, sizeof disposition, "attachment; filename=\"%s\"", name);
	wr_reply_header(req, "Content-Disposition", disposition);
	code = wr_reply_stream(&sink, req, type, err);
	return code == WR_OK ? wr_archive_write(sink, &v, &tree, format, when, err) : code;
}

enum wr_code wr_api_tarball(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	return archive(app, req, WR_ARCHIVE_TAR, "application/x-tar", "archive.tar", err);
}

enum wr_code wr_api_zip(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	return archive(app, req, WR_ARCHIVE_ZIP, "application/zip", "archive.zip", err);
}
