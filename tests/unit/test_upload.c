/* smart-http/upload: fetches of versions 0 and 1 byte by byte; real git judges the packs. */
#include "tests/unit/upload_fixture.h"

/* ---- versions 0 and 1 ---- */

static void v0_clone_bare(void **state)
{
	ANSWER;
	BODY;

	(void)state;
	pkt(&body, "want %s\n", E);
	flush(&body);
	pkt(&body, "done\n");
	ask(&a, 0, &body);
	expect(&a.rest, "NAK\n");
	assert_int_equal(pack_objects(a.rest), git_counts(E));
	assert_int_equal(judge(a.rest, "", E, ""), git_counts(E));
}

static void v0_clone_bands(void **state)
{
	static const struct {
		const char *cap;
		size_t max;
	} rows[] = {{"side-band", 1000}, {"side-band-64k", 65520}, {"side-band side-band-64k", 65520}};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		for (int quiet = 0; quiet < 2; quiet++) {
			WR_AUTO_S(wr_buf) data = WR_BUF_INIT(64u << 20), text = WR_BUF_INIT(1 << 20);
			ANSWER;
			BODY;

			pkt(&body, "want %s multi_ack_detailed %s ofs-delta%s agent=x\n", V2, rows[i].cap,
			    quiet ? " no-progress" : "");
			pkt(&body, "want %s\n", S);
			pkt(&body, "want %s\n", S);
			flush(&body);
			pkt(&body, "done\n");
			ask(&a, 1, &body);
			expect(&a.rest, "NAK\n");
			unband(&data, &text, &a.rest, rows[i].max);
			expect_end(&a);
			assert_int_equal(text.len == 0, quiet);
			assert_int_equal(judge(wr_buf_str(&data), "", S, ""), git_counts("v2 side"));
		}
	}
}

/* Rounds as a client without state sends them. */
static void v0_detailed(void **state)
{
	WR_AUTO_S(wr_buf) data = WR_BUF_INIT(64u << 20), text = WR_BUF_INIT(1 << 20);
	ANSWER;
	BODY;

	(void)state;
	/* Nothing in common. */
	pkt(&body, "want %s multi_ack_detailed side-band-64k thin-pack no-progress ofs-delta\n", E);
	flush(&body);
	pkt(&body, "have %040d\n", 7);
	flush(&body);
	ask(&a, 0, &body);
	expect(&a.rest, "NAK\n");
	expect_end(&a);

	/* In common, but the other want is not covered. */
	wr_buf_clear(&body);
	pkt(&body, "want %s multi_ack_detailed side-band-64k thin-pack no-progress ofs-delta\n", E);
	pkt(&body, "want %s\n", S);
	flush(&body);
	pkt(&body, "have %s\n", D);
	flush(&body);
	ask(&a, 0, &body);
	expect(&a.rest, "ACK %s common\n", D);
	expect(&a.rest, "NAK\n");
	expect_end(&a);

	/* Enough in common: ready; what is unknown is acknowledged from then on. */
	wr_buf_clear(&body);
	pkt(&body, "want %s multi_ack_detailed side-band-64k thin-pack no-progress ofs-delta\n", E);
	flush(&body);
	pkt(&body, "have %s\n", C);
	pkt(&body, "have %040d\n", 7);
	flush(&body);
	ask(&a, 0, &body);
	expect(&a.rest, "ACK %s common\n", C);
	expect(&a.rest, "ACK %040d ready\n", 7);
	expect(&a.rest, "NAK\n");
	expect_end(&a);

	wr_buf_clear(&body);
	pkt(&body, "want %s multi_ack_detailed side-band-64k thin-pack no-progress ofs-delta\n", E);
	flush(&body);
	pkt(&body, "have %s\n", C);
	pkt(&body, "done\n");
	ask(&a, 0, &body);
	expect(&a.rest, "ACK %s common\n", C);
	expect(&a.rest, "ACK %s\n", C);
	unband(&data, &text, &a.rest, 65520);
	expect_end(&a);
	assert_int_equal(pack_objects(wr_buf_str(&data)), git_counts("main ^main~2"));
	assert_int_equal(judge(wr_buf_str(&data), "v1", E, ""), git_counts("main v1"));
}

static void v0_no_done(void **state)
{
	WR_AUTO_S(wr_buf) data = WR_BUF_INIT(64u << 20), text = WR_BUF_INIT(1 << 20);
	ANSWER;
	BODY;

	(void)state;
	pkt(&body, "want %s multi_ack_detailed no-done side-band-64k no-progress\n", E);
	flush(&body);
	pkt(&body, "have %s\n", C);
	flush(&body);
	ask(&a, 0, &body);
	expect(&a.rest, "ACK %s common\n", C);
	expect(&a.rest, "ACK %s ready\n", C);
	expect(&a.rest, "NAK\n");
	expect(&a.rest, "ACK %s\n", C);
	unband(&data, &text, &a.rest, 65520);
	expect_end(&a);
	assert_int_equal(judge(wr_buf_str(&data), "v1", E, ""), git_counts("main v1"));
}

static void v0_multi_ack(void **state)
{
	ANSWER;
	BODY;

	(void)state;
	pkt(&body, "want %s multi_ack\n", E);
	flush(&body);
	pkt(&body, "have %s\n", C);
	pkt(&body, "have %040d\n", 7);
	pkt(&body, "have %s\n", A);
	pkt(&body, "done\n");
	ask(&a, 0, &body);
	expect(&a.rest, "ACK %s continue\n", C);
	expect(&a.rest, "ACK %040d continue\n", 7);
	expect(&a.rest, "ACK %s continue\n", A);
	expect(&a.rest, "ACK %s\n", A);
	assert_int_equal(judge(a.rest, "v1", E, ""), git_counts("main v1"));
}

/*
 * A client from before multi_ack: one ACK for the first that is common, repeated for what hangs together with it, and
 * silence from then on.
 */
static void v0_one_ack(void **state)
{
	ANSWER;
	BODY;

	(void)state;
	pkt(&body, "want %s\n", E);
	flush(&body);
	pkt(&body, "have %040d\n", 7);
	pkt(&body, "have %s\n", D);
	pkt(&body, "have %s\n", C);
	pkt(&body, "have %s\n", D);
	pkt(&body, "have %s\n", S);
	pkt(&body, "have %s\n", B);
	pkt(&body, "done");
	ask(&a, 0, &body);
	expect(&a.rest, "ACK %s\n", D);
	expect(&a.rest, "ACK %s\n", C);
	expect(&a.rest, "ACK %s\n", D);
	assert_int_equal(pack_objects(a.rest), git_counts("main ^main~1"));
	assert_int_equal(judge(a.rest, D, E, ""), git_counts("main"));
}

/* There is no state between requests, so an answer ends with the first flush, whatever follows it. */
static void v0_ends_with_the_flush(void **state)
{
	ANSWER;
	BODY;

	(void)state;
	pkt(&body, "want %s\n", E);
	flush(&body);
	pkt(&body, "have %040d\n", 7);
	flush(&body);
	pkt(&body, "have %s\n", D);
	flush(&body);
	pkt(&body, "done");
	ask(&a, 0, &body);
	expect(&a.rest, "NAK\n");
	expect_end(&a);

	/* No round of haves at all: the client asked for the depth, and none is limited here. */
	wr_buf_clear(&body);
	pkt(&body, "want %s\n", E);
	flush(&body);
	ask(&a, 0, &body);
	expect_end(&a);
}

/* A parent of what the client has it has too, so that wanting it again is enough in common. */
static void v0_ready_by_a_child(void **state)
{
	ANSWER;
	BODY;

	(void)state;
	pkt(&body, "want %s multi_ack_detailed\n", C);
	flush(&body);
	pkt(&body, "have %s\n", D);
	flush(&body);
	ask(&a, 0, &body);
	expect(&a.rest, "ACK %s common\n", D);
	expect(&a.rest, "ACK %s ready\n", D);
	expect(&a.rest, "NAK\n");
	expect_end(&a);

	/* A have that nobody knows here keeps the server from saying so by itself. */
	wr_buf_clear(&body);
	pkt(&body, "want %s multi_ack_detailed\n", C);
	flush(&body);
	pkt(&body, "have %040d\n", 7);
	pkt(&body, "have %s\n", D);
	flush(&body);
	ask(&a, 0, &body);
	expect(&a.rest, "ACK %s common\n", D);
	expect(&a.rest, "NAK\n");
	expect_end(&a);
}

/* Filters reach the pack: a blob that is wanted comes whatever they say. */
static void v0_filter(void **state)
{
	ANSWER;
	BODY;

	(void)state;
	pkt(&body, "want %s filter no-progress\n", E);
	pkt(&body, "filter blob:none");
	flush(&body);
	pkt(&body, "done\n");
	ask(&a, 0, &body);
	expect(&a.rest, "NAK\n");
	assert_int_equal(pack_objects(a.rest), git_counts("--filter=blob:none main"));
}

static void v0_depth(void **state)
{
	WR_AUTO_S(wr_buf) data = WR_BUF_INIT(64u << 20), text = WR_BUF_INIT(1 << 20);
	ANSWER;
	BODY;

	(void)state;
	/* The first request only asks where history will end. */
	pkt(&body, "want %s multi_ack_detailed side-band-64k no-progress\n", E);
	pkt(&body, "deepen 2\n");
	flush(&body);
	ask(&a, 0, &body);
	expect(&a.rest, "shallow %s", D);
	expect(&a.rest, "0000");
	expect_end(&a);
	pkt(&body, "done\n");
	ask(&a, 0, &body);
	expect(&a.rest, "shallow %s", D);
	expect(&a.rest, "0000");
	expect(&a.rest, "NAK\n");
	unband(&data, &text, &a.rest, 65520);
	expect_end(&a);
	judge(wr_buf_str(&data), "", E, D);

	/* Deepening moves the root. */
	wr_buf_clear(&body);
	pkt(&body, "want %s multi_ack_detailed no-progress\n", E);
	pkt(&body, "shallow %s", D);
	pkt(&body, "deepen 3\n");
	flush(&body);
	pkt(&body, "have %s\n", E);
	pkt(&body, "done\n");
	ask(&a, 0, &body);
	expect(&a.rest, "shallow %s", C);
	expect(&a.rest, "unshallow %s", D);
	expect(&a.rest, "0000");
	expect(&a.rest, "ACK %s common\n", E);
	expect(&a.rest, "ACK %s\n", E);
	assert_true(pack_objects(a.rest) >= 1);

	/* All of it: no root is left. */
	wr_buf_clear(&body);
	pkt(&body, "want %s multi_ack_detailed no-progress\n", E);
	pkt(&body, "shallow %s", D);
	pkt(&body, "deepen 2147483647\n");
	flush(&body);
	pkt(&body, "have %s\n", E);
	pkt(&body, "done\n");
	ask(&a, 0, &body);
	expect(&a.rest, "unshallow %s", D);
	expect(&a.rest, "0000");
}

/* A client's roots that are unknown here say nothing, and nothing is said of them. */
static void v0_unknown_roots(void **state)
{
	ANSWER;
	BODY;

	(void)state;
	pkt(&body, "want %s no-progress\n", E);
	pkt(&body, "shallow %040d", 7);
	pkt(&body, "shallow %s", D);
	pkt(&body, "shallow %s", X);
	pkt(&body, "shallow %s", D);
	pkt(&body, "deepen 2147483647\n");
	flush(&body);
	ask(&a, 0, &body);
	expect(&a.rest, "unshallow %s", D);
	expect(&a.rest, "0000");
	expect_end(&a);

	/* Without a new depth there is no section at all. */
	wr_buf_clear(&body);
	pkt(&body, "want %s multi_ack_detailed no-progress\n", E);
	pkt(&body, "shallow %s", D);
	flush(&body);
	pkt(&body, "have %s\n", D);
	flush(&body);
	ask(&a, 0, &body);
	expect(&a.rest, "ACK %s common\n", D);
	expect(&a.rest, "ACK %s ready\n", D);
	expect(&a.rest, "NAK\n");
	expect_end(&a);
}

static void v0_nothing(void **state)
{
	static const char *const bodies[] = {"", "0000"};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(bodies); i++) {
		ANSWER;
		BODY;

		wr_buf_addz(&body, bodies[i]);
		ask(&a, 0, &body);
		expect_end(&a);
		ask(&a, 2, &body);
		expect_end(&a);
	}
}

/* All that is wanted is there already: a pack of nothing. */
static void nothing_new(void **state)
{
	WR_AUTO_S(wr_buf) data = WR_BUF_INIT(64u << 20), text = WR_BUF_INIT(1 << 20);
	ANSWER;
	BODY;

	(void)state;
	pkt(&body, "want %s multi_ack\n", D);
	flush(&body);
	pkt(&body, "have %s\n", E);
	pkt(&body, "done\n");
	ask(&a, 0, &body);
	expect(&a.rest, "ACK %s continue\n", E);
	expect(&a.rest, "ACK %s\n", E);
	assert_int_equal(pack_objects(a.rest), 0);
	assert_int_equal(a.rest.len, 32);

	wr_buf_clear(&body);
	pkt(&body, "command=fetch");
	delim(&body);
	pkt(&body, "no-progress");
	pkt(&body, "want %s", D);
	pkt(&body, "have %s", E);
	pkt(&body, "done");
	flush(&body);
	ask(&a, 2, &body);
	expect(&a.rest, "packfile\n");
	unband(&data, &text, &a.rest, 65520);
	expect_end(&a);
	assert_int_equal(data.len, 32);
}

/* ---- wants ---- */

static void not_ours(void **state)
{
	const char *wants[] = {X, "0123456789012345678901234567890123456789", BLOB};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(wants); i++) {
		ANSWER;
		BODY;

		pkt(&body, "want %s side-band-64k\n", wants[i]);
		flush(&body);
		pkt(&body, "done\n");
		ask_branch(&a, 0, &body, "main");
		assert_int_equal(a.code, WR_E_INVALID_REQUEST);
		assert_true(a.told);
		expect(&a.rest, "ERR upload-pack: not our ref %s", wants[i]);
		expect_end(&a);

		wr_buf_clear(&body);
		pkt(&body, "command=fetch");
		delim(&body);
		pkt(&body, "want %s", E);
		pkt(&body, "want %s", wants[i]);
		pkt(&body, "done");
		flush(&body);
		ask_branch(&a, 2, &body, "main");
		assert_int_equal(a.code, WR_E_INVALID_REQUEST);
		assert_true(a.told);
		expect(&a.rest, "ERR upload-pack: not our ref %s", wants[i]);
		expect_end(&a);
	}
}

static void reachable_commit(void **state)
{
	ANSWER;
	BODY;

	(void)state;
	pkt(&body, "want %s\n", B);
	flush(&body);
	pkt(&body, "done\n");
	ask(&a, 0, &body);
	expect(&a.rest, "NAK\n");
	assert_int_equal(judge(a.rest, "", B, ""), git_counts("main~3"));
}

/* ---- nonsense ---- */

#define OID "95dcfa3633004da0049d3d0fa03f80589cbcaf31"

static void invalid_v0(void **state)
{
	static const struct {
		const char *lines[5];
		const char *words;
	} rows[] = {
		{{"want 12", "F"}, "40 hexadecimal"},
		{{"want " OID "x", "F"}, "40 hexadecimal"},
		{{"want " OID}, "flush"},
		{{"want " OID, "D"}, "flush"},
		{{"want " OID, "deepen x", "F"}, "deepen"},
		{{"want " OID, "deepen 0", "F"}, "at least 1"},
		{{"want " OID, "deepen -1", "F"}, "deepen"},
		{{"want " OID, "deepen-since x", "F"}, "deepen-since"},
		{{"want " OID, "shallow x", "F"}, "40 hexadecimal"},
		{{"want " OID, "F", "have x", "F"}, "40 hexadecimal"},
		{{"want " OID, "F", "have " OID}, "neither"},
		{{"want " OID, "F", "D", "F"}, "version 2"},
		{{"want " OID, "F", "done", "have " OID, "F"}, "follows the end"},
		{{"F", "want " OID}, "follows the end"},
		{{"deepen 1", "F"}, "at least one want"},
		/* Not granted, but also not whole. */
		{{"hello"}, "does not end"},
		{{"want " OID " object-format=sha256", "F", "have " OID}, "does not end"},
	};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		BODY;

		add_lines(&body, rows[i].lines, WR_ARRAY_LEN(rows[i].lines));
		expect_invalid(0, &body, rows[i].words);
		expect_invalid(1, &body, rows[i].words);
	}
}

static void refused_v0(void **state)
{
	static const struct {
		const char *lines[5];
		const char *sentence;
	} rows[] = {
		{{"hello", "F"}, "ERR upload-pack: unexpected line 'hello'"},
		{{"want " OID, "F", "want x", "F"}, "ERR upload-pack: unexpected line 'want x'"},
		{{"want " OID " object-format=sha256", "F"},
		 "ERR upload-pack: repositories here have the object format sha1, not 'sha256'"},
		{{"want " OID, "filter blob:none", "F"},
		 "ERR upload-pack: a filter line needs the capability 'filter' before it"},
		{{"want " OID " filter", "filter blob:none", "filter blob:none", "F"},
		 "ERR upload-pack: a request may hold one filter; combine:<filter>+<filter> joins several"},
		{{"want " OID, "deepen 1", "deepen-since 5", "F"},
		 "ERR upload-pack: deepen and deepen-since (or deepen-not) cannot be used together"},
		{{"want " OID, "deepen 1", "deepen-not x", "F"},
		 "ERR upload-pack: deepen and deepen-since (or deepen-not) cannot be used together"},
	};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		BODY;

		add_lines(&body, rows[i].lines, WR_ARRAY_LEN(rows[i].lines));
		expect_refused(0, &body, rows[i].sentence);
	}
}

static void too_much_v0(void **state)
{
	static const struct {
		const char *word;
		bool behind; /* the flush */
		const char *sentence;
	} rows[] = {
		{"want", false, "100 wants; fetch less at once, or let this server's operator raise git.max_wants"},
		{"have", true, "100 haves; fetch less at once, or let this server's operator raise git.max_haves"},
		{"shallow", false,
		 "100 lines about shallow commits; fetch less at once, or let this server's operator raise "
		 "git.max_depth_lines"},
		{"deepen-not", false,
		 "100 lines about shallow commits; fetch less at once, or let this server's operator raise "
		 "git.max_depth_lines"},
		{"deepen", false,
		 "1000 bytes besides wants and haves; fetch less at once, or let this server's operator raise "
		 "git.max_preamble"},
	};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		char sentence[256];
		BODY;

		if (rows[i].behind) {
			pkt(&body, "want " OID);
			flush(&body);
		}
		for (int n = 0; n < 101; n++)
			pkt(&body, "%s %040d", rows[i].word, n + 1);
		flush(&body);
		snprintf(sentence, sizeof(sentence), "ERR upload-pack: a request may hold %s", rows[i].sentence);
		expect_refused(0, &body, sentence);
	}
}

#define CHAIN 60
#define TIMES 100

static bool count(void *arg)
{
	++*(unsigned *)arg;
	return false;
}

/* A request may name the tags of one long chain again and again: each is read once, and looked up once a have. */
static void haves_that_share_tags(void **state)
{
	static const struct wr_upload_limits wide = {
		.max_wants = 10, .max_haves = CHAIN * TIMES, .max_prefixes = 5, .max_depth_lines = 10,
		.max_preamble = 1000};
	WR_AUTO_S(wr_buf) tags = WR_BUF_INIT(1 << 16);
	struct world own;

	(void)state;
	world_init(&own);
	commit(&own, "A", 1);
	sh(&own, &tags,
	   "cd work; o=$(git rev-parse HEAD); t=commit; for i in $(seq %u); do o=$(printf 'object %%s\ntype %%s\ntag "
	   "t%%s\ntagger T <t@example.org> 1 +0000\n\nm\n' $o $t $i | git mktag); t=tag; echo $o; done; "
	   "git update-ref refs/tags/last $o",
	   CHAIN);
	assert_int_equal(tags.len, CHAIN * 41 - 1);
	fill(&own);
	for (int version = 0; version <= 2; version += 2) {
		WR_AUTO_S(wr_buf) out = WR_BUF_INIT(64u << 20);
		WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
		WR_AUTO(wr_upload) *up = NULL;
		struct wr_buf_sink sink;
		unsigned asked = 0, acks = 0;
		const struct wr_cancel cancel = {count, &asked};
		BODY;

		if (version == 2) {
			pkt(&body, "command=fetch");
			delim(&body);
		}
		pkt(&body, "want %s%s\n", rev(&own, "main"), version == 0 ? " multi_ack_detailed" : "");
		if (version == 0)
			flush(&body);
		/* From both ends of the chain. */
		for (unsigned i = 0; i < CHAIN * TIMES; i++)
			pkt(&body, "have %.40s\n", tags.ptr + (i % 2 ? i % CHAIN : CHAIN - 1 - i % CHAIN) * 41);
		flush(&body);
		wr_buf_sink_init(&sink, &out);
		assert_int_equal(wr_upload_parse(&up, wr_buf_str(&body), version, &wide, &err), WR_OK);
		assert_int_equal(wr_upload_answer(up, own.snap, WR_S("main"), &sink.base, &cancel, &err), WR_OK);
		for (const char *p = out.ptr, *end = out.ptr + out.len; p && p < end; acks++)
			if ((p = memmem(p, (size_t)(end - p), "ACK ", 4)) != NULL)
				p++;
			else
				break;
		assert_true(acks >= CHAIN * TIMES);
		/* Once for each have, each tag that leads to it, and each of the chain where it is walked for refs. */
		assert_in_range(asked, CHAIN * TIMES, CHAIN * TIMES + 2 * CHAIN + 50);
	}
	world_fini(&own);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(v0_clone_bare),
		cmocka_unit_test(v0_clone_bands),
		cmocka_unit_test(v0_detailed),
		cmocka_unit_test(v0_no_done),
		cmocka_unit_test(v0_multi_ack),
		cmocka_unit_test(v0_one_ack),
		cmocka_unit_test(v0_ends_with_the_flush),
		cmocka_unit_test(v0_ready_by_a_child),
		cmocka_unit_test(v0_filter),
		cmocka_unit_test(v0_depth),
		cmocka_unit_test(v0_unknown_roots),
		cmocka_unit_test(v0_nothing),
		cmocka_unit_test(nothing_new),
		cmocka_unit_test(not_ours),
		cmocka_unit_test(reachable_commit),
		cmocka_unit_test(invalid_v0),
		cmocka_unit_test(refused_v0),
		cmocka_unit_test(too_much_v0),
		cmocka_unit_test(haves_that_share_tags),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
