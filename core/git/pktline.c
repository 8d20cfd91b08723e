#include "core/git/pktline.h"

#include <assert.h>
#include <stdarg.h>

#include "core/base/id.h"

/* Enough to make writes rare, little enough to have one for every request. */
#define GATHER 32768

/* The kind that four digits announce, and of a line how many bytes follow them. */
static enum wr_code header_parse(enum wr_pkt_kind *kind, size_t *len, const char *head, struct wr_error *err)
{
	size_t n = 0;

	for (int i = 0; i < 4; i++) {
		int d = wr_hex_digit(head[i]);

		if (d < 0)
			return wr_fail(err, WR_E_INVALID_REQUEST, "A packet does not begin with its length");
		n = n << 4 | (size_t)d;
	}
	if (n == 3 || n > WR_PKT_MAX)
		return wr_fail(err, WR_E_INVALID_REQUEST, "A packet cannot have the length %zu", n);
	*len = n >= 4 ? n - 4 : 0;
	*kind = n == 0 ? WR_PKT_FLUSH : n == 1 ? WR_PKT_DELIM : n == 2 ? WR_PKT_RESPONSE_END : WR_PKT_LINE;
	return WR_OK;
}

static enum wr_code cut_short(struct wr_error *err)
{
	return wr_fail(err, WR_E_INVALID_REQUEST, "It ends in the middle of a packet");
}

struct wr_str wr_pkt_text(const struct wr_pkt *pkt)
{
	struct wr_str s = pkt->data;

	if (s.len && s.ptr[s.len - 1] == '\n')
		s.len--;
	return s;
}

void wr_pkt_header(char out[4], size_t n)
{
	static const char digits[] = "0123456789abcdef";

	assert(n <= WR_PKT_DATA_MAX);
	n += 4;
	out[0] = digits[n >> 12 & 15];
	out[1] = digits[n >> 8 & 15];
	out[2] = digits[n >> 4 & 15];
	out[3] = digits[n & 15];
}

enum wr_code wr_pkt_next(struct wr_pkt *out, struct wr_str *rest, struct wr_error *err)
{
	enum wr_pkt_kind kind;
	enum wr_code code;
	size_t len;

	if (rest->len == 0) {
		*out = (struct wr_pkt){WR_PKT_EOF, WR_S("")};
		return WR_OK;
	}
	if (rest->len < 4)
		return cut_short(err);
	if ((code = header_parse(&kind, &len, rest->ptr, err)) != WR_OK)
		return code;
	if (rest->len - 4 < len)
		return cut_short(err);
	*out = (struct wr_pkt){kind, wr_str_n(rest->ptr + 4, len)};
	*rest = wr_str_skip(*rest, 4 + len);
	return WR_OK;
}

static enum wr_code ask(struct wr_pkt_reader *r, void *buf, size_t cap, size_t *got, struct wr_error *err)
{
	if (r->failed != WR_OK)
		return wr_fail(err, r->failed, "read after the body failed");
	*got = 0;
	if (r->ended)
		return WR_OK;
	r->failed = wr_source_read(r->src, buf, cap, got, err);
	if (r->failed == WR_OK && *got == 0)
		r->ended = true;
	return r->failed;
}

/* What follows the packets: first what was read ahead, then the source itself. */
static enum wr_code rest_read(struct wr_source *base, void *buf, size_t cap, size_t *got, struct wr_error *err)
{
	struct wr_pkt_reader *r = (struct wr_pkt_reader *)base;
	size_t n = r->len - r->pos;

	if (n == 0)
		return ask(r, buf, cap, got, err);
	if (n > cap)
		n = cap;
	memcpy(buf, r->buf + r->pos, n);
	r->pos += n;
	*got = n;
	return WR_OK;
}

enum wr_code wr_pkt_reader_new(struct wr_pkt_reader **out, struct wr_source *src, struct wr_error *err)
{
	struct wr_pkt_reader *r = malloc(sizeof(*r));

	if (!r)
		return wr_fail_nomem(err);
	r->base.read = rest_read;
	r->src = src;
	r->pos = r->len = 0;
	r->ended = false;
	r->failed = WR_OK;
	*out = r;
	return WR_OK;
}

void wr_pkt_reader_free(struct wr_pkt_reader *reader)
{
	free(reader);
}

/* Reads until n bytes lie at buf + pos; *have says how many do in the end (fewer than n at the end of the source). */
static enum wr_code fill(size_t *have, struct wr_pkt_reader *r, size_t n, struct wr_error *err)
{
	if (r->len - r->pos < n && r->pos) {
		memmove(r->buf, r->buf + r->pos, r->len - r->pos);
		r->len -= r->pos;
		r->pos = 0;
	}
	while (r->len - r->pos < n && !r->ended) {
		size_t got;
		enum wr_code code = ask(r, r->buf + r->len, sizeof(r->buf) - r->len, &got, err);

		if (code != WR_OK)
			return code;
		r->len += got;
	}
	*have = r->len - r->pos;
	return WR_OK;
}

enum wr_code wr_pkt_read(struct wr_pkt *out, struct wr_pkt_reader *r, struct wr_error *err)
{
	enum wr_pkt_kind kind;
	enum wr_code code;
	size_t have, len;

	if ((code = fill(&have, r, 4, err)) != WR_OK)
		return code;
	if (have == 0) {
		*out = (struct wr_pkt){WR_PKT_EOF, WR_S("")};
		return WR_OK;
	}
	if (have < 4)
		return cut_short(err);
	if ((code = header_parse(&kind, &len, r->buf + r->pos, err)) != WR_OK ||
	    (code = fill(&have, r, 4 + len, err)) != WR_OK)
		return code;
	if (have < 4 + len)
		return cut_short(err);
	*out = (struct wr_pkt){kind, wr_str_n(r->buf + r->pos + 4, len)};
	r->pos += 4 + len;
	return WR_OK;
}

void wr_pkt_writer_init(struct wr_pkt_writer *w, struct wr_sink *sink, struct wr_error *err)
{
	*w = (struct wr_pkt_writer){.sink = sink, .err = err, .buf = WR_BUF_INIT(GATHER + WR_PKT_MAX)};
}

void wr_pkt_writer_fini(struct wr_pkt_writer *w)
{
	wr_buf_fini(&w->buf);
}

enum wr_code wr_pkt_writer_send(struct wr_pkt_writer *w)
{
	if (w->code == WR_OK && !wr_buf_ok(&w->buf))
		w->code = wr_fail_nomem(w->err);
	if (w->code == WR_OK && w->buf.len) {
		w->sent = true;
		w->code = wr_sink_write(w->sink, w->buf.ptr, w->buf.len, w->err);
		wr_buf_clear(&w->buf);
	}
	return w->code;
}

static void add(struct wr_pkt_writer *w, const void *data, size_t len)
{
	if (w->code != WR_OK)
		return;
	wr_buf_add(&w->buf, data, len);
	if (w->buf.len >= GATHER)
		w->code = wr_pkt_writer_send(w);
}

void wr_pkt_write(struct wr_pkt_writer *w, struct wr_str data)
{
	char head[5];
	size_t band = w->band ? 1 : 0;

	wr_pkt_header(head, data.len + band);
	head[4] = w->band;
	if (w->code == WR_OK)
		wr_buf_add(&w->buf, head, 4 + band);
	add(w, data.ptr, data.len);
}

void wr_pkt_printf(struct wr_pkt_writer *w, const char *fmt, ...)
{
	va_list ap;
	char *text = NULL;
	int n;

	if (w->code != WR_OK)
		return;
	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0) {
		w->code = wr_fail_nomem(w->err);
		return;
	}
	if ((size_t)n > WR_PKT_DATA_MAX - 1)
		w->code = wr_fail(w->err, WR_E_INTERNAL, "pkt-line of %d bytes", n);
	else
		wr_pkt_write(w, wr_str_n(text, (size_t)n));
	free(text);
}

void wr_pkt_flush(struct wr_pkt_writer *w)
{
	add(w, "0000", 4);
}

void wr_pkt_delim(struct wr_pkt_writer *w)
{
	add(w, "0001", 4);
}

void wr_pkt_writer_alive(struct wr_pkt_writer *w)
{
	if (!w->band)
		return;
	add(w, "0005\2", 5);
	if (wr_pkt_writer_send(w) == WR_OK)
		w->code = wr_sink_flush(w->sink, w->err);
}
