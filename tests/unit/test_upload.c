/* smart-http/upload: fetches byte by byte, in every version; real git judges the packs. */
#include "tests/unit/smart.h"

#include "smart-http/upload.h"

/*
 * The history, from old to new, one commit every 1000 s:
 *
 *   A(1) - B(2) - C(3) - D(4) - E(5)   main        v1 = annotated tag of C
 *            \- S(6)                   side        v2 = annotated tag of v1
 *   X(7)                               not in any ref
 */
static struct world world;
static char A[41], B[41], C[41], D[41], E[41], S[41], X[41], V1[41], V2[41], BLOB[41];

static const struct wr_upload_limits limits = {100, 100, 100, 4};

struct answer {
	struct wr_buf out;
	struct wr_str rest;
	struct wr_error err;
	enum wr_code code;
	bool told;
};

#define ANSWER                                                                                                         \
	__attribute__((cleanup(answer_fini))) struct answer a = {.out = WR_BUF_INIT(64u << 20), .err = WR_ERROR_INIT}
#define BODY WR_AUTO_S(wr_buf) body = WR_BUF_INIT(1 << 20)

static void answer_fini(struct answer *a)
{
	wr_buf_fini(&a->out);
	wr_error_fini(&a->err);
}

static void ask_branch(struct answer *a, int version, const struct wr_buf *body, const char *branch)
{
	WR_AUTO(wr_upload) *up = NULL;
	struct wr_buf_sink sink;

	wr_buf_clear(&a->out);
	wr_buf_sink_init(&sink, &a->out);
	a->code = wr_upload_parse(&up, wr_buf_str(body), version, &limits, &a->err);
	if (a->code == WR_OK) {
		a->code = wr_upload_answer(up, world.snap, wr_str(branch), &sink.base, NULL, &a->err);
		a->told = wr_upload_told(up);
	}
	a->rest = wr_buf_str(&a->out);
}

/* An answer without an error. */
static void ask(struct answer *a, int version, const struct wr_buf *body)
{
	ask_branch(a, version, body, "main");
	if (a->code != WR_OK)
		fail_msg("%s: %s", wr_error_text(&a->err), a->err.detail);
}

static void expect_end(const struct answer *a)
{
	if (a->rest.len)
		fail_msg("%zu bytes too many: %.*s", a->rest.len, (int)(a->rest.len < 80 ? a->rest.len : 80),
			 a->rest.ptr);
}

/* What side-bands hold up to their flush. */
static void unband(struct wr_buf *data, struct wr_buf *text, struct wr_str *rest, size_t max)
{
	for (;;) {
		struct wr_pkt p;

		assert_int_equal(wr_pkt_next(&p, rest, NULL), WR_OK);
		if (p.kind == WR_PKT_FLUSH)
			return;
		assert_int_equal(p.kind, WR_PKT_LINE);
		assert_true(p.data.len >= 1 && p.data.len + 4 <= max);
		assert_true(p.data.ptr[0] == 1 || p.data.ptr[0] == 2);
		wr_buf_adds(p.data.ptr[0] == 1 ? data : text, wr_str_skip(p.data, 1));
	}
}

/*
 * Gives the pack to a repository that has has (revisions of work/, in words for git fetch, or "") and tells how many
 * objects it has then; whether all of want is whole there is for fsck to say.
 */
static unsigned judge(struct wr_str pack, const char *has, const char *want, const char *shallow)
{
	WR_AUTO_S(wr_buf) out = WR_BUF_INIT(4096);
	char path[128];
	FILE *f;

	sh(&world, NULL, "rm -rf judge; git init -q --bare judge");
	if (has[0])
		sh(&world, NULL, "git -C judge fetch -q --no-tags ../work %s", has);
	if (shallow[0])
		sh(&world, NULL, "printf '%%s\\n' %s >judge/shallow", shallow);
	snprintf(path, sizeof(path), "%s/judge/in.pack", world.dir);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(pack.ptr, 1, pack.len, f), pack.len);
	assert_int_equal(fclose(f), 0);
	sh(&world, &out,
	   "cd judge; git index-pack --stdin --fix-thin <in.pack >/dev/null; rm in.pack; "
	   "for w in %s; do git update-ref refs/tags/$w $w; done; "
	   "git fsck --full --strict 2>&1 | grep -Ev '^(dangling|notice)' || true; "
	   "git rev-list --objects --all >/dev/null || echo broken",
	   want);
	if (out.len)
		fail_msg("fsck: %s", out.ptr);
	sh(&world, &out, "git -C judge cat-file --batch-all-objects --batch-check | wc -l");
	return (unsigned)strtoul(out.ptr, NULL, 10);
}

static unsigned pack_objects(struct wr_str pack)
{
	const uint8_t *p = (const uint8_t *)pack.ptr;

	assert_true(pack.len >= 32);
	assert_memory_equal(p, "PACK\0\0\0\2", 8);
	return (unsigned)p[8] << 24 | (unsigned)p[9] << 16 | (unsigned)p[10] << 8 | p[11];
}

/* The number of objects that git itself would send: revs are arguments of rev-list. */
static unsigned git_counts(const char *revs)
{
	WR_AUTO_S(wr_buf) out = WR_BUF_INIT(4096);

	sh(&world, &out, "git -C work rev-list --objects %s | wc -l", revs);
	return (unsigned)strtoul(out.ptr, NULL, 10);
}

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
	flush(&body);
	pkt(&body, "have %s\n", A);
	pkt(&body, "done\n");
	ask(&a, 0, &body);
	expect(&a.rest, "ACK %s continue\n", C);
	expect(&a.rest, "ACK %040d continue\n", 7);
	expect(&a.rest, "NAK\n");
	expect(&a.rest, "ACK %s continue\n", A);
	expect(&a.rest, "ACK %s\n", A);
	assert_int_equal(judge(a.rest, "v1", E, ""), git_counts("main v1"));
}

/* A client from before multi_ack: one ACK for the first that is common, and silence from then on. */
static void v0_one_ack(void **state)
{
	ANSWER;
	BODY;

	(void)state;
	pkt(&body, "want %s\n", E);
	flush(&body);
	pkt(&body, "have %040d\n", 7);
	flush(&body);
	pkt(&body, "have %s\n", D);
	pkt(&body, "have %s\n", C);
	flush(&body);
	pkt(&body, "done");
	ask(&a, 0, &body);
	expect(&a.rest, "NAK\n");
	expect(&a.rest, "ACK %s\n", D);
	assert_int_equal(pack_objects(a.rest), git_counts("main ^main~1"));
	assert_int_equal(judge(a.rest, D, E, ""), git_counts("main"));
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
	expect(&a.rest, "ERR upload-pack: no commits selected for shallow requests");
	fetch_main(&a, (const char *const[]){"deepen-not nothing", NULL});
	assert_true(a.told);
	expect(&a.rest, "ERR upload-pack: deepen-not names no ref, or several");
}

/* ---- nonsense ---- */

static void expect_invalid(int version, const struct wr_buf *body, const char *words)
{
	ANSWER;

	ask_branch(&a, version, body, "main");
	assert_int_equal(a.code, WR_E_INVALID_REQUEST);
	if (!strstr(wr_error_text(&a.err), words))
		fail_msg("\"%s\" is not in \"%s\"", words, wr_error_text(&a.err));
	assert_int_equal(a.out.len, 0);
	assert_false(a.told);
}

static void invalid_v0(void **state)
{
	static const struct {
		const char *lines[4]; /* "F" a flush, "D" a delimiter */
		const char *words;
	} rows[] = {
		{{"want 12", "F"}, "40 hexadecimal"},
		{{"want 95dcfa3633004da0049d3d0fa03f80589cbcaf31x", "F"}, "40 hexadecimal"},
		{{"want 95dcfa3633004da0049d3d0fa03f80589cbcaf31"}, "flush"},
		{{"want 95dcfa3633004da0049d3d0fa03f80589cbcaf31", "D"}, "flush"},
		{{"want 95dcfa3633004da0049d3d0fa03f80589cbcaf31 object-format=sha256", "F"}, "sha1"},
		{{"want 95dcfa3633004da0049d3d0fa03f80589cbcaf31", "filter blob:none", "F"}, "filter"},
		{{"want 95dcfa3633004da0049d3d0fa03f80589cbcaf31", "deepen x", "F"}, "deepen"},
		{{"want 95dcfa3633004da0049d3d0fa03f80589cbcaf31", "deepen 1", "deepen-since 5", "F"}, "deepen"},
		{{"want 95dcfa3633004da0049d3d0fa03f80589cbcaf31", "F", "have x", "F"}, "40 hexadecimal"},
		{{"want 95dcfa3633004da0049d3d0fa03f80589cbcaf31", "F", "want x", "F"}, "want x"},
		{{"want 95dcfa3633004da0049d3d0fa03f80589cbcaf31", "F",
		  "have 95dcfa3633004da0049d3d0fa03f80589cbcaf31"},
		 "neither"},
		{{"deepen 1", "F"}, "at least one want"},
		{{"hello", "F"}, "hello"},
	};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		BODY;

		for (size_t k = 0; k < 4 && rows[i].lines[k]; k++) {
			if (strcmp(rows[i].lines[k], "F") == 0)
				flush(&body);
			else if (strcmp(rows[i].lines[k], "D") == 0)
				delim(&body);
			else
				pkt(&body, "%s", rows[i].lines[k]);
		}
		expect_invalid(0, &body, rows[i].words);
	}
}

static void invalid_v2(void **state)
{
	static const struct {
		const char *head, *arg, *words;
	} rows[] = {
		{"command=push", NULL, "push"},
		{"agent=x", NULL, "no command"},
		{"command=fetch", "filter blob:none", "'filter'"},
		{"command=fetch", "want-ref refs/heads/main", "'want-ref'"},
		{"command=fetch", "sideband-all", "'sideband-all'"},
		{"command=fetch", "packfile-uris https", "'packfile-uris'"},
		{"command=fetch", "filterblob", "Unexpected"},
		{"command=fetch", "hello", "hello"},
		{"command=fetch", "want 1", "40 hexadecimal"},
		{"command=ls-refs", "want x", "want x"},
		{"object-format=sha256", NULL, "sha1"},
	};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		BODY;

		pkt(&body, "%s", rows[i].head);
		if (rows[i].arg) {
			delim(&body);
			pkt(&body, "%s", rows[i].arg);
		}
		flush(&body);
		expect_invalid(2, &body, rows[i].words);
	}
}

static void too_much(void **state)
{
	static const char *const words[] = {"want", "have", "shallow"};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(words); i++) {
		BODY;

		pkt(&body, "command=fetch");
		delim(&body);
		for (int n = 0; n < 101; n++)
			pkt(&body, "%s %040d", words[i], n);
		flush(&body);
		expect_invalid(2, &body, "may hold 100");
	}
}

static int begin(void **state)
{
	(void)state;
	world_init(&world);
	commit(&world, "A", 1);
	commit(&world, "B", 2);
	sh(&world, NULL, "git -C work checkout -q -b side");
	commit(&world, "S", 6);
	sh(&world, NULL, "git -C work checkout -q main");
	commit(&world, "C", 3);
	sh(&world, NULL, "cd work; git tag -a -m one v1; git -c advice.nestedTag=false tag -a -m two v2 v1");
	commit(&world, "D", 4);
	commit(&world, "E", 5);
	sh(&world, NULL, "git -C work checkout -q -b gone");
	commit(&world, "X", 7);
	fill(&world);
	/* What a forced push or a deletion takes away stays in the store for a while, and must not be given out. */
	{
		struct wr_ref_update gone = {.name = WR_S("refs/heads/gone"), .any_old = true};
		struct wr_change change = {.updates = &gone, .count = 1};

		assert_int_equal(wr_git_append(world.repo, &change, NULL), WR_OK);
		assert_int_equal(gone.result, WR_OK);
		snap_renew(&world);
	}
#define OID(name, what) memcpy(name, rev(&world, what), sizeof(name))
	OID(A, "main~4");
	OID(B, "main~3");
	OID(C, "main~2");
	OID(D, "main~1");
	OID(E, "main");
	OID(S, "side");
	OID(X, "gone");
	OID(V1, "v1");
	OID(V2, "v2");
	OID(BLOB, "gone:log");
#undef OID
	sh(&world, NULL, "cd work; git checkout -q main; git branch -q -D gone");
	return 0;
}

static int end(void **state)
{
	(void)state;
	world_fini(&world);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(v0_clone_bare),    cmocka_unit_test(v0_clone_bands), cmocka_unit_test(v0_detailed),
		cmocka_unit_test(v0_no_done),	    cmocka_unit_test(v0_multi_ack),   cmocka_unit_test(v0_one_ack),
		cmocka_unit_test(v0_depth),	    cmocka_unit_test(v0_nothing),     cmocka_unit_test(nothing_new),
		cmocka_unit_test(not_ours),	    cmocka_unit_test(reachable_commit), cmocka_unit_test(ls_refs),
		cmocka_unit_test(ls_refs_prefixes), cmocka_unit_test(v2_clone),	      cmocka_unit_test(v2_negotiation),
		cmocka_unit_test(v2_wait_for_done), cmocka_unit_test(v2_depth),	      cmocka_unit_test(v2_since_and_not),
		cmocka_unit_test(invalid_v0),	    cmocka_unit_test(invalid_v2),     cmocka_unit_test(too_much),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
