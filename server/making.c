#include "server/making.h"

#include <stdatomic.h>
#include <stdio.h>

#include "core/base/clock.h"
#include "core/base/config.h"
#include "core/base/gate.h"
#include "core/base/lane.h"
#include "core/base/room.h"
#include "core/base/suspects.h"
#include "core/base/threads.h"
#include "core/git/plan.h"
#include "core/net/url.h"
#include "core/store/jobs.h"
#include "server/api/api.h"
#include "server/reaper.h"

#define KIND "repo.create"
#define NICENESS 5
#define IDLE_MS 10000
#define WAITING_EACH 8	  /* creations that wait, for each thread */
#define ABORT_MS 15000	  /* for what was told to end */
#define WAIT_TICK_MS 100  /* between two looks whether the client is still there */

struct wr_makers {
	const struct wr_app *app;
	struct wr_lane *lane;
	_Atomic int64_t stop_at; /* 0: not asked to; else what runs then fails */
	_Atomic size_t running;
	_Atomic uint64_t memory; /* what all of them hold */
};

/* Why one was stopped: the first reason counts. */
enum why { GOES_ON, CLIENT_LEFT, JOB_CANCELLED, TOO_LONG, STOPPING };

struct wr_making_job {
	_Atomic unsigned refs; /* the thread's, and the waiting request's */
	struct wr_makers *makers;
	struct wr_job_own own;
	struct wr_making_plan *plan;
	struct wr_making_own source;
	bool has_source;
	_Atomic int64_t until; /* 0: it has not begun */
	_Atomic int why;
	_Atomic uint64_t memory;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t wake;
	bool ended;
	enum wr_code code;
	struct wr_error err;
};

struct wr_net_rules wr_making_rules(const struct wr_making *m)
{
	const struct wr_config *cfg = m->app->cfg;

	return (struct wr_net_rules){
		.private_networks = cfg->sources_allow_private_networks,
		.ca_file = cfg->sources_ca_file,
		.redirects = (unsigned)cfg->sources_redirects,
		.connect_ms = (int64_t)cfg->sources_connect_timeout,
		.deadline_ms = (int64_t)cfg->sources_timeout,
		.min_rate = cfg->sources_min_rate,
		.min_rate_ms = (int64_t)cfg->sources_min_rate_window,
	};
}

void wr_making_plan_free(struct wr_making_plan *plan)
{
	if (!plan)
		return;
	json_decref(plan->body);
	free(plan);
}

/* ---- filling it ---- */

/* To the client a server that cannot be reached, and an archive that cannot be read, are one: nothing is to be had at the URL. */
static enum wr_code no_source(const struct wr_making *m, enum wr_code code, struct wr_error *err)
{
	WR_AUTO_S(wr_net_url) url = {NULL, NULL, NULL, NULL};

	if ((code != WR_E_NET_UNREACHABLE && code != WR_E_SOURCE_NOT_FOUND) ||
	    wr_net_url_split(&url, m->plan->url, NULL) != WR_OK)
		return code;
	wr_error_field(err, "url", wr_str(url.shown));
	return err->code = WR_E_SOURCE_NOT_FOUND;
}

static enum wr_code fill_other(struct wr_making *m, struct wr_error *err)
{
	WR_AUTO(wr_git_repo) *repo = NULL;
	enum wr_code code = wr_git_repo_open(&repo, m->app->git, m->repo_id, err);

	if (code != WR_OK)
		return code;
	m->repo = repo;
	code = m->plan->kind == WR_PLAN_SOURCE ? wr_make_from_source(m, err) : wr_make_import(m, err);
	m->repo = NULL;
	return code == WR_OK ? code : no_source(m, code, err);
}

static enum wr_code fill(struct wr_making *m, struct wr_error *err)
{
	bool forks = m->own && m->plan->kind == WR_PLAN_SOURCE;
	struct wr_suspect_mark mark;
	enum wr_code code;

	snprintf(m->default_branch, sizeof m->default_branch, "%s",
		 m->plan->default_branch[0] ? m->plan->default_branch : "main");
	wr_suspect_begin(&mark, m->own ? m->own->repo.id : m->repo_id);
	code = forks ? wr_make_from_own(m, err) : fill_other(m, err);
	wr_suspect_end(&mark);
	return code;
}

/* A fault of this server has the route's own code; what it was is in the log. */
static enum wr_code as_told(enum wr_code code, struct wr_error *err)
{
	if (code != WR_E_INTERNAL && code != WR_E_NOT_THERE && code != WR_E_EXISTS)
		return code;
	if (!err->detail[0])
		snprintf(err->detail, sizeof err->detail, "%s", wr_error_text(err));
	err->text[0] = '\0';
	return err->code = WR_E_CREATE_FAILED;
}

/* Nobody has seen it: the row goes, and the folder, if there is one. */
static void give_up(const struct wr_app *app, const char *account_id, const char *repo_id)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;

	/* Where that fails the reaper finds that its maker has ended. */
	if (wr_repo_abandon(app->db, account_id, repo_id, &err) == WR_OK)
		wr_reaper_kill(app->db, app->git, account_id, repo_id);
	wr_reaper_poke(app->reaper);
}

/* ---- at once ---- */

struct beginning {
	const struct wr_making_ask *ask;
	const char *repo_id, *maker;
	const struct wr_job_own *own; /* NULL: no job */
	json_t *args;
};

static enum wr_code begin_in(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct beginning *b = arg;
	enum wr_code code = wr_repo_begin(tx, b->repo_id, b->ask->account_id, &b->ask->new, b->maker, err);

	return code == WR_OK && b->own ? wr_job_own_add(tx, b->own, b->args, err) : code;
}

/* Durable; others compute meanwhile. */
static enum wr_code begin_row(const struct wr_app *app, struct beginning *b, struct wr_error *err)
{
	enum wr_code code;

	wr_gate_rest();
	code = wr_db_write(app->db, WR_DB_FULL, begin_in, b, err);
	wr_gate_go_on();
	return code;
}

static enum wr_code finish_row(const struct wr_making *m, const char *maker, struct wr_error *err)
{
	enum wr_code code;

	wr_gate_rest();
	code = wr_repo_finish(m->app->db, m->account_id, m->repo_id, maker, wr_str(m->default_branch), err);
	wr_gate_go_on();
	return code;
}

enum wr_code wr_making_now(char repo_id[WR_UUID_LEN + 1], const struct wr_app *app, struct wr_making_ask *ask,
			   const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO(wr_making_plan) *plan = ask->plan;
	const char *maker = wr_jobs_process(app->jobs);
	char id[WR_UUID_LEN + 1];
	struct wr_making m = {.app = app,
			      .plan = plan,
			      .own = ask->own,
			      .account_id = ask->account_id,
			      .repo_id = id,
			      .cancel = cancel,
			      .room = ask->room};
	struct beginning b = {.ask = ask, .repo_id = id, .maker = maker};
	enum wr_code code;

	wr_uuid_new(id);
	if ((code = begin_row(app, &b, err)) != WR_OK)
		return code;
	code = fill(&m, err);
	if (code == WR_OK)
		code = finish_row(&m, maker, err);
	if (code != WR_OK) {
		give_up(app, ask->account_id, id);
		return as_told(code, err);
	}
	memcpy(repo_id, id, sizeof id);
	return WR_OK;
}

/* ---- as a job ---- */

void wr_making_job_unref(struct wr_making_job *j)
{
	if (atomic_fetch_sub(&j->refs, 1) != 1)
		return;
	wr_making_plan_free(j->plan);
	wr_error_fini(&j->err);
	pthread_cond_destroy(&j->wake);
	pthread_mutex_destroy(&j->lock);
	free(j);
}

static void stop_for(struct wr_making_job *j, enum why why)
{
	int none = GOES_ON;

	atomic_compare_exchange_strong(&j->why, &none, why);
}

static bool must_stop(void *arg)
{
	struct wr_making_job *j = arg;
	int64_t now = wr_mono_ms(), stop_at = atomic_load(&j->makers->stop_at), until = atomic_load(&j->until);

	if (atomic_load(&j->why) == GOES_ON && wr_job_own_stop(&j->own))
		stop_for(j, JOB_CANCELLED);
	if (stop_at && now >= stop_at)
		stop_for(j, STOPPING);
	if (until && now >= until)
		stop_for(j, TOO_LONG);
	return atomic_load(&j->why) != GOES_ON;
}

static void note(void *arg, const char *stage, uint64_t done, uint64_t total, bool last)
{
	struct wr_making_job *j = arg;

	(void)last;
	wr_job_own_note(&j->own, stage, done, total);
}

static bool take_memory(void *arg, uint64_t n, bool spare)
{
	struct wr_making_job *j = arg;
	uint64_t max = j->makers->app->cfg->http_max_buffered;

	if (atomic_fetch_add(&j->makers->memory, n) + n > (spare ? max / 2 : max)) {
		atomic_fetch_sub(&j->makers->memory, n);
		return false;
	}
	atomic_fetch_add(&j->memory, n);
	return true;
}

static void give_memory(void *arg, uint64_t n)
{
	struct wr_making_job *j = arg;

	atomic_fetch_sub(&j->makers->memory, n);
	atomic_fetch_sub(&j->memory, n);
}

static enum wr_code finish_in(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct wr_making *m = arg;
	const struct wr_making_job *j = m->progress->arg;

	return wr_repo_finish_in(tx, m->account_id, m->repo_id, j->own.job.id, wr_str(m->default_branch), err);
}

static enum wr_code fill_job(struct wr_making_job *j, struct wr_error *err)
{
	const struct wr_progress progress = {note, j};
	const struct wr_cancel cancel = {must_stop, j};
	const struct wr_room room = {take_memory, give_memory, j};
	struct wr_making m = {.app = j->makers->app,
			      .plan = j->plan,
			      .own = j->has_source ? &j->source : NULL,
			      .account_id = j->own.job.account_id,
			      .repo_id = j->own.job.repo_id,
			      .progress = &progress,
			      .cancel = &cancel,
			      .room = &room};
	WR_AUTO(json_t) *result = json_pack("{s:s}", "repoId", j->own.job.repo_id);
	enum wr_code code = result ? wr_cancelled(&cancel, err) : wr_fail_nomem(err);

	if (code == WR_OK)
		code = fill(&m, err);
	give_memory(j, atomic_load(&j->memory));
	return code == WR_OK ? wr_job_own_done(&j->own, result, finish_in, &m, err) : code;
}

/* What was stopped failed for that reason, whatever it was about just then. */
static enum wr_code explain(const struct wr_making_job *j, enum wr_code code, struct wr_error *err)
{
	long long seconds = (long long)j->makers->app->cfg->sources_timeout / 1000;

	switch (atomic_load(&j->why)) {
	case GOES_ON:
		return as_told(code, err);
	case TOO_LONG:
		return wr_fail(err, WR_E_NET_SLOW,
			       "Making the repository takes longer than the %lld seconds that it may", seconds);
	case STOPPING:
		wr_fail(err, WR_E_UNAVAILABLE, "the server stops");
		snprintf(err->text, sizeof err->text,
			 "The server stopped before the repository was complete; ask again");
		return WR_E_UNAVAILABLE;
	default:
		wr_fail(err, WR_E_CANCELLED, "cancelled, or nobody waits for it");
		snprintf(err->text, sizeof err->text, "The creation was cancelled");
		return WR_E_CANCELLED;
	}
}

static void end(struct wr_making_job *j, enum wr_code code, struct wr_error *err)
{
	if (code != WR_OK) {
		code = explain(j, code, err);
		wr_job_own_fail(&j->own, code == WR_E_CANCELLED, err);
		give_up(j->makers->app, j->own.job.account_id, j->own.job.repo_id);
	}
	pthread_mutex_lock(&j->lock);
	j->ended = true;
	j->code = code;
	wr_error_move(&j->err, err);
	pthread_cond_broadcast(&j->wake);
	pthread_mutex_unlock(&j->lock);
}

/* In the lane. */
static void run(void *arg)
{
	struct wr_making_job *j = arg;
	struct wr_makers *makers = j->makers;
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;

	atomic_store(&j->until, wr_mono_ms() + (int64_t)makers->app->cfg->sources_timeout);
	end(j, fill_job(j, &err), &err);
	wr_job_own_fini(&j->own);
	wr_making_job_unref(j);
	atomic_fetch_sub(&makers->running, 1);
}

static struct wr_making_job *new_job(const struct wr_app *app, struct wr_making_ask *ask)
{
	struct wr_making_job *j = calloc(1, sizeof *j);
	char job_id[WR_UUID_LEN + 1], repo_id[WR_UUID_LEN + 1];
	pthread_condattr_t attr;

	if (!j)
		return NULL;
	wr_uuid_new(job_id);
	wr_uuid_new(repo_id);
	atomic_init(&j->refs, 2);
	j->makers = app->makers;
	j->plan = WR_STEAL(ask->plan);
	j->has_source = ask->own != NULL;
	if (ask->own)
		j->source = *ask->own;
	pthread_mutex_init(&j->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&j->wake, &attr);
	pthread_condattr_destroy(&attr);
	wr_job_own_init(&j->own, app->jobs, job_id, ask->account_id, repo_id, KIND);
	return j;
}

/* Of the URL the host and the path, which have nothing secret. */
static json_t *args_of(const struct wr_making_plan *plan)
{
	static const char *const kinds[] = {"source", "files", "tar", "zip", "git"};
	WR_AUTO_S(wr_net_url) url = {NULL, NULL, NULL, NULL};
	const char *host, *path;

	if (!plan->url.ptr || wr_net_url_split(&url, plan->url, NULL) != WR_OK)
		return json_pack("{s:s}", "from", kinds[plan->kind]);
	host = strstr(url.shown, "://");
	host = host ? host + 3 : url.shown;
	path = strchr(host, '/');
	return json_pack("{s:s, s:s%, s:s}", "from", kinds[plan->kind], "host", host,
			 path ? (size_t)(path - host) : strlen(host), "path", path ? path : "/");
}

static enum wr_code begin_job(struct wr_making_job *j, const struct wr_app *app, struct wr_making_ask *ask,
			      struct wr_error *err)
{
	WR_AUTO(json_t) *args = args_of(j->plan);
	struct beginning b = {ask, j->own.job.repo_id, j->own.job.id, &j->own, args};
	int64_t stop_at = atomic_load(&j->makers->stop_at);

	if (!args)
		return wr_fail_nomem(err);
	if (stop_at && wr_mono_ms() >= stop_at)
		return wr_fail(err, WR_E_UNAVAILABLE, "the server stops");
	/* Before anything is written. */
	if (wr_lane_full(j->makers->lane, wr_str(ask->account_id)))
		return wr_fail(err, WR_E_UNAVAILABLE, "too many creations wait");
	return begin_row(app, &b, err);
}

enum wr_code wr_making_begin(struct wr_making_job **out, struct wr_making_ids *ids, const struct wr_app *app,
			     struct wr_making_ask *ask, struct wr_error *err)
{
	struct wr_making_job *j = new_job(app, ask);
	enum wr_code code;

	if (!j) {
		wr_making_plan_free(WR_STEAL(ask->plan));
		return wr_fail_nomem(err);
	}
	code = begin_job(j, app, ask, err);
	if (code == WR_OK) {
		memcpy(ids->repo_id, j->own.job.repo_id, sizeof ids->repo_id);
		memcpy(ids->job_id, j->own.job.id, sizeof ids->job_id);
		atomic_fetch_add(&j->makers->running, 1);
		code = wr_lane_submit(j->makers->lane, wr_str(ask->account_id), run, j, err);
		if (code == WR_OK) {
			*out = j;
			return WR_OK;
		}
		atomic_fetch_sub(&j->makers->running, 1);
		wr_job_own_fail(&j->own, false, err);
		give_up(app, ask->account_id, ids->repo_id);
	}
	wr_job_own_fini(&j->own);
	atomic_store(&j->refs, 1);
	wr_making_job_unref(j);
	return code;
}

static void wait_a_bit(struct wr_making_job *j)
{
	int64_t until = wr_mono_ms() + WAIT_TICK_MS;
	struct timespec ts = {until / 1000, until % 1000 * 1000000};

	pthread_cond_timedwait(&j->wake, &j->lock, &ts);
}

enum wr_code wr_making_wait(struct wr_making_job *j, const struct wr_cancel *cancel, struct wr_error *err)
{
	enum wr_code code;
	bool ended;

	wr_gate_rest();
	do {
		code = wr_cancelled(cancel, err);
		pthread_mutex_lock(&j->lock);
		if (code == WR_OK && !j->ended)
			wait_a_bit(j);
		ended = j->ended;
		if (ended) {
			code = j->code;
			wr_error_move(err, &j->err);
		}
		pthread_mutex_unlock(&j->lock);
	} while (!ended && code == WR_OK);
	if (!ended)
		stop_for(j, CLIENT_LEFT);
	wr_gate_go_on();
	return code;
}

/* ---- the threads ---- */

enum wr_code wr_makers_start(struct wr_makers **out, const struct wr_app *app, struct wr_error *err)
{
	const struct wr_config *cfg = app->cfg;
	const struct wr_lane_config lane = {
		.name = "wr-making",
		.threads = (unsigned)cfg->sources_threads,
		.idle_ms = IDLE_MS,
		.queue_max = (unsigned)cfg->sources_threads * WAITING_EACH,
		.account_share = (unsigned)cfg->lanes_account_share,
		.niceness = NICENESS,
	};
	struct wr_makers *makers = calloc(1, sizeof *makers);
	enum wr_code code = makers ? wr_lane_new(&makers->lane, &lane, err) : wr_fail_nomem(err);

	if (code != WR_OK) {
		free(makers);
		return code;
	}
	makers->app = app;
	*out = makers;
	return WR_OK;
}

void wr_makers_retire(struct wr_makers *makers, int64_t patience_ms)
{
	int64_t at = wr_mono_ms() + patience_ms, was;

	if (!makers)
		return;
	was = atomic_load(&makers->stop_at);
	if (was == 0 || at < was)
		atomic_store(&makers->stop_at, at);
}

size_t wr_makers_running(const struct wr_makers *makers)
{
	return atomic_load(&makers->running);
}

bool wr_makers_stop(struct wr_makers *makers)
{
	int64_t left;

	if (!makers)
		return true;
	if (atomic_load(&makers->stop_at) == 0)
		wr_makers_retire(makers, 0);
	left = atomic_load(&makers->stop_at) - wr_mono_ms();
	if (!wr_lane_stop(makers->lane, (left > 0 ? left : 0) + ABORT_MS))
		return false;
	wr_lane_free(makers->lane);
	free(makers);
	return true;
}
