/* core/base: text, buffers, ids, time, errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>

#include <cmocka.h>

#include "core/base/base64.h"
#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/id.h"
#include "core/base/json.h"

static void numbers(void **state)
{
	uint64_t n = 5;

	(void)state;
	assert_true(wr_str_u64(WR_S("0"), 10, &n));
	assert_int_equal(n, 0);
	assert_true(wr_str_u64(WR_S("10"), 10, &n));
	assert_false(wr_str_u64(WR_S("11"), 10, &n));
	assert_int_equal(n, 10);
	assert_true(wr_str_u64(WR_S("3"), 3, &n));
	assert_false(wr_str_u64(WR_S("4"), 3, &n));
	assert_false(wr_str_u64(WR_S(""), 3, &n));
	assert_false(wr_str_u64(WR_S("-1"), 3, &n));
	assert_false(wr_str_u64(WR_S("1 "), 3, &n));
	assert_false(wr_str_u64(WR_S("99999999999999999999999"), UINT64_MAX, &n));
	assert_false(wr_str_u64(WR_S("NaN"), UINT64_MAX, &n));
}

static void utf8(void **state)
{
	(void)state;
	assert_true(wr_str_utf8(WR_S("plain")));
	assert_true(wr_str_utf8(WR_S("\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x87")));
	assert_false(wr_str_utf8(WR_S("\xc0\xaf")));
	assert_false(wr_str_utf8(WR_S("\xed\xa0\x80")));
	assert_false(wr_str_utf8(WR_S("\xf4\x90\x80\x80")));
	assert_false(wr_str_utf8(WR_S("\xe2\x82")));
	assert_false(wr_str_utf8(WR_S("\x80")));
}

static void buffer_stops_at_its_maximum(void **state)
{
	WR_AUTO_S(wr_buf) b = WR_BUF_INIT(10);

	(void)state;
	wr_buf_printf(&b, "%d-%s", 12, "abc");
	assert_true(wr_buf_ok(&b));
	assert_string_equal(b.ptr, "12-abc");
	wr_buf_addz(&b, "defgh");
	assert_false(wr_buf_ok(&b));
	assert_int_equal(b.len, 6);
	wr_buf_addz(&b, "x");
	assert_int_equal(b.len, 6);
	wr_buf_clear(&b);
	wr_buf_add(&b, "0123456789", 10);
	assert_true(wr_buf_ok(&b));
	wr_buf_consume(&b, 4);
	assert_string_equal(b.ptr, "456789");
	wr_buf_consume(&b, 40);
	assert_int_equal(b.len, 0);
}

static void ids(void **state)
{
	char a[WR_UUID_LEN + 1], b[WR_UUID_LEN + 1], trace[WR_TRACE_LEN + 1], secret[44];
	uint8_t raw[3];

	(void)state;
	wr_uuid_new(a);
	assert_true(wr_uuid_parse(wr_str(a), b));
	assert_string_equal(a, b);
	assert_int_equal(a[14], '4');
	assert_true(wr_uuid_parse(WR_S("ABCDEF01-2345-4678-9ABC-DEF012345678"), b));
	assert_string_equal(b, "abcdef01-2345-4678-9abc-def012345678");
	assert_false(wr_uuid_parse(WR_S("abcdef01-2345-4678-9abc-def01234567"), b));
	assert_false(wr_uuid_parse(WR_S("abcdef01x2345-4678-9abc-def012345678"), b));
	assert_false(wr_uuid_parse(WR_S("abcdef01-2345-4678-9abc-def01234567g"), b));
	wr_uuid_ordered(a);
	assert_true(wr_uuid_parse(wr_str(a), b));
	assert_int_equal(a[14], '7');
	assert_non_null(strchr("89ab", a[19]));
	usleep(2000);
	wr_uuid_ordered(b);
	assert_true(strcmp(a, b) < 0);
	for (int i = 0; i < 1000; i++) {
		wr_trace_new(trace);
		assert_int_equal(strlen(trace), WR_TRACE_LEN);
		assert_null(strchr(trace, '4'));
	}
	wr_random_text(secret, 43);
	assert_int_equal(strspn(secret, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"), 43);
	assert_true(wr_unhex(raw, 3, WR_S("00fFa0")));
	assert_int_equal(raw[1], 255);
	assert_false(wr_unhex(raw, 3, WR_S("00fFa")));
	assert_false(wr_unhex(raw, 3, WR_S("00fFag")));
}

static void times(void **state)
{
	char text[WR_TIME_LEN + 1];

	(void)state;
	wr_time_text(text, 1769846709123);
	assert_string_equal(text, "2026-01-31T08:05:09.123Z");
	wr_time_text(text, -5);
	assert_string_equal(text, "1970-01-01T00:00:00.000Z");
	wr_time_text(text, INT64_MAX);
	assert_int_equal(strlen(text), WR_TIME_LEN);
}

static void errors(void **state)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;

	(void)state;
	assert_int_equal(wr_fail(&err, WR_E_NOT_FOUND, "no %s", "thing"), WR_E_NOT_FOUND);
	assert_string_equal(wr_error_text(&err), "no thing");
	wr_error_field(&err, "path", WR_S("a\xff\xc3\xa9"));
	assert_string_equal(json_string_value(json_object_get(err.fields, "path")), "a\xef\xbf\xbd\xc3\xa9");
	/* What a 5xx was about is for the log alone. */
	assert_int_equal(wr_fail(&err, WR_E_INTERNAL, "secret path"), WR_E_INTERNAL);
	assert_string_equal(wr_error_text(&err), "Internal error");
	assert_non_null(strstr(err.detail, "secret path"));
	assert_null(err.fields);
	errno = ENOSPC;
	assert_int_equal(wr_fail_errno(&err, "write"), WR_E_STORAGE_FULL);
	errno = EMFILE;
	assert_int_equal(wr_fail_errno(&err, "open"), WR_E_UNAVAILABLE);
	assert_int_equal(wr_code_status(WR_E_TOO_LARGE), 413);
	assert_int_equal(wr_fail(NULL, WR_E_INTERNAL, "nobody listens"), WR_E_INTERNAL);
}

static void expect_same_json(struct wr_str text)
{
	WR_AUTO_S(wr_buf) b = WR_BUF_INIT(4096);
	json_t *value = wr_json_str(text);
	char *dumped = json_dumps(value, JSON_ENCODE_ANY);

	wr_json_text(&b, text);
	assert_string_equal(b.ptr, dumped);
	free(dumped);
	json_decref(value);
}

static void json_as_text(void **state)
{
	WR_AUTO_S(wr_buf) b = WR_BUF_INIT(4096), small = WR_BUF_INIT(8);
	char every[255];

	(void)state;
	for (size_t i = 0; i < sizeof every; i++)
		every[i] = (char)(i + 1);
	expect_same_json(wr_str_n(every, sizeof every));
	expect_same_json(wr_str_n(every, 127));
	expect_same_json(wr_str_n("a\0b", 3));
	expect_same_json(WR_S(""));
	expect_same_json(WR_S("\xc3\xa9 \xf0\x9f\x98\x80 \xe2\x80\xa8 \"\\/"));
	expect_same_json(WR_S("\xed\xa0\x80\xc0\x80\xf4\x90\x80\x80\xe2\x82"));
	wr_buf_addc(&b, '{');
	wr_json_member(&b, "a", WR_S("x,"));
	wr_json_key(&b, "n");
	wr_buf_addc(&b, '[');
	for (int i = 0; i < 2; i++) {
		wr_json_item(&b);
		wr_json_int(&b, i ? INT64_MIN : INT64_MAX);
	}
	wr_buf_addc(&b, ']');
	wr_json_bytes(&b, "p", WR_S("ok"));
	wr_json_bytes(&b, "q", WR_S("\xff"));
	wr_buf_addc(&b, '}');
	assert_string_equal(b.ptr, "{\"a\":\"x,\",\"n\":[9223372036854775807,-9223372036854775808],\"p\":\"ok\","
				   "\"q\":\"\xef\xbf\xbd\",\"qBase64\":\"/w==\"}");
	wr_json_text(&small, WR_S("12345678"));
	assert_false(wr_buf_ok(&small));
}

/* RFC 4648 section 10, and the two characters in which its alphabets differ. */
static void base64(void **state)
{
	static const struct {
		struct wr_str bytes;
		const char *text, *url;
	} rows[] = {
		{WR_S(""), "", ""},
		{WR_S("f"), "Zg==", "Zg"},
		{WR_S("fo"), "Zm8=", "Zm8"},
		{WR_S("foo"), "Zm9v", "Zm9v"},
		{WR_S("foob"), "Zm9vYg==", "Zm9vYg"},
		{WR_S("fooba"), "Zm9vYmE=", "Zm9vYmE"},
		{WR_S("foobar"), "Zm9vYmFy", "Zm9vYmFy"},
		{WR_S("\xfb\xff\0"), "+/8A", "-_8A"},
	};
	static const char *const wrong[] = {"Zg=", "Z", "Zh", "Z=", "Z+", "Z/", "Zgg", "Z\n", ""};
	char back[8];

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		WR_AUTO_S(wr_buf) b = WR_BUF_INIT(64);

		wr_buf_addz(&b, ".");
		wr_base64_add(&b, rows[i].bytes);
		wr_buf_addz(&b, ".");
		wr_base64url_add(&b, rows[i].bytes);
		assert_true(wr_buf_ok(&b));
		assert_int_equal(b.ptr[0], '.');
		assert_memory_equal(b.ptr + 1, rows[i].text, strlen(rows[i].text));
		assert_string_equal(b.ptr + 2 + strlen(rows[i].text), rows[i].url);
		memset(back, '#', sizeof back);
		assert_true(wr_base64url_read(back, rows[i].bytes.len, wr_str(rows[i].url)));
		assert_true(wr_str_eq(wr_str_n(back, rows[i].bytes.len), rows[i].bytes));
		assert_int_equal(back[rows[i].bytes.len], '#');
		assert_false(wr_base64url_read(back, rows[i].bytes.len + 1, wr_str(rows[i].url)));
	}
	for (size_t i = 0; i < WR_ARRAY_LEN(wrong); i++)
		assert_false(wr_base64url_read(back, 1, wr_str(wrong[i])));
	WR_AUTO_S(wr_buf) small = WR_BUF_INIT(7);
	wr_base64url_add(&small, WR_S("foobar"));
	assert_false(wr_buf_ok(&small));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers), cmocka_unit_test(utf8),  cmocka_unit_test(buffer_stops_at_its_maximum),
		cmocka_unit_test(ids),	   cmocka_unit_test(times), cmocka_unit_test(errors),
		cmocka_unit_test(json_as_text), cmocka_unit_test(base64),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
