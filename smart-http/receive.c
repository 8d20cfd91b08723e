#include "smart-http/names.h"
#include "smart-http/receive_internal.h"
#include "smart-http/sideband.h"

struct push {
	struct wr_receive *rx;
	struct wr_git_repo *repo;
	struct wr_str default_branch;
	const struct wr_cancel *cancel;
	struct wr_receive_result *result;
	struct wr_sideband *sb;
};

static bool deletes(const struct wr_command *c)
{
	return wr_oid_zero(&c->new);
}

static bool wants_pack(const struct wr_receive *rx)
{
	for (size_t i = 0; i < rx->count; i++) {
		if (!deletes(&rx->commands[i]))
			return true;
	}
	return false;
}

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

static bool is_branch(struct wr_str name, struct wr_str branch)
{
	return wr_str_starts(name, WR_S("refs/heads/")) && wr_str_eq(wr_str_skip(name, 11), branch);
}

/* What can be refused without the store. *left: how many commands are still to be done. */
static enum wr_code refuse_early(size_t *left, struct push *p, struct wr_error *err)
{
	struct wr_receive *rx = p->rx;
	enum wr_code code = refuse_twins(rx, err);

	if (code != WR_OK)
		return code;
	*left = 0;
	for (size_t i = 0; i < rx->count; i++) {
		struct wr_command *c = &rx->commands[i];

		if (!c->refused && deletes(c) && wr_oid_zero(&c->old))
			c->refused = "neither an old nor a new id";
		if (!c->refused && deletes(c) && is_branch(c->name, p->default_branch))
			c->refused = "deletion of the current branch prohibited";
		*left += c->refused == NULL;
	}
	if (rx->atomic && *left < rx->count) {
		for (size_t i = 0; i < rx->count; i++) {
			if (!rx->commands[i].refused)
				rx->commands[i].refused = "atomic push failure";
		}
		*left = 0;
	}
	return WR_OK;
}

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

static void meter_draw(void *arg, const char *stage, uint64_t done, uint64_t total, bool last)
{
	struct push *p = arg;

	/* Nothing may be written while the client is still sending. */
	if (!p->rx->reader->ended)
		return;
	if (p->rx->quiet)
		wr_sideband_alive(p->sb);
	else
		wr_sideband_meter(p->sb, stage, done, total, last);
}

/* What the client can do something about, or at least understand; the rest is this server's trouble. */
static bool is_refusal(enum wr_code code)
{
	return code == WR_E_BAD_PACK || code == WR_E_TOO_LARGE;
}

/* The answer shall tell of it: a refusal, or trouble that can no longer become a status or is best told in words. */
static bool report_carries(const struct push *p, enum wr_code code)
{
	return is_refusal(code) || (p->rx->report && (code == WR_E_STORAGE_FULL || p->sb->wrote));
}

/* Every command that is still open fails for the pack's sake. */
static void fail_all(struct push *p, const char *reason)
{
	for (size_t i = 0; i < p->rx->count; i++) {
		struct wr_command *c = &p->rx->commands[i];

		if (!c->refused) {
			c->refused = reason;
			c->accepted = false;
		}
	}
}

/* The pack was refused: notes why, and takes in the rest of it. */
static enum wr_code refuse_pack(struct push *p, const struct wr_error *why, struct wr_error *err)
{
	snprintf(p->result->pack_refused, sizeof(p->result->pack_refused), "%s", wr_error_text(why));
	fail_all(p, "unpacker error");
	return drain(p, err);
}

static enum wr_code objects_read(struct wr_quarantine **out, struct push *p, struct wr_error *err)
{
	struct wr_progress progress = {meter_draw, p};
	WR_AUTO(wr_quarantine) *q = NULL;
	enum wr_code code = wr_quarantine_new(&q, p->repo, err);

	if (code == WR_OK)
		code = wr_quarantine_pack(q, &p->rx->reader->base, &progress, p->cancel, err);
	if (code == WR_OK)
		*out = WR_STEAL(q);
	return code;
}

static enum wr_code updates_apply(struct push *p, size_t left, struct wr_quarantine *objects, struct wr_error *err)
{
	struct wr_receive *rx = p->rx;
	WR_AUTO_MEM struct wr_ref_update *updates = calloc(left, sizeof(*updates));
	struct wr_change change = {.updates = updates, .count = left, .atomic = rx->atomic, .objects = objects};
	size_t n = 0;
	enum wr_code code;

	if (!updates)
		return wr_fail_nomem(err);
	for (size_t i = 0; i < rx->count; i++) {
		const struct wr_command *c = &rx->commands[i];

		if (!c->refused)
			updates[n++] = (struct wr_ref_update){.name = c->name, .old = c->old, .new = c->new};
	}
	if ((code = wr_git_append(p->repo, &change, err)) != WR_OK)
		return code;
	n = 0;
	for (size_t i = 0; i < rx->count; i++) {
		struct wr_command *c = &rx->commands[i];
		const struct wr_ref_update *u;

		if (c->refused)
			continue;
		u = &updates[n++];
		c->accepted = u->result == WR_OK;
		if (!c->accepted)
			snprintf(c->reason, sizeof(c->reason), "%s",
				 u->reason[0] ? u->reason : wr_code_text(u->result));
	}
	return WR_OK;
}

/* Everything but the answer. */
static enum wr_code take_in(struct push *p, struct wr_error *err)
{
	WR_AUTO(wr_quarantine) *objects = NULL;
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	size_t left;
	enum wr_code code = refuse_early(&left, p, err);

	if (code != WR_OK)
		return code;
	if (left == 0)
		return drain(p, err);
	if (wants_pack(p->rx))
		code = objects_read(&objects, p, &why);
	else
		code = drain(p, &why);
	if (code == WR_OK)
		code = updates_apply(p, left, objects, &why);
	if (code == WR_OK)
		return WR_OK;
	/* A body that broke off is the connection's end, whatever the pack reader made of it. */
	if (p->rx->reader->failed != WR_OK || !report_carries(p, code) || refuse_pack(p, &why, err) != WR_OK) {
		wr_error_move(err, &why);
		return code;
	}
	if (is_refusal(code))
		return WR_OK;
	p->result->told = true;
	wr_error_move(err, &why);
	return code;
}

/* A reason that needs more words than the report's one line. */
static enum wr_code explain(struct push *p, struct wr_error *err)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1024);

	for (size_t i = 0; i < p->rx->count; i++) {
		const struct wr_command *c = &p->rx->commands[i];

		if (c->refused && deletes(c) && is_branch(c->name, p->default_branch)) {
			wr_buf_addz(&text, "error: refusing to delete the default branch ");
			wr_buf_adds(&text, p->default_branch);
			wr_buf_addz(&text, "; make another branch the default first\n");
			break;
		}
	}
	if (p->result->pack_refused[0])
		wr_buf_printf(&text, "error: %s\n", p->result->pack_refused);
	return wr_sideband_text(p->sb, wr_buf_str(&text), err);
}

static enum wr_code report(struct push *p, struct wr_error *err)
{
	WR_AUTO_S(wr_pkt_writer) w;
	enum wr_code code;

	wr_pkt_writer_init(&w, &p->sb->base, err);
	wr_pkt_printf(&w, "unpack %s\n", p->result->pack_refused[0] ? p->result->pack_refused : "ok");
	for (size_t i = 0; i < p->rx->count; i++) {
		const struct wr_command *c = &p->rx->commands[i];

		if (c->accepted)
			wr_pkt_printf(&w, "ok %.*s\n", (int)c->name.len, c->name.ptr);
		else
			wr_pkt_printf(&w, "ng %.*s %s\n", (int)c->name.len, c->name.ptr,
				      c->refused ? c->refused : c->reason);
	}
	wr_pkt_flush(&w);
	if ((code = explain(p, err)) != WR_OK || (code = wr_pkt_writer_send(&w)) != WR_OK)
		return code;
	return wr_sideband_end(p->sb, err);
}

static void count(struct push *p)
{
	for (size_t i = 0; i < p->rx->count; i++) {
		if (p->rx->commands[i].accepted)
			p->result->accepted++;
		else
			p->result->refused++;
	}
}

enum wr_code wr_receive_run(struct wr_receive_result *result, struct wr_receive *rx, struct wr_git_repo *repo,
			    struct wr_str default_branch, struct wr_source *src, struct wr_sink *sink,
			    const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO(wr_sideband) *sb = NULL;
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	struct push p = {rx, repo, default_branch, cancel, result, NULL};
	enum wr_code code, sent = WR_OK;

	*result = (struct wr_receive_result){0};
	rx->reader->src = src;
	if (rx->count == 0)
		return drain(&p, err);
	code = wr_sideband_new(&sb, sink, rx->report && rx->bands ? WR_BAND_LARGE : WR_BAND_NONE, err);
	if (code != WR_OK)
		return code;
	p.sb = sb;
	code = take_in(&p, err);
	count(&p);
	if (rx->report && (code == WR_OK || result->told))
		sent = report(&p, code == WR_OK ? err : &why);
	if (sent != WR_OK)
		result->told = false;
	return code != WR_OK ? code : sent;
}
