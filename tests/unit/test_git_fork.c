/*
 * Forks: whatever became of the source, a fork's files hold exactly what its refs reach; git reads the folder; and it stays
 * whole when the source has gone.
 */
#include "tests/unit/git_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

#include "core/git/derived.h"
#include "core/git/fork.h"
#include "core/git/snapshot_internal.h"
#include "core/git/verify.h"

struct seen {
	unsigned linked, copied, own, exact, others;
};

enum which { SOME, HEADS_AND_TAGS, ALL };

static void next_id(char id[37], struct fx *f)
{
	static unsigned n;

	(void)f;
	snprintf(id, 37, "11111111-2222-4333-8444-%012u", ++n);
}

static const char *folder(const char *id)
{
	static char path[128];

	snprintf(path, sizeof path, "data/repos/%.2s/%.2s/%s.git", id, id + 2, id);
	return path;
}

static bool is_head_or_tag(const struct wr_ref *ref)
{
	return wr_str_starts(ref->name, WR_S("refs/heads/")) || wr_str_starts(ref->name, WR_S("refs/tags/"));
}

/* Refs of the snapshot: all, all heads and tags, or some of any kind. */
static size_t choose_refs(struct wr_ref *out, struct fx *f, const struct wr_snapshot *snap, enum which which)
{
	struct wr_ref_cursor cursor;
	struct wr_ref ref;
	size_t n = 0;

	wr_ref_cursor_init(&cursor, snap, wr_str("refs/"));
	while (wr_ref_cursor_next(&ref, &cursor))
		if (which == ALL || (which == SOME && chance(f, 3) == 0) ||
		    (which == HEADS_AND_TAGS && is_head_or_tag(&ref)))
			out[n++] = ref;
	return n;
}

static void write_refs(struct fx *f, const struct wr_ref *refs, size_t n)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);
	char hex[WR_OID_HEX + 1];

	for (size_t i = 0; i < n; i++) {
		wr_oid_hex(hex, &refs[i].oid);
		wr_buf_printf(&text, "%s %.*s\n", hex, (int)refs[i].name.len, refs[i].name.ptr);
	}
	write_whole(f, "refs", wr_buf_str(&text));
}

/* Each object in a pack of its role, and no time for any. */
static void judge_roles(struct fx *f, const char *id)
{
	WR_AUTO(wr_git_repo) *repo = NULL;
	WR_AUTO_S(wr_verified) v = {.refs = 0};

	assert_ok(wr_git_repo_open(&repo, f->git, id, &f->err));
	assert_ok(wr_verify_repo(&v, repo, NULL, &f->err));
	if (v.problem_count)
		print_error("%s\n", v.problems[0]);
	assert_int_equal(v.problem_count, 0);
}

/* What git finds in the folder, against the refs that were asked for and what they reach in a repository with everything. */
static void judge(struct fx *f, const char *id)
{
	const char *path = folder(id);

	sh(f, "git --git-dir=%s for-each-ref --format='%%(objectname) %%(refname)' >got; sort -k2 refs >want; cmp got want",
	   path);
	sh(f, "git --git-dir=%s fsck --full --strict 2>&1 | grep -v '^notice' >said || true; ! grep -E 'error|missing|broken|dangling' said",
	   path);
	sh(f, "for i in %s/objects/pack/*.idx; do git show-index <$i; done | cut -d' ' -f2 | sort >got; "
	      "cut -d' ' -f1 refs | git -C src rev-list --objects --stdin | cut -c1-40 | sort >want; cmp got want",
	   path);
	sh(f, "test $(ls %s/warren | grep -c journal) = 1", path);
	judge_roles(f, id);
}

static void fork_once(struct fx *f, struct seen *seen, enum which which, char id[37])
{
	static struct wr_ref refs[1024];
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_fork fork = {.refs = refs, .default_branch = wr_str("b0")};

	next_id(id, f);
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	fork.ref_count = choose_refs(refs, f, snap, which);
	if (fork.ref_count == 0) {
		id[0] = '\0';
		return;
	}
	write_refs(f, refs, fork.ref_count);
	assert_ok(wr_git_fork(&fork, f->git, id, f->repo, snap, NULL, &f->err));
	for (size_t i = 0; i < fork.ref_count; i++)
		seen->others += !is_head_or_tag(&refs[i]);
	seen->linked += fork.linked;
	seen->copied += fork.copied;
	seen->own += fork.written > 0;
	seen->exact += fork.written == 0;
	judge(f, id);
}

static void move_ref(struct fx *f, const struct wr_oids *commits)
{
	char name[32];
	static const struct wr_oid zero;
	bool gone = chance(f, 4) == 0;

	snprintf(name, sizeof name, "refs/%s/b%u", chance(f, 5) ? "heads" : "pull", chance(f, 6));
	(void)push(f, wr_str(""), name, gone ? &zero : &commits->v[chance(f, (unsigned)commits->len)]);
}

static void a_fork_holds_what_its_refs_reach(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_oids) commits = {NULL, 0, 0};
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);
	struct seen seen = {0};
	char id[37];
	bool did;

	make_history(f, "src", 60);
	sh(f, "cd src; for i in 1 2 3; do t=$(printf \"100644 blob %%s\\tf\\n\" $(echo $i | git hash-object -w --stdin) | git "
	      "mktree); git update-ref refs/pull/$i/head $(git commit-tree -m pull -p $(git rev-list --all -1) $t); done");
	push_all(f, "src");
	sh_out(f, &text, "git -C src rev-list --all");
	oids_of(&commits, &text);
	assert_ok(wr_git_repo_checkpoint(&did, f->repo, &f->err));
	fork_once(f, &seen, ALL, id);
	for (unsigned i = 0; i < rounds(16); i++) {
		move_ref(f, &commits);
		if (chance(f, 2))
			assert_ok(wr_git_repo_checkpoint(&did, f->repo, &f->err));
		fork_once(f, &seen, chance(f, 3), id);
	}
	assert_true(seen.linked > 0 && seen.own > 0 && seen.others > 0);
}

/* What was forced away lies in the base as dead entries, which a link would bring along. */
static void what_was_forced_away_does_not_come_along(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_git_info) info = {.packs = NULL};
	struct seen seen = {0};
	struct wr_oid main, secret;
	uint64_t dead = 0;
	char id[37];
	bool did;

	make_history(f, "src", 40);
	sh(f, "git -C src tag -l | xargs -r git -C src tag -d >said");
	sh_oid(f, &main, "git -C src rev-parse b1");
	sh_oid(f, &secret, "git -C src commit-tree -p b1 -m secret b1^{tree}");
	sh(f, "git -C src branch -f b1 $(git -C src commit-tree -p b1 -m secret b1^{tree})");
	push_all(f, "src");
	assert_ok(wr_git_repo_checkpoint(&did, f->repo, &f->err));
	assert_ok(push(f, wr_str(""), "refs/heads/b1", &main));
	fork_once(f, &seen, HEADS_AND_TAGS, id);
	assert_ok(wr_git_repo_checkpoint(&did, f->repo, &f->err));
	assert_ok(wr_git_repo_info(&info, f->repo, &f->err));
	for (size_t i = 0; i < info.pack_count; i++)
		dead += info.packs[i].dead;
	assert_int_equal(dead, 1);
	fork_once(f, &seen, HEADS_AND_TAGS, id);
	assert_int_equal(seen.linked, 0);
}

/* After a checkpoint, the same refs: nothing is written but links. */
static void the_same_refs_are_links(void **state)
{
	struct fx *f = *state;
	struct seen seen = {0};
	char id[37];
	bool did;

	make_history(f, "src", 40);
	push_all(f, "src");
	assert_ok(wr_git_repo_checkpoint(&did, f->repo, &f->err));
	fork_once(f, &seen, HEADS_AND_TAGS, id);
	assert_int_equal(seen.exact, 1);
	assert_true(seen.linked > 0);
	assert_int_equal(seen.copied, 0);
	sh(f, "for i in %s/objects/pack/*.pack; do test $(stat -c %%h $i) = 2; done", folder(id));
}

/* What was worked out from the source's history comes along, and is each one's own from then on. */
static void what_was_worked_out_comes_along(void **state)
{
	struct fx *f = *state;
	struct seen seen = {0};
	WR_AUTO_MEM char *first = NULL;
	WR_AUTO_MEM char *second = NULL;
	char id[37];
	size_t len;

	make_history(f, "src", 10);
	push_all(f, "src");
	fork_once(f, &seen, HEADS_AND_TAGS, id);
	assert_int_equal(wr_git_derived_read(&first, &len, f->git, id, 100, NULL), WR_E_NOT_THERE);
	wr_git_derived_write(f->git, REPO_ID, WR_S("worked out"));
	fork_once(f, &seen, HEADS_AND_TAGS, id);
	wr_git_derived_write(f->git, REPO_ID, WR_S("something else"));
	assert_ok(wr_git_derived_read(&first, &len, f->git, id, 100, NULL));
	assert_true(len == 10 && memcmp(first, "worked out", len) == 0);
	wr_git_derived_write(f->git, id, WR_S("of the fork"));
	assert_ok(wr_git_derived_read(&second, &len, f->git, REPO_ID, 100, NULL));
	assert_true(len == 14 && memcmp(second, "something else", len) == 0);
}

/* What only other refs reach is a link as well, beside the base and not in it. */
static void other_refs_come_apart(void **state)
{
	struct fx *f = *state;
	struct seen seen = {0};
	char id[37];
	bool did;

	make_history(f, "src", 40);
	sh(f, "cd src; t=$(printf \"100644 blob %%s\\tf\\n\" $(head -c 1500000 /dev/urandom | git hash-object -w --stdin) | "
	      "git mktree); git update-ref refs/pull/1/head $(git commit-tree -m pull -p $(git rev-list --all -1) $t)");
	push_all(f, "src");
	assert_ok(wr_git_repo_checkpoint(&did, f->repo, &f->err));
	fork_once(f, &seen, ALL, id);
	assert_int_equal(seen.exact, 1);
	assert_int_equal(seen.linked, 2);
	fork_once(f, &seen, HEADS_AND_TAGS, id);
	assert_int_equal(seen.exact, 2);
	assert_int_equal(seen.linked, 3);
}

/* The files are taken from what is mapped where the source's folder went while the fork was made. */
static void a_fork_outlives_its_source(void **state)
{
	struct fx *f = *state;
	static struct wr_ref refs[1024];
	struct seen seen = {0};
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_fork fork = {.refs = refs, .default_branch = wr_str("b0")};
	char before[37], after[37];
	bool did;

	make_history(f, "src", 40);
	push_all(f, "src");
	assert_ok(wr_git_repo_checkpoint(&did, f->repo, &f->err));
	fork_once(f, &seen, HEADS_AND_TAGS, before);
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	fork.ref_count = choose_refs(refs, f, snap, HEADS_AND_TAGS);
	wr_git_kill(f->git, REPO_ID);
	assert_ok(wr_git_remove(f->git, REPO_ID, &f->err));
	judge(f, before);
	next_id(after, f);
	assert_ok(wr_git_fork(&fork, f->git, after, f->repo, snap, NULL, &f->err));
	assert_int_equal(fork.linked, 0);
	assert_true(fork.copied > 0);
	judge(f, after);
}

/* ---- while the source changes ---- */

struct writing {
	struct fx *f;
	const struct wr_oids *commits;
	atomic_bool stop;
	unsigned done, failed;
};

/* Branches move to and fro, and each checkpoint has another base. */
static void *write_on(void *arg)
{
	static const char *const names[] = {"refs/heads/b0", "refs/heads/b1", "refs/pull/9/head"};
	struct writing *w = arg;
	unsigned seed = first_seed();

	while (!atomic_load(&w->stop)) {
		struct wr_ref_update u = {.name = wr_str(names[(unsigned)rand_r(&seed) % 3]),
					  .new = w->commits->v[(size_t)rand_r(&seed) % w->commits->len],
					  .any_old = true};
		struct wr_change change = {.updates = &u, .count = 1};
		struct wr_maintained m;
		bool did;

		w->failed += wr_git_append(w->f->repo, &change, NULL) != WR_OK || u.result != WR_OK;
		if (rand_r(&seed) % 8 == 0)
			w->failed += wr_git_repo_maintain(&m, w->f->repo, false, NULL, NULL, NULL) != WR_OK;
		else if (rand_r(&seed) % 2)
			w->failed += wr_git_repo_checkpoint(&did, w->f->repo, NULL) != WR_OK;
		w->done++;
	}
	return NULL;
}

static void a_source_that_is_written_to(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_oids) commits = {NULL, 0, 0};
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);
	struct writing w = {.f = f, .commits = &commits};
	struct seen seen = {0};
	pthread_t thread;
	char id[37];

	make_history(f, "src", 60);
	push_all(f, "src");
	sh_out(f, &text, "git -C src rev-list --all");
	oids_of(&commits, &text);
	assert_int_equal(pthread_create(&thread, NULL, write_on, &w), 0);
	for (unsigned i = 0; i < rounds(8); i++)
		fork_once(f, &seen, chance(f, 3), id);
	atomic_store(&w.stop, true);
	pthread_join(thread, NULL);
	assert_true(w.done > 0);
	assert_int_equal(w.failed, 0);
}

/* A fork is a repository as any other: it is pushed to, gets checkpoints, is opened again, and is forked. */
static void forks_of_forks(void **state)
{
	struct fx *f = *state;
	struct wr_git_repo *first = f->repo;
	struct seen seen = {0};
	WR_AUTO_S(wr_oids) commits = {NULL, 0, 0};
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);
	char id[37];
	bool did;

	make_history(f, "src", 40);
	push_all(f, "src");
	sh_out(f, &text, "git -C src rev-list --branches --tags");
	oids_of(&commits, &text);
	assert_ok(wr_git_repo_checkpoint(&did, f->repo, &f->err));
	for (unsigned i = 0; i < 5; i++) {
		fork_once(f, &seen, i > 0 ? ALL : SOME, id);
		if (!id[0])
			continue;
		if (f->repo != first)
			wr_git_repo_unref(f->repo);
		assert_ok(wr_git_repo_open(&f->repo, f->git, id, &f->err));
		/* Only what the fork has may be pushed without a pack. */
		for (unsigned k = 0; k < 4; k++)
			move_ref(f, &commits);
		if (i % 2)
			assert_ok(wr_git_repo_checkpoint(&did, f->repo, &f->err));
	}
	if (f->repo != first)
		wr_git_repo_unref(first);
}

static void what_fails_leaves_nothing(void **state)
{
	struct fx *f = *state;
	static struct wr_ref refs[1024];
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_fork fork = {.refs = refs, .default_branch = wr_str("b0")};
	char id[37];

	make_history(f, "src", 20);
	push_all(f, "src");
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	fork.ref_count = choose_refs(refs, f, snap, HEADS_AND_TAGS);
	memset(&refs[fork.ref_count - 1].oid, 7, sizeof refs[0].oid);
	next_id(id, f);
	assert_int_equal(wr_git_fork(&fork, f->git, id, f->repo, snap, NULL, &f->err), WR_E_INTERNAL);
	sh(f, "test -z \"$(find data/repos -name '%s*')\"", id);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_fork_holds_what_its_refs_reach, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(what_was_forced_away_does_not_come_along, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(the_same_refs_are_links, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(what_was_worked_out_comes_along, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(other_refs_come_apart, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(a_fork_outlives_its_source, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(a_source_that_is_written_to, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(forks_of_forks, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(what_fails_leaves_nothing, fx_setup, fx_teardown),
	};

	return cmocka_run_group_tests_name("git/fork", tests, NULL, NULL);
}
