/* Which paths differ, and what commits have in common: against git, and at their bounds. */
#include "tests/unit/content_fixture.h"

#include "core/content/changed.h"
#include "core/content/merge_base.h"
#include "core/content/path.h"

/* ---- paths ---- */

struct list {
	struct wr_buf text; /* "D path\0" */
	size_t stop_after;
	size_t count;
	struct wr_changed *c;
};

static enum wr_code add(void *arg, struct wr_str path, const struct wr_tree_entry *old, const struct wr_tree_entry *new,
			struct wr_error *err)
{
	struct list *l = arg;

	(void)err;
	assert_true(old || new);
	assert_true(path.len > 0 && path.ptr[0] != '/');
	wr_buf_addc(&l->text, !old ? 'A' : !new ? 'D' : 'M');
	wr_buf_addc(&l->text, ' ');
	wr_buf_adds(&l->text, path);
	wr_buf_addc(&l->text, '\0');
	if (++l->count == l->stop_after)
		l->c->stop = true;
	return WR_OK;
}

/* What git says, in the same form: "D\0path\0". A type that changed is M, too. */
static void ask_git(struct wr_buf *out, struct fx *f, const char *old, const char *new)
{
	WR_AUTO_S(wr_buf) raw = WR_BUF_INIT(16u << 20);
	struct wr_str rest, status, path;

	sh_out(f, &raw, "git -C real diff-tree -r -z --name-status --no-renames %s %s", old, new);
	wr_buf_clear(out);
	for (rest = wr_buf_str(&raw); next_line(&status, &rest, '\0') && next_line(&path, &rest, '\0');) {
		wr_buf_addc(out, status.ptr[0] == 'T' ? 'M' : status.ptr[0]);
		wr_buf_addc(out, ' ');
		wr_buf_adds(out, path);
		wr_buf_addc(out, '\0');
	}
}

static enum wr_code compare(struct list *l, struct wr_changed *c, struct fx *f, const struct wr_snapshot *snap,
			    const struct wr_oid *old, const struct wr_oid *new)
{
	c->snap = snap;
	c->entries_max = c->entries_max ? c->entries_max : UINT64_MAX;
	c->path = add;
	c->arg = l;
	c->stop = false;
	c->entries = 0;
	l->c = c;
	l->count = 0;
	wr_buf_clear(&l->text);
	return wr_changed_paths(c, old, new, &f->err);
}

static void tree(struct fx *f, struct wr_oid *oid, const char *rev)
{
	sh_oid(f, oid, "git -C real rev-parse '%s^{tree}'", rev);
}

static void as_git_says(struct fx *f, const struct wr_snapshot *snap, const char *a, const char *b)
{
	struct list l = {.text = WR_BUF_INIT(16u << 20)};
	WR_AUTO_S(wr_buf) wanted = WR_BUF_INIT(16u << 20);
	struct wr_changed c = {.stop = false};
	struct wr_oid old, new;

	tree(f, &old, a);
	tree(f, &new, b);
	ask_git(&wanted, f, a, b);
	assert_ok(compare(&l, &c, f, snap, &old, &new));
	if (!wr_str_eq(wr_buf_str(&l.text), wr_buf_str(&wanted)))
		fail_msg("%s %s: %zu bytes of paths instead of %zu", a, b, l.text.len, wanted.len);
	wr_buf_fini(&l.text);
}

static void paths_of_random_histories(void **state)
{
	struct fx *f = *state;
	WR_AUTO(wr_snapshot) *snap = NULL;

	make_history(f, "real", 60);
	push_all(f, "real");
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	for (unsigned i = 0; i < rounds(12); i++) {
		char a[16], b[16];

		snprintf(a, sizeof a, "b%u~%u", chance(f, 5), chance(f, 3));
		snprintf(b, sizeof b, "b%u", chance(f, 5));
		if (sh_try(f, NULL, "git -C real rev-parse -q --verify %s %s >/dev/null 2>&1", a, b) == 0)
			as_git_says(f, snap, a, b);
	}
}

/* Files that become folders and submodules and back, names that are no text, modes. */
static void awkward_paths(void **state)
{
	static const char *const before[] = {"a", "b/c", "b.x", "d/e/f", "s", "same/1", "same/2", "mode", "\\377\\376/\\303"};
	static const char *const after[] = {"a/b", "b", "b.x", "d", "s/t", "same/1", "same/2", "mode", "\\377\\376/\\303\\244"};
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) in = WR_BUF_INIT(1 << 20);
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct list l = {.text = WR_BUF_INIT(1 << 20)};
	struct wr_changed c = {.stop = false};
	struct wr_oid old, new;

	for (int side = 0; side < 2; side++) {
		wr_buf_printf(&in, "commit refs/heads/%s\ncommitter C <c@example.org> 1700000000 +0000\ndata 0\n",
			      side ? "new" : "old");
		for (size_t i = 0; i < WR_ARRAY_LEN(before); i++) {
			const char *path = side ? after[i] : before[i];
			bool same = strcmp(before[i], after[i]) == 0 && strcmp(path, "b.x") != 0;

			if (strcmp(before[i], "s") == 0 && !side)
				wr_buf_printf(&in, "M 160000 %040d s\n", 7);
			else
				wr_buf_printf(&in, "M 100%s inline \"%s\"\ndata 1\n%c\n",
					      strcmp(path, "mode") == 0 && side ? "755" : "644", path,
					      same ? 'x' : 'y' + side);
		}
		wr_buf_printf(&in, "M 160000 %040d sub\n", 1 + side);
	}
	import(f, "real", &in);
	push_all(f, "real");
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	as_git_says(f, snap, "old", "new");
	as_git_says(f, snap, "new", "old");
	tree(f, &old, "old");
	tree(f, &new, "new");
	/* Folders that are the same are not read: both roots, what a, s, b and d have on one side, and the bytes' on both. */
	assert_ok(compare(&l, &c, f, snap, &old, &new));
	assert_int_equal(c.entries, 9 + 9 + 1 + 1 + 1 + 2 + 2);
	/* From nothing, to nothing, and where nothing differs. */
	assert_ok(compare(&l, &c, f, snap, NULL, &old));
	assert_int_equal(l.count, 10);
	assert_ok(compare(&l, &c, f, snap, &old, NULL));
	assert_int_equal(l.count, 10);
	assert_ok(compare(&l, &c, f, snap, NULL, NULL));
	assert_int_equal(l.count, 0);
	assert_ok(compare(&l, &c, f, snap, &old, &old));
	assert_int_equal(c.entries, 0);
	/* Enough was heard. */
	for (l.stop_after = 1; l.stop_after <= 8; l.stop_after++) {
		assert_ok(compare(&l, &c, f, snap, &old, &new));
		assert_int_equal(l.count, l.stop_after);
	}
	wr_buf_fini(&l.text);
}

static enum wr_code refuse(void *arg, struct wr_str path, const struct wr_tree_entry *old, const struct wr_tree_entry *new,
			   struct wr_error *err)
{
	(void)path;
	(void)old;
	(void)new;
	++*(int *)arg;
	return wr_fail(err, WR_E_PATH_NOT_FOUND, "no");
}

static bool yes(void *arg)
{
	(void)arg;
	return true;
}

static void bounds_of_paths(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) in = WR_BUF_INIT(4 << 20);
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct list l = {.text = WR_BUF_INIT(4 << 20)};
	const struct wr_cancel cancel = {yes, NULL};
	struct wr_changed c = {.stop = false};
	struct wr_oid wide, deep, deeper, gone = {{7}};
	int called = 0;

	wr_buf_addz(&in, "commit refs/heads/wide\ncommitter C <c@example.org> 1700000000 +0000\ndata 0\n");
	for (int i = 0; i < 100; i++)
		wr_buf_printf(&in, "M 100644 inline d%d/f%d\ndata 0\n\n", i % 10, i);
	for (unsigned depth = WR_PATH_DEPTH; depth <= WR_PATH_DEPTH + 1; depth++) {
		wr_buf_printf(&in, "commit refs/heads/deep%u\ncommitter C <c@example.org> 1700000000 +0000\ndata 0\nM 100644 inline ",
			      depth - WR_PATH_DEPTH);
		for (unsigned i = 0; i < depth; i++)
			wr_buf_addz(&in, "d/");
		wr_buf_addz(&in, "f\ndata 0\n\n");
	}
	import(f, "real", &in);
	push_all(f, "real");
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	tree(f, &wide, "wide");
	tree(f, &deep, "deep0");
	tree(f, &deeper, "deep1");
	c.entries_max = 110;
	assert_ok(compare(&l, &c, f, snap, NULL, &wide));
	assert_int_equal(l.count, 100);
	c.entries_max = 109;
	assert_int_equal(compare(&l, &c, f, snap, &wide, NULL), WR_E_INVALID_REQUEST);
	assert_int_equal(l.count, 99);
	assert_non_null(strstr(f->err.text, "109 entries"));
	c.entries_max = 0;
	assert_ok(compare(&l, &c, f, snap, NULL, &deep));
	assert_int_equal(l.count, 1);
	assert_int_equal(compare(&l, &c, f, snap, NULL, &deeper), WR_E_INVALID_REQUEST);
	assert_non_null(strstr(f->err.text, "nested"));
	assert_int_equal(compare(&l, &c, f, snap, &gone, &wide), WR_E_NOT_THERE);
	assert_int_equal(compare(&l, &c, f, snap, NULL, &gone), WR_E_NOT_THERE);
	/* A commit where a tree should be. */
	sh_oid(f, &gone, "git -C real rev-parse wide");
	assert_int_equal(compare(&l, &c, f, snap, NULL, &gone), WR_E_INTERNAL);
	c.cancel = &cancel;
	assert_int_equal(compare(&l, &c, f, snap, NULL, &wide), WR_E_CANCELLED);
	c = (struct wr_changed){.snap = snap, .entries_max = 1000, .path = refuse, .arg = &called};
	assert_int_equal(wr_changed_paths(&c, NULL, &wide, &f->err), WR_E_PATH_NOT_FOUND);
	assert_int_equal(called, 1);
	wr_buf_fini(&l.text);
}

static bool count(void *asked)
{
	++*(int *)asked;
	return false;
}

/* A single folder can be as large as all bounds together. */
static void cancel_within_a_folder(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) in = WR_BUF_INIT(4 << 20);
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct list l = {.text = WR_BUF_INIT(4 << 20)};
	int asked = 0;
	const struct wr_cancel cancel = {count, &asked};
	struct wr_changed c = {.entries_max = 100000, .cancel = &cancel};
	struct wr_oid old, new;

	wr_buf_addz(&in, "commit refs/heads/main\ncommitter C <c@example.org> 1700000000 +0000\ndata 0\n");
	for (int i = 0; i < 10000; i++)
		wr_buf_printf(&in, "M 100644 inline f%d\ndata 0\n\n", i);
	wr_buf_addz(&in, "commit refs/heads/main\ncommitter C <c@example.org> 1700000001 +0000\ndata 0\n"
			 "M 100644 inline g\ndata 0\n\n");
	import(f, "real", &in);
	push_all(f, "real");
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	tree(f, &old, "main~1");
	tree(f, &new, "main");
	assert_ok(compare(&l, &c, f, snap, &old, &new));
	assert_int_equal(l.count, 1);
	assert_in_range(asked, 10, 1000);
	wr_buf_fini(&l.text);
}

/* Each folder holds the next one and as much beside it: only those on the way to a path are in memory. */
static void bytes_at_a_time(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) in = WR_BUF_INIT(4 << 20);
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct list l = {.text = WR_BUF_INIT(4 << 20)};
	struct wr_changed c = {.stop = false};
	struct wr_oid nested, beside;

	/* 20 folders of 100 files each, 33 bytes for each of these: in one another, and side by side. */
	for (int side = 0; side < 2; side++) {
		wr_buf_printf(&in, "commit refs/heads/%s\ncommitter C <c@example.org> 1700000000 +0000\ndata 0\n",
			      side ? "beside" : "nested");
		for (int i = 0; i < 2000; i++) {
			wr_buf_addz(&in, "M 100644 inline ");
			for (int up = 0; !side && up < i / 100; up++)
				wr_buf_addz(&in, "d/");
			if (side)
				wr_buf_printf(&in, "d%02d/", i / 100);
			wr_buf_printf(&in, "f%04d\ndata 0\n\n", i % 100);
		}
	}
	import(f, "real", &in);
	push_all(f, "real");
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	tree(f, &nested, "nested");
	tree(f, &beside, "beside");
	c.held_max = 20000;
	assert_ok(compare(&l, &c, f, snap, NULL, &beside));
	assert_int_equal(l.count, 2000);
	assert_int_equal(compare(&l, &c, f, snap, NULL, &nested), WR_E_INVALID_REQUEST);
	assert_non_null(strstr(f->err.text, "20000 bytes"));
	assert_int_equal(compare(&l, &c, f, snap, &nested, &beside), WR_E_INVALID_REQUEST);
	c.held_max = 100000;
	assert_ok(compare(&l, &c, f, snap, NULL, &nested));
	assert_int_equal(l.count, 2000);
	wr_buf_fini(&l.text);
}

/* ---- commits ---- */

static void relate(struct fx *f, const struct wr_snapshot *snap, const struct wr_oid *a, const struct wr_oid *b)
{
	struct wr_relation r = {.snap = snap, .commits_max = 1000000};
	char x[WR_OID_HEX + 1], y[WR_OID_HEX + 1], base[WR_OID_HEX + 1];
	WR_AUTO_S(wr_buf) bases = WR_BUF_INIT(1 << 20);
	struct wr_oid out;
	bool has, ancestor;
	int status;

	wr_oid_hex(x, a);
	wr_oid_hex(y, b);
	status = sh_try(f, &bases, "git -C real merge-base --all %s %s", x, y);
	assert_ok(wr_merge_base(&has, &out, &r, a, b, &f->err));
	assert_int_equal(has, status == 0);
	wr_oid_hex(base, &out);
	wr_buf_addc(&bases, '\0');
	if (has && !strstr(bases.ptr, base))
		fail_msg("%s is not one of the merge bases of %s and %s", base, x, y);
	assert_ok(wr_is_ancestor(&ancestor, &r, a, b, &f->err));
	assert_int_equal(ancestor, sh_try(f, NULL, "git -C real merge-base --is-ancestor %s %s", x, y) == 0);
}

/* Merges, dates that go backwards, several best ancestors, and roots that have nothing in common. */
static void random_histories(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) all = WR_BUF_INIT(1 << 20);
	WR_AUTO(wr_snapshot) *snap = NULL;
	WR_AUTO_S(wr_oids) commits = {0};

	make_history(f, "real", 120);
	sh(f, "cd real && git update-ref refs/heads/alone $(git commit-tree -m alone b1^{tree})");
	push_all(f, "real");
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	sh_out(f, &all, "git -C real rev-list --all");
	oids_of(&commits, &all);
	assert_true(commits.len > 60);
	for (unsigned i = 0; i < rounds(60); i++)
		relate(f, snap, &commits.v[chance(f, (unsigned)commits.len)], &commits.v[chance(f, (unsigned)commits.len)]);
}

/*
 * One root; two commits on it that are merged with each other both ways (1, 2; 3 = 1+2, 4 = 2+1), where 1 is the younger;
 * and a common ancestor whose date says that it is younger than its child.
 */
static void several_and_wrong_dates(void **state)
{
	struct fx *f = *state;
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_relation r;
	struct wr_oid one, three, four, base, root, child, left, right, gone = {{9}}, tree_oid;
	bool has = false;

	sh(f,
	   "git init -q --bare real; cd real; t=$(git mktree </dev/null); c() { d=$1; shift; GIT_COMMITTER_DATE=\"@$d +0000\" "
	   "git commit-tree -m $d $(for p; do echo -p $p; done) $t; }; "
	   "r=$(c 1000); one=$(c 1200 $r); two=$(c 1100 $r); three=$(c 1300 $one $two); four=$(c 1301 $two $one); "
	   "root=$(c 9000); child=$(c 10 $root); left=$(c 2000 $root $child); right=$(c 2001 $child $root); "
	   "for n in one three four root child left right; do eval git update-ref refs/heads/$n \\$$n; done");
	push_all(f, "real");
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	sh_oid(f, &one, "git -C real rev-parse one");
	sh_oid(f, &three, "git -C real rev-parse three");
	sh_oid(f, &four, "git -C real rev-parse four");
	sh_oid(f, &root, "git -C real rev-parse root");
	sh_oid(f, &child, "git -C real rev-parse child");
	sh_oid(f, &left, "git -C real rev-parse left");
	sh_oid(f, &right, "git -C real rev-parse right");
	r = (struct wr_relation){.snap = snap, .commits_max = 1000};
	assert_ok(wr_merge_base(&has, &base, &r, &three, &four, &f->err));
	assert_true(has && wr_oid_eq(&base, &one));
	assert_ok(wr_merge_base(&has, &base, &r, &left, &right, &f->err));
	assert_true(has && wr_oid_eq(&base, &child));
	assert_ok(wr_merge_base(&has, &base, &r, &left, &three, &f->err));
	assert_false(has);
	/* Of what is not there, and of what is no commit. */
	assert_int_equal(wr_merge_base(&has, &base, &r, &gone, &three, &f->err), WR_E_NOT_THERE);
	assert_int_equal(wr_is_ancestor(&has, &r, &three, &gone, &f->err), WR_E_NOT_THERE);
	tree(f, &tree_oid, "one");
	assert_int_equal(wr_is_ancestor(&has, &r, &tree_oid, &one, &f->err), WR_E_INTERNAL);
}

static void bounds_of_histories(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) in = WR_BUF_INIT(4 << 20);
	WR_AUTO(wr_snapshot) *snap = NULL;
	const struct wr_cancel cancel = {yes, NULL};
	struct wr_relation r;
	struct wr_oid tip, last, early, other, base;
	bool has = false, ancestor = false;

	for (int i = 1; i <= 500; i++)
		wr_buf_printf(&in, "commit refs/heads/%s\nmark :%d\ncommitter C <c@example.org> %d +0000\ndata 0\n%s",
			      i == 500 ? "other" : "main", i, 1700000000 + i, i == 500 ? "from :10\n" : "");
	import(f, "real", &in);
	push_all(f, "real");
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	sh_oid(f, &tip, "git -C real rev-parse main");
	sh_oid(f, &last, "git -C real rev-parse main~1");
	sh_oid(f, &early, "git -C real rev-parse main~489");
	sh_oid(f, &other, "git -C real rev-parse other");
	/* A step ahead costs two commits, whatever lies behind them. */
	r = (struct wr_relation){.snap = snap, .commits_max = 2};
	assert_ok(wr_is_ancestor(&ancestor, &r, &last, &tip, &f->err));
	assert_true(ancestor);
	assert_int_equal(r.commits, 2);
	/* A step back costs as little. */
	r = (struct wr_relation){.snap = snap, .commits_max = 5};
	assert_ok(wr_is_ancestor(&ancestor, &r, &tip, &last, &f->err));
	assert_false(ancestor);
	r = (struct wr_relation){.snap = snap, .commits_max = 100};
	assert_int_equal(wr_is_ancestor(&ancestor, &r, &early, &tip, &f->err), WR_E_INVALID_REQUEST);
	assert_int_equal(r.commits, 100);
	assert_int_equal(wr_merge_base(&has, &base, &r, &tip, &other, &f->err), WR_E_INVALID_REQUEST);
	r = (struct wr_relation){.snap = snap, .commits_max = 495};
	assert_ok(wr_merge_base(&has, &base, &r, &tip, &other, &f->err));
	assert_true(has && wr_oid_eq(&base, &early));
	r = (struct wr_relation){.snap = snap, .commits_max = 495, .cancel = &cancel};
	assert_int_equal(wr_merge_base(&has, &base, &r, &tip, &other, &f->err), WR_E_CANCELLED);
}

#define IN_STORE(test) cmocka_unit_test_setup_teardown(test, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_STORE(paths_of_random_histories),
		IN_STORE(awkward_paths),
		IN_STORE(bounds_of_paths),
		IN_STORE(cancel_within_a_folder),
		IN_STORE(bytes_at_a_time),
		IN_STORE(random_histories),
		IN_STORE(several_and_wrong_dates),
		IN_STORE(bounds_of_histories),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
