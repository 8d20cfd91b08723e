/*
 * core/git/git_internal.h: the store's handles from inside.
 * Locks: wr_git.mutex before wr_git_repo.mutex; nothing blocks under either.
 */
#ifndef WR_GIT_INTERNAL_H
#define WR_GIT_INTERNAL_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#include "core/git/append.h"
#include "core/git/events.h"
#include "core/git/folder.h"
#include "core/git/fsck.h"
#include "core/git/git.h"
#include "core/git/run.h"
#include "core/git/snapshot_internal.h"
#include "core/git/weight.h"

struct wr_keeper;
struct wr_handover;

struct wr_git {
	char *data;
	struct wr_git_config cfg;
	struct wr_fsck_rules fsck; /* for what is pushed */
	pthread_mutex_t
		mutex; /* table, buckets, count, idle list and its weight; next, older, newer, weight and users of repositories */
	struct wr_git_repo **table;
	size_t buckets, count;
	struct wr_git_repo *oldest, *newest; /* without a user */
	size_t idle;
	struct wr_weight idle_weight; /* of those without a user, as each was when it lost its last one */
	struct wr_weight room;	      /* for them; set at the start */
	struct wr_events *events; /* NULL: nobody wants them */
	struct wr_keeper *keeper; /* NULL: none */
	struct wr_run run;
	/* Bits of folders whose names are flushed: of repos, of those in it, and of those in them. All of these stay for ever. */
	_Atomic uint64_t repos_flushed, tops_flushed[256 / 64], shards_flushed[65536 / 64];
	atomic_bool handing_over;
	struct wr_handover *handover; /* NULL: not begun */
};

/* A change that waits for the turn of a repository; on the waiter's stack. */
struct wr_turn {
	struct wr_turn *next;
	struct wr_change *change; /* NULL: wants the turn for itself */
	struct wr_error *err;
	enum wr_code code;
	bool running, done;
};

struct wr_git_repo {
	struct wr_git *git;
	char id[WR_UUID_LEN + 1];
	struct wr_git_repo *next;	   /* in its bucket */
	struct wr_git_repo *older, *newer; /* while idle */
	struct wr_weight weight;	   /* while idle */
	size_t users;
	atomic_bool dead;
	bool forgotten; /* dead, and goes with its last user; under wr_git.mutex */
	pthread_mutex_t mutex; /* loading, swept, snap, folder, its list of old journals, turns */
	pthread_cond_t cond;
	bool loading, swept;
	struct wr_snapshot *snap;	   /* NULL: not loaded, or no folder when last looked at */
	struct wr_turn *turns, *turns_end; /* the first one runs */
	bool turn_taken;
	struct wr_folder *folder; /* NULL: not open. The turn's; set together with snap */
	/*
	 * One checkpoint at a time, and none across a closing of the folder: another process may then have it. Taken before
	 * the turn; within a turn only tried.
	 */
	pthread_mutex_t keeping;
	atomic_bool wanted; /* another process waits for it */
	_Atomic int64_t given_ms; /* monotonic: when it was given back last; 0: never */
	uint64_t relied; /* the turn's: counts changes that relied on objects which no ref reaches */
	_Atomic int64_t building_ms; /* when the checkpoint that is being built began, by wr_git_now(); 0: none is */
	int64_t heal_ms;	  /* no healing before this (monotonic); under mutex */
	struct wr_repo_events events;
	enum { WR_KEEP_NOT, WR_KEEP_LATER, WR_KEEP_NOW } queued; /* this and the next four: under the keeper's mutex */
	bool cared_for;						 /* by one of its threads */
	struct wr_git_repo *keep_prev, *keep_next;
	int64_t keep_at;
	_Atomic int64_t written_ms, rewound_ms; /* monotonic: the last record; the first that made it "lost"; 0: none here */
	atomic_uint level;  /* how many times over a checkpoint is due */
};

/* The clock that the time of unreached objects is measured by (rely.c): the one of cfg, or a steady one. */
int64_t wr_git_now(const struct wr_git *git);
/*
 * Before a snapshot is taken: what it does not say to be unreached was found so after this time, or will be. A checkpoint
 * that is being built may have found it already.
 */
int64_t wr_repo_since(struct wr_git_repo *repo);

/* One more reference. */
struct wr_git_repo *wr_git_repo_ref(struct wr_git_repo *repo);

/*
 * What the repository is now, one reference. *exists says whether it has a folder; may be NULL. A dead one is empty.
 */
WR_MUST_CHECK enum wr_code wr_repo_current(struct wr_snapshot **out, bool *exists, struct wr_git_repo *repo,
					   struct wr_error *err);

/* Makes snap, whose reference it takes over, what the next wr_repo_current() gives. For the holder of the turn. */
void wr_repo_publish(struct wr_git_repo *repo, struct wr_snapshot *snap);

/*
 * Before anything is written, by the holder of the turn: makes the copy that a folder may ask for (folder.h). Then *snap,
 * which is what wr_repo_current() gave, has more records perhaps: it is published at once, since the file of the old
 * journal is gone, and their events are handed over. The row stays marked while a copy is asked for.
 */
WR_MUST_CHECK enum wr_code wr_repo_ready(struct wr_git_repo *repo, struct wr_snapshot **snap, struct wr_error *err);
/* Whether a copy is asked for, so that there may be records that nobody has seen yet. */
bool wr_repo_uncertain(struct wr_git_repo *repo);

/*
 * While a first push puts its folder in place nobody else looks for one, who would find it locked. The end is with the
 * folder and its snapshot (both taken over), or with NULL where it did not work.
 */
void wr_repo_place_begin(struct wr_git_repo *repo);
void wr_repo_place_end(struct wr_git_repo *repo, struct wr_folder *folder, struct wr_snapshot *snap);

/*
 * For building a checkpoint beside writers: descriptors of objects/pack and warren, and a number for it. They stay -1
 * where the repository has gone.
 */
WR_MUST_CHECK enum wr_code wr_repo_open_folders(int *packs, int *warren, uint64_t *number, struct wr_git_repo *repo,
						struct wr_error *err);

/*
 * Whether it is to be given back as soon as possible: checkpoints end then, and whoever passes the turn on, or has loaded
 * it without one, gives it back before (repo_give.c).
 */
bool wr_repo_wanted(const struct wr_git_repo *repo);
/* Where it is wanted, and the caller has the turn; and where nobody has it. */
void wr_repo_give_back(struct wr_git_repo *repo);
void wr_repo_try_give_back(struct wr_git_repo *repo);

/* Ends the thread of a hand-over; before the events'. NULL-safe. */
void wr_handover_stop(struct wr_handover *handover);

/* Closes the folder, and lets go of what is in memory. clean: as wr_folder_close(). */
void wr_repo_close_folder(struct wr_git_repo *repo, bool clean);

/* Closes some of the repositories that nobody uses; false when there is none. */
bool wr_git_relieve(struct wr_git *git);
/* Whether no more than one repository is held: its holder has nothing to hope for from others. */
bool wr_git_alone(struct wr_git *git);
/*
 * After WR_E_UNAVAILABLE for want of descriptors, maps or memory, by who holds one: closes some that nobody uses, or waits a
 * little for marks to be taken back. Whether to try again, which is for a second; *until: 0 at first.
 */
bool wr_git_make_room(struct wr_git *git, int64_t *until);

/*
 * Waits until it is this one's turn, in the order of the calls, for a minute at most (WR_E_UNAVAILABLE), or until another
 * thread has done it (turn->done). Who has the turn may take further changes that wait into his own, one after the other,
 * and passes it on when all of them, first to last, are done.
 */
WR_MUST_CHECK enum wr_code wr_repo_turn_wait(struct wr_git_repo *repo, struct wr_turn *turn, struct wr_error *err);
struct wr_turn *wr_repo_turn_more(struct wr_git_repo *repo, struct wr_turn *last);
void wr_repo_turn_pass(struct wr_git_repo *repo, struct wr_turn *first, struct wr_turn *last);
/* A turn for something else than a change. */
WR_MUST_CHECK enum wr_code wr_repo_turn_begin(struct wr_git_repo *repo, struct wr_turn *turn, struct wr_error *err);
/* The same where nobody has it or waits for it; else false. */
bool wr_repo_turn_try(struct wr_git_repo *repo, struct wr_turn *turn);
void wr_repo_turn_end(struct wr_git_repo *repo, struct wr_turn *turn);

/*
 * The events of the flushed records after this sequence, oldest first; *v malloc'ed, its texts in *text (malloc'ed).
 * At most about max of them, but always whole records; *last: the sequence of the last record looked at.
 */
WR_MUST_CHECK enum wr_code wr_repo_events_after(struct wr_event **v, size_t *n, char **text, uint64_t *last,
						struct wr_git_repo *repo, uint64_t after, size_t max,
						struct wr_error *err);
/* Removes journals that a checkpoint covers and whose events are handed over. */
void wr_repo_sweep_journals(struct wr_git_repo *repo);

/* <data>/<rest>. */
WR_MUST_CHECK enum wr_code wr_git_path(char out[PATH_MAX], const char *data, const char *rest, struct wr_error *err);

/* <data>/repos/ab/cd, and with suffix (".git") <data>/repos/ab/cd/UUID<suffix>. */
WR_MUST_CHECK enum wr_code wr_repo_shard(char out[PATH_MAX], const struct wr_git *git, const char *id,
					 struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_repo_path(char out[PATH_MAX], const struct wr_git *git, const char *id,
					const char *suffix, struct wr_error *err);

/* Flushes <data>/repos/ab/cd, and of the folders above it those that may hold a name that is not flushed. */
WR_MUST_CHECK enum wr_code wr_repo_sync_shard(struct wr_git *git, const char *id, struct wr_error *err);

/*
 * Removes the repository's folder, and what crashes left beside it; nothing of this is flushed. For the holder of the
 * turn.
 */
WR_MUST_CHECK enum wr_code wr_repo_remove(const struct wr_git *git, const char *id, struct wr_error *err);

#endif
