/*
 * core/git/events.h: every acknowledged change becomes an event, exactly once and in order, whatever crashes.
 *
 * Events are read from the journal. How far they have been handed over is the database's to know (the row's event_seq),
 * because handing over and counting are one transaction there. So that a start need not open every repository, a mark is
 * made durable in the row before the first record after a quiet time, and taken back when all is handed over and quiet.
 * Ownership: wr_events_start()/wr_events_stop() by the store. The sink outlives it.
 * Threads:   one of its own ("wr-events") does all work on the database; the functions may be called from any thread.
 * Blocks on: wr_events_wait() on the database; the others do not block.
 * Errors:    what the sink says.
 */
#ifndef WR_EVENTS_H
#define WR_EVENTS_H

#include "core/git/git.h"
#include "core/git/journal.h"

/* One ref that changed. */
struct wr_event {
	uint64_t seq; /* of the record; several refs may share it */
	int64_t time_ms;
	uint8_t operation[16];
	struct wr_str author, ref;
	struct wr_oid old, new; /* zero: absent */
};

#define WR_EVENT_TOKEN 24 /* characters */

/* The database behind callbacks, since nothing in core/git knows it. Each is called from the events' thread only. */
struct wr_event_sink {
	void *arg;
	/* Durably: each row's mark becomes the token, and *event_seq what the row says. One transaction for all. */
	enum wr_code (*mark)(void *arg, size_t n, const char *const *repo_ids, const char (*tokens)[WR_EVENT_TOKEN + 1],
			     uint64_t *event_seqs, struct wr_error *err);
	/* Durably, in one transaction: the events are handed over, and the row goes from event_seq `from` to `to`. */
	enum wr_code (*deliver)(void *arg, const char *repo_id, uint64_t from, uint64_t to, const struct wr_event *events,
				size_t n, struct wr_error *err);
	/* The mark goes where it is still this token. */
	enum wr_code (*unmark)(void *arg, const char *repo_id, const char *token, struct wr_error *err);
	/* The next marked repository after this id ("" for the first); WR_E_NOT_THERE when there are no more. */
	enum wr_code (*next_marked)(void *arg, char out[WR_UUID_LEN + 1], const char *after, struct wr_error *err);
};

struct wr_events;

/* A repository's own part; in its handle, zero-initialised. The fields are events.c's. */
struct wr_repo_events {
	char token[WR_EVENT_TOKEN + 1]; /* "" while there is no mark */
	enum { WR_UNMARKED, WR_MARKING, WR_MARKED } state;
	uint64_t delivered; /* the row's event_seq; meaningful while marked */
	uint64_t newest;    /* of the journal, as wr_events_added() said */
	int64_t last_ms;    /* monotonic, of the last record */
	bool queued;
	struct wr_git_repo *next;
};

WR_MUST_CHECK enum wr_code wr_events_start(struct wr_events **out, struct wr_git *git, const struct wr_event_sink *sink,
					   struct wr_error *err);
/* Hands over what can be handed over within a second, then ends the thread. NULL-safe. */
void wr_events_stop(struct wr_events *events);

/* A change may be coming: the mark is asked for, so that its commit overlaps the upload. */
void wr_events_expect(struct wr_events *events, struct wr_git_repo *repo);
/* Before a record is acknowledged: waits until the mark is durable. */
WR_MUST_CHECK enum wr_code wr_events_wait(struct wr_events *events, struct wr_git_repo *repo, struct wr_error *err);
/* Records up to this sequence are flushed. */
void wr_events_added(struct wr_events *events, struct wr_git_repo *repo, uint64_t seq);
/* How far the repository's events are handed over for certain; UINT64_MAX where there is no sink. */
uint64_t wr_events_delivered(struct wr_events *events, struct wr_git_repo *repo);

#endif
