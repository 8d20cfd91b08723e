/* What a pushed pack may hold, and above all what it may not. */
#include "tests/unit/git_fixture.h"

#define EMPTY_TREE "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

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

static enum wr_code try_pack(struct fx *f, struct wr_str pack)
{
	WR_AUTO(wr_quarantine) *q = NULL;

	return take_pack(&q, f, pack);
}

static void assert_refused(struct fx *f, struct wr_str pack, const char *words)
{
	enum wr_code code = try_pack(f, pack);

	if (code != WR_E_BAD_PACK || !strstr(f->err.text, words))
		fail_msg("expected '%s', got code %d: %s %s", words, code, f->err.text, f->err.detail);
}

static void nothing_is_left(struct fx *f)
{
	sh(f, "test -z \"$(ls data/run)\" && test -z \"$(ls data/repos)\"");
}

static void all_is_there(struct fx *f, const struct small *s)
{
	const struct wr_oid *oids[] = {&s->commit, &s->tree, &s->blob};
	const struct wr_str texts[] = {s->commit_text, s->tree_text, s->blob_text};
	WR_AUTO(wr_snapshot) *snap = NULL;

	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	for (size_t i = 0; i < 3; i++) {
		WR_AUTO_S(wr_object) obj = {.data = NULL};

		assert_ok(wr_snapshot_read(&obj, snap, oids[i], &f->err));
		assert_true(wr_str_eq(wr_str_n(obj.data, obj.size), texts[i]));
	}
}

static void a_sound_pack(void **state)
{
	struct fx *f = *state;
	struct small s;
	struct pb b;

	make_small(&s);
	pb_begin(&b, 3);
	put_small(&b, &s);
	assert_ok(push(f, pb_end(&b), "refs/heads/main", &s.commit));
	all_is_there(f, &s);
	wr_buf_fini(&b.out);
	sh(f, "git -C data/repos/01/23/*.git fsck --strict 2>fsck.out >&2");
}

static void every_flipped_bit(void **state)
{
	struct fx *f = *state;
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
		if (try_pack(f, pack) == WR_OK)
			fail_msg("byte %zu", i);
		b.out.ptr[i] ^= (char)(1 << (i % 8));
	}
	/* With a trailer that fits: zlib's own sums and the ids must notice, but for bits that zlib does not look at.
	 */
	for (size_t i = 0; i + 20 < pack.len; i++) {
		b.out.ptr[i] ^= (char)(1 << (i % 8));
		b.out.len -= 20;
		if (push(f, pb_end(&b), "refs/heads/main", &s.commit) == WR_OK) {
			all_is_there(f, &s);
			fx_stop(f);
			sh(f, "rm -r data");
			fx_start(f);
			same++;
		}
		b.out.ptr[i] ^= (char)(1 << (i % 8));
	}
	assert_true(same < 6);
	wr_buf_fini(&b.out);
}

static void every_truncation_and_extension(void **state)
{
	struct fx *f = *state;
	struct wr_str pack;
	struct small s;
	struct pb b;

	make_small(&s);
	pb_begin(&b, 3);
	put_small(&b, &s);
	pack = pb_end(&b);
	for (size_t n = 1; n < pack.len; n++)
		assert_int_equal(try_pack(f, wr_str_n(pack.ptr, n)), WR_E_BAD_PACK);
	wr_buf_addc(&b.out, 'x');
	assert_refused(f, wr_buf_str(&b.out), "bytes follow");
	/* Rubbish between the last entry and a trailer that counts it in. */
	b.out.len = pack.len - 20;
	wr_buf_addz(&b.out, "rubbish");
	assert_int_equal(try_pack(f, pb_end(&b)), WR_E_BAD_PACK);
	wr_buf_fini(&b.out);
}

static void wrong_counts(void **state)
{
	struct fx *f = *state;
	struct small s;

	make_small(&s);
	for (uint32_t n = 0; n < 6; n++) {
		struct pb b;

		pb_begin(&b, n);
		put_small(&b, &s);
		assert_int_equal(try_pack(f, pb_end(&b)), n == 3 ? WR_OK : WR_E_BAD_PACK);
		wr_buf_fini(&b.out);
	}
}

static void empty_packs(void **state)
{
	struct fx *f = *state;
	struct pb b;

	pb_begin(&b, 0);
	assert_ok(try_pack(f, pb_end(&b)));
	b.out.ptr[b.out.len - 1] ^= 1;
	assert_refused(f, wr_buf_str(&b.out), "checksum");
	wr_buf_fini(&b.out);
	nothing_is_left(f);
}

static void limits(void **state)
{
	struct fx *f = *state;
	WR_AUTO_MEM char *large = calloc(1, 2000);
	struct pb b;

	fx_stop(f);
	f->cfg.max_pack_bytes = 3000;
	f->cfg.max_pack_objects = 2;
	f->cfg.max_object_bytes = 1999;
	fx_start(f);
	pb_begin(&b, 3);
	assert_int_equal(try_pack(f, pb_end(&b)), WR_E_TOO_LARGE);
	wr_buf_fini(&b.out);
	pb_begin(&b, 1);
	pb_object(&b, WR_BLOB, wr_str_n(large, 2000));
	assert_int_equal(try_pack(f, pb_end(&b)), WR_E_TOO_LARGE);
	wr_buf_fini(&b.out);
	pb_begin(&b, 1);
	pb_object(&b, WR_BLOB, wr_str_n(large, 1999));
	assert_ok(try_pack(f, pb_end(&b)));
	wr_buf_fini(&b.out);
	pb_begin(&b, 2);
	for (int i = 0; i < 2; i++) {
		wr_random_bytes(large, 1900);
		pb_object(&b, WR_BLOB, wr_str_n(large, 1900));
	}
	assert_int_equal(try_pack(f, pb_end(&b)), WR_E_TOO_LARGE);
	wr_buf_fini(&b.out);
	nothing_is_left(f);
}

/* A small pack whose deltas make a lot: what all entries unpack to is bounded as well. */
static void unpacked_in_all(void **state)
{
	struct fx *f = *state;
	WR_AUTO_MEM char *base = calloc(1, 1000);
	struct wr_oid id;
	struct pb b;

	fx_stop(f);
	f->cfg.max_unpacked_bytes = 2030;
	fx_start(f);
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
			assert_ok(try_pack(f, pb_end(&b)));
		else
			assert_int_equal(try_pack(f, pb_end(&b)), WR_E_TOO_LARGE);
		wr_buf_fini(&b.out);
	}
	nothing_is_left(f);
}

/* Sizes that nothing stands behind must cost nothing. */
static void claimed_sizes(void **state)
{
	struct fx *f = *state;
	uint8_t delta[64];
	struct wr_oid base;
	struct pb b;
	size_t n = 0;

	fx_stop(f);
	f->cfg.max_object_bytes = UINT64_C(1) << 40;
	fx_start(f);
	pb_begin(&b, 1);
	pb_head(&b, WR_BLOB, UINT64_C(1) << 39);
	pb_zip(&b, WR_S("short"));
	assert_refused(f, pb_end(&b), "shorter");
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
	assert_refused(f, pb_end(&b), "delta");
	wr_buf_fini(&b.out);
}

/* A few kilobytes that would make gigabytes: refused by the limit, before memory is spent. */
static void delta_bomb(void **state)
{
	struct fx *f = *state;
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
	assert_int_equal(try_pack(f, pb_end(&b)), WR_E_TOO_LARGE);
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
	struct fx *f = *state;
	WR_AUTO(wr_quarantine) *q = NULL;
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
	assert_ok(take_pack(&q, f, pb_end(&b)));
	wr_buf_fini(&b.out);
	pb_begin(&b, 2);
	pb_object(&b, WR_BLOB, WR_S("base"));
	pb_ref_delta(&b, &none, insert(delta, 4, "one"));
	assert_refused(f, pb_end(&b), "missing delta base 01000");
	wr_buf_fini(&b.out);
	pb_begin(&b, 2);
	pb_object(&b, WR_BLOB, WR_S("base"));
	pb_ref_delta(&b, &base, insert(delta, 5, "one"));
	assert_refused(f, pb_end(&b), "wrong delta");
	wr_buf_fini(&b.out);
	for (uint64_t distance = 0; distance < 40; distance++) {
		size_t at;

		pb_begin(&b, 2);
		at = pb_object(&b, WR_BLOB, WR_S("base"));
		at = b.out.len - at;
		pb_ofs_delta(&b, distance, insert(delta, 4, "one"));
		assert_int_equal(try_pack(f, pb_end(&b)), distance == at ? WR_OK : WR_E_BAD_PACK);
		wr_buf_fini(&b.out);
	}
}

/*
 * A delta that makes what is there already: an indexer that waits for something new would wait for ever, and a reader
 * that looks its base up by id could find the delta itself.
 */
static void duplicates(void **state)
{
	struct fx *f = *state;
	struct wr_oid base;
	char delta[64];
	struct pb b;

	oid_of(&base, WR_BLOB, WR_S("base"));
	pb_begin(&b, 2);
	pb_object(&b, WR_BLOB, WR_S("base"));
	pb_ref_delta(&b, &base, insert(delta, 4, "base"));
	assert_refused(f, pb_end(&b), "comes twice");
	wr_buf_fini(&b.out);
	pb_begin(&b, 2);
	pb_object(&b, WR_BLOB, WR_S("base"));
	pb_object(&b, WR_BLOB, WR_S("base"));
	assert_refused(f, pb_end(&b), "comes twice");
	wr_buf_fini(&b.out);
}

/*
 * A thin pack whose first delta, on an object of the store, is itself the base of another delta, while the store has
 * that one too: it must not come in twice.
 */
static void base_in_pack_and_store(void **state)
{
	struct fx *f = *state;
	struct wr_oid one, two, three;
	char delta[64];
	struct pb b;

	oid_of(&one, WR_BLOB, WR_S("one"));
	oid_of(&two, WR_BLOB, WR_S("two"));
	oid_of(&three, WR_BLOB, WR_S("three"));
	pb_begin(&b, 2);
	pb_object(&b, WR_BLOB, WR_S("one"));
	pb_object(&b, WR_BLOB, WR_S("two"));
	assert_ok(push(f, pb_end(&b), "refs/x/one", &one));
	wr_buf_fini(&b.out);
	pb_begin(&b, 2);
	pb_ref_delta(&b, &one, insert(delta, 3, "two"));
	pb_ref_delta(&b, &two, insert(delta, 3, "three"));
	assert_ok(push(f, pb_end(&b), "refs/x/three", &three));
	wr_buf_fini(&b.out);
}

/* Deltas on each other have no beginning. */
static void delta_circle(void **state)
{
	struct fx *f = *state;
	struct wr_oid one, two;
	char delta[64];
	struct pb b;

	oid_of(&one, WR_BLOB, WR_S("one"));
	oid_of(&two, WR_BLOB, WR_S("two"));
	pb_begin(&b, 2);
	pb_ref_delta(&b, &two, insert(delta, 3, "one"));
	pb_ref_delta(&b, &one, insert(delta, 3, "two"));
	assert_refused(f, pb_end(&b), "missing delta base");
	wr_buf_fini(&b.out);
}

static void chain_of(struct fx *f, unsigned deltas_wanted, enum wr_code expected)
{
	char delta[64], text[32];
	struct wr_oid last;
	size_t at;
	struct pb b;

	pb_begin(&b, deltas_wanted + 1);
	at = pb_object(&b, WR_BLOB, WR_S("000000"));
	for (unsigned i = 1; i <= deltas_wanted; i++) {
		size_t distance = b.out.len - at;

		snprintf(text, sizeof(text), "%06u", i);
		at = pb_ofs_delta(&b, distance, insert(delta, 6, text));
	}
	assert_int_equal(try_pack(f, pb_end(&b)), expected);
	if (expected == WR_OK) {
		WR_AUTO(wr_snapshot) *snap = NULL;
		WR_AUTO_S(wr_object) obj = {.data = NULL};

		oid_of(&last, WR_BLOB, wr_str(text));
		assert_ok(push(f, wr_buf_str(&b.out), "refs/x/y", &last));
		assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
		assert_ok(wr_snapshot_read(&obj, snap, &last, &f->err));
		assert_string_equal((char *)obj.data, text);
	}
	wr_buf_fini(&b.out);
}

static void long_chains(void **state)
{
	chain_of(*state, WR_DELTA_DEPTH, WR_OK);
	chain_of(*state, WR_DELTA_DEPTH + 1, WR_E_BAD_PACK);
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
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) content = WR_BUF_INIT(16u << 20);
	WR_AUTO(wr_quarantine) *q = NULL;
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
	assert_ok(take_pack(&q, f, pb_end(&b)));
	wr_buf_fini(&b.out);
}

/* ---- connectivity ---- */

static void missing_objects(void **state)
{
	struct fx *f = *state;
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
		assert_refused(f, pb_end(&b), words);
		wr_buf_fini(&b.out);
	}
}

/* The same, each with what was missing in the store. */
static void the_store_completes(void **state)
{
	struct fx *f = *state;
	struct small s;
	struct pb b;

	make_small(&s);
	pb_begin(&b, 1);
	pb_object(&b, WR_BLOB, s.blob_text);
	assert_ok(push(f, pb_end(&b), "refs/x/blob", &s.blob));
	wr_buf_fini(&b.out);
	pb_begin(&b, 2);
	pb_object(&b, WR_COMMIT, s.commit_text);
	pb_object(&b, WR_TREE, s.tree_text);
	assert_ok(push(f, pb_end(&b), "refs/heads/main", &s.commit));
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
	struct fx *f = *state;
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
			assert_int_equal(try_pack(f, pb_end(&b)), WR_E_BAD_PACK);
			if (!strstr(f->err.text, tries[i].words) &&
			    !strstr(f->err.text, "is a tree where a blob is needed") &&
			    !strstr(f->err.text, "is a commit where a tree is needed"))
				fail_msg("%zu: %s", i, f->err.text);
			wr_buf_fini(&b.out);
		}
		if (!stored) {
			struct pb b;

			pb_begin(&b, 3);
			put_small(&b, &s);
			assert_ok(push(f, pb_end(&b), "refs/heads/main", &s.commit));
			wr_buf_fini(&b.out);
		}
	}
}

static enum wr_code try_tree(struct fx *f, struct wr_str entries, const char *words)
{
	struct pb b;
	enum wr_code code;

	pb_begin(&b, 2);
	pb_object(&b, WR_TREE, entries);
	pb_object(&b, WR_BLOB, WR_S(""));
	code = try_pack(f, pb_end(&b));
	if (words && (code != WR_E_BAD_PACK || !strstr(f->err.text, words)))
		fail_msg("expected '%s', got code %d: %s", words, code, f->err.text);
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
	struct fx *f = *state;
	static const struct {
		const char *entries[3];
		size_t count;
		const char *words; /* NULL: fine */
	} trees[] = {
		{{"100644 a", "100644 b", "160000 c"}, 3, NULL},
		{{"0100644 a", "100664 b", "120000 c"}, 3, NULL},
		{{"100644 a", "100755 a.b", "100644 a0"}, 3, NULL},
		{{"160000 x", NULL, NULL}, 1, NULL},
		{{"100644 b", "100644 a", NULL}, 2, "not in order"},
		{{"100644 a", "100644 a", NULL}, 2, "same name"},
		{{"100644 a", "160000 a", NULL}, 2, "same name"},
		{{"100644 .", NULL, NULL}, 1, "forbidden name"},
		{{"100644 ..", NULL, NULL}, 1, "forbidden name"},
		{{"100644 .git", NULL, NULL}, 1, "forbidden name"},
		{{"160000 .GiT", NULL, NULL}, 1, "forbidden name"},
		{{"100644 a/b", NULL, NULL}, 1, "slash"},
		{{"10644 a", NULL, NULL}, 1, "unknown mode"},
		{{"0 a", NULL, NULL}, 1, "unknown mode"},
		{{"100644 ", NULL, NULL}, 1, "no name"},
		{{"100644", NULL, NULL}, 1, "no mode"},
	};
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 16);

	for (size_t i = 0; i < WR_ARRAY_LEN(trees); i++) {
		enum wr_code code = try_tree(f, tree_of(&text, trees[i].count, trees[i].entries), trees[i].words);

		assert_int_equal(code, trees[i].words ? WR_E_BAD_PACK : WR_OK);
	}
	assert_ok(try_tree(f, WR_S(""), NULL));
}

static void malformed_objects(void **state)
{
	struct fx *f = *state;
	struct pb b;

	pb_begin(&b, 1);
	pb_object(&b, WR_COMMIT, WR_S("author A <a> 1 +0000\n\nm\n"));
	assert_refused(f, pb_end(&b), "commit ");
	assert_non_null(strstr(f->err.text, "does not begin with its tree"));
	wr_buf_fini(&b.out);
	pb_begin(&b, 1);
	pb_object(&b, WR_TAG, WR_S("object " EMPTY_TREE "\ntype nothing\n"));
	assert_refused(f, pb_end(&b), "unknown type");
	wr_buf_fini(&b.out);
}

/* Objects that lie in mapped files while they are worked on. */
static void large_objects(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) back = WR_BUF_INIT(256u << 20);
	struct wr_oid oid;

	sh(f, "git init -q work; cd work; head -c 20000000 /dev/zero | tr '\\0' x > big; echo one >> big; git add big; "
	      "git commit -qm 1; (cat big; head -c 100000 /dev/urandom) > b2; mv b2 big; git commit -qam 2; git repack "
	      "-adfq");
	sh_out(f, &back, "cd work; git verify-pack -v .git/objects/pack/*.idx | grep -c ' blob .* 1 '");
	assert_string_equal(back.ptr, "1\n");
	push_all(f, "work");
	sh_oid(f, &oid, "git -C work rev-parse HEAD:big");
	{
		WR_AUTO(wr_snapshot) *snap = NULL;
		WR_AUTO_S(wr_object) obj = {.data = NULL};
		struct wr_oid again;

		assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
		assert_ok(wr_snapshot_read(&obj, snap, &oid, &f->err));
		assert_int_equal(obj.size, 20000004 + 100000);
		oid_of(&again, WR_BLOB, wr_str_n(obj.data, obj.size));
		assert_true(wr_oid_eq(&oid, &again));
	}
}

/* ---- what real git sends ---- */

/* A thin pack on what was pushed before: completed from the store, and refused where the store lacks the bases. */
static void thin_pack_is_completed(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) full = WR_BUF_INIT(64u << 20);
	WR_AUTO_S(wr_buf) thin = WR_BUF_INIT(64u << 20);
	struct wr_oid old, new;

	sh(f, "git init -q work; cd work; seq 1 3000 > f; seq 5000 9000 > g; git add .; git commit -qm 1; "
	      "echo more >> f; echo more >> g; git commit -qam 2");
	sh_oid(f, &old, "git -C work rev-parse HEAD~1");
	sh_oid(f, &new, "git -C work rev-parse HEAD");
	sh_out(f, &full, "cd work; echo HEAD~1 | git pack-objects --revs --stdout -q");
	sh_out(f, &thin, "cd work; printf 'HEAD\\n^HEAD~1\\n' | git pack-objects --revs --stdout --thin -q");
	assert_true(thin.len < 2000);
	assert_refused(f, wr_buf_str(&thin), "missing delta base");
	assert_ok(push(f, wr_buf_str(&full), "refs/heads/main", &old));
	assert_ok(push(f, wr_buf_str(&thin), "refs/heads/main", &new));
	sh(f, "cd data/repos/01/23/*.git && for i in objects/pack/*.idx; do git verify-pack $i; done");
	sh(f, "cd data/repos/01/23/*.git && git update-ref refs/heads/main $(git -C ../../../../../work rev-parse "
	      "HEAD) && "
	      "git fsck --strict");
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
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(64u << 20);
	unsigned calls = 0;
	enum wr_code code;

	make_history(f, "work", 60);
	sh_out(f, &pack, "git -C work pack-objects --all --stdout -q </dev/null");
	for (unsigned limit = 0; limit < 3; limit++) {
		struct dribble src = {{dribble_read}, wr_buf_str(&pack), 1};
		const struct wr_progress progress = {progress_add, &calls};
		unsigned left = limit;
		const struct wr_cancel cancel = {stop_now, &left};
		WR_AUTO(wr_quarantine) *q = NULL;

		assert_ok(wr_quarantine_new(&q, f->repo, &f->err));
		code = wr_quarantine_pack(q, &src.base, &progress, limit == 2 ? NULL : &cancel, &f->err);
		assert_int_equal(code, limit == 2 ? WR_OK : WR_E_CANCELLED);
	}
	assert_true(calls > 1000 && calls < 1200);
	nothing_is_left(f);
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
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) content = WR_BUF_INIT(SIZE + 1);
	WR_AUTO(wr_quarantine) *q = NULL;
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
	assert_ok(wr_quarantine_new(&q, f->repo, &f->err));
	assert_ok(wr_quarantine_pack(q, &src.base, NULL, &cancel, &f->err));
	assert_in_range(asked.times, 2 * DEPTH * SIZE / (16 << 20), 3 * DEPTH * SIZE / (16 << 20) + 8);
	wr_buf_fini(&b.out);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
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
		T(malformed_objects),
		T(large_objects),
		T(thin_pack_is_completed),
		T(progress_and_cancel),
	};

	return cmocka_run_group_tests_name("git_index", tests, NULL, NULL);
}
