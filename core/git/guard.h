/*
 * core/git/guard.h: maps of files that a bad disk may take away.
 * Where a page of a guarded map cannot be read (a bad sector, a file that somebody cut), the kernel sends SIGBUS, which
 * would end the process and with it the service of every other repository. Here such a page becomes zeros for as long
 * as the map lasts: what reads it finds damage, as it does for wrong bytes on the disk. Only for maps whose readers
 * check what they read, and never for what is still to be written.
 * Ownership: wr_guard_new() gives a guard; wr_guard_free() takes it back, before the map goes. It is NULL-safe.
 * Threads:   any; the signal arrives in the thread that read.
 */
#ifndef WR_GUARD_H
#define WR_GUARD_H

#include "core/base/error.h"

struct wr_guard;

/* The first one takes SIGBUS over for the process. Errors: WR_E_UNAVAILABLE (memory), WR_E_INTERNAL. */
WR_MUST_CHECK enum wr_code wr_guard_new(struct wr_guard **out, const void *map, size_t size, struct wr_error *err);
void wr_guard_free(struct wr_guard *guard);

/* Whether a page of the map became zeros. NULL-safe. */
bool wr_guard_struck(const struct wr_guard *guard);

#endif
