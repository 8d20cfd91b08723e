/* The pack reader on sound and on damaged files: an error, never a crash. Contents are test_git_objects.c's. */
#include "tests/unit/pack_fixture.h"

#include <pthread.h>

/* Looks at everything there is; counts what can be read. */
static unsigned look_at_all(const struct stored *s, struct wr_error *err)
{
	WR_AUTO(wr_pack) *p = NULL;
	unsigned fine = 0;

	if (wr_pack_open(&p, s->dir, s->name, err) != WR_OK)
		return 0;
	for (uint32_t i = 0; i < p->count; i++) {
		uint32_t rank, pos, at;
		struct wr_entry e;
		struct wr_oid oid;
		enum wr_code code;

		wr_pack_oid(&oid, p, i);
		if (wr_pack_find(&pos, p, &oid))
			assert_true(pos < p->count && wr_pack_finds(p, &oid));
		if ((code = wr_pack_rank(&rank, p, i, err)) == WR_OK)
			assert_true(rank < p->count);
		else
			assert_int_equal(code, WR_E_INTERNAL);
		if ((code = wr_pack_at_rank(&at, p, i, err)) == WR_OK)
			assert_true(at < p->count);
		else
			assert_int_equal(code, WR_E_INTERNAL);
		if ((code = wr_pack_entry(&e, p, i, err)) != WR_OK) {
			assert_int_equal(code, WR_E_INTERNAL);
			continue;
		}
		assert_true(WR_PACK_HEADER <= e.at && e.at < e.data && e.data <= e.end &&
			    e.end <= p->size - WR_PACK_SUM);
		assert_true(e.kind <= WR_TAG || e.base < p->count);
		fine++;
	}
	return fine;
}

/* Each entry as `git verify-pack` shows it. */
static void compare_with_git(struct fx *f, const struct stored *s)
{
	WR_AUTO_S(wr_buf) listed = WR_BUF_INIT(1 << 20);
	WR_AUTO(wr_pack) *p = NULL;
	unsigned seen = 0;
	char *line, *rest;

	sh_out(f, &listed, "git verify-pack -v p/%s.idx", s->name);
	wr_buf_addc(&listed, '\0');
	assert_ok(wr_pack_open(&p, s->dir, s->name, &f->err));
	for (rest = listed.ptr; (line = strsep(&rest, "\n")) != NULL;) {
		char hex[WR_OID_HEX + 1], type[16], base_hex[WR_OID_HEX + 1];
		unsigned long long size, in_pack, offset;
		struct wr_oid oid, base, found;
		struct wr_entry e;
		uint32_t pos, rank, again;
		unsigned depth;
		int n = sscanf(line, "%40s %15s %llu %llu %llu %u %40s", hex, type, &size, &in_pack, &offset, &depth,
			       base_hex);

		if (n < 5 || !wr_oid_parse(&oid, wr_str(hex)))
			continue;
		seen++;
		assert_true(wr_pack_find(&pos, p, &oid));
		wr_pack_oid(&found, p, pos);
		assert_true(wr_oid_eq(&oid, &found));
		assert_ok(wr_pack_entry(&e, p, pos, &f->err));
		assert_int_equal(e.size, size);
		assert_int_equal(e.at, offset);
		assert_int_equal(e.end - e.at, in_pack);
		assert_ok(wr_pack_rank(&rank, p, pos, &f->err));
		assert_ok(wr_pack_at_rank(&again, p, rank, &f->err));
		assert_int_equal(again, pos);
		if (n == 5) {
			assert_string_equal(wr_type_name((enum wr_type)e.kind), type);
			continue;
		}
		assert_true(e.kind == WR_OFS_DELTA || e.kind == WR_REF_DELTA);
		assert_true(wr_oid_parse(&base, wr_str(base_hex)));
		wr_pack_oid(&found, p, e.base);
		assert_true(wr_oid_eq(&base, &found));
	}
	assert_int_equal(seen, p->count);
	memset(listed.ptr, 0, WR_OID_RAW);
	assert_false(wr_pack_find(&(uint32_t){0}, p, (const struct wr_oid *)(const void *)listed.ptr));
}

static void entries_as_git_sees_them(void **state)
{
	struct fx *f = *state;

	make_history(f, "h", 60);
	for (int by_offset = 0; by_offset < 2; by_offset++) {
		WR_AUTO_S(stored) s;
		WR_AUTO_S(wr_buf) other = WR_BUF_INIT(64u << 20);

		store_repo(f, &s, "h", by_offset);
		compare_with_git(f, &s);
		/* A reverse index that is not of this pack, or none, is as good: the order is then made. */
		wr_buf_adds(&other, wr_buf_str(&s.part[REV]));
		other.ptr[other.len - 40] ^= 1;
		rewrite(&s, REV, wr_buf_str(&other));
		compare_with_git(f, &s);
		rewrite(&s, REV, wr_str_n(s.part[REV].ptr, s.part[REV].len - 4));
		compare_with_git(f, &s);
		rewrite(&s, REV, wr_str_n(s.part[REV].ptr, 7));
		compare_with_git(f, &s);
		unlink_part(&s, REV);
		compare_with_git(f, &s);
	}
}

static void few_objects(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(stored) none;
	WR_AUTO_S(stored) one = {.dir = -1};
	WR_AUTO(wr_pack) *p = NULL;
	struct pb b;

	pb_begin(&b, 0);
	write_whole(f, "none", pb_end(&b));
	wr_buf_fini(&b.out);
	store_pack(f, &none, "none");
	assert_ok(wr_pack_open(&p, none.dir, none.name, &f->err));
	assert_int_equal(p->count, 0);
	assert_false(wr_pack_find(&(uint32_t){0}, p, &(struct wr_oid){{0}}));
	assert_int_equal(wr_pack_at_rank(&(uint32_t){0}, p, 0, &f->err), WR_E_INTERNAL);
	assert_int_equal(wr_pack_at_offset(&(uint32_t){0}, &(uint32_t){0}, p, 12, &f->err), WR_E_INTERNAL);
	wr_pack_unref(WR_STEAL(p));

	pb_begin(&b, 1);
	pb_object(&b, WR_BLOB, WR_S("one"));
	write_whole(f, "one", pb_end(&b));
	wr_buf_fini(&b.out);
	store_pack(f, &one, "one");
	compare_with_git(f, &one);
	unlink_part(&one, REV);
	compare_with_git(f, &one);
}

/* Ours is git's, byte for byte. */
static void writes_reverse_indexes(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(stored) s;
	WR_AUTO(wr_pack) *p = NULL;
	WR_AUTO_MEM uint32_t *order = NULL;
	const uint8_t *sum;

	make_history(f, "h", 30);
	store_repo(f, &s, "h", true);
	assert_ok(wr_pack_open(&p, s.dir, s.name, &f->err));
	assert_non_null(p->rev);
	sum = p->data + p->size - WR_PACK_SUM;
	order = calloc(p->count, sizeof *order);
	for (uint32_t i = 0; i < p->count; i++)
		assert_ok(wr_pack_at_rank(&order[i], p, i, &f->err));
	assert_int_not_equal(wr_pack_write_rev(s.dir, s.name, order, p->count, sum, &f->err), WR_OK);
	unlink_part(&s, REV);
	assert_ok(wr_pack_write_rev(s.dir, s.name, order, p->count, sum, &f->err));
	{
		WR_AUTO_S(wr_buf) old = WR_BUF_INIT(1 << 20);

		wr_buf_adds(&old, wr_buf_str(&s.part[REV]));
		load_parts(f, &s);
		assert_true(wr_str_eq(wr_buf_str(&old), wr_buf_str(&s.part[REV])));
	}
	/* Larger than what is written at once. */
	order = reallocarray(order, 50000, sizeof *order);
	for (uint32_t i = 0; i < 50000; i++)
		order[i] = 49999 - i;
	assert_ok(wr_pack_write_rev(s.dir, "pack-large", order, 50000, sum, &f->err));
	sh(f, "test $(stat -c %%s p/pack-large.rev) = %u; head -c -20 p/pack-large.rev | sha1sum | cut -c1-40 > a; "
	      "tail -c 20 p/pack-large.rev | od -An -tx1 | tr -d ' \\n' > b; echo >> b; cmp a b",
	   12 + 200000 + 40);
}

static void missing_files(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(stored) s;
	WR_AUTO(wr_pack) *p = NULL;

	store_small(f, &s, true);
	assert_int_equal(wr_pack_open(&p, s.dir, "pack-0000000000000000000000000000000000000000", &f->err),
			 WR_E_INTERNAL);
	assert_int_equal(wr_pack_open(&p, s.dir, "pack-00000000000000000000000000000000000000000", &f->err),
			 WR_E_INTERNAL);
	/* A link leads who knows where. */
	sh(f, "cd p; mv %s.pack x; ln -s x %s.pack", s.name, s.name);
	assert_int_equal(wr_pack_open(&p, s.dir, s.name, &f->err), WR_E_INTERNAL);
	sh(f, "cd p; rm %s.pack; mkdir %s.pack", s.name, s.name);
	assert_int_equal(wr_pack_open(&p, s.dir, s.name, &f->err), WR_E_INTERNAL);
	sh(f, "cd p; rmdir %s.pack; mv x %s.pack; rm %s.idx", s.name, s.name, s.name);
	assert_int_equal(wr_pack_open(&p, s.dir, s.name, &f->err), WR_E_INTERNAL);
	assert_null(p);
}

/* Each bit of each file, one after the other, with and without what another file says about the same. */
static void damaged_files(void **state)
{
	static const unsigned char flips[] = {1, 0x10, 0x80, 0xff};
	struct fx *f = *state;

	for (int by_offset = 0; by_offset < 2; by_offset++) {
		WR_AUTO_S(stored) s;

		store_small(f, &s, by_offset);
		assert_int_equal(look_at_all(&s, &f->err), 9);
		for (int part = 0; part < PARTS; part++) {
			struct wr_buf *b = &s.part[part];

			for (size_t i = 0; i < b->len; i++) {
				for (size_t k = 0; k < sizeof(flips); k++) {
					b->ptr[i] ^= (char)flips[k];
					rewrite(&s, (enum part)part, wr_buf_str(b));
					look_at_all(&s, &f->err);
					b->ptr[i] ^= (char)flips[k];
				}
			}
			for (size_t n = 0; n < b->len; n += 3) {
				WR_AUTO(wr_pack) *p = NULL;

				rewrite(&s, (enum part)part, wr_str_n(b->ptr, n));
				if (part == REV)
					assert_int_equal(look_at_all(&s, &f->err), 9);
				else
					assert_int_not_equal(wr_pack_open(&p, s.dir, s.name, &f->err), WR_OK);
			}
			rewrite(&s, (enum part)part, wr_buf_str(b));
		}
		unlink_part(&s, REV);
		for (size_t i = 0; i < s.part[IDX].len; i++) {
			s.part[IDX].ptr[i] ^= 0x21;
			rewrite(&s, IDX, wr_buf_str(&s.part[IDX]));
			look_at_all(&s, &f->err);
			s.part[IDX].ptr[i] ^= 0x21;
		}
		sh(f, "rm -rf small s-* p");
	}
}

/* Damage that only shows where it is used: an error there, and only there. */
static void damage_shows_where_it_is(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(stored) s;
	WR_AUTO(wr_pack) *p = NULL;
	struct wr_oid oid;
	char *fan, *rev;

	store_small(f, &s, true);
	fan = s.part[IDX].ptr + 8;
	rev = s.part[REV].ptr + WR_REV_HEADER;
	/* A count that is larger than the last one. */
	fan[4 * 128] = 1;
	rewrite(&s, IDX, wr_buf_str(&s.part[IDX]));
	assert_ok(wr_pack_open(&p, s.dir, s.name, &f->err));
	memset(&oid, 0, sizeof(oid));
	oid.id[0] = 128;
	assert_false(wr_pack_finds(p, &oid));
	assert_false(wr_pack_find(&(uint32_t){0}, p, &oid));
	oid.id[0] = 127;
	assert_true(wr_pack_finds(p, &oid));
	wr_pack_unref(WR_STEAL(p));
	fan[4 * 128] = 0;
	rewrite(&s, IDX, wr_buf_str(&s.part[IDX]));
	/* A reverse index that holds one position twice, and one outside. */
	memcpy(rev, rev + 4, 4);
	memset(rev + 8, 0x7f, 4);
	rewrite(&s, REV, wr_buf_str(&s.part[REV]));
	assert_ok(wr_pack_open(&p, s.dir, s.name, &f->err));
	assert_non_null(p->rev);
	assert_int_equal(wr_pack_at_rank(&(uint32_t){0}, p, 2, &f->err), WR_E_INTERNAL);
	assert_ok(wr_pack_at_rank(&(uint32_t){0}, p, 8, &f->err));
	assert_in_range(look_at_all(&s, &f->err), 1, 8);
}

/* An index of 64-bit offsets. */
static void long_offsets(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(stored) s;
	WR_AUTO_S(wr_buf) idx = WR_BUF_INIT(1 << 20);
	WR_AUTO(wr_pack) *p = NULL;
	size_t off32;
	uint32_t n;

	store_small(f, &s, true);
	n = wr_be32((uint8_t *)s.part[IDX].ptr + 8 + 255 * 4);
	off32 = 8 + 1024 + (size_t)n * 24;
	wr_buf_add(&idx, s.part[IDX].ptr, off32);
	for (uint32_t i = 0; i < n; i++) {
		uint8_t to[4];

		wr_put_be32(to, 0x80000000 | i);
		wr_buf_add(&idx, to, 4);
	}
	for (uint32_t i = 0; i < n; i++) {
		wr_buf_add(&idx, "\0\0\0\0", 4);
		wr_buf_add(&idx, s.part[IDX].ptr + off32 + 4 * i, 4);
	}
	wr_buf_add(&idx, s.part[IDX].ptr + s.part[IDX].len - 40, 40);
	rewrite(&s, IDX, wr_buf_str(&idx));
	assert_int_equal(look_at_all(&s, &f->err), n);
	/* One that points beyond its table, then one beyond the pack. */
	idx.ptr[off32 + 3] = 0x7f;
	rewrite(&s, IDX, wr_buf_str(&idx));
	assert_ok(wr_pack_open(&p, s.dir, s.name, &f->err));
	assert_int_equal(wr_pack_offset(p, 0), 0);
	assert_int_equal(wr_pack_entry(&(struct wr_entry){0}, p, 0, &f->err), WR_E_INTERNAL);
	wr_pack_unref(WR_STEAL(p));
	idx.ptr[off32 + 3] = 0;
	idx.ptr[off32 + 4 * n] = 1;
	rewrite(&s, IDX, wr_buf_str(&idx));
	assert_ok(wr_pack_open(&p, s.dir, s.name, &f->err));
	assert_int_equal(wr_pack_entry(&(struct wr_entry){0}, p, 0, &f->err), WR_E_INTERNAL);
	wr_pack_unref(WR_STEAL(p));
	/* A table of more rows than there are objects. */
	wr_buf_add(&idx, "12345678", 8);
	rewrite(&s, IDX, wr_buf_str(&idx));
	assert_int_equal(wr_pack_open(&p, s.dir, s.name, &f->err), WR_E_INTERNAL);
}

/* A pack of 5 GB (a sparse file): an object at its front, and at its end a delta on it. */
static void large_packs(void **state)
{
	static const uint64_t far = UINT64_C(5) << 30;
	struct fx *f = *state;
	WR_AUTO_S(stored) s = {.name = "pack-large"};
	WR_AUTO_S(wr_buf) idx = WR_BUF_INIT(1 << 20);
	WR_AUTO(wr_pack) *p = NULL;
	struct pb front, back = {WR_BUF_INIT(4096)};
	char path[128];
	struct wr_entry e;
	size_t first_end;
	uint8_t be[8];
	int fd;

	open_folder(f, &s);
	pb_begin(&front, 3);
	pb_object(&front, WR_BLOB, WR_S("base"));
	first_end = front.out.len;
	pb_head(&front, WR_BLOB, 1);
	pb_ofs_delta(&back, far - WR_PACK_HEADER, WR_S("\x04\x02\x91\x01\x02"));
	wr_buf_add(&back.out, "trailer of this pack", 20);
	snprintf(path, sizeof(path), "%s/p/pack-large.pack", f->dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, front.out.ptr, front.out.len, 0), front.out.len);
	assert_int_equal(pwrite(fd, back.out.ptr, back.out.len, (off_t)far), back.out.len);
	close(fd);
	wr_buf_add(&idx, "\377tOc\0\0\0\2", 8);
	for (int i = 0; i < 256; i++)
		wr_buf_add(&idx, i < 1 ? "\0\0\0\1" : i < 2 ? "\0\0\0\2" : "\0\0\0\3", 4);
	for (char i = 0; i < 3; i++) {
		wr_buf_addc(&idx, i);
		wr_buf_add(&idx, "1234567890123456789", 19);
	}
	wr_buf_add(&idx, "crc1crc2crc3", 12);
	wr_buf_add(&idx, "\0\0\0\x0c", 4);
	wr_put_be32(be, (uint32_t)first_end);
	wr_buf_add(&idx, be, 4);
	wr_buf_add(&idx, "\x80\0\0\0", 4);
	wr_put_be32(be, (uint32_t)(far >> 32));
	wr_put_be32(be + 4, (uint32_t)far);
	wr_buf_add(&idx, be, 8);
	wr_buf_add(&idx, "trailer of this packtrailer of the index", 40);
	rewrite(&s, IDX, wr_buf_str(&idx));

	assert_ok(wr_pack_open(&p, s.dir, s.name, &f->err));
	assert_int_equal(p->size, far + back.out.len);
	assert_ok(wr_pack_entry(&e, p, 0, &f->err));
	assert_int_equal(e.end, first_end);
	assert_ok(wr_pack_entry(&e, p, 1, &f->err));
	assert_int_equal(e.end, far);
	assert_ok(wr_pack_entry(&e, p, 2, &f->err));
	assert_int_equal(e.kind, WR_OFS_DELTA);
	assert_int_equal(e.at, far);
	assert_int_equal(e.end, far + back.out.len - WR_PACK_SUM);
	assert_int_equal(e.base, 0);
	wr_buf_fini(&front.out);
	wr_buf_fini(&back.out);
}

/* ---- looking for ids, however they are spread ---- */

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, WR_OID_RAW);
}

/* From all alike but for their ends to evenly spread, in lumps between. */
static void spread_ids(struct fx *f, struct wr_oid *ids, uint32_t n)
{
	unsigned same = chance(f, 6), lumps = 1 + chance(f, 256);

	for (uint32_t i = 0; i < n; i++)
		for (unsigned b = 0; b < WR_OID_RAW; b++)
			ids[i].id[b] = b < same ? 0x77 : (uint8_t)chance(f, b == same ? lumps : 256);
	qsort(ids, n, sizeof *ids, by_bytes);
}

static void expect_found(const struct wr_pack *p, const struct wr_oid *oid)
{
	const struct wr_oid *there = bsearch(oid, p->names, p->count, WR_OID_RAW, by_bytes);
	uint32_t pos = 0;

	wr_pack_hint_id(p, oid, false);
	wr_pack_hint_id(p, oid, true);
	assert_int_equal(wr_pack_find(&pos, p, oid), there != NULL);
	assert_true(!there || (pos < p->count && memcmp(p->names + (size_t)pos * WR_OID_RAW, oid, WR_OID_RAW) == 0));
}

static void ids_however_spread(void **state)
{
	struct fx *f = *state;

	for (unsigned round = rounds(200); round > 0; round--) {
		uint32_t n = chance(f, 3) ? chance(f, 3000) : chance(f, 40), count = 0;
		WR_AUTO_MEM struct wr_oid *ids = calloc(n + 1, sizeof *ids);
		uint8_t fanout[1024];
		struct wr_pack p = {.count = n, .fanout = fanout, .names = (uint8_t *)ids};

		assert_non_null(ids);
		spread_ids(f, ids, n);
		for (unsigned b = 0; b < 256; b++) {
			while (count < n && ids[count].id[0] == b)
				count++;
			wr_put_be32(fanout + 4 * (size_t)b, count);
		}
		for (unsigned i = 0; i < 200; i++) {
			struct wr_oid oid = ids[chance(f, n + 1)];

			expect_found(&p, &oid);
			oid.id[chance(f, WR_OID_RAW)] = (uint8_t)chance(f, 256);
			expect_found(&p, &oid);
		}
	}
}

static void *first_look(void *arg)
{
	const struct wr_pack *p = arg;
	uintptr_t fine = 0;

	for (uint32_t i = 0; i < p->count; i++) {
		struct wr_entry e;

		fine += wr_pack_entry(&e, p, i, NULL) == WR_OK;
	}
	return (void *)fine;
}

/* Many need the order at once, and nobody has made it yet. */
static void threads_make_the_order(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(stored) s;

	make_history(f, "h", 30);
	store_repo(f, &s, "h", true);
	unlink_part(&s, REV);
	for (unsigned n = rounds(20); n > 0; n--) {
		WR_AUTO(wr_pack) *p = NULL;
		pthread_t threads[6];

		assert_ok(wr_pack_open(&p, s.dir, s.name, &f->err));
		for (size_t i = 0; i < WR_ARRAY_LEN(threads); i++)
			assert_int_equal(pthread_create(&threads[i], NULL, first_look, p), 0);
		for (size_t i = 0; i < WR_ARRAY_LEN(threads); i++) {
			void *fine;

			assert_int_equal(pthread_join(threads[i], &fine), 0);
			assert_int_equal((uintptr_t)fine, p->count);
		}
	}
}

static void framing(void **state)
{
	static const uint64_t values[] = {
		0, 1, 15, 16, 127, 128, 16511, 16512, UINT32_MAX, UINT64_C(1) << 40, UINT64_C(1) << 54};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(values); i++) {
		uint8_t bytes[16];
		unsigned kind;
		uint64_t v;
		size_t n = wr_entry_put(bytes, WR_TREE, values[i]);

		assert_int_equal(wr_entry_head(&kind, &v, bytes, n), n);
		assert_int_equal(kind, WR_TREE);
		assert_int_equal(v, values[i]);
		assert_int_equal(wr_entry_head(&kind, &v, bytes, n - 1), 0);
		n = wr_entry_put_distance(bytes, values[i]);
		assert_int_equal(wr_entry_distance(&v, bytes, n), n);
		assert_int_equal(v, values[i]);
		assert_int_equal(wr_entry_distance(&v, bytes, n - 1), 0);
		memset(bytes, 0xff, sizeof(bytes));
		assert_int_equal(wr_entry_head(&kind, &v, bytes, sizeof(bytes)), 0);
		assert_int_equal(wr_entry_distance(&v, bytes, sizeof(bytes)), 0);
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)
	const struct CMUnitTest tests[] = {
		T(entries_as_git_sees_them), T(few_objects),  T(writes_reverse_indexes), T(missing_files),
		T(damaged_files),	     T(long_offsets), T(damage_shows_where_it_is), T(large_packs),
		T(ids_however_spread),	     T(threads_make_the_order), T(framing),
	};

	return cmocka_run_group_tests_name("git_pack", tests, NULL, NULL);
}
