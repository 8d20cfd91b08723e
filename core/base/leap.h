/*
 * core/base/leap.h: notices that the time of day was moved, forward or back, by more than a second at once.
 *
 * The time of day is what is stored and shown, and somebody may put it right: by hand, by NTP, where a machine was restored.
 * What it is compared with counts time that the machine slept, for that has passed. It is known only to a process that ran
 * at that moment; for the next one such a leap is time like any other.
 * Ownership: the caller's struct, without anything to be released.
 * Threads:   one at a time for each wr_leaps.
 * Blocks on: nothing. Errors: none.
 */
#ifndef WR_LEAP_H
#define WR_LEAP_H

#include <stddef.h>
#include <stdint.h>

#define WR_LEAPS_MAX 8

struct wr_leaps {
	int64_t offset_ms; /* of the time of day, against the clock that only goes forward */
	struct {
		int64_t at_ms, by_ms; /* forward, from this time of day on */
	} forward[WR_LEAPS_MAX];      /* oldest first */
	size_t n;
};

/* How far the time of day is from the other clock now; wr_leaps_init() and wr_leaps_look() take it. */
int64_t wr_leap_offset_ms(void);

void wr_leaps_init(struct wr_leaps *leaps, int64_t offset_ms);
/* By how much the time of day was moved since the last look, 0: it was not. now_ms: the time of day. */
int64_t wr_leaps_look(struct wr_leaps *leaps, int64_t now_ms, int64_t offset_ms);
/* The time of day so long ago: what it leapt over is not counted. */
int64_t wr_leaps_before(const struct wr_leaps *leaps, int64_t now_ms, int64_t age_ms);

#endif
