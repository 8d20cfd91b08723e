/*
 * core/git/events over the real database (server/journal_events) and journals of the test's own, which outlive a killed
 * process in shared memory: exactly once and in order, whatever is killed where.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "core/auth/accounts.h"
#include "core/auth/marks.h"
#include "core/auth/repos.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/git/git_internal.h"
#include "core/git/keeper.h"
#include "core/store/db_internal.h"
#include "server/journal_events.h"
#include "tests/unit/folder.h"

#define REPOS 24
#define PATIENCE_MS 60000

/* A repository's journal: how many records it has. Record s has s % 3 events. */
struct book {
	char id[WR_UUID_LEN + 1];
	_Atomic uint64_t flushed, acknowledged;
};

static struct shared {
	struct book books[REPOS];
	atomic_int left; /* steps until the process is killed; 0: never */
} *shared;

static char dir[64];

/* ---- flushes, of which only the database makes any ---- */

static atomic_int flushes;

int fsync(int fd)
{
	atomic_fetch_add(&flushes, 1);
	return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
	atomic_fetch_add(&flushes, 1);
	return (int)syscall(SYS_fdatasync, fd);
}

/* ---- where a thread may be made to stand ---- */

static sem_t in_mark, in_deliver, in_sweep, in_open, go;
static atomic_bool hold_mark, hold_deliver, hold_sweep, hold_open;

static void stand(atomic_bool *hold, sem_t *in)
{
	if (!atomic_exchange(hold, false))
		return;
	sem_post(in);
	while (sem_wait(&go) != 0)
		continue;
}

/* ---- the store's part ---- */

static struct wr_git_repo handles[REPOS];
static atomic_int users[REPOS], sweeps, opens_fail, looks_fail;
static pthread_mutex_t turns[REPOS];
/* Descriptors for any number: idle_repos alone says how many may stay open. */
static struct wr_git git = {.cfg = {.idle_repos = 8}, .room = {.fds = 4096}};
static struct wr_events *events;

static size_t number(const struct wr_git_repo *repo)
{
	return (size_t)(repo - handles);
}

struct wr_git_repo *wr_git_repo_ref(struct wr_git_repo *repo)
{
	atomic_fetch_add(&users[number(repo)], 1);
	return repo;
}

void wr_git_repo_unref(struct wr_git_repo *repo)
{
	assert_true(atomic_fetch_sub(&users[number(repo)], 1) > 0);
}

static bool fails(atomic_int *left)
{
	int n = atomic_load(left);

	while (n > 0)
		if (atomic_compare_exchange_weak(left, &n, n - 1))
			return true;
	return false;
}

enum wr_code wr_git_repo_open(struct wr_git_repo **out, struct wr_git *store, const char *id, struct wr_error *err)
{
	assert_ptr_equal(store, &git);
	stand(&hold_open, &in_open);
	if (fails(&opens_fail))
		return wr_fail(err, WR_E_UNAVAILABLE, "locked");
	for (size_t i = 0; i < REPOS; i++)
		if (strcmp(handles[i].id, id) == 0) {
			*out = wr_git_repo_ref(&handles[i]);
			return WR_OK;
		}
	return wr_fail(err, WR_E_INTERNAL, "who is %s", id);
}

void wr_repo_sweep_journals(struct wr_git_repo *repo)
{
	uint64_t seq = wr_events_delivered(events, repo);

	stand(&hold_sweep, &in_sweep);
	assert_true(seq == WR_EVENTS_GONE || seq <= atomic_load(&shared->books[number(repo)].flushed));
	atomic_fetch_add(&sweeps, 1);
}

static atomic_bool others, due_known;
static atomic_int settled;

bool wr_git_others(struct wr_git *store)
{
	assert_ptr_equal(store, &git);
	return atomic_load(&others);
}

bool wr_repo_due(struct wr_due *out, struct wr_git_repo *repo)
{
	*out = (struct wr_due){WR_DUE_CRUFT, 1000 + (int64_t)number(repo)};
	return due_known;
}

void wr_keeper_settle(struct wr_keeper *keeper, struct wr_git_repo *repo, const struct wr_due *due)
{
	assert_null(keeper);
	assert_int_equal(due->at_ms, 1000 + (int64_t)number(repo));
	atomic_fetch_add(&settled, 1);
}

bool wr_repo_uncertain(struct wr_git_repo *repo)
{
	(void)repo;
	return false;
}

enum wr_code wr_repo_events_after(struct wr_event **v, size_t *n, char **text, uint64_t *last, struct wr_git_repo *repo,
				  uint64_t after, size_t max, struct wr_error *err)
{
	uint64_t end = atomic_load(&shared->books[number(repo)].flushed);
	size_t count = 0, room = max + 3;

	if (fails(&looks_fail))
		return wr_fail(err, WR_E_INTERNAL, "the disk");
	*v = calloc(room, sizeof **v);
	*text = calloc(room, 32);
	*last = after;
	for (uint64_t s = after + 1; s <= end && count < max; *last = s++)
		for (uint64_t i = 0; i < s % 3; i++) {
			char *name = *text + 32 * count;

			snprintf(name, 32, "r%d-%d", (int)s, (int)i);
			(*v)[count++] = (struct wr_event){.seq = s, .ref = wr_str(name)};
		}
	*n = count;
	return WR_OK;
}

/* ---- the database's ---- */

static struct wr_db *db;
static struct wr_journal_events je;
static atomic_int marks, most_marks, deliveries, unmarks, marks_fail;
static const char *poisoned; /* a repository whose events fail */

static void step(void)
{
	int n = atomic_load(&shared->left);

	while (n > 0)
		if (atomic_compare_exchange_weak(&shared->left, &n, n - 1)) {
			if (n == 1)
				kill(getpid(), SIGKILL);
			return;
		}
}

static enum wr_code mark(void *arg, size_t n, const char *const *ids, const char (*tokens)[WR_EVENT_TOKEN + 1],
			 struct wr_marked *out, struct wr_error *err)
{
	enum wr_code code;

	(void)arg;
	atomic_fetch_add(&marks, 1);
	if ((int)n > atomic_load(&most_marks))
		atomic_store(&most_marks, (int)n);
	stand(&hold_mark, &in_mark);
	step();
	if (fails(&marks_fail))
		return wr_fail(err, WR_E_STORAGE_FULL, "no room for a mark");
	code = je.sink.mark(&je, n, ids, tokens, out, err);
	step();
	return code;
}

static enum wr_code deliver(void *arg, struct wr_delivery *v, size_t n, struct wr_error *err)
{
	enum wr_code code;

	(void)arg;
	atomic_fetch_add(&deliveries, 1);
	stand(&hold_deliver, &in_deliver);
	step();
	code = je.sink.deliver(&je, v, n, err);
	step();
	return code;
}

static enum wr_code unmark(void *arg, const char *id, const char *token, const struct wr_due *due, struct wr_error *err)
{
	enum wr_code code;

	(void)arg;
	step();
	code = je.sink.unmark(&je, id, token, due, err);
	step();
	atomic_fetch_add(&unmarks, 1);
	return code;
}

static enum wr_code next_marked(void *arg, char out[WR_UUID_LEN + 1], const char *after, struct wr_error *err)
{
	(void)arg;
	return je.sink.next_marked(&je, out, after, err);
}

static enum wr_code write_job(void *arg, struct wr_tx *tx, const char *repo_id, const struct wr_event *event,
			      struct wr_error *err)
{
	char *sql = sqlite3_mprintf("INSERT INTO test_job (repo, seq, ref) VALUES (%Q, %lld, '%.*q')", repo_id,
				    (long long)event->seq, (int)event->ref.len, event->ref.ptr);
	int rc = sqlite3_exec(tx->sq, sql, NULL, NULL, NULL);

	(void)arg;
	sqlite3_free(sql);
	if (poisoned && strcmp(poisoned, repo_id) == 0)
		return wr_fail(err, WR_E_INTERNAL, "a subscriber that fails");
	return rc == SQLITE_OK ? WR_OK : wr_fail(err, WR_E_INTERNAL, "insert: %d", rc);
}

static const struct wr_event_subscriber subscribers[] = {{.fn = write_job}};
static const struct wr_event_sink sink = {NULL, mark, deliver, unmark, next_marked};

/* ---- one process's life ---- */

static bool one_at_a_time; /* each event is handed over in a transaction of its own */

static void begin(int64_t quiet_ms, int64_t gap_ms)
{
	assert_int_equal(wr_db_open(&db, dir, NULL), WR_OK);
	wr_journal_events_init(&je, db, subscribers, 1);
	if (one_at_a_time)
		je.piece_ms = 0;
	for (size_t i = 0; i < REPOS; i++) {
		memset(&handles[i], 0, sizeof handles[i]);
		memcpy(handles[i].id, shared->books[i].id, sizeof handles[i].id);
		atomic_init(&handles[i].dead, false);
		atomic_store(&users[i], 0);
	}
	assert_int_equal(wr_events_start(&events, &git, &sink, NULL), WR_OK);
	wr_events_set_times(events, quiet_ms, gap_ms, 5);
}

static void end(void)
{
	wr_events_stop(events);
	events = NULL;
	for (size_t i = 0; i < REPOS; i++)
		assert_int_equal(atomic_load(&users[i]), 0);
	wr_db_close(db);
	db = NULL;
}

static void patience(int64_t *deadline)
{
	if (*deadline == 0)
		*deadline = wr_mono_ms() + PATIENCE_MS;
	assert_true(wr_mono_ms() < *deadline);
	sched_yield();
	usleep(200);
}

static bool is_marked(size_t r)
{
	char id[WR_UUID_LEN + 1], after[WR_UUID_LEN + 1] = "";

	while (wr_mark_next(id, db, after, NULL) == WR_OK) {
		if (strcmp(id, shared->books[r].id) == 0)
			return true;
		memcpy(after, id, sizeof after);
	}
	return false;
}

static bool any_marked(void)
{
	char id[WR_UUID_LEN + 1];

	return wr_mark_next(id, db, "", NULL) == WR_OK;
}

static void until_nothing_is_marked(void)
{
	int64_t deadline = 0;

	while (any_marked())
		patience(&deadline);
}

static unsigned linger_us; /* between the mark and the record */

/* As a push does it, in its turn. The row is marked when the record comes. */
static void append(size_t r)
{
	struct book *book = &shared->books[r];
	uint64_t seq;

	pthread_mutex_lock(&turns[r]);
	assert_int_equal(wr_events_wait(events, &handles[r], NULL), WR_OK);
	if (linger_us > 0)
		usleep(linger_us);
	assert_true(is_marked(r));
	step();
	seq = atomic_fetch_add(&book->flushed, 1) + 1;
	step();
	wr_events_added(events, &handles[r], seq);
	step();
	atomic_store(&book->acknowledged, seq);
	pthread_mutex_unlock(&turns[r]);
}

static void push(size_t r)
{
	wr_git_repo_ref(&handles[r]);
	wr_events_expect(events, &handles[r]);
	append(r);
	wr_git_repo_unref(&handles[r]);
}

static void until_delivered(size_t r)
{
	int64_t deadline = 0;

	while (wr_events_delivered(events, &handles[r]) < atomic_load(&shared->books[r].flushed))
		patience(&deadline);
}

/* ---- what came of it ---- */

static sqlite3 *open_file(void)
{
	sqlite3 *sq = NULL;
	char path[96];

	snprintf(path, sizeof path, "%s/warren.db", dir);
	assert_int_equal(sqlite3_open(path, &sq), SQLITE_OK);
	sqlite3_busy_timeout(sq, 10000);
	return sq;
}

static int64_t number_in(sqlite3 *sq, const char *sql, const char *id)
{
	sqlite3_stmt *stmt = NULL;
	int64_t n;

	assert_int_equal(sqlite3_prepare_v2(sq, sql, -1, &stmt, NULL), SQLITE_OK);
	sqlite3_bind_text(stmt, 1, id, -1, SQLITE_STATIC);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	n = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return n;
}

/* The jobs of a repository: those of its first n records, each once, in order. */
static void check_jobs_of(sqlite3 *sq, const char *id, uint64_t n)
{
	static const char query[] = "SELECT seq, ref FROM test_job WHERE repo = ?1 ORDER BY n";
	sqlite3_stmt *stmt = NULL;

	assert_int_equal(sqlite3_prepare_v2(sq, query, -1, &stmt, NULL), SQLITE_OK);
	sqlite3_bind_text(stmt, 1, id, -1, SQLITE_STATIC);
	for (uint64_t s = 1; s <= n; s++)
		for (uint64_t i = 0; i < s % 3; i++) {
			char name[32];

			snprintf(name, sizeof name, "r%d-%d", (int)s, (int)i);
			assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
			assert_int_equal(sqlite3_column_int64(stmt, 0), s);
			assert_string_equal((const char *)sqlite3_column_text(stmt, 1), name);
		}
	assert_int_equal(sqlite3_step(stmt), SQLITE_DONE);
	sqlite3_finalize(stmt);
}

/* Everything that was flushed, which is at least what was acknowledged. */
static void check_jobs(void)
{
	sqlite3 *sq = open_file();

	for (size_t r = 0; r < REPOS; r++) {
		struct book *book = &shared->books[r];
		uint64_t flushed = atomic_load(&book->flushed);

		assert_true(atomic_load(&book->acknowledged) <= flushed);
		check_jobs_of(sq, book->id, flushed);
		assert_int_equal(number_in(sq, "SELECT event_seq FROM repo WHERE id = ?1", book->id), flushed);
	}
	sqlite3_close(sq);
}

/* ---- beginning and end of a test ---- */

static void make_rows(void)
{
	struct wr_repo_new new = {{NULL, 0}, false, WR_S("main")};
	struct wr_secret_text key;
	struct wr_account account;
	struct wr_repo repo;
	sqlite3 *sq;

	assert_int_equal(wr_db_open(&db, dir, NULL), WR_OK);
	assert_int_equal(wr_account_create(&account, &key, db, WR_S("owner"), NULL), WR_OK);
	for (size_t i = 0; i < REPOS; i++) {
		assert_int_equal(wr_repo_create(&repo, db, account.id, &new, NULL), WR_OK);
		memcpy(shared->books[i].id, repo.id, sizeof repo.id);
	}
	wr_db_close(db);
	db = NULL;
	sq = open_file();
	assert_int_equal(sqlite3_exec(sq, "CREATE TABLE test_job (n INTEGER PRIMARY KEY, repo TEXT, seq INTEGER,"
					  " ref TEXT)",
				      NULL, NULL, NULL),
			 SQLITE_OK);
	sqlite3_close(sq);
}

static int open_place(void **state)
{
	(void)state;
	memset(shared, 0, sizeof *shared);
	new_folder(dir, sizeof dir, "test_events");
	sem_init(&in_mark, 0, 0);
	sem_init(&in_deliver, 0, 0);
	sem_init(&in_sweep, 0, 0);
	sem_init(&in_open, 0, 0);
	sem_init(&go, 0, 0);
	atomic_store(&marks, 0);
	atomic_store(&most_marks, 0);
	atomic_store(&deliveries, 0);
	atomic_store(&unmarks, 0);
	atomic_store(&sweeps, 0);
	poisoned = NULL;
	one_at_a_time = false;
	make_rows();
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static int close_place(void **state)
{
	(void)state;
	nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	return 0;
}

/* ---- killed anywhere ---- */

/* Marks, records while marked, several repositories at once, an upload that comes to nothing, marks that come anew. */
static void live(void)
{
	begin(20, 0);
	push(0);
	until_delivered(0);
	append(0);
	append(0);
	wr_events_expect(events, &handles[1]);
	push(2);
	until_nothing_is_marked();
	push(0);
	push(2);
	push(3);
	until_delivered(0);
	end();
}

static void recover(void)
{
	begin(0, 0);
	until_nothing_is_marked();
	end();
}

/* Whether fn came to its end; else it was killed at the k-th step. k = 0: it must come to its end. */
static bool survives(void (*fn)(void), int k)
{
	int status = 0;
	pid_t pid;

	atomic_store(&shared->left, k);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		/* A failed assertion must not go on with the parent's tests. */
		setenv("CMOCKA_TEST_ABORT", "1", 1);
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	atomic_store(&shared->left, 0);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && k > 0)
		return false;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	return true;
}

static void killed_between_any_two_steps(void **state)
{
	bool done = false;
	int k;

	for (k = 1; !done; k++) {
		done = survives(live, k);
		/* And again while it is cleaned up after. */
		(void)survives(recover, 1 + k % 7);
		assert_true(survives(recover, 0));
		check_jobs();
		close_place(state);
		open_place(state);
	}
	/* Six records and at least three marks, deliveries and unmarks. */
	assert_true(k > 6 * 3 + 3 * 6);
}

/* What takes long leaves the database's writer to others in between. */
static void events_are_handed_over_in_pieces(void **state)
{
	uint64_t flushed;

	(void)state;
	one_at_a_time = true;
	begin(PATIENCE_MS, 0);
	for (size_t r = 0; r < 2; r++)
		assert_int_equal(wr_events_wait(events, &handles[r], NULL), WR_OK);
	atomic_store(&hold_deliver, true);
	push(0);
	while (sem_wait(&in_deliver) != 0)
		continue;
	for (int i = 0; i < 5; i++) {
		push(0);
		push(1);
	}
	sem_post(&go);
	until_delivered(0);
	until_delivered(1);
	flushed = atomic_load(&shared->books[0].flushed);
	/* A record has 0, 1 or 2 events, and of each two records one has some. */
	assert_true(flushed >= 6);
	assert_true(atomic_load(&deliveries) >= 7);
	end();
	check_jobs();
}

static void killed_between_any_two_pieces(void **state)
{
	bool done = false;

	for (int k = 1; !done; k += 13) {
		one_at_a_time = true;
		done = survives(live, k);
		(void)survives(recover, 1 + k % 7);
		assert_true(survives(recover, 0));
		check_jobs();
		close_place(state);
		open_place(state);
	}
}

/* ---- care that is due ---- */

static int64_t due_of(size_t r)
{
	sqlite3 *sq = open_file();
	int64_t ms = number_in(sq, "SELECT coalesce(due_ms, 0) FROM repo WHERE id = ?1", shared->books[r].id);

	sqlite3_close(sq);
	return ms;
}

static void what_is_due_is_written_when_the_mark_goes(void **state)
{
	int64_t deadline = 0;
	int before;

	(void)state;
	atomic_store(&settled, 0);
	atomic_store(&due_known, true);
	begin(PATIENCE_MS, 0);
	push(0);
	until_delivered(0);
	/* As long as there is a mark, a start looks anyway. */
	assert_true(is_marked(0));
	assert_int_equal(due_of(0), 0);
	wr_events_set_times(events, 1, 0, 5);
	push(1);
	until_nothing_is_marked();
	assert_int_equal(due_of(0), 1000);
	assert_int_equal(due_of(1), 1001);
	assert_int_equal(due_of(2), 0);
	while (atomic_load(&settled) < 2)
		patience(&deadline);
	/* Twice, or more often: a slow push may find that its mark was taken back, and asks for another one. */
	end();
	before = atomic_load(&settled);
	/* What is not known here leaves the row as it is. */
	atomic_store(&due_known, false);
	begin(1, 0);
	push(1);
	until_nothing_is_marked();
	assert_int_equal(due_of(1), 1001);
	end();
	assert_int_equal(atomic_load(&settled), before);
	check_jobs();
}

/* ---- what it costs ---- */

static void waiting_marks_share_a_transaction(void **state)
{
	unsigned idle_repos = git.cfg.idle_repos;

	(void)state;
	/* With room for fewer, a mark goes back before the next push if that one is slow. */
	git.cfg.idle_repos = REPOS;
	begin(PATIENCE_MS, 0);
	atomic_store(&hold_mark, true);
	wr_events_expect(events, &handles[0]);
	while (sem_wait(&in_mark) != 0)
		continue;
	for (size_t r = 0; r < REPOS; r++)
		wr_events_expect(events, &handles[r]);
	sem_post(&go);
	for (size_t r = 0; r < REPOS; r++)
		assert_int_equal(wr_events_wait(events, &handles[r], NULL), WR_OK);
	assert_int_equal(atomic_load(&marks), 2);
	assert_int_equal(atomic_load(&most_marks), REPOS - 1);
	/* From now on pushes cost no mark. */
	for (size_t r = 0; r < 5 * REPOS; r++)
		push(r % REPOS);
	assert_int_equal(atomic_load(&marks), 2);
	end();
	git.cfg.idle_repos = idle_repos;
	check_jobs();
}

static void what_comes_meanwhile_is_one_transaction(void **state)
{
	(void)state;
	begin(PATIENCE_MS, 0);
	for (size_t r = 0; r < REPOS; r++)
		assert_int_equal(wr_events_wait(events, &handles[r], NULL), WR_OK);
	atomic_store(&hold_deliver, true);
	push(0);
	while (sem_wait(&in_deliver) != 0)
		continue;
	for (int i = 0; i < 10; i++)
		for (size_t r = 0; r < REPOS; r++)
			push(r);
	sem_post(&go);
	for (size_t r = 0; r < REPOS; r++)
		until_delivered(r);
	assert_in_range(atomic_load(&deliveries), 2, 3);
	end();
	assert_true(atomic_load(&sweeps) >= REPOS);
	check_jobs();
}

static void told(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, 1);
}

/* For those of all but the first repository nobody does. */
static enum wr_code first_awaited(bool *out, void *arg, struct wr_tx *tx, const char *repo_id, struct wr_error *err)
{
	(void)arg;
	(void)tx;
	(void)err;
	*out = strcmp(repo_id, shared->books[0].id) == 0;
	return WR_OK;
}

/* Also the first one after a quiet time. */
static void what_somebody_waits_for_does_not_wait_for_the_others(void **state)
{
	static atomic_int done;
	struct wr_event_subscriber listener = {.fn = write_job, .awaits = first_awaited, .arg = &done, .done = told};

	(void)state;
	begin(PATIENCE_MS, 0);
	je.subscribers = &listener;
	push(1);
	until_delivered(1);
	wr_events_set_times(events, PATIENCE_MS, 10 * PATIENCE_MS, 5);
	/* The long pause begins with the first round, and so before this one's record or with it. */
	push(0);
	until_delivered(0);
	push(1);
	for (int i = 0; i < 3; i++) {
		push(0);
		until_delivered(0);
	}
	assert_true(wr_events_delivered(events, &handles[1]) < atomic_load(&shared->books[1].flushed));
	wr_events_set_times(events, PATIENCE_MS, 0, 5);
	until_delivered(1);
	end();
	/* Records may be without events. */
	assert_in_range(atomic_load(&done), 1, 5);
	check_jobs();
}

static void marks_and_deliveries_are_flushed_and_pushes_are_not(void **state)
{
	int before;

	(void)state;
	begin(PATIENCE_MS, PATIENCE_MS);
	/* The first one begins the database's log. */
	assert_int_equal(wr_events_wait(events, &handles[0], NULL), WR_OK);
	before = atomic_load(&flushes);
	assert_int_equal(wr_events_wait(events, &handles[1], NULL), WR_OK);
	assert_int_equal(atomic_load(&flushes), ++before);
	for (int i = 0; i < 100; i++)
		push(0);
	assert_int_equal(atomic_load(&flushes), before);
	wr_events_set_times(events, PATIENCE_MS, 0, 5);
	until_delivered(0);
	assert_int_equal(atomic_load(&flushes), before + 1);
	end();
	check_jobs();
}

/* Who changes what events are judged by waits for those that came before. */
static void what_came_before_is_waited_for(void **state)
{
	(void)state;
	begin(PATIENCE_MS, 0);
	assert_true(wr_events_reach(NULL, &handles[0], 1, 0));
	/* Nothing is known of it yet: asking makes it known. */
	assert_true(wr_events_reach(events, &handles[0], 0, PATIENCE_MS));
	for (uint64_t n = 1; n <= 20; n++) {
		push(0);
		assert_true(wr_events_reach(events, &handles[0], atomic_load(&shared->books[0].flushed), PATIENCE_MS));
		assert_int_equal(atomic_load(&shared->books[0].flushed), wr_events_delivered(events, &handles[0]));
	}
	/* A mark that fails ends it. */
	atomic_store(&marks_fail, 1);
	assert_false(wr_events_reach(events, &handles[1], 1, PATIENCE_MS));
	/* What never comes is waited for so long and no longer. */
	assert_false(wr_events_reach(events, &handles[0], atomic_load(&shared->books[0].flushed) + 1, 20));
	assert_true(wr_events_reach(events, &handles[0], 1, 0));
	end();
	check_jobs();
}

/* More than one transaction's worth goes in several, to the end. */
static void a_long_journal_is_handed_over_in_parts(void **state)
{
	(void)state;
	begin(PATIENCE_MS, PATIENCE_MS);
	for (int i = 0; i < 3500; i++)
		push(4);
	push(5);
	end();
	assert_true(atomic_load(&deliveries) >= 3);
	check_jobs();
}

/* ---- what goes wrong ---- */

static void a_mark_that_fails_is_told_and_tried_again(void **state)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;

	(void)state;
	begin(0, 0);
	atomic_store(&marks_fail, 1);
	assert_int_equal(wr_events_wait(events, &handles[0], &err), WR_E_STORAGE_FULL);
	assert_non_null(strstr(err.detail, "no room for a mark"));
	assert_false(is_marked(0));
	push(0);
	until_delivered(0);
	end();
	check_jobs();
}

static void one_that_fails_holds_up_no_other(void **state)
{
	sqlite3 *sq;

	(void)state;
	begin(PATIENCE_MS, 0);
	poisoned = shared->books[0].id;
	for (size_t r = 0; r < REPOS; r++)
		push(r);
	for (size_t r = 1; r < REPOS; r++)
		until_delivered(r);
	assert_int_equal(wr_events_delivered(events, &handles[0]), 0);
	end();
	sq = open_file();
	assert_int_equal(number_in(sq, "SELECT count(*) FROM test_job WHERE repo = ?1", poisoned), 0);
	assert_int_equal(number_in(sq, "SELECT event_seq FROM repo WHERE id = ?1", poisoned), 0);
	sqlite3_close(sq);
	poisoned = NULL;
	begin(PATIENCE_MS, 0);
	push(0);
	until_delivered(0);
	end();
	check_jobs();
}

static void a_journal_that_cannot_be_read_is_read_later(void **state)
{
	(void)state;
	begin(0, 0);
	atomic_store(&looks_fail, 3);
	push(0);
	push(1);
	until_delivered(0);
	until_delivered(1);
	end();
	check_jobs();
}

/* n repositories are marked, and the round that looks at the first is over: the next is far. */
static void begin_and_stall(size_t n)
{
	begin(PATIENCE_MS, PATIENCE_MS);
	for (size_t r = 0; r < n; r++)
		assert_int_equal(wr_events_wait(events, &handles[r], NULL), WR_OK);
}

/* Killed with three repositories marked and their events not handed over. */
static void leave_marked(void)
{
	begin_and_stall(3);
	for (size_t r = 0; r < 3; r++)
		push(r);
	/* More than one look's worth. */
	for (int i = 0; i < 2500; i++)
		push(2);
	kill(getpid(), SIGKILL);
}

static void what_cannot_be_opened_is_tried_again(void **state)
{
	(void)state;
	assert_false(survives(leave_marked, 1000000));
	atomic_store(&opens_fail, 7);
	recover();
	assert_int_equal(atomic_load(&opens_fail), 0);
	check_jobs();
}

/* What waits for one repository keeps no other from its mark, nor its events. */
static void a_busy_repository_holds_up_no_other(void **state)
{
	(void)state;
	assert_false(survives(leave_marked, 1000000));
	atomic_store(&hold_open, true);
	begin(PATIENCE_MS, 0);
	while (sem_wait(&in_open) != 0)
		continue;
	push(4);
	until_delivered(4);
	atomic_store(&hold_sweep, true);
	sem_post(&go);
	while (sem_wait(&in_sweep) != 0)
		continue;
	push(5);
	until_delivered(5);
	sem_post(&go);
	for (size_t r = 0; r < 3; r++)
		until_delivered(r);
	end();
	check_jobs();
}

/* Before the start comes to it, somebody asks for a mark, and has nothing to add after all. */
static void what_was_left_comes_with_any_new_mark(void **state)
{
	(void)state;
	assert_false(survives(leave_marked, 1000000));
	atomic_store(&opens_fail, INT32_MAX);
	begin(PATIENCE_MS, 0);
	for (size_t r = 0; r < 3; r++) {
		wr_events_expect(events, &handles[r]);
		until_delivered(r);
	}
	end();
	atomic_store(&opens_fail, 0);
	check_jobs();
}

static void what_somebody_else_handed_over_raises_nothing(void **state)
{
	sqlite3 *sq;

	(void)state;
	begin_and_stall(2);
	push(0);
	push(0);
	sq = open_file();
	assert_int_equal(sqlite3_exec(sq, "UPDATE repo SET event_seq = 2", NULL, NULL, NULL), SQLITE_OK);
	wr_events_set_times(events, PATIENCE_MS, 0, 5);
	until_delivered(0);
	push(0);
	push(0);
	until_delivered(0);
	end();
	assert_int_equal(number_in(sq, "SELECT count(*) FROM test_job WHERE repo = ?1", handles[0].id), 1);
	assert_int_equal(number_in(sq, "SELECT event_seq FROM repo WHERE id = ?1", handles[0].id), 4);
	sqlite3_close(sq);
}

/* ---- deletion ---- */

static void a_deleted_repository_takes_no_record_and_raises_nothing(void **state)
{
	sqlite3 *sq;

	(void)state;
	begin_and_stall(3);
	push(0);
	push(1);
	sq = open_file();
	assert_int_equal(number_in(sq, "SELECT mark IS NOT NULL FROM repo WHERE id = ?1", handles[0].id), 1);
	assert_int_equal(sqlite3_exec(sq, "UPDATE repo SET state = 'deleting'", NULL, NULL, NULL), SQLITE_OK);
	wr_events_set_times(events, PATIENCE_MS, 0, 5);
	until_delivered(0);
	assert_true(wr_events_delivered(events, &handles[0]) == WR_EVENTS_GONE);
	assert_int_equal(wr_events_wait(events, &handles[3], NULL), WR_E_NOT_THERE);
	assert_int_equal(wr_events_wait(events, &handles[0], NULL), WR_E_NOT_THERE);
	end();
	check_jobs_of(sq, handles[0].id, 0);
	check_jobs_of(sq, handles[1].id, 0);
	sqlite3_close(sq);
}

/* ---- many at once ---- */

#define WRITERS 8
#define EACH 100

static void *write_many(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	for (int i = 0; i < EACH; i++) {
		size_t r = (size_t)rand_r(&seed) % 5;

		if (i % 10 == 9) {
			wr_git_repo_ref(&handles[r]);
			wr_events_expect(events, &handles[r]);
			wr_git_repo_unref(&handles[r]);
		} else {
			push(r);
		}
		usleep((unsigned)rand_r(&seed) % 5000);
	}
	return NULL;
}

/* Marks that are taken back at once, so that every change races with it. */
static void many_writers_and_marks_that_come_and_go(void **state)
{
	pthread_t threads[WRITERS];

	(void)state;
	linger_us = 2500;
	begin(1, 0);
	for (uintptr_t i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_many, (void *)i), 0);
	for (size_t i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	until_nothing_is_marked();
	assert_true(atomic_load(&unmarks) > 5);
	end();
	linger_us = 0;
	check_jobs();
}

/* ---- another process has the repository for a while ---- */

/* It marks, may write, and may hand over: all that there is, or only what it began with. */
static void elsewhere(size_t r, unsigned *seed)
{
	const char *id = shared->books[r].id;
	char token[1][WR_EVENT_TOKEN + 1];
	struct wr_delivery v = {.repo_id = id};
	struct wr_event *list = NULL;
	struct wr_marked row;
	char *text = NULL;

	wr_random_text(token[0], WR_EVENT_TOKEN);
	assert_int_equal(je.sink.mark(&je, 1, &id, (const char(*)[WR_EVENT_TOKEN + 1])token, &row, NULL), WR_OK);
	v.from = row.event_seq;
	if (rand_r(seed) % 2)
		atomic_store(&shared->books[r].acknowledged, atomic_fetch_add(&shared->books[r].flushed, 1) + 1);
	if (rand_r(seed) % 2)
		return;
	assert_int_equal(wr_repo_events_after(&list, &v.n, &text, &v.to, &handles[r], v.from, 1000, NULL), WR_OK);
	v.events = list;
	if (v.to > v.from)
		assert_int_equal(je.sink.deliver(&je, &v, 1, NULL), WR_OK);
	assert_int_equal(je.sink.unmark(&je, id, token[0], NULL, NULL), WR_OK);
	free(list);
	free(text);
}

static void *write_and_leave(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	for (int i = 0; i < EACH / 2; i++) {
		size_t r = (size_t)rand_r(&seed) % 3;

		wr_git_repo_ref(&handles[r]);
		if (rand_r(&seed) % 2)
			wr_events_expect(events, &handles[r]);
		if (rand_r(&seed) % 3) {
			append(r);
		} else {
			pthread_mutex_lock(&turns[r]);
			wr_events_leave(events, &handles[r]);
			elsewhere(r, &seed);
			if (rand_r(&seed) % 2)
				usleep((unsigned)rand_r(&seed) % 3000);
			wr_events_opened(events, &handles[r], false);
			pthread_mutex_unlock(&turns[r]);
		}
		wr_git_repo_unref(&handles[r]);
	}
	return NULL;
}

static void repositories_that_leave_and_come_back(void **state)
{
	pthread_t threads[WRITERS];

	(void)state;
	atomic_store(&others, true);
	begin(1, 0);
	for (uintptr_t i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_and_leave, (void *)(i + 50)), 0);
	for (size_t i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	/* What the other one did not hand over is found when it has gone, without a word from anybody. */
	atomic_store(&others, false);
	until_nothing_is_marked();
	end();
	check_jobs();
}

/* A mark that took the place of another process's is not taken back, for that one counts on it. */
static void a_mark_without_the_folder_stays(void **state)
{
	(void)state;
	atomic_store(&others, true);
	begin(1, 0);
	wr_git_repo_ref(&handles[0]);
	wr_events_expect(events, &handles[0]);
	wr_git_repo_unref(&handles[0]);
	for (int64_t deadline = 0; atomic_load(&users[0]) > 0 || atomic_load(&marks) == 0;)
		patience(&deadline);
	assert_int_equal(atomic_load(&unmarks), 0);
	assert_true(is_marked(0));
	atomic_store(&others, false);
	until_nothing_is_marked();
	end();
}

/* What a stop finds is handed over before it ends, and no mark is left. */
static void a_stop_hands_over(void **state)
{
	sqlite3 *sq;

	(void)state;
	begin(PATIENCE_MS, PATIENCE_MS);
	for (size_t r = 0; r < REPOS; r++)
		push(r);
	end();
	check_jobs();
	sq = open_file();
	assert_int_equal(number_in(sq, "SELECT count(*) FROM repo WHERE mark IS NOT NULL AND ?1 <> ''", "x"), 0);
	sqlite3_close(sq);
}

static void without_a_sink_nothing_happens(void **state)
{
	(void)state;
	wr_events_expect(NULL, &handles[0]);
	assert_int_equal(wr_events_wait(NULL, &handles[0], NULL), WR_OK);
	wr_events_added(NULL, &handles[0], 7);
	assert_true(wr_events_delivered(NULL, &handles[0]) == UINT64_MAX);
	wr_events_stop(NULL);
}

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, open_place, close_place)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_PLACE(killed_between_any_two_steps),
		IN_PLACE(events_are_handed_over_in_pieces),
		IN_PLACE(killed_between_any_two_pieces),
		IN_PLACE(what_is_due_is_written_when_the_mark_goes),
		IN_PLACE(waiting_marks_share_a_transaction),
		IN_PLACE(what_comes_meanwhile_is_one_transaction),
		IN_PLACE(what_somebody_waits_for_does_not_wait_for_the_others),
		IN_PLACE(marks_and_deliveries_are_flushed_and_pushes_are_not),
		IN_PLACE(what_came_before_is_waited_for),
		IN_PLACE(a_long_journal_is_handed_over_in_parts),
		IN_PLACE(a_mark_that_fails_is_told_and_tried_again),
		IN_PLACE(one_that_fails_holds_up_no_other),
		IN_PLACE(a_journal_that_cannot_be_read_is_read_later),
		IN_PLACE(what_cannot_be_opened_is_tried_again),
		IN_PLACE(a_busy_repository_holds_up_no_other),
		IN_PLACE(what_was_left_comes_with_any_new_mark),
		IN_PLACE(what_somebody_else_handed_over_raises_nothing),
		IN_PLACE(a_deleted_repository_takes_no_record_and_raises_nothing),
		IN_PLACE(many_writers_and_marks_that_come_and_go),
		IN_PLACE(repositories_that_leave_and_come_back),
		IN_PLACE(a_mark_without_the_folder_stays),
		IN_PLACE(a_stop_hands_over),
		cmocka_unit_test(without_a_sink_nothing_happens),
	};

	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 1;
	for (size_t i = 0; i < REPOS; i++)
		pthread_mutex_init(&turns[i], NULL);
	/* Failures on purpose need no lines. */
	wr_log_set_threshold(WR_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
