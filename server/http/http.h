/*
 * server/http/http.h: the HTTP server: sockets, TLS, requests, replies, and the lanes that handlers run in.
 * Ownership: wr_http_start() gives *out; wr_http_stop() releases it. app, cfg and the table stay the caller's and
 *            outlive it.
 * Threads:   start, drain and stop from one thread (main); it makes those of core/base/threads.h.
 * Blocks on: drain and stop wait for running requests, both bounded.
 * Errors:    WR_E_INVALID_REQUEST with a sentence for what the operator has to mend (address, certificate, key); else
 *            WR_E_UNAVAILABLE, WR_E_INTERNAL.
 */
#ifndef WR_HTTP_H
#define WR_HTTP_H

#include "core/base/config.h"
#include "server/app.h"

struct wr_http;
struct wr_route_table;

/* A listening socket, and where it listens: "http://HOST:PORT" (https with TLS). */
struct wr_listener {
	int fd;
	uint16_t port;
	char url[300];
};
/* inherited: -1, or a socket that listens already and is taken over. */
WR_MUST_CHECK enum wr_code wr_http_listen(struct wr_listener *out, const struct wr_config *cfg, int inherited,
					  struct wr_error *err);

/* Serves the routes of routes.def from the moment it returns. Takes the listener's socket over. */
WR_MUST_CHECK enum wr_code wr_http_start(struct wr_http **out, struct wr_app *app, const struct wr_config *cfg,
					 const struct wr_listener *listener, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_http_start_on(struct wr_http **out, struct wr_app *app, const struct wr_config *cfg,
					    const struct wr_route_table *table, const struct wr_listener *listener,
					    struct wr_error *err);
/* The same with other routes, and a socket of its own: tests. */
WR_MUST_CHECK enum wr_code wr_http_start_table(struct wr_http **out, struct wr_app *app, const struct wr_config *cfg,
					       const struct wr_route_table *table, struct wr_error *err);

/* The port in use, and "http://HOST:PORT" (https with TLS); borrowed. */
uint16_t wr_http_port(const struct wr_http *http);
const char *wr_http_url(const struct wr_http *http);

/*
 * Another process accepts from now on: this one serves what comes on the connections that it has, and closes them with
 * their next answers. Returns at once. wr_http_open() says how many connections there are, *running how many of them have
 * a request that is worked on.
 */
void wr_http_hand_over(struct wr_http *http);
size_t wr_http_open(struct wr_http *http, size_t *running);

/*
 * Accepts no more, answers /healthz with 503, and waits until no request runs, for [server] stop_timeout at most; what
 * still runs then is aborted. Requests that arrive meanwhile on open connections are served and close them.
 */
void wr_http_drain(struct wr_http *http);

/*
 * Aborts what runs, joins all threads and releases everything. False when a handler has not come back within 15 s: then
 * its thread still runs, nothing was released, and the process has to end without taking the app apart.
 */
bool wr_http_stop(struct wr_http *http);

#endif
