/*
 * core/git/derived.h: one file beside the store's own, warren/order: what was worked out from the repository and can be so
 * again. Nothing depends on it: it is not flushed, a crash may leave it torn or take it, and whoever reads it checks it.
 * Ownership: what wr_git_derived_read() gives is the caller's to free().
 * Threads:   any. Only where this process has the repository open, as its owner.
 * Blocks on: disk.
 * Errors:    WR_E_NOT_THERE, WR_E_TOO_LARGE, WR_E_INTERNAL; writing says nothing, since nothing is lost.
 */
#ifndef WR_DERIVED_H
#define WR_DERIVED_H

#include "core/git/git.h"

WR_MUST_CHECK enum wr_code wr_git_derived_read(char **out, size_t *len, struct wr_git *git, const char *id, size_t max,
					       struct wr_error *err);
void wr_git_derived_write(struct wr_git *git, const char *id, struct wr_str bytes);
/* For a repository that begins as another one's: that one's file, if any, in the new one's folder `warren`. */
void wr_git_derived_share(const struct wr_git_repo *from, int warren);

#endif
