/*
 * server/due_rows.h: the list of due care (core/git/due.h) in the repositories' rows.
 * Ownership: the caller's struct, which outlives the store that was opened with the list.
 * Threads:   the store's.
 * Blocks on: SQLite.
 * Errors:    the database's.
 */
#ifndef WR_DUE_ROWS_H
#define WR_DUE_ROWS_H

#include "core/git/due.h"
#include "core/store/db.h"

struct wr_due_rows {
	struct wr_db *db;
	char after[WR_UUID_LEN + 1]; /* the account that was last; of whoever reads pages, one at a time */
	struct wr_due_list list;
};

void wr_due_rows_init(struct wr_due_rows *out, struct wr_db *db);

#endif
