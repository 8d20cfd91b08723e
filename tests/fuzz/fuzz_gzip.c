/* Zipped request bodies: bounded output, and the same verdict whether they come at once or in pieces. */
#include <assert.h>

#include "core/base/gunzip.h"

#define MAX ((size_t)256 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Gives out one to seven bytes at a time. */
struct drip {
	struct wr_source base;
	struct wr_str rest;
	size_t turn;
};

static enum wr_code drip_read(struct wr_source *base, void *buf, size_t cap, size_t *got, struct wr_error *err)
{
	struct drip *d = (struct drip *)base;
	size_t n = d->turn++ % 7 + 1;

	(void)err;
	n = n < cap ? n : cap;
	n = n < d->rest.len ? n : d->rest.len;
	if (n)
		memcpy(buf, d->rest.ptr, n);
	d->rest = wr_str_skip(d->rest, n);
	*got = n;
	return WR_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct wr_gunzip gz;
	WR_AUTO_S(wr_buf) whole = WR_BUF_INIT(MAX);
	struct drip drip = {{drip_read}, wr_str_n(data, size), 0};
	enum wr_code at_once = wr_gunzip_all(&whole, drip.rest, NULL, NULL), in_pieces;
	char buf[999];
	size_t total = 0, got = 1;

	assert(at_once == WR_OK || at_once == WR_E_INVALID_REQUEST || at_once == WR_E_TOO_LARGE);
	in_pieces = wr_gunzip_init(&gz, &drip.base, MAX, NULL);
	while (!in_pieces && got) {
		in_pieces = wr_source_read(&gz.base, buf, sizeof buf, &got, NULL);
		if (in_pieces)
			break;
		assert(total + got <= MAX);
		if (at_once == WR_OK)
			assert(total + got <= whole.len && (got == 0 || memcmp(whole.ptr + total, buf, got) == 0));
		total += got;
	}
	wr_gunzip_fini(&gz);
	assert((at_once == WR_OK) == (in_pieces == WR_OK));
	return 0;
}
