/* The last generations of a repository here as a repository of their own: one pack, by way of a nameless file. */
#include <fcntl.h>
#include <stdio.h>

#include "core/base/file.h"
#include "server/making_internal.h"

/* ---- the file ---- */

struct spool {
	struct wr_sink sink;
	struct wr_source source;
	int fd;
	off_t at; /* of the source */
};

static enum wr_code spool_write(struct wr_sink *sink, const void *data, size_t len, struct wr_error *err)
{
	return wr_file_write_all(((struct spool *)sink)->fd, data, len, err);
}

static enum wr_code spool_read(struct wr_source *source, void *buf, size_t cap, size_t *got, struct wr_error *err)
{
	struct spool *s = (struct spool *)((char *)source - offsetof(struct spool, source));
	ssize_t n = pread(s->fd, buf, cap, s->at);

	if (n < 0)
		return wr_fail_errno(err, "read a pack that was written just now");
	s->at += n;
	*got = (size_t)n;
	return WR_OK;
}

static enum wr_code spool_open(struct spool *s, const struct wr_app *app, struct wr_error *err)
{
	WR_AUTO_MEM char *folder = NULL;

	if (asprintf(&folder, "%s/run", wr_db_folder(app->db)) < 0) {
		folder = NULL;
		return wr_fail_nomem(err);
	}
	*s = (struct spool){.sink = {.write = spool_write}, .source = {spool_read}};
	s->fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return s->fd < 0 ? wr_fail_errno(err, "make a file in %s", folder) : WR_OK;
}

/* ---- where history ends ---- */

struct cutting {
	struct wr_view *v;
	struct wr_oidmap seen, ends; /* ends: where the source's own history does */
	struct wr_oids level, below;
	struct wr_oids roots; /* out */
};

static void cutting_fini(struct cutting *c)
{
	wr_oidmap_fini(&c->seen);
	wr_oidmap_fini(&c->ends);
	wr_oids_fini(&c->level);
	wr_oids_fini(&c->below);
	wr_oids_fini(&c->roots);
}

static enum wr_code reach(struct cutting *c, struct wr_oids *list, const struct wr_oid *oid, struct wr_error *err)
{
	bool added;
	enum wr_code code = wr_oidmap_add(&c->seen, oid, 0, &added, err);

	return code == WR_OK && added ? wr_oids_add(list, oid, err) : code;
}

/* The parents of one level; the last one ends there, also where another ref has a parent of it, as git cuts. */
static enum wr_code step(struct cutting *c, const struct wr_oid *oid, bool last, struct wr_error *err)
{
	WR_AUTO_S(wr_commit) commit = {.parents = NULL};
	bool cut = wr_oidmap_has(&c->ends, oid);
	enum wr_code code = wr_view_commit(&commit, c->v, oid, err);

	for (size_t i = 0; i < commit.parent_count && code == WR_OK && !last; i++)
		code = reach(c, &c->below, &commit.parents[i], err);
	cut = cut || (last && commit.parent_count > 0);
	return code == WR_OK && cut ? wr_oids_add(&c->roots, oid, err) : code;
}

static enum wr_code walk(struct cutting *c, uint32_t depth, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	for (uint32_t level = 1; c->level.len > 0 && code == WR_OK; level++) {
		struct wr_oids done = c->level;

		for (size_t i = 0; i < done.len && code == WR_OK; i++) {
			if (i % 1024 == 0)
				code = wr_cancelled(c->v->cancel, err);
			if (code == WR_OK)
				code = step(c, &done.v[i], level == depth, err);
		}
		c->level = c->below;
		c->below = (struct wr_oids){NULL, 0, 0};
		wr_oids_fini(&done);
	}
	return code;
}

static enum wr_code find_roots(struct cutting *c, const struct wr_making_refs *refs, uint32_t depth,
			       struct wr_error *err)
{
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < c->v->roots.len && code == WR_OK; i++)
		code = wr_oidmap_add(&c->ends, &c->v->roots.v[i], 0, NULL, err);
	for (size_t i = 0; i < refs->count && code == WR_OK; i++) {
		const struct wr_ref *ref = &refs->v[i];
		const struct wr_oid *oid = wr_oid_zero(&ref->peeled) ? &ref->oid : &ref->peeled;
		enum wr_type type;

		code = wr_snapshot_stat(c->v->snap, oid, &type, NULL, err);
		if (code == WR_OK && type == WR_COMMIT)
			code = reach(c, &c->level, oid, err);
	}
	return code == WR_OK ? walk(c, depth, err) : code;
}

/* ---- the pack ---- */

static enum wr_code write_pack(struct spool *s, const struct wr_making *m, const struct wr_view *v,
			       const struct wr_making_refs *refs, const struct wr_oids *roots, struct wr_error *err)
{
	WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};
	WR_AUTO(wr_plan) *plan = NULL;
	const struct wr_oids none = {NULL, 0, 0};
	const struct wr_plan_request request = {
		.wants = &wants, .haves = &none, .client_shallow = &none, .new_shallow = roots, .ofs_delta = true};
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < refs->count && code == WR_OK; i++)
		code = wr_oids_add(&wants, &refs->v[i].oid, err);
	if (code == WR_OK)
		code = wr_plan_new(&plan, v->snap, &request, NULL, m->cancel, err);
	return code == WR_OK ? wr_plan_write(plan, &s->sink, NULL, m->cancel, err) : code;
}

static enum wr_code take_pack(struct wr_making *m, struct spool *s, const struct wr_making_refs *refs,
			      const struct wr_oids *roots, struct wr_error *err)
{
	WR_AUTO(wr_git_repo) *repo = NULL;
	WR_AUTO(wr_quarantine) *q = NULL;
	enum wr_code code = wr_git_repo_open(&repo, m->app->git, m->repo_id, err);

	if (code == WR_OK)
		code = wr_quarantine_new(&q, repo, err);
	if (code != WR_OK)
		return code;
	wr_quarantine_taken(q);
	if (roots->len > 0)
		wr_quarantine_roots(q, roots);
	wr_quarantine_room(q, m->room);
	if ((code = wr_quarantine_pack(q, &s->source, NULL, m->cancel, err)) != WR_OK)
		return code;
	m->repo = repo;
	code = wr_making_append(m, q, refs, err);
	m->repo = NULL;
	return code;
}

enum wr_code wr_making_cut(struct wr_making *m, struct wr_view *source, const struct wr_making_refs *refs,
			   struct wr_error *err)
{
	struct cutting c = {.v = source};
	struct spool s = {.fd = -1};
	enum wr_code code;

	wr_making_stage(m, "forking");
	if ((code = find_roots(&c, refs, m->plan->depth, err)) == WR_OK &&
	    (code = spool_open(&s, m->app, err)) == WR_OK &&
	    (code = write_pack(&s, m, source, refs, &c.roots, err)) == WR_OK)
		code = take_pack(m, &s, refs, &c.roots, err);
	if (s.fd >= 0)
		close(s.fd);
	cutting_fini(&c);
	return code;
}
