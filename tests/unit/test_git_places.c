/* Who has a place among those who compute (core/base/gate.h) while it appends, and after. */
#include "tests/unit/git_fixture.h"

#include <pthread.h>
#include <semaphore.h>
#include <time.h>

#include "core/base/gate.h"

#define DEADLINE_S 60

static struct wr_gate *gate; /* of one place */
static sem_t queued;

/* An update of nothing; fn may be NULL. */
struct asking {
	struct fx *f;
	bool brief;
	enum wr_code (*fn)(void *arg, struct wr_snapshot *tips, struct wr_change *change, struct wr_error *err);
	void (*waiting)(void *arg);
	enum wr_code wanted;
};

static void append(const struct asking *a)
{
	struct wr_ref_update none = {.name = WR_S("refs/heads/none")};
	struct wr_change change = {
		.updates = &none, .count = 1, .brief = a->brief, .fn = a->fn, .waiting = a->waiting, .arg = a->f};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;

	assert_int_equal(wr_git_append(a->f->repo, &change, &err), a->wanted);
}

static void *compute(void *arg)
{
	(void)arg;
	wr_gate_enter(gate, WR_S("another"));
	wr_gate_leave(gate);
	return NULL;
}

static void join(pthread_t id)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += DEADLINE_S;
	assert_int_equal(pthread_timedjoin_np(id, NULL, &until), 0);
}

static void until_somebody_waits(void)
{
	const struct timespec tick = {.tv_nsec = 1000000};
	int left = DEADLINE_S * 1000;

	while (!wr_gate_waiting(gate) && left-- > 0)
		nanosleep(&tick, NULL);
	assert_int_equal(wr_gate_waiting(gate), 1);
}

/* has: whether this thread, which is inside, has the place. */
static void place_is(bool has)
{
	pthread_t id;

	assert_int_equal(pthread_create(&id, NULL, compute, NULL), 0);
	if (has) {
		until_somebody_waits();
		/* Given once, and taken back: the other one gets through. */
		wr_gate_rest();
		wr_gate_go_on();
	}
	join(id);
}

/* Appends inside; then it has the place or not, and what it does on its way out changes nothing of that. */
static void inside(const struct asking *a)
{
	bool has = !a->brief;

	wr_gate_enter(gate, WR_S("one"));
	append(a);
	place_is(has);
	wr_gate_rest();
	place_is(false);
	wr_gate_go_on();
	place_is(has);
	wr_gate_leave(gate);
}

/* The one place is there again, and only one. */
static void one_place(void)
{
	wr_gate_enter(gate, WR_S("one"));
	place_is(true);
	wr_gate_leave(gate);
}

static enum wr_code refuse(void *arg, struct wr_snapshot *tips, struct wr_change *change, struct wr_error *err)
{
	(void)arg;
	(void)tips;
	(void)change;
	return wr_fail(err, WR_E_CONFLICTING_PARENT, "refused");
}

static void who_has_the_turn(void **state)
{
	struct fx *f = *state;

	for (int brief = 0; brief < 2; brief++) {
		inside(&(struct asking){.f = f, .brief = brief, .wanted = WR_OK});
		one_place();
		inside(&(struct asking){.f = f, .brief = brief, .fn = refuse, .wanted = WR_E_CONFLICTING_PARENT});
		one_place();
	}
}

/* ---- worked off in another's turn ---- */

static void is_queued(void *arg)
{
	(void)arg;
	sem_post(&queued);
}

static enum wr_code until_queued(void *arg, struct wr_snapshot *tips, struct wr_change *change, struct wr_error *err)
{
	struct timespec until;

	(void)arg;
	(void)tips;
	(void)change;
	(void)err;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += DEADLINE_S;
	assert_int_equal(sem_timedwait(&queued, &until), 0);
	return WR_OK;
}

static sem_t begun;

static enum wr_code begin_and_wait(void *arg, struct wr_snapshot *tips, struct wr_change *change, struct wr_error *err)
{
	sem_post(&begun);
	return until_queued(arg, tips, change, err);
}

static void *take_the_turn(void *arg)
{
	append(&(struct asking){.f = arg, .fn = begin_and_wait, .wanted = WR_OK});
	return NULL;
}

static void who_waits_for_the_turn(void **state)
{
	struct fx *f = *state;

	for (int brief = 0; brief < 2; brief++) {
		pthread_t id;

		assert_int_equal(pthread_create(&id, NULL, take_the_turn, f), 0);
		assert_int_equal(sem_wait(&begun), 0);
		inside(&(struct asking){.f = f, .brief = brief, .waiting = is_queued, .wanted = WR_OK});
		join(id);
		one_place();
		while (sem_trywait(&queued) == 0)
			continue;
	}
}

static int setup(void **state)
{
	assert_int_equal(wr_gate_new(&gate, 1, NULL), WR_OK);
	assert_int_equal(sem_init(&queued, 0, 0), 0);
	assert_int_equal(sem_init(&begun, 0, 0), 0);
	return fx_setup(state);
}

static int teardown(void **state)
{
	sem_destroy(&begun);
	sem_destroy(&queued);
	wr_gate_free(gate);
	return fx_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(who_has_the_turn, setup, teardown),
		cmocka_unit_test_setup_teardown(who_waits_for_the_turn, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
