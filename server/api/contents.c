/* Files, folders, and the objects that hold them. */
#include "core/content/path.h"

#include "core/base/buf.h"
#include "core/git/graph.h"
#include "server/api/git_json.h"
#include "server/api/view.h"

/* An answer that lists more than this is refused; its JSON would take about 200 bytes each. */
#define ENTRIES_MAX 2000000

struct listing {
	struct wr_view view;
	struct wr_buf path;
	bool recursive;
	unsigned depth;
	size_t entries;
};

static void listing_fini(struct listing *l)
{
	wr_view_fini(&l->view);
	wr_buf_fini(&l->path);
}

static json_t *item_json(const struct wr_item *item, struct wr_str name, struct wr_str path)
{
	WR_AUTO(json_t) *row = NULL;
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, &item->oid);
	if (item->kind == WR_KIND_FILE)
		row = json_pack("{s:s, s:s, s:I}", "type", "file", "sha", hex, "size", (json_int_t)item->size);
	else
		row = json_pack("{s:s, s:s}", "type", "dir", "sha", hex);
	if (!row || !wr_json_set_bytes(row, "name", name) || !wr_json_set_bytes(row, "path", path))
		return NULL;
	return WR_STEAL(row);
}

static enum wr_code list_entries(json_t **out, struct listing *l, const struct wr_oid *tree, struct wr_error *err);

static enum wr_code add_item(json_t *rows, struct listing *l, const struct wr_item *item, struct wr_str name,
			     struct wr_error *err)
{
	WR_AUTO(json_t) *row = NULL, *children = NULL;
	size_t before = l->path.len;
	enum wr_code code = WR_OK;

	if (++l->entries > ENTRIES_MAX)
		return wr_fail(err, WR_E_INVALID_REQUEST, "The folder has more than %d entries; ask for its parts",
			       ENTRIES_MAX);
	if (l->entries % 1024 == 0 && (code = wr_cancelled(l->view.cancel, err)) != WR_OK)
		return code;
	if (before > 0)
		wr_buf_addc(&l->path, '/');
	wr_buf_adds(&l->path, name);
	if (!wr_buf_ok(&l->path))
		return wr_fail(err, WR_E_INVALID_REQUEST, "A path in the folder is too long; ask for its parts");
	row = item_json(item, name, wr_buf_str(&l->path));
	if (item->kind == WR_KIND_FOLDER) {
		if (l->recursive)
			code = list_entries(&children, l, &item->oid, err);
		else
			children = json_array();
		if (code == WR_OK && (!row || json_object_set(row, "entries", children) < 0))
			code = wr_fail_nomem(err);
	}
	l->path.len = before;
	return code == WR_OK ? wr_rows_add(rows, WR_STEAL(row), err) : code;
}

static enum wr_code list_entries(json_t **out, struct listing *l, const struct wr_oid *tree, struct wr_error *err)
{
	WR_AUTO(json_t) *rows = json_array();
	WR_AUTO_S(wr_items) items = {.rest = {NULL, 0}};
	enum wr_code code = wr_items_open(&items, &l->view, tree, err);

	if (code == WR_OK && ++l->depth > WR_PATH_DEPTH)
		code = wr_fail(err, WR_E_INVALID_REQUEST, "The folders are nested too deeply; ask for their parts");
	while (code == WR_OK) {
		struct wr_item item;
		struct wr_str name;

		code = wr_items_next(&item, &name, &items, &l->view, err);
		if (code == WR_OK)
			code = add_item(rows, l, &item, name, err);
	}
	l->depth--;
	if (code != WR_E_NOT_THERE)
		return code;
	*out = WR_STEAL(rows);
	return WR_OK;
}

/* The last segment of a path, which may end with a slash. */
static struct wr_str name_of(struct wr_str path)
{
	const char *slash = path.len ? memrchr(path.ptr, '/', path.len) : NULL;

	return slash ? wr_str_skip(path, (size_t)(slash + 1 - path.ptr)) : path;
}

static enum wr_code reply_file(struct wr_request *req, const struct wr_view *v, const struct wr_item *item,
			       struct wr_str path, struct wr_error *err)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	enum wr_code code = wr_snapshot_read(&obj, v->snap, &item->oid, err);

	if (code != WR_OK)
		return code;
	return wr_reply_base64(req, item_json(item, name_of(path), path), "content", wr_str_n(obj.data, obj.size), err);
}

static enum wr_code reply_folder(struct wr_request *req, struct listing *l, const struct wr_item *item,
				 struct wr_str path, struct wr_error *err)
{
	WR_AUTO(json_t) *rows = NULL;
	json_t *body;
	enum wr_code code;

	wr_buf_adds(&l->path, path);
	if ((code = list_entries(&rows, l, &item->oid, err)) != WR_OK)
		return code;
	body = item_json(item, name_of(path), path);
	if (body && json_object_set(body, "entries", rows) < 0) {
		json_decref(body);
		body = NULL;
	}
	return wr_reply(req, body, err);
}

enum wr_code wr_api_contents(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_CLEANUP(listing_fini) struct listing l = {.path = WR_BUF_INIT(4 * WR_PATH_MAX)};
	struct wr_str path = wr_request_param(req, "path");
	struct wr_item item;
	struct wr_oid root;
	enum wr_code code = wr_request_query_bool(req, "recursive", false, &l.recursive, err);

	if (code != WR_OK || (code = wr_api_view(&l.view, app, req, err)) != WR_OK ||
	    (code = wr_rev_tree(&root, &l.view, wr_api_rev(req), err)) != WR_OK ||
	    (code = wr_path_find(&item, &l.view, &root, path, err)) != WR_OK)
		return code;
	if (path.len > 0 && path.ptr[path.len - 1] == '/')
		path.len--;
	return item.kind == WR_KIND_FILE ? reply_file(req, &l.view, &item, path, err)
					 : reply_folder(req, &l, &item, path, err);
}

/* ---- by id ---- */

static enum wr_code object_of(struct wr_oid *oid, struct wr_object *obj, struct wr_view *v, struct wr_app *app,
			      struct wr_request *req, enum wr_type type, enum wr_code absent, struct wr_error *err)
{
	struct wr_str digits = wr_request_param(req, "hash");
	enum wr_code code = wr_api_view(v, app, req, err);

	if (code == WR_OK)
		code = wr_rev_id(oid, v, digits, type, absent, err);
	if (code == absent)
		wr_error_field(err, absent == WR_E_COMMIT_NOT_FOUND ? "sha" : "hash", digits);
	return code == WR_OK ? wr_snapshot_read(obj, v->snap, oid, err) : code;
}

enum wr_code wr_api_blob(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	char hex[WR_OID_HEX + 1];
	struct wr_oid oid;
	enum wr_code code = object_of(&oid, &obj, &v, app, req, WR_BLOB, WR_E_BLOB_NOT_FOUND, err);

	if (code != WR_OK)
		return code;
	wr_oid_hex(hex, &oid);
	return wr_reply_base64(req, json_pack("{s:s, s:I, s:s}", "sha", hex, "size", (json_int_t)obj.size, "encoding",
					      "base64"),
			       "content", wr_str_n(obj.data, obj.size), err);
}

static json_t *entry_json(const struct wr_item *item, struct wr_str name)
{
	WR_AUTO(json_t) *row = NULL;
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, &item->oid);
	if (item->kind == WR_KIND_FILE)
		row = json_pack("{s:s, s:s, s:I}", "type", "blob", "sha", hex, "size", (json_int_t)item->size);
	else
		row = json_pack("{s:s, s:s}", "type", "tree", "sha", hex);
	return row && wr_json_set_bytes(row, "path", name) ? WR_STEAL(row) : NULL;
}

enum wr_code wr_api_tree(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	WR_AUTO_S(wr_items) items = {.rest = {NULL, 0}};
	WR_AUTO(json_t) *rows = json_array();
	char hex[WR_OID_HEX + 1];
	struct wr_oid oid;
	enum wr_code code = object_of(&oid, &items.tree, &v, app, req, WR_TREE, WR_E_TREE_NOT_FOUND, err);

	items.rest = wr_str_n(items.tree.data, items.tree.size);
	while (code == WR_OK) {
		struct wr_item item;
		struct wr_str name;

		code = wr_items_next(&item, &name, &items, &v, err);
		if (code == WR_OK)
			code = wr_rows_add(rows, entry_json(&item, name), err);
	}
	if (code != WR_E_NOT_THERE)
		return code;
	wr_oid_hex(hex, &oid);
	return wr_reply(req, json_pack("{s:s, s:o}", "sha", hex, "tree", WR_STEAL(rows)), err);
}

enum wr_code wr_api_commit_get(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	struct wr_oid oid;
	enum wr_code code = object_of(&oid, &obj, &v, app, req, WR_COMMIT, WR_E_COMMIT_NOT_FOUND, err);

	return code == WR_OK ? wr_reply(req, wr_commit_json(&oid, wr_str_n(obj.data, obj.size)), err) : code;
}

enum wr_code wr_api_tag_object(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	struct wr_tag_texts texts;
	struct wr_oid oid;
	enum wr_code code = object_of(&oid, &obj, &v, app, req, WR_TAG, WR_E_TAG_NOT_FOUND, err);

	if (code != WR_OK)
		return code;
	wr_tag_texts(&texts, wr_str_n(obj.data, obj.size));
	return wr_reply(req, wr_tag_json(texts.name, &oid, wr_str_n(obj.data, obj.size)), err);
}
