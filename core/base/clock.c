#include "core/base/clock.h"

#include <string.h>
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

static void put_digits(char *out, int n, int value)
{
	while (n-- > 0) {
		out[n] = (char)('0' + value % 10);
		value /= 10;
	}
}

void wr_time_text(char out[WR_TIME_LEN + 1], int64_t ms)
{
	time_t s = (time_t)(ms / 1000);
	struct tm tm;

	if (ms < 0 || !gmtime_r(&s, &tm) || tm.tm_year > 8099) {
		s = 0;
		ms = 0;
		gmtime_r(&s, &tm);
	}
	memcpy(out, "0000-00-00T00:00:00.000Z", WR_TIME_LEN + 1);
	put_digits(out, 4, tm.tm_year + 1900);
	put_digits(out + 5, 2, tm.tm_mon + 1);
	put_digits(out + 8, 2, tm.tm_mday);
	put_digits(out + 11, 2, tm.tm_hour);
	put_digits(out + 14, 2, tm.tm_min);
	put_digits(out + 17, 2, tm.tm_sec);
	put_digits(out + 20, 3, (int)(ms % 1000));
}
