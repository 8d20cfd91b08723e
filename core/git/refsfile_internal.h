/*
 * core/git/refsfile_internal.h: the ref file over bytes in memory, for tests and fuzzing.
 */
#ifndef WR_REFSFILE_INTERNAL_H
#define WR_REFSFILE_INTERNAL_H

#include "core/git/refsfile.h"

/* As wr_refsfile_open() of a file with these bytes, which stay the caller's and must outlive it. */
WR_MUST_CHECK enum wr_code wr_refsfile_of_bytes(struct wr_refsfile **out, struct wr_str bytes, uint64_t number,
						struct wr_error *err);

#endif
