#include "core/content/changed.h"

#include "core/base/buf.h"
#include "core/content/path.h"

#define ASK_ENTRIES 1024 /* cancel is asked again after so many */

/* Where the comparison is. */
struct at {
	struct wr_changed *c;
	struct wr_buf path;
	unsigned depth;
	uint64_t held; /* bytes of folders in memory */
	struct wr_error *err;
};

static enum wr_code tell(struct at *at, struct wr_str name, const struct wr_tree_entry *old,
			 const struct wr_tree_entry *new)
{
	size_t before = at->path.len;
	enum wr_code code;

	wr_buf_adds(&at->path, name);
	if (!wr_buf_ok(&at->path))
		return wr_fail(at->err, WR_E_INVALID_REQUEST, "A path is longer than %zu bytes", at->path.max);
	code = at->c->path(at->c->arg, wr_buf_str(&at->path), old, new, at->err);
	at->path.len = before;
	return code;
}

static enum wr_code compare_trees(struct at *at, const struct wr_oid *old, const struct wr_oid *new);

static enum wr_code go_into(struct at *at, struct wr_str name, const struct wr_oid *old, const struct wr_oid *new)
{
	size_t before = at->path.len;
	enum wr_code code;

	wr_buf_adds(&at->path, name);
	wr_buf_addc(&at->path, '/');
	if (!wr_buf_ok(&at->path) || at->depth == WR_PATH_DEPTH)
		return wr_fail(at->err, WR_E_INVALID_REQUEST, "The folders are nested too deeply");
	at->depth++;
	code = compare_trees(at, old, new);
	at->depth--;
	at->path.len = before;
	return code;
}

static bool is_tree(const struct wr_tree_entry *e)
{
	return e && e->mode == WR_MODE_TREE;
}

/* One name; either may be NULL. A folder and a file are two things. */
static enum wr_code compare_entries(struct at *at, const struct wr_tree_entry *old, const struct wr_tree_entry *new)
{
	enum wr_code code = WR_OK;

	if (old && new && is_tree(old) == is_tree(new)) {
		if (wr_oid_eq(&old->oid, &new->oid) && old->mode == new->mode)
			return WR_OK;
		return is_tree(old) ? go_into(at, old->name, &old->oid, &new->oid) : tell(at, old->name, old, new);
	}
	if (old)
		code = is_tree(old) ? go_into(at, old->name, &old->oid, NULL) : tell(at, old->name, old, NULL);
	if (new && code == WR_OK && !at->c->stop)
		code = is_tree(new) ? go_into(at, new->name, NULL, &new->oid) : tell(at, new->name, NULL, new);
	return code;
}

/* git's order: as if the name of a folder ended with "/". */
static int entry_cmp(const struct wr_tree_entry *a, const struct wr_tree_entry *b)
{
	size_t n = a->name.len < b->name.len ? a->name.len : b->name.len;
	int c = n ? memcmp(a->name.ptr, b->name.ptr, n) : 0;
	int x = a->name.len > n ? (unsigned char)a->name.ptr[n] : is_tree(a) ? '/' : 0;
	int y = b->name.len > n ? (unsigned char)b->name.ptr[n] : is_tree(b) ? '/' : 0;

	return c ? c : x - y;
}

/* See WR_PATH_HELD. */
static enum wr_code read_tree(struct wr_object *obj, struct at *at, const struct wr_oid *oid)
{
	uint64_t max = at->c->held_max ? at->c->held_max : WR_PATH_HELD, size = 0;
	enum wr_type type = WR_TREE;
	enum wr_code code = oid ? wr_snapshot_stat(at->c->snap, oid, &type, &size, at->err) : WR_OK;

	if (code != WR_OK || !oid)
		return code;
	if (type != WR_TREE)
		return wr_fail(at->err, WR_E_INTERNAL, "a folder is no tree");
	if (size > max - at->held)
		return wr_fail(at->err, WR_E_INVALID_REQUEST, "Folders in one another that differ have more than %llu bytes",
			       (unsigned long long)max);
	if ((code = wr_snapshot_read(obj, at->c->snap, oid, at->err)) == WR_OK)
		at->held += obj->size;
	return code;
}

static enum wr_code next_entry(bool *has, struct wr_tree_entry *e, struct wr_str *rest, struct at *at)
{
	enum wr_code code = wr_tree_next(e, rest, at->err);

	*has = code == WR_OK;
	if (code == WR_E_NOT_THERE)
		return WR_OK;
	if (code != WR_OK)
		return wr_fail(at->err, WR_E_INTERNAL, "a tree is damaged");
	if (at->c->entries++ >= at->c->entries_max)
		return wr_fail(at->err, WR_E_INVALID_REQUEST, "The folders that differ have more than %llu entries",
			       (unsigned long long)at->c->entries_max);
	return at->c->entries % ASK_ENTRIES ? WR_OK : wr_cancelled(at->c->cancel, at->err);
}

static enum wr_code compare_trees(struct at *at, const struct wr_oid *old, const struct wr_oid *new)
{
	WR_AUTO_S(wr_object) a = {.data = NULL}, b = {.data = NULL};
	uint64_t held = at->held;
	struct wr_str rest_a, rest_b;
	struct wr_tree_entry x, y;
	bool has_x = false, has_y = false;
	enum wr_code code = wr_cancelled(at->c->cancel, at->err);

	if (code != WR_OK || (code = read_tree(&a, at, old)) != WR_OK || (code = read_tree(&b, at, new)) != WR_OK)
		return code;
	rest_a = wr_str_n(a.data, a.size);
	rest_b = wr_str_n(b.data, b.size);
	if ((code = next_entry(&has_x, &x, &rest_a, at)) == WR_OK)
		code = next_entry(&has_y, &y, &rest_b, at);
	while (code == WR_OK && (has_x || has_y)) {
		int c = !has_x ? 1 : !has_y ? -1 : entry_cmp(&x, &y);

		code = compare_entries(at, c <= 0 ? &x : NULL, c >= 0 ? &y : NULL);
		if (at->c->stop)
			break;
		if (code == WR_OK && c <= 0)
			code = next_entry(&has_x, &x, &rest_a, at);
		if (code == WR_OK && c >= 0)
			code = next_entry(&has_y, &y, &rest_b, at);
	}
	at->held = held;
	return code;
}

enum wr_code wr_changed_paths(struct wr_changed *c, const struct wr_oid *old, const struct wr_oid *new,
			      struct wr_error *err)
{
	struct at at = {.c = c, .path = WR_BUF_INIT(4 * WR_PATH_MAX), .err = err};
	enum wr_code code = WR_OK;

	if (!(old && new && wr_oid_eq(old, new)))
		code = compare_trees(&at, old, new);
	wr_buf_fini(&at.path);
	return code;
}
