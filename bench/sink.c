/*
 * bench/sink.c: a fast consumer of webhooks: notes when each call came, answers 200; what comes to /hang is never answered.
 *
 *	sink        says where it listens as Warren does. On its stdin:
 *	  count     prints how many calls came (those to /hang not counted)
 *	  times     prints a line "COMMIT MICROSECONDS" for each of them, by the monotonic clock, then an empty one, and forgets
 * It ends with its stdin.
 */
#include <arpa/inet.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BODY_MAX 1024
#define OID 40

struct call {
	char body[BODY_MAX + 1];
	size_t len;
};
struct note {
	char commit[OID + 1];
	long long us;
};

static struct {
	pthread_mutex_t lock;
	struct note *v;
	size_t len, cap, seen;
} notes = {.lock = PTHREAD_MUTEX_INITIALIZER};

static long long now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static void take(const struct call *call)
{
	const char *at = strstr(call->body, "\"commit\":\"");
	long long us = now_us();

	pthread_mutex_lock(&notes.lock);
	if (notes.len == notes.cap) {
		notes.cap = notes.cap ? notes.cap * 2 : 1024;
		notes.v = reallocarray(notes.v, notes.cap, sizeof *notes.v);
		if (!notes.v)
			abort();
	}
	notes.v[notes.len].us = us;
	snprintf(notes.v[notes.len++].commit, OID + 1, "%s", at ? at + 10 : "?");
	notes.seen++;
	pthread_mutex_unlock(&notes.lock);
}

static enum MHD_Result answer(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
			      const char *version, const char *upload, size_t *upload_len, void **context)
{
	struct call *call = *context;

	(void)method;
	(void)version;
	if (!call) {
		*context = calloc(1, sizeof *call);
		return *context ? MHD_YES : MHD_NO;
	}
	if (*upload_len) {
		size_t n = *upload_len < BODY_MAX - call->len ? *upload_len : BODY_MAX - call->len;

		memcpy(call->body + call->len, upload, n);
		call->len += n;
		*upload_len = 0;
		return MHD_YES;
	}
	if (strncmp(url, "/hang", 5) == 0) {
		MHD_suspend_connection(connection);
		return MHD_YES;
	}
	take(call);
	return MHD_queue_response(connection, MHD_HTTP_OK, cls);
}

static void finish(void *cls, struct MHD_Connection *connection, void **context, enum MHD_RequestTerminationCode how)
{
	(void)cls;
	(void)connection;
	(void)how;
	free(*context);
}

static void tell_times(void)
{
	pthread_mutex_lock(&notes.lock);
	for (size_t i = 0; i < notes.len; i++)
		printf("%s %lld\n", notes.v[i].commit, notes.v[i].us);
	notes.len = 0;
	pthread_mutex_unlock(&notes.lock);
	printf("\n");
}

int main(void)
{
	struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	static char ok[] = "ok";
	struct MHD_Response *response = MHD_create_response_from_buffer(2, ok, MHD_RESPMEM_PERSISTENT);
	struct MHD_Daemon *daemon = MHD_start_daemon(
		MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, answer, response,
		MHD_OPTION_SOCK_ADDR, &here, MHD_OPTION_NOTIFY_COMPLETED, finish, NULL, MHD_OPTION_END);
	char word[64];

	if (!daemon) {
		fprintf(stderr, "sink: it does not start\n");
		return 1;
	}
	printf("sink: listening on http://127.0.0.1:%u\n", MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
	fflush(stdout);
	while (fgets(word, sizeof word, stdin)) {
		if (strcmp(word, "count\n") == 0) {
			pthread_mutex_lock(&notes.lock);
			printf("%zu\n", notes.seen);
			pthread_mutex_unlock(&notes.lock);
		} else if (strcmp(word, "times\n") == 0) {
			tell_times();
		}
		fflush(stdout);
	}
	/* A connection that hangs would not let the library stop. */
	_exit(0);
}
