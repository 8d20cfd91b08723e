/* Objects out of packs and journals: every one as git has it, with a cache and without; what is damaged is an error. */
#include "tests/unit/pack_fixture.h"

#include <pthread.h>

#include "core/git/delta.h"
#include "core/git/delta_make.h"
#include "core/git/object_source.h"
#include "core/git/snapshot_internal.h"

#define MAX_OBJECT (64u << 20)

/* ---- stores by hand ---- */

static void add_pack(struct wr_snapshot *snap, const struct stored *s, enum wr_role role, struct wr_dead *dead)
{
	WR_AUTO(wr_pack) *p = NULL;

	assert_ok(wr_pack_open(&p, s->dir, s->name, NULL));
	assert_ok(wr_snapshot_add_member(snap, p, role, dead, NULL));
}

static struct wr_snapshot *snapshot_of(const struct stored *s)
{
	struct wr_snapshot *snap = NULL;

	assert_ok(wr_snapshot_new(&snap, MAX_OBJECT, NULL));
	add_pack(snap, s, WR_ROLE_BASE, NULL);
	return snap;
}

/* One record's worth of objects; raw entries lie in bytes. */
struct rec {
	struct wr_record_object v[64];
	uint32_t count;
	uint8_t bytes[64][4096];
};

static struct wr_record_object *rec_entry(struct rec *r, enum wr_type type, unsigned kind, const struct wr_oid *base,
					  struct wr_str plain, size_t size)
{
	struct wr_record_object *o = &r->v[r->count];
	uint8_t *raw = r->bytes[r->count++];
	size_t n = wr_entry_put(raw, kind, plain.len), len;
	WR_AUTO_MEM uint8_t *zip = NULL;

	if (kind == WR_REF_DELTA) {
		memcpy(raw + n, base->id, WR_OID_RAW);
		n += WR_OID_RAW;
	} else if (kind == WR_OFS_DELTA) {
		n += wr_entry_put_distance(raw + n, 1);
	}
	assert_ok(wr_deflate(&zip, &len, plain, NULL));
	assert_true(n + len <= sizeof(r->bytes[0]));
	memcpy(raw + n, zip, len);
	*o = (struct wr_record_object){.type = type, .base = WR_NO_ROW, .size = size, .raw = raw,
				       .raw_len = (uint32_t)(n + len)};
	return o;
}

static struct wr_record_object *rec_full(struct rec *r, enum wr_type type, struct wr_str text)
{
	struct wr_record_object *o = rec_entry(r, type, (unsigned)type, NULL, text, text.len);

	oid_of(&o->oid, type, text);
	return o;
}

/* base_row: WR_NO_ROW for a base by its id. */
static struct wr_record_object *rec_delta(struct rec *r, enum wr_type type, struct wr_str text, struct wr_str base,
					  uint32_t base_row)
{
	WR_AUTO_MEM uint8_t *delta = NULL;
	struct wr_record_object *o;
	struct wr_oid base_oid;
	size_t len;

	oid_of(&base_oid, type, base);
	assert_ok(wr_delta_make(&delta, &len, base, text, SIZE_MAX, NULL));
	o = rec_entry(r, type, base_row == WR_NO_ROW ? WR_REF_DELTA : WR_OFS_DELTA, &base_oid, wr_str_n(delta, len),
		      text.len);
	oid_of(&o->oid, type, text);
	o->base = base_row;
	return o;
}

static struct wr_journal *journal_new(struct stored *s, uint64_t number)
{
	struct wr_journal *j = NULL;

	assert_ok(wr_journal_create(&j, s->dir, number, 0, number * 1000, NULL));
	return j;
}

static void put(struct wr_journal *j, const struct rec *r)
{
	struct wr_record record = {.author = WR_S("A"), .objects = r->v, .object_count = r->count};
	bool broken = false;

	assert_ok(wr_journal_put(&broken, j, &record, NULL));
}

static void add_journal(struct wr_snapshot *snap, struct wr_journal *j)
{
	snap->journals[snap->journal_count] = wr_journal_ref(j);
	snap->limits[snap->journal_count++] = wr_journal_rows(j);
}

/* ---- judging ---- */

static void expect_object(const struct wr_snapshot *snap, const struct wr_oid *oid, struct wr_cache *cache)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	struct wr_place place;
	enum wr_type type;
	struct wr_oid is;
	uint64_t size;

	assert_true(wr_snapshot_has(snap, oid));
	assert_true(wr_snapshot_find(&place, snap, oid));
	wr_snapshot_oid(&is, snap, place);
	assert_true(wr_oid_eq(&is, oid));
	assert_ok(wr_snapshot_read_cached(&obj, snap, oid, cache, NULL));
	oid_of(&is, obj.type, wr_str_n(obj.data, obj.size));
	assert_true(wr_oid_eq(&is, oid));
	assert_int_equal(obj.data[obj.size], 0);
	assert_ok(wr_snapshot_stat(snap, oid, &type, &size, NULL));
	assert_int_equal(type, obj.type);
	assert_int_equal(size, obj.size);
	assert_ok(wr_snapshot_stat(snap, oid, NULL, NULL, NULL));
	if (cache) {
		struct wr_str bytes;

		/* Twice: what was not there then is there now. */
		for (int i = 0; i < 2; i++) {
			assert_ok(wr_snapshot_borrow(&type, &bytes, snap, oid, cache, NULL));
			assert_int_equal(type, obj.type);
			assert_int_equal(bytes.len, obj.size);
			assert_memory_equal(bytes.ptr, obj.data, obj.size + 1);
		}
	}
}

static void expect_in_turn(struct wr_reader *reader, const struct wr_oid *oid)
{
	struct wr_object obj;
	struct wr_oid is;

	assert_ok(wr_reader_read(&obj, reader, oid, NULL));
	oid_of(&is, obj.type, wr_str_n(obj.data, obj.size));
	assert_true(wr_oid_eq(&is, oid));
	assert_int_equal(obj.data[obj.size], 0);
}

/* The bytes in pieces of this many. False where it cannot be opened; *code says whether they are the object. */
static bool in_pieces(struct wr_buf *out, enum wr_code *code, const struct wr_snapshot *snap, const struct wr_oid *oid,
		      uint64_t min, size_t piece)
{
	WR_AUTO_S(wr_object_source) src = {.size = 0};
	size_t got = 1;
	bool opened;

	wr_buf_clear(out);
	*code = wr_object_source_open(&src, &opened, snap, oid, min, NULL);
	if (*code == WR_OK && !opened)
		return false;
	while (*code == WR_OK && got > 0) {
		char *room = wr_buf_room(out, piece);

		assert_non_null(room);
		if ((*code = wr_source_read(&src.base, room, piece, &got, NULL)) == WR_OK)
			out->len += got;
	}
	if (*code == WR_OK) {
		assert_ok(wr_source_read(&src.base, &piece, sizeof piece, &got, NULL));
		assert_int_equal(got, 0);
		assert_int_equal(out->len, src.size);
	}
	return true;
}

/* Those that are no deltas. */
static void all_in_pieces(struct fx *f, const struct wr_snapshot *snap, const struct wr_oids *oids)
{
	WR_AUTO_S(wr_buf) bytes = WR_BUF_INIT(1 << 20);
	size_t opened = 0;

	for (size_t i = 0; i < oids->len; i++) {
		const struct wr_oid *oid = &oids->v[i];
		struct wr_place place;
		enum wr_type type;
		enum wr_code code;
		struct wr_oid is;
		unsigned depth;
		uint64_t size;

		assert_true(wr_snapshot_find(&place, snap, oid));
		assert_ok(wr_snapshot_depth(&depth, snap, place, NULL));
		assert_ok(wr_snapshot_stat(snap, oid, &type, &size, NULL));
		assert_false(in_pieces(&bytes, &code, snap, oid, size + 1, 100));
		assert_int_equal(in_pieces(&bytes, &code, snap, oid, size, 1 + chance(f, 300)), depth == 0);
		assert_ok(code);
		if (depth > 0)
			continue;
		oid_of(&is, type, wr_buf_str(&bytes));
		assert_true(wr_oid_eq(&is, oid));
		opened++;
	}
	assert_true(opened > 0 && opened < oids->len);
}

/* What a reader holds is bounded by the largest objects, however many there are, and goes when it is told to. */
static void all_in_turn(struct fx *f, const struct wr_snapshot *snap, const struct wr_oids *oids)
{
	WR_AUTO(wr_reader) *reader = NULL;
	size_t held;

	assert_ok(wr_reader_new(&reader, snap, NULL));
	assert_int_equal(wr_reader_holds(reader), 0);
	for (size_t i = 0; i < oids->len; i++)
		expect_in_turn(reader, &oids->v[i]);
	held = wr_reader_holds(reader);
	assert_true(held > 0);
	for (size_t i = 0; i < oids->len; i++) {
		if (chance(f, 100) == 0) {
			wr_reader_drop(reader);
			assert_int_equal(wr_reader_holds(reader), 0);
		}
		expect_in_turn(reader, &oids->v[chance(f, (unsigned)oids->len)]);
		assert_true(wr_reader_holds(reader) <= 2 * held);
	}
}

/* The sizes of many are those of each, in any order and number; until one is not there. */
static void all_sizes(struct fx *f, const struct wr_snapshot *snap, const struct wr_oids *oids)
{
	WR_AUTO_MEM struct wr_oid *asked = calloc(oids->len + 1, sizeof *asked);
	WR_AUTO_MEM uint64_t *sizes = calloc(oids->len + 1, sizeof *sizes);

	assert_non_null(asked);
	assert_non_null(sizes);
	for (int round = 0; round < 20; round++) {
		size_t n = 1 + chance(f, (unsigned)oids->len);
		uint64_t size;

		for (size_t i = 0; i < n; i++)
			asked[i] = oids->v[chance(f, (unsigned)oids->len)];
		assert_ok(wr_snapshot_sizes(sizes, snap, asked, n, NULL));
		for (size_t i = 0; i < n; i++) {
			assert_ok(wr_snapshot_stat(snap, &asked[i], NULL, &size, NULL));
			assert_int_equal(sizes[i], size);
		}
		asked[chance(f, (unsigned)n)].id[chance(f, WR_OID_RAW)] ^= 1;
		assert_int_equal(wr_snapshot_sizes(sizes, snap, asked, n, &f->err), WR_E_NOT_THERE);
	}
}

/* ---- packs ---- */

static void whole_repositories(void **state)
{
	static const size_t maxima[] = {0, 1, 1000, 50000, 16 << 20};
	struct fx *f = *state;

	make_history(f, "h", 80);
	for (int by_offset = 0; by_offset < 2; by_offset++) {
		WR_AUTO_S(stored) s;
		WR_AUTO_S(wr_buf) listed = WR_BUF_INIT(1 << 20);
		WR_AUTO_S(wr_oids) oids = {.v = NULL};
		WR_AUTO(wr_snapshot) *snap = NULL;

		store_repo(f, &s, "h", by_offset);
		sh_out(f, &listed, "git -C h cat-file --batch-all-objects --batch-check");
		oids_of(&oids, &listed);
		snap = snapshot_of(&s);
		assert_int_equal(oids.len, snap->members[0].pack->count);
		for (size_t i = 0; i < oids.len; i++)
			expect_object(snap, &oids.v[i], NULL);
		for (size_t m = 0; m < WR_ARRAY_LEN(maxima); m++) {
			WR_AUTO(wr_cache) *cache = NULL;

			assert_ok(wr_cache_new(&cache, maxima[m], NULL));
			/* In the order of the pack, in that of ids, and in none. */
			for (uint32_t rank = 0; rank < oids.len; rank++) {
				struct wr_oid oid;
				uint32_t pos;

				assert_ok(wr_pack_at_rank(&pos, snap->members[0].pack, rank, NULL));
				wr_pack_oid(&oid, snap->members[0].pack, pos);
				expect_object(snap, &oid, cache);
			}
			for (size_t i = 0; i < oids.len; i++)
				expect_object(snap, &oids.v[i], cache);
			for (size_t i = 0; i < oids.len; i++)
				expect_object(snap, &oids.v[chance(f, (unsigned)oids.len)], cache);
		}
		all_in_turn(f, snap, &oids);
		all_in_pieces(f, snap, &oids);
		all_sizes(f, snap, &oids);
	}
}

static void stored_entries(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(stored) s;
	WR_AUTO(wr_snapshot) *snap = NULL;
	const struct wr_pack *p;
	uint64_t bytes = 0;
	unsigned deepest = 0;

	make_history(f, "h", 40);
	store_repo(f, &s, "h", true);
	snap = snapshot_of(&s);
	p = snap->members[0].pack;
	for (uint32_t pos = 0; pos < p->count; pos++) {
		struct wr_place place = {0, pos};
		struct wr_stored e, base;
		unsigned depth, above;

		assert_ok(wr_snapshot_stored(&e, snap, place, &f->err));
		assert_ptr_equal(e.raw, p->data + wr_snapshot_offset(snap, place));
		assert_ptr_equal(e.zip + e.zip_len, e.raw + e.raw_len);
		bytes += e.raw_len;
		assert_ok(wr_snapshot_depth(&depth, snap, place, &f->err));
		deepest = depth > deepest ? depth : deepest;
		assert_int_equal(depth == 0, e.kind <= WR_TAG);
		if (depth == 0)
			continue;
		assert_ok(wr_snapshot_depth(&above, snap, e.base, &f->err));
		assert_int_equal(above, depth - 1);
		assert_ok(wr_snapshot_stored(&base, snap, e.base, &f->err));
	}
	assert_int_equal(bytes, p->size - WR_PACK_HEADER - WR_PACK_SUM);
	assert_true(deepest > 0);
}

/* A pack of one blob and deltas, each on the one before it. */
static void store_chain(struct fx *f, struct stored *s, const char *file, unsigned deltas)
{
	uint8_t delta[] = {2, 2, 2, 0, 0};
	size_t at, before;
	struct pb b;

	pb_begin(&b, deltas + 1);
	before = pb_object(&b, WR_BLOB, WR_S("\xff\xff"));
	for (unsigned i = 0; i < deltas; i++) {
		delta[3] = (uint8_t)(i >> 8);
		delta[4] = (uint8_t)i;
		at = pb_ofs_delta(&b, b.out.len - before, wr_str_n(delta, sizeof(delta)));
		before = at;
	}
	write_whole(f, file, pb_end(&b));
	wr_buf_fini(&b.out);
	store_pack(f, s, file);
}

static void deep_chains(void **state)
{
	struct fx *f = *state;
	unsigned fine = 0, refused = 0;
	WR_AUTO_S(stored) s;
	WR_AUTO_S(stored) deeper = {.dir = -1};
	WR_AUTO(wr_snapshot) *snap = NULL;
	WR_AUTO(wr_snapshot) *bad = NULL;
	WR_AUTO(wr_cache) *cache = NULL;
	WR_AUTO(wr_cache) *other = NULL;
	WR_AUTO(wr_reader) *reader = NULL;

	store_chain(f, &s, "deep", WR_DELTA_DEPTH);
	snap = snapshot_of(&s);
	assert_ok(wr_cache_new(&cache, 200 * 100, NULL));
	assert_ok(wr_reader_new(&reader, snap, NULL));
	for (uint32_t pos = 0; pos <= WR_DELTA_DEPTH; pos += 97) {
		struct wr_oid oid;

		wr_snapshot_oid(&oid, snap, (struct wr_place){0, pos});
		expect_object(snap, &oid, NULL);
		expect_object(snap, &oid, cache);
		expect_in_turn(reader, &oid);
	}
	store_chain(f, &deeper, "deeper", WR_DELTA_DEPTH + 1);
	bad = snapshot_of(&deeper);
	assert_ok(wr_cache_new(&other, 1 << 20, &f->err));
	for (uint32_t rank = WR_DELTA_DEPTH; rank <= WR_DELTA_DEPTH + 1; rank++) {
		WR_AUTO_S(wr_object) obj = {.data = NULL};
		struct wr_place place = {0, 0};
		struct wr_oid oid;
		enum wr_type type;
		unsigned depth;
		enum wr_code code;

		assert_ok(wr_pack_at_rank(&place.pos, bad->members[0].pack, rank, &f->err));
		wr_snapshot_oid(&oid, bad, place);
		code = wr_snapshot_read(&obj, bad, &oid, &f->err);
		assert_int_equal(wr_snapshot_depth(&depth, bad, place, &f->err), code);
		assert_int_equal(wr_snapshot_stat(bad, &oid, &type, NULL, &f->err), code);
		assert_int_equal(code, rank == WR_DELTA_DEPTH ? WR_OK : WR_E_INTERNAL);
		/* No other answer where its base, just read, is at hand. */
		wr_object_fini(&obj);
		assert_int_equal(wr_snapshot_read_at(&obj, bad, place, other, &f->err), code);
		fine += code == WR_OK;
		refused += code != WR_OK;
	}
	assert_int_equal(fine, 1);
	assert_int_equal(refused, 1);
}

static void limits_hold(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(stored) s;
	WR_AUTO(wr_snapshot) *snap = NULL;
	WR_AUTO(wr_cache) *cache = NULL;
	WR_AUTO(wr_reader) *reader = NULL;
	WR_AUTO_S(wr_buf) pieces = WR_BUF_INIT(1 << 20);
	unsigned too_large = 0;

	store_small(f, &s, true);
	snap = snapshot_of(&s);
	snap->max_object = 500;
	assert_ok(wr_cache_new(&cache, 1 << 20, NULL));
	assert_ok(wr_reader_new(&reader, snap, NULL));
	for (uint32_t pos = 0; pos < snap->members[0].pack->count; pos++) {
		WR_AUTO_S(wr_object) obj = {.data = NULL};
		struct wr_object again;
		struct wr_oid oid;
		struct wr_str bytes;
		enum wr_type type;
		uint64_t size;
		enum wr_code code, piecewise;

		wr_snapshot_oid(&oid, snap, (struct wr_place){0, pos});
		code = wr_snapshot_read(&obj, snap, &oid, &f->err);
		assert_ok(wr_snapshot_stat(snap, &oid, &type, &size, &f->err));
		assert_int_equal(code, size > 500 ? WR_E_TOO_LARGE : WR_OK);
		assert_int_equal(wr_snapshot_borrow(&type, &bytes, snap, &oid, cache, &f->err), code);
		assert_int_equal(wr_reader_read(&again, reader, &oid, &f->err), code);
		if (in_pieces(&pieces, &piecewise, snap, &oid, 0, 100))
			assert_int_equal(piecewise, code);
		too_large += size > 500;
	}
	assert_int_equal(too_large, 3);
}

static void read_all(const struct stored *s)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	WR_AUTO(wr_cache) *cache = NULL;
	WR_AUTO(wr_reader) *reader = NULL;
	WR_AUTO_S(wr_buf) pieces = WR_BUF_INIT(2 << 20);
	WR_AUTO(wr_pack) *p = NULL;

	if (wr_pack_open(&p, s->dir, s->name, NULL) != WR_OK)
		return;
	assert_ok(wr_snapshot_new(&snap, 1 << 20, NULL));
	assert_ok(wr_snapshot_add_member(snap, p, WR_ROLE_BASE, NULL, NULL));
	assert_ok(wr_cache_new(&cache, 3000, NULL));
	assert_ok(wr_reader_new(&reader, snap, NULL));
	for (uint32_t pos = 0; pos < p->count; pos++) {
		WR_AUTO_S(wr_object) plain = {.data = NULL};
		WR_AUTO_S(wr_object) cached = {.data = NULL};
		struct wr_object in_turn = {.data = NULL};
		struct wr_place place = {0, pos}, found;
		enum wr_code code, again;
		struct wr_oid oid;
		enum wr_type type;
		uint64_t size, alone;
		bool same, opened;

		code = wr_snapshot_read_at(&plain, snap, place, NULL, NULL);
		again = wr_snapshot_read_at(&cached, snap, place, cache, NULL);
		assert_int_equal(code, again);
		wr_snapshot_oid(&oid, snap, place);
		/* Unless another entry stands under its id now. */
		same = wr_snapshot_find(&found, snap, &oid) && found.pos == pos;
		if (same) {
			assert_int_equal(wr_reader_read(&in_turn, reader, &oid, NULL), code);
			opened = in_pieces(&pieces, &again, snap, &oid, 0, 64);
			assert_true(!opened || again == code);
			if (opened && code == WR_OK)
				assert_true(wr_str_eq(wr_buf_str(&pieces), wr_str_n(plain.data, plain.size)));
		}
		again = wr_snapshot_stat(snap, &oid, NULL, &alone, NULL);
		assert_int_equal(wr_snapshot_sizes(&size, snap, &oid, 1, NULL), again);
		if (again == WR_OK)
			assert_int_equal(size, alone);
		again = wr_snapshot_stat(snap, &oid, &type, &size, NULL);
		if (code != WR_OK) {
			assert_true(code == WR_E_INTERNAL || code == WR_E_TOO_LARGE);
			continue;
		}
		assert_int_equal(plain.size, cached.size);
		assert_memory_equal(plain.data, cached.data, plain.size);
		if (same) {
			assert_int_equal(in_turn.type, plain.type);
			assert_int_equal(in_turn.size, plain.size);
			assert_memory_equal(in_turn.data, plain.data, plain.size + 1);
		}
		if (same && again == WR_OK) {
			assert_int_equal(type, plain.type);
			assert_int_equal(size, plain.size);
		}
	}
}

static void damaged_files(void **state)
{
	struct fx *f = *state;

	for (int by_offset = 0; by_offset < 2; by_offset++) {
		WR_AUTO_S(stored) s;

		store_small(f, &s, by_offset);
		for (int part = 0; part < PARTS; part++) {
			struct wr_buf *b = &s.part[part];

			for (size_t i = 0; i < b->len; i++) {
				unsigned char flip = (unsigned char)(1 << chance(f, 8));

				b->ptr[i] ^= (char)flip;
				rewrite(&s, (enum part)part, wr_buf_str(b));
				read_all(&s);
				b->ptr[i] ^= (char)flip;
			}
			rewrite(&s, (enum part)part, wr_buf_str(b));
		}
		sh(f, "rm -rf small s-* p");
	}
}

/* Entries that git would refuse to store, in a pack whose index says that they are there. */
static void wrong_entries(void **state)
{
	struct fx *f = *state;
	static const struct {
		struct wr_str plain;
		uint64_t claim;
		bool delta;
		const char *behind;
		enum wr_code code;
	} cases[] = {
		{WR_S("abcd"), 4, false, "", WR_OK},
		{WR_S("abcd"), 3, false, "", WR_E_INTERNAL},
		{WR_S("abcd"), 5, false, "", WR_E_INTERNAL},
		{WR_S("abcd"), 4, false, "x", WR_E_INTERNAL},
		{WR_S("abcd"), UINT64_C(1) << 50, false, "", WR_E_TOO_LARGE},
		{WR_S("abcd"), MAX_OBJECT, false, "", WR_E_INTERNAL},
		{WR_S("\x04\x02\x91\x01\x02"), 5, true, "", WR_OK},
		{WR_S("\x04\x02\x91\x01\x02"), 4, true, "", WR_E_INTERNAL},
		{WR_S("\x04\x02\x91\x01\x02"), 5, true, "x", WR_E_INTERNAL},
		{WR_S("\x05\x02\x91\x01\x02"), 5, true, "", WR_E_INTERNAL},
		{WR_S("\x04\x03\x91\x01\x02"), 5, true, "", WR_E_INTERNAL},
		{WR_S("\x04\x02\x91\x03\x02"), 5, true, "", WR_E_INTERNAL},
		{WR_S("\x04\x02\x91\x01\x02"), MAX_OBJECT, true, "", WR_E_INTERNAL},
		{WR_S("\x04\x02\x91\x01\x02"), UINT64_C(1) << 50, true, "", WR_E_TOO_LARGE},
		{WR_S("\x04\xff\xff\xff\xff\x7f\x91\x01\x02"), 9, true, "", WR_E_INTERNAL},
	};

	for (size_t i = 0; i < WR_ARRAY_LEN(cases); i++) {
		WR_AUTO_S(stored) s = {.name = "pack-wrong"};
		WR_AUTO_S(wr_buf) idx = WR_BUF_INIT(4096);
		WR_AUTO_S(wr_object) obj = {.data = NULL};
		WR_AUTO(wr_snapshot) *snap = NULL;
		struct wr_oid oid = {{1}};
		size_t second;
		uint8_t be[4];
		struct pb b;

		open_folder(f, &s);
		pb_begin(&b, 2);
		pb_object(&b, WR_BLOB, WR_S("base"));
		second = b.out.len;
		pb_head(&b, cases[i].delta ? WR_OFS_DELTA : WR_BLOB, cases[i].claim);
		if (cases[i].delta)
			wr_buf_addc(&b.out, (char)(second - WR_PACK_HEADER));
		pb_zip(&b, cases[i].plain);
		wr_buf_addz(&b.out, cases[i].behind);
		wr_buf_add(&b.out, "trailer of this pack", 20);
		rewrite(&s, PACK, wr_buf_str(&b.out));
		wr_buf_add(&idx, "\377tOc\0\0\0\2", 8);
		for (int k = 0; k < 256; k++)
			wr_buf_add(&idx, k < 1 ? "\0\0\0\1" : "\0\0\0\2", 4);
		wr_buf_add(&idx, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
		wr_buf_add(&idx, oid.id, 20);
		wr_buf_add(&idx, "crc1crc2\0\0\0\x0c", 12);
		wr_put_be32(be, (uint32_t)second);
		wr_buf_add(&idx, be, 4);
		wr_buf_add(&idx, "trailer of this packtrailer of the index", 40);
		rewrite(&s, IDX, wr_buf_str(&idx));
		snap = snapshot_of(&s);
		assert_int_equal(wr_snapshot_read(&obj, snap, &oid, &f->err), cases[i].code);
		assert_int_equal(obj.data != NULL, cases[i].code == WR_OK);
		wr_buf_fini(&b.out);
	}
}

static void absent_objects(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(stored) s;
	WR_AUTO(wr_snapshot) *snap = NULL;
	WR_AUTO(wr_snapshot) *empty = NULL;
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	WR_AUTO(wr_cache) *cache = NULL;
	struct wr_oid oid = {{0x80, 1, 2}};
	struct wr_str bytes;
	enum wr_type type;
	uint64_t size;

	assert_ok(wr_cache_new(&cache, 1000, NULL));
	assert_ok(wr_snapshot_new(&empty, MAX_OBJECT, NULL));
	store_small(f, &s, true);
	snap = snapshot_of(&s);
	for (int i = 0; i < 2; i++) {
		const struct wr_snapshot *in = i ? snap : empty;

		assert_false(wr_snapshot_has(in, &oid));
		assert_false(wr_snapshot_in_closure(in, &oid));
		assert_int_equal(wr_snapshot_read(&obj, in, &oid, &f->err), WR_E_NOT_THERE);
		assert_int_equal(wr_snapshot_stat(in, &oid, &type, &size, &f->err), WR_E_NOT_THERE);
		assert_int_equal(wr_snapshot_sizes(&size, in, &oid, 1, &f->err), WR_E_NOT_THERE);
		assert_int_equal(wr_snapshot_borrow(&type, &bytes, in, &oid, cache, &f->err), WR_E_NOT_THERE);
	}
	wr_snapshot_unref(WR_STEAL(snap));
	/* Where the index cannot tell, "not there" would be a lie. */
	s.part[IDX].ptr[8 + 4 * 0x80] = 1;
	rewrite(&s, IDX, wr_buf_str(&s.part[IDX]));
	snap = snapshot_of(&s);
	assert_int_equal(wr_snapshot_read(&obj, snap, &oid, &f->err), WR_E_INTERNAL);
	assert_int_equal(wr_snapshot_stat(snap, &oid, &type, &size, &f->err), WR_E_INTERNAL);
	assert_int_equal(wr_snapshot_sizes(&size, snap, &oid, 1, &f->err), WR_E_INTERNAL);
}

/* ---- several sources ---- */

static void closures(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(stored) one;
	WR_AUTO_S(stored) two = {.dir = -1};
	struct wr_dead *dead = wr_dead_new(1);
	struct wr_oid a, b, c;
	struct pb pb;

	pb_begin(&pb, 2);
	pb_object(&pb, WR_BLOB, WR_S("a"));
	pb_object(&pb, WR_BLOB, WR_S("b"));
	write_whole(f, "one", pb_end(&pb));
	wr_buf_fini(&pb.out);
	store_pack(f, &one, "one");
	pb_begin(&pb, 2);
	pb_object(&pb, WR_BLOB, WR_S("b"));
	pb_object(&pb, WR_BLOB, WR_S("c"));
	write_whole(f, "two", pb_end(&pb));
	wr_buf_fini(&pb.out);
	store_pack(f, &two, "two");
	oid_of(&a, WR_BLOB, WR_S("a"));
	oid_of(&b, WR_BLOB, WR_S("b"));
	oid_of(&c, WR_BLOB, WR_S("c"));
	assert_non_null(dead);
	for (enum wr_role role = WR_ROLE_BASE; role <= WR_ROLE_OTHER; role++) {
		WR_AUTO(wr_snapshot) *snap = NULL;
		struct wr_place place;

		assert_ok(wr_snapshot_new(&snap, MAX_OBJECT, NULL));
		add_pack(snap, &one, WR_ROLE_BASE, NULL);
		assert_true(wr_pack_find(&dead->v[0], snap->members[0].pack, &b));
		snap->members[0].dead = wr_dead_ref(dead);
		add_pack(snap, &two, role, NULL);
		assert_true(wr_snapshot_in_closure(snap, &a));
		/* Dead in the one, alive in the other if that counts. */
		assert_int_equal(wr_snapshot_in_closure(snap, &b), role != WR_ROLE_OTHER);
		assert_int_equal(wr_snapshot_in_closure(snap, &c), role != WR_ROLE_OTHER);
		/* Of base and tails the youngest has it; others come after them. */
		assert_true(wr_snapshot_find(&place, snap, &b));
		assert_int_equal(place.src, role != WR_ROLE_OTHER);
		assert_true(wr_snapshot_find(&place, snap, &a));
		assert_int_equal(place.src, 0);
		expect_object(snap, &a, NULL);
		expect_object(snap, &b, NULL);
		expect_object(snap, &c, NULL);
	}
	wr_dead_unref(dead);
}

#define BASE_TEXT "a text of some length, which others resemble: it stands in a pack"
#define TEXT(n) "a text of some length, which others resemble: this is number " #n
static const struct wr_str texts[] = {
	WR_S(BASE_TEXT), WR_S(TEXT(1)), WR_S(TEXT(2)), WR_S(TEXT(3)), WR_S(TEXT(4)), WR_S(TEXT(5)), WR_S(TEXT(6)),
};

/* Text 0 in a pack; 1 to 3 in a first journal, 4 to 6 in a second one; deltas from each to each. */
static struct wr_snapshot *many_sources(struct fx *f, struct stored *s, struct wr_journal *j[2])
{
	static struct rec r;
	struct wr_snapshot *snap;
	struct pb b;

	pb_begin(&b, 1);
	pb_object(&b, WR_BLOB, texts[0]);
	write_whole(f, "one", pb_end(&b));
	wr_buf_fini(&b.out);
	store_pack(f, s, "one");
	snap = snapshot_of(s);
	j[0] = journal_new(s, 1);
	j[1] = journal_new(s, 2);

	r.count = 0;
	rec_full(&r, WR_BLOB, texts[0])->known = true;	      /* row 0 */
	rec_delta(&r, WR_BLOB, texts[1], texts[0], 0);	      /* row 1, on a row */
	rec_delta(&r, WR_BLOB, texts[2], texts[0], WR_NO_ROW); /* row 2, on the pack's */
	put(j[0], &r);
	r.count = 0;
	rec_delta(&r, WR_BLOB, texts[3], texts[2], WR_NO_ROW); /* row 3, on an earlier record's */
	put(j[0], &r);
	add_journal(snap, j[0]);
	r.count = 0;
	rec_delta(&r, WR_BLOB, texts[4], texts[3], WR_NO_ROW); /* row 0, on the first journal's */
	rec_delta(&r, WR_BLOB, texts[5], texts[4], 0);
	rec_full(&r, WR_BLOB, texts[6]);
	put(j[1], &r);
	add_journal(snap, j[1]);
	return snap;
}

static void journals(void **state)
{
	static const uint32_t src[] = {0, 1, 1, 1, 2, 2, 2}, row[] = {0, 1, 2, 3, 0, 1, 2};
	static const unsigned depths[] = {0, 1, 1, 2, 3, 4, 0};
	struct fx *f = *state;
	WR_AUTO_S(stored) s;
	struct wr_journal *j[2];
	WR_AUTO(wr_snapshot) *snap = many_sources(f, &s, j);
	WR_AUTO(wr_cache) *cache = NULL;
	WR_AUTO(wr_cache) *small = NULL;
	struct wr_oid oid;

	assert_ok(wr_cache_new(&cache, 1 << 20, NULL));
	assert_ok(wr_cache_new(&small, 400, NULL));
	for (unsigned i = WR_ARRAY_LEN(texts); i-- > 0;) {
		struct wr_place place;
		struct wr_stored e;
		unsigned depth;

		oid_of(&oid, WR_BLOB, texts[i]);
		expect_object(snap, &oid, NULL);
		expect_object(snap, &oid, cache);
		expect_object(snap, &oid, small);
		assert_true(wr_snapshot_find(&place, snap, &oid));
		assert_int_equal(place.src, src[i]);
		assert_int_equal(place.pos, row[i]);
		assert_ok(wr_snapshot_depth(&depth, snap, place, &f->err));
		assert_int_equal(depth, depths[i]);
		assert_ok(wr_snapshot_stored(&e, snap, place, &f->err));
		assert_ptr_equal(e.raw + e.raw_len, e.zip + e.zip_len);
		assert_int_equal(wr_snapshot_in_closure(snap, &oid), i == 0);
	}
	assert_true(wr_snapshot_offset(snap, (struct wr_place){1, 1}) <
		    wr_snapshot_offset(snap, (struct wr_place){1, 2}));
	/* What was put behind the limit is not there for this snapshot, */
	snap->limits[0] = 2;
	snap->limits[1] = 0;
	for (unsigned i = 0; i < WR_ARRAY_LEN(texts); i++) {
		oid_of(&oid, WR_BLOB, texts[i]);
		assert_int_equal(wr_snapshot_has(snap, &oid), i < 2);
	}
	/* also as a base: that it was needed is damage. */
	snap->limits[1] = 3;
	oid_of(&oid, WR_BLOB, texts[6]);
	expect_object(snap, &oid, NULL);
	for (unsigned i = 4; i < 6; i++) {
		WR_AUTO_S(wr_object) obj = {.data = NULL};
		struct wr_place place;
		unsigned depth;

		oid_of(&oid, WR_BLOB, texts[i]);
		assert_int_equal(wr_snapshot_read(&obj, snap, &oid, &f->err), WR_E_INTERNAL);
		assert_true(wr_snapshot_find(&place, snap, &oid));
		assert_int_equal(wr_snapshot_depth(&depth, snap, place, &f->err), WR_E_INTERNAL);
	}
	wr_journal_unref(j[0]);
	wr_journal_unref(j[1]);
}

/* Records that a mistake of ours could have written. */
static void wrong_rows(void **state)
{
	static struct rec r;
	struct fx *f = *state;
	WR_AUTO_S(stored) s;
	WR_AUTO(wr_snapshot) *snap = NULL;
	WR_AUTO(wr_cache) *cache = NULL;
	struct wr_journal *j;
	struct wr_record_object *o;

	open_folder(f, &s);
	j = journal_new(&s, 1);
	assert_ok(wr_snapshot_new(&snap, MAX_OBJECT, NULL));
	assert_ok(wr_cache_new(&cache, 1 << 20, NULL));
	r.count = 0;
	/* Two that are each other's base, one that is its own, one whose base is nowhere. */
	rec_delta(&r, WR_BLOB, texts[1], texts[2], WR_NO_ROW);
	rec_delta(&r, WR_BLOB, texts[2], texts[1], WR_NO_ROW);
	rec_delta(&r, WR_BLOB, texts[3], texts[3], WR_NO_ROW);
	rec_delta(&r, WR_BLOB, texts[4], texts[0], WR_NO_ROW);
	/* One that is larger than said, and one of another type than its base. */
	rec_full(&r, WR_BLOB, texts[5]);
	o = rec_delta(&r, WR_BLOB, texts[6], texts[5], 4);
	o->size--;
	o = rec_delta(&r, WR_BLOB, texts[6], texts[5], 4);
	o->type = WR_TREE;
	o->oid.id[0] ^= 1;
	put(j, &r);
	add_journal(snap, j);
	for (uint32_t row = 0; row < r.count; row++) {
		WR_AUTO_S(wr_object) obj = {.data = NULL};
		struct wr_place place = {0, row};
		struct wr_oid oid;
		struct wr_str bytes;
		enum wr_type type;
		uint64_t size;

		wr_snapshot_oid(&oid, snap, place);
		assert_int_equal(wr_snapshot_read_at(&obj, snap, place, NULL, &f->err),
				 row == 4 ? WR_OK : WR_E_INTERNAL);
		assert_int_equal(wr_snapshot_borrow(&type, &bytes, snap, &oid, cache, &f->err),
				 row == 4 ? WR_OK : WR_E_INTERNAL);
		assert_ok(wr_snapshot_stat(snap, &oid, &type, &size, &f->err));
	}
	wr_journal_unref(j);
}

/* ---- threads ---- */

struct reader {
	const struct wr_snapshot *snap;
	const struct wr_oids *oids;
	unsigned seed;
	bool cached;
};

static void *read_some(void *arg)
{
	struct reader *r = arg;
	WR_AUTO(wr_cache) *cache = NULL;
	uintptr_t fine = 0;

	if (r->cached && wr_cache_new(&cache, 20000, NULL) != WR_OK)
		return NULL;
	for (unsigned i = 0; i < 300; i++) {
		WR_AUTO_S(wr_object) obj = {.data = NULL};
		const struct wr_oid *oid = &r->oids->v[(unsigned)rand_r(&r->seed) % r->oids->len];
		struct wr_oid is;

		if (wr_snapshot_read_cached(&obj, r->snap, oid, cache, NULL) != WR_OK)
			return NULL;
		oid_of(&is, obj.type, wr_str_n(obj.data, obj.size));
		fine += wr_oid_eq(&is, oid);
	}
	return (void *)fine;
}

static void readers_at_once(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(stored) s;
	WR_AUTO_S(stored) h = {.dir = -1};
	WR_AUTO_S(wr_buf) listed = WR_BUF_INIT(1 << 20);
	WR_AUTO_S(wr_oids) oids = {.v = NULL};
	struct wr_journal *j[2];
	WR_AUTO(wr_snapshot) *snap = many_sources(f, &s, j);
	struct reader readers[6];
	pthread_t threads[6];

	make_history(f, "h", 30);
	store_repo(f, &h, "h", true);
	unlink_part(&h, REV);
	sh_out(f, &listed, "git -C h cat-file --batch-all-objects --batch-check");
	oids_of(&oids, &listed);
	/* A journal's places count from the number of packs on, so that all packs come before any reading. */
	add_pack(snap, &h, WR_ROLE_TAIL, NULL);
	for (size_t i = 0; i < WR_ARRAY_LEN(texts); i++) {
		struct wr_oid oid;

		oid_of(&oid, WR_BLOB, texts[i]);
		assert_ok(wr_oids_add(&oids, &oid, NULL));
	}
	for (size_t i = 0; i < WR_ARRAY_LEN(threads); i++) {
		readers[i] = (struct reader){snap, &oids, f->seed + (unsigned)i, i % 2 == 0};
		assert_int_equal(pthread_create(&threads[i], NULL, read_some, &readers[i]), 0);
	}
	for (size_t i = 0; i < WR_ARRAY_LEN(threads); i++) {
		void *fine;

		assert_int_equal(pthread_join(threads[i], &fine), 0);
		assert_int_equal((uintptr_t)fine, 300);
	}
	wr_journal_unref(j[0]);
	wr_journal_unref(j[1]);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)
	const struct CMUnitTest tests[] = {
		T(whole_repositories), T(stored_entries), T(deep_chains), T(limits_hold), T(damaged_files),
		T(wrong_entries),      T(absent_objects), T(closures),	  T(journals),	  T(wrong_rows),
		T(readers_at_once),
	};

	return cmocka_run_group_tests_name("git_objects", tests, NULL, NULL);
}
