/*
 * triggers/delivery against a model: random events, attempts, crashes, pauses, deletions, in any order. Of each trigger and
 * branch the updates that it wants are sent in order; in the end none is missing and none was sent after its end.
 */
#include "deliveries_fixture.h"

#include "core/base/cleanup.h"

#define TRIGGERS 10u
#define BRANCHES 4u
#define WAITING 400u /* updates of one trigger and branch */
#define UP 200u
#define PROCESSES 3u

struct queue {
	unsigned v[WAITING];
	size_t first, end;
	bool up; /* the first is under way */
};

struct model {
	struct place *p;
	unsigned seed, number, operations;
	struct {
		int64_t seq;
		unsigned repo;
		bool there, paused, globs, extended;
		struct queue queues[BRANCHES];
	} triggers[TRIGGERS];
	unsigned tips[REPOS][BRANCHES];
	struct {
		struct wr_claim claim;
		unsigned process;
		bool there;
	} up[UP];
	char leases[PROCESSES][32];
	unsigned births;
	int64_t now;
	size_t ended;
};

static unsigned pick(struct model *m, unsigned n)
{
	m->seed = m->seed * 1664525u + 1013904223u;
	return (m->seed >> 8) % n;
}

/* Whether one with globs wants it: a fixed choice, that the judge repeats. */
static bool wants(unsigned number)
{
	return number % 3 != 0;
}

static unsigned find_trigger(const struct model *m, int64_t seq)
{
	for (unsigned i = 0; i < TRIGGERS; i++)
		if (m->triggers[i].seq == seq)
			return i;
	return TRIGGERS;
}

static void be_born(struct model *m, unsigned process)
{
	snprintf(m->leases[process], sizeof m->leases[process], "process-%u", m->births++);
}

/* ---- operations ---- */

static void add_one(struct model *m, unsigned i)
{
	struct options o = {.repo = pick(m, REPOS), .host = pick(m, HOSTS)};

	memset(&m->triggers[i], 0, sizeof m->triggers[i]);
	m->triggers[i].there = true;
	m->triggers[i].repo = o.repo;
	m->triggers[i].globs = pick(m, 2);
	m->triggers[i].extended = pick(m, 2);
	o.globs = m->triggers[i].globs ? "[\"*\"]" : NULL;
	o.payload = m->triggers[i].extended ? "extended" : NULL;
	m->triggers[i].seq = add_trigger(m->p, &o);
}

static bool has_room(const struct model *m, unsigned repo, unsigned branch)
{
	for (unsigned i = 0; i < TRIGGERS; i++)
		if (m->triggers[i].there && m->triggers[i].repo == repo && m->triggers[i].queues[branch].end == WAITING)
			return false;
	return true;
}

static void update(struct model *m)
{
	unsigned repo = pick(m, REPOS), branch = pick(m, BRANCHES), old = m->tips[repo][branch];
	unsigned new = old && pick(m, 10) == 0 ? 0 : ++m->number;
	char ref[32];

	if (!has_room(m, repo, branch))
		return;
	snprintf(ref, sizeof ref, "refs/heads/%u", branch);
	event(m->p, repo, ref, old, new);
	m->tips[repo][branch] = new;
	for (unsigned i = 0; i < TRIGGERS && new; i++)
		if (m->triggers[i].there && m->triggers[i].repo == repo && (!m->triggers[i].globs || wants(new)))
			m->triggers[i].queues[branch].v[m->triggers[i].queues[branch].end++] = new;
}

static void judge(struct model *m)
{
	static char behind[WR_UUID_LEN + 1];
	json_t *globs = NULL;
	struct wr_hook hook;
	enum wr_code code = wr_delivery_next_new(&hook, &globs, m->p->db, behind, &m->p->err);

	if (code == WR_E_NOT_THERE) {
		behind[0] = '\0';
		return;
	}
	assert_ok(code);
	memcpy(behind, hook.account_id, sizeof behind);
	hook.forced_known = hook.extended;
	assert_ok(wr_delivery_judged(m->p->db, &hook, !globs || wants(number_of(&hook.new)), &m->p->err));
	json_decref(globs);
}

static void note_claim(struct model *m, const struct wr_claim *claim, unsigned process)
{
	unsigned i = find_trigger(m, claim->hook.trigger_seq), slot = 0;
	struct queue *q;

	assert_true(i < TRIGGERS && m->triggers[i].there);
	q = &m->triggers[i].queues[claim->hook.branch[0] - '0'];
	assert_false(m->triggers[i].paused);
	assert_false(q->up);
	assert_true(q->first < q->end);
	assert_int_equal(number_of(&claim->hook.new), q->v[q->first]);
	assert_string_equal(claim->hook.repo_id, m->p->repos[m->triggers[i].repo].id);
	q->up = true;
	while (slot < UP && m->up[slot].there)
		slot++;
	assert_true(slot < UP);
	m->up[slot].claim = *claim;
	m->up[slot].process = process;
	m->up[slot].there = true;
}

static void claim_some(struct model *m)
{
	unsigned process = pick(m, PROCESSES);
	struct taken t;

	for (unsigned i = 0; i < ACCOUNTS; i++)
		m->p->room_account[i] = pick(m, 6);
	for (unsigned i = 0; i < HOSTS; i++)
		m->p->room_host[i] = pick(m, 4);
	t = claim(m->p, m->leases[process], m->now, 1 + pick(m, 12));
	for (size_t i = 0; i < t.n; i++)
		note_claim(m, &t.claims[i], process);
}

static void finish_one(struct model *m, unsigned slot)
{
	static const int whats[] = {WR_OUT_DELIVERED, WR_OUT_DELIVERED, WR_OUT_AGAIN, WR_OUT_GIVEN_UP, WR_OUT_CUT_OFF};
	int what = whats[pick(m, WR_ARRAY_LEN(whats))];
	const struct wr_claim *claim = &m->up[slot].claim;
	unsigned i = find_trigger(m, claim->hook.trigger_seq);
	struct queue *q;

	finish(m->p, claim, m->leases[m->up[slot].process], what, m->now + pick(m, 3000));
	m->up[slot].there = false;
	/* Its trigger is gone. */
	if (i == TRIGGERS)
		return;
	q = &m->triggers[i].queues[claim->hook.branch[0] - '0'];
	q->up = false;
	if (what == WR_OUT_DELIVERED || what == WR_OUT_GIVEN_UP) {
		q->first++;
		m->ended++;
	}
}

static void finish_some(struct model *m)
{
	for (unsigned slot = 0; slot < UP; slot++)
		if (m->up[slot].there && pick(m, 3) == 0)
			finish_one(m, slot);
}

static void recover(struct model *m, const char *own)
{
	assert_ok(wr_deliveries_recover(m->p->db, m->p->root, own, &m->p->err));
}

/* All processes end: nobody takes a name for one that lives, since none has a file. */
static void crash(struct model *m)
{
	for (unsigned slot = 0; slot < UP; slot++) {
		unsigned i = m->up[slot].there ? find_trigger(m, m->up[slot].claim.hook.trigger_seq) : TRIGGERS;

		if (i < TRIGGERS)
			m->triggers[i].queues[m->up[slot].claim.hook.branch[0] - '0'].up = false;
		m->up[slot].there = false;
	}
	for (unsigned i = 0; i < PROCESSES; i++)
		be_born(m, i);
	recover(m, m->leases[0]);
}

static void change(struct model *m)
{
	unsigned i = pick(m, TRIGGERS);

	switch (pick(m, 6)) {
	case 0:
		execute(m->p, "UPDATE push_trigger SET deleted_ms = 1 WHERE seq = %lld", (long long)m->triggers[i].seq);
		m->triggers[i].there = false;
		add_one(m, i);
		break;
	case 1:
	case 2:
		m->triggers[i].paused = !m->triggers[i].paused;
		pause_trigger(m->p, m->triggers[i].seq, m->triggers[i].paused);
		break;
	case 3:
		change_host(m->p, m->triggers[i].seq, pick(m, HOSTS));
		break;
	default:
		sweep(m->p, 0, 100000);
	}
}

static void operate(struct model *m)
{
	unsigned what = pick(m, 100);

	m->operations++;
	if (what < 35)
		update(m);
	else if (what < 55)
		judge(m);
	else if (what < 75)
		claim_some(m);
	else if (what < 90)
		finish_some(m);
	else if (what < 97)
		change(m);
	else if (what < 98)
		crash(m);
	else
		m->now += pick(m, 2000);
}

/* ---- the end: everything is sent ---- */

static void resume_all(struct model *m)
{
	for (unsigned i = 0; i < TRIGGERS; i++)
		if (m->triggers[i].paused)
			pause_trigger(m->p, m->triggers[i].seq, m->triggers[i].paused = false);
	memset(m->p->room_account, 0x7f, sizeof m->p->room_account);
	memset(m->p->room_host, 0x7f, sizeof m->p->room_host);
	while (number(m->p, "SELECT count(*) FROM delivery WHERE state = 0") > 0)
		judge(m);
	sweep(m->p, 0, 100000);
}

static void send_all(struct model *m)
{
	unsigned turns = 0;

	crash(m);
	resume_all(m);
	while (number(m->p, "SELECT count(*) FROM delivery WHERE ended_ms IS NULL") > 0) {
		struct taken t = claim(m->p, m->leases[0], m->now += 10000, CLAIMS);

		for (size_t i = 0; i < t.n; i++)
			note_claim(m, &t.claims[i], 0);
		finish_some(m);
		assert_true(++turns < 10000);
	}
	check(m->p);
	for (unsigned i = 0; i < TRIGGERS; i++)
		for (unsigned b = 0; b < BRANCHES; b++)
			assert_int_equal(m->triggers[i].queues[b].first, m->triggers[i].queues[b].end);
	assert_int_equal(number(m->p, "SELECT count(*) FROM push_trigger"), TRIGGERS);
	assert_int_equal(number(m->p, "SELECT coalesce(sum(pending), 0) FROM delivery_turn"), 0);
}

static void nothing_is_lost_and_nothing_comes_twice(void **state)
{
	const char *scale = getenv("WARREN_TEST_ROUNDS"), *seed = getenv("WARREN_TEST_SEED");
	double rounds = 2000 * (scale ? strtod(scale, NULL) : 1);
	WR_AUTO_MEM struct model *m = calloc(1, sizeof *m);

	m->p = *state;
	m->seed = seed ? (unsigned)strtoul(seed, NULL, 10) : 1;
	print_message("WARREN_TEST_SEED=%u\n", m->seed);
	for (unsigned i = 0; i < PROCESSES; i++)
		be_born(m, i);
	for (unsigned i = 0; i < TRIGGERS; i++)
		add_one(m, i);
	for (unsigned i = 0; i < rounds; i++) {
		operate(m);
		if (i % 8 == 0)
			check(m->p);
	}
	send_all(m);
	assert_true(rounds < 2000 || m->ended > 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nothing_is_lost_and_nothing_comes_twice, open_place, close_place),
	};

	wr_log_set_threshold(WR_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
