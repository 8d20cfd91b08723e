/* The time of day went back: what waits for its time would wait for so much longer. */
#include "triggers/delivery_internal.h"

/* Rows of one turn, in the order of their time. */
struct piece {
	int64_t now_ms, turn;
	int64_t seqs[WR_DELIVERY_PIECE];
	size_t n;
};

static enum wr_code write_piece(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	WR_AUTO_S(wr_touched) touched = {.turns = NULL};
	const struct piece *p = arg;
	enum wr_code code = wr_touch_turn(&touched, p->turn, 0, err);

	for (size_t i = 0; i < p->n && code == WR_OK; i++)
		code = wr_tx_run(tx, SQL_DELIVERY_REWIND, err, NULL, "ii", p->seqs[i], p->now_ms);
	return code == WR_OK ? wr_touched_write(&touched, tx, err) : code;
}

/* *seen rows from where the rewinding stands; of these the piece has those that are written. */
static enum wr_code read_piece(struct piece *p, size_t *seen, struct wr_rewind *at, struct wr_db *db,
			       struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_db_one(db, SQL_DELIVERY_AHEAD, err, &row, "iiii", at->turn, at->not_before_ms, at->seq,
				      (int64_t)WR_DELIVERY_PIECE);

	p->n = 0;
	for (*seen = 0; code == WR_OK && *seen < WR_DELIVERY_PIECE; code = wr_row_next(&row, err)) {
		at->not_before_ms = wr_row_int(&row, "not_before_ms");
		at->seq = wr_row_int(&row, "seq");
		++*seen;
		if (wr_row_int(&row, "attempts") == 0 || wr_row_int(&row, "started_ms") > at->now_ms)
			p->seqs[p->n++] = at->seq;
	}
	return code == WR_E_NOT_THERE ? WR_OK : code;
}

/* WR_E_NOT_THERE: that was the last one. */
static enum wr_code next_turn(struct wr_rewind *at, struct wr_db *db, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_db_one(db, SQL_DELIVERY_TURN_NEXT, err, &row, "i", at->turn);

	if (code != WR_OK)
		return code;
	at->turn = wr_row_int(&row, "seq");
	at->not_before_ms = at->now_ms;
	at->seq = INT64_MAX;
	at->in_turn = true;
	return WR_OK;
}

enum wr_code wr_deliveries_rewind(bool *more, struct wr_rewind *at, struct wr_db *db, struct wr_error *err)
{
	struct piece p = {.now_ms = at->now_ms};
	struct wr_rewind next = *at;
	size_t seen = 0;
	enum wr_code code = next.in_turn ? WR_OK : next_turn(&next, db, err);

	if (code == WR_E_NOT_THERE) {
		*more = false;
		return WR_OK;
	}
	p.turn = next.turn;
	if (code == WR_OK)
		code = read_piece(&p, &seen, &next, db, err);
	if (code == WR_OK && p.n > 0)
		code = wr_db_write(db, WR_DB_NORMAL, write_piece, &p, err);
	if (code != WR_OK)
		return code;
	next.in_turn = seen == WR_DELIVERY_PIECE;
	*at = next;
	*more = true;
	return WR_OK;
}
