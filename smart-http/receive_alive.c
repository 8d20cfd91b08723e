#include <errno.h>
#include <time.h>

#include "core/base/clock.h"
#include "core/base/threads.h"
#include "smart-http/receive_internal.h"

/* How often it is looked whether something is to be said; how much silence is too much, the side-bands know. */
#define LOOK_MS 1000

static void watch(void *arg)
{
	struct wr_alive *a = arg;

	pthread_mutex_lock(&a->lock);
	while (!a->stop) {
		int64_t at = wr_mono_ms() + LOOK_MS;
		struct timespec until = {.tv_sec = (time_t)(at / 1000), .tv_nsec = (long)(at % 1000) * 1000000};

		if (pthread_cond_timedwait(&a->stopped, &a->lock, &until) == ETIMEDOUT && !a->stop)
			wr_sideband_alive(a->sb);
	}
	pthread_mutex_unlock(&a->lock);
}

void wr_alive_init(struct wr_alive *a, struct wr_sideband *sb)
{
	pthread_condattr_t attr;

	*a = (struct wr_alive){.sb = sb};
	pthread_mutex_init(&a->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&a->stopped, &attr);
	pthread_condattr_destroy(&attr);
}

void wr_alive_fini(struct wr_alive *a)
{
	wr_alive_stop(a);
	pthread_cond_destroy(&a->stopped);
	pthread_mutex_destroy(&a->lock);
}

/* Where the system gives no thread the answer is as silent as the work. */
void wr_alive_start(struct wr_alive *a)
{
	if (!a->started && !a->stop && a->sb->mode != WR_BAND_NONE)
		a->started = wr_thread_start(&a->thread, "wr-alive", 0, watch, a, NULL) == WR_OK;
}

void wr_alive_stop(struct wr_alive *a)
{
	pthread_mutex_lock(&a->lock);
	a->stop = true;
	pthread_cond_signal(&a->stopped);
	pthread_mutex_unlock(&a->lock);
	if (a->started)
		pthread_join(a->thread, NULL);
	a->started = false;
}
