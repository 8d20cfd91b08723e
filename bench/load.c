/*
 * bench/load.c: one HTTP/1.1 request again and again over kept connections, by one thread: how many of them are answered.
 *
 *	load HOST PORT CONNECTIONS SECONDS NEEDLE FILE    FILE: the bytes of the request
 *
 * Each connection sends its next request when the answer to the last one is there. Every answer must have status 200 and
 * a Content-Length; the first of each connection must hold NEEDLE. Prints one JSON object. Where replay.c has a thread for
 * each client, which costs a machine of two cores more than the server does, this one costs next to nothing.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define IN_SIZE (64 * 1024)

struct peer {
	int fd;
	bool seen; /* the needle */
	double sent;
	size_t got;
	char *in;
};

struct load {
	char *request;
	size_t len;
	const char *needle;
	double end;
	uint64_t count;
	float *took;
	size_t cap;
};

static double now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "load: %s (%s)\n", what, strerror(errno));
	exit(1);
}

static void ask(struct peer *p, const struct load *l)
{
	p->got = 0;
	p->sent = now(CLOCK_MONOTONIC);
	if (send(p->fd, l->request, l->len, MSG_NOSIGNAL) != (ssize_t)l->len)
		die("send");
}

/* The length of the answer with its head; 0 while the head is not there. */
static size_t answer_len(const struct peer *p)
{
	static const char length[] = "\r\nContent-Length: ";
	const char *end = memmem(p->in, p->got, "\r\n\r\n", 4), *at;
	size_t head = end ? (size_t)(end - p->in) + 4 : 0;

	if (!end)
		return 0;
	if (memcmp(p->in, "HTTP/1.1 200", 12) != 0)
		die("a status that is not 200");
	at = memmem(p->in, head, length, sizeof length - 1);
	if (!at)
		die("an answer without Content-Length");
	return head + strtoul(at + sizeof length - 1, NULL, 10);
}

static void note(struct load *l, double took)
{
	if (l->count == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 1 << 16;
		l->took = realloc(l->took, l->cap * sizeof *l->took);
		if (!l->took)
			die("memory");
	}
	l->took[l->count++] = (float)took;
}

/* False when it is done. */
static bool on_input(struct peer *p, struct load *l)
{
	ssize_t n = recv(p->fd, p->in + p->got, IN_SIZE - p->got, 0);
	size_t whole;

	if (n <= 0)
		die("the server closed");
	p->got += (size_t)n;
	whole = answer_len(p);
	if (whole > IN_SIZE)
		die("an answer is too long");
	if (whole == 0 || p->got < whole)
		return true;
	if (!p->seen && !memmem(p->in, p->got, l->needle, strlen(l->needle)))
		die("an answer without the needle");
	p->seen = true;
	note(l, now(CLOCK_MONOTONIC) - p->sent);
	if (p->sent >= l->end)
		return false;
	ask(p, l);
	return true;
}

static void dial(struct peer *p, const struct addrinfo *to, int set)
{
	struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = p}};
	int one = 1;

	p->fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	p->in = malloc(IN_SIZE);
	if (p->fd < 0 || !p->in || connect(p->fd, to->ai_addr, to->ai_addrlen) < 0 ||
	    epoll_ctl(set, EPOLL_CTL_ADD, p->fd, &event) < 0)
		die("connect");
	setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static void load_file(struct load *l, const char *path)
{
	FILE *f = fopen(path, "rb");

	l->request = malloc(IN_SIZE);
	if (!f || !l->request || (l->len = fread(l->request, 1, IN_SIZE, f)) == 0 || l->len == IN_SIZE)
		die(path);
	fclose(f);
}

static int cmp(const void *a, const void *b)
{
	const float *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

int main(int argc, char **argv)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *to;
	struct load l = {.needle = argc == 7 ? argv[5] : ""};
	size_t peers = argc == 7 ? strtoul(argv[3], NULL, 10) : 0, open = peers;
	struct peer *v = calloc(peers + 1, sizeof *v);
	struct epoll_event events[64];
	int set = epoll_create1(EPOLL_CLOEXEC);
	double began, took;

	if (peers == 0 || !v || set < 0) {
		fprintf(stderr, "load HOST PORT CONNECTIONS SECONDS NEEDLE FILE\n");
		return 2;
	}
	if (getaddrinfo(argv[1], argv[2], &hints, &to) != 0)
		die("no such host");
	load_file(&l, argv[6]);
	for (size_t i = 0; i < peers; i++)
		dial(&v[i], to, set);
	began = now(CLOCK_MONOTONIC);
	l.end = began + strtod(argv[4], NULL);
	for (size_t i = 0; i < peers; i++)
		ask(&v[i], &l);
	while (open > 0) {
		int n = epoll_wait(set, events, 64, 10000);

		if (n <= 0)
			die("no answer for 10 seconds");
		for (int i = 0; i < n; i++) {
			struct peer *p = events[i].data.ptr;

			if (on_input(p, &l))
				continue;
			epoll_ctl(set, EPOLL_CTL_DEL, p->fd, NULL);
			open--;
		}
	}
	took = now(CLOCK_MONOTONIC) - began;
	qsort(l.took, l.count, sizeof *l.took, cmp);
	printf("{\"count\":%llu,\"seconds\":%.6f,\"median_ms\":%.3f,\"p99_ms\":%.3f,\"client_cpu_us\":%.2f}\n",
	       (unsigned long long)l.count, took, (double)l.took[l.count / 2] * 1e3,
	       (double)l.took[l.count * 99 / 100] * 1e3, now(CLOCK_PROCESS_CPUTIME_ID) / (double)l.count * 1e6);
	return 0;
}
