#include "core/store/migrate.h"

#include "core/base/clock.h"
#include "core/store/db_internal.h"

const struct wr_migration wr_migrations[] = {
#include "migrations.inc"
};
const size_t wr_migration_count = WR_ARRAY_LEN(wr_migrations);

/* These run before the named statements can be prepared: the tables that those speak of are made here. */
static const char make_table[] = "CREATE TABLE IF NOT EXISTS migration"
				 " (number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_ms INTEGER NOT NULL)"
				 " STRICT";
static const char newest[] = "SELECT max(number), name FROM migration";
static const char record[] = "INSERT INTO migration (number, name, applied_ms) VALUES (?1, ?2, ?3)";

static enum wr_code find_newest(int *number, sqlite3 *sq, int known, struct wr_error *err)
{
	sqlite3_stmt *stmt = NULL;
	enum wr_code code = WR_OK;
	int rc = sqlite3_prepare_v2(sq, newest, -1, &stmt, NULL);

	if (rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		*number = sqlite3_column_int(stmt, 0);
		if (*number > known)
			code = wr_fail(err, WR_E_INTERNAL,
				       "the database was made by a newer program: it has migration %d (%s), this "
				       "program knows up to %d; run the newer program, or restore an older backup",
				       *number, (const char *)sqlite3_column_text(stmt, 1), known);
	} else {
		code = wr_fail_sql(err, sq, rc, "reading the table of migrations");
	}
	sqlite3_finalize(stmt);
	return code;
}

static enum wr_code write_record(sqlite3 *sq, const struct wr_migration *m, struct wr_error *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(sq, record, -1, &stmt, NULL);

	if (rc == SQLITE_OK) {
		sqlite3_bind_int(stmt, 1, m->number);
		sqlite3_bind_text(stmt, 2, m->name, -1, SQLITE_STATIC);
		sqlite3_bind_int64(stmt, 3, wr_now_ms());
		rc = sqlite3_step(stmt);
	}
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? WR_OK : wr_fail_sql(err, sq, rc, "recording a migration");
}

/* Inside the transaction, so that of two processes that start at once the second sees what the first has done. */
static enum wr_code next_step(bool *done, sqlite3 *sq, const struct wr_migration *list, size_t n, struct wr_error *err)
{
	const struct wr_migration *m = list;
	enum wr_code code = wr_conn_exec(sq, make_table, err);
	int at = 0, rc;

	if (code == WR_OK)
		code = find_newest(&at, sq, n ? list[n - 1].number : 0, err);
	if (code != WR_OK)
		return code;
	while (m < list + n && m->number <= at)
		m++;
	*done = m == list + n;
	if (*done)
		return WR_OK;
	if ((rc = sqlite3_exec(sq, m->sql, NULL, NULL, NULL)) != SQLITE_OK)
		return wr_fail_sql(err, sq, rc, m->name);
	return write_record(sq, m, err);
}

enum wr_code wr_migrate(sqlite3 *sq, const struct wr_migration *list, size_t n, size_t *ran, struct wr_error *err)
{
	bool done = false;
	size_t count = 0;

	for (;; count++) {
		enum wr_code code = wr_conn_exec(sq, "BEGIN IMMEDIATE", err);

		if (code == WR_OK)
			code = next_step(&done, sq, list, n, err);
		if (code == WR_OK)
			code = wr_conn_exec(sq, "COMMIT", err);
		if (code != WR_OK) {
			if (!sqlite3_get_autocommit(sq))
				sqlite3_exec(sq, "ROLLBACK", NULL, NULL, NULL);
			return code;
		}
		if (done)
			break;
	}
	*ran = count;
	return WR_OK;
}
