/*
 * server/making.h: repositories that are filled from elsewhere: what POST /git/v1/repo with source or import is after its
 * body was read. Each is a job of kind "repo.create", which this process runs on threads of its own, since what it needs
 * (credentials in URLs) is never stored: the row of the job has kind, host and path alone. A process that ends fails its
 * jobs of this kind; their repositories, in state "creating", go with them.
 * Ownership: wr_making_run() takes the plan over, whatever it returns.
 * Threads:   any.
 * Blocks on: SQLite; wr_making_wait() on the job.
 * Errors:    WR_E_UNAVAILABLE (too many at once), those of the parts.
 */
#ifndef WR_MAKING_H
#define WR_MAKING_H

#include <jansson.h>

#include "core/auth/repos.h"
#include "core/base/cancel.h"
#include "core/git/git.h"
#include "core/net/call.h"
#include "server/app.h"

struct wr_progress;
struct wr_request;

enum wr_plan_kind { WR_PLAN_SOURCE, WR_PLAN_FILES, WR_PLAN_TAR, WR_PLAN_ZIP, WR_PLAN_GIT };

/* The request's wish; every string is a part of body, ptr NULL where it is absent. */
struct wr_making_plan {
	enum wr_plan_kind kind;
	json_t *body; /* own reference to the request's source or import object, or to what counts of it */
	struct wr_str url, rev;
	struct wr_str dir;	   /* imports but FILES */
	struct wr_str message;	   /* imports */
	struct wr_str author_name, author_email;
	json_t *files;		   /* FILES: path to text */
	uint32_t depth;		   /* SOURCE: 0 is all */
	bool all_branches;	   /* SOURCE */
	char default_branch[WR_BRANCH_NAME_MAX + 1]; /* "": none was asked for */
};
void wr_making_plan_free(struct wr_making_plan *plan);
WR_DEFINE_AUTO(wr_making_plan);

/* A repository of this server that the URL of a SOURCE or GIT plan names, as whoever asks may see it. */
struct wr_making_own {
	struct wr_repo repo;
	enum wr_level level; /* READ at least */
};

/* One repository being filled: in state "creating", without a folder yet. */
struct wr_making {
	const struct wr_app *app;
	const struct wr_making_plan *plan;
	const struct wr_making_own *own; /* NULL: the plan's URL leads elsewhere */
	const char *account_id, *repo_id;
	struct wr_git_repo *repo; /* NULL for wr_make_from_own() */
	const struct wr_progress *progress; /* told stages: "connecting", "receiving", "unpacking", "storing" */
	const struct wr_cancel *cancel;	    /* deadline, client gone, job cancelled, process stops */
	char default_branch[WR_BRANCH_NAME_MAX + 1]; /* out: what the row shall have */
};

/* [sources], for calls of core/net; max_bytes is the caller's to set. */
struct wr_net_rules wr_making_rules(const struct wr_making *m);

/*
 * Fill m->repo by appending to it once, at the end. After an error nothing was appended, and the caller removes the row.
 * WR_E_SOURCE_NOT_FOUND, WR_E_SOURCE_UNAUTHORIZED (url, without user name and password), WR_E_INVALID_REVISION,
 * WR_E_IMPORT_SUBDIR_NOT_FOUND (source, dir), WR_E_INVALID_FILE_PATH (path), those of core/net/call.h, sync/fetch.h,
 * core/content/unpack.h and append.h.
 */
WR_MUST_CHECK enum wr_code wr_make_from_own(struct wr_making *m, struct wr_error *err);	   /* making_own.c */
WR_MUST_CHECK enum wr_code wr_make_from_source(struct wr_making *m, struct wr_error *err); /* making_source.c */
WR_MUST_CHECK enum wr_code wr_make_import(struct wr_making *m, struct wr_error *err);	   /* making_import.c */

#endif
