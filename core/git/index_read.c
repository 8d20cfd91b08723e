/* The first pass over a pack: its stream, entry by entry. */
#include <fcntl.h>
#include <limits.h>

#include <libdeflate.h>

#include "core/base/file.h"
#include "core/git/index_internal.h"

#define FIRST_SIZE ((size_t)16 << 10)
#define IN_SIZE ((size_t)256 << 10)
/* Entries up to this size are inflated in one go; the input has room for any stream of that. */
#define FAST_MAX ((uint64_t)64 << 10)
/* Entries that are read between two times that the pages of their table are let go. */
#define LET_GO_ENTRIES 16384
/* The same of what arrives of an object. */
#define LET_GO_BYTES ((uint64_t)1 << 20)
/* Written bytes after which the disk may begin, so that the flush at the end finds little to wait for. */
#define PUSH_BYTES ((uint64_t)8 << 20)

/* Contents that arrive piece by piece; memory grows with what has arrived. */
struct pour {
	uint64_t size; /* claimed */
	uint64_t done;
	bool keep;
	int fd;			    /* of the spool, or -1 */
	struct wr_index_hash *hash; /* only the id is wanted, or NULL */
	struct wr_held kept;
};

static enum wr_code pour_add(struct pour *pour, struct wr_index_worker *w, const uint8_t *data, size_t n)
{
	if (n > pour->size - pour->done)
		return wr_index_bad(w, "an entry is longer than it says");
	if (pour->hash || (pour->keep && pour->fd >= 0)) {
		enum wr_code code = pour->hash ? wr_index_hash_add(pour->hash, w, data, n)
					       : wr_file_write_all(pour->fd, data, n, w->err);

		if (code != WR_OK)
			return code;
	} else if (pour->keep) {
		size_t need = (size_t)pour->done + n + 1;

		if (need > pour->kept.size) {
			size_t cap = need > pour->kept.size * 2 ? need : pour->kept.size * 2;
			enum wr_code code;

			cap = cap > pour->size + 1 ? (size_t)pour->size + 1 : cap;
			if ((code = wr_held_resize(&pour->kept, &w->x->hold, cap, (size_t)WR_INDEX_IN_MEMORY + 1,
						   w->err)) != WR_OK)
				return code;
		}
		memcpy((uint8_t *)pour->kept.p + pour->done, data, n);
		if ((pour->done + n) / LET_GO_BYTES != pour->done / LET_GO_BYTES)
			wr_held_let_go(&pour->kept);
	}
	pour->done += n;
	return WR_OK;
}

/* ---- the input ---- */

static enum wr_code add_sum(struct wr_indexer *x)
{
	if (EVP_DigestUpdate(x->sha, x->in, x->pos) != 1)
		return wr_fail(x->main.err, WR_E_INTERNAL, "SHA-1 failed");
	return WR_OK;
}

enum wr_code wr_index_drain(struct wr_indexer *x)
{
	enum wr_code code;

	if (x->pos == 0)
		return WR_OK;
	if ((!x->ended && (code = add_sum(x)) != WR_OK) ||
	    (!x->in_place && (code = wr_file_write_all(x->fd, x->in, x->pos, x->main.err)) != WR_OK))
		return code;
	x->base += x->pos;
	x->len -= x->pos;
	memmove(x->in, x->in + x->pos, x->len);
	x->pos = 0;
	if (!x->in_place && x->base - x->pushed >= PUSH_BYTES) {
		(void)sync_file_range(x->fd, (off_t)x->pushed, (off_t)(x->base - x->pushed), SYNC_FILE_RANGE_WRITE);
		x->pushed = x->base;
	}
	return WR_OK;
}

enum wr_code wr_index_widen(bool *done, struct wr_indexer *x, size_t cap)
{
	enum wr_code code = wr_held_heap(done, &x->window, &x->hold, cap, x->main.err);

	if (code == WR_OK && *done) {
		x->in = x->window.p;
		x->cap = cap;
	}
	return code;
}

/* Larger than may stay in memory. An empty pack never needs a file, and until the header was read it may be one. */
static bool too_large_for_memory(const struct wr_indexer *x)
{
	return x->fd < 0 && x->claimed > 0 && x->len > wr_index_memory(x);
}

/* From here on only what is not used yet has to be at hand. */
static enum wr_code to_file(struct wr_indexer *x)
{
	enum wr_code code;
	bool wide;

	if ((code = wr_index_spill(x)) == WR_OK && x->cap < IN_SIZE)
		code = wr_index_widen(&wide, x, IN_SIZE);
	return code;
}

/* Room behind what is there: in memory by more of it, as long as the pack may stay there and there is some. */
static enum wr_code more_memory(struct wr_indexer *x)
{
	size_t most = wr_index_memory(x) + 1, cap;
	enum wr_code code;
	bool done;

	most = most > FIRST_SIZE ? most : FIRST_SIZE;
	cap = x->cap < most / 2 ? x->cap * 2 : most;
	if ((code = wr_index_widen(&done, x, x->cap ? cap : FIRST_SIZE)) != WR_OK || done)
		return code;
	return to_file(x);
}

static enum wr_code make_room(struct wr_indexer *x)
{
	enum wr_code code = WR_OK;
	bool done = true;

	if (too_large_for_memory(x) && (code = to_file(x)) != WR_OK)
		return code;
	if (x->fd >= 0 && x->cap == 0 && (code = wr_index_widen(&done, x, IN_SIZE)) == WR_OK && !done)
		code = wr_index_widen(&done, x, WR_HOLD_SMALL);
	if (x->fd < 0 && x->len == x->cap)
		code = more_memory(x);
	if (code == WR_OK && x->fd >= 0 && x->cap - x->len < x->cap / 4)
		code = wr_index_drain(x);
	return code;
}

/* More input behind what is there; *got = 0 at the end, and when the window is full: who wants so much can do without. */
static enum wr_code more(struct wr_indexer *x, size_t *got)
{
	enum wr_code code;

	*got = 0;
	if ((code = wr_index_cancelled(x)) != WR_OK || (code = make_room(x)) != WR_OK || x->len == x->cap ||
	    (code = wr_source_read(x->src, x->in + x->len, x->cap - x->len, got, x->main.err)) != WR_OK)
		return code;
	x->len += *got;
	if (x->base + x->len > x->limits->max_bytes)
		return wr_fail(x->main.err, WR_E_TOO_LARGE, "the pack has more than %llu bytes",
			       (unsigned long long)x->limits->max_bytes);
	return WR_OK;
}

/* At least n bytes at in + pos, unless the end of the input comes first. */
static enum wr_code want(struct wr_indexer *x, size_t n)
{
	enum wr_code code = WR_OK;
	size_t got = 1;

	while (code == WR_OK && got > 0 && x->len - x->pos < n)
		code = more(x, &got);
	return code;
}

/* As want(), but the end is BAD_PACK. */
static enum wr_code need(struct wr_indexer *x, size_t n)
{
	enum wr_code code = want(x, n);

	if (code == WR_OK && x->len - x->pos < n)
		return wr_index_bad(&x->main, "it ends too early");
	return code;
}

static void use(struct wr_indexer *x, size_t n)
{
	x->crc = libdeflate_crc32(x->crc, x->in + x->pos, n);
	x->pos += n;
}

enum wr_code wr_index_read_header(struct wr_indexer *x)
{
	enum wr_code code = need(x, WR_PACK_HEADER);

	if (code != WR_OK)
		return code;
	if (memcmp(x->in, "PACK\0\0\0\2", 8) != 0)
		return wr_index_bad(&x->main, "it has no header of version 2");
	x->claimed = wr_be32(x->in + 8);
	/* The highest number stands for no entry, and a thin pack's bases are entries too. */
	if (x->claimed > x->limits->max_objects || x->claimed >= NO_ENTRY / 2)
		return wr_fail(x->main.err, WR_E_TOO_LARGE, "the pack has more than %u objects",
			       x->limits->max_objects);
	use(x, WR_PACK_HEADER);
	return WR_OK;
}

enum wr_code wr_index_read_trailer(struct wr_indexer *x)
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	enum wr_code code;
	size_t got;

	if ((code = need(x, SHA1_LEN)) != WR_OK || (code = add_sum(x)) != WR_OK)
		return code;
	if (EVP_DigestFinal_ex(x->sha, sum, NULL) != 1)
		return wr_fail(x->main.err, WR_E_INTERNAL, "SHA-1 failed");
	x->ended = true;
	if (memcmp(sum, x->in + x->pos, SHA1_LEN) != 0)
		return wr_index_bad(&x->main, "its checksum is wrong");
	memcpy(x->sum, sum, SHA1_LEN);
	x->pos += SHA1_LEN;
	if (x->len == x->pos && (code = more(x, &got)) != WR_OK)
		return code;
	if (x->len != x->pos)
		return wr_index_bad(&x->main, "bytes follow its end");
	if (too_large_for_memory(x) && (code = wr_index_spill(x)) != WR_OK)
		return code;
	return x->fd >= 0 ? wr_index_drain(x) : WR_OK;
}

/* ---- entries ---- */

/*
 * The usual case: a small entry whose stream, if it is an ordinary one, lies wholly in the input. *done is false where
 * it does not work out; then the stream is read piece by piece, which also has the last word on whether it is sound.
 */
static enum wr_code inflate_fast(bool *done, struct wr_indexer *x, uint64_t size)
{
	struct wr_index_worker *w = &x->main;
	enum wr_code code;
	size_t used;

	*done = false;
	if (size > FAST_MAX || (x->fd >= 0 && x->cap && compressBound((uLong)size) > x->cap / 2))
		return WR_OK;
	if ((code = wr_index_scratch(&w->made, w, size)) != WR_OK ||
	    (code = want(x, compressBound((uLong)size))) != WR_OK)
		return code;
	*done = wr_unzip_into(w->made.p, &used, &w->unzip, wr_str_n(x->in + x->pos, x->len - x->pos), (size_t)size) ==
		WR_ZIP_OK;
	if (*done)
		use(x, used);
	return WR_OK;
}

static enum wr_code inflate_stream(struct wr_indexer *x, struct pour *pour)
{
	z_stream *z = &x->main.unzip.z;
	uint8_t out[16384];
	enum wr_code code;
	int rc;

	if (wr_unzip_begin(&x->main.unzip) != WR_ZIP_OK)
		return wr_fail_nomem(x->main.err);
	do {
		size_t before;

		if ((code = need(x, 1)) != WR_OK)
			return code;
		before = x->len - x->pos;
		before = before < UINT_MAX ? before : UINT_MAX;
		z->next_in = x->in + x->pos;
		z->avail_in = (uInt)before;
		do {
			z->next_out = out;
			z->avail_out = sizeof out;
			rc = inflate(z, Z_NO_FLUSH);
			if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
				return wr_index_bad(&x->main, "an entry's data are damaged");
			if ((code = pour_add(pour, &x->main, out, sizeof out - z->avail_out)) != WR_OK)
				return code;
		} while (rc != Z_STREAM_END && z->avail_out == 0);
		use(x, before - z->avail_in);
	} while (rc != Z_STREAM_END);
	return pour->done == pour->size ? WR_OK : wr_index_bad(&x->main, "an entry is shorter than it says");
}

enum wr_code wr_index_settle(struct wr_index_worker *w, struct wr_index_entry *e, enum wr_type type, struct wr_str data,
			     const struct wr_refs_like *like)
{
	struct wr_indexer *x = w->x;
	uint64_t received = x->map ? x->map_size : x->base + x->len;
	enum wr_code code = wr_index_id(&e->oid, w, type, data);

	if (code != WR_OK)
		return code;
	e->type = (uint8_t)type;
	/*
	 * Objects may refer to what is not there only as far as it can still come, else a small pack could fill the
	 * memory with ids. There cannot be more of them than entries. And an honest id is a sum, 20 bytes that nothing
	 * compresses, which has come at least once by now: in an object, or in a delta. So what is noted takes a few
	 * times the bytes received, and no more.
	 */
	w->check.limit = received / 16 + 64 < x->claimed ? (size_t)(received / 16 + 64) : x->claimed;
	return wr_refs_check_object_like(&e->sound, &w->check, &e->oid, type, data, like, w->err);
}

/* Nothing is to be found inside a blob, so a large one is not kept. */
static enum wr_code read_blob(struct wr_indexer *x, struct wr_index_entry *e, uint64_t size)
{
	WR_AUTO(wr_index_hash) *hash = NULL;
	struct pour pour = {.size = size, .fd = -1};
	enum wr_code code;

	if ((code = wr_index_hash_new(&hash, &x->main, size)) != WR_OK)
		return code;
	pour.hash = hash;
	if ((code = inflate_stream(x, &pour)) != WR_OK ||
	    (code = wr_index_hash_end(&e->oid, hash, &x->main)) != WR_OK)
		return code;
	e->type = WR_BLOB;
	return WR_OK;
}

static enum wr_code read_large(struct wr_indexer *x, struct wr_index_entry *e, uint64_t size)
{
	struct wr_index_blob b = {.p = NULL};
	WR_AUTO_FD int fd = -1;
	struct pour pour;
	enum wr_code code;

	if (e->kind == WR_BLOB)
		return read_blob(x, e, size);
	if ((code = wr_hold_file(&fd, &x->hold, x->main.err)) != WR_OK)
		return code;
	pour = (struct pour){.size = size, .keep = true, .fd = fd};
	if ((code = inflate_stream(x, &pour)) != WR_OK ||
	    (code = wr_file_write_all(fd, "", 1, x->main.err)) != WR_OK ||
	    (code = wr_index_blob_map(&b, &x->main, fd, (size_t)size)) != WR_OK)
		return code;
	code = wr_index_settle(&x->main, e, (enum wr_type)e->kind, wr_str_n(b.p, b.size), NULL);
	wr_index_blob_free(&b);
	return code;
}

static enum wr_code read_full(struct wr_indexer *x, struct wr_index_entry *e, uint64_t size)
{
	struct pour pour = {.size = size, .keep = true, .fd = -1};
	struct wr_str data;
	enum wr_code code;
	bool done;

	if (size > WR_INDEX_IN_MEMORY)
		return read_large(x, e, size);
	if ((code = inflate_fast(&done, x, size)) != WR_OK)
		return code;
	data = wr_str_n(x->main.made.p, (size_t)size);
	if (!done) {
		code = inflate_stream(x, &pour);
		data.ptr = pour.kept.p ? pour.kept.p : "";
	}
	if (code == WR_OK)
		code = wr_index_settle(&x->main, e, (enum wr_type)e->kind, data, NULL);
	wr_held_free(&pour.kept);
	return code;
}

/* Deltas are made use of in the second pass; here only where they end is wanted, and that they are sound. */
static enum wr_code read_delta(struct wr_indexer *x, uint64_t size)
{
	struct pour pour = {.size = size, .fd = -1};
	enum wr_code code;
	bool done;

	x->delta_count++;
	if ((code = inflate_fast(&done, x, size)) != WR_OK || done)
		return code;
	return inflate_stream(x, &pour);
}

static enum wr_code add_ref(struct wr_indexer *x, const uint8_t *base, uint32_t child)
{
	if (x->ref_count == x->ref_cap) {
		size_t cap = x->ref_cap ? x->ref_cap + x->ref_cap / 2 : 64;
		enum wr_code code;
		void *v;

		if ((code = wr_index_table_resize(&v, x, WR_TABLE_REFS, cap, sizeof *x->ref)) != WR_OK)
			return code;
		x->ref = v;
		x->ref_cap = cap;
	}
	memcpy(x->ref[x->ref_count].base.id, base, WR_OID_RAW);
	x->ref[x->ref_count++].child = child;
	return WR_OK;
}

static bool entry_at(uint32_t *out, const struct wr_indexer *x, uint64_t offset)
{
	uint32_t lo = 0, hi = x->count;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (x->v[mid].offset == offset) {
			*out = mid;
			return true;
		}
		if (offset < x->v[mid].offset)
			hi = mid;
		else
			lo = mid + 1;
	}
	return false;
}

static enum wr_code read_base(struct wr_indexer *x, struct wr_index_entry *e)
{
	uint64_t distance;
	enum wr_code code;
	size_t n;

	if (e->kind == WR_REF_DELTA) {
		if ((code = need(x, WR_OID_RAW)) != WR_OK || (code = add_ref(x, x->in + x->pos, x->count)) != WR_OK)
			return code;
		use(x, WR_OID_RAW);
		return WR_OK;
	}
	if ((code = want(x, 10)) != WR_OK)
		return code;
	n = wr_entry_distance(&distance, x->in + x->pos, x->len - x->pos);
	if (n == 0 || distance > e->offset || !entry_at(&e->base, x, e->offset - distance))
		return wr_index_bad_at(&x->main, e->offset, "a wrong delta base");
	use(x, n);
	return WR_OK;
}

enum wr_code wr_index_entry_new(struct wr_index_entry **out, struct wr_indexer *x)
{
	if (x->count == x->cap_v) {
		uint32_t cap = x->cap_v + x->cap_v / 2 + 64;
		enum wr_code code;
		void *v;

		/* What a thin pack's bases need comes later. */
		cap = x->count < x->claimed && cap > x->claimed ? x->claimed : cap;
		if ((code = wr_index_table_resize(&v, x, WR_TABLE_ENTRIES, cap, sizeof *x->v)) != WR_OK)
			return code;
		x->v = v;
		x->cap_v = cap;
	}
	x->v[x->count] = (struct wr_index_entry){.base = NO_ENTRY};
	*out = &x->v[x->count];
	return WR_OK;
}

enum wr_code wr_index_read_entry(struct wr_indexer *x)
{
	struct wr_index_entry *e;
	enum wr_code code;
	unsigned kind;
	uint64_t size;
	size_t n;

	if ((code = wr_index_entry_new(&e, x)) != WR_OK || (code = want(x, 12)) != WR_OK)
		return code;
	if (x->count % LET_GO_ENTRIES == 0)
		wr_held_let_go(&x->tables[WR_TABLE_ENTRIES]);
	e->offset = x->base + x->pos;
	x->crc = 0;
	n = wr_entry_head(&kind, &size, x->in + x->pos, x->len - x->pos);
	if (n == 0 || kind == 0 || kind == 5)
		return wr_index_bad_at(&x->main, e->offset, "a wrong header");
	if (size > x->limits->max_object)
		return wr_index_too_large(&x->main);
	if ((code = wr_index_spend(&x->main, size)) != WR_OK)
		return code;
	e->kind = (uint8_t)kind;
	use(x, n);
	if (kind > WR_TAG && (code = read_base(x, e)) != WR_OK)
		return code;
	code = kind > WR_TAG ? read_delta(x, size) : read_full(x, e, size);
	if (code != WR_OK)
		return code;
	e->crc = x->crc;
	x->count++;
	return WR_OK;
}
