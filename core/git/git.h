/*
 * core/git/git.h: the Git store of one data folder, and handles to its repositories.
 * Ownership: wr_git_open()/wr_git_close() by the program; a wr_git_repo is counted: open gives one reference, unref
 *            takes it. All handles must be gone before wr_git_close().
 * Threads:   all functions from any thread.
 * Blocks on: disk (the first opening of a repository), a short mutex.
 *
 * Layout: <data>/repos/ab/cd/UUID.git, nothing at all before the first push. Several processes may use a data folder; each
 * repository is one process's at a time, who gives it back when it closes the repository, is asked to, or hands over.
 * What engines see of a repository is in snapshot.h (refs, objects), walk.h, plan.h (packs to send) and append.h
 * (quarantine, ref updates); nothing else of the store leaks.
 */
#ifndef WR_GIT_H
#define WR_GIT_H

#include "core/base/error.h"
#include "core/git/oid.h"

struct wr_git;
struct wr_git_repo;
struct wr_cancel;
struct wr_event_sink;
struct wr_due_list;

struct wr_git_config {
	const char *data;	   /* the data folder; copied */
	uint64_t max_pack_bytes;   /* largest pack that a push may bring */
	uint32_t max_pack_objects; /* most objects in one pushed pack */
	uint64_t max_unpacked_bytes; /* most that the entries of one pushed pack may unpack to, all together */
	uint64_t max_object_bytes; /* largest object that is ever inflated into memory */
	unsigned max_delta_depth;  /* deltas of a pushed pack that may build on each other; 0: WR_DELTA_DEPTH (pack.h) */
	const char *fsck_ignore;   /* git's message ids that let an object pass, by spaces or commas; NULL: none; copied */
	/*
	 * Repositories kept open without a user, the memory that they may hold (0: no bound), and of their descriptors and
	 * maps at most a quarter of what the process may have. Those used last stay; the very last one whatever it holds.
	 */
	unsigned idle_repos;
	uint64_t idle_bytes;
	/* NULL: nobody wants events (a command without a server). Outlives the store. */
	const struct wr_event_sink *events;
	/* NULL, or how the default branch of a repository is known, for the HEAD that plain git sees. */
	enum wr_code (*default_branch)(void *arg, char *out, size_t cap, const char *id, struct wr_error *err);
	void *default_branch_arg;
	/*
	 * Objects that no ref reaches are kept for so long (milliseconds) after the checkpoint that found them unreached;
	 * never shorter than the longest push, which may refer to what its advertisement showed. 0: for ever.
	 */
	int64_t cruft_grace_ms;
	/* NULL, or the clock that this time is measured by (milliseconds since 1970), for tests. */
	int64_t (*now_ms)(void *arg);
	void *now_arg;
	/*
	 * NULL, or works out what others will ask for (derived.h): called before each checkpoint that has something to do,
	 * without the turn and without locks, on the thread that makes it. cancel (never NULL) says when to give up.
	 */
	void (*prepare)(struct wr_git *git, struct wr_git_repo *repo, const char *default_branch,
			const struct wr_cancel *cancel);
	bool no_keeper; /* no thread that checkpoints by itself (a command without a server) */
	const struct wr_due_list *due; /* NULL, or what remembers the care that is due (due.h). Outlives the store */
	unsigned care_threads;	       /* repositories that are cared for at once; 0: one */
	int64_t care_pause_ms;	       /* between one and the next */
	int64_t quiet_ms;	       /* without a write until a small checkpoint is due; 0: WR_DUE_QUIET_MS (due.h) */
	int64_t care_poll_ms;	       /* how often the list is asked for what others put there; 0: a minute */
	unsigned redelta_clones;       /* whole clones after which smaller deltas are looked for; 0: never */
	/*
	 * NULL, or asks another process to give this repository back: called now and then by who waits for its lock. May
	 * block for a second.
	 */
	void (*ask_owner)(void *arg, const char *id);
	void *ask_owner_arg;
};

/* Errors: WR_E_INVALID_REQUEST for a value of cfg that makes no sense (fsck_ignore names an unknown id). */
WR_MUST_CHECK enum wr_code wr_git_open(struct wr_git **out, const struct wr_git_config *cfg, struct wr_error *err);
void wr_git_close(struct wr_git *git);

/*
 * A handle to the repository with this id (a UUID in lower case, that a database row vouches for). A repository without
 * a folder is empty, which is no error and is not remembered.
 * Errors: WR_E_UNAVAILABLE, WR_E_REPO_PARKED (core/base/suspects.h), WR_E_INTERNAL (damage: a folder whose state file is
 * missing or does not parse).
 */
WR_MUST_CHECK enum wr_code wr_git_repo_open(struct wr_git_repo **out, struct wr_git *git, const char *id,
					    struct wr_error *err);
void wr_git_repo_unref(struct wr_git_repo *repo);
WR_DEFINE_AUTO_AS(wr_git_repo, struct wr_git_repo, wr_git_repo_unref);

/*
 * One ref of a repository, by its whole name, where that is known without a wait: for threads that may not wait for a disk.
 * False: it is not, so ask wr_git_repo_open() on another thread. *exists false: there is no such ref.
 */
bool wr_git_ref_now(struct wr_oid *out, bool *exists, struct wr_git *git, const char *id, struct wr_str name);

const char *wr_git_repo_id(const struct wr_git_repo *repo);

/*
 * Marks the repository dead: from now on appends answer WR_E_NOT_THERE, and new openings see an empty repository that
 * refuses appends. Readers finish on what they hold. In memory only; the database row is what lasts.
 */
void wr_git_kill(struct wr_git *git, const char *id);

/*
 * Removes the folder of a killed repository (or of one that was never opened by this process). Absent is success. A
 * power cut may bring it back, or some of it, until wr_git_remove_flush() has worked: so many can be removed one after
 * the other before the disk is waited for.
 * Errors: WR_E_UNAVAILABLE while another process has it, or makes it; WR_E_INTERNAL; may be called again.
 */
WR_MUST_CHECK enum wr_code wr_git_remove(struct wr_git *git, const char *id, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_git_remove_flush(struct wr_git *git, const char *id, struct wr_error *err);

/*
 * The row of a killed repository is gone, which refuses what is still to come for it: nothing is kept of it in memory
 * any more, once nobody holds a handle.
 */
void wr_git_forget(struct wr_git *git, const char *id);

/* ---- care ---- */

struct wr_git_info {
	bool exists;	/* has a folder */
	bool read_only; /* writes are refused until the disk works again, or because of damage */
	bool lost;	/* see checkpoint: a branch or tag was rewound or deleted since */
	uint64_t checkpoint, seq, refs;
	uint64_t journals, journal_bytes, journal_records;
	struct wr_git_pack_info {
		char name[46];
		const char *role; /* "base", "tail", "other", "cruft" or "journal": named by a record */
		uint64_t objects, bytes, dead;
	} *packs; /* malloc'ed */
	size_t pack_count;
};
void wr_git_info_fini(struct wr_git_info *info);
WR_DEFINE_AUTO_S(wr_git_info);
WR_MUST_CHECK enum wr_code wr_git_repo_info(struct wr_git_info *out, struct wr_git_repo *repo, struct wr_error *err);

/*
 * All that care can do, now: a checkpoint, the base written anew where anything is dead or lies beside it (whole), cruft
 * past its grace dropped; redelta: objects are packed anew by content, for repositories that are cloned often. Long;
 * beside writers and readers. What was done, in bytes and objects, for "warren repo maintain".
 */
struct wr_maintained {
	uint64_t bytes_before, bytes_after, cruft_objects, dropped_objects;
	bool rebased;
};
struct wr_progress;
WR_MUST_CHECK enum wr_code wr_git_repo_maintain(struct wr_maintained *out, struct wr_git_repo *repo, bool redelta,
						const struct wr_progress *progress, const struct wr_cancel *cancel,
						struct wr_error *err);

/*
 * Another process takes over (docs/design.md, "Hand-over"): from now on each repository is given back as soon as nobody has
 * its turn, taken again where a request here still needs it, and given back again. Readers finish on what they hold.
 * Returns at once; wr_git_owned() says how many this process still owns.
 */
WR_MUST_CHECK enum wr_code wr_git_hand_over(struct wr_git *git, struct wr_error *err);
size_t wr_git_owned(struct wr_git *git);
/* Another process asks for this one: it is given back as soon as nobody has its turn. Does not wait for that. */
void wr_git_yield(struct wr_git *git, const char *id);
/* Whether another process uses the data folder just now. */
bool wr_git_others(struct wr_git *git);

/*
 * Waits until the sink has the events of all records up to this sequence, for so long at most: for who is about to change
 * what they are judged by. Whether it has.
 */
bool wr_git_repo_events_reach(struct wr_git_repo *repo, uint64_t seq, int64_t ms);

/* A checkpoint now, also where none is due; waits for its end. *did: false where there was nothing to do. */
WR_MUST_CHECK enum wr_code wr_git_repo_checkpoint(bool *did, struct wr_git_repo *repo, struct wr_error *err);

#endif
