/*
 * core/git/folder.h: one repository's folder on disk while this process owns it: opening and recovery, the first push,
 * switching journals and checkpoints, closing. docs/store-format.md describes the files.
 * Ownership: a wr_folder is its handle's (repo->folder); wr_folder_close() releases lock and descriptors.
 * Threads:   one at a time: whoever loads the repository, later the holder of its turn.
 * Blocks on: disk; opening on the lock, briefly.
 * Errors:    WR_E_UNAVAILABLE (another process owns it, descriptors), WR_E_STORAGE_FULL, WR_E_INTERNAL (damage, I/O).
 */
#ifndef WR_FOLDER_H
#define WR_FOLDER_H

#include <limits.h>

#include "core/git/snapshot_internal.h"

struct wr_git;

/* A journal that a checkpoint covers, kept until its events are handed over. */
struct wr_old_journal {
	uint64_t number, last_seq;
	struct wr_journal *journal;
};

struct wr_folder {
	int dir, warren, lock;
	_Atomic uint64_t checkpoint; /* as warren/current says, */
	uint64_t first_journal;	     /* and this */
	uint64_t next_checkpoint, next_journal; /* numbers that no file has */
	struct wr_old_journal *old;
	size_t old_count;
	atomic_bool damaged; /* a journal has a bad record before what was flushed: writes are refused */
	/*
	 * The last journal's file may hold what nobody was told of, or less than is in memory: before anything is
	 * written a copy has to take its place.
	 */
	atomic_bool to_copy; /* what is atomic: written within the turn, read anywhere */
	uint32_t keep; /* the records to copy */
};

/*
 * Takes the lock, reads what is there, recovers it after an unclean end. *out stays NULL when there is no folder. *held:
 * it is WR_E_UNAVAILABLE because another process has the lock.
 */
WR_MUST_CHECK enum wr_code wr_folder_open(struct wr_folder **out, struct wr_snapshot **snap, bool *held,
					  const struct wr_git *git, const char *id, struct wr_error *err);
/* Only the lock, as a descriptor to close; -1 where there is nothing to lock. For removing the folder. */
WR_MUST_CHECK enum wr_code wr_folder_seize(int *lock, const struct wr_git *git, const char *id, struct wr_error *err);

/* clean: everything of the last journal of snap is flushed, so that the next opening may believe the file. */
void wr_folder_close(struct wr_folder *f, const struct wr_snapshot *snap, bool clean);

/*
 * A new folder: make builds one beside its place, locked and without anything to read in it; start puts a checkpoint in
 * force (0: the empty one; *snap is what it is) and an empty journal, which *snap, replaced, then has; finish moves it
 * into place, abort removes it.
 */
WR_MUST_CHECK enum wr_code wr_folder_make(struct wr_folder **out, char built[PATH_MAX], const struct wr_git *git,
					  const char *id, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_folder_start(struct wr_folder *f, struct wr_snapshot **snap, uint64_t checkpoint,
					   struct wr_error *err);

/*
 * The first push, in three steps: begin makes the folder beside its place, with an empty journal, which snap then has;
 * finish, once the journal holds its first record, flushed, moves it into place; abort removes what begin made. roots:
 * NULL, or where the history that comes ends: then there is a checkpoint of these alone.
 */
WR_MUST_CHECK enum wr_code wr_folder_begin(struct wr_folder **out, struct wr_snapshot **snap, char built[PATH_MAX],
					   struct wr_git *git, const char *id, const struct wr_oids *roots,
					   struct wr_error *err);
/*
 * WR_E_EXISTS where another process was faster; WR_E_NOT_THERE where the repository's row is gone or going. *unknown: a
 * flush failed after the rename, and the rename could not be taken back.
 */
WR_MUST_CHECK enum wr_code wr_folder_finish(struct wr_folder *f, bool *unknown, const char *built, struct wr_git *git,
					    const char *id, struct wr_error *err);
void wr_folder_abort(struct wr_folder *f, const char *built);

/* Ready for a record: makes the copy that to_copy asks for, and gives the snapshot to go on from. */
WR_MUST_CHECK enum wr_code wr_folder_ready(struct wr_folder *f, struct wr_snapshot **snap, struct wr_error *err);

/* An empty journal behind the others; *snap is replaced by one that has it. */
WR_MUST_CHECK enum wr_code wr_folder_turn_journal(struct wr_folder *f, struct wr_snapshot **snap,
						  struct wr_error *err);

/* snap as it was at the end of its first `journals` journals. */
WR_MUST_CHECK enum wr_code wr_folder_restrict(struct wr_snapshot **out, const struct wr_folder *f,
					      const struct wr_snapshot *snap, size_t journals, struct wr_error *err);

/* snap's first journals go to the list of old ones, from which the events of their records are still read; and back. */
WR_MUST_CHECK enum wr_code wr_folder_keep_old(struct wr_folder *f, const struct wr_snapshot *snap, size_t journals,
					      struct wr_error *err);
void wr_folder_forget_old(struct wr_folder *f, size_t journals);

struct wr_checkpoint;
/*
 * Puts a checkpoint of snap's first `journals` journals in force: warren/current, then *next, which has the later
 * journals only. After an error nothing has changed but perhaps the file, which is right either way.
 */
WR_MUST_CHECK enum wr_code wr_folder_switch(struct wr_snapshot **next, struct wr_folder *f,
					    const struct wr_snapshot *snap, const struct wr_checkpoint *c,
					    size_t journals, struct wr_error *err);
/*
 * Writes what plain git reads, as the checkpoint in force has it, with this default branch. A failure is only logged: plain
 * git then sees an older state.
 */
#define WR_BRANCH_ROOM 512
void wr_folder_default_branch(char out[WR_BRANCH_ROOM], const struct wr_git *git, const char *id);
void wr_folder_export(const struct wr_folder *f, const struct wr_snapshot *snap, const char *branch);

/* Removes packs and ref files that neither snap nor the checkpoint in force names. */
void wr_folder_sweep(struct wr_folder *f, const struct wr_snapshot *snap, unsigned *removed);
/* Journals whose events are handed over up to this sequence: taken from the list, then their files removed. */
size_t wr_folder_take_old(struct wr_old_journal *out, size_t max, struct wr_folder *f, uint64_t delivered);
void wr_folder_drop_old(struct wr_folder *f, const struct wr_old_journal *old, size_t n);

#endif
