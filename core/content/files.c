#include "core/content/files.h"

#include "core/content/path.h"

/* A path's bytes are in one buffer; behind those of a hard link stand those of what it leads to. */
struct wr_files_entry {
	size_t at;
	uint32_t len, target_len;
	struct wr_oid blob;
	unsigned mode; /* 0: a hard link that was not followed yet */
	uint32_t turn; /* the later one wins */
	bool folder, dead;
};

void wr_files_init(struct wr_files *files, uint64_t max, bool strict)
{
	*files = (struct wr_files){.max = max, .strict = strict, .paths = WR_BUF_INIT(WR_FILES_PATHS)};
}

void wr_files_fini(struct wr_files *files)
{
	wr_buf_fini(&files->paths);
	free(files->v);
	files->v = NULL;
	files->len = files->cap = 0;
}

static struct wr_str path_of(const struct wr_files *files, const struct wr_files_entry *e)
{
	return wr_str_n(files->paths.ptr + e->at, e->len);
}

static enum wr_code add(struct wr_files *files, struct wr_str path, struct wr_str to, struct wr_files_entry e,
			struct wr_error *err)
{
	if (files->len >= files->max || files->len >= UINT32_MAX - 1)
		return wr_fail(err, WR_E_TOO_LARGE, "There are more than %zu files", files->len);
	if (files->len == files->cap) {
		size_t cap = files->cap ? files->cap * 2 : 64;
		struct wr_files_entry *v = reallocarray(files->v, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(err);
		files->v = v;
		files->cap = cap;
	}
	e.at = files->paths.len;
	e.len = (uint32_t)path.len;
	e.target_len = (uint32_t)to.len;
	e.turn = (uint32_t)files->len;
	wr_buf_adds(&files->paths, path);
	wr_buf_adds(&files->paths, to);
	if (!wr_buf_ok(&files->paths))
		return wr_fail(err, WR_E_TOO_LARGE, "The paths of the files have more than %zu bytes", WR_FILES_PATHS);
	files->v[files->len++] = e;
	return WR_OK;
}

enum wr_code wr_files_add(struct wr_files *files, struct wr_str path, const struct wr_oid *blob, unsigned mode,
			  struct wr_error *err)
{
	return add(files, path, WR_S(""), (struct wr_files_entry){.blob = *blob, .mode = mode}, err);
}

enum wr_code wr_files_link(struct wr_files *files, struct wr_str path, struct wr_str to, struct wr_error *err)
{
	return add(files, path, to, (struct wr_files_entry){.mode = 0}, err);
}

enum wr_code wr_files_folder(struct wr_files *files, struct wr_str path, struct wr_error *err)
{
	const struct wr_files_entry e = {.mode = WR_MODE_TREE, .folder = true, .dead = true};

	return add(files, path, WR_S(""), e, err);
}

/* ---- which of them count ---- */

static int bytes_cmp(struct wr_str a, struct wr_str b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int c = n ? memcmp(a.ptr, b.ptr, n) : 0;

	return c ? c : (a.len > b.len) - (a.len < b.len);
}

/* By path, then by turn. In this order of whole paths the entries of each folder are in git's order. */
static int entry_cmp(const void *a, const void *b, void *arg)
{
	const struct wr_files_entry *x = a, *y = b;
	int c = bytes_cmp(path_of(arg, x), path_of(arg, y));

	return c ? c : (x->turn > y->turn) - (x->turn < y->turn);
}

static int turn_cmp(const void *a, const void *b)
{
	const struct wr_files_entry *const *x = a, *const *y = b;

	return ((*x)->turn > (*y)->turn) - ((*x)->turn < (*y)->turn);
}

/* The first entry whose path, with the byte `end` behind it where that is not 0, is not before this one. */
static size_t lower(const struct wr_files *files, struct wr_str path, char end, uint32_t turn)
{
	size_t lo = 0, hi = files->len;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct wr_files_entry *e = &files->v[mid];
		struct wr_str have = path_of(files, e);
		bool longer = end && have.len > path.len;
		int c = bytes_cmp(longer ? wr_str_n(have.ptr, path.len) : have, path);

		if (c == 0 && end)
			c = longer ? (unsigned char)have.ptr[path.len] - (unsigned char)end : -1;
		else if (c == 0)
			c = (e->turn > turn) - (e->turn < turn);
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static enum wr_code follow(const struct wr_files *files, struct wr_files_entry *link, struct wr_error *err)
{
	struct wr_str to = wr_str_n(files->paths.ptr + link->at + link->len, link->target_len);
	size_t i = lower(files, to, 0, link->turn);
	const struct wr_files_entry *e;

	do {
		e = i > 0 ? &files->v[--i] : NULL;
	} while (e && e->folder && wr_str_eq(path_of(files, e), to));
	if (!e || !wr_str_eq(path_of(files, e), to))
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "A hard link leads to a file that does not come before it in the archive");
	link->blob = e->blob;
	link->mode = e->mode;
	return WR_OK;
}

/* In their order, as one may lead to another. */
static enum wr_code follow_links(struct wr_files *files, struct wr_error *err)
{
	WR_AUTO_MEM struct wr_files_entry **links = NULL;
	enum wr_code code = WR_OK;
	size_t n = 0;

	for (size_t i = 0; i < files->len; i++)
		n += files->v[i].mode == 0;
	if (n == 0)
		return WR_OK;
	if (!(links = calloc(n, sizeof *links)))
		return wr_fail_nomem(err);
	n = 0;
	for (size_t i = 0; i < files->len; i++)
		if (files->v[i].mode == 0)
			links[n++] = &files->v[i];
	qsort(links, n, sizeof *links, turn_cmp);
	for (size_t i = 0; i < n && code == WR_OK; i++)
		code = follow(files, links[i], err);
	return code;
}

static enum wr_code both(const struct wr_files *files, const struct wr_files_entry *e, struct wr_error *err)
{
	wr_fail(err, WR_E_INVALID_FILE_PATH, "The path is that of a file and of a folder");
	wr_error_field(err, "path", path_of(files, e));
	return WR_E_INVALID_FILE_PATH;
}

/* A file at a path takes away what was below it before, and what comes below it later takes the file away. */
static enum wr_code settle(struct wr_files *files, struct wr_files_entry *e, struct wr_error *err)
{
	size_t from = lower(files, path_of(files, e), '/', 0), to = lower(files, path_of(files, e), '/' + 1, 0);

	for (size_t i = from; i < to; i++) {
		struct wr_files_entry *below = &files->v[i];

		if (below->folder)
			continue;
		if (files->strict)
			return both(files, e, err);
		if (below->turn < e->turn)
			below->dead = true;
		else
			e->dead = true;
	}
	return WR_OK;
}

static enum wr_code settle_all(struct wr_files *files, const struct wr_cancel *cancel, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	for (size_t i = 0, last = SIZE_MAX; i < files->len; i++) {
		if (files->v[i].folder)
			continue;
		if (last != SIZE_MAX && wr_str_eq(path_of(files, &files->v[last]), path_of(files, &files->v[i])))
			files->v[last].dead = true;
		last = i;
	}
	for (size_t i = 0; i < files->len && code == WR_OK; i++) {
		if (i % 1024 == 0 && (code = wr_cancelled(cancel, err)) != WR_OK)
			break;
		if (!files->v[i].folder)
			code = settle(files, &files->v[i], err);
	}
	return code;
}

/* ---- trees ---- */

struct writing {
	struct wr_files *files;
	struct wr_quarantine *q;
	const struct wr_cancel *cancel;
	struct wr_oidmap wanted;
	uint64_t folders;
};

static void put_entry(struct wr_buf *out, struct wr_str name, unsigned mode, const struct wr_oid *oid)
{
	wr_buf_printf(out, "%o ", mode);
	wr_buf_adds(out, name);
	wr_buf_addc(out, '\0');
	wr_buf_add(out, oid->id, WR_OID_RAW);
}

static enum wr_code write_folder(struct wr_oid *out, struct writing *w, size_t from, size_t to, size_t skip,
				 struct wr_error *err);

/* What stands at i: a file, or all that is below one folder. *next: behind it. */
static enum wr_code write_entry(struct wr_buf *out, struct writing *w, size_t i, size_t *next, size_t to, size_t skip,
				struct wr_error *err)
{
	const struct wr_files_entry *e = &w->files->v[i];
	struct wr_str path = path_of(w->files, e), rest = wr_str_skip(path, skip);
	const char *slash = memchr(rest.ptr, '/', rest.len);
	struct wr_oid oid = e->blob;
	size_t len = slash ? (size_t)(slash - rest.ptr) : rest.len;
	enum wr_code code;

	*next = i + 1;
	if (slash) {
		struct wr_str folder = wr_str_n(path.ptr, skip + len + 1);

		while (*next < to && wr_str_starts(path_of(w->files, &w->files->v[*next]), folder))
			++*next;
		code = write_folder(&oid, w, i, *next, skip + len + 1, err);
	} else {
		code = wr_oidmap_add(&w->wanted, &oid, 0, NULL, err);
	}
	put_entry(out, wr_str_n(rest.ptr, len), slash ? WR_MODE_TREE : e->mode, &oid);
	return code;
}

/* Entries [from, to), all of one folder, whose path and slash have skip bytes. */
static enum wr_code write_folder(struct wr_oid *out, struct writing *w, size_t from, size_t to, size_t skip,
				 struct wr_error *err)
{
	WR_AUTO_S(wr_buf) bytes = WR_BUF_INIT((size_t)1 << 30);
	enum wr_code code = wr_cancelled(w->cancel, err);

	if (code == WR_OK && w->folders++ > w->files->max)
		code = wr_fail(err, WR_E_TOO_LARGE, "There are more than %llu folders",
			       (unsigned long long)w->files->max);
	for (size_t i = from; i < to && code == WR_OK;)
		code = write_entry(&bytes, w, i, &i, to, skip, err);
	if (code == WR_OK && !wr_buf_ok(&bytes))
		code = wr_fail(err, WR_E_TOO_LARGE, "A folder would be too large");
	if (code == WR_OK)
		code = wr_quarantine_add(out, w->q, WR_TREE, wr_buf_str(&bytes), NULL, err);
	return code == WR_OK ? wr_oidmap_add(&w->wanted, out, 0, NULL, err) : code;
}

/* Leaves those that live. */
static void sweep(struct wr_files *files)
{
	size_t n = 0;

	for (size_t i = 0; i < files->len; i++)
		if (!files->v[i].dead)
			files->v[n++] = files->v[i];
	files->len = n;
}

static bool is_below(struct wr_str path, struct wr_str folder)
{
	return path.len > folder.len && path.ptr[folder.len] == '/' && wr_str_starts(path, folder);
}

/* Whether a folder of this path was told of, and was not overwritten by a file. */
static bool was_folder(const struct wr_files *files, struct wr_str dir)
{
	uint32_t file = 0, folder = 0; /* turns, from 1 */

	for (size_t i = 0; i < files->len; i++) {
		const struct wr_files_entry *e = &files->v[i];
		struct wr_str path = path_of(files, e);
		bool same = wr_str_eq(path, dir), below = is_below(path, dir), above = is_below(dir, path);

		if (below || (same && e->folder))
			folder = e->turn + 1 > folder ? e->turn + 1 : folder;
		else if ((same || above) && !e->folder)
			file = e->turn + 1 > file ? e->turn + 1 : file;
	}
	return folder > file;
}

enum wr_code wr_files_write(struct wr_oid *root, struct wr_files *files, struct wr_str dir, struct wr_quarantine *q,
			    const struct wr_cancel *cancel, struct wr_error *err)
{
	struct writing w = {.files = files, .q = q, .cancel = cancel};
	size_t from = 0, to;
	enum wr_code code;

	if (dir.len && !was_folder(files, dir))
		return WR_E_NOT_THERE;
	if (files->len)
		qsort_r(files->v, files->len, sizeof *files->v, entry_cmp, files);
	if ((code = follow_links(files, err)) != WR_OK || (code = settle_all(files, cancel, err)) != WR_OK)
		return code;
	sweep(files);
	to = files->len;
	if (dir.len) {
		from = lower(files, dir, '/', 0);
		to = lower(files, dir, '/' + 1, 0);
	}
	code = write_folder(root, &w, from, to, dir.len ? dir.len + 1 : 0, err);
	if (code == WR_OK)
		code = wr_quarantine_only(q, &w.wanted, err);
	wr_oidmap_fini(&w.wanted);
	return code;
}
