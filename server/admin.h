/*
 * server/admin.h: the administrative commands, the same beside a running server (through server/control.h) and without
 * one. A command is {"cmd": "account.create", "args": {...}}, where args are:
 *   account.create {name}                       {accountId, name, apiKey}; makes a first key named "default"
 *   account.list   {}                           {accounts: [{accountId, name, createdAt, repositories, keys}]}
 *   account.delete {account, withRepositories}  {accountId, name, repositories}: how many go with it
 *   key.create     {account, name}              {keyId, accountId, name, apiKey}
 *   key.list       {account}                    {keys: [{keyId, name, createdAt}]}
 *   key.revoke     {account, key}               {keyId, accountId, name}
 *   repo.show      {repo}                       what the repository consists of: refs, journals, packs
 *   repo.verify    {repo}                       {..., problemCount, problems: [sentence]} after reading all of it
 *   upgrade        {}                           {pid}: of the supervisor, which was told (server/supervisor.h)
 *   repo.parked    {}                           {parked: [id]}: out of service after two crashes (core/base/suspects.h)
 *   repo.unpark    {repo}                       {repoId}: in service again
 *   repo.checkpoint {repo}                      {done, ...}: what repo.show says after a checkpoint
 * account and key take an id or a name, repo an id. A secret is shown once, by what made it.
 * Ownership: *out is a new reference.
 * Threads:   any. Blocks on: SQLite; those of repositories on disk and CPU, for minutes on large ones.
 * Errors:    WR_E_INVALID_REQUEST, WR_E_NOT_FOUND and WR_E_REPO_NOT_FOUND with a sentence; the database's, the store's.
 */
#ifndef WR_ADMIN_H
#define WR_ADMIN_H

#include "core/git/walk.h"
#include "core/store/db.h"
#include "server/reaper.h"

/*
 * git and reaper belong to the running server, or are NULL: the folders of repositories that are deleted then stay
 * until the next server starts and finds their rows. For which git must not be NULL says wr_admin_needs_git().
 */
WR_MUST_CHECK enum wr_code wr_admin_run(json_t **out, struct wr_db *db, struct wr_git *git, struct wr_reaper *reaper,
					json_t *command, const struct wr_cancel *cancel, struct wr_error *err);
bool wr_admin_needs_git(const char *command);

#endif
