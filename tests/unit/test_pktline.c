/* core/git/pktline, smart-http/sideband: framing, both ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "smart-http/sideband.h"

/* A source that hands out a few bytes at a time, and may fail at its end. */
struct drip {
	struct wr_source base;
	struct wr_str rest;
	size_t step;
	enum wr_code fails;
};

static enum wr_code drip_read(struct wr_source *base, void *buf, size_t cap, size_t *got, struct wr_error *err)
{
	struct drip *d = (struct drip *)base;
	size_t n = d->rest.len < d->step ? d->rest.len : d->step;

	if (n == 0 && d->fails != WR_OK)
		return wr_fail(err, d->fails, "as told");
	if (n > cap)
		n = cap;
	memcpy(buf, d->rest.ptr, n);
	d->rest = wr_str_skip(d->rest, n);
	*got = n;
	return WR_OK;
}

static struct wr_pkt next(struct wr_str *rest)
{
	struct wr_pkt pkt;

	assert_int_equal(wr_pkt_next(&pkt, rest, NULL), WR_OK);
	return pkt;
}

static void packets_from_memory(void **state)
{
	struct wr_str rest = WR_S("0009done\n0008done00040000000100020006\n\n");
	struct wr_pkt pkt;

	(void)state;
	pkt = next(&rest);
	assert_int_equal(pkt.kind, WR_PKT_LINE);
	assert_true(wr_str_eqz(pkt.data, "done\n"));
	assert_true(wr_str_eqz(wr_pkt_text(&pkt), "done"));
	pkt = next(&rest);
	assert_true(wr_str_eqz(wr_pkt_text(&pkt), "done"));
	pkt = next(&rest);
	assert_int_equal(pkt.kind, WR_PKT_LINE);
	assert_int_equal(pkt.data.len, 0);
	assert_int_equal(next(&rest).kind, WR_PKT_FLUSH);
	assert_int_equal(next(&rest).kind, WR_PKT_DELIM);
	assert_int_equal(next(&rest).kind, WR_PKT_RESPONSE_END);
	pkt = next(&rest);
	assert_true(wr_str_eqz(wr_pkt_text(&pkt), "\n"));
	assert_int_equal(next(&rest).kind, WR_PKT_EOF);
	assert_int_equal(next(&rest).kind, WR_PKT_EOF);
}

static const char *const broken[] = {
	"0", "000", "000x", "0003", "0005", "0009don", "fff1", "ffff", "zzzz", "-001",
	" 009done\n", "+009done\n", "0x09done\n",
};

static void broken_framing(void **state)
{
	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(broken); i++) {
		WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
		WR_AUTO(wr_pkt_reader) *reader = NULL;
		struct wr_str rest = wr_str(broken[i]);
		struct drip drip = {{drip_read}, rest, 1, WR_OK};
		struct wr_pkt pkt;

		assert_int_equal(wr_pkt_next(&pkt, &rest, &err), WR_E_INVALID_REQUEST);
		assert_true(wr_error_text(&err)[0]);
		assert_int_equal(wr_pkt_reader_new(&reader, &drip.base, &err), WR_OK);
		assert_int_equal(wr_pkt_read(&pkt, reader, &err), WR_E_INVALID_REQUEST);
	}
}

static void longest_packet(void **state)
{
	WR_AUTO_S(wr_buf) body = WR_BUF_INIT(WR_PKT_MAX * 3);
	struct wr_str rest;
	char *room;

	(void)state;
	for (int i = 0; i < 2; i++) {
		wr_buf_addz(&body, "fff0");
		room = wr_buf_room(&body, WR_PKT_DATA_MAX);
		assert_non_null(room);
		memset(room, 'a' + i, WR_PKT_DATA_MAX);
		body.len += WR_PKT_DATA_MAX;
	}
	wr_buf_addz(&body, "tail");
	rest = wr_buf_str(&body);
	assert_int_equal(next(&rest).data.len, WR_PKT_DATA_MAX);
	for (size_t step = 1; step < 200000; step = step * 3 + 1) {
		struct drip drip = {{drip_read}, wr_buf_str(&body), step, WR_OK};
		WR_AUTO(wr_pkt_reader) *reader = NULL;
		struct wr_pkt pkt;
		char tail[8];
		size_t got, have = 0;

		assert_int_equal(wr_pkt_reader_new(&reader, &drip.base, NULL), WR_OK);
		for (int i = 0; i < 2; i++) {
			assert_int_equal(wr_pkt_read(&pkt, reader, NULL), WR_OK);
			assert_int_equal(pkt.data.len, WR_PKT_DATA_MAX);
			assert_int_equal(pkt.data.ptr[WR_PKT_DATA_MAX - 1], 'a' + i);
		}
		/* What follows the packets comes from the reader, whether it had read ahead or not. */
		do {
			assert_int_equal(wr_source_read(&reader->base, tail + have, sizeof(tail) - have, &got, NULL),
					 WR_OK);
			have += got;
		} while (got);
		assert_true(wr_str_eqz(wr_str_n(tail, have), "tail"));
		assert_true(reader->ended);
	}
}

static void source_failure_is_kept(void **state)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct drip drip = {{drip_read}, WR_S("0009do"), 2, WR_E_CANCELLED};
	WR_AUTO(wr_pkt_reader) *reader = NULL;
	struct wr_pkt pkt;
	char byte;
	size_t got;

	(void)state;
	assert_int_equal(wr_pkt_reader_new(&reader, &drip.base, &err), WR_OK);
	assert_int_equal(wr_pkt_read(&pkt, reader, &err), WR_E_CANCELLED);
	assert_int_equal(reader->failed, WR_E_CANCELLED);
	assert_int_equal(wr_pkt_read(&pkt, reader, &err), WR_E_CANCELLED);
	for (int i = 0; i < 6; i++)
		assert_int_equal(wr_source_read(&reader->base, &byte, 1, &got, &err), WR_OK);
	assert_int_equal(wr_source_read(&reader->base, &byte, 1, &got, &err), WR_E_CANCELLED);
}

/* Counts writes, and fails from a certain one on. */
struct counting {
	struct wr_sink base;
	struct wr_buf *buf;
	unsigned writes, allowed;
};

static enum wr_code counting_write(struct wr_sink *base, const void *data, size_t len, struct wr_error *err)
{
	struct counting *c = (struct counting *)base;

	assert_true(c->writes <= c->allowed); /* nobody writes after a failure */
	if (c->writes++ >= c->allowed)
		return wr_fail(err, WR_E_CANCELLED, "as told");
	wr_buf_add(c->buf, data, len);
	return WR_OK;
}

static void writer_gathers(void **state)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	WR_AUTO_S(wr_buf) out = WR_BUF_INIT(1 << 20);
	struct counting sink = {{.write = counting_write}, &out, 0, 1000};
	WR_AUTO_S(wr_pkt_writer) w;

	(void)state;
	wr_pkt_writer_init(&w, &sink.base, &err);
	wr_pkt_printf(&w, "%s\n", "done");
	wr_pkt_write(&w, WR_S(""));
	wr_pkt_flush(&w);
	wr_pkt_delim(&w);
	assert_int_equal(sink.writes, 0);
	assert_false(w.sent);
	assert_int_equal(wr_pkt_writer_send(&w), WR_OK);
	assert_true(w.sent);
	assert_int_equal(sink.writes, 1);
	assert_true(wr_str_eqz(wr_buf_str(&out), "0009done\n000400000001"));
	for (int i = 0; i < 10000; i++)
		wr_pkt_printf(&w, "%d\n", i % 10);
	assert_int_equal(wr_pkt_writer_send(&w), WR_OK);
	assert_true(sink.writes < 6);
	assert_int_equal(out.len, 21 + 60000);
}

/* With a band in front of each line; special packets have none. */
static void writer_bands(void **state)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	WR_AUTO_S(wr_buf) out = WR_BUF_INIT(1 << 20);
	struct counting sink = {{.write = counting_write}, &out, 0, 1000};
	WR_AUTO_S(wr_pkt_writer) w;

	(void)state;
	wr_pkt_writer_init(&w, &sink.base, &err);
	wr_pkt_write(&w, WR_S("x"));
	wr_pkt_writer_alive(&w); /* there is no place for it */
	assert_int_equal(sink.writes, 0);
	w.band = 1;
	wr_pkt_printf(&w, "%s\n", "done");
	wr_pkt_write(&w, WR_S(""));
	wr_pkt_delim(&w);
	wr_pkt_writer_alive(&w);
	assert_int_equal(sink.writes, 1); /* and all before it is on its way */
	assert_true(w.sent);
	w.band = 3;
	wr_pkt_write(&w, WR_S("no"));
	wr_pkt_flush(&w);
	assert_int_equal(wr_pkt_writer_send(&w), WR_OK);
	assert_true(wr_str_eqz(wr_buf_str(&out), "0005x000a\1done\n0005\00100010005\0020007\3no0000"));
}

static void writer_failure_sticks(void **state)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	WR_AUTO_S(wr_buf) out = WR_BUF_INIT(1 << 20);
	struct counting sink = {{.write = counting_write}, &out, 0, 0};
	WR_AUTO_S(wr_pkt_writer) w;

	(void)state;
	wr_pkt_writer_init(&w, &sink.base, &err);
	for (int i = 0; i < 30000; i++)
		wr_pkt_printf(&w, "%d\n", i);
	wr_pkt_flush(&w);
	assert_int_equal(wr_pkt_writer_send(&w), WR_E_CANCELLED);
	assert_int_equal(err.code, WR_E_CANCELLED);
	assert_int_equal(sink.writes, 1);
}

static void bands_of(enum wr_band_mode mode, size_t max)
{
	WR_AUTO_S(wr_buf) out = WR_BUF_INIT(1 << 20), data = WR_BUF_INIT(1 << 20);
	struct counting sink = {{.write = counting_write}, &out, 0, 100000};
	WR_AUTO(wr_sideband) *sb = NULL;
	char piece[700];
	struct wr_str rest;
	size_t total = 0;

	assert_int_equal(wr_sideband_new(&sb, &sink.base, mode, NULL), WR_OK);
	for (int i = 0; i < 300; i++) {
		memset(piece, i, sizeof(piece));
		assert_int_equal(wr_sink_write(&sb->base, piece, sizeof(piece), NULL), WR_OK);
	}
	assert_int_equal(wr_sideband_end(sb, NULL), WR_OK);
	for (rest = wr_buf_str(&out);;) {
		struct wr_pkt pkt = next(&rest);

		if (pkt.kind == WR_PKT_FLUSH)
			break;
		assert_int_equal(pkt.kind, WR_PKT_LINE);
		assert_int_equal(pkt.data.ptr[0], 1);
		assert_true(pkt.data.len + 4 <= max);
		wr_buf_adds(&data, wr_str_skip(pkt.data, 1));
		total++;
	}
	assert_int_equal(rest.len, 0);
	assert_int_equal(total, (sizeof(piece) * 300 + max - 6) / (max - 5));
	assert_int_equal(sink.writes, total + 1);
	assert_int_equal(data.len, sizeof(piece) * 300);
	for (size_t i = 0; i < data.len; i++)
		assert_int_equal((uint8_t)data.ptr[i], i / sizeof(piece) % 256);
}

static void bands(void **state)
{
	(void)state;
	bands_of(WR_BAND_LARGE, 65520);
	bands_of(WR_BAND_SMALL, 1000);
}

/* Long pieces between short ones: framed where they lie, in the same order, in whole packets where there is enough. */
static void long_pieces(void **state)
{
	static const enum wr_band_mode modes[] = {WR_BAND_LARGE, WR_BAND_SMALL, WR_BAND_NONE};
	static const size_t sizes[] = {5, 700000, 1, 32768, 32767, 65515, 3, 65516, 200000, 9};
	char *bytes = malloc(700000);

	(void)state;
	assert_non_null(bytes);
	for (size_t m = 0; m < 3; m++) {
		WR_AUTO_S(wr_buf) out = WR_BUF_INIT(4 << 20), data = WR_BUF_INIT(4 << 20), sent = WR_BUF_INIT(4 << 20);
		WR_AUTO(wr_sideband) *sb = NULL;
		struct wr_buf_sink sink;
		struct wr_str rest;

		wr_buf_sink_init(&sink, &out);
		assert_int_equal(wr_sideband_new(&sb, &sink.base, modes[m], NULL), WR_OK);
		for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
			for (size_t k = 0; k < sizes[i]; k++)
				bytes[k] = (char)(k * 7 + (k >> 8) + i);
			assert_int_equal(wr_sink_write(&sb->base, bytes, sizes[i], NULL), WR_OK);
			wr_buf_add(&sent, bytes, sizes[i]);
		}
		assert_int_equal(wr_sideband_end(sb, NULL), WR_OK);
		rest = wr_buf_str(&out);
		if (modes[m] == WR_BAND_NONE)
			wr_buf_adds(&data, rest);
		while (modes[m] != WR_BAND_NONE) {
			struct wr_pkt pkt = next(&rest);

			if (pkt.kind == WR_PKT_FLUSH)
				break;
			assert_int_equal(pkt.data.ptr[0], 1);
			assert_true(pkt.data.len > 1 && pkt.data.len + 4 <= (modes[m] == WR_BAND_LARGE ? 65520 : 1000));
			wr_buf_adds(&data, wr_str_skip(pkt.data, 1));
		}
		assert_true(wr_str_eq(wr_buf_str(&data), wr_buf_str(&sent)));
	}
	free(bytes);
}

static void text_and_error(void **state)
{
	WR_AUTO_S(wr_buf) out = WR_BUF_INIT(1 << 20);
	struct wr_buf_sink sink;
	WR_AUTO(wr_sideband) *sb = NULL;

	(void)state;
	wr_buf_sink_init(&sink, &out);
	assert_int_equal(wr_sideband_new(&sb, &sink.base, WR_BAND_LARGE, NULL), WR_OK);
	wr_sideband_meter(sb, "Counting objects", 1, 3, false);
	wr_sideband_meter(sb, "Counting objects", 3, 3, true);
	wr_sideband_meter(sb, "Enumerating objects", 7, 0, true);
	assert_int_equal(wr_sink_write(&sb->base, "lost", 4, NULL), WR_OK);
	assert_true(wr_sideband_error(sb, "no"));
	assert_true(wr_str_eqz(wr_buf_str(&out), "0022\2Counting objects:  33% (1/3)\r"
						 "0029\2Counting objects: 100% (3/3), done.\n"
						 "0023\2Enumerating objects: 7, done.\n"
						 "0007\3no0006\3\n"));
}

static void no_bands(void **state)
{
	WR_AUTO_S(wr_buf) out = WR_BUF_INIT(1 << 20);
	struct wr_buf_sink sink;
	WR_AUTO(wr_sideband) *sb = NULL;

	(void)state;
	wr_buf_sink_init(&sink, &out);
	assert_int_equal(wr_sideband_new(&sb, &sink.base, WR_BAND_NONE, NULL), WR_OK);
	wr_sideband_meter(sb, "Counting objects", 1, 3, false);
	assert_int_equal(wr_sideband_text(sb, WR_S("text"), NULL), WR_OK);
	assert_int_equal(wr_sink_write(&sb->base, "PACK", 4, NULL), WR_OK);
	assert_int_equal(wr_sideband_end(sb, NULL), WR_OK);
	assert_true(wr_str_eqz(wr_buf_str(&out), "PACK"));
	assert_false(wr_sideband_error(sb, "no"));
	assert_int_equal(out.len, 4);
}

static void band_failure_is_kept(void **state)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	WR_AUTO_S(wr_buf) out = WR_BUF_INIT(1 << 20);
	struct counting sink = {{.write = counting_write}, &out, 0, 0};
	WR_AUTO(wr_sideband) *sb = NULL;

	(void)state;
	assert_int_equal(wr_sideband_new(&sb, &sink.base, WR_BAND_LARGE, &err), WR_OK);
	wr_sideband_meter(sb, "Counting objects", 1, 3, false); /* fails, and has nobody to tell */
	assert_int_equal(wr_sink_write(&sb->base, "data", 4, &err), WR_OK);
	assert_int_equal(wr_sideband_end(sb, &err), WR_E_CANCELLED);
	assert_false(wr_sideband_error(sb, "no"));
	assert_int_equal(sink.writes, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packets_from_memory),
		cmocka_unit_test(broken_framing),
		cmocka_unit_test(longest_packet),
		cmocka_unit_test(source_failure_is_kept),
		cmocka_unit_test(writer_gathers),
		cmocka_unit_test(writer_bands),
		cmocka_unit_test(writer_failure_sticks),
		cmocka_unit_test(bands),
		cmocka_unit_test(long_pieces),
		cmocka_unit_test(text_and_error),
		cmocka_unit_test(no_bands),
		cmocka_unit_test(band_failure_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
