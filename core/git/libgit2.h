/*
 * core/git/libgit2.h: a snapshot as a repository of libgit2, for what that library does well: diff, merge, blame.
 * Ownership: wr_libgit2_open() gives a git_repository for git_repository_free(); it keeps a reference to the snapshot.
 * Threads:   one at a time per repository.
 * Blocks on: disk.
 * Errors:    those of the call here; later ones are libgit2's: GIT_ENOTFOUND for an absent object, GIT_ERROR.
 *
 * The repository has no folder, no refs, no configuration and no index. Its object database has one backend, which
 * reads the snapshot and writes nothing; short ids are not resolved.
 */
#ifndef WR_LIBGIT2_H
#define WR_LIBGIT2_H

/* Not git2.h, some of whose names core/base/banned.h refuses. */
#include <git2/object.h>
#include <git2/repository.h>

#include "core/git/snapshot.h"

WR_MUST_CHECK enum wr_code wr_libgit2_open(git_repository **out, struct wr_snapshot *snap, struct wr_error *err);

static inline void wr_libgit2_free(git_repository **repo)
{
	git_repository_free(*repo);
}
#define WR_AUTO_LIBGIT2 WR_CLEANUP(wr_libgit2_free)

#endif
