/*
 * Pack: "PACK", version 2, count; entries {header, [base], zlib stream}; SHA-1 of all before.
 * Index: ff 74 4f 63, version 2; 256 running counts by first byte; ids; CRC32s; 31-bit offsets (top bit: place in the
 * next table); 64-bit offsets; SHA-1 of the pack; SHA-1 of all before.
 * Reverse index: "RIDX", version 1, 1 for SHA-1; positions in the index in the order of the pack; SHA-1 of the pack;
 * SHA-1 of all before. Numbers big-endian.
 */
#include "core/git/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "core/git/guard.h"

#define NEAR 6u /* ids */
#define CACHE_LINE 64
#define HINT_LINES 3 /* of an entry: its head, and what tells the size of what a delta makes */
#define IDX_HEAD (8 + 256 * 4)
#define IDX_ROW (WR_OID_RAW + 4 + 4)

/* ---- opening ---- */

/* A file, mapped; and its first and last bytes, as far as asked for. */
struct file {
	const uint8_t *p;
	size_t size;
	struct wr_guard *guard;
	size_t head_len, tail_len;
	uint8_t head[IDX_HEAD], tail[2 * WR_PACK_SUM];
};

/* They are read, not looked at in the map: a page fault costs thirty times as much. */
static enum wr_code read_ends(struct file *file, int fd, const char *name, struct wr_error *err)
{
	ssize_t head = pread(fd, file->head, file->head_len, 0);
	ssize_t tail = pread(fd, file->tail, file->tail_len, (off_t)(file->size - file->tail_len));

	if (head < 0 || tail < 0)
		return wr_fail_errno(err, "read %s", name);
	if ((size_t)head != file->head_len || (size_t)tail != file->tail_len)
		return wr_fail(err, WR_E_INTERNAL, "%s became shorter", name);
	return WR_OK;
}

/*
 * What was mapped is the caller's, also after an error. A file that is not there, or too short for its ends, is none:
 * then file->p stays NULL where missing is allowed.
 */
static enum wr_code map_file(struct file *file, bool missing, int dir, const char *name, const char *ext,
			     struct wr_error *err)
{
	char full[WR_PACK_NAME + 8];
	WR_AUTO_FD int fd = -1;
	enum wr_code code;
	struct stat st;
	void *p;

	snprintf(full, sizeof full, "%s.%s", name, ext);
	fd = openat(dir, full, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT && missing)
		return WR_OK;
	if (fd < 0 || fstat(fd, &st) < 0)
		return wr_fail_errno(err, "open %s", full);
	if (!S_ISREG(st.st_mode) || st.st_size < (off_t)(file->head_len + file->tail_len))
		return missing ? WR_OK : wr_fail(err, WR_E_INTERNAL, "%s is too short", full);
	file->size = (size_t)st.st_size;
	if ((code = read_ends(file, fd, full, err)) != WR_OK)
		return code;
	p = mmap(NULL, file->size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return wr_fail_errno(err, "mmap %s", full);
	file->p = p;
	return wr_guard_new(&file->guard, p, file->size, err);
}

static void unmap(const uint8_t *p, size_t size, struct wr_guard *guard)
{
	wr_guard_free(guard);
	if (p)
		munmap((void *)(uintptr_t)p, size);
}

static enum wr_code map_pack(struct wr_pack *p, uint8_t sum[WR_PACK_SUM], int dir, struct wr_error *err)
{
	struct file f = {.head_len = WR_PACK_HEADER, .tail_len = WR_PACK_SUM};
	enum wr_code code = map_file(&f, false, dir, p->name, "pack", err);

	p->data = f.p;
	p->size = f.size;
	p->data_guard = f.guard;
	if (code != WR_OK)
		return code;
	if (memcmp(f.head, "PACK\0\0\0\2", 8) != 0)
		return wr_fail(err, WR_E_INTERNAL, "%s.pack is no pack of version 2", p->name);
	p->count = wr_be32(f.head + 8);
	memcpy(sum, f.tail, WR_PACK_SUM);
	return WR_OK;
}

static enum wr_code map_index(struct wr_pack *p, const uint8_t sum[WR_PACK_SUM], int dir, struct wr_error *err)
{
	struct file f = {.head_len = IDX_HEAD, .tail_len = 2 * WR_PACK_SUM};
	enum wr_code code = map_file(&f, false, dir, p->name, "idx", err);
	size_t rest, rows = (size_t)p->count * IDX_ROW;

	p->idx = f.p;
	p->idx_size = f.size;
	p->idx_guard = f.guard;
	if (code != WR_OK)
		return code;
	if (memcmp(f.head, "\377tOc\0\0\0\2", 8) != 0)
		return wr_fail(err, WR_E_INTERNAL, "%s.idx is no index of version 2", p->name);
	if (wr_be32(f.head + IDX_HEAD - 4) != p->count || memcmp(f.tail, sum, WR_PACK_SUM) != 0)
		return wr_fail(err, WR_E_INTERNAL, "%s.idx belongs to another pack", p->name);
	rest = p->idx_size - IDX_HEAD - 2 * WR_PACK_SUM;
	if (rest < rows || (rest - rows) % 8 != 0 || (rest - rows) / 8 > p->count)
		return wr_fail(err, WR_E_INTERNAL, "%s.idx has a wrong size for %u objects", p->name, p->count);
	p->long_count = (uint32_t)((rest - rows) / 8);
	p->fanout = p->idx + 8;
	p->names = p->fanout + 1024;
	p->off32 = p->names + (size_t)p->count * (WR_OID_RAW + 4);
	p->off64 = p->off32 + (size_t)p->count * 4;
	return WR_OK;
}

/* Without a reverse index, or with one that is not this pack's, the order is made in memory. */
static enum wr_code map_reverse(struct wr_pack *p, const uint8_t sum[WR_PACK_SUM], int dir, struct wr_error *err)
{
	struct file f = {.head_len = WR_REV_HEADER, .tail_len = 2 * WR_PACK_SUM};
	enum wr_code code = map_file(&f, true, dir, p->name, "rev", err);

	if (code == WR_OK && f.p && f.size == WR_REV_HEADER + (size_t)p->count * 4 + 2 * WR_PACK_SUM &&
	    memcmp(f.head, WR_REV_MAGIC, WR_REV_HEADER) == 0 && memcmp(f.tail, sum, WR_PACK_SUM) == 0) {
		p->rev = f.p;
		p->rev_size = f.size;
		p->rev_guard = f.guard;
	} else {
		unmap(f.p, f.size, f.guard);
	}
	return code;
}

enum wr_code wr_pack_open(struct wr_pack **out, int dir, const char *name, struct wr_error *err)
{
	WR_AUTO(wr_pack) *p = calloc(1, sizeof *p);
	uint8_t sum[WR_PACK_SUM];
	enum wr_code code;

	if (!p)
		return wr_fail_nomem(err);
	atomic_init(&p->refs, 1);
	atomic_init(&p->order, NULL);
	if (strlen(name) > WR_PACK_NAME)
		return wr_fail(err, WR_E_INTERNAL, "pack name too long");
	memcpy(p->name, name, strlen(name) + 1);
	if ((code = map_pack(p, sum, dir, err)) != WR_OK || (code = map_index(p, sum, dir, err)) != WR_OK ||
	    (code = map_reverse(p, sum, dir, err)) != WR_OK)
		return code;
	*out = WR_STEAL(p);
	return WR_OK;
}

struct wr_pack *wr_pack_ref(struct wr_pack *p)
{
	atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

void wr_pack_unref(struct wr_pack *p)
{
	if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
		return;
	unmap(p->data, p->size, p->data_guard);
	unmap(p->idx, p->idx_size, p->idx_guard);
	unmap(p->rev, p->rev_size, p->rev_guard);
	free(atomic_load_explicit(&p->order, memory_order_relaxed));
	free(p);
}

/* ---- the index ---- */

/* The positions of ids with this first byte: [*lo, *hi). False for counts that cannot be. */
static bool range(uint32_t *lo, uint32_t *hi, const struct wr_pack *p, uint8_t first)
{
	*lo = first ? wr_be32(p->fanout + 4 * (size_t)(first - 1)) : 0;
	*hi = wr_be32(p->fanout + 4 * (size_t)first);
	return *lo <= *hi && *hi <= p->count;
}

bool wr_pack_finds(const struct wr_pack *p, const struct wr_oid *oid)
{
	uint32_t lo, hi;

	return range(&lo, &hi, p, oid->id[0]);
}

static bool is_before(const struct wr_pack *p, uint32_t pos, const struct wr_oid *oid)
{
	return memcmp(p->names + (size_t)pos * WR_OID_RAW, oid->id, WR_OID_RAW) < 0;
}

/* Where an id stands by its bytes behind the first, as ids are spread evenly: within some dozens of places. lo < hi. */
static uint32_t guess_place(uint32_t lo, uint32_t hi, const struct wr_oid *oid)
{
	return lo + (uint32_t)((uint64_t)wr_be32(oid->id + 1) * (hi - lo) >> 32);
}

/* The same by what stands at that place: mostly within a few. */
static uint32_t guess_again(uint32_t lo, uint32_t hi, const struct wr_pack *p, const struct wr_oid *oid, uint32_t at)
{
	int64_t apart = (int64_t)wr_be32(oid->id + 1) - wr_be32(p->names + (size_t)at * WR_OID_RAW + 1);
	int64_t place = at + apart * (hi - lo) / ((int64_t)1 << 32);

	return place < lo ? lo : place >= hi ? hi - 1 : (uint32_t)place;
}

/*
 * Looking where an id should be spares most of the memory that a search from the middle would have to fetch. Where it is
 * not there, the steps grow.
 */
static void narrow(uint32_t *lo, uint32_t *hi, const struct wr_pack *p, const struct wr_oid *oid)
{
	uint32_t step = NEAR, guess, at;

	if (*hi - *lo < 4 * NEAR)
		return;
	guess = at = guess_again(*lo, *hi, p, oid, guess_place(*lo, *hi, oid));
	if (is_before(p, guess, oid)) {
		for (; step < *hi - guess && is_before(p, guess + step, oid); step *= 2)
			at = guess + step;
		*lo = at + 1;
		if (step < *hi - guess)
			*hi = guess + step + 1;
	} else {
		for (; step <= guess - *lo && !is_before(p, guess - step, oid); step *= 2)
			at = guess - step;
		*hi = at + 1;
		if (step <= guess - *lo)
			*lo = guess - step + 1;
	}
}

bool wr_pack_find(uint32_t *pos, const struct wr_pack *p, const struct wr_oid *oid)
{
	uint32_t lo, hi;

	if (!range(&lo, &hi, p, oid->id[0]))
		return false;
	narrow(&lo, &hi, p, oid);
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		int c = memcmp(oid->id, p->names + (size_t)mid * WR_OID_RAW, WR_OID_RAW);

		if (c == 0) {
			*pos = mid;
			return true;
		}
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return false;
}

void wr_pack_hint_id(const struct wr_pack *p, const struct wr_oid *oid, bool again)
{
	const uint8_t *names = p->names;
	uint32_t lo, hi, guess;

	if (!range(&lo, &hi, p, oid->id[0]) || lo == hi)
		return;
	guess = guess_place(lo, hi, oid);
	if (!again) {
		__builtin_prefetch(names + (size_t)guess * WR_OID_RAW);
		return;
	}
	guess = guess_again(lo, hi, p, oid, guess);
	lo = guess - lo < NEAR ? lo : guess - NEAR;
	hi = hi - guess <= NEAR ? hi : guess + NEAR + 1;
	for (size_t at = (size_t)lo * WR_OID_RAW; at < (size_t)hi * WR_OID_RAW; at += CACHE_LINE)
		__builtin_prefetch(names + at);
}

void wr_pack_hint_entry(const struct wr_pack *p, uint32_t pos, bool again)
{
	uint64_t at;

	if (!again) {
		__builtin_prefetch(p->off32 + 4 * (size_t)pos);
		return;
	}
	at = wr_pack_offset(p, pos);
	for (unsigned i = 0; i < HINT_LINES && at < p->size; i++, at += CACHE_LINE)
		__builtin_prefetch(p->data + at);
}

uint32_t wr_pack_lower(const struct wr_pack *p, const struct wr_oid *oid)
{
	uint32_t lo = 0, hi = p->count;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (memcmp(p->names + (size_t)mid * WR_OID_RAW, oid->id, WR_OID_RAW) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

void wr_pack_oid(struct wr_oid *out, const struct wr_pack *p, uint32_t pos)
{
	memcpy(out->id, p->names + (size_t)pos * WR_OID_RAW, WR_OID_RAW);
}

uint64_t wr_pack_offset(const struct wr_pack *p, uint32_t pos)
{
	uint32_t v = wr_be32(p->off32 + 4 * (size_t)pos);
	const uint8_t *q;

	if (!(v & 0x80000000))
		return v;
	v &= 0x7fffffff;
	if (v >= p->long_count)
		return 0;
	q = p->off64 + 8 * (size_t)v;
	return (uint64_t)wr_be32(q) << 32 | wr_be32(q + 4);
}

/* ---- the order ---- */

struct place {
	uint64_t offset;
	uint32_t pos;
};

static int by_offset(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static enum wr_code make_order(struct wr_pack *p, struct wr_error *err)
{
	WR_AUTO_MEM struct place *v = calloc((size_t)p->count + 1, sizeof *v);
	uint32_t *order = calloc((size_t)p->count + 1, sizeof *order), *none = NULL;

	if (!v || !order) {
		free(order);
		return wr_fail_nomem(err);
	}
	for (uint32_t i = 0; i < p->count; i++)
		v[i] = (struct place){wr_pack_offset(p, i), i};
	qsort(v, p->count, sizeof *v, by_offset);
	for (uint32_t i = 0; i < p->count; i++)
		order[i] = v[i].pos;
	/* Who comes second throws its work away: that is rare, and nobody has to wait under a lock for it. */
	if (!atomic_compare_exchange_strong_explicit(&p->order, &none, order, memory_order_acq_rel,
						     memory_order_acquire))
		free(order);
	return WR_OK;
}

/* After it at_rank() may be used. */
static enum wr_code need_order(const struct wr_pack *p, struct wr_error *err)
{
	if (p->rev || atomic_load_explicit(&p->order, memory_order_acquire))
		return WR_OK;
	return make_order((struct wr_pack *)(uintptr_t)p, err);
}

/* rank < count. At least count where the reverse index is damaged. */
static uint32_t at_rank(const struct wr_pack *p, uint32_t rank)
{
	return p->rev ? wr_be32(p->rev + WR_REV_HEADER + 4 * (size_t)rank)
		      : atomic_load_explicit(&p->order, memory_order_acquire)[rank];
}

static enum wr_code bad_index(const struct wr_pack *p, struct wr_error *err)
{
	return wr_fail(err, WR_E_INTERNAL, "the index of %s is damaged", p->name);
}

enum wr_code wr_pack_at_rank(uint32_t *pos, const struct wr_pack *p, uint32_t rank, struct wr_error *err)
{
	enum wr_code code = need_order(p, err);
	uint32_t found;

	if (code != WR_OK)
		return code;
	if (rank >= p->count || (found = at_rank(p, rank)) >= p->count)
		return bad_index(p, err);
	*pos = found;
	return WR_OK;
}

/* Where the entry of this rank begins; the index being damaged, false. */
static bool place_at(struct place *out, const struct wr_pack *p, uint32_t rank)
{
	out->pos = at_rank(p, rank);
	if (out->pos >= p->count)
		return false;
	out->offset = wr_pack_offset(p, out->pos);
	return true;
}

/* Among ranks from lo on, below hi. need_order() comes first. */
static enum wr_code search(uint32_t *rank, uint32_t *pos, const struct wr_pack *p, uint64_t offset, uint32_t lo,
			   uint32_t hi, struct wr_error *err)
{
	struct place at;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (!place_at(&at, p, mid))
			return bad_index(p, err);
		if (at.offset == offset) {
			*rank = mid;
			*pos = at.pos;
			return WR_OK;
		}
		if (offset < at.offset)
			hi = mid;
		else
			lo = mid + 1;
	}
	return wr_fail(err, WR_E_INTERNAL, "%s: no entry at %llu", p->name, (unsigned long long)offset);
}

enum wr_code wr_pack_at_offset(uint32_t *rank, uint32_t *pos, const struct wr_pack *p, uint64_t offset,
			       struct wr_error *err)
{
	enum wr_code code = need_order(p, err);

	return code == WR_OK ? search(rank, pos, p, offset, 0, p->count, err) : code;
}

/* The same before a rank. A base is mostly near what is based on it, so that is looked at in growing steps. */
static enum wr_code search_before(uint32_t *rank, uint32_t *pos, const struct wr_pack *p, uint64_t offset,
				  uint32_t before, struct wr_error *err)
{
	uint32_t hi = before, step = 1;
	struct place at;

	while (step <= hi) {
		if (!place_at(&at, p, hi - step))
			return bad_index(p, err);
		if (at.offset <= offset)
			return search(rank, pos, p, offset, hi - step, hi, err);
		hi -= step;
		step *= 2;
	}
	return search(rank, pos, p, offset, 0, hi, err);
}

enum wr_code wr_pack_rank(uint32_t *rank, const struct wr_pack *p, uint32_t pos, struct wr_error *err)
{
	uint32_t found, at;
	enum wr_code code = wr_pack_at_offset(&at, &found, p, wr_pack_offset(p, pos), err);

	if (code != WR_OK)
		return code;
	if (found != pos)
		return bad_index(p, err); /* two of them at one offset */
	*rank = at;
	return WR_OK;
}

/* ---- entries ---- */

size_t wr_entry_head(unsigned *kind, uint64_t *size, const uint8_t *bytes, size_t len)
{
	uint64_t n;
	unsigned shift = 4;
	size_t i = 0;

	if (len == 0)
		return 0;
	*kind = bytes[0] >> 4 & 7;
	n = bytes[0] & 15;
	while (bytes[i++] & 0x80) {
		if (i == len || shift > 56)
			return 0;
		n |= (uint64_t)(bytes[i] & 0x7f) << shift;
		shift += 7;
	}
	*size = n;
	return i;
}

size_t wr_entry_put(uint8_t *out, unsigned kind, uint64_t size)
{
	size_t i = 0;
	uint8_t c = (uint8_t)(kind << 4 | (size & 15));

	for (size >>= 4; size; size >>= 7) {
		out[i++] = c | 0x80;
		c = size & 0x7f;
	}
	out[i++] = c;
	return i;
}

size_t wr_entry_distance(uint64_t *distance, const uint8_t *bytes, size_t len)
{
	uint64_t n;
	size_t i = 0;

	if (len == 0)
		return 0;
	n = bytes[0] & 0x7f;
	while (bytes[i++] & 0x80) {
		if (i == len || n >= UINT64_C(1) << 55)
			return 0;
		n = (n + 1) << 7 | (bytes[i] & 0x7f);
	}
	*distance = n;
	return i;
}

size_t wr_entry_put_distance(uint8_t *out, uint64_t distance)
{
	uint8_t tmp[10];
	size_t i = sizeof tmp, n;

	tmp[--i] = distance & 0x7f;
	while (distance >>= 7)
		tmp[--i] = 0x80 | (--distance & 0x7f);
	n = sizeof tmp - i;
	memcpy(out, tmp + i, n);
	return n;
}

static enum wr_code bad_entry(const struct wr_pack *p, uint64_t at, const char *what, struct wr_error *err)
{
	return wr_fail(err, WR_E_INTERNAL, "%s: %s at %llu", p->name, what, (unsigned long long)at);
}

/* Where the entry begins and ends, and its rank, if that is not known. */
static enum wr_code find_bounds(struct wr_entry *e, uint32_t *known_rank, const struct wr_pack *p, uint32_t pos,
				struct wr_error *err)
{
	uint32_t next, rank;
	enum wr_code code;

	if (*known_rank == WR_NO_RANK && (code = wr_pack_rank(known_rank, p, pos, err)) != WR_OK)
		return code;
	rank = *known_rank;
	e->at = wr_pack_offset(p, pos);
	e->end = p->size - WR_PACK_SUM;
	if (rank + 1 < p->count) {
		if ((code = wr_pack_at_rank(&next, p, rank + 1, err)) != WR_OK)
			return code;
		e->end = wr_pack_offset(p, next);
	}
	if (e->at < WR_PACK_HEADER || e->end <= e->at || e->end > p->size - WR_PACK_SUM)
		return bad_index(p, err);
	return WR_OK;
}

static enum wr_code find_base(struct wr_entry *e, const struct wr_pack *p, uint32_t rank, struct wr_error *err)
{
	size_t left = (size_t)(e->end - e->data), n;
	struct wr_oid base;
	uint64_t distance;

	if (e->kind == WR_OFS_DELTA) {
		n = wr_entry_distance(&distance, p->data + e->data, left);
		if (n == 0 || distance == 0 || distance > e->at)
			return bad_entry(p, e->at, "bad delta base", err);
		e->data += n;
		return search_before(&e->base_rank, &e->base, p, e->at - distance, rank, err);
	}
	if (left < WR_OID_RAW)
		return bad_entry(p, e->at, "bad entry", err);
	memcpy(base.id, p->data + e->data, WR_OID_RAW);
	if (!wr_pack_find(&e->base, p, &base))
		return bad_entry(p, e->at, "no delta base for the entry", err);
	e->data += WR_OID_RAW;
	return WR_OK;
}

enum wr_code wr_pack_entry_ranked(struct wr_entry *out, const struct wr_pack *p, uint32_t pos, uint32_t rank,
				  struct wr_error *err)
{
	struct wr_entry e = {.base_rank = WR_NO_RANK};
	enum wr_code code;
	size_t n;

	if ((code = find_bounds(&e, &rank, p, pos, err)) != WR_OK)
		return code;
	n = wr_entry_head(&e.kind, &e.size, p->data + e.at, (size_t)(e.end - e.at));
	if (n == 0)
		return bad_entry(p, e.at, "bad entry", err);
	e.data = e.at + n;
	if (e.kind == WR_OFS_DELTA || e.kind == WR_REF_DELTA) {
		if ((code = find_base(&e, p, rank, err)) != WR_OK)
			return code;
	} else if (e.kind < WR_COMMIT || e.kind > WR_TAG) {
		return bad_entry(p, e.at, "bad kind of entry", err);
	}
	*out = e;
	return WR_OK;
}

enum wr_code wr_pack_front(unsigned *kind, uint64_t *size, struct wr_str *zip, const struct wr_pack *p, uint32_t pos,
			   struct wr_error *err)
{
	uint64_t at = wr_pack_offset(p, pos), end = p->size - WR_PACK_SUM, distance;
	const uint8_t *bytes;
	size_t left, n, base = 0;

	if (at < WR_PACK_HEADER || at >= end)
		return bad_index(p, err);
	bytes = p->data + at;
	left = (size_t)(end - at);
	n = wr_entry_head(kind, size, bytes, left);
	if (n > 0 && *kind == WR_OFS_DELTA)
		base = wr_entry_distance(&distance, bytes + n, left - n);
	else if (n > 0 && *kind == WR_REF_DELTA && left - n > WR_OID_RAW)
		base = WR_OID_RAW;
	if (n == 0 || (base == 0 && (*kind < WR_COMMIT || *kind > WR_TAG)))
		return bad_entry(p, at, "bad entry", err);
	*zip = wr_str_n((const char *)bytes + n + base, left - n - base);
	return WR_OK;
}

enum wr_code wr_pack_entry(struct wr_entry *out, const struct wr_pack *p, uint32_t pos, struct wr_error *err)
{
	return wr_pack_entry_ranked(out, p, pos, WR_NO_RANK, err);
}
