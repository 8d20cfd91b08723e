/*
 * bench/replay.c: sends prepared HTTP/1.1 requests over kept connections, one file of them a client, and times the answers.
 *
 *	replay HOST PORT NEEDLE FILE...    each FILE: {8-byte little-endian length, bytes of one request}, repeated
 *
 * A request whose first byte is '-' belongs to the operation of the one behind it (the '-' is not sent): latency counts
 * from the first request of an operation to the last byte of its last answer. That last answer must have status 200 and
 * hold NEEDLE ("": it holds anything), and the time to its first occurrence is told as well. Prints one JSON object. A
 * client of bare loops, so that it costs as little of the machine's cores as can be.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define IN_SIZE (256 * 1024)

struct client {
	const char *needle;
	const struct addrinfo *to;
	char *file;
	size_t len;
	pthread_t thread;
	double *latency, *first;
	size_t count, cap;
	uint64_t bytes;
	int fd;
	char *in;
	size_t pos, got;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "replay: %s (%s)\n", what, strerror(errno));
	exit(1);
}

static void dial(struct client *c)
{
	int one = 1;

	c->fd = socket(c->to->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, c->to->ai_addr, c->to->ai_addrlen) < 0)
		die("connect");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static void send_all(struct client *c, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t k = send(c->fd, p, n, MSG_NOSIGNAL);

		if (k <= 0)
			die("send");
		p += k;
		n -= (size_t)k;
	}
}

/* More input; what was read before is gone when all of it is used. */
static void fill(struct client *c)
{
	ssize_t n;

	if (c->pos == c->got)
		c->pos = c->got = 0;
	if (c->got == IN_SIZE)
		die("a header is too long");
	n = recv(c->fd, c->in + c->got, IN_SIZE - c->got, 0);
	if (n <= 0)
		die("the server closed");
	c->got += (size_t)n;
	c->bytes += (uint64_t)n;
}

/* A line without its end, as a NUL-terminated text. */
static char *line(struct client *c)
{
	size_t scanned = c->pos;

	for (;;) {
		char *nl = memchr(c->in + scanned, '\n', c->got - scanned);

		if (nl) {
			char *text = c->in + c->pos;

			c->pos = (size_t)(nl - c->in) + 1;
			nl[nl > text && nl[-1] == '\r' ? -1 : 0] = '\0';
			return text;
		}
		if (c->pos > 0) {
			memmove(c->in, c->in + c->pos, c->got - c->pos);
			c->got -= c->pos;
			c->pos = 0;
		}
		scanned = c->got;
		fill(c);
	}
}

/* n bytes of a body. The needle never lies across two reads in practice; a piece of the end is kept all the same. */
static void body(struct client *c, uint64_t n, double *found)
{
	size_t len = strlen(c->needle);

	while (n > 0) {
		size_t have;

		if (c->pos == c->got)
			fill(c);
		have = c->got - c->pos;
		have = have > n ? (size_t)n : have;
		if (*found == 0 && len > 0 && memmem(c->in + c->pos, have, c->needle, len))
			*found = now();
		c->pos += have;
		n -= have;
	}
}

/* One answer, to its end. */
static int answer(struct client *c, double *found)
{
	char *text = line(c);
	int status = strncmp(text, "HTTP/1.1 ", 9) == 0 ? (int)strtol(text + 9, NULL, 10) : 0;
	uint64_t length = 0;
	bool chunked = false;

	while (*(text = line(c))) {
		if (strncasecmp(text, "content-length:", 15) == 0)
			length = strtoull(text + 15, NULL, 10);
		else if (strncasecmp(text, "transfer-encoding: chunked", 26) == 0)
			chunked = true;
	}
	if (!chunked) {
		body(c, length, found);
		return status;
	}
	while ((length = strtoull(line(c), NULL, 16)) > 0) {
		body(c, length, found);
		line(c);
	}
	line(c);
	return status;
}

static void note(struct client *c, double latency, double first)
{
	if (c->count == c->cap) {
		c->cap = c->cap ? c->cap * 2 : 1024;
		c->latency = realloc(c->latency, c->cap * sizeof *c->latency);
		c->first = realloc(c->first, c->cap * sizeof *c->first);
		if (!c->latency || !c->first)
			die("memory");
	}
	c->latency[c->count] = latency;
	c->first[c->count++] = first;
}

static void *work(void *arg)
{
	struct client *c = arg;
	double began = 0;

	dial(c);
	for (size_t at = 0; at + 8 <= c->len;) {
		bool part;
		double found = 0, sent;
		uint64_t n;
		int status;

		memcpy(&n, c->file + at, 8);
		at += 8;
		part = n > 0 && c->file[at] == '-';
		sent = now();
		if (began == 0)
			began = sent;
		send_all(c, c->file + at + part, (size_t)n - part);
		at += n;
		status = answer(c, &found);
		if (status != 200)
			die("a status that is not 200");
		if (part)
			continue;
		if (found == 0 && *c->needle)
			die("an answer without the needle");
		note(c, now() - began, found - sent);
		began = 0;
	}
	close(c->fd);
	return NULL;
}

static void load(struct client *c, const char *path)
{
	FILE *f = fopen(path, "rb");
	struct stat st;

	if (!f || fstat(fileno(f), &st) < 0)
		die(path);
	c->len = (size_t)st.st_size;
	c->file = malloc(c->len + 1);
	c->in = malloc(IN_SIZE);
	if (!c->file || !c->in || fread(c->file, 1, c->len, f) != c->len)
		die(path);
	fclose(f);
}

static int cmp(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

int main(int argc, char **argv)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *to;
	size_t clients = (size_t)(argc > 4 ? argc - 4 : 0), n = 0;
	struct client *v = calloc(clients + 1, sizeof *v);
	double began, took, *latency, *first;
	uint64_t bytes = 0;

	if (clients == 0 || !v) {
		fprintf(stderr, "replay HOST PORT NEEDLE FILE...\n");
		return 2;
	}
	if (getaddrinfo(argv[1], argv[2], &hints, &to) != 0)
		die("no such host");
	for (size_t i = 0; i < clients; i++) {
		v[i].to = to;
		v[i].needle = argv[3];
		load(&v[i], argv[4 + i]);
	}
	began = now();
	for (size_t i = 0; i < clients; i++)
		if (pthread_create(&v[i].thread, NULL, work, &v[i]) != 0)
			die("thread");
	for (size_t i = 0; i < clients; i++) {
		pthread_join(v[i].thread, NULL);
		n += v[i].count;
		bytes += v[i].bytes;
	}
	took = now() - began;
	latency = calloc(n + 1, sizeof *latency);
	first = calloc(n + 1, sizeof *first);
	if (!latency || !first || n == 0)
		die("nothing was measured");
	n = 0;
	for (size_t i = 0; i < clients; i++) {
		memcpy(latency + n, v[i].latency, v[i].count * sizeof *latency);
		memcpy(first + n, v[i].first, v[i].count * sizeof *first);
		n += v[i].count;
	}
	qsort(latency, n, sizeof *latency, cmp);
	qsort(first, n, sizeof *first, cmp);
	printf("{\"count\":%zu,\"seconds\":%.6f,\"median_ms\":%.3f,\"p99_ms\":%.3f,\"first_ms\":%.3f,\"bytes\":%llu,\"some\":[", n,
	       took, latency[n / 2] * 1e3, latency[n * 99 / 100] * 1e3, first[n / 2] * 1e3, (unsigned long long)bytes);
	/* Of a short run all, for who adds several up. */
	for (size_t i = 0; n <= 200 && i < n; i++)
		printf("%s%.3f", i ? "," : "", latency[i] * 1e3);
	printf("]}\n");
	return 0;
}
