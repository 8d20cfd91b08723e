#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "core/base/clock.h"
#include "server/http/http_internal.h"

#define TICK_MS 250
#define SPARE_MS 1000	   /* the least that a connection without a request is given */
#define SPARE_AT_ONCE 16
#define DRAIN_PATIENCE_MS 1000
#define CROWD ((size_t)64)
#define GIVE_BACK_MS 5000

/*
 * Connections are shut down here and nowhere else. libmicrohttpd closes a socket only after wr_watch_connection() has
 * taken it off the list, under the lock, so a listed fd is always this connection's own.
 */

/* Under the lock, so the socket stays open until shutdown() even when the event thread goes on at once. */
static void cut(struct wr_conn *conn, const char *why)
{
	conn->cut = true;
	if (conn->request)
		wr_request_give_up(conn->request, why);
	shutdown(conn->fd, SHUT_RDWR);
}

void wr_watch_forget_unsent(const struct wr_request *req)
{
	const struct linger now = {.l_onoff = 1, .l_linger = 0};

	if (atomic_load(&req->stage) == WR_STAGE_SEND)
		setsockopt(req->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

/* Cuts a client that was too slow or too long about it. */
static void drop(struct wr_conn *conn, const char *why)
{
	if (conn->request)
		wr_watch_forget_unsent(conn->request);
	cut(conn, why);
}

/* ---- the list ---- */

static struct wr_conn *conn_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

static void read_peer(struct in6_addr *out, struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	const struct sockaddr *addr = info ? info->client_addr : NULL;

	memset(out, 0, sizeof *out);
	if (addr && addr->sa_family == AF_INET6) {
		*out = ((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr;
		/* Who has one address of a network of IPv6 has all. */
		if (!IN6_IS_ADDR_V4MAPPED(out))
			memset(out->s6_addr + 8, 0, 8);
	} else if (addr && addr->sa_family == AF_INET) {
		memset(out->s6_addr + 10, 0xff, 2);
		memcpy(out->s6_addr + 12, &((const struct sockaddr_in *)(const void *)addr)->sin_addr, 4);
	}
}

/* With the lock. */
static bool address_is_full(const struct wr_http *http, const struct wr_conn *conn)
{
	uint64_t n = 0;

	if (http->cfg->http_max_per_address == 0)
		return false;
	for (const struct wr_conn *other = http->conns; other; other = other->next)
		n += !other->cut && memcmp(&other->peer, &conn->peer, sizeof conn->peer) == 0;
	return n >= http->cfg->http_max_per_address;
}

static void add_conn(struct wr_http *http, struct MHD_Connection *connection, void **context)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct wr_conn *conn = calloc(1, sizeof *conn);

	/* Without memory the connection is not watched; its requests are refused. */
	*context = conn;
	if (!conn)
		return;
	conn->fd = info->connect_fd;
	conn->since_ms = wr_mono_ms();
	conn->fresh = true;
	read_peer(&conn->peer, connection);
	pthread_mutex_lock(&http->lock);
	if (address_is_full(http, conn))
		cut(conn, "too many connections");
	conn->next = http->conns;
	if (conn->next)
		conn->next->prev = conn;
	http->conns = conn;
	http->n_conns++;
	pthread_mutex_unlock(&http->lock);
}

static void remove_conn(struct wr_http *http, struct wr_conn *conn)
{
	if (!conn)
		return;
	pthread_mutex_lock(&http->lock);
	*(conn->prev ? &conn->prev->next : &http->conns) = conn->next;
	if (conn->next)
		conn->next->prev = conn->prev;
	http->n_conns--;
	pthread_mutex_unlock(&http->lock);
	free(conn);
}

void wr_watch_connection(void *cls, struct MHD_Connection *connection, void **context,
			 enum MHD_ConnectionNotificationCode what)
{
	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		add_conn(cls, connection, context);
		return;
	}
	remove_conn(cls, *context);
	*context = NULL;
}

void wr_watch_begin(struct wr_http *http, struct MHD_Connection *connection, struct wr_request *req)
{
	struct wr_conn *conn = conn_of(connection);

	pthread_mutex_lock(&http->lock);
	http->running++;
	if (conn)
		conn->request = req;
	if (!conn || atomic_load(&http->stopping))
		wr_request_give_up(req, conn ? "stopping" : "out of memory");
	pthread_mutex_unlock(&http->lock);
}

void wr_watch_end(struct wr_http *http, struct MHD_Connection *connection)
{
	struct wr_conn *conn = conn_of(connection);

	pthread_mutex_lock(&http->lock);
	if (conn) {
		conn->request = NULL;
		conn->fresh = false;
		conn->since_ms = wr_mono_ms();
	}
	if (--http->running == 0)
		pthread_cond_broadcast(&http->idle);
	pthread_mutex_unlock(&http->lock);
}

void wr_watch_abort_all(struct wr_http *http, const char *why)
{
	pthread_mutex_lock(&http->lock);
	for (struct wr_conn *conn = http->conns; conn; conn = conn->next)
		if (conn->request)
			cut(conn, why);
	pthread_mutex_unlock(&http->lock);
}

bool wr_watch_wait_idle(struct wr_http *http, int64_t timeout_ms)
{
	int64_t end = wr_mono_ms() + timeout_ms;
	struct timespec until = {.tv_sec = (time_t)(end / 1000), .tv_nsec = (long)(end % 1000) * 1000000};
	bool idle;

	pthread_mutex_lock(&http->lock);
	while (http->running && pthread_cond_timedwait(&http->idle, &http->lock, &until) == 0)
		;
	idle = http->running == 0;
	pthread_mutex_unlock(&http->lock);
	return idle;
}

/* ---- room for others ---- */

/* Nothing of a request is lost when it is closed now. */
static bool is_spare(const struct wr_conn *conn, int64_t now)
{
	const struct wr_request *req = conn->request;

	return !conn->cut && now - conn->since_ms > SPARE_MS &&
	       (!req || (atomic_load(&req->stage) == WR_STAGE_HEAD && now - req->began_us / 1000 > SPARE_MS));
}

void wr_watch_make_room(struct wr_http *http)
{
	int64_t now = wr_mono_ms(), oldest = INT64_MAX;
	int left = SPARE_AT_ONCE;

	pthread_mutex_lock(&http->lock);
	for (struct wr_conn *conn = http->conns; conn; conn = conn->next)
		if (is_spare(conn, now) && conn->since_ms < oldest)
			oldest = conn->since_ms;
	for (struct wr_conn *conn = http->conns; conn && left; conn = conn->next)
		if (is_spare(conn, now) && conn->since_ms - oldest < SPARE_MS / 4) {
			cut(conn, "place needed");
			left--;
		}
	pthread_mutex_unlock(&http->lock);
}

/* ---- the watchdog ---- */

/*
 * Slower than min_rate over a whole window of waiting for the client; time in which we let the client wait does not
 * count. Bytes are those that libmicrohttpd took from, or was given for, the socket.
 */
static bool too_slow(struct wr_request *req, int64_t dt)
{
	const struct wr_config *cfg = req->http->cfg;
	int stage = atomic_load(&req->stage);
	uint64_t bytes = stage == WR_STAGE_BODY ? atomic_load(&req->bytes_in) : atomic_load(&req->bytes_out), moved;

	if (cfg->http_min_rate == 0 || (stage != WR_STAGE_BODY && stage != WR_STAGE_SEND))
		return false;
	if (req->rate_stage != stage) {
		req->rate_stage = stage;
		req->rate_ms = 0;
		req->rate_bytes = bytes;
	}
	if (atomic_load(&req->paused))
		return false;
	req->rate_ms += dt;
	if (req->rate_ms < (int64_t)cfg->http_min_rate_window)
		return false;
	moved = bytes - req->rate_bytes;
	req->rate_bytes = bytes;
	if (moved >= cfg->http_min_rate * (uint64_t)req->rate_ms / 1000) {
		req->rate_ms = 0;
		return false;
	}
	return true;
}

/* At the server's end nobody waits for what is refused anyway, or has not even been asked yet. */
static bool holds_up_the_end(struct wr_request *req, int64_t now)
{
	const struct wr_http *http = req->http;

	return atomic_load(&http->draining) && now - atomic_load(&http->draining_ms) > DRAIN_PATIENCE_MS &&
	       now - req->began_us / 1000 > DRAIN_PATIENCE_MS &&
	       (atomic_load(&req->stage) == WR_STAGE_HEAD || atomic_load(&req->discarding));
}

static const char *judge_request(struct wr_request *req, int64_t now, int64_t dt)
{
	const struct wr_config *cfg = req->http->cfg;
	int64_t age = now - req->began_us / 1000, send_until = atomic_load(&req->send_until_ms);

	if (age > (int64_t)cfg->http_request_timeout)
		return "request timeout";
	if (atomic_load(&req->stage) == WR_STAGE_HEAD && age > (int64_t)cfg->http_header_timeout)
		return "header timeout";
	if (holds_up_the_end(req, now))
		return "stopping";
	/* An answer in one piece is out of sight until it is gone. */
	if (send_until)
		return now > send_until ? "too slow" : NULL;
	return too_slow(req, dt) ? "too slow" : NULL;
}

static const char *judge(const struct wr_http *http, struct wr_conn *conn, int64_t now, int64_t dt)
{
	const struct wr_config *cfg = http->cfg;
	int64_t patience = (int64_t)cfg->http_header_timeout;

	if (conn->cut)
		return NULL;
	if (conn->request)
		return judge_request(conn->request, now, dt);
	/* libmicrohttpd closes what idles, but a byte now and then counts as life to it. */
	if (!conn->fresh)
		patience += (int64_t)cfg->http_idle_timeout;
	return now - conn->since_ms > patience ? "header timeout" : NULL;
}

struct polled {
	struct pollfd *fds;
	struct wr_conn **conns;
	size_t n, cap;
};

static void add_polled(struct polled *p, struct wr_conn *conn)
{
	if (conn->cut || p->n == p->cap)
		return;
	p->conns[p->n] = conn;
	p->fds[p->n].fd = conn->fd;
	p->fds[p->n++].events = POLLRDHUP;
}

/*
 * Whether the client has left. libmicrohttpd does not look at a suspended connection; and of one that it reads it may
 * never learn the end: epoll is edge-triggered there, and a FIN that comes together with the last bytes raises no
 * second edge after they were read (0.9.75). A FIN may also stand behind bytes that are still wanted, and who reads an
 * answer may have closed his sending half: so, but for a request that is worked on, the end only counts when no byte is
 * left and none moved for a whole tick.
 */
static bool has_left(struct wr_conn *conn, short events)
{
	struct wr_request *req = conn->request;
	int stage = req ? atomic_load(&req->stage) : WR_STAGE_HEAD, unread = 0;
	bool paused = req && atomic_load(&req->paused), before = conn->at_end;
	uint64_t bytes = req ? atomic_load(&req->bytes_in) : 0;

	if (paused && ((events & (POLLHUP | POLLERR)) || stage >= WR_STAGE_WORK))
		return true;
	conn->at_end = !paused && stage <= WR_STAGE_BODY && ioctl(conn->fd, FIONREAD, &unread) == 0 && unread == 0;
	if (conn->at_end && before && bytes == conn->at_end_bytes)
		return true;
	conn->at_end_bytes = bytes;
	return false;
}

static void grow(struct polled *p, size_t n)
{
	struct pollfd *fds;
	struct wr_conn **conns;

	if (n <= p->cap)
		return;
	n += n / 2 + 16;
	fds = realloc(p->fds, n * sizeof *fds);
	if (fds)
		p->fds = fds;
	conns = realloc(p->conns, n * sizeof(struct wr_conn *));
	if (conns)
		p->conns = conns;
	if (fds && conns)
		p->cap = n;
}

static void look(struct wr_http *http, struct polled *p, int64_t now, int64_t dt)
{
	pthread_mutex_lock(&http->lock);
	p->n = 0;
	grow(p, http->n_conns);
	for (struct wr_conn *conn = http->conns; conn; conn = conn->next) {
		const char *why = judge(http, conn, now, dt);

		if (why)
			drop(conn, why);
		add_polled(p, conn);
	}
	if (p->n && poll(p->fds, (nfds_t)p->n, 0) > 0)
		for (size_t i = 0; i < p->n; i++)
			if ((p->fds[i].revents & (POLLRDHUP | POLLHUP | POLLERR)) &&
			    has_left(p->conns[i], p->fds[i].revents))
				cut(p->conns[i], "client left");
	pthread_mutex_unlock(&http->lock);
}

struct crowd {
	size_t most;    /* requests at once since memory was given back last */
	int64_t next_ms; /* when it may be again */
};

/* malloc keeps what many requests at once needed; when they have gone the system gets it back. */
static void give_back(struct wr_http *http, struct crowd *crowd, int64_t now)
{
	size_t running;

	pthread_mutex_lock(&http->lock);
	running = http->running;
	pthread_mutex_unlock(&http->lock);
	if (running > crowd->most)
		crowd->most = running;
	if (crowd->most < CROWD || running > crowd->most / 4 || now < crowd->next_ms)
		return;
	malloc_trim(0);
	crowd->most = running;
	crowd->next_ms = now + GIVE_BACK_MS;
}

void wr_watch_main(void *arg)
{
	struct wr_http *http = arg;
	struct crowd crowd = {.most = 0};
	struct polled p = {.fds = NULL};
	struct pollfd stop = {.fd = http->watch_stop, .events = POLLIN};
	int64_t last = wr_mono_ms();

	for (;;) {
		int rc = poll(&stop, 1, TICK_MS);
		int64_t now = wr_mono_ms();

		if (rc > 0)
			break;
		if (rc < 0 && errno != EINTR)
			break;
		look(http, &p, now, now - last);
		give_back(http, &crowd, now);
		last = now;
	}
	free(p.fds);
	free(p.conns);
}
