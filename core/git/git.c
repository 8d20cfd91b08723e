#include "core/git/git.h"

#include <git2/global.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/suspects.h"
#include "core/git/git_internal.h"
#include "core/git/keeper.h"

#define FIRST_BUCKETS 256

/* ---- opening and closing ---- */

enum wr_code wr_git_open(struct wr_git **out, const struct wr_git_config *cfg, struct wr_error *err)
{
	struct wr_fsck_rules fsck;
	char repos[PATH_MAX];
	struct wr_git *git;
	enum wr_code code;

	if ((code = wr_fsck_rules_parse(&fsck, cfg->fsck_ignore, err)) != WR_OK)
		return code;
	git = calloc(1, sizeof *git);
	if (!git)
		return wr_fail_nomem(err);
	/* libgit2 is there for its SHA-1, which recognises collision attacks. */
	if (git_libgit2_init() < 0) {
		free(git);
		return wr_fail(err, WR_E_INTERNAL, "libgit2 does not start");
	}
	git->cfg = *cfg;
	git->cfg.fsck_ignore = NULL; /* is in fsck now */
	wr_git_room(&git->room, cfg);
	git->fsck = fsck;
	/* The reader's bound: what is stored must be readable. */
	if (git->cfg.max_delta_depth == 0 || git->cfg.max_delta_depth > WR_DELTA_DEPTH)
		git->cfg.max_delta_depth = WR_DELTA_DEPTH;
	if (git->cfg.quiet_ms <= 0)
		git->cfg.quiet_ms = WR_DUE_QUIET_MS;
	git->buckets = FIRST_BUCKETS;
	git->data = wr_str_dup(wr_str(cfg->data));
	git->cfg.data = git->data;
	git->table = calloc(git->buckets, sizeof(struct wr_git_repo *));
	pthread_mutex_init(&git->mutex, NULL);
	if (!git->data || !git->table)
		code = wr_fail_nomem(err);
	else if ((code = wr_git_path(repos, git->data, "repos", err)) == WR_OK &&
		 (code = wr_file_mkdirs(repos, err)) == WR_OK)
		code = wr_run_enter(&git->run, git->data, err);
	if (code == WR_OK && !git->cfg.no_keeper)
		code = wr_keeper_new(&git->keeper, git, err);
	if (code == WR_OK && git->cfg.events)
		code = wr_events_start(&git->events, git, git->cfg.events, err);
	if (code == WR_OK && git->keeper)
		code = wr_keeper_begin(git->keeper, err);
	if (code != WR_OK) {
		wr_git_close(git);
		return code;
	}
	*out = git;
	return WR_OK;
}

static void repo_free(struct wr_git_repo *repo)
{
	wr_repo_close_folder(repo, true);
	pthread_cond_destroy(&repo->cond);
	pthread_mutex_destroy(&repo->mutex);
	pthread_mutex_destroy(&repo->keeping);
	free(repo);
}

void wr_git_close(struct wr_git *git)
{
	if (!git)
		return;
	wr_handover_stop(git->handover);
	wr_keeper_end(git->keeper);
	wr_events_stop(git->events);
	wr_keeper_free(git->keeper);
	for (size_t i = 0; git->table && i < git->buckets; i++) {
		while (git->table[i]) {
			struct wr_git_repo *repo = git->table[i];

			git->table[i] = repo->next;
			repo_free(repo);
		}
	}
	wr_run_leave(&git->run);
	pthread_mutex_destroy(&git->mutex);
	free(git->table);
	free(git->data);
	free(git);
	git_libgit2_shutdown();
}

/* ---- the table of handles; all under git->mutex ---- */

static size_t bucket(const struct wr_git *git, const char *id)
{
	size_t h = 5381;

	while (*id)
		h = h * 33 + (unsigned char)*id++;
	return h & (git->buckets - 1);
}

static struct wr_git_repo *table_find(const struct wr_git *git, const char *id)
{
	struct wr_git_repo *repo = git->table[bucket(git, id)];

	while (repo && strcmp(repo->id, id) != 0)
		repo = repo->next;
	return repo;
}

/* Longer chains are only slower, so no memory for a larger table is no error. */
static void table_grow(struct wr_git *git)
{
	struct wr_git_repo **old = git->table, **v = calloc(git->buckets * 2, sizeof *v);
	size_t n = git->buckets;

	if (!v)
		return;
	git->table = v;
	git->buckets = n * 2;
	for (size_t i = 0; i < n; i++) {
		while (old[i]) {
			struct wr_git_repo *repo = old[i];
			size_t to = bucket(git, repo->id);

			old[i] = repo->next;
			repo->next = v[to];
			v[to] = repo;
		}
	}
	free(old);
}

static struct wr_git_repo *table_add(struct wr_git *git, const char *id)
{
	struct wr_git_repo *repo = calloc(1, sizeof *repo);
	pthread_condattr_t attr;
	size_t i;

	if (!repo)
		return NULL;
	repo->git = git;
	snprintf(repo->id, sizeof repo->id, "%s", id);
	atomic_init(&repo->dead, false);
	pthread_mutex_init(&repo->mutex, NULL);
	pthread_mutex_init(&repo->keeping, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&repo->cond, &attr);
	pthread_condattr_destroy(&attr);
	if (git->count >= git->buckets)
		table_grow(git);
	i = bucket(git, id);
	repo->next = git->table[i];
	git->table[i] = repo;
	git->count++;
	return repo;
}

static void table_drop(struct wr_git *git, struct wr_git_repo *repo)
{
	struct wr_git_repo **p = &git->table[bucket(git, repo->id)];

	while (*p != repo)
		p = &(*p)->next;
	*p = repo->next;
	git->count--;
}

static void idle_drop(struct wr_git *git, struct wr_git_repo *repo)
{
	if (repo->older)
		repo->older->newer = repo->newer;
	else
		git->oldest = repo->newer;
	if (repo->newer)
		repo->newer->older = repo->older;
	else
		git->newest = repo->older;
	repo->older = repo->newer = NULL;
	git->idle--;
	wr_weight_sub(&git->idle_weight, &repo->weight);
}

static void idle_add(struct wr_git *git, struct wr_git_repo *repo)
{
	repo->older = git->newest;
	if (git->newest)
		git->newest->newer = repo;
	else
		git->oldest = repo;
	git->newest = repo;
	git->idle++;
	wr_repo_weigh(&repo->weight, repo);
	wr_weight_add(&git->idle_weight, &repo->weight);
}

static bool is_idle(const struct wr_git *git, const struct wr_git_repo *repo)
{
	return repo->older || git->oldest == repo;
}

/* The idle one that was used longest ago leaves the table, for the front of a list of those to free. */
static struct wr_git_repo *oldest_out(struct wr_git *git, struct wr_git_repo *list)
{
	struct wr_git_repo *repo = git->oldest;

	idle_drop(git, repo);
	table_drop(git, repo);
	repo->next = list;
	return repo;
}

static bool too_many_idle(const struct wr_git *git)
{
	return git->idle > git->cfg.idle_repos || (git->idle > 1 && !wr_weight_within(&git->idle_weight, &git->room));
}

static void free_all(struct wr_git_repo *list)
{
	while (list) {
		struct wr_git_repo *repo = list;

		list = repo->next;
		repo_free(repo);
	}
}

/* ---- handles ---- */

/* One reference to the handle, made where there is none; NULL without memory. Looks at no disk. */
static struct wr_git_repo *handle(struct wr_git *git, const char *id)
{
	struct wr_git_repo *repo;

	pthread_mutex_lock(&git->mutex);
	repo = table_find(git, id);
	if (repo && is_idle(git, repo))
		idle_drop(git, repo);
	if (!repo)
		repo = table_add(git, id);
	if (repo)
		repo->users++;
	pthread_mutex_unlock(&git->mutex);
	return repo;
}

struct wr_git_repo *wr_git_repo_ref(struct wr_git_repo *repo)
{
	pthread_mutex_lock(&repo->git->mutex);
	repo->users++;
	pthread_mutex_unlock(&repo->git->mutex);
	return repo;
}

void wr_git_repo_unref(struct wr_git_repo *repo)
{
	struct wr_git *git = repo->git;
	struct wr_git_repo *out = NULL;
	bool close_it = false;

	pthread_mutex_lock(&git->mutex);
	if (--repo->users == 0) {
		if (!repo->forgotten && atomic_load(&repo->dead)) {
			/* Stays, without its files, so that no request that is still under way brings it back. */
			close_it = true;
			repo->users++;
		} else if (repo->forgotten || !repo->snap || atomic_load(&git->handing_over)) {
			table_drop(git, repo);
			repo->next = NULL;
			out = repo;
		} else {
			idle_add(git, repo);
			while (too_many_idle(git))
				out = oldest_out(git, out);
		}
	}
	pthread_mutex_unlock(&git->mutex);
	if (close_it) {
		wr_repo_close_folder(repo, false);
		pthread_mutex_lock(&git->mutex);
		if (--repo->users == 0 && repo->forgotten) {
			table_drop(git, repo);
			repo->next = NULL;
			out = repo;
		}
		pthread_mutex_unlock(&git->mutex);
	}
	free_all(out);
}

bool wr_git_relieve(struct wr_git *git)
{
	struct wr_git_repo *out = NULL;
	size_t some;

	pthread_mutex_lock(&git->mutex);
	some = (git->idle + 1) / 2;
	for (size_t n = some; n > 0; n--)
		out = oldest_out(git, out);
	pthread_mutex_unlock(&git->mutex);
	free_all(out);
	return some > 0;
}

bool wr_git_alone(struct wr_git *git)
{
	bool alone;

	pthread_mutex_lock(&git->mutex);
	alone = git->count <= 1;
	pthread_mutex_unlock(&git->mutex);
	return alone;
}

const char *wr_git_repo_id(const struct wr_git_repo *repo)
{
	return repo->id;
}

void wr_git_kill(struct wr_git *git, const char *id)
{
	struct wr_git_repo *repo;
	bool was_idle = false;

	pthread_mutex_lock(&git->mutex);
	repo = table_find(git, id);
	if (!repo)
		repo = table_add(git, id);
	/* Without memory for an entry nobody has it open either, and the row that vouches for it is gone or going. */
	if (repo) {
		atomic_store(&repo->dead, true);
		was_idle = is_idle(git, repo);
		if (was_idle) {
			idle_drop(git, repo);
			repo->users++;
		}
	}
	pthread_mutex_unlock(&git->mutex);
	if (was_idle)
		wr_git_repo_unref(repo);
	/* The process that has it by now asks the row before its next record, and finds it deleted. */
	if (atomic_load(&git->handing_over) && git->cfg.ask_owner)
		git->cfg.ask_owner(git->cfg.ask_owner_arg, id);
}

void wr_git_forget(struct wr_git *git, const char *id)
{
	struct wr_git_repo *repo;
	bool unused = false;

	pthread_mutex_lock(&git->mutex);
	repo = table_find(git, id);
	if (repo && atomic_load(&repo->dead)) {
		repo->forgotten = true;
		unused = repo->users == 0;
		if (unused)
			table_drop(git, repo);
	}
	pthread_mutex_unlock(&git->mutex);
	if (unused)
		repo_free(repo);
}

void wr_git_yield(struct wr_git *git, const char *id)
{
	struct wr_git_repo *repo;

	pthread_mutex_lock(&git->mutex);
	repo = table_find(git, id);
	if (repo && is_idle(git, repo))
		idle_drop(git, repo);
	if (repo)
		repo->users++;
	pthread_mutex_unlock(&git->mutex);
	if (!repo)
		return;
	atomic_store(&repo->wanted, true);
	wr_repo_try_give_back(repo);
	wr_git_repo_unref(repo);
}

bool wr_git_others(struct wr_git *git)
{
	return wr_run_others(&git->run);
}

enum wr_code wr_git_repo_open(struct wr_git_repo **out, struct wr_git *git, const char *id, struct wr_error *err)
{
	WR_AUTO(wr_git_repo) *repo = NULL;
	WR_AUTO(wr_snapshot) *snap = NULL;
	char canonical[WR_UUID_LEN + 1];
	enum wr_code code;

	if (!wr_uuid_parse(wr_str(id), canonical) || strcmp(canonical, id) != 0)
		return wr_fail(err, WR_E_INTERNAL, "not a repository id");
	if (wr_suspect_parked(id))
		return wr_fail(err, WR_E_REPO_PARKED, "repository %s was worked on in two crashes in a row", id);
	repo = handle(git, id);
	if (!repo)
		return wr_fail_nomem(err);
	if ((code = wr_repo_current(&snap, NULL, repo, err)) != WR_OK)
		return code;
	*out = WR_STEAL(repo);
	return WR_OK;
}

/* Under both mutexes, so that nothing of it goes meanwhile: what goes may be large, and not for this thread to release. */
static bool find_now(struct wr_ref *out, bool *exists, const struct wr_git_repo *repo, struct wr_str name)
{
	const struct wr_snapshot *snap = repo->snap;

	if (!snap || (repo->folder && repo->folder->to_copy) || (snap->stored && !wr_refsfile_in_memory(snap->stored)))
		return false;
	*exists = wr_snapshot_find_ref(out, snap, name);
	return true;
}

bool wr_git_ref_now(struct wr_oid *out, bool *exists, struct wr_git *git, const char *id, struct wr_str name)
{
	struct wr_git_repo *repo;
	struct wr_ref ref = {.name = {NULL, 0}};
	bool known = false;

	if (wr_suspect_parked(id))
		return false;
	pthread_mutex_lock(&git->mutex);
	repo = table_find(git, id);
	if (repo && !atomic_load(&repo->dead)) {
		pthread_mutex_lock(&repo->mutex);
		known = find_now(&ref, exists, repo, name);
		pthread_mutex_unlock(&repo->mutex);
		/* It is the one used last now. */
		if (known && is_idle(git, repo)) {
			idle_drop(git, repo);
			idle_add(git, repo);
		}
	}
	pthread_mutex_unlock(&git->mutex);
	*out = ref.oid;
	return known;
}

enum wr_code wr_git_remove(struct wr_git *git, const char *id, struct wr_error *err)
{
	WR_AUTO(wr_git_repo) *repo = handle(git, id);
	struct wr_turn turn;
	enum wr_code code;

	if (!repo)
		return wr_fail_nomem(err);
	/* An append that began before the repository was killed may be writing; a checkpoint breaks off soon. */
	pthread_mutex_lock(&repo->keeping);
	if ((code = wr_repo_turn_begin(repo, &turn, err)) == WR_OK) {
		wr_repo_close_folder(repo, false);
		code = wr_repo_remove(git, id, err);
		wr_repo_turn_end(repo, &turn);
	}
	pthread_mutex_unlock(&repo->keeping);
	/* What was parked of it is gone. */
	if (code == WR_OK)
		(void)wr_suspect_unpark(id);
	return code;
}

enum wr_code wr_git_remove_flush(struct wr_git *git, const char *id, struct wr_error *err)
{
	char path[PATH_MAX];
	enum wr_code code = wr_repo_shard(path, git, id, err);

	/* Without the folder that its name stood in it has never been there. */
	if (code != WR_OK || access(path, F_OK) != 0)
		return code;
	return wr_file_sync_dir(AT_FDCWD, path, err);
}
