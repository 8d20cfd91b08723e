/*
 * core/git/graph.h: commits as walks need them: read once each, numbered, with flags.
 * Ownership: a wr_graph is the caller's, wr_graph_fini(); it borrows the snapshot and cancel.
 * Threads:   one per graph.
 * Blocks on: disk.
 * Errors:    WR_E_INTERNAL (a commit is missing or damaged: what refs reach is complete), WR_E_CANCELLED,
 *            WR_E_UNAVAILABLE; WR_E_TOO_LARGE where commits name more parents than any history does.
 */
#ifndef WR_GRAPH_H
#define WR_GRAPH_H

#include "core/git/walk.h"

struct wr_node {
	struct wr_oid oid;
	struct wr_oid tree;		/* once loaded */
	int64_t date;			/* once loaded */
	uint32_t parents, parent_count; /* a range of the graph's edges, once loaded */
	uint32_t flags;			/* the walk's own, but for the two below */
};
#define WR_NODE_LOADED 0x80000000u
#define WR_NODE_ROOT 0x40000000u /* once loaded: the repository's own history ends here, so it has no parents */

struct wr_graph {
	const struct wr_snapshot *snap;
	const struct wr_cancel *cancel;
	struct wr_oidmap map; /* to indexes of nodes */
	struct wr_node *nodes;
	uint32_t count, cap;
	uint32_t *edges; /* indexes of nodes */
	uint32_t edge_count, edge_cap;
	uint32_t loads;
	bool ends_known;      /* once the first commit is read: */
	struct wr_oidmap ends; /* wr_snapshot_roots() */
	struct wr_cache *cache; /* made when the first commit is read */
};
void wr_graph_fini(struct wr_graph *g);
WR_DEFINE_AUTO_S(wr_graph);

/* The node of this id, made when it is new; pointers into nodes end with the next call. Reads nothing. */
WR_MUST_CHECK enum wr_code wr_graph_node(uint32_t *out, struct wr_graph *g, const struct wr_oid *oid,
					 struct wr_error *err);
/* Reads the commit unless that was done; its parents become nodes. */
WR_MUST_CHECK enum wr_code wr_graph_load(struct wr_graph *g, uint32_t node, struct wr_error *err);

/* Sets a flag on the node of every id. */
WR_MUST_CHECK enum wr_code wr_graph_flag(struct wr_graph *g, const struct wr_oids *oids, uint32_t flag,
					 struct wr_error *err);

/* For many ids whose tags may share their chains: each tag is read once. The struct is the caller's; it borrows. */
struct wr_peeler {
	const struct wr_snapshot *snap;
	const struct wr_cancel *cancel;
	struct wr_oidmap met;
};
void wr_peeler_fini(struct wr_peeler *p);
WR_DEFINE_AUTO_S(wr_peeler);

/*
 * What a tag leads to in the end; oid itself when it is none. The tags on the way go to chain unless that is NULL.
 * *again: it, or one of these tags, was met before by this peeler; then nothing is set, and the rest of the chain is
 * known. WR_E_NOT_THERE when oid (or what a tag names) is absent.
 */
WR_MUST_CHECK enum wr_code wr_peel(bool *again, struct wr_oid *out, enum wr_type *type, struct wr_oids *chain,
				   struct wr_peeler *p, const struct wr_oid *oid, struct wr_error *err);

/* Indexes of loaded nodes, youngest commit first; of equal dates the one that became a node first. */
struct wr_heap {
	uint32_t *v;
	size_t len, cap;
};
void wr_heap_fini(struct wr_heap *heap);
WR_DEFINE_AUTO_S(wr_heap);
WR_MUST_CHECK enum wr_code wr_heap_push(struct wr_heap *heap, const struct wr_graph *g, uint32_t node,
					struct wr_error *err);
uint32_t wr_heap_pop(struct wr_heap *heap, const struct wr_graph *g); /* len > 0 */

/* A plain stack of numbers. */
struct wr_nums {
	uint32_t *v;
	size_t len, cap;
};
void wr_nums_fini(struct wr_nums *nums);
WR_DEFINE_AUTO_S(wr_nums);
WR_MUST_CHECK enum wr_code wr_nums_add(struct wr_nums *nums, uint32_t n, struct wr_error *err);

#endif
