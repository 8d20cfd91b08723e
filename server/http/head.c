#include "server/http/http_internal.h"

#define MAX_HEADERS 200

struct scan {
	size_t n, bytes;
	size_t lengths, encodings, hosts, credentials, codings;
	bool bad_name, bad_value;
	struct wr_request *req; /* the second pass copies to here, */
	char *at;               /* and its text to here */
};

/* RFC 9110 section 5.6.2. A name with a space before its colon would hide a header that a proxy in front has seen. */
static bool is_token(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      (c && strchr("!#$%&'*+-.^_`|~", c))))
			return false;
	}
	return n > 0;
}

static bool is_value(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (((unsigned char)s[i] < ' ' && s[i] != '\t') || s[i] == 0x7f)
			return false;
	return true;
}

static bool is_secret(struct wr_str name)
{
	return wr_str_caseeq(name, WR_S("Authorization")) || wr_str_caseeq(name, WR_S("Cookie")) ||
	       wr_str_caseeq(name, WR_S("Proxy-Authorization")) ||
	       wr_str_caseeq(name, WR_S("X-Freestyle-Identity-Access-Token"));
}

/*
 * libmicrohttpd (0.9.75) joins a folded line (obs-fold) to the header's name, not its value: the header is gone then,
 * and with it the body's length.
 */
static bool is_folded(struct wr_str name)
{
	static const char *const framing[] = {"Content-Length", "Transfer-Encoding"};

	for (size_t i = 0; i < WR_ARRAY_LEN(framing); i++) {
		struct wr_str known = wr_str(framing[i]);

		if (name.len > known.len && wr_str_caseeq(wr_str_n(name.ptr, known.len), known))
			return true;
	}
	return false;
}

static enum MHD_Result count_header(void *cls, enum MHD_ValueKind kind, const char *key, size_t key_len,
				    const char *value, size_t value_len)
{
	struct scan *scan = cls;
	struct wr_str name = wr_str_n(key, key_len);

	(void)kind;
	scan->n++;
	scan->bytes += key_len + value_len;
	scan->bad_name |= !is_token(key, key_len) || is_folded(name);
	scan->bad_value |= value_len && !is_value(value, value_len);
	scan->lengths += wr_str_caseeq(name, WR_S("Content-Length"));
	scan->encodings += wr_str_caseeq(name, WR_S("Transfer-Encoding"));
	scan->hosts += wr_str_caseeq(name, WR_S("Host"));
	scan->credentials += wr_str_caseeq(name, WR_S("Authorization"));
	scan->codings += wr_str_caseeq(name, WR_S("Content-Encoding"));
	return MHD_YES;
}

static struct wr_str keep(struct scan *scan, const char *s, size_t n)
{
	struct wr_str copy = wr_str_n(scan->at, n);

	if (n)
		memcpy(scan->at, s, n);
	scan->at += n;
	return copy;
}

static enum MHD_Result copy_header(void *cls, enum MHD_ValueKind kind, const char *key, size_t key_len,
				   const char *value, size_t value_len)
{
	struct scan *scan = cls;
	struct wr_header *header = &scan->req->headers[scan->req->n_headers];

	(void)kind;
	while (value_len && (value[value_len - 1] == ' ' || value[value_len - 1] == '\t'))
		value_len--;
	if (is_secret(wr_str_n(key, key_len)))
		return MHD_YES;
	header->name = keep(scan, key, key_len);
	header->value = keep(scan, value, value_len);
	scan->req->n_headers++;
	return MHD_YES;
}

/*
 * The lines are copied, because a worker may read them when the connection, and with it libmicrohttpd's memory, has
 * gone.
 */
static enum wr_code copy_headers(struct wr_request *req, struct scan *scan, struct wr_error *err)
{
	if (scan->n == 0)
		return WR_OK;
	req->headers = malloc(scan->n * sizeof *req->headers + scan->bytes);
	if (!req->headers)
		return wr_fail_nomem(err);
	scan->req = req;
	scan->at = (char *)(req->headers + scan->n);
	MHD_get_connection_values_n(req->connection, MHD_HEADER_KIND, copy_header, scan);
	return WR_OK;
}

/*
 * RFC 9112 section 6: a message whose end is uncertain is how requests are smuggled past a proxy. libmicrohttpd takes
 * the first Content-Length of several, prefers Transfer-Encoding, and reads an unknown encoding to the connection's
 * end.
 */
static enum wr_code check_framing(struct wr_request *req, const struct scan *scan, struct wr_error *err)
{
	struct wr_str length = wr_request_find_header(req, "Content-Length");
	struct wr_str encoding = wr_request_find_header(req, "Transfer-Encoding");

	req->broken_framing = true;
	if (scan->bad_name || scan->bad_value)
		return wr_fail(err, WR_E_INVALID_REQUEST, "A header line is malformed");
	if (scan->lengths + scan->encodings > 1)
		return wr_fail(err, WR_E_INVALID_REQUEST, "The length of the body is given twice");
	if (scan->encodings && (!req->http_1_1 || !wr_str_caseeq(encoding, WR_S("chunked"))))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The only transfer encoding known is chunked");
	if (scan->lengths && !wr_str_u64(length, UINT64_MAX / 4, &req->content_length))
		return wr_fail(err, WR_E_INVALID_REQUEST, "Content-Length is no number");
	req->broken_framing = false;
	req->has_length = scan->lengths > 0;
	req->chunked = scan->encodings > 0;
	return WR_OK;
}

enum wr_code wr_head_read(struct wr_request *req, const char *method, const char *version, struct wr_error *err)
{
	struct scan scan = {.n = 0};
	struct wr_str expect;
	enum wr_code code;

	snprintf(req->method, sizeof req->method, "%s", is_token(method, strlen(method)) ? method : "?");
	req->is_head = strcmp(method, "HEAD") == 0;
	req->http_1_1 = strcmp(version, "HTTP/1.0") != 0;
	MHD_get_connection_values_n(req->connection, MHD_HEADER_KIND, count_header, &scan);
	if (scan.n > MAX_HEADERS) {
		req->broken_framing = true;
		return wr_fail(err, WR_E_INVALID_REQUEST, "More than %d header lines", MAX_HEADERS);
	}
	code = copy_headers(req, &scan, err);
	if (!code)
		code = check_framing(req, &scan, err);
	if (code)
		return code;
	req->coded_twice = scan.codings > 1;
	expect = wr_request_find_header(req, "Expect");
	req->expects_continue = req->http_1_1 && expect.ptr && wr_str_caseeq(expect, WR_S("100-continue"));
	if (strlen(method) >= sizeof req->method)
		return wr_fail(err, WR_E_INVALID_REQUEST, "The method is not known");
	if (scan.hosts > 1 || (req->http_1_1 && scan.hosts == 0))
		return wr_fail(err, WR_E_INVALID_REQUEST, "A request carries one Host header");
	if (scan.credentials > 1)
		return wr_fail(err, WR_E_INVALID_REQUEST, "A request carries one Authorization header");
	return WR_OK;
}
