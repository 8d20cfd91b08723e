#include "server/reaper.h"

#include <stdatomic.h>

#include "core/auth/repos.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/threads.h"

#define PAGE 32 /* at a time */
#define RETRY_MS 5000

struct wr_reaper {
	struct wr_db *db;
	struct wr_git *git;
	pthread_t thread;
	atomic_bool stopping; /* also read between two repositories, without the lock */
	pthread_mutex_t lock; /* guards poked */
	pthread_cond_t wake;
	bool poked;
};

void wr_reaper_kill(struct wr_db *db, struct wr_git *git, const char *account_id, const char *repo_id)
{
	bool there = true;

	wr_git_kill(git, repo_id);
	/* The reaper may have been faster: then nobody else would let go of what was made just now. */
	if (wr_repo_there(&there, db, account_id, repo_id, NULL) == WR_OK && !there)
		wr_git_forget(git, repo_id);
}

static enum wr_code remove_one(struct wr_git *git, const struct wr_doomed *doomed)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	enum wr_code code;

	wr_git_kill(git, doomed->id);
	code = wr_git_remove(git, doomed->id, &err);
	if (code != WR_OK)
		wr_log_error(NULL, WR_EV_JOB_FAILED, &err);
	return code;
}

static enum wr_code flush_one(struct wr_git *git, const struct wr_doomed *doomed)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	enum wr_code code = wr_git_remove_flush(git, doomed->id, &err);

	if (code != WR_OK)
		wr_log_error(NULL, WR_EV_JOB_FAILED, &err);
	return code;
}

/* What fails is logged, counted and passed over, so that it holds nothing else up. */
static enum wr_code remove_some(struct wr_reaper *reaper, const struct wr_doomed *doomed, size_t n, size_t *failed,
				struct wr_error *err)
{
	struct wr_doomed gone[PAGE];
	size_t removed = 0, flushed = 0;
	enum wr_code code;

	for (size_t i = 0; i < n && !atomic_load(&reaper->stopping); i++) {
		/* Whoever makes it lets go of it, or is found dead. */
		if (doomed[i].busy || remove_one(reaper->git, &doomed[i]) != WR_OK)
			++*failed;
		else
			gone[removed++] = doomed[i];
	}
	/* The first of these flushes writes what all of them wait for. */
	for (size_t i = 0; i < removed; i++) {
		if (flush_one(reaper->git, &gone[i]) != WR_OK)
			++*failed;
		else
			gone[flushed++] = gone[i];
	}
	if (flushed == 0 || (code = wr_repo_purge(reaper->db, gone, flushed, err)) != WR_OK)
		return flushed == 0 ? WR_OK : code;
	for (size_t i = 0; i < flushed; i++) {
		wr_git_forget(reaper->git, gone[i].id);
		WR_LOG(WR_INFO, NULL, REPO_REMOVED, WR_STR("repo", gone[i].id));
	}
	return WR_OK;
}

/* One pass over all rows. */
static enum wr_code pass(struct wr_reaper *reaper, size_t *failed, struct wr_error *err)
{
	struct wr_doomed doomed[PAGE];
	int64_t after = 0;
	size_t n = PAGE;
	enum wr_code code = wr_repo_abandon_creations(reaper->db, err);

	*failed = 0;
	while (code == WR_OK && n == PAGE && !atomic_load(&reaper->stopping)) {
		code = wr_repo_doomed(doomed, &n, reaper->db, NULL, after, PAGE, err);
		if (code == WR_OK && n > 0) {
			after = doomed[n - 1].seq;
			code = remove_some(reaper, doomed, n, failed, err);
		}
	}
	return code;
}

/* Waits for a poke; for a while only where something is left to try again. */
static void wait(struct wr_reaper *reaper, bool again)
{
	int64_t until = wr_mono_ms() + RETRY_MS;
	struct timespec ts = {until / 1000, until % 1000 * 1000000};
	int rc = 0;

	pthread_mutex_lock(&reaper->lock);
	while (!reaper->poked && rc == 0)
		rc = again ? pthread_cond_timedwait(&reaper->wake, &reaper->lock, &ts)
			   : pthread_cond_wait(&reaper->wake, &reaper->lock);
	reaper->poked = false;
	pthread_mutex_unlock(&reaper->lock);
}

static void reap(void *arg)
{
	struct wr_reaper *reaper = arg;

	while (!atomic_load(&reaper->stopping)) {
		WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
		size_t failed = 0;
		/* What another process deletes, and leaves when it ends, is found by the pass after that. */
		bool others = wr_git_others(reaper->git);
		enum wr_code code = pass(reaper, &failed, &err);

		if (code != WR_OK)
			wr_log_error(NULL, WR_EV_JOB_FAILED, &err);
		wait(reaper, others || failed > 0 || code != WR_OK);
	}
}

static void drop(struct wr_reaper *reaper)
{
	pthread_cond_destroy(&reaper->wake);
	pthread_mutex_destroy(&reaper->lock);
	free(reaper);
}

enum wr_code wr_reaper_start(struct wr_reaper **out, struct wr_db *db, struct wr_git *git, struct wr_error *err)
{
	struct wr_reaper *reaper;
	pthread_condattr_t attr;
	enum wr_code code = WR_OK;

	/* What another process is creating is not cut off. */
	if (!wr_git_others(git))
		code = wr_repo_abandon_creations(db, err);
	if (code != WR_OK)
		return code;
	reaper = calloc(1, sizeof *reaper);
	if (!reaper)
		return wr_fail_nomem(err);
	reaper->db = db;
	reaper->git = git;
	pthread_mutex_init(&reaper->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&reaper->wake, &attr);
	pthread_condattr_destroy(&attr);
	code = wr_thread_start(&reaper->thread, "wr-reaper", 10, reap, reaper, err);
	if (code != WR_OK) {
		drop(reaper);
		return code;
	}
	*out = reaper;
	return WR_OK;
}

void wr_reaper_poke(struct wr_reaper *reaper)
{
	if (!reaper)
		return;
	pthread_mutex_lock(&reaper->lock);
	reaper->poked = true;
	pthread_cond_signal(&reaper->wake);
	pthread_mutex_unlock(&reaper->lock);
}

void wr_reaper_stop(struct wr_reaper *reaper)
{
	if (!reaper)
		return;
	atomic_store(&reaper->stopping, true);
	wr_reaper_poke(reaper);
	pthread_join(reaper->thread, NULL);
	drop(reaper);
}
