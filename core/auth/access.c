#include "core/auth/access.h"

#include <stdatomic.h>
#include <stdio.h>

#include "core/auth/lately.h"
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

static void note_use(struct wr_db *db, const struct wr_lately_caller *token, int64_t now)
{
	int64_t last = token->last_used_ms;
	struct use *use;

	if ((last <= now && now - last < USED_EVERY_MS) || posted_lately(token->caller.hash))
		return;
	use = malloc(sizeof *use);
	if (!use)
		return;
	memcpy(use->account_id, token->caller.account_id, sizeof use->account_id);
	memcpy(use->token_id, token->token_id, sizeof use->token_id);
	use->at_ms = now;
	wr_db_post(db, write_use, use, free);
}

static enum wr_code refuse(struct wr_error *err)
{
	return wr_fail(err, WR_E_UNAUTHORIZED, "%s", wr_code_text(WR_E_UNAUTHORIZED));
}

static enum wr_code by_key(struct wr_lately_caller *out, struct wr_db *db, const unsigned char hash[WR_SECRET_HASH],
			   struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_db_one(db, SQL_CALLER_BY_KEY, err, &row, "b", hash, (size_t)WR_SECRET_HASH);

	if (code == WR_OK) {
		*out = (struct wr_lately_caller){.caller = {.kind = WR_BY_KEY}};
		memcpy(out->caller.hash, hash, WR_SECRET_HASH);
		wr_row_copy(&row, "account_id", out->caller.account_id, sizeof out->caller.account_id);
	}
	return code;
}

static enum wr_code by_token(struct wr_lately_caller *out, struct wr_db *db, const unsigned char hash[WR_SECRET_HASH],
			     int64_t now, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code =
		wr_db_one(db, SQL_CALLER_BY_TOKEN, err, &row, "bi", hash, (size_t)WR_SECRET_HASH, now);

	if (code == WR_OK) {
		*out = (struct wr_lately_caller){.caller = {.kind = WR_BY_TOKEN, .read_only = !wr_row_null(&row, "scope")},
						 .expires_ms = wr_row_int(&row, "expires_ms"),
						 .last_used_ms = wr_row_int(&row, "last_used_ms")};
		memcpy(out->caller.hash, hash, WR_SECRET_HASH);
		wr_row_copy(&row, "id", out->token_id, sizeof out->token_id);
		wr_row_copy(&row, "account_id", out->caller.account_id, sizeof out->caller.account_id);
		wr_row_copy(&row, "identity_id", out->caller.identity_id, sizeof out->caller.identity_id);
	}
	return code;
}

/* Asks the database. WR_E_NOT_THERE for no live credential. */
static enum wr_code ask_caller(struct wr_lately_caller *out, struct wr_db *db, bool is_key,
			       const unsigned char hash[WR_SECRET_HASH], struct wr_error *err)
{
	int64_t now = wr_now_ms();
	enum wr_code code = is_key ? by_key(out, db, hash, err) : by_token(out, db, hash, now, err);

	if (code == WR_OK && !is_key)
		note_use(db, out, now);
	return code;
}

/* What is known still: a token may have ended since, without anything being written. */
static bool known_caller(struct wr_caller *out, struct wr_db *db, const struct wr_db_stamp *stamp,
			 const unsigned char hash[WR_SECRET_HASH])
{
	const struct wr_lately_caller *known = wr_lately_caller(stamp, hash);
	int64_t now;

	if (!known)
		return false;
	if (known->caller.kind == WR_BY_TOKEN) {
		now = wr_now_ms();
		if (known->expires_ms && known->expires_ms <= now)
			return false;
		note_use(db, known, now);
	}
	*out = known->caller;
	return true;
}

enum wr_code wr_access_caller(struct wr_caller *out, struct wr_db *db, const struct wr_credential *cred,
			      struct wr_error *err)
{
	unsigned char hash[WR_SECRET_HASH];
	struct wr_db_stamp before, after;
	struct wr_lately_caller found;
	enum wr_secret_kind form;
	enum wr_code code;
	bool stamped;

	if (cred->kind == WR_CRED_NONE) {
		*out = (struct wr_caller){.kind = WR_ANONYMOUS};
		return WR_OK;
	}
	form = cred->kind == WR_CRED_UNREADABLE ? WR_SECRET_NONE : wr_secret_form(cred->secret);
	if (form == WR_SECRET_NONE || (form == WR_SECRET_KEY && cred->kind == WR_CRED_TOKEN))
		return refuse(err);
	if (!wr_secret_hash(hash, cred->secret))
		return wr_fail(err, WR_E_INTERNAL, "SHA-256 failed");
	stamped = wr_db_stamp(&before, db);
	if (stamped && known_caller(out, db, &before, hash)) {
		out->since = before;
		return WR_OK;
	}
	code = ask_caller(&found, db, form == WR_SECRET_KEY, hash, err);
	if (code != WR_OK)
		return code == WR_E_NOT_THERE ? refuse(err) : code;
	if (stamped && wr_db_stamp(&after, db))
		wr_lately_keep_caller(&before, &after, &found);
	*out = found.caller;
	if (stamped)
		out->since = before;
	return WR_OK;
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

static enum wr_code ask_repo(struct wr_lately_repo *out, struct wr_db *db, const struct wr_caller *caller, const char *id,
			     bool for_git, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_db_one(db, SQL_ACCESS_REPO, err, &row, "sssi", id, caller->account_id, caller->identity_id,
				      (int64_t)for_git);

	if (code != WR_OK)
		return code;
	wr_repo_read(&out->repo, &row);
	out->level = level_of(&row, caller, for_git && out->repo.public_);
	return out->level != WR_LEVEL_NONE ? WR_OK : WR_E_NOT_THERE;
}

static enum wr_code repo_not_found(struct wr_str id, struct wr_error *err)
{
	wr_fail(err, WR_E_REPO_NOT_FOUND, "%s", wr_code_text(WR_E_REPO_NOT_FOUND));
	wr_error_field(err, "repoId", id);
	return WR_E_REPO_NOT_FOUND;
}

enum wr_code wr_access_repo(struct wr_repo *out, enum wr_level *level, struct wr_db *db, const struct wr_caller *caller,
			    struct wr_str repo_id, bool for_git, struct wr_error *err)
{
	/* What is no id at all is looked for under one that no repository has. */
	char id[WR_UUID_LEN + 1] = "00000000-0000-0000-0000-000000000000";
	const struct wr_lately_repo *known;
	struct wr_lately_repo found;
	struct wr_db_stamp before, after;
	bool stamped = wr_db_stamp(&before, db);
	enum wr_code code = WR_OK;

	wr_uuid_parse(repo_id, id);
	known = stamped ? wr_lately_repo(&before, caller, id, for_git) : NULL;
	if (!known) {
		code = ask_repo(&found, db, caller, id, for_git, err);
		if (code == WR_OK && stamped && wr_db_stamp(&after, db))
			wr_lately_keep_repo(&before, &after, caller, for_git, &found);
		known = &found;
	}
	if (code == WR_OK) {
		*out = known->repo;
		*level = known->level;
	}
	return code == WR_E_NOT_THERE ? repo_not_found(repo_id, err) : code;
}

/* Asks the database, whatever was found lately: the thread may be one of many that come and go. */
static enum wr_code caller_again(struct wr_caller *out, struct wr_db *db, const struct wr_caller *was,
				 struct wr_error *err)
{
	struct wr_lately_caller found = {.caller = {.kind = WR_ANONYMOUS}};
	enum wr_code code = WR_OK;

	if (was->kind != WR_ANONYMOUS)
		code = ask_caller(&found, db, was->kind == WR_BY_KEY, was->hash, err);
	if (code == WR_OK)
		*out = found.caller;
	return code == WR_E_NOT_THERE ? refuse(err) : code;
}

enum wr_code wr_access_again(struct wr_db *db, const struct wr_caller *caller, const char *repo_id, bool for_git,
			     enum wr_level needed, struct wr_error *err)
{
	struct wr_lately_repo found;
	struct wr_db_stamp stamp;
	struct wr_caller now;
	enum wr_code code;

	/* Nothing was written since: a key still is what it was. A token may have ended. */
	if (caller->kind == WR_BY_KEY && caller->since.db && wr_db_stamp(&stamp, db) &&
	    wr_db_stamp_eq(&stamp, &caller->since))
		return WR_OK;
	if ((code = caller_again(&now, db, caller, err)) != WR_OK)
		return code;
	code = ask_repo(&found, db, &now, repo_id, for_git, err);
	if (code == WR_E_NOT_THERE)
		return repo_not_found(wr_str(repo_id), err);
	if (code != WR_OK)
		return code;
	if (found.level < needed)
		return wr_fail(err, WR_E_REPO_ACCESS_DENIED, "%s", wr_code_text(WR_E_REPO_ACCESS_DENIED));
	return WR_OK;
}

void wr_caller_name(char out[WR_CALLER_NAME], const struct wr_caller *caller)
{
	switch (caller->kind) {
	case WR_BY_KEY:
		snprintf(out, WR_CALLER_NAME, "account:%s", caller->account_id);
		break;
	case WR_BY_TOKEN:
		snprintf(out, WR_CALLER_NAME, "identity:%s", caller->identity_id);
		break;
	default:
		out[0] = '\0';
	}
}
