/*
 * Writing: whole sources first, then items in the order of their sources, entries as they are wherever the client can
 * resolve them.
 */
#include <limits.h>
#include <sys/mman.h>
#include <zlib.h>

#include "core/git/delta.h"
#include "core/git/guard.h"
#include "core/git/plan_internal.h"

/* Packs larger than this do not stay in memory because they were sent. */
#define LET_GO ((size_t)32 << 20)
/* What is longer is handed on from where it lies. */
#define LONG ((size_t)32 * 1024)
/* Larger objects are deflated piece by piece. */
#define DEFLATE_WHOLE ((size_t)4 << 20)
#define CACHE_BYTES ((size_t)2 << 20)

/* ---- bytes ---- */

static enum wr_code hand_on(struct wr_plan_writer *w, const void *data, size_t n)
{
	if (w->sha && EVP_DigestUpdate(w->sha, data, n) != 1)
		return wr_fail(w->err, WR_E_INTERNAL, "SHA-1 failed");
	return wr_sink_write(w->sink, data, n, w->err);
}

static enum wr_code flush(struct wr_plan_writer *w)
{
	size_t n = w->len;

	w->len = 0;
	return n ? hand_on(w, w->buf, n) : WR_OK;
}

enum wr_code wr_plan_put(struct wr_plan_writer *w, const void *data, size_t n)
{
	const uint8_t *from = data;
	enum wr_code code;

	w->written += n;
	if (n >= LONG)
		return (code = flush(w)) != WR_OK ? code : hand_on(w, data, n);
	while (n) {
		size_t part = sizeof w->buf - w->len < n ? sizeof w->buf - w->len : n;

		memcpy(w->buf + w->len, from, part);
		w->len += part;
		from += part;
		n -= part;
		if (w->len == sizeof w->buf && (code = flush(w)) != WR_OK)
			return code;
	}
	return WR_OK;
}

/*
 * Pages of a map that were read count as this process's memory until they are let go. They stay in the kernel's
 * cache, so nobody who reads the same pack beside this thread loses more than a moment.
 */
enum wr_code wr_plan_put_stored(struct wr_plan_writer *w, uint32_t src, const uint8_t *data, size_t n)
{
	const struct wr_snapshot *snap = w->plan->snap;
	const struct wr_pack *pack = src < snap->member_count ? snap->members[src].pack : NULL;
	enum wr_code code;

	if (w->src != src)
		w->kept = 0;
	w->src = src;
	while (n) {
		size_t part = n < LET_GO ? n : LET_GO;

		if ((code = wr_plan_put(w, data, part)) != WR_OK)
			return code;
		data += part;
		n -= part;
		w->kept += part;
		if (w->kept >= LET_GO && pack) {
			madvise((void *)(uintptr_t)pack->data, pack->size, MADV_DONTNEED);
			w->kept = 0;
		}
	}
	return WR_OK;
}

static enum wr_code put_deflated(struct wr_plan_writer *w, const struct wr_object *obj)
{
	uint8_t out[16384];
	z_stream z = {0};
	size_t left = obj->size;
	enum wr_code code = WR_OK;
	int rc = Z_OK;

	if (deflateInit(&z, Z_DEFAULT_COMPRESSION) != Z_OK)
		return wr_fail_nomem(w->err);
	while (code == WR_OK && rc == Z_OK) {
		size_t now = left > UINT_MAX / 2 ? UINT_MAX / 2 : left;

		z.next_in = obj->data + (obj->size - left);
		z.avail_in = (uInt)now;
		z.next_out = out;
		z.avail_out = sizeof out;
		rc = deflate(&z, now == left ? Z_FINISH : Z_NO_FLUSH);
		left -= now - z.avail_in;
		code = wr_plan_put(w, out, sizeof out - z.avail_out);
	}
	deflateEnd(&z);
	if (code == WR_OK && rc != Z_STREAM_END)
		code = wr_fail(w->err, WR_E_INTERNAL, "deflate failed");
	return code;
}

enum wr_code wr_plan_put_full(struct wr_plan_writer *w, struct wr_place place)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	WR_AUTO_MEM uint8_t *zipped = NULL;
	uint8_t head[16];
	enum wr_code code;
	size_t len;

	/* One such object may be thousands of deltas on a large one. */
	if ((code = wr_cancelled(w->cancel, w->err)) != WR_OK ||
	    (!w->cache && (code = wr_cache_new(&w->cache, CACHE_BYTES, w->err)) != WR_OK))
		return code;
	if ((code = wr_snapshot_read_at(&obj, w->plan->snap, place, w->cache, w->err)) != WR_OK ||
	    (code = wr_plan_put(w, head, wr_entry_put(head, obj.type, obj.size))) != WR_OK)
		return code;
	if (obj.size > DEFLATE_WHOLE)
		return put_deflated(w, &obj);
	if ((code = wr_deflate(&zipped, &len, wr_str_n(obj.data, obj.size), w->err)) != WR_OK)
		return code;
	return wr_plan_put(w, zipped, len);
}

/* ---- items ---- */

/* How the client will find a delta's base. */
struct base {
	enum { BASE_NONE, BASE_OFFSET, BASE_ID, BASE_WAIT } how;
	struct wr_oid oid;
	uint64_t out;  /* BASE_OFFSET: where it was written */
	uint32_t item; /* BASE_WAIT: the item that has to be written first */
};

/*
 * Whether a client that has the commit really has this object of it: of one that leaves objects out, only what this
 * filter lets through is taken for granted.
 */
static bool at_client(const struct wr_plan *plan, const struct wr_oid *oid)
{
	const struct wr_filter *f = &plan->filter;
	enum wr_type type;
	uint64_t size;

	if (wr_filter_is_all(f))
		return true;
	if (f->tree_depth != UINT64_MAX || wr_snapshot_stat(plan->snap, oid, &type, &size, NULL) != WR_OK)
		return false;
	return (f->types & 1u << type) && (type != WR_BLOB || size < f->blob_limit);
}

/*
 * A delta serves only if its base was written before it, or the client has it already. An object may come from
 * another source than the one in which its delta was made: A may be a delta on B here, and B one on A there. So an
 * item whose base still waits for another is in a circle, and is sent whole.
 */
static void find_base(struct base *out, const struct wr_plan_writer *w, const struct wr_stored *s)
{
	const struct wr_plan *plan = w->plan;
	const uint32_t *slot;
	bool written;

	wr_snapshot_oid(&out->oid, plan->snap, s->base);
	slot = wr_oidmap_slot(&plan->objects, &out->oid);
	out->how = BASE_NONE;
	if (slot && wr_plan_is_item(*slot - 1)) {
		out->item = *slot - 2;
		out->out = plan->items[out->item].out;
		if (out->out == 0)
			out->how = BASE_WAIT;
		written = out->out != 0 && out->out != WR_PLAN_OPEN;
	} else {
		written = wr_plan_whole_find(&out->out, plan, &out->oid);
		if (slot && *slot - 1 == WR_PLAN_KNOWN && plan->thin && at_client(plan, &out->oid))
			out->how = BASE_ID;
	}
	if (written)
		out->how = plan->ofs_delta ? BASE_OFFSET : BASE_ID;
}

static enum wr_code put_delta(struct wr_plan_writer *w, uint32_t src, const struct wr_stored *s,
			      const struct base *base)
{
	uint8_t head[16 + WR_OID_RAW];
	size_t n = wr_entry_put(head, base->how == BASE_OFFSET ? WR_OFS_DELTA : WR_REF_DELTA, s->size);
	enum wr_code code;

	if (base->how == BASE_OFFSET) {
		n += wr_entry_put_distance(head + n, w->written - base->out);
	} else {
		memcpy(head + n, base->oid.id, WR_OID_RAW);
		n += WR_OID_RAW;
	}
	if ((code = wr_plan_put(w, head, n)) != WR_OK)
		return code;
	return wr_plan_put_stored(w, src, s->zip, s->zip_len);
}

/* One item; or *wait, where *first has to come before it. */
static enum wr_code put_item(bool *wait, uint32_t *first, struct wr_plan_writer *w, struct wr_plan_item *it)
{
	struct wr_stored s;
	struct base base;
	enum wr_code code = wr_snapshot_stored(&s, w->plan->snap, it->place, w->err);
	uint64_t at;

	*wait = false;
	if (code != WR_OK)
		return code;
	if (s.kind > WR_TAG) {
		find_base(&base, w, &s);
		if (base.how == BASE_WAIT) {
			*wait = true;
			*first = base.item;
			return WR_OK;
		}
	}
	at = w->written;
	if (s.kind <= WR_TAG)
		code = wr_plan_put_stored(w, it->place.src, s.raw, s.raw_len);
	else if (base.how == BASE_NONE)
		code = wr_plan_put_full(w, it->place);
	else
		code = put_delta(w, it->place.src, &s, &base);
	it->out = at;
	return code;
}

/* The item, after all that it waits for. */
static enum wr_code put_with_bases(struct wr_plan_writer *w, uint32_t i)
{
	struct wr_plan_item *items = w->plan->items;
	enum wr_code code;
	uint32_t first;
	bool wait;

	w->open.len = 0;
	for (;;) {
		if ((code = put_item(&wait, &first, w, &items[i])) != WR_OK)
			return code;
		if (wait) {
			items[i].out = WR_PLAN_OPEN;
			if ((code = wr_nums_add(&w->open, i, w->err)) != WR_OK)
				return code;
			i = first;
		} else if (w->open.len) {
			i = w->open.v[--w->open.len];
		} else {
			return WR_OK;
		}
	}
}

/* ---- the whole ---- */

static enum wr_code write_all(struct wr_plan_writer *w)
{
	const struct wr_plan *plan = w->plan;
	uint8_t head[WR_PACK_HEADER] = "PACK\0\0\0\2";
	enum wr_code code;

	wr_put_be32(head + 8, plan->total);
	if ((code = wr_plan_put(w, head, sizeof head)) != WR_OK)
		return code;
	for (size_t i = 0; i < plan->whole_count; i++)
		if ((code = wr_plan_put_whole(w, &plan->wholes[i])) != WR_OK)
			return code;
	for (uint32_t i = 0; i < plan->count; i++)
		if ((i % 256 == 0 && (code = wr_cancelled(w->cancel, w->err)) != WR_OK) ||
		    (plan->items[i].out == 0 && (code = put_with_bases(w, i)) != WR_OK))
			return code;
	return flush(w);
}

/* Whether what was read may be zeros in place of what the disk has: of such bytes the sum is not remembered. */
static bool struck(const struct wr_snapshot *snap)
{
	bool is = false;

	for (size_t i = 0; i < snap->member_count; i++)
		is |= wr_guard_struck(snap->members[i].pack->data_guard);
	for (size_t i = 0; i < snap->journal_count; i++)
		is |= wr_journal_struck(snap->journals[i]);
	return is;
}

static enum wr_code write_pack(struct wr_plan_writer *w)
{
	unsigned char sum[EVP_MAX_MD_SIZE], key[WR_PLAN_KEY];
	bool keep, known = wr_plan_sum_known(sum, key, &keep, w->plan);
	enum wr_code code;

	if (!known) {
		w->sha = EVP_MD_CTX_new();
		if (!w->sha)
			return wr_fail_nomem(w->err);
		if (EVP_DigestInit_ex(w->sha, EVP_sha1(), NULL) != 1)
			return wr_fail(w->err, WR_E_INTERNAL, "SHA-1 failed");
	}
	if ((code = write_all(w)) != WR_OK)
		return code;
	if (!known && EVP_DigestFinal_ex(w->sha, sum, NULL) != 1)
		return wr_fail(w->err, WR_E_INTERNAL, "SHA-1 failed");
	if (keep && !struck(w->plan->snap))
		wr_plan_sum_keep(key, sum);
	return wr_sink_write(w->sink, sum, WR_PLAN_SUM, w->err);
}

enum wr_code wr_plan_write(struct wr_plan *plan, struct wr_sink *sink, const struct wr_progress *progress,
			   const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO_MEM struct wr_plan_writer *w = malloc(sizeof *w);
	enum wr_code code;

	/* The client shows the progress of what it receives itself. */
	(void)progress;
	if (!w)
		return wr_fail_nomem(err);
	if (plan->written)
		return wr_fail(err, WR_E_INTERNAL, "a plan is written once");
	plan->written = true;
	w->plan = plan;
	w->sink = sink;
	w->cancel = cancel;
	w->err = err;
	w->sha = NULL;
	w->cache = NULL;
	w->open = (struct wr_nums){NULL, 0, 0};
	w->written = 0;
	w->src = 0;
	w->kept = 0;
	w->len = 0;
	code = write_pack(w);
	EVP_MD_CTX_free(w->sha);
	wr_cache_free(w->cache);
	wr_nums_fini(&w->open);
	return code;
}
