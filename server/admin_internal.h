/*
 * server/admin_internal.h: what the files of the administrative commands share: admin.c, and admin_jobs.c with the
 * commands for jobs and those that make one.
 */
#ifndef WR_ADMIN_INTERNAL_H
#define WR_ADMIN_INTERNAL_H

#include "server/admin.h"

struct wr_admin_args {
	struct wr_str name, account, key, repo, branch, path, job;
	bool with_repositories, link, redelta;
};

struct wr_admin {
	const struct wr_app *app;
	const struct wr_cancel *cancel;
	struct wr_admin_args args;
};

/* Takes value over, where NULL is what Jansson says without memory. */
WR_MUST_CHECK enum wr_code wr_admin_give(json_t **out, json_t *value, struct wr_error *err);

#define X(name) WR_MUST_CHECK enum wr_code name(json_t **out, const struct wr_admin *a, struct wr_error *err);
X(wr_admin_repo_fork)
X(wr_admin_repo_maintain)
X(wr_admin_repo_adopt)
X(wr_admin_repo_export)
X(wr_admin_job_list)
X(wr_admin_job_show)
X(wr_admin_job_wait)
X(wr_admin_job_cancel)
#undef X

#endif
