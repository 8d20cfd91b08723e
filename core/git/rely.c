/*
 * Objects that no ref reaches are dropped when they are past their grace, and a push may refer to them until then. Both
 * may be under way at once: a push is checked against a snapshot that is older than its turn, a checkpoint is built from one
 * that is older than its switch. So who has the turn looks once more (here), and the switch finds out whether somebody
 * came to rely on something since the build began (keeper.c).
 */
#include "core/base/clock.h"
#include "core/git/append_internal.h"

int64_t wr_git_now(const struct wr_git *git)
{
	static _Atomic int64_t ahead;
	int64_t mono = wr_mono_ms(), is;

	if (git->cfg.now_ms)
		return git->cfg.now_ms(git->cfg.now_arg);
	/* Set once in a process: a clock that is put right must not end the grace of what a push under way relies on. */
	is = atomic_load(&ahead);
	if (is == 0 && atomic_compare_exchange_strong(&ahead, &is, wr_now_ms() - mono))
		is = atomic_load(&ahead);
	return mono + is;
}

/* Whether the object is there; *unreached is set where no ref reaches it, and left alone else. */
static bool look(bool *unreached, const struct wr_judge *j, const struct wr_oid *oid)
{
	struct wr_place place;

	if (j->in->rows && wr_oidmap_has(j->in->rows, oid))
		return true;
	if (!wr_snapshot_find(&place, j->objects, oid))
		return false;
	*unreached |= wr_snapshot_unreached(j->objects, place);
	return true;
}

static enum wr_code look_at_set(bool *unreached, const struct wr_judge *j, const struct wr_oidmap *set,
				struct wr_error *err)
{
	char hex[WR_OID_HEX + 1];

	for (size_t i = 0; set && i < set->cap; i++) {
		if (!set->values[i] || look(unreached, j, &set->keys[i]))
			continue;
		wr_oid_hex(hex, &set->keys[i]);
		return wr_fail(err, WR_E_BAD_PACK, "missing object %s", hex);
	}
	return WR_OK;
}

/* Values of refs, and rows that turn out to be stored already, so that they will not be found in the journal. */
static void look_at_rest(bool *unreached, const struct wr_judge *j)
{
	struct wr_place place;

	for (size_t i = 0; i < j->count; i++)
		if (j->updates[i].result == WR_OK && !wr_oid_zero(&j->updates[i].new))
			look(unreached, j, &j->updates[i].new);
	for (uint32_t i = 0; i < j->in->count && j->now->oldest && !*unreached; i++)
		*unreached = wr_snapshot_find(&place, j->now, &j->in->objects[i].oid) &&
			     wr_snapshot_unreached(j->now, place);
}

int64_t wr_repo_since(struct wr_git_repo *repo)
{
	int64_t now = wr_git_now(repo->git), building = atomic_load(&repo->building_ms);

	return building && building < now ? building : now;
}

/*
 * What was not known to be unreached when the objects were checked cannot be past its grace before the push is as old as
 * that. No request may take so long.
 */
static enum wr_code look_at_clock(const struct wr_git_repo *repo, const struct wr_judge *j, struct wr_error *err)
{
	int64_t grace = repo->git->cfg.cruft_grace_ms;

	if (!j->in->since_ms || !grace || wr_git_now(repo->git) - j->in->since_ms < grace)
		return WR_OK;
	return wr_fail(err, WR_E_BAD_PACK,
		       "the push took so long that objects which it needs may be gone; fetch, and push again");
}

enum wr_code wr_rely(struct wr_git_repo *repo, const struct wr_judge *j, struct wr_error *err)
{
	bool unreached = false;
	enum wr_code code = look_at_clock(repo, j, err);

	for (size_t i = 0; i < WR_ARRAY_LEN(j->in->relied) && code == WR_OK; i++)
		code = look_at_set(&unreached, j, j->in->relied[i], err);
	if (code != WR_OK)
		return code;
	look_at_rest(&unreached, j);
	repo->relied += unreached;
	return WR_OK;
}
