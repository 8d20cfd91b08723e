/*
 * Giving repositories back, for another process to open: one that is asked for, and at a hand-over all of them.
 *
 * It is the lock that passes, so whoever opens the folder next, here or there, finds on the disk all that there is.
 * A folder is only closed within the turn and while no checkpoint is being made; snapshots go on without it.
 */
#include "core/base/clock.h"
#include "core/base/threads.h"
#include "core/git/git_internal.h"
#include "core/git/keeper.h"

#define AT_ONCE 32
#define AGAIN_MS 20

bool wr_repo_wanted(const struct wr_git_repo *repo)
{
	return atomic_load(&repo->wanted) || atomic_load(&repo->git->handing_over);
}

static bool is_open(struct wr_git_repo *repo)
{
	bool open;

	pthread_mutex_lock(&repo->mutex);
	open = repo->folder != NULL;
	pthread_mutex_unlock(&repo->mutex);
	return open;
}

void wr_repo_give_back(struct wr_git_repo *repo)
{
	/* A checkpoint ends by itself when it sees that the repository is wanted, and tries again then. */
	if (!wr_repo_wanted(repo) || pthread_mutex_trylock(&repo->keeping) != 0)
		return;
	atomic_store(&repo->wanted, false);
	if (is_open(repo)) {
		wr_events_leave(repo->git->events, repo);
		wr_repo_close_folder(repo, true);
		atomic_store(&repo->given_ms, wr_mono_ms());
	}
	pthread_mutex_unlock(&repo->keeping);
}

void wr_repo_try_give_back(struct wr_git_repo *repo)
{
	struct wr_turn turn;

	if (wr_repo_wanted(repo) && wr_repo_turn_try(repo, &turn))
		wr_repo_turn_end(repo, &turn);
}

/* ---- all of them ---- */

struct wr_handover {
	struct wr_git *git;
	pthread_t thread;
	pthread_mutex_t mutex; /* stop */
	pthread_cond_t cond;
	bool stop;
	size_t bucket; /* the thread's: where it looks first */
};

/* Some of those that are open, a reference each; others the next time. */
static size_t take_open(struct wr_git_repo **out, size_t max, struct wr_handover *h)
{
	struct wr_git *git = h->git;
	size_t n = 0;

	pthread_mutex_lock(&git->mutex);
	for (size_t i = 0; i < git->buckets && n < max; i++) {
		h->bucket = (h->bucket + 1) & (git->buckets - 1);
		for (struct wr_git_repo *repo = git->table[h->bucket]; repo && n < max; repo = repo->next) {
			/* Those without a user are closed in another way. */
			if (repo->users == 0 || !is_open(repo))
				continue;
			repo->users++;
			out[n++] = repo;
		}
	}
	pthread_mutex_unlock(&git->mutex);
	return n;
}

static bool wait_again(struct wr_handover *h)
{
	int64_t at = wr_mono_ms() + AGAIN_MS;
	struct timespec until = {at / 1000, at % 1000 * 1000000};
	bool stop;

	pthread_mutex_lock(&h->mutex);
	if (!h->stop)
		(void)pthread_cond_timedwait(&h->cond, &h->mutex, &until);
	stop = h->stop;
	pthread_mutex_unlock(&h->mutex);
	return !stop;
}

/*
 * Whoever has a turn, or takes a repository again later, gives it back by itself, but for what keeps him from it just
 * then: a checkpoint, or who comes for the turn. So this looks until the end.
 */
static void run(void *arg)
{
	struct wr_handover *h = arg;
	struct wr_git_repo *repos[AT_ONCE];
	size_t n;

	wr_keeper_end(h->git->keeper);
	do {
		while (wr_git_relieve(h->git))
			;
		n = take_open(repos, AT_ONCE, h);
		for (size_t i = 0; i < n; i++) {
			wr_repo_try_give_back(repos[i]);
			wr_git_repo_unref(repos[i]);
		}
	} while (wait_again(h));
}

enum wr_code wr_git_hand_over(struct wr_git *git, struct wr_error *err)
{
	struct wr_handover *h;
	pthread_condattr_t attr;
	enum wr_code code;

	if (atomic_exchange(&git->handing_over, true))
		return WR_OK;
	h = calloc(1, sizeof *h);
	if (!h)
		return wr_fail_nomem(err);
	h->git = git;
	pthread_mutex_init(&h->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&h->cond, &attr);
	pthread_condattr_destroy(&attr);
	code = wr_thread_start(&h->thread, "wr-hand-over", 0, run, h, err);
	if (code == WR_OK) {
		git->handover = h;
		return WR_OK;
	}
	pthread_cond_destroy(&h->cond);
	pthread_mutex_destroy(&h->mutex);
	free(h);
	return code;
}

void wr_handover_stop(struct wr_handover *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->mutex);
	h->stop = true;
	pthread_cond_signal(&h->cond);
	pthread_mutex_unlock(&h->mutex);
	pthread_join(h->thread, NULL);
	pthread_cond_destroy(&h->cond);
	pthread_mutex_destroy(&h->mutex);
	free(h);
}

size_t wr_git_owned(struct wr_git *git)
{
	size_t n = 0;

	pthread_mutex_lock(&git->mutex);
	for (size_t i = 0; i < git->buckets; i++)
		for (struct wr_git_repo *repo = git->table[i]; repo; repo = repo->next)
			n += is_open(repo);
	pthread_mutex_unlock(&git->mutex);
	return n;
}
