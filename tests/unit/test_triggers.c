/* triggers/trigger: what is refused, rows that come and go, and what of a repository is known when one is added. */
#include "git_fixture.h"

#include <sqlite3.h>

#include "core/auth/accounts.h"
#include "core/auth/repos.h"
#include "core/base/glob.h"
#include "core/base/log.h"
#include "triggers/delivery.h"

struct place {
	struct fx *fx;
	struct wr_db *db;
	struct wr_account owner, other;
	struct wr_repo repo;
	struct wr_error err;
};

static struct wr_repo make_repo(struct place *p, const struct wr_account *account)
{
	const struct wr_repo_new new = {.default_branch = WR_S("main")};
	struct wr_repo repo;

	assert_ok(wr_repo_create(&repo, p->db, account->id, &new, &p->err));
	return repo;
}

static int open_place(void **state)
{
	struct place *p = calloc(1, sizeof *p);
	struct wr_secret_text key;
	void *fx;

	assert_int_equal(fx_setup(&fx), 0);
	p->fx = fx;
	assert_ok(wr_db_open(&p->db, p->fx->cfg.data, &p->err));
	assert_ok(wr_account_create(&p->owner, &key, p->db, WR_S("owner"), &p->err));
	assert_ok(wr_account_create(&p->other, &key, p->db, WR_S("other"), &p->err));
	p->repo = make_repo(p, &p->owner);
	*state = p;
	return 0;
}

static int close_place(void **state)
{
	struct place *p = *state;
	void *fx = p->fx;

	wr_db_close(p->db);
	wr_error_fini(&p->err);
	fx_teardown(&fx);
	free(p);
	return 0;
}

/* One value as the database has it now, as text; "" for NULL. */
static const char *value(struct place *p, const char *fmt, ...)
{
	static char out[256];
	char path[256];
	sqlite3 *sq = NULL;
	sqlite3_stmt *stmt = NULL;
	const char *text;
	va_list ap;
	char *sql;

	va_start(ap, fmt);
	sql = sqlite3_vmprintf(fmt, ap);
	va_end(ap);
	snprintf(path, sizeof path, "%s/warren.db", p->fx->cfg.data);
	assert_int_equal(sqlite3_open_v2(path, &sq, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(sq, sql, -1, &stmt, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	text = (const char *)sqlite3_column_text(stmt, 0);
	snprintf(out, sizeof out, "%s", text ? text : "");
	sqlite3_finalize(stmt);
	sqlite3_close(sq);
	sqlite3_free(sql);
	return out;
}

static struct wr_trigger ask(const char *endpoint)
{
	struct wr_trigger t = {.branches = NULL};

	snprintf(t.endpoint, sizeof t.endpoint, "%s", endpoint);
	return t;
}

static struct wr_trigger add(struct place *p, const struct wr_repo *repo, const char *endpoint)
{
	struct wr_trigger t = ask(endpoint);

	assert_ok(wr_trigger_add(&t, p->db, p->fx->git, repo, &p->err));
	return t;
}

/* ---- filters ---- */

static enum wr_code filter(struct place *p, json_t **out, json_t *value)
{
	enum wr_code code = wr_trigger_check_filter(out, "trigger.branches", value, &p->err);

	json_decref(value);
	return code;
}

static void nothing_is_no_filter(void **state)
{
	struct place *p = *state;
	json_t *out = json_null();

	assert_ok(filter(p, &out, NULL));
	assert_null(out);
	out = json_null();
	assert_ok(filter(p, &out, json_null()));
	assert_null(out);
	out = json_null();
	assert_ok(filter(p, &out, json_array()));
	assert_null(out);
	assert_ok(filter(p, &out, json_pack("[s,s]", "main", "release/*")));
	assert_int_equal(json_array_size(out), 2);
	json_decref(out);
}

static void what_is_no_filter_is_refused(void **state)
{
	struct place *p = *state;
	char longest[WR_GLOB_MAX + 2];
	json_t *out, *many = json_array();

	memset(longest, 'a', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	for (int i = 0; i <= WR_TRIGGER_PATTERNS_MAX; i++)
		json_array_append_new(many, json_string("main"));
	assert_int_equal(filter(p, &out, json_string("main")), WR_E_INVALID_REQUEST);
	assert_non_null(strstr(p->err.text, "trigger.branches"));
	assert_int_equal(filter(p, &out, json_pack("{s:s}", "a", "b")), WR_E_INVALID_REQUEST);
	assert_int_equal(filter(p, &out, json_pack("[s,i]", "main", 1)), WR_E_INVALID_REQUEST);
	assert_non_null(strstr(p->err.text, "trigger.branches[1]"));
	assert_int_equal(filter(p, &out, json_pack("[s]", "")), WR_E_INVALID_REQUEST);
	assert_int_equal(filter(p, &out, json_pack("[s#]", "a\0b", 3)), WR_E_INVALID_REQUEST);
	assert_int_equal(filter(p, &out, json_pack("[s]", "rel[ease")), WR_E_INVALID_REQUEST);
	assert_non_null(strstr(p->err.text, "trigger.branches[0]: "));
	assert_int_equal(filter(p, &out, json_pack("[s]", longest)), WR_E_INVALID_REQUEST);
	assert_int_equal(filter(p, &out, many), WR_E_INVALID_REQUEST);
}

/* ---- rows ---- */

static void assert_filter(const json_t *filter_, const char *text)
{
	WR_AUTO_MEM char *got = filter_ ? json_dumps(filter_, JSON_COMPACT) : strdup("none");

	assert_string_equal(got, text);
}

static void a_trigger_is_read_as_it_was_written(void **state)
{
	struct place *p = *state;
	WR_AUTO_S(wr_trigger) t = ask("https://example.org/hook?a=b");
	WR_AUTO_S(wr_trigger) got = {.branches = NULL};

	t.branches = json_pack("[s,s]", "main", "rel/*");
	t.payload = WR_PAYLOAD_EXTENDED;
	assert_ok(wr_trigger_add(&t, p->db, p->fx->git, &p->repo, &p->err));
	assert_ok(wr_trigger_get(&got, p->db, &p->repo, wr_str(t.id), &p->err));
	assert_true(got.seq > 0 && got.seq == t.seq);
	assert_string_equal(got.id, t.id);
	assert_string_equal(got.repo_id, p->repo.id);
	assert_string_equal(got.account_id, p->owner.id);
	assert_string_equal(got.endpoint, "https://example.org/hook?a=b");
	assert_filter(got.branches, "[\"main\",\"rel/*\"]");
	assert_filter(got.globs, "none");
	assert_int_equal(got.payload, WR_PAYLOAD_EXTENDED);
	assert_int_equal(got.created_ms, t.created_ms);
	assert_int_equal(got.paused_ms, 0);
}

static void others_do_not_see_it(void **state)
{
	struct place *p = *state;
	struct wr_repo elsewhere = make_repo(p, &p->other), beside = make_repo(p, &p->owner);
	struct wr_trigger t = add(p, &p->repo, "https://example.org/"), got;
	bool changed;

	assert_int_equal(wr_trigger_get(&got, p->db, &elsewhere, wr_str(t.id), &p->err), WR_E_NOT_FOUND);
	assert_int_equal(wr_trigger_get(&got, p->db, &beside, wr_str(t.id), &p->err), WR_E_NOT_FOUND);
	assert_int_equal(wr_trigger_get(&got, p->db, &p->repo, WR_S("no id"), &p->err), WR_E_NOT_FOUND);
	assert_int_equal(wr_trigger_delete(p->db, &elsewhere, wr_str(t.id), &p->err), WR_E_NOT_FOUND);
	assert_int_equal(wr_trigger_delete(p->db, &beside, wr_str(t.id), &p->err), WR_E_NOT_FOUND);
	assert_int_equal(wr_trigger_delete(p->db, &p->repo, WR_S("no id"), &p->err), WR_E_NOT_FOUND);
	assert_ok(wr_trigger_delete(p->db, &p->repo, wr_str(t.id), &p->err));
	/* And what is deleted is nobody's any more. */
	assert_int_equal(wr_trigger_delete(p->db, &p->repo, wr_str(t.id), &p->err), WR_E_NOT_FOUND);
	assert_int_equal(wr_trigger_get(&got, p->db, &p->repo, wr_str(t.id), &p->err), WR_E_NOT_FOUND);
	assert_int_equal(wr_trigger_change(p->db, &t, WR_TRIGGER_GLOBS, &p->err), WR_E_NOT_FOUND);
	assert_int_equal(wr_trigger_pause(&changed, p->db, &t, true, &p->err), WR_E_NOT_FOUND);
	assert_int_equal(wr_trigger_pause(&changed, p->db, &t, false, &p->err), WR_E_NOT_FOUND);
	assert_string_not_equal(value(p, "SELECT deleted_ms FROM push_trigger WHERE id = %Q", t.id), "");
}

static void only_what_was_asked_for_is_changed(void **state)
{
	struct place *p = *state;
	WR_AUTO_S(wr_trigger) t = ask("https://one.example.org/");
	WR_AUTO_S(wr_trigger) got = {.branches = NULL};
	struct wr_trigger other;
	char turn[32];

	t.branches = json_pack("[s]", "main");
	t.globs = json_pack("[s]", "src/**");
	assert_ok(wr_trigger_add(&t, p->db, p->fx->git, &p->repo, &p->err));
	snprintf(turn, sizeof turn, "%s", value(p, "SELECT turn FROM push_trigger WHERE id = %Q", t.id));
	other = t;
	other.branches = other.globs = NULL;
	other.payload = WR_PAYLOAD_BASIC;
	snprintf(other.endpoint, sizeof other.endpoint, "https://two.example.org/");
	assert_ok(wr_trigger_change(p->db, &other, WR_TRIGGER_GLOBS | WR_TRIGGER_PAYLOAD, &p->err));
	assert_ok(wr_trigger_get(&got, p->db, &p->repo, wr_str(t.id), &p->err));
	assert_filter(got.branches, "[\"main\"]");
	assert_filter(got.globs, "none");
	assert_string_equal(got.endpoint, "https://one.example.org/");
	assert_int_equal(got.payload, WR_PAYLOAD_BASIC);
	assert_string_equal(value(p, "SELECT turn FROM push_trigger WHERE id = %Q", t.id), turn);
	wr_trigger_fini(&got);
	assert_ok(wr_trigger_change(p->db, &other, WR_TRIGGER_ENDPOINT | WR_TRIGGER_BRANCHES, &p->err));
	assert_ok(wr_trigger_get(&got, p->db, &p->repo, wr_str(t.id), &p->err));
	assert_filter(got.branches, "none");
	assert_string_equal(got.endpoint, "https://two.example.org/");
	/* The new host has a turn of its own, and the old one none any more. */
	assert_string_equal(value(p, "SELECT count(*) FROM delivery_turn"), "1");
	assert_string_not_equal(value(p, "SELECT turn FROM push_trigger WHERE id = %Q", t.id), turn);
}

static void accounts_and_hosts_take_turns(void **state)
{
	struct place *p = *state;
	struct wr_repo elsewhere = make_repo(p, &p->other);

	add(p, &p->repo, "https://one.example.org/a");
	add(p, &p->repo, "https://one.example.org/b");
	assert_string_equal(value(p, "SELECT count(DISTINCT turn) FROM push_trigger"), "1");
	add(p, &p->repo, "https://two.example.org/a");
	assert_string_equal(value(p, "SELECT count(DISTINCT turn) FROM push_trigger"), "2");
	add(p, &elsewhere, "https://one.example.org/a");
	assert_string_equal(value(p, "SELECT count(DISTINCT turn) FROM push_trigger"), "3");
	assert_string_equal(value(p, "SELECT count(*) FROM push_trigger t JOIN delivery_turn d ON d.seq = t.turn"
				     " WHERE d.account_id = t.account_id"),
			    "4");
}

static void a_host_that_was_left_keeps_its_turn_while_it_has_something(void **state)
{
	struct place *p = *state;
	struct wr_trigger t = add(p, &p->repo, "https://one.example.org/");
	const struct wr_oid tip = {{1}};
	char id[WR_UUID_LEN + 1];
	bool more = true;

	assert_ok(wr_delivery_test(id, p->db, &t, WR_S("main"), &tip, "", &p->err));
	snprintf(t.endpoint, sizeof t.endpoint, "https://two.example.org/");
	assert_ok(wr_trigger_change(p->db, &t, WR_TRIGGER_ENDPOINT, &p->err));
	assert_string_equal(value(p, "SELECT group_concat(host || ' ' || pending) FROM delivery_turn ORDER BY host"),
			    "one.example.org 1,two.example.org 0");
	assert_ok(wr_trigger_delete(p->db, &p->repo, wr_str(t.id), &p->err));
	while (more)
		assert_ok(wr_deliveries_sweep(&more, &(struct wr_waking){.resumes = 0}, p->db, 0, 1000, &p->err));
	assert_string_equal(value(p, "SELECT count(*) FROM delivery_turn"), "0");
}

static void pausing_is_told_once(void **state)
{
	struct place *p = *state;
	struct wr_trigger t = add(p, &p->repo, "https://example.org/"), got;
	bool changed;

	assert_ok(wr_trigger_pause(&changed, p->db, &t, false, &p->err));
	assert_false(changed);
	assert_string_equal(value(p, "SELECT wake FROM push_trigger"), "0");
	assert_ok(wr_trigger_pause(&changed, p->db, &t, true, &p->err));
	assert_true(changed);
	assert_ok(wr_trigger_get(&got, p->db, &p->repo, wr_str(t.id), &p->err));
	assert_true(got.paused_ms > 0);
	assert_ok(wr_trigger_pause(&changed, p->db, &t, true, &p->err));
	assert_false(changed);
	assert_string_equal(value(p, "SELECT wake FROM push_trigger"), "0");
	assert_ok(wr_trigger_pause(&changed, p->db, &t, false, &p->err));
	assert_true(changed);
	assert_ok(wr_trigger_get(&got, p->db, &p->repo, wr_str(t.id), &p->err));
	assert_int_equal(got.paused_ms, 0);
	assert_string_equal(value(p, "SELECT wake FROM push_trigger"), "1");
	assert_ok(wr_trigger_pause(&changed, p->db, &t, true, &p->err));
	assert_ok(wr_trigger_pause(&changed, p->db, &t, false, &p->err));
	assert_string_equal(value(p, "SELECT resumes FROM push_trigger"), "2");
}

static enum wr_code take_id(void *ids, const struct wr_trigger *trigger, struct wr_error *err)
{
	struct wr_buf *buf = ids;

	(void)err;
	wr_buf_addz(buf, trigger->id);
	return WR_OK;
}

static void they_are_listed_oldest_first_and_bounded(void **state)
{
	struct place *p = *state;
	WR_AUTO_S(wr_buf) wanted = WR_BUF_INIT(1 << 16);
	WR_AUTO_S(wr_buf) got = WR_BUF_INIT(1 << 16);
	struct wr_repo beside = make_repo(p, &p->owner);
	struct wr_trigger t, last = ask("https://example.org/");

	for (int i = 0; i < WR_TRIGGERS_MAX; i++) {
		t = add(p, &p->repo, "https://example.org/");
		if (i != 7)
			wr_buf_addz(&wanted, t.id);
		else
			last = t;
	}
	add(p, &beside, "https://example.org/");
	assert_int_equal(wr_trigger_add(&t, p->db, p->fx->git, &p->repo, &p->err), WR_E_INVALID_REQUEST);
	assert_non_null(strstr(p->err.text, "at most 100"));
	/* A deleted one makes room at once. */
	assert_ok(wr_trigger_delete(p->db, &p->repo, wr_str(last.id), &p->err));
	t = add(p, &p->repo, "https://example.org/");
	wr_buf_addz(&wanted, t.id);
	assert_ok(wr_trigger_list(p->db, &p->repo, take_id, &got, &p->err));
	assert_string_equal(got.ptr, wanted.ptr);
}

/* ---- what is known of the repository ---- */

/* The journal as the trigger's row has it, and the branch's tip as the repository's has. */
static void commit(struct place *p, struct wr_oid *out, const char *ref)
{
	WR_AUTO(wr_git_repo) *repo = NULL;
	WR_AUTO(wr_quarantine) *q = NULL;
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 10);
	struct wr_ref_update u = {.name = wr_str(ref), .any_old = true};
	struct wr_change change = {.updates = &u, .count = 1};
	struct wr_oid tree;
	char hex[WR_OID_HEX + 1];

	assert_ok(wr_git_repo_open(&repo, p->fx->git, p->repo.id, &p->err));
	assert_ok(wr_quarantine_new(&q, repo, &p->err));
	assert_ok(wr_quarantine_add(&tree, q, WR_TREE, WR_S(""), NULL, &p->err));
	wr_oid_hex(hex, &tree);
	wr_buf_printf(&text, "tree %s\nauthor A <a@example.org> 1 +0000\ncommitter A <a@example.org> 1 +0000\n\n%s\n",
		      hex, ref);
	assert_ok(wr_quarantine_add(&u.new, q, WR_COMMIT, wr_buf_str(&text), NULL, &p->err));
	change.objects = q;
	assert_ok(wr_git_append(repo, &change, &p->err));
	assert_ok(u.result);
	*out = u.new;
}

static void assert_head(struct place *p, const struct wr_oid *tip)
{
	char hex[WR_OID_HEX + 1] = "";

	if (tip)
		wr_oid_hex(hex, tip);
	assert_string_equal(value(p, "SELECT lower(hex(trigger_head)) FROM repo WHERE id = %Q", p->repo.id), hex);
}

static void the_first_one_notes_where_the_repository_is(void **state)
{
	struct place *p = *state;
	const struct wr_oid unborn = {{0}};
	struct wr_oid tip, other;
	struct wr_trigger t;

	assert_head(p, NULL);
	add(p, &p->repo, "https://example.org/");
	assert_string_equal(value(p, "SELECT since_seq FROM push_trigger"), "0");
	assert_head(p, &unborn);
	commit(p, &other, "refs/heads/other");
	commit(p, &tip, "refs/heads/main");
	/* What is known is moved by events alone. */
	t = add(p, &p->repo, "https://example.org/");
	assert_string_equal(value(p, "SELECT since_seq FROM push_trigger WHERE id = %Q", t.id), "2");
	assert_head(p, &unborn);
	/* With another default branch it is not known any more. */
	assert_ok(wr_repo_set_default_branch(p->db, p->owner.id, p->repo.id, WR_S("main"), &p->err));
	assert_head(p, &unborn);
	assert_ok(wr_repo_set_default_branch(p->db, p->owner.id, p->repo.id, WR_S("other"), &p->err));
	assert_head(p, NULL);
	/* Unless its tip is told, as of the last event or later. */
	assert_ok(wr_trigger_head(p->db, &p->repo, WR_S("main"), &tip, 2, &p->err));
	assert_head(p, NULL);
	assert_ok(wr_trigger_head(p->db, &p->repo, WR_S("other"), &other, 2, &p->err));
	assert_head(p, &other);
	assert_ok(wr_repo_set_default_branch(p->db, p->owner.id, p->repo.id, WR_S("main"), &p->err));
	assert_ok(wr_repo_set_default_branch(p->db, p->owner.id, p->repo.id, WR_S("other"), &p->err));
	assert_head(p, NULL);
	/* What was looked at was the former default branch. */
	add(p, &p->repo, "https://example.org/");
	assert_head(p, NULL);
	snprintf(p->repo.default_branch, sizeof p->repo.default_branch, "other");
	add(p, &p->repo, "https://example.org/");
	assert_head(p, &other);
}

static enum wr_code advance(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	struct place *p = arg;

	return wr_tx_run(tx, SQL_REPO_ADVANCE, err, NULL, "sii", p->repo.id, (int64_t)0, (int64_t)9);
}

static void a_tip_that_events_have_left_behind_is_not_noted(void **state)
{
	struct place *p = *state;

	assert_ok(wr_db_write(p->db, WR_DB_NORMAL, advance, p, &p->err));
	add(p, &p->repo, "https://example.org/");
	assert_head(p, NULL);
}

/* ---- the end ---- */

static void they_go_with_their_repository(void **state)
{
	struct place *p = *state;
	struct wr_repo beside = make_repo(p, &p->owner);
	struct wr_trigger kept = add(p, &beside, "https://example.org/"), got;
	struct wr_trigger t = add(p, &p->repo, "https://example.org/"), late = ask("https://example.org/");

	assert_ok(wr_repo_delete(p->db, p->owner.id, p->repo.id, &p->err));
	assert_int_equal(wr_trigger_get(&got, p->db, &p->repo, wr_str(t.id), &p->err), WR_E_NOT_FOUND);
	assert_string_equal(value(p, "SELECT count(*) FROM push_trigger WHERE deleted_ms IS NOT NULL"), "1");
	assert_ok(wr_trigger_get(&got, p->db, &beside, wr_str(kept.id), &p->err));
	assert_int_equal(wr_trigger_add(&late, p->db, p->fx->git, &p->repo, &p->err), WR_E_REPO_NOT_FOUND);
}

static void an_account_waits_for_its_tombstones(void **state)
{
	struct place *p = *state;
	struct wr_repo theirs = make_repo(p, &p->other);
	struct wr_trigger kept = add(p, &theirs, "https://example.org/"), got;
	struct wr_doomed doomed[2];
	bool more = true;
	size_t n;

	add(p, &p->repo, "https://example.org/");
	assert_ok(wr_account_delete(p->db, p->owner.id, true, &p->err));
	assert_string_equal(value(p, "SELECT count(*) FROM push_trigger WHERE deleted_ms IS NOT NULL"), "1");
	assert_ok(wr_repo_doomed(doomed, &n, p->db, NULL, 0, 2, &p->err));
	assert_int_equal(n, 1);
	assert_ok(wr_repo_purge(p->db, doomed, n, &p->err));
	assert_string_equal(value(p, "SELECT count(*) FROM account WHERE id = %Q", p->owner.id), "1");
	while (more)
		assert_ok(wr_deliveries_sweep(&more, &(struct wr_waking){.resumes = 0}, p->db, 0, 1000, &p->err));
	assert_string_equal(value(p, "SELECT count(*) FROM account WHERE id = %Q", p->owner.id), "0");
	assert_string_equal(value(p, "SELECT count(*) FROM delivery_turn WHERE account_id = %Q", p->owner.id), "0");
	assert_ok(wr_trigger_get(&got, p->db, &theirs, wr_str(kept.id), &p->err));
}

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, open_place, close_place)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_PLACE(nothing_is_no_filter),
		IN_PLACE(what_is_no_filter_is_refused),
		IN_PLACE(a_trigger_is_read_as_it_was_written),
		IN_PLACE(others_do_not_see_it),
		IN_PLACE(only_what_was_asked_for_is_changed),
		IN_PLACE(accounts_and_hosts_take_turns),
		IN_PLACE(a_host_that_was_left_keeps_its_turn_while_it_has_something),
		IN_PLACE(pausing_is_told_once),
		IN_PLACE(they_are_listed_oldest_first_and_bounded),
		IN_PLACE(the_first_one_notes_where_the_repository_is),
		IN_PLACE(a_tip_that_events_have_left_behind_is_not_noted),
		IN_PLACE(they_go_with_their_repository),
		IN_PLACE(an_account_waits_for_its_tombstones),
	};

	wr_log_set_threshold(WR_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
