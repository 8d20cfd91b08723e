/* Archives that come in: the trees of good ones are those that git makes of what tar and unzip unpack; bad ones and
 * bombs end in their own error, and leave nothing. */
#include "git_fixture.h"

#include "core/content/unpack.h"

static const struct wr_unpack_limits usual = {
	.max_entries = 2000, .max_file = 32u << 20, .max_bytes = 64u << 20, .max_ratio = 200};

static enum wr_code unpack_with(struct wr_oid *root, struct fx *f, struct wr_str bytes, enum wr_unpack_format format,
				const char *dir, const struct wr_unpack_limits *limits, const struct wr_cancel *cancel)
{
	struct dribble src = {{dribble_read}, bytes, 11};
	WR_AUTO(wr_quarantine) *q = NULL;
	enum wr_code code;

	wr_error_fini(&f->err);
	f->err = (struct wr_error)WR_ERROR_INIT;
	assert_ok(wr_quarantine_new(&q, f->repo, &f->err));
	code = wr_unpack(root, q, &src.base, format, wr_str(dir), limits, NULL, cancel, &f->err);
	assert_int_equal(code != WR_OK, f->err.code != WR_OK);
	if (code != WR_OK)
		assert_int_equal(code, f->err.code);
	return code;
}

static enum wr_code unpack_file(struct wr_oid *root, struct fx *f, const char *name, const char *dir,
				const struct wr_unpack_limits *limits)
{
	WR_AUTO_S(wr_buf) bytes = WR_BUF_INIT(256u << 20);

	read_whole(&bytes, f, name);
	return unpack_with(root, f, wr_buf_str(&bytes), strstr(name, ".zip") ? WR_UNPACK_ZIP : WR_UNPACK_TAR, dir, limits,
			   NULL);
}

static void assert_tree(struct fx *f, const char *name, const char *dir, const char *folder)
{
	struct wr_oid want, got;
	char hex[2][WR_OID_HEX + 1];

	sh_oid(f, &want,
	       "cd '%s'; rm -rf ../index.git; git init -q --bare ../index.git; "
	       "G=\"git --git-dir=../index.git --work-tree=. -c core.bare=false -c core.autocrlf=false\"; $G add -A -f . ; $G write-tree",
	       folder);
	if (unpack_file(&got, f, name, dir, &usual) != WR_OK)
		fail_msg("%s: %s (%s)", name, wr_error_text(&f->err), f->err.detail);
	wr_oid_hex(hex[0], &want);
	wr_oid_hex(hex[1], &got);
	if (strcmp(hex[0], hex[1]) != 0)
		fail_msg("%s: tree %s and not %s", name, hex[1], hex[0]);
}

/* Names of all kinds, modes, links, empty files and folders, a file of some megabytes, one that compresses well. */
static void make_work(struct fx *f)
{
	sh(f, "mkdir -p work/a/b/c work/empty work/a.d work/'with space'; cd work; printf one > one; printf '' > nothing; "
	      "printf 2 > a/b/c/two; printf 3 > a.b; printf 4 > a.d/x; printf 5 > a/z; printf '#!/bin/sh\\n' > run; "
	      "chmod 755 run; printf p > private; chmod 600 private; printf g > group; chmod 654 group; "
	      "ln -s ../outside a/link; ln -s /etc/passwd absolute; "
	      "printf u > 'with space/\xc3\xa4\xce\xb2.txt'; printf d > 'decomposed a\xcc\x88'; printf l > 'latin \xff\xe4'; "
	      "head -c 4400000 /dev/urandom > big; head -c 100000 /dev/zero > zeros; printf w > 'back\\slash'; "
	      "for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do printf $n > a/file$n; done");
}

static void real_tars_become_the_trees_that_git_makes_of_them(void **state)
{
	static const char *const formats[] = {"ustar", "pax", "gnu", "oldgnu"};
	struct fx *f = *state;

	make_work(f);
	for (size_t i = 0; i < WR_ARRAY_LEN(formats); i++) {
		char name[32];

		sh(f, "tar --format=%s -cf %s.tar -C work .", formats[i], formats[i]);
		sh(f, "tar --format=%s -czf %s.tar.gz -C work . ", formats[i], formats[i]);
		snprintf(name, sizeof name, "%s.tar", formats[i]);
		assert_tree(f, name, NULL, "work");
		snprintf(name, sizeof name, "%s.tar.gz", formats[i]);
		assert_tree(f, name, NULL, "work");
	}
	sh(f, "git init -q r; cp -a work/. r; git -C r add -A -f; git -C r commit -qm x; "
	      "git -C r archive --format=tar --prefix=top/ HEAD > git.tar; "
	      "git -C r archive --format=zip --prefix=top/ HEAD > git.zip");
	assert_tree(f, "git.tar", "top", "work");
	assert_tree(f, "git.tar", "./top//", "work");
	assert_tree(f, "git.zip", "top", "work");
	assert_tree(f, "git.zip", "top/a", "work/a");
}

/* The blocks in which an archive comes end anywhere in a zip's directory, and before it. */
static void zips_may_begin_their_directory_anywhere(void **state)
{
	struct fx *f = *state;
	struct wr_oid root, want;

	sh(f, "python3 -c '\n"
	      "import zipfile\n"
	      "for i in range(200):\n"
	      "    with zipfile.ZipFile(\"at%%d.zip\" %% i, \"w\", 0) as z:\n"
	      "        z.writestr(\"a\", b\"x\" * (65536 * (1 + i %% 3) - 190 + i)); z.writestr(\"b\", b\"y\")'");
	for (unsigned i = 0; i < 200; i++) {
		char name[32];

		snprintf(name, sizeof name, "at%u.zip", i);
		if (unpack_file(&root, f, name, NULL, &usual) != WR_OK)
			fail_msg("%s: %s (%s)", name, wr_error_text(&f->err), f->err.detail);
		if (i == 77) {
			sh_oid(f, &want, "mkdir at; cd at; python3 -m zipfile -e ../at77.zip .; git init -q .; git add .; git write-tree");
			assert_true(wr_oid_eq(&root, &want));
		}
	}
}

static void real_zips_become_the_trees_that_git_makes_of_them(void **state)
{
	struct fx *f = *state;

	make_work(f);
	sh(f, "cd work; zip -qry ../info.zip . ; zip -qry0 ../stored.zip . ; "
	      "zip -qry - . > ../piped.zip; cd ..; cp info.zip deleted.zip; zip -qd deleted.zip one big >/dev/null; "
	      "cp -a work less; rm less/one less/big; "
	      "cp -a work plain; rm plain/a/link plain/absolute plain/latin*; cd plain; chmod 755 run; "
	      "python3 -c '\n"
	      "import io, os, sys, zipfile\n"
	      "class Pipe(io.RawIOBase):\n"
	      "    def __init__(self, f): self.f = f\n"
	      "    def writable(self): return True\n"
	      "    def write(self, b): return self.f.write(b)\n"
	      "def fill(z):\n"
	      "    for d, ds, fs in os.walk(\".\"):\n"
	      "        for n in fs: z.write(os.path.join(d, n))\n"
	      "for name, kind in ((\"py\", 8), (\"pystored\", 0)):\n"
	      "    with zipfile.ZipFile(\"../\" + name + \".zip\", \"w\", kind) as z: fill(z)\n"
	      "with open(\"../pypiped.zip\", \"wb\") as f, zipfile.ZipFile(Pipe(f), \"w\", 8) as z: fill(z)\n"
	      "with zipfile.ZipFile(\"../py64.zip\", \"w\", 8) as z:\n"
	      "    for d, ds, fs in os.walk(\".\"):\n"
	      "        for n in fs:\n"
	      "            p = os.path.join(d, n); i = zipfile.ZipInfo.from_file(p)\n"
	      "            with z.open(i, \"w\", force_zip64=True) as o: o.write(open(p, \"rb\").read())\n'");
	assert_tree(f, "info.zip", NULL, "work");
	assert_tree(f, "stored.zip", NULL, "work");
	assert_tree(f, "piped.zip", NULL, "work");
	assert_tree(f, "deleted.zip", NULL, "less");
	assert_tree(f, "py.zip", NULL, "plain");
	assert_tree(f, "pystored.zip", NULL, "plain");
	assert_tree(f, "pypiped.zip", NULL, "plain");
	assert_tree(f, "py64.zip", NULL, "plain");
}

/* ---- archives made by hand ---- */

static void put_octal(char *at, size_t len, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof text, "%0*llo", (int)len - 1, (unsigned long long)value);
	memcpy(at, text, len - 1);
	at[len - 1] = '\0';
}

struct entry {
	const char *name;
	char kind; /* as in a tar's header */
	const char *data, *target;
	unsigned mode;
};

static void put_header(struct wr_buf *out, const struct entry *e, uint64_t size)
{
	char h[512] = "";
	unsigned sum = 0;

	memcpy(h, e->name, strlen(e->name) < 100 ? strlen(e->name) : 100);
	put_octal(h + 100, 8, e->mode ? e->mode : 0644);
	put_octal(h + 108, 8, 0);
	put_octal(h + 116, 8, 0);
	put_octal(h + 124, 12, size);
	put_octal(h + 136, 12, 0);
	memset(h + 148, ' ', 8);
	h[156] = e->kind;
	if (e->target)
		memcpy(h + 157, e->target, strlen(e->target));
	memcpy(h + 257, "ustar\00000", 8);
	for (size_t i = 0; i < sizeof h; i++)
		sum += (unsigned char)h[i];
	put_octal(h + 148, 7, sum);
	wr_buf_add(out, h, sizeof h);
}

static void put_padded(struct wr_buf *out, struct wr_str data)
{
	static const char zeros[512];

	wr_buf_adds(out, data);
	wr_buf_add(out, zeros, (512 - data.len % 512) % 512);
}

static void put_end(struct wr_buf *out)
{
	static const char zeros[1024];

	wr_buf_add(out, zeros, sizeof zeros);
}

static void tar_of(struct wr_buf *out, const struct entry *entries, size_t n)
{
	wr_buf_clear(out);
	for (size_t i = 0; i < n; i++) {
		put_header(out, &entries[i], entries[i].data ? strlen(entries[i].data) : 0);
		put_padded(out, wr_str(entries[i].data ? entries[i].data : ""));
	}
	put_end(out);
	assert_true(wr_buf_ok(out));
}

/* The tree as "mode path content" lines, as git shows it after the archive was appended. */
static void assert_lists(struct fx *f, const struct entry *entries, size_t n, const char *dir, const char *wanted)
{
	WR_AUTO_S(wr_buf) tar = WR_BUF_INIT(1u << 20);
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1u << 20);
	WR_AUTO_S(wr_buf) want = WR_BUF_INIT(1u << 20);
	char hex[WR_OID_HEX + 1];
	struct wr_oid root, expected;

	tar_of(&tar, entries, n);
	if (unpack_with(&root, f, wr_buf_str(&tar), WR_UNPACK_TAR, dir, &usual, NULL) != WR_OK)
		fail_msg("%s", wr_error_text(&f->err));
	write_whole(f, "wanted", wr_str(wanted));
	/* Each line: mode, path, content. */
	sh_oid(f, &expected,
	       "rm -rf l.git; git init -q --bare l.git; while read -r mode path text; do "
	       "git --git-dir=l.git update-index --add --cacheinfo "
	       "$mode,$(printf %%s \"$text\" | git --git-dir=l.git hash-object -w --stdin),\"$path\"; done < wanted; "
	       "git --git-dir=l.git write-tree");
	wr_oid_hex(hex, &root);
	sh_out(f, &text, "git --git-dir=l.git ls-tree -r %s 2>&1 || true", hex);
	if (!wr_oid_eq(&root, &expected))
		fail_msg("%s is not what was wanted: %s", hex, wanted);
}

static void the_later_of_two_entries_counts(void **state)
{
	static const struct entry twice[] = {{"a", '0', "old", NULL, 0}, {"b", '0', "b", NULL, 0}, {"a", '0', "new", NULL, 0755}};
	static const struct entry file_last[] = {
		{"d/x", '0', "1", NULL, 0}, {"d/y/z", '0', "2", NULL, 0}, {"d.e", '0', "3", NULL, 0}, {"d", '0', "4", NULL, 0}};
	static const struct entry folder_last[] = {{"d", '0', "4", NULL, 0},
						   {"d/x", '0', "1", NULL, 0},
						   {"d/y", '2', NULL, "/etc", 0},
						   {"d/y/z", '0', "2", NULL, 0}};
	static const struct entry between[] = {{"d/old", '0', "1", NULL, 0},
					       {"d", '0', "2", NULL, 0},
					       {"d/new", '0', "3", NULL, 0},
					       {"d/more/x", '0', "4", NULL, 0}};
	struct fx *f = *state;

	assert_lists(f, twice, 3, NULL, "100755 a new\n100644 b b\n");
	assert_lists(f, file_last, 4, NULL, "100644 d 4\n100644 d.e 3\n");
	assert_lists(f, folder_last, 4, NULL, "100644 d/x 1\n100644 d/y/z 2\n");
	assert_lists(f, between, 4, NULL, "100644 d/new 3\n100644 d/more/x 4\n");
	assert_lists(f, between, 4, "d", "100644 new 3\n100644 more/x 4\n");
}

static void links_are_followed_inside_of_the_archive_only(void **state)
{
	static const struct entry links[] = {{"a", '0', "one", NULL, 0755},   {"dir/hard", '1', NULL, "./a", 0},
					     {"a", '0', "two", NULL, 0},      {"again", '1', NULL, "dir/hard", 0},
					     {"soft", '2', NULL, "../x", 0},  {"softly", '1', NULL, "soft", 0},
					     {"itself", '0', "i", NULL, 0},   {"itself", '1', NULL, "itself", 0},
					     {"pipe", '6', NULL, NULL, 0},    {"disk", '4', NULL, NULL, 0},
					     {"empty/", '5', NULL, NULL, 0},  {"a2", '1', NULL, "a", 0}};
	static const struct entry later[] = {{"h", '1', NULL, "b", 0}, {"b", '0', "x", NULL, 0}};
	static const struct entry folder[] = {{"b/", '5', NULL, NULL, 0}, {"h", '1', NULL, "b", 0}};
	static const struct entry round[] = {{"h", '1', NULL, "h", 0}};
	static const char *const outside[] = {"/etc/passwd", "../x", ".git/config"};
	WR_AUTO_S(wr_buf) tar = WR_BUF_INIT(1u << 20);
	struct fx *f = *state;
	struct wr_oid root;

	assert_lists(f, links, WR_ARRAY_LEN(links), NULL,
		     "100755 dir/hard one\n100755 again one\n100644 a two\n100644 a2 two\n120000 soft ../x\n"
		     "120000 softly ../x\n100644 itself i\n");
	assert_lists(f, links, WR_ARRAY_LEN(links), "dir", "100755 hard one\n");
	assert_lists(f, links, WR_ARRAY_LEN(links), "empty", "");
	assert_lists(f, links, 0, NULL, "");
	assert_lists(f, &links[8], 2, NULL, "");
	tar_of(&tar, later, 2);
	assert_int_equal(unpack_with(&root, f, wr_buf_str(&tar), WR_UNPACK_TAR, NULL, &usual, NULL), WR_E_INVALID_REQUEST);
	tar_of(&tar, folder, 2);
	assert_int_equal(unpack_with(&root, f, wr_buf_str(&tar), WR_UNPACK_TAR, NULL, &usual, NULL), WR_E_INVALID_REQUEST);
	tar_of(&tar, round, 1);
	assert_int_equal(unpack_with(&root, f, wr_buf_str(&tar), WR_UNPACK_TAR, NULL, &usual, NULL), WR_E_INVALID_REQUEST);
	for (size_t i = 0; i < WR_ARRAY_LEN(outside); i++) {
		const struct entry bad = {"h", '1', NULL, outside[i], 0};

		tar_of(&tar, &bad, 1);
		assert_int_equal(unpack_with(&root, f, wr_buf_str(&tar), WR_UNPACK_TAR, NULL, &usual, NULL),
				 WR_E_INVALID_FILE_PATH);
	}
}

static void names_say_no_more_than_they_do_for_tar(void **state)
{
	static const struct entry odd[] = {{"./a", '0', "1", NULL, 0},	    {".//b//c", '0', "2", NULL, 0},
					   {"b/./d", '0', "3", NULL, 0},    {"./", '5', NULL, NULL, 0},
					   {"back\\slash", '0', "4", NULL, 0}, {"\xff", '0', "5", NULL, 0},
					   {"\xc3\xa4", '0', "6", NULL, 0}, {"old/", '0', NULL, NULL, 0}};
	static const char *const bad[] = {"/a",	      "..",	 "../a",	"a/..",	       "a/../b",   ".git",
					  ".GIT/x",   "a/.git/b", ".git ",	".git.",       "git~1/x",  ".g\xe2\x80\x8cit/a",
					  "x\\.git\\y", ".git::$INDEX_ALLOCATION"};
	WR_AUTO_S(wr_buf) tar = WR_BUF_INIT(1u << 20);
	struct fx *f = *state;
	struct wr_oid root;

	assert_lists(f, odd, WR_ARRAY_LEN(odd), NULL,
		     "100644 a 1\n100644 b/c 2\n100644 b/d 3\n100644 back\\slash 4\n100644 \xff 5\n100644 \xc3\xa4 6\n");
	assert_lists(f, odd, WR_ARRAY_LEN(odd), "./b/", "100644 c 2\n100644 d 3\n");
	assert_lists(f, odd, WR_ARRAY_LEN(odd), "/b", "100644 c 2\n100644 d 3\n");
	assert_lists(f, odd, WR_ARRAY_LEN(odd), "old", "");
	for (size_t i = 0; i < WR_ARRAY_LEN(bad); i++) {
		const struct entry e = {bad[i], '0', "x", NULL, 0};
		json_t *path;

		tar_of(&tar, &e, 1);
		assert_int_equal(unpack_with(&root, f, wr_buf_str(&tar), WR_UNPACK_TAR, NULL, &usual, NULL),
				 WR_E_INVALID_FILE_PATH);
		path = json_object_get(f->err.fields, "path");
		assert_string_equal(json_string_value(path), bad[i]);
	}
}

static void a_folder_that_is_not_there_is_told(void **state)
{
	static const struct entry some[] = {{"a/b", '0', "1", NULL, 0}, {"file", '0', "2", NULL, 0}, {"ab/c", '0', "3", NULL, 0},
					    {"gone/x", '0', "4", NULL, 0}, {"gone", '0', "5", NULL, 0}};
	static const char *const wrong[] = {"none", "file", "a/b", "a/c", "gone", "..", "a/../a", "A"};
	WR_AUTO_S(wr_buf) tar = WR_BUF_INIT(1u << 20);
	struct fx *f = *state;
	struct wr_oid root;

	assert_lists(f, some, WR_ARRAY_LEN(some), "a", "100644 b 1\n");
	tar_of(&tar, some, WR_ARRAY_LEN(some));
	for (size_t i = 0; i < WR_ARRAY_LEN(wrong); i++) {
		assert_int_equal(unpack_with(&root, f, wr_buf_str(&tar), WR_UNPACK_TAR, wrong[i], &usual, NULL),
				 WR_E_IMPORT_SUBDIR_NOT_FOUND);
		assert_string_equal(json_string_value(json_object_get(f->err.fields, "source")), "tar");
		assert_string_equal(json_string_value(json_object_get(f->err.fields, "dir")), wrong[i]);
	}
}

/* ---- limits ---- */

static void every_limit_is_one(void **state)
{
	static const struct entry some[] = {{"a", '0', "12345678", NULL, 0}, {"b", '0', "123", NULL, 0}, {"c/d/e", '0', "1", NULL, 0}};
	struct wr_unpack_limits l = {.max_entries = 4, .max_file = 8, .max_bytes = 8192, .max_ratio = 1};
	WR_AUTO_S(wr_buf) tar = WR_BUF_INIT(1u << 20);
	struct fx *f = *state;
	struct wr_oid root;

	tar_of(&tar, some, 3);
	assert_ok(unpack_with(&root, f, wr_buf_str(&tar), WR_UNPACK_TAR, NULL, &l, NULL));
	l.max_entries = 2;
	assert_int_equal(unpack_with(&root, f, wr_buf_str(&tar), WR_UNPACK_TAR, NULL, &l, NULL), WR_E_TOO_LARGE);
	l.max_entries = 4;
	l.max_file = 7;
	assert_int_equal(unpack_with(&root, f, wr_buf_str(&tar), WR_UNPACK_TAR, NULL, &l, NULL), WR_E_TOO_LARGE);
	l.max_file = 8;
	l.max_bytes = 2000;
	assert_int_equal(unpack_with(&root, f, wr_buf_str(&tar), WR_UNPACK_TAR, NULL, &l, NULL), WR_E_TOO_LARGE);
	sh(f, "head -c 3000000 /dev/zero > zeros; tar -czf zeros.tar.gz zeros; tar -cSf sparse.tar zeros; "
	      "python3 -c 'import zipfile; zipfile.ZipFile(\"zeros.zip\", \"w\", 8).write(\"zeros\")'");
	l = usual;
	assert_ok(unpack_file(&root, f, "sparse.tar", NULL, &l));
	l.max_ratio = 1000000;
	assert_ok(unpack_file(&root, f, "zeros.tar.gz", NULL, &l));
	assert_ok(unpack_file(&root, f, "zeros.zip", NULL, &l));
	l.max_ratio = 10;
	assert_int_equal(unpack_file(&root, f, "zeros.tar.gz", NULL, &l), WR_E_TOO_LARGE);
	assert_int_equal(unpack_file(&root, f, "zeros.zip", NULL, &l), WR_E_TOO_LARGE);
}

static bool after_some(void *arg)
{
	unsigned *left = arg;

	return *left == 0 || --*left == 0;
}

static void it_asks_whether_it_is_still_wanted(void **state)
{
	WR_AUTO_S(wr_buf) tar = WR_BUF_INIT(256u << 20);
	struct fx *f = *state;
	struct wr_oid root;
	unsigned asked = 1000000;

	make_work(f);
	sh(f, "tar -cf work.tar -C work .");
	read_whole(&tar, f, "work.tar");
	assert_ok(unpack_with(&root, f, wr_buf_str(&tar), WR_UNPACK_TAR, NULL, &usual,
			      &(struct wr_cancel){after_some, &asked}));
	asked = 1000000 - asked;
	/* Each block that comes, at least. */
	assert_true(asked > tar.len / 65536);
	for (unsigned at = 1; at < asked; at += 1 + asked / 7) {
		unsigned left = at;

		assert_int_equal(unpack_with(&root, f, wr_buf_str(&tar), WR_UNPACK_TAR, NULL, &usual,
					     &(struct wr_cancel){after_some, &left}),
				 WR_E_CANCELLED);
	}
}

/* Whatever is cut off or changed: an error of its own or a tree, never anything else. */
static void damaged_archives_end_in_an_error_or_a_tree(void **state)
{
	static const char *const names[] = {"s.tar", "s.tar.gz", "s.zip"};
	struct fx *f = *state;

	sh(f, "mkdir -p s/d; printf one > s/one; seq 1 3000 > s/d/lines; ln -s one s/link; "
	      "printf two > s/d/'name \xc3\xa4'; tar --format=pax -cf s.tar s; tar -czf s.tar.gz s; zip -qry s.zip s");
	for (size_t i = 0; i < WR_ARRAY_LEN(names); i++) {
		WR_AUTO_S(wr_buf) bytes = WR_BUF_INIT(1u << 20);
		enum wr_unpack_format format = i == 2 ? WR_UNPACK_ZIP : WR_UNPACK_TAR;
		struct wr_oid whole, root;

		read_whole(&bytes, f, names[i]);
		assert_ok(unpack_with(&whole, f, wr_buf_str(&bytes), format, NULL, &usual, NULL));
		/* What follows an archive is no part of it. */
		wr_buf_addz(&bytes, "rubbish that PK\3\4 somebody left");
		assert_ok(unpack_with(&root, f, wr_buf_str(&bytes), format, NULL, &usual, NULL));
		assert_true(wr_oid_eq(&root, &whole));
		read_whole(&bytes, f, names[i]);
		for (unsigned k = 0; k < rounds(150); k++) {
			struct wr_str part = wr_str_n(bytes.ptr, chance(f, (unsigned)bytes.len));
			unsigned at = chance(f, (unsigned)bytes.len);
			char was = bytes.ptr[at];
			enum wr_code code = unpack_with(&root, f, part, format, NULL, &usual, NULL);

			/* A tar is over with its first block of zeros, a gzip needs its last bytes for nothing but a sum. */
			if (code == WR_OK)
				assert_true(format == WR_UNPACK_TAR && wr_oid_eq(&root, &whole));
			bytes.ptr[at] = (char)chance(f, 256);
			code = unpack_with(&root, f, wr_buf_str(&bytes), format, NULL, &usual, NULL);
			assert_true(code == WR_OK || code == WR_E_SOURCE_NOT_FOUND || code == WR_E_INVALID_REQUEST ||
				    code == WR_E_INVALID_FILE_PATH || code == WR_E_TOO_LARGE);
			bytes.ptr[at] = was;
		}
	}
}

/* Files of every size around the bounds of what is kept in memory, and that they are stored as they were. */
static void large_files_are_stored_as_they_are(void **state)
{
	WR_AUTO_S(wr_buf) tar = WR_BUF_INIT(256u << 20);
	WR_AUTO(wr_quarantine) *q = NULL;
	struct fx *f = *state;
	struct wr_ref_update u = {.name = wr_str("refs/heads/main")};
	struct wr_change change = {.updates = &u, .count = 1};
	struct dribble src = {.base = {dribble_read}, .step = 11};
	static const char text[] = "\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nm\n";
	WR_AUTO_S(wr_buf) commit = WR_BUF_INIT(4096);
	struct wr_oid root, want;
	char hex[WR_OID_HEX + 1];

	sh(f, "mkdir l; cd l; head -c 4194304 /dev/urandom > a; head -c 4194305 /dev/urandom > b; head -c 6000000 /dev/urandom > c; "
	      "head -c 5000000 /dev/zero > d; cat b > twin; printf x > e; seq 1 700000 > f; cd ..; tar -cf l.tar -C l .");
	read_whole(&tar, f, "l.tar");
	src.rest = wr_buf_str(&tar);
	assert_ok(wr_quarantine_new(&q, f->repo, &f->err));
	assert_ok(wr_unpack(&root, q, &src.base, WR_UNPACK_TAR, wr_str(NULL), &usual, NULL, NULL, &f->err));
	wr_oid_hex(hex, &root);
	wr_buf_printf(&commit, "tree %s%s", hex, text);
	assert_ok(wr_quarantine_add(&u.new, q, WR_COMMIT, wr_buf_str(&commit), NULL, &f->err));
	change.objects = q;
	assert_ok(wr_git_append(f->repo, &change, &f->err));
	assert_string_equal(u.reason, "");
	wr_quarantine_free(WR_STEAL(q));
	/* Every blob's bytes, and not only the names that they got. */
	assert_ok(wr_git_repo_checkpoint(&(bool){false}, f->repo, &f->err));
	sh(f, "git --git-dir=$(echo data/repos/*/*/*.git) fsck --strict --full; "
	      "test -z \"$(ls -A data/run/*/ | grep -v lock)\"");
	sh_oid(f, &want, "git init -q --bare g.git; git --git-dir=g.git --work-tree=l -c core.bare=false add -A; "
			 "git --git-dir=g.git write-tree");
	assert_true(wr_oid_eq(&root, &want));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(real_tars_become_the_trees_that_git_makes_of_them, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(real_zips_become_the_trees_that_git_makes_of_them, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(zips_may_begin_their_directory_anywhere, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(the_later_of_two_entries_counts, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(links_are_followed_inside_of_the_archive_only, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(names_say_no_more_than_they_do_for_tar, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(a_folder_that_is_not_there_is_told, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(every_limit_is_one, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(it_asks_whether_it_is_still_wanted, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(damaged_archives_end_in_an_error_or_a_tree, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(large_files_are_stored_as_they_are, fx_setup, fx_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
