/*
 * One repository: where it lies, loading it, taking turns, removing it.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>

#include "core/base/clock.h"
#include "core/base/file.h"
#include "core/base/gate.h"
#include "core/base/log.h"
#include "core/git/git_internal.h"
#include "core/git/keeper.h"

#define WAIT_MS 60000
/* Who waits hears of it this often. */
#define TELL_MS 2000
#define HEAL_MS 100
#define RELIEF_MS 1000
/* Who gave a repository back lets the one who waits for it be first; that one looks at the lock every 2 ms. */
#define POLITE_MS 6

enum wr_code wr_git_path(char out[PATH_MAX], const char *data, const char *rest, struct wr_error *err)
{
	int n = snprintf(out, PATH_MAX, "%s/%s", data, rest);

	return n > 0 && n < PATH_MAX ? WR_OK : wr_fail(err, WR_E_INTERNAL, "path too long: %s", rest);
}

enum wr_code wr_repo_shard(char out[PATH_MAX], const struct wr_git *git, const char *id, struct wr_error *err)
{
	char rest[16];

	snprintf(rest, sizeof rest, "repos/%.2s/%.2s", id, id + 2);
	return wr_git_path(out, git->data, rest, err);
}

enum wr_code wr_repo_path(char out[PATH_MAX], const struct wr_git *git, const char *id, const char *suffix,
			  struct wr_error *err)
{
	char rest[WR_UUID_LEN + 64];

	snprintf(rest, sizeof rest, "repos/%.2s/%.2s/%s%s", id, id + 2, id, suffix);
	return wr_git_path(out, git->data, rest, err);
}

static bool is_noted(const _Atomic uint64_t *set, unsigned i)
{
	return atomic_load_explicit(&set[i / 64], memory_order_acquire) >> i % 64 & 1;
}

static void note(_Atomic uint64_t *set, unsigned i)
{
	atomic_fetch_or_explicit(&set[i / 64], UINT64_C(1) << i % 64, memory_order_release);
}

/* From the bottom up; what was found there may have been made a moment ago, by who has yet to flush it. */
enum wr_code wr_repo_sync_shard(struct wr_git *git, const char *id, struct wr_error *err)
{
	char path[PATH_MAX], *slash;
	enum wr_code code = wr_repo_shard(path, git, id, err);
	uint8_t abcd[2];

	if (code != WR_OK || (code = wr_file_sync_dir(AT_FDCWD, path, err)) != WR_OK)
		return code;
	if (!wr_unhex(abcd, sizeof abcd, wr_str_n(id, 4)))
		return wr_fail(err, WR_E_INTERNAL, "%s is no repository's id", id);
	const struct {
		_Atomic uint64_t *set;
		unsigned at;
	} names[] = {{git->shards_flushed, abcd[0] * 256u + abcd[1]}, {git->tops_flushed, abcd[0]}, {&git->repos_flushed, 0}};

	for (size_t i = 0; i < WR_ARRAY_LEN(names) && (slash = strrchr(path, '/')) && slash != path; i++) {
		*slash = '\0';
		if (is_noted(names[i].set, names[i].at))
			continue;
		if ((code = wr_file_sync_dir(AT_FDCWD, path, err)) != WR_OK)
			return code;
		note(names[i].set, names[i].at);
	}
	return WR_OK;
}

/* ---- loading ---- */

struct sweep {
	const char *id;
	unsigned removed, busy;
};

/* What a crash left of a first push: its lock can be taken, and is kept while it goes. */
static enum wr_code sweep_new(struct sweep *sweep, int dir, const char *name, struct wr_error *err)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char path[NAME_MAX + 16];
	WR_AUTO_FD int fd = -1;
	bool busy;

	snprintf(path, sizeof path, "%s/warren/lock", name);
	fd = openat(dir, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	busy = fd >= 0 ? fcntl(fd, F_OFD_SETLK, &lock) != 0 : errno != ENOENT && errno != ENOTDIR;
	sweep->busy += busy;
	sweep->removed += !busy;
	return busy ? WR_OK : wr_file_remove(dir, name, err);
}

/* What crashes left of first pushes and removals: UUID.new-*, UUID.gone-*. */
static enum wr_code sweep_shard(const struct wr_git *git, struct sweep *sweep, struct wr_error *err)
{
	char path[PATH_MAX];
	enum wr_code code;
	struct dirent *e;
	DIR *d;

	if ((code = wr_repo_shard(path, git, sweep->id, err)) != WR_OK)
		return code;
	d = opendir(path);
	if (!d)
		return errno == ENOENT ? WR_OK : wr_fail_errno(err, "open folder %s", path);
	while (code == WR_OK && (e = readdir(d))) {
		const char *rest = e->d_name + WR_UUID_LEN;

		if (strncmp(e->d_name, sweep->id, WR_UUID_LEN) != 0)
			continue;
		if (strncmp(rest, ".new-", 5) == 0) {
			code = sweep_new(sweep, dirfd(d), e->d_name, err);
		} else if (strncmp(rest, ".gone-", 6) == 0) {
			code = wr_file_remove(dirfd(d), e->d_name, err);
			sweep->removed++;
		}
	}
	closedir(d);
	return code;
}

bool wr_git_make_room(struct wr_git *git, int64_t *until)
{
	if (*until == 0)
		*until = wr_mono_ms() + RELIEF_MS;
	else if (wr_mono_ms() >= *until)
		return false;
	if (!wr_git_relieve(git)) {
		if (wr_git_alone(git))
			return false;
		wr_events_hurry(git->events, RELIEF_MS);
		nanosleep(&(struct timespec){.tv_nsec = 5 * 1000 * 1000}, NULL);
	}
	return true;
}

/*
 * *snap stays NULL when there is no folder; only then may a first push have been cut off. Sweeping is for the handle's
 * first look: an append begins after it, and from then on such a folder may be one that a first push is building.
 */
static enum wr_code load(struct wr_folder **folder, struct wr_snapshot **snap, struct wr_git *git, const char *id,
			 bool swept, struct wr_error *err)
{
	struct sweep sweep = {id, 0, 0};
	bool held = false;
	enum wr_code code = wr_folder_open(folder, snap, &held, git, id, err);
	int64_t until = 0;

	while (code == WR_E_UNAVAILABLE && !held && wr_git_make_room(git, &until)) {
		if (err)
			wr_error_fini(err);
		code = wr_folder_open(folder, snap, &held, git, id, err);
	}
	if (code == WR_OK && !*snap && !swept)
		code = sweep_shard(git, &sweep, err);
	if (sweep.removed)
		WR_LOG(WR_INFO, NULL, REPO_SWEPT, WR_STR("repo", id), WR_INT("files", sweep.removed));
	return code;
}

static void deadline_in(struct timespec *ts, int64_t ms)
{
	int64_t at = wr_mono_ms() + ms;

	ts->tv_sec = at / 1000;
	ts->tv_nsec = at % 1000 * 1000000;
}

static void be_polite(const struct wr_git_repo *repo)
{
	int64_t given = atomic_load(&repo->given_ms), wait = given ? given + POLITE_MS - wr_mono_ms() : 0;

	if (wait > 0)
		nanosleep(&(struct timespec){.tv_nsec = wait * 1000 * 1000}, NULL);
}

/* One thread loads while the others wait for it. Called and left with repo->mutex held; lets it go meanwhile. */
static enum wr_code load_once(struct wr_git_repo *repo, struct wr_error *err)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_folder *folder = NULL;
	struct timespec deadline;
	enum wr_code code;
	bool swept;

	deadline_in(&deadline, WAIT_MS);
	while (repo->loading)
		if (pthread_cond_timedwait(&repo->cond, &repo->mutex, &deadline) == ETIMEDOUT)
			return wr_fail(err, WR_E_UNAVAILABLE, "repository %s takes too long to open", repo->id);
	if (repo->snap)
		return WR_OK;
	repo->loading = true;
	swept = repo->swept;
	pthread_mutex_unlock(&repo->mutex);
	be_polite(repo);
	code = load(&folder, &snap, repo->git, repo->id, swept, err);
	if (folder)
		wr_events_opened(repo->git->events, repo, false);
	pthread_mutex_lock(&repo->mutex);
	repo->loading = false;
	repo->swept = repo->swept || code == WR_OK;
	/* A first push may have made the folder while this thread found none. */
	if (!repo->snap && snap) {
		repo->snap = WR_STEAL(snap);
		repo->folder = folder;
	} else {
		wr_folder_close(folder, NULL, false);
	}
	pthread_cond_broadcast(&repo->cond);
	return code;
}

/* Whether it is time to try again what failed at the opening, and nobody else does. With repo->mutex held. */
static bool to_heal(struct wr_git_repo *repo)
{
	int64_t now;

	if (!repo->folder || !repo->folder->to_copy || repo->turns)
		return false;
	now = wr_mono_ms();
	if (now < repo->heal_ms)
		return false;
	repo->heal_ms = now + HEAL_MS;
	return true;
}

/*
 * After a copy that could not be made only what is certain is shown. Who comes next tries again, reader or writer, so
 * that all is there as soon as the disk works again.
 */
static void heal(struct wr_git_repo *repo)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_turn turn;

	if (wr_repo_turn_begin(repo, &turn, NULL) != WR_OK)
		return;
	pthread_mutex_lock(&repo->mutex);
	if (repo->folder && repo->snap)
		snap = wr_snapshot_ref_more(repo->snap);
	pthread_mutex_unlock(&repo->mutex);
	if (snap && wr_repo_ready(repo, &snap, NULL) != WR_OK)
		errno = 0; /* said when it was found */
	wr_repo_turn_end(repo, &turn);
}

enum wr_code wr_repo_current(struct wr_snapshot **out, bool *exists, struct wr_git_repo *repo, struct wr_error *err)
{
	struct wr_snapshot *snap = NULL;
	enum wr_code code = WR_OK;
	bool loaded = false;

	if (!atomic_load(&repo->dead)) {
		pthread_mutex_lock(&repo->mutex);
		loaded = !repo->snap;
		if (loaded)
			code = load_once(repo, err);
		if (repo->snap && to_heal(repo)) {
			pthread_mutex_unlock(&repo->mutex);
			heal(repo);
			pthread_mutex_lock(&repo->mutex);
		}
		if (repo->snap)
			snap = wr_snapshot_ref_more(repo->snap);
		pthread_mutex_unlock(&repo->mutex);
	}
	if (loaded)
		wr_repo_try_give_back(repo);
	if (code != WR_OK)
		return code;
	if (exists)
		*exists = snap != NULL;
	if (!snap && (code = wr_snapshot_new(&snap, repo->git->cfg.max_object_bytes, err)) != WR_OK)
		return code;
	*out = snap;
	return WR_OK;
}

enum wr_code wr_snapshot_take(struct wr_snapshot **out, struct wr_git_repo *repo, struct wr_error *err)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	enum wr_code code;

	if ((code = wr_repo_current(&snap, NULL, repo, err)) != WR_OK || (code = wr_snapshot_flatten(snap, err)) != WR_OK)
		return code;
	wr_keeper_glance(repo->git->keeper, repo, snap);
	*out = WR_STEAL(snap);
	return WR_OK;
}

void wr_repo_publish(struct wr_git_repo *repo, struct wr_snapshot *snap)
{
	struct wr_snapshot *old;

	pthread_mutex_lock(&repo->mutex);
	old = repo->snap;
	repo->snap = snap;
	pthread_mutex_unlock(&repo->mutex);
	wr_snapshot_unref(old);
}

enum wr_code wr_repo_ready(struct wr_git_repo *repo, struct wr_snapshot **snap, struct wr_error *err)
{
	bool to_copy = repo->folder->to_copy;
	enum wr_code code = wr_folder_ready(repo->folder, snap, err);

	if (code != WR_OK || !to_copy)
		return code;
	wr_repo_publish(repo, wr_snapshot_ref_more(*snap));
	wr_events_added(repo->git->events, repo, (*snap)->seq);
	return WR_OK;
}

bool wr_repo_uncertain(struct wr_git_repo *repo)
{
	bool uncertain;

	pthread_mutex_lock(&repo->mutex);
	uncertain = repo->folder && repo->folder->to_copy;
	pthread_mutex_unlock(&repo->mutex);
	return uncertain;
}

void wr_repo_place_begin(struct wr_git_repo *repo)
{
	pthread_mutex_lock(&repo->mutex);
	while (repo->loading)
		pthread_cond_wait(&repo->cond, &repo->mutex);
	repo->loading = true;
	pthread_mutex_unlock(&repo->mutex);
}

void wr_repo_place_end(struct wr_git_repo *repo, struct wr_folder *folder, struct wr_snapshot *snap)
{
	pthread_mutex_lock(&repo->mutex);
	repo->loading = false;
	if (folder) {
		repo->folder = folder;
		repo->snap = snap;
	}
	pthread_cond_broadcast(&repo->cond);
	pthread_mutex_unlock(&repo->mutex);
}

void wr_repo_close_folder(struct wr_git_repo *repo, bool clean)
{
	struct wr_snapshot *snap;
	struct wr_folder *folder;

	pthread_mutex_lock(&repo->mutex);
	snap = WR_STEAL(repo->snap);
	folder = WR_STEAL(repo->folder);
	pthread_mutex_unlock(&repo->mutex);
	wr_folder_close(folder, snap, clean);
	wr_snapshot_unref(snap);
}

enum wr_code wr_repo_open_folders(int *packs, int *warren, uint64_t *number, struct wr_git_repo *repo,
				  struct wr_error *err)
{
	enum wr_code code = WR_OK;

	pthread_mutex_lock(&repo->mutex);
	if (repo->folder) {
		*packs = openat(repo->folder->dir, "objects/pack", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (*packs >= 0)
			*warren = openat(repo->folder->warren, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (*packs < 0 || *warren < 0)
			code = wr_fail_errno(err, "repository %s: open its folders", repo->id);
		*number = repo->folder->next_checkpoint++;
	}
	pthread_mutex_unlock(&repo->mutex);
	return code;
}

/* ---- turns ---- */

static void leave(struct wr_git_repo *repo, struct wr_turn *turn)
{
	struct wr_turn *before = NULL, *t = repo->turns;

	while (t != turn) {
		before = t;
		t = t->next;
	}
	if (before)
		before->next = turn->next;
	else
		repo->turns = turn->next;
	if (repo->turns_end == turn)
		repo->turns_end = before;
}

/* Called and left with repo->mutex held; lets it go meanwhile. */
static void wait_some(struct wr_git_repo *repo, const struct wr_turn *turn)
{
	struct timespec until;

	deadline_in(&until, TELL_MS);
	if (pthread_cond_timedwait(&repo->cond, &repo->mutex, &until) != ETIMEDOUT || !turn->change ||
	    !turn->change->waiting)
		return;
	pthread_mutex_unlock(&repo->mutex);
	turn->change->waiting(turn->change->arg);
	pthread_mutex_lock(&repo->mutex);
}

enum wr_code wr_repo_turn_wait(struct wr_git_repo *repo, struct wr_turn *turn, struct wr_error *err)
{
	int64_t until = wr_mono_ms() + WAIT_MS;
	enum wr_code code = WR_OK;
	bool rests;

	turn->next = NULL;
	pthread_mutex_lock(&repo->mutex);
	if (repo->turns_end)
		repo->turns_end->next = turn;
	else
		repo->turns = turn;
	repo->turns_end = turn;
	/* Who waits for one repository keeps nobody from computing for another; and so many can share one flush. */
	rests = repo->turn_taken || repo->turns != turn;
	if (rests) {
		pthread_mutex_unlock(&repo->mutex);
		wr_gate_rest();
		pthread_mutex_lock(&repo->mutex);
	}
	while (code == WR_OK && !turn->done && (repo->turn_taken || repo->turns != turn)) {
		/* One that somebody works on is finished soon, and must not go away under him. */
		if (turn->running || wr_mono_ms() < until) {
			wait_some(repo, turn);
			continue;
		}
		leave(repo, turn);
		code = wr_fail(err, WR_E_UNAVAILABLE, "repository %s: too many writers", repo->id);
	}
	if (code == WR_OK && !turn->done)
		repo->turn_taken = turn->running = true;
	pthread_mutex_unlock(&repo->mutex);
	if (rests && !(turn->done && turn->change && turn->change->brief))
		wr_gate_go_on();
	return code;
}

struct wr_turn *wr_repo_turn_more(struct wr_git_repo *repo, struct wr_turn *last)
{
	struct wr_turn *more;

	pthread_mutex_lock(&repo->mutex);
	more = last->next && last->next->change ? last->next : NULL;
	if (more)
		more->running = true;
	pthread_mutex_unlock(&repo->mutex);
	return more;
}

void wr_repo_turn_pass(struct wr_git_repo *repo, struct wr_turn *first, struct wr_turn *last)
{
	wr_repo_give_back(repo);
	pthread_mutex_lock(&repo->mutex);
	assert(repo->turns == first);
	repo->turns = last->next;
	if (!repo->turns)
		repo->turns_end = NULL;
	for (struct wr_turn *t = first, *next;; t = next) {
		next = t->next;
		t->done = true; /* from here on its owner may be gone */
		if (t == last)
			break;
	}
	repo->turn_taken = false;
	pthread_cond_broadcast(&repo->cond);
	pthread_mutex_unlock(&repo->mutex);
}

enum wr_code wr_repo_turn_begin(struct wr_git_repo *repo, struct wr_turn *turn, struct wr_error *err)
{
	*turn = (struct wr_turn){.change = NULL};
	return wr_repo_turn_wait(repo, turn, err);
}

bool wr_repo_turn_try(struct wr_git_repo *repo, struct wr_turn *turn)
{
	bool got;

	*turn = (struct wr_turn){.running = true};
	pthread_mutex_lock(&repo->mutex);
	got = !repo->turns;
	if (got) {
		repo->turns = repo->turns_end = turn;
		repo->turn_taken = true;
	}
	pthread_mutex_unlock(&repo->mutex);
	return got;
}

void wr_repo_turn_end(struct wr_git_repo *repo, struct wr_turn *turn)
{
	wr_repo_turn_pass(repo, turn, turn);
}

/* ---- removal ---- */

/*
 * Out of sight by one rename first, so that no other process opens half a repository; and what an earlier try left.
 * One that another process is building is found as such, or in its place: first it has the one name, then the other, so
 * the place is looked at last.
 */
enum wr_code wr_repo_remove(const struct wr_git *git, const char *id, struct wr_error *err)
{
	char from[PATH_MAX], to[PATH_MAX], suffix[32] = ".gone-";
	struct sweep sweep = {id, 0, 0};
	WR_AUTO_FD int lock = -1;
	enum wr_code code;

	wr_random_text(suffix + 6, 12);
	if ((code = wr_repo_path(from, git, id, ".git", err)) != WR_OK ||
	    (code = wr_repo_path(to, git, id, suffix, err)) != WR_OK ||
	    (code = wr_folder_seize(&lock, git, id, err)) != WR_OK)
		return code;
	if (rename(from, to) < 0 && errno != ENOENT)
		return wr_fail_errno(err, "rename %s", from);
	if ((code = sweep_shard(git, &sweep, err)) != WR_OK)
		return code;
	if (sweep.busy || access(from, F_OK) == 0)
		return wr_fail(err, WR_E_UNAVAILABLE, "repository %s: another process makes its first push", id);
	return WR_OK;
}
