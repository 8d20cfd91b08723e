/* Events: handing over what journals have, many repositories in one transaction. */
#include "core/base/suspects.h"
#include "core/git/events_internal.h"

#define BATCH_REPOS 32	  /* in one transaction, */
#define BATCH_EVENTS 1000 /* with about as many events; a single record may have more */

struct batch {
	struct wr_git_repo *repos[BATCH_REPOS];
	uint64_t newest[BATCH_REPOS]; /* that was known before the look */
	struct wr_delivery v[BATCH_REPOS];
	struct wr_event *events[BATCH_REPOS];
	char *texts[BATCH_REPOS];
	size_t n;
};

static void batch_fini(struct batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		free(b->events[i]);
		free(b->texts[i]);
		wr_error_fini(&b->v[i].err);
	}
}

static bool is_dead(const struct batch *b, size_t i)
{
	return b->v[i].event_seq == WR_EVENTS_GONE || atomic_load(&b->repos[i]->dead);
}

static void take(struct wr_events *ev, struct batch *b)
{
	struct wr_git_repo *repo;

	while (b->n < BATCH_REPOS && (repo = wr_events_pop(&ev->round))) {
		uint64_t from = repo->events.delivered;

		ev->busy--;
		if (repo->events.remark && !repo->events.leaving) {
			wr_events_mark_anew(ev, repo);
			continue;
		}
		b->repos[b->n] = repo;
		b->newest[b->n] = repo->events.newest;
		b->v[b->n++] = (struct wr_delivery){.repo_id = repo->id, .from = from, .to = from, .event_seq = from};
	}
}

/* What the journals have, until there is enough of it. How many repositories were looked at. No lock. */
static size_t look(struct batch *b)
{
	size_t i, got = 0;

	for (i = 0; i < b->n && got < BATCH_EVENTS; i++) {
		struct wr_delivery *v = &b->v[i];
		struct wr_suspect_mark mark;

		wr_suspect_begin(&mark, v->repo_id);
		v->code = wr_repo_events_after(&b->events[i], &v->n, &b->texts[i], &v->to, b->repos[i], v->from,
					       BATCH_EVENTS, &v->err);
		wr_suspect_end(&mark);
		v->events = b->events[i];
		got += v->n;
	}
	return i;
}

/* One transaction for those that have something. No lock. */
static void hand_over(struct wr_events *ev, struct batch *b)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_delivery v[BATCH_REPOS];
	size_t at[BATCH_REPOS], n = 0;
	enum wr_code code;

	for (size_t i = 0; i < b->n; i++) {
		if (b->v[i].code != WR_OK || b->v[i].to <= b->v[i].from)
			continue;
		v[n] = b->v[i];
		at[n++] = i;
	}
	if (n == 0)
		return;
	code = ev->sink->deliver(ev->sink->arg, v, n, &err);
	for (size_t i = 0; i < n; i++) {
		b->v[at[i]] = v[i];
		if (code == WR_OK)
			continue;
		/* What it said of the rows may have come undone with it. */
		b->v[at[i]].code = wr_fail(&b->v[at[i]].err, code, "%s", err.detail);
		b->v[at[i]].event_seq = v[i].from;
	}
}

/* Where one of the batch goes from here. False: nowhere, its reference goes. */
static bool settle(struct wr_events *ev, struct batch *b, size_t i)
{
	struct wr_git_repo *repo = b->repos[i];
	struct wr_repo_events *e = &repo->events;
	const struct wr_delivery *v = &b->v[i];
	bool got = v->to > v->from;

	if (is_dead(b, i)) {
		wr_events_forget(repo);
		return false;
	}
	e->failing = v->code != WR_OK;
	if (e->failing) {
		wr_events_put_off(ev, repo);
		return true;
	}
	e->delivered = v->event_seq;
	if (v->n > 0 && !v->more)
		e->awaited = v->awaited;
	else
		e->awaited |= v->awaited;
	if (e->remark && !e->leaving) {
		wr_events_mark_anew(ev, repo);
		return true;
	}
	/* Somebody else moved the row, or there may be more than was read at once. */
	e->look = got && (e->look || v->event_seq != v->to);
	if (e->leaving == WR_LEAVES_NOW)
		wr_events_put_off(ev, repo);
	else if (v->more)
		wr_events_queue(ev, repo);
	else if (e->look || (got && e->delivered < b->newest[i]))
		wr_events_enqueue(ev, &ev->round, repo);
	else if (e->delivered < b->newest[i])
		wr_events_put_off(ev, repo);
	else if (e->delivered < e->newest)
		wr_events_queue(ev, repo);
	else
		wr_events_rest(ev, repo);
	return true;
}

static void log_failures(const struct batch *b)
{
	for (size_t i = 0; i < b->n; i++)
		if (b->v[i].code != WR_OK && !b->repos[i]->events.failing && !is_dead(b, i))
			wr_events_log_failure(b->repos[i]->id, &b->v[i].err);
}

/*
 * A round costs a flush, so most repositories share one with what comes in the next moment: each tenth of a second. Those
 * of which somebody waits for the events are not held up so long.
 */
static void begin_round(struct wr_events *ev)
{
	int64_t now = wr_mono_ms();
	struct wr_git_repo *repo;

	ev->whole = now >= ev->next_round;
	while ((ev->whole || now >= ev->next_soon) && (repo = wr_events_pop(&ev->soon)))
		wr_events_push(&ev->round, repo);
	while (ev->whole && (repo = wr_events_pop(&ev->queue)))
		wr_events_push(&ev->round, repo);
}

static void end_round(struct wr_events *ev)
{
	int64_t now = wr_mono_ms();

	ev->next_soon = now + ev->soon_ms;
	if (ev->whole)
		ev->next_round = now + ev->gap_ms;
}

void wr_events_drain(struct wr_events *ev)
{
	struct wr_git_repo *gone[BATCH_REPOS];
	size_t n_gone = 0, looked;
	struct batch b = {.n = 0};

	if (!ev->round.first)
		begin_round(ev);
	take(ev, &b);
	if (b.n == 0)
		return;
	pthread_mutex_unlock(&ev->mutex);
	looked = look(&b);
	pthread_mutex_lock(&ev->mutex);
	while (b.n > looked)
		wr_events_enqueue(ev, &ev->round, b.repos[--b.n]);
	pthread_mutex_unlock(&ev->mutex);
	hand_over(ev, &b);
	log_failures(&b);
	pthread_mutex_lock(&ev->mutex);
	for (size_t i = 0; i < b.n; i++) {
		if (!settle(ev, &b, i))
			gone[n_gone++] = b.repos[i];
		else if (b.v[i].code == WR_OK)
			wr_events_ask_sweep(ev, b.repos[i]);
	}
	if (!ev->round.first)
		end_round(ev);
	pthread_cond_broadcast(&ev->moved);
	batch_fini(&b);
	wr_events_unref_all(ev, gone, n_gone);
}
