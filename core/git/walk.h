/*
 * core/git/walk.h: questions about history, answered by walks over a snapshot. What refs reach is reach.h.
 * Ownership: results are filled into the caller's lists.
 * Threads:   any; a call uses the snapshot read-only.
 * Blocks on: disk. Long walks ask wr_cancel now and then.
 * Errors:    WR_E_CANCELLED, WR_E_INTERNAL (a reachable object is missing or damaged), WR_E_UNAVAILABLE.
 */
#ifndef WR_WALK_H
#define WR_WALK_H

#include "core/base/cancel.h"
#include "core/git/oidmap.h"
#include "core/git/snapshot.h"

/*
 * Whether every want (tags peeled) has an ancestor among commons, or is one: the server is then ready to send a pack
 * ("ready" in gitprotocol-v2). Walks stop at the client's shallow roots, and at commits made before oldest (seconds;
 * INT64_MIN: none) that are no wants: below the oldest of what the client told nothing can be found but by wrong dates.
 */
WR_MUST_CHECK enum wr_code wr_walk_ready(bool *out, const struct wr_snapshot *snap, const struct wr_oids *wants,
					 const struct wr_oids *commons, const struct wr_oids *client_shallow,
					 int64_t oldest, const struct wr_cancel *cancel, struct wr_error *err);

/*
 * The parents of these commits, each once, but for those of ends (may be NULL). *oldest (may be NULL): the date of the
 * oldest of the commits themselves, INT64_MAX where there are none.
 */
WR_MUST_CHECK enum wr_code wr_walk_parents(struct wr_oids *out, int64_t *oldest, const struct wr_snapshot *snap,
					   const struct wr_oids *commits, const struct wr_oids *ends,
					   const struct wr_cancel *cancel, struct wr_error *err);

/*
 * A depth limit applied (gitprotocol-pack, "shallow" lines). depth counts commits from each want, 1 is the want alone.
 * shallow gets the commits at which history now ends for the client, all of just this depth (also those that have no
 * parents, as git counts them) and the repository's own roots above it, and which it did not name as shallow itself;
 * unshallow gets those of client_shallow that now have their parents.
 */
WR_MUST_CHECK enum wr_code wr_walk_depth(struct wr_oids *shallow, struct wr_oids *unshallow,
					 const struct wr_snapshot *snap, const struct wr_oids *wants,
					 const struct wr_oids *client_shallow, uint32_t depth,
					 const struct wr_cancel *cancel, struct wr_error *err);

/*
 * The same where not the depth counts (deepen-since, deepen-not): left out is all that nots reach (tags peeled), and
 * what is older than since (INT64_MIN: nothing) with all behind it. *any: some commit is kept.
 */
WR_MUST_CHECK enum wr_code wr_walk_choice(bool *any, struct wr_oids *shallow, struct wr_oids *unshallow,
					  const struct wr_snapshot *snap, const struct wr_oids *wants,
					  const struct wr_oids *nots, int64_t since,
					  const struct wr_oids *client_shallow, const struct wr_cancel *cancel,
					  struct wr_error *err);

/*
 * The repository's own roots (wr_snapshot_roots()) that wants reach without passing a root of the client's or one of its
 * commits (haves), but for those that are such themselves. Costs nothing where the repository has none, little for who has most of it or
 * wants all heads and tags of a checkpoint; else a walk.
 */
WR_MUST_CHECK enum wr_code wr_walk_roots(struct wr_oids *out, const struct wr_snapshot *snap,
					 const struct wr_oids *wants, const struct wr_oids *haves,
					 const struct wr_oids *client_shallow, const struct wr_cancel *cancel,
					 struct wr_error *err);

#endif
