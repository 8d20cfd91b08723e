/* POST /git/v1/repo: new repositories, empty, or filled from elsewhere. */
#include "core/auth/label.h"
#include "core/auth/repos.h"
#include "core/base/buf.h"
#include "core/base/config.h"
#include "core/content/edit.h"
#include "core/net/url.h"
#include "server/api/api.h"
#include "server/api/fields.h"
#include "server/making.h"

#define REV_MAX ((size_t)4096)
#define DIR_MAX ((size_t)4096)
/* Of imports that wait for others: what they keep in memory is small. */
#define MESSAGE_MAX ((size_t)1 << 20)
#define MESSAGE_MAX_HERE ((size_t)32 << 20)

/* ---- strings ---- */

/* An empty one counts as absent. */
static void drop_empty(struct wr_str *s)
{
	if (s->len == 0)
		s->ptr = NULL;
}

/* libcurl takes any number of slashes before the host; what has none there is a slip of the pen. */
static bool has_host(struct wr_str url)
{
	const char *mark = url.len ? memmem(url.ptr, url.len, "://", 3) : NULL;

	return mark && mark + 3 < url.ptr + url.len && mark[3] != '/';
}

static enum wr_code check_url(struct wr_str url, const char *field, struct wr_error *err)
{
	WR_AUTO_S(wr_net_url) parts = {NULL, NULL, NULL, NULL};

	for (size_t i = 0; i < url.len; i++)
		if ((unsigned char)url.ptr[i] <= ' ' || url.ptr[i] == 0x7f)
			return wr_fail(err, WR_E_INVALID_REQUEST,
				       "The field %s has a space or a control character; encode it as %%XX", field);
	if (!has_host(url))
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "The field %s has to be a URL: http:// or https://, a host and a path", field);
	return wr_net_url_split(&parts, url, err);
}

static enum wr_code check_text(struct wr_str text, size_t max, const char *field, struct wr_error *err)
{
	if (text.len > max)
		return wr_fail(err, WR_E_INVALID_REQUEST, "The field %s has at most %zu bytes", field, max);
	if (text.ptr && memchr(text.ptr, '\0', text.len))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The field %s has a NUL character, which git does not take",
			       field);
	return WR_OK;
}

/* ---- source ---- */

struct source_body {
	struct wr_str url, rev, branch;
	struct wr_field_int depth;
	bool all_branches;
};

static const struct wr_field source_fields[] = {
	WR_FIELD(struct source_body, url, "url", STRING, true),
	WR_FIELD(struct source_body, rev, "rev", STRING, false),
	WR_FIELD(struct source_body, branch, "branch", STRING, false),
	WR_FIELD(struct source_body, depth, "depth", INT, false),
	WR_FIELD(struct source_body, all_branches, "allBranches", BOOL, false),
};

static enum wr_code read_source(struct wr_making_plan *plan, json_t *value, struct wr_error *err)
{
	struct source_body body = {.all_branches = false};
	enum wr_code code;

	if (!json_is_object(value))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The field source has to be an object");
	code = wr_fields_read(&body, source_fields, WR_ARRAY_LEN(source_fields), value, err);
	if (code == WR_OK)
		code = check_url(body.url, "source.url", err);
	if (code == WR_OK && body.depth.set && (body.depth.value < 1 || body.depth.value > INT32_MAX))
		code = wr_fail(err, WR_E_INVALID_REQUEST, "The field source.depth is a number from 1 on");
	plan->kind = WR_PLAN_SOURCE;
	plan->url = body.url;
	plan->rev = body.rev.len ? body.rev : body.branch;
	drop_empty(&plan->rev);
	plan->depth = code == WR_OK && body.depth.set ? (uint32_t)body.depth.value : 0;
	plan->all_branches = body.all_branches;
	return code == WR_OK ? check_text(plan->rev, REV_MAX, "source.rev", err) : code;
}

/* ---- import ---- */

struct import_body {
	struct wr_str type, url, rev, branch, dir, message, name, email;
	json_t *files;
};

static const struct wr_field import_fields[] = {
	WR_FIELD(struct import_body, type, "type", STRING, true),
	WR_FIELD(struct import_body, url, "url", STRING, false),
	WR_FIELD(struct import_body, rev, "rev", STRING, false),
	WR_FIELD(struct import_body, branch, "branch", STRING, false),
	WR_FIELD(struct import_body, dir, "dir", STRING, false),
	WR_FIELD(struct import_body, message, "commitMessage", STRING, true),
	WR_FIELD(struct import_body, name, "authorName", STRING, false),
	WR_FIELD(struct import_body, email, "authorEmail", STRING, false),
	WR_FIELD(struct import_body, files, "files", ANY, false),
};

static enum wr_code read_type(enum wr_plan_kind *out, struct wr_str type, struct wr_error *err)
{
	static const struct {
		const char *name;
		enum wr_plan_kind kind;
	} types[] = {{"files", WR_PLAN_FILES}, {"tar", WR_PLAN_TAR}, {"zip", WR_PLAN_ZIP}, {"git", WR_PLAN_GIT}};

	for (size_t i = 0; i < WR_ARRAY_LEN(types); i++)
		if (wr_str_eqz(type, types[i].name)) {
			*out = types[i].kind;
			return WR_OK;
		}
	return wr_fail(err, WR_E_INVALID_REQUEST, "The field import.type is files, tar, zip or git");
}

static enum wr_code check_file(const char *path, size_t len, json_t *content, struct wr_error *err)
{
	if (!json_is_string(content))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The field import.files has a value that is no string");
	if (wr_edit_path_ok(wr_str_n(path, len)))
		return WR_OK;
	wr_fail(err, WR_E_INVALID_FILE_PATH,
		"A path is relative, with / between its parts, none of which is empty, . or .., or stands for .git");
	wr_error_field(err, "path", wr_str_n(path, len));
	return WR_E_INVALID_FILE_PATH;
}

static enum wr_code check_files(json_t *files, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	if (!json_is_object(files))
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "The field import.files has to be an object of paths and texts");
	for (void *at = json_object_iter(files); at && code == WR_OK; at = json_object_iter_next(files, at))
		code = check_file(json_object_iter_key(at), strlen(json_object_iter_key(at)), json_object_iter_value(at),
				  err);
	return code;
}

static enum wr_code check_author(const struct wr_making_plan *plan, const struct wr_app *app, struct wr_error *err)
{
	const struct wr_person who = {
		.name = plan->author_name.ptr ? plan->author_name : wr_str(app->cfg->git_author_name),
		.mail = plan->author_email.ptr ? plan->author_email : wr_str(app->cfg->git_author_email)};

	if (wr_person_ok(&who))
		return WR_OK;
	return wr_fail(err, WR_E_INVALID_REQUEST,
		       "The fields import.authorName and import.authorEmail have 1 to 1024 bytes each, without <, > "
		       "and control characters");
}

/* The fields that every kind has, and what each needs. */
static enum wr_code check_import(const struct wr_making_plan *plan, const struct wr_app *app, struct wr_error *err)
{
	bool here = plan->kind == WR_PLAN_FILES;
	enum wr_code code =
		check_text(plan->message, here ? MESSAGE_MAX_HERE : MESSAGE_MAX, "import.commitMessage", err);

	if (code == WR_OK)
		code = check_text(plan->rev, REV_MAX, "import.rev", err);
	if (code == WR_OK)
		code = check_text(plan->dir, DIR_MAX, "import.dir", err);
	if (code == WR_OK)
		code = check_author(plan, app, err);
	if (code != WR_OK)
		return code;
	if (here)
		return check_files(plan->files, err);
	if (!plan->url.ptr)
		return wr_fail(err, WR_E_INVALID_REQUEST, "The field import.url is missing");
	return check_url(plan->url, "import.url", err);
}

static enum wr_code read_import(struct wr_making_plan *plan, json_t *value, const struct wr_app *app,
				struct wr_error *err)
{
	struct import_body body = {.files = NULL};
	enum wr_code code;

	if (!json_is_object(value))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The field import has to be an object");
	code = wr_fields_read(&body, import_fields, WR_ARRAY_LEN(import_fields), value, err);
	if (code == WR_OK)
		code = read_type(&plan->kind, body.type, err);
	if (code != WR_OK)
		return code;
	plan->url = plan->kind == WR_PLAN_FILES ? (struct wr_str){NULL, 0} : body.url;
	plan->rev = body.rev.len ? body.rev : body.branch;
	plan->dir = body.dir;
	plan->message = body.message;
	plan->author_name = body.name;
	plan->author_email = body.email;
	plan->files = body.files;
	drop_empty(&plan->rev);
	drop_empty(&plan->dir);
	return check_import(plan, app, err);
}

/* ---- the body ---- */

struct create_body {
	struct wr_str name, default_branch;
	bool public_;
	json_t *source, *import;
};

static const struct wr_field create_fields[] = {
	WR_FIELD(struct create_body, name, "name", STRING, false),
	WR_FIELD(struct create_body, default_branch, "defaultBranch", STRING, false),
	WR_FIELD(struct create_body, public_, "public", BOOL, false),
	WR_FIELD(struct create_body, source, "source", ANY, false),
	WR_FIELD(struct create_body, import, "import", ANY, false),
};

static enum wr_code read_body(struct create_body *body, struct wr_repo_new *new, struct wr_request *req,
			      struct wr_error *err)
{
	enum wr_code code =
		wr_fields_read(body, create_fields, WR_ARRAY_LEN(create_fields), wr_request_json(req), err);

	if (code != WR_OK)
		return code;
	if (body->source && body->import)
		return wr_fail(err, WR_E_SOURCE_IMPORT_CONFLICT, "%s", wr_code_text(WR_E_SOURCE_IMPORT_CONFLICT));
	drop_empty(&body->name);
	if (body->name.ptr && !wr_label_ok(body->name, WR_REPO_NAME_MAX, WR_REPO_NAME_MAX))
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "The field name has at most %d bytes, none of them control characters",
			       WR_REPO_NAME_MAX);
	*new = (struct wr_repo_new){body->name, body->public_,
				    body->default_branch.ptr ? body->default_branch : WR_S("main")};
	return wr_api_check_default_branch(new->default_branch, err);
}

/* What is kept of an import is not the request's whole body, which may be large. */
static json_t *needed(json_t *value, enum wr_plan_kind kind)
{
	json_t *kept;

	if (kind == WR_PLAN_FILES || !json_is_object(value))
		return json_incref(value);
	kept = json_object();
	for (size_t i = 0; i < WR_ARRAY_LEN(import_fields) && kept; i++)
		if (json_is_string(json_object_get(value, import_fields[i].name)))
			json_object_set(kept, import_fields[i].name, json_object_get(value, import_fields[i].name));
	for (size_t i = 0; i < WR_ARRAY_LEN(source_fields) && kept; i++)
		if (json_is_string(json_object_get(value, source_fields[i].name)))
			json_object_set(kept, source_fields[i].name, json_object_get(value, source_fields[i].name));
	return kept;
}

static enum wr_code read_plan(struct wr_making_plan **out, const struct create_body *body, const struct wr_app *app,
			      struct wr_error *err)
{
	WR_AUTO(wr_making_plan) *plan = calloc(1, sizeof *plan);
	json_t *value = body->source ? body->source : body->import;
	enum wr_code code;

	if (!plan)
		return wr_fail_nomem(err);
	code = body->source ? read_source(plan, value, err) : read_import(plan, value, app, err);
	if (code != WR_OK)
		return code;
	/* Its strings are shared, not copied: those that the plan names stay. */
	plan->body = needed(value, plan->kind);
	if (!plan->body)
		return wr_fail_nomem(err);
	if (body->default_branch.ptr)
		memcpy(plan->default_branch, body->default_branch.ptr, body->default_branch.len);
	*out = WR_STEAL(plan);
	return WR_OK;
}

/* ---- making it ---- */

/* RFC 7240: "respond-async", perhaps among others, perhaps with parameters. */
static bool prefers_async(struct wr_str prefer)
{
	while (prefer.len > 0) {
		const char *comma = memchr(prefer.ptr, ',', prefer.len);
		struct wr_str one = wr_str_n(prefer.ptr, comma ? (size_t)(comma - prefer.ptr) : prefer.len);
		const char *rest = one.len ? memchr(one.ptr, ';', one.len) : NULL;

		prefer = wr_str_skip(prefer, one.len + (comma ? 1 : 0));
		if (rest)
			one.len = (size_t)(rest - one.ptr);
		while (one.len && (one.ptr[0] == ' ' || one.ptr[0] == '\t'))
			one = wr_str_skip(one, 1);
		while (one.len && (one.ptr[one.len - 1] == ' ' || one.ptr[one.len - 1] == '\t'))
			one.len--;
		if (wr_str_caseeq(one, WR_S("respond-async")))
			return true;
	}
	return false;
}

static enum wr_code reply_id(struct wr_request *req, const char *repo_id, struct wr_error *err)
{
	return wr_reply(req, json_pack("{s:s}", "repoId", repo_id), err);
}

static enum wr_code reply_accepted(const struct wr_app *app, struct wr_request *req, const struct wr_making_ids *ids,
				   struct wr_error *err)
{
	struct wr_str base = wr_str(app->cfg->server_public_url);
	WR_AUTO_S(wr_buf) location = WR_BUF_INIT(WR_NET_URL_MAX * 2);

	if (wr_str_ends(base, WR_S("/")))
		base.len--;
	wr_buf_adds(&location, base);
	wr_buf_printf(&location, "/git/v1/job/%s", ids->job_id);
	if (!wr_buf_ok(&location))
		return wr_fail_nomem(err);
	wr_reply_header(req, "Location", location.ptr);
	wr_reply_header(req, "Preference-Applied", "respond-async");
	wr_reply_status(req, 202);
	return wr_reply(req, json_pack("{s:s, s:s}", "repoId", ids->repo_id, "jobId", ids->job_id), err);
}

static enum wr_code make_by_job(struct wr_app *app, struct wr_request *req, struct wr_making_ask *ask, bool async,
				struct wr_error *err)
{
	WR_AUTO(wr_making_job) *job = NULL;
	struct wr_making_ids ids;
	enum wr_code code = wr_making_begin(&job, &ids, app, ask, err);

	if (code == WR_OK && async)
		return reply_accepted(app, req, &ids, err);
	if (code == WR_OK)
		code = wr_making_wait(job, wr_request_cancel(req), err);
	return code == WR_OK ? reply_id(req, ids.repo_id, err) : code;
}

static enum wr_code make(struct wr_app *app, struct wr_request *req, struct wr_making_ask *ask, struct wr_error *err)
{
	WR_AUTO(wr_making_plan) *plan = ask->plan; /* until it is taken over */
	const struct wr_making_plan *wish = plan;
	bool async = prefers_async(wr_request_header(req, "Prefer")), own = false;
	struct wr_making_own source;
	char repo_id[WR_UUID_LEN + 1];
	enum wr_code code = WR_OK;

	if (wish->kind == WR_PLAN_SOURCE || wish->kind == WR_PLAN_GIT)
		code = wr_making_own_find(&own, &source, app, wr_request_header(req, "Host"), wr_request_caller(req),
					  wish->url, err);
	if (code != WR_OK)
		return code;
	ask->own = own ? &source : NULL;
	ask->room = wr_request_memory(req);
	ask->plan = WR_STEAL(plan);
	if (wish->kind != WR_PLAN_FILES && (async || !(own && wish->kind == WR_PLAN_SOURCE)))
		return make_by_job(app, req, ask, async, err);
	code = wr_making_now(repo_id, app, ask, wr_request_cancel(req), err);
	return code == WR_OK ? reply_id(req, repo_id, err) : code;
}

enum wr_code wr_api_repo_create(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	struct create_body body = {.public_ = false};
	struct wr_making_ask ask = {.account_id = wr_request_caller(req)->account_id};
	struct wr_repo repo;
	enum wr_code code = read_body(&body, &ask.new, req, err);

	if (code != WR_OK)
		return code;
	if (body.source || body.import) {
		code = read_plan(&ask.plan, &body, app, err);
		return code == WR_OK ? make(app, req, &ask, err) : code;
	}
	code = wr_repo_create(&repo, app->db, ask.account_id, &ask.new, err);
	return code == WR_OK ? reply_id(req, repo.id, err) : code;
}
