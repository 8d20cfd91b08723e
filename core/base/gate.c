#include "core/base/gate.h"

#include <pthread.h>

#include "core/base/clock.h"

/* So long one computes while others wait. */
#define TURN_MS 50

/* This thread's place. */
static _Thread_local struct {
	struct wr_gate *gate; /* NULL: it is in none */
	struct wr_str account;
	unsigned resting; /* rests that have begun: more than 0, and the place is given back */
	int64_t since_ms; /* it has the place, or nobody wanted it */
} place;

/* Lives on the stack of the thread that waits. */
struct waiter {
	struct waiter *next;
	struct wr_str account;
	uint64_t round;
	bool admitted;
	pthread_cond_t moved; /* admitted */
};

struct wr_gate {
	pthread_mutex_t lock; /* all below */
	uint64_t places, inside;
	uint64_t round; /* of whom was admitted last */
	struct waiter *first; /* by rounds, in each by arrival; an account waits once in a round */
	size_t waiting;
};

enum wr_code wr_gate_new(struct wr_gate **out, unsigned places, struct wr_error *err)
{
	struct wr_gate *gate = calloc(1, sizeof *gate);
	long online = sysconf(_SC_NPROCESSORS_ONLN);

	if (!gate)
		return wr_fail_nomem(err);
	pthread_mutex_init(&gate->lock, NULL);
	gate->places = places ? places : (online > 0 ? (uint64_t)online : 1);
	*out = gate;
	return WR_OK;
}

void wr_gate_free(struct wr_gate *gate)
{
	if (!gate)
		return;
	pthread_mutex_destroy(&gate->lock);
	free(gate);
}

/*
 * Into the round behind the account's last in the line. One that does not wait yet joins the round to come, not the
 * present one: else who comes back quickly enough would always be before those who wait for the next.
 */
static void line_up(struct wr_gate *gate, struct waiter *w)
{
	struct waiter **at = &gate->first;

	w->round = gate->round + 1;
	for (struct waiter *other = gate->first; other; other = other->next)
		if (wr_str_eq(other->account, w->account))
			w->round = other->round + 1;
	while (*at && (*at)->round <= w->round)
		at = &(*at)->next;
	w->next = *at;
	*at = w;
	gate->waiting++;
}

static void get_in(struct wr_gate *gate, struct wr_str account)
{
	struct waiter w = {.account = account};

	pthread_mutex_lock(&gate->lock);
	if (gate->inside < gate->places) {
		gate->inside++;
		pthread_mutex_unlock(&gate->lock);
		return;
	}
	pthread_cond_init(&w.moved, NULL);
	line_up(gate, &w);
	while (!w.admitted)
		pthread_cond_wait(&w.moved, &gate->lock);
	pthread_mutex_unlock(&gate->lock);
	pthread_cond_destroy(&w.moved);
}

/* The place passes to the first who waits, so nobody waits while one is free. */
static void get_out(struct wr_gate *gate)
{
	struct waiter *w;

	pthread_mutex_lock(&gate->lock);
	w = gate->first;
	if (w) {
		gate->first = w->next;
		gate->waiting--;
		gate->round = w->round;
		w->admitted = true;
		pthread_cond_signal(&w->moved);
	} else {
		gate->inside--;
	}
	pthread_mutex_unlock(&gate->lock);
}

size_t wr_gate_waiting(struct wr_gate *gate)
{
	size_t n;

	pthread_mutex_lock(&gate->lock);
	n = gate->waiting;
	pthread_mutex_unlock(&gate->lock);
	return n;
}

void wr_gate_enter(struct wr_gate *gate, struct wr_str account)
{
	get_in(gate, account);
	place.gate = gate;
	place.account = account;
	place.resting = 0;
	place.since_ms = wr_mono_ms();
}

void wr_gate_leave(struct wr_gate *gate)
{
	if (place.resting == 0)
		get_out(gate);
	place.gate = NULL;
}

void wr_gate_rest(void)
{
	if (place.gate && place.resting++ == 0)
		get_out(place.gate);
}

void wr_gate_go_on(void)
{
	if (!place.gate || --place.resting > 0)
		return;
	get_in(place.gate, place.account);
	place.since_ms = wr_mono_ms();
}

void wr_gate_give_way(void)
{
	if (!place.gate || place.resting > 0 || wr_mono_ms() - place.since_ms < TURN_MS)
		return;
	if (wr_gate_waiting(place.gate)) {
		wr_gate_rest();
		wr_gate_go_on();
	}
	place.since_ms = wr_mono_ms();
}
