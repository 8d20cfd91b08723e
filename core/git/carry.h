/*
 * core/git/carry.h: what refs of a repository here reach, brought to another folder: packs that hold nothing else come
 * as they are, as hard links or copies, all else as packs of its own. Exactly that: nothing more comes along. What heads
 * and tags reach and what only other refs do come in packs of their own, as their roles want it (refsfile.h).
 * Ownership: the struct is the caller's: zero but for the inputs and from (-1), then wr_carry_fini(), also after
 *            an error.
 *            wr_carry_choose() borrows snap, cancel and err for as long.
 * Threads:   one per carry.
 * Blocks on: disk; CPU for seconds where the packs of a large source are not exact.
 * Errors:    WR_E_INTERNAL (damage in what is needed; I/O), WR_E_STORAGE_FULL, WR_E_CANCELLED, WR_E_UNAVAILABLE.
 *            Files are left then.
 */
#ifndef WR_CARRY_H
#define WR_CARRY_H

#include "core/git/closure.h"
#include "core/git/plan.h"

struct wr_git_repo;

struct wr_carry {
	/* Inputs: each value is one that refs of the source reach. */
	const struct wr_ref *refs;
	size_t ref_count;
	bool may_link;
	const struct wr_progress *progress; /* NULL: none */
	/* Outputs of wr_carry_bring(): the packs that came (base, tails, others), how they came, and bytes written. */
	struct wr_member *members;
	size_t member_count;
	unsigned linked, copied;
	uint64_t written;
	/* Inside. */
	struct wr_snapshot *snap; /* of the source */
	int from, to;		  /* objects/pack of both; from is -1 where the source has gone */
	struct wr_closure closure;
	uint64_t reached; /* by the walk */
	/* What heads and tags reach; what only other refs do. */
	struct wr_carry_part {
		uint32_t *whole; /* sources that come as they are */
		size_t whole_count;
		struct wr_place *places; /* entries to copy */
		size_t place_count, place_cap;
	} parts[2];
	const struct wr_cancel *cancel;
	struct wr_error *err;
};
void wr_carry_fini(struct wr_carry *c);
WR_DEFINE_AUTO_S(wr_carry);

WR_MUST_CHECK enum wr_code wr_carry_choose(struct wr_carry *c, const struct wr_git_repo *source,
					   struct wr_snapshot *snap, const struct wr_cancel *cancel,
					   struct wr_error *err);
/* Into the folder (objects/pack, an open descriptor), each file flushed, the folder not. */
WR_MUST_CHECK enum wr_code wr_carry_bring(struct wr_carry *c, int to);
/* Roots of a source whose history is cut, as far as they come along. */
WR_MUST_CHECK enum wr_code wr_carry_roots(struct wr_oids *out, const struct wr_carry *c);

#endif
