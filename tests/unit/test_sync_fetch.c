/* sync/advert, answer, words: other servers' answers from memory. Over the network: tests/protocol/elsewhere.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sync/advert.h"
#include "sync/answer.h"

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C "cccccccccccccccccccccccccccccccccccccccc"
#define ZERO "0000000000000000000000000000000000000000"
/* In place of a line in the lists below. */
#define FLUSH "\001flush"
#define DELIM "\001delim"

static void add(struct wr_buf *b, const char *data, size_t len)
{
	char head[4];

	wr_pkt_header(head, len);
	wr_buf_add(b, head, 4);
	wr_buf_add(b, data, len);
}

/* Packets of these texts; '|' stands for the NUL in front of version 0's capabilities. */
static void packets(struct wr_buf *b, const char *const *lines)
{
	for (; *lines; lines++) {
		size_t at = b->len + 4;
		char *bar;

		if (strcmp(*lines, FLUSH) == 0 || strcmp(*lines, DELIM) == 0) {
			wr_buf_addz(b, (*lines)[1] == 'f' ? "0000" : "0001");
			continue;
		}
		add(b, *lines, strlen(*lines));
		bar = memchr(b->ptr + at, '|', b->len - at);
		if (bar)
			*bar = '\0';
	}
	assert_true(wr_buf_ok(b));
}

static enum wr_code read_advert(struct wr_advert *a, struct wr_error *err, bool refs, const char *const *lines)
{
	WR_AUTO_S(wr_buf) b = WR_BUF_INIT(1 << 20);
	WR_AUTO(wr_pkt_reader) *r = NULL;
	struct wr_mem_source src;

	packets(&b, lines);
	wr_mem_source_init(&src, wr_buf_str(&b));
	assert_int_equal(wr_pkt_reader_new(&r, &src.base, NULL), WR_OK);
	return refs ? wr_advert_read_refs(a, r, err) : wr_advert_read(a, r, err);
}
#define LINES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void assert_hex(const struct wr_oid *oid, const char *wanted)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	assert_string_equal(hex, wanted);
}

static void assert_str(struct wr_str got, const char *wanted)
{
	if (!wr_str_eqz(got, wanted))
		fail_msg("%.*s is not %s", (int)got.len, got.ptr, wanted);
}

static void version_2(void **state)
{
	WR_AUTO_S(wr_advert) a = {0};

	(void)state;
	wr_advert_init(&a);
	assert_int_equal(read_advert(&a, NULL, false,
				     LINES("# service=git-upload-pack\n", FLUSH, "version 2\n", "agent=x\n",
					   "ls-refs=unborn\n", "fetch=filter shallow wait-for-done\n",
					   "server-option\n", "object-format=sha1\n", FLUSH)),
			 WR_OK);
	assert_int_equal(a.version, 2);
	assert_true(a.shallow && a.unborn && a.names_format && a.side_band);
	assert_int_equal(
		read_advert(&a, NULL, true,
			    LINES(B " HEAD symref-target:refs/heads/main\n", B " refs/heads/main\n",
				  A " refs/heads/a\n", C " refs/tags/v1 peeled:" A "\n", A " refs/pull/1/head\n",
				  A " refs/heads/bad..name\n", A " refs/tags/new-attribute something:new\n", FLUSH)),
		WR_OK);
	assert_int_equal(a.count, 4);
	assert_str(a.refs[0].name, "refs/heads/a");
	assert_str(a.refs[1].name, "refs/heads/main");
	assert_hex(&a.refs[1].oid, B);
	assert_str(a.refs[3].name, "refs/tags/v1");
	assert_hex(&a.refs[3].peeled, A);
	assert_hex(&a.refs[1].peeled, ZERO);
	assert_str(wr_buf_str(&a.head), "refs/heads/main");
	assert_hex(&a.head_oid, B);
}

static void version_2_heads(void **state)
{
	WR_AUTO_S(wr_advert) unborn = {0}, detached = {0}, odd = {0};

	(void)state;
	wr_advert_init(&unborn);
	assert_int_equal(read_advert(&unborn, NULL, true, LINES("unborn HEAD symref-target:refs/heads/later\n", FLUSH)),
			 WR_OK);
	assert_str(wr_buf_str(&unborn.head), "refs/heads/later");
	assert_true(wr_oid_zero(&unborn.head_oid) && unborn.count == 0);
	wr_advert_init(&detached);
	assert_int_equal(read_advert(&detached, NULL, true, LINES(A " HEAD\n", FLUSH)), WR_OK);
	assert_true(detached.head.len == 0 && !wr_oid_zero(&detached.head_oid));
	/* A HEAD that leads to what is no branch, or to no name at all. */
	wr_advert_init(&odd);
	assert_int_equal(read_advert(&odd, NULL, true, LINES(A " HEAD symref-target:refs/tags/x\n", FLUSH)), WR_OK);
	assert_int_equal(odd.head.len, 0);
	assert_int_equal(read_advert(&odd, NULL, true, LINES(A " HEAD symref-target:refs/heads/../x\n", FLUSH)), WR_OK);
	assert_int_equal(odd.head.len, 0);
}

static void version_0(void **state)
{
	WR_AUTO_S(wr_advert) a = {0};

	(void)state;
	wr_advert_init(&a);
	assert_int_equal(
		read_advert(&a, NULL, false,
			    LINES("# service=git-upload-pack\n", FLUSH,
				  B " HEAD|multi_ack_detailed side-band-64k ofs-delta shallow no-progress "
				    "symref=HEAD:refs/heads/x agent=y\n",
				  A " refs/heads/a\n", B " refs/heads/x\n", C " refs/tags/v1\n", A " refs/tags/v1^{}\n",
				  C " refs/tags/bad..\n", A " refs/tags/bad..^{}\n", "shallow " C "\n", FLUSH)),
		WR_OK);
	assert_int_equal(a.version, 0);
	assert_true(a.shallow && a.side_band && a.ofs_delta && a.no_progress && a.multi_ack);
	assert_int_equal(a.count, 3);
	assert_hex(&a.refs[2].oid, C);
	assert_hex(&a.refs[2].peeled, A);
	assert_str(wr_buf_str(&a.head), "refs/heads/x");
	assert_int_equal(a.roots.len, 1);
	assert_hex(&a.roots.v[0], C);
}

/* The branch of HEAD where a server does not tell: main, master, then the first with its id. */
static void guessed_heads(void **state)
{
	WR_AUTO_S(wr_advert) main = {0}, master = {0}, first = {0}, none = {0}, empty = {0};

	(void)state;
	wr_advert_init(&main);
	wr_advert_init(&master);
	wr_advert_init(&first);
	wr_advert_init(&none);
	wr_advert_init(&empty);
	assert_int_equal(read_advert(&main, NULL, false,
				     LINES(A " HEAD|ofs-delta\n", A " refs/heads/a\n", A " refs/heads/main\n",
					   A " refs/heads/master\n", FLUSH)),
			 WR_OK);
	assert_str(wr_buf_str(&main.head), "refs/heads/main");
	assert_int_equal(
		read_advert(&master, NULL, false,
			    LINES("version 1\n", A " HEAD|ofs-delta\n", A " refs/heads/a\n", B " refs/heads/main\n",
				  A " refs/heads/master\n", A " refs/heads/z\n", FLUSH)),
		WR_OK);
	assert_str(wr_buf_str(&master.head), "refs/heads/master");
	assert_int_equal(
		read_advert(&first, NULL, false,
			    LINES(A " HEAD|\n", A " refs/heads/b\n", A " refs/heads/c\n", A " refs/tags/a\n", FLUSH)),
		WR_OK);
	assert_str(wr_buf_str(&first.head), "refs/heads/b");
	assert_int_equal(read_advert(&none, NULL, false, LINES(C " HEAD|\n", A " refs/heads/b\n", FLUSH)), WR_OK);
	assert_int_equal(none.head.len, 0);
	assert_int_equal(read_advert(&empty, NULL, false, LINES(ZERO " capabilities^{}|side-band-64k\n", FLUSH)),
			 WR_OK);
	assert_true(empty.head.len == 0 && empty.count == 0 && empty.side_band);
}

static void nonsense_is_refused(void **state)
{
	static const char *const bad[][6] = {
		{NULL},
		{"# service=git-upload-pack\n"},
		{"# service=git-upload-pack\n", "version 2\n", FLUSH},
		{"# service=git-receive-pack\n", FLUSH, "version 2\n", "fetch\n", FLUSH},
		{"version 2\n", "fetch\n"},
		{"version 2\n", "ls-refs\n", FLUSH},
		{"version 2\n", "fetch\n", DELIM, FLUSH},
		{"version 2\n", "fetch\n", "object-format=sha256\n", FLUSH},
		{"version 3\n", FLUSH},
		{A "\n", FLUSH, NULL},
		{"x refs/heads/a|\n", FLUSH},
		{A "a refs/heads/a|\n", FLUSH},
		{A " refs/heads/a|object-format=sha256\n", FLUSH},
		{A " refs/heads/a|\n", A " refs/heads/b\n", A " refs/heads/a\n", FLUSH},
		{A " refs/heads/a|\n", "shallow x\n", FLUSH},
		{A " refs/heads/a|\n", "shallow\n", FLUSH},
		{A " refs/heads/a|\n", "ERR gone\n", FLUSH},
	};
	static const char *const bad_refs[][4] = {
		{NULL},
		{A " refs/heads/a\n"},
		{"refs/heads/a\n", FLUSH},
		{A " refs/heads/a peeled:x\n", FLUSH},
		{A " refs/heads/a\n", A " refs/heads/a\n", FLUSH},
		{A " refs/heads/a\n", DELIM, FLUSH},
		{"ERR no\n", FLUSH},
	};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(bad) + WR_ARRAY_LEN(bad_refs); i++) {
		bool refs = i >= WR_ARRAY_LEN(bad);
		WR_AUTO_S(wr_advert) a = {0};
		WR_AUTO_S(wr_error) err = WR_ERROR_INIT;

		wr_advert_init(&a);
		/* The line of an id alone is one without a name, which is left out. */
		if (!refs && bad[i][0] && strcmp(bad[i][0], A "\n") == 0)
			assert_int_equal(read_advert(&a, &err, false, bad[i]), WR_OK);
		else if (read_advert(&a, &err, refs, refs ? bad_refs[i - WR_ARRAY_LEN(bad)] : bad[i]) !=
			 WR_E_INVALID_REQUEST)
			fail_msg("row %zu was taken: %s", i, wr_error_text(&err));
	}
}

static void too_many_refs(void **state)
{
	WR_AUTO_S(wr_advert) a = {0};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;

	(void)state;
	wr_advert_init(&a);
	a.seen = WR_REMOTE_REFS_MAX - 1;
	assert_int_equal(read_advert(&a, &err, true, LINES(A " refs/heads/a\n", FLUSH)), WR_OK);
	assert_int_equal(read_advert(&a, &err, true, LINES(A " refs/pull/b\n", FLUSH)), WR_E_TOO_LARGE);
	a.roots.len = WR_REMOTE_REFS_MAX;
	assert_int_equal(wr_remote_root(&a.roots, WR_S(A), &err), WR_E_TOO_LARGE);
	a.roots.len = 0;
}

static void said(void **state)
{
	char many[4096];
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;

	(void)state;
	assert_int_equal(wr_remote_said(WR_S("the disk is full\n"), &err), WR_E_INVALID_REQUEST);
	assert_string_equal(err.text, "The other server says: the disk is full");
	assert_int_equal(wr_remote_said(WR_S("a\0b\033[1m\r\n\xff\xc3\xa4"), &err), WR_E_INVALID_REQUEST);
	assert_string_equal(err.text, "The other server says: a b [1m");
	assert_int_equal(wr_remote_said(WR_S("\n"), &err), WR_E_INVALID_REQUEST);
	assert_string_equal(err.text, "The other server says: nothing of use");
	memset(many, 'x', sizeof many);
	assert_int_equal(wr_remote_said(wr_str_n(many, sizeof many), &err), WR_E_INVALID_REQUEST);
	assert_true(strlen(err.text) < 240);
	assert_int_equal(wr_remote_said(WR_S("Repository not found."), &err), WR_E_SOURCE_NOT_FOUND);
	assert_int_equal(wr_remote_said(WR_S("access denied or repository not exported: /x"), &err),
			 WR_E_SOURCE_NOT_FOUND);
	assert_int_equal(wr_remote_said(WR_S("upload-pack: not our ref " A "\n"), &err), WR_E_INVALID_REVISION);
	assert_string_equal(json_string_value(json_object_get(err.fields, "revision")), A);
	assert_int_equal(wr_remote_said(WR_S("upload-pack: not our ref ../x"), &err), WR_E_INVALID_REQUEST);
	assert_null(json_object_get(err.fields, "revision"));
	assert_int_equal(wr_remote_said(WR_S("upload-pack: not our ref " A), NULL), WR_E_INVALID_REVISION);
}

/* Everything up to the end, into text; what the last read said. */
static enum wr_code read_answer(char text[64], struct wr_oids *shallow, unsigned version, bool deepened,
				struct wr_error *err, const char *const *lines)
{
	WR_AUTO_S(wr_buf) b = WR_BUF_INIT(1 << 20);
	WR_AUTO_S(wr_answer) a = {.reader = NULL};
	struct wr_mem_source src;
	enum wr_code code;
	size_t len = 0, got = 1;

	packets(&b, lines);
	wr_mem_source_init(&src, wr_buf_str(&b));
	assert_int_equal(wr_answer_init(&a, &src.base, NULL), WR_OK);
	code = wr_answer_begin(&a, shallow, version, deepened, err);
	/* Less at once than a packet holds. */
	while (code == WR_OK && got && len < 60) {
		code = wr_source_read(&a.base, text + len, 3, &got, err);
		len += code == WR_OK ? got : 0;
	}
	text[len] = '\0';
	if (code == WR_OK) {
		assert_int_equal(wr_source_read(&a.base, text + len, 3, &got, NULL), WR_OK);
		assert_int_equal(got, 0);
	} else if (a.failed != WR_OK) {
		assert_int_equal(wr_source_read(&a.base, text + len, 3, &got, NULL), code);
	}
	return code;
}

static void answers(void **state)
{
	WR_AUTO_S(wr_oids) shallow = {0};
	char text[64];

	(void)state;
	assert_int_equal(read_answer(text, &shallow, 2, false, NULL,
				     LINES("packfile\n", "\2counting\n", "\1PACK", "\2", "\1", "\1more", "\1!", FLUSH,
					   "trailing")),
			 WR_OK);
	assert_string_equal(text, "PACKmore!");
	assert_int_equal(shallow.len, 0);
	assert_int_equal(read_answer(text, &shallow, 2, true, NULL,
				     LINES("shallow-info\n", "shallow " A "\n", "shallow " B "\n", DELIM, "packfile\n",
					   "\1P", FLUSH)),
			 WR_OK);
	assert_int_equal(shallow.len, 2);
	assert_hex(&shallow.v[1], B);
	assert_int_equal(read_answer(text, &shallow, 0, false, NULL, LINES("NAK\n", "\1PACK", FLUSH)), WR_OK);
	assert_string_equal(text, "PACK");
	assert_int_equal(
		read_answer(text, &shallow, 0, true, NULL, LINES("shallow " C "\n", FLUSH, "NAK\n", "\1P", FLUSH)),
		WR_OK);
	assert_int_equal(shallow.len, 3);
	assert_hex(&shallow.v[2], C);
	assert_int_equal(read_answer(text, &shallow, 0, true, NULL, LINES(FLUSH, "NAK\n", "\1P", FLUSH)), WR_OK);
}

static void broken_answers(void **state)
{
	static const struct {
		unsigned version;
		bool deepened;
		const char *says;
		const char *lines[6];
	} rows[] = {
		{2, false, "breaks off", {NULL}},
		{2, false, "breaks off", {"packfile\n"}},
		{2, false, "breaks off", {"packfile\n", "\1PACK"}},
		{2, false, "no pack", {FLUSH}},
		{2, false, "no pack", {"acknowledgments\n", "NAK\n", FLUSH}},
		{2, false, "no pack", {"wanted-refs\n", DELIM}},
		{2, true, "breaks off", {"shallow-info\n", "shallow " A "\n"}},
		{2, true, "no shallow", {"shallow-info\n", "unshallow " A "\n", DELIM, "packfile\n", FLUSH}},
		{2, true, "no shallow", {"shallow-info\n", FLUSH, "packfile\n", FLUSH}},
		{2, true, "without an id", {"shallow-info\n", "shallow x\n", DELIM, "packfile\n", FLUSH}},
		{2, false, "gone", {"packfile\n", "\1PACK", "\3fatal: gone\n", FLUSH}},
		{2, false, "gone", {"ERR gone\n"}},
		{2, false, "without a band", {"packfile\n", "\4x", FLUSH}},
		{2, false, "without a band", {"packfile\n", "PACK", FLUSH}},
		{2, false, "without a band", {"packfile\n", "", FLUSH}},
		{2, false, "without a band", {"packfile\n", "\1P", DELIM, FLUSH}},
		{0, false, "no NAK", {"ACK " A "\n", "\1PACK", FLUSH}},
		{0, false, "no NAK", {"shallow " A "\n", FLUSH, "NAK\n", FLUSH}},
		{0, false, "no NAK", {FLUSH, "NAK\n", FLUSH}},
		{0, true, "no shallow", {"NAK\n", "\1P", FLUSH}},
		{0, false, "breaks off", {"NAK\n", "\1P"}},
		{0, false, "no", {"ERR no\n"}},
	};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		WR_AUTO_S(wr_oids) shallow = {0};
		WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
		char text[64];

		if (read_answer(text, &shallow, rows[i].version, rows[i].deepened, &err, rows[i].lines) !=
		    WR_E_INVALID_REQUEST)
			fail_msg("row %zu was taken", i);
		if (!strstr(err.text, rows[i].says))
			fail_msg("row %zu: %s", i, err.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(version_2),
		cmocka_unit_test(version_2_heads),
		cmocka_unit_test(version_0),
		cmocka_unit_test(guessed_heads),
		cmocka_unit_test(nonsense_is_refused),
		cmocka_unit_test(too_many_refs),
		cmocka_unit_test(said),
		cmocka_unit_test(answers),
		cmocka_unit_test(broken_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
