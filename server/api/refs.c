/* Branches and tags. */
#include "core/base/json.h"
#include "core/git/append.h"
#include "core/git/graph.h"
#include "server/api/fields.h"
#include "server/api/git_json.h"
#include "server/api/view.h"

#define HEADS "refs/heads/"
#define TAGS "refs/tags/"
/* A list with more refs would cost too much memory. */
#define LIST_MAX 300000
/* An annotated tag that is larger is listed without its words. */
#define TAG_SIZE_MAX ((uint64_t)1 << 20)

static enum wr_code branch_not_found(struct wr_str branch, struct wr_error *err)
{
	wr_fail(err, WR_E_BRANCH_NOT_FOUND, "%s", wr_code_text(WR_E_BRANCH_NOT_FOUND));
	wr_error_field(err, "branch", branch);
	return WR_E_BRANCH_NOT_FOUND;
}

static bool find(struct wr_ref *ref, const struct wr_view *v, const char *folder, struct wr_str name)
{
	WR_AUTO_S(wr_buf) full = WR_BUF_INIT(WR_REFNAME_MAX);

	wr_buf_addz(&full, folder);
	wr_buf_adds(&full, name);
	return wr_buf_ok(&full) && wr_snapshot_find_ref(ref, v->snap, wr_buf_str(&full));
}

/* Calls row() for every ref below a folder, in the order of their names. */
static enum wr_code each(struct wr_list *rows, struct wr_view *v, const char *folder,
			 json_t *(*row)(struct wr_view *v, struct wr_str name, const struct wr_ref *ref,
					struct wr_error *err),
			 struct wr_error *err)
{
	size_t n, skip = strlen(folder), listed = 0;
	const struct wr_ref *refs = wr_snapshot_refs(v->snap, &n);
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < n && code == WR_OK; i++) {
		json_t *made;

		if (!wr_str_starts(refs[i].name, wr_str(folder)))
			continue;
		if (++listed > LIST_MAX)
			return wr_fail(err, WR_E_INVALID_REQUEST, "There are more than %d of them", LIST_MAX);
		if (listed % 1024 == 0 && (code = wr_cancelled(v->cancel, err)) != WR_OK)
			return code;
		made = row(v, wr_str_skip(refs[i].name, skip), &refs[i], err);
		code = made ? wr_list_add(rows, made, err) : err->code != WR_OK ? err->code : wr_fail_nomem(err);
	}
	return code;
}

/* ---- branches ---- */

static json_t *branch_row(struct wr_view *v, struct wr_str name, const struct wr_ref *ref, struct wr_error *err)
{
	WR_AUTO(json_t) *row = NULL;
	char hex[WR_OID_HEX + 1];

	(void)v;
	(void)err;
	wr_oid_hex(hex, &ref->oid);
	row = json_pack("{s:s}", "commit", hex);
	return row && wr_json_set_bytes(row, "name", name) ? WR_STEAL(row) : NULL;
}

enum wr_code wr_api_branch_list(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	WR_AUTO_S(wr_list) rows;
	enum wr_code code = wr_api_view(&v, app, req, err);

	wr_list_init(&rows, req, "branches");
	if (code == WR_OK)
		code = each(&rows, &v, HEADS, branch_row, err);
	return code == WR_OK ? wr_list_reply(&rows, NULL, err) : code;
}

static enum wr_code reply_ref(struct wr_request *req, struct wr_str name, const struct wr_oid *oid)
{
	struct wr_buf text = WR_BUF_INIT(SIZE_MAX / 2);
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	wr_buf_addc(&text, '{');
	wr_json_member(&text, "sha", wr_str(hex));
	wr_json_bytes(&text, "name", name);
	wr_buf_addc(&text, '}');
	wr_reply_json_text(req, &text);
	return WR_OK;
}

/* As find(), of the repository as it is; false where it would take a wait to know. */
static bool find_now(struct wr_oid *oid, bool *found, struct wr_buf *full, struct wr_app *app, const struct wr_request *req,
		     struct wr_str branch)
{
	wr_buf_addz(full, HEADS);
	wr_buf_adds(full, branch);
	*found = false;
	return !wr_buf_ok(full) || wr_git_ref_now(oid, found, app->git, wr_request_repo(req)->id, wr_buf_str(full));
}

static enum wr_code find_later(struct wr_oid *oid, bool *found, struct wr_app *app, struct wr_request *req,
			       struct wr_str branch, struct wr_error *err)
{
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	struct wr_ref ref;
	enum wr_code code = wr_api_view(&v, app, req, err);

	if (code == WR_OK && (*found = find(&ref, &v, HEADS, branch)))
		*oid = ref.oid;
	return code;
}

enum wr_code wr_api_branch_get(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_S(wr_buf) full = WR_BUF_INIT(WR_REFNAME_MAX);
	struct wr_str branch = wr_request_param(req, "branch");
	struct wr_oid oid;
	bool found = false;
	enum wr_code code;

	if (!find_now(&oid, &found, &full, app, req, branch)) {
		if (!wr_request_may_wait(req))
			return wr_request_later(req);
		if ((code = find_later(&oid, &found, app, req, branch, err)) != WR_OK)
			return code;
	}
	return found ? reply_ref(req, wr_buf_str(&full), &oid) : branch_not_found(branch, err);
}

struct create_body {
	struct wr_str sha;
};

static const struct wr_field create_fields[] = {
	WR_FIELD(struct create_body, sha, "sha", STRING, false),
};

static enum wr_code check_name(struct wr_str branch, struct wr_error *err)
{
	if (branch.len == 0)
		return wr_fail(err, WR_E_BRANCH_NAME_EMPTY, "%s", wr_code_text(WR_E_BRANCH_NAME_EMPTY));
	if (wr_str_eq(branch, WR_S("{*branch}")))
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "branches.create of freestyle 0.1.63 sends no name: it leaves the placeholder {*branch} in "
			       "the path. Call freestyle.fetch() with the branch's name in the path, or create the branch "
			       "with commits.create or a push");
	if (branch.len > WR_BRANCH_NAME_MAX || !wr_branchname_ok(branch))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The path names no legal branch");
	return WR_OK;
}

/* The commit that the branch begins at. */
static enum wr_code find_start(struct wr_oid *out, struct wr_view *v, struct wr_str sha, struct wr_error *err)
{
	enum wr_code code;

	if (sha.len > 0) {
		code = wr_rev_id(out, v, sha, WR_COMMIT, WR_E_COMMIT_NOT_FOUND, err);
		if (code == WR_E_COMMIT_NOT_FOUND)
			wr_error_field(err, "sha", sha);
		return code;
	}
	return wr_view_head(out, v) == WR_OK ? WR_OK : branch_not_found(v->default_branch, err);
}

static enum wr_code create(struct wr_str branch, const struct wr_oid *oid, struct wr_app *app, struct wr_request *req,
			   struct wr_error *err)
{
	WR_AUTO_S(wr_buf) name = WR_BUF_INIT(WR_REFNAME_MAX);
	WR_AUTO(wr_git_repo) *git = NULL;
	struct wr_ref_update update = {.new = *oid};
	char asker[WR_CALLER_NAME];
	struct wr_change change = {.updates = &update, .count = 1, .asker = wr_api_asker(asker, req)};
	enum wr_code code = wr_api_writable(&git, app, req, err);

	wr_buf_addz(&name, HEADS);
	wr_buf_adds(&name, branch);
	if (code != WR_OK)
		return code;
	update.name = wr_buf_str(&name);
	if ((code = wr_git_append(git, &change, err)) != WR_OK || update.result == WR_OK)
		return code;
	if (wr_oid_zero(&update.before))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The branch was not made: %s", update.reason);
	wr_fail(err, WR_E_BRANCH_EXISTS, "%s", wr_code_text(WR_E_BRANCH_EXISTS));
	wr_error_field(err, "branch", branch);
	return WR_E_BRANCH_EXISTS;
}

enum wr_code wr_api_branch_create(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	struct wr_str branch = wr_request_param(req, "branch");
	struct create_body body = {{NULL, 0}};
	struct wr_oid oid;
	enum wr_code code = check_name(branch, err);

	if (code == WR_OK)
		code = wr_fields_read(&body, create_fields, WR_ARRAY_LEN(create_fields), wr_request_json(req), err);
	if (code == WR_OK)
		code = wr_api_view(&v, app, req, err);
	if (code == WR_OK)
		code = find_start(&oid, &v, body.sha, err);
	if (code == WR_OK)
		code = create(branch, &oid, app, req, err);
	return code == WR_OK ? reply_ref(req, branch, &oid) : code;
}

/* ---- tags ---- */

static json_t *tag_row(struct wr_view *v, struct wr_str name, const struct wr_ref *ref, struct wr_error *err)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	uint64_t size;

	if (wr_oid_zero(&ref->peeled))
		return wr_light_tag_json(name, &ref->oid);
	if (wr_snapshot_stat(v->snap, &ref->oid, NULL, &size, err) != WR_OK)
		return NULL;
	if (size <= TAG_SIZE_MAX && wr_snapshot_read(&obj, v->snap, &ref->oid, err) != WR_OK)
		return NULL;
	return obj.data ? wr_tag_json(name, &ref->oid, wr_str_n(obj.data, obj.size))
			: wr_light_tag_json(name, &ref->peeled);
}

enum wr_code wr_api_tag_list(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	WR_AUTO_S(wr_list) rows;
	enum wr_code code = wr_api_view(&v, app, req, err);

	wr_list_init(&rows, req, "tags");
	if (code == WR_OK)
		code = each(&rows, &v, TAGS, tag_row, err);
	return code == WR_OK ? wr_list_reply(&rows, NULL, err) : code;
}

enum wr_code wr_api_tag_get(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	WR_AUTO_S(wr_buf) full = WR_BUF_INIT(2 * WR_REFNAME_MAX);
	struct wr_str tag = wr_request_param(req, "tag");
	struct wr_ref ref;
	json_t *row;
	enum wr_code code = wr_api_view(&v, app, req, err);

	if (code != WR_OK)
		return code;
	if (!find(&ref, &v, TAGS, tag)) {
		wr_buf_addz(&full, TAGS);
		wr_buf_adds(&full, tag);
		wr_fail(err, WR_E_REFERENCE_NOT_FOUND, "%s", wr_code_text(WR_E_REFERENCE_NOT_FOUND));
		wr_error_field(err, "reference", wr_buf_str(&full));
		return WR_E_REFERENCE_NOT_FOUND;
	}
	row = tag_row(&v, tag, &ref, err);
	return !row && err->code != WR_OK ? err->code : wr_reply(req, row, err);
}
