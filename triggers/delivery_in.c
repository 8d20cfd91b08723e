/* What comes into the queue: events, tests, and what was asked for again. */
#include <stdio.h>

#include "core/base/clock.h"
#include "core/base/glob.h"
#include "triggers/delivery_internal.h"

#define FILTER_AT_ONCE ((size_t)4 << 10) /* bytes of a filter of branches, */
#define MATCH_AT_ONCE ((size_t)64 << 10) /* and these times the bytes of a branch's name */

static const char *const kinds[] = {"push", "test", "again"};

/* ---- a row ---- */

/* One more row, in the state that it has; its turn and account follow. */
static enum wr_code add(struct wr_tx *tx, const struct wr_hook *hook, struct wr_error *err)
{
	bool ready = hook->state == WR_DELIVERY_READY, made = wr_oid_zero(&hook->old);
	char chain[WR_UUID_LEN + 2];
	enum wr_code code;

	snprintf(chain, sizeof chain, ":%s", hook->id);
	code = wr_tx_run(tx, SQL_DELIVERY_ADD, err, NULL, "siissssbbbsiissiisi", hook->id, hook->trigger_seq, hook->turn,
			 hook->account_id, hook->repo_id, hook->kind == WR_DELIVERY_PUSH ? hook->branch : chain,
			 hook->branch, hook->new.id, sizeof hook->new.id, made ? NULL : hook->old.id, sizeof hook->old.id,
			 hook->head_known ? hook->head.id : NULL, sizeof hook->head.id, hook->author, hook->occurred_ms,
			 hook->created_ms, kinds[hook->kind], hook->again_of[0] ? hook->again_of : NULL,
			 (int64_t)hook->extended, (int64_t)(hook->forced_known ? hook->forced : -1), hook->note,
			 (int64_t)hook->state);
	if (code == WR_OK && ready)
		code = wr_tx_run(tx, SQL_DELIVERY_TURN_ADD, err, NULL, "ii", hook->turn, hook->created_ms);
	else if (code == WR_OK)
		code = wr_tx_run(tx, SQL_DELIVERY_TURN_ADD, err, NULL, "in", hook->turn);
	if (code == WR_OK && ready)
		code = wr_tx_run(tx, SQL_DELIVERY_ACCOUNT_ADD, err, NULL, "si", hook->account_id, hook->created_ms);
	return code;
}

static enum wr_code is_chain_busy(bool *busy, struct wr_tx *tx, int64_t trigger_seq, const char *chain,
				  struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_tx_one(tx, SQL_DELIVERY_CHAIN_BUSY, err, &row, "is", trigger_seq, chain);

	*busy = code == WR_OK;
	return code == WR_E_NOT_THERE ? WR_OK : code;
}

/* ---- events ---- */

/* "account:ID" or "identity:ID"; else "": journals may say something else, or nothing. */
static void copy_author(char out[80], struct wr_str author)
{
	static const struct wr_str types[] = {{"account:", 8}, {"identity:", 9}};
	char id[WR_UUID_LEN + 1];

	out[0] = '\0';
	for (size_t i = 0; i < WR_ARRAY_LEN(types); i++)
		if (wr_str_starts(author, types[i]) && wr_uuid_parse(wr_str_skip(author, types[i].len), id))
			snprintf(out, 80, "%s%s", types[i].ptr, id);
}

/* What was stored was checked; should it not be what it was, better one build too many than one missed. */
static enum wr_code matches_one(bool *matches, struct wr_str text, struct wr_str branch, struct wr_error *err)
{
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	WR_AUTO(wr_glob) *glob = NULL;
	enum wr_code code = wr_glob_new(&glob, text, &why);

	if (code != WR_OK && code != WR_E_INVALID_REQUEST) {
		wr_error_move(err, &why);
		return code;
	}
	*matches = code != WR_OK || wr_glob_whole(glob, branch);
	return WR_OK;
}

static enum wr_code matches(bool *matches, struct wr_str filter, struct wr_str branch, struct wr_error *err)
{
	json_t *globs = filter.ptr ? json_loadb(filter.ptr, filter.len, 0, NULL) : NULL;
	enum wr_code code = WR_OK;

	*matches = !json_is_array(globs);
	for (size_t i = 0; i < json_array_size(globs) && !*matches && code == WR_OK; i++) {
		const json_t *text = json_array_get(globs, i);

		code = matches_one(matches, wr_str_n(json_string_value(text), json_string_length(text)), branch, err);
	}
	json_decref(globs);
	return code;
}

/*
 * Matching takes as long as the filter times the branch's name, at most, and the database's writer is everybody's: what
 * takes longer than a row does is left for who looks at paths.
 */
static bool is_long(struct wr_str filter, struct wr_str branch)
{
	return filter.len > FILTER_AT_ONCE || filter.len * branch.len > MATCH_AT_ONCE;
}

enum wr_code wr_delivery_match(bool *wanted, struct wr_db *db, const struct wr_hook *hook, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_db_one(db, SQL_DELIVERY_BRANCHES, err, &row, "i", hook->trigger_seq);
	struct wr_str filter = code == WR_OK ? wr_row_text(&row, "branches") : wr_str_n(NULL, 0);

	*wanted = true;
	if (code != WR_OK || !is_long(filter, wr_str(hook->branch)))
		return code == WR_E_NOT_THERE ? WR_OK : code;
	return matches(wanted, filter, wr_str(hook->branch), err);
}

struct update {
	struct wr_deliveries *d;
	const struct wr_event *event;
	struct wr_str branch;
	struct wr_hook hook; /* what all triggers' rows have in common */
};

/* row: of DELIVERY_TRIGGERS. */
static enum wr_code enqueue(struct update *u, struct wr_tx *tx, const struct wr_row *row, struct wr_error *err)
{
	struct wr_hook *hook = &u->hook;
	struct wr_str filter = wr_row_text(row, "branches");
	bool wanted = true, busy, globs = wr_row_int(row, "globs") != 0, made = wr_oid_zero(&hook->old);
	bool unmatched = is_long(filter, u->branch);
	enum wr_code code = unmatched ? WR_OK : matches(&wanted, filter, u->branch, err);

	if (code != WR_OK || !wanted)
		return code;
	hook->trigger_seq = wr_row_int(row, "seq");
	hook->turn = wr_row_int(row, "turn");
	hook->extended = wr_row_int(row, "extended") != 0;
	/* Where a branch was made there is nothing to look up. */
	hook->forced_known = hook->extended && made;
	hook->forced = false;
	if ((code = is_chain_busy(&busy, tx, hook->trigger_seq, hook->branch, err)) != WR_OK)
		return code;
	if (globs || unmatched || (hook->extended && !made))
		hook->state = WR_DELIVERY_NEW;
	else
		hook->state = busy || wr_row_int(row, "paused") ? WR_DELIVERY_WAITING : WR_DELIVERY_READY;
	wr_uuid_ordered(hook->id);
	atomic_store(&u->d->any, true);
	return add(tx, hook, err);
}

static void begin(struct update *u, const char *repo_id, const struct wr_row *row)
{
	struct wr_str head = wr_row_text(row, "trigger_head");
	struct wr_hook *hook = &u->hook;

	*hook = (struct wr_hook){
		.kind = WR_DELIVERY_PUSH,
		.old = u->event->old,
		.new = u->event->new,
		.occurred_ms = u->event->time_ms,
		.created_ms = wr_now_ms(),
	};
	memcpy(hook->branch, u->branch.ptr, u->branch.len);
	snprintf(hook->repo_id, sizeof hook->repo_id, "%s", repo_id);
	wr_row_copy(row, "account_id", hook->account_id, sizeof hook->account_id);
	copy_author(hook->author, u->event->author);
	/* As it was before: the branch's own tip has all that is new. */
	hook->head_known = wr_oid_zero(&hook->old) && head.len == sizeof hook->head.id;
	if (hook->head_known)
		memcpy(hook->head.id, head.ptr, head.len);
}

/* *is_head: the branch is the default one. WR_E_NOT_THERE: there is no trigger. */
static enum wr_code tell_all(bool *is_head, struct update *u, struct wr_tx *tx, const char *repo_id, struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_tx_one(tx, SQL_DELIVERY_TRIGGERS, err, &row, "s", repo_id);

	if (code != WR_OK)
		return code;
	*is_head = wr_str_eq(wr_row_text(&row, "default_branch"), u->branch);
	begin(u, repo_id, &row);
	if (wr_oid_zero(&u->event->new))
		return WR_OK;
	while (code == WR_OK) {
		if ((uint64_t)wr_row_int(&row, "since_seq") < u->event->seq)
			code = enqueue(u, tx, &row, err);
		if (code == WR_OK)
			code = wr_row_next(&row, err);
	}
	return code == WR_E_NOT_THERE ? WR_OK : code;
}

enum wr_code wr_deliveries_event(void *deliveries, struct wr_tx *tx, const char *repo_id, const struct wr_event *event,
				 struct wr_error *err)
{
	const struct wr_str heads = WR_S("refs/heads/");
	struct update u = {.d = deliveries, .event = event};
	bool is_head = false;
	enum wr_code code;

	if (!wr_str_starts(event->ref, heads) || event->ref.len > WR_REFNAME_MAX || wr_oid_eq(&event->old, &event->new))
		return WR_OK;
	u.branch = wr_str_skip(event->ref, heads.len);
	code = tell_all(&is_head, &u, tx, repo_id, err);
	if (code != WR_OK)
		return code == WR_E_NOT_THERE ? WR_OK : code;
	if (!is_head)
		return WR_OK;
	return wr_tx_run(tx, SQL_DELIVERY_HEAD, err, NULL, "sb", repo_id, event->new.id, sizeof event->new.id);
}

enum wr_code wr_deliveries_await(bool *out, void *deliveries, struct wr_tx *tx, const char *repo_id,
				 struct wr_error *err)
{
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_tx_one(tx, SQL_DELIVERY_AWAITED, err, &row, "s", repo_id);

	(void)deliveries;
	*out = code == WR_OK;
	return code == WR_E_NOT_THERE ? WR_OK : code;
}

void wr_deliveries_done(void *deliveries)
{
	struct wr_deliveries *d = deliveries;

	if (atomic_exchange(&d->any, false) && d->added)
		d->added(d->arg);
}

/* ---- tests, and again ---- */

static enum wr_code add_alone(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	struct wr_hook *hook = arg;
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	enum wr_code code = wr_tx_one(tx, SQL_DELIVERY_TRIGGER, err, &row, "si", hook->account_id, hook->trigger_seq);

	if (code == WR_E_NOT_THERE)
		return wr_fail(err, WR_E_NOT_FOUND, "The repository has no trigger with this id");
	if (code != WR_OK)
		return code;
	hook->turn = wr_row_int(&row, "turn");
	return add(tx, hook, err);
}

static enum wr_code enqueue_alone(char id[WR_UUID_LEN + 1], struct wr_db *db, const struct wr_trigger *trigger,
				  struct wr_hook *hook, struct wr_error *err)
{
	hook->trigger_seq = trigger->seq;
	memcpy(hook->account_id, trigger->account_id, sizeof hook->account_id);
	memcpy(hook->repo_id, trigger->repo_id, sizeof hook->repo_id);
	hook->created_ms = wr_now_ms();
	hook->state = WR_DELIVERY_READY;
	wr_uuid_ordered(hook->id);
	memcpy(id, hook->id, sizeof hook->id);
	return wr_db_write(db, WR_DB_FULL, add_alone, hook, err);
}

enum wr_code wr_delivery_test(char id[WR_UUID_LEN + 1], struct wr_db *db, const struct wr_trigger *trigger,
			      struct wr_str branch, const struct wr_oid *tip, const char *author, struct wr_error *err)
{
	struct wr_hook hook = {.kind = WR_DELIVERY_TEST, .new = *tip, .occurred_ms = wr_now_ms()};

	if (branch.len > WR_HOOK_BRANCH_MAX)
		return wr_fail(err, WR_E_INVALID_REQUEST, "A branch's name has at most %d bytes", WR_HOOK_BRANCH_MAX);
	memcpy(hook.branch, branch.ptr, branch.len);
	copy_author(hook.author, wr_str(author));
	hook.extended = hook.forced_known = trigger->payload == WR_PAYLOAD_EXTENDED;
	return enqueue_alone(id, db, trigger, &hook, err);
}

enum wr_code wr_delivery_again(char id[WR_UUID_LEN + 1], struct wr_db *db, const struct wr_trigger *trigger,
			       const struct wr_hook *hook, struct wr_error *err)
{
	struct wr_hook again = {
		.kind = WR_DELIVERY_AGAIN,
		.old = hook->old,
		.new = hook->new,
		.head_known = hook->head_known,
		.head = hook->head,
		.occurred_ms = hook->occurred_ms,
		.extended = hook->extended,
		.forced_known = hook->forced_known,
		.forced = hook->forced,
	};

	/* Its body is not known yet. */
	if (hook->state == WR_DELIVERY_NEW)
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "This delivery has not been sent yet; ask for another one when it has been");
	memcpy(again.branch, hook->branch, sizeof again.branch);
	memcpy(again.author, hook->author, sizeof again.author);
	memcpy(again.note, hook->note, sizeof again.note);
	memcpy(again.again_of, hook->id, sizeof again.again_of);
	return enqueue_alone(id, db, trigger, &again, err);
}
