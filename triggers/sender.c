/* The thread that sends: claims what is due, begins attempts, and writes down how they ended. */
#include "triggers/sender.h"

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/threads.h"
#include "triggers/sender_internal.h"

#define TURN 64		  /* claims, outcomes or ends at a time */
#define POLL_MS 5000	  /* without a reason the queue is looked at this often */
#define BROKEN_MS 500	  /* pause after the database failed */
#define STOP_TICK_MS 20

/* What one pass needs; large, so it is the thread's, once. */
struct pass {
	struct wr_claim claims[TURN];
	struct wr_post_end ends[TURN];
	struct wr_outcome outcomes[TURN];
	struct wr_flight *of[TURN];
};

/* ---- flights ---- */

static bool is_of(const struct wr_flight *flight, const char *account_id)
{
	return flight->state != WR_FLIGHT_FREE && strcmp(flight->claim.hook.account_id, account_id) == 0;
}

static size_t account_room(void *arg, const char *account_id)
{
	const struct wr_sender *s = arg;
	size_t n = 0;

	for (size_t i = 0; i < s->room; i++)
		n += s->flights[i] && is_of(s->flights[i], account_id);
	return n < s->cfg.parallel_account ? s->cfg.parallel_account - n : 0;
}

static size_t host_room(void *arg, const char *account_id, const char *host)
{
	const struct wr_sender *s = arg;
	size_t n = 0;

	for (size_t i = 0; i < s->room; i++)
		n += s->flights[i] && is_of(s->flights[i], account_id) &&
		     strcmp(s->flights[i]->claim.host, host) == 0;
	return n < s->cfg.parallel_host ? s->cfg.parallel_host - n : 0;
}

/* How many are free of those that a pass may need, made where they were not yet. */
static size_t free_flights(struct wr_sender *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->room && n < TURN; i++) {
		if (!s->flights[i])
			s->flights[i] = calloc(1, sizeof *s->flights[i]);
		if (!s->flights[i])
			break;
		n += s->flights[i]->state == WR_FLIGHT_FREE;
	}
	return n;
}

static struct wr_flight *get_flight(struct wr_sender *s)
{
	size_t i = 0;

	while (s->flights[i]->state != WR_FLIGHT_FREE)
		i++;
	return s->flights[i];
}

static void land(struct wr_sender *s, struct wr_flight *flight)
{
	wr_hook_fini(&flight->claim.hook);
	flight->state = WR_FLIGHT_FREE;
	flight->cut_off = false;
	s->ended--;
}

static void end_flight(struct wr_sender *s, struct wr_flight *flight)
{
	flight->state = WR_FLIGHT_ENDED;
	s->up--;
	s->ended++;
}

/* ---- passes ---- */

static void begin_claimed(struct wr_sender *s, struct wr_claim *claims, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct wr_flight *flight = get_flight(s);

		flight->claim = claims[i];
		wr_attempt_begin(s, flight);
	}
}

static size_t take_outcomes(struct pass *p, struct wr_sender *s)
{
	int64_t now = wr_now_ms();
	size_t n = 0;

	wr_leaps_look(&s->leaps, now, wr_leap_offset_ms());
	for (size_t i = 0; i < s->room && n < TURN && n < s->ended; i++) {
		if (!s->flights[i] || s->flights[i]->state != WR_FLIGHT_ENDED)
			continue;
		p->of[n] = s->flights[i];
		wr_attempt_outcome(&p->outcomes[n++], s, s->flights[i], now);
	}
	return n;
}

/*
 * Writes what ended, and claims what may begin. *next_ms: when there will be something to claim. False: the database
 * failed, and all is as before.
 */
static bool turn_over(struct wr_sender *s, struct pass *p, int64_t *next_ms)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	size_t ended = take_outcomes(p, s), n = 0;
	struct wr_claiming claiming = {
		.lease = s->cfg.lease,
		.now_ms = wr_now_ms(),
		.account_room = account_room,
		.host_room = host_room,
		.arg = s,
	};
	bool claims = !atomic_load(&s->retired);

	/* They count no more; where the database fails they do again. */
	for (size_t i = 0; i < ended; i++)
		p->of[i]->state = WR_FLIGHT_FREE;
	claiming.max = free_flights(s);
	*next_ms = INT64_MAX;
	if (wr_deliveries_turnover(p->claims, &n, next_ms, s->cfg.db, p->outcomes, ended, claims ? &claiming : NULL,
				   &err) != WR_OK) {
		for (size_t i = 0; i < ended; i++)
			p->of[i]->state = WR_FLIGHT_ENDED;
		wr_setback_met(&s->setback, &err);
		return false;
	}
	wr_setback_over(&s->setback);
	for (size_t i = 0; i < ended; i++)
		land(s, p->of[i]);
	begin_claimed(s, p->claims, n);
	/* There may be more than one turn's. */
	if (n == TURN || s->ended > 0)
		*next_ms = 0;
	return true;
}

static void collect(struct wr_sender *s, struct pass *p, int64_t timeout_ms)
{
	size_t n = wr_posts_wait(p->ends, TURN, s->posts, timeout_ms);

	for (size_t i = 0; i < n; i++) {
		struct wr_flight *flight = p->ends[i].tag;

		wr_attempt_describe(&p->ends[i]);
		flight->end = p->ends[i];
		end_flight(s, flight);
	}
}

static int64_t wait_ms(const struct wr_sender *s, int64_t next_ms)
{
	int64_t ms = next_ms - wr_now_ms();

	if (atomic_load(&s->poked) || s->ended > 0)
		return 0;
	if (atomic_load(&s->stopping))
		return STOP_TICK_MS;
	return ms < 0 ? 0 : ms < POLL_MS ? ms : POLL_MS;
}

/* What is still under way is as if it had never begun. */
static void cut_off(struct wr_sender *s, struct pass *p)
{
	int64_t next;

	for (size_t i = 0; i < s->room; i++) {
		if (!s->flights[i] || s->flights[i]->state != WR_FLIGHT_UP)
			continue;
		s->flights[i]->cut_off = true;
		end_flight(s, s->flights[i]);
	}
	/* Whose rows cannot be written are ready again as soon as this process is gone. */
	while (s->ended > 0 && turn_over(s, p, &next))
		continue;
}

static void send_all(void *arg)
{
	struct wr_sender *s = arg;
	struct pass *p = s->pass;
	int64_t next_ms = 0, looked = INT64_MIN;

	while (!(atomic_load(&s->stopping) && (s->up + s->ended == 0 || wr_mono_ms() >= atomic_load(&s->stop_at)))) {
		bool poked = atomic_exchange(&s->poked, false);

		if (poked || s->ended > 0 || wr_now_ms() >= next_ms || wr_mono_ms() - looked >= POLL_MS) {
			looked = wr_mono_ms();
			if (!turn_over(s, p, &next_ms))
				next_ms = wr_now_ms() + BROKEN_MS;
		}
		collect(s, p, s->ended > 0 && next_ms > wr_now_ms() ? BROKEN_MS : wait_ms(s, next_ms));
	}
	cut_off(s, p);
}

/* ---- life ---- */

static void wake_care(struct wr_sender *s, bool end)
{
	pthread_mutex_lock(&s->lock);
	s->work = true;
	s->end |= end;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

void wr_sender_poke(struct wr_sender *sender)
{
	if (!sender)
		return;
	atomic_store(&sender->poked, true);
	wr_posts_wake(sender->posts);
	wake_care(sender, false);
}

void wr_sender_retire(struct wr_sender *sender)
{
	if (!sender)
		return;
	atomic_store(&sender->retired, true);
	/* NULL where the start failed. */
	if (sender->posts)
		wr_posts_wake(sender->posts);
}

void wr_sender_stop(struct wr_sender *sender, int64_t wait)
{
	if (!sender)
		return;
	wr_sender_retire(sender);
	atomic_store(&sender->stop_at, wr_mono_ms() + wait);
	atomic_store(&sender->stopping, true);
	wake_care(sender, true);
	if (sender->posts)
		wr_posts_wake(sender->posts);
	if (sender->has_sending)
		pthread_join(sender->sending, NULL);
	if (sender->has_caring)
		pthread_join(sender->caring, NULL);
	wr_posts_free(sender->posts);
	for (size_t i = 0; sender->flights && i < sender->room; i++)
		free(sender->flights[i]);
	free(sender->flights);
	free(sender->pass);
	pthread_cond_destroy(&sender->wake);
	pthread_mutex_destroy(&sender->lock);
	free(sender);
}

static enum wr_code start(struct wr_sender *s, struct wr_error *err)
{
	enum wr_code code;

	s->flights = calloc(s->room, sizeof *s->flights);
	s->pass = calloc(1, sizeof *s->pass);
	if (!s->flights || !s->pass)
		return wr_fail_nomem(err);
	if ((code = wr_posts_new(&s->posts, &s->cfg.rules, err)) != WR_OK)
		return code;
	code = wr_thread_start(&s->sending, "wr-webhooks", 0, send_all, s, err);
	s->has_sending = code == WR_OK;
	if (code != WR_OK)
		return code;
	code = wr_thread_start(&s->caring, "wr-judge", 5, wr_sender_care, s, err);
	s->has_caring = code == WR_OK;
	return code;
}

enum wr_code wr_sender_start(struct wr_sender **out, const struct wr_sender_config *cfg, struct wr_error *err)
{
	struct wr_sender *s = calloc(1, sizeof *s);
	pthread_condattr_t monotonic;
	enum wr_code code;

	if (!s)
		return wr_fail_nomem(err);
	s->cfg = *cfg;
	s->room = cfg->parallel;
	wr_leaps_init(&s->leaps, wr_leap_offset_ms());
	atomic_store(&s->poked, true);
	s->work = true;
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&s->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	if ((code = start(s, err)) != WR_OK) {
		wr_sender_stop(s, 0);
		return code;
	}
	*out = s;
	return WR_OK;
}
