/* Rows of deliveries, and whose turn it is. */
#include "triggers/delivery.h"

#include <stdio.h>

#include "core/base/clock.h"
#include "triggers/delivery_internal.h"

const char *wr_delivery_state_name(enum wr_delivery_state state)
{
	static const char *const names[] = {"queued", "queued", "queued", "sending", "delivered", "failed"};

	return names[state];
}

void wr_hook_fini(struct wr_hook *hook)
{
	free(hook->answer);
	hook->answer = NULL;
	hook->answer_len = 0;
}

/* ---- rows ---- */

/* Zero for NULL. */
static bool read_oid(struct wr_oid *out, const struct wr_row *row, const char *column)
{
	struct wr_str bytes = wr_row_text(row, column);

	*out = (struct wr_oid){{0}};
	if (bytes.len == sizeof out->id)
		memcpy(out->id, bytes.ptr, sizeof out->id);
	return bytes.len == sizeof out->id;
}

static enum wr_delivery_kind kind_of(struct wr_str name)
{
	return wr_str_eqz(name, "test")	   ? WR_DELIVERY_TEST
	       : wr_str_eqz(name, "again") ? WR_DELIVERY_AGAIN
					   : WR_DELIVERY_PUSH;
}

static void read_body(struct wr_hook *out, const struct wr_row *row)
{
	wr_row_copy(row, "branch", out->branch, sizeof out->branch);
	wr_row_copy(row, "author", out->author, sizeof out->author);
	wr_row_copy(row, "note", out->note, sizeof out->note);
	wr_row_copy(row, "again_of", out->again_of, sizeof out->again_of);
	read_oid(&out->new, row, "new_oid");
	read_oid(&out->old, row, "old_oid");
	out->head_known = read_oid(&out->head, row, "head_oid");
	out->kind = kind_of(wr_row_text(row, "kind"));
	out->occurred_ms = wr_row_int(row, "occurred_ms");
	out->extended = wr_row_int(row, "extended") != 0;
	out->forced_known = !wr_row_null(row, "forced");
	out->forced = wr_row_int(row, "forced") != 0;
}

static enum wr_code read_answer(struct wr_hook *out, const struct wr_row *row, struct wr_error *err)
{
	struct wr_str bytes = wr_row_text(row, "answer");

	if (bytes.len == 0)
		return WR_OK;
	out->answer = wr_str_dup(bytes);
	out->answer_len = bytes.len;
	return out->answer ? WR_OK : wr_fail_nomem(err);
}

enum wr_code wr_hook_read(struct wr_hook *out, const struct wr_row *row, bool answer, struct wr_error *err)
{
	int64_t state = wr_row_int(row, "state");

	if (state < WR_DELIVERY_NEW || state > WR_DELIVERY_FAILED)
		return wr_fail(err, WR_E_INTERNAL, "a delivery's row has the state %lld", (long long)state);
	*out = (struct wr_hook){
		.seq = wr_row_int(row, "seq"),
		.trigger_seq = wr_row_int(row, "trigger_seq"),
		.turn = wr_row_int(row, "turn"),
		.created_ms = wr_row_int(row, "created_ms"),
		.state = (enum wr_delivery_state)state,
		.attempts = (unsigned)wr_row_int(row, "attempts"),
		.not_before_ms = wr_row_int(row, "not_before_ms"),
		.started_ms = wr_row_int(row, "started_ms"),
		.ended_ms = wr_row_int(row, "ended_ms"),
		.status = (int)wr_row_int(row, "status"),
		.latency_ms = wr_row_int(row, "latency_ms"),
	};
	wr_row_copy(row, "id", out->id, sizeof out->id);
	wr_row_copy(row, "account_id", out->account_id, sizeof out->account_id);
	wr_row_copy(row, "repo_id", out->repo_id, sizeof out->repo_id);
	wr_row_copy(row, "error", out->error, sizeof out->error);
	read_body(out, row);
	return answer ? read_answer(out, row, err) : WR_OK;
}

void wr_hook_read_place(struct wr_hook_place *out, const struct wr_row *row)
{
	out->trigger_seq = wr_row_int(row, "trigger_seq");
	out->turn = wr_row_int(row, "turn");
	wr_row_copy(row, "chain", out->chain, sizeof out->chain);
}

/* ---- turns ---- */

void wr_touched_fini(struct wr_touched *touched)
{
	free(touched->turns);
	free(touched->triggers);
	*touched = (struct wr_touched){.turns = NULL};
}

static enum wr_code touch(struct wr_touch **v, size_t *n, size_t *room, int64_t seq, int64_t change, struct wr_error *err)
{
	for (size_t i = *n; i-- > 0;)
		if ((*v)[i].seq == seq) {
			(*v)[i].change += change;
			return WR_OK;
		}
	if (*n == *room) {
		size_t more = *room ? 2 * *room : 16;
		struct wr_touch *p = reallocarray(*v, more, sizeof **v);

		if (!p)
			return wr_fail_nomem(err);
		*v = p;
		*room = more;
	}
	(*v)[(*n)++] = (struct wr_touch){.seq = seq, .change = change};
	return WR_OK;
}

enum wr_code wr_touch_turn(struct wr_touched *t, int64_t turn, int64_t pending, struct wr_error *err)
{
	return touch(&t->turns, &t->turn_count, &t->turn_room, turn, pending, err);
}

enum wr_code wr_touch_trigger(struct wr_touched *t, int64_t trigger_seq, int64_t ended, struct wr_error *err)
{
	return touch(&t->triggers, &t->trigger_count, &t->trigger_room, trigger_seq, ended, err);
}

static enum wr_code refresh_turn(struct wr_touch *turn, struct wr_tx *tx, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_tx_run(tx, SQL_DELIVERY_TURN_REFRESH, err, NULL, "ii", turn->seq, turn->change);
	bool empty;

	turn->account_id[0] = '\0';
	if (code == WR_OK)
		code = wr_tx_one(tx, SQL_DELIVERY_TURN_GET, err, &row, "i", turn->seq);
	/* Gone, which one with something pending cannot be: a row that names it has ended. */
	if (code != WR_OK)
		return code == WR_E_NOT_THERE ? WR_OK : code;
	wr_row_copy(&row, "account_id", turn->account_id, sizeof turn->account_id);
	empty = turn->change < 0 && wr_row_int(&row, "pending") == 0;
	wr_row_fini(&row);
	/* Its triggers may have gone to another host. */
	return empty ? wr_tx_run(tx, SQL_DELIVERY_TURN_DROP, err, NULL, "i", turn->seq) : WR_OK;
}

static enum wr_code refresh_account(struct wr_tx *tx, const char *account_id, struct wr_error *err)
{
	int64_t changed = 0;
	enum wr_code code = wr_tx_run(tx, SQL_DELIVERY_ACCOUNT_REFRESH, err, &changed, "s", account_id);

	return code == WR_OK && changed == 0 ? wr_tx_run(tx, SQL_DELIVERY_ACCOUNT_DROP, err, NULL, "s", account_id) : code;
}

/* Whether one of the first n turns is of the same account. */
static bool is_refreshed(const struct wr_touched *t, size_t n, const char *account_id)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(t->turns[i].account_id, account_id) == 0)
			return true;
	return false;
}

enum wr_code wr_touched_write(struct wr_touched *t, struct wr_tx *tx, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < t->trigger_count && code == WR_OK; i++)
		code = wr_tx_run(tx, SQL_DELIVERY_ENDED, err, NULL, "ii", t->triggers[i].seq, t->triggers[i].change);
	for (size_t i = 0; i < t->turn_count && code == WR_OK; i++)
		code = refresh_turn(&t->turns[i], tx, err);
	for (size_t i = 0; i < t->turn_count && code == WR_OK; i++)
		if (t->turns[i].account_id[0] && !is_refreshed(t, i, t->turns[i].account_id))
			code = refresh_account(tx, t->turns[i].account_id, err);
	t->turn_count = t->trigger_count = 0;
	return code;
}

/* ---- chains ---- */

enum wr_code wr_delivery_settle(struct wr_touched *touched, struct wr_tx *tx, int64_t trigger_seq, const char *chain,
				struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_tx_one(tx, SQL_DELIVERY_CHAIN_FIRST, err, &row, "is", trigger_seq, chain);
	int64_t seq, turn;

	if (code != WR_OK || !wr_row_int(&row, "settles"))
		return code == WR_E_NOT_THERE ? WR_OK : code;
	seq = wr_row_int(&row, "seq");
	turn = wr_row_int(&row, "turn");
	wr_row_fini(&row);
	code = wr_tx_run(tx, SQL_DELIVERY_SETTLE, err, NULL, "ii", seq, wr_now_ms());
	return code == WR_OK ? wr_touch_turn(touched, turn, 0, err) : code;
}

enum wr_code wr_delivery_left(struct wr_touched *touched, struct wr_tx *tx, const struct wr_hook_place *place, bool ended,
			      struct wr_error *err)
{
	enum wr_code code = wr_touch_turn(touched, place->turn, -1, err);

	if (code == WR_OK && ended)
		code = wr_touch_trigger(touched, place->trigger_seq, 1, err);
	/* A chain of one that waits for nobody has no next. */
	if (code != WR_OK || place->chain[0] == ':')
		return code;
	return wr_delivery_settle(touched, tx, place->trigger_seq, place->chain, err);
}

enum wr_code wr_delivery_give_up(struct wr_touched *touched, struct wr_tx *tx, int64_t seq, const char *why,
				 struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	struct wr_hook_place place;
	enum wr_code code = wr_tx_one(tx, SQL_DELIVERY_GIVE_UP, err, &row, "isi", seq, why, wr_now_ms());

	if (code != WR_OK)
		return code;
	wr_hook_read_place(&place, &row);
	wr_row_fini(&row);
	return wr_delivery_left(touched, tx, &place, true, err);
}
