/*
 * server/reaper.h: the thread that removes the folders of deleted repositories.
 * Deletion marks a row and answers; this removes the folder, then the row. What a stop or a crash leaves, the next
 * start finds, because the rows last: the row in its state is the queued job. Each look begins with the creations whose
 * makers are gone (wr_repo_abandon_creations()).
 * Some are removed at a time, then flushed, then their rows go in one transaction: a thousand deletions are a matter of
 * seconds. The folders repos/ab/cd stay, also empty ones: they are 65,536 at most, and the next repositories' own.
 * Ownership: wr_reaper_start()/wr_reaper_stop() by the program; db and git outlive it.
 * Threads:   one of its own; wr_reaper_poke() from any.
 * Blocks on: its thread on disk and SQLite, wr_reaper_stop() until that has finished one repository.
 * Errors:    WR_E_UNAVAILABLE (no thread), the database's. A folder that cannot be removed is logged and tried again
 *            after a while.
 */
#ifndef WR_REAPER_H
#define WR_REAPER_H

#include "core/git/git.h"
#include "core/store/db.h"

struct wr_reaper;

WR_MUST_CHECK enum wr_code wr_reaper_start(struct wr_reaper **out, struct wr_db *db, struct wr_git *git,
					   struct wr_error *err);
/* NULL is allowed. */
void wr_reaper_stop(struct wr_reaper *reaper);

/* There is something to remove. NULL is allowed. */
void wr_reaper_poke(struct wr_reaper *reaper);

/*
 * The row of this repository says "deleting" since a moment ago: from here on this process writes nothing to it. For
 * who deletes, before the answer; wr_reaper_poke() then.
 */
void wr_reaper_kill(struct wr_db *db, struct wr_git *git, const char *account_id, const char *repo_id);

#endif
