#include "core/git/adopt.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "core/base/file.h"
#include "core/git/adopt_internal.h"
#include "core/git/checkpoint.h"
#include "core/git/due.h"
#include "core/git/git_internal.h"
#include "core/git/graph.h"
#include "core/git/pack_write.h"

static void adoption_fini(struct wr_adoption *a)
{
	wr_adopt_choose_fini(a);
	wr_adopt_refs_fini(&a->refs);
	wr_oidmap_fini(&a->special);
	wr_oidmap_fini(&a->faulty);
	wr_oidmap_fini(&a->damaged);
	wr_snapshot_unref(a->snap);
	free(a->packs);
	if (a->from >= 0)
		close(a->from);
	if (a->to >= 0)
		close(a->to);
}

/* An operator asked for it, so only what one object may cost is bounded; and he may call it off. */
static void set_limits(struct wr_adoption *a)
{
	const struct wr_git_config *cfg = &a->git->cfg;

	a->rules = wr_fsck_rules_taken(&a->git->fsck);
	a->limits = (struct wr_index_limits){.max_bytes = INT64_MAX,
					     .max_objects = INT32_MAX,
					     .max_object = cfg->max_object_bytes,
					     .max_unpacked = UINT64_MAX,
					     .max_depth = cfg->max_delta_depth};
}

/* ---- what is there ---- */

static enum wr_code open_old(struct wr_adoption *a, const char *path)
{
	a->from = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (a->from >= 0)
		return wr_adopt_shape(a->from, a->err);
	switch (errno) {
	case ENOENT:
		return wr_fail(a->err, WR_E_INVALID_REQUEST, "There is no such folder");
	case ENOTDIR:
	case ELOOP:
		return wr_fail(a->err, WR_E_INVALID_REQUEST, "That is no folder; a symbolic link is not followed");
	case EACCES:
		return wr_fail(a->err, WR_E_INVALID_REQUEST, "The server lacks the permission to read that folder");
	default:
		return wr_fail_errno(a->err, "open a repository to be taken in");
	}
}

static enum wr_code has_no_folder(const struct wr_adoption *a, const char *id)
{
	char path[PATH_MAX];
	struct stat st;
	enum wr_code code = wr_repo_path(path, a->git, id, ".git", a->err);

	if (code == WR_OK && lstat(path, &st) == 0)
		code = wr_fail(a->err, WR_E_EXISTS, "The repository %s has a folder already", id);
	return code;
}

/* ---- what is made of it ---- */

static enum wr_code write_places(struct wr_adoption *a, unsigned k, enum wr_role role)
{
	uint64_t written = 0;
	enum wr_code code;

	if (a->place_count[k] == 0)
		return WR_OK;
	code = wr_pack_write(&a->members[a->member_count].pack, &written, a->to, a->snap, a->places[k],
			     a->place_count[k], a->cancel, a->err);
	if (code == WR_OK)
		a->members[a->member_count++].role = role;
	return code;
}

static void tell_writing(const struct wr_adoption *a, unsigned done)
{
	if (a->progress && a->progress->fn)
		a->progress->fn(a->progress->arg, "Writing packs", done, 2, done == 2);
}

/* The packs that stay, and those of copied entries; the others go. */
static enum wr_code write_packs(struct wr_adoption *a)
{
	bool has_base = a->member_count && wr_closure_role(a->members[0].role);
	enum wr_code code;

	tell_writing(a, 0);
	if ((code = write_places(a, 0, has_base ? WR_ROLE_TAIL : WR_ROLE_BASE)) != WR_OK)
		return code;
	tell_writing(a, 1);
	if ((code = write_places(a, 1, WR_ROLE_OTHER)) != WR_OK)
		return code;
	for (size_t i = 0; i < a->pack_count; i++) {
		if (!a->packs[i].kept) {
			wr_pack_remove(a->to, a->packs[i].name);
			continue;
		}
		a->out->linked += a->packs[i].linked;
		a->out->copied += !a->packs[i].linked && !a->packs[i].loose;
	}
	for (size_t i = 0; i < a->member_count; i++)
		a->out->bytes += a->members[i].pack->size + a->members[i].pack->idx_size + a->members[i].pack->rev_size;
	a->out->objects = a->reached;
	tell_writing(a, 2);
	return WR_OK;
}

static enum wr_code peel_refs(struct wr_ref *refs, const struct wr_adoption *a)
{
	for (size_t i = 0; i < a->refs.count; i++) {
		WR_AUTO_S(wr_peeler) peeler = {.snap = a->snap, .cancel = a->cancel};
		enum wr_type type;
		struct wr_oid end;
		enum wr_code code;
		bool again;

		refs[i].name = wr_adopt_ref_name(&a->refs, i);
		refs[i].oid = a->refs.v[i].oid;
		if ((i % 1024 == 0 && (code = wr_cancelled(a->cancel, a->err)) != WR_OK) ||
		    (code = wr_peel(&again, &end, &type, NULL, &peeler, &refs[i].oid, a->err)) != WR_OK)
			return code;
		if (!wr_oid_eq(&end, &refs[i].oid))
			refs[i].peeled = end;
	}
	return WR_OK;
}

/* The base first, tails, others. */
static size_t list_packs(struct wr_refsfile_pack *packs, const struct wr_adoption *a)
{
	static const enum wr_role roles[] = {WR_ROLE_BASE, WR_ROLE_TAIL, WR_ROLE_OTHER};
	size_t n = 0;

	for (size_t k = 0; k < WR_ARRAY_LEN(roles); k++) {
		for (size_t i = 0; i < a->member_count; i++) {
			if (a->members[i].role != roles[k])
				continue;
			packs[n].role = roles[k];
			snprintf(packs[n].name, sizeof packs[n].name, "%s", a->members[i].pack->name);
			n++;
		}
	}
	return n;
}

static enum wr_code write_refs(const struct wr_adoption *a, int warren)
{
	WR_AUTO_MEM struct wr_refsfile_pack *packs = calloc(a->member_count + 1, sizeof *packs);
	WR_AUTO_MEM struct wr_ref *refs = calloc(a->refs.count + 1, sizeof *refs);
	struct wr_refsfile_contents contents = {.packs = packs, .refs = refs, .ref_count = a->refs.count};
	enum wr_code code;

	if (!packs || !refs)
		return wr_fail_nomem(a->err);
	if ((code = peel_refs(refs, a)) != WR_OK)
		return code;
	contents.pack_count = list_packs(packs, a);
	return wr_refsfile_put(warren, 1, &contents, a->err);
}

/* All that the folder holds; wr_folder_finish() flushes what is not on the disk by then. */
static enum wr_code fill(struct wr_snapshot **out, struct wr_adoption *a, struct wr_folder *made, const char *id)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	char branch[WR_BRANCH_ROOM];
	enum wr_code code;

	a->to = openat(made->dir, "objects/pack", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (a->to < 0)
		return wr_fail_errno(a->err, "open folder objects/pack");
	if ((code = wr_adopt_packs(a)) != WR_OK || (code = wr_adopt_choose(a)) != WR_OK ||
	    (code = write_packs(a)) != WR_OK || a->refs.count == 0)
		return code;
	if (a->refs.head[0])
		snprintf(branch, sizeof branch, "%s", a->refs.head);
	else
		wr_folder_default_branch(branch, a->git, id);
	if ((code = write_refs(a, made->warren)) != WR_OK ||
	    (code = wr_snapshot_new(&snap, a->limits.max_object, a->err)) != WR_OK ||
	    (code = wr_refsfile_open(&snap->stored, made->warren, 1, a->err)) != WR_OK ||
	    (code = wr_checkpoint_export(made->dir, snap, wr_str(branch), a->err)) != WR_OK ||
	    (code = wr_folder_start(made, &snap, 1, a->err)) != WR_OK)
		return code;
	*out = WR_STEAL(snap);
	return WR_OK;
}

static enum wr_code put(struct wr_adoption *a, const char *id)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_folder *made;
	char built[PATH_MAX];
	bool unknown = false;
	enum wr_code code = wr_folder_make(&made, built, a->git, id, a->err);

	if (code != WR_OK)
		return code;
	/* Without refs there is nothing to keep, and a repository without a folder is an empty one. */
	if ((code = fill(&snap, a, made, id)) == WR_OK && a->refs.count == 0) {
		wr_folder_abort(made, built);
		return WR_OK;
	}
	if (code == WR_OK)
		code = wr_folder_finish(made, &unknown, built, a->git, id, a->err);
	/* Where even the rename could not be taken back, the row's removal removes the folder. */
	if (code == WR_OK || unknown)
		wr_folder_close(made, snap, code == WR_OK);
	else
		wr_folder_abort(made, built);
	return code;
}

enum wr_code wr_git_adopt(struct wr_adopted *out, struct wr_git *git, const char *id, const char *path, bool may_link,
			  const struct wr_progress *progress, const struct wr_cancel *cancel, struct wr_error *err)
{
	struct wr_adopted adopted = {.objects = 0};
	WR_AUTO_S(wr_error) own = WR_ERROR_INIT;
	WR_CLEANUP(adoption_fini)
	struct wr_adoption a = {.git = git,
				.from = -1,
				.to = -1,
				.may_link = may_link,
				.progress = progress,
				.cancel = cancel,
				.err = &own,
				.out = &adopted};
	enum wr_code code;

	set_limits(&a);
	wr_adopt_refs_init(&a.refs);
	if ((code = has_no_folder(&a, id)) == WR_OK && (code = open_old(&a, path)) == WR_OK &&
	    (code = wr_adopt_read_refs(&a.refs, a.from, cancel, a.err)) == WR_OK &&
	    (code = wr_due_note(git, id, a.err)) == WR_OK)
		code = put(&a, id);
	if (code != WR_OK) {
		if (err)
			wr_error_move(err, &own);
		return code;
	}
	adopted.refs = a.refs.count;
	memcpy(adopted.head, a.refs.head, sizeof adopted.head);
	*out = adopted;
	return WR_OK;
}
