/*
 * server/takeover.h: what a supervisor hands on to the program that takes its place in the same process.
 *
 * It goes through the environment: "LISTENER LOCK WORKER...", descriptors and process ids. A program of an earlier version
 * may have written it.
 * Ownership: descriptors and processes are the supervisor's. Threads: main, while there is no other.
 * Errors:    none; what cannot be done says so by its value.
 */
#ifndef WR_TAKEOVER_H
#define WR_TAKEOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Workers of earlier programs that go on at once, the one that serves among them. */
#define WR_TAKEOVER_WORKERS 4

struct wr_takeover {
	int listen_fd, lock_fd; /* -1: not handed on */
	bool serves;		/* the service has said where it listens */
	pid_t workers[WR_TAKEOVER_WORKERS]; /* oldest first */
	size_t count;
};

/* From the environment, which then no longer has it. Without anything there all is empty. */
void wr_takeover_read(struct wr_takeover *out);

/* Becomes the program that the file of argv[0] is now; comes back where that does not work. */
void wr_takeover_exec(const struct wr_takeover *t, char **argv);

/*
 * Starts that program with the command "config check" and else the same words, and with t: whether it can be started,
 * understands its configuration and would go on with the same data folder. command: the word "serve" of argv. The process,
 * or -1; *said is then where its complaints can be read, without waiting, once it has ended.
 */
pid_t wr_takeover_check(int *said, const struct wr_takeover *t, char **argv, const char *command);

#endif
