/*
 * core/auth/repos.h: the rows of repositories. Git data are core/git's; a row alone is an empty repository.
 * Ownership: all by value; what callbacks get is borrowed for the call.
 * Threads:   any.
 * Blocks on: SQLite; the changing ones on a durable commit.
 * Errors:    WR_E_REPO_NOT_FOUND (field repoId) where the account has no live repository of this id; the database's.
 */
#ifndef WR_REPOS_H
#define WR_REPOS_H

#include "core/auth/access.h"

/* A new, empty repository. name.ptr NULL: none. Names and branch were checked by the caller. */
struct wr_repo_new {
	struct wr_str name;
	bool public_;
	struct wr_str default_branch; /* at most WR_BRANCH_NAME_MAX bytes */
};
WR_MUST_CHECK enum wr_code wr_repo_create(struct wr_repo *out, struct wr_db *db, const char *account_id,
					  const struct wr_repo_new *new, struct wr_error *err);

WR_MUST_CHECK enum wr_code wr_repo_get(struct wr_repo *out, struct wr_db *db, const char *account_id,
				       struct wr_str repo_id, struct wr_error *err);

/*
 * Newest first: an API key's caller sees all of its account, a token's those of its identity's grants. search: only
 * those whose name or id contains it, letter case ignored; empty means all. *total counts all that match. out has room
 * for limit.
 */
WR_MUST_CHECK enum wr_code wr_repo_list(struct wr_repo *out, size_t *n, uint64_t *total, struct wr_db *db,
					const struct wr_caller *caller, struct wr_str search, size_t limit,
					uint64_t offset, struct wr_error *err);

WR_MUST_CHECK enum wr_code wr_repo_set_default_branch(struct wr_db *db, const char *account_id, const char *repo_id,
						      struct wr_str branch, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_repo_set_visibility(struct wr_db *db, const char *account_id, const char *repo_id,
						  bool public_, struct wr_error *err);

/*
 * Nobody sees the repository from now on, and its grants are gone; the row stays, in state "deleting", until its folder
 * is removed and wr_repo_purge() called.
 */
WR_MUST_CHECK enum wr_code wr_repo_delete(struct wr_db *db, const char *account_id, const char *repo_id,
					  struct wr_error *err);

/* ---- creations that take their time ---- */

/*
 * A row in state "creating": nobody sees the repository yet, and its maker is filling its folder. maker: a job's id, or
 * the name of a process's file in run/ (core/store/jobs.h, wr_jobs_process()), to be added in the same transaction or
 * there already. id: a new one of the caller's. WR_E_NOT_FOUND where the account is going.
 */
WR_MUST_CHECK enum wr_code wr_repo_begin(struct wr_tx *tx, const char *id, const char *account_id,
					 const struct wr_repo_new *new, const char *maker, struct wr_error *err);
/*
 * It is live from now on. default_branch.ptr NULL: as it was begun. WR_E_REPO_NOT_FOUND where the maker has it no more,
 * as when its account was deleted meanwhile.
 */
WR_MUST_CHECK enum wr_code wr_repo_finish(struct wr_db *db, const char *account_id, const char *repo_id,
					  const char *maker, struct wr_str default_branch, struct wr_error *err);
/* The same inside a transaction of the caller's. */
WR_MUST_CHECK enum wr_code wr_repo_finish_in(struct wr_tx *tx, const char *account_id, const char *repo_id,
					     const char *maker, struct wr_str default_branch, struct wr_error *err);
/* Whether it is still to be made by this maker; false: it is live. WR_E_REPO_NOT_FOUND as above. */
WR_MUST_CHECK enum wr_code wr_repo_making(bool *making, struct wr_db *db, const char *account_id, const char *repo_id,
					  const char *maker, struct wr_error *err);
/* The maker gives it up, also where finishing it failed: it is the reaper's to remove from now on. */
WR_MUST_CHECK enum wr_code wr_repo_abandon(struct wr_db *db, const char *account_id, const char *repo_id,
					   struct wr_error *err);
/*
 * Those in state "creating" whose maker is gone become "deleting": its job has ended or is forgotten, or its process
 * does not live. A job that waits or will be run again keeps its row. At a start, and whenever a job ended without
 * success.
 */
WR_MUST_CHECK enum wr_code wr_repo_abandon_creations(struct wr_db *db, struct wr_error *err);

/* ---- what is being removed ---- */

struct wr_doomed {
	int64_t seq;
	char id[WR_UUID_LEN + 1];
	char account_id[WR_UUID_LEN + 1];
	bool busy; /* somebody is still making it: its folder may yet appear, so the row has to stay for now */
};
/*
 * Repositories in state "deleting", in a fixed order, beginning behind the one whose seq is after (0: from the first).
 * Of one account, or of all with account_id NULL. *n < max: there are no more.
 */
WR_MUST_CHECK enum wr_code wr_repo_doomed(struct wr_doomed *out, size_t *n, struct wr_db *db, const char *account_id,
					  int64_t after, size_t max, struct wr_error *err);

/*
 * Removes the rows of repositories whose folders are gone, for good; and with an account's last one what is left of it
 * where it was deleted. A power cut may bring them back, and then there is nothing to remove.
 */
WR_MUST_CHECK enum wr_code wr_repo_purge(struct wr_db *db, const struct wr_doomed *rows, size_t n,
					 struct wr_error *err);
/* *there: it has a row, in whatever state. */
WR_MUST_CHECK enum wr_code wr_repo_there(bool *there, struct wr_db *db, const char *account_id, const char *repo_id,
					 struct wr_error *err);

/* A live one by its id alone, for the administrator. */
WR_MUST_CHECK enum wr_code wr_repo_find(struct wr_repo *out, struct wr_db *db, struct wr_str repo_id,
					struct wr_error *err);

/*
 * The short name, for the store, which knows repositories by their ids. WR_E_NOT_THERE without a row, and where that is
 * in state "deleting".
 */
WR_MUST_CHECK enum wr_code wr_repo_default_branch(char *out, size_t cap, struct wr_db *db, const char *repo_id,
						  struct wr_error *err);

/* The fields of struct wr_repo from a row with its columns. */
void wr_repo_read(struct wr_repo *out, const struct wr_row *row);

#endif
