/*
 * The files of one commit of another repository, as they are: the trees and blobs that its tree reaches are copied,
 * one by one, so that nothing else of that repository is stored here, neither the commit nor what lies beside the
 * folder that is wanted.
 */
#include "core/base/config.h"
#include "core/content/path.h"
#include "core/content/unpack.h"
#include "server/making_internal.h"

/* Such a blob is packed as it is put, so that its packed bytes are not in memory as well. */
#define LARGE ((size_t)4 << 20)

/* Where it is copied from. */
struct from {
	const struct wr_snapshot *snap; /* of a repository here, or NULL */
	struct wr_quarantine *pack;	/* what another server sent */
};

struct copying {
	const struct wr_making *m;
	struct from from;
	struct wr_quarantine *to;
	struct wr_oidmap seen;
	struct wr_oids trees, blobs; /* that were seen, and are not copied yet */
	uint64_t bytes;
	struct wr_error *err;
};

static void copying_fini(struct copying *c)
{
	wr_oidmap_fini(&c->seen);
	wr_oids_fini(&c->trees);
	wr_oids_fini(&c->blobs);
}

static enum wr_code read_object(struct wr_object *out, const struct copying *c, const struct wr_oid *oid,
				enum wr_type type)
{
	enum wr_code code = c->from.snap ? wr_snapshot_read(out, c->from.snap, oid, c->err)
					 : wr_quarantine_read(out, c->from.pack, oid, c->err);

	if (code == WR_E_NOT_THERE || (code == WR_OK && out->type != type))
		return wr_fail(c->err, WR_E_INTERNAL, "an object of a checked pack is missing or of another type");
	return code;
}

/* ---- the tree that is wanted ---- */

static enum wr_code tree_of(struct wr_oid *out, const struct copying *c, const struct wr_oid *commit)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	WR_AUTO_S(wr_commit) parsed = {.parents = NULL};
	enum wr_code code = read_object(&obj, c, commit, WR_COMMIT);

	if (code == WR_OK)
		code = wr_commit_parse(&parsed, wr_str_n(obj.data, obj.size), c->err);
	if (code == WR_OK)
		*out = parsed.tree;
	return code;
}

/* WR_E_NOT_THERE: there is no such folder. */
static enum wr_code enter(struct wr_oid *tree, const struct copying *c, struct wr_str name)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	struct wr_tree_entry e;
	struct wr_str rest;
	enum wr_code code = read_object(&obj, c, tree, WR_TREE);

	if (code != WR_OK)
		return code;
	rest = wr_str_n(obj.data, obj.size);
	while ((code = wr_tree_next(&e, &rest, c->err)) == WR_OK)
		if (e.mode == WR_MODE_TREE && wr_str_eq(e.name, name)) {
			*tree = e.oid;
			return WR_OK;
		}
	return code;
}

static enum wr_code enter_all(struct wr_oid *tree, const struct copying *c, struct wr_str dir)
{
	WR_AUTO_S(wr_buf) path = WR_BUF_INIT(WR_PATH_MAX);
	enum wr_code code = WR_OK;
	struct wr_str rest = dir;

	while (rest.len && rest.ptr[0] == '/')
		rest = wr_str_skip(rest, 1);
	if (rest.len == 0)
		return WR_OK;
	if (!wr_unpack_path(&path, rest))
		return wr_unpack_no_dir("git", dir, c->err);
	rest = wr_buf_str(&path);
	while (rest.len && code == WR_OK) {
		const char *slash = memchr(rest.ptr, '/', rest.len);
		size_t len = slash ? (size_t)(slash - rest.ptr) : rest.len;

		code = enter(tree, c, wr_str_n(rest.ptr, len));
		rest = wr_str_skip(rest, slash ? len + 1 : len);
	}
	return code == WR_E_NOT_THERE ? wr_unpack_no_dir("git", dir, c->err) : code;
}

/* ---- copying ---- */

static enum wr_code count(struct copying *c, uint64_t size)
{
	uint64_t max = c->m->app->cfg->sources_max_unpacked;

	c->bytes += size;
	if (c->bytes > max)
		return wr_fail(c->err, WR_E_TOO_LARGE, "The files have more than %llu bytes", (unsigned long long)max);
	return wr_cancelled(c->m->cancel, c->err);
}

static enum wr_code see(struct wr_oids *list, struct copying *c, const struct wr_oid *oid)
{
	uint64_t max = c->m->app->cfg->sources_max_entries;
	bool added;
	enum wr_code code = wr_oidmap_add(&c->seen, oid, 0, &added, c->err);

	if (code == WR_OK && c->seen.len > max)
		return wr_fail(c->err, WR_E_TOO_LARGE, "There are more than %llu files and folders",
			       (unsigned long long)max);
	return code == WR_OK && added ? wr_oids_add(list, oid, c->err) : code;
}

static enum wr_code copy_tree(struct copying *c, const struct wr_oid *oid)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	struct wr_tree_entry e;
	struct wr_str bytes, rest;
	struct wr_oid same;
	enum wr_code code = read_object(&obj, c, oid, WR_TREE);

	if (code == WR_OK)
		code = count(c, obj.size);
	if (code != WR_OK)
		return code;
	rest = bytes = wr_str_n(obj.data, obj.size);
	while (code == WR_OK && (code = wr_tree_next(&e, &rest, c->err)) == WR_OK)
		if (e.mode != WR_MODE_LINK)
			code = see(e.mode == WR_MODE_TREE ? &c->trees : &c->blobs, c, &e.oid);
	return code == WR_E_NOT_THERE ? wr_quarantine_add(&same, c->to, WR_TREE, bytes, NULL, c->err) : code;
}

static enum wr_code size_of(uint64_t *size, const struct copying *c, const struct wr_oid *oid)
{
	enum wr_type type;

	return c->from.snap ? wr_snapshot_stat(c->from.snap, oid, &type, size, c->err)
			    : wr_quarantine_stat(&type, size, c->from.pack, oid, c->err);
}

static enum wr_code put_blob(struct copying *c, const struct wr_oid *oid)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	struct wr_str bytes;
	struct wr_oid same;
	enum wr_code code = read_object(&obj, c, oid, WR_BLOB);

	if (code != WR_OK)
		return code;
	bytes = wr_str_n(obj.data, obj.size);
	if (bytes.len < LARGE)
		return wr_quarantine_add(&same, c->to, WR_BLOB, bytes, NULL, c->err);
	if ((code = wr_quarantine_blob_begin(c->to, c->err)) == WR_OK)
		code = wr_quarantine_blob_put(c->to, bytes, c->err);
	return code == WR_OK ? wr_quarantine_blob_end(&same, c->to, c->err) : code;
}

static enum wr_code copy_blob(struct copying *c, const struct wr_oid *oid)
{
	uint64_t size = 0, held;
	enum wr_code code = size_of(&size, c, oid);

	if (code == WR_OK)
		code = count(c, size);
	/* A delta's base is in memory beside what it makes of it. */
	held = size < LARGE ? 0 : 2 * size;
	if (code == WR_OK && held > c->m->app->cfg->http_max_buffered)
		code = wr_fail(c->err, WR_E_TOO_LARGE,
			       "A file of %llu bytes is too large to be taken by itself; make the repository from its source",
			       (unsigned long long)size);
	if (code == WR_OK && !wr_room_take(c->m->room, held, false))
		code = wr_fail(c->err, WR_E_UNAVAILABLE, "max_buffered reached");
	if (code != WR_OK)
		return code;
	code = put_blob(c, oid);
	wr_room_give(c->m->room, held);
	return code;
}

static enum wr_code copy_all(struct copying *c, const struct wr_oid *tree)
{
	enum wr_code code = see(&c->trees, c, tree);

	while (code == WR_OK && c->trees.len + c->blobs.len) {
		struct wr_oids *list = c->blobs.len ? &c->blobs : &c->trees;
		struct wr_oid oid = list->v[--list->len];

		code = list == &c->blobs ? copy_blob(c, &oid) : copy_tree(c, &oid);
	}
	return code;
}

static enum wr_code copy(struct wr_oid *tree, struct wr_making *m, struct wr_quarantine *to, struct from from,
			 const struct wr_oid *commit, struct wr_error *err)
{
	struct copying c = {.m = m, .from = from, .to = to, .err = err};
	enum wr_code code = tree_of(tree, &c, commit);

	if (code == WR_OK)
		code = enter_all(tree, &c, m->plan->dir);
	wr_making_stage(m, "unpacking");
	if (code == WR_OK)
		code = copy_all(&c, tree);
	copying_fini(&c);
	return code;
}

/* ---- from where ---- */

static enum wr_code from_own(struct wr_oid *tree, struct wr_making *m, struct wr_quarantine *q, struct wr_error *err)
{
	const struct wr_repo *source = &m->own->repo;
	WR_AUTO(wr_git_repo) *repo = NULL;
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	struct wr_oid commit;
	enum wr_code code = wr_git_repo_open(&repo, m->app->git, source->id, err);

	if (code == WR_OK)
		code = wr_view_open(&v, repo, wr_str(source->default_branch), false, m->cancel, err);
	if (code == WR_OK)
		code = wr_making_own_still(m, err);
	if (code == WR_OK)
		code = wr_making_own_commit(&commit, &v, m->plan, err);
	return code == WR_OK ? copy(tree, m, q, (struct from){v.snap, NULL}, &commit, err) : code;
}

static enum wr_code from_other(struct wr_oid *tree, struct wr_making *m, struct wr_quarantine *q,
			       struct wr_error *err)
{
	struct wr_making_tip tip = {.pack = NULL};
	WR_AUTO(wr_quarantine) *sent = NULL;
	enum wr_code code = wr_making_fetch_tip(&tip, m, err);

	if (code == WR_OK)
		code = wr_quarantine_new(&sent, m->repo, err);
	if (code == WR_OK) {
		wr_quarantine_taken(sent);
		wr_quarantine_room(sent, m->room);
		wr_quarantine_roots(sent, &tip.roots);
		code = wr_quarantine_pack(sent, tip.pack, m->progress, m->cancel, err);
	}
	if (code == WR_OK)
		code = copy(tree, m, q, (struct from){NULL, sent}, &tip.commit, err);
	wr_making_tip_fini(&tip);
	return code;
}

enum wr_code wr_making_git_tree(struct wr_oid *tree, struct wr_making *m, struct wr_quarantine *q,
				struct wr_error *err)
{
	/* Old histories have trees that no push may bring. */
	wr_quarantine_taken(q);
	return m->own ? from_own(tree, m, q, err) : from_other(tree, m, q, err);
}
