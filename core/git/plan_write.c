/*
 * Writing: in the order of the stored packs, entries as they are wherever the client can resolve them.
 */
#include <limits.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <zlib.h>

#include "core/git/graph.h"
#include "core/git/plan_internal.h"

#define SHA1_LEN 20
/* Packs larger than this do not stay in memory because they were sent. */
#define LET_GO ((size_t)32 << 20)

struct writer {
	struct wr_plan *plan;
	struct wr_sink *sink;
	const struct wr_cancel *cancel;
	struct wr_error *err;
	EVP_MD_CTX *sha;
	uint64_t written; /* handed to put() */
	uint32_t pack;	  /* from which entries come now */
	size_t kept;	  /* of it, what was read since pages were let go */
	size_t len;
	uint8_t buf[65536];
};

static enum wr_code flush(struct writer *w)
{
	size_t n = w->len;

	w->len = 0;
	if (EVP_DigestUpdate(w->sha, w->buf, n) != 1)
		return wr_fail(w->err, WR_E_INTERNAL, "SHA-1 failed");
	return wr_sink_write(w->sink, w->buf, n, w->err);
}

static enum wr_code put(struct writer *w, const uint8_t *data, size_t n)
{
	enum wr_code code;

	w->written += n;
	while (n) {
		size_t step_len = sizeof w->buf - w->len < n ? sizeof w->buf - w->len : n;

		memcpy(w->buf + w->len, data, step_len);
		w->len += step_len;
		data += step_len;
		n -= step_len;
		if (w->len == sizeof w->buf && (code = flush(w)) != WR_OK)
			return code;
	}
	return WR_OK;
}

/*
 * Stored bytes. Pages of a map that were read count as this process's memory until they are let go. They stay in the
 * kernel's cache, so nobody who reads the same pack beside this thread loses more than a moment.
 */
static enum wr_code put_stored(struct writer *w, const struct wr_plan_item *it, uint64_t from, uint64_t to)
{
	const struct wr_pack *pack = w->plan->snap->packs[it->pack];
	enum wr_code code;

	if (w->pack != it->pack)
		w->kept = 0;
	w->pack = it->pack;
	while (from < to) {
		size_t n = to - from < LET_GO ? (size_t)(to - from) : LET_GO;

		if ((code = put(w, pack->data + from, n)) != WR_OK)
			return code;
		from += n;
		w->kept += n;
		if (w->kept >= LET_GO) {
			madvise((void *)(uintptr_t)pack->data, pack->size, MADV_DONTNEED);
			w->kept = 0;
		}
	}
	return WR_OK;
}

static enum wr_code put_whole(struct writer *w, const struct wr_plan_item *it)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	const struct wr_snapshot *snap = w->plan->snap;
	uint8_t head[16], out[16384];
	z_stream z = {0};
	size_t left;
	enum wr_code code;
	int rc = Z_OK;

	if ((code = wr_pack_read(&obj, snap->packs[it->pack], it->pos, snap->max_object, w->err)) != WR_OK ||
	    (code = put(w, head, wr_entry_put(head, obj.type, obj.size))) != WR_OK)
		return code;
	if (deflateInit(&z, Z_DEFAULT_COMPRESSION) != Z_OK)
		return wr_fail_nomem(w->err);
	left = obj.size;
	while (code == WR_OK && rc == Z_OK) {
		size_t now = left > UINT_MAX / 2 ? UINT_MAX / 2 : left;

		z.next_in = obj.data + (obj.size - left);
		z.avail_in = (uInt)now;
		z.next_out = out;
		z.avail_out = sizeof out;
		rc = deflate(&z, now == left ? Z_FINISH : Z_NO_FLUSH);
		left -= now - z.avail_in;
		code = put(w, out, sizeof out - z.avail_out);
	}
	deflateEnd(&z);
	if (code == WR_OK && rc != Z_STREAM_END)
		code = wr_fail(w->err, WR_E_INTERNAL, "deflate failed");
	return code;
}

/* A delta as it is stored, with its base named anew. */
static enum wr_code put_delta(struct writer *w, const struct wr_plan_item *it, const struct wr_entry *e, unsigned kind,
			      const struct wr_oid *base, uint64_t distance)
{
	uint8_t head[16 + WR_OID_RAW];
	size_t n = wr_entry_put(head, kind, e->size);
	enum wr_code code;

	if (kind == WR_OFS_DELTA) {
		n += wr_entry_put_distance(head + n, distance);
	} else {
		memcpy(head + n, base->id, WR_OID_RAW);
		n += WR_OID_RAW;
	}
	if ((code = put(w, head, n)) != WR_OK)
		return code;
	return put_stored(w, it, e->data, e->end);
}

/*
 * A stored delta serves if its base is sent as well, or the client has it already. No circle can come of that, though
 * the base may be sent from another pack than it has here: wr_snapshot_find() takes the youngest pack with an object,
 * so a base never comes from an older pack than its delta, and within one pack there are no circles.
 */
static enum wr_code put_item(struct writer *w, uint32_t i)
{
	struct wr_plan *plan = w->plan;
	struct wr_plan_item *it = &plan->items[i];
	const struct wr_pack *pack = plan->snap->packs[it->pack];
	const uint32_t *slot;
	struct wr_entry e;
	struct wr_oid base;
	enum wr_code code;

	it->out = w->written;
	if ((code = wr_pack_entry(&e, pack, it->pos, w->err)) != WR_OK)
		return code;
	if (e.kind <= WR_TAG)
		return put_stored(w, it, wr_pack_offset(pack, it->pos), e.end);
	wr_pack_oid(&base, pack, e.base);
	slot = wr_oidmap_slot(&plan->objects, &base);
	if (slot && *slot - 1 != WR_PLAN_KNOWN) {
		uint32_t b = *slot - 2;

		if (plan->ofs_delta && b < i)
			return put_delta(w, it, &e, WR_OFS_DELTA, NULL, it->out - plan->items[b].out);
		return put_delta(w, it, &e, WR_REF_DELTA, &base, 0);
	}
	if (slot && plan->thin)
		return put_delta(w, it, &e, WR_REF_DELTA, &base, 0);
	return put_whole(w, it);
}

static enum wr_code write_all(struct writer *w)
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	uint8_t head[WR_PACK_HEADER] = "PACK\0\0\0\2";
	enum wr_code code;

	wr_put_be32(head + 8, w->plan->count);
	if ((code = put(w, head, sizeof head)) != WR_OK)
		return code;
	for (uint32_t i = 0; i < w->plan->count; i++)
		if ((i % 256 == 0 && (code = wr_cancelled(w->cancel, w->err)) != WR_OK) ||
		    (code = put_item(w, i)) != WR_OK)
			return code;
	if ((code = flush(w)) != WR_OK)
		return code;
	if (EVP_DigestFinal_ex(w->sha, sum, NULL) != 1)
		return wr_fail(w->err, WR_E_INTERNAL, "SHA-1 failed");
	return wr_sink_write(w->sink, sum, SHA1_LEN, w->err);
}

enum wr_code wr_plan_write(struct wr_plan *plan, struct wr_sink *sink, const struct wr_progress *progress,
			   const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO_MEM struct writer *w = malloc(sizeof *w);
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
	w->written = 0;
	w->pack = 0;
	w->kept = 0;
	w->len = 0;
	w->sha = EVP_MD_CTX_new();
	if (!w->sha)
		return wr_fail_nomem(err);
	code = EVP_DigestInit_ex(w->sha, EVP_sha1(), NULL) == 1 ? write_all(w)
								: wr_fail(err, WR_E_INTERNAL, "SHA-1 failed");
	EVP_MD_CTX_free(w->sha);
	return code;
}
