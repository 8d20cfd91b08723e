/*
 * core/git/plan.h: which objects a client lacks, and the pack that brings them.
 * Ownership: wr_plan_new() gives a plan that keeps its own reference to the snapshot; wr_plan_free() releases it.
 * Threads:   one per plan.
 * Blocks on: disk; wr_plan_write() on its sink.
 * Errors:    as walk.h; wr_plan_write() also passes on what the sink says.
 * Never more than what the wants reach is planned. Stored entries are copied verbatim wherever the client can resolve
 * them, so memory is about 40 bytes an object, whatever the objects' sizes.
 */
#ifndef WR_PLAN_H
#define WR_PLAN_H

#include "core/base/stream.h"
#include "core/git/filter.h"
#include "core/git/walk.h"

struct wr_plan;

struct wr_plan_request {
	/*
	 * Objects of any type, and commits or tags that the client has: the caller has checked that refs reach all of
	 * them (reach.h).
	 */
	const struct wr_oids *wants, *haves;
	const struct wr_oids
		*client_shallow; /* roots at which the client's history ends now; the haves' walk stops there */
	/*
	 * NULL, or further roots at which the wants' walk shall stop. It stops at those of client_shallow as well,
	 * unless they are in unshallow.
	 */
	const struct wr_oids *new_shallow;
	const struct wr_oids *unshallow; /* NULL, or roots of the client whose parents are now wanted as well */
	bool include_tag;		 /* also annotated tags of the snapshot that lead to an object of the pack */
	bool thin;			 /* deltas may refer to objects that the client has */
	bool ofs_delta;			 /* the client reads OFS_DELTA entries */
	/*
	 * NULL, or what is left out (git rev-list --filter). Wants themselves always come, whatever the filter says,
	 * and so do tags by include_tag. That a client has a commit counts as its having all of the commit's tree, but for
	 * what lies too deep in it, and for trees and blobs that are wants. Thin deltas then stand only on what the
	 * filter lets through.
	 */
	const struct wr_filter *filter;
};

/* Progress in units of the stage; total is 0 while it is not known. Called at most some hundred times. NULL fn: none.
 */
struct wr_progress {
	void (*fn)(void *arg, const char *stage, uint64_t done, uint64_t total, bool last);
	void *arg;
};

WR_MUST_CHECK enum wr_code wr_plan_new(struct wr_plan **out, struct wr_snapshot *snap,
				       const struct wr_plan_request *req, const struct wr_progress *progress,
				       const struct wr_cancel *cancel, struct wr_error *err);
void wr_plan_free(struct wr_plan *plan);
WR_DEFINE_AUTO(wr_plan);

uint32_t wr_plan_objects(const struct wr_plan *plan);

/* The whole pack, header to trailer (gitformat-pack, version 2). Once per plan. */
WR_MUST_CHECK enum wr_code wr_plan_write(struct wr_plan *plan, struct wr_sink *sink, const struct wr_progress *progress,
					 const struct wr_cancel *cancel, struct wr_error *err);

#endif
