/* core/content/sizes.h: what is kept of trees that were listed, and what goes again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/content/sizes.h"

static struct wr_oid oid_of(unsigned n)
{
	struct wr_oid oid = {{0}};

	memcpy(oid.id, &n, sizeof n);
	return oid;
}

static bool has(struct wr_sizes *s, unsigned n)
{
	struct wr_oid oid = oid_of(n);
	struct wr_sizes_list *list = wr_sizes_find(s, &oid);
	bool found = list != NULL;

	if (found) {
		assert_int_equal(list->count, 10);
		for (unsigned i = 0; i < 10; i++)
			assert_int_equal(list->v[i], n * 10 + i);
	}
	wr_sizes_list_unref(list);
	return found;
}

static void add(struct wr_sizes *s, unsigned n)
{
	struct wr_oid oid = oid_of(n);
	uint64_t v[10];

	for (unsigned i = 0; i < 10; i++)
		v[i] = n * 10 + i;
	wr_sizes_keep(s, &oid, v, 10);
}

static void what_is_asked_for_stays(void **state)
{
	struct wr_oid large = oid_of(5000000);
	WR_AUTO_MEM uint64_t *v = calloc(100000, sizeof *v);
	struct wr_sizes_list *held;
	struct wr_sizes *s;
	unsigned left = 0;

	(void)state;
	assert_int_equal(wr_sizes_new(&s, 400000, NULL), WR_OK);
	assert_false(has(s, 1));
	add(s, 1);
	add(s, 1);
	assert_true(has(s, 1));
	held = wr_sizes_find(s, &(struct wr_oid){{1}});
	assert_non_null(held);
	for (unsigned n = 2; n < 20000; n++) {
		add(s, n);
		assert_true(has(s, n));
		assert_true(has(s, 1));
	}
	for (unsigned n = 2; n < 20000; n++)
		left += has(s, n);
	/* Each takes some 130 bytes. */
	assert_in_range(left, 1000, 4500);
	wr_sizes_keep(s, &large, v, 100000);
	assert_null(wr_sizes_find(s, &large));
	wr_sizes_free(s);
	assert_int_equal(held->v[9], 19);
	wr_sizes_list_unref(held);
}

static void none_keeps_nothing(void **state)
{
	struct wr_oid oid = oid_of(1);
	uint64_t size = 1;

	(void)state;
	wr_sizes_keep(NULL, &oid, &size, 1);
	assert_null(wr_sizes_find(NULL, &oid));
	wr_sizes_free(NULL);
	wr_sizes_list_unref(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_asked_for_stays),
		cmocka_unit_test(none_keeps_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
