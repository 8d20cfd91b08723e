/*
 * core/git/delta_make.h: a delta (gitformat-pack, "Deltified representation") that makes target of base.
 * Ownership: *out is malloc'ed.
 * Threads:   values, no state.
 * Errors:    WR_E_UNAVAILABLE (memory). WR_E_NOT_THERE (nothing written to err): none smaller than max bytes was found.
 */
#ifndef WR_DELTA_MAKE_H
#define WR_DELTA_MAKE_H

#include "core/base/error.h"
#include "core/base/str.h"

WR_MUST_CHECK enum wr_code wr_delta_make(uint8_t **out, size_t *len, struct wr_str base, struct wr_str target, size_t max,
					 struct wr_error *err);

#endif
