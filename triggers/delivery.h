/*
 * triggers/delivery.h: the queue of deliveries and their history, as rows.
 *
 *	new -> waiting -> ready -> sending -> delivered | failed
 *	                   ^          |
 *	                   +----------+  tried again later; or at once and uncounted, where the process stopped or is gone
 *
 * An event becomes one row for each trigger whose branches match, in the transaction that counts the event. It begins as
 * new where trees or history have to be looked at (judge.h), or a very long filter of branches, else as waiting. Of the
 * rows of one trigger and branch that have not ended the first alone is ready, so that they arrive in the order of the
 * changes; every step here keeps that.
 * Accounts take turns, and within an account its endpoints' hosts. Everything costs the same for any number of rows.
 * A row is leased by a process, by the name of its file in run/ (core/base/alive.h), and free when that is unlocked.
 * Ownership: values; those with texts are released by their fini.
 * Threads:   any.
 * Blocks on: SQLite's writer. Not flushed, but for enqueueing: after a power cut something may be sent again, and no more.
 * Errors:    WR_E_NOT_FOUND, the database's.
 */
#ifndef WR_DELIVERY_ROWS_H
#define WR_DELIVERY_ROWS_H

#include <stdatomic.h>

#include "core/base/buf.h"
#include "core/git/events.h"
#include "core/git/parse.h"
#include "triggers/trigger.h"

enum wr_delivery_state {
	WR_DELIVERY_NEW,
	WR_DELIVERY_WAITING,
	WR_DELIVERY_READY,
	WR_DELIVERY_SENDING,
	WR_DELIVERY_DELIVERED,
	WR_DELIVERY_FAILED, /* given up */
};
/* "queued" for the first three, "sending", "delivered", "failed". */
const char *wr_delivery_state_name(enum wr_delivery_state state);

#define WR_HOOK_BRANCH_MAX (WR_REFNAME_MAX - 11) /* bytes behind refs/heads/ */

enum wr_delivery_kind { WR_DELIVERY_PUSH, WR_DELIVERY_TEST, WR_DELIVERY_AGAIN };

/* One delivery: what the body is made of, and what became of it. */
struct wr_hook {
	int64_t seq, trigger_seq, turn;
	char id[WR_UUID_LEN + 1], account_id[WR_UUID_LEN + 1], repo_id[WR_UUID_LEN + 1];
	char again_of[WR_UUID_LEN + 1]; /* of one that was asked for again; else "" */
	enum wr_delivery_kind kind;
	char branch[WR_HOOK_BRANCH_MAX + 1];
	struct wr_oid old, new; /* old zero: the branch was made */
	bool head_known;	/* head is the default branch's tip as it was then; zero: it was unborn */
	struct wr_oid head;
	char author[80]; /* "account:ID" or "identity:ID"; "" where it is not known */
	int64_t occurred_ms, created_ms;
	bool extended, forced_known, forced;
	char note[160]; /* why it is sent although nobody knows whether a path matches; "" */
	enum wr_delivery_state state;
	unsigned attempts; /* that ended */
	int64_t not_before_ms, started_ms, ended_ms; /* 0: none */
	/* Of the last attempt: */
	int status; /* 0: no answer */
	int64_t latency_ms;
	char error[200];
	char *answer; /* answer_len bytes; may be NULL */
	size_t answer_len;
};
void wr_hook_fini(struct wr_hook *hook);
WR_DEFINE_AUTO_S(wr_hook);

/* The body as it is sent, on every attempt the same bytes: BranchUpdate of the reference; extended has more. */
void wr_hook_body(struct wr_buf *out, const struct wr_hook *hook);

/* ---- in ---- */

/*
 * A subscriber of events (server/journal_events.h); arg is a wr_deliveries. Runs on the database's writer. Branches alone
 * count, and of their updates those that make or move them.
 */
struct wr_deliveries {
	struct wr_db *db;
	/* NULL, or told that rows were added and committed: a sender to be woken. From any thread; must not block. */
	void (*added)(void *arg);
	void *arg;
	atomic_bool any; /* rows were added since it was told last */
};
enum wr_code wr_deliveries_event(void *deliveries, struct wr_tx *tx, const char *repo_id, const struct wr_event *event,
				 struct wr_error *err);
/* The subscriber's awaits: the repository has a trigger. */
enum wr_code wr_deliveries_await(bool *out, void *deliveries, struct wr_tx *tx, const char *repo_id,
				 struct wr_error *err);
/* The subscriber's done: tells, where there are new rows. */
void wr_deliveries_done(void *deliveries);
/* A test of this branch and tip, or another delivery of what was delivered; neither waits for others. *id: the new one's. */
WR_MUST_CHECK enum wr_code wr_delivery_test(char id[WR_UUID_LEN + 1], struct wr_db *db, const struct wr_trigger *trigger,
					    struct wr_str branch, const struct wr_oid *tip, const char *author,
					    struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_delivery_again(char id[WR_UUID_LEN + 1], struct wr_db *db, const struct wr_trigger *trigger,
					     const struct wr_hook *hook, struct wr_error *err);

/* ---- judging (judge.h) ---- */

/* The oldest new row of the first account behind this one that has any ("" for the first account); WR_E_NOT_THERE: none. */
WR_MUST_CHECK enum wr_code wr_delivery_next_new(struct wr_hook *out, json_t **globs, struct wr_db *db,
						const char *behind_account, struct wr_error *err);
/* Whether the branch passes its trigger's filter, where that is so long that the event's transaction did not look. */
WR_MUST_CHECK enum wr_code wr_delivery_match(bool *wanted, struct wr_db *db, const struct wr_hook *hook,
					     struct wr_error *err);
/* It is to be sent, with forced and note as the hook has them now; or else it goes without a trace. */
WR_MUST_CHECK enum wr_code wr_delivery_judged(struct wr_db *db, const struct wr_hook *hook, bool wanted,
					      struct wr_error *err);

/* ---- sending ---- */

struct wr_claim {
	struct wr_hook hook;
	char trigger_id[WR_UUID_LEN + 1];
	char endpoint[WR_TRIGGER_ENDPOINT_MAX + 1]; /* the trigger's, as it is now */
	char host[256];
	int64_t resumed_ms; /* when the trigger was resumed last; 0: never */
};

/* How an attempt ended. */
struct wr_outcome {
	int64_t seq;
	const char *lease; /* by which it was claimed; a row that is not held by it any more stays as it is */
	enum { WR_OUT_DELIVERED, WR_OUT_AGAIN, WR_OUT_GIVEN_UP, WR_OUT_CUT_OFF /* by us: at once, and not counted */ } what;
	int64_t not_before_ms; /* of AGAIN */
	int status;
	int64_t latency_ms;
	const char *error; /* borrowed; "" */
	struct wr_str answer;
};

struct wr_claiming {
	const char *lease;
	int64_t now_ms;
	size_t max; /* claims, at most */
	/*
	 * How many more this account, and this host of this account, may have under way; 0: none for now. What this call has
	 * claimed already is not known to them: the call counts that itself. Asked on the database's writer while the caller
	 * waits.
	 */
	size_t (*account_room)(void *arg, const char *account_id);
	size_t (*host_room)(void *arg, const char *account_id, const char *host);
	void *arg;
};

/*
 * One transaction: what became of these, and what is to be sent next; *n of claims (room for claiming->max) are filled in.
 * *next_ms: when something will be due that was not claimed for want of time, not of room; INT64_MAX: nothing is.
 * claiming NULL: outcomes only.
 */
WR_MUST_CHECK enum wr_code wr_deliveries_turnover(struct wr_claim *claims, size_t *n, int64_t *next_ms, struct wr_db *db,
						  const struct wr_outcome *outcomes, size_t outcome_count,
						  const struct wr_claiming *claiming, struct wr_error *err);

/* Rows of processes that are gone are ready again. run: the folder run/; own: this process's file, whose rows stay. */
WR_MUST_CHECK enum wr_code wr_deliveries_recover(struct wr_db *db, const char *run, const char *own, struct wr_error *err);

/*
 * A piece of what lies about: what resumed triggers have waiting is made ready, what deleted ones had is removed, what has
 * waited with a paused trigger since before old_ms is given up, history beyond its age (ended before old_ms) and number is
 * forgotten. A bounded piece at a time, the waking from where *waking stands (zeros at first); *more: there is more to do.
 */
struct wr_waking {
	int64_t trigger_seq, resumes;
	char chain[WR_HOOK_BRANCH_MAX + 1];
};
WR_MUST_CHECK enum wr_code wr_deliveries_sweep(bool *more, struct wr_waking *waking, struct wr_db *db, int64_t old_ms,
					       unsigned keep_max, struct wr_error *err);

/*
 * Where more deliveries of an account have not ended than max, the oldest that are not under way are given up, of whatever
 * trigger, and a few more. The oldest, and not what comes: it would be given up first in any case, and what an endpoint
 * hears of when it is back is how things are now. Nobody counts when a row is added: there may be more for a moment. A
 * piece at a time, from where *s stands (zeros at first); *more: there is more to do.
 */
struct wr_shedding {
	char account_id[WR_UUID_LEN + 1];
	int64_t excess; /* of it; 0: nothing goes on */
	int64_t until_ms, trigger_seq, given_up;
};
WR_MUST_CHECK enum wr_code wr_deliveries_shed(bool *more, struct wr_shedding *s, struct wr_db *db, int64_t max,
					      unsigned keep_max, struct wr_error *err);

/*
 * What waits for a time that the clock would only reach late, since it went back: what was never tried is due at once, and
 * an attempt that began after now is followed by another one after its pause from now on. A piece at a time, from where
 * *at stands: {.now_ms = the time of day} at first, which stays the same until there is no *more.
 */
struct wr_rewind {
	int64_t now_ms, turn, not_before_ms, seq;
	bool in_turn;
};
WR_MUST_CHECK enum wr_code wr_deliveries_rewind(bool *more, struct wr_rewind *at, struct wr_db *db, struct wr_error *err);

/* ---- history ---- */

/* Of one trigger, newest first, those before this delivery ("": the newest); the caller releases *n of them. */
WR_MUST_CHECK enum wr_code wr_delivery_list(struct wr_hook *out, size_t *n, size_t max, struct wr_db *db,
					    const struct wr_trigger *trigger, struct wr_str before, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_delivery_get(struct wr_hook *out, struct wr_db *db, const struct wr_trigger *trigger,
					   struct wr_str id, struct wr_error *err);

/* For people and metrics. */
struct wr_deliveries_state {
	uint64_t pending; /* that have not ended */
	uint64_t sending;
	int64_t oldest_ms; /* since when the oldest of them is there; 0: none */
	int64_t due_ms;	   /* since when the first is due that is not being sent; 0: none is */
};
WR_MUST_CHECK enum wr_code wr_deliveries_look(struct wr_deliveries_state *out, struct wr_db *db, struct wr_error *err);

#endif
