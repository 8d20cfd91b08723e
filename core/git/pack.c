/*
 * Pack: "PACK", version 2, count; entries {header, [base], zlib stream}; SHA-1 of all before.
 * Index: ff 74 4f 63, version 2; 256 running counts by first byte; ids; CRC32s; 31-bit offsets (top bit: place in the
 * next table); 64-bit offsets; SHA-1 of the pack; SHA-1 of all before. Numbers big-endian.
 */
#include "core/git/pack.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "core/git/delta.h"
#include "core/git/guard.h"

#define IDX_HEAD (8 + 256 * 4)
#define SHA1_LEN 20

static enum wr_code map_file(const uint8_t **out, size_t *size, struct wr_guard **guard, int dir, const char *name,
			     const char *ext, size_t least, struct wr_error *err)
{
	char file[WR_PACK_NAME + 8];
	WR_AUTO_FD int fd = -1;
	struct stat st;
	void *p;

	snprintf(file, sizeof file, "%s.%s", name, ext);
	fd = openat(dir, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0)
		return wr_fail_errno(err, "open %s", file);
	if (!S_ISREG(st.st_mode) || st.st_size < (off_t)least)
		return wr_fail(err, WR_E_INTERNAL, "%s is too short", file);
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return wr_fail_errno(err, "mmap %s", file);
	*out = p;
	*size = (size_t)st.st_size;
	return wr_guard_new(guard, p, *size, err);
}

static enum wr_code check_index(struct wr_pack *p, struct wr_error *err)
{
	size_t long_count, rest;
	uint32_t last = 0;

	if (wr_be32(p->idx) != 0xff744f63 || wr_be32(p->idx + 4) != 2)
		return wr_fail(err, WR_E_INTERNAL, "%s.idx is no index of version 2", p->name);
	p->fanout = p->idx + 8;
	for (unsigned i = 0; i < 256; i++) {
		uint32_t n = wr_be32(p->fanout + 4 * i);

		if (n < last)
			return wr_fail(err, WR_E_INTERNAL, "%s.idx: counts go down", p->name);
		last = n;
	}
	p->count = last;
	rest = p->idx_size - IDX_HEAD - 2 * SHA1_LEN;
	if (rest / 28 < p->count || (rest - (size_t)p->count * 28) % 8 != 0)
		return wr_fail(err, WR_E_INTERNAL, "%s.idx has a wrong size for %u objects", p->name, p->count);
	long_count = (rest - (size_t)p->count * 28) / 8;
	p->names = p->fanout + 1024;
	p->off32 = p->names + (size_t)p->count * 24;
	p->off64 = p->off32 + (size_t)p->count * 4;
	for (uint32_t i = 0; i < p->count; i++) {
		uint32_t v = wr_be32(p->off32 + 4 * (size_t)i);

		if ((v & 0x80000000) && (v & 0x7fffffff) >= long_count)
			return wr_fail(err, WR_E_INTERNAL, "%s.idx: an offset lies outside", p->name);
		if (wr_pack_offset(p, i) < WR_PACK_HEADER || wr_pack_offset(p, i) >= p->size - SHA1_LEN)
			return wr_fail(err, WR_E_INTERNAL, "%s.idx: an offset lies outside the pack", p->name);
	}
	if (memcmp(p->idx + p->idx_size - 2 * SHA1_LEN, p->data + p->size - SHA1_LEN, SHA1_LEN) != 0)
		return wr_fail(err, WR_E_INTERNAL, "%s.idx belongs to another pack", p->name);
	return WR_OK;
}

struct place {
	uint64_t offset;
	uint32_t pos;
};

static int by_offset(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* An entry ends where the next one begins, so their order is what makes an entry's length known. */
static enum wr_code sort_offsets(struct wr_pack *p, struct wr_error *err)
{
	WR_AUTO_MEM struct place *v = calloc(p->count ? p->count : 1, sizeof *v);

	p->order = calloc(p->count ? p->count : 1, sizeof *p->order);
	if (!v || !p->order)
		return wr_fail_nomem(err);
	for (uint32_t i = 0; i < p->count; i++)
		v[i] = (struct place){wr_pack_offset(p, i), i};
	qsort(v, p->count, sizeof *v, by_offset);
	for (uint32_t i = 0; i < p->count; i++) {
		if (i && v[i].offset == v[i - 1].offset)
			return wr_fail(err, WR_E_INTERNAL, "%s.idx names one offset twice", p->name);
		p->order[i] = v[i].pos;
	}
	return WR_OK;
}

enum wr_code wr_pack_open(struct wr_pack **out, int dir, const char *name, struct wr_error *err)
{
	WR_AUTO(wr_pack) *p = calloc(1, sizeof *p);
	enum wr_code code;

	if (!p)
		return wr_fail_nomem(err);
	atomic_init(&p->refs, 1);
	if (strlen(name) > WR_PACK_NAME)
		return wr_fail(err, WR_E_INTERNAL, "pack name too long");
	memcpy(p->name, name, strlen(name) + 1);
	if ((code = map_file(&p->data, &p->size, &p->data_guard, dir, name, "pack", WR_PACK_HEADER + SHA1_LEN, err)) !=
		    WR_OK ||
	    (code = map_file(&p->idx, &p->idx_size, &p->idx_guard, dir, name, "idx", IDX_HEAD + 2 * SHA1_LEN, err)) !=
		    WR_OK ||
	    (code = check_index(p, err)) != WR_OK)
		return code;
	if (memcmp(p->data, "PACK\0\0\0\2", 8) != 0 || wr_be32(p->data + 8) != p->count)
		return wr_fail(err, WR_E_INTERNAL, "%s.pack has no header that fits its index", name);
	if ((code = sort_offsets(p, err)) != WR_OK)
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
	wr_guard_free(p->data_guard);
	wr_guard_free(p->idx_guard);
	if (p->data)
		munmap((void *)(uintptr_t)p->data, p->size);
	if (p->idx)
		munmap((void *)(uintptr_t)p->idx, p->idx_size);
	free(p->order);
	free(p);
}

bool wr_pack_find(uint32_t *pos, const struct wr_pack *p, const struct wr_oid *oid)
{
	uint32_t lo = oid->id[0] ? wr_be32(p->fanout + 4 * (size_t)(oid->id[0] - 1)) : 0;
	uint32_t hi = wr_be32(p->fanout + 4 * (size_t)oid->id[0]);

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
	q = p->off64 + 8 * (size_t)(v & 0x7fffffff);
	return (uint64_t)wr_be32(q) << 32 | wr_be32(q + 4);
}

/* Where in order[] the entry at this offset stands; false when none begins there. */
static bool rank_of(uint32_t *rank, const struct wr_pack *p, uint64_t offset)
{
	uint32_t lo = 0, hi = p->count;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		uint64_t at = wr_pack_offset(p, p->order[mid]);

		if (at == offset) {
			*rank = mid;
			return true;
		}
		if (offset < at)
			hi = mid;
		else
			lo = mid + 1;
	}
	return false;
}

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

enum wr_code wr_pack_entry(struct wr_entry *out, const struct wr_pack *p, uint32_t pos, struct wr_error *err)
{
	uint64_t at = wr_pack_offset(p, pos), distance;
	struct wr_oid base;
	struct wr_entry e = {0};
	uint32_t rank;
	size_t n;

	if (!rank_of(&rank, p, at))
		return wr_fail(err, WR_E_INTERNAL, "%s: no entry at %llu", p->name, (unsigned long long)at);
	e.end = rank + 1 < p->count ? wr_pack_offset(p, p->order[rank + 1]) : p->size - SHA1_LEN;
	/* Checked when it was opened, but pages of an index may have gone since. */
	if (e.end <= at || e.end > p->size - SHA1_LEN)
		return wr_fail(err, WR_E_INTERNAL, "%s.idx is damaged", p->name);
	n = wr_entry_head(&e.kind, &e.size, p->data + at, (size_t)(e.end - at));
	if (n == 0)
		return wr_fail(err, WR_E_INTERNAL, "%s: bad entry at %llu", p->name, (unsigned long long)at);
	e.data = at + n;
	if (e.kind == WR_OFS_DELTA) {
		n = wr_entry_distance(&distance, p->data + e.data, (size_t)(e.end - e.data));
		if (n == 0 || distance == 0 || distance > at || !rank_of(&rank, p, at - distance))
			return wr_fail(err, WR_E_INTERNAL, "%s: bad delta base at %llu", p->name,
				       (unsigned long long)at);
		e.base = p->order[rank];
		e.data += n;
	} else if (e.kind == WR_REF_DELTA) {
		if (e.end - e.data < WR_OID_RAW)
			return wr_fail(err, WR_E_INTERNAL, "%s: bad entry at %llu", p->name, (unsigned long long)at);
		memcpy(base.id, p->data + e.data, WR_OID_RAW);
		if (!wr_pack_find(&e.base, p, &base))
			return wr_fail(err, WR_E_INTERNAL, "%s: no delta base for %llu", p->name,
				       (unsigned long long)at);
		e.data += WR_OID_RAW;
	} else if (e.kind < WR_COMMIT || e.kind > WR_TAG) {
		return wr_fail(err, WR_E_INTERNAL, "%s: bad kind of entry at %llu", p->name, (unsigned long long)at);
	}
	*out = e;
	return WR_OK;
}

static struct wr_str stream(const struct wr_pack *p, const struct wr_entry *e)
{
	return wr_str_n(p->data + e->data, (size_t)(e->end - e->data));
}

static enum wr_code damaged(const struct wr_pack *p, uint32_t pos, enum wr_zip zc, struct wr_error *err)
{
	char hex[WR_OID_HEX + 1];
	struct wr_oid oid;

	if (zc == WR_ZIP_NOMEM)
		return wr_fail_nomem(err);
	wr_pack_oid(&oid, p, pos);
	wr_oid_hex(hex, &oid);
	return wr_fail(err, WR_E_INTERNAL, "%s: object %s is damaged", p->name, hex);
}

enum wr_code wr_pack_stat(enum wr_type *type, uint64_t *size, const struct wr_pack *p, uint32_t pos,
			  struct wr_error *err)
{
	WR_AUTO_S(wr_unzip) unzip = {.ready = false};
	uint64_t base_size, result = 0;
	struct wr_entry e;
	struct wr_str body;
	enum wr_code code;
	uint8_t front[20];
	enum wr_zip zc;
	size_t got;

	for (unsigned depth = 0; depth <= WR_DELTA_DEPTH; depth++) {
		if ((code = wr_pack_entry(&e, p, pos, err)) != WR_OK)
			return code;
		if (depth == 0)
			result = e.size;
		if (e.kind <= WR_TAG) {
			*type = (enum wr_type)e.kind;
			*size = result;
			return WR_OK;
		}
		if (depth == 0) {
			zc = wr_unzip_front(front, &got, &unzip, stream(p, &e), sizeof front);
			if (zc != WR_ZIP_OK || !wr_delta_sizes(&base_size, &result, &body, wr_str_n(front, got)))
				return damaged(p, pos, zc, err);
		}
		pos = e.base;
	}
	return wr_fail(err, WR_E_INTERNAL, "%s: a delta chain is too long", p->name);
}

/* The deltas between an object and the full object that its chain ends in; the object's own delta comes first. */
struct chain {
	struct wr_entry *v;
	size_t len, cap;
};

static enum wr_code follow(struct chain *chain, uint32_t *pos, struct wr_entry *e, const struct wr_pack *p,
			   struct wr_error *err)
{
	enum wr_code code;

	while ((code = wr_pack_entry(e, p, *pos, err)) == WR_OK && e->kind > WR_TAG) {
		if (chain->len == WR_DELTA_DEPTH)
			return wr_fail(err, WR_E_INTERNAL, "%s: a delta chain is too long", p->name);
		if (chain->len == chain->cap) {
			size_t cap = chain->cap ? chain->cap * 2 : 32;
			struct wr_entry *v = reallocarray(chain->v, cap, sizeof *v);

			if (!v)
				return wr_fail_nomem(err);
			chain->v = v;
			chain->cap = cap;
		}
		chain->v[chain->len++] = *e;
		*pos = e->base;
	}
	return code;
}

static enum wr_code inflate_entry(uint8_t **out, struct wr_unzip *unzip, const struct wr_pack *p, uint32_t pos,
				  const struct wr_entry *e, uint64_t max, struct wr_error *err)
{
	struct wr_str in = stream(p, e);
	enum wr_zip zc;
	size_t used;

	if (e->size > max)
		return wr_fail(err, WR_E_TOO_LARGE, "The object has more than %llu bytes", (unsigned long long)max);
	zc = wr_unzip_all(out, &used, unzip, in, (size_t)e->size);
	if (zc == WR_ZIP_OK && used != in.len) {
		free(*out);
		*out = NULL;
		zc = WR_ZIP_BAD;
	}
	return zc == WR_ZIP_OK ? WR_OK : damaged(p, pos, zc, err);
}

/* *data becomes what the delta makes of it. */
static enum wr_code apply(uint8_t **data, size_t *size, struct wr_unzip *unzip, const struct wr_pack *p, uint32_t pos,
			  const struct wr_entry *e, uint64_t max, struct wr_error *err)
{
	WR_AUTO_MEM uint8_t *delta = NULL;
	uint64_t base_size, result;
	struct wr_str body;
	enum wr_code code;
	uint8_t *made;

	if ((code = inflate_entry(&delta, unzip, p, pos, e, max, err)) != WR_OK)
		return code;
	if (!wr_delta_sizes(&base_size, &result, &body, wr_str_n(delta, (size_t)e->size)) || base_size != *size ||
	    !wr_delta_ok(body, base_size, result))
		return damaged(p, pos, WR_ZIP_BAD, err);
	if (result > max)
		return wr_fail(err, WR_E_TOO_LARGE, "The object has more than %llu bytes", (unsigned long long)max);
	made = malloc((size_t)result + 1);
	if (!made)
		return wr_fail_nomem(err);
	wr_delta_apply(made, *data, body);
	made[result] = '\0';
	free(*data);
	*data = made;
	*size = (size_t)result;
	return WR_OK;
}

enum wr_code wr_pack_read(struct wr_object *out, const struct wr_pack *p, uint32_t pos, uint64_t max,
			  struct wr_error *err)
{
	WR_AUTO_S(wr_unzip) unzip = {.ready = false};
	WR_AUTO_MEM struct wr_entry *deltas = NULL;
	WR_AUTO_MEM uint8_t *data = NULL;
	struct chain chain = {NULL, 0, 0};
	struct wr_entry e = {0};
	uint32_t base = pos;
	enum wr_code code;
	size_t size;

	code = follow(&chain, &base, &e, p, err);
	deltas = chain.v;
	if (code != WR_OK || (code = inflate_entry(&data, &unzip, p, base, &e, max, err)) != WR_OK)
		return code;
	size = (size_t)e.size;
	while (chain.len > 0)
		if ((code = apply(&data, &size, &unzip, p, pos, &deltas[--chain.len], max, err)) != WR_OK)
			return code;
	*out = (struct wr_object){(enum wr_type)e.kind, size, WR_STEAL(data)};
	return WR_OK;
}
