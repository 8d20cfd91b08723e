/*
 * triggers/sender_internal.h: what sender.c (the thread that sends), attempt.c (one attempt, and what follows from its end),
 * care.c (the thread that judges and cleans up) and setback.c (what fails again and again) share.
 */
#ifndef WR_SENDER_INTERNAL_H
#define WR_SENDER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/base/leap.h"
#include "triggers/sender.h"

/* One delivery that this process has claimed. */
struct wr_flight {
	enum { WR_FLIGHT_FREE, WR_FLIGHT_UP, WR_FLIGHT_ENDED /* its outcome is still to be written */ } state;
	struct wr_claim claim;
	struct wr_post_end end;
	bool cut_off; /* by us: as if it had never begun */
};

/* Something that is tried until it works. */
struct wr_setback {
	enum wr_code code; /* of the last failure; WR_OK: it works */
	uint64_t times;
};

struct wr_sender {
	struct wr_sender_config cfg;
	struct wr_posts *posts; /* wr-webhooks alone, but for waking it */
	/* wr-webhooks alone; pointers, since a flight is large and few are up at most times. */
	struct wr_flight **flights;
	size_t room, up, ended;
	struct pass *pass; /* sender.c's */
	struct wr_leaps leaps;
	struct wr_setback setback; /* with the database */
	pthread_t sending, caring;
	bool has_sending, has_caring;
	atomic_bool poked;    /* there may be something to claim */
	atomic_bool retired;  /* nothing new is begun */
	atomic_bool stopping; /* nothing is waited for beyond stop_at */
	_Atomic int64_t stop_at; /* monotonic */
	/* What wakes wr-judge. */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool work, end;
};

/* ---- attempt.c ---- */

/* Begins to send what flight->claim says; where that fails the flight has ended with a reason. */
void wr_attempt_begin(struct wr_sender *s, struct wr_flight *flight);
/* An answer that is no success has no words yet. */
void wr_attempt_describe(struct wr_post_end *end);
/* What follows from its end. Borrows from the flight. */
void wr_attempt_outcome(struct wr_outcome *out, const struct wr_sender *s, const struct wr_flight *flight, int64_t now_ms);
/* The pause before the next attempt, after so many have failed: with jitter, and as long as the endpoint asks. */
int64_t wr_attempt_pause(unsigned failed, int64_t retry_ms, int64_t retry_after_s);

/* ---- setback.c ---- */

/* It failed: a line of the log, unless the last one failed alike. */
void wr_setback_met(struct wr_setback *setback, const struct wr_error *err);
/* It works: a line where it had failed more than once. */
void wr_setback_over(struct wr_setback *setback);

/* ---- care.c ---- */

/* The thread "wr-judge". */
void wr_sender_care(void *sender);

#endif
