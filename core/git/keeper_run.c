/* One checkpoint, beside running writers: begun and put in force within the repository's turn, built without it. */
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/suspects.h"
#include "core/git/checkpoint.h"
#include "core/git/due.h"
#include "core/git/keeper.h"

/* What a checkpoint is made of, and of what time. */
struct basis {
	struct wr_snapshot *snap; /* NULL: there is nothing to do */
	size_t journals;	  /* how many it covers */
	bool more;		  /* there are records behind them */
	uint64_t relied;	  /* wr_git_repo.relied then */
};

/*
 * Where the journals before the last one are left from a checkpoint that failed, they are what is due; else the last one
 * is turned over. Where none is there is nothing to do, but if it is asked for or something is past its grace.
 */
static enum wr_code choose(struct basis *b, struct wr_git_repo *repo, struct wr_snapshot **now, bool anyway,
			   struct wr_error *err)
{
	struct wr_journal *last = (*now)->journals[(*now)->journal_count - 1];
	enum wr_code code;

	if ((*now)->journal_count == 1 && wr_journal_flushed(last) > 0 &&
	    (code = wr_folder_turn_journal(repo->folder, now, err)) != WR_OK)
		return code;
	last = (*now)->journals[(*now)->journal_count - 1];
	b->journals = (*now)->journal_count - 1;
	b->more = wr_journal_flushed(last) > 0;
	b->relied = repo->relied;
	wr_repo_publish(repo, wr_snapshot_ref_more(*now));
	if (b->journals == 0 && !anyway && !wr_due_cruft(repo, *now))
		return WR_OK;
	return wr_folder_restrict(&b->snap, repo->folder, *now, b->journals, err);
}

static enum wr_code begin(struct basis *b, struct wr_git_repo *repo, bool anyway, struct wr_error *err)
{
	WR_AUTO(wr_snapshot) *now = NULL;
	struct wr_turn turn;
	enum wr_code code;
	bool exists;

	if ((code = wr_repo_current(&now, &exists, repo, err)) != WR_OK || !exists ||
	    (code = wr_repo_turn_begin(repo, &turn, err)) != WR_OK)
		return code;
	wr_snapshot_unref(now);
	now = NULL;
	code = wr_repo_current(&now, &exists, repo, err);
	/* Deleted meanwhile, or closed by it. */
	if (code == WR_OK && exists && repo->folder && (code = wr_repo_ready(repo, &now, err)) == WR_OK)
		code = choose(b, repo, &now, anyway, err);
	wr_repo_turn_end(repo, &turn);
	return code;
}

/* With the turn. */
static enum wr_code put_in_force(struct wr_git_repo *repo, struct wr_snapshot *now, const struct wr_checkpoint *c,
				 const struct basis *b, const char *branch, struct wr_error *err)
{
	WR_AUTO(wr_snapshot) *next = NULL;
	enum wr_code code;
	unsigned removed;

	/* What is due after it is written when the mark is taken back. */
	if ((code = wr_events_wait(repo->git->events, repo, err)) != WR_OK)
		return code;
	pthread_mutex_lock(&repo->mutex);
	code = wr_folder_keep_old(repo->folder, now, b->journals, err);
	pthread_mutex_unlock(&repo->mutex);
	if (code == WR_OK)
		code = wr_folder_switch(&next, repo->folder, now, c, b->journals, err);
	if (code == WR_OK) {
		wr_repo_publish(repo, wr_snapshot_ref_more(next));
		atomic_store(&repo->level, wr_due_level(next));
		atomic_store(&repo->rewound_ms, next->lost ? wr_mono_ms() : 0);
		/* Plain git finds the new packs before the old ones go. */
		wr_folder_export(repo->folder, next, branch);
		wr_folder_sweep(repo->folder, next, &removed);
	} else {
		pthread_mutex_lock(&repo->mutex);
		wr_folder_forget_old(repo->folder, b->journals);
		pthread_mutex_unlock(&repo->mutex);
	}
	wr_events_added(repo->git->events, repo, now->seq);
	return code;
}

/* *did stays false where a change came to rely on what the checkpoint may have dropped. */
static enum wr_code end(bool *did, struct wr_git_repo *repo, const struct wr_checkpoint *c, const struct basis *b,
			struct wr_error *err)
{
	WR_AUTO(wr_snapshot) *now = NULL;
	char branch[WR_BRANCH_ROOM];
	struct wr_turn turn;
	enum wr_code code;
	bool exists;

	/* Asked for before the turn: it is the database's. */
	wr_folder_default_branch(branch, repo->git, repo->id);
	if ((code = wr_repo_turn_begin(repo, &turn, err)) != WR_OK)
		return code;
	*did = c->dropped == 0 || repo->relied == b->relied;
	if (*did && (code = wr_repo_current(&now, &exists, repo, err)) == WR_OK && exists && repo->folder)
		code = put_in_force(repo, now, c, b, branch, err);
	wr_repo_turn_end(repo, &turn);
	if (code == WR_OK && *did)
		wr_repo_sweep_journals(repo);
	return code;
}

/* Builds it and puts it in force. */
static enum wr_code build(struct wr_checkpoint *c, bool *did, struct wr_git_repo *repo, const struct basis *b,
			  const struct wr_checkpoint_how *how, const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO_FD int packs = -1;
	WR_AUTO_FD int warren = -1;
	uint64_t number = 0;
	enum wr_code code = wr_repo_open_folders(&packs, &warren, &number, repo, err);

	if (code != WR_OK || packs < 0)
		return code;
	if ((code = wr_checkpoint_build(c, b->snap, packs, warren, number, how, cancel, err)) != WR_OK)
		return code;
	code = end(did, repo, c, b, err);
	if (code == WR_OK && *did)
		return WR_OK;
	*did = false;
	/* After an error it may be in force all the same. */
	if (code == WR_OK)
		wr_checkpoint_undo(c, b->snap, packs, warren);
	return code;
}

struct breaking_off {
	const struct wr_git_repo *repo;
	const struct wr_cancel *cancel; /* the caller's; may be NULL */
};

static bool break_off(void *arg)
{
	const struct breaking_off *b = arg;

	return atomic_load(&b->repo->dead) || wr_repo_wanted(b->repo) ||
	       (b->cancel && b->cancel->fn && b->cancel->fn(b->cancel->arg));
}

/*
 * Before the checkpoint, not after it: who pushed a long history looks at it next, while the checkpoint of one takes
 * seconds.
 */
static void prepare(struct wr_git_repo *repo, const struct wr_cancel *cancel)
{
	struct wr_git *git = repo->git;
	char branch[WR_BRANCH_ROOM];

	if (!git->cfg.prepare)
		return;
	wr_folder_default_branch(branch, git, repo->id);
	git->cfg.prepare(git, repo, branch, cancel);
}

static enum wr_code run(struct wr_checkpoint *c, bool *did, struct wr_git_repo *repo,
			const struct wr_checkpoint_manner *manner, const struct wr_cancel *cancel, struct wr_error *err)
{
	struct breaking_off off = {repo, cancel};
	const struct wr_cancel either = {break_off, &off};
	struct wr_checkpoint_how how = {
		.grace = {.grace_ms = repo->git->cfg.cruft_grace_ms}, .manner = manner};
	struct basis b = {.snap = NULL};
	enum wr_code code;

	/* The times that it gives are not before either: no push that began with an older snapshot is younger than they are. */
	atomic_store(&repo->building_ms, wr_git_now(repo->git));
	how.grace.now_ms = wr_git_now(repo->git);
	wr_events_expect(repo->git->events, repo);
	code = begin(&b, repo, manner != NULL, err);
	/* Later records may rely on anything. */
	how.grace.keep = b.more;
	/* A process that has no marks leaves it to the next one to judge what is due then. */
	if (code == WR_OK && b.snap && !repo->git->events)
		code = wr_due_note(repo->git, repo->id, err);
	if (code == WR_OK && b.snap) {
		prepare(repo, &either);
		code = build(c, did, repo, &b, &how, &either, err);
	}
	if (code == WR_OK && b.snap && !*did && c->number) {
		wr_checkpoint_fini(c);
		how.grace.keep = true;
		code = build(c, did, repo, &b, &how, &either, err);
	}
	wr_snapshot_unref(b.snap);
	atomic_store(&repo->building_ms, 0);
	return code;
}

enum wr_code wr_keeper_care(struct wr_checkpoint *c, bool *did, struct wr_git_repo *repo,
			    const struct wr_checkpoint_manner *manner, const struct wr_cancel *cancel,
			    struct wr_error *err)
{
	int64_t began = wr_mono_ms();
	struct wr_suspect_mark mark;
	enum wr_code code;

	*did = false;
	wr_suspect_begin(&mark, repo->id);
	pthread_mutex_lock(&repo->keeping);
	code = run(c, did, repo, manner, cancel, err);
	pthread_mutex_unlock(&repo->keeping);
	wr_repo_try_give_back(repo);
	wr_suspect_end(&mark);
	if (*did)
		WR_LOG(WR_INFO, NULL, REPO_CHECKPOINT, WR_STR("repo", repo->id), WR_INT("checkpoint", c->number),
		       WR_INT("bytes", c->written), WR_INT("gained", c->gained), WR_INT("died", c->died),
		       WR_INT("cruft", c->cruft), WR_INT("dropped", c->dropped), WR_BOOL("rebased", c->rebased),
		       WR_INT("ms", wr_mono_ms() - began));
	return code;
}

enum wr_code wr_keeper_run(bool *did, struct wr_git_repo *repo, const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO_S(wr_checkpoint) c = {0};

	return wr_keeper_care(&c, did, repo, NULL, cancel, err);
}

enum wr_code wr_git_repo_checkpoint(bool *did, struct wr_git_repo *repo, struct wr_error *err)
{
	bool left;
	/* One covers what an earlier one that was broken off had begun with, and only then comes what was written since. */
	enum wr_code code = wr_keeper_run(&left, repo, NULL, err);

	if (code == WR_OK)
		code = wr_keeper_run(did, repo, NULL, err);
	if (code == WR_OK)
		*did |= left;
	return code;
}
