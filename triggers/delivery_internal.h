/*
 * triggers/delivery_internal.h: what the files of triggers/delivery.h share: delivery.c (rows, and whose turn it is),
 * delivery_in.c, delivery_turn.c, delivery_care.c, delivery_bound.c, delivery_rewind.c, delivery_history.c,
 * delivery_body.c.
 * Ownership, threads, errors: as delivery.h says; those with a transaction inside a closure.
 */
#ifndef WR_DELIVERY_INTERNAL_H
#define WR_DELIVERY_INTERNAL_H

#include "core/store/db.h"
#include "triggers/delivery.h"

#define WR_DELIVERY_PIECE 100 /* rows that one transaction cleans up: who writes meanwhile waits for it */

/* All of a row with the columns of the table; the answer as well, or not. */
WR_MUST_CHECK enum wr_code wr_hook_read(struct wr_hook *out, const struct wr_row *row, bool answer, struct wr_error *err);
/* From statements that end with RETURNING trigger_seq, chain, turn. */
struct wr_hook_place {
	int64_t trigger_seq, turn;
	char chain[WR_HOOK_BRANCH_MAX + 1];
};
void wr_hook_read_place(struct wr_hook_place *out, const struct wr_row *row);

/*
 * What a transaction has touched: turns, of which pending and next_ms have to follow, and triggers whose number of ended
 * deliveries has. All of it is written once, by wr_touched_write(), which empties it.
 */
struct wr_touched {
	struct wr_touch {
		int64_t seq, change;
		char account_id[WR_UUID_LEN + 1]; /* a turn's, once written */
	} *turns, *triggers;
	size_t turn_count, turn_room, trigger_count, trigger_room;
};
void wr_touched_fini(struct wr_touched *touched);
WR_DEFINE_AUTO_S(wr_touched);
WR_MUST_CHECK enum wr_code wr_touch_turn(struct wr_touched *touched, int64_t turn, int64_t pending, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_touch_trigger(struct wr_touched *touched, int64_t trigger_seq, int64_t ended,
					    struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_touched_write(struct wr_touched *touched, struct wr_tx *tx, struct wr_error *err);

/* The first of a chain that has not ended is made ready, if it waits and its trigger does not rest. */
WR_MUST_CHECK enum wr_code wr_delivery_settle(struct wr_touched *touched, struct wr_tx *tx, int64_t trigger_seq,
					      const char *chain, struct wr_error *err);
/* One that has not ended goes, or has ended (then the row says so already): it pends no more, and the next one comes. */
WR_MUST_CHECK enum wr_code wr_delivery_left(struct wr_touched *touched, struct wr_tx *tx,
					    const struct wr_hook_place *place, bool ended, struct wr_error *err);
/* One that is not under way is given up, for the reason in words. */
WR_MUST_CHECK enum wr_code wr_delivery_give_up(struct wr_touched *touched, struct wr_tx *tx, int64_t seq, const char *why,
					       struct wr_error *err);

#endif
