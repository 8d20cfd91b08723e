/* Revisions: what each kind of text names, against git's own reading of it, and against a list of all objects. */
#include "tests/unit/content_fixture.h"

#define COMMITS 1200

struct known {
	struct wr_oid oid, peeled; /* peeled: of a tag; else the same */
	enum wr_type type, peeled_type;
	bool shown; /* to who may only read */
	char hex[WR_OID_HEX + 1];
};

static struct known known[4 * COMMITS];
static size_t known_count;

/* ---- the repository ---- */

static void commit_text(struct wr_buf *in, const char *ref, unsigned mark, unsigned from, unsigned merge, unsigned more)
{
	wr_buf_printf(in, "commit %s\nmark :%u\ncommitter C <c@example.org> %u +0000\ndata 2\nm\n", ref, mark,
		      1700000000 + mark);
	if (from)
		wr_buf_printf(in, "from :%u\n", from);
	if (merge)
		wr_buf_printf(in, "merge :%u\n", merge);
	if (more)
		wr_buf_printf(in, "merge :%u\n", more);
	wr_buf_printf(in, "M 100644 inline f%u\ndata <<END\n%u\nEND\n\n", mark % 3, mark);
}

/* Half of the commits are only on "gone", which is deleted then. */
static void make_repository(struct fx *f)
{
	WR_AUTO_S(wr_buf) in = WR_BUF_INIT(1 << 20);
	struct wr_oid zero = {{0}};
	struct wr_ref_update drop = {.name = WR_S("refs/heads/gone"), .any_old = true, .new = zero};
	struct wr_change change = {.updates = &drop, .count = 1};

	for (unsigned i = 1; i <= COMMITS; i++) {
		bool gone = i > COMMITS / 2;
		unsigned from = i > 1 ? i - 1 : 0, merge = i % 7 == 0 ? i - 3 : 0;

		commit_text(&in, gone ? "refs/heads/gone" : "refs/heads/main", i, from, merge, i % 21 == 0 ? i - 5 : 0);
	}
	wr_buf_addz(&in, "reset refs/heads/side/of\nfrom :20\n\nreset refs/heads/deadbeef\nfrom :5\n\n"
			 "reset refs/heads/both\nfrom :6\n\nreset refs/tags/both\nfrom :7\n\n"
			 "reset refs/heads/tags/odd\nfrom :8\n\nreset refs/tags/light\nfrom :9\n\n"
			 "reset refs/notes/x\nfrom :10\n\nreset refs/tags/beefdead\nfrom :11\n\n"
			 "tag annotated\nfrom :12\ntagger T <t@example.org> 1 +0000\ndata 1\nt\n");
	import(f, "src", &in);
	sh(f, "cd src; git symbolic-ref HEAD refs/heads/main; "
	      "git -c advice.nestedTag=false tag -a -m x nested annotated; git tag -a -m x ofblob main:f0; "
	      "git tag -a -m x oftree main^{tree}; git update-ref refs/heads/$(git rev-parse main~3) main~4; "
	      "git update-ref refs/tags/$(git rev-parse main~3 | cut -c1-6) main~5; git tag bare main:f1; "
	      "git update-ref refs/heads/$(git rev-parse main | tr 0-9 4) main~6");
	push_all(f, "src");
	assert_ok(wr_git_append(f->repo, &change, &f->err));
	assert_int_equal(drop.result, WR_OK);
}

static struct known *find_known(const struct wr_oid *oid)
{
	for (size_t i = 0; i < known_count; i++)
		if (wr_oid_eq(&known[i].oid, oid))
			return &known[i];
	return NULL;
}

static enum wr_type type_named(struct wr_str name)
{
	for (enum wr_type t = WR_COMMIT; t <= WR_TAG; t++)
		if (wr_str_eqz(name, wr_type_name(t)))
			return t;
	fail_msg("no type: %.*s", (int)name.len, name.ptr);
	return WR_COMMIT;
}

/* Every object of src with its type; those that its refs, "gone" aside, reach are shown. */
static void list_objects(struct fx *f)
{
	WR_AUTO_S(wr_buf) all = WR_BUF_INIT(1 << 20), shown = WR_BUF_INIT(1 << 20), tags = WR_BUF_INIT(1 << 16);
	struct wr_str rest, line;

	sh_out(f, &all, "git -C src cat-file --batch-all-objects --batch-check='%%(objectname) %%(objecttype)'");
	sh_out(f, &shown, "git -C src rev-list --objects --exclude=refs/heads/gone --all");
	sh_out(f, &tags,
	       "git -C src for-each-ref --format='%%(objectname) %%(*objectname) %%(*objecttype)' | grep '  "
	       "*[0-9a-f].* [a-z]' "
	       "| while read tag x; do echo $tag $(git -C src rev-parse $tag^{}) $(git -C src cat-file -t $tag^{}); "
	       "done");
	known_count = 0;
	for (rest = wr_buf_str(&all); next_line(&line, &rest, '\n');) {
		struct known *k = &known[known_count++];

		*k = (struct known){.shown = false};
		assert_true(known_count < WR_ARRAY_LEN(known) && wr_oid_parse(&k->oid, next_word(&line)));
		wr_oid_hex(k->hex, &k->oid);
		k->peeled = k->oid;
		k->type = k->peeled_type = type_named(line);
	}
	for (rest = wr_buf_str(&shown); next_line(&line, &rest, '\n');) {
		struct wr_oid oid;

		assert_true(wr_oid_parse(&oid, next_word(&line)));
		assert_non_null(find_known(&oid));
		find_known(&oid)->shown = true;
	}
	for (rest = wr_buf_str(&tags); next_line(&line, &rest, '\n');) {
		struct wr_oid oid;

		assert_true(wr_oid_parse(&oid, next_word(&line)));
		assert_true(wr_oid_parse(&find_known(&oid)->peeled, next_word(&line)));
		find_known(&oid)->peeled_type = type_named(line);
	}
}

static int setup(void **state)
{
	struct fx *f;

	assert_int_equal(fx_setup(state), 0);
	f = *state;
	make_repository(f);
	list_objects(f);
	return 0;
}

/* ---- one by one ---- */

/* rev names what git understands by `git` in src. */
static void names(struct fx *f, bool stored, const char *rev, const char *git)
{
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	struct wr_oid got, wanted;
	enum wr_type type;

	view_open(&v, f, "main", stored);
	sh_oid(f, &wanted, "git -C src rev-parse --verify '%s'", git);
	if (wr_rev(&got, &type, &v, wr_str(rev), &f->err) != WR_OK)
		fail_msg("%s: %s", rev, wr_error_text(&f->err));
	if (!wr_oid_eq(&got, &wanted) || find_known(&got)->type != type)
		fail_msg("%s names something else than %s", rev, git);
}

static void refused(struct fx *f, bool stored, struct wr_str rev, enum wr_code wanted)
{
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	struct wr_oid oid = {{1}};
	enum wr_type type;
	enum wr_code code;

	view_open(&v, f, "main", stored);
	code = wr_rev(&oid, &type, &v, rev, &f->err);
	assert_refused(f, code, wanted,
		       wanted == WR_E_INVALID_REVISION ? "revision"
		       : wanted == WR_E_AMBIGUOUS      ? "rev"
						       : "reference",
		       rev);
	assert_int_equal(oid.id[0], 1);
}

static void every_kind_of_name(void **state)
{
	static const char *const rows[][2] = {
		{"", "main"},
		{"HEAD", "main"},
		{"main", "main"},
		{"refs/heads/main", "main"},
		{"side/of", "side/of"},
		{"deadbeef", "refs/heads/deadbeef"},
		{"beefdead", "refs/tags/beefdead"},
		/* A branch comes before a tag. */
		{"both", "refs/heads/both"},
		{"refs/tags/both", "refs/tags/both"},
		{"light", "light"},
		{"annotated", "annotated^{}"},
		{"nested", "annotated^{}"},
		{"ofblob", "main:f0"},
		{"oftree", "main^{tree}"},
		{"bare", "main:f1"},
		{"refs/notes/x", "refs/notes/x"},
		{"tags/odd", "refs/heads/tags/odd"},
		{"HEAD~", "main~1"},
		{"HEAD^", "main~1"},
		{"main~0", "main"},
		{"main^0", "main"},
		{"main~00002", "main~2"},
		{"side/of^", "side/of^"},
		{"nested~3", "annotated~3"},
		{"refs/tags/nested^^", "annotated~2"},
		{"main~5^2~^", "main~5^2~2"},
		{"main~12^3~2", "main~12^3~2"},
		{"both~2", "refs/heads/both~2"},
		{"HEAD^0~0^0", "main"},
	};

	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		names(*state, false, rows[i][0], rows[i][1]);
		names(*state, true, rows[i][0], rows[i][1]);
	}
}

static void what_names_nothing(void **state)
{
	static const char *const absent[] = {
		"no",
		"refs/heads/no",
		"refs/heads",
		"heads/main",
		"xdeadbeef",
		"0000",
		"main^9",
		"main~100000",
		"main~1000000000",
		"0000000000000000000000000000000000000000",
		"refs/heads/gone",
		"gone",
		"main^00000000009",
	};
	static const char *const invalid[] = {
		"main:",    "main/",
		"refs/",    "main:f0",
		":/m",	    "main^{commit}",
		"main^{}",  "main@{0}",
		"@{-1}",    "a..b",
		"^main",    "~",
		"^",	    "~1",
		"main~1x",  "main~-1",
		"main^+1",  "main ~1",
		"main~ 1",  "main~99999999999999999999",
		"ma in",    "a//b",
		"/main",    "a\\b",
		"a*",	    "a?",
		"[a]",	    "a.lock",
		".a",	    "a.",
		"main~1~x", "main~100000^{tree}",
		"no^{}",    "main^1main",
		"\x7f",	    "a\nb",
		"-x\t",	    "bare^",
		"bare^0",   "oftree~0",
		"ofblob~",
	};

	for (size_t i = 0; i < WR_ARRAY_LEN(absent); i++)
		refused(*state, true, wr_str(absent[i]), WR_E_REFERENCE_NOT_FOUND);
	for (size_t i = 0; i < WR_ARRAY_LEN(invalid); i++)
		refused(*state, true, wr_str(invalid[i]), WR_E_INVALID_REVISION);
	refused(*state, true, wr_str_n("main\0", 5), WR_E_INVALID_REVISION);
	refused(*state, true, wr_str_n("\0", 1), WR_E_INVALID_REVISION);
}

static void long_ones(void **state)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);

	/* As long as names may be, with steps behind it; and longer. */
	for (unsigned i = 0; i < 3000; i++)
		wr_buf_addc(&text, 'a');
	refused(*state, true, wr_buf_str(&text), WR_E_REFERENCE_NOT_FOUND);
	wr_buf_addz(&text, "~1^2");
	refused(*state, true, wr_buf_str(&text), WR_E_REFERENCE_NOT_FOUND);
	for (unsigned i = 0; i < 3000; i++)
		wr_buf_addc(&text, '^');
	refused(*state, true, wr_buf_str(&text), WR_E_REFERENCE_NOT_FOUND);
	for (unsigned i = 0; i < 5000; i++)
		wr_buf_addc(&text, '^');
	refused(*state, true, wr_buf_str(&text), WR_E_INVALID_REVISION);
}

/* An unborn default branch: HEAD is not found, by whatever name. */
static void no_head(void **state)
{
	static const char *const heads[] = {"", "HEAD", "HEAD~", "unborn"};
	struct fx *f = *state;

	for (size_t i = 0; i < WR_ARRAY_LEN(heads); i++) {
		WR_AUTO_S(wr_view) v = {.snap = NULL};
		struct wr_oid oid;

		view_open(&v, f, "unborn", true);
		assert_refused(f, wr_rev_commit(&oid, &v, wr_str(heads[i]), &f->err), WR_E_REFERENCE_NOT_FOUND,
			       "reference", wr_str(heads[i][0] ? heads[i] : "HEAD"));
	}
}

static void only_commits_or_trees(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	struct wr_oid oid, tree;
	int64_t when;

	view_open(&v, f, "main", false);
	assert_refused(f, wr_rev_commit(&oid, &v, WR_S("oftree"), &f->err), WR_E_INVALID_REVISION, "revision",
		       WR_S("oftree"));
	assert_refused(f, wr_rev_commit(&oid, &v, WR_S("bare"), &f->err), WR_E_INVALID_REVISION, "revision",
		       WR_S("bare"));
	assert_refused(f, wr_rev_tree(&oid, &v, WR_S("ofblob"), &f->err), WR_E_INVALID_REVISION, "revision",
		       WR_S("ofblob"));
	sh_oid(f, &tree, "git -C src rev-parse main^{tree}");
	assert_ok(wr_rev_tree(&oid, &v, WR_S("oftree"), &f->err));
	assert_true(wr_oid_eq(&oid, &tree));
	assert_ok(wr_rev_tree_time(&oid, &when, &v, WR_S("main"), &f->err));
	assert_true(wr_oid_eq(&oid, &tree) && when == 1700000000 + COMMITS / 2);
	assert_ok(wr_rev_tree_time(&oid, &when, &v, WR_S("oftree"), &f->err));
	assert_int_equal(when, 0);
}

/* 40 digits are an id before they are a branch; less of them a tag before they are an id. */
static void names_like_ids(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	struct wr_oid pinned, five, six, got;
	char hex[WR_OID_HEX + 1], other[WR_OID_HEX + 1];

	view_open(&v, f, "main", false);
	sh_oid(f, &pinned, "git -C src rev-parse main~3");
	sh_oid(f, &five, "git -C src rev-parse main~5");
	sh_oid(f, &six, "git -C src rev-parse main~6");
	wr_oid_hex(hex, &pinned);
	assert_ok(wr_rev_commit(&got, &v, wr_str(hex), &f->err));
	assert_true(wr_oid_eq(&got, &pinned));
	assert_ok(wr_rev_commit(&got, &v, wr_str_n(hex, 6), &f->err));
	assert_true(wr_oid_eq(&got, &five));
	sh_oid(f, &got, "git -C src rev-parse main");
	wr_oid_hex(other, &got);
	for (char *c = other; *c; c++)
		*c = *c >= '0' && *c <= '9' ? '4' : *c;
	assert_ok(wr_rev_commit(&got, &v, wr_str(other), &f->err));
	assert_true(wr_oid_eq(&got, &six));
}

/* ---- by chance ---- */

/* One git reads them all. */
static void chains(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) in = WR_BUF_INIT(1 << 20), out = WR_BUF_INIT(1 << 20);
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	struct wr_str asked, answers, line, answer = WR_S("");
	unsigned found = 0;

	for (unsigned i = 0; i < rounds(400); i++) {
		static const char *const bases[] = {"main", "refs/heads/both", "nested", "side/of", "refs/notes/x"};

		wr_buf_addz(&in, bases[chance(f, 5)]);
		for (unsigned k = chance(f, 9); k > 0; k--) {
			wr_buf_addc(&in, chance(f, 2) ? '~' : '^');
			if (chance(f, 3))
				wr_buf_printf(&in, "%u", chance(f, 4) ? chance(f, 4) : chance(f, 100));
		}
		wr_buf_addc(&in, '\n');
	}
	write_whole(f, "asked", wr_buf_str(&in));
	sh_out(f, &out,
	       "sed 's/$/^{}/' asked | git -C src cat-file --batch-check='%%(objectname) %%(objecttype)' | cut -d' ' "
	       "-f1,2");
	view_open(&v, f, "main", false);
	for (asked = wr_buf_str(&in), answers = wr_buf_str(&out); next_line(&line, &asked, '\n');) {
		struct wr_oid got, wanted;
		enum wr_type type;
		enum wr_code code = wr_rev(&got, &type, &v, line, &f->err);

		assert_true(next_line(&answer, &answers, '\n'));
		if (!wr_oid_parse(&wanted, next_word(&answer))) {
			assert_refused(f, code, WR_E_REFERENCE_NOT_FOUND, "reference", line);
			continue;
		}
		if (code != WR_OK || !wr_oid_eq(&got, &wanted))
			fail_msg("%.*s is something else", (int)line.len, line.ptr);
		found++;
	}
	assert_true(found > rounds(400) / 4);
}

static size_t candidates(struct known **one, struct wr_str digits, enum wr_type type, bool stored)
{
	size_t count = 0;

	for (size_t i = 0; i < known_count; i++) {
		struct known *k = &known[i];
		bool counts = type ? k->type == type : k->type == WR_COMMIT || k->type == WR_TAG;

		if (counts && (stored || k->shown) && memcmp(k->hex, digits.ptr, digits.len) == 0) {
			count++;
			*one = k;
		}
	}
	return count;
}

static void by_digits(struct fx *f, struct wr_view *v, struct wr_str digits)
{
	struct known *one = NULL;
	struct wr_oid got;
	enum wr_type type;
	size_t count = candidates(&one, digits, 0, v->stored);
	enum wr_code code;

	/* The few names that are made of digits were looked at before. */
	if (!wr_snapshot_find_ref(&(struct wr_ref){.name = digits}, v->snap, digits)) {
		code = wr_rev(&got, &type, v, digits, &f->err);
		if (count == 1) {
			assert_ok(code);
			assert_true((wr_oid_eq(&got, &one->peeled) && type == one->peeled_type) || digits.len == 6);
		} else {
			assert_refused(f, code, count ? WR_E_AMBIGUOUS : WR_E_REFERENCE_NOT_FOUND,
				       count ? "rev" : "reference", digits);
		}
	}
	for (type = WR_COMMIT; type <= WR_TAG; type++) {
		count = candidates(&one, digits, type, v->stored);
		code = wr_rev_id(&got, v, digits, type, WR_E_TREE_NOT_FOUND, &f->err);
		if (count == 1)
			assert_true(code == WR_OK && wr_oid_eq(&got, &one->oid));
		else if (count == 0)
			assert_int_equal(code, WR_E_TREE_NOT_FOUND);
		else
			assert_refused(f, code, WR_E_AMBIGUOUS, "rev", digits);
	}
}

/*
 * Every object by its first digits: ambiguous where another one of the kind has them too, and the caller sees that one;
 * what no ref reaches is not there, and makes nothing ambiguous, for who may only read.
 */
static void abbreviations(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_view) reader = {.snap = NULL}, writer = {.snap = NULL};
	unsigned ambiguous = 0, hidden = 0, freed = 0;

	view_open(&reader, f, "main", false);
	view_open(&writer, f, "main", true);
	for (size_t i = 0; i < known_count; i++) {
		struct known *k = &known[i], *one;
		struct wr_str four = wr_str_n(k->hex, 4);
		size_t all = candidates(&one, four, 0, true), shown = candidates(&one, four, 0, false);

		ambiguous += shown > 1;
		hidden += !k->shown;
		freed += all > 1 && shown == 1;
		if (all > 1) {
			by_digits(f, &reader, four);
			by_digits(f, &writer, four);
		}
		if (i % 20 == 0) {
			by_digits(f, &reader, four);
			by_digits(f, &reader, wr_str_n(k->hex, 4 + chance(f, 37)));
			by_digits(f, &writer, wr_str(k->hex));
			by_digits(f, &reader, wr_str(k->hex));
		}
	}
	assert_true(ambiguous > 0 && hidden > COMMITS / 2 && freed > 0);
}

static void digits_of_either_case(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	struct wr_oid got, wanted;
	char hex[WR_OID_HEX + 1];

	view_open(&v, f, "main", false);
	sh_oid(f, &wanted, "git -C src rev-parse main~2");
	wr_oid_hex(hex, &wanted);
	for (char *c = hex; *c; c++)
		*c = *c >= 'a' ? (char)(*c - 'a' + 'A') : *c;
	assert_ok(wr_rev_commit(&got, &v, wr_str(hex), &f->err));
	assert_true(wr_oid_eq(&got, &wanted));
	assert_ok(wr_rev_id(&got, &v, wr_str_n(hex, 12), WR_COMMIT, WR_E_COMMIT_NOT_FOUND, &f->err));
	assert_true(wr_oid_eq(&got, &wanted));
}

static void no_ids(void **state)
{
	static const char *const rows[] = {
		"",	 "abc",	  "abcg", "main", "HEAD",
		" abcd", "abcd ", "0x12", "-123", "0123456789012345678901234567890123456789a"};
	struct fx *f = *state;
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	struct wr_oid oid;

	view_open(&v, f, "main", false);
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++)
		assert_refused(f, wr_rev_id(&oid, &v, wr_str(rows[i]), WR_COMMIT, WR_E_COMMIT_NOT_FOUND, &f->err),
			       WR_E_INVALID_OBJECT_ID, "hash", wr_str(rows[i]));
}

static void an_empty_repository(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	struct wr_oid oid;

	view_open(&v, f, "main", false);
	assert_refused(f, wr_rev_commit(&oid, &v, WR_S(""), &f->err), WR_E_REFERENCE_NOT_FOUND, "reference",
		       WR_S("HEAD"));
	assert_refused(f, wr_rev_commit(&oid, &v, WR_S("abcd"), &f->err), WR_E_REFERENCE_NOT_FOUND, "reference",
		       WR_S("abcd"));
	assert_int_equal(wr_rev_id(&oid, &v, WR_S("abcd"), WR_BLOB, WR_E_BLOB_NOT_FOUND, &f->err), WR_E_BLOB_NOT_FOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_of_name),
		cmocka_unit_test(what_names_nothing),
		cmocka_unit_test(long_ones),
		cmocka_unit_test(no_head),
		cmocka_unit_test(only_commits_or_trees),
		cmocka_unit_test(names_like_ids),
		cmocka_unit_test(chains),
		cmocka_unit_test(abbreviations),
		cmocka_unit_test(digits_of_either_case),
		cmocka_unit_test(no_ids),
	};
	const struct CMUnitTest empty[] = {cmocka_unit_test_setup_teardown(an_empty_repository, fx_setup, fx_teardown)};
	int failed = cmocka_run_group_tests(tests, setup, fx_teardown);

	return failed + cmocka_run_group_tests(empty, NULL, NULL);
}
