/* smart-http/receive: pushes byte by byte, into a real store. */
#include "tests/unit/smart.h"

#include <pthread.h>
#include <semaphore.h>
#include <time.h>

#include "core/base/gate.h"
#include "core/git/events.h"
#include "smart-http/receive_internal.h"

#define ZERO "0000000000000000000000000000000000000000"
#define CAPS "report-status side-band-64k object-format=sha1 agent=git/2.39.5"

static struct world world;

/* A body in pieces, which may break off. */
struct body {
	struct wr_source base;
	struct wr_str rest;
	size_t step, read;
	enum wr_code fails;
	bool began;		/* the answer has begun */
	struct wr_buf answer;
};

static enum wr_code body_read(struct wr_source *base, void *buf, size_t cap, size_t *got, struct wr_error *err)
{
	struct body *b = (struct body *)base;
	size_t n = b->rest.len < b->step ? b->rest.len : b->step;

	assert_false(b->began && b->rest.len); /* nothing is answered while the client still sends */
	if (n == 0 && b->fails != WR_OK)
		return wr_fail(err, b->fails, "the client left");
	if (n > cap)
		n = cap;
	if (n)
		memcpy(buf, b->rest.ptr, n);
	b->rest = wr_str_skip(b->rest, n);
	b->read += n;
	*got = n;
	return WR_OK;
}

struct answer {
	struct wr_sink base;
	struct body *body;
};

static enum wr_code answer_write(struct wr_sink *base, const void *data, size_t len, struct wr_error *err)
{
	struct body *b = ((struct answer *)base)->body;

	(void)err;
	assert_int_equal(b->rest.len, 0);
	b->began = true;
	wr_buf_add(&b->answer, data, len);
	return WR_OK;
}

/* What a push did. */
struct done {
	enum wr_code code;
	struct wr_receive_result result;
	struct wr_error err;
	struct body body;
	struct wr_buf report; /* band 1 where there are bands */
	struct wr_buf people; /* band 2 */
};

static void done_fini(struct done *d)
{
	wr_error_fini(&d->err);
	wr_buf_fini(&d->body.answer);
	wr_buf_fini(&d->report);
	wr_buf_fini(&d->people);
}

static void unband(struct done *d)
{
	struct wr_str rest = wr_buf_str(&d->body.answer);

	for (;;) {
		struct wr_pkt p;

		assert_int_equal(wr_pkt_next(&p, &rest, NULL), WR_OK);
		if (p.kind == WR_PKT_FLUSH)
			break;
		assert_int_equal(p.kind, WR_PKT_LINE);
		assert_true(p.data.len >= 1);
		assert_true(p.data.ptr[0] == 1 || p.data.ptr[0] == 2);
		wr_buf_adds(p.data.ptr[0] == 1 ? &d->report : &d->people, wr_str_skip(p.data, 1));
	}
	assert_int_equal(rest.len, 0);
}

/* What the pusher is told when his permission is asked for again. */
static enum wr_code permitted;
static unsigned asked;
static void (*in_turn)(void); /* NULL, or called when it is asked for */

static enum wr_code permit_ask(void *arg, struct wr_error *err)
{
	const struct body *b = arg;

	asked++;
	if (in_turn)
		in_turn();
	assert_int_equal(b->rest.len, 0); /* all of the body is here */
	return permitted == WR_OK ? WR_OK : wr_fail(err, permitted, "asked again");
}

static void push_with(struct done *d, const struct wr_buf *body, size_t step, enum wr_code fails, size_t max_commands)
{
	const struct wr_receive_limits limits = {max_commands, 3, 2, NULL};
	const struct wr_receive_permit permit = {permit_ask, &d->body, {WR_S("identity:me"), "0123456789abcde"}};
	WR_AUTO(wr_receive) *rx = NULL;
	struct answer answer = {{.write = answer_write}, &d->body};

	memset(d, 0, sizeof(*d));
	d->body = (struct body){{body_read}, wr_buf_str(body), step, 0, fails, false, WR_BUF_INIT(1 << 20)};
	d->report = d->people = (struct wr_buf)WR_BUF_INIT(1 << 20);
	d->code = wr_receive_parse(&rx, &d->body.base, &limits, &d->err);
	if (d->code != WR_OK)
		return;
	d->code = wr_receive_run(&d->result, rx, world.repo, WR_S("main"), &permit, &d->body.base, &answer.base,
				 NULL, &d->err);
}

/* A push with side-bands, which was read to its end and reported. */
static void push(struct done *d, const struct wr_buf *body)
{
	push_with(d, body, 1000, WR_OK, 100);
	if (d->code != WR_OK)
		fail_msg("push: %s %s", wr_error_text(&d->err), d->err.detail);
	assert_int_equal(d->body.rest.len, 0);
	unband(d);
}

static void command(struct wr_buf *body, const char *old, const char *new, const char *name, const char *caps)
{
	WR_AUTO_S(wr_buf) line = WR_BUF_INIT(WR_PKT_DATA_MAX);
	char head[4];

	wr_buf_printf(&line, "%s %s %s", old, new, name);
	if (caps) {
		wr_buf_addc(&line, '\0');
		wr_buf_printf(&line, " %s", caps);
	}
	wr_pkt_header(head, line.len);
	wr_buf_add(body, head, 4);
	wr_buf_adds(body, wr_buf_str(&line));
}

/* A pack with what revs (rev-list's arguments, one a line) name. */
static void pack(struct wr_buf *body, const char *revs)
{
	WR_AUTO_S(wr_buf) bytes = WR_BUF_INIT(16u << 20);

	sh_raw(&world, &bytes, "printf '%s\\n' | git -C work pack-objects --revs --stdout -q --thin --delta-base-offset",
	       revs);
	wr_buf_adds(body, wr_buf_str(&bytes));
}

/* The stored ref, or zeros. */
static const char *stored(const char *name)
{
	static char hex[WR_OID_HEX + 1];
	const struct wr_ref *ref;

	snap_renew(&world);
	ref = wr_snapshot_ref(world.snap, wr_str(name));
	if (!ref)
		return ZERO;
	wr_oid_hex(hex, &ref->oid);
	return hex;
}

#define BODY WR_AUTO_S(wr_buf) body = WR_BUF_INIT(64u << 20)

/* core/git/git_internal.h, beside which receive_internal.h cannot be included. */
enum wr_code wr_repo_events_after(struct wr_event **v, size_t *n, char **text, uint64_t *last, struct wr_git_repo *repo,
				  uint64_t after, size_t max, struct wr_error *err);

/* Of all that was pushed so far the journal says who asked for it. */
static void assert_askers(size_t wanted)
{
	WR_AUTO_MEM struct wr_event *v = NULL;
	WR_AUTO_MEM char *text = NULL;
	uint64_t last;
	size_t n;

	assert_int_equal(wr_repo_events_after(&v, &n, &text, &last, world.repo, 0, 1000, NULL), WR_OK);
	assert_int_equal(n, wanted);
	for (size_t i = 0; i < n; i++) {
		assert_true(wr_str_eqz(v[i].author, "identity:me"));
		assert_memory_equal(v[i].operation, "0123456789abcde", 16);
	}
}

static void create_and_update(void **state)
{
	const char *one, *two;
	struct wr_str rest;
	struct done d;
	BODY;

	(void)state;
	commit(&world, "one", 1);
	one = rev(&world, "HEAD");
	command(&body, ZERO, one, "refs/heads/main", CAPS);
	flush(&body);
	pack(&body, one);
	push(&d, &body);
	rest = wr_buf_str(&d.report);
	expect(&rest, "unpack ok\n");
	expect(&rest, "ok refs/heads/main\n");
	expect(&rest, "0000");
	assert_int_equal(rest.len, 0);
	assert_int_equal(d.result.accepted, 1);
	assert_int_equal(d.result.refused, 0);
	assert_string_equal(stored("refs/heads/main"), one);
	done_fini(&d);

	/* A thin pack on top; one byte at a time; without side-bands. */
	commit(&world, "two", 2);
	two = rev(&world, "HEAD");
	wr_buf_clear(&body);
	command(&body, one, two, "refs/heads/main", "report-status");
	flush(&body);
	pack(&body, "HEAD\\n^HEAD~1");
	push_with(&d, &body, 1, WR_OK, 100);
	assert_int_equal(d.code, WR_OK);
	rest = wr_buf_str(&d.body.answer);
	expect(&rest, "unpack ok\n");
	expect(&rest, "ok refs/heads/main\n");
	expect(&rest, "0000");
	assert_int_equal(rest.len, 0);
	assert_string_equal(stored("refs/heads/main"), two);
	done_fini(&d);
	assert_askers(2);
}

/* Nothing is reported; where there are bands they end as bands do. */
static void without_report(void **state)
{
	static const struct {
		const char *caps, *name, *answer;
	} ways[] = {{"side-band-64k", "refs/heads/silent", "0000"}, {"atomic", "refs/heads/mute", ""}};
	const char *head = rev(&world, "HEAD");

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(ways); i++) {
		struct done d;
		BODY;

		command(&body, ZERO, head, ways[i].name, ways[i].caps);
		flush(&body);
		pack(&body, "");
		push_with(&d, &body, 4096, WR_OK, 100);
		assert_int_equal(d.code, WR_OK);
		assert_true(wr_str_eqz(wr_buf_str(&d.body.answer), ways[i].answer));
		assert_int_equal(d.result.accepted, 1);
		assert_string_equal(stored(ways[i].name), head);
		done_fini(&d);
	}
}

/* Each alone: what is fine goes through beside what is not. */
static void refusals(void **state)
{
	const char *head = rev(&world, "HEAD"), *old = rev(&world, "HEAD~1");
	struct wr_str rest;
	struct done d;
	BODY;

	(void)state;
	command(&body, ZERO, head, "refs/heads/good", CAPS);
	command(&body, old, head, "refs/heads/main", NULL);
	command(&body, ZERO, ZERO, "refs/heads/nothing", NULL);
	command(&body, ZERO, head, "HEAD", NULL);
	command(&body, ZERO, head, "refs/warren/x", NULL);
	command(&body, ZERO, head, "refs/heads/a..b", NULL);
	command(&body, ZERO, head, "refs/heads/twice", NULL);
	command(&body, ZERO, old, "refs/heads/twice", NULL);
	command(&body, head, ZERO, "refs/heads/main2", NULL);
	flush(&body);
	pack(&body, "");
	push(&d, &body);
	rest = wr_buf_str(&d.report);
	expect(&rest, "unpack ok\n");
	expect(&rest, "ok refs/heads/good\n");
	for (int i = 0; i < 8; i++) {
		struct wr_pkt p;

		assert_int_equal(wr_pkt_next(&p, &rest, NULL), WR_OK);
		assert_int_equal(p.kind, WR_PKT_LINE);
		assert_true(wr_str_starts(p.data, WR_S("ng ")));
		/* "ng <ref> <reason>": there is a reason. */
		assert_non_null(memchr(p.data.ptr + 3, ' ', p.data.len - 3));
		assert_false(wr_str_ends(wr_pkt_text(&p), WR_S(" ")));
	}
	expect(&rest, "0000");
	assert_int_equal(d.result.accepted, 1);
	assert_int_equal(d.result.refused, 8);
	assert_string_equal(stored("refs/heads/good"), head);
	assert_string_equal(stored("refs/heads/twice"), ZERO);
	assert_string_equal(stored("refs/warren/x"), ZERO);
	done_fini(&d);
}

static void default_branch_stays(void **state)
{
	const char *head = rev(&world, "HEAD");
	struct wr_str rest;
	struct done d;
	BODY;

	(void)state;
	command(&body, head, ZERO, "refs/heads/main", CAPS " delete-refs");
	command(&body, head, ZERO, "refs/heads/good", NULL);
	flush(&body); /* deletions alone: no pack */
	push(&d, &body);
	rest = wr_buf_str(&d.report);
	expect(&rest, "unpack ok\n");
	expect(&rest, "ng refs/heads/main deletion of the current branch prohibited\n");
	expect(&rest, "ok refs/heads/good\n");
	expect(&rest, "0000");
	assert_non_null(strstr(d.people.ptr, "default branch main"));
	assert_string_equal(stored("refs/heads/main"), head);
	assert_string_equal(stored("refs/heads/good"), ZERO);
	done_fini(&d);
}

static void atomic(void **state)
{
	const char *head = rev(&world, "HEAD"), *old = rev(&world, "HEAD~1");
	struct done d;
	BODY;

	(void)state;
	/* Refused before the store sees it, and by the store. */
	for (int early = 0; early < 2; early++) {
		struct wr_str rest;

		wr_buf_clear(&body);
		command(&body, ZERO, head, "refs/heads/both", CAPS " atomic");
		command(&body, early ? ZERO : old, early ? ZERO : head, early ? "refs/heads/x" : "refs/heads/main", NULL);
		flush(&body);
		pack(&body, "");
		push(&d, &body);
		rest = wr_buf_str(&d.report);
		expect(&rest, "unpack ok\n");
		assert_int_equal(d.result.accepted, 0);
		assert_int_equal(d.result.refused, 2);
		assert_string_equal(stored("refs/heads/both"), ZERO);
		done_fini(&d);
	}
	wr_buf_clear(&body);
	command(&body, ZERO, head, "refs/heads/both", CAPS " atomic");
	command(&body, ZERO, old, "refs/heads/both2", NULL);
	flush(&body);
	pack(&body, "");
	push(&d, &body);
	assert_int_equal(d.result.accepted, 2);
	assert_string_equal(stored("refs/heads/both2"), old);
	done_fini(&d);
}

/* The pack is no pack, ends early, lacks an object, or lacks what a new ref points to. */
static void bad_packs(void **state)
{
	const char *three;

	(void)state;
	commit(&world, "three", 3);
	commit(&world, "four", 4);
	three = rev(&world, "HEAD");
	for (int how = 0; how < 4; how++) {
		struct wr_str rest;
		struct wr_pkt p;
		struct done d;
		BODY;

		command(&body, ZERO, three, "refs/heads/bad", CAPS);
		flush(&body);
		if (how == 0) {
			for (int i = 0; i < 100000; i++)
				wr_buf_addz(&body, "nonsense");
		} else if (how == 1) {
			pack(&body, "HEAD\\n^HEAD~2");
			body.len -= 30;
		} else {
			/* 2: HEAD~1 is missing from a pack that is whole in itself; 3: nothing new at all */
			pack(&body, how == 2 ? "HEAD\\n^HEAD~1" : "");
		}
		push(&d, &body);
		rest = wr_buf_str(&d.report);
		assert_int_equal(wr_pkt_next(&p, &rest, NULL), WR_OK);
		if (how == 3) { /* the pack is fine; what the ref shall point to is not there */
			assert_true(wr_str_eqz(p.data, "unpack ok\n"));
			assert_int_equal(wr_pkt_next(&p, &rest, NULL), WR_OK);
			assert_true(wr_str_starts(p.data, WR_S("ng refs/heads/bad ")));
		} else {
			assert_true(wr_str_starts(p.data, WR_S("unpack ")));
			assert_false(wr_str_eqz(p.data, "unpack ok\n"));
			expect(&rest, "ng refs/heads/bad unpacker error\n");
			assert_true(d.result.pack_refused[0]);
			assert_non_null(strstr(d.people.ptr, d.result.pack_refused));
		}
		expect(&rest, "0000");
		assert_int_equal(d.result.accepted, 0);
		assert_int_equal(d.result.refused, 1);
		assert_string_equal(stored("refs/heads/bad"), ZERO);
		done_fini(&d);
	}
}

/* A client that left is no bad pack: nothing is answered, nothing is kept. */
static void body_breaks_off(void **state)
{
	struct done d;
	BODY;

	(void)state;
	command(&body, ZERO, rev(&world, "HEAD"), "refs/heads/cut", CAPS);
	flush(&body);
	pack(&body, "HEAD\\n^HEAD~2");
	body.len -= 25;
	push_with(&d, &body, 100, WR_E_CANCELLED, 100);
	assert_int_equal(d.code, WR_E_CANCELLED);
	assert_int_equal(d.body.answer.len, 0);
	assert_false(d.result.told);
	assert_string_equal(stored("refs/heads/cut"), ZERO);
	done_fini(&d);
}

/* Commands that all fail: the pack is read to its end before the answer. */
static void refused_pack_is_drained(void **state)
{
	struct wr_str rest;
	struct done d;
	BODY;

	(void)state;
	command(&body, ZERO, rev(&world, "HEAD"), "refs/heads/twin", CAPS);
	command(&body, ZERO, rev(&world, "HEAD"), "refs/heads/twin", NULL);
	flush(&body);
	for (int i = 0; i < 100000; i++)
		wr_buf_addz(&body, "PACKPACK");
	push(&d, &body);
	rest = wr_buf_str(&d.report);
	expect(&rest, "unpack ok\n");
	expect(&rest, "ng refs/heads/twin multiple updates for one ref\n");
	expect(&rest, "ng refs/heads/twin multiple updates for one ref\n");
	expect(&rest, "0000");
	done_fini(&d);
}

static void nothing_to_do(void **state)
{
	static const char *const bodies[] = {"", "0000"};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(bodies); i++) {
		struct done d;
		BODY;

		wr_buf_addz(&body, bodies[i]);
		push_with(&d, &body, 1, WR_OK, 100);
		assert_int_equal(d.code, WR_OK);
		assert_int_equal(d.body.answer.len, 0);
		assert_int_equal(d.result.accepted + d.result.refused, 0);
		done_fini(&d);
	}
}

static void expect_invalid(const struct wr_buf *body, const char *words)
{
	struct done d;

	push_with(&d, body, 7, WR_OK, 2);
	assert_int_equal(d.code, WR_E_INVALID_REQUEST);
	if (!strstr(wr_error_text(&d.err), words))
		fail_msg("\"%s\" is not in \"%s\"", words, wr_error_text(&d.err));
	assert_int_equal(d.body.answer.len, 0);
	done_fini(&d);
}

static void invalid_requests(void **state)
{
	const char *head = rev(&world, "HEAD");
	BODY;

	(void)state;
	command(&body, ZERO, head, "refs/heads/x", "report-status");
	expect_invalid(&body, "flush");
	wr_buf_clear(&body);
	pkt(&body, "%s %s", ZERO, head);
	flush(&body);
	expect_invalid(&body, "command");
	wr_buf_clear(&body);
	command(&body, ZERO, head, "", "report-status");
	flush(&body);
	expect_invalid(&body, "command");
	wr_buf_clear(&body);
	command(&body, "0", head, "refs/heads/x", "report-status");
	flush(&body);
	expect_invalid(&body, "command");
	wr_buf_clear(&body);
	command(&body, ZERO, head, "refs/heads/x", "report-status");
	delim(&body);
	expect_invalid(&body, "flush");
	wr_buf_clear(&body);
	command(&body, ZERO, head, "refs/heads/x", "object-format=sha256");
	flush(&body);
	expect_invalid(&body, "sha1");
	wr_buf_clear(&body);
	command(&body, ZERO, head, "refs/heads/x", "push-options");
	flush(&body);
	expect_invalid(&body, "push options"); /* of which there is not even the end */
	pkt(&body, "one\n");
	expect_invalid(&body, "push options");
	delim(&body);
	expect_invalid(&body, "push options");
	wr_buf_clear(&body);
	command(&body, ZERO, head, "refs/heads/x", "push-options");
	flush(&body);
	pkt(&body, "two\nlines\n");
	flush(&body);
	expect_invalid(&body, "one line");
	wr_buf_clear(&body);
	command(&body, ZERO, head, "refs/heads/x", "push-options");
	flush(&body);
	wr_buf_add(&body, "0007a\0b", 7);
	flush(&body);
	expect_invalid(&body, "one line");
	wr_buf_clear(&body);
	wr_buf_addz(&body, "0013push-cert");
	wr_buf_addc(&body, '\0');
	wr_buf_addz(&body, "atomic");
	expect_invalid(&body, "signed");
	wr_buf_clear(&body);
	pkt(&body, "shallow %.39s", head);
	expect_invalid(&body, "40");
	wr_buf_clear(&body);
	command(&body, ZERO, head, "refs/heads/x", "report-status");
	command(&body, ZERO, head, "refs/heads/y", "atomic");
	flush(&body);
	expect_invalid(&body, "first command");
}

/* Cut anywhere before the pack: no answer has begun, so that it can be a status. */
static void cut_before_the_pack(void **state)
{
	const char *head = rev(&world, "HEAD");
	BODY;

	(void)state;
	pkt(&body, "shallow %s\n", head);
	command(&body, ZERO, head, "refs/heads/c1", CAPS " push-options");
	command(&body, ZERO, head, "refs/heads/c2", NULL);
	flush(&body);
	pkt(&body, "an option");
	flush(&body);
	for (size_t len = body.len - 1; len > 0; len--) {
		struct done d;

		body.len = len;
		push_with(&d, &body, 1000, WR_OK, 100);
		assert_int_equal(d.code, WR_E_INVALID_REQUEST);
		assert_int_equal(d.body.answer.len, 0);
		done_fini(&d);
	}
	assert_string_equal(stored("refs/heads/c1"), ZERO);
}

static void expect_limit(const struct wr_buf *start, const char *words)
{
	const char *head = rev(&world, "HEAD");
	struct wr_str rest;
	struct wr_pkt p;
	struct done d;
	BODY;

	wr_buf_adds(&body, wr_buf_str(start));
	pack(&body, "");
	push_with(&d, &body, 7, WR_OK, 2);
	assert_int_equal(d.code, WR_OK);
	assert_int_equal(d.body.rest.len, 0);
	unband(&d);
	rest = wr_buf_str(&d.report);
	assert_int_equal(wr_pkt_next(&p, &rest, NULL), WR_OK);
	assert_true(wr_str_starts(p.data, WR_S("unpack ")));
	if (!strstr(d.result.pack_refused, words) || !strstr(d.people.ptr, d.result.pack_refused))
		fail_msg("\"%s\" is not in \"%s\"", words, d.result.pack_refused);
	assert_int_equal(d.result.accepted, 0);
	assert_string_equal(stored("refs/heads/l0"), ZERO);
	assert_string_equal(rev(&world, "HEAD"), head);
	done_fini(&d);
}

/* git shows people the report, and of an HTTP error the status alone: so limits stand in the report. */
static void limits(void **state)
{
	const char *head = rev(&world, "HEAD");
	char name[5000];
	struct done d;
	BODY;

	(void)state;
	for (int i = 0; i < 3; i++)
		command(&body, ZERO, head, i ? "refs/heads/l1" : "refs/heads/l0", i ? NULL : CAPS);
	flush(&body);
	expect_limit(&body, "2 refs");
	wr_buf_clear(&body);
	for (int i = 0; i < 4; i++)
		pkt(&body, "shallow %s", head);
	command(&body, ZERO, head, "refs/heads/l0", CAPS);
	flush(&body);
	expect_limit(&body, "3 shallow roots");
	wr_buf_clear(&body);
	command(&body, ZERO, head, "refs/heads/l0", CAPS " push-options");
	flush(&body);
	for (int i = 0; i < 3; i++)
		pkt(&body, "option %d", i);
	flush(&body);
	expect_limit(&body, "2 push options");
	wr_buf_clear(&body);
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	memcpy(name, "refs/heads/", 11);
	command(&body, ZERO, head, name, CAPS);
	flush(&body);
	expect_limit(&body, "4096 bytes");
	wr_buf_clear(&body);
	command(&body, ZERO, head, "refs/heads/l0", CAPS " push-options");
	flush(&body);
	name[4097] = '\0';
	wr_buf_addz(&body, "1005");
	wr_buf_add(&body, name, 4097);
	flush(&body);
	expect_limit(&body, "4096 bytes");
	/* Who wants neither report nor bands is told by the status. */
	wr_buf_clear(&body);
	for (int i = 0; i < 3; i++)
		command(&body, ZERO, head, "refs/heads/l0", i ? NULL : "atomic");
	flush(&body);
	push_with(&d, &body, 7, WR_OK, 2);
	assert_int_equal(d.code, WR_E_INVALID_REQUEST);
	assert_int_equal(d.body.answer.len, 0);
	done_fini(&d);
}

static void options_are_counted(void **state)
{
	const char *head = rev(&world, "HEAD~2");
	struct wr_str rest;
	struct done d;
	BODY;

	(void)state;
	command(&body, ZERO, head, "refs/heads/opted",
		"report-status-v2 side-band-64k push-options session-id=x what=ever");
	flush(&body);
	pkt(&body, "ci.skip\n");
	pkt(&body, "%s", "");
	flush(&body);
	pack(&body, "");
	push(&d, &body);
	rest = wr_buf_str(&d.report);
	expect(&rest, "unpack ok\n");
	expect(&rest, "ok refs/heads/opted\n");
	expect(&rest, "0000");
	assert_int_equal(d.result.options, 2);
	done_fini(&d);
	/* Deletions too, behind which there is no pack. */
	wr_buf_clear(&body);
	command(&body, head, ZERO, "refs/heads/opted", CAPS " push-options");
	flush(&body);
	flush(&body);
	push(&d, &body);
	assert_int_equal(d.result.accepted, 1);
	assert_int_equal(d.result.options, 0);
	done_fini(&d);
}

/* Asked when all is here and nothing is stored; nobody is asked for what is refused anyway. */
static void the_permission_is_asked_for_again(void **state)
{
	static const enum wr_code gone[] = {WR_E_UNAUTHORIZED, WR_E_REPO_ACCESS_DENIED, WR_E_REPO_NOT_FOUND};
	const char *head = rev(&world, "HEAD~2");
	struct wr_str rest;
	struct done d;
	BODY;

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(gone); i++) {
		wr_buf_clear(&body);
		command(&body, ZERO, head, "refs/heads/p1", i ? CAPS : CAPS " atomic");
		command(&body, head, ZERO, "refs/heads/silent", NULL);
		flush(&body);
		pack(&body, "");
		permitted = gone[i];
		asked = 0;
		push(&d, &body);
		rest = wr_buf_str(&d.report);
		expect(&rest, "unpack ok\n");
		expect(&rest, "ng refs/heads/p1 the permission to push was withdrawn while the push came in\n");
		expect(&rest, "ng refs/heads/silent the permission to push was withdrawn while the push came in\n");
		expect(&rest, "0000");
		assert_int_equal(asked, 1);
		assert_int_equal(d.result.refused, 2);
		assert_string_equal(stored("refs/heads/p1"), ZERO);
		assert_string_equal(stored("refs/heads/silent"), head);
		done_fini(&d);
	}
	/* Without a report it is a status; trouble is one as well. */
	for (size_t i = 0; i < 2; i++) {
		permitted = i ? WR_E_INTERNAL : WR_E_REPO_ACCESS_DENIED;
		wr_buf_clear(&body);
		command(&body, ZERO, head, "refs/heads/p1", i ? CAPS : "atomic");
		flush(&body);
		pack(&body, "");
		push_with(&d, &body, 999, WR_OK, 100);
		assert_int_equal(d.code, permitted);
		assert_int_equal(d.body.answer.len, 0);
		assert_string_equal(stored("refs/heads/p1"), ZERO);
		done_fini(&d);
	}
	permitted = WR_OK;
	asked = 0;
	wr_buf_clear(&body);
	command(&body, ZERO, head, "refs/heads/p1", CAPS);
	command(&body, ZERO, head, "refs/heads/p1", NULL);
	flush(&body);
	push(&d, &body);
	assert_int_equal(asked, 0);
	done_fini(&d);
}

/* A push from a shallow clone names its roots; what matters is whether all is here, and it is. */
static void from_a_shallow_clone(void **state)
{
	const char *head = rev(&world, "HEAD");
	struct done d;
	BODY;

	(void)state;
	pkt(&body, "shallow %s\n", rev(&world, "HEAD~1"));
	command(&body, ZERO, head, "refs/heads/deep", CAPS);
	pkt(&body, "shallow %s", rev(&world, "HEAD~2")); /* git reads them anywhere */
	flush(&body);
	pack(&body, "HEAD\\n^HEAD~2");
	push(&d, &body);
	assert_int_equal(d.result.accepted, 1);
	assert_string_equal(stored("refs/heads/deep"), head);
	done_fini(&d);
}

/* What lies behind the roots is not here: what builds on it is refused, the rest goes through unless all is atomic. */
static void new_shallow_roots(void **state)
{
	const char *known = rev(&world, "HEAD");

	(void)state;
	sh(&world, NULL, "cd work; git checkout -q --orphan lonely");
	for (unsigned i = 0; i < 3; i++)
		commit(&world, i == 0 ? "s0" : i == 1 ? "s1" : "s2", 20 + i);
	sh(&world, NULL, "cd work; git rev-parse HEAD~1 >.git/shallow");
	for (int atomic = 0; atomic < 2; atomic++) {
		struct wr_str rest;
		struct done d;
		BODY;

		pkt(&body, "shallow %s\n", rev(&world, "HEAD~1"));
		command(&body, ZERO, rev(&world, "HEAD"), "refs/heads/rootless", atomic ? CAPS " atomic" : CAPS);
		command(&body, ZERO, known, "refs/heads/rooted", NULL);
		command(&body, known, ZERO, "refs/heads/deep", NULL);
		command(&body, ZERO, rev(&world, "HEAD"), "refs/heads/rootless2", NULL);
		flush(&body);
		pack(&body, "HEAD");
		push(&d, &body);
		rest = wr_buf_str(&d.report);
		expect(&rest, "unpack ok\n");
		expect(&rest, "ng refs/heads/rootless shallow update not allowed\n");
		expect(&rest, atomic ? "ng refs/heads/rooted atomic push failure\n" : "ok refs/heads/rooted\n");
		expect(&rest, atomic ? "ng refs/heads/deep atomic push failure\n" : "ok refs/heads/deep\n");
		expect(&rest, "ng refs/heads/rootless2 shallow update not allowed\n");
		expect(&rest, "0000");
		assert_non_null(strstr(d.people.ptr, "--unshallow"));
		assert_string_equal(stored("refs/heads/rootless"), ZERO);
		assert_string_equal(stored("refs/heads/rooted"), atomic ? ZERO : known);
		assert_string_equal(stored("refs/heads/deep"), atomic ? known : ZERO);
		done_fini(&d);
		if (!atomic) {
			wr_buf_clear(&body);
			command(&body, known, ZERO, "refs/heads/rooted", CAPS);
			command(&body, ZERO, known, "refs/heads/deep", NULL);
			flush(&body);
			pack(&body, "");
			push(&d, &body);
			assert_int_equal(d.result.accepted, 2);
			done_fini(&d);
		}
	}
	sh(&world, NULL, "cd work; rm .git/shallow; git checkout -q main");
}

/* What a push builds on is gone with the repository, which looks empty: that is said, and not what is missed. */
static void what_is_missed_went_with_the_repository(void **state)
{
	(void)state;
	sh(&world, NULL, "cd work; git checkout -q --orphan gone");
	for (unsigned i = 0; i < 3; i++)
		commit(&world, i == 0 ? "g0" : i == 1 ? "g1" : "g2", 30 + i);
	permitted = WR_E_REPO_NOT_FOUND;
	for (int how = 0; how < 3; how++) {
		struct wr_str rest;
		struct done d;
		BODY;

		if (how == 1)
			pkt(&body, "shallow %s\n", rev(&world, "HEAD~1"));
		command(&body, ZERO, rev(&world, "HEAD"), "refs/heads/late", how < 2 ? CAPS : "atomic");
		flush(&body);
		pack(&body, how == 1 ? "HEAD\\n^HEAD~2" : "HEAD\\n^HEAD~1");
		if (how == 2) { /* without a report it is a status */
			push_with(&d, &body, 999, WR_OK, 100);
			assert_int_equal(d.code, WR_E_REPO_NOT_FOUND);
			assert_int_equal(d.body.answer.len, 0);
		} else {
			push(&d, &body);
			rest = wr_buf_str(&d.report);
			expect(&rest, "unpack ok\n");
			expect(&rest, "ng refs/heads/late the permission to push was withdrawn while the push came in\n");
			expect(&rest, "0000");
			assert_int_equal(d.result.refused, 1);
		}
		assert_string_equal(stored("refs/heads/late"), ZERO);
		done_fini(&d);
	}
	permitted = WR_OK;
	sh(&world, NULL, "cd work; git checkout -q main");
}

/* Somebody who waits for the first bytes of an answer. */
struct ear {
	struct wr_sink base;
	pthread_mutex_t lock; /* heard */
	pthread_cond_t more;
	struct wr_buf heard;
};

static enum wr_code ear_write(struct wr_sink *base, const void *data, size_t len, struct wr_error *err)
{
	struct ear *e = (struct ear *)base;

	(void)err;
	pthread_mutex_lock(&e->lock);
	wr_buf_add(&e->heard, data, len);
	pthread_cond_signal(&e->more);
	pthread_mutex_unlock(&e->lock);
	return WR_OK;
}

static void a_long_silence_is_broken(void **state)
{
	struct ear ear = {{.write = ear_write}, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, WR_BUF_INIT(1000)};
	WR_AUTO(wr_sideband) *sb = NULL, *plain = NULL;
	struct wr_alive alive;

	(void)state;
	assert_int_equal(wr_sideband_new(&sb, &ear.base, WR_BAND_LARGE, NULL), WR_OK);
	sb->last_ms -= 3600 * 1000;
	wr_alive_init(&alive, sb);
	wr_alive_start(&alive);
	wr_alive_start(&alive);
	pthread_mutex_lock(&ear.lock);
	while (ear.heard.len == 0)
		pthread_cond_wait(&ear.more, &ear.lock);
	pthread_mutex_unlock(&ear.lock);
	wr_alive_stop(&alive);
	wr_alive_start(&alive); /* is not heeded any more */
	wr_alive_fini(&alive);
	assert_true(wr_str_eq(wr_buf_str(&ear.heard), wr_str_n("0005\2", 5)));
	/* Where there are no bands nothing can be said. */
	assert_int_equal(wr_sideband_new(&plain, &ear.base, WR_BAND_NONE, NULL), WR_OK);
	wr_alive_init(&alive, plain);
	wr_alive_start(&alive);
	assert_false(alive.started);
	wr_alive_fini(&alive);
	wr_buf_fini(&ear.heard);
}

/* A pack that nobody asked for is read and dropped, whatever it is. */
static void deletions_with_a_pack(void **state)
{
	const char *head = rev(&world, "HEAD~2");
	struct done d;
	BODY;

	(void)state;
	command(&body, head, ZERO, "refs/heads/silent", CAPS);
	flush(&body);
	for (int i = 0; i < 10000; i++)
		wr_buf_addz(&body, "no pack at all");
	push(&d, &body);
	assert_int_equal(d.result.accepted, 1);
	assert_string_equal(stored("refs/heads/silent"), ZERO);
	done_fini(&d);
}

static void no_pack_where_one_is_needed(void **state)
{
	struct wr_str rest;
	struct done d;
	BODY;

	(void)state;
	command(&body, ZERO, rev(&world, "HEAD"), "refs/heads/none", CAPS);
	flush(&body);
	push(&d, &body);
	rest = wr_buf_str(&d.report);
	assert_true(d.result.pack_refused[0]);
	expect(&rest, "unpack %s\n", d.result.pack_refused);
	expect(&rest, "ng refs/heads/none unpacker error\n");
	expect(&rest, "0000");
	done_fini(&d);
}

static int begin(void **state)
{
	(void)state;
	world_init(&world);
	return 0;
}

static int end(void **state)
{
	(void)state;
	world_fini(&world);
	return 0;
}

static struct wr_gate *gate;
static sem_t inside;

static void *wait_for_the_turn(void *arg)
{
	struct wr_ref_update none = {.name = WR_S("refs/heads/none")};
	struct wr_change change = {.updates = &none, .count = 1};

	(void)arg;
	wr_gate_enter(gate, WR_S("one"));
	sem_post(&inside);
	assert_int_equal(wr_git_append(world.repo, &change, NULL), WR_OK);
	wr_gate_leave(gate);
	return NULL;
}

static void *compute(void *arg)
{
	(void)arg;
	wr_gate_enter(gate, WR_S("another"));
	wr_gate_leave(gate);
	return NULL;
}

static pthread_t waits;

static void another_computes(void)
{
	struct timespec until;
	pthread_t id;

	assert_int_equal(pthread_create(&waits, NULL, wait_for_the_turn, NULL), 0);
	assert_int_equal(sem_wait(&inside), 0);
	assert_int_equal(pthread_create(&id, NULL, compute, NULL), 0);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 60;
	assert_int_equal(pthread_timedjoin_np(id, NULL, &until), 0);
}

/* Who waits for a repository's turn does not compute, and so keeps nobody else from it. */
static void the_turn_is_waited_for_outside(void **state)
{
	const char *head = rev(&world, "HEAD~2");
	struct done d;
	BODY;

	(void)state;
	assert_int_equal(wr_gate_new(&gate, 1, NULL), WR_OK);
	assert_int_equal(sem_init(&inside, 0, 0), 0);
	command(&body, ZERO, head, "refs/heads/turn", CAPS);
	flush(&body);
	pack(&body, "");
	in_turn = another_computes;
	asked = 0;
	push(&d, &body);
	in_turn = NULL;
	assert_int_equal(pthread_join(waits, NULL), 0);
	assert_int_equal(asked, 1);
	assert_int_equal(d.result.accepted, 1);
	done_fini(&d);
	sem_destroy(&inside);
	wr_gate_free(gate);
}

struct granted {
	uint64_t left, taken;
};

static bool grant(void *arg, uint64_t n, bool spare)
{
	struct granted *g = arg;

	if (spare || n > g->left)
		return false;
	g->left -= n;
	g->taken += n;
	return true;
}

static void take_back(void *arg, uint64_t n)
{
	struct granted *g = arg;

	assert_true(n <= g->taken);
	g->left += n;
	g->taken -= n;
}

/* What stands before the pack is counted as it comes, and given back with the push, whatever becomes of it. */
static void commands_are_counted(void **state)
{
	struct granted granted = {.left = 0};
	const struct wr_room room = {grant, take_back, &granted};
	const struct wr_receive_limits limits = {2000, 3, 2, &room};
	WR_AUTO_S(wr_buf) body = WR_BUF_INIT(1 << 20);
	unsigned refused = 0;
	enum wr_code code = WR_E_UNAVAILABLE;

	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		pkt(&body, "%040u %040u refs/heads/%0100u", 0, i + 1, i);
	flush(&body);
	while (code != WR_OK) {
		WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
		WR_AUTO(wr_receive) *rx = NULL;
		struct wr_mem_source src;

		wr_mem_source_init(&src, wr_buf_str(&body));
		code = wr_receive_parse(&rx, &src.base, &limits, &err);
		assert_true(code == WR_OK || code == WR_E_UNAVAILABLE);
		assert_int_equal(granted.taken > 0, code == WR_OK);
		refused += code != WR_OK;
		granted.left += code != WR_OK ? 16384 : 0;
	}
	/* 1,000 names of 111 bytes, and two ids each: no less than that, and not many times as much. */
	assert_in_range(granted.left, 151000, 700000);
	assert_true(refused > 8);
	assert_int_equal(granted.taken, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(create_and_update), /* the others go on from its commits */
		cmocka_unit_test(without_report),
		cmocka_unit_test(refusals),
		cmocka_unit_test(default_branch_stays),
		cmocka_unit_test(atomic),
		cmocka_unit_test(bad_packs),
		cmocka_unit_test(body_breaks_off),
		cmocka_unit_test(refused_pack_is_drained),
		cmocka_unit_test(nothing_to_do),
		cmocka_unit_test(invalid_requests),
		cmocka_unit_test(cut_before_the_pack),
		cmocka_unit_test(limits),
		cmocka_unit_test(commands_are_counted),
		cmocka_unit_test(options_are_counted),
		cmocka_unit_test(the_permission_is_asked_for_again),
		cmocka_unit_test(from_a_shallow_clone),
		cmocka_unit_test(new_shallow_roots),
		cmocka_unit_test(what_is_missed_went_with_the_repository),
		cmocka_unit_test(a_long_silence_is_broken),
		cmocka_unit_test(deletions_with_a_pack),
		cmocka_unit_test(no_pack_where_one_is_needed),
		cmocka_unit_test(the_turn_is_waited_for_outside),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
