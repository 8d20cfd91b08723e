#include "core/base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "core/base/buf.h"

static const struct {
	int status;
	const char *wire;
	const char *text;
	bool sdk;
} codes[WR_CODE_COUNT] = {
	[WR_OK] = {200, "OK", "OK", true},
#define X(name, status, wire, text, sdk) [WR_E_##name] = {status, wire, text, sdk},
#include "core/base/codes.def"
#undef X
};

int wr_code_status(enum wr_code code)
{
	return codes[code].status;
}

const char *wr_code_wire(enum wr_code code)
{
	return codes[code].wire;
}

const char *wr_code_text(enum wr_code code)
{
	return codes[code].text;
}

bool wr_code_in_sdk(enum wr_code code)
{
	return codes[code].sdk;
}

const char *wr_error_text(const struct wr_error *err)
{
	return err->text[0] ? err->text : codes[err->code].text;
}

void wr_error_fini(struct wr_error *err)
{
	json_decref(err->fields);
	err->fields = NULL;
}

static void fill(struct wr_error *err, enum wr_code code, const char *file, int line, const char *words)
{
	json_decref(err->fields);
	err->fields = NULL;
	err->code = code;
	err->text[0] = err->detail[0] = '\0';
	if (codes[code].status < 500)
		snprintf(err->text, sizeof err->text, "%s", words);
	else
		snprintf(err->detail, sizeof err->detail, "%s (%s:%d)", words, file, line);
}

enum wr_code wr_fail_at(struct wr_error *err, enum wr_code code, const char *file, int line, const char *fmt, ...)
{
	char words[440];
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	vsnprintf(words, sizeof words, fmt, ap);
	va_end(ap);
	fill(err, code, file, line, words);
	return code;
}

enum wr_code wr_fail_errno_at(struct wr_error *err, const char *file, int line, const char *fmt, ...)
{
	int e = errno;
	enum wr_code code = WR_E_INTERNAL;
	char words[300], all[440], reason[96];
	va_list ap;

	if (e == ENOSPC || e == EDQUOT || e == EFBIG)
		code = WR_E_STORAGE_FULL;
	else if (e == EMFILE || e == ENFILE || e == ENOMEM)
		code = WR_E_UNAVAILABLE;
	if (!err)
		return code;
	va_start(ap, fmt);
	vsnprintf(words, sizeof words, fmt, ap);
	va_end(ap);
	if (strerror_r(e, reason, sizeof reason) != 0)
		snprintf(reason, sizeof reason, "errno %d", e);
	snprintf(all, sizeof all, "%s: %s", words, reason);
	fill(err, code, file, line, all);
	errno = e;
	return code;
}

json_t *wr_json_str(struct wr_str s)
{
	WR_AUTO_S(wr_buf) out = WR_BUF_INIT(SIZE_MAX / 2);

	if (wr_str_utf8(s))
		return json_stringn(s.ptr ? s.ptr : "", s.len);
	wr_buf_add_utf8(&out, s);
	return wr_buf_ok(&out) ? json_stringn(out.ptr, out.len) : NULL;
}

static void set_field(struct wr_error *err, const char *key, json_t *value)
{
	if (!err->fields)
		err->fields = json_object();
	json_object_set_new(err->fields, key, value);
}

void wr_error_field(struct wr_error *err, const char *key, struct wr_str value)
{
	if (err)
		set_field(err, key, wr_json_str(value));
}

void wr_error_field_null(struct wr_error *err, const char *key)
{
	if (err)
		set_field(err, key, json_null());
}

void wr_error_move(struct wr_error *to, struct wr_error *from)
{
	wr_error_fini(to);
	*to = *from;
	from->fields = NULL;
	from->code = WR_OK;
}
