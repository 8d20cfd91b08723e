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
};

/* Of an object that came along in memory or is in the snapshot, to which a pack that came was added; WR_E_NOT_THERE. */
WR_MUST_CHECK enum wr_code wr_incoming_type(enum wr_type *out, const struct wr_incoming *in,
					    const struct wr_snapshot *snap, const struct wr_oid *oid,
					    struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_incoming_read(struct wr_object *out, const struct wr_incoming *in,
					    const struct wr_snapshot *snap, const struct wr_oid *oid,
					    struct wr_error *err);

/* Ends the collecting; objects that were added one by one are checked now. *in is borrowed from q. */
WR_MUST_CHECK enum wr_code wr_quarantine_seal(struct wr_incoming *in, struct wr_quarantine *q, struct wr_error *err);

/* One change while it is judged: what is asked for, over what there is. */
struct wr_judge {
	const struct wr_snapshot *now;
	const struct wr_snapshot *objects; /* now, with the pack that came */
	const struct wr_incoming *in;
	struct wr_ref_update *updates;
	size_t count;
	size_t *sorted;	       /* indexes of updates by name */
	struct wr_oid *peeled; /* of each update's new value */
	bool *decided;
};
/* Fills the results of all updates, and sorted and peeled, which have room for count. An error is the store's. */
WR_MUST_CHECK enum wr_code wr_judge(struct wr_judge *j, bool atomic, struct wr_error *err);

/*
 * Whether `of` is this commit or a descendant of it. false also where a short walk does not tell: the answer only decides
 * how much work comes later.
 */
WR_MUST_CHECK enum wr_code wr_descends(bool *out, const struct wr_incoming *in, const struct wr_snapshot *snap,
				       const struct wr_oid *of, const struct wr_oid *from, struct wr_error *err);

#endif
