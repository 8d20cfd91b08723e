/*
 * core/base/lane.h: threads for work that waits, with a bounded queue, shared fairly by accounts.
 * Threads come when there is work and no idle one, up to a bound, and leave again when there is none: a job that waits
 * for a slow client holds one, and that costs its stack only. Jobs of one account begin in the order they came;
 * accounts take turns; of the threads and of the queue no account has more than its share (core/base/share.h), and
 * always may have one of each that is free: one customer's burst, or a thousand of its slow clients, leave room for
 * the others.
 * Ownership: wr_lane_new(), then wr_lane_stop(), then wr_lane_free(). A job's argument is the job's.
 * Threads:   any; jobs run on the lane's own threads.
 * Blocks on: submit only on a short mutex, and on the start of a thread; stop on the jobs.
 * Errors:    WR_E_UNAVAILABLE: no room (nothing was taken over then). When the system gives no more threads, jobs wait
 *            for those that are there: one always is.
 */
#ifndef WR_LANE_H
#define WR_LANE_H

#include "core/base/error.h"

struct wr_lane;

struct wr_lane_config {
	const char *name;   /* of its threads */
	unsigned threads;   /* at most */
	unsigned keep;	    /* so many stay when they have been idle for idle_ms; at least one does */
	unsigned idle_ms;
	unsigned queue_max; /* jobs that wait, all accounts together */
	unsigned account_share; /* percent, see share.h */
	int niceness;
};

#define WR_LANE_KEY_MAX 40

WR_MUST_CHECK enum wr_code wr_lane_new(struct wr_lane **out, const struct wr_lane_config *cfg, struct wr_error *err);

/* account: any text; what lies behind WR_LANE_KEY_MAX bytes does not count. */
WR_MUST_CHECK enum wr_code wr_lane_submit(struct wr_lane *lane, struct wr_str account, void (*fn)(void *arg), void *arg,
					  struct wr_error *err);

/* Whether a submit would fail now: lets a request be refused before its body is read. */
bool wr_lane_full(struct wr_lane *lane, struct wr_str account);

/* How many threads it has now. */
unsigned wr_lane_threads(struct wr_lane *lane);

/*
 * Takes no more jobs, lets those that wait run (they see that they were given up), and joins the threads.
 * False when some job has not ended after timeout_ms: then its threads still run and nothing may be freed.
 */
bool wr_lane_stop(struct wr_lane *lane, int64_t timeout_ms);

/* Only after a wr_lane_stop() that said true. */
void wr_lane_free(struct wr_lane *lane);

#endif
