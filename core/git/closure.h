/*
 * core/git/closure.h: which stored objects refs reach, as one mark a stored entry.
 * Every object has one home: its entry in the base or a tail (dead or alive, but not gone), else where
 * wr_snapshot_find() finds it.
 * Only homes are marked, so that an object that is stored twice counts once.
 * Ownership: wr_closure_init() fills the caller's struct, wr_closure_fini() releases it (also after an error of init);
 *            the snapshot and cancel are borrowed.
 * Threads:   one per closure.
 * Blocks on: disk.
 * Errors:    WR_E_INTERNAL (something reached is missing or damaged), WR_E_CANCELLED, WR_E_UNAVAILABLE.
 *
 * A gain walk (snap->lost is false) starts at the refs that changed and ends at what is alive in base and tails. A full
 * walk marks everything. Both stop at the shallow roots of the checkpoint; submodule entries refer to nothing.
 */
#ifndef WR_CLOSURE_H
#define WR_CLOSURE_H

#include "core/git/snapshot_internal.h"
#include "core/git/walk.h"

struct wr_closure {
	const struct wr_snapshot *snap;
	const struct wr_cancel *cancel;
	bool gains; /* marks are only what base and tails do not have alive */
	size_t sources;
	uint64_t **marks; /* a bit for each entry of each source */
	uint32_t *counts; /* how many entries each source has */
	uint32_t *marked; /* how many of them are marked */
	struct wr_cache *cache;
	/* Ids that were met lately, by their first bytes: most entries of a tree are those of its predecessor. */
	struct wr_oid *recent;
	uint8_t *recent_types;
	struct wr_oids shallow; /* sorted */
	struct wr_closure_item *stack;
	size_t len, cap;
	uint32_t steps;
	/*
	 * NULL: an object that is missing or damaged, or of another type than what refers to it says, ends the walk.
	 * Else it is told, and the walk goes on without it. type 0: not known.
	 */
	enum wr_code (*bad)(void *arg, const struct wr_oid *oid, enum wr_type type, const struct wr_error *why);
	/* NULL, or told of each object that the walk marks, with the type that it should have. */
	enum wr_code (*reached)(void *arg, struct wr_place home, const struct wr_oid *oid, enum wr_type type,
				struct wr_error *err);
	/*
	 * NULL, or told of further references to what is marked, with the type that it should have each time. Not where one
	 * with the same type was met lately.
	 */
	enum wr_code (*again)(void *arg, struct wr_place home, const struct wr_oid *oid, enum wr_type type,
			      struct wr_error *err);
	void *arg; /* of all */
};

WR_MUST_CHECK enum wr_code wr_closure_init(struct wr_closure *c, const struct wr_snapshot *snap, bool gains,
					   const struct wr_cancel *cancel, struct wr_error *err);
void wr_closure_fini(struct wr_closure *c);
WR_DEFINE_AUTO_S(wr_closure);

/* What the heads and tags reach; in a full walk with others also what all other refs reach. */
WR_MUST_CHECK enum wr_code wr_closure_walk(struct wr_closure *c, bool others, struct wr_error *err);

/* What all refs reach that are neither heads nor tags, after such a walk of either kind. */
WR_MUST_CHECK enum wr_code wr_closure_walk_others(struct wr_closure *c, struct wr_error *err);

/* Or what one object reaches. */
WR_MUST_CHECK enum wr_code wr_closure_walk_from(struct wr_closure *c, const struct wr_oid *tip, struct wr_error *err);

bool wr_closure_is_head_or_tag(struct wr_str name);
static inline bool wr_closure_role(enum wr_role role)
{
	return role == WR_ROLE_BASE || role == WR_ROLE_TAIL;
}

/* The object's home; false: nowhere. */
bool wr_closure_home(struct wr_place *out, const struct wr_closure *c, const struct wr_oid *oid);
/* Whether the walk marked this home. */
static inline bool wr_closure_marked(const struct wr_closure *c, struct wr_place home)
{
	return c->marks[home.src][home.pos / 64] >> (home.pos % 64) & 1;
}
/* Whether the object with this home is in the closure: marked, or in a gain walk alive in base or tails. */
bool wr_closure_has(const struct wr_closure *c, struct wr_place home);

#endif
