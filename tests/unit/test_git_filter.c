/* core/git/filter: every filter that is served, and a sentence for each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/buf.h"
#include "core/git/filter.h"

#define MAX UINT64_MAX
#define ALL WR_FILTER_ALL_TYPES
#define COMMITS (1u << WR_COMMIT)
#define TREES (1u << WR_TREE)
#define BLOBS (1u << WR_BLOB)
#define TAGS (1u << WR_TAG)

static void served(void **state)
{
	static const struct {
		const char *spec;
		struct wr_filter f;
	} table[] = {
		{"blob:none", {0, MAX, ALL}},
		{"blob:limit=0", {0, MAX, ALL}},
		{"blob:limit=1", {1, MAX, ALL}},
		{"blob:limit=10k", {10 << 10, MAX, ALL}},
		{"blob:limit=10K", {10 << 10, MAX, ALL}},
		{"blob:limit=3m", {3 << 20, MAX, ALL}},
		{"blob:limit=3M", {3 << 20, MAX, ALL}},
		{"blob:limit=2g", {UINT64_C(2) << 30, MAX, ALL}},
		{"blob:limit=2G", {UINT64_C(2) << 30, MAX, ALL}},
		{"blob:limit=0k", {0, MAX, ALL}},
		/* As git's other options take numbers. */
		{"blob:limit=0x10", {16, MAX, ALL}},
		{"blob:limit=0XfFk", {255 << 10, MAX, ALL}},
		{"tree:010", {MAX, 8, ALL}},
		{"tree:00", {MAX, 0, ALL}},
		{"tree:1k", {MAX, 1024, ALL}},
		{"blob:limit=18446744073709551614", {MAX - 1, MAX, ALL}},
		{"blob:limit=18446744073709551615", {MAX, MAX, ALL}},
		{"blob:limit=0xffffffffffffffff", {MAX, MAX, ALL}},
		{"blob:limit=01777777777777777777777", {MAX, MAX, ALL}},
		{"blob:limit=17179869183g", {UINT64_C(17179869183) << 30, MAX, ALL}},
		{"blob:limit=0000000000000000000000000000000000000000001", {1, MAX, ALL}},
		{"tree:0", {MAX, 0, ALL}},
		{"tree:3", {MAX, 3, ALL}},
		{"tree:18446744073709551614", {MAX, MAX - 1, ALL}},
		{"object:type=commit", {MAX, MAX, COMMITS}},
		{"object:type=tree", {MAX, MAX, TREES}},
		{"object:type=blob", {MAX, MAX, BLOBS}},
		{"object:type=tag", {MAX, MAX, TAGS}},
		{"combine:blob:none", {0, MAX, ALL}},
		{"combine:blob:limit=5+tree:3", {5, 3, ALL}},
		{"combine:tree:3+blob:limit=5", {5, 3, ALL}},
		{"combine:tree:3+tree:2+tree:4", {MAX, 2, ALL}},
		{"combine:blob:limit=7+blob:limit=6+blob:limit=8", {6, MAX, ALL}},
		{"combine:blob:limit=7+blob:none", {0, MAX, ALL}},
		{"combine:object:type=blob+blob:limit=1k+tree:9", {1024, 9, BLOBS}},
		{"combine:object:type=blob+object:type=tree", {MAX, MAX, 0}},
		{"combine:%62lob%3anone+tree%3A2", {0, 2, ALL}},
		{"combine:%74%72%65%65%3a%32", {MAX, 2, ALL}},
		/* Nested: the inner combination's own encoding is encoded once more. */
		{"combine:combine:tree:2%2bblob:limit=9+object:type=tree", {9, 2, TREES}},
		{"combine:tree:5+combine:tree:4%2bcombine:tree:3%252btree:2", {MAX, 2, ALL}},
		{"combine:combine:combine:tree:2", {MAX, 2, ALL}},
		{"combine:combine:blob%253anone", {0, MAX, ALL}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		struct wr_filter f = {1, 2, 3};
		enum wr_code code = wr_filter_parse(&f, wr_str(table[i].spec), NULL);

		if (code != WR_OK || f.blob_limit != table[i].f.blob_limit || f.tree_depth != table[i].f.tree_depth ||
		    f.types != table[i].f.types)
			fail_msg("%s: %llu %llu %u", table[i].spec, (unsigned long long)f.blob_limit,
				 (unsigned long long)f.tree_depth, f.types);
	}
}

static void refuse(struct wr_str spec, const char *why)
{
	struct wr_error err = {.code = WR_OK};
	struct wr_filter f = {1, 2, 3};

	if (wr_filter_parse(&f, spec, &err) != WR_E_INVALID_REQUEST)
		fail_msg("taken: %.*s", (int)spec.len, spec.ptr);
	if (!strstr(err.text, why))
		fail_msg("%.*s: %s", (int)spec.len, spec.ptr, err.text);
	/* Nothing is written where nothing was understood. */
	assert_true(f.blob_limit == 1 && f.tree_depth == 2 && f.types == 3);
	wr_error_fini(&err);
}

#define KNOWN                                                                                                          \
	"blob:none, blob:limit=<n>[kmg], tree:<depth>, object:type=<type> and combine:<filter>+<filter> are served here"

static void refused(void **state)
{
	static const struct {
		const char *spec, *why;
	} table[] = {
		{"", KNOWN},
		{"x", KNOWN},
		{"blob", KNOWN},
		{"blob:", KNOWN},
		{"blob:non", KNOWN},
		{"blob:none ", KNOWN},
		{" blob:none", KNOWN},
		{"blob:none\n", KNOWN},
		{"blob:nonexx", KNOWN},
		{"Blob:none", KNOWN},
		{"BLOB:NONE", KNOWN},
		{"blob%3anone", KNOWN},
		{"blob:none+tree:1", KNOWN},
		{"blob:limit", KNOWN},
		{"tree", KNOWN},
		{"object:type", KNOWN},
		{"combine", KNOWN},
		{"auto", KNOWN},
		{"sparse", KNOWN},
		{"sparse:oid=main:patterns", "sparse"},
		{"sparse:oid=0123456789012345678901234567890123456789", "sparse"},
		{"sparse:path=patterns", "sparse"},
		{"sparse:", "sparse"},
		{"blob:limit=", "limit is a number"},
		{"blob:limit=k", "limit is a number"},
		{"blob:limit=-1", "limit is a number"},
		{"blob:limit=+1", "limit is a number"},
		{"blob:limit= 1", "limit is a number"},
		{"blob:limit=1 ", "limit is a number"},
		{"blob:limit=1kk", "limit is a number"},
		{"blob:limit=1t", "limit is a number"},
		{"blob:limit=1kb", "limit is a number"},
		{"blob:limit=1.5k", "limit is a number"},
		{"blob:limit=1e3", "limit is a number"},
		{"blob:limit=08", "limit is a number"},
		{"blob:limit=0x", "limit is a number"},
		{"blob:limit=0xk", "limit is a number"},
		{"blob:limit=0xg", "limit is a number"},
		{"blob:limit=x10", "limit is a number"},
		{"blob:limit=18446744073709551616", "limit is a number"},
		{"blob:limit=18446744073709551620", "limit is a number"},
		{"blob:limit=99999999999999999999999999999999", "limit is a number"},
		{"blob:limit=0x10000000000000000", "limit is a number"},
		{"blob:limit=02000000000000000000000", "limit is a number"},
		{"blob:limit=17179869184g", "limit is a number"},
		{"blob:limit=18014398509481984k", "limit is a number"},
		{"blob:limit=17592186044416m", "limit is a number"},
		{"tree:", "depth is a number"},
		{"tree:x", "depth is a number"},
		{"tree:-1", "depth is a number"},
		{"tree:1,", "depth is a number"},
		{"tree:18446744073709551616", "depth is a number"},
		{"object:type=", "commit, tree, blob or tag"},
		{"object:type=blobs", "commit, tree, blob or tag"},
		{"object:type=Blob", "commit, tree, blob or tag"},
		{"object:type=ofs-delta", "commit, tree, blob or tag"},
		{"object:type=blob,tree", "commit, tree, blob or tag"},
		{"combine:", KNOWN},
		{"combine:+", KNOWN},
		{"combine:blob:none+", KNOWN},
		{"combine:+blob:none", KNOWN},
		{"combine:blob:none++tree:1", KNOWN},
		{"combine:tree:1+rubbish", KNOWN},
		{"combine:tree:1+sparse:oid=x", "sparse"},
		{"combine:tree:1 +tree:2", "percent-encoded"},
		{"combine:tree:1+ tree:2", "percent-encoded"},
		{"combine:tree:1+tree:(2)", "percent-encoded"},
		{"combine:tree:1+\x7f", "percent-encoded"},
		{"combine:tree:1+\xc3\xa4", "percent-encoded"},
		{"combine:%", "two hexadecimal digits"},
		{"combine:%2", "two hexadecimal digits"},
		{"combine:tree:1%2+tree:2", "two hexadecimal digits"},
		{"combine:%zz", "two hexadecimal digits"},
		{"combine:tree:%g1", "two hexadecimal digits"},
		{"combine:tree%3a%+1", "two hexadecimal digits"},
		/* Decoded once only. */
		{"combine:blob%253anone", KNOWN},
		{"combine:tree:1%2btree:2", "depth is a number"},
		{"combine:combine:", KNOWN},
		{"combine:tree:1%20", "depth is a number"},
		{"combine:blob:none%00", KNOWN},
		{"combine:%00", KNOWN},
		{"combine:tree:1%00", "depth is a number"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
		refuse(wr_str(table[i].spec), table[i].why);
	for (char c = '!'; c <= '~'; c++) {
		char spec[] = "combine:tree:1?";

		spec[sizeof spec - 2] = c;
		if (strchr("~`!@#$^&*()[]{}\\;'\",<>?", c))
			refuse(wr_str(spec), "percent-encoded");
	}
	refuse(WR_S("blob:none\0"), KNOWN);
	refuse(WR_S("tree:1\0"), "depth is a number");
	refuse(WR_S("combine:tree:1\0+tree:2"), "percent-encoded");
	refuse((struct wr_str){NULL, 0}, KNOWN);
}

static void repeat(struct wr_buf *b, const char *head, const char *one, const char *between, unsigned n)
{
	wr_buf_clear(b);
	wr_buf_addz(b, head);
	for (unsigned i = 0; i < n; i++) {
		wr_buf_addz(b, i ? between : "");
		wr_buf_addz(b, one);
	}
}

static void bounded(void **state)
{
	WR_AUTO_S(wr_buf) spec = WR_BUF_INIT(1 << 20);
	struct wr_filter f;

	(void)state;
	repeat(&spec, "combine:", "tree:7", "+", WR_FILTER_PARTS);
	assert_int_equal(wr_filter_parse(&f, wr_buf_str(&spec), NULL), WR_OK);
	assert_int_equal(f.tree_depth, 7);
	repeat(&spec, "combine:", "tree:7", "+", WR_FILTER_PARTS + 1);
	refuse(wr_buf_str(&spec), "32 others at most");
	/* Parts of nested ones count as well. */
	repeat(&spec, "combine:", "combine:tree:7%2btree:7", "+", WR_FILTER_PARTS / 2);
	assert_int_equal(wr_filter_parse(&f, wr_buf_str(&spec), NULL), WR_OK);
	wr_buf_addz(&spec, "+tree:7");
	refuse(wr_buf_str(&spec), "32 others at most");
	repeat(&spec, "", "combine:", "", 8);
	wr_buf_addz(&spec, "tree:7");
	assert_int_equal(wr_filter_parse(&f, wr_buf_str(&spec), NULL), WR_OK);
	repeat(&spec, "", "combine:", "", 9);
	wr_buf_addz(&spec, "tree:7");
	refuse(wr_buf_str(&spec), "nested more than 8 times");
	repeat(&spec, "", "combine:", "", 60000);
	refuse(wr_buf_str(&spec), "nested more than 8 times");
	/* As long as packets allow: read once, whatever it is. */
	repeat(&spec, "combine:tree:", "0", "", 65000);
	assert_int_equal(wr_filter_parse(&f, wr_buf_str(&spec), NULL), WR_OK);
	repeat(&spec, "tree:", "1", "", 65000);
	refuse(wr_buf_str(&spec), "depth is a number");
}

static void whether_anything_is_left_out(void **state)
{
	struct wr_filter f = WR_FILTER_INIT;

	(void)state;
	assert_true(wr_filter_is_all(&f));
	assert_int_equal(wr_filter_parse(&f, WR_S("tree:0xffffffffffffffff"), NULL), WR_OK);
	assert_true(wr_filter_is_all(&f));
	assert_int_equal(wr_filter_parse(&f, WR_S("tree:1"), NULL), WR_OK);
	assert_false(wr_filter_is_all(&f));
	assert_int_equal(wr_filter_parse(&f, WR_S("blob:limit=1g"), NULL), WR_OK);
	assert_false(wr_filter_is_all(&f));
	assert_int_equal(wr_filter_parse(&f, WR_S("object:type=tag"), NULL), WR_OK);
	assert_false(wr_filter_is_all(&f));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(served),
		cmocka_unit_test(refused),
		cmocka_unit_test(bounded),
		cmocka_unit_test(whether_anything_is_left_out),
	};

	return cmocka_run_group_tests_name("git_filter", tests, NULL, NULL);
}
