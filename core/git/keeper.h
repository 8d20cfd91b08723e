/*
 * core/git/keeper.h: checkpoints, when they are due and on request.
 * Ownership: wr_keeper_start()/wr_keeper_stop() by the store.
 * Threads:   one of its own ("wr-keeper", niced), which holds a reference to each repository that waits. The functions may
 *            be called from any thread; wr_keeper_look() by the holder of the repository's turn.
 * Blocks on: wr_keeper_run() on disk and CPU, for seconds on large repositories; the others do not block.
 */
#ifndef WR_KEEPER_H
#define WR_KEEPER_H

#include "core/git/git_internal.h"

struct wr_keeper;

WR_MUST_CHECK enum wr_code wr_keeper_start(struct wr_keeper **out, struct wr_git *git, struct wr_error *err);
/* Breaks off what runs, leaving nothing behind, and takes nothing on any more. NULL-safe; may be called again. */
void wr_keeper_end(struct wr_keeper *keeper);
/* The same, and releases it. */
void wr_keeper_stop(struct wr_keeper *keeper);

/* After an append: queues the repository where a checkpoint is due. */
void wr_keeper_look(struct wr_keeper *keeper, struct wr_git_repo *repo, const struct wr_snapshot *snap);

/*
 * Whoever looks at a repository: queues it where objects that no ref reaches are past their grace. When that will be lies in
 * the snapshot; a repository that nobody opens keeps them.
 */
void wr_keeper_glance(struct wr_keeper *keeper, struct wr_git_repo *repo, const struct wr_snapshot *snap);

/*
 * One checkpoint, beside running writers; WR_E_CANCELLED also where another process wants the repository. *did is false
 * where the journals hold nothing and nothing is past its grace, or there is no folder.
 */
WR_MUST_CHECK enum wr_code wr_keeper_run(bool *did, struct wr_git_repo *repo, const struct wr_cancel *cancel,
					 struct wr_error *err);

struct wr_checkpoint;
struct wr_checkpoint_manner;
/*
 * The same, and what was done; c is zeros before. manner: NULL, or it is done anyway, and as wr_checkpoint_how has it
 * (checkpoint.h).
 */
WR_MUST_CHECK enum wr_code wr_keeper_care(struct wr_checkpoint *c, bool *did, struct wr_git_repo *repo,
					  const struct wr_checkpoint_manner *manner, const struct wr_cancel *cancel,
					  struct wr_error *err);

#endif
