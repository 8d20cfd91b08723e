/* Histories. Commits that are made are commit_new.c's. */
#include "core/content/history.h"
#include "server/api/git_json.h"
#include "server/api/view.h"

#define HEADS "refs/heads/"

struct ask {
	struct wr_history_ask history;
	struct wr_oid since, until;
	struct wr_str since_text, until_text, branch;
	bool empty; /* nothing was ever committed to the branch */
};

static enum wr_code read_numbers(struct wr_history_ask *out, const struct wr_request *req, struct wr_error *err)
{
	struct wr_str order = WR_S("desc");
	bool uncounted;
	struct wr_page page;
	enum wr_code code = wr_page_read(&page, req, 50, 500, err);

	if (code == WR_OK)
		code = wr_request_query_bool(req, "disableTotalCount", false, &uncounted, err);
	if (code != WR_OK)
		return code;
	wr_request_query(req, "order", &order);
	out->ascending = wr_str_eqz(order, "asc");
	if (!out->ascending && !wr_str_eqz(order, "desc"))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The parameter order has to be asc or desc");
	out->limit = page.limit;
	out->offset = page.offset;
	out->count = !uncounted;
	return WR_OK;
}

/* The branch's tip. Only the unborn default branch may be absent. */
static enum wr_code find_tip(struct ask *ask, const struct wr_request *req, const struct wr_view *v, struct wr_error *err)
{
	char name[sizeof HEADS + WR_BRANCH_NAME_MAX + 1];
	struct wr_ref ref;
	bool named = wr_request_query(req, "branch", &ask->branch);
	int n;

	if (!named)
		ask->branch = v->default_branch;
	n = ask->branch.len > WR_BRANCH_NAME_MAX
		    ? -1
		    : snprintf(name, sizeof name, HEADS "%.*s", (int)ask->branch.len, ask->branch.ptr);
	if (n > 0 && wr_snapshot_find_ref(&ref, v->snap, wr_str_n(name, (size_t)n))) {
		ask->history.tip = ref.oid;
		return WR_OK;
	}
	ask->empty = wr_str_eq(ask->branch, v->default_branch);
	if (ask->empty)
		return WR_OK;
	wr_fail(err, WR_E_BRANCH_NOT_FOUND, "%s", wr_code_text(WR_E_BRANCH_NOT_FOUND));
	wr_error_field(err, "branch", ask->branch);
	return WR_E_BRANCH_NOT_FOUND;
}

static enum wr_code read_selector(const struct wr_oid **out, struct wr_oid *room, struct wr_str *text, const char *name,
				  const struct wr_request *req, struct wr_view *v, struct wr_error *err)
{
	enum wr_code code;

	if (!wr_request_query(req, name, text))
		return WR_OK;
	code = wr_rev_id(room, v, *text, WR_COMMIT, WR_E_COMMIT_NOT_FOUND, err);
	if (code == WR_E_COMMIT_NOT_FOUND)
		wr_error_field(err, "sha", *text);
	*out = room;
	return code;
}

static enum wr_code read_ask(struct ask *ask, const struct wr_request *req, struct wr_view *v, struct wr_error *err)
{
	struct wr_history_ask *h = &ask->history;
	struct wr_str text;
	bool selects = wr_request_query(req, "since", &text) || wr_request_query(req, "until", &text);
	enum wr_code code = read_numbers(h, req, err);

	if (code != WR_OK)
		return code;
	if (selects && h->offset > 0)
		return wr_fail(err, WR_E_OFFSET_WITH_SELECTOR, "%s", wr_code_text(WR_E_OFFSET_WITH_SELECTOR));
	if ((code = find_tip(ask, req, v, err)) != WR_OK ||
	    (code = read_selector(&h->since, &ask->since, &ask->since_text, "since", req, v, err)) != WR_OK)
		return code;
	return read_selector(&h->until, &ask->until, &ask->until_text, "until", req, v, err);
}

static json_t *selector_json(const struct ask *ask)
{
	if (ask->history.since && ask->history.until)
		return json_pack("{s:{s:o, s:o}}", "Range", "since", wr_json_str(ask->since_text), "until",
				 wr_json_str(ask->until_text));
	if (ask->history.since)
		return json_pack("{s:o}", "Since", wr_json_str(ask->since_text));
	if (ask->history.until)
		return json_pack("{s:o}", "Until", wr_json_str(ask->until_text));
	return json_null();
}

static enum wr_code add_rows(struct wr_list *rows, const struct wr_history *h, const struct wr_view *v, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < h->commits.len && code == WR_OK; i++) {
		WR_AUTO_S(wr_object) obj = {.data = NULL};

		code = wr_snapshot_read(&obj, v->snap, &h->commits.v[i], err);
		if (code != WR_OK)
			return code;
		wr_commit_json(wr_list_row(rows), &h->commits.v[i], wr_str_n(obj.data, obj.size));
		code = wr_list_grown(rows, err);
	}
	return code;
}

/* All but the rows. */
static json_t *rest_json(const struct ask *ask, const struct wr_history *h)
{
	bool selects = ask->history.since || ask->history.until;
	char next[WR_OID_HEX + 1];
	json_t *body;

	wr_oid_hex(next, &h->next);
	body = json_pack("{s:I, s:I, s:o, s:s, s:o, s:o}", "count", (json_int_t)h->commits.len, "limit", (json_int_t)ask->history.limit, "offset",
			 selects ? json_null() : json_integer((json_int_t)ask->history.offset), "order",
			 ask->history.ascending ? "asc" : "desc", "selector", selector_json(ask), "next_commit",
			 wr_oid_zero(&h->next) ? json_null() : json_string(next));
	if (body && ask->history.count && json_object_set_new(body, "total", json_integer((json_int_t)h->total)) < 0) {
		json_decref(body);
		return NULL;
	}
	return body;
}

enum wr_code wr_api_commit_list(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	WR_AUTO_S(wr_history) h = {.total = 0};
	WR_AUTO_S(wr_list) rows;
	struct ask ask = {.empty = false};
	enum wr_code code = wr_api_view(&v, app, req, err);

	wr_list_init(&rows, req, "commits");
	if (code != WR_OK || (code = read_ask(&ask, req, &v, err)) != WR_OK)
		return code;
	if (!ask.empty)
		code = wr_history_list(&h, &v, app->orders, wr_request_repo(req)->id, &ask.history, err);
	if (code == WR_E_COMMIT_NOT_IN_BRANCH)
		wr_error_field(err, "branch", ask.branch);
	if (code == WR_OK)
		code = add_rows(&rows, &h, &v, err);
	return code == WR_OK ? wr_list_reply(&rows, rest_json(&ask, &h), err) : code;
}
