/* No account fills the disk: where more of its deliveries wait than may, its oldest are given up. */
#include "core/base/clock.h"
#include "core/base/log.h"
#include "triggers/delivery_internal.h"

/* Beyond the bound so much more goes (of the bound), so that each further row need not take another one with it. */
#define SLACK 64
/* A round takes what lies within so much of the account's time of waiting: of all its triggers the oldest. */
#define ROUND 16

/* ---- whose, and how old ---- */

/* *n: how many there may be given up; 0: no account has too many. */
static enum wr_code find_account(int64_t *n, char account_id[WR_UUID_LEN + 1], struct wr_db *db, int64_t max,
				 struct wr_error *err)
{
	WR_AUTO_S(wr_row) all = WR_ROW_INIT;
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_db_one(db, SQL_DELIVERIES_PENDING, err, &all, "");

	*n = 0;
	if (code != WR_OK || wr_row_int(&all, "n") <= max)
		return code;
	wr_row_fini(&all);
	code = wr_db_one(db, SQL_DELIVERY_TOO_MANY, err, &row, "i", max);
	if (code != WR_OK)
		return code == WR_E_NOT_THERE ? WR_OK : code;
	wr_row_copy(&row, "account_id", account_id, WR_UUID_LEN + 1);
	*n = wr_row_int(&row, "n") - (max - max / SLACK);
	return WR_OK;
}

static enum wr_code begin(struct wr_shedding *s, struct wr_db *db, int64_t max, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	int64_t now = wr_now_ms(), oldest;
	enum wr_code code = find_account(&s->excess, s->account_id, db, max, err);

	s->trigger_seq = 0;
	s->given_up = 0;
	if (code != WR_OK || s->excess == 0)
		return code;
	code = wr_db_one(db, SQL_DELIVERY_OLDEST_OF, err, &row, "s", s->account_id);
	/* All that there is, is under way. */
	if (code == WR_E_NOT_THERE || (code == WR_OK && wr_row_null(&row, "created_ms")))
		s->excess = 0;
	if (code != WR_OK)
		return code == WR_E_NOT_THERE ? WR_OK : code;
	oldest = wr_row_int(&row, "created_ms");
	s->until_ms = oldest + (now > oldest ? (now - oldest) / ROUND : 0);
	return WR_OK;
}

static enum wr_code next_trigger(struct wr_shedding *s, struct wr_db *db, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_db_one(db, SQL_DELIVERY_NEXT_TRIGGER, err, &row, "si", s->account_id, s->trigger_seq);

	if (code == WR_OK)
		s->trigger_seq = wr_row_int(&row, "seq");
	return code;
}

/* ---- giving up ---- */

struct piece {
	const struct wr_shedding *s;
	unsigned keep_max;
	int64_t n; /* rows that were given up */
};

/* The first of the trigger that is old enough; *seq 0: there is none. */
static enum wr_code find_first(int64_t *seq, const struct wr_shedding *s, struct wr_tx *tx, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_tx_one(tx, SQL_DELIVERY_FIRST, err, &row, "i", s->trigger_seq);

	*seq = code == WR_OK && wr_row_int(&row, "created_ms") <= s->until_ms ? wr_row_int(&row, "seq") : 0;
	return code == WR_E_NOT_THERE ? WR_OK : code;
}

/* What is given up is history, whose bound the sweep could not keep up with. */
static enum wr_code forget_more(const struct piece *p, struct wr_tx *tx, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	int64_t seq = p->s->trigger_seq, n;
	enum wr_code code = wr_tx_one(tx, SQL_DELIVERY_ENDED_OF, err, &row, "i", seq);

	n = code == WR_OK ? wr_row_int(&row, "ended") - (int64_t)p->keep_max : 0;
	wr_row_fini(&row);
	if (n <= 0)
		return code == WR_E_NOT_THERE ? WR_OK : code;
	n = n < 2 * WR_DELIVERY_PIECE ? n : 2 * WR_DELIVERY_PIECE;
	code = wr_tx_run(tx, SQL_DELIVERY_DROP_ENDED, err, NULL, "ii", seq, n);
	return code == WR_OK ? wr_tx_run(tx, SQL_DELIVERY_ENDED, err, NULL, "ii", seq, -n) : code;
}

static enum wr_code give_up(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	WR_AUTO_S(wr_touched) touched = {.turns = NULL};
	struct piece *p = arg;
	enum wr_code code = WR_OK;
	int64_t seq = 1;

	for (p->n = 0; code == WR_OK && p->n < WR_DELIVERY_PIECE && p->n < p->s->excess; p->n++) {
		code = find_first(&seq, p->s, tx, err);
		if (code != WR_OK || seq == 0)
			break;
		code = wr_delivery_give_up(&touched, tx, seq, "The account had too many deliveries waiting, and this one "
							      "was among the oldest.", err);
	}
	if (code == WR_OK)
		code = wr_touched_write(&touched, tx, err);
	return code == WR_OK && p->n > 0 ? forget_more(p, tx, err) : code;
}

/* ---- */

/* Nothing given up in a whole round: what is old enough is under way, and not to be waited for. */
static void end_round(bool *more, struct wr_shedding *s)
{
	*more = s->given_up > 0;
	if (s->given_up > 0)
		WR_LOG(WR_WARN, NULL, WEBHOOK_TOO_MANY, WR_STR("account", s->account_id), WR_INT("given_up", s->given_up));
	s->excess = 0;
}

enum wr_code wr_deliveries_shed(bool *more, struct wr_shedding *s, struct wr_db *db, int64_t max, unsigned keep_max,
				struct wr_error *err)
{
	struct wr_shedding next = *s;
	struct piece p = {.s = &next, .keep_max = keep_max};
	enum wr_code code = WR_OK;

	*more = false;
	if (next.excess == 0 && ((code = begin(&next, db, max, err)) != WR_OK || next.excess == 0))
		return code;
	if (next.trigger_seq == 0)
		code = next_trigger(&next, db, err);
	if (code == WR_OK)
		code = wr_db_write(db, WR_DB_NORMAL, give_up, &p, err);
	if (code == WR_OK) {
		next.given_up += p.n;
		next.excess -= p.n;
		if (p.n < WR_DELIVERY_PIECE && next.excess > 0)
			code = next_trigger(&next, db, err);
	}
	if (code != WR_OK && code != WR_E_NOT_THERE)
		return code;
	*more = true;
	if (code == WR_E_NOT_THERE || next.excess == 0)
		end_round(more, &next);
	*s = next;
	return WR_OK;
}
