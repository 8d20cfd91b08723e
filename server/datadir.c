#include "server/datadir.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include "core/base/clock.h"

enum wr_code wr_datadir_make(const char *path, struct wr_error *err)
{
	struct stat st;

	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return wr_fail_errno(err, "mkdir %s", path);
	if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
		return wr_fail(err, WR_E_INTERNAL, "%s is not a folder", path);
	return WR_OK;
}

enum wr_code wr_datadir_lock(int *out, const char *path, int64_t wait_ms, struct wr_error *err)
{
	int64_t deadline = wr_mono_ms() + wait_ms;
	char name[4096];
	WR_AUTO_FD int fd = -1;

	if (snprintf(name, sizeof name, "%s/lock", path) >= (int)sizeof name)
		return wr_fail(err, WR_E_INTERNAL, "path too long: %s", path);
	fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return wr_fail_errno(err, "open %s", name);
	for (;;) {
		/* Of the open file description, so that a fork of ours cannot drop it by closing its copy. */
		struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

		if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
			break;
		if (errno != EAGAIN && errno != EACCES)
			return wr_fail_errno(err, "lock %s", name);
		if (wr_mono_ms() >= deadline)
			return wr_fail(err, WR_E_EXISTS, "another warren serves the data folder %s", path);
		nanosleep(&(struct timespec){.tv_nsec = 50 * 1000 * 1000}, NULL);
	}
	*out = fd;
	fd = -1;
	return WR_OK;
}
