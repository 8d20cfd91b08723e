/* What one program hands on to the next, and the look at that one before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "server/takeover.h"

#define NAME "_WARREN_TAKEOVER"

static struct wr_takeover read_text(const char *text)
{
	struct wr_takeover t;

	assert_int_equal(text ? setenv(NAME, text, 1) : unsetenv(NAME), 0);
	wr_takeover_read(&t);
	assert_null(getenv(NAME));
	return t;
}

static void what_is_no_takeover_is_none(void **state)
{
	static const char *const texts[] = {NULL, "", "1", "1 ", "x y", "1 2x", "-1 2", "999999 1", "1 999999",
					    "99999999999999999999 1", "1,2"};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(texts); i++) {
		struct wr_takeover t = read_text(texts[i]);

		assert_int_equal(t.listen_fd, -1);
		assert_int_equal(t.lock_fd, -1);
		assert_int_equal(t.count, 0);
		assert_false(t.serves);
	}
}

/* No signal may ever go to process 0, 1 or -1: to a group, to the system's first, to all. */
static void workers_are_processes(void **state)
{
	int fds[2];
	char text[128];
	struct wr_takeover t;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	snprintf(text, sizeof text, "%d %d 0 1 70001 70002 -1 70003", fds[0], fds[1]);
	t = read_text(text);
	assert_true(t.serves);
	assert_int_equal(t.listen_fd, fds[0]);
	assert_int_equal(t.lock_fd, fds[1]);
	assert_int_equal(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(fds[1], F_GETFD), FD_CLOEXEC);
	assert_int_equal(t.count, 2);
	assert_int_equal(t.workers[0], 70001);
	assert_int_equal(t.workers[1], 70002);
	snprintf(text, sizeof text, "%d %d 11 12 13 14 15 16", fds[0], fds[1]);
	t = read_text(text);
	assert_int_equal(t.count, WR_TAKEOVER_WORKERS);
	assert_int_equal(t.workers[WR_TAKEOVER_WORKERS - 1], 14);
	close(fds[0]);
	close(fds[1]);
}

static void a_script(char path[], const char *text)
{
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, 0700), 0);
	close(fd);
}

static int ended(pid_t pid)
{
	int status;

	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int check(char said[64], char **argv, const char *command)
{
	int fds[2], out = -1, status;
	ssize_t n;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	status = ended(wr_takeover_check(&out, &(struct wr_takeover){.listen_fd = fds[0], .lock_fd = fds[1]}, argv,
					 command));
	n = read(out, said, 63);
	said[n > 0 ? n : 0] = '\0';
	close(out);
	close(fds[0]);
	close(fds[1]);
	assert_null(getenv(NAME));
	return status;
}

static void the_program_is_asked_about_its_configuration(void **state)
{
	char path[] = "/tmp/warren-takeover-XXXXXX", option[] = "--public-url", value[] = "serve", serve[] = "serve";
	char *argv[] = {path, option, value, serve, NULL}, said[64];

	(void)state;
	a_script(path, "#!/bin/sh\ntest -n \"$" NAME "\" && test \"$*\" = '--public-url serve config check' || "
		       "{ echo wrong >&2; exit 1; }\n");
	assert_int_equal(check(said, argv, serve), 0);
	assert_string_equal(said, "");
	assert_int_equal(check(said, argv, value), 1);
	assert_string_equal(said, "wrong\n");
	unlink(path);
	assert_int_equal(check(said, argv, serve), 127);
}

/* The next program gets the descriptors and the list, and nothing else that is open. */
static void the_next_program_has_it(void **state)
{
	char path[] = "/tmp/warren-takeover-XXXXXX";
	char *argv[] = {path, NULL};
	struct wr_takeover t = {.listen_fd = 21, .lock_fd = 22, .workers = {70001, 70002}, .count = 2};
	pid_t pid;

	(void)state;
	a_script(path, "#!/bin/sh\ntest \"$" NAME "\" = '21 22 70001 70002' && test -e /proc/$$/fd/21 && "
		       "test -e /proc/$$/fd/22 && ! test -e /proc/$$/fd/23\n");
	pid = fork();
	if (pid == 0) {
		for (int fd = 21; fd <= 23; fd++)
			if (dup3(0, fd, O_CLOEXEC) < 0)
				_exit(2);
		wr_takeover_exec(&t, argv);
		_exit(3);
	}
	assert_int_equal(ended(pid), 0);
	unlink(path);
	/* Where it cannot be started all is as it was. */
	assert_true(dup3(0, 21, O_CLOEXEC) >= 0 && dup3(0, 22, O_CLOEXEC) >= 0);
	wr_takeover_exec(&t, argv);
	assert_null(getenv(NAME));
	assert_int_equal(fcntl(21, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(22, F_GETFD), FD_CLOEXEC);
	close(21);
	close(22);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_no_takeover_is_none),
		cmocka_unit_test(workers_are_processes),
		cmocka_unit_test(the_program_is_asked_about_its_configuration),
		cmocka_unit_test(the_next_program_has_it),
	};

	return cmocka_run_group_tests_name("takeover", tests, NULL, NULL);
}
