/* The thread that looks at what has to be looked at before it is sent, and cleans up. */
#include "core/auth/repos.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/suspects.h"
#include "triggers/sender_internal.h"

#define RECOVER_MS 3000	   /* between two looks for rows of processes that are gone */
#define SWEEP_MS 60000	   /* between two sweeps that nobody asked for, */
#define TELL_MS 60000	   /* between two lines about the queue */
#define SWEEP_SOON_MS 250  /* and after something happened */
#define PATIENCE_MS 60000  /* that a repository may be out of reach before its update is simply wanted */
#define RETRY_MS 1000
#define SHED_MS 50	   /* of giving up what is too much, */
#define JUDGE_MS 250	   /* and of judging, until something else has its turn */

struct care {
	struct wr_sender *s;
	char account[WR_UUID_LEN + 1]; /* whose turn it was */
	char away[WR_UUID_LEN + 1];    /* whose repository was out of reach, and is not tried again before: */
	int64_t away_until;	       /* monotonic, as are: */
	int64_t recover_at, sweep_at;
	int64_t tell_at, rewind_at;
	bool soon; /* a sweep was asked for */
	struct wr_leaps leaps;
	struct wr_setback judging, sweeping, rewinding, telling, recovering;
	/*
	 * The time of day went back, or may have while nobody looked: so many times all that waits for its time is still gone
	 * through. Twice after a leap, since somebody may have read the clock before and written after.
	 */
	unsigned rewinds;
	struct wr_shedding shedding;
	struct wr_waking waking;
	struct wr_rewind rewind; /* where the one that goes on stands; now_ms 0: none does */
};

static bool is_over(void *arg)
{
	const struct wr_sender *s = arg;

	return atomic_load(&s->retired);
}

/* A fault of the store must not cost somebody his build, nor hold up what comes after. */
static enum wr_code wanted_after_all(bool *wanted, struct wr_hook *hook, const struct wr_error *err)
{
	if (err->code == WR_E_UNAVAILABLE && wr_now_ms() - hook->created_ms < PATIENCE_MS)
		return err->code;
	wr_log_error(NULL, WR_EV_WEBHOOK_FAILED, err);
	snprintf(hook->note, sizeof hook->note, "The repository could not be read, so it is not known which paths changed.");
	*wanted = true;
	return WR_OK;
}

static enum wr_code look(bool *wanted, struct wr_hook *hook, json_t *globs, struct wr_sender *s, struct wr_error *err)
{
	const struct wr_cancel cancel = {is_over, s};
	char branch[WR_BRANCH_NAME_MAX + 1];
	struct wr_suspect_mark mark;
	enum wr_code code = wr_repo_default_branch(branch, sizeof branch, s->cfg.db, hook->repo_id, err);

	/* Deleted meanwhile. */
	if (code == WR_E_NOT_THERE || code == WR_E_REPO_NOT_FOUND) {
		*wanted = false;
		return WR_OK;
	}
	if (code == WR_OK)
		code = wr_delivery_match(wanted, s->cfg.db, hook, err);
	if (code != WR_OK || !*wanted)
		return code;
	wr_suspect_begin(&mark, hook->repo_id);
	code = wr_hook_judge(wanted, hook, globs, s->cfg.git, branch, &s->cfg.bounds, &cancel, err);
	wr_suspect_end(&mark);
	if (code == WR_OK || code == WR_E_CANCELLED)
		return code;
	return wanted_after_all(wanted, hook, err);
}

/* WR_E_NOT_THERE: there is nothing to be judged. */
static enum wr_code judge_next(struct care *c, struct wr_error *err)
{
	struct wr_hook hook = {0};
	json_t *globs = NULL;
	bool wanted = true;
	enum wr_code code = wr_delivery_next_new(&hook, &globs, c->s->cfg.db, c->account, err);

	if (code == WR_E_NOT_THERE && c->account[0]) {
		c->account[0] = '\0';
		return judge_next(c, err);
	}
	if (code != WR_OK)
		return code;
	memcpy(c->account, hook.account_id, sizeof c->account);
	if (strcmp(c->account, c->away) == 0 && wr_mono_ms() < c->away_until)
		code = wr_fail(err, WR_E_UNAVAILABLE, "the repository was out of reach a moment ago");
	else
		code = look(&wanted, &hook, globs, c->s, err);
	if (code == WR_OK)
		code = wr_delivery_judged(c->s->cfg.db, &hook, wanted, err);
	json_decref(globs);
	wr_hook_fini(&hook);
	return code;
}

static void pass_over(struct care *c)
{
	if (strcmp(c->away, c->account) == 0 && wr_mono_ms() < c->away_until)
		return;
	memcpy(c->away, c->account, sizeof c->away);
	c->away_until = wr_mono_ms() + RETRY_MS;
}

/*
 * For a moment, since the rest must not wait for as long as somebody has updates to be judged. *more: there may be others;
 * *again: something failed, and is for another time.
 */
static void judge_some(struct care *c, bool *more, bool *again)
{
	int64_t until = wr_mono_ms() + JUDGE_MS;
	bool passed = false;

	while (!atomic_load(&c->s->retired)) {
		WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
		enum wr_code code = judge_next(c, &err);

		/* Others do not wait for the one whose repository does; where he is the only one, it is for another time. */
		if (code == WR_E_UNAVAILABLE && !passed) {
			passed = true;
			pass_over(c);
			continue;
		}
		passed = false;
		if (code != WR_OK) {
			*again = code != WR_E_NOT_THERE;
			if (*again && code != WR_E_CANCELLED)
				wr_setback_met(&c->judging, &err);
			return;
		}
		wr_setback_over(&c->judging);
		atomic_store(&c->s->poked, true);
		wr_posts_wake(c->s->posts);
		if ((*more = wr_mono_ms() >= until))
			return;
	}
}

/* For a moment, since it has to be quicker than who adds. */
static enum wr_code shed_some(struct care *c, bool *more, struct wr_error *err)
{
	const struct wr_sender_config *cfg = &c->s->cfg;
	int64_t until = wr_mono_ms() + SHED_MS;
	bool any = true;
	enum wr_code code = WR_OK;

	while (any && code == WR_OK && wr_mono_ms() < until)
		code = wr_deliveries_shed(&any, &c->shedding, cfg->db, cfg->waiting_account, cfg->keep_max, err);
	*more |= any;
	return code;
}

/* False: it failed. */
static bool sweep(struct care *c, bool *more)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	const struct wr_sender_config *cfg = &c->s->cfg;
	enum wr_code code = wr_deliveries_sweep(more, &c->waking, cfg->db, wr_leaps_before(&c->leaps, wr_now_ms(), cfg->keep_ms),
						cfg->keep_max, &err);

	if (code == WR_OK)
		code = shed_some(c, more, &err);
	if (code != WR_OK) {
		*more = false;
		wr_setback_met(&c->sweeping, &err);
	} else {
		wr_setback_over(&c->sweeping);
	}
	atomic_store(&c->s->poked, true);
	wr_posts_wake(c->s->posts);
	return code == WR_OK;
}

static void look_at_clock(struct care *c)
{
	int64_t by = wr_leaps_look(&c->leaps, wr_now_ms(), wr_leap_offset_ms());

	if (by == 0)
		return;
	WR_LOG(WR_WARN, NULL, CLOCK_MOVED, WR_INT("by_s", by / 1000));
	if (by > 0)
		return;
	c->rewinds = 2;
	c->rewind = (struct wr_rewind){0};
	c->rewind_at = 0;
}

/* For a moment; *more: it goes on. */
static void rewind_some(struct care *c, bool *more)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	int64_t now = wr_mono_ms();
	enum wr_code code = WR_OK;

	if (c->rewinds == 0 || now < c->rewind_at || atomic_load(&c->s->retired))
		return;
	if (c->rewind.now_ms == 0)
		c->rewind.now_ms = wr_now_ms();
	do
		code = wr_deliveries_rewind(more, &c->rewind, c->s->cfg.db, &err);
	while (code == WR_OK && *more && wr_mono_ms() < now + JUDGE_MS);
	if (code != WR_OK) {
		wr_setback_met(&c->rewinding, &err);
		c->rewind_at = now + RETRY_MS;
		*more = false;
	} else if (!*more) {
		wr_setback_over(&c->rewinding);
		c->rewinds--;
		c->rewind = (struct wr_rewind){0};
		c->rewind_at = now + SWEEP_MS;
	}
	atomic_store(&c->s->poked, true);
	wr_posts_wake(c->s->posts);
}

/* Once a minute, for who watches the log: how much waits, and how late it is. Nothing where nothing does. */
static void tell_queue(struct care *c)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_deliveries_state state;
	int64_t now = wr_now_ms();

	if (wr_deliveries_look(&state, c->s->cfg.db, &err) != WR_OK) {
		wr_setback_met(&c->telling, &err);
		return;
	}
	wr_setback_over(&c->telling);
	if (state.pending > 0)
		WR_LOG(WR_INFO, NULL, WEBHOOK_QUEUE, WR_INT("pending", state.pending), WR_INT("sending", state.sending),
		       WR_INT("oldest_s", now > state.oldest_ms ? (now - state.oldest_ms) / 1000 : 0),
		       WR_INT("late_s", state.due_ms ? (now - state.due_ms) / 1000 : 0));
}

static void recover(struct care *c)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;

	if (wr_deliveries_recover(c->s->cfg.db, c->s->cfg.run, c->s->cfg.lease, &err) != WR_OK)
		wr_setback_met(&c->recovering, &err);
	else
		wr_setback_over(&c->recovering);
	atomic_store(&c->s->poked, true);
	wr_posts_wake(c->s->posts);
}

/* Waits until something is to be done; false: it is over. */
static bool sleep_until(struct care *c, int64_t at)
{
	struct wr_sender *s = c->s;
	bool over;

	pthread_mutex_lock(&s->lock);
	while (!s->work && !s->end && wr_mono_ms() < at) {
		struct timespec until = {at / 1000, at % 1000 * 1000000};

		pthread_cond_timedwait(&s->wake, &s->lock, &until);
	}
	c->soon |= s->work;
	s->work = false;
	over = s->end;
	pthread_mutex_unlock(&s->lock);
	return !over;
}

void wr_sender_care(void *sender)
{
	struct care c = {.s = sender, .rewinds = 1};

	wr_leaps_init(&c.leaps, wr_leap_offset_ms());
	for (;;) {
		int64_t now, at;
		bool more = false, judging = false, again = false, rewinding = false, swept;

		look_at_clock(&c);
		rewind_some(&c, &rewinding);
		judge_some(&c, &judging, &again);
		now = wr_mono_ms();
		if (now >= c.recover_at) {
			recover(&c);
			c.recover_at = now + RECOVER_MS;
		}
		if (now >= c.tell_at) {
			tell_queue(&c);
			c.tell_at = now + TELL_MS;
		}
		if (now >= c.sweep_at) {
			c.soon = false;
			swept = sweep(&c, &more);
			/* Half of the time the database's writer is left to others. */
			c.sweep_at = more ? 2 * wr_mono_ms() - now : now + (swept ? SWEEP_MS : RECOVER_MS);
		}
		if (c.soon && c.sweep_at > now + SWEEP_SOON_MS)
			c.sweep_at = now + SWEEP_SOON_MS;
		at = c.sweep_at < c.recover_at ? c.sweep_at : c.recover_at;
		if (again && at > now + RETRY_MS)
			at = now + RETRY_MS;
		if (judging || rewinding)
			at = now;
		if (!sleep_until(&c, at))
			return;
	}
}
