/*
 * Journals. The first byte says how: 0, the rest is the file; 1, the same, but with header, chain and checksums put
 * right, so that what records claim is tried; 2, so too, and then one byte is damaged: two bytes say which, the next
 * how.
 */
#include <assert.h>

#include "core/base/buf.h"
#include "core/git/journal_internal.h"
#include "core/git/pack.h"
#include "core/git/parse.h"

#define NUMBER 7

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Makes the bytes a journal as far as sums go; what is inside the records stays. */
static void put_right(uint8_t *bytes, size_t size)
{
	WR_AUTO(wr_journal) *j = wr_journal_blank();
	uint64_t at = WR_JOURNAL_HEADER, seq;

	if (!j || size < WR_JOURNAL_HEADER)
		return;
	j->number = NUMBER;
	j->replaces = wr_le64(bytes + 16);
	seq = j->first_seq = wr_le64(bytes + 24);
	j->nonce = wr_le64(bytes + 32);
	j->named = WR_JOURNAL_HEADER + wr_le64(bytes + 40) % 256;
	wr_journal_head_put(bytes, j);
	while (size - at >= WR_RECORD_HEAD + WR_RECORD_SUM) {
		uint64_t rest = size - at, len = wr_le64(bytes + at + 8) / 8 * 8;

		if (len < WR_RECORD_HEAD + WR_RECORD_SUM || len > rest)
			len = rest / 8 * 8;
		wr_put_le64(bytes + at + 8, len);
		wr_put_le64(bytes + at + 16, seq++);
		wr_record_seal(bytes + at, len, j, wr_le64(bytes + at + 24) % (at + 1));
		j->prev = wr_le64(bytes + at + len - WR_RECORD_SUM);
		at += len;
	}
}

static void look_at_row(const struct wr_journal *j, uint32_t row, uint32_t first, struct wr_str file)
{
	struct wr_row_entry e;
	uint64_t size;
	unsigned kind;
	uint32_t at;

	wr_journal_row(&e, j, row);
	assert(e.raw == (const uint8_t *)file.ptr + e.offset);
	assert(e.offset <= file.len && e.raw_len <= file.len - e.offset);
	assert(e.base == WR_NO_ROW || (e.base >= first && e.base < row));
	assert(wr_entry_head(&kind, &size, e.raw, e.raw_len) > 0 && e.depth <= WR_DELTA_DEPTH);
	assert(e.type >= WR_COMMIT && e.type <= WR_TAG);
	assert(kind >= WR_OFS_DELTA || (kind == e.type && size == e.size));
	/* The first findable one wins. */
	if (!e.known)
		assert(wr_journal_find(&at, j, row + 1, &e.oid) && at <= row);
	if (wr_journal_find(&at, j, row, &e.oid))
		assert(at < row);
}

static void look_at_record(const struct wr_journal *j, uint32_t i, struct wr_str file)
{
	WR_AUTO_S(wr_record) r = {.seq = 0};
	WR_AUTO_MEM uint8_t *again = NULL;
	const struct wr_journal_place *place = wr_journal_place(j, i);
	uint32_t first;

	if (wr_journal_record(&r, &first, j, i, NULL) != WR_OK)
		abort();
	for (uint32_t k = 0; k < r.update_count; k++)
		assert(wr_refname_ok(r.updates[k].name));
	for (uint32_t k = 0; k < r.object_count; k++)
		look_at_row(j, first + k, first, file);
	/* What was read makes the same bytes again, but for what sealing sets. */
	assert(wr_record_len(&r) == place->len);
	again = malloc(place->len);
	wr_record_make(again, place->len, &r);
	memcpy(again + 24, file.ptr + place->offset + 24, 16);
	memcpy(again, file.ptr + place->offset, 4);
	assert(memcmp(again, file.ptr + place->offset, place->len - WR_RECORD_SUM) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WR_AUTO(wr_journal) *j = NULL;
	WR_AUTO_MEM uint8_t *bytes = NULL;
	enum wr_journal_end end;
	uint64_t flushed;
	size_t skip, at;

	if (size < 4)
		return 0;
	skip = data[0] % 3 == 2 ? 4 : 1;
	bytes = malloc(size - skip + 1);
	memcpy(bytes, data + skip, size - skip);
	if (data[0] % 3 > 0)
		put_right(bytes, size - skip);
	at = (size_t)data[1] << 8 | data[2];
	if (data[0] % 3 == 2 && at < size - skip)
		bytes[at] ^= data[3];
	if (wr_journal_of_bytes(&j, &end, &flushed, wr_str_n(bytes, size - skip), NUMBER, NULL) != WR_OK)
		return 0;
	assert(wr_journal_size(j) <= size - skip);
	/* Only room may follow a whole journal. */
	for (size_t i = (size_t)wr_journal_size(j); end == WR_JOURNAL_WHOLE && i < size - skip; i++)
		assert(bytes[i] == 0);
	assert(wr_journal_flushed(j) <= wr_journal_records(j));
	for (uint32_t i = 0; i < wr_journal_records(j); i++)
		look_at_record(j, i, wr_str_n(bytes, size - skip));
	return 0;
}
