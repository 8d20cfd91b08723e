/*
 * server/supervisor.h: the process that starts the one that serves, and starts it again when it dies.
 *
 * It owns the listening socket, so connections wait in its queue while there is no worker, and keeps what two crashes in a
 * row are blamed on (core/base/suspects.h). It has one thread, opens no repository and reads nothing that a client sent.
 *   SIGTERM, SIGINT, SIGHUP   closes the socket, lets the worker finish, ends with its status
 *   SIGUSR2                   becomes the program that its file is now, with the same process id, socket and lock; that one
 *                             starts a worker beside the old one, which gets SIGUSR1 when the new one is ready: it hands
 *                             over, serves what it has begun, and ends. Of those that still do the oldest has to end
 *                             where there are WR_TAKEOVER_WORKERS already. While a worker starts, an upgrade waits
 *   the worker ends           starts the next one at once; one that ends young ever later, at most after 5 s
 * A worker whose supervisor is gone gets SIGTERM from the kernel.
 * Ownership: what it is given is the caller's and outlives it.
 * Threads:   main, before any other exists.
 * Errors:    WR_E_INTERNAL, WR_E_UNAVAILABLE: no page, pipe or process.
 */
#ifndef WR_SUPERVISOR_H
#define WR_SUPERVISOR_H

#include "core/base/error.h"
#include "server/takeover.h"

struct wr_worker_link {
	pid_t supervisor;
	int ready_fd;  /* see wr_worker_ready() */
	bool first; /* no worker was ready before: who starts the service reads what is wrong */
};
/* The worker serves from now on. */
void wr_worker_ready(const struct wr_worker_link *link);

struct wr_supervisor {
	/*
	 * Runs in a child process, with the stop signals and SIGUSR1 blocked for its sigwait; its value is the child's exit
	 * status.
	 */
	int (*work)(void *arg, const struct wr_worker_link *link);
	/* The service is ready for the first time: says where it listens. */
	void (*ready)(void *arg);
	/* The service ends: nobody shall connect any more. */
	void (*close)(void *arg);
	void *arg;
	int64_t stop_ms; /* what a worker may need to end */
	char **argv;	 /* the program's own, */
	const char *command; /* and the word of it that is "serve" */
	struct wr_takeover own; /* the descriptors; what the program before has handed on */
};

/* *status: the exit status for the program. */
WR_MUST_CHECK enum wr_code wr_supervise(int *status, const struct wr_supervisor *s, struct wr_error *err);

#endif
