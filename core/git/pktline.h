/*
 * core/git/pktline.h: pkt-lines, the framing of everything in the Git protocol (gitprotocol-common).
 *
 *   0009done\n    four hexadecimal digits: the length, themselves included; then the bytes
 *   0000          flush         0001  delimiter (version 2)      0002  end of a response (version 2)
 *
 * 0003 and anything above 65520 are nonsense. One LF at the end of a text line is not part of it.
 * Ownership: lines borrow from the body, or from the reader until its next call.
 * Threads:   one at a time.
 * Blocks on: the reader's source, the writer's sink.
 * Errors:    WR_E_INVALID_REQUEST for bad framing; what the source or the sink says.
 */
#ifndef WR_PKTLINE_H
#define WR_PKTLINE_H

#include "core/base/buf.h"
#include "core/base/stream.h"

#define WR_PKT_MAX 65520
#define WR_PKT_DATA_MAX (WR_PKT_MAX - 4)

enum wr_pkt_kind { WR_PKT_LINE, WR_PKT_FLUSH, WR_PKT_DELIM, WR_PKT_RESPONSE_END, WR_PKT_EOF };

struct wr_pkt {
	enum wr_pkt_kind kind;
	struct wr_str data; /* of a line, as it came */
};

/* The line without one LF at its end. */
struct wr_str wr_pkt_text(const struct wr_pkt *pkt);

/* Four digits with the length of a line of n bytes; n <= WR_PKT_DATA_MAX. */
void wr_pkt_header(char out[4], size_t n);

/* The first packet of *rest, which moves behind it; WR_PKT_EOF when nothing is left. */
WR_MUST_CHECK enum wr_code wr_pkt_next(struct wr_pkt *out, struct wr_str *rest, struct wr_error *err);

/*
 * Packets from a source. It reads ahead, and is itself the source of all that follows the last packet read.
 */
struct wr_pkt_reader {
	struct wr_source base;
	struct wr_source *src;
	size_t pos, len;     /* what buf holds and was not used yet */
	bool ended;	     /* src is at its end */
	enum wr_code failed; /* what src said, after which it is not asked again */
	char buf[1 << 16];
};
WR_MUST_CHECK enum wr_code wr_pkt_reader_new(struct wr_pkt_reader **out, struct wr_source *src, struct wr_error *err);
void wr_pkt_reader_free(struct wr_pkt_reader *reader);
WR_DEFINE_AUTO(wr_pkt_reader);

WR_MUST_CHECK enum wr_code wr_pkt_read(struct wr_pkt *out, struct wr_pkt_reader *reader, struct wr_error *err);

/*
 * Packets into a sink, gathered into large writes. The first failure sticks and fills the error given to init; later
 * adds do nothing, so a chain of adds needs one look at wr_pkt_writer_send(). What was not sent is dropped by fini.
 */
struct wr_pkt_writer {
	struct wr_sink *sink;
	struct wr_error *err;
	enum wr_code code;
	bool sent; /* the sink has got bytes */
	char band; /* 0, or what stands in front of each line: 1 data, 3 the last error (sideband.h) */
	struct wr_buf buf;
};
void wr_pkt_writer_init(struct wr_pkt_writer *w, struct wr_sink *sink, struct wr_error *err);
void wr_pkt_writer_fini(struct wr_pkt_writer *w);
WR_DEFINE_AUTO_S(wr_pkt_writer);

/* One line; whoever wants a LF at its end writes it. */
void wr_pkt_write(struct wr_pkt_writer *w, struct wr_str data);
void wr_pkt_printf(struct wr_pkt_writer *w, const char *fmt, ...) WR_PRINTF(2, 3);
void wr_pkt_flush(struct wr_pkt_writer *w);
void wr_pkt_delim(struct wr_pkt_writer *w);

/* Hands what was gathered to the sink. */
WR_MUST_CHECK enum wr_code wr_pkt_writer_send(struct wr_pkt_writer *w);

/* Where lines have bands: an empty packet and all before it, at once, so that nobody in between gives the answer up. */
void wr_pkt_writer_alive(struct wr_pkt_writer *w);

#endif
