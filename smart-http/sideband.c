#include "smart-http/sideband.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/base/clock.h"

#define HEAD 5 /* four digits and the band */
#define SMALL_MAX 1000
/* What comes in pieces of this size is framed where it lies, a few packets at a time, instead of being copied. */
#define LARGE ((size_t)32 * 1024)
#define AT_ONCE 4

static size_t head_len(const struct wr_sideband *sb)
{
	return sb->mode == WR_BAND_NONE ? 0 : HEAD;
}

static enum wr_code below_all(struct wr_sideband *sb, const struct wr_str *v, size_t n, struct wr_error *err)
{
	if (sb->failed != WR_OK)
		return wr_fail(err, sb->failed, "write after the answer failed");
	sb->wrote = true;
	sb->failed = wr_sink_gather(sb->sink, v, n, err);
	sb->last_ms = wr_mono_ms();
	return sb->failed;
}

static enum wr_code below(struct wr_sideband *sb, const void *data, size_t len, struct wr_error *err)
{
	const struct wr_str all = wr_str_n(data, len);

	return below_all(sb, &all, 1, err);
}

/* Sends the data that waits. */
static enum wr_code push(struct wr_sideband *sb, struct wr_error *err)
{
	size_t len = sb->len, head = head_len(sb);

	if (len == head)
		return WR_OK;
	if (head) {
		wr_pkt_header(sb->buf, len - 4);
		sb->buf[4] = 1;
	}
	sb->len = head;
	return below(sb, sb->buf, len, err);
}

/* Packets whose data is not copied, at most AT_ONCE; *p and *len move on. */
static enum wr_code frame(struct wr_sideband *sb, const char **p, size_t *len, struct wr_error *err)
{
	char heads[AT_ONCE][HEAD];
	struct wr_str v[2 * AT_ONCE];
	size_t n = 0;

	for (size_t i = 0; i < AT_ONCE && *len; i++) {
		size_t part = *len < sb->max - head_len(sb) ? *len : sb->max - head_len(sb);

		if (head_len(sb)) {
			wr_pkt_header(heads[i], part + 1);
			heads[i][4] = 1;
			v[n++] = wr_str_n(heads[i], HEAD);
		}
		v[n++] = wr_str_n(*p, part);
		*p += part;
		*len -= part;
	}
	return below_all(sb, v, n, err);
}

static enum wr_code data_write(struct wr_sink *base, const void *data, size_t len, struct wr_error *err)
{
	struct wr_sideband *sb = (struct wr_sideband *)base;
	const char *p = data;
	enum wr_code code;

	if (len >= LARGE && sb->mode != WR_BAND_SMALL && (code = push(sb, err)) != WR_OK)
		return code;
	while (len >= LARGE && sb->mode != WR_BAND_SMALL)
		if ((code = frame(sb, &p, &len, err)) != WR_OK)
			return code;
	while (len) {
		size_t n = sb->max - sb->len;

		if (n > len)
			n = len;
		memcpy(sb->buf + sb->len, p, n);
		sb->len += n;
		p += n;
		len -= n;
		if (sb->len == sb->max && (code = push(sb, err)) != WR_OK)
			return code;
	}
	return WR_OK;
}

static enum wr_code data_flush(struct wr_sink *base, struct wr_error *err)
{
	struct wr_sideband *sb = (struct wr_sideband *)base;
	enum wr_code code = push(sb, err);

	return code != WR_OK ? code : wr_sink_flush(sb->sink, err);
}

enum wr_code wr_sideband_new(struct wr_sideband **out, struct wr_sink *sink, enum wr_band_mode mode,
			     struct wr_error *err)
{
	struct wr_sideband *sb = malloc(sizeof(*sb));

	if (!sb)
		return wr_fail_nomem(err);
	sb->base = (struct wr_sink){.write = data_write, .flush = data_flush};
	sb->sink = sink;
	sb->mode = mode;
	sb->max = mode == WR_BAND_SMALL ? SMALL_MAX : WR_PKT_MAX;
	sb->len = head_len(sb);
	sb->wrote = false;
	sb->failed = WR_OK;
	sb->last_ms = wr_mono_ms();
	*out = sb;
	return WR_OK;
}

void wr_sideband_free(struct wr_sideband *sb)
{
	free(sb);
}

static enum wr_code band(struct wr_sideband *sb, char which, struct wr_str text, struct wr_error *err)
{
	char pkt[SMALL_MAX];

	while (text.len) {
		size_t n = text.len < sizeof(pkt) - HEAD ? text.len : sizeof(pkt) - HEAD;
		enum wr_code code;

		wr_pkt_header(pkt, n + 1);
		pkt[4] = which;
		memcpy(pkt + HEAD, text.ptr, n);
		if ((code = below(sb, pkt, HEAD + n, err)) != WR_OK)
			return code;
		text = wr_str_skip(text, n);
	}
	return WR_OK;
}

enum wr_code wr_sideband_text(struct wr_sideband *sb, struct wr_str text, struct wr_error *err)
{
	return sb->mode == WR_BAND_NONE ? WR_OK : band(sb, 2, text, err);
}

/* Sends on what was written, in calls that have nobody to tell of a failure; the next write tells. */
static void show(struct wr_sideband *sb, struct wr_error *err)
{
	if (sb->failed == WR_OK)
		sb->failed = wr_sink_flush(sb->sink, err);
}

void wr_sideband_meter(struct wr_sideband *sb, const char *stage, uint64_t done, uint64_t total, bool last)
{
	WR_AUTO_S(wr_error) dropped = WR_ERROR_INIT;
	const char *end = last ? ", done.\n" : "\r";
	char line[200];
	int n;

	if (sb->mode == WR_BAND_NONE || sb->failed != WR_OK)
		return;
	if (total) {
		unsigned percent = done >= total ? 100 : (unsigned)((double)done * 100.0 / (double)total);

		n = snprintf(line, sizeof(line), "%s: %3u%% (%" PRIu64 "/%" PRIu64 ")%s", stage, percent, done, total,
			     end);
	} else {
		n = snprintf(line, sizeof(line), "%s: %" PRIu64 "%s", stage, done, end);
	}
	if (n > 0 && (size_t)n < sizeof(line) && band(sb, 2, wr_str_n(line, (size_t)n), &dropped) == WR_OK)
		show(sb, &dropped);
}

void wr_sideband_alive(struct wr_sideband *sb)
{
	WR_AUTO_S(wr_error) dropped = WR_ERROR_INIT;

	if (sb->mode == WR_BAND_NONE || sb->failed != WR_OK || wr_mono_ms() - sb->last_ms < WR_SIDEBAND_ALIVE_MS)
		return;
	if (below(sb, "0005\2", 5, &dropped) == WR_OK)
		show(sb, &dropped);
}

bool wr_sideband_error(struct wr_sideband *sb, const char *sentence)
{
	WR_AUTO_S(wr_error) dropped = WR_ERROR_INIT;

	sb->len = head_len(sb);
	if (sb->mode == WR_BAND_NONE || sb->failed != WR_OK)
		return false;
	return band(sb, 3, wr_str(sentence), &dropped) == WR_OK && band(sb, 3, WR_S("\n"), &dropped) == WR_OK;
}

enum wr_code wr_sideband_end(struct wr_sideband *sb, struct wr_error *err)
{
	enum wr_code code = push(sb, err);

	if (code == WR_OK && sb->mode != WR_BAND_NONE)
		code = below(sb, "0000", 4, err);
	return code;
}
