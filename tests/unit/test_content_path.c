/* What lies at a path, and what lies below a folder: names of all kinds, against git's list of the same tree. */
#include "tests/unit/content_fixture.h"

#include "core/content/path.h"

struct row {
	unsigned mode;
	const char *path; /* in git's order */
};

/* Submodules are there for git alone. */
static const struct row rows[] = {
	{0100644, "\n"},
	{0100644, " "},
	{0100644, "\"q\""},
	{0100644, "-"},
	{0100644, "a"},
	{0100644, "a-b"},
	{0100755, "a.b/a"},
	{0100644, "a.b/b/c\nd"},
	{0120000, "a.b/link"},
	{0100644, "ab"},
	{0160000, "module"},
	{0100644, "only/deep/er/file"},
	{0160000, "submodules/one"},
	{0160000, "submodules/two"},
	{0100644, "\xc3\xa4"},
	{0100644, "\xe4\xff/\xfe"},
	{0100644, "\xf0\x9f\x90\x87"},
};

static struct wr_oid root;

/* A name as fast-import takes any bytes. */
static void quote(struct wr_buf *out, const char *name)
{
	wr_buf_addc(out, '"');
	for (; *name; name++)
		wr_buf_printf(out, "\\%03o", (unsigned)(unsigned char)*name);
	wr_buf_addc(out, '"');
}

static void content_of(char *out, size_t cap, const struct row *row)
{
	snprintf(out, cap, "%s is at %s", row->mode == 0120000 ? "where" : "what", row->path);
}

static int setup(void **state)
{
	WR_AUTO_S(wr_buf) in = WR_BUF_INIT(1 << 20);
	struct fx *f;

	assert_int_equal(fx_setup(state), 0);
	f = *state;
	wr_buf_addz(&in, "commit refs/heads/main\ncommitter C <c@example.org> 1700000000 +0000\ndata 0\n");
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		char content[256];

		content_of(content, sizeof content, &rows[i]);
		wr_buf_printf(&in, "M %o ", rows[i].mode);
		wr_buf_addz(&in, rows[i].mode == 0160000 ? "0700000000000000000000000000000000000000 " : "inline ");
		quote(&in, rows[i].path);
		wr_buf_addc(&in, '\n');
		if (rows[i].mode != 0160000) {
			wr_buf_printf(&in, "data %zu\n", strlen(content));
			wr_buf_addz(&in, content);
			wr_buf_addc(&in, '\n');
		}
	}
	import(f, "src", &in);
	push_all(f, "src");
	sh_oid(f, &root, "git -C src rev-parse main^{tree}");
	return 0;
}

static void assert_absent(struct fx *f, struct wr_view *v, struct wr_str path)
{
	struct wr_item item = {.mode = 1};

	assert_refused(f, wr_path_find(&item, v, &root, path, &f->err), WR_E_PATH_NOT_FOUND, "path", path);
	assert_int_equal(item.mode, 1);
}

static void every_file(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_view) v = {.snap = NULL};

	view_open(&v, f, "main", false);
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		const struct row *row = &rows[i];
		struct wr_str path = wr_str(row->path);
		struct wr_item item;
		struct wr_oid oid;
		char content[256], more[256];

		snprintf(more, sizeof more, "%s/", row->path);
		assert_absent(f, &v, wr_str(more));
		snprintf(more, sizeof more, "%s/x", row->path);
		assert_absent(f, &v, wr_str(more));
		if (row->mode == 0160000) {
			assert_absent(f, &v, path);
			continue;
		}
		assert_ok(wr_path_find(&item, &v, &root, path, &f->err));
		content_of(content, sizeof content, row);
		oid_of(&oid, WR_BLOB, wr_str(content));
		assert_true(item.kind == WR_KIND_FILE && item.mode == row->mode && item.size == strlen(content) &&
			    wr_oid_eq(&item.oid, &oid));
	}
}

static void every_folder(void **state)
{
	static const char *const folders[] = {"a.b",	      "a.b/b",	    "only",    "only/deep",
					      "only/deep/er", "submodules", "\xe4\xff"};
	struct fx *f = *state;
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	struct wr_item item;

	view_open(&v, f, "main", false);
	assert_ok(wr_path_find(&item, &v, &root, WR_S(""), &f->err));
	assert_true(item.kind == WR_KIND_FOLDER && item.mode == 0 && wr_oid_eq(&item.oid, &root));
	for (size_t i = 0; i < WR_ARRAY_LEN(folders); i++) {
		struct wr_item with;
		struct wr_oid oid;
		char more[64];

		sh_oid(f, &oid, "git -C src rev-parse \"main:$(printf '%s')\"", folders[i]);
		assert_ok(wr_path_find(&item, &v, &root, wr_str(folders[i]), &f->err));
		assert_true(item.kind == WR_KIND_FOLDER && wr_oid_eq(&item.oid, &oid));
		snprintf(more, sizeof more, "%s/", folders[i]);
		assert_ok(wr_path_find(&with, &v, &root, wr_str(more), &f->err));
		assert_true(wr_oid_eq(&with.oid, &oid));
	}
}

static void paths_that_lead_nowhere(void **state)
{
	static const char *const bad[] = {
		"/",	     "//",	"/a",	      "a//",	   "//a",	 "a.b//a", "./a", ".",	    "..",
		"a.b/.",     "a.b/./a", "a.b/../a",   "a.b/..",	   "A",		 "a.B",	   "aa",  "a.b/aa", "\xc3",
		"a\xcc\x88", "a.b\\a",	"only//deep", "a.b/link/", "a.b/link/a", "\\012",  "%61"};
	struct fx *f = *state;
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);

	view_open(&v, f, "main", false);
	for (size_t i = 0; i < WR_ARRAY_LEN(bad); i++)
		assert_absent(f, &v, wr_str(bad[i]));
	assert_absent(f, &v, WR_S("a\0"));
	assert_absent(f, &v, WR_S("\0"));
	assert_absent(f, &v, WR_S("a.b/a\0"));
	for (unsigned i = 0; i < WR_PATH_MAX / 2 + 1; i++) {
		if (i == WR_PATH_DEPTH + 1 || i == 1)
			assert_absent(f, &v, wr_buf_str(&text));
		wr_buf_addz(&text, "x/");
	}
	assert_absent(f, &v, wr_buf_str(&text));
}

/* Everything in git's order, folders gone into; submodules left out. */
static void walk(struct fx *f, struct wr_view *v, const struct wr_oid *tree, struct wr_str above, size_t *at)
{
	WR_AUTO_S(wr_items) items = {.rest = {NULL, 0}};
	struct wr_item item;
	struct wr_str name;
	enum wr_code code;
	uint64_t size;

	assert_ok(wr_items_open(&items, v, tree, &f->err));
	while ((code = wr_items_next(&item, &name, &items, v, &f->err)) == WR_OK) {
		WR_AUTO_S(wr_buf) path = WR_BUF_INIT(4096);

		wr_buf_adds(&path, above);
		wr_buf_adds(&path, name);
		if (item.kind == WR_KIND_FOLDER) {
			wr_buf_addc(&path, '/');
			walk(f, v, &item.oid, wr_buf_str(&path), at);
			continue;
		}
		while (rows[*at].mode == 0160000)
			++*at;
		assert_true(*at < WR_ARRAY_LEN(rows) && wr_str_eqz(wr_buf_str(&path), rows[*at].path));
		assert_int_equal(item.mode, rows[*at].mode);
		assert_ok(wr_snapshot_stat(v->snap, &item.oid, NULL, &size, &f->err));
		assert_int_equal(item.size, size);
		++*at;
	}
	assert_int_equal(code, WR_E_NOT_THERE);
}

static void all_below(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	size_t at = 0;

	view_open(&v, f, "main", false);
	walk(f, &v, &root, WR_S(""), &at);
	assert_int_equal(at, WR_ARRAY_LEN(rows));
}

/* A folder of submodules alone is empty. */
static void only_submodules(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	WR_AUTO_S(wr_items) items = {.rest = {NULL, 0}};
	struct wr_item item;
	struct wr_str name;

	view_open(&v, f, "main", false);
	assert_ok(wr_path_find(&item, &v, &root, WR_S("submodules"), &f->err));
	assert_ok(wr_items_open(&items, &v, &item.oid, &f->err));
	assert_int_equal(wr_items_next(&item, &name, &items, &v, &f->err), WR_E_NOT_THERE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_file),
		cmocka_unit_test(every_folder),
		cmocka_unit_test(paths_that_lead_nowhere),
		cmocka_unit_test(all_below),
		cmocka_unit_test(only_submodules),
	};

	return cmocka_run_group_tests(tests, setup, fx_teardown);
}
