#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>

#include <cmocka.h>

#include "core/base/gate.h"
#include "core/base/lane.h"
#include "core/base/threads.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool hold;
static int inside, most_inside, done;
static char order[400];
static size_t n_order;

struct work {
	char name;
};

static void reset(void)
{
	hold = false;
	inside = most_inside = done = 0;
	n_order = 0;
	memset(order, 0, sizeof order);
}

/* Notes its name, and stays while the test holds. */
static void work(void *arg)
{
	struct work *w = arg;

	pthread_mutex_lock(&lock);
	order[n_order++] = w->name;
	inside++;
	if (inside > most_inside)
		most_inside = inside;
	pthread_cond_broadcast(&changed);
	while (hold)
		pthread_cond_wait(&changed, &lock);
	inside--;
	done++;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void set_hold(bool on)
{
	pthread_mutex_lock(&lock);
	hold = on;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void wait_for(const int *what, int n)
{
	pthread_mutex_lock(&lock);
	while (*what != n)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

static unsigned keep = 4;

static struct wr_lane *lane_of(unsigned threads, unsigned queue, unsigned share)
{
	struct wr_lane_config cfg = {.name = "test",
				     .threads = threads,
				     .keep = keep,
				     .idle_ms = 100,
				     .queue_max = queue,
				     .account_share = share};
	struct wr_lane *lane;

	assert_int_equal(wr_lane_new(&lane, &cfg, NULL), WR_OK);
	reset();
	return lane;
}

static enum wr_code submit(struct wr_lane *lane, const char *account, struct work *w)
{
	return wr_lane_submit(lane, wr_str(account), work, w, NULL);
}

static void end(struct wr_lane *lane)
{
	set_hold(false);
	assert_true(wr_lane_stop(lane, 20000));
	wr_lane_free(lane);
}

static void test_full_queue(void **state)
{
	struct wr_lane *lane = lane_of(1, 2, 100);
	struct work w = {'w'};

	(void)state;
	set_hold(true);
	assert_int_equal(submit(lane, "a", &w), WR_OK);
	wait_for(&inside, 1);
	assert_false(wr_lane_full(lane, WR_S("b")));
	assert_int_equal(submit(lane, "a", &w), WR_OK);
	assert_int_equal(submit(lane, "b", &w), WR_OK);
	assert_true(wr_lane_full(lane, WR_S("c")));
	assert_int_equal(submit(lane, "c", &w), WR_E_UNAVAILABLE);
	set_hold(false);
	wait_for(&done, 3);
	assert_false(wr_lane_full(lane, WR_S("c")));
	end(lane);
}

/* One account may have half of four threads and half of a queue of four; the others find some of both. */
static void test_share(void **state)
{
	struct wr_lane *lane = lane_of(4, 4, 50);
	struct work a = {'a'}, b = {'b'}, c = {'c'};

	(void)state;
	set_hold(true);
	for (int i = 0; i < 2; i++)
		assert_int_equal(submit(lane, "a", &a), WR_OK);
	wait_for(&inside, 2);
	for (int i = 0; i < 2; i++)
		assert_int_equal(submit(lane, "a", &a), WR_OK);
	assert_true(wr_lane_full(lane, WR_S("a")));
	assert_int_equal(submit(lane, "a", &a), WR_E_UNAVAILABLE);
	assert_false(wr_lane_full(lane, WR_S("b")));
	/* The second may have half of what the first left: the third still finds a thread. */
	assert_int_equal(submit(lane, "b", &b), WR_OK);
	wait_for(&inside, 3);
	assert_int_equal(submit(lane, "b", &b), WR_OK);
	assert_int_equal(submit(lane, "c", &c), WR_OK);
	wait_for(&inside, 4);
	assert_string_equal(order, "aabc");
	set_hold(false);
	wait_for(&done, 7);
	end(lane);
}

/* Two accounts whose jobs do not end: neither gets all, nor both together, and a third always gets a thread. */
static void test_no_account_takes_all(void **state)
{
	struct wr_lane *lane = lane_of(100, 1000, 75);
	struct work a = {'a'}, b = {'b'}, c = {'c'};

	(void)state;
	set_hold(true);
	for (int i = 0; i < 80; i++)
		assert_int_equal(submit(lane, "a", &a), WR_OK);
	wait_for(&inside, 75);
	for (int i = 0; i < 80; i++)
		assert_int_equal(submit(lane, "b", &b), WR_OK);
	wait_for(&inside, 93);
	for (int i = 0; i < 3; i++)
		assert_int_equal(submit(lane, "c", &c), WR_OK);
	wait_for(&inside, 96);
	assert_memory_equal(order + 93, "ccc", 3);
	assert_int_equal(wr_lane_threads(lane), 96);
	set_hold(false);
	wait_for(&done, 163);
	end(lane);
}

static void test_threads_come_and_go(void **state)
{
	struct wr_lane *lane;
	struct work w = {'w'};

	(void)state;
	keep = 2;
	lane = lane_of(50, 1000, 100);
	keep = 4;
	assert_int_equal(wr_lane_threads(lane), 1);
	for (int turn = 1; turn <= 3; turn++) {
		set_hold(true);
		for (int i = 0; i < 60; i++)
			assert_int_equal(submit(lane, "a", &w), WR_OK);
		/* Each that waits holds one; the rest of the jobs wait for them. */
		wait_for(&inside, 50);
		assert_int_equal(wr_lane_threads(lane), 50);
		assert_false(wr_lane_full(lane, WR_S("a")));
		set_hold(false);
		wait_for(&done, 60 * turn);
		while (wr_lane_threads(lane) > 2)
			sched_yield();
		n_order = 0;
	}
	assert_int_equal(most_inside, 50);
	end(lane);
}

static void test_turns(void **state)
{
	struct wr_lane *lane = lane_of(1, 100, 100);
	struct work a = {'a'}, b = {'b'}, c = {'c'};

	(void)state;
	set_hold(true);
	assert_int_equal(submit(lane, "a", &a), WR_OK);
	wait_for(&inside, 1);
	for (int i = 0; i < 4; i++)
		assert_int_equal(submit(lane, "a", &a), WR_OK);
	for (int i = 0; i < 2; i++)
		assert_int_equal(submit(lane, "b", &b), WR_OK);
	assert_int_equal(submit(lane, "c", &c), WR_OK);
	set_hold(false);
	wait_for(&done, 8);
	assert_string_equal(order, "aabcabaa");
	end(lane);
}

static void test_stop(void **state)
{
	struct wr_lane *lane = lane_of(2, 10, 50);
	struct work w = {'w'};

	(void)state;
	set_hold(true);
	for (int i = 0; i < 5; i++)
		assert_int_equal(submit(lane, "a", &w), WR_OK);
	wait_for(&inside, 1);
	/* A job that does not end is told, not waited for. */
	assert_false(wr_lane_stop(lane, 50));
	assert_int_equal(submit(lane, "b", &w), WR_E_UNAVAILABLE);
	set_hold(false);
	assert_true(wr_lane_stop(lane, 20000));
	assert_int_equal(done, 5);
	wr_lane_free(lane);
}

/* Many accounts come and go, from several threads. */
struct load {
	struct wr_lane *lane;
	unsigned seed;
};
static _Atomic int ran, taken;

static void count(void *arg)
{
	(void)arg;
	atomic_fetch_add(&ran, 1);
}

static void load_main(void *arg)
{
	struct load *load = arg;

	for (int i = 0; i < 3000; i++) {
		char key[60];

		load->seed = load->seed * 1103515245 + 12345;
		snprintf(key, sizeof key, "%s%u",
			 load->seed & 0x100000 ? "an account with a name longer than any id " : "", load->seed >> 24);
		if (wr_lane_submit(load->lane, wr_str(key), count, NULL, NULL) == WR_OK)
			atomic_fetch_add(&taken, 1);
	}
}

static void test_load(void **state)
{
	struct wr_lane *lane = lane_of(4, 50, 30);
	struct load loads[4];
	pthread_t ids[4];

	(void)state;
	atomic_store(&ran, 0);
	atomic_store(&taken, 0);
	for (unsigned i = 0; i < 4; i++) {
		loads[i] = (struct load){lane, i + 1};
		assert_int_equal(wr_thread_start(&ids[i], "load", 0, load_main, &loads[i], NULL), WR_OK);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(ids[i], NULL);
	end(lane);
	assert_true(atomic_load(&taken) > 0);
	assert_int_equal(atomic_load(&ran), atomic_load(&taken));
}

/* ---- the gate ---- */

static struct wr_gate *gate;
static _Atomic int in_gate, most_in_gate;

static void gate_main(void *arg)
{
	(void)arg;
	for (int i = 0; i < 500; i++) {
		int n;

		wr_gate_enter(gate, WR_S("one"));
		n = atomic_fetch_add(&in_gate, 1) + 1;
		if (n > atomic_load(&most_in_gate))
			atomic_store(&most_in_gate, n);
		sched_yield();
		atomic_fetch_sub(&in_gate, 1);
		wr_gate_leave(gate);
	}
}

static void test_gate(void **state)
{
	pthread_t ids[6];

	(void)state;
	assert_int_equal(wr_gate_new(&gate, 2, NULL), WR_OK);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(wr_thread_start(&ids[i], "gate", 0, gate_main, NULL, NULL), WR_OK);
	for (unsigned i = 0; i < 6; i++)
		pthread_join(ids[i], NULL);
	assert_int_equal(atomic_load(&in_gate), 0);
	assert_in_range(atomic_load(&most_in_gate), 1, 2);
	wr_gate_free(gate);
}

static char gate_order[16];
static _Atomic size_t gate_entered;

static void gate_turn_main(void *arg)
{
	const char *account = arg;

	wr_gate_enter(gate, wr_str(account));
	gate_order[atomic_fetch_add(&gate_entered, 1)] = account[0];
	wr_gate_leave(gate);
}

/* One account's threads are many and came first: another's does not wait for all of them. */
static void test_gate_turns(void **state)
{
	static char greedy[] = "a", other[] = "b", third[] = "c";
	char *const comers[] = {greedy, greedy, greedy, greedy, other, other, third};
	pthread_t ids[WR_ARRAY_LEN(comers)];

	(void)state;
	assert_int_equal(wr_gate_new(&gate, 1, NULL), WR_OK);
	wr_gate_enter(gate, WR_S("a"));
	for (size_t i = 0; i < WR_ARRAY_LEN(comers); i++) {
		assert_int_equal(wr_thread_start(&ids[i], "gate", 0, gate_turn_main, comers[i], NULL), WR_OK);
		while (wr_gate_waiting(gate) < i + 1)
			sched_yield();
	}
	wr_gate_leave(gate);
	for (size_t i = 0; i < WR_ARRAY_LEN(comers); i++)
		pthread_join(ids[i], NULL);
	assert_string_equal(gate_order, "abcabaa");
	assert_int_equal(wr_gate_waiting(gate), 0);
	wr_gate_free(gate);
}

/* Stays until the test has seen it. */
static void gate_visit(void *arg)
{
	(void)arg;
	wr_gate_enter(gate, WR_S("b"));
	atomic_fetch_add(&in_gate, 1);
	while (atomic_load(&in_gate) != 2)
		sched_yield();
	wr_gate_leave(gate);
}

static void begin_visit(pthread_t *id)
{
	atomic_store(&in_gate, 0);
	assert_int_equal(wr_thread_start(id, "gate", 0, gate_visit, NULL, NULL), WR_OK);
	while (wr_gate_waiting(gate) == 0)
		sched_yield();
}

static void end_visit(pthread_t id)
{
	while (atomic_load(&in_gate) != 1)
		sched_yield();
	atomic_store(&in_gate, 2);
	pthread_join(id, NULL);
}

/* Who rests makes room, once however often it says so, and has its place again behind those who took it. */
static void test_gate_rest(void **state)
{
	pthread_t id;

	(void)state;
	/* On a thread that is in no gate nothing happens. */
	wr_gate_rest();
	wr_gate_give_way();
	wr_gate_go_on();
	assert_int_equal(wr_gate_new(&gate, 1, NULL), WR_OK);
	wr_gate_enter(gate, WR_S("a"));
	begin_visit(&id);
	wr_gate_rest();
	wr_gate_rest();
	wr_gate_give_way();
	wr_gate_go_on();
	end_visit(id);
	wr_gate_go_on();
	begin_visit(&id);
	wr_gate_leave(gate);
	end_visit(id);
	/* It is in none again. */
	wr_gate_rest();
	wr_gate_go_on();
	wr_gate_enter(gate, WR_S("a"));
	wr_gate_leave(gate);
	wr_gate_free(gate);
}

static _Atomic bool gate_was_left;

static void gate_pass(void *arg)
{
	(void)arg;
	wr_gate_enter(gate, WR_S("b"));
	atomic_store(&gate_was_left, true);
	wr_gate_leave(gate);
}

/* Long work is interrupted for those who wait, and goes on inside. */
static void test_gate_give_way(void **state)
{
	pthread_t id;

	(void)state;
	assert_int_equal(wr_gate_new(&gate, 1, NULL), WR_OK);
	wr_gate_enter(gate, WR_S("a"));
	assert_int_equal(wr_thread_start(&id, "gate", 0, gate_pass, NULL, NULL), WR_OK);
	while (!atomic_load(&gate_was_left))
		wr_gate_give_way();
	pthread_join(id, NULL);
	begin_visit(&id);
	assert_int_equal(atomic_load(&in_gate), 0);
	wr_gate_leave(gate);
	end_visit(id);
	wr_gate_free(gate);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full_queue), cmocka_unit_test(test_share), cmocka_unit_test(test_turns),
		cmocka_unit_test(test_no_account_takes_all), cmocka_unit_test(test_threads_come_and_go),
		cmocka_unit_test(test_stop),       cmocka_unit_test(test_load),  cmocka_unit_test(test_gate),
		cmocka_unit_test(test_gate_turns), cmocka_unit_test(test_gate_rest), cmocka_unit_test(test_gate_give_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
