#include "server/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/suspects.h"

#define TAKEOVER "_WARREN_TAKEOVER"
/* A worker that lives longer than this was not broken from the start: the next one comes at once. */
#define YOUNG_MS 1000
#define FIRST_DELAY_MS 100
#define MAX_DELAY_MS 5000
/* Beyond what a worker may need to end, it is killed. */
#define STOP_GRACE_MS 60000
#define CHECK_MS 10000 /* for the new program to look at its configuration */

struct service {
	const struct wr_supervisor *s;
	struct wr_suspects *suspects;
	int signals;	/* descriptor: what this process is told */
	pid_t worker;	/* 0: none */
	pid_t old;	/* the one of the program before, until it has ended */
	int ready_fd;	/* of the worker, until it is ready; -1 */
	bool announced; /* a worker of this service was ready once */
	bool stopping;
	bool upgrade; /* asked for, and not begun */
	int64_t started, start_at, kill_at; /* monotonic; start_at: the next worker's time, while there is none */
	int64_t delay; /* before the next start, should the worker die young */
	int status;
	struct wr_error *err;
};

void wr_worker_ready(const struct wr_worker_link *link)
{
	while (write(link->ready_fd, "", 1) < 0 && errno == EINTR)
		;
	close(link->ready_fd);
}

/* ---- what one program hands on to the next ---- */

void wr_takeover_read(struct wr_takeover *out)
{
	const char *text = getenv(TAKEOVER);
	int listen_fd, lock_fd, worker;

	*out = (struct wr_takeover){-1, -1, 0};
	if (text && sscanf(text, "%d %d %d", &listen_fd, &lock_fd, &worker) == 3 &&
	    fcntl(listen_fd, F_SETFD, FD_CLOEXEC) == 0 && fcntl(lock_fd, F_SETFD, FD_CLOEXEC) == 0)
		*out = (struct wr_takeover){listen_fd, lock_fd, worker};
	unsetenv(TAKEOVER);
}

/* The program's own command line, but "config check" for "serve". */
static char **check_argv(char **argv)
{
	size_t n = 0, at = 0;
	char **v;

	while (argv[n])
		n++;
	v = calloc(n + 2, sizeof *v);
	for (size_t i = 0; v && i < n; i++) {
		if (i && strcmp(argv[i], "serve") == 0) {
			v[at++] = (char *)"config";
			v[at++] = (char *)"check";
		} else {
			v[at++] = argv[i];
		}
	}
	return v;
}

/* Whether the program that the file is now can be started, and understands its configuration. */
static bool next_program_works(const struct service *v)
{
	char **argv = check_argv(v->s->argv);
	int64_t deadline = wr_mono_ms() + CHECK_MS;
	int status = -1;
	pid_t pid = argv ? fork() : -1;

	if (pid == 0) {
		sigset_t none;

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		execvp(argv[0], argv);
		_exit(127);
	}
	free(argv);
	if (pid < 0)
		return false;
	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (wr_mono_ms() >= deadline)
			kill(pid, SIGKILL);
		poll(NULL, 0, 5);
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Becomes the program that the file is now; comes back where that does not work. */
static void become_next(struct service *v)
{
	const struct wr_takeover *own = &v->s->own;
	char text[64];

	if (!next_program_works(v)) {
		WR_LOG(WR_ERROR, NULL, UPGRADE_FAILED,
		       WR_STR("what", "the program does not start or does not understand its configuration"));
		return;
	}
	WR_LOG(WR_INFO, NULL, UPGRADE_BEGINS, WR_INT("worker", v->worker));
	snprintf(text, sizeof text, "%d %d %d", own->listen_fd, own->lock_fd, (int)v->worker);
	if (setenv(TAKEOVER, text, 1) == 0 && fcntl(own->listen_fd, F_SETFD, 0) == 0 &&
	    fcntl(own->lock_fd, F_SETFD, 0) == 0)
		execvp(v->s->argv[0], v->s->argv);
	fcntl(own->listen_fd, F_SETFD, FD_CLOEXEC);
	fcntl(own->lock_fd, F_SETFD, FD_CLOEXEC);
	unsetenv(TAKEOVER);
	WR_LOG(WR_ERROR, NULL, UPGRADE_FAILED, WR_STR("what", "the program could not be started"));
}

/* One worker, which serves: it can hand over. */
static bool is_settled(const struct service *v)
{
	return v->worker && v->ready_fd < 0 && !v->old;
}

/* What is asked for while a worker is being replaced comes after that. */
static void ask_upgrade(struct service *v)
{
	v->upgrade = true;
	if (!is_settled(v))
		WR_LOG(WR_INFO, NULL, UPGRADE_WAITS, WR_INT("worker", v->worker), WR_INT("old", v->old));
}

/* ---- the worker ---- */

static int run_worker(const struct service *v, pid_t supervisor, int ready_fd)
{
	struct wr_worker_link link = {.ready_fd = ready_fd, .announce = !v->announced};

	/* Between fork and this call it may have died already. */
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || getppid() != supervisor)
		return 1;
	prctl(PR_SET_NAME, "warren-worker");
	close(v->signals);
	wr_suspects_use(v->suspects);
	return v->s->work(v->s->arg, &link);
}

static enum wr_code start_worker(struct service *v)
{
	pid_t me = getpid();
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return wr_fail_errno(v->err, "pipe");
	v->worker = fork();
	if (v->worker == 0) {
		close(fds[0]);
		exit(run_worker(v, me, fds[1]));
	}
	close(fds[1]);
	if (v->worker < 0) {
		v->worker = 0;
		close(fds[0]);
		return wr_fail_errno(v->err, "fork");
	}
	v->ready_fd = fds[0];
	v->started = wr_mono_ms();
	return WR_OK;
}

static void forget_pipe(struct service *v)
{
	if (v->ready_fd >= 0)
		close(v->ready_fd);
	v->ready_fd = -1;
}

/* The pipe says something, or its other end is gone with the worker. */
static void look_at_pipe(struct service *v)
{
	char c;
	ssize_t n = read(v->ready_fd, &c, 1);

	if (n < 0 && errno == EINTR)
		return;
	forget_pipe(v);
	if (n != 1)
		return;
	v->announced = true;
	if (v->old) {
		WR_LOG(WR_INFO, NULL, UPGRADE_ENDS, WR_INT("worker", v->worker), WR_INT("old", v->old));
		kill(v->old, SIGUSR1);
	}
}

static void report_death(struct service *v, int status)
{
	char parked[8][WR_SUSPECT_MAX];
	size_t n = wr_suspects_judge(parked, WR_ARRAY_LEN(parked), v->suspects, false);

	WR_LOG(WR_ERROR, NULL, WORKER_DIED, WR_INT("worker", v->worker),
	       WR_INT("signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0),
	       WR_INT("status", WIFEXITED(status) ? WEXITSTATUS(status) : 0));
	for (size_t i = 0; i < n; i++)
		WR_LOG(WR_ERROR, NULL, REPO_PARKED, WR_STR("repo", parked[i]));
}

/* The worker has ended: in order, at its start, or by a crash, after which comes the next one. */
static void worker_ended(struct service *v, int status)
{
	bool clean = WIFEXITED(status) && WEXITSTATUS(status) == 0, began = v->announced || v->old;
	int64_t now = wr_mono_ms();

	/* It may have been ready and died before anybody looked. */
	if (v->ready_fd >= 0)
		look_at_pipe(v);
	began = began || v->announced;
	v->status = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
	if (!clean && began && !v->stopping)
		report_death(v, status);
	v->worker = 0;
	forget_pipe(v);
	if (clean || !began || v->stopping) {
		v->stopping = true;
		return;
	}
	if (now - v->started >= YOUNG_MS)
		v->delay = 0;
	v->start_at = now + v->delay;
	v->delay = v->delay == 0 ? FIRST_DELAY_MS : v->delay >= MAX_DELAY_MS / 2 ? MAX_DELAY_MS : v->delay * 2;
}

static void reap(struct service *v)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == v->old)
			v->old = 0;
		else if (pid == v->worker)
			worker_ended(v, status);
	}
}

/* ---- signals ---- */

static void stop(struct service *v)
{
	if (!v->stopping)
		v->s->close(v->s->arg);
	v->stopping = true;
	v->kill_at = wr_mono_ms() + v->s->stop_ms + STOP_GRACE_MS;
	if (v->worker)
		kill(v->worker, SIGTERM);
	if (v->old)
		kill(v->old, SIGTERM);
}

static void look_at_signals(struct service *v)
{
	struct signalfd_siginfo info;

	while (read(v->signals, &info, sizeof info) == sizeof info) {
		if (info.ssi_signo == SIGCHLD)
			reap(v);
		else if (info.ssi_signo == SIGUSR2)
			ask_upgrade(v);
		else
			stop(v);
	}
}

static enum wr_code take_signals(struct service *v)
{
	static const int mine[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR2, SIGCHLD};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < WR_ARRAY_LEN(mine); i++)
		sigaddset(&set, mine[i]);
	/* What arrives while nobody reads waits; a worker inherits the mask, and waits for some of them itself. */
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigdelset(&set, SIGUSR1);
	v->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return v->signals >= 0 ? WR_OK : wr_fail_errno(v->err, "signalfd");
}

/* ---- the service ---- */

static int wait_ms(const struct service *v)
{
	int64_t now = wr_mono_ms(), until = v->stopping ? v->kill_at : v->worker ? now + 3600000 : v->start_at;

	return until <= now ? 0 : until - now > 3600000 ? 3600000 : (int)(until - now);
}

static void look_at_clock(struct service *v)
{
	int64_t now = wr_mono_ms();

	if (v->stopping && v->kill_at && now >= v->kill_at) {
		if (v->worker)
			kill(v->worker, SIGKILL);
		if (v->old)
			kill(v->old, SIGKILL);
		v->kill_at = now + STOP_GRACE_MS;
	}
	/* Without a process to be had the next try comes later. */
	if (!v->stopping && !v->worker && now >= v->start_at && start_worker(v) != WR_OK) {
		wr_log_error(NULL, WR_EV_WORKER_DIED, v->err);
		wr_error_fini(v->err);
		v->start_at = now + MAX_DELAY_MS;
	}
}

enum wr_code wr_supervise(int *status, const struct wr_supervisor *s, struct wr_error *err)
{
	struct service v = {.s = s, .signals = -1, .ready_fd = -1, .err = err, .old = s->own.worker};
	enum wr_code code;

	v.announced = v.old != 0;
	if ((code = wr_suspects_new(&v.suspects, err)) != WR_OK || (code = take_signals(&v)) != WR_OK)
		return code;
	while (!v.stopping || v.worker || v.old) {
		struct pollfd fds[2] = {{.fd = v.signals, .events = POLLIN}, {.events = POLLIN}};

		look_at_clock(&v);
		fds[1].fd = v.ready_fd;
		if (poll(fds, 2, wait_ms(&v)) < 0 && errno != EINTR)
			break;
		if (v.ready_fd >= 0 && fds[1].revents)
			look_at_pipe(&v);
		look_at_signals(&v);
		if (v.upgrade && is_settled(&v) && !v.stopping) {
			v.upgrade = false;
			become_next(&v);
		}
	}
	close(v.signals);
	*status = v.status;
	return WR_OK;
}
