#include "server/datadir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/file.h"

/* Its name, in the folder above. */
static enum wr_code flush_name(const char *path, struct wr_error *err)
{
	char above[PATH_MAX];

	if (snprintf(above, sizeof above, "%s/..", path) >= (int)sizeof above)
		return wr_fail(err, WR_E_INTERNAL, "path too long: %s", path);
	return wr_file_sync_dir(AT_FDCWD, above, err);
}

static bool is_new(const char *path)
{
	char database[PATH_MAX];
	int n = snprintf(database, sizeof database, "%s/warren.db", path);

	return n < (int)sizeof database && access(database, F_OK) < 0;
}

enum wr_code wr_datadir_make(const char *path, struct wr_error *err)
{
	bool made = mkdir(path, 0700) == 0;
	struct stat st;

	if (!made && errno != EEXIST)
		return wr_fail_errno(err, "mkdir %s", path);
	if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
		return wr_fail(err, WR_E_INTERNAL, "%s is not a folder", path);
	/* Else nothing that is acknowledged in it would outlast a power cut. Found without anything: a kill came between. */
	return made || is_new(path) ? flush_name(path, err) : WR_OK;
}

static enum wr_code lock_name(char out[PATH_MAX], const char *path, struct wr_error *err)
{
	int n = snprintf(out, PATH_MAX, "%s/lock", path);

	return n > 0 && n < PATH_MAX ? WR_OK : wr_fail(err, WR_E_INTERNAL, "path too long: %s", path);
}

enum wr_code wr_datadir_same(const char *path, int lock, struct wr_error *err)
{
	struct stat mine, there;
	char name[PATH_MAX];
	enum wr_code code = lock_name(name, path, err);

	if (code != WR_OK)
		return code;
	if (fstat(lock, &mine) == 0 && stat(name, &there) == 0 && mine.st_ino == there.st_ino &&
	    mine.st_dev == there.st_dev)
		return WR_OK;
	return wr_fail(err, WR_E_INVALID_REQUEST,
		       "%s is not the data folder that is being served; to change server.data stop the server", path);
}

enum wr_code wr_datadir_lock(int *out, const char *path, int64_t wait_ms, struct wr_error *err)
{
	int64_t deadline = wr_mono_ms() + wait_ms;
	char name[PATH_MAX];
	WR_AUTO_FD int fd = -1;
	enum wr_code code = lock_name(name, path, err);

	if (code != WR_OK)
		return code;
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
