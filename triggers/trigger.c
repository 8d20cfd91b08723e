#include "triggers/trigger.h"

#include "core/auth/repos.h"
#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/glob.h"
#include "core/git/snapshot.h"

void wr_trigger_fini(struct wr_trigger *trigger)
{
	json_decref(trigger->branches);
	json_decref(trigger->globs);
	trigger->branches = trigger->globs = NULL;
}

static enum wr_code no_such(struct wr_error *err)
{
	return wr_fail(err, WR_E_NOT_FOUND, "The repository has no trigger with this id");
}

/* ---- what a client sent ---- */

static enum wr_code check_pattern(const char *field, size_t i, json_t *value, struct wr_error *err)
{
	WR_AUTO(wr_glob) *glob = NULL;
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	struct wr_str text = wr_str_n(json_string_value(value), json_string_length(value));
	enum wr_code code;

	if (!json_is_string(value) || text.len == 0)
		return wr_fail(err, WR_E_INVALID_REQUEST, "%s[%zu] has to be a name or a glob", field, i);
	if (memchr(text.ptr, '\0', text.len))
		return wr_fail(err, WR_E_INVALID_REQUEST, "%s[%zu] has a NUL character, which no name has", field, i);
	code = wr_glob_new(&glob, text, &why);
	if (code == WR_E_INVALID_REQUEST)
		return wr_fail(err, code, "%s[%zu]: %s", field, i, wr_error_text(&why));
	if (code != WR_OK)
		wr_error_move(err, &why);
	return code;
}

enum wr_code wr_trigger_check_filter(json_t **out, const char *field, json_t *value, struct wr_error *err)
{
	size_t n = json_array_size(value);
	json_t *copy;

	if (value && !json_is_null(value) && !json_is_array(value))
		return wr_fail(err, WR_E_INVALID_REQUEST, "%s has to be an array of globs, or null for no filter", field);
	if (n > WR_TRIGGER_PATTERNS_MAX)
		return wr_fail(err, WR_E_INVALID_REQUEST, "%s has at most %d globs", field, WR_TRIGGER_PATTERNS_MAX);
	for (size_t i = 0; i < n; i++) {
		enum wr_code code = check_pattern(field, i, json_array_get(value, i), err);

		if (code != WR_OK)
			return code;
	}
	copy = n > 0 ? json_deep_copy(value) : NULL;
	if (n > 0 && !copy)
		return wr_fail_nomem(err);
	*out = copy;
	return WR_OK;
}

/* ---- rows ---- */

const char *wr_trigger_payload_name(enum wr_trigger_payload payload)
{
	switch (payload) {
	case WR_PAYLOAD_BASIC:
		return "basic";
	case WR_PAYLOAD_EXTENDED:
		return "extended";
	default:
		return NULL;
	}
}

static enum wr_code read_filter(json_t **out, const struct wr_row *row, const char *column, struct wr_error *err)
{
	struct wr_str text = wr_row_text(row, column);
	json_error_t why;

	*out = NULL;
	if (!text.ptr)
		return WR_OK;
	*out = json_loadb(text.ptr, text.len, 0, &why);
	return *out ? WR_OK : wr_fail(err, WR_E_INTERNAL, "column %s of a trigger: %s", column, why.text);
}

static enum wr_code read_row(struct wr_trigger *out, const struct wr_row *row, struct wr_error *err)
{
	WR_AUTO_S(wr_trigger) t = {.seq = wr_row_int(row, "seq")};
	struct wr_str payload = wr_row_text(row, "payload");
	enum wr_code code = read_filter(&t.branches, row, "branches", err);

	if (code == WR_OK)
		code = read_filter(&t.globs, row, "globs", err);
	if (code != WR_OK)
		return code;
	wr_row_copy(row, "id", t.id, sizeof t.id);
	wr_row_copy(row, "repo_id", t.repo_id, sizeof t.repo_id);
	wr_row_copy(row, "account_id", t.account_id, sizeof t.account_id);
	wr_row_copy(row, "endpoint", t.endpoint, sizeof t.endpoint);
	if (payload.ptr)
		t.payload = wr_str_eqz(payload, "extended") ? WR_PAYLOAD_EXTENDED : WR_PAYLOAD_BASIC;
	t.created_ms = wr_row_int(row, "created_ms");
	t.paused_ms = wr_row_int(row, "paused_ms");
	*out = t;
	t.branches = t.globs = NULL;
	return WR_OK;
}

/* What is bound for a trigger's filters and endpoint. */
struct texts {
	char *branches, *globs; /* NULL: no filter */
	char host[WR_TRIGGER_HOST_MAX + 1];
};

static void texts_fini(struct texts *texts)
{
	free(texts->branches);
	free(texts->globs);
}
WR_DEFINE_AUTO_S(texts);

static enum wr_code filter_text(char **out, const json_t *filter, struct wr_error *err)
{
	if (!filter)
		return WR_OK;
	*out = json_dumps(filter, JSON_COMPACT);
	return *out ? WR_OK : wr_fail_nomem(err);
}

static enum wr_code write_texts(struct texts *out, const struct wr_trigger *trigger, struct wr_error *err)
{
	enum wr_code code = filter_text(&out->branches, trigger->branches, err);

	if (code == WR_OK)
		code = filter_text(&out->globs, trigger->globs, err);
	return code == WR_OK ? wr_trigger_host(out->host, wr_str(trigger->endpoint), err) : code;
}

static enum wr_code find_turn(int64_t *out, struct wr_tx *tx, const char *account_id, const char *host,
			      struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_tx_one(tx, SQL_TRIGGER_TURN, err, &row, "ss", account_id, host);

	if (code == WR_OK)
		*out = wr_row_int(&row, "seq");
	return code;
}

/* ---- a new one ---- */

struct addition {
	struct wr_trigger *trigger;
	const struct wr_repo *repo;
	const struct texts *texts;
	uint64_t since; /* the journal's sequence when the repository was looked at */
	struct wr_oid head;
};

static enum wr_code look(struct addition *a, struct wr_git *git, struct wr_error *err)
{
	WR_AUTO(wr_git_repo) *repo = NULL;
	WR_AUTO(wr_snapshot) *snap = NULL;
	WR_AUTO_S(wr_buf) name = WR_BUF_INIT(32 + WR_BRANCH_NAME_MAX);
	struct wr_ref ref;
	enum wr_code code = wr_git_repo_open(&repo, git, a->repo->id, err);

	if (code == WR_OK)
		code = wr_snapshot_take(&snap, repo, err);
	if (code != WR_OK)
		return code;
	wr_buf_printf(&name, "refs/heads/%s", a->repo->default_branch);
	if (!wr_buf_ok(&name))
		return wr_fail_nomem(err);
	a->since = wr_snapshot_seq(snap);
	if (wr_snapshot_find_ref(&ref, snap, wr_buf_str(&name)))
		a->head = ref.oid;
	return WR_OK;
}

static enum wr_code check_place(struct wr_tx *tx, const struct wr_repo *repo, struct wr_error *err)
{
	WR_AUTO_S(wr_row) there = WR_ROW_INIT;
	WR_AUTO_S(wr_row) count = WR_ROW_INIT;
	enum wr_code code = wr_tx_one(tx, SQL_REPO_GET, err, &there, "ss", repo->account_id, repo->id);

	if (code == WR_E_NOT_THERE) {
		wr_fail(err, WR_E_REPO_NOT_FOUND, "%s", wr_code_text(WR_E_REPO_NOT_FOUND));
		wr_error_field(err, "repoId", wr_str(repo->id));
		return WR_E_REPO_NOT_FOUND;
	}
	if (code == WR_OK)
		code = wr_tx_one(tx, SQL_TRIGGER_COUNT, err, &count, "ss", repo->account_id, repo->id);
	if (code == WR_OK && wr_row_int(&count, "n") >= WR_TRIGGERS_MAX)
		return wr_fail(err, WR_E_INVALID_REQUEST, "A repository has at most %d triggers; delete one first",
			       WR_TRIGGERS_MAX);
	return code;
}

static enum wr_code add(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	struct addition *a = arg;
	struct wr_trigger *t = a->trigger;
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	int64_t turn;
	enum wr_code code = check_place(tx, a->repo, err);

	if (code == WR_OK)
		code = find_turn(&turn, tx, t->account_id, a->texts->host, err);
	if (code == WR_OK)
		code = wr_tx_one(tx, SQL_TRIGGER_ADD, err, &row, "sssssssiii", t->id, t->account_id, t->repo_id,
				 a->texts->branches, a->texts->globs, t->endpoint, wr_trigger_payload_name(t->payload), turn,
				 (int64_t)a->since, t->created_ms);
	if (code != WR_OK)
		return code;
	t->seq = wr_row_int(&row, "seq");
	return wr_tx_run(tx, SQL_TRIGGER_HEAD, err, NULL, "ssbis", t->account_id, t->repo_id, a->head.id,
			 sizeof a->head.id, (int64_t)a->since, a->repo->default_branch);
}

enum wr_code wr_trigger_any(bool *out, struct wr_db *db, const char *repo_id, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_db_one(db, SQL_DELIVERY_AWAITED, err, &row, "s", repo_id);

	*out = code == WR_OK;
	return code == WR_E_NOT_THERE ? WR_OK : code;
}

struct moved_head {
	const struct wr_repo *repo;
	struct wr_str branch;
	const struct wr_oid *tip;
	uint64_t seq;
};

static enum wr_code move_head(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct moved_head *m = arg;

	return wr_tx_run(tx, SQL_TRIGGER_HEAD, err, NULL, "ssbit", m->repo->account_id, m->repo->id, m->tip->id,
			 sizeof m->tip->id, (int64_t)m->seq, m->branch);
}

enum wr_code wr_trigger_head(struct wr_db *db, const struct wr_repo *repo, struct wr_str default_branch,
			     const struct wr_oid *tip, uint64_t seq, struct wr_error *err)
{
	struct moved_head m = {repo, default_branch, tip, seq};

	return wr_db_write(db, WR_DB_NORMAL, move_head, &m, err);
}

enum wr_code wr_trigger_add(struct wr_trigger *trigger, struct wr_db *db, struct wr_git *git,
			    const struct wr_repo *repo, struct wr_error *err)
{
	WR_AUTO_S(texts) texts = {.branches = NULL};
	struct addition a = {.trigger = trigger, .repo = repo, .texts = &texts};
	enum wr_code code = write_texts(&texts, trigger, err);

	if (code == WR_OK)
		code = look(&a, git, err);
	if (code != WR_OK)
		return code;
	wr_uuid_new(trigger->id);
	memcpy(trigger->repo_id, repo->id, sizeof trigger->repo_id);
	memcpy(trigger->account_id, repo->account_id, sizeof trigger->account_id);
	trigger->created_ms = wr_now_ms();
	return wr_db_write(db, WR_DB_FULL, add, &a, err);
}

/* ---- those that are there ---- */

enum wr_code wr_trigger_get(struct wr_trigger *out, struct wr_db *db, const struct wr_repo *repo, struct wr_str id,
			    struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	char name[WR_UUID_LEN + 1];
	enum wr_code code = WR_E_NOT_THERE;

	if (wr_uuid_parse(id, name))
		code = wr_db_one(db, SQL_TRIGGER_GET, err, &row, "sss", repo->account_id, repo->id, name);
	if (code == WR_E_NOT_THERE)
		return no_such(err);
	return code == WR_OK ? read_row(out, &row, err) : code;
}

enum wr_code wr_trigger_list(struct wr_db *db, const struct wr_repo *repo,
			     enum wr_code (*fn)(void *arg, const struct wr_trigger *trigger, struct wr_error *err),
			     void *arg, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_db_query(db, SQL_TRIGGER_LIST, err, &row, "ss", repo->account_id, repo->id);

	if (code != WR_OK)
		return code;
	while ((code = wr_row_next(&row, err)) == WR_OK) {
		WR_AUTO_S(wr_trigger) t = {.branches = NULL};

		if ((code = read_row(&t, &row, err)) != WR_OK || (code = fn(arg, &t, err)) != WR_OK)
			return code;
	}
	return code == WR_E_NOT_THERE ? WR_OK : code;
}

struct change {
	const struct wr_trigger *trigger;
	const struct texts *texts;
	unsigned fields;
};

static enum wr_code turn_of(int64_t *out, struct wr_tx *tx, const struct wr_trigger *t, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_tx_one(tx, SQL_TRIGGER_TURN_OF, err, &row, "ss", t->account_id, t->id);

	if (code == WR_OK)
		*out = wr_row_int(&row, "turn");
	return code == WR_E_NOT_THERE ? no_such(err) : code;
}

/* The host that it leaves keeps its turn for as long as something there is pending. */
static enum wr_code change(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct change *c = arg;
	const struct wr_trigger *t = c->trigger;
	int64_t from = 0, to;
	enum wr_code code = turn_of(&from, tx, t, err);

	to = from;
	if (code == WR_OK && c->fields & WR_TRIGGER_ENDPOINT)
		code = find_turn(&to, tx, t->account_id, c->texts->host, err);
	if (code == WR_OK)
		code = wr_tx_run(tx, SQL_TRIGGER_CHANGE, err, NULL, "ssisssis", t->account_id, t->id, (int64_t)c->fields,
				 c->texts->branches, c->texts->globs, t->endpoint, to, wr_trigger_payload_name(t->payload));
	return code == WR_OK && to != from ? wr_tx_run(tx, SQL_DELIVERY_TURN_DROP, err, NULL, "i", from) : code;
}

enum wr_code wr_trigger_change(struct wr_db *db, const struct wr_trigger *trigger, unsigned fields, struct wr_error *err)
{
	WR_AUTO_S(texts) texts = {.branches = NULL};
	struct change c = {trigger, &texts, fields};
	enum wr_code code = write_texts(&texts, trigger, err);

	return code == WR_OK ? wr_db_write(db, WR_DB_FULL, change, &c, err) : code;
}

struct pausing {
	const struct wr_trigger *trigger;
	bool paused, changed;
};

static enum wr_code pause_or_resume(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	struct pausing *p = arg;
	const struct wr_trigger *t = p->trigger;
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	int64_t changed = 0;
	enum wr_code code = wr_tx_run(tx, p->paused ? SQL_TRIGGER_PAUSE : SQL_TRIGGER_RESUME, err, &changed, "ssi",
				      t->account_id, t->id, wr_now_ms());

	p->changed = changed > 0;
	if (code != WR_OK || p->changed)
		return code;
	code = wr_tx_one(tx, SQL_TRIGGER_GET, err, &row, "sss", t->account_id, t->repo_id, t->id);
	return code == WR_E_NOT_THERE ? no_such(err) : code;
}

enum wr_code wr_trigger_pause(bool *changed, struct wr_db *db, const struct wr_trigger *trigger, bool paused,
			      struct wr_error *err)
{
	struct pausing p = {trigger, paused, false};
	enum wr_code code = wr_db_write(db, WR_DB_FULL, pause_or_resume, &p, err);

	if (code == WR_OK)
		*changed = p.changed;
	return code;
}

struct burial {
	const struct wr_repo *repo;
	const char *id;
};

static enum wr_code bury(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct burial *b = arg;
	int64_t changed = 0;
	enum wr_code code = wr_tx_run(tx, SQL_TRIGGER_BURY, err, &changed, "sssi", b->repo->account_id, b->repo->id, b->id,
				      wr_now_ms());

	return code == WR_OK && changed == 0 ? no_such(err) : code;
}

enum wr_code wr_trigger_delete(struct wr_db *db, const struct wr_repo *repo, struct wr_str id, struct wr_error *err)
{
	char name[WR_UUID_LEN + 1];
	struct burial b = {repo, name};

	return wr_uuid_parse(id, name) ? wr_db_write(db, WR_DB_FULL, bury, &b, err) : no_such(err);
}
