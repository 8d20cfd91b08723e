#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/git/guard.h"
#include "core/git/journal_internal.h"
#include "core/git/pack.h"

/* ---- a folder for each test ---- */

static char path[64];
static int dir = -1;

static int setup(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "/tmp/warren-journal-XXXXXX");
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

/* ---- records ---- */

struct made {
	struct wr_record record;
	struct wr_record_update updates[4];
	struct wr_record_object objects[16];
	char names[4][48];
	uint8_t raw[16][64];
};

static void nth(struct wr_oid *oid, uint32_t n)
{
	memset(oid, 0x5a, sizeof(*oid));
	memcpy(oid->id + 16, &n, sizeof(n));
}

/* Objects first, first + 1, ...: a full blob, then deltas on it in both ways, and one on an object outside. */
static void make(struct made *m, uint32_t first, uint32_t objects, uint32_t updates)
{
	memset(m, 0, sizeof(*m));
	for (uint32_t i = 0; i < objects; i++) {
		static const unsigned kinds[4] = {WR_BLOB, WR_OFS_DELTA, WR_REF_DELTA, WR_REF_DELTA};
		struct wr_record_object *o = &m->objects[i];
		uint8_t *p = m->raw[i];
		size_t n = wr_entry_put(p, kinds[i % 4], 1000 + i);

		if (kinds[i % 4] == WR_OFS_DELTA)
			n += wr_entry_put_distance(p + n, 300);
		if (kinds[i % 4] == WR_REF_DELTA)
			n += WR_OID_RAW;
		memset(p + n, (int)(first + i), 5 + i);
		nth(&o->oid, first + i);
		o->type = WR_BLOB;
		o->depth = (uint16_t)(i % 4);
		o->base = i % 4 == 1 || i % 4 == 2 ? i - 1 : WR_NO_ROW;
		o->size = 1000 + i;
		o->raw = p;
		o->raw_len = (uint32_t)n + 5 + i;
	}
	for (uint32_t i = 0; i < updates; i++) {
		struct wr_record_update *u = &m->updates[i];

		snprintf(m->names[i], sizeof(m->names[i]), "refs/heads/topic-%u", first + i);
		u->name = wr_str(m->names[i]);
		nth(&u->new, first + i);
		u->lossy = i % 2 == 1;
		if (i == 1)
			nth(&u->peeled, 7);
	}
	m->record = (struct wr_record){
		.time_ms = 1700000000000 + first,
		.operation = "0123456789abcde",
		.author = WR_S("somebody"),
		.updates = m->updates,
		.update_count = updates,
		.objects = m->objects,
		.object_count = objects,
	};
}

static void put(struct wr_journal *j, uint32_t first, uint32_t objects, uint32_t updates)
{
	struct made m;
	bool broken;

	make(&m, first, objects, updates);
	assert_int_equal(wr_journal_put(&broken, j, &m.record, NULL), WR_OK);
	assert_false(broken);
}

static void assert_same_update(const struct wr_record_update *a, const struct wr_record_update *b)
{
	assert_true(wr_str_eq(a->name, b->name));
	assert_true(wr_oid_eq(&a->old, &b->old) && wr_oid_eq(&a->new, &b->new) && wr_oid_eq(&a->peeled, &b->peeled));
	assert_int_equal(a->lossy, b->lossy);
}

static void assert_same_object(const struct wr_record_object *a, const struct wr_record_object *b)
{
	assert_true(wr_oid_eq(&a->oid, &b->oid));
	assert_int_equal(a->type, b->type);
	assert_int_equal(a->known, b->known);
	assert_int_equal(a->depth, b->depth);
	assert_int_equal(a->base, b->base);
	assert_int_equal(a->size, b->size);
	assert_int_equal(a->raw_len, b->raw_len);
	assert_memory_equal(a->raw, b->raw, b->raw_len);
}

/* Record i of j is the one that make() makes of these numbers. */
static void assert_record(const struct wr_journal *j, uint32_t i, uint32_t first, uint32_t objects, uint32_t updates)
{
	WR_AUTO_S(wr_record) r = {.seq = 0};
	struct wr_row_entry row;
	uint32_t first_row, at;
	struct made m;

	make(&m, first, objects, updates);
	assert_int_equal(wr_journal_record(&r, &first_row, j, i, NULL), WR_OK);
	assert_int_equal(r.seq, wr_journal_first_seq(j) + i);
	assert_int_equal(r.time_ms, m.record.time_ms);
	assert_memory_equal(r.operation, m.record.operation, 16);
	assert_true(wr_str_eq(r.author, m.record.author));
	assert_false(r.has_pack);
	assert_int_equal(r.update_count, updates);
	assert_int_equal(r.object_count, objects);
	for (uint32_t k = 0; k < updates; k++)
		assert_same_update(&r.updates[k], &m.updates[k]);
	for (uint32_t k = 0; k < objects; k++) {
		assert_same_object(&r.objects[k], &m.objects[k]);
		assert_true(wr_journal_find(&at, j, wr_journal_rows(j), &m.objects[k].oid));
		assert_int_equal(at, first_row + k);
		assert_false(wr_journal_find(&at, j, first_row + k, &m.objects[k].oid));
		wr_journal_row(&row, j, first_row + k);
		assert_ptr_equal(row.raw, r.objects[k].raw);
		assert_int_equal(row.base, m.objects[k].base == WR_NO_ROW ? WR_NO_ROW : first_row + m.objects[k].base);
	}
}

static struct wr_journal *create(uint64_t number)
{
	struct wr_journal *j = NULL;

	assert_int_equal(wr_journal_create(&j, dir, number, 0, 41, NULL), WR_OK);
	return j;
}

static struct wr_journal *reopen(enum wr_journal_end *end, uint64_t *flushed, uint64_t number)
{
	struct wr_journal *j = NULL;

	assert_int_equal(wr_journal_open(&j, end, flushed, dir, number, NULL), WR_OK);
	return j;
}

/* ---- tests ---- */

static void a_new_one_is_empty(void **state)
{
	WR_AUTO(wr_journal) *j = NULL, *again = NULL;
	enum wr_journal_end end;
	uint64_t flushed;
	struct wr_oid oid;
	uint32_t row;

	(void)state;
	assert_int_equal(wr_journal_create(&j, dir, 3, 2, 41, NULL), WR_OK);
	assert_int_equal(wr_journal_create(&again, dir, 3, 0, 1, NULL), WR_E_INTERNAL);
	again = reopen(&end, &flushed, 3);
	assert_int_equal(end, WR_JOURNAL_WHOLE);
	assert_int_equal(flushed, WR_JOURNAL_HEADER);
	assert_int_equal(wr_journal_number(again), 3);
	assert_int_equal(wr_journal_replaces(again), 2);
	assert_int_equal(wr_journal_first_seq(again), 41);
	assert_int_equal(wr_journal_next_seq(again), 41);
	assert_int_equal(wr_journal_rows(again), 0);
	nth(&oid, 1);
	assert_false(wr_journal_find(&row, again, 0, &oid));
	assert_false(wr_journal_find(&row, again, 100, &oid));
	/* Nothing but the journal is left in the folder. */
	assert_int_equal(faccessat(dir, "journal.3.new", F_OK, 0), -1);
}

static void absent_short_and_foreign_files(void **state)
{
	struct wr_journal *j = NULL;
	enum wr_journal_end end;
	uint64_t flushed;

	(void)state;
	assert_int_equal(wr_journal_open(&j, &end, &flushed, dir, 1, NULL), WR_E_NOT_THERE);
	assert_int_equal(wr_file_create(dir, "journal.2", WR_S("WRNJRNL1"), NULL), WR_OK);
	assert_int_equal(wr_journal_open(&j, &end, &flushed, dir, 2, NULL), WR_E_NOT_THERE);
	wr_journal_unref(create(4));
	assert_int_equal(renameat(dir, "journal.4", dir, "journal.5"), 0);
	assert_int_equal(wr_journal_open(&j, &end, &flushed, dir, 5, NULL), WR_E_INTERNAL);
	assert_int_equal(mkdirat(dir, "journal.6", 0700), 0);
	assert_int_equal(wr_journal_open(&j, &end, &flushed, dir, 6, NULL), WR_E_INTERNAL);
}

#define MANY 3000

static void records_come_back(void **state)
{
	enum wr_journal_end end;
	uint64_t flushed;

	(void)state;
	{
		WR_AUTO(wr_journal) *j = create(1);

		for (uint32_t i = 0; i < MANY; i++) {
			assert_int_equal(wr_journal_next_seq(j), 41 + i);
			put(j, i * 16, i % 17, i % 5);
			if (i % 100 == 0)
				assert_int_equal(wr_journal_flush(j, NULL), WR_OK);
			assert_int_equal(wr_journal_flushed(j), i - i % 100 + 1);
		}
		for (uint32_t i = 0; i < MANY; i++)
			assert_record(j, i, i * 16, i % 17, i % 5);
		assert_int_equal(wr_journal_records(j), MANY);
	}
	WR_AUTO(wr_journal) *j = reopen(&end, &flushed, 1);
	assert_int_equal(end, WR_JOURNAL_WHOLE);
	assert_int_equal(wr_journal_records(j), MANY);
	assert_int_equal(wr_journal_flushed(j), MANY);
	for (uint32_t i = 0; i < MANY; i++)
		assert_record(j, i, i * 16, i % 17, i % 5);
	/* And goes on; the next record vouches for all before it. */
	put(j, MANY * 16, 3, 1);
	assert_record(j, MANY, MANY * 16, 3, 1);
	assert_int_equal(wr_journal_flushed(j), MANY);
	{
		WR_AUTO(wr_journal) *again = reopen(&end, &flushed, 1);

		assert_int_equal(flushed, wr_journal_place(j, MANY)->offset);
	}
}

static void a_pack_is_named(void **state)
{
	WR_AUTO(wr_journal) *j = create(1);
	WR_AUTO_S(wr_record) r = {.seq = 0};
	uint32_t first_row;
	struct made m;
	bool broken;

	(void)state;
	make(&m, 0, 0, 1);
	m.record.has_pack = true;
	memset(m.record.pack, 0xab, WR_PACK_ID);
	assert_int_equal(wr_journal_put(&broken, j, &m.record, NULL), WR_OK);
	assert_int_equal(m.record.seq, 41);
	assert_int_equal(wr_journal_record(&r, &first_row, j, 0, NULL), WR_OK);
	assert_true(r.has_pack);
	assert_memory_equal(r.pack, m.record.pack, WR_PACK_ID);
	assert_int_equal(wr_journal_record(&r, &first_row, j, 1, NULL), WR_E_INTERNAL);
}

static void known_rows_are_not_found_and_the_first_wins(void **state)
{
	WR_AUTO(wr_journal) *j = create(1);
	struct wr_row_entry e;
	struct made m;
	uint32_t row;
	bool broken;

	(void)state;
	make(&m, 0, 2, 1);
	m.objects[0].known = true;
	assert_int_equal(wr_journal_put(&broken, j, &m.record, NULL), WR_OK);
	assert_false(wr_journal_find(&row, j, 2, &m.objects[0].oid));
	assert_true(wr_journal_find(&row, j, 2, &m.objects[1].oid));
	wr_journal_row(&e, j, 1);
	assert_int_equal(e.base, 0);
	wr_journal_row(&e, j, 0);
	assert_true(e.known);
	/* Row 2 is the first findable one of object 0, row 3 the second of object 1. */
	put(j, 0, 2, 0);
	assert_true(wr_journal_find(&row, j, 4, &m.objects[0].oid));
	assert_int_equal(row, 2);
	assert_true(wr_journal_find(&row, j, 4, &m.objects[1].oid));
	assert_int_equal(row, 1);
}

/* What an opening would refuse is refused before it is written. */
static void bad_records_are_refused(void **state)
{
	WR_AUTO(wr_journal) *j = create(1);
	static char longest[WR_RECORD_AUTHOR + 1];
	struct made good, m;
	bool broken;

	(void)state;
	make(&good, 0, 4, 2);
#define REFUSED(change)                                                                                                \
	do {                                                                                                           \
		make(&m, 0, 4, 2);                                                                                     \
		change;                                                                                                \
		assert_int_equal(wr_journal_put(&broken, j, &m.record, NULL), WR_E_INTERNAL);                          \
		assert_false(broken);                                                                                  \
	} while (0)
	REFUSED(m.updates[0].name = WR_S("refs/heads/../x"));
	REFUSED(m.updates[0].name = WR_S(""));
	REFUSED(m.record.author = wr_str_n(longest, sizeof(longest)));
	REFUSED(m.objects[1].base = 1);
	REFUSED(m.objects[1].base = 2);
	REFUSED(m.objects[1].base = WR_NO_ROW);
	REFUSED(m.objects[0].base = 0);
	REFUSED(m.objects[3].base = 3);
	REFUSED(m.objects[2].base = 0; m.objects[2].raw_len = 15);
	REFUSED(m.objects[0].raw_len = 0);
	REFUSED(m.objects[0].raw_len = 1);
	REFUSED(m.objects[0].size = 1);
	REFUSED(m.objects[0].type = WR_TREE);
	REFUSED(m.objects[1].type = 5);
	REFUSED(m.objects[1].type = 0);
	REFUSED(m.objects[1].depth = WR_DELTA_DEPTH + 1);
	REFUSED(m.raw[0][0] = 0x80 | 5 << 4);
#undef REFUSED
	assert_int_equal(wr_journal_size(j), WR_JOURNAL_HEADER);
	assert_int_equal(wr_journal_put(&broken, j, &good.record, NULL), WR_OK);
}

/* ---- damage ---- */

static struct wr_buf whole_file(uint64_t number)
{
	struct wr_buf b = WR_BUF_INIT((size_t)1 << 30);
	char name[32], *text;
	size_t len;

	snprintf(name, sizeof(name), "journal.%llu", (unsigned long long)number);
	assert_int_equal(wr_file_read(&text, &len, dir, name, (size_t)1 << 30, NULL), WR_OK);
	wr_buf_add(&b, text, len);
	free(text);
	return b;
}

#define SMALL 5
static uint64_t ends[SMALL + 1]; /* of the records of small_journal() */
static uint64_t claims[SMALL];	 /* the flushed length that each names */

/* Records 0 and 1, a flush, 2, a flush, 3 and 4. */
static void small_journal(struct wr_journal *j)
{
	uint64_t flushed = WR_JOURNAL_HEADER;

	ends[0] = WR_JOURNAL_HEADER;
	for (uint32_t i = 0; i < SMALL; i++) {
		claims[i] = flushed;
		put(j, i * 16, 3 + i % 2, 1 + i % 2);
		ends[i + 1] = wr_journal_size(j);
		if (i == 1 || i == 2) {
			assert_int_equal(wr_journal_flush(j, NULL), WR_OK);
			flushed = ends[i + 1];
		}
	}
}

static void assert_small(const struct wr_journal *j, uint32_t records)
{
	assert_int_equal(wr_journal_records(j), records);
	for (uint32_t i = 0; i < records; i++)
		assert_record(j, i, i * 16, 3 + i % 2, 1 + i % 2);
}

static void cut_at_every_byte(void **state)
{
	WR_AUTO(wr_journal) *j = create(1);
	WR_AUTO_S(wr_buf) file = WR_BUF_INIT(0);

	(void)state;
	small_journal(j);
	wr_journal_trim(j);
	file = whole_file(1);
	assert_int_equal(file.len, ends[SMALL]);
	for (size_t len = 0; len < file.len; len++) {
		WR_AUTO(wr_journal) *got = NULL;
		/* A block of just this size, for what a sanitizer sees. */
		WR_AUTO_MEM uint8_t *bytes = malloc(len + 1);
		enum wr_journal_end end;
		uint64_t flushed;
		uint32_t whole = 0;
		enum wr_code code;
		struct made m;
		bool broken;

		memcpy(bytes, file.ptr, len);
		code = wr_journal_of_bytes(&got, &end, &flushed, wr_str_n(bytes, len), 1, NULL);
		assert_int_equal(code, len < WR_JOURNAL_HEADER ? WR_E_NOT_THERE : WR_OK);
		if (!got)
			continue;
		while (ends[whole + 1] <= len)
			whole++;
		assert_small(got, whole);
		assert_int_equal(end, ends[whole] == len ? WR_JOURNAL_WHOLE : WR_JOURNAL_CUT);
		assert_int_equal(flushed, whole ? claims[whole - 1] : WR_JOURNAL_HEADER);
		make(&m, 0, 1, 1);
		assert_int_equal(wr_journal_put(&broken, got, &m.record, NULL), WR_E_INTERNAL);
		assert_int_equal(broken, ends[whole] != len);
	}
}

/* Zeros behind the records are room for the next ones, as long as they are nothing but zeros. */
static void zeros_are_room(void **state)
{
	WR_AUTO(wr_journal) *j = create(1);
	WR_AUTO_S(wr_buf) file = WR_BUF_INIT(0);
	enum wr_journal_end end;
	uint64_t flushed;

	(void)state;
	small_journal(j);
	file = whole_file(1);
	assert_true(file.len > ends[SMALL] && file.len % 4096 == 0);
	for (size_t at = ends[SMALL]; at <= file.len; at++) {
		WR_AUTO(wr_journal) *got = NULL;
		bool whole = at == file.len;

		if (!whole)
			file.ptr[at] = 1;
		assert_int_equal(wr_journal_of_bytes(&got, &end, &flushed, wr_buf_str(&file), 1, NULL), WR_OK);
		assert_int_equal(end, whole ? WR_JOURNAL_WHOLE : WR_JOURNAL_CUT);
		assert_small(got, SMALL);
		if (!whole)
			file.ptr[at] = 0;
	}
	assert_int_equal(wr_journal_flush(j, NULL), WR_OK);
	wr_journal_unref(WR_STEAL(j));
	assert_int_equal(wr_journal_open(&j, &end, &flushed, dir, 1, NULL), WR_OK);
	assert_int_equal(end, WR_JOURNAL_WHOLE);
	assert_int_equal(wr_journal_size(j), ends[SMALL]);
	put(j, 1000, 2, 1);
	assert_int_equal(wr_journal_flush(j, NULL), WR_OK);
	wr_journal_unref(WR_STEAL(j));
	assert_int_equal(wr_journal_open(&j, &end, &flushed, dir, 1, NULL), WR_OK);
	assert_int_equal(wr_journal_records(j), SMALL + 1);
}

static void a_flipped_bit_at_every_byte(void **state)
{
	WR_AUTO(wr_journal) *j = create(1);
	WR_AUTO_S(wr_buf) file = WR_BUF_INIT(0);

	(void)state;
	small_journal(j);
	wr_journal_trim(j);
	file = whole_file(1);
	for (size_t at = 0; at < file.len; at++) {
		for (unsigned bit = 0; bit < 8; bit += 3) {
			WR_AUTO(wr_journal) *got = NULL;
			enum wr_journal_end end;
			uint64_t flushed, most;
			uint32_t hit = 0;
			enum wr_code code;

			file.ptr[at] = (char)(file.ptr[at] ^ 1 << bit);
			code = wr_journal_of_bytes(&got, &end, &flushed, wr_buf_str(&file), 1, NULL);
			file.ptr[at] = (char)(file.ptr[at] ^ 1 << bit);
			assert_int_equal(code, at < WR_JOURNAL_HEADER ? WR_E_INTERNAL : WR_OK);
			if (!got)
				continue;
			while (ends[hit + 1] <= at)
				hit++;
			/* Each later record was verified alone, and says what was flushed. */
			most = hit == SMALL - 1 ? claims[SMALL - 2] : claims[SMALL - 1];
			assert_int_equal(flushed, most);
			assert_int_equal(end, most > ends[hit] ? WR_JOURNAL_DAMAGED : WR_JOURNAL_CUT);
			assert_small(got, hit);
		}
	}
}

/* Pages of an unflushed tail arrive in any order: a hole before whole records is no damage. */
static void a_reordered_tail_is_cut(void **state)
{
	WR_AUTO(wr_journal) *j = create(1), *got = NULL;
	enum wr_journal_end end;
	uint64_t flushed;
	char zeros[64] = {0};
	int fd = openat(dir, "journal.1", O_RDWR);

	(void)state;
	small_journal(j);
	assert_int_equal(pwrite(fd, zeros, sizeof(zeros), (off_t)ends[3]), sizeof(zeros));
	close(fd);
	got = reopen(&end, &flushed, 1);
	assert_int_equal(end, WR_JOURNAL_CUT);
	assert_int_equal(flushed, ends[3]);
	assert_small(got, 3);
}

/* A sealed record that breaks the format was not torn: it is kept, and nothing is written behind it. */
static void what_is_not_understood_is_kept(void **state)
{
	WR_AUTO(wr_journal) *j = create(1), *got = NULL;
	WR_AUTO_S(wr_buf) file = WR_BUF_INIT(0);
	enum wr_journal_end end;
	uint64_t flushed;
	uint8_t *last;

	(void)state;
	small_journal(j);
	file = whole_file(1);
	last = (uint8_t *)file.ptr + ends[SMALL - 1];
	wr_put_le32(last + 4, 2);
	wr_put_le64(last + ends[SMALL] - ends[SMALL - 1] - 8,
		    wr_record_sum(last, ends[SMALL] - ends[SMALL - 1], j->nonce));
	assert_int_equal(wr_journal_of_bytes(&got, &end, &flushed, wr_buf_str(&file), 1, NULL), WR_OK);
	assert_int_equal(end, WR_JOURNAL_DAMAGED);
	assert_small(got, SMALL - 1);
}

/* Puts a sum where the field behind the record's claimed length says, as the format wants it. */
static void reseal(uint8_t *record, uint64_t len, uint64_t nonce)
{
	wr_put_le64(record + len - 8, wr_record_sum(record, len, nonce));
}

/* Claims beyond all measure, in a record whose checksum is right. */
static void huge_counts(void **state)
{
	static const struct {
		size_t at, size;
	} fields[] = {{84, 4}, {88, 4}, {92, 4}, {WR_RECORD_HEAD + 28, 4}, {WR_RECORD_HEAD + 24, 4}};
	static const uint64_t values[] = {UINT64_MAX, INT32_MAX, 0x80000000, 0x10000000, 0x10001, 4097, 17};
	WR_AUTO(wr_journal) *j = create(1);
	WR_AUTO_S(wr_buf) file = WR_BUF_INIT(0);

	(void)state;
	put(j, 0, 4, 2);
	file = whole_file(1);
	for (size_t f = 0; f < WR_ARRAY_LEN(fields); f++) {
		for (size_t v = 0; v < WR_ARRAY_LEN(values); v++) {
			WR_AUTO(wr_journal) *got = NULL;
			WR_AUTO_MEM uint8_t *bytes = malloc(file.len);
			uint8_t *record = bytes + WR_JOURNAL_HEADER;
			enum wr_journal_end end;
			uint64_t flushed, value = htole64(values[v]);

			if (values[v] == UINT64_MAX && fields[f].at == WR_RECORD_HEAD + 24)
				continue; /* no base: what it says already */
			memcpy(bytes, file.ptr, file.len);
			memcpy(record + fields[f].at, &value, fields[f].size);
			reseal(record, file.len - WR_JOURNAL_HEADER, j->nonce);
			assert_int_equal(wr_journal_of_bytes(&got, &end, &flushed, wr_str_n(bytes, file.len), 1, NULL),
					 WR_OK);
			assert_int_equal(end, WR_JOURNAL_DAMAGED);
			assert_int_equal(wr_journal_records(got), 0);
		}
	}
	/* A length is judged before the sum is. */
	for (size_t v = 0; v < WR_ARRAY_LEN(values); v++) {
		WR_AUTO(wr_journal) *got = NULL;
		enum wr_journal_end end;
		uint64_t flushed;

		wr_put_le64((uint8_t *)file.ptr + WR_JOURNAL_HEADER + 8, values[v]);
		assert_int_equal(wr_journal_of_bytes(&got, &end, &flushed, wr_buf_str(&file), 1, NULL), WR_OK);
		assert_int_equal(end, WR_JOURNAL_CUT);
		assert_int_equal(wr_journal_records(got), 0);
	}
}

/* A full blob whose bytes are these. */
static void put_payload(struct wr_journal *j, const uint8_t *payload, size_t len)
{
	WR_AUTO_MEM uint8_t *raw = malloc(len + 32);
	struct wr_record_object o = {.type = WR_BLOB, .base = WR_NO_ROW, .size = 77, .raw = raw};
	struct wr_record r = {.objects = &o, .object_count = 1};
	size_t n = wr_entry_put(raw, WR_BLOB, 77);
	bool broken;

	/* The head, one row and the entry's header stand before the payload, which must begin at a multiple of 8. */
	while ((WR_RECORD_HEAD + WR_RECORD_ROW + n) % 8)
		raw[n++] = 0;
	memcpy(raw + n, payload, len);
	o.raw_len = (uint32_t)(n + len);
	nth(&o.oid, 900);
	assert_int_equal(wr_journal_put(&broken, j, &r, NULL), WR_OK);
}

/*
 * What a tenant sends may look like a record that names a great flushed length; torn, it must not turn an unfinished
 * tail into damage. seed: what he takes for the nonce.
 */
static enum wr_journal_end torn_with_fake(uint64_t number, uint32_t mark, uint64_t seed, bool right)
{
	WR_AUTO(wr_journal) *j = create(number), *got = NULL;
	uint8_t fake[WR_RECORD_HEAD + WR_RECORD_SUM] = {0};
	WR_AUTO_S(wr_buf) file = WR_BUF_INIT(0);
	enum wr_journal_end end;
	uint64_t flushed;

	wr_put_le32(fake, right ? j->mark : mark);
	wr_put_le64(fake + 8, sizeof(fake));
	wr_put_le64(fake + 16, 42);
	wr_put_le64(fake + 24, WR_JOURNAL_HEADER + 8);
	wr_put_le64(fake + sizeof(fake) - 8, wr_record_sum(fake, sizeof(fake), right ? j->nonce : seed));
	put_payload(j, fake, sizeof(fake));
	file = whole_file(number);
	file.ptr[WR_JOURNAL_HEADER + 90] ^= 1;
	assert_int_equal(wr_journal_of_bytes(&got, &end, &flushed, wr_buf_str(&file), number, NULL), WR_OK);
	assert_int_equal(wr_journal_records(got), 0);
	return end;
}

static void a_fake_record_in_a_payload_is_not_believed(void **state)
{
	WR_AUTO(wr_journal) *j = create(1);
	uint32_t public_mark = (uint32_t)XXH3_64bits_withSeed("record", 6, 0) | 1;

	(void)state;
	assert_int_equal(torn_with_fake(2, public_mark, 0, false), WR_JOURNAL_CUT);
	/* Nor does he get far with the secrets of another journal, a copy of this one for example. */
	assert_int_equal(torn_with_fake(3, j->mark, j->nonce, false), WR_JOURNAL_CUT);
	/* The fake is well made: who knew both would be believed. */
	assert_int_equal(torn_with_fake(4, 0, 0, true), WR_JOURNAL_DAMAGED);
}

/* Many candidates that each claim all the rest cost no square of it, and are not thrown away either. */
static void the_search_for_later_records_is_bounded(void **state)
{
	WR_AUTO(wr_journal) *j = create(1), *got = NULL;
	enum { EACH = 104, COUNT = 80000 };
	uint8_t *bytes = calloc(COUNT, EACH);
	size_t len = (size_t)COUNT * EACH;
	WR_AUTO_MEM uint8_t *file = malloc(WR_JOURNAL_HEADER + len);
	enum wr_journal_end end;
	uint64_t flushed;

	(void)state;
	for (size_t i = 0; i < COUNT; i++) {
		wr_put_le32(bytes + i * EACH, j->mark);
		wr_put_le64(bytes + i * EACH + 8, len - i * EACH);
	}
	memcpy(file, j->map, WR_JOURNAL_HEADER);
	memcpy(file + WR_JOURNAL_HEADER, bytes, len);
	free(bytes);
	assert_int_equal(wr_journal_of_bytes(&got, &end, &flushed, wr_str_n(file, WR_JOURNAL_HEADER + len), 1, NULL),
			 WR_OK);
	assert_int_equal(end, WR_JOURNAL_DAMAGED);
	assert_int_equal(wr_journal_records(got), 0);
}

/* ---- copies ---- */

static void a_copy_stands_for_the_old_one(void **state)
{
	enum wr_journal_end end;
	uint64_t flushed;

	(void)state;
	for (uint32_t records = 0; records <= SMALL; records++) {
		WR_AUTO(wr_journal) *j = create(10 + records), *copy = NULL, *got = NULL, *refused = NULL;

		small_journal(j);
		assert_int_equal(wr_journal_copy(&refused, dir, 20 + records, j, SMALL + 1, NULL), WR_E_INTERNAL);
		assert_int_equal(wr_journal_copy(&copy, dir, 20 + records, j, records, NULL), WR_OK);
		assert_int_equal(wr_journal_replaces(copy), 10 + records);
		assert_int_equal(wr_journal_flushed(copy), records);
		assert_int_not_equal(copy->nonce, j->nonce);
		assert_small(copy, records);
		got = reopen(&end, &flushed, 20 + records);
		assert_int_equal(end, WR_JOURNAL_WHOLE);
		assert_int_equal(flushed, ends[records]);
		assert_int_equal(wr_journal_size(got), ends[records]);
		assert_small(got, records);
		assert_int_equal(wr_journal_flushed(got), records);
		put(copy, 1000, 2, 1);
		assert_record(copy, records, 1000, 2, 1);
	}
}

/* All of a copy was flushed before it had a name, so that nothing of that can be an unfinished tail. */
static void a_copy_is_never_cut(void **state)
{
	WR_AUTO(wr_journal) *j = create(1), *copy = NULL;
	WR_AUTO_S(wr_buf) file = WR_BUF_INIT(0);

	(void)state;
	small_journal(j);
	assert_int_equal(wr_journal_copy(&copy, dir, 2, j, SMALL, NULL), WR_OK);
	put(copy, 1000, 2, 1);
	wr_journal_trim(copy);
	file = whole_file(2);
	for (size_t len = WR_JOURNAL_HEADER; len < file.len; len++) {
		WR_AUTO(wr_journal) *got = NULL;
		enum wr_journal_end end;
		uint64_t flushed;

		assert_int_equal(wr_journal_of_bytes(&got, &end, &flushed, wr_str_n(file.ptr, len), 2, NULL), WR_OK);
		assert_int_equal(end, len < ends[SMALL]	   ? WR_JOURNAL_DAMAGED
				      : len == ends[SMALL] ? WR_JOURNAL_WHOLE
							   : WR_JOURNAL_CUT);
		assert_int_equal(flushed, ends[SMALL]);
	}
}

/* ---- a disk that fails ---- */

static void a_full_disk_leaves_it_as_it_was(void **state)
{
	WR_AUTO(wr_journal) *j = create(1), *got = NULL, *none = NULL;
	struct rlimit all, little;
	enum wr_journal_end end;
	uint64_t flushed;
	struct made m;
	bool broken;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	small_journal(j);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &all), 0);
	make(&m, 500, 5, 2);
	/* Not a byte, some bytes, all but one. */
	for (uint64_t room = 0; room < wr_record_len(&m.record); room += 7) {
		struct stat st;

		little = (struct rlimit){ends[SMALL] + room, all.rlim_max};
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
		assert_int_equal(wr_journal_put(&broken, j, &m.record, NULL), WR_E_STORAGE_FULL);
		assert_false(broken);
		assert_int_equal(fstatat(dir, "journal.1", &st, 0), 0);
		assert_int_equal(st.st_size, ends[SMALL]);
		assert_int_equal(wr_journal_size(j), ends[SMALL]);
		assert_small(j, SMALL);
	}
	little.rlim_cur = 63;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
	assert_int_equal(wr_journal_create(&none, dir, 2, 0, 1, NULL), WR_E_STORAGE_FULL);
	little.rlim_cur = ends[SMALL] - 1;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
	assert_int_equal(wr_journal_copy(&none, dir, 2, j, SMALL, NULL), WR_E_STORAGE_FULL);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &all), 0);
	assert_int_equal(faccessat(dir, "journal.2", F_OK, 0), -1);
	assert_int_equal(faccessat(dir, "journal.2.new", F_OK, 0), -1);
	/* The same numbers once there is room. */
	assert_int_equal(wr_journal_put(&broken, j, &m.record, NULL), WR_OK);
	assert_int_equal(m.record.seq, 41 + SMALL);
	got = reopen(&end, &flushed, 1);
	assert_int_equal(end, WR_JOURNAL_WHOLE);
	assert_record(got, SMALL, 500, 5, 2);
}

/* A descriptor that neither writes nor cuts: what then lies in the file is unknown. */
static void a_write_that_cannot_be_undone_breaks_it(void **state)
{
	WR_AUTO(wr_journal) *j = create(1), *copy = NULL;
	int kept = j->fd;
	struct made m;
	bool broken;

	(void)state;
	small_journal(j);
	j->fd = openat(dir, "journal.1", O_RDONLY);
	make(&m, 500, 5, 2);
	assert_int_equal(wr_journal_put(&broken, j, &m.record, NULL), WR_E_INTERNAL);
	assert_true(broken);
	close(j->fd);
	j->fd = kept;
	/* It stays so, whatever the disk does. */
	assert_int_equal(wr_journal_put(&broken, j, &m.record, NULL), WR_E_INTERNAL);
	assert_true(broken);
	assert_int_equal(wr_journal_flush(j, NULL), WR_E_INTERNAL);
	assert_int_equal(wr_journal_copy(&copy, dir, 2, j, wr_journal_flushed(j), NULL), WR_OK);
	assert_small(copy, 3);
	put(copy, 500, 5, 2);
}

static void a_failed_flush_breaks_it(void **state)
{
	WR_AUTO(wr_journal) *j = create(1);
	int kept = j->fd, ends_of_pipe[2];
	struct made m;
	bool broken;

	(void)state;
	small_journal(j);
	/* Pipes cannot be flushed. */
	assert_int_equal(pipe(ends_of_pipe), 0);
	j->fd = ends_of_pipe[0];
	assert_int_equal(wr_journal_flush(j, NULL), WR_E_INTERNAL);
	j->fd = kept;
	close(ends_of_pipe[0]);
	close(ends_of_pipe[1]);
	assert_int_equal(wr_journal_flush(j, NULL), WR_E_INTERNAL);
	assert_int_equal(wr_journal_flushed(j), 3);
	make(&m, 500, 5, 2);
	assert_int_equal(wr_journal_put(&broken, j, &m.record, NULL), WR_E_INTERNAL);
	assert_true(broken);
}

/* The guard's handler, which cmocka replaces for the time of each test. */
static struct sigaction on_bus;

/* Somebody cuts the file under the map: errors, and no crash. */
static void lost_pages_are_errors(void **state)
{
	WR_AUTO(wr_journal) *j = create(1), *copy = NULL;
	WR_AUTO_S(wr_record) r = {.seq = 0};
	struct wr_row_entry e;
	uint32_t first_row, sum = 0;

	(void)state;
	for (uint32_t i = 0; i < 100; i++)
		put(j, i * 16, 5, 2);
	sigaction(SIGBUS, &on_bus, NULL);
	assert_int_equal(ftruncate(j->fd, 0), 0);
	assert_int_equal(wr_journal_record(&r, &first_row, j, 50, NULL), WR_E_INTERNAL);
	assert_int_equal(wr_journal_copy(&copy, dir, 2, j, 100, NULL), WR_E_INTERNAL);
	wr_journal_row(&e, j, 3);
	for (uint32_t i = 0; i < e.raw_len; i++)
		sum += e.raw[i];
	assert_int_equal(sum, 0);
}

/* ---- large ones ---- */

static void a_large_record_needs_an_empty_journal(void **state)
{
	WR_AUTO(wr_journal) *j = create(1), *got = NULL;
	size_t len = (size_t)WR_JOURNAL_ROOM + 4096;
	WR_AUTO_MEM uint8_t *payload = malloc(len);
	WR_AUTO_S(wr_record) r = {.seq = 0};
	enum wr_journal_end end;
	uint64_t flushed;
	uint32_t first_row;

	(void)state;
	for (size_t i = 0; i < len; i++)
		payload[i] = (uint8_t)(i * 7 >> 3);
	assert_true(wr_journal_fits(j, len));
	assert_false(wr_journal_fits(j, WR_RECORD_MAX + 8));
	put_payload(j, payload, len);
	assert_false(wr_journal_fits(j, 4096));
	got = reopen(&end, &flushed, 1);
	assert_int_equal(end, WR_JOURNAL_WHOLE);
	assert_int_equal(wr_journal_record(&r, &first_row, got, 0, NULL), WR_OK);
	assert_memory_equal(r.objects[0].raw + r.objects[0].raw_len - len, payload, len);
	/* Nor is there room behind others. */
	wr_journal_unref(got);
	got = create(2);
	put(got, 0, 1, 1);
	assert_false(wr_journal_fits(got, WR_JOURNAL_ROOM));
	assert_true(wr_journal_fits(got, 4096));
}

/* ---- one writer, many readers ---- */

#ifdef WR_SANITIZED
#define ROUNDS 600u
#else
#define ROUNDS 6000u
#endif
#define EACH 9u

struct shared {
	struct wr_journal *j;
	atomic_uint limit; /* rows */
	atomic_bool done;
};

static void *reader(void *arg)
{
	struct shared *s = arg;
	uint32_t next = 0;
	uintptr_t bad = 0;

	while (!atomic_load(&s->done)) {
		uint32_t limit = atomic_load(&s->limit), row = 0;
		struct wr_row_entry e;
		struct wr_oid oid;

		for (uint32_t i = 0; i < 50; i++) {
			uint32_t want = limit ? (next += 7919) % limit : 0;

			nth(&oid, want);
			bad += wr_journal_find(&row, s->j, limit, &oid) != (limit > 0) || (limit > 0 && row != want);
			nth(&oid, limit + i);
			bad += wr_journal_find(&row, s->j, limit, &oid);
			if (limit == 0)
				continue;
			wr_journal_row(&e, s->j, want);
			bad += e.raw_len == 0 || e.raw[e.raw_len - 1] != (uint8_t)want || e.size != 1000 + want % EACH;
		}
		if (limit) {
			WR_AUTO_S(wr_record) r = {.seq = 0};
			uint32_t i = next % (limit / EACH), first_row;

			bad += wr_journal_record(&r, &first_row, s->j, i, NULL) != WR_OK || first_row != i * EACH;
		}
	}
	return (void *)bad;
}

static void readers_beside_the_writer(void **state)
{
	WR_AUTO(wr_journal) *j = create(1);
	struct shared s = {.j = j};
	pthread_t threads[4];
	void *bad;

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, reader, &s), 0);
	for (uint32_t i = 0; i < ROUNDS; i++) {
		put(j, i * EACH, EACH, i % 3);
		atomic_store(&s.limit, wr_journal_rows(j));
	}
	atomic_store(&s.done, true);
	for (size_t i = 0; i < WR_ARRAY_LEN(threads); i++) {
		assert_int_equal(pthread_join(threads[i], &bad), 0);
		assert_null(bad);
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_new_one_is_empty),
		TEST(absent_short_and_foreign_files),
		TEST(records_come_back),
		TEST(a_pack_is_named),
		TEST(known_rows_are_not_found_and_the_first_wins),
		TEST(bad_records_are_refused),
		TEST(cut_at_every_byte),
		TEST(zeros_are_room),
		TEST(a_flipped_bit_at_every_byte),
		TEST(a_reordered_tail_is_cut),
		TEST(what_is_not_understood_is_kept),
		TEST(huge_counts),
		TEST(a_fake_record_in_a_payload_is_not_believed),
		TEST(the_search_for_later_records_is_bounded),
		TEST(a_copy_stands_for_the_old_one),
		TEST(a_copy_is_never_cut),
		TEST(a_full_disk_leaves_it_as_it_was),
		TEST(a_write_that_cannot_be_undone_breaks_it),
		TEST(a_failed_flush_breaks_it),
		TEST(lost_pages_are_errors),
		TEST(a_large_record_needs_an_empty_journal),
		TEST(readers_beside_the_writer),
	};

	struct wr_guard *guard;

	if (wr_guard_new(&guard, &on_bus, sizeof(on_bus), NULL) != WR_OK)
		return 1;
	sigaction(SIGBUS, NULL, &on_bus);
	wr_guard_free(guard);
	return cmocka_run_group_tests_name("git-journal", tests, NULL, NULL);
}
