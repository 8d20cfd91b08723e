/*
 * fault/outside.c: preloaded; the names and addresses of a small world in place of the machine's own, and loopback in place
 * of the Internet.
 *
 * WARREN_OUTSIDE  a file that the test writes (harness/outside.py). Each line is a name and its answers, with spaces between:
 *                 the first lookup of the name gets the first one, and so on; the last one stays. An answer is addresses with
 *                 + between them, "none" (there is no such name), or "late" (the same, after two seconds). A name that begins
 *                 with "*." stands for all below it.
 * WARREN_OUTSIDE_LOG  gets a line for each: "lookup NAME", "connect ADDRESS".
 *
 * Who connects to an address that stands in the file, or to loopback, comes to loopback; any other one is unreachable.
 * So what is connected to a private address arrives as well, and shows.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAX (64 << 10)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static char *read_all(const char *variable)
{
	const char *path = getenv(variable);
	char *text = calloc(1, FILE_MAX);
	size_t len = 0;
	ssize_t n;
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (!text || fd < 0)
		abort();
	while (len < FILE_MAX - 1 && (n = read(fd, text + len, FILE_MAX - 1 - len)) > 0)
		len += (size_t)n;
	close(fd);
	return text;
}

static void note(const char *what, const char *whom)
{
	char line[400];
	int len = snprintf(line, sizeof line, "%s %s\n", what, whom);
	int fd = open(getenv("WARREN_OUTSIDE_LOG"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || len >= (int)sizeof line || write(fd, line, (size_t)len) != len)
		abort();
	close(fd);
}

/* How often it was looked up before. */
static size_t count(const char *name)
{
	char line[300], *log = read_all("WARREN_OUTSIDE_LOG");
	size_t n = 0;

	snprintf(line, sizeof line, "lookup %s\n", name);
	for (char *at = log; (at = strstr(at, line)); at += strlen(line))
		n++;
	free(log);
	return n;
}

static bool is_name(const char *pattern, const char *name)
{
	size_t own = strlen(pattern + 1), len = strlen(name);

	if (strncmp(pattern, "*.", 2) != 0)
		return strcmp(pattern, name) == 0;
	return len > own && strcmp(name + len - own, pattern + 1) == 0;
}

/* The answer that is this lookup's turn; false: nobody knows the name. */
static bool find(char answer[200], const char *name)
{
	char *text = read_all("WARREN_OUTSIDE"), *rest = text, *line;
	bool found = false;

	while (!found && (line = strsep(&rest, "\n"))) {
		char *pattern = strsep(&line, " "), *one;
		size_t skip;

		if (!line || !is_name(pattern, name))
			continue;
		found = true;
		pthread_mutex_lock(&lock);
		skip = strchr(line, ' ') ? count(name) : 0;
		note("lookup", name);
		pthread_mutex_unlock(&lock);
		while ((one = strsep(&line, " "))) {
			snprintf(answer, 200, "%s", one);
			if (skip-- == 0)
				break;
		}
	}
	free(text);
	return found;
}

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	struct addrinfo numeric = hints ? *hints : (struct addrinfo){0}, **end = out;
	char answer[200], *rest = answer, *one;

	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	numeric.ai_flags |= AI_NUMERICHOST;
	if (!host || !getenv("WARREN_OUTSIDE") || !find(answer, host))
		return real(host, service, &numeric, out);
	if (strcmp(answer, "late") == 0)
		sleep(2);
	if (strcmp(answer, "late") == 0 || strcmp(answer, "none") == 0)
		return EAI_NONAME;
	while ((one = strsep(&rest, "+"))) {
		int rc;

		numeric.ai_family = strchr(one, ':') ? AF_INET6 : AF_INET;
		if ((rc = real(one, service, &numeric, end)) != 0)
			return rc;
		while (*end)
			end = &(*end)->ai_next;
	}
	return 0;
}

static bool in_the_world(const char *address)
{
	char *text = read_all("WARREN_OUTSIDE"), *rest = text, *word;
	bool found = false;

	while (!found && (word = strsep(&rest, " \n+")))
		found = strcmp(word, address) == 0;
	free(text);
	return found;
}

int connect(int fd, const struct sockaddr *to, socklen_t len)
{
	int (*real)(int, const struct sockaddr *, socklen_t);
	struct sockaddr_in6 in6 = {0};
	struct sockaddr_in in = {0};
	char address[INET6_ADDRSTRLEN] = "";
	bool ours;

	*(void **)&real = dlsym(RTLD_NEXT, "connect");
	if (!getenv("WARREN_OUTSIDE") || (to->sa_family != AF_INET && to->sa_family != AF_INET6))
		return real(fd, to, len);
	if (to->sa_family == AF_INET) {
		memcpy(&in, to, sizeof in);
		inet_ntop(AF_INET, &in.sin_addr, address, sizeof address);
		ours = in_the_world(address) || ntohl(in.sin_addr.s_addr) >> 24 == 127;
		in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	} else {
		memcpy(&in6, to, sizeof in6);
		inet_ntop(AF_INET6, &in6.sin6_addr, address, sizeof address);
		ours = in_the_world(address) || IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr);
		inet_pton(AF_INET6, "::ffff:127.0.0.1", &in6.sin6_addr);
	}
	note("connect", address);
	if (!ours) {
		errno = ENETUNREACH;
		return -1;
	}
	return real(fd, to->sa_family == AF_INET ? (void *)&in : (void *)&in6, len);
}
