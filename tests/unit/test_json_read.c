/* A client's JSON: its bounds, its long strings, and the places of its mistakes. */
#include "core/base/json_read.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/base/buf.h"

struct text {
	struct wr_buf buf;
	struct wr_json_look look;
	struct wr_error err;
	json_t *value;
};

static enum wr_code read_text(struct text *t)
{
	enum wr_code code;

	t->look = (struct wr_json_look){.kept = 0};
	t->err = (struct wr_error)WR_ERROR_INIT;
	t->value = NULL;
	wr_buf_room(&t->buf, 0);
	code = wr_json_look(&t->look, t->buf.ptr, t->buf.len, &t->err);
	return code ? code : wr_json_read(&t->value, &t->look, &t->err);
}

static void text_fini(struct text *t)
{
	json_decref(t->value);
	wr_json_look_fini(&t->look);
	wr_error_fini(&t->err);
	wr_buf_fini(&t->buf);
}

static void add_n(struct wr_buf *b, const char *z, size_t n)
{
	for (size_t i = 0; i < n; i++)
		wr_buf_addz(b, z);
}

static struct wr_str content_of(const struct text *t, const json_t *object)
{
	json_t *value = json_object_get(object, "content");

	return wr_json_content(&t->look, wr_str_n(json_string_value(value), json_string_length(value)));
}

static void test_long_contents_stay_in_the_text(void **state)
{
	struct text t = {.buf = WR_BUF_INIT(1 << 20)};
	struct wr_str got;

	(void)state;
	wr_buf_addz(&t.buf, "{\"files\": [{\"path\":\"a\",\"content\" :\t\"");
	add_n(&t.buf, "line \\u00e4\\n\\ud83d\\ude00\\\"\\/\\u0000\xc3\xa4", 100);
	wr_buf_addz(&t.buf, "\"}, {\"content\": \"short\"}, {\"other\": \"");
	add_n(&t.buf, "x", 5000);
	wr_buf_addz(&t.buf, "\"}, {\"content\": \"");
	add_n(&t.buf, "y", WR_JSON_LONG);
	wr_buf_addz(&t.buf, "\"}]}");
	assert_int_equal(read_text(&t), WR_OK);
	assert_int_equal(t.look.kept, 2);
	got = content_of(&t, json_array_get(json_object_get(t.value, "files"), 0));
	assert_int_equal(got.len, 100 * 17);
	assert_memory_equal(got.ptr + 17 * 99, "line \xc3\xa4\n\xf0\x9f\x98\x80\"/\0\xc3\xa4", 17);
	got = content_of(&t, json_array_get(json_object_get(t.value, "files"), 1));
	assert_true(wr_str_eqz(got, "short"));
	got = content_of(&t, json_array_get(json_object_get(t.value, "files"), 3));
	assert_int_equal(got.len, WR_JSON_LONG);
	assert_int_equal(got.ptr[0], 'y');
	assert_int_equal(json_string_length(json_object_get(json_array_get(json_object_get(t.value, "files"), 2), "other")), 5000);
	text_fini(&t);
}

/* One that is no legal string is left for Jansson to refuse, at its place. */
static void test_places_behind_long_contents(void **state)
{
	static const char *const wrong[] = {"\\x", "\\ud800", "\\u12", "\xff", "\n", "\\ud800\\u0041"};
	struct text t = {.buf = WR_BUF_INIT(1 << 20)};

	(void)state;
	wr_buf_addz(&t.buf, "{\n\"files\":[{\"content\":\"");
	add_n(&t.buf, "z", 2000);
	wr_buf_addz(&t.buf, "\"}],\n\"b\": ]}");
	assert_int_equal(read_text(&t), WR_E_INVALID_REQUEST);
	assert_int_equal(t.look.kept, 1);
	assert_string_equal(t.err.text, "The body is not valid JSON (line 3, column 6)");
	text_fini(&t);
	for (size_t i = 0; i < WR_ARRAY_LEN(wrong); i++) {
		t.buf = (struct wr_buf)WR_BUF_INIT(1 << 20);
		wr_buf_addz(&t.buf, "{\"files\":[{\"content\":\"");
		add_n(&t.buf, "z", 2000);
		wr_buf_addz(&t.buf, wrong[i]);
		wr_buf_addz(&t.buf, "\"}]}");
		assert_int_equal(read_text(&t), WR_E_INVALID_REQUEST);
		assert_int_equal(t.look.kept, 0);
		assert_non_null(strstr(t.err.text, "(line "));
		text_fini(&t);
	}
}

/* A file of an import may be called "content", too. */
static void test_other_contents_are_values(void **state)
{
	static const char *const before[] = {"{\"content\":\"", "{\"import\":{\"files\":{\"content\":\"",
					     "{\"a\":[{\"b\":{\"content\":\"", "{\"a\":[[\"content\",\""};
	static const char *const behind[] = {"\"}", "\"}}}", "\"}}]}", "\"]]}"};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(before); i++) {
		struct text t = {.buf = WR_BUF_INIT(1 << 20)};
		char *dumped;

		wr_buf_addz(&t.buf, before[i]);
		add_n(&t.buf, "z", 2000);
		wr_buf_addz(&t.buf, behind[i]);
		assert_int_equal(read_text(&t), WR_OK);
		assert_int_equal(t.look.kept, 0);
		dumped = json_dumps(t.value, JSON_COMPACT);
		assert_int_equal(strlen(dumped), t.buf.len);
		free(dumped);
		text_fini(&t);
	}
}

static void test_depth_is_bounded(void **state)
{
	struct text t = {.buf = WR_BUF_INIT(1 << 20)};

	(void)state;
	wr_buf_addz(&t.buf, "{\"a\":");
	add_n(&t.buf, "[", WR_JSON_DEPTH - 1);
	add_n(&t.buf, "]", WR_JSON_DEPTH - 1);
	wr_buf_addz(&t.buf, ", \"[[[[\":1}");
	assert_int_equal(read_text(&t), WR_OK);
	text_fini(&t);
	t.buf = (struct wr_buf)WR_BUF_INIT(1 << 20);
	wr_buf_addz(&t.buf, "{\"a\":\n");
	add_n(&t.buf, "[", 100000);
	assert_int_equal(read_text(&t), WR_E_INVALID_REQUEST);
	assert_string_equal(t.err.text, "The body is nested too deeply (line 2, column 99)");
	text_fini(&t);
}

/* ---- what values cost ---- */

static size_t taken;

static void *count_malloc(size_t n)
{
	size_t *p = malloc(n + 16);

	taken += (n + 8 + 15) / 16 * 16 < 32 ? 32 : (n + 8 + 15) / 16 * 16;
	if (p)
		*p = n;
	return p ? (char *)p + 16 : NULL;
}

/* The most that is taken is what counts; Jansson gives back little while it reads. */
static void count_free(void *p)
{
	if (p)
		free((char *)p - 16);
}

static void test_values_cost_no_more_than_was_said(void **state)
{
	static const char *const pieces[] = {"[],", "{},", "1,", "\"\",", "null,", "{\"a\":1},", "1.5,", "[[[]]],",
					     "{\"path\":\"src/a\",\"content\":\"x\"},", "{\"a\":{},\"b\":{}},", "\"twelve bytes\","};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(pieces); i++) {
		struct text t = {.buf = WR_BUF_INIT(8 << 20)};

		wr_buf_addz(&t.buf, "{\"v\":[");
		add_n(&t.buf, pieces[i], 20000);
		wr_buf_addz(&t.buf, "0]}");
		json_set_alloc_funcs(count_malloc, count_free);
		taken = 0;
		assert_int_equal(read_text(&t), WR_OK);
		if (taken > t.look.cost + 8192)
			fail_msg("%s: %zu bytes, said %llu", pieces[i], taken, (unsigned long long)t.look.cost);
		text_fini(&t);
		json_set_alloc_funcs(malloc, free);
	}
}

/* Whatever is cut off, or wrong, is refused as Jansson alone would. */
static void test_broken_texts(void **state)
{
	static const char whole[] = "{\"content\":\"abc\\u0041\", \"b\":[1,2.5,true,null,{\"c\":\"\"}]}";

	(void)state;
	for (size_t n = 0; n < sizeof whole; n++) {
		struct text t = {.buf = WR_BUF_INIT(1 << 20)};

		wr_buf_add(&t.buf, whole, n);
		assert_int_equal(read_text(&t), n == sizeof whole - 1 ? WR_OK : WR_E_INVALID_REQUEST);
		text_fini(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_long_contents_stay_in_the_text),
		cmocka_unit_test(test_places_behind_long_contents),
		cmocka_unit_test(test_other_contents_are_values),
		cmocka_unit_test(test_depth_is_bounded),
		cmocka_unit_test(test_values_cost_no_more_than_was_said),
		cmocka_unit_test(test_broken_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
