/*
 * core/git/events_internal.h: the events' state, for the files of it: events.c has what others call, the beginning and
 * the end, events_thread.c marks and takes marks back, events_drain.c hands over, events_disk.c opens and removes.
 * Threads:   everything here is under the mutex, which comes before the store's two. Functions that let it go meanwhile
 *            say so; references are given back without it.
 *
 * What becomes of one repository, by events.state:
 *
 *   UNMARKED --expect, wait, delivered--> MARKING --sink.mark--> MARKED --quiet, all handed over--> UNMARKING --
 *      ^------------------------------------------------------------------------------------- sink.unmark <----'
 *
 * In every state but the first, one reference to the handle is held, and the repository is in at most one list: marking
 * (MARKING), queue, soon, round, idle (MARKED), later, leaving (either), or in none while "wr-events" works on it. Only that
 * thread moves it on from there and gives the reference back.
 */
#ifndef WR_EVENTS_INTERNAL_H
#define WR_EVENTS_INTERNAL_H

#include "core/base/clock.h"
#include "core/git/events.h"
#include "core/git/git_internal.h"

struct wr_event_list {
	struct wr_git_repo *first, *last;
};

struct wr_events {
	struct wr_git *git;
	const struct wr_event_sink *sink;
	pthread_t thread, disk;
	bool has_thread, has_disk;
	pthread_mutex_t mutex; /* guards what follows, and wr_repo_events; comes before the store's two */
	pthread_cond_t work;   /* for "wr-events" */
	pthread_cond_t moved;  /* marks came or failed, there is room again, something to sweep, or it ends */
	struct wr_event_list marking; /* want a mark */
	struct wr_event_list queue;   /* to be handed over in the next round, */
	struct wr_event_list soon;    /* or in one that comes soon, because somebody waits for them */
	struct wr_event_list round;   /* in this round */
	struct wr_event_list later;   /* tried and failed */
	struct wr_event_list idle;    /* all handed over; in the order of idle_ms */
	struct wr_event_list leaving; /* somebody waits for its end here */
	struct wr_git_repo *sweeps;   /* journals may go */
	size_t busy;		      /* in marking, queue, soon and round */
	size_t idle_count;
	int64_t next_round, next_soon, later_at;
	bool whole; /* the round is not only of those in soon */
	int64_t quiet_ms, gap_ms, soon_ms, retry_ms;
	int64_t hurry_until; /* monotonic: marks go as soon as they can */
	bool closing;	/* for "wr-events-disk" */
	bool stopping;	/* for "wr-events", and then no new marks */
	char said[512]; /* why the last mark failed */
};

/* ---- lists ---- */

void wr_events_push(struct wr_event_list *l, struct wr_git_repo *repo);
struct wr_git_repo *wr_events_pop(struct wr_event_list *l); /* NULL: empty */

/* A new mark is to take the place of the one that it has, for which it is in no list. */
void wr_events_mark_anew(struct wr_events *ev, struct wr_git_repo *repo);
/* To marking, queue or round. */
void wr_events_enqueue(struct wr_events *ev, struct wr_event_list *l, struct wr_git_repo *repo);
/* To queue or soon. */
void wr_events_queue(struct wr_events *ev, struct wr_git_repo *repo);
void wr_events_put_off(struct wr_events *ev, struct wr_git_repo *repo);
void wr_events_rest(struct wr_events *ev, struct wr_git_repo *repo);
/* Out of the list of idle ones. */
void wr_events_rouse(struct wr_events *ev, struct wr_git_repo *repo);

/* ---- what the threads do; these let the mutex go meanwhile ---- */

/* The thread "wr-events": until stopping, and then finishes. */
void wr_events_run(struct wr_events *ev);
/* One transaction of the round; a round begins with all that waits then, and not too soon after the last. */
void wr_events_drain(struct wr_events *ev);

/* The thread "wr-events-disk", until closing; what it was asked to sweep last may be left, for wr_events_sweep(). */
void wr_events_run_disk(struct wr_events *ev);
void wr_events_ask_sweep(struct wr_events *ev, struct wr_git_repo *repo);
void wr_events_sweep(struct wr_events *ev);

/* The row is gone or being deleted, and nobody wants the events. The caller gives the reference back. */
void wr_events_forget(struct wr_git_repo *repo);
void wr_events_unref_all(struct wr_events *ev, struct wr_git_repo **v, size_t n);
void wr_events_log_failure(const char *repo_id, const struct wr_error *err);

#endif
