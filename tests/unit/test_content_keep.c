/* core/content/keep.h: what was worked out is kept while it is asked for, within its bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "core/content/keep.h"

static bool has(struct wr_keep *keep, unsigned n)
{
	WR_AUTO(wr_kept) *kept = wr_keep_find(keep, wr_str_n(&n, sizeof n));
	char text[100];

	if (kept) {
		snprintf(text, sizeof text, "%099u", n);
		assert_int_equal(kept->len, sizeof text);
		assert_memory_equal(kept->bytes, text, sizeof text);
	}
	return kept != NULL;
}

static void add(struct wr_keep *keep, unsigned n)
{
	char text[100];

	snprintf(text, sizeof text, "%099u", n);
	wr_keep_add(keep, wr_str_n(&n, sizeof n), wr_str_n(text, sizeof text));
}

static void what_is_asked_for_stays(void **state)
{
	WR_AUTO_MEM char *large = calloc(1, 100000);
	unsigned left = 0, one = 1;
	struct wr_keep *keep;
	struct wr_kept *held;

	(void)state;
	assert_int_equal(wr_keep_new(&keep, 400000, NULL), WR_OK);
	assert_false(has(keep, 1));
	add(keep, 1);
	add(keep, 1);
	assert_true(has(keep, 1));
	held = wr_keep_find(keep, wr_str_n(&one, sizeof one));
	for (unsigned n = 2; n < 20000; n++) {
		add(keep, n);
		assert_true(has(keep, n));
		assert_true(has(keep, 1));
	}
	for (unsigned n = 2; n < 20000; n++)
		left += has(keep, n);
	/* Each takes some 150 bytes. */
	assert_in_range(left, 1000, 4000);
	wr_keep_add(keep, WR_S("large"), wr_str_n(large, 100000));
	assert_null(wr_keep_find(keep, WR_S("large")));
	wr_keep_add(keep, WR_S("empty"), WR_S(""));
	wr_keep_free(keep);
	assert_memory_equal((const char *)held->bytes + 98, "1", 1);
	wr_kept_unref(held);
}

static void none_keeps_nothing(void **state)
{
	(void)state;
	wr_keep_add(NULL, WR_S("a"), WR_S("b"));
	assert_null(wr_keep_find(NULL, WR_S("a")));
	wr_keep_free(NULL);
	wr_kept_unref(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_asked_for_stays),
		cmocka_unit_test(none_keeps_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
