/*
 * core/auth/due.h: what a repository's row says of the care that is due (the Git store's side of it is core/git/due.h).
 * It is written with the end of a mark (marks.h); here it is read, and taken on.
 * Ownership: all by value.
 * Threads:   any.
 * Blocks on: SQLite.
 * Errors:    the database's.
 *
 * Repositories are known by their ids alone here, and all accounts are seen: who asks is the store.
 */
#ifndef WR_AUTH_DUE_H
#define WR_AUTH_DUE_H

#include "core/base/id.h"
#include "core/store/db.h"

struct wr_due_repo {
	char id[WR_UUID_LEN + 1], account_id[WR_UUID_LEN + 1];
	int64_t at_ms;
	char why[16];
};

/*
 * Up to max rows that are due at now_ms: first one of each of the accounts behind *after ("" for the first), the oldest of
 * each, going on from the first account behind the last; then the oldest of all. *after is where the next call goes on.
 * *next_ms: when the first will be due that is not yet; INT64_MAX: none. Some hundred steps at most, however many rows there
 * are.
 */
WR_MUST_CHECK enum wr_code wr_due_repos(struct wr_due_repo *out, size_t *n, int64_t *next_ms,
					char after[WR_UUID_LEN + 1], struct wr_db *db, int64_t now_ms, size_t max,
					struct wr_error *err);

/* Where the row says was_ms it says at_ms from now on, and *mine is set; at_ms 0: nothing is due. A power cut may undo it. */
WR_MUST_CHECK enum wr_code wr_due_move(bool *mine, struct wr_db *db, const char *repo_id, int64_t was_ms, int64_t at_ms,
				       struct wr_error *err);

/* Durably. */
WR_MUST_CHECK enum wr_code wr_due_set(struct wr_db *db, const char *repo_id, int64_t at_ms, const char *why,
				      struct wr_error *err);

#endif
