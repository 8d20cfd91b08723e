/*
 * core/auth/accounts.h: accounts and their API keys. Administration stands above all tenants; no request reaches this.
 * Ownership: all by value; what callbacks get is borrowed for the call.
 * Threads:   any.
 * Blocks on: SQLite; the changing ones on a durable commit.
 * Errors:    WR_E_INVALID_REQUEST, WR_E_NOT_FOUND with a sentence; the database's.
 */
#ifndef WR_ACCOUNTS_H
#define WR_ACCOUNTS_H

#include "core/auth/secret.h"
#include "core/base/id.h"
#include "core/store/db.h"

/* Names have up to 100 code points of UTF-8, no control characters, and not the form of a UUID: commands take both. */
#define WR_LABEL_CHARS 100
#define WR_LABEL_BYTES 400

struct wr_account {
	char id[WR_UUID_LEN + 1];
	char name[WR_LABEL_BYTES + 1];
	int64_t created_ms;
	int64_t repositories, keys; /* only in the list */
};

struct wr_key {
	char id[WR_UUID_LEN + 1];
	char name[WR_LABEL_BYTES + 1];
	int64_t created_ms;
};

/* A secret as it is shown, once. */
struct wr_secret_text {
	char z[WR_SECRET_LEN + 1];
};

/* A new account with a first key named "default". A name that another account has is WR_E_INVALID_REQUEST. */
WR_MUST_CHECK enum wr_code wr_account_create(struct wr_account *out, struct wr_secret_text *key, struct wr_db *db,
					     struct wr_str name, struct wr_error *err);

/* The account with this id or, where none has, this name. */
WR_MUST_CHECK enum wr_code wr_account_find(struct wr_account *out, struct wr_db *db, struct wr_str id_or_name,
					   struct wr_error *err);

/* All, oldest first. An error of fn ends it. fn must not read accounts or block. */
typedef enum wr_code (*wr_account_fn)(void *arg, const struct wr_account *account, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_account_list(struct wr_db *db, wr_account_fn fn, void *arg, struct wr_error *err);

/*
 * Removes the account, its keys, identities, tokens and grants, at once. Repositories: WR_E_INVALID_REQUEST while there
 * are any, unless with_repos: then they are marked for deletion, and what is left of the account goes with the last of
 * them (wr_repo_purge()).
 */
WR_MUST_CHECK enum wr_code wr_account_delete(struct wr_db *db, const char *account_id, bool with_repos,
					     struct wr_error *err);

/* A name that another key of the account has is WR_E_INVALID_REQUEST. */
WR_MUST_CHECK enum wr_code wr_key_create(struct wr_key *out, struct wr_secret_text *key, struct wr_db *db,
					 const char *account_id, struct wr_str name, struct wr_error *err);
typedef enum wr_code (*wr_key_fn)(void *arg, const struct wr_key *key, struct wr_error *err);
/* All of one account, oldest first. fn must not read keys or block. */
WR_MUST_CHECK enum wr_code wr_key_list(struct wr_db *db, const char *account_id, wr_key_fn fn, void *arg,
				       struct wr_error *err);
/* By id or, where none has it, by name. The next request with it is refused. */
WR_MUST_CHECK enum wr_code wr_key_revoke(struct wr_key *out, struct wr_db *db, const char *account_id,
					 struct wr_str id_or_name, struct wr_error *err);

#endif
