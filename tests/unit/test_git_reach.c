/* What refs reach, against what git's own walk says; and that no answer tells what is stored beyond that. */
#include "tests/unit/checkpoint_fixture.h"

#include <pthread.h>

#include "core/git/lost.h"
#include "core/git/reach.h"

/* ---- asking ---- */

static const struct wr_oid nobodys = {{0xab, 1, 2, 3}};

static bool is_reached(struct ck *c, const struct wr_oid *oid)
{
	const struct wr_oids one = {(struct wr_oid *)(uintptr_t)oid, 1, 1};
	WR_AUTO(wr_reach) *r = NULL;
	size_t first_bad;

	assert_ok(wr_reach_new(&r, c->snap, NULL, &c->f.err));
	if (wr_reach_all(&first_bad, r, &one, &c->f.err) != WR_OK)
		fail_msg("%s %s", c->f.err.text, c->f.err.detail);
	return first_bad == 1;
}

static bool is_cheap(struct ck *c, const struct wr_oid *oid)
{
	WR_AUTO(wr_reach) *r = NULL;
	bool yes;

	assert_ok(wr_reach_new(&r, c->snap, NULL, &c->f.err));
	assert_ok(wr_reach_cheap(&yes, r, oid, &c->f.err));
	return yes;
}

/* What git understands by it in src. */
static struct wr_oid rev(struct ck *c, const char *what)
{
	struct wr_oid oid;

	sh_oid(&c->f, &oid, "git -C src rev-parse '%s'", what);
	return oid;
}

static bool reached(struct ck *c, const char *what)
{
	struct wr_oid oid = rev(c, what);

	return is_reached(c, &oid);
}

static bool cheap(struct ck *c, const char *what)
{
	struct wr_oid oid = rev(c, what);

	return is_cheap(c, &oid);
}

static void push_rev(struct ck *c, const char *ref, const char *what)
{
	struct wr_oid oid = rev(c, what);

	ck_push(c, ref, &oid, AS_RECORD);
	assert_ok(wr_snapshot_flatten(c->snap, NULL));
}

static void drop(struct ck *c, const char *ref)
{
	ck_push(c, ref, NULL, AS_RECORD);
	assert_ok(wr_snapshot_flatten(c->snap, NULL));
}

static void checkpoint(struct ck *c)
{
	ck_checkpoint(c);
	assert_ok(wr_snapshot_flatten(c->snap, NULL));
}

/* The same snapshot as nobody has asked it anything yet. */
static void forget(struct ck *c)
{
	struct wr_snapshot *again = NULL;

	assert_ok(wr_snapshot_copy(&again, c->snap, NULL));
	assert_ok(wr_snapshot_flatten(again, NULL));
	wr_snapshot_unref(c->snap);
	c->snap = again;
}

/*
 * A commit of branch b on from (NULL: a root), a second later than the one before; files: "name number" pairs, which
 * are all that its tree has; no two names or numbers have the same content.
 */
static unsigned long clock_now = 1700000000;
static void commit_at(struct ck *c, unsigned long date, const char *b, const char *from, const char *files)
{
	sh(&c->f,
	   "cd src; rm -f index; export GIT_INDEX_FILE=index; set -- %s; while test $# -gt 0; do "
	   "git update-index --add --cacheinfo 100644,$(echo $1 $2 | git hash-object -w --stdin),$1; shift 2; done; "
	   "git update-ref refs/heads/%s $(GIT_COMMITTER_DATE='@%lu +0000' git commit-tree -m '%s' %s %s $(git write-tree))",
	   files, b, date, b, from ? "-p" : "", from ? from : "");
}
static void commit(struct ck *c, const char *b, const char *from, const char *files)
{
	commit_at(c, clock_now += 10, b, from, files);
}

/* ---- one by one ---- */

static void without_a_checkpoint(void **state)
{
	struct ck *c = *state;

	commit(c, "one", NULL, "a 1 d/b 2");
	commit(c, "two", "one", "a 1 d/b 3");
	commit(c, "gone", "one", "a gone");
	sh(&c->f, "cd src; git tag -a -m t t one; git -c advice.nestedTag=false tag -a -m n nested t");
	assert_ok(wr_snapshot_flatten(c->snap, NULL));
	assert_false(is_reached(c, &nobodys)); /* of nothing at all */
	push_rev(c, "refs/heads/main", "two");
	push_rev(c, "refs/heads/gone", "gone");
	push_rev(c, "refs/tags/n", "nested");
	assert_true(reached(c, "gone"));
	drop(c, "refs/heads/gone");
	for (int i = 0; i < 2; i++) {
		assert_true(reached(c, "two") && reached(c, "one") && reached(c, "nested") && reached(c, "t"));
		assert_true(reached(c, "two^{tree}") && reached(c, "two:d/b") && reached(c, "one:d/b"));
		assert_true(reached(c, "one:d") && cheap(c, "one") && cheap(c, "t") && cheap(c, "nested"));
		assert_false(reached(c, "gone") || reached(c, "gone^{tree}") || reached(c, "gone:a") ||
			     cheap(c, "gone"));
		assert_false(is_reached(c, &nobodys) || is_cheap(c, &nobodys));
		drop(c, "refs/heads/main");
		assert_false(reached(c, "two"));
		assert_true(reached(c, "one") && reached(c, "one:a"));
		/* And the same once more on base and tails. */
		push_rev(c, "refs/heads/main", "two");
		checkpoint(c);
	}
}

static void what_a_rewind_takes_away(void **state)
{
	struct ck *c = *state;

	commit(c, "base", NULL, "a 1 d/same 1 d/old 1");
	commit(c, "lost", "base", "a 2 d/same 1 d/old 2 d/again 3");
	commit(c, "lost", "lost", "a 3 d/same 1 d/old 2 d/again 3");
	commit(c, "new", "base", "a 4 d/same 1 d/old 1 d/again 3");
	push_rev(c, "refs/heads/main", "lost");
	checkpoint(c);
	for (int i = 0; i < 2; i++) {
		push_rev(c, "refs/heads/main", "new");
		assert_int_equal(c->snap->lost, i == 0);
		assert_false(reached(c, "lost") || reached(c, "lost~1") || reached(c, "lost^{tree}"));
		assert_false(reached(c, "lost:a") || reached(c, "lost~1:a") || reached(c, "lost:d/old"));
		assert_false(cheap(c, "lost") || cheap(c, "lost~1") || cheap(c, "lost^{tree}"));
		/* A file of the lost part that came again, and what was there before. */
		assert_true(reached(c, "new:d/again") && reached(c, "new:d/same") && reached(c, "new") && reached(c, "base"));
		assert_true(cheap(c, "new") && cheap(c, "base"));
		/* The lost entries are dead from now on, or in other packs. */
		checkpoint(c);
	}
	/* What is dead comes alive again. */
	push_rev(c, "refs/heads/back", "lost~1");
	assert_true(reached(c, "lost~1") && reached(c, "lost~1:a") && cheap(c, "lost~1"));
	assert_false(reached(c, "lost") || reached(c, "lost:a"));
}

static void another_ref_still_reaches_it(void **state)
{
	struct ck *c = *state;

	commit(c, "base", NULL, "a 1");
	commit(c, "top", "base", "a 2");
	commit(c, "top", "top", "a 3");
	commit(c, "top", "top", "a 4");
	push_rev(c, "refs/heads/a", "top");
	push_rev(c, "refs/heads/b", "base");
	checkpoint(c);
	push_rev(c, "refs/pull/1", "top~1");
	drop(c, "refs/heads/a");
	assert_true(c->snap->lost);
	assert_true(reached(c, "top~1") && reached(c, "top~2:a") && cheap(c, "top~1") && cheap(c, "top~2"));
	assert_false(reached(c, "top") || reached(c, "top:a") || cheap(c, "top"));
	checkpoint(c);
	assert_true(reached(c, "top~1") && reached(c, "top~2:a") && cheap(c, "top~1") && cheap(c, "top~2"));
	assert_false(reached(c, "top") || reached(c, "top:a") || cheap(c, "top"));
	drop(c, "refs/pull/1");
	assert_false(c->snap->lost); /* other refs take nothing from the closure */
	assert_false(reached(c, "top~1") || reached(c, "top~1:a") || cheap(c, "top~1"));
	assert_true(reached(c, "base") && cheap(c, "base"));
}

/* Files of a lost commit that an older kept one has, which nobody stands on: only all of history tells. */
static void a_file_that_was_reverted_long_ago(void **state)
{
	struct ck *c = *state;
	const struct wr_lost *lost;
	struct wr_oid oid;

	commit(c, "main", NULL, "a 1");
	commit(c, "main", "main", "a 2");
	commit(c, "lost", "main", "a 1 b 3");
	push_rev(c, "refs/heads/main", "main");
	push_rev(c, "refs/heads/lost", "lost");
	checkpoint(c);
	drop(c, "refs/heads/lost");
	oid = rev(c, "main~1:a");
	assert_ok(wr_lost_get(&lost, c->snap, NULL, NULL));
	assert_false(wr_lost_certain(lost, c->snap, &oid));
	assert_true(reached(c, "main~1:a"));
	assert_false(reached(c, "lost:b")); /* by this, all doubts are settled */
	assert_ok(wr_lost_get(&lost, c->snap, NULL, NULL));
	assert_true(lost->exact && wr_lost_certain(lost, c->snap, &oid));
	oid = rev(c, "lost:b");
	assert_false(wr_lost_certain(lost, c->snap, &oid));
	assert_true(reached(c, "main~1:a"));
	assert_false(reached(c, "lost:b") || cheap(c, "lost"));
}

/* The ref that keeps it leads to it by a commit that says that it is older. */
static void dates_that_lie(void **state)
{
	struct ck *c = *state;

	commit_at(c, 50, "old", NULL, "a 1");
	commit_at(c, 100, "shared", "old", "a 2");
	commit_at(c, 1, "liar", "shared", "a 3");
	commit_at(c, 200, "lost", "shared", "a 4");
	push_rev(c, "refs/heads/main", "liar");
	push_rev(c, "refs/heads/lost", "lost");
	checkpoint(c);
	drop(c, "refs/heads/lost");
	assert_false(cheap(c, "shared")); /* it may say no where it does not know */
	assert_true(cheap(c, "liar"));
	assert_true(reached(c, "shared") && reached(c, "shared:a") && reached(c, "old"));
	assert_false(reached(c, "lost") || reached(c, "lost:a"));
	assert_true(cheap(c, "shared"));
	assert_false(cheap(c, "lost"));
}

static void tags_of_all_kinds(void **state)
{
	struct ck *c = *state;
	static const char *const names[] = {"commit", "tree", "blob", "nested"};

	commit(c, "main", NULL, "a 1");
	commit(c, "side", NULL, "s 1 d/s 2 e/s 3");
	sh(&c->f, "cd src; git config advice.nestedTag false; git tag -a -m 1 commit side; git tag -a -m 2 tree side:d; "
		  "git tag -a -m 3 blob side:e/s; git tag -a -m 4 nested tree");
	push_rev(c, "refs/heads/main", "main");
	for (size_t i = 0; i < WR_ARRAY_LEN(names); i++) {
		char ref[64];

		snprintf(ref, sizeof ref, "refs/tags/%s", names[i]);
		push_rev(c, ref, names[i]);
	}
	for (int i = 0; i < 2; i++) {
		assert_true(reached(c, "commit") && reached(c, "side") && reached(c, "side:s") && cheap(c, "commit"));
		assert_true(reached(c, "tree") && reached(c, "nested") && reached(c, "side:d/s") && cheap(c, "nested"));
		assert_true(reached(c, "blob") && reached(c, "side:e/s"));
		checkpoint(c);
	}
	for (int i = 0; i < 2; i++) {
		if (i == 0)
			drop(c, "refs/tags/commit");
		assert_false(reached(c, "commit") || reached(c, "side") || reached(c, "side:s") || reached(c, "side:e"));
		assert_false(cheap(c, "commit") || cheap(c, "side"));
		assert_true(reached(c, "tree") && reached(c, "side:d") && reached(c, "side:d/s") && reached(c, "side:e/s"));
		if (i == 0)
			drop(c, "refs/tags/nested");
		assert_false(reached(c, "nested") || cheap(c, "nested"));
		assert_true(reached(c, "tree"));
		checkpoint(c);
	}
	drop(c, "refs/tags/tree");
	drop(c, "refs/tags/blob");
	push_rev(c, "refs/other/blob", "side:e/s");
	push_rev(c, "refs/other/tree", "side:d");
	assert_true(reached(c, "side:e/s") && reached(c, "side:d") && reached(c, "side:d/s"));
	assert_false(reached(c, "tree") || reached(c, "blob"));
	drop(c, "refs/other/blob");
	drop(c, "refs/other/tree");
	assert_false(reached(c, "side:d") || reached(c, "side:d/s") || reached(c, "side:e/s") || reached(c, "tree"));
}

static void hidden_refs_reach_nothing(void **state)
{
	struct ck *c = *state;

	commit(c, "main", NULL, "a 1");
	commit(c, "hidden", "main", "a 2");
	push_rev(c, "refs/heads/main", "main");
	push_rev(c, "refs/warren/kept", "hidden");
	for (int i = 0; i < 2; i++) {
		assert_false(reached(c, "hidden") || reached(c, "hidden:a") || cheap(c, "hidden"));
		assert_true(reached(c, "main") && cheap(c, "main"));
		checkpoint(c);
	}
	push_rev(c, "refs/heads/main", "hidden");
	assert_true(reached(c, "hidden"));
	checkpoint(c);
	push_rev(c, "refs/heads/main", "main");
	assert_false(reached(c, "hidden") || reached(c, "hidden:a") || cheap(c, "hidden"));
}

/* A submodule's commit that happens to be stored here. */
static void submodules_are_not_followed(void **state)
{
	struct ck *c = *state;

	commit(c, "gone", NULL, "secret 1");
	commit(c, "main", NULL, "a 1");
	sh(&c->f, "cd src; t=$( (git ls-tree main; printf '160000 commit %%s\\tsub\\n' $(git rev-parse gone)) | "
		  "git mktree --missing); git update-ref refs/heads/main $(git commit-tree -m sub -p main $t)");
	push_rev(c, "refs/heads/gone", "gone");
	push_rev(c, "refs/heads/main", "main");
	drop(c, "refs/heads/gone");
	assert_false(reached(c, "gone") || reached(c, "gone:secret") || cheap(c, "gone"));
	push_rev(c, "refs/heads/gone", "gone");
	checkpoint(c);
	drop(c, "refs/heads/gone");
	assert_false(reached(c, "gone") || reached(c, "gone:secret") || cheap(c, "gone"));
	assert_true(reached(c, "main^{tree}"));
}

/* ---- a repository whose own history ends somewhere ---- */

static void shallow_roots(void **state)
{
	struct ck *c = *state;
	WR_AUTO_S(wr_buf) name = WR_BUF_INIT(4096);
	struct wr_oids roots = {NULL, 0, 0};
	struct wr_refsfile_pack packs[1] = {{.role = WR_ROLE_BASE}};
	struct wr_ref refs[2] = {{.name = WR_S("refs/heads/lost")}, {.name = WR_S("refs/heads/main")}};
	struct wr_refsfile_contents contents = {
		.packs = packs, .pack_count = 1, .refs = refs, .ref_count = 2, .shallow = &roots};
	WR_AUTO(wr_pack) *pack = NULL;
	struct wr_snapshot *snap = NULL;

	commit(c, "main", NULL, "a 1");
	commit(c, "main", "main", "a 2");
	commit(c, "main", "main", "a 3");
	commit(c, "lost", "main~1", "a 4");
	sh_out(&c->f, &name,
	       "git clone -q --bare --depth 2 --no-single-branch file://$PWD/src cut; cd cut; git repack -qad; "
	       "git index-pack --rev-index objects/pack/*.pack > /dev/null; cp objects/pack/* ../r.git/objects/pack; "
	       "cd objects/pack; basename *.pack .pack");
	snprintf(packs[0].name, sizeof packs[0].name, "%.45s", name.ptr);
	refs[0].oid = rev(c, "lost");
	refs[1].oid = rev(c, "main");
	contents.seq = 1;
	sh(&c->f, "test $(git -C cut rev-list --all | wc -l) = 3");
	roots = (struct wr_oids){(struct wr_oid[]){rev(c, "main~1")}, 1, 1};
	assert_ok(wr_refsfile_write(c->warren, ++c->number, &contents, &c->f.err));
	assert_ok(wr_snapshot_new(&snap, MAX_OBJECT, NULL));
	assert_ok(wr_refsfile_open(&snap->stored, c->warren, c->number, &c->f.err));
	assert_ok(wr_pack_open(&pack, c->packs, packs[0].name, &c->f.err));
	assert_ok(wr_snapshot_add_member(snap, pack, WR_ROLE_BASE, NULL, NULL));
	snap->seq = 1;
	snap->journal_count = 1;
	wr_snapshot_unref(c->snap);
	c->snap = snap;
	assert_ok(ck_journal(c));
	assert_ok(wr_snapshot_flatten(c->snap, NULL));
	assert_true(reached(c, "main~1:a") && reached(c, "lost:a") && cheap(c, "main~1"));
	assert_false(reached(c, "main~2") || reached(c, "main~2:a") || cheap(c, "main~2"));
	drop(c, "refs/heads/lost");
	assert_true(reached(c, "main~1") && reached(c, "main~1:a"));
	assert_false(reached(c, "lost") || reached(c, "lost:a") || reached(c, "main~2"));
}

/* ---- what it costs ---- */

static uint64_t cost(struct ck *c, const struct wr_oid *oid, bool cheaply)
{
	const struct wr_oids one = {(struct wr_oid *)(uintptr_t)oid, 1, 1};
	WR_AUTO(wr_reach) *r = NULL;
	bool yes;

	assert_ok(wr_reach_new(&r, c->snap, NULL, &c->f.err));
	if (cheaply)
		assert_ok(wr_reach_cheap(&yes, r, oid, &c->f.err));
	else
		assert_ok(wr_reach_each(&yes, r, &one, &c->f.err));
	assert_false(yes);
	return wr_reach_steps(r);
}

/* Stored and not reached, or stored nowhere: the same work, the first time and later on. */
static void no_work_tells_what_is_stored(void **state)
{
	struct ck *c = *state;
	static const char *const lost[] = {"lost", "lost~1", "lost^{tree}", "lost:d", "lost:d/x", "lost~1:d/x", "t"};

	commit(c, "main", NULL, "a 1 d/x 1");
	commit(c, "main", "main", "a 2 d/x 1");
	commit(c, "lost", "main", "a 3 d/x 2");
	commit(c, "lost", "lost", "a 4 d/x 3");
	commit(c, "new", "main", "a 5 d/x 1");
	sh(&c->f, "cd src; git tag -a -m t t lost");
	push_rev(c, "refs/heads/main", "main");
	push_rev(c, "refs/heads/lost", "lost");
	push_rev(c, "refs/tags/t", "t");
	push_rev(c, "refs/pull/1", "main~1");
	/* In journals only, dead or out of the closure, and lost since the checkpoint. */
	for (int i = 0; i < 3; i++) {
		if (i == 2) {
			push_rev(c, "refs/heads/lost", "lost");
			push_rev(c, "refs/tags/t", "t");
		}
		if (i > 0)
			checkpoint(c);
		push_rev(c, "refs/heads/new", i ? "new" : "main");
		if (i != 1) {
			drop(c, "refs/heads/lost");
			drop(c, "refs/tags/t");
		}
		for (size_t k = 0; k < WR_ARRAY_LEN(lost); k++) {
			struct wr_oid oid = rev(c, lost[k]);

			for (int cheaply = 0; cheaply < 2; cheaply++) {
				uint64_t first, later;

				forget(c);
				first = cost(c, &nobodys, cheaply);
				later = cost(c, &nobodys, cheaply);
				assert_true(first > 0 || i == 1);
				forget(c);
				assert_int_equal(cost(c, &oid, cheaply), first);
				assert_int_equal(cost(c, &oid, cheaply), later);
				assert_true(i != 2 || cheaply || later < first); /* settled */
			}
		}
	}
}

/* Base and tails answer at once; and what came since then is all that is looked at for what nobody reaches. */
static void what_the_checkpoint_knew_costs_nothing(void **state)
{
	struct ck *c = *state;
	static const char *const known[] = {"main~7", "main~7^{tree}", "main~20:d/b", "main~1"};
	WR_AUTO(wr_reach) *r = NULL;
	char files[64];
	bool yes;

	for (int i = 0; i < 30; i++) {
		snprintf(files, sizeof files, "a %d d/b %d", i, i);
		commit(c, "main", i ? "main" : NULL, files);
	}
	push_rev(c, "refs/heads/main", "main");
	push_rev(c, "refs/heads/other", "main~1");
	push_rev(c, "refs/tags/other", "main~5");
	checkpoint(c);
	commit(c, "main", "main", "a 30 d/b 29");
	push_rev(c, "refs/heads/main", "main");
	assert_ok(wr_reach_new(&r, c->snap, NULL, NULL));
	for (size_t i = 0; i < WR_ARRAY_LEN(known); i++) {
		struct wr_oid oid = rev(c, known[i]);
		const struct wr_oids one = {&oid, 1, 1};

		assert_ok(wr_reach_each(&yes, r, &one, NULL));
		assert_true(yes);
	}
	assert_int_equal(wr_reach_steps(r), 0);
	assert_in_range(cost(c, &nobodys, false), 1, 8);
	assert_in_range(cost(c, &nobodys, true), 1, 3);
}

/* Of many questions all are answered by one walk, and it ends with the last answer. */
static void many_at_once_and_the_youngest_first(void **state)
{
	struct ck *c = *state;
	WR_AUTO(wr_reach) *r = NULL;
	WR_AUTO(wr_reach) *one = NULL;
	WR_AUTO_S(wr_oids) all = {NULL, 0, 0};
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);
	struct wr_oid head[2], both[2];
	const struct wr_oids blobs = {head, 1, 2}, twice = {both, 2, 2};
	bool yes[2];
	uint64_t before;
	size_t bad;

	for (int i = 0; i < 30; i++) {
		char files[64];

		snprintf(files, sizeof files, "a %d d/b %d", i, i);
		commit(c, "main", i ? "main" : NULL, files);
	}
	push_rev(c, "refs/heads/main", "main");
	sh_out(&c->f, &text, "git -C src rev-list --objects main | cut -c1-40");
	oids_of(&all, &text);
	head[0] = rev(c, "main:d/b");
	assert_ok(wr_reach_new(&one, c->snap, NULL, NULL));
	assert_ok(wr_reach_all(&bad, one, &blobs, NULL));
	assert_int_equal(bad, 1);
	assert_ok(wr_reach_new(&r, c->snap, NULL, NULL));
	assert_ok(wr_reach_all(&bad, r, &all, NULL));
	assert_int_equal(bad, all.len);
	assert_true(wr_reach_steps(one) * 10 < wr_reach_steps(r));
	assert_true(wr_reach_steps(r) < all.len * 4);
	/* An id twice, and the first bad one. */
	before = wr_reach_steps(r);
	all.v[17] = all.v[23] = nobodys;
	assert_ok(wr_reach_all(&bad, r, &all, NULL));
	assert_int_equal(bad, 17);
	assert_true(wr_reach_steps(r) - before < all.len * 4);
	both[0] = both[1] = head[0];
	assert_ok(wr_reach_each(yes, r, &twice, NULL));
	assert_true(yes[0] && yes[1]);
	/* After the first question of this kind no other costs anything. */
	assert_ok(wr_reach_cheap(yes, r, &nobodys, NULL));
	before = wr_reach_steps(r);
	for (size_t i = 0; i < all.len; i++)
		assert_ok(wr_reach_cheap(yes, r, &all.v[i], NULL));
	assert_int_equal(wr_reach_steps(r), before);
}

struct patience {
	unsigned asked, until;
};

static bool given_up(void *arg)
{
	struct patience *p = arg;

	return ++p->asked > p->until;
}

static void cancelling(void **state)
{
	struct ck *c = *state;
	struct choice {
		struct wr_oids one;
	} ask = {{(struct wr_oid *)(uintptr_t)&nobodys, 1, 1}};
	struct wr_oid tip;
	struct patience p = {0, UINT_MAX};
	struct wr_cancel cancel = {given_up, &p};
	unsigned total;

	sh(&c->f, "rm -rf src; git init -q --bare src; (for i in $(seq 600); do printf 'commit refs/heads/main\\n"
		  "committer C <c@example.org> %%d +0000\\ndata 1\\nm\\nM 100644 inline d%%d/f%%d\\ndata %%d\\n%%s\\n' "
		  "$((1700000000 + i)) $((i %% 50)) $i ${#i} $i; done) | git -C src fast-import --quiet");
	tip = rev(c, "main");
	ck_push(c, "refs/heads/main", &tip, AS_PACK);
	ck_push(c, "refs/heads/lost", &tip, AS_PACK);
	checkpoint(c);
	tip = rev(c, "main~599");
	ck_push(c, "refs/heads/main", &tip, AS_PACK);
	drop(c, "refs/heads/lost");
	for (total = 1; p.until > 0; total++) {
		WR_AUTO(wr_reach) *r = NULL;
		bool yes[1];

		/* Each time it is asked for the first time, then once less often before it is given up. */
		forget(c);
		p.until = p.until == UINT_MAX ? UINT_MAX : p.until - 1;
		p.asked = 0;
		assert_ok(wr_reach_new(&r, c->snap, &cancel, NULL));
		assert_int_equal(wr_reach_each(yes, r, &ask.one, &c->f.err), p.until == UINT_MAX ? WR_OK : WR_E_CANCELLED);
		if (p.until == UINT_MAX)
			p.until = p.asked;
	}
	assert_true(total > 4);
}

/* ---- damage ---- */

/* The lost part cannot be read: it stays unreached, and all else stays reached. */
static void what_is_lost_may_be_damaged(void **state)
{
	struct ck *c = *state;
	struct wr_oid oid;
	bool done = false;

	commit(c, "main", NULL, "a 1");
	commit(c, "main", "main", "a 2");
	commit(c, "lost", "main", "a 3");
	commit(c, "lost", "lost", "a 4");
	push_rev(c, "refs/heads/main", "main");
	push_rev(c, "refs/heads/lost", "lost");
	checkpoint(c);
	oid = rev(c, "lost~1");
	for (size_t i = 0; i < c->snap->member_count && !done; i++) {
		const struct wr_pack *p = c->snap->members[i].pack;
		struct wr_entry e;
		char path[128];
		uint32_t pos;
		WR_AUTO_FD int fd = -1;

		if (!wr_pack_find(&pos, p, &oid))
			continue;
		assert_ok(wr_pack_entry(&e, p, pos, NULL));
		snprintf(path, sizeof path, "%s.pack", p->name);
		assert_int_equal(fchmodat(c->packs, path, 0600, 0), 0);
		fd = openat(c->packs, path, O_WRONLY);
		assert_true(fd >= 0);
		assert_int_equal(pwrite(fd, "damage!!", 8, (off_t)e.data), 8);
		done = true;
	}
	assert_true(done);
	drop(c, "refs/heads/lost");
	for (int i = 0; i < 2; i++) {
		assert_true(reached(c, "main") && reached(c, "main~1") && reached(c, "main~1:a") && cheap(c, "main~1"));
		assert_false(reached(c, "lost") || reached(c, "lost:a") || cheap(c, "lost") || cheap(c, "lost~1"));
		assert_false(is_reached(c, &nobodys));
		commit(c, "more", "main", "a 5");
		push_rev(c, "refs/heads/main", "more");
		assert_true(reached(c, "more:a"));
	}
	/* What is reached must be whole, or the answer is an error. */
	commit(c, "back", "lost~1", "a 6");
	push_rev(c, "refs/heads/back", "back");
	{
		const struct wr_oids one = {(struct wr_oid *)(uintptr_t)&nobodys, 1, 1};
		WR_AUTO(wr_reach) *r = NULL;
		size_t bad;

		assert_ok(wr_reach_new(&r, c->snap, NULL, NULL));
		assert_int_equal(wr_reach_all(&bad, r, &one, &c->f.err), WR_E_INTERNAL);
	}
}

/* ---- many threads, one snapshot ---- */

struct asker {
	struct wr_snapshot *snap;
	const struct wr_oids *oids;
	const bool *expected;
};

static void *ask(void *arg)
{
	const struct asker *a = arg;
	WR_AUTO_MEM bool *yes = calloc(a->oids->len, sizeof *yes);
	bool ok = yes != NULL;

	for (int i = 0; i < 3 && ok; i++) {
		WR_AUTO(wr_reach) *r = NULL;

		ok = wr_reach_new(&r, a->snap, NULL, NULL) == WR_OK &&
		     wr_reach_each(yes, r, a->oids, NULL) == WR_OK &&
		     memcmp(yes, a->expected, a->oids->len * sizeof *yes) == 0;
	}
	return ok ? arg : NULL;
}

static void threads_share_a_snapshot(void **state)
{
	struct ck *c = *state;
	struct wr_oid v[4];
	const struct wr_oids oids = {v, 4, 4};
	const bool expected[] = {true, false, false, true};
	struct asker asker = {.oids = &oids, .expected = expected};
	pthread_t threads[4];

	commit(c, "main", NULL, "a 1");
	commit(c, "main", "main", "a 2");
	commit(c, "lost", "main", "a 1 b 3");
	push_rev(c, "refs/heads/main", "main");
	push_rev(c, "refs/heads/lost", "lost");
	checkpoint(c);
	drop(c, "refs/heads/lost");
	v[0] = rev(c, "main~1");
	v[1] = rev(c, "lost");
	v[2] = rev(c, "lost:b");
	v[3] = rev(c, "main~1:a");
	for (unsigned i = 0; i < rounds(10); i++) {
		forget(c);
		asker.snap = c->snap;
		for (size_t k = 0; k < WR_ARRAY_LEN(threads); k++)
			assert_int_equal(pthread_create(&threads[k], NULL, ask, &asker), 0);
		for (size_t k = 0; k < WR_ARRAY_LEN(threads); k++) {
			void *ok;

			assert_int_equal(pthread_join(threads[k], &ok), 0);
			assert_non_null(ok);
		}
	}
}

/* ---- by chance ---- */

struct choice {
	struct wr_oids commits, others;
};

static void choices(struct ck *c, struct choice *all, unsigned commits)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(16u << 20);

	sh(&c->f, "rm -rf src");
	make_history(&c->f, "src", commits);
	sh(&c->f, "cd src; git tag -a -m x on-tree $(git rev-list --all -1)^{tree}; git tag -a -m x on-blob "
		  "$(git ls-tree -r $(git rev-list --all -1 --skip 5) | sed -n '/blob/{s/.*blob //;s/\\t.*//p;q}')");
	sh_out(&c->f, &text, "git -C src rev-list --all");
	oids_of(&all->commits, &text);
	/* Tags, tags of tags, and what is no commit. */
	sh_out(&c->f, &text, "cd src; git for-each-ref refs/tags --format='%%(objectname)'; git rev-parse on-tree^{} "
			     "on-blob^{} $(git rev-list --all -1 --skip 9)^{tree}");
	oids_of(&all->others, &text);
}

static void one_change(struct ck *c, const struct choice *all)
{
	char ref[64];
	unsigned kind = chance(&c->f, 12);
	enum how how = chance(&c->f, 3) == 0 ? AS_PACK : AS_RECORD;
	const struct wr_oid *value = &all->commits.v[chance(&c->f, (unsigned)all->commits.len)];
	struct wr_oid old;

	if (kind >= 6 && chance(&c->f, 2) == 0)
		value = &all->others.v[chance(&c->f, (unsigned)all->others.len)];
	snprintf(ref, sizeof ref, "%s%u", kind < 6 ? "refs/heads/b" : kind < 9 ? "refs/tags/t" : kind < 11 ? "refs/pull/" : "refs/warren/",
		 chance(&c->f, 4));
	old = ck_ref(c, ref).oid;
	if (!wr_oid_zero(&old) && chance(&c->f, 4) == 0)
		ck_push(c, ref, NULL, how);
	else if (!wr_oid_eq(&old, value))
		ck_push(c, ref, value, how);
}

/* All that ever came, a few ids that never did, and which of them git says that shown refs reach. */
static bool *model(struct wr_oids *all, struct ck *c)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(16u << 20);
	WR_AUTO_S(wr_buf) tips = WR_BUF_INIT(1u << 20);
	WR_AUTO_S(wr_oids) kept = {NULL, 0, 0};
	WR_AUTO_S(wr_oidmap) is = {NULL};
	char hex[WR_OID_HEX + 1];
	size_t n;
	const struct wr_ref *refs;
	bool *yes;

	assert_ok(wr_snapshot_flatten(c->snap, NULL));
	refs = wr_snapshot_refs(c->snap, &n);
	for (size_t i = 0; i < n; i++) {
		wr_oid_hex(hex, &refs[i].oid);
		if (wr_ref_shown(&refs[i]))
			wr_buf_printf(&tips, "%s\n", hex);
	}
	write_whole(&c->f, "tips", wr_buf_str(&tips));
	write_whole(&c->f, "pushed", wr_buf_str(&c->pushed));
	sh_out(&c->f, &text, "test ! -s tips || git -C src rev-list --objects --stdin < tips | cut -c1-40");
	oids_of(&kept, &text);
	sh_out(&c->f, &text, "test ! -s pushed || git -C src rev-list --objects --stdin < pushed | cut -c1-40 | sort -u");
	oids_of(all, &text);
	for (uint8_t i = 0; i < 5; i++) {
		struct wr_oid never = {{i, 1, 2, 3}};

		assert_ok(wr_oids_add(all, &never, NULL));
	}
	for (size_t i = 0; i < kept.len; i++)
		assert_ok(wr_oidmap_add(&is, &kept.v[i], 0, NULL, NULL));
	yes = calloc(all->len, sizeof *yes);
	assert_non_null(yes);
	for (size_t i = 0; i < all->len; i++)
		yes[i] = wr_oidmap_has(&is, &all->v[i]);
	return yes;
}

struct tally {
	unsigned no, doubts, settled;
};

static void check_cheap(struct ck *c, const struct wr_oids *all, const bool *expected, struct tally *tally)
{
	const struct wr_lost *lost;
	WR_AUTO(wr_reach) *r = NULL;

	assert_ok(wr_lost_get(&lost, c->snap, NULL, NULL));
	assert_ok(wr_reach_new(&r, c->snap, NULL, NULL));
	for (size_t i = 0; i < all->len; i++) {
		enum wr_type type = WR_BLOB;
		bool yes, doubt = wr_snapshot_in_closure(c->snap, &all->v[i]) && !wr_lost_certain(lost, c->snap, &all->v[i]);

		assert_ok(wr_reach_cheap(&yes, r, &all->v[i], NULL));
		assert_true(!yes || expected[i]);
		if (wr_snapshot_has(c->snap, &all->v[i]))
			assert_ok(wr_snapshot_stat(c->snap, &all->v[i], &type, NULL, NULL));
		if (expected[i] && (type == WR_COMMIT || type == WR_TAG) && !doubt)
			assert_true(yes);
		tally->doubts += doubt && expected[i];
	}
}

static void check_each(struct ck *c, const struct wr_oids *all, const bool *expected)
{
	WR_AUTO(wr_reach) *r = NULL;
	WR_AUTO_MEM bool *yes = calloc(all->len, sizeof *yes);
	size_t bad = 0, first = 0;

	assert_ok(wr_reach_new(&r, c->snap, NULL, NULL));
	/* Few first: a walk that ends early must not settle what it did not see. */
	for (int i = 0; i < 3; i++) {
		size_t at = chance(&c->f, (unsigned)all->len);

		assert_int_equal(is_reached(c, &all->v[at]), expected[at]);
	}
	for (int i = 0; i < 2; i++) {
		assert_ok(wr_reach_each(yes, r, all, NULL));
		assert_memory_equal(yes, expected, all->len * sizeof *yes);
	}
	while (first < all->len && expected[first])
		first++;
	assert_ok(wr_reach_all(&bad, r, all, NULL));
	assert_int_equal(bad, first);
}

static bool met_all(const struct tally *tally, unsigned lost)
{
	return lost > 5 && tally->no > 500 && tally->doubts > 0 && tally->settled > 5;
}

static void whatever_happens(void **state)
{
	struct ck *c = *state;
	struct choice pick = {{NULL, 0, 0}, {NULL, 0, 0}};
	struct tally tally = {0, 0, 0};
	unsigned lost = 0;

	choices(c, &pick, 80);
	/* Some histories are dull: then they go on until everything was met. */
	for (unsigned i = 0; i < rounds(40) || (i < rounds(400) && !met_all(&tally, lost)); i++) {
		WR_AUTO_S(wr_oids) all = {NULL, 0, 0};
		WR_AUTO_MEM bool *expected = NULL;
		const struct wr_lost *doubts;

		for (unsigned n = 1 + chance(&c->f, 3); n > 0; n--)
			one_change(c, &pick);
		if (chance(&c->f, 3) == 0)
			ck_checkpoint(c);
		expected = model(&all, c);
		for (size_t k = 0; k < all.len; k++)
			tally.no += !expected[k];
		lost += c->snap->lost;
		if (chance(&c->f, 2) == 0) {
			check_cheap(c, &all, expected, &tally);
			check_each(c, &all, expected);
		} else {
			check_each(c, &all, expected);
			check_cheap(c, &all, expected, &tally);
		}
		assert_ok(wr_lost_get(&doubts, c->snap, NULL, NULL));
		tally.settled += doubts->any;
		if (c->snap->lost && doubts->any)
			assert_true(doubts->exact);
	}
	assert_true(rounds(40) < 20 || met_all(&tally, lost));
	wr_oids_fini(&pick.commits);
	wr_oids_fini(&pick.others);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, ck_setup, ck_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(without_a_checkpoint),
		T(what_a_rewind_takes_away),
		T(another_ref_still_reaches_it),
		T(a_file_that_was_reverted_long_ago),
		T(dates_that_lie),
		T(tags_of_all_kinds),
		T(hidden_refs_reach_nothing),
		T(submodules_are_not_followed),
		T(shallow_roots),
		T(no_work_tells_what_is_stored),
		T(what_the_checkpoint_knew_costs_nothing),
		T(many_at_once_and_the_youngest_first),
		T(cancelling),
		T(what_is_lost_may_be_damaged),
		T(threads_share_a_snapshot),
		T(whatever_happens),
	};

	return cmocka_run_group_tests_name("git_reach", tests, NULL, NULL);
}
