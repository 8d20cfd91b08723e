#include "core/base/log.h"

#include <limits.h>
#include <stdatomic.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/json.h"
#include "core/base/threads.h"

#define TEXT_MAX 2000
#define LINE_USUAL 512
#define LINE_MAX_BYTES (64 * 1024)
#define GATHERED_BYTES (64 * 1024)

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

static void add_line(struct wr_buf *line, enum wr_log_level level, const char *trace, enum wr_log_event event,
		     const struct wr_log_field *fields)
{
	static const char *const levels[] = {"debug", "info", "warn", "error"};

	wr_buf_room(line, LINE_USUAL);
	wr_buf_addz(line, "{\"time\":\"");
	add_time(line);
	wr_buf_addz(line, "\",\"level\":\"");
	wr_buf_addz(line, levels[level]);
	wr_buf_addz(line, "\",\"event\":\"");
	wr_buf_addz(line, event_names[event]);
	wr_buf_addc(line, '"');
	if (trace)
		add_field(line, &WR_STR("trace", trace));
	for (; fields->type; fields++)
		add_field(line, fields);
	wr_buf_addz(line, "}\n");
}

/* ---- writing ---- */

/* What waits, and the thread that sees to it that it does not for long. */
static struct {
	pthread_mutex_t writing; /* held while something is written, and taken before the other */
	pthread_mutex_t mutex;
	pthread_cond_t work;
	pthread_t thread;
	bool running, ending;
	bool resting; /* the thread waits for the first line */
	int64_t delay_ms, wrote_ms;
	size_t len;
	unsigned half; /* that is filled; the other one may be being written */
	char lines[2][GATHERED_BYTES];
} gathered = {.writing = PTHREAD_MUTEX_INITIALIZER, .mutex = PTHREAD_MUTEX_INITIALIZER};

static void write_whole(const char *p, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = write(STDERR_FILENO, p + done, len - done);

		if (n <= 0)
			return;
		done += (size_t)n;
	}
}

/* Lines of at most PIPE_BUF bytes each. */
static void write_lines(const char *p, size_t len)
{
	while (len > 0) {
		size_t n = len;

		if (n > PIPE_BUF) {
			const char *end = memrchr(p, '\n', PIPE_BUF);

			n = (size_t)(end - p) + 1;
		}
		write_whole(p, n);
		p += n;
		len -= n;
	}
}

/* What waits, and behind it the line; NULL: none. */
static void write_now(const struct wr_buf *line)
{
	const char *waited;
	size_t len;

	pthread_mutex_lock(&gathered.writing);
	pthread_mutex_lock(&gathered.mutex);
	waited = gathered.lines[gathered.half];
	len = gathered.len;
	gathered.half = !gathered.half;
	gathered.len = 0;
	gathered.wrote_ms = wr_mono_ms();
	pthread_mutex_unlock(&gathered.mutex);
	write_lines(waited, len);
	if (line)
		write_whole(line->ptr, line->len);
	pthread_mutex_unlock(&gathered.writing);
}

/* False: the line is to be written at once. */
static bool gather(const struct wr_buf *line)
{
	size_t before;
	bool fits;

	if (line->len > PIPE_BUF)
		return false;
	pthread_mutex_lock(&gathered.mutex);
	before = gathered.len;
	fits = gathered.running && before + line->len <= GATHERED_BYTES &&
	       (before > 0 || wr_mono_ms() - gathered.wrote_ms < gathered.delay_ms);
	if (fits) {
		memcpy(gathered.lines[gathered.half] + before, line->ptr, line->len);
		gathered.len += line->len;
		if (gathered.resting || (before <= GATHERED_BYTES / 2 && gathered.len > GATHERED_BYTES / 2))
			pthread_cond_signal(&gathered.work);
	}
	pthread_mutex_unlock(&gathered.mutex);
	return fits;
}

void wr_log_write(enum wr_log_level level, const char *trace, enum wr_log_event event,
		  const struct wr_log_field *fields)
{
	WR_AUTO_S(wr_buf) line = WR_BUF_INIT(LINE_MAX_BYTES);

	add_line(&line, level, trace, event, fields);
	if (wr_buf_ok(&line))
		write_now(&line);
}

void wr_log_write_many(enum wr_log_level level, const char *trace, enum wr_log_event event,
		       const struct wr_log_field *fields)
{
	WR_AUTO_S(wr_buf) line = WR_BUF_INIT(LINE_MAX_BYTES);

	add_line(&line, level, trace, event, fields);
	if (wr_buf_ok(&line) && !gather(&line))
		write_now(&line);
}

static void see_to_it(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&gathered.mutex);
	while (!gathered.ending) {
		int64_t at = gathered.wrote_ms + gathered.delay_ms;
		struct timespec until = {at / 1000, at % 1000 * 1000000};

		if (gathered.len == 0) {
			gathered.resting = true;
			pthread_cond_wait(&gathered.work, &gathered.mutex);
			gathered.resting = false;
		} else if (gathered.len > GATHERED_BYTES / 2 || wr_mono_ms() >= at) {
			pthread_mutex_unlock(&gathered.mutex);
			write_now(NULL);
			pthread_mutex_lock(&gathered.mutex);
		} else {
			(void)pthread_cond_timedwait(&gathered.work, &gathered.mutex, &until);
		}
	}
	pthread_mutex_unlock(&gathered.mutex);
}

enum wr_code wr_log_gather(unsigned delay_ms, struct wr_error *err)
{
	pthread_condattr_t monotonic;
	enum wr_code code;

	if (delay_ms == 0)
		return WR_OK;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&gathered.work, &monotonic);
	pthread_condattr_destroy(&monotonic);
	gathered.delay_ms = delay_ms;
	gathered.ending = false;
	code = wr_thread_start(&gathered.thread, "wr-log", 0, see_to_it, NULL, err);
	if (code == WR_OK) {
		pthread_mutex_lock(&gathered.mutex);
		gathered.running = true;
		pthread_mutex_unlock(&gathered.mutex);
	} else {
		pthread_cond_destroy(&gathered.work);
	}
	return code;
}

void wr_log_gather_end(void)
{
	bool running;

	pthread_mutex_lock(&gathered.mutex);
	running = gathered.running;
	gathered.running = false;
	gathered.ending = true;
	if (running)
		pthread_cond_signal(&gathered.work);
	pthread_mutex_unlock(&gathered.mutex);
	if (!running)
		return;
	pthread_join(gathered.thread, NULL);
	pthread_cond_destroy(&gathered.work);
	write_now(NULL);
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
