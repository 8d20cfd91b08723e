#include "core/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <sys/stat.h>

#include "core/base/id.h"

/* Deeper trees than this are no work of ours; a bound keeps the open folders below the descriptor limit. */
#define MAX_DEPTH 64

enum wr_code wr_file_write_all(int fd, const void *data, size_t len, struct wr_error *err)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return wr_fail_errno(err, "write of %zu bytes", len);
		p += n;
		len -= (size_t)n;
	}
	return WR_OK;
}

static enum wr_code create(int dir, const char *path, struct wr_str data, bool flush, struct wr_error *err)
{
	WR_AUTO_FD int fd = openat(dir, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	enum wr_code code;

	if (fd < 0)
		return wr_fail_errno(err, "create %s", path);
	if ((code = wr_file_write_all(fd, data.ptr, data.len, err)) != WR_OK)
		return code;
	if (flush && fsync(fd) < 0)
		return wr_fail_errno(err, "fsync %s", path);
	return WR_OK;
}

enum wr_code wr_file_create(int dir, const char *path, struct wr_str data, struct wr_error *err)
{
	return create(dir, path, data, true, err);
}

enum wr_code wr_file_put(int dir, const char *path, struct wr_str data, struct wr_error *err)
{
	return create(dir, path, data, false, err);
}

/* Without memory for it a flush has failed as any other: it is nothing to try again. */
static enum wr_code flush(int fd, const char *path, struct wr_error *err)
{
	if (fsync(fd) == 0)
		return WR_OK;
	errno = errno == ENOMEM ? EIO : errno;
	return wr_fail_errno(err, "flush %s", path);
}

static enum wr_code flush_open(const int *fds, const char *const *paths, size_t n, struct wr_error *err)
{
	enum wr_code code;

	/* Only a start: what goes wrong here is what the flush tells. */
	for (size_t i = 0; i < n; i++)
		if (fds[i] >= 0 && sync_file_range(fds[i], 0, 0, SYNC_FILE_RANGE_WRITE) < 0)
			errno = 0;
	for (size_t i = 0; i < n; i++)
		if (fds[i] >= 0 && (code = flush(fds[i], paths[i], err)) != WR_OK)
			return code;
	return WR_OK;
}

enum wr_code wr_file_sync_all(int dir, const char *const *paths, size_t n, struct wr_error *err)
{
	int fds[WR_FILE_SYNC_MAX];
	enum wr_code code = WR_OK;
	size_t opened = 0;

	if (n > WR_FILE_SYNC_MAX)
		return wr_fail(err, WR_E_INTERNAL, "%zu files to flush at once", n);
	for (; opened < n && code == WR_OK; opened++) {
		fds[opened] = openat(dir, paths[opened], O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fds[opened] < 0 && errno != ENOENT)
			code = wr_fail_errno(err, "open %s", paths[opened]);
	}
	if (code == WR_OK)
		code = flush_open(fds, paths, n, err);
	while (opened-- > 0)
		if (fds[opened] >= 0)
			close(fds[opened]);
	return code;
}

enum wr_code wr_file_replace(int dir, const char *name, struct wr_str data, struct wr_error *err)
{
	char tmp[NAME_MAX + 1], mark[9];
	enum wr_code code;
	int n;

	wr_random_text(mark, 8);
	n = snprintf(tmp, sizeof tmp, "%s.tmp-%s", name, mark);
	if (n < 0 || (size_t)n >= sizeof tmp)
		return wr_fail(err, WR_E_INTERNAL, "file name too long: %s", name);
	code = wr_file_create(dir, tmp, data, err);
	if (code == WR_OK && renameat(dir, tmp, dir, name) < 0)
		code = wr_fail_errno(err, "rename %s", name);
	if (code != WR_OK) {
		unlinkat(dir, tmp, 0);
		return code;
	}
	return wr_file_sync_dir(dir, ".", err);
}

enum wr_code wr_file_read(char **out, size_t *len, int dir, const char *path, size_t max, struct wr_error *err)
{
	WR_AUTO_FD int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	WR_AUTO_MEM char *text = NULL;
	struct stat st;
	size_t size, got = 0;

	if (fd < 0 && errno == ENOENT)
		return wr_fail(err, WR_E_NOT_THERE, "no file %s", path);
	if (fd < 0 || fstat(fd, &st) < 0)
		return wr_fail_errno(err, "open %s", path);
	if (!S_ISREG(st.st_mode))
		return wr_fail(err, WR_E_INTERNAL, "%s is not a file", path);
	if ((uint64_t)st.st_size > max)
		return wr_fail(err, WR_E_TOO_LARGE, "The file has more than %zu bytes", max);
	size = (size_t)st.st_size;
	text = malloc(size + 1);
	if (!text)
		return wr_fail_nomem(err);
	while (got < size) {
		ssize_t n = read(fd, text + got, size - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return wr_fail_errno(err, "read %s", path);
		if (n == 0)
			break;
		got += (size_t)n;
	}
	text[got] = '\0';
	*out = WR_STEAL(text);
	*len = got;
	return WR_OK;
}

enum wr_code wr_file_sync_dir(int dir, const char *path, struct wr_error *err)
{
	WR_AUTO_FD int fd = openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? wr_fail_errno(err, "open folder %s", path) : flush(fd, path, err);
}

/* path is a folder that was just made: flush the one that holds its name. */
static enum wr_code sync_parent(const char *path, struct wr_error *err)
{
	char up[PATH_MAX];
	const char *slash = strrchr(path, '/');
	size_t n = slash ? (size_t)(slash - path) : 0;

	if (!slash)
		return wr_file_sync_dir(AT_FDCWD, ".", err);
	if (n == 0)
		return wr_file_sync_dir(AT_FDCWD, "/", err);
	memcpy(up, path, n);
	up[n] = '\0';
	return wr_file_sync_dir(AT_FDCWD, up, err);
}

enum wr_code wr_file_mkdirs(const char *path, struct wr_error *err)
{
	char part[PATH_MAX];
	size_t len = strlen(path);
	enum wr_code code;

	if (len == 0 || len >= sizeof part)
		return wr_fail(err, WR_E_INTERNAL, "folder path of %zu bytes", len);
	for (size_t i = 1; i <= len; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		if (path[i - 1] == '/')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdir(part, 0700) == 0) {
			if ((code = sync_parent(part, err)) != WR_OK)
				return code;
		} else if (errno != EEXIST) {
			return wr_fail_errno(err, "mkdir %s", part);
		}
	}
	return WR_OK;
}

static enum wr_code remove_at(int dir, const char *name, unsigned depth, struct wr_error *err);

static enum wr_code empty_folder(DIR *d, unsigned depth, struct wr_error *err)
{
	struct dirent *e;
	enum wr_code code;

	for (errno = 0; (e = readdir(d)); errno = 0) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if ((code = remove_at(dirfd(d), e->d_name, depth + 1, err)) != WR_OK)
			return code;
	}
	return errno ? wr_fail_errno(err, "readdir") : WR_OK;
}

static enum wr_code remove_at(int dir, const char *name, unsigned depth, struct wr_error *err)
{
	enum wr_code code;
	DIR *d;
	int fd;

	if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
		return WR_OK;
	if (errno != EISDIR && errno != EPERM)
		return wr_fail_errno(err, "unlink %s", name);
	if (depth >= MAX_DEPTH)
		return wr_fail(err, WR_E_INTERNAL, "folders nested deeper than %d", MAX_DEPTH);
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return wr_fail_errno(err, "open folder %s", name);
	d = fdopendir(fd);
	if (!d) {
		code = wr_fail_errno(err, "open folder %s", name);
		close(fd);
		return code;
	}
	code = empty_folder(d, depth, err);
	closedir(d);
	if (code == WR_OK && unlinkat(dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		code = wr_fail_errno(err, "rmdir %s", name);
	return code;
}

enum wr_code wr_file_remove(int dir, const char *name, struct wr_error *err)
{
	return remove_at(dir, name, 0, err);
}
