/* The supervisor: who says that the service is ready, and when a worker's death is its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/supervisor.h"

/* Shared with the supervisor, which is a process of its own, and with its workers. */
struct seen {
	atomic_uint starts, ready, closed;
	atomic_bool first[4]; /* what the workers were told, in the order of their starts */
	atomic_int starts_when_ready;
};

static struct seen *seen;

static unsigned note_start(const struct wr_worker_link *link)
{
	unsigned n = atomic_fetch_add(&seen->starts, 1);

	if (n < 4)
		atomic_store(&seen->first[n], link->first);
	return n;
}

/* The first one dies behind the word that it is ready; the second one serves, and asks for the end. */
static int dies_when_ready(void *arg, const struct wr_worker_link *link)
{
	unsigned n = note_start(link);
	sigset_t set;
	int number;

	(void)arg;
	wr_worker_ready(link);
	if (n == 0) {
		signal(SIGABRT, SIG_DFL);
		prctl(PR_SET_DUMPABLE, 0);
		abort();
	}
	kill(link->supervisor, SIGTERM);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	return sigwait(&set, &number) == 0 ? 0 : 9;
}

static int never_gets_ready(void *arg, const struct wr_worker_link *link)
{
	(void)arg;
	note_start(link);
	return 7;
}

static void say_ready(void *arg)
{
	(void)arg;
	atomic_fetch_add(&seen->ready, 1);
	atomic_store(&seen->starts_when_ready, (int)atomic_load(&seen->starts));
}

static void close_listener(void *arg)
{
	(void)arg;
	atomic_fetch_add(&seen->closed, 1);
}

/* The exit status of a supervisor with such workers; it has the signals of its process, so it gets one of its own. */
static int supervise(int (*work)(void *, const struct wr_worker_link *))
{
	char *argv[] = {NULL};
	const struct wr_supervisor s = {.work = work, .ready = say_ready, .close = close_listener, .stop_ms = 10000,
					.argv = argv, .own = {.listen_fd = -1, .lock_fd = -1}};
	pid_t pid;
	int status;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
		int own = 99;

		/* One that hangs is the test's failure and not its end. */
		alarm(60);
		_exit(wr_supervise(&own, &s, &err) == WR_OK ? own : 98);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void the_ready_line_comes_once_whoever_dies(void **state)
{
	(void)state;
	assert_int_equal(supervise(dies_when_ready), 0);
	assert_int_equal(atomic_load(&seen->starts), 2);
	assert_int_equal(atomic_load(&seen->ready), 1);
	/* Also where the worker was gone before anybody looked: its word counts, and the next one is told of it. */
	assert_int_equal(atomic_load(&seen->starts_when_ready), 1);
	assert_true(atomic_load(&seen->first[0]));
	assert_false(atomic_load(&seen->first[1]));
	assert_int_equal(atomic_load(&seen->closed), 1);
}

static void a_service_that_never_was_ready_ends_with_its_worker(void **state)
{
	(void)state;
	assert_int_equal(supervise(never_gets_ready), 7);
	assert_int_equal(atomic_load(&seen->starts), 1);
	assert_int_equal(atomic_load(&seen->ready), 0);
	assert_int_equal(atomic_load(&seen->closed), 1);
}

static int share(void **state)
{
	(void)state;
	seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return seen == MAP_FAILED ? -1 : 0;
}

static int unshare_it(void **state)
{
	(void)state;
	return munmap(seen, sizeof *seen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_ready_line_comes_once_whoever_dies, share, unshare_it),
		cmocka_unit_test_setup_teardown(a_service_that_never_was_ready_ends_with_its_worker, share, unshare_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
