/*
 * The HTTP layer over real sockets, when things do not go their way: clients that leave or dawdle, full lanes, no
 * memory, the end of the server; and how it starts.
 */
#include <dirent.h>
#include <poll.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "tests/unit/http_fixture.h"

/* ---- clients that leave ---- */

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
	char *some = calloc(1, 300000);

	(void)state;
	start();
	/* In the middle of an upload, by FIN and by RST: its handler runs once the ring was full. */
	for (int i = 0; i < 2; i++) {
		int fd = dial();

		say(fd, "POST /upload HTTP/1.1\r\n" H "Content-Length: 1000000\r\n" E);
		assert_true(send_bytes(fd, some, 300000));
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

static int descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void wait_descriptors(int most)
{
	int64_t end = wr_mono_ms() + WAIT_MS;

	while (descriptors() > most) {
		if (wr_mono_ms() > end)
			fail_msg("%d descriptors, not %d", descriptors(), most);
		poll(NULL, 0, 5);
	}
}

/* An answer that ends with its connection, well or badly, leaves no socket behind, long before the idle timeout. */
static void test_ended_connections_are_closed(void **state)
{
	static const char *const asked[] = {"GET /stream/400000 HTTP/1.0\r\n" E,
					    "GET /stream/400000?fail=1 HTTP/1.1\r\n" H E,
					    "GET /stream/1000000000 HTTP/1.1\r\n" H E};
	char *some = calloc(1, 400000);
	int before, fds[30];

	(void)state;
	cfg.lanes_git_threads = 64;
	cfg.http_idle_timeout = cfg.http_header_timeout = 600000;
	for (size_t kind = 0; kind < WR_ARRAY_LEN(asked); kind++) {
		start();
		before = descriptors();
		for (size_t i = 0; i < WR_ARRAY_LEN(fds); i++) {
			fds[i] = dial();
			say(fds[i], asked[kind]);
			assert_true(get(fds[i], some, 1000));
		}
		for (size_t i = 0; i < WR_ARRAY_LEN(fds); i++) {
			while (kind < 2 && recv(fds[i], some, 400000, 0) > 0)
				;
			close(fds[i]);
		}
		wait_descriptors(before);
		assert_true(wr_http_stop(http));
		http = NULL;
	}
	free(some);
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
	cfg.http_max_buffered = 10000;
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
	fds[0] = dial(); /* a body that does not come: it gets no handler */
	say(fds[0], "POST /upload HTTP/1.1\r\n" H "Content-Length: 1000\r\n" E "x");
	fds[1] = dial(); /* an answer that is not read */
	say(fds[1], "GET /stream/1000000000 HTTP/1.1\r\n" H E);
	fds[2] = dial(); /* a head without end */
	say(fds[2], "GET /ok HTTP/1.1\r\nX: y\r\n");
	fds[3] = dial(); /* nothing at all */
	wait_cancelled(1);
	assert_int_equal(atomic_load(&uploads_begun), 0);
	assert_true(server_closes(fds[0]));
	assert_true(server_closes(fds[2]));
	assert_true(server_closes(fds[3]));
	for (int i = 0; i < 4; i++)
		close(fds[i]);
}

/* Uploads that stand still hold no thread, however many they are, and end well when they go on. */
static void test_standing_uploads(void **state)
{
	struct reply r;
	int fds[20];

	(void)state;
	cfg.lanes_git_threads = 2;
	start();
	for (size_t i = 0; i < WR_ARRAY_LEN(fds); i++) {
		fds[i] = dial();
		say(fds[i], "POST /upload HTTP/1.1\r\n" H "Content-Length: 10\r\n" E "01234");
	}
	for (int i = 0; i < 5; i++)
		expect("GET /stream/100 HTTP/1.1\r\n" H E, 200, NULL);
	assert_int_equal(atomic_load(&uploads_begun), 0);
	for (size_t i = 0; i < WR_ARRAY_LEN(fds); i++) {
		say(fds[i], "56789");
		receive(fds[i], &r, false);
		assert_int_equal(r.status, 200);
		assert_non_null(strstr(r.body.ptr, "\"len\":10"));
		reply_fini(&r);
		close(fds[i]);
	}
}

/* The lane is full when the upload has filled its ring: 503 behind its body, and the connection goes on. */
static void test_upload_meets_a_full_lane(void **state)
{
	char *body = calloc(1, 600000);
	struct reply r;
	int stuck[2], late;

	(void)state;
	cfg.lanes_epoll_threads = 1;
	cfg.lanes_git_threads = 1;
	cfg.lanes_queue = 1;
	start();
	set_hold(true);
	late = dial();
	say(late, "POST /upload HTTP/1.1\r\n" H "Content-Length: 600000\r\n" E "x");
	expect("GET /ok HTTP/1.1\r\n" H E, 200, NULL);
	for (int i = 0; i < 2; i++) {
		stuck[i] = dial();
		say(stuck[i], "GET /progress HTTP/1.1\r\n" H E);
		if (i == 0)
			wait_holding(1);
	}
	/* The one event thread answers these after it has put the second into the lane. */
	for (int i = 0; i < 2; i++)
		expect("GET /ok HTTP/1.1\r\n" H E, 200, NULL);
	assert_true(send_bytes(late, body, 599999));
	receive(late, &r, false);
	assert_int_equal(r.status, 503);
	reply_fini(&r);
	say(late, "GET /ok HTTP/1.1\r\n" H E);
	receive(late, &r, false);
	assert_int_equal(r.status, 200);
	reply_fini(&r);
	set_hold(false);
	for (int i = 0; i < 2; i++) {
		receive(stuck[i], &r, false);
		assert_int_equal(r.status, 200);
		reply_fini(&r);
		close(stuck[i]);
	}
	close(late);
	free(body);
}

/* What is announced and not sent takes nothing from those who send. */
static void test_promised_bodies(void **state)
{
	int fds[8];

	(void)state;
	cfg.http_max_buffered = 100000;
	start();
	for (size_t i = 0; i < WR_ARRAY_LEN(fds); i++) {
		fds[i] = dial();
		say(fds[i], "POST /bytes HTTP/1.1\r\n" H "Content-Length: 50000\r\n" E "x");
	}
	for (int i = 0; i < 5; i++)
		expect("POST /bytes HTTP/1.1\r\n" H "Content-Length: 10\r\n" E "0123456789", 200, "\"len\":10");
	for (size_t i = 0; i < WR_ARRAY_LEN(fds); i++)
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

/* All places are taken by clients that ask nothing, or half: they make room. */
static void test_idle_connections_make_room(void **state)
{
	int fds[6];

	(void)state;
	cfg.http_max_connections = 3;
	start();
	for (size_t i = 0; i < WR_ARRAY_LEN(fds); i++) {
		fds[i] = dial();
		if (i % 3)
			say(fds[i], i % 3 == 1 ? "GET /ok" : "GET /ok HTTP/1.1\r\nHost: x\r\n");
	}
	expect("GET /ok HTTP/1.1\r\n" H E, 200, NULL);
	assert_true(server_closes(fds[0]));
	for (size_t i = 0; i < WR_ARRAY_LEN(fds); i++)
		close(fds[i]);
}

/* ... but nobody's request is cut for another's. */
static void test_requests_make_no_room(void **state)
{
	struct reply r;
	int fds[3];

	(void)state;
	cfg.http_max_connections = 2;
	start();
	set_hold(true);
	for (int i = 0; i < 2; i++) {
		fds[i] = dial();
		say(fds[i], "GET /hold HTTP/1.1\r\n" H E);
		wait_holding(i + 1);
	}
	fds[2] = dial();
	say(fds[2], "GET /ok HTTP/1.1\r\n" H E);
	poll(NULL, 0, 1500); /* longer than an idle connection is spared */
	set_hold(false);
	for (int i = 0; i < 3; i++) {
		receive(fds[i], &r, false);
		assert_int_equal(r.status, 200);
		reply_fini(&r);
	}
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	assert_int_equal(atomic_load(&cancelled_seen), 0);
}

static void test_connections_of_an_address(void **state)
{
	struct reply r;
	int fds[3];

	(void)state;
	cfg.http_max_per_address = 2;
	start();
	for (int i = 0; i < 2; i++) {
		fds[i] = dial();
		say(fds[i], "GET /ok HTTP/1.1\r\n" H E);
		receive(fds[i], &r, false);
		assert_int_equal(r.status, 200);
		reply_fini(&r);
	}
	fds[2] = dial();
	assert_true(server_closes(fds[2]));
	close(fds[2]);
	/* The others are served, and their places are free again after them. */
	for (int i = 0; i < 2; i++) {
		say(fds[i], "GET /ok HTTP/1.1\r\n" H "Connection: close\r\n" E);
		receive(fds[i], &r, false);
		assert_int_equal(r.status, 200);
		reply_fini(&r);
		assert_true(server_closes(fds[i]));
		close(fds[i]);
	}
	expect("GET /ok HTTP/1.1\r\n" H E, 200, NULL);
}

/* libmicrohttpd's threads lock themselves up at its own limit: it must never be met, however many come at once. */
static void test_crowd(void **state)
{
	int fds[200];

	(void)state;
	cfg.http_max_connections = 4;
	cfg.lanes_epoll_threads = 3;
	start();
	for (size_t i = 0; i < WR_ARRAY_LEN(fds); i++)
		fds[i] = dial();
	for (size_t i = 0; i < WR_ARRAY_LEN(fds); i++)
		close(fds[i]);
	for (int i = 0; i < 10; i++)
		expect("GET /ok HTTP/1.1\r\n" H E, 200, NULL);
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
/* What is refused anyway, or not even asked, does not hold up the end. */
static void test_drain_waits_for_no_half_request(void **state)
{
	int half, refused;
	int64_t began;

	(void)state;
	cfg.server_stop_timeout = 600000;
	cfg.http_header_timeout = cfg.http_min_rate_window = 600000;
	start();
	half = dial();
	say(half, "GET /ok HTTP/1.1\r\nHost: x\r\n");
	refused = dial();
	say(refused, "POST /nowhere HTTP/1.1\r\n" H "Content-Length: 10000\r\n" E "x");
	expect("GET /ok HTTP/1.1\r\n" H E, 200, NULL);
	began = wr_mono_ms();
	wr_http_drain(http);
	/* Any of the timeouts would be ten minutes; and a body that is refused is waited for half a minute. */
	assert_true(wr_mono_ms() - began < WAIT_MS);
	assert_true(server_closes(half));
	assert_true(server_closes(refused));
	close(half);
	close(refused);
}

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
			snprintf(head, sizeof head, "POST /upload HTTP/1.1\r\n" H "Content-Length: %zu\r\n" E,
				 n + 100000);
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
	static const char *const bad[] = {"8080", "127.0.0.1", "127.0.0.1:",   "127.0.0.1:70000",
					  ":80",  "::1:80",    "127.0.0.1:8x", "[]:80"};

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
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_ASC, (const unsigned char *)"localhost",
				   -1, -1, 0);
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

	snprintf(command, sizeof command, "%s curl -skf --max-time 30 -o /dev/null %s %s%s 2>/dev/null", before,
		 options, wr_http_url(http), path);
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
	expect("POST /json?token=hidden HTTP/1.1\r\n" H BEARER("secret") "Content-Length: 14\r\n" E
									 "{\"a\":1,\"b\":2 }",
	       200, NULL);
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
		T(test_clients_that_leave),
		T(test_client_leaves_while_suspended),
		T(test_ended_connections_are_closed),
		T(test_full_lane),
		T(test_memory_bound),
		T(test_slow_clients_are_dropped),
		T(test_standing_uploads),
		T(test_upload_meets_a_full_lane),
		T(test_promised_bodies),
		T(test_patient_client_is_kept),
		T(test_request_timeout),
		T(test_connection_limit),
		T(test_idle_connections_make_room),
		T(test_requests_make_no_room),
		T(test_connections_of_an_address),
		T(test_crowd),
		T(test_drain),
		T(test_drain_waits_for_no_half_request),
		T(test_stop_with_everything_under_way),
		T(test_many_clients),
		T(test_listen_addresses),
		T(test_tls),
		T(test_access_line),
	};

	begin(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
