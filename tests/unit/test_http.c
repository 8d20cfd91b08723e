/*
 * The HTTP layer over real sockets, with routes and an access module of the test's own: framing, limits, lanes, pipes,
 * slow and leaving clients, drain. The clients are raw sockets, so that each byte and each pause is chosen.
 */
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
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <zlib.h>

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

static enum wr_code h_ok(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	(void)app;
	(void)err;
	wr_reply_json(req, json_pack("{s:b}", "ok", 1));
	return WR_OK;
}

static enum wr_code h_echo_json(struct wr_app *app, struct wr_request *req, struct wr_error *err)
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

static enum wr_code h_param(struct wr_app *app, struct wr_request *req, struct wr_error *err)
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

static uint64_t sum_bytes(uint64_t sum, const unsigned char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sum = sum * 31 + p[i];
	return sum;
}

static void reply_sum(struct wr_request *req, uint64_t len, uint64_t sum)
{
	char text[32];

	snprintf(text, sizeof text, "%llx", (unsigned long long)sum);
	wr_reply_json(req, json_pack("{s:I, s:s}", "len", (json_int_t)len, "sum", text));
}

static enum wr_code h_bytes(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	struct wr_str body = wr_request_body(req);

	(void)app;
	(void)err;
	reply_sum(req, body.len, sum_bytes(0, (const unsigned char *)body.ptr, body.len));
	return WR_OK;
}

static enum wr_code h_upload(struct wr_app *app, struct wr_request *req, struct wr_error *err)
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

static enum wr_code h_early(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	unsigned char buf[10];
	size_t got;
	enum wr_code code = wr_source_read(wr_request_source(req), buf, sizeof buf, &got, err);

	(void)app;
	return code ? code : wr_fail(err, WR_E_INVALID_REQUEST, "Not a push");
}

static void fill_pattern(unsigned char *buf, size_t n, uint64_t at)
{
	for (size_t i = 0; i < n; i++)
		buf[i] = (unsigned char)((at + i) * 7 + ((at + i) >> 9));
}

/* Streams as many bytes as the path says, then fails when the query says so. */
static enum wr_code h_stream(struct wr_app *app, struct wr_request *req, struct wr_error *err)
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
static void wait_while_held(void)
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

static enum wr_code h_progress(struct wr_app *app, struct wr_request *req, struct wr_error *err)
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

static enum wr_code h_hold(struct wr_app *app, struct wr_request *req, struct wr_error *err)
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
static const struct wr_route_table table = {rows, WR_ARRAY_LEN(rows)};

/* ---- a server for each test ---- */

static struct wr_config cfg;
static struct wr_app app;
static struct wr_http *http;

static void set_hold(bool on)
{
	pthread_mutex_lock(&hold_lock);
	hold = on;
	pthread_cond_broadcast(&hold_cond);
	pthread_mutex_unlock(&hold_lock);
}

static void wait_holding(int n)
{
	pthread_mutex_lock(&hold_lock);
	while (holding != n)
		pthread_cond_wait(&hold_cond, &hold_lock);
	pthread_mutex_unlock(&hold_lock);
}

static void start(void)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;

	app = (struct wr_app){.cfg = &cfg};
	if (wr_http_start_table(&http, &app, &cfg, &table, &err))
		fail_msg("start: %s %s", wr_error_text(&err), err.detail);
}

static int setup(void **state)
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

static int teardown(void **state)
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

static void reply_fini(struct reply *r)
{
	wr_buf_fini(&r->body);
}

static int dial(void)
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
static bool send_bytes(int fd, const void *data, size_t len)
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

static void say(int fd, const char *text)
{
	assert_true(send_bytes(fd, text, strlen(text)));
}

static const char *header(const struct reply *r, const char *name, char *out, size_t size)
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
static bool get(int fd, void *buf, size_t n)
{
	return n == 0 || recv(fd, buf, n, MSG_WAITALL) == (ssize_t)n;
}

static bool get_line(int fd, char *line, size_t size)
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

static bool get_part(int fd, struct wr_buf *body, uint64_t n)
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

static bool get_chunks(int fd, struct wr_buf *body)
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

static void receive(int fd, struct reply *r, bool head_only)
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

static bool server_closes(int fd)
{
	char c;

	return recv(fd, &c, 1, 0) <= 0 && errno != EAGAIN;
}

/* One request on its own connection. */
static void ask(struct reply *r, const char *request)
{
	int fd = dial();

	say(fd, request);
	receive(fd, r, strncmp(request, "HEAD", 4) == 0);
	close(fd);
}

static void expect(const char *request, int status, const char *in_body)
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

/* ---- tests: the plain things ---- */

static void test_plain(void **state)
{
	struct reply r;
	char v[300];

	(void)state;
	start();
	ask(&r, "GET /ok HTTP/1.1\r\n" H E);
	assert_int_equal(r.status, 200);
	assert_string_equal(r.body.ptr, "{\"ok\":true}");
	assert_string_equal(header(&r, "Content-Type", v, sizeof v), "application/json");
	assert_string_equal(header(&r, "Server", v, sizeof v), "warren");
	assert_int_equal(strlen(header(&r, "x-freestyle-trace-id", v, sizeof v)), WR_TRACE_LEN);
	assert_string_equal(header(&r, "Access-Control-Allow-Origin", v, sizeof v), "*");
	assert_non_null(strstr(header(&r, "Access-Control-Expose-Headers", v, sizeof v), "x-freestyle-trace-id"));
	reply_fini(&r);
	ask(&r, "HEAD /ok HTTP/1.1\r\n" H E);
	assert_int_equal(r.status, 200);
	assert_string_equal(header(&r, "Content-Length", v, sizeof v), "11");
	reply_fini(&r);
	expect("GET /ok/ HTTP/1.1\r\n" H E, 200, NULL);
	expect("GET http://elsewhere/ok HTTP/1.1\r\n" H E, 200, NULL);
	expect("GET /nothing HTTP/1.1\r\n" H E, 404, "\"code\":\"NOT_FOUND\"");
	expect("GET /ok HTTP/1.0\r\n" E, 200, NULL);
	expect("GET /param/a%2Fb/c%20d?q=x+y%2B&limit=5 HTTP/1.1\r\n" H E, 200,
	       "{\"path\":\"a/b/c d\",\"q\":\"x y+\",\"limit\":5}");
	expect("GET /param?limit=NaN HTTP/1.1\r\n" H E, 400, "GIT_INVALID_REQUEST");
	expect("GET /param?limit=99999999999999999999999 HTTP/1.1\r\n" H E, 200, "\"limit\":100");
	expect("GET /param/a%00b HTTP/1.1\r\n" H E, 400, "GIT_INVALID_REQUEST");
	expect("GET /param/a%zz HTTP/1.1\r\n" H E, 400, "GIT_INVALID_REQUEST");
	ask(&r, "DELETE /ok HTTP/1.1\r\n" H E);
	assert_int_equal(r.status, 405);
	assert_string_equal(header(&r, "Allow", v, sizeof v), "GET, HEAD, POST, OPTIONS");
	assert_non_null(strstr(r.body.ptr, "\"description\""));
	assert_non_null(header(&r, "Access-Control-Allow-Origin", v, sizeof v));
	reply_fini(&r);
	expect("BREW /ok HTTP/1.1\r\n" H E, 405, "METHOD_NOT_ALLOWED");
}

static void test_nul_in_target(void **state)
{
	static const char request[] = "GET /ok\0/more HTTP/1.1\r\nHost: x\r\n\r\n";
	struct reply r;
	int fd;

	(void)state;
	start();
	fd = dial();
	assert_true(send_bytes(fd, request, sizeof request - 1));
	receive(fd, &r, false);
	assert_int_equal(r.status, 400);
	reply_fini(&r);
	close(fd);
}

static void test_long_target(void **state)
{
	char request[9000];
	struct reply r;

	(void)state;
	start();
	memcpy(request, "GET /param/", 11);
	memset(request + 11, 'a', 7900);
	snprintf(request + 7911, sizeof request - 7911, " HTTP/1.1\r\n" H E);
	expect(request, 200, "aaaa");
	memset(request + 11, 'a', 8500);
	snprintf(request + 8511, sizeof request - 8511, " HTTP/1.1\r\n" H E);
	ask(&r, request);
	assert_true(r.status == 400 || r.status == 414);
	reply_fini(&r);
}

static void test_framing(void **state)
{
	static const char *const bad[] = {
		"POST /json HTTP/1.1\r\n" H "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n" E "0\r\n\r\n",
		"POST /json HTTP/1.1\r\n" H "Content-Length: 2\r\nContent-Length: 3\r\n" E "{}",
		"POST /json HTTP/1.1\r\n" H "Transfer-Encoding: gzip\r\n" E "{}",
		"POST /json HTTP/1.1\r\n" H "Content-Length : 2\r\nX: y\r\n" E,
		"GET /ok HTTP/1.1\r\n" H "X: a\x01z\r\n" E,
	};

	(void)state;
	start();
	for (size_t i = 0; i < WR_ARRAY_LEN(bad); i++) {
		struct reply r;
		int fd = dial();

		say(fd, bad[i]);
		receive(fd, &r, false);
		if (r.status != 400)
			fail_msg("%s answered %s", bad[i], r.head);
		assert_true(server_closes(fd));
		reply_fini(&r);
		close(fd);
	}
	expect("GET /ok HTTP/1.1\r\n" E, 400, "Host");
	expect("GET /ok HTTP/1.1\r\n" H H E, 400, "Host");
	expect("GET /any HTTP/1.1\r\n" H "Authorization: Bearer key\r\nAuthorization: Bearer key\r\n" E, 400,
	       "Authorization");
}

static void test_keep_alive_and_pipelining(void **state)
{
	struct reply r;
	int fd;

	(void)state;
	start();
	fd = dial();
	for (int i = 0; i < 3; i++) {
		say(fd, "POST /ok HTTP/1.1\r\n" H "Content-Length: 0\r\n" E);
		receive(fd, &r, false);
		assert_int_equal(r.status, 200);
		reply_fini(&r);
	}
	say(fd, "GET /ok HTTP/1.1\r\n" H E "GET /stream/100000 HTTP/1.1\r\n" H E
		"POST /json-commit HTTP/1.1\r\n" H "Content-Length: 7\r\n" E "{\"a\":1}"
		"POST /upload HTTP/1.1\r\n" H "Content-Length: 3\r\n" E "abc"
		"GET /nothing HTTP/1.1\r\n" H "Connection: close\r\n" E);
	receive(fd, &r, false);
	assert_string_equal(r.body.ptr, "{\"ok\":true}");
	reply_fini(&r);
	receive(fd, &r, false);
	assert_true(r.whole);
	assert_int_equal(r.body.len, 100000);
	reply_fini(&r);
	receive(fd, &r, false);
	assert_string_equal(r.body.ptr, "{\"a\":1}");
	reply_fini(&r);
	receive(fd, &r, false);
	assert_non_null(strstr(r.body.ptr, "\"len\":3"));
	reply_fini(&r);
	receive(fd, &r, false);
	assert_int_equal(r.status, 404);
	reply_fini(&r);
	assert_true(server_closes(fd));
	close(fd);
}

static void test_cors(void **state)
{
	struct reply r;
	char v[300];

	(void)state;
	free(cfg.http_cors_origins);
	cfg.http_cors_origins = strdup("https://a.example https://b.example");
	start();
	ask(&r, "OPTIONS /repo/" OWNED " HTTP/1.1\r\n" H "Origin: https://b.example\r\n"
		"Access-Control-Request-Method: PUT\r\n" E);
	assert_int_equal(r.status, 204);
	assert_string_equal(header(&r, "Access-Control-Allow-Origin", v, sizeof v), "https://b.example");
	assert_string_equal(header(&r, "Vary", v, sizeof v), "Origin");
	assert_string_equal(header(&r, "Access-Control-Allow-Methods", v, sizeof v), "GET, HEAD, PUT, DELETE, OPTIONS");
	assert_non_null(strstr(header(&r, "Access-Control-Allow-Headers", v, sizeof v), "idempotency-key"));
	assert_non_null(header(&r, "Access-Control-Max-Age", v, sizeof v));
	reply_fini(&r);
	ask(&r, "OPTIONS /ok HTTP/1.1\r\n" H "Origin: https://a.exampl\r\n" E);
	assert_int_equal(r.status, 204);
	assert_null(header(&r, "Access-Control-Allow-Origin", v, sizeof v));
	assert_string_equal(header(&r, "Vary", v, sizeof v), "Origin");
	reply_fini(&r);
	ask(&r, "GET /account HTTP/1.1\r\n" H "Origin: https://a.example\r\n" E);
	assert_int_equal(r.status, 401);
	assert_string_equal(header(&r, "Access-Control-Allow-Origin", v, sizeof v), "https://a.example");
	reply_fini(&r);
	expect("OPTIONS /nothing HTTP/1.1\r\n" H E, 404, "NOT_FOUND");
}

/* ---- who may ---- */

#define BEARER(t) "Authorization: Bearer " t "\r\n"

static void test_rest_access(void **state)
{
	(void)state;
	start();
	expect("GET /account?secret=1 HTTP/1.1\r\n" H E, 401,
	       "{\"code\":\"UNAUTHORIZED_ERROR\",\"message\":\"Unauthorized request to /account\","
	       "\"route\":\"/account\",\"reason\":null}");
	expect("GET /account HTTP/1.1\r\n" H BEARER("wrong") E, 401, "UNAUTHORIZED_ERROR");
	expect("GET /account HTTP/1.1\r\n" H "Authorization: Basic eDprZXk=\r\n" E, 401, "UNAUTHORIZED_ERROR");
	expect("GET /account HTTP/1.1\r\n" H BEARER("key") E, 200, NULL);
	expect("GET /account HTTP/1.1\r\n" H "authorization: bearer   key \r\n" E, 200, NULL);
	expect("GET /account HTTP/1.1\r\n" H BEARER("reader") E, 403, "\"code\":\"FORBIDDEN\"");
	expect("GET /any HTTP/1.1\r\n" H E, 401, NULL);
	expect("GET /any HTTP/1.1\r\n" H "X-Freestyle-Identity-Access-Token: reader\r\n" E, 200, NULL);
	expect("GET /any HTTP/1.1\r\n" H "X-Freestyle-Identity-Access-Token: key\r\n" E, 401, NULL);
	expect("GET /any HTTP/1.1\r\n" H "X-Freestyle-Identity-Access-Token: reader\r\n" BEARER("wrong") E, 401, NULL);
	expect("GET /account HTTP/1.1\r\n" H "X-Freestyle-Identity-Access-Token: wrong\r\n" BEARER("key") E, 200, NULL);
	expect("GET /repo/" OWNED " HTTP/1.1\r\n" H E, 401, NULL);
	expect("GET /repo/" OPEN " HTTP/1.1\r\n" H E, 401, NULL);
	expect("GET /repo/" OWNED " HTTP/1.1\r\n" H BEARER("stranger") E, 404,
	       "{\"code\":\"REPOSITORY_NOT_FOUND\",\"message\":\"Repository not found\",\"repoId\":\"" OWNED "\"}");
	expect("GET /repo/Some%20Thing HTTP/1.1\r\n" H BEARER("key") E, 404, "\"repoId\":\"Some Thing\"");
	expect("GET /repo/" OWNED " HTTP/1.1\r\n" H BEARER("reader") E, 200, NULL);
	expect("PUT /repo/" OWNED " HTTP/1.1\r\n" H BEARER("reader") E, 403, "GIT_REPOSITORY_ACCESS_DENIED");
	expect("PUT /repo/" OWNED " HTTP/1.1\r\n" H BEARER("writer") E, 200, NULL);
	expect("DELETE /repo/" OWNED " HTTP/1.1\r\n" H BEARER("writer") E, 403, "GIT_REPOSITORY_ACCESS_DENIED");
	expect("DELETE /repo/" OWNED " HTTP/1.1\r\n" H BEARER("stranger") E, 404, "REPOSITORY_NOT_FOUND");
	expect("DELETE /repo/" OWNED " HTTP/1.1\r\n" H BEARER("key") E, 200, NULL);
}

static void expect_text(const char *request, int status, const char *challenge)
{
	struct reply r;
	char v[300];

	ask(&r, request);
	if (r.status != status)
		fail_msg("%s answered %s", request, r.head);
	assert_non_null(strstr(header(&r, "Content-Type", v, sizeof v), "text/plain"));
	assert_int_equal(r.body.ptr[r.body.len - 1], '\n');
	if (challenge)
		assert_non_null(strstr(header(&r, "WWW-Authenticate", v, sizeof v), challenge));
	else
		assert_null(header(&r, "WWW-Authenticate", v, sizeof v));
	reply_fini(&r);
}

#define REFS(id, service) "GET /" id "/info/refs?service=git-" service "-pack HTTP/1.1\r\n" H

static void test_git_access(void **state)
{
	(void)state;
	start();
	expect_text(REFS(OWNED, "upload") E, 401, "Basic realm=\"Warren\"");
	expect_text(REFS("no-such", "upload") E, 401, "Basic realm=\"Warren\"");
	expect_text(REFS(OPEN, "upload") BEARER("wrong") E, 401, "Basic realm=\"Warren\"");
	expect_text(REFS(OPEN, "upload") "Authorization: Basic !!!\r\n" E, 401, "Basic");
	expect_text(REFS(OPEN, "upload") "Authorization: Basic a2V5\r\n" E, 401, "Basic");
	expect_text(REFS(OPEN, "upload") "Authorization: Digest x\r\n" E, 401, "Basic");
	expect_text(REFS(OPEN, "receive") E, 401, "Basic");
	expect_text(REFS(OWNED, "upload") BEARER("stranger") E, 404, NULL);
	expect_text(REFS("no-such", "upload") BEARER("key") E, 404, NULL);
	expect_text(REFS(OWNED, "receive") BEARER("reader") E, 403, NULL);
	expect_text(REFS(OPEN, "receive") BEARER("stranger") E, 403, NULL);
	expect_text("POST /" OWNED ".git/git-receive-pack HTTP/1.1\r\n" H BEARER("reader") "Content-Length: 4\r\n" E "0000",
		    403, NULL);
	/* The header of the SDK is not one of Git's. */
	expect_text(REFS(OWNED, "upload") "X-Freestyle-Identity-Access-Token: reader\r\n" E, 401, "Basic");
	expect(REFS(OPEN, "upload") E, 200, NULL);
	expect(REFS(OPEN ".git", "upload") E, 200, NULL);
	expect(REFS(OPEN ".git.git", "upload") BEARER("key") E, 404, NULL);
	expect(REFS(OWNED, "upload") "Authorization: Basic eDprZXk=\r\n" E, 200, NULL);	      /* x:key */
	expect(REFS(OWNED, "upload") "Authorization: basic d3JpdGVyOnJlYWRlcg==\r\n" E, 200, NULL); /* writer:reader */
	expect(REFS(OWNED, "receive") BEARER("writer") E, 200, NULL);
	expect("GET /" OPEN "/info/refs HTTP/1.1\r\n" H E, 403, "{\"code\":\"EXPECTED_SERVICE\"");
	expect("GET /" OPEN "/info/refs?service=git-up HTTP/1.1\r\n" H E, 403, "{\"code\":\"INVALID_SERVICE\"");
	expect_text("GET /" OWNED "/info/refs HTTP/1.1\r\n" H E, 401, "Basic");
	expect_text("GET /" OWNED "/info/refs HTTP/1.1\r\n" H BEARER("stranger") E, 404, NULL);
}

/* ---- bodies ---- */

static void test_json_bodies(void **state)
{
	(void)state;
	start();
	expect("POST /json HTTP/1.1\r\n" H "Content-Length: 13\r\n" E "{\"a\":[1,true]}", 400, "line 1");
	expect("POST /json HTTP/1.1\r\n" H "Content-Length: 14\r\n" E "{\"a\":[1,true]}", 200, "{\"a\":[1,true]}");
	expect("POST /json HTTP/1.1\r\n" H "Content-Length: 0\r\n" E, 200, "{}");
	expect("POST /json HTTP/1.1\r\n" H E, 200, "{}");
	expect("POST /json HTTP/1.1\r\n" H "Content-Length: 2\r\n" E "[]", 400, "object");
	expect("POST /json?header=1 HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n" E "3\r\n{\"b\r\n3\r\n\":2\r\n1\r\n}\r\n0\r\n\r\n",
	       200, "{\"b\":2}");
	expect("POST /json HTTP/1.1\r\n" H "Content-Encoding: br\r\nContent-Length: 2\r\n" E "{}", 415,
	       "UNSUPPORTED_MEDIA_TYPE");
	expect("POST /json-commit HTTP/1.1\r\n" H "Content-Length: 70000\r\nExpect: 100-continue\r\n" E, 413,
	       "PAYLOAD_TOO_LARGE");
}

/* A body that is too large is read to its end, and the connection lives on. */
static void test_too_large_is_drained(void **state)
{
	char *big = malloc(200000);
	struct reply r;
	int fd;

	(void)state;
	start();
	memset(big, ' ', 200000);
	fd = dial();
	for (int chunked = 0; chunked < 2; chunked++) {
		say(fd, chunked ? "POST /json HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n" E "30d40\r\n"
				: "POST /json HTTP/1.1\r\n" H "Content-Length: 200000\r\n" E);
		assert_true(send_bytes(fd, big, 200000));
		if (chunked)
			say(fd, "\r\n0\r\n\r\n");
		receive(fd, &r, false);
		assert_int_equal(r.status, 413);
		reply_fini(&r);
	}
	say(fd, "POST /account HTTP/1.1\r\n" H "Content-Length: 200000\r\n" E);
	assert_true(send_bytes(fd, big, 200000));
	receive(fd, &r, false);
	assert_int_equal(r.status, 405);
	reply_fini(&r);
	say(fd, "GET /ok HTTP/1.1\r\n" H E);
	receive(fd, &r, false);
	assert_int_equal(r.status, 200);
	reply_fini(&r);
	close(fd);
	free(big);
	expect("POST /upload HTTP/1.1\r\n" H "Content-Length: 99999999999\r\n" E, 413, "PAYLOAD_TOO_LARGE");
}

static void test_expect_continue(void **state)
{
	struct reply r;
	char line[100];
	int fd;

	(void)state;
	start();
	fd = dial();
	say(fd, "POST /upload HTTP/1.1\r\n" H "Content-Length: 3\r\nExpect: 100-continue\r\n" E);
	assert_true(get_line(fd, line, sizeof line));
	assert_string_equal(line, "HTTP/1.1 100 Continue\r\n");
	assert_true(get_line(fd, line, sizeof line));
	say(fd, "abc");
	receive(fd, &r, false);
	assert_int_equal(r.status, 200);
	reply_fini(&r);
	/* A refusal is told without the body having been asked for. */
	say(fd, "POST /upload-key HTTP/1.1\r\n" H "Content-Length: 3\r\nExpect: 100-continue\r\n" E);
	receive(fd, &r, false);
	assert_int_equal(r.status, 401);
	assert_true(server_closes(fd));
	reply_fini(&r);
	close(fd);
}

static size_t zip(unsigned char *out, size_t cap, const void *in, size_t n)
{
	z_stream z = {.next_in = (unsigned char *)(uintptr_t)in, .avail_in = (uInt)n, .next_out = out, .avail_out = (uInt)cap};

	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	deflateEnd(&z);
	return z.total_out;
}

static void send_zipped(struct reply *r, const char *path, const void *zipped, size_t n, bool chunked)
{
	char head[300];
	int fd = dial();

	if (chunked)
		snprintf(head, sizeof head,
			 "POST %s HTTP/1.1\r\n" H "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n" E "%zx\r\n", path, n);
	else
		snprintf(head, sizeof head, "POST %s HTTP/1.1\r\n" H "Content-Encoding: x-gzip\r\nContent-Length: %zu\r\n" E,
			 path, n);
	say(fd, head);
	assert_true(send_bytes(fd, zipped, n));
	if (chunked)
		say(fd, "\r\n0\r\n\r\n");
	receive(fd, r, false);
	close(fd);
}

static void test_gzip(void **state)
{
	static unsigned char plain[3 << 20], zipped[4 << 20];
	static const char *const paths[] = {"/bytes", "/upload"};
	struct reply r;
	char sum[60];

	(void)state;
	start();
	fill_pattern(plain, 700000, 0);
	snprintf(sum, sizeof sum, "{\"len\":700000,\"sum\":\"%llx\"}", (unsigned long long)sum_bytes(0, plain, 700000));
	for (size_t i = 0; i < 4; i++) {
		size_t n = zip(zipped, sizeof zipped, plain, 700000);

		send_zipped(&r, paths[i / 2], zipped, n, i % 2);
		assert_int_equal(r.status, 200);
		assert_string_equal(r.body.ptr, sum);
		reply_fini(&r);
		send_zipped(&r, paths[i / 2], zipped, n - 5, i % 2);
		assert_int_equal(r.status, 400);
		reply_fini(&r);
		zipped[n] = 'x';
		send_zipped(&r, paths[i / 2], zipped, n + 1, i % 2);
		assert_int_equal(r.status, 400);
		reply_fini(&r);
		send_zipped(&r, paths[i / 2], plain, 1000, i % 2);
		assert_int_equal(r.status, 400);
		reply_fini(&r);
	}
	/* What a small body unzips to is bounded as well. */
	memset(plain, 0, sizeof plain);
	send_zipped(&r, "/bytes", zipped, zip(zipped, sizeof zipped, plain, sizeof plain), false);
	assert_int_equal(r.status, 413);
	reply_fini(&r);
}

static void test_early_answer(void **state)
{
	char *big = calloc(1, 3000000);
	struct reply r;
	int fd;

	(void)state;
	start();
	fd = dial();
	/* The handler ends after ten bytes; the rest is read, and the connection goes on. */
	say(fd, "POST /early HTTP/1.1\r\n" H "Content-Length: 3000000\r\n" E);
	assert_true(send_bytes(fd, big, 3000000));
	receive(fd, &r, false);
	assert_int_equal(r.status, 400);
	assert_non_null(strstr(r.body.ptr, "Not a push"));
	reply_fini(&r);
	say(fd, "GET /ok HTTP/1.1\r\n" H E);
	receive(fd, &r, false);
	assert_int_equal(r.status, 200);
	reply_fini(&r);
	close(fd);
	free(big);
}

/* ---- streams ---- */

static void test_streamed_answers(void **state)
{
	struct reply r;
	char v[100];
	unsigned char pattern[3000];

	(void)state;
	start();
	ask(&r, "GET /stream/60000 HTTP/1.1\r\n" H E);
	assert_string_equal(header(&r, "Content-Length", v, sizeof v), "60000");
	reply_fini(&r);
	ask(&r, "GET /stream/0 HTTP/1.1\r\n" H E);
	assert_string_equal(header(&r, "Content-Length", v, sizeof v), "0");
	reply_fini(&r);
	ask(&r, "HEAD /stream/5000000 HTTP/1.1\r\n" H E);
	assert_string_equal(header(&r, "Content-Length", v, sizeof v), "5000000");
	reply_fini(&r);
	ask(&r, "GET /inline-stream/200000 HTTP/1.1\r\n" H E);
	assert_int_equal(r.body.len, 200000);
	reply_fini(&r);
	expect("GET /inline-stream/2000000 HTTP/1.1\r\n" H E, 413, NULL);
	ask(&r, "GET /stream/5000000 HTTP/1.1\r\n" H E);
	assert_true(r.whole);
	assert_int_equal(r.body.len, 5000000);
	for (uint64_t at = 0; at + 3000 <= r.body.len; at += 3000) {
		fill_pattern(pattern, 3000, at);
		assert_memory_equal(r.body.ptr + at, pattern, 3000);
	}
	reply_fini(&r);
	/* Too late for a 500: the client must see that something is missing, whatever the answer's size. */
	ask(&r, "GET /stream/5000000?fail=1 HTTP/1.1\r\n" H E);
	assert_int_equal(r.status, 200);
	assert_false(r.whole);
	assert_int_equal(r.body.len, 5000000);
	reply_fini(&r);
	ask(&r, "GET /stream/100?fail=1 HTTP/1.1\r\n" H E);
	assert_false(r.whole);
	assert_int_equal(r.body.len, 100);
	reply_fini(&r);
	expect("GET /stream/0?fail=1 HTTP/1.1\r\n" H E, 500, "INTERNAL_ERROR");
}

static void test_flush_goes_out(void **state)
{
	char buf[1000];
	size_t n = 0;
	int fd;

	(void)state;
	start();
	set_hold(true);
	fd = dial();
	say(fd, "GET /progress HTTP/1.1\r\n" H E);
	memset(buf, 0, sizeof buf);
	while (!strstr(buf, "first")) {
		ssize_t got = recv(fd, buf + n, sizeof buf - 1 - n, 0);

		assert_true(got > 0);
		n += (size_t)got;
	}
	set_hold(false);
	while (!strstr(buf, "second")) {
		ssize_t got = recv(fd, buf + n, sizeof buf - 1 - n, 0);

		assert_true(got > 0);
		n += (size_t)got;
	}
	close(fd);
}

/* Reads in small gulps with pauses while the server has far more to say. */
static void test_slow_reader_and_writer(void **state)
{
	enum { TOTAL = 4000000 };
	struct reply r;
	char *data = malloc(TOTAL);
	char sum[60];
	size_t left = TOTAL;
	int fd;

	(void)state;
	start();
	fill_pattern((unsigned char *)data, TOTAL, 0);
	fd = dial();
	say(fd, "GET /stream/30000000 HTTP/1.1\r\n" H E);
	poll(NULL, 0, 300);
	receive(fd, &r, false);
	assert_true(r.whole);
	assert_int_equal(r.body.len, 30000000);
	assert_memory_equal(r.body.ptr, data, TOTAL);
	reply_fini(&r);
	say(fd, "POST /upload HTTP/1.1\r\n" H "Content-Length: 4000000\r\n" E);
	while (left) {
		size_t part = left < 50000 ? left : 50000;

		assert_true(send_bytes(fd, data + (TOTAL - left), part));
		left -= part;
		if (left % 500000 == 0)
			poll(NULL, 0, 20);
	}
	receive(fd, &r, false);
	snprintf(sum, sizeof sum, "{\"len\":4000000,\"sum\":\"%llx\"}",
		 (unsigned long long)sum_bytes(0, (unsigned char *)data, TOTAL));
	assert_string_equal(r.body.ptr, sum);
	reply_fini(&r);
	close(fd);
	free(data);
}

static void wait_count(_Atomic int *count, int n, const char *what)
{
	int64_t end = wr_mono_ms() + WAIT_MS;

	while (atomic_load(count) < n) {
		if (wr_mono_ms() > end)
			fail_msg("%d of %d %s", atomic_load(count), n, what);
		poll(NULL, 0, 5);
	}
}

static void wait_cancelled(int n)
{
	wait_count(&cancelled_seen, n, "handlers learned that their client left");
}

static void reset_close(int fd)
{
	struct linger hard = {.l_onoff = 1, .l_linger = 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
	close(fd);
}

static void test_clients_that_leave(void **state)
{
	char *some = calloc(1, 100000);

	(void)state;
	start();
	/* In the middle of an upload, by FIN and by RST. */
	for (int i = 0; i < 2; i++) {
		int fd = dial();

		say(fd, "POST /upload HTTP/1.1\r\n" H "Content-Length: 1000000\r\n" E);
		assert_true(send_bytes(fd, some, 100000));
		wait_count(&uploads_begun, i + 1, "uploads began");
		if (i)
			reset_close(fd);
		else
			close(fd);
		wait_cancelled(i + 1);
	}
	/* In the middle of a download. */
	for (int i = 0; i < 2; i++) {
		int fd = dial();

		say(fd, "GET /stream/1000000000 HTTP/1.1\r\n" H E);
		assert_true(get(fd, some, 50000));
		if (i)
			reset_close(fd);
		else
			close(fd);
		wait_cancelled(3 + i);
	}
	free(some);
}

/* While its handler works, nobody reads the connection: the watchdog has to see that the client left. */
static void test_client_leaves_while_suspended(void **state)
{
	int fd;

	(void)state;
	start();
	set_hold(true);
	fd = dial();
	say(fd, "GET /hold HTTP/1.1\r\n" H E);
	wait_holding(1);
	close(fd);
	poll(NULL, 0, 700); /* two looks of the watchdog; if it were late, the assertion below would tell */
	set_hold(false);
	wait_cancelled(1);
}

/* ---- bounds ---- */

static void test_full_lane(void **state)
{
	struct reply r;
	int fds[3];
	char v[20];

	(void)state;
	cfg.lanes_commit_threads = 1;
	cfg.lanes_queue = 1;
	start();
	set_hold(true);
	for (int i = 0; i < 2; i++) {
		fds[i] = dial();
		say(fds[i], "GET /hold HTTP/1.1\r\n" H E);
		if (i == 0)
			wait_holding(1);
		else
			poll(NULL, 0, 300);
	}
	/* Refused at its head: no body was asked for, let alone sent. */
	fds[2] = dial();
	say(fds[2], "POST /json-commit HTTP/1.1\r\n" H "Content-Length: 3\r\nExpect: 100-continue\r\n" E);
	receive(fds[2], &r, false);
	assert_int_equal(r.status, 503);
	assert_non_null(header(&r, "Retry-After", v, sizeof v));
	assert_non_null(strstr(r.body.ptr, "\"code\":\"UNAVAILABLE\""));
	reply_fini(&r);
	expect("GET /ok HTTP/1.1\r\n" H E, 200, NULL);
	set_hold(false);
	for (int i = 0; i < 2; i++) {
		receive(fds[i], &r, false);
		assert_int_equal(r.status, 200);
		reply_fini(&r);
	}
	for (int i = 0; i < 3; i++)
		close(fds[i]);
}

static void test_memory_bound(void **state)
{
	(void)state;
	cfg.http_max_buffered = 100000;
	start();
	expect("GET /stream/10 HTTP/1.1\r\n" H E, 503, "UNAVAILABLE");
	expect("POST /bytes HTTP/1.1\r\n" H "Content-Length: 200000\r\nExpect: 100-continue\r\n" E, 503, "UNAVAILABLE");
	/* What a request took is given back with it. */
	for (int i = 0; i < 20; i++)
		expect("POST /bytes HTTP/1.1\r\n" H "Content-Length: 10\r\n" E "0123456789", 200, "\"len\":10");
}

static void test_slow_clients_are_dropped(void **state)
{
	int fds[4];

	(void)state;
	cfg.http_min_rate = 1000000;
	cfg.http_min_rate_window = 1000;
	cfg.http_header_timeout = 1000;
	start();
	fds[0] = dial(); /* a body that does not come */
	say(fds[0], "POST /upload HTTP/1.1\r\n" H "Content-Length: 1000\r\n" E "x");
	fds[1] = dial(); /* an answer that is not read */
	say(fds[1], "GET /stream/1000000000 HTTP/1.1\r\n" H E);
	fds[2] = dial(); /* a head without end */
	say(fds[2], "GET /ok HTTP/1.1\r\nX: y\r\n");
	fds[3] = dial(); /* nothing at all */
	wait_cancelled(2);
	assert_true(server_closes(fds[0]));
	assert_true(server_closes(fds[2]));
	assert_true(server_closes(fds[3]));
	for (int i = 0; i < 4; i++)
		close(fds[i]);
}

/* Who waits for us is not slow. */
static void test_patient_client_is_kept(void **state)
{
	struct reply r;
	int fd;

	(void)state;
	cfg.http_min_rate = 1000000;
	cfg.http_min_rate_window = 1000;
	start();
	set_hold(true);
	fd = dial();
	say(fd, "GET /hold HTTP/1.1\r\n" H E);
	wait_holding(1);
	poll(NULL, 0, 2000);
	set_hold(false);
	receive(fd, &r, false);
	assert_int_equal(r.status, 200);
	reply_fini(&r);
	close(fd);
}

static void test_request_timeout(void **state)
{
	int fd;

	(void)state;
	cfg.http_request_timeout = 1000;
	start();
	set_hold(true);
	fd = dial();
	say(fd, "GET /hold HTTP/1.1\r\n" H E);
	assert_true(server_closes(fd));
	set_hold(false);
	wait_cancelled(1);
	close(fd);
}

static void test_connection_limit(void **state)
{
	struct reply r;
	int fds[3];

	(void)state;
	cfg.http_max_connections = 2;
	start();
	for (int i = 0; i < 3; i++) {
		fds[i] = dial();
		say(fds[i], "GET /ok HTTP/1.1\r\n" H E);
		if (i == 2)
			break;
		receive(fds[i], &r, false);
		assert_int_equal(r.status, 200);
		reply_fini(&r);
	}
	/* The third waits until there is a place. */
	close(fds[0]);
	receive(fds[2], &r, false);
	assert_int_equal(r.status, 200);
	reply_fini(&r);
	close(fds[1]);
	close(fds[2]);
}

/* ---- the end ---- */

static void *drain_main(void *arg)
{
	(void)arg;
	wr_http_drain(http);
	return NULL;
}

static void test_drain(void **state)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(0)};
	struct reply r;
	pthread_t drainer;
	int busy, idle, late;
	char v[20];

	(void)state;
	start();
	set_hold(true);
	idle = dial();
	say(idle, "GET /healthz HTTP/1.1\r\n" H E);
	receive(idle, &r, false);
	assert_int_equal(r.status, 200);
	reply_fini(&r);
	busy = dial();
	say(busy, "GET /hold HTTP/1.1\r\n" H E);
	wait_holding(1);
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	addr.sin_port = htons(wr_http_port(http));
	assert_int_equal(pthread_create(&drainer, NULL, drain_main, NULL), 0);
	/* New connections are refused before long; the open one is told, and closed after its answer. */
	for (;;) {
		late = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(late, (struct sockaddr *)&addr, sizeof addr) != 0)
			break;
		close(late);
		poll(NULL, 0, 5);
	}
	close(late);
	say(idle, "GET /healthz HTTP/1.1\r\n" H E);
	receive(idle, &r, false);
	assert_int_equal(r.status, 503);
	assert_string_equal(header(&r, "Connection", v, sizeof v), "close");
	assert_true(server_closes(idle));
	reply_fini(&r);
	/* What runs is finished. */
	set_hold(false);
	receive(busy, &r, false);
	assert_int_equal(r.status, 200);
	assert_true(r.whole);
	reply_fini(&r);
	pthread_join(drainer, NULL);
	close(busy);
	close(idle);
}

/* Everything at once under way, and nobody cooperates: drain and stop come to an end all the same. */
static void test_stop_with_everything_under_way(void **state)
{
	static const char *const requests[] = {
		"GET /stream/1000000000 HTTP/1.1\r\n" H E,
		"POST /upload HTTP/1.1\r\n" H "Content-Length: 1000000\r\n" E "abc",
		"POST /json HTTP/1.1\r\n" H "Content-Length: 10\r\n" E "{",
		"GET /ok HTTP/1.1\r\n" H,
		"",
		"POST /upload-key HTTP/1.1\r\n" H "Content-Length: 1000000\r\n" E "abc",
	};
	int fds[24];

	(void)state;
	cfg.server_stop_timeout = 100;
	start();
	for (size_t i = 0; i < WR_ARRAY_LEN(fds); i++) {
		fds[i] = dial();
		say(fds[i], requests[i % WR_ARRAY_LEN(requests)]);
	}
	poll(NULL, 0, 200);
	wr_http_drain(http);
	assert_true(wr_http_stop(http));
	http = NULL;
	for (size_t i = 0; i < WR_ARRAY_LEN(fds); i++)
		close(fds[i]);
}

/* ---- many at once ---- */

static void *busy_client(void *arg)
{
	unsigned seed = *(unsigned *)arg;
	char *data = calloc(1, 400000);
	int fd = dial();

	for (int i = 0; i < 60; i++) {
		struct reply r = {.status = 0};
		char head[200];
		size_t n;

		seed = seed * 1103515245 + 12345;
		n = (seed >> 8) % 400000;
		switch ((seed >> 16) % 6) {
		case 0:
			snprintf(head, sizeof head, "GET /stream/%zu HTTP/1.1\r\n" H E, n * 3);
			say(fd, head);
			receive(fd, &r, false);
			assert_int_equal(r.body.len, n * 3);
			break;
		case 1:
			snprintf(head, sizeof head, "POST /upload HTTP/1.1\r\n" H "Content-Length: %zu\r\n" E, n);
			say(fd, head);
			assert_true(send_bytes(fd, data, n));
			receive(fd, &r, false);
			assert_int_equal(r.status, 200);
			break;
		case 2:
			snprintf(head, sizeof head, "POST /early HTTP/1.1\r\n" H "Content-Length: %zu\r\n" E, n + 20);
			say(fd, head);
			assert_true(send_bytes(fd, data, n) && send_bytes(fd, data, 20));
			receive(fd, &r, false);
			assert_int_equal(r.status, 400);
			break;
		case 3:
			say(fd, "POST /json-commit HTTP/1.1\r\n" H "Content-Length: 2\r\n" E "{}");
			receive(fd, &r, false);
			assert_int_equal(r.status, 200);
			break;
		case 4:
			snprintf(head, sizeof head, "POST /upload HTTP/1.1\r\n" H "Content-Length: %zu\r\n" E, n + 100000);
			say(fd, head);
			(void)send_bytes(fd, data, n);
			close(fd);
			fd = dial();
			break;
		default:
			say(fd, "GET /stream/50000000 HTTP/1.1\r\n" H E);
			(void)get(fd, data, n);
			reset_close(fd);
			fd = dial();
			break;
		}
		reply_fini(&r);
	}
	close(fd);
	free(data);
	return NULL;
}

static void test_many_clients(void **state)
{
	enum { CLIENTS = 12 };
	pthread_t ids[CLIENTS];
	unsigned seeds[CLIENTS];

	(void)state;
	cfg.lanes_epoll_threads = 3;
	start();
	for (unsigned i = 0; i < CLIENTS; i++) {
		seeds[i] = i * 7919 + 1;
		assert_int_equal(pthread_create(&ids[i], NULL, busy_client, &seeds[i]), 0);
	}
	for (unsigned i = 0; i < CLIENTS; i++)
		pthread_join(ids[i], NULL);
	expect("GET /ok HTTP/1.1\r\n" H E, 200, NULL);
}

/* ---- start-up, TLS, log ---- */

static void set_text(char **key, const char *value)
{
	free(*key);
	*key = strdup(value);
}

static void refuses_to_start(const char *words)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	enum wr_code code = wr_http_start_table(&http, &app, &cfg, &table, &err);

	assert_int_equal(code, WR_E_INVALID_REQUEST);
	if (!strstr(err.text, words))
		fail_msg("\"%s\" lacks \"%s\"", err.text, words);
}

static void test_listen_addresses(void **state)
{
	static const char *const bad[] = {"8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000", ":80", "::1:80",
					  "127.0.0.1:8x", "[]:80"};

	(void)state;
	app = (struct wr_app){.cfg = &cfg};
	for (size_t i = 0; i < WR_ARRAY_LEN(bad); i++) {
		set_text(&cfg.server_listen, bad[i]);
		refuses_to_start("HOST:PORT");
	}
	set_text(&cfg.server_listen, "localhost:0");
	start();
	assert_int_equal(strncmp(wr_http_url(http), "http://localhost:", 17), 0);
	expect("GET /ok HTTP/1.1\r\n" H E, 200, NULL);
	{
		char taken[40];
		struct wr_http *first = http;

		snprintf(taken, sizeof taken, "127.0.0.1:%u", wr_http_port(first));
		set_text(&cfg.server_listen, taken);
		refuses_to_start("Cannot listen");
		http = first;
	}
}

static EVP_PKEY *write_pair(const char *cert_file, const char *key_file)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x509 = X509_new();
	FILE *f;

	assert_non_null(key);
	ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
	X509_gmtime_adj(X509_getm_notBefore(x509), -1000);
	X509_gmtime_adj(X509_getm_notAfter(x509), 100000);
	X509_set_pubkey(x509, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1,
				   0);
	X509_set_issuer_name(x509, X509_get_subject_name(x509));
	assert_true(X509_sign(x509, key, EVP_sha256()) > 0);
	f = fopen(cert_file, "w");
	PEM_write_X509(f, x509);
	fclose(f);
	f = fopen(key_file, "w");
	PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
	fclose(f);
	X509_free(x509);
	return key;
}

/* curl: raw sockets speak no TLS. */
static bool curl(const char *before, const char *options, const char *path)
{
	char command[600];

	snprintf(command, sizeof command, "%s curl -skf --max-time 30 -o /dev/null %s %s%s 2>/dev/null", before, options,
		 wr_http_url(http), path);
	return system(command) == 0;
}

static void test_tls(void **state)
{
	char folder[] = "/tmp/warren-http-XXXXXX", cert[60], key[60], other_cert[60], other_key[60];

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(cert, sizeof cert, "%s/cert", folder);
	snprintf(key, sizeof key, "%s/key", folder);
	snprintf(other_cert, sizeof other_cert, "%s/cert2", folder);
	snprintf(other_key, sizeof other_key, "%s/key2", folder);
	EVP_PKEY_free(write_pair(cert, key));
	EVP_PKEY_free(write_pair(other_cert, other_key));
	app = (struct wr_app){.cfg = &cfg};
	set_text(&cfg.server_tls_cert, cert);
	refuses_to_start("both");
	set_text(&cfg.server_tls_key, other_key);
	refuses_to_start("does not belong");
	set_text(&cfg.server_tls_key, cert);
	refuses_to_start("no private key");
	set_text(&cfg.server_tls_key, "/nowhere/key");
	refuses_to_start("cannot read");
	set_text(&cfg.server_tls_key, key);
	set_text(&cfg.server_listen, "localhost:0");
	start();
	assert_int_equal(strncmp(wr_http_url(http), "https://localhost:", 18), 0);
	assert_true(curl("", "--tlsv1.2 --tls-max 1.2", "/ok"));
	assert_true(curl("", "", "/stream/3000000"));
	assert_true(curl("head -c 3000000 /dev/zero |", "-H 'Transfer-Encoding: chunked' --data-binary @-", "/upload"));
	assert_false(curl("", "--ciphers DEFAULT@SECLEVEL=0 --tlsv1.0 --tls-max 1.1", "/ok"));
	assert_false(curl("", "", "/nothing"));
	unlink(cert);
	unlink(key);
	unlink(other_cert);
	unlink(other_key);
	rmdir(folder);
}

/* The access line names the route, never the query or a credential. */
static void test_access_line(void **state)
{
	char name[] = "/tmp/warren-log-XXXXXX", text[8000];
	int fd = mkstemp(name), saved = dup(STDERR_FILENO);
	ssize_t n;

	(void)state;
	assert_true(fd >= 0 && saved >= 0);
	start();
	dup2(fd, STDERR_FILENO);
	wr_log_set_threshold(WR_INFO);
	expect("POST /json?token=hidden HTTP/1.1\r\n" H BEARER("secret") "Content-Length: 14\r\n" E "{\"a\":1,\"b\":2 }", 200, NULL);
	expect("GET /repo/" OWNED "?x=hidden HTTP/1.1\r\n" H BEARER("reader") E, 200, NULL);
	expect("GET /hidden HTTP/1.1\r\n" H E, 404, NULL);
	assert_true(wr_http_stop(http));
	http = NULL;
	wr_log_set_threshold(WR_ERROR);
	dup2(saved, STDERR_FILENO);
	close(saved);
	n = pread(fd, text, sizeof text - 1, 0);
	assert_true(n > 0);
	text[n] = '\0';
	close(fd);
	unlink(name);
	assert_null(strstr(text, "hidden"));
	assert_null(strstr(text, "secret"));
	assert_non_null(strstr(text, "\"method\":\"POST\",\"route\":\"/json\",\"status\":200"));
	assert_non_null(strstr(text, "\"bytes_in\":14,\"bytes_out\":13,\"members\":2"));
	assert_non_null(strstr(text, "\"route\":\"/repo/{repo}\",\"status\":200"));
	assert_non_null(strstr(text, "\"repo\":\"" OWNED "\",\"account\":\"" ACCOUNT "\",\"identity\":\"reader\""));
	assert_non_null(strstr(text, "\"route\":\"-\",\"status\":404"));
}

int main(int argc, char **argv)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_plain),
		T(test_nul_in_target),
		T(test_long_target),
		T(test_framing),
		T(test_keep_alive_and_pipelining),
		T(test_cors),
		T(test_rest_access),
		T(test_git_access),
		T(test_json_bodies),
		T(test_too_large_is_drained),
		T(test_expect_continue),
		T(test_gzip),
		T(test_early_answer),
		T(test_streamed_answers),
		T(test_flush_goes_out),
		T(test_slow_reader_and_writer),
		T(test_clients_that_leave),
		T(test_client_leaves_while_suspended),
		T(test_full_lane),
		T(test_memory_bound),
		T(test_slow_clients_are_dropped),
		T(test_patient_client_is_kept),
		T(test_request_timeout),
		T(test_connection_limit),
		T(test_drain),
		T(test_stop_with_everything_under_way),
		T(test_many_clients),
		T(test_listen_addresses),
		T(test_tls),
		T(test_access_line),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	signal(SIGPIPE, SIG_IGN);
	wr_log_set_threshold(WR_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
