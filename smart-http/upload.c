#include <stdarg.h>

#include "core/base/clock.h"
#include "core/git/parse.h"
#include "smart-http/names.h"
#include "smart-http/upload_internal.h"

/* Walks for readiness in one request. Beyond it the client decides itself when it has told enough. */
#define MAX_READY_WALKS 64
/* A tag of a tag of a tag: longer chains are not taken in. */
#define MAX_TAG_CHAIN 64

void wr_common_fini(struct wr_common *common)
{
	wr_oidmap_fini(&common->seen);
	wr_oids_fini(&common->commits);
}

/* Values in the map of what was seen: where it leads. */
#define NO_COMMIT 0u
#define COMMON 1u

/* The next tag or commit on the way from *at; *end: *at is no tag. */
static enum wr_code step(bool *end, enum wr_type *type, struct wr_oid *at, const struct wr_snapshot *snap,
			 struct wr_error *err)
{
	WR_AUTO_S(wr_object) obj = {0};
	enum wr_type next;
	enum wr_code code = wr_snapshot_stat(snap, at, type, NULL, err);

	*end = code == WR_OK && *type != WR_TAG;
	if (code == WR_OK && !*end && (code = wr_snapshot_read(&obj, snap, at, err)) == WR_OK)
		code = wr_tag_parse(at, &next, wr_str_n(obj.data, obj.size), err);
	if (code == WR_E_NOT_THERE || code == WR_E_BAD_PACK)
		return wr_fail(err, WR_E_INTERNAL, "a have is damaged");
	return code;
}

/* *verdict: of this have and of all tags on its way, whether they lead to a commit. Each is read once. */
static enum wr_code lead(uint32_t *verdict, struct wr_oids *way, struct wr_common *common,
			 const struct wr_snapshot *snap, const struct wr_oid *have, const struct wr_cancel *cancel,
			 struct wr_error *err)
{
	struct wr_oid at = *have;
	enum wr_code code = WR_OK;

	*verdict = NO_COMMIT;
	for (bool end = false; code == WR_OK && !end;) {
		const uint32_t *slot = wr_oidmap_slot(&common->seen, &at);
		enum wr_type type = WR_TAG;

		if (slot) {
			*verdict = *slot - 1;
			return WR_OK;
		}
		if (way->len > MAX_TAG_CHAIN)
			return WR_OK;
		if (cancel && cancel->fn && cancel->fn(cancel->arg))
			return wr_fail(err, WR_E_CANCELLED, "given up while haves were looked up");
		if ((code = wr_oids_add(way, &at, err)) == WR_OK)
			code = step(&end, &type, &at, snap, err);
		if (code == WR_OK && type == WR_COMMIT) {
			*verdict = COMMON;
			code = wr_oids_add(&common->commits, &at, err);
		}
	}
	return code;
}

enum wr_code wr_common_add(bool *known, struct wr_common *common, const struct wr_upload *up,
			   const struct wr_snapshot *snap, const struct wr_oid *have,
			   const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO_S(wr_oids) way = {NULL, 0, 0};
	uint32_t verdict = NO_COMMIT;
	enum wr_code code = wr_reach_cheap(known, up->reach, have, err);

	if (code != WR_OK || !*known || (code = lead(&verdict, &way, common, snap, have, cancel, err)) != WR_OK)
		return code;
	for (size_t i = 0; i < way.len && code == WR_OK; i++)
		code = wr_oidmap_add(&common->seen, &way.v[i], verdict, NULL, err);
	*known = verdict == COMMON;
	if (*known)
		common->last = *have;
	return code;
}

enum wr_code wr_upload_add_all(struct wr_oids *out, const struct wr_oids *list, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < list->len && code == WR_OK; i++)
		code = wr_oids_add(out, &list->v[i], err);
	return code;
}

/*
 * Whoever has a commit has its parents, unless his history ends there: a want that is one of these needs no walk to be
 * known.
 */
static enum wr_code ready(bool *out, const struct wr_common *common, const struct wr_oids *wants,
			  const struct wr_snapshot *snap, const struct wr_oids *stops, const struct wr_cancel *cancel,
			  struct wr_error *err)
{
	WR_AUTO_S(wr_oids) theirs = {NULL, 0, 0};
	int64_t oldest;
	enum wr_code code = wr_walk_parents(&theirs, &oldest, snap, &common->commits, stops, cancel, err);

	if (code != WR_OK || (code = wr_upload_add_all(&theirs, &common->commits, err)) != WR_OK)
		return code;
	return wr_walk_ready(out, snap, wants, &theirs, stops, oldest, cancel, err);
}

enum wr_code wr_common_ready(struct wr_common *common, const struct wr_oids *wants, const struct wr_snapshot *snap,
			     const struct wr_oids *stops, bool eager, const struct wr_cancel *cancel,
			     struct wr_error *err)
{
	size_t n = common->commits.len;
	enum wr_code code;

	if (common->ready || n == common->asked_at || (!eager && n < common->asked_at * 2) ||
	    common->asked_times >= MAX_READY_WALKS)
		return WR_OK;
	if ((code = ready(&common->ready, common, wants, snap, stops, cancel, err)) != WR_OK)
		return code;
	common->asked_at = n;
	common->asked_times++;
	return WR_OK;
}

/* The sentence, which ends the answer. */
static enum wr_code send_error(struct wr_upload *up, struct wr_pkt_writer *w, const char *sentence)
{
	bool banded = w->band != 0;
	enum wr_code code;

	if (banded)
		w->band = 3;
	wr_pkt_printf(w, "%s%s", banded ? "" : "ERR ", sentence);
	if ((code = wr_pkt_writer_send(w)) == WR_OK)
		up->told = true;
	return code;
}

enum wr_code wr_upload_refuse(struct wr_upload *up, struct wr_pkt_writer *w, const char *fmt, ...)
{
	char sentence[256];
	enum wr_code code;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	code = send_error(up, w, sentence);
	return code != WR_OK ? code : wr_fail(w->err, WR_E_INVALID_REQUEST, "%s", sentence);
}

enum wr_code wr_upload_tell(struct wr_upload *up, struct wr_pkt_writer *w, enum wr_code code)
{
	enum wr_code sent;

	/* Where the sink failed or the client has left, there is nobody to tell. */
	if (code == WR_OK || up->told || !w->sent || w->code != WR_OK || code == WR_E_CANCELLED)
		return code;
	sent = send_error(up, w, wr_error_text(w->err));
	return sent == WR_OK ? code : sent;
}

static bool watch_ask(void *arg)
{
	struct wr_upload_watch *watch = arg;
	int64_t now = wr_mono_ms();

	if (watch->outer && watch->outer->fn && watch->outer->fn(watch->outer->arg))
		return true;
	if (now - watch->last_ms >= WR_SIDEBAND_ALIVE_MS) {
		watch->last_ms = now;
		wr_pkt_writer_alive(watch->w);
	}
	return watch->w->code != WR_OK;
}

void wr_upload_watch_init(struct wr_upload_watch *watch, const struct wr_cancel *outer, struct wr_pkt_writer *w)
{
	*watch = (struct wr_upload_watch){
		.base = {watch_ask, watch}, .outer = outer, .w = w, .last_ms = wr_mono_ms()};
}

enum wr_code wr_upload_begin(struct wr_cut *cut, struct wr_upload *up, struct wr_snapshot *snap,
			     struct wr_str default_branch, struct wr_pkt_writer *w, const struct wr_cancel *cancel,
			     struct wr_error *err)
{
	char hex[WR_OID_HEX + 1];
	enum wr_code code = wr_reach_new(&up->reach, snap, cancel, err);
	size_t bad;

	if (code != WR_OK || (code = wr_reach_all(&bad, up->reach, &up->wants, err)) != WR_OK)
		return code;
	if (bad < up->wants.len) {
		wr_oid_hex(hex, &up->wants.v[bad]);
		return wr_upload_refuse(up, w, "upload-pack: not our ref %s", hex);
	}
	/* What refs name needs no check, so these come after it. */
	if ((code = wr_upload_want_refs(up, snap, default_branch, w, err)) != WR_OK)
		return code;
	code = wr_upload_cut(cut, up, snap, default_branch, cancel, err);
	return code == WR_E_INVALID_REQUEST ? wr_upload_refuse(up, w, "%s", err->text) : code;
}

struct meter {
	struct wr_sideband *sb;
	bool quiet;
};

static void meter_draw(void *arg, const char *stage, uint64_t done, uint64_t total, bool last)
{
	struct meter *m = arg;

	if (m->quiet)
		wr_sideband_alive(m->sb);
	else
		wr_sideband_meter(m->sb, stage, done, total, last);
}

static enum wr_code pack_write(struct wr_upload *up, struct wr_snapshot *snap, const struct wr_common *common,
			       const struct wr_cut *cut, struct wr_sideband *sb, const struct wr_cancel *cancel,
			       struct wr_error *err)
{
	struct meter meter = {sb, up->no_progress};
	struct wr_progress progress = {meter_draw, &meter};
	struct wr_plan_request request = {
		.wants = &up->wants,
		.haves = &common->commits,
		.client_shallow = &cut->client,
		.new_shallow = cut->roots.len ? &cut->roots : NULL,
		.unshallow = cut->unshallow.len ? &cut->unshallow : NULL,
		.include_tag = up->include_tag,
		.thin = up->thin,
		.ofs_delta = up->ofs_delta,
		.filter = up->has_filter ? &up->filter : NULL,
	};
	WR_AUTO(wr_plan) *plan = NULL;
	enum wr_code code = wr_plan_new(&plan, snap, &request, &progress, cancel, err);

	if (code == WR_OK)
		code = wr_plan_write(plan, &sb->base, &progress, cancel, err);
	return code == WR_OK ? wr_sideband_end(sb, err) : code;
}

enum wr_code wr_upload_pack(struct wr_upload *up, struct wr_snapshot *snap, const struct wr_common *common,
			    const struct wr_cut *cut, struct wr_sink *sink, const struct wr_cancel *cancel,
			    struct wr_error *err)
{
	WR_AUTO(wr_sideband) *sb = NULL;
	enum wr_code code = wr_sideband_new(&sb, sink, up->bands, err);

	if (code == WR_OK && (code = pack_write(up, snap, common, cut, sb, cancel, err)) != WR_OK)
		up->told = wr_sideband_error(sb, wr_error_text(err));
	return code;
}

bool wr_upload_told(const struct wr_upload *up)
{
	return up->told;
}

static enum wr_code answer_refusal(struct wr_upload *up, struct wr_sink *sink, struct wr_error *err)
{
	WR_AUTO_S(wr_pkt_writer) w;

	wr_pkt_writer_init(&w, sink, err);
	w.band = up->sideband_all ? 1 : 0;
	return wr_upload_refuse(up, &w, "%s", up->refusal);
}

static enum wr_code answer(struct wr_upload *up, struct wr_snapshot *snap, struct wr_str default_branch,
			   struct wr_sink *sink, const struct wr_cancel *cancel, struct wr_error *err)
{
	switch (up->kind) {
	case WR_UPLOAD_V0:
		return wr_upload_answer_v0(up, snap, default_branch, sink, cancel, err);
	case WR_UPLOAD_FETCH:
		return wr_upload_answer_fetch(up, snap, default_branch, sink, cancel, err);
	case WR_UPLOAD_LS_REFS:
		return wr_upload_answer_ls_refs(up, snap, default_branch, sink, err);
	case WR_UPLOAD_OBJECT_INFO:
		return wr_upload_answer_info(up, snap, sink, cancel, err);
	case WR_UPLOAD_REFUSED:
		return answer_refusal(up, sink, err);
	case WR_UPLOAD_NOTHING:
		break;
	}
	return WR_OK;
}

enum wr_code wr_upload_answer(struct wr_upload *up, struct wr_snapshot *snap, struct wr_str default_branch,
			      struct wr_sink *sink, const struct wr_cancel *cancel, struct wr_error *err)
{
	enum wr_code code = answer(up, snap, default_branch, sink, cancel, err);

	wr_reach_free(up->reach);
	up->reach = NULL;
	return code;
}
