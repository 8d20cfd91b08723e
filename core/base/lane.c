#include "core/base/lane.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/share.h"
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
	bool in_turns;
	size_t key_len;
	char key[WR_LANE_KEY_MAX];
};

/*
 * A thread. Of those without work the one that came last is woken first, so that those not needed stay asleep. It stays
 * with the lane when its thread has gone: who wakes a thread does so without the lock, else it would wake only to wait
 * for that. A semaphore, since who comes out of a condition leaves the lock as if others waited for it.
 */
struct worker {
	struct wr_lane *lane;
	struct worker *prev, *next; /* in idlers; next also in spare */
	sem_t wake; /* posted once for each time that woken is set */
	bool woken;
};

struct wr_lane {
	struct wr_lane_config cfg;
	char name[16];
	pthread_mutex_t lock; /* all below */
	pthread_cond_t gone;  /* alive fell */
	unsigned queued, running;
	unsigned alive; /* threads, also those that are being started */
	unsigned hands; /* of them, woken or started and not at work yet */
	bool stopping;
	bool warned; /* the log has it that the system gave no thread */
	bool has_left;
	pthread_t left; /* the thread that ended last, to be joined by the next that does */
	struct worker *idlers;
	struct worker *spare; /* of threads that have gone */
	struct account *turns_first, *turns_last; /* accounts with jobs that wait; who goes next */
	struct account *buckets[BUCKETS];
};

static void cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t mono;

	pthread_condattr_init(&mono);
	pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &mono);
	pthread_condattr_destroy(&mono);
}

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
	if (a->in_turns || a->queued == 0)
		return;
	a->in_turns = true;
	a->turn_next = NULL;
	a->turn_prev = lane->turns_last;
	*(lane->turns_last ? &lane->turns_last->turn_next : &lane->turns_first) = a;
	lane->turns_last = a;
}

static void leave_turns(struct wr_lane *lane, struct account *a)
{
	*(a->turn_prev ? &a->turn_prev->turn_next : &lane->turns_first) = a->turn_next;
	*(a->turn_next ? &a->turn_next->turn_prev : &lane->turns_last) = a->turn_prev;
	a->in_turns = false;
}

static bool may_run(const struct wr_lane *lane, const struct account *a)
{
	const struct wr_lane_config *cfg = &lane->cfg;

	return a->running == 0 || wr_share_fits(a->running, lane->running, 1, cfg->threads, cfg->account_share);
}

/* Whose job is to run next; NULL when none may. */
static struct account *next_turn(const struct wr_lane *lane)
{
	struct account *a = lane->turns_first;

	while (a && !may_run(lane, a))
		a = a->turn_next;
	return a;
}

/* ---- threads ---- */

/* Who is to come to the work there is, once the lock is free: come(). */
struct call {
	struct worker *idler; /* NULL: none */
	bool new;	      /* one that has to be started */
};

static struct worker *take_idler(struct wr_lane *lane)
{
	struct worker *idler = lane->idlers;

	if (!idler)
		return NULL;
	lane->idlers = idler->next;
	if (idler->next)
		idler->next->prev = NULL;
	idler->woken = true;
	lane->hands++;
	return idler;
}

static struct call call_hand(struct wr_lane *lane)
{
	struct call call = {.idler = NULL};

	/* One at a time: who comes calls the next. */
	if (lane->hands || !next_turn(lane) || (call.idler = take_idler(lane)) || lane->alive >= lane->cfg.threads)
		return call;
	lane->alive++;
	lane->hands++;
	call.new = true;
	return call;
}

static struct worker *new_worker(struct wr_lane *lane)
{
	struct worker *w;

	pthread_mutex_lock(&lane->lock);
	w = lane->spare;
	if (w)
		lane->spare = w->next;
	pthread_mutex_unlock(&lane->lock);
	if (w || !(w = calloc(1, sizeof *w)))
		return w;
	w->lane = lane;
	sem_init(&w->wake, 0, 0);
	return w;
}

/* With the lock. */
static void spare_worker(struct wr_lane *lane, struct worker *w)
{
	w->next = lane->spare;
	lane->spare = w;
}

static void lane_main(void *arg);

/*
 * Without the lock. A failure leaves the work to the threads there are. Some may have lain down meanwhile, and nobody
 * woke them, since one more was on the way.
 */
static enum wr_code start_thread(struct wr_lane *lane, struct wr_error *err)
{
	struct worker *w = new_worker(lane), *idler = NULL;
	pthread_t id;
	enum wr_code code = w ? wr_thread_start(&id, lane->name, lane->cfg.niceness, lane_main, w, err)
			      : wr_fail_nomem(err);
	bool warn;

	if (code == WR_OK)
		return WR_OK;
	pthread_mutex_lock(&lane->lock);
	if (w)
		spare_worker(lane, w);
	lane->alive--;
	lane->hands--;
	if (!lane->hands && next_turn(lane))
		idler = take_idler(lane);
	warn = !lane->warned;
	lane->warned = true;
	pthread_cond_broadcast(&lane->gone);
	pthread_mutex_unlock(&lane->lock);
	if (idler)
		sem_post(&idler->wake);
	if (warn)
		WR_LOG(WR_WARN, NULL, SERVER_WARNING,
		       WR_STR("what", "the system gives no more threads; requests wait for those there are (ulimit -u, "
				      "TasksMax= of systemd)"),
		       WR_STR("lane", lane->cfg.name));
	return code;
}

/* Without the lock. */
static void come(struct wr_lane *lane, struct call call)
{
	if (call.idler)
		sem_post(&call.idler->wake);
	if (call.new)
		(void)start_thread(lane, NULL);
}

static void run_one(struct wr_lane *lane, struct account *a)
{
	struct job *job = a->first;
	struct call call;

	leave_turns(lane, a);
	a->first = job->next;
	if (!a->first)
		a->last = NULL;
	a->queued--;
	lane->queued--;
	a->running++;
	lane->running++;
	join_turns(lane, a);
	call = call_hand(lane);
	pthread_mutex_unlock(&lane->lock);
	come(lane, call);
	job->fn(job->arg);
	free(job);
	pthread_mutex_lock(&lane->lock);
	a->running--;
	lane->running--;
	drop_if_idle(lane, a);
}

/* False when nothing came for so long that the thread is not needed any more. */
static bool idle(struct wr_lane *lane, struct worker *self)
{
	int64_t end = wr_mono_ms() + lane->cfg.idle_ms;
	struct timespec until = {.tv_sec = (time_t)(end / 1000), .tv_nsec = (long)(end % 1000) * 1000000};
	int rc;

	self->woken = false;
	self->prev = NULL;
	self->next = lane->idlers;
	if (self->next)
		self->next->prev = self;
	lane->idlers = self;
	pthread_mutex_unlock(&lane->lock);
	while ((rc = sem_clockwait(&self->wake, CLOCK_MONOTONIC, &until)) < 0 && errno == EINTR)
		;
	pthread_mutex_lock(&lane->lock);
	if (self->woken && rc < 0) {
		/* Who woke it at the last moment is about to say so. */
		pthread_mutex_unlock(&lane->lock);
		while (sem_wait(&self->wake) < 0 && errno == EINTR)
			;
		pthread_mutex_lock(&lane->lock);
	}
	if (self->woken) {
		lane->hands--;
	} else {
		*(self->prev ? &self->prev->next : &lane->idlers) = self->next;
		if (self->next)
			self->next->prev = self->prev;
	}
	return self->woken || lane->alive <= lane->cfg.keep;
}

static void lane_main(void *arg)
{
	struct worker *self = arg;
	struct wr_lane *lane = self->lane;
	pthread_t before;
	bool has_before;

	pthread_mutex_lock(&lane->lock);
	lane->hands--;
	for (;;) {
		struct account *a = next_turn(lane);

		if (a)
			run_one(lane, a);
		else if (lane->stopping || !idle(lane, self))
			break;
	}
	/* Nobody waits for this thread but the one that ends after it. */
	has_before = lane->has_left;
	before = lane->left;
	lane->has_left = true;
	lane->left = pthread_self();
	spare_worker(lane, self);
	lane->alive--;
	pthread_cond_broadcast(&lane->gone);
	pthread_mutex_unlock(&lane->lock);
	if (has_before)
		pthread_join(before, NULL);
}

enum wr_code wr_lane_new(struct wr_lane **out, const struct wr_lane_config *cfg, struct wr_error *err)
{
	struct wr_lane *lane = calloc(1, sizeof *lane);
	enum wr_code code;

	if (!lane)
		return wr_fail_nomem(err);
	lane->cfg = *cfg;
	snprintf(lane->name, sizeof lane->name, "%s", cfg->name);
	lane->cfg.name = lane->name;
	if (lane->cfg.keep == 0)
		lane->cfg.keep = 1;
	pthread_mutex_init(&lane->lock, NULL);
	cond_init(&lane->gone);
	lane->alive = lane->hands = 1;
	code = start_thread(lane, err);
	if (code) {
		wr_lane_free(lane);
		return code;
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
	if (lane->queued >= lane->cfg.queue_max)
		return "queue full";
	if (a && a->queued &&
	    !wr_share_fits(a->queued, lane->queued, 1, lane->cfg.queue_max, lane->cfg.account_share))
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
	struct call call;
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
	call = call_hand(lane);
	pthread_mutex_unlock(&lane->lock);
	come(lane, call);
	return WR_OK;
}

unsigned wr_lane_threads(struct wr_lane *lane)
{
	unsigned n;

	pthread_mutex_lock(&lane->lock);
	n = lane->alive;
	pthread_mutex_unlock(&lane->lock);
	return n;
}

bool wr_lane_stop(struct wr_lane *lane, int64_t timeout_ms)
{
	int64_t end = wr_mono_ms() + timeout_ms;
	struct timespec until = {.tv_sec = (time_t)(end / 1000), .tv_nsec = (long)(end % 1000) * 1000000};
	struct worker *idler;
	bool done;

	pthread_mutex_lock(&lane->lock);
	lane->stopping = true;
	while ((idler = take_idler(lane)))
		sem_post(&idler->wake);
	while (lane->alive && pthread_cond_timedwait(&lane->gone, &lane->lock, &until) == 0)
		;
	done = lane->alive == 0;
	pthread_mutex_unlock(&lane->lock);
	if (!done)
		return false;
	if (lane->has_left)
		pthread_join(lane->left, NULL);
	lane->has_left = false;
	return true;
}

void wr_lane_free(struct wr_lane *lane)
{
	struct worker *w;

	if (!lane)
		return;
	while ((w = lane->spare)) {
		lane->spare = w->next;
		sem_destroy(&w->wake);
		free(w);
	}
	pthread_cond_destroy(&lane->gone);
	pthread_mutex_destroy(&lane->lock);
	free(lane);
}
