/*
 * core/base/lane.h: a bounded pool of threads with a bounded queue, shared fairly by accounts.
 * Jobs of one account run in the order they came; accounts take turns; no account has more than its share of the
 * threads and of the queue, so that one customer's burst leaves room for the others.
 * Ownership: wr_lane_new(), then wr_lane_stop(), then wr_lane_free(). A job's argument is the job's.
 * Threads:   any; jobs run on the lane's own threads.
 * Blocks on: submit only on a short mutex; stop on the jobs.
 * Errors:    WR_E_UNAVAILABLE: no room (nothing was taken over then).
 */
#ifndef WR_LANE_H
#define WR_LANE_H

#include "core/base/error.h"

struct wr_lane;

struct wr_lane_config {
	const char *name; /* of its threads */
	unsigned threads;
	unsigned queue_max; /* jobs that wait, all accounts together */
	unsigned
		account_share; /* percent of threads and of queue_max that one account may take; at least one of each */
	int niceness;
};

#define WR_LANE_KEY_MAX 40

WR_MUST_CHECK enum wr_code wr_lane_new(struct wr_lane **out, const struct wr_lane_config *cfg, struct wr_error *err);

/* account: any text; what lies behind WR_LANE_KEY_MAX bytes does not count. */
WR_MUST_CHECK enum wr_code wr_lane_submit(struct wr_lane *lane, struct wr_str account, void (*fn)(void *arg), void *arg,
					  struct wr_error *err);

/* Whether a submit would fail now: lets a request be refused before its body is read. */
bool wr_lane_full(struct wr_lane *lane, struct wr_str account);

/*
 * Takes no more jobs, lets those that wait run (they see that they were given up), and joins the threads.
 * False when some job has not ended after timeout_ms: then its threads still run and nothing may be freed.
 */
bool wr_lane_stop(struct wr_lane *lane, int64_t timeout_ms);

/* Only after a wr_lane_stop() that said true. */
void wr_lane_free(struct wr_lane *lane);

#endif
