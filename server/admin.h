/*
 * server/admin.h: the administrative commands, the same beside a running server (through server/control.h) and without
 * one. A command is {"cmd": "account.create", "args": {...}}, where args are:
 *   account.create {name}                       {accountId, name, apiKey}; makes a first key named "default"
 *   account.list   {}                           {accounts: [{accountId, name, createdAt, repositories, keys}]}
 *   account.delete {account, withRepositories}  {accountId, name, repositories}: how many go with it
 *   key.create     {account, name}              {keyId, accountId, name, apiKey}
 *   key.list       {account}                    {keys: [{keyId, name, createdAt}]}
 *   key.revoke     {account, key}               {keyId, accountId, name}
 * account and key take an id or a name. A secret is shown once, by what made it.
 * Ownership: *out is a new reference.
 * Threads:   any. Blocks on: SQLite.
 * Errors:    WR_E_INVALID_REQUEST and WR_E_NOT_FOUND with a sentence; the database's.
 */
#ifndef WR_ADMIN_H
#define WR_ADMIN_H

#include "core/git/git.h"
#include "core/store/db.h"
#include "server/reaper.h"

/*
 * git and reaper belong to the running server, or are NULL: the folders of repositories that are deleted then stay
 * until the next server starts and finds their rows.
 */
WR_MUST_CHECK enum wr_code wr_admin_run(json_t **out, struct wr_db *db, struct wr_git *git, struct wr_reaper *reaper,
					json_t *command, struct wr_error *err);

#endif
