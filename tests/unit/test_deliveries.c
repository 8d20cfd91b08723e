/*
 * triggers/delivery: what becomes of an event, whose turn it is, what dead processes had, what is forgotten; and random
 * operations against a model: per trigger and branch in order, nothing lost, nothing twice.
 */
#include "deliveries_fixture.h"

#include <stdatomic.h>

#include "core/base/alive.h"

/* ---- bodies ---- */

static void assert_body(const struct wr_hook *hook, const char *expected)
{
	WR_AUTO_S(wr_buf) body = WR_BUF_INIT(65536);

	wr_hook_body(&body, hook);
	assert_true(wr_buf_ok(&body));
	assert_string_equal(body.ptr, expected);
}

#define HEX1 "0000000000000000000000000000000000000001"
#define HEX2 "0000000000000000000000000000000000000002"
#define REPO "11111111-2222-4333-8444-555555555555"
#define ACCOUNT "21111111-2222-4333-8444-555555555555"

static void bodies_are_what_the_reference_says(void **state)
{
	struct wr_hook hook = {.repo_id = REPO, .branch = "main", .new = oid(1), .old = oid(2), .occurred_ms = 1000,
			       .author = "identity:" ACCOUNT};

	(void)state;
	assert_body(&hook, "{\"event\":\"branchUpdate\",\"repoId\":\"" REPO "\",\"branch\":\"main\",\"commit\":\"" HEX1 "\"}");
	hook.extended = hook.forced_known = hook.forced = true;
	assert_body(&hook, "{\"event\":\"branchUpdate\",\"repoId\":\"" REPO "\",\"branch\":\"main\",\"commit\":\"" HEX1
			   "\",\"before\":\"" HEX2 "\",\"forced\":true,\"pusher\":{\"type\":\"identity\",\"id\":\"" ACCOUNT
			   "\"},\"occurredAt\":\"1970-01-01T00:00:01.000Z\"}");
	hook.forced_known = false;
	hook.old = oid(0);
	hook.author[0] = '\0';
	assert_body(&hook, "{\"event\":\"branchUpdate\",\"repoId\":\"" REPO "\",\"branch\":\"main\",\"commit\":\"" HEX1
			   "\",\"before\":null,\"forced\":null,\"pusher\":null,"
			   "\"occurredAt\":\"1970-01-01T00:00:01.000Z\"}");
}

static void branches_that_are_no_text_are_mended(void **state)
{
	struct wr_hook hook = {.repo_id = REPO, .branch = "a\"\\\xff\x7f\xc3\xa4", .new = oid(1)};

	(void)state;
	assert_body(&hook, "{\"event\":\"branchUpdate\",\"repoId\":\"" REPO
			   "\",\"branch\":\"a\\\"\\\\\xef\xbf\xbd\x7f\xc3\xa4\",\"commit\":\"" HEX1 "\"}");
}

/* ---- events ---- */

struct asking {
	struct place *p;
	unsigned repo;
	bool awaited;
};

static enum wr_code ask(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	struct asking *a = arg;

	return wr_deliveries_await(&a->awaited, &a->p->deliveries, tx, a->p->repos[a->repo].id, err);
}

static bool is_awaited(struct place *p, unsigned repo)
{
	struct asking a = {p, repo, false};

	assert_ok(wr_db_write(p->db, WR_DB_NORMAL, ask, &a, &p->err));
	return a.awaited;
}

static void only_moves_of_branches_count(void **state)
{
	struct place *p = *state;

	add_trigger(p, &(struct options){.since = 10});
	event(p, 0, "refs/tags/v1", 0, 1);
	event(p, 1, "refs/heads/main", 0, 1);
	event(p, 0, "refs/heads/main", 1, 0);
	event(p, 0, "refs/heads/main", 1, 1);
	event(p, 0, "refs/notes/heads/main", 0, 1);
	assert_true(is_awaited(p, 0));
	assert_false(is_awaited(p, 1));
	p->seq = 10;
	event_at(p, 0, "refs/heads/main", 0, 1, 10);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery"), 0);
	assert_int_equal(p->told, 0);
	event(p, 0, "refs/heads/main", 0, 1);
	event(p, 0, "refs/heads/main", 1, 2);
	event(p, 0, "refs/heads/a/b", 0, 2);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery"), 3);
	assert_int_equal(p->told, 3);
	check(p);
}

static void a_row_has_what_the_event_says(void **state)
{
	struct place *p = *state;
	char name[WR_HOOK_BRANCH_MAX + 12];
	struct taken t;

	memset(name, 'x', sizeof name);
	snprintf(name, 12, "refs/heads/");
	name[11] = 'x';
	name[sizeof name - 1] = '\0';
	add_trigger(p, &(struct options){.payload = "extended"});
	snprintf(p->author, sizeof p->author, "account:%s", p->accounts[0].id);
	event(p, 0, name, 0, 5);
	t = claim(p, "one", 0, 10);
	assert_int_equal(t.n, 1);
	assert_string_equal(t.claims[0].hook.branch, name + 11);
	assert_string_equal(t.claims[0].hook.author, p->author);
	assert_string_equal(t.claims[0].hook.repo_id, p->repos[0].id);
	assert_string_equal(t.claims[0].hook.account_id, p->accounts[0].id);
	assert_true(t.claims[0].hook.extended && t.claims[0].hook.forced_known && !t.claims[0].hook.forced);
	assert_int_equal(t.claims[0].hook.occurred_ms, 1234567);
	assert_true(wr_oid_zero(&t.claims[0].hook.old));
	assert_int_equal(number_of(&t.claims[0].hook.new), 5);
	assert_int_equal(t.claims[0].hook.attempts, 0);
	assert_string_equal(t.claims[0].host, "h0");
	assert_string_equal(t.claims[0].endpoint, "http://h0/");
	assert_int_equal(t.claims[0].resumed_ms, 0);
}

static void other_words_for_who_are_not_told(void **state)
{
	struct place *p = *state;
	struct taken t;

	add_trigger(p, &(struct options){.payload = NULL});
	snprintf(p->author, sizeof p->author, "robot:%s", p->accounts[0].id);
	event(p, 0, "refs/heads/a", 0, 1);
	snprintf(p->author, sizeof p->author, "account:%s and more", p->accounts[0].id);
	event(p, 0, "refs/heads/b", 0, 1);
	t = claim(p, "one", 0, 10);
	assert_int_equal(t.n, 2);
	assert_string_equal(t.claims[0].hook.author, "");
	assert_string_equal(t.claims[1].hook.author, "");
}

static void branches_are_filtered(void **state)
{
	struct place *p = *state;

	add_trigger(p, &(struct options){.branches = "[\"main\",\"release/*\"]"});
	event(p, 0, "refs/heads/main", 0, 1);
	event(p, 0, "refs/heads/main2", 0, 1);
	event(p, 0, "refs/heads/release/1", 0, 1);
	event(p, 0, "refs/heads/release/1/2", 0, 1);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery"), 2);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery WHERE branch IN ('main', 'release/1')"), 2);
}

static void the_default_branch_is_followed(void **state)
{
	struct place *p = *state;

	event(p, 0, "refs/heads/main", 0, 7);
	assert_int_equal(number(p, "SELECT count(*) FROM repo WHERE trigger_head IS NOT NULL"), 0);
	add_trigger(p, &(struct options){.globs = "[\"src/**\"]"});
	event(p, 0, "refs/heads/topic", 0, 8);
	assert_int_equal(number(p, "SELECT head_oid IS NULL FROM delivery WHERE branch = 'topic'"), 1);
	event(p, 0, "refs/heads/main", 7, 9);
	event(p, 0, "refs/heads/topic2", 0, 8);
	event(p, 0, "refs/heads/topic2", 8, 9);
	assert_int_equal(number(p, "SELECT hex(head_oid) = '" HEX9 "' FROM delivery WHERE branch = 'topic2' AND"
				   " old_oid IS NULL"), 1);
	assert_int_equal(number(p, "SELECT head_oid IS NULL FROM delivery WHERE branch = 'topic2' AND old_oid IS NOT NULL"), 1);
	event(p, 0, "refs/heads/main", 9, 0);
	event(p, 0, "refs/heads/main", 0, 8);
	/* Made while there was none: what is new is all of it. */
	assert_int_equal(number(p, "SELECT head_oid = zeroblob(20) FROM delivery WHERE branch = 'main' AND old_oid IS NULL"), 1);
	assert_int_equal(number(p, "SELECT count(*) FROM repo WHERE hex(trigger_head) LIKE '%%08'"), 1);
}

/* ---- order ---- */

static void a_branch_waits_for_its_first(void **state)
{
	struct place *p = *state;
	struct taken t, u;

	add_trigger(p, &(struct options){.since = 0});
	event(p, 0, "refs/heads/main", 0, 1);
	event(p, 0, "refs/heads/main", 1, 2);
	event(p, 0, "refs/heads/dev", 0, 3);
	t = claim(p, "one", 0, 10);
	assert_int_equal(t.n, 2);
	assert_int_equal(number_of(&t.claims[0].hook.new), 1);
	assert_int_equal(number_of(&t.claims[1].hook.new), 3);
	assert_int_equal(claim(p, "one", 0, 10).n, 0);
	check(p);
	finish(p, &t.claims[0], "one", WR_OUT_AGAIN, 5000);
	u = claim(p, "one", 4000, 10);
	assert_int_equal(u.n, 0);
	assert_int_equal(u.next_ms, p->base + 5000);
	u = claim(p, "one", 5000, 10);
	assert_int_equal(u.n, 1);
	assert_int_equal(number_of(&u.claims[0].hook.new), 1);
	assert_int_equal(u.claims[0].hook.attempts, 1);
	assert_string_equal(u.claims[0].hook.id, t.claims[0].hook.id);
	finish(p, &u.claims[0], "one", WR_OUT_GIVEN_UP, 0);
	u = claim(p, "one", 5000, 10);
	assert_int_equal(u.n, 1);
	assert_int_equal(number_of(&u.claims[0].hook.new), 2);
	check(p);
	finish(p, &u.claims[0], "one", WR_OUT_DELIVERED, 0);
	finish(p, &t.claims[1], "one", WR_OUT_DELIVERED, 0);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery WHERE ended_ms IS NULL"), 0);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery_account"), 0);
	assert_int_equal(number(p, "SELECT ended FROM push_trigger"), 3);
	check(p);
}

static void what_is_cut_off_was_no_attempt(void **state)
{
	struct place *p = *state;
	struct taken t;

	add_trigger(p, &(struct options){.since = 0});
	event(p, 0, "refs/heads/main", 0, 1);
	t = claim(p, "one", 0, 10);
	finish(p, &t.claims[0], "one", WR_OUT_CUT_OFF, 0);
	check(p);
	t = claim(p, "two", 0, 10);
	assert_int_equal(t.n, 1);
	assert_int_equal(t.claims[0].hook.attempts, 0);
}

static void an_outcome_of_another_ones_row_is_ignored(void **state)
{
	struct place *p = *state;
	struct taken t;

	add_trigger(p, &(struct options){.since = 0});
	event(p, 0, "refs/heads/main", 0, 1);
	t = claim(p, "one", 0, 10);
	finish(p, &t.claims[0], "two", WR_OUT_DELIVERED, 0);
	assert_int_equal(number(p, "SELECT state FROM delivery"), WR_DELIVERY_SENDING);
	finish(p, &t.claims[0], "one", WR_OUT_DELIVERED, 0);
	finish(p, &t.claims[0], "one", WR_OUT_AGAIN, 0);
	assert_int_equal(number(p, "SELECT state FROM delivery"), WR_DELIVERY_DELIVERED);
	assert_int_equal(number(p, "SELECT attempts FROM delivery"), 1);
	check(p);
}

/* ---- judging ---- */

static bool next_new(struct place *p, struct wr_hook *out, const char *behind)
{
	json_t *globs = NULL;
	enum wr_code code = wr_delivery_next_new(out, &globs, p->db, behind, &p->err);

	assert_true(code == WR_OK || code == WR_E_NOT_THERE);
	json_decref(globs);
	return code == WR_OK;
}

/* Nobody's transaction waits for it; what passes is sent in order, what does not goes without a trace. */
static void very_long_filters_are_for_who_judges(void **state)
{
	struct place *p = *state;
	WR_AUTO_S(wr_buf) filter = WR_BUF_INIT(65536);
	struct wr_hook hook;
	struct taken t;
	bool wanted;

	wr_buf_addz(&filter, "[\"main\"");
	for (int i = 0; i < 100; i++)
		wr_buf_printf(&filter, ",\"%d-*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a\"", i);
	wr_buf_addz(&filter, "]");
	assert_true(wr_buf_ok(&filter));
	add_trigger(p, &(struct options){.branches = filter.ptr});
	event(p, 0, "refs/heads/other", 0, 1);
	event(p, 0, "refs/heads/main", 0, 2);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery WHERE state = 0"), 2);
	assert_int_equal(claim(p, "one", 0, 10).n, 0);
	assert_true(next_new(p, &hook, ""));
	assert_ok(wr_delivery_match(&wanted, p->db, &hook, &p->err));
	assert_false(wanted);
	assert_ok(wr_delivery_judged(p->db, &hook, wanted, &p->err));
	assert_true(next_new(p, &hook, ""));
	assert_ok(wr_delivery_match(&wanted, p->db, &hook, &p->err));
	assert_true(wanted);
	assert_ok(wr_delivery_judged(p->db, &hook, wanted, &p->err));
	check(p);
	t = claim(p, "one", 0, 10);
	assert_int_equal(t.n, 1);
	assert_string_equal(t.claims[0].hook.branch, "main");
	assert_int_equal(number(p, "SELECT count(*) FROM delivery"), 1);
	/* What was made since with another filter in mind is matched no more. */
	execute(p, "UPDATE push_trigger SET branches = '[\"main\"]'");
	hook.branch[0] = 'x';
	assert_ok(wr_delivery_match(&wanted, p->db, &hook, &p->err));
	assert_true(wanted);
}

static void what_has_to_be_looked_at_holds_its_branch_up(void **state)
{
	struct place *p = *state;
	struct wr_hook hook, other;
	struct taken t;

	add_trigger(p, &(struct options){.globs = "[\"*.c\"]"});
	event(p, 0, "refs/heads/main", 0, 1);
	event(p, 0, "refs/heads/main", 1, 2);
	event(p, 0, "refs/heads/main", 2, 3);
	assert_int_equal(claim(p, "one", 0, 10).n, 0);
	assert_true(next_new(p, &hook, ""));
	assert_int_equal(number_of(&hook.new), 1);
	/* The second is judged first, and waits all the same. */
	other = hook;
	other.seq++;
	snprintf(other.note, sizeof other.note, "Nobody knows.");
	other.forced = other.forced_known = true;
	assert_ok(wr_delivery_judged(p->db, &other, true, &p->err));
	assert_int_equal(claim(p, "one", 0, 10).n, 0);
	check(p);
	assert_ok(wr_delivery_judged(p->db, &hook, false, &p->err));
	assert_ok(wr_delivery_judged(p->db, &hook, false, &p->err));
	assert_ok(wr_delivery_judged(p->db, &other, false, &p->err));
	check(p);
	t = claim(p, "one", 0, 10);
	assert_int_equal(t.n, 1);
	assert_int_equal(number_of(&t.claims[0].hook.new), 2);
	assert_string_equal(t.claims[0].hook.note, "Nobody knows.");
	assert_true(t.claims[0].hook.forced);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery"), 2);
}

static void accounts_take_turns_at_judging(void **state)
{
	struct place *p = *state;
	struct wr_hook first, second;

	add_trigger(p, &(struct options){.globs = "[\"*\"]"});
	add_trigger(p, &(struct options){.repo = 2, .globs = "[\"*\"]"});
	event(p, 0, "refs/heads/a", 0, 1);
	event(p, 0, "refs/heads/b", 0, 2);
	event(p, 2, "refs/heads/a", 0, 3);
	assert_true(next_new(p, &first, ""));
	assert_true(next_new(p, &second, first.account_id));
	assert_string_not_equal(first.account_id, second.account_id);
	assert_false(next_new(p, &first, second.account_id));
}

static void extended_wants_to_know_whether_it_was_forced(void **state)
{
	struct place *p = *state;

	add_trigger(p, &(struct options){.payload = "extended"});
	add_trigger(p, &(struct options){.payload = "basic"});
	event(p, 0, "refs/heads/main", 0, 1);
	event(p, 0, "refs/heads/main", 1, 2);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery WHERE state = 0 AND extended"), 1);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery WHERE state = 0"), 1);
	assert_int_equal(number(p, "SELECT forced FROM delivery WHERE old_oid IS NULL AND extended"), 0);
}

/* ---- pauses ---- */

static void a_paused_trigger_waits_and_goes_on_in_order(void **state)
{
	struct place *p = *state;
	struct taken t;
	int64_t trigger = add_trigger(p, &(struct options){.since = 0});
	struct wr_trigger row = {.seq = trigger};
	struct wr_oid tip = oid(9);
	char id[WR_UUID_LEN + 1];

	memcpy(row.account_id, p->accounts[0].id, sizeof row.account_id);
	memcpy(row.repo_id, p->repos[0].id, sizeof row.repo_id);
	event(p, 0, "refs/heads/main", 0, 1);
	event(p, 0, "refs/heads/main", 1, 2);
	pause_trigger(p, trigger, true);
	event(p, 0, "refs/heads/dev", 0, 3);
	assert_int_equal(claim(p, "one", 0, 10).n, 0);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery WHERE state = 1"), 3);
	check(p);
	assert_ok(wr_delivery_test(id, p->db, &row, WR_S("main"), &tip, "account:" ACCOUNT, &p->err));
	t = claim(p, "one", 0, 10);
	assert_int_equal(t.n, 1);
	assert_int_equal(t.claims[0].hook.kind, WR_DELIVERY_TEST);
	assert_string_equal(t.claims[0].hook.id, id);
	finish(p, &t.claims[0], "one", WR_OUT_DELIVERED, 0);
	pause_trigger(p, trigger, false);
	sweep(p, 0, 1000);
	assert_int_equal(number(p, "SELECT wake FROM push_trigger"), 0);
	check(p);
	t = claim(p, "one", 0, 10);
	assert_int_equal(t.n, 2);
	assert_int_equal(number_of(&t.claims[0].hook.new), 1);
	assert_int_equal(number_of(&t.claims[1].hook.new), 3);
	assert_true(t.claims[0].resumed_ms > 0);
}

/* Other tenants' writing waits for a piece. */
static void what_was_deleted_goes_in_small_pieces(void **state)
{
	struct place *p = *state;
	int64_t trigger = add_trigger(p, &(struct options){.since = 0});
	struct wr_waking waking = {.resumes = 0};
	char name[64];
	bool more = false;

	for (unsigned i = 0; i < 400; i++) {
		snprintf(name, sizeof name, "refs/heads/b%u", i);
		event(p, 0, name, 0, 1);
	}
	execute(p, "UPDATE push_trigger SET deleted_ms = 1 WHERE seq = %lld", (long long)trigger);
	assert_ok(wr_deliveries_sweep(&more, &waking, p->db, 0, 1000, &p->err));
	assert_true(more);
	assert_in_range(number(p, "SELECT count(*) FROM delivery"), 200, 399);
	sweep(p, 0, 1000);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery"), 0);
	check(p);
}

static void many_branches_wake_in_pieces(void **state)
{
	struct place *p = *state;
	int64_t trigger = add_trigger(p, &(struct options){.since = 0});
	struct wr_waking waking = {.resumes = 0};
	char name[64];
	bool more;

	pause_trigger(p, trigger, true);
	for (unsigned i = 0; i < 1203; i++) {
		snprintf(name, sizeof name, "refs/heads/b%u", i);
		event(p, 0, name, 0, 1);
	}
	event(p, 0, "refs/heads/b7", 1, 2);
	pause_trigger(p, trigger, false);
	/* What else there is to do does not wait for all of them, nor do those that are ready come again. */
	for (unsigned i = 1; i <= 3; i++) {
		assert_ok(wr_deliveries_sweep(&more, &waking, p->db, 0, 1000, &p->err));
		assert_true(more);
		assert_int_equal(number(p, "SELECT count(*) FROM delivery WHERE state = 2"), 100 * i);
	}
	/* Another process begins anew. */
	sweep(p, 0, 1000);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery WHERE state = 2"), 1203);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery WHERE state = 1"), 1);
	check(p);
}

/* While the branches of one that was resumed are gone through it is paused, a branch put away, and resumed again. */
static void resumed_twice_in_one_moment_wakes_all(void **state)
{
	struct place *p = *state;
	int64_t trigger = add_trigger(p, &(struct options){.since = 0});

	pause_trigger(p, trigger, true);
	event(p, 0, "refs/heads/a", 0, 1);
	event(p, 0, "refs/heads/b", 0, 1);
	pause_trigger(p, trigger, false);
	execute(p, "CREATE TRIGGER meanwhile AFTER UPDATE OF state ON delivery WHEN new.chain = 'b' AND new.state = 2"
		   " AND (SELECT resumes FROM push_trigger) = 1 BEGIN"
		   " UPDATE delivery SET state = 1 WHERE chain = 'a';"
		   " UPDATE push_trigger SET paused_ms = NULL, resumed_ms = 1, resumes = resumes + 1, wake = 1; END");
	sweep(p, 0, 1000);
	assert_int_equal(number(p, "SELECT resumes FROM push_trigger"), 2);
	assert_int_equal(number(p, "SELECT wake FROM push_trigger"), 0);
	check(p);
	assert_int_equal(claim(p, "one", 0, 10).n, 2);
}

static void what_waits_too_long_with_a_paused_trigger_is_given_up(void **state)
{
	struct place *p = *state;
	int64_t trigger = add_trigger(p, &(struct options){.since = 0});
	int64_t other = add_trigger(p, &(struct options){.host = 1});

	pause_trigger(p, trigger, true);
	for (unsigned i = 0; i < 703; i++)
		event(p, 0, "refs/heads/main", i, i + 1);
	execute(p, "UPDATE delivery SET created_ms = 1000 + seq");
	execute(p, "UPDATE push_trigger SET paused_ms = 500 WHERE seq = %lld", (long long)trigger);
	sweep(p, number(p, "SELECT max(created_ms) - 5 FROM delivery"), 1000);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery WHERE trigger_seq = %lld AND ended_ms IS NULL",
				(long long)trigger), 3);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery WHERE trigger_seq = %lld AND state = 5 AND error ="
				   " 'The trigger was paused for too long.'", (long long)trigger), 700);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery WHERE trigger_seq = %lld AND ended_ms IS NULL",
				(long long)other), 703);
	check(p);
}

/* ---- a clock that goes back ---- */

static unsigned rewind_to(struct place *p, int64_t now_ms)
{
	struct wr_rewind at = {.now_ms = now_ms};
	unsigned steps = 0;
	bool more = true;

	for (; more; steps++)
		assert_ok(wr_deliveries_rewind(&more, &at, p->db, &p->err));
	check(p);
	return steps;
}

static int64_t due_of(struct place *p, const char *chain)
{
	return number(p, "SELECT not_before_ms FROM delivery WHERE chain = %Q AND state = 2", chain);
}

static void a_clock_that_goes_back_holds_nothing_up(void **state)
{
	struct place *p = *state;
	const int64_t hour = 3600000;
	struct taken t;
	int64_t now;

	add_trigger(p, &(struct options){.since = 0});
	event(p, 0, "refs/heads/tried", 0, 1);
	t = claim(p, "one", 0, 1);
	finish(p, &t.claims[0], "one", WR_OUT_AGAIN, 5000);
	event(p, 0, "refs/heads/long", 0, 1);
	t = claim(p, "one", -600000 + 1000, 1);
	assert_int_equal(t.n, 1);
	execute(p, "UPDATE delivery SET started_ms = started_ms - %lld WHERE chain = 'long'", (long long)(2 * hour));
	finish(p, &t.claims[0], "one", WR_OUT_AGAIN, hour);
	event(p, 0, "refs/heads/new", 0, 1);
	event(p, 0, "refs/heads/new", 1, 2);
	/* An hour back: 'long' began before that, and its pause may stay. */
	now = p->base - hour;
	rewind_to(p, now);
	assert_int_equal(due_of(p, "tried"), now + 5000);
	assert_int_equal(due_of(p, "long"), p->base + hour);
	assert_int_equal(due_of(p, "new"), now);
	rewind_to(p, now + 1000);
	assert_int_equal(due_of(p, "tried"), now + 5000);
	assert_int_equal(claim(p, "one", -hour + 4999, 10).n, 1);
	t = claim(p, "one", -hour + 5000, 10);
	assert_int_equal(t.n, 1);
	assert_string_equal(t.claims[0].hook.branch, "tried");
}

/* A branch's next, and what was cut off or left behind, is due whatever the clock was when it was written. */
static void what_follows_is_due_at_once(void **state)
{
	struct place *p = *state;
	const int64_t day = 86400000;
	struct taken t;

	add_trigger(p, &(struct options){.since = 0});
	event(p, 0, "refs/heads/main", 0, 1);
	event(p, 0, "refs/heads/main", 1, 2);
	execute(p, "UPDATE delivery SET created_ms = created_ms + %lld, not_before_ms = not_before_ms + %lld", (long long)day,
		(long long)day);
	execute(p, "UPDATE delivery_turn SET next_ms = next_ms + %lld", (long long)day);
	execute(p, "UPDATE delivery_account SET next_ms = next_ms + %lld", (long long)day);
	t = claim(p, "one", day, 1);
	assert_int_equal(t.n, 1);
	finish(p, &t.claims[0], "one", WR_OUT_CUT_OFF, 0);
	t = claim(p, "dead", 0, 1);
	assert_int_equal(t.n, 1);
	execute(p, "UPDATE delivery SET not_before_ms = not_before_ms + %lld WHERE state = 3", (long long)day);
	assert_ok(wr_deliveries_recover(p->db, p->root, "one", &p->err));
	t = claim(p, "one", 0, 1);
	assert_int_equal(t.n, 1);
	finish(p, &t.claims[0], "one", WR_OUT_DELIVERED, 0);
	assert_int_equal(claim(p, "one", 0, 1).n, 1);
	check(p);
}

static void rewinding_goes_in_pieces(void **state)
{
	struct place *p = *state;
	char name[64];
	unsigned steps;

	for (unsigned host = 0; host < 3; host++)
		add_trigger(p, &(struct options){.host = host});
	for (unsigned i = 0; i < 250; i++) {
		snprintf(name, sizeof name, "refs/heads/b%u", i);
		event(p, 0, name, 0, 1);
	}
	steps = rewind_to(p, 1000);
	assert_in_range(steps, 10, 12);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery WHERE not_before_ms = 1000"), 750);
}

/* ---- what goes ---- */

static void nothing_is_sent_for_a_deleted_trigger(void **state)
{
	struct place *p = *state;
	struct taken t;
	int64_t trigger = add_trigger(p, &(struct options){.since = 0});
	int64_t other = add_trigger(p, &(struct options){.host = 1});

	for (unsigned i = 0; i < 600; i++)
		event(p, 0, "refs/heads/main", i, i + 1);
	event(p, 0, "refs/heads/dev", 0, 1);
	t = claim(p, "one", 0, 1);
	finish(p, &t.claims[0], "one", WR_OUT_DELIVERED, 0);
	t = claim(p, "one", 0, 1);
	execute(p, "UPDATE push_trigger SET deleted_ms = 1 WHERE seq = %lld", (long long)trigger);
	while ((t = claim(p, "one", 0, 10)).n > 0)
		for (size_t i = 0; i < t.n; i++)
			assert_int_equal(t.claims[i].hook.trigger_seq, other);
	sweep(p, 0, 1000);
	assert_int_equal(number(p, "SELECT count(*) FROM push_trigger"), 1);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery WHERE trigger_seq = %lld", (long long)trigger), 0);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery_turn"), 1);
	check(p);
}

static void the_next_row_is_another_one(void **state)
{
	struct place *p = *state;
	struct taken t;
	int64_t trigger = add_trigger(p, &(struct options){.since = 0});

	event(p, 0, "refs/heads/main", 0, 1);
	t = claim(p, "one", 0, 1);
	execute(p, "UPDATE push_trigger SET deleted_ms = 1 WHERE seq = %lld", (long long)trigger);
	sweep(p, 0, 1000);
	add_trigger(p, &(struct options){.since = 0});
	event(p, 0, "refs/heads/main", 0, 1);
	assert_int_equal(claim(p, "one", 0, 1).n, 1);
	/* An attempt for the trigger that is gone ends now. */
	finish(p, &t.claims[0], "one", WR_OUT_DELIVERED, 0);
	assert_int_equal(number(p, "SELECT state FROM delivery"), WR_DELIVERY_SENDING);
	check(p);
}

static void another_endpoint_is_another_turn(void **state)
{
	struct place *p = *state;
	struct taken t;
	int64_t trigger = add_trigger(p, &(struct options){.since = 0});

	event(p, 0, "refs/heads/main", 0, 1);
	event(p, 0, "refs/heads/main", 1, 2);
	event(p, 0, "refs/heads/dev", 0, 3);
	change_host(p, trigger, 7);
	t = claim(p, "one", 0, 10);
	assert_int_equal(t.n, 2);
	assert_string_equal(t.claims[0].host, "h7");
	assert_string_equal(t.claims[0].endpoint, "http://h7/");
	check(p);
	finish(p, &t.claims[0], "one", WR_OUT_DELIVERED, 0);
	t = claim(p, "one", 0, 10);
	assert_int_equal(t.n, 1);
	assert_string_equal(t.claims[0].host, "h7");
	check(p);
}

static void history_ends_by_age_and_number(void **state)
{
	struct place *p = *state;
	int64_t trigger = add_trigger(p, &(struct options){.since = 0});
	struct taken t;

	for (unsigned i = 0; i < 40; i++) {
		event(p, 0, "refs/heads/main", i, i + 1);
		t = claim(p, "one", 0, 1);
		finish(p, &t.claims[0], "one", WR_OUT_DELIVERED, 0);
	}
	sweep(p, 0, 40);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery"), 40);
	event(p, 0, "refs/heads/main", 40, 41);
	sweep(p, 0, 24);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery"), 25);
	assert_int_equal(number(p, "SELECT min(seq) FROM delivery"), 17);
	check(p);
	/* 27 are no more than an eighth beyond. */
	sweep(p, 0, 22);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery"), 25);
	execute(p, "UPDATE delivery SET ended_ms = 5 WHERE seq < 20 AND trigger_seq = %lld", (long long)trigger);
	sweep(p, 6, 1000);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery"), 22);
	check(p);
}

/* ---- a bound for each account ---- */

static void shed(struct place *p, int64_t max, unsigned keep_max)
{
	struct wr_shedding s = {.excess = 0};
	unsigned steps = 0;
	bool more = true;

	while (more) {
		assert_ok(wr_deliveries_shed(&more, &s, p->db, max, keep_max, &p->err));
		assert_true(++steps < 1000);
		check(p);
	}
}

static int64_t waiting(struct place *p, unsigned account)
{
	return number(p, "SELECT count(*) FROM delivery WHERE ended_ms IS NULL AND account_id = %Q", p->accounts[account].id);
}

static void an_account_with_too_many_loses_its_oldest(void **state)
{
	struct place *p = *state;
	struct wr_trigger row = {.seq = 0};
	struct wr_oid tip = oid(9);
	char id[WR_UUID_LEN + 1];
	int64_t dead = add_trigger(p, &(struct options){.repo = 0}), well = add_trigger(p, &(struct options){.repo = 1, .host = 1});

	add_trigger(p, &(struct options){.repo = 2, .host = 2});
	for (unsigned i = 0; i < 300; i++)
		event(p, 0, i % 2 ? "refs/heads/a" : "refs/heads/b", i < 2 ? 0 : i, i + 2);
	execute(p, "UPDATE delivery SET created_ms = 1000 * seq");
	for (unsigned i = 0; i < 20; i++)
		event(p, 1, "refs/heads/main", i, i + 1);
	for (unsigned i = 0; i < 250; i++)
		event(p, 2, "refs/heads/main", i, i + 1);
	assert_int_equal(claim(p, "one", 0, 2).n, 2);
	shed(p, 320, 1000);
	assert_int_equal(waiting(p, 0), 320);
	shed(p, 250, 40);
	assert_int_equal(waiting(p, 0), 247); /* a sixty-fourth less, so that it is not at once for the next one */
	assert_int_equal(waiting(p, 1), 250);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery WHERE ended_ms IS NULL AND trigger_seq = %lld", (long long)well), 20);
	/* Of the others the youngest are left, and what is under way. */
	assert_true(number(p, "SELECT max(created_ms) FROM delivery WHERE ended_ms IS NOT NULL") <
		    number(p, "SELECT min(created_ms) FROM delivery WHERE state < 3 AND trigger_seq = %lld", (long long)dead));
	assert_int_equal(number(p, "SELECT count(*) FROM delivery WHERE state = 3"), 2);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery WHERE state = 5 AND error = 'The account had too many"
				   " deliveries waiting, and this one was among the oldest.'"), 40);
	/* Tests count, too. */
	row.seq = dead;
	memcpy(row.account_id, p->accounts[0].id, sizeof row.account_id);
	memcpy(row.repo_id, p->repos[0].id, sizeof row.repo_id);
	for (unsigned i = 0; i < 30; i++)
		assert_ok(wr_delivery_test(id, p->db, &row, WR_S("main"), &tip, "", &p->err));
	shed(p, 10, 1000);
	assert_int_equal(waiting(p, 0), 10);
}

static void what_is_under_way_is_left(void **state)
{
	struct place *p = *state;
	char name[64];

	add_trigger(p, &(struct options){.repo = 0});
	for (unsigned i = 0; i < 5; i++) {
		snprintf(name, sizeof name, "refs/heads/b%u", i);
		event(p, 0, name, 0, 1);
	}
	assert_int_equal(claim(p, "one", 0, 5).n, 5);
	shed(p, 1, 1000);
	assert_int_equal(number(p, "SELECT count(*) FROM delivery WHERE state = 3"), 5);
	event(p, 0, "refs/heads/b1", 1, 2);
	shed(p, 1, 1000);
	assert_int_equal(waiting(p, 0), 5);
}

static void rows_of_dead_processes_are_ready_again(void **state)
{
	struct place *p = *state;
	struct wr_alive alive = WR_ALIVE_INIT;
	char run[128];
	struct taken t;

	snprintf(run, sizeof run, "%s/run", p->root);
	assert_ok(wr_alive_begin(&alive, run, "p-", &p->err));
	add_trigger(p, &(struct options){.since = 0});
	for (unsigned i = 0; i < 4; i++) {
		char name[32];

		snprintf(name, sizeof name, "refs/heads/%u", i);
		event(p, 0, name, 0, 1);
	}
	assert_int_equal(claim(p, "a-dead.lock", 0, 1).n, 1);
	assert_int_equal(claim(p, alive.name, 0, 1).n, 1);
	assert_int_equal(claim(p, "own", 0, 1).n, 1);
	assert_int_equal(claim(p, "z-dead.lock", 0, 1).n, 1);
	assert_int_equal(claim(p, "own", 0, 1).n, 0);
	assert_ok(wr_deliveries_recover(p->db, run, "own", &p->err));
	check(p);
	t = claim(p, "own", 0, 4);
	assert_int_equal(t.n, 2);
	assert_int_equal(t.claims[0].hook.attempts, 0);
	wr_alive_end(&alive);
	assert_ok(wr_deliveries_recover(p->db, run, "own", &p->err));
	assert_int_equal(claim(p, "own", 0, 4).n, 1);
}

/* ---- whose turn it is ---- */

static void fill(struct place *p, unsigned repo, unsigned n, unsigned host)
{
	add_trigger(p, &(struct options){.repo = repo, .host = host});
	for (unsigned i = 0; i < n; i++) {
		char name[32];

		snprintf(name, sizeof name, "refs/heads/%u", i);
		event(p, repo, name, 0, i + 1);
	}
	execute(p, "UPDATE push_trigger SET since_seq = 1000000");
}

static size_t of_repo(const struct place *p, const struct taken *t, unsigned repo)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++)
		n += strcmp(t->claims[i].hook.repo_id, p->repos[repo].id) == 0;
	return n;
}

static void no_account_takes_all(void **state)
{
	struct place *p = *state;
	struct taken t;

	fill(p, 0, 40, 0);
	fill(p, 2, 3, 0);
	fill(p, 4, 40, 0);
	t = claim(p, "one", 0, 30);
	assert_int_equal(t.n, 30);
	assert_int_equal(of_repo(p, &t, 2), 3);
	assert_in_range(of_repo(p, &t, 0), 13, 14);
	assert_in_range(of_repo(p, &t, 4), 13, 14);
	check(p);
}

static void hosts_of_an_account_take_turns(void **state)
{
	struct place *p = *state;
	struct taken t;

	fill(p, 0, 40, 0);
	fill(p, 1, 40, 1);
	t = claim(p, "one", 0, 20);
	assert_int_equal(of_repo(p, &t, 0), 10);
	assert_int_equal(of_repo(p, &t, 1), 10);
}

static void who_has_no_room_hides_nobody(void **state)
{
	struct place *p = *state;
	struct taken t;

	fill(p, 0, 5, 0);
	fill(p, 1, 5, 1);
	fill(p, 2, 5, 2);
	p->room_host[0] = 0;
	p->room_account[1] = 2;
	t = claim(p, "one", 0, 1);
	assert_int_equal(of_repo(p, &t, 1) + of_repo(p, &t, 2), 1);
	t = claim(p, "one", 0, 40);
	assert_int_equal(of_repo(p, &t, 0), 0);
	assert_in_range(of_repo(p, &t, 1), 4, 5);
	assert_int_equal(of_repo(p, &t, 2), 2);
	assert_int_equal(t.next_ms, INT64_MAX);
	/* A host that may not have more hides nothing of what comes later. */
	finish(p, &t.claims[0], "one", WR_OUT_AGAIN, 700);
	finish(p, &t.claims[1], "one", WR_OUT_AGAIN, 800);
	assert_true(claim(p, "one", 0, 0).next_ms == INT64_MAX);
	assert_true(claim(p, "one", 0, 40).next_ms <= p->base + 800);
	p->room_account[0] = 0;
	p->room_account[1] = 0;
	assert_int_equal(claim(p, "one", 1000, 40).n, 0);
}

static void rooms_count_what_the_call_has_claimed(void **state)
{
	struct place *p = *state;
	struct taken t;

	fill(p, 0, 20, 0);
	fill(p, 1, 20, 1);
	p->room_account[0] = 9;
	p->room_host[0] = 3;
	t = claim(p, "one", 0, 40);
	assert_int_equal(of_repo(p, &t, 0), 3);
	assert_int_equal(of_repo(p, &t, 1), 6);
	check(p);
}

/* ---- history ---- */

static void deliveries_are_seen_and_asked_for_again(void **state)
{
	struct place *p = *state;
	int64_t trigger = add_trigger(p, &(struct options){.payload = "extended"});
	struct wr_trigger row = {.seq = trigger, .payload = WR_PAYLOAD_EXTENDED}, other;
	struct wr_hook list[4];
	WR_AUTO_S(wr_hook) first = {.seq = 0};
	WR_AUTO_S(wr_hook) again = {.seq = 0};
	WR_AUTO_S(wr_buf) body = WR_BUF_INIT(65536);
	struct wr_deliveries_state look;
	char id[WR_UUID_LEN + 1];
	struct taken t;
	size_t n;

	memcpy(row.account_id, p->accounts[0].id, sizeof row.account_id);
	memcpy(row.repo_id, p->repos[0].id, sizeof row.repo_id);
	other = row;
	memcpy(other.account_id, p->accounts[1].id, sizeof other.account_id);
	snprintf(p->author, sizeof p->author, "account:%s", p->accounts[0].id);
	for (unsigned i = 0; i < 3; i++) {
		char name[32];

		snprintf(name, sizeof name, "refs/heads/%u", i);
		event(p, 0, name, 0, i + 1);
	}
	assert_ok(wr_deliveries_look(&look, p->db, &p->err));
	assert_int_equal(look.pending, 3);
	assert_int_equal(look.sending, 0);
	assert_true(look.oldest_ms > 0 && look.due_ms >= look.oldest_ms);
	t = claim(p, "one", 0, 1);
	finish(p, &t.claims[0], "one", WR_OUT_DELIVERED, 0);
	t = claim(p, "one", 0, 1);
	assert_ok(wr_delivery_list(list, &n, 2, p->db, &row, wr_str(""), &p->err));
	assert_int_equal(n, 2);
	assert_string_equal(list[0].branch, "2");
	assert_string_equal(wr_delivery_state_name(list[0].state), "queued");
	assert_string_equal(list[1].branch, "1");
	assert_string_equal(wr_delivery_state_name(list[1].state), "sending");
	memcpy(id, list[1].id, sizeof id);
	assert_ok(wr_delivery_list(list, &n, 2, p->db, &row, wr_str(id), &p->err));
	assert_int_equal(n, 1);
	assert_string_equal(list[0].branch, "0");
	assert_string_equal(wr_delivery_state_name(list[0].state), "delivered");
	assert_int_equal(list[0].status, 200);
	assert_int_equal(list[0].latency_ms, 12);
	assert_string_equal(list[0].error, "as the test says");
	assert_int_equal(list[0].answer_len, 7);
	assert_memory_equal(list[0].answer, "an\0swer", 7);
	assert_int_equal(wr_delivery_get(&first, p->db, &other, wr_str(list[0].id), &p->err), WR_E_NOT_FOUND);
	assert_int_equal(wr_delivery_list(list + 1, &n, 2, p->db, &other, wr_str(id), &p->err), WR_E_NOT_FOUND);
	assert_int_equal(wr_delivery_get(&first, p->db, &row, WR_S("nonsense"), &p->err), WR_E_NOT_FOUND);
	assert_ok(wr_delivery_get(&first, p->db, &row, wr_str(list[0].id), &p->err));
	wr_hook_fini(&list[0]);
	assert_int_equal(wr_delivery_again(id, p->db, &other, &first, &p->err), WR_E_NOT_FOUND);
	assert_ok(wr_delivery_again(id, p->db, &row, &first, &p->err));
	assert_ok(wr_delivery_get(&again, p->db, &row, wr_str(id), &p->err));
	assert_string_equal(again.again_of, first.id);
	assert_int_equal(again.kind, WR_DELIVERY_AGAIN);
	wr_hook_body(&body, &first);
	assert_body(&again, body.ptr);
	first.state = WR_DELIVERY_NEW;
	assert_int_equal(wr_delivery_again(id, p->db, &row, &first, &p->err), WR_E_INVALID_REQUEST);
	assert_ok(wr_deliveries_look(&look, p->db, &p->err));
	assert_int_equal(look.pending, 3);
	assert_int_equal(look.sending, 1);
	check(p);
}

/* ---- statements ---- */

static const struct {
	const char *name, *sql;
} statements[] = {
#define X(name, sql) {#name, sql},
#include "core/store/statements.def"
#undef X
};

/* What reads a whole table is for test_store to find; nothing of the queue sorts either, however much there is of it. */
static void no_statement_of_the_queue_sorts(void **state)
{
	struct place *p = *state;
	size_t seen = 0;

	for (size_t i = 0; i < WR_ARRAY_LEN(statements); i++) {
		char *sql = sqlite3_mprintf("EXPLAIN QUERY PLAN %s", statements[i].sql);
		sqlite3_stmt *stmt = NULL;

		if (strncmp(statements[i].name, "DELIVER", 7) == 0) {
			assert_int_equal(sqlite3_prepare_v2(p->sq, sql, -1, &stmt, NULL), SQLITE_OK);
			for (seen++; sqlite3_step(stmt) == SQLITE_ROW;)
				if (strstr((const char *)sqlite3_column_text(stmt, 3), "TEMP B-TREE"))
					fail_msg("%s sorts", statements[i].name);
			sqlite3_finalize(stmt);
		}
		sqlite3_free(sql);
	}
	assert_true(seen > 30);
}

static int count_step(void *steps)
{
	++*(unsigned *)steps;
	return 0;
}

/* How many steps SQLite's machine takes for a statement, all parameters bound to 1, but for the account's. */
static unsigned steps_of(struct place *p, const char *name)
{
	sqlite3_stmt *stmt = NULL;
	unsigned steps = 0;
	size_t i = 0;

	while (strcmp(statements[i].name, name) != 0)
		assert_true(++i < WR_ARRAY_LEN(statements));
	assert_int_equal(sqlite3_prepare_v2(p->sq, statements[i].sql, -1, &stmt, NULL), SQLITE_OK);
	for (int k = 1; k <= sqlite3_bind_parameter_count(stmt); k++)
		sqlite3_bind_int64(stmt, k, 1);
	if (strcmp(name, "DELIVERY_TURNS_DUE") == 0)
		sqlite3_bind_text(stmt, 2, p->accounts[0].id, -1, SQLITE_STATIC);
	if (strcmp(name, "DELIVERY_ACCOUNT_REFRESH") == 0)
		sqlite3_bind_text(stmt, 1, p->accounts[0].id, -1, SQLITE_STATIC);
	sqlite3_progress_handler(p->sq, 1, count_step, &steps);
	while (sqlite3_step(stmt) == SQLITE_ROW)
		continue;
	sqlite3_progress_handler(p->sq, 0, NULL, NULL);
	sqlite3_finalize(stmt);
	return steps;
}

static void a_statement_takes_as_many_steps_for_any_number_of_rows(void **state)
{
	static const char *const names[] = {
		"DELIVERY_TURN_REFRESH", "DELIVERY_ACCOUNT_REFRESH", "DELIVERY_ACCOUNTS_DUE", "DELIVERY_TURNS_DUE",
		"DELIVERY_DUE", "DELIVERY_CLAIM", "DELIVERY_END", "DELIVERY_REPEAT", "DELIVERY_SETTLE",
		"DELIVERY_CHAIN_BUSY", "DELIVERY_STALE", "DELIVERY_NEXT_CHAIN", "DELIVERIES_OLDEST",
	};
	struct place *p = *state;
	unsigned few[WR_ARRAY_LEN(names)];

	add_trigger(p, &(struct options){.since = 0});
	for (int rows = 50; rows <= 20000; rows *= 400) {
		/* Of ten of a branch the first is ready, the rest waits. */
		execute(p,
			"WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
			" INSERT INTO delivery (id, trigger_seq, turn, account_id, repo_id, chain, branch, new_oid, author,"
			" occurred_ms, created_ms, kind, extended, state, not_before_ms)"
			" SELECT %d + i, 1, 1, %Q, 'r', (i / 10 + 1) || '', 'b', zeroblob(20), '', 1, 1, 'push', 0,"
			" CASE i %% 10 WHEN 0 THEN 2 ELSE 1 END, 1 FROM n", rows - 1, rows, p->accounts[0].id);
		execute(p, "UPDATE delivery_turn SET next_ms = 1");
		execute(p, "INSERT OR REPLACE INTO delivery_account VALUES (%Q, 1)", p->accounts[0].id);
		execute(p, "BEGIN");
		for (size_t i = 0; i < WR_ARRAY_LEN(names); i++) {
			unsigned steps = steps_of(p, names[i]);

			if (rows == 50)
				few[i] = steps;
			else if (steps > few[i] + few[i] / 10)
				fail_msg("%s: %u steps, with few rows %u", names[i], steps, few[i]);
		}
		execute(p, "ROLLBACK");
	}
}

/* ---- threads ---- */

struct crowd {
	struct place *p;
	_Atomic unsigned delivered, wrong;
	_Atomic unsigned last[8]; /* of each branch */
	atomic_bool filled;
};
#define CROWD_ROUNDS 40u

static void send_some(struct crowd *c, const char *lease)
{
	struct taken t = claim(c->p, lease, 0, 3);

	for (size_t i = 0; i < t.n; i++) {
		unsigned branch = (unsigned)(t.claims[i].hook.branch[0] - '0'), n = number_of(&t.claims[i].hook.new);

		/* The one before has ended. */
		if (atomic_fetch_add(&c->last[branch], 1) + 1 != n)
			atomic_fetch_add(&c->wrong, 1);
		finish(c->p, &t.claims[i], lease, WR_OUT_DELIVERED, 0);
		atomic_fetch_add(&c->delivered, 1);
	}
}

static void *deliver_some(void *arg)
{
	struct crowd *c = arg;
	char lease[32];

	snprintf(lease, sizeof lease, "%p", (void *)&lease);
	while (atomic_load(&c->delivered) < CROWD_ROUNDS * 8 && !atomic_load(&c->wrong))
		send_some(c, lease);
	return NULL;
}

static void senders_share_without_doubles(void **state)
{
	struct place *p = *state;
	struct crowd c = {.p = p};
	pthread_t threads[3];

	add_trigger(p, &(struct options){.since = 0});
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, deliver_some, &c), 0);
	for (unsigned i = 0; i < CROWD_ROUNDS; i++)
		for (unsigned b = 0; b < 8; b++) {
			char name[32];

			snprintf(name, sizeof name, "refs/heads/%u", b);
			event(p, 0, name, i, i + 1);
		}
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(c.wrong, 0);
	assert_int_equal(c.delivered, CROWD_ROUNDS * 8);
	check(p);
}

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, open_place, close_place)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bodies_are_what_the_reference_says),
		cmocka_unit_test(branches_that_are_no_text_are_mended),
		IN_PLACE(only_moves_of_branches_count),
		IN_PLACE(a_row_has_what_the_event_says),
		IN_PLACE(other_words_for_who_are_not_told),
		IN_PLACE(branches_are_filtered),
		IN_PLACE(very_long_filters_are_for_who_judges),
		IN_PLACE(the_default_branch_is_followed),
		IN_PLACE(a_branch_waits_for_its_first),
		IN_PLACE(what_is_cut_off_was_no_attempt),
		IN_PLACE(an_outcome_of_another_ones_row_is_ignored),
		IN_PLACE(what_has_to_be_looked_at_holds_its_branch_up),
		IN_PLACE(accounts_take_turns_at_judging),
		IN_PLACE(extended_wants_to_know_whether_it_was_forced),
		IN_PLACE(a_paused_trigger_waits_and_goes_on_in_order),
		IN_PLACE(what_was_deleted_goes_in_small_pieces),
		IN_PLACE(many_branches_wake_in_pieces),
		IN_PLACE(resumed_twice_in_one_moment_wakes_all),
		IN_PLACE(what_waits_too_long_with_a_paused_trigger_is_given_up),
		IN_PLACE(a_clock_that_goes_back_holds_nothing_up),
		IN_PLACE(what_follows_is_due_at_once),
		IN_PLACE(rewinding_goes_in_pieces),
		IN_PLACE(nothing_is_sent_for_a_deleted_trigger),
		IN_PLACE(the_next_row_is_another_one),
		IN_PLACE(another_endpoint_is_another_turn),
		IN_PLACE(history_ends_by_age_and_number),
		IN_PLACE(an_account_with_too_many_loses_its_oldest),
		IN_PLACE(what_is_under_way_is_left),
		IN_PLACE(rows_of_dead_processes_are_ready_again),
		IN_PLACE(no_account_takes_all),
		IN_PLACE(hosts_of_an_account_take_turns),
		IN_PLACE(who_has_no_room_hides_nobody),
		IN_PLACE(rooms_count_what_the_call_has_claimed),
		IN_PLACE(deliveries_are_seen_and_asked_for_again),
		IN_PLACE(no_statement_of_the_queue_sorts),
		IN_PLACE(a_statement_takes_as_many_steps_for_any_number_of_rows),
		IN_PLACE(senders_share_without_doubles),
	};

	/* Failures on purpose need no lines. */
	wr_log_set_threshold(WR_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
