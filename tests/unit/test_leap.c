/* core/base/leap: what counts as a leap, and what an age is where the time of day leapt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/leap.h"

#define DAY INT64_C(86400000)

static void what_is_slow_is_no_leap(void **state)
{
	struct wr_leaps leaps;

	(void)state;
	wr_leaps_init(&leaps, 5000);
	assert_int_equal(wr_leaps_look(&leaps, 100000, 6000), 0);
	assert_int_equal(wr_leaps_look(&leaps, 100000, 4000), 0);
	/* Many small steps are one. */
	assert_int_equal(wr_leaps_look(&leaps, 100000, 6001), 1001);
	assert_int_equal(wr_leaps_look(&leaps, 100000, 6001), 0);
	assert_int_equal(wr_leaps_look(&leaps, 100000, 4000), -2001);
	assert_int_equal(wr_leaps_look(&leaps, 100000, 4000), 0);
}

static void a_day_is_a_day(void **state)
{
	struct wr_leaps leaps;

	(void)state;
	wr_leaps_init(&leaps, 0);
	assert_int_equal(wr_leaps_before(&leaps, 10 * DAY, DAY), 9 * DAY);
	/* At ten it becomes thirty. */
	assert_int_equal(wr_leaps_look(&leaps, 30 * DAY + 1, 20 * DAY), 20 * DAY);
	assert_int_equal(wr_leaps_before(&leaps, 30 * DAY + 1, DAY), 9 * DAY + 1);
	assert_int_equal(wr_leaps_before(&leaps, 31 * DAY - 1, DAY), 10 * DAY - 1);
	/* Who was written after the leap. */
	assert_int_equal(wr_leaps_before(&leaps, 31 * DAY + 1, DAY), 30 * DAY + 1);
	assert_int_equal(wr_leaps_before(&leaps, 32 * DAY, DAY), 31 * DAY);
	assert_int_equal(wr_leaps_before(&leaps, 32 * DAY, 3 * DAY), 9 * DAY);
	/* Another one, within the same days. */
	assert_int_equal(wr_leaps_look(&leaps, 42 * DAY, 30 * DAY), 10 * DAY);
	assert_int_equal(wr_leaps_before(&leaps, 42 * DAY, 1000), 32 * DAY - 1000);
	assert_int_equal(wr_leaps_before(&leaps, 42 * DAY, 3 * DAY), 9 * DAY);
}

static void a_leap_back_puts_right(void **state)
{
	struct wr_leaps leaps;

	(void)state;
	wr_leaps_init(&leaps, 0);
	assert_int_equal(wr_leaps_look(&leaps, 12 * DAY, 2 * DAY), 2 * DAY);
	assert_int_equal(wr_leaps_look(&leaps, 11 * DAY, DAY), -DAY);
	/* One day of it is left. */
	assert_int_equal(wr_leaps_before(&leaps, 11 * DAY, 1000), 10 * DAY - 1000);
	assert_int_equal(wr_leaps_look(&leaps, 5 * DAY, -5 * DAY), -6 * DAY);
	assert_int_equal(wr_leaps_before(&leaps, 5 * DAY, 1000), 5 * DAY - 1000);
}

static void of_many_none_is_forgotten(void **state)
{
	struct wr_leaps leaps;
	int64_t now = 1000 * DAY, from = now;

	(void)state;
	wr_leaps_init(&leaps, 0);
	for (int64_t i = 1; i <= 3 * WR_LEAPS_MAX; i++) {
		now += DAY;
		assert_int_equal(wr_leaps_look(&leaps, now, i * DAY), DAY);
	}
	assert_int_equal(wr_leaps_before(&leaps, now, 1000), from - 1000);
}

static void this_machine_does_not_leap(void **state)
{
	struct wr_leaps leaps;

	(void)state;
	wr_leaps_init(&leaps, wr_leap_offset_ms());
	assert_int_equal(wr_leaps_look(&leaps, 0, wr_leap_offset_ms()), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_slow_is_no_leap),
		cmocka_unit_test(a_day_is_a_day),
		cmocka_unit_test(a_leap_back_puts_right),
		cmocka_unit_test(of_many_none_is_forgotten),
		cmocka_unit_test(this_machine_does_not_leap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
