/*
 * core/git/refs_check.h: whether new objects are well formed and everything they refer to exists, with the right type.
 * Ownership: the struct is the caller's, wr_refs_check_fini(); the snapshot must live as long.
 * Threads:   one per check; before may be read by several.
 * Blocks on: disk.
 * Errors:    WR_E_BAD_PACK with a sentence that names the object.
 * Use: give every new object to wr_refs_check_object(), then say of each by wr_refs_check_found() that it came, then
 * ask wr_refs_check_end() whether all that was referred to has come or was there before.
 */
#ifndef WR_REFS_CHECK_H
#define WR_REFS_CHECK_H

#include "core/git/oidmap.h"
#include "core/git/snapshot.h"

struct wr_refs_known;

struct wr_refs_check {
	const struct wr_snapshot *snap;
	/* NULL, or a check to which nothing is added any more: what it looks for need not be noted again. */
	const struct wr_refs_check *before;
	struct wr_oidmap seen;	     /* what was referred to and is not in the snapshot: type, and whether it came */
	size_t missing;		     /* of seen, those that have not come */
	size_t limit;		     /* more missing ones than this cannot all come: no need to remember further */
	struct wr_refs_known *known; /* some that the snapshot has, looked at lately */
};
void wr_refs_check_fini(struct wr_refs_check *check);
WR_DEFINE_AUTO_S(wr_refs_check);

WR_MUST_CHECK enum wr_code wr_refs_check_object(struct wr_refs_check *check, const struct wr_oid *oid,
						enum wr_type type, struct wr_str bytes, struct wr_error *err);
/*
 * The same. like: NULL, or an object of the same type that was checked before, or is in the snapshot. What a tree has
 * in common with it is not looked up again: most trees differ from their predecessor in one entry.
 */
WR_MUST_CHECK enum wr_code wr_refs_check_object_like(struct wr_refs_check *check, const struct wr_oid *oid,
						     enum wr_type type, struct wr_str bytes, const struct wr_str *like,
						     struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_refs_check_found(struct wr_refs_check *check, const struct wr_oid *oid, enum wr_type type,
					       struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_refs_check_end(const struct wr_refs_check *check, struct wr_error *err);

#endif
