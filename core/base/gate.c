#include "core/base/gate.h"

#include <pthread.h>

struct wr_gate {
	pthread_mutex_t lock; /* all below */
	pthread_cond_t moved;
	uint64_t places;
	uint64_t next; /* the ticket that the next one to enter draws */
	uint64_t left; /* how often somebody has left: tickets below left + places are inside or were */
};

enum wr_code wr_gate_new(struct wr_gate **out, unsigned places, struct wr_error *err)
{
	struct wr_gate *gate = calloc(1, sizeof *gate);
	long online = sysconf(_SC_NPROCESSORS_ONLN);

	if (!gate)
		return wr_fail_nomem(err);
	pthread_mutex_init(&gate->lock, NULL);
	pthread_cond_init(&gate->moved, NULL);
	gate->places = places ? places : (online > 0 ? (uint64_t)online : 1);
	*out = gate;
	return WR_OK;
}

void wr_gate_free(struct wr_gate *gate)
{
	if (!gate)
		return;
	pthread_cond_destroy(&gate->moved);
	pthread_mutex_destroy(&gate->lock);
	free(gate);
}

void wr_gate_enter(struct wr_gate *gate)
{
	uint64_t ticket;

	pthread_mutex_lock(&gate->lock);
	ticket = gate->next++;
	while (ticket >= gate->left + gate->places)
		pthread_cond_wait(&gate->moved, &gate->lock);
	pthread_mutex_unlock(&gate->lock);
}

void wr_gate_leave(struct wr_gate *gate)
{
	pthread_mutex_lock(&gate->lock);
	gate->left++;
	/* Only the holder of one ticket may go on, and it could be any of the waiting threads. */
	if (gate->next > gate->left + gate->places - 1)
		pthread_cond_broadcast(&gate->moved);
	pthread_mutex_unlock(&gate->lock);
}
