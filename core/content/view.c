#include "core/content/view.h"

#include "core/base/buf.h"

enum wr_code wr_view_open(struct wr_view *out, struct wr_git_repo *repo, struct wr_str default_branch, bool stored,
			  const struct wr_cancel *cancel, struct wr_error *err)
{
	struct wr_view v = {.default_branch = default_branch, .stored = stored, .cancel = cancel};
	enum wr_code code = wr_snapshot_take(&v.snap, repo, err);

	if (code == WR_OK)
		code = wr_snapshot_roots(&v.roots, v.snap, err);
	if (code == WR_OK)
		*out = v;
	else
		wr_view_fini(&v);
	return code;
}

void wr_view_fini(struct wr_view *v)
{
	wr_oids_fini(&v->roots);
	wr_reach_free(v->reach);
	wr_snapshot_unref(v->snap);
	v->reach = NULL;
	v->snap = NULL;
}

enum wr_code wr_view_filter(struct wr_oids *ids, struct wr_view *v, struct wr_error *err)
{
	WR_AUTO_MEM bool *yes = NULL;
	enum wr_code code = WR_OK;
	size_t kept = 0;

	if (v->stored || ids->len == 0)
		return WR_OK;
	if (!v->reach)
		code = wr_reach_new(&v->reach, v->snap, v->cancel, err);
	if (code != WR_OK)
		return code;
	yes = calloc(ids->len, sizeof *yes);
	if (!yes)
		return wr_fail_nomem(err);
	code = wr_reach_each(yes, v->reach, ids, err);
	for (size_t i = 0; i < ids->len && code == WR_OK; i++)
		if (yes[i])
			ids->v[kept++] = ids->v[i];
	if (code == WR_OK)
		ids->len = kept;
	return code;
}

enum wr_code wr_view_commit(struct wr_commit *out, const struct wr_view *v, const struct wr_oid *oid,
			    struct wr_error *err)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	enum wr_code code = wr_snapshot_read(&obj, v->snap, oid, err);

	if (code == WR_OK)
		code = wr_commit_parse(out, wr_str_n(obj.data, obj.size), err);
	for (size_t i = 0; i < v->roots.len && code == WR_OK; i++)
		if (wr_oid_eq(&v->roots.v[i], oid))
			out->parent_count = 0;
	return code;
}

enum wr_code wr_view_head(struct wr_oid *out, const struct wr_view *v)
{
	WR_AUTO_S(wr_buf) name = WR_BUF_INIT(WR_REFNAME_MAX);
	struct wr_ref ref;

	wr_buf_addz(&name, "refs/heads/");
	wr_buf_adds(&name, v->default_branch);
	if (!wr_buf_ok(&name) || !wr_snapshot_find_ref(&ref, v->snap, wr_buf_str(&name)))
		return WR_E_NOT_THERE;
	*out = ref.oid;
	return WR_OK;
}
