/*
 * core/git/append_internal.h: what the files of an append share: append.c (the turn, records, flushing), judge.c (what
 * becomes of each update), ancestry.c (whether a branch loses something), quarantine.c and incoming.c (new objects).
 * Ownership: everything here is borrowed from the change and its quarantine, for the time of the append.
 * Threads:   the holder of the turn.
 */
#ifndef WR_APPEND_INTERNAL_H
#define WR_APPEND_INTERNAL_H

#include "core/git/git_internal.h"
#include "core/git/oidmap.h"

/* The objects that come with a change; none is fine. In memory, or a pack of its own. */
struct wr_incoming {
	const struct wr_record_object *objects;
	uint32_t count;
	const struct wr_oidmap *rows; /* of the objects, those that are new */
	struct wr_pack *pack;	      /* NULL: none; its files lie in dir */
	int dir;
	/*
	 * Stored objects that these build on, and that no ref reached in the snapshot which they were checked against: sets,
	 * either may be NULL. since_ms: when that was, by the clock of the store.
	 */
	const struct wr_oidmap *relied[2];
	int64_t since_ms;
	const struct wr_oids *roots; /* where the history of a new repository ends; NULL: it is whole */
};

/*
 * Whether all that a change relies on is still there (rely.c). What it relies on and no ref reaches, a checkpoint that is
 * being built must not drop: where there is such a thing the repository learns of it. For the holder of the turn, before the
 * record is written. j: judged. WR_E_BAD_PACK: something has gone.
 */
struct wr_judge;
WR_MUST_CHECK enum wr_code wr_rely(struct wr_git_repo *repo, const struct wr_judge *j, struct wr_error *err);

/*
 * Of an object that came along in memory or is in the snapshot, to which a pack that came was added; WR_E_NOT_THERE.
 * size: NULL where it is not wanted.
 */
WR_MUST_CHECK enum wr_code wr_incoming_stat(enum wr_type *type, uint64_t *size, const struct wr_incoming *in,
					    const struct wr_snapshot *snap, const struct wr_oid *oid,
					    struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_incoming_read(struct wr_object *out, const struct wr_incoming *in,
					    const struct wr_snapshot *snap, const struct wr_oid *oid,
					    struct wr_error *err);

/* Ends the collecting; objects that were added one by one are checked now. *in is borrowed from q. */
WR_MUST_CHECK enum wr_code wr_quarantine_seal(struct wr_incoming *in, struct wr_quarantine *q, struct wr_error *err);

/* What a tag leads to, over how many tags, itself included. */
struct wr_peeled {
	struct wr_oid oid;
	unsigned tags;
};

/* One change while it is judged: what is asked for, over what there is; the rest is filled and owned by the judge. */
struct wr_judge {
	const struct wr_snapshot *now;
	const struct wr_snapshot *objects; /* now, with the pack that came */
	const struct wr_incoming *in;
	struct wr_ref_update *updates;
	size_t count;
	size_t *sorted;	       /* indexes of updates by name */
	struct wr_oid *peeled; /* of each update's new value */
	struct wr_oidmap tags; /* tags that were followed; the places of their ends */
	struct wr_peeled *ends;
	size_t ends_cap;
};
/* Fills the results of all updates, sorted and peeled. count is not 0. An error is the store's. */
WR_MUST_CHECK enum wr_code wr_judge(struct wr_judge *j, bool atomic, struct wr_error *err);
void wr_judge_fini(struct wr_judge *j);
WR_DEFINE_AUTO_S(wr_judge);
/* Its last part: refuses what would make a ref a folder of another. judge_folders.c */
WR_MUST_CHECK enum wr_code wr_judge_folders(struct wr_judge *j, struct wr_error *err);

/* How much may be read, all together, to tell which branches lose something. */
#define WR_DESCENDS_BUDGET 20000

/*
 * Whether `of` is this commit or a descendant of it. false also where a short walk does not tell: the answer only
 * decides how much work comes later. *budget: how many commits may still be read.
 */
WR_MUST_CHECK enum wr_code wr_descends(bool *out, unsigned *budget, const struct wr_incoming *in,
				       const struct wr_snapshot *snap, const struct wr_oid *of, const struct wr_oid *from, struct wr_error *err);

#endif
