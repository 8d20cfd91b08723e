#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "server/http/http_internal.h"

/*
 * Long pieces of an answer written to the socket by the worker that makes them, while the connection is suspended
 * (pipe.h). libmicrohttpd (0.9.75) suspends a connection whose answer is not ready between two chunks, when it has
 * handed all earlier bytes to the kernel, and touches neither the socket nor what it knows of it before the resume.
 * So whole chunks may be put in between. It spares a copy into the ring, one out of it into the connection's memory,
 * and a call of the kernel and a wakeup for each 16 KB: most of what a clone costs.
 */

#define PIECES 16
#define POLL_MS 5000

/* What is to be written, as it goes. */
struct batch {
	struct iovec v[PIECES + 2];
	size_t at, n;
};

static struct iovec piece(const void *data, size_t len)
{
	return (struct iovec){(void *)(uintptr_t)data, len};
}

static void advance(struct batch *b, size_t sent)
{
	while (b->at < b->n && sent >= b->v[b->at].iov_len)
		sent -= b->v[b->at++].iov_len;
	if (sent) {
		b->v[b->at].iov_base = (char *)b->v[b->at].iov_base + sent;
		b->v[b->at].iov_len -= sent;
	}
}

/*
 * A page that the disk took away makes the call fail; a read of it from here makes it zeros (core/git/guard.h), which
 * the client finds by the pack's checksum.
 */
static void touch(const struct batch *b)
{
	for (size_t i = b->at; i < b->n; i++)
		for (size_t k = 0; k < b->v[i].iov_len; k += 512)
			(void)((const volatile char *)b->v[i].iov_base)[k];
}

/* The place in the cpu gate is given back meanwhile, and wanted again only when there is something to do. */
static void wait_for_room(struct wr_request *req)
{
	struct pollfd p = {.fd = req->fd, .events = POLLOUT};

	req->out.hooks.block(req);
	/* Who gives the request up shuts the socket down, which ends this. */
	while (poll(&p, 1, POLL_MS) <= 0 && !atomic_load(&req->given_up))
		;
	req->out.hooks.unblock(req);
}

static bool send_batch(struct wr_request *req, struct batch *b)
{
	bool touched = false;

	while (b->at < b->n) {
		struct msghdr msg = {.msg_iov = b->v + b->at, .msg_iovlen = b->n - b->at};
		ssize_t sent;

		if (atomic_load(&req->given_up))
			return false;
		sent = sendmsg(req->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent >= 0) {
			atomic_fetch_add(&req->bytes_out, (uint64_t)sent);
			advance(b, (size_t)sent);
		} else if (errno == EAGAIN) {
			wait_for_room(req);
		} else if (errno == EFAULT && !touched) {
			touched = true;
			touch(b);
		} else if (errno != EINTR) {
			return false;
		}
	}
	return true;
}

bool wr_direct_send(void *arg, const struct wr_str *v, size_t n)
{
	struct wr_request *req = arg;
	bool ok = true;

	/* It is the client now that is waited for: the watchdog judges its rate. */
	atomic_store(&req->paused, false);
	while (n && ok) {
		struct batch b = {.n = 1};
		char head[24];
		size_t len = 0;

		for (; n && b.n <= PIECES; v++, n--, b.n++) {
			b.v[b.n] = piece(v->ptr, v->len);
			len += v->len;
		}
		b.v[0] = piece(head, (size_t)snprintf(head, sizeof head, "%zx\r\n", len));
		b.v[b.n++] = piece("\r\n", 2);
		ok = len == 0 || send_batch(req, &b);
	}
	atomic_store(&req->paused, true);
	/* Others compute too, also where this client takes all as fast as it comes. */
	if (wr_gate_waiting(req->http->gate)) {
		req->out.hooks.block(req);
		req->out.hooks.unblock(req);
	}
	return ok;
}
