/*
 * core/git/refs_check.h: whether new objects are well formed and everything they refer to exists, with the right type.
 * Ownership: the struct is the caller's, wr_refs_check_fini(); the snapshot must live as long.
 * Threads:   one per check.
 * Blocks on: disk.
 * Errors:    WR_E_BAD_PACK with a sentence that names the object.
 * Use: give every new object to wr_refs_check_object(), then say of each by wr_refs_check_found() that it came, then
 * ask wr_refs_check_end() whether all that was referred to has come or was there before.
 */
#ifndef WR_REFS_CHECK_H
#define WR_REFS_CHECK_H

#include "core/git/oidmap.h"
#include "core/git/snapshot.h"

struct wr_refs_check {
	const struct wr_snapshot *snap;
	struct wr_oidmap seen; /* what was referred to: type, and whether it exists */
	size_t missing;	       /* of seen, those not found yet */
	size_t limit;	       /* more missing ones than new objects: no need to remember further */
};
void wr_refs_check_fini(struct wr_refs_check *check);
WR_DEFINE_AUTO_S(wr_refs_check);

WR_MUST_CHECK enum wr_code wr_refs_check_object(struct wr_refs_check *check, const struct wr_oid *oid,
						enum wr_type type, struct wr_str bytes, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_refs_check_found(struct wr_refs_check *check, const struct wr_oid *oid, enum wr_type type,
					       struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_refs_check_end(const struct wr_refs_check *check, struct wr_error *err);

#endif
