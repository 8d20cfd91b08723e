/* What people wrote into commits and tags, and what old and broken tools wrote. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/content/headers.h"

static void assert_text(struct wr_str got, const char *wanted)
{
	if (!wr_str_eqz(got, wanted))
		fail_msg("\"%.*s\" instead of \"%s\"", (int)got.len, got.ptr ? got.ptr : "", wanted);
}

struct row {
	const char *line, *name, *mail;
	int64_t seconds;
	int zone;
};

static const struct row people[] = {
	{"A U Thor <a@example.org> 1700000000 +0100", "A U Thor", "a@example.org", 1700000000, 60},
	{"A <a@b> 1 -0330", "A", "a@b", 1, -210},
	{"A <a@b> 0 +0000", "A", "a@b", 0, 0},
	/* No name, no mail, neither, both empty. */
	{"<a@b> 7 +0000", "", "a@b", 7, 0},
	{" <a@b> 7 +0000", "", "a@b", 7, 0},
	{"A <> 7 +0000", "A", "", 7, 0},
	{"<> 7 +0000", "", "", 7, 0},
	{"A U Thor", "A U Thor", "", 0, 0},
	{"", "", "", 0, 0},
	{"A a@b 7 +0000", "A a@b 7 +0000", "", 0, 0},
	{"A <a@b", "A <a@b", "", 0, 0},
	{"A >a@b< 7 +0000", "A >a@b< 7 +0000", "", 0, 0},
	/* Brackets in a name or a mail: git takes what stands between the first "<" and the first ">" behind it for the
	 * mail, and looks for the time behind the last one. */
	{"A <x> B <a@b> 7 +0000", "A", "x", 7, 0},
	{"A <<a@b>> 7 +0000", "A", "<a@b", 7, 0},
	{"A > B <a@b> 7 +0000", "A > B", "a@b", 7, 0},
	/* Spaces. */
	{"  A  B   <a@b>   7   +0000", "A  B", "a@b", 7, 0},
	{"A<a@b>7 +0000", "A", "a@b", 7, 0},
	{"\tA\t <a@b> 7 +0000", "A", "a@b", 7, 0},
	/* Times. */
	{"A <a@b>", "A", "a@b", 0, 0},
	{"A <a@b> ", "A", "a@b", 0, 0},
	{"A <a@b> 7", "A", "a@b", 7, 0},
	{"A <a@b> Mon Jan 1 00:00:00 2001", "A", "a@b", 0, 0},
	{"A <a@b> 007 +0000", "A", "a@b", 7, 0},
	{"A <a@b> -86400 +0000", "A", "a@b", -86400, 0},
	{"A <a@b> 99999999999999999999999999999 +0000", "A", "a@b", 1000000000000, 0},
	{"A <a@b> -99999999999999999999999999999 +0000", "A", "a@b", -1000000000000, 0},
	{"A <a@b> 7.5 +0000", "A", "a@b", 7, 0},
	/* Time zones. */
	{"A <a@b> 7 +1400", "A", "a@b", 7, 840},
	{"A <a@b> 7 -0000", "A", "a@b", 7, 0},
	{"A <a@b> 7 +9999", "A", "a@b", 7, 99 * 60 + 99},
	{"A <a@b> 7 -9999", "A", "a@b", 7, -(99 * 60 + 99)},
	{"A <a@b> 7 0100", "A", "a@b", 7, 0},
	{"A <a@b> 7 +51800", "A", "a@b", 7, 0},
	{"A <a@b> 7 +1", "A", "a@b", 7, 0},
	{"A <a@b> 7 UTC", "A", "a@b", 7, 0},
	/* Bytes are left as they are. */
	{"J\xf6rg <j\xc3\xb6@b> 7 +0000", "J\xf6rg", "j\xc3\xb6@b", 7, 0},
};

static void assert_person(const struct wr_person *p, const struct row *row)
{
	assert_text(p->name, row->name);
	assert_text(p->mail, row->mail);
	assert_int_equal(p->when_ms, row->seconds * 1000);
	assert_int_equal(p->zone, row->zone);
}

static void everybody(void **state)
{
	char text[1024];

	(void)state;
	for (size_t i = 0; i < sizeof people / sizeof *people; i++) {
		const struct row *row = &people[i], *other = &people[(i + 1) % (sizeof people / sizeof *people)];
		struct wr_commit_texts c;
		struct wr_tag_texts t;

		snprintf(text, sizeof text, "tree x\nauthor %s\ncommitter %s\n\nm", row->line, other->line);
		wr_commit_texts(&c, wr_str(text));
		assert_person(&c.author, row);
		assert_person(&c.committer, other);
		assert_text(c.message, "m");
		snprintf(text, sizeof text, "object x\ntype commit\ntag v1\ntagger %s\n\nm", row->line);
		wr_tag_texts(&t, wr_str(text));
		assert_true(t.has_tagger);
		assert_person(&t.tagger, row);
	}
}

static void messages(void **state)
{
	static const char *const rows[][2] = {
		{"author A <a@b> 1 +0000\n\nm", "m"},
		{"author A <a@b> 1 +0000\n\n", ""},
		{"author A <a@b> 1 +0000\n", ""},
		{"author A <a@b> 1 +0000", ""},
		{"author A <a@b> 1 +0000\n\nsubject\n\nbody\n", "subject\n\nbody\n"},
		{"author A <a@b> 1 +0000\n\n\n\nm\n\n\n", "\n\nm\n\n\n"},
		{"author A <a@b> 1 +0000\n\n  m\t\r\n", "  m\t\r\n"},
		/* A signature has lines of its own, the empty ones begin with a space; nothing in it is a header. */
		{"author A <a@b> 1 +0000\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n author B <b@b> 2 +0000\n xyz\n "
		 "-----END PGP "
		 "SIGNATURE-----\n\nm",
		 "m"},
		{"author A <a@b> 1 +0000\nencoding ISO-8859-1\n\n\xe4\xf6", "\xe4\xf6"},
		{"author A <a@b> 1 +0000\nmergetag object x\n tag y\n \n words\n\nm", "m"},
		/* The second author counts as little as what looks like one in the message. */
		{"author A <a@b> 1 +0000\nauthor B <b@b> 2 +0000\n\nauthor C <c@b> 3 +0000\n\nm",
		 "author C <c@b> 3 +0000\n\nm"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct wr_commit_texts c;

		wr_commit_texts(&c, wr_str(rows[i][0]));
		assert_text(c.author.name, "A");
		assert_int_equal(c.author.when_ms, 1000);
		assert_text(c.message, rows[i][1]);
	}
}

static void headers_that_are_missing(void **state)
{
	static const char *const rows[] = {"",
					   "\n",
					   "m",
					   "\n\nm",
					   "tree x",
					   "tree x\nauthor\ncommitter\n\n",
					   "authors A <a@b> 1 +0000\n\n",
					   " author A <a@b> 1 +0000\n\n",
					   "AUTHOR A <a@b> 1 +0000\n\n"};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct wr_commit_texts c;
		struct wr_tag_texts t;

		wr_commit_texts(&c, wr_str(rows[i]));
		assert_text(c.author.name, "");
		assert_text(c.author.mail, "");
		assert_int_equal(c.committer.when_ms, 0);
		wr_tag_texts(&t, wr_str(rows[i]));
		assert_false(t.has_tagger);
		assert_text(t.name, "");
	}
	/* Everything may be NULL. */
	wr_commit_texts(&(struct wr_commit_texts){.author = {.zone = 1}}, wr_str_n(NULL, 0));
}

static void tags(void **state)
{
	struct wr_tag_texts t;

	(void)state;
	wr_tag_texts(&t, WR_S("object x\ntype commit\ntag v1.0 beta\ntagger T <t@b> 5 +0000\n\nwords\n-----BEGIN PGP "
			      "SIGNATURE-----\n"));
	assert_text(t.name, "v1.0 beta");
	assert_text(t.message, "words\n-----BEGIN PGP SIGNATURE-----\n");
	/* Old ones have no tagger, and some no message. */
	wr_tag_texts(&t, WR_S("object x\ntype commit\ntag v0\n\nwords\n"));
	assert_false(t.has_tagger);
	assert_text(t.tagger.name, "");
	assert_text(t.message, "words\n");
	wr_tag_texts(&t, WR_S("object x\ntype commit\ntag v0\n"));
	assert_text(t.name, "v0");
	assert_text(t.message, "");
	/* NUL bytes end nothing. */
	wr_tag_texts(&t, WR_S("object x\ntag v\0w\n\na\0b"));
	assert_int_equal(t.name.len, 3);
	assert_int_equal(t.message.len, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everybody),
		cmocka_unit_test(messages),
		cmocka_unit_test(headers_that_are_missing),
		cmocka_unit_test(tags),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
