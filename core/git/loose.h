/*
 * core/git/loose.h: objects that plain git has as files of their own ("type size\0content", as a zlib stream, in
 * objects/ab/cdef...), made into a pack.
 * Ownership: *out is the caller's, wr_loose_fini().
 * Threads:   one per call.
 * Blocks on: disk, CPU.
 * Errors:    WR_E_CANCELLED, WR_E_STORAGE_FULL, WR_E_UNAVAILABLE, WR_E_INTERNAL, and those of below.h.
 * Content goes through small buffers whatever its size; nothing is allocated because of a claim.
 */
#ifndef WR_LOOSE_H
#define WR_LOOSE_H

#include "core/git/plan.h"

/* The length of the header at the front of an inflated object, its NUL included; 0: none that git would read. */
size_t wr_loose_head(enum wr_type *type, uint64_t *size, const uint8_t *bytes, size_t len);
/* What stands before the header's NUL in the longest one. */
#define WR_LOOSE_HEAD_MAX 32

struct wr_loose {
	uint32_t count; /* of the pack; 0: there is none */
	/* What the files that it was made of were called; nobody has compared that with their ids. */
	struct wr_oids named;
	struct wr_oidmap damaged; /* names of files that hold no object, or one of more than max_object bytes */
};
void wr_loose_fini(struct wr_loose *loose);
WR_DEFINE_AUTO_S(wr_loose);

/*
 * <name>.pack in the folder `to`, of all objects below `objects` that have does not have; not flushed, without an
 * index, and nobody has looked at the objects but that their streams are whole.
 */
WR_MUST_CHECK enum wr_code wr_loose_pack(struct wr_loose *out, int objects, int to, const char *name,
					 const struct wr_snapshot *have, uint64_t max_object,
					 const struct wr_progress *progress, const struct wr_cancel *cancel,
					 struct wr_error *err);

#endif
