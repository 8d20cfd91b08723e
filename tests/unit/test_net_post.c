/* core/net/post: many POSTs at once, to servers that do what they like. Nothing leaves the machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "core/base/clock.h"
#include "core/net/post_internal.h"

/* ---- names and addresses, in place of libc's ---- */

/* What changing.example resolves to; NULL: it never answers. And how often somebody asked. */
static _Atomic(const char *) changing = "1.2.3.4";
static atomic_int lookups;

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	struct addrinfo numeric = hints ? *hints : (struct addrinfo){0};
	const char *to = host;

	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	numeric.ai_flags |= AI_NUMERICHOST;
	if (host && strcmp(host, "changing.example") == 0)
		to = atomic_load(&changing);
	atomic_fetch_add(&lookups, 1);
	while (!to)
		pause();
	return real(to, service, &numeric, out);
}

/* 1.2.3.4 is loopback, to whom it seems public. */
int connect(int fd, const struct sockaddr *to, socklen_t len)
{
	int (*real)(int, const struct sockaddr *, socklen_t);
	struct sockaddr_in in;

	*(void **)&real = dlsym(RTLD_NEXT, "connect");
	if (to->sa_family != AF_INET)
		return errno = ENETUNREACH, -1;
	memcpy(&in, to, sizeof in);
	if (ntohl(in.sin_addr.s_addr) == 0x01020304)
		in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (ntohl(in.sin_addr.s_addr) >> 24 != 127)
		return errno = ENETUNREACH, -1;
	return real(fd, (struct sockaddr *)&in, len);
}

/* So many seconds have passed that the test did not take. */
static atomic_int passed_s;

int clock_gettime(clockid_t id, struct timespec *ts)
{
	if (syscall(SYS_clock_gettime, id, ts) != 0)
		return -1;
	ts->tv_sec += atomic_load(&passed_s);
	return 0;
}

time_t time(time_t *out)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (out)
		*out = ts.tv_sec;
	return ts.tv_sec;
}

/* ---- servers ---- */

#define REQUEST_MAX 8192

struct server;
/* Answers the nth request of a connection, from 1; false: that was its last. */
typedef bool say_fn(struct server *s, int fd, int nth);

struct server {
	say_fn *say;
	const char *text; /* for say_text() */
	int fd;
	char url[64];
	pthread_t thread;
	pthread_mutex_t lock; /* say, live, last */
	pthread_cond_t none;
	int live;
	char last[REQUEST_MAX + 1]; /* the last request */
	atomic_int connections, requests;
};

struct connection {
	struct server *server;
	int fd;
};

static bool all_sent(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

static bool whole_request(const char *text)
{
	const char *end = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "content-length:");

	return end && strlen(end + 4) >= (length && length < end ? strtoul(length + 15, NULL, 10) : 0);
}

/* How to answer it; NULL: none came. */
static say_fn *read_request(struct server *s, int fd)
{
	say_fn *say;
	char text[REQUEST_MAX + 1] = "";
	size_t len = 0;

	while (!whole_request(text)) {
		ssize_t n = recv(fd, text + len, REQUEST_MAX - len, 0);

		if (n <= 0)
			return NULL;
		len += (size_t)n;
		text[len] = '\0';
	}
	pthread_mutex_lock(&s->lock);
	memcpy(s->last, text, len + 1);
	say = s->say;
	pthread_mutex_unlock(&s->lock);
	atomic_fetch_add(&s->requests, 1);
	return say;
}

static void *serve_connection(void *arg)
{
	struct connection *c = arg;
	struct server *s = c->server;
	say_fn *say;

	for (int nth = 1; (say = read_request(s, c->fd)) && say(s, c->fd, nth); nth++)
		;
	close(c->fd);
	free(c);
	pthread_mutex_lock(&s->lock);
	s->live--;
	pthread_cond_broadcast(&s->none);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static void *serve(void *arg)
{
	struct server *s = arg;
	int fd;

	while ((fd = accept(s->fd, NULL, NULL)) >= 0) {
		struct connection *c = malloc(sizeof *c);
		pthread_t thread;

		*c = (struct connection){s, fd};
		atomic_fetch_add(&s->connections, 1);
		pthread_mutex_lock(&s->lock);
		s->live++;
		pthread_mutex_unlock(&s->lock);
		if (pthread_create(&thread, NULL, serve_connection, c) != 0)
			abort();
		pthread_detach(thread);
	}
	return NULL;
}

static int listen_somewhere(char url[64], const char *scheme, int backlog)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof in;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&in, sizeof in) < 0 || listen(fd, backlog) < 0 ||
	    getsockname(fd, (struct sockaddr *)&in, &len) < 0)
		abort();
	snprintf(url, 64, "%s://127.0.0.1:%d/hook?a=b", scheme, ntohs(in.sin_port));
	return fd;
}

static void server_start(struct server *s)
{
	s->fd = listen_somewhere(s->url, "http", 300);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->none, NULL);
	if (pthread_create(&s->thread, NULL, serve, s) != 0)
		abort();
}

/* After the set was freed, so that no connection is open any more. */
static void server_stop(struct server *s)
{
	shutdown(s->fd, SHUT_RDWR);
	pthread_join(s->thread, NULL);
	close(s->fd);
	pthread_mutex_lock(&s->lock);
	while (s->live)
		pthread_cond_wait(&s->none, &s->lock);
	pthread_mutex_unlock(&s->lock);
	pthread_cond_destroy(&s->none);
	pthread_mutex_destroy(&s->lock);
}

static void now_say(struct server *s, say_fn *say)
{
	pthread_mutex_lock(&s->lock);
	s->say = say;
	pthread_mutex_unlock(&s->lock);
}

static bool say_text(struct server *s, int fd, int nth)
{
	(void)nth;
	return all_sent(fd, s->text, strlen(s->text));
}

/* And closes, without having said so. */
static bool say_and_close(struct server *s, int fd, int nth)
{
	say_text(s, fd, nth);
	return false;
}

/* Until the other side has gone. */
static bool say_nothing(struct server *s, int fd, int nth)
{
	char byte;

	(void)s;
	(void)nth;
	while (recv(fd, &byte, 1, 0) > 0)
		;
	return false;
}

static bool say_text_and_hang(struct server *s, int fd, int nth)
{
	say_text(s, fd, nth);
	return say_nothing(s, fd, nth);
}

static bool say_less(struct server *s, int fd, int nth)
{
	static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nless";

	return all_sent(fd, text, sizeof text - 1) && say_nothing(s, fd, nth);
}

static bool reset(struct server *s, int fd, int nth)
{
	struct linger linger = {.l_onoff = 1};

	(void)s;
	(void)nth;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
	return false;
}

static bool reset_second(struct server *s, int fd, int nth)
{
	return nth == 1 ? say_text(s, fd, nth) : reset(s, fd, nth);
}

/* The first answer is whole, a second one on the same connection breaks off in its head. */
static bool break_second(struct server *s, int fd, int nth)
{
	if (nth == 1)
		return say_text(s, fd, nth);
	all_sent(fd, "HTTP/1.1 200 OK\r\nContent-", 25);
	return false;
}

/* text, and then its last byte again and again. */
static bool say_without_end(struct server *s, int fd, int nth)
{
	char many[1000];

	say_text(s, fd, nth);
	memset(many, s->text[strlen(s->text) - 1], sizeof many);
	while (all_sent(fd, many, sizeof many))
		;
	return false;
}

/* text byte by byte, and then its last one again and again. */
static bool say_slowly(struct server *s, int fd, int nth)
{
	size_t len = strlen(s->text);
	struct pollfd gone = {.fd = fd, .events = POLLIN};

	(void)nth;
	for (size_t i = 0; poll(&gone, 1, 5) == 0; i++)
		if (!all_sent(fd, s->text + (i < len ? i : len - 1), 1))
			break;
	return false;
}

/* The head at once, its body slowly. */
static bool say_body_slowly(struct server *s, int fd, int nth)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";

	all_sent(fd, head, sizeof head - 1);
	return say_slowly(s, fd, nth);
}

static bool say_endless_head(struct server *s, int fd, int nth)
{
	(void)nth;
	all_sent(fd, "HTTP/1.1 200 OK\r\n", 17);
	while (all_sent(fd, s->text, strlen(s->text)))
		;
	return false;
}

static bool say_one_long_header(struct server *s, int fd, int nth)
{
	static char line[200000];

	(void)s;
	(void)nth;
	memset(line, 'y', sizeof line);
	all_sent(fd, "HTTP/1.1 200 OK\r\nX: ", 20);
	all_sent(fd, line, sizeof line);
	all_sent(fd, "\r\n\r\n", 4);
	return false;
}

/* ---- asking ---- */

static const struct wr_post_rules plain = {
	.private_networks = true,
	.agent = "warren-test/1",
	.connect_ms = 20000,
	.total_ms = 30000,
	.max_answer = 65536,
	.connections = 8,
};
static const char *const headers[] = {"Content-Type: application/json", "x-warren-delivery: 7", NULL};

static struct wr_posts *open_set(const struct wr_post_rules *rules)
{
	struct wr_posts *set = NULL;

	assert_int_equal(wr_posts_new(&set, rules, NULL), WR_OK);
	return set;
}

static bool fresh; /* of what is asked next */

static void begin(struct wr_posts *set, const char *url, void *tag)
{
	struct wr_post_ask ask = {.url = url, .headers = headers, .body = WR_S("{\"event\":\"x\"}"), .fresh = fresh, .tag = tag};

	assert_int_equal(wr_posts_begin(set, &ask, NULL), WR_OK);
}

static void ask_in(struct wr_post_end *end, struct wr_posts *set, const char *url)
{
	begin(set, url, end);
	assert_int_equal(wr_posts_count(set), 1);
	memset(end, 'x', sizeof *end);
	assert_int_equal(wr_posts_wait(end, 1, set, -1), 1);
	assert_ptr_equal(end->tag, end);
	assert_int_equal(wr_posts_count(set), 0);
	assert_true(end->latency_ms >= 0);
	if ((end->code == WR_OK) != (end->error[0] == '\0') || (end->code == WR_OK) != (end->status > 0))
		fail_msg("code %d, status %d, \"%s\"", end->code, end->status, end->error);
}

static void ask_alone(struct wr_post_end *end, const struct wr_post_rules *rules, const char *url)
{
	WR_AUTO(wr_posts) *set = open_set(rules);

	ask_in(end, set, url);
}

static void assert_answer(const struct wr_post_end *end, int status, const char *answer)
{
	if (end->code != WR_OK)
		fail_msg("no answer, but: %s", end->error);
	assert_int_equal(end->status, status);
	assert_int_equal(end->answer_len, strlen(answer));
	assert_memory_equal(end->answer, answer, end->answer_len);
}

static void assert_failure(const struct wr_post_end *end, enum wr_code code, const char *words)
{
	if (end->code != code || !strstr(end->error, words))
		fail_msg("code %d, status %d, \"%s\" in place of \"%s\"", end->code, end->status, end->error, words);
	assert_int_equal(end->retry_after_s, -1);
}

static void one(struct wr_post_end *end, const struct wr_post_rules *rules, say_fn *say,
		const char *text)
{
	struct server s = {.say = say, .text = text};

	server_start(&s);
	ask_alone(end, rules, s.url);
	server_stop(&s);
	assert_int_equal(s.requests, 1);
}

/* ---- answers ---- */

static void a_request(void **state)
{
	struct server s = {.say = say_text, .text = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"};
	static struct wr_post_end end;
	const char *type;

	(void)state;
	server_start(&s);
	ask_alone(&end, &plain, s.url);
	server_stop(&s);
	assert_answer(&end, 200, "fine");
	assert_int_equal(end.retry_after_s, -1);
	assert_memory_equal(s.last, "POST /hook?a=b HTTP/1.1\r\n", 25);
	assert_non_null(strstr(s.last, "\r\nUser-Agent: warren-test/1\r\n"));
	assert_non_null(strstr(s.last, "\r\nx-warren-delivery: 7\r\n"));
	assert_non_null(strstr(s.last, "\r\nContent-Length: 13\r\n"));
	assert_null(strcasestr(s.last, "expect:"));
	type = strcasestr(s.last, "\r\ncontent-type:");
	assert_memory_equal(type, "\r\nContent-Type: application/json\r\n", 34);
	assert_null(strcasestr(type + 2, "\r\ncontent-type:"));
	assert_string_equal(strstr(s.last, "\r\n\r\n"), "\r\n\r\n{\"event\":\"x\"}");
}

static void answers(void **state)
{
	static const struct {
		const char *text;
		int status;
		const char *answer;
		int64_t retry_after_s;
	} rows[] = {
		{"HTTP/1.1 204 No\r\n\r\n", 204, "", -1},
		{"HTTP/1.0 201 Made\r\n\r\nuntil the end", 201, "until the end", -1},
		{"HTTP/1.1 299 So\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n", 299, "abc", -1},
		{"HTTP/1.1 500 Oh\r\nContent-Length: 3\r\nRetry-After: 120\r\n\r\nbad", 500, "bad", 120},
		{"HTTP/1.1 429 Oh\r\nContent-Length: 0\r\nretry-after:\t-5 \r\n\r\n", 429, "", -1},
		{"HTTP/1.1 301 Away\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 1\r\n\r\nx", 301, "x", -1},
		{"HTTP/1.1 307 Away\r\nLocation: /hook\r\nContent-Length: 0\r\n\r\n", 307, "", -1},
		{"HTTP/1.1 304 Same\r\n\r\n", 304, "", -1},
		{"HTTP/1.1 401 Who\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n", 401, "", -1},
		{"HTTP/1.1 103 Early\r\nRetry-After: 9\r\n\r\n"
		 "HTTP/1.1 100 Go\r\n\r\n"
		 "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nz",
		 200, "z", -1},
		/* Counts, whatever becomes of the body. */
		{"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbroken", 200, "broken", -1},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 200, "", -1},
		{"HTTP/1.1 503 No\r\nContent-Length: 100\r\nRetry-After: 3\r\n\r\nbroken", 503, "broken", 3},
	};
	static struct wr_post_end end;

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		one(&end, &plain, say_and_close, rows[i].text);
		assert_answer(&end, rows[i].status, rows[i].answer);
		assert_int_equal(end.retry_after_s, rows[i].retry_after_s);
	}
}

static void retry_after(void **state)
{
	static const struct {
		const char *value;
		int64_t wanted;
	} rows[] = {
		{"0", 0},
		{"007", 7},
		{"3600", 3600},
		{"99999999999999999999999999", WR_POST_RETRY_AFTER_MAX},
		{"", -1},
		{"-1", -1},
		{"1.5", -1},
		{"1 0", -1},
		{"+1", -1},
		{"5 minutes", -1},
		{"soon", -1},
		{"Fri, 13 Feb 2009 23:31:40 GMT", 10},
		{"Friday, 13-Feb-09 23:31:40 GMT", 10},
		{"Fri Feb 13 23:31:40 2009", 10},
		{"Fri, 13 Feb 2009 23:31:20 GMT", 0},
		{"Thu, 01 Jan 1970 00:00:00 GMT", 0},
		{"Fri, 31 Dec 9999 23:59:59 GMT", WR_POST_RETRY_AFTER_MAX},
		{"Fri, 13 Feb 2009 23:31:40 GMT, and much more than any date ever needs to say itself", -1},
	};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++)
		if (wr_post_retry_after(wr_str(rows[i].value), 1234567890) != rows[i].wanted)
			fail_msg("%s: %lld", rows[i].value,
				 (long long)wr_post_retry_after(wr_str(rows[i].value), 1234567890));
}

static void long_answers(void **state)
{
	struct wr_post_rules short_rules = plain;
	static struct wr_post_end end;

	(void)state;
	one(&end, &plain, say_without_end, "HTTP/1.1 200 OK\r\n\r\nx");
	assert_int_equal(end.status, 200);
	assert_int_equal(end.answer_len, WR_POST_ANSWER);
	one(&end, &plain, say_without_end, "HTTP/1.1 500 Oh\r\n\r\nx");
	assert_int_equal(end.status, 500);
	assert_int_equal(end.answer_len, WR_POST_ANSWER);
	assert_memory_equal(end.answer, "xxxx", 4);
	/* A good answer's body is not waited for longer than a moment, another's to the end of the time. */
	one(&end, &plain, say_text_and_hang, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome");
	assert_answer(&end, 200, "some");
	one(&end, &plain, say_body_slowly, "y");
	assert_int_equal(end.status, 200);
	assert_true(end.answer_len > 0 && end.answer_len < 1000);
	short_rules.total_ms = 500;
	one(&end, &short_rules, say_text_and_hang, "HTTP/1.1 502 Oh\r\nContent-Length: 9\r\n\r\nsome");
	assert_answer(&end, 502, "some");
}

/* ---- no answers ---- */

static void no_answers(void **state)
{
	struct wr_post_rules impatient = plain;
	static struct wr_post_end end;

	(void)state;
	impatient.total_ms = 500;
	one(&end, &impatient, say_nothing, "");
	assert_failure(&end, WR_E_NET_SLOW, "did not answer in time");
	one(&end, &impatient, say_slowly, "HTTP/1.1 200 OK\r\nX: y");
	assert_failure(&end, WR_E_NET_SLOW, "did not answer in time");
	one(&end, &plain, reset, "");
	assert_failure(&end, WR_E_NET_UNREACHABLE, "broke off");
	one(&end, &plain, say_and_close, "");
	assert_failure(&end, WR_E_NET_UNREACHABLE, "broke off");
	one(&end, &plain, say_and_close, "SSH-2.0-OpenSSH_9.2\r\n");
	assert_failure(&end, WR_E_NET_UNREACHABLE, "in HTTP");
	one(&end, &plain, say_and_close, "HTTP/1.1 2");
	assert_failure(&end, WR_E_NET_UNREACHABLE, "");
	one(&end, &plain, say_and_close, "HTTP/1.1 200 OK\r\nX: y\r\n");
	assert_failure(&end, WR_E_NET_UNREACHABLE, "");
	one(&end, &plain, say_and_close, "HTTP/1.1 100 Go\r\n\r\n");
	assert_failure(&end, WR_E_NET_UNREACHABLE, "");
	one(&end, &plain, say_and_close, "HTTP/1.1 101 Other\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nother words");
	assert_failure(&end, WR_E_NET_UNREACHABLE, "in HTTP");
	one(&end, &plain, say_endless_head, "X: y\r\n");
	assert_failure(&end, WR_E_NET_UNREACHABLE, "more than 64 KB");
	one(&end, &plain, say_endless_head, "\r\nHTTP/1.1 103 Early\r\n");
	assert_true(end.code != WR_OK || end.status == 200);
	one(&end, &plain, say_without_end, "HTTP/1.1 103 Early\r\nX:\r\nY: y");
	assert_failure(&end, WR_E_NET_UNREACHABLE, "too long");
	one(&end, &plain, say_one_long_header, "");
	assert_failure(&end, WR_E_NET_UNREACHABLE, "");
	assert_int_equal(end.answer_len, 0);
}

static void no_connections(void **state)
{
	struct wr_post_rules impatient = plain;
	static struct wr_post_end end;
	struct server s = {.say = say_text, .text = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"};
	struct sockaddr_in in;
	socklen_t len = sizeof in;
	WR_AUTO(wr_posts) *set = NULL;
	int deaf, waits;

	(void)state;
	server_start(&s);
	server_stop(&s);
	ask_alone(&end, &plain, s.url);
	assert_failure(&end, WR_E_NET_UNREACHABLE, "refused");
	ask_alone(&end, &plain, "http://10.1.2.3/");
	assert_failure(&end, WR_E_NET_UNREACHABLE, "no way");
	ask_alone(&end, &plain, "http://nowhere.invalid/");
	assert_failure(&end, WR_E_NET_UNREACHABLE, "cannot be resolved");
	ask_alone(&end, &plain, "http://me:secret@127.0.0.1/");
	assert_failure(&end, WR_E_NET_UNREACHABLE, "URL");
	ask_alone(&end, &plain, "file:///etc/passwd");
	assert_int_not_equal(end.code, WR_OK);
	/* Nobody accepts: the listener's queue is full. The same handle as one that had sent something before. */
	impatient.connect_ms = 400;
	server_start(&s);
	set = open_set(&impatient);
	ask_in(&end, set, s.url);
	assert_answer(&end, 200, "");
	deaf = listen_somewhere(s.url, "http", 0);
	getsockname(deaf, (struct sockaddr *)&in, &len);
	waits = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(waits, (struct sockaddr *)&in, len), 0);
	ask_in(&end, set, s.url);
	assert_failure(&end, WR_E_NET_SLOW, "name, connection or TLS");
	close(waits);
	close(deaf);
	/* A name's server that never answers. */
	atomic_store(&changing, NULL);
	ask_in(&end, set, "http://changing.example/");
	assert_failure(&end, WR_E_NET_SLOW, "name, connection or TLS");
	wr_posts_free(WR_STEAL(set));
	server_stop(&s);
}

/* Whatever one of a set ended with, the next ones begin. */
static void after_a_failure(void **state)
{
	struct server gone = {.say = say_text}, s = {.say = say_text, .text = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"};
	static const char *const urls[] = {"http://10.1.2.3/", "http://nowhere.invalid/", "http://[::1]:1/",
					   "https://127.0.0.1:1/", "file:///etc/passwd"};
	static struct wr_post_end end;
	WR_AUTO(wr_posts) *set = open_set(&plain);

	(void)state;
	server_start(&gone);
	server_stop(&gone);
	server_start(&s);
	for (int round = 0; round < 2; round++) {
		ask_in(&end, set, gone.url);
		assert_failure(&end, WR_E_NET_UNREACHABLE, "refused");
		ask_in(&end, set, s.url);
		assert_answer(&end, 200, "");
		for (size_t i = 0; i < WR_ARRAY_LEN(urls); i++) {
			ask_in(&end, set, urls[i]);
			assert_failure(&end, WR_E_NET_UNREACHABLE, "");
			ask_in(&end, set, s.url);
			assert_answer(&end, 200, "");
		}
		now_say(&s, reset);
		ask_in(&end, set, s.url);
		assert_failure(&end, WR_E_NET_UNREACHABLE, "broke off");
		now_say(&s, say_text);
		ask_in(&end, set, s.url);
		assert_answer(&end, 200, "");
	}
	wr_posts_free(WR_STEAL(set));
	server_stop(&s);
}

static void only_public_addresses(void **state)
{
	struct server s = {.say = say_text, .text = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"};
	static const char *const hosts[] = {
		"127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "10.0.0.1", "169.254.169.254",
		"[::1]", "localhost", "a.localhost", "0", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]",
		"[fd12::1]",
	};
	struct wr_post_rules strict = plain;
	static struct wr_post_end end;
	char url[100];
	int port;

	(void)state;
	strict.private_networks = false;
	server_start(&s);
	port = (int)strtol(strrchr(s.url, ':') + 1, NULL, 10);
	for (size_t i = 0; i < WR_ARRAY_LEN(hosts); i++) {
		snprintf(url, sizeof url, "http://%s:%d/", hosts[i], port);
		ask_alone(&end, &strict, url);
		assert_failure(&end, WR_E_NET_REFUSED, "not public");
	}
	/* What it is now counts, not what it was at another time. */
	snprintf(url, sizeof url, "http://changing.example:%d/", port);
	atomic_store(&changing, "1.2.3.4");
	ask_alone(&end, &strict, url);
	assert_answer(&end, 200, "");
	assert_int_equal(s.requests, 1);
	atomic_store(&changing, "127.0.0.1");
	ask_alone(&end, &strict, url);
	assert_failure(&end, WR_E_NET_REFUSED, "not public");
	assert_int_equal(s.connections, 1);
	server_stop(&s);
}

/* ---- connections ---- */

static void connections_are_kept(void **state)
{
	struct server s = {.say = say_text, .text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"};
	static struct wr_post_end end;
	WR_AUTO(wr_posts) *set = open_set(&plain);

	(void)state;
	server_start(&s);
	for (int i = 0; i < 20; i++) {
		ask_in(&end, set, s.url);
		assert_answer(&end, 200, "ok");
	}
	assert_int_equal(s.requests, 20);
	assert_int_equal(s.connections, 1);
	/* Not those whose answer was dropped. */
	now_say(&s, say_less);
	ask_in(&end, set, s.url);
	now_say(&s, say_text);
	ask_in(&end, set, s.url);
	assert_answer(&end, 200, "ok");
	assert_int_equal(s.connections, 2);
	wr_posts_free(WR_STEAL(set));
	server_stop(&s);
}

/* Another attempt goes to where the name leads by then, and not there where it is not to go. */
static void a_name_is_asked_for_again(void **state)
{
	struct server s = {.say = say_text, .text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"};
	static struct wr_post_end end;
	struct wr_post_rules strict = plain;
	WR_AUTO(wr_posts) *set = NULL;
	char url[100];

	(void)state;
	strict.private_networks = false;
	set = open_set(&strict);
	server_start(&s);
	snprintf(url, sizeof url, "http://changing.example:%s", strrchr(s.url, ':') + 1);
	atomic_store(&changing, "1.2.3.4");
	atomic_store(&lookups, 0);
	for (int i = 0; i < 3; i++) {
		ask_in(&end, set, url);
		assert_answer(&end, 200, "ok");
	}
	assert_int_equal(lookups, 1);
	assert_int_equal(s.connections, 1);
	atomic_store(&changing, "10.1.2.3");
	atomic_fetch_add(&passed_s, 1);
	/* A connection that is there leads to where it was looked at. */
	ask_in(&end, set, url);
	assert_answer(&end, 200, "ok");
	assert_int_equal(s.connections, 1);
	fresh = true;
	ask_in(&end, set, url);
	assert_failure(&end, WR_E_NET_REFUSED, "not public");
	assert_int_equal(lookups, 2);
	atomic_store(&changing, "1.2.3.4");
	atomic_fetch_add(&passed_s, 1);
	ask_in(&end, set, url);
	assert_answer(&end, 200, "ok");
	fresh = false;
	assert_int_equal(lookups, 3);
	assert_int_equal(s.connections, 2);
	wr_posts_free(WR_STEAL(set));
	server_stop(&s);
}

/* However busy it is: a name may have moved. */
static void no_connection_is_kept_for_ever(void **state)
{
	struct server s = {.say = say_text, .text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"};
	static struct wr_post_end end;
	WR_AUTO(wr_posts) *set = open_set(&plain);

	(void)state;
	server_start(&s);
	for (int i = 0; i < 25; i++) {
		ask_in(&end, set, s.url);
		assert_answer(&end, 200, "ok");
		atomic_fetch_add(&passed_s, 2);
	}
	assert_int_equal(s.connections, 1);
	for (int i = 0; i < 10; i++) {
		ask_in(&end, set, s.url);
		assert_answer(&end, 200, "ok");
		atomic_fetch_add(&passed_s, 2);
	}
	assert_int_equal(s.connections, 2);
	wr_posts_free(WR_STEAL(set));
	server_stop(&s);
}

/* What a POST meets on a connection that the other side has closed since, or closes now. */
static void stale_connections(void **state)
{
	struct server s = {.say = say_and_close, .text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"};
	static struct wr_post_end end;
	WR_AUTO(wr_posts) *set = open_set(&plain);

	(void)state;
	server_start(&s);
	for (int i = 0; i < 20; i++) {
		ask_in(&end, set, s.url);
		assert_answer(&end, 200, "ok");
	}
	assert_int_equal(s.requests, 20);
	assert_int_equal(s.connections, 20);
	/* Read, and no byte said: sent again, for who closes may not have read. */
	now_say(&s, reset_second);
	for (int i = 0; i < 3; i++) {
		ask_in(&end, set, s.url);
		assert_answer(&end, 200, "ok");
	}
	assert_int_equal(s.requests, 20 + 3 + 2);
	/* Something was said: not again. */
	wr_posts_free(WR_STEAL(set));
	now_say(&s, break_second);
	set = open_set(&plain);
	ask_in(&end, set, s.url);
	assert_answer(&end, 200, "ok");
	ask_in(&end, set, s.url);
	assert_failure(&end, WR_E_NET_UNREACHABLE, "");
	assert_int_equal(s.requests, 25 + 2);
	wr_posts_free(WR_STEAL(set));
	server_stop(&s);
}

/* ---- many ---- */

#define MANY 200

static bool say_later(struct server *s, int fd, int nth)
{
	poll(NULL, 0, 20);
	return say_text(s, fd, nth);
}

static void many(void **state)
{
	struct server s = {.say = say_later, .text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"};
	struct server hangs = {.say = say_nothing};
	static struct wr_post_end ends[16];
	static bool ended[3 * MANY];
	WR_AUTO(wr_posts) *set = open_set(&plain);
	size_t left = 3 * MANY, begun = 0, n;

	(void)state;
	server_start(&s);
	server_start(&hangs);
	memset(ended, 0, sizeof ended);
	for (int i = 0; i < 20; i++)
		begin(set, hangs.url, NULL);
	while (left) {
		while (begun < WR_ARRAY_LEN(ended) && wr_posts_count(set) < MANY + 20)
			begin(set, s.url, &ended[begun++]);
		n = wr_posts_wait(ends, WR_ARRAY_LEN(ends), set, -1);
		assert_in_range(n, 1, WR_ARRAY_LEN(ends));
		for (size_t i = 0; i < n; i++) {
			bool *mine = ends[i].tag;

			assert_non_null(mine);
			assert_false(*mine);
			*mine = true;
			assert_answer(&ends[i], 200, "ok");
		}
		left -= n;
	}
	assert_int_equal(s.requests, 3 * MANY);
	assert_in_range(s.connections, 1, 2 * MANY);
	assert_int_equal(wr_posts_count(set), 20);
	/* Those that hang end with it, without a word. */
	wr_posts_free(WR_STEAL(set));
	server_stop(&s);
	server_stop(&hangs);
}

static void *wake(void *arg)
{
	poll(NULL, 0, 20);
	wr_posts_wake(arg);
	return NULL;
}

static void waking(void **state)
{
	struct server hangs = {.say = say_nothing};
	static struct wr_post_end end;
	WR_AUTO(wr_posts) *set = open_set(&plain);
	pthread_t thread;

	(void)state;
	server_start(&hangs);
	assert_int_equal(wr_posts_wait(&end, 1, set, 0), 0);
	assert_int_equal(wr_posts_wait(&end, 1, set, 1), 0);
	/* Woken before, or while it waits; with and without anything under way. */
	wr_posts_wake(set);
	wr_posts_wake(set);
	assert_int_equal(wr_posts_wait(&end, 1, set, -1), 0);
	assert_int_equal(pthread_create(&thread, NULL, wake, set), 0);
	assert_int_equal(wr_posts_wait(&end, 1, set, -1), 0);
	pthread_join(thread, NULL);
	begin(set, hangs.url, NULL);
	assert_int_equal(wr_posts_wait(&end, 1, set, 5), 0);
	assert_int_equal(pthread_create(&thread, NULL, wake, set), 0);
	assert_int_equal(wr_posts_wait(&end, 1, set, -1), 0);
	pthread_join(thread, NULL);
	assert_int_equal(wr_posts_count(set), 1);
	wr_posts_free(WR_STEAL(set));
	server_stop(&hangs);
}

/* ---- TLS: each server is a process, for it must be there before any thread ---- */

struct tls {
	char url[64], pem[64];
	pid_t pid;
};
static struct tls mine, foreign, expired;

static void add_name(X509 *cert, const char *name)
{
	X509_EXTENSION *alternatives = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, name);
	X509_NAME *subject = X509_get_subject_name(cert);

	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(cert, subject);
	X509_add_ext(cert, alternatives, -1);
	X509_EXTENSION_free(alternatives);
}

static void tls_start(struct tls *tls, const char *name, long seconds)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	FILE *f;
	int listener, fd;

	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
	X509_gmtime_adj(X509_getm_notAfter(cert), seconds);
	X509_set_pubkey(cert, key);
	add_name(cert, name);
	X509_sign(cert, key, EVP_sha256());
	snprintf(tls->pem, sizeof tls->pem, "/tmp/test_net_post-XXXXXX");
	fd = mkstemp(tls->pem);
	f = fdopen(fd, "w");
	PEM_write_X509(f, cert);
	fclose(f);
	listener = listen_somewhere(tls->url, "https", 10);
	if ((tls->pid = fork()) == 0) {
		SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
		char text[REQUEST_MAX];

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGPIPE, SIG_IGN);
		SSL_CTX_use_certificate(ctx, cert);
		SSL_CTX_use_PrivateKey(ctx, key);
		while ((fd = accept(listener, NULL, NULL)) >= 0) {
			SSL *ssl = SSL_new(ctx);

			SSL_set_fd(ssl, fd);
			if (SSL_accept(ssl) == 1)
				while (SSL_read(ssl, text, sizeof text) > 0 &&
				       SSL_write(ssl, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret", 44) > 0)
					;
			SSL_free(ssl);
			close(fd);
		}
		_exit(0);
	}
	close(listener);
	X509_free(cert);
	EVP_PKEY_free(key);
}

static void tls_stop(struct tls *tls)
{
	kill(tls->pid, SIGKILL);
	waitpid(tls->pid, NULL, 0);
	unlink(tls->pem);
}

static void certificates(void **state)
{
	struct server plain_server = {.say = say_and_close, .text = "HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n"};
	struct wr_post_rules trusting = plain;
	static struct wr_post_end end;
	WR_AUTO(wr_posts) *set = NULL;
	int listener;

	(void)state;
	trusting.ca_file = mine.pem;
	set = open_set(&trusting);
	for (int i = 0; i < 3; i++) {
		ask_in(&end, set, mine.url);
		assert_answer(&end, 200, "secret");
	}
	wr_posts_free(WR_STEAL(set));
	ask_alone(&end, &plain, mine.url);
	assert_failure(&end, WR_E_NET_UNREACHABLE, "no authority that is trusted here");
	ask_alone(&end, &trusting, foreign.url);
	assert_failure(&end, WR_E_NET_UNREACHABLE, "no authority that is trusted here");
	trusting.ca_file = foreign.pem;
	ask_alone(&end, &trusting, foreign.url);
	assert_failure(&end, WR_E_NET_UNREACHABLE, "another host name");
	trusting.ca_file = expired.pem;
	ask_alone(&end, &trusting, expired.url);
	assert_failure(&end, WR_E_NET_UNREACHABLE, "has expired");
	trusting.ca_file = "/nowhere/absent.pem";
	ask_alone(&end, &trusting, mine.url);
	assert_failure(&end, WR_E_NET_UNREACHABLE, "This server's file");
	/* No TLS there, or nothing at all. */
	server_start(&plain_server);
	memmove(plain_server.url + 5, plain_server.url + 4, strlen(plain_server.url) - 3);
	plain_server.url[4] = 's';
	trusting.ca_file = mine.pem;
	trusting.connect_ms = 300;
	ask_alone(&end, &trusting, plain_server.url);
	assert_failure(&end, WR_E_NET_SLOW, "name, connection or TLS");
	server_stop(&plain_server);
	listener = listen_somewhere(plain_server.url, "https", 5);
	close(listener);
	ask_alone(&end, &trusting, plain_server.url);
	assert_failure(&end, WR_E_NET_UNREACHABLE, "refused");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request),
		cmocka_unit_test(answers),
		cmocka_unit_test(retry_after),
		cmocka_unit_test(long_answers),
		cmocka_unit_test(no_answers),
		cmocka_unit_test(only_public_addresses),
		cmocka_unit_test(no_connections),
		cmocka_unit_test(after_a_failure),
		cmocka_unit_test(connections_are_kept),
		cmocka_unit_test(a_name_is_asked_for_again),
		cmocka_unit_test(no_connection_is_kept_for_ever),
		cmocka_unit_test(stale_connections),
		cmocka_unit_test(many),
		cmocka_unit_test(waking),
		cmocka_unit_test(certificates),
	};
	int failed;

	tls_start(&mine, "IP:127.0.0.1", 3600);
	tls_start(&foreign, "DNS:other.example", 3600);
	tls_start(&expired, "IP:127.0.0.1", -60);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	tls_stop(&mine);
	tls_stop(&foreign);
	tls_stop(&expired);
	return failed;
}
