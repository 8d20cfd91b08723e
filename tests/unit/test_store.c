/* core/store: batches and savepoints, concurrent writers, failed flushes, limits of the queue, migrations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/store/db_internal.h"
#include "core/store/migrate.h"
#include "tests/unit/folder.h"

struct place {
	char dir[64];
	struct wr_db *db;
};

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static int open_place(void **state)
{
	struct place *p = calloc(1, sizeof *p);

	new_folder(p->dir, sizeof p->dir, "test_store");
	assert_int_equal(wr_db_open(&p->db, p->dir, NULL), WR_OK);
	*state = p;
	return 0;
}

static int close_place(void **state)
{
	struct place *p = *state;

	wr_db_close(p->db);
	nftw(p->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(p);
	return 0;
}

static int64_t count_accounts(struct wr_db *db)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code;
	int64_t n = 0;

	assert_int_equal(wr_db_query(db, SQL_ACCOUNT_LIST, NULL, &row, ""), WR_OK);
	while ((code = wr_row_next(&row, NULL)) == WR_OK)
		n++;
	assert_int_equal(code, WR_E_NOT_THERE);
	return n;
}

/* Closures. */

static enum wr_code add_account(struct wr_tx *tx, void *name, struct wr_error *err)
{
	return wr_tx_run(tx, SQL_ACCOUNT_ADD, err, NULL, "ssi", name, name, (int64_t)1);
}

static enum wr_code add_then_fail(struct wr_tx *tx, void *name, struct wr_error *err)
{
	enum wr_code code = add_account(tx, name, err);

	return code == WR_OK ? wr_fail(err, WR_E_INVALID_REQUEST, "on purpose") : code;
}

static enum wr_code add_then_lose_all(struct wr_tx *tx, void *name, struct wr_error *err)
{
	enum wr_code code = add_account(tx, name, err);

	assert_int_equal(sqlite3_exec(tx->sq, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	return code;
}

/* Keeps the writer busy, so that what follows waits in the queue and becomes one batch. */
struct blocker {
	sem_t begun, go;
	pthread_t thread;
	struct wr_db *db;
	enum wr_code code;
};

static enum wr_code block(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	struct blocker *b = arg;

	(void)tx;
	(void)err;
	sem_post(&b->begun);
	while (sem_wait(&b->go) != 0)
		continue;
	return WR_OK;
}

static void *run_blocker(void *arg)
{
	struct blocker *b = arg;

	b->code = wr_db_write(b->db, WR_DB_NORMAL, block, b, NULL);
	return NULL;
}

static void block_writer(struct blocker *b, struct wr_db *db)
{
	b->db = db;
	sem_init(&b->begun, 0, 0);
	sem_init(&b->go, 0, 0);
	assert_int_equal(pthread_create(&b->thread, NULL, run_blocker, b), 0);
	while (sem_wait(&b->begun) != 0)
		continue;
}

static void unblock_writer(struct blocker *b)
{
	sem_post(&b->go);
	pthread_join(b->thread, NULL);
	sem_destroy(&b->begun);
	sem_destroy(&b->go);
	assert_int_equal(b->code, WR_OK);
}

struct write_call {
	struct wr_db *db;
	wr_db_fn fn;
	char name[32];
	enum wr_code code;
	pthread_t thread;
};

static void *run_call(void *arg)
{
	struct write_call *c = arg;

	c->code = wr_db_write(c->db, WR_DB_FULL, c->fn, c->name, NULL);
	return NULL;
}

static void start_call(struct write_call *c, struct wr_db *db, wr_db_fn fn, int number)
{
	c->db = db;
	c->fn = fn;
	snprintf(c->name, sizeof c->name, "account-%d", number);
	assert_int_equal(pthread_create(&c->thread, NULL, run_call, c), 0);
}

/* Until n closures wait: the queue says so itself, by refusing none and holding all. */
static void wait_queued(struct wr_db *db, size_t n)
{
	int64_t deadline = wr_mono_ms() + 30000;

	while (wr_db_queued(db) < n) {
		assert_true(wr_mono_ms() < deadline);
		sched_yield();
	}
}

static int count_commit(void *counter)
{
	++*(int *)counter;
	return 0;
}

static enum wr_code watch_commits(struct wr_tx *tx, void *counter, struct wr_error *err)
{
	(void)err;
	sqlite3_commit_hook(tx->sq, counter ? count_commit : NULL, counter);
	return WR_OK;
}

static void a_failing_closure_takes_only_itself_back(void **state)
{
	struct place *p = *state;
	struct write_call calls[12];
	struct blocker b;
	int commits = 0;

	assert_int_equal(wr_db_write(p->db, WR_DB_FULL, watch_commits, &commits, NULL), WR_OK);
	commits = 0;
	block_writer(&b, p->db);
	for (int i = 0; i < 12; i++)
		start_call(&calls[i], p->db, i % 3 == 1 ? add_then_fail : add_account, i);
	wait_queued(p->db, 12);
	unblock_writer(&b);
	for (int i = 0; i < 12; i++) {
		pthread_join(calls[i].thread, NULL);
		assert_int_equal(calls[i].code, i % 3 == 1 ? WR_E_INVALID_REQUEST : WR_OK);
	}
	assert_int_equal(count_accounts(p->db), 8);
	/* The twelve shared one transaction; the blocker's writes nothing. */
	assert_int_equal(wr_db_write(p->db, WR_DB_FULL, watch_commits, NULL, NULL), WR_OK);
	assert_in_range(commits, 1, 2);
}

/* Six closures in one transaction, in this order; the one at `odd` is another one. */
static void write_six(struct write_call calls[6], struct wr_db *db, int odd, wr_db_fn fn)
{
	struct blocker b;

	block_writer(&b, db);
	for (int i = 0; i < 6; i++) {
		start_call(&calls[i], db, i == odd ? fn : add_account, i);
		wait_queued(db, (size_t)i + 1);
	}
	unblock_writer(&b);
	for (int i = 0; i < 6; i++)
		pthread_join(calls[i].thread, NULL);
}

/* The first one has no savepoint. */
static void the_first_one_failing_takes_only_itself_back(void **state)
{
	struct place *p = *state;
	struct write_call calls[6];

	write_six(calls, p->db, 0, add_then_fail);
	for (int i = 0; i < 6; i++)
		assert_int_equal(calls[i].code, i == 0 ? WR_E_INVALID_REQUEST : WR_OK);
	assert_int_equal(count_accounts(p->db), 5);
}

static void the_first_one_losing_the_transaction_fails_all_of_it(void **state)
{
	struct place *p = *state;
	struct write_call calls[6];

	write_six(calls, p->db, 0, add_then_lose_all);
	for (int i = 0; i < 6; i++)
		assert_int_equal(calls[i].code, WR_E_UNAVAILABLE);
	assert_int_equal(count_accounts(p->db), 0);
}

static void a_rolled_back_transaction_fails_all_of_it(void **state)
{
	struct place *p = *state;
	struct write_call calls[6];
	char name[] = "later";

	write_six(calls, p->db, 3, add_then_lose_all);
	for (int i = 0; i < 6; i++) {
		assert_int_equal(calls[i].code, WR_E_UNAVAILABLE);
	}
	assert_int_equal(count_accounts(p->db), 0);
	assert_int_equal(wr_db_write(p->db, WR_DB_FULL, add_account, name, NULL), WR_OK);
	assert_int_equal(count_accounts(p->db), 1);
}

static void a_duplicate_is_told(void **state)
{
	struct place *p = *state;
	char name[] = "twice";

	assert_int_equal(wr_db_write(p->db, WR_DB_FULL, add_account, name, NULL), WR_OK);
	assert_int_equal(wr_db_write(p->db, WR_DB_FULL, add_account, name, NULL), WR_E_EXISTS);
	assert_int_equal(count_accounts(p->db), 1);
}

/* A closure within a closure. */

struct attempt {
	wr_db_fn inner;
	enum wr_code said;
};

static enum wr_code try_between(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	struct attempt *a = arg;
	WR_AUTO_S(wr_error) own = WR_ERROR_INIT;
	char outer[] = "outer", inner[] = "inner", after[] = "after";
	enum wr_code code = add_account(tx, outer, err);

	if (code == WR_OK)
		code = wr_tx_try(&a->said, tx, a->inner, inner, &own, err);
	return code == WR_OK ? add_account(tx, after, err) : code;
}

static void a_closure_within_is_undone_alone(void **state)
{
	struct place *p = *state;
	struct attempt a = {.inner = add_then_fail};

	assert_int_equal(wr_db_write(p->db, WR_DB_FULL, try_between, &a, NULL), WR_OK);
	assert_int_equal(a.said, WR_E_INVALID_REQUEST);
	assert_int_equal(count_accounts(p->db), 2);
}

static void a_closure_within_is_kept(void **state)
{
	struct place *p = *state;
	struct attempt a = {.inner = add_account, .said = WR_E_INTERNAL};

	assert_int_equal(wr_db_write(p->db, WR_DB_FULL, try_between, &a, NULL), WR_OK);
	assert_int_equal(a.said, WR_OK);
	assert_int_equal(count_accounts(p->db), 3);
}

static void a_closure_within_that_loses_the_transaction_loses_all(void **state)
{
	struct place *p = *state;
	struct attempt a = {.inner = add_then_lose_all};

	assert_int_equal(wr_db_write(p->db, WR_DB_FULL, try_between, &a, NULL), WR_E_UNAVAILABLE);
	assert_int_equal(count_accounts(p->db), 0);
}

/* Many writers and readers at once. */

#define WRITERS 8
#define EACH 40

struct crowd {
	struct wr_db *db;
	int number;
	atomic_bool *done;
};

static void *write_many(void *arg)
{
	struct crowd *c = arg;
	char name[32];

	for (int i = 0; i < EACH; i++) {
		snprintf(name, sizeof name, "w%d-%d", c->number, i);
		assert_int_equal(wr_db_write(c->db, i % 2 ? WR_DB_FULL : WR_DB_NORMAL, add_account, name, NULL), WR_OK);
	}
	return NULL;
}

static void *read_many(void *arg)
{
	struct crowd *c = arg;
	int64_t last = 0;

	while (!atomic_load(c->done)) {
		int64_t n = count_accounts(c->db);

		assert_true(n >= last);
		last = n;
	}
	return NULL;
}

static void concurrent_writers_all_arrive(void **state)
{
	struct place *p = *state;
	pthread_t writers[WRITERS], readers[2];
	struct crowd crowd[WRITERS + 2];
	atomic_bool done = false;

	for (int i = 0; i < WRITERS + 2; i++) {
		crowd[i] = (struct crowd){p->db, i, &done};
		if (i < WRITERS)
			assert_int_equal(pthread_create(&writers[i], NULL, write_many, &crowd[i]), 0);
		else
			assert_int_equal(pthread_create(&readers[i - WRITERS], NULL, read_many, &crowd[i]), 0);
	}
	for (int i = 0; i < WRITERS; i++)
		pthread_join(writers[i], NULL);
	atomic_store(&done, true);
	pthread_join(readers[0], NULL);
	pthread_join(readers[1], NULL);
	assert_int_equal(count_accounts(p->db), WRITERS * EACH);
}

/* What was acknowledged is there after the database was opened anew. */
static void reopening_keeps_everything(void **state)
{
	struct place *p = *state;
	char name[] = "kept";
	struct stat st;
	char path[96];

	assert_int_equal(wr_db_write(p->db, WR_DB_FULL, add_account, name, NULL), WR_OK);
	snprintf(path, sizeof path, "%s/warren.db", p->dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	snprintf(path, sizeof path, "%s/warren.db-wal", p->dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	wr_db_close(p->db);
	p->db = NULL;
	assert_int_equal(wr_db_open(&p->db, p->dir, NULL), WR_OK);
	assert_int_equal(count_accounts(p->db), 1);
}

/* The queue. */

static void a_deadline_removes_what_has_not_begun(void **state)
{
	struct place *p = *state;
	struct blocker b;
	char late[] = "late", later[] = "later";

	block_writer(&b, p->db);
	wr_db_set_begin_timeout(p->db, 1);
	assert_int_equal(wr_db_write(p->db, WR_DB_FULL, add_account, late, NULL), WR_E_UNAVAILABLE);
	assert_int_equal(wr_db_queued(p->db), 0);
	wr_db_set_begin_timeout(p->db, 30000);
	unblock_writer(&b);
	assert_int_equal(wr_db_write(p->db, WR_DB_FULL, add_account, later, NULL), WR_OK);
	assert_int_equal(count_accounts(p->db), 1);
}

static atomic_int freed;

static void count_free(void *arg)
{
	free(arg);
	atomic_fetch_add(&freed, 1);
}

static void posts_are_bounded_and_freed(void **state)
{
	struct place *p = *state;
	struct blocker b;
	char name[] = "behind";
	int taken = 0, i;

	atomic_store(&freed, 0);
	block_writer(&b, p->db);
	for (i = 0; i < 100000; i++) {
		char *arg = malloc(32);

		snprintf(arg, 32, "posted-%d", i);
		if (!wr_db_post(p->db, i % 2 ? add_account : add_then_fail, arg, count_free))
			break;
		taken++;
	}
	assert_in_range(taken, 1, 10000);
	assert_int_equal(atomic_load(&freed), 1);
	unblock_writer(&b);
	/* Those that nobody waits for leave room for those that somebody does; and this one comes behind them. */
	assert_int_equal(wr_db_write(p->db, WR_DB_FULL, add_account, name, NULL), WR_OK);
	assert_int_equal(atomic_load(&freed), taken + 1);
	assert_int_equal(count_accounts(p->db), taken / 2 + 1);
}

static void *read_once(void *db)
{
	count_accounts(db);
	return NULL;
}

static size_t open_files(void)
{
	size_t n = 0;

	for (int fd = 0; fd < 1024; fd++) {
		struct stat st;

		n += fstat(fd, &st) == 0 ? 1 : 0;
	}
	return n;
}

static void threads_that_end_leave_no_connection(void **state)
{
	struct place *p = *state;
	size_t before = 0;

	for (int i = 0; i < 100; i++) {
		pthread_t thread;

		if (i == 4)
			before = open_files();
		assert_int_equal(pthread_create(&thread, NULL, read_once, p->db), 0);
		pthread_join(thread, NULL);
	}
	assert_in_range(open_files(), 0, before + 4);
}

/* A disk whose flushes fail: the default file system with another xSync. */

static atomic_bool sync_fails;
static sqlite3_vfs broken_vfs;
static sqlite3_vfs *real_vfs;
static sqlite3_io_methods broken_methods;
static void *read_without_descriptors(void *db)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;

	return (void *)(uintptr_t)wr_db_one(db, SQL_ACCOUNT_BY_NAME, NULL, &row, "s", "x");
}

/* A new thread needs a connection of its own; that it cannot have one now is no fault of anybody's. */
static void without_descriptors_a_reader_has_to_wait(void **state)
{
	struct place *p = *state;
	struct rlimit was, none;
	pthread_t thread;
	void *code;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = was;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(pthread_create(&thread, NULL, read_without_descriptors, p->db), 0);
	assert_int_equal(pthread_join(thread, &code), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	assert_int_equal((uintptr_t)code, WR_E_UNAVAILABLE);
}

static int (*real_sync)(sqlite3_file *file, int flags);

static int broken_sync(sqlite3_file *file, int flags)
{
	return atomic_load(&sync_fails) ? SQLITE_IOERR_FSYNC : real_sync(file, flags);
}

static int broken_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
	int rc = real_vfs->xOpen(real_vfs, name, file, flags, out);

	(void)vfs;
	if (rc == SQLITE_OK && (flags & SQLITE_OPEN_WAL)) {
		broken_methods = *file->pMethods;
		real_sync = broken_methods.xSync;
		broken_methods.xSync = broken_sync;
		file->pMethods = &broken_methods;
	}
	return rc;
}

static int open_broken(void **state)
{
	real_vfs = sqlite3_vfs_find(NULL);
	broken_vfs = *real_vfs;
	broken_vfs.zName = "broken";
	broken_vfs.xOpen = broken_open;
	sqlite3_vfs_register(&broken_vfs, 1);
	atomic_store(&sync_fails, false);
	return open_place(state);
}

static int close_broken(void **state)
{
	close_place(state);
	sqlite3_vfs_register(real_vfs, 1);
	sqlite3_vfs_unregister(&broken_vfs);
	return 0;
}

static void after_a_failed_flush_nothing_is_acknowledged_until_a_checkpoint_worked(void **state)
{
	struct place *p = *state;
	char before[] = "before", lost[] = "lost", refused[] = "refused", after[] = "after";

	assert_int_equal(wr_db_write(p->db, WR_DB_FULL, add_account, before, NULL), WR_OK);
	atomic_store(&sync_fails, true);
	assert_int_equal(wr_db_write(p->db, WR_DB_FULL, add_account, lost, NULL), WR_E_INTERNAL);
	assert_int_equal(count_accounts(p->db), 1);
	/* This one would not flush by itself. */
	assert_int_equal(wr_db_write(p->db, WR_DB_NORMAL, add_account, refused, NULL), WR_E_INTERNAL);
	atomic_store(&sync_fails, false);
	assert_int_equal(wr_db_write(p->db, WR_DB_FULL, add_account, after, NULL), WR_OK);
	assert_int_equal(count_accounts(p->db), 2);
}

static enum wr_code fill(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	static char big[200000];
	char pragma[64];

	(void)arg;
	memset(big, 'x', sizeof big - 1);
	snprintf(pragma, sizeof pragma, "PRAGMA max_page_count = 60");
	assert_int_equal(sqlite3_exec(tx->sq, pragma, NULL, NULL, NULL), SQLITE_OK);
	return wr_tx_run(tx, SQL_ACCOUNT_ADD, err, NULL, "ssi", "big", big, (int64_t)1);
}

static void a_full_disk_has_its_own_code(void **state)
{
	struct place *p = *state;

	assert_int_equal(wr_db_write(p->db, WR_DB_FULL, fill, NULL, NULL), WR_E_STORAGE_FULL);
	assert_int_equal(count_accounts(p->db), 0);
}

/* Migrations. */

static void an_empty_database_is_migrated_once(void **state)
{
	sqlite3 *sq = NULL;
	size_t ran = 0;

	(void)state;
	assert_int_equal(sqlite3_open(":memory:", &sq), SQLITE_OK);
	assert_int_equal(wr_migrate(sq, wr_migrations, wr_migration_count, &ran, NULL), WR_OK);
	assert_int_equal(ran, wr_migration_count);
	assert_int_equal(wr_migrate(sq, wr_migrations, wr_migration_count, &ran, NULL), WR_OK);
	assert_int_equal(ran, 0);
	assert_int_equal(sqlite3_exec(sq, "SELECT id FROM account", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(sq);
}

static void a_failing_migration_leaves_nothing_of_itself(void **state)
{
	static const struct wr_migration broken[] = {{1, "0001-good", "CREATE TABLE good (a INTEGER)"},
						     {2, "0002-bad", "CREATE TABLE half (a INTEGER); CREATE nonsense"}};
	static const struct wr_migration mended[] = {{1, "0001-good", "CREATE TABLE good (a INTEGER)"},
						     {2, "0002-bad", "CREATE TABLE half (a INTEGER)"}};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	sqlite3 *sq = NULL;
	size_t ran = 0;

	(void)state;
	assert_int_equal(sqlite3_open(":memory:", &sq), SQLITE_OK);
	assert_int_equal(wr_migrate(sq, broken, 2, &ran, &err), WR_E_INTERNAL);
	assert_non_null(strstr(err.detail, "0002-bad"));
	assert_int_equal(sqlite3_exec(sq, "SELECT a FROM good", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(sq, "SELECT a FROM half", NULL, NULL, NULL), SQLITE_ERROR);
	assert_int_equal(wr_migrate(sq, mended, 2, &ran, NULL), WR_OK);
	assert_int_equal(ran, 1);
	sqlite3_close(sq);
}

static void a_newer_database_is_refused(void **state)
{
	struct place *p = *state;
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	char path[96];
	sqlite3 *sq = NULL;

	wr_db_close(p->db);
	p->db = NULL;
	snprintf(path, sizeof path, "%s/warren.db", p->dir);
	assert_int_equal(sqlite3_open(path, &sq), SQLITE_OK);
	assert_int_equal(sqlite3_exec(sq, "INSERT INTO migration VALUES (4711, '4711-future', 0)", NULL, NULL, NULL),
			 SQLITE_OK);
	sqlite3_close(sq);
	assert_int_equal(wr_db_open(&p->db, p->dir, &err), WR_E_INTERNAL);
	assert_null(p->db);
	assert_non_null(strstr(err.detail, "newer program"));
	assert_non_null(strstr(err.detail, "4711"));
}

/* What each migration finds is what the ones before it made: a row of every table survives them all. */
static void every_old_database_is_brought_up_to_date(void **state)
{
	static const char rows[] =
		"PRAGMA foreign_keys = ON;"
		"INSERT INTO account (id, name, created_ms) VALUES ('a', 'owner', 1);"
		"INSERT INTO api_key (id, account_id, name, hash, created_ms) VALUES ('k', 'a', 'x', zeroblob(32), 1);"
		"INSERT INTO identity (id, account_id, created_ms) VALUES ('i', 'a', 1);"
		"INSERT INTO token (id, account_id, identity_id, hash, created_ms)"
		" VALUES ('t', 'a', 'i', zeroblob(32), 1);"
		"INSERT INTO repo (id, account_id, visibility, default_branch, state, created_ms)"
		" VALUES ('r', 'a', 'public', 'main', 'live', 1);"
		"INSERT INTO repo_grant (account_id, identity_id, repo_id, level, created_ms)"
		" VALUES ('a', 'i', 'r', 'write', 1)";
	static const char whole[] =
		"SELECT count(*) FROM account JOIN api_key JOIN identity JOIN token JOIN repo JOIN repo_grant"
		" WHERE repo.event_seq = 0 AND repo.mark IS NULL AND repo.default_branch = 'main'";

	(void)state;
	for (size_t old = 1; old <= wr_migration_count; old++) {
		sqlite3_stmt *stmt = NULL;
		sqlite3 *sq = NULL;
		size_t ran = 0;

		assert_int_equal(sqlite3_open(":memory:", &sq), SQLITE_OK);
		assert_int_equal(wr_migrate(sq, wr_migrations, old, &ran, NULL), WR_OK);
		assert_int_equal(sqlite3_exec(sq, rows, NULL, NULL, NULL), SQLITE_OK);
		assert_int_equal(wr_migrate(sq, wr_migrations, wr_migration_count, &ran, NULL), WR_OK);
		assert_int_equal(ran, wr_migration_count - old);
		assert_int_equal(sqlite3_prepare_v2(sq, whole, -1, &stmt, NULL), SQLITE_OK);
		assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
		assert_int_equal(sqlite3_column_int(stmt, 0), 1);
		sqlite3_finalize(stmt);
		sqlite3_close(sq);
	}
}

/* Statements. */

static const struct {
	const char *name, *sql;
} statements[] = {
#define X(name, sql) {#name, sql},
#include "core/store/statements.def"
#undef X
};

/*
 * Accounts are few and listed by administrators; partial indexes hold nothing but what is asked for; the counts of one
 * account, which are one row for a thousand repositories, are added up; so is, for metrics, what pends at endpoints' hosts.
 */
static bool may_scan(const char *name, const char *step)
{
	return (strcmp(name, "REPO_PLACE") == 0 && strncmp(step, "SCAN (subquery", 14) == 0) ||
	       (strcmp(name, "ACCOUNT_LIST") == 0 && strcmp(step, "SCAN account") == 0) ||
	       (strcmp(name, "DELIVERIES_PENDING") == 0 && strcmp(step, "SCAN delivery_turn") == 0) ||
	       (strcmp(name, "DELIVERY_TOO_MANY") == 0 && strncmp(step, "SCAN delivery_turn USING INDEX", 30) == 0) ||
	       strcmp(step, "SCAN repo USING INDEX repo_creating") == 0;
}

static void no_statement_reads_a_whole_table(void **state)
{
	sqlite3 *sq = NULL;
	size_t ran, steps = 0;

	(void)state;
	assert_int_equal(sqlite3_open(":memory:", &sq), SQLITE_OK);
	assert_int_equal(wr_migrate(sq, wr_migrations, wr_migration_count, &ran, NULL), WR_OK);
	for (size_t i = 0; i < WR_ARRAY_LEN(statements); i++) {
		char *sql = sqlite3_mprintf("EXPLAIN QUERY PLAN %s", statements[i].sql);
		sqlite3_stmt *stmt = NULL;

		assert_int_equal(sqlite3_prepare_v2(sq, sql, -1, &stmt, NULL), SQLITE_OK);
		while (sqlite3_step(stmt) == SQLITE_ROW) {
			const char *step = (const char *)sqlite3_column_text(stmt, 3);

			steps++;
			if (strncmp(step, "SCAN", 4) == 0 && !may_scan(statements[i].name, step))
				fail_msg("%s: %s", statements[i].name, step);
		}
		sqlite3_finalize(stmt);
		sqlite3_free(sql);
	}
	assert_true(steps > WR_ARRAY_LEN(statements) / 2);
	sqlite3_close(sq);
}

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, open_place, close_place)
#define ON_BROKEN(test) cmocka_unit_test_setup_teardown(test, open_broken, close_broken)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_PLACE(a_failing_closure_takes_only_itself_back),
		IN_PLACE(the_first_one_failing_takes_only_itself_back),
		IN_PLACE(the_first_one_losing_the_transaction_fails_all_of_it),
		IN_PLACE(a_rolled_back_transaction_fails_all_of_it),
		IN_PLACE(a_duplicate_is_told),
		IN_PLACE(a_closure_within_is_undone_alone),
		IN_PLACE(a_closure_within_is_kept),
		IN_PLACE(a_closure_within_that_loses_the_transaction_loses_all),
		IN_PLACE(concurrent_writers_all_arrive),
		IN_PLACE(reopening_keeps_everything),
		IN_PLACE(a_deadline_removes_what_has_not_begun),
		IN_PLACE(posts_are_bounded_and_freed),
		IN_PLACE(threads_that_end_leave_no_connection),
		IN_PLACE(without_descriptors_a_reader_has_to_wait),
		ON_BROKEN(after_a_failed_flush_nothing_is_acknowledged_until_a_checkpoint_worked),
		IN_PLACE(a_full_disk_has_its_own_code),
		cmocka_unit_test(an_empty_database_is_migrated_once),
		cmocka_unit_test(a_failing_migration_leaves_nothing_of_itself),
		IN_PLACE(a_newer_database_is_refused),
		cmocka_unit_test(every_old_database_is_brought_up_to_date),
		cmocka_unit_test(no_statement_reads_a_whole_table),
	};

	/* Failures on purpose need no lines. */
	wr_log_set_threshold(WR_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
