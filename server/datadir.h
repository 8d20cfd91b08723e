/*
 * server/datadir.h: the data folder and its lock: one server at a time uses a data folder.
 * Ownership: wr_datadir_lock() gives a descriptor whose closing (or the process's end) gives the lock back.
 * Threads:   the main thread. Blocks on: disk, and another server's end.
 */
#ifndef WR_DATADIR_H
#define WR_DATADIR_H

#include "core/base/error.h"

/* Makes the folder (mode 0700) where it is missing. */
WR_MUST_CHECK enum wr_code wr_datadir_make(const char *path, struct wr_error *err);

/* Waits up to wait_ms for a server that is just stopping. WR_E_EXISTS when another one keeps the folder. */
WR_MUST_CHECK enum wr_code wr_datadir_lock(int *fd, const char *path, int64_t wait_ms, struct wr_error *err);

/* Whether this descriptor, which the program before has locked, is of this folder. */
WR_MUST_CHECK enum wr_code wr_datadir_same(const char *path, int lock, struct wr_error *err);

#endif
