/*
 * smart-http/sideband.h: one answer that carries data, text for people and a last error side by side.
 * Format: gitprotocol-pack ("Packfile Data"): each pkt-line begins with its band: 1 data, 2 text, 3 error.
 * Ownership: heap; wr_sideband_free(). The sink below stays the caller's and outlives it.
 * Threads:   one at a time. Blocks on: the sink below.
 * Errors:    what the sink below says; it is not written to again after it failed.
 * Data is gathered into packets as large as the client takes, so that the sink below sees few writes.
 */
#ifndef WR_SIDEBAND_H
#define WR_SIDEBAND_H

#include "core/git/pktline.h"

/* Common proxies give up after 60 seconds of silence, careful clients sooner. */
#define WR_SIDEBAND_ALIVE_MS 5000

enum wr_band_mode {
	WR_BAND_NONE,  /* data alone, without framing */
	WR_BAND_SMALL, /* "side-band": packets of up to 1000 bytes */
	WR_BAND_LARGE, /* "side-band-64k": packets of up to 65520 bytes */
};

struct wr_sideband {
	struct wr_sink base; /* data: band 1 */
	struct wr_sink *sink;
	enum wr_band_mode mode;
	size_t max, len;     /* of a whole packet; what buf holds, header included */
	bool wrote;	     /* the sink below has got bytes */
	enum wr_code failed; /* what the sink below said */
	int64_t last_ms;     /* when it was last written to */
	char buf[WR_PKT_MAX];
};

WR_MUST_CHECK enum wr_code wr_sideband_new(struct wr_sideband **out, struct wr_sink *sink, enum wr_band_mode mode,
					   struct wr_error *err);
void wr_sideband_free(struct wr_sideband *sb);
WR_DEFINE_AUTO(wr_sideband);

/* Text for people, band 2; without bands it is dropped. */
WR_MUST_CHECK enum wr_code wr_sideband_text(struct wr_sideband *sb, struct wr_str text, struct wr_error *err);

/* A line of progress that overwrites the one before, as git draws it. A failure shows at the next write. */
void wr_sideband_meter(struct wr_sideband *sb, const char *stage, uint64_t done, uint64_t total, bool last);

/* Where nothing was written for some seconds: an empty packet, so that nobody in between gives the answer up. */
void wr_sideband_alive(struct wr_sideband *sb);

/*
 * A sentence on band 3, which ends the answer; data that waits is dropped. False when it could not be told: the client
 * wants no bands, or the sink failed.
 */
bool wr_sideband_error(struct wr_sideband *sb, const char *sentence);

/* The last data, and a flush packet where there are bands. */
WR_MUST_CHECK enum wr_code wr_sideband_end(struct wr_sideband *sb, struct wr_error *err);

#endif
