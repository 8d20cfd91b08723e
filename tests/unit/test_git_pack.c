/* The pack reader on damaged files: an error, never a crash, and never a wrong object without notice. */
#include "tests/unit/git_fixture.h"

#include <unistd.h>

struct stored {
	char name[WR_PACK_NAME + 1];
	struct wr_buf pack, idx;
	int dir;
};

/* A small pack with deltas of both kinds, as the store keeps it. */
static void store_small(struct fx *f, struct stored *s)
{
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(1 << 20);
	WR_AUTO_S(wr_buf) name = WR_BUF_INIT(4096);
	struct wr_oid tip;

	s->pack = (struct wr_buf)WR_BUF_INIT(1 << 20);
	s->idx = (struct wr_buf)WR_BUF_INIT(1 << 20);
	sh(f,
	   "git init -q work; cd work; seq 1 200 > f; git add .; git commit -qm 1; seq 2 201 > f; git commit -qam 2; "
	   "seq 3 202 > f; git commit -qam 3");
	sh_oid(f, &tip, "git -C work rev-parse HEAD");
	sh_out(f, &pack, "cd work; echo HEAD | git pack-objects --revs --stdout -q");
	assert_ok(push(f, wr_buf_str(&pack), "refs/heads/main", &tip));
	sh(f, "mkdir p; cp data/repos/01/23/*/objects/pack/* p");
	sh_out(f, &name, "basename p/*.idx .idx");
	assert_int_equal(name.len, WR_PACK_NAME + 1);
	memcpy(s->name, name.ptr, WR_PACK_NAME);
	s->name[WR_PACK_NAME] = '\0';
	s->dir = -1;
}

static void stored_fini(struct stored *s)
{
	wr_buf_fini(&s->pack);
	wr_buf_fini(&s->idx);
	if (s->dir >= 0)
		close(s->dir);
}

static void rewrite(struct stored *s, const char *ext, struct wr_str data)
{
	char file[WR_PACK_NAME + 8];
	WR_AUTO_FD int fd = -1;

	snprintf(file, sizeof(file), "%s.%s", s->name, ext);
	fd = openat(s->dir, file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_ok(wr_file_write_all(fd, data.ptr, data.len, NULL));
}

/* Reads all there is; counts objects whose content does not have the id under which they stand. */
static unsigned read_all(struct stored *s, struct wr_error *err)
{
	WR_AUTO(wr_pack) *p = NULL;
	unsigned wrong = 0;

	if (wr_pack_open(&p, s->dir, s->name, err) != WR_OK)
		return 0;
	for (uint32_t pos = 0; pos < p->count; pos++) {
		WR_AUTO_S(wr_object) obj = {.data = NULL};
		struct wr_oid is, should;
		enum wr_type type;
		uint64_t size;
		enum wr_code code = wr_pack_read(&obj, p, pos, 1 << 20, err);

		wr_pack_oid(&should, p, pos);
		if (wr_pack_stat(&type, &size, p, pos, err) == WR_OK && code == WR_OK) {
			assert_int_equal(type, obj.type);
			assert_int_equal(size, obj.size);
		}
		if (code != WR_OK)
			continue;
		oid_of(&is, obj.type, wr_str_n(obj.data, obj.size));
		wrong += !wr_oid_eq(&is, &should);
	}
	return wrong;
}

static void load(struct fx *f, struct stored *s)
{
	char path[128];

	store_small(f, s);
	snprintf(path, sizeof(path), "%s/p", f->dir);
	s->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(s->dir >= 0);
	for (int i = 0; i < 2; i++) {
		WR_AUTO_MEM char *text = NULL;
		char file[WR_PACK_NAME + 8];
		size_t len;

		snprintf(file, sizeof(file), "%s.%s", s->name, i ? "idx" : "pack");
		assert_ok(wr_file_read(&text, &len, s->dir, file, 1 << 20, &f->err));
		wr_buf_clear(i ? &s->idx : &s->pack);
		wr_buf_add(i ? &s->idx : &s->pack, text, len);
	}
	assert_int_equal(read_all(s, &f->err), 0);
}

static void damaged_pack(void **state)
{
	struct fx *f = *state;
	struct stored s;
	WR_AUTO(wr_pack) *p = NULL;

	load(f, &s);
	for (size_t i = 0; i < s.pack.len; i++) {
		for (int bit = 0; bit < 8; bit += 3) {
			s.pack.ptr[i] ^= (char)(1 << bit);
			rewrite(&s, "pack", wr_buf_str(&s.pack));
			read_all(&s, &f->err);
			s.pack.ptr[i] ^= (char)(1 << bit);
		}
	}
	for (size_t n = 0; n < s.pack.len; n += 13) {
		rewrite(&s, "pack", wr_str_n(s.pack.ptr, n));
		assert_int_not_equal(wr_pack_open(&p, s.dir, s.name, &f->err), WR_OK);
	}
	stored_fini(&s);
}

static void damaged_index(void **state)
{
	struct fx *f = *state;
	struct stored s;
	WR_AUTO(wr_pack) *p = NULL;

	load(f, &s);
	for (size_t i = 0; i < s.idx.len; i++) {
		unsigned char flips[] = {1, 0x80, 0xff};

		for (size_t k = 0; k < sizeof(flips); k++) {
			s.idx.ptr[i] ^= (char)flips[k];
			rewrite(&s, "idx", wr_buf_str(&s.idx));
			read_all(&s, &f->err);
			s.idx.ptr[i] ^= (char)flips[k];
		}
	}
	for (size_t n = 0; n < s.idx.len; n += 7) {
		rewrite(&s, "idx", wr_str_n(s.idx.ptr, n));
		assert_int_not_equal(wr_pack_open(&p, s.dir, s.name, &f->err), WR_OK);
	}
	stored_fini(&s);
}

/* An index of 64-bit offsets, as for packs above 2 GB. */
static void large_offsets(void **state)
{
	struct fx *f = *state;
	struct stored s;
	WR_AUTO_S(wr_buf) idx = WR_BUF_INIT(1 << 20);
	WR_AUTO(wr_pack) *p = NULL;
	uint32_t n;
	size_t off32;

	load(f, &s);
	n = wr_be32((uint8_t *)s.idx.ptr + 8 + 255 * 4);
	off32 = 8 + 1024 + (size_t)n * 24;
	wr_buf_add(&idx, s.idx.ptr, off32);
	for (uint32_t i = 0; i < n; i++) {
		uint8_t to[4];

		wr_put_be32(to, 0x80000000 | i);
		wr_buf_add(&idx, to, 4);
	}
	for (uint32_t i = 0; i < n; i++) {
		wr_buf_add(&idx, "\0\0\0\0", 4);
		wr_buf_add(&idx, s.idx.ptr + off32 + 4 * i, 4);
	}
	wr_buf_add(&idx, s.idx.ptr + s.idx.len - 40, 40);
	rewrite(&s, "idx", wr_buf_str(&idx));
	assert_ok(wr_pack_open(&p, s.dir, s.name, &f->err));
	assert_int_equal(p->count, n);
	assert_int_equal(read_all(&s, &f->err), 0);
	wr_pack_unref(WR_STEAL(p));
	/* One that points beyond its table, and one beyond the pack. */
	idx.ptr[off32 + 3] = (char)0x7f;
	rewrite(&s, "idx", wr_buf_str(&idx));
	assert_int_equal(wr_pack_open(&p, s.dir, s.name, &f->err), WR_E_INTERNAL);
	idx.ptr[off32 + 3] = 0;
	idx.ptr[off32 + 4 * n] = 1;
	rewrite(&s, "idx", wr_buf_str(&idx));
	assert_int_equal(wr_pack_open(&p, s.dir, s.name, &f->err), WR_E_INTERNAL);
	stored_fini(&s);
}

static void limits_hold(void **state)
{
	struct fx *f = *state;
	struct stored s;
	WR_AUTO(wr_pack) *p = NULL;
	unsigned too_large = 0;

	load(f, &s);
	assert_ok(wr_pack_open(&p, s.dir, s.name, &f->err));
	for (uint32_t pos = 0; pos < p->count; pos++) {
		WR_AUTO_S(wr_object) obj = {.data = NULL};
		enum wr_type type;
		uint64_t size;
		enum wr_code code = wr_pack_read(&obj, p, pos, 500, &f->err);

		assert_ok(wr_pack_stat(&type, &size, p, pos, &f->err));
		assert_int_equal(code, size > 500 ? WR_E_TOO_LARGE : WR_OK);
		too_large += size > 500;
	}
	assert_int_equal(too_large, 3);
	stored_fini(&s);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
	const struct CMUnitTest tests[] = {T(damaged_pack), T(damaged_index), T(large_offsets), T(limits_hold)};

	return cmocka_run_group_tests_name("git_pack", tests, NULL, NULL);
}
