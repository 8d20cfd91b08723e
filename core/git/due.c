#include "core/git/due.h"

#include "core/base/clock.h"
#include "core/git/git_internal.h"
#include "core/git/keeper.h"

/* Due: as much in journals and packs of their own, ... */
#define DUE_BYTES ((uint64_t)4 << 20)
#define DUE_RECORDS 1000
#define DUE_PACKS 6
#define DUE_REFS 10000
/*
 * Also due, once nothing was written for a while: this many objects that a clone would have to walk over. Fewer are not
 * worth the flushes.
 */
#define QUIET_ROWS 64
/* A branch or tag that went back makes clones walk, however little came with it. */
#define REWOUND_MS (10 * 60 * 1000)
/* As the checkpoint has it (checkpoint_plan.c). */
#define REBASE 4

struct amounts {
	uint64_t journal_bytes, pack_bytes, records, packs, refs;
};

static struct amounts amounts(const struct wr_snapshot *snap)
{
	size_t checkpointed = snap->stored ? wr_refsfile_pack_count(snap->stored) : 0;
	struct amounts a = {.packs = snap->member_count - checkpointed};

	for (size_t i = 0; i < snap->journal_count; i++) {
		a.journal_bytes += wr_journal_size(snap->journals[i]);
		a.records += wr_journal_flushed(snap->journals[i]);
	}
	for (size_t i = checkpointed; i < snap->member_count; i++)
		a.pack_bytes += snap->members[i].pack->size;
	if (snap->overlay)
		a.refs = snap->overlay->count;
	return a;
}

unsigned wr_due_level(const struct wr_snapshot *snap)
{
	const struct amounts a = amounts(snap);
	uint64_t level = a.journal_bytes / DUE_BYTES;

	if (a.records / DUE_RECORDS > level)
		level = a.records / DUE_RECORDS;
	if (a.packs / DUE_PACKS > level)
		level = a.packs / DUE_PACKS;
	/* One push may bring any number of these: it does not make anybody late. */
	if (level == 0 && (a.journal_bytes + a.pack_bytes >= DUE_BYTES || a.refs >= DUE_REFS))
		level = 1;
	return level < UINT32_MAX ? (unsigned)level : UINT32_MAX;
}

bool wr_due_when_quiet(const struct wr_snapshot *snap)
{
	uint64_t rows = 0;

	for (size_t i = 0; i < snap->journal_count; i++)
		rows += snap->limits[i];
	return rows >= QUIET_ROWS;
}

/* 0: never. */
static int64_t cruft_at(const struct wr_git_repo *repo, const struct wr_snapshot *snap)
{
	int64_t grace = repo->git->cfg.cruft_grace_ms;

	return grace && snap->oldest ? (int64_t)snap->oldest * 1000 + grace + grace / 16 : 0;
}

bool wr_due_cruft(const struct wr_git_repo *repo, const struct wr_snapshot *snap)
{
	int64_t at = cruft_at(repo, snap);

	return at && at <= wr_git_now(repo->git);
}

/* Checkpoints see to it; what was taken in from elsewhere may come so. */
static bool base_is_due(const struct wr_snapshot *snap)
{
	uint64_t base = 0, beside = 0;

	for (size_t i = 0; i < snap->member_count; i++) {
		if (snap->members[i].role == WR_ROLE_BASE)
			base += snap->members[i].pack->size;
		else if (snap->members[i].role == WR_ROLE_TAIL)
			beside += snap->members[i].pack->size;
	}
	return beside > base / REBASE;
}

static void judge(struct wr_due *out, struct wr_git_repo *repo, const struct wr_snapshot *snap)
{
	int64_t now = wr_git_now(repo->git), mono = wr_mono_ms(), at = cruft_at(repo, snap);
	int64_t rewound = atomic_load(&repo->rewound_ms), written = atomic_load(&repo->written_ms);

	*out = (struct wr_due){.why = WR_DUE_NOT};
	if (wr_due_level(snap) > 0)
		*out = (struct wr_due){WR_DUE_JOURNALS, now};
	else if (wr_due_when_quiet(snap))
		*out = (struct wr_due){WR_DUE_JOURNALS, written ? now + (written + repo->git->cfg.quiet_ms - mono) : now};
	else if (base_is_due(snap))
		*out = (struct wr_due){WR_DUE_BASE, now};
	else if (wr_keeper_wants_redelta(repo, snap))
		*out = (struct wr_due){WR_DUE_REDELTA, now};
	else if (snap->lost)
		*out = (struct wr_due){WR_DUE_REWOUND, rewound ? now + (rewound + REWOUND_MS - mono) : now};
	if (at && (out->why == WR_DUE_NOT || at < out->at_ms))
		*out = (struct wr_due){WR_DUE_CRUFT, at};
	wr_keeper_put_off(out, repo->git->keeper, repo);
}

enum wr_code wr_due_note(const struct wr_git *git, const char *repo_id, struct wr_error *err)
{
	const struct wr_due_list *list = git->cfg.due;
	const struct wr_due look = {WR_DUE_LOOK, wr_git_now(git)};

	return list ? list->note(list->arg, repo_id, &look, err) : WR_OK;
}

bool wr_repo_due(struct wr_due *out, struct wr_git_repo *repo)
{
	WR_AUTO(wr_snapshot) *snap = NULL;

	pthread_mutex_lock(&repo->mutex);
	if (repo->folder && repo->snap)
		snap = wr_snapshot_ref_more(repo->snap);
	pthread_mutex_unlock(&repo->mutex);
	if (!snap)
		return false;
	judge(out, repo, snap);
	return true;
}
