/* Events: the thread "wr-events", its marks and their end. */
#include "core/base/log.h"
#include "core/git/events_internal.h"
#include "core/git/keeper.h"

#define APPEND_MS 300000 /* that a mark lasts for a record which was announced */
#define STOP_MS 1000	 /* for what is left at a stop */
#define MARKS_MAX 128	 /* in one transaction */

void wr_events_log_failure(const char *repo_id, const struct wr_error *err)
{
	WR_LOG(WR_WARN, NULL, JOB_FAILED, WR_STR("job", "events"), WR_STR("repo", repo_id),
	       WR_STR("code", wr_code_wire(err->code)), WR_STR("detail", err->detail));
}

void wr_events_unref_all(struct wr_events *ev, struct wr_git_repo **v, size_t n)
{
	pthread_mutex_unlock(&ev->mutex);
	for (size_t i = 0; i < n; i++)
		wr_git_repo_unref(v[i]);
	pthread_mutex_lock(&ev->mutex);
}

void wr_events_forget(struct wr_git_repo *repo)
{
	repo->events.state = WR_UNMARKED;
	repo->events.known = true;
	repo->events.delivered = WR_EVENTS_GONE;
}

static void marked(struct wr_events *ev, struct wr_git_repo *repo, const char *token, const struct wr_marked *row)
{
	struct wr_repo_events *e = &repo->events;

	memcpy(e->token, token, sizeof e->token);
	e->state = WR_MARKED;
	e->known = true;
	e->look = true;
	e->mine = e->open && e->epoch == e->mark_epoch;
	e->delivered = row->event_seq;
	e->awaited = row->awaited;
	e->last_ms = wr_mono_ms();
	/* Opened meanwhile, and before that it may have been another's. */
	if (e->open && !e->mine && !e->leaving)
		wr_events_mark_anew(ev, repo);
	else
		wr_events_queue(ev, repo);
}

/* Waiters are told. False: the handle goes; else there are records, which need their mark all the same. */
static bool not_marked(struct wr_events *ev, struct wr_git_repo *repo, enum wr_code code)
{
	struct wr_repo_events *e = &repo->events;

	e->failures++;
	e->failed = code;
	if (code == WR_E_NOT_THERE)
		wr_events_forget(repo);
	else if (!ev->stopping && !e->leaving && e->newest > e->delivered)
		wr_events_put_off(ev, repo);
	else
		e->state = WR_UNMARKED;
	return e->state != WR_UNMARKED;
}

static void mark(struct wr_events *ev)
{
	struct wr_git_repo *repos[MARKS_MAX];
	char tokens[MARKS_MAX][WR_EVENT_TOKEN + 1];
	const char *ids[MARKS_MAX];
	struct wr_marked rows[MARKS_MAX];
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	size_t n = 0, gone = 0;
	enum wr_code code;

	while (n < MARKS_MAX && (repos[n] = wr_events_pop(&ev->marking))) {
		if (repos[n]->events.leaving) {
			ev->busy--;
			wr_events_put_off(ev, repos[n]);
			continue;
		}
		repos[n]->events.mine = false;
		repos[n]->events.mark_epoch = repos[n]->events.epoch;
		n++;
	}
	if (n == 0)
		return;
	pthread_mutex_unlock(&ev->mutex);
	for (size_t i = 0; i < n; i++) {
		ids[i] = repos[i]->id;
		wr_random_text(tokens[i], WR_EVENT_TOKEN);
	}
	code = ev->sink->mark(ev->sink->arg, n, ids, (const char(*)[WR_EVENT_TOKEN + 1])tokens, rows, &err);
	pthread_mutex_lock(&ev->mutex);
	if (code != WR_OK)
		snprintf(ev->said, sizeof ev->said, "%s", err.detail);
	ev->busy -= n;
	for (size_t i = 0; i < n; i++) {
		if (code == WR_OK && rows[i].event_seq != WR_EVENTS_GONE)
			marked(ev, repos[i], tokens[i], &rows[i]);
		else if (!not_marked(ev, repos[i], code == WR_OK ? WR_E_NOT_THERE : code))
			repos[gone++] = repos[i];
	}
	pthread_cond_broadcast(&ev->moved);
	wr_events_unref_all(ev, repos, gone);
}

static void try_again(struct wr_events *ev)
{
	struct wr_git_repo *repo;

	while ((repo = wr_events_pop(&ev->later))) {
		if (repo->events.remark)
			wr_events_mark_anew(ev, repo);
		else if (repo->events.state == WR_MARKING)
			wr_events_enqueue(ev, &ev->marking, repo);
		else
			wr_events_queue(ev, repo);
	}
}

static int64_t quiet(const struct wr_events *ev)
{
	/* Each keeps its handle open, like those that are idle: there may be as many. */
	size_t room = wr_weight_repos(&ev->git->room, ev->git->cfg.idle_repos);
	int64_t ms = ev->idle_count > 2 * room ? 1 : ev->idle_count > room ? ev->quiet_ms / 10 : ev->quiet_ms;

	if (wr_mono_ms() < ev->hurry_until)
		return 1;
	/* One that has to wait longer goes through the list once more, and must not do so without end. */
	return ms > 0 ? ms : 1;
}

/* With the mark goes what made it known that there may be care to be taken: from now on the row says it. */
static void take_back(struct wr_events *ev, struct wr_git_repo *repo)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_due due;
	bool known = wr_repo_due(&due, repo);

	if (ev->sink->unmark(ev->sink->arg, repo->id, repo->events.token, known ? &due : NULL, &err) != WR_OK)
		wr_events_log_failure(repo->id, &err);
	else if (known)
		wr_keeper_settle(ev->git->keeper, repo, &due);
}

static void unmark(struct wr_events *ev, struct wr_git_repo *repo)
{
	struct wr_repo_events *e = &repo->events;
	bool mine = e->mine, open = e->open;

	e->state = WR_UNMARKING;
	pthread_mutex_unlock(&ev->mutex);
	/*
	 * A mark that stays costs the next start a look, and no more: because of an error, or because it took the place of
	 * another process's, which still counts on it.
	 */
	if (mine || (!open && !wr_git_others(ev->git)))
		take_back(ev, repo);
	pthread_mutex_lock(&ev->mutex);
	e->state = WR_UNMARKED;
	pthread_cond_broadcast(&ev->moved);
	if (e->wanted && !e->leaving) {
		e->wanted = false;
		e->state = WR_MARKING;
		wr_events_enqueue(ev, &ev->marking, repo);
	} else {
		e->wanted = false;
		wr_events_unref_all(ev, &repo, 1);
	}
}

/* Somebody waits to close their folders. */
static void let_leave(struct wr_events *ev)
{
	struct wr_git_repo *repo;

	while ((repo = wr_events_pop(&ev->leaving))) {
		struct wr_repo_events *e = &repo->events;

		if (e->state == WR_MARKED && !e->look && !e->failing && e->delivered >= e->newest &&
		    !wr_repo_uncertain(repo)) {
			unmark(ev, repo);
			continue;
		}
		e->state = WR_UNMARKED;
		pthread_cond_broadcast(&ev->moved);
		wr_events_unref_all(ev, &repo, 1);
	}
}

/* Looks at the one that is idle longest. */
static void unmark_quiet(struct wr_events *ev)
{
	struct wr_git_repo *repo = ev->idle.first;
	int64_t now = wr_mono_ms();

	if (!repo || now < repo->events.idle_ms + quiet(ev))
		return;
	wr_events_rouse(ev, repo);
	if (now < repo->events.last_ms + (repo->events.waited ? APPEND_MS : quiet(ev)) || wr_repo_uncertain(repo))
		wr_events_rest(ev, repo);
	else
		unmark(ev, repo);
}

/* When there is something to do; INT64_MAX: not before somebody says so. */
static int64_t due(const struct wr_events *ev)
{
	int64_t at = INT64_MAX;

	if (ev->stopping || ev->marking.first || ev->round.first || ev->leaving.first)
		return 0;
	if (ev->queue.first)
		at = ev->next_round;
	if (ev->soon.first && ev->next_soon < at)
		at = ev->next_soon;
	if (ev->later.first && ev->later_at < at)
		at = ev->later_at;
	if (ev->idle.first && ev->idle.first->events.idle_ms + quiet(ev) < at)
		at = ev->idle.first->events.idle_ms + quiet(ev);
	return at;
}

static void sleep_until_due(struct wr_events *ev)
{
	int64_t at;

	while ((at = due(ev)) > wr_mono_ms()) {
		struct timespec until = {at / 1000, at % 1000 * 1000000};

		if (at == INT64_MAX)
			pthread_cond_wait(&ev->work, &ev->mutex);
		else
			(void)pthread_cond_timedwait(&ev->work, &ev->mutex, &until);
	}
}

static void let_go(struct wr_events *ev, struct wr_event_list *l)
{
	struct wr_git_repo *repo;

	while ((repo = wr_events_pop(l))) {
		repo->events.state = WR_UNMARKED;
		repo->events.idle = false;
		wr_events_unref_all(ev, &repo, 1);
	}
}

/* What is left marked then is for the next start. */
static void finish(struct wr_events *ev)
{
	int64_t until = wr_mono_ms() + STOP_MS;
	struct wr_git_repo *repo;

	try_again(ev);
	ev->next_round = 0;
	while ((ev->round.first || ev->queue.first || ev->soon.first) && wr_mono_ms() < until) {
		wr_events_drain(ev);
		ev->next_round = 0;
	}
	while (wr_mono_ms() < until && (repo = ev->idle.first)) {
		wr_events_rouse(ev, repo);
		if (repo->events.waited || wr_repo_uncertain(repo))
			wr_events_put_off(ev, repo);
		else
			unmark(ev, repo);
	}
	wr_events_sweep(ev);
	let_go(ev, &ev->marking);
	let_go(ev, &ev->round);
	let_go(ev, &ev->queue);
	let_go(ev, &ev->soon);
	let_go(ev, &ev->later);
	let_go(ev, &ev->idle);
	let_go(ev, &ev->leaving);
	pthread_cond_broadcast(&ev->moved);
}

void wr_events_run(struct wr_events *ev)
{
	pthread_mutex_lock(&ev->mutex);
	while (!ev->stopping) {
		sleep_until_due(ev);
		mark(ev);
		if (ev->later.first && wr_mono_ms() >= ev->later_at)
			try_again(ev);
		wr_events_drain(ev);
		let_leave(ev);
		unmark_quiet(ev);
	}
	finish(ev);
	pthread_mutex_unlock(&ev->mutex);
}

