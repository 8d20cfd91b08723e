/*
 * server/supervisor.h: the process that starts the one that serves, and starts it again when it dies.
 *
 * It owns the listening socket, so connections wait in its queue while there is no worker, and keeps what two crashes in a
 * row are blamed on (core/base/suspects.h). It has one thread, opens no repository and reads nothing that a client sent.
 *   SIGTERM, SIGINT, SIGHUP   closes the socket, lets the worker finish, ends with its status
 *   SIGUSR2                   becomes the program that its file is now, with the same process id, socket and lock; that one
 *                             starts a worker beside the old one, which gets SIGUSR1 when the new one is ready: it hands
 *                             over, serves what it has begun, and ends. While a worker is being replaced, it waits
 *   the worker dies           starts the next one at once; one that dies young ever later, at most after 5 s
 * A worker whose supervisor is gone gets SIGTERM from the kernel.
 * Ownership: what it is given is the caller's and outlives it.
 * Threads:   main, before any other exists.
 * Errors:    WR_E_INTERNAL, WR_E_UNAVAILABLE: no page, pipe or process.
 */
#ifndef WR_SUPERVISOR_H
#define WR_SUPERVISOR_H

#include <sys/types.h>

#include "core/base/error.h"

struct wr_worker_link {
	int ready_fd;  /* see wr_worker_ready() */
	bool announce; /* the service has not said yet where it listens */
};
/* The worker serves from now on. */
void wr_worker_ready(const struct wr_worker_link *link);

/* What a program hands on to the one that takes its place; -1 and 0 where there is none. */
struct wr_takeover {
	int listen_fd, lock_fd;
	pid_t worker; /* serves until another one is ready */
};
/* From the environment, which then no longer has it. */
void wr_takeover_read(struct wr_takeover *out);

struct wr_supervisor {
	/*
	 * Runs in a child process, with the stop signals and SIGUSR1 blocked for its sigwait; its value is the child's exit
	 * status.
	 */
	int (*work)(void *arg, const struct wr_worker_link *link);
	/* The service ends: nobody shall connect any more. */
	void (*close)(void *arg);
	void *arg;
	int64_t stop_ms; /* what a worker may need to end */
	char **argv;	 /* the program's own */
	struct wr_takeover own; /* the descriptors; worker: of the program before */
};

/* *status: the exit status for the program. */
WR_MUST_CHECK enum wr_code wr_supervise(int *status, const struct wr_supervisor *s, struct wr_error *err);

#endif
