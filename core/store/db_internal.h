/*
 * core/store/db_internal.h: a connection with its statements, for the files of core/store and their tests.
 * Ownership: wr_conn_open()/wr_conn_close(). Threads: one at a time. Blocks on: SQLite.
 */
#ifndef WR_DB_INTERNAL_H
#define WR_DB_INTERNAL_H

#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>

#include "core/store/db.h"

/* One connection; wr_tx is its name inside a transaction, but every reader is one too. */
struct wr_tx {
	sqlite3 *sq;
	sqlite3_stmt *stmts[WR_SQL_COUNT]; /* prepared at their first use */
	bool held[WR_SQL_COUNT];	   /* by a struct wr_row */
	struct wr_tx *prev, *next;	   /* db.c's registry of readers */
	struct wr_db *db;
	bool has_read;			/* so that SQLite has the log's index open */
	const _Atomic uint64_t *header; /* of the log's index, once it is known; conn.c */
};

enum wr_conn_kind { WR_CONN_WRITER, WR_CONN_READER };
WR_MUST_CHECK enum wr_code wr_conn_open(struct wr_tx **out, const char *path, enum wr_conn_kind kind,
					struct wr_error *err);
/* NULL is allowed. */
void wr_conn_close(struct wr_tx *conn);
/* Prepares every statement: at a start, so that none can fail later for what it says. */
WR_MUST_CHECK enum wr_code wr_conn_prepare_all(struct wr_tx *conn, struct wr_error *err);

WR_MUST_CHECK enum wr_code wr_conn_query(struct wr_tx *conn, enum wr_sql sql, struct wr_error *err, struct wr_row *row,
					 const char *types, va_list ap);
WR_MUST_CHECK enum wr_code wr_conn_one(struct wr_tx *conn, enum wr_sql sql, struct wr_error *err, struct wr_row *row,
				       const char *types, va_list ap);
/* As wr_db_stamp(), but for the database's number. */
bool wr_conn_stamp(uint64_t words[6], struct wr_tx *conn);
/* How long a closure waits for its turn, and how many wait; for tests. */
void wr_db_set_begin_timeout(struct wr_db *db, int64_t ms);
size_t wr_db_queued(struct wr_db *db);

/* A statement without arguments and rows. */
WR_MUST_CHECK enum wr_code wr_conn_do(struct wr_tx *conn, enum wr_sql sql, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_conn_exec(sqlite3 *sq, const char *sql, struct wr_error *err);

/*
 * SQLite's last error on this connection, as ours; what names the doing, for the log. rc is the result code, sq may be
 * NULL. SQLITE_FULL (also an I/O error for lack of space) is WR_E_STORAGE_FULL, busy and no memory WR_E_UNAVAILABLE.
 */
#define wr_fail_sql(err, sq, rc, what) wr_fail_sql_at((err), (sq), (rc), (what), __FILE__, __LINE__)
enum wr_code wr_fail_sql_at(struct wr_error *err, sqlite3 *sq, int rc, const char *what, const char *file, int line);

#endif
