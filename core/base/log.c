#include "core/base/log.h"

#include <stdatomic.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/error.h"

static _Atomic int threshold = WR_INFO;

static const char *const event_names[] = {
#define X(name, text) [WR_EV_##name] = text,
#include "core/base/events.def"
#undef X
};

void wr_log_set_threshold(enum wr_log_level level)
{
	atomic_store_explicit(&threshold, (int)level, memory_order_relaxed);
}

enum wr_log_level wr_log_threshold(void)
{
	return (enum wr_log_level)atomic_load_explicit(&threshold, memory_order_relaxed);
}

/* A JSON string: control characters escaped; bytes that are not UTF-8 become '?', so that a line is always valid. */
static void add_json_text(struct wr_buf *b, struct wr_str s)
{
	bool utf8 = wr_str_utf8(s);

	wr_buf_addc(b, '"');
	for (size_t i = 0; i < s.len && i < 2000; i++) {
		unsigned char c = (unsigned char)s.ptr[i];

		if (c == '"' || c == '\\') {
			wr_buf_addc(b, '\\');
			wr_buf_addc(b, (char)c);
		} else if (c < 0x20 || c == 0x7f) {
			wr_buf_printf(b, "\\u%04x", c);
		} else if (c >= 0x80 && (!utf8 || s.len > 2000)) {
			wr_buf_addc(b, '?');
		} else {
			wr_buf_addc(b, (char)c);
		}
	}
	wr_buf_addc(b, '"');
}

void wr_log_write(enum wr_log_level level, const char *trace, enum wr_log_event event,
		  const struct wr_log_field *fields)
{
	static const char *const levels[] = {"debug", "info", "warn", "error"};
	WR_AUTO_S(wr_buf) line = WR_BUF_INIT(64 * 1024);
	char now[WR_TIME_LEN + 1];
	size_t done = 0;

	wr_time_text(now, wr_now_ms());
	wr_buf_printf(&line, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\"", now, levels[level],
		      event_names[event]);
	if (trace) {
		wr_buf_addz(&line, ",\"trace\":");
		add_json_text(&line, wr_str(trace));
	}
	for (; fields->type; fields++) {
		wr_buf_printf(&line, ",\"%s\":", fields->key);
		if (fields->type == 'i')
			wr_buf_printf(&line, "%lld", (long long)fields->i);
		else if (fields->type == 'b')
			wr_buf_addz(&line, fields->i ? "true" : "false");
		else if (!fields->s.ptr)
			wr_buf_addz(&line, "null");
		else
			add_json_text(&line, fields->s);
	}
	wr_buf_addz(&line, "}\n");
	if (!wr_buf_ok(&line))
		return;
	while (done < line.len) {
		ssize_t n = write(STDERR_FILENO, line.ptr + done, line.len - done);

		if (n <= 0)
			return;
		done += (size_t)n;
	}
}

void wr_log_error(const char *trace, enum wr_log_event event, const struct wr_error *err)
{
	enum wr_log_level level = wr_code_status(err->code) >= 500 ? WR_WARN : WR_INFO;

	if (level >= wr_log_threshold())
		wr_log_write(level, trace, event,
			     (const struct wr_log_field[]){WR_STR("code", wr_code_wire(err->code)),
							   WR_STR("text", wr_error_text(err)),
							   WR_STR("detail", err->detail),
							   {NULL, 0, {NULL, 0}, 0}});
}
