#include "core/git/keeper.h"

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/suspects.h"
#include "core/base/threads.h"
#include "core/git/checkpoint.h"

/* Due: as much in journals and packs of their own, ... */
#define DUE_BYTES ((uint64_t)4 << 20)
#define DUE_RECORDS 1000
#define DUE_PACKS 6
#define DUE_REFS 10000
/*
 * Also due, once nothing was written for a while: this many objects that a clone would have to walk over. Fewer are not
 * worth the flushes.
 */
#define QUIET_ROWS 64
#define QUIET_MS 3000
/* A failed one is not tried again before this time has passed. */
#define RETRY_MS 5000
#define NICENESS 10

struct wr_keeper {
	struct wr_git *git;
	pthread_mutex_t mutex; /* both lists, stop, and queued, keep_next and keep_at of each repository */
	pthread_cond_t cond;
	struct list {
		struct wr_git_repo *first, *last;
	} now, later; /* later: by keep_at */
	bool stop;
	bool runs; /* the thread does; of who starts and ends it */
	pthread_t thread;
};

/* ---- one checkpoint ---- */

/* What a checkpoint is made of, and of what time. */
struct basis {
	struct wr_snapshot *snap; /* NULL: there is nothing to do */
	size_t journals;	  /* how many it covers */
	bool more;		  /* there are records behind them */
	uint64_t relied;	  /* wr_git_repo.relied then */
};

/* Whether the checkpoint's objects that no ref reaches are past their grace, by a little more, lest each has its own run. */
static bool expired(const struct wr_git_repo *repo, const struct wr_snapshot *snap)
{
	int64_t grace = repo->git->cfg.cruft_grace_ms;

	return grace && snap->oldest && (int64_t)snap->oldest * 1000 + grace + grace / 16 <= wr_git_now(repo->git);
}

/*
 * Where the journals before the last one are left from a checkpoint that failed, they are what is due; else the last one
 * is turned over. Where none is there is nothing to do, but if it is asked for or something is past its grace.
 */
static enum wr_code choose(struct basis *b, struct wr_git_repo *repo, struct wr_snapshot **now, bool anyway,
			   struct wr_error *err)
{
	struct wr_journal *last = (*now)->journals[(*now)->journal_count - 1];
	enum wr_code code;

	if ((*now)->journal_count == 1 && wr_journal_flushed(last) > 0 &&
	    (code = wr_folder_turn_journal(repo->folder, now, err)) != WR_OK)
		return code;
	last = (*now)->journals[(*now)->journal_count - 1];
	b->journals = (*now)->journal_count - 1;
	b->more = wr_journal_flushed(last) > 0;
	b->relied = repo->relied;
	wr_repo_publish(repo, wr_snapshot_ref_more(*now));
	if (b->journals == 0 && !anyway && !expired(repo, *now))
		return WR_OK;
	return wr_folder_restrict(&b->snap, repo->folder, *now, b->journals, err);
}

static enum wr_code begin(struct basis *b, struct wr_git_repo *repo, bool anyway, struct wr_error *err)
{
	WR_AUTO(wr_snapshot) *now = NULL;
	struct wr_turn turn;
	enum wr_code code;
	bool exists;

	if ((code = wr_repo_current(&now, &exists, repo, err)) != WR_OK || !exists ||
	    (code = wr_repo_turn_begin(repo, &turn, err)) != WR_OK)
		return code;
	wr_snapshot_unref(now);
	now = NULL;
	code = wr_repo_current(&now, &exists, repo, err);
	/* Deleted meanwhile, or closed by it. */
	if (code == WR_OK && exists && repo->folder && (code = wr_repo_ready(repo, &now, err)) == WR_OK)
		code = choose(b, repo, &now, anyway, err);
	wr_repo_turn_end(repo, &turn);
	return code;
}

/* *did stays false where a change came to rely on what the checkpoint may have dropped. */
static enum wr_code end(bool *did, struct wr_git_repo *repo, const struct wr_checkpoint *c, const struct basis *b,
			struct wr_error *err)
{
	WR_AUTO(wr_snapshot) *now = NULL, *next = NULL;
	char branch[WR_BRANCH_ROOM];
	struct wr_turn turn;
	enum wr_code code;
	unsigned removed;
	bool exists;

	/* Asked for before the turn: it is the database's. */
	wr_folder_default_branch(branch, repo->git, repo->id);
	if ((code = wr_repo_turn_begin(repo, &turn, err)) != WR_OK)
		return code;
	*did = c->dropped == 0 || repo->relied == b->relied;
	if (*did && (code = wr_repo_current(&now, &exists, repo, err)) == WR_OK && exists && repo->folder) {
		pthread_mutex_lock(&repo->mutex);
		code = wr_folder_keep_old(repo->folder, now, b->journals, err);
		pthread_mutex_unlock(&repo->mutex);
		if (code == WR_OK)
			code = wr_folder_switch(&next, repo->folder, now, c, b->journals, err);
		if (code == WR_OK) {
			wr_repo_publish(repo, wr_snapshot_ref_more(next));
			/* Plain git finds the new packs before the old ones go. */
			wr_folder_export(repo->folder, next, branch);
			wr_folder_sweep(repo->folder, next, &removed);
		} else {
			pthread_mutex_lock(&repo->mutex);
			wr_folder_forget_old(repo->folder, b->journals);
			pthread_mutex_unlock(&repo->mutex);
		}
	}
	wr_repo_turn_end(repo, &turn);
	if (code == WR_OK && *did)
		wr_repo_sweep_journals(repo);
	return code;
}

/* Builds it and puts it in force. */
static enum wr_code build(struct wr_checkpoint *c, bool *did, struct wr_git_repo *repo, const struct basis *b,
			  const struct wr_checkpoint_how *how, const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO_FD int packs = -1;
	WR_AUTO_FD int warren = -1;
	uint64_t number = 0;
	enum wr_code code = wr_repo_open_folders(&packs, &warren, &number, repo, err);

	if (code != WR_OK || packs < 0)
		return code;
	if ((code = wr_checkpoint_build(c, b->snap, packs, warren, number, how, cancel, err)) != WR_OK)
		return code;
	code = end(did, repo, c, b, err);
	if (code == WR_OK && *did)
		return WR_OK;
	*did = false;
	/* After an error it may be in force all the same. */
	if (code == WR_OK)
		wr_checkpoint_undo(c, b->snap, packs, warren);
	return code;
}

struct breaking_off {
	const struct wr_git_repo *repo;
	const struct wr_cancel *cancel; /* the caller's; may be NULL */
};

static bool break_off(void *arg)
{
	const struct breaking_off *b = arg;

	return atomic_load(&b->repo->dead) || wr_repo_wanted(b->repo) ||
	       (b->cancel && b->cancel->fn && b->cancel->fn(b->cancel->arg));
}

static enum wr_code run(struct wr_checkpoint *c, bool *did, struct wr_git_repo *repo,
			const struct wr_checkpoint_manner *manner, const struct wr_cancel *cancel, struct wr_error *err)
{
	struct breaking_off off = {repo, cancel};
	const struct wr_cancel either = {break_off, &off};
	struct wr_checkpoint_how how = {
		.grace = {.now_ms = wr_git_now(repo->git), .grace_ms = repo->git->cfg.cruft_grace_ms}, .manner = manner};
	struct basis b = {.snap = NULL};
	enum wr_code code;

	atomic_store(&repo->building_ms, how.grace.now_ms);
	code = begin(&b, repo, manner != NULL, err);
	/* Later records may rely on anything. */
	how.grace.keep = b.more;
	if (code == WR_OK && b.snap)
		code = build(c, did, repo, &b, &how, &either, err);
	if (code == WR_OK && b.snap && !*did && c->number) {
		wr_checkpoint_fini(c);
		how.grace.keep = true;
		code = build(c, did, repo, &b, &how, &either, err);
	}
	wr_snapshot_unref(b.snap);
	atomic_store(&repo->building_ms, 0);
	return code;
}

enum wr_code wr_keeper_care(struct wr_checkpoint *c, bool *did, struct wr_git_repo *repo,
			    const struct wr_checkpoint_manner *manner, const struct wr_cancel *cancel,
			    struct wr_error *err)
{
	int64_t began = wr_mono_ms();
	struct wr_suspect_mark mark;
	enum wr_code code;

	*did = false;
	wr_suspect_begin(&mark, repo->id);
	pthread_mutex_lock(&repo->keeping);
	code = run(c, did, repo, manner, cancel, err);
	pthread_mutex_unlock(&repo->keeping);
	wr_repo_try_give_back(repo);
	wr_suspect_end(&mark);
	if (*did)
		WR_LOG(WR_INFO, NULL, REPO_CHECKPOINT, WR_STR("repo", repo->id), WR_INT("checkpoint", c->number),
		       WR_INT("bytes", c->written), WR_INT("gained", c->gained), WR_INT("died", c->died),
		       WR_INT("cruft", c->cruft), WR_INT("dropped", c->dropped), WR_BOOL("rebased", c->rebased),
		       WR_INT("ms", wr_mono_ms() - began));
	return code;
}

enum wr_code wr_keeper_run(bool *did, struct wr_git_repo *repo, const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO_S(wr_checkpoint) c = {0};

	return wr_keeper_care(&c, did, repo, NULL, cancel, err);
}

enum wr_code wr_git_repo_checkpoint(bool *did, struct wr_git_repo *repo, struct wr_error *err)
{
	return wr_keeper_run(did, repo, NULL, err);
}

/* ---- the thread ---- */

static bool stopped(void *arg)
{
	struct wr_keeper *k = arg;
	bool stop;

	pthread_mutex_lock(&k->mutex);
	stop = k->stop;
	pthread_mutex_unlock(&k->mutex);
	return stop;
}

static void add(struct list *list, struct wr_git_repo *repo)
{
	repo->keep_next = NULL;
	if (list->last)
		list->last->keep_next = repo;
	else
		list->first = repo;
	list->last = repo;
}

static struct wr_git_repo *take(struct list *list)
{
	struct wr_git_repo *repo = list->first;

	list->first = repo->keep_next;
	if (!list->first)
		list->last = NULL;
	return repo;
}

static void wait_until(struct wr_keeper *k, int64_t ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	pthread_cond_timedwait(&k->cond, &k->mutex, &ts);
}

/* What is due at once, then what has been quiet for long enough. NULL: the end. */
static struct wr_git_repo *next(struct wr_keeper *k)
{
	struct wr_git_repo *repo = NULL;

	pthread_mutex_lock(&k->mutex);
	while (!repo && !k->stop) {
		if (k->now.first) {
			repo = take(&k->now);
		} else if (k->later.first && k->later.first->keep_at <= wr_mono_ms()) {
			repo = take(&k->later);
			/* Written to since it was put there. */
			if (wr_mono_ms() - atomic_load(&repo->written_ms) < QUIET_MS) {
				repo->keep_at = wr_mono_ms() + QUIET_MS;
				add(&k->later, WR_STEAL(repo));
			}
		} else if (k->later.first) {
			wait_until(k, k->later.first->keep_at);
		} else {
			pthread_cond_wait(&k->cond, &k->mutex);
		}
	}
	if (repo)
		repo->queued = WR_KEEP_NOT;
	pthread_mutex_unlock(&k->mutex);
	return repo;
}

static void keep(void *arg)
{
	struct wr_keeper *k = arg;
	const struct wr_cancel cancel = {stopped, k};
	struct wr_git_repo *repo;

	while ((repo = next(k))) {
		WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
		bool did;

		if (wr_keeper_run(&did, repo, &cancel, &err) != WR_OK) {
			if (err.code != WR_E_CANCELLED)
				wr_log_error(NULL, WR_EV_REPO_CHECKPOINT_FAILED, &err);
			atomic_store(&repo->retry_ms, wr_mono_ms() + RETRY_MS);
		}
		wr_git_repo_unref(repo);
	}
}

enum wr_code wr_keeper_start(struct wr_keeper **out, struct wr_git *git, struct wr_error *err)
{
	struct wr_keeper *k = calloc(1, sizeof *k);
	pthread_condattr_t attr;
	enum wr_code code;

	if (!k)
		return wr_fail_nomem(err);
	k->git = git;
	pthread_mutex_init(&k->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&k->cond, &attr);
	pthread_condattr_destroy(&attr);
	code = wr_thread_start(&k->thread, "wr-keeper", NICENESS, keep, k, err);
	if (code == WR_OK) {
		k->runs = true;
		*out = k;
		return WR_OK;
	}
	pthread_cond_destroy(&k->cond);
	pthread_mutex_destroy(&k->mutex);
	free(k);
	return code;
}

/* Appends may still look at what is queued. */
static void drop_all(struct wr_keeper *k, struct list *list)
{
	pthread_mutex_lock(&k->mutex);
	while (list->first) {
		struct wr_git_repo *repo = take(list);

		repo->queued = WR_KEEP_NOT;
		pthread_mutex_unlock(&k->mutex);
		wr_git_repo_unref(repo);
		pthread_mutex_lock(&k->mutex);
	}
	pthread_mutex_unlock(&k->mutex);
}

void wr_keeper_end(struct wr_keeper *k)
{
	if (!k || !k->runs)
		return;
	pthread_mutex_lock(&k->mutex);
	k->stop = true;
	pthread_cond_signal(&k->cond);
	pthread_mutex_unlock(&k->mutex);
	pthread_join(k->thread, NULL);
	k->runs = false;
	drop_all(k, &k->now);
	drop_all(k, &k->later);
}

void wr_keeper_stop(struct wr_keeper *k)
{
	if (!k)
		return;
	wr_keeper_end(k);
	pthread_cond_destroy(&k->cond);
	pthread_mutex_destroy(&k->mutex);
	free(k);
}

static bool due(const struct wr_snapshot *snap)
{
	size_t checkpointed = snap->stored ? wr_refsfile_pack_count(snap->stored) : 0, packs = 0;
	uint64_t bytes = 0, records = 0;

	for (size_t i = 0; i < snap->journal_count; i++) {
		bytes += wr_journal_size(snap->journals[i]);
		records += wr_journal_flushed(snap->journals[i]);
	}
	for (size_t i = checkpointed; i < snap->member_count; i++, packs++)
		bytes += snap->members[i].pack->size;
	return bytes >= DUE_BYTES || records >= DUE_RECORDS || packs >= DUE_PACKS ||
	       (snap->overlay && snap->overlay->count >= DUE_REFS);
}

static bool due_later(const struct wr_snapshot *snap)
{
	uint64_t rows = 0;

	for (size_t i = 0; i < snap->journal_count; i++)
		rows += snap->limits[i];
	return rows >= QUIET_ROWS;
}

static void queue(struct wr_keeper *k, struct wr_git_repo *repo, bool at_once)
{
	pthread_mutex_lock(&k->mutex);
	if (repo->queued == WR_KEEP_NOT && !k->stop) {
		wr_git_repo_ref(repo);
		repo->queued = at_once ? WR_KEEP_NOW : WR_KEEP_LATER;
		repo->keep_at = wr_mono_ms() + QUIET_MS;
		add(at_once ? &k->now : &k->later, repo);
		pthread_cond_signal(&k->cond);
	} else if (repo->queued == WR_KEEP_LATER && at_once) {
		struct wr_git_repo **p = &k->later.first, *before = NULL;

		while (*p != repo) {
			before = *p;
			p = &before->keep_next;
		}
		*p = repo->keep_next;
		if (k->later.last == repo)
			k->later.last = before;
		repo->queued = WR_KEEP_NOW;
		add(&k->now, repo);
		pthread_cond_signal(&k->cond);
	}
	pthread_mutex_unlock(&k->mutex);
}

void wr_keeper_look(struct wr_keeper *k, struct wr_git_repo *repo, const struct wr_snapshot *snap)
{
	int64_t now = wr_mono_ms();
	bool at_once;

	if (!k)
		return;
	atomic_store(&repo->written_ms, now);
	at_once = (due(snap) || expired(repo, snap)) && now >= atomic_load(&repo->retry_ms);
	if (at_once || due_later(snap))
		queue(k, repo, at_once);
}

void wr_keeper_glance(struct wr_keeper *k, struct wr_git_repo *repo, const struct wr_snapshot *snap)
{
	if (k && expired(repo, snap) && wr_mono_ms() >= atomic_load(&repo->retry_ms))
		queue(k, repo, true);
}
