/*
 * Care that is due, known by the database: found again after any end of the process, by nobody's request, once, and with a
 * clock that the test moves. The store, its keeper and the database are real.
 */
#include "tests/unit/git_fixture.h"

#include <signal.h>
#include <sys/wait.h>

#include "core/auth/due.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/git/git_internal.h"
#include "core/git/keeper.h"
#include "core/store/db_internal.h"
#include "server/due_rows.h"
#include "server/journal_events.h"

#define HOUR INT64_C(3600000)
#define GRACE (100 * HOUR)
#define PATIENCE_MS 60000
#define ACCOUNT "aaaaaaaa-89ab-4def-8123-456789abcdef"

static struct wr_db *db;
static struct wr_journal_events je;
static struct wr_due_rows rows;
static _Atomic int64_t clock_ms;
static const struct wr_oid zero;

static int64_t moved_clock(void *arg)
{
	(void)arg;
	return atomic_load(&clock_ms);
}

/* ---- the database ---- */

static int64_t ask(const struct fx *f, const char *sql, const char *id)
{
	char path[160];
	sqlite3 *sq = NULL;
	sqlite3_stmt *stmt = NULL;
	int64_t n = -1;

	snprintf(path, sizeof path, "%s/warren.db", f->cfg.data);
	assert_int_equal(sqlite3_open(path, &sq), SQLITE_OK);
	sqlite3_busy_timeout(sq, 10000);
	assert_int_equal(sqlite3_prepare_v2(sq, sql, -1, &stmt, NULL), SQLITE_OK);
	sqlite3_bind_text(stmt, 1, id, -1, SQLITE_STATIC);
	if (sqlite3_step(stmt) == SQLITE_ROW)
		n = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	sqlite3_close(sq);
	return n;
}

static int64_t due_at(const struct fx *f, const char *id)
{
	return ask(f, "SELECT coalesce(due_ms, 0) FROM repo WHERE id = ?1", id);
}

static bool due_why(const struct fx *f, const char *id, const char *why)
{
	char sql[160];

	snprintf(sql, sizeof sql, "SELECT coalesce(due_why, '') = '%s' FROM repo WHERE id = ?1", why);
	return ask(f, sql, id) == 1;
}

static bool is_marked(const struct fx *f, const char *id)
{
	return ask(f, "SELECT mark IS NOT NULL FROM repo WHERE id = ?1", id) == 1;
}

static bool all_is_done(const struct fx *f)
{
	return ask(f, "SELECT count(*) FROM repo WHERE due_ms IS NOT NULL OR mark IS NOT NULL", "") == 0;
}

static void add_account(const struct fx *f, const char *id)
{
	ask(f, "INSERT OR IGNORE INTO account (id, name, created_ms) VALUES (?1, ?1, 1)", id);
}

static void add_repo(const struct fx *f, const char *id, const char *account)
{
	char sql[256];

	snprintf(sql, sizeof sql,
		 "INSERT INTO repo (id, account_id, visibility, default_branch, state, created_ms)"
		 " VALUES (?1, '%s', 'private', 'main', 'live', 1)", account);
	ask(f, sql, id);
}

/* Until it is true. */
#define wait_for(what)                                                                                                 \
	do {                                                                                                           \
		int64_t until_ = wr_mono_ms() + PATIENCE_MS;                                                           \
		while (!(what)) {                                                                                      \
			if (wr_mono_ms() > until_)                                                                     \
				fail_msg("in vain: " #what);                                                           \
			nanosleep(&(struct timespec){.tv_nsec = 2 * 1000 * 1000}, NULL);                               \
		}                                                                                                      \
	} while (0)

/* ---- a life of the server ---- */

static void open_db(struct fx *f)
{
	assert_ok(wr_db_open(&db, f->cfg.data, &f->err));
	wr_journal_events_init(&je, db, NULL, 0);
	wr_due_rows_init(&rows, db);
}

/* Without a handle to any repository. */
static void begin(struct fx *f)
{
	open_db(f);
	assert_ok(wr_git_open(&f->git, &f->cfg, &f->err));
	if (f->git->events)
		wr_events_set_times(f->git->events, 1, 0, 5);
}

static void leave(struct fx *f)
{
	if (f->repo)
		wr_git_repo_unref(f->repo);
	f->repo = NULL;
}

static void end(struct fx *f)
{
	leave(f);
	wr_git_close(f->git);
	f->git = NULL;
	wr_db_close(db);
	db = NULL;
}

static void use(struct fx *f, const char *id)
{
	leave(f);
	assert_ok(wr_git_repo_open(&f->repo, f->git, id, &f->err));
}

static int setup(void **state)
{
	struct fx *f;

	wr_log_set_threshold(WR_ERROR);
	atomic_store(&clock_ms, 1700000000000);
	fx_setup(state);
	f = *state;
	fx_stop(f);
	f->cfg.cruft_grace_ms = GRACE;
	f->cfg.now_ms = moved_clock;
	f->cfg.events = &je.sink;
	f->cfg.due = &rows.list;
	f->cfg.care_poll_ms = 5;
	open_db(f);
	add_account(f, ACCOUNT);
	add_repo(f, REPO_ID, ACCOUNT);
	wr_db_close(db);
	db = NULL;
	return 0;
}

/* ---- what is pushed ---- */

static void push_new(struct fx *f, struct wr_oid *out, const char *ref, const char *text)
{
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(64u << 20);
	char hex[WR_OID_HEX + 1];

	sh(f, "test -d src || git init -q --bare src");
	sh_oid(f, out,
	       "cd src; b=$(printf '%%s' '%s' | git hash-object -w --stdin); t=$(printf '100644 blob %%s\\t%s\\n' $b | git "
	       "mktree); git commit-tree -m m $t", text, text);
	wr_oid_hex(hex, out);
	sh_out(f, &pack, "printf '%%s\\n' %s | git -C src pack-objects -q --revs --stdout", hex);
	assert_ok(push(f, wr_buf_str(&pack), ref, out));
}

/* A history of so many objects at least, at once. */
static void push_many(struct fx *f, const char *ref, unsigned n)
{
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(64u << 20);
	struct wr_oid oid;
	char hex[WR_OID_HEX + 1];

	sh_oid(f, &oid,
	       "test -d src || git init -q --bare src; cd src; for i in $(seq %u); do printf '100644 blob %%s\\tf%%s\\n' "
	       "$(echo %s $i | git hash-object -w --stdin) $i; done | git mktree > t; git commit-tree -m m $(cat t)", n, ref);
	wr_oid_hex(hex, &oid);
	sh_out(f, &pack, "printf '%%s\\n' %s | git -C src pack-objects -q --revs --stdout", hex);
	assert_ok(push(f, wr_buf_str(&pack), ref, &oid));
}

static bool has(struct fx *f, const struct wr_oid *oid)
{
	WR_AUTO(wr_snapshot) *snap = NULL;

	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	return wr_snapshot_has(snap, oid);
}

static uint64_t checkpoint_of(struct fx *f)
{
	WR_AUTO_S(wr_git_info) info = {0};

	assert_ok(wr_git_repo_info(&info, f->repo, &f->err));
	return info.checkpoint;
}

static bool checkpoint(struct fx *f)
{
	bool did;

	if (wr_git_repo_checkpoint(&did, f->repo, &f->err) != WR_OK)
		fail_msg("%s %s", f->err.text, f->err.detail);
	return did;
}

/* ---- by nobody's request ---- */

static void cruft_goes_when_its_grace_is_over(void **state)
{
	struct fx *f = *state;
	struct wr_oid a, b;
	int64_t at;

	begin(f);
	use(f, REPO_ID);
	push_new(f, &a, "refs/heads/a", "a");
	push_new(f, &b, "refs/heads/b", "b");
	assert_ok(push(f, WR_S(""), "refs/heads/b", &zero));
	assert_true(checkpoint(f));
	wait_for(!is_marked(f, REPO_ID));
	at = due_at(f, REPO_ID);
	assert_true(due_why(f, REPO_ID, "cruft"));
	assert_true(at > atomic_load(&clock_ms) + GRACE && at < atomic_load(&clock_ms) + GRACE + GRACE / 8);
	/* While it is open, ... */
	assert_true(has(f, &b));
	atomic_store(&clock_ms, at);
	wait_for(!has(f, &b));
	wait_for(all_is_done(f));
	push_new(f, &b, "refs/heads/b", "b");
	assert_ok(push(f, WR_S(""), "refs/heads/b", &zero));
	assert_true(checkpoint(f));
	end(f);
	/* ... and while it is not. */
	assert_false(is_marked(f, REPO_ID));
	at = due_at(f, REPO_ID);
	atomic_store(&clock_ms, at - 1);
	begin(f);
	nanosleep(&(struct timespec){.tv_nsec = 50 * 1000 * 1000}, NULL);
	assert_int_equal(due_at(f, REPO_ID), at);
	assert_int_equal(wr_git_owned(f->git), 0);
	atomic_store(&clock_ms, at);
	wait_for(all_is_done(f));
	use(f, REPO_ID);
	assert_false(has(f, &b));
	assert_true(has(f, &a));
	end(f);
}

static void a_rewound_repository_waits_not_for_ever(void **state)
{
	struct fx *f = *state;
	struct wr_oid a, b;
	uint64_t before;

	begin(f);
	use(f, REPO_ID);
	push_new(f, &a, "refs/heads/a", "a");
	push_new(f, &b, "refs/heads/b", "b");
	assert_true(checkpoint(f));
	before = checkpoint_of(f);
	assert_ok(push(f, WR_S(""), "refs/heads/b", &a));
	wait_for(due_at(f, REPO_ID) != 0);
	assert_true(due_why(f, REPO_ID, "rewound"));
	assert_int_equal(checkpoint_of(f), before);
	end(f);
	atomic_fetch_add(&clock_ms, HOUR);
	begin(f);
	wait_for(!due_why(f, REPO_ID, "rewound"));
	wait_for(due_why(f, REPO_ID, "cruft"));
	use(f, REPO_ID);
	assert_true(checkpoint_of(f) > before);
	end(f);
}

/* Work is due and the process is killed: with its mark, and a while after that was taken back. */
static void a_kill_forgets_nothing(void **state)
{
	struct fx *f = *state;

	for (int marked = 0; marked < 2; marked++) {
		char ref[32];
		int status;
		pid_t pid = fork();

		snprintf(ref, sizeof ref, "refs/heads/b%d", marked);
		assert_true(pid >= 0);
		if (pid == 0) {
			begin(f);
			if (marked)
				wr_events_set_times(f->git->events, PATIENCE_MS, 0, 5);
			use(f, REPO_ID);
			push_many(f, ref, 70);
			wait_for(marked ? is_marked(f, REPO_ID) : due_why(f, REPO_ID, "journals"));
			kill(getpid(), SIGKILL);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		assert_false(all_is_done(f));
		atomic_fetch_add(&clock_ms, HOUR);
		begin(f);
		wait_for(all_is_done(f));
		use(f, REPO_ID);
		assert_true(checkpoint_of(f) > (uint64_t)marked);
		end(f);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test_setup_teardown(cruft_goes_when_its_grace_is_over, setup, fx_teardown),
	cmocka_unit_test_setup_teardown(a_rewound_repository_waits_not_for_ever, setup, fx_teardown),
	cmocka_unit_test_setup_teardown(a_kill_forgets_nothing, setup, fx_teardown),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
