/* Events: what others call, the beginning and the end. See events_internal.h. */
#include "core/git/events.h"

#include <errno.h>

#include "core/base/log.h"
#include "core/base/threads.h"
#include "core/git/events_internal.h"

#define WAIT_MS 30000  /* for a mark */
#define QUIET_TIMES 3  /* as long as wr_git_config.quiet_ms until a mark is taken back: the checkpoint comes before */
#define GAP_MS 100     /* between two rounds of handing over, */
#define SOON_MS 5      /* and where somebody waits for the events */
#define RETRY_MS 3000  /* after a failure */
#define LEAVE_MS 1000  /* for what is left before the folder is closed */

/* ---- lists ---- */

void wr_events_push(struct wr_event_list *l, struct wr_git_repo *repo)
{
	repo->events.prev = l->last;
	repo->events.next = NULL;
	*(l->last ? &l->last->events.next : &l->first) = repo;
	l->last = repo;
}

static void take_out(struct wr_event_list *l, struct wr_git_repo *repo)
{
	struct wr_git_repo *prev = repo->events.prev, *next = repo->events.next;

	*(prev ? &prev->events.next : &l->first) = next;
	*(next ? &next->events.prev : &l->last) = prev;
	repo->events.prev = repo->events.next = NULL;
}

struct wr_git_repo *wr_events_pop(struct wr_event_list *l)
{
	struct wr_git_repo *repo = l->first;

	if (repo)
		take_out(l, repo);
	return repo;
}

void wr_events_enqueue(struct wr_events *ev, struct wr_event_list *l, struct wr_git_repo *repo)
{
	wr_events_push(l, repo);
	ev->busy++;
	pthread_cond_signal(&ev->work);
}

void wr_events_queue(struct wr_events *ev, struct wr_git_repo *repo)
{
	wr_events_enqueue(ev, repo->events.awaited ? &ev->soon : &ev->queue, repo);
}

static void leave(struct wr_events *ev, struct wr_git_repo *repo)
{
	wr_events_push(&ev->leaving, repo);
	pthread_cond_signal(&ev->work);
}

void wr_events_mark_anew(struct wr_events *ev, struct wr_git_repo *repo)
{
	repo->events.remark = false;
	repo->events.state = WR_MARKING;
	wr_events_enqueue(ev, &ev->marking, repo);
}

void wr_events_rest(struct wr_events *ev, struct wr_git_repo *repo)
{
	if (repo->events.leaving) {
		leave(ev, repo);
		return;
	}
	repo->events.idle = true;
	repo->events.idle_ms = wr_mono_ms();
	wr_events_push(&ev->idle, repo);
	ev->idle_count++;
	pthread_cond_signal(&ev->work);
}

void wr_events_rouse(struct wr_events *ev, struct wr_git_repo *repo)
{
	repo->events.idle = false;
	take_out(&ev->idle, repo);
	ev->idle_count--;
}

void wr_events_put_off(struct wr_events *ev, struct wr_git_repo *repo)
{
	if (repo->events.leaving) {
		leave(ev, repo);
		return;
	}
	if (!ev->later.first)
		ev->later_at = wr_mono_ms() + ev->retry_ms;
	wr_events_push(&ev->later, repo);
	pthread_cond_signal(&ev->work);
}

/* ---- what others call ---- */

static void ask(struct wr_events *ev, struct wr_git_repo *repo)
{
	struct wr_repo_events *e = &repo->events;

	if (ev->stopping || e->leaving)
		return;
	if (e->state == WR_UNMARKING)
		e->wanted = true;
	if (e->state != WR_UNMARKED)
		return;
	wr_git_repo_ref(repo);
	e->state = WR_MARKING;
	wr_events_enqueue(ev, &ev->marking, repo);
}

void wr_events_expect(struct wr_events *ev, struct wr_git_repo *repo)
{
	if (!ev)
		return;
	pthread_mutex_lock(&ev->mutex);
	/* What is handed over is likely another's by now, whose mark stays. */
	if (repo->events.open || !atomic_load(&ev->git->handing_over))
		ask(ev, repo);
	pthread_mutex_unlock(&ev->mutex);
}

static struct timespec in_ms(int64_t ms)
{
	int64_t at = wr_mono_ms() + ms;

	return (struct timespec){at / 1000, at % 1000 * 1000000};
}

/* Whether records may be written. */
static bool is_marked(const struct wr_repo_events *e)
{
	return e->state == WR_MARKED && (e->mine || !e->open);
}

static enum wr_code wait_marked(struct wr_events *ev, struct wr_git_repo *repo, struct wr_error *err)
{
	struct timespec until = in_ms(WAIT_MS);
	unsigned failures = repo->events.failures;

	while (!is_marked(&repo->events)) {
		if (repo->events.failures != failures && repo->events.failed == WR_E_NOT_THERE)
			return wr_fail(err, WR_E_NOT_THERE, "The repository was deleted");
		if (repo->events.failures != failures)
			return wr_fail(err, repo->events.failed, "repository %s: %s", repo->id, ev->said);
		if (ev->stopping)
			return wr_fail(err, WR_E_UNAVAILABLE, "the server stops");
		ask(ev, repo);
		if (pthread_cond_timedwait(&ev->moved, &ev->mutex, &until) == ETIMEDOUT &&
		    !is_marked(&repo->events))
			return wr_fail(err, WR_E_UNAVAILABLE, "repository %s waits for its mark", repo->id);
	}
	return WR_OK;
}

enum wr_code wr_events_wait(struct wr_events *ev, struct wr_git_repo *repo, struct wr_error *err)
{
	enum wr_code code;

	if (!ev)
		return WR_OK;
	pthread_mutex_lock(&ev->mutex);
	code = wait_marked(ev, repo, err);
	if (code == WR_OK) {
		repo->events.waited = true;
		repo->events.last_ms = wr_mono_ms();
	}
	pthread_mutex_unlock(&ev->mutex);
	return code;
}

void wr_events_added(struct wr_events *ev, struct wr_git_repo *repo, uint64_t seq)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_repo_events *e = &repo->events;
	enum wr_code code = WR_OK;

	if (!ev)
		return;
	pthread_mutex_lock(&ev->mutex);
	if (seq > e->newest)
		e->newest = seq;
	/* Else a crash from here on would leave a record that no start looks for. */
	if (!is_marked(e))
		code = wait_marked(ev, repo, &err);
	e->waited = false;
	e->last_ms = wr_mono_ms();
	if (e->idle && e->newest > e->delivered) {
		wr_events_rouse(ev, repo);
		wr_events_queue(ev, repo);
	}
	pthread_mutex_unlock(&ev->mutex);
	if (code != WR_OK)
		wr_log_error(NULL, WR_EV_JOB_FAILED, &err);
}

void wr_events_opened(struct wr_events *ev, struct wr_git_repo *repo, bool made)
{
	struct wr_repo_events *e = &repo->events;
	bool alone;

	if (!ev)
		return;
	/* Of a folder that another process may be about to make as well nobody knows whose mark came last. */
	alone = made && !atomic_load(&ev->git->handing_over) && !wr_git_others(ev->git);
	pthread_mutex_lock(&ev->mutex);
	e->open = true;
	e->mine = alone && e->state == WR_MARKED;
	if (!alone) {
		e->epoch++;
		e->remark = e->state == WR_MARKED;
		/* With each mark comes a look into the journal. */
		if (e->remark && e->idle) {
			wr_events_rouse(ev, repo);
			wr_events_mark_anew(ev, repo);
		}
		/* Most are opened only to be read, and nothing waits for that. */
		if (e->remark || ev->later.first) {
			ev->later_at = 0;
			pthread_cond_signal(&ev->work);
		}
	}
	pthread_mutex_unlock(&ev->mutex);
}

/* Asks "wr-events" to let go of it, and waits for that: in whichever list it is, it comes by there soon. */
static void wait_left(struct wr_events *ev, struct wr_git_repo *repo)
{
	struct timespec until = in_ms(LEAVE_MS);
	struct wr_repo_events *e = &repo->events;

	e->leaving = WR_LEAVES;
	if (e->idle) {
		wr_events_rouse(ev, repo);
		leave(ev, repo);
	}
	ev->later_at = ev->next_round = 0;
	pthread_cond_signal(&ev->work);
	while (e->state != WR_UNMARKED) {
		if (e->leaving == WR_LEAVES_NOW)
			pthread_cond_wait(&ev->moved, &ev->mutex);
		else if (pthread_cond_timedwait(&ev->moved, &ev->mutex, &until) == ETIMEDOUT)
			e->leaving = WR_LEAVES_NOW;
	}
}

void wr_events_leave(struct wr_events *ev, struct wr_git_repo *repo)
{
	struct wr_repo_events *e = &repo->events;

	if (!ev)
		return;
	pthread_mutex_lock(&ev->mutex);
	if (e->state != WR_UNMARKED)
		wait_left(ev, repo);
	e->leaving = WR_STAYS;
	e->epoch++;
	e->open = e->mine = e->known = e->look = e->remark = e->waited = e->failing = false;
	e->delivered = e->newest = 0;
	pthread_mutex_unlock(&ev->mutex);
}

uint64_t wr_events_delivered(struct wr_events *ev, struct wr_git_repo *repo)
{
	uint64_t seq;

	if (!ev)
		return UINT64_MAX;
	pthread_mutex_lock(&ev->mutex);
	seq = repo->events.known ? repo->events.delivered : 0;
	if (!repo->events.known)
		ask(ev, repo);
	pthread_mutex_unlock(&ev->mutex);
	return seq;
}

bool wr_events_reach(struct wr_events *ev, struct wr_git_repo *repo, uint64_t seq, int64_t ms)
{
	struct wr_repo_events *e = &repo->events;
	struct timespec until = in_ms(ms);
	bool late = false, reached;
	unsigned failures;

	if (!ev)
		return true;
	pthread_mutex_lock(&ev->mutex);
	failures = e->failures;
	while (!(reached = e->known && e->delivered >= seq) && !late && !ev->stopping && !e->leaving &&
	       e->failures == failures) {
		if (!e->known)
			ask(ev, repo);
		late = pthread_cond_timedwait(&ev->moved, &ev->mutex, &until) == ETIMEDOUT;
	}
	pthread_mutex_unlock(&ev->mutex);
	return reached;
}

void wr_events_hurry(struct wr_events *ev, int64_t ms)
{
	if (!ev)
		return;
	pthread_mutex_lock(&ev->mutex);
	ev->hurry_until = wr_mono_ms() + ms;
	pthread_cond_signal(&ev->work);
	pthread_mutex_unlock(&ev->mutex);
}

/* ---- beginning and end ---- */

static void run(void *arg)
{
	wr_events_run(arg);
}

static void run_disk(void *arg)
{
	wr_events_run_disk(arg);
}

enum wr_code wr_events_start(struct wr_events **out, struct wr_git *git, const struct wr_event_sink *sink,
			     struct wr_error *err)
{
	struct wr_events *ev = calloc(1, sizeof *ev);
	pthread_condattr_t attr;
	enum wr_code code;

	if (!ev)
		return wr_fail_nomem(err);
	ev->git = git;
	ev->sink = sink;
	ev->quiet_ms = QUIET_TIMES * git->cfg.quiet_ms;
	ev->gap_ms = GAP_MS;
	ev->soon_ms = SOON_MS;
	ev->retry_ms = RETRY_MS;
	pthread_mutex_init(&ev->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&ev->work, &attr);
	pthread_cond_init(&ev->moved, &attr);
	pthread_condattr_destroy(&attr);
	*out = ev;
	code = wr_thread_start(&ev->thread, "wr-events", 0, run, ev, err);
	ev->has_thread = code == WR_OK;
	if (code == WR_OK)
		code = wr_thread_start(&ev->disk, "wr-events-disk", 0, run_disk, ev, err);
	ev->has_disk = code == WR_OK;
	if (code != WR_OK) {
		*out = NULL;
		wr_events_stop(ev);
	}
	return code;
}

void wr_events_set_times(struct wr_events *ev, int64_t quiet_ms, int64_t gap_ms, int64_t retry_ms)
{
	pthread_mutex_lock(&ev->mutex);
	ev->quiet_ms = quiet_ms;
	ev->gap_ms = gap_ms;
	ev->soon_ms = gap_ms < SOON_MS ? gap_ms : SOON_MS;
	ev->retry_ms = retry_ms;
	ev->next_round = 0;
	pthread_cond_signal(&ev->work);
	pthread_mutex_unlock(&ev->mutex);
}

static void end(struct wr_events *ev, bool *flag, bool running, pthread_t thread)
{
	pthread_mutex_lock(&ev->mutex);
	*flag = true;
	pthread_cond_signal(&ev->work);
	pthread_cond_broadcast(&ev->moved);
	pthread_mutex_unlock(&ev->mutex);
	if (running)
		pthread_join(thread, NULL);
}

void wr_events_stop(struct wr_events *ev)
{
	if (!ev)
		return;
	end(ev, &ev->closing, ev->has_disk, ev->disk);
	end(ev, &ev->stopping, ev->has_thread, ev->thread);
	pthread_cond_destroy(&ev->work);
	pthread_cond_destroy(&ev->moved);
	pthread_mutex_destroy(&ev->mutex);
	free(ev);
}
