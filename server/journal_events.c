#include "server/journal_events.h"

#include "core/auth/marks.h"
#include "core/base/clock.h"

#define PIECE_MS 20

struct marking {
	const struct wr_journal_events *je;
	size_t n;
	const char *const *repo_ids;
	const char (*tokens)[WR_EVENT_TOKEN + 1];
	struct wr_marked *out;
};

static enum wr_code ask_awaited(bool *out, const struct wr_journal_events *je, struct wr_tx *tx, const char *repo_id,
				struct wr_error *err)
{
	enum wr_code code = WR_OK;

	*out = false;
	for (size_t s = 0; s < je->count && code == WR_OK && !*out; s++)
		if (je->subscribers[s].awaits)
			code = je->subscribers[s].awaits(out, je->subscribers[s].arg, tx, repo_id, err);
	return code;
}

static enum wr_code mark_in(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct marking *m = arg;
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < m->n && code == WR_OK; i++) {
		code = wr_mark_set(&m->out[i].event_seq, tx, m->repo_ids[i], m->tokens[i], err);
		if (code == WR_OK)
			code = ask_awaited(&m->out[i].awaited, m->je, tx, m->repo_ids[i], err);
	}
	return code;
}

static enum wr_code mark(void *arg, size_t n, const char *const *repo_ids, const char (*tokens)[WR_EVENT_TOKEN + 1],
			 struct wr_marked *out, struct wr_error *err)
{
	const struct wr_journal_events *je = arg;
	struct marking m = {je, n, repo_ids, tokens, out};

	return wr_db_write(je->db, WR_DB_FULL, mark_in, &m, err);
}

struct handing {
	const struct wr_journal_events *je;
	struct wr_delivery *v;
	size_t n;
	int64_t until; /* when there is no more time */
	bool any;      /* something was done, so that it may end */
};

static bool is_late(const struct handing *h)
{
	return h->any && wr_mono_ms() >= h->until;
}

static enum wr_code tell(struct handing *h, struct wr_tx *tx, const struct wr_event *event, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	for (size_t s = 0; s < h->je->count && code == WR_OK; s++) {
		const struct wr_event_subscriber *to = &h->je->subscribers[s];

		code = to->fn(to->arg, tx, h->v->repo_id, event, err);
	}
	h->any = true;
	return code;
}

static enum wr_code deliver_one(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	struct handing *h = arg;
	struct wr_delivery *v = h->v;
	uint64_t event_seq = v->from, part = 0, before;
	bool mine = false;
	enum wr_code code = wr_mark_part(&mine, &part, tx, v->repo_id, v->from, err);

	for (before = part; mine && part < v->n && code == WR_OK && !is_late(h); part++)
		code = tell(h, tx, &v->events[part], err);
	if (code == WR_OK && part > before)
		code = ask_awaited(&v->awaited, h->je, tx, v->repo_id, err);
	if (code != WR_OK)
		return code;
	v->more = mine && part < v->n;
	if (v->more)
		return part > before ? wr_mark_set_part(tx, v->repo_id, v->from, part, err) : WR_OK;
	code = wr_mark_advance(&mine, &event_seq, tx, v->repo_id, v->from, v->to, err);
	if (code == WR_OK)
		v->event_seq = event_seq;
	return code;
}

/* Each repository's in a savepoint of its own, so that one that cannot be handed over holds up no other. */
static enum wr_code deliver_in(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct handing *h = arg;
	struct handing one = {.je = h->je, .n = 1, .until = wr_mono_ms() + h->je->piece_ms};
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < h->n && code == WR_OK; i++) {
		one.v = &h->v[i];
		code = wr_tx_try(&one.v->code, tx, deliver_one, &one, &one.v->err, err);
	}
	return code;
}

/* Whether subscribers were told of events in what was committed. */
static bool any_told(const struct wr_delivery *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (v[i].n > 0 && v[i].code == WR_OK && (v[i].more || v[i].event_seq == v[i].to))
			return true;
	return false;
}

static enum wr_code deliver(void *arg, struct wr_delivery *v, size_t n, struct wr_error *err)
{
	struct handing h = {.je = arg, .v = v, .n = n};
	enum wr_code code = wr_db_write(h.je->db, WR_DB_FULL, deliver_in, &h, err);

	if (code != WR_OK || !any_told(v, n))
		return code;
	for (size_t s = 0; s < h.je->count; s++)
		if (h.je->subscribers[s].done)
			h.je->subscribers[s].done(h.je->subscribers[s].arg);
	return code;
}

static enum wr_code unmark(void *arg, const char *repo_id, const char *token, const struct wr_due *due,
			   struct wr_error *err)
{
	const struct wr_journal_events *je = arg;
	const struct wr_row_due row = {due ? due->at_ms : 0, due ? wr_due_name(due->why) : ""};

	return due ? wr_mark_settle(je->db, repo_id, token, &row, err) : wr_mark_clear(je->db, repo_id, token, err);
}

static enum wr_code next_marked(void *arg, char out[WR_UUID_LEN + 1], const char *after, struct wr_error *err)
{
	const struct wr_journal_events *je = arg;

	return wr_mark_next(out, je->db, after, err);
}

_Static_assert(WR_EVENTS_GONE == WR_MARK_GONE, "the row's word is the store's");

void wr_journal_events_init(struct wr_journal_events *out, struct wr_db *db,
			    const struct wr_event_subscriber *subscribers, size_t count)
{
	*out = (struct wr_journal_events){
		.db = db,
		.subscribers = subscribers,
		.count = count,
		.piece_ms = PIECE_MS,
		.sink = {.arg = out, .mark = mark, .deliver = deliver, .unmark = unmark, .next_marked = next_marked},
	};
}
