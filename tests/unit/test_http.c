/*
 * The HTTP layer over real sockets: framing, routes, who may, bodies, streams.
 */
#include <zlib.h>

#include "tests/unit/http_fixture.h"

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
	say(fd, "GET /ok HTTP/1.1\r\n" H E "GET /stream/100000 HTTP/1.1\r\n" H E "POST /json-commit HTTP/1.1\r\n" H
		"Content-Length: 7\r\n" E "{\"a\":1}"
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
	expect_text("POST /" OWNED ".git/git-receive-pack HTTP/1.1\r\n" H BEARER("reader") "Content-Length: 4\r\n" E
											   "0000",
		    403, NULL);
	/* The header of the SDK is not one of Git's. */
	expect_text(REFS(OWNED, "upload") "X-Freestyle-Identity-Access-Token: reader\r\n" E, 401, "Basic");
	expect(REFS(OPEN, "upload") E, 200, NULL);
	expect(REFS(OPEN ".git", "upload") E, 200, NULL);
	expect(REFS(OPEN ".git.git", "upload") BEARER("key") E, 404, NULL);
	expect(REFS(OWNED, "upload") "Authorization: Basic eDprZXk=\r\n" E, 200, NULL);             /* x:key */
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
	expect("POST /json?header=1 HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n" E
	       "3\r\n{\"b\r\n3\r\n\":2\r\n1\r\n}\r\n0\r\n\r\n",
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
	z_stream z = {.next_in = (unsigned char *)(uintptr_t)in,
		      .avail_in = (uInt)n,
		      .next_out = out,
		      .avail_out = (uInt)cap};

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
			 "POST %s HTTP/1.1\r\n" H "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n" E
			 "%zx\r\n",
			 path, n);
	else
		snprintf(head, sizeof head,
			 "POST %s HTTP/1.1\r\n" H "Content-Encoding: x-gzip\r\nContent-Length: %zu\r\n" E, path, n);
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
	};

	begin(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
