#include "server/due_rows.h"

#include "core/auth/due.h"

#define PAGE 64

static enum wr_code page(void *arg, struct wr_due_row *out, size_t *n, size_t max, int64_t now_ms, int64_t *next_ms,
			 struct wr_error *err)
{
	struct wr_due_rows *rows = arg;
	struct wr_due_repo got[PAGE];
	size_t count;
	enum wr_code code =
		wr_due_repos(got, &count, next_ms, rows->after, rows->db, now_ms, max < PAGE ? max : PAGE, err);

	if (code != WR_OK)
		return code;
	for (size_t i = 0; i < count; i++) {
		memcpy(out[i].repo_id, got[i].id, sizeof got[i].id);
		out[i].due = (struct wr_due){wr_due_named(wr_str(got[i].why)), got[i].at_ms};
	}
	*n = count;
	return WR_OK;
}

static enum wr_code move(void *arg, bool *mine, const char *repo_id, int64_t was_ms, int64_t at_ms,
			 struct wr_error *err)
{
	const struct wr_due_rows *rows = arg;

	return wr_due_move(mine, rows->db, repo_id, was_ms, at_ms, err);
}

static enum wr_code note(void *arg, const char *repo_id, const struct wr_due *due, struct wr_error *err)
{
	const struct wr_due_rows *rows = arg;

	return wr_due_set(rows->db, repo_id, due->at_ms, wr_due_name(due->why), err);
}

void wr_due_rows_init(struct wr_due_rows *out, struct wr_db *db)
{
	*out = (struct wr_due_rows){.db = db, .list = {.arg = out, .page = page, .move = move, .note = note}};
}
