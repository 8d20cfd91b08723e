/*
 * core/git/index_internal.h: what the files of the intake share: index.c (the stream), index_delta.c (deltas and thin
 * packs), index_blob.c (contents while they are worked on, and their ids), index_write.c (the index file).
 * Ownership: one wr_indexer per intake; wr_index_pack() makes and releases it.
 * Threads:   one.
 * Errors:    go to x->err.
 */
#ifndef WR_INDEX_INTERNAL_H
#define WR_INDEX_INTERNAL_H

#include <openssl/evp.h>

#include "core/git/delta.h"
#include "core/git/index.h"
#include "core/git/pack.h"
#include "core/git/refs_check.h"

#define SHA1_LEN 20
#define NO_TYPE 0

struct wr_index_entry {
	struct wr_oid oid;
	uint32_t crc;
	uint64_t offset;
	uint8_t kind; /* as stored */
	uint8_t type; /* NO_TYPE until a delta is resolved */
};

/* A delta whose base is an entry before it. */
struct wr_index_ofs {
	uint32_t base, child;
};
/* A delta whose base is named. */
struct wr_index_ref {
	struct wr_oid base;
	uint32_t child;
};

struct wr_index_blob {
	uint8_t *p;
	size_t size;
	bool mapped;
};

struct wr_indexer {
	int dir, fd;
	struct wr_source *src;
	const struct wr_snapshot *snap;
	const struct wr_index_limits *limits;
	const struct wr_progress *progress;
	const struct wr_cancel *cancel;
	struct wr_error *err;
	uint8_t *in; /* IN_SIZE; of it [pos, len) is not used yet */
	size_t pos, len;
	uint64_t base; /* the pack's offset of in[0] */
	bool unhashed; /* the trailer does not belong into its own sum */
	EVP_MD_CTX *sha;
	uint32_t crc;
	struct wr_index_entry *v;
	uint32_t count, cap, claimed;
	struct wr_index_ofs *ofs;
	size_t ofs_count, ofs_cap;
	struct wr_index_ref *ref;
	size_t ref_count, ref_cap;
	uint32_t resolved; /* deltas so far */
	uint64_t unpacked; /* bytes that all entries so far unpacked to */
	uint64_t made;	   /* bytes made of deltas since it was asked whether to go on */
	unsigned percent;
	struct wr_unzip unzip;
	const uint8_t *map; /* the pack in its second pass */
	size_t map_touched; /* bytes of it read since its pages were last let go */
	size_t map_size;
	struct wr_refs_check check;
};

/* Always WR_E_BAD_PACK. */
enum wr_code wr_index_bad(struct wr_indexer *x, const char *what);
enum wr_code wr_index_bad_at(struct wr_indexer *x, uint64_t offset, const char *what);
/* Always WR_E_TOO_LARGE: an object. */
enum wr_code wr_index_too_large(struct wr_indexer *x);
/* Counts what an entry unpacks to, or a delta makes; WR_E_TOO_LARGE when all that is more than one push may cost. */
WR_MUST_CHECK enum wr_code wr_index_spend(struct wr_indexer *x, uint64_t size);
/* WR_E_CANCELLED when nobody waits any more. */
WR_MUST_CHECK enum wr_code wr_index_cancelled(struct wr_indexer *x);

/* Room for one more entry at v[count], zeroed; count stays. */
WR_MUST_CHECK enum wr_code wr_index_entry_new(struct wr_index_entry **out, struct wr_indexer *x);
/* An entry's content is known: its id and type, and whether it is sound. */
WR_MUST_CHECK enum wr_code wr_index_settle(struct wr_indexer *x, struct wr_index_entry *e, enum wr_type type,
					   const uint8_t *data, size_t size);

/*
 * Contents. Large ones lie in a mapped file. wr_index_blob_new() gives room for size bytes and one more, and is only
 * for sizes that something has already shown to be plausible. wr_index_spool_open() makes a file without a name, and
 * wr_index_spool_map() maps one that holds size bytes and one more.
 */
#define WR_INDEX_IN_MEMORY ((uint64_t)16 << 20)
WR_MUST_CHECK enum wr_code wr_index_blob_new(struct wr_index_blob *b, struct wr_indexer *x, uint64_t size);
WR_MUST_CHECK enum wr_code wr_index_spool_open(int *out, struct wr_indexer *x);
WR_MUST_CHECK enum wr_code wr_index_spool_map(struct wr_index_blob *b, struct wr_indexer *x, int fd, size_t size);
void wr_index_blob_free(struct wr_index_blob *b);

/*
 * Ids, with collision detection: of bytes at hand; and of a stream of blob bytes, which nobody needs to keep. The
 * stream takes exactly the size it was begun with; wr_index_hash_end() gives the id, wr_index_hash_free() ends it in
 * any case.
 */
struct wr_index_hash;
WR_MUST_CHECK enum wr_code wr_index_id(struct wr_oid *out, struct wr_indexer *x, enum wr_type type, const uint8_t *data,
				       size_t size);
WR_MUST_CHECK enum wr_code wr_index_hash_new(struct wr_index_hash **out, struct wr_indexer *x, uint64_t size);
WR_MUST_CHECK enum wr_code wr_index_hash_add(struct wr_index_hash *h, struct wr_indexer *x, const uint8_t *data,
					     size_t n);
WR_MUST_CHECK enum wr_code wr_index_hash_end(struct wr_oid *out, struct wr_index_hash *h, struct wr_indexer *x);
void wr_index_hash_free(struct wr_index_hash *h);
WR_DEFINE_AUTO(wr_index_hash);

/* The second pass: deltas whose bases are in the pack; then those that lean on the repository. */
WR_MUST_CHECK enum wr_code wr_index_resolve(struct wr_indexer *x);
WR_MUST_CHECK enum wr_code wr_index_complete(struct wr_indexer *x);
void wr_index_tell(struct wr_indexer *x, bool last);
void wr_index_unmap(struct wr_indexer *x);

/* Entries by id, each once; and <name>.idx of sorted ones. */
WR_MUST_CHECK enum wr_code wr_index_sort(struct wr_indexer *x);
WR_MUST_CHECK enum wr_code wr_index_write(struct wr_indexer *x, const char *name);

#endif
