#include "core/content/difference.h"
#include "core/content/history.h"
#include "server/api/git_json.h"
#include "server/api/view.h"

struct sides {
	struct wr_oid base, head; /* commits */
	uint64_t ahead, behind;
	struct wr_oids bases; /* of both, the best */
};

static enum wr_code read_side(struct wr_str *rev, const char *name, const struct wr_request *req, struct wr_error *err)
{
	if (!wr_request_query(req, name, rev))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The parameter %s is missing", name);
	return WR_OK;
}

static const char *status_of(const struct sides *s)
{
	if (s->ahead && s->behind)
		return "diverged";
	return s->ahead ? "ahead" : s->behind ? "behind" : "identical";
}

static const char *file_status(enum wr_difference_status status)
{
	static const char *const names[] = {"added", "removed", "modified", "renamed", "changed"};

	return names[status];
}

static json_t *file_json(const struct wr_different *f)
{
	WR_AUTO(json_t) *row = NULL;
	unsigned mode = f->mode ? f->mode : f->old_mode;
	const struct wr_oid *oid = f->mode ? &f->oid : &f->old_oid;
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	row = json_pack("{s:s, s:I, s:I, s:I, s:o, s:n}", "status", file_status(f->status), "additions",
			(json_int_t)f->additions, "deletions", (json_int_t)f->deletions, "changes",
			(json_int_t)(f->additions + f->deletions), "sha",
			mode == WR_MODE_LINK ? json_null() : json_string(hex), "previous_filename");
	if (!row || !wr_json_set_bytes_as(row, "filename", "pathBase64", wr_str_n(f->path, f->path_len)))
		return NULL;
	if (f->old_path && !wr_json_set_bytes_as(row, "previous_filename", "previousPathBase64",
						 wr_str_n(f->old_path, f->old_path_len)))
		return NULL;
	return WR_STEAL(row);
}

/* Between the merge base and head; of several the first. */
static enum wr_code list_files(struct wr_list *rows, const struct sides *s, struct wr_view *v, struct wr_error *err)
{
	WR_AUTO_S(wr_difference) d = {.v = NULL};
	WR_AUTO_S(wr_commit) from = {.parents = NULL}, to = {.parents = NULL};
	enum wr_code code = wr_view_commit(&from, v, s->bases.len ? &s->bases.v[0] : &s->base, err);

	if (code == WR_OK)
		code = wr_view_commit(&to, v, &s->head, err);
	if (code == WR_OK)
		code = wr_difference_of(&d, v, &from.tree, &to.tree, err);
	for (size_t i = 0; i < d.len && code == WR_OK; i++)
		code = wr_list_add(rows, file_json(&d.v[i]), err);
	return code;
}

enum wr_code wr_api_compare(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	WR_AUTO_S(wr_list) files;
	struct sides s = {.ahead = 0};
	struct wr_str base, head;
	enum wr_code code;

	wr_list_init(&files, req, "files");
	if ((code = read_side(&base, "base", req, err)) == WR_OK && (code = read_side(&head, "head", req, err)) == WR_OK &&
	    (code = wr_api_view(&v, app, req, err)) == WR_OK &&
	    (code = wr_rev_commit(&s.base, &v, base, err)) == WR_OK &&
	    (code = wr_rev_commit(&s.head, &v, head, err)) == WR_OK &&
	    (code = wr_history_compare(&s.ahead, &s.behind, &s.bases, &v, app->orders, wr_request_repo(req)->id, &s.base,
				       &s.head, err)) == WR_OK)
		code = list_files(&files, &s, &v, err);
	wr_oids_fini(&s.bases);
	if (code != WR_OK)
		return code;
	return wr_list_reply(&files,
			     json_pack("{s:s, s:I, s:I, s:I}", "status", status_of(&s), "ahead_by", (json_int_t)s.ahead,
				       "behind_by", (json_int_t)s.behind, "total_commits", (json_int_t)s.ahead),
			     err);
}
