/*
 * core/git/git_internal.h: the store's handles from inside.
 * Locks: wr_git.mutex before wr_git_repo.mutex; nothing blocks under either.
 */
#ifndef WR_GIT_INTERNAL_H
#define WR_GIT_INTERNAL_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#include "core/git/git.h"
#include "core/git/snapshot_internal.h"

struct wr_git {
	char *data;
	struct wr_git_config cfg;
	pthread_mutex_t
		mutex; /* table, buckets, count, idle list, and next, older, newer and users of each repository */
	struct wr_git_repo **table;
	size_t buckets, count;
	struct wr_git_repo *oldest, *newest; /* without a user */
	size_t idle;
};

/* Who waits for the turn of a repository; on the waiter's stack. */
struct wr_turn {
	struct wr_turn *next;
};

struct wr_git_repo {
	struct wr_git *git;
	char id[WR_UUID_LEN + 1];
	struct wr_git_repo *next;	   /* in its bucket */
	struct wr_git_repo *older, *newer; /* while idle */
	size_t users;
	atomic_bool dead;
	pthread_mutex_t mutex; /* loading, swept, snap, turns */
	pthread_cond_t cond;
	bool loading, swept;
	struct wr_snapshot *snap;	   /* NULL: not loaded, or no folder when last looked at */
	struct wr_turn *turns, *turns_end; /* the first one runs */
};

/*
 * What the repository is now, one reference. *exists says whether it has a folder; may be NULL. A dead one is empty.
 */
WR_MUST_CHECK enum wr_code wr_repo_current(struct wr_snapshot **out, bool *exists, struct wr_git_repo *repo,
					   struct wr_error *err);

/* Makes snap, whose reference it takes over, what the next wr_repo_current() gives. For the holder of the turn. */
void wr_repo_publish(struct wr_git_repo *repo, struct wr_snapshot *snap);

/* Waits for the turn, in the order of the calls, for a minute at most (WR_E_UNAVAILABLE). */
WR_MUST_CHECK enum wr_code wr_repo_turn_begin(struct wr_git_repo *repo, struct wr_turn *turn, struct wr_error *err);
void wr_repo_turn_end(struct wr_git_repo *repo, struct wr_turn *turn);

/* <data>/<rest>. */
WR_MUST_CHECK enum wr_code wr_git_path(char out[PATH_MAX], const char *data, const char *rest, struct wr_error *err);

/* <data>/repos/ab/cd, and with suffix (".git") <data>/repos/ab/cd/UUID<suffix>. */
WR_MUST_CHECK enum wr_code wr_repo_shard(char out[PATH_MAX], const struct wr_git *git, const char *id,
					 struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_repo_path(char out[PATH_MAX], const struct wr_git *git, const char *id,
					const char *suffix, struct wr_error *err);

/* Flushes <data>/repos/ab/cd and every folder above it, down from the data folder's own name. */
WR_MUST_CHECK enum wr_code wr_repo_sync_shard(const struct wr_git *git, const char *id, struct wr_error *err);

/* Removes the repository's folder, and what crashes left beside it. For the holder of the turn. */
WR_MUST_CHECK enum wr_code wr_repo_remove(const struct wr_git *git, const char *id, struct wr_error *err);

#endif
