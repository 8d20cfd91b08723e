/* core/auth: who calls, what they may do to a repository, and everything that takes a right away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>

#include "core/auth/accounts.h"
#include "core/auth/identities.h"
#include "core/auth/label.h"
#include "core/auth/lately.h"
#include "core/auth/marks.h"
#include "core/auth/repos.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/store/db_internal.h"
#include "tests/unit/folder.h"

struct place {
	char dir[64];
	struct wr_db *db;
	struct wr_account owner, other;
	struct wr_secret_text owner_key, other_key;
};

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static int open_place(void **state)
{
	struct place *p = calloc(1, sizeof *p);

	new_folder(p->dir, sizeof p->dir, "test_auth");
	assert_int_equal(wr_db_open(&p->db, p->dir, NULL), WR_OK);
	assert_int_equal(wr_account_create(&p->owner, &p->owner_key, p->db, WR_S("owner"), NULL), WR_OK);
	assert_int_equal(wr_account_create(&p->other, &p->other_key, p->db, WR_S("other"), NULL), WR_OK);
	*state = p;
	return 0;
}

static int close_place(void **state)
{
	struct place *p = *state;

	wr_db_close(p->db);
	nftw(p->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(p);
	return 0;
}

static enum wr_code call(struct wr_caller *out, struct place *p, enum wr_credential_kind kind, const char *secret)
{
	struct wr_credential cred = {kind, wr_str(secret)};

	return wr_access_caller(out, p->db, &cred, NULL);
}

static enum wr_code call_any(struct wr_caller *out, struct place *p, const char *secret)
{
	return call(out, p, WR_CRED_KEY_OR_TOKEN, secret);
}

static struct wr_repo make_repo(struct place *p, const struct wr_account *account, const char *name, bool public_)
{
	struct wr_repo_new new = {wr_str(name), public_, WR_S("main")};
	struct wr_repo repo;

	assert_int_equal(wr_repo_create(&repo, p->db, account->id, &new, NULL), WR_OK);
	return repo;
}

static struct wr_identity make_identity(struct place *p, const struct wr_account *account)
{
	struct wr_identity identity;

	assert_int_equal(wr_identity_create(&identity, p->db, account->id, NULL), WR_OK);
	return identity;
}

struct token {
	char id[WR_UUID_LEN + 1];
	char secret[WR_SECRET_LEN + 1];
};

static struct token make_token(struct place *p, const struct wr_account *account, const char *identity, bool read_only,
			       int64_t lifetime_ms)
{
	struct wr_token_new new = {{NULL, 0}, read_only, lifetime_ms};
	struct token t;

	assert_int_equal(wr_token_create(t.id, t.secret, p->db, account->id, wr_str(identity), &new, NULL), WR_OK);
	return t;
}

static void grant(struct place *p, const char *identity, const char *repo, enum wr_level level)
{
	assert_int_equal(wr_grant_create(p->db, p->owner.id, wr_str(identity), wr_str(repo), level, NULL), WR_OK);
}

static void credentials_are_told_apart(void **state)
{
	struct place *p = *state;
	struct wr_identity identity = make_identity(p, &p->owner);
	struct token token = make_token(p, &p->owner, identity.id, false, 0);
	char changed[WR_SECRET_LEN + 1];
	struct wr_caller c;

	assert_int_equal(call(&c, p, WR_CRED_NONE, NULL), WR_OK);
	assert_int_equal(c.kind, WR_ANONYMOUS);
	assert_string_equal(c.account_id, "");

	assert_int_equal(call_any(&c, p, p->owner_key.z), WR_OK);
	assert_int_equal(c.kind, WR_BY_KEY);
	assert_string_equal(c.account_id, p->owner.id);
	assert_string_equal(c.identity_id, "");

	assert_int_equal(call_any(&c, p, token.secret), WR_OK);
	assert_int_equal(c.kind, WR_BY_TOKEN);
	assert_string_equal(c.account_id, p->owner.id);
	assert_string_equal(c.identity_id, identity.id);
	assert_false(c.read_only);

	assert_int_equal(call(&c, p, WR_CRED_TOKEN, token.secret), WR_OK);
	assert_int_equal(call(&c, p, WR_CRED_TOKEN, p->owner_key.z), WR_E_UNAUTHORIZED);
	assert_int_equal(call(&c, p, WR_CRED_UNREADABLE, p->owner_key.z), WR_E_UNAUTHORIZED);
	assert_int_equal(call_any(&c, p, ""), WR_E_UNAUTHORIZED);
	assert_int_equal(call_any(&c, p, "wrk_"), WR_E_UNAUTHORIZED);
	assert_int_equal(call_any(&c, p, identity.id), WR_E_UNAUTHORIZED);
	/* One character too many, one too few, another one, the other prefix. */
	memcpy(changed, p->owner_key.z, sizeof changed);
	changed[20] = changed[20] == 'x' ? 'y' : 'x';
	assert_int_equal(call_any(&c, p, changed), WR_E_UNAUTHORIZED);
	memcpy(changed, p->owner_key.z, sizeof changed);
	changed[2] = 't';
	assert_int_equal(call_any(&c, p, changed), WR_E_UNAUTHORIZED);
	memcpy(changed, p->owner_key.z, sizeof changed);
	changed[WR_SECRET_LEN - 1] = '\0';
	assert_int_equal(call_any(&c, p, changed), WR_E_UNAUTHORIZED);
}

static void secrets_have_their_form(void **state)
{
	char a[WR_SECRET_LEN + 1], b[WR_SECRET_LEN + 1];

	(void)state;
	wr_secret_new(a, WR_SECRET_KEY);
	wr_secret_new(b, WR_SECRET_TOKEN);
	assert_memory_equal(a, "wrk_", 4);
	assert_memory_equal(b, "wrt_", 4);
	assert_string_not_equal(a + 4, b + 4);
	assert_int_equal(wr_secret_form(wr_str(a)), WR_SECRET_KEY);
	assert_int_equal(wr_secret_form(wr_str(b)), WR_SECRET_TOKEN);
	a[10] = '-';
	assert_int_equal(wr_secret_form(wr_str(a)), WR_SECRET_NONE);
	assert_int_equal(wr_secret_form(wr_str_n(b, WR_SECRET_LEN - 1)), WR_SECRET_NONE);
}

/* The refusal's words must not tell a revoked credential from one that never was. */
static void all_refusals_look_alike(void **state)
{
	struct place *p = *state;
	WR_AUTO_S(wr_error) a = WR_ERROR_INIT;
	WR_AUTO_S(wr_error) b = WR_ERROR_INIT;
	struct wr_credential never = {WR_CRED_KEY_OR_TOKEN, WR_S("wrk_0123456789012345678901234567890123456789012")};
	struct wr_credential rubbish = {WR_CRED_KEY_OR_TOKEN, WR_S("rubbish")};
	struct wr_caller c;

	assert_int_equal(wr_secret_form(never.secret), WR_SECRET_KEY);
	assert_int_equal(wr_access_caller(&c, p->db, &never, &a), WR_E_UNAUTHORIZED);
	assert_int_equal(wr_access_caller(&c, p->db, &rubbish, &b), WR_E_UNAUTHORIZED);
	assert_string_equal(wr_error_text(&a), wr_error_text(&b));
	assert_null(a.fields);
	assert_null(b.fields);
}

#define NOT_SEEN WR_LEVEL_NONE

static void check_level(struct place *p, const struct wr_caller *c, const struct wr_repo *repo, bool for_git,
			enum wr_level expected, const char *who)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	enum wr_level level = WR_LEVEL_NONE;
	struct wr_repo found;
	enum wr_code code = wr_access_repo(&found, &level, p->db, c, wr_str(repo->id), for_git, &err);

	if (code != (expected == NOT_SEEN ? WR_E_REPO_NOT_FOUND : WR_OK) || level != expected)
		fail_msg("%s, %s repository, %s: code %d, level %d", who, repo->public_ ? "public" : "private",
			 for_git ? "git" : "rest", code, level);
	if (code == WR_OK) {
		assert_string_equal(found.id, repo->id);
		assert_string_equal(found.account_id, repo->account_id);
		assert_int_equal(found.public_, repo->public_);
	} else {
		assert_string_equal(json_string_value(json_object_get(err.fields, "repoId")), repo->id);
	}
}

static void every_caller_has_its_level(void **state)
{
	struct place *p = *state;
	struct wr_repo private = make_repo(p, &p->owner, NULL, false), public = make_repo(p, &p->owner, NULL, true);
	struct wr_identity reader = make_identity(p, &p->owner), writer = make_identity(p, &p->owner);
	struct wr_identity nobody = make_identity(p, &p->owner), foreign = make_identity(p, &p->other);
	struct {
		const char *who, *secret;
		enum wr_level rest, git_private, git_public; /* rest: of both repositories alike */
	} rows[] = {
		{"anonymous", NULL, NOT_SEEN, NOT_SEEN, WR_LEVEL_READ},
		{"owner's key", p->owner_key.z, WR_LEVEL_ADMIN, WR_LEVEL_ADMIN, WR_LEVEL_ADMIN},
		{"foreign key", p->other_key.z, NOT_SEEN, NOT_SEEN, WR_LEVEL_READ},
		{"reader", NULL, WR_LEVEL_READ, WR_LEVEL_READ, WR_LEVEL_READ},
		{"writer", NULL, WR_LEVEL_WRITE, WR_LEVEL_WRITE, WR_LEVEL_WRITE},
		{"writer of scope read", NULL, WR_LEVEL_READ, WR_LEVEL_READ, WR_LEVEL_READ},
		{"identity without grant", NULL, NOT_SEEN, NOT_SEEN, WR_LEVEL_READ},
		{"foreign identity", NULL, NOT_SEEN, NOT_SEEN, WR_LEVEL_READ},
	};
	struct token tokens[] = {
		make_token(p, &p->owner, reader.id, false, 0), make_token(p, &p->owner, writer.id, false, 0),
		make_token(p, &p->owner, writer.id, true, 0),  make_token(p, &p->owner, nobody.id, false, 0),
		make_token(p, &p->other, foreign.id, false, 0),
	};

	grant(p, reader.id, private.id, WR_LEVEL_READ);
	grant(p, reader.id, public.id, WR_LEVEL_READ);
	grant(p, writer.id, private.id, WR_LEVEL_WRITE);
	grant(p, writer.id, public.id, WR_LEVEL_WRITE);
	for (size_t i = 0; i < WR_ARRAY_LEN(tokens); i++)
		rows[i + 3].secret = tokens[i].secret;
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		struct wr_caller c;

		assert_int_equal(call(&c, p, rows[i].secret ? WR_CRED_KEY_OR_TOKEN : WR_CRED_NONE, rows[i].secret),
				 WR_OK);
		check_level(p, &c, &private, false, rows[i].rest, rows[i].who);
		check_level(p, &c, &public, false, rows[i].rest, rows[i].who);
		check_level(p, &c, &private, true, rows[i].git_private, rows[i].who);
		check_level(p, &c, &public, true, rows[i].git_public, rows[i].who);
	}
}

static void ids_that_lead_nowhere_look_alike(void **state)
{
	struct place *p = *state;
	const char *ids[] = {"", "x", "00000000-0000-0000-0000-000000000000", "12345678-1234-4234-8234-123456789abc",
			     "../../etc/passwd"};
	struct wr_caller c;

	assert_int_equal(call_any(&c, p, p->owner_key.z), WR_OK);
	for (size_t i = 0; i < WR_ARRAY_LEN(ids); i++) {
		WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
		enum wr_level level;
		struct wr_repo repo;

		assert_int_equal(wr_access_repo(&repo, &level, p->db, &c, wr_str(ids[i]), i % 2, &err),
				 WR_E_REPO_NOT_FOUND);
		assert_string_equal(json_string_value(json_object_get(err.fields, "repoId")), ids[i]);
		assert_string_equal(wr_error_text(&err), wr_code_text(WR_E_REPO_NOT_FOUND));
	}
}

/* Capital letters in a path's id are the same id. */
/* The steps that SQLite takes for the access statement: what it costs, without a clock. */
static int steps(sqlite3_stmt *st, const char *repo, const char *account, const char *identity, int for_git)
{
	sqlite3_reset(st);
	sqlite3_stmt_status(st, SQLITE_STMTSTATUS_VM_STEP, 1);
	sqlite3_bind_text(st, 1, repo, -1, SQLITE_TRANSIENT);
	sqlite3_bind_text(st, 2, account, -1, SQLITE_TRANSIENT);
	sqlite3_bind_text(st, 3, identity, -1, SQLITE_TRANSIENT);
	sqlite3_bind_int(st, 4, for_git);
	assert_int_equal(sqlite3_step(st), SQLITE_DONE);
	return sqlite3_stmt_status(st, SQLITE_STMTSTATUS_VM_STEP, 0);
}

static void what_one_may_not_know_costs_what_is_absent_costs(void **state)
{
	static const char *const sql[] = {
#define X(name, text) [SQL_##name] = text,
#include "core/store/statements.def"
#undef X
	};
	struct place *p = *state;
	struct wr_repo foreign = make_repo(p, &p->other, "foreign", false), mine = make_repo(p, &p->owner, "mine", false);
	struct wr_identity identity;
	char path[96], absent[WR_UUID_LEN + 1];
	sqlite3 *sq = NULL;
	sqlite3_stmt *st = NULL;

	assert_int_equal(wr_identity_create(&identity, p->db, p->owner.id, NULL), WR_OK);
	wr_uuid_new(absent);
	snprintf(path, sizeof path, "%s/warren.db", p->dir);
	assert_int_equal(sqlite3_open_v2(path, &sq, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(sq, sql[SQL_ACCESS_REPO], -1, &st, NULL), SQLITE_OK);
	for (int for_git = 0; for_git < 2; for_git++) {
		assert_int_equal(steps(st, foreign.id, p->owner.id, "", for_git), steps(st, absent, p->owner.id, "", for_git));
		assert_int_equal(steps(st, foreign.id, "", "", for_git), steps(st, absent, "", "", for_git));
		assert_int_equal(steps(st, foreign.id, p->owner.id, identity.id, for_git),
				 steps(st, absent, p->owner.id, identity.id, for_git));
		assert_int_equal(steps(st, mine.id, p->owner.id, identity.id, for_git),
				 steps(st, absent, p->owner.id, identity.id, for_git));
	}
	sqlite3_finalize(st);
	sqlite3_close(sq);
}

static void an_id_in_capitals_is_found(void **state)
{
	struct place *p = *state;
	struct wr_repo repo = make_repo(p, &p->owner, "caps", false), found;
	char upper[WR_UUID_LEN + 1];
	enum wr_level level;
	struct wr_caller c;

	for (size_t i = 0; i <= WR_UUID_LEN; i++)
		upper[i] = (char)(repo.id[i] >= 'a' && repo.id[i] <= 'f' ? repo.id[i] - 32 : repo.id[i]);
	assert_int_equal(call_any(&c, p, p->owner_key.z), WR_OK);
	assert_int_equal(wr_access_repo(&found, &level, p->db, &c, wr_str(upper), false, NULL), WR_OK);
	assert_string_equal(found.id, repo.id);
}

static void what_is_taken_away_is_gone_at_once(void **state)
{
	struct place *p = *state;
	struct wr_repo repo = make_repo(p, &p->owner, NULL, false);
	struct wr_identity identity = make_identity(p, &p->owner);
	struct wr_str who = wr_str(identity.id), what = wr_str(repo.id);
	struct token first = make_token(p, &p->owner, identity.id, false, 0);
	struct token second = make_token(p, &p->owner, identity.id, false, 0);
	struct wr_secret_text secret;
	struct wr_caller c, key;
	struct wr_key made;

	/* A grant. */
	assert_int_equal(call_any(&c, p, first.secret), WR_OK);
	check_level(p, &c, &repo, false, NOT_SEEN, "before the grant");
	grant(p, identity.id, repo.id, WR_LEVEL_WRITE);
	check_level(p, &c, &repo, false, WR_LEVEL_WRITE, "granted");
	assert_int_equal(wr_grant_update(p->db, p->owner.id, who, what, WR_LEVEL_READ, NULL), WR_OK);
	check_level(p, &c, &repo, false, WR_LEVEL_READ, "changed");
	assert_int_equal(wr_grant_revoke(p->db, p->owner.id, who, what, NULL), WR_OK);
	check_level(p, &c, &repo, false, NOT_SEEN, "revoked");

	/* A token, then the whole identity. */
	assert_int_equal(wr_token_revoke(p->db, p->owner.id, who, wr_str(first.id), NULL), WR_OK);
	assert_int_equal(call_any(&c, p, first.secret), WR_E_UNAUTHORIZED);
	assert_int_equal(wr_token_revoke(p->db, p->owner.id, who, wr_str(first.id), NULL), WR_E_NOT_FOUND);
	assert_int_equal(call_any(&c, p, second.secret), WR_OK);
	assert_int_equal(wr_identity_delete(p->db, p->owner.id, who, NULL), WR_OK);
	assert_int_equal(call_any(&c, p, second.secret), WR_E_UNAUTHORIZED);
	assert_int_equal(wr_identity_delete(p->db, p->owner.id, who, NULL), WR_E_IDENTITY_NOT_FOUND);

	/* A key, by name; the other goes on. */
	assert_int_equal(wr_key_create(&made, &secret, p->db, p->owner.id, WR_S("second"), NULL), WR_OK);
	assert_int_equal(call_any(&c, p, secret.z), WR_OK);
	assert_int_equal(wr_key_create(&made, &secret, p->db, p->owner.id, WR_S("second"), NULL), WR_E_INVALID_REQUEST);
	assert_int_equal(wr_key_revoke(&made, p->db, p->owner.id, WR_S("default"), NULL), WR_OK);
	assert_int_equal(call_any(&key, p, p->owner_key.z), WR_E_UNAUTHORIZED);
	assert_int_equal(call_any(&key, p, secret.z), WR_OK);

	/* The repository. */
	check_level(p, &key, &repo, false, WR_LEVEL_ADMIN, "owner");
	assert_int_equal(wr_repo_delete(p->db, p->owner.id, repo.id, NULL), WR_OK);
	check_level(p, &key, &repo, false, NOT_SEEN, "owner of a deleted one");
	assert_int_equal(wr_repo_delete(p->db, p->owner.id, repo.id, NULL), WR_E_REPO_NOT_FOUND);
}

/* What a request may that began long ago. */
static void a_long_request_is_asked_again(void **state)
{
	struct place *p = *state;
	struct wr_repo repo = make_repo(p, &p->owner, NULL, true);
	struct wr_identity identity = make_identity(p, &p->owner);
	struct wr_str who = wr_str(identity.id), what = wr_str(repo.id);
	struct token token = make_token(p, &p->owner, identity.id, false, 0);
	struct token reading = make_token(p, &p->owner, identity.id, true, 0);
	struct wr_caller by_token, by_reading, by_key, nobody;
	struct wr_key made;

	assert_int_equal(call_any(&by_token, p, token.secret), WR_OK);
	assert_int_equal(call_any(&by_reading, p, reading.secret), WR_OK);
	assert_int_equal(call_any(&by_key, p, p->owner_key.z), WR_OK);
	assert_int_equal(call(&nobody, p, WR_CRED_NONE, ""), WR_OK);
	grant(p, identity.id, repo.id, WR_LEVEL_WRITE);
	assert_int_equal(wr_access_again(p->db, &by_token, repo.id, true, WR_LEVEL_WRITE, NULL), WR_OK);
	assert_int_equal(wr_access_again(p->db, &by_reading, repo.id, true, WR_LEVEL_READ, NULL), WR_OK);
	assert_int_equal(wr_access_again(p->db, &by_reading, repo.id, true, WR_LEVEL_WRITE, NULL),
			 WR_E_REPO_ACCESS_DENIED);
	assert_int_equal(wr_access_again(p->db, &by_key, repo.id, true, WR_LEVEL_ADMIN, NULL), WR_OK);
	assert_int_equal(wr_access_again(p->db, &nobody, repo.id, true, WR_LEVEL_READ, NULL), WR_OK);
	assert_int_equal(wr_access_again(p->db, &nobody, repo.id, true, WR_LEVEL_WRITE, NULL), WR_E_REPO_ACCESS_DENIED);
	assert_int_equal(wr_grant_update(p->db, p->owner.id, who, what, WR_LEVEL_READ, NULL), WR_OK);
	assert_int_equal(wr_access_again(p->db, &by_token, repo.id, true, WR_LEVEL_WRITE, NULL),
			 WR_E_REPO_ACCESS_DENIED);
	assert_int_equal(wr_grant_revoke(p->db, p->owner.id, who, what, NULL), WR_OK);
	assert_int_equal(wr_access_again(p->db, &by_token, repo.id, false, WR_LEVEL_WRITE, NULL), WR_E_REPO_NOT_FOUND);
	grant(p, identity.id, repo.id, WR_LEVEL_WRITE);
	assert_int_equal(wr_token_revoke(p->db, p->owner.id, who, wr_str(token.id), NULL), WR_OK);
	assert_int_equal(wr_access_again(p->db, &by_token, repo.id, true, WR_LEVEL_WRITE, NULL), WR_E_UNAUTHORIZED);
	assert_int_equal(wr_key_revoke(&made, p->db, p->owner.id, WR_S("default"), NULL), WR_OK);
	assert_int_equal(wr_access_again(p->db, &by_key, repo.id, true, WR_LEVEL_WRITE, NULL), WR_E_UNAUTHORIZED);
	assert_int_equal(wr_repo_delete(p->db, p->owner.id, repo.id, NULL), WR_OK);
	assert_int_equal(wr_access_again(p->db, &nobody, repo.id, true, WR_LEVEL_READ, NULL), WR_E_REPO_NOT_FOUND);
}

static void a_token_expires(void **state)
{
	struct place *p = *state;
	struct wr_identity identity = make_identity(p, &p->owner);
	struct token kept = make_token(p, &p->owner, identity.id, false, 3600000);
	struct token t = make_token(p, &p->owner, identity.id, false, 1);
	int64_t deadline = wr_mono_ms() + 30000;
	struct wr_caller c;

	while (call_any(&c, p, t.secret) == WR_OK) {
		assert_true(wr_mono_ms() < deadline);
		sched_yield();
	}
	assert_int_equal(call_any(&c, p, t.secret), WR_E_UNAUTHORIZED);
	assert_int_equal(wr_token_revoke(p->db, p->owner.id, wr_str(identity.id), wr_str(t.id), NULL), WR_E_NOT_FOUND);
	assert_int_equal(call_any(&c, p, kept.secret), WR_OK);
}

/* Another process as far as this one can tell: a connection of its own. */
static void write_beside(struct place *p, const char *sql)
{
	char path[128];
	sqlite3 *sq;

	snprintf(path, sizeof path, "%s/warren.db", p->dir);
	assert_int_equal(sqlite3_open(path, &sq), SQLITE_OK);
	assert_int_equal(sqlite3_exec(sq, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(sq), SQLITE_OK);
}

static void what_was_found_is_kept_until_somebody_writes(void **state)
{
	struct place *p = *state;
	struct wr_repo repo = make_repo(p, &p->owner, "kept", false);
	struct wr_identity identity = make_identity(p, &p->owner);
	struct token token = make_token(p, &p->owner, identity.id, false, 200);
	int64_t deadline = wr_mono_ms() + 30000;
	struct wr_db_stamp first, then;
	struct wr_caller by_key, by_token, c;
	enum wr_level level;
	struct wr_repo got;

	assert_int_equal(call_any(&by_token, p, token.secret), WR_OK);
	/* That the token was used is noted meanwhile. */
	do {
		assert_true(wr_mono_ms() < deadline);
		assert_int_equal(call_any(&by_key, p, p->owner_key.z), WR_OK);
		assert_int_equal(wr_access_repo(&got, &level, p->db, &by_key, wr_str(repo.id), false, NULL), WR_OK);
		assert_true(wr_db_stamp(&first, p->db));
	} while (!wr_lately_caller(&first, by_key.hash) || !wr_lately_repo(&first, &by_key, repo.id, false) ||
		 !wr_db_stamp_eq(&first, &by_key.since));
	assert_int_equal(wr_access_again(p->db, &by_key, repo.id, false, WR_LEVEL_ADMIN, NULL), WR_OK);
	assert_null(wr_lately_repo(&first, &by_token, repo.id, false));
	assert_null(wr_lately_repo(&first, &by_key, repo.id, true));
	/* A token ends without anything being written: what is kept of it does not outlive it. */
	while (call_any(&c, p, token.secret) == WR_OK) {
		assert_true(wr_mono_ms() < deadline);
		sched_yield();
	}
	write_beside(p, "UPDATE repo SET visibility = 'public'");
	assert_true(wr_db_stamp(&then, p->db));
	assert_false(wr_db_stamp_eq(&first, &then));
	assert_null(wr_lately_caller(&then, by_key.hash));
	assert_int_equal(wr_access_repo(&got, &level, p->db, &by_key, wr_str(repo.id), false, NULL), WR_OK);
	assert_true(got.public_);
	assert_int_equal(call_any(&c, p, p->owner_key.z), WR_OK);
	write_beside(p, "DELETE FROM api_key");
	assert_int_equal(call_any(&c, p, p->owner_key.z), WR_E_UNAUTHORIZED);
	assert_int_equal(wr_access_again(p->db, &by_key, repo.id, false, WR_LEVEL_ADMIN, NULL), WR_E_UNAUTHORIZED);
	write_beside(p, "UPDATE repo SET state = 'deleting'");
	assert_int_equal(wr_access_repo(&got, &level, p->db, &by_key, wr_str(repo.id), false, NULL),
			 WR_E_REPO_NOT_FOUND);
}

struct seen {
	size_t n;
	char ids[8][WR_UUID_LEN + 1];
	int64_t last_used_ms, expires_ms;
	char description[64];
	bool read_only;
};

static enum wr_code see_token(void *arg, const struct wr_token *token, struct wr_error *err)
{
	struct seen *s = arg;

	(void)err;
	assert_true(s->n < 8);
	memcpy(s->ids[s->n++], token->id, sizeof token->id);
	s->last_used_ms = token->last_used_ms;
	s->expires_ms = token->expires_ms;
	s->read_only = token->read_only;
	if (token->description.ptr)
		snprintf(s->description, sizeof s->description, "%.*s", (int)token->description.len,
			 token->description.ptr);
	else
		snprintf(s->description, sizeof s->description, "(none)");
	return WR_OK;
}

static struct seen look(struct place *p, const char *identity, const char *token)
{
	struct seen s = {.n = 0};

	assert_int_equal(wr_token_get(p->db, p->owner.id, wr_str(identity), wr_str(token), see_token, &s, NULL), WR_OK);
	return s;
}

static void a_use_is_noted_off_the_path(void **state)
{
	struct place *p = *state;
	struct wr_identity identity = make_identity(p, &p->owner);
	struct token t = make_token(p, &p->owner, identity.id, false, 0);
	int64_t deadline = wr_mono_ms() + 30000, first;
	struct wr_caller c;

	assert_int_equal(look(p, identity.id, t.id).last_used_ms, 0);
	assert_int_equal(call_any(&c, p, t.secret), WR_OK);
	while ((first = look(p, identity.id, t.id).last_used_ms) == 0) {
		assert_true(wr_mono_ms() < deadline);
		sched_yield();
	}
	assert_in_range(first, wr_now_ms() - 40000, wr_now_ms());
	/* Within the minute nothing more is written. What is, would be before the creation that follows. */
	for (int i = 0; i < 50; i++)
		assert_int_equal(call_any(&c, p, t.secret), WR_OK);
	make_identity(p, &p->owner);
	assert_int_equal(look(p, identity.id, t.id).last_used_ms, first);
}

static void tokens_are_listed_oldest_first(void **state)
{
	struct place *p = *state;
	struct wr_identity identity = make_identity(p, &p->owner);
	struct wr_str who = wr_str(identity.id);
	struct wr_token_new new = {WR_S("for the build"), true, 60000};
	struct token a = make_token(p, &p->owner, identity.id, false, 0), b;
	struct seen s = {.n = 0};

	assert_int_equal(wr_token_create(b.id, b.secret, p->db, p->owner.id, who, &new, NULL), WR_OK);
	assert_int_equal(wr_token_list(p->db, p->owner.id, who, see_token, &s, NULL), WR_OK);
	assert_int_equal(s.n, 2);
	assert_string_equal(s.ids[0], a.id);
	assert_string_equal(s.ids[1], b.id);
	assert_string_equal(s.description, "for the build");
	assert_true(s.read_only);
	assert_in_range(s.expires_ms, wr_now_ms(), wr_now_ms() + 60000);
	s = look(p, identity.id, a.id);
	assert_string_equal(s.description, "(none)");
	assert_false(s.read_only);
	assert_int_equal(s.expires_ms, 0);
	assert_int_equal(wr_token_list(p->db, p->other.id, who, see_token, &s, NULL), WR_E_IDENTITY_NOT_FOUND);
	assert_int_equal(wr_token_get(p->db, p->owner.id, who, WR_S("x"), see_token, &s, NULL), WR_E_NOT_FOUND);
	assert_int_equal(wr_token_list(p->db, p->owner.id, WR_S("x"), see_token, &s, NULL), WR_E_IDENTITY_NOT_FOUND);
}

/* No account reaches the rows of another, whatever it names. */
static void grants_stay_within_an_account(void **state)
{
	struct place *p = *state;
	struct wr_repo mine = make_repo(p, &p->owner, NULL, false), theirs = make_repo(p, &p->other, NULL, true);
	struct wr_identity identity = make_identity(p, &p->owner), foreign = make_identity(p, &p->other);
	struct wr_str who = wr_str(identity.id);
	struct wr_db *db = p->db;
	const char *me = p->owner.id;
	struct wr_grant g;

	assert_int_equal(wr_grant_create(db, me, who, wr_str(theirs.id), WR_LEVEL_READ, NULL), WR_E_GIT_REPO_NOT_FOUND);
	assert_int_equal(wr_grant_create(db, me, wr_str(foreign.id), wr_str(mine.id), WR_LEVEL_READ, NULL),
			 WR_E_IDENTITY_NOT_FOUND);
	assert_int_equal(wr_grant_create(db, p->other.id, who, wr_str(mine.id), WR_LEVEL_READ, NULL),
			 WR_E_IDENTITY_NOT_FOUND);
	assert_int_equal(wr_identity_delete(db, me, wr_str(foreign.id), NULL), WR_E_IDENTITY_NOT_FOUND);
	assert_int_equal(wr_grant_get(&g, db, me, who, wr_str(theirs.id), NULL), WR_E_GIT_REPO_NOT_FOUND);
	assert_int_equal(wr_repo_delete(db, me, theirs.id, NULL), WR_E_REPO_NOT_FOUND);
	assert_int_equal(wr_repo_set_visibility(db, me, theirs.id, false, NULL), WR_E_REPO_NOT_FOUND);
	assert_int_equal(wr_repo_set_default_branch(db, me, theirs.id, WR_S("x"), NULL), WR_E_REPO_NOT_FOUND);

	assert_int_equal(wr_grant_get(&g, db, me, who, wr_str(mine.id), NULL), WR_OK);
	assert_int_equal(g.level, WR_LEVEL_NONE);
	assert_int_equal(wr_grant_update(db, me, who, wr_str(mine.id), WR_LEVEL_READ, NULL), WR_E_PERMISSION_NOT_FOUND);
	assert_int_equal(wr_grant_revoke(db, me, who, wr_str(mine.id), NULL), WR_E_PERMISSION_NOT_FOUND);
	grant(p, identity.id, mine.id, WR_LEVEL_READ);
	assert_int_equal(wr_grant_create(db, me, who, wr_str(mine.id), WR_LEVEL_WRITE, NULL), WR_E_PERMISSION_EXISTS);
	assert_int_equal(wr_grant_get(&g, db, me, who, wr_str(mine.id), NULL), WR_OK);
	assert_int_equal(g.level, WR_LEVEL_READ);
	assert_string_equal(g.identity_id, identity.id);
	assert_string_equal(g.repo.id, mine.id);
	/* The repository's deletion takes its grants along. */
	assert_int_equal(wr_repo_delete(db, me, mine.id, NULL), WR_OK);
	assert_int_equal(wr_grant_get(&g, db, me, who, wr_str(mine.id), NULL), WR_E_GIT_REPO_NOT_FOUND);
}

static enum wr_code see_grant(void *arg, const struct wr_grant *g, struct wr_error *err)
{
	struct seen *s = arg;

	(void)err;
	memcpy(s->ids[s->n++], g->repo.id, sizeof g->repo.id);
	return WR_OK;
}

static enum wr_code see_identity(void *arg, const struct wr_identity *identity, struct wr_error *err)
{
	struct seen *s = arg;

	(void)err;
	memcpy(s->ids[s->n++], identity->id, sizeof identity->id);
	return WR_OK;
}

static void pages_and_totals(void **state)
{
	struct place *p = *state;
	struct wr_identity identities[3];
	struct wr_repo repos[3];
	struct wr_page page = {2, 0, 0};
	struct seen s = {.n = 0};

	for (int i = 0; i < 3; i++) {
		identities[i] = make_identity(p, &p->owner);
		repos[i] = make_repo(p, &p->owner, NULL, false);
		grant(p, identities[0].id, repos[i].id, WR_LEVEL_READ);
	}
	make_identity(p, &p->other);
	assert_int_equal(wr_identity_list(p->db, p->owner.id, false, &page, see_identity, &s, NULL), WR_OK);
	assert_int_equal(s.n, 2);
	assert_int_equal(page.total, 3);
	assert_string_equal(s.ids[0], identities[2].id);
	assert_string_equal(s.ids[1], identities[1].id);
	page = (struct wr_page){2, 2, 0};
	s.n = 0;
	assert_int_equal(wr_grant_list(p->db, p->owner.id, wr_str(identities[0].id), &page, see_grant, &s, NULL),
			 WR_OK);
	assert_int_equal(s.n, 1);
	assert_int_equal(page.total, 3);
	assert_string_equal(s.ids[0], repos[0].id);
	page = (struct wr_page){0, UINT64_MAX, 0};
	s.n = 0;
	assert_int_equal(wr_identity_list(p->db, p->owner.id, true, &page, see_identity, &s, NULL), WR_OK);
	assert_int_equal(s.n, 0);
	assert_int_equal(page.total, 3);
}

static size_t search(struct place *p, const struct wr_caller *c, const char *text, uint64_t *total)
{
	struct wr_repo found[16];
	size_t n = 0;

	assert_int_equal(wr_repo_list(found, &n, total, p->db, c, wr_str(text), 16, 0, NULL), WR_OK);
	assert_int_equal(n, *total);
	return n;
}

static void the_search_ignores_case_and_has_no_wildcards(void **state)
{
	struct place *p = *state;
	struct wr_repo repo = make_repo(p, &p->owner, "Web_Site 100%", false);
	struct wr_identity identity = make_identity(p, &p->owner);
	struct token t = make_token(p, &p->owner, identity.id, false, 0);
	struct wr_caller owner, other, granted;
	struct wr_repo found[2];
	uint64_t total;
	char part[9];
	size_t n;

	make_repo(p, &p->owner, "stra\xc3\x9f" "E \xc3\x84gypten \xce\xa3\xce\x91\xce\xa3", false);
	make_repo(p, &p->owner, NULL, false);
	make_repo(p, &p->other, "web", true);
	assert_int_equal(call_any(&owner, p, p->owner_key.z), WR_OK);
	assert_int_equal(call_any(&other, p, p->other_key.z), WR_OK);
	assert_int_equal(call_any(&granted, p, t.secret), WR_OK);
	assert_int_equal(search(p, &owner, "", &total), 3);
	assert_int_equal(search(p, &owner, "WEB_s", &total), 1);
	assert_int_equal(search(p, &owner, "100%", &total), 1);
	assert_int_equal(search(p, &owner, "%", &total), 1);
	assert_int_equal(search(p, &owner, "_", &total), 1);
	assert_int_equal(search(p, &owner, "w%b", &total), 0);
	assert_int_equal(search(p, &owner, "\xc3\xa4GYP", &total), 1);
	/* Both small sigmas are the capital one. */
	assert_int_equal(search(p, &owner, "\xcf\x83\xce\xb1\xcf\x82", &total), 1);
	assert_int_equal(search(p, &owner, "\xff", &total), 0);
	assert_int_equal(search(p, &other, "web", &total), 1);
	snprintf(part, sizeof part, "%.8s", repo.id);
	assert_int_equal(search(p, &owner, part, &total), 1);
	assert_int_equal(search(p, &other, part, &total), 0);
	/* An identity finds what it was granted. */
	assert_int_equal(search(p, &granted, "", &total), 0);
	grant(p, identity.id, repo.id, WR_LEVEL_READ);
	assert_int_equal(search(p, &granted, "site", &total), 1);
	assert_int_equal(search(p, &granted, "gypten", &total), 0);
	/* Newest first, one page at a time. */
	assert_int_equal(wr_repo_list(found, &n, &total, p->db, &owner, wr_str(""), 2, 2, NULL), WR_OK);
	assert_int_equal(n, 1);
	assert_int_equal(total, 3);
	assert_string_equal(found[0].id, repo.id);
	assert_string_equal(found[0].name, "Web_Site 100%");
}

/* Rows by their seq: the first account's are those with a 1 in own. */
#define MANY 5000
struct crowd {
	struct place *p;
	unsigned seed;
	bool own[MANY], live[MANY];
	char ids[MANY][WR_UUID_LEN + 1];
};

static enum wr_code crowd_in(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	struct crowd *c = arg;
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < MANY && code == WR_OK; i++) {
		wr_uuid_new(c->ids[i]);
		c->own[i] = rand_r(&c->seed) % 3;
		c->live[i] = true;
		code = wr_tx_run(tx, SQL_REPO_ADD, err, NULL, "ssssssi", c->ids[i],
				 c->own[i] ? c->p->owner.id : c->p->other.id, NULL, NULL, "private", "main", (int64_t)i);
	}
	return code;
}

/* One whole block of seq, and others here and there. */
static enum wr_code crowd_out(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	struct crowd *c = arg;
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < MANY && code == WR_OK; i++) {
		const char *account = c->own[i] ? c->p->owner.id : c->p->other.id;

		if (rand_r(&c->seed) % 4 && (i < 2000 || i >= 4000))
			continue;
		c->live[i] = false;
		code = wr_tx_run(tx, SQL_REPO_DELETE, err, NULL, "ss", account, c->ids[i]);
		if (code == WR_OK && i % 2)
			code = wr_tx_run(tx, SQL_REPO_PURGE, err, NULL, "ss", account, c->ids[i]);
	}
	return code;
}

static void same_list(struct crowd *c, const struct wr_caller *caller, uint64_t offset)
{
	struct wr_repo found[7];
	uint64_t total, live = 0;
	size_t n, got = 0;

	assert_int_equal(wr_repo_list(found, &n, &total, c->p->db, caller, wr_str(""), 7, offset, NULL), WR_OK);
	for (size_t i = MANY; i-- > 0;) {
		if (!c->own[i] || !c->live[i])
			continue;
		if (live >= offset && live - offset < 7)
			assert_string_equal(found[got++].id, c->ids[i]);
		live++;
	}
	assert_int_equal(total, live);
	assert_int_equal(n, got);
}

static void a_long_list_has_the_same_pages_wherever_they_begin(void **state)
{
	struct place *p = *state;
	struct crowd *c = calloc(1, sizeof *c);
	struct wr_caller owner;

	assert_non_null(c);
	c->p = p;
	c->seed = (unsigned)wr_mono_ms();
	print_message("seed %u\n", c->seed);
	assert_int_equal(call_any(&owner, p, p->owner_key.z), WR_OK);
	same_list(c, &owner, 0);
	assert_int_equal(wr_db_write(p->db, WR_DB_FULL, crowd_in, c, NULL), WR_OK);
	for (int i = 0; i < 50; i++)
		same_list(c, &owner, (uint64_t)rand_r(&c->seed) % MANY);
	assert_int_equal(wr_db_write(p->db, WR_DB_FULL, crowd_out, c, NULL), WR_OK);
	for (int i = 0; i < 50; i++)
		same_list(c, &owner, (uint64_t)rand_r(&c->seed) % MANY);
	same_list(c, &owner, UINT64_MAX);
	free(c);
}

static void repositories_keep_their_settings(void **state)
{
	struct place *p = *state;
	struct wr_repo repo = make_repo(p, &p->owner, NULL, false), got;

	assert_int_equal(wr_repo_set_visibility(p->db, p->owner.id, repo.id, true, NULL), WR_OK);
	assert_int_equal(wr_repo_set_default_branch(p->db, p->owner.id, repo.id, WR_S("trunk"), NULL), WR_OK);
	assert_int_equal(wr_repo_get(&got, p->db, p->owner.id, wr_str(repo.id), NULL), WR_OK);
	assert_true(got.public_);
	assert_false(got.has_name);
	assert_string_equal(got.default_branch, "trunk");
	assert_int_equal(got.created_ms, repo.created_ms);
	assert_int_equal(wr_repo_get(&got, p->db, p->other.id, wr_str(repo.id), NULL), WR_E_REPO_NOT_FOUND);
}

static void a_deleted_account_waits_for_its_folders(void **state)
{
	struct place *p = *state;
	struct wr_repo repo = make_repo(p, &p->owner, NULL, true);
	struct wr_identity identity = make_identity(p, &p->owner);
	struct token t = make_token(p, &p->owner, identity.id, false, 0);
	struct wr_doomed doomed[4];
	struct wr_account again;
	struct wr_secret_text key;
	struct wr_caller c;
	bool there = false;
	size_t n;

	grant(p, identity.id, repo.id, WR_LEVEL_WRITE);
	assert_int_equal(wr_account_delete(p->db, p->owner.id, false, NULL), WR_E_INVALID_REQUEST);
	assert_int_equal(call_any(&c, p, p->owner_key.z), WR_OK);
	assert_int_equal(wr_account_delete(p->db, p->owner.id, true, NULL), WR_OK);
	assert_int_equal(call_any(&c, p, p->owner_key.z), WR_E_UNAUTHORIZED);
	assert_int_equal(call_any(&c, p, t.secret), WR_E_UNAUTHORIZED);
	assert_int_equal(call(&c, p, WR_CRED_NONE, NULL), WR_OK);
	check_level(p, &c, &repo, true, NOT_SEEN, "anonymous after the account's end");
	assert_int_equal(wr_account_find(&again, p->db, WR_S("owner"), NULL), WR_E_NOT_FOUND);
	assert_int_equal(wr_account_delete(p->db, p->owner.id, true, NULL), WR_E_NOT_FOUND);
	/* The name is free; the folder is not forgotten. */
	assert_int_equal(wr_account_create(&again, &key, p->db, WR_S("owner"), NULL), WR_OK);
	assert_int_equal(wr_repo_doomed(doomed, &n, p->db, NULL, 0, 4, NULL), WR_OK);
	assert_int_equal(n, 1);
	assert_string_equal(doomed[0].id, repo.id);
	assert_int_equal(wr_repo_there(&there, p->db, p->owner.id, repo.id, NULL), WR_OK);
	assert_true(there);
	assert_int_equal(wr_repo_purge(p->db, doomed, 1, NULL), WR_OK);
	assert_int_equal(wr_repo_there(&there, p->db, p->owner.id, repo.id, NULL), WR_OK);
	assert_false(there);
	assert_int_equal(wr_repo_doomed(doomed, &n, p->db, NULL, 0, 4, NULL), WR_OK);
	assert_int_equal(n, 0);
	/* A live one is never purged. */
	repo = make_repo(p, &again, NULL, false);
	memcpy(doomed[0].id, repo.id, sizeof doomed[0].id);
	memcpy(doomed[0].account_id, again.id, sizeof doomed[0].account_id);
	assert_int_equal(wr_repo_purge(p->db, doomed, 1, NULL), WR_OK);
	assert_int_equal(wr_repo_get(&repo, p->db, again.id, wr_str(repo.id), NULL), WR_OK);
}

/* Marks. */

struct step {
	const char *id, *token;
	uint64_t from, to, event_seq;
	bool mine;
};

static enum wr_code set_mark(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	struct step *s = arg;

	return wr_mark_set(&s->event_seq, tx, s->id, s->token, err);
}

static enum wr_code advance(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	struct step *s = arg;

	return wr_mark_advance(&s->mine, &s->event_seq, tx, s->id, s->from, s->to, err);
}

static void mark(struct place *p, const char *id, const char *token, uint64_t event_seq)
{
	struct step s = {.id = id, .token = token};

	assert_int_equal(wr_db_write(p->db, WR_DB_FULL, set_mark, &s, NULL), WR_OK);
	assert_true(s.event_seq == event_seq);
}

static void check_advance(struct place *p, const char *id, uint64_t from, uint64_t to, bool mine, uint64_t event_seq)
{
	struct step s = {.id = id, .from = from, .to = to};

	assert_int_equal(wr_db_write(p->db, WR_DB_FULL, advance, &s, NULL), WR_OK);
	assert_int_equal(s.mine, mine);
	assert_true(s.event_seq == event_seq);
}

static size_t count_marked(struct place *p)
{
	char id[WR_UUID_LEN + 1], after[WR_UUID_LEN + 1] = "";
	size_t n = 0;

	for (; wr_mark_next(id, p->db, after, NULL) == WR_OK; n++) {
		assert_true(strcmp(id, after) > 0);
		memcpy(after, id, sizeof after);
	}
	return n;
}

static void marks_and_sequences(void **state)
{
	struct place *p = *state;
	struct wr_repo one = make_repo(p, &p->owner, NULL, false), two = make_repo(p, &p->other, NULL, true);

	assert_int_equal(count_marked(p), 0);
	mark(p, one.id, "first", 0);
	mark(p, two.id, "second", 0);
	assert_int_equal(count_marked(p), 2);
	check_advance(p, one.id, 0, 7, true, 7);
	check_advance(p, one.id, 0, 8, false, 7);
	check_advance(p, one.id, 7, 9, true, 9);
	mark(p, one.id, "third", 9);
	/* Only its own mark goes. */
	assert_int_equal(wr_mark_clear(p->db, one.id, "first", NULL), WR_OK);
	assert_int_equal(count_marked(p), 2);
	assert_int_equal(wr_mark_clear(p->db, one.id, "third", NULL), WR_OK);
	assert_int_equal(count_marked(p), 1);
	mark(p, "12345678-1234-4234-8234-123456789abc", "x", WR_MARK_GONE);
	check_advance(p, "12345678-1234-4234-8234-123456789abc", 0, 1, false, WR_MARK_GONE);
}

/* Whoever deletes it: nobody wants its events any more. */
static void deletion_takes_the_mark(void **state)
{
	struct place *p = *state;
	struct wr_repo one = make_repo(p, &p->owner, NULL, false), two = make_repo(p, &p->owner, NULL, false);

	mark(p, one.id, "x", 0);
	mark(p, two.id, "y", 0);
	assert_int_equal(wr_repo_delete(p->db, p->owner.id, one.id, NULL), WR_OK);
	assert_int_equal(count_marked(p), 1);
	mark(p, one.id, "x", WR_MARK_GONE);
	check_advance(p, one.id, 0, 1, false, WR_MARK_GONE);
	assert_int_equal(wr_account_delete(p->db, p->owner.id, true, NULL), WR_OK);
	assert_int_equal(count_marked(p), 0);
	mark(p, two.id, "y", WR_MARK_GONE);
}

static enum wr_code make_creating(struct wr_tx *tx, void *id, struct wr_error *err)
{
	char *sql = sqlite3_mprintf("UPDATE repo SET state = 'creating', mark = 'x' WHERE id = %Q", id);
	int rc = sqlite3_exec(tx->sq, sql, NULL, NULL, NULL);

	sqlite3_free(sql);
	return rc == SQLITE_OK ? WR_OK : wr_fail(err, WR_E_INTERNAL, "update: %d", rc);
}

static void creations_that_were_cut_off_are_doomed(void **state)
{
	struct place *p = *state;
	struct wr_repo live = make_repo(p, &p->owner, NULL, false), cut = make_repo(p, &p->owner, NULL, false);
	struct wr_doomed doomed[4];
	struct wr_repo got;
	size_t n = 0;

	assert_int_equal(wr_db_write(p->db, WR_DB_FULL, make_creating, cut.id, NULL), WR_OK);
	assert_int_equal(wr_repo_get(&got, p->db, p->owner.id, wr_str(cut.id), NULL), WR_E_REPO_NOT_FOUND);
	assert_int_equal(wr_repo_abandon_creations(p->db, NULL), WR_OK);
	assert_int_equal(wr_repo_doomed(doomed, &n, p->db, NULL, 0, 4, NULL), WR_OK);
	assert_int_equal(n, 1);
	assert_string_equal(doomed[0].id, cut.id);
	assert_int_equal(count_marked(p), 0);
	assert_int_equal(wr_repo_get(&got, p->db, p->owner.id, wr_str(live.id), NULL), WR_OK);
}

static void the_default_branch_by_id(void **state)
{
	struct place *p = *state;
	struct wr_repo repo = make_repo(p, &p->owner, NULL, false);
	char name[300] = "";

	assert_int_equal(wr_repo_default_branch(name, sizeof name, p->db, repo.id, NULL), WR_OK);
	assert_string_equal(name, "main");
	assert_int_equal(wr_repo_set_default_branch(p->db, p->owner.id, repo.id, WR_S("trunk"), NULL), WR_OK);
	assert_int_equal(wr_repo_default_branch(name, sizeof name, p->db, repo.id, NULL), WR_OK);
	assert_string_equal(name, "trunk");
	assert_int_equal(wr_repo_default_branch(name, sizeof name, p->db, p->owner.id, NULL), WR_E_NOT_THERE);
	assert_int_equal(wr_repo_delete(p->db, p->owner.id, repo.id, NULL), WR_OK);
	assert_int_equal(wr_repo_default_branch(name, sizeof name, p->db, repo.id, NULL), WR_E_NOT_THERE);
}

static void labels(void **state)
{
	(void)state;
	assert_true(wr_label_ok(WR_S("a"), 100, 400));
	assert_true(wr_label_ok(WR_S("\xc3\xa4 \xf0\x9f\x90\x87"), 3, 400));
	assert_false(wr_label_ok(WR_S("\xc3\xa4 \xf0\x9f\x90\x87"), 2, 400));
	assert_false(wr_label_ok(WR_S("abc"), 100, 2));
	assert_false(wr_label_ok(WR_S(""), 100, 400));
	assert_false(wr_label_ok(WR_S("a\nb"), 100, 400));
	assert_false(wr_label_ok(WR_S("a\0b"), 100, 400));
	assert_false(wr_label_ok(WR_S("\x7f"), 100, 400));
	assert_false(wr_label_ok(WR_S("\xc2\x85"), 100, 400));
	assert_false(wr_label_ok(WR_S("\xff"), 100, 400));
}

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, open_place, close_place)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_PLACE(credentials_are_told_apart),
		cmocka_unit_test(secrets_have_their_form),
		IN_PLACE(all_refusals_look_alike),
		IN_PLACE(every_caller_has_its_level),
		IN_PLACE(ids_that_lead_nowhere_look_alike),
		IN_PLACE(what_one_may_not_know_costs_what_is_absent_costs),
		IN_PLACE(an_id_in_capitals_is_found),
		IN_PLACE(what_is_taken_away_is_gone_at_once),
		IN_PLACE(a_long_request_is_asked_again),
		IN_PLACE(a_token_expires),
		IN_PLACE(what_was_found_is_kept_until_somebody_writes),
		IN_PLACE(a_use_is_noted_off_the_path),
		IN_PLACE(tokens_are_listed_oldest_first),
		IN_PLACE(grants_stay_within_an_account),
		IN_PLACE(pages_and_totals),
		IN_PLACE(the_search_ignores_case_and_has_no_wildcards),
		IN_PLACE(a_long_list_has_the_same_pages_wherever_they_begin),
		IN_PLACE(repositories_keep_their_settings),
		IN_PLACE(a_deleted_account_waits_for_its_folders),
		IN_PLACE(marks_and_sequences),
		IN_PLACE(deletion_takes_the_mark),
		IN_PLACE(creations_that_were_cut_off_are_doomed),
		IN_PLACE(the_default_branch_by_id),
		cmocka_unit_test(labels),
	};

	wr_log_set_threshold(WR_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
