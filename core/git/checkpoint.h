/*
 * core/git/checkpoint.h: turns journals and loose packs into tail and base packs and a ref file, beside running writers.
 * Ownership: wr_checkpoint_build() fills *out; release it with wr_checkpoint_fini(). The snapshot stays the caller's.
 * Threads:   one build at a time for one repository; the caller sees to that.
 * Blocks on: disk, CPU for seconds on large repositories.
 * Errors:    WR_E_CANCELLED, WR_E_STORAGE_FULL, WR_E_INTERNAL. After an error no file of it is left but what could not be
 *            removed, which the next opening sweeps.
 */
#ifndef WR_CHECKPOINT_H
#define WR_CHECKPOINT_H

#include "core/git/snapshot_internal.h"
#include "core/git/unreached.h"

struct wr_checkpoint {
	uint64_t number;
	struct wr_refsfile *stored; /* the new <number>.refs, open */
	struct wr_member *members;  /* as the new snapshots have them: base, tails, others; a reference each */
	size_t member_count;
	/* What happened, for logs and "warren repo checkpoint". */
	uint64_t written;      /* bytes of packs and ref file */
	uint32_t gained, died; /* objects of the closure */
	uint64_t cruft, dropped; /* objects that no ref reaches: those that are kept, and those that go now */
	bool rebased;	       /* the base was written anew */
};
void wr_checkpoint_fini(struct wr_checkpoint *c);
WR_DEFINE_AUTO_S(wr_checkpoint);

/* More than is due. */
struct wr_checkpoint_manner {
	bool whole;   /* base, packs of other refs and cruft become one pack each, without what does not count in it */
	bool redelta; /* the base is packed anew, with deltas found by content, where that makes it smaller */
	const struct wr_progress *progress; /* NULL: nobody asks */
};

struct wr_checkpoint_how {
	struct wr_grace grace; /* zeros: nothing is ever dropped, and times are of 1970 */
	const struct wr_checkpoint_manner *manner; /* NULL: what is due */
};

/*
 * Everything of the snapshot (refs, objects of members and journals) as checkpoint <number>: new packs in packs (a
 * descriptor of objects/pack), <number>.refs in warren, all flushed with both folders. Nothing that exists is changed.
 * Objects that no head and no tag reaches go to other packs, those that no ref reaches to packs of cruft; they are dropped
 * once they are past their grace. What is not in out->members afterwards may be removed once the checkpoint is in force.
 */
WR_MUST_CHECK enum wr_code wr_checkpoint_build(struct wr_checkpoint *out, struct wr_snapshot *snap, int packs, int warren,
					       uint64_t number, const struct wr_checkpoint_how *how,
					       const struct wr_cancel *cancel, struct wr_error *err);

/* Removes what was built and was not put in force. */
void wr_checkpoint_undo(const struct wr_checkpoint *c, const struct wr_snapshot *snap, int packs, int warren);

/*
 * What plain git reads beside the packs: packed-refs, HEAD (refs/heads/<default_branch>) and shallow, each replaced only
 * where it differs. Refs are those of the snapshot's checkpoint, all of whose objects are in packs. dir: the repository's
 * folder.
 */
WR_MUST_CHECK enum wr_code wr_checkpoint_export(int dir, const struct wr_snapshot *snap, struct wr_str default_branch,
						struct wr_error *err);

#endif
