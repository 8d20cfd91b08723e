/*
 * server/making.h: repositories that are filled from elsewhere: what POST /git/v1/repo with source or import is after
 * its body was read.
 *
 * What waits for others is a job of kind "repo.create", which this process runs on threads of its own ([sources]
 * threads), since what it needs (credentials in URLs) is never stored: the row of the job has kind, host and path alone.
 * A process that ends fails its jobs of this kind; their repositories, in state "creating", go with them. What needs
 * nobody else (a fork of a repository here, files of the request itself) is made at once by whoever asks, without a job.
 * Ownership: wr_makers_start()/wr_makers_stop() by the program. Both ways of making take the plan over, whatever they
 *            return.
 * Threads:   any; makers run on the lane's threads (wr-making).
 * Blocks on: SQLite; wr_making_now() on the making, wr_making_wait() on the job.
 * Errors:    WR_E_UNAVAILABLE (too many at once, the server stops), WR_E_CREATE_FAILED (a fault of this server),
 *            WR_E_CANCELLED, WR_E_NET_SLOW ([sources] timeout), those of the parts.
 */
#ifndef WR_MAKING_H
#define WR_MAKING_H

#include <jansson.h>

#include "core/auth/access.h"
#include "core/auth/repos.h"
#include "core/base/cancel.h"
#include "core/git/git.h"
#include "core/net/call.h"
#include "server/app.h"

struct wr_makers;
struct wr_making_job;
struct wr_progress;
struct wr_room;

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

/* A repository of this server that the URL of a SOURCE or GIT plan names; the caller may read it, when it is asked for. */
struct wr_making_own {
	struct wr_repo repo;
	struct wr_caller caller; /* whoever asks, or whose credential the URL has */
};
/*
 * Whether the URL names a repository of this server: by [server] public_url, the address it listens on, or host, the
 * request's Host header. caller asks for it, unless the URL has a user name or password, as Basic has them on Git URLs.
 * WR_E_SOURCE_NOT_FOUND, WR_E_SOURCE_UNAUTHORIZED, and those of core/net/url.h.
 */
WR_MUST_CHECK enum wr_code wr_making_own_find(bool *own, struct wr_making_own *out, const struct wr_app *app,
					      struct wr_str host, const struct wr_caller *caller, struct wr_str url,
					      struct wr_error *err);
/* What of [server] public_url makes no sense, for the start. */
WR_MUST_CHECK enum wr_code wr_making_check_public_url(const char *url, struct wr_error *err);

/* ---- making one ---- */

struct wr_making_ask {
	const char *account_id;
	struct wr_repo_new new;		 /* what the row begins with */
	const struct wr_making_own *own; /* NULL, or what plan->url was found to be */
	struct wr_making_plan *plan;	 /* taken over */
	const struct wr_room *room;	 /* for wr_making_now(), may be NULL; a job counts what it holds itself */
};

/* Here and now, on this thread; *repo_id is there when this returns WR_OK, and else nothing of it is. */
WR_MUST_CHECK enum wr_code wr_making_now(char repo_id[WR_UUID_LEN + 1], const struct wr_app *app,
					 struct wr_making_ask *ask, const struct wr_cancel *cancel,
					 struct wr_error *err);

/* As a job. *out has its ids; wr_making_job_unref() it, which does not end it. */
struct wr_making_ids {
	char repo_id[WR_UUID_LEN + 1], job_id[WR_UUID_LEN + 1];
};
WR_MUST_CHECK enum wr_code wr_making_begin(struct wr_making_job **out, struct wr_making_ids *ids,
					   const struct wr_app *app, struct wr_making_ask *ask, struct wr_error *err);
/* Until it has ended, with its outcome. Given up (cancel): the job is cancelled, WR_E_CANCELLED at once. */
WR_MUST_CHECK enum wr_code wr_making_wait(struct wr_making_job *job, const struct wr_cancel *cancel,
					  struct wr_error *err);
void wr_making_job_unref(struct wr_making_job *job);
WR_DEFINE_AUTO_AS(wr_making_job, struct wr_making_job, wr_making_job_unref);

/* ---- the threads ---- */

/* app outlives them, and has its jobs already. */
WR_MUST_CHECK enum wr_code wr_makers_start(struct wr_makers **out, const struct wr_app *app, struct wr_error *err);
/* What has not ended after so long fails as WR_E_UNAVAILABLE; nothing begins then. Returns at once. NULL is allowed. */
void wr_makers_retire(struct wr_makers *makers, int64_t patience_ms);
/* Jobs that have not ended. */
size_t wr_makers_running(const struct wr_makers *makers);
/*
 * Waits for those that run, until the patience of wr_makers_retire() is over, then has them fail. False when one has
 * not come back within 15 s of that: then nothing was released. Before wr_jobs_stop(). NULL is allowed.
 */
bool wr_makers_stop(struct wr_makers *makers);

/* ---- the makers ---- */

/* One repository being filled: in state "creating", without a folder yet. */
struct wr_making {
	const struct wr_app *app;
	const struct wr_making_plan *plan;
	const struct wr_making_own *own; /* NULL: the plan's URL leads elsewhere */
	const char *account_id, *repo_id;
	struct wr_git_repo *repo; /* NULL for wr_make_from_own() */
	const struct wr_progress *progress; /* told stages: "connecting", "receiving", "unpacking", "storing" */
	const struct wr_cancel *cancel;	    /* deadline, client gone, job cancelled, process stops */
	const struct wr_room *room;	    /* for wr_quarantine_room(); may be NULL */
	/* What the row shall have; to begin with what was asked for, else "main". */
	char default_branch[WR_BRANCH_NAME_MAX + 1];
};

/* [sources], for calls of core/net; max_bytes is the caller's to set. */
struct wr_net_rules wr_making_rules(const struct wr_making *m);

/*
 * Fill m->repo by appending to it once, at the end. After an error nothing was appended; the caller removes the row.
 * WR_E_SOURCE_NOT_FOUND, WR_E_SOURCE_UNAUTHORIZED (url, without user name and password), WR_E_INVALID_REVISION,
 * WR_E_IMPORT_SUBDIR_NOT_FOUND (source, dir), WR_E_INVALID_FILE_PATH (path), those of core/net/call.h, sync/fetch.h,
 * core/content/unpack.h and append.h. Who calls them makes WR_E_NET_UNREACHABLE a WR_E_SOURCE_NOT_FOUND.
 */
WR_MUST_CHECK enum wr_code wr_make_from_own(struct wr_making *m, struct wr_error *err);	   /* making_own.c */
WR_MUST_CHECK enum wr_code wr_make_from_source(struct wr_making *m, struct wr_error *err); /* making_source.c */
WR_MUST_CHECK enum wr_code wr_make_import(struct wr_making *m, struct wr_error *err);	   /* making_import.c */

#endif
