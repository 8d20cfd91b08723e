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

/* The longest run of taken slots, which is the most that a probe looks at. */
static size_t longest_run(const struct wr_oidmap *map)
{
	size_t longest = 0, run = 0;

	for (size_t i = 0; i < map->cap; i++) {
		run = map->values[i] ? run + 1 : 0;
		longest = run > longest ? run : longest;
	}
	return longest;
}

/* Trees and commits of a hostile pack name ids that nobody ever hashed: alike in any part that the pusher likes. */
static void picked_ids_do_not_collide(void **state)
{
	(void)state;
	for (size_t at = 0; at + 4 <= WR_OID_RAW; at += 4) {
		WR_AUTO_S(wr_oidmap) map = {NULL, NULL, 0, 0};
		struct wr_oid oid = {{0}};

		for (uint32_t i = 0; i < 2500; i++) {
			memcpy(oid.id + at, &i, sizeof(i));
			assert_int_equal(wr_oidmap_add(&map, &oid, i, NULL, NULL), WR_OK);
		}
		assert_true(longest_run(&map) < 1000);
	}
	for (unsigned shift = 0; shift < 52; shift += 4) {
		WR_AUTO_S(wr_oidmap) map = {NULL, NULL, 0, 0};
		struct wr_oid oid = {{0}};

		for (uint64_t i = 0; i < 2500; i++) {
			uint64_t part = i << shift;

			memcpy(oid.id, &part, sizeof(part));
			assert_int_equal(wr_oidmap_add(&map, &oid, 0, NULL, NULL), WR_OK);
		}
		assert_true(longest_run(&map) < 1000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_what_is_added),
		cmocka_unit_test(random_ids),
		cmocka_unit_test(picked_ids_do_not_collide),
	};

	return cmocka_run_group_tests_name("oidmap", tests, NULL, NULL);
}
