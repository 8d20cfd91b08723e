/* How two trees differ, against `git diff-tree -r -M`: what became of each file, renames, and lines counted. */
#include "tests/unit/content_fixture.h"

#include <xxhash.h>

#include "core/content/difference.h"
#include "core/content/edit.h"

#define FILES 48

/* ---- trees by chance ---- */

struct file {
	char path[40];
	unsigned mode;
	unsigned seed;	 /* which file it is: no two have lines in common */
	unsigned change; /* how often it was changed */
	bool there;
};

static void random_name(char *out, size_t cap, struct fx *f, unsigned i)
{
	static const char *const folders[] = {"", "a/", "a/b/", "a.b/", "\xc3\xa4/", "n\\012l/"};

	snprintf(out, cap, "%s%c%u", folders[chance(f, WR_ARRAY_LEN(folders))], "abcde"[chance(f, 5)], i);
}

/* Lines of its own; each change makes some of them others. */
static void put_content(struct wr_buf *out, const struct file *file)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);
	unsigned kind = file->seed % 12, lines = 20 + file->seed % 30;

	if (file->mode == 0120000) {
		wr_buf_printf(&text, "to/%u/%u", file->seed, file->change);
	} else if (kind == 0) {
		wr_buf_printf(&text, "%s", ""); /* empty */
	} else {
		for (unsigned i = 0; i < lines; i++) {
			unsigned h = file->seed * 2654435761u + i * 40503u, turn = 0;

			for (unsigned c = 1; c <= file->change; c++)
				if ((h + c * 7919) % 97 % 11 == 0)
					turn = c;
			/* Words that have nothing in common: git's sums of lines are short. */
			wr_buf_printf(&text, "%016llx%s",
				      (unsigned long long)XXH3_64bits_withSeed(&turn, sizeof turn, h),
				      i + 1 == lines && kind == 1 ? ""
				      : kind == 2		  ? "\r\n"
								  : "\n");
			if (kind == 3 && i == 5)
				wr_buf_addc(&text, '\0');
		}
	}
	wr_buf_printf(out, "data %zu\n", text.len);
	wr_buf_adds(out, wr_buf_str(&text));
	wr_buf_addc(out, '\n');
}

static void put_commit(struct wr_buf *out, const char *ref, const struct file *files)
{
	wr_buf_printf(out, "commit %s\ncommitter C <c@example.org> 1700000000 +0000\ndata 0\ndeleteall\n", ref);
	for (unsigned i = 0; i < FILES; i++) {
		const struct file *file = &files[i];

		if (!file->there)
			continue;
		if (file->mode == 0160000) {
			wr_buf_printf(out, "M 160000 %020u%020u \"%s\"\n", file->seed + 1, file->change, file->path);
			continue;
		}
		wr_buf_printf(out, "M %o inline \"%s\"\n", file->mode, file->path);
		put_content(out, file);
	}
}

static unsigned random_mode(struct fx *f)
{
	static const unsigned modes[] = {0100644, 0100644, 0100644, 0100644, 0100755, 0120000, 0160000};

	return modes[chance(f, WR_ARRAY_LEN(modes))];
}

static void change_file(struct fx *f, struct file *file, unsigned i)
{
	switch (chance(f, 9)) {
	case 0:
		file->there = !file->there;
		break;
	case 1:
		file->change += 1 + chance(f, 3);
		break;
	case 2:
		random_name(file->path, sizeof file->path, f, i);
		break;
	case 3:
		random_name(file->path, sizeof file->path, f, i);
		file->change += 1 + chance(f, 12);
		break;
	case 4:
		file->mode = file->mode == 0100644 ? 0100755 : file->mode == 0100755 ? 0100644 : file->mode;
		break;
	case 5:
		file->mode = random_mode(f);
		break;
	default:
		break;
	}
}

static void make_pair(struct fx *f, struct wr_buf *out, unsigned pair)
{
	struct file files[FILES];
	char ref[64];

	for (unsigned i = 0; i < FILES; i++) {
		files[i] = (struct file){.mode = random_mode(f), .seed = pair * 1000 + i, .there = chance(f, 3) > 0};
		random_name(files[i].path, sizeof files[i].path, f, i);
	}
	snprintf(ref, sizeof ref, "refs/heads/old%u", pair);
	put_commit(out, ref, files);
	for (unsigned i = 0; i < FILES; i++)
		if (pair % 5)
			change_file(f, &files[i], i);
	snprintf(ref, sizeof ref, "refs/heads/new%u", pair);
	put_commit(out, ref, files);
}

/* ---- git's answer ---- */

static const struct wr_different *find(const struct wr_difference *d, struct wr_str path)
{
	for (size_t i = 0; i < d->len; i++)
		if (wr_str_eq(wr_str_n(d->v[i].path, d->v[i].path_len), path))
			return &d->v[i];
	fail_msg("%.*s is not there", (int)path.len, path.ptr);
	return NULL;
}

static enum wr_difference_status status_of(char letter, const struct wr_oid *old, const struct wr_oid *new)
{
	switch (letter) {
	case 'A':
		return WR_ADDED;
	case 'D':
		return WR_REMOVED;
	case 'R':
		return WR_RENAMED;
	case 'M':
		return wr_oid_eq(old, new) ? WR_CHANGED : WR_MODIFIED;
	default:
		return WR_CHANGED;
	}
}

/* ":100644 100755 <id> <id> R086", then one path or two. */
static void assert_raw(const struct wr_difference *d, struct wr_str line, struct wr_str *rest)
{
	const struct wr_different *e;
	struct wr_oid old, new;
	struct wr_str old_mode = wr_str_skip(next_word(&line), 1), mode = next_word(&line), path, from = WR_S("");
	char text[8];

	assert_true(wr_oid_parse(&old, next_word(&line)) && wr_oid_parse(&new, next_word(&line)));
	if (line.ptr[0] == 'R')
		assert_true(next_line(&from, rest, '\0'));
	assert_true(next_line(&path, rest, '\0'));
	e = find(d, path);
	if (e->status != status_of(line.ptr[0], &old, &new))
		fail_msg("%.*s: %.*s, not status %d", (int)path.len, path.ptr, (int)line.len, line.ptr, (int)e->status);
	assert_true(wr_str_eq(wr_str_n(e->old_path, e->old_path_len), from));
	assert_true(wr_oid_eq(&e->old_oid, &old) && wr_oid_eq(&e->oid, &new));
	snprintf(text, sizeof text, "%06o", e->mode);
	assert_true(wr_str_eqz(mode, text));
	snprintf(text, sizeof text, "%06o", e->old_mode);
	assert_true(wr_str_eqz(old_mode, text));
}

/* "3\t0\tpath", or "3\t0\t" and two paths; "-" for what is binary. */
static void assert_lines(const struct wr_difference *d, struct wr_str line, struct wr_str *rest)
{
	const struct wr_different *e;
	struct wr_str numbers[2];
	char text[32];

	for (unsigned i = 0; i < 2; i++)
		assert_true(next_line(&numbers[i], &line, '\t'));
	if (line.len == 0)
		assert_true(next_line(&line, rest, '\0') && next_line(&line, rest, '\0'));
	e = find(d, line);
	/* git counts one line for a submodule, which has none. */
	if (e->mode == WR_MODE_LINK || e->old_mode == WR_MODE_LINK)
		return;
	for (unsigned i = 0; i < 2; i++) {
		snprintf(text, sizeof text, "%llu", (unsigned long long)(i ? e->deletions : e->additions));
		if (!wr_str_eqz(numbers[i], wr_str_eqz(numbers[i], "-") ? "-" : text))
			fail_msg("%.*s: %s lines, not %.*s", (int)line.len, line.ptr, text, (int)numbers[i].len,
				 numbers[i].ptr);
		if (wr_str_eqz(numbers[i], "-"))
			assert_string_equal(text, "0");
	}
}

static void trees(struct fx *f, struct wr_oid *old, struct wr_oid *new, const char *a, const char *b)
{
	sh_oid(f, old, "git -C src rev-parse '%s^{tree}'", a);
	sh_oid(f, new, "git -C src rev-parse '%s^{tree}'", b);
}

static void assert_same_as_git(struct fx *f, const char *a, const char *b)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);
	WR_AUTO_S(wr_difference) d = {.v = NULL};
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	struct wr_oid old, new;
	struct wr_str rest, line;
	size_t rows = 0;

	trees(f, &old, &new, a, b);
	sh_out(f, &text, "git -C src diff-tree -r -M -z --raw --numstat %s %s", a, b);
	view_open(&v, f, "main", false);
	assert_ok(wr_difference_of(&d, &v, &old, &new, &f->err));
	for (rest = wr_buf_str(&text); next_line(&line, &rest, '\0');) {
		if (line.ptr[0] == ':') {
			assert_raw(&d, line, &rest);
			rows++;
		} else {
			assert_lines(&d, line, &rest);
		}
	}
	assert_int_equal(d.len, rows);
	for (size_t i = 1; i < d.len; i++)
		assert_true(strcmp(d.v[i - 1].path, d.v[i].path) < 0);
}

static void by_chance(void **state)
{
	WR_AUTO_S(wr_buf) in = WR_BUF_INIT(64u << 20);
	struct fx *f = *state;
	unsigned pairs = rounds(25);

	for (unsigned i = 0; i < pairs; i++)
		make_pair(f, &in, i);
	import(f, "src", &in);
	push_all(f, "src");
	for (unsigned i = 0; i < pairs; i++) {
		char old[32], new[32];

		snprintf(old, sizeof old, "old%u", i);
		snprintf(new, sizeof new, "new%u", i);
		assert_same_as_git(f, old, new);
		if (i % 4 == 0)
			assert_same_as_git(f, new, old);
	}
	assert_same_as_git(f, "old0", "new1");
}

/* ---- one by one ---- */

/* What makes the old tree, and what makes the new one of it. */
static const char *const rows[][2] = {
	/* Alike enough, and just not. */
	{"lines a 1 100 > x", "lines a 1 60 > y; rm x"},
	{"lines a 1 100 > x", "lines a 1 45 > y; rm x"},
	/* Of several with the same content the one with the same name. */
	{"mkdir d; lines a 1 9 > d/x; lines a 1 9 > q", "mkdir e; mv d/x e/x; rm q"},
	{"mkdir d; lines a 1 9 > d/x; lines a 1 9 > q", "mkdir e; mv q e/q; rm -r d"},
	{"lines a 1 9 > x", "mv x y; cp y z"},
	/* The most alike one wins. */
	{"lines a 1 100 > x; lines a 1 90 > y; lines b 1 9 >> y", "rm x y; lines a 1 100 > p; echo new >> p"},
	/* Empty ones, links, modes, binaries. */
	{"touch x", "mv x y"},
	{"ln -s where x", "mv x y"},
	{"ln -s where x; printf where > p", "rm x p; printf where > y; ln -s where q"},
	{"lines a 1 50 > x", "mv x y; chmod +x y"},
	{"head -c 4000 /dev/zero > x; lines a 1 50 >> x", "mv x y; echo more >> y"},
	/* To another folder of the same name as a file had. */
	{"lines a 1 50 > x", "mv x y; mkdir x; mv y x/y"},
	{"mkdir x; lines a 1 50 > x/y", "mv x/y z; rmdir x; mv z x"},
	/* Line ends alone. */
	{"lines a 1 50 > x", "sed 's/$/\\r/' x > y; rm x"},
	/* Long lines and no line end at all. */
	{"head -c 5000 /dev/zero | tr '\\0' x > x; lines a 1 9 >> x", "mv x y; lines b 1 9 >> y"},
	{"printf 'a\\nb\\nc' > x", "printf 'a\\nb\\nc\\n' > x"},
	{"printf 'a' > x", "printf 'a\\n' > y; rm x"},
	/* Submodules come, go, change and move. */
	{"link m 1", "link m 2"},
	{"link m 1", "git rm -q --cached m; rmdir m; link n 1"},
	{"link m 1", "git rm -q --cached m; rmdir m; lines a 1 5 > m"},
	/* Few came and many went: so many pairs are still compared as of a thousand each. */
	{"for i in $(seq 1 1200); do echo \"only $i\" > f$i; done; lines z 1 30 > x",
	 "rm f*; mv x y; echo more >> y; lines q 1 30 > new"},
	{"lines a 1 9 > x", "true"},
};

static void one_by_one(void **state)
{
	WR_AUTO_S(wr_buf) script = WR_BUF_INIT(1 << 20);
	struct fx *f = *state;

	wr_buf_addz(&script,
		    "lines() { seq -f \"$1 %g\" $2 $3; }\ncommit() { git add -A; git commit -q --allow-empty -m m; }\n"
		    "link() { mkdir -p $1; git update-index --add --cacheinfo "
		    "160000,070000000000000000000000000000000000000$2,$1; }\n");
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++)
		wr_buf_printf(&script,
			      "git checkout -q --orphan o%zu; git rm -rfq --ignore-unmatch .; git clean "
			      "-dffxq\n%s\ncommit; git branch "
			      "old%zu\n%s\ncommit; git branch new%zu\n",
			      i, rows[i][0], i, rows[i][1], i);
	assert_true(wr_buf_ok(&script));
	write_whole(f, "script", wr_buf_str(&script));
	sh(f, "git init -q src; cd src; . ../script");
	push_all(f, "src");
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		char old[32], new[32];

		snprintf(old, sizeof old, "old%zu", i);
		snprintf(new, sizeof new, "new%zu", i);
		assert_same_as_git(f, old, new);
		assert_same_as_git(f, new, old);
	}
}

static void nothing_and_all(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_difference) d = {.v = NULL};
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	struct wr_oid old, new;

	sh(f, "git init -q src; cd src; seq 5 > x; mkdir d; seq 11 15 > d/y; git add .; git commit -q -m m; git branch "
	      "old; git branch new");
	push_all(f, "src");
	assert_same_as_git(f, "old", "new");
	trees(f, &old, &new, "old", "new");
	view_open(&v, f, "main", false);
	assert_ok(wr_difference_of(&d, &v, NULL, &new, &f->err));
	assert_int_equal(d.len, 2);
	assert_true(d.v[0].status == WR_ADDED && d.v[0].additions == 5 && strcmp(d.v[0].path, "d/y") == 0);
	wr_difference_fini(&d);
	assert_ok(wr_difference_of(&d, &v, &old, NULL, &f->err));
	assert_true(d.len == 2 && d.v[1].status == WR_REMOVED && d.v[1].deletions == 5);
	wr_difference_fini(&d);
	assert_ok(wr_difference_of(&d, &v, NULL, NULL, &f->err));
	assert_int_equal(d.len, 0);
}

/* ---- large files ---- */

/* Lines that are there again and again; the one at `other` is another one. */
static void repeat(struct wr_buf *out, unsigned lines, unsigned seed, unsigned other)
{
	wr_buf_clear(out);
	for (unsigned i = 0; i < lines; i++) {
		seed = seed * 1103515245 + 12345;
		wr_buf_printf(out, "%u\n", i == other ? 77 : seed >> 16 & 7);
	}
	assert_true(wr_buf_ok(out));
}

static void put_file(struct fx *f, struct wr_oid *tree, const struct wr_buf *content)
{
	WR_AUTO_S(wr_buf) bytes = WR_BUF_INIT(1 << 16);
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	WR_AUTO_S(wr_commit) c = {.parents = NULL};
	const struct wr_person who = {.name = WR_S("N"), .mail = WR_S("n@example.org"), .when_ms = 1000};
	const struct wr_file_change change = {.path = WR_S("f"), .content = wr_buf_str(content)};
	const struct wr_edit e = {
		.branch = WR_S("main"), .changes = &change, .count = 1, .author = who, .committer = who};
	struct wr_oid oid;

	assert_ok(wr_edit_commit(&oid, &bytes, f->repo, &e, NULL, &f->err));
	view_open(&v, f, "main", false);
	assert_ok(wr_view_commit(&c, &v, &oid, &f->err));
	*tree = c.tree;
}

static void assert_counted(struct fx *f, const struct wr_oid *old, const struct wr_oid *new, uint64_t additions,
			   uint64_t deletions)
{
	WR_AUTO_S(wr_difference) d = {.v = NULL};
	WR_AUTO_S(wr_view) v = {.snap = NULL};

	view_open(&v, f, "main", false);
	assert_ok(wr_difference_of(&d, &v, old, new, &f->err));
	assert_int_equal(d.len, 1);
	assert_int_equal(d.v[0].additions, additions);
	assert_int_equal(d.v[0].deletions, deletions);
}

/*
 * Two million lines that are alike in no order would take minutes: they are not counted. What is the same in front and
 * behind takes no time, and neither does a file that is on one side only.
 */
static void long_files(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(8u << 20);
	struct wr_oid one, close, other;
	unsigned lines = 2000000;

	repeat(&text, lines, 1, lines);
	put_file(f, &one, &text);
	repeat(&text, lines, 1, lines / 3);
	put_file(f, &close, &text);
	repeat(&text, lines, 2, lines);
	put_file(f, &other, &text);
	assert_counted(f, NULL, &one, lines, 0);
	assert_counted(f, &one, NULL, 0, lines);
	assert_counted(f, &one, &close, 1, 1);
	assert_counted(f, &one, &other, 0, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
	const struct CMUnitTest tests[] = {T(by_chance), T(one_by_one), T(nothing_and_all), T(long_files)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
