/* Events: the thread "wr-events-disk", for what may have to wait for a repository, so that no mark waits for one. */
#include "core/base/suspects.h"
#include "core/git/events_internal.h"

#define BUSY_MAX 128 /* from which on no more of an earlier process's are opened */

/* ---- journals that are not needed any more ---- */

void wr_events_ask_sweep(struct wr_events *ev, struct wr_git_repo *repo)
{
	if (repo->events.sweep)
		return;
	repo->events.sweep = true;
	repo->events.sweep_next = ev->sweeps;
	ev->sweeps = wr_git_repo_ref(repo);
	pthread_cond_broadcast(&ev->moved);
}

void wr_events_sweep(struct wr_events *ev)
{
	struct wr_git_repo *repo;

	while ((repo = ev->sweeps)) {
		struct wr_suspect_mark mark;

		ev->sweeps = repo->events.sweep_next;
		repo->events.sweep = false;
		pthread_mutex_unlock(&ev->mutex);
		wr_suspect_begin(&mark, repo->id);
		wr_repo_sweep_journals(repo);
		wr_suspect_end(&mark);
		wr_git_repo_unref(repo);
		pthread_mutex_lock(&ev->mutex);
	}
}

/* ---- what an earlier process left ---- */

static bool wait_for_room(struct wr_events *ev)
{
	bool closing;

	pthread_mutex_lock(&ev->mutex);
	wr_events_sweep(ev);
	while (ev->busy >= BUSY_MAX && !ev->closing) {
		pthread_cond_wait(&ev->moved, &ev->mutex);
		wr_events_sweep(ev);
	}
	closing = ev->closing;
	pthread_mutex_unlock(&ev->mutex);
	return !closing;
}

/* One pass over the marked rows; whether all could be opened. Those of this process are among them, at no cost. */
static bool open_marked(struct wr_events *ev, bool log)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	char id[WR_UUID_LEN + 1], after[WR_UUID_LEN + 1] = "";
	struct wr_suspect_mark mark;
	struct wr_git_repo *repo;
	bool all = true;
	enum wr_code code;

	while (wait_for_room(ev) && (code = ev->sink->next_marked(ev->sink->arg, id, after, &err)) != WR_E_NOT_THERE) {
		if (code != WR_OK) {
			if (log)
				wr_events_log_failure("", &err);
			return false;
		}
		memcpy(after, id, sizeof after);
		wr_suspect_begin(&mark, id);
		code = wr_git_repo_open(&repo, ev->git, id, &err);
		wr_suspect_end(&mark);
		if (code != WR_OK) {
			all = false;
			if (log)
				wr_events_log_failure(id, &err);
			continue;
		}
		/* A new mark takes the place of the old one, and with each comes a look into the journal. */
		wr_events_expect(ev, repo);
		wr_git_repo_unref(repo);
	}
	return all;
}

/* What another process still has, or is damaged, is tried again; the first time it is logged. */
void wr_events_run_disk(struct wr_events *ev)
{
	bool first = true, done = false;
	int64_t next = 0;

	pthread_mutex_lock(&ev->mutex);
	while (!ev->closing) {
		if (!done && wr_mono_ms() >= next) {
			bool others;

			pthread_mutex_unlock(&ev->mutex);
			/* What another one leaves marked when it ends, however it does, is found by the pass after that. */
			others = wr_git_others(ev->git);
			done = atomic_load(&ev->git->handing_over) || (open_marked(ev, first) && !others);
			first = false;
			pthread_mutex_lock(&ev->mutex);
			next = wr_mono_ms() + ev->retry_ms;
		} else if (ev->sweeps) {
			wr_events_sweep(ev);
		} else if (done) {
			pthread_cond_wait(&ev->moved, &ev->mutex);
		} else {
			struct timespec until = {next / 1000, next % 1000 * 1000000};

			(void)pthread_cond_timedwait(&ev->moved, &ev->mutex, &until);
		}
	}
	pthread_mutex_unlock(&ev->mutex);
}
