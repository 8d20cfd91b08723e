/*
 * triggers/judge.h: whether an update is one that a trigger with globs wants to hear of, and whether it was forced.
 *
 * The changed paths of an update are those whose entry differs between the trees before and after; of a new branch before is
 * the merge base with the default branch as it was then, or else the empty tree. Trees are compared, folders that are the
 * same on both sides are not read, and it ends with the first path that matches. Where that would take too long, or what it
 * needs is not there any more, the update is wanted: a build too many is better than one missed. The hook's note says so.
 * Ownership: the hook is the caller's; note and forced are filled in.
 * Threads:   any.
 * Blocks on: disk, CPU within the bounds.
 * Errors:    WR_E_CANCELLED; WR_E_UNAVAILABLE where the repository cannot be opened just now: try again later.
 */
#ifndef WR_JUDGE_H
#define WR_JUDGE_H

#include "core/base/cancel.h"
#include "triggers/delivery.h"

struct wr_judge_bounds {
	uint64_t entries; /* of trees that are compared */
	uint64_t commits; /* that are walked for the merge base, or for forced */
	int64_t ms;	  /* of all of it, */
	int64_t cpu_ms;	  /* and of computing, while which others' updates wait */
};

/* globs: NULL, or the trigger's. default_branch: the repository's, as it is now. *wanted. */
WR_MUST_CHECK enum wr_code wr_hook_judge(bool *wanted, struct wr_hook *hook, json_t *globs, struct wr_git *git,
					 const char *default_branch, const struct wr_judge_bounds *bounds,
					 const struct wr_cancel *cancel, struct wr_error *err);

#endif
