/* A JSON request body of any bytes: parsed as the HTTP layer does, then read by a table of every field type. */
#include "server/api/fields.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *root = json_loadb((const char *)data, size, 0, NULL);
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct body body = {.public_ = false};

	if (json_is_object(root)) {
		if (wr_fields_read(&body, table, WR_ARRAY_LEN(table), root, &err)) {
			if (err.code != WR_E_INVALID_REQUEST || !err.text[0])
				__builtin_trap();
		} else if (!body.required.ptr) {
			__builtin_trap(); /* a required field that is not there was let pass */
		}
	}
	json_decref(root);
	return 0;
}
