/*
 * core/base/clock.h: the clocks, and RFC 3339.
 * Threads: any.
 */
#ifndef WR_CLOCK_H
#define WR_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/str.h"

/* Milliseconds since 1970 in UTC: what is stored and shown. */
int64_t wr_now_ms(void);

/* Milliseconds of a clock that only goes forward: deadlines and durations. */
int64_t wr_mono_ms(void);
int64_t wr_mono_us(void);
/* Milliseconds of one that only goes forward, too, and counts what the machine slept: what the first is compared with. */
int64_t wr_boot_ms(void);

/* Milliseconds that this thread has computed for. */
int64_t wr_thread_cpu_ms(void);

#define WR_TIME_LEN 24
/* "2026-01-31T08:05:09.123Z" and a NUL. */
void wr_time_text(char out[WR_TIME_LEN + 1], int64_t ms);
/*
 * The other way: a date and time of the years 1970 to 9999 in UTC, as RFC 3339 has it ("2026-01-31T09:05:09.5+01:00").
 * zone: how many minutes east of UTC it was written. False for anything else; outputs are written only where it is true.
 */
bool wr_time_parse(int64_t *ms, int *zone, struct wr_str text);

#endif
