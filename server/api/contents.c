/* Files, folders, and the objects that hold them. */
#include "core/content/path.h"

#include "core/base/json.h"
#include "core/base/room.h"
#include "core/content/keep.h"
#include "core/git/graph.h"
#include "core/git/object_source.h"
#include "server/api/git_json.h"
#include "server/api/view.h"

/* An answer that lists more than this is refused; its JSON would take about 200 bytes each. */
#define ENTRIES_MAX 2000000
#define ROOM_STEP ((uint64_t)1 << 20)

struct listing {
	struct wr_view view;
	struct wr_buf path;
	struct wr_buf text; /* the answer so far */
	const struct wr_room *memory;
	uint64_t held; /* taken of it for the answer */
	bool recursive;
	unsigned depth;
	uint64_t trees; /* bytes of those in memory */
	size_t entries;
};

static void listing_fini(struct listing *l)
{
	wr_view_fini(&l->view);
	wr_buf_fini(&l->path);
	wr_buf_fini(&l->text);
}

/* The members of an item, without braces around them. */
static void put_item(struct wr_buf *out, const struct wr_item *item, struct wr_str name, struct wr_str path)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, &item->oid);
	wr_json_member(out, "type", item->kind == WR_KIND_FILE ? WR_S("file") : WR_S("dir"));
	wr_json_member(out, "sha", wr_str(hex));
	if (item->kind == WR_KIND_FILE) {
		wr_json_key(out, "size");
		wr_json_int(out, (int64_t)item->size);
	}
	wr_json_bytes(out, "name", name);
	wr_json_bytes(out, "path", path);
}

/* What the answer takes is counted while it grows. */
static enum wr_code check_room(struct listing *l, struct wr_error *err)
{
	if (l->text.cap > l->held) {
		if (!wr_room_take(l->memory, l->text.cap - l->held, false))
			return wr_fail(err, WR_E_UNAVAILABLE, "max_buffered reached");
		l->held = l->text.cap;
	}
	return wr_cancelled(l->view.cancel, err);
}

static enum wr_code list_entries(struct listing *l, const struct wr_oid *tree, struct wr_error *err);

static enum wr_code add_item(struct listing *l, const struct wr_item *item, struct wr_str name, struct wr_error *err)
{
	size_t before = l->path.len;
	enum wr_code code = WR_OK;

	if (++l->entries > ENTRIES_MAX)
		return wr_fail(err, WR_E_INVALID_REQUEST, "The folder has more than %d entries; ask for its parts",
			       ENTRIES_MAX);
	if ((l->entries % 1024 == 0 || l->text.cap > l->held + ROOM_STEP) && (code = check_room(l, err)) != WR_OK)
		return code;
	if (before > 0)
		wr_buf_addc(&l->path, '/');
	wr_buf_adds(&l->path, name);
	if (!wr_buf_ok(&l->path))
		return wr_fail(err, WR_E_INVALID_REQUEST, "A path in the folder is too long; ask for its parts");
	wr_json_item(&l->text);
	wr_buf_addc(&l->text, '{');
	put_item(&l->text, item, name, wr_buf_str(&l->path));
	if (item->kind == WR_KIND_FOLDER) {
		wr_json_key(&l->text, "entries");
		if (l->recursive)
			code = list_entries(l, &item->oid, err);
		else
			wr_buf_addz(&l->text, "[]");
	}
	wr_buf_addc(&l->text, '}');
	l->path.len = before;
	return code;
}

/* The list with its brackets. */
static enum wr_code list_entries(struct listing *l, const struct wr_oid *tree, struct wr_error *err)
{
	WR_AUTO_S(wr_items) items = {.rest = {NULL, 0}};
	enum wr_code code = wr_items_open(&items, &l->view, tree, err);

	wr_buf_addc(&l->text, '[');
	if (code == WR_OK && ++l->depth > WR_PATH_DEPTH)
		code = wr_fail(err, WR_E_INVALID_REQUEST, "The folders are nested too deeply; ask for their parts");
	l->trees += items.tree.size;
	if (code == WR_OK && l->depth > 1 && l->trees > WR_PATH_HELD)
		code = wr_fail(err, WR_E_INVALID_REQUEST, "The nested folders are too large together; ask for their parts");
	while (code == WR_OK) {
		struct wr_item item;
		struct wr_str name;

		code = wr_items_next(&item, &name, &items, &l->view, err);
		if (code == WR_OK)
			code = add_item(l, &item, name, err);
	}
	wr_buf_addc(&l->text, ']');
	l->trees -= items.tree.size;
	l->depth--;
	return code == WR_E_NOT_THERE ? WR_OK : code;
}

/* The last segment of a path, which may end with a slash. */
static struct wr_str name_of(struct wr_str path)
{
	const char *slash = path.len ? memrchr(path.ptr, '/', path.len) : NULL;

	return slash ? wr_str_skip(path, (size_t)(slash + 1 - path.ptr)) : path;
}

static enum wr_code reply_folder(struct wr_request *req, struct listing *l, const struct wr_item *item,
				 struct wr_str path, struct wr_error *err)
{
	enum wr_code code;

	l->memory = wr_request_memory(req);
	wr_buf_adds(&l->path, path);
	wr_buf_addc(&l->text, '{');
	put_item(&l->text, item, name_of(path), path);
	wr_json_key(&l->text, "entries");
	if ((code = list_entries(l, &item->oid, err)) != WR_OK)
		return code;
	wr_buf_addc(&l->text, '}');
	wr_reply_json_text(req, &l->text);
	return WR_OK;
}

/* ---- files that were answered lately ---- */

/* A file that is larger is not kept, and sent piece by piece. */
#define KEPT_MAX ((size_t)64 << 10)

/* The branch that a revision names where it can name nothing else; empty: not known without a look at objects. */
static struct wr_str plain_branch(const struct wr_request *req)
{
	struct wr_str rev = wr_api_rev(req);

	if (rev.len == 0 || wr_str_eqz(rev, "HEAD"))
		return wr_str(wr_request_repo(req)->default_branch);
	for (size_t i = 0; i < rev.len; i++)
		if (rev.ptr[i] == '~' || rev.ptr[i] == '^')
			return WR_S("");
	return rev.len == WR_OID_HEX || rev.len > WR_BRANCH_NAME_MAX || wr_str_starts(rev, WR_S("refs/")) ? WR_S("") : rev;
}

static struct wr_str branch_ref(struct wr_buf *room, const struct wr_request *req)
{
	wr_buf_addz(room, "refs/heads/");
	wr_buf_adds(room, plain_branch(req));
	return wr_buf_str(room);
}

/* By which a file's answer is kept: the repository, and the commit and the path, as they were asked for. */
static struct wr_str file_key(struct wr_buf *room, const struct wr_oid *tip, const struct wr_request *req)
{
	/* Of two commits that somebody made to have one id, nobody else shall see the other one. */
	wr_buf_addz(room, wr_request_repo(req)->id);
	wr_buf_add(room, tip->id, WR_OID_RAW);
	wr_buf_adds(room, wr_request_param(req, "path"));
	return wr_buf_str(room);
}

/* False: not known. */
static bool answer_kept(struct wr_app *app, struct wr_request *req)
{
	WR_AUTO_S(wr_buf) ref = WR_BUF_INIT(WR_REFNAME_MAX), key = WR_BUF_INIT(2 * WR_PATH_MAX);
	WR_AUTO(wr_kept) *kept = NULL;
	struct wr_buf text = WR_BUF_INIT(2 * KEPT_MAX);
	struct wr_oid tip;
	bool exists = false;

	branch_ref(&ref, req);
	if (plain_branch(req).len == 0 || !wr_buf_ok(&ref) ||
	    !wr_git_ref_now(&tip, &exists, app->git, wr_request_repo(req)->id, wr_buf_str(&ref)) || !exists)
		return false;
	file_key(&key, &tip, req);
	kept = wr_buf_ok(&key) ? wr_keep_find(app->files, wr_buf_str(&key)) : NULL;
	if (!kept)
		return false;
	wr_buf_add(&text, kept->bytes, kept->len);
	wr_reply_json_text(req, &text);
	return true;
}

/* The view is of one instant, so the branch leads where the revision led. */
static void keep_answer(struct wr_app *app, const struct wr_request *req, const struct wr_view *v, struct wr_str text)
{
	WR_AUTO_S(wr_buf) ref = WR_BUF_INIT(WR_REFNAME_MAX), key = WR_BUF_INIT(2 * WR_PATH_MAX);
	struct wr_ref found;

	branch_ref(&ref, req);
	if (plain_branch(req).len == 0 || !wr_buf_ok(&ref) || !wr_snapshot_find_ref(&found, v->snap, wr_buf_str(&ref)))
		return;
	file_key(&key, &found.oid, req);
	if (wr_buf_ok(&key))
		wr_keep_add(app->files, wr_buf_str(&key), text);
}

/* What a file's answer is made of. A large one is inflated as it is sent, where it is stored in one piece. */
#define LARGE ((uint64_t)16 << 20)

struct file {
	struct wr_object_source large;
	struct wr_reader *reader; /* else it lies here, and is counted */
	struct wr_mem_source held;
	struct wr_source *source; /* of the two */
	uint64_t size;
};

static void file_fini(struct file *f)
{
	wr_object_source_fini(&f->large);
	wr_reader_free(f->reader);
}

/*
 * What it takes is asked for first, so that many who ask at once do not have it before they are refused. A large one lies
 * in a file, and is counted so that there are only a few of these at a time.
 */
static enum wr_code file_read(struct file *f, struct wr_app *app, struct wr_request *req, const struct wr_view *v,
			      const struct wr_oid *oid, struct wr_error *err)
{
	uint64_t few = v->memory_max / 2;
	struct wr_object obj;
	enum wr_code code = wr_answer_holds(app, req, f->size < LARGE || f->size < few ? f->size : few, err);

	if (code != WR_OK || (code = wr_reader_new(&f->reader, v->snap, err)) != WR_OK)
		return code;
	wr_reader_spill(f->reader, v->git);
	if ((code = wr_reader_read(&obj, f->reader, oid, err)) != WR_OK)
		return code;
	wr_mem_source_init(&f->held, wr_str_n(obj.data, obj.size));
	f->source = &f->held.base;
	return WR_OK;
}

static enum wr_code file_open(struct file *f, struct wr_app *app, struct wr_request *req, const struct wr_view *v,
			      const struct wr_oid *oid, uint64_t size, struct wr_error *err)
{
	bool large = false;
	enum wr_code code = WR_OK;

	f->size = size;
	if (size >= LARGE)
		code = wr_object_source_open(&f->large, &large, v->snap, oid, LARGE, err);
	if (large)
		f->source = &f->large.base;
	return code == WR_OK && !large ? file_read(f, app, req, v, oid, err) : code;
}

static enum wr_code reply_file(struct wr_app *app, struct wr_request *req, const struct wr_view *v,
			       const struct wr_item *item, struct wr_str path, struct wr_error *err)
{
	WR_CLEANUP(file_fini) struct file file = {.source = NULL};
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(SIZE_MAX / 4);
	enum wr_code code = file_open(&file, app, req, v, &item->oid, item->size, err);

	if (code != WR_OK)
		return code;
	wr_buf_addc(&text, '{');
	put_item(&text, item, name_of(path), path);
	if (file.size > KEPT_MAX / 2)
		return wr_reply_base64(req, &text, "content", file.source, err);
	wr_json_base64(&text, "content", file.held.rest);
	wr_buf_addc(&text, '}');
	if (wr_buf_ok(&text))
		keep_answer(app, req, v, wr_buf_str(&text));
	wr_reply_json_text(req, &text);
	return WR_OK;
}

enum wr_code wr_api_contents(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_CLEANUP(listing_fini) struct listing l = {.path = WR_BUF_INIT(4 * WR_PATH_MAX),
						    .text = WR_BUF_INIT(SIZE_MAX / 4)};
	struct wr_str path = wr_request_param(req, "path");
	struct wr_item item;
	struct wr_oid root;
	enum wr_code code = wr_request_query_bool(req, "recursive", false, &l.recursive, err);

	if (code == WR_OK && !wr_request_may_wait(req))
		return answer_kept(app, req) ? WR_OK : wr_request_later(req);
	if (code != WR_OK || (code = wr_api_view(&l.view, app, req, err)) != WR_OK ||
	    (code = wr_rev_tree(&root, &l.view, wr_api_rev(req), err)) != WR_OK ||
	    (code = wr_path_find(&item, &l.view, &root, path, err)) != WR_OK)
		return code;
	if (path.len > 0 && path.ptr[path.len - 1] == '/')
		path.len--;
	return item.kind == WR_KIND_FILE ? reply_file(app, req, &l.view, &item, path, err)
					 : reply_folder(req, &l, &item, path, err);
}

/* ---- by id ---- */

static enum wr_code id_of(struct wr_oid *oid, struct wr_view *v, struct wr_app *app, struct wr_request *req,
			  enum wr_type type, enum wr_code absent, struct wr_error *err)
{
	struct wr_str digits = wr_request_param(req, "hash");
	enum wr_code code = wr_api_view(v, app, req, err);

	if (code == WR_OK)
		code = wr_rev_id(oid, v, digits, type, absent, err);
	if (code == absent)
		wr_error_field(err, absent == WR_E_COMMIT_NOT_FOUND ? "sha" : "hash", digits);
	return code;
}

static enum wr_code object_of(struct wr_oid *oid, struct wr_object *obj, struct wr_view *v, struct wr_app *app,
			      struct wr_request *req, enum wr_type type, enum wr_code absent, struct wr_error *err)
{
	enum wr_code code = id_of(oid, v, app, req, type, absent, err);

	if (code == WR_OK)
		code = wr_snapshot_read(obj, v->snap, oid, err);
	/* Words are in memory once more as values, and twice as text that grows. */
	return code == WR_OK ? wr_answer_holds(app, req, obj->size * 4, err) : code;
}

enum wr_code wr_api_blob(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	WR_CLEANUP(file_fini) struct file file = {.source = NULL};
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1024);
	char hex[WR_OID_HEX + 1];
	struct wr_oid oid;
	uint64_t size;
	enum wr_code code = id_of(&oid, &v, app, req, WR_BLOB, WR_E_BLOB_NOT_FOUND, err);

	if (code != WR_OK || (code = wr_snapshot_stat(v.snap, &oid, NULL, &size, err)) != WR_OK ||
	    (code = file_open(&file, app, req, &v, &oid, size, err)) != WR_OK)
		return code;
	wr_oid_hex(hex, &oid);
	wr_buf_addc(&text, '{');
	wr_json_member(&text, "sha", wr_str(hex));
	wr_json_key(&text, "size");
	wr_json_int(&text, (int64_t)file.size);
	wr_json_member(&text, "encoding", WR_S("base64"));
	return wr_reply_base64(req, &text, "content", file.source, err);
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
	WR_AUTO_S(wr_list) rows;
	char hex[WR_OID_HEX + 1];
	struct wr_oid oid;
	enum wr_code code = object_of(&oid, &items.tree, &v, app, req, WR_TREE, WR_E_TREE_NOT_FOUND, err);

	items.rest = wr_str_n(items.tree.data, items.tree.size);
	items.untold = true;
	wr_list_init(&rows, req, "tree");
	while (code == WR_OK) {
		struct wr_item item;
		struct wr_str name;

		code = wr_items_next(&item, &name, &items, &v, err);
		if (code == WR_OK)
			code = wr_list_add(&rows, entry_json(&item, name), err);
	}
	if (code != WR_E_NOT_THERE)
		return code;
	wr_oid_hex(hex, &oid);
	return wr_list_reply(&rows, json_pack("{s:s}", "sha", hex), err);
}

enum wr_code wr_api_commit_get(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	struct wr_oid oid;
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(SIZE_MAX / 4);
	enum wr_code code = object_of(&oid, &obj, &v, app, req, WR_COMMIT, WR_E_COMMIT_NOT_FOUND, err);

	if (code != WR_OK)
		return code;
	wr_commit_json(&text, &oid, wr_str_n(obj.data, obj.size));
	if (!wr_buf_ok(&text))
		return wr_fail_nomem(err);
	wr_reply_json_text(req, &text);
	return WR_OK;
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
