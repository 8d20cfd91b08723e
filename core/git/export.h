/*
 * core/git/export.h: the files of plain git that stand beside its objects, as text: packed-refs, shallow and HEAD.
 * Ownership: out is the caller's; wr_buf_ok() tells whether all of it had room.
 * Threads:   values, no state.
 */
#ifndef WR_EXPORT_H
#define WR_EXPORT_H

#include "core/base/buf.h"
#include "core/git/oidmap.h"
#include "core/git/snapshot.h"

/* packed-refs: the first line, then each ref, by name. */
void wr_export_refs_begin(struct wr_buf *out);
void wr_export_ref(struct wr_buf *out, const struct wr_ref *ref);
void wr_export_shallow(struct wr_buf *out, const struct wr_oids *roots);
/* HEAD at refs/heads/<branch>. */
void wr_export_head(struct wr_buf *out, struct wr_str branch);

#endif
