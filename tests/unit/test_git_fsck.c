/*
 * What objects are refused for, and under which id: each id, rules, blobs wherever they lie, and that nothing hides
 * behind what a store already has. tests/git/fsck.py compares with git itself.
 */
#include "tests/unit/git_fixture.h"

#include "core/git/filename.h"
#include "core/git/fsck.h"
#include "core/git/modules.h"

#define HEX "0123456789abcdef0123456789abcdef01234567"
#define WHO "A <a@b> 1 +0000\n"
#define HEAD "tree " HEX "\nparent " HEX "\n"
#define AUTHOR(who) HEAD "author " who "committer " WHO "\nm\n"
#define TAGGED(who) "object " HEX "\ntype blob\ntag v1\ntagger " who "\nm\n"
#define ID20 "aaaaaaaaaaaaaaaaaaaa"

static struct wr_fsck_rules strict(void)
{
	struct wr_fsck_rules rules;

	assert_ok(wr_fsck_rules_parse(&rules, NULL, NULL));
	return rules;
}

static struct wr_fsck_rules without(const char *ids)
{
	struct wr_fsck_rules rules;

	assert_ok(wr_fsck_rules_parse(&rules, ids, NULL));
	return rules;
}

/* A copy of just this size, so that a sanitizer sees a read behind it. */
static enum wr_fsck_id judge(enum wr_type type, struct wr_str text, const struct wr_fsck_rules *rules)
{
	WR_AUTO_MEM char *copy = malloc(text.len + !text.len);
	struct wr_fault fault = {.id = WR_FSCK_SOUND};
	struct wr_fsck_tree tree;

	assert_non_null(copy);
	if (text.len)
		memcpy(copy, text.ptr, text.len);
	text.ptr = copy;
	switch (type) {
	case WR_COMMIT:
		wr_fsck_commit(&fault, text, rules);
		break;
	case WR_TAG:
		wr_fsck_tag(&fault, text, rules);
		break;
	case WR_TREE:
		assert_ok(wr_fsck_tree(&tree, text, rules, NULL, NULL));
		fault = tree.fault;
		break;
	case WR_BLOB:
		assert_ok(wr_fsck_blob(&fault, WR_FSCK_MODULES, text.len, text, rules, NULL));
		break;
	}
	return fault.id;
}

#define C(id, text) {WR_FSCK_##id, WR_COMMIT, WR_S(text)}
#define G(id, text) {WR_FSCK_##id, WR_TAG, WR_S(text)}
#define E(id, text) {WR_FSCK_##id, WR_TREE, WR_S(text)}
#define M(id, text) {WR_FSCK_##id, WR_BLOB, WR_S(text)}
static const struct {
	enum wr_fsck_id id;
	enum wr_type type;
	struct wr_str text;
} objects[] = {
	C(SOUND, AUTHOR(WHO)),
	C(SOUND, "tree " HEX "\nauthor " WHO "committer " WHO),
	C(SOUND, AUTHOR("A  <> 0 -9999\n")),
	C(SOUND, AUTHOR("A <a> +9223372036854775807 +0000\n")),
	C(NUL_IN_HEADER, AUTHOR("A\0 <a> 1 +0000\n")),
	C(UNTERMINATED_HEADER, HEAD "author " WHO "committer A <a> 1 +0000"),
	C(UNTERMINATED_HEADER, ""),
	C(MISSING_TREE, "author " WHO "committer " WHO "\n"),
	C(BAD_TREE_SHA1, "tree 0123\nauthor " WHO "committer " WHO "\n"),
	C(BAD_TREE_SHA1, "tree " HEX "0\nauthor " WHO "committer " WHO "\n"),
	C(BAD_PARENT_SHA1, "tree " HEX "\nparent " HEX " \nauthor " WHO "committer " WHO "\n"),
	C(MISSING_AUTHOR, HEAD "committer " WHO "\n"),
	C(MULTIPLE_AUTHORS, HEAD "author " WHO "author " WHO "committer " WHO "\n"),
	C(MISSING_COMMITTER, HEAD "author " WHO "\nm\n"),
	C(MISSING_COMMITTER, HEAD "author " WHO "encoding x\ncommitter " WHO "\n"),
	C(NUL_IN_COMMIT, AUTHOR(WHO) "a\0b"),
	C(MISSING_NAME_BEFORE_EMAIL, AUTHOR("<a@b> 1 +0000\n")),
	C(BAD_NAME, AUTHOR("A> <a@b> 1 +0000\n")),
	C(MISSING_EMAIL, AUTHOR("A 1 +0000\n")),
	C(MISSING_SPACE_BEFORE_EMAIL, AUTHOR("A<a@b> 1 +0000\n")),
	C(BAD_EMAIL, AUTHOR("A <a@b 1 +0000\n")),
	C(BAD_EMAIL, AUTHOR("A <a<b> 1 +0000\n")),
	C(MISSING_SPACE_BEFORE_DATE, AUTHOR("A <a@b>1 +0000\n")),
	C(ZERO_PADDED_DATE, AUTHOR("A <a@b> 01 +0000\n")),
	C(BAD_DATE_OVERFLOW, AUTHOR("A <a@b> 9223372036854775808 +0000\n")),
	C(BAD_DATE_OVERFLOW, AUTHOR("A <a@b> 99999999999999999999999999 +0000\n")),
	C(BAD_DATE_OVERFLOW, AUTHOR("A <a@b> -1 +0000\n")),
	C(BAD_DATE, AUTHOR("A <a@b> x +0000\n")),
	C(BAD_DATE, AUTHOR("A <a@b> 1\n")),
	C(BAD_TIMEZONE, AUTHOR("A <a@b> 1 UTC\n")),
	C(BAD_TIMEZONE, AUTHOR("A <a@b> 1 +05:30\n")),
	C(BAD_TIMEZONE, AUTHOR("A <a@b> 1 +00000\n")),
	G(SOUND, TAGGED(WHO)),
	G(SOUND, "object " HEX "\ntype tag\ntag v1\n"),
	/* missingTaggerEntry, badTagName, extraHeaderEntry: told by git, refused by nobody. */
	G(SOUND, "object " HEX "\ntype tag\ntag a..b\n\nm\n"),
	G(SOUND, "object " HEX "\ntype blob\ntag v1\ntagger " WHO "more: x\n\nm\n"),
	G(NUL_IN_HEADER, "object " HEX "\ntype blob\ntag v\0001\ntagger " WHO "\nm\n"),
	G(UNTERMINATED_HEADER, "object " HEX "\ntype blob\ntag v1"),
	G(MISSING_OBJECT, "type blob\ntag v1\ntagger " WHO "\n"),
	G(BAD_OBJECT_SHA1, "object 0123\ntype blob\ntag v1\ntagger " WHO "\n"),
	G(MISSING_TYPE_ENTRY, "object " HEX "\ntag v1\ntagger " WHO "\n"),
	G(BAD_TYPE, "object " HEX "\ntype blobs\ntag v1\ntagger " WHO "\n"),
	G(MISSING_TAG_ENTRY, "object " HEX "\ntype blob\ntagger " WHO "\n"),
	G(BAD_TIMEZONE, TAGGED("A <a@b> 1 UTC\n")),
	E(SOUND, ""),
	E(SOUND, "100644 a\0" ID20 "120000 b\0" ID20 "40000 c\0" ID20 "160000 d\0" ID20 "100755 e\0" ID20),
	E(SOUND, "100644 a\0" ID20 "100644 a.c\0" ID20 "40000 a.c.d\0" ID20 "100644 a0\0" ID20),
	/* badFilemode, gitignoreSymlink, gitattributesSymlink, mailmapSymlink. */
	E(SOUND, "100664 a\0" ID20 "644 b\0" ID20),
	E(SOUND, "120000 .gitattributes\0" ID20 "120000 .gitignore\0" ID20 "120000 .mailmap\0" ID20),
	E(BAD_TREE, "100644 a\0" ID20 "100644 b"),
	E(BAD_TREE, "100644a\0" ID20),
	E(BAD_TREE, "100648 a\0" ID20),
	E(BAD_TREE, "100644 \0" ID20),
	E(NULL_SHA1, "100644 a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
	E(FULL_PATHNAME, "100644 a/b\0" ID20),
	E(FULL_PATHNAME, "100644 .git/x\0" ID20),
	E(HAS_DOT, "40000 .\0" ID20),
	E(HAS_DOTDOT, "40000 ..\0" ID20),
	E(HAS_DOTGIT, "40000 .git\0" ID20),
	E(HAS_DOTGIT, "100644 a\\GIT~1 ..:x\0" ID20),
	E(HAS_DOTGIT, "100644 .G\xe2\x80\x8ciT\0" ID20),
	E(HAS_DOTGIT, "100644 .git\xff\0" ID20),
	E(ZERO_PADDED_FILEMODE, "040000 a\0" ID20),
	E(DUPLICATE_ENTRIES, "100644 a\0" ID20 "100644 a\0" ID20),
	E(DUPLICATE_ENTRIES, "100644 a\0" ID20 "40000 a\0" ID20),
	E(DUPLICATE_ENTRIES, "100644 a\0" ID20 "100644 a-\0" ID20 "100644 a-.c\0" ID20 "40000 a\0" ID20),
	E(TREE_NOT_SORTED, "100644 b\0" ID20 "100644 a\0" ID20),
	E(TREE_NOT_SORTED, "40000 a\0" ID20 "100644 a.c\0" ID20),
	E(GITMODULES_SYMLINK, "120000 .gitmodules\0" ID20),
	E(GITMODULES_SYMLINK, "120000 x\\GITMOD~3\0" ID20),
	E(GITMODULES_SYMLINK, "120000 gi7eba~1\0" ID20),
	M(SOUND, ""),
	M(SOUND, "[submodule \"a/b\"]\n\tpath = a/b\n\turl = ../b.git\n\tupdate = rebase\n"),
	/* gitmodulesParse: what comes before it counts, what comes after it does not. */
	M(SOUND, "[submodule \"a\"]\n?\n\turl = -x\n"),
	M(SOUND, "[submodule \"a\"]\n\turl = \"open\n[submodule \"b\"]\n\turl = -x\n"),
	M(GITMODULES_URL, "[submodule \"a\"]\n\turl = -x\n?\n"),
	M(GITMODULES_NAME, "[submodule \"../a\"]\n\tpath = a\n"),
	M(GITMODULES_NAME, "[submodule \"\"]\n\tpath = a\n"),
	M(GITMODULES_URL, "\xef\xbb\xbf[SUBMODULE \"a\"] URL = \\\n -x # no\r\n"),
	M(GITMODULES_PATH, "[submodule \"a\"]\n\tpath = -x\n"),
	M(GITMODULES_UPDATE, "[submodule \"a\"]\n\tupdate = !x\n"),
};

static void every_id(void **state)
{
	bool seen[WR_FSCK_COUNT + 1] = {false};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(objects); i++) {
		struct wr_fsck_rules rules = strict();
		enum wr_fsck_id wanted = objects[i].id, got = judge(objects[i].type, objects[i].text, &rules);

		if (got != wanted)
			fail_msg("object %zu: '%s', wanted '%s'", i, wr_fsck_spelling(got), wr_fsck_spelling(wanted));
		seen[wanted] = true;
		if (wanted == WR_FSCK_SOUND || wanted == WR_FSCK_NUL_IN_HEADER || wanted == WR_FSCK_UNTERMINATED_HEADER)
			continue;
		rules = without(wr_fsck_spelling(wanted));
		assert_true(judge(objects[i].type, objects[i].text, &rules) != wanted);
	}
	/* The others are told of blobs (below), pass always, or cannot come up: the check before them finds it. */
	for (enum wr_fsck_id id = 0; id < WR_FSCK_COUNT; id++) {
		struct wr_fsck_rules rules = strict();
		bool blob = id == WR_FSCK_GITMODULES_MISSING || id == WR_FSCK_GITMODULES_BLOB ||
			    id == WR_FSCK_GITMODULES_LARGE ||
			    (id >= WR_FSCK_GITATTRIBUTES_MISSING && id <= WR_FSCK_GITATTRIBUTES_BLOB);
		bool never = id == WR_FSCK_MISSING_TYPE || id == WR_FSCK_MISSING_TAG || id == WR_FSCK_UNKNOWN_TYPE ||
			     id == WR_FSCK_EMPTY_NAME;

		if (!seen[id] && !blob && !never && !wr_fsck_passes(&rules, id))
			fail_msg("no object for %s", wr_fsck_spelling(id));
	}
}

static enum wr_fsck_id judge_blob(unsigned what, uint64_t size, struct wr_str text, const struct wr_fsck_rules *rules)
{
	struct wr_fault fault;

	assert_ok(wr_fsck_blob(&fault, what, size, text, rules, NULL));
	return fault.id;
}

static void blobs(void **state)
{
	static char text[5000];
	struct wr_fsck_rules rules = strict();
	struct wr_fault fault;

	(void)state;
	memset(text, 'x', sizeof(text));
	assert_int_equal(judge_blob(WR_FSCK_ATTRIBUTES, 2047, wr_str_n(text, 2047), &rules), WR_FSCK_SOUND);
	assert_int_equal(judge_blob(WR_FSCK_ATTRIBUTES, 2048, wr_str_n(text, 2048), &rules),
			 WR_FSCK_GITATTRIBUTES_LINE_LENGTH);
	text[1000] = '\n';
	assert_int_equal(judge_blob(WR_FSCK_ATTRIBUTES, 3048, wr_str_n(text, 3048), &rules), WR_FSCK_SOUND);
	assert_int_equal(judge_blob(WR_FSCK_ATTRIBUTES, 3049, wr_str_n(text, 3049), &rules),
			 WR_FSCK_GITATTRIBUTES_LINE_LENGTH);
	text[1001] = '\0'; /* git reads no further */
	assert_int_equal(judge_blob(WR_FSCK_ATTRIBUTES, 5000, wr_str_n(text, 5000), &rules), WR_FSCK_SOUND);
	assert_false(wr_fsck_blob_wanted(WR_FSCK_MODULES, WR_FSCK_MODULES_MAX + 1, &rules));
	assert_true(wr_fsck_blob_wanted(WR_FSCK_MODULES | WR_FSCK_ATTRIBUTES, WR_FSCK_MODULES_MAX + 1, &rules));
	assert_int_equal(judge_blob(WR_FSCK_MODULES, WR_FSCK_MODULES_MAX + 1, wr_str_n(NULL, 0), &rules),
			 WR_FSCK_GITMODULES_LARGE);
	assert_int_equal(judge_blob(WR_FSCK_ATTRIBUTES, WR_FSCK_ATTRIBUTES_MAX + 1, wr_str_n(NULL, 0), &rules),
			 WR_FSCK_GITATTRIBUTES_LARGE);
	wr_fsck_no_blob(&fault, WR_FSCK_MODULES | WR_FSCK_ATTRIBUTES, true, &rules);
	assert_int_equal(fault.id, WR_FSCK_GITMODULES_MISSING);
	wr_fsck_no_blob(&fault, WR_FSCK_ATTRIBUTES, true, &rules);
	assert_int_equal(fault.id, WR_FSCK_GITATTRIBUTES_MISSING);
	wr_fsck_no_blob(&fault, WR_FSCK_MODULES, false, &rules);
	assert_int_equal(fault.id, WR_FSCK_GITMODULES_BLOB);
	rules = without("gitmodulesBlob");
	wr_fsck_no_blob(&fault, WR_FSCK_MODULES | WR_FSCK_ATTRIBUTES, false, &rules);
	assert_int_equal(fault.id, WR_FSCK_GITATTRIBUTES_BLOB);
}

static void rules_as_configured(void **state)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_fsck_rules rules = without(" ,zeropaddedFILEMODE, badTimezone\tgitmodulesParse,,");

	(void)state;
	assert_true(wr_fsck_passes(&rules, WR_FSCK_ZERO_PADDED_FILEMODE) &&
		    wr_fsck_passes(&rules, WR_FSCK_BAD_TIMEZONE) && wr_fsck_passes(&rules, WR_FSCK_BAD_FILEMODE) &&
		    !wr_fsck_passes(&rules, WR_FSCK_BAD_DATE));
	assert_int_equal(wr_fsck_rules_parse(&rules, "badTimezone badtimezones", &err), WR_E_INVALID_REQUEST);
	assert_non_null(strstr(err.text, "\"badtimezones\""));
	assert_int_equal(wr_fsck_rules_parse(&rules, "nulInHeader", &err), WR_E_INVALID_REQUEST);
	assert_non_null(strstr(err.text, "nulInHeader cannot be let pass"));
	assert_true(wr_fsck_passes(&rules, WR_FSCK_BAD_TIMEZONE));
}

/* What harms those who check it out, and nothing else. */
static void rules_for_the_taken(void **state)
{
	const struct wr_fsck_rules pushed = without("hasDot"), rules = wr_fsck_rules_taken(&pushed);

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(objects); i++) {
		const char *spelling = wr_fsck_spelling(objects[i].id);
		bool harm = strcmp(spelling, "hasDotgit") == 0 || strcmp(spelling, "hasDotdot") == 0 ||
			    strcmp(spelling, "fullPathname") == 0 || strncmp(spelling, "gitmodules", 10) == 0;
		enum wr_fsck_id got = judge(objects[i].type, objects[i].text, &rules);

		if (harm != (got != WR_FSCK_SOUND))
			fail_msg("%s: %s", spelling, wr_fsck_spelling(got));
	}
}

static void file_names(void **state)
{
	static const struct {
		const char *name;
		bool modules, attributes;
	} names[] = {
		{".gitmodules", true, false},	    {".GITmodules . .", true, false},  {".gitmodules:x", true, false},
		{".gitmodulesx", false, false},	    {"gitmod~1", true, false},	       {"GITMOD~4 .:x", true, false},
		{"gitmod~5", false, false},	    {"gi7eba~1", true, false},	       {"GI7EB~10", true, false},
		{"gi7e~100", true, false},	    {"~1000000", true, true},	       {"gi7eba~0", false, false},
		{"gi7eba~1x", false, false},	    {"gi7eba1~1", false, false},       {"a\\.gitmodules", true, false},
		{"a\\b\\gitmod~2", true, false},    {".gitmodules\\x", false, false},  {".gitattributes", false, true},
		{".gitAttributes::", false, true},  {"gitatt~2", false, true},	       {"gi7d29~1", false, true},
		{"a\\.gitattributes", false, false}, {"gitmod~", false, false},
		{".git\xe2\x80\x8dmodules", true, false},
		{".gitattributes\xff", false, true}, {"gi250a~1", false, false},       {"g", false, false},
	};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(names); i++) {
		struct wr_str name = wr_str(names[i].name);

		if (wr_filename_modules(name) != names[i].modules ||
		    wr_filename_attributes(name) != names[i].attributes)
			fail_msg("%s", names[i].name);
		assert_true(wr_filename_odd(name) || !(names[i].modules || names[i].attributes));
	}
	assert_true(wr_filename_bad(WR_S("")) && wr_filename_bad(WR_S("a/b")) && !wr_filename_bad(WR_S("...")));
}

/* A million entries of one section cost what a million bytes cost. */
static void endless_modules(void **state)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(32u << 20);
	struct wr_fsck_rules rules = strict();
	struct wr_fault fault;

	(void)state;
	wr_buf_addz(&text, "[submodule \"");
	for (unsigned i = 0; i < 1u << 20; i++)
		wr_buf_addc(&text, 'x');
	wr_buf_addz(&text, "\"]\n");
	for (unsigned i = 0; i < 1u << 20; i++)
		wr_buf_addz(&text, "url\n");
	wr_buf_addz(&text, "url = https://a/\x1b[31m%0A\xff");
	for (unsigned i = 0; i < 200; i++)
		wr_buf_addc(&text, 'y');
	assert_ok(wr_modules_check(&fault, wr_buf_str(&text), &rules, NULL));
	assert_int_equal(fault.id, WR_FSCK_GITMODULES_URL);
	/* Told in a line that a terminal can show. */
	assert_int_equal(strncmp(fault.about, "https://a/?[31m%0A?yyy", 22), 0);
	assert_int_equal(strlen(fault.about), sizeof(fault.about) - 1);
}

static void not_without_end(void **state)
{
	WR_AUTO_S(wr_oidmap) special = {.cap = 0};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_oid oid = {{0}};

	(void)state;
	for (uint32_t i = 0; i < WR_FSCK_SPECIAL_MAX; i++) {
		wr_put_be32(oid.id, i);
		assert_ok(wr_fsck_special_add(&special, &oid, WR_FSCK_MODULES, NULL));
	}
	/* One that is there already may come again, under another name too. */
	assert_ok(wr_fsck_special_add(&special, &oid, WR_FSCK_ATTRIBUTES, NULL));
	assert_int_equal(*wr_oidmap_slot(&special, &oid) - 1, WR_FSCK_MODULES | WR_FSCK_ATTRIBUTES);
	oid.id[19] = 1;
	assert_int_equal(wr_fsck_special_add(&special, &oid, WR_FSCK_MODULES, &err), WR_E_TOO_LARGE);
	assert_non_null(strstr(err.text, "1000000"));
}

/* ---- in a repository ---- */

static void restart(struct fx *f, const char *ignore)
{
	fx_stop(f);
	f->cfg.fsck_ignore = ignore;
	fx_start(f);
}

static size_t put_entry(char *out, const char *mode_and_name, const struct wr_oid *oid)
{
	size_t n = strlen(mode_and_name) + 1;

	memcpy(out, mode_and_name, n);
	memcpy(out + n, oid->id, WR_OID_RAW);
	return n + WR_OID_RAW;
}

/* As many random bytes as make a pack too large for memory. */
static struct wr_str ballast(void)
{
	static char bytes[(1 << 20) + 5000];
	uint32_t x = 1;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)((x = x * 1664525 + 1013904223) >> 24);
	return wr_str_n(bytes, sizeof(bytes));
}

enum order { BLOB_FIRST, BLOB_LAST, BLOB_STORED };

/* A tree that has this blob under this name, pushed. */
static enum wr_code push_blob(struct fx *f, const char *mode_and_name, struct wr_str text, enum order order, bool files)
{
	struct wr_oid blob, tree;
	enum wr_code code;
	char entry[64];
	struct pb b;
	size_t n;

	oid_of(&blob, WR_BLOB, text);
	n = put_entry(entry, mode_and_name, &blob);
	oid_of(&tree, WR_TREE, wr_str_n(entry, n));
	if (order == BLOB_STORED) {
		pb_begin(&b, 1);
		pb_object(&b, WR_BLOB, text);
		assert_ok(push(f, pb_end(&b), "refs/x/blob", &blob));
		wr_buf_fini(&b.out);
	}
	pb_begin(&b, 1u + (order != BLOB_STORED) + files);
	if (order == BLOB_FIRST)
		pb_object(&b, WR_BLOB, text);
	if (files)
		pb_object(&b, WR_BLOB, ballast());
	pb_object(&b, WR_TREE, wr_str_n(entry, n));
	if (order == BLOB_LAST)
		pb_object(&b, WR_BLOB, text);
	code = push(f, pb_end(&b), "refs/x/tree", &tree);
	wr_buf_fini(&b.out);
	return code;
}

static void refused_as(struct fx *f, enum wr_code code, const char *words)
{
	if (code != WR_E_BAD_PACK || !strstr(f->err.text, words))
		fail_msg("wanted '%s', got %d: %s %s", words, code, f->err.text, f->err.detail);
}

#define BAD_MODULES "[submodule \"a\"]\n\turl = -x\n"

static void blobs_wherever_they_lie(void **state)
{
	struct fx *f = *state;

	for (enum order order = BLOB_FIRST; order <= BLOB_STORED; order++) {
		for (unsigned files = 0; files < 2; files++) {
			refused_as(f, push_blob(f, "100644 .gitmodules", WR_S(BAD_MODULES), order, files),
				   ": gitmodulesUrl: a forbidden URL of a submodule: -x");
			refused_as(f, push_blob(f, "100755 a\\gitmod~1", WR_S(BAD_MODULES), order, files),
				   "gitmodulesUrl");
			assert_ok(push_blob(f, "100644 .gitmodules", WR_S("[submodule \"a\"]\n\turl = x\n"), order,
					    files));
			assert_ok(push_blob(f, "100644 .gitmodule", WR_S(BAD_MODULES), order, files));
		}
	}
	restart(f, "gitmodulesurl");
	assert_ok(push_blob(f, "100644 .gitmodules", WR_S(BAD_MODULES), BLOB_FIRST, false));
	refused_as(f, push_blob(f, "100644 .gitmodules", WR_S("[submodule \"a/..\"]\n\turl = x\n"), BLOB_LAST, false),
		   "gitmodulesName");
	restart(f, NULL);
}

/* A folder or a submodule of that name, which one push brings or an earlier one brought. */
static void no_blobs(void **state)
{
	struct fx *f = *state;
	struct wr_oid empty, nowhere, tree;
	char entry[64];
	size_t n;

	oid_of(&empty, WR_TREE, WR_S(""));
	memset(&nowhere, 7, sizeof(nowhere));
	for (size_t i = 0; i < 3; i++) {
		const char *const words[] = {"gitmodulesBlob", "gitmodulesMissing", "gitattributesBlob"};
		const char *const entries[] = {"40000 .gitmodules", "160000 .gitmodules", "40000 .gitattributes"};
		struct pb b;

		n = put_entry(entry, entries[i], i == 1 ? &nowhere : &empty);
		oid_of(&tree, WR_TREE, wr_str_n(entry, n));
		pb_begin(&b, 2);
		pb_object(&b, WR_TREE, wr_str_n(entry, n));
		pb_object(&b, WR_TREE, WR_S(""));
		refused_as(f, push(f, pb_end(&b), "refs/x/tree", &tree), words[i]);
		wr_buf_fini(&b.out);
	}
}

/* Objects that this server makes are held to the same. */
static enum wr_code add_tree(struct fx *f, const char *mode_and_name, struct wr_str text, bool files, bool taken)
{
	WR_AUTO(wr_quarantine) *q = NULL;
	struct wr_ref_update u = {.name = WR_S("refs/x/added"), .any_old = true};
	struct wr_change change = {.updates = &u, .count = 1};
	struct wr_oid blob, tree;
	enum wr_code code;
	char entry[64];

	assert_ok(wr_quarantine_new(&q, f->repo, &f->err));
	if (taken)
		wr_quarantine_taken(q);
	assert_ok(wr_quarantine_add(&blob, q, WR_BLOB, text, NULL, &f->err));
	if (files)
		assert_ok(wr_quarantine_add(&tree, q, WR_BLOB, ballast(), NULL, &f->err));
	if ((code = wr_quarantine_add(&tree, q, WR_TREE, wr_str_n(entry, put_entry(entry, mode_and_name, &blob)), NULL,
				      &f->err)) != WR_OK)
		return code;
	u.new = tree;
	change.objects = q;
	code = wr_git_append(f->repo, &change, &f->err);
	return code == WR_OK ? u.result : code;
}

static void objects_of_this_server(void **state)
{
	struct fx *f = *state;

	for (unsigned files = 0; files < 2; files++) {
		refused_as(f, add_tree(f, "100644 .gitmodules", WR_S(BAD_MODULES), files, false), "gitmodulesUrl");
		refused_as(f, add_tree(f, "100644 .gitmodules", WR_S(BAD_MODULES), files, true), "gitmodulesUrl");
		refused_as(f, add_tree(f, files ? "0100644 a" : "0100644 b", WR_S("x"), files, false),
			   "zeroPaddedFilemode");
		assert_ok(add_tree(f, files ? "0100644 a" : "0100644 b", WR_S("x"), files, true));
		refused_as(f, add_tree(f, "100644 .git", WR_S("x"), files, true), "hasDotgit");
		assert_ok(add_tree(f, "100644 .gitmodules", WR_S(""), files, false));
	}
}

/* A delta that changes the last byte of the tree's name of an entry at this offset. */
static enum wr_code push_on(struct fx *f, const struct wr_oid *base, size_t size, size_t at, char byte,
			    const struct wr_oid *result)
{
	uint8_t delta[16] = {(uint8_t)size, (uint8_t)size, 0x90, (uint8_t)at, 1, (uint8_t)byte, 0x91, (uint8_t)(at + 1),
			     (uint8_t)(size - at - 1)};
	struct pb b;
	enum wr_code code;

	pb_begin(&b, 1);
	pb_ref_delta(&b, base, wr_str_n(delta, 9));
	code = push(f, pb_end(&b), "refs/x/next", result);
	wr_buf_fini(&b.out);
	return code;
}

/* A tree that got in under other rules excuses no tree that is made of it. */
static void nothing_hides_behind_the_store(void **state)
{
	static const char *const faults[][2] = {
		{"100644 a", "100644 a"},    {"100644 b", "100644 a"},		{"040000 a", "100644 b"},
		{"100644 .git", "100644 b"}, {"100644 .gitmodules", "100644 b"},
	};
	static const char *const words[] = {"duplicateEntries", "treeNotSorted", "zeroPaddedFilemode", "hasDotgit",
					    "gitmodulesUrl"};
	struct fx *f = *state;

	for (size_t i = 0; i < WR_ARRAY_LEN(faults); i++) {
		struct wr_oid blob, empty, tree, next;
		bool folder = faults[i][0][1] == '4';
		char text[256];
		size_t n, last;
		struct pb b;

		restart(f, "duplicateEntries treeNotSorted zeroPaddedFilemode hasDotgit gitmodulesUrl");
		oid_of(&blob, WR_BLOB, WR_S(BAD_MODULES));
		oid_of(&empty, WR_TREE, WR_S(""));
		n = put_entry(text, faults[i][0], folder ? &empty : &blob);
		n += put_entry(text + n, faults[i][1], &blob);
		/* What changes stands behind all that is at fault. */
		last = n + 7;
		n += put_entry(text + n, "100644 c", &blob);
		oid_of(&tree, WR_TREE, wr_str_n(text, n));
		pb_begin(&b, 3);
		pb_object(&b, WR_TREE, wr_str_n(text, n));
		pb_object(&b, WR_TREE, WR_S(""));
		pb_object(&b, WR_BLOB, WR_S(BAD_MODULES));
		assert_ok(push(f, pb_end(&b), "refs/x/first", &tree));
		wr_buf_fini(&b.out);
		text[last] = 'd';
		oid_of(&next, WR_TREE, wr_str_n(text, n));
		assert_ok(push_on(f, &tree, n, last, 'd', &next));
		text[last] = 'e';
		oid_of(&next, WR_TREE, wr_str_n(text, n));
		restart(f, NULL);
		refused_as(f, push_on(f, &tree, n, last, 'e', &next), words[i]);
		/* Whoever mends it is welcome. */
		if (i == 3) {
			text[8] = 'a';
			text[last] = 'c';
			oid_of(&next, WR_TREE, wr_str_n(text, n));
			assert_ok(push_on(f, &tree, n, 8, 'a', &next));
		}
	}
}

/* A small push that makes the server read much of what it has. */
static void much_to_read(void **state)
{
	static char text[3000];
	struct fx *f = *state;
	struct wr_oid blob[2], tree;
	enum wr_code code;
	char entries[128];
	struct pb b;
	size_t n;

	memset(text, '\n', sizeof(text));
	for (size_t i = 0; i < 2; i++) {
		text[0] = (char)('a' + i);
		oid_of(&blob[i], WR_BLOB, wr_str_n(text, sizeof(text)));
		pb_begin(&b, 1);
		pb_object(&b, WR_BLOB, wr_str_n(text, sizeof(text)));
		assert_ok(push(f, pb_end(&b), i ? "refs/x/1" : "refs/x/0", &blob[i]));
		wr_buf_fini(&b.out);
	}
	f->cfg.max_unpacked_bytes = 5000;
	restart(f, NULL);
	for (size_t count = 1; count <= 2; count++) {
		n = put_entry(entries, "100644 .gitattributes", &blob[0]);
		if (count == 2)
			n += put_entry(entries + n, "100644 .gitmodules", &blob[1]);
		oid_of(&tree, WR_TREE, wr_str_n(entries, n));
		pb_begin(&b, 1);
		pb_object(&b, WR_TREE, wr_str_n(entries, n));
		code = push(f, pb_end(&b), "refs/x/tree", &tree);
		assert_int_equal(code, count == 1 ? WR_OK : WR_E_TOO_LARGE);
		wr_buf_fini(&b.out);
	}
	assert_non_null(strstr(f->err.text, "more than 5000 bytes of .gitmodules"));
}

static void deep_deltas(void **state)
{
	static const uint8_t copy[] = {4, 4, 0x90, 3, 1, 'x'};
	struct fx *f = *state;
	struct wr_oid tip;

	f->cfg.max_delta_depth = 3;
	restart(f, NULL);
	for (unsigned depth = 3; depth <= 4; depth++) {
		struct pb b;
		size_t last;
		enum wr_code code;

		pb_begin(&b, depth + 1);
		last = pb_object(&b, WR_BLOB, WR_S("abcd"));
		for (unsigned i = 0; i < depth; i++) {
			uint8_t delta[sizeof(copy)];

			memcpy(delta, copy, sizeof(copy));
			delta[5] = (uint8_t)('p' + i);
			last = pb_ofs_delta(&b, b.out.len - last, wr_str_n(delta, sizeof(delta)));
		}
		oid_of(&tip, WR_BLOB, WR_S("abcr"));
		code = push(f, pb_end(&b), "refs/x/deep", &tip);
		assert_int_equal(code, depth == 3 ? WR_OK : WR_E_TOO_LARGE);
		wr_buf_fini(&b.out);
	}
	assert_non_null(strstr(f->err.text, "more than 3 deltas"));
}

/* ---- shallow roots ---- */

static struct wr_oid commit_on(struct wr_buf *text, const struct wr_oid *tree, const struct wr_oid *parents, size_t n)
{
	char hex[WR_OID_HEX + 1];
	struct wr_oid oid;

	wr_buf_clear(text);
	wr_oid_hex(hex, tree);
	wr_buf_printf(text, "tree %s\n", hex);
	for (size_t i = 0; i < n; i++) {
		wr_oid_hex(hex, &parents[i]);
		wr_buf_printf(text, "parent %s\n", hex);
	}
	wr_buf_addz(text, "author " WHO "committer " WHO "\nm\n");
	oid_of(&oid, WR_COMMIT, wr_buf_str(text));
	return oid;
}

static enum wr_code push_shallow(struct fx *f, struct wr_str pack, const struct wr_oids *roots)
{
	struct dribble src = {{dribble_read}, pack, 11};
	WR_AUTO(wr_quarantine) *q = NULL;

	assert_ok(wr_quarantine_new(&q, f->repo, &f->err));
	wr_quarantine_shallow(q, roots);
	return wr_quarantine_pack(q, &src.base, NULL, NULL, &f->err);
}

static void shallow_roots(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) a = WR_BUF_INIT(1 << 16);
	WR_AUTO_S(wr_buf) b = WR_BUF_INIT(1 << 16);
	struct wr_oid tree, gone[12], root, child;
	struct wr_oids roots = {&root, 1, 1}, none = {NULL, 0, 0};
	struct wr_str pack;
	struct pb p;

	oid_of(&tree, WR_TREE, WR_S(""));
	for (size_t i = 0; i < WR_ARRAY_LEN(gone); i++)
		memset(&gone[i], (int)i + 1, sizeof(gone[i]));
	for (size_t parents = 0; parents <= WR_ARRAY_LEN(gone); parents += 4) {
		root = commit_on(&a, &tree, gone, parents);
		child = commit_on(&b, &tree, &root, 1);
		for (int order = 0; order < 2; order++) {
			pb_begin(&p, 3);
			pb_object(&p, WR_COMMIT, wr_buf_str(order ? &a : &b));
			pb_object(&p, WR_COMMIT, wr_buf_str(order ? &b : &a));
			pb_object(&p, WR_TREE, WR_S(""));
			pack = pb_end(&p);
			/* With many parents more is missing than can still come: that too is a shallow root. */
			assert_int_equal(push_shallow(f, pack, &roots), parents ? WR_E_SHALLOW_ROOT : WR_OK);
			if (parents)
				assert_string_equal(f->err.text, "shallow update not allowed");
			assert_int_equal(push_shallow(f, pack, &none), parents ? WR_E_BAD_PACK : WR_OK);
			roots.v = &child;
			assert_int_equal(push_shallow(f, pack, &roots), parents ? WR_E_BAD_PACK : WR_OK);
			roots.v = &root;
			wr_buf_fini(&p.out);
		}
	}
	/* The same parent is missed by one that is no root. */
	root = commit_on(&a, &tree, gone, 1);
	child = commit_on(&b, &tree, (struct wr_oid[]){root, gone[0]}, 2);
	for (int order = 0; order < 2; order++) {
		pb_begin(&p, 3);
		pb_object(&p, WR_COMMIT, wr_buf_str(order ? &a : &b));
		pb_object(&p, WR_COMMIT, wr_buf_str(order ? &b : &a));
		pb_object(&p, WR_TREE, WR_S(""));
		refused_as(f, push_shallow(f, pb_end(&p), &roots), "missing commit");
		wr_buf_fini(&p.out);
	}
}

static void shallow_where_the_parents_are_here(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) a = WR_BUF_INIT(1 << 16);
	WR_AUTO_S(wr_buf) b = WR_BUF_INIT(1 << 16);
	struct wr_oid tree, first, root;
	struct wr_oids roots = {&root, 1, 1};
	struct pb p;

	oid_of(&tree, WR_TREE, WR_S(""));
	first = commit_on(&a, &tree, NULL, 0);
	pb_begin(&p, 2);
	pb_object(&p, WR_COMMIT, wr_buf_str(&a));
	pb_object(&p, WR_TREE, WR_S(""));
	assert_ok(push(f, pb_end(&p), "refs/heads/main", &first));
	wr_buf_fini(&p.out);
	root = commit_on(&b, &tree, &first, 1);
	pb_begin(&p, 1);
	pb_object(&p, WR_COMMIT, wr_buf_str(&b));
	assert_ok(push_shallow(f, pb_end(&p), &roots));
	wr_buf_fini(&p.out);
	/* It is a tree that is missing, which no shallow history excuses. */
	memset(&tree, 9, sizeof(tree));
	root = commit_on(&b, &tree, &first, 1);
	pb_begin(&p, 1);
	pb_object(&p, WR_COMMIT, wr_buf_str(&b));
	refused_as(f, push_shallow(f, pb_end(&p), &roots), "missing tree");
	wr_buf_fini(&p.out);
}

#define T(f) cmocka_unit_test_setup_teardown(f, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_id),
		cmocka_unit_test(blobs),
		cmocka_unit_test(rules_as_configured),
		cmocka_unit_test(rules_for_the_taken),
		cmocka_unit_test(file_names),
		cmocka_unit_test(endless_modules),
		cmocka_unit_test(not_without_end),
		T(blobs_wherever_they_lie),
		T(no_blobs),
		T(objects_of_this_server),
		T(nothing_hides_behind_the_store),
		T(much_to_read),
		T(deep_deltas),
		T(shallow_roots),
		T(shallow_where_the_parents_are_here),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
