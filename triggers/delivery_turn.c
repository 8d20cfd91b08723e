/*
 * Turning over: what attempts came to, and what is sent next, in one transaction.
 *
 * Claims are made in rounds. A round finds the accounts that have something due and room for it, the one that has waited
 * longest first, and gives each an equal piece of what may be claimed; what some leave over is for another round.
 */
#include <stdio.h>

#include "core/base/clock.h"
#include "triggers/delivery_internal.h"

/* An account whose turn it is; a turn of it. */
struct due_account {
	char id[WR_UUID_LEN + 1];
	size_t room;
};
struct due_turn {
	int64_t seq;
	char host[256];
	size_t room; /* 0: it has nothing more, or may not have */
};

struct turnover {
	const struct wr_outcome *outcomes;
	size_t outcome_count;
	const struct wr_claiming *claiming;
	struct wr_claim *claims;
	size_t n;
	int64_t next_ms;
	size_t spare; /* rows that may still be looked at without being claimed */
	struct due_account *accounts; /* room for claiming->max of each */
	struct due_turn *turns;
	struct wr_touched touched;
	bool moved; /* a row has gone to another turn */
};

/* ---- outcomes ---- */

/* Where it stands, as long as it is this process's: WR_E_NOT_THERE if it is another's by now, or swept away. */
static enum wr_code find_place(struct wr_hook_place *out, struct wr_tx *tx, const struct wr_outcome *o,
			       struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_tx_one(tx, SQL_DELIVERY_UNDER_WAY, err, &row, "is", o->seq, o->lease);

	if (code == WR_OK)
		wr_hook_read_place(out, &row);
	return code;
}

static enum wr_code write_outcome(struct wr_tx *tx, const struct wr_outcome *o, int64_t now, struct wr_error *err)
{
	const void *answer = o->answer.len > 0 ? o->answer.ptr : NULL;
	int64_t state = o->what == WR_OUT_DELIVERED ? WR_DELIVERY_DELIVERED : WR_DELIVERY_FAILED;

	switch (o->what) {
	case WR_OUT_CUT_OFF:
		return wr_tx_run(tx, SQL_DELIVERY_CUT_OFF, err, NULL, "ii", o->seq, now);
	case WR_OUT_AGAIN:
		return wr_tx_run(tx, SQL_DELIVERY_REPEAT, err, NULL, "iiiisb", o->seq, o->not_before_ms,
				 (int64_t)o->status, o->latency_ms, o->error, answer, o->answer.len);
	default:
		return wr_tx_run(tx, SQL_DELIVERY_END, err, NULL, "iiiisbi", o->seq, state, (int64_t)o->status,
				 o->latency_ms, o->error, answer, o->answer.len, now);
	}
}

static enum wr_code apply(struct turnover *t, struct wr_tx *tx, const struct wr_outcome *o, int64_t now,
			  struct wr_error *err)
{
	struct wr_hook_place place;
	enum wr_code code = find_place(&place, tx, o, err);

	if (code == WR_E_NOT_THERE)
		return WR_OK;
	if (code == WR_OK)
		code = write_outcome(tx, o, now, err);
	if (code != WR_OK)
		return code;
	if (o->what == WR_OUT_AGAIN || o->what == WR_OUT_CUT_OFF)
		return wr_touch_turn(&t->touched, place.turn, 0, err);
	return wr_delivery_left(&t->touched, tx, &place, true, err);
}

/* ---- whose turn it is ---- */

/* What was claimed by this call already, of an account and of a turn. */
static size_t claimed_of(const struct turnover *t, const char *account_id)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++)
		n += strcmp(t->claims[i].hook.account_id, account_id) == 0;
	return n;
}

static size_t claimed_in(const struct turnover *t, int64_t turn)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++)
		n += t->claims[i].hook.turn == turn;
	return n;
}

static size_t less(size_t a, size_t b)
{
	return a > b ? a - b : 0;
}

/* *n of turns: those of the account with something due, and room for it. Those without have something under way. */
static enum wr_code find_turns(size_t *n, size_t max, struct turnover *t, struct wr_tx *tx, const char *account_id,
			       struct wr_error *err)
{
	const struct wr_claiming *c = t->claiming;
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_tx_one(tx, SQL_DELIVERY_TURNS_DUE, err, &row, "is", c->now_ms, account_id);

	for (*n = 0; code == WR_OK && *n < max; code = wr_row_next(&row, err)) {
		struct due_turn *turn = &t->turns[*n];

		turn->seq = wr_row_int(&row, "seq");
		wr_row_copy(&row, "host", turn->host, sizeof turn->host);
		turn->room = less(c->host_room(c->arg, account_id, turn->host), claimed_in(t, turn->seq));
		*n += turn->room > 0;
	}
	return code == WR_E_NOT_THERE ? WR_OK : code;
}

/* A host of an account that is short of room may hide that another one is due later. */
static enum wr_code note_later(struct turnover *t, struct wr_tx *tx, enum wr_sql sql, const char *account_id,
			       struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	int64_t now = t->claiming->now_ms;
	enum wr_code code = account_id ? wr_tx_one(tx, sql, err, &row, "is", now, account_id)
				       : wr_tx_one(tx, sql, err, &row, "i", now);

	if (code == WR_OK && wr_row_int(&row, "next_ms") < t->next_ms)
		t->next_ms = wr_row_int(&row, "next_ms");
	return code == WR_E_NOT_THERE ? WR_OK : code;
}

/* The accounts of a round. Who has no room, or none at a host for which something is due, has something under way. */
static enum wr_code find_accounts(size_t *n, struct turnover *t, struct wr_tx *tx, struct wr_error *err)
{
	const struct wr_claiming *c = t->claiming;
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_tx_one(tx, SQL_DELIVERY_ACCOUNTS_DUE, err, &row, "i", c->now_ms);

	for (*n = 0; code == WR_OK && *n < c->max - t->n; code = wr_row_next(&row, err)) {
		struct due_account *account = &t->accounts[*n];
		size_t turns = 0;

		wr_row_copy(&row, "account_id", account->id, sizeof account->id);
		account->room = less(c->account_room(c->arg, account->id), claimed_of(t, account->id));
		if (account->room == 0)
			continue;
		if ((code = find_turns(&turns, 1, t, tx, account->id, err)) != WR_OK)
			return code;
		if (turns > 0)
			++*n;
		else if ((code = note_later(t, tx, SQL_DELIVERY_TURN_LATER, account->id, err)) != WR_OK)
			return code;
	}
	return code == WR_E_NOT_THERE ? WR_OK : code;
}

/* ---- claims ---- */

/* What is done with the first row of a turn. */
enum verdict { CLAIM, GONE, RESTS, ELSEWHERE };

static enum verdict judge(const struct wr_row *row, int64_t turn)
{
	if (wr_row_int(row, "gone"))
		return GONE;
	if (wr_row_int(row, "rests"))
		return RESTS;
	return wr_row_int(row, "trigger_turn") == turn ? CLAIM : ELSEWHERE;
}

static enum wr_code read_claim(struct wr_claim *out, const struct wr_row *row, const struct due_turn *turn,
			       struct wr_error *err)
{
	wr_row_copy(row, "trigger_id", out->trigger_id, sizeof out->trigger_id);
	wr_row_copy(row, "endpoint", out->endpoint, sizeof out->endpoint);
	memcpy(out->host, turn->host, sizeof out->host);
	out->resumed_ms = wr_row_int(row, "resumed_ms");
	return wr_hook_read(&out->hook, row, false, err);
}

static enum wr_code take(struct turnover *t, struct wr_tx *tx, struct due_turn *turn, struct wr_error *err)
{
	const struct wr_claiming *c = t->claiming;
	struct wr_hook *hook = &t->claims[t->n].hook;
	enum wr_code code = wr_tx_run(tx, SQL_DELIVERY_CLAIM, err, NULL, "isi", hook->seq, c->lease, c->now_ms);

	if (code != WR_OK)
		return code;
	hook->state = WR_DELIVERY_SENDING;
	hook->started_ms = c->now_ms;
	turn->room--;
	t->n++;
	return WR_OK;
}

static enum wr_code put_away(struct turnover *t, struct wr_tx *tx, enum verdict verdict, int64_t seq, int64_t turn,
			     int64_t to, struct wr_error *err)
{
	enum wr_code code;

	t->spare--;
	if (verdict == RESTS)
		return wr_tx_run(tx, SQL_DELIVERY_REST, err, NULL, "i", seq);
	code = wr_touch_turn(&t->touched, turn, -1, err);
	if (code == WR_OK && verdict == GONE)
		return wr_tx_run(tx, SQL_DELIVERY_DROP, err, NULL, "i", seq);
	t->moved = true;
	if (code == WR_OK)
		code = wr_touch_turn(&t->touched, to, 1, err);
	return code == WR_OK ? wr_tx_run(tx, SQL_DELIVERY_MOVE, err, NULL, "ii", seq, to) : code;
}

/* One row of a turn. *got: it was claimed; where the turn has nothing more, its room ends. */
static enum wr_code claim(bool *got, struct turnover *t, struct wr_tx *tx, struct due_turn *turn, struct wr_error *err)
{
	int64_t now = t->claiming->now_ms;
	enum wr_code code = wr_touch_turn(&t->touched, turn->seq, 0, err);

	*got = false;
	while (code == WR_OK && t->spare > 0) {
		WR_AUTO_S(wr_row) row = WR_ROW_INIT;
		enum verdict verdict;
		int64_t seq, to;

		code = wr_tx_one(tx, SQL_DELIVERY_DUE, err, &row, "ii", now, turn->seq);
		if (code != WR_OK)
			break;
		verdict = judge(&row, turn->seq);
		seq = wr_row_int(&row, "seq");
		to = wr_row_int(&row, "trigger_turn");
		if (verdict == CLAIM)
			code = read_claim(&t->claims[t->n], &row, turn, err);
		wr_row_fini(&row);
		*got = code == WR_OK && verdict == CLAIM;
		if (*got)
			return take(t, tx, turn, err);
		if (code == WR_OK)
			code = put_away(t, tx, verdict, seq, turn->seq, to, err);
	}
	turn->room = 0;
	return code == WR_E_NOT_THERE ? WR_OK : code;
}

/* Up to so many rows of one account, its turns one after the other. */
static enum wr_code claim_piece(struct turnover *t, struct wr_tx *tx, const struct due_account *account, size_t piece,
				struct wr_error *err)
{
	size_t n, idle = 0;
	enum wr_code code = find_turns(&n, piece, t, tx, account->id, err);

	for (size_t i = 0; n > 0 && code == WR_OK && piece > 0 && idle < n; i = (i + 1) % n) {
		bool got = false;

		if (t->turns[i].room > 0)
			code = claim(&got, t, tx, &t->turns[i], err);
		idle = got ? 0 : idle + 1;
		piece -= got;
	}
	return code;
}

/* *any: something was claimed, or may be in another round. */
static enum wr_code claim_round(bool *any, struct turnover *t, struct wr_tx *tx, struct wr_error *err)
{
	size_t accounts = 0, left, before = t->n;
	enum wr_code code = find_accounts(&accounts, t, tx, err);

	t->moved = false;
	left = t->claiming->max - t->n;
	for (size_t i = 0; i < accounts && code == WR_OK; i++) {
		size_t piece = left / accounts; /* at least one: there are no more of them */
		const struct due_account *account = &t->accounts[i];

		code = claim_piece(t, tx, account, piece < account->room ? piece : account->room, err);
	}
	*any = t->n > before || t->moved;
	return code == WR_OK ? wr_touched_write(&t->touched, tx, err) : code;
}

static enum wr_code claim_all(struct turnover *t, struct wr_tx *tx, struct wr_error *err)
{
	bool any = true;
	enum wr_code code = WR_OK;

	while (any && code == WR_OK && t->n < t->claiming->max && t->spare > 0)
		code = claim_round(&any, t, tx, err);
	if (code == WR_OK)
		code = note_later(t, tx, SQL_DELIVERY_ACCOUNT_LATER, NULL, err);
	if (t->spare == 0)
		t->next_ms = t->claiming->now_ms;
	return code;
}

/* ---- all of it ---- */

static enum wr_code turn_over(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	struct turnover *t = arg;
	int64_t now = wr_now_ms();
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < t->outcome_count && code == WR_OK; i++)
		code = apply(t, tx, &t->outcomes[i], now, err);
	if (code == WR_OK)
		code = wr_touched_write(&t->touched, tx, err);
	if (code == WR_OK && t->claiming && t->claiming->max > 0)
		code = claim_all(t, tx, err);
	return code;
}

enum wr_code wr_deliveries_turnover(struct wr_claim *claims, size_t *n, int64_t *next_ms, struct wr_db *db,
				    const struct wr_outcome *outcomes, size_t outcome_count,
				    const struct wr_claiming *claiming, struct wr_error *err)
{
	size_t max = claiming ? claiming->max : 0;
	WR_AUTO_MEM void *accounts = calloc(max + 1, sizeof(struct due_account));
	WR_AUTO_MEM void *turns = calloc(max + 1, sizeof(struct due_turn));
	struct turnover t = {
		.outcomes = outcomes,
		.outcome_count = outcome_count,
		.claiming = claiming,
		.claims = claims,
		.next_ms = INT64_MAX,
		.spare = 4 * max + 100,
		.accounts = accounts,
		.turns = turns,
	};
	enum wr_code code;

	if (!accounts || !turns)
		return wr_fail_nomem(err);
	code = wr_db_write(db, WR_DB_NORMAL, turn_over, &t, err);
	wr_touched_fini(&t.touched);
	if (code != WR_OK)
		return code;
	*n = t.n;
	*next_ms = t.next_ms;
	return WR_OK;
}
