#include "core/auth/identities.h"

#include "core/auth/repos.h"
#include "core/base/clock.h"

static enum wr_code fail_plain(struct wr_error *err, enum wr_code code)
{
	return wr_fail(err, code, "%s", wr_code_text(code));
}

static int64_t clamp(uint64_t n)
{
	return n > INT64_MAX ? INT64_MAX : (int64_t)n;
}

static void read_identity(struct wr_identity *out, const struct wr_row *row)
{
	wr_row_copy(row, "id", out->id, sizeof out->id);
	out->managed = wr_row_int(row, "managed") != 0;
}

/* Before a read: reads and writes go to different connections, so this exists twice. */
static enum wr_code find_identity(struct wr_identity *out, struct wr_db *db, const char *account_id, struct wr_str text,
				  struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	char id[WR_UUID_LEN + 1];
	enum wr_code code = WR_E_NOT_THERE;

	if (wr_uuid_parse(text, id))
		code = wr_db_one(db, SQL_IDENTITY_GET, err, &row, "ss", account_id, id);
	if (code == WR_OK)
		read_identity(out, &row);
	return code == WR_E_NOT_THERE ? fail_plain(err, WR_E_IDENTITY_NOT_FOUND) : code;
}

/* Before a change. managed: what to say of an identity of the server itself. */
static enum wr_code lock_identity(struct wr_identity *out, struct wr_tx *tx, const char *account_id, struct wr_str text,
				  enum wr_code managed, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	char id[WR_UUID_LEN + 1];
	enum wr_code code = WR_E_NOT_THERE;

	if (wr_uuid_parse(text, id))
		code = wr_tx_one(tx, SQL_IDENTITY_GET, err, &row, "ss", account_id, id);
	if (code == WR_E_NOT_THERE)
		return fail_plain(err, WR_E_IDENTITY_NOT_FOUND);
	if (code != WR_OK)
		return code;
	read_identity(out, &row);
	return out->managed ? fail_plain(err, managed) : WR_OK;
}

struct creation {
	const char *account_id, *id;
};

static enum wr_code create_identity(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct creation *c = arg;

	return wr_tx_run(tx, SQL_IDENTITY_ADD, err, NULL, "ssi", c->id, c->account_id, wr_now_ms());
}

enum wr_code wr_identity_create(struct wr_identity *out, struct wr_db *db, const char *account_id, struct wr_error *err)
{
	struct wr_identity identity = {.managed = false};
	struct creation c = {account_id, identity.id};
	enum wr_code code;

	wr_uuid_new(identity.id);
	code = wr_db_write(db, WR_DB_FULL, create_identity, &c, err);
	if (code == WR_OK)
		*out = identity;
	return code;
}

enum wr_code wr_identity_list(struct wr_db *db, const char *account_id, bool with_managed, struct wr_page *page,
			      wr_identity_fn fn, void *arg, struct wr_error *err)
{
	WR_AUTO_S(wr_row) count = WR_ROW_INIT;
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code;

	/* Held while the list is read, so that both are of the same instant. */
	code = wr_db_one(db, SQL_IDENTITY_COUNT, err, &count, "si", account_id, (int64_t)with_managed);
	if (code == WR_OK)
		code = wr_db_query(db, SQL_IDENTITY_LIST, err, &row, "siii", account_id, (int64_t)with_managed,
				   clamp(page->limit), clamp(page->offset));
	if (code != WR_OK)
		return code;
	while ((code = wr_row_next(&row, err)) == WR_OK) {
		struct wr_identity identity;

		read_identity(&identity, &row);
		if ((code = fn(arg, &identity, err)) != WR_OK)
			return code;
	}
	page->total = (uint64_t)wr_row_int(&count, "n");
	return code == WR_E_NOT_THERE ? WR_OK : code;
}

/* What a change of an identity, its tokens or its grants needs. */
struct change {
	const char *account_id;
	struct wr_str identity, other; /* other: a token or a repository */
	enum wr_level level;
};

static enum wr_code delete_identity(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct change *c = arg;
	struct wr_identity identity;
	enum wr_code code = lock_identity(&identity, tx, c->account_id, c->identity, WR_E_CANNOT_DELETE_MANAGED, err);

	return code == WR_OK ? wr_tx_run(tx, SQL_IDENTITY_DROP, err, NULL, "ss", c->account_id, identity.id) : code;
}

enum wr_code wr_identity_delete(struct wr_db *db, const char *account_id, struct wr_str identity, struct wr_error *err)
{
	struct change c = {.account_id = account_id, .identity = identity};

	return wr_db_write(db, WR_DB_FULL, delete_identity, &c, err);
}

/* Tokens. */

struct token_addition {
	const char *account_id;
	struct wr_str identity;
	const struct wr_token_new *new;
	const char *id;
	unsigned char hash[WR_SECRET_HASH];
};

static enum wr_code check_room(struct wr_tx *tx, const char *account_id, const char *identity_id, int64_t now,
			       struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_tx_one(tx, SQL_TOKEN_COUNT, err, &row, "ssi", account_id, identity_id, now);

	if (code == WR_OK && wr_row_int(&row, "n") >= WR_TOKENS_MAX)
		return wr_fail(err, WR_E_INVALID_REQUEST, "an identity has at most %d live tokens; revoke some",
			       WR_TOKENS_MAX);
	return code;
}

static enum wr_code create_token(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct token_addition *add = arg;
	const struct wr_token_new *new = add->new;
	const char *scope = new->read_only ? "read" : NULL;
	struct wr_identity identity;
	int64_t now = wr_now_ms();
	enum wr_code code;

	code = lock_identity(&identity, tx, add->account_id, add->identity, WR_E_CANNOT_MODIFY_MANAGED, err);
	/* What has expired is gone for everybody; here is where its rows go. */
	if (code == WR_OK)
		code = wr_tx_run(tx, SQL_TOKEN_SWEEP, err, NULL, "ssi", add->account_id, identity.id, now);
	if (code == WR_OK)
		code = check_room(tx, add->account_id, identity.id, now, err);
	if (code != WR_OK)
		return code;
	if (new->lifetime_ms == 0)
		return wr_tx_run(tx, SQL_TOKEN_ADD, err, NULL, "sssbtsin", add->id, add->account_id, identity.id,
				 add->hash, sizeof add->hash, new->description, scope, now);
	return wr_tx_run(tx, SQL_TOKEN_ADD, err, NULL, "sssbtsii", add->id, add->account_id, identity.id, add->hash,
			 sizeof add->hash, new->description, scope, now, now + new->lifetime_ms);
}

enum wr_code wr_token_create(char id[WR_UUID_LEN + 1], char secret[WR_SECRET_LEN + 1], struct wr_db *db,
			     const char *account_id, struct wr_str identity, const struct wr_token_new *new,
			     struct wr_error *err)
{
	struct token_addition add = {.account_id = account_id, .identity = identity, .new = new};
	char text[WR_SECRET_LEN + 1], made[WR_UUID_LEN + 1];
	enum wr_code code;

	wr_uuid_new(made);
	add.id = made;
	wr_secret_new(text, WR_SECRET_TOKEN);
	if (!wr_secret_hash(add.hash, wr_str(text)))
		return wr_fail(err, WR_E_INTERNAL, "SHA-256 failed");
	code = wr_db_write(db, WR_DB_FULL, create_token, &add, err);
	if (code != WR_OK)
		return code;
	memcpy(id, made, sizeof made);
	memcpy(secret, text, sizeof text);
	return WR_OK;
}

static void read_token(struct wr_token *out, const struct wr_row *row)
{
	wr_row_copy(row, "id", out->id, sizeof out->id);
	out->description = wr_row_text(row, "description");
	out->read_only = !wr_row_null(row, "scope");
	out->created_ms = wr_row_int(row, "created_ms");
	out->expires_ms = wr_row_int(row, "expires_ms");
	out->last_used_ms = wr_row_int(row, "last_used_ms");
}

enum wr_code wr_token_list(struct wr_db *db, const char *account_id, struct wr_str identity, wr_token_fn fn, void *arg,
			   struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	struct wr_identity owner;
	enum wr_code code = find_identity(&owner, db, account_id, identity, err);

	if (code == WR_OK)
		code = wr_db_query(db, SQL_TOKEN_LIST, err, &row, "ssi", account_id, owner.id, wr_now_ms());
	if (code != WR_OK)
		return code;
	while ((code = wr_row_next(&row, err)) == WR_OK) {
		struct wr_token token;

		read_token(&token, &row);
		if ((code = fn(arg, &token, err)) != WR_OK)
			return code;
	}
	return code == WR_E_NOT_THERE ? WR_OK : code;
}

enum wr_code wr_token_get(struct wr_db *db, const char *account_id, struct wr_str identity, struct wr_str token,
			  wr_token_fn fn, void *arg, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	char id[WR_UUID_LEN + 1];
	struct wr_identity owner;
	struct wr_token found;
	enum wr_code code = find_identity(&owner, db, account_id, identity, err);

	if (code != WR_OK)
		return code;
	code = WR_E_NOT_THERE;
	if (wr_uuid_parse(token, id))
		code = wr_db_one(db, SQL_TOKEN_GET, err, &row, "ssis", account_id, owner.id, wr_now_ms(), id);
	if (code != WR_OK)
		return code == WR_E_NOT_THERE ? fail_plain(err, WR_E_NOT_FOUND) : code;
	read_token(&found, &row);
	return fn(arg, &found, err);
}

static enum wr_code revoke_token(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct change *c = arg;
	struct wr_identity identity;
	char id[WR_UUID_LEN + 1];
	int64_t changed = 0;
	enum wr_code code = lock_identity(&identity, tx, c->account_id, c->identity, WR_E_CANNOT_MODIFY_MANAGED, err);

	if (code == WR_OK && wr_uuid_parse(c->other, id))
		code = wr_tx_run(tx, SQL_TOKEN_DROP, err, &changed, "ssis", c->account_id, identity.id,
				 wr_now_ms(), id);
	return code == WR_OK && changed == 0 ? fail_plain(err, WR_E_NOT_FOUND) : code;
}

enum wr_code wr_token_revoke(struct wr_db *db, const char *account_id, struct wr_str identity, struct wr_str token,
			     struct wr_error *err)
{
	struct change c = {.account_id = account_id, .identity = identity, .other = token};

	return wr_db_write(db, WR_DB_FULL, revoke_token, &c, err);
}

/* Grants. */

static const char *level_name(enum wr_level level)
{
	return level == WR_LEVEL_WRITE ? "write" : "read";
}

static enum wr_level read_level(const struct wr_row *row)
{
	return wr_str_eqz(wr_row_text(row, "level"), "write") ? WR_LEVEL_WRITE : WR_LEVEL_READ;
}

static enum wr_code find_grant(struct wr_grant *out, struct wr_db *db, const char *account_id, struct wr_str repo,
			       struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	WR_AUTO_S(wr_row) grant = WR_ROW_INIT;
	char id[WR_UUID_LEN + 1];
	enum wr_code code = WR_E_NOT_THERE;

	if (wr_uuid_parse(repo, id))
		code = wr_db_one(db, SQL_REPO_GET, err, &row, "ss", account_id, id);
	if (code == WR_E_NOT_THERE)
		return fail_plain(err, WR_E_GIT_REPO_NOT_FOUND);
	if (code != WR_OK)
		return code;
	wr_repo_read(&out->repo, &row);
	code = wr_db_one(db, SQL_GRANT_GET, err, &grant, "sss", account_id, out->identity_id, id);
	if (code != WR_OK && code != WR_E_NOT_THERE)
		return code;
	out->level = code == WR_OK ? read_level(&grant) : WR_LEVEL_NONE;
	return WR_OK;
}

enum wr_code wr_grant_get(struct wr_grant *out, struct wr_db *db, const char *account_id, struct wr_str identity,
			  struct wr_str repo, struct wr_error *err)
{
	struct wr_identity owner;
	struct wr_grant grant;
	enum wr_code code = find_identity(&owner, db, account_id, identity, err);

	if (code != WR_OK)
		return code;
	memcpy(grant.identity_id, owner.id, sizeof owner.id);
	code = find_grant(&grant, db, account_id, repo, err);
	if (code == WR_OK)
		*out = grant;
	return code;
}

enum wr_code wr_grant_list(struct wr_db *db, const char *account_id, struct wr_str identity, struct wr_page *page,
			   wr_grant_fn fn, void *arg, struct wr_error *err)
{
	WR_AUTO_S(wr_row) count = WR_ROW_INIT;
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	struct wr_identity owner;
	enum wr_code code = find_identity(&owner, db, account_id, identity, err);

	if (code == WR_OK)
		code = wr_db_one(db, SQL_GRANT_COUNT, err, &count, "ss", account_id, owner.id);
	if (code == WR_OK)
		code = wr_db_query(db, SQL_GRANT_LIST, err, &row, "ssii", account_id, owner.id, clamp(page->limit),
				   clamp(page->offset));
	if (code != WR_OK)
		return code;
	while ((code = wr_row_next(&row, err)) == WR_OK) {
		struct wr_grant grant;

		memcpy(grant.identity_id, owner.id, sizeof owner.id);
		wr_repo_read(&grant.repo, &row);
		grant.level = read_level(&row);
		if ((code = fn(arg, &grant, err)) != WR_OK)
			return code;
	}
	page->total = (uint64_t)wr_row_int(&count, "n");
	return code == WR_E_NOT_THERE ? WR_OK : code;
}

/* The identity and the repository of a change, both there and the account's. */
static enum wr_code lock_both(struct wr_identity *identity, char repo_id[WR_UUID_LEN + 1], struct wr_tx *tx,
			      const struct change *c, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = lock_identity(identity, tx, c->account_id, c->identity, WR_E_CANNOT_MODIFY_MANAGED, err);

	if (code != WR_OK)
		return code;
	code = WR_E_NOT_THERE;
	if (wr_uuid_parse(c->other, repo_id))
		code = wr_tx_one(tx, SQL_REPO_GET, err, &row, "ss", c->account_id, repo_id);
	return code == WR_E_NOT_THERE ? fail_plain(err, WR_E_GIT_REPO_NOT_FOUND) : code;
}

static enum wr_code create_grant(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct change *c = arg;
	struct wr_identity identity;
	char repo_id[WR_UUID_LEN + 1];
	enum wr_code code = lock_both(&identity, repo_id, tx, c, err);

	if (code == WR_OK)
		code = wr_tx_run(tx, SQL_GRANT_ADD, err, NULL, "ssssi", c->account_id, identity.id, repo_id,
				 level_name(c->level), wr_now_ms());
	return code == WR_E_EXISTS ? fail_plain(err, WR_E_PERMISSION_EXISTS) : code;
}

static enum wr_code update_grant(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct change *c = arg;
	struct wr_identity identity;
	char repo_id[WR_UUID_LEN + 1];
	int64_t changed = 0;
	enum wr_code code = lock_both(&identity, repo_id, tx, c, err);

	if (code == WR_OK)
		code = wr_tx_run(tx, SQL_GRANT_SET, err, &changed, "ssss", c->account_id, identity.id, repo_id,
				 level_name(c->level));
	return code == WR_OK && changed == 0 ? fail_plain(err, WR_E_PERMISSION_NOT_FOUND) : code;
}

static enum wr_code revoke_grant(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct change *c = arg;
	struct wr_identity identity;
	char repo_id[WR_UUID_LEN + 1];
	int64_t changed = 0;
	enum wr_code code = lock_both(&identity, repo_id, tx, c, err);

	if (code == WR_OK)
		code = wr_tx_run(tx, SQL_GRANT_DROP, err, &changed, "sss", c->account_id, identity.id, repo_id);
	return code == WR_OK && changed == 0 ? fail_plain(err, WR_E_PERMISSION_NOT_FOUND) : code;
}

enum wr_code wr_grant_create(struct wr_db *db, const char *account_id, struct wr_str identity, struct wr_str repo,
			     enum wr_level level, struct wr_error *err)
{
	struct change c = {account_id, identity, repo, level};

	return wr_db_write(db, WR_DB_FULL, create_grant, &c, err);
}

enum wr_code wr_grant_update(struct wr_db *db, const char *account_id, struct wr_str identity, struct wr_str repo,
			     enum wr_level level, struct wr_error *err)
{
	struct change c = {account_id, identity, repo, level};

	return wr_db_write(db, WR_DB_FULL, update_grant, &c, err);
}

enum wr_code wr_grant_revoke(struct wr_db *db, const char *account_id, struct wr_str identity, struct wr_str repo,
			     struct wr_error *err)
{
	struct change c = {.account_id = account_id, .identity = identity, .other = repo};

	return wr_db_write(db, WR_DB_FULL, revoke_grant, &c, err);
}
