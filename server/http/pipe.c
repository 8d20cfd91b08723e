#include "server/http/pipe.h"

/* A worker that produces in small pieces wakes the event thread for this many bytes, not for each piece. */
#define WAKE_BYTES ((size_t)32 * 1024)
/* Below this a copy costs less than waiting until the ring is empty. */
#define DIRECT_BYTES ((size_t)32 * 1024)
#define GROWTH 4

void wr_pipe_init(struct wr_pipe *pipe, size_t max, const struct wr_pipe_hooks *hooks)
{
	*pipe = (struct wr_pipe){.hooks = *hooks, .max = max};
	pthread_mutex_init(&pipe->lock, NULL);
	pthread_cond_init(&pipe->moved, NULL);
}

void wr_pipe_fini(struct wr_pipe *pipe)
{
	pthread_cond_destroy(&pipe->moved);
	pthread_mutex_destroy(&pipe->lock);
	free(pipe->ring);
	pipe->ring = NULL;
}

/* ---- what both sides do, under the lock ---- */

static bool have_ring(struct wr_pipe *p)
{
	if (p->ring)
		return true;
	p->cap = p->max < WR_PIPE_FIRST ? p->max : WR_PIPE_FIRST;
	p->ring = malloc(p->cap);
	return p->ring != NULL;
}

static size_t ring_in(struct wr_pipe *p, const char *data, size_t len)
{
	size_t room = p->cap - p->len, at = (p->head + p->len) % p->cap, n, first;

	n = len < room ? len : room;
	first = n < p->cap - at ? n : p->cap - at;
	if (n == 0)
		return 0;
	memcpy(p->ring + at, data, first);
	memcpy(p->ring, data + first, n - first);
	p->len += n;
	p->total += n;
	return n;
}

static size_t ring_out(struct wr_pipe *p, char *buf, size_t cap)
{
	size_t n = cap < p->len ? cap : p->len, first = n < p->cap - p->head ? n : p->cap - p->head;

	if (n == 0)
		return 0;
	memcpy(buf, p->ring + p->head, first);
	memcpy(buf + first, p->ring, n - first);
	p->head = (p->head + n) % p->cap;
	p->len -= n;
	return n;
}

/* False when it is as large as it may be, or there is no memory: then who writes waits for room. */
static bool grow(struct wr_pipe *p)
{
	size_t cap = p->cap < p->max / GROWTH ? p->cap * GROWTH : p->max;
	char *ring;

	if (cap <= p->cap || (p->hooks.more && !p->hooks.more(p->hooks.arg, cap - p->cap)))
		return false;
	ring = malloc(cap);
	if (!ring)
		return false;
	p->len = ring_out(p, ring, p->len);
	free(p->ring);
	p->ring = ring;
	p->head = 0;
	p->cap = cap;
	return true;
}

static bool half_free(const struct wr_pipe *p)
{
	return p->cap - p->len >= p->cap / 2;
}

static void pause_event(struct wr_pipe *p, size_t wake)
{
	p->wake = wake;
	p->paused = true;
	p->hooks.pause(p->hooks.arg);
}

/* What is lent is resumed when it comes back. */
static void resume_event(struct wr_pipe *p)
{
	if (!p->paused || p->lent)
		return;
	p->paused = false;
	p->hooks.resume(p->hooks.arg);
}

static void wake_worker(struct wr_pipe *p)
{
	if (p->waiting)
		pthread_cond_signal(&p->moved);
}

/*
 * The worker waits until there is something to read (or room to write), or it makes no sense any more. The lock is held
 * at entry and at return, but not while the hooks run, so the caller looks at everything anew.
 */
static bool can_read(const struct wr_pipe *p)
{
	return p->len || p->ended || p->aborted;
}
static bool can_write(const struct wr_pipe *p)
{
	return half_free(p) || p->aborted;
}
static bool can_send(const struct wr_pipe *p)
{
	return (p->begun && p->paused && !p->len) || p->aborted;
}

static void wait_until(struct wr_pipe *p, bool (*can)(const struct wr_pipe *p))
{
	pthread_mutex_unlock(&p->lock);
	if (p->hooks.block)
		p->hooks.block(p->hooks.arg);
	pthread_mutex_lock(&p->lock);
	p->waiting = true;
	while (!can(p))
		pthread_cond_wait(&p->moved, &p->lock);
	p->waiting = false;
	pthread_mutex_unlock(&p->lock);
	if (p->hooks.unblock)
		p->hooks.unblock(p->hooks.arg);
	pthread_mutex_lock(&p->lock);
}

static enum wr_code given_up(struct wr_error *err)
{
	return wr_fail(err, WR_E_CANCELLED, "the client left, or the request was given up");
}

/* ---- the worker's side ---- */

enum wr_code wr_pipe_read(struct wr_pipe *p, void *buf, size_t cap, size_t *got, struct wr_error *err)
{
	bool aborted;

	pthread_mutex_lock(&p->lock);
	while (!can_read(p))
		wait_until(p, can_read);
	aborted = p->aborted;
	if (!aborted) {
		*got = ring_out(p, buf, cap);
		if (half_free(p))
			resume_event(p);
	}
	pthread_mutex_unlock(&p->lock);
	return aborted ? given_up(err) : WR_OK;
}

void wr_pipe_shut(struct wr_pipe *p)
{
	pthread_mutex_lock(&p->lock);
	p->shut = true;
	resume_event(p);
	pthread_mutex_unlock(&p->lock);
}

/* Through the ring. */
static enum wr_code write_all(struct wr_pipe *p, const char *at, size_t len, struct wr_error *err)
{
	while (len) {
		size_t n;

		if (p->aborted)
			return given_up(err);
		if (p->counting) {
			p->total += len;
			return WR_OK;
		}
		if (!have_ring(p))
			return wr_fail_nomem(err);
		if (p->len == p->cap && !grow(p)) {
			/* There may be less of it than the event side waits for. */
			p->pushed = true;
			resume_event(p);
			wait_until(p, can_write);
			continue;
		}
		n = ring_in(p, at, len);
		at += n;
		len -= n;
		if (p->len >= p->wake)
			resume_event(p);
	}
	return WR_OK;
}

/* Past the ring, once the event side has taken what is in it. */
static enum wr_code send_all(struct wr_pipe *p, const struct wr_str *v, size_t n, size_t len, struct wr_error *err)
{
	bool sent;

	p->pushed = true;
	if (!can_send(p))
		resume_event(p);
	while (!can_send(p))
		wait_until(p, can_send);
	if (p->aborted)
		return given_up(err);
	p->lent = true;
	pthread_mutex_unlock(&p->lock);
	sent = p->hooks.send(p->hooks.arg, v, n);
	pthread_mutex_lock(&p->lock);
	p->lent = false;
	p->total += len;
	p->aborted |= !sent;
	if (!p->aborted)
		return WR_OK;
	resume_event(p);
	return given_up(err);
}

enum wr_code wr_pipe_write(struct wr_pipe *p, const void *data, size_t len, struct wr_error *err)
{
	enum wr_code code;

	pthread_mutex_lock(&p->lock);
	code = write_all(p, data, len, err);
	pthread_mutex_unlock(&p->lock);
	return code;
}

enum wr_code wr_pipe_gather(struct wr_pipe *p, const struct wr_str *v, size_t n, struct wr_error *err)
{
	enum wr_code code = WR_OK;
	size_t len = 0;

	for (size_t i = 0; i < n; i++)
		len += v[i].len;
	pthread_mutex_lock(&p->lock);
	if (p->direct && !p->counting && len >= DIRECT_BYTES)
		code = send_all(p, v, n, len, err);
	else
		for (size_t i = 0; i < n && code == WR_OK; i++)
			code = write_all(p, v[i].ptr, v[i].len, err);
	pthread_mutex_unlock(&p->lock);
	return code;
}

void wr_pipe_direct(struct wr_pipe *p)
{
	pthread_mutex_lock(&p->lock);
	p->direct = p->hooks.send != NULL;
	pthread_mutex_unlock(&p->lock);
}

void wr_pipe_flush(struct wr_pipe *p)
{
	pthread_mutex_lock(&p->lock);
	if (p->len) {
		p->pushed = true;
		resume_event(p);
	}
	pthread_mutex_unlock(&p->lock);
}

void wr_pipe_end(struct wr_pipe *p, bool failed)
{
	pthread_mutex_lock(&p->lock);
	p->ended = true;
	p->failed = failed;
	wake_worker(p);
	resume_event(p);
	pthread_mutex_unlock(&p->lock);
}

void wr_pipe_count_only(struct wr_pipe *p)
{
	pthread_mutex_lock(&p->lock);
	p->counting = true;
	pthread_mutex_unlock(&p->lock);
}

uint64_t wr_pipe_total(struct wr_pipe *p)
{
	uint64_t total;

	pthread_mutex_lock(&p->lock);
	total = p->total;
	pthread_mutex_unlock(&p->lock);
	return total;
}

/* ---- the event side ---- */

size_t wr_pipe_put(struct wr_pipe *p, const void *data, size_t len)
{
	size_t n = len;

	pthread_mutex_lock(&p->lock);
	/* Without memory the worker has to learn of it as it would of a client that left. */
	if (!p->aborted && !p->shut && !have_ring(p))
		p->aborted = true;
	if (!p->aborted && !p->shut) {
		n = ring_in(p, data, len);
		while (n < len && grow(p))
			n += ring_in(p, (const char *)data + n, len - n);
		if (n < len)
			pause_event(p, SIZE_MAX);
	}
	wake_worker(p);
	pthread_mutex_unlock(&p->lock);
	return n;
}

bool wr_pipe_is_shut(struct wr_pipe *p)
{
	bool shut;

	pthread_mutex_lock(&p->lock);
	shut = p->shut;
	pthread_mutex_unlock(&p->lock);
	return shut;
}

ssize_t wr_pipe_take(struct wr_pipe *p, void *buf, size_t cap)
{
	ssize_t n;

	pthread_mutex_lock(&p->lock);
	if (p->aborted) {
		n = WR_PIPE_BROKEN;
	} else if (p->len) {
		n = (ssize_t)ring_out(p, buf, cap);
		if (half_free(p))
			wake_worker(p);
	} else if (p->ended) {
		n = p->failed ? WR_PIPE_BROKEN : WR_PIPE_END;
	} else {
		n = WR_PIPE_PAUSED;
		pause_event(p, WAKE_BYTES);
		wake_worker(p);
	}
	pthread_mutex_unlock(&p->lock);
	return n;
}

enum wr_pipe_state wr_pipe_ready(struct wr_pipe *p, size_t min)
{
	enum wr_pipe_state state = WR_PIPE_WAITING;

	pthread_mutex_lock(&p->lock);
	if (p->aborted || (p->failed && p->counting))
		state = WR_PIPE_ABORTED;
	else if (p->ended)
		state = p->failed ? WR_PIPE_BEGUN : WR_PIPE_WHOLE;
	else if (p->len >= min || p->pushed)
		state = WR_PIPE_BEGUN;
	else
		pause_event(p, min);
	p->begun |= state == WR_PIPE_BEGUN;
	pthread_mutex_unlock(&p->lock);
	return state;
}

void wr_pipe_collect(struct wr_pipe *p, struct wr_buf *out)
{
	pthread_mutex_lock(&p->lock);
	if (p->len) {
		char *room = wr_buf_room(out, p->len);

		if (room)
			out->len += ring_out(p, room, p->len);
	}
	pthread_mutex_unlock(&p->lock);
}

void wr_pipe_abort(struct wr_pipe *p)
{
	pthread_mutex_lock(&p->lock);
	p->aborted = true;
	wake_worker(p);
	resume_event(p);
	pthread_mutex_unlock(&p->lock);
}

/* ---- as wr_source and wr_sink ---- */

static enum wr_code source_read(struct wr_source *base, void *buf, size_t cap, size_t *got, struct wr_error *err)
{
	struct wr_pipe_source *src = (struct wr_pipe_source *)base;
	enum wr_code code = wr_pipe_read(src->pipe, buf, cap, got, err);

	if (code)
		return code;
	if (*got > src->left)
		return wr_fail(err, WR_E_TOO_LARGE, "The request's body is larger than %llu bytes",
			       (unsigned long long)src->max);
	src->left -= *got;
	return WR_OK;
}

void wr_pipe_source_init(struct wr_pipe_source *src, struct wr_pipe *pipe, uint64_t max)
{
	src->base.read = source_read;
	src->pipe = pipe;
	src->left = src->max = max;
}

static enum wr_code sink_write(struct wr_sink *base, const void *data, size_t len, struct wr_error *err)
{
	return wr_pipe_write(((struct wr_pipe_sink *)base)->pipe, data, len, err);
}

static enum wr_code sink_gather(struct wr_sink *base, const struct wr_str *v, size_t n, struct wr_error *err)
{
	return wr_pipe_gather(((struct wr_pipe_sink *)base)->pipe, v, n, err);
}

static enum wr_code sink_flush(struct wr_sink *base, struct wr_error *err)
{
	(void)err;
	wr_pipe_flush(((struct wr_pipe_sink *)base)->pipe);
	return WR_OK;
}

void wr_pipe_sink_init(struct wr_pipe_sink *sink, struct wr_pipe *pipe)
{
	sink->base = (struct wr_sink){.write = sink_write, .flush = sink_flush, .gather = sink_gather};
	sink->pipe = pipe;
}
