#include "server/takeover.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/buf.h"

#define NAME "_WARREN_TAKEOVER"
#define TEXT_MAX 256

/* The next number of the text, which moves on; false where none stands. */
static bool next_number(int *out, const char **text)
{
	char *end;
	long n = strtol(*text, &end, 10);

	if (end == *text || n < 0 || n > INT_MAX || (*end != ' ' && *end != '\0'))
		return false;
	*text = end;
	*out = (int)n;
	return true;
}

static bool take(struct wr_takeover *t, const char *text)
{
	int pid;

	if (!next_number(&t->listen_fd, &text) || !next_number(&t->lock_fd, &text) ||
	    fcntl(t->listen_fd, F_SETFD, FD_CLOEXEC) != 0 || fcntl(t->lock_fd, F_SETFD, FD_CLOEXEC) != 0)
		return false;
	while (t->count < WR_TAKEOVER_WORKERS && next_number(&pid, &text))
		if (pid > 1)
			t->workers[t->count++] = pid;
	t->serves = true;
	return true;
}

void wr_takeover_read(struct wr_takeover *out)
{
	static const struct wr_takeover none = {.listen_fd = -1, .lock_fd = -1};
	const char *text = getenv(NAME);

	*out = none;
	if (text && !take(out, text))
		*out = none;
	unsetenv(NAME);
}

static bool hand_on(const struct wr_takeover *t)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(TEXT_MAX);

	wr_buf_printf(&text, "%d %d", t->listen_fd, t->lock_fd);
	for (size_t i = 0; i < t->count; i++)
		wr_buf_printf(&text, " %d", (int)t->workers[i]);
	wr_buf_add(&text, "", 1);
	return wr_buf_ok(&text) && setenv(NAME, text.ptr, 1) == 0 && fcntl(t->listen_fd, F_SETFD, 0) == 0 &&
	       fcntl(t->lock_fd, F_SETFD, 0) == 0;
}

void wr_takeover_exec(const struct wr_takeover *t, char **argv)
{
	if (hand_on(t))
		execvp(argv[0], argv);
	fcntl(t->listen_fd, F_SETFD, FD_CLOEXEC);
	fcntl(t->lock_fd, F_SETFD, FD_CLOEXEC);
	unsetenv(NAME);
}

/* The value of an option may be "serve" as well. */
static char **check_argv(char **argv, const char *command)
{
	size_t n = 0, at = 0;
	char **v;

	while (argv[n])
		n++;
	v = calloc(n + 2, sizeof *v);
	for (size_t i = 0; v && i < n; i++) {
		if (argv[i] == command) {
			v[at++] = (char *)"config";
			v[at++] = (char *)"check";
		} else {
			v[at++] = argv[i];
		}
	}
	return v;
}

pid_t wr_takeover_check(int *said, const struct wr_takeover *t, char **argv, const char *command)
{
	char **v = check_argv(argv, command);
	int fds[2] = {-1, -1};
	pid_t pid = v && pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0 ? fork() : -1;

	if (pid == 0) {
		sigset_t none;

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		if (dup2(fds[1], STDERR_FILENO) >= 0 && hand_on(t))
			execvp(v[0], v);
		_exit(127);
	}
	free(v);
	if (fds[1] >= 0)
		close(fds[1]);
	if (pid > 0)
		*said = fds[0];
	else if (fds[0] >= 0)
		close(fds[0]);
	return pid;
}
