/*
 * What a pack from outside may hold, and above all what it may not. Every pack is taken in three times, in memory, as
 * files, and where little memory is granted: all must say the same, and give the same objects.
 */
#include "tests/unit/git_fixture.h"

#include <git2/global.h>

#include "core/git/delta.h"
#include "core/git/index.h"
#include "core/git/refs_check.h"
#include "core/git/snapshot_internal.h"

#define EMPTY_TREE "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
#define ALL_IN_MEMORY ((size_t)1 << 29)

struct ix {
	struct fx fx; /* for its folder and its shell; no store */
	struct wr_index_limits limits;
	struct wr_fsck_rules fsck;
	struct wr_index_rules rules;
	struct wr_snapshot *store;
	int dir;
	unsigned names, asked; /* names given; how often the folder was asked for */
	char name[32];	       /* of the files last made */
};

static int ix_setup(void **state)
{
	struct ix *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	assert_true(git_libgit2_init() > 0);
	new_folder(t->fx.dir, sizeof t->fx.dir, "warren-git");
	t->fx.seed = first_seed();
	t->dir = open(t->fx.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(t->dir >= 0);
	t->limits = (struct wr_index_limits){
		1u << 30, 1000000, 64u << 20, UINT64_C(1) << 41, ALL_IN_MEMORY, WR_DELTA_DEPTH, NULL};
	assert_ok(wr_fsck_rules_parse(&t->fsck, NULL, NULL));
	t->rules.fsck = &t->fsck;
	assert_ok(wr_snapshot_new(&t->store, 64u << 20, NULL));
	*state = t;
	return 0;
}

static int ix_teardown(void **state)
{
	struct ix *t = *state;

	wr_snapshot_unref(t->store);
	close(t->dir);
	assert_ok(wr_file_remove(AT_FDCWD, t->fx.dir, NULL));
	wr_error_fini(&t->fx.err);
	free(t);
	git_libgit2_shutdown();
	return 0;
}

static enum wr_code open_folder(int *fd, void *arg, struct wr_error *err)
{
	struct ix *t = arg;

	(void)err;
	t->asked++;
	*fd = t->dir;
	return WR_OK;
}

struct hooks {
	const struct wr_progress *progress;
	const struct wr_cancel *cancel;
};

static enum wr_code take(struct wr_intake *out, struct ix *t, struct wr_source *src, size_t max_memory,
			 struct hooks hooks)
{
	const struct wr_index_folder folder = {open_folder, t};

	t->limits.max_memory = max_memory;
	t->asked = 0;
	snprintf(t->name, sizeof(t->name), "pack-%u", ++t->names);
	return wr_index_pack(out, &folder, t->name, src, t->store, &t->limits, &t->rules, hooks.progress, hooks.cancel,
			     &t->fx.err);
}

static enum wr_code take_bytes(struct wr_intake *out, struct ix *t, struct wr_str pack, size_t max_memory)
{
	struct dribble src = {{dribble_read}, pack, 11};

	return take(out, t, &src.base, max_memory, (struct hooks){NULL, NULL});
}

static void remove_files(struct ix *t)
{
	static const char *const ends[] = {"pack", "idx", "rev"};
	char file[48];

	for (size_t i = 0; i < WR_ARRAY_LEN(ends); i++) {
		snprintf(file, sizeof(file), "%s.%s", t->name, ends[i]);
		unlinkat(t->dir, file, 0);
	}
}

/* The store and the files last made. */
static struct wr_snapshot *store_with(struct ix *t)
{
	WR_AUTO(wr_pack) *pack = NULL;
	struct wr_snapshot *more = NULL;

	assert_ok(wr_pack_open(&pack, t->dir, t->name, &t->fx.err));
	assert_ok(wr_snapshot_new(&more, t->store->max_object, NULL));
	for (size_t i = 0; i < t->store->member_count; i++)
		assert_ok(wr_snapshot_add_member(more, t->store->members[i].pack, WR_ROLE_OTHER, NULL, NULL));
	for (size_t i = 0; i < t->store->journal_count; i++) {
		more->journals[i] = wr_journal_ref(t->store->journals[i]);
		more->limits[i] = t->store->limits[i];
	}
	more->journal_count = t->store->journal_count;
	assert_ok(wr_snapshot_add_member(more, pack, WR_ROLE_OTHER, NULL, NULL));
	return more;
}

/* ---- what rows say ---- */

struct content {
	uint8_t *p;
	size_t len;
};

/* A row's content, from those before it. */
static struct content row_content(struct ix *t, const struct wr_intake *in, const struct content *before, uint32_t row)
{
	const struct wr_record_object *o = &in->objects[row];
	WR_AUTO_S(wr_unzip) unzip = {.ready = false};
	WR_AUTO_S(wr_object) outside = {.data = NULL};
	struct content out = {NULL, 0}, base;
	WR_AUTO_MEM uint8_t *delta = NULL;
	uint64_t size, base_size, made;
	struct wr_str zip, body;
	struct wr_place place;
	size_t n, used;
	unsigned kind, depth = 0;

	assert_true(o->raw >= in->bytes);
	n = wr_entry_head(&kind, &size, o->raw, o->raw_len);
	assert_true(n > 0);
	if (kind == WR_OFS_DELTA)
		n += wr_entry_distance(&made, o->raw + n, o->raw_len - n);
	if (kind == WR_REF_DELTA)
		n += WR_OID_RAW;
	zip = wr_str_n(o->raw + n, o->raw_len - n);
	assert_int_equal(wr_unzip_all(&delta, &used, &unzip, zip, (size_t)size), WR_ZIP_OK);
	assert_int_equal(used, zip.len);
	if (kind <= WR_TAG) {
		assert_true(kind == o->type && o->base == WR_NO_ROW && o->depth == 0 && o->size == size);
		return (struct content){WR_STEAL(delta), (size_t)size};
	}
	if (o->base != WR_NO_ROW) {
		assert_true(o->base < row && in->objects[o->base].type == o->type);
		base = before[o->base];
		depth = in->objects[o->base].depth;
	} else {
		struct wr_oid id;

		assert_int_equal(kind, WR_REF_DELTA);
		memcpy(id.id, o->raw + n - WR_OID_RAW, WR_OID_RAW);
		assert_ok(wr_snapshot_read(&outside, t->store, &id, &t->fx.err));
		assert_true(wr_snapshot_find(&place, t->store, &id));
		assert_ok(wr_snapshot_depth(&depth, t->store, place, &t->fx.err));
		assert_true(outside.type == o->type && depth < WR_THIN_DEPTH);
		base = (struct content){outside.data, outside.size};
	}
	assert_int_equal(o->depth, depth + 1);
	assert_true(wr_delta_sizes(&base_size, &made, &body, wr_str_n(delta, size)) && base_size == base.len &&
		    made == o->size && wr_delta_ok(body, base_size, made));
	out.len = (size_t)made;
	out.p = malloc(out.len + 1);
	assert_non_null(out.p);
	wr_delta_apply(out.p, base.p, body);
	return out;
}

static bool has_row(const struct wr_intake *in, uint32_t limit, const struct wr_oid *oid)
{
	for (uint32_t i = 0; i < limit; i++)
		if (wr_oid_eq(&in->objects[i].oid, oid))
			return true;
	return false;
}

/* The files hold just what the rows hold. */
static void same_in_files(struct ix *t, const struct wr_intake *in, const struct content *contents)
{
	WR_AUTO(wr_snapshot) *files = store_with(t);
	const struct wr_pack *pack = files->members[files->member_count - 1].pack;

	for (uint32_t pos = 0; pos < pack->count; pos++) {
		struct wr_oid oid;

		wr_pack_oid(&oid, pack, pos);
		assert_true(has_row(in, in->count, &oid) || wr_snapshot_has(t->store, &oid));
	}
	for (uint32_t i = 0; i < in->count; i++) {
		const struct wr_record_object *o = &in->objects[i];
		WR_AUTO_S(wr_object) obj = {.data = NULL};
		uint32_t pos;

		assert_true(wr_pack_find(&pos, pack, &o->oid));
		assert_ok(wr_snapshot_read_at(&obj, files, (struct wr_place){(uint32_t)files->member_count - 1, pos},
					      NULL, &t->fx.err));
		assert_true(obj.type == o->type && obj.size == contents[i].len &&
			    memcmp(obj.data, contents[i].p, obj.size) == 0);
	}
}

static void rows_are_sound(struct ix *t, const struct wr_intake *in, bool files_too)
{
	struct content *contents = calloc(in->count + 1, sizeof(*contents));

	assert_non_null(contents);
	for (uint32_t i = 0; i < in->count; i++) {
		const struct wr_record_object *o = &in->objects[i];
		struct wr_oid oid;

		contents[i] = row_content(t, in, contents, i);
		assert_int_equal(contents[i].len, o->size);
		oid_of(&oid, o->type, wr_str_n(contents[i].p, contents[i].len));
		assert_true(wr_oid_eq(&oid, &o->oid));
		assert_int_equal(o->known, wr_snapshot_has(t->store, &oid) || has_row(in, i, &oid));
	}
	if (files_too)
		same_in_files(t, in, contents);
	for (uint32_t i = 0; i < in->count; i++)
		free(contents[i].p);
	free(contents);
}

/* ---- memory that is counted ---- */

/* So much is granted, and of what is spare nothing. */
struct tight {
	struct wr_room base;
	uint64_t left, taken, most;
};

static bool tight_take(void *arg, uint64_t n, bool spare)
{
	struct tight *room = arg;

	if (spare || n > room->left)
		return false;
	room->left -= n;
	room->taken += n;
	room->most = room->taken > room->most ? room->taken : room->most;
	return true;
}

static void tight_give(void *arg, uint64_t n)
{
	struct tight *room = arg;

	assert_true(n <= room->taken);
	room->left += n;
	room->taken -= n;
}

static enum wr_code take_tight(struct wr_intake *out, struct ix *t, struct wr_str pack, uint64_t left, uint64_t *most)
{
	struct tight room = {{tight_take, tight_give, &room}, left, 0, 0};
	enum wr_code code;

	t->limits.room = &room.base;
	code = take_bytes(out, t, pack, ALL_IN_MEMORY);
	t->limits.room = NULL;
	/* After an error nothing is kept; else the intake is. */
	assert_int_equal(code == WR_OK, room.taken > 0);
	*most = room.most;
	return code;
}

/* ---- all ways ---- */

static enum wr_code try_pack(struct ix *t, struct wr_str pack)
{
	WR_AUTO_S(wr_intake) rows = {.count = 0};
	WR_AUTO_S(wr_intake) files = {.count = 0};
	WR_AUTO_S(wr_intake) tight = {.count = 0};
	enum wr_code code = take_bytes(&rows, t, pack, ALL_IN_MEMORY);
	char said[sizeof(t->fx.err.text)];
	uint64_t most;

	assert_int_equal(t->asked, 0);
	memcpy(said, t->fx.err.text, sizeof(said));
	if (take_bytes(&files, t, pack, 0) != code || (code != WR_OK && strcmp(said, t->fx.err.text) != 0))
		fail_msg("in memory %d %s, in files %s %s", code, said, t->fx.err.text, t->fx.err.detail);
	if (code == WR_OK) {
		assert_false(rows.in_files);
		assert_int_equal(files.in_files, files.count > 0);
		assert_null(files.objects);
		if (files.count)
			rows_are_sound(t, &rows, true);
		assert_true(files.count > 0 || (rows.count == 0 && t->asked == 0));
	}
	remove_files(t);
	if (take_tight(&tight, t, pack, UINT64_MAX, &most) != code ||
	    (code != WR_OK && strcmp(said, t->fx.err.text) != 0))
		fail_msg("in memory %d %s, with little %s %s", code, said, t->fx.err.text, t->fx.err.detail);
	if (code == WR_OK && tight.count)
		rows_are_sound(t, tight.in_files ? &rows : &tight, tight.in_files);
	remove_files(t);
	return code;
}

static void assert_refused(struct ix *t, struct wr_str pack, const char *words)
{
	enum wr_code code = try_pack(t, pack);

	if (code != WR_E_BAD_PACK || !strstr(t->fx.err.text, words))
		fail_msg("expected '%s', got code %d: %s %s", words, code, t->fx.err.text, t->fx.err.detail);
}

/* Into the store, as files. */
static void store_pack(struct ix *t, struct wr_str pack)
{
	WR_AUTO_S(wr_intake) in = {.count = 0};
	struct wr_snapshot *more;

	assert_ok(try_pack(t, pack));
	assert_ok(take_bytes(&in, t, pack, 0));
	more = store_with(t);
	wr_snapshot_unref(t->store);
	t->store = more;
}

/* What git's index-pack writes for the files last made is what they are. */
static void same_as_git(struct ix *t)
{
	sh(&t->fx,
	   "cp %s.pack judge.pack && git index-pack --rev-index judge.pack >/dev/null && cmp judge.idx %s.idx && "
	   "cmp judge.rev %s.rev && rm judge.*",
	   t->name, t->name, t->name);
}

/* A commit on a tree of one blob; the pack of the three. */
struct small {
	struct wr_oid blob, tree, commit;
	char tree_bytes[64], commit_bytes[256];
	struct wr_str blob_text, tree_text, commit_text;
};

static void make_small(struct small *s)
{
	char hex[WR_OID_HEX + 1];
	int n;

	s->blob_text = WR_S("hello, hello, hello, hello\n");
	oid_of(&s->blob, WR_BLOB, s->blob_text);
	memcpy(s->tree_bytes, "100644 f", 9);
	memcpy(s->tree_bytes + 9, s->blob.id, WR_OID_RAW);
	s->tree_text = wr_str_n(s->tree_bytes, 9 + WR_OID_RAW);
	oid_of(&s->tree, WR_TREE, s->tree_text);
	wr_oid_hex(hex, &s->tree);
	n = snprintf(s->commit_bytes, sizeof(s->commit_bytes),
		     "tree %s\nauthor A <a> 1 +0000\ncommitter A <a> 1 +0000\n\nm\n", hex);
	s->commit_text = wr_str_n(s->commit_bytes, (size_t)n);
	oid_of(&s->commit, WR_COMMIT, s->commit_text);
}

static void put_small(struct pb *b, const struct small *s)
{
	pb_object(b, WR_COMMIT, s->commit_text);
	pb_object(b, WR_TREE, s->tree_text);
	pb_object(b, WR_BLOB, s->blob_text);
}

static void a_sound_pack(void **state)
{
	struct ix *t = *state;
	struct small s;
	struct pb b;

	make_small(&s);
	pb_begin(&b, 3);
	put_small(&b, &s);
	store_pack(t, pb_end(&b));
	same_as_git(t);
	/* All of it is known now, which is no error. */
	assert_ok(try_pack(t, wr_buf_str(&b.out)));
	wr_buf_fini(&b.out);
}

static void every_flipped_bit(void **state)
{
	struct ix *t = *state;
	unsigned same = 0;
	struct wr_str pack;
	struct small s;
	struct pb b;

	make_small(&s);
	pb_begin(&b, 3);
	put_small(&b, &s);
	pack = pb_end(&b);
	for (size_t i = 0; i < pack.len; i++) {
		b.out.ptr[i] ^= (char)(1 << (i % 8));
		if (try_pack(t, pack) == WR_OK)
			fail_msg("byte %zu", i);
		b.out.ptr[i] ^= (char)(1 << (i % 8));
	}
	/* With a trailer that fits: zlib's own sums and the ids must notice, but for bits that zlib ignores. */
	for (size_t i = 0; i + 20 < pack.len; i++) {
		b.out.ptr[i] ^= (char)(1 << (i % 8));
		b.out.len -= 20;
		same += try_pack(t, pb_end(&b)) == WR_OK;
		b.out.ptr[i] ^= (char)(1 << (i % 8));
	}
	assert_true(same < 6);
	wr_buf_fini(&b.out);
}

static void every_truncation_and_extension(void **state)
{
	struct ix *t = *state;
	struct wr_str pack;
	struct small s;
	struct pb b;

	make_small(&s);
	pb_begin(&b, 3);
	put_small(&b, &s);
	pack = pb_end(&b);
	for (size_t n = 1; n < pack.len; n++)
		assert_int_equal(try_pack(t, wr_str_n(pack.ptr, n)), WR_E_BAD_PACK);
	wr_buf_addc(&b.out, 'x');
	assert_refused(t, wr_buf_str(&b.out), "bytes follow");
	/* Rubbish between the last entry and a trailer that counts it in. */
	b.out.len = pack.len - 20;
	wr_buf_addz(&b.out, "rubbish");
	assert_int_equal(try_pack(t, pb_end(&b)), WR_E_BAD_PACK);
	wr_buf_fini(&b.out);
}

static void wrong_counts(void **state)
{
	struct ix *t = *state;
	struct small s;

	make_small(&s);
	for (uint32_t n = 0; n < 6; n++) {
		struct pb b;

		pb_begin(&b, n);
		put_small(&b, &s);
		assert_int_equal(try_pack(t, pb_end(&b)), n == 3 ? WR_OK : WR_E_BAD_PACK);
		wr_buf_fini(&b.out);
	}
}

static void empty_packs(void **state)
{
	struct ix *t = *state;
	struct pb b;

	pb_begin(&b, 0);
	assert_ok(try_pack(t, pb_end(&b)));
	b.out.ptr[b.out.len - 1] ^= 1;
	assert_refused(t, wr_buf_str(&b.out), "checksum");
	wr_buf_fini(&b.out);
}

static void limits(void **state)
{
	struct ix *t = *state;
	WR_AUTO_MEM char *large = calloc(1, 2000);
	struct pb b;

	t->limits.max_bytes = 3000;
	t->limits.max_objects = 2;
	t->limits.max_object = 1999;
	pb_begin(&b, 3);
	assert_int_equal(try_pack(t, pb_end(&b)), WR_E_TOO_LARGE);
	wr_buf_fini(&b.out);
	pb_begin(&b, 1);
	pb_object(&b, WR_BLOB, wr_str_n(large, 2000));
	assert_int_equal(try_pack(t, pb_end(&b)), WR_E_TOO_LARGE);
	wr_buf_fini(&b.out);
	pb_begin(&b, 1);
	pb_object(&b, WR_BLOB, wr_str_n(large, 1999));
	assert_ok(try_pack(t, pb_end(&b)));
	wr_buf_fini(&b.out);
	pb_begin(&b, 2);
	for (int i = 0; i < 2; i++) {
		wr_random_bytes(large, 1900);
		pb_object(&b, WR_BLOB, wr_str_n(large, 1900));
	}
	assert_int_equal(try_pack(t, pb_end(&b)), WR_E_TOO_LARGE);
	wr_buf_fini(&b.out);
}

/* A small pack whose deltas make a lot: what all entries unpack to is bounded as well. */
static void unpacked_in_all(void **state)
{
	struct ix *t = *state;
	WR_AUTO_MEM char *base = calloc(1, 1000);
	struct wr_oid id;
	struct pb b;

	t->limits.max_unpacked = 2030;
	oid_of(&id, WR_BLOB, wr_str_n(base, 1000));
	for (unsigned deltas = 1; deltas <= 2; deltas++) {
		pb_begin(&b, 1 + deltas);
		pb_object(&b, WR_BLOB, wr_str_n(base, 1000));
		for (unsigned i = 0; i < deltas; i++) {
			/* Base 1000, result 1001: all of the base, then one byte of its own. */
			const uint8_t delta[] = {0xe8, 7, 0xe9, 7, 0xb0, 0xe8, 3, 1, (uint8_t)('a' + i)};

			pb_ref_delta(&b, &id, wr_str_n(delta, sizeof delta));
		}
		if (deltas == 1)
			assert_ok(try_pack(t, pb_end(&b)));
		else
			assert_int_equal(try_pack(t, pb_end(&b)), WR_E_TOO_LARGE);
		wr_buf_fini(&b.out);
	}
}

/* Sizes that nothing stands behind must cost nothing. */
static void claimed_sizes(void **state)
{
	struct ix *t = *state;
	uint8_t delta[64];
	struct wr_oid base;
	struct pb b;
	size_t n = 0;

	t->limits.max_object = UINT64_C(1) << 62;
	pb_begin(&b, 1);
	pb_head(&b, WR_COMMIT, UINT64_C(1) << 23);
	pb_zip(&b, WR_S("short"));
	assert_refused(t, pb_end(&b), "shorter");
	wr_buf_fini(&b.out);
	/* Of a size that goes to a spool: the folder is asked for, but nothing of this size is made. */
	for (enum wr_type type = WR_COMMIT; type <= WR_TAG; type++) {
		WR_AUTO_S(wr_intake) in = {.count = 0};

		pb_begin(&b, 1);
		pb_head(&b, type, UINT64_C(1) << 39);
		pb_zip(&b, WR_S("short"));
		assert_int_equal(take_bytes(&in, t, pb_end(&b), ALL_IN_MEMORY), WR_E_BAD_PACK);
		assert_non_null(strstr(t->fx.err.text, "shorter"));
		wr_buf_fini(&b.out);
	}
	/* Sizes that do not fit the header's bits, and counts that nothing follows. */
	pb_begin(&b, 1);
	wr_buf_add(&b.out, "\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 11);
	assert_refused(t, pb_end(&b), "wrong header");
	wr_buf_fini(&b.out);
	t->limits.max_objects = UINT32_MAX;
	pb_begin(&b, UINT32_MAX);
	assert_int_equal(try_pack(t, pb_end(&b)), WR_E_TOO_LARGE);
	wr_buf_fini(&b.out);
	pb_begin(&b, UINT32_MAX / 2 - 1);
	assert_int_equal(try_pack(t, pb_end(&b)), WR_E_BAD_PACK);
	wr_buf_fini(&b.out);
	/* A delta that says that it makes a terabyte, of one byte. */
	pb_begin(&b, 2);
	pb_object(&b, WR_BLOB, WR_S("b"));
	oid_of(&base, WR_BLOB, WR_S("b"));
	delta[n++] = 1;
	for (int i = 0; i < 5; i++)
		delta[n++] = 0x80;
	delta[n++] = 0x10;
	delta[n++] = 0x90;
	delta[n++] = 1;
	pb_ref_delta(&b, &base, wr_str_n(delta, n));
	assert_refused(t, pb_end(&b), "delta");
	wr_buf_fini(&b.out);
}

/* A few kilobytes that would make gigabytes: refused by the limit, before memory is spent. */
static void delta_bomb(void **state)
{
	struct ix *t = *state;
	WR_AUTO_S(wr_buf) base = WR_BUF_INIT(1 << 24);
	WR_AUTO_S(wr_buf) delta = WR_BUF_INIT(1 << 20);
	struct wr_oid oid;
	struct pb b;

	memset(wr_buf_room(&base, 0xffffff), 'x', 0xffffff);
	base.len = 0xffffff;
	oid_of(&oid, WR_BLOB, wr_buf_str(&base));
	/* 0xffffff bytes of base; 1024 copies of all of it: 16 GB */
	wr_buf_add(&delta, "\xff\xff\xff\x07", 4);
	wr_buf_add(&delta, "\x80\xf8\xff\xff\x3f", 5);
	for (int i = 0; i < 1024; i++)
		wr_buf_add(&delta, "\xf0\xff\xff\xff", 4);
	pb_begin(&b, 2);
	pb_object(&b, WR_BLOB, wr_buf_str(&base));
	pb_ref_delta(&b, &oid, wr_buf_str(&delta));
	assert_int_equal(try_pack(t, pb_end(&b)), WR_E_TOO_LARGE);
	wr_buf_fini(&b.out);
}

/* One insert instruction: "size of base, size, n bytes". */
static struct wr_str insert(char *out, size_t base, const char *text)
{
	out[0] = (char)base;
	out[1] = out[2] = (char)strlen(text);
	memcpy(out + 3, text, strlen(text));
	return wr_str_n(out, 3 + strlen(text));
}

static void deltas(void **state)
{
	struct ix *t = *state;
	struct wr_oid base, one, none = {{1}};
	char delta[64];
	struct pb b;

	oid_of(&base, WR_BLOB, WR_S("base"));
	oid_of(&one, WR_BLOB, WR_S("one"));
	/* Bases behind their deltas, a delta on a delta. */
	pb_begin(&b, 3);
	pb_ref_delta(&b, &one, insert(delta, 3, "two"));
	pb_ref_delta(&b, &base, insert(delta, 4, "one"));
	pb_object(&b, WR_BLOB, WR_S("base"));
	assert_ok(try_pack(t, pb_end(&b)));
	wr_buf_fini(&b.out);
	pb_begin(&b, 2);
	pb_object(&b, WR_BLOB, WR_S("base"));
	pb_ref_delta(&b, &none, insert(delta, 4, "one"));
	assert_refused(t, pb_end(&b), "missing delta base 01000");
	wr_buf_fini(&b.out);
	pb_begin(&b, 2);
	pb_object(&b, WR_BLOB, WR_S("base"));
	pb_ref_delta(&b, &base, insert(delta, 5, "one"));
	assert_refused(t, pb_end(&b), "wrong delta");
	wr_buf_fini(&b.out);
	for (uint64_t distance = 0; distance < 40; distance++) {
		size_t at;

		pb_begin(&b, 2);
		at = pb_object(&b, WR_BLOB, WR_S("base"));
		at = b.out.len - at;
		pb_ofs_delta(&b, distance, insert(delta, 4, "one"));
		assert_int_equal(try_pack(t, pb_end(&b)), distance == at ? WR_OK : WR_E_BAD_PACK);
		wr_buf_fini(&b.out);
	}
}

/*
 * Where twins lead to each other it works out in memory, since rows name rows. As files it depends on which twin the
 * reader finds: either all of it can be read, or the pack was refused.
 */
static void lead_to_each_other(struct ix *t, struct wr_str pack)
{
	WR_AUTO_S(wr_intake) rows = {.count = 0};
	WR_AUTO_S(wr_intake) files = {.count = 0};

	assert_ok(take_bytes(&rows, t, pack, ALL_IN_MEMORY));
	if (take_bytes(&files, t, pack, 0) == WR_OK) {
		rows_are_sound(t, &rows, true);
	} else {
		assert_int_equal(t->fx.err.code, WR_E_BAD_PACK);
		assert_non_null(strstr(t->fx.err.text, "comes twice"));
		rows_are_sound(t, &rows, false);
	}
	remove_files(t);
}

/*
 * Objects that come twice are no error, but a delta that names its base by id could find a twin that leads back to it
 * when it is read. git refuses every delta on a twin; here only those that cannot be read are.
 */
static void duplicates(void **state)
{
	struct ix *t = *state;
	struct wr_oid base;
	size_t at;
	char delta[64];
	struct pb b;

	pb_begin(&b, 4);
	pb_object(&b, WR_BLOB, WR_S("base"));
	pb_object(&b, WR_BLOB, WR_S("other"));
	at = pb_object(&b, WR_BLOB, WR_S("base"));
	pb_ofs_delta(&b, b.out.len - at, insert(delta, 4, "next"));
	store_pack(t, pb_end(&b));
	same_as_git(t);
	wr_buf_fini(&b.out);
	oid_of(&base, WR_BLOB, WR_S("base"));
	pb_begin(&b, 3);
	pb_object(&b, WR_BLOB, WR_S("base"));
	pb_ref_delta(&b, &base, insert(delta, 4, "last"));
	pb_object(&b, WR_BLOB, WR_S("base"));
	assert_ok(try_pack(t, pb_end(&b)));
	wr_buf_fini(&b.out);
	/* A delta that makes its own base again, and another one on that. */
	pb_begin(&b, 3);
	at = pb_object(&b, WR_BLOB, WR_S("twin"));
	at = pb_ofs_delta(&b, b.out.len - at, insert(delta, 4, "twin"));
	pb_ofs_delta(&b, b.out.len - at, insert(delta, 4, "more"));
	assert_ok(try_pack(t, pb_end(&b)));
	wr_buf_fini(&b.out);
	/* With more twins it cannot but find a bad one. */
	oid_of(&base, WR_BLOB, WR_S("again"));
	for (uint32_t twins = 1; twins < 5; twins++) {
		pb_begin(&b, 1 + twins);
		pb_object(&b, WR_BLOB, WR_S("again"));
		for (uint32_t i = 0; i < twins; i++)
			pb_ref_delta(&b, &base, insert(delta, 5, "again"));
		lead_to_each_other(t, pb_end(&b));
		wr_buf_fini(&b.out);
	}
	assert_non_null(strstr(t->fx.err.text, "comes twice"));
}

/*
 * A thin pack whose first delta, on an object of the store, is itself the base of another delta, while the store has
 * that one too: it must not come in twice.
 */
static void base_in_pack_and_store(void **state)
{
	struct ix *t = *state;
	struct wr_oid one, two;
	char delta[64];
	struct pb b;

	oid_of(&one, WR_BLOB, WR_S("one"));
	oid_of(&two, WR_BLOB, WR_S("two"));
	pb_begin(&b, 2);
	pb_object(&b, WR_BLOB, WR_S("one"));
	pb_object(&b, WR_BLOB, WR_S("two"));
	store_pack(t, pb_end(&b));
	wr_buf_fini(&b.out);
	for (int turned = 0; turned < 2; turned++) {
		pb_begin(&b, 2);
		if (turned)
			pb_ref_delta(&b, &two, insert(delta, 3, "three"));
		pb_ref_delta(&b, &one, insert(delta, 3, "two"));
		if (!turned)
			pb_ref_delta(&b, &two, insert(delta, 3, "three"));
		assert_ok(try_pack(t, pb_end(&b)));
		wr_buf_fini(&b.out);
	}
	/* Deltas on each other, which only the store can end. */
	pb_begin(&b, 2);
	pb_ref_delta(&b, &one, insert(delta, 3, "two"));
	pb_ref_delta(&b, &two, insert(delta, 3, "one"));
	lead_to_each_other(t, pb_end(&b));
	wr_buf_fini(&b.out);
}

/* Deltas on each other have no beginning. */
static void delta_circle(void **state)
{
	struct ix *t = *state;
	struct wr_oid one, two;
	char delta[64];
	struct pb b;

	oid_of(&one, WR_BLOB, WR_S("one"));
	oid_of(&two, WR_BLOB, WR_S("two"));
	pb_begin(&b, 2);
	pb_ref_delta(&b, &two, insert(delta, 3, "one"));
	pb_ref_delta(&b, &one, insert(delta, 3, "two"));
	assert_refused(t, pb_end(&b), "missing delta base");
	wr_buf_fini(&b.out);
}

static void chain_of(struct ix *t, unsigned deltas_wanted, enum wr_code expected)
{
	char delta[64], text[32];
	size_t at;
	struct pb b;

	pb_begin(&b, deltas_wanted + 1);
	at = pb_object(&b, WR_BLOB, WR_S("000000"));
	for (unsigned i = 1; i <= deltas_wanted; i++) {
		size_t distance = b.out.len - at;

		snprintf(text, sizeof(text), "%06u", i);
		at = pb_ofs_delta(&b, distance, insert(delta, 6, text));
	}
	assert_int_equal(try_pack(t, pb_end(&b)), expected);
	wr_buf_fini(&b.out);
}

static void long_chains(void **state)
{
	chain_of(*state, WR_DELTA_DEPTH, WR_OK);
	chain_of(*state, WR_DELTA_DEPTH + 1, WR_E_TOO_LARGE);
}

/* "Copy all of the base, then these six bytes." */
static struct wr_str copy_and_add(char *out, size_t base, const char *text)
{
	size_t n = 0, made = base + 6;

	for (size_t v = base, i = 0; i < 4; v >>= 7, i++)
		out[n++] = (char)((v & 0x7f) | (i < 3 ? 0x80 : 0));
	for (size_t i = 0; i < 4; made >>= 7, i++)
		out[n++] = (char)((made & 0x7f) | (i < 3 ? 0x80 : 0));
	out[n++] = (char)0xf0;
	for (size_t i = 0; i < 3; i++)
		out[n++] = (char)(base >> (8 * i));
	out[n++] = 6;
	memcpy(out + n, text, 6);
	return wr_str_n(out, n + 6);
}

/* More of bases than may be held at once, and a second delta on each that comes when it is gone. */
static void bases_make_room(void **state)
{
	struct ix *t = *state;
	WR_AUTO_S(wr_buf) content = WR_BUF_INIT(16u << 20);
	size_t at[9], size = 12u << 20;
	char delta[64], text[16];
	struct pb b;

	memset(wr_buf_room(&content, size), 'x', size);
	content.len = size;
	pb_begin(&b, 17);
	at[0] = pb_object(&b, WR_BLOB, wr_buf_str(&content));
	for (unsigned i = 1; i <= 8; i++) {
		snprintf(text, sizeof(text), "%06u", i);
		at[i] = b.out.len;
		pb_ofs_delta(&b, b.out.len - at[i - 1], copy_and_add(delta, size + 6 * (i - 1), text));
	}
	for (unsigned i = 1; i <= 8; i++) {
		snprintf(text, sizeof(text), "%06u", i + 100);
		pb_ofs_delta(&b, b.out.len - at[i - 1], copy_and_add(delta, size + 6 * (i - 1), text));
	}
	pb_end(&b);
	for (size_t memory = 0; memory <= ALL_IN_MEMORY; memory += ALL_IN_MEMORY) {
		WR_AUTO_S(wr_intake) in = {.count = 0};

		assert_ok(take_bytes(&in, t, wr_buf_str(&b.out), memory));
		assert_int_equal(in.count, 17);
	}
	wr_buf_fini(&b.out);
}

/* ---- connectivity ---- */

static void missing_objects(void **state)
{
	struct ix *t = *state;
	char hex[WR_OID_HEX + 1], words[80];
	struct small s;
	struct pb b;

	make_small(&s);
	for (int leave_out = 1; leave_out < 3; leave_out++) {
		pb_begin(&b, 2);
		pb_object(&b, WR_COMMIT, s.commit_text);
		if (leave_out != 1)
			pb_object(&b, WR_TREE, s.tree_text);
		if (leave_out != 2)
			pb_object(&b, WR_BLOB, s.blob_text);
		wr_oid_hex(hex, leave_out == 1 ? &s.tree : &s.blob);
		snprintf(words, sizeof(words), "missing %s %s", leave_out == 1 ? "tree" : "blob", hex);
		assert_refused(t, pb_end(&b), words);
		wr_buf_fini(&b.out);
	}
}

/* The same, each with what was missing in the store. */
static void the_store_completes(void **state)
{
	struct ix *t = *state;
	struct small s;
	struct pb b;

	make_small(&s);
	pb_begin(&b, 1);
	pb_object(&b, WR_BLOB, s.blob_text);
	store_pack(t, pb_end(&b));
	wr_buf_fini(&b.out);
	pb_begin(&b, 2);
	pb_object(&b, WR_COMMIT, s.commit_text);
	pb_object(&b, WR_TREE, s.tree_text);
	store_pack(t, pb_end(&b));
	wr_buf_fini(&b.out);
}

static void commit_text(struct wr_buf *out, const struct wr_oid *tree, const struct wr_oid *parent)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, tree);
	wr_buf_printf(out, "tree %s\n", hex);
	if (parent) {
		wr_oid_hex(hex, parent);
		wr_buf_printf(out, "parent %s\n", hex);
	}
	wr_buf_addz(out, "author A <a> 1 +0000\ncommitter A <a> 1 +0000\n\nm\n");
}

static void wrong_types(void **state)
{
	struct ix *t = *state;
	WR_AUTO_S(wr_buf) on_blob = WR_BUF_INIT(4096);
	WR_AUTO_S(wr_buf) child_of_tree = WR_BUF_INIT(4096);
	WR_AUTO_S(wr_buf) tag = WR_BUF_INIT(4096);
	WR_AUTO_S(wr_buf) tree = WR_BUF_INIT(4096);
	char hex[WR_OID_HEX + 1];
	struct small s;

	make_small(&s);
	commit_text(&on_blob, &s.blob, NULL);
	commit_text(&child_of_tree, &s.tree, &s.tree);
	wr_oid_hex(hex, &s.tree);
	wr_buf_printf(&tag, "object %s\ntype commit\ntag x\n\nm\n", hex);
	wr_buf_add(&tree, "40000 d", 8);
	wr_buf_add(&tree, s.blob.id, WR_OID_RAW);
	/* Everything in one pack, and then against what the store holds. */
	for (int stored = 0; stored < 2; stored++) {
		const struct {
			enum wr_type type;
			struct wr_str text;
			const char *words;
		} tries[] = {
			{WR_COMMIT, wr_buf_str(&on_blob), "is a blob where a tree is needed"},
			{WR_COMMIT, wr_buf_str(&child_of_tree), "is a tree where a commit is needed"},
			{WR_TAG, wr_buf_str(&tag), "is a tree where a commit is needed"},
			{WR_TREE, wr_buf_str(&tree), "is a blob where a tree is needed"},
		};

		for (size_t i = 0; i < WR_ARRAY_LEN(tries); i++) {
			struct pb b;

			pb_begin(&b, stored ? 1 : 4);
			pb_object(&b, tries[i].type, tries[i].text);
			if (!stored)
				put_small(&b, &s);
			assert_int_equal(try_pack(t, pb_end(&b)), WR_E_BAD_PACK);
			if (!strstr(t->fx.err.text, tries[i].words) &&
			    !strstr(t->fx.err.text, "is a tree where a blob is needed") &&
			    !strstr(t->fx.err.text, "is a commit where a tree is needed"))
				fail_msg("%zu: %s", i, t->fx.err.text);
			wr_buf_fini(&b.out);
		}
		if (!stored) {
			struct pb b;

			pb_begin(&b, 3);
			put_small(&b, &s);
			store_pack(t, pb_end(&b));
			wr_buf_fini(&b.out);
		}
	}
}

static enum wr_code try_tree(struct ix *t, struct wr_str entries, const char *words)
{
	struct pb b;
	enum wr_code code;

	pb_begin(&b, 2);
	pb_object(&b, WR_TREE, entries);
	pb_object(&b, WR_BLOB, WR_S(""));
	code = try_pack(t, pb_end(&b));
	if (words && (code != WR_E_BAD_PACK || !strstr(t->fx.err.text, words)))
		fail_msg("expected '%s', got code %d: %s", words, code, t->fx.err.text);
	wr_buf_fini(&b.out);
	return code;
}

/* "<mode> <name>" pairs, each with the id of the empty blob (or of nothing, for submodules). */
static struct wr_str tree_of(struct wr_buf *out, size_t count, const char *const *entries)
{
	struct wr_oid blob;

	oid_of(&blob, WR_BLOB, WR_S(""));
	wr_buf_clear(out);
	for (size_t i = 0; i < count; i++) {
		wr_buf_add(out, entries[i], strlen(entries[i]) + 1);
		wr_buf_add(out, blob.id, WR_OID_RAW);
	}
	return wr_buf_str(out);
}

static void tree_structure(void **state)
{
	struct ix *t = *state;
	static const struct {
		const char *entries[3];
		size_t count;
		const char *words; /* NULL: fine */
	} trees[] = {
		{{"100644 a", "100644 b", "160000 c"}, 3, NULL},
		{{"100644 a", "100664 b", "120000 c"}, 3, NULL},
		{{"0100644 a", "100664 b", "120000 c"}, 3, "zeroPaddedFilemode"},
		{{"100644 a", "100755 a.b", "100644 a0"}, 3, NULL},
		{{"160000 x", NULL, NULL}, 1, NULL},
		{{"100644 b", "100644 a", NULL}, 2, "treeNotSorted"},
		{{"100644 a", "100644 a", NULL}, 2, "duplicateEntries"},
		{{"100644 a", "160000 a", NULL}, 2, "duplicateEntries"},
		{{"100644 .", NULL, NULL}, 1, "hasDot"},
		{{"100644 ..", NULL, NULL}, 1, "hasDotdot"},
		{{"100644 .git", NULL, NULL}, 1, "hasDotgit"},
		{{"160000 .GiT", NULL, NULL}, 1, "hasDotgit"},
		{{"40000 git~1", NULL, NULL}, 1, "hasDotgit"},
		{{"100644 GIT~1. .", NULL, NULL}, 1, "hasDotgit"},
		{{"100644 git~2", NULL, NULL}, 1, NULL},
		{{"100644 .git...", NULL, NULL}, 1, "hasDotgit"},
		{{"100644 .git:x", NULL, NULL}, 1, "hasDotgit"},
		{{"100644 a\\.git\\b", NULL, NULL}, 1, "hasDotgit"},
		{{"100644 .g\xe2\x80\x8ciT", NULL, NULL}, 1, "hasDotgit"},
		{{"100644 \xef\xbb\xbf.git\xe2\x81\xaf", NULL, NULL}, 1, "hasDotgit"},
		{{"100644 .git\xe2\x80\x90", NULL, NULL}, 1, NULL},
		{{"100644 .gitx", "100644 a\\b", "100644 git"}, 3, NULL},
		{{"120000 .gitmodules", NULL, NULL}, 1, "gitmodulesSymlink"},
		{{"120000 .gitmodules2", NULL, NULL}, 1, NULL},
		{{"100644 a/b", NULL, NULL}, 1, "fullPathname"},
		{{"10644 a", NULL, NULL}, 1, NULL},
		{{"0 a", NULL, NULL}, 1, "zeroPaddedFilemode"},
		{{"100644 ", NULL, NULL}, 1, "badTree"},
		{{"100644", NULL, NULL}, 1, "badTree"},
	};
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 16);

	for (size_t i = 0; i < WR_ARRAY_LEN(trees); i++) {
		enum wr_code code = try_tree(t, tree_of(&text, trees[i].count, trees[i].entries), trees[i].words);

		assert_int_equal(code, trees[i].words ? WR_E_BAD_PACK : WR_OK);
	}
	assert_ok(try_tree(t, WR_S(""), NULL));
}

/* Entries that get into each other's way: files and folders of one name, names that go on, or mean something. */
struct leaf {
	const char *name, *mode;
	uint8_t id;
};

static int leaf_cmp(const void *x, const void *y)
{
	const struct leaf *a = x, *b = y;
	char p[64], q[64];

	snprintf(p, sizeof(p), "%s%s", a->name, *a->mode == '4' ? "/" : "");
	snprintf(q, sizeof(q), "%s%s", b->name, *b->mode == '4' ? "/" : "");
	return strcmp(p, q);
}

static struct leaf random_leaf(struct fx *f)
{
	static const char *const names[] = {"a",  "a-",  "a-b", "a.c", "a.c.d", "a.d", "a0", "aa", "b", "b.c",
					    "b0", "ba", "c",   "d",	"e",	 "f",	"g",  "go", "m"};
	static const char *const odd[] = {".gitmodules", ".gitattributes", ".git",	 "gitmod~1", "..", ".a",
					  "c\\d",	 "c\\.git",	  "GITATT~4", "g~h",	  "x/y"};
	static const char *const modes[] = {"100644", "100644", "40000", "100755", "120000", "160000"};
	struct leaf leaf = {names[chance(f, WR_ARRAY_LEN(names))], modes[chance(f, WR_ARRAY_LEN(modes))],
			    (uint8_t)(1 + chance(f, 50))};

	if (chance(f, 150) == 0)
		leaf.name = odd[chance(f, WR_ARRAY_LEN(odd))];
	if (chance(f, 1000) == 0)
		leaf.mode = "0100644";
	if (chance(f, 1000) == 0)
		leaf.id = 0;
	return leaf;
}

#define LEAVES 14

/* In order, nearly always, and no two alike, mostly. */
static size_t tidy(struct leaf *v, size_t n, struct fx *f)
{
	size_t out = 0;

	qsort(v, n, sizeof(*v), leaf_cmp);
	for (size_t i = 0; i < n; i++)
		if (out == 0 || strcmp(v[out - 1].name, v[i].name) != 0 || chance(f, 200) == 0)
			v[out++] = v[i];
	if (out > 1 && chance(f, 60) == 0) {
		struct leaf leaf = v[out - 1];

		v[out - 1] = v[out - 2];
		v[out - 2] = leaf;
	}
	return out;
}

static void tree_of_leaves(struct wr_buf *out, struct fx *f, const struct leaf *v, size_t n)
{
	wr_buf_clear(out);
	for (size_t i = 0; i < n; i++) {
		uint8_t oid[WR_OID_RAW];

		memset(oid, v[i].id, sizeof(oid));
		/* What is a blob in one place is not a tree in another. */
		oid[0] = v[i].id ? (uint8_t)v[i].mode[0] : 0;
		wr_buf_printf(out, "%s %s", v[i].mode, v[i].name);
		wr_buf_addc(out, '\0');
		wr_buf_add(out, oid, sizeof(oid));
	}
	if (chance(f, 300) == 0 && out->len)
		out->len -= 1 + chance(f, 20);
}

static bool same_ids(const struct wr_oidmap *whole, const struct wr_oidmap *a, const struct wr_oidmap *b)
{
	size_t n = 0;

	for (size_t i = 0; i < whole->cap; i++) {
		if (!whole->values[i])
			continue;
		n++;
		if (!wr_oidmap_has(a, &whole->keys[i]) && !wr_oidmap_has(b, &whole->keys[i]))
			return false;
	}
	return n >= a->len && n >= b->len && n <= a->len + b->len;
}

/* To compare a tree with another one must find just what a look at all of it finds, whatever the rules let pass. */
static void trees_compared(void **state)
{
	static const char *const ignored[] = {"", "duplicateEntries", "treeNotSorted", "zeroPaddedFilemode nullSha1",
					      "duplicateEntries treeNotSorted hasDotgit"};
	struct ix *t = *state;
	struct fx *f = &t->fx;
	unsigned bad = 0, good = 0, sounds = 0, n = rounds(60000);

	for (unsigned round = 0; round < n; round++) {
		WR_AUTO_S(wr_refs_check) whole = {.snap = t->store, .limit = 1000, .rules = &t->fsck};
		WR_AUTO_S(wr_refs_check) first = {.snap = t->store, .limit = 1000, .rules = &t->fsck};
		WR_AUTO_S(wr_refs_check) compared = {
			.snap = t->store, .limit = 1000, .before = &first, .rules = &t->fsck};
		WR_AUTO_S(wr_buf) a = WR_BUF_INIT(1 << 16);
		WR_AUTO_S(wr_buf) b = WR_BUF_INIT(1 << 16);
		WR_AUTO_S(wr_error) said = WR_ERROR_INIT;
		WR_AUTO_S(wr_error) again = WR_ERROR_INIT;
		const struct wr_oid oid = {{1}};
		struct leaf v[LEAVES + 4];
		size_t count = 1 + chance(f, LEAVES), changes = 1 + chance(f, 3);
		struct wr_refs_like like;
		enum wr_code code;
		bool sound, plainly;

		assert_ok(wr_fsck_rules_parse(&t->fsck, ignored[chance(f, WR_ARRAY_LEN(ignored))], NULL));
		if (chance(f, 6) == 0)
			t->fsck = wr_fsck_rules_taken(&t->fsck);
		for (size_t i = 0; i < count; i++)
			v[i] = random_leaf(f);
		count = tidy(v, count, f);
		tree_of_leaves(&a, f, v, count);
		while (changes-- > 0) {
			size_t i = chance(f, (unsigned)count + 1);

			v[i] = random_leaf(f);
			count += i == count;
		}
		count = tidy(v, count, f);
		tree_of_leaves(&b, f, v, count);
		like.bytes = wr_buf_str(&a);
		if (wr_refs_check_object_like(&like.sound, &first, &oid, WR_TREE, like.bytes, NULL, NULL) != WR_OK)
			continue;
		sounds += like.sound;
		assert_ok(wr_refs_check_object(&whole, &oid, WR_TREE, like.bytes, NULL));
		code = wr_refs_check_object_like(&plainly, &whole, &oid, WR_TREE, wr_buf_str(&b), NULL, &said);
		if (wr_refs_check_object_like(&sound, &compared, &oid, WR_TREE, wr_buf_str(&b), &like, &again) !=
			    code ||
		    strcmp(said.text, again.text) != 0)
			fail_msg("round %u: %d '%s' or '%s'", round, code, said.text, again.text);
		if (code == WR_OK) {
			assert_true(same_ids(&whole.seen, &first.seen, &compared.seen));
			assert_true(same_ids(&whole.special, &first.special, &compared.special));
			assert_int_equal(sound, plainly);
		}
		good += code == WR_OK;
		bad += code != WR_OK;
	}
	assert_in_range(good, n / 4, n);
	assert_in_range(bad, n / 1000, n / 2);
	assert_in_range(sounds, n / 4, n);
}

static void malformed_objects(void **state)
{
	struct ix *t = *state;
	struct pb b;

	pb_begin(&b, 1);
	pb_object(&b, WR_COMMIT, WR_S("author A <a> 1 +0000\n\nm\n"));
	assert_refused(t, pb_end(&b), "object ");
	assert_non_null(strstr(t->fx.err.text, "missingTree"));
	wr_buf_fini(&b.out);
	pb_begin(&b, 1);
	pb_object(&b, WR_TAG, WR_S("object " EMPTY_TREE "\ntype nothing\n"));
	assert_refused(t, pb_end(&b), "badType");
	wr_buf_fini(&b.out);
}

/* Objects that lie in mapped files while they are worked on. */
static void large_objects(void **state)
{
	struct ix *t = *state;
	WR_AUTO_S(wr_buf) back = WR_BUF_INIT(256u << 20);
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(64u << 20);
	struct wr_oid oid;

	sh(&t->fx, "git init -q work; cd work; head -c 20000000 /dev/zero | tr '\\0' x > big; echo one >> big; "
		   "git add big; git commit -qm 1; (cat big; head -c 100000 /dev/urandom) > b2; mv b2 big; "
		   "git commit -qam 2; git repack -adfq");
	sh_out(&t->fx, &back, "cd work; git verify-pack -v .git/objects/pack/*.idx | grep -c ' blob .* 1 '");
	assert_string_equal(back.ptr, "1\n");
	sh_out(&t->fx, &pack, "git -C work pack-objects --all --stdout -q --delta-base-offset </dev/null");
	sh_oid(&t->fx, &oid, "git -C work rev-parse HEAD:big");
	for (size_t memory = 0; memory <= ALL_IN_MEMORY; memory += ALL_IN_MEMORY) {
		WR_AUTO_S(wr_intake) in = {.count = 0};

		assert_ok(take_bytes(&in, t, wr_buf_str(&pack), memory));
		assert_true(t->asked == 1 && in.in_files == !memory);
		if (memory) {
			assert_true(has_row(&in, in.count, &oid));
			continue;
		}
		{
			WR_AUTO(wr_snapshot) *snap = store_with(t);
			WR_AUTO_S(wr_object) obj = {.data = NULL};
			struct wr_oid again;

			assert_ok(wr_snapshot_read(&obj, snap, &oid, &t->fx.err));
			assert_int_equal(obj.size, 20000004 + 100000);
			oid_of(&again, WR_BLOB, wr_str_n(obj.data, obj.size));
			assert_true(wr_oid_eq(&oid, &again));
		}
	}
}

/* ---- what real git sends ---- */

/* A thin pack on what was pushed before: completed from the store, and refused where the store lacks the bases. */
static void thin_pack_is_completed(void **state)
{
	struct ix *t = *state;
	WR_AUTO_S(wr_buf) full = WR_BUF_INIT(64u << 20);
	WR_AUTO_S(wr_buf) thin = WR_BUF_INIT(64u << 20);

	sh(&t->fx, "git init -q work; cd work; seq 1 3000 > f; seq 5000 9000 > g; git add .; git commit -qm 1; "
		   "echo more >> f; echo more >> g; git commit -qam 2");
	sh_out(&t->fx, &full, "cd work; echo HEAD~1 | git pack-objects --revs --stdout -q");
	sh_out(&t->fx, &thin, "cd work; printf 'HEAD\\n^HEAD~1\\n' | git pack-objects --revs --stdout --thin -q");
	assert_true(thin.len < 2000);
	assert_refused(t, wr_buf_str(&thin), "missing delta base");
	store_pack(t, wr_buf_str(&full));
	store_pack(t, wr_buf_str(&thin));
	same_as_git(t);
	sh(&t->fx, "git init -q --bare all; cp pack-*.pack pack-*.idx all/objects/pack; cd all; "
		   "git update-ref refs/heads/main $(git -C ../work rev-parse HEAD) && git fsck --strict");
}

/* The packs that git makes, large enough for two threads, against git's own index of them. */
static void packs_of_many_kinds(void **state)
{
	static const char *const kinds[] = {
		"--delta-base-offset --window=10 --depth=50",
		"--delta-base-offset --window=200 --depth=4000",
		"--window=20 --depth=30", /* deltas that name their base */
		"--delta-base-offset --window=0",
		"--delta-base-offset --compression=0",
	};
	struct ix *t = *state;

	make_history(&t->fx, "work", 700);
	for (size_t i = 0; i < WR_ARRAY_LEN(kinds); i++) {
		WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(64u << 20);
		WR_AUTO_S(wr_intake) files = {.count = 0};

		sh_out(&t->fx, &pack, "git -C work pack-objects --all --stdout -q --no-reuse-delta %s </dev/null",
		       kinds[i]);
		assert_ok(try_pack(t, wr_buf_str(&pack)));
		assert_ok(take_bytes(&files, t, wr_buf_str(&pack), 100 << 10));
		assert_true(files.in_files);
		same_as_git(t);
		remove_files(t);
	}
}

/* What stays in memory is little where little is granted; and where that is too much, it is told. */
static void memory_is_counted(void **state)
{
	struct ix *t = *state;
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(64u << 20);
	WR_AUTO_S(wr_intake) in = {.count = 0};
	uint64_t most, left = 0;
	unsigned refused = 0;
	enum wr_code code;

	make_history(&t->fx, "work", 400);
	sh_out(&t->fx, &pack, "git -C work pack-objects --all --stdout -q --delta-base-offset </dev/null");
	while ((code = take_tight(&in, t, wr_buf_str(&pack), left, &most)) != WR_OK) {
		assert_int_equal(code, WR_E_UNAVAILABLE);
		assert_true(most <= left);
		remove_files(t);
		refused++;
		left += 16 << 10;
	}
	assert_true(refused > 10 && left < 2 << 20);
	assert_true(in.in_files);
	sh(&t->fx, "test $(git show-index < %s.idx | wc -l) = %u", t->name, in.count);
}

/* Very many entries in few bytes: their tables lie in files, of which nothing is left over. */
static void tiny_objects(void **state)
{
	struct ix *t = *state;
	const unsigned n = 60000;
	struct pb b;

	pb_begin(&b, n);
	for (unsigned i = 0; i < n; i++) {
		char text[12];
		int len = snprintf(text, sizeof text, "%u", i);

		pb_object(&b, WR_BLOB, wr_str_n(text, (size_t)len));
	}
	pb_end(&b);
	for (int little = 0; little < 2; little++) {
		WR_AUTO_S(wr_intake) in = {.count = 0};
		uint64_t most = 0;

		assert_ok(little ? take_tight(&in, t, wr_buf_str(&b.out), UINT64_MAX, &most)
				 : take_bytes(&in, t, wr_buf_str(&b.out), ALL_IN_MEMORY));
		assert_int_equal(in.count, n);
		assert_int_equal(in.in_files, little);
		assert_int_equal(t->asked, 1);
		assert_true(most < 1 << 20);
		if (little)
			sh(&t->fx, "test $(git show-index < %s.idx | wc -l) = %u", t->name, n);
		remove_files(t);
		sh(&t->fx, "test -z \"$(ls)\"");
	}
	wr_buf_fini(&b.out);
}

/* Every size that may stay in memory, around that of a pack: the objects are the same, and the folder is left alone. */
static void from_memory_to_files(void **state)
{
	struct ix *t = *state;
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(64u << 20);

	make_history(&t->fx, "work", 40);
	sh_out(&t->fx, &pack, "git -C work pack-objects --all --stdout -q --delta-base-offset </dev/null");
	for (size_t less = 0; less < 300; less++) {
		WR_AUTO_S(wr_intake) in = {.count = 0};

		assert_ok(take_bytes(&in, t, wr_buf_str(&pack), pack.len + 5 - less));
		assert_int_equal(in.in_files, less > 5);
		assert_int_equal(t->asked, less > 5);
		if (in.in_files)
			sh(&t->fx, "test $(git show-index < %s.idx | wc -l) = %u", t->name, in.count);
		remove_files(t);
		less += less > 8 ? 96 : 0;
	}
}

/* Records on records: chains through the repository stay readable, however many thin packs follow each other. */
static void chains_through_the_store(void **state)
{
	struct ix *t = *state;
	struct wr_journal *j = NULL;
	struct wr_oid last, oid;
	unsigned added = 0;
	char delta[64], text[16];
	bool broken;

	assert_ok(wr_journal_create(&j, t->dir, 1, 0, 1, &t->fx.err));
	t->store->journals[0] = j;
	t->store->journal_count = 1;
	for (unsigned i = 0; i < WR_THIN_DEPTH * 2 + 5; i++) {
		WR_AUTO_S(wr_intake) in = {.count = 0};
		struct wr_record record = {.seq = i + 1};
		WR_AUTO_S(wr_object) obj = {.data = NULL};
		struct pb b;

		snprintf(text, sizeof(text), "%06u", i);
		oid_of(&oid, WR_BLOB, wr_str(text));
		pb_begin(&b, 1);
		if (i == 0)
			pb_object(&b, WR_BLOB, wr_str(text));
		else
			pb_ref_delta(&b, &last, insert(delta, 6, text));
		assert_ok(take_bytes(&in, t, pb_end(&b), ALL_IN_MEMORY));
		rows_are_sound(t, &in, false);
		added += in.count == 2;
		record.objects = in.objects;
		record.object_count = in.count;
		assert_ok(wr_journal_put(&broken, j, &record, &t->fx.err));
		t->store->limits[0] = wr_journal_rows(j);
		assert_ok(wr_snapshot_read(&obj, t->store, &oid, &t->fx.err));
		assert_string_equal((char *)obj.data, text);
		last = oid;
		wr_buf_fini(&b.out);
	}
	assert_int_equal(added, 2);
}

/* A row's base comes again, at the end of the longest chain that a pack may have: the row stays readable. */
static void a_base_that_comes_again_deeper(void **state)
{
	struct ix *t = *state;
	struct wr_journal *j = NULL;
	WR_AUTO(wr_cache) *cache = NULL;
	struct wr_oid last = {{0}}, oid;
	char delta[64], text[16];
	size_t at;
	bool broken;
	struct pb b;

	assert_ok(wr_journal_create(&j, t->dir, 1, 0, 1, &t->fx.err));
	t->store->journals[0] = j;
	t->store->journal_count = 1;
	snprintf(text, sizeof(text), "%06u", WR_DELTA_DEPTH);
	pb_begin(&b, 1);
	pb_object(&b, WR_BLOB, wr_str(text));
	store_pack(t, pb_end(&b));
	wr_buf_fini(&b.out);
	oid_of(&last, WR_BLOB, wr_str(text));
	for (unsigned i = 1; i <= WR_THIN_DEPTH; i++) {
		WR_AUTO_S(wr_intake) in = {.count = 0};
		struct wr_record record = {.seq = i};

		snprintf(text, sizeof(text), "row%03u", i);
		oid_of(&oid, WR_BLOB, wr_str(text));
		pb_begin(&b, 1);
		pb_ref_delta(&b, &last, insert(delta, 6, text));
		assert_ok(take_bytes(&in, t, pb_end(&b), ALL_IN_MEMORY));
		assert_int_equal(in.count, 1);
		record.objects = in.objects;
		record.object_count = in.count;
		assert_ok(wr_journal_put(&broken, j, &record, &t->fx.err));
		t->store->limits[0] = wr_journal_rows(j);
		last = oid;
		wr_buf_fini(&b.out);
	}
	pb_begin(&b, WR_DELTA_DEPTH + 1);
	at = pb_object(&b, WR_BLOB, WR_S("000000"));
	for (unsigned i = 1; i <= WR_DELTA_DEPTH; i++) {
		size_t distance = b.out.len - at;

		snprintf(text, sizeof(text), "%06u", i);
		at = pb_ofs_delta(&b, distance, insert(delta, 6, text));
	}
	store_pack(t, pb_end(&b));
	wr_buf_fini(&b.out);
	assert_ok(wr_cache_new(&cache, 1 << 20, NULL));
	for (unsigned i = 1; i <= WR_THIN_DEPTH; i++) {
		WR_AUTO_S(wr_object) obj = {.data = NULL};
		WR_AUTO_S(wr_object) again = {.data = NULL};

		snprintf(text, sizeof(text), "row%03u", i);
		oid_of(&oid, WR_BLOB, wr_str(text));
		assert_ok(wr_snapshot_read(&obj, t->store, &oid, &t->fx.err));
		assert_string_equal((char *)obj.data, text);
		assert_ok(wr_snapshot_read_cached(&again, t->store, &oid, cache, &t->fx.err));
	}
}

/* A base that has to be added, and makes the pack too large for memory. */
static void added_bases_go_to_files(void **state)
{
	struct ix *t = *state;
	WR_AUTO_S(wr_buf) content = WR_BUF_INIT(1 << 16);
	WR_AUTO_S(wr_intake) in = {.count = 0};
	char delta[64], text[16];
	struct wr_oid last;
	size_t at;
	struct pb b;

	wr_random_bytes(wr_buf_room(&content, 5000), 5000);
	content.len = 5000;
	pb_begin(&b, WR_THIN_DEPTH + 1);
	at = pb_object(&b, WR_BLOB, wr_buf_str(&content));
	for (size_t i = 0; i < WR_THIN_DEPTH; i++) {
		size_t distance = b.out.len - at;

		snprintf(text, sizeof(text), "%06zu", i);
		at = pb_ofs_delta(&b, distance, copy_and_add(delta, content.len, text));
		wr_buf_add(&content, text, 6);
	}
	store_pack(t, pb_end(&b));
	wr_buf_fini(&b.out);
	oid_of(&last, WR_BLOB, wr_buf_str(&content));
	pb_begin(&b, 1);
	pb_ref_delta(&b, &last, copy_and_add(delta, content.len, "at end"));
	assert_ok(try_pack(t, pb_end(&b)));
	assert_ok(take_bytes(&in, t, wr_buf_str(&b.out), 4000));
	assert_true(in.in_files && in.count == 2 && t->asked == 1);
	same_as_git(t);
	wr_buf_fini(&b.out);
}

static void progress_add(void *arg, const char *stage, uint64_t done, uint64_t total, bool last)
{
	unsigned *calls = arg;

	assert_string_equal(stage, "Resolving deltas");
	assert_true(done <= total);
	assert_true(!last || done == total);
	*calls += last ? 1000 : 1;
}

static bool stop_now(void *arg)
{
	unsigned *left = arg;

	return (*left)-- == 0;
}

static void progress_and_cancel(void **state)
{
	struct ix *t = *state;
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(64u << 20);
	unsigned calls = 0;
	enum wr_code code;

	make_history(&t->fx, "work", 60);
	sh_out(&t->fx, &pack, "git -C work pack-objects --all --stdout -q </dev/null");
	for (unsigned limit = 0; limit < 3; limit++) {
		struct dribble src = {{dribble_read}, wr_buf_str(&pack), 1};
		const struct wr_progress progress = {progress_add, &calls};
		unsigned left = limit;
		const struct wr_cancel cancel = {stop_now, &left};
		WR_AUTO_S(wr_intake) in = {.count = 0};

		code = take(&in, t, &src.base, limit ? 0 : ALL_IN_MEMORY,
			    (struct hooks){&progress, limit == 2 ? NULL : &cancel});
		assert_int_equal(code, limit == 2 ? WR_OK : WR_E_CANCELLED);
	}
	assert_true(calls > 1000 && calls < 1200);
}

/* 1500 families of a blob and its delta; the delta of one of them (or of none) is wrong. */
static void many_families(struct pb *b, unsigned wrong)
{
	char delta[64], text[16];

	pb_begin(b, 3000);
	for (unsigned i = 0; i < 1500; i++) {
		size_t at;

		snprintf(text, sizeof(text), "%06u", i);
		at = pb_object(b, WR_BLOB, wr_str(text));
		snprintf(text, sizeof(text), "%06u", i + 500000);
		pb_ofs_delta(b, b->out.len - at, insert(delta, i == wrong ? 5 : 6, text));
	}
	pb_end(b);
}

/* Whichever of the two threads meets it: an error is an error, and a client that left stops both. */
static void errors_among_threads(void **state)
{
	struct ix *t = *state;
	unsigned cancelled = 0;
	enum wr_code code;
	struct pb b;

	for (unsigned wrong = 0; wrong <= 1500; wrong += 150) {
		WR_AUTO_S(wr_intake) in = {.count = 0};

		many_families(&b, wrong);
		code = take_bytes(&in, t, wr_buf_str(&b.out), 0);
		assert_int_equal(code, wrong < 1500 ? WR_E_BAD_PACK : WR_OK);
		assert_true(code == WR_OK ? in.count == 3000 : strstr(t->fx.err.text, "a wrong delta in") != NULL);
		remove_files(t);
		if (wrong < 1500)
			wr_buf_fini(&b.out);
	}
	/* One question less refused each time, until there are no more. */
	code = WR_E_CANCELLED;
	for (unsigned limit = 0; code != WR_OK; limit++) {
		struct wr_mem_source src;
		unsigned left = limit;
		const struct wr_cancel cancel = {stop_now, &left};
		WR_AUTO_S(wr_intake) in = {.count = 0};

		wr_mem_source_init(&src, wr_buf_str(&b.out));
		code = take(&in, t, &src.base, 0, (struct hooks){NULL, &cancel});
		assert_true(code == WR_OK || code == WR_E_CANCELLED);
		cancelled += code != WR_OK;
		remove_files(t);
	}
	assert_true(cancelled > 2);
	wr_buf_fini(&b.out);
}

static enum wr_code no_folder(int *fd, void *arg, struct wr_error *err)
{
	(void)fd;
	(void)arg;
	return wr_fail(err, WR_E_STORAGE_FULL, "no folder today");
}

/* The folder cannot be had, or a file of the name is there. */
static void no_place_for_files(void **state)
{
	struct ix *t = *state;
	const struct wr_index_folder none = {no_folder, NULL};
	WR_AUTO_S(wr_intake) in = {.count = 0};
	struct wr_mem_source src;
	struct small s;
	struct pb b;

	make_small(&s);
	pb_begin(&b, 3);
	put_small(&b, &s);
	pb_end(&b);
	t->limits.max_memory = 0;
	wr_mem_source_init(&src, wr_buf_str(&b.out));
	assert_int_equal(wr_index_pack(&in, &none, "pack-x", &src.base, t->store, &t->limits, &t->rules, NULL, NULL,
				       &t->fx.err),
			 WR_E_STORAGE_FULL);
	assert_ok(take_bytes(&in, t, wr_buf_str(&b.out), 0));
	t->names--;
	assert_int_equal(take_bytes(&in, t, wr_buf_str(&b.out), 0), WR_E_INTERNAL);
	wr_buf_fini(&b.out);
}

struct asked {
	const struct dribble *src;
	unsigned times; /* after all of the pack was there */
};

static bool count_asked(void *arg)
{
	struct asked *asked = arg;

	asked->times += asked->src->rest.len == 0;
	return false;
}

/*
 * A chain of large results with two deltas on each, of which the second is met when its base had to make room. The
 * questions whether to go on tell how much is made: often enough to be stopped, and no base again and again.
 */
static void bases_are_made_anew_few_times(void **state)
{
	enum { DEPTH = 64, SIZE = 2 << 20 };
	struct ix *t = *state;
	WR_AUTO_S(wr_buf) content = WR_BUF_INIT(SIZE + 1);
	WR_AUTO_S(wr_intake) in = {.count = 0};
	struct asked asked = {NULL, 0};
	const struct wr_cancel cancel = {count_asked, &asked};
	char delta[64], text[16];
	struct dribble src;
	struct pb b;

	memset(wr_buf_room(&content, SIZE), 'x', SIZE);
	content.len = SIZE;
	pb_begin(&b, 1 + 2 * DEPTH);
	for (size_t i = 0, on = 0; i <= DEPTH; i++) {
		size_t at = b.out.len;

		if (i == 0) {
			pb_object(&b, WR_BLOB, wr_buf_str(&content));
		} else {
			snprintf(text, sizeof(text), "%06zu", i);
			pb_ofs_delta(&b, at - on, copy_and_add(delta, SIZE + 6 * (i - 1), text));
			snprintf(text, sizeof(text), "%06zu", i + 500);
			pb_ofs_delta(&b, b.out.len - on, copy_and_add(delta, SIZE + 6 * (i - 1), text));
		}
		on = at;
	}
	src = (struct dribble){{dribble_read}, pb_end(&b), 4096};
	asked.src = &src;
	assert_ok(take(&in, t, &src.base, ALL_IN_MEMORY, (struct hooks){NULL, &cancel}));
	assert_in_range(asked.times, 2 * DEPTH * SIZE / (16 << 20), 3 * DEPTH * SIZE / (16 << 20) + 8);
	wr_buf_fini(&b.out);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, ix_setup, ix_teardown)
	const struct CMUnitTest tests[] = {
		T(a_sound_pack),
		T(every_flipped_bit),
		T(every_truncation_and_extension),
		T(wrong_counts),
		T(empty_packs),
		T(limits),
		T(unpacked_in_all),
		T(claimed_sizes),
		T(delta_bomb),
		T(deltas),
		T(duplicates),
		T(base_in_pack_and_store),
		T(delta_circle),
		T(long_chains),
		T(bases_make_room),
		T(bases_are_made_anew_few_times),
		T(missing_objects),
		T(the_store_completes),
		T(wrong_types),
		T(tree_structure),
		T(trees_compared),
		T(malformed_objects),
		T(large_objects),
		T(thin_pack_is_completed),
		T(packs_of_many_kinds),
		T(from_memory_to_files),
		T(memory_is_counted),
		T(tiny_objects),
		T(chains_through_the_store),
		T(a_base_that_comes_again_deeper),
		T(added_bases_go_to_files),
		T(progress_and_cancel),
		T(errors_among_threads),
		T(no_place_for_files),
	};

	return cmocka_run_group_tests_name("git_index", tests, NULL, NULL);
}
