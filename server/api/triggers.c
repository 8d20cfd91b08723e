/* Triggers of a repository: which updates of which branches are told to which endpoint. */
#include "core/base/config.h"
#include "server/api/api.h"
#include "server/api/fields.h"
#include "triggers/sender.h"

/* ---- out ---- */

static json_t *filter_json(json_t *filter)
{
	return filter ? json_incref(filter) : json_null();
}

static json_t *trigger_json(const struct wr_trigger *t)
{
	return json_pack("{s:s, s:s, s:{s:s, s:o, s:o}, s:{s:s, s:s, s:s*}, s:b, s:b, s:o}", "id", t->id, "repositoryId",
			 t->repo_id, "trigger", "event", "push", "branches", filter_json(t->branches), "globs",
			 filter_json(t->globs), "action", "action", "webhook", "endpoint", t->endpoint, "payload",
			 wr_trigger_payload_name(t->payload), "managed", 0, "paused", t->paused_ms != 0, "createdAt",
			 wr_time_json(t->created_ms));
}

static enum wr_code add_row(void *rows, const struct wr_trigger *trigger, struct wr_error *err)
{
	return wr_list_add(rows, trigger_json(trigger), err);
}

enum wr_code wr_api_trigger_list(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_S(wr_list) rows;
	enum wr_code code;

	wr_list_init(&rows, req, "triggers");
	code = wr_trigger_list(app->db, wr_request_repo(req), add_row, &rows, err);
	return code == WR_OK ? wr_list_reply(&rows, NULL, err) : code;
}

static enum wr_code find(struct wr_trigger *out, struct wr_app *app, const struct wr_request *req, struct wr_error *err)
{
	return wr_trigger_get(out, app->db, wr_request_repo(req), wr_request_param(req, "trigger"), err);
}

enum wr_code wr_api_trigger_get(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_S(wr_trigger) t = {.branches = NULL};
	enum wr_code code = find(&t, app, req, err);

	return code == WR_OK ? wr_reply(req, trigger_json(&t), err) : code;
}

/* ---- in ---- */

struct body {
	json_t *trigger, *action;
	struct wr_str event, kind, endpoint, payload;
	bool paused;
};

static const struct wr_field fields[] = {
	WR_FIELD(struct body, trigger, "trigger", ANY, false),
	WR_FIELD(struct body, action, "action", ANY, false),
	WR_FIELD(struct body, paused, "paused", BOOL, false),
};

static const struct wr_field trigger_fields[] = {
	WR_FIELD(struct body, event, "event", STRING, false),
};

static const struct wr_field action_fields[] = {
	WR_FIELD(struct body, kind, "action", STRING, false),
	WR_FIELD(struct body, endpoint, "endpoint", STRING, false),
	WR_FIELD(struct body, payload, "payload", STRING, false),
};

static bool has(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	return value && !json_is_null(value);
}

/* An example in the SDK uses other names; passed over, they would make a trigger for every branch, or none. */
static bool old_names(const struct body *b)
{
	return (has(b->trigger, "branch") && !has(b->trigger, "branches")) || (has(b->action, "type") && !b->kind.ptr) ||
	       (has(b->action, "url") && !b->endpoint.ptr);
}

static enum wr_code read_part(struct body *b, const char *name, json_t *part, const struct wr_field *table, size_t n,
			      struct wr_error *err)
{
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;

	if (part && !json_is_object(part))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The field %s has to be an object", name);
	if (wr_fields_read(b, table, n, part, &why) != WR_OK)
		return wr_fail(err, WR_E_INVALID_REQUEST, "In %s: %s", name, wr_error_text(&why));
	return WR_OK;
}

static enum wr_code read_body(struct body *b, const struct wr_request *req, struct wr_error *err)
{
	enum wr_code code = wr_fields_read(b, fields, WR_ARRAY_LEN(fields), wr_request_json(req), err);

	if (code == WR_OK)
		code = read_part(b, "trigger", b->trigger, trigger_fields, WR_ARRAY_LEN(trigger_fields), err);
	if (code == WR_OK)
		code = read_part(b, "action", b->action, action_fields, WR_ARRAY_LEN(action_fields), err);
	if (code != WR_OK)
		return code;
	if (old_names(b))
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "The fields are trigger.event, trigger.branches (an array), trigger.globs, action.action (\"webhook\") "
			       "and action.endpoint; there is no branch, type or url");
	if (b->event.ptr && !wr_str_eqz(b->event, "push"))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The field trigger.event has to be \"push\"");
	if (b->kind.ptr && !wr_str_eqz(b->kind, "webhook"))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The field action.action has to be \"webhook\"");
	return WR_OK;
}

static enum wr_code take_endpoint(struct wr_trigger *t, const struct body *b, const struct wr_app *app, struct wr_error *err)
{
	enum wr_code code = wr_trigger_check_endpoint(b->endpoint, app->cfg->webhooks_allow_private_networks, err);

	if (code == WR_OK) {
		memcpy(t->endpoint, b->endpoint.ptr, b->endpoint.len);
		t->endpoint[b->endpoint.len] = '\0';
	}
	return code;
}

static enum wr_code take_payload(struct wr_trigger *t, const struct body *b, struct wr_error *err)
{
	if (!b->payload.ptr)
		t->payload = WR_PAYLOAD_UNSET;
	else if (wr_str_eqz(b->payload, "extended"))
		t->payload = WR_PAYLOAD_EXTENDED;
	else if (wr_str_eqz(b->payload, "basic"))
		t->payload = WR_PAYLOAD_BASIC;
	else
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "The field action.payload has to be \"basic\" or \"extended\", or absent");
	return WR_OK;
}

/* Into place of what was there. */
static enum wr_code take_filter(json_t **place, const struct body *b, const char *key, struct wr_error *err)
{
	json_t *made = NULL;
	char field[32];
	enum wr_code code;

	snprintf(field, sizeof field, "trigger.%s", key);
	code = wr_trigger_check_filter(&made, field, json_object_get(b->trigger, key), err);
	if (code != WR_OK)
		return code;
	json_decref(*place);
	*place = made;
	return WR_OK;
}

static enum wr_code missing(const struct body *b, struct wr_error *err)
{
	const char *name = !b->trigger	      ? "trigger"
			   : !b->action	      ? "action"
			   : !b->event.ptr    ? "trigger.event"
			   : !b->kind.ptr     ? "action.action"
			   : !b->endpoint.ptr ? "action.endpoint"
					      : NULL;

	return name ? wr_fail(err, WR_E_INVALID_REQUEST, "The field %s is missing", name) : WR_OK;
}

enum wr_code wr_api_trigger_create(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_S(wr_trigger) t = {.branches = NULL};
	struct body b = {.trigger = NULL};
	enum wr_code code = read_body(&b, req, err);

	if (code != WR_OK || (code = missing(&b, err)) != WR_OK ||
	    (code = take_filter(&t.branches, &b, "branches", err)) != WR_OK ||
	    (code = take_filter(&t.globs, &b, "globs", err)) != WR_OK || (code = take_payload(&t, &b, err)) != WR_OK ||
	    (code = take_endpoint(&t, &b, app, err)) != WR_OK ||
	    (code = wr_trigger_add(&t, app->db, app->git, wr_request_repo(req), err)) != WR_OK)
		return code;
	return wr_reply(req, json_pack("{s:s}", "triggerId", t.id), err);
}

enum wr_code wr_api_trigger_delete(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	enum wr_code code = wr_trigger_delete(app->db, wr_request_repo(req), wr_request_param(req, "trigger"), err);

	/* What it had goes soon. */
	if (code == WR_OK)
		wr_sender_poke(app->sender);
	return code;
}

/* ---- changes ---- */

/* What of the body is there, into the trigger; null clears filters and payload. */
static enum wr_code take_changes(struct wr_trigger *t, unsigned *changed, const struct body *b, const struct wr_app *app,
				 struct wr_error *err)
{
	enum wr_code code = WR_OK;

	*changed = (json_object_get(b->trigger, "branches") ? WR_TRIGGER_BRANCHES : 0u) |
		   (json_object_get(b->trigger, "globs") ? WR_TRIGGER_GLOBS : 0u) |
		   (b->endpoint.ptr ? WR_TRIGGER_ENDPOINT : 0u) |
		   (json_object_get(b->action, "payload") ? WR_TRIGGER_PAYLOAD : 0u);
	if (*changed & WR_TRIGGER_BRANCHES)
		code = take_filter(&t->branches, b, "branches", err);
	if (code == WR_OK && *changed & WR_TRIGGER_GLOBS)
		code = take_filter(&t->globs, b, "globs", err);
	if (code == WR_OK && *changed & WR_TRIGGER_ENDPOINT)
		code = take_endpoint(t, b, app, err);
	if (code == WR_OK && *changed & WR_TRIGGER_PAYLOAD)
		code = take_payload(t, b, err);
	return code;
}

static enum wr_code pause_or_resume(struct wr_app *app, const struct wr_trigger *t, bool paused, struct wr_error *err)
{
	bool changed = false;
	enum wr_code code = wr_trigger_pause(&changed, app->db, t, paused, err);

	if (code == WR_OK && changed && !paused)
		wr_sender_poke(app->sender);
	return code;
}

/* With both, nothing is sent between: pausing comes first, resuming last. */
enum wr_code wr_api_trigger_change(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_S(wr_trigger) t = {.branches = NULL};
	struct body b = {.trigger = NULL};
	unsigned changed;
	bool pausing;
	enum wr_code code = read_body(&b, req, err);

	if (code != WR_OK || (code = find(&t, app, req, err)) != WR_OK ||
	    (code = take_changes(&t, &changed, &b, app, err)) != WR_OK)
		return code;
	pausing = has(wr_request_json(req), "paused");
	if (pausing && b.paused)
		code = pause_or_resume(app, &t, true, err);
	if (code == WR_OK && changed)
		code = wr_trigger_change(app->db, &t, changed, err);
	if (code == WR_OK && pausing && !b.paused)
		code = pause_or_resume(app, &t, false, err);
	return code == WR_OK ? wr_api_trigger_get(app, req, err) : code;
}
