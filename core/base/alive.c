#include "core/base/alive.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/id.h"

#define RANDOM_LEN 24
#define PREFIX_MAX 16
#define SUFFIX ".lock"
#define TRIES 16

_Static_assert(PREFIX_MAX + RANDOM_LEN + sizeof SUFFIX <= WR_ALIVE_NAME, "a name has room");

static bool take_lock(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

/* Who removes what the dead left may have taken the file for such before it was locked. */
static bool is_mine(int fd, const char *path)
{
	struct stat mine, there;

	return take_lock(fd) && fstat(fd, &mine) == 0 && stat(path, &there) == 0 &&
	       mine.st_ino == there.st_ino && mine.st_dev == there.st_dev;
}

static enum wr_code make(bool *made, struct wr_alive *alive, const char *folder, const char *prefix,
			 struct wr_error *err)
{
	WR_AUTO_FD int fd = -1;
	char text[RANDOM_LEN + 1];
	int n;

	wr_random_text(text, RANDOM_LEN);
	snprintf(alive->name, sizeof alive->name, "%.*s%s" SUFFIX, PREFIX_MAX, prefix, text);
	n = snprintf(alive->path, sizeof alive->path, "%s/%s", folder, alive->name);
	if (n < 0 || (size_t)n >= sizeof alive->path)
		return wr_fail(err, WR_E_INTERNAL, "path too long: %s", folder);
	fd = open(alive->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return wr_fail_errno(err, "make %s", alive->path);
	*made = is_mine(fd, alive->path);
	if (*made) {
		alive->fd = fd;
		fd = -1;
	}
	return WR_OK;
}

enum wr_code wr_alive_begin(struct wr_alive *alive, const char *folder, const char *prefix, struct wr_error *err)
{
	enum wr_code code = wr_file_mkdirs(folder, err);
	bool made = false;

	for (unsigned i = 0; i < TRIES && code == WR_OK && !made; i++)
		code = make(&made, alive, folder, prefix, err);
	if (code == WR_OK && !made)
		code = wr_fail(err, WR_E_UNAVAILABLE, "no lock file in %s stays", folder);
	if (code != WR_OK)
		alive->name[0] = '\0';
	return code;
}

void wr_alive_end(struct wr_alive *alive)
{
	if (!alive->name[0])
		return;
	unlink(alive->path);
	close(alive->fd);
	alive->fd = -1;
	alive->name[0] = '\0';
}

bool wr_alive_check(const char *folder, const char *name)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	WR_AUTO_FD int fd = -1;
	char path[PATH_MAX];
	int n = snprintf(path, sizeof path, "%s/%s", folder, name);

	if (n < 0 || (size_t)n >= sizeof path)
		return true;
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno != ENOENT;
	return fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

static bool is_named(const char *name, const char *prefix)
{
	size_t n = strlen(prefix);

	return strlen(name) == n + RANDOM_LEN + sizeof SUFFIX - 1 && strncmp(name, prefix, n) == 0 &&
	       strcmp(name + n + RANDOM_LEN, SUFFIX) == 0;
}

void wr_alive_sweep(const char *folder, const char *prefix)
{
	DIR *dir = opendir(folder);
	const struct dirent *e;

	while (dir && (e = readdir(dir))) {
		WR_AUTO_FD int fd = -1;

		if (!is_named(e->d_name, prefix))
			continue;
		fd = openat(dirfd(dir), e->d_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
		/* Locked until the name is gone: who has just made it finds the lock taken, or the name gone. */
		if (fd >= 0 && take_lock(fd) && unlinkat(dirfd(dir), e->d_name, 0) < 0)
			errno = 0;
	}
	if (dir)
		closedir(dir);
}
