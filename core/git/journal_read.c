/*
 * Header: "WRNJRNL1", number, replaces, first sequence, nonce, length flushed before the file was named, 0, sum.
 * Record: mark, flags, length, sequence, flushed, sum before; time, operation, pack, counts; rows; updates; author; raw
 * entries; zeros; sum. Numbers little-endian, records 8-aligned, sums XXH3-64, those of records seeded with the nonce.
 */
#include "core/git/journal_internal.h"

#include <xxhash.h>

#include "core/git/pack.h"
#include "core/git/parse.h"

#define SUM_AT (WR_JOURNAL_HEADER - 8)

/* ---- the header ---- */

static void take_mark(struct wr_journal *j)
{
	/* Never 0, so that no run of zeros begins like a record. */
	j->mark = (uint32_t)XXH3_64bits_withSeed("record", 6, j->nonce) | 1;
}

void wr_journal_head_put(uint8_t out[WR_JOURNAL_HEADER], struct wr_journal *j)
{
	memset(out, 0, WR_JOURNAL_HEADER);
	memcpy(out, WR_JOURNAL_MAGIC, 8);
	wr_put_le64(out + 8, j->number);
	wr_put_le64(out + 16, j->replaces);
	wr_put_le64(out + 24, j->first_seq);
	wr_put_le64(out + 32, j->nonce);
	wr_put_le64(out + 40, j->named);
	j->prev = XXH3_64bits(out, SUM_AT);
	wr_put_le64(out + SUM_AT, j->prev);
	take_mark(j);
}

enum wr_code wr_journal_head_get(struct wr_journal *j, struct wr_error *err)
{
	unsigned long long number = j->number;
	uint8_t head[WR_JOURNAL_HEADER];

	memcpy(head, j->map, sizeof head);
	if (memcmp(head, WR_JOURNAL_MAGIC, 8) != 0)
		return wr_fail(err, WR_E_INTERNAL, "journal %llu is no journal of version 1", number);
	if (wr_le64(head + SUM_AT) != XXH3_64bits(head, SUM_AT))
		return wr_fail(err, WR_E_INTERNAL, "journal %llu has a damaged header", number);
	if (wr_le64(head + 8) != j->number || wr_le64(head + 48) != 0 || wr_le64(head + 40) < WR_JOURNAL_HEADER)
		return wr_fail(err, WR_E_INTERNAL, "journal %llu has another one's header", number);
	j->replaces = wr_le64(head + 16);
	j->first_seq = wr_le64(head + 24);
	j->nonce = wr_le64(head + 32);
	j->named = wr_le64(head + 40);
	j->prev = wr_le64(head + SUM_AT);
	take_mark(j);
	return WR_OK;
}

/* ---- making a record ---- */

uint64_t wr_record_len(const struct wr_record *record)
{
	uint64_t len = WR_RECORD_HEAD + (uint64_t)record->object_count * WR_RECORD_ROW + record->author.len;

	for (uint32_t i = 0; i < record->update_count; i++)
		len += WR_RECORD_UPDATE + record->updates[i].name.len;
	for (uint32_t i = 0; i < record->object_count; i++)
		len += record->objects[i].raw_len;
	return (len + 7) / 8 * 8 + WR_RECORD_SUM;
}

static uint8_t *add(uint8_t *p, const void *bytes, size_t len)
{
	if (len)
		memcpy(p, bytes, len);
	return p + len;
}

static uint8_t *make_row(uint8_t *p, const struct wr_record_object *o)
{
	memcpy(p, o->oid.id, WR_OID_RAW);
	p[20] = (uint8_t)o->type;
	p[21] = o->known;
	wr_put_le16(p + 22, o->depth);
	wr_put_le32(p + 24, o->base);
	wr_put_le32(p + 28, o->raw_len);
	wr_put_le64(p + 32, o->size);
	return p + WR_RECORD_ROW;
}

static uint8_t *make_update(uint8_t *p, const struct wr_record_update *u)
{
	wr_put_le16(p, (uint16_t)u->name.len);
	p[2] = u->lossy;
	p[3] = 0;
	memcpy(p + 4, u->old.id, WR_OID_RAW);
	memcpy(p + 24, u->new.id, WR_OID_RAW);
	memcpy(p + 44, u->peeled.id, WR_OID_RAW);
	return add(p + WR_RECORD_UPDATE, u->name.ptr, u->name.len);
}

void wr_record_make(uint8_t *bytes, uint64_t len, const struct wr_record *record)
{
	uint8_t *p = bytes + WR_RECORD_HEAD;

	memset(bytes, 0, WR_RECORD_HEAD);
	wr_put_le32(bytes + 4, record->has_pack ? WR_RECORD_HAS_PACK : 0);
	wr_put_le64(bytes + 8, len);
	wr_put_le64(bytes + 16, record->seq);
	wr_put_le64(bytes + 40, (uint64_t)record->time_ms);
	memcpy(bytes + 48, record->operation, sizeof record->operation);
	if (record->has_pack)
		memcpy(bytes + 64, record->pack, WR_PACK_ID);
	wr_put_le32(bytes + 84, record->update_count);
	wr_put_le32(bytes + 88, record->object_count);
	wr_put_le32(bytes + 92, (uint32_t)record->author.len);
	for (uint32_t i = 0; i < record->object_count; i++)
		p = make_row(p, &record->objects[i]);
	for (uint32_t i = 0; i < record->update_count; i++)
		p = make_update(p, &record->updates[i]);
	p = add(p, record->author.ptr, record->author.len);
	for (uint32_t i = 0; i < record->object_count; i++)
		p = add(p, record->objects[i].raw, record->objects[i].raw_len);
	memset(p, 0, (size_t)(bytes + len - p));
}

/*
 * The seed keeps what tenants send from looking like a record: they choose the bytes inside, but neither the nonce nor
 * any sum that it went into ever leaves the server, so they can make no sum that fits.
 */
uint64_t wr_record_sum(const uint8_t *bytes, uint64_t len, uint64_t nonce)
{
	return XXH3_64bits_withSeed(bytes, (size_t)(len - WR_RECORD_SUM), nonce);
}

void wr_record_seal(uint8_t *bytes, uint64_t len, const struct wr_journal *j, uint64_t flushed)
{
	wr_put_le32(bytes, j->mark);
	wr_put_le64(bytes + 24, flushed);
	wr_put_le64(bytes + 32, j->prev);
	wr_put_le64(bytes + len - WR_RECORD_SUM, wr_record_sum(bytes, len, j->nonce));
}

/* ---- judging a record ---- */

/* An entry must fit what its row says of it. */
static bool entry_ok(const uint8_t *row, uint32_t own, const uint8_t *raw, uint32_t raw_len)
{
	uint32_t base = wr_le32(row + 24);
	uint64_t size, distance;
	unsigned kind;
	size_t n = wr_entry_head(&kind, &size, raw, raw_len);

	if (n == 0 || row[20] < WR_COMMIT || row[20] > WR_TAG || row[21] > 1 || wr_le16(row + 22) > WR_DELTA_DEPTH)
		return false;
	if (kind == WR_REF_DELTA)
		return raw_len - n >= WR_OID_RAW && (base == WR_NO_ROW || base < own);
	if (kind == WR_OFS_DELTA)
		return base < own && wr_entry_distance(&distance, raw + n, raw_len - n) > 0;
	return base == WR_NO_ROW && kind == row[20] && size == wr_le64(row + 32);
}

/* One update at the front of *p; false where it is cut off or none of ours. */
static bool next_update(struct wr_record_update *out, const uint8_t **p, const uint8_t *end)
{
	const uint8_t *u = *p;
	size_t len;

	if ((size_t)(end - u) < WR_RECORD_UPDATE)
		return false;
	len = wr_le16(u);
	if ((size_t)(end - u) - WR_RECORD_UPDATE < len || u[2] > 1 || u[3] != 0)
		return false;
	out->name = wr_str_n(u + WR_RECORD_UPDATE, len);
	out->lossy = u[2] != 0;
	memcpy(out->old.id, u + 4, WR_OID_RAW);
	memcpy(out->new.id, u + 24, WR_OID_RAW);
	memcpy(out->peeled.id, u + 44, WR_OID_RAW);
	*p = u + WR_RECORD_UPDATE + len;
	return wr_refname_ok(out->name);
}

static bool all_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

bool wr_record_check(struct wr_record_view *out, const uint8_t *bytes, uint64_t len)
{
	struct wr_record_view v = {.bytes = bytes, .len = len};
	struct wr_record_update update;
	const uint8_t *end, *p;

	if (len < WR_RECORD_HEAD + WR_RECORD_SUM || len % 8 != 0 || len > WR_RECORD_MAX || wr_le64(bytes + 8) != len)
		return false;
	end = bytes + len - WR_RECORD_SUM;
	v.flags = wr_le32(bytes + 4);
	v.update_count = wr_le32(bytes + 84);
	v.object_count = wr_le32(bytes + 88);
	v.author_len = wr_le32(bytes + 92);
	v.rows = bytes + WR_RECORD_HEAD;
	if ((v.flags & ~WR_RECORD_HAS_PACK) != 0 || v.author_len > WR_RECORD_AUTHOR ||
	    (!(v.flags & WR_RECORD_HAS_PACK) && !all_zero(bytes + 64, WR_PACK_ID)) ||
	    v.object_count > (uint64_t)(end - v.rows) / WR_RECORD_ROW)
		return false;
	p = v.updates = v.rows + (size_t)v.object_count * WR_RECORD_ROW;
	for (uint32_t i = 0; i < v.update_count; i++)
		if (!next_update(&update, &p, end))
			return false;
	if ((size_t)(end - p) < v.author_len)
		return false;
	v.author = p;
	p = v.raw = v.author + v.author_len;
	for (uint32_t i = 0; i < v.object_count; i++) {
		const uint8_t *row = v.rows + (size_t)i * WR_RECORD_ROW;
		uint32_t raw_len = wr_le32(row + 28);

		if ((size_t)(end - p) < raw_len || !entry_ok(row, i, p, raw_len))
			return false;
		p += raw_len;
	}
	if (end - p >= 8 || !all_zero(p, (size_t)(end - p)))
		return false;
	*out = v;
	return true;
}

/* ---- reading a file ---- */

/* A record that is what was once written, by its mark and checksum, stands at this place. Its length, else 0. */
static uint64_t sealed_at(const struct wr_journal *j, uint64_t at, uint64_t end, uint64_t *cost)
{
	const uint8_t *bytes = j->map + at;
	uint64_t len;

	if (end - at < WR_RECORD_HEAD + WR_RECORD_SUM || wr_le32(bytes) != j->mark)
		return 0;
	len = wr_le64(bytes + 8);
	if (len < WR_RECORD_HEAD + WR_RECORD_SUM || len % 8 != 0 || len > end - at || wr_le64(bytes + 24) > at)
		return 0;
	*cost += len;
	return wr_le64(bytes + len - WR_RECORD_SUM) == wr_record_sum(bytes, len, j->nonce) ? len : 0;
}

/*
 * What follows a bad record: damage where a later record names a flushed length beyond the bad one's beginning, since
 * then it was whole once and may have been acknowledged; else a tail that nobody was told of. Payloads are full of what
 * tenants like, but they know neither mark nor nonce; should one of the two ever leak, the bound on what is summed up
 * keeps this linear, and the answer then is the one that throws nothing away.
 */
static enum wr_journal_end judge_rest(uint64_t *flushed, const struct wr_journal *j, uint64_t bad, uint64_t end)
{
	enum wr_journal_end verdict = bad < j->named ? WR_JOURNAL_DAMAGED : WR_JOURNAL_CUT;
	uint64_t cost = 0, most = 2 * (end - bad), at = bad;

	while (end - at >= WR_RECORD_HEAD + WR_RECORD_SUM) {
		uint64_t len = sealed_at(j, at, end, &cost);
		uint64_t claim = len ? wr_le64(j->map + at + 24) : 0;

		if (cost > most)
			return WR_JOURNAL_DAMAGED;
		if (claim > bad)
			verdict = WR_JOURNAL_DAMAGED;
		if (claim > *flushed)
			*flushed = claim;
		at += len ? len : 8;
	}
	return verdict;
}

enum wr_code wr_journal_scan(enum wr_journal_end *end, uint64_t *flushed, struct wr_journal *j, uint64_t size,
			     struct wr_error *err)
{
	uint64_t at = WR_JOURNAL_HEADER, len, cost = 0, known = j->named;
	uint64_t seq = j->first_seq;
	struct wr_record_view v;
	enum wr_code code;

	*end = WR_JOURNAL_WHOLE;
	atomic_store(&j->size, at);
	while (at < size) {
		len = sealed_at(j, at, size, &cost);
		if (len == 0 || wr_le64(j->map + at + 16) != seq || wr_le64(j->map + at + 32) != j->prev) {
			if (!all_zero(j->map + at, (size_t)(size - at)))
				*end = judge_rest(&known, j, at, size);
			break;
		}
		/* What was written so and cannot be understood is no torn write: perhaps a later version's. Keep it. */
		if (!wr_record_check(&v, j->map + at, len)) {
			*end = WR_JOURNAL_DAMAGED;
			break;
		}
		if (wr_le64(j->map + at + 24) > known)
			known = wr_le64(j->map + at + 24);
		if ((code = wr_journal_reserve(j, v.object_count, err)) != WR_OK)
			return code;
		wr_journal_publish(j, &v);
		at += len;
		seq++;
	}
	if (at < j->named)
		*end = WR_JOURNAL_DAMAGED;
	j->zeroed = size;
	*flushed = known;
	atomic_store(&j->flushed_size, at);
	atomic_store(&j->flushed_records, atomic_load(&j->records));
	return WR_OK;
}

enum wr_code wr_journal_of_bytes(struct wr_journal **out, enum wr_journal_end *end, uint64_t *flushed,
				 struct wr_str bytes, uint64_t number, struct wr_error *err)
{
	WR_AUTO(wr_journal) *j = NULL;
	enum wr_code code;

	if (bytes.len < WR_JOURNAL_HEADER)
		return wr_fail(err, WR_E_NOT_THERE, "journal %llu was never finished", (unsigned long long)number);
	if (!(j = wr_journal_blank()))
		return wr_fail_nomem(err);
	j->map = (const uint8_t *)bytes.ptr;
	j->number = number;
	if ((code = wr_journal_head_get(j, err)) != WR_OK ||
	    (code = wr_journal_scan(end, flushed, j, bytes.len, err)) != WR_OK)
		return code;
	j->broken = *end != WR_JOURNAL_WHOLE;
	*out = WR_STEAL(j);
	return WR_OK;
}

/* ---- a record given back ---- */

void wr_record_fini(struct wr_record *record)
{
	free((void *)(uintptr_t)record->updates);
	free((void *)(uintptr_t)record->objects);
	*record = (struct wr_record){.seq = 0};
}

static void fill_objects(struct wr_record_object *out, const struct wr_journal *j, uint32_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct wr_row_entry e;

		wr_journal_row(&e, j, first + i);
		out[i] = (struct wr_record_object){
			.oid = e.oid,
			.type = e.type,
			.known = e.known,
			.depth = e.depth,
			.base = e.base == WR_NO_ROW ? WR_NO_ROW : e.base - first,
			.size = e.size,
			.raw = e.raw,
			.raw_len = e.raw_len,
		};
	}
}

enum wr_code wr_journal_record(struct wr_record *out, uint32_t *first_row, const struct wr_journal *j, uint32_t i,
			       struct wr_error *err)
{
	unsigned long long number = j->number;
	const struct wr_journal_place *place;
	struct wr_record_update *updates;
	struct wr_record_object *objects;
	struct wr_record_view v;
	const uint8_t *bytes, *p;

	if (i >= atomic_load_explicit(&j->records, memory_order_acquire))
		return wr_fail(err, WR_E_INTERNAL, "journal %llu has no record %u", number, i);
	place = wr_journal_place(j, i);
	bytes = j->map + place->offset;
	/* The disk may have failed since: see guard.h. */
	if (!wr_record_check(&v, bytes, place->len) ||
	    wr_le64(bytes + v.len - WR_RECORD_SUM) != wr_record_sum(bytes, v.len, j->nonce))
		return wr_fail(err, WR_E_INTERNAL, "journal %llu: record %u can be read no more", number, i);
	updates = calloc((size_t)v.update_count + 1, sizeof *updates);
	objects = calloc((size_t)v.object_count + 1, sizeof *objects);
	if (!updates || !objects) {
		free(updates);
		free(objects);
		return wr_fail_nomem(err);
	}
	p = v.updates;
	for (uint32_t k = 0; k < v.update_count; k++)
		if (!next_update(&updates[k], &p, v.author))
			break;
	fill_objects(objects, j, place->first_row, v.object_count);
	*out = (struct wr_record){
		.seq = j->first_seq + i,
		.time_ms = (int64_t)wr_le64(bytes + 40),
		.author = wr_str_n(v.author, v.author_len),
		.updates = updates,
		.update_count = v.update_count,
		.objects = objects,
		.object_count = v.object_count,
		.has_pack = (v.flags & WR_RECORD_HAS_PACK) != 0,
	};
	memcpy(out->operation, bytes + 48, sizeof out->operation);
	memcpy(out->pack, bytes + 64, WR_PACK_ID);
	*first_row = place->first_row;
	return WR_OK;
}
