#include "core/content/path.h"

#include "core/content/keep.h"

/* Files whose sizes are looked for together. */
#define AHEAD 32

static enum wr_code not_found(struct wr_str path, struct wr_error *err)
{
	wr_fail(err, WR_E_PATH_NOT_FOUND, "%s", wr_code_text(WR_E_PATH_NOT_FOUND));
	wr_error_field(err, "path", path);
	return WR_E_PATH_NOT_FOUND;
}

/* What a stored tree names is stored. */
static enum wr_code missing(const struct wr_oid *oid, struct wr_error *err)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	return wr_fail(err, WR_E_INTERNAL, "object %s is missing", hex);
}

enum wr_code wr_items_open(struct wr_items *out, const struct wr_view *v, const struct wr_oid *tree, struct wr_error *err)
{
	struct wr_object obj;
	enum wr_code code = wr_snapshot_read(&obj, v->snap, tree, err);

	if (code == WR_E_NOT_THERE)
		return missing(tree, err);
	if (code == WR_OK)
		*out = (struct wr_items){.tree = obj,
					 .rest = wr_str_n(obj.data, obj.size),
					 .id = *tree,
					 .known = wr_keep_find(v->sizes, wr_str_n(tree->id, WR_OID_RAW)),
					 .untold = v->sizes == NULL};
	return code;
}

void wr_items_fini(struct wr_items *items)
{
	wr_object_fini(&items->tree);
	wr_kept_unref(items->known);
	free(items->sizes);
	items->known = NULL;
	items->sizes = NULL;
}

static struct wr_item item_of(const struct wr_tree_entry *e)
{
	return (struct wr_item){.kind = e->mode == WR_MODE_TREE ? WR_KIND_FOLDER : WR_KIND_FILE,
				.mode = e->mode,
				.oid = e->oid};
}

static enum wr_code add_size(struct wr_item *item, const struct wr_view *v, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	if (item->kind == WR_KIND_FILE)
		code = wr_snapshot_stat(v->snap, &item->oid, NULL, &item->size, err);
	return code == WR_E_NOT_THERE ? missing(&item->oid, err) : code;
}

/* The next entry that is no submodule. */
static enum wr_code next_entry(struct wr_tree_entry *out, struct wr_items *items, struct wr_error *err)
{
	enum wr_code code;

	do
		code = wr_tree_next(out, &items->rest, err);
	while (code == WR_OK && out->mode == WR_MODE_LINK);
	return code;
}

/* Room for the sizes of n more files. */
static enum wr_code make_room(struct wr_items *items, size_t n, struct wr_error *err)
{
	size_t cap = items->cap ? (size_t)items->cap * 2 : 2 * AHEAD;
	uint64_t *v;

	if (items->files + n <= items->cap)
		return WR_OK;
	v = cap <= UINT32_MAX ? reallocarray(items->sizes, cap, sizeof *v) : NULL;
	if (!v)
		return wr_fail_nomem(err);
	items->sizes = v;
	items->cap = (uint32_t)cap;
	return WR_OK;
}

/* The sizes of this file and of those that follow, for that costs less than each by itself. */
static enum wr_code look_ahead(struct wr_items *items, const struct wr_oid *oid, const struct wr_view *v,
			       struct wr_error *err)
{
	struct wr_oid oids[AHEAD] = {*oid};
	struct wr_str rest = items->rest;
	struct wr_tree_entry e;
	uint32_t n = 1;
	enum wr_code code;

	while (n < AHEAD && wr_tree_next(&e, &rest, NULL) == WR_OK)
		if (e.mode != WR_MODE_LINK && e.mode != WR_MODE_TREE)
			oids[n++] = e.oid;
	if ((code = make_room(items, n, err)) != WR_OK)
		return code;
	code = wr_snapshot_sizes(items->sizes + items->files, v->snap, oids, n, err);
	for (uint32_t i = 0; i < n && code == WR_E_NOT_THERE; i++)
		if (!wr_snapshot_has(v->snap, &oids[i]))
			return missing(&oids[i], err);
	items->sized = items->files + n;
	return code;
}

static enum wr_code size_of(struct wr_item *item, struct wr_items *items, const struct wr_view *v, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	if (item->kind != WR_KIND_FILE || items->unsized)
		return WR_OK;
	if (items->known && items->files < items->known->len / sizeof item->size) {
		item->size = ((const uint64_t *)items->known->bytes)[items->files++];
		return WR_OK;
	}
	if (items->files >= items->sized)
		code = look_ahead(items, &item->oid, v, err);
	if (code == WR_OK)
		item->size = items->sizes[items->files++];
	return code;
}

enum wr_code wr_items_next(struct wr_item *out, struct wr_str *name, struct wr_items *items, const struct wr_view *v,
			   struct wr_error *err)
{
	struct wr_tree_entry e;
	struct wr_item item;
	enum wr_code code = next_entry(&e, items, err);

	if (code == WR_E_NOT_THERE && !items->known && !items->untold && !items->unsized)
		wr_keep_add(v->sizes, wr_str_n(items->id.id, WR_OID_RAW),
			    wr_str_n(items->sizes, items->files * sizeof *items->sizes));
	if (code != WR_OK)
		return code;
	item = item_of(&e);
	if ((code = size_of(&item, items, v, err)) != WR_OK)
		return code;
	*out = item;
	*name = e.name;
	return WR_OK;
}

/* The entry of this name. WR_E_NOT_THERE, without words, when there is none. */
static enum wr_code find_in(struct wr_item *item, const struct wr_view *v, struct wr_str name, struct wr_error *err)
{
	WR_AUTO_S(wr_items) items = {.rest = {NULL, 0}};
	struct wr_tree_entry e;
	enum wr_code code = wr_items_open(&items, v, &item->oid, err);

	if (code != WR_OK)
		return code;
	do
		code = next_entry(&e, &items, err);
	while (code == WR_OK && !wr_str_eq(e.name, name));
	if (code == WR_OK)
		*item = item_of(&e);
	return code;
}

enum wr_code wr_path_find(struct wr_item *out, const struct wr_view *v, const struct wr_oid *root, struct wr_str path,
			  struct wr_error *err)
{
	struct wr_item item = {.kind = WR_KIND_FOLDER, .oid = *root};
	struct wr_str rest = path;
	enum wr_code code = path.len > WR_PATH_MAX ? WR_E_NOT_THERE : WR_OK;

	for (unsigned depth = 0; rest.len > 0 && code == WR_OK; depth++) {
		const char *slash = memchr(rest.ptr, '/', rest.len);
		struct wr_str name = wr_str_n(rest.ptr, slash ? (size_t)(slash - rest.ptr) : rest.len);

		if (item.kind != WR_KIND_FOLDER || depth == WR_PATH_DEPTH)
			code = WR_E_NOT_THERE;
		else
			code = find_in(&item, v, name, err);
		rest = wr_str_skip(rest, name.len);
		if (code != WR_OK || rest.len == 0)
			continue;
		rest = wr_str_skip(rest, 1);
		if (item.kind != WR_KIND_FOLDER)
			code = WR_E_NOT_THERE;
	}
	if (code == WR_E_NOT_THERE)
		return not_found(path, err);
	if (code == WR_OK)
		code = add_size(&item, v, err);
	if (code == WR_OK)
		*out = item;
	return code;
}
