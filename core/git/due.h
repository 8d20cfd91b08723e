/*
 * core/git/due.h: which care a repository needs, from when on, and the list that remembers it.
 *
 * The list is the database's, one row a repository: what is due next, if anything is. While a repository's row is marked
 * (events.h) nothing needs to be known there, because a start looks at it; the mark is taken back in the transaction that
 * writes what is due. So care is known whatever crashes, no write is made for it while pushes go on, and nobody ever walks
 * over repositories: the keeper reads what is due, in pages (keeper.h).
 * Ownership: values. The list outlives the store.
 * Threads:   wr_repo_due() from any; the list's functions from the keeper's threads, and note() from who checkpoints.
 * Blocks on: the list's functions on the database.
 * Errors:    the database's.
 */
#ifndef WR_DUE_H
#define WR_DUE_H

#include "core/base/error.h"
#include "core/base/id.h"

enum wr_due_why {
	WR_DUE_NOT,
	WR_DUE_JOURNALS, /* much lies in journals and packs of their own */
	WR_DUE_REWOUND,	 /* a branch or tag went back: clones walk until the next checkpoint */
	WR_DUE_CRUFT,	 /* what no ref reaches is past its grace */
	WR_DUE_BASE,	 /* what lies beside the base is a quarter of it */
	WR_DUE_REDELTA,	 /* it is cloned often */
	WR_DUE_LOOK,	 /* who was at work on it did not judge */
	WR_DUE_WHYS
};

struct wr_due {
	enum wr_due_why why;
	int64_t at_ms; /* since 1970, by wr_git_now(); 0 with WR_DUE_NOT */
};

/* As the list has it: "journals". "" for WR_DUE_NOT; the other way round WR_DUE_LOOK for what nobody knows. */
const char *wr_due_name(enum wr_due_why why);
enum wr_due_why wr_due_named(struct wr_str name);

struct wr_due_row {
	char repo_id[WR_UUID_LEN + 1];
	struct wr_due due;
};

struct wr_due_list {
	void *arg;
	/*
	 * Up to max of those that are due at now_ms, accounts in turn; *next_ms: when the first is that is not yet;
	 * INT64_MAX: none.
	 */
	enum wr_code (*page)(void *arg, struct wr_due_row *out, size_t *n, size_t max, int64_t now_ms, int64_t *next_ms,
			     struct wr_error *err);
	/*
	 * Where the row still says was_ms, it says at_ms from now on (0: nothing is due), and *mine is set: one of several
	 * processes takes it.
	 */
	enum wr_code (*move)(void *arg, bool *mine, const char *repo_id, int64_t was_ms, int64_t at_ms,
			     struct wr_error *err);
	/* Durably: this is due. For who has no marks. */
	enum wr_code (*note)(void *arg, const char *repo_id, const struct wr_due *due, struct wr_error *err);
};

struct wr_git;
struct wr_git_repo;
struct wr_snapshot;

/* Durably, before the repository is changed by who has no marks: somebody has to judge what is due. */
WR_MUST_CHECK enum wr_code wr_due_note(const struct wr_git *git, const char *repo_id, struct wr_error *err);

/* What the repository needs next, as it is now. False where that is not known: its folder is not open here. */
bool wr_repo_due(struct wr_due *out, struct wr_git_repo *repo);

/* How many times over a checkpoint is due by what lies in journals and packs of their own; 0: it is not. */
unsigned wr_due_level(const struct wr_snapshot *snap);
/* Whether a checkpoint is worth it once writes pause. */
bool wr_due_when_quiet(const struct wr_snapshot *snap);
/* Whether there are objects past their grace, by a little more, lest each has its own checkpoint. */
bool wr_due_cruft(const struct wr_git_repo *repo, const struct wr_snapshot *snap);

/* Unless wr_git_config says otherwise. */
#define WR_DUE_QUIET_MS 3000

#endif
