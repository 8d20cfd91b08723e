/*
 * core/auth/identities.h: identities of an account, their tokens, and what they were granted.
 * Ownership: all by value; what callbacks get is borrowed for the call.
 * Threads:   any.
 * Blocks on: SQLite; the changing ones on a durable commit.
 * Errors:    WR_E_IDENTITY_NOT_FOUND where the account has none of this id (or it is no id); others with each function;
 *            the database's. A managed identity, one of the server itself, is neither deleted
 *            (WR_E_CANNOT_DELETE_MANAGED) nor changed (WR_E_CANNOT_MODIFY_MANAGED).
 * Callbacks must not call this module, nor block.
 */
#ifndef WR_IDENTITIES_H
#define WR_IDENTITIES_H

#include "core/auth/access.h"
#include "core/auth/secret.h"

struct wr_identity {
	char id[WR_UUID_LEN + 1];
	bool managed;
};

/* A page of a list, and how many there are in all. */
struct wr_page {
	uint64_t limit, offset;
	uint64_t total; /* output */
};

WR_MUST_CHECK enum wr_code wr_identity_create(struct wr_identity *out, struct wr_db *db, const char *account_id,
					      struct wr_error *err);
/* Newest first. */
typedef enum wr_code (*wr_identity_fn)(void *arg, const struct wr_identity *identity, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_identity_list(struct wr_db *db, const char *account_id, bool with_managed,
					    struct wr_page *page, wr_identity_fn fn, void *arg, struct wr_error *err);
/* Its tokens and grants go with it. */
WR_MUST_CHECK enum wr_code wr_identity_delete(struct wr_db *db, const char *account_id, struct wr_str identity,
					      struct wr_error *err);

#define WR_TOKEN_DESCRIPTION_MAX 1000
#define WR_TOKENS_MAX 10000 /* live ones of one identity */

struct wr_token {
	char id[WR_UUID_LEN + 1];
	struct wr_str description; /* ptr is NULL when there is none; borrowed */
	bool read_only;
	int64_t created_ms;
	int64_t expires_ms;   /* 0: never */
	int64_t last_used_ms; /* 0: not yet */
};

struct wr_token_new {
	struct wr_str description; /* ptr NULL: none; at most WR_TOKEN_DESCRIPTION_MAX bytes, checked by the caller */
	bool read_only;
	int64_t lifetime_ms; /* 0: for ever */
};

/* WR_E_INVALID_REQUEST past WR_TOKENS_MAX. */
WR_MUST_CHECK enum wr_code wr_token_create(char id[WR_UUID_LEN + 1], char secret[WR_SECRET_LEN + 1], struct wr_db *db,
					   const char *account_id, struct wr_str identity,
					   const struct wr_token_new *new, struct wr_error *err);
/* The live ones, oldest first. */
typedef enum wr_code (*wr_token_fn)(void *arg, const struct wr_token *token, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_token_list(struct wr_db *db, const char *account_id, struct wr_str identity,
					 wr_token_fn fn, void *arg, struct wr_error *err);
/* One of the live ones, handed to fn. WR_E_NOT_FOUND. */
WR_MUST_CHECK enum wr_code wr_token_get(struct wr_db *db, const char *account_id, struct wr_str identity,
					struct wr_str token, wr_token_fn fn, void *arg, struct wr_error *err);
/* The next request with it is refused. WR_E_NOT_FOUND, also for one that has expired. */
WR_MUST_CHECK enum wr_code wr_token_revoke(struct wr_db *db, const char *account_id, struct wr_str identity,
					   struct wr_str token, struct wr_error *err);

/*
 * Grants. level is WR_LEVEL_READ or WR_LEVEL_WRITE. All: WR_E_GIT_REPO_NOT_FOUND where the account has no live
 * repository of this id; the identity is looked up before it.
 */
struct wr_grant {
	char identity_id[WR_UUID_LEN + 1];
	struct wr_repo repo;
	enum wr_level level; /* WR_LEVEL_NONE: there is no grant */
};

WR_MUST_CHECK enum wr_code wr_grant_get(struct wr_grant *out, struct wr_db *db, const char *account_id,
					struct wr_str identity, struct wr_str repo, struct wr_error *err);
/* Newest first. */
typedef enum wr_code (*wr_grant_fn)(void *arg, const struct wr_grant *grant, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_grant_list(struct wr_db *db, const char *account_id, struct wr_str identity,
					 struct wr_page *page, wr_grant_fn fn, void *arg, struct wr_error *err);
/* WR_E_PERMISSION_EXISTS, whatever the level of the one that is there. */
WR_MUST_CHECK enum wr_code wr_grant_create(struct wr_db *db, const char *account_id, struct wr_str identity,
					   struct wr_str repo, enum wr_level level, struct wr_error *err);
/* WR_E_PERMISSION_NOT_FOUND, these two. */
WR_MUST_CHECK enum wr_code wr_grant_update(struct wr_db *db, const char *account_id, struct wr_str identity,
					   struct wr_str repo, enum wr_level level, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_grant_revoke(struct wr_db *db, const char *account_id, struct wr_str identity,
					   struct wr_str repo, struct wr_error *err);

#endif
