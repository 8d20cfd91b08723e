/*
 * bench/commits.c: see commits.h.
 */
#include "bench/commits.h"

#include <stdio.h>

#include "core/base/buf.h"
#include "core/git/parse.h"
#include "core/git/snapshot_internal.h"

#define DIRS 100
#define FILES 100

void bench_die(const char *what, const struct wr_error *err)
{
	fprintf(stderr, "%s: %s %s\n", what, err ? err->text : "", err ? err->detail : "");
	exit(1);
}

double bench_seconds(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static enum wr_code add(struct wr_oid *out, struct wr_quarantine *q, enum wr_type type, struct wr_str bytes,
			const struct wr_like *like, struct wr_error *err)
{
	return wr_quarantine_add(out, q, type, bytes, like, err);
}

/* bytes of a tree with the id of one entry replaced; *was: its id before. */
static enum wr_code replaced(struct wr_buf *out, struct wr_oid *was, struct wr_str tree, struct wr_str name,
			     const struct wr_oid *new)
{
	struct wr_str rest = tree;
	struct wr_tree_entry e;

	while (wr_tree_next(&e, &rest, NULL) == WR_OK) {
		if (!wr_str_eq(e.name, name))
			continue;
		*was = e.oid;
		if (new) {
			size_t at = tree.len - rest.len - WR_OID_RAW;

			wr_buf_add(out, tree.ptr, tree.len);
			memcpy(out->ptr + at, new->id, WR_OID_RAW);
		}
		return !out || wr_buf_ok(out) ? WR_OK : WR_E_UNAVAILABLE;
	}
	return WR_E_NOT_THERE;
}

static enum wr_code commit_text(struct wr_buf *out, const struct wr_oid *tree, const struct wr_oid *parent, uint64_t n)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, tree);
	wr_buf_printf(out, "tree %s\n", hex);
	if (parent) {
		wr_oid_hex(hex, parent);
		wr_buf_printf(out, "parent %s\n", hex);
	}
	wr_buf_printf(out, "author A <a@example.org> %llu +0000\ncommitter A <a@example.org> %llu +0000\n\nchange %llu\n",
		      1700000000ull + (unsigned long long)n, 1700000000ull + (unsigned long long)n, (unsigned long long)n);
	return wr_buf_ok(out) ? WR_OK : WR_E_UNAVAILABLE;
}

static enum wr_code change(void *arg, struct wr_snapshot *tips, struct wr_change *c, struct wr_error *err)
{
	struct bench_writer *w = arg;
	WR_AUTO_S(wr_buf) dir_text = WR_BUF_INIT(1 << 20), root_text = WR_BUF_INIT(1 << 20), text = WR_BUF_INIT(4096);
	WR_AUTO_S(wr_object) commit = {.data = NULL}, root = {.data = NULL}, dir = {.data = NULL};
	WR_AUTO_S(wr_commit) parsed = {.parents = NULL};
	struct wr_oid blob, new_dir, new_root, dir_oid, file_oid;
	char dir_name[16], file_name[16], content[64];
	struct wr_ref ref;
	enum wr_code code;

	snprintf(dir_name, sizeof dir_name, "d%03llu", (unsigned long long)(w->made * 7 + w->number) % DIRS);
	snprintf(file_name, sizeof file_name, "f%03llu", (unsigned long long)(w->made * 13) % FILES);
	snprintf(content, sizeof content, "writer %u, version %llu\n", w->number, (unsigned long long)w->made);
	if (!wr_snapshot_find_ref(&ref, tips, wr_str(w->ref)))
		return wr_fail(err, WR_E_INTERNAL, "no branch");
	if ((code = wr_snapshot_read(&commit, tips, &ref.oid, err)) != WR_OK ||
	    (code = wr_commit_parse(&parsed, wr_str_n(commit.data, commit.size), err)) != WR_OK ||
	    (code = wr_snapshot_read(&root, tips, &parsed.tree, err)) != WR_OK ||
	    (code = wr_quarantine_on(&w->q, w->repo, tips, err)) != WR_OK ||
	    (code = add(&blob, w->q, WR_BLOB, wr_str(content), NULL, err)) != WR_OK ||
	    (code = replaced(NULL, &dir_oid, wr_str_n(root.data, root.size), wr_str(dir_name), NULL)) != WR_OK ||
	    (code = wr_snapshot_read(&dir, tips, &dir_oid, err)) != WR_OK ||
	    (code = replaced(&dir_text, &file_oid, wr_str_n(dir.data, dir.size), wr_str(file_name), &blob)) != WR_OK ||
	    (code = add(&new_dir, w->q, WR_TREE, wr_buf_str(&dir_text),
			&(struct wr_like){dir_oid, wr_str_n(dir.data, dir.size), false}, err)) != WR_OK ||
	    (code = replaced(&root_text, &dir_oid, wr_str_n(root.data, root.size), wr_str(dir_name), &new_dir)) != WR_OK ||
	    (code = add(&new_root, w->q, WR_TREE, wr_buf_str(&root_text),
			&(struct wr_like){parsed.tree, wr_str_n(root.data, root.size), false}, err)) != WR_OK ||
	    (code = commit_text(&text, &new_root, &ref.oid, w->made)) != WR_OK ||
	    (code = add(&w->update.new, w->q, WR_COMMIT, wr_buf_str(&text), NULL, err)) != WR_OK)
		return code;
	w->update.name = wr_str(w->ref);
	w->update.old = ref.oid;
	c->updates = &w->update;
	c->count = 1;
	c->objects = w->q;
	return WR_OK;
}

void bench_commit(struct bench_writer *w)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_change c = {.fn = change, .arg = w, .asker.author = WR_S("bench")};
	double began = bench_seconds(CLOCK_MONOTONIC), took;

	if (wr_git_append(w->repo, &c, &err) != WR_OK || w->update.result != WR_OK)
		bench_die("append", &err);
	wr_quarantine_free(w->q);
	w->q = NULL;
	w->made++;
	took = bench_seconds(CLOCK_MONOTONIC) - began;
	w->wait = took > w->wait ? took : w->wait;
}

/* The first commit: 10,000 files, or on top of what a branch has. */
void bench_first(struct wr_git_repo *repo, const char *branch)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	WR_AUTO_S(wr_buf) root = WR_BUF_INIT(1 << 20), text = WR_BUF_INIT(4096);
	WR_AUTO(wr_quarantine) *q = NULL;
	struct wr_ref_update u = {.name = wr_str(branch), .any_old = true};
	struct wr_change c = {.updates = &u, .count = 1};
	struct wr_oid oid;
	char part[64];

	if (wr_quarantine_new(&q, repo, &err) != WR_OK)
		bench_die("quarantine", &err);
	for (int d = 0; d < DIRS; d++) {
		WR_AUTO_S(wr_buf) dir = WR_BUF_INIT(1 << 20);

		for (int f = 0; f < FILES; f++) {
			snprintf(part, sizeof part, "file %d of folder %d\n", f, d);
			if (add(&oid, q, WR_BLOB, wr_str(part), NULL, &err) != WR_OK)
				bench_die("add", &err);
			wr_buf_printf(&dir, "100644 f%03d", f);
			wr_buf_add(&dir, "", 1);
			wr_buf_add(&dir, oid.id, sizeof oid.id);
		}
		if (add(&oid, q, WR_TREE, wr_buf_str(&dir), NULL, &err) != WR_OK)
			bench_die("add", &err);
		wr_buf_printf(&root, "40000 d%03d", d);
		wr_buf_add(&root, "", 1);
		wr_buf_add(&root, oid.id, sizeof oid.id);
	}
	if (add(&oid, q, WR_TREE, wr_buf_str(&root), NULL, &err) != WR_OK || commit_text(&text, &oid, NULL, 0) != WR_OK ||
	    add(&u.new, q, WR_COMMIT, wr_buf_str(&text), NULL, &err) != WR_OK)
		bench_die("add", &err);
	c.objects = q;
	if (wr_git_append(repo, &c, &err) != WR_OK || u.result != WR_OK)
		bench_die("first append", &err);
}
