#include "core/git/fork.h"

#include "core/base/file.h"
#include "core/git/carry.h"
#include "core/git/checkpoint.h"
#include "core/git/derived.h"
#include "core/git/git_internal.h"
#include "core/git/parse.h"

struct forking {
	struct wr_fork *fork;
	const struct wr_git_repo *source;
	struct wr_carry carry;
	struct wr_error *err;
};

static void forking_fini(struct forking *f)
{
	wr_carry_fini(&f->carry);
}

/* ---- the ref file ---- */

static int by_name(const void *pa, const void *pb)
{
	const struct wr_ref *a = pa, *b = pb;

	return wr_refname_cmp(a->name, b->name);
}

static enum wr_code write_refs(const struct forking *f, int warren)
{
	WR_AUTO_MEM struct wr_refsfile_pack *packs = calloc(f->carry.member_count + 1, sizeof *packs);
	WR_AUTO_MEM struct wr_ref *refs = calloc(f->fork->ref_count, sizeof *refs);
	WR_AUTO_S(wr_oids) roots = {NULL, 0, 0};
	struct wr_refsfile_contents contents = {
		.packs = packs, .pack_count = f->carry.member_count, .refs = refs, .ref_count = f->fork->ref_count};
	enum wr_code code;

	if (!packs || !refs)
		return wr_fail_nomem(f->err);
	for (size_t i = 0; i < f->carry.member_count; i++) {
		packs[i].role = f->carry.members[i].role;
		snprintf(packs[i].name, sizeof packs[i].name, "%s", f->carry.members[i].pack->name);
	}
	memcpy(refs, f->fork->refs, f->fork->ref_count * sizeof *refs);
	qsort(refs, f->fork->ref_count, sizeof *refs, by_name);
	if ((code = wr_carry_roots(&roots, &f->carry)) != WR_OK)
		return code;
	contents.shallow = roots.len ? &roots : NULL;
	return wr_refsfile_put(warren, 1, &contents, f->err);
}

/* ---- the folder ---- */

/* All that the folder holds; wr_folder_finish() flushes what is not on the disk by then. */
static enum wr_code fill(struct wr_snapshot **out, struct forking *f, struct wr_folder *made)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	WR_AUTO_FD int packs = openat(made->dir, "objects/pack", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum wr_code code;

	if (packs < 0)
		return wr_fail_errno(f->err, "open folder objects/pack");
	if ((code = wr_carry_bring(&f->carry, packs)) != WR_OK || (code = write_refs(f, made->warren)) != WR_OK ||
	    (code = wr_snapshot_new(&snap, f->carry.snap->max_object, f->err)) != WR_OK ||
	    (code = wr_refsfile_open(&snap->stored, made->warren, 1, f->err)) != WR_OK ||
	    (code = wr_checkpoint_export(made->dir, snap, f->fork->default_branch, f->err)) != WR_OK ||
	    (code = wr_folder_start(made, &snap, 1, f->err)) != WR_OK)
		return code;
	wr_git_derived_share(f->source, made->warren);
	*out = WR_STEAL(snap);
	return WR_OK;
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
	WR_CLEANUP(forking_fini)
	struct forking f = {.fork = fork,
			    .source = source,
			    .carry = {.refs = fork->refs, .ref_count = fork->ref_count, .may_link = true, .from = -1},
			    .err = err};
	enum wr_code code;

	fork->linked = fork->copied = 0;
	fork->written = 0;
	if (fork->ref_count == 0)
		return wr_fail(err, WR_E_INTERNAL, "a fork of nothing");
	if ((code = wr_carry_choose(&f.carry, source, snap, cancel, err)) != WR_OK)
		return code;
	code = put(&f, git, id);
	fork->linked = f.carry.linked;
	fork->copied = f.carry.copied;
	fork->written = f.carry.written;
	return code;
}
