#include "core/git/reach.h"

#include "core/git/snapshot_internal.h"

struct wr_reach {
	struct wr_snapshot *snap;
	const struct wr_cancel *cancel;
};

enum wr_code wr_reach_new(struct wr_reach **out, struct wr_snapshot *snap, const struct wr_cancel *cancel,
			  struct wr_error *err)
{
	struct wr_reach *r = calloc(1, sizeof *r);

	if (!r)
		return wr_fail_nomem(err);
	r->snap = wr_snapshot_ref_more(snap);
	r->cancel = cancel;
	*out = r;
	return WR_OK;
}

void wr_reach_free(struct wr_reach *reach)
{
	if (!reach)
		return;
	wr_snapshot_unref(reach->snap);
	free(reach);
}

enum wr_code wr_reach_cheap(bool *out, struct wr_reach *reach, const struct wr_oid *oid, struct wr_error *err)
{
	(void)err;
	*out = wr_snapshot_has(reach->snap, oid);
	return WR_OK;
}

enum wr_code wr_reach_all(size_t *first_bad, struct wr_reach *reach, const struct wr_oids *oids, struct wr_error *err)
{
	return wr_walk_reachable(first_bad, reach->snap, oids, reach->cancel, err);
}

enum wr_code wr_reach_each(bool *yes, struct wr_reach *reach, const struct wr_oids *oids, struct wr_error *err)
{
	for (size_t i = 0; i < oids->len; i++) {
		struct wr_oids one = {(struct wr_oid *)&oids->v[i], 1, 1};
		size_t bad;
		enum wr_code code = wr_reach_all(&bad, reach, &one, err);

		if (code != WR_OK)
			return code;
		yes[i] = bad == 1;
	}
	return WR_OK;
}
