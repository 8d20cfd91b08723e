#include "server/admin.h"

#include <signal.h>
#include <unistd.h>

#include "core/auth/accounts.h"
#include "core/auth/repos.h"
#include "core/base/config.h"
#include "core/base/suspects.h"
#include "core/git/verify.h"
#include "server/admin_internal.h"
#include "server/api/api.h"
#include "server/api/fields.h"
#include "server/reaper.h"
#include "triggers/delivery.h"
#include "triggers/signing.h"

/* One table for all commands: what a command does not need, it does not look at. */
static const struct wr_field arg_fields[] = {
	WR_FIELD(struct wr_admin_args, name, "name", STRING, false),
	WR_FIELD(struct wr_admin_args, account, "account", STRING, false),
	WR_FIELD(struct wr_admin_args, key, "key", STRING, false),
	WR_FIELD(struct wr_admin_args, repo, "repo", STRING, false),
	WR_FIELD(struct wr_admin_args, branch, "branch", STRING, false),
	WR_FIELD(struct wr_admin_args, path, "path", STRING, false),
	WR_FIELD(struct wr_admin_args, job, "job", STRING, false),
	WR_FIELD(struct wr_admin_args, with_repositories, "withRepositories", BOOL, false),
	WR_FIELD(struct wr_admin_args, link, "link", BOOL, false),
	WR_FIELD(struct wr_admin_args, redelta, "redelta", BOOL, false),
};

enum wr_code wr_admin_give(json_t **out, json_t *value, struct wr_error *err)
{
	if (!value)
		return wr_fail_nomem(err);
	*out = value;
	return WR_OK;
}

static enum wr_code account_create(json_t **out, const struct wr_admin *a, struct wr_error *err)
{
	struct wr_secret_text key;
	struct wr_account account;
	enum wr_code code = wr_account_create(&account, &key, a->app->db, a->args.name, err);

	if (code != WR_OK)
		return code;
	return wr_admin_give(out,
			     json_pack("{s:s, s:s, s:s}", "accountId", account.id, "name", account.name, "apiKey",
				       key.z),
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

static enum wr_code account_list(json_t **out, const struct wr_admin *a, struct wr_error *err)
{
	WR_AUTO(json_t) *rows = json_array();
	enum wr_code code = wr_account_list(a->app->db, add_account, rows, err);

	return code == WR_OK ? wr_admin_give(out, json_pack("{s:o}", "accounts", WR_STEAL(rows)), err) : code;
}

/* No push may be acknowledged once the deletion was answered, so each repository is killed before. */
static enum wr_code kill_repos(size_t *count, const struct wr_admin *a, const char *account_id, struct wr_error *err)
{
	struct wr_doomed doomed[64];
	int64_t after = 0;
	size_t n = WR_ARRAY_LEN(doomed);

	for (*count = 0; n == WR_ARRAY_LEN(doomed); *count += n) {
		enum wr_code code =
			wr_repo_doomed(doomed, &n, a->app->db, account_id, after, WR_ARRAY_LEN(doomed), err);

		if (code != WR_OK)
			return code;
		for (size_t i = 0; i < n; i++) {
			if (a->app->git)
				wr_reaper_kill(a->app->db, a->app->git, account_id, doomed[i].id);
			after = doomed[i].seq;
		}
	}
	return WR_OK;
}

static enum wr_code account_delete(json_t **out, const struct wr_admin *a, struct wr_error *err)
{
	struct wr_account account;
	size_t repos = 0;
	enum wr_code code = wr_account_find(&account, a->app->db, a->args.account, err);

	if (code == WR_OK)
		code = wr_account_delete(a->app->db, account.id, a->args.with_repositories, err);
	if (code == WR_OK)
		code = kill_repos(&repos, a, account.id, err);
	if (code != WR_OK)
		return code;
	wr_reaper_poke(a->app->reaper);
	return wr_admin_give(out,
		    json_pack("{s:s, s:s, s:I}", "accountId", account.id, "name", account.name, "repositories",
			      (json_int_t)repos),
		    err);
}

static enum wr_code key_create(json_t **out, const struct wr_admin *a, struct wr_error *err)
{
	struct wr_secret_text secret;
	struct wr_account account;
	struct wr_key key;
	enum wr_code code = wr_account_find(&account, a->app->db, a->args.account, err);

	if (code == WR_OK)
		code = wr_key_create(&key, &secret, a->app->db, account.id, a->args.name, err);
	if (code != WR_OK)
		return code;
	return wr_admin_give(out,
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

static enum wr_code key_list(json_t **out, const struct wr_admin *a, struct wr_error *err)
{
	WR_AUTO(json_t) *rows = json_array();
	struct wr_account account;
	enum wr_code code = wr_account_find(&account, a->app->db, a->args.account, err);

	if (code == WR_OK)
		code = wr_key_list(a->app->db, account.id, add_key, rows, err);
	return code == WR_OK ? wr_admin_give(out, json_pack("{s:o}", "keys", WR_STEAL(rows)), err) : code;
}

static enum wr_code key_revoke(json_t **out, const struct wr_admin *a, struct wr_error *err)
{
	struct wr_account account;
	struct wr_key key;
	enum wr_code code = wr_account_find(&account, a->app->db, a->args.account, err);

	if (code == WR_OK)
		code = wr_key_revoke(&key, a->app->db, account.id, a->args.key, err);
	if (code != WR_OK)
		return code;
	return wr_admin_give(
		out, json_pack("{s:s, s:s, s:s}", "keyId", key.id, "accountId", account.id, "name", key.name), err);
}

/* By the server's keys, or by those that the next one will find. */
static enum wr_code key_rotate_signing(json_t **out, const struct wr_admin *a, struct wr_error *err)
{
	const struct wr_config *cfg = a->app->cfg;
	const struct wr_signing_times times = {(int64_t)cfg->webhooks_signature_life,
					       (int64_t)cfg->webhooks_key_overlap, NULL, NULL};
	WR_AUTO(wr_signing) *signing = NULL;
	enum wr_code code;

	if (a->app->signing)
		return wr_signing_rotate(out, a->app->signing, err);
	code = wr_signing_open(&signing, cfg->server_data, &times, err);
	return code == WR_OK ? wr_signing_rotate(out, signing, err) : code;
}

static enum wr_code webhook_status(json_t **out, const struct wr_admin *a, struct wr_error *err)
{
	struct wr_deliveries_state state;
	enum wr_code code = wr_deliveries_look(&state, a->app->db, err);

	if (code != WR_OK)
		return code;
	return wr_admin_give(out,
			     json_pack("{s:I, s:I, s:o, s:o}", "queued", (json_int_t)(state.pending - state.sending), "sending",
				       (json_int_t)state.sending, "oldestAt", wr_time_json(state.oldest_ms), "dueSince",
				       wr_time_json(state.due_ms)),
			     err);
}

/* Repositories. */

static enum wr_code open_repo(struct wr_git_repo **out, const struct wr_admin *a, struct wr_error *err)
{
	char id[WR_UUID_LEN + 1], branch[WR_BRANCH_NAME_MAX + 1];
	enum wr_code code = WR_E_NOT_THERE;

	if (!a->app->git)
		return wr_fail(err, WR_E_INTERNAL, "a command of a repository without the store");
	if (wr_uuid_parse(a->args.repo, id))
		code = wr_repo_default_branch(branch, sizeof branch, a->app->db, id, err);
	if (code == WR_E_NOT_THERE)
		return wr_fail(err, WR_E_REPO_NOT_FOUND, "There is no repository \"%.*s\"; give its id",
			       (int)a->args.repo.len, a->args.repo.ptr ? a->args.repo.ptr : "");
	return code == WR_OK ? wr_git_repo_open(out, a->app->git, id, err) : code;
}

static json_t *pack_json(const struct wr_git_pack_info *p)
{
	return json_pack("{s:s, s:s, s:I, s:I, s:I}", "name", p->name, "role", p->role, "objects",
			 (json_int_t)p->objects, "bytes", (json_int_t)p->bytes, "dead", (json_int_t)p->dead);
}

static enum wr_code describe(json_t **out, struct wr_git_repo *repo, struct wr_error *err)
{
	WR_AUTO_S(wr_git_info) info = {.packs = NULL};
	WR_AUTO(json_t) *packs = json_array();
	enum wr_code code = wr_git_repo_info(&info, repo, err);

	for (size_t i = 0; i < info.pack_count && code == WR_OK; i++)
		code = wr_rows_add(packs, pack_json(&info.packs[i]), err);
	if (code != WR_OK)
		return code;
	return wr_admin_give(out,
		    json_pack("{s:s, s:b, s:b, s:I, s:I, s:I, s:b, s:I, s:I, s:I, s:o}", "repoId", wr_git_repo_id(repo),
			      "exists", info.exists, "readOnly", info.read_only, "checkpoint",
			      (json_int_t)info.checkpoint, "sequence", (json_int_t)info.seq, "refs",
			      (json_int_t)info.refs, "rewound", info.lost, "journals", (json_int_t)info.journals,
			      "journalBytes", (json_int_t)info.journal_bytes, "journalRecords",
			      (json_int_t)info.journal_records, "packs", WR_STEAL(packs)),
		    err);
}

static enum wr_code repo_show(json_t **out, const struct wr_admin *a, struct wr_error *err)
{
	WR_AUTO(wr_git_repo) *repo = NULL;
	enum wr_code code = open_repo(&repo, a, err);

	return code == WR_OK ? describe(out, repo, err) : code;
}

static enum wr_code repo_checkpoint(json_t **out, const struct wr_admin *a, struct wr_error *err)
{
	WR_AUTO(wr_git_repo) *repo = NULL;
	bool did = false;
	enum wr_code code = open_repo(&repo, a, err);

	if (code == WR_OK)
		code = wr_git_repo_checkpoint(&did, repo, err);
	if (code == WR_OK)
		code = describe(out, repo, err);
	if (code == WR_OK && json_object_set_new(*out, "done", json_boolean(did)) != 0) {
		json_decref(*out);
		code = wr_fail_nomem(err);
	}
	return code;
}

static enum wr_code repo_verify(json_t **out, const struct wr_admin *a, struct wr_error *err)
{
	WR_AUTO(wr_git_repo) *repo = NULL;
	WR_AUTO_S(wr_verified) v = {.refs = 0};
	WR_AUTO(json_t) *problems = json_array();
	enum wr_code code = open_repo(&repo, a, err);

	if (code == WR_OK)
		code = wr_verify_repo(&v, repo, a->cancel, err);
	for (size_t i = 0; i < v.problems_kept && code == WR_OK; i++)
		code = wr_rows_add(problems, wr_json_str(wr_str(v.problems[i])), err);
	if (code != WR_OK)
		return code;
	return wr_admin_give(out,
		    json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "repoId",
			      wr_git_repo_id(repo), "refs", (json_int_t)v.refs, "packs", (json_int_t)v.packs,
			      "journals", (json_int_t)v.journals, "objects", (json_int_t)v.objects, "commits",
			      (json_int_t)v.commits, "trees", (json_int_t)v.trees, "blobs", (json_int_t)v.blobs, "tags",
			      (json_int_t)v.tags, "reachable", (json_int_t)v.reachable, "fromHeadsAndTags",
			      (json_int_t)v.closure, "packBytes", (json_int_t)v.pack_bytes, "objectBytes",
			      (json_int_t)v.object_bytes, "problemCount", (json_int_t)v.problem_count, "problems",
			      WR_STEAL(problems)),
		    err);
}

/* Out of service, because two crashes in a row were blamed on them. */
static enum wr_code repo_parked(json_t **out, const struct wr_admin *a, struct wr_error *err)
{
	char (*names)[WR_SUSPECT_MAX] = calloc(WR_PARKED_MAX, sizeof *names);
	WR_AUTO(json_t) *rows = json_array();
	size_t n = names ? wr_suspects_parked(names, WR_PARKED_MAX) : 0;
	enum wr_code code = names ? WR_OK : wr_fail_nomem(err);

	(void)a;
	for (size_t i = 0; i < n && code == WR_OK; i++)
		code = wr_rows_add(rows, wr_json_str(wr_str(names[i])), err);
	free(names);
	return code == WR_OK ? wr_admin_give(out, json_pack("{s:o}", "parked", WR_STEAL(rows)), err) : code;
}

static enum wr_code repo_unpark(json_t **out, const struct wr_admin *a, struct wr_error *err)
{
	char id[WR_UUID_LEN + 1];

	if (!wr_uuid_parse(a->args.repo, id) || !wr_suspect_unpark(id))
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "This repository is not parked; warren repo parked lists them");
	return wr_admin_give(out, json_pack("{s:s}", "repoId", id), err);
}

static enum wr_code upgrade(json_t **out, const struct wr_admin *a, struct wr_error *err)
{
	pid_t pid = a->app->supervisor;

	/* One that was killed is this process's parent no more. */
	if (!pid || getppid() != pid || kill(pid, SIGUSR2) != 0)
		return wr_fail(err, WR_E_INVALID_REQUEST, "No server runs on this data folder");
	return wr_admin_give(out, json_pack("{s:I}", "pid", (json_int_t)pid), err);
}

static const struct {
	const char *name;
	enum wr_code (*run)(json_t **out, const struct wr_admin *a, struct wr_error *err);
	bool makes_job; /* and gives {jobId, repoId} at once */
} commands[] = {
	{"account.create", account_create, false},
	{"account.list", account_list, false},
	{"account.delete", account_delete, false},
	{"key.create", key_create, false},
	{"key.list", key_list, false},
	{"key.revoke", key_revoke, false},
	{"key.rotate-signing", key_rotate_signing, false},
	{"webhook.status", webhook_status, false},
	{"upgrade", upgrade, false},
	{"repo.show", repo_show, false},
	{"repo.verify", repo_verify, false},
	{"repo.checkpoint", repo_checkpoint, false},
	{"repo.parked", repo_parked, false},
	{"repo.unpark", repo_unpark, false},
	{"repo.fork", wr_admin_repo_fork, true},
	{"repo.adopt", wr_admin_repo_adopt, true},
	{"repo.maintain", wr_admin_repo_maintain, true},
	{"repo.export", wr_admin_repo_export, true},
	{"job.list", wr_admin_job_list, false},
	{"job.show", wr_admin_job_show, false},
	{"job.wait", wr_admin_job_wait, false},
	{"job.cancel", wr_admin_job_cancel, false},
};

bool wr_admin_needs_git(const char *command)
{
	return wr_str_starts(wr_str(command), WR_S("repo."));
}

bool wr_admin_makes_job(const char *command)
{
	for (size_t i = 0; i < WR_ARRAY_LEN(commands); i++)
		if (strcmp(commands[i].name, command) == 0)
			return commands[i].makes_job;
	return false;
}

struct command {
	struct wr_str cmd;
	json_t *args;
};

static const struct wr_field command_fields[] = {
	WR_FIELD(struct command, cmd, "cmd", STRING, true),
	WR_FIELD(struct command, args, "args", ANY, false),
};

static void mark_repo(struct wr_suspect_mark *mark, struct wr_str repo)
{
	char id[WR_UUID_LEN + 1] = "";

	if (!wr_uuid_parse(repo, id))
		id[0] = '\0';
	wr_suspect_begin(mark, id);
}

enum wr_code wr_admin_run(json_t **out, const struct wr_app *app, json_t *command, const struct wr_cancel *cancel,
			  struct wr_error *err)
{
	struct wr_admin a = {.app = app, .cancel = cancel};
	struct command c = {.args = NULL};
	struct wr_suspect_mark mark;
	enum wr_code code = wr_fields_read(&c, command_fields, WR_ARRAY_LEN(command_fields), command, err);

	if (code == WR_OK)
		code = wr_fields_read(&a.args, arg_fields, WR_ARRAY_LEN(arg_fields), c.args, err);
	if (code != WR_OK)
		return code;
	for (size_t i = 0; i < WR_ARRAY_LEN(commands); i++) {
		if (!wr_str_eqz(c.cmd, commands[i].name))
			continue;
		mark_repo(&mark, a.args.repo);
		code = commands[i].run(out, &a, err);
		wr_suspect_end(&mark);
		return code;
	}
	return wr_fail(err, WR_E_INVALID_REQUEST, "unknown command");
}
