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

/* A worker that lives longer than this was not broken from the start: the next one comes at once. */
#define YOUNG_MS 1000
#define FIRST_DELAY_MS 100
#define MAX_DELAY_MS 5000
/* Beyond what a worker may need to end, it is killed. */
#define STOP_GRACE_MS 60000
#define CHECK_MS 10000 /* for the new program to look at its configuration */
/* A worker that is not ready by then may be killed for one of a newer program. */
#define START_MS 30000

struct service {
	const struct wr_supervisor *s;
	struct wr_suspects *suspects;
	int signals;	/* descriptor: what this process is told */
	pid_t worker;	/* 0: none */
	pid_t old[WR_TAKEOVER_WORKERS]; /* of programs before, oldest first; the last serves until the worker does */
	size_t old_count;
	bool hand_over; /* the last of them has not been told yet that another one serves */
	int ready_fd;	/* of the worker, until it is ready; -1 */
	bool announced; /* a worker of this service was ready once */
	bool stopping;
	bool upgrade; /* asked for, and not begun */
	bool waits;   /* which was said */
	pid_t check;  /* looks at the next program; 0: none */
	int check_fd; /* what it says is wrong */
	/* Monotonic; start_at: the next worker's time, while there is none. */
	int64_t started, start_at, kill_at, check_at;
	int64_t room_at; /* the oldest has to have ended by then, for an upgrade; 0: it need not */
	uint64_t memory_kills; /* when the worker was started */
	int64_t delay; /* before the next start, should the worker end young */
	int status;
	struct wr_error *err;
};

void wr_worker_ready(const struct wr_worker_link *link)
{
	while (write(link->ready_fd, "", 1) < 0 && errno == EINTR)
		;
	close(link->ready_fd);
}

/* ---- the worker ---- */

/* How many processes the kernel has killed because there was no memory left; 0 where it does not say. */
static uint64_t memory_kills(void)
{
	FILE *f = fopen("/proc/vmstat", "re");
	unsigned long long n = 0;
	char line[128];

	while (f && fgets(line, sizeof line, f) && sscanf(line, "oom_kill %llu", &n) != 1)
		;
	if (f)
		fclose(f);
	return n;
}

static int run_worker(const struct service *v, pid_t supervisor, int ready_fd)
{
	struct wr_worker_link link = {supervisor, ready_fd, !v->announced};

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
	v->memory_kills = memory_kills();
	return WR_OK;
}

static void forget_pipe(struct service *v)
{
	if (v->ready_fd >= 0)
		close(v->ready_fd);
	v->ready_fd = -1;
}

/* Said here and not by the worker, whose death behind these words would end a service that somebody counts on. */
static void announce(struct service *v)
{
	if (!v->announced)
		v->s->ready(v->s->arg);
	v->announced = true;
}

/* The pipe says something, or its other end is gone with the worker. */
static void look_at_pipe(struct service *v)
{
	char c;
	ssize_t n = read(v->ready_fd, &c, 1);
	pid_t old;

	if (n < 0 && errno == EINTR)
		return;
	forget_pipe(v);
	if (n != 1)
		return;
	announce(v);
	if (!v->hand_over)
		return;
	v->hand_over = false;
	old = v->old_count ? v->old[v->old_count - 1] : 0;
	WR_LOG(WR_INFO, NULL, UPGRADE_ENDS, WR_INT("worker", v->worker), WR_INT("old", old));
	if (old)
		kill(old, SIGUSR1);
}

static bool is_orderly(int status)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void log_death(pid_t pid, int status)
{
	WR_LOG(WR_ERROR, NULL, WORKER_DIED, WR_INT("worker", pid),
	       WR_INT("signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0),
	       WR_INT("status", WIFEXITED(status) ? WEXITSTATUS(status) : 0));
}

static void report_end(struct service *v, int status)
{
	char parked[8][WR_SUSPECT_MAX];
	enum wr_suspect_end how = !WIFSIGNALED(status)		 ? WR_SUSPECT_END_OTHER
				  : WTERMSIG(status) != SIGKILL ? WR_SUSPECT_END_CRASH
				  : memory_kills() != v->memory_kills ? WR_SUSPECT_END_MEMORY
								      : WR_SUSPECT_END_OTHER;
	size_t n = wr_suspects_judge(parked, WR_ARRAY_LEN(parked), v->suspects, how);

	if (is_orderly(status))
		WR_LOG(WR_INFO, NULL, WORKER_ENDED, WR_INT("worker", v->worker));
	else
		log_death(v->worker, status);
	for (size_t i = 0; i < n; i++)
		WR_LOG(WR_ERROR, NULL, REPO_PARKED, WR_STR("repo", parked[i]));
}

static void stop(struct service *v)
{
	if (v->stopping)
		return;
	v->s->close(v->s->arg);
	v->stopping = true;
	v->status = 0;
	v->kill_at = wr_mono_ms() + v->s->stop_ms + STOP_GRACE_MS;
	if (v->worker)
		kill(v->worker, SIGTERM);
	for (size_t i = 0; i < v->old_count; i++)
		kill(v->old[i], SIGTERM);
	if (v->check)
		kill(v->check, SIGKILL);
}

/* At the first start of the service this is the end of it; else the next one comes. */
static void worker_ended(struct service *v, int status)
{
	int64_t now = wr_mono_ms();

	/* It may have been ready and ended before anybody looked; but nobody hands over to it any more. */
	if (v->ready_fd >= 0 && read(v->ready_fd, &(char){0}, 1) == 1)
		announce(v);
	forget_pipe(v);
	if (!v->stopping && v->announced)
		report_end(v, status);
	else if (v->stopping && !is_orderly(status))
		log_death(v->worker, status);
	v->worker = 0;
	if (!v->announced)
		stop(v);
	if (v->stopping) {
		v->status = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
		return;
	}
	if (now - v->started >= YOUNG_MS)
		v->delay = 0;
	v->start_at = now + v->delay;
	v->delay = v->delay == 0 ? FIRST_DELAY_MS : v->delay >= MAX_DELAY_MS / 2 ? MAX_DELAY_MS : v->delay * 2;
}

static void old_ended(struct service *v, size_t i, int status)
{
	if (!is_orderly(status))
		log_death(v->old[i], status);
	for (v->old_count--; i < v->old_count; i++)
		v->old[i] = v->old[i + 1];
	v->room_at = 0;
}

/* ---- the next program ---- */

/* There is one that serves, or none that is about to; and room among those that end. */
static bool may_upgrade(const struct service *v)
{
	return v->ready_fd < 0 && v->old_count + (v->worker != 0) <= WR_TAKEOVER_WORKERS;
}

static void upgrade_failed(struct service *v, const char *what)
{
	v->upgrade = false;
	WR_LOG(WR_ERROR, NULL, UPGRADE_FAILED, WR_STR("what", what));
}

/* Comes back where that does not work. */
static void become_next(struct service *v)
{
	struct wr_takeover t = v->s->own;

	t.count = v->old_count;
	memcpy(t.workers, v->old, sizeof t.workers);
	if (v->worker)
		t.workers[t.count++] = v->worker;
	WR_LOG(WR_INFO, NULL, UPGRADE_BEGINS, WR_INT("worker", v->worker));
	wr_takeover_exec(&t, v->s->argv);
	upgrade_failed(v, "the program could not be started");
}

static void check_ended(struct service *v, int status)
{
	char said[400];
	ssize_t n = read(v->check_fd, said, sizeof said - 1);

	close(v->check_fd);
	v->check = 0;
	while (n > 0 && said[n - 1] == '\n')
		n--;
	said[n > 0 ? n : 0] = '\0';
	if (v->stopping)
		return;
	if (!is_orderly(status))
		upgrade_failed(v, n > 0 ? said : "the program does not start");
	else if (may_upgrade(v))
		become_next(v);
}

/* Begins what was asked for, or sees to it that it can begin. */
static void look_at_upgrade(struct service *v)
{
	if (!v->upgrade || v->check || v->stopping)
		return;
	if (may_upgrade(v)) {
		v->waits = false;
		v->check = wr_takeover_check(&v->check_fd, &v->s->own, v->s->argv, v->s->command);
		v->check_at = wr_mono_ms() + CHECK_MS;
		if (v->check < 0) {
			v->check = 0;
			upgrade_failed(v, "there is no process to be had");
		}
		return;
	}
	if (!v->waits)
		WR_LOG(WR_INFO, NULL, UPGRADE_WAITS, WR_INT("worker", v->worker),
		       WR_INT("old", v->old_count ? v->old[0] : 0));
	v->waits = true;
	if (v->ready_fd < 0 && !v->room_at) {
		kill(v->old[0], SIGTERM);
		v->room_at = wr_mono_ms() + v->s->stop_ms + STOP_GRACE_MS;
	}
}

/* ---- signals ---- */

static void reap(struct service *v)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == v->worker)
			worker_ended(v, status);
		else if (pid == v->check)
			check_ended(v, status);
		for (size_t i = 0; i < v->old_count; i++)
			if (pid == v->old[i])
				old_ended(v, i--, status);
	}
}

static void look_at_signals(struct service *v)
{
	struct signalfd_siginfo info;

	while (read(v->signals, &info, sizeof info) == sizeof info) {
		if (info.ssi_signo == SIGCHLD)
			reap(v);
		else if (info.ssi_signo == SIGUSR2)
			v->upgrade = true;
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
	int64_t now = wr_mono_ms(), until = now + 3600000;

	if (v->stopping)
		until = v->kill_at;
	else if (!v->worker)
		until = v->start_at;
	else if (v->upgrade && v->ready_fd >= 0)
		until = v->started + START_MS;
	if (v->check && v->check_at < until)
		until = v->check_at;
	if (v->room_at && v->room_at < until)
		until = v->room_at;
	return until <= now ? 0 : (int)(until - now);
}

static void kill_late(struct service *v, int64_t now)
{
	if (v->stopping && now >= v->kill_at) {
		if (v->worker)
			kill(v->worker, SIGKILL);
		for (size_t i = 0; i < v->old_count; i++)
			kill(v->old[i], SIGKILL);
		v->kill_at = now + STOP_GRACE_MS;
	}
	if (v->check && now >= v->check_at) {
		kill(v->check, SIGKILL);
		v->check_at = now + CHECK_MS;
	}
	if (v->room_at && now >= v->room_at) {
		kill(v->old[0], SIGKILL);
		v->room_at = now + STOP_GRACE_MS;
	}
	if (v->upgrade && v->worker && v->ready_fd >= 0 && now >= v->started + START_MS) {
		kill(v->worker, SIGKILL);
		v->started = now;
	}
}

static void look_at_clock(struct service *v)
{
	int64_t now = wr_mono_ms();

	kill_late(v, now);
	/* Without a process to be had the next try comes later. */
	if (!v->stopping && !v->worker && now >= v->start_at && start_worker(v) != WR_OK) {
		wr_log_error(NULL, WR_EV_WORKER_DIED, v->err);
		wr_error_fini(v->err);
		v->start_at = now + MAX_DELAY_MS;
	}
}

enum wr_code wr_supervise(int *status, const struct wr_supervisor *s, struct wr_error *err)
{
	struct service v = {.s = s, .signals = -1, .ready_fd = -1, .err = err, .announced = s->own.serves,
			    .hand_over = s->own.serves};
	enum wr_code code;

	memcpy(v.old, s->own.workers, sizeof v.old);
	v.old_count = s->own.count;
	if ((code = wr_suspects_new(&v.suspects, err)) != WR_OK || (code = take_signals(&v)) != WR_OK)
		return code;
	/* What ended while one program became the next need not be told again. */
	reap(&v);
	while (!v.stopping || v.worker || v.old_count) {
		struct pollfd fds[2] = {{.fd = v.signals, .events = POLLIN}, {.events = POLLIN}};

		look_at_clock(&v);
		fds[1].fd = v.ready_fd;
		if (poll(fds, 2, wait_ms(&v)) < 0 && errno != EINTR)
			break;
		if (v.ready_fd >= 0 && fds[1].revents)
			look_at_pipe(&v);
		look_at_signals(&v);
		look_at_upgrade(&v);
	}
	close(v.signals);
	*status = v.status;
	return WR_OK;
}
