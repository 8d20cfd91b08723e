/*
 * core/content/edit.h: a commit from changes of files, applied to whatever the branch's tip is when its turn comes.
 * Ownership: everything in a struct wr_edit is borrowed until wr_edit_commit() has come back.
 * Threads:   any.
 * Blocks on: the repository's turn, disk. What can be done before the turn (ids and compression of the new files) is done
 *            before; in the turn only the trees on the way to them are read and made.
 * Errors:    WR_E_CONFLICTING_PARENT (expected, actual or null), WR_E_PATH_NOT_FOUND (path: deleted and not there),
 *            WR_E_INVALID_FILE_PATH (path), WR_E_BAD_PACK (a .gitmodules that git would refuse), and
 *            those of append.h.
 */
#ifndef WR_EDIT_H
#define WR_EDIT_H

#include "core/base/buf.h"
#include "core/content/headers.h"
#include "core/content/keep.h"
#include "core/git/append.h"

/* Whether name and address may stand in a commit: no control characters, no "<", ">"; not empty; at most 1024 bytes. */
bool wr_person_ok(const struct wr_person *who);

struct wr_file_change {
	struct wr_str path;
	struct wr_str content;
	bool deleted;
	unsigned mode; /* 0: the one it has, or 0100644 */
};

/*
 * Whether a path may be committed: segments that are not empty, ".", "..", or what stands for .git on any file system
 * (fsck.h), no NUL; at most WR_PATH_MAX bytes and WR_PATH_DEPTH segments.
 */
bool wr_edit_path_ok(struct wr_str path);

/* The bytes of a commit object, into an empty buffer. */
void wr_commit_text(struct wr_buf *out, const struct wr_oid *tree, const struct wr_oid *parents, size_t count,
		    const struct wr_person *author, const struct wr_person *committer, struct wr_str message);

struct wr_edit {
	struct wr_str branch;		      /* short name */
	const struct wr_file_change *changes; /* in their order: a later one for a path wins; folders come and go by them */
	size_t count;
	struct wr_str message;
	struct wr_person author, committer;
	const struct wr_oid *expected; /* NULL: whatever the tip is */
	struct wr_asker asker;
	struct wr_keep *trees;	       /* NULL, or trees lately read and made: change_tree.h; and made commits' trees' ids */
};

/* *out: the new commit, which is durable and the branch's tip then; commit: its bytes, for the answer. */
WR_MUST_CHECK enum wr_code wr_edit_commit(struct wr_oid *out, struct wr_buf *commit, struct wr_git_repo *repo,
					  const struct wr_edit *edit, const struct wr_cancel *cancel,
					  struct wr_error *err);

#endif
