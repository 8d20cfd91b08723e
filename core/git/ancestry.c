#include "core/git/append_internal.h"
#include "core/git/parse.h"

/* A push of more commits than this onto a branch is rare, and then the next checkpoint finds out. */
#define MAX_COMMITS 2000

static enum wr_code parents_of(struct wr_oids *queue, struct wr_oidmap *seen, const struct wr_oidmap *ends,
			       const struct wr_incoming *in, const struct wr_snapshot *snap, const struct wr_oid *oid,
			       struct wr_error *err)
{
	WR_AUTO_S(wr_commit) commit = {.parents = NULL};
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	enum wr_code code = wr_incoming_read(&obj, in, snap, oid, err);
	bool added;

	if (code != WR_OK || obj.type != WR_COMMIT || wr_oidmap_has(ends, oid))
		return code;
	if ((code = wr_commit_parse(&commit, wr_str_n(obj.data, obj.size), err)) != WR_OK)
		return code;
	for (size_t i = 0; i < commit.parent_count && code == WR_OK; i++)
		if ((code = wr_oidmap_add(seen, &commit.parents[i], 0, &added, err)) == WR_OK && added)
			code = wr_oids_add(queue, &commit.parents[i], err);
	return code;
}

/* Breadth first: what a push builds on lies at most as far away as it has commits. */
enum wr_code wr_descends(bool *out, unsigned *budget, const struct wr_incoming *in, const struct wr_snapshot *snap,
			 const struct wr_oid *of, const struct wr_oid *from, struct wr_error *err)
{
	WR_AUTO_S(wr_oidmap) seen = {0}, ends = {0};
	WR_AUTO_S(wr_oids) queue = {0};
	enum wr_code code;

	*out = false;
	if ((code = wr_snapshot_ends(&ends, snap, err)) != WR_OK ||
	    (code = wr_oidmap_add(&seen, of, 0, NULL, err)) != WR_OK || (code = wr_oids_add(&queue, of, err)) != WR_OK)
		return code;
	for (size_t i = 0; i < queue.len && i < MAX_COMMITS && *budget > 0 && !wr_oidmap_has(&seen, from); i++) {
		struct wr_oid oid = queue.v[i];

		--*budget;
		if ((code = parents_of(&queue, &seen, &ends, in, snap, &oid, err)) != WR_OK)
			return code;
	}
	*out = wr_oidmap_has(&seen, from);
	return WR_OK;
}
