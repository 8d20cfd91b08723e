/* core/base/glob: what matches what. Against another matcher, with any bytes: tests/fuzz/fuzz_glob.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/glob.h"

#define N 12

/* glob, those that match, NULL, those that do not, NULL */
static const char *const whole[][N] = {
	{"main", "main", NULL, "", "mai", "mainx", "xmain", "Main"},
	{"feature/x", "feature/x", NULL, "feature/", "feature/x/", "x"},
	{"*", "", "a", "main", "a.b", "\xc3\xa9", "\xff", NULL, "a/b", "/"},
	{"feature/*", "feature/x", "feature/", "feature/.x", NULL, "feature", "feature/x/y", "Feature/x"},
	{"*/*", "a/b", "/", NULL, "ab", "a/b/c"},
	{"release-*", "release-", "release-1.0", NULL, "release", "release-1/0"},
	{"*a*b*", "ab", "xaxbx", "aab", "abab", NULL, "ba", "a/b", "xb"},
	{"v?.?", "v1.2", "v\xc3\xa9.\xff", NULL, "v.2", "v12.3", "v/.1", "v\xc3.1x"},
	{"?", "a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xff", "\xc3", NULL, "", "ab", "/", "\xc3\x28"},
	{"??", "ab", "\xc3\x28", "\xed\xa0", "\xc0\x80", NULL, "\xc3\xa9", "\xf0\x9f\x98\x80"},
	{"\xc3\xa9*", "\xc3\xa9", "\xc3\xa9t\xc3\xa9", NULL, "\xc3", "\xc3\xa8"},
	{"**", "", "a", "a/b", "/a//b/", NULL},
	{"***", "", "a/b", NULL},
	{"a**", "a", "ab", "a/b", "ab/c/d", NULL, "", "ba"},
	{"a**b", "ab", "axb", "a/b", "ax/yb", "a/x/y/b", NULL, "a", "b", "abc"},
	{"a/**", "a/", "a/b", "a/b/c", NULL, "a", "ab", "ba/b"},
	{"a/**/b", "a/b", "a/x/b", "a/x/y/b", "a//b", NULL, "ab", "axb", "a/xb", "a/bx", "a/x/bb"},
	{"**/b", "b", "a/b", "a/c/b", "/b", NULL, "ab", "a/xb", "b/a"},
	{"a/**/**/b", "a/b", "a/x/b", "a/x/y/b", NULL, "ab"},
	{"**/", "", "a/", "a/b/", NULL, "a", "a/b"},
	{"a**/b", "a/b", "ax/b", "a/x/b", "ax/y/b", NULL, "ab", "axb"},
	{"**/*.ts", "a.ts", "src/a.ts", "src/x/a.ts", ".ts", NULL, "a.tsx", "src/a.js"},
	{"src/**/*.ts", "src/a.ts", "src/x/y/a.ts", NULL, "src.ts", "a.ts", "xsrc/a.ts"},
	{"[abc]", "a", "b", "c", NULL, "", "d", "ab", "[abc]"},
	{"[a-cx-z]", "a", "b", "x", "z", NULL, "d", "w", "-"},
	{"[!a-c]", "d", "A", "\xc3\xa9", "\xff", NULL, "a", "c", "/", "", "dd"},
	{"[^a]", "b", "^", NULL, "a", "/"},
	{"[]a]", "]", "a", NULL, "b", "]a"},
	{"[!]a]", "b", NULL, "]", "a"},
	{"[a-]", "a", "-", NULL, "b"},
	{"[-a]", "a", "-", NULL, "b"},
	{"[a^!]", "a", "^", "!", NULL, "b"},
	{"[\\]\\-\\\\]", "]", "-", "\\", NULL, "a"},
	{"[\\a-\\c]", "a", "b", "c", NULL, "\\"},
	{"[a-\xc3\xbf]", "a", "\xc3\xa9", "\xc3\xbf", NULL, "A", "\xc4\x80", "\xff", "\xc3"},
	{"[.-0]", ".", "0", NULL, "/", "1"},
	{"[/]", NULL, "/", "", "a"},
	{"[*?{,}]", "*", "?", "{", ",", "}", NULL, "a"},
	{"{a,b}", "a", "b", NULL, "", "ab", "{a,b}", "a,b"},
	{"{main,release-*}", "main", "release-", "release-2", NULL, "mainx", "release", "release/2"},
	{"x{,y}z", "xz", "xyz", NULL, "xyyz", "xz{"},
	{"{}", "", NULL, "{}", "a"},
	{"{a}", "a", NULL, "{a}"},
	{"{a,b{c,d}e,{f,}}x", "ax", "bcex", "bdex", "fx", "x", NULL, "bex", "bcdex", "abcex"},
	{"{a/**,b}/c", "a/x/c", "a//c", "b/c", NULL, "a/c", "c"},
	{"{**/,}b", "b", "a/b", NULL, "ab"},
	{"{[,],x}", ",", "x", NULL, "[", "]"},
	{"{a\\,b,c\\}}", "a,b", "c}", NULL, "a", "b"},
	{"a,b}", "a,b}", NULL, "a"},
	{"a]", "a]", NULL, "a"},
	{"\\*\\?\\[\\{\\\\\\a", "*?[{\\a", NULL, "xx", "*?[{\\\\a"},
	{"\\\xc3\xa9", "\xc3\xa9", NULL, "\\\xc3\xa9"},
	{"{{{{{{{{a}}}}}}}}", "a", NULL, ""},
	{"-", "-", NULL, "a"},
	{"a/[!b]/c", "a/x/c", NULL, "a/b/c", "a///c"},
};

/* Without "/": the last segment. */
static const char *const paths[][N] = {
	{"*.ts", "a.ts", "src/a.ts", "a/b/c/.ts", NULL, "a.ts/b", "a.tsx"},
	{"README*", "README", "docs/README.md", NULL, "README/x"},
	{"docs", "docs", "x/docs", NULL, "docs/x", "xdocs"},
	{"**", "a", "a/b", NULL},
	{"{a,b}.c", "a.c", "x/b.c", NULL, "a.c/x"},
	{"docs/*", "docs/a", NULL, "docs", "x/docs/a", "docs/a/b"},
	{"docs/**", "docs/a", "docs/a/b", NULL, "docs", "x/docs/a"},
	{"{docs/**,*.md}", "docs/a/b", "a.md", NULL, "x/a.md"},
	{"**/a", "a", "x/a", NULL, "xa"},
	{"\\/a", NULL, "a", "x/a"},
};

static void check(const char *const *row, bool as_path)
{
	WR_AUTO(wr_glob) *glob = NULL;
	bool wanted = true;

	if (wr_glob_new(&glob, wr_str(row[0]), NULL) != WR_OK)
		fail_msg("refused: %s", row[0]);
	for (size_t i = 1; i < N && (wanted || row[i]); i++) {
		if (!row[i])
			wanted = false;
		else if ((as_path ? wr_glob_path : wr_glob_whole)(glob, wr_str(row[i])) != wanted)
			fail_msg("%s %s %s", row[0], wanted ? "does not match" : "matches", row[i]);
	}
}

static void matches(void **state)
{
	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(whole); i++)
		check(whole[i], false);
	for (size_t i = 0; i < WR_ARRAY_LEN(paths); i++)
		check(paths[i], true);
}

static void refused(void **state)
{
	static const struct {
		const char *glob, *words;
	} rows[] = {
		{"", "1 to 1024 bytes"},
		{"a[", "has no ]"},
		{"a[]", "has no ]"},
		{"[!]", "has no ]"},
		{"[abc", "has no ]"},
		{"[a-", "has no ]"},
		{"[a\\]", "has no ]"},
		{"[a\\", "nothing behind it"},
		{"[a-\\", "nothing behind it"},
		{"a\\", "nothing behind it"},
		{"[z-a]", "ends before it begins"},
		{"[[:alpha:]]", "no named classes"},
		{"{a", "has no }"},
		{"{a,{b}", "has no }"},
		{"{a,[}]", "has no }"},
		{"{a\\}", "has no }"},
		{"{{{{{{{{{a}}}}}}}}}", "more than 8 deep"},
	};
	char large[WR_GLOB_MAX + 2];

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
		struct wr_glob *glob = NULL;

		if (wr_glob_new(&glob, wr_str(rows[i].glob), &err) != WR_E_INVALID_REQUEST ||
		    !strstr(err.text, rows[i].words))
			fail_msg("%s: \"%s\"", rows[i].glob, err.text);
		assert_null(glob);
	}
	memset(large, '?', sizeof large - 1);
	large[sizeof large - 1] = '\0';
	assert_int_equal(wr_glob_new(&(struct wr_glob *){NULL}, wr_str(large), NULL), WR_E_INVALID_REQUEST);
	large[WR_GLOB_MAX] = '\0';
	check((const char *const[N]){large, large, NULL, "?"}, false);
}

static void bytes(void **state)
{
	WR_AUTO(wr_glob) *glob = NULL;

	(void)state;
	assert_int_equal(wr_glob_new(&glob, wr_str_n("a\0*", 3), NULL), WR_OK);
	assert_true(wr_glob_whole(glob, wr_str_n("a\0b\0", 4)));
	assert_false(wr_glob_whole(glob, WR_S("ab")));
	assert_false(wr_glob_path(glob, wr_str_n(NULL, 0)));
}

/* Who tries one way after the other is not back before the sun is cold. */
static void no_blow_up(void **state)
{
	static const struct {
		const char *again;
		bool reaches; /* to the end of a longer text */
	} rows[] = {
		{"*a", true},	{"**a", true},	   {"**/", false},   {"{a,aa}", false}, {"{*,a}", true},
		{"{,a}", false}, {"{**/,a}", false}, {"[!b]*", true}, {"?*", true},	  {"{{{*}a,a*}a,a}", true},
	};
	static char text[5000], glob_text[WR_GLOB_MAX + 1];

	(void)state;
	memset(text, 'a', sizeof text);
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		WR_AUTO(wr_glob) *glob = NULL;
		size_t len = strlen(rows[i].again), n = 0;

		for (; n + len + 1 < sizeof glob_text; n += len)
			memcpy(glob_text + n, rows[i].again, len);
		glob_text[n++] = 'b';
		assert_int_equal(wr_glob_new(&glob, wr_str_n(glob_text, n), NULL), WR_OK);
		assert_false(wr_glob_whole(glob, wr_str_n(text, sizeof text)));
		text[sizeof text - 1] = 'b';
		if (wr_glob_whole(glob, wr_str_n(text, sizeof text)) != rows[i].reaches)
			fail_msg("%s, repeated", rows[i].again);
		text[sizeof text - 1] = 'a';
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(matches),
		cmocka_unit_test(refused),
		cmocka_unit_test(bytes),
		cmocka_unit_test(no_blow_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
