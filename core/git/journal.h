/*
 * core/git/journal.h: the write-ahead log of one repository: records of objects and ref updates, appended and flushed.
 * The format is documented in docs/store-format.md, which a reader could write a recovery tool from.
 * Ownership: counted; create, open and copy give one reference. Borrowed results live as long as the journal.
 * Threads:   one writer (the holder of the repository's turn) and any number of readers, which take no lock: rows below
 *            a limit that the writer has published never change.
 * Blocks on: disk.
 * Errors:    WR_E_STORAGE_FULL, WR_E_INTERNAL (I/O, damage), WR_E_UNAVAILABLE.
 *
 * Findable is an object's row unless it is known, that is: was in the repository before the record. Rows of known
 * objects only serve as bases of other rows of the same record.
 */
#ifndef WR_JOURNAL_H
#define WR_JOURNAL_H

#include "core/git/oid.h"
#include "core/git/snapshot.h"

#define WR_SNAPSHOT_JOURNALS 4 /* one is written, one is under checkpoint; more only after crashes */
#define WR_NO_ROW UINT32_MAX
#define WR_PACK_ID 20

struct wr_journal;

struct wr_record_update {
	struct wr_str name;
	struct wr_oid old, new, peeled; /* zero: absent; peeled: what a tag leads to, else zero */
	bool lossy; /* a branch or tag that may have left something behind: rewound or deleted */
};

struct wr_record_object {
	struct wr_oid oid;
	enum wr_type type;
	bool known;
	uint16_t depth; /* deltas down to a full object, those outside the record included */
	uint32_t base;	/* row of this record that a delta is based on; WR_NO_ROW: full, or a REF_DELTA on another object */
	uint64_t size;	/* of the object */
	const uint8_t *raw; /* the pack entry: header, base id or distance (ignored where base is a row), zlib stream */
	uint32_t raw_len;
};

struct wr_record {
	uint64_t seq;
	int64_t time_ms;
	uint8_t operation[16]; /* of the request: names the change in events and logs */
	struct wr_str author;  /* who made it: text of the caller's choice, at most 1024 bytes */
	const struct wr_record_update *updates;
	uint32_t update_count;
	const struct wr_record_object *objects;
	uint32_t object_count;
	bool has_pack; /* the change's objects are a pack of their own instead */
	uint8_t pack[WR_PACK_ID];
};

/* ---- life ---- */

/*
 * warren/journal.<number> in the folder (an open descriptor of "warren"), empty, flushed, the folder flushed.
 * replaces: 0 or the number of a journal that this one stands for from now on. first_seq: of its first record. Fails
 * where the file exists. Made as journal.<number>.new, which a crash may leave behind.
 */
WR_MUST_CHECK enum wr_code wr_journal_create(struct wr_journal **out, int dir, uint64_t number, uint64_t replaces,
					     uint64_t first_seq, struct wr_error *err);
/*
 * The first one of a folder that nobody sees yet: neither its file nor the folder is flushed, which is the caller's to do
 * before anybody relies on either.
 */
WR_MUST_CHECK enum wr_code wr_journal_start(struct wr_journal **out, int dir, uint64_t number, uint64_t first_seq,
					    struct wr_error *err);

enum wr_journal_end {
	WR_JOURNAL_WHOLE,   /* ends with a whole record */
	WR_JOURNAL_CUT,	    /* an unfinished tail follows, that nobody was told of */
	WR_JOURNAL_DAMAGED, /* a bad record stands before bytes that were flushed once */
};
/*
 * Maps and reads a journal of an earlier process: its whole records. *flushed is how long the file was when it was last
 * flushed for certain, as far as records tell. WR_E_NOT_THERE when there is none; a file without a sound header is
 * damage (WR_E_INTERNAL) unless it is shorter than one, which is an unfinished creation: WR_E_NOT_THERE.
 * All whole records count as flushed from then on, and the next one put will say so: who goes on with the journal knows
 * that it was closed cleanly, or that a later one was begun. Who does not know makes a copy, by *flushed if need be.
 */
WR_MUST_CHECK enum wr_code wr_journal_open(struct wr_journal **out, enum wr_journal_end *end, uint64_t *flushed,
					   int dir, uint64_t number, struct wr_error *err);

/*
 * A new journal that replaces old: its first `records` records, flushed with the folder. What old holds beyond them is
 * left out. Pages of old are read from memory where its disk failed.
 */
WR_MUST_CHECK enum wr_code wr_journal_copy(struct wr_journal **out, int dir, uint64_t number,
					   const struct wr_journal *old, uint32_t records, struct wr_error *err);

struct wr_journal *wr_journal_ref(struct wr_journal *j);
void wr_journal_unref(struct wr_journal *j);
WR_DEFINE_AUTO_AS(wr_journal, struct wr_journal, wr_journal_unref);

/* ---- writing ---- */

/*
 * Writes one record behind the others, without flushing; its rows get the numbers from wr_journal_rows() on. seq is set
 * by the journal. After an error the journal is as it was, or *broken is set: then only wr_journal_copy() helps.
 */
WR_MUST_CHECK enum wr_code wr_journal_put(bool *broken, struct wr_journal *j, struct wr_record *record,
					  struct wr_error *err);
/* fdatasync of all that was put. After an error the journal is broken: what was put since the last flush is unknown. */
WR_MUST_CHECK enum wr_code wr_journal_flush(struct wr_journal *j, struct wr_error *err);

/* Cuts off the zeros that stand behind the records for those to come. For a journal that is closed in order. */
void wr_journal_trim(struct wr_journal *j);

/* Room is up to the caller: whether a record of this many bytes fits at all (a fresh journal may become larger). */
bool wr_journal_fits(const struct wr_journal *j, uint64_t record_len);
uint64_t wr_record_len(const struct wr_record *record);

uint64_t wr_journal_number(const struct wr_journal *j);
/* As wr_guard_struck(). */
bool wr_journal_struck(const struct wr_journal *j);
uint64_t wr_journal_replaces(const struct wr_journal *j);
uint64_t wr_journal_first_seq(const struct wr_journal *j);
uint64_t wr_journal_next_seq(const struct wr_journal *j);
uint64_t wr_journal_size(const struct wr_journal *j);	      /* bytes */
uint32_t wr_journal_records(const struct wr_journal *j);      /* put */
uint32_t wr_journal_flushed(const struct wr_journal *j);      /* records flushed */
uint32_t wr_journal_rows(const struct wr_journal *j);	      /* of all records that were put */

/*
 * Record i as it was put; its lists are made for the caller, who frees them with wr_record_fini(). Any thread, for i
 * below a count that it learned under the turn. Rows of objects: from *first_row on.
 */
WR_MUST_CHECK enum wr_code wr_journal_record(struct wr_record *out, uint32_t *first_row, const struct wr_journal *j,
					     uint32_t i, struct wr_error *err);
void wr_record_fini(struct wr_record *record);
WR_DEFINE_AUTO_S(wr_record);

/* ---- reading ---- */

/* The findable row of this object below limit. */
bool wr_journal_find(uint32_t *row, const struct wr_journal *j, uint32_t limit, const struct wr_oid *oid);

struct wr_row_entry {
	struct wr_oid oid;
	enum wr_type type;
	bool known;
	uint16_t depth;
	uint32_t base;	/* row in this journal, or WR_NO_ROW */
	uint64_t size;	/* of the object */
	uint64_t offset; /* in the file, for sorting */
	const uint8_t *raw;
	uint32_t raw_len;
};
void wr_journal_row(struct wr_row_entry *out, const struct wr_journal *j, uint32_t row);

#endif
