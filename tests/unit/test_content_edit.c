/* Commits made of changes of files: trees against git's own index, by chance and at their edges. */
#include "tests/unit/content_fixture.h"

#include "core/content/change_tree.h"
#include "core/content/edit.h"
#include "core/content/path.h"

#define FILES 4096
#define OPS 24

/* ---- one commit ---- */

static struct wr_person someone(int64_t seconds)
{
	return (struct wr_person){.name = WR_S("N"), .mail = WR_S("n@example.org"), .when_ms = seconds * 1000};
}

/* What earlier commits read and made, other repositories' included, as a server has it. */
static struct wr_keep *trees;

static int keep_trees(void **state)
{
	(void)state;
	return wr_keep_new(&trees, 1 << 20, NULL) == WR_OK ? 0 : -1;
}

static int forget_trees(void **state)
{
	(void)state;
	wr_keep_free(trees);
	return 0;
}

static enum wr_code edit(struct fx *f, struct wr_oid *out, const char *branch, const struct wr_file_change *changes,
			 size_t count, const struct wr_oid *expected)
{
	WR_AUTO_S(wr_buf) bytes = WR_BUF_INIT(1 << 20);
	const struct wr_edit e = {.branch = wr_str(branch),
				  .changes = changes,
				  .count = count,
				  .message = WR_S("m"),
				  .author = someone(1700000000),
				  .committer = someone(1700000001),
				  .expected = expected,
				  .trees = trees};

	return wr_edit_commit(out, &bytes, f->repo, &e, NULL, &f->err);
}

static struct wr_file_change put(const char *path, const char *content)
{
	return (struct wr_file_change){.path = wr_str(path), .content = wr_str(content)};
}

static struct wr_file_change gone(const char *path)
{
	return (struct wr_file_change){.path = wr_str(path), .deleted = true};
}

/* The tree of a commit, and the number of its parents. */
static size_t tree_of(struct fx *f, struct wr_oid *tree, const struct wr_oid *commit)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	WR_AUTO_S(wr_commit) c = {.parents = NULL};

	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	assert_ok(wr_snapshot_read(&obj, snap, commit, &f->err));
	assert_ok(wr_commit_parse(&c, wr_str_n(obj.data, obj.size), &f->err));
	*tree = c.tree;
	return c.parent_count;
}

/* ---- what a tree has, the obvious way ---- */

struct file {
	char path[64];
	unsigned mode;
	struct wr_oid oid;
};

struct model {
	struct file files[FILES];
	size_t count;
};

static struct file *find_file(struct model *m, const char *path)
{
	for (size_t i = 0; i < m->count; i++)
		if (strcmp(m->files[i].path, path) == 0)
			return &m->files[i];
	return NULL;
}

static bool below(const char *path, const char *folder)
{
	size_t n = strlen(folder);

	return strncmp(path, folder, n) == 0 && path[n] == '/';
}

/* What the change has to be answered with; WR_OK: it was made. */
static enum wr_code model_apply(struct model *m, const struct wr_file_change *c)
{
	struct file *file = find_file(m, c->path.ptr);

	if (c->deleted) {
		if (!file)
			return WR_E_PATH_NOT_FOUND;
		*file = m->files[--m->count];
		return WR_OK;
	}
	for (size_t i = 0; i < m->count; i++)
		if (below(m->files[i].path, c->path.ptr) || below(c->path.ptr, m->files[i].path))
			return WR_E_INVALID_FILE_PATH;
	if (!file) {
		assert_true(m->count < FILES);
		file = &m->files[m->count++];
		*file = (struct file){.mode = WR_MODE_FILE | 0644};
		snprintf(file->path, sizeof file->path, "%s", c->path.ptr);
	}
	file->mode = c->mode ? c->mode : file->mode == WR_MODE_LINK ? WR_MODE_FILE | 0644 : file->mode;
	oid_of(&file->oid, WR_BLOB, c->content);
	return WR_OK;
}

/* git makes the same tree of it. */
static void assert_tree(struct fx *f, const struct model *m, const struct wr_oid *commit)
{
	WR_AUTO_S(wr_buf) in = WR_BUF_INIT(64u << 20);
	char hex[WR_OID_HEX + 1];
	struct wr_oid got, wanted;

	for (size_t i = 0; i < m->count; i++) {
		wr_oid_hex(hex, &m->files[i].oid);
		wr_buf_printf(&in, "%o %s\t", m->files[i].mode, hex);
		wr_buf_addz(&in, m->files[i].path);
		wr_buf_addc(&in, '\0');
	}
	assert_true(wr_buf_ok(&in));
	write_whole(f, "index.txt", wr_buf_str(&in));
	sh_oid(f, &wanted,
	       "test -d src || git init -q --bare src; rm -f src/index; export GIT_INDEX_FILE=$PWD/src/index; "
	       "git -C src update-index -z --index-info < index.txt; git -C src write-tree --missing-ok");
	tree_of(f, &got, commit);
	assert_true(wr_oid_eq(&got, &wanted));
}

static const char *const contents[] = {"", "a", "one\ntwo\n", "one\nthree\n", "\xff\xfe bytes"};

/* Few names, so that files and folders meet; some sort otherwise as folders. */
static void random_path(char *out, size_t cap, struct fx *f)
{
	static const char *const names[] = {"a", "a.b", "a-b", "a0", "b", "ab", "\xc3\xa4", "\xff", "n\nl", " "};
	unsigned depth = 1 + chance(f, 3);
	size_t n = 0;

	for (unsigned i = 0; i < depth; i++)
		n += (size_t)snprintf(out + n, cap - n, "%s%s", i ? "/" : "", names[chance(f, WR_ARRAY_LEN(names))]);
}

/* A tree with all kinds of modes to begin with. */
static void begin(struct fx *f, struct model *m)
{
	static const struct {
		const char *path;
		unsigned mode;
	} rows[] = {{"a", 0100644},   {"a.b/a", 0100755}, {"a-b/a/b", 0120000},
		    {"b/a", 0160000}, {"ab", 0160000},	  {"a0/a0", 0120000}};
	WR_AUTO_S(wr_buf) in = WR_BUF_INIT(1 << 16);

	m->count = 0;
	wr_buf_addz(&in, "commit refs/heads/main\ncommitter C <c@example.org> 1700000000 +0000\ndata 0\n");
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		struct file *file = &m->files[m->count++];

		*file = (struct file){.mode = rows[i].mode, .oid = {{7}}};
		snprintf(file->path, sizeof file->path, "%s", rows[i].path);
		if (rows[i].mode == WR_MODE_LINK) {
			wr_buf_printf(&in, "M 160000 07%038d %s\n", 0, rows[i].path);
			continue;
		}
		oid_of(&file->oid, WR_BLOB, WR_S("x"));
		wr_buf_printf(&in, "M %o inline %s\ndata 1\nx\n", rows[i].mode, rows[i].path);
	}
	import(f, "src", &in);
	push_all(f, "src");
}

/* Some changes, applied to the model as they come; where one cannot be made, all of them and that one are refused. */
static size_t random_changes(struct wr_file_change *changes, char paths[OPS + 1][64], struct fx *f, struct model *m)
{
	size_t n = 0, wanted = chance(f, OPS);

	while (n < wanted) {
		struct wr_file_change *c = &changes[n];
		struct wr_oid oid;
		enum wr_code code;

		if (m->count && chance(f, 3) == 0)
			snprintf(paths[n], sizeof paths[n], "%s", m->files[chance(f, (unsigned)m->count)].path);
		else
			random_path(paths[n], sizeof paths[n], f);
		*c = chance(f, 5) < 2 ? gone(paths[n]) : put(paths[n], contents[chance(f, WR_ARRAY_LEN(contents))]);
		if (!c->deleted && chance(f, 6) == 0)
			c->mode = chance(f, 2) ? 0100755 : 0100644;
		if ((code = model_apply(m, c)) == WR_OK)
			n++;
		else if (chance(f, 8) == 0)
			assert_refused(f, edit(f, &oid, "main", changes, n + 1, NULL), code, "path", c->path);
	}
	return n;
}

static void by_chance(void **state)
{
	static struct model m;
	static char paths[OPS + 1][64];
	struct fx *f = *state;
	struct wr_oid tip;

	begin(f, &m);
	for (unsigned i = 0; i < rounds(80); i++) {
		struct wr_file_change changes[OPS + 1];
		size_t count = random_changes(changes, paths, f, &m);

		if (edit(f, &tip, "main", changes, count, NULL) != WR_OK)
			fail_msg("round %u: %s", i, wr_error_text(&f->err));
		assert_tree(f, &m, &tip);
	}
}

/* ---- at the edges ---- */

static void make(struct fx *f, struct wr_oid *tip, const struct wr_file_change *changes, size_t count)
{
	if (edit(f, tip, "main", changes, count, NULL) != WR_OK)
		fail_msg("%s", wr_error_text(&f->err));
}

static void the_first_commit(void **state)
{
	struct fx *f = *state;
	struct wr_oid tip, tree;
	struct wr_oid zero = {{0}}, other = {{5}};
	const struct wr_file_change one = put("d/e/f", "x");
	char hex[WR_OID_HEX + 1];

	/* There is nothing that could be expected. */
	wr_oid_hex(hex, &other);
	assert_refused(f, edit(f, &tip, "main", &one, 1, &other), WR_E_CONFLICTING_PARENT, "expected", wr_str(hex));
	assert_int_equal(edit(f, &tip, "main", &one, 1, &zero), WR_E_CONFLICTING_PARENT);
	assert_true(json_is_null(json_object_get(f->err.fields, "actual")));
	assert_refused(f, edit(f, &tip, "main", &(struct wr_file_change){.path = WR_S("a"), .deleted = true}, 1, NULL),
		       WR_E_PATH_NOT_FOUND, "path", WR_S("a"));
	make(f, &tip, &one, 1);
	assert_int_equal(tree_of(f, &tree, &tip), 0);
	/* A new branch begins anew; no changes repeat the tree, which of nothing is the empty one. */
	assert_ok(edit(f, &tip, "other", NULL, 0, NULL));
	assert_int_equal(tree_of(f, &tree, &tip), 0);
	wr_oid_hex(hex, &tree);
	assert_string_equal(hex, "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
	assert_ok(edit(f, &tip, "other", NULL, 0, &tip));
	assert_int_equal(tree_of(f, &tree, &tip), 1);
	wr_oid_hex(hex, &tip);
	assert_refused(f, edit(f, &other, "other", NULL, 0, &other), WR_E_CONFLICTING_PARENT, "actual", wr_str(hex));
	/* A branch that is another one's folder. */
	assert_int_equal(edit(f, &tip, "other/x", &one, 1, NULL), WR_E_INVALID_REQUEST);
}

/* Files and folders take each other's place in one commit when what stood there goes first. */
static void file_and_folder(void **state)
{
	struct fx *f = *state;
	struct wr_oid tip, tree, before;
	const struct wr_file_change begin_[] = {put("a", "1"), put("b/c/d", "2"), put("b.x", "3")};
	const struct wr_file_change swap[] = {gone("a"), put("a/x", "4"), gone("b/c/d"), put("b", "5")};
	const struct wr_file_change back[] = {gone("b"), put("b/c/d", "2"), gone("a/x"), put("a", "1")};
	const struct wr_file_change many[] = {put("q/w/e", "1"), gone("q/w/e"),	  put("q", "2"), gone("q"),
					      put("q/w", "3"),	 put("q/w", "4"), gone("q/w")};
	static struct model m;

	make(f, &tip, begin_, 3);
	tree_of(f, &before, &tip);
	assert_refused(f, edit(f, &tip, "main", &swap[1], 1, NULL), WR_E_INVALID_FILE_PATH, "path", WR_S("a/x"));
	assert_refused(f, edit(f, &tip, "main", &swap[3], 1, NULL), WR_E_INVALID_FILE_PATH, "path", WR_S("b"));
	make(f, &tip, swap, 4);
	m.count = 0;
	for (size_t i = 0; i < 3; i++)
		assert_ok(model_apply(&m, &begin_[i]));
	for (size_t i = 0; i < 4; i++)
		assert_ok(model_apply(&m, &swap[i]));
	assert_tree(f, &m, &tip);
	make(f, &tip, back, 4);
	tree_of(f, &tree, &tip);
	assert_true(wr_oid_eq(&tree, &before));
	make(f, &tip, many, 7);
	tree_of(f, &tree, &tip);
	assert_true(wr_oid_eq(&tree, &before));
}

/* The last file takes its folders with it, up to one that has something else, a submodule for instance. */
static void the_last_file(void **state)
{
	static struct model m;
	struct fx *f = *state;
	struct wr_oid tip;
	struct wr_file_change c = gone("b/a");

	begin(f, &m);
	assert_ok(model_apply(&m, &c)); /* a submodule may be deleted */
	make(f, &tip, &c, 1);
	assert_tree(f, &m, &tip);
	while (m.count) {
		char path[64];

		snprintf(path, sizeof path, "%s", m.files[0].path);
		c = gone(path);
		assert_ok(model_apply(&m, &c));
		make(f, &tip, &c, 1);
		assert_tree(f, &m, &tip);
	}
}

/* Folders without anything in them, which git makes none of. */
static void empty_folders(void **state)
{
	struct fx *f = *state;
	struct wr_oid tip, tree, wanted;
	const struct wr_file_change changes[] = {put("e", "1"), put("f/x", "2"), put("a", "3")};

	sh(f, "git init -q --bare src; cd src; e=$(git mktree </dev/null); "
	      "t=$(printf '040000 tree %%s\\te\\n040000 tree %%s\\tf\\n' $e $e | git mktree); "
	      "git update-ref refs/heads/main $(git commit-tree -m m $t)");
	push_all(f, "src");
	make(f, &tip, changes, 3);
	tree_of(f, &tree, &tip);
	sh_oid(f, &wanted,
	       "cd src; b() { printf $1 | git hash-object -w --stdin; }; export GIT_INDEX_FILE=i; "
	       "git update-index --add --cacheinfo 100644,$(b 1),e --cacheinfo 100644,$(b 2),f/x --cacheinfo "
	       "100644,$(b 3),a; "
	       "git write-tree");
	assert_true(wr_oid_eq(&tree, &wanted));
}

static void paths_refused(void **state)
{
	static const char *const bad[] = {"",
					  "/",
					  "a/",
					  "/a",
					  "a//b",
					  ".",
					  "..",
					  "a/.",
					  "./a",
					  "a/../b",
					  "..a/..",
					  ".git",
					  "a/.git/x",
					  ".GIT",
					  ".git ",
					  ".git.",
					  "git~1",
					  "GIT~1/x",
					  ".g\xe2\x80\x8cit",
					  "a\\.git\\x",
					  ".git::$INDEX"};
	static const char *const good[] = {"a",
					   "..a",
					   "a..",
					   "...",
					   ".gitignore",
					   ".gitx",
					   "git",
					   "a b",
					   " ",
					   "\t",
					   "a\nb",
					   "\xff",
					   "\xc3\xa4/\xf0\x9f\x90\x87",
					   "C:",
					   "con",
					   "-",
					   "a\\b",
					   "x/.gitmodules"};
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(bad); i++)
		if (wr_edit_path_ok(wr_str(bad[i])))
			fail_msg("let through: %s", bad[i]);
	for (size_t i = 0; i < WR_ARRAY_LEN(good); i++)
		if (!wr_edit_path_ok(wr_str(good[i])))
			fail_msg("refused: %s", good[i]);
	assert_false(wr_edit_path_ok(WR_S("a\0b")));
	for (unsigned i = 1; i < WR_PATH_DEPTH; i++)
		wr_buf_addz(&text, "a/");
	wr_buf_addc(&text, 'a');
	assert_true(wr_edit_path_ok(wr_buf_str(&text)));
	wr_buf_addz(&text, "/a");
	assert_false(wr_edit_path_ok(wr_buf_str(&text)));
	wr_buf_clear(&text);
	for (size_t i = 0; i < WR_PATH_MAX; i++)
		wr_buf_addc(&text, 'x');
	assert_true(wr_edit_path_ok(wr_buf_str(&text)));
	wr_buf_addc(&text, 'x');
	assert_false(wr_edit_path_ok(wr_buf_str(&text)));
}

static void people_refused(void **state)
{
	static const struct {
		const char *name, *mail;
		int zone;
		bool ok;
	} rows[] = {{"A", "a", 0, true},
		    {"A", "a", 1439, true},
		    {"A", "a", -1439, true},
		    {"A", "a", 1440, false},
		    {"A", "a", -1440, false},
		    {"", "a", 0, false},
		    {"A", "", 0, false},
		    {"A<", "a", 0, false},
		    {"A", "a>", 0, false},
		    {"A\nB", "a", 0, false},
		    {"A", "a\nb", 0, false},
		    {"A\x7f", "a", 0, false},
		    {"\xc3\xa4 \xff", "a", 0, true},
		    {"A\tB", "a", 0, false}};
	static char long_[1026];

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		const struct wr_person who = {
			.name = wr_str(rows[i].name), .mail = wr_str(rows[i].mail), .zone = rows[i].zone};

		if (wr_person_ok(&who) != rows[i].ok)
			fail_msg("row %zu", i);
	}
	memset(long_, 'x', 1025);
	assert_false(wr_person_ok(&(struct wr_person){.name = wr_str(long_), .mail = WR_S("a")}));
	assert_true(wr_person_ok(&(struct wr_person){.name = wr_str_n(long_, 1024), .mail = WR_S("a")}));
}

/* The bytes of a commit, as git makes them. */
static void the_text(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) got = WR_BUF_INIT(4096), wanted = WR_BUF_INIT(4096);
	const struct wr_person a = {.name = WR_S("A U"), .mail = WR_S("a@b"), .when_ms = 86400999, .zone = -210};
	const struct wr_person c = {.name = WR_S("C"), .mail = WR_S("c@d"), .when_ms = 1700000000000, .zone = 840};
	struct wr_oid tree, parents[2];

	sh(f, "git init -q --bare src; cd src; t=$(git mktree </dev/null); for b in 1 2; do "
	      "git update-ref refs/heads/b$b $(git commit-tree -m $b $t); done");
	sh_oid(f, &tree, "git -C src rev-parse b1^{tree}");
	sh_oid(f, &parents[0], "git -C src rev-parse b1");
	sh_oid(f, &parents[1], "git -C src rev-parse b2");
	wr_commit_text(&got, &tree, parents, 2, &a, &c, WR_S("subject\n\nbody\n"));
	sh_out(f, &wanted,
	       "cd src; export GIT_AUTHOR_NAME='A U' GIT_AUTHOR_EMAIL=a@b GIT_AUTHOR_DATE='@86400 -0330' "
	       "GIT_COMMITTER_NAME=C "
	       "GIT_COMMITTER_EMAIL=c@d GIT_COMMITTER_DATE='@1700000000 +1400'; git cat-file commit $(printf "
	       "'subject\\n\\nbody\\n' | "
	       "git commit-tree -p b1 -p b2 b1^{tree})");
	assert_true(wr_str_eq(wr_buf_str(&got), wr_buf_str(&wanted)));
}

/* ---- many files ---- */

static void assert_nothing(struct fx *f, const struct wr_oid *commit)
{
	struct wr_oid tree;
	char hex[WR_OID_HEX + 1];

	tree_of(f, &tree, commit);
	wr_oid_hex(hex, &tree);
	assert_string_equal(hex, "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
}

#ifdef WR_SANITIZED
#define MANY 20000u
#else
#define MANY 100000u
#endif

/* Each number below MANY once, in no order. */
static unsigned scattered(unsigned i)
{
	return (unsigned)((uint64_t)i * 7919 % MANY);
}

static void many_in_one_folder(void **state)
{
	struct fx *f = *state;
	WR_AUTO_MEM struct wr_file_change *changes = calloc(MANY, sizeof *changes);
	WR_AUTO_MEM char(*paths)[24] = calloc(MANY, sizeof *paths);
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	WR_AUTO_S(wr_items) items = {.rest = {NULL, 0}};
	struct wr_oid tip, tree;
	struct wr_item item;
	struct wr_str name;
	unsigned count = 0;

	assert_true(changes && paths);
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(paths[i], sizeof *paths, "d/f%u", scattered(i));
		changes[i] = put(paths[i], contents[i % 2]);
	}
	make(f, &tip, changes, MANY);
	for (unsigned i = 0; i < 3; i++)
		make(f, &tip, &(struct wr_file_change){.path = wr_str(paths[i]), .content = WR_S("new")}, 1);
	tree_of(f, &tree, &tip);
	view_open(&v, f, "main", false);
	assert_ok(wr_path_find(&item, &v, &tree, WR_S("d"), &f->err));
	assert_ok(wr_items_open(&items, &v, &item.oid, &f->err));
	while (wr_items_next(&item, &name, &items, &v, &f->err) == WR_OK)
		count++;
	assert_int_equal(count, MANY);
	assert_ok(wr_path_find(&item, &v, &tree, wr_str(paths[2]), &f->err));
	assert_int_equal(item.size, 3);
	/* All but one go, in another order; then the folder goes with that one. */
	for (unsigned i = 0; i < MANY; i++)
		changes[i] = (struct wr_file_change){.path = wr_str(paths[MANY - 1 - i]), .deleted = true};
	make(f, &tip, changes, MANY - 1);
	make(f, &tip, &changes[MANY - 1], 1);
	assert_nothing(f, &tip);
}

/* A deep path: each folder on the way is made, and goes again. */
static void deep(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) path = WR_BUF_INIT(WR_PATH_MAX);
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	struct wr_oid tip, tree;
	struct wr_item item;

	for (unsigned i = 1; i < WR_PATH_DEPTH; i++)
		wr_buf_addz(&path, "d/");
	wr_buf_addc(&path, 'f');
	make(f, &tip, &(struct wr_file_change){.path = wr_buf_str(&path), .content = WR_S("deep")}, 1);
	tree_of(f, &tree, &tip);
	view_open(&v, f, "main", false);
	assert_ok(wr_path_find(&item, &v, &tree, wr_buf_str(&path), &f->err));
	assert_int_equal(item.size, 4);
	make(f, &tip, &(struct wr_file_change){.path = wr_buf_str(&path), .deleted = true}, 1);
	assert_nothing(f, &tip);
}

/* .gitmodules is judged as one that was pushed. */
static void gitmodules(void **state)
{
	struct fx *f = *state;
	struct wr_file_change c = put("a", "a");
	struct wr_oid tip;

	/* Also where what is there is known to have no fault, */
	make(f, &tip, &c, 1);
	c = put("b", "b");
	make(f, &tip, &c, 1);
	c = put(".gitmodules", "[submodule \"../a\"]\n\tpath = a\n\turl = https://example.org/a\n");
	assert_int_equal(edit(f, &tip, "main", &c, 1, NULL), WR_E_BAD_PACK);
	c = put(".gitmodules", "[submodule \"a\"]\n\tpath = a\n\turl = https://example.org/a\n");
	make(f, &tip, &c, 1);
	/* and where such a file was. */
	c = put(".gitmodules", "[submodule \"../a\"]\n\tpath = a\n\turl = https://example.org/a\n");
	assert_int_equal(edit(f, &tip, "main", &c, 1, NULL), WR_E_BAD_PACK);
	assert_non_null(strstr(wr_error_text(&f->err), "gitmodules"));
	c = put("x/.gitmodules", "[submodule \"../a\"]\n");
	make(f, &tip, &c, 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
	const struct CMUnitTest tests[] = {
		T(by_chance),
		T(the_first_commit),
		T(file_and_folder),
		T(the_last_file),
		T(empty_folders),
		cmocka_unit_test(paths_refused),
		cmocka_unit_test(people_refused),
		T(the_text),
		T(many_in_one_folder),
		T(deep),
		T(gitmodules),
	};

	return cmocka_run_group_tests(tests, keep_trees, forget_trees);
}
