#include "core/base/clock.h"

#include <stdio.h>
#include <time.h>

static int64_t read_clock_us(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t wr_now_ms(void)
{
	return read_clock_us(CLOCK_REALTIME) / 1000;
}

int64_t wr_mono_ms(void)
{
	return read_clock_us(CLOCK_MONOTONIC) / 1000;
}

int64_t wr_mono_us(void)
{
	return read_clock_us(CLOCK_MONOTONIC);
}

void wr_time_text(char out[WR_TIME_LEN + 1], int64_t ms)
{
	time_t s = (time_t)(ms / 1000);
	struct tm tm;
	char text[80];

	if (ms < 0 || !gmtime_r(&s, &tm) || tm.tm_year > 8099) {
		s = 0;
		ms = 0;
		gmtime_r(&s, &tm);
	}
	snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
		 tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(ms % 1000));
	snprintf(out, WR_TIME_LEN + 1, "%.*s", WR_TIME_LEN, text);
}
