/* Deltas of a thin pack: their bases are in the repository. In files they are appended to the pack, as git does. */
#include <libdeflate.h>
#include <limits.h>

#include "core/base/file.h"
#include "core/git/index_internal.h"
#include "core/git/snapshot_internal.h"

static enum wr_code put(struct wr_indexer *x, const uint8_t *data, size_t n)
{
	enum wr_code code = wr_file_write_all(x->fd, data, n, x->main.err);

	x->crc = libdeflate_crc32(x->crc, data, n);
	x->base += n;
	return code;
}

static enum wr_code put_deflated(struct wr_indexer *x, const uint8_t *data, size_t size)
{
	uint8_t out[16384];
	enum wr_code code = WR_OK;
	z_stream z = {0};
	int rc = Z_OK;

	if (deflateInit(&z, Z_DEFAULT_COMPRESSION) != Z_OK)
		return wr_fail_nomem(x->main.err);
	while (code == WR_OK && rc == Z_OK) {
		size_t step = size > UINT_MAX / 2 ? UINT_MAX / 2 : size;

		z.next_in = (Bytef *)(uintptr_t)data;
		z.avail_in = (uInt)step;
		z.next_out = out;
		z.avail_out = sizeof out;
		rc = deflate(&z, step == size ? Z_FINISH : Z_NO_FLUSH);
		data += step - z.avail_in;
		size -= step - z.avail_in;
		code = put(x, out, sizeof out - z.avail_out);
	}
	deflateEnd(&z);
	if (code == WR_OK && rc != Z_STREAM_END)
		code = wr_fail(x->main.err, WR_E_INTERNAL, "deflate failed");
	return code;
}

/* Appends an object of the repository to the file; it is entry number x->count - 1 then. */
static enum wr_code append_base(struct wr_indexer *x, const struct wr_oid *oid, const struct wr_object *obj)
{
	struct wr_index_entry *e;
	uint8_t head[16];
	enum wr_code code;

	if ((code = wr_index_entry_new(&e, x)) != WR_OK)
		return code;
	e->oid = *oid;
	e->offset = x->base;
	e->kind = e->type = (uint8_t)obj->type;
	x->crc = 0;
	if ((code = put(x, head, wr_entry_put(head, e->kind, obj->size))) != WR_OK ||
	    (code = put_deflated(x, obj->data, obj->size)) != WR_OK)
		return code;
	e->crc = x->crc;
	x->count++;
	return WR_OK;
}

/* The base that a REF_DELTA names, or false when entry i is none or is resolved. */
static bool open_base(struct wr_oid *out, const struct wr_indexer *x, uint32_t i)
{
	const struct wr_index_entry *e = &x->v[i];
	uint64_t size;
	unsigned kind;
	size_t n;

	if (e->kind != WR_REF_DELTA || e->type != NO_TYPE)
		return false;
	n = wr_entry_head(&kind, &size, x->map + e->offset, x->map_size - (size_t)e->offset);
	memcpy(out->id, x->map + e->offset + n, WR_OID_RAW);
	return true;
}

static enum wr_code missing_base(struct wr_indexer *x)
{
	char hex[WR_OID_HEX + 1];
	struct wr_oid base;

	for (uint32_t i = 0; i < x->claimed; i++) {
		if (!open_base(&base, x, i))
			continue;
		wr_oid_hex(hex, &base);
		return wr_fail(x->main.err, WR_E_BAD_PACK, "bad pack: missing delta base %s", hex);
	}
	return wr_index_bad(&x->main, "deltas without a base");
}

static enum wr_code outside_new(uint32_t *out, struct wr_indexer *x, const struct wr_oid *oid)
{
	if (x->outside_count == x->outside_cap) {
		uint32_t cap = x->outside_cap ? x->outside_cap * 2 : 16;
		enum wr_code code;
		void *v;

		if ((code = wr_index_table_resize(&v, x, WR_TABLE_OUTSIDE, cap, sizeof *x->outside)) != WR_OK)
			return code;
		x->outside = v;
		x->outside_cap = cap;
	}
	x->outside[x->outside_count] = (struct wr_index_outside){.oid = *oid};
	*out = x->outside_count++;
	return WR_OK;
}

/* What a new object has in common with its base is not looked up again, so all that this refers to is relied on, too. */
static enum wr_code rely(struct wr_indexer *x, const struct wr_oid *oid)
{
	struct wr_place place;

	if (!wr_snapshot_find(&place, x->snap, oid) || !wr_snapshot_unreached(x->snap, place))
		return WR_OK;
	return wr_oidmap_add(&x->relied, oid, 0, NULL, x->main.err);
}

static enum wr_code lean_on(struct wr_indexer *x, const struct wr_oid *oid)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	uint32_t outside = NO_ENTRY, entry = NO_ENTRY;
	enum wr_code code;

	if ((code = rely(x, oid)) != WR_OK || (code = wr_snapshot_read(&obj, x->snap, oid, x->main.err)) != WR_OK ||
	    (code = outside_new(&outside, x, oid)) != WR_OK || (code = wr_index_spend(&x->main, obj.size)) != WR_OK ||
	    (code = wr_index_cancelled(x)) != WR_OK)
		return code;
	if (x->fd >= 0) {
		if ((code = append_base(x, oid, &obj)) != WR_OK)
			return code;
		entry = x->count - 1;
	}
	return wr_index_resolve_outside(x, &obj, entry, outside);
}

/* The file is cut where its trailer began, to go on there. */
static enum wr_code reopen(struct wr_indexer *x)
{
	x->base = x->map_size;
	if (ftruncate(x->fd, (off_t)x->base) < 0 || lseek(x->fd, (off_t)x->base, SEEK_SET) < 0)
		return wr_fail_errno(x->main.err, "truncate a pack");
	return WR_OK;
}

static enum wr_code sum_file(struct wr_indexer *x)
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	uint64_t at = 0;

	if (EVP_DigestInit_ex(x->sha, EVP_sha1(), NULL) != 1)
		return wr_fail(x->main.err, WR_E_INTERNAL, "SHA-1 failed");
	while (at < x->base) {
		ssize_t n = pread(x->fd, x->in, x->cap < x->base - at ? x->cap : (size_t)(x->base - at), (off_t)at);

		if (n <= 0)
			return wr_fail_errno(x->main.err, "read a pack");
		if (EVP_DigestUpdate(x->sha, x->in, (size_t)n) != 1)
			return wr_fail(x->main.err, WR_E_INTERNAL, "SHA-1 failed");
		at += (uint64_t)n;
	}
	if (EVP_DigestFinal_ex(x->sha, sum, NULL) != 1)
		return wr_fail(x->main.err, WR_E_INTERNAL, "SHA-1 failed");
	memcpy(x->sum, sum, SHA1_LEN);
	return WR_OK;
}

/* Header and trailer of a pack that has grown. The window, whose bytes are in the file, serves as a buffer. */
static enum wr_code close_file(struct wr_indexer *x)
{
	uint8_t count[4];
	enum wr_code code;

	wr_put_be32(count, x->count);
	if (pwrite(x->fd, count, sizeof count, 8) != (ssize_t)sizeof count)
		return wr_fail_errno(x->main.err, "write a pack's header");
	if ((code = sum_file(x)) != WR_OK)
		return code;
	return wr_file_write_all(x->fd, x->sum, SHA1_LEN, x->main.err);
}

enum wr_code wr_index_complete(struct wr_indexer *x)
{
	struct wr_oid base;
	enum wr_code code;

	if (x->resolved == x->delta_count)
		return WR_OK;
	if (x->in_place)
		return missing_base(x);
	if (x->fd >= 0 && (code = reopen(x)) != WR_OK)
		return code;
	/*
	 * In the order of the pack, because clients write bases before their deltas: a base that the pack has as a
	 * delta on something else is thus resolved before it is looked for in the repository.
	 */
	for (uint32_t i = 0; i < x->claimed; i++)
		if (open_base(&base, x, i) && wr_snapshot_has(x->snap, &base) && (code = lean_on(x, &base)) != WR_OK)
			return code;
	if (x->resolved != x->delta_count)
		return missing_base(x);
	return x->fd >= 0 ? close_file(x) : WR_OK;
}

enum wr_code wr_index_append_outside(struct wr_indexer *x)
{
	enum wr_code code;

	/* From here on the pack is read from its file only. */
	x->pos = x->len = x->map_size;
	x->ended = true;
	if ((code = wr_index_spill(x)) != WR_OK || (code = wr_index_drain(x)) != WR_OK)
		return code;
	for (uint32_t i = 0; i < x->outside_count; i++) {
		WR_AUTO_S(wr_object) obj = {.data = NULL};

		if ((code = wr_snapshot_read(&obj, x->snap, &x->outside[i].oid, x->main.err)) != WR_OK ||
		    (code = append_base(x, &x->outside[i].oid, &obj)) != WR_OK)
			return code;
	}
	return close_file(x);
}
