/*
 * core/base/cancel.h: how a long call learns that nobody waits for it any more.
 * Ownership: borrowed.
 * Threads:   fn may be called from any thread that works for the call.
 */
#ifndef WR_CANCEL_H
#define WR_CANCEL_H

#include "core/base/error.h"

/* NULL pointer, or NULL fn: never. */
struct wr_cancel {
	bool (*fn)(void *arg);
	void *arg;
};

/* WR_E_CANCELLED once it is so. */
WR_MUST_CHECK static inline enum wr_code wr_cancelled(const struct wr_cancel *cancel, struct wr_error *err)
{
	if (cancel && cancel->fn && cancel->fn(cancel->arg))
		return wr_fail(err, WR_E_CANCELLED, "given up");
	return WR_OK;
}

#endif
