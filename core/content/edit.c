#include "core/content/edit.h"

#include <limits.h>

#include "core/base/clock.h"
#include "core/content/change_tree.h"
#include "core/content/path.h"
#include "core/git/filename.h"
#include "core/git/graph.h"

#define HEADS "refs/heads/"
#define COMMIT_MAX ((size_t)64 << 20)
/* A file that is larger is stored whole: to make a delta the old one would have to be read. */
#define LIKE_MAX ((uint64_t)1 << 20)
/* And one that is smaller: a delta names the old one, which alone takes half of this. */
#define LIKE_MIN (2 * (size_t)WR_OID_RAW)

static bool plain(struct wr_str s)
{
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char)s.ptr[i] < 32 || s.ptr[i] == '<' || s.ptr[i] == '>' || s.ptr[i] == 127)
			return false;
	return s.len > 0 && s.len <= 1024;
}

bool wr_person_ok(const struct wr_person *who)
{
	return plain(who->name) && plain(who->mail) && who->zone > -24 * 60 && who->zone < 24 * 60;
}

bool wr_edit_path_ok(struct wr_str path)
{
	unsigned depth = 0;
	struct wr_str rest = path;
	const char *slash;

	if (path.len == 0 || path.len > WR_PATH_MAX || memchr(path.ptr, '\0', path.len))
		return false;
	do {
		struct wr_str part;

		slash = memchr(rest.ptr, '/', rest.len);
		part = wr_str_n(rest.ptr, slash ? (size_t)(slash - rest.ptr) : rest.len);
		if (wr_filename_bad(part) || ++depth > WR_PATH_DEPTH)
			return false;
		rest = wr_str_skip(rest, slash ? part.len + 1 : part.len);
	} while (slash);
	return true;
}

static void put_person(struct wr_buf *out, const char *role, const struct wr_person *who)
{
	int zone = who->zone < 0 ? -who->zone : who->zone;
	int64_t ms = who->when_ms ? who->when_ms : wr_now_ms();

	wr_buf_printf(out, "%s ", role);
	wr_buf_adds(out, who->name);
	wr_buf_addz(out, " <");
	wr_buf_adds(out, who->mail);
	wr_buf_printf(out, "> %lld %c%02d%02d\n", (long long)(ms / 1000), who->zone < 0 ? '-' : '+', zone / 60, zone % 60);
}

void wr_commit_text(struct wr_buf *out, const struct wr_oid *tree, const struct wr_oid *parents, size_t count,
		    const struct wr_person *author, const struct wr_person *committer, struct wr_str message)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, tree);
	wr_buf_printf(out, "tree %s\n", hex);
	for (size_t i = 0; i < count; i++) {
		wr_oid_hex(hex, &parents[i]);
		wr_buf_printf(out, "parent %s\n", hex);
	}
	put_person(out, "author", author);
	put_person(out, "committer", committer);
	wr_buf_addc(out, '\n');
	wr_buf_adds(out, message);
}

/* ---- one commit ---- */

struct making {
	const struct wr_edit *edit;
	const struct wr_cancel *cancel;
	struct wr_quarantine *q;
	struct wr_oid *blobs; /* of each change that is no deletion */
	struct wr_buf *commit;
	struct wr_oid tip[2];	      /* the branch's, that was found last, and its tree */
	struct wr_snapshot *snap;     /* of the time before the turn, */
	struct wr_change_tree before; /* and the branch's tree in it; root NULL: there was none, or it was changed */
	struct wr_oid before_id;
	struct wr_oid made;
	struct wr_ref_update update;
	char ref[WR_REFNAME_MAX];
};

static void making_fini(struct making *m)
{
	wr_change_tree_fini(&m->before);
	wr_snapshot_unref(m->snap);
}
#define MAKING WR_CLEANUP(making_fini) struct making

/* Beside trees, whose key is the id alone. */
#define TIP_KEY (WR_OID_RAW + 1)
static struct wr_str tip_key(char room[TIP_KEY], const struct wr_oid *tip)
{
	memcpy(room, tip->id, WR_OID_RAW);
	room[WR_OID_RAW] = 't';
	return wr_str_n(room, TIP_KEY);
}

/* The tree of a tip that was made here lately. */
static bool know_tree(struct making *m, const struct wr_oid *tip)
{
	char room[TIP_KEY];
	WR_AUTO(wr_kept) *kept = wr_keep_find(m->edit->trees, tip_key(room, tip));

	if (!kept)
		return false;
	m->tip[0] = *tip;
	memcpy(m->tip[1].id, kept->bytes, WR_OID_RAW);
	return true;
}

/* The branch's tip and tree; both NULL where it does not exist yet. */
static enum wr_code find_tip(const struct wr_oid **tip, const struct wr_oid **tree, struct making *m,
			     const struct wr_snapshot *snap, struct wr_error *err)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	WR_AUTO_S(wr_commit) commit = {.parents = NULL};
	struct wr_ref ref;
	enum wr_code code;

	*tip = *tree = NULL;
	if (!wr_snapshot_find_ref(&ref, snap, m->update.name))
		return WR_OK;
	if (!wr_oid_eq(&ref.oid, &m->tip[0]) && !know_tree(m, &ref.oid)) {
		if ((code = wr_snapshot_read(&obj, snap, &ref.oid, err)) != WR_OK ||
		    (code = wr_commit_parse(&commit, wr_str_n(obj.data, obj.size), err)) != WR_OK)
			return code == WR_E_NOT_THERE ? wr_fail(err, WR_E_INTERNAL, "the tip of a branch is missing")
						      : code;
		m->tip[0] = ref.oid;
		m->tip[1] = commit.tree;
	}
	*tip = &m->tip[0];
	*tree = &m->tip[1];
	return WR_OK;
}

/* What a change's file is now, in the tree before the turn: content is mostly close to it. */
static enum wr_code add_blob(struct making *m, size_t i, struct wr_error *err)
{
	const struct wr_file_change *c = &m->edit->changes[i];
	struct wr_like like = {.bytes = {NULL, 0}};
	uint64_t size = UINT64_MAX;
	bool found = false;
	unsigned mode;
	enum wr_code code = WR_OK;

	if (m->before.root && c->content.len >= LIKE_MIN)
		code = wr_change_tree_file(&found, &like.oid, &mode, &m->before, c->path, err);
	if (code == WR_OK && found && mode != WR_MODE_LINK)
		code = wr_snapshot_stat(m->snap, &like.oid, NULL, &size, err);
	if (code == WR_OK)
		code = wr_quarantine_add(&m->blobs[i], m->q, WR_BLOB, c->content, size <= LIKE_MAX ? &like : NULL, err);
	return code;
}

/* Before the turn: all that does not depend on the tip. */
static enum wr_code add_blobs(struct making *m, struct wr_git_repo *repo, struct wr_error *err)
{
	const struct wr_oid *tip, *tree;
	enum wr_code code = wr_snapshot_take(&m->snap, repo, err);

	if (code == WR_OK)
		code = find_tip(&tip, &tree, m, m->snap, err);
	if (code == WR_OK && tree) {
		m->before_id = *tree;
		code = wr_change_tree_open(&m->before, m->snap, tree, m->edit->trees, err);
	}
	for (size_t i = 0; i < m->edit->count && code == WR_OK; i++)
		if (!m->edit->changes[i].deleted && (code = wr_cancelled(m->cancel, err)) == WR_OK)
			code = add_blob(m, i, err);
	return code;
}

static enum wr_code conflict(const struct wr_oid *expected, const struct wr_oid *tip, struct wr_error *err)
{
	char hex[WR_OID_HEX + 1];

	wr_fail(err, WR_E_CONFLICTING_PARENT, "%s", wr_code_text(WR_E_CONFLICTING_PARENT));
	wr_oid_hex(hex, expected);
	wr_error_field(err, "expected", wr_str(hex));
	if (tip) {
		wr_oid_hex(hex, tip);
		wr_error_field(err, "actual", wr_str(hex));
	} else {
		wr_error_field_null(err, "actual");
	}
	return WR_E_CONFLICTING_PARENT;
}

static enum wr_code change_files(struct wr_oid *root, struct making *m, const struct wr_snapshot *tips,
				 const struct wr_oid *tree, struct wr_error *err)
{
	WR_AUTO_S(wr_change_tree) t = m->before;
	enum wr_code code = WR_OK;

	/* A turn may come again, but a tree is changed once. */
	m->before.root = NULL;
	if (!t.root || !tree || !wr_oid_eq(tree, &m->before_id)) {
		wr_change_tree_fini(&t);
		code = wr_change_tree_open(&t, tips, tree, m->edit->trees, err);
	}
	for (size_t i = 0; i < m->edit->count && code == WR_OK; i++) {
		const struct wr_file_change *c = &m->edit->changes[i];

		code = c->deleted ? wr_change_tree_remove(&t, c->path, err)
				  : wr_change_tree_put(&t, c->path, &m->blobs[i], c->mode, err);
	}
	return code == WR_OK ? wr_change_tree_write(root, &t, m->q, err) : code;
}

/* In the turn. */
static enum wr_code make(void *arg, struct wr_snapshot *tips, struct wr_change *change, struct wr_error *err)
{
	struct making *m = arg;
	const struct wr_edit *e = m->edit;
	const struct wr_oid *tip, *tree;
	struct wr_oid root;
	char room[TIP_KEY];
	enum wr_code code = find_tip(&tip, &tree, m, tips, err);

	if (code != WR_OK)
		return code;
	if (e->expected && !(tip && wr_oid_eq(tip, e->expected)))
		return conflict(e->expected, tip, err);
	wr_quarantine_follow(m->q, tips);
	if ((code = change_files(&root, m, tips, tree, err)) != WR_OK)
		return code;
	wr_buf_clear(m->commit);
	wr_commit_text(m->commit, &root, tip, tip != NULL, &e->author, &e->committer, e->message);
	if (!wr_buf_ok(m->commit))
		return wr_fail(err, WR_E_TOO_LARGE, "The message is too large");
	if ((code = wr_quarantine_add(&m->made, m->q, WR_COMMIT, wr_buf_str(m->commit), NULL, err)) != WR_OK)
		return code;
	wr_keep_add(m->edit->trees, tip_key(room, &m->made), wr_str_n((const char *)root.id, WR_OID_RAW));
	m->update.old = tip ? *tip : (struct wr_oid){{0}};
	m->update.new = m->made;
	change->updates = &m->update;
	change->count = 1;
	change->objects = m->q;
	return WR_OK;
}

static enum wr_code append(struct making *m, struct wr_git_repo *repo, struct wr_error *err)
{
	struct wr_change change = {.asker = m->edit->asker, .fn = make, .arg = m, .brief = true};
	enum wr_code code = wr_git_append(repo, &change, err);

	if (code == WR_OK && m->update.result != WR_OK)
		code = wr_fail(err, WR_E_INVALID_REQUEST, "The branch was not moved: %s", m->update.reason);
	return code;
}

enum wr_code wr_edit_commit(struct wr_oid *out, struct wr_buf *commit, struct wr_git_repo *repo,
			    const struct wr_edit *edit, const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO(wr_quarantine) *q = NULL;
	WR_AUTO_MEM struct wr_oid *blobs = calloc(edit->count + 1, sizeof *blobs);
	MAKING m = {.edit = edit, .cancel = cancel, .blobs = blobs, .commit = commit};
	enum wr_code code;
	int n = snprintf(m.ref, sizeof m.ref, HEADS "%.*s", (int)edit->branch.len, edit->branch.ptr);

	if (!blobs)
		return wr_fail_nomem(err);
	if (n < 0 || (size_t)n >= sizeof m.ref)
		return wr_fail(err, WR_E_INVALID_REQUEST, "The name of the branch is too long");
	m.update.name = wr_str_n(m.ref, (size_t)n);
	if ((code = wr_quarantine_new(&q, repo, err)) != WR_OK)
		return code;
	m.q = q;
	if ((code = add_blobs(&m, repo, err)) != WR_OK || (code = append(&m, repo, err)) != WR_OK)
		return code;
	*out = m.made;
	return WR_OK;
}
