#include "core/content/change_tree.h"

#include <search.h>

#include "core/base/buf.h"
#include "core/content/path.h"

#define TREE_MAX ((size_t)1 << 30)

/* What a name stands for. */
struct node {
	struct wr_str name;
	unsigned mode; /* 0: nothing */
	struct wr_oid oid;
	struct wr_change_dir *dir; /* of a folder that was gone into */
	size_t at, len;		   /* its entry in the folder as it was; len 0: there was none */
	bool changed;
	struct node *next; /* the one asked for before */
};

struct wr_change_dir {
	struct wr_object old; /* the tree as it was; data NULL: there was none, or it is kept */
	struct wr_kept *kept; /* its bytes, and one more that is `sound` */
	bool sound;	      /* wr_quarantine_sound() said so */
	struct wr_oid oid;
	uint32_t *at; /* where its entries begin */
	size_t count;
	bool sorted; /* as git has it; an old tree may be otherwise */
	void *by_name;	    /* what was asked for, as tsearch() has it: a change may name 100,000 files in any order */
	struct node *nodes; /* the same, that asked for last first */
	size_t len;
	size_t left; /* how many entries it has with all changes so far */
};

/* ---- trees as they were ---- */

static void leave(void *node)
{
	(void)node;
}

static void dir_free(struct wr_change_dir *dir)
{
	if (!dir)
		return;
	tdestroy(dir->by_name, leave);
	while (dir->nodes) {
		struct node *n = dir->nodes;

		dir->nodes = n->next;
		dir_free(n->dir);
		free(n);
	}
	free(dir->at);
	wr_object_fini(&dir->old);
	wr_kept_unref(dir->kept);
	free(dir);
}

/* git's order of entries: as if the name of a folder ended with "/". */
static int entry_cmp(struct wr_str a, bool a_folder, struct wr_str b, bool b_folder)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int c = n ? memcmp(a.ptr, b.ptr, n) : 0;
	int x = a.len > n ? (unsigned char)a.ptr[n] : a_folder ? '/' : 0;
	int y = b.len > n ? (unsigned char)b.ptr[n] : b_folder ? '/' : 0;

	return c ? c : x - y;
}

static struct wr_str bytes_of(const struct wr_change_dir *dir)
{
	return dir->kept ? wr_str_n((const char *)dir->kept->bytes, dir->kept->len - 1)
			 : wr_str_n(dir->old.data, dir->old.size);
}

/* The entry that begins at this offset, which was read before; its length. */
static size_t entry_at(struct wr_tree_entry *e, const struct wr_change_dir *dir, size_t at)
{
	struct wr_str rest = wr_str_skip(bytes_of(dir), at);
	size_t before = rest.len;

	if (wr_tree_next(e, &rest, NULL) != WR_OK)
		*e = (struct wr_tree_entry){.mode = 0};
	return before - rest.len;
}

static enum wr_code add_entry(struct wr_change_dir *dir, size_t *cap, size_t at, struct wr_error *err)
{
	if (dir->count == *cap) {
		size_t more = *cap ? *cap * 2 : 128;
		uint32_t *v = reallocarray(dir->at, more, sizeof *v);

		if (!v)
			return wr_fail_nomem(err);
		dir->at = v;
		*cap = more;
	}
	dir->at[dir->count++] = (uint32_t)at;
	return WR_OK;
}

/* Of a sound one it is known that its entries are whole and in order. */
static enum wr_code index_sound(struct wr_change_dir *dir, struct wr_error *err)
{
	struct wr_str all = bytes_of(dir), rest = all;
	size_t cap = 0;
	enum wr_code code = WR_OK;

	while (rest.len && code == WR_OK) {
		const char *nul = memchr(rest.ptr, '\0', rest.len);
		size_t len = nul ? (size_t)(nul - rest.ptr) + 1 + WR_OID_RAW : SIZE_MAX;

		if (len > rest.len)
			return wr_fail(err, WR_E_INTERNAL, "a kept tree ends inside an entry");
		code = add_entry(dir, &cap, all.len - rest.len, err);
		rest = wr_str_skip(rest, len);
	}
	return code;
}

static enum wr_code index_entries(struct wr_change_dir *dir, struct wr_error *err)
{
	struct wr_str all = bytes_of(dir), rest = all;
	struct wr_tree_entry e, last = {.mode = 0};
	size_t cap = 0;
	enum wr_code code;

	dir->sorted = true;
	if (dir->sound)
		return index_sound(dir, err);
	for (;;) {
		size_t at = all.len - rest.len;

		if ((code = wr_tree_next(&e, &rest, err)) != WR_OK)
			return code == WR_E_NOT_THERE ? WR_OK : code;
		if (dir->count && entry_cmp(last.name, last.mode == WR_MODE_TREE, e.name, e.mode == WR_MODE_TREE) >= 0)
			dir->sorted = false;
		if ((code = add_entry(dir, &cap, at, err)) != WR_OK)
			return code;
		last = e;
	}
}

static struct wr_str key_of(const struct wr_oid *oid)
{
	return wr_str_n((const char *)oid->id, WR_OID_RAW);
}

static enum wr_code read_old(struct wr_change_dir *dir, const struct wr_change_tree *t, struct wr_error *err)
{
	enum wr_code code;

	if ((dir->kept = wr_keep_find(t->keep, key_of(&dir->oid)))) {
		dir->sound = ((const char *)dir->kept->bytes)[dir->kept->len - 1] != '\0';
		return WR_OK;
	}
	code = wr_snapshot_read(&dir->old, t->snap, &dir->oid, err);
	if (code == WR_OK && dir->old.size > TREE_MAX)
		return wr_fail(err, WR_E_TOO_LARGE, "A folder is too large to be changed");
	/* With the NUL behind it: nobody said that it is sound. */
	if (code == WR_OK)
		wr_keep_add(t->keep, key_of(&dir->oid), wr_str_n(dir->old.data, dir->old.size + 1));
	return code == WR_E_NOT_THERE ? wr_fail(err, WR_E_INTERNAL, "a tree is missing") : code;
}

/* oid NULL: a new folder. */
static enum wr_code dir_open(struct wr_change_dir **out, const struct wr_change_tree *t, const struct wr_oid *oid,
			     struct wr_error *err)
{
	struct wr_change_dir *dir = calloc(1, sizeof *dir);
	enum wr_code code = WR_OK;

	if (!dir)
		return wr_fail_nomem(err);
	dir->sorted = true;
	if (oid) {
		dir->oid = *oid;
		code = read_old(dir, t, err);
		if (code == WR_OK)
			code = index_entries(dir, err);
		dir->left = dir->count;
	}
	if (code == WR_OK)
		*out = dir;
	else
		dir_free(dir);
	return code;
}

/* The first entry that is not before this one; *exact: it has the name. */
static size_t lower(bool *exact, const struct wr_change_dir *dir, struct wr_str name, bool folder)
{
	size_t lo = 0, hi = dir->count;
	struct wr_tree_entry e;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		entry_at(&e, dir, dir->at[mid]);
		if (entry_cmp(e.name, e.mode == WR_MODE_TREE, name, folder) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*exact = false;
	if (lo < dir->count) {
		entry_at(&e, dir, dir->at[lo]);
		*exact = wr_str_eq(e.name, name);
	}
	return lo;
}

static bool find_entry(size_t *i, const struct wr_change_dir *dir, struct wr_str name)
{
	bool exact = false;

	if (dir->sorted) {
		*i = lower(&exact, dir, name, false);
		if (!exact)
			*i = lower(&exact, dir, name, true);
		return exact;
	}
	for (*i = 0; *i < dir->count; (*i)++) {
		struct wr_tree_entry e;

		entry_at(&e, dir, dir->at[*i]);
		if (wr_str_eq(e.name, name))
			return true;
	}
	return false;
}

/* ---- nodes ---- */

static int name_cmp(const void *a, const void *b)
{
	const struct node *x = a, *y = b;

	return entry_cmp(x->name, false, y->name, false);
}

static enum wr_code add_node(struct node **out, struct wr_change_dir *dir, struct wr_str name, struct wr_error *err)
{
	struct node *new = calloc(1, sizeof *new);
	size_t i;

	if (!new)
		return wr_fail_nomem(err);
	new->name = name;
	if (!tsearch(new, &dir->by_name, name_cmp)) {
		free(new);
		return wr_fail_nomem(err);
	}
	if (find_entry(&i, dir, name)) {
		struct wr_tree_entry e;

		new->at = dir->at[i];
		new->len = entry_at(&e, dir, new->at);
		new->mode = e.mode;
		new->oid = e.oid;
	}
	new->next = dir->nodes;
	dir->nodes = new;
	dir->len++;
	*out = new;
	return WR_OK;
}

/* The node of a name, which may stand for nothing. */
static enum wr_code get_node(struct node **out, struct wr_change_dir *dir, struct wr_str name, struct wr_error *err)
{
	const struct node key = {.name = name};
	void *found = tfind(&key, &dir->by_name, name_cmp);

	if (!found)
		return add_node(out, dir, name, err);
	*out = *(struct node **)found;
	return WR_OK;
}

static void set_mode(struct wr_change_dir *dir, struct node *n, unsigned mode)
{
	dir->left -= n->mode != 0;
	dir->left += mode != 0;
	n->mode = mode;
}

/* ---- paths ---- */

static enum wr_code absent(struct wr_str path, struct wr_error *err)
{
	wr_fail(err, WR_E_PATH_NOT_FOUND, "%s", wr_code_text(WR_E_PATH_NOT_FOUND));
	wr_error_field(err, "path", path);
	return WR_E_PATH_NOT_FOUND;
}

static enum wr_code in_the_way(struct wr_str path, const char *what, struct wr_error *err)
{
	wr_fail(err, WR_E_INVALID_FILE_PATH, "%s; delete it in an earlier change", what);
	wr_error_field(err, "path", path);
	return WR_E_INVALID_FILE_PATH;
}

/*
 * Goes into the folder that a node of *dir stands for; make: also where there is nothing yet. *dir is NULL then where it
 * is no folder.
 */
static enum wr_code enter(struct wr_change_dir **dir, const struct wr_change_tree *t, struct node *n, bool make,
			  struct wr_error *err)
{
	enum wr_code code = WR_OK;

	if (!n->dir && (n->mode == WR_MODE_TREE || (n->mode == 0 && make))) {
		code = dir_open(&n->dir, t, n->mode ? &n->oid : NULL, err);
		if (code == WR_OK)
			set_mode(*dir, n, WR_MODE_TREE);
	}
	*dir = n->mode == WR_MODE_TREE ? n->dir : NULL;
	return code;
}

static bool next_part(struct wr_str *part, struct wr_str *rest)
{
	const char *slash = memchr(rest->ptr, '/', rest->len);

	*part = wr_str_n(rest->ptr, slash ? (size_t)(slash - rest->ptr) : rest->len);
	*rest = wr_str_skip(*rest, slash ? part->len + 1 : part->len);
	return slash != NULL;
}

/* The folder of a path's last part, and that part. *dir NULL: a file stands in the way, or (make) nothing. */
static enum wr_code descend(struct wr_change_dir **dir, struct wr_str *last, struct wr_change_tree *t,
			    struct wr_str path, bool make, struct wr_error *err)
{
	*dir = t->root;
	while (*dir && next_part(last, &path)) {
		struct node *n;
		enum wr_code code = get_node(&n, *dir, *last, err);

		if (code == WR_OK)
			code = enter(dir, t, n, make, err);
		if (code != WR_OK)
			return code;
		n->changed |= make;
	}
	return WR_OK;
}

enum wr_code wr_change_tree_open(struct wr_change_tree *t, const struct wr_snapshot *snap, const struct wr_oid *root,
				 struct wr_keep *keep, struct wr_error *err)
{
	t->snap = snap;
	t->keep = keep;
	return dir_open(&t->root, t, root, err);
}

void wr_change_tree_fini(struct wr_change_tree *t)
{
	dir_free(t->root);
	t->root = NULL;
}

enum wr_code wr_change_tree_file(bool *found, struct wr_oid *oid, unsigned *mode, struct wr_change_tree *t,
				 struct wr_str path, struct wr_error *err)
{
	struct wr_change_dir *dir;
	struct wr_str last;
	struct node *n;
	enum wr_code code = descend(&dir, &last, t, path, false, err);

	*found = false;
	if (code != WR_OK || !dir || (code = get_node(&n, dir, last, err)) != WR_OK)
		return code;
	*found = n->mode != 0 && n->mode != WR_MODE_TREE;
	*oid = n->oid;
	*mode = n->mode;
	return WR_OK;
}

/* A folder that has nothing in it, as some tools make them, goes for a file. */
static enum wr_code give_way(const struct wr_change_tree *t, struct wr_change_dir *dir, struct node *n,
			     struct wr_str path, struct wr_error *err)
{
	struct wr_change_dir *folder = dir;
	enum wr_code code = n->mode == WR_MODE_TREE ? enter(&folder, t, n, false, err) : WR_OK;

	if (n->mode != WR_MODE_TREE || code != WR_OK)
		return code;
	if (folder->left > 0)
		return in_the_way(path, "A folder stands at the path", err);
	dir_free(n->dir);
	n->dir = NULL;
	set_mode(dir, n, 0);
	return WR_OK;
}

enum wr_code wr_change_tree_put(struct wr_change_tree *t, struct wr_str path, const struct wr_oid *blob, unsigned mode,
				struct wr_error *err)
{
	struct wr_change_dir *dir;
	struct wr_str last;
	struct node *n;
	enum wr_code code = descend(&dir, &last, t, path, true, err);

	if (code != WR_OK)
		return code;
	if (!dir)
		return in_the_way(path, "A file stands where the path needs a folder", err);
	if ((code = get_node(&n, dir, last, err)) != WR_OK)
		return code;
	if ((code = give_way(t, dir, n, path, err)) != WR_OK)
		return code;
	if (mode == 0)
		mode = n->mode == 0 || n->mode == WR_MODE_LINK ? WR_MODE_FILE | 0644 : n->mode;
	set_mode(dir, n, mode);
	n->oid = *blob;
	n->changed = true;
	return WR_OK;
}

/* Marks the way to a path as changed, and has folders go that are empty now. */
static enum wr_code touch(struct wr_change_dir *dir, struct wr_str rest, struct wr_error *err)
{
	struct wr_str part;
	struct node *n;
	enum wr_code code;

	if (!next_part(&part, &rest))
		return WR_OK;
	if ((code = get_node(&n, dir, part, err)) != WR_OK || (code = touch(n->dir, rest, err)) != WR_OK)
		return code;
	n->changed = true;
	if (n->dir->left == 0) {
		dir_free(n->dir);
		n->dir = NULL;
		set_mode(dir, n, 0);
	}
	return WR_OK;
}

enum wr_code wr_change_tree_remove(struct wr_change_tree *t, struct wr_str path, struct wr_error *err)
{
	struct wr_change_dir *dir;
	struct wr_str last;
	struct node *n;
	enum wr_code code = descend(&dir, &last, t, path, false, err);

	if (code != WR_OK)
		return code;
	if (!dir)
		return absent(path, err);
	if ((code = get_node(&n, dir, last, err)) != WR_OK)
		return code;
	if (n->mode == 0 || n->mode == WR_MODE_TREE)
		return absent(path, err);
	set_mode(dir, n, 0);
	n->changed = true;
	return touch(t->root, path, err);
}

/* ---- writing ---- */

/* So many bytes of the old tree go at an offset, and an entry (mode 0: none) comes there. */
struct edit {
	size_t at, len;
	const struct node *entry;
};

static int edit_cmp(const void *a, const void *b)
{
	const struct edit *x = a, *y = b;

	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	/* New ones stand before the entry that begins here. */
	if ((x->len != 0) != (y->len != 0))
		return x->len ? 1 : -1;
	return x->entry && y->entry ? entry_cmp(x->entry->name, x->entry->mode == WR_MODE_TREE, y->entry->name,
						y->entry->mode == WR_MODE_TREE)
				    : 0;
}

static bool was_folder(const struct wr_change_dir *dir, const struct node *n)
{
	struct wr_tree_entry e;

	entry_at(&e, dir, n->at);
	return e.mode == WR_MODE_TREE;
}

/* An entry whose kind changes may stand elsewhere then. */
static size_t plan_edits(struct edit *edits, const struct wr_change_dir *dir)
{
	size_t count = 0;

	for (const struct node *n = dir->nodes; n; n = n->next) {
		bool folder = n->mode == WR_MODE_TREE, stays = n->len && n->mode && was_folder(dir, n) == folder;

		if (!n->changed)
			continue;
		if (n->len)
			edits[count++] = (struct edit){n->at, n->len, stays ? n : NULL};
		if (n->mode && !stays) {
			bool exact;
			size_t place = lower(&exact, dir, n->name, folder);

			edits[count++] =
				(struct edit){place < dir->count ? dir->at[place] : bytes_of(dir).len, 0, n};
		}
	}
	qsort(edits, count, sizeof *edits, edit_cmp);
	return count;
}

static void put_entry(struct wr_buf *out, const struct node *n)
{
	wr_buf_printf(out, "%o ", n->mode);
	wr_buf_adds(out, n->name);
	wr_buf_addc(out, '\0');
	wr_buf_add(out, n->oid.id, WR_OID_RAW);
}

static enum wr_code write_bytes(struct wr_buf *out, const struct wr_change_dir *dir, struct wr_error *err)
{
	WR_AUTO_MEM struct edit *edits = calloc(2 * dir->len + 1, sizeof *edits);
	struct wr_str old = bytes_of(dir);
	size_t from = 0, count;

	if (!edits)
		return wr_fail_nomem(err);
	count = plan_edits(edits, dir);
	for (size_t i = 0; i < count; i++) {
		if (edits[i].at > from)
			wr_buf_add(out, old.ptr + from, edits[i].at - from);
		if (edits[i].entry)
			put_entry(out, edits[i].entry);
		from = edits[i].at + edits[i].len;
	}
	if (old.len > from)
		wr_buf_add(out, old.ptr + from, old.len - from);
	return wr_buf_ok(out) ? WR_OK : wr_fail(err, WR_E_TOO_LARGE, "A folder would be too large");
}

static enum wr_code write_dir(struct wr_oid *out, struct wr_change_dir *dir, struct wr_keep *keep, struct wr_quarantine *q,
			      struct wr_error *err)
{
	WR_AUTO_S(wr_buf) bytes = WR_BUF_INIT(TREE_MAX);
	const struct wr_like like = {dir->oid, bytes_of(dir), dir->sound};
	enum wr_code code = WR_OK;

	for (struct node *n = dir->nodes; n && code == WR_OK; n = n->next)
		if (n->changed && n->dir)
			code = write_dir(&n->oid, n->dir, keep, q, err);
	if (code == WR_OK)
		code = write_bytes(&bytes, dir, err);
	if (code == WR_OK)
		code = wr_quarantine_add(out, q, WR_TREE, wr_buf_str(&bytes), like.bytes.ptr ? &like : NULL, err);
	if (code != WR_OK)
		return code;
	/* The next commit begins with it. */
	wr_buf_addc(&bytes, (char)wr_quarantine_sound(q));
	if (wr_buf_ok(&bytes))
		wr_keep_add(keep, key_of(out), wr_buf_str(&bytes));
	return code;
}

enum wr_code wr_change_tree_write(struct wr_oid *root, struct wr_change_tree *t, struct wr_quarantine *q,
				  struct wr_error *err)
{
	return write_dir(root, t->root, t->keep, q, err);
}
