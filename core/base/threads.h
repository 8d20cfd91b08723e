/*
 * core/base/threads.h: which threads there are, what each may wait for, and the one way to start one.
 *
 * | thread (name)               | how many               | may wait for                                              |
 * |-----------------------------|------------------------|-----------------------------------------------------------|
 * | main (warren)               | 1                      | signals; then runs start-up backwards, joins the others   |
 * | accept (wr-accept)          | 1                      | its listening socket                                      |
 * | epoll (MHD-worker)          | [lanes] epoll_threads  | its sockets, and what is under ~1 ms from memory or its   |
 * |                             |                        | own read connection; all else suspends the connection     |
 * | watchdog (wr-watch)         | 1                      | the clock, a quarter of a second at a time                |
 * | commit lane (wr-commit)     | [lanes] commit_threads | disk, SQLite's writer, never the network                  |
 * | git lane (wr-git)           | as needed, at most     | disk, the cpu gate, its client's bytes                    |
 * |                             | [lanes] git_threads    |                                                           |
 * | database writer (wr-db)     | 1                      | disk                                                      |
 * | reaper (wr-reaper)          | 1                      | disk, SQLite                                              |
 * | events (wr-events)          | 1                      | SQLite's writer, mapped journals; never a repository      |
 * | events (wr-events-disk)     | 1                      | disk, a repository's lock and turn, SQLite                |
 * | hand-over (wr-hand-over)    | 1, beside a newer      | SQLite's writer                                           |
 * |                             | process                |                                                           |
 * | keeper (wr-keeper)          | [maintenance] threads, | disk, a repository's lock and turn, CPU for seconds,      |
 * |                             | niced                  | SQLite's writer                                           |
 * | index (wr-index)            | 1 beside a large push  | CPU; it ends with the push                                |
 * | jobs (wr-job)               | [jobs] threads, niced  | disk, CPU for minutes, a repository's turn, SQLite's      |
 * |                             |                        | writer; never a request                                   |
 * | makers (wr-making)          | as needed, at most     | other servers, by deadlines; disk, SQLite's writer, the   |
 * |                             | [sources] threads,     | new repository's turn; never a request                    |
 * |                             | niced                  |                                                           |
 * | webhooks (wr-webhooks)      | 1                      | endpoints, all at once, by deadlines; SQLite's writer     |
 * | judge (wr-judge)            | 1, niced               | disk, CPU within bounds, SQLite's writer                  |
 * | alive (wr-alive)            | 1 beside a large push  | the clock; room in the reply                              |
 * | log (wr-log)                | 1                      | stderr                                                    |
 * | control (wr-control)        | 1                      | its socket, by deadlines; SQLite's writer                 |
 * | commands (wr-command)       | at most 8              | disk, a repository's turn; its client, by deadlines       |
 *
 * Rules: nobody waits for another request; a git lane's thread may wait for a maker, which its client asked for. A lane's
 * thread that waits for that, for its client's bytes or for room in the reply holds no place in the cpu gate; it takes one
 * again before it goes on, so it holds no lock meanwhile either, and not a repository's turn. Who suspends a connection owns its deadline and its resume: the watchdog does, for all.
 *
 * Threads:   any.
 * Errors:    WR_E_UNAVAILABLE when the system gives no thread.
 */
#ifndef WR_THREADS_H
#define WR_THREADS_H

#include <pthread.h>
#include <signal.h>

#include "core/base/error.h"

/* Walks over history and trees are iterative, so a lane's thread needs little; the sanitizers' frames are larger. */
#ifdef WR_SANITIZED
#define WR_THREAD_STACK ((size_t)4 << 20)
#else
#define WR_THREAD_STACK ((size_t)1 << 20)
#endif

/*
 * For who starts threads by other means: blocks what is main's. Faults are the thread's own, and their handlers run only
 * where they are not blocked. *old is for pthread_sigmask(SIG_SETMASK).
 */
void wr_signals_block(sigset_t *old);

/*
 * Starts a thread with all signals blocked (they are main's), the given name (cut at 15 characters) and niceness.
 * name and arg are the caller's and outlive the thread's start; join it with pthread_join().
 */
WR_MUST_CHECK enum wr_code wr_thread_start(pthread_t *out, const char *name, int niceness, void (*fn)(void *arg),
					   void *arg, struct wr_error *err);

#endif
