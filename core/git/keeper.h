/*
 * core/git/keeper.h: care for repositories, when it is due (due.h) and on request.
 *
 * Of repositories that are open and marked what is due is known in memory; of all others the list tells. When the mark of
 * one that waits here is taken back, it is let go of: the list has it from then on. What is taken from the list is moved
 * there by some minutes first, so that another process leaves it alone, and a crash does not repeat itself at once.
 * Where care fails, the repository is left alone for seconds, then minutes, then hours.
 * Ownership: wr_keeper_new()/wr_keeper_free() by the store.
 * Threads:   some of its own ("wr-keeper", niced), between begin and end; each has one repository at a time open for
 *            care, and beside that a reference is held to each marked one that waits. The functions may be called from
 *            any thread; wr_keeper_look() by the holder of the repository's turn.
 * Blocks on: wr_keeper_run() and wr_keeper_care() on disk, CPU and the database, for seconds on large repositories;
 *            wr_keeper_pace() as it says; the others do not block.
 */
#ifndef WR_KEEPER_H
#define WR_KEEPER_H

#include "core/git/due.h"
#include "core/git/git_internal.h"

struct wr_keeper;

WR_MUST_CHECK enum wr_code wr_keeper_new(struct wr_keeper **out, struct wr_git *git, struct wr_error *err);
/* With the events running: they and the keeper use one another. */
WR_MUST_CHECK enum wr_code wr_keeper_begin(struct wr_keeper *keeper, struct wr_error *err);
/* Breaks off what runs, leaving nothing behind, and takes nothing on any more. NULL-safe; may be called again. */
void wr_keeper_end(struct wr_keeper *keeper);
/* After the end, of the events too. NULL-safe. */
void wr_keeper_free(struct wr_keeper *keeper);

/* In all that follows keeper may be NULL, and then nothing happens. */

/* After an append: queues the repository where a checkpoint is due. */
void wr_keeper_look(struct wr_keeper *keeper, struct wr_git_repo *repo, const struct wr_snapshot *snap);
/*
 * Before an append, without the turn: where checkpoints do not keep up with writes the writer waits, up to a second, and is
 * refused (WR_E_UNAVAILABLE) when that is not enough.
 */
WR_MUST_CHECK enum wr_code wr_keeper_pace(struct wr_git_repo *repo, struct wr_error *err);

/* The list, if there is one, has the repository now, as due says: it need not wait here. */
void wr_keeper_settle(struct wr_keeper *keeper, struct wr_git_repo *repo, const struct wr_due *due);
/* What is due later, because care has failed of late. */
void wr_keeper_put_off(struct wr_due *due, struct wr_keeper *keeper, const struct wr_git_repo *repo);

/* Whoever looks at a repository: queues one that is cloned so often that smaller deltas are to be looked for. */
void wr_keeper_glance(struct wr_keeper *keeper, struct wr_git_repo *repo, const struct wr_snapshot *snap);
bool wr_keeper_wants_redelta(const struct wr_git_repo *repo, const struct wr_snapshot *snap);

/*
 * One checkpoint, beside running writers; WR_E_CANCELLED also where another process wants the repository. *did is false
 * where the journals hold nothing and nothing is past its grace, or there is no folder. keeper_run.c.
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
