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

int64_t wr_boot_ms(void)
{
	return read_clock_us(CLOCK_BOOTTIME) / 1000;
}

int64_t wr_thread_cpu_ms(void)
{
	return read_clock_us(CLOCK_THREAD_CPUTIME_ID) / 1000;
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

/* That many digits from the front of *rest. */
static bool take_number(int *out, struct wr_str *rest, size_t digits)
{
	int n = 0;

	if (rest->len < digits)
		return false;
	for (size_t i = 0; i < digits; i++) {
		if (rest->ptr[i] < '0' || rest->ptr[i] > '9')
			return false;
		n = n * 10 + (rest->ptr[i] - '0');
	}
	*rest = wr_str_skip(*rest, digits);
	*out = n;
	return true;
}

/* One of these characters. */
static bool take_one(char *out, struct wr_str *rest, const char *of)
{
	if (rest->len == 0 || rest->ptr[0] == '\0' || !strchr(of, rest->ptr[0]))
		return false;
	*out = rest->ptr[0];
	*rest = wr_str_skip(*rest, 1);
	return true;
}

/* "2026-01-31T09:05:09" */
static bool take_clock(struct tm *out, struct wr_str *rest)
{
	char c;

	return take_number(&out->tm_year, rest, 4) && take_one(&c, rest, "-") && take_number(&out->tm_mon, rest, 2) &&
	       take_one(&c, rest, "-") && take_number(&out->tm_mday, rest, 2) && take_one(&c, rest, "Tt ") &&
	       take_number(&out->tm_hour, rest, 2) && take_one(&c, rest, ":") && take_number(&out->tm_min, rest, 2) &&
	       take_one(&c, rest, ":") && take_number(&out->tm_sec, rest, 2);
}

/* ".5", or nothing; what is less than a millisecond is cut off. */
static bool take_fraction(int *ms, struct wr_str *rest)
{
	int digit, unit = 100;
	char c;

	*ms = 0;
	if (!take_one(&c, rest, "."))
		return true;
	if (!take_number(&digit, rest, 1))
		return false;
	do {
		*ms += digit * unit;
		unit /= 10;
	} while (take_number(&digit, rest, 1));
	return true;
}

/* "Z" or "+01:00" */
static bool take_zone(int *minutes, struct wr_str *rest)
{
	int hour, minute;
	char c;

	*minutes = 0;
	if (take_one(&c, rest, "Zz"))
		return true;
	if (!take_one(&c, rest, "+-"))
		return false;
	*minutes = c == '-' ? -1 : 1;
	if (!take_number(&hour, rest, 2) || !take_one(&c, rest, ":") || !take_number(&minute, rest, 2) || hour > 23 ||
	    minute > 59)
		return false;
	*minutes *= hour * 60 + minute;
	return true;
}

/* A day that its month has; a second more than 59 is one that was put in, and counts as the next one. */
static bool is_date(const struct tm *tm)
{
	static const int days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int year = tm->tm_year;
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return tm->tm_mon >= 1 && tm->tm_mon <= 12 && tm->tm_mday >= 1 && tm->tm_mday <= days[tm->tm_mon - 1] &&
	       (leap || tm->tm_mon != 2 || tm->tm_mday <= 28) && tm->tm_hour <= 23 && tm->tm_min <= 59 &&
	       tm->tm_sec <= 60;
}

bool wr_time_parse(int64_t *ms, int *zone, struct wr_str text)
{
	static const int64_t end = INT64_C(253402300800);
	struct tm tm = {.tm_isdst = 0};
	int fraction, minutes;
	int64_t seconds;

	if (!take_clock(&tm, &text) || !take_fraction(&fraction, &text) || !take_zone(&minutes, &text) || text.len != 0 ||
	    !is_date(&tm))
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	seconds = (int64_t)timegm(&tm) - minutes * INT64_C(60);
	if (seconds < 0 || seconds >= end)
		return false;
	*ms = seconds * 1000 + fraction;
	*zone = minutes;
	return true;
}
