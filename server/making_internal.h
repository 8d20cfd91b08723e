/*
 * server/making_internal.h: which refs a repository made from another one gets, wherever that other one is.
 * Ownership: struct wr_making_refs is the caller's, wr_making_refs_fini(); it borrows the names of the source's refs.
 * Threads:   values, no state.
 * Errors:    WR_E_INVALID_REVISION (field revision), WR_E_INVALID_REQUEST, WR_E_UNAVAILABLE (memory).
 */
#ifndef WR_MAKING_INTERNAL_H
#define WR_MAKING_INTERNAL_H

#include "core/content/view.h"
#include "core/git/append.h"
#include "server/making.h"

struct wr_remote;

#define WR_HEADS "refs/heads/"
#define WR_TAGS "refs/tags/"

/* Where it starts. */
struct wr_making_from {
	const struct wr_ref *branch; /* NULL: at a commit, by a branch that is to be named */
	struct wr_oid commit;	     /* zero: nowhere, only all_branches say what comes along */
	struct wr_str fallback;	     /* NULL ptr, or the short name of the source's default branch */
};

struct wr_making_refs {
	struct wr_ref *v;
	size_t count;
	char default_branch[WR_BRANCH_NAME_MAX + 1];
	char named[sizeof WR_HEADS + WR_BRANCH_NAME_MAX]; /* the full name of a branch that the source does not have */
};
void wr_making_refs_fini(struct wr_making_refs *refs);
WR_DEFINE_AUTO_S(wr_making_refs);

/* The branch or tag that rev names, by its short or full name; NULL: none. */
const struct wr_ref *wr_making_named(const struct wr_ref *refs, size_t n, struct wr_str rev);
/* Whether it has any branch or tag. */
bool wr_making_any(const struct wr_ref *refs, size_t n);
/*
 * What the new one gets of all refs of the source (in any order). Its default branch is the one that was asked for,
 * where it has one of this name; else the branch that it starts from.
 */
WR_MUST_CHECK enum wr_code wr_making_choose(struct wr_making_refs *out, const struct wr_ref *all, size_t n,
					    const struct wr_making_from *from, const struct wr_making_plan *plan,
					    struct wr_error *err);
/* The source has no refs: the name of the unborn branch. */
void wr_making_unborn(struct wr_making *m, struct wr_str fallback);

/* All of them in one append, with the objects of the quarantine; m->default_branch is set. */
WR_MUST_CHECK enum wr_code wr_making_append(struct wr_making *m, struct wr_quarantine *q,
					    const struct wr_making_refs *refs, struct wr_error *err);
/* m->plan->depth generations of these refs of a repository here, in a new repository of their own. making_depth.c */
WR_MUST_CHECK enum wr_code wr_making_cut(struct wr_making *m, struct wr_view *source, const struct wr_making_refs *refs,
					 struct wr_error *err);
void wr_making_stage(const struct wr_making *m, const char *stage);

/*
 * The tree of an import from a Git repository, into q. *tree: its id. Nothing but the tree is in q then. making_git.c
 */
WR_MUST_CHECK enum wr_code wr_making_git_tree(struct wr_oid *tree, struct wr_making *m, struct wr_quarantine *q,
					      struct wr_error *err);
/*
 * Whether m->own may still be read by whom it was asked for, after its snapshot was taken. WR_E_SOURCE_NOT_FOUND.
 * making_own.c
 */
WR_MUST_CHECK enum wr_code wr_making_own_still(const struct wr_making *m, struct wr_error *err);
/* The commit that the plan's rev names in a repository here. making_own.c */
WR_MUST_CHECK enum wr_code wr_making_own_commit(struct wr_oid *out, struct wr_view *v,
						const struct wr_making_plan *plan, struct wr_error *err);
/* The same in one elsewhere, and that commit alone as a pack, to be read to its end. making_source.c */
struct wr_making_tip {
	struct wr_remote *remote;
	struct wr_source *pack;
	struct wr_oid commit;
	struct wr_oids roots;
};
WR_MUST_CHECK enum wr_code wr_making_fetch_tip(struct wr_making_tip *out, struct wr_making *m, struct wr_error *err);
void wr_making_tip_fini(struct wr_making_tip *tip);

enum wr_code wr_making_no_rev(struct wr_error *err, struct wr_str rev, const char *why);
/* rev, or HEAD's name where none was given. */
struct wr_str wr_making_rev(const struct wr_making_plan *plan);
static inline bool wr_making_from_head(const struct wr_making_plan *plan)
{
	return plan->rev.len == 0 || wr_str_eqz(plan->rev, "HEAD");
}

#endif
