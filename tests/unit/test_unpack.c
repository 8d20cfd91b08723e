/* Archives that come in: the trees of good ones are those that git makes of what tar and unzip unpack; bad ones and bombs
 * end in their own error, and leave nothing. */
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
	      "head -c 6000000 /dev/urandom > big; head -c 100000 /dev/zero > zeros; printf w > 'back\\slash'; "
	      "seq 1 300 | while read n; do printf $n > a/file$n; done");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(real_tars_become_the_trees_that_git_makes_of_them, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(real_zips_become_the_trees_that_git_makes_of_them, fx_setup, fx_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
