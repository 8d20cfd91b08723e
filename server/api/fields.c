#include "server/api/fields.h"

static enum wr_code wrong_type(const struct wr_field *field, const char *wanted, struct wr_error *err)
{
	return wr_fail(err, WR_E_INVALID_REQUEST, "The field %s has to be %s", field->name, wanted);
}

static enum wr_code read_one(void *place, const struct wr_field *field, json_t *value, struct wr_error *err)
{
	switch (field->type) {
	case WR_FIELD_STRING:
		if (!json_is_string(value))
			return wrong_type(field, "a string", err);
		*(struct wr_str *)place = wr_str_n(json_string_value(value), json_string_length(value));
		return WR_OK;
	case WR_FIELD_BOOL:
		if (!json_is_boolean(value))
			return wrong_type(field, "true or false", err);
		*(bool *)place = json_is_true(value);
		return WR_OK;
	case WR_FIELD_INT:
		if (!json_is_integer(value))
			return wrong_type(field, "a whole number", err);
		*(struct wr_field_int *)place = (struct wr_field_int){true, json_integer_value(value)};
		return WR_OK;
	default:
		*(json_t **)place = value;
		return WR_OK;
	}
}

enum wr_code wr_fields_read(void *out, const struct wr_field *table, size_t n, json_t *body, struct wr_error *err)
{
	for (size_t i = 0; i < n; i++) {
		json_t *value = json_object_get(body, table[i].name);
		enum wr_code code = WR_OK;

		if (value && !json_is_null(value))
			code = read_one((char *)out + table[i].offset, &table[i], value, err);
		else if (table[i].required)
			code = wr_fail(err, WR_E_INVALID_REQUEST, "The field %s is missing", table[i].name);
		if (code != WR_OK)
			return code;
	}
	return WR_OK;
}
