/*
 * core/git/adopt.h: takes an existing bare repository of plain git in, and gives one out.
 * Ownership: nothing is kept of what is passed. wr_adopted is filled by value, on success only.
 * Threads:   any; one adoption per id at a time.
 * Blocks on: disk and CPU, for minutes on large repositories; cancel is asked now and then.
 * Errors:    WR_E_INVALID_REQUEST with a sentence that says what is in the way (not a bare repository, a shallow or
 *            partial one, alternates, SHA-256, reftable, an incomplete or damaged one, a name or a .gitmodules that
 *            harms who checks it out), WR_E_EXISTS (the repository here has a folder already), WR_E_STORAGE_FULL,
 *            WR_E_CANCELLED, WR_E_UNAVAILABLE, WR_E_INTERNAL. After an error nothing is left.
 */
#ifndef WR_ADOPT_H
#define WR_ADOPT_H

#include "core/git/plan.h"

struct wr_adopted {
	uint64_t objects, refs;
	uint64_t bytes;		 /* of the packs and their tables, there in the end */
	unsigned linked, copied; /* packs that came as they are */
	uint64_t left_out;	 /* adoption: objects that no ref reaches, which stay behind */
	char head[512];		 /* adoption: the short name of the branch that its HEAD leads to, or "" */
};

/*
 * path: a folder with HEAD, objects/ and refs/ (the .git of a working copy is one, too) which nobody writes to
 * meanwhile. id: of the new repository here, whose row exists and which nobody has opened yet. One without refs is
 * taken in without making a folder for it. Raises no events.
 *
 * Comes along: every ref below refs/ with its value, and exactly the objects that they reach. A symbolic ref below
 * refs/ becomes an ordinary one with the value that it leads to. refs/warren/ is refused, and so is what no push could
 * make (names such as refs/stash, branches that are no commits, a name that is a folder of another one).
 *
 * Stays behind: what no ref reaches (also where a detached HEAD or a reflog does), configuration, hooks, reflogs,
 * worktrees, grafts, and all that git can make anew (indexes, bitmaps, commit-graphs).
 *
 * Nothing that is there is trusted. No symbolic link is followed. Packs are linked or copied into the new folder first
 * and read there: their ids are recomputed, with collision detection, and their indexes made. Then every object that
 * refs reach has to be there, of the right type, well formed, and free of what git refuses for the safety of who checks
 * it out.
 *
 * may_link: packs that hold nothing but what refs reach, and nothing twice, become hard links where the file system can
 * do it. A link is the same file as the original: whoever may write to the original can change it later, and the
 * repository here with it, or while it is checked. So only for folders whose owner is trusted as this server is; git
 * itself never writes to a finished pack. Otherwise they are copied.
 */
WR_MUST_CHECK enum wr_code wr_git_adopt(struct wr_adopted *out, struct wr_git *git, const char *id, const char *path,
					bool may_link, const struct wr_progress *progress,
					const struct wr_cancel *cancel, struct wr_error *err);

/*
 * The repository as a plain bare one in a new folder at path (which must not exist; its parent must): refs, HEAD at
 * default_branch (the short name), packs as links (may_link: a git that wrote into its packs, or their new owner, would
 * change the repository here) or copies. What is only in journals, or only partly reached, comes in a pack of its own.
 * Exactly what the refs reach; nothing of warren/, nor of refs/warren/. A history that is cut here is a shallow one
 * there.
 *
 * It is made in <path>.new-<random>, all of it flushed, and renamed. What a crash left of that goes with the next
 * export to the same path. Errors: as above; WR_E_INVALID_REQUEST: path, or the branch's name.
 */
WR_MUST_CHECK enum wr_code wr_git_export(struct wr_adopted *out, struct wr_git_repo *repo, const char *path,
					 struct wr_str default_branch, bool may_link,
					 const struct wr_progress *progress, const struct wr_cancel *cancel,
					 struct wr_error *err);

#endif
