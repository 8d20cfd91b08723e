/*
 * bench/hello.c: the least that a server on libmicrohttpd can be: one answer made once, with the flags, the threads and the
 * connection memory of Warren's. What the metadata calls of the REST API are measured against.
 *
 *	hello THREADS BYTES    answers every request with BYTES of JSON; says where it listens as Warren does, ends with its stdin
 */
#include <microhttpd.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONNECTION_MEMORY ((size_t)16 * 1024)

static enum MHD_Result answer(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
			      const char *version, const char *upload, size_t *upload_len, void **context)
{
	static int seen;

	(void)url;
	(void)method;
	(void)version;
	(void)upload;
	if (!*context) {
		*context = &seen;
		return MHD_YES;
	}
	if (*upload_len) {
		*upload_len = 0;
		return MHD_YES;
	}
	return MHD_queue_response(connection, MHD_HTTP_OK, cls);
}

/* {"hello":"xxx..."} */
static struct MHD_Response *make_answer(size_t len)
{
	static const char begin[] = "{\"hello\":\"";
	size_t n = len > sizeof begin + 2 ? len : sizeof begin + 2;
	char *text = malloc(n);
	struct MHD_Response *response;

	if (!text)
		return NULL;
	memset(text, 'x', n);
	memcpy(text, begin, sizeof begin - 1);
	memcpy(text + n - 2, "\"}", 2);
	response = MHD_create_response_from_buffer(n, text, MHD_RESPMEM_MUST_FREE);
	if (response)
		MHD_add_response_header(response, "Content-Type", "application/json");
	return response;
}

int main(int argc, char **argv)
{
	unsigned threads = argc == 3 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
	size_t len = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
	struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct MHD_Response *response = make_answer(len);
	struct MHD_Daemon *daemon;
	char rest[64];

	if (threads < 2 || !response) {
		fprintf(stderr, "hello THREADS BYTES\n");
		return 2;
	}
	daemon = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL,
				  NULL, answer, response, MHD_OPTION_SOCK_ADDR, &here, MHD_OPTION_THREAD_POOL_SIZE,
				  threads, MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY,
				  MHD_OPTION_CONNECTION_TIMEOUT, 60u, MHD_OPTION_END);
	if (!daemon) {
		fprintf(stderr, "hello: the server does not start\n");
		return 1;
	}
	printf("hello: listening on http://127.0.0.1:%u\n", MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
	fflush(stdout);
	while (read(STDIN_FILENO, rest, sizeof rest) > 0)
		;
	MHD_stop_daemon(daemon);
	MHD_destroy_response(response);
	return 0;
}
