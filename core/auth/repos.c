#include "core/auth/repos.h"

#include <stdio.h>

#include "core/auth/label.h"
#include "core/base/alive.h"
#include "core/base/clock.h"

/* Migration 0006 counts repositories together whose seq is the same but for so many bits. */
#define BLOCK_BITS 10

static const char *visibility(bool public_)
{
	return public_ ? "public" : "private";
}

static enum wr_code not_found(const char *repo_id, struct wr_error *err)
{
	wr_fail(err, WR_E_REPO_NOT_FOUND, "%s", wr_code_text(WR_E_REPO_NOT_FOUND));
	wr_error_field(err, "repoId", wr_str(repo_id));
	return WR_E_REPO_NOT_FOUND;
}

void wr_repo_read(struct wr_repo *out, const struct wr_row *row)
{
	wr_row_copy(row, "id", out->id, sizeof out->id);
	wr_row_copy(row, "account_id", out->account_id, sizeof out->account_id);
	wr_row_copy(row, "name", out->name, sizeof out->name);
	out->has_name = !wr_row_null(row, "name");
	out->public_ = wr_str_eqz(wr_row_text(row, "visibility"), "public");
	wr_row_copy(row, "default_branch", out->default_branch, sizeof out->default_branch);
	out->created_ms = wr_row_int(row, "created_ms");
}

struct creation {
	const struct wr_repo *repo;
	const char *fold;
};

static enum wr_code create(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct creation *c = arg;
	const struct wr_repo *repo = c->repo;

	return wr_tx_run(tx, SQL_REPO_ADD, err, NULL, "ssssssi", repo->id, repo->account_id,
			 repo->has_name ? repo->name : NULL, c->fold, visibility(repo->public_), repo->default_branch,
			 repo->created_ms);
}

enum wr_code wr_repo_create(struct wr_repo *out, struct wr_db *db, const char *account_id,
			    const struct wr_repo_new *new, struct wr_error *err)
{
	WR_AUTO_MEM char *fold = NULL;
	struct wr_repo repo = {.has_name = new->name.ptr != NULL, .public_ = new->public_, .created_ms = wr_now_ms()};
	struct creation c;
	enum wr_code code;

	if (new->name.len > WR_REPO_NAME_MAX || new->default_branch.len > WR_BRANCH_NAME_MAX ||
	    strlen(account_id) > WR_UUID_LEN)
		return wr_fail(err, WR_E_INTERNAL, "a name that was not checked");
	wr_uuid_new(repo.id);
	memcpy(repo.account_id, account_id, strlen(account_id) + 1);
	memcpy(repo.default_branch, new->default_branch.ptr, new->default_branch.len);
	if (repo.has_name) {
		memcpy(repo.name, new->name.ptr, new->name.len);
		fold = wr_label_fold(new->name);
		if (!fold)
			return wr_fail_nomem(err);
	}
	c = (struct creation){&repo, fold};
	code = wr_db_write(db, WR_DB_FULL, create, &c, err);
	if (code == WR_OK)
		*out = repo;
	return code;
}

enum wr_code wr_repo_get(struct wr_repo *out, struct wr_db *db, const char *account_id, struct wr_str repo_id,
			 struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	char id[WR_UUID_LEN + 1];
	enum wr_code code = WR_E_NOT_THERE;

	if (wr_uuid_parse(repo_id, id))
		code = wr_db_one(db, SQL_REPO_GET, err, &row, "ss", account_id, id);
	if (code == WR_E_NOT_THERE) {
		wr_fail(err, WR_E_REPO_NOT_FOUND, "%s", wr_code_text(WR_E_REPO_NOT_FOUND));
		wr_error_field(err, "repoId", repo_id);
		return WR_E_REPO_NOT_FOUND;
	}
	if (code == WR_OK)
		wr_repo_read(out, &row);
	return code;
}

/* One page of one caller's list: where it begins, and how many rows the list has in all. */
struct listing {
	const struct wr_caller *caller;
	const char *fold; /* NULL: all of them */
	int64_t limit, skip;
	int64_t below; /* an API key's caller: only rows before this seq */
	int64_t total;
};

/*
 * How many there are; of all of an account also where the page is, so that few rows before it have to be skipped. *held
 * keeps the instant. WR_E_NOT_THERE: there are none.
 */
static enum wr_code count(struct listing *l, struct wr_row *held, struct wr_db *db, struct wr_error *err)
{
	const char *account = l->caller->account_id;
	enum wr_code code;

	l->below = INT64_MAX;
	if (l->caller->kind != WR_BY_KEY)
		code = wr_db_one(db, SQL_REPO_COUNT_GRANTED, err, held, "sss", account, l->caller->identity_id, l->fold);
	else if (l->fold)
		code = wr_db_one(db, SQL_REPO_COUNT, err, held, "ss", account, l->fold);
	else
		code = wr_db_one(db, SQL_REPO_PLACE, err, held, "si", account, l->skip);
	if (code != WR_OK)
		return code;
	if (l->caller->kind != WR_BY_KEY || l->fold) {
		l->total = wr_row_int(held, "n");
		return WR_OK;
	}
	l->total = wr_row_int(held, "total");
	l->skip -= wr_row_int(held, "before");
	l->below = (wr_row_int(held, "block") + 1) << BLOCK_BITS;
	return WR_OK;
}

static enum wr_code none(size_t *n, uint64_t *total)
{
	*n = 0;
	*total = 0;
	return WR_OK;
}

enum wr_code wr_repo_list(struct wr_repo *out, size_t *n, uint64_t *total, struct wr_db *db,
			  const struct wr_caller *caller, struct wr_str search, size_t limit, uint64_t offset,
			  struct wr_error *err)
{
	WR_AUTO_MEM char *fold = NULL;
	WR_AUTO_S(wr_row) held = WR_ROW_INIT;
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	struct listing l = {.caller = caller, .limit = (int64_t)limit,
			    .skip = offset > INT64_MAX ? INT64_MAX : (int64_t)offset};
	enum wr_code code;
	size_t got = 0;

	/* What no name can contain, none contains. */
	if (search.len > 0 && (search.len > WR_REPO_NAME_MAX || !wr_label_ok(search, SIZE_MAX, SIZE_MAX)))
		return none(n, total);
	if (search.len > 0 && !(l.fold = fold = wr_label_fold(search)))
		return wr_fail_nomem(err);
	/* The count's row is held while the list is read, so that both are of the same instant. */
	code = count(&l, &held, db, err);
	if (code != WR_OK)
		return code == WR_E_NOT_THERE ? none(n, total) : code;
	if (caller->kind == WR_BY_KEY)
		code = wr_db_query(db, SQL_REPO_LIST, err, &row, "ssiii", caller->account_id, l.fold, l.below, l.limit,
				   l.skip);
	else
		code = wr_db_query(db, SQL_REPO_LIST_GRANTED, err, &row, "sssii", caller->account_id,
				   caller->identity_id, l.fold, l.limit, l.skip);
	if (code != WR_OK)
		return code;
	while (got < limit && (code = wr_row_next(&row, err)) == WR_OK)
		wr_repo_read(&out[got++], &row);
	if (code != WR_OK && code != WR_E_NOT_THERE)
		return code;
	*n = got;
	*total = (uint64_t)l.total;
	return WR_OK;
}

struct setting {
	enum wr_sql sql;
	const char *account_id, *repo_id;
	struct wr_str value;
};

static enum wr_code set(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct setting *s = arg;
	int64_t changed = 0;
	enum wr_code code = wr_tx_run(tx, s->sql, err, &changed, "sst", s->account_id, s->repo_id, s->value);

	return code == WR_OK && changed == 0 ? not_found(s->repo_id, err) : code;
}

enum wr_code wr_repo_set_default_branch(struct wr_db *db, const char *account_id, const char *repo_id,
					struct wr_str branch, struct wr_error *err)
{
	struct setting s = {SQL_REPO_SET_DEFAULT_BRANCH, account_id, repo_id, branch};

	if (branch.len > WR_BRANCH_NAME_MAX)
		return wr_fail(err, WR_E_INTERNAL, "a name that was not checked");
	return wr_db_write(db, WR_DB_FULL, set, &s, err);
}

enum wr_code wr_repo_set_visibility(struct wr_db *db, const char *account_id, const char *repo_id, bool public_,
				    struct wr_error *err)
{
	struct setting s = {SQL_REPO_SET_VISIBILITY, account_id, repo_id, wr_str(visibility(public_))};

	return wr_db_write(db, WR_DB_FULL, set, &s, err);
}

struct target {
	const char *account_id, *repo_id;
};

static enum wr_code delete(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct target *t = arg;
	int64_t changed = 0;
	enum wr_code code = wr_tx_run(tx, SQL_REPO_DELETE, err, &changed, "ss", t->account_id, t->repo_id);

	if (code != WR_OK)
		return code;
	if (changed == 0)
		return not_found(t->repo_id, err);
	code = wr_tx_run(tx, SQL_REPO_DELETE_GRANTS, err, NULL, "ss", t->account_id, t->repo_id);
	if (code != WR_OK)
		return code;
	return wr_tx_run(tx, SQL_REPO_BURY_TRIGGERS, err, NULL, "ssi", t->account_id, t->repo_id, wr_now_ms());
}

enum wr_code wr_repo_delete(struct wr_db *db, const char *account_id, const char *repo_id, struct wr_error *err)
{
	struct target t = {account_id, repo_id};

	return wr_db_write(db, WR_DB_FULL, delete, &t, err);
}


/* ---- creations that take their time ---- */

enum wr_code wr_repo_begin(struct wr_tx *tx, const char *id, const char *account_id, const struct wr_repo_new *new,
			   const char *maker, struct wr_error *err)
{
	WR_AUTO_S(wr_row) account = WR_ROW_INIT;
	WR_AUTO_MEM char *fold = NULL;
	enum wr_code code;

	if (new->name.len > WR_REPO_NAME_MAX || new->default_branch.len > WR_BRANCH_NAME_MAX)
		return wr_fail(err, WR_E_INTERNAL, "a name that was not checked");
	if (new->name.ptr && !(fold = wr_label_fold(new->name)))
		return wr_fail_nomem(err);
	code = wr_tx_one(tx, SQL_ACCOUNT_BY_ID, err, &account, "s", account_id);
	if (code == WR_E_NOT_THERE)
		return wr_fail(err, WR_E_NOT_FOUND, "The account is being deleted");
	if (code != WR_OK)
		return code;
	return wr_tx_run(tx, SQL_REPO_BEGIN, err, NULL, "sstsstis", id, account_id, new->name, fold,
			 visibility(new->public_), new->default_branch, wr_now_ms(), maker);
}

struct finishing {
	const char *account_id, *repo_id, *maker;
	struct wr_str default_branch;
};

enum wr_code wr_repo_finish_in(struct wr_tx *tx, const char *account_id, const char *repo_id, const char *maker,
			       struct wr_str default_branch, struct wr_error *err)
{
	int64_t changed = 0;
	enum wr_code code;

	if (default_branch.len > WR_BRANCH_NAME_MAX)
		return wr_fail(err, WR_E_INTERNAL, "a name that was not checked");
	code = wr_tx_run(tx, SQL_REPO_FINISH, err, &changed, "ssst", account_id, repo_id, maker, default_branch);
	return code == WR_OK && changed == 0 ? not_found(repo_id, err) : code;
}

static enum wr_code finish(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct finishing *f = arg;

	return wr_repo_finish_in(tx, f->account_id, f->repo_id, f->maker, f->default_branch, err);
}

enum wr_code wr_repo_finish(struct wr_db *db, const char *account_id, const char *repo_id, const char *maker,
			    struct wr_str default_branch, struct wr_error *err)
{
	struct finishing f = {account_id, repo_id, maker, default_branch};

	return wr_db_write(db, WR_DB_FULL, finish, &f, err);
}

enum wr_code wr_repo_making(bool *making, struct wr_db *db, const char *account_id, const char *repo_id,
			    const char *maker, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_db_one(db, SQL_REPO_MAKING, err, &row, "sss", account_id, repo_id, maker);

	if (code == WR_E_NOT_THERE)
		return not_found(repo_id, err);
	if (code == WR_OK)
		*making = wr_row_int(&row, "making") != 0;
	return code;
}

static enum wr_code abandon(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct target *t = arg;

	return wr_tx_run(tx, SQL_REPO_ABANDON, err, NULL, "ss", t->account_id, t->repo_id);
}

enum wr_code wr_repo_abandon(struct wr_db *db, const char *account_id, const char *repo_id, struct wr_error *err)
{
	struct target t = {account_id, repo_id};

	return wr_db_write(db, WR_DB_FULL, abandon, &t, err);
}

/*
 * Whether the maker that a row names may still be at it. A job that waits may be so later, which counts for a creation,
 * and not for one that is doomed: no job begins on that.
 */
static bool maker_lives(const struct wr_row *row, const char *run, bool waiting_counts)
{
	struct wr_str state = wr_row_text(row, "job_state");
	char maker[64];

	if (wr_row_null(row, "maker"))
		return false;
	if (state.ptr)
		return wr_str_eqz(state, "running") || (waiting_counts && wr_str_eqz(state, "queued"));
	wr_row_copy(row, "maker", maker, sizeof maker);
	return !wr_uuid_parse(wr_str(maker), (char[WR_UUID_LEN + 1]){0}) && wr_alive_check(run, maker);
}

/* Rows with the columns of REPO_DELETING. of: what maker_lives() is told. */
static enum wr_code read_doomed(struct wr_doomed *out, size_t *n, size_t max, struct wr_db *db, struct wr_row *row,
				bool of, struct wr_error *err)
{
	WR_AUTO_MEM char *run = NULL;
	enum wr_code code = WR_OK;
	size_t got = 0;

	if (asprintf(&run, "%s/run", wr_db_folder(db)) < 0) {
		run = NULL;
		return wr_fail_nomem(err);
	}
	while (got < max && (code = wr_row_next(row, err)) == WR_OK) {
		out[got].seq = wr_row_int(row, "seq");
		wr_row_copy(row, "id", out[got].id, sizeof out[got].id);
		wr_row_copy(row, "account_id", out[got].account_id, sizeof out[got].account_id);
		out[got].busy = maker_lives(row, run, of);
		got++;
	}
	if (code != WR_OK && code != WR_E_NOT_THERE)
		return code;
	*n = got;
	return WR_OK;
}

#define PAGE 64

enum wr_code wr_repo_abandon_creations(struct wr_db *db, struct wr_error *err)
{
	struct wr_doomed rows[PAGE];
	int64_t after = 0;
	size_t n = PAGE;

	while (n == PAGE) {
		WR_AUTO_S(wr_row) row = WR_ROW_INIT;
		enum wr_code code = wr_db_query(db, SQL_REPO_CREATING, err, &row, "ii", after, (int64_t)PAGE);

		if (code == WR_OK)
			code = read_doomed(rows, &n, PAGE, db, &row, true, err);
		wr_row_fini(&row);
		for (size_t i = 0; i < n && code == WR_OK; i++) {
			after = rows[i].seq;
			if (!rows[i].busy)
				code = wr_repo_abandon(db, rows[i].account_id, rows[i].id, err);
		}
		if (code != WR_OK)
			return code;
	}
	return WR_OK;
}

enum wr_code wr_repo_doomed(struct wr_doomed *out, size_t *n, struct wr_db *db, const char *account_id, int64_t after,
			    size_t max, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code;

	if (account_id)
		code = wr_db_query(db, SQL_REPO_DELETING_OF, err, &row, "sii", account_id, after, (int64_t)max);
	else
		code = wr_db_query(db, SQL_REPO_DELETING, err, &row, "ii", after, (int64_t)max);
	return code == WR_OK ? read_doomed(out, n, max, db, &row, false, err) : code;
}

struct purging {
	const struct wr_doomed *rows;
	size_t n;
};

static enum wr_code purge(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct purging *p = arg;
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < p->n && code == WR_OK; i++) {
		const struct wr_doomed *row = &p->rows[i];

		code = wr_tx_run(tx, SQL_REPO_PURGE, err, NULL, "ss", row->account_id, row->id);
		if (code == WR_OK)
			code = wr_tx_run(tx, SQL_ACCOUNT_PURGE, err, NULL, "s", row->account_id);
	}
	return code;
}

enum wr_code wr_repo_purge(struct wr_db *db, const struct wr_doomed *rows, size_t n, struct wr_error *err)
{
	struct purging p = {rows, n};

	return wr_db_write(db, WR_DB_NORMAL, purge, &p, err);
}

enum wr_code wr_repo_there(bool *there, struct wr_db *db, const char *account_id, const char *repo_id,
			   struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_db_one(db, SQL_REPO_THERE, err, &row, "ss", account_id, repo_id);

	if (code != WR_OK && code != WR_E_NOT_THERE)
		return code;
	*there = code == WR_OK;
	return WR_OK;
}

enum wr_code wr_repo_find(struct wr_repo *out, struct wr_db *db, struct wr_str repo_id, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	char id[WR_UUID_LEN + 1];
	enum wr_code code = WR_E_NOT_THERE;

	if (wr_uuid_parse(repo_id, id))
		code = wr_db_one(db, SQL_REPO_FIND, err, &row, "s", id);
	if (code == WR_E_NOT_THERE)
		return wr_fail(err, WR_E_REPO_NOT_FOUND, "There is no repository \"%.*s\"; give its id",
			       (int)repo_id.len, repo_id.ptr ? repo_id.ptr : "");
	if (code == WR_OK)
		wr_repo_read(out, &row);
	return code;
}

enum wr_code wr_repo_default_branch(char *out, size_t cap, struct wr_db *db, const char *repo_id, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_db_one(db, SQL_REPO_DEFAULT_BRANCH, err, &row, "s", repo_id);

	if (code == WR_OK)
		wr_row_copy(&row, "default_branch", out, cap);
	return code;
}
