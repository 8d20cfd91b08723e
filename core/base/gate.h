/*
 * core/base/gate.h: a counting semaphore: who computes, holds a place. Accounts take turns; within one it is first come,
 * first served.
 * Ownership: wr_gate_new()/wr_gate_free(); nobody may be inside or waiting when it is freed.
 * Threads:   any. A place is the thread's that entered: it leaves, and is in one gate at a time.
 * Blocks on: enter waits for those who compute, and for at most one turn of each other account; they leave while they
 *            wait for their clients, and now and then in the middle of long work, so it moves on.
 * Errors:    WR_E_UNAVAILABLE without memory.
 */
#ifndef WR_GATE_H
#define WR_GATE_H

#include "core/base/error.h"
#include "core/base/str.h"

struct wr_gate;

/* places: 0 means as many as there are processors online. */
WR_MUST_CHECK enum wr_code wr_gate_new(struct wr_gate **out, unsigned places, struct wr_error *err);
void wr_gate_free(struct wr_gate *gate);
WR_DEFINE_AUTO(wr_gate);

/* account stays the caller's until it has left. */
void wr_gate_enter(struct wr_gate *gate, struct wr_str account);
void wr_gate_leave(struct wr_gate *gate);
/* How many threads wait to enter. */
size_t wr_gate_waiting(struct wr_gate *gate);

/*
 * For whoever waits, or works long, on a thread that may be in a gate; nothing happens on one that is not.
 * Around a wait that is no computing (a client, the disk, another thread): others may have the place meanwhile. Pairs may
 * stand within pairs. Who holds what others wait for without resting lets go of it before going on: they have the places.
 */
void wr_gate_rest(void);
/* Left out by whoever has next to nothing left to do before it leaves: to wait for a place would take longer. */
void wr_gate_go_on(void);
/* In long work, often, and with no lock held: who has had the place for a while lets those compute who wait for it. */
void wr_gate_give_way(void);

#endif
