/*
 * server/api/fields.h: reads a JSON object into a struct, by one table that names its fields.
 * Ownership: strings and values are borrowed from the body.
 * Threads:   values, no state.
 * Errors:    WR_E_INVALID_REQUEST with a sentence that names the field.
 * null means absent; unknown keys are ignored.
 */
#ifndef WR_FIELDS_H
#define WR_FIELDS_H

#include "core/base/error.h"

enum wr_field_type {
	WR_FIELD_STRING, /* struct wr_str; ptr is NULL when absent */
	WR_FIELD_BOOL,	 /* bool; keeps what it was when absent */
	WR_FIELD_INT,	 /* struct wr_field_int */
	WR_FIELD_ANY,	 /* json_t *, borrowed; NULL when absent */
};

struct wr_field_int {
	bool set;
	int64_t value;
};

struct wr_field {
	const char *name;
	enum wr_field_type type;
	bool required;
	size_t offset;
};

/* A row: WR_FIELD(struct body, default_branch, "defaultBranch", STRING, true) */
#define WR_FIELD(type_, member, name_, kind, required_)                                                                \
	{                                                                                                              \
		(name_), WR_FIELD_##kind, (required_), offsetof(type_, member)                                         \
	}

WR_MUST_CHECK enum wr_code wr_fields_read(void *out, const struct wr_field *table, size_t n, json_t *body,
					  struct wr_error *err);

#endif
