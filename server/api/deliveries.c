/* What a trigger's endpoint was told, and how it answered; one more delivery, and tests. */
#include "server/api/fields.h"
#include "server/api/git_json.h"
#include "server/api/view.h"
#include "triggers/delivery.h"
#include "triggers/sender.h"

#define LIST_DEFAULT 50
#define LIST_MAX 500
/* What a row of a list costs at most while it is read. */
#define ROW_COST (sizeof(struct wr_hook) + 4096)

/* ---- out ---- */

static const char *kind_name(enum wr_delivery_kind kind)
{
	static const char *const names[] = {"push", "test", "redelivery"};

	return names[kind];
}

static json_t *text_or_null(const char *text)
{
	return text[0] ? wr_json_str(wr_str(text)) : json_null();
}

static json_t *number_or_null(bool there, int64_t n)
{
	return there ? json_integer(n) : json_null();
}

static json_t *before_json(const struct wr_oid *oid)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	return wr_oid_zero(oid) ? json_null() : json_string(hex);
}

/* An answer may be empty; without a status there was none. */
static json_t *answer_json(const struct wr_hook *hook)
{
	return hook->status ? wr_json_str(wr_str_n(hook->answer ? hook->answer : "", hook->answer_len)) : json_null();
}

static json_t *wr_hook_json(const char *trigger_id, const struct wr_hook *h)
{
	WR_AUTO(json_t) *row = NULL;
	char commit[WR_OID_HEX + 1];
	bool tried = h->attempts > 0;

	wr_oid_hex(commit, &h->new);
	row = json_pack("{s:s, s:s, s:s, s:s, s:o, s:s, s:s*, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id", h->id,
			"triggerId", trigger_id, "repoId", h->repo_id, "commit", commit, "before", before_json(&h->old), "kind",
			kind_name(h->kind), "redeliveryOf", h->again_of[0] ? h->again_of : NULL, "state",
			wr_delivery_state_name(h->state), "attempts", (json_int_t)h->attempts, "status",
			number_or_null(h->status != 0, h->status), "latencyMs", number_or_null(tried, h->latency_ms), "error",
			text_or_null(h->error), "answer", answer_json(h), "note", text_or_null(h->note), "createdAt",
			wr_time_json(h->created_ms), "nextAttemptAt",
			wr_time_json(h->state == WR_DELIVERY_READY ? h->not_before_ms : 0), "endedAt",
			wr_time_json(h->ended_ms));
	return row && wr_json_set_bytes(row, "branch", wr_str(h->branch)) ? WR_STEAL(row) : NULL;
}

static enum wr_code find_trigger(struct wr_trigger *out, struct wr_app *app, const struct wr_request *req,
				 struct wr_error *err)
{
	return wr_trigger_get(out, app->db, wr_request_repo(req), wr_request_param(req, "trigger"), err);
}

static enum wr_code add_rows(struct wr_list *rows, const struct wr_trigger *t, const struct wr_hook *hooks, size_t n,
			     struct wr_error *err)
{
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < n && code == WR_OK; i++)
		code = wr_list_add(rows, wr_hook_json(t->id, &hooks[i]), err);
	return code;
}

enum wr_code wr_api_delivery_list(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_MEM struct wr_hook *hooks = NULL;
	WR_AUTO_S(wr_trigger) t = {.branches = NULL};
	WR_AUTO_S(wr_list) rows;
	struct wr_str before = {NULL, 0};
	uint64_t limit;
	size_t n = 0;
	enum wr_code code = wr_request_query_int(req, "limit", LIST_DEFAULT, LIST_MAX, &limit, err);

	wr_list_init(&rows, req, "deliveries");
	if (code != WR_OK || (code = find_trigger(&t, app, req, err)) != WR_OK ||
	    (code = wr_answer_holds(app, req, limit * ROW_COST, err)) != WR_OK)
		return code;
	hooks = calloc(limit + 1, sizeof *hooks);
	if (!hooks)
		return wr_fail_nomem(err);
	wr_request_query(req, "before", &before);
	code = wr_delivery_list(hooks, &n, limit, app->db, &t, before, err);
	if (code == WR_OK)
		code = add_rows(&rows, &t, hooks, n, err);
	for (size_t i = 0; i < n; i++)
		wr_hook_fini(&hooks[i]);
	return code == WR_OK ? wr_list_reply(&rows, NULL, err) : code;
}

static enum wr_code find(struct wr_trigger *t, struct wr_hook *hook, struct wr_app *app, const struct wr_request *req,
			 struct wr_error *err)
{
	enum wr_code code = find_trigger(t, app, req, err);

	return code == WR_OK ? wr_delivery_get(hook, app->db, t, wr_request_param(req, "delivery"), err) : code;
}

enum wr_code wr_api_delivery_get(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_S(wr_trigger) t = {.branches = NULL};
	WR_AUTO_S(wr_hook) hook = {.answer = NULL};
	enum wr_code code = find(&t, &hook, app, req, err);

	return code == WR_OK ? wr_reply(req, wr_hook_json(t.id, &hook), err) : code;
}

/* ---- more of them ---- */

static enum wr_code reply_begun(struct wr_app *app, struct wr_request *req, const char *id, struct wr_error *err)
{
	wr_sender_poke(app->sender);
	return wr_reply(req, json_pack("{s:s}", "deliveryId", id), err);
}

enum wr_code wr_api_delivery_redeliver(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_S(wr_trigger) t = {.branches = NULL};
	WR_AUTO_S(wr_hook) hook = {.answer = NULL};
	char id[WR_UUID_LEN + 1];
	enum wr_code code = find(&t, &hook, app, req, err);

	if (code == WR_OK)
		code = wr_delivery_again(id, app->db, &t, &hook, err);
	return code == WR_OK ? reply_begun(app, req, id, err) : code;
}

struct test_body {
	struct wr_str branch;
};

static const struct wr_field test_fields[] = {
	WR_FIELD(struct test_body, branch, "branch", STRING, false),
};

static enum wr_code find_tip(struct wr_oid *out, struct wr_app *app, struct wr_request *req, struct wr_str branch,
			     struct wr_error *err)
{
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	WR_AUTO_S(wr_buf) name = WR_BUF_INIT(WR_REFNAME_MAX);
	struct wr_ref ref;
	enum wr_code code = wr_api_view(&v, app, req, err);

	if (code != WR_OK)
		return code;
	wr_buf_addz(&name, "refs/heads/");
	wr_buf_adds(&name, branch);
	if (!wr_buf_ok(&name) || !wr_snapshot_find_ref(&ref, v.snap, wr_buf_str(&name))) {
		wr_fail(err, WR_E_BRANCH_NOT_FOUND, "%s", wr_code_text(WR_E_BRANCH_NOT_FOUND));
		wr_error_field(err, "branch", branch);
		return WR_E_BRANCH_NOT_FOUND;
	}
	*out = ref.oid;
	return WR_OK;
}

enum wr_code wr_api_trigger_test(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_S(wr_trigger) t = {.branches = NULL};
	struct test_body body = {{NULL, 0}};
	char author[WR_CALLER_NAME], id[WR_UUID_LEN + 1];
	struct wr_oid tip;
	enum wr_code code = wr_fields_read(&body, test_fields, WR_ARRAY_LEN(test_fields), wr_request_json(req), err);

	if (body.branch.len == 0)
		body.branch = wr_str(wr_request_repo(req)->default_branch);
	wr_caller_name(author, wr_request_caller(req));
	if (code == WR_OK)
		code = find_trigger(&t, app, req, err);
	if (code == WR_OK)
		code = find_tip(&tip, app, req, body.branch, err);
	if (code == WR_OK)
		code = wr_delivery_test(id, app->db, &t, body.branch, &tip, author, err);
	return code == WR_OK ? reply_begun(app, req, id, err) : code;
}
