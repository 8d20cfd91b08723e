#include <openssl/evp.h>

#include "core/auth/repos.h"
#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/suspects.h"
#include "core/git/parse.h"
#include "core/git/snapshot.h"
#include "server/api/api.h"
#include "server/api/fields.h"
#include "server/reaper.h"
#include "triggers/trigger.h"

#define HEADS "refs/heads/"
#define TAGS "refs/tags/"

/* What the rows of one answer may cost in memory, roughly. */
#define LIST_COST_MAX ((size_t)256 << 20)
#define REF_COST 800
/* The message of a tag larger than this is not shown. */
#define TAG_SIZE_MAX ((uint64_t)1 << 20)
#define EVENTS_MS 5000 /* that a change of the default branch waits for what happened before */

static json_t *name_json(const struct wr_repo *repo)
{
	return repo->has_name ? wr_json_str(wr_str(repo->name)) : json_null();
}

/* Text, since this is asked for often. */
static void wr_repo_json(struct wr_buf *out, const struct wr_repo *repo)
{
	char created[WR_TIME_LEN + 1];

	wr_time_text(created, repo->created_ms);
	wr_buf_addc(out, '{');
	wr_json_member(out, "id", wr_str(repo->id));
	wr_json_key(out, "name");
	if (repo->has_name)
		wr_json_text(out, wr_str(repo->name));
	else
		wr_buf_addz(out, "null");
	wr_json_member(out, "accountId", wr_str(repo->account_id));
	wr_json_member(out, "visibility", wr_str(wr_visibility_text(repo->public_)));
	wr_json_member(out, "defaultBranch", wr_str(repo->default_branch));
	wr_json_member(out, "createdAt", wr_str(created));
	wr_buf_addc(out, '}');
}

/* Takes both maps over. */
static json_t *wr_repo_item_json(const struct wr_repo *repo, json_t *branches, json_t *tags)
{
	return json_pack("{s:s, s:o, s:s, s:o, s:s, s:o, s:o}", "id", repo->id, "name", name_json(repo), "visibility",
			 wr_visibility_text(repo->public_), "createdAt", wr_time_json(repo->created_ms),
			 "defaultBranch", repo->default_branch, "branches", branches, "tags", tags);
}

/* ---- what names a branch ---- */

enum wr_code wr_api_check_default_branch(struct wr_str branch, struct wr_error *err)
{
	if (branch.len > WR_BRANCH_NAME_MAX)
		return wr_fail(err, WR_E_INVALID_REQUEST, "The field defaultBranch has at most %d bytes",
			       WR_BRANCH_NAME_MAX);
	if (!wr_branchname_ok(branch))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The field defaultBranch is no legal branch name");
	return WR_OK;
}

/* Listing. */

struct listing {
	struct wr_app *app;
	struct wr_request *req;
	size_t cost;
};

/* The bytes of a name that is no UTF-8, which its key in the map cannot carry. */
static enum wr_code add_raw_name(json_t *entry, struct wr_str name, struct wr_error *err)
{
	WR_AUTO_MEM unsigned char *text = NULL;

	if (wr_str_utf8(name))
		return WR_OK;
	text = malloc(4 * (name.len / 3 + 1) + 1);
	if (!text)
		return wr_fail_nomem(err);
	EVP_EncodeBlock(text, (const unsigned char *)name.ptr, (int)name.len);
	return json_object_set_new(entry, "nameBase64", json_string((const char *)text)) == 0 ? WR_OK
											       : wr_fail_nomem(err);
}

/* Adds an entry, taken over, under its name. */
static enum wr_code add_entry(json_t *map, struct wr_str name, json_t *entry, struct wr_error *err)
{
	WR_AUTO(json_t) *owned = entry;
	WR_AUTO(json_t) *key = wr_json_str(name);
	enum wr_code code;

	if (!owned || !key)
		return wr_fail_nomem(err);
	code = add_raw_name(owned, name, err);
	if (code != WR_OK)
		return code;
	return json_object_set(map, json_string_value(key), owned) == 0 ? WR_OK : wr_fail_nomem(err);
}

static enum wr_code add_branch(json_t *branches, const struct wr_ref *ref, const struct wr_repo *repo,
			       struct wr_error *err)
{
	struct wr_str name = wr_str_skip(ref->name, sizeof HEADS - 1);
	char target[WR_OID_HEX + 1];

	wr_oid_hex(target, &ref->oid);
	return add_entry(branches, name,
			 json_pack("{s:o, s:b, s:s}", "name", wr_json_str(name), "default",
				   (int)wr_str_eqz(name, repo->default_branch), "target", target),
			 err);
}

/* The message of a tag object begins behind the first empty line. */
static json_t *message_json(struct wr_str tag)
{
	const char *gap = memmem(tag.ptr, tag.len, "\n\n", 2);

	return gap ? wr_json_str(wr_str_skip(tag, (size_t)(gap - tag.ptr) + 2)) : wr_json_str(WR_S(""));
}

/* What an annotated tag points to, one step, and its message; of a very large one only where it leads to in the end. */
static enum wr_code read_tag(struct wr_oid *target, json_t **message, const struct wr_snapshot *snap,
			     const struct wr_ref *ref, struct wr_error *err)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	enum wr_type type;
	uint64_t size;
	enum wr_code code = wr_snapshot_stat(snap, &ref->oid, &type, &size, err);

	if (code != WR_OK)
		return code;
	if (size > TAG_SIZE_MAX) {
		*target = ref->peeled;
		*message = json_null();
		return WR_OK;
	}
	code = wr_snapshot_read(&obj, snap, &ref->oid, err);
	if (code == WR_OK)
		code = wr_tag_parse(target, &type, wr_str_n(obj.data, obj.size), err);
	if (code == WR_OK)
		*message = message_json(wr_str_n(obj.data, obj.size));
	return code;
}

static enum wr_code add_tag(json_t *tags, size_t *cost, const struct wr_ref *ref, const struct wr_snapshot *snap,
			    struct wr_error *err)
{
	struct wr_str name = wr_str_skip(ref->name, sizeof TAGS - 1);
	struct wr_oid oid = ref->oid;
	json_t *message = NULL;
	char target[WR_OID_HEX + 1];
	enum wr_code code = WR_OK;

	if (wr_oid_zero(&ref->peeled))
		message = json_null();
	else
		code = read_tag(&oid, &message, snap, ref, err);
	if (code != WR_OK)
		return code;
	*cost += json_string_length(message);
	wr_oid_hex(target, &oid);
	return add_entry(tags, name,
			 json_pack("{s:o, s:s, s:o}", "name", wr_json_str(name), "target", target, "message", message),
			 err);
}

static enum wr_code add_refs(json_t *branches, json_t *tags, struct listing *list, const struct wr_repo *repo,
			     struct wr_error *err)
{
	WR_AUTO(wr_git_repo) *git = NULL;
	WR_AUTO(wr_snapshot) *snap = NULL;
	const struct wr_ref *refs;
	size_t n;
	enum wr_code code = wr_git_repo_open(&git, list->app->git, repo->id, err);

	if (code == WR_OK)
		code = wr_snapshot_take(&snap, git, err);
	if (code != WR_OK)
		return code;
	refs = wr_snapshot_refs(snap, &n);
	for (size_t i = 0; i < n && code == WR_OK; i++) {
		if (wr_str_starts(refs[i].name, WR_S(HEADS)))
			code = add_branch(branches, &refs[i], repo, err);
		else if (wr_str_starts(refs[i].name, WR_S(TAGS)))
			code = add_tag(tags, &list->cost, &refs[i], snap, err);
		else
			continue;
		list->cost += REF_COST + 2 * refs[i].name.len;
		if (code == WR_OK && list->cost > LIST_COST_MAX)
			code = wr_fail(err, WR_E_INVALID_REQUEST,
				       "The repositories of this page have too many branches and tags; ask with a "
				       "smaller limit");
	}
	return code;
}

/* A repository whose folder is damaged, or that is out of service, is listed all the same, with nothing in it. */
static enum wr_code add_repo(json_t *rows, struct listing *list, const struct wr_repo *repo, struct wr_error *err)
{
	WR_AUTO(json_t) *branches = json_object();
	WR_AUTO(json_t) *tags = json_object();
	struct wr_suspect_mark mark;
	enum wr_code code;

	wr_suspect_begin(&mark, repo->id);
	code = add_refs(branches, tags, list, repo, err);
	wr_suspect_end(&mark);
	if (code == WR_E_REPO_PARKED)
		code = WR_OK;
	if (code == WR_E_INTERNAL || code == WR_E_NOT_THERE || code == WR_E_BAD_PACK) {
		WR_LOG(WR_ERROR, wr_request_trace(list->req), REPO_DAMAGED, WR_STR("repo", repo->id),
		       WR_STR("detail", err->detail[0] ? err->detail : err->text));
		json_object_clear(branches);
		json_object_clear(tags);
		code = WR_OK;
	}
	return code == WR_OK ? wr_rows_add(rows, wr_repo_item_json(repo, WR_STEAL(branches), WR_STEAL(tags)), err)
			     : code;
}

static bool given_up(struct wr_request *req)
{
	const struct wr_cancel *cancel = wr_request_cancel(req);

	return cancel && cancel->fn && cancel->fn(cancel->arg);
}

enum wr_code wr_api_repo_list(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO(json_t) *rows = json_array();
	WR_AUTO_MEM struct wr_repo *repos = NULL;
	struct listing list = {app, req, 0};
	struct wr_str search = {NULL, 0};
	struct wr_page page;
	size_t n = 0;
	enum wr_code code = wr_page_read(&page, req, 50, 500, err);

	if (code != WR_OK)
		return code;
	repos = calloc(page.limit + 1, sizeof *repos);
	if (!repos)
		return wr_fail_nomem(err);
	wr_request_query(req, "search", &search);
	code = wr_repo_list(repos, &n, &page.total, app->db, wr_request_caller(req), search, page.limit, page.offset,
			    err);
	for (size_t i = 0; i < n && code == WR_OK; i++)
		code = given_up(req) ? wr_fail(err, WR_E_CANCELLED, "while listing")
				     : add_repo(rows, &list, &repos[i], err);
	return code == WR_OK ? wr_reply_page(req, "repositories", WR_STEAL(rows), &page, err) : code;
}

/* One repository. */

enum wr_code wr_api_repo_get(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	struct wr_buf text = WR_BUF_INIT(16 * 1024);

	(void)app;
	(void)err;
	wr_repo_json(&text, wr_request_repo(req));
	wr_reply_json_text(req, &text);
	return WR_OK;
}

enum wr_code wr_api_repo_delete(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	const struct wr_repo *repo = wr_request_repo(req);
	enum wr_code code = wr_repo_delete(app->db, repo->account_id, repo->id, err);

	if (code != WR_OK)
		return code;
	/* Before the answer: a push that is under way must not be acknowledged after it. */
	wr_reaper_kill(app->db, app->git, repo->account_id, repo->id);
	wr_reaper_poke(app->reaper);
	return WR_OK;
}

enum wr_code wr_api_default_branch_get(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	(void)app;
	return wr_reply(req, json_pack("{s:s}", "defaultBranch", wr_request_repo(req)->default_branch), err);
}

struct default_branch_body {
	struct wr_str default_branch;
};

static const struct wr_field default_branch_fields[] = {
	WR_FIELD(struct default_branch_body, default_branch, "defaultBranch", STRING, true),
};

/* The repository as it is when another branch becomes the default one. */
struct head_move {
	struct wr_git_repo *git;
	struct wr_snapshot *snap;
	struct wr_oid tip; /* zero: there is none yet */
};

static void head_move_fini(struct head_move *m)
{
	wr_snapshot_unref(m->snap);
	if (m->git)
		wr_git_repo_unref(m->git);
}

/* In a repository without branches any legal name is taken. */
static enum wr_code find_branch(struct head_move *m, struct wr_app *app, const char *repo_id, struct wr_str branch,
				struct wr_error *err)
{
	WR_AUTO_S(wr_buf) name = WR_BUF_INIT(sizeof HEADS + WR_BRANCH_NAME_MAX);
	const struct wr_ref *refs, *ref;
	size_t n;
	enum wr_code code = wr_git_repo_open(&m->git, app->git, repo_id, err);

	if (code == WR_OK)
		code = wr_snapshot_take(&m->snap, m->git, err);
	if (code != WR_OK)
		return code;
	wr_buf_addz(&name, HEADS);
	wr_buf_adds(&name, branch);
	if (!wr_buf_ok(&name))
		return wr_fail_nomem(err);
	if ((ref = wr_snapshot_ref(m->snap, wr_buf_str(&name)))) {
		m->tip = ref->oid;
		return WR_OK;
	}
	refs = wr_snapshot_refs(m->snap, &n);
	for (size_t i = 0; i < n; i++)
		if (wr_str_starts(refs[i].name, WR_S(HEADS))) {
			wr_fail(err, WR_E_BRANCH_NOT_FOUND, "%s", wr_code_text(WR_E_BRANCH_NOT_FOUND));
			wr_error_field(err, "branch", branch);
			return WR_E_BRANCH_NOT_FOUND;
		}
	return WR_OK;
}

/*
 * Which paths of a new branch are new depends on the branch that was the default one then. So what happened before is told
 * of first; after those seconds it is better to go on.
 */
static enum wr_code move_head(const struct head_move *m, struct wr_app *app, const struct wr_repo *repo,
			      struct wr_str branch, struct wr_error *err)
{
	uint64_t seq = wr_snapshot_seq(m->snap);
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	bool triggers = false, told;
	enum wr_code code = wr_trigger_any(&triggers, app->db, repo->id, err);

	if (code != WR_OK)
		return code;
	told = triggers && wr_git_repo_events_reach(m->git, seq, EVENTS_MS);
	code = wr_repo_set_default_branch(app->db, repo->account_id, repo->id, branch, err);
	if (code != WR_OK || !told)
		return code;
	/* The change is made by now; without the tip new branches are judged by where it is when they are looked at. */
	if (wr_trigger_head(app->db, repo, branch, &m->tip, seq, &why) != WR_OK)
		wr_log_error(NULL, WR_EV_WEBHOOK_FAILED, &why);
	return WR_OK;
}

enum wr_code wr_api_default_branch_put(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_CLEANUP(head_move_fini) struct head_move move = {.git = NULL};
	const struct wr_repo *repo = wr_request_repo(req);
	struct default_branch_body body = {{NULL, 0}};
	enum wr_code code = wr_fields_read(&body, default_branch_fields, WR_ARRAY_LEN(default_branch_fields),
					   wr_request_json(req), err);

	if (code == WR_OK)
		code = wr_api_check_default_branch(body.default_branch, err);
	if (code == WR_OK)
		code = find_branch(&move, app, repo->id, body.default_branch, err);
	return code == WR_OK ? move_head(&move, app, repo, body.default_branch, err) : code;
}

enum wr_code wr_api_visibility_get(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	(void)app;
	return wr_reply(req, json_pack("{s:s}", "visibility", wr_visibility_text(wr_request_repo(req)->public_)), err);
}

struct visibility_body {
	struct wr_str visibility;
};

static const struct wr_field visibility_fields[] = {
	WR_FIELD(struct visibility_body, visibility, "visibility", STRING, true),
};

enum wr_code wr_api_visibility_put(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	const struct wr_repo *repo = wr_request_repo(req);
	struct visibility_body body = {{NULL, 0}};
	bool public_;
	enum wr_code code =
		wr_fields_read(&body, visibility_fields, WR_ARRAY_LEN(visibility_fields), wr_request_json(req), err);

	if (code != WR_OK)
		return code;
	public_ = wr_str_eqz(body.visibility, "public");
	if (!public_ && !wr_str_eqz(body.visibility, "private"))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The field visibility has to be \"public\" or \"private\"");
	return wr_repo_set_visibility(app->db, repo->account_id, repo->id, public_, err);
}
