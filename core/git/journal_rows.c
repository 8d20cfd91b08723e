/*
 * Rows stand in chunks that never move; a hash table names them by id. The one writer fills a row, then sets its slot
 * (release); a reader that finds the slot (acquire) sees the row. A table that is too full is followed by a larger
 * copy; a reader that still probes the old one misses only rows that were published after it began, which are above
 * its limit.
 */
#include "core/git/journal_internal.h"
#include "core/git/oidmap.h"

#define FIRST_CHUNK (1u << WR_CHUNK_BITS)
#define FIRST_TABLE 64u
#define MAX_ROWS 0x7fffff00u

static unsigned chunk_of(uint32_t *within, uint32_t i)
{
	uint32_t n = i + FIRST_CHUNK;
	unsigned top = 31 - (unsigned)__builtin_clz(n);

	*within = n - (1u << top);
	return top - WR_CHUNK_BITS;
}

static struct wr_journal_slot *row_at(const struct wr_journal *j, uint32_t row)
{
	uint32_t within;
	unsigned k = chunk_of(&within, row);

	return &j->row_chunks[k][within];
}

static struct wr_journal_place *place_at(const struct wr_journal *j, uint32_t i)
{
	uint32_t within;
	unsigned k = chunk_of(&within, i);

	return &j->place_chunks[k][within];
}

const struct wr_journal_place *wr_journal_place(const struct wr_journal *j, uint32_t i)
{
	return place_at(j, i);
}

/* The slot where row belongs, or NULL where the object has a row already. */
static _Atomic uint64_t *free_slot(const struct wr_journal *j, struct wr_journal_table *t, const struct wr_oid *oid,
				   uint64_t h)
{
	for (uint64_t i = h & t->mask;; i = (i + 1) & t->mask) {
		uint64_t s = atomic_load_explicit(&t->slots[i], memory_order_relaxed);

		if (s == 0)
			return &t->slots[i];
		if (s >> 32 == h >> 32 && wr_oid_eq(&row_at(j, (uint32_t)s - 1)->oid, oid))
			return NULL;
	}
}

static void insert(struct wr_journal *j, struct wr_journal_table *t, uint32_t row)
{
	const struct wr_oid *oid = &row_at(j, row)->oid;
	uint64_t h = wr_oid_hash(oid);
	_Atomic uint64_t *slot = free_slot(j, t, oid, h);

	if (!slot)
		return;
	atomic_store_explicit(slot, (h >> 32) << 32 | (row + 1), memory_order_release);
	j->findable++;
}

static enum wr_code grow_table(struct wr_journal *j, uint64_t findable, struct wr_error *err)
{
	struct wr_journal_table *old = atomic_load_explicit(&j->table, memory_order_relaxed), *t;
	uint64_t cap = old ? old->mask + 1 : FIRST_TABLE;

	/* At most half full: a miss, which is what most questions end with, looks at one slot or two. */
	while (cap / 2 < findable)
		cap *= 2;
	if (old && cap == old->mask + 1)
		return WR_OK;
	t = calloc(1, sizeof *t + cap * sizeof *t->slots);
	if (!t)
		return wr_fail_nomem(err);
	t->older = old;
	t->mask = cap - 1;
	j->findable = 0;
	for (uint64_t i = 0; old && i <= old->mask; i++) {
		uint64_t s = atomic_load_explicit(&old->slots[i], memory_order_relaxed);

		if (s)
			insert(j, t, (uint32_t)s - 1);
	}
	atomic_store_explicit(&j->table, t, memory_order_release);
	return WR_OK;
}

enum wr_code wr_journal_reserve(struct wr_journal *j, uint32_t rows, struct wr_error *err)
{
	uint32_t have = atomic_load_explicit(&j->rows, memory_order_relaxed), within;
	uint32_t records = atomic_load_explicit(&j->records, memory_order_relaxed);
	unsigned k;

	if (rows > MAX_ROWS - have || records >= MAX_ROWS)
		return wr_fail(err, WR_E_INTERNAL, "journal %llu has too many rows", (unsigned long long)j->number);
	for (unsigned i = 0; rows > 0 && i <= chunk_of(&within, have + rows - 1); i++) {
		if (!j->row_chunks[i])
			j->row_chunks[i] = malloc(((size_t)FIRST_CHUNK << i) * sizeof *j->row_chunks[i]);
		if (!j->row_chunks[i])
			return wr_fail_nomem(err);
	}
	k = chunk_of(&within, records);
	if (!j->place_chunks[k])
		j->place_chunks[k] = malloc(((size_t)FIRST_CHUNK << k) * sizeof *j->place_chunks[k]);
	if (!j->place_chunks[k])
		return wr_fail_nomem(err);
	return rows ? grow_table(j, (uint64_t)j->findable + rows, err) : WR_OK;
}

void wr_journal_publish(struct wr_journal *j, const struct wr_record_view *v)
{
	uint64_t at = atomic_load_explicit(&j->size, memory_order_relaxed);
	uint32_t first = atomic_load_explicit(&j->rows, memory_order_relaxed);
	uint32_t records = atomic_load_explicit(&j->records, memory_order_relaxed);
	uint64_t offset = at + (uint64_t)(v->raw - v->bytes);

	for (uint32_t i = 0; i < v->object_count; i++) {
		const uint8_t *p = v->rows + (size_t)i * WR_RECORD_ROW;
		struct wr_journal_slot *row = row_at(j, first + i);
		uint32_t base = wr_le32(p + 24);

		memcpy(row->oid.id, p, WR_OID_RAW);
		row->type = p[20];
		row->known = p[21] != 0;
		row->depth = wr_le16(p + 22);
		row->base = base == WR_NO_ROW ? WR_NO_ROW : first + base;
		row->raw_len = wr_le32(p + 28);
		row->size = wr_le64(p + 32);
		row->offset = offset;
		offset += row->raw_len;
		if (!row->known)
			insert(j, atomic_load_explicit(&j->table, memory_order_relaxed), first + i);
	}
	*place_at(j, records) = (struct wr_journal_place){at, v->len, first};
	j->prev = wr_le64(v->bytes + v->len - WR_RECORD_SUM);
	atomic_store_explicit(&j->rows, first + v->object_count, memory_order_release);
	atomic_store_explicit(&j->size, at + v->len, memory_order_release);
	atomic_store_explicit(&j->records, records + 1, memory_order_release);
}

void wr_journal_rows_free(struct wr_journal *j)
{
	struct wr_journal_table *t = atomic_load_explicit(&j->table, memory_order_relaxed);

	while (t) {
		struct wr_journal_table *older = t->older;

		free(t);
		t = older;
	}
	for (unsigned i = 0; i < WR_CHUNKS; i++) {
		free(j->row_chunks[i]);
		free(j->place_chunks[i]);
	}
}

bool wr_journal_find(uint32_t *row, const struct wr_journal *j, uint32_t limit, const struct wr_oid *oid)
{
	struct wr_journal_table *t = atomic_load_explicit(&j->table, memory_order_acquire);
	uint64_t h;

	if (!t || limit == 0)
		return false;
	h = wr_oid_hash(oid);
	for (uint64_t i = h & t->mask;; i = (i + 1) & t->mask) {
		uint64_t s = atomic_load_explicit(&t->slots[i], memory_order_acquire);

		if (s == 0)
			return false;
		if (s >> 32 == h >> 32 && (uint32_t)s <= limit && wr_oid_eq(&row_at(j, (uint32_t)s - 1)->oid, oid)) {
			*row = (uint32_t)s - 1;
			return true;
		}
	}
}

void wr_journal_row(struct wr_row_entry *out, const struct wr_journal *j, uint32_t row)
{
	const struct wr_journal_slot *r = row_at(j, row);

	*out = (struct wr_row_entry){
		.oid = r->oid,
		.type = (enum wr_type)r->type,
		.known = r->known,
		.depth = r->depth,
		.base = r->base,
		.size = r->size,
		.offset = r->offset,
		.raw = j->map + r->offset,
		.raw_len = r->raw_len,
	};
}
