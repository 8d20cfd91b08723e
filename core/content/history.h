/*
 * core/content/history.h: lists of commits in one fixed order, that of `git rev-list --date-order`: children before
 * parents, and of those that may come next the one with the newest committer date; of equal dates the one that could
 * come first (parents in their order). Ascending is the exact reverse.
 *
 * The order of all that a tip reaches is made once (an id per commit) and kept for who asks next, as long as memory
 * allows: the next page is an array's next part, the total its length. A new commit on top of a known tip costs one step.
 * Ownership: the cache is the program's; a struct wr_history is the caller's, wr_history_fini().
 * Threads:   the cache from any; a history is one thread's.
 * Blocks on: disk and CPU: a walk over a long history takes a second; cancel is asked.
 * Errors:    WR_E_COMMIT_NOT_IN_BRANCH (field sha; the caller adds branch), WR_E_INVALID_RANGE (since, until), and those
 *            of view.h.
 */
#ifndef WR_HISTORY_H
#define WR_HISTORY_H

#include "core/content/view.h"

struct wr_orders;
/* max_bytes: of all kept orders together. */
WR_MUST_CHECK enum wr_code wr_orders_new(struct wr_orders **out, size_t max_bytes, struct wr_error *err);
/*
 * From now on the order of a default branch's long history is also stored in its repository's folder (derived.h), where
 * the first who asks after a start finds it. Before others use it.
 */
void wr_orders_store_in(struct wr_orders *orders, struct wr_git *git);
void wr_orders_free(struct wr_orders *orders);
/*
 * Stores it before anybody asks, where it would be stored then; branch: the default branch. As wr_git_config.prepare has
 * it: nothing fails that matters.
 */
void wr_orders_prepare(struct wr_git *git, struct wr_git_repo *repo, const char *branch, const struct wr_cancel *cancel);

struct wr_history_ask {
	struct wr_oid tip;
	/* NULL, or commits that have to be in tip's history. What they select: GET .../git/commits in the reference. */
	const struct wr_oid *since, *until;
	bool ascending;
	uint64_t offset, limit;
	bool count; /* total is wanted */
};

struct wr_history {
	struct wr_oids commits; /* the page */
	uint64_t total;		/* selected in all, where asked for */
	struct wr_oid next;	/* the first behind the page; zero: none */
};
void wr_history_fini(struct wr_history *h);
WR_DEFINE_AUTO_S(wr_history);

WR_MUST_CHECK enum wr_code wr_history_list(struct wr_history *out, struct wr_view *v, struct wr_orders *orders,
					   const char *repo_id, const struct wr_history_ask *ask, struct wr_error *err);

/*
 * How many commits each of two tips reaches that the other does not, and the best common ancestors (git merge-base
 * --all), which are none for histories without a common root.
 */
WR_MUST_CHECK enum wr_code wr_history_compare(uint64_t *ahead, uint64_t *behind, struct wr_oids *bases, struct wr_view *v,
					      struct wr_orders *orders, const char *repo_id, const struct wr_oid *base,
					      const struct wr_oid *head, struct wr_error *err);

#endif
