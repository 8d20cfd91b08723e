#include <stddef.h>

#include "core/git/snapshot.h"
#include "smart-http/receive_internal.h"

/* A body of so much may take a while after its last byte. */
#define LARGE 65536

struct push {
	struct wr_receive *rx;
	struct wr_git_repo *repo;
	struct wr_str default_branch;
	const struct wr_receive_permit *permit;
	const struct wr_cancel *cancel;
	struct wr_receive_result *result;
	struct wr_sideband *sb;
	struct wr_alive alive;
	struct wr_source body; /* what the reader has left, of which it is known when it ends */
	uint64_t body_len;
	struct wr_ref_update *updates; /* whose reasons commands refer to */
	bool withdrawn;		       /* the permission was */
};

/* ---- what is refused without the store ---- */

static int by_name(const void *pa, const void *pb)
{
	const struct wr_command *a = *(struct wr_command *const *)pa, *b = *(struct wr_command *const *)pb;
	size_t n = a->name.len < b->name.len ? a->name.len : b->name.len;
	int d = n ? memcmp(a->name.ptr, b->name.ptr, n) : 0;

	return d ? d : (a->name.len > b->name.len) - (a->name.len < b->name.len);
}

/* A ref that is named twice has no one fate: all its commands are refused. */
static enum wr_code refuse_twins(struct wr_receive *rx, struct wr_error *err)
{
	WR_AUTO_MEM struct wr_command **sorted = calloc(rx->count, sizeof(struct wr_command *));

	if (!sorted)
		return wr_fail_nomem(err);
	for (size_t i = 0; i < rx->count; i++)
		sorted[i] = &rx->commands[i];
	qsort(sorted, rx->count, sizeof(struct wr_command *), by_name);
	for (size_t i = 1; i < rx->count; i++) {
		if (wr_str_eq(sorted[i - 1]->name, sorted[i]->name))
			sorted[i - 1]->refused = sorted[i]->refused = "multiple updates for one ref";
	}
	return WR_OK;
}

/* Every command that is still open fails. */
static void refuse_all(struct wr_receive *rx, const char *reason)
{
	for (size_t i = 0; i < rx->count; i++) {
		if (!rx->commands[i].refused)
			rx->commands[i].refused = reason;
	}
}

/* How many commands are still to be done: of an atomic push none once one was refused. */
static size_t left(struct wr_receive *rx)
{
	size_t n = 0;

	for (size_t i = 0; i < rx->count; i++)
		n += rx->commands[i].refused == NULL;
	if (!rx->atomic || n == rx->count)
		return n;
	refuse_all(rx, "atomic push failure");
	return 0;
}

static enum wr_code refuse_early(struct push *p, struct wr_error *err)
{
	struct wr_receive *rx = p->rx;
	enum wr_code code = refuse_twins(rx, err);

	for (size_t i = 0; i < rx->count && code == WR_OK; i++) {
		struct wr_command *c = &rx->commands[i];

		if (c->refused || !wr_command_deletes(c))
			continue;
		if (wr_oid_zero(&c->old))
			c->refused = "neither an old nor a new id";
		else if (wr_command_is_of(c, p->default_branch))
			c->refused = "deletion of the current branch prohibited";
	}
	return code;
}

/* ---- the pack ---- */

/* Takes in and drops what is left of the body: HTTP/1.1 clients read no answer before they have sent everything. */
static enum wr_code drain(struct push *p, struct wr_error *err)
{
	char buf[16384];
	size_t got;
	enum wr_code code;

	do {
		if (p->cancel && p->cancel->fn && p->cancel->fn(p->cancel->arg))
			return wr_fail(err, WR_E_CANCELLED, "given up while the rest of a push came in");
		code = wr_source_read(&p->rx->reader->base, buf, sizeof(buf), &got, err);
	} while (code == WR_OK && got);
	return code;
}

static enum wr_code body_read(struct wr_source *base, void *buf, size_t cap, size_t *got, struct wr_error *err)
{
	struct push *p = (struct push *)((char *)base - offsetof(struct push, body));
	enum wr_code code = wr_source_read(&p->rx->reader->base, buf, cap, got, err);

	if (code != WR_OK)
		return code;
	p->body_len += *got;
	if (*got == 0 && p->body_len >= LARGE)
		wr_alive_start(&p->alive);
	return WR_OK;
}

/* Nothing may be written while the client is still sending. */
static void stay_alive(void *arg)
{
	struct push *p = arg;

	if (!p->rx->reader->ended)
		return;
	pthread_mutex_lock(&p->alive.lock);
	wr_sideband_alive(p->sb);
	pthread_mutex_unlock(&p->alive.lock);
}

static void meter_draw(void *arg, const char *stage, uint64_t done, uint64_t total, bool last)
{
	struct push *p = arg;

	if (p->rx->quiet) {
		stay_alive(p);
	} else if (p->rx->reader->ended) {
		pthread_mutex_lock(&p->alive.lock);
		wr_sideband_meter(p->sb, stage, done, total, last);
		pthread_mutex_unlock(&p->alive.lock);
	}
}

static bool needs_pack(const struct wr_receive *rx)
{
	for (size_t i = 0; i < rx->count; i++) {
		if (!wr_command_deletes(&rx->commands[i]))
			return true;
	}
	return false;
}

static bool objects_take(void *arg, uint64_t n, bool spare)
{
	struct wr_receive *rx = arg;
	bool is = wr_room_take(rx->room, n, spare);

	if (!is && !spare)
		atomic_store(&rx->crowded, true);
	return is;
}

static void objects_give(void *arg, uint64_t n)
{
	const struct wr_receive *rx = arg;

	wr_room_give(rx->room, n);
}

/* *out stays NULL where only deletions came: a pack behind them brings nothing that is asked for. */
static enum wr_code objects_read(struct wr_quarantine **out, struct push *p, struct wr_error *err)
{
	struct wr_progress progress = {meter_draw, p};
	WR_AUTO(wr_quarantine) *q = NULL;
	enum wr_code code;

	if (!needs_pack(p->rx))
		return drain(p, err);
	if ((code = wr_quarantine_new(&q, p->repo, err)) != WR_OK)
		return code;
	p->rx->objects = (struct wr_room){objects_take, objects_give, p->rx};
	wr_quarantine_room(q, &p->rx->objects);
	if (p->rx->shallow.len)
		wr_quarantine_shallow(q, &p->rx->shallow);
	if ((code = wr_quarantine_pack(q, &p->body, &progress, p->cancel, err)) == WR_OK)
		*out = WR_STEAL(q);
	return code;
}

/*
 * The pack's history ends where the repository's does not. Nothing of it is taken, so what builds on it is refused;
 * what needs no pack goes on, as with git.
 */
static enum wr_code refuse_shallow(struct push *p, struct wr_error *err)
{
	WR_AUTO(wr_snapshot) *now = NULL;
	enum wr_code code = drain(p, err);

	if (code != WR_OK || (code = wr_snapshot_take(&now, p->repo, err)) != WR_OK)
		return code;
	for (size_t i = 0; i < p->rx->count; i++) {
		struct wr_command *c = &p->rx->commands[i];

		if (!c->refused && !wr_command_deletes(c) && !wr_snapshot_has(now, &c->new))
			c->refused = "shallow update not allowed";
	}
	p->rx->shallow_refused = true;
	return WR_OK;
}

/* ---- the refs ---- */

/* A change's function: the updates are there already. */
static enum wr_code ask_permit(void *arg, struct wr_snapshot *tips, struct wr_change *change, struct wr_error *err)
{
	struct push *p = arg;
	enum wr_code code = p->permit ? p->permit->fn(p->permit->arg, err) : WR_OK;

	(void)tips;
	(void)change;
	p->withdrawn = code == WR_E_UNAUTHORIZED || code == WR_E_REPO_ACCESS_DENIED || code == WR_E_REPO_NOT_FOUND;
	return code;
}

static void take_results(struct push *p)
{
	const struct wr_ref_update *u = p->updates;

	for (size_t i = 0; i < p->rx->count; i++) {
		struct wr_command *c = &p->rx->commands[i];

		if (c->refused)
			continue;
		if (u->result != WR_OK)
			c->refused = u->reason[0] ? u->reason : wr_code_text(u->result);
		u++;
	}
}

static enum wr_code updates_apply(struct push *p, struct wr_quarantine *objects, struct wr_error *err)
{
	struct wr_receive *rx = p->rx;
	struct wr_change change = {
		.atomic = rx->atomic, .objects = objects, .fn = ask_permit, .waiting = stay_alive, .arg = p};
	size_t n = left(rx);
	enum wr_code code;

	if (n == 0)
		return WR_OK;
	if (p->permit)
		change.asker = p->permit->asker;
	change.updates = p->updates = calloc(n, sizeof(*p->updates));
	if (!p->updates)
		return wr_fail_nomem(err);
	for (size_t i = 0; i < rx->count; i++) {
		const struct wr_command *c = &rx->commands[i];

		if (!c->refused)
			p->updates[change.count++] =
				(struct wr_ref_update){.name = c->name, .old = c->old, .new = c->new};
	}
	stay_alive(p);
	if ((code = wr_git_append(p->repo, &change, err)) == WR_OK)
		take_results(p);
	return code;
}

/*
 * What the pack builds on is missed, maybe since the repository was deleted before it was opened here: who lost the
 * permission hears of that, when all of the push is here.
 */
static enum wr_code missed(struct push *p, enum wr_code code, struct wr_error *err)
{
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	enum wr_code now = drain(p, &why);

	if (now == WR_OK)
		now = ask_permit(p, NULL, NULL, &why);
	if (!p->withdrawn)
		return code;
	wr_error_fini(err);
	wr_error_move(err, &why);
	return now;
}

/* ---- all of it ---- */

/* What the client can do something about, or at least understand; the rest is this server's trouble. */
static bool is_refusal(enum wr_code code)
{
	return code == WR_E_BAD_PACK || code == WR_E_TOO_LARGE;
}

/* The answer shall tell of it: a refusal, or trouble that can no longer become a status or is best told in words. */
static bool report_carries(const struct push *p, enum wr_code code)
{
	bool words = code == WR_E_STORAGE_FULL || (code == WR_E_UNAVAILABLE && atomic_load(&p->rx->crowded));

	return is_refusal(code) || (p->rx->report && words) || p->sb->wrote;
}

/* Nothing of the push is taken: notes why, and takes in the rest of it. */
static enum wr_code refuse_whole(struct push *p, const char *why, struct wr_error *err)
{
	snprintf(p->result->pack_refused, sizeof(p->result->pack_refused), "%s", why);
	refuse_all(p->rx, "unpacker error");
	return drain(p, err);
}

static enum wr_code work(struct push *p, struct wr_error *err)
{
	WR_AUTO(wr_quarantine) *objects = NULL;
	enum wr_code code = refuse_early(p, err);

	if (code != WR_OK)
		return code;
	if (left(p->rx) == 0)
		return drain(p, err);
	code = objects_read(&objects, p, err);
	if (code == WR_E_BAD_PACK || code == WR_E_SHALLOW_ROOT)
		code = missed(p, code, err);
	if (code == WR_E_SHALLOW_ROOT)
		code = refuse_shallow(p, err);
	return code == WR_OK ? updates_apply(p, objects, err) : code;
}

/* Everything but the answer. */
static enum wr_code take_in(struct push *p, struct wr_error *err)
{
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	enum wr_code code = work(p, &why);

	wr_alive_stop(&p->alive);
	if (code == WR_OK)
		return WR_OK;
	if (p->withdrawn && p->rx->report) {
		refuse_all(p->rx, "the permission to push was withdrawn while the push came in");
		return WR_OK;
	}
	/* A body that broke off is the connection's end, whatever the pack reader made of it. */
	if (p->rx->reader->failed != WR_OK || !report_carries(p, code) ||
	    refuse_whole(p, wr_error_text(&why), err) != WR_OK) {
		wr_error_move(err, &why);
		return code;
	}
	if (is_refusal(code))
		return WR_OK;
	p->result->told = true;
	wr_error_move(err, &why);
	return code;
}

/* Too much of something, which is told in the answer where there is one. */
static enum wr_code over_limit(struct push *p, struct wr_error *err)
{
	if (!p->rx->report && !p->rx->bands)
		return wr_fail(err, WR_E_INVALID_REQUEST, "%s", p->rx->limit);
	return refuse_whole(p, p->rx->limit, err);
}

static void count(const struct push *p, enum wr_code code)
{
	for (size_t i = 0; i < p->rx->count; i++) {
		if (code == WR_OK && !p->rx->commands[i].refused)
			p->result->accepted++;
		else
			p->result->refused++;
	}
	p->result->options = p->rx->options;
}

enum wr_code wr_receive_run(struct wr_receive_result *result, struct wr_receive *rx, struct wr_git_repo *repo,
			    struct wr_str default_branch, const struct wr_receive_permit *permit,
			    struct wr_source *src, struct wr_sink *sink, const struct wr_cancel *cancel,
			    struct wr_error *err)
{
	WR_AUTO(wr_sideband) *sb = NULL;
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	struct push p = {.rx = rx,
			 .repo = repo,
			 .default_branch = default_branch,
			 .permit = permit,
			 .cancel = cancel,
			 .result = result,
			 .body = {body_read}};
	enum wr_code code, sent = WR_OK;

	*result = (struct wr_receive_result){0};
	rx->reader->src = src;
	if (rx->count == 0 && !rx->limit[0])
		return drain(&p, err);
	if ((code = wr_sideband_new(&sb, sink, rx->bands ? WR_BAND_LARGE : WR_BAND_NONE, err)) != WR_OK)
		return code;
	p.sb = sb;
	wr_alive_init(&p.alive, sb);
	code = rx->limit[0] ? over_limit(&p, err) : take_in(&p, err);
	count(&p, code);
	if (code == WR_OK || result->told)
		sent = wr_receive_report(sb, rx, result, default_branch, code == WR_OK ? err : &why);
	if (sent != WR_OK)
		result->told = false;
	wr_alive_fini(&p.alive);
	free(p.updates);
	return code != WR_OK ? code : sent;
}
