/* smart-http/upload: version 2 byte by byte; real git judges the packs. */
#include "tests/unit/upload_fixture.h"

#include "core/base/clock.h"
#include "smart-http/upload_internal.h"

/* ---- version 2 ---- */

static void ls_refs(void **state)
{
	ANSWER;
	BODY;

	(void)state;
	pkt(&body, "command=ls-refs\n");
	pkt(&body, "agent=git/2.39.5");
	pkt(&body, "object-format=sha1");
	pkt(&body, "server-option=hello");
	delim(&body);
	pkt(&body, "peel\n");
	pkt(&body, "symrefs\n");
	pkt(&body, "unborn\n");
	flush(&body);
	ask(&a, 2, &body);
	expect(&a.rest, "%s HEAD symref-target:refs/heads/main\n", E);
	expect(&a.rest, "%s refs/heads/main\n", E);
	expect(&a.rest, "%s refs/heads/side\n", S);
	expect(&a.rest, "%s refs/tags/v1 peeled:%s\n", V1, C);
	expect(&a.rest, "%s refs/tags/v2 peeled:%s\n", V2, C);
	expect(&a.rest, "0000");
	expect_end(&a);

	ask_branch(&a, 2, &body, "trunk");
	expect(&a.rest, "unborn HEAD symref-target:refs/heads/trunk\n");
	expect(&a.rest, "%s refs/heads/main\n", E);

	/* No arguments, and not even their delimiter. */
	wr_buf_clear(&body);
	pkt(&body, "command=ls-refs\n");
	flush(&body);
	ask(&a, 2, &body);
	expect(&a.rest, "%s HEAD\n", E);
	expect(&a.rest, "%s refs/heads/main\n", E);
	expect(&a.rest, "%s refs/heads/side\n", S);
	expect(&a.rest, "%s refs/tags/v1\n", V1);
	expect(&a.rest, "%s refs/tags/v2\n", V2);
	expect(&a.rest, "0000");
	expect_end(&a);
}

static void ls_refs_of(struct answer *a, const char *const *prefixes)
{
	BODY;

	pkt(&body, "command=ls-refs");
	delim(&body);
	for (; *prefixes; prefixes++)
		pkt(&body, "ref-prefix %s\n", *prefixes);
	flush(&body);
	ask(a, 2, &body);
}

static void ls_refs_prefixes(void **state)
{
	ANSWER;

	(void)state;
	/* In any order, one within the other: each ref once, in order. */
	ls_refs_of(&a, (const char *const[]){"refs/tags/", "refs/heads/s", "refs/heads/", "refs/tags/v2", NULL});
	expect(&a.rest, "%s refs/heads/main\n", E);
	expect(&a.rest, "%s refs/heads/side\n", S);
	expect(&a.rest, "%s refs/tags/v1\n", V1);
	expect(&a.rest, "%s refs/tags/v2\n", V2);
	expect(&a.rest, "0000");
	expect_end(&a);
	ls_refs_of(&a, (const char *const[]){"HEAD", "refs/heads/side", NULL});
	expect(&a.rest, "%s HEAD\n", E);
	expect(&a.rest, "%s refs/heads/side\n", S);
	expect(&a.rest, "0000");
	expect_end(&a);
	ls_refs_of(&a, (const char *const[]){"refs/nothing/", "zzz", "HEADER", NULL});
	expect(&a.rest, "0000");
	expect_end(&a);
	/* More prefixes than are looked at: all refs. */
	ls_refs_of(&a, (const char *const[]){"a", "b", "c", "d", "e", NULL});
	expect(&a.rest, "%s HEAD\n", E);
	expect(&a.rest, "%s refs/heads/main\n", E);
	ls_refs_of(&a, (const char *const[]){"", NULL});
	expect(&a.rest, "%s HEAD\n", E);
	expect(&a.rest, "%s refs/heads/main\n", E);
}

static void v2_clone(void **state)
{
	WR_AUTO_S(wr_buf) data = WR_BUF_INIT(64u << 20), text = WR_BUF_INIT(1 << 20);
	ANSWER;
	BODY;

	(void)state;
	pkt(&body, "command=fetch");
	delim(&body);
	pkt(&body, "thin-pack");
	pkt(&body, "ofs-delta");
	pkt(&body, "include-tag");
	pkt(&body, "want %s", E);
	pkt(&body, "want %s", S);
	pkt(&body, "done");
	flush(&body);
	flush(&body); /* the empty request that says goodbye */
	ask(&a, 2, &body);
	expect(&a.rest, "packfile\n");
	unband(&data, &text, &a.rest, 65520);
	expect_end(&a);
	assert_true(text.len > 0);
	/* v1's commit is sent, so v1 and v2, which leads to it too, come along. */
	assert_int_equal(judge(wr_buf_str(&data), "", V2, ""), git_counts("--all"));
}

static void v2_negotiation(void **state)
{
	WR_AUTO_S(wr_buf) data = WR_BUF_INIT(64u << 20), text = WR_BUF_INIT(1 << 20);
	ANSWER;
	BODY;

	(void)state;
	pkt(&body, "command=fetch");
	delim(&body);
	pkt(&body, "want %s", E);
	pkt(&body, "have %040d", 7);
	flush(&body);
	ask(&a, 2, &body);
	expect(&a.rest, "acknowledgments\n");
	expect(&a.rest, "NAK\n");
	expect(&a.rest, "0000");
	expect_end(&a);

	wr_buf_clear(&body);
	pkt(&body, "command=fetch");
	delim(&body);
	pkt(&body, "want %s", E);
	pkt(&body, "want %s", S);
	pkt(&body, "have %s", D);
	flush(&body);
	ask(&a, 2, &body);
	expect(&a.rest, "acknowledgments\n");
	expect(&a.rest, "ACK %s\n", D);
	expect(&a.rest, "0000");
	expect_end(&a);

	/* Ready: the pack comes at once. */
	wr_buf_clear(&body);
	pkt(&body, "command=fetch");
	delim(&body);
	pkt(&body, "no-progress");
	pkt(&body, "thin-pack");
	pkt(&body, "want %s", E);
	pkt(&body, "have %s", C);
	pkt(&body, "have %040d", 7);
	pkt(&body, "have %s", C);
	pkt(&body, "have %s", V1);
	flush(&body);
	ask(&a, 2, &body);
	expect(&a.rest, "acknowledgments\n");
	expect(&a.rest, "ACK %s\n", C);
	expect(&a.rest, "ACK %s\n", C);
	expect(&a.rest, "ACK %s\n", V1);
	expect(&a.rest, "ready\n");
	expect(&a.rest, "0001");
	expect(&a.rest, "packfile\n");
	unband(&data, &text, &a.rest, 65520);
	expect_end(&a);
	assert_int_equal(text.len, 0);
	assert_int_equal(pack_objects(wr_buf_str(&data)), git_counts("main ^main~2"));
	assert_int_equal(judge(wr_buf_str(&data), "v1", E, ""), git_counts("main v1"));

	/* done: no acknowledgments. */
	wr_buf_clear(&data);
	wr_buf_clear(&body);
	pkt(&body, "command=fetch");
	delim(&body);
	pkt(&body, "no-progress");
	pkt(&body, "want %s", E);
	pkt(&body, "have %s", C);
	pkt(&body, "done");
	flush(&body);
	ask(&a, 2, &body);
	expect(&a.rest, "packfile\n");
	unband(&data, &text, &a.rest, 65520);
	expect_end(&a);
}

static void v2_wait_for_done(void **state)
{
	ANSWER;
	BODY;

	(void)state;
	for (int want = 0; want < 2; want++) {
		wr_buf_clear(&body);
		pkt(&body, "command=fetch");
		delim(&body);
		pkt(&body, "wait-for-done");
		if (want)
			pkt(&body, "want %s", E);
		pkt(&body, "have %s", C);
		flush(&body);
		ask(&a, 2, &body);
		expect(&a.rest, "acknowledgments\n");
		expect(&a.rest, "ACK %s\n", C);
		expect(&a.rest, "0000");
		expect_end(&a);
	}
	/* Nothing in common, and nothing said of it being enough. Git's server sends an empty pack, at which its client dies. */
	wr_buf_clear(&body);
	pkt(&body, "command=fetch");
	delim(&body);
	pkt(&body, "wait-for-done");
	flush(&body);
	ask(&a, 2, &body);
	expect(&a.rest, "acknowledgments\n");
	expect(&a.rest, "NAK\n");
	expect(&a.rest, "0000");
	expect_end(&a);
}

/* A v2 fetch of main with these further arguments; *data gets the pack. */
static void fetch_main(struct answer *a, const char *const *args)
{
	BODY;

	pkt(&body, "command=fetch");
	delim(&body);
	pkt(&body, "no-progress");
	pkt(&body, "want %s", E);
	for (; *args; args++)
		pkt(&body, "%s", *args);
	pkt(&body, "done");
	flush(&body);
	ask_branch(a, 2, &body, "main");
}

static void expect_pack(struct answer *a, const char *has, const char *shallow)
{
	WR_AUTO_S(wr_buf) data = WR_BUF_INIT(64u << 20), text = WR_BUF_INIT(1 << 20);

	assert_int_equal(a->code, WR_OK);
	expect(&a->rest, "0001");
	expect(&a->rest, "packfile\n");
	unband(&data, &text, &a->rest, 65520);
	expect_end(a);
	judge(wr_buf_str(&data), has, E, shallow);
}

static const char *arg(const char *word, const char *what)
{
	static char args[8][100];
	static unsigned at;
	char *slot = args[at++ % 8];

	snprintf(slot, sizeof(args[0]), "%s %s", word, what);
	return slot;
}

static void v2_depth(void **state)
{
	ANSWER;

	(void)state;
	fetch_main(&a, (const char *const[]){"deepen 1", NULL});
	expect(&a.rest, "shallow-info\n");
	expect(&a.rest, "shallow %s", E);
	expect_pack(&a, "", E);

	/* A shallow client that asks for no more hears an empty list and gets nothing behind its roots. */
	fetch_main(&a, (const char *const[]){arg("shallow", D), arg("have", D), NULL});
	expect(&a.rest, "shallow-info\n");
	expect_pack(&a, arg("--depth=1", D), D);

	/* Unshallow. */
	fetch_main(&a, (const char *const[]){arg("shallow", D), "deepen 2147483647", arg("have", D), NULL});
	expect(&a.rest, "shallow-info\n");
	expect(&a.rest, "unshallow %s", D);
	expect_pack(&a, arg("--depth=1", D), "");

	/* Also those roots that the wants do not reach: a client names only the refs that moved. */
	fetch_main(&a, (const char *const[]){arg("shallow", D), arg("shallow", S), arg("shallow", X),
					     "deepen 2147483647", arg("have", D), NULL});
	expect(&a.rest, "shallow-info\n");
	for (int i = 0; i < 2; i++) {
		struct wr_pkt p;

		assert_int_equal(wr_pkt_next(&p, &a.rest, NULL), WR_OK);
		assert_true(wr_str_eqz(p.data, arg("unshallow", D)) || wr_str_eqz(p.data, arg("unshallow", S)));
	}
	expect(&a.rest, "0001"); /* and not X, which nothing reaches */

	/* One more than the client has. */
	fetch_main(&a, (const char *const[]){arg("shallow", D), "deepen 1", "deepen-relative", arg("have", D), NULL});
	expect(&a.rest, "shallow-info\n");
	expect(&a.rest, "shallow %s", C);
	expect(&a.rest, "unshallow %s", D);
	expect_pack(&a, arg("--depth=1", D), C);

	/* Roots that nothing here reaches are not ours to move. */
	fetch_main(&a, (const char *const[]){arg("shallow", X), "deepen 1", "deepen-relative", NULL});
	expect(&a.rest, "shallow-info\n");
	expect_pack(&a, "", "");
}

static void v2_since_and_not(void **state)
{
	ANSWER;

	(void)state;
	/* D was made at 1700004000. */
	fetch_main(&a, (const char *const[]){"deepen-since 1700004000", NULL});
	expect(&a.rest, "shallow-info\n");
	expect(&a.rest, "shallow %s", D);
	expect_pack(&a, "", D);
	/* By any of its names. */
	for (size_t i = 0; i < 3; i++) {
		static const char *const names[] = {"v1", "tags/v1", "refs/tags/v1"};

		fetch_main(&a, (const char *const[]){arg("deepen-not", names[i]), NULL});
		expect(&a.rest, "shallow-info\n");
		expect(&a.rest, "shallow %s", D);
		expect_pack(&a, "", D);
	}
	/* Both, and a client that has a root in between. */
	fetch_main(&a, (const char *const[]){"deepen-not side", "deepen-since 1700000000", arg("shallow", D),
					     arg("have", D), NULL});
	expect(&a.rest, "shallow-info\n");
	expect(&a.rest, "shallow %s", C);
	expect(&a.rest, "unshallow %s", D);
	expect_pack(&a, arg("--depth=1", D), C);

	fetch_main(&a, (const char *const[]){"deepen-since 1800000000", NULL});
	assert_int_equal(a.code, WR_E_INVALID_REQUEST);
	assert_true(a.told);
	expect(&a.rest, "ERR no commits selected for shallow requests");
	fetch_main(&a, (const char *const[]){"deepen-not nothing", NULL});
	assert_true(a.told);
	expect(&a.rest, "ERR upload-pack: deepen-not 'nothing' names no ref here, or several");
}

/* ---- wanted refs ---- */

static void want_refs(void **state)
{
	WR_AUTO_S(wr_buf) data = WR_BUF_INIT(64u << 20), text = WR_BUF_INIT(1 << 20);
	ANSWER;
	BODY;

	(void)state;
	pkt(&body, "command=fetch");
	delim(&body);
	pkt(&body, "no-progress");
	pkt(&body, "want-ref refs/tags/v2");
	pkt(&body, "want %s", B);
	pkt(&body, "want-ref HEAD");
	pkt(&body, "want-ref refs/heads/side\n");
	pkt(&body, "want-ref refs/tags/v2");
	pkt(&body, "deepen 2");
	pkt(&body, "done");
	flush(&body);
	ask(&a, 2, &body);
	/* In the documented order, as git's client reads it. */
	expect(&a.rest, "shallow-info\n");
	for (int i = 0; i < 3; i++) { /* the ends of side, of v2 and of main, whose other commits are A, B, C and D */
		struct wr_pkt p;

		assert_int_equal(wr_pkt_next(&p, &a.rest, NULL), WR_OK);
		if (p.kind == WR_PKT_DELIM)
			break;
		assert_true(wr_str_starts(p.data, WR_S("shallow ")));
	}
	expect(&a.rest, "wanted-refs\n");
	expect(&a.rest, "%s refs/tags/v2\n", V2);
	expect(&a.rest, "%s HEAD\n", E);
	expect(&a.rest, "%s refs/heads/side\n", S);
	expect(&a.rest, "%s refs/tags/v2\n", V2);
	expect(&a.rest, "0001");
	expect(&a.rest, "packfile\n");
	unband(&data, &text, &a.rest, 65520);
	expect_end(&a);
}

/* The section is there with a pack only. */
static void want_refs_while_negotiating(void **state)
{
	WR_AUTO_S(wr_buf) data = WR_BUF_INIT(64u << 20), text = WR_BUF_INIT(1 << 20);
	ANSWER;
	BODY;

	(void)state;
	pkt(&body, "command=fetch");
	delim(&body);
	pkt(&body, "want-ref refs/heads/main");
	pkt(&body, "have %040d", 7);
	flush(&body);
	ask(&a, 2, &body);
	expect(&a.rest, "acknowledgments\n");
	expect(&a.rest, "NAK\n");
	expect(&a.rest, "0000");
	expect_end(&a);

	wr_buf_clear(&body);
	pkt(&body, "command=fetch");
	delim(&body);
	pkt(&body, "no-progress");
	pkt(&body, "want-ref refs/heads/main");
	pkt(&body, "have %s", C);
	flush(&body);
	ask(&a, 2, &body);
	expect(&a.rest, "acknowledgments\n");
	expect(&a.rest, "ACK %s\n", C);
	expect(&a.rest, "ready\n");
	expect(&a.rest, "0001");
	expect(&a.rest, "wanted-refs\n");
	expect(&a.rest, "%s refs/heads/main\n", E);
	expect(&a.rest, "0001");
	expect(&a.rest, "packfile\n");
	unband(&data, &text, &a.rest, 65520);
	expect_end(&a);
	assert_int_equal(judge(wr_buf_str(&data), "v1", E, ""), git_counts("main v1"));
}

static void unknown_refs(void **state)
{
	static const char *const names[][2] = {
		{"refs/heads/gone", "refs/heads/gone"}, {"main", "main"},
		{"refs/heads/../heads/main", "refs/heads/../heads/main"}, {"", ""},
		{"refs/warren/x", "refs/warren/x"}, {"refs/heads/\x1b[2J", "refs/heads/?[2J"},
	};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(names); i++) {
		char sentence[100];
		BODY;

		pkt(&body, "command=fetch");
		delim(&body);
		pkt(&body, "want-ref %s", names[i][0]);
		pkt(&body, "done");
		flush(&body);
		snprintf(sentence, sizeof(sentence), "ERR unknown ref %s", names[i][1]);
		expect_refused(2, &body, sentence);
	}
}

/* ---- everything in bands ---- */

static void sideband_all(void **state)
{
	WR_AUTO_S(wr_buf) data = WR_BUF_INIT(64u << 20), text = WR_BUF_INIT(1 << 20);
	ANSWER;
	BODY;

	(void)state;
	pkt(&body, "command=fetch");
	delim(&body);
	pkt(&body, "no-progress");
	pkt(&body, "sideband-all");
	pkt(&body, "want-ref refs/heads/main");
	pkt(&body, "have %s", C);
	pkt(&body, "deepen 1");
	flush(&body);
	ask(&a, 2, &body);
	expect(&a.rest, "\1acknowledgments\n");
	expect(&a.rest, "\1ACK %s\n", C);
	expect(&a.rest, "\1ready\n");
	expect(&a.rest, "0001");
	expect(&a.rest, "\1shallow-info\n");
	expect(&a.rest, "\1shallow %s", E);
	expect(&a.rest, "0001");
	expect(&a.rest, "\1wanted-refs\n");
	expect(&a.rest, "\1%s refs/heads/main\n", E);
	expect(&a.rest, "0001");
	expect(&a.rest, "\1packfile\n");
	unband(&data, &text, &a.rest, 65520);
	expect_end(&a);
	assert_memory_equal(data.ptr, "PACK", 4);

	/* Errors too, also those met while the request is read. */
	wr_buf_clear(&body);
	pkt(&body, "command=fetch");
	delim(&body);
	pkt(&body, "sideband-all");
	pkt(&body, "want-ref refs/heads/gone");
	pkt(&body, "done");
	flush(&body);
	expect_refused(2, &body, "\3unknown ref refs/heads/gone");
	wr_buf_clear(&body);
	pkt(&body, "command=fetch");
	delim(&body);
	pkt(&body, "sideband-all");
	pkt(&body, "nonsense");
	flush(&body);
	expect_refused(2, &body, "\3upload-pack: unexpected line 'nonsense'");
	wr_buf_clear(&body);
	pkt(&body, "command=fetch");
	delim(&body);
	pkt(&body, "sideband-all");
	pkt(&body, "want %s", X);
	pkt(&body, "done");
	flush(&body);
	ask_branch(&a, 2, &body, "main");
	expect(&a.rest, "\3upload-pack: not our ref %s", X);
	expect_end(&a);
}

/* ---- long work, and errors in the middle ---- */

static bool left(void *arg)
{
	return *(bool *)arg;
}

static void long_work_is_heard_of(void **state)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	WR_AUTO_S(wr_buf) out = WR_BUF_INIT(4096);
	bool gone = false;
	struct wr_cancel outer = {left, &gone};
	struct wr_upload_watch watch;
	struct wr_buf_sink sink;
	WR_AUTO_S(wr_pkt_writer) w;

	(void)state;
	wr_buf_sink_init(&sink, &out);
	wr_pkt_writer_init(&w, &sink.base, &err);
	wr_upload_watch_init(&watch, &outer, &w);
	/* Without bands there is no place for it. */
	watch.last_ms -= WR_SIDEBAND_ALIVE_MS;
	assert_false(watch.base.fn(watch.base.arg));
	assert_int_equal(out.len, 0);
	w.band = 1;
	wr_pkt_write(&w, WR_S("x"));
	watch.last_ms = wr_mono_ms() + 1000000;
	assert_false(watch.base.fn(watch.base.arg));
	assert_int_equal(out.len, 0);
	watch.last_ms -= 1000000 + WR_SIDEBAND_ALIVE_MS;
	assert_false(watch.base.fn(watch.base.arg));
	assert_true(wr_str_eqz(wr_buf_str(&out), "0006\1x0005\2"));
	gone = true;
	assert_true(watch.base.fn(watch.base.arg));
	/* A client to which nothing can be written has left, too. */
	gone = false;
	out.max = out.len;
	watch.last_ms -= 1000000;
	assert_true(watch.base.fn(watch.base.arg));
}

/* What fails once the answer has begun is told in it; before that it becomes an HTTP status. */
static void errors_in_the_middle(void **state)
{
	static const struct {
		char band;
		const char *words;
	} rows[] = {{0, "0006x\n0016ERR Internal error"}, {1, "0007\1x\n0013\3Internal error"}};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
		WR_AUTO_S(wr_buf) out = WR_BUF_INIT(4096);
		struct wr_upload up = {.told = false};
		struct wr_buf_sink sink;
		WR_AUTO_S(wr_pkt_writer) w;

		wr_buf_sink_init(&sink, &out);
		wr_pkt_writer_init(&w, &sink.base, &err);
		w.band = rows[i].band;
		assert_int_equal(wr_fail(&err, WR_E_INTERNAL, "secret"), WR_E_INTERNAL);
		wr_pkt_write(&w, WR_S("x\n"));
		assert_int_equal(wr_upload_tell(&up, &w, WR_OK), WR_OK);
		assert_int_equal(wr_upload_tell(&up, &w, WR_E_INTERNAL), WR_E_INTERNAL);
		assert_false(wr_upload_told(&up));
		assert_int_equal(out.len, 0);
		assert_int_equal(wr_pkt_writer_send(&w), WR_OK);
		assert_int_equal(wr_upload_tell(&up, &w, WR_E_CANCELLED), WR_E_CANCELLED);
		assert_false(wr_upload_told(&up));
		assert_int_equal(wr_upload_tell(&up, &w, WR_E_INTERNAL), WR_E_INTERNAL);
		assert_true(wr_upload_told(&up));
		assert_true(wr_str_eqz(wr_buf_str(&out), rows[i].words));
		assert_int_equal(err.code, WR_E_INTERNAL);
	}
}

/* ---- object-info ---- */

static void object_info(void **state)
{
	ANSWER;
	BODY;
	WR_AUTO_S(wr_buf) size = WR_BUF_INIT(100);

	(void)state;
	sh(&world, &size, "git -C work cat-file -s main");
	pkt(&body, "command=object-info");
	pkt(&body, "agent=x");
	delim(&body);
	pkt(&body, "size\n");
	pkt(&body, "oid %s\n", E);
	pkt(&body, "oid %s", X);
	pkt(&body, "oid %040d", 7);
	pkt(&body, "oid %s", BLOB);
	pkt(&body, "oid %s", E);
	flush(&body);
	ask(&a, 2, &body);
	expect(&a.rest, "size");
	expect(&a.rest, "%s %s", E, size.ptr);
	expect(&a.rest, "%s ", X);
	expect(&a.rest, "%040d ", 7);
	expect(&a.rest, "%s ", BLOB);
	expect(&a.rest, "%s %s", E, size.ptr);
	expect(&a.rest, "0000");
	expect_end(&a);

	/* Nothing asked of it; of nothing. */
	wr_buf_clear(&body);
	pkt(&body, "command=object-info");
	delim(&body);
	pkt(&body, "oid %s", E);
	flush(&body);
	ask(&a, 2, &body);
	expect(&a.rest, "%s", E);
	expect(&a.rest, "0000");
	expect_end(&a);
	wr_buf_clear(&body);
	pkt(&body, "command=object-info");
	delim(&body);
	pkt(&body, "size");
	flush(&body);
	ask(&a, 2, &body);
	expect(&a.rest, "0000");
	expect_end(&a);
}

/* ---- filters ---- */

static void v2_filter(void **state)
{
	WR_AUTO_S(wr_buf) data = WR_BUF_INIT(64u << 20), text = WR_BUF_INIT(1 << 20);
	ANSWER;
	BODY;

	(void)state;
	pkt(&body, "command=fetch");
	delim(&body);
	pkt(&body, "no-progress");
	pkt(&body, "want %s", E);
	pkt(&body, "filter blob:none\n");
	pkt(&body, "done");
	flush(&body);
	ask(&a, 2, &body);
	expect(&a.rest, "packfile\n");
	unband(&data, &text, &a.rest, 65520);
	expect_end(&a);
	assert_int_equal(pack_objects(wr_buf_str(&data)), git_counts("--filter=blob:none main"));
}

/* ---- nonsense ---- */

static void invalid_v2(void **state)
{
	static const struct {
		const char *lines[5];
		const char *words;
	} rows[] = {
		{{"agent=x", "F"}, "no command"},
		{{"D", "F"}, "no command"},
		{{"agent=x", "D", "F"}, "no command"},
		{{"command=fetch", "command=fetch", "F"}, "one command"},
		{{"command=fetch", "D", "D", "F"}, "end with a flush"},
		{{"command=fetch", "D", "done"}, "end with a flush"},
		{{"command=fetch"}, "end with a flush"},
		{{"command=fetch", "D", "want 1", "F"}, "40 hexadecimal"},
		{{"command=fetch", "D", "have 1", "F"}, "40 hexadecimal"},
		{{"command=fetch", "D", "shallow 1", "F"}, "40 hexadecimal"},
		{{"command=fetch", "D", "deepen 0", "F"}, "deepen"},
		{{"command=object-info", "D", "oid 1", "F"}, "40 hexadecimal"},
		{{"command=ls-refs", "F", "command=ls-refs", "F"}, "follows the end"},
		/* Not granted, but also not whole. */
		{{"command=push"}, "end with a flush"},
	};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		BODY;

		add_lines(&body, rows[i].lines, WR_ARRAY_LEN(rows[i].lines));
		expect_invalid(2, &body, rows[i].words);
	}
}

static void refused_v2(void **state)
{
	static const struct {
		const char *lines[6];
		const char *sentence; /* behind "upload-pack: " */
	} rows[] = {
		{{"command=push", "F"}, "this server does not announce the command 'push'"},
		{{"command=", "F"}, "this server does not announce the command ''"},
		{{"command=fetch", "session-id=x", "F"}, "this server does not announce the capability 'session-id'"},
		{{"command=fetch", "ls-refs", "F"}, "this server does not announce the capability 'ls-refs'"},
		{{"command=fetch", "agents=x", "F"}, "this server does not announce the capability 'agents'"},
		{{"object-format=sha256", "F"}, "repositories here have the object format sha1, not 'sha256'"},
		{{"object-format", "F"}, "repositories here have the object format sha1, not ''"},
		{{"command=fetch", "D", "packfile-uris https", "F"},
		 "this server does not announce packfile-uris and has none"},
		{{"command=fetch", "D", "filterblob", "F"}, "unexpected line 'filterblob'"},
		{{"command=fetch", "D", "hello\x1b", "F"}, "unexpected line 'hello?'"},
		{{"command=ls-refs", "D", "want x", "F"}, "unexpected line 'want x'"},
		{{"command=ls-refs", "D", "ref-prefix", "F"}, "unexpected line 'ref-prefix'"},
		{{"command=object-info", "D", "type", "F"}, "unexpected line 'type'"},
		{{"command=fetch", "D", "filter blob:none", "filter tree:0", "F"},
		 "a request may hold one filter; combine:<filter>+<filter> joins several"},
		{{"command=fetch", "D", "deepen 1", "deepen-since 7", "F"},
		 "deepen and deepen-since (or deepen-not) cannot be used together"},
	};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		char sentence[256];
		BODY;

		add_lines(&body, rows[i].lines, WR_ARRAY_LEN(rows[i].lines));
		snprintf(sentence, sizeof(sentence), "ERR upload-pack: %s", rows[i].sentence);
		expect_refused(2, &body, sentence);
	}
}

/* The filter's own words reach the user. */
static void refused_filter(void **state)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_filter filter;
	char sentence[300];
	BODY;

	(void)state;
	assert_int_equal(wr_filter_parse(&filter, WR_S("sparse:oid=main:x"), &err), WR_E_INVALID_REQUEST);
	pkt(&body, "command=fetch");
	delim(&body);
	pkt(&body, "want %s", E);
	pkt(&body, "filter sparse:oid=main:x");
	pkt(&body, "done");
	flush(&body);
	snprintf(sentence, sizeof(sentence), "ERR upload-pack: %s", wr_error_text(&err));
	expect_refused(2, &body, sentence);
}

/* Options for the server are taken and have no effect; they count as what comes before the wants. */
static void server_options(void **state)
{
	ANSWER;
	BODY;

	(void)state;
	pkt(&body, "command=ls-refs");
	pkt(&body, "server-option=hello");
	pkt(&body, "server-option=");
	pkt(&body, "server-option=%0500d", 1);
	delim(&body);
	pkt(&body, "ref-prefix HEAD");
	flush(&body);
	ask(&a, 2, &body);
	expect(&a.rest, "%s HEAD\n", E);
	expect(&a.rest, "0000");
	expect_end(&a);

	wr_buf_clear(&body);
	pkt(&body, "command=ls-refs");
	pkt(&body, "server-option=%0500d", 1);
	pkt(&body, "server-option=%0500d", 1);
	flush(&body);
	expect_refused(2, &body,
		       "ERR upload-pack: a request may hold 1000 bytes besides wants and haves; fetch less at once, or "
		       "let this server's operator raise git.max_preamble");
}

static void too_much_v2(void **state)
{
	static const struct {
		const char *command, *word, *key;
	} rows[] = {
		{"fetch", "want", "wants"},		{"fetch", "want-ref", "wants"},
		{"fetch", "have", "haves"},		{"fetch", "shallow", "depth_lines"},
		{"fetch", "deepen-not", "depth_lines"}, {"object-info", "oid", "wants"},
		{"fetch", "deepen-since", "preamble"},
	};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		char key[40];
		ANSWER;
		BODY;

		pkt(&body, "command=%s", rows[i].command);
		delim(&body);
		for (int n = 0; n < 101; n++)
			pkt(&body, "%s %015d%025d", rows[i].word, 0, n);
		flush(&body);
		ask_branch(&a, 2, &body, "main");
		assert_int_equal(a.code, WR_E_INVALID_REQUEST);
		assert_true(a.told);
		snprintf(key, sizeof(key), "raise git.max_%s", rows[i].key);
		assert_non_null(strstr(a.out.ptr, key));
		assert_memory_equal(a.out.ptr + 4, "ERR ", 4);
	}
	/* Both kinds of wants count together. */
	for (int last = 50; last <= 51; last++) {
		ANSWER;
		BODY;

		pkt(&body, "command=fetch");
		delim(&body);
		for (int n = 0; n < 50; n++)
			pkt(&body, "want %s", E);
		for (int n = 0; n < last; n++)
			pkt(&body, "want-ref refs/heads/main");
		pkt(&body, "done");
		flush(&body);
		ask_branch(&a, 2, &body, "main");
		assert_int_equal(a.code, last == 50 ? WR_OK : WR_E_INVALID_REQUEST);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ls_refs),
		cmocka_unit_test(ls_refs_prefixes),
		cmocka_unit_test(v2_clone),
		cmocka_unit_test(v2_negotiation),
		cmocka_unit_test(v2_wait_for_done),
		cmocka_unit_test(v2_depth),
		cmocka_unit_test(v2_since_and_not),
		cmocka_unit_test(want_refs),
		cmocka_unit_test(want_refs_while_negotiating),
		cmocka_unit_test(unknown_refs),
		cmocka_unit_test(sideband_all),
		cmocka_unit_test(long_work_is_heard_of),
		cmocka_unit_test(errors_in_the_middle),
		cmocka_unit_test(object_info),
		cmocka_unit_test(v2_filter),
		cmocka_unit_test(invalid_v2),
		cmocka_unit_test(refused_v2),
		cmocka_unit_test(refused_filter),
		cmocka_unit_test(server_options),
		cmocka_unit_test(too_much_v2),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
