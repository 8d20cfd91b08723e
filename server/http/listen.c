#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "core/base/log.h"
#include "server/http/http_internal.h"

#define BACKLOG 4096
#define FULL_WAIT_MS 20   /* between looks, while as many connections are open as may be */
#define COUNT_WAIT_MS 2   /* for new connections to be counted */
#define BURST 16          /* connections accepted without looking at their number again */
#define SHORT_WAIT_MS 100 /* the process is out of descriptors or memory */
/*
 * What the kernel may hold of an answer before it goes on its way. Its own buffer for a client that does not read grows
 * to megabytes, thousands of times; what is on its way to one that does read is not bounded by this.
 */
#define UNSENT_MAX (256 * 1024)
#define OTHER_FDS 1024   /* descriptors for other things than connections, */
#define FDS_OF_A_REPO 8 /* and for each repository kept open */

/*
 * Sockets are accepted here, not by libmicrohttpd: its MHD_quiesce_daemon() races with its own threads for the epoll
 * set and aborts the process when it loses. A listening socket of our own just stops being polled.
 */

/* "host:port" or "[v6]:port"; host gets no brackets. */
static bool split(char *host, size_t host_size, char *port, size_t port_size, struct wr_str text)
{
	const char *colon = text.len ? memrchr(text.ptr, ':', text.len) : NULL;
	struct wr_str h, p;
	uint64_t number;

	if (!colon)
		return false;
	h = wr_str_n(text.ptr, (size_t)(colon - text.ptr));
	p = wr_str_skip(text, h.len + 1);
	if (wr_str_starts(h, WR_S("[")) && wr_str_ends(h, WR_S("]")))
		h = wr_str_n(h.ptr + 1, h.len - 2);
	else if (h.len && memchr(h.ptr, ':', h.len))
		return false;
	if (h.len == 0 || h.len >= host_size || p.len >= port_size || !wr_str_u64(p, 65535, &number))
		return false;
	memcpy(host, h.ptr, h.len);
	host[h.len] = '\0';
	memcpy(port, p.ptr, p.len);
	port[p.len] = '\0';
	return true;
}

static int open_one(const struct addrinfo *a)
{
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 && bind(fd, a->ai_addr, a->ai_addrlen) == 0 &&
	    listen(fd, BACKLOG) == 0)
		return fd;
	on = errno;
	close(fd);
	errno = on;
	return -1;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_storage addr = {.ss_family = AF_UNSPEC};
	socklen_t len = sizeof addr;

	if (getsockname(fd, (struct sockaddr *)&addr, &len) != 0)
		return 0;
	return ntohs(addr.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&addr)->sin6_port
						: ((struct sockaddr_in *)&addr)->sin_port);
}

/* "localhost" often means both families; IPv4 is what clients that know one only try. */
static int open_any(const struct addrinfo *list)
{
	static const int order[] = {AF_INET, AF_INET6};
	int error = EADDRNOTAVAIL;

	for (size_t i = 0; i < WR_ARRAY_LEN(order); i++)
		for (const struct addrinfo *a = list; a; a = a->ai_next) {
			int fd = a->ai_family == order[i] ? open_one(a) : -1;

			if (fd >= 0)
				return fd;
			if (a->ai_family == order[i])
				error = errno;
		}
	errno = error;
	return -1;
}

static enum wr_code open_listener(int *fd, char *host, size_t host_size, const char *text, struct wr_error *err)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *list = NULL;
	char service[8], reason[128];
	int rc;

	if (!split(host, host_size, service, sizeof service, wr_str(text)))
		return wr_fail(err, WR_E_INVALID_REQUEST, "listen: \"%s\" is not HOST:PORT ([::1]:8080 for IPv6)", text);
	if (*fd >= 0)
		return WR_OK;
	rc = getaddrinfo(host, service, &hints, &list);
	/* A small system may not have the line in /etc/hosts; RFC 6761 leaves no doubt about what the name means. */
	if (rc != 0 && strcmp(host, "localhost") == 0)
		rc = getaddrinfo("127.0.0.1", service, &hints, &list);
	if (rc != 0)
		return wr_fail(err, WR_E_INVALID_REQUEST, "listen: no address for \"%s\": %s", host, gai_strerror(rc));
	*fd = open_any(list);
	freeaddrinfo(list);
	if (*fd < 0)
		return wr_fail(err, WR_E_INVALID_REQUEST, "Cannot listen on %s: %s", text,
			       strerror_r(errno, reason, sizeof reason) ? "no reason known" : reason);
	return WR_OK;
}

enum wr_code wr_http_listen(struct wr_listener *out, const struct wr_config *cfg, int inherited, struct wr_error *err)
{
	bool tls = cfg->server_tls_cert[0] || cfg->server_tls_key[0], v6;
	int fd = inherited;
	char host[256];
	enum wr_code code = open_listener(&fd, host, sizeof host, cfg->server_listen, err);

	if (code != WR_OK)
		return code;
	out->fd = fd;
	out->port = port_of(fd);
	v6 = strchr(host, ':') != NULL;
	snprintf(out->url, sizeof out->url, "%s://%s%s%s:%u", tls ? "https" : "http", v6 ? "[" : "", host, v6 ? "]" : "",
		 out->port);
	return WR_OK;
}

size_t wr_listen_places(const struct wr_config *cfg)
{
	uint64_t others = OTHER_FDS + FDS_OF_A_REPO * cfg->git_idle_repos, wanted = cfg->http_max_connections, places;
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) != 0 || lim.rlim_cur == RLIM_INFINITY || lim.rlim_cur >= wanted + others)
		return (size_t)wanted;
	places = lim.rlim_cur > 2 * others ? lim.rlim_cur - others : lim.rlim_cur / 2;
	if (places >= wanted)
		return (size_t)wanted;
	WR_LOG(WR_WARN, NULL, SERVER_WARNING,
	       WR_STR("what", "http.max_connections is more than the limit of open files allows; raise that "
			      "(ulimit -n, LimitNOFILE= of systemd) or lower max_connections"),
	       WR_INT("open_files", lim.rlim_cur), WR_INT("wanted", wanted + others), WR_INT("connections", places));
	return places ? (size_t)places : 1;
}

static size_t places_left(struct wr_http *http)
{
	size_t max = http->max_connections, open;

	pthread_mutex_lock(&http->lock);
	open = http->n_conns;
	pthread_mutex_unlock(&http->lock);
	return open < max ? max - open : 0;
}

/* False when nothing waits, or nothing can be taken now. */
static bool accept_one(struct wr_http *http, bool *starved)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof addr;
	int unsent = UNSENT_MAX;
	int fd = accept4(http->listener.fd, (struct sockaddr *)&addr, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	*starved = fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM);
	if (fd < 0)
		return false;
	setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
	/* It closes the socket also when it fails. */
	(void)MHD_add_connection(http->daemon, fd, (struct sockaddr *)&addr, len);
	return true;
}

void wr_listen_main(void *arg)
{
	struct wr_http *http = arg;
	struct pollfd fds[2] = {{.fd = http->accept_stop, .events = POLLIN}, {.fd = http->listener.fd, .events = POLLIN}};

	for (;;) {
		size_t left = places_left(http);
		int burst = left > BURST ? BURST : 1;
		bool starved = false;

		/* Who comes while all places are taken waits in the kernel's queue. */
		if (poll(fds, left ? 2 : 1, left ? -1 : FULL_WAIT_MS) < 0 && errno != EINTR)
			return;
		if (fds[0].revents)
			return;
		if (!left && poll(fds + 1, 1, 0) > 0)
			wr_watch_make_room(http);
		if (!left || !fds[1].revents)
			continue;
		for (int i = 0; i < burst && accept_one(http, &starved); i++)
			;
		/* A new connection counts once its thread has taken it over; near the limit that is worth a wait. */
		if (left <= BURST)
			poll(fds, 1, COUNT_WAIT_MS);
		if (starved) {
			WR_LOG(WR_WARN, NULL, SERVER_WARNING,
			       WR_STR("what", "no descriptors or memory to accept with"));
			poll(fds, 1, SHORT_WAIT_MS);
		}
	}
}
