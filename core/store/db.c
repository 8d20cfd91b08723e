#include "core/store/db.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/threads.h"
#include "core/store/db_internal.h"
#include "core/store/migrate.h"

#define QUEUE_MAX 4096	 /* closures that wait, of all kinds */
#define POSTED_MAX 2048	 /* of these, closures that nobody waits for */
#define BATCH_MAX 256	 /* closures in one transaction */
#define BEGIN_TIMEOUT_MS 10000 /* that a closure waits for its turn */
#define CHECKPOINT_PAGES 1000	/* in the log, from which on it is copied into the database */
#define TRUNCATE_PAGES 16384	/* from which on the writer waits for the readers to let it begin anew */

static _Atomic uint64_t opened; /* databases, since this process began */

enum job_state { JOB_QUEUED, JOB_RUNNING, JOB_DONE };

/* A closure in the queue: on its caller's stack, or malloc'ed when posted. */
struct job {
	struct job *prev, *next;
	wr_db_fn fn;
	void *arg;
	void (*free_arg)(void *arg);
	bool posted;
	enum wr_durability durability;
	enum job_state state; /* guarded by the database's lock */
	pthread_cond_t done;  /* used unless posted */
	enum wr_code code;    /* these two are the writer's while the job runs */
	struct wr_error *err;
};

struct wr_db {
	char *folder, *path;
	uint64_t number;
	pthread_key_t key; /* each thread's reader */
	int64_t begin_timeout_ms;

	pthread_mutex_t lock; /* guards all from here to conns, and the state of the jobs */
	pthread_cond_t work;
	struct job *first, *last;
	size_t queued, posted;
	bool stopping;
	struct wr_tx *conns; /* all readers */

	/* The writer's own. */
	struct wr_tx *writer;
	pthread_t thread;
	int log_pages;
	bool full;    /* what PRAGMA synchronous is set to */
	bool tainted; /* a flush failed: what the log holds on disk is not known */
};

/* The queue, under the lock. */

static void push(struct wr_db *db, struct job *job)
{
	job->prev = db->last;
	job->next = NULL;
	*(db->last ? &db->last->next : &db->first) = job;
	db->last = job;
	db->queued++;
	db->posted += job->posted ? 1 : 0;
	pthread_cond_signal(&db->work);
}

static void unlink_job(struct wr_db *db, struct job *job)
{
	*(job->prev ? &job->prev->next : &db->first) = job->next;
	*(job->next ? &job->next->prev : &db->last) = job->prev;
	db->queued--;
	db->posted -= job->posted ? 1 : 0;
}

/* The writer. */

static enum wr_code set_durability(struct wr_db *db, bool full, struct wr_error *err)
{
	enum wr_code code;

	if (db->full == full)
		return WR_OK;
	code = wr_conn_exec(db->writer->sq, full ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL", err);
	if (code == WR_OK)
		db->full = full;
	return code;
}

/*
 * After a failed flush Linux calls the pages clean, so neither reading the log back nor flushing it again proves
 * anything. Copying all of it into the database and beginning it anew does.
 */
static enum wr_code recover(struct wr_db *db, struct wr_error *err)
{
	int rc;

	if (!db->tainted)
		return WR_OK;
	rc = sqlite3_wal_checkpoint_v2(db->writer->sq, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	if (rc != SQLITE_OK)
		return wr_fail_sql(err, db->writer->sq, rc, "checkpoint after a failed flush");
	db->tainted = false;
	db->log_pages = 0;
	return WR_OK;
}

static int note_log_pages(void *arg, sqlite3 *sq, const char *name, int pages)
{
	struct wr_db *db = arg;

	(void)sq;
	(void)name;
	db->log_pages = pages;
	return SQLITE_OK;
}

/*
 * SQLite's automatic checkpoint swallows what its flushes say, and a later commit could then be acknowledged on top of
 * a log with a hole. Runs when the batch has been answered.
 */
static void checkpoint(struct wr_db *db)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	int mode = db->log_pages >= TRUNCATE_PAGES ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE;
	int rc;

	if (db->log_pages < CHECKPOINT_PAGES || db->tainted)
		return;
	rc = sqlite3_wal_checkpoint_v2(db->writer->sq, NULL, mode, NULL, NULL);
	if (rc == SQLITE_OK || (rc & 0xff) == SQLITE_BUSY)
		return;
	db->tainted = true;
	wr_fail_sql(&err, db->writer->sq, rc, "checkpoint");
	wr_log_error(NULL, WR_EV_DB_FAILED, &err);
}

static bool rolled_back(const struct wr_tx *tx)
{
	return sqlite3_get_autocommit(tx->sq) != 0;
}

static enum wr_code fail_rolled_back(enum wr_code said, const struct wr_error *why, struct wr_error *err)
{
	return wr_fail(err, said == WR_E_STORAGE_FULL ? WR_E_STORAGE_FULL : WR_E_UNAVAILABLE,
		       "SQLite rolled the whole transaction back: %s", why->detail);
}

enum wr_code wr_tx_try(enum wr_code *result, struct wr_tx *tx, wr_db_fn fn, void *arg, struct wr_error *fn_err,
		       struct wr_error *err)
{
	enum wr_code code = wr_conn_do(tx, SQL_CLOSURE_BEGIN, err), said;

	if (code != WR_OK)
		return code;
	said = fn(tx, arg, fn_err);
	if (rolled_back(tx))
		return fail_rolled_back(said, fn_err, err);
	*result = said;
	if (said != WR_OK && (code = wr_conn_do(tx, SQL_CLOSURE_UNDO, err)) != WR_OK)
		return code;
	return wr_conn_do(tx, SQL_CLOSURE_KEEP, err);
}

/*
 * The first of a batch needs no savepoint, for which SQLite would copy each page that it changes: there is nothing
 * before it that the transaction's end could take along.
 */
static enum wr_code run_first(struct wr_db *db, struct job *job, struct wr_error *err)
{
	enum wr_code code = wr_conn_do(db->writer, SQL_BEGIN, err);

	if (code != WR_OK)
		return code;
	job->code = job->fn(db->writer, job->arg, job->err);
	if (rolled_back(db->writer))
		return fail_rolled_back(job->code, job->err, err);
	if (job->code == WR_OK)
		return WR_OK;
	code = wr_conn_do(db->writer, SQL_ROLLBACK, err);
	return code == WR_OK ? wr_conn_do(db->writer, SQL_BEGIN, err) : code;
}

static enum wr_code run_batch(struct wr_db *db, struct job **jobs, size_t n, struct wr_error *err)
{
	enum wr_code code = recover(db, err);
	bool full = false;

	for (size_t i = 0; i < n; i++)
		full = full || jobs[i]->durability == WR_DB_FULL;
	if (code == WR_OK)
		code = set_durability(db, full, err);
	if (code == WR_OK)
		code = run_first(db, jobs[0], err);
	for (size_t i = 1; i < n && code == WR_OK; i++)
		code = wr_tx_try(&jobs[i]->code, db->writer, jobs[i]->fn, jobs[i]->arg, jobs[i]->err, err);
	if (code == WR_OK) {
		code = wr_conn_do(db->writer, SQL_COMMIT, err);
		db->tainted = code != WR_OK;
	}
	if (code != WR_OK && !rolled_back(db->writer) && wr_conn_do(db->writer, SQL_ROLLBACK, NULL) != WR_OK)
		db->tainted = true;
	return code;
}

static void finish(struct wr_db *db, struct job **jobs, size_t n, enum wr_code code, const struct wr_error *err)
{
	for (size_t i = 0; i < n; i++) {
		struct job *job = jobs[i];

		if (code != WR_OK)
			job->code = wr_fail(job->err, code, "%s", err->detail);
		if (!job->posted)
			continue;
		if (job->code != WR_OK)
			wr_log_error(NULL, WR_EV_DB_FAILED, job->err);
		if (job->free_arg)
			job->free_arg(job->arg);
		wr_error_fini(job->err);
		free(job->err);
		free(job);
		jobs[i] = NULL;
	}
	pthread_mutex_lock(&db->lock);
	for (size_t i = 0; i < n; i++)
		if (jobs[i]) {
			jobs[i]->state = JOB_DONE;
			pthread_cond_signal(&jobs[i]->done);
		}
	pthread_mutex_unlock(&db->lock);
}

static size_t take_batch(struct wr_db *db, struct job **jobs)
{
	size_t n = 0;

	pthread_mutex_lock(&db->lock);
	while (!db->first && !db->stopping)
		pthread_cond_wait(&db->work, &db->lock);
	while (n < BATCH_MAX && db->first) {
		jobs[n] = db->first;
		unlink_job(db, jobs[n]);
		jobs[n++]->state = JOB_RUNNING;
	}
	pthread_mutex_unlock(&db->lock);
	return n;
}

static void write_all(void *arg)
{
	struct wr_db *db = arg;
	struct job *jobs[BATCH_MAX];
	size_t n;

	while ((n = take_batch(db, jobs)) > 0) {
		WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
		enum wr_code code = run_batch(db, jobs, n, &err);

		finish(db, jobs, n, code, &err);
		checkpoint(db);
	}
}

enum wr_code wr_db_write(struct wr_db *db, enum wr_durability durability, wr_db_fn fn, void *arg, struct wr_error *err)
{
	struct wr_error own = WR_ERROR_INIT;
	struct job job = {.fn = fn, .arg = arg, .durability = durability, .code = WR_OK, .err = err ? err : &own};
	int64_t deadline = wr_mono_ms() + db->begin_timeout_ms;
	struct timespec until = {deadline / 1000, deadline % 1000 * 1000000};
	pthread_condattr_t attr;

	assert(!pthread_equal(pthread_self(), db->thread));
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&job.done, &attr);
	pthread_condattr_destroy(&attr);

	pthread_mutex_lock(&db->lock);
	if (db->stopping || db->queued >= QUEUE_MAX) {
		job.code = wr_fail(err, WR_E_UNAVAILABLE, "the database's queue is full or closed");
	} else {
		push(db, &job);
		while (job.state == JOB_QUEUED && job.code == WR_OK)
			if (pthread_cond_timedwait(&job.done, &db->lock, &until) == ETIMEDOUT &&
			    job.state == JOB_QUEUED) {
				unlink_job(db, &job);
				job.code = wr_fail(err, WR_E_UNAVAILABLE, "the database is too busy");
			}
		/* What has begun, ends: arg and err are in use until then. */
		while (job.state == JOB_RUNNING)
			pthread_cond_wait(&job.done, &db->lock);
	}
	pthread_mutex_unlock(&db->lock);
	pthread_cond_destroy(&job.done);
	wr_error_fini(&own);
	return job.code;
}

bool wr_db_post(struct wr_db *db, wr_db_fn fn, void *arg, void (*free_arg)(void *arg))
{
	struct job *job = calloc(1, sizeof *job);
	struct wr_error *err = calloc(1, sizeof *err);
	bool room = false;

	if (job && err) {
		*job = (struct job){.fn = fn, .arg = arg, .free_arg = free_arg, .posted = true,
				    .durability = WR_DB_NORMAL, .err = err};
		pthread_mutex_lock(&db->lock);
		room = !db->stopping && db->posted < POSTED_MAX && db->queued < QUEUE_MAX;
		if (room)
			push(db, job);
		pthread_mutex_unlock(&db->lock);
	}
	if (!room) {
		free(job);
		free(err);
		if (free_arg)
			free_arg(arg);
	}
	return room;
}

/* Readers. */

static void forget(struct wr_tx *conn)
{
	struct wr_db *db = conn->db;

	pthread_mutex_lock(&db->lock);
	*(conn->prev ? &conn->prev->next : &db->conns) = conn->next;
	if (conn->next)
		conn->next->prev = conn->prev;
	pthread_mutex_unlock(&db->lock);
}

/* At the end of a thread that has read. */
static void reader_gone(void *arg)
{
	forget(arg);
	wr_conn_close(arg);
}

static enum wr_code reader(struct wr_tx **out, struct wr_db *db, struct wr_error *err)
{
	struct wr_tx *conn = pthread_getspecific(db->key);
	enum wr_code code;

	if (conn) {
		*out = conn;
		return WR_OK;
	}
	code = wr_conn_open(&conn, db->path, WR_CONN_READER, err);
	if (code != WR_OK)
		return code;
	if (pthread_setspecific(db->key, conn) != 0) {
		wr_conn_close(conn);
		return wr_fail_nomem(err);
	}
	conn->db = db;
	pthread_mutex_lock(&db->lock);
	conn->next = db->conns;
	if (conn->next)
		conn->next->prev = conn;
	db->conns = conn;
	pthread_mutex_unlock(&db->lock);
	*out = conn;
	return WR_OK;
}

enum wr_code wr_db_query(struct wr_db *db, enum wr_sql sql, struct wr_error *err, struct wr_row *row, const char *types,
			 ...)
{
	struct wr_tx *conn;
	enum wr_code code = reader(&conn, db, err);
	va_list ap;

	if (code != WR_OK)
		return code;
	va_start(ap, types);
	code = wr_conn_query(conn, sql, err, row, types, ap);
	va_end(ap);
	return code;
}

enum wr_code wr_db_one(struct wr_db *db, enum wr_sql sql, struct wr_error *err, struct wr_row *row, const char *types,
		       ...)
{
	struct wr_tx *conn;
	enum wr_code code = reader(&conn, db, err);
	va_list ap;

	if (code != WR_OK)
		return code;
	va_start(ap, types);
	code = wr_conn_one(conn, sql, err, row, types, ap);
	va_end(ap);
	return code;
}

/* Opening and closing. */

static enum wr_code flush_folder(const char *path, struct wr_error *err)
{
	WR_AUTO_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd >= 0 && fsync(fd) == 0 ? WR_OK : wr_fail_errno(err, "flushing the folder %s", path);
}

/* SQLite would make the file readable for everybody, and gives its log and its index the mode that the file has. */
static enum wr_code make_file(const char *data, const char *path, struct wr_error *err)
{
	WR_AUTO_FD int fd = -1;
	WR_AUTO_MEM char *parent = NULL;
	enum wr_code code;

	if (mkdir(data, 0700) == 0) {
		if (asprintf(&parent, "%s/..", data) < 0) {
			parent = NULL;
			return wr_fail_nomem(err);
		}
		if ((code = flush_folder(parent, err)) != WR_OK)
			return code;
	} else if (errno != EEXIST) {
		return wr_fail_errno(err, "making the data folder %s", data);
	}
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 && errno == EEXIST)
		return WR_OK;
	if (fd < 0)
		return wr_fail_errno(err, "making %s", path);
	return flush_folder(data, err);
}

static enum wr_code open_writer(struct wr_db *db, struct wr_error *err)
{
	enum wr_code code = wr_conn_open(&db->writer, db->path, WR_CONN_WRITER, err);
	size_t ran = 0;

	if (code == WR_OK)
		code = wr_migrate(db->writer->sq, wr_migrations, wr_migration_count, &ran, err);
	if (code == WR_OK)
		code = wr_conn_prepare_all(db->writer, err);
	if (code != WR_OK)
		return code;
	if (ran > 0)
		WR_LOG(WR_INFO, NULL, DB_MIGRATED, WR_INT("migrations", ran));
	db->full = true;
	sqlite3_wal_hook(db->writer->sq, note_log_pages, db);
	return WR_OK;
}

static void drop(struct wr_db *db)
{
	while (db->conns) {
		struct wr_tx *conn = db->conns;

		forget(conn);
		wr_conn_close(conn);
	}
	wr_conn_close(db->writer);
	pthread_key_delete(db->key);
	pthread_cond_destroy(&db->work);
	pthread_mutex_destroy(&db->lock);
	free(db->path);
	free(db->folder);
	free(db);
}

bool wr_db_stamp(struct wr_db_stamp *out, struct wr_db *db)
{
	struct wr_tx *conn = pthread_getspecific(db->key);

	out->db = db->number;
	return conn && wr_conn_stamp(out->words, conn);
}

enum wr_code wr_db_open(struct wr_db **out, const char *data, struct wr_error *err)
{
	struct wr_db *db = calloc(1, sizeof *db);
	enum wr_code code;

	if (!db || pthread_key_create(&db->key, reader_gone) != 0) {
		free(db);
		return wr_fail_nomem(err);
	}
	db->begin_timeout_ms = BEGIN_TIMEOUT_MS;
	db->number = atomic_fetch_add(&opened, 1) + 1;
	pthread_mutex_init(&db->lock, NULL);
	pthread_cond_init(&db->work, NULL);
	if (!(db->folder = strdup(data)) || asprintf(&db->path, "%s/warren.db", data) < 0) {
		db->path = NULL;
		code = wr_fail_nomem(err);
	} else {
		code = make_file(data, db->path, err);
	}
	if (code == WR_OK)
		code = open_writer(db, err);
	if (code == WR_OK)
		code = wr_thread_start(&db->thread, "wr-db", 0, write_all, db, err);
	if (code != WR_OK) {
		drop(db);
		return code;
	}
	*out = db;
	return WR_OK;
}

const char *wr_db_folder(const struct wr_db *db)
{
	return db->folder;
}

void wr_db_set_begin_timeout(struct wr_db *db, int64_t ms)
{
	db->begin_timeout_ms = ms;
}

size_t wr_db_queued(struct wr_db *db)
{
	size_t n;

	pthread_mutex_lock(&db->lock);
	n = db->queued;
	pthread_mutex_unlock(&db->lock);
	return n;
}

void wr_db_close(struct wr_db *db)
{
	if (!db)
		return;
	pthread_mutex_lock(&db->lock);
	db->stopping = true;
	pthread_cond_signal(&db->work);
	pthread_mutex_unlock(&db->lock);
	pthread_join(db->thread, NULL);
	drop(db);
}
