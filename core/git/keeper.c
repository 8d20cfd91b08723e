/* The keeper: what others call, the beginning and the end. */
#include "core/base/clock.h"
#include "core/base/gate.h"
#include "core/base/threads.h"
#include "core/git/keeper_internal.h"

#define NICENESS 10
/* How often the list is asked for what other processes put there. */
#define POLL_MS (60 * 1000)
/* Due so many times over: writers are slowed; refused; and what failed is tried again after a while at least. */
#define SLOW 8
#define TOO_LATE 64
#define SLOWEST_MS 1000
#define LATE_RETRY_MS 60000

/* ---- lists; with the mutex ---- */

void wr_keeper_push(struct wr_keep_list *list, struct wr_git_repo *repo)
{
	repo->keep_next = NULL;
	repo->keep_prev = list->last;
	*(list->last ? &list->last->keep_next : &list->first) = repo;
	list->last = repo;
}

static void take_out(struct wr_keep_list *list, struct wr_git_repo *repo)
{
	*(repo->keep_prev ? &repo->keep_prev->keep_next : &list->first) = repo->keep_next;
	*(repo->keep_next ? &repo->keep_next->keep_prev : &list->last) = repo->keep_prev;
	repo->keep_prev = repo->keep_next = NULL;
}

struct wr_git_repo *wr_keeper_pop(struct wr_keep_list *list)
{
	struct wr_git_repo *repo = list->first;

	if (repo)
		take_out(list, repo);
	return repo;
}

void wr_keeper_unqueue(struct wr_keeper *k, struct wr_git_repo *repo)
{
	take_out(repo->queued == WR_KEEP_NOW ? &k->now : &k->later, repo);
	repo->queued = WR_KEEP_NOT;
}

void wr_keeper_enqueue(struct wr_keeper *k, struct wr_git_repo *repo, bool at_once)
{
	if (k->stop || repo->cared_for || repo->queued == WR_KEEP_NOW || (repo->queued == WR_KEEP_LATER && !at_once))
		return;
	if (repo->queued == WR_KEEP_NOT)
		wr_git_repo_ref(repo);
	else
		wr_keeper_unqueue(k, repo);
	repo->queued = at_once ? WR_KEEP_NOW : WR_KEEP_LATER;
	repo->keep_at = wr_mono_ms() + k->git->cfg.quiet_ms;
	wr_keeper_push(at_once ? &k->now : &k->later, repo);
	pthread_cond_signal(&k->cond);
}

/* ---- what others say ---- */

/* What failed of late is left alone, but not for long where writers suffer from it. */
static bool may_try(const struct wr_keeper *k, const struct wr_git_repo *repo, unsigned level)
{
	const struct wr_trouble *trouble = wr_trouble_find(&k->troubles, repo->id);
	int64_t now = wr_mono_ms();

	return !trouble || now >= trouble->until_ms || (level >= SLOW && now >= trouble->tried_ms + LATE_RETRY_MS);
}

void wr_keeper_look(struct wr_keeper *k, struct wr_git_repo *repo, const struct wr_snapshot *snap)
{
	int64_t now = wr_mono_ms();
	unsigned level;
	bool at_once;

	if (!k)
		return;
	level = wr_due_level(snap);
	atomic_store(&repo->level, level);
	atomic_store(&repo->written_ms, now);
	if (snap->lost && !atomic_load(&repo->rewound_ms))
		atomic_store(&repo->rewound_ms, now);
	at_once = level > 0 || wr_due_cruft(repo, snap);
	if (!at_once && !wr_due_when_quiet(snap))
		return;
	pthread_mutex_lock(&k->mutex);
	if (may_try(k, repo, level))
		wr_keeper_enqueue(k, repo, at_once);
	pthread_mutex_unlock(&k->mutex);
}

enum wr_code wr_keeper_pace(struct wr_git_repo *repo, struct wr_error *err)
{
	unsigned level = repo->git->keeper ? atomic_load(&repo->level) : 0;
	int64_t ms;

	if (level < SLOW)
		return WR_OK;
	if (level >= TOO_LATE)
		return wr_fail(err, WR_E_UNAVAILABLE, "repository %s: checkpoints do not keep up with writes", repo->id);
	ms = (int64_t)(level - SLOW + 1) * SLOWEST_MS / (TOO_LATE - SLOW);
	wr_gate_rest();
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
	wr_gate_go_on();
	return WR_OK;
}

void wr_keeper_settle(struct wr_keeper *k, struct wr_git_repo *repo, const struct wr_due *due)
{
	int64_t in_ms = due->at_ms - wr_git_now(repo->git), at = wr_mono_ms() + (in_ms > 0 ? in_ms : 0);
	bool waited;

	if (!k || !k->git->cfg.due)
		return;
	pthread_mutex_lock(&k->mutex);
	waited = repo->queued != WR_KEEP_NOT;
	if (waited)
		wr_keeper_unqueue(k, repo);
	if (due->why != WR_DUE_NOT && at < k->read_at) {
		k->read_at = at;
		pthread_cond_signal(&k->cond);
	}
	pthread_mutex_unlock(&k->mutex);
	if (waited)
		wr_git_repo_unref(repo);
}

void wr_keeper_put_off(struct wr_due *due, struct wr_keeper *k, const struct wr_git_repo *repo)
{
	const struct wr_trouble *trouble;
	int64_t in_ms = 0, at;

	if (!k || due->why == WR_DUE_NOT)
		return;
	pthread_mutex_lock(&k->mutex);
	if ((trouble = wr_trouble_find(&k->troubles, repo->id)))
		in_ms = trouble->until_ms - wr_mono_ms();
	pthread_mutex_unlock(&k->mutex);
	at = wr_git_now(repo->git) + in_ms;
	if (in_ms > 0 && at > due->at_ms)
		due->at_ms = at;
}

/* ---- repositories that are cloned often ---- */

static struct wr_pack *base_of(const struct wr_snapshot *snap)
{
	for (size_t i = 0; i < snap->member_count; i++)
		if (snap->members[i].role == WR_ROLE_BASE)
			return snap->members[i].pack;
	return NULL;
}

bool wr_keeper_wants_redelta(const struct wr_git_repo *repo, const struct wr_snapshot *snap)
{
	unsigned often = repo->git->cfg.redelta_clones;
	struct wr_pack *base = often ? base_of(snap) : NULL;

	return base && atomic_load(&base->clones) >= often && !atomic_load(&base->anew);
}

void wr_keeper_packed_anew(struct wr_git_repo *repo)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_pack *base;

	pthread_mutex_lock(&repo->mutex);
	if (repo->snap)
		snap = wr_snapshot_ref_more(repo->snap);
	pthread_mutex_unlock(&repo->mutex);
	base = snap ? base_of(snap) : NULL;
	if (base)
		atomic_store(&base->anew, true);
}

void wr_keeper_glance(struct wr_keeper *k, struct wr_git_repo *repo, const struct wr_snapshot *snap)
{
	if (!k || !wr_keeper_wants_redelta(repo, snap))
		return;
	pthread_mutex_lock(&k->mutex);
	if (may_try(k, repo, 0))
		wr_keeper_enqueue(k, repo, true);
	pthread_mutex_unlock(&k->mutex);
}

/* ---- beginning and end ---- */

enum wr_code wr_keeper_new(struct wr_keeper **out, struct wr_git *git, struct wr_error *err)
{
	struct wr_keeper *k = calloc(1, sizeof *k);
	pthread_condattr_t attr;

	if (!k)
		return wr_fail_nomem(err);
	k->git = git;
	k->poll_ms = git->cfg.care_poll_ms > 0 ? git->cfg.care_poll_ms : POLL_MS;
	k->read_at = git->cfg.due ? 0 : INT64_MAX;
	pthread_mutex_init(&k->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&k->cond, &attr);
	pthread_condattr_destroy(&attr);
	*out = k;
	return WR_OK;
}

enum wr_code wr_keeper_begin(struct wr_keeper *k, struct wr_error *err)
{
	unsigned n = k->git->cfg.care_threads;
	enum wr_code code = WR_OK;

	n = n == 0 ? 1 : n > WR_KEEP_THREADS ? WR_KEEP_THREADS : n;
	while (k->thread_count < n && code == WR_OK) {
		code = wr_thread_start(&k->threads[k->thread_count], "wr-keeper", NICENESS, wr_keeper_work, k, err);
		k->thread_count += code == WR_OK;
	}
	return code;
}

static void drop_all(struct wr_keeper *k, struct wr_keep_list *list)
{
	struct wr_git_repo *repo;

	pthread_mutex_lock(&k->mutex);
	while ((repo = list->first)) {
		wr_keeper_unqueue(k, repo);
		pthread_mutex_unlock(&k->mutex);
		wr_git_repo_unref(repo);
		pthread_mutex_lock(&k->mutex);
	}
	pthread_mutex_unlock(&k->mutex);
}

void wr_keeper_end(struct wr_keeper *k)
{
	if (!k)
		return;
	pthread_mutex_lock(&k->mutex);
	k->stop = true;
	pthread_cond_broadcast(&k->cond);
	pthread_mutex_unlock(&k->mutex);
	while (k->thread_count > 0)
		pthread_join(k->threads[--k->thread_count], NULL);
	drop_all(k, &k->now);
	drop_all(k, &k->later);
}

void wr_keeper_free(struct wr_keeper *k)
{
	if (!k)
		return;
	pthread_cond_destroy(&k->cond);
	pthread_mutex_destroy(&k->mutex);
	free(k);
}
