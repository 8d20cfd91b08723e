/*
 * tests/clients/remote_client.c: sync/fetch.h and core/net/call.h from a command line, for tests against real servers.
 *
 *   remote_client [KEY=VALUE...] get URL           one request; the answer's body to out=FILE
 *   remote_client [KEY=VALUE...] refs URL          what a repository has
 *   remote_client [KEY=VALUE...] fetch URL ID...   the same, and a pack of what the ids reach to out=FILE
 *
 * Keys: private, ca, redirects, connect_ms, deadline_ms, min_rate, min_rate_ms, max_bytes, depth, out, cancel_ms,
 * nap_ms (of the reader between two reads), user, password, post; name=HOST@ADDRESS+ADDRESS is what the next lookup of
 * a name gives (the last goes on being given; ADDRESS "never": no answer comes). Nothing leaves the machine: who connects
 * to such an address comes to loopback, and any other outside address is unreachable.
 * Prints one line of JSON: code (OK, or a name of codes.def), text, fields, and what came. Ends with 0 if it could.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <netdb.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

#include "core/base/clock.h"
#include "core/git/oid.h"
#include "sync/fetch.h"

/* The names of the codes, for several share one on the wire. */
static const char *const names[] = {
	"OK",
#define X(name, status, wire, text, sdk) #name,
#include "core/base/codes.def"
#undef X
};

struct run {
	struct wr_net_rules rules;
	struct wr_cancel cancel;
	int64_t cancel_at_ms, nap_ms;
	uint32_t depth;
	const char *user, *password, *post;
	int out;
	uint64_t bytes;
	json_t *report;
};

/* ---- the names and addresses of a small world, in place of libc's ---- */

struct name {
	struct wr_str host;
	const char *addresses;
	atomic_bool used;
};
static struct name world[8];
static size_t world_len;

static void add_name(const char *value)
{
	const char *at = strchr(value, '@');

	if (!at || world_len == WR_ARRAY_LEN(world))
		exit(2);
	world[world_len].host = wr_str_n(value, (size_t)(at - value));
	world[world_len++].addresses = at + 1;
}

static struct name *lookup(const char *host)
{
	struct name *found = NULL;

	for (size_t i = 0; i < world_len; i++) {
		if (!wr_str_eqz(world[i].host, host))
			continue;
		found = &world[i];
		if (!atomic_exchange(&found->used, true))
			return found;
	}
	return found;
}

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	struct addrinfo numeric = hints ? *hints : (struct addrinfo){0}, **end = out;
	struct name *name = lookup(host);
	char addresses[200], *rest = addresses, *one;

	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	numeric.ai_flags |= AI_NUMERICHOST;
	if (!name)
		return real(host, service, &numeric, out);
	while (wr_str_eqz(wr_str(name->addresses), "never"))
		pause();
	snprintf(addresses, sizeof addresses, "%s", name->addresses);
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

int connect(int fd, const struct sockaddr *to, socklen_t len)
{
	int (*real)(int, const struct sockaddr *, socklen_t);
	char text[INET_ADDRSTRLEN] = "";
	struct sockaddr_in in;

	*(void **)&real = dlsym(RTLD_NEXT, "connect");
	if (to->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;

		memcpy(&in6, to, sizeof in6);
		if (IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr))
			return real(fd, to, len);
	}
	if (to->sa_family != AF_INET)
		return errno = ENETUNREACH, -1;
	memcpy(&in, to, sizeof in);
	inet_ntop(AF_INET, &in.sin_addr, text, sizeof text);
	for (size_t i = 0; i < world_len; i++)
		if (strstr(world[i].addresses, text))
			in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (ntohl(in.sin_addr.s_addr) >> 24 == 127)
		return real(fd, (struct sockaddr *)&in, sizeof in);
	errno = ENETUNREACH;
	return -1;
}

/* ---- the command line ---- */

static bool is_due(void *arg)
{
	const struct run *run = arg;

	return run->cancel_at_ms && wr_mono_ms() >= run->cancel_at_ms;
}

static void set(struct run *run, struct wr_str key, const char *value)
{
	long long n = strtoll(value, NULL, 10);

	if (wr_str_eqz(key, "private"))
		run->rules.private_networks = n != 0;
	else if (wr_str_eqz(key, "ca"))
		run->rules.ca_file = value;
	else if (wr_str_eqz(key, "redirects"))
		run->rules.redirects = (unsigned)n;
	else if (wr_str_eqz(key, "connect_ms"))
		run->rules.connect_ms = n;
	else if (wr_str_eqz(key, "deadline_ms"))
		run->rules.deadline_ms = n;
	else if (wr_str_eqz(key, "min_rate"))
		run->rules.min_rate = (uint64_t)n;
	else if (wr_str_eqz(key, "min_rate_ms"))
		run->rules.min_rate_ms = n;
	else if (wr_str_eqz(key, "max_bytes"))
		run->rules.max_bytes = (uint64_t)n;
	else if (wr_str_eqz(key, "depth"))
		run->depth = (uint32_t)n;
	else if (wr_str_eqz(key, "cancel_ms"))
		run->cancel_at_ms = wr_mono_ms() + n;
	else if (wr_str_eqz(key, "nap_ms"))
		run->nap_ms = n;
	else if (wr_str_eqz(key, "user"))
		run->user = value;
	else if (wr_str_eqz(key, "password"))
		run->password = value;
	else if (wr_str_eqz(key, "name"))
		add_name(value);
	else if (wr_str_eqz(key, "post"))
		run->post = value;
	else if (wr_str_eqz(key, "out"))
		run->out = open(value, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	else
		exit(2);
}

static enum wr_code drain(struct run *run, struct wr_source *src, struct wr_error *err)
{
	static char buf[1 << 16];

	for (;;) {
		size_t got = 0;
		enum wr_code code = wr_source_read(src, buf, sizeof buf, &got, err);

		if (code != WR_OK || got == 0)
			return code;
		run->bytes += got;
		if (run->out >= 0 && write(run->out, buf, got) != (ssize_t)got)
			return wr_fail_errno(err, "write");
		if (run->nap_ms)
			usleep((unsigned)run->nap_ms * 1000);
	}
}

static void report(struct run *run, const char *key, json_t *value)
{
	json_object_set_new(run->report, key, value);
}

static enum wr_code get(struct run *run, const char *url, struct wr_error *err)
{
	WR_AUTO(wr_net_call) *call = NULL;
	struct wr_net_ask ask = {.method = run->post ? "POST" : "GET",
				 .url = url,
				 .user = run->user,
				 .password = run->password,
				 .body = run->post ? wr_str(run->post) : WR_S(""),
				 .rules = &run->rules,
				 .cancel = &run->cancel};
	enum wr_code code = wr_net_open(&call, &ask, err);
	enum wr_code again;
	size_t got = 0;
	char one;

	if (code != WR_OK)
		return code;
	report(run, "status", json_integer(wr_net_status(call)));
	report(run, "url", json_string(wr_net_url(call)));
	report(run, "type", wr_json_str(wr_net_header(call, "content-type")));
	code = drain(run, wr_net_body(call), err);
	/* What failed goes on to fail, and what ended goes on to be at its end. */
	again = wr_source_read(wr_net_body(call), &one, 1, &got, NULL);
	report(run, "sticks", json_boolean(again == code && (code != WR_OK || got == 0)));
	return code;
}

static json_t *oid_json(const struct wr_oid *oid)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	return json_string(hex);
}

static void report_refs(struct run *run, const struct wr_remote *remote)
{
	struct wr_oid oid;
	size_t n;
	const struct wr_remote_ref *refs = wr_remote_refs(remote, &n);
	json_t *list = json_array();

	report(run, "head", wr_json_str(wr_remote_head(remote, &oid)));
	report(run, "head_oid", oid_json(&oid));
	for (size_t i = 0; i < n; i++) {
		json_t *row = json_array();

		json_array_append_new(row, wr_json_str(refs[i].name));
		json_array_append_new(row, oid_json(&refs[i].oid));
		json_array_append_new(row, wr_oid_zero(&refs[i].peeled) ? json_null() : oid_json(&refs[i].peeled));
		json_array_append_new(list, row);
	}
	report(run, "refs", list);
}

static enum wr_code fetch(struct run *run, const char *url, char **ids, size_t n, struct wr_error *err)
{
	WR_AUTO(wr_remote) *remote = NULL;
	struct wr_oid *wants = calloc(n + 1, sizeof *wants);
	struct wr_fetch f = {.wants = wants, .want_count = n, .depth = run->depth};
	struct wr_source *pack = NULL;
	json_t *shallow = json_array();
	enum wr_code code = wr_remote_open(&remote, wr_str(url), &run->rules, &run->cancel, err);

	if (code == WR_OK)
		report_refs(run, remote);
	for (size_t i = 0; i < n; i++)
		if (!wr_oid_parse(&wants[i], wr_str(ids[i])))
			exit(2);
	if (code == WR_OK && n)
		code = wr_remote_fetch(&pack, &f, remote, err);
	if (code == WR_OK && n)
		code = drain(run, pack, err);
	for (size_t i = 0; i < f.shallow.len; i++)
		json_array_append_new(shallow, oid_json(&f.shallow.v[i]));
	report(run, "shallow", shallow);
	wr_oids_fini(&f.shallow);
	free(wants);
	return code;
}

int main(int argc, char **argv)
{
	struct run run = {.rules = {.connect_ms = 5000, .deadline_ms = 60000, .max_bytes = UINT64_MAX, .redirects = 5},
			  .out = -1,
			  .report = json_object()};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	const char *eq;
	enum wr_code code;
	int at = 1;

	signal(SIGPIPE, SIG_IGN);
	run.cancel = (struct wr_cancel){is_due, &run};
	for (; at < argc && (eq = strchr(argv[at], '=')); at++)
		set(&run, wr_str_n(argv[at], (size_t)(eq - argv[at])), eq + 1);
	if (argc - at < 2)
		return 2;
	if (wr_str_eqz(wr_str(argv[at]), "get"))
		code = get(&run, argv[at + 1], &err);
	else
		code = fetch(&run, argv[at + 1], argv + at + 2, (size_t)(argc - at - 2), &err);
	report(&run, "code", json_string(names[code]));
	report(&run, "bytes", json_integer((json_int_t)run.bytes));
	report(&run, "text", json_string(code == WR_OK ? "" : wr_error_text(&err)));
	report(&run, "fields", err.fields ? json_incref(err.fields) : json_object());
	json_dumpf(run.report, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(run.report);
	return 0;
}
