#include "core/git/pack_write.h"

#include <fcntl.h>
#include <libdeflate.h>
#include <sys/mman.h>

#include "core/base/file.h"
#include "core/git/delta.h"
#include "core/git/delta_make.h"

#define COUNT_MAX 0x7fffffffu
#define NONE WR_NO_ITEM
/* Packs larger than this do not stay in this process's memory because they were copied. */
#define LET_GO ((size_t)64 << 20)
#define CACHE_BYTES ((size_t)32 << 20)

/* ---- bytes ---- */

static enum wr_code flush(struct wr_pack_writer *w)
{
	size_t n = w->len;

	w->len = 0;
	if (EVP_DigestUpdate(w->sha, w->buf, n) != 1)
		return wr_fail(w->err, WR_E_INTERNAL, "SHA-1 failed");
	return wr_file_write_all(w->fd, w->buf, n, w->err);
}

static enum wr_code put(struct wr_pack_writer *w, const uint8_t *data, size_t n)
{
	enum wr_code code;

	w->at += n;
	while (n) {
		size_t now = sizeof w->buf - w->len < n ? sizeof w->buf - w->len : n;

		memcpy(w->buf + w->len, data, now);
		w->len += now;
		data += now;
		n -= now;
		if (w->len == sizeof w->buf && (code = flush(w)) != WR_OK)
			return code;
	}
	return WR_OK;
}

/* The pages of a map that was read count as this process's until they are let go; they stay in the kernel's cache. */
static void touched(struct wr_pack_writer *w, uint32_t src, size_t n)
{
	const struct wr_pack *pack;

	if (w->src != src)
		w->touched = 0;
	w->src = src;
	w->touched += n;
	if (w->touched < LET_GO || src >= w->snap->member_count)
		return;
	pack = w->snap->members[src].pack;
	madvise((void *)(uintptr_t)pack->data, pack->size, MADV_DONTNEED);
	w->touched = 0;
}

/* ---- entries ---- */

static int by_oid(const void *a, const void *b)
{
	const struct wr_pack_item *x = a, *y = b;
	int c = wr_oid_cmp(&x->oid, &y->oid);

	if (c)
		return c;
	if (x->place.src != y->place.src)
		return x->place.src < y->place.src ? -1 : 1;
	return (x->place.pos > y->place.pos) - (x->place.pos < y->place.pos);
}

static unsigned front(const struct wr_oid *oid)
{
	return (unsigned)oid->id[0] << 8 | oid->id[1];
}

static void fill_items(struct wr_pack_writer *w, const struct wr_place *places, uint32_t n)
{
	uint32_t kept = 0, at = 0;

	for (uint32_t i = 0; i < n; i++) {
		w->items[i] = (struct wr_pack_item){.place = places[i]};
		wr_snapshot_oid(&w->items[i].oid, w->snap, places[i]);
	}
	qsort(w->items, n, sizeof *w->items, by_oid);
	for (uint32_t i = 0; i < n; i++)
		if (kept == 0 || !wr_oid_eq(&w->items[kept - 1].oid, &w->items[i].oid))
			w->items[kept++] = w->items[i];
	w->count = kept;
	for (unsigned f = 0; f < 65536; f++) {
		w->fan[f] = at;
		while (at < kept && front(&w->items[at].oid) == f)
			at++;
	}
	w->fan[65536] = at;
}

uint32_t wr_pack_item(const struct wr_pack_writer *w, const struct wr_oid *oid)
{
	uint32_t lo = w->fan[front(oid)], hi = w->fan[front(oid) + 1];

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		int c = wr_oid_cmp(oid, &w->items[mid].oid);

		if (c == 0)
			return mid;
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NONE;
}

struct sortable {
	uint64_t offset;
	uint32_t src, item;
};

static int by_place(const void *a, const void *b)
{
	const struct sortable *x = a, *y = b;

	if (x->src != y->src)
		return x->src < y->src ? -1 : 1;
	return (x->offset > y->offset) - (x->offset < y->offset);
}

static enum wr_code fill_order(struct wr_pack_writer *w)
{
	WR_AUTO_MEM struct sortable *v = calloc((size_t)w->count + 1, sizeof *v);

	w->order = calloc((size_t)w->count + 1, sizeof *w->order);
	if (!v || !w->order)
		return wr_fail_nomem(w->err);
	for (uint32_t i = 0; i < w->count; i++) {
		struct wr_place place = w->items[i].place;

		v[i] = (struct sortable){wr_snapshot_offset(w->snap, place), place.src, i};
	}
	qsort(v, w->count, sizeof *v, by_place);
	for (uint32_t i = 0; i < w->count; i++)
		w->order[i] = v[i].item;
	return WR_OK;
}

static bool sound(const struct wr_snapshot *snap, struct wr_place place, uint32_t crc)
{
	const struct wr_pack *pack;

	if (place.src >= snap->member_count)
		return true;
	pack = snap->members[place.src].pack;
	return wr_be32(pack->names + (size_t)pack->count * WR_OID_RAW + 4 * (size_t)place.pos) == crc;
}

bool wr_pack_sound(const struct wr_snapshot *snap, struct wr_place place, const struct wr_stored *e)
{
	return sound(snap, place, libdeflate_crc32(0, e->raw, e->raw_len));
}

static enum wr_code damaged(const struct wr_pack_writer *w, const struct wr_pack_item *it)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, &it->oid);
	return wr_fail(w->err, WR_E_INTERNAL, "object %s is damaged where it is stored", hex);
}

static enum wr_code put_whole(struct wr_pack_writer *w, struct wr_pack_item *it)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	WR_AUTO_MEM uint8_t *zip = NULL;
	uint8_t head[16];
	size_t n, len;
	enum wr_code code = wr_snapshot_read_at(&obj, w->snap, it->place, w->cache, w->err);

	if (code != WR_OK || (code = wr_deflate(&zip, &len, wr_str_n(obj.data, obj.size), w->err)) != WR_OK)
		return code;
	n = wr_entry_put(head, obj.type, obj.size);
	it->crc = libdeflate_crc32(libdeflate_crc32(0, head, n), zip, len);
	it->depth = 0;
	code = put(w, head, n);
	return code == WR_OK ? put(w, zip, len) : code;
}

static enum wr_code put_delta(struct wr_pack_writer *w, struct wr_pack_item *it, const struct wr_stored *e,
			      const struct wr_pack_item *base)
{
	uint8_t head[32];
	size_t n = wr_entry_put(head, WR_OFS_DELTA, e->size);
	enum wr_code code;

	n += wr_entry_put_distance(head + n, it->offset - base->offset);
	it->crc = libdeflate_crc32(libdeflate_crc32(0, head, n), e->zip, e->zip_len);
	it->depth = (uint16_t)(base->depth + 1);
	code = put(w, head, n);
	return code == WR_OK ? put(w, e->zip, e->zip_len) : code;
}

/* A delta on another one than it is stored on, if on any. */
static enum wr_code put_chosen(struct wr_pack_writer *w, struct wr_pack_item *it, const struct wr_pack_item *base)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	WR_AUTO_S(wr_object) on = {.data = NULL};
	WR_AUTO_MEM uint8_t *delta = NULL;
	WR_AUTO_MEM uint8_t *zip = NULL;
	struct wr_stored e = {.kind = WR_OFS_DELTA};
	size_t len;
	enum wr_code code;

	if ((code = wr_snapshot_read_at(&obj, w->snap, it->place, w->cache, w->err)) != WR_OK ||
	    (code = wr_snapshot_read_at(&on, w->snap, base->place, w->cache, w->err)) != WR_OK)
		return code;
	code = wr_delta_make(&delta, &len, wr_str_n(on.data, on.size), wr_str_n(obj.data, obj.size), obj.size, w->err);
	if (code == WR_E_NOT_THERE)
		return put_whole(w, it);
	if (code != WR_OK || (code = wr_deflate(&zip, &e.zip_len, wr_str_n(delta, len), w->err)) != WR_OK)
		return code;
	e.size = len;
	e.zip = zip;
	return put_delta(w, it, &e, base);
}

static enum wr_code put_item(struct wr_pack_writer *w, struct wr_pack_item *it, const struct wr_stored *e, uint32_t base,
			     bool stored)
{
	const struct wr_pack_item *b = base == NONE ? NULL : &w->items[base];
	uint32_t crc = libdeflate_crc32(0, e->raw, e->raw_len);

	if (!sound(w->snap, it->place, crc))
		return damaged(w, it);
	it->offset = w->at;
	touched(w, it->place.src, e->raw_len);
	/* A base that waits itself waits for this one: a circle, which is cut here. */
	if (b && (b->offset == 0 || b->depth >= WR_PACK_CHAIN))
		b = NULL;
	if (!b && e->kind <= WR_TAG) {
		it->crc = crc;
		return put(w, e->raw, e->raw_len);
	}
	if (!b)
		return put_whole(w, it);
	return stored ? put_delta(w, it, e, b) : put_chosen(w, it, b);
}

/* What the item is to be a delta on. *stored: as it is. */
static uint32_t base_of(bool *stored, const struct wr_pack_writer *w, const struct wr_pack_item *it, const struct wr_stored *e)
{
	uint32_t base = NONE, chosen = w->choice ? w->choice[it - w->items] : NONE;
	struct wr_oid oid;

	if (e->kind > WR_TAG) {
		wr_snapshot_oid(&oid, w->snap, e->base);
		base = wr_pack_item(w, &oid);
	}
	*stored = !w->choice || (base != NONE && base == chosen);
	return w->choice ? chosen : base;
}

/* The item, and before it the bases that it needs and that are not written yet. */
static enum wr_code put_family(struct wr_pack_writer *w, uint32_t first)
{
	enum wr_code code = wr_nums_add(&w->waiting, first, w->err);

	while (code == WR_OK && w->waiting.len) {
		struct wr_pack_item *it = &w->items[w->waiting.v[w->waiting.len - 1]];
		struct wr_stored e;
		uint32_t base;
		bool stored;

		if (it->offset) {
			w->waiting.len--;
			continue;
		}
		if ((code = wr_snapshot_stored(&e, w->snap, it->place, w->err)) != WR_OK)
			return code;
		base = base_of(&stored, w, it, &e);
		if (base != NONE && !it->open && w->items[base].offset == 0 && !w->items[base].open) {
			it->open = true;
			code = wr_nums_add(&w->waiting, base, w->err);
			continue;
		}
		w->waiting.len--;
		code = put_item(w, it, &e, base, stored);
	}
	return code;
}

/* ---- the file ---- */

static enum wr_code write_entries(struct wr_pack_writer *w, uint8_t sum[WR_PACK_SUM])
{
	uint8_t head[WR_PACK_HEADER] = "PACK\0\0\0\2";
	unsigned char own[EVP_MAX_MD_SIZE];
	enum wr_code code;

	if (EVP_DigestInit_ex(w->sha, EVP_sha1(), NULL) != 1)
		return wr_fail(w->err, WR_E_INTERNAL, "SHA-1 failed");
	wr_put_be32(head + 8, w->count);
	if ((code = put(w, head, sizeof head)) != WR_OK)
		return code;
	for (uint32_t i = 0; i < w->count; i++)
		if ((i % 256 == 0 && (code = wr_cancelled(w->cancel, w->err)) != WR_OK) ||
		    (code = put_family(w, w->order[i])) != WR_OK)
			return code;
	if ((code = flush(w)) != WR_OK)
		return code;
	if (EVP_DigestFinal_ex(w->sha, own, NULL) != 1)
		return wr_fail(w->err, WR_E_INTERNAL, "SHA-1 failed");
	memcpy(sum, own, WR_PACK_SUM);
	w->at += WR_PACK_SUM;
	if ((code = wr_file_write_all(w->fd, sum, WR_PACK_SUM, w->err)) != WR_OK)
		return code;
	return fsync(w->fd) < 0 ? wr_fail_errno(w->err, "flush a pack") : WR_OK;
}

static enum wr_code prepare(struct wr_pack_writer *w, const struct wr_place *places, size_t n)
{
	enum wr_code code;

	w->items = calloc(n, sizeof *w->items);
	w->sha = EVP_MD_CTX_new();
	if (!w->items || !w->sha)
		return wr_fail_nomem(w->err);
	if ((code = wr_cache_new(&w->cache, CACHE_BYTES, w->err)) != WR_OK)
		return code;
	fill_items(w, places, (uint32_t)n);
	return fill_order(w);
}

static enum wr_code write_files(struct wr_pack **out, struct wr_pack_writer *w, int dir, const char *name, uint64_t *written)
{
	char file[WR_PACK_NAME + 8];
	uint8_t sum[WR_PACK_SUM];
	enum wr_code code;

	snprintf(file, sizeof file, "%s.pack", name);
	w->fd = openat(dir, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (w->fd < 0)
		return wr_fail_errno(w->err, "create %s", file);
	code = write_entries(w, sum);
	*written += w->at;
	close(w->fd);
	if (code == WR_OK)
		code = wr_pack_write_index(written, dir, name, w->items, w->count, sum, w->err);
	return code == WR_OK ? wr_pack_open(out, dir, name, w->err) : code;
}

static enum wr_code write_pack(struct wr_pack **out, uint64_t *written, int dir, const struct wr_snapshot *snap,
			       const struct wr_place *places, size_t count, bool anew, const struct wr_progress *progress,
			       const struct wr_cancel *cancel, struct wr_error *err)
{
	struct wr_pack_writer *w = count <= COUNT_MAX ? calloc(1, sizeof *w) : NULL;
	char name[WR_PACK_NAME + 1] = "pack-";
	uint8_t random[WR_PACK_ID];
	enum wr_code code;

	if (!w)
		return wr_fail_nomem(err);
	w->snap = snap;
	w->cancel = cancel;
	w->err = err;
	wr_random_bytes(random, sizeof random);
	wr_hex(name + 5, random, sizeof random);
	code = prepare(w, places, count);
	if (code == WR_OK && anew)
		code = wr_pack_choose(w, progress);
	if (code == WR_OK && (code = write_files(out, w, dir, name, written)) != WR_OK)
		wr_pack_remove(dir, name);
	free(w->items);
	free(w->order);
	free(w->choice);
	wr_nums_fini(&w->waiting);
	wr_cache_free(w->cache);
	EVP_MD_CTX_free(w->sha);
	free(w);
	return code;
}

enum wr_code wr_pack_write(struct wr_pack **out, uint64_t *written, int dir, const struct wr_snapshot *snap,
			   const struct wr_place *places, size_t count, const struct wr_cancel *cancel,
			   struct wr_error *err)
{
	return write_pack(out, written, dir, snap, places, count, false, NULL, cancel, err);
}

enum wr_code wr_pack_write_anew(struct wr_pack **out, uint64_t *written, int dir, const struct wr_snapshot *snap,
				const struct wr_place *places, size_t count, const struct wr_progress *progress,
				const struct wr_cancel *cancel, struct wr_error *err)
{
	return write_pack(out, written, dir, snap, places, count, true, progress, cancel, err);
}

void wr_pack_remove(int dir, const char *name)
{
	static const char *const ext[] = {"mtimes", "rev", "idx", "pack"};
	char file[WR_PACK_NAME + 10];

	for (size_t i = 0; i < WR_ARRAY_LEN(ext); i++) {
		snprintf(file, sizeof file, "%s.%s", name, ext[i]);
		unlinkat(dir, file, 0);
	}
}
