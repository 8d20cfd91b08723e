#include "core/base/lane.h"

#include <pthread.h>

#include "core/base/clock.h"
#include "core/base/threads.h"

#define BUCKETS 256

struct job {
	struct job *next;
	void (*fn)(void *arg);
	void *arg;
};

/* An account lives here while it has a job waiting or running. */
struct account {
	struct account *bucket_next;
	struct account *turn_prev, *turn_next; /* its place in lane->turns */
	struct job *first, *last;
	unsigned queued, running;
	bool in_turns; /* queued > 0 and running < run_max */
	size_t key_len;
	char key[WR_LANE_KEY_MAX];
};

struct wr_lane {
	char name[16];
	unsigned threads, queue_max;
	unsigned run_max, wait_max; /* of one account */
	pthread_t *ids;
	unsigned started;
	pthread_mutex_t lock; /* all below */
	pthread_cond_t work;
	pthread_cond_t gone; /* alive fell */
	unsigned queued, alive;
	bool stopping;
	struct account *turns_first, *turns_last; /* who goes next */
	struct account *buckets[BUCKETS];
};

static struct account **bucket_of(struct wr_lane *lane, struct wr_str key)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < key.len; i++)
		h = (h ^ (unsigned char)key.ptr[i]) * 16777619u;
	return &lane->buckets[h % BUCKETS];
}

static struct account *find(struct wr_lane *lane, struct wr_str key)
{
	struct account *a = *bucket_of(lane, key);

	while (a && !wr_str_eq(wr_str_n(a->key, a->key_len), key))
		a = a->bucket_next;
	return a;
}

static struct account *find_or_add(struct wr_lane *lane, struct wr_str key)
{
	struct account *a = find(lane, key), **bucket = bucket_of(lane, key);

	if (a || !(a = calloc(1, sizeof *a)))
		return a;
	if (key.len)
		memcpy(a->key, key.ptr, key.len);
	a->key_len = key.len;
	a->bucket_next = *bucket;
	*bucket = a;
	return a;
}

static void drop_if_idle(struct wr_lane *lane, struct account *a)
{
	struct account **at = bucket_of(lane, wr_str_n(a->key, a->key_len));

	if (a->queued || a->running)
		return;
	while (*at != a)
		at = &(*at)->bucket_next;
	*at = a->bucket_next;
	free(a);
}

/* Puts an account at the end of the turns when it belongs there and is not there yet. */
static void join_turns(struct wr_lane *lane, struct account *a)
{
	if (a->in_turns || a->queued == 0 || a->running >= lane->run_max)
		return;
	a->in_turns = true;
	a->turn_next = NULL;
	a->turn_prev = lane->turns_last;
	*(lane->turns_last ? &lane->turns_last->turn_next : &lane->turns_first) = a;
	lane->turns_last = a;
	pthread_cond_signal(&lane->work);
}

static struct account *take_turn(struct wr_lane *lane)
{
	struct account *a = lane->turns_first;

	lane->turns_first = a->turn_next;
	*(a->turn_next ? &a->turn_next->turn_prev : &lane->turns_last) = NULL;
	a->in_turns = false;
	return a;
}

static void run_one(struct wr_lane *lane)
{
	struct account *a = take_turn(lane);
	struct job *job = a->first;

	a->first = job->next;
	if (!a->first)
		a->last = NULL;
	a->queued--;
	lane->queued--;
	a->running++;
	join_turns(lane, a);
	pthread_mutex_unlock(&lane->lock);
	job->fn(job->arg);
	free(job);
	pthread_mutex_lock(&lane->lock);
	a->running--;
	join_turns(lane, a);
	drop_if_idle(lane, a);
	/* At the end, threads that wait for an account's turn to come back leave with the last job. */
	if (lane->stopping && lane->queued == 0)
		pthread_cond_broadcast(&lane->work);
}

static void lane_main(void *arg)
{
	struct wr_lane *lane = arg;

	pthread_mutex_lock(&lane->lock);
	for (;;) {
		while (!lane->turns_first && !(lane->stopping && lane->queued == 0))
			pthread_cond_wait(&lane->work, &lane->lock);
		if (!lane->turns_first)
			break;
		run_one(lane);
	}
	lane->alive--;
	pthread_cond_broadcast(&lane->gone);
	pthread_mutex_unlock(&lane->lock);
}

static unsigned share_of(unsigned all, unsigned percent)
{
	unsigned n = (unsigned)((uint64_t)all * percent / 100);

	return n ? n : 1;
}

enum wr_code wr_lane_new(struct wr_lane **out, const struct wr_lane_config *cfg, struct wr_error *err)
{
	struct wr_lane *lane = calloc(1, sizeof *lane);
	pthread_condattr_t mono;

	if (!lane || !(lane->ids = calloc(cfg->threads, sizeof *lane->ids))) {
		free(lane);
		return wr_fail_nomem(err);
	}
	snprintf(lane->name, sizeof lane->name, "%s", cfg->name);
	lane->threads = cfg->threads;
	lane->queue_max = cfg->queue_max;
	lane->run_max = share_of(cfg->threads, cfg->account_share);
	lane->wait_max = share_of(cfg->queue_max, cfg->account_share);
	pthread_mutex_init(&lane->lock, NULL);
	pthread_cond_init(&lane->work, NULL);
	pthread_condattr_init(&mono);
	pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	pthread_cond_init(&lane->gone, &mono);
	pthread_condattr_destroy(&mono);
	for (; lane->started < cfg->threads; lane->started++) {
		enum wr_code code;

		pthread_mutex_lock(&lane->lock);
		lane->alive++;
		pthread_mutex_unlock(&lane->lock);
		code = wr_thread_start(&lane->ids[lane->started], lane->name, cfg->niceness, lane_main, lane, err);
		if (code) {
			pthread_mutex_lock(&lane->lock);
			lane->alive--;
			pthread_mutex_unlock(&lane->lock);
			/* Its threads are idle: this ends at once. */
			(void)wr_lane_stop(lane, INT64_MAX / 2000);
			wr_lane_free(lane);
			return code;
		}
	}
	*out = lane;
	return WR_OK;
}

static struct wr_str cut(struct wr_str key)
{
	return wr_str_n(key.ptr, key.len < WR_LANE_KEY_MAX ? key.len : WR_LANE_KEY_MAX);
}

/* Why no job of this account fits in now, or NULL. a may be NULL: the account has nothing here. */
static const char *refusal(const struct wr_lane *lane, const struct account *a)
{
	if (lane->stopping)
		return "stopping";
	if (lane->queued >= lane->queue_max)
		return "queue full";
	if (a && a->queued >= lane->wait_max)
		return "account's share used up";
	return NULL;
}

bool wr_lane_full(struct wr_lane *lane, struct wr_str account)
{
	bool full;

	pthread_mutex_lock(&lane->lock);
	full = refusal(lane, find(lane, cut(account))) != NULL;
	pthread_mutex_unlock(&lane->lock);
	return full;
}

enum wr_code wr_lane_submit(struct wr_lane *lane, struct wr_str account, void (*fn)(void *arg), void *arg,
			    struct wr_error *err)
{
	struct job *job = calloc(1, sizeof *job);
	struct account *a;
	const char *why;

	if (!job)
		return wr_fail_nomem(err);
	job->fn = fn;
	job->arg = arg;
	pthread_mutex_lock(&lane->lock);
	why = refusal(lane, find(lane, cut(account)));
	a = why ? NULL : find_or_add(lane, cut(account));
	if (!a) {
		pthread_mutex_unlock(&lane->lock);
		free(job);
		return wr_fail(err, WR_E_UNAVAILABLE, "lane %s: %s", lane->name, why ? why : "out of memory");
	}
	*(a->last ? &a->last->next : &a->first) = job;
	a->last = job;
	a->queued++;
	lane->queued++;
	join_turns(lane, a);
	pthread_mutex_unlock(&lane->lock);
	return WR_OK;
}

bool wr_lane_stop(struct wr_lane *lane, int64_t timeout_ms)
{
	int64_t end = wr_mono_ms() + timeout_ms;
	struct timespec until = {.tv_sec = (time_t)(end / 1000), .tv_nsec = (long)(end % 1000) * 1000000};
	bool done;

	pthread_mutex_lock(&lane->lock);
	lane->stopping = true;
	pthread_cond_broadcast(&lane->work);
	while (lane->alive && pthread_cond_timedwait(&lane->gone, &lane->lock, &until) == 0)
		;
	done = lane->alive == 0;
	pthread_mutex_unlock(&lane->lock);
	if (!done)
		return false;
	for (unsigned i = 0; i < lane->started; i++)
		pthread_join(lane->ids[i], NULL);
	lane->started = 0;
	return true;
}

void wr_lane_free(struct wr_lane *lane)
{
	if (!lane)
		return;
	pthread_cond_destroy(&lane->gone);
	pthread_cond_destroy(&lane->work);
	pthread_mutex_destroy(&lane->lock);
	free(lane->ids);
	free(lane);
}
