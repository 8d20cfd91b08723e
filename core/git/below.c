#include "core/git/below.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "core/git/graph.h"

#define FIRST_READ ((size_t)4096)

static enum wr_code failed(const char *label, struct wr_error *err)
{
	switch (errno) {
	case ENOENT:
		return WR_E_NOT_THERE;
	case ELOOP:
	case ENOTDIR:
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "%.100s is a symbolic link or of another kind than it should be; links are not followed",
			       label);
	case EACCES:
	case EPERM:
		return wr_fail(err, WR_E_INVALID_REQUEST, "%.100s cannot be read: the server lacks the permission",
			       label);
	case EIO:
		return wr_fail(err, WR_E_INVALID_REQUEST, "%.100s cannot be read: the disk has an error there", label);
	default:
		return wr_fail_errno(err, "open %.100s", label);
	}
}

enum wr_code wr_below_folder(int *fd, int dir, const char *path, struct wr_error *err)
{
	WR_AUTO_FD int at = -1;
	char name[NAME_MAX + 1];

	for (const char *p = path; *p;) {
		size_t n = strcspn(p, "/");
		int next;

		if (n >= sizeof name)
			return WR_E_NOT_THERE;
		memcpy(name, p, n);
		name[n] = '\0';
		next = openat(at < 0 ? dir : at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (next < 0)
			return failed(path, err);
		if (at >= 0)
			close(at);
		at = next;
		p += n + (p[n] == '/');
	}
	*fd = at;
	at = -1;
	return WR_OK;
}

static enum wr_code not_ordinary(const char *label, struct wr_error *err)
{
	return wr_fail(err, WR_E_INVALID_REQUEST, "%.100s is not an ordinary file; links are not followed", label);
}

enum wr_code wr_below_file(int *fd, uint64_t *size, int dir, const char *name, const char *label, struct wr_error *err)
{
	WR_AUTO_FD int at = -1;
	struct stat st;

	/* Looked at first: merely opening a device can have an effect. */
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return failed(label, err);
	if (!S_ISREG(st.st_mode))
		return not_ordinary(label, err);
	at = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (at < 0 || fstat(at, &st) < 0)
		return failed(label, err);
	if (!S_ISREG(st.st_mode))
		return not_ordinary(label, err);
	*fd = at;
	*size = (uint64_t)st.st_size;
	at = -1;
	return WR_OK;
}

static enum wr_code too_large(const char *label, size_t max, struct wr_error *err)
{
	return wr_fail(err, WR_E_INVALID_REQUEST, "%.100s has more than %zu bytes", label, max);
}

enum wr_code wr_below_read(char **out, size_t *len, int dir, const char *name, const char *label, size_t max,
			   struct wr_error *err)
{
	WR_AUTO_MEM char *text = NULL;
	WR_AUTO_FD int fd = -1;
	size_t cap = 0, got = 0;
	uint64_t size;
	enum wr_code code = wr_below_file(&fd, &size, dir, name, label, err);

	if (code != WR_OK)
		return code;
	if (size > max)
		return too_large(label, max, err);
	for (;;) {
		ssize_t n;

		if (got + 1 >= cap) {
			size_t more = cap ? cap * 2 : FIRST_READ;
			char *p = realloc(text, more);

			if (!p)
				return wr_fail_nomem(err);
			text = p;
			cap = more;
		}
		n = read(fd, text + got, cap - got - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return failed(label, err);
		if (n == 0)
			break;
		got += (size_t)n;
		if (got > max)
			return too_large(label, max, err);
	}
	text[got] = '\0';
	*out = WR_STEAL(text);
	*len = got;
	return WR_OK;
}

enum wr_code wr_below_kind(enum wr_below *out, int dir, const char *name, const char *label, struct wr_error *err)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return failed(label, err);
	*out = S_ISREG(st.st_mode) ? WR_BELOW_FILE : S_ISDIR(st.st_mode) ? WR_BELOW_FOLDER : WR_BELOW_ELSE;
	return WR_OK;
}

bool wr_below_has(int dir, const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void close_list(DIR **d)
{
	if (*d)
		closedir(*d);
}

enum wr_code wr_below_each(int dir, const char *label,
			   enum wr_code (*fn)(void *arg, const char *name, struct wr_error *err), void *arg,
			   const struct wr_cancel *cancel, struct wr_error *err)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	WR_CLEANUP(close_list) DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	enum wr_code code = WR_OK;
	struct dirent *e;
	uint32_t steps = 0;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return failed(label, err);
	}
	while (code == WR_OK) {
		errno = 0;
		e = readdir(d);
		if (!e)
			return errno ? failed(label, err) : WR_OK;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (++steps % 256 == 0 && (code = wr_cancelled(cancel, err)) != WR_OK)
			break;
		code = fn(arg, e->d_name, err);
	}
	return code;
}
