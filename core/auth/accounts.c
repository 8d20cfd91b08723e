#include "core/auth/accounts.h"

#include <stdio.h>

#include "core/auth/label.h"
#include "core/base/clock.h"

static enum wr_code check_name(struct wr_str name, const char *what, struct wr_error *err)
{
	char id[WR_UUID_LEN + 1];

	if (!wr_label_ok(name, WR_LABEL_CHARS, WR_LABEL_BYTES))
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "the %s name has to be 1 to %d characters, none of them control characters", what,
			       WR_LABEL_CHARS);
	if (wr_uuid_parse(name, id))
		return wr_fail(err, WR_E_INVALID_REQUEST, "the %s name must not look like an id", what);
	return WR_OK;
}

static void copy_name(char out[WR_LABEL_BYTES + 1], struct wr_str name)
{
	memcpy(out, name.ptr, name.len);
	out[name.len] = '\0';
}

static void read_account(struct wr_account *out, const struct wr_row *row)
{
	wr_row_copy(row, "id", out->id, sizeof out->id);
	wr_row_copy(row, "name", out->name, sizeof out->name);
	out->created_ms = wr_row_int(row, "created_ms");
}

static void read_key(struct wr_key *out, const struct wr_row *row)
{
	wr_row_copy(row, "id", out->id, sizeof out->id);
	wr_row_copy(row, "name", out->name, sizeof out->name);
	out->created_ms = wr_row_int(row, "created_ms");
}

/* A key and, for a new account, the account before it. */
struct addition {
	const struct wr_account *account; /* NULL: it is there */
	const char *account_id;
	const struct wr_key *key;
	unsigned char hash[WR_SECRET_HASH];
};

static enum wr_code add_key(struct wr_tx *tx, const struct addition *add, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	const struct wr_key *key = add->key;
	enum wr_code code;

	/* It may have been deleted since it was looked up. */
	code = wr_tx_one(tx, SQL_ACCOUNT_BY_ID, err, &row, "s", add->account_id);
	if (code == WR_E_NOT_THERE)
		return wr_fail(err, WR_E_NOT_FOUND, "no such account");
	if (code != WR_OK)
		return code;
	code = wr_tx_run(tx, SQL_KEY_ADD, err, NULL, "sssbi", key->id, add->account_id, key->name, add->hash,
			 sizeof add->hash, key->created_ms);
	if (code == WR_E_EXISTS)
		return wr_fail(err, WR_E_INVALID_REQUEST, "the account has a key of this name already");
	return code;
}

static enum wr_code run_addition(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct addition *add = arg;
	const struct wr_account *account = add->account;
	enum wr_code code = WR_OK;

	if (account)
		code = wr_tx_run(tx, SQL_ACCOUNT_ADD, err, NULL, "ssi", account->id, account->name,
				 account->created_ms);
	if (code == WR_E_EXISTS)
		return wr_fail(err, WR_E_INVALID_REQUEST, "an account of this name exists already");
	return code == WR_OK ? add_key(tx, add, err) : code;
}

static enum wr_code create(struct wr_db *db, const struct wr_account *account, const char *account_id,
			   struct wr_key *key, struct wr_str key_name, struct wr_secret_text *secret,
			   struct wr_error *err)
{
	struct addition add = {account, account_id, key, {0}};

	wr_uuid_new(key->id);
	copy_name(key->name, key_name);
	key->created_ms = wr_now_ms();
	wr_secret_new(secret->z, WR_SECRET_KEY);
	if (!wr_secret_hash(add.hash, wr_str(secret->z)))
		return wr_fail(err, WR_E_INTERNAL, "SHA-256 failed");
	return wr_db_write(db, WR_DB_FULL, run_addition, &add, err);
}

enum wr_code wr_account_create(struct wr_account *out, struct wr_secret_text *key, struct wr_db *db, struct wr_str name,
			       struct wr_error *err)
{
	struct wr_account account = {.created_ms = wr_now_ms(), .keys = 1};
	struct wr_secret_text secret;
	struct wr_key first;
	enum wr_code code = check_name(name, "account", err);

	if (code != WR_OK)
		return code;
	wr_uuid_new(account.id);
	copy_name(account.name, name);
	code = create(db, &account, account.id, &first, WR_S("default"), &secret, err);
	if (code != WR_OK)
		return code;
	*out = account;
	*key = secret;
	return WR_OK;
}

enum wr_code wr_account_find(struct wr_account *out, struct wr_db *db, struct wr_str id_or_name, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	struct wr_account account = {0};
	char id[WR_UUID_LEN + 1];
	enum wr_code code;

	if (wr_uuid_parse(id_or_name, id))
		code = wr_db_one(db, SQL_ACCOUNT_BY_ID, err, &row, "s", id);
	else
		code = wr_db_one(db, SQL_ACCOUNT_BY_NAME, err, &row, "t", id_or_name);
	if (code == WR_E_NOT_THERE)
		return wr_fail(err, WR_E_NOT_FOUND, "no such account");
	if (code != WR_OK)
		return code;
	read_account(&account, &row);
	*out = account;
	return WR_OK;
}

enum wr_code wr_account_list(struct wr_db *db, wr_account_fn fn, void *arg, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_db_query(db, SQL_ACCOUNT_LIST, err, &row, "");

	if (code != WR_OK)
		return code;
	while ((code = wr_row_next(&row, err)) == WR_OK) {
		struct wr_account account = {.repositories = wr_row_int(&row, "repositories"),
					     .keys = wr_row_int(&row, "keys")};

		read_account(&account, &row);
		if ((code = fn(arg, &account, err)) != WR_OK)
			return code;
	}
	return code == WR_E_NOT_THERE ? WR_OK : code;
}

struct burial {
	const char *account_id;
	bool with_repos;
};

static enum wr_code refuse_repos(struct wr_tx *tx, const char *account_id, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_tx_one(tx, SQL_ACCOUNT_REPOS, err, &row, "s", account_id);
	int64_t n;

	if (code != WR_OK)
		return code;
	n = wr_row_int(&row, "n");
	if (n == 0)
		return WR_OK;
	return wr_fail(err, WR_E_INVALID_REQUEST,
		       "the account has %lld repositor%s; delete them first, or use --with-repositories", (long long)n,
		       n == 1 ? "y" : "ies");
}

static enum wr_code bury(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct burial *burial = arg;
	const char *id = burial->account_id;
	int64_t found = 0;
	enum wr_code code;

	if (!burial->with_repos && (code = refuse_repos(tx, id, err)) != WR_OK)
		return code;
	if ((code = wr_tx_run(tx, SQL_ACCOUNT_BURY, err, &found, "si", id, wr_now_ms())) != WR_OK)
		return code;
	if (found == 0)
		return wr_fail(err, WR_E_NOT_FOUND, "no such account");
	if ((code = wr_tx_run(tx, SQL_ACCOUNT_BURY_KEYS, err, NULL, "s", id)) != WR_OK ||
	    (code = wr_tx_run(tx, SQL_ACCOUNT_BURY_IDENTITIES, err, NULL, "s", id)) != WR_OK ||
	    (code = wr_tx_run(tx, SQL_ACCOUNT_BURY_REPOS, err, NULL, "s", id)) != WR_OK ||
	    (code = wr_tx_run(tx, SQL_ACCOUNT_BURY_TRIGGERS, err, NULL, "si", id, wr_now_ms())) != WR_OK ||
	    (code = wr_tx_run(tx, SQL_ACCOUNT_BURY_QUEUED_JOBS, err, NULL, "si", id, wr_now_ms())) != WR_OK ||
	    (code = wr_tx_run(tx, SQL_ACCOUNT_BURY_JOBS, err, NULL, "s", id)) != WR_OK)
		return code;
	return wr_tx_run(tx, SQL_ACCOUNT_PURGE, err, NULL, "s", id);
}

enum wr_code wr_account_delete(struct wr_db *db, const char *account_id, bool with_repos, struct wr_error *err)
{
	struct burial burial = {account_id, with_repos};

	return wr_db_write(db, WR_DB_FULL, bury, &burial, err);
}

enum wr_code wr_key_create(struct wr_key *out, struct wr_secret_text *key, struct wr_db *db, const char *account_id,
			   struct wr_str name, struct wr_error *err)
{
	struct wr_secret_text secret;
	struct wr_key made;
	enum wr_code code = check_name(name, "key", err);

	if (code == WR_OK)
		code = create(db, NULL, account_id, &made, name, &secret, err);
	if (code != WR_OK)
		return code;
	*out = made;
	*key = secret;
	return WR_OK;
}

enum wr_code wr_key_list(struct wr_db *db, const char *account_id, wr_key_fn fn, void *arg, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_db_query(db, SQL_KEY_LIST, err, &row, "s", account_id);

	if (code != WR_OK)
		return code;
	while ((code = wr_row_next(&row, err)) == WR_OK) {
		struct wr_key key;

		read_key(&key, &row);
		if ((code = fn(arg, &key, err)) != WR_OK)
			return code;
	}
	return code == WR_E_NOT_THERE ? WR_OK : code;
}

struct revocation {
	const char *account_id;
	struct wr_str id_or_name;
	struct wr_key key;
};

static enum wr_code revoke_key(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	struct revocation *r = arg;
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	char id[WR_UUID_LEN + 1];
	enum wr_code code;

	if (wr_uuid_parse(r->id_or_name, id))
		code = wr_tx_one(tx, SQL_KEY_BY_ID, err, &row, "ss", r->account_id, id);
	else
		code = wr_tx_one(tx, SQL_KEY_BY_NAME, err, &row, "st", r->account_id, r->id_or_name);
	if (code == WR_E_NOT_THERE)
		return wr_fail(err, WR_E_NOT_FOUND, "the account has no such key");
	if (code != WR_OK)
		return code;
	read_key(&r->key, &row);
	return wr_tx_run(tx, SQL_KEY_DROP, err, NULL, "ss", r->account_id, r->key.id);
}

enum wr_code wr_key_revoke(struct wr_key *out, struct wr_db *db, const char *account_id, struct wr_str id_or_name,
			   struct wr_error *err)
{
	struct revocation r = {.account_id = account_id, .id_or_name = id_or_name};
	enum wr_code code = wr_db_write(db, WR_DB_FULL, revoke_key, &r, err);

	if (code == WR_OK)
		*out = r.key;
	return code;
}
