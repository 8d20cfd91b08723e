/*
 * core/git/verify.h: looks at everything a repository consists of, and says what is wrong.
 * Ownership: wr_verify() fills the caller's struct, also when it finds problems; wr_verified_fini() releases it.
 * Threads:   one per call; beside writers and readers, since it looks at a snapshot.
 * Blocks on: disk, CPU: it unpacks every object (about 30 s for 400,000).
 * Errors:    WR_E_CANCELLED, WR_E_UNAVAILABLE. Damage is no error but a problem that is reported.
 *
 * Checked: each pack against its trailer, index, sums of entries and reverse index; each object (of packs and journals)
 * against its id, and with libgit2's parsers unless it is a blob; that refs lead to objects (also by libgit2, through
 * core/git/libgit2.h), all that those reach is there and of the right type; that base and tails hold nothing twice, and
 * nothing alive that heads and tags do not reach while the snapshot says so; that what no ref reaches has a time, and all
 * that it needs (verify_unreached.h).
 */
#ifndef WR_VERIFY_H
#define WR_VERIFY_H

#include "core/git/snapshot.h"
#include "core/git/walk.h"

#define WR_VERIFY_PROBLEMS 100 /* more are counted, but not kept */

struct wr_verified {
	uint64_t refs, packs, journals;
	uint64_t objects; /* entries of packs and rows of journals; some objects may be stored more than once */
	uint64_t commits, trees, blobs, tags;
	uint64_t reachable;    /* objects that refs reach, each once */
	uint64_t closure;      /* of them, from heads and tags */
	uint64_t pack_bytes;   /* packs and their indexes */
	uint64_t object_bytes; /* unpacked, of all entries */
	uint64_t problem_count;
	char *problems[WR_VERIFY_PROBLEMS]; /* sentences */
	size_t problems_kept;
};
void wr_verified_fini(struct wr_verified *v);
WR_DEFINE_AUTO_S(wr_verified);

/* packs: a descriptor of objects/pack, for the reverse indexes; -1: they are not looked at. */
WR_MUST_CHECK enum wr_code wr_verify(struct wr_verified *out, struct wr_snapshot *snap, int packs,
				     const struct wr_cancel *cancel, struct wr_error *err);
/* The same of a repository as it is now. */
WR_MUST_CHECK enum wr_code wr_verify_repo(struct wr_verified *out, struct wr_git_repo *repo,
					  const struct wr_cancel *cancel, struct wr_error *err);

#endif
