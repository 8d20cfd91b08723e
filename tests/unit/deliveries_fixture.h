/*
 * tests/unit/deliveries_fixture.h: a database with accounts, repositories and triggers; events, claims and their ends; and
 * what has to be true of the queue's rows at any time.
 */
#ifndef DELIVERIES_FIXTURE_H
#define DELIVERIES_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>

#include "core/auth/accounts.h"
#include "core/auth/repos.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "triggers/delivery.h"

#define ACCOUNTS 3u
#define REPOS 6u /* two of each account */
#define HOSTS 8u
#define CLAIMS 64u
#define HEX9 "0000000000000000000000000000000000000009"

struct place {
	char root[64];
	struct wr_db *db;
	sqlite3 *sq; /* beside it */
	struct wr_account accounts[ACCOUNTS];
	struct wr_repo repos[REPOS];
	struct wr_deliveries deliveries;
	unsigned told; /* how often there was something new */
	uint64_t seq;  /* of the last event */
	int64_t base;  /* what claims call 0 */
	char author[128];
	size_t room_account[ACCOUNTS], room_host[HOSTS];
	struct wr_error err;
};

#define assert_ok(call) assert_int_equal((call), WR_OK)

static inline int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static inline void told(void *arg)
{
	struct place *p = arg;

	p->told++;
}

static inline int open_place(void **state)
{
	struct place *p = calloc(1, sizeof *p);
	struct wr_secret_text key;
	char path[128];

	snprintf(p->root, sizeof p->root, "/tmp/test_deliveries.XXXXXX");
	assert_non_null(mkdtemp(p->root));
	assert_ok(wr_db_open(&p->db, p->root, &p->err));
	for (unsigned i = 0; i < ACCOUNTS; i++) {
		snprintf(path, sizeof path, "account %u", i);
		assert_ok(wr_account_create(&p->accounts[i], &key, p->db, wr_str(path), &p->err));
	}
	for (unsigned i = 0; i < REPOS; i++) {
		const struct wr_repo_new new = {.default_branch = WR_S("main")};

		assert_ok(wr_repo_create(&p->repos[i], p->db, p->accounts[i / 2].id, &new, &p->err));
	}
	snprintf(path, sizeof path, "%s/warren.db", p->root);
	assert_int_equal(sqlite3_open(path, &p->sq), SQLITE_OK);
	sqlite3_busy_timeout(p->sq, 60000);
	memset(p->room_account, 0x7f, sizeof p->room_account);
	memset(p->room_host, 0x7f, sizeof p->room_host);
	p->deliveries = (struct wr_deliveries){.db = p->db, .added = told, .arg = p};
	p->base = wr_now_ms() + 600000;
	*state = p;
	return 0;
}

static inline int close_place(void **state)
{
	struct place *p = *state;

	sqlite3_close(p->sq);
	wr_db_close(p->db);
	wr_error_fini(&p->err);
	nftw(p->root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(p);
	return 0;
}

/* ---- SQL beside the module ---- */

static inline int64_t number_in(struct place *p, const char *fmt, va_list ap)
{
	char *sql = sqlite3_vmprintf(fmt, ap);
	sqlite3_stmt *stmt = NULL;
	int64_t n = 0;

	if (sqlite3_prepare_v2(p->sq, sql, -1, &stmt, NULL) != SQLITE_OK)
		fail_msg("%s: %s", sqlite3_errmsg(p->sq), sql);
	if (sqlite3_step(stmt) == SQLITE_ROW)
		n = sqlite3_column_int64(stmt, 0);
	assert_int_equal(sqlite3_finalize(stmt), SQLITE_OK);
	sqlite3_free(sql);
	return n;
}

static inline int64_t number(struct place *p, const char *fmt, ...)
{
	va_list ap;
	int64_t n;

	va_start(ap, fmt);
	n = number_in(p, fmt, ap);
	va_end(ap);
	return n;
}

static inline void execute(struct place *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)number_in(p, fmt, ap);
	va_end(ap);
}

/* Nothing: of the rows that break it the first is said. */
static inline void none(struct place *p, const char *what, const char *sql)
{
	int64_t seq = number(p, "%s LIMIT 1", sql);

	if (seq != 0)
		fail_msg("%s: row %lld", what, (long long)seq);
}

/* Of every moment. */
static inline void check(struct place *p)
{
	none(p, "pending",
	     "SELECT seq FROM delivery_turn w WHERE pending <> (SELECT count(*) FROM delivery WHERE turn = w.seq AND state < 4)");
	none(p, "when a turn is due",
	     "SELECT seq FROM delivery_turn w WHERE next_ms IS NOT (SELECT min(not_before_ms) FROM delivery"
	     " WHERE turn = w.seq AND state = 2)");
	none(p, "when an account is due",
	     "SELECT 1 FROM account a WHERE (SELECT min(next_ms) FROM delivery_turn WHERE account_id = a.id) IS NOT"
	     " (SELECT next_ms FROM delivery_account WHERE account_id = a.id)");
	none(p, "out of order",
	     "SELECT d.seq FROM delivery d JOIN delivery e ON e.trigger_seq = d.trigger_seq AND e.chain = d.chain"
	     " AND e.seq < d.seq WHERE d.state IN (2, 3) AND e.state < 4");
	none(p, "forgotten",
	     "SELECT d.seq FROM delivery d JOIN push_trigger t ON t.seq = d.trigger_seq WHERE d.state = 1"
	     " AND t.paused_ms IS NULL AND t.wake = 0 AND t.deleted_ms IS NULL AND NOT EXISTS (SELECT 1 FROM delivery e"
	     " WHERE e.trigger_seq = d.trigger_seq AND e.chain = d.chain AND e.seq < d.seq AND e.state < 4)");
	none(p, "how many ended",
	     "SELECT seq FROM push_trigger t WHERE deleted_ms IS NULL AND ended <>"
	     " (SELECT count(*) FROM delivery WHERE trigger_seq = t.seq AND state >= 4)");
}

/* ---- triggers ---- */

struct options {
	unsigned repo, host;
	const char *branches, *globs, *payload;
	int since;
};

static inline int64_t turn_of(struct place *p, const char *account, unsigned host)
{
	execute(p, "INSERT OR IGNORE INTO delivery_turn (account_id, host) VALUES (%Q, 'h%u')", account, host);
	return number(p, "SELECT seq FROM delivery_turn WHERE account_id = %Q AND host = 'h%u'", account, host);
}

static inline int64_t add_trigger(struct place *p, const struct options *o)
{
	const struct wr_repo *repo = &p->repos[o->repo];
	char id[WR_UUID_LEN + 1];

	wr_uuid_new(id);
	execute(p,
		"INSERT INTO push_trigger (id, account_id, repo_id, branches, globs, endpoint, payload, turn, since_seq,"
		" created_ms) VALUES (%Q, %Q, %Q, %Q, %Q, 'http://h%u/', %Q, %lld, %d, 1)",
		id, repo->account_id, repo->id, o->branches, o->globs, o->host, o->payload,
		(long long)turn_of(p, repo->account_id, o->host), o->since);
	return number(p, "SELECT seq FROM push_trigger WHERE id = %Q", id);
}

static inline void pause_trigger(struct place *p, int64_t trigger, bool paused)
{
	/* A clock that stands still: no moment may be taken for another one. */
	if (paused)
		execute(p, "UPDATE push_trigger SET paused_ms = %lld WHERE seq = %lld AND paused_ms IS NULL",
			(long long)wr_now_ms(), (long long)trigger);
	else
		execute(p, "UPDATE push_trigger SET paused_ms = NULL, resumed_ms = 1, resumes = resumes + 1, wake = 1"
			   " WHERE seq = %lld AND paused_ms IS NOT NULL", (long long)trigger);
}

static inline void change_host(struct place *p, int64_t trigger, unsigned host)
{
	char account[WR_UUID_LEN + 1];
	sqlite3_stmt *stmt = NULL;

	assert_int_equal(sqlite3_prepare_v2(p->sq, "SELECT account_id FROM push_trigger WHERE seq = ?1", -1, &stmt, NULL),
			 SQLITE_OK);
	sqlite3_bind_int64(stmt, 1, trigger);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	snprintf(account, sizeof account, "%s", (const char *)sqlite3_column_text(stmt, 0));
	sqlite3_finalize(stmt);
	execute(p, "UPDATE push_trigger SET endpoint = 'http://h%u/', turn = %lld WHERE seq = %lld", host,
		(long long)turn_of(p, account, host), (long long)trigger);
}

/* ---- events ---- */

/* Commits are numbers; 0 is none. */
static inline struct wr_oid oid(unsigned n)
{
	struct wr_oid out = {{0}};

	for (int i = 0; i < 4; i++)
		out.id[WR_OID_RAW - 1 - i] = (uint8_t)(n >> 8 * i);
	return out;
}

static inline unsigned number_of(const struct wr_oid *o)
{
	return (unsigned)o->id[16] << 24 | (unsigned)o->id[17] << 16 | (unsigned)o->id[18] << 8 | o->id[19];
}

struct telling {
	struct place *p;
	const char *repo_id;
	struct wr_event event;
};

static inline enum wr_code tell(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	struct telling *t = arg;

	return wr_deliveries_event(&t->p->deliveries, tx, t->repo_id, &t->event, err);
}

static inline void event_at(struct place *p, unsigned repo, const char *ref, unsigned old, unsigned new, uint64_t seq)
{
	struct telling t = {p, p->repos[repo].id,
			    {.seq = seq, .time_ms = 1234567, .author = wr_str(p->author), .ref = wr_str(ref),
			     .old = oid(old), .new = oid(new)}};

	assert_ok(wr_db_write(p->db, WR_DB_NORMAL, tell, &t, &p->err));
	wr_deliveries_done(&p->deliveries);
}

static inline void event(struct place *p, unsigned repo, const char *ref, unsigned old, unsigned new)
{
	event_at(p, repo, ref, old, new, ++p->seq);
}

/* ---- claims ---- */

struct taken {
	struct wr_claim claims[CLAIMS];
	size_t n;
	int64_t next_ms;
};

static inline size_t account_room(void *arg, const char *account_id)
{
	const struct place *p = arg;

	for (unsigned i = 0; i < ACCOUNTS; i++)
		if (strcmp(p->accounts[i].id, account_id) == 0)
			return p->room_account[i];
	fail_msg("no such account: %s", account_id);
	return 0;
}

static inline size_t host_room(void *arg, const char *account_id, const char *host)
{
	const struct place *p = arg;

	(void)account_id;
	return p->room_host[host[1] - '0'];
}

static inline struct taken claim(struct place *p, const char *lease, int64_t now, size_t max)
{
	const struct wr_claiming claiming = {.lease = lease, .now_ms = p->base + now, .max = max,
					     .account_room = account_room, .host_room = host_room, .arg = p};
	struct taken t;

	assert_true(max <= CLAIMS);
	assert_ok(wr_deliveries_turnover(t.claims, &t.n, &t.next_ms, p->db, NULL, 0, &claiming, NULL));
	assert_true(t.n <= max);
	return t;
}

static inline void finish(struct place *p, const struct wr_claim *claim, const char *lease, int what, int64_t again)
{
	struct wr_outcome outcome = {.seq = claim->hook.seq, .lease = lease, .not_before_ms = p->base + again,
				     .status = 200, .latency_ms = 12, .error = "as the test says",
				     .answer = WR_S("an\0swer")};
	int64_t next_ms;
	size_t n = 0;

	outcome.what = (__typeof__(outcome.what))what;
	assert_ok(wr_deliveries_turnover(NULL, &n, &next_ms, p->db, &outcome, 1, NULL, NULL));
}

static inline void sweep(struct place *p, int64_t old_ms, unsigned keep_max)
{
	struct wr_waking waking = {.resumes = 0};
	unsigned steps = 0;
	bool more = true;

	while (more) {
		assert_ok(wr_deliveries_sweep(&more, &waking, p->db, old_ms, keep_max, &p->err));
		assert_true(++steps < 1000);
	}
}

#endif
