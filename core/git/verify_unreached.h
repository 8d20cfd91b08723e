/*
 * core/git/verify_unreached.h: whether what packs say of objects that no ref reaches is true; a part of verify.h.
 * Ownership: everything is borrowed for the time of the call.
 * Threads:   one.
 * Blocks on: disk.
 * Errors:    WR_E_CANCELLED, WR_E_UNAVAILABLE. All else is told.
 *
 * Checked: that cruft has its times, and none before the one that the ref file names; that what an object refers to which no
 * ref reaches is there, and is not older than it; and where no ref changed since the checkpoint, that each object is in a
 * pack of the role that it should be in, with a time if and only if no ref reaches it.
 */
#ifndef WR_VERIFY_UNREACHED_H
#define WR_VERIFY_UNREACHED_H

#include "core/git/closure.h"

struct wr_verify_unreached {
	struct wr_closure *closure; /* a full walk of all refs has ended; marks more */
	const uint64_t *const *heads; /* its marks after the heads and tags */
	int packs; /* -1: times of cruft are not looked at */
	void (*tell)(void *arg, const char *text);
	void *arg;
};
WR_MUST_CHECK enum wr_code wr_verify_unreached(const struct wr_verify_unreached *v, struct wr_error *err);

#endif
