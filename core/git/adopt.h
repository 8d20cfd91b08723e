/*
 * core/git/adopt.h: takes an existing bare repository of plain git in, and gives one out.
 * Ownership: nothing is kept of what is passed. wr_adopted is filled by value.
 * Threads:   any; one adoption per id at a time.
 * Blocks on: disk and CPU, for minutes on large repositories; cancel is asked now and then.
 * Errors:    WR_E_INVALID_REQUEST with a sentence that says what is in the way (not a bare repository, a shallow or partial one,
 *            alternates, SHA-256, reftable, an incomplete or damaged one, a name or a .gitmodules that harms who checks it
 *            out), WR_E_STORAGE_FULL, WR_E_CANCELLED, WR_E_UNAVAILABLE, WR_E_INTERNAL. After an error nothing is left.
 */
#ifndef WR_ADOPT_H
#define WR_ADOPT_H

#include "core/git/plan.h"

struct wr_adopted {
	uint64_t objects, refs, bytes;
	unsigned linked, copied; /* packs */
	uint64_t left_out;	 /* objects that no ref reaches, which stay behind */
	char head[512];		 /* the short name of the branch that its HEAD leads to, or "" */
};

/*
 * path: a bare repository of plain git which nobody writes to meanwhile. id: of the new repository here, whose row exists
 * and which nobody has opened yet. Packs that hold nothing but what refs reach become hard links where may_link and the
 * file system allow it, copies else; everything else that refs reach is copied into a pack of its own. All ids, structures
 * and references are checked. refs/warren/ is refused; other refs come along as they are.
 */
WR_MUST_CHECK enum wr_code wr_git_adopt(struct wr_adopted *out, struct wr_git *git, const char *id, const char *path,
					bool may_link, const struct wr_progress *progress, const struct wr_cancel *cancel,
					struct wr_error *err);

/*
 * The repository as a plain bare one in a new folder at path (which must not exist; its parent must): refs, HEAD at
 * default_branch, packs as links (may_link) or copies, journals' objects in a pack of their own; nothing of warren/.
 */
WR_MUST_CHECK enum wr_code wr_git_export(struct wr_adopted *out, struct wr_git_repo *repo, const char *path,
					 struct wr_str default_branch, bool may_link,
					 const struct wr_progress *progress, const struct wr_cancel *cancel,
					 struct wr_error *err);

#endif
