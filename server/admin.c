#include "server/admin.h"

#include "core/auth/accounts.h"
#include "core/auth/repos.h"
#include "server/api/api.h"
#include "server/api/fields.h"

struct args {
	struct wr_str name, account, key;
	bool with_repositories;
};

/* One table for all commands: what a command does not need, it does not look at. */
static const struct wr_field arg_fields[] = {
	WR_FIELD(struct args, name, "name", STRING, false),
	WR_FIELD(struct args, account, "account", STRING, false),
	WR_FIELD(struct args, key, "key", STRING, false),
	WR_FIELD(struct args, with_repositories, "withRepositories", BOOL, false),
};

struct admin {
	struct wr_db *db;
	struct wr_git *git;
	struct wr_reaper *reaper;
	struct args args;
};

static enum wr_code give(json_t **out, json_t *value, struct wr_error *err)
{
	if (!value)
		return wr_fail_nomem(err);
	*out = value;
	return WR_OK;
}

static enum wr_code account_create(json_t **out, const struct admin *a, struct wr_error *err)
{
	struct wr_secret_text key;
	struct wr_account account;
	enum wr_code code = wr_account_create(&account, &key, a->db, a->args.name, err);

	if (code != WR_OK)
		return code;
	return give(out, json_pack("{s:s, s:s, s:s}", "accountId", account.id, "name", account.name, "apiKey", key.z),
		    err);
}

static enum wr_code add_account(void *rows, const struct wr_account *account, struct wr_error *err)
{
	return wr_rows_add(rows,
			   json_pack("{s:s, s:s, s:o, s:I, s:I}", "accountId", account->id, "name", account->name,
				     "createdAt", wr_time_json(account->created_ms), "repositories",
				     (json_int_t)account->repositories, "keys", (json_int_t)account->keys),
			   err);
}

static enum wr_code account_list(json_t **out, const struct admin *a, struct wr_error *err)
{
	WR_AUTO(json_t) *rows = json_array();
	enum wr_code code = wr_account_list(a->db, add_account, rows, err);

	return code == WR_OK ? give(out, json_pack("{s:o}", "accounts", WR_STEAL(rows)), err) : code;
}

/* No push may be acknowledged once the deletion was answered, so each repository is killed before. */
static enum wr_code kill_repos(size_t *count, const struct admin *a, const char *account_id, struct wr_error *err)
{
	struct wr_doomed doomed[64];
	int64_t after = 0;
	size_t n = WR_ARRAY_LEN(doomed);

	for (*count = 0; n == WR_ARRAY_LEN(doomed); *count += n) {
		enum wr_code code = wr_repo_doomed(doomed, &n, a->db, account_id, after, WR_ARRAY_LEN(doomed), err);

		if (code != WR_OK)
			return code;
		for (size_t i = 0; i < n; i++) {
			if (a->git)
				wr_git_kill(a->git, doomed[i].id);
			after = doomed[i].seq;
		}
	}
	return WR_OK;
}

static enum wr_code account_delete(json_t **out, const struct admin *a, struct wr_error *err)
{
	struct wr_account account;
	size_t repos = 0;
	enum wr_code code = wr_account_find(&account, a->db, a->args.account, err);

	if (code == WR_OK)
		code = wr_account_delete(a->db, account.id, a->args.with_repositories, err);
	if (code == WR_OK)
		code = kill_repos(&repos, a, account.id, err);
	if (code != WR_OK)
		return code;
	wr_reaper_poke(a->reaper);
	return give(out,
		    json_pack("{s:s, s:s, s:I}", "accountId", account.id, "name", account.name, "repositories",
			      (json_int_t)repos),
		    err);
}

static enum wr_code key_create(json_t **out, const struct admin *a, struct wr_error *err)
{
	struct wr_secret_text secret;
	struct wr_account account;
	struct wr_key key;
	enum wr_code code = wr_account_find(&account, a->db, a->args.account, err);

	if (code == WR_OK)
		code = wr_key_create(&key, &secret, a->db, account.id, a->args.name, err);
	if (code != WR_OK)
		return code;
	return give(out,
		    json_pack("{s:s, s:s, s:s, s:s}", "keyId", key.id, "accountId", account.id, "name", key.name,
			      "apiKey", secret.z),
		    err);
}

static enum wr_code add_key(void *rows, const struct wr_key *key, struct wr_error *err)
{
	return wr_rows_add(rows,
			   json_pack("{s:s, s:s, s:o}", "keyId", key->id, "name", key->name, "createdAt",
				     wr_time_json(key->created_ms)),
			   err);
}

static enum wr_code key_list(json_t **out, const struct admin *a, struct wr_error *err)
{
	WR_AUTO(json_t) *rows = json_array();
	struct wr_account account;
	enum wr_code code = wr_account_find(&account, a->db, a->args.account, err);

	if (code == WR_OK)
		code = wr_key_list(a->db, account.id, add_key, rows, err);
	return code == WR_OK ? give(out, json_pack("{s:o}", "keys", WR_STEAL(rows)), err) : code;
}

static enum wr_code key_revoke(json_t **out, const struct admin *a, struct wr_error *err)
{
	struct wr_account account;
	struct wr_key key;
	enum wr_code code = wr_account_find(&account, a->db, a->args.account, err);

	if (code == WR_OK)
		code = wr_key_revoke(&key, a->db, account.id, a->args.key, err);
	if (code != WR_OK)
		return code;
	return give(out, json_pack("{s:s, s:s, s:s}", "keyId", key.id, "accountId", account.id, "name", key.name), err);
}

static const struct {
	const char *name;
	enum wr_code (*run)(json_t **out, const struct admin *a, struct wr_error *err);
} commands[] = {
	{"account.create", account_create}, {"account.list", account_list}, {"account.delete", account_delete},
	{"key.create", key_create},	    {"key.list", key_list},	    {"key.revoke", key_revoke},
};

struct command {
	struct wr_str cmd;
	json_t *args;
};

static const struct wr_field command_fields[] = {
	WR_FIELD(struct command, cmd, "cmd", STRING, true),
	WR_FIELD(struct command, args, "args", ANY, false),
};

enum wr_code wr_admin_run(json_t **out, struct wr_db *db, struct wr_git *git, struct wr_reaper *reaper, json_t *command,
			  struct wr_error *err)
{
	struct admin a = {.db = db, .git = git, .reaper = reaper, .args = {.with_repositories = false}};
	struct command c = {.args = NULL};
	enum wr_code code = wr_fields_read(&c, command_fields, WR_ARRAY_LEN(command_fields), command, err);

	if (code == WR_OK)
		code = wr_fields_read(&a.args, arg_fields, WR_ARRAY_LEN(arg_fields), c.args, err);
	if (code != WR_OK)
		return code;
	for (size_t i = 0; i < WR_ARRAY_LEN(commands); i++)
		if (wr_str_eqz(c.cmd, commands[i].name))
			return commands[i].run(out, &a, err);
	return wr_fail(err, WR_E_INVALID_REQUEST, "unknown command");
}
