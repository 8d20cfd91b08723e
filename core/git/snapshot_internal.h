/*
 * core/git/snapshot_internal.h: what a snapshot is made of; for the store's own files.
 * Ownership: a snapshot holds one reference to each pack, journal, list of dead entries, ref file and overlay.
 * Threads:   immutable once published; what is made lazily (the flat list of refs, lost.h) is set once, atomically.
 *
 * Objects lie in sources: packs (src < member_count) and journals (src - member_count). A place names an entry: in a
 * pack its position in the index, in a journal its row. Journals are asked before packs, and the youngest first. That
 * ends every delta chain: a pack's bases lie in the pack, and a row's base is a row before it in its record, or an
 * object that was stored before the record was (an object that was there already never becomes findable in a journal).
 * Of packs base and tails come first, alive or dead, so that a place tells what is known of its object; then the youngest
 * of the others. Entries that are gone (refsfile.h) are only there as bases of other entries.
 */
#ifndef WR_SNAPSHOT_INTERNAL_H
#define WR_SNAPSHOT_INTERNAL_H

#include <stdatomic.h>

#include "core/git/journal.h"
#include "core/git/pack.h"
#include "core/git/refsfile.h"
#include "core/git/snapshot.h"

struct wr_member {
	struct wr_pack *pack;
	enum wr_role role;
	struct wr_dead *dead; /* entries that do not count for the role: lost by the closure, or by all refs; NULL: none */
	uint32_t since;	      /* of cruft: the earliest time of an object in it (seconds); else 0 */
};

struct wr_lost;

/* Refs changed since the stored ones, by name; oid zero: deleted. Counted, immutable. */
struct wr_overlay {
	atomic_uint users;
	size_t count;
	struct wr_ref *v; /* sorted; names in text */
	char *text;
	size_t text_len;
};
void wr_overlay_unref(struct wr_overlay *o);
/* The first whose name is not before this one; NULL is an empty one. */
size_t wr_overlay_lower(const struct wr_overlay *o, struct wr_str name, bool *exact);

struct wr_snapshot {
	atomic_uint users;
	uint64_t max_object;
	struct wr_member *members; /* base, tails, cruft, others, those of the journals' records */
	size_t member_count;
	uint32_t oldest; /* since when, in seconds, something is not reached that the last checkpoint found; 0: there is none */
	struct wr_journal *journals[WR_SNAPSHOT_JOURNALS]; /* oldest first */
	uint32_t limits[WR_SNAPSHOT_JOURNALS];		   /* of each, the rows that are visible */
	size_t journal_count;
	struct wr_refsfile *stored;  /* refs of the checkpoint; NULL: none */
	struct wr_overlay *overlay;  /* NULL: none */
	uint64_t seq;		     /* of the last record in it */
	/*
	 * false: what refs/heads/ and refs/tags/ reach includes everything alive in base and tails ("the closure"), and
	 * the closure was exactly that at the checkpoint. true: a branch or tag was rewound or deleted since, so parts of
	 * the closure may be reachable no more, and nothing of it may be sent without a walk.
	 */
	bool lost;
	_Atomic(void *) flat; /* all refs, sorted; made by wr_snapshot_flatten() */
	/* lost.c's: what may be reached no more, and what is not. Each is made when first asked for. */
	_Atomic(struct wr_lost *) suspects, gone;
};

/* An empty one: no refs, no sources. */
WR_MUST_CHECK enum wr_code wr_snapshot_new(struct wr_snapshot **out, uint64_t max_object, struct wr_error *err);
struct wr_snapshot *wr_snapshot_ref_more(struct wr_snapshot *snap);

/* ---- how one follows from another; only for who has not published it yet ---- */

WR_MUST_CHECK enum wr_code wr_snapshot_copy(struct wr_snapshot **out, const struct wr_snapshot *old,
					    struct wr_error *err);
/* Takes references to pack and dead (may be NULL). The second is for packs without a time. */
WR_MUST_CHECK enum wr_code wr_snapshot_add(struct wr_snapshot *snap, const struct wr_member *member, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_snapshot_add_member(struct wr_snapshot *snap, struct wr_pack *pack, enum wr_role role,
						  struct wr_dead *dead, struct wr_error *err);
/* Ref updates of one record, or of several in their order, the last of which has this sequence. */
WR_MUST_CHECK enum wr_code wr_snapshot_apply(struct wr_snapshot *snap, const struct wr_record_update *updates, size_t n,
					     uint64_t seq, struct wr_error *err);
/* The flat list, which wr_snapshot_refs() and wr_snapshot_ref() need. */
WR_MUST_CHECK enum wr_code wr_snapshot_flatten(struct wr_snapshot *snap, struct wr_error *err);

/* Refs in byte order of their names, from a name on, without a flat list. */
struct wr_ref_cursor {
	const struct wr_snapshot *snap;
	size_t stored, stored_end, over, over_end;
};
void wr_ref_cursor_init(struct wr_ref_cursor *c, const struct wr_snapshot *snap, struct wr_str from);
/* Only those below a folder ("refs/heads/a/", at most WR_REFNAME_MAX + 1 bytes); none behind them is looked at. */
void wr_ref_cursor_below(struct wr_ref_cursor *c, const struct wr_snapshot *snap, struct wr_str folder);
bool wr_ref_cursor_next(struct wr_ref *out, struct wr_ref_cursor *c);

/*
 * The ref whose name is a folder of this one: refs/heads/a for refs/heads/a/b/c. Its length, or 0. Folders shorter than
 * `from` bytes are not looked at. ref_above.c.
 */
size_t wr_snapshot_ref_above(const struct wr_snapshot *snap, struct wr_str name, size_t from);

/* ---- objects.c ---- */

struct wr_place {
	uint32_t src, pos;
};

/* A stored entry, wherever it lies: bytes that are mapped. */
struct wr_stored {
	unsigned kind;	    /* enum wr_type, WR_OFS_DELTA or WR_REF_DELTA as stored */
	uint64_t size;	    /* inflated; of the delta itself for a delta */
	const uint8_t *raw; /* the whole entry, header first */
	size_t raw_len;
	const uint8_t *zip; /* its zlib stream, which ends where the entry ends */
	size_t zip_len;
	struct wr_place base; /* of a delta */
};

bool wr_snapshot_find(struct wr_place *out, const struct wr_snapshot *snap, const struct wr_oid *oid);
/*
 * Whether the last checkpoint found that no ref reaches the object with this place, so that a later one may drop it. What
 * such an object refers to is still there: it does not go before it.
 */
bool wr_snapshot_unreached(const struct wr_snapshot *snap, struct wr_place place);
void wr_snapshot_oid(struct wr_oid *out, const struct wr_snapshot *snap, struct wr_place place);
/* Where the entry stands in its source: entries of one source sorted by it come in the order in which they are stored. */
uint64_t wr_snapshot_offset(const struct wr_snapshot *snap, struct wr_place place);
/* WR_E_INTERNAL for damage, a base that is nowhere included. */
WR_MUST_CHECK enum wr_code wr_snapshot_stored(struct wr_stored *out, const struct wr_snapshot *snap,
					      struct wr_place place, struct wr_error *err);
/*
 * How many deltas lie between the object and a full one. At most WR_DELTA_DEPTH for an object in a pack, or
 * WR_E_INTERNAL; a row may stand on such a one.
 */
WR_MUST_CHECK enum wr_code wr_snapshot_depth(unsigned *out, const struct wr_snapshot *snap, struct wr_place place,
					     struct wr_error *err);

/* Whether the object is alive in the base or a tail: then it was in the closure at the checkpoint. */
bool wr_snapshot_in_closure(const struct wr_snapshot *snap, const struct wr_oid *oid);

/*
 * Inflated bases that were used lately, so that reading many objects of one history does not inflate each chain from its
 * root. One thread at a time. max bounds the bytes held. A NULL cache is none. It keeps no reference: a cache serves one
 * snapshot.
 */
struct wr_cache;
WR_MUST_CHECK enum wr_code wr_cache_new(struct wr_cache **out, size_t max, struct wr_error *err);
void wr_cache_free(struct wr_cache *cache);
WR_DEFINE_AUTO(wr_cache);

/* As wr_snapshot_read(), of a known place, with a cache. */
WR_MUST_CHECK enum wr_code wr_snapshot_read_at(struct wr_object *out, const struct wr_snapshot *snap,
					       struct wr_place place, struct wr_cache *cache, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_snapshot_read_cached(struct wr_object *out, const struct wr_snapshot *snap,
						   const struct wr_oid *oid, struct wr_cache *cache,
						   struct wr_error *err);
/*
 * The object without a copy of it where the cache has or takes it: *bytes is borrowed until the next call with this
 * cache. The cache must not be NULL.
 */
WR_MUST_CHECK enum wr_code wr_snapshot_borrow(enum wr_type *type, struct wr_str *bytes, const struct wr_snapshot *snap,
					      const struct wr_oid *oid, struct wr_cache *cache, struct wr_error *err);

#endif
