#include "server/http/http.h"

#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>

#include <openssl/crypto.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/threads.h"
#include "server/http/http_internal.h"

/*
 * Holds the head of the request, then the head of the answer, then chunks of it. 16 KB: a URL of 8 KB and its headers
 * fit, and 10,000 connections cost at most 160 MB.
 */
#define CONNECTION_MEMORY ((size_t)16 * 1024)
#define HANDLER_GRACE_MS 15000
#define ABORT_GRACE_MS 2000
#define GIT_NICENESS 5
#define LANE_IDLE_MS 10000
#define GIT_THREADS_KEPT 16

static void WR_PRINTF(2, 0) library_log(void *cls, const char *fmt, va_list ap)
{
	char line[400];
	size_t n;

	(void)cls;
	if (WR_DEBUG < wr_log_threshold())
		return;
	vsnprintf(line, sizeof line, fmt, ap);
	n = strlen(line);
	while (n && line[n - 1] == '\n')
		line[--n] = '\0';
	WR_LOG(WR_DEBUG, NULL, HTTP_LIBRARY, WR_STR("text", line));
}

/* Ours decodes (url.c); libmicrohttpd's would cut the path at %00. */
static size_t no_unescape(void *cls, struct MHD_Connection *connection, char *text)
{
	(void)cls;
	(void)connection;
	return strlen(text);
}

/* ---- start ---- */

static enum wr_code start_lanes(struct wr_http *http, struct wr_error *err)
{
	const struct wr_config *cfg = http->cfg;
	struct wr_lane_config lane = {.name = "wr-commit",
				      .threads = (unsigned)cfg->lanes_commit_threads,
				      .keep = (unsigned)cfg->lanes_commit_threads,
				      .idle_ms = LANE_IDLE_MS,
				      .queue_max = (unsigned)cfg->lanes_queue,
				      .account_share = (unsigned)cfg->lanes_account_share};
	enum wr_code code;

	if ((code = wr_gate_new(&http->gate, (unsigned)cfg->lanes_cpu, err)) ||
	    (code = wr_lane_new(&http->commit, &lane, err)))
		return code;
	lane.name = "wr-git";
	lane.threads = (unsigned)cfg->lanes_git_threads;
	lane.keep = GIT_THREADS_KEPT;
	lane.niceness = GIT_NICENESS;
	return wr_lane_new(&http->git, &lane, err);
}

static enum wr_code start_library(struct wr_http *http, struct wr_error *err)
{
	const struct wr_config *cfg = http->cfg;
	bool tls = http->cert != NULL;
	unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET |
			 MHD_USE_ERROR_LOG | (tls ? MHD_USE_TLS : 0);
	/*
	 * Never to be met, for any of its threads: the library's threads wait for themselves for ever when it is
	 * (0.9.75). listen.c counts the connections.
	 */
	uint64_t limit = (http->max_connections + 1024) * cfg->lanes_epoll_threads;
	struct MHD_OptionItem tls_options[] = {
		{MHD_OPTION_HTTPS_MEM_CERT, 0, http->cert},
		{MHD_OPTION_HTTPS_MEM_KEY, 0, http->key},
		{MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t) "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
		{MHD_OPTION_END, 0, NULL},
	};
	struct MHD_OptionItem pool_options[] = {
		{MHD_OPTION_THREAD_POOL_SIZE, (intptr_t)cfg->lanes_epoll_threads, NULL},
		{MHD_OPTION_END, 0, NULL},
	};
	static struct MHD_OptionItem no_options[] = {{MHD_OPTION_END, 0, NULL}};
	sigset_t old;

	wr_signals_block(&old);
	http->daemon = MHD_start_daemon(
		flags, 0, NULL, NULL, wr_exchange_request, http, MHD_OPTION_EXTERNAL_LOGGER, library_log, NULL,
		MHD_OPTION_URI_LOG_CALLBACK, wr_exchange_target, http, MHD_OPTION_UNESCAPE_CALLBACK, no_unescape, NULL,
		MHD_OPTION_NOTIFY_COMPLETED, wr_exchange_completed, http, MHD_OPTION_NOTIFY_CONNECTION,
		wr_watch_connection, http, MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)(limit < UINT32_MAX ? limit : UINT32_MAX),
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)((cfg->http_idle_timeout + 999) / 1000), MHD_OPTION_ARRAY,
		cfg->lanes_epoll_threads > 1 ? pool_options : no_options, MHD_OPTION_ARRAY,
		tls ? tls_options : no_options, MHD_OPTION_END);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return http->daemon ? WR_OK
			    : wr_fail(err, WR_E_INTERNAL, "libmicrohttpd does not start (log level debug says why)");
}

static enum wr_code start_threads(struct wr_http *http, struct wr_error *err)
{
	enum wr_code code;

	http->accept_stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	http->watch_stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (http->accept_stop < 0 || http->watch_stop < 0)
		return wr_fail_errno(err, "eventfd");
	if ((code = wr_thread_start(&http->watchdog, "wr-watch", 0, wr_watch_main, http, err)))
		return code;
	http->watching = true;
	if ((code = wr_thread_start(&http->acceptor, "wr-accept", 0, wr_listen_main, http, err)))
		return code;
	http->accepting = true;
	return WR_OK;
}

static enum wr_code start_all(struct wr_http *http, struct wr_error *err)
{
	const struct wr_config *cfg = http->cfg;
	bool tls = cfg->server_tls_cert[0] || cfg->server_tls_key[0];
	enum wr_code code;

	if ((code = wr_cors_init(&http->cors, cfg->http_cors_origins, err)))
		return code;
	if (tls && (code = wr_tls_load(&http->cert, &http->key, cfg->server_tls_cert, cfg->server_tls_key, err)))
		return code;
	if ((code = start_lanes(http, err)) || (code = start_library(http, err)))
		return code;
	return start_threads(http, err);
}

enum wr_code wr_http_start_on(struct wr_http **out, struct wr_app *app, const struct wr_config *cfg,
			      const struct wr_route_table *table, const struct wr_listener *listener,
			      struct wr_error *err)
{
	struct wr_http *http = calloc(1, sizeof *http);
	pthread_condattr_t mono;
	enum wr_code code;

	if (!http) {
		close(listener->fd);
		return wr_fail_nomem(err);
	}
	http->app = app;
	http->cfg = cfg;
	http->table = table;
	http->listener = *listener;
	http->max_connections = wr_listen_places(cfg);
	http->accept_stop = http->watch_stop = -1;
	pthread_mutex_init(&http->lock, NULL);
	pthread_condattr_init(&mono);
	pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	pthread_cond_init(&http->idle, &mono);
	pthread_condattr_destroy(&mono);
	code = start_all(http, err);
	if (code) {
		(void)wr_http_stop(http);
		return code;
	}
	*out = http;
	return WR_OK;
}

enum wr_code wr_http_start_table(struct wr_http **out, struct wr_app *app, const struct wr_config *cfg,
				 const struct wr_route_table *table, struct wr_error *err)
{
	struct wr_listener listener;
	enum wr_code code = wr_http_listen(&listener, cfg, -1, err);

	return code == WR_OK ? wr_http_start_on(out, app, cfg, table, &listener, err) : code;
}

uint16_t wr_http_port(const struct wr_http *http)
{
	return http->listener.port;
}

const char *wr_http_url(const struct wr_http *http)
{
	return http->listener.url;
}

/* ---- stop ---- */

static void signal_thread(int fd, pthread_t thread, bool *runs)
{
	uint64_t one = 1;

	if (!*runs)
		return;
	while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
		;
	pthread_join(thread, NULL);
	*runs = false;
}

static void stop_accepting(struct wr_http *http)
{
	signal_thread(http->accept_stop, http->acceptor, &http->accepting);
	if (http->listener.fd >= 0)
		close(http->listener.fd);
	http->listener.fd = -1;
}

void wr_http_hand_over(struct wr_http *http)
{
	atomic_store(&http->handing_over, true);
	stop_accepting(http);
}

size_t wr_http_open(struct wr_http *http, size_t *running)
{
	size_t open;

	pthread_mutex_lock(&http->lock);
	open = http->n_conns;
	*running = http->running;
	pthread_mutex_unlock(&http->lock);
	return open;
}

void wr_http_drain(struct wr_http *http)
{
	atomic_store(&http->draining_ms, wr_mono_ms());
	atomic_store(&http->draining, true);
	stop_accepting(http);
	if (wr_watch_wait_idle(http, (int64_t)http->cfg->server_stop_timeout))
		return;
	wr_watch_abort_all(http, "stopping");
	(void)wr_watch_wait_idle(http, ABORT_GRACE_MS);
}

static bool stop_lane(struct wr_lane *lane)
{
	return !lane || wr_lane_stop(lane, HANDLER_GRACE_MS);
}

static void release(struct wr_http *http)
{
	wr_lane_free(http->commit);
	wr_lane_free(http->git);
	wr_gate_free(http->gate);
	wr_cors_fini(&http->cors);
	if (http->key)
		OPENSSL_cleanse(http->key, strlen(http->key));
	free(http->key);
	free(http->cert);
	if (http->accept_stop >= 0)
		close(http->accept_stop);
	if (http->watch_stop >= 0)
		close(http->watch_stop);
	pthread_cond_destroy(&http->idle);
	pthread_mutex_destroy(&http->lock);
	free(http);
}

/*
 * The order matters: once stopping is set no request pauses any more, and those that are paused are resumed, since
 * libmicrohttpd may not be stopped while a connection is suspended; jobs then end, because all they could wait for was
 * given up; the library's threads go last, since jobs resume connections.
 */
bool wr_http_stop(struct wr_http *http)
{
	bool commit, git;

	atomic_store(&http->draining, true);
	atomic_store(&http->stopping, true);
	stop_accepting(http);
	wr_watch_abort_all(http, "stopping");
	commit = stop_lane(http->commit);
	git = stop_lane(http->git);
	signal_thread(http->watch_stop, http->watchdog, &http->watching);
	if (!commit || !git) {
		WR_LOG(WR_WARN, NULL, SERVER_WARNING, WR_STR("what", "a request does not end; leaving without it"));
		return false;
	}
	if (http->daemon)
		MHD_stop_daemon(http->daemon);
	release(http);
	return true;
}
