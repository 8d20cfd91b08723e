/*
 * core/git/journal_internal.h: what the journal's own files share. docs/store-format.md describes the bytes.
 *
 * journal.c       life and writing
 * journal_read.c  records as bytes: making them, judging them, opening
 * journal_rows.c  rows in memory, and finding one by its object's id
 */
#ifndef WR_JOURNAL_INTERNAL_H
#define WR_JOURNAL_INTERNAL_H

#include <stdatomic.h>

#include "core/git/journal.h"
#include "core/git/le.h"

#define WR_JOURNAL_MAGIC "WRNJRNL1"
#define WR_JOURNAL_HEADER 64u
#define WR_RECORD_HEAD 96u
#define WR_RECORD_ROW 40u
#define WR_RECORD_UPDATE 64u /* without its name */
#define WR_RECORD_SUM 8u
#define WR_RECORD_MAX ((uint64_t)1 << 30)
#define WR_RECORD_AUTHOR 1024u
#define WR_RECORD_HAS_PACK 1u /* flag; all others are unknown */
/* Address space that an open journal can grow in: what is mapped once stays where it is. */
#define WR_JOURNAL_ROOM ((uint64_t)64 << 20)

/* A row as it is kept in memory: checked once, and out of reach of a bad disk. */
struct wr_journal_slot {
	struct wr_oid oid;
	uint8_t type;
	bool known;
	uint16_t depth;
	uint32_t base; /* row of the journal */
	uint32_t raw_len;
	uint64_t size;
	uint64_t offset; /* of raw in the file */
};

struct wr_journal_place {
	uint64_t offset, len;
	uint32_t first_row;
};

/* Chunks double: the first holds this many, all before chunk k hold as many as it does, less the first. */
#define WR_CHUNK_BITS 5
#define WR_CHUNKS (31 - WR_CHUNK_BITS)

struct wr_journal_table {
	struct wr_journal_table *older; /* readers may still be in there: all live as long as the journal */
	uint64_t mask;
	_Atomic uint64_t slots[]; /* 0: free; else the upper half of the hash, and row + 1 */
};

struct wr_journal {
	atomic_uint users;
	int fd; /* -1: none, the bytes are somebody's memory */
	bool writable, broken;
	const uint8_t *map;
	size_t map_size;
	struct wr_guard *guard;
	uint64_t number, replaces, first_seq;
	uint64_t nonce;
	uint32_t mark;
	uint64_t named; /* the length that was flushed before the file got its name */
	uint64_t prev;	/* checksum of the last record, or of the header */
	_Atomic uint64_t size, flushed_size;
	uint64_t zeroed; /* how long the file is: zeros stand behind the records */
	atomic_uint records, flushed_records, rows;
	struct wr_journal_slot *row_chunks[WR_CHUNKS];
	struct wr_journal_place *place_chunks[WR_CHUNKS];
	_Atomic(struct wr_journal_table *) table;
	uint32_t findable;
};

/* One without a file or a map, users 1; NULL without memory. */
struct wr_journal *wr_journal_blank(void);

/* ---- journal_read.c ---- */

void wr_journal_head_put(uint8_t out[WR_JOURNAL_HEADER], struct wr_journal *j);
/* Takes over what the header at the front of the map says. */
WR_MUST_CHECK enum wr_code wr_journal_head_get(struct wr_journal *j, struct wr_error *err);

/* A record that was judged: pointers into its bytes. */
struct wr_record_view {
	const uint8_t *bytes, *rows, *updates, *author, *raw;
	uint64_t len;
	uint32_t flags, update_count, object_count, author_len;
};
/*
 * Whether len bytes are a record that every reader can follow without checks of its own. Says nothing of its mark,
 * chain and checksum.
 */
bool wr_record_check(struct wr_record_view *out, const uint8_t *bytes, uint64_t len);
/* Fills len = wr_record_len() bytes but for what wr_record_seal() sets. */
void wr_record_make(uint8_t *bytes, uint64_t len, const struct wr_record *record);
/* Sets mark, flushed, prev and checksum for a place at the journal's end. */
void wr_record_seal(uint8_t *bytes, uint64_t len, const struct wr_journal *j, uint64_t flushed);
uint64_t wr_record_sum(const uint8_t *bytes, uint64_t len, uint64_t nonce);

/* Reads what follows the header, up to size bytes. */
WR_MUST_CHECK enum wr_code wr_journal_scan(enum wr_journal_end *end, uint64_t *flushed, struct wr_journal *j,
					   uint64_t size, struct wr_error *err);
/* As wr_journal_open() of a file with these bytes, which stay the caller's and must outlive it. */
WR_MUST_CHECK enum wr_code wr_journal_of_bytes(struct wr_journal **out, enum wr_journal_end *end, uint64_t *flushed,
					       struct wr_str bytes, uint64_t number, struct wr_error *err);

/* ---- journal_rows.c ---- */

/* Memory for so many more rows and one more record, so that wr_journal_publish() cannot fail. */
WR_MUST_CHECK enum wr_code wr_journal_reserve(struct wr_journal *j, uint32_t rows, struct wr_error *err);
/* The record that now stands at the journal's end becomes its last one. */
void wr_journal_publish(struct wr_journal *j, const struct wr_record_view *v);
const struct wr_journal_place *wr_journal_place(const struct wr_journal *j, uint32_t i);
void wr_journal_rows_free(struct wr_journal *j);

#endif
