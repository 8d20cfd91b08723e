#include "core/base/leap.h"

#include "core/base/clock.h"

#define LEAP_MS 1000 /* less is how a clock is put right without a leap, or a look that took its time */
#define SURE_MS 50

int64_t wr_leap_offset_ms(void)
{
	for (;;) {
		int64_t before = wr_boot_ms(), now = wr_now_ms(), after = wr_boot_ms();

		/* Else the thread was stopped between the two clocks. */
		if (after - before < SURE_MS)
			return now - after;
	}
}

void wr_leaps_init(struct wr_leaps *leaps, int64_t offset_ms)
{
	*leaps = (struct wr_leaps){.offset_ms = offset_ms};
}

static void add_forward(struct wr_leaps *leaps, int64_t at_ms, int64_t by_ms)
{
	/* The two oldest become one, at the younger one's time: better an age too small than one too large. */
	if (leaps->n == WR_LEAPS_MAX) {
		leaps->forward[1].by_ms += leaps->forward[0].by_ms;
		for (size_t i = 1; i < leaps->n; i++)
			leaps->forward[i - 1] = leaps->forward[i];
		leaps->n--;
	}
	leaps->forward[leaps->n].at_ms = at_ms;
	leaps->forward[leaps->n].by_ms = by_ms;
	leaps->n++;
}

/* A leap back takes as much from those forward, the youngest first: it puts right what they put wrong. */
static void take_back(struct wr_leaps *leaps, int64_t by_ms)
{
	while (leaps->n > 0 && by_ms > 0) {
		int64_t *last = &leaps->forward[leaps->n - 1].by_ms, n = *last < by_ms ? *last : by_ms;

		*last -= n;
		by_ms -= n;
		leaps->n -= *last == 0;
	}
}

int64_t wr_leaps_look(struct wr_leaps *leaps, int64_t now_ms, int64_t offset_ms)
{
	int64_t by_ms = offset_ms - leaps->offset_ms;

	if (by_ms >= -LEAP_MS && by_ms <= LEAP_MS)
		return 0;
	leaps->offset_ms = offset_ms;
	if (by_ms > 0)
		add_forward(leaps, now_ms - by_ms, by_ms);
	else
		take_back(leaps, -by_ms);
	return by_ms;
}

int64_t wr_leaps_before(const struct wr_leaps *leaps, int64_t now_ms, int64_t age_ms)
{
	int64_t ms = now_ms - age_ms;

	for (size_t i = leaps->n; i-- > 0 && leaps->forward[i].at_ms + leaps->forward[i].by_ms > ms;)
		ms -= leaps->forward[i].by_ms;
	return ms;
}
