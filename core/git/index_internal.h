/*
 * core/git/index_internal.h: what the files of the intake share: index.c (memory or files, from beginning to end),
 * index_read.c (the stream), index_resolve.c (the second pass and its threads), index_delta.c (families of deltas),
 * index_thin.c (deltas on objects outside), index_blob.c (contents while they are worked on, and their ids),
 * index_rows.c (the result in memory), index_write.c (index files).
 * Ownership: one wr_indexer per intake; wr_index_pack() makes and releases it.
 * Threads:   the caller's, and for the deltas of a pack in files a second one. Each has a wr_index_worker of its own;
 *            what both touch of wr_indexer meanwhile is atomic, or does not change.
 * Errors:    go to the err of the worker that is given.
 */
#ifndef WR_INDEX_INTERNAL_H
#define WR_INDEX_INTERNAL_H

#include <openssl/evp.h>
#include <stdatomic.h>

#include "core/git/delta.h"
#include "core/git/guard.h"
#include "core/git/hold.h"
#include "core/git/index.h"
#include "core/git/pack.h"
#include "core/git/refs_check.h"

#define SHA1_LEN 20
#define NO_TYPE 0
#define NO_ENTRY UINT32_MAX

/* Entries are numbered as they stand in the pack; 40 bytes each. */
struct wr_index_entry {
	struct wr_oid oid;
	uint32_t crc;
	uint64_t offset;
	uint32_t base; /* of a delta: the entry it was made from, or NO_ENTRY: an object outside, or not known yet */
	uint8_t kind;  /* as stored */
	uint8_t type;  /* NO_TYPE until a delta is resolved */
	bool sound;    /* as refs_check.h has it */
};

/* A delta whose base is named. */
struct wr_index_ref {
	struct wr_oid base;
	uint32_t child;
};

/* Of a pack in memory, beside each entry. */
struct wr_index_row {
	uint64_t size;	  /* of a delta's object */
	uint32_t outside; /* of a delta: the object outside that its chain ends with, of x->outside; or NO_ENTRY */
	uint32_t row;	  /* in the result */
	uint32_t depth;	  /* deltas down to a full entry or to the object outside */
};

/* An object of the repository on which deltas of the pack are based. */
struct wr_index_outside {
	struct wr_oid oid;
	uint32_t depth; /* deltas below it in the repository */
	uint32_t above; /* the most deltas above it in the pack */
	uint32_t row;	/* where it had to be added to the result */
	uint64_t size;	/* then: of the object, and its entry in the result's bytes */
	size_t at, len;
	enum wr_type type;
};

/* Of size bytes and one more; hold: what these are counted in, or NULL. */
struct wr_index_blob {
	uint8_t *p;
	size_t size;
	bool mapped;
	struct wr_hold *hold;
};

/* What grows with the entries; their memory is x->tables[...]. */
enum wr_index_table {
	WR_TABLE_ENTRIES,
	WR_TABLE_REFS,
	WR_TABLE_FIRST,
	WR_TABLE_NEXT,
	WR_TABLE_TAKEN,
	WR_TABLE_ROWS,
	WR_TABLE_OUTSIDE,
	WR_TABLES,
};

struct wr_indexer;

/* What a thread needs of its own. */
struct wr_index_worker {
	struct wr_indexer *x;
	struct wr_error *err;
	struct wr_unzip unzip;
	struct wr_refs_check check;
	struct wr_held delta, made; /* kept from one entry to the next */
	uint64_t spent;			  /* bytes made of deltas since it was asked whether to go on */
	size_t touched;			  /* bytes of the map read since its pages were last let go */
	bool helper;			  /* not the caller's thread: no progress, no questions */
	enum wr_code code;		  /* a helper's outcome */
};

struct wr_indexer {
	const struct wr_index_folder *folder;
	const char *name;
	int dir; /* -1 until somebody needs it */
	int fd;	 /* of the pack; -1 while it is in memory */
	struct wr_source *src;
	const struct wr_snapshot *snap;
	const struct wr_index_limits *limits;
	struct wr_index_rules rules;
	const struct wr_progress *progress;
	const struct wr_cancel *cancel;
	struct wr_index_worker main;
	struct wr_refs_check read_check, help_check; /* of the first pass; of the second thread when it has ended */
	struct wr_oidmap special, faulty;	     /* of all checks, in the end */
	struct wr_oidmap relied;		     /* so, and bases outside */
	bool in_place;				     /* the file is there already, and stays as it is */
	struct wr_hold hold;
	struct wr_held tables[WR_TABLES];

	/* The stream: [pos, len) of in is not used yet. In memory mode in holds the pack from its beginning. */
	struct wr_held window;
	uint8_t *in; /* of the window */
	size_t pos, len, cap;
	uint64_t base;	 /* the pack's offset of in[0] */
	uint64_t pushed; /* bytes that the kernel was asked to begin writing */
	bool ended;	 /* the trailer was seen, which does not belong into its own sum */
	uint8_t sum[SHA1_LEN]; /* the trailer */
	EVP_MD_CTX *sha;
	uint32_t crc;

	struct wr_index_entry *v;
	uint32_t count, cap_v, claimed;
	struct wr_index_ref *ref;
	size_t ref_count, ref_cap;
	uint32_t delta_count;
	_Atomic uint64_t unpacked; /* bytes that all entries so far unpacked to */

	/* The second pass. */
	const uint8_t *map; /* the pack without its trailer, as it came */
	size_t map_size;
	struct wr_guard *guard;	   /* NULL: the map is in */
	uint32_t *first, *next;	   /* of each entry: the first OFS_DELTA on it, and the next one on the same base */
	_Atomic uint8_t *taken;	   /* of each ref: somebody resolves it. Twins in two families both offer it. */
	_Atomic uint32_t resolved; /* deltas so far */
	_Atomic uint32_t root;	   /* entries from here on were not looked at for families */
	atomic_bool stop;
	unsigned percent;
	struct wr_index_row *rows; /* memory mode */
	struct wr_index_outside *outside;
	uint32_t outside_count, outside_cap;
};

/* Always WR_E_BAD_PACK. */
enum wr_code wr_index_bad(struct wr_index_worker *w, const char *what);
enum wr_code wr_index_bad_at(struct wr_index_worker *w, uint64_t offset, const char *what);
/* Always WR_E_TOO_LARGE: an object. */
enum wr_code wr_index_too_large(struct wr_index_worker *w);
/* Counts what an entry unpacks to, or a delta makes; WR_E_TOO_LARGE when all that is more than one push may cost. */
WR_MUST_CHECK enum wr_code wr_index_spend(struct wr_index_worker *w, uint64_t size);
/* WR_E_CANCELLED when nobody waits any more. On the caller's thread only. */
WR_MUST_CHECK enum wr_code wr_index_cancelled(struct wr_indexer *x);
/* The table with room for n times each bytes; what it held stays, what is new is anything. */
WR_MUST_CHECK enum wr_code wr_index_table_resize(void **out, struct wr_indexer *x, enum wr_index_table table, uint64_t n,
						 size_t each);
/* From memory to files. */
WR_MUST_CHECK enum wr_code wr_index_spill(struct wr_indexer *x);

/* The most bytes of a pack in memory; lengths there are 32 bits wide. */
static inline size_t wr_index_memory(const struct wr_indexer *x)
{
	return x->limits->max_memory < (size_t)1 << 30 ? x->limits->max_memory : (size_t)1 << 30;
}

/* ---- the first pass ---- */

WR_MUST_CHECK enum wr_code wr_index_read_header(struct wr_indexer *x);
WR_MUST_CHECK enum wr_code wr_index_read_entry(struct wr_indexer *x);
WR_MUST_CHECK enum wr_code wr_index_read_trailer(struct wr_indexer *x);
/* Makes the window one of cap bytes; *done is false when there is no room for one that is not small. */
WR_MUST_CHECK enum wr_code wr_index_widen(bool *done, struct wr_indexer *x, size_t cap);
/* Hands on what is used of the input: to the sum and to the file. */
WR_MUST_CHECK enum wr_code wr_index_drain(struct wr_indexer *x);
/* Room for one more entry at v[count], zeroed; count stays. */
WR_MUST_CHECK enum wr_code wr_index_entry_new(struct wr_index_entry **out, struct wr_indexer *x);
/* A check of references by the rules of this intake. */
struct wr_refs_check wr_index_check(struct wr_indexer *x, const struct wr_refs_check *before);
/*
 * An entry's content is known: its id and type, and that nothing is wrong with it. like: what its delta was applied to,
 * so that what both have needs no second look; or NULL.
 */
WR_MUST_CHECK enum wr_code wr_index_settle(struct wr_index_worker *w, struct wr_index_entry *e, enum wr_type type,
					   struct wr_str data, const struct wr_refs_like *like);

/* ---- contents ---- */

/*
 * Large ones lie in a mapped file, and others where there is no room for them. wr_index_blob_new() gives room for size
 * bytes and one more, and is only for sizes that something has already shown to be plausible. wr_index_blob_map() maps
 * a spool file that holds size bytes and one more.
 */
#define WR_INDEX_IN_MEMORY ((uint64_t)16 << 20)
WR_MUST_CHECK enum wr_code wr_index_blob_new(struct wr_index_blob *b, struct wr_index_worker *w, uint64_t size);
WR_MUST_CHECK enum wr_code wr_index_blob_map(struct wr_index_blob *b, struct wr_index_worker *w, int fd, size_t size);
void wr_index_blob_free(struct wr_index_blob *b);
/* One of a worker's two: makes it large enough for size bytes and one more; size is at most WR_INDEX_IN_MEMORY. */
WR_MUST_CHECK enum wr_code wr_index_scratch(struct wr_held *b, struct wr_index_worker *w, uint64_t size);

void wr_index_worker_fini(struct wr_index_worker *w);

/*
 * Ids, with collision detection: of bytes at hand; and of a stream of blob bytes, which nobody needs to keep. The
 * stream takes exactly the size it was begun with; wr_index_hash_end() gives the id, wr_index_hash_free() ends it in
 * any case.
 */
struct wr_index_hash;
WR_MUST_CHECK enum wr_code wr_index_id(struct wr_oid *out, struct wr_index_worker *w, enum wr_type type,
				       struct wr_str data);
WR_MUST_CHECK enum wr_code wr_index_hash_new(struct wr_index_hash **out, struct wr_index_worker *w, uint64_t size);
WR_MUST_CHECK enum wr_code wr_index_hash_add(struct wr_index_hash *h, struct wr_index_worker *w, const uint8_t *data,
					     size_t n);
WR_MUST_CHECK enum wr_code wr_index_hash_end(struct wr_oid *out, struct wr_index_hash *h, struct wr_index_worker *w);
void wr_index_hash_free(struct wr_index_hash *h);
WR_DEFINE_AUTO(wr_index_hash);

/* ---- the second pass ---- */

/* Where entry i of the map ends; its zlib stream, and the size that it claims. The first pass saw that it is sound. */
size_t wr_index_entry_end(const struct wr_indexer *x, uint32_t i);
struct wr_str wr_index_entry_stream(const struct wr_indexer *x, uint32_t i, uint64_t *size);

/* Deltas whose bases are in the pack. */
WR_MUST_CHECK enum wr_code wr_index_resolve(struct wr_indexer *x);
/* One thread's share of it: families of full objects, until there are no more. */
WR_MUST_CHECK enum wr_code wr_index_families(struct wr_index_worker *w);
/*
 * Deltas on an object of the repository, whose content is taken over, and all that is made of them. entry: its own in
 * the pack, or NO_ENTRY; outside: its place in x->outside.
 */
WR_MUST_CHECK enum wr_code wr_index_resolve_outside(struct wr_indexer *x, struct wr_object *obj, uint32_t entry,
						    uint32_t outside);
/* Deltas that lean on the repository; in files their bases are appended to the pack. */
WR_MUST_CHECK enum wr_code wr_index_complete(struct wr_indexer *x);
/* A pack that was complete in memory goes to files after all: with its bases. */
WR_MUST_CHECK enum wr_code wr_index_append_outside(struct wr_indexer *x);
void wr_index_tell(struct wr_indexer *x, bool last);
void wr_index_unmap(struct wr_indexer *x);

/* ---- results ---- */

/* The rows of a pack in memory. *fits is false when bases that it needs make it too large for that. */
WR_MUST_CHECK enum wr_code wr_index_rows(struct wr_intake *out, bool *fits, struct wr_indexer *x);

/* <name>.idx and <name>.rev. */
WR_MUST_CHECK enum wr_code wr_index_write(struct wr_indexer *x);

#endif
