/*
 * core/base/log.h: one JSON object a line on stderr, event names from one list, typed fields.
 *
 * WR_LOG(WR_INFO, trace, PUSH_ACCEPTED, WR_STR("repo", id), WR_INT("refs", n));
 *
 * Threads: any; a write(2) is of whole lines and, where these are many, no more than a pipe takes at once, so lines of
 *          several processes never mix. Lines are in the order of the calls. Nothing here blocks on more than stderr.
 * Never pass a token, an Authorization header, a URL with credentials or file content.
 */
#ifndef WR_LOG_H
#define WR_LOG_H

#include "core/base/error.h"
#include "core/base/str.h"

enum wr_log_level { WR_DEBUG, WR_INFO, WR_WARN, WR_ERROR };

enum wr_log_event {
#define X(name, text) WR_EV_##name,
#include "core/base/events.def"
#undef X
	WR_EVENT_COUNT
};

struct wr_log_field {
	const char *key;
	char type; /* 's' text, 'i' whole number, 'b' truth; 0 ends the list */
	struct wr_str s;
	int64_t i;
};

#define WR_STR(key, z) ((struct wr_log_field){(key), 's', wr_str(z), 0})
#define WR_STRN(key, str) ((struct wr_log_field){(key), 's', (str), 0})
#define WR_INT(key, n) ((struct wr_log_field){(key), 'i', {NULL, 0}, (int64_t)(n)})
#define WR_BOOL(key, v) ((struct wr_log_field){(key), 'b', {NULL, 0}, (v) ? 1 : 0})

/* trace may be NULL. */
#define WR_LOG(level, trace, event, ...)                                                                               \
	do {                                                                                                           \
		if ((level) >= wr_log_threshold())                                                                     \
			wr_log_write((level), (trace), WR_EV_##event,                                                  \
				     (const struct wr_log_field[]){__VA_ARGS__ __VA_OPT__(, ) {NULL, 0, {NULL, 0}, 0}});   \
	} while (0)

void wr_log_set_threshold(enum wr_log_level level);
enum wr_log_level wr_log_threshold(void);
void wr_log_write(enum wr_log_level level, const char *trace, enum wr_log_event event,
		  const struct wr_log_field *fields);
/* Of what there are thousands in a second: several may be one write, as wr_log_gather() says. */
void wr_log_write_many(enum wr_log_level level, const char *trace, enum wr_log_event event,
		       const struct wr_log_field *fields);

/*
 * From now on lines of wr_log_write_many() that follow another write within delay_ms wait for the others of that time; a
 * kill loses them. Any other line takes them along. It needs a thread, so call it where there may be some; 0: nothing waits.
 */
WR_MUST_CHECK enum wr_code wr_log_gather(unsigned delay_ms, struct wr_error *err);
/* Writes what waits, and ends that. */
void wr_log_gather_end(void);

/* The error's code and detail under the event, level WARN for 5xx else INFO. */
void wr_log_error(const char *trace, enum wr_log_event event, const struct wr_error *err);

#endif
