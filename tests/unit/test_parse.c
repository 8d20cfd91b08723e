#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/git/parse.h"

#define HEX "0123456789abcdef0123456789abcdef01234567"
#define HEX2 "fedcba9876543210fedcba9876543210fedcba98"

static enum wr_code commit(struct wr_commit *c, const char *text)
{
	return wr_commit_parse(c, wr_str(text), NULL);
}

static void commits(void **state)
{
	WR_AUTO_S(wr_commit) c = {.parents = NULL};
	char hex[WR_OID_HEX + 1];

	(void)state;
	assert_int_equal(commit(&c, "tree " HEX "\nparent " HEX2 "\nparent " HEX "\nauthor A <a> 5 +0000\n"
				    "committer C <c> 1234567890 -0200\nencoding x\n\nparent nothing\n"),
			 WR_OK);
	wr_oid_hex(hex, &c.tree);
	assert_string_equal(hex, HEX);
	assert_int_equal(c.parent_count, 2);
	wr_oid_hex(hex, &c.parents[0]);
	assert_string_equal(hex, HEX2);
	assert_int_equal(c.date, 1234567890);
}

/* What histories really hold: no date, a strange one, no mail, nothing behind the tree. */
static void odd_commits(void **state)
{
	static const char *const texts[] = {
		"tree " HEX "\n",
		"tree " HEX "\nauthor A <a> 5 +0000\ncommitter C <c>\n\n",
		"tree " HEX "\nauthor A <a> 5 +0000\ncommitter C 77 +0000\n\n",
		"tree " HEX "\nauthor A <a> 5 +0000\ncommitter C <c> 99999999999999999999999 +0000\n",
		"tree " HEX "\nauthor A <a> 5 +0000\ncommitter C <c> -5 +0000\n",
	};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(texts); i++) {
		WR_AUTO_S(wr_commit) c = {.parents = NULL};

		assert_int_equal(commit(&c, texts[i]), WR_OK);
		assert_int_equal(c.date, 0);
		assert_int_equal(c.parent_count, 0);
	}
}

static void bad_commits(void **state)
{
	static const char *const texts[] = {
		"",
		"tree",
		"tree " HEX,
		"tree 0123\n",
		"parent " HEX "\n",
		"tree " HEX "x\n",
		"tree " HEX "\nparent 12\nauthor",
		"tree zz23456789abcdef0123456789abcdef01234567\n",
	};
	struct wr_commit c;

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(texts); i++)
		assert_int_equal(commit(&c, texts[i]), WR_E_BAD_PACK);
}

static void tags(void **state)
{
	struct wr_oid oid;
	enum wr_type type;

	(void)state;
	assert_int_equal(wr_tag_parse(&oid, &type, WR_S("object " HEX "\ntype tree\ntag x\n"), NULL), WR_OK);
	assert_int_equal(type, WR_TREE);
	assert_int_equal(wr_tag_parse(&oid, &type, WR_S("object " HEX "\ntype tag"), NULL), WR_OK);
	assert_int_equal(type, WR_TAG);
	assert_int_equal(wr_tag_parse(&oid, &type, WR_S("object " HEX "\ntype trees\n"), NULL), WR_E_BAD_PACK);
	assert_int_equal(wr_tag_parse(&oid, &type, WR_S("object " HEX "\ntype \n"), NULL), WR_E_BAD_PACK);
	assert_int_equal(wr_tag_parse(&oid, &type, WR_S("object " HEX "\ntag x\n"), NULL), WR_E_BAD_PACK);
	assert_int_equal(wr_tag_parse(&oid, &type, WR_S("type tree\n"), NULL), WR_E_BAD_PACK);
}

static void trees(void **state)
{
	static const char bytes[] = "40000 d\0aaaaaaaaaaaaaaaaaaaa"
				    "100664 f\0bbbbbbbbbbbbbbbbbbbb"
				    "040755 old\0cccccccccccccccccccc"
				    "160000 s\0dddddddddddddddddddd"
				    "120644 l\0eeeeeeeeeeeeeeeeeeee"
				    "0 n\0ffffffffffffffffffff"
				    "77777777777777777777 m\0gggggggggggggggggggg"
				    "7777777777777777700100644 o\0hhhhhhhhhhhhhhhhhhhh";
	/* Git takes what it cannot name for a submodule, and the lowest bits of a long number. */
	static const unsigned modes[] = {WR_MODE_TREE, 0100664,	     WR_MODE_TREE, WR_MODE_LINK,
					 0120644,      WR_MODE_LINK, WR_MODE_LINK, 0100644};
	struct wr_str rest = wr_str_n(bytes, sizeof(bytes) - 1);
	struct wr_tree_entry e;

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(modes); i++) {
		assert_int_equal(wr_tree_next(&e, &rest, NULL), WR_OK);
		assert_int_equal(e.mode, modes[i]);
		assert_int_equal(e.oid.id[19], 'a' + (int)i);
	}
	assert_int_equal(wr_tree_next(&e, &rest, NULL), WR_E_NOT_THERE);
}

static void bad_trees(void **state)
{
	static const struct wr_str texts[] = {
		WR_S("40000"),
		WR_S("40000 "),
		WR_S("40000 d"),
		WR_S("40000 d\0"),
		WR_S("40000 d\0aaaaaaaaaaaaaaaaaaa"),
		WR_S(" d\0aaaaaaaaaaaaaaaaaaaa"),
		WR_S("4x d\0aaaaaaaaaaaaaaaaaaaa"),
		WR_S("40000 \0aaaaaaaaaaaaaaaaaaaa"),
	};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(texts); i++) {
		/* A copy of just this size, so that a sanitizer sees a read behind it. */
		WR_AUTO_MEM char *copy = malloc(texts[i].len);
		struct wr_str rest = wr_str_n(copy, texts[i].len);
		struct wr_tree_entry e;

		memcpy(copy, texts[i].ptr, texts[i].len);
		assert_int_equal(wr_tree_next(&e, &rest, NULL), WR_E_BAD_PACK);
	}
}

static bool git_says(const char *name)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		execlp("git", "git", "check-ref-format", name, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
	return WEXITSTATUS(status) == 0;
}

static void ref_names_as_git_judges(void **state)
{
	static const char *const names[] = {
		"refs/heads/main", "refs/heads/a/b/c",	 "refs/heads/",		"refs/heads//a",
		"refs/heads/a/",   "refs/heads/.a",	 "refs/heads/a.",	"refs/heads/a./b",
		"refs/heads/a..b", "refs/heads/a.lock",	 "refs/heads/a.lock/b", "refs/heads/a b",
		"refs/heads/a~b",  "refs/heads/a^",	 "refs/heads/a:b",	"refs/heads/a?",
		"refs/heads/a*",   "refs/heads/a[b",	 "refs/heads/a]b",	"refs/heads/a\\b",
		"refs/heads/@",	   "refs/heads/@{",	 "refs/heads/a@{b",	"refs/heads/a@b",
		"refs/heads/\x7f", "refs/heads/a\tb",	 "refs/heads/\xc3\xa4", "refs/heads/\xff",
		"refs/heads/-a",   "refs/heads/a.b",	 "refs/heads/...",	"refs/heads/.",
		"refs/heads/a/.b", "refs/heads/a/..",	 "refs/heads/{a}",	"refs/tags/v1.0",
		"refs/x/y",	   "refs/heads/a.lock.", "refs/heads/lock",	"refs/heads/.lock",
	};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(names); i++)
		if (wr_refname_ok(wr_str(names[i])) != git_says(names[i]))
			fail_msg("%s: git says %d", names[i], git_says(names[i]));
	assert_false(wr_refname_ok(WR_S("HEAD")));
	assert_false(wr_refname_ok(WR_S("refs/stash")));
	assert_false(wr_refname_ok(WR_S("heads/main/x")));
	assert_false(wr_refname_ok(WR_S("refs/heads/a\0b")));
	assert_false(wr_refname_ok(WR_S("")));
}

static void long_ref_names(void **state)
{
	char name[WR_REFNAME_MAX + 2];

	(void)state;
	memset(name, 'a', sizeof(name));
	memcpy(name, "refs/heads/", 11);
	assert_true(wr_refname_ok(wr_str_n(name, WR_REFNAME_MAX)));
	assert_false(wr_refname_ok(wr_str_n(name, WR_REFNAME_MAX + 1)));
}

static void branch_names(void **state)
{
	(void)state;
	assert_true(wr_branchname_ok(WR_S("main")));
	assert_true(wr_branchname_ok(WR_S("feature/x")));
	assert_false(wr_branchname_ok(WR_S("")));
	assert_false(wr_branchname_ok(WR_S("HEAD")));
	assert_false(wr_branchname_ok(WR_S("-x")));
	assert_false(wr_branchname_ok(WR_S("a..b")));
	assert_false(wr_branchname_ok(WR_S("/a")));
	assert_true(wr_branchname_ok(WR_S("heads/HEAD")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commits),
		cmocka_unit_test(odd_commits),
		cmocka_unit_test(bad_commits),
		cmocka_unit_test(tags),
		cmocka_unit_test(trees),
		cmocka_unit_test(bad_trees),
		cmocka_unit_test(ref_names_as_git_judges),
		cmocka_unit_test(long_ref_names),
		cmocka_unit_test(branch_names),
	};

	return cmocka_run_group_tests_name("parse", tests, NULL, NULL);
}
