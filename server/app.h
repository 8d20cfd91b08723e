/*
 * server/app.h: what the program is made of; main.c puts it together, handlers use it.
 * Ownership: main.c's; handlers borrow it. Threads: read-only once the server listens.
 */
#ifndef WR_APP_H
#define WR_APP_H

#include <sys/types.h>

#include "core/git/git.h"
#include "core/store/db.h"

struct wr_config;

struct wr_app {
	const struct wr_config *cfg;
	struct wr_db *db;
	struct wr_git *git;
	struct wr_orders *orders; /* histories listed lately: core/content/history.h */
	struct wr_keep *sizes;	  /* of files of folders listed lately, by the tree's id: core/content/keep.h */
	struct wr_keep *files;	  /* answers with small files, by their commit and path: server/api/contents.c */
	struct wr_keep *trees;	  /* that commits by API began with and made, by their ids: core/content/edit.h */
	struct wr_reaper *reaper; /* removes the folders of deleted repositories: server/reaper.h */
	struct wr_jobs *jobs;	  /* work that outlasts a request: core/store/jobs.h, server/jobs_repo.h */
	struct wr_makers *makers; /* repositories that are filled from elsewhere: server/making.h */
	struct wr_signing *signing; /* the keys of webhooks: triggers/signing.h */
	struct wr_sender *sender;   /* sends them: triggers/sender.h; NULL without one */
	const char *url;	  /* where the server listens: "http://HOST:PORT"; NULL without one */
	pid_t supervisor;	  /* the parent process; 0 without a server */
};

#endif
