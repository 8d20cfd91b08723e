/*
 * core/git/reach.h: whether the refs that clients see reach an object, of whatever type.
 * Ownership: wr_reach_new() takes its own reference to the snapshot; wr_reach_free() releases all. cancel is borrowed.
 * Threads:   one per wr_reach.
 * Blocks on: disk. Nothing is read before the first question.
 * Errors:    WR_E_CANCELLED, WR_E_INTERNAL (what refs reach is missing or damaged), WR_E_UNAVAILABLE.
 *
 * Base and tails are what branches and tags reached at the checkpoint, so most questions are one look into their indexes.
 * The rest needs a walk over what came since; and where a branch or tag was rewound or deleted since, first one over
 * what only its old value reached: of that part alone nothing is taken for granted.
 *
 * Objects that are stored but not reached answer exactly as those that nobody ever stored do, and the work until the
 * answer does not depend on which of both it is.
 */
#ifndef WR_REACH_H
#define WR_REACH_H

#include "core/git/walk.h"

struct wr_reach;

/* snap has its list of refs (wr_snapshot_take()). */
WR_MUST_CHECK enum wr_code wr_reach_new(struct wr_reach **out, struct wr_snapshot *snap, const struct wr_cancel *cancel,
					struct wr_error *err);
void wr_reach_free(struct wr_reach *reach);
WR_DEFINE_AUTO(wr_reach);

/*
 * For haves: commits and tags only. false also where only a walk over all history would tell; a pack then is larger than
 * it need be. Shallow lines need more (wr_reach_each()): not to know one, where its children are known, would take the
 * client for having all that lies behind it. Constant work after the first call.
 */
WR_MUST_CHECK enum wr_code wr_reach_cheap(bool *out, struct wr_reach *reach, const struct wr_oid *oid,
					  struct wr_error *err);

/*
 * For wants: exact, for objects of every type, by at most one walk however many they are. *first_bad: the place of the
 * first that no ref reaches, or oids->len.
 */
WR_MUST_CHECK enum wr_code wr_reach_all(size_t *first_bad, struct wr_reach *reach, const struct wr_oids *oids,
					struct wr_error *err);

/* The same for each, and for shallow lines: yes[i] says whether oids->v[i] is reached. */
WR_MUST_CHECK enum wr_code wr_reach_each(bool *yes, struct wr_reach *reach, const struct wr_oids *oids,
					 struct wr_error *err);

/* How many objects all walks of this wr_reach looked at so far. Tests see by it that no answer took longer than another. */
uint64_t wr_reach_steps(const struct wr_reach *reach);

#endif
