/*
 * A JSON request body of any bytes: looked over and read as the HTTP layer does, which has to accept what Jansson alone
 * accepts (but for depth) and to find the same strings; then read by a table of every field type. The second half of the
 * runs puts the bytes, many times over, into a string under "content", which stays in the text.
 */
#include "core/base/json_read.h"
#include "server/api/fields.h"

#include "core/base/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct body {
	struct wr_str name, required;
	bool public_;
	struct wr_field_int expires_in;
	json_t *source;
};

static const struct wr_field table[] = {
	WR_FIELD(struct body, name, "name", STRING, false),
	WR_FIELD(struct body, public_, "public", BOOL, false),
	WR_FIELD(struct body, expires_in, "expiresIn", INT, false),
	WR_FIELD(struct body, source, "source", ANY, false),
	WR_FIELD(struct body, required, "permission", STRING, true),
};

static void read_fields(json_t *root)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct body body = {.public_ = false};

	if (wr_fields_read(&body, table, WR_ARRAY_LEN(table), root, &err)) {
		if (err.code != WR_E_INVALID_REQUEST || !err.text[0])
			__builtin_trap();
	} else if (!body.required.ptr) {
		__builtin_trap(); /* a required field that is not there was let pass */
	}
}

static void check_content(const struct wr_json_look *look, json_t *mine, json_t *plain)
{
	json_t *a = json_object_get(json_array_get(json_object_get(mine, "files"), 0), "content");
	json_t *b = json_object_get(json_array_get(json_object_get(plain, "files"), 0), "content");
	struct wr_str got;

	if (!json_is_string(a) || !json_is_string(b)) {
		if (!json_equal(a, b) && (a || b) && look->kept == 0)
			__builtin_trap();
		return;
	}
	got = wr_json_content(look, wr_str_n(json_string_value(a), json_string_length(a)));
	if (!wr_str_eq(got, wr_str_n(json_string_value(b), json_string_length(b))))
		__builtin_trap();
}

/* text is changed. */
static void both(char *text, size_t len)
{
	WR_AUTO_S(wr_json_look) look = {.kept = 0};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	json_t *plain = json_loadb(text, len, JSON_ALLOW_NUL, NULL), *mine = NULL;

	if (wr_json_look(&look, text, len, &err) != WR_OK) {
		if (!strstr(err.text, "nested"))
			__builtin_trap();
	} else if (wr_json_read(&mine, &look, &err) != WR_OK ? plain != NULL : plain == NULL) {
		__builtin_trap();
	}
	if (mine && json_is_object(mine)) {
		check_content(&look, mine, plain);
		read_fields(mine);
	}
	if (mine && look.kept == 0 && !json_equal(mine, plain))
		__builtin_trap();
	json_decref(mine);
	json_decref(plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 22);

	wr_buf_add(&text, data, size);
	wr_buf_room(&text, 0);
	both(text.ptr, text.len);
	wr_buf_clear(&text);
	wr_buf_addz(&text, "{\"a\": [[{\"content\":1}]], \"files\": [{\"content\": \"");
	for (size_t i = 0; i < 1 + WR_JSON_LONG / (size + 1); i++)
		wr_buf_add(&text, data, size);
	wr_buf_addz(&text, "\"}], \"permission\": \"x\"}");
	if (wr_buf_ok(&text))
		both(text.ptr, text.len);
	return 0;
}
