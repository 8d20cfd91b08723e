/*
 * tests/unit/upload_fixture.h: a small history, requests by hand, and what their answers hold.
 */
#ifndef WR_TESTS_UPLOAD_FIXTURE_H
#define WR_TESTS_UPLOAD_FIXTURE_H

#include "smart-http/upload.h"
#include "tests/unit/smart.h"

/*
 * The history, from old to new, one commit every 1000 s:
 *
 *   A(1) - B(2) - C(3) - D(4) - E(5)   main        v1 = annotated tag of C
 *            \- S(6)                   side        v2 = annotated tag of v1
 *   X(7)                               not in any ref
 */
static struct world world;
__attribute__((unused)) static char A[41], B[41], C[41], D[41], E[41], S[41], X[41], V1[41], V2[41], BLOB[41];

static const struct wr_upload_limits limits = {
	.max_wants = 100, .max_haves = 100, .max_prefixes = 5, .max_depth_lines = 100, .max_preamble = 1000};

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

static inline void answer_fini(struct answer *a)
{
	wr_buf_fini(&a->out);
	wr_error_fini(&a->err);
}

static inline void ask_branch(struct answer *a, int version, const struct wr_buf *body, const char *branch)
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
static inline void ask(struct answer *a, int version, const struct wr_buf *body)
{
	ask_branch(a, version, body, "main");
	if (a->code != WR_OK)
		fail_msg("%s: %s", wr_error_text(&a->err), a->err.detail);
}

static inline void expect_end(const struct answer *a)
{
	if (a->rest.len)
		fail_msg("%zu bytes too many: %.*s", a->rest.len, (int)(a->rest.len < 80 ? a->rest.len : 80),
			 a->rest.ptr);
}

/* What side-bands hold up to their flush. */
static inline void unband(struct wr_buf *data, struct wr_buf *text, struct wr_str *rest, size_t max)
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
static inline unsigned judge(struct wr_str pack, const char *has, const char *want, const char *shallow)
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

static inline unsigned pack_objects(struct wr_str pack)
{
	const uint8_t *p = (const uint8_t *)pack.ptr;

	assert_true(pack.len >= 32);
	assert_memory_equal(p, "PACK\0\0\0\2", 8);
	return (unsigned)p[8] << 24 | (unsigned)p[9] << 16 | (unsigned)p[10] << 8 | p[11];
}

/* The number of objects that git itself would send: revs are arguments of rev-list. */
static inline unsigned git_counts(const char *revs)
{
	WR_AUTO_S(wr_buf) out = WR_BUF_INIT(4096);

	sh(&world, &out, "git -C work rev-list --objects %s | wc -l", revs);
	return (unsigned)strtoul(out.ptr, NULL, 10);
}

/* The request is malformed: a sentence before any answer. */
static inline void expect_invalid(int version, const struct wr_buf *body, const char *words)
{
	ANSWER;

	ask_branch(&a, version, body, "main");
	assert_int_equal(a.code, WR_E_INVALID_REQUEST);
	if (!strstr(wr_error_text(&a.err), words))
		fail_msg("\"%s\" is not in \"%s\"", words, wr_error_text(&a.err));
	assert_int_equal(a.out.len, 0);
	assert_false(a.told);
}

/* The request is not granted: the answer is one packet with this sentence. */
static inline void expect_refused(int version, const struct wr_buf *body, const char *sentence)
{
	ANSWER;

	ask_branch(&a, version, body, "main");
	assert_int_equal(a.code, WR_E_INVALID_REQUEST);
	assert_true(a.told);
	expect(&a.rest, "%s", sentence);
	expect_end(&a);
}

/* Lines of a request; "F" is a flush, "D" a delimiter. */
static inline void add_lines(struct wr_buf *body, const char *const *lines, size_t max)
{
	for (size_t i = 0; i < max && lines[i]; i++) {
		if (strcmp(lines[i], "F") == 0)
			flush(body);
		else if (strcmp(lines[i], "D") == 0)
			delim(body);
		else
			pkt(body, "%s", lines[i]);
	}
}

static inline int begin(void **state)
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

static inline int end(void **state)
{
	(void)state;
	world_fini(&world);
	return 0;
}

#endif
