/*
 * server/jobs_repo.h: work on whole repositories, as jobs (core/store/jobs.h) of these kinds:
 *   repo.fork     {source, branch?}   makes the repository that the job names
 *   repo.adopt    {path, link}        makes the repository that the job names
 *   repo.export   {path, link}        writes the repository that the job names to a new folder
 *   repo.maintain {redelta}           on the repository that the job names
 * Their results are what the command of the same name prints (docs/operation.md).
 * Ownership: values.
 * Threads:   any.
 * Blocks on: SQLite's writer.
 * Errors:    WR_E_INVALID_REQUEST with a sentence; the database's; WR_E_UNAVAILABLE when too many jobs wait.
 */
#ifndef WR_JOBS_REPO_H
#define WR_JOBS_REPO_H

#include "core/auth/repos.h"
#include "core/store/jobs.h"
#include "server/app.h"

struct wr_repo_job {
	char job_id[WR_UUID_LEN + 1];
	char repo_id[WR_UUID_LEN + 1];
};

/*
 * A repository of the source's account with the source's default branch and visibility, which has all of its branches
 * and tags, or (branch.ptr) this one branch alone, which is its default branch then. It is seen when the job is done.
 * name.ptr NULL: none.
 */
WR_MUST_CHECK enum wr_code wr_repo_job_fork(struct wr_repo_job *out, const struct wr_app *app,
					    const struct wr_repo *source, struct wr_str name, struct wr_str branch,
					    struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_repo_job_maintain(struct wr_repo_job *out, const struct wr_app *app,
						const struct wr_repo *repo, bool redelta, struct wr_error *err);

/*
 * These two reach the server's own files at an absolute path: for the administrator's commands alone, never for a
 * request. link: core/git/adopt.h says for which folders.
 */
WR_MUST_CHECK enum wr_code wr_repo_job_adopt(struct wr_repo_job *out, const struct wr_app *app, const char *account_id,
					     struct wr_str name, struct wr_str path, bool link, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_repo_job_export(struct wr_repo_job *out, const struct wr_app *app,
					      const struct wr_repo *repo, struct wr_str path, bool link,
					      struct wr_error *err);

/* The workers for these kinds. only: NULL, or the one job to run. app outlives them. */
WR_MUST_CHECK enum wr_code wr_repo_jobs_start(struct wr_jobs **out, const struct wr_app *app, const char *only,
					      struct wr_error *err);

#endif
