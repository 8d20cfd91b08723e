/*
 * core/auth/marks.h: what a repository's row says of its journal: how far its events are handed over (event_seq), and
 * whether there may be more (mark). The Git store's side of it is core/git/events.h.
 * Ownership: all by value.
 * Threads:   any; those with a transaction inside a closure.
 * Blocks on: SQLite.
 * Errors:    the database's.
 *
 * Repositories are known by their ids alone here: who asks is the store, for those that it holds.
 */
#ifndef WR_MARKS_H
#define WR_MARKS_H

#include "core/base/id.h"
#include "core/store/db.h"

#define WR_MARK_GONE UINT64_MAX /* instead of an event_seq: the row is gone or being deleted */

/* The row's mark becomes the token. */
WR_MUST_CHECK enum wr_code wr_mark_set(uint64_t *event_seq, struct wr_tx *tx, const char *repo_id, const char *token,
				       struct wr_error *err);

/*
 * The row goes from event_seq `from` to `to`. *mine: it said `from`, so what the events cause is to be written in this
 * closure. *event_seq: what it says now.
 */
WR_MUST_CHECK enum wr_code wr_mark_advance(bool *mine, uint64_t *event_seq, struct wr_tx *tx, const char *repo_id,
					   uint64_t from, uint64_t to, struct wr_error *err);

/*
 * Of the events behind `from` the first *part have been handed over already, in transactions of their own. *mine: as above;
 * else part stays as it is.
 */
WR_MUST_CHECK enum wr_code wr_mark_part(bool *mine, uint64_t *part, struct wr_tx *tx, const char *repo_id, uint64_t from,
					struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_mark_set_part(struct wr_tx *tx, const char *repo_id, uint64_t from, uint64_t part,
					    struct wr_error *err);

/* The mark goes where it is this token. A power cut may bring it back. */
WR_MUST_CHECK enum wr_code wr_mark_clear(struct wr_db *db, const char *repo_id, const char *token,
					 struct wr_error *err);

/* What care is due, and when; why "": none is. */
struct wr_row_due {
	int64_t at_ms;
	const char *why;
};
/* The same, and what is due is written with it. */
WR_MUST_CHECK enum wr_code wr_mark_settle(struct wr_db *db, const char *repo_id, const char *token,
					  const struct wr_row_due *due, struct wr_error *err);

/* The next marked repository after this id ("" for the first); WR_E_NOT_THERE when there are no more. */
WR_MUST_CHECK enum wr_code wr_mark_next(char out[WR_UUID_LEN + 1], struct wr_db *db, const char *after,
					struct wr_error *err);

#endif
