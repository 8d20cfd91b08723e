/* One SQLite connection with its prepared statements, and rows. Declared in db.h and db_internal.h. */
#include "core/store/db_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

static const struct {
	const char *name, *sql;
} statements[WR_SQL_COUNT] = {
#define X(name, sql) [SQL_##name] = {#name, sql},
#include "core/store/statements.def"
#undef X
};

#define BUSY_TIMEOUT_MS 5000

enum wr_code wr_fail_sql_at(struct wr_error *err, sqlite3 *sq, int rc, const char *what, const char *file, int line)
{
	int base = rc & 0xff;
	int sys = sq && (base == SQLITE_IOERR || base == SQLITE_CANTOPEN) ? sqlite3_system_errno(sq) : 0;
	const char *said = sq ? sqlite3_errmsg(sq) : sqlite3_errstr(rc);
	enum wr_code code = WR_E_INTERNAL;

	if (base == SQLITE_FULL || sys == ENOSPC || sys == EDQUOT || sys == EFBIG)
		code = WR_E_STORAGE_FULL;
	else if (base == SQLITE_BUSY || base == SQLITE_LOCKED || base == SQLITE_NOMEM || sys == EMFILE || sys == ENFILE)
		code = WR_E_UNAVAILABLE;
	return wr_fail_at(err, code, file, line, "%s: %s (SQLite %d, errno %d)", what, said, rc, sys);
}

enum wr_code wr_conn_exec(sqlite3 *sq, const char *sql, struct wr_error *err)
{
	int rc = sqlite3_exec(sq, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? WR_OK : wr_fail_sql(err, sq, rc, sql);
}

/*
 * The writer runs checkpoints itself and so sees what they say; readers never write. The log file is cut back to 64 MB
 * whenever it begins anew.
 */
static enum wr_code set_up(sqlite3 *sq, enum wr_conn_kind kind, struct wr_error *err)
{
	sqlite3_extended_result_codes(sq, 1);
	sqlite3_busy_timeout(sq, BUSY_TIMEOUT_MS);
	sqlite3_db_config(sq, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(sq, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
	sqlite3_db_config(sq, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
	if (kind == WR_CONN_READER)
		return wr_conn_exec(sq,
				    "PRAGMA query_only = ON; PRAGMA cache_size = -1024; PRAGMA temp_store = MEMORY;"
				    "PRAGMA trusted_schema = OFF",
				    err);
	return wr_conn_exec(sq,
			    "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; PRAGMA foreign_keys = ON;"
			    "PRAGMA synchronous = FULL; PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY;"
			    "PRAGMA journal_size_limit = 67108864; PRAGMA trusted_schema = OFF",
			    err);
}

enum wr_code wr_conn_open(struct wr_tx **out, const char *path, enum wr_conn_kind kind, struct wr_error *err)
{
	struct wr_tx *conn = calloc(1, sizeof *conn);
	enum wr_code code;
	int rc;

	if (!conn)
		return wr_fail_nomem(err);
	rc = sqlite3_open_v2(path, &conn->sq,
			     SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE, NULL);
	code = rc == SQLITE_OK ? set_up(conn->sq, kind, err) : wr_fail_sql(err, conn->sq, rc, "opening the database");
	if (code != WR_OK) {
		wr_conn_close(conn);
		return code;
	}
	*out = conn;
	return WR_OK;
}

void wr_conn_close(struct wr_tx *conn)
{
	if (!conn)
		return;
	for (size_t i = 0; i < WR_SQL_COUNT; i++)
		sqlite3_finalize(conn->stmts[i]);
	sqlite3_close(conn->sq);
	free(conn);
}

static enum wr_code prepare(struct wr_tx *conn, enum wr_sql sql, struct wr_error *err)
{
	int rc;

	if (conn->stmts[sql])
		return WR_OK;
	rc = sqlite3_prepare_v3(conn->sq, statements[sql].sql, -1, SQLITE_PREPARE_PERSISTENT, &conn->stmts[sql], NULL);
	return rc == SQLITE_OK ? WR_OK : wr_fail_sql(err, conn->sq, rc, statements[sql].name);
}

enum wr_code wr_conn_prepare_all(struct wr_tx *conn, struct wr_error *err)
{
	for (int i = 0; i < WR_SQL_COUNT; i++) {
		enum wr_code code = prepare(conn, (enum wr_sql)i, err);

		if (code != WR_OK)
			return code;
	}
	return WR_OK;
}

static int bind_text(sqlite3_stmt *stmt, int i, struct wr_str s)
{
	if (!s.ptr)
		return sqlite3_bind_null(stmt, i);
	return sqlite3_bind_text64(stmt, i, s.ptr, s.len, SQLITE_STATIC, SQLITE_UTF8);
}

static int bind_one(sqlite3_stmt *stmt, int i, char type, va_list *ap)
{
	const void *bytes;

	switch (type) {
	case 's':
		return bind_text(stmt, i, wr_str(va_arg(*ap, const char *)));
	case 't':
		return bind_text(stmt, i, va_arg(*ap, struct wr_str));
	case 'i':
		return sqlite3_bind_int64(stmt, i, va_arg(*ap, int64_t));
	case 'b':
		bytes = va_arg(*ap, const void *);
		return sqlite3_bind_blob64(stmt, i, bytes, va_arg(*ap, size_t), SQLITE_STATIC);
	default:
		assert(type == 'n');
		return sqlite3_bind_null(stmt, i);
	}
}

enum wr_code wr_conn_query(struct wr_tx *conn, enum wr_sql sql, struct wr_error *err, struct wr_row *row,
			   const char *types, va_list args)
{
	enum wr_code code = prepare(conn, sql, err);
	sqlite3_stmt *stmt = conn->stmts[sql];
	int rc = SQLITE_OK;
	va_list ap;

	if (code != WR_OK)
		return code;
	assert(!conn->held[sql] && !row->conn);
	assert((size_t)sqlite3_bind_parameter_count(stmt) == strlen(types));
	va_copy(ap, args);
	for (int i = 0; types[i] && rc == SQLITE_OK; i++)
		rc = bind_one(stmt, i + 1, types[i], &ap);
	va_end(ap);
	conn->held[sql] = true;
	row->conn = conn;
	row->sql = sql;
	if (rc != SQLITE_OK) {
		wr_row_fini(row);
		return wr_fail_sql(err, conn->sq, rc, statements[sql].name);
	}
	return WR_OK;
}

enum wr_code wr_row_next(struct wr_row *row, struct wr_error *err)
{
	struct wr_tx *conn = row->conn;
	int rc = sqlite3_step(conn->stmts[row->sql]);

	conn->has_read |= rc == SQLITE_ROW || rc == SQLITE_DONE;
	if (rc == SQLITE_ROW)
		return WR_OK;
	if (rc == SQLITE_DONE)
		return WR_E_NOT_THERE;
	if (rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY)
		return wr_fail(err, WR_E_EXISTS, "%s", wr_code_text(WR_E_EXISTS));
	return wr_fail_sql(err, conn->sq, rc, statements[row->sql].name);
}

void wr_row_fini(struct wr_row *row)
{
	struct wr_tx *conn = row->conn;

	if (!conn)
		return;
	sqlite3_reset(conn->stmts[row->sql]);
	sqlite3_clear_bindings(conn->stmts[row->sql]);
	conn->held[row->sql] = false;
	row->conn = NULL;
}

enum wr_code wr_conn_one(struct wr_tx *conn, enum wr_sql sql, struct wr_error *err, struct wr_row *row,
			 const char *types, va_list ap)
{
	enum wr_code code = wr_conn_query(conn, sql, err, row, types, ap);

	if (code == WR_OK && (code = wr_row_next(row, err)) != WR_OK)
		wr_row_fini(row);
	return code;
}

enum wr_code wr_tx_one(struct wr_tx *tx, enum wr_sql sql, struct wr_error *err, struct wr_row *row, const char *types,
		       ...)
{
	enum wr_code code;
	va_list ap;

	va_start(ap, types);
	code = wr_conn_one(tx, sql, err, row, types, ap);
	va_end(ap);
	return code;
}

enum wr_code wr_tx_run(struct wr_tx *tx, enum wr_sql sql, struct wr_error *err, int64_t *changed, const char *types,
		       ...)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code;
	va_list ap;

	va_start(ap, types);
	code = wr_conn_one(tx, sql, err, &row, types, ap);
	va_end(ap);
	assert(code != WR_OK); /* a statement with rows is no business of this function */
	if (code != WR_E_NOT_THERE)
		return code;
	if (changed)
		*changed = sqlite3_changes64(tx->sq);
	return WR_OK;
}

enum wr_code wr_conn_do(struct wr_tx *conn, enum wr_sql sql, struct wr_error *err)
{
	return wr_tx_run(conn, sql, err, NULL, "");
}

/* ---- stamps ---- */

/*
 * The log's index is memory that all processes with the database share. It begins with a header of 48 bytes, twice over
 * (https://www.sqlite.org/walformat.html): a counter of transactions, the log's length, salts, sums. Each commit writes
 * the second copy, then the first; a reader that finds both the same has a whole one. SQLite itself begins each reading
 * by comparing it with the last one that it saw, which tells it whether what it has in memory is still so; it also takes
 * a lock then, which costs two calls to the system for each statement, and is not needed where nothing is read.
 */
#define INDEX_BYTES (32 * 1024)
#define HEADER_WORDS 6
#define INDEX_VERSION 3007000u

/* Where SQLite has the index mapped, which it keeps as long as the connection. */
static const _Atomic uint64_t *find_header(struct wr_tx *conn)
{
	volatile void *at = NULL;
	sqlite3_file *file = NULL;

	if (!conn->has_read ||
	    sqlite3_file_control(conn->sq, "main", SQLITE_FCNTL_FILE_POINTER, (void *)&file) != SQLITE_OK || !file ||
	    !file->pMethods || file->pMethods->iVersion < 2 || !file->pMethods->xShmMap ||
	    file->pMethods->xShmMap(file, 0, INDEX_BYTES, 0, &at) != SQLITE_OK)
		return NULL;
	return (const _Atomic uint64_t *)(uintptr_t)at;
}

bool wr_conn_stamp(uint64_t words[6], struct wr_tx *conn)
{
	uint64_t again[HEADER_WORDS];
	uint32_t version;

	if (!conn->header && !(conn->header = find_header(conn)))
		return false;
	for (int i = 0; i < HEADER_WORDS; i++)
		words[i] = atomic_load_explicit(&conn->header[i], memory_order_relaxed);
	atomic_thread_fence(memory_order_acquire);
	for (int i = 0; i < HEADER_WORDS; i++)
		again[i] = atomic_load_explicit(&conn->header[HEADER_WORDS + i], memory_order_relaxed);
	atomic_thread_fence(memory_order_acquire);
	memcpy(&version, words, sizeof version);
	return version == INDEX_VERSION && memcmp(words, again, sizeof again) == 0;
}

static int column_of(const struct wr_row *row, const char *column)
{
	sqlite3_stmt *stmt = row->conn->stmts[row->sql];
	int n = sqlite3_column_count(stmt);

	for (int i = 0; i < n; i++) {
		const char *name = sqlite3_column_name(stmt, i);

		if (name && strcmp(name, column) == 0)
			return i;
	}
	fprintf(stderr, "statement %s has no column %s\n", statements[row->sql].name, column);
	abort();
}

bool wr_row_null(const struct wr_row *row, const char *column)
{
	return sqlite3_column_type(row->conn->stmts[row->sql], column_of(row, column)) == SQLITE_NULL;
}

int64_t wr_row_int(const struct wr_row *row, const char *column)
{
	return sqlite3_column_int64(row->conn->stmts[row->sql], column_of(row, column));
}

struct wr_str wr_row_text(const struct wr_row *row, const char *column)
{
	sqlite3_stmt *stmt = row->conn->stmts[row->sql];
	int i = column_of(row, column);
	const unsigned char *text = sqlite3_column_text(stmt, i);

	return wr_str_n(text, text ? (size_t)sqlite3_column_bytes(stmt, i) : 0);
}

void wr_row_copy(const struct wr_row *row, const char *column, char *out, size_t size)
{
	struct wr_str s = wr_row_text(row, column);
	size_t n = s.len < size ? s.len : size - 1;

	if (n > 0)
		memcpy(out, s.ptr, n);
	out[n] = '\0';
}
