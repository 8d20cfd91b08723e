/*
 * server/http/http_internal.h: what the files of server/http share: the server, its connections, its requests.
 *
 * A request's life. The event thread (libmicrohttpd's) makes it when the request line is there (exchange.c), admits it
 * when the head is there (admit.c), gathers the body or passes it through the pipe `in`, and then runs the handler
 * itself or hands it to a lane. Whoever ran the handler ends the pipe `out`; the event thread, paused there, sends the
 * answer. The watchdog (watch.c) looks at all of them and gives up what takes too long.
 *
 * References: libmicrohttpd holds one (until notify_completed), a job one, a streamed answer one. Whoever drops the
 * last one writes the access line.
 *
 * Lock order: wr_http.lock, then a pipe's lock; libmicrohttpd's own locks are taken under both, and it calls us under
 * none of those.
 */
#ifndef WR_HTTP_INTERNAL_H
#define WR_HTTP_INTERNAL_H

#include <microhttpd.h>
#include <netinet/in.h>
#include <stdatomic.h>

#include "core/base/gate.h"
#include "core/base/gunzip.h"
#include "core/base/json_read.h"
#include "core/base/lane.h"
#include "server/http/cors.h"
#include "server/http/http.h"
#include "server/http/pipe.h"
#include "server/http/route.h"

#define WR_RING_BYTES ((size_t)256 * 1024)
#define WR_GATHER_BYTES ((size_t)64 * 1024)  /* a streamed answer that ends before this goes out in one piece */
#define WR_INLINE_MAX ((size_t)1 << 20)      /* a streamed answer of an INLINE route */
#define WR_IGNORED_MAX ((uint64_t)64 * 1024) /* body of a route that wants none */
#define WR_JSON_MAX ((uint64_t)64 * 1024)
#define WR_PROMISE_BYTES ((size_t)64 * 1024) /* of a body, after which its Content-Length is believed */
#define WR_FREE_VALUES ((uint64_t)1 << 20)   /* memory of a JSON body's values that is not counted */
#define WR_STREAM_MARGIN ((uint64_t)64 << 20) /* what a push may carry besides its pack */
#define WR_DISCARD_MAX ((uint64_t)64 << 20)   /* refused bodies are read and dropped up to here, */
#define WR_DISCARD_MS 30000                   /* and for so long */
#define WR_REPLY_HEADERS 16
#define WR_LOG_EXTRAS 8
#define WR_BUFFER_SHARES 1024 /* two accounts that fall into one have one share together */

struct wr_conn;

struct wr_http {
	struct wr_app *app;
	const struct wr_config *cfg;
	const struct wr_route_table *table;
	struct wr_cors cors;
	struct MHD_Daemon *daemon;
	struct wr_lane *commit, *git;
	struct wr_gate *gate;
	char *cert, *key; /* PEM */
	struct wr_listener listener; /* fd -1 once it is closed */
	int accept_stop, watch_stop; /* eventfds: written once */
	pthread_t acceptor, watchdog;
	bool accepting, watching; /* those threads run; main's */
	size_t max_connections; /* as configured, or what the system's limit of descriptors leaves */

	_Atomic bool handing_over;
	_Atomic bool draining;
	_Atomic int64_t draining_ms; /* since when; set before it */
	_Atomic bool stopping;
	_Atomic uint64_t buffered; /* bytes of bodies and answers held in memory */
	_Atomic uint64_t buffered_by[WR_BUFFER_SHARES]; /* the same, by the hash of the account */

	pthread_mutex_t lock; /* conns, all of each wr_conn, running */
	pthread_cond_t idle;  /* running fell to 0 */
	struct wr_conn *conns;
	size_t n_conns;
	size_t running; /* requests between their request line and notify_completed */
};

/* An open connection; made and removed by libmicrohttpd's notifications, so that its fd is open while it is listed. */
struct wr_conn {
	struct wr_conn *prev, *next;
	int fd;
	struct in6_addr peer; /* IPv4 as ::ffff:a.b.c.d; of IPv6 only the network, 64 bits */
	struct wr_request *request; /* not counted: notify_completed clears it before it drops its reference */
	int64_t since_ms;           /* when it opened, or its last request ended */
	bool fresh;                 /* no request has ended on it yet */
	bool cut;                   /* shut down by the watchdog */
	bool at_end;                /* at the watchdog's last look the client had sent all it will, and all was read, */
	uint64_t at_end_bytes;      /* with so much of the body */
};

struct wr_header {
	struct wr_str name, value;
};

enum wr_stage {
	WR_STAGE_HEAD, /* the request line is there */
	WR_STAGE_BODY, /* the head is there */
	WR_STAGE_WORK, /* the body is there, the answer is not */
	WR_STAGE_SEND, /* the answer is on its way */
};

struct wr_reply {
	int status;
	struct {
		const char *name;
		char *value;
	} headers[WR_REPLY_HEADERS];
	size_t n_headers;
	char type[128];
	bool stream; /* the body comes through the pipe `out` */
	json_t *json;
	struct wr_buf body; /* when no stream */
};

struct wr_request {
	_Atomic unsigned refs;
	struct wr_http *http;
	struct MHD_Connection *connection; /* event thread; and resume, while it is paused */
	int fd;				   /* the connection's; event thread, and direct.c while it is paused */
	char trace[WR_TRACE_LEN + 1];
	int64_t began_us;

	/* The head. Written by the event thread before another thread sees the request. */
	struct wr_error target_error; /* why the URL cannot be used; code is WR_OK when it can */
	struct wr_url url;
	bool has_url;
	struct wr_match match;
	char method[16];
	bool is_head, http_1_1, expects_continue;
	bool broken_framing; /* where the body ends is uncertain: answer at once and close */
	struct wr_header *headers;
	size_t n_headers;
	uint64_t content_length;
	bool has_length, chunked;
	bool coded_twice; /* two lines of Content-Encoding: a list */
	bool gzip;
	struct wr_caller caller;
	struct wr_repo repo;
	bool has_repo;
	enum wr_level level; /* of the caller on repo */
	char payer[WR_LANE_KEY_MAX + 1]; /* whom lanes, gate and buffers count it for; empty until it was admitted */

	/* The body. */
	bool refused;    /* the reply is there, no handler runs */
	_Atomic bool discarding; /* what still comes of the body is dropped */
	uint64_t discarded;
	int64_t discard_until_ms;
	uint64_t limit;
	struct wr_buf body;
	_Atomic uint64_t charged; /* its part of wr_http.buffered */
	struct wr_json_look look; /* of body */
	json_t *json;
	struct wr_pipe in;
	bool has_in;
	bool submitted; /* of a streamed body: a lane has the request */
	bool at_once;	/* the event thread runs the handler */
	bool later;	/* which found that it would have to wait */
	struct wr_pipe_source in_source;
	struct wr_mem_source mem_source;
	struct wr_gunzip *gunzip;
	struct wr_source *source;

	/* The answer. Written by whoever runs the handler, read by the event thread once `out` says so. */
	struct wr_reply reply;
	struct wr_pipe out;
	struct wr_pipe_sink out_sink;
	struct wr_buf_sink buf_sink;
	struct wr_cancel cancel;
	struct wr_room memory;
	struct {
		const char *key;
		int64_t value;
	} extras[WR_LOG_EXTRAS];
	size_t n_extras;

	/* What the watchdog reads while others write. */
	_Atomic int stage;
	_Atomic bool paused; /* the connection is suspended: we wait for ourselves, not for the client */
	_Atomic bool given_up;
	_Atomic(const char *) why; /* for the access line, set with given_up */
	_Atomic uint64_t bytes_in, bytes_out;
	_Atomic int64_t send_until_ms; /* an answer in one piece has to be gone by then; 0: not known */

	/* The watchdog's own. */
	int rate_stage;
	int64_t rate_ms;
	uint64_t rate_bytes;
};

/* ---- request.c ---- */

struct wr_request *wr_request_new(struct wr_http *http, struct MHD_Connection *connection);
void wr_request_ref(struct wr_request *req);
void wr_request_unref(struct wr_request *req);
/* Nobody waits for it any more. Wakes everyone who waits on its pipes; why is a literal. */
void wr_request_give_up(struct wr_request *req, const char *why);
enum wr_charge {
	WR_CHARGE_NEEDED,
	WR_CHARGE_SPARE, /* what only makes it faster: from the first half of [http] max_buffered */
};
/*
 * Takes n more bytes of [http] max_buffered, given back with the request. False when there is no room, or the account
 * has its share of it already. Only once the request was admitted. Any thread.
 */
bool wr_request_charge(struct wr_request *req, uint64_t n, enum wr_charge kind);
/* Gives back some of it earlier. */
void wr_request_uncharge(struct wr_request *req, uint64_t n);
/* Whether it could be had now. */
bool wr_request_room(const struct wr_request *req, uint64_t n, enum wr_charge kind);
bool wr_request_is_git(const struct wr_request *req);
/* The header's value; ptr is NULL when it is absent. Authorization and the token's header are never kept. */
struct wr_str wr_request_find_header(const struct wr_request *req, const char *name);
/* A parameter of the matched route; ptr is NULL when the route has none of this name. */
struct wr_str wr_request_find_param(const struct wr_request *req, const char *name);

/* ---- reply.c ---- */

/* Fills the reply with the error's status and body. *err may be one that another function left empty. */
void wr_reply_error(struct wr_request *req, enum wr_code code, struct wr_error *err);
/* Takes over the handler's result; from then on the event thread owns the reply. */
void wr_reply_finish(struct wr_request *req, enum wr_code code, struct wr_error *err);
void wr_reply_fini(struct wr_reply *reply);
/* Event thread: queues the answer, or leaves the connection paused until there is one. */
enum MHD_Result wr_reply_send(struct wr_request *req);

/* ---- direct.c ---- */

/* A pipe's hook `send`; arg is the request. Only where the answer goes in chunks, and without TLS. */
bool wr_direct_send(void *arg, const struct wr_str *v, size_t n);

/* ---- head.c ---- */

/* Reads and checks the header lines. Errors: WR_E_INVALID_REQUEST, with broken_framing where that is what is wrong. */
WR_MUST_CHECK enum wr_code wr_head_read(struct wr_request *req, const char *method, const char *version,
					struct wr_error *err);

/* ---- admit.c ---- */

/*
 * Whether the request may go on: route, method, caller, repository, size of the body, room in its lane. An error is the
 * answer. A preflight is answered here too: then the reply is set, and refused is true.
 */
WR_MUST_CHECK enum wr_code wr_admit(struct wr_request *req, struct wr_error *err);
struct wr_lane *wr_admit_lane(const struct wr_request *req);
/*
 * Whom lanes, gate and buffers count this request for: the caller's account; for who came to a public repository
 * without a credential, a purse of its own beside its owner's, whom strangers should not lock out.
 */
struct wr_str wr_admit_payer(const struct wr_request *req);

/* ---- exchange.c: libmicrohttpd's callbacks; cls is the wr_http ---- */

void *wr_exchange_target(void *cls, const char *target, struct MHD_Connection *connection);
enum MHD_Result wr_exchange_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
				    const char *version, const char *upload, size_t *upload_len, void **context);
void wr_exchange_completed(void *cls, struct MHD_Connection *connection, void **context,
			   enum MHD_RequestTerminationCode how);

/* ---- work.c ---- */

/* Runs the handler on this thread, the event thread, and finishes the reply. False: a lane has to. */
bool wr_work_at_once(struct wr_request *req);
/* A lane's job; drops one reference to the request. */
void wr_work_job(void *req);

/* ---- watch.c ---- */

void wr_watch_connection(void *cls, struct MHD_Connection *connection, void **context,
			 enum MHD_ConnectionNotificationCode what);
void wr_watch_begin(struct wr_http *http, struct MHD_Connection *connection, struct wr_request *req);
void wr_watch_end(struct wr_http *http, struct MHD_Connection *connection);
/*
 * The connection is about to be closed on a client that does not read its answer: what the kernel still holds of it
 * goes too, else the client could go on taking that for hours.
 */
void wr_watch_forget_unsent(const struct wr_request *req);
/* Gives all running requests up. The lock is not held. */
void wr_watch_abort_all(struct wr_http *http, const char *why);
/* Waits until no request runs; false when one still does after timeout_ms. */
bool wr_watch_wait_idle(struct wr_http *http, int64_t timeout_ms);
/*
 * All places are taken and somebody waits for one: closes a few of the connections that have sent no whole head for the
 * longest time, since nothing is lost by that but a client's idle connection, or one that never was in earnest.
 */
void wr_watch_make_room(struct wr_http *http);
/* The thread: until watch_stop is written. */
void wr_watch_main(void *http);

/* ---- listen.c ---- */

/* How many connections may be open: [http] max_connections, or what the limit of descriptors leaves, with a warning. */
size_t wr_listen_places(const struct wr_config *cfg);
/* The thread that accepts and hands to libmicrohttpd, until accept_stop is written. */
void wr_listen_main(void *http);

/* ---- tls.c ---- */

/* Reads both files and checks that they belong together. *cert and *key are malloc'ed text. */
WR_MUST_CHECK enum wr_code wr_tls_load(char **cert, char **key, const char *cert_file, const char *key_file,
				       struct wr_error *err);

#endif
