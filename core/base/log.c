#include "core/base/log.h"

#include <stdatomic.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/json.h"

#define TEXT_MAX 2000
#define LINE_USUAL 512

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
	size_t done = 0, end = s.len < TEXT_MAX ? s.len : TEXT_MAX;

	wr_buf_addc(b, '"');
	for (size_t i = 0; i < end; i++) {
		unsigned char c = (unsigned char)s.ptr[i];

		if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\')
			continue;
		if (c >= 0x80 && utf8 && s.len <= TEXT_MAX)
			continue;
		wr_buf_add(b, s.ptr + done, i - done);
		done = i + 1;
		if (c >= 0x80)
			wr_buf_addc(b, '?');
		else if (c == '"' || c == '\\')
			wr_buf_add(b, (char[]){'\\', (char)c}, 2);
		else
			wr_buf_printf(b, "\\u%04x", c);
	}
	wr_buf_add(b, s.ptr + done, end - done);
	wr_buf_addc(b, '"');
}

/* The text of a second is made once. */
static void add_time(struct wr_buf *line)
{
	static _Thread_local char text[WR_TIME_LEN + 1];
	static _Thread_local int64_t second = -1;
	int64_t now = wr_now_ms();

	if (second != now / 1000) {
		second = now / 1000;
		wr_time_text(text, now);
	}
	/* "2026-01-31T12:00:00.000Z" */
	text[WR_TIME_LEN - 4] = (char)('0' + now / 100 % 10);
	text[WR_TIME_LEN - 3] = (char)('0' + now / 10 % 10);
	text[WR_TIME_LEN - 2] = (char)('0' + now % 10);
	wr_buf_add(line, text, WR_TIME_LEN);
}

static void add_field(struct wr_buf *line, const struct wr_log_field *field)
{
	wr_json_key(line, field->key);
	if (field->type == 'i')
		wr_json_int(line, field->i);
	else if (field->type == 'b')
		wr_buf_addz(line, field->i ? "true" : "false");
	else if (!field->s.ptr)
		wr_buf_addz(line, "null");
	else
		add_json_text(line, field->s);
}

void wr_log_write(enum wr_log_level level, const char *trace, enum wr_log_event event,
		  const struct wr_log_field *fields)
{
	static const char *const levels[] = {"debug", "info", "warn", "error"};
	WR_AUTO_S(wr_buf) line = WR_BUF_INIT(64 * 1024);
	size_t done = 0;

	wr_buf_room(&line, LINE_USUAL);
	wr_buf_addz(&line, "{\"time\":\"");
	add_time(&line);
	wr_buf_addz(&line, "\",\"level\":\"");
	wr_buf_addz(&line, levels[level]);
	wr_buf_addz(&line, "\",\"event\":\"");
	wr_buf_addz(&line, event_names[event]);
	wr_buf_addc(&line, '"');
	if (trace)
		add_field(&line, &WR_STR("trace", trace));
	for (; fields->type; fields++)
		add_field(&line, fields);
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
