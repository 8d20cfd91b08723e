#include "sync/exchange.h"

#include "core/git/oid.h"

#define REFS_TYPE "application/x-git-upload-pack-advertisement"
#define ANSWER_TYPE "application/x-git-upload-pack-result"
#define REQUEST_TYPE "application/x-git-upload-pack-request"

void wr_exchange_close(struct wr_exchange *x)
{
	if (x->gunzip)
		wr_gunzip_fini(x->gunzip);
	free(x->gunzip);
	wr_net_close(x->call);
	*x = (struct wr_exchange){0};
}

static enum wr_code judge_status(int status, struct wr_error *err)
{
	switch (status) {
	case 200:
		return WR_OK;
	case 401:
	case 403:
		return wr_fail(err, WR_E_SOURCE_UNAUTHORIZED, "%s", wr_code_text(WR_E_SOURCE_UNAUTHORIZED));
	case 404:
	case 410:
		return wr_fail(err, WR_E_SOURCE_NOT_FOUND, "%s", wr_code_text(WR_E_SOURCE_NOT_FOUND));
	case 429:
	case 503:
		return wr_fail(err, WR_E_NET_UNREACHABLE, "The other server is busy (status %d); try again later",
			       status);
	}
	if (status >= 300 && status < 400)
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "The other server redirects (status %d), which is not followed here; give the URL that "
			       "it leads to",
			       status);
	return wr_fail(err, WR_E_SOURCE_NOT_FOUND, "The other server answers with status %d", status);
}

/* A web page, or the file of a server that is only a folder: lines of id, tab, name. */
static enum wr_code no_refs(struct wr_source *body, struct wr_error *err)
{
	char head[WR_OID_HEX + 1];
	struct wr_oid oid;
	size_t have = 0, got = 1;

	while (have < sizeof head && got) {
		enum wr_code code = wr_source_read(body, head + have, sizeof head - have, &got, err);

		if (code != WR_OK)
			return code;
		have += got;
	}
	if (have == sizeof head && head[WR_OID_HEX] == '\t' && wr_oid_parse(&oid, wr_str_n(head, WR_OID_HEX)))
		return wr_fail(
			err, WR_E_INVALID_REQUEST,
			"The other server knows only Git's dumb HTTP protocol; fetch from one with the smart protocol");
	return wr_fail(err, WR_E_SOURCE_NOT_FOUND, "%s", wr_code_text(WR_E_SOURCE_NOT_FOUND));
}

/* A header's value without its parameters. */
static struct wr_str value(const struct wr_net_call *call, const char *name)
{
	struct wr_str v = wr_net_header(call, name);
	const char *end = memchr(v.ptr, ';', v.len);

	if (end)
		v.len = (size_t)(end - v.ptr);
	while (v.len && v.ptr[v.len - 1] == ' ')
		v.len--;
	return v;
}

static enum wr_code unzip(struct wr_exchange *x, uint64_t max, struct wr_error *err)
{
	struct wr_str encoding = value(x->call, "Content-Encoding");
	enum wr_code code;

	if (encoding.len == 0 || wr_str_caseeq(encoding, WR_S("identity")))
		return WR_OK;
	if (!wr_str_caseeq(encoding, WR_S("gzip")) && !wr_str_caseeq(encoding, WR_S("x-gzip")))
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "The other server's answer has an encoding that was not asked for");
	x->gunzip = calloc(1, sizeof *x->gunzip);
	if (!x->gunzip)
		return wr_fail_nomem(err);
	if ((code = wr_gunzip_init(x->gunzip, x->body, max, err)) == WR_OK)
		x->body = &x->gunzip->base;
	return code;
}

static enum wr_code call(struct wr_exchange *x, const struct wr_exchange_ask *ask, struct wr_error *err)
{
	/* Lists of refs become a third; packs are compressed already, but proxies have been seen to zip them. */
	const char *headers[8] = {"Accept-Encoding: gzip"};
	size_t n = 1;
	struct wr_net_ask http = {.method = ask->request ? "POST" : "GET",
				  .url = ask->url,
				  .user = ask->user,
				  .password = ask->password,
				  .headers = headers,
				  .body = ask->request ? *ask->request : WR_S(""),
				  .rules = ask->rules,
				  .patient = ask->patient,
				  .cancel = ask->cancel};

	if (ask->version2)
		headers[n++] = "Git-Protocol: version=2";
	headers[n++] = ask->request ? "Accept: " ANSWER_TYPE : "Accept: */*";
	if (ask->request)
		headers[n++] = "Content-Type: " REQUEST_TYPE;
	headers[n] = NULL;
	return wr_net_open(&x->call, &http, err);
}

enum wr_code wr_exchange_open(struct wr_exchange *x, const struct wr_exchange_ask *ask, struct wr_error *err)
{
	enum wr_code code = call(x, ask, err);

	if (code != WR_OK)
		return code;
	x->body = wr_net_body(x->call);
	if ((code = judge_status(wr_net_status(x->call), err)) != WR_OK ||
	    (code = unzip(x, ask->rules->max_bytes, err)) != WR_OK)
		return code;
	if (!ask->request && !wr_str_caseeq(value(x->call, "Content-Type"), WR_S(REFS_TYPE)))
		return no_refs(x->body, err);
	if (ask->request && !wr_str_caseeq(value(x->call, "Content-Type"), WR_S(ANSWER_TYPE)))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The other server's answer is not of Git's type");
	return WR_OK;
}
