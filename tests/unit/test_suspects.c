/* What two crashes in a row name is parked; who only happened to be at work is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/suspects.h"
#include "core/base/threads.h"
#include "core/git/guard.h"

static struct wr_suspects *page(void)
{
	struct wr_suspects *s = NULL;

	assert_int_equal(wr_suspects_new(&s, NULL), WR_OK);
	return s;
}

enum cause { KILL_9, ABORT, OVERFLOW, BUS, SEGV_FROM_OUTSIDE, ABORT_OF_A_STRANGER };

struct thread {
	const char *name;
	pthread_barrier_t *begun;
	enum cause cause; /* of its death; KILL_9: none */
};

#ifndef WR_SANITIZED
/* Not to be foreseen by the compiler, nor made a loop. */
static unsigned deeper(volatile unsigned n)
{
	volatile char room[4096];

	room[n % sizeof room] = 1;
	return n == UINT_MAX ? 0 : deeper(n + 1) + (unsigned)room[0];
}

/* Behind the end of a mapped file. */
static char beyond(void)
{
	char path[] = "/tmp/warren-suspects-XXXXXX";
	int fd = mkstemp(path);
	const volatile char *map;

	unlink(path);
	map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	return map[0];
}
#endif

static void run(void *arg)
{
	struct thread *t = arg;
	struct wr_suspect_mark outer, inner;

	if (t->name) {
		wr_suspect_begin(&outer, t->name);
		wr_suspect_begin(&inner, "something inside");
		wr_suspect_end(&inner);
	}
	pthread_barrier_wait(t->begun);
	if (t->cause == ABORT)
		abort();
#ifndef WR_SANITIZED
	if (t->cause == OVERFLOW)
		_exit((int)deeper(0));
	if (t->cause == BUS)
		_exit(beyond());
#endif
	for (;;)
		pause();
}

/* By a process of its own, and to the whole process. */
static void from_outside(pid_t pid)
{
	if (fork() == 0) {
		kill(pid, SIGSEGV);
		_exit(0);
	}
}

static void start(struct thread *t)
{
	pthread_t id;

	if (wr_thread_start(&id, "test", 0, run, t, NULL) != WR_OK)
		_exit(1);
}

/* A worker with a thread for each name, which dies: through the thread `guilty`, or of something else. */
static void death(struct wr_suspects *s, const char *const *names, unsigned n, unsigned guilty, enum cause cause)
{
	bool of_thread = cause == ABORT || cause == OVERFLOW || cause == BUS;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct thread threads[8], stranger;
		struct wr_guard *guard;
		pthread_barrier_t begun;

		wr_suspects_use(s);
		/* As in the program, where packs are mapped. */
		if (wr_guard_new(&guard, &begun, sizeof begun, NULL) != WR_OK)
			_exit(1);
		pthread_barrier_init(&begun, NULL, n + 1 + (cause == ABORT_OF_A_STRANGER));
		for (unsigned i = 0; i < n; i++) {
			threads[i] = (struct thread){names[i], &begun, of_thread && i == guilty ? cause : KILL_9};
			start(&threads[i]);
		}
		stranger = (struct thread){NULL, &begun, ABORT};
		if (cause == ABORT_OF_A_STRANGER)
			start(&stranger);
		pthread_barrier_wait(&begun);
		if (cause == KILL_9)
			kill(getpid(), SIGKILL);
		if (cause == SEGV_FROM_OUTSIDE)
			from_outside(getpid());
		for (;;)
			pause();
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

static size_t judge(struct wr_suspects *s, char (*parked)[WR_SUSPECT_MAX], enum wr_suspect_end how)
{
	return wr_suspects_judge(parked, 8, s, how);
}

static void what_is_parked_can_be_taken_back(void **state)
{
	static const char *const names[] = {"b"};
	char parked[8][WR_SUSPECT_MAX];
	struct wr_suspects *s = page();

	(void)state;
	death(s, names, 1, 0, KILL_9);
	assert_int_equal(judge(s, parked, WR_SUSPECT_END_MEMORY), 0);
	death(s, names, 1, 0, KILL_9);
	assert_int_equal(judge(s, parked, WR_SUSPECT_END_MEMORY), 1);
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

/* The kernel killed for memory, again and again: of several at work none is the one, also where one is always there. */
static void who_is_not_alone_is_not_suspected(void **state)
{
	static const char *const first[] = {"busy", "a"}, *const second[] = {"b", "busy"}, *const alone[] = {"busy"};
	char parked[8][WR_SUSPECT_MAX];
	struct wr_suspects *s = page();

	(void)state;
	death(s, first, 2, 0, KILL_9);
	assert_int_equal(judge(s, parked, WR_SUSPECT_END_MEMORY), 0);
	death(s, second, 2, 0, KILL_9);
	assert_int_equal(judge(s, parked, WR_SUSPECT_END_MEMORY), 0);
	death(s, alone, 1, 0, KILL_9);
	assert_int_equal(judge(s, parked, WR_SUSPECT_END_MEMORY), 0);
}

static void an_end_without_a_cause_clears_suspicion(void **state)
{
	static const char *const names[] = {"a"};
	char parked[8][WR_SUSPECT_MAX];
	struct wr_suspects *s = page();

	(void)state;
	for (int i = 0; i < 2; i++) {
		death(s, names, 1, 0, KILL_9);
		assert_int_equal(judge(s, parked, WR_SUSPECT_END_MEMORY), 0);
		death(s, names, 1, 0, KILL_9);
		assert_int_equal(judge(s, parked, WR_SUSPECT_END_OTHER), 0);
	}
}

#ifndef WR_SANITIZED
static void the_thread_that_died_is_the_one(void **state)
{
	static const char *const names[] = {"innocent", "guilty", "bystander"};
	char parked[8][WR_SUSPECT_MAX];
	struct wr_suspects *s = page();

	(void)state;
	death(s, names, 3, 1, ABORT);
	assert_int_equal(judge(s, parked, WR_SUSPECT_END_CRASH), 0);
	death(s, names, 3, 1, ABORT);
	assert_int_equal(judge(s, parked, WR_SUSPECT_END_CRASH), 1);
	assert_string_equal(parked[0], "guilty");
}

/* Also by a stack that is full, or a mapped file that is not a guarded one. */
static void whatever_it_dies_of(void **state)
{
	static const char *const names[] = {"innocent", "guilty"};
	static const enum cause causes[] = {OVERFLOW, BUS};
	char parked[8][WR_SUSPECT_MAX];

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(causes); i++) {
		struct wr_suspects *s = page();

		death(s, names, 2, 1, causes[i]);
		assert_int_equal(judge(s, parked, WR_SUSPECT_END_CRASH), 0);
		death(s, names, 2, 1, causes[i]);
		assert_int_equal(judge(s, parked, WR_SUSPECT_END_CRASH), 1);
		assert_string_equal(parked[0], "guilty");
	}
}

/* A thread that works on no repository, or a signal that somebody sent: those at work have nothing to do with it. */
static void who_only_looks_on_is_not_suspected(void **state)
{
	static const char *const names[] = {"innocent"};
	static const enum cause causes[] = {ABORT_OF_A_STRANGER, SEGV_FROM_OUTSIDE};
	char parked[8][WR_SUSPECT_MAX];

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(causes); i++) {
		struct wr_suspects *s = page();

		for (int n = 0; n < 3; n++) {
			death(s, names, 1, 0, causes[i]);
			assert_int_equal(judge(s, parked, WR_SUSPECT_END_CRASH), 0);
		}
	}
}

static void two_different_ones_are_not_parked(void **state)
{
	static const char *const names[] = {"a", "b"};
	char parked[8][WR_SUSPECT_MAX];
	struct wr_suspects *s = page();

	(void)state;
	death(s, names, 2, 0, ABORT);
	assert_int_equal(judge(s, parked, WR_SUSPECT_END_CRASH), 0);
	death(s, names, 2, 1, ABORT);
	assert_int_equal(judge(s, parked, WR_SUSPECT_END_CRASH), 0);
	death(s, names, 2, 1, ABORT);
	assert_int_equal(judge(s, parked, WR_SUSPECT_END_CRASH), 1);
	assert_string_equal(parked[0], "b");
}
#endif

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
		cmocka_unit_test(what_is_parked_can_be_taken_back),
		cmocka_unit_test(who_is_not_alone_is_not_suspected),
		cmocka_unit_test(an_end_without_a_cause_clears_suspicion),
#ifndef WR_SANITIZED
		cmocka_unit_test(the_thread_that_died_is_the_one),
		cmocka_unit_test(whatever_it_dies_of),
		cmocka_unit_test(who_only_looks_on_is_not_suspected),
		cmocka_unit_test(two_different_ones_are_not_parked),
#endif
	};

	return cmocka_run_group_tests_name("suspects", tests, NULL, NULL);
}
