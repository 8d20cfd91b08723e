#include <arpa/inet.h>
#include <netinet/in.h>

#include "core/net/address.h"
#include "core/net/url.h"
#include "triggers/trigger.h"

#define HOST_MAX 253 /* bytes of a name in DNS */

struct host {
	char text[WR_TRIGGER_HOST_MAX + 1]; /* lower-case, an address in its usual form */
	bool literal;
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} address; /* of a literal */
};

/* Of what wr_net_url_split() gave: "http://host:80/...". */
static struct wr_str host_of(const char *ask)
{
	const char *from = strstr(ask, "://") + 3;
	const char *colon = memchr(from, ':', strcspn(from, "/?#"));

	if (*from == '[')
		return wr_str_n(from, strcspn(from, "]/?#") + 1);
	return wr_str_n(from, colon ? (size_t)(colon - from) : strcspn(from, "/?#"));
}

static bool only_of(struct wr_str s, const char *bytes)
{
	for (size_t i = 0; i < s.len; i++)
		if (!strchr(bytes, s.ptr[i]))
			return false;
	return s.len > 0;
}

/*
 * Resolvers take 1 to 4 numbers, of base 8 and 16 too, for an address of IPv4: 127.1, 0x7f000001. Whoever ends with a
 * number means one.
 */
static bool ends_with_number(const char *name)
{
	const char *dot = strrchr(name, '.');
	struct wr_str last = wr_str(dot ? dot + 1 : name);

	return only_of(last, "0123456789") ||
	       (wr_str_starts(last, WR_S("0x")) &&
		(last.len == 2 || only_of(wr_str_skip(last, 2), "0123456789abcdef")));
}

static bool take_address6(struct host *out)
{
	char inner[INET6_ADDRSTRLEN] = "";
	size_t len = strlen(out->text);

	if (len < 3 || len - 2 >= sizeof inner || out->text[len - 1] != ']')
		return false;
	memcpy(inner, out->text + 1, len - 2);
	out->address.in6.sin6_family = AF_INET6;
	return inet_pton(AF_INET6, inner, &out->address.in6.sin6_addr) == 1 &&
	       inet_ntop(AF_INET6, &out->address.in6.sin6_addr, out->text, sizeof out->text) != NULL;
}

static bool take_address4(struct host *out)
{
	out->address.in.sin_family = AF_INET;
	return inet_aton(out->text, &out->address.in.sin_addr) == 1 &&
	       inet_ntop(AF_INET, &out->address.in.sin_addr, out->text, sizeof out->text) != NULL;
}

static enum wr_code take_host(struct host *out, const char *ask, struct wr_error *err)
{
	struct wr_str host = host_of(ask);

	*out = (struct host){0};
	if (host.len > 1 && host.ptr[host.len - 1] == '.')
		host.len--;
	if (host.len > HOST_MAX)
		return wr_fail(err, WR_E_INVALID_REQUEST, "action.endpoint: the host's name has more than %d bytes",
			       HOST_MAX);
	for (size_t i = 0; i < host.len; i++) {
		char c = host.ptr[i];

		/* Many letters stand for plain ones and dots, where a name is made fit for DNS. */
		if (c & 0x80)
			return wr_fail(err, WR_E_INVALID_REQUEST,
				       "action.endpoint: write the host's name as DNS has it, with xn--");
		out->text[i] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
	}
	if (host.len == 0 || strstr(out->text, "..") || out->text[0] == '.' || out->text[host.len - 1] == '.')
		return wr_fail(err, WR_E_INVALID_REQUEST, "action.endpoint: the host's name has an empty part");
	out->literal = out->text[0] == '[' || ends_with_number(out->text);
	if (out->literal && !(out->text[0] == '[' ? take_address6(out) : take_address4(out)))
		return wr_fail(err, WR_E_INVALID_REQUEST, "action.endpoint: the host is no well-formed address");
	return WR_OK;
}

/* Those that resolvers and the usual /etc/hosts have; what others lead to is seen at each delivery. */
static bool names_this_machine(const char *name)
{
	static const char *const names[] = {"localhost",     "localhost.localdomain", "localhost4",  "localhost6",
					    "ip6-localhost", "ip6-loopback",	      "broadcasthost"};

	for (size_t i = 0; i < WR_ARRAY_LEN(names); i++)
		if (wr_str_eqz(wr_str(names[i]), name))
			return true;
	return wr_str_ends(wr_str(name), WR_S(".localhost"));
}

static enum wr_code split(struct wr_net_url *out, struct wr_str url, struct wr_error *err)
{
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	enum wr_code code;

	if (url.len > WR_TRIGGER_ENDPOINT_MAX)
		return wr_fail(err, WR_E_INVALID_REQUEST, "action.endpoint has more than %d bytes",
			       WR_TRIGGER_ENDPOINT_MAX);
	code = wr_net_url_split(out, url, &why);
	if (code == WR_E_INVALID_REQUEST)
		return wr_fail(err, code, "action.endpoint: %s", wr_error_text(&why));
	if (code != WR_OK && err)
		wr_error_move(err, &why);
	return code;
}

enum wr_code wr_trigger_check_endpoint(struct wr_str url, bool private_networks, struct wr_error *err)
{
	WR_AUTO_S(wr_net_url) parts = {0};
	struct host host;
	enum wr_code code = split(&parts, url, err);

	if (code != WR_OK)
		return code;
	if (parts.user || parts.password)
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "action.endpoint must have no user name and password; every call is signed instead");
	if ((code = take_host(&host, parts.ask, err)) != WR_OK || private_networks)
		return code;
	if (host.literal && !wr_address_public(&host.address.any))
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "action.endpoint must be reachable from the Internet; its address is not public");
	if (!host.literal && names_this_machine(host.text))
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "action.endpoint must be reachable from the Internet; its name means this server");
	return WR_OK;
}

enum wr_code wr_trigger_host(char out[WR_TRIGGER_HOST_MAX + 1], struct wr_str url, struct wr_error *err)
{
	WR_AUTO_S(wr_net_url) parts = {0};
	struct host host;
	enum wr_code code = split(&parts, url, err);

	if (code == WR_OK && (code = take_host(&host, parts.ask, err)) == WR_OK)
		memcpy(out, host.text, sizeof host.text);
	return code;
}
