/*
 * core/git/plan_internal.h: what the files of the planner share. plan.c: what is asked for, and the order of things;
 * plan_commits.c: which commits; plan_trees.c: which trees and blobs; plan_objects.c: what of all that comes;
 * plan_whole.c: bases and tails that go as they are; plan_write.c: everything else, and the bytes that surround it.
 *
 * A pack that is planned consists of whole sources (the entries of a base or tail, one after the other, as they are
 * stored) and of items, each an entry of its own. Of whole sources nothing is kept in memory but what dead entries
 * change.
 */
#ifndef WR_PLAN_INTERNAL_H
#define WR_PLAN_INTERNAL_H

#include <openssl/evp.h>

#include "core/git/graph.h"
#include "core/git/plan.h"
#include "core/git/snapshot_internal.h"

struct wr_plan_item {
	struct wr_place place;
	uint64_t out; /* offset in the pack that is written; 0: not written yet */
};
#define WR_PLAN_OPEN UINT64_MAX /* instead of an offset: waits for its base, which is written first */

/*
 * What stands at from .. to of a stored pack is sent otherwise, or not at all; what follows comes `by` bytes earlier
 * than without this and all such before it.
 */
struct wr_shift {
	uint64_t from, to;
	int64_t by;
	bool dead;
};

struct wr_plan_whole {
	uint32_t src;
	uint64_t out; /* where its first entry is written */
	struct wr_shift *shifts;
	size_t len, cap;
};

/* Values in the map of objects: the client has it, the filter leaves it out, else 1 + its place among the items. */
#define WR_PLAN_KNOWN 0u
#define WR_PLAN_LEFT_OUT (UINT32_MAX - 1)
static inline bool wr_plan_is_item(uint32_t value)
{
	return value != WR_PLAN_KNOWN && value != WR_PLAN_LEFT_OUT;
}

struct wr_plan {
	struct wr_snapshot *snap;
	bool thin, ofs_delta, written;
	struct wr_filter filter;
	struct wr_oidmap objects; /* those that are items, those that the client has, and those left out */
	struct wr_plan_item *items;
	uint32_t count, cap; /* of items */
	struct wr_plan_whole *wholes;
	size_t whole_count;
	uint32_t total; /* objects */
};

/* ---- planning ---- */

/* Flags of nodes. */
#define WR_PLAN_SEEN 1u
#define WR_PLAN_OLD 2u /* the client has it */
#define WR_PLAN_QUEUED 4u
#define WR_PLAN_STOP_WANT 8u  /* history is cut here for the wants */
#define WR_PLAN_STOP_HAVE 16u /* and here for the haves */
#define WR_PLAN_EDGE 32u      /* its tree was marked */
#define WR_PLAN_ASKED 64u     /* it is a want itself, so no filter leaves it out */

struct wr_planner {
	struct wr_plan *plan;
	const struct wr_plan_request *req;
	const struct wr_progress *progress;
	bool beyond; /* only what the wants reach beyond base and tails, which go whole */
	struct wr_graph g;
	struct wr_heap heap;
	size_t young; /* of the heap, those not OLD */
	struct wr_nums result, stack, haves;
	struct wr_oids rest;		     /* the wants, where beyond: those that may reach so far */
	struct wr_oids tags, folders, blobs; /* of wants, each with what tags lead to */
	struct wr_oids trees, level;	     /* trees yet to be read */
	struct wr_cache *cache;
	struct wr_oid *recent; /* ids met lately, each at a place that its first bytes say; NULL before the first */
	uint64_t steps;
	int64_t told;
	struct wr_error *err;
};

/* Now and then: is somebody still waiting, and what may he read meanwhile? */
WR_MUST_CHECK enum wr_code wr_plan_step(struct wr_planner *p);
/* An error: what refs reach is not there. */
enum wr_code wr_plan_lost(const struct wr_oid *oid, struct wr_error *err);

/* plan_commits.c: fills result, haves, tags, folders and blobs. */
WR_MUST_CHECK enum wr_code wr_plan_commits(struct wr_planner *p);

/* plan_objects.c: fills the plan's map and items. */
WR_MUST_CHECK enum wr_code wr_plan_add_objects(struct wr_planner *p);
/* One item, unless the map has the object already. */
WR_MUST_CHECK enum wr_code wr_plan_add_item(struct wr_planner *p, const struct wr_oid *oid, bool *added);
/* The same of what is wanted by its own id: whatever the client is thought to have, it comes. */
WR_MUST_CHECK enum wr_code wr_plan_add_wanted(struct wr_planner *p, const struct wr_oid *oid, bool *added);

/* plan_trees.c: what the haves' trees hold is known; then wanted trees, and what trees of all hold, become items. */
WR_MUST_CHECK enum wr_code wr_plan_add_trees(struct wr_planner *p);

/*
 * plan_whole.c: whether base and tails may go whole; then the plan has them, total counts their objects, and rest has
 * the wants that may reach beyond them.
 */
WR_MUST_CHECK enum wr_code wr_plan_whole(bool *out, struct wr_oids *rest, struct wr_plan *plan,
					 const struct wr_plan_request *req, struct wr_error *err);
void wr_plan_whole_fini(struct wr_plan *plan);

/* ---- writing ---- */

/* Whole packets of the largest kind, so that framing need not cut them. */
#define WR_PLAN_BUFFER ((size_t)60 * 1024)

struct wr_plan_writer {
	struct wr_plan *plan;
	struct wr_sink *sink;
	const struct wr_cancel *cancel;
	struct wr_error *err;
	EVP_MD_CTX *sha;  /* NULL: the trailer is known */
	struct wr_cache *cache; /* made when the first object is deflated anew */
	struct wr_nums open;	/* items that wait, each for the one behind it */
	uint64_t written; /* handed to wr_plan_put() */
	uint32_t src;	  /* from which entries come now */
	size_t kept;	  /* of it, what was read since pages were let go */
	size_t len;
	uint8_t buf[WR_PLAN_BUFFER];
};

WR_MUST_CHECK enum wr_code wr_plan_put(struct wr_plan_writer *w, const void *data, size_t n);
/* Bytes of a source's map. */
WR_MUST_CHECK enum wr_code wr_plan_put_stored(struct wr_plan_writer *w, uint32_t src, const uint8_t *data, size_t n);
/* The object deflated anew. */
WR_MUST_CHECK enum wr_code wr_plan_put_full(struct wr_plan_writer *w, struct wr_place place);

/* plan_whole.c */
WR_MUST_CHECK enum wr_code wr_plan_put_whole(struct wr_plan_writer *w, struct wr_plan_whole *whole);
/* Whether a whole source holds the object, and where it was written. */
bool wr_plan_whole_find(uint64_t *out, const struct wr_plan *plan, const struct wr_oid *oid);
/*
 * The trailer of a plan with whole sources, where it is known already: it is a pack's own, or was computed before. key
 * is for wr_plan_sum_keep(); *keep says whether that makes sense.
 */
#define WR_PLAN_SUM 20
#define WR_PLAN_KEY 32
bool wr_plan_sum_known(uint8_t sum[WR_PLAN_SUM], uint8_t key[WR_PLAN_KEY], bool *keep, const struct wr_plan *plan);
void wr_plan_sum_keep(const uint8_t key[WR_PLAN_KEY], const uint8_t sum[WR_PLAN_SUM]);

#endif
