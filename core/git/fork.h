/*
 * core/git/fork.h: a new repository here from refs of another one here, without reading its objects where that can be.
 * Packs that hold nothing but what the refs reach become hard links (copies where the file system has no more links to
 * give); everything else that they reach is copied into a pack of the new repository's own. Journals are never shared,
 * and nothing comes along that the refs do not reach. From then on neither knows of the other.
 * Ownership: nothing is kept of what is passed.
 * Threads:   any; one fork per new id at a time.
 * Blocks on: disk; CPU for seconds where the packs of a large source are not exact (a branch was rewound or deleted since
 *            its last checkpoint, or only some of its branches are wanted).
 * Errors:    WR_E_INTERNAL (damage in what is needed; I/O), WR_E_STORAGE_FULL, WR_E_CANCELLED, WR_E_UNAVAILABLE. After an
 *            error nothing of the new repository is left, or what the removal of its row removes.
 */
#ifndef WR_FORK_H
#define WR_FORK_H

#include "core/git/walk.h"

struct wr_fork {
	/* What the new repository's refs are; each value is one that refs of source reach (reach.h). At least one. */
	const struct wr_ref *refs;
	size_t ref_count;
	struct wr_str default_branch; /* for the HEAD that plain git sees */
	/* Outputs: packs that are links and copies, and bytes that were written. */
	unsigned linked, copied;
	uint64_t written;
};

/*
 * snap: of source, taken by the caller, so that what he judged is what is forked. id: of the new repository, whose row
 * exists and which nobody has opened yet; it has a folder when this returns WR_OK. Raises no events.
 */
WR_MUST_CHECK enum wr_code wr_git_fork(struct wr_fork *fork, struct wr_git *git, const char *id,
				       const struct wr_git_repo *source, struct wr_snapshot *snap,
				       const struct wr_cancel *cancel, struct wr_error *err);

#endif
