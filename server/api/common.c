#include "core/base/clock.h"
#include "core/base/config.h"
#include "core/base/json.h"
#include "core/base/room.h"
#include "server/api/api.h"

/* Beyond 2^53 a number of JSON is no whole number any more for most clients. */
#define OFFSET_MAX ((uint64_t)1 << 53)
/* What one answer holds without being counted. */
#define FREE_MAX ((uint64_t)64 << 10)

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

struct wr_asker wr_api_asker(char name[WR_CALLER_NAME], const struct wr_request *req)
{
	struct wr_asker asker = {.author = {NULL, 0}};

	wr_caller_name(name, wr_request_caller(req));
	asker.author = wr_str(name);
	/* As much of the id as there is room for: 80 bits, to be found in the log as they stand. */
	memcpy(asker.operation, wr_request_trace(req), sizeof asker.operation);
	return asker;
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

/* ---- answers without a bound of their own ---- */

void wr_list_init(struct wr_list *list, struct wr_request *req, const char *key)
{
	*list = (struct wr_list){.req = req, .text = WR_BUF_INIT(SIZE_MAX / 4), .held = FREE_MAX};
	wr_buf_addc(&list->text, '{');
	wr_json_key(&list->text, key);
	wr_buf_addc(&list->text, '[');
}

void wr_list_fini(struct wr_list *list)
{
	wr_buf_fini(&list->text);
}

static int put(const char *text, size_t len, void *arg)
{
	wr_buf_add(arg, text, len);
	return 0;
}

static enum wr_code no_room(struct wr_error *err)
{
	wr_fail(err, WR_E_UNAVAILABLE, "max_buffered reached");
	snprintf(err->text, sizeof err->text, "There is no memory for so large an answer now; ask for less, or again later");
	return WR_E_UNAVAILABLE;
}

enum wr_code wr_list_add(struct wr_list *list, json_t *row, struct wr_error *err)
{
	bool ok = row && json_dump_callback(row, put, wr_list_row(list), JSON_COMPACT) == 0;

	json_decref(row);
	return ok ? wr_list_grown(list, err) : wr_fail_nomem(err);
}

struct wr_buf *wr_list_row(struct wr_list *list)
{
	wr_json_item(&list->text);
	return &list->text;
}

enum wr_code wr_list_grown(struct wr_list *list, struct wr_error *err)
{
	const struct wr_buf *text = &list->text;

	if (!wr_buf_ok(text))
		return wr_fail_nomem(err);
	if (text->cap <= list->held)
		return WR_OK;
	if (!wr_room_take(wr_request_memory(list->req), text->cap - list->held, false))
		return no_room(err);
	list->held = text->cap;
	return WR_OK;
}

enum wr_code wr_list_reply(struct wr_list *list, json_t *rest, struct wr_error *err)
{
	WR_AUTO_MEM char *more = rest ? json_dumps(rest, JSON_COMPACT) : NULL;
	bool ok = !rest || more;

	json_decref(rest);
	if (!ok)
		return wr_fail_nomem(err);
	wr_buf_addc(&list->text, ']');
	if (more)
		wr_buf_addc(&list->text, ',');
	wr_buf_addz(&list->text, more ? more + 1 : "}");
	wr_reply_json_text(list->req, &list->text);
	return WR_OK;
}

enum wr_code wr_answer_holds(const struct wr_app *app, struct wr_request *req, uint64_t n, struct wr_error *err)
{
	const struct wr_config *cfg = app->cfg;
	/* Of an account's share some is left for the answer's way out, without which the largest could never be sent. */
	uint64_t most = cfg->http_max_buffered / 400 * 3 * cfg->lanes_account_share;

	if (n <= FREE_MAX || wr_room_take(wr_request_memory(req), n < most ? n : most, false))
		return WR_OK;
	return no_room(err);
}
