#include "sync/fetch.h"

#include "core/base/clock.h"
#include "core/net/url.h"
#include "sync/advert.h"
#include "sync/answer.h"
#include "sync/exchange.h"

#define SERVICE "git-upload-pack"
#define ASK_REFS "/info/refs?service=" SERVICE
#define AGENT "agent=warren\n"
/* The most that the lists of refs may have, before and after unzipping. */
#define REFS_BYTES_MAX ((uint64_t)256 << 20)
/* A line "want" has 50 bytes. */
#define REQUEST_MAX ((size_t)WR_REMOTE_REFS_MAX * 64)

struct wr_remote {
	struct wr_net_rules rules;
	const struct wr_cancel *cancel;
	int64_t began_ms;
	struct wr_net_url url;
	char *service;	  /* the URL of git-upload-pack, after redirects */
	bool same_origin; /* as the one that the credential was given for */
	struct wr_advert advert;
	/* The fetch under way. */
	struct wr_source pack;
	struct wr_buf request;
	struct wr_exchange exchange;
	struct wr_answer answer;
};

/* ---- errors ---- */

static bool has_secret(const struct wr_remote *r)
{
	return (r->url.user && *r->url.user) || (r->url.password && *r->url.password);
}

/*
 * Every failure passes here. The other server's words may repeat what it was sent, in whatever disguise: a credential must not
 * come back in them.
 */
static enum wr_code failed(const struct wr_remote *r, enum wr_code code, struct wr_error *err)
{
	if (code == WR_OK || !err)
		return code;
	if (code == WR_E_SOURCE_NOT_FOUND || code == WR_E_SOURCE_UNAUTHORIZED)
		wr_error_field(err, "url", wr_str(r->url.shown));
	else if (has_secret(r) && strstr(err->text, WR_REMOTE_SAYS))
		return wr_fail(err, code, "The other server refuses, in words that cannot be repeated here: it was sent a "
					  "credential, which they might contain");
	return code;
}

/* ---- requests ---- */

static void line(struct wr_buf *b, const char *text)
{
	char head[4];

	wr_pkt_header(head, strlen(text));
	wr_buf_add(b, head, sizeof head);
	wr_buf_addz(b, text);
}

/* What is left of the time for all requests together. */
static enum wr_code left(struct wr_net_rules *rules, const struct wr_remote *r, struct wr_error *err)
{
	*rules = r->rules;
	if (!rules->deadline_ms)
		return WR_OK;
	rules->deadline_ms -= wr_mono_ms() - r->began_ms;
	return rules->deadline_ms > 0 ? WR_OK : wr_fail(err, WR_E_NET_SLOW, "The other server took too long");
}

static enum wr_code post(struct wr_exchange *x, struct wr_remote *r, const struct wr_net_rules *rules, bool patient,
			 struct wr_error *err)
{
	struct wr_str body = wr_buf_str(&r->request);
	struct wr_exchange_ask ask = {.url = r->service,
				      .user = r->same_origin ? r->url.user : NULL,
				      .password = r->same_origin ? r->url.password : NULL,
				      .request = &body,
				      .version2 = r->advert.version == 2,
				      .patient = patient,
				      .rules = rules,
				      .cancel = r->cancel};

	if (!wr_buf_ok(&r->request))
		return wr_fail_nomem(err);
	return wr_exchange_open(x, &ask, err);
}

/* ---- the refs ---- */

/* The repository is where its refs came from; as git, only where a redirect kept the end of the URL. */
static enum wr_code settle(struct wr_remote *r, const char *came_from, struct wr_error *err)
{
	struct wr_str url = wr_str(came_from);
	struct wr_buf b = WR_BUF_INIT(WR_NET_URL_MAX * 4);

	if (!wr_str_ends(url, WR_S(ASK_REFS)))
		return wr_fail(
			err, WR_E_INVALID_REQUEST,
			"The other server redirects to what is no Git repository's URL; give the one that it means");
	wr_buf_add(&b, url.ptr, url.len - strlen(ASK_REFS));
	wr_buf_addz(&b, "/" SERVICE);
	r->service = wr_buf_take(&b);
	wr_buf_fini(&b);
	r->same_origin = wr_net_same_origin(r->url.ask, came_from);
	return r->service ? WR_OK : wr_fail_nomem(err);
}

static enum wr_code ask_refs_v2(struct wr_remote *r, struct wr_net_rules *rules, struct wr_error *err)
{
	struct wr_exchange x = {0};
	WR_AUTO(wr_pkt_reader) *reader = NULL;
	struct wr_buf *b = &r->request;
	enum wr_code code;

	wr_buf_clear(b);
	line(b, "command=ls-refs\n");
	line(b, AGENT);
	if (r->advert.names_format)
		line(b, "object-format=sha1\n");
	wr_buf_addz(b, "0001");
	line(b, "peel\n");
	line(b, "symrefs\n");
	if (r->advert.unborn)
		line(b, "unborn\n");
	line(b, "ref-prefix HEAD\n");
	line(b, "ref-prefix refs/heads/\n");
	line(b, "ref-prefix refs/tags/\n");
	wr_buf_addz(b, "0000");
	if ((code = left(rules, r, err)) == WR_OK)
		code = post(&x, r, rules, false, err);
	if (code == WR_OK)
		code = wr_pkt_reader_new(&reader, x.body, err);
	if (code == WR_OK)
		code = wr_advert_read_refs(&r->advert, reader, err);
	wr_exchange_close(&x);
	return code;
}

static enum wr_code ask_refs(struct wr_remote *r, struct wr_net_rules *rules, struct wr_error *err)
{
	struct wr_exchange x = {0};
	WR_AUTO(wr_pkt_reader) *reader = NULL;
	WR_AUTO_S(wr_buf) url = WR_BUF_INIT(WR_NET_URL_MAX * 2);
	size_t len = strlen(r->url.ask);
	enum wr_code code;

	wr_buf_add(&url, r->url.ask, r->url.ask[len - 1] == '/' ? len - 1 : len);
	wr_buf_addz(&url, ASK_REFS);
	if (!wr_buf_ok(&url))
		return wr_fail_nomem(err);
	struct wr_exchange_ask ask = {.url = url.ptr,
				      .user = r->url.user,
				      .password = r->url.password,
				      .version2 = true,
				      .rules = rules,
				      .cancel = r->cancel};
	if ((code = wr_exchange_open(&x, &ask, err)) == WR_OK)
		code = settle(r, wr_net_url(x.call), err);
	if (code == WR_OK)
		code = wr_pkt_reader_new(&reader, x.body, err);
	if (code == WR_OK)
		code = wr_advert_read(&r->advert, reader, err);
	wr_exchange_close(&x);
	return code;
}

static enum wr_code learn(struct wr_remote *r, struct wr_error *err)
{
	struct wr_net_rules rules = r->rules;
	enum wr_code code;

	if (rules.max_bytes > REFS_BYTES_MAX)
		rules.max_bytes = REFS_BYTES_MAX;
	code = ask_refs(r, &rules, err);
	/* As git does: the first answer settles where the repository is, later redirects are refused. */
	r->rules.redirects = rules.redirects = 0;
	return code == WR_OK && r->advert.version == 2 ? ask_refs_v2(r, &rules, err) : code;
}

enum wr_code wr_remote_open(struct wr_remote **out, struct wr_str url, const struct wr_net_rules *rules,
			    const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO(wr_remote) *r = calloc(1, sizeof *r);
	enum wr_code code;

	if (!r)
		return wr_fail_nomem(err);
	r->rules = *rules;
	r->cancel = cancel;
	r->began_ms = wr_mono_ms();
	r->request = (struct wr_buf)WR_BUF_INIT(REQUEST_MAX);
	wr_advert_init(&r->advert);
	if ((code = wr_net_url_split(&r->url, url, err)) != WR_OK)
		return code;
	if (strchr(r->url.ask, '?'))
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "The URL of a Git repository has no query; leave out the ? and what follows");
	if ((code = failed(r, learn(r, err), err)) != WR_OK)
		return code;
	*out = WR_STEAL(r);
	return WR_OK;
}

void wr_remote_free(struct wr_remote *remote)
{
	if (!remote)
		return;
	wr_answer_fini(&remote->answer);
	wr_exchange_close(&remote->exchange);
	wr_buf_fini(&remote->request);
	wr_advert_fini(&remote->advert);
	wr_net_url_fini(&remote->url);
	free(remote->service);
	free(remote);
}

const struct wr_remote_ref *wr_remote_refs(const struct wr_remote *remote, size_t *n)
{
	*n = remote->advert.count;
	return remote->advert.refs;
}

struct wr_str wr_remote_head(const struct wr_remote *remote, struct wr_oid *oid)
{
	*oid = remote->advert.head_oid;
	return wr_buf_str(&remote->advert.head);
}

/* ---- a pack ---- */

static void deepen(struct wr_buf *b, uint32_t depth)
{
	char text[32];

	if (!depth)
		return;
	snprintf(text, sizeof text, "deepen %u\n", depth);
	line(b, text);
}

/* Version 0 has what is asked for of the server behind the first want. */
static void want(struct wr_buf *b, const struct wr_oid *oid, const char *capabilities)
{
	char text[160], hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	snprintf(text, sizeof text, "want %s%s\n", hex, capabilities);
	line(b, text);
}

static void request_v2(struct wr_buf *b, const struct wr_fetch *f, const struct wr_advert *advert)
{
	line(b, "command=fetch\n");
	line(b, AGENT);
	if (advert->names_format)
		line(b, "object-format=sha1\n");
	wr_buf_addz(b, "0001");
	line(b, "no-progress\n");
	line(b, "ofs-delta\n");
	for (size_t i = 0; i < f->want_count; i++)
		want(b, &f->wants[i], "");
	deepen(b, f->depth);
	line(b, "done\n");
	wr_buf_addz(b, "0000");
}

static void request_v0(struct wr_buf *b, const struct wr_fetch *f, const struct wr_advert *advert)
{
	char asked[100];

	/* Who has nothing gets one NAK with and without multi_ack_detailed, but some servers insist on it. */
	snprintf(asked, sizeof asked, " side-band-64k%s%s%s agent=warren", advert->ofs_delta ? " ofs-delta" : "",
		 advert->no_progress ? " no-progress" : "", advert->multi_ack ? " multi_ack_detailed" : "");
	for (size_t i = 0; i < f->want_count; i++)
		want(b, &f->wants[i], i ? "" : asked);
	deepen(b, f->depth);
	wr_buf_addz(b, "0000");
	line(b, "done\n");
}

static enum wr_code able(const struct wr_remote *r, const struct wr_fetch *f, struct wr_error *err)
{
	if (f->want_count == 0 || f->want_count > WR_REMOTE_REFS_MAX)
		return wr_fail(err, WR_E_INVALID_REQUEST, "A fetch asks for 1 to %d objects", WR_REMOTE_REFS_MAX);
	if (f->depth && !r->advert.shallow)
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "The other server cannot cut a history; ask for it without depth");
	if (!r->advert.side_band)
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "The other server is too old: it does not know side-band-64k");
	return WR_OK;
}

static enum wr_code read_pack(struct wr_source *src, void *buf, size_t cap, size_t *got, struct wr_error *err)
{
	struct wr_remote *r = (struct wr_remote *)((char *)src - offsetof(struct wr_remote, pack));

	/* A server counts and compresses before the first byte, and has said only that it lives. */
	wr_net_patient(r->exchange.call, !r->answer.began);
	return failed(r, wr_source_read(&r->answer.base, buf, cap, got, err), err);
}

static enum wr_code begin(struct wr_remote *r, struct wr_fetch *f, struct wr_error *err)
{
	struct wr_net_rules rules;
	enum wr_code code = able(r, f, err);

	if (code != WR_OK || (code = left(&rules, r, err)) != WR_OK)
		return code;
	wr_answer_fini(&r->answer);
	wr_exchange_close(&r->exchange);
	wr_buf_clear(&r->request);
	if (r->advert.version == 2)
		request_v2(&r->request, f, &r->advert);
	else
		request_v0(&r->request, f, &r->advert);
	if ((code = post(&r->exchange, r, &rules, true, err)) != WR_OK ||
	    (code = wr_answer_init(&r->answer, r->exchange.body, err)) != WR_OK)
		return code;
	for (size_t i = 0; i < r->advert.roots.len; i++)
		if (!f->depth && (code = wr_oids_add(&f->shallow, &r->advert.roots.v[i], err)) != WR_OK)
			return code;
	return wr_answer_begin(&r->answer, &f->shallow, r->advert.version, f->depth != 0, err);
}

enum wr_code wr_remote_fetch(struct wr_source **pack, struct wr_fetch *fetch, struct wr_remote *remote,
			     struct wr_error *err)
{
	enum wr_code code = failed(remote, begin(remote, fetch, err), err);

	if (code != WR_OK)
		return code;
	remote->pack.read = read_pack;
	*pack = &remote->pack;
	return WR_OK;
}
