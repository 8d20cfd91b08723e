#include "core/auth/due.h"

/* Accounts that are asked for one page. Each costs one step into an index, whether anything of it is due yet or not. */
#define ACCOUNTS 64

static void read_row(struct wr_due_repo *out, const struct wr_row *row)
{
	wr_row_copy(row, "id", out->id, sizeof out->id);
	wr_row_copy(row, "account_id", out->account_id, sizeof out->account_id);
	wr_row_copy(row, "due_why", out->why, sizeof out->why);
	out->at_ms = wr_row_int(row, "due_ms");
}

static bool has(const struct wr_due_repo *v, size_t n, const char *id)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(v[i].id, id) == 0)
			return true;
	return false;
}

static enum wr_code behind(struct wr_due_repo *out, struct wr_db *db, const char *after, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_db_one(db, SQL_REPO_DUE_BEHIND, err, &row, "s", after);

	if (code == WR_OK)
		read_row(out, &row);
	return code;
}

/* One of each account, in turn; once round at most. */
static enum wr_code of_accounts(struct wr_due_repo *out, size_t *n, char after[WR_UUID_LEN + 1], struct wr_db *db,
				int64_t now_ms, size_t max, struct wr_error *err)
{
	char began[WR_UUID_LEN + 1];
	bool round = after[0] == '\0';

	memcpy(began, after, sizeof began);
	for (unsigned i = 0; i < ACCOUNTS && *n < max; i++) {
		struct wr_due_repo one;
		enum wr_code code = behind(&one, db, after, err);

		if (code == WR_E_NOT_THERE) {
			after[0] = '\0';
			if (round)
				return WR_OK;
			round = true;
			continue;
		}
		if (code != WR_OK)
			return code;
		if (round && began[0] && strcmp(one.account_id, began) > 0)
			return WR_OK;
		memcpy(after, one.account_id, sizeof one.account_id);
		if (one.at_ms <= now_ms && !has(out, *n, one.id))
			out[(*n)++] = one;
	}
	return WR_OK;
}

static enum wr_code oldest(struct wr_due_repo *out, size_t *n, struct wr_db *db, int64_t now_ms, size_t max,
			   struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_db_query(db, SQL_REPO_DUE, err, &row, "ii", now_ms, (int64_t)max);

	while (code == WR_OK && *n < max && (code = wr_row_next(&row, err)) == WR_OK) {
		struct wr_due_repo one;

		read_row(&one, &row);
		if (!has(out, *n, one.id))
			out[(*n)++] = one;
	}
	return code == WR_E_NOT_THERE ? WR_OK : code;
}

static enum wr_code later(int64_t *at_ms, struct wr_db *db, int64_t now_ms, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_db_one(db, SQL_REPO_DUE_LATER, err, &row, "i", now_ms);

	if (code == WR_E_NOT_THERE) {
		*at_ms = INT64_MAX;
		return WR_OK;
	}
	if (code == WR_OK)
		*at_ms = wr_row_int(&row, "due_ms");
	return code;
}

enum wr_code wr_due_repos(struct wr_due_repo *out, size_t *n, int64_t *next_ms, char after[WR_UUID_LEN + 1],
			  struct wr_db *db, int64_t now_ms, size_t max, struct wr_error *err)
{
	size_t got = 0;
	int64_t next;
	enum wr_code code = oldest(out, &got, db, now_ms, 1, err);

	/* Where nothing is due no account needs to be asked. */
	if (code == WR_OK && got > 0) {
		got = 0;
		code = of_accounts(out, &got, after, db, now_ms, max, err);
		if (code == WR_OK)
			code = oldest(out, &got, db, now_ms, max, err);
	}
	if (code == WR_OK)
		code = later(&next, db, now_ms, err);
	if (code != WR_OK)
		return code;
	*n = got;
	*next_ms = next;
	return WR_OK;
}

struct change {
	const char *repo_id, *why;
	int64_t was_ms, at_ms, changed;
};

static enum wr_code move(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	struct change *c = arg;

	if (c->at_ms == 0)
		return wr_tx_run(tx, SQL_REPO_DUE_MOVE, err, &c->changed, "sin", c->repo_id, c->was_ms);
	return wr_tx_run(tx, SQL_REPO_DUE_MOVE, err, &c->changed, "sii", c->repo_id, c->was_ms, c->at_ms);
}

enum wr_code wr_due_move(bool *mine, struct wr_db *db, const char *repo_id, int64_t was_ms, int64_t at_ms,
			 struct wr_error *err)
{
	struct change c = {.repo_id = repo_id, .was_ms = was_ms, .at_ms = at_ms};
	enum wr_code code = wr_db_write(db, WR_DB_NORMAL, move, &c, err);

	if (code == WR_OK)
		*mine = c.changed > 0;
	return code;
}

static enum wr_code set(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct change *c = arg;

	return wr_tx_run(tx, SQL_REPO_DUE_SET, err, NULL, "sis", c->repo_id, c->at_ms, c->why);
}

enum wr_code wr_due_set(struct wr_db *db, const char *repo_id, int64_t at_ms, const char *why, struct wr_error *err)
{
	struct change c = {.repo_id = repo_id, .why = why, .at_ms = at_ms};

	return wr_db_write(db, WR_DB_FULL, set, &c, err);
}
