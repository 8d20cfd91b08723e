/*
 * core/content/view.h: a repository as one request sees it: one snapshot, so that all of an answer is of one instant.
 * Ownership: the struct is the caller's, wr_view_fini(); it has its own reference to the snapshot and borrows the rest.
 * Threads:   one per view.
 * Blocks on: disk.
 * Errors:    WR_E_CANCELLED, WR_E_UNAVAILABLE, WR_E_INTERNAL (damage).
 *
 * core/content stands on the store's interface (snapshot.h, reach.h, walk.h, append.h, parse.h) and knows neither HTTP nor
 * JSON.
 */
#ifndef WR_VIEW_H
#define WR_VIEW_H

#include "core/git/parse.h"
#include "core/git/reach.h"

struct wr_view {
	struct wr_snapshot *snap;
	struct wr_str default_branch; /* the short name; HEAD's meaning */
	/*
	 * Whether ids name all that is stored. Else what no ref reaches is not there, so that who may only read does not see
	 * what was forced away; who may write can bring it back anyway, by a ref.
	 */
	bool stored;
	const struct wr_cancel *cancel;
	struct wr_keep *sizes; /* NULL, or sizes of the files of trees that were listed, by the tree's id; borrowed */
	const struct wr_room *memory; /* NULL, or who counts large files while they are sent, */
	uint64_t memory_max;	      /* of each no more than so much; borrowed */
	const struct wr_git *git;     /* NULL, or in whose folder large files are unpacked (wr_reader_spill()); borrowed */
	struct wr_reach *reach; /* made when first needed */
	struct wr_oids roots;	/* wr_snapshot_roots() */
};

WR_MUST_CHECK enum wr_code wr_view_open(struct wr_view *out, struct wr_git_repo *repo, struct wr_str default_branch,
					bool stored, const struct wr_cancel *cancel, struct wr_error *err);
void wr_view_fini(struct wr_view *v);
WR_DEFINE_AUTO_S(wr_view);

/* Leaves of these ids those that the view shows. Only for ids from outside: what a shown object refers to is shown. */
WR_MUST_CHECK enum wr_code wr_view_filter(struct wr_oids *ids, struct wr_view *v, struct wr_error *err);

/* A commit's tree, date and parents; at the end of the repository's own history it has none of these. */
WR_MUST_CHECK enum wr_code wr_view_commit(struct wr_commit *out, const struct wr_view *v, const struct wr_oid *oid,
					  struct wr_error *err);

/* The tip of the default branch; WR_E_NOT_THERE, without words, while it is unborn. */
WR_MUST_CHECK enum wr_code wr_view_head(struct wr_oid *out, const struct wr_view *v);

#endif
