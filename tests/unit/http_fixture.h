/*
 * tests/unit/http_fixture.h: what the tests of the HTTP layer share: routes and an access module of their own, a server
 * for each test, and a client of raw sockets, so that each byte and each pause is chosen.
 */
#ifndef WR_TESTS_HTTP_FIXTURE_H
#define WR_TESTS_HTTP_FIXTURE_H

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "server/http/http.h"
#include "server/http/route.h"

#define OWNED "11111111-1111-4111-8111-111111111111"
#define OPEN "22222222-2222-4222-8222-222222222222"
#define ACCOUNT "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
#define WAIT_MS 20000

/* ---- the access module of the test ---- */

enum wr_code wr_access_caller(struct wr_caller *out, struct wr_db *db, const struct wr_credential *cred,
			      struct wr_error *err)
{
	(void)db;
	*out = (struct wr_caller){.kind = WR_ANONYMOUS};
	if (cred->kind == WR_CRED_NONE)
		return WR_OK;
	if (cred->kind == WR_CRED_UNREADABLE)
		return wr_fail(err, WR_E_UNAUTHORIZED, "Unauthorized");
	if (cred->kind == WR_CRED_KEY_OR_TOKEN && wr_str_eqz(cred->secret, "key"))
		out->kind = WR_BY_KEY;
	else if (wr_str_eqz(cred->secret, "reader") || wr_str_eqz(cred->secret, "writer") ||
		 wr_str_eqz(cred->secret, "stranger"))
		out->kind = WR_BY_TOKEN;
	else
		return wr_fail(err, WR_E_UNAUTHORIZED, "Unauthorized");
	snprintf(out->account_id, sizeof out->account_id, "%s", ACCOUNT);
	if (out->kind == WR_BY_TOKEN)
		snprintf(out->identity_id, sizeof out->identity_id, "%.*s", (int)cred->secret.len, cred->secret.ptr);
	return WR_OK;
}

enum wr_code wr_access_repo(struct wr_repo *out, enum wr_level *level, struct wr_db *db, const struct wr_caller *caller,
			    struct wr_str repo_id, bool for_git, struct wr_error *err)
{
	bool is_open = wr_str_eqz(repo_id, OPEN), known = is_open || wr_str_eqz(repo_id, OWNED);

	(void)db;
	*level = WR_LEVEL_NONE;
	if (known && caller->kind == WR_BY_KEY)
		*level = WR_LEVEL_ADMIN;
	else if (known && strcmp(caller->identity_id, "writer") == 0)
		*level = WR_LEVEL_WRITE;
	else if (known && strcmp(caller->identity_id, "reader") == 0)
		*level = WR_LEVEL_READ;
	else if (is_open && for_git)
		*level = WR_LEVEL_READ;
	if (*level == WR_LEVEL_NONE) {
		(void)wr_fail(err, WR_E_REPO_NOT_FOUND, "Repository not found");
		wr_error_field(err, "repoId", repo_id);
		return WR_E_REPO_NOT_FOUND;
	}
	memset(out, 0, sizeof *out);
	snprintf(out->id, sizeof out->id, "%.*s", (int)repo_id.len, repo_id.ptr);
	snprintf(out->account_id, sizeof out->account_id, "%s", ACCOUNT);
	out->public_ = is_open;
	return WR_OK;
}

/* ---- the handlers of the test ---- */

static pthread_mutex_t hold_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t hold_cond = PTHREAD_COND_INITIALIZER;
static bool hold;
static int holding;
static _Atomic int cancelled_seen, uploads_begun;

static inline enum wr_code h_ok(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	(void)app;
	(void)err;
	wr_reply_json(req, json_pack("{s:b}", "ok", 1));
	return WR_OK;
}

static inline enum wr_code h_echo_json(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	struct wr_str q;

	(void)app;
	(void)err;
	if (wr_request_query(req, "header", &q))
		wr_reply_header(req, "X-Test", "a\r\nInjected: b");
	wr_request_log_int(req, "members", (int64_t)json_object_size(wr_request_json(req)));
	wr_reply_json(req, json_incref(wr_request_json(req)));
	return WR_OK;
}

static inline enum wr_code h_param(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	struct wr_str p = wr_request_param(req, "path"), q = {"", 0};
	uint64_t limit;
	enum wr_code code = wr_request_query_int(req, "limit", 7, 100, &limit, err);

	(void)app;
	if (code)
		return code;
	wr_request_query(req, "q", &q);
	wr_reply_json(req, json_pack("{s:o, s:o, s:I}", "path", wr_json_str(p), "q", wr_json_str(q), "limit",
				     (json_int_t)limit));
	return WR_OK;
}

static inline uint64_t sum_bytes(uint64_t sum, const unsigned char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sum = sum * 31 + p[i];
	return sum;
}

static inline void reply_sum(struct wr_request *req, uint64_t len, uint64_t sum)
{
	char text[32];

	snprintf(text, sizeof text, "%llx", (unsigned long long)sum);
	wr_reply_json(req, json_pack("{s:I, s:s}", "len", (json_int_t)len, "sum", text));
}

static inline enum wr_code h_bytes(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	struct wr_str body = wr_request_body(req);

	(void)app;
	(void)err;
	reply_sum(req, body.len, sum_bytes(0, (const unsigned char *)body.ptr, body.len));
	return WR_OK;
}

static inline enum wr_code h_upload(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	unsigned char buf[5000];
	uint64_t len = 0, sum = 0;
	size_t got;

	(void)app;
	for (;;) {
		enum wr_code code = wr_source_read(wr_request_source(req), buf, sizeof buf, &got, err);

		if (code == WR_E_CANCELLED)
			atomic_fetch_add(&cancelled_seen, 1);
		if (code)
			return code;
		if (got == 0)
			break;
		if (len == 0)
			atomic_fetch_add(&uploads_begun, 1);
		len += got;
		sum = sum_bytes(sum, buf, got);
	}
	reply_sum(req, len, sum);
	return WR_OK;
}

static inline enum wr_code h_early(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	unsigned char buf[10];
	size_t got;
	enum wr_code code = wr_source_read(wr_request_source(req), buf, sizeof buf, &got, err);

	(void)app;
	return code ? code : wr_fail(err, WR_E_INVALID_REQUEST, "Not a push");
}

static inline void fill_pattern(unsigned char *buf, size_t n, uint64_t at)
{
	for (size_t i = 0; i < n; i++)
		buf[i] = (unsigned char)((at + i) * 7 + ((at + i) >> 9));
}

/* Streams as many bytes as the path says, then fails when the query says so. */
static inline enum wr_code h_stream(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	unsigned char buf[3000];
	struct wr_sink *sink;
	struct wr_str q;
	uint64_t left, at = 0;
	enum wr_code code;

	(void)app;
	if (!wr_str_u64(wr_request_param(req, "n"), UINT64_MAX / 4, &left))
		return wr_fail(err, WR_E_INVALID_REQUEST, "no number");
	code = wr_reply_stream(&sink, req, "application/octet-stream", err);
	while (!code && left) {
		size_t n = left < sizeof buf ? (size_t)left : sizeof buf;

		fill_pattern(buf, n, at);
		code = wr_sink_write(sink, buf, n, err);
		at += n;
		left -= n;
	}
	if (code == WR_E_CANCELLED)
		atomic_fetch_add(&cancelled_seen, 1);
	if (!code && wr_request_query(req, "fail", &q))
		code = wr_fail(err, WR_E_INTERNAL, "the disk is gone");
	return code;
}

/* Writes a little, flushes it, and goes on only when the test lets it. */
static inline void wait_while_held(void)
{
	pthread_mutex_lock(&hold_lock);
	holding++;
	pthread_cond_broadcast(&hold_cond);
	while (hold)
		pthread_cond_wait(&hold_cond, &hold_lock);
	holding--;
	pthread_cond_broadcast(&hold_cond);
	pthread_mutex_unlock(&hold_lock);
}

static inline enum wr_code h_progress(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	struct wr_sink *sink;
	enum wr_code code = wr_reply_stream(&sink, req, "text/plain", err);

	(void)app;
	if (!code)
		code = wr_sink_write(sink, "first", 5, err);
	if (!code)
		code = wr_sink_flush(sink, err);
	if (code)
		return code;
	wait_while_held();
	return wr_sink_write(sink, "second", 6, err);
}

static inline enum wr_code h_hold(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	(void)app;
	(void)err;
	wait_while_held();
	if (wr_request_cancel(req)->fn(wr_request_cancel(req)->arg))
		atomic_fetch_add(&cancelled_seen, 1);
	return WR_OK;
}

static const struct wr_route rows[] = {
	{"GET", "/healthz", WR_ACCESS_NONE, WR_BODY_NONE, WR_LANE_INLINE, h_ok},
	{"GET", "/ok", WR_ACCESS_NONE, WR_BODY_NONE, WR_LANE_INLINE, h_ok},
	{"POST", "/ok", WR_ACCESS_NONE, WR_BODY_NONE, WR_LANE_COMMIT, h_ok},
	{"GET", "/any", WR_ACCESS_ANY, WR_BODY_NONE, WR_LANE_INLINE, h_ok},
	{"GET", "/account", WR_ACCESS_ACCOUNT, WR_BODY_NONE, WR_LANE_INLINE, h_ok},
	{"POST", "/json", WR_ACCESS_NONE, WR_BODY_JSON, WR_LANE_INLINE, h_echo_json},
	{"POST", "/json-commit", WR_ACCESS_NONE, WR_BODY_JSON, WR_LANE_COMMIT, h_echo_json},
	{"GET", "/param/{path*}", WR_ACCESS_NONE, WR_BODY_NONE, WR_LANE_INLINE, h_param},
	{"POST", "/bytes", WR_ACCESS_NONE, WR_BODY_BYTES, WR_LANE_CPU, h_bytes},
	{"POST", "/upload", WR_ACCESS_NONE, WR_BODY_STREAM, WR_LANE_CPU, h_upload},
	{"POST", "/upload-key", WR_ACCESS_ACCOUNT, WR_BODY_STREAM, WR_LANE_CPU, h_upload},
	{"POST", "/early", WR_ACCESS_NONE, WR_BODY_STREAM, WR_LANE_CPU, h_early},
	{"GET", "/stream/{n}", WR_ACCESS_NONE, WR_BODY_NONE, WR_LANE_CPU, h_stream},
	{"GET", "/inline-stream/{n}", WR_ACCESS_NONE, WR_BODY_NONE, WR_LANE_INLINE, h_stream},
	{"GET", "/progress", WR_ACCESS_NONE, WR_BODY_NONE, WR_LANE_CPU, h_progress},
	{"GET", "/hold", WR_ACCESS_NONE, WR_BODY_NONE, WR_LANE_COMMIT, h_hold},
	{"GET", "/repo/{repo}", WR_ACCESS_REPO_READ, WR_BODY_NONE, WR_LANE_INLINE, h_ok},
	{"PUT", "/repo/{repo}", WR_ACCESS_REPO_WRITE, WR_BODY_JSON, WR_LANE_INLINE, h_ok},
	{"DELETE", "/repo/{repo}", WR_ACCESS_REPO_ADMIN, WR_BODY_NONE, WR_LANE_INLINE, h_ok},
	{"GET", "/{repo.git}/info/refs", WR_ACCESS_GIT_SERVICE, WR_BODY_NONE, WR_LANE_CPU, h_ok},
	{"POST", "/{repo.git}/git-upload-pack", WR_ACCESS_GIT_READ, WR_BODY_BYTES, WR_LANE_CPU, h_bytes},
	{"POST", "/{repo.git}/git-receive-pack", WR_ACCESS_GIT_WRITE, WR_BODY_STREAM, WR_LANE_CPU, h_upload},
};
static const struct wr_route_table table = {.rows = rows, .n = WR_ARRAY_LEN(rows)};

/* ---- a server for each test ---- */

static struct wr_config cfg;
static struct wr_app app;
static struct wr_http *http;

static inline void set_hold(bool on)
{
	pthread_mutex_lock(&hold_lock);
	hold = on;
	pthread_cond_broadcast(&hold_cond);
	pthread_mutex_unlock(&hold_lock);
}

static inline void wait_holding(int n)
{
	pthread_mutex_lock(&hold_lock);
	while (holding != n)
		pthread_cond_wait(&hold_cond, &hold_lock);
	pthread_mutex_unlock(&hold_lock);
}

static inline void start(void)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;

	app = (struct wr_app){.cfg = &cfg};
	if (wr_http_start_table(&http, &app, &cfg, &table, &err))
		fail_msg("start: %s %s", wr_error_text(&err), err.detail);
}

static inline int setup(void **state)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	bool known;

	(void)state;
	atomic_store(&cancelled_seen, 0);
	atomic_store(&uploads_begun, 0);
	hold = false;
	holding = 0;
	if (wr_config_init(&cfg, &err) || wr_config_flag(&cfg, WR_S("listen"), "127.0.0.1:0", &known, &err))
		return -1;
	cfg.git_max_pack = 16u << 20;
	cfg.git_max_fetch_request = 1u << 20;
	cfg.lanes_git_threads = 4;
	cfg.lanes_commit_threads = 2;
	cfg.lanes_account_share = 100;
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	set_hold(false);
	if (http && !wr_http_stop(http))
		return -1;
	http = NULL;
	wr_config_fini(&cfg);
	return 0;
}

/* ---- the client ---- */

struct reply {
	int status;
	char head[8192];
	struct wr_buf body;
	bool whole;  /* the body came to its end as announced */
	bool closed; /* the server closed */
};

static inline void reply_fini(struct reply *r)
{
	wr_buf_fini(&r->body);
}

static inline int dial(void)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(wr_http_port(http))};
	struct timeval tv = {.tv_sec = WAIT_MS / 1000};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
	return fd;
}

/* False when the server has closed. */
static inline bool send_bytes(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static inline void say(int fd, const char *text)
{
	assert_true(send_bytes(fd, text, strlen(text)));
}

static inline const char *header(const struct reply *r, const char *name, char *out, size_t size)
{
	const char *p = r->head;
	size_t n = strlen(name);

	while ((p = strstr(p, "\r\n"))) {
		p += 2;
		if (strncasecmp(p, name, n) == 0 && p[n] == ':') {
			const char *end = strstr(p, "\r\n");

			p += n + 1 + strspn(p + n + 1, " ");
			snprintf(out, size, "%.*s", (int)(end - p), p);
			return out;
		}
	}
	return NULL;
}

/* Reads byte-exactly, so that the next reply on the connection stays in the socket. */
static inline bool get(int fd, void *buf, size_t n)
{
	return n == 0 || recv(fd, buf, n, MSG_WAITALL) == (ssize_t)n;
}

static inline bool get_line(int fd, char *line, size_t size)
{
	size_t n = 0;

	while (n + 1 < size && get(fd, line + n, 1)) {
		if (line[n++] != '\n')
			continue;
		line[n] = '\0';
		return true;
	}
	return false;
}

static inline bool get_part(int fd, struct wr_buf *body, uint64_t n)
{
	char buf[4096];

	while (n) {
		size_t part = n < sizeof buf ? (size_t)n : sizeof buf;

		if (!get(fd, buf, part))
			return false;
		wr_buf_add(body, buf, part);
		n -= part;
	}
	return true;
}

static inline bool get_chunks(int fd, struct wr_buf *body)
{
	char line[64];
	unsigned long n;

	do {
		if (!get_line(fd, line, sizeof line))
			return false;
		n = strtoul(line, NULL, 16);
		if (!get_part(fd, body, n) || !get(fd, line, 2))
			return false;
	} while (n);
	return true;
}

static inline void receive(int fd, struct reply *r, bool head_only)
{
	char value[100];
	size_t n = 0;

	memset(r, 0, sizeof *r);
	r->body = (struct wr_buf)WR_BUF_INIT(64u << 20);
	while (n < 4 || memcmp(r->head + n - 4, "\r\n\r\n", 4) != 0) {
		if (n + 1 == sizeof r->head || recv(fd, r->head + n, 1, 0) != 1) {
			r->closed = true;
			return;
		}
		n++;
	}
	if (sscanf(r->head, "HTTP/1.1 %d", &r->status) != 1)
		fail_msg("no status: %s", r->head);
	if (head_only || r->status == 204)
		r->whole = true;
	else if (header(r, "Transfer-Encoding", value, sizeof value))
		r->whole = get_chunks(fd, &r->body);
	else if (header(r, "Content-Length", value, sizeof value))
		r->whole = get_part(fd, &r->body, strtoull(value, NULL, 10));
	else
		while (recv(fd, value, 1, 0) == 1)
			wr_buf_add(&r->body, value, 1);
}

static inline bool server_closes(int fd)
{
	char c;

	return recv(fd, &c, 1, 0) <= 0 && errno != EAGAIN;
}

/* One request on its own connection. */
static inline void ask(struct reply *r, const char *request)
{
	int fd = dial();

	say(fd, request);
	receive(fd, r, strncmp(request, "HEAD", 4) == 0);
	close(fd);
}

static inline void expect(const char *request, int status, const char *in_body)
{
	struct reply r;

	ask(&r, request);
	if (r.status != status || (in_body && !strstr(r.body.ptr ? r.body.ptr : "", in_body)))
		fail_msg("%s\nanswered: %s%s", request, r.head, r.body.ptr ? r.body.ptr : "");
	assert_true(r.whole);
	reply_fini(&r);
}

#define H "Host: x\r\n"
#define E "\r\n"
#define BEARER(t) "Authorization: Bearer " t "\r\n"

/* An argument is a pattern: only the tests of that name run. */
static inline void begin(int argc, char **argv)
{
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	signal(SIGPIPE, SIG_IGN);
	wr_log_set_threshold(WR_ERROR);
}

#endif
