/* Commits that are made of a tree and parents by their ids. No branch moves. */
#include "core/base/buf.h"
#include "core/content/edit.h"
#include "server/api/commit_body.h"
#include "server/api/fields.h"
#include "server/api/view.h"

/* More than any merge ever had. */
#define PARENTS_MAX 1000
/* Git knows it without having it stored. */
#define EMPTY_TREE "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

struct body {
	struct wr_str message, tree;
	json_t *parents, *author, *committer;
};

static const struct wr_field fields[] = {
	WR_FIELD(struct body, message, "message", STRING, true),
	WR_FIELD(struct body, tree, "tree", STRING, true),
	WR_FIELD(struct body, parents, "parents", ANY, true),
	WR_FIELD(struct body, author, "author", ANY, false),
	WR_FIELD(struct body, committer, "committer", ANY, false),
};

/* Each stands for the other where that is missing, its date included. */
static enum wr_code read_people(struct wr_person *author, struct wr_person *committer, const struct body *body,
				const struct wr_app *app, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	*author = *committer = wr_api_server_person(app);
	if (body->committer)
		code = wr_api_person(committer, body->committer, "committer", true, err);
	if (code == WR_OK && body->author)
		code = wr_api_person(author, body->author, "author", true, err);
	else
		*author = *committer;
	if (!body->committer)
		*committer = *author;
	return code;
}

/* *empty: it is the empty one, which is not stored here. */
static enum wr_code find_tree(struct wr_oid *out, bool *empty, struct wr_view *v, struct wr_str digits, struct wr_error *err)
{
	enum wr_code code = wr_rev_id(out, v, digits, WR_TREE, WR_E_TREE_NOT_FOUND, err);
	struct wr_oid none;

	*empty = code == WR_E_TREE_NOT_FOUND && wr_oid_parse(&none, WR_S(EMPTY_TREE)) && wr_oid_parse(out, digits) &&
		 wr_oid_eq(out, &none);
	if (*empty) {
		wr_error_fini(err);
		return WR_OK;
	}
	if (code == WR_E_TREE_NOT_FOUND)
		wr_error_field(err, "hash", digits);
	return code;
}

/* As git does, one that is named again is passed over. */
static enum wr_code find_parents(struct wr_oids *out, struct wr_view *v, json_t *list, struct wr_error *err)
{
	WR_AUTO_S(wr_oidmap) met = {.cap = 0};
	enum wr_code code = WR_OK;
	size_t i;
	json_t *item;

	if (!json_is_array(list) || json_array_size(list) > PARENTS_MAX)
		return wr_fail(err, WR_E_INVALID_REQUEST, "The field parents has to be an array of at most %d commit ids",
			       PARENTS_MAX);
	json_array_foreach(list, i, item)
	{
		struct wr_str digits = wr_str_n(json_string_value(item), json_string_length(item));
		struct wr_oid oid;
		bool added;

		if (!digits.ptr)
			return wr_fail(err, WR_E_INVALID_REQUEST, "parents[%zu] has to be a commit id", i);
		code = wr_rev_id(&oid, v, digits, WR_COMMIT, WR_E_PARENT_NOT_FOUND, err);
		if (code == WR_E_PARENT_NOT_FOUND)
			wr_error_field(err, "sha", digits);
		if (code != WR_OK || (code = wr_oidmap_add(&met, &oid, 0, &added, err)) != WR_OK ||
		    (added && (code = wr_oids_add(out, &oid, err)) != WR_OK))
			return code;
	}
	return WR_OK;
}

static enum wr_code store(struct wr_oid *out, struct wr_git_repo *git, struct wr_str bytes, bool with_empty_tree,
			  const struct wr_asker *asker, struct wr_error *err)
{
	WR_AUTO(wr_quarantine) *q = NULL;
	struct wr_change change = {.keep = true, .asker = *asker};
	struct wr_oid tree;
	enum wr_code code = wr_quarantine_new(&q, git, err);

	if (code == WR_OK && with_empty_tree)
		code = wr_quarantine_add(&tree, q, WR_TREE, WR_S(""), NULL, err);
	if (code == WR_OK)
		code = wr_quarantine_add(out, q, WR_COMMIT, bytes, NULL, err);
	change.objects = q;
	return code == WR_OK ? wr_git_append(git, &change, err) : code;
}

enum wr_code wr_api_commit_object_create(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_S(wr_buf) commit = WR_BUF_INIT(WR_API_COMMIT_MAX);
	WR_AUTO_S(wr_oids) parents = {NULL, 0, 0};
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	WR_AUTO(wr_git_repo) *git = NULL;
	char name[WR_CALLER_NAME];
	const struct wr_asker asker = wr_api_asker(name, req);
	struct body body = {.parents = NULL};
	struct wr_person author, committer;
	struct wr_oid tree, oid;
	bool empty;
	enum wr_code code = wr_fields_read(&body, fields, WR_ARRAY_LEN(fields), wr_request_json(req), err);

	if (code != WR_OK || (code = wr_api_message(body.message, err)) != WR_OK ||
	    (code = read_people(&author, &committer, &body, app, err)) != WR_OK ||
	    (code = wr_api_view(&v, app, req, err)) != WR_OK ||
	    (code = find_tree(&tree, &empty, &v, body.tree, err)) != WR_OK ||
	    (code = find_parents(&parents, &v, body.parents, err)) != WR_OK)
		return code;
	wr_commit_text(&commit, &tree, parents.v, parents.len, &author, &committer, body.message);
	if (!wr_buf_ok(&commit))
		return wr_fail_nomem(err);
	if ((code = wr_api_writable(&git, app, req, err)) != WR_OK ||
	    (code = store(&oid, git, wr_buf_str(&commit), empty, &asker, err)) != WR_OK)
		return code;
	return wr_reply_commit(req, &oid, wr_buf_str(&commit), err);
}
