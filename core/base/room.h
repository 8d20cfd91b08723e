/*
 * core/base/room.h: who is asked before memory is taken that a client makes the server take.
 * What was not given back when that which it was for is over, is given back then by whoever counts.
 * Threads: both may be called on any thread, with no lock held, and do not block.
 */
#ifndef WR_ROOM_H
#define WR_ROOM_H

#include <stdbool.h>
#include <stdint.h>

struct wr_room {
	/* Whether there are n more bytes; then they are taken. spare: they only make it faster. */
	bool (*take)(void *arg, uint64_t n, bool spare);
	void (*give)(void *arg, uint64_t n);
	void *arg;
};

/* room: NULL where nobody counts. */
static inline bool wr_room_take(const struct wr_room *room, uint64_t n, bool spare)
{
	return !room || room->take(room->arg, n, spare);
}

static inline void wr_room_give(const struct wr_room *room, uint64_t n)
{
	if (room && n)
		room->give(room->arg, n);
}

#endif
