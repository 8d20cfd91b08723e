#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/git/oidmap.h"

static void nth(struct wr_oid *oid, uint32_t n)
{
	memset(oid, 0, sizeof(*oid));
	/* All alike but for the end: the hash must not be the only thing that tells them apart. */
	memcpy(oid->id + 16, &n, sizeof(n));
}

static void keeps_what_is_added(void **state)
{
	WR_AUTO_S(wr_oidmap) map = {NULL, NULL, 0, 0};
	struct wr_oid oid;
	bool added;

	(void)state;
	nth(&oid, 1);
	assert_null(wr_oidmap_slot(&map, &oid));
	for (uint32_t i = 0; i < 3000; i++) {
		nth(&oid, i);
		assert_int_equal(wr_oidmap_add(&map, &oid, i * 2, &added, NULL), WR_OK);
		assert_true(added);
	}
	assert_int_equal(map.len, 3000);
	for (uint32_t i = 0; i < 3000; i++) {
		nth(&oid, i);
		assert_int_equal(wr_oidmap_add(&map, &oid, 7, &added, NULL), WR_OK);
		assert_false(added);
		assert_int_equal(*wr_oidmap_slot(&map, &oid), i * 2 + 1);
	}
	for (uint32_t i = 3000; i < 4000; i++) {
		nth(&oid, i);
		assert_false(wr_oidmap_has(&map, &oid));
	}
}

static void random_ids(void **state)
{
	WR_AUTO_S(wr_oidmap) map = {NULL, NULL, 0, 0};
	WR_AUTO_S(wr_oids) list = {NULL, 0, 0};
	struct wr_oid oid;

	(void)state;
	for (uint32_t i = 0; i < 50000; i++) {
		wr_random_bytes(oid.id, sizeof(oid.id));
		assert_int_equal(wr_oids_add(&list, &oid, NULL), WR_OK);
		assert_int_equal(wr_oidmap_add(&map, &oid, UINT32_MAX - 1 - i, NULL, NULL), WR_OK);
	}
	for (uint32_t i = 0; i < list.len; i++)
		assert_int_equal(*wr_oidmap_slot(&map, &list.v[i]), UINT32_MAX - i);
	assert_true(map.len <= map.cap / 4 * 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_what_is_added),
		cmocka_unit_test(random_ids),
	};

	return cmocka_run_group_tests_name("oidmap", tests, NULL, NULL);
}
