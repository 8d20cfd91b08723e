/* What the keeper's threads do: what waits in memory and what the list has in turn, one repository at a time each. */
#include <sys/syscall.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/suspects.h"
#include "core/git/checkpoint.h"
#include "core/git/keeper_internal.h"

/* The lowest that is not starved by others: writers may wait for a checkpoint in the end. */
#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_LOWEST (2 << 13 | 7)

/* What is taken from the list is looked at again after this, should nothing come of it. */
#define LEASE_MS (15 * 60 * 1000)
/* Another process has it. */
#define BUSY_MS (60 * 1000)
/* After the list could not be read. */
#define REREAD_MS 5000

/* ---- what to do next; with the mutex ---- */

/* What has been quiet for long enough. *wake: when to ask again. */
static struct wr_git_repo *quiet_one(struct wr_keeper *k, int64_t *wake)
{
	int64_t now = wr_mono_ms();

	while (k->later.first && k->later.first->keep_at <= now) {
		struct wr_git_repo *repo = wr_keeper_pop(&k->later);

		if (now - atomic_load(&repo->written_ms) >= k->git->cfg.quiet_ms)
			return repo;
		/* Written to since it was put there. */
		repo->keep_at = now + k->git->cfg.quiet_ms;
		wr_keeper_push(&k->later, repo);
	}
	if (k->later.first && k->later.first->keep_at < *wake)
		*wake = k->later.first->keep_at;
	return NULL;
}

static struct wr_git_repo *open_one(struct wr_keeper *k, int64_t *wake)
{
	struct wr_git_repo *repo = wr_keeper_pop(&k->now);

	if (!repo)
		repo = quiet_one(k, wake);
	if (!repo)
		return NULL;
	repo->queued = WR_KEEP_NOT;
	repo->cared_for = true;
	return repo;
}

/* Lets the mutex go meanwhile. */
static void read_page(struct wr_keeper *k)
{
	const struct wr_due_list *list = k->git->cfg.due;
	struct wr_due_row page[WR_KEEP_PAGE];
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	int64_t now = wr_git_now(k->git), next = INT64_MAX, wait = k->poll_ms;
	enum wr_code code;
	size_t n = 0;

	k->reading = true;
	k->read_at = wr_mono_ms() + wait;
	pthread_mutex_unlock(&k->mutex);
	code = list->page(list->arg, page, &n, WR_KEEP_PAGE, now, &next, &err);
	if (code != WR_OK)
		wr_log_error(NULL, WR_EV_JOB_FAILED, &err);
	pthread_mutex_lock(&k->mutex);
	k->reading = false;
	if (code == WR_OK) {
		memcpy(k->page, page, n * sizeof *page);
		k->page_len = n;
		k->page_at = 0;
	}
	if (n > 0)
		wait = 0;
	else if (code != WR_OK)
		wait = REREAD_MS;
	else if (next - now < wait)
		wait = next > now ? next - now : 0;
	/* Somebody may have said meanwhile that it is earlier. */
	if (wr_mono_ms() + wait < k->read_at)
		k->read_at = wr_mono_ms() + wait;
	pthread_cond_broadcast(&k->cond);
}

static bool listed_one(struct wr_due_row *out, struct wr_keeper *k, int64_t *wake)
{
	if (k->page_at < k->page_len) {
		*out = k->page[k->page_at++];
		return true;
	}
	if (!k->reading && k->read_at < *wake)
		*wake = k->read_at;
	return false;
}

static void wait_until(struct wr_keeper *k, int64_t ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	if (ms == INT64_MAX)
		pthread_cond_wait(&k->cond, &k->mutex);
	else
		pthread_cond_timedwait(&k->cond, &k->mutex, &ts);
}

/* Either of the two; false: the end. What is open and what is listed take turns. */
static bool next(struct wr_git_repo **repo, struct wr_due_row *row, struct wr_keeper *k)
{
	bool got = false;

	*repo = NULL;
	pthread_mutex_lock(&k->mutex);
	while (!got && !k->stop) {
		int64_t wake = INT64_MAX;

		if (k->list_first)
			got = listed_one(row, k, &wake);
		if (!got && (*repo = open_one(k, &wake)))
			got = true;
		else if (!got)
			got = listed_one(row, k, &wake);
		if (got)
			k->list_first = *repo != NULL;
		else if (!k->reading && k->read_at <= wr_mono_ms())
			read_page(k);
		else
			wait_until(k, wake);
	}
	pthread_mutex_unlock(&k->mutex);
	return got;
}

/* ---- one repository ---- */

static bool stopped(void *arg)
{
	struct wr_keeper *k = arg;
	bool stop;

	pthread_mutex_lock(&k->mutex);
	stop = k->stop;
	pthread_mutex_unlock(&k->mutex);
	return stop;
}

static void log_failure(const char *id, const struct wr_error *err,
			const struct wr_trouble *trouble)
{
	WR_LOG(WR_WARN, NULL, REPO_CHECKPOINT_FAILED, WR_STR("repo", id), WR_STR("code", wr_code_wire(err->code)),
	       WR_STR("detail", err->detail), WR_INT("failures", trouble->failures),
	       WR_INT("againInMs", trouble->until_ms - trouble->tried_ms));
}

/* What became of it. Whose row is going, or who is wanted elsewhere, has not failed. */
static void note_outcome(struct wr_keeper *k, const char *id, enum wr_code code, const struct wr_error *err)
{
	struct wr_trouble trouble = {.failures = 0};

	pthread_mutex_lock(&k->mutex);
	if (code == WR_OK || code == WR_E_NOT_THERE)
		wr_trouble_over(&k->troubles, id);
	else if (code != WR_E_CANCELLED)
		trouble = *wr_trouble_add(&k->troubles, id);
	pthread_mutex_unlock(&k->mutex);
	if (trouble.failures > 0)
		log_failure(id, err, &trouble);
}

static enum wr_code care(struct wr_keeper *k, struct wr_git_repo *repo, struct wr_error *err)
{
	const struct wr_cancel cancel = {stopped, k};
	WR_AUTO_S(wr_checkpoint) c = {0};
	struct wr_due due = {.why = WR_DUE_NOT};
	struct wr_checkpoint_manner manner = {.redelta = wr_repo_due(&due, repo) && due.why == WR_DUE_REDELTA};
	bool anyway = manner.redelta || due.why == WR_DUE_BASE, did;
	enum wr_code code = wr_keeper_care(&c, &did, repo, anyway ? &manner : NULL, &cancel, err);

	if (code == WR_OK && manner.redelta)
		wr_keeper_packed_anew(repo);
	return code;
}

/* One that was taken, with its reference. What came meanwhile may be due again. */
static void care_for(struct wr_keeper *k, struct wr_git_repo *repo)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	WR_AUTO(wr_snapshot) *snap = NULL;
	enum wr_code code = care(k, repo, &err);

	note_outcome(k, repo->id, code, &err);
	pthread_mutex_lock(&k->mutex);
	repo->cared_for = false;
	pthread_mutex_unlock(&k->mutex);
	pthread_mutex_lock(&repo->mutex);
	if (repo->snap)
		snap = wr_snapshot_ref_more(repo->snap);
	pthread_mutex_unlock(&repo->mutex);
	if (snap && code == WR_OK && wr_due_level(snap) > 0) {
		pthread_mutex_lock(&k->mutex);
		wr_keeper_enqueue(k, repo, true);
		pthread_mutex_unlock(&k->mutex);
	}
}

static enum wr_code open_listed(struct wr_git_repo **out, bool *exists, struct wr_keeper *k, const char *id,
				struct wr_error *err)
{
	WR_AUTO(wr_git_repo) *repo = NULL;
	WR_AUTO(wr_snapshot) *snap = NULL;
	enum wr_code code = wr_git_repo_open(&repo, k->git, id, err);

	if (code == WR_OK)
		code = wr_repo_current(&snap, exists, repo, err);
	if (code == WR_OK)
		*out = WR_STEAL(repo);
	return code;
}

/* What cannot even be opened. */
static int64_t unopened(struct wr_keeper *k, const char *id, const struct wr_error *err)
{
	const struct wr_trouble *trouble;
	int64_t ms = BUSY_MS;

	if (err->code == WR_E_UNAVAILABLE || err->code == WR_E_REPO_PARKED)
		return err->code == WR_E_REPO_PARKED ? LEASE_MS : BUSY_MS;
	note_outcome(k, id, err->code, err);
	pthread_mutex_lock(&k->mutex);
	if ((trouble = wr_trouble_find(&k->troubles, id)))
		ms = trouble->until_ms - wr_mono_ms();
	pthread_mutex_unlock(&k->mutex);
	return ms > 0 ? ms : 1;
}

/* One that is due by the list, as it is moved already. *again_ms: how long it is left alone if nothing else moves it. */
static void visit(int64_t *again_ms, struct wr_keeper *k, const char *id, struct wr_error *err)
{
	WR_AUTO(wr_git_repo) *repo = NULL;
	struct wr_due due;
	bool exists = false, mine, waited;
	enum wr_code code = open_listed(&repo, &exists, k, id, err);

	if (code != WR_OK)
		*again_ms = unopened(k, id, err);
	else if (!exists)
		*again_ms = 0;
	if (code != WR_OK || !exists)
		return;
	/* With the end of its mark comes what the list says from then on. */
	wr_events_expect(k->git->events, repo);
	if (!wr_repo_due(&due, repo) || due.why == WR_DUE_NOT || due.at_ms > wr_git_now(k->git))
		return;
	pthread_mutex_lock(&k->mutex);
	mine = !repo->cared_for;
	waited = mine && repo->queued != WR_KEEP_NOT;
	if (waited)
		wr_keeper_unqueue(k, repo);
	repo->cared_for = true;
	pthread_mutex_unlock(&k->mutex);
	if (waited)
		wr_git_repo_unref(repo);
	if (mine)
		care_for(k, repo);
}

static void move(struct wr_keeper *k, bool *mine, const struct wr_due_row *row, int64_t was_ms, int64_t at_ms)
{
	const struct wr_due_list *list = k->git->cfg.due;
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;

	*mine = false;
	if (list->move(list->arg, mine, row->repo_id, was_ms, at_ms, &err) != WR_OK)
		wr_log_error(NULL, WR_EV_JOB_FAILED, &err);
}

static void take_listed(struct wr_keeper *k, const struct wr_due_row *row)
{
	int64_t leased = wr_git_now(k->git) + LEASE_MS, again_ms = LEASE_MS;
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_suspect_mark mark;
	bool mine;

	move(k, &mine, row, row->due.at_ms, leased);
	if (!mine)
		return;
	wr_suspect_begin(&mark, row->repo_id);
	visit(&again_ms, k, row->repo_id, &err);
	wr_suspect_end(&mark);
	if (again_ms != LEASE_MS)
		move(k, &mine, row, leased, again_ms ? wr_git_now(k->git) + again_ms : 0);
}

static void rest(struct wr_keeper *k)
{
	int64_t until = wr_mono_ms() + k->git->cfg.care_pause_ms;

	pthread_mutex_lock(&k->mutex);
	while (!k->stop && wr_mono_ms() < until)
		wait_until(k, until);
	pthread_mutex_unlock(&k->mutex);
}

void wr_keeper_work(void *arg)
{
	struct wr_keeper *k = arg;
	struct wr_git_repo *repo;
	struct wr_due_row row;

	/* Being refused costs fairness, not correctness. */
	(void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_LOWEST);
	while (next(&repo, &row, k)) {
		if (repo) {
			care_for(k, repo);
			wr_git_repo_unref(repo);
		} else {
			take_listed(k, &row);
		}
		rest(k);
	}
}
