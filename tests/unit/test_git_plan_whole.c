/*
 * Clones of all heads and tags, from bases and tails as they lie, with dead entries and with what came since: each pack
 * that a plan makes is one that git accepts, and holds exactly what git says that the wants reach.
 */
#include "tests/unit/checkpoint_fixture.h"

#include <signal.h>

#include "core/git/guard.h"
#include "core/git/plan_internal.h"
#include "core/git/reach.h"

static const struct wr_oids none = {NULL, 0, 0};

/* What plans of a test had to do with. */
struct seen {
	unsigned whole, tails, extra, dead, moved, plain;
};

static bool is_head_or_tag(struct wr_str name)
{
	return wr_str_starts(name, WR_S("refs/heads/")) || wr_str_starts(name, WR_S("refs/tags/"));
}

static void want_refs(struct wr_oids *out, struct ck *c, const char *prefix)
{
	const struct wr_ref *refs;
	size_t n;

	assert_ok(wr_snapshot_flatten(c->snap, NULL));
	refs = wr_snapshot_refs(c->snap, &n);
	for (size_t i = 0; i < n; i++)
		if (prefix ? wr_str_starts(refs[i].name, wr_str(prefix)) : is_head_or_tag(refs[i].name))
			assert_ok(wr_oids_add(out, &refs[i].oid, NULL));
}

static void list_to(struct ck *c, const char *file, const struct wr_oids *list)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(4u << 20);
	char hex[WR_OID_HEX + 1];

	for (size_t i = 0; i < list->len; i++) {
		wr_oid_hex(hex, &list->v[i]);
		wr_buf_printf(&text, "%s\n", hex);
	}
	write_whole(&c->f, file, wr_buf_str(&text));
}

static void note(struct seen *seen, const struct wr_plan *plan)
{
	seen->whole += plan->whole_count > 0;
	seen->plain += plan->whole_count == 0;
	seen->tails += plan->whole_count > 1;
	seen->extra += plan->whole_count && plan->count;
	for (size_t i = 0; i < plan->whole_count; i++) {
		seen->dead += plan->snap->members[plan->wholes[i].src].dead != NULL;
		for (size_t k = 0; k < plan->wholes[i].len; k++)
			seen->moved += !plan->wholes[i].shifts[k].dead;
	}
}

/* Writes the pack into out.pack, twice: the second time the trailer may be remembered. */
static void plan_to(struct ck *c, struct seen *seen, const struct wr_plan_request *req)
{
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(64u << 20);
	WR_AUTO_S(wr_buf) again = WR_BUF_INIT(64u << 20);

	assert_ok(wr_snapshot_flatten(c->snap, &c->f.err));
	for (int i = 0; i < 2; i++) {
		WR_AUTO(wr_plan) *plan = NULL;
		struct wr_buf_sink sink;

		wr_buf_sink_init(&sink, i ? &again : &pack);
		assert_ok(wr_plan_new(&plan, c->snap, req, NULL, NULL, &c->f.err));
		assert_ok(wr_plan_write(plan, &sink.base, NULL, NULL, &c->f.err));
		assert_int_equal(wr_be32((const uint8_t *)(i ? again.ptr : pack.ptr) + 8), wr_plan_objects(plan));
		if (!i)
			note(seen, plan);
	}
	assert_true(wr_str_eq(wr_buf_str(&pack), wr_buf_str(&again)));
	write_whole(&c->f, "out.pack", wr_buf_str(&pack));
}

/* Exactly what the wants reach, each once, in a pack that stands for itself. */
static void clone_of(struct ck *c, struct seen *seen, const struct wr_oids *wants, bool ofs_delta)
{
	const struct wr_plan_request req = {.wants = wants,
					    .haves = &none,
					    .client_shallow = &none,
					    .thin = true,
					    .include_tag = chance(&c->f, 2),
					    .ofs_delta = ofs_delta};

	plan_to(c, seen, &req);
	list_to(c, "wants", wants);
	sh(&c->f, "rm -rf client; git init -q --bare client; "
		  "git -C client index-pack --strict --stdin <out.pack >/dev/null; "
		  "git show-index <$(echo client/objects/pack/*.idx) | cut -d' ' -f2 | sort >got; "
		  "git -C src rev-list --objects --stdin <wants | cut -c1-40 | sort >may");
	if (req.include_tag)
		/* Tags go along whose object does: then they are all that is more. */
		sh(&c->f, "test -z \"$(comm -23 may got)\"; for i in $(comm -13 may got); do "
			  "test $(git -C src cat-file -t $i) = tag; git -C src rev-parse $i^{}; done | sort -u >led; "
			  "test -z \"$(comm -23 led may)\"");
	else
		sh(&c->f, "cmp got may");
}

static void clone_all(struct ck *c, struct seen *seen)
{
	WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};

	want_refs(&wants, c, NULL);
	if (wants.len)
		clone_of(c, seen, &wants, true);
}

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
	unsigned kind = chance(&c->f, 10);
	const struct wr_oid *value = &all->commits.v[chance(&c->f, (unsigned)all->commits.len)];
	struct wr_oid old;
	char ref[64];

	if (kind < 5) {
		snprintf(ref, sizeof ref, "refs/heads/b%u", chance(&c->f, 40));
	} else if (kind < 8 && all->tags.len) {
		value = &all->tags.v[chance(&c->f, (unsigned)all->tags.len)];
		snprintf(ref, sizeof ref, "refs/tags/t%u", chance(&c->f, 20));
	} else {
		snprintf(ref, sizeof ref, "refs/pull/%u", chance(&c->f, 3));
	}
	old = ck_ref(c, ref).oid;
	if (!wr_oid_zero(&old) && chance(&c->f, 12) == 0)
		ck_push(c, ref, NULL, AS_RECORD);
	else if (wr_oid_zero(&old) || (chance(&c->f, 8) == 0 && !wr_oid_eq(&old, value)))
		ck_push(c, ref, value, chance(&c->f, 3) == 0 ? AS_PACK : AS_RECORD);
}

/* Some of the refs only, or what lies behind them. */
static void some_wants(struct wr_oids *out, struct ck *c)
{
	WR_AUTO_S(wr_oids) all = {NULL, 0, 0};

	want_refs(&all, c, chance(&c->f, 2) ? "refs/heads/" : "refs/");
	for (unsigned n = 1 + chance(&c->f, 3); all.len && n > 0; n--)
		assert_ok(wr_oids_add(out, &all.v[chance(&c->f, (unsigned)all.len)], NULL));
}

static void a_fetch(struct ck *c, struct seen *seen)
{
	WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) haves = {NULL, 0, 0};
	const struct wr_plan_request req = {.wants = &wants,
					    .haves = &haves,
					    .client_shallow = &none,
					    .thin = chance(&c->f, 2),
					    .ofs_delta = chance(&c->f, 2)};

	some_wants(&haves, c);
	want_refs(&wants, c, NULL);
	if (!wants.len || !haves.len)
		return;
	plan_to(c, seen, &req);
	list_to(c, "wants", &wants);
	list_to(c, "haves", &haves);
	sh(&c->f, "rm -rf client; git init -q --bare client; git -C src pack-objects -q --revs --stdout <haves | "
		  "git -C client index-pack --stdin >/dev/null; "
		  "git -C client index-pack %s --stdin <out.pack >/dev/null; "
		  "git -C client cat-file --batch-all-objects --batch-check='%%(objectname)' | sort >got; "
		  "cat wants haves | git -C src rev-list --objects --stdin | cut -c1-40 | sort >may; cmp got may",
	   req.thin ? "--fix-thin" : "--strict");
}

static void whatever_happens_a_clone_has_what_its_wants_reach(void **state)
{
	struct ck *c = *state;
	struct choice all = {{NULL, 0, 0}, {NULL, 0, 0}};
	struct seen seen = {0};

	choices(c, &all, 120);
	for (unsigned i = 0; i < rounds(24); i++) {
		WR_AUTO_S(wr_oids) some = {NULL, 0, 0};

		for (unsigned n = 1 + chance(&c->f, 4); n > 0; n--)
			one_change(c, &all);
		if (i > 5 && chance(&c->f, 2))
			ck_checkpoint(c);
		clone_all(c, &seen);
		some_wants(&some, c);
		if (some.len)
			clone_of(c, &seen, &some, chance(&c->f, 4));
		a_fetch(c, &seen);
	}
	if (rounds(24) >= 24)
		assert_true(seen.whole > 0 && seen.plain > 10);
	wr_oids_fini(&all.commits);
	wr_oids_fini(&all.tags);
}

/* ---- one by one ---- */

static void a_base_alone_is_its_file(void **state)
{
	struct ck *c = *state;
	WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};
	struct wr_plan_request req = {.wants = &wants, .haves = &none, .client_shallow = &none, .ofs_delta = true};
	struct seen seen = {0};
	struct wr_oid tip;

	make_history(&c->f, "src", 60);
	sh_oid(&c->f, &tip, "git -C src rev-parse b0");
	ck_push(c, "refs/heads/b0", &tip, AS_PACK);
	ck_checkpoint(c);
	want_refs(&wants, c, NULL);
	plan_to(c, &seen, &req);
	assert_int_equal(seen.whole, 1);
	sh(&c->f, "cmp out.pack r.git/objects/pack/*.pack");
	clone_all(c, &seen);
	/* A client that reads no distances gets the same objects by another way. */
	clone_of(c, &seen, &wants, false);
	assert_int_equal(seen.plain, 1);
	sh(&c->f, "n=$(git verify-pack -v client/objects/pack/*.idx | "
		  "grep -c '^[0-9a-f]\\{40\\} .* [0-9a-f]\\{40\\}$'); test $n -gt 30");
}

/* Stored packs hold what a filter leaves out. */
static void not_with_a_filter(void **state)
{
	struct ck *c = *state;
	WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};
	struct wr_filter filter = WR_FILTER_INIT;
	struct wr_plan_request req = {
		.wants = &wants, .haves = &none, .client_shallow = &none, .ofs_delta = true, .filter = &filter};
	struct seen seen = {0};
	struct wr_oid tip;

	make_history(&c->f, "src", 60);
	sh_oid(&c->f, &tip, "git -C src rev-parse b0");
	ck_push(c, "refs/heads/b0", &tip, AS_PACK);
	ck_checkpoint(c);
	want_refs(&wants, c, NULL);
	plan_to(c, &seen, &req);
	assert_int_equal(seen.whole, 1);
	for (unsigned i = 0; i < 3; i++) {
		static const char *const specs[] = {"blob:limit=3k", "tree:2", "object:type=commit"};

		assert_ok(wr_filter_parse(&filter, wr_str(specs[i]), &c->f.err));
		plan_to(c, &seen, &req);
		assert_int_equal(seen.plain, i + 1);
		sh(&c->f,
		   "git index-pack -o x.idx out.pack >/dev/null; git show-index <x.idx | cut -d' ' -f2 | sort >got; "
		   "git -C src rev-list --objects --no-object-names --filter=%s b0 | sort | cmp - got",
		   specs[i]);
	}
}

/*
 * A rewind takes away what others are deltas on, and leaves gaps between others and theirs. Before the next checkpoint
 * nobody knows what that is, so nothing goes whole.
 */
static void the_dead_stay_behind(void **state)
{
	struct ck *c = *state;
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);
	WR_AUTO_S(wr_oids) line = {NULL, 0, 0};
	struct seen seen = {0};
	struct wr_oid large;

	make_history(&c->f, "src", 200);
	sh_out(&c->f, &text, "git -C src rev-list --first-parent b0");
	oids_of(&line, &text);
	assert_true(line.len > 40);
	/* So much that the base is not written anew for what dies. */
	sh_oid(&c->f, &large, "head -c 4000000 /dev/urandom | git -C src hash-object -w --stdin");
	ck_push(c, "refs/tags/large", &large, AS_RECORD);
	ck_push(c, "refs/heads/b0", &line.v[0], AS_RECORD);
	ck_checkpoint(c);
	clone_all(c, &seen);
	assert_int_equal(seen.whole, 1);
	for (size_t i = 1; i < 4; i++) {
		ck_push(c, "refs/heads/b0", &line.v[i * 2], AS_RECORD);
		assert_true(c->snap->lost);
		seen = (struct seen){0};
		clone_all(c, &seen);
		assert_int_equal(seen.whole, 0);
		ck_checkpoint(c);
		clone_all(c, &seen);
		assert_int_equal(seen.whole, 1);
		assert_int_equal(seen.dead, 1);
		assert_true(seen.moved > 0);
	}
	/* What died comes again, in a record whose deltas are on what is alive. */
	ck_push(c, "refs/heads/new", &line.v[1], AS_RECORD);
	seen = (struct seen){0};
	clone_all(c, &seen);
	assert_int_equal(seen.whole, 1);
}

static void only_some_refs(void **state)
{
	struct ck *c = *state;
	WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};
	struct wr_oid tip[3];
	struct seen seen = {0};

	sh(&c->f, "rm -rf src; git init -q src; cd src; for i in 1 2 3; do git checkout -q --orphan s$i; "
		  "echo $i >f$i; git add .; "
		  "git commit -qm $i; git tag -am t t$i; done; mv .git ../s; cd ..; rm -rf src; mv s src");
	for (int i = 0; i < 3; i++) {
		char ref[32];

		sh_oid(&c->f, &tip[i], "git -C src rev-parse %s%d", i < 2 ? "s" : "t", i + 1);
		snprintf(ref, sizeof ref, i < 2 ? "refs/heads/s%d" : "refs/tags/t%d", i + 1);
		ck_push(c, ref, &tip[i], AS_RECORD);
	}
	ck_checkpoint(c);
	for (unsigned set = 1; set < 8; set++) {
		wants.len = 0;
		for (unsigned i = 0; i < 3; i++)
			if (set >> i & 1)
				assert_ok(wr_oids_add(&wants, &tip[i], NULL));
		clone_of(c, &seen, &wants, true);
	}
	assert_int_equal(seen.whole, 1);
	/* Another ref that is added takes nothing away: who wants what the checkpoint had, gets it whole. */
	sh_oid(&c->f, &tip[2], "git -C src rev-parse t2");
	ck_push(c, "refs/tags/later", &tip[2], AS_RECORD);
	clone_of(c, &seen, &wants, true);
	assert_int_equal(seen.whole, 2);
	seen = (struct seen){0};
	clone_all(c, &seen);
	assert_int_equal(seen.extra, 1);
}

static void every_tail_goes(void **state)
{
	struct ck *c = *state;
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);
	WR_AUTO_S(wr_oids) line = {NULL, 0, 0};
	struct seen seen = {0};

	make_history(&c->f, "src", 200);
	sh_out(&c->f, &text, "git -C src rev-list --first-parent --reverse b0");
	oids_of(&line, &text);
	assert_true(line.len > 40);
	for (size_t i = line.len - 20; i < line.len; i += 3) {
		ck_push(c, "refs/heads/b0", &line.v[i], i % 2 ? AS_PACK : AS_RECORD);
		clone_all(c, &seen);
		ck_checkpoint(c);
		clone_all(c, &seen);
	}
	assert_true(seen.tails > 5 && seen.extra > 4 && seen.plain <= 1);
}

/* ---- circles ---- */

/* A delta for two texts of the same 600 bytes with another one behind them. */
static size_t tail_delta(uint8_t out[32], char last)
{
	const uint8_t delta[] = {0xd9, 0x04, 0xd9, 0x04, 0xb0, 0x58, 0x02, 1, (uint8_t)last};

	memcpy(out, delta, sizeof delta);
	return sizeof delta;
}

/* A record that makes ref the blob oid: a delta on a base that the repository had. */
static void push_delta(struct ck *c, const char *ref, const struct wr_oid *oid, const struct wr_oid *base, char last)
{
	struct pb e = {WR_BUF_INIT(4096)};
	struct wr_record_update u;
	struct wr_record_object row = {.oid = *oid, .type = WR_BLOB, .depth = 1, .base = WR_NO_ROW, .size = 601};
	struct wr_record rec = {.updates = &u, .update_count = 1, .objects = &row, .object_count = 1};
	uint8_t delta[32];
	size_t n = tail_delta(delta, last);

	ck_update(&u, c, ref, oid);
	pb_ref_delta(&e, base, wr_str_n(delta, n));
	row.raw = (uint8_t *)e.out.ptr;
	row.raw_len = (uint32_t)e.out.len;
	ck_append(c, &rec, NULL);
	wr_buf_fini(&e.out);
}

/* A pack with the text that ends with first, whole, and the other one as a delta on it; ref becomes that. */
static void push_pair(struct ck *c, const char *ref, const char text[601], const struct wr_oid *value, char last)
{
	WR_AUTO_S(wr_buf) name = WR_BUF_INIT(4096);
	struct wr_record_update u;
	struct wr_record rec = {.updates = &u, .update_count = 1, .has_pack = true};
	struct wr_pack *pack = NULL;
	uint8_t delta[32];
	size_t n = tail_delta(delta, last), first, second;
	struct pb p;

	pb_begin(&p, 2);
	first = pb_object(&p, WR_BLOB, wr_str_n(text, 601));
	second = p.out.len;
	pb_ofs_delta(&p, second - first, wr_str_n(delta, n));
	write_whole(&c->f, "p.pack", pb_end(&p));
	wr_buf_fini(&p.out);
	sh_out(&c->f, &name, "n=$(git -C r.git index-pack --rev-index --stdin < p.pack); echo pack-${n#pack?}");
	name.ptr[WR_PACK_NAME] = '\0';
	assert_ok(wr_pack_open(&pack, c->packs, name.ptr, &c->f.err));
	assert_true(wr_unhex(rec.pack, WR_PACK_ID, wr_str(name.ptr + 5)));
	ck_update(&u, c, ref, value);
	ck_append(c, &rec, pack);
}

/* a is a delta on b in a record; the youngest pack has b as a delta on a. One of them goes whole. */
static void circles_are_broken(void **state)
{
	struct ck *c = *state;
	WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};
	struct wr_oid a, b, other;
	struct seen seen = {0};
	char text[601];

	memset(text, 'x', 600);
	text[600] = 'b';
	write_whole(&c->f, "blob", wr_str_n(text, 601));
	sh_oid(&c->f, &b, "git -C src hash-object -w ../blob");
	text[600] = 'a';
	write_whole(&c->f, "blob", wr_str_n(text, 601));
	sh_oid(&c->f, &a, "git -C src hash-object -w ../blob");
	sh_oid(&c->f, &other, "echo other | git -C src hash-object -w --stdin");
	ck_push(c, "refs/tags/other", &other, AS_RECORD);
	ck_push(c, "refs/pull/b", &b, AS_PACK);
	ck_checkpoint(c);
	push_delta(c, "refs/tags/a", &a, &b, 'a');
	push_pair(c, "refs/tags/b", text, &b, 'b');
	for (const char *prefix = "refs/pull/"; prefix; prefix = prefix[5] == 'p' ? "refs/tags/" : NULL) {
		wants.len = 0;
		want_refs(&wants, c, prefix);
		for (unsigned i = 0; i < 4; i++)
			clone_of(c, &seen, &wants, i & 1);
	}
	assert_true(seen.extra > 0 && seen.plain > 0);
	/* One delta is left of the two. */
	sh(&c->f, "test $(git verify-pack -v client/objects/pack/*.idx | grep -c ' 1 [0-9a-f]\\{40\\}$') = 1");
}

/* Whether refs reach it for all that who only says that he has it may know. */
static bool may_have(struct ck *c, const struct wr_oid *oid)
{
	WR_AUTO(wr_reach) *reach = NULL;
	bool yes = false;

	assert_ok(wr_snapshot_flatten(c->snap, &c->f.err));
	assert_ok(wr_reach_new(&reach, c->snap, NULL, &c->f.err));
	assert_ok(wr_reach_cheap(&yes, reach, oid, &c->f.err));
	return yes;
}

/* Whether a thin pack from have to the branch tells this id. */
static bool tells(struct ck *c, const struct wr_oid *have, const struct wr_oid *id)
{
	struct wr_oid tip = ck_ref(c, "refs/heads/m").oid;
	struct wr_oids wants = {&tip, 1, 1}, haves = {(struct wr_oid *)(uintptr_t)have, may_have(c, have), 1};
	const struct wr_plan_request req = {
		.wants = &wants, .haves = &haves, .client_shallow = &none, .thin = true, .ofs_delta = true};
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(1u << 20);
	struct seen seen = {0};

	plan_to(c, &seen, &req);
	sh(&c->f, "rm -rf client; git init -q --bare client; cp -r src/objects client/; "
		  "git -C client index-pack --fix-thin --stdin <out.pack >/dev/null");
	read_whole(&pack, &c->f, "out.pack");
	return memmem(pack.ptr, pack.len, id->id, WR_OID_RAW) != NULL;
}

/*
 * Who only knows the id of a commit that was taken back may say that he has it. A delta on what it held would tell him
 * that object's id, by which what is in it could be guessed.
 */
static void bases_that_no_ref_reaches_are_not_told(void **state)
{
	struct ck *c = *state;
	struct wr_oid first, taken, secret, second, after;

	sh(&c->f, "cd src; git commit-tree $(git mktree </dev/null) -m first </dev/null >../first; "
		  "head -c 600 /dev/zero | tr '\\0' x >../text; (cat ../text; printf s) >../one; "
		  "(cat ../text; printf t) >../two");
	sh_oid(&c->f, &first, "cat first");
	sh_oid(&c->f, &secret, "git -C src hash-object -w ../one");
	sh_oid(&c->f, &after, "git -C src hash-object -w ../two");
	sh_oid(&c->f, &taken, "cd src; t=$(printf '100644 blob %%s\tf\n' $(git hash-object -w ../one) | git mktree); "
			      "git commit-tree $t -p $(cat ../first) -m taken");
	sh_oid(&c->f, &second, "cd src; t=$(printf '100644 blob %%s\tf\n' $(git hash-object -w ../two) | git mktree); "
			       "git commit-tree $t -p $(cat ../first) -m second");
	ck_push(c, "refs/heads/m", &first, AS_RECORD);
	ck_push(c, "refs/heads/m", &taken, AS_RECORD);
	push_delta(c, "refs/pull/2", &after, &secret, 't');
	ck_push(c, "refs/heads/m", &second, AS_RECORD);
	assert_false(tells(c, &taken, &secret));
	ck_push(c, "refs/pull/1", &taken, AS_RECORD);
	assert_true(tells(c, &taken, &secret));
	ck_push(c, "refs/pull/1", NULL, AS_RECORD);
	assert_false(tells(c, &taken, &secret));
}

/* The guard's handler, which cmocka replaces for the time of each test. */
static struct sigaction on_bus;

/* Pages that could not be read were sent as zeros; who comes when they can be read again gets another trailer. */
static void no_trailer_of_lost_pages_is_kept(void **state)
{
	struct ck *c = *state;
	WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(64u << 20);
	struct wr_plan_request req = {.wants = &wants, .haves = &none, .client_shallow = &none, .ofs_delta = true};
	WR_AUTO(wr_plan) *plan = NULL;
	WR_AUTO(wr_pack) *again = NULL;
	struct wr_snapshot *next = NULL;
	struct wr_buf_sink sink;
	struct seen seen = {0};
	struct wr_oid tip, other;

	make_history(&c->f, "src", 60);
	sh_oid(&c->f, &tip, "git -C src rev-parse b0");
	sh_oid(&c->f, &other, "echo other | git -C src hash-object -w --stdin");
	ck_push(c, "refs/heads/b0", &tip, AS_PACK);
	ck_checkpoint(c);
	ck_push(c, "refs/tags/other", &other, AS_RECORD);
	want_refs(&wants, c, NULL);
	assert_true(c->snap->members[0].pack->size > 8192);
	sh(&c->f, "cd r.git/objects/pack; chmod u+w *.pack; cp *.pack ../../../whole; truncate -s 4096 *.pack");
	sigaction(SIGBUS, &on_bus, NULL);
	wr_buf_sink_init(&sink, &pack);
	assert_ok(wr_plan_new(&plan, c->snap, &req, NULL, NULL, &c->f.err));
	assert_int_equal(plan->whole_count, 1);
	assert_ok(wr_plan_write(plan, &sink.base, NULL, NULL, &c->f.err));
	sh(&c->f, "cat whole >$(echo r.git/objects/pack/*.pack)");
	assert_ok(wr_pack_open(&again, c->packs, c->snap->members[0].pack->name, &c->f.err));
	assert_ok(wr_snapshot_copy(&next, c->snap, &c->f.err));
	wr_pack_unref(next->members[0].pack);
	next->members[0].pack = wr_pack_ref(again);
	wr_snapshot_unref(c->snap);
	c->snap = next;
	clone_of(c, &seen, &wants, true);
	assert_int_equal(seen.extra, 1);
}

int main(void)
{
	struct wr_guard *guard;

#define T(name) cmocka_unit_test_setup_teardown(name, ck_setup, ck_teardown)
	const struct CMUnitTest tests[] = {
		T(whatever_happens_a_clone_has_what_its_wants_reach),
		T(a_base_alone_is_its_file),
		T(not_with_a_filter),
		T(the_dead_stay_behind),
		T(only_some_refs),
		T(every_tail_goes),
		T(circles_are_broken),
		T(bases_that_no_ref_reaches_are_not_told),
		T(no_trailer_of_lost_pages_is_kept),
	};

	if (wr_guard_new(&guard, &on_bus, sizeof(on_bus), NULL) != WR_OK)
		return 1;
	sigaction(SIGBUS, NULL, &on_bus);
	wr_guard_free(guard);

	return cmocka_run_group_tests_name("git_plan_whole", tests, NULL, NULL);
}
