#include "core/git/fork.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "core/base/file.h"
#include "core/git/checkpoint.h"
#include "core/git/closure.h"
#include "core/git/git_internal.h"
#include "core/git/graph.h"
#include "core/git/guard.h"
#include "core/git/pack_write.h"

/* A pushed pack of this many objects or bytes is linked where all of it is wanted; of a smaller one the entries are copied. */
#define LINK_COUNT 1000u
#define LINK_BYTES ((uint64_t)1 << 20)

struct forking {
	struct wr_fork *fork;
	struct wr_snapshot *snap; /* of the source */
	int from, to;		  /* objects/pack of both; from is -1 where the source has gone */
	struct wr_closure closure;
	uint32_t *whole; /* sources that come as they are */
	size_t whole_count;
	struct wr_place *places; /* entries to copy */
	size_t place_count, place_cap;
	struct wr_member *members; /* of the new repository */
	size_t member_count;
	const struct wr_cancel *cancel;
	struct wr_error *err;
};

static void forking_fini(struct forking *f)
{
	wr_closure_fini(&f->closure);
	for (size_t i = 0; i < f->member_count; i++)
		wr_pack_unref(f->members[i].pack);
	free(f->members);
	free(f->whole);
	free(f->places);
	if (f->from >= 0)
		close(f->from);
	if (f->to >= 0)
		close(f->to);
}

/* ---- what is wanted ---- */

/*
 * Whether everything alive in base and tails is wanted: no head or tag lost anything since the checkpoint, and each that
 * there was then is wanted as it is now.
 */
static enum wr_code wants_closure(bool *out, const struct forking *f)
{
	WR_AUTO_S(wr_oidmap) wanted = {0};
	size_t n = f->snap->stored ? wr_refsfile_count(f->snap->stored) : 0;
	enum wr_code code;

	*out = false;
	if (f->snap->lost)
		return WR_OK;
	for (size_t i = 0; i < f->fork->ref_count; i++)
		if ((code = wr_oidmap_add(&wanted, &f->fork->refs[i].oid, 0, NULL, f->err)) != WR_OK)
			return code;
	for (size_t i = 0; i < n; i++) {
		struct wr_ref ref;

		wr_refsfile_ref_at(&ref, f->snap->stored, i);
		if (!wr_closure_is_head_or_tag(ref.name))
			continue;
		if ((f->snap->overlay && !wr_snapshot_find_ref(&ref, f->snap, ref.name)) ||
		    !wr_oidmap_has(&wanted, &ref.oid))
			return WR_OK;
	}
	*out = true;
	return WR_OK;
}

static enum wr_code walk(struct forking *f)
{
	bool gains;
	enum wr_code code;

	if ((code = wants_closure(&gains, f)) != WR_OK ||
	    (code = wr_closure_init(&f->closure, f->snap, gains, f->cancel, f->err)) != WR_OK)
		return code;
	for (size_t i = 0; i < f->fork->ref_count && code == WR_OK; i++)
		code = wr_closure_walk_from(&f->closure, &f->fork->refs[i].oid, f->err);
	return code;
}

/* ---- which packs come as they are ---- */

static bool is_whole(const struct forking *f, uint32_t src)
{
	const struct wr_member *m = &f->snap->members[src];

	if (wr_closure_role(m->role))
		return f->closure.gains ? !m->dead : f->closure.marked[src] == m->pack->count;
	return f->closure.marked[src] == m->pack->count &&
	       (m->pack->count >= LINK_COUNT || m->pack->size >= LINK_BYTES);
}

static enum wr_code add_place(struct forking *f, struct wr_place place)
{
	if (f->place_count == f->place_cap) {
		size_t cap = f->place_cap ? f->place_cap * 2 : 256;
		struct wr_place *v = reallocarray(f->places, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(f->err);
		f->places = v;
		f->place_cap = cap;
	}
	f->places[f->place_count++] = place;
	return WR_OK;
}

static enum wr_code add_entries(struct forking *f, uint32_t src)
{
	enum wr_code code = WR_OK;

	for (uint32_t pos = 0; pos < f->closure.counts[src] && code == WR_OK; pos++)
		if (wr_closure_has(&f->closure, (struct wr_place){src, pos}))
			code = add_place(f, (struct wr_place){src, pos});
	return code;
}

static enum wr_code choose(struct forking *f)
{
	enum wr_code code = WR_OK;

	f->whole = calloc(f->snap->member_count + 1, sizeof *f->whole);
	f->members = calloc(f->snap->member_count + 1, sizeof *f->members);
	if (!f->whole || !f->members)
		return wr_fail_nomem(f->err);
	for (uint32_t src = 0; src < f->closure.sources && code == WR_OK; src++) {
		if (src < f->snap->member_count && is_whole(f, src))
			f->whole[f->whole_count++] = src;
		else
			code = add_entries(f, src);
	}
	return code;
}

/* ---- packs ---- */

static enum wr_code copy_bytes(struct forking *f, const char *file, const uint8_t *data, size_t size,
			       const struct wr_guard *guard)
{
	WR_AUTO_FD int fd = openat(f->to, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	enum wr_code code;

	if (fd < 0)
		return wr_fail_errno(f->err, "create %s", file);
	if ((code = wr_cancelled(f->cancel, f->err)) != WR_OK ||
	    (code = wr_file_write_all(fd, data, size, f->err)) != WR_OK)
		return code;
	if (wr_guard_struck(guard))
		return wr_fail(f->err, WR_E_INTERNAL, "%s cannot be read", file);
	f->fork->written += size;
	return fsync(fd) == 0 ? WR_OK : wr_fail_errno(f->err, "flush %s", file);
}

/* The name is the pack's for ever, so what has it in the source's folder is what the map shows, or has gone. */
static bool link_file(const struct forking *f, const char *file, size_t size)
{
	struct stat st;

	return f->from >= 0 && fstatat(f->from, file, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
	       (uint64_t)st.st_size == size && linkat(f->from, file, f->to, file, 0) == 0;
}

static enum wr_code take_file(struct forking *f, bool *linked, const char *name, const char *ending, const uint8_t *data,
			      size_t size, const struct wr_guard *guard)
{
	char file[WR_PACK_NAME + 8];

	snprintf(file, sizeof file, "%s%s", name, ending);
	if (*linked && link_file(f, file, size))
		return WR_OK;
	*linked = false;
	return copy_bytes(f, file, data, size, guard);
}

static enum wr_code take_pack(struct forking *f, uint32_t src)
{
	const struct wr_pack *p = f->snap->members[src].pack;
	bool linked = true;
	enum wr_code code;

	if ((code = take_file(f, &linked, p->name, ".pack", p->data, p->size, p->data_guard)) != WR_OK ||
	    (code = take_file(f, &linked, p->name, ".idx", p->idx, p->idx_size, p->idx_guard)) != WR_OK ||
	    (p->rev &&
	     (code = take_file(f, &linked, p->name, ".rev", p->rev, p->rev_size, p->rev_guard)) != WR_OK))
		return code;
	f->fork->linked += linked;
	f->fork->copied += !linked;
	f->members[f->member_count].role = f->member_count ? WR_ROLE_TAIL : WR_ROLE_BASE;
	f->members[f->member_count++].pack = wr_pack_ref(f->snap->members[src].pack);
	return WR_OK;
}

static int larger_first(const void *a, const void *b, void *arg)
{
	const struct wr_snapshot *snap = arg;
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	size_t m = snap->members[x].pack->size, n = snap->members[y].pack->size;

	if (m != n)
		return m > n ? -1 : 1;
	return (x > y) - (x < y);
}

static enum wr_code bring_packs(struct forking *f)
{
	struct wr_pack *own = NULL;
	enum wr_code code = WR_OK;

	/* The largest is the base, as everywhere. */
	qsort_r(f->whole, f->whole_count, sizeof *f->whole, larger_first, f->snap);
	for (size_t i = 0; i < f->whole_count && code == WR_OK; i++)
		code = take_pack(f, f->whole[i]);
	if (code != WR_OK || f->place_count == 0)
		return code;
	code = wr_pack_write(&own, &f->fork->written, f->to, f->snap, f->places, f->place_count, f->cancel, f->err);
	if (code != WR_OK)
		return code;
	f->members[f->member_count].role = f->member_count ? WR_ROLE_TAIL : WR_ROLE_BASE;
	f->members[f->member_count++].pack = own;
	return WR_OK;
}

/* ---- the ref file ---- */

static int by_name(const void *pa, const void *pb)
{
	const struct wr_ref *a = pa, *b = pb;
	size_t n = a->name.len < b->name.len ? a->name.len : b->name.len;
	int c = n ? memcmp(a->name.ptr, b->name.ptr, n) : 0;

	return c ? c : (a->name.len > b->name.len) - (a->name.len < b->name.len);
}

/* Roots of a source whose history is cut, as far as they come along. */
static enum wr_code keep_roots(struct wr_oids *out, const struct forking *f)
{
	const struct wr_oids *all = &f->closure.shallow;
	enum wr_code code = WR_OK;
	struct wr_place home;

	for (size_t i = 0; i < all->len && code == WR_OK; i++)
		if (wr_closure_home(&home, &f->closure, &all->v[i]) && wr_closure_has(&f->closure, home))
			code = wr_oids_add(out, &all->v[i], f->err);
	return code;
}

static enum wr_code write_refs(const struct forking *f, int warren)
{
	WR_AUTO_MEM struct wr_refsfile_pack *packs = calloc(f->member_count + 1, sizeof *packs);
	WR_AUTO_MEM struct wr_ref *refs = calloc(f->fork->ref_count, sizeof *refs);
	WR_AUTO_S(wr_oids) roots = {NULL, 0, 0};
	struct wr_refsfile_contents contents = {
		.packs = packs, .pack_count = f->member_count, .refs = refs, .ref_count = f->fork->ref_count};
	enum wr_code code;

	if (!packs || !refs)
		return wr_fail_nomem(f->err);
	for (size_t i = 0; i < f->member_count; i++) {
		packs[i].role = f->members[i].role;
		snprintf(packs[i].name, sizeof packs[i].name, "%s", f->members[i].pack->name);
	}
	memcpy(refs, f->fork->refs, f->fork->ref_count * sizeof *refs);
	qsort(refs, f->fork->ref_count, sizeof *refs, by_name);
	if ((code = keep_roots(&roots, f)) != WR_OK)
		return code;
	contents.shallow = roots.len ? &roots : NULL;
	return wr_refsfile_write(warren, 1, &contents, f->err);
}

/* ---- the folder ---- */

/* All that the folder holds, on the disk but for the folders themselves, which wr_folder_finish() flushes. */
static enum wr_code fill(struct wr_snapshot **out, struct forking *f, struct wr_folder *made)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	enum wr_code code;

	f->to = openat(made->dir, "objects/pack", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->to < 0)
		return wr_fail_errno(f->err, "open folder objects/pack");
	if ((code = bring_packs(f)) != WR_OK || (code = write_refs(f, made->warren)) != WR_OK ||
	    (code = wr_snapshot_new(&snap, f->snap->max_object, f->err)) != WR_OK ||
	    (code = wr_refsfile_open(&snap->stored, made->warren, 1, f->err)) != WR_OK ||
	    (code = wr_checkpoint_export(made->dir, snap, f->fork->default_branch, f->err)) != WR_OK ||
	    (code = wr_folder_start(made, &snap, 1, f->err)) != WR_OK)
		return code;
	*out = WR_STEAL(snap);
	return WR_OK;
}

static void open_source(struct forking *f, const struct wr_git_repo *source)
{
	char path[PATH_MAX];
	WR_AUTO_FD int dir = -1;

	if (wr_repo_path(path, source->git, source->id, ".git", NULL) != WR_OK)
		return;
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir >= 0)
		f->from = openat(dir, "objects/pack", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

static enum wr_code put(struct forking *f, struct wr_git *git, const char *id)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_folder *made;
	char built[PATH_MAX];
	bool unknown = false;
	enum wr_code code = wr_folder_make(&made, built, git, id, f->err);

	if (code != WR_OK)
		return code;
	if ((code = fill(&snap, f, made)) == WR_OK)
		code = wr_folder_finish(made, &unknown, built, git, id, f->err);
	/* Where even the rename could not be taken back, the row's removal removes the folder. */
	if (code == WR_OK || unknown)
		wr_folder_close(made, snap, code == WR_OK);
	else
		wr_folder_abort(made, built);
	return code;
}

enum wr_code wr_git_fork(struct wr_fork *fork, struct wr_git *git, const char *id, const struct wr_git_repo *source,
			 struct wr_snapshot *snap, const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_CLEANUP(forking_fini) struct forking f = {
		.fork = fork, .snap = snap, .from = -1, .to = -1, .cancel = cancel, .err = err};
	enum wr_code code;

	fork->linked = fork->copied = 0;
	fork->written = 0;
	if (fork->ref_count == 0)
		return wr_fail(err, WR_E_INTERNAL, "a fork of nothing");
	open_source(&f, source);
	if ((code = walk(&f)) != WR_OK || (code = choose(&f)) != WR_OK)
		return code;
	return put(&f, git, id);
}
