#include "core/net/call.h"

#include "core/base/base64.h"
#include "core/base/clock.h"
#include "core/net/curl_internal.h"

/* The answer's bytes that wait for their reader; libcurl hands over at most 16 KB at once. */
#define WAITING_MAX ((size_t)256 << 10)
#define HEAD_MAX ((size_t)64 << 10)
#define TICK_MS 100
/* User name and password. */
#define SECRET_MAX ((size_t)16 << 10)

struct wr_net_call {
	struct wr_source body;
	struct wr_net_rules rules;
	const struct wr_cancel *cancel;
	CURLM *multi;
	CURL *easy;
	struct curl_slist *headers;
	struct wr_buf waiting; /* filled only when all of it was read */
	size_t at;	       /* up to here waiting was read */
	struct wr_buf head;    /* of the last answer, "name: value" lines */
	uint64_t received;
	int64_t began_ms;
	/* The minimum rate is measured from window_ms on; not while the reader has no time for us. */
	int64_t window_ms, left_ms;
	uint64_t window_bytes;
	bool patient;
	struct wr_curl_guard guard;
	bool paused, has_head, done;
	CURLcode result;
	enum wr_code failed; /* what the body's reader was told; every later read says the same */
};

/* ---- what libcurl calls ---- */

static size_t on_body(char *data, size_t one, size_t len, void *arg)
{
	struct wr_net_call *c = arg;

	(void)one;
	if (c->waiting.len + len > WAITING_MAX) {
		c->paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	c->has_head = true;
	c->received += len;
	wr_buf_add(&c->waiting, data, len);
	return wr_buf_ok(&c->waiting) ? len : 0;
}

static bool redirects(const struct wr_net_call *c)
{
	long status = 0;

	curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
	return c->rules.redirects && status >= 300 && status < 400 && status != 304;
}

/* Each answer begins with its status line; a head ends with an empty line. */
static size_t on_header(char *data, size_t one, size_t len, void *arg)
{
	struct wr_net_call *c = arg;

	(void)one;
	if (len >= 5 && memcmp(data, "HTTP/", 5) == 0)
		wr_buf_clear(&c->head);
	wr_buf_add(&c->head, data, len);
	if (len <= 2 && !redirects(c)) {
		long status = 0;

		curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
		c->has_head |= status >= 200;
	}
	return wr_buf_ok(&c->head) ? len : 0;
}

/* ---- setting up ---- */

static bool add_header(struct wr_net_call *c, const char *header)
{
	struct curl_slist *more = curl_slist_append(c->headers, header);

	c->headers = more ? more : c->headers;
	return more != NULL;
}

/*
 * A header of our own, for libcurl writes the user name and the password that it is told into the URLs that redirects
 * lead to. As with those, it leaves Authorization out where the scheme, the host or the port is another one.
 */
static bool add_credential(struct wr_net_call *c, const char *user, const char *password)
{
	WR_AUTO_S(wr_buf) plain = WR_BUF_INIT(SECRET_MAX);
	WR_AUTO_S(wr_buf) header = WR_BUF_INIT(2 * SECRET_MAX);
	bool ok;

	wr_buf_printf(&plain, "%s:%s", user, password);
	wr_buf_addz(&header, "Authorization: Basic ");
	wr_base64_add(&header, wr_buf_str(&plain));
	ok = wr_buf_ok(&plain) && wr_buf_ok(&header) && add_header(c, header.ptr);
	if (plain.ptr)
		explicit_bzero(plain.ptr, plain.len);
	if (header.ptr)
		explicit_bzero(header.ptr, header.len);
	return ok;
}

static bool set_request(CURL *e, struct wr_net_call *c, const struct wr_net_ask *ask)
{
	bool ok =
		curl_easy_setopt(e, CURLOPT_URL, ask->url) == CURLE_OK &&
		curl_easy_setopt(e, CURLOPT_USERAGENT, "warren") == CURLE_OK &&
		curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)c->rules.connect_ms) == CURLE_OK &&
		curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
		curl_easy_setopt(e, CURLOPT_WRITEDATA, c) == CURLE_OK &&
		curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
		curl_easy_setopt(e, CURLOPT_HEADERDATA, c) == CURLE_OK;

	if (ok && strcmp(ask->method, "POST") == 0)
		ok = curl_easy_setopt(e, CURLOPT_POST, 1L) == CURLE_OK &&
		     curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)ask->body.len) == CURLE_OK &&
		     curl_easy_setopt(e, CURLOPT_POSTFIELDS, ask->body.len ? ask->body.ptr : "") == CURLE_OK &&
		     /* A request that is sent on stays what it is. */
		     curl_easy_setopt(e, CURLOPT_POSTREDIR, (long)CURL_REDIR_POST_ALL) == CURLE_OK;
	if (ok && ask->user)
		ok = add_credential(c, ask->user, ask->password ? ask->password : "");
	for (const char *const *h = ask->headers; ok && h && *h; h++)
		ok = add_header(c, *h);
	return ok && (!c->headers || curl_easy_setopt(e, CURLOPT_HTTPHEADER, c->headers) == CURLE_OK);
}

/* ---- waiting ---- */

static enum wr_code unsupported(const struct wr_net_call *c, struct wr_error *err)
{
	int status = wr_net_status(c);

	/* Before any answer the scheme is known to be right, so that it is the answer which is none. */
	if (status >= 300 && status < 400)
		return wr_fail(err, WR_E_NET_UNREACHABLE,
			       "The other server redirects to a URL that is neither http nor https");
	return wr_fail(err, WR_E_NET_UNREACHABLE, "The other server does not speak HTTP");
}

static enum wr_code failure(struct wr_net_call *c, struct wr_error *err)
{
	if (c->guard.refused)
		return wr_fail(err, WR_E_NET_REFUSED, "%s", wr_code_text(WR_E_NET_REFUSED));
	if (!wr_buf_ok(&c->head))
		return wr_fail(err, WR_E_NET_UNREACHABLE,
			       "The head of the other server's answer has more than %zu bytes", HEAD_MAX);
	switch (c->result) {
	case CURLE_COULDNT_RESOLVE_HOST:
		return wr_fail(err, WR_E_NET_UNREACHABLE, "The host's name cannot be resolved");
	case CURLE_OPERATION_TIMEDOUT:
		return wr_fail(err, WR_E_NET_UNREACHABLE, "No connection in time");
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CONNECT_ERROR:
		return wr_fail(err, WR_E_NET_UNREACHABLE,
			       "The other server's TLS certificate or protocol is not accepted");
	case CURLE_TOO_MANY_REDIRECTS:
		return wr_fail(err, WR_E_NET_UNREACHABLE, "Too many redirects");
	case CURLE_UNSUPPORTED_PROTOCOL:
		return unsupported(c, err);
	case CURLE_LOGIN_DENIED:
		return wr_fail(err, WR_E_NET_UNREACHABLE, "The other server redirects to a URL with a user name");
	case CURLE_SSL_CACERT_BADFILE:
		return wr_fail(err, WR_E_INTERNAL, "the file of certificates cannot be used: %s", c->rules.ca_file);
	case CURLE_PARTIAL_FILE:
	case CURLE_RECV_ERROR:
	case CURLE_GOT_NOTHING:
		return wr_fail(err, WR_E_NET_UNREACHABLE, "The answer broke off");
	case CURLE_WRITE_ERROR:
		return wr_fail_nomem(err);
	case CURLE_OUT_OF_MEMORY: /* which is what a header of 100 KB is to it */
		return wr_fail(err, WR_E_NET_UNREACHABLE, "A header of the other server's answer is too long");
	default:
		return wr_fail(err, WR_E_NET_UNREACHABLE, "The other server cannot be reached, or does not speak HTTP");
	}
}

static enum wr_code look_at_clock(struct wr_net_call *c, struct wr_error *err)
{
	int64_t now = wr_mono_ms();
	enum wr_code code = wr_cancelled(c->cancel, err);

	if (code != WR_OK)
		return code;
	if (c->rules.deadline_ms && now - c->began_ms > c->rules.deadline_ms)
		return wr_fail(err, WR_E_NET_SLOW, "The other server takes too long");
	if (!c->patient && c->rules.min_rate && now - c->window_ms < c->rules.min_rate_ms)
		return WR_OK;
	if (!c->patient && (c->received - c->window_bytes) * 1000 < c->rules.min_rate * (uint64_t)(now - c->window_ms))
		return wr_fail(err, WR_E_NET_SLOW, "The other server sends too slowly");
	c->window_ms = now;
	c->window_bytes = c->received;
	return WR_OK;
}

/* Goes on until something may have come. */
static enum wr_code step(struct wr_net_call *c, struct wr_error *err)
{
	int running = 0, queued;
	const CURLMsg *m;
	enum wr_code code = look_at_clock(c, err);

	if (code != WR_OK)
		return code;
	if (curl_multi_perform(c->multi, &running) != CURLM_OK)
		return wr_fail(err, WR_E_INTERNAL, "curl_multi_perform");
	while ((m = curl_multi_info_read(c->multi, &queued))) {
		if (m->msg != CURLMSG_DONE)
			continue;
		c->done = true;
		c->result = m->data.result;
	}
	if (c->done && c->result != CURLE_OK)
		return failure(c, err);
	return WR_OK;
}

static void wait_for_more(struct wr_net_call *c)
{
	curl_multi_poll(c->multi, NULL, 0, TICK_MS, NULL);
}

/* Waits for the body's next bytes, or its end. */
static enum wr_code fill(struct wr_net_call *c, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	c->window_ms += wr_mono_ms() - c->left_ms;
	wr_buf_clear(&c->waiting);
	c->at = 0;
	if (c->paused) {
		c->paused = false;
		curl_easy_pause(c->easy, CURLPAUSE_CONT);
	}
	while (c->waiting.len == 0 && !c->done && (code = step(c, err)) == WR_OK)
		if (c->waiting.len == 0 && !c->done)
			wait_for_more(c);
	c->left_ms = wr_mono_ms();
	return code;
}

static enum wr_code read_body(struct wr_source *src, void *buf, size_t cap, size_t *got, struct wr_error *err)
{
	struct wr_net_call *c = (struct wr_net_call *)src;
	size_t n;

	if (c->failed != WR_OK)
		return wr_fail(err, c->failed, "%s", wr_code_text(c->failed));
	if (c->at == c->waiting.len && !c->done)
		c->failed = fill(c, err);
	if (c->failed == WR_OK && c->received > c->rules.max_bytes)
		c->failed = wr_fail(err, WR_E_TOO_LARGE, "The answer has more than %llu bytes",
				    (unsigned long long)c->rules.max_bytes);
	if (c->failed != WR_OK)
		return c->failed;
	n = c->waiting.len - c->at;
	if (n > cap)
		n = cap;
	if (n)
		memcpy(buf, c->waiting.ptr + c->at, n);
	c->at += n;
	*got = n;
	return WR_OK;
}

/* ---- life ---- */

void wr_net_close(struct wr_net_call *call)
{
	if (!call)
		return;
	if (call->multi && call->easy)
		curl_multi_remove_handle(call->multi, call->easy);
	curl_easy_cleanup(call->easy);
	if (call->multi)
		curl_multi_cleanup(call->multi);
	curl_slist_free_all(call->headers);
	wr_buf_fini(&call->waiting);
	wr_buf_fini(&call->head);
	free(call);
}

enum wr_code wr_net_open(struct wr_net_call **out, const struct wr_net_ask *ask, struct wr_error *err)
{
	WR_AUTO(wr_net_call) *c = calloc(1, sizeof *c);
	enum wr_code code = WR_OK;

	wr_curl_init();
	if (!c)
		return wr_fail_nomem(err);
	c->body.read = read_body;
	c->rules = *ask->rules;
	c->cancel = ask->cancel;
	c->waiting = (struct wr_buf)WR_BUF_INIT(2 * WAITING_MAX);
	c->head = (struct wr_buf)WR_BUF_INIT(HEAD_MAX);
	c->patient = ask->patient;
	c->began_ms = c->window_ms = wr_mono_ms();
	c->multi = curl_multi_init();
	c->easy = curl_easy_init();
	c->guard.private_networks = c->rules.private_networks;
	if (!c->multi || !c->easy || !wr_curl_set_safety(c->easy, &c->guard, c->rules.redirects) ||
	    !wr_curl_set_ca(c->easy, c->rules.ca_file) || !set_request(c->easy, c, ask) ||
	    curl_multi_add_handle(c->multi, c->easy) != CURLM_OK)
		return wr_fail(err, WR_E_UNAVAILABLE, "curl: no memory, or an option that it does not know");
	while (!c->has_head && !c->done && (code = step(c, err)) == WR_OK)
		if (!c->has_head && !c->done)
			wait_for_more(c);
	if (code != WR_OK)
		return code;
	c->left_ms = wr_mono_ms();
	*out = WR_STEAL(c);
	return WR_OK;
}

int wr_net_status(const struct wr_net_call *call)
{
	long status = 0;

	curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
	return (int)status;
}

struct wr_str wr_net_header(const struct wr_net_call *call, const char *name)
{
	struct wr_str rest = wr_buf_str(&call->head);
	size_t len = strlen(name);

	while (rest.len > 0) {
		const char *end = memchr(rest.ptr, '\n', rest.len);
		struct wr_str line = wr_str_n(rest.ptr, end ? (size_t)(end - rest.ptr) : rest.len);

		rest = wr_str_skip(rest, end ? line.len + 1 : line.len);
		if (line.len <= len || line.ptr[len] != ':' || !wr_str_caseeq(wr_str_n(line.ptr, len), wr_str(name)))
			continue;
		line = wr_str_skip(line, len + 1);
		while (line.len && (line.ptr[0] == ' ' || line.ptr[0] == '\t'))
			line = wr_str_skip(line, 1);
		while (line.len && (line.ptr[line.len - 1] == '\r' || line.ptr[line.len - 1] == ' '))
			line.len--;
		return line;
	}
	return WR_S("");
}

const char *wr_net_url(const struct wr_net_call *call)
{
	char *url = NULL;

	curl_easy_getinfo(call->easy, CURLINFO_EFFECTIVE_URL, &url);
	return url ? url : "";
}

void wr_net_patient(struct wr_net_call *call, bool patient)
{
	call->patient = patient;
}

struct wr_source *wr_net_body(struct wr_net_call *call)
{
	return &call->body;
}
