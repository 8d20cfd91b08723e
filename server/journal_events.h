/*
 * server/journal_events.h: where the events of the journals go: into the database, in the transaction that counts them.
 * Ownership: the caller's struct and list of subscribers; both outlive the store that was opened with the sink.
 * Threads:   the store's; subscribers run on the database's writer.
 * Blocks on: SQLite.
 * Errors:    the database's, and what a subscriber says.
 */
#ifndef WR_JOURNAL_EVENTS_H
#define WR_JOURNAL_EVENTS_H

#include "core/git/events.h"
#include "core/store/db.h"

/*
 * Who turns events into rows: jobs, mostly. Called once for each event, in the order of the journal, inside the
 * transaction that moves the repository's event_seq beyond it; the rules of closures hold. An error takes back what all
 * subscribers wrote for this repository, and the same events come again later.
 */
struct wr_event_subscriber {
	enum wr_code (*fn)(void *arg, struct wr_tx *tx, const char *repo_id, const struct wr_event *event,
			   struct wr_error *err);
	/*
	 * NULL, or whether it waits for events of this repository, so that the next ones are better told within milliseconds.
	 * Asked, in a transaction, where a quiet time ends and where events were told.
	 */
	enum wr_code (*awaits)(bool *out, void *arg, struct wr_tx *tx, const char *repo_id, struct wr_error *err);
	void *arg;
	/* NULL, or called when something that fn was called for is committed, on the store's thread; must not block. */
	void (*done)(void *arg);
};

struct wr_journal_events {
	struct wr_db *db;
	const struct wr_event_subscriber *subscribers;
	size_t count; /* none: events are only counted */
	int64_t piece_ms; /* the database's writer is everybody's: after so long the rest is left for another transaction */
	struct wr_event_sink sink;
};

/* Fills *out, whose sink is for wr_git_open(). */
void wr_journal_events_init(struct wr_journal_events *out, struct wr_db *db,
			    const struct wr_event_subscriber *subscribers, size_t count);

#endif
