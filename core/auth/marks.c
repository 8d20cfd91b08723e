#include "core/auth/marks.h"

enum wr_code wr_mark_set(uint64_t *event_seq, struct wr_tx *tx, const char *repo_id, const char *token,
			 struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_tx_one(tx, SQL_REPO_MARK, err, &row, "ss", repo_id, token);

	if (code != WR_OK && code != WR_E_NOT_THERE)
		return code;
	*event_seq = code == WR_OK ? (uint64_t)wr_row_int(&row, "event_seq") : WR_MARK_GONE;
	return WR_OK;
}

static enum wr_code get(uint64_t *event_seq, struct wr_tx *tx, const char *repo_id, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_tx_one(tx, SQL_REPO_EVENT_SEQ, err, &row, "s", repo_id);

	if (code != WR_OK && code != WR_E_NOT_THERE)
		return code;
	*event_seq = code == WR_OK ? (uint64_t)wr_row_int(&row, "event_seq") : WR_MARK_GONE;
	return WR_OK;
}

enum wr_code wr_mark_advance(bool *mine, uint64_t *event_seq, struct wr_tx *tx, const char *repo_id, uint64_t from,
			     uint64_t to, struct wr_error *err)
{
	int64_t changed = 0;
	enum wr_code code;

	if (from > INT64_MAX || to > INT64_MAX)
		return wr_fail(err, WR_E_INTERNAL, "a sequence beyond all that there can be");
	code = wr_tx_run(tx, SQL_REPO_ADVANCE, err, &changed, "sii", repo_id, (int64_t)from, (int64_t)to);
	if (code == WR_OK)
		code = get(event_seq, tx, repo_id, err);
	if (code == WR_OK)
		*mine = changed > 0;
	return code;
}

enum wr_code wr_mark_part(bool *mine, uint64_t *part, struct wr_tx *tx, const char *repo_id, uint64_t from,
			  struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = from > INT64_MAX ? WR_E_NOT_THERE
					     : wr_tx_one(tx, SQL_REPO_EVENT_PART, err, &row, "si", repo_id, (int64_t)from);

	if (code != WR_OK && code != WR_E_NOT_THERE)
		return code;
	*mine = code == WR_OK;
	if (*mine)
		*part = (uint64_t)wr_row_int(&row, "part");
	return WR_OK;
}

enum wr_code wr_mark_set_part(struct wr_tx *tx, const char *repo_id, uint64_t from, uint64_t part, struct wr_error *err)
{
	return wr_tx_run(tx, SQL_REPO_SET_EVENT_PART, err, NULL, "sii", repo_id, (int64_t)from, (int64_t)part);
}

struct clearing {
	const char *repo_id, *token;
};

static enum wr_code clear(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct clearing *c = arg;

	return wr_tx_run(tx, SQL_REPO_UNMARK, err, NULL, "ss", c->repo_id, c->token);
}

enum wr_code wr_mark_clear(struct wr_db *db, const char *repo_id, const char *token, struct wr_error *err)
{
	struct clearing c = {repo_id, token};

	return wr_db_write(db, WR_DB_NORMAL, clear, &c, err);
}

struct settling {
	const char *repo_id, *token;
	const struct wr_row_due *due;
};

static enum wr_code settle(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct settling *s = arg;

	if (!s->due->why[0])
		return wr_tx_run(tx, SQL_REPO_SETTLE, err, NULL, "ssnn", s->repo_id, s->token);
	return wr_tx_run(tx, SQL_REPO_SETTLE, err, NULL, "ssis", s->repo_id, s->token, s->due->at_ms, s->due->why);
}

enum wr_code wr_mark_settle(struct wr_db *db, const char *repo_id, const char *token, const struct wr_row_due *due,
			    struct wr_error *err)
{
	struct settling s = {repo_id, token, due};

	return wr_db_write(db, WR_DB_NORMAL, settle, &s, err);
}

enum wr_code wr_mark_next(char out[WR_UUID_LEN + 1], struct wr_db *db, const char *after, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_db_one(db, SQL_REPO_NEXT_MARKED, err, &row, "s", after);

	if (code == WR_OK)
		wr_row_copy(&row, "id", out, WR_UUID_LEN + 1);
	return code;
}
