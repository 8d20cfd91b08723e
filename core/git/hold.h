/*
 * core/git/hold.h: the memory of one push. What is small comes from the heap and has to be there; what is larger comes
 * from the heap as long as there is room, else from files without names; all of the heap's is counted.
 * Ownership: a wr_hold is the caller's; every block is given back with wr_held_free() before it. Zero-initialised with
 *            dir it counts nothing.
 * Threads:   the hold is used by several at once; a block is one thread's.
 * Blocks on: disk.
 * Errors:    WR_E_UNAVAILABLE (no room, or no memory at all), WR_E_STORAGE_FULL, and what dir says.
 */
#ifndef WR_HOLD_H
#define WR_HOLD_H

#include <stdatomic.h>

#include "core/base/error.h"
#include "core/base/room.h"

struct wr_hold {
	const struct wr_room *room;
	/* The folder for files, an open descriptor that stays the callee's; asked for when first needed. */
	enum wr_code (*dir)(int *fd, void *arg, struct wr_error *err);
	void *arg;
	_Atomic uint64_t used;	/* bytes of the heap now */
	_Atomic uint64_t taken; /* of room: the most that used has ever been, and some more */
};

/* A block; zero-initialised is empty. */
struct wr_held {
	void *p;
	size_t size;
	bool mapped;
	struct wr_hold *hold; /* NULL: not counted */
};

/* Up to so much is small. */
#define WR_HOLD_SMALL ((size_t)64 << 10)
/* A table that grows lies in a file from here on, room or not. */
#define WR_HOLD_TABLE ((size_t)1 << 20)

/* Gives all of the room back: what is used is freed, or is about to be. */
void wr_hold_give(struct wr_hold *hold);

/* Counts n bytes that are taken in some other way, for as long as the hold lives. */
WR_MUST_CHECK enum wr_code wr_hold_count(struct wr_hold *hold, uint64_t n, struct wr_error *err);
/* The same of what there is another way for, where there is no room. */
bool wr_hold_spare(struct wr_hold *hold, uint64_t n);

/*
 * Makes the block one of size bytes, on the heap, and keeps what it holds. False when it is larger than small and there
 * is no room: it is what it was then. WR_E_UNAVAILABLE when there is none for a small one either.
 */
WR_MUST_CHECK enum wr_code wr_held_heap(bool *done, struct wr_held *b, struct wr_hold *hold, size_t size,
					struct wr_error *err);
/* The same, in a file where it has more than most_heap bytes, or there is no room for it on the heap. */
WR_MUST_CHECK enum wr_code wr_held_resize(struct wr_held *b, struct wr_hold *hold, size_t size, size_t most_heap,
					  struct wr_error *err);
void wr_held_free(struct wr_held *b);
/* Pages of its file count as this process's memory until they are let go; nothing is lost by that. */
void wr_held_let_go(const struct wr_held *b);

/* A file without a name in the hold's folder, and a map of one that has size bytes. */
WR_MUST_CHECK enum wr_code wr_hold_file(int *out, struct wr_hold *hold, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_hold_map(struct wr_held *b, int fd, size_t size, struct wr_error *err);

#endif
