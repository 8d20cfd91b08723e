/*
 * core/auth/access.h: the one place that decides "who is this, and may they?".
 * Ownership: all by value; nothing to release.
 * Threads:   any; reads go through the calling thread's own database connection.
 * Blocks on: SQLite reads from memory (microseconds), or none where nothing was written since the last one (lately.h): a
 *            revocation, an expiry or a changed grant holds on the very next request.
 * Errors:    WR_E_UNAUTHORIZED; WR_E_INTERNAL for the database.
 */
#ifndef WR_ACCESS_H
#define WR_ACCESS_H

#include "core/auth/secret.h"
#include "core/base/id.h"
#include "core/store/db.h"

enum wr_caller_kind { WR_ANONYMOUS, WR_BY_KEY, WR_BY_TOKEN };

/* What somebody may do to one repository, in rising order. Only an API key of the owner gives ADMIN. */
enum wr_level { WR_LEVEL_NONE, WR_LEVEL_READ, WR_LEVEL_WRITE, WR_LEVEL_ADMIN };

enum wr_credential_kind {
	WR_CRED_NONE,	/* no credential was sent */
	WR_CRED_KEY_OR_TOKEN, /* Authorization: Bearer, or Basic on Git URLs: either form */
	WR_CRED_TOKEN,	/* X-Freestyle-Identity-Access-Token: an identity token only */
	WR_CRED_UNREADABLE, /* a scheme that this URL does not take, or a header that does not parse */
};

struct wr_credential {
	enum wr_credential_kind kind;
	struct wr_str secret; /* borrowed */
};

struct wr_caller {
	enum wr_caller_kind kind;
	char account_id[WR_UUID_LEN + 1];  /* "" when anonymous */
	char identity_id[WR_UUID_LEN + 1]; /* "" unless by token */
	bool read_only;			   /* token of scope "read": every grant counts as read */
	unsigned char hash[WR_SECRET_HASH]; /* of the credential, to ask for it again; zeros when anonymous */
	struct wr_db_stamp since;	    /* what the database was when this was asked; its db 0: not known */
};

/*
 * Who sent this credential. No credential: an anonymous caller, WR_OK. Anything else that is not a live key or token:
 * WR_E_UNAUTHORIZED, with the same words whatever was wrong (and fields left to the HTTP layer, which knows the route).
 * Notes a token's use for lastUsedAt, written at most once a minute and never on this path.
 */
WR_MUST_CHECK enum wr_code wr_access_caller(struct wr_caller *out, struct wr_db *db, const struct wr_credential *cred,
					    struct wr_error *err);

/* What journals and events know a caller by: "account:ID" for a key, "identity:ID" for a token, "" for nobody. */
#define WR_CALLER_NAME (sizeof "identity:" + WR_UUID_LEN)
void wr_caller_name(char out[WR_CALLER_NAME], const struct wr_caller *caller);

struct wr_repo {
	char id[WR_UUID_LEN + 1];
	char account_id[WR_UUID_LEN + 1];
	char name[512]; /* up to WR_REPO_NAME_MAX bytes of UTF-8 */
	bool has_name;
	bool public_;
	char default_branch[256]; /* short name */
	int64_t created_ms;
};
#define WR_REPO_NAME_MAX 255
#define WR_BRANCH_NAME_MAX 250

/*
 * The repository with this id as the caller may know it, and what the caller may do to it.
 * for_git: public repositories are readable by everyone (else public means nothing).
 * WR_E_REPO_NOT_FOUND (field repoId) alike for a malformed id, an unknown id, one that is being deleted, one of another
 * account and one without a grant, by the same statement, so that they also take the same time.
 */
WR_MUST_CHECK enum wr_code wr_access_repo(struct wr_repo *out, enum wr_level *level, struct wr_db *db,
					  const struct wr_caller *caller, struct wr_str repo_id, bool for_git,
					  struct wr_error *err);

/*
 * The same question again (wr_access_caller(), then wr_access_repo() with this caller), for work that took long since it was
 * admitted: whether the credential that the caller came
 * with is still his, and still gives this much on the repository. WR_E_UNAUTHORIZED, WR_E_REPO_NOT_FOUND,
 * WR_E_REPO_ACCESS_DENIED.
 */
WR_MUST_CHECK enum wr_code wr_access_again(struct wr_db *db, const struct wr_caller *caller, const char *repo_id,
					   bool for_git, enum wr_level needed, struct wr_error *err);

#endif
