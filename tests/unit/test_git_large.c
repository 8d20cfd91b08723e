/* Objects so large that a reader makes them in files (wr_reader_spill()), and what is made from such. */
#include "tests/unit/git_fixture.h"

#include "core/git/git_internal.h"

#define SIZE ((size_t)20 << 20) /* more than is made in memory */
#define SMALL ((size_t)1 << 20) /* more than all the rest takes */

struct texts {
	struct wr_buf base, longer, few; /* the second is a delta of the first, the third of the second */
	struct wr_oid base_oid, longer_oid, few_oid;
};

static void add_number(struct wr_buf *out, size_t n)
{
	for (; n >= 0x80; n >>= 7)
		wr_buf_addc(out, (char)(n & 0x7f) | (char)0x80);
	wr_buf_addc(out, (char)n);
}

static void add_copy(struct wr_buf *out, size_t at, size_t n)
{
	const uint8_t op[] = {0xff,	       (uint8_t)at,	   (uint8_t)(at >> 8), (uint8_t)(at >> 16),
			      (uint8_t)(at >> 24), (uint8_t)n, (uint8_t)(n >> 8),  (uint8_t)(n >> 16)};

	wr_buf_add(out, op, sizeof op);
}

static void texts_make(struct texts *t)
{
	*t = (struct texts){.base = WR_BUF_INIT(2 * SIZE), .longer = WR_BUF_INIT(2 * SIZE), .few = WR_BUF_INIT(100)};
	for (unsigned i = 0; t->base.len < SIZE; i++)
		wr_buf_printf(&t->base, "line %u of what is far too long\n", i % 5000);
	wr_buf_adds(&t->longer, wr_buf_str(&t->base));
	wr_buf_addz(&t->longer, "the end\n");
	wr_buf_add(&t->few, t->longer.ptr + 1000, 50);
	oid_of(&t->base_oid, WR_BLOB, wr_buf_str(&t->base));
	oid_of(&t->longer_oid, WR_BLOB, wr_buf_str(&t->longer));
	oid_of(&t->few_oid, WR_BLOB, wr_buf_str(&t->few));
}

static void texts_fini(struct texts *t)
{
	wr_buf_fini(&t->base);
	wr_buf_fini(&t->longer);
	wr_buf_fini(&t->few);
}

/* One commit with the three of them as files. */
static void store(struct fx *f, const struct texts *t)
{
	static const char *const names[] = {"100644 a", "100644 b", "100644 c"};
	const struct wr_oid *oids[] = {&t->base_oid, &t->longer_oid, &t->few_oid};
	WR_AUTO_S(wr_buf) tree = WR_BUF_INIT(1000), commit = WR_BUF_INIT(1000), first = WR_BUF_INIT(1000),
			  second = WR_BUF_INIT(1000);
	struct wr_oid tree_oid, commit_oid;
	char hex[WR_OID_HEX + 1];
	struct pb b;

	for (size_t i = 0; i < 3; i++) {
		wr_buf_add(&tree, names[i], strlen(names[i]) + 1);
		wr_buf_add(&tree, oids[i]->id, WR_OID_RAW);
	}
	oid_of(&tree_oid, WR_TREE, wr_buf_str(&tree));
	wr_oid_hex(hex, &tree_oid);
	wr_buf_printf(&commit, "tree %s\nauthor A <a> 1 +0000\ncommitter A <a> 1 +0000\n\nx\n", hex);
	oid_of(&commit_oid, WR_COMMIT, wr_buf_str(&commit));
	add_number(&first, t->base.len);
	add_number(&first, t->longer.len);
	for (size_t at = 0, n; at < t->base.len; at += n) {
		n = t->base.len - at < 0xff0000 ? t->base.len - at : 0xff0000;
		add_copy(&first, at, n);
	}
	wr_buf_addc(&first, 8);
	wr_buf_addz(&first, "the end\n");
	add_number(&second, t->longer.len);
	add_number(&second, t->few.len);
	add_copy(&second, 1000, 50);
	pb_begin(&b, 5);
	pb_object(&b, WR_BLOB, wr_buf_str(&t->base));
	pb_ref_delta(&b, &t->base_oid, wr_buf_str(&first));
	pb_ref_delta(&b, &t->longer_oid, wr_buf_str(&second));
	pb_object(&b, WR_TREE, wr_buf_str(&tree));
	pb_object(&b, WR_COMMIT, wr_buf_str(&commit));
	assert_ok(push(f, pb_end(&b), "refs/heads/main", &commit_oid));
	wr_buf_fini(&b.out);
}

static void expect_read(struct wr_reader *reader, const struct wr_oid *oid, const struct wr_buf *text)
{
	struct wr_object obj;

	assert_ok(wr_reader_read(&obj, reader, oid, NULL));
	assert_int_equal(obj.type, WR_BLOB);
	assert_int_equal(obj.size, text->len);
	assert_memory_equal(obj.data, text->ptr, text->len);
	assert_int_equal(obj.data[obj.size], 0);
}

static void expect_reader(struct fx *f, const struct wr_snapshot *snap, const struct texts *t, bool spills)
{
	WR_AUTO(wr_reader) *reader = NULL;

	assert_ok(wr_reader_new(&reader, snap, NULL));
	wr_reader_spill(reader, spills ? f->git : NULL);
	for (int again = 0; again < 2; again++) {
		expect_read(reader, &t->base_oid, &t->base);
		expect_read(reader, &t->longer_oid, &t->longer);
		if (spills) {
			/* What the object was made from is gone already. */
			assert_in_range(wr_reader_files(reader), SIZE, SIZE + SMALL);
			assert_in_range(wr_reader_holds(reader), 1, SMALL);
		} else {
			assert_int_equal(wr_reader_files(reader), 0);
			assert_true(wr_reader_holds(reader) > 2 * SIZE);
		}
		expect_read(reader, &t->few_oid, &t->few);
		if (spills)
			assert_in_range(wr_reader_holds(reader), 1, SMALL);
	}
	wr_reader_drop(reader);
	assert_int_equal(wr_reader_files(reader) + wr_reader_holds(reader), 0);
	expect_read(reader, &t->few_oid, &t->few);
}

static void large_ones_are_made_in_files(void **state)
{
	struct fx *f = *state;
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct texts t;

	texts_make(&t);
	store(f, &t);
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	expect_reader(f, snap, &t, true);
	expect_reader(f, snap, &t, false);
	sh(f, "test -z \"$(find data/run -name 'spool*')\"");
	texts_fini(&t);
}

/* No folder to be had: that is said, and what is small can still be read. */
static void without_a_folder(void **state)
{
	static const struct wr_git nowhere = {.run = {.path = "/nonexistent/folder"}};
	struct fx *f = *state;
	WR_AUTO(wr_snapshot) *snap = NULL;
	WR_AUTO(wr_reader) *reader = NULL;
	struct wr_object obj;
	struct wr_ref main_ref;
	struct texts t;

	texts_make(&t);
	store(f, &t);
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	assert_true(wr_snapshot_find_ref(&main_ref, snap, WR_S("refs/heads/main")));
	assert_ok(wr_reader_new(&reader, snap, NULL));
	wr_reader_spill(reader, &nowhere);
	for (int again = 0; again < 2; again++) {
		assert_int_equal(wr_reader_read(&obj, reader, &t.longer_oid, &f->err), WR_E_INTERNAL);
		assert_int_equal(wr_reader_read(&obj, reader, &t.few_oid, &f->err), WR_E_INTERNAL);
		assert_ok(wr_reader_read(&obj, reader, &main_ref.oid, &f->err));
		assert_int_equal(obj.type, WR_COMMIT);
	}
	texts_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(large_ones_are_made_in_files, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(without_a_folder, fx_setup, fx_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
