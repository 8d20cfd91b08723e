/* Commits that are made by API. */
#include <openssl/evp.h>

#include "core/base/buf.h"
#include "core/content/edit.h"
#include "server/api/commit_body.h"
#include "server/api/fields.h"
#include "server/api/view.h"

#define COMMIT_MAX WR_API_COMMIT_MAX

/* ---- files ---- */

struct change_body {
	struct wr_str path, content, encoding;
	bool deleted;
};

static const struct wr_field change_fields[] = {
	WR_FIELD(struct change_body, path, "path", STRING, true),
	WR_FIELD(struct change_body, content, "content", STRING, false),
	WR_FIELD(struct change_body, encoding, "encoding", STRING, false),
	WR_FIELD(struct change_body, deleted, "deleted", BOOL, false),
};

static enum wr_code wrong_change(enum wr_code code, struct wr_str path, const char *why, struct wr_error *err)
{
	wr_fail(err, code, "%s", why);
	wr_error_field(err, "path", path);
	return code;
}

static bool is_base64(struct wr_str s)
{
	size_t pad = 0;

	while (pad < 2 && pad < s.len && s.ptr[s.len - 1 - pad] == '=')
		pad++;
	for (size_t i = 0; i < s.len - pad; i++) {
		char c = s.ptr[i];

		if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/'))
			return false;
	}
	return s.len % 4 == 0;
}

/* In place, for large files are in memory once already: the string is the request's, and longer than what it stands for. */
static enum wr_code decode(struct wr_str *content, struct wr_str path, struct wr_error *err)
{
	char *text = (char *)(uintptr_t)content->ptr, piece[3072];
	size_t len = 0;

	if (!is_base64(*content))
		return wrong_change(WR_E_INVALID_BASE64, path, wr_code_text(WR_E_INVALID_BASE64), err);
	for (size_t at = 0, n; at < content->len; at += n) {
		n = content->len - at < 4096 ? content->len - at : 4096;
		/* Without line breaks and of whole groups, this cannot fail. */
		EVP_DecodeBlock((unsigned char *)piece, (unsigned char *)text + at, (int)n);
		len += n / 4 * 3 - (text[at + n - 1] == '=') - (text[at + n - 2] == '=');
		memcpy(text + at / 4 * 3, piece, n / 4 * 3);
	}
	*content = wr_str_n(text, len);
	return WR_OK;
}

static enum wr_code read_change(struct wr_file_change *out, json_t *value, size_t i,
				const struct wr_request *req, struct wr_error *err)
{
	struct change_body body = {.deleted = false};
	enum wr_code code;

	if (!json_is_object(value))
		return wr_fail(err, WR_E_INVALID_REQUEST, "files[%zu] has to be an object", i);
	if ((code = wr_fields_read(&body, change_fields, WR_ARRAY_LEN(change_fields), value, err)) != WR_OK)
		return wr_fail(err, code, "files[%zu] needs a path, and content or deleted: true", i);
	body.content = wr_request_content(req, body.content);
	if (!wr_edit_path_ok(body.path))
		return wrong_change(WR_E_INVALID_FILE_PATH, body.path,
				    "A path is relative, with / between its parts, none of which is empty, . or .., or stands "
				    "for .git",
				    err);
	if ((body.content.ptr != NULL) == body.deleted)
		return wrong_change(WR_E_INVALID_FILE_CHANGE, body.path, wr_code_text(WR_E_INVALID_FILE_CHANGE), err);
	if (body.encoding.ptr && !wr_str_eqz(body.encoding, "utf8") && !wr_str_eqz(body.encoding, "base64"))
		return wr_fail(err, WR_E_INVALID_REQUEST, "files[%zu]: the encoding is utf8 or base64", i);
	if (body.content.ptr && wr_str_eqz(body.encoding, "base64"))
		code = decode(&body.content, body.path, err);
	*out = (struct wr_file_change){.path = body.path, .content = body.content, .deleted = body.deleted};
	return code;
}

static enum wr_code read_changes(struct wr_file_change **out, size_t *count, json_t *files,
				 const struct wr_request *req, struct wr_error *err)
{
	size_t n = json_array_size(files);
	WR_AUTO_MEM struct wr_file_change *changes = calloc(n + 1, sizeof *changes);
	enum wr_code code = WR_OK;

	if (!json_is_array(files))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The field files has to be an array");
	if (!changes)
		return wr_fail_nomem(err);
	for (size_t i = 0; i < n && code == WR_OK; i++)
		code = read_change(&changes[i], json_array_get(files, i), i, req, err);
	if (code != WR_OK)
		return code;
	*out = WR_STEAL(changes);
	*count = n;
	return WR_OK;
}

/* ---- the commit ---- */

struct create_body {
	struct wr_str message, branch, expected;
	json_t *files, *author;
};

static const struct wr_field create_fields[] = {
	WR_FIELD(struct create_body, message, "message", STRING, true),
	WR_FIELD(struct create_body, files, "files", ANY, true),
	WR_FIELD(struct create_body, branch, "branch", STRING, false),
	WR_FIELD(struct create_body, author, "author", ANY, false),
	WR_FIELD(struct create_body, expected, "expectedSha", STRING, false),
};

static enum wr_code read_expected(const struct wr_oid **out, struct wr_oid *room, struct wr_str text, struct wr_error *err)
{
	if (!text.ptr)
		return WR_OK;
	if (!wr_oid_parse(room, text)) {
		wr_fail(err, WR_E_INVALID_OBJECT_ID, "The field expectedSha has to be a full commit id");
		wr_error_field(err, "hash", text);
		return WR_E_INVALID_OBJECT_ID;
	}
	*out = room;
	return WR_OK;
}

static enum wr_code read_edit(struct wr_edit *edit, const struct create_body *body, const struct wr_app *app,
			      const struct wr_repo *repo, struct wr_error *err)
{
	enum wr_code code = wr_api_message(body->message, err);

	edit->message = body->message;
	edit->branch = body->branch.len ? body->branch : wr_str(repo->default_branch);
	edit->author = wr_api_server_person(app);
	if (code == WR_OK && body->author)
		code = wr_api_person(&edit->author, body->author, "author", false, err);
	edit->committer = edit->author;
	if (code == WR_OK && (edit->branch.len > WR_BRANCH_NAME_MAX || !wr_branchname_ok(edit->branch)))
		code = wr_fail(err, WR_E_INVALID_REQUEST, "The field branch is no legal branch name");
	return code;
}

enum wr_code wr_api_commit_create(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_MEM struct wr_file_change *changes = NULL;
	WR_AUTO_S(wr_buf) commit = WR_BUF_INIT(COMMIT_MAX);
	WR_AUTO(wr_git_repo) *git = NULL;
	const struct wr_repo *repo = wr_request_repo(req);
	struct create_body body = {.files = NULL};
	char asker[WR_CALLER_NAME];
	struct wr_edit edit = {.trees = app->trees, .asker = wr_api_asker(asker, req)};
	struct wr_oid expected, oid;
	enum wr_code code =
		wr_fields_read(&body, create_fields, WR_ARRAY_LEN(create_fields), wr_request_json(req), err);

	if (code != WR_OK || (code = read_edit(&edit, &body, app, repo, err)) != WR_OK ||
	    (code = read_expected(&edit.expected, &expected, body.expected, err)) != WR_OK ||
	    (code = read_changes(&changes, &edit.count, body.files, req, err)) != WR_OK)
		return code;
	edit.changes = changes;
	if ((code = wr_api_writable(&git, app, req, err)) != WR_OK ||
	    (code = wr_edit_commit(&oid, &commit, git, &edit, wr_request_cancel(req), err)) != WR_OK)
		return code;
	return wr_reply_commit(req, &oid, wr_buf_str(&commit), err);
}
