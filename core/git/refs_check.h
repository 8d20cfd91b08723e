/*
 * core/git/refs_check.h: whether new objects are well formed and everything they refer to exists, with the right type.
 * Ownership: the struct is the caller's, wr_refs_check_fini(); what it points to must live as long.
 * Threads:   one per check; before may be read by several.
 * Blocks on: disk.
 * Errors:    WR_E_BAD_PACK with a sentence that names the object; WR_E_SHALLOW_ROOT.
 * Use: give every new object to wr_refs_check_object(), then say of each by wr_refs_check_found() that it came, then
 * ask wr_refs_check_end() whether all that was referred to has come or was there before.
 *
 * Well formed means two things: what the store's own readers need (parse.h), which nothing lets pass; and git's rules
 * (fsck.h). The blobs of which the rules want to see the content are only noted.
 */
#ifndef WR_REFS_CHECK_H
#define WR_REFS_CHECK_H

#include "core/git/fsck.h"
#include "core/git/snapshot_internal.h"

struct wr_refs_known;

struct wr_refs_check {
	const struct wr_snapshot *snap;
	/* NULL, or a check to which nothing is added any more: what it looks for need not be noted again. */
	const struct wr_refs_check *before;
	const struct wr_fsck_rules *rules; /* NULL: nothing is looked at but what readers need */
	/* NULL, or commits at which the sender's history ends: who has parents that are nowhere is a shallow root. */
	const struct wr_oidmap *roots;
	const struct wr_oidmap *cut; /* NULL, or commits whose parents the repository does without: nobody asks for them */
	struct wr_oidmap seen;	     /* what was referred to and is not in the snapshot: type, and whether it came */
	size_t missing;		     /* of seen, those that have not come */
	size_t rootless;	     /* of seen, those beside them that only roots refer to, and that have not come */
	size_t limit;		     /* more missing ones than this cannot all come: no need to remember further */
	struct wr_oidmap relied;     /* a set: objects of the snapshot that were referred to, and that no ref reaches there */
	struct wr_oidmap special;    /* blobs to look at, as wr_fsck_tree() notes them */
	struct wr_refs_known *known; /* some that the snapshot has, looked at lately */
	/*
	 * What objects refer to is somebody else's question, and what is wrong with one is no error: it is noted in faulty.
	 * snap may be NULL then.
	 */
	bool alone;
	struct wr_oidmap faulty; /* a set */
};
void wr_refs_check_fini(struct wr_refs_check *check);
WR_DEFINE_AUTO_S(wr_refs_check);

WR_MUST_CHECK enum wr_code wr_refs_check_object(struct wr_refs_check *check, const struct wr_oid *oid,
						enum wr_type type, struct wr_str bytes, struct wr_error *err);

/*
 * An object that a new one of the same type resembles. Its references were checked, or it is in the snapshot. sound:
 * by the rules of this check it has no fault, its entries are in order whatever the rules say, and the blobs to look
 * at are noted, all of it also if that happened in another check for the same push.
 */
struct wr_refs_like {
	struct wr_str bytes;
	bool sound;
};

/*
 * The same, with something that the object resembles, or NULL: what a tree has in common with it is not looked up
 * again, and if it is sound not looked at again. Most trees differ from their predecessor in one entry. *sound:
 * whether this object now is sound in that sense.
 */
WR_MUST_CHECK enum wr_code wr_refs_check_object_like(bool *sound, struct wr_refs_check *check, const struct wr_oid *oid,
						     enum wr_type type, struct wr_str bytes,
						     const struct wr_refs_like *like, struct wr_error *err);
/*
 * Whether an object of the snapshot can stand as something sound, though nobody knows under which rules it came: it is
 * looked at now. A fault in it is not the push's. One with blobs to look at is none either, because a push that takes
 * them away must not suffer for them.
 */
WR_MUST_CHECK enum wr_code wr_refs_check_stored(bool *sound, const struct wr_refs_check *check, enum wr_type type,
						struct wr_str bytes, struct wr_error *err);

WR_MUST_CHECK enum wr_code wr_refs_check_found(struct wr_refs_check *check, const struct wr_oid *oid, enum wr_type type,
					       struct wr_error *err);
/* Of several checks for one push: all are asked with rootless false first, so that what is plainly missing is told. */
WR_MUST_CHECK enum wr_code wr_refs_check_end(const struct wr_refs_check *check, bool rootless, struct wr_error *err);

#endif
