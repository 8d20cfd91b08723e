#include "core/base/clock.h"
#include "server/api/api.h"

/* Beyond 2^53 a number of JSON is no whole number any more for most clients. */
#define OFFSET_MAX ((uint64_t)1 << 53)

json_t *wr_time_json(int64_t ms)
{
	char text[WR_TIME_LEN + 1];

	if (ms == 0)
		return json_null();
	wr_time_text(text, ms);
	return json_string(text);
}

const char *wr_visibility_text(bool public_)
{
	return public_ ? "public" : "private";
}

const char *wr_level_text(enum wr_level level)
{
	switch (level) {
	case WR_LEVEL_READ:
		return "read";
	case WR_LEVEL_WRITE:
		return "write";
	default:
		return NULL;
	}
}

enum wr_code wr_page_read(struct wr_page *page, const struct wr_request *req, uint64_t fallback, uint64_t max,
			  struct wr_error *err)
{
	enum wr_code code = wr_request_query_int(req, "limit", fallback, max, &page->limit, err);

	if (code == WR_OK)
		code = wr_request_query_int(req, "offset", 0, OFFSET_MAX, &page->offset, err);
	page->total = 0;
	return code;
}

enum wr_code wr_reply(struct wr_request *req, json_t *body, struct wr_error *err)
{
	if (!body)
		return wr_fail_nomem(err);
	wr_reply_json(req, body);
	return WR_OK;
}

enum wr_code wr_reply_page(struct wr_request *req, const char *key, json_t *rows, const struct wr_page *page,
			   struct wr_error *err)
{
	return wr_reply(req,
			json_pack("{s:o, s:I, s:I}", key, rows, "total", (json_int_t)page->total, "offset",
				  (json_int_t)page->offset),
			err);
}

enum wr_code wr_rows_add(json_t *rows, json_t *row, struct wr_error *err)
{
	return json_array_append_new(rows, row) == 0 ? WR_OK : wr_fail_nomem(err);
}
