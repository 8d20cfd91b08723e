/* What people see of deliveries. */
#include "core/base/clock.h"
#include "triggers/delivery_internal.h"

static enum wr_code no_such(struct wr_error *err)
{
	return wr_fail(err, WR_E_NOT_FOUND, "The trigger has no delivery with this id, or it is forgotten by now");
}

static enum wr_code find(struct wr_row *row, struct wr_db *db, const struct wr_trigger *trigger, struct wr_str id,
			 struct wr_error *err)
{
	char name[WR_UUID_LEN + 1];
	enum wr_code code = WR_E_NOT_THERE;

	if (wr_uuid_parse(id, name))
		code = wr_db_one(db, SQL_DELIVERY_GET, err, row, "sis", trigger->account_id, trigger->seq, name);
	return code == WR_E_NOT_THERE ? no_such(err) : code;
}

enum wr_code wr_delivery_get(struct wr_hook *out, struct wr_db *db, const struct wr_trigger *trigger, struct wr_str id,
			     struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = find(&row, db, trigger, id, err);

	return code == WR_OK ? wr_hook_read(out, &row, true, err) : code;
}

/* Where the list begins: before this seq. */
static enum wr_code find_place(int64_t *before_seq, struct wr_db *db, const struct wr_trigger *trigger,
			       struct wr_str before, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code;

	*before_seq = INT64_MAX;
	if (before.len == 0)
		return WR_OK;
	code = find(&row, db, trigger, before, err);
	if (code == WR_OK)
		*before_seq = wr_row_int(&row, "seq");
	return code;
}

enum wr_code wr_delivery_list(struct wr_hook *out, size_t *n, size_t max, struct wr_db *db,
			      const struct wr_trigger *trigger, struct wr_str before, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	int64_t before_seq;
	size_t got = 0;
	enum wr_code code = find_place(&before_seq, db, trigger, before, err);

	if (code == WR_OK)
		code = wr_db_query(db, SQL_DELIVERY_LIST, err, &row, "siii", trigger->account_id, trigger->seq, before_seq,
				   (int64_t)max);
	while (code == WR_OK && (code = wr_row_next(&row, err)) == WR_OK)
		if ((code = wr_hook_read(&out[got], &row, true, err)) == WR_OK)
			got++;
	if (code == WR_E_NOT_THERE) {
		*n = got;
		return WR_OK;
	}
	while (got > 0)
		wr_hook_fini(&out[--got]);
	return code;
}

/* ---- numbers ---- */

/* A number of one row; what stands for none where there is no row. */
static enum wr_code look_up(int64_t *out, struct wr_row *row, enum wr_code code, const char *column)
{
	if (code == WR_OK)
		*out = wr_row_int(row, column);
	wr_row_fini(row);
	return code == WR_E_NOT_THERE ? WR_OK : code;
}

/* The least of what each trigger has waited for longest: there are as many steps as triggers that wait for something. */
static enum wr_code find_oldest(int64_t *out, struct wr_db *db, struct wr_error *err)
{
	int64_t trigger = 0, oldest = 0;

	for (;;) {
		WR_AUTO_S(wr_row) row = WR_ROW_INIT;
		enum wr_code code = wr_db_one(db, SQL_DELIVERIES_OLDEST, err, &row, "i", trigger);
		int64_t ms;

		if (code != WR_OK) {
			*out = oldest;
			return code == WR_E_NOT_THERE ? WR_OK : code;
		}
		trigger = wr_row_int(&row, "trigger_seq");
		ms = wr_row_int(&row, "created_ms");
		oldest = oldest == 0 || ms < oldest ? ms : oldest;
	}
}

enum wr_code wr_deliveries_look(struct wr_deliveries_state *out, struct wr_db *db, struct wr_error *err)
{
	struct wr_row row = WR_ROW_INIT;
	int64_t pending = 0, sending = 0, oldest = 0, due = 0;
	enum wr_code code = wr_db_one(db, SQL_DELIVERIES_PENDING, err, &row, "");

	if ((code = look_up(&pending, &row, code, "n")) == WR_OK) {
		code = wr_db_one(db, SQL_DELIVERIES_SENDING, err, &row, "");
		code = look_up(&sending, &row, code, "n");
	}
	if (code == WR_OK) {
		code = wr_db_one(db, SQL_DELIVERIES_DUE, err, &row, "i", wr_now_ms());
		code = look_up(&due, &row, code, "next_ms");
	}
	if (code == WR_OK)
		code = find_oldest(&oldest, db, err);
	if (code == WR_OK)
		*out = (struct wr_deliveries_state){.pending = pending > 0 ? (uint64_t)pending : 0,
						    .sending = (uint64_t)sending, .oldest_ms = oldest, .due_ms = due};
	return code;
}
