/* A repository that is made with a history which ends before its beginning: what is stored of that, and who stops there. */
#include "tests/unit/git_fixture.h"

#include "core/git/fork.h"
#include "core/git/plan.h"
#include "core/git/snapshot_internal.h"
#include "core/git/verify.h"
#include "core/git/walk.h"

#define FORK_ID "11111111-2222-4333-8444-555555555555"

static int setup(void **state)
{
	struct fx *f;

	fx_setup(state);
	f = *state;
	fx_stop(f);
	f->cfg.no_keeper = true;
	fx_start(f);
	return 0;
}

static const char *folder(const char *id)
{
	static char path[128];

	snprintf(path, sizeof path, "data/repos/%.2s/%.2s/%s.git", id, id + 2, id);
	return path;
}

static void verify(struct fx *f, const char *id)
{
	WR_AUTO(wr_git_repo) *repo = NULL;
	WR_AUTO_S(wr_verified) v = {0};

	assert_ok(wr_git_repo_open(&repo, f->git, id, &f->err));
	if (wr_verify_repo(&v, repo, NULL, &f->err) != WR_OK)
		fail_msg("%s %s", f->err.text, f->err.detail);
	if (v.problem_count)
		fail_msg("%s", v.problems[0]);
}

static void checkpoint(struct fx *f)
{
	bool did;

	if (wr_git_repo_checkpoint(&did, f->repo, &f->err) != WR_OK)
		fail_msg("%s %s", f->err.text, f->err.detail);
}

/* "cut", a clone of src that ends at this depth. What it has as a pack, and its refs as updates. */
static void cut_history(struct fx *f, unsigned depth, struct wr_buf *pack, struct wr_oids *roots)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);

	sh(f, "rm -rf cut; git clone -q --bare --no-single-branch --depth %u file://$PWD/src cut", depth);
	sh_out(f, pack, "git -C cut pack-objects --all --stdout -q --delta-base-offset </dev/null");
	sh_out(f, &text, "cat cut/shallow 2>/dev/null || true");
	oids_of(roots, &text);
}

static size_t refs_of_cut(struct fx *f, struct wr_buf *text, struct wr_ref_update *u, size_t max)
{
	struct wr_str rest;
	size_t n = 0;

	sh_out(f, text, "git -C cut for-each-ref --format='%%(objectname) %%(refname)'");
	for (rest = wr_buf_str(text); rest.len; n++) {
		const char *nl = memchr(rest.ptr, '\n', rest.len);

		assert_true(n < max);
		u[n] = (struct wr_ref_update){.any_old = true};
		assert_true(wr_oid_parse(&u[n].new, wr_str_n(rest.ptr, WR_OID_HEX)));
		u[n].name = wr_str_n(rest.ptr + WR_OID_HEX + 1, (size_t)(nl - rest.ptr) - WR_OID_HEX - 1);
		rest = wr_str_skip(rest, (size_t)(nl + 1 - rest.ptr));
	}
	return n;
}

static enum wr_code take_cut(struct wr_quarantine **out, struct fx *f, const struct wr_buf *pack,
			     const struct wr_oids *roots)
{
	struct dribble src = {{dribble_read}, wr_buf_str(pack), 11};
	WR_AUTO(wr_quarantine) *q = NULL;
	enum wr_code code;

	assert_ok(wr_quarantine_new(&q, f->repo, &f->err));
	if (roots)
		wr_quarantine_roots(q, roots);
	code = wr_quarantine_pack(q, &src.base, NULL, NULL, &f->err);
	if (code == WR_OK)
		*out = WR_STEAL(q);
	return code;
}

/* The repository as cut is. */
static enum wr_code make_cut(struct fx *f, const struct wr_buf *pack, const struct wr_oids *roots)
{
	static struct wr_ref_update updates[256];
	WR_AUTO_S(wr_buf) names = WR_BUF_INIT(1 << 20);
	WR_AUTO(wr_quarantine) *q = NULL;
	struct wr_change change = {.updates = updates, .atomic = true};
	enum wr_code code;

	assert_ok(take_cut(&q, f, pack, roots));
	change.count = refs_of_cut(f, &names, updates, WR_ARRAY_LEN(updates));
	change.objects = q;
	if ((code = wr_git_append(f->repo, &change, &f->err)) != WR_OK)
		return code;
	for (size_t i = 0; i < change.count; i++)
		assert_string_equal(updates[i].reason, "");
	return WR_OK;
}

/* Its roots are those of cut, but for such as have no parents. */
static void same_roots(struct fx *f, const char *id)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);
	WR_AUTO_S(wr_oids) roots = {NULL, 0, 0};
	WR_AUTO(wr_git_repo) *repo = NULL;
	WR_AUTO(wr_snapshot) *snap = NULL;
	char hex[WR_OID_HEX + 1];

	assert_ok(wr_git_repo_open(&repo, f->git, id, &f->err));
	assert_ok(wr_snapshot_take(&snap, repo, &f->err));
	assert_ok(wr_snapshot_roots(&roots, snap, &f->err));
	for (size_t i = 0; i < roots.len; i++) {
		wr_oid_hex(hex, &roots.v[i]);
		wr_buf_printf(&text, "%s\n", hex);
	}
	write_whole(f, "roots", wr_buf_str(&text));
	sh(f, "sort roots >got; for c in $(cat cut/shallow 2>/dev/null); do "
	      "! git -C src cat-file commit $c | sed '/^$/q' | grep -q ^parent || echo $c; done | sort >want; cmp got want");
}

/* What somebody who wants all refs is told of roots; who has them already needs not hear of any. */
static void roots_are_told(struct fx *f, struct wr_snapshot *snap, const struct wr_oids *wants,
			   const struct wr_oids *haves)
{
	WR_AUTO_S(wr_oids) told = {NULL, 0, 0}, again = {NULL, 0, 0};
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);
	const struct wr_oids none = {NULL, 0, 0};
	char hex[WR_OID_HEX + 1];

	assert_ok(wr_walk_roots(&told, snap, wants, &none, &none, NULL, &f->err));
	for (size_t i = 0; i < told.len; i++) {
		wr_oid_hex(hex, &told.v[i]);
		wr_buf_printf(&text, "%s\n", hex);
	}
	write_whole(f, "told", wr_buf_str(&text));
	sh(f, "sort told >got; for c in $(cat cut/shallow 2>/dev/null); do "
	      "! git -C src cat-file commit $c | sed '/^$/q' | grep -q ^parent || echo $c; done | sort >ends; "
	      "git -C cut rev-list --all | sort | comm -12 - ends >want; cmp got want");
	assert_ok(wr_walk_roots(&again, snap, wants, &none, &told, NULL, &f->err));
	assert_int_equal(again.len, 0);
	assert_ok(wr_walk_roots(&again, snap, wants, haves, &none, NULL, &f->err));
	assert_int_equal(again.len, 0);
}

/* All objects that a pack for somebody without anything has, against what cut's refs reach. */
static void clone_is_whole(struct fx *f, const char *id)
{
	struct copy {
		struct wr_sink base;
		struct wr_buf bytes;
	};
	WR_AUTO(wr_git_repo) *repo = NULL;
	WR_AUTO(wr_snapshot) *snap = NULL;
	WR_AUTO(wr_plan) *plan = NULL;
	WR_AUTO_S(wr_oids) wants = {NULL, 0, 0}, haves = {NULL, 0, 0};
	const struct wr_oids none = {NULL, 0, 0};
	struct wr_plan_request req = {.wants = &wants, .haves = &none, .client_shallow = &none, .ofs_delta = true};
	uint64_t objects;
	size_t n;
	const struct wr_ref *refs;
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);

	assert_ok(wr_git_repo_open(&repo, f->git, id, &f->err));
	assert_ok(wr_snapshot_take(&snap, repo, &f->err));
	refs = wr_snapshot_refs(snap, &n);
	for (size_t i = 0; i < n; i++) {
		assert_ok(wr_oids_add(&wants, &refs[i].oid, &f->err));
		assert_ok(wr_oids_add(&haves, wr_oid_zero(&refs[i].peeled) ? &refs[i].oid : &refs[i].peeled, &f->err));
	}
	if (wr_plan_new(&plan, snap, &req, NULL, NULL, &f->err) != WR_OK)
		fail_msg("%s %s", f->err.text, f->err.detail);
	objects = wr_plan_objects(plan);
	wr_buf_printf(&text, "%llu\n", (unsigned long long)objects);
	write_whole(f, "got", wr_buf_str(&text));
	sh(f, "git -C cut rev-list --all --objects | wc -l >want; cmp got want");
	roots_are_told(f, snap, &wants, &haves);
}

/* What plain git finds in the folder of the last checkpoint. */
static void git_agrees(struct fx *f, const char *id)
{
	const char *path = folder(id);

	sh(f, "git --git-dir=%s fsck --full --strict 2>&1 | grep -v '^notice' >said || true; ! grep -E 'error|missing|broken' said",
	   path);
	sh(f, "git --git-dir=%s rev-list --all | sort >got; git -C cut rev-list --all | sort >want; cmp got want", path);
}

static void fork_agrees(struct fx *f)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_fork fork = {.default_branch = wr_str("b0")};
	size_t n;

	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	fork.refs = wr_snapshot_refs(snap, &n);
	fork.ref_count = n;
	if (wr_git_fork(&fork, f->git, FORK_ID, f->repo, snap, NULL, &f->err) != WR_OK)
		fail_msg("%s %s", f->err.text, f->err.detail);
	same_roots(f, FORK_ID);
	git_agrees(f, FORK_ID);
	verify(f, FORK_ID);
	clone_is_whole(f, FORK_ID);
}

/* On top of some branch of cut, which gets it too. */
static void push_on_top(struct fx *f, unsigned i)
{
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(1 << 20);
	char hex[WR_OID_HEX + 1];
	struct wr_oid old, new;
	char ref[32];

	snprintf(ref, sizeof ref, "refs/heads/b%u", i);
	if (sh_try(f, NULL, "git -C cut rev-parse -q --verify %s >/dev/null", ref) != 0)
		return;
	sh_oid(f, &old, "git -C cut rev-parse %s", ref);
	wr_oid_hex(hex, &old);
	sh_oid(f, &new,
	       "cd cut; b=$(echo new %u | git hash-object -w --stdin); t=$( (git ls-tree %s; printf '100644 blob %%s\\tnew\\n' $b) "
	       "| git mktree); c=$(git commit-tree -m on -p %s $t); git update-ref %s $c; echo $c",
	       i, hex, hex, ref);
	sh_out(f, &pack, "cd cut; printf '%%s\\n^%s\\n' $(git rev-parse %s) | git pack-objects -q --revs --thin --stdout",
	       hex, ref);
	assert_ok(push(f, wr_buf_str(&pack), ref, &new));
}

/* A branch goes back, which makes the next walks look at everything. */
static void rewind_one(struct fx *f)
{
	struct wr_oid to;

	if (sh_try(f, NULL, "git -C cut rev-parse -q --verify b1^ >/dev/null && git -C cut update-ref refs/heads/b1 b1^") != 0)
		return;
	sh_oid(f, &to, "git -C cut rev-parse b1");
	assert_ok(push(f, WR_S(""), "refs/heads/b1", &to));
}

static void restart(struct fx *f)
{
	fx_stop(f);
	fx_start(f);
}

static void histories_that_end(void **state)
{
	struct fx *f = *state;
	unsigned n = rounds(3), seed = f->seed;

	for (unsigned i = 0; i < n; i++) {
		WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(64u << 20);
		struct wr_oids roots = {NULL, 0, 0};

		f->seed = seed + i;
		print_message("seed %u\n", f->seed);
		sh(f, "rm -rf src");
		make_history(f, "src", 20 + chance(f, 60));
		cut_history(f, 1 + chance(f, 8), &pack, &roots);
		assert_ok(make_cut(f, &pack, roots.len ? &roots : NULL));
		wr_oids_fini(&roots);
		same_roots(f, REPO_ID);
		verify(f, REPO_ID);
		clone_is_whole(f, REPO_ID);
		if (chance(f, 2))
			restart(f);
		for (unsigned b = 0; b < 5; b++)
			push_on_top(f, b);
		same_roots(f, REPO_ID);
		if (chance(f, 2))
			checkpoint(f);
		rewind_one(f);
		clone_is_whole(f, REPO_ID);
		verify(f, REPO_ID);
		fork_agrees(f);
		checkpoint(f);
		restart(f);
		git_agrees(f, REPO_ID);
		verify(f, REPO_ID);
		same_roots(f, REPO_ID);
		clone_is_whole(f, REPO_ID);
		fx_stop(f);
		sh(f, "rm -rf data");
		fx_start(f);
	}
}

/* Three commits in a line, of which the pack has the last two. */
static void line_of_three(struct fx *f, struct wr_buf *pack, struct wr_oids *roots)
{
	sh(f, "git init -q --bare -b b0 src; cd src; t=$(git mktree </dev/null); a=$(git commit-tree -m a $t); "
	      "b=$(git commit-tree -m b -p $a $t); git update-ref refs/heads/b0 $(git commit-tree -m c -p $b $t)");
	cut_history(f, 2, pack, roots);
	assert_int_equal(roots->len, 1);
}

static void what_is_no_root_has_its_parents(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(1 << 20);
	WR_AUTO_S(wr_oids) roots = {NULL, 0, 0};
	WR_AUTO(wr_quarantine) *q = NULL;
	struct wr_oids tip = {(struct wr_oid[1]){{{0}}}, 1, 1};

	line_of_three(f, &pack, &roots);
	assert_int_equal(take_cut(&q, f, &pack, NULL), WR_E_BAD_PACK);
	sh_oid(f, &tip.v[0], "git -C src rev-parse b0");
	assert_int_equal(take_cut(&q, f, &pack, &tip), WR_E_BAD_PACK);
	assert_null(q);
}

static void roots_that_did_not_come_are_none(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(1 << 20);
	WR_AUTO_S(wr_oids) roots = {NULL, 0, 0}, odd = {NULL, 0, 0};
	struct wr_oid oid;

	line_of_three(f, &pack, &roots);
	/* One that is nowhere, what is no commit, and each twice. */
	sh_oid(f, &oid, "git -C src rev-parse b0~2");
	for (unsigned i = 0; i < 2; i++) {
		assert_ok(wr_oids_add(&odd, &oid, &f->err));
		assert_ok(wr_oids_add(&odd, &roots.v[0], &f->err));
	}
	sh_oid(f, &oid, "git -C src rev-parse b0^{tree}");
	assert_ok(wr_oids_add(&odd, &oid, &f->err));
	assert_ok(make_cut(f, &pack, &odd));
	same_roots(f, REPO_ID);
	restart(f);
	same_roots(f, REPO_ID);
	verify(f, REPO_ID);
}

static void a_history_that_came_whole_has_no_roots(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(1 << 20);
	WR_AUTO_S(wr_oids) roots = {NULL, 0, 0}, first = {NULL, 0, 0};
	struct wr_oid oid;

	line_of_three(f, &pack, &roots);
	wr_buf_clear(&pack);
	sh(f, "rm -rf cut; git clone -q --bare src cut");
	sh_out(f, &pack, "git -C cut pack-objects --all --stdout -q </dev/null");
	sh_oid(f, &oid, "git -C src rev-parse b0~2");
	assert_ok(wr_oids_add(&first, &oid, &f->err));
	assert_ok(make_cut(f, &pack, &first));
	same_roots(f, REPO_ID);
	sh(f, "test ! -e %s/warren/1.refs", folder(REPO_ID));
}

static void what_is_there_is_not_cut(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(1 << 20), whole = WR_BUF_INIT(1 << 20);
	WR_AUTO_S(wr_oids) roots = {NULL, 0, 0};
	struct wr_oid tip;

	line_of_three(f, &pack, &roots);
	sh_out(f, &whole, "git -C src pack-objects --all --stdout -q </dev/null");
	sh_oid(f, &tip, "git -C src rev-parse b0");
	assert_ok(push(f, wr_buf_str(&whole), "refs/heads/main", &tip));
	assert_int_equal(make_cut(f, &pack, &roots), WR_E_INTERNAL);
	verify(f, REPO_ID);
	wr_error_fini(&f->err);
}

/* Whoever sends a root anew, as a clone of a clone may, need not have what the repository does without. */
static void a_root_may_come_again(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(1 << 20);
	WR_AUTO_S(wr_oids) roots = {NULL, 0, 0};
	WR_AUTO(wr_quarantine) *q = NULL;
	struct wr_oid tip;

	line_of_three(f, &pack, &roots);
	assert_ok(make_cut(f, &pack, &roots));
	sh_oid(f, &tip, "git -C src rev-parse b0");
	assert_ok(push(f, wr_buf_str(&pack), "refs/heads/again", &tip));
	/* But not once nothing reaches it: it may go, and its mark with it. */
	tip = (struct wr_oid){{0}};
	assert_ok(push(f, WR_S(""), "refs/heads/again", &tip));
	assert_ok(push(f, WR_S(""), "refs/heads/b0", &tip));
	checkpoint(f);
	assert_int_equal(take_cut(&q, f, &pack, NULL), WR_E_BAD_PACK);
	verify(f, REPO_ID);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(histories_that_end),
		T(what_is_no_root_has_its_parents),
		T(roots_that_did_not_come_are_none),
		T(a_history_that_came_whole_has_no_roots),
		T(what_is_there_is_not_cut),
		T(a_root_may_come_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
