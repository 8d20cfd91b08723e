#include "core/content/difference.h"

#include <git2/diff.h>
#include <git2/errors.h>
#include <git2/patch.h>

#include "core/content/changed.h"
#include "core/content/difference_internal.h"

#define FILES_MAX 100000
#define PATHS_MAX ((size_t)64 << 20) /* bytes of their paths together */
/* Lines of larger files are not counted: to compare them would take seconds. */
#define COUNT_MAX ((uint64_t)4 << 20)
/* Nor of those with more lines between what both begin and what both end with: the time grows with the square of them. */
#define LINES_MAX 300000

struct differ {
	struct wr_difference *out;
	size_t paths; /* bytes of all of them */
};

static void different_fini(struct wr_different *d)
{
	free(d->path);
	free(d->old_path);
}

void wr_difference_fini(struct wr_difference *d)
{
	for (size_t i = 0; i < d->len; i++)
		different_fini(&d->v[i]);
	free(d->v);
	*d = (struct wr_difference){.v = NULL};
}

/* ---- two trees ---- */

static enum wr_code note(void *arg, struct wr_str path, const struct wr_tree_entry *old,
			 const struct wr_tree_entry *new, struct wr_error *err)
{
	struct differ *d = arg;
	struct wr_difference *out = d->out;
	struct wr_different *e;

	if (out->len == FILES_MAX)
		return wr_fail(err, WR_E_INVALID_REQUEST, "More than %d files differ", FILES_MAX);
	if (out->len == out->cap) {
		size_t cap = out->cap ? out->cap * 2 : 16;
		struct wr_different *v = reallocarray(out->v, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(err);
		out->v = v;
		out->cap = cap;
	}
	e = &out->v[out->len];
	*e = (struct wr_different){.status = !old ? WR_ADDED : !new ? WR_REMOVED : WR_MODIFIED};
	e->path = wr_str_dup(path);
	if (!e->path)
		return wr_fail_nomem(err);
	e->path_len = path.len;
	d->paths += e->path_len;
	if (old) {
		e->old_mode = old->mode;
		e->old_oid = old->oid;
	}
	if (new) {
		e->mode = new->mode;
		e->oid = new->oid;
	}
	/* What stays the same, or becomes something else, under one name. */
	if (old && new && (wr_oid_eq(&old->oid, &new->oid) || (old->mode & 0170000) != (new->mode & 0170000)))
		e->status = WR_CHANGED;
	out->len++;
	if (d->paths > PATHS_MAX)
		return wr_fail(err, WR_E_INVALID_REQUEST, "The paths of the files that differ are too long together");
	return WR_OK;
}

static enum wr_code compare_trees(struct wr_difference *all, const struct wr_view *v, const struct wr_oid *old,
				  const struct wr_oid *new, struct wr_error *err)
{
	struct differ d = {.out = all};
	struct wr_changed c = {
		.snap = v->snap, .cancel = v->cancel, .entries_max = UINT64_MAX, .path = note, .arg = &d};
	enum wr_code code = wr_changed_paths(&c, old, new, err);

	return code == WR_E_NOT_THERE ? wr_fail(err, WR_E_INTERNAL, "a tree is missing") : code;
}

/* ---- lines ---- */

static enum wr_code read_side(struct wr_object *obj, bool *large, const struct wr_view *v, unsigned mode,
			      const struct wr_oid *oid, struct wr_error *err)
{
	uint64_t size;
	enum wr_code code;

	if (mode == 0 || mode == WR_MODE_LINK)
		return WR_OK;
	code = wr_snapshot_stat(v->snap, oid, NULL, &size, err);
	*large |= code == WR_OK && size > COUNT_MAX;
	return code == WR_OK && !*large ? wr_snapshot_read(obj, v->snap, oid, err) : code;
}

static size_t lines_of(struct wr_str s)
{
	size_t n = 0;

	for (const char *at = s.ptr; s.len > 0 && (at = memchr(at, '\n', s.len - (size_t)(at - s.ptr))); at++)
		n++;
	return n;
}

/* The lines of both that have to be compared. */
static size_t lines_between(struct wr_str a, struct wr_str b)
{
	size_t least = a.len < b.len ? a.len : b.len, front = 0, back = 0;

	while (front < least && a.ptr[front] == b.ptr[front])
		front++;
	while (back < least - front && a.ptr[a.len - 1 - back] == b.ptr[b.len - 1 - back])
		back++;
	return lines_of(wr_str_n(a.ptr + front, a.len - front - back)) +
	       lines_of(wr_str_n(b.ptr + front, b.len - front - back));
}

static enum wr_code count_lines(struct wr_different *e, const struct wr_view *v, struct wr_error *err)
{
	WR_AUTO_S(wr_object) a = {.data = NULL}, b = {.data = NULL};
	git_diff_options options;
	git_patch *patch = NULL;
	size_t additions = 0, deletions = 0;
	bool large = false;
	enum wr_code code;

	if (e->old_mode && e->mode && wr_oid_eq(&e->old_oid, &e->oid))
		return WR_OK;
	if ((code = read_side(&a, &large, v, e->old_mode, &e->old_oid, err)) != WR_OK ||
	    (code = read_side(&b, &large, v, e->mode, &e->oid, err)) != WR_OK || large)
		return code;
	if (a.size && b.size && lines_between(wr_str_n(a.data, a.size), wr_str_n(b.data, b.size)) > LINES_MAX)
		return WR_OK;
	if (git_diff_options_init(&options, GIT_DIFF_OPTIONS_VERSION) < 0)
		return wr_fail(err, WR_E_INTERNAL, "diff options");
	options.context_lines = 0;
	if (git_patch_from_buffers(&patch, a.data, a.size, NULL, b.data, b.size, NULL, &options) < 0)
		return wr_fail(err, WR_E_INTERNAL, "diff: %s", git_error_last() ? git_error_last()->message : "?");
	if (git_patch_line_stats(NULL, &additions, &deletions, patch) == 0) {
		e->additions = additions;
		e->deletions = deletions;
	}
	git_patch_free(patch);
	return WR_OK;
}

static int path_cmp(const void *a, const void *b)
{
	const struct wr_different *x = a, *y = b;
	int c = memcmp(x->path, y->path, x->path_len < y->path_len ? x->path_len : y->path_len);

	return c ? c : (x->path_len > y->path_len) - (x->path_len < y->path_len);
}

enum wr_code wr_difference_of(struct wr_difference *out, const struct wr_view *v, const struct wr_oid *old,
			      const struct wr_oid *new, struct wr_error *err)
{
	WR_AUTO_S(wr_difference) all = {.v = NULL};
	enum wr_code code = compare_trees(&all, v, old, new, err);

	if (code == WR_OK)
		code = wr_find_renames(&all, v, err);
	if (code != WR_OK)
		return code;
	if (all.len)
		qsort(all.v, all.len, sizeof *all.v, path_cmp);
	for (size_t i = 0; i < all.len && code == WR_OK; i++)
		if ((code = wr_cancelled(v->cancel, err)) == WR_OK)
			code = count_lines(&all.v[i], v, err);
	if (code == WR_OK) {
		*out = all;
		all = (struct wr_difference){.v = NULL};
	}
	return code;
}
