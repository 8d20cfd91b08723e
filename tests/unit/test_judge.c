/* triggers/judge: which updates a trigger's globs want, over real histories; what was forced; and where nobody can tell. */
#include "tests/unit/content_fixture.h"

#include "core/base/clock.h"
#include "core/base/log.h"
#include "triggers/judge.h"

static const struct wr_judge_bounds usual = {.entries = 100000, .commits = 10000, .ms = 60000, .cpu_ms = 60000};

/* A commit of fast-import's stream on a branch: its parents are marks. */
static void put_commit(struct wr_buf *in, const char *branch, int mark, int from, int merge)
{
	wr_buf_printf(in, "commit refs/heads/%s\nmark :%d\ncommitter C <c@example.org> %d +0000\ndata 0\n", branch, mark,
		      1700000000 + mark);
	if (from)
		wr_buf_printf(in, "from :%d\n", from);
	if (merge)
		wr_buf_printf(in, "merge :%d\n", merge);
}

static void put_file(struct wr_buf *in, const char *path, const char *text)
{
	wr_buf_printf(in, "M 100644 inline \"%s\"\ndata %zu\n%s\n", path, strlen(text), text);
}

static void rev(struct fx *f, struct wr_oid *out, const char *name)
{
	if (name)
		sh_oid(f, out, "git -C real rev-parse '%s'", name);
	else
		memset(out, 0, sizeof *out);
}

/* What becomes of an update of this branch; old or head NULL: there was none, head "": not known. */
struct update {
	const char *branch, *old, *new, *head;
};

static void make_hook(struct wr_hook *hook, struct fx *f, const struct update *u)
{
	*hook = (struct wr_hook){.kind = WR_DELIVERY_PUSH};
	snprintf(hook->repo_id, sizeof hook->repo_id, "%s", REPO_ID);
	snprintf(hook->branch, sizeof hook->branch, "%s", u->branch);
	rev(f, &hook->old, u->old);
	rev(f, &hook->new, u->new);
	hook->head_known = !u->head || u->head[0];
	if (hook->head_known)
		rev(f, &hook->head, u->head);
}

static bool judge(struct wr_hook *hook, struct fx *f, const char *globs, const struct wr_judge_bounds *bounds)
{
	json_t *list = globs ? json_loads(globs, 0, NULL) : NULL;
	bool wanted = false;

	assert_true(list || !globs);
	assert_ok(wr_hook_judge(&wanted, hook, list, f->git, "main", bounds, NULL, &f->err));
	json_decref(list);
	return wanted;
}

/* Surely so: nothing stood in the way. */
static bool wants(struct fx *f, const struct update *u, const char *globs)
{
	struct wr_hook hook;
	bool wanted;

	make_hook(&hook, f, u);
	wanted = judge(&hook, f, globs, &usual);
	assert_string_equal(hook.note, "");
	assert_false(hook.forced_known);
	return wanted;
}

/*
 *	1 - 2 - 5      main      1: a.txt src/one.c  2: docs/new.md  5: merges 4
 *	  \   /
 *	   3 - 4 - 6   topic     3: src/two.c  4: lib (a file)  6: lib/x (a folder), bytes that are no text
 *	7              alone     has nothing in common: alone.txt
 */
static void make_repository(struct fx *f)
{
	WR_AUTO_S(wr_buf) in = WR_BUF_INIT(1 << 20);

	put_commit(&in, "main", 1, 0, 0);
	put_file(&in, "a.txt", "a");
	put_file(&in, "src/one.c", "one");
	put_commit(&in, "main", 2, 1, 0);
	put_file(&in, "docs/new.md", "new");
	put_commit(&in, "topic", 3, 1, 0);
	put_file(&in, "src/two.c", "two");
	put_commit(&in, "topic", 4, 3, 0);
	put_file(&in, "lib", "a file");
	put_commit(&in, "main", 5, 2, 4);
	put_file(&in, "src/two.c", "two");
	put_file(&in, "lib", "a file");
	put_commit(&in, "topic", 6, 4, 0);
	put_file(&in, "lib/x", "below");
	put_file(&in, "b/\\377\\303.bin", "bytes");
	wr_buf_printf(&in, "M 160000 %040d vendor/sub\n", 5);
	wr_buf_printf(&in, "reset refs/heads/alone\n");
	put_commit(&in, "alone", 7, 0, 0);
	put_file(&in, "alone.txt", "alone");
	import(f, "real", &in);
	push_all(f, "real");
}

#define A_TXT "[\"a.txt\"]"

static void moves_of_branches(void **state)
{
	struct fx *f = *state;
	const struct update second = {"main", "main~2", "main~1", "main~2"};
	const struct update merge = {"main", "main~1", "main", "main~1"};
	const struct update topic = {"topic", "topic~1", "topic", "main"};
	const struct update back = {"main", "main", "main~2", "main"};
	const struct update away = {"topic", "topic", "alone", "main"};

	make_repository(f);
	assert_true(wants(f, &second, NULL));
	assert_true(wants(f, &second, "[]"));
	assert_true(wants(f, &second, "[\"docs/**\"]"));
	assert_true(wants(f, &second, "[\"*.md\"]"));
	assert_true(wants(f, &second, "[\"src/**\",\"*.md\"]"));
	assert_false(wants(f, &second, "[\"src/**\"]"));
	assert_false(wants(f, &second, A_TXT));
	/* Folders are no paths. */
	assert_false(wants(f, &second, "[\"docs\"]"));
	/* A merge changes what it brings to the branch, and nothing that was there. */
	assert_true(wants(f, &merge, "[\"src/two.c\"]"));
	assert_true(wants(f, &merge, "[\"lib\"]"));
	assert_false(wants(f, &merge, "[\"docs/**\"]"));
	/* A file that becomes a folder is gone, and what is below has come. */
	assert_true(wants(f, &topic, "[\"lib\"]"));
	assert_true(wants(f, &topic, "[\"lib/*\"]"));
	assert_true(wants(f, &topic, "[\"vendor/sub\"]"));
	assert_true(wants(f, &topic, "[\"b/*.bin\"]"));
	assert_false(wants(f, &topic, "[\"src/**\"]"));
	/* All that a move back takes away, and a move to somewhere else. */
	assert_true(wants(f, &back, "[\"docs/new.md\"]"));
	assert_true(wants(f, &back, "[\"src/two.c\"]"));
	assert_false(wants(f, &back, "[\"src/one.c\"]"));
	assert_true(wants(f, &away, "[\"alone.txt\"]"));
	assert_true(wants(f, &away, "[\"vendor/sub\"]"));
}

static void new_branches(void **state)
{
	struct fx *f = *state;
	const struct update topic = {"topic", NULL, "topic", "main~1"};
	const struct update merged = {"topic", NULL, "topic", "main"};
	const struct update now = {"topic", NULL, "topic", ""};
	const struct update same = {"again", NULL, "main", "main"};
	const struct update behind = {"again", NULL, "main~2", "main"};
	const struct update alone = {"alone", NULL, "alone", "main"};
	const struct update unborn = {"topic", NULL, "topic", NULL};
	const struct update itself = {"main", NULL, "main", "main"};
	const struct update itself_now = {"main", NULL, "main", ""};

	make_repository(f);
	/* As main was before the merge: what both began with does not count, and what main has beyond it neither. */
	assert_true(wants(f, &topic, "[\"src/two.c\"]"));
	assert_true(wants(f, &topic, "[\"lib/x\"]"));
	assert_false(wants(f, &topic, A_TXT));
	assert_false(wants(f, &topic, "[\"docs/**\"]"));
	/* After it: only what came since. The same where nobody wrote the tip down. */
	assert_false(wants(f, &merged, "[\"src/two.c\"]"));
	assert_true(wants(f, &merged, "[\"lib/x\"]"));
	assert_false(wants(f, &now, "[\"src/two.c\"]"));
	assert_true(wants(f, &now, "[\"lib/x\"]"));
	/* Nothing is new, so no path is; without globs it is wanted all the same. */
	assert_false(wants(f, &same, "[\"**\"]"));
	assert_false(wants(f, &behind, "[\"**\"]"));
	assert_true(wants(f, &same, NULL));
	/* Without a merge base, or without a default branch, all of it is. */
	assert_true(wants(f, &alone, "[\"alone.txt\"]"));
	assert_false(wants(f, &alone, A_TXT));
	assert_true(wants(f, &unborn, A_TXT));
	assert_true(wants(f, &itself, A_TXT));
	assert_true(wants(f, &itself_now, A_TXT));
}

static void default_branch_that_is_not_there(void **state)
{
	struct fx *f = *state;
	const struct update u = {"topic", NULL, "topic", ""};
	json_t *globs = json_loads(A_TXT, 0, NULL);
	struct wr_hook hook;
	bool wanted = false;

	make_repository(f);
	make_hook(&hook, f, &u);
	assert_ok(wr_hook_judge(&wanted, &hook, globs, f->git, "master", &usual, NULL, &f->err));
	assert_true(wanted);
	json_decref(globs);
}

/* ---- forced ---- */

static bool forced(struct fx *f, const struct update *u)
{
	struct wr_hook hook;

	make_hook(&hook, f, u);
	hook.extended = true;
	assert_true(judge(&hook, f, NULL, &usual));
	assert_true(hook.forced_known);
	assert_string_equal(hook.note, "");
	return hook.forced;
}

static void what_was_forced(void **state)
{
	struct fx *f = *state;
	const struct update ahead = {"main", "main~2", "main", "main"}, second = {"main", "topic~1", "main", "main"};
	const struct update back = {"main", "main", "main~1", "main"}, aside = {"topic", "topic", "main", "main"};
	const struct update alone = {"main", "alone", "main", "main"}, made = {"topic", NULL, "topic", "main"};
	struct wr_hook hook;

	make_repository(f);
	assert_false(forced(f, &ahead));
	assert_false(forced(f, &second)); /* by the merge's second parent */
	assert_true(forced(f, &back));
	assert_true(forced(f, &aside));
	assert_true(forced(f, &alone));
	assert_false(forced(f, &made));
	/* What is known stays, and nobody looks where it is not asked for. */
	make_hook(&hook, f, &back);
	hook.extended = hook.forced_known = true;
	assert_true(judge(&hook, f, NULL, &usual));
	assert_false(hook.forced);
	make_hook(&hook, f, &back);
	assert_true(judge(&hook, f, A_TXT, &usual) || !hook.note[0]);
	assert_false(hook.forced_known || hook.forced);
}

/* ---- where nobody can tell ---- */

static void objects_that_are_gone(void **state)
{
	struct fx *f = *state;
	const struct update some = {"main", "main~1", "main", "main"}, made = {"topic", NULL, "topic", "main"};
	const struct wr_oid gone = {{7}};
	struct wr_hook hook;

	make_repository(f);
	make_hook(&hook, f, &some);
	hook.old = gone;
	hook.extended = true;
	assert_true(judge(&hook, f, A_TXT, &usual));
	assert_true(hook.forced && hook.forced_known);
	assert_non_null(strstr(hook.note, "not stored any more"));
	make_hook(&hook, f, &some);
	hook.new = gone;
	assert_true(judge(&hook, f, A_TXT, &usual));
	assert_non_null(strstr(hook.note, "not stored any more"));
	make_hook(&hook, f, &made);
	hook.head = gone;
	assert_true(judge(&hook, f, A_TXT, &usual));
	assert_non_null(strstr(hook.note, "not stored any more"));
	/* A repository of which nothing is there. */
	make_hook(&hook, f, &some);
	snprintf(hook.repo_id, sizeof hook.repo_id, "%s", "11111111-89ab-4def-8123-456789abcdef");
	hook.extended = true;
	assert_true(judge(&hook, f, A_TXT, &usual));
	assert_true(hook.forced && hook.forced_known);
	assert_non_null(strstr(hook.note, "not stored any more"));
}

static bool yes(void *arg)
{
	(void)arg;
	return true;
}

static void bounds(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) in = WR_BUF_INIT(1 << 20);
	const struct update large = {"main", "main~1", "main", "main"}, made = {"topic", NULL, "topic", "main"};
	const struct update far = {"main", "topic", "main", "main"};
	const struct wr_cancel cancel = {yes, NULL};
	struct wr_judge_bounds few = usual;
	json_t *globs = json_loads(A_TXT, 0, NULL);
	struct wr_hook hook;
	bool wanted = false;

	put_commit(&in, "main", 1, 0, 0);
	put_commit(&in, "topic", 500, 1, 0);
	for (int i = 2; i <= 100; i++)
		put_commit(&in, "main", i, i - 1, 0);
	for (int i = 0; i < 200; i++) {
		char path[32];

		snprintf(path, sizeof path, "d%d/f%d", i % 7, i);
		put_file(&in, path, "x");
	}
	import(f, "real", &in);
	push_all(f, "real");
	/* So many entries, and one less. */
	few.entries = 207;
	make_hook(&hook, f, &large);
	assert_false(judge(&hook, f, A_TXT, &few));
	assert_string_equal(hook.note, "");
	few.entries = 206;
	make_hook(&hook, f, &large);
	assert_true(judge(&hook, f, A_TXT, &few));
	assert_non_null(strstr(hook.note, "too large"));
	/* What is found before that is enough. */
	make_hook(&hook, f, &large);
	assert_true(judge(&hook, f, "[\"d0/**\"]", &few));
	assert_string_equal(hook.note, "");
	/* Commits. */
	few = usual;
	few.commits = 50;
	make_hook(&hook, f, &made);
	assert_true(judge(&hook, f, A_TXT, &few));
	assert_non_null(strstr(hook.note, "too large"));
	make_hook(&hook, f, &far);
	hook.extended = true;
	assert_true(judge(&hook, f, NULL, &few));
	assert_true(hook.forced && hook.forced_known);
	assert_non_null(strstr(hook.note, "forced"));
	/* Time, and somebody who does not wait. */
	few = usual;
	few.ms = 0;
	make_hook(&hook, f, &large);
	assert_true(judge(&hook, f, A_TXT, &few));
	assert_non_null(strstr(hook.note, "too long"));
	few = usual;
	few.cpu_ms = 0;
	make_hook(&hook, f, &large);
	assert_true(judge(&hook, f, A_TXT, &few));
	assert_non_null(strstr(hook.note, "too long"));
	make_hook(&hook, f, &large);
	assert_int_equal(wr_hook_judge(&wanted, &hook, globs, f->git, "main", &usual, &cancel, &f->err), WR_E_CANCELLED);
	assert_string_equal(hook.note, "");
	json_decref(globs);
}

static bool after_50(void *asked)
{
	return ++*(int *)asked > 50;
}

/* One folder with globs that take their time over each of its paths. */
static void a_wide_folder_is_given_up_in_its_midst(void **state)
{
	struct fx *f = *state;
	const struct update made = {"wide", NULL, "wide", NULL};
	WR_AUTO_S(wr_buf) in = WR_BUF_INIT(1 << 20);
	json_t *globs = json_loads(A_TXT, 0, NULL);
	int asked = 0;
	const struct wr_cancel cancel = {after_50, &asked};
	struct wr_hook hook;
	bool wanted;

	put_commit(&in, "wide", 1, 0, 0);
	for (int i = 0; i < 1000; i++)
		wr_buf_printf(&in, "M 100644 inline %0100d\ndata 0\n\n", i);
	import(f, "real", &in);
	push_all(f, "real");
	make_hook(&hook, f, &made);
	assert_int_equal(wr_hook_judge(&wanted, &hook, globs, f->git, "main", &usual, &cancel, &f->err), WR_E_CANCELLED);
	json_decref(globs);
}

/* Damage is a reason to send, and is logged; a store without memory for it, to try again. */
static void repository_that_cannot_be_read(void **state)
{
	struct fx *f = *state;
	const struct update some = {"main", "main~1", "main", "main"};
	struct wr_hook hook;

	make_repository(f);
	make_hook(&hook, f, &some);
	fx_stop(f);
	sh(f, "rm data/repos/01/23/" REPO_ID ".git/warren/current");
	assert_ok(wr_git_open(&f->git, &f->cfg, &f->err));
	hook.extended = true;
	wr_log_set_threshold(WR_ERROR);
	assert_true(judge(&hook, f, A_TXT, &usual));
	assert_true(hook.forced && hook.forced_known);
	assert_non_null(strstr(hook.note, "cannot be read"));
	wr_git_close(f->git);
	f->git = NULL;
}

#define IN_STORE(test) cmocka_unit_test_setup_teardown(test, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_STORE(moves_of_branches),
		IN_STORE(new_branches),
		IN_STORE(default_branch_that_is_not_there),
		IN_STORE(what_was_forced),
		IN_STORE(objects_that_are_gone),
		IN_STORE(bounds),
		IN_STORE(a_wide_folder_is_given_up_in_its_midst),
		IN_STORE(repository_that_cannot_be_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
