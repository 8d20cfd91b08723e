/*
 * server/admin.h: the administrative commands, the same beside a running server (through server/control.h) and without
 * one. A command is {"cmd": "account.create", "args": {...}}, where args are:
 *   account.create {name}                       {accountId, name, apiKey}; makes a first key named "default"
 *   account.list   {}                           {accounts: [{accountId, name, createdAt, repositories, keys}]}
 *   account.delete {account, withRepositories}  {accountId, name, repositories}: how many go with it
 *   key.create     {account, name}              {keyId, accountId, name, apiKey}
 *   key.list       {account}                    {keys: [{keyId, name, createdAt}]}
 *   key.revoke     {account, key}               {keyId, accountId, name}
 *   key.rotate-signing {}                       {keyId, signsFrom}: of the key that signs webhooks from then on
 *   repo.show      {repo}                       what the repository consists of: refs, journals, packs
 *   repo.verify    {repo}                       {..., problemCount, problems: [sentence]} after reading all of it
 *   upgrade        {}                           {pid}: of the supervisor, which was told (server/supervisor.h)
 *   repo.parked    {}                           {parked: [id]}: out of service after two crashes (core/base/suspects.h)
 *   repo.unpark    {repo}                       {repoId}: in service again
 *   repo.checkpoint {repo}                      {done, ...}: what repo.show says after a checkpoint
 *   repo.fork      {repo, name?, branch?}       {jobId, repoId}: of the new one; server/jobs_repo.h says what it does
 *   repo.maintain  {repo, redelta?}             {jobId, repoId}
 *   repo.adopt     {account, path, name?, link?}  {jobId, repoId}: of the new one
 *   repo.export    {repo, path, link?}          {jobId, repoId}
 *   job.list       {account?, repo?}            {jobs: [...]}: the newest 100
 *   job.show       {job}                        {jobId, kind, state, stage, done, total, result, error, ...}
 *   job.wait       {job}                        the same, after a second at most, or when the job has ended
 *   job.cancel     {job}                        the same
 * account and key take an id or a name, repo and job an id, path an absolute one of the server's. A secret is shown
 * once, by what made it. Those that make a job have it done by whoever runs jobs on the data folder; job.wait follows
 * it.
 * Ownership: *out is a new reference.
 * Threads:   any. Blocks on: SQLite; those of repositories on disk and CPU, for minutes on large ones.
 * Errors:    WR_E_INVALID_REQUEST, WR_E_NOT_FOUND, WR_E_JOB_NOT_FOUND and WR_E_REPO_NOT_FOUND with a sentence; the
 *            database's, the store's.
 */
#ifndef WR_ADMIN_H
#define WR_ADMIN_H

#include "core/git/walk.h"
#include "server/app.h"

/*
 * app: of the running server. A command without one leaves out what there is none of: without a reaper the folders of
 * repositories that are deleted stay until the next server starts and finds their rows, without workers jobs wait for
 * theirs. For which git must not be NULL says wr_admin_needs_git(). cfg is looked at for the signing keys alone, and where
 * app has none.
 */
WR_MUST_CHECK enum wr_code wr_admin_run(json_t **out, const struct wr_app *app, json_t *command,
					const struct wr_cancel *cancel, struct wr_error *err);
bool wr_admin_needs_git(const char *command);
/* Whether what it gives is a job, to be followed to its end. */
bool wr_admin_makes_job(const char *command);

#endif
