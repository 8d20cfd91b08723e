#include "server/api/commit_body.h"

#include "core/base/clock.h"
#include "core/base/config.h"
#include "core/base/json.h"
#include "core/content/edit.h"
#include "server/api/fields.h"
#include "server/api/git_json.h"

struct person_body {
	struct wr_str name, email, date;
};

static const struct wr_field person_fields[] = {
	WR_FIELD(struct person_body, name, "name", STRING, true),
	WR_FIELD(struct person_body, email, "email", STRING, true),
	WR_FIELD(struct person_body, date, "date", STRING, false),
};
/* The last of them. */
#define UNDATED (WR_ARRAY_LEN(person_fields) - 1)

struct wr_person wr_api_server_person(const struct wr_app *app)
{
	return (struct wr_person){.name = wr_str(app->cfg->git_author_name),
				  .mail = wr_str(app->cfg->git_author_email),
				  .when_ms = wr_now_ms()};
}

enum wr_code wr_api_person(struct wr_person *out, json_t *value, const char *field, bool dated, struct wr_error *err)
{
	struct person_body body = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
	enum wr_code code;

	if (!json_is_object(value))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The field %s has to be an object", field);
	code = wr_fields_read(&body, person_fields, dated ? WR_ARRAY_LEN(person_fields) : UNDATED, value, err);
	if (code != WR_OK)
		return code;
	*out = (struct wr_person){.name = body.name, .mail = body.email, .when_ms = wr_now_ms()};
	if (!wr_person_ok(out))
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "The field %s needs a name and an email of 1 to 1024 bytes each, without <, > and control "
			       "characters",
			       field);
	if (body.date.ptr && !wr_time_parse(&out->when_ms, &out->zone, body.date))
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "The date of %s has to be one of RFC 3339 from 1970 on, as in 2026-01-31T09:05:09+01:00", field);
	/* 0 would be now. */
	if (out->when_ms == 0)
		out->when_ms = 1;
	return WR_OK;
}

enum wr_code wr_api_message(struct wr_str message, struct wr_error *err)
{
	if (message.len > WR_API_COMMIT_MAX / 2)
		return wr_fail(err, WR_E_TOO_LARGE, "The message is too long");
	if (memchr(message.ptr, '\0', message.len))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The message has a NUL character, which git does not take");
	return WR_OK;
}

enum wr_code wr_reply_commit(struct wr_request *req, const struct wr_oid *oid, struct wr_str bytes, struct wr_error *err)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(SIZE_MAX / 4);

	wr_buf_addc(&text, '{');
	wr_json_key(&text, "commit");
	wr_commit_json(&text, oid, bytes);
	wr_buf_addc(&text, '}');
	if (!wr_buf_ok(&text))
		return wr_fail_nomem(err);
	wr_reply_json_text(req, &text);
	return WR_OK;
}
