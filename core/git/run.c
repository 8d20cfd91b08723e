#include "core/git/run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "core/base/file.h"
#include "core/base/id.h"

#define PREFIX "worker-"
#define SUFFIX ".lock"
#define NAME_LEN 24
/* A file of another kind may have been made a moment ago, by who has yet to lock it. */
#define YOUNG_S 60

static bool try_lock(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

/* "worker-<random>.lock" */
static bool is_worker(const char *name)
{
	size_t n = strlen(name);

	return n == sizeof PREFIX - 1 + NAME_LEN + sizeof SUFFIX - 1 && strncmp(name, PREFIX, sizeof PREFIX - 1) == 0 &&
	       strcmp(name + n - (sizeof SUFFIX - 1), SUFFIX) == 0;
}

/* ---- what the dead left ---- */

/* The folder first: while its lock file is there, another sweep finds it. */
static enum wr_code sweep_worker(int dir, const char *name, struct wr_error *err)
{
	WR_AUTO_FD int fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	char folder[NAME_LEN + 1];
	enum wr_code code;

	if (fd < 0)
		return errno == ENOENT ? WR_OK : wr_fail_errno(err, "open %s", name);
	if (!try_lock(fd))
		return WR_OK;
	snprintf(folder, sizeof folder, "%s", name + sizeof PREFIX - 1);
	if ((code = wr_file_remove(dir, folder, err)) != WR_OK)
		return code;
	return wr_file_remove(dir, name, err);
}

/* A worker's folder goes with its lock file; others were made by what knew no lock files. */
static enum wr_code sweep_folder(int dir, const char *name, struct wr_error *err)
{
	char lock[sizeof PREFIX + NAME_MAX + sizeof SUFFIX];

	snprintf(lock, sizeof lock, PREFIX "%s" SUFFIX, name);
	if (faccessat(dir, lock, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return WR_OK;
	return wr_file_remove(dir, name, err);
}

static enum wr_code sweep_file(int dir, const char *name, const struct stat *st, struct wr_error *err)
{
	WR_AUTO_FD int fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd >= 0 && (st->st_mtime + YOUNG_S > time(NULL) || !try_lock(fd)))
		return WR_OK;
	return wr_file_remove(dir, name, err);
}

static enum wr_code sweep(int dir, const char *name, struct wr_error *err)
{
	struct stat st;

	if (is_worker(name))
		return sweep_worker(dir, name, err);
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? WR_OK : wr_fail_errno(err, "stat %s", name);
	return S_ISDIR(st.st_mode) ? sweep_folder(dir, name, err) : sweep_file(dir, name, &st, err);
}

static enum wr_code sweep_all(const char *path, struct wr_error *err)
{
	enum wr_code code = WR_OK;
	DIR *d = opendir(path);
	struct dirent *e;

	if (!d)
		return wr_fail_errno(err, "open folder %s", path);
	while (code == WR_OK && (e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			code = sweep(dirfd(d), e->d_name, err);
	closedir(d);
	return code;
}

/* ---- one's own ---- */

static enum wr_code run_folder(char out[PATH_MAX], const char *data, struct wr_error *err)
{
	int n = snprintf(out, PATH_MAX, "%s/run", data);

	return n > 0 && n < PATH_MAX ? WR_OK : wr_fail(err, WR_E_INTERNAL, "path too long: %s", data);
}

static enum wr_code make_folder(struct wr_run *run, const char *folder, struct wr_error *err)
{
	int n = snprintf(run->path, sizeof run->path, "%s/%.*s", folder, NAME_LEN,
			 run->alive.name + sizeof PREFIX - 1);
	enum wr_code code = WR_OK;

	if (n < 0 || (size_t)n >= sizeof run->path)
		code = wr_fail(err, WR_E_INTERNAL, "path too long: %s", folder);
	else if (mkdir(run->path, 0700) < 0)
		code = wr_fail_errno(err, "mkdir %s", run->path);
	if (code != WR_OK)
		wr_alive_end(&run->alive);
	return code;
}

enum wr_code wr_run_enter(struct wr_run *run, const char *data, struct wr_error *err)
{
	char folder[PATH_MAX];
	enum wr_code code = run_folder(folder, data, err);

	run->alive = (struct wr_alive)WR_ALIVE_INIT;
	if (code == WR_OK && (code = wr_file_mkdirs(folder, err)) == WR_OK && (code = sweep_all(folder, err)) == WR_OK &&
	    (code = wr_alive_begin(&run->alive, folder, PREFIX, err)) == WR_OK)
		code = make_folder(run, folder, err);
	if (code != WR_OK)
		run->path[0] = '\0';
	return code;
}

void wr_run_leave(struct wr_run *run)
{
	if (!run->path[0])
		return;
	/* The folder first: what cannot be removed is found by its name when nobody's lock stands for it. */
	if (wr_file_remove(AT_FDCWD, run->path, NULL) != WR_OK)
		errno = 0;
	wr_alive_end(&run->alive);
	run->path[0] = '\0';
}

/* ---- others ---- */

bool wr_run_others(const struct wr_run *run)
{
	const char *own = strrchr(run->path, '/');
	char folder[PATH_MAX];
	bool others = false;
	struct dirent *e;
	DIR *d;

	if (!own)
		return true;
	snprintf(folder, sizeof folder, "%.*s", (int)(own - run->path), run->path);
	d = opendir(folder);
	while (d && !others && (e = readdir(d)))
		others = is_worker(e->d_name) && strcmp(e->d_name, run->alive.name) != 0 &&
			 wr_alive_check(folder, e->d_name);
	if (d)
		closedir(d);
	return !d || others;
}
