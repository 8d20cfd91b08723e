/*
 * server/http/pipe.h: a bounded ring of bytes between a worker, which may block, and an event thread, which may not.
 *
 * One side is the worker: wr_pipe_read/write/flush/end wait on a condition. The other is the event side: wr_pipe_put/
 * take/ready never wait; where they cannot go on they call hooks.pause (which suspends the connection), and whoever
 * makes it possible again calls hooks.resume. Both hooks run under the pipe's lock, and resume exactly once for each
 * pause; so a connection is never resumed twice, and never after it was completed, because a paused one cannot be.
 * A request body flows event -> worker, an answer worker -> event; a pipe serves one direction.
 *
 * Long pieces of an answer need not go through the ring, where hooks.send is given: while the event side is paused and
 * has taken all there was, the worker writes them to the client itself, from where they lie. Until it is done the event
 * side stays paused, whatever happens, so the connection stays open as long as it is used.
 *
 * The ring begins small and grows, as far as hooks.more allows, when one side is ahead of the other: who is slow from
 * the beginning never costs more than the small one.
 *
 * Ownership: the struct is the caller's: init, fini. The ring's memory comes with the first byte.
 * Threads:   one worker, one event thread; wr_pipe_abort() from any.
 * Blocks on: the worker's calls wait for the other side. They have no deadline of their own: the watchdog owns the
 *            request's and ends all waits by wr_pipe_abort(). Before a wait hooks.block runs, after it hooks.unblock
 *            (no lock held): that is where a thread gives its place in the cpu gate back.
 * Errors:    WR_E_CANCELLED once aborted; WR_E_UNAVAILABLE without memory.
 */
#ifndef WR_PIPE_H
#define WR_PIPE_H

#include <pthread.h>

#include "core/base/buf.h"
#include "core/base/stream.h"

struct wr_pipe_hooks {
	void (*pause)(void *arg);
	void (*resume)(void *arg);
	void (*block)(void *arg);
	void (*unblock)(void *arg);
	/* Whether the ring may take n bytes more of memory; under the pipe's lock. */
	bool (*more)(void *arg, size_t n);
	/* Writes all pieces to the client, on the worker's thread; false when that is not possible any more. */
	bool (*send)(void *arg, const struct wr_str *v, size_t n);
	void *arg;
};

struct wr_pipe {
	struct wr_pipe_hooks hooks;
	pthread_mutex_t lock; /* all below */
	pthread_cond_t moved; /* for the worker */
	char *ring;
	size_t cap, head, len; /* cap: bytes of the ring now */
	size_t max;            /* that it may grow to */
	size_t wake;    /* bytes (answer) that the paused event side waits for */
	uint64_t total; /* bytes that were ever written to it */
	bool paused;    /* the event side waits, by hooks.pause */
	bool waiting;   /* the worker waits on moved */
	bool ended;     /* its writer is done */
	bool failed;    /* ... in the middle of it */
	bool shut;      /* its reader is done: what still comes is dropped */
	bool aborted;
	bool pushed;   /* flushed before the answer's first byte was taken */
	bool begun;    /* the event side has begun to send the answer */
	bool direct;   /* hooks.send may be used */
	bool lent;     /* ... and is: the event side may not be resumed */
	bool counting; /* bytes are counted and dropped: the answer to HEAD */
};

/* The ring's first size: what a pipe costs before hooks.more is asked. */
#define WR_PIPE_FIRST ((size_t)16 * 1024)

/* max: the ring's largest size. The hooks' block, unblock, more and send may be NULL. */
void wr_pipe_init(struct wr_pipe *pipe, size_t max, const struct wr_pipe_hooks *hooks);
void wr_pipe_fini(struct wr_pipe *pipe);

/* ---- the worker's side ---- */

/* Up to cap bytes; *got = 0 is the end. Waits for some. */
WR_MUST_CHECK enum wr_code wr_pipe_read(struct wr_pipe *pipe, void *buf, size_t cap, size_t *got, struct wr_error *err);
/* The worker reads no more: what the event side still puts is taken and dropped. */
void wr_pipe_shut(struct wr_pipe *pipe);
/* All of data. Waits for room. */
WR_MUST_CHECK enum wr_code wr_pipe_write(struct wr_pipe *pipe, const void *data, size_t len, struct wr_error *err);
/* The same of all pieces, one after the other. */
WR_MUST_CHECK enum wr_code wr_pipe_gather(struct wr_pipe *pipe, const struct wr_str *v, size_t n, struct wr_error *err);
/* From now on hooks.send is used for long pieces. Before the first byte. */
void wr_pipe_direct(struct wr_pipe *pipe);
/* Lets the event side have what is there, however little. */
void wr_pipe_flush(struct wr_pipe *pipe);
/* No more will be written; failed: and what was written is not all that should have been. */
void wr_pipe_end(struct wr_pipe *pipe, bool failed);
/* From now on bytes are counted and dropped. Before the first one. */
void wr_pipe_count_only(struct wr_pipe *pipe);
uint64_t wr_pipe_total(struct wr_pipe *pipe);

/* ---- the event side ---- */

/* Places what fits and returns how much; less than len means paused. Everything "fits" once shut or aborted. */
size_t wr_pipe_put(struct wr_pipe *pipe, const void *data, size_t len);
bool wr_pipe_is_shut(struct wr_pipe *pipe);

/* Bytes taken (1 or more), or one of these. */
#define WR_PIPE_PAUSED ((ssize_t)0)
#define WR_PIPE_END ((ssize_t)-1)
#define WR_PIPE_BROKEN ((ssize_t)-2)
ssize_t wr_pipe_take(struct wr_pipe *pipe, void *buf, size_t cap);

enum wr_pipe_state {
	WR_PIPE_WAITING, /* paused */
	WR_PIPE_WHOLE,   /* the answer is complete, and all of it is here */
	WR_PIPE_BEGUN,   /* there is enough to begin with, or it was flushed, or it will end badly */
	WR_PIPE_ABORTED,
};
/* Asked before the first take: is the answer whole, or are min bytes of it there? Else pauses. */
enum wr_pipe_state wr_pipe_ready(struct wr_pipe *pipe, size_t min);

/* Moves all that is there to out. Only when WR_PIPE_WHOLE. */
void wr_pipe_collect(struct wr_pipe *pipe, struct wr_buf *out);

/* ---- any thread ---- */

/* Nobody needs it any more: every wait and pause ends, reads and writes fail, puts are dropped. */
void wr_pipe_abort(struct wr_pipe *pipe);

/* ---- as wr_source and wr_sink ---- */

/* A source over the pipe. More than max bytes: WR_E_TOO_LARGE. */
struct wr_pipe_source {
	struct wr_source base;
	struct wr_pipe *pipe;
	uint64_t left, max;
};
void wr_pipe_source_init(struct wr_pipe_source *src, struct wr_pipe *pipe, uint64_t max);

struct wr_pipe_sink {
	struct wr_sink base;
	struct wr_pipe *pipe;
};
void wr_pipe_sink_init(struct wr_pipe_sink *sink, struct wr_pipe *pipe);

#endif
