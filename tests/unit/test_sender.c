/* triggers/sender: that the thread which judges does all that it is for, whatever there is to be judged. */
#include "tests/unit/content_fixture.h"

#include <sqlite3.h>
#include <sys/resource.h>

#include "core/auth/accounts.h"
#include "core/auth/repos.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "triggers/sender.h"

struct place {
	struct fx *f;
	char data[80];
	struct wr_db *db;
	sqlite3 *sq; /* beside it */
	struct wr_account account;
	struct wr_signing *signing;
};

static void run_sql(struct place *p, const char *fmt, ...)
{
	char *sql, *why = NULL;
	va_list ap;

	va_start(ap, fmt);
	sql = sqlite3_vmprintf(fmt, ap);
	va_end(ap);
	if (sqlite3_exec(p->sq, sql, NULL, NULL, &why) != SQLITE_OK)
		fail_msg("%s: %s", why, sql);
	sqlite3_free(sql);
}

static int64_t number(struct place *p, const char *sql)
{
	sqlite3_stmt *stmt = NULL;
	int64_t n;

	assert_int_equal(sqlite3_prepare_v2(p->sq, sql, -1, &stmt, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	n = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return n;
}

static void open_place(struct place *p, struct fx *f)
{
	const struct wr_signing_times times = {.life_ms = 60000, .overlap_ms = 60000};
	const struct wr_repo_new new = {.default_branch = WR_S("main")};
	struct wr_secret_text key;
	struct wr_repo repo;
	char path[128];

	p->f = f;
	snprintf(p->data, sizeof p->data, "%s/data", f->dir);
	assert_ok(wr_db_open(&p->db, p->data, &f->err));
	assert_ok(wr_account_create(&p->account, &key, p->db, WR_S("one"), &f->err));
	assert_ok(wr_repo_create(&repo, p->db, p->account.id, &new, &f->err));
	assert_ok(wr_signing_open(&p->signing, p->data, &times, &f->err));
	snprintf(path, sizeof path, "%s/warren.db", p->data);
	assert_int_equal(sqlite3_open(path, &p->sq), SQLITE_OK);
	sqlite3_busy_timeout(p->sq, 60000);
	run_sql(p, "UPDATE repo SET id = %Q", REPO_ID);
	run_sql(p, "INSERT INTO delivery_turn (account_id, host) VALUES (%Q, '10.0.0.1')", p->account.id);
}

static void close_place(struct place *p)
{
	sqlite3_close(p->sq);
	wr_signing_free(p->signing);
	wr_db_close(p->db);
}

/* wake: it was resumed, and nobody has looked yet. */
static void add_trigger(struct place *p, int seq, const char *globs, bool wake)
{
	char id[WR_UUID_LEN + 1];

	wr_uuid_new(id);
	run_sql(p,
		"INSERT INTO push_trigger (seq, id, account_id, repo_id, globs, endpoint, turn, since_seq, created_ms,"
		" resumed_ms, wake) VALUES (%d, %Q, %Q, %Q, %Q, 'http://10.0.0.1/', 1, 0, 1, 1, %d)",
		seq, id, p->account.id, REPO_ID, globs, wake);
}

/* Updates that have to be looked at. */
static void add_new(struct place *p, const struct wr_oid *commit, int n)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, commit);
	run_sql(p,
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
		" INSERT INTO delivery (id, trigger_seq, turn, account_id, repo_id, chain, branch, new_oid, author,"
		" occurred_ms, created_ms, kind, extended, state, not_before_ms)"
		" SELECT 'd' || i, 1, 1, %Q, %Q, 'wide', 'wide', x'%s', '', 1, 1, 'push', 0, 0, 1 FROM n",
		n, p->account.id, REPO_ID, hex);
	run_sql(p, "UPDATE delivery_turn SET pending = %d", n);
}

/* Globs of which each takes its time over each path of the one folder. */
static void make_wide(struct fx *f, struct wr_oid *commit, struct wr_buf *globs)
{
	WR_AUTO_S(wr_buf) in = WR_BUF_INIT(1 << 20);

	wr_buf_addz(&in, "commit refs/heads/wide\ncommitter C <c@example.org> 1700000000 +0000\ndata 0\n");
	for (int i = 0; i < 500; i++)
		wr_buf_printf(&in, "M 100644 inline %0200d%d\ndata 0\n\n", 0, i);
	import(f, "real", &in);
	push_all(f, "real");
	sh_oid(f, commit, "git -C real rev-parse wide");
	for (int i = 0; i < 20; i++) {
		wr_buf_addz(globs, i ? ",\"" : "[\"");
		for (int k = 0; k < 400; k++)
			wr_buf_addz(globs, "*0");
		wr_buf_addz(globs, "x\"");
	}
	wr_buf_addc(globs, ']');
	wr_buf_addc(globs, '\0');
	assert_true(wr_buf_ok(globs));
}

static void nobody_waits_until_all_is_judged(void **state)
{
	struct fx *f = *state;
	struct place p = {NULL};
	WR_AUTO_S(wr_buf) globs = WR_BUF_INIT(1 << 20);
	struct wr_sender_config cfg;
	struct wr_sender *sender;
	struct wr_oid commit;

	open_place(&p, f);
	make_wide(f, &commit, &globs);
	add_trigger(&p, 1, globs.ptr, false);
	add_trigger(&p, 2, NULL, true);
	add_new(&p, &commit, 1000);
	cfg = (struct wr_sender_config){
		.db = p.db, .git = f->git, .signing = p.signing, .issuer = "http://warren.test", .run = p.data,
		.lease = "own",
		.rules = {.agent = "warren/test", .connect_ms = 1000, .total_ms = 1000, .max_answer = 4096,
			  .connections = 4},
		.bounds = {.entries = 100000, .commits = 1000, .ms = 50, .cpu_ms = 50},
		.parallel = 4, .parallel_account = 4, .parallel_host = 4, .retry_ms = 1000, .give_up_ms = INT64_MAX,
		.keep_ms = 1000000, .keep_max = 1000, .waiting_account = 1000000,
	};
	wr_log_set_threshold(WR_ERROR);
	assert_ok(wr_sender_start(&sender, &cfg, &f->err));
	/* 1000 times 50 ms lie before the end of what is to be judged. */
	while (number(&p, "SELECT wake FROM push_trigger WHERE seq = 2"))
		assert_true(number(&p, "SELECT count(*) FROM delivery WHERE state = 0") > 0);
	wr_sender_retire(sender);
	wr_sender_stop(sender, 0);
	close_place(&p);
}

static void one_that_cannot_begin_says_so(void **state)
{
	struct fx *f = *state;
	struct wr_sender_config cfg = {.parallel = 4, .rules = {.agent = "x"}};
	struct wr_sender *sender = NULL;
	struct rlimit was, none;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = was;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(wr_sender_start(&sender, &cfg, &f->err), WR_E_UNAVAILABLE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	assert_null(sender);
}

#define IN_STORE(test) cmocka_unit_test_setup_teardown(test, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_STORE(nobody_waits_until_all_is_judged),
		IN_STORE(one_that_cannot_begin_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
