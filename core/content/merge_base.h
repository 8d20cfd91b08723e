/*
 * core/content/merge_base.h: what two commits have in common, by a walk from both that goes back as far as it has to and no
 * further: for answers that are wanted once, and within bounds. Counts of commits are history.h's.
 * Ownership: nothing is kept.
 * Threads:   any; a call uses the snapshot read-only.
 * Blocks on: disk and CPU. Asks cancel at each commit.
 * Errors:    WR_E_INVALID_REQUEST with a sentence where commits_max is met; WR_E_NOT_THERE where one of the two is not
 *            stored; WR_E_INTERNAL (it is no commit, or damaged), WR_E_CANCELLED, WR_E_UNAVAILABLE.
 */
#ifndef WR_MERGE_BASE_H
#define WR_MERGE_BASE_H

#include "core/git/walk.h"

struct wr_relation {
	const struct wr_snapshot *snap;
	const struct wr_cancel *cancel;
	uint64_t commits_max; /* of all questions together */
	uint64_t commits;     /* that were read so far */
};

/* Whether b's history has a; so it does where both are the same. */
WR_MUST_CHECK enum wr_code wr_is_ancestor(bool *out, struct wr_relation *r, const struct wr_oid *a, const struct wr_oid *b,
					  struct wr_error *err);

/*
 * A best common ancestor: one that no other common ancestor descends from. Of several the youngest. *has false: the
 * histories have nothing in common.
 */
WR_MUST_CHECK enum wr_code wr_merge_base(bool *has, struct wr_oid *out, struct wr_relation *r, const struct wr_oid *a,
					 const struct wr_oid *b, struct wr_error *err);

#endif
