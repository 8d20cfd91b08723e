/* One attempt to deliver, and what follows from how it ended. */
#include "core/base/log.h"
#include "triggers/sender_internal.h"

#define SIGNATURE_MAX ((size_t)16 << 10)
#define BODY_MAX ((size_t)16 << 10)

static enum wr_code sign(struct wr_buf *header, const struct wr_sender *s, const struct wr_claim *claim,
			 struct wr_str body, struct wr_error *err)
{
	const struct wr_signing_claims claims = {
		.issuer = s->cfg.issuer,
		.audience = claim->endpoint,
		.delivery_id = claim->hook.id,
		.repo_id = claim->hook.repo_id,
		.body = body,
	};

	wr_buf_addz(header, "x-freestyle-signature: ");
	return wr_signing_sign(header, s->cfg.signing, &claims, err);
}

static enum wr_code begin(struct wr_sender *s, struct wr_flight *flight, struct wr_error *err)
{
	const struct wr_hook *hook = &flight->claim.hook;
	WR_AUTO_S(wr_buf) body = WR_BUF_INIT(BODY_MAX);
	WR_AUTO_S(wr_buf) signature = WR_BUF_INIT(SIGNATURE_MAX);
	char delivery[64], attempt[40];
	const char *headers[6] = {"Content-Type: application/json", delivery, attempt};
	/* Whoever failed may stand elsewhere by now, behind the same name. */
	struct wr_post_ask ask = {.url = flight->claim.endpoint, .headers = headers, .fresh = hook->attempts > 0, .tag = flight};
	enum wr_code code;

	wr_hook_body(&body, hook);
	if (!wr_buf_ok(&body))
		return wr_fail_nomem(err);
	if ((code = sign(&signature, s, &flight->claim, wr_buf_str(&body), err)) != WR_OK)
		return code;
	snprintf(delivery, sizeof delivery, "x-warren-delivery: %s", hook->id);
	snprintf(attempt, sizeof attempt, "x-warren-attempt: %u", hook->attempts + 1);
	headers[3] = signature.ptr;
	headers[4] = hook->kind == WR_DELIVERY_TEST ? "x-warren-test: 1" : NULL;
	ask.body = wr_buf_str(&body);
	return wr_posts_begin(s->posts, &ask, err);
}

void wr_attempt_begin(struct wr_sender *s, struct wr_flight *flight)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;

	if (begin(s, flight, &err) == WR_OK) {
		flight->state = WR_FLIGHT_UP;
		s->up++;
		return;
	}
	/* Nothing was sent, and the fault is ours: memory, or the file of keys. It counts, so that it does not come at once. */
	wr_log_error(NULL, WR_EV_WEBHOOK_FAILED, &err);
	flight->end = (struct wr_post_end){.tag = flight, .code = err.code, .retry_after_s = -1};
	snprintf(flight->end.error, sizeof flight->end.error, "The server could not make the request.");
	flight->state = WR_FLIGHT_ENDED;
	s->ended++;
}

int64_t wr_attempt_pause(unsigned failed, int64_t retry_ms, int64_t retry_after_s)
{
	static const unsigned short steps[] = {1, 2, 5, 15, 60, 300, 1800, 3600};
	size_t last = WR_ARRAY_LEN(steps) - 1, i = failed == 0 ? 0 : failed - 1;
	int64_t pause = retry_ms * steps[i < last ? i : last], longest = retry_ms * steps[last];
	uint16_t random;

	/* Up to a fifth more, so that those that failed together do not come back together. */
	wr_random_bytes(&random, sizeof random);
	pause += pause / 5 * random / UINT16_MAX;
	if (retry_after_s < 0)
		return pause;
	if (retry_after_s > longest / 1000)
		return pause > longest ? pause : longest;
	return retry_after_s * 1000 > pause ? retry_after_s * 1000 : pause;
}

static bool succeeded(const struct wr_post_end *end)
{
	return end->code == WR_OK && end->status >= 200 && end->status < 300;
}

void wr_attempt_describe(struct wr_post_end *end)
{
	if (end->code != WR_OK || succeeded(end))
		return;
	if (end->status >= 300 && end->status < 400)
		snprintf(end->error, sizeof end->error, "The endpoint answered %d; redirects are not followed", end->status);
	else
		snprintf(end->error, sizeof end->error, "The endpoint answered %d", end->status);
}

void wr_attempt_outcome(struct wr_outcome *out, const struct wr_sender *s, const struct wr_flight *flight, int64_t now_ms)
{
	const struct wr_hook *hook = &flight->claim.hook;
	const struct wr_post_end *end = &flight->end;
	int64_t resumed = flight->claim.resumed_ms, since = hook->created_ms > resumed ? hook->created_ms : resumed;

	*out = (struct wr_outcome){
		.seq = hook->seq,
		.lease = s->cfg.lease,
		.what = WR_OUT_CUT_OFF,
		.status = end->status,
		.latency_ms = end->latency_ms,
		.error = end->error,
		.answer = {end->answer, end->answer_len},
	};
	if (flight->cut_off)
		return;
	if (succeeded(end)) {
		out->what = WR_OUT_DELIVERED;
		return;
	}
	out->what = since <= wr_leaps_before(&s->leaps, now_ms, s->cfg.give_up_ms) ? WR_OUT_GIVEN_UP : WR_OUT_AGAIN;
	out->not_before_ms = now_ms + wr_attempt_pause(hook->attempts + 1, s->cfg.retry_ms, end->retry_after_s);
	if (out->what == WR_OUT_GIVEN_UP)
		WR_LOG(WR_WARN, NULL, WEBHOOK_GIVEN_UP, WR_STR("delivery", hook->id), WR_STR("repo", hook->repo_id),
		       WR_STR("account", hook->account_id), WR_STR("host", flight->claim.host),
		       WR_INT("attempts", hook->attempts + 1), WR_INT("status", end->status), WR_STR("error", end->error));
}
