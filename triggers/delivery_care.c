/* What keeps the queue in order beside sending: judging's ends, what dead processes had, what nobody needs any more. */
#include <stdio.h>

#include "core/base/alive.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "triggers/delivery_internal.h"

/* ---- judging ---- */

enum wr_code wr_delivery_next_new(struct wr_hook *out, json_t **globs, struct wr_db *db, const char *behind_account,
				  struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	struct wr_str text;
	enum wr_code code = wr_db_one(db, SQL_DELIVERY_NEXT_NEW, err, &row, "s", behind_account);

	if (code == WR_OK)
		code = wr_hook_read(out, &row, false, err);
	if (code != WR_OK)
		return code;
	text = wr_row_text(&row, "globs");
	*globs = text.ptr ? json_loadb(text.ptr, text.len, 0, NULL) : NULL;
	return WR_OK;
}

struct judgement {
	const struct wr_hook *hook;
	bool wanted;
};

static enum wr_code write_judgement(struct wr_row *row, struct wr_tx *tx, const struct judgement *j,
				    struct wr_error *err)
{
	const struct wr_hook *hook = j->hook;

	if (!j->wanted)
		return wr_tx_one(tx, SQL_DELIVERY_UNWANTED, err, row, "i", hook->seq);
	return wr_tx_one(tx, SQL_DELIVERY_WANTED, err, row, "iis", hook->seq,
			 (int64_t)(hook->forced_known ? hook->forced : -1), hook->note);
}

static enum wr_code judged(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	WR_AUTO_S(wr_touched) touched = {.turns = NULL};
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	const struct judgement *j = arg;
	struct wr_hook_place place;
	enum wr_code code = write_judgement(&row, tx, j, err);

	/* Another process was quicker. */
	if (code == WR_E_NOT_THERE)
		return WR_OK;
	if (code != WR_OK)
		return code;
	wr_hook_read_place(&place, &row);
	wr_row_fini(&row);
	if (j->wanted)
		code = wr_delivery_settle(&touched, tx, place.trigger_seq, place.chain, err);
	else
		code = wr_delivery_left(&touched, tx, &place, false, err);
	return code == WR_OK ? wr_touched_write(&touched, tx, err) : code;
}

enum wr_code wr_delivery_judged(struct wr_db *db, const struct wr_hook *hook, bool wanted, struct wr_error *err)
{
	struct judgement j = {hook, wanted};

	return wr_db_write(db, WR_DB_NORMAL, judged, &j, err);
}

/* ---- what dead processes had ---- */

struct piece {
	const char *lease;
	int64_t seq, ms; /* of a trigger; a time, or another number of it */
	size_t n;	 /* rows that were done */
	char chain[WR_HOOK_BRANCH_MAX + 1];
};

/* The turns of the rows that a statement returned, each with so much more pending. */
static enum wr_code touch_all(struct wr_touched *touched, size_t *n, struct wr_row *row, enum wr_code code, int64_t pending,
			      struct wr_error *err)
{
	for (*n = 0; code == WR_OK; ++*n)
		if ((code = wr_touch_turn(touched, wr_row_int(row, "turn"), pending, err)) == WR_OK)
			code = wr_row_next(row, err);
	wr_row_fini(row);
	return code == WR_E_NOT_THERE ? WR_OK : code;
}

static enum wr_code take_back(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	WR_AUTO_S(wr_touched) touched = {.turns = NULL};
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	struct piece *p = arg;
	enum wr_code code = wr_tx_one(tx, SQL_DELIVERY_TAKE_BACK, err, &row, "sii", p->lease,
				      (int64_t)WR_DELIVERY_PIECE, wr_now_ms());

	code = touch_all(&touched, &p->n, &row, code, 0, err);
	return code == WR_OK ? wr_touched_write(&touched, tx, err) : code;
}

static enum wr_code recover_lease(struct wr_db *db, const char *run, const char *lease, struct wr_error *err)
{
	struct piece p = {.lease = lease, .n = WR_DELIVERY_PIECE};
	enum wr_code code = WR_OK;
	size_t all = 0;

	if (wr_alive_check(run, lease))
		return WR_OK;
	while (code == WR_OK && p.n == WR_DELIVERY_PIECE) {
		code = wr_db_write(db, WR_DB_NORMAL, take_back, &p, err);
		all += p.n;
	}
	if (code == WR_OK)
		WR_LOG(WR_INFO, NULL, WEBHOOK_GIVEN_BACK, WR_INT("deliveries", all), WR_STR("process", lease));
	return code;
}

enum wr_code wr_deliveries_recover(struct wr_db *db, const char *run, const char *own, struct wr_error *err)
{
	char lease[WR_ALIVE_NAME] = "";

	for (;;) {
		WR_AUTO_S(wr_row) row = WR_ROW_INIT;
		enum wr_code code = wr_db_one(db, SQL_DELIVERY_NEXT_LEASE, err, &row, "s", lease);

		if (code != WR_OK)
			return code == WR_E_NOT_THERE ? WR_OK : code;
		wr_row_copy(&row, "lease", lease, sizeof lease);
		wr_row_fini(&row);
		if (strcmp(lease, own) != 0 && (code = recover_lease(db, run, lease, err)) != WR_OK)
			return code;
	}
}

/* ---- sweeping: each part looks first, so that nothing is written where there is nothing to do ---- */

struct sweep {
	struct wr_db *db;
	struct wr_waking *waking;
	int64_t old_ms;
	unsigned keep_max;
	bool more;
};

/*
 * Triggers that were resumed: the first of each of their chains is made ready. A piece in each sweep, from where the one before
 * ended, since a trigger may have very many branches and the judging of everybody's updates waits for the sweep.
 */

static enum wr_code next_chain(bool *any, struct piece *p, struct wr_tx *tx, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_tx_one(tx, SQL_DELIVERY_NEXT_CHAIN, err, &row, "is", p->seq, p->chain);

	*any = code == WR_OK;
	if (code == WR_OK)
		wr_row_copy(&row, "chain", p->chain, sizeof p->chain);
	return code == WR_E_NOT_THERE ? WR_OK : code;
}

static enum wr_code wake(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	WR_AUTO_S(wr_touched) touched = {.turns = NULL};
	struct piece *p = arg;
	enum wr_code code = WR_OK;
	bool any = true;

	for (p->n = 0; p->n < WR_DELIVERY_PIECE && any && code == WR_OK; p->n++)
		if ((code = next_chain(&any, p, tx, err)) == WR_OK && any)
			code = wr_delivery_settle(&touched, tx, p->seq, p->chain, err);
	if (code == WR_OK && !any)
		code = wr_tx_run(tx, SQL_DELIVERY_WOKEN, err, NULL, "ii", p->seq, p->ms);
	return code == WR_OK ? wr_touched_write(&touched, tx, err) : code;
}

static enum wr_code find_trigger(struct piece *out, struct wr_db *db, enum wr_sql sql, int64_t than, const char *column,
				 struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_db_one(db, sql, err, &row, "i", than);

	if (code != WR_OK)
		return code;
	*out = (struct piece){.seq = wr_row_int(&row, "seq"), .ms = wr_row_int(&row, column)};
	return WR_OK;
}

static enum wr_code sweep_awake(struct sweep *s, struct wr_error *err)
{
	struct wr_waking *at = s->waking;
	struct piece p;
	enum wr_code code = find_trigger(&p, s->db, SQL_DELIVERY_AWAKE, 0, "resumes", err);

	if (code != WR_OK)
		return code;
	/* Resumed anew, it begins anew. */
	if (at->trigger_seq == p.seq && at->resumes == p.ms)
		memcpy(p.chain, at->chain, sizeof p.chain);
	s->more = true;
	if ((code = wr_db_write(s->db, WR_DB_NORMAL, wake, &p, err)) != WR_OK)
		return code;
	at->trigger_seq = p.seq;
	at->resumes = p.ms;
	memcpy(at->chain, p.chain, sizeof at->chain);
	return WR_OK;
}

/* Triggers that were deleted. */

/* A deleted account's row has waited for the last of them. */
static enum wr_code forget_trigger(struct wr_tx *tx, const struct piece *p, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	char account_id[WR_UUID_LEN + 1];
	enum wr_code code = wr_tx_one(tx, SQL_DELIVERY_FORGET_TRIGGER, err, &row, "i", p->seq);

	if (code != WR_OK)
		return code == WR_E_NOT_THERE ? WR_OK : code;
	wr_row_copy(&row, "account_id", account_id, sizeof account_id);
	wr_row_fini(&row);
	code = wr_tx_run(tx, SQL_DELIVERY_TURN_DROP, err, NULL, "i", p->ms);
	return code == WR_OK ? wr_tx_run(tx, SQL_ACCOUNT_PURGE, err, NULL, "s", account_id) : code;
}

static enum wr_code bury(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	WR_AUTO_S(wr_touched) touched = {.turns = NULL};
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	struct piece *p = arg;
	int64_t ended = 0;
	enum wr_code code = wr_tx_one(tx, SQL_DELIVERY_DROP_LIVE, err, &row, "ii", p->seq, (int64_t)WR_DELIVERY_PIECE);

	code = touch_all(&touched, &p->n, &row, code, -1, err);
	if (code == WR_OK)
		code = wr_touched_write(&touched, tx, err);
	if (code == WR_OK)
		code = wr_tx_run(tx, SQL_DELIVERY_DROP_ENDED, err, &ended, "ii", p->seq, (int64_t)WR_DELIVERY_PIECE);
	if (code != WR_OK || p->n == WR_DELIVERY_PIECE || ended == WR_DELIVERY_PIECE)
		return code;
	return forget_trigger(tx, p, err);
}

static enum wr_code sweep_gone(struct sweep *s, struct wr_error *err)
{
	struct piece p;
	enum wr_code code = find_trigger(&p, s->db, SQL_DELIVERY_GONE, 0, "turn", err);

	if (code != WR_OK)
		return code;
	s->more = true;
	return wr_db_write(s->db, WR_DB_NORMAL, bury, &p, err);
}

/* What has waited with a paused trigger for too long. */

static enum wr_code find_stale(int64_t *seq, int64_t *created_ms, struct wr_tx *tx, int64_t trigger, int64_t behind,
			       struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_tx_one(tx, SQL_DELIVERY_STALE, err, &row, "ii", trigger, behind);

	*seq = code == WR_OK ? wr_row_int(&row, "seq") : 0;
	*created_ms = code == WR_OK ? wr_row_int(&row, "created_ms") : wr_now_ms();
	return code == WR_E_NOT_THERE ? WR_OK : code;
}

static enum wr_code give_up(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	WR_AUTO_S(wr_touched) touched = {.turns = NULL};
	struct piece *p = arg;
	int64_t seq = 0, created_ms = 0;
	enum wr_code code = find_stale(&seq, &created_ms, tx, p->seq, 0, err);

	for (p->n = 0; code == WR_OK && seq && created_ms < p->ms && p->n < WR_DELIVERY_PIECE; p->n++) {
		code = wr_delivery_give_up(&touched, tx, seq, "The trigger was paused for too long.", err);
		if (code == WR_OK)
			code = find_stale(&seq, &created_ms, tx, p->seq, seq, err);
	}
	/* From then on there is something again. */
	if (code == WR_OK && p->n < WR_DELIVERY_PIECE)
		code = wr_tx_run(tx, SQL_DELIVERY_OLDEST, err, NULL, "ii", p->seq, created_ms);
	return code == WR_OK ? wr_touched_write(&touched, tx, err) : code;
}

static enum wr_code sweep_resting(struct sweep *s, struct wr_error *err)
{
	struct piece p;
	enum wr_code code = find_trigger(&p, s->db, SQL_DELIVERY_RESTING, s->old_ms, "paused_ms", err);

	if (code != WR_OK)
		return code;
	p.ms = s->old_ms;
	s->more = true;
	return wr_db_write(s->db, WR_DB_NORMAL, give_up, &p, err);
}

/* History beyond its age, and beyond its number. */

static enum wr_code forget_old(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	WR_AUTO_S(wr_touched) touched = {.turns = NULL};
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	struct piece *p = arg;
	enum wr_code code = wr_tx_one(tx, SQL_DELIVERY_FORGET, err, &row, "ii", p->ms, (int64_t)WR_DELIVERY_PIECE);

	for (p->n = 0; code == WR_OK; p->n++)
		if ((code = wr_touch_trigger(&touched, wr_row_int(&row, "trigger_seq"), -1, err)) == WR_OK)
			code = wr_row_next(&row, err);
	wr_row_fini(&row);
	return code == WR_E_NOT_THERE ? wr_touched_write(&touched, tx, err) : code;
}

static enum wr_code sweep_old(struct sweep *s, struct wr_error *err)
{
	struct piece p = {.ms = s->old_ms};
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_db_one(s->db, SQL_DELIVERY_OLD, err, &row, "i", s->old_ms);

	wr_row_fini(&row);
	if (code != WR_OK)
		return code;
	code = wr_db_write(s->db, WR_DB_NORMAL, forget_old, &p, err);
	s->more |= code == WR_OK && p.n >= WR_DELIVERY_PIECE;
	return code;
}

static enum wr_code prune(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct piece *p = arg;
	int64_t n = p->ms < WR_DELIVERY_PIECE ? p->ms : WR_DELIVERY_PIECE;
	enum wr_code code = wr_tx_run(tx, SQL_DELIVERY_DROP_ENDED, err, NULL, "ii", p->seq, n);

	return code == WR_OK ? wr_tx_run(tx, SQL_DELIVERY_ENDED, err, NULL, "ii", p->seq, -n) : code;
}

/* An eighth more may stand there, so that one that ends need not each time take another with it. */
static enum wr_code sweep_excess(struct sweep *s, struct wr_error *err)
{
	int64_t max = s->keep_max;
	struct piece p;
	enum wr_code code = find_trigger(&p, s->db, SQL_DELIVERY_EXCESS, max + max / 8, "ended", err);

	if (code != WR_OK)
		return code;
	p.ms -= max;
	s->more = true;
	return wr_db_write(s->db, WR_DB_NORMAL, prune, &p, err);
}

enum wr_code wr_deliveries_sweep(bool *more, struct wr_waking *waking, struct wr_db *db, int64_t old_ms, unsigned keep_max,
				 struct wr_error *err)
{
	static enum wr_code (*const parts[])(struct sweep *s, struct wr_error *err) = {
		sweep_awake, sweep_gone, sweep_resting, sweep_old, sweep_excess,
	};
	struct sweep s = {db, waking, old_ms, keep_max, false};

	for (size_t i = 0; i < WR_ARRAY_LEN(parts); i++) {
		enum wr_code code = parts[i](&s, err);

		if (code != WR_OK && code != WR_E_NOT_THERE)
			return code;
	}
	*more = s.more;
	return WR_OK;
}
