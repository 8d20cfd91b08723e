/*
 * core/git/below.h: files and folders that somebody else made, below one open folder. Symbolic links are never
 * followed, nothing but ordinary files and folders is opened, and what is read is bounded.
 *
 * Ownership: descriptors and malloc'ed blocks that are given out are the caller's. dir stays his.
 * Threads:   any.
 * Blocks on: disk.
 * Errors:    WR_E_NOT_THERE (nothing is written to err), WR_E_INVALID_REQUEST with a sentence (a link, a device, no
 *            permission, a bad sector, too large), and those of wr_fail_errno().
 * label is what sentences call the thing.
 */
#ifndef WR_BELOW_H
#define WR_BELOW_H

#include "core/base/error.h"
#include "core/git/walk.h"

/* path: names with slashes between them. */
WR_MUST_CHECK enum wr_code wr_below_folder(int *fd, int dir, const char *path, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_below_file(int *fd, uint64_t *size, int dir, const char *name, const char *label,
					 struct wr_error *err);
/* The whole file and a NUL that *len does not count. */
WR_MUST_CHECK enum wr_code wr_below_read(char **out, size_t *len, int dir, const char *name, const char *label,
					 size_t max, struct wr_error *err);

enum wr_below { WR_BELOW_FILE, WR_BELOW_FOLDER, WR_BELOW_ELSE };
/* What the name stands for; WR_E_NOT_THERE where it has gone. */
WR_MUST_CHECK enum wr_code wr_below_kind(enum wr_below *out, int dir, const char *name, const char *label,
					 struct wr_error *err);
/* Whether there is anything of this name. */
bool wr_below_has(int dir, const char *name);

/* Each name in the folder but "." and "..", in no order, until fn() fails. */
WR_MUST_CHECK enum wr_code wr_below_each(int dir, const char *label,
					 enum wr_code (*fn)(void *arg, const char *name, struct wr_error *err),
					 void *arg, const struct wr_cancel *cancel, struct wr_error *err);

#endif
