/*
 * Packets of any bytes: from memory and from a source that hands them out in odd pieces, which have to agree in every
 * packet and in what is left behind them. The first byte says how the source behaves.
 */
#include <assert.h>

#include "core/git/pktline.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct drip {
	struct wr_source base;
	struct wr_str rest;
	size_t step;
};

static enum wr_code drip_read(struct wr_source *base, void *buf, size_t cap, size_t *got, struct wr_error *err)
{
	struct drip *d = (struct drip *)base;
	size_t n = d->rest.len < d->step ? d->rest.len : d->step;

	(void)err;
	if (n > cap)
		n = cap;
	if (n)
		memcpy(buf, d->rest.ptr, n);
	d->rest = wr_str_skip(d->rest, n);
	*got = n;
	return WR_OK;
}

static void tail_compare(struct wr_pkt_reader *reader, struct wr_str rest)
{
	char buf[257];
	size_t got;

	do {
		assert(wr_source_read(&reader->base, buf, sizeof(buf), &got, NULL) == WR_OK);
		assert(got <= rest.len && (got == 0 || memcmp(buf, rest.ptr, got) == 0));
		rest = wr_str_skip(rest, got);
	} while (got);
	assert(rest.len == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WR_AUTO(wr_pkt_reader) *reader = NULL;
	struct drip drip = {{drip_read}, WR_S(""), 1};
	struct wr_str rest;
	unsigned packets = 0;

	if (size == 0)
		return 0;
	rest = wr_str_n(data + 1, size - 1);
	drip.rest = rest;
	drip.step = (size_t)(data[0] & 127) * (data[0] & 127) + 1;
	assert(wr_pkt_reader_new(&reader, &drip.base, NULL) == WR_OK);
	for (;;) {
		struct wr_pkt a, b;
		enum wr_code ca = wr_pkt_next(&a, &rest, NULL), cb = wr_pkt_read(&b, reader, NULL);

		assert(ca == cb);
		if (ca != WR_OK)
			return 0;
		assert(a.kind == b.kind && wr_str_eq(a.data, b.data));
		assert(wr_pkt_text(&a).len <= a.data.len);
		if (a.kind == WR_PKT_EOF || (a.kind == WR_PKT_FLUSH && (data[0] & 128) && ++packets == 2))
			break;
	}
	tail_compare(reader, rest);
	return 0;
}
