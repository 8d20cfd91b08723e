#include "core/auth/access.h"

#include <stdatomic.h>

#include "core/auth/repos.h"
#include "core/auth/secret.h"
#include "core/base/clock.h"

#define USED_EVERY_MS 60000

/*
 * Uses that are on their way to the database, so that a busy token is not posted again before its row shows it. A slot
 * that two tokens share costs a few writes too many, nothing else; so do two threads that meet in one.
 */
static struct {
	_Atomic uint64_t token;
	_Atomic int64_t at_ms; /* of the clock that only goes forward; 0: free */
} recent[1024];

struct use {
	char account_id[WR_UUID_LEN + 1];
	char token_id[WR_UUID_LEN + 1];
	int64_t at_ms;
};

static enum wr_code write_use(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct use *use = arg;

	return wr_tx_run(tx, SQL_TOKEN_USED, err, NULL, "ssi", use->account_id, use->token_id, use->at_ms);
}

static bool posted_lately(const unsigned char hash[WR_SECRET_HASH])
{
	int64_t now = wr_mono_ms() + 1, then;
	uint64_t id, seen;
	size_t slot;

	memcpy(&id, hash, sizeof id);
	slot = (size_t)(id % WR_ARRAY_LEN(recent));
	seen = atomic_load(&recent[slot].token);
	then = atomic_load(&recent[slot].at_ms);
	if (seen == id && then != 0 && now - then < USED_EVERY_MS)
		return true;
	atomic_store(&recent[slot].token, id);
	atomic_store(&recent[slot].at_ms, now);
	return false;
}

static void note_use(struct wr_db *db, const struct wr_row *row, const unsigned char hash[WR_SECRET_HASH], int64_t now)
{
	int64_t last = wr_row_int(row, "last_used_ms");
	struct use *use;

	if ((last <= now && now - last < USED_EVERY_MS) || posted_lately(hash))
		return;
	use = malloc(sizeof *use);
	if (!use)
		return;
	wr_row_copy(row, "account_id", use->account_id, sizeof use->account_id);
	wr_row_copy(row, "id", use->token_id, sizeof use->token_id);
	use->at_ms = now;
	wr_db_post(db, write_use, use, free);
}

static enum wr_code refuse(struct wr_error *err)
{
	return wr_fail(err, WR_E_UNAUTHORIZED, "%s", wr_code_text(WR_E_UNAUTHORIZED));
}

static enum wr_code by_key(struct wr_caller *out, struct wr_db *db, const unsigned char hash[WR_SECRET_HASH],
			   struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_db_one(db, SQL_CALLER_BY_KEY, err, &row, "b", hash, (size_t)WR_SECRET_HASH);

	if (code == WR_OK) {
		*out = (struct wr_caller){.kind = WR_BY_KEY};
		memcpy(out->hash, hash, WR_SECRET_HASH);
		wr_row_copy(&row, "account_id", out->account_id, sizeof out->account_id);
	}
	return code;
}

static enum wr_code by_token(struct wr_caller *out, struct wr_db *db, const unsigned char hash[WR_SECRET_HASH],
			     struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	int64_t now = wr_now_ms();
	enum wr_code code =
		wr_db_one(db, SQL_CALLER_BY_TOKEN, err, &row, "bi", hash, (size_t)WR_SECRET_HASH, now);

	if (code == WR_OK) {
		*out = (struct wr_caller){.kind = WR_BY_TOKEN, .read_only = !wr_row_null(&row, "scope")};
		memcpy(out->hash, hash, WR_SECRET_HASH);
		wr_row_copy(&row, "account_id", out->account_id, sizeof out->account_id);
		wr_row_copy(&row, "identity_id", out->identity_id, sizeof out->identity_id);
		note_use(db, &row, hash, now);
	}
	return code;
}

enum wr_code wr_access_caller(struct wr_caller *out, struct wr_db *db, const struct wr_credential *cred,
			      struct wr_error *err)
{
	unsigned char hash[WR_SECRET_HASH];
	enum wr_secret_kind form;
	enum wr_code code;

	if (cred->kind == WR_CRED_NONE) {
		*out = (struct wr_caller){.kind = WR_ANONYMOUS};
		return WR_OK;
	}
	form = cred->kind == WR_CRED_UNREADABLE ? WR_SECRET_NONE : wr_secret_form(cred->secret);
	if (form == WR_SECRET_NONE || (form == WR_SECRET_KEY && cred->kind == WR_CRED_TOKEN))
		return refuse(err);
	if (!wr_secret_hash(hash, cred->secret))
		return wr_fail(err, WR_E_INTERNAL, "SHA-256 failed");
	code = form == WR_SECRET_KEY ? by_key(out, db, hash, err) : by_token(out, db, hash, err);
	return code == WR_E_NOT_THERE ? refuse(err) : code;
}

static enum wr_level level_of(const struct wr_row *row, const struct wr_caller *caller, bool public_read)
{
	struct wr_str granted = wr_row_text(row, "level");
	enum wr_level level = WR_LEVEL_NONE;

	if (caller->kind == WR_BY_KEY && wr_row_int(row, "owner"))
		return WR_LEVEL_ADMIN;
	if (wr_str_eqz(granted, "write"))
		level = caller->read_only ? WR_LEVEL_READ : WR_LEVEL_WRITE;
	else if (wr_str_eqz(granted, "read"))
		level = WR_LEVEL_READ;
	return level == WR_LEVEL_NONE && public_read ? WR_LEVEL_READ : level;
}

enum wr_code wr_access_repo(struct wr_repo *out, enum wr_level *level, struct wr_db *db, const struct wr_caller *caller,
			    struct wr_str repo_id, bool for_git, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	/* What is no id at all is looked for under one that no repository has. */
	char id[WR_UUID_LEN + 1] = "00000000-0000-0000-0000-000000000000";
	struct wr_repo repo;
	enum wr_level can;
	enum wr_code code;

	wr_uuid_parse(repo_id, id);
	code = wr_db_one(db, SQL_ACCESS_REPO, err, &row, "sssi", id, caller->account_id, caller->identity_id,
			 (int64_t)for_git);
	if (code == WR_OK) {
		wr_repo_read(&repo, &row);
		can = level_of(&row, caller, for_git && repo.public_);
		if (can != WR_LEVEL_NONE) {
			*out = repo;
			*level = can;
			return WR_OK;
		}
	} else if (code != WR_E_NOT_THERE) {
		return code;
	}
	wr_fail(err, WR_E_REPO_NOT_FOUND, "%s", wr_code_text(WR_E_REPO_NOT_FOUND));
	wr_error_field(err, "repoId", repo_id);
	return WR_E_REPO_NOT_FOUND;
}

static enum wr_code caller_again(struct wr_caller *out, struct wr_db *db, const struct wr_caller *was,
				 struct wr_error *err)
{
	enum wr_code code = WR_OK;

	*out = (struct wr_caller){.kind = WR_ANONYMOUS};
	if (was->kind == WR_BY_KEY)
		code = by_key(out, db, was->hash, err);
	else if (was->kind == WR_BY_TOKEN)
		code = by_token(out, db, was->hash, err);
	return code == WR_E_NOT_THERE ? refuse(err) : code;
}

enum wr_code wr_access_again(struct wr_db *db, const struct wr_caller *caller, const char *repo_id, bool for_git,
			     enum wr_level needed, struct wr_error *err)
{
	enum wr_level level = WR_LEVEL_NONE;
	struct wr_caller now;
	struct wr_repo repo;
	enum wr_code code;

	if ((code = caller_again(&now, db, caller, err)) != WR_OK ||
	    (code = wr_access_repo(&repo, &level, db, &now, wr_str(repo_id), for_git, err)) != WR_OK)
		return code;
	if (level < needed)
		return wr_fail(err, WR_E_REPO_ACCESS_DENIED, "%s", wr_code_text(WR_E_REPO_ACCESS_DENIED));
	return WR_OK;
}
