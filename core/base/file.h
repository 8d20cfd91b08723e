/*
 * core/base/file.h: files and folders that must survive a power cut, and their removal.
 * Ownership: wr_file_read() gives a malloc'ed block. dir is an open folder or AT_FDCWD; it stays the caller's.
 * Threads:   any.
 * Blocks on: disk.
 * Errors:    those of wr_fail_errno(); WR_E_NOT_THERE and WR_E_TOO_LARGE from wr_file_read().
 */
#ifndef WR_FILE_H
#define WR_FILE_H

#include <fcntl.h>

#include "core/base/error.h"

/* All of data to fd, however many calls that takes. */
WR_MUST_CHECK enum wr_code wr_file_write_all(int fd, const void *data, size_t len, struct wr_error *err);

/*
 * Makes the file's content data, durably: written beside it under a name of its own, flushed, renamed over it, the
 * folder flushed. After an error from the last step the new content may be in place all the same.
 */
WR_MUST_CHECK enum wr_code wr_file_replace(int dir, const char *name, struct wr_str data, struct wr_error *err);

/* A new file with this content, flushed (its folder is not). Fails where the name exists. */
WR_MUST_CHECK enum wr_code wr_file_create(int dir, const char *path, struct wr_str data, struct wr_error *err);

/* The same, not flushed: for a folder that nobody sees yet. */
WR_MUST_CHECK enum wr_code wr_file_put(int dir, const char *path, struct wr_str data, struct wr_error *err);

/*
 * Flushes these files of a folder, eight at most, absent ones left out. All are on their way before the first is waited
 * for, so that a file system with a journal commits once for all of them.
 */
#define WR_FILE_SYNC_MAX 8
WR_MUST_CHECK enum wr_code wr_file_sync_all(int dir, const char *const *paths, size_t n, struct wr_error *err);

/* The whole file and a NUL that *len does not count. WR_E_NOT_THERE when absent, WR_E_TOO_LARGE past max bytes. */
WR_MUST_CHECK enum wr_code wr_file_read(char **out, size_t *len, int dir, const char *path, size_t max,
					struct wr_error *err);

/* Flushes a folder: names made, renamed or removed in it last from then on. */
WR_MUST_CHECK enum wr_code wr_file_sync_dir(int dir, const char *path, struct wr_error *err);

/* Makes the folder and those above it (mode 0700); the folder above each one made is flushed. There already: success.
 */
WR_MUST_CHECK enum wr_code wr_file_mkdirs(const char *path, struct wr_error *err);

/* Removes a file or a folder with all in it; symbolic links are removed, never followed. Absent is success. */
WR_MUST_CHECK enum wr_code wr_file_remove(int dir, const char *name, struct wr_error *err);

#endif
