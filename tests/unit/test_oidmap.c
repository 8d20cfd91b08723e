#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/git/hold.h"
#include "core/git/oidmap.h"

static void nth(struct wr_oid *oid, uint32_t n)
{
	memset(oid, 0, sizeof(*oid));
	/* All alike but for the end: the hash must not be the only thing that tells them apart. */
	memcpy(oid->id + 16, &n, sizeof(n));
}

static void keeps_what_is_added(void **state)
{
	WR_AUTO_S(wr_oidmap) map = {.cap = 0};
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
	WR_AUTO_S(wr_oidmap) map = {.cap = 0};
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
		WR_AUTO_S(wr_oidmap) map = {.cap = 0};
		struct wr_oid oid = {{0}};

		for (uint32_t i = 0; i < 2500; i++) {
			memcpy(oid.id + at, &i, sizeof(i));
			assert_int_equal(wr_oidmap_add(&map, &oid, i, NULL, NULL), WR_OK);
		}
		assert_true(longest_run(&map) < 1000);
	}
	for (unsigned shift = 0; shift < 52; shift += 4) {
		WR_AUTO_S(wr_oidmap) map = {.cap = 0};
		struct wr_oid oid = {{0}};

		for (uint64_t i = 0; i < 2500; i++) {
			uint64_t part = i << shift;

			memcpy(oid.id, &part, sizeof(part));
			assert_int_equal(wr_oidmap_add(&map, &oid, 0, NULL, NULL), WR_OK);
		}
		assert_true(longest_run(&map) < 1000);
	}
}

/* ---- a map whose memory is counted ---- */

static enum wr_code folder(int *fd, void *arg, struct wr_error *err)
{
	(void)err;
	*fd = *(int *)arg;
	return WR_OK;
}

static bool take(void *arg, uint64_t n, bool spare)
{
	uint64_t *taken = arg;

	*taken += spare ? 0 : n;
	return !spare;
}

static void give(void *arg, uint64_t n)
{
	uint64_t *taken = arg;

	assert_true(n <= *taken);
	*taken -= n;
}

/* Where nothing is spare it lies in a file from a small size on, and answers as before. */
static void a_map_in_a_file(void **state)
{
	char path[] = "/tmp/warren-oidmap-XXXXXX";
	uint64_t taken = 0;
	const struct wr_room room = {take, give, &taken};
	struct wr_hold hold = {.room = &room, .dir = folder};
	struct wr_oidmap map = {.hold = &hold};
	struct wr_oid oid = {{0}};
	int dir;

	(void)state;
	assert_non_null(mkdtemp(path));
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(dir >= 0);
	hold.arg = &dir;
	for (uint32_t i = 0; i < 50000; i++) {
		memcpy(oid.id + 7, &i, sizeof(i));
		assert_int_equal(wr_oidmap_add(&map, &oid, i, NULL, NULL), WR_OK);
		assert_true(map.mapped || map.cap <= 2048);
	}
	assert_true(map.mapped && map.len == 50000);
	assert_in_range(taken, 1, 2 * WR_HOLD_SMALL);
	for (uint32_t i = 0; i < 60000; i++) {
		const uint32_t *slot;

		memcpy(oid.id + 7, &i, sizeof(i));
		slot = wr_oidmap_slot(&map, &oid);
		assert_true(i < 50000 ? slot && *slot == i + 1 : !slot);
	}
	wr_oidmap_fini(&map);
	assert_true(map.len == 0 && map.hold == &hold && hold.used == 0);
	wr_hold_give(&hold);
	assert_int_equal(taken, 0);
	close(dir);
	/* The files had no names. */
	assert_int_equal(rmdir(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_what_is_added),
		cmocka_unit_test(random_ids),
		cmocka_unit_test(picked_ids_do_not_collide),
		cmocka_unit_test(a_map_in_a_file),
	};

	return cmocka_run_group_tests_name("oidmap", tests, NULL, NULL);
}
