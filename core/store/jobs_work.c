/* The workers: whose job is next, running it, and what becomes of it. */
#include <stdatomic.h>
#include <stdio.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/threads.h"
#include "core/store/jobs_internal.h"

#define PREFIX "job-" /* of the files that say which processes live */
#define NICENESS 10
#define TICK_MS 1000	  /* an idle worker looks for what other processes queued or put off */
#define RECOVERY_MS 3000  /* between two looks for dead processes */
#define FORGET_MS 600000
#define WAIT_TICK_MS 100  /* for the end of what another process runs */
#define RETRY_MS 1000
#define RETRY_MAX_MS 300000

struct worker {
	struct wr_jobs *jobs;
	pthread_t thread;
	/* Under the lock: what it runs, or is about to take; "" between two jobs. */
	char id[WR_UUID_LEN + 1], account[WR_UUID_LEN + 1];
};

struct wr_jobs {
	struct wr_jobs_config cfg;
	char only[WR_UUID_LEN + 1];
	char run[PATH_MAX];
	struct wr_alive alive;
	atomic_bool stopping;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t wake;  /* poked, or stopping */
	pthread_cond_t ended; /* a job has ended here */
	unsigned pokes;
	/* Of the clock that only goes forward; due_at: something that was put off here may be, by then. */
	int64_t recovery_at, forget_at, due_at;
	char turn[WR_UUID_LEN + 1];	/* the account that had it last */
	/* cfg.threads of them, all there before the first thread is: what one has taken, the others see. */
	struct worker *workers;
	size_t started; /* of whoever starts and stops */
	struct wr_job_own *owns;
};

/* ---- one job ---- */

struct running {
	struct wr_jobs *jobs;
	const struct wr_job *job;
	int64_t began;
	atomic_bool cancelled;
	_Atomic int64_t look_at, note_at;
};

bool wr_jobs_due(_Atomic int64_t *at, int64_t every_ms)
{
	int64_t now = wr_mono_ms(), was = atomic_load(at);

	return now >= was && atomic_compare_exchange_strong(at, &was, now + every_ms);
}

static bool run_stop(void *arg)
{
	struct running *r = arg;
	struct wr_jobs *jobs = r->jobs;

	if (wr_jobs_due(&r->look_at, WR_JOB_LOOK_MS) && !wr_job_wanted(jobs->cfg.db, r->job->id, jobs->alive.name))
		atomic_store(&r->cancelled, true);
	return atomic_load(&r->cancelled) || atomic_load(&jobs->stopping);
}

static void run_progress(void *arg, const char *stage, uint64_t done, uint64_t total)
{
	struct running *r = arg;

	if (wr_jobs_due(&r->note_at, WR_JOB_NOTE_MS))
		wr_job_note(r->jobs->cfg.db, r->job->id, r->jobs->alive.name, stage, done, total);
}

static const struct wr_job_kind *kind_of(void *arg, const char *name)
{
	const struct wr_jobs *jobs = arg;

	for (size_t i = 0; i < jobs->cfg.kind_count; i++)
		if (strcmp(jobs->cfg.kinds[i].name, name) == 0)
			return &jobs->cfg.kinds[i];
	return NULL;
}

static bool is_transient(enum wr_code code)
{
	return code == WR_E_UNAVAILABLE || code == WR_E_STORAGE_FULL || code == WR_E_CANCELLED;
}

/* Doubled each time, of which between half and all: what failed together does not come back together. */
static int64_t pause_before(const struct wr_jobs *jobs, unsigned attempt)
{
	int64_t pause = jobs->cfg.retry_ms ? jobs->cfg.retry_ms : RETRY_MS;
	uint32_t random;

	for (unsigned i = 1; i < attempt && pause < RETRY_MAX_MS; i++)
		pause *= 2;
	if (pause > RETRY_MAX_MS)
		pause = RETRY_MAX_MS;
	wr_random_bytes(&random, sizeof random);
	return pause / 2 + (int64_t)random % (pause / 2 + 1);
}

static enum wr_code run_handler(json_t **result, struct running *r, struct wr_error *err)
{
	const struct wr_job_kind *kind = kind_of(r->jobs, r->job->kind);
	const struct wr_job_run run = {r->job, run_stop, r, run_progress};

	if (r->job->cancel) {
		atomic_store(&r->cancelled, true);
		return wr_fail(err, WR_E_CANCELLED, "cancelled before it began");
	}
	/* Of a newer program, which runs beside this one, or will. */
	if (!kind)
		return wr_fail(err, WR_E_UNAVAILABLE, "this program knows no jobs of kind %s", r->job->kind);
	/* Of its maker's own; a program that did not know the kind put it back into the queue. */
	if (!kind->run)
		return wr_fail(err, WR_E_INTERNAL, "a %s cannot be repeated", r->job->kind);
	return kind->run(r->jobs->cfg.arg, result, &run, err);
}

static void judge(struct wr_job_outcome *o, struct running *r, enum wr_code code, const struct wr_error *err)
{
	const struct wr_job *job = r->job;

	*o = (struct wr_job_outcome){.state = WR_JOB_DONE, .attempts = job->attempts};
	if (code == WR_OK)
		return;
	o->state = WR_JOB_FAILED;
	o->code = wr_code_wire(code);
	o->message = wr_error_text(err);
	if (atomic_load(&r->cancelled)) {
		o->state = WR_JOB_CANCELLED;
		o->code = o->message = NULL;
	} else if (atomic_load(&r->jobs->stopping) && (code == WR_E_CANCELLED || code == WR_E_UNAVAILABLE)) {
		o->state = WR_JOB_QUEUED;
		o->attempts = job->attempts - 1;
		o->code = o->message = NULL;
	} else if (is_transient(code) && job->attempts < WR_JOB_ATTEMPTS) {
		o->state = WR_JOB_QUEUED;
		o->not_before_ms = wr_now_ms() + pause_before(r->jobs, job->attempts);
	}
}

/* A row that stayed "running" would be looked at by nobody while this process lives, so this insists. */
static bool leave(struct running *r, const struct wr_job_outcome *o)
{
	struct wr_jobs *jobs = r->jobs;

	for (;;) {
		WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
		bool changed = false;

		if (wr_job_leave(&changed, jobs->cfg.db, r->job, jobs->alive.name, o, &err) == WR_OK)
			return changed;
		wr_log_error(NULL, WR_EV_JOB_FAILED, &err);
		if (atomic_load(&jobs->stopping))
			return false;
		nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
	}
}

static void tell(const struct running *r, const struct wr_job_outcome *o, const struct wr_error *err)
{
	const struct wr_job *job = r->job;
	int64_t ms = wr_mono_ms() - r->began;

	if (o->state == WR_JOB_DONE)
		WR_LOG(WR_INFO, NULL, JOB_DONE, WR_STR("job", job->id), WR_STR("kind", job->kind),
		       WR_STR("repo", job->repo_id), WR_STR("account", job->account_id), WR_INT("ms", ms));
	else if (o->state == WR_JOB_QUEUED)
		WR_LOG(WR_INFO, NULL, JOB_GIVEN_BACK, WR_STR("job", job->id), WR_STR("kind", job->kind),
		       WR_STR("repo", job->repo_id), WR_STR("account", job->account_id), WR_INT("ms", ms),
		       WR_STR("reason", err->detail[0] ? err->detail : wr_error_text(err)));
	else
		WR_LOG(o->state == WR_JOB_FAILED ? WR_WARN : WR_INFO, NULL, JOB_FAILED, WR_STR("job", job->id),
		       WR_STR("kind", job->kind), WR_STR("repo", job->repo_id), WR_STR("account", job->account_id),
		       WR_INT("ms", ms), WR_STR("state", wr_job_state_name(o->state)), WR_STR("code", o->code),
		       WR_STR("detail", err->detail[0] ? err->detail : wr_error_text(err)));
}

static void forget_of(struct wr_jobs *jobs, const char *account_id)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;

	if (jobs->cfg.keep_max && wr_jobs_forget_of(jobs->cfg.db, account_id, jobs->cfg.keep_max, &err) != WR_OK)
		wr_log_error(NULL, WR_EV_JOB_FAILED, &err);
}

static enum wr_code result_text(char **out, json_t *result, struct wr_error *err)
{
	if (!result)
		return WR_OK;
	*out = json_dumps(result, JSON_COMPACT | JSON_ENCODE_ANY);
	if (!*out)
		return wr_fail_nomem(err);
	if (strlen(*out) <= WR_JOB_RESULT_MAX)
		return WR_OK;
	free(WR_STEAL(*out));
	return wr_fail(err, WR_E_INTERNAL, "the result of a job has more than %zu bytes", WR_JOB_RESULT_MAX);
}

static void put_off(struct wr_jobs *jobs, int64_t not_before_ms)
{
	int64_t at = wr_mono_ms() + (not_before_ms - wr_now_ms());

	pthread_mutex_lock(&jobs->lock);
	if (at < jobs->due_at || jobs->due_at <= wr_mono_ms())
		jobs->due_at = at;
	pthread_mutex_unlock(&jobs->lock);
}

static void run(struct wr_jobs *jobs, const struct wr_job *job)
{
	struct running r = {.jobs = jobs, .job = job, .began = wr_mono_ms()};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	WR_AUTO_MEM char *text = NULL;
	struct wr_job_outcome o;
	json_t *result = NULL;
	enum wr_code code;

	WR_LOG(WR_INFO, NULL, JOB_BEGUN, WR_STR("job", job->id), WR_STR("kind", job->kind),
	       WR_STR("repo", job->repo_id), WR_STR("account", job->account_id), WR_INT("attempt", job->attempts));
	code = run_handler(&result, &r, &err);
	if (code == WR_OK)
		code = result_text(&text, result, &err);
	json_decref(result);
	judge(&o, &r, code, &err);
	if (o.code)
		text = wr_jobs_fields_text(&err);
	o.result = text;
	if (!leave(&r, &o))
		return;
	tell(&r, &o, &err);
	if (!wr_job_ended(o.state)) {
		put_off(jobs, o.not_before_ms);
		return;
	}
	if (o.state != WR_JOB_DONE && jobs->cfg.ended)
		jobs->cfg.ended(jobs->cfg.arg, job);
	forget_of(jobs, job->account_id);
}

/* ---- whose turn it is ---- */

/* One worker is always for the others, where there are more than one. */
static bool has_its_share(struct wr_jobs *jobs, const char *account)
{
	size_t n = 0, share = jobs->cfg.threads > 1 ? jobs->cfg.threads - 1 : 1;

	pthread_mutex_lock(&jobs->lock);
	for (size_t i = 0; i < jobs->cfg.threads; i++)
		n += strcmp(jobs->workers[i].account, account) == 0 ? 1 : 0;
	pthread_mutex_unlock(&jobs->lock);
	return n >= share;
}

static void occupy(struct worker *w, const char *id, const char *account)
{
	pthread_mutex_lock(&w->jobs->lock);
	snprintf(w->id, sizeof w->id, "%s", id);
	snprintf(w->account, sizeof w->account, "%s", account);
	if (account[0])
		snprintf(w->jobs->turn, sizeof w->jobs->turn, "%s", account);
	pthread_mutex_unlock(&w->jobs->lock);
}

/* Once round the accounts, beginning behind the one that had its turn last. id stays "" where nothing is due. */
static enum wr_code choose(char id[WR_UUID_LEN + 1], char account[WR_UUID_LEN + 1], struct wr_jobs *jobs,
			   struct wr_error *err)
{
	char start[WR_UUID_LEN + 1], behind[WR_UUID_LEN + 1];
	bool wrapped = false;

	pthread_mutex_lock(&jobs->lock);
	memcpy(start, jobs->turn, sizeof start);
	pthread_mutex_unlock(&jobs->lock);
	memcpy(behind, start, sizeof behind);
	for (;;) {
		enum wr_code code = wr_job_next(id, account, jobs->cfg.db, behind, err);
		bool none = code != WR_OK || !id[0];

		if (code != WR_OK)
			return code;
		if (none && !wrapped && start[0]) {
			wrapped = true;
			behind[0] = '\0';
			continue;
		}
		if (none || (wrapped && strcmp(account, start) > 0)) {
			id[0] = '\0';
			return WR_OK;
		}
		if (!has_its_share(jobs, account))
			return WR_OK;
		memcpy(behind, account, sizeof behind);
	}
}

/* Whether there was one; it may also have been another worker's by then, and there may be more. */
static bool run_next(struct worker *w)
{
	struct wr_jobs *jobs = w->jobs;
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	WR_AUTO_S(wr_job) job = {.args = NULL};
	char id[WR_UUID_LEN + 1] = "", account[WR_UUID_LEN + 1] = "";
	enum wr_code code = WR_OK;
	bool got = false;

	if (jobs->only[0])
		memcpy(id, jobs->only, sizeof id);
	else
		code = choose(id, account, jobs, &err);
	if (code == WR_OK && id[0]) {
		/* Before it is taken, so that recovery does not think that nobody runs it. */
		occupy(w, id, account);
		code = wr_job_lease(&got, &job, jobs->cfg.db, id, jobs->alive.name, &err);
		if (got)
			run(jobs, &job);
		occupy(w, "", "");
	}
	if (code != WR_OK)
		wr_log_error(NULL, WR_EV_JOB_FAILED, &err);
	pthread_mutex_lock(&jobs->lock);
	if (got)
		pthread_cond_broadcast(&jobs->ended);
	pthread_mutex_unlock(&jobs->lock);
	return got || (code == WR_OK && id[0] && !jobs->only[0]);
}

/* ---- now and then ---- */

static bool is_mine(void *arg, const char *id)
{
	struct wr_jobs *jobs = arg;
	bool mine = false;

	pthread_mutex_lock(&jobs->lock);
	for (size_t i = 0; i < jobs->cfg.threads; i++)
		mine = mine || strcmp(jobs->workers[i].id, id) == 0;
	for (const struct wr_job_own *own = jobs->owns; own && !mine; own = own->next)
		mine = strcmp(own->job.id, id) == 0;
	pthread_mutex_unlock(&jobs->lock);
	return mine;
}

static void one_ended(void *arg, const struct wr_job *job)
{
	struct wr_jobs *jobs = arg;

	if (jobs->cfg.ended)
		jobs->cfg.ended(jobs->cfg.arg, job);
}

static enum wr_code recover(struct wr_jobs *jobs, struct wr_error *err)
{
	const struct wr_job_recovery r = {jobs->cfg.db, jobs->run, jobs->alive.name, kind_of, is_mine, one_ended, jobs};
	enum wr_code code = wr_jobs_recover(&r, err);

	wr_alive_sweep(jobs->run, PREFIX);
	return code;
}

/* True for one worker at a time, and puts the next time off. */
static bool is_time(struct wr_jobs *jobs, int64_t *at, int64_t every_ms)
{
	int64_t now = wr_mono_ms();
	bool yes;

	pthread_mutex_lock(&jobs->lock);
	yes = now >= *at;
	if (yes)
		*at = now + every_ms;
	pthread_mutex_unlock(&jobs->lock);
	return yes;
}

static void keep_house(struct wr_jobs *jobs)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;

	if (jobs->only[0])
		return;
	if (is_time(jobs, &jobs->recovery_at, jobs->cfg.recovery_ms) && recover(jobs, &err) != WR_OK)
		wr_log_error(NULL, WR_EV_JOB_FAILED, &err);
	if (jobs->cfg.keep_ms && is_time(jobs, &jobs->forget_at, FORGET_MS) &&
	    wr_jobs_forget(jobs->cfg.db, wr_now_ms() - jobs->cfg.keep_ms, &err) != WR_OK)
		wr_log_error(NULL, WR_EV_JOB_FAILED, &err);
}

/* ---- threads ---- */

static void wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until_ms)
{
	struct timespec ts = {until_ms / 1000, until_ms % 1000 * 1000000};

	pthread_cond_timedwait(cond, lock, &ts);
}

/* Under the lock. */
static int64_t next_look(const struct wr_jobs *jobs)
{
	int64_t now = wr_mono_ms(), tick = now + TICK_MS;

	return jobs->due_at > now && jobs->due_at < tick ? jobs->due_at : tick;
}

static void work(void *arg)
{
	struct worker *w = arg;
	struct wr_jobs *jobs = w->jobs;

	while (!atomic_load(&jobs->stopping)) {
		unsigned seen;

		pthread_mutex_lock(&jobs->lock);
		seen = jobs->pokes;
		pthread_mutex_unlock(&jobs->lock);
		keep_house(jobs);
		if (run_next(w))
			continue;
		pthread_mutex_lock(&jobs->lock);
		if (seen == jobs->pokes && !atomic_load(&jobs->stopping))
			wait_until(&jobs->wake, &jobs->lock, next_look(jobs));
		pthread_mutex_unlock(&jobs->lock);
	}
}

static void init_cond(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

static void drop(struct wr_jobs *jobs)
{
	wr_alive_end(&jobs->alive);
	pthread_cond_destroy(&jobs->wake);
	pthread_cond_destroy(&jobs->ended);
	pthread_mutex_destroy(&jobs->lock);
	free(jobs->workers);
	free(jobs);
}

/* What is left of the jobs of processes that are gone is queued before the first thread looks. */
static enum wr_code begin(struct wr_jobs *jobs, struct wr_error *err)
{
	int n = snprintf(jobs->run, sizeof jobs->run, "%s/run", wr_db_folder(jobs->cfg.db));
	enum wr_code code;

	if (n < 0 || (size_t)n >= sizeof jobs->run)
		return wr_fail(err, WR_E_INTERNAL, "path too long: %s", wr_db_folder(jobs->cfg.db));
	if ((code = wr_alive_begin(&jobs->alive, jobs->run, PREFIX, err)) != WR_OK || jobs->only[0])
		return code;
	jobs->recovery_at = wr_mono_ms() + jobs->cfg.recovery_ms;
	return recover(jobs, err);
}

enum wr_code wr_jobs_start(struct wr_jobs **out, const struct wr_jobs_config *cfg, struct wr_error *err)
{
	struct wr_jobs *jobs = calloc(1, sizeof *jobs);
	enum wr_code code;

	if (!jobs)
		return wr_fail_nomem(err);
	jobs->cfg = *cfg;
	if (jobs->cfg.recovery_ms == 0)
		jobs->cfg.recovery_ms = RECOVERY_MS;
	jobs->alive = (struct wr_alive)WR_ALIVE_INIT;
	if (cfg->only)
		snprintf(jobs->only, sizeof jobs->only, "%s", cfg->only);
	pthread_mutex_init(&jobs->lock, NULL);
	init_cond(&jobs->wake);
	init_cond(&jobs->ended);
	jobs->workers = calloc(cfg->threads, sizeof *jobs->workers);
	code = jobs->workers ? begin(jobs, err) : wr_fail_nomem(err);
	if (code != WR_OK) {
		drop(jobs);
		return code;
	}
	for (size_t i = 0; i < cfg->threads && code == WR_OK; i++) {
		struct worker *w = &jobs->workers[i];

		w->jobs = jobs;
		code = wr_thread_start(&w->thread, "wr-job", NICENESS, work, w, err);
		jobs->started += code == WR_OK ? 1 : 0;
	}
	if (code != WR_OK)
		wr_jobs_stop(jobs);
	else
		*out = jobs;
	return code;
}

void wr_jobs_poke(struct wr_jobs *jobs)
{
	if (!jobs)
		return;
	pthread_mutex_lock(&jobs->lock);
	jobs->pokes++;
	pthread_cond_broadcast(&jobs->wake);
	pthread_mutex_unlock(&jobs->lock);
}

void wr_jobs_retire(struct wr_jobs *jobs)
{
	if (!jobs)
		return;
	atomic_store(&jobs->stopping, true);
	wr_jobs_poke(jobs);
}

void wr_jobs_stop(struct wr_jobs *jobs)
{
	if (!jobs)
		return;
	wr_jobs_retire(jobs);
	for (size_t i = 0; i < jobs->started; i++)
		pthread_join(jobs->workers[i].thread, NULL);
	drop(jobs);
}

const char *wr_jobs_process(const struct wr_jobs *jobs)
{
	return jobs->alive.name;
}

struct wr_db *wr_jobs_db(const struct wr_jobs *jobs)
{
	return jobs->cfg.db;
}

void wr_jobs_own_link(struct wr_jobs *jobs, struct wr_job_own *own)
{
	pthread_mutex_lock(&jobs->lock);
	own->next = jobs->owns;
	if (own->next)
		own->next->prev = own;
	jobs->owns = own;
	pthread_mutex_unlock(&jobs->lock);
}

void wr_jobs_own_unlink(struct wr_jobs *jobs, struct wr_job_own *own)
{
	pthread_mutex_lock(&jobs->lock);
	*(own->prev ? &own->prev->next : &jobs->owns) = own->next;
	if (own->next)
		own->next->prev = own->prev;
	pthread_mutex_unlock(&jobs->lock);
}

void wr_jobs_own_ended(struct wr_jobs *jobs, const struct wr_job *job)
{
	pthread_mutex_lock(&jobs->lock);
	pthread_cond_broadcast(&jobs->ended);
	pthread_mutex_unlock(&jobs->lock);
	forget_of(jobs, job->account_id);
}

enum wr_code wr_jobs_wait(bool *ended, struct wr_jobs *jobs, const char *id, int64_t timeout_ms, struct wr_error *err)
{
	int64_t deadline = wr_mono_ms() + timeout_ms;

	for (;;) {
		WR_AUTO_S(wr_job) job = {.args = NULL};
		enum wr_code code = wr_job_get(&job, jobs->cfg.db, NULL, wr_str(id), err);
		int64_t now = wr_mono_ms(), until = now + WAIT_TICK_MS;

		if (code != WR_OK)
			return code;
		*ended = wr_job_ended(job.state);
		if (*ended || now >= deadline)
			return WR_OK;
		pthread_mutex_lock(&jobs->lock);
		wait_until(&jobs->ended, &jobs->lock, until < deadline ? until : deadline);
		pthread_mutex_unlock(&jobs->lock);
	}
}
