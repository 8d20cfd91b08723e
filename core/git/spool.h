/*
 * core/git/spool.h: bytes that are collected one piece after the other: in memory while they are few, then in a file
 * that has no name.
 * Ownership: the struct is the caller's, wr_spool_fini(); zero-initialised but for fd, which is -1.
 * Threads:   one per spool.
 * Blocks on: disk, once there is a file.
 * Errors:    WR_E_STORAGE_FULL, WR_E_UNAVAILABLE, WR_E_INTERNAL.
 */
#ifndef WR_SPOOL_H
#define WR_SPOOL_H

#include "core/git/index.h"

/* The most that is in memory. */
#define WR_SPOOL_MEMORY ((size_t)8 << 20)

struct wr_spool {
	uint8_t *bytes; /* malloc'ed: those behind what is in the file */
	size_t held, cap;
	uint64_t filed;
	int fd;
};
void wr_spool_fini(struct wr_spool *spool);

static inline uint64_t wr_spool_len(const struct wr_spool *spool)
{
	return spool->filed + spool->held;
}

/* folder: where the file is made, when there has to be one. */
WR_MUST_CHECK enum wr_code wr_spool_add(struct wr_spool *spool, const struct wr_index_folder *folder,
					struct wr_str bytes, struct wr_error *err);
/* Writes over len bytes at an offset, all of which were added. */
WR_MUST_CHECK enum wr_code wr_spool_set(struct wr_spool *spool, uint64_t at, struct wr_str bytes, struct wr_error *err);
/* len bytes from an offset, all of which were added. */
WR_MUST_CHECK enum wr_code wr_spool_get(void *out, const struct wr_spool *spool, uint64_t at, size_t len,
					struct wr_error *err);

#endif
