/* Checkpoints against a model: what git says that refs reach, and every object that ever came. */
#include "tests/unit/checkpoint_fixture.h"

/* ---- by chance ---- */

struct choice {
	struct wr_oids commits, tags;
};

static void choices(struct ck *c, struct choice *all, unsigned commits)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(16u << 20);

	sh(&c->f, "rm -rf src");
	make_history(&c->f, "src", commits);
	sh_out(&c->f, &text, "git -C src rev-list --all");
	oids_of(&all->commits, &text);
	sh_out(&c->f, &text, "git -C src for-each-ref refs/tags --format='%%(objectname)'");
	oids_of(&all->tags, &text);
}

static void one_change(struct ck *c, const struct choice *all)
{
	char ref[64];
	unsigned kind = chance(&c->f, 10);
	enum how how = chance(&c->f, 3) == 0 ? AS_PACK : AS_RECORD;
	const struct wr_oid *value = &all->commits.v[chance(&c->f, (unsigned)all->commits.len)];
	struct wr_oid old;

	if (kind < 6) {
		snprintf(ref, sizeof ref, "refs/heads/b%u", chance(&c->f, 4));
	} else if (kind < 8 && all->tags.len) {
		value = &all->tags.v[chance(&c->f, (unsigned)all->tags.len)];
		snprintf(ref, sizeof ref, "refs/tags/t%u", chance(&c->f, 3));
	} else {
		snprintf(ref, sizeof ref, "refs/pull/%u", chance(&c->f, 3));
	}
	old = ck_ref(c, ref).oid;
	if (!wr_oid_zero(&old) && chance(&c->f, 6) == 0)
		ck_push(c, ref, NULL, how);
	else if (!wr_oid_eq(&old, value))
		ck_push(c, ref, value, how);
}

static void whatever_happens_base_and_tails_are_the_closure(void **state)
{
	struct ck *c = *state;
	struct choice all = {{NULL, 0, 0}, {NULL, 0, 0}};
	unsigned lost = 0, gained = 0;

	choices(c, &all, 120);
	for (unsigned i = 0; i < rounds(30); i++) {
		for (unsigned n = 1 + chance(&c->f, 5); n > 0; n--)
			one_change(c, &all);
		lost += c->snap->lost;
		ck_checkpoint(c);
		gained += c->last.gained;
		ck_check(c);
	}
	assert_true(rounds(30) < 20 || (lost > 0 && gained > 20));
	wr_oids_fini(&all.commits);
	wr_oids_fini(&all.tags);
}

/* History that only grows: nothing is walked twice, and merges keep the packs few. */
static void growth_keeps_few_packs(void **state)
{
	struct ck *c = *state;
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);
	WR_AUTO_S(wr_oids) line = {NULL, 0, 0};
	uint64_t gained = 0;

	sh(&c->f, "rm -rf src");
	make_history(&c->f, "src", 150);
	sh_out(&c->f, &text, "git -C src rev-list --first-parent --reverse --max-count=60 b1");
	oids_of(&line, &text);
	for (size_t i = 0; i < line.len; i++) {
		ck_push(c, "refs/heads/b0", &line.v[i], i % 5 == 4 ? AS_PACK : AS_RECORD);
		assert_false(c->snap->lost);
		ck_checkpoint(c);
		gained += c->last.gained;
		assert_int_equal(c->last.died, 0);
		assert_true(c->snap->member_count < 8);
		if (i % 10 == 9)
			ck_check(c);
	}
	ck_check(c);
	/* Each object was gained once. */
	ck_list(c, "closure", true, true);
	sh_out(&c->f, &text, "wc -l < closure");
	assert_int_equal(strtoul(text.ptr, NULL, 10), gained);
}

/* ---- by hand ---- */

/* A blob of src whose bytes do not compress. */
static void noise(struct ck *c, struct wr_oid *out, unsigned bytes)
{
	sh_oid(&c->f, out, "head -c %u /dev/urandom | git -C src hash-object -w --stdin", bytes);
}

static void small_appends_do_not_rewrite_a_large_base(void **state)
{
	struct ck *c = *state;
	const struct wr_pack *base;
	uint64_t first;
	struct wr_oid oid;
	char ref[64];

	noise(c, &oid, 4000000);
	ck_push(c, "refs/tags/large", &oid, AS_RECORD);
	ck_checkpoint(c);
	assert_int_equal(c->snap->member_count, 1);
	base = c->snap->members[0].pack;
	first = c->written;
	c->appended = 0;
	for (unsigned i = 0; i < 64; i++) {
		noise(c, &oid, 12000);
		snprintf(ref, sizeof ref, "refs/tags/t%u", i);
		ck_push(c, ref, &oid, AS_RECORD);
		ck_checkpoint(c);
		assert_false(c->last.rebased);
		assert_ptr_equal(c->snap->members[0].pack, base);
		assert_true(c->snap->member_count <= 8);
	}
	assert_true(c->written - first <= 6 * c->appended);
	ck_check(c);
	/* A quarter more is too much. */
	noise(c, &oid, 400000);
	ck_push(c, "refs/tags/more", &oid, AS_RECORD);
	ck_checkpoint(c);
	assert_true(c->last.rebased);
	assert_int_equal(c->snap->member_count, 1);
	ck_check(c);
}

static void large_pushed_packs_stay_as_they_are(void **state)
{
	struct ck *c = *state;
	struct wr_oid small, large, larger;

	noise(c, &small, 1000);
	noise(c, &large, 1500000);
	noise(c, &larger, 8000000);
	ck_push(c, "refs/tags/a", &large, AS_PACK);
	ck_push(c, "refs/tags/b", &larger, AS_PACK);
	ck_push(c, "refs/tags/c", &small, AS_PACK);
	ck_checkpoint(c);
	/* The largest is the base; nothing but the small one was written. */
	assert_int_equal(c->snap->member_count, 3);
	assert_int_equal(c->snap->members[0].role, WR_ROLE_BASE);
	assert_true(c->snap->members[0].pack->size > 8000000);
	assert_int_equal(c->snap->members[1].role, WR_ROLE_TAIL);
	assert_true(c->last.written < 10000);
	assert_int_equal(c->last.gained, 3);
	ck_check(c);
	/* One that is outside stays outside, and comes in with a tag. */
	noise(c, &large, 1600000);
	ck_push(c, "refs/pull/1", &large, AS_PACK);
	ck_checkpoint(c);
	assert_int_equal(c->last.gained, 0);
	assert_int_equal(c->snap->members[3].role, WR_ROLE_OTHER);
	ck_check(c);
	ck_push(c, "refs/tags/d", &large, AS_RECORD);
	ck_checkpoint(c);
	assert_int_equal(c->last.gained, 1);
	ck_check(c);
}

static void what_dies_stays_until_the_base_is_written_anew(void **state)
{
	struct ck *c = *state;
	struct wr_oid large, small, last;
	const struct wr_pack *base;

	noise(c, &large, 1000000);
	noise(c, &small, 2000);
	noise(c, &last, 900000);
	ck_push(c, "refs/tags/large", &large, AS_RECORD);
	ck_push(c, "refs/tags/small", &small, AS_RECORD);
	ck_push(c, "refs/tags/last", &last, AS_RECORD);
	ck_checkpoint(c);
	base = c->snap->members[0].pack;
	ck_push(c, "refs/tags/small", NULL, AS_RECORD);
	assert_true(c->snap->lost);
	ck_checkpoint(c);
	assert_int_equal(c->last.died, 1);
	assert_ptr_equal(c->snap->members[0].pack, base);
	assert_int_equal(c->snap->members[0].dead->count, 1);
	ck_check(c);
	/* It lives again without being copied. */
	ck_push(c, "refs/tags/again", &small, AS_RECORD);
	assert_false(c->snap->lost);
	ck_checkpoint(c);
	assert_int_equal(c->last.gained, 1);
	assert_null(c->snap->members[0].dead);
	ck_check(c);
	/* Half of the base is too much. */
	ck_push(c, "refs/tags/last", NULL, AS_RECORD);
	ck_checkpoint(c);
	assert_true(c->last.rebased);
	assert_int_equal(c->snap->member_count, 2);
	assert_int_equal(c->snap->members[1].role, WR_ROLE_CRUFT);
	ck_check(c);
	/* And all of it. */
	ck_push(c, "refs/tags/large", NULL, AS_RECORD);
	ck_push(c, "refs/tags/again", NULL, AS_RECORD);
	ck_checkpoint(c);
	for (size_t i = 0; i < c->snap->member_count; i++)
		assert_int_equal(c->snap->members[i].role, WR_ROLE_CRUFT);
	ck_check(c);
}

/* A delta for two texts of the same 600 bytes with another one behind them. */
static size_t tail_delta(uint8_t out[32], char last)
{
	const uint8_t delta[] = {0xd9, 0x04, 0xd9, 0x04, 0xb0, 0x58, 0x02, 1, (uint8_t)last};

	memcpy(out, delta, sizeof delta);
	return sizeof delta;
}

/*
 * A journal has a, a delta on b (which the repository had). Later a pack comes that repeats both the other way round: b
 * a delta on a. The youngest b and the only findable a in journals are then deltas on each other.
 */
static void deltas_on_each_other_are_parted(void **state)
{
	struct ck *c = *state;
	char a[602], b[602];
	struct wr_oid oid[2];
	uint8_t delta[32];
	size_t n;

	memset(a, 'x', 600);
	memcpy(b, a, 600);
	a[600] = 'a';
	b[600] = 'b';
	for (unsigned i = 0; i < 2; i++) {
		write_whole(&c->f, "blob", wr_str_n(i ? b : a, 601));
		sh_oid(&c->f, &oid[i], "git -C src hash-object -w ../blob");
	}
	/* b, reached by no head. */
	ck_push(c, "refs/pull/b", &oid[1], AS_PACK);
	/* a, as a delta on a known b. */
	{
		WR_AUTO_S(wr_buf) raw = WR_BUF_INIT(4096);
		struct pb e = {WR_BUF_INIT(4096)};
		struct wr_record_update u;
		struct wr_record_object rows[2] = {0};
		struct wr_record rec = {.updates = &u, .update_count = 1, .objects = rows, .object_count = 2};
		size_t at;

		ck_update(&u, c, "refs/tags/a", &oid[0]);
		pb_object(&e, WR_BLOB, wr_str_n(b, 601));
		at = e.out.len;
		n = tail_delta(delta, 'a');
		pb_ref_delta(&e, &oid[1], wr_str_n(delta, n));
		rows[0] = (struct wr_record_object){
			.oid = oid[1],
			.type = WR_BLOB,
			.known = true,
			.base = WR_NO_ROW,
			.size = 601,
			.raw = (uint8_t *)e.out.ptr,
			.raw_len = (uint32_t)at,
		};
		rows[1] = (struct wr_record_object){
			.oid = oid[0],
			.type = WR_BLOB,
			.depth = 1,
			.base = 0,
			.size = 601,
			.raw = (uint8_t *)e.out.ptr + at,
			.raw_len = (uint32_t)(e.out.len - at),
		};
		ck_append(c, &rec, NULL);
		wr_buf_fini(&e.out);
	}
	/* A pack with both, b on a. */
	{
		struct pb p;
		struct wr_record_update u;
		struct wr_record rec = {.updates = &u, .update_count = 1, .has_pack = true};
		WR_AUTO_S(wr_buf) name = WR_BUF_INIT(4096);
		struct wr_pack *pack = NULL;
		size_t first, second;

		pb_begin(&p, 2);
		first = pb_object(&p, WR_BLOB, wr_str_n(a, 601));
		n = tail_delta(delta, 'b');
		second = p.out.len;
		pb_ofs_delta(&p, second - first, wr_str_n(delta, n));
		write_whole(&c->f, "p.pack", pb_end(&p));
		wr_buf_fini(&p.out);
		sh_out(&c->f, &name, "n=$(git -C r.git index-pack --rev-index --stdin < p.pack); echo pack-${n#pack?}");
		name.ptr[WR_PACK_NAME] = '\0';
		assert_ok(wr_pack_open(&pack, c->packs, name.ptr, &c->f.err));
		assert_true(wr_unhex(rec.pack, WR_PACK_ID, wr_str(name.ptr + 5)));
		ck_update(&u, c, "refs/tags/b", &oid[1]);
		ck_append(c, &rec, pack);
	}
	wr_buf_clear(&c->pushed);
	for (unsigned i = 0; i < 2; i++) {
		char hex[WR_OID_HEX + 1];
		struct wr_place place;
		struct wr_stored e;

		wr_oid_hex(hex, &oid[i]);
		wr_buf_printf(&c->pushed, "%s\n", hex);
		assert_true(wr_snapshot_find(&place, c->snap, &oid[i]));
		assert_ok(wr_snapshot_stored(&e, c->snap, place, &c->f.err));
		assert_true(e.kind > WR_TAG);
	}
	ck_checkpoint(c);
	assert_int_equal(c->last.gained, 2);
	ck_check(c);
}

/* Chains that grow by a delta in each record are cut, so that reading never gets slow. */
static void chains_are_cut(void **state)
{
	struct ck *c = *state;
	struct wr_oid oid = {{0}}, last;
	unsigned deepest = 0;
	char text[601];

	memset(text, 'x', 600);
	for (unsigned i = 0; i < 600; i++) {
		struct pb e = {WR_BUF_INIT(4096)};
		struct wr_record_update u = {.name = WR_S("refs/pull/1")};
		struct wr_record_object row = {.type = WR_BLOB, .depth = (uint16_t)i, .base = WR_NO_ROW, .size = 604};
		struct wr_record rec = {.updates = &u, .update_count = 1, .objects = &row, .object_count = 1};
		char whole[608], hex[WR_OID_HEX + 1];

		last = oid;
		memcpy(whole, text, 600);
		snprintf(whole + 600, 5, "%04u", i);
		oid_of(&oid, WR_BLOB, wr_str_n(whole, 604));
		if (i == 0) {
			pb_object(&e, WR_BLOB, wr_str_n(whole, 604));
		} else {
			uint8_t delta[] = {0xdc, 0x04, 0xdc, 0x04, 0xb0, 0x58, 0x02, 4, 0, 0, 0, 0};

			memcpy(delta + 8, whole + 600, 4);
			pb_ref_delta(&e, &last, wr_str_n(delta, sizeof delta));
		}
		row.oid = oid;
		row.raw = (uint8_t *)e.out.ptr;
		row.raw_len = (uint32_t)e.out.len;
		u.old = last;
		u.new = oid;
		ck_append(c, &rec, NULL);
		wr_oid_hex(hex, &oid);
		wr_buf_printf(&c->pushed, "%s\n", hex);
		write_whole(&c->f, "blob", wr_str_n(whole, 604));
		if (i % 100 == 99)
			sh(&c->f, "git -C src hash-object -w ../blob > /dev/null");
		wr_buf_fini(&e.out);
	}
	ck_checkpoint(c);
	/* Only the last one is reached. */
	assert_int_equal(c->snap->member_count, 2);
	assert_int_equal(c->snap->members[0].pack->count, 599);
	for (uint32_t pos = 0; pos < 599; pos++) {
		unsigned depth;

		assert_ok(wr_snapshot_depth(&depth, c->snap, (struct wr_place){0, pos}, &c->f.err));
		deepest = depth > deepest ? depth : deepest;
	}
	assert_int_equal(deepest, WR_PACK_CHAIN);
	sh(&c->f, "git -C r.git fsck --full --strict --no-dangling");
}

/* ---- what goes wrong ---- */

static unsigned files(struct ck *c)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(4096);

	sh_out(&c->f, &text, "ls r.git/objects/pack r.git/warren | wc -l");
	return (unsigned)strtoul(text.ptr, NULL, 10);
}

static bool yes(void *arg)
{
	unsigned *left = arg;

	return *left == 0 || --*left == 0;
}

static void a_cancelled_one_leaves_nothing(void **state)
{
	struct ck *c = *state;
	struct choice all = {{NULL, 0, 0}, {NULL, 0, 0}};
	WR_AUTO_S(wr_checkpoint) made = {0};
	enum wr_code code = WR_E_CANCELLED;
	unsigned before, at;

	choices(c, &all, 60);
	for (unsigned i = 0; i < 12; i++)
		one_change(c, &all);
	before = files(c);
	for (at = 1; code == WR_E_CANCELLED; at++) {
		unsigned left = at;
		const struct wr_cancel cancel = {yes, &left};

		code = wr_checkpoint_build(&made, c->snap, c->packs, c->warren, 1000, &c->how, &cancel, &c->f.err);
		assert_true(code == WR_OK || code == WR_E_CANCELLED);
		assert_true(code == WR_OK || files(c) == before);
	}
	assert_true(at > 2);
	wr_oids_fini(&all.commits);
	wr_oids_fini(&all.tags);
}

static void damage_is_not_copied(void **state)
{
	struct ck *c = *state;
	WR_AUTO_S(wr_checkpoint) made = {0};
	struct wr_oid oid;
	unsigned before;

	noise(c, &oid, 5000);
	ck_push(c, "refs/tags/a", &oid, AS_PACK);
	/* The map of the open pack shows what is written to its file. */
	sh(&c->f, "cd r.git/objects/pack; chmod u+w *.pack; "
		  "printf XX | dd of=$(echo *.pack) bs=1 seek=2000 conv=notrunc 2>/dev/null");
	before = files(c);
	assert_int_equal(ck_build(&made, c), WR_E_INTERNAL);
	assert_int_equal(files(c), before);
}

static void a_missing_object_is_told(void **state)
{
	struct ck *c = *state;
	WR_AUTO_S(wr_checkpoint) made = {0};
	struct wr_record_update u = {.name = WR_S("refs/heads/b0"), .new = {{1, 2, 3}}};
	struct wr_record rec = {.updates = &u, .update_count = 1};

	ck_append(c, &rec, NULL);
	assert_int_equal(ck_build(&made, c), WR_E_INTERNAL);
	assert_non_null(strstr(c->f.err.detail, "missing"));
}

static void an_empty_one(void **state)
{
	struct ck *c = *state;

	ck_checkpoint(c);
	assert_int_equal(c->snap->member_count, 0);
	ck_check(c);
}

/* ---- export ---- */

static void exports_only_what_differs(void **state)
{
	struct ck *c = *state;
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(4096);
	WR_AUTO_S(wr_buf) again = WR_BUF_INIT(4096);
	struct choice all = {{NULL, 0, 0}, {NULL, 0, 0}};

	choices(c, &all, 30);
	ck_push(c, "refs/heads/b0", &all.commits.v[0], AS_RECORD);
	ck_push(c, "refs/tags/t", &all.tags.v[0], AS_RECORD);
	ck_checkpoint(c);
	sh_out(&c->f, &text, "cd r.git; stat -c '%%i %%Y' packed-refs HEAD");
	assert_ok(wr_checkpoint_export(c->dir, c->snap, WR_S("b0"), &c->f.err));
	sh_out(&c->f, &again, "cd r.git; stat -c '%%i %%Y' packed-refs HEAD");
	assert_true(wr_str_eq(wr_buf_str(&text), wr_buf_str(&again)));
	sh(&c->f, "cd r.git; cp packed-refs kept; git pack-refs --all; cmp packed-refs kept; rm kept");
	sh(&c->f, "git clone -q r.git clone; git -C clone log --oneline > /dev/null; test ! -e r.git/shallow");
	sh(&c->f, "test \"$(git -C r.git symbolic-ref HEAD)\" = refs/heads/b0");
	assert_ok(wr_checkpoint_export(c->dir, c->snap, WR_S("other"), &c->f.err));
	sh(&c->f, "test \"$(git -C r.git symbolic-ref HEAD)\" = refs/heads/other");
	wr_oids_fini(&all.commits);
	wr_oids_fini(&all.tags);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, ck_setup, ck_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_empty_one),
		T(large_pushed_packs_stay_as_they_are),
		T(what_dies_stays_until_the_base_is_written_anew),
		T(deltas_on_each_other_are_parted),
		T(chains_are_cut),
		T(a_cancelled_one_leaves_nothing),
		T(damage_is_not_copied),
		T(a_missing_object_is_told),
		T(exports_only_what_differs),
		T(small_appends_do_not_rewrite_a_large_base),
		T(growth_keeps_few_packs),
		T(whatever_happens_base_and_tails_are_the_closure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
