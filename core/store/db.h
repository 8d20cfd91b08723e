/*
 * core/store/db.h: the database of one data folder: named statements, a reader for each thread, one writer.
 * Ownership: wr_db_open()/wr_db_close() by the program. No other thread may be inside this module, and no thread that
 *            has read from this database may be ending, while it is closed.
 * Threads:   any. Each thread reads through its own connection, opened at its first read and closed when it ends. All
 *            writing is done by one thread of this module: callers hand it closures.
 * Blocks on: reads: SQLite, normally memory. wr_db_write(): until the closure's transaction has been flushed.
 * Errors:    WR_E_STORAGE_FULL, WR_E_UNAVAILABLE (busy, a full queue, no memory), WR_E_INTERNAL.
 *
 * Statements stand in statements.def. Arguments are told by a format string, one letter each:
 *   s  const char *, NUL-terminated text; NULL is SQL's NULL
 *   t  struct wr_str, text; a NULL ptr is SQL's NULL
 *   i  int64_t (cast: the compiler cannot check it)
 *   b  const void *, size_t: bytes
 *   n  SQL's NULL, no argument
 * Text and bytes are borrowed, by wr_db_query() and wr_db_one() until their row is released.
 */
#ifndef WR_DB_H
#define WR_DB_H

#include "core/base/error.h"

enum wr_sql {
#define X(name, sql) SQL_##name,
#include "core/store/statements.def"
#undef X
	WR_SQL_COUNT
};

struct wr_db;
/* The writer's connection inside a transaction: what a closure gets. */
struct wr_tx;

/*
 * Opens <data>/warren.db, making it (mode 0600) and the data folder (mode 0700, its parent has to exist) where they are
 * missing, and brings its tables up to date. Refuses, with a sentence in err->detail, a database that a newer program
 * made.
 */
WR_MUST_CHECK enum wr_code wr_db_open(struct wr_db **out, const char *data, struct wr_error *err);
/* Runs what still waits in the queue, then closes. NULL is allowed. */
void wr_db_close(struct wr_db *db);
/* The folder that it was opened in, as it was named then. */
const char *wr_db_folder(const struct wr_db *db);

/*
 * One row of a result; released by wr_row_fini(). As long as any row of a thread is held, all that the thread reads is
 * of the same instant; so hold rows briefly, and never across a wait: the log that SQLite writes cannot shrink
 * meanwhile. A statement's row has to be released before its thread runs the same statement again.
 */
struct wr_row {
	struct wr_tx *conn; /* NULL: holds nothing */
	enum wr_sql sql;
};
/* clang-format off */
#define WR_ROW_INIT {NULL, (enum wr_sql)0}
/* clang-format on */
void wr_row_fini(struct wr_row *row);
WR_DEFINE_AUTO_S(wr_row);

/*
 * What stands for all that the database holds: as long as the stamp stays the same nothing was committed, by whatever
 * process, and what was read between two equal stamps is still so. Costs some loads from memory and no call to the system.
 * False while it is not known (nothing was read on this thread, somebody commits just now): then ask the database.
 */
struct wr_db_stamp {
	uint64_t db; /* each opening of a database has a number of its own */
	uint64_t words[6];
};
bool wr_db_stamp(struct wr_db_stamp *out, struct wr_db *db);
static inline bool wr_db_stamp_eq(const struct wr_db_stamp *a, const struct wr_db_stamp *b)
{
	return memcmp(a, b, sizeof *a) == 0;
}

/* Columns by name; a name that the statement does not have is a bug. Text lives until the row moves on or goes. */
bool wr_row_null(const struct wr_row *row, const char *column);
int64_t wr_row_int(const struct wr_row *row, const char *column);	  /* 0 for NULL */
struct wr_str wr_row_text(const struct wr_row *row, const char *column); /* ptr is NULL for NULL */
/* Text as a NUL-terminated copy; "" for NULL. What does not fit is cut: give room for all that the column may hold. */
void wr_row_copy(const struct wr_row *row, const char *column, char *out, size_t size);

/*
 * Reading on the calling thread's connection. wr_db_one() gives the first row, or WR_E_NOT_THERE, which leaves *err
 * alone and the row released. wr_db_query() gives none yet: wr_row_next() moves to the next, WR_E_NOT_THERE (leaving
 * *err alone) behind the last. *row must be released or WR_ROW_INIT.
 */
WR_MUST_CHECK enum wr_code wr_db_one(struct wr_db *db, enum wr_sql sql, struct wr_error *err, struct wr_row *row,
				     const char *types, ...);
WR_MUST_CHECK enum wr_code wr_db_query(struct wr_db *db, enum wr_sql sql, struct wr_error *err, struct wr_row *row,
				       const char *types, ...);
WR_MUST_CHECK enum wr_code wr_row_next(struct wr_row *row, struct wr_error *err);

/* The same inside a transaction; wr_tx_run() is for statements without rows: *changed (may be NULL) counts those it
 * touched, and a broken UNIQUE is WR_E_EXISTS, after which the closure may go on. */
WR_MUST_CHECK enum wr_code wr_tx_one(struct wr_tx *tx, enum wr_sql sql, struct wr_error *err, struct wr_row *row,
				     const char *types, ...);
WR_MUST_CHECK enum wr_code wr_tx_run(struct wr_tx *tx, enum wr_sql sql, struct wr_error *err, int64_t *changed,
				     const char *types, ...);

/*
 * A piece of writing. Runs on the writer's thread: no locks, no git, no network, and no wr_db_ function. Where it
 * returns an error, all that it wrote is undone.
 */
typedef enum wr_code (*wr_db_fn)(struct wr_tx *tx, void *arg, struct wr_error *err);

/*
 * A closure within a closure, undone alone: *result is what fn said, with *fn_err, and the outer one may go on whatever
 * that was. Fails itself where the whole transaction is lost; the outer one then gives up with this error.
 */
WR_MUST_CHECK enum wr_code wr_tx_try(enum wr_code *result, struct wr_tx *tx, wr_db_fn fn, void *arg,
				     struct wr_error *fn_err, struct wr_error *err);

/* FULL: flushed to the disk before it is acknowledged. NORMAL: a power cut may take back the last of these. */
enum wr_durability { WR_DB_FULL, WR_DB_NORMAL };

/*
 * Runs fn in a transaction, which it shares with others that wait, and returns once that is committed: what fn said, or
 * what made the whole transaction fail. WR_E_UNAVAILABLE when the queue is full, or when fn could not begin within
 * 10 s.
 */
WR_MUST_CHECK enum wr_code wr_db_write(struct wr_db *db, enum wr_durability durability, wr_db_fn fn, void *arg,
				       struct wr_error *err);

/*
 * The same without waiting, NORMAL: takes arg over, and free_arg (may be NULL) gets it afterwards in every case. False
 * when the queue had no room. A failure is only logged.
 */
bool wr_db_post(struct wr_db *db, wr_db_fn fn, void *arg, void (*free_arg)(void *arg));

#endif
