#include "server/follow.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "server/api/api.h"

#define AWAY_MS 30000
#define AGAIN_MS 200

struct following {
	const struct wr_follow *follow;
	const char *id;
	bool terminal;
	bool shown; /* a line on the terminal, to be cleared */
	bool cancelling;
	int64_t away_since; /* 0: the server answers */
};

static void clear(struct following *f)
{
	if (f->shown)
		fputs("\r\033[K", stderr);
	f->shown = false;
}

static void show(struct following *f, json_t *job)
{
	const char *stage = json_string_value(json_object_get(job, "stage"));
	json_int_t done = json_integer_value(json_object_get(job, "done"));
	json_int_t total = json_integer_value(json_object_get(job, "total"));
	const char *state = json_string_value(json_object_get(job, "state"));
	char line[200];

	if (!stage || !stage[0])
		snprintf(line, sizeof line, "%s", state ? state : "");
	else if (total > 0)
		snprintf(line, sizeof line, "%s: %lld of %lld", stage, (long long)done, (long long)total);
	else if (done > 0)
		snprintf(line, sizeof line, "%s: %lld", stage, (long long)done);
	else
		snprintf(line, sizeof line, "%s", stage);
	fprintf(stderr, f->terminal ? "\r\033[Kjob %s: %s" : "job %s: %s\n", f->id, line);
	f->shown = f->terminal;
	fflush(stderr);
}

static enum wr_code call(json_t **out, struct following *f, const char *cmd, struct wr_error *err)
{
	WR_AUTO(json_t) *command = json_pack("{s:s, s:{s:s}}", "cmd", cmd, "args", "job", f->id);
	bool no_server = false;
	enum wr_code code;

	if (!command)
		return wr_fail_nomem(err);
	code = f->follow->call(f->follow->arg, out, command, &no_server, err);
	if (code == WR_OK && no_server)
		return wr_fail(err, WR_E_UNAVAILABLE, "no server runs");
	return code;
}

/* A server that is replaced or started again is back soon. */
static enum wr_code bear(struct following *f, enum wr_code code, struct wr_error *err)
{
	int64_t now = wr_mono_ms();

	if (code == WR_OK)
		f->away_since = 0;
	if (code != WR_E_UNAVAILABLE)
		return code;
	if (!f->away_since)
		f->away_since = now;
	if (now - f->away_since > AWAY_MS)
		return wr_fail(err, WR_E_UNAVAILABLE,
			       "the server went away; the job goes on when it is back, see warren job show %s", f->id);
	nanosleep(&(struct timespec){.tv_nsec = AGAIN_MS * 1000000L}, NULL);
	return WR_OK;
}

static enum wr_code conclude(json_t **out, struct following *f, json_t *job, struct wr_error *err)
{
	const char *state = json_string_value(json_object_get(job, "state"));
	json_t *result = json_object_get(job, "result"), *copy;
	const char *message = json_string_value(json_object_get(json_object_get(job, "error"), "message"));
	const char *code = json_string_value(json_object_get(json_object_get(job, "error"), "code"));

	if (state && strcmp(state, "cancelled") == 0)
		return wr_fail(err, WR_E_INVALID_REQUEST, "the job was cancelled");
	if (!state || strcmp(state, "done") != 0)
		return wr_fail(err, WR_E_INVALID_REQUEST, "%s (job %s, %s)", message ? message : "the job failed",
			       f->id, code ? code : "no code");
	copy = json_is_object(result) ? json_copy(result) : json_object();
	if (!copy || json_object_set_new(copy, "jobId", json_string(f->id)) != 0) {
		json_decref(copy);
		return wr_fail_nomem(err);
	}
	*out = copy;
	return WR_OK;
}

static bool has_ended(json_t *job)
{
	return json_is_string(json_object_get(job, "endedAt"));
}

enum wr_code wr_follow_job(json_t **out, const struct wr_follow *follow, const char *job_id, struct wr_error *err)
{
	struct following f = {.follow = follow, .id = job_id, .terminal = isatty(STDERR_FILENO) == 1};

	for (;;) {
		bool cancel = follow->interrupted && *follow->interrupted && !f.cancelling;
		WR_AUTO(json_t) *job = NULL;
		enum wr_code code = call(&job, &f, cancel ? "job.cancel" : "job.wait", err);

		f.cancelling = f.cancelling || (cancel && code == WR_OK);
		if (code == WR_OK && has_ended(job)) {
			clear(&f);
			return conclude(out, &f, job, err);
		}
		if (code == WR_OK)
			show(&f, job);
		if ((code = bear(&f, code, err)) != WR_OK) {
			clear(&f);
			return code;
		}
	}
}
