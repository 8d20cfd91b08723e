/*
 * core/git/events.h: every acknowledged change becomes an event, exactly once and in order, whatever crashes.
 *
 * Events are read from the journal. How far they have been handed over is the database's to know (the row's event_seq),
 * because handing over and counting are one transaction there. So that a start need not open every repository, a mark
 * is made durable in the row before the first record after a quiet time, and taken back when all is handed over.
 * Ownership: wr_events_start()/wr_events_stop() by the store. The sink outlives it. While a repository is marked, or
 *            about to be, a reference to its handle is held here.
 * Threads:   two of its own: "wr-events" marks, hands over and unmarks; "wr-events-disk" does what may wait for a
 *            repository: it opens, after a start, what an earlier process left marked, and removes journals. The
 *            functions may be called from any thread that holds a reference to the handle and neither of the store's
 *            mutexes.
 * Blocks on: wr_events_wait() on the database; the others do not block, with the one exception at wr_events_added().
 * Errors:    what the sink says; WR_E_NOT_THERE where the row is gone or being deleted; WR_E_UNAVAILABLE after 30 s.
 *
 * Nothing is lost and nothing comes twice because of three things. A record is written only while the row is marked, so
 * a start finds every repository that may have something left. Each mark is followed by one look into the journal, so
 * what an earlier owner left is handed over first. And the row counts in the transaction that hands over.
 *
 * With several processes on one data folder a mark counts only where it was set while this process had the folder's lock,
 * or before the folder was: so whoever opens the folder marks the row anew before it writes, and nobody takes back a mark
 * behind which another's records may stand. That of a process that has ended is found by those that live on.
 */
#ifndef WR_EVENTS_H
#define WR_EVENTS_H

#include "core/git/due.h"
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

#define WR_EVENT_TOKEN 24	  /* characters */
#define WR_EVENTS_GONE UINT64_MAX /* instead of an event_seq: the row is gone or being deleted */

/* The events of one repository's records from < seq <= to, in order; there may be none. */
struct wr_delivery {
	const char *repo_id;
	uint64_t from, to;
	const struct wr_event *events;
	size_t n;
	/* Outputs. */
	enum wr_code code;   /* where not WR_OK nothing of this one was done, and err says why */
	uint64_t event_seq;  /* what the row says now, `from` having been the old value or not; or WR_EVENTS_GONE */
	bool more;	     /* for want of time not all of it was handed over: the row says `from` still; come again */
	bool awaited;	     /* of what was told: somebody waits for this repository's events */
	struct wr_error err; /* empty before; the caller's */
};

/* What a row says once it is marked. */
struct wr_marked {
	uint64_t event_seq; /* or WR_EVENTS_GONE */
	bool awaited;	    /* somebody waits for this repository's events: they are handed over sooner */
};

/* The database behind callbacks, since nothing in core/git knows it. Each is called from this module's threads only. */
struct wr_event_sink {
	void *arg;
	/* Durably: each row's mark becomes the token, and out says what the row does. One transaction for all. */
	enum wr_code (*mark)(void *arg, size_t n, const char *const *repo_ids, const char (*tokens)[WR_EVENT_TOKEN + 1],
			     struct wr_marked *out, struct wr_error *err);
	/*
	 * Durably, in one transaction: where a row says `from`, its events are handed over and it says `to`; where it
	 * says something else, nothing is done. What takes long is handed over in pieces: then the same events are to be
	 * given again, and those that were handed over are passed over. An error is of the whole transaction.
	 */
	enum wr_code (*deliver)(void *arg, struct wr_delivery *v, size_t n, struct wr_error *err);
	/*
	 * The mark goes where it is still this token, and then the row says what care is due (NULL: as before). May come
	 * undone by a power cut, both together.
	 */
	enum wr_code (*unmark)(void *arg, const char *repo_id, const char *token, const struct wr_due *due,
			       struct wr_error *err);
	/* The next marked repository after this id ("" for the first); WR_E_NOT_THERE when there are no more. */
	enum wr_code (*next_marked)(void *arg, char out[WR_UUID_LEN + 1], const char *after, struct wr_error *err);
};

struct wr_events;

/* A repository's own part; in its handle, zero-initialised. The fields are events.c's, under its mutex. */
struct wr_repo_events {
	enum { WR_UNMARKED, WR_MARKING, WR_MARKED, WR_UNMARKING } state;
	char token[WR_EVENT_TOKEN + 1]; /* while marked */
	bool known;			/* delivered is: it was marked before */
	bool open;			/* the folder is, between wr_events_opened() and wr_events_leave() */
	bool mine;			/* the mark stands since the folder was opened, or made, here */
	bool remark;			/* a new mark is to take the place of the old one */
	enum { WR_STAYS, WR_LEAVES, WR_LEAVES_NOW } leaving; /* its folder is about to be closed; NOW: as things are */
	uint64_t epoch, mark_epoch;	/* counts openings and closings; and what it was when the mark was asked for */
	bool look;			/* the journal may hold more than newest says */
	bool wanted;			/* a mark, while the old one is taken back */
	bool waited;			/* somebody was told of the mark, and no record came since */
	bool failing;			/* the last try failed, which was logged */
	bool idle;			/* in the list of those */
	bool awaited;			/* the sink said so, of the mark or its last events */
	bool sweep;			/* its journals are to be looked through, */
	struct wr_git_repo *sweep_next; /* and it is in that list, with a reference of its own */
	uint64_t delivered;		/* the row's event_seq */
	uint64_t newest;		/* of the journal, as wr_events_added() said */
	int64_t last_ms;		/* monotonic, of the last mark, wait or record */
	int64_t idle_ms;		/* monotonic, of its entry into the list of idle ones */
	unsigned failures;		/* of marks, */
	enum wr_code failed;		/* and the last one's code */
	struct wr_git_repo *prev, *next; /* in the one list that it is in */
};

/* *out is set before the threads begin: they open repositories, which may ask for it. */
WR_MUST_CHECK enum wr_code wr_events_start(struct wr_events **out, struct wr_git *git, const struct wr_event_sink *sink,
					   struct wr_error *err);
/* Hands over what can be handed over within a second, takes marks back, then ends the threads. NULL-safe. */
void wr_events_stop(struct wr_events *events);

/* In all that follows events may be NULL (no sink), and then nothing happens. */

/* A change may be coming: the mark is asked for, so that its commit overlaps the upload. */
void wr_events_expect(struct wr_events *events, struct wr_git_repo *repo);
/*
 * Before a record is written: waits until the mark is durable. It stays so until wr_events_added(); where no record
 * follows, for some minutes. Call it within the repository's turn.
 */
WR_MUST_CHECK enum wr_code wr_events_wait(struct wr_events *events, struct wr_git_repo *repo, struct wr_error *err);
/*
 * Records up to this sequence are flushed, and wr_repo_events_after() gives them; call it before they are acknowledged.
 * Where those minutes passed meanwhile, it waits for a new mark.
 */
void wr_events_added(struct wr_events *events, struct wr_git_repo *repo, uint64_t seq);
/*
 * The folder was opened, or made, and is locked; before anybody sees it. What was known of the repository counts no more:
 * another process may have had it.
 */
void wr_events_opened(struct wr_events *events, struct wr_git_repo *repo, bool made);
/*
 * The folder is about to be closed for another process; within the turn. What is left to be handed over is, for up to a
 * second, and the mark taken back; else it stays, for whoever opens the folder next. Then nothing is known of it here.
 * Blocks on the database.
 */
void wr_events_leave(struct wr_events *events, struct wr_git_repo *repo);
/*
 * How far the repository's events are handed over for certain; UINT64_MAX where there is no sink, 0 while it is not
 * known. Asking makes it known: a mark is asked for, and wr_repo_sweep_journals() called when it came.
 */
uint64_t wr_events_delivered(struct wr_events *events, struct wr_git_repo *repo);

/*
 * Waits until events are handed over up to this sequence, for so long at most, and not where a mark fails or the folder is
 * about to be another process's. Whether they are.
 */
bool wr_events_reach(struct wr_events *events, struct wr_git_repo *repo, uint64_t seq, int64_t ms);

/* For tests: how long a mark outlives the last record, and how far apart two rounds of handing over are. */
void wr_events_set_times(struct wr_events *events, int64_t quiet_ms, int64_t gap_ms, int64_t retry_ms);

/* Handles are short of descriptors: for so long marks are taken back, and handles let go, as soon as all is handed over. */
void wr_events_hurry(struct wr_events *events, int64_t ms);

#endif
