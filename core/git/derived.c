#include "core/git/derived.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/id.h"
#include "core/git/git_internal.h"

#define NAME "order"

/* -1: it is not open here, or has no folder. */
static int open_folder(struct wr_git *git, const char *id)
{
	WR_AUTO(wr_git_repo) *repo = NULL;
	int fd = -1;

	if (wr_git_repo_open(&repo, git, id, NULL) != WR_OK)
		return -1;
	pthread_mutex_lock(&repo->mutex);
	if (repo->folder)
		fd = openat(repo->folder->warren, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	pthread_mutex_unlock(&repo->mutex);
	return fd;
}

enum wr_code wr_git_derived_read(char **out, size_t *len, struct wr_git *git, const char *id, size_t max,
				 struct wr_error *err)
{
	WR_AUTO_FD int fd = open_folder(git, id);

	return fd < 0 ? WR_E_NOT_THERE : wr_file_read(out, len, fd, NAME, max, err);
}

/* Under a name that a start after a crash sweeps. */
void wr_git_derived_write(struct wr_git *git, const char *id, struct wr_str bytes)
{
	WR_AUTO_FD int fd = open_folder(git, id);
	char name[32] = NAME ".";

	if (fd < 0)
		return;
	wr_random_text(name + strlen(name), 12);
	if (wr_file_put(fd, name, bytes, NULL) != WR_OK || renameat(fd, name, fd, NAME) < 0)
		unlinkat(fd, name, 0);
}

void wr_git_derived_share(const struct wr_git_repo *from, int warren)
{
	char path[PATH_MAX];

	/* Whoever writes it anew puts another file in its place, so neither changes the other's. */
	if (wr_repo_path(path, from->git, from->id, ".git/warren/" NAME, NULL) == WR_OK &&
	    linkat(AT_FDCWD, path, warren, NAME, 0) < 0)
		errno = 0;
}
