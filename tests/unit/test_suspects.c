/* What two deaths in a row name is parked; what happens between, or names too many, is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "core/base/suspects.h"

static struct wr_suspects *page(void)
{
	struct wr_suspects *s = NULL;

	assert_int_equal(wr_suspects_new(&s, NULL), WR_OK);
	return s;
}

struct thread {
	const char *name;
	pthread_barrier_t *begun;
	bool dies;
};

static void *run(void *arg)
{
	struct thread *t = arg;
	struct wr_suspect_mark outer, inner;

	wr_suspect_begin(&outer, t->name);
	wr_suspect_begin(&inner, "something inside");
	wr_suspect_end(&inner);
	pthread_barrier_wait(t->begun);
	if (t->dies)
		abort();
	for (;;)
		pause();
	return NULL;
}

/* A worker with a thread for each name, which dies: by a signal of the thread `guilty`, or from outside (-1). */
static void death(struct wr_suspects *s, const char *const *names, unsigned n, int guilty)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct thread threads[8];
		pthread_barrier_t begun;
		pthread_t id;

		wr_suspects_use(s);
		pthread_barrier_init(&begun, NULL, n + 1);
		for (unsigned i = 0; i < n; i++) {
			threads[i] = (struct thread){names[i], &begun, (int)i == guilty};
			if (pthread_create(&id, NULL, run, &threads[i]) != 0)
				_exit(1);
		}
		pthread_barrier_wait(&begun);
		if (guilty < 0)
			kill(getpid(), SIGKILL);
		for (;;)
			pause();
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

static size_t judge(struct wr_suspects *s, char (*parked)[WR_SUSPECT_MAX])
{
	return wr_suspects_judge(parked, 8, s, false);
}

static void two_deaths_of_one_name_park_it(void **state)
{
	static const char *const first[] = {"a", "b", "c"}, *const second[] = {"d", "b"};
	char parked[8][WR_SUSPECT_MAX];
	struct wr_suspects *s = page();

	(void)state;
	death(s, first, 3, -1);
	assert_int_equal(judge(s, parked), 0);
	death(s, second, 2, -1);
	assert_int_equal(judge(s, parked), 1);
	assert_string_equal(parked[0], "b");
	wr_suspects_use(s);
	assert_true(wr_suspect_parked("b"));
	assert_false(wr_suspect_parked("d"));
	assert_int_equal(wr_suspects_parked(parked, 8), 1);
	assert_true(wr_suspect_unpark("b"));
	assert_false(wr_suspect_unpark("b"));
	assert_false(wr_suspect_parked("b"));
	assert_int_equal(wr_suspects_parked(parked, 8), 0);
}

#ifndef WR_SANITIZED
static void the_thread_that_died_is_the_one(void **state)
{
	static const char *const names[] = {"innocent", "guilty", "bystander"};
	char parked[8][WR_SUSPECT_MAX];
	struct wr_suspects *s = page();

	(void)state;
	death(s, names, 3, 1);
	assert_int_equal(judge(s, parked), 0);
	death(s, names, 3, 1);
	assert_int_equal(judge(s, parked), 1);
	assert_string_equal(parked[0], "guilty");
}

static void two_different_ones_are_not_parked(void **state)
{
	static const char *const names[] = {"a", "b"};
	char parked[8][WR_SUSPECT_MAX];
	struct wr_suspects *s = page();

	(void)state;
	death(s, names, 2, 0);
	assert_int_equal(judge(s, parked), 0);
	death(s, names, 2, 1);
	assert_int_equal(judge(s, parked), 0);
	death(s, names, 2, 1);
	assert_int_equal(judge(s, parked), 1);
	assert_string_equal(parked[0], "b");
}
#endif

/* The kernel killed for memory, twice: everybody at work is no suspect. */
static void too_many_are_nobody(void **state)
{
	static const char *const names[] = {"a", "b", "c", "d", "e", "f"};
	char parked[8][WR_SUSPECT_MAX];
	struct wr_suspects *s = page();

	(void)state;
	for (int i = 0; i < 3; i++) {
		death(s, names, 6, -1);
		assert_int_equal(judge(s, parked), 0);
	}
}

static void an_end_in_order_clears_suspicion(void **state)
{
	static const char *const names[] = {"a"};
	char parked[8][WR_SUSPECT_MAX];
	struct wr_suspects *s = page();

	(void)state;
	death(s, names, 1, -1);
	assert_int_equal(judge(s, parked), 0);
	assert_int_equal(wr_suspects_judge(parked, 8, s, true), 0);
	death(s, names, 1, -1);
	assert_int_equal(judge(s, parked), 0);
}

static void without_a_page_nothing_happens(void **state)
{
	struct wr_suspect_mark mark;

	(void)state;
	wr_suspect_begin(&mark, "a");
	wr_suspect_end(&mark);
	assert_false(wr_suspect_parked("a"));
	assert_false(wr_suspect_unpark("a"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_page_nothing_happens),
		cmocka_unit_test(two_deaths_of_one_name_park_it),
#ifndef WR_SANITIZED
		cmocka_unit_test(the_thread_that_died_is_the_one),
		cmocka_unit_test(two_different_ones_are_not_parked),
#endif
		cmocka_unit_test(too_many_are_nobody),
		cmocka_unit_test(an_end_in_order_clears_suspicion),
	};

	return cmocka_run_group_tests_name("suspects", tests, NULL, NULL);
}
