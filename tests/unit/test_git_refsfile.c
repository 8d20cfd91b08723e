#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "core/base/file.h"
#include "core/git/le.h"
#include "core/git/refsfile_internal.h"

static char path[64];
static int dir = -1;

static int setup(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "/tmp/warren-refs-XXXXXX");
	if (!mkdtemp(path))
		return -1;
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	close(dir);
	return wr_file_remove(AT_FDCWD, path, NULL) == WR_OK ? 0 : -1;
}

static void nth(struct wr_oid *oid, uint32_t n)
{
	memset(oid, 0x5a, sizeof(*oid));
	memcpy(oid->id, &n, sizeof(n));
}

/* Contents with n refs, every third with what it peels to, and packs whose dead entries are the multiples of a step. */
struct made {
	struct wr_refsfile_contents c;
	struct wr_refsfile_pack packs[5];
	struct wr_ref *refs;
	char (*names)[32];
	struct wr_oids shallow;
};

static void make(struct made *m, size_t refs, uint32_t dead, uint32_t shallow)
{
	memset(m, 0, sizeof(*m));
	m->refs = calloc(refs + 1, sizeof(*m->refs));
	m->names = calloc(refs + 1, sizeof(*m->names));
	for (uint32_t i = 0; i < refs; i++) {
		snprintf(m->names[i], sizeof(m->names[i]), "refs/heads/%s%06u", i % 2 ? "x" : "",
			 i / 2 + (i % 2) * 500000);
		m->refs[i].name = wr_str(m->names[i]);
		nth(&m->refs[i].oid, i + 1);
		if (i % 3 == 0)
			nth(&m->refs[i].peeled, i + 2);
	}
	for (uint32_t i = 0; i < 5; i++) {
		static const enum wr_role roles[] = {WR_ROLE_BASE, WR_ROLE_TAIL, WR_ROLE_TAIL, WR_ROLE_OTHER, WR_ROLE_CRUFT};

		snprintf(m->packs[i].name, sizeof(m->packs[i].name), "pack-%039u%x", 0, i + 9);
		m->packs[i].role = roles[i];
		m->packs[i].since = roles[i] == WR_ROLE_CRUFT ? 1700000000 : 0;
		if (dead == 0 || i % 2)
			continue;
		m->packs[i].dead = wr_dead_new(dead);
		for (uint32_t k = 0; k < dead; k++)
			wr_dead_put(m->packs[i].dead, k, k * (i + 2),
				    i == 4 || k % 5 == 0 ? WR_DEAD_GONE : k % 3 ? 1600000000 - k : 0);
	}
	for (uint32_t i = 0; i < shallow; i++) {
		struct wr_oid oid;

		nth(&oid, i);
		assert_int_equal(wr_oids_add(&m->shallow, &oid, NULL), WR_OK);
	}
	m->c = (struct wr_refsfile_contents){77, m->packs, 5, m->refs, refs, shallow ? &m->shallow : NULL};
}

static int by_name(const void *a, const void *b)
{
	const struct wr_ref *x = a, *y = b;

	return strcmp(x->name.ptr, y->name.ptr);
}

static void sort(struct made *m)
{
	qsort(m->refs, m->c.ref_count, sizeof(*m->refs), by_name);
}

static void drop(struct made *m)
{
	for (size_t i = 0; i < 5; i++)
		wr_dead_unref(m->packs[i].dead);
	wr_oids_fini(&m->shallow);
	free(m->refs);
	free(m->names);
}

static void assert_packs(const struct wr_refsfile *f, const struct made *m)
{
	assert_int_equal(wr_refsfile_pack_count(f), m->c.pack_count);
	for (size_t i = 0; i < m->c.pack_count; i++) {
		const struct wr_dead *dead = m->packs[i].dead;
		struct wr_refsfile_pack got;

		assert_int_equal(wr_refsfile_pack(&got, f, i, NULL), WR_OK);
		assert_string_equal(got.name, m->packs[i].name);
		assert_int_equal(got.role, m->packs[i].role);
		assert_int_equal(got.since, m->packs[i].since);
		assert_int_equal(!got.dead, !dead);
		if (dead) {
			assert_int_equal(got.dead->count, dead->count);
			assert_memory_equal(got.dead->v, dead->v, dead->count * sizeof(dead->v[0]));
			assert_memory_equal(got.dead->since, dead->since, dead->count * sizeof(dead->v[0]));
			assert_int_equal(got.dead->gone, dead->gone);
			assert_int_equal(got.dead->oldest, dead->oldest);
		}
		wr_dead_unref(got.dead);
	}
}

static void assert_contents(const struct wr_refsfile *f, const struct made *m)
{
	WR_AUTO_S(wr_oids) shallow = {NULL, 0, 0};
	struct wr_ref ref;
	bool exact;

	assert_int_equal(wr_refsfile_seq(f), 77);
	assert_true(wr_refsfile_sorted(f));
	assert_int_equal(wr_refsfile_count(f), m->c.ref_count);
	for (size_t i = 0; i < m->c.ref_count; i++) {
		wr_refsfile_ref_at(&ref, f, i);
		assert_true(wr_str_eq(ref.name, m->refs[i].name));
		assert_true(wr_oid_eq(&ref.oid, &m->refs[i].oid) && wr_oid_eq(&ref.peeled, &m->refs[i].peeled));
		assert_int_equal(wr_refsfile_lower(f, ref.name, &exact), i);
		assert_true(exact);
		/* No name is another one's beginning here. */
		ref.name.len--;
		assert_int_equal(wr_refsfile_lower(f, ref.name, &exact) <= i, true);
		assert_false(exact);
	}
	assert_int_equal(wr_refsfile_lower(f, WR_S("refs/heads/y"), &exact), m->c.ref_count);
	assert_false(exact);
	assert_int_equal(wr_refsfile_lower(f, WR_S(""), &exact), 0);
	assert_false(exact);
	assert_packs(f, m);
	assert_int_equal(wr_refsfile_shallow(&shallow, f, NULL), WR_OK);
	assert_int_equal(shallow.len, m->shallow.len);
	for (size_t i = 0; i < shallow.len; i++)
		assert_true(wr_oid_eq(&shallow.v[i], &m->shallow.v[i]));
}

static void contents_come_back(void **state)
{
	static const struct {
		size_t refs;
		uint32_t dead, shallow;
	} sizes[] = {{0, 0, 0}, {1, 0, 0}, {2, 1, 1}, {7, 1000, 3}, {100000, 100000, 5000}};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(sizes); i++) {
		WR_AUTO(wr_refsfile) *f = NULL;
		struct made m;

		make(&m, sizes[i].refs, sizes[i].dead, sizes[i].shallow);
		sort(&m);
		assert_int_equal(wr_refsfile_write(dir, i, &m.c, NULL), WR_OK);
		assert_int_equal(wr_refsfile_write(dir, i, &m.c, NULL), WR_E_INTERNAL);
		assert_int_equal(wr_refsfile_open(&f, dir, i, NULL), WR_OK);
		wr_refsfile_unref(wr_refsfile_ref(f));
		assert_contents(f, &m);
		drop(&m);
	}
}

static void one_without_packs(void **state)
{
	WR_AUTO(wr_refsfile) *f = NULL;
	struct wr_refsfile_contents c = {.seq = 3};

	(void)state;
	assert_int_equal(wr_refsfile_write(dir, 0, &c, NULL), WR_OK);
	assert_int_equal(wr_refsfile_open(&f, dir, 0, NULL), WR_OK);
	assert_int_equal(wr_refsfile_seq(f), 3);
	assert_int_equal(wr_refsfile_count(f) + wr_refsfile_pack_count(f), 0);
}

static void dead_entries(void **state)
{
	struct wr_dead *dead = wr_dead_new(5);

	(void)state;
	memcpy(dead->v, ((uint32_t[]){0, 3, 4, 9, UINT32_MAX}), 5 * sizeof(uint32_t));
	for (uint32_t i = 0; i < 12; i++)
		assert_int_equal(wr_dead_has(dead, i), i == 0 || i == 3 || i == 4 || i == 9);
	assert_true(wr_dead_has(dead, UINT32_MAX));
	assert_false(wr_dead_has(NULL, 0));
	assert_null(wr_dead_ref(NULL));
	wr_dead_unref(wr_dead_ref(dead));
	assert_int_equal(dead->count, 5);
	wr_dead_unref(dead);
	wr_dead_unref(NULL);
}

static void times_of_dead_entries(void **state)
{
	struct wr_dead *dead = wr_dead_new(4);

	(void)state;
	wr_dead_put(dead, 0, 2, WR_DEAD_GONE);
	assert_int_equal(dead->oldest, 0);
	wr_dead_put(dead, 1, 5, 900);
	wr_dead_put(dead, 2, 6, 0);
	wr_dead_put(dead, 3, 9, 800);
	assert_int_equal(dead->oldest, 800);
	assert_int_equal(dead->gone, 1);
	assert_int_equal(wr_dead_since(dead, 5), 900);
	assert_int_equal(wr_dead_since(dead, 6), 0);
	assert_int_equal(wr_dead_since(dead, 7), 0);
	assert_true(wr_dead_is_gone(dead, 2));
	assert_false(wr_dead_is_gone(dead, 5) || wr_dead_is_gone(dead, 3) || wr_dead_is_gone(NULL, 2));
	wr_dead_unref(dead);
}

static void bad_contents_are_refused(void **state)
{
	struct made m;

	(void)state;
#define REFUSED(change)                                                                                                \
	do {                                                                                                           \
		make(&m, 5, 3, 1);                                                                                     \
		sort(&m);                                                                                              \
		change;                                                                                                \
		assert_int_equal(wr_refsfile_write(dir, 9, &m.c, NULL), WR_E_INTERNAL);                                \
		assert_int_equal(faccessat(dir, "9.refs", F_OK, 0), -1);                                               \
		drop(&m);                                                                                              \
	} while (0)
	REFUSED(m.refs[1].name = m.refs[0].name);
	REFUSED(m.refs[4].name = WR_S("refs/heads/0"));
	REFUSED(m.refs[4].name = WR_S("refs/heads/y..z"));
	REFUSED(m.refs[4].name = WR_S("HEAD"));
	REFUSED(memset(&m.refs[2].oid, 0, sizeof(struct wr_oid)));
	REFUSED(m.packs[1].name[10] = 'x');
	REFUSED(m.packs[1].name[44] = 'A');
	REFUSED(m.packs[1].name[44] = '\0');
	REFUSED(m.packs[1].role = (enum wr_role)4);
	REFUSED(m.packs[1].since = 1);
	REFUSED(m.packs[4].since = 0);
	REFUSED(m.packs[4].since = WR_DEAD_GONE);
	REFUSED(m.packs[4].dead->since[1] = 1600000000);
	REFUSED(m.packs[2].dead->v[1] = m.packs[2].dead->v[2]);
#undef REFUSED
}

static char *whole_file(size_t *len, uint64_t number)
{
	char name[32], *text;

	snprintf(name, sizeof(name), "%llu.refs", (unsigned long long)number);
	assert_int_equal(wr_file_read(&text, len, dir, name, (size_t)1 << 30, NULL), WR_OK);
	return text;
}

static char *small_file(size_t *len)
{
	struct made m;

	make(&m, 5, 3, 2);
	sort(&m);
	assert_int_equal(wr_refsfile_write(dir, 1, &m.c, NULL), WR_OK);
	drop(&m);
	return whole_file(len, 1);
}

static enum wr_code try_bytes(const char *bytes, size_t len)
{
	WR_AUTO(wr_refsfile) *f = NULL;
	/* A block of just this size, for what a sanitizer sees. */
	WR_AUTO_MEM char *exact = malloc(len + 1);

	memcpy(exact + 1, bytes, len);
	return wr_refsfile_of_bytes(&f, wr_str_n(exact + 1, len), 1, NULL);
}

static void damage_is_seen_at_every_byte(void **state)
{
	size_t len;
	WR_AUTO_MEM char *text = small_file(&len);

	(void)state;
	assert_int_equal(try_bytes(text, len), WR_OK);
	for (size_t at = 0; at < len; at++) {
		assert_int_equal(try_bytes(text, at), WR_E_INTERNAL);
		for (unsigned bit = 0; bit < 8; bit++) {
			text[at] = (char)(text[at] ^ 1 << bit);
			assert_int_equal(try_bytes(text, len), WR_E_INTERNAL);
			text[at] = (char)(text[at] ^ 1 << bit);
		}
	}
}

static void seal(uint8_t *bytes, size_t len)
{
	wr_put_le64(bytes + len - 8, XXH3_64bits(bytes, len - 8));
}

/* The checksum is right, the structure is not: every field of header and rows set to what does not fit. */
static void bad_structure_with_a_good_sum(void **state)
{
	static const uint64_t values[] = {1,	      6,	   255,		       0x7fffffff,
					  0xffffffff, 0x100000000, 0x5555555555555556, UINT64_MAX};
	/* Counts, then of the first pack role to time, then of the second ref offset and length of the name. */
	static const struct {
		size_t at, size;
	} fields[] = {{24, 4},	   {28, 4},	{32, 8},      {40, 8},	    {48, 8},
		      {56, 8},	   {64 + 20, 1}, {64 + 21, 1}, {64 + 24, 4}, {64 + 28, 4},
		      {64 + 32, 8}, {64 + 40, 8}, {64 + 5 * 48 + 48 + 40, 4}, {64 + 5 * 48 + 48 + 44, 4}};
	size_t len;
	WR_AUTO_MEM char *text = small_file(&len);
	WR_AUTO_MEM uint8_t *bytes = malloc(len);

	(void)state;
	for (size_t f = 0; f < WR_ARRAY_LEN(fields); f++) {
		for (size_t v = 0; v < WR_ARRAY_LEN(values); v++) {
			uint64_t value = htole64(values[v]);

			memcpy(bytes, text, len);
			memcpy(bytes + fields[f].at, &value, fields[f].size);
			/* Nothing changed, or a base was made a tail, which is as good. */
			if (memcmp(bytes, text, len) == 0 || (fields[f].at == 64 + 20 && values[v] == 1))
				continue;
			seal(bytes, len);
			assert_int_equal(try_bytes((char *)bytes, len), WR_E_INTERNAL);
		}
	}
}

/*
 * What an older program wrote: positions of dead entries without times, and no cruft. The file of this program becomes
 * one by leaving out what it did not have.
 */
static void one_of_version_1(void **state)
{
	const size_t dead_at = 64 + 5 * 48 + 5 * 48, dead_count = 9;
	WR_AUTO(wr_refsfile) *f = NULL;
	size_t len;
	WR_AUTO_MEM char *text = small_file(&len);
	uint8_t *bytes = (uint8_t *)text;
	struct wr_refsfile_pack pack;

	(void)state;
	memcpy(bytes, "WRNREFS1", 8);
	for (size_t i = 0; i < dead_count; i++)
		memmove(bytes + dead_at + i * 4, bytes + dead_at + i * 8, 4);
	memmove(bytes + dead_at + dead_count * 4, bytes + dead_at + dead_count * 8, len - dead_at - dead_count * 8);
	/* Four bytes of padding make up for the odd one out. */
	len -= dead_count * 4;
	if (len % 8) {
		memset(bytes + len - 8, 0, 4);
		len += 4;
	}
	seal(bytes, len);
	assert_int_equal(try_bytes(text, len), WR_E_INTERNAL);
	bytes[64 + 4 * 48 + 20] = WR_ROLE_OTHER;
	memset(bytes + 64 + 4 * 48 + 32, 0, 8);
	seal(bytes, len);
	assert_int_equal(wr_refsfile_of_bytes(&f, wr_str_n(text, len), 1, NULL), WR_OK);
	assert_false(wr_refsfile_sorted(f));
	assert_int_equal(wr_refsfile_pack(&pack, f, 2, NULL), WR_OK);
	assert_int_equal(pack.dead->count, 3);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(pack.dead->v[i], 4 * i);
		assert_int_equal(wr_dead_since(pack.dead, 4 * i), 0);
	}
	wr_dead_unref(pack.dead);
}

static void a_full_disk_leaves_no_file(void **state)
{
	struct rlimit all, little;
	struct made m;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	make(&m, 3000, 30, 2);
	sort(&m);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &all), 0);
	for (rlim_t room = 0; room < 150000; room += 70000) {
		little = (struct rlimit){room, all.rlim_max};
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
		assert_int_equal(wr_refsfile_write(dir, 4, &m.c, NULL), WR_E_STORAGE_FULL);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &all), 0);
		assert_int_equal(faccessat(dir, "4.refs", F_OK, 0), -1);
	}
	drop(&m);
}

static void absent_and_foreign_files(void **state)
{
	struct wr_refsfile *f = NULL;
	size_t len;
	WR_AUTO_MEM char *text = small_file(&len);

	(void)state;
	assert_int_equal(wr_refsfile_open(&f, dir, 2, NULL), WR_E_INTERNAL);
	assert_int_equal(renameat(dir, "1.refs", dir, "2.refs"), 0);
	assert_int_equal(wr_refsfile_open(&f, dir, 2, NULL), WR_E_INTERNAL);
	assert_int_equal(wr_file_create(dir, "3.refs", WR_S("WRNREFS1"), NULL), WR_OK);
	assert_int_equal(wr_refsfile_open(&f, dir, 3, NULL), WR_E_INTERNAL);
	assert_int_equal(mkdirat(dir, "4.refs", 0700), 0);
	assert_int_equal(wr_refsfile_open(&f, dir, 4, NULL), WR_E_INTERNAL);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(contents_come_back),
		TEST(one_without_packs),
		TEST(dead_entries),
		TEST(times_of_dead_entries),
		TEST(bad_contents_are_refused),
		TEST(damage_is_seen_at_every_byte),
		TEST(bad_structure_with_a_good_sum),
		TEST(one_of_version_1),
		TEST(a_full_disk_leaves_no_file),
		TEST(absent_and_foreign_files),
	};

	return cmocka_run_group_tests_name("git-refsfile", tests, NULL, NULL);
}
