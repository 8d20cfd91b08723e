#include <stdio.h>

#include "core/base/id.h"
#include "core/git/parse.h"
#include "server/making_internal.h"

void wr_making_refs_fini(struct wr_making_refs *refs)
{
	free(refs->v);
	refs->v = NULL;
}

enum wr_code wr_making_no_rev(struct wr_error *err, struct wr_str rev, const char *why)
{
	wr_fail(err, WR_E_INVALID_REVISION, "Invalid revision: %s", why);
	wr_error_field(err, "revision", rev);
	return WR_E_INVALID_REVISION;
}

struct wr_str wr_making_rev(const struct wr_making_plan *plan)
{
	return plan->rev.len ? plan->rev : WR_S("HEAD");
}

static bool is_branch(const struct wr_ref *ref)
{
	return wr_str_starts(ref->name, WR_S(WR_HEADS));
}

static bool is_taken(const struct wr_ref *ref)
{
	return is_branch(ref) || wr_str_starts(ref->name, WR_S(WR_TAGS));
}

static struct wr_str short_name(const struct wr_ref *ref)
{
	return wr_str_skip(ref->name, is_branch(ref) ? sizeof WR_HEADS - 1 : sizeof WR_TAGS - 1);
}

const struct wr_ref *wr_making_named(const struct wr_ref *refs, size_t n, struct wr_str rev)
{
	const struct wr_ref *tag = NULL;

	for (size_t i = 0; i < n; i++) {
		if (!is_taken(&refs[i]))
			continue;
		if (wr_str_eq(refs[i].name, rev))
			return &refs[i];
		if (!wr_str_eq(short_name(&refs[i]), rev))
			continue;
		if (is_branch(&refs[i]))
			return &refs[i];
		tag = &refs[i];
	}
	return tag;
}

bool wr_making_any(const struct wr_ref *refs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (is_taken(&refs[i]))
			return true;
	return false;
}

/* ---- the default branch ---- */

/* Rows have room for so much, and JSON is UTF-8. */
static bool fits_row(struct wr_str branch)
{
	return branch.ptr && branch.len > 0 && branch.len <= WR_BRANCH_NAME_MAX && wr_str_utf8(branch);
}

static void set_default(char out[WR_BRANCH_NAME_MAX + 1], struct wr_str branch)
{
	memcpy(out, branch.ptr, branch.len);
	out[branch.len] = '\0';
}

static struct wr_str wished(const struct wr_making_plan *plan, struct wr_str fallback)
{
	if (plan->default_branch[0])
		return wr_str(plan->default_branch);
	return fits_row(fallback) ? fallback : WR_S("main");
}

void wr_making_unborn(struct wr_making *m, struct wr_str fallback)
{
	set_default(m->default_branch, wished(m->plan, fallback));
}

static struct wr_ref *find_branch(const struct wr_making_refs *refs, struct wr_str branch)
{
	for (size_t i = 0; i < refs->count; i++)
		if (is_branch(&refs->v[i]) && wr_str_eq(short_name(&refs->v[i]), branch))
			return &refs->v[i];
	return NULL;
}

/* git keeps no branch "a" beside "a/b". */
static bool is_folder_of(struct wr_str folder, struct wr_str name)
{
	return wr_str_starts(name, folder) && name.len > folder.len && name.ptr[folder.len] == '/';
}

static enum wr_code check_named(const struct wr_making_refs *refs, struct wr_str full, struct wr_error *err)
{
	for (size_t i = 0; i < refs->count; i++)
		if (is_folder_of(full, refs->v[i].name) || is_folder_of(refs->v[i].name, full))
			return wr_fail(err, WR_E_INVALID_REQUEST,
				       "The source has a branch beside whose name none can be made that is called "
				       "\"%.*s\"; choose another defaultBranch",
				       (int)(full.len - (sizeof WR_HEADS - 1)), full.ptr + sizeof WR_HEADS - 1);
	return WR_OK;
}

/* A branch of this name at the commit. The source's own of this name gives way: here it was asked to start. */
static enum wr_code name_it(struct wr_making_refs *out, const struct wr_oid *commit, struct wr_str name,
			    struct wr_error *err)
{
	struct wr_ref *ref = find_branch(out, name);
	enum wr_code code;

	set_default(out->default_branch, name);
	if (!ref) {
		snprintf(out->named, sizeof out->named, "%s%s", WR_HEADS, out->default_branch);
		if ((code = check_named(out, wr_str(out->named), err)) != WR_OK)
			return code;
		ref = &out->v[out->count++];
		ref->name = wr_str(out->named);
	}
	ref->oid = *commit;
	memset(&ref->peeled, 0, sizeof ref->peeled);
	return WR_OK;
}

enum wr_code wr_making_choose(struct wr_making_refs *out, const struct wr_ref *all, size_t n,
			      const struct wr_making_from *from, const struct wr_making_plan *plan,
			      struct wr_error *err)
{
	struct wr_str name = wished(plan, from->fallback);

	out->count = 0;
	out->v = calloc(n + 2, sizeof *out->v);
	if (!out->v)
		return wr_fail_nomem(err);
	for (size_t i = 0; i < n; i++)
		if (plan->all_branches ? is_taken(&all[i]) : &all[i] == from->branch)
			out->v[out->count++] = all[i];
	set_default(out->default_branch, name);
	if (wr_oid_zero(&from->commit))
		return WR_OK;
	if (!from->branch)
		return name_it(out, &from->commit, name, err);
	if (plan->default_branch[0] && find_branch(out, name))
		return WR_OK;
	if (!fits_row(short_name(from->branch)))
		return name_it(out, &from->commit, name, err);
	set_default(out->default_branch, short_name(from->branch));
	return WR_OK;
}

/* ---- storing them ---- */

void wr_making_stage(const struct wr_making *m, const char *stage)
{
	if (m->progress && m->progress->fn)
		m->progress->fn(m->progress->arg, stage, 0, 0, false);
}

static enum wr_code refused(const struct wr_making *m, const struct wr_ref_update *u, struct wr_error *err)
{
	/* An id that was asked for by its digits, and is something else. */
	if (m->plan->rev.len && u->result == WR_E_INVALID_REQUEST)
		return wr_making_no_rev(err, m->plan->rev, u->reason);
	return wr_fail(err, u->result, "%.*s: %s", (int)(u->name.len < 100 ? u->name.len : 100), u->name.ptr,
		       u->reason);
}

enum wr_code wr_making_append(struct wr_making *m, struct wr_quarantine *q, const struct wr_making_refs *refs,
			      struct wr_error *err)
{
	WR_AUTO_MEM struct wr_ref_update *updates = calloc(refs->count + 1, sizeof *updates);
	struct wr_change change = {.updates = updates, .count = refs->count, .atomic = true, .objects = q};
	struct wr_caller caller = {.kind = WR_BY_KEY};
	char author[WR_CALLER_NAME];
	enum wr_code code;

	if (!updates)
		return wr_fail_nomem(err);
	for (size_t i = 0; i < refs->count; i++) {
		updates[i].name = refs->v[i].name;
		updates[i].new = refs->v[i].oid;
	}
	snprintf(caller.account_id, sizeof caller.account_id, "%s", m->account_id);
	wr_caller_name(author, &caller);
	change.asker.author = wr_str(author);
	wr_random_bytes(change.asker.operation, sizeof change.asker.operation);
	wr_making_stage(m, "storing");
	if ((code = wr_git_append(m->repo, &change, err)) != WR_OK)
		return code;
	/* Of an atomic change all fail together; the first with words of its own says why. */
	for (size_t i = 0; i < refs->count; i++)
		if (updates[i].result != WR_OK && strcmp(updates[i].reason, "atomic push failed") != 0)
			return refused(m, &updates[i], err);
	for (size_t i = 0; i < refs->count; i++)
		if (updates[i].result != WR_OK)
			return refused(m, &updates[i], err);
	memcpy(m->default_branch, refs->default_branch, sizeof m->default_branch);
	return WR_OK;
}
