/*
 * core/git/adopt_internal.h: what the files of an adoption share: adopt.c (from beginning to end), adopt_shape.c
 * (whether it is a repository that can be taken in), adopt_refs.c (its refs), adopt_packs.c (its objects, in the new
 * folder), adopt_choose.c (what of them comes along).
 *
 * Ownership: a wr_adoption is wr_git_adopt()'s; each file's fini releases what it made.
 * Threads:   one per adoption.
 */
#ifndef WR_ADOPT_INTERNAL_H
#define WR_ADOPT_INTERNAL_H

#include "core/base/buf.h"
#include "core/git/adopt.h"
#include "core/git/closure.h"
#include "core/git/index.h"

/* ---- adopt_shape.c ---- */

/* from: the folder. Refuses what is no repository, or one of a kind that is not taken in. */
WR_MUST_CHECK enum wr_code wr_adopt_shape(int from, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_adopt_config(struct wr_str config, struct wr_error *err);

/* ---- adopt_refs.c ---- */

#define WR_ADOPT_REFS_MAX 10000000u
#define WR_ADOPT_PACKED_MAX ((size_t)256 << 20)

struct wr_adopt_ref {
	size_t name, name_len;	   /* in text */
	size_t target, target_len; /* of a symbolic one, in text; 0: it has a value */
	struct wr_oid oid;
	bool loose; /* hides a packed one of the same name */
};

struct wr_adopt_refs {
	struct wr_adopt_ref *v;
	size_t count, cap;
	struct wr_buf text;
	char head[512]; /* as struct wr_adopted has it */
};
void wr_adopt_refs_init(struct wr_adopt_refs *refs);
void wr_adopt_refs_fini(struct wr_adopt_refs *refs);

/* Lines of a packed-refs file, added to refs. */
WR_MUST_CHECK enum wr_code wr_adopt_packed_refs(struct wr_adopt_refs *refs, struct wr_str file, struct wr_error *err);
/* What one ref's file holds. */
WR_MUST_CHECK enum wr_code wr_adopt_loose_ref(struct wr_adopt_refs *refs, struct wr_str name, struct wr_str file,
					      struct wr_error *err);
/* All of it read: sorted, each name once, symbolic ones resolved, none a folder of another. */
WR_MUST_CHECK enum wr_code wr_adopt_settle_refs(struct wr_adopt_refs *refs, struct wr_error *err);
/* All of the above, from the folder, and its HEAD. */
WR_MUST_CHECK enum wr_code wr_adopt_read_refs(struct wr_adopt_refs *refs, int from, const struct wr_cancel *cancel,
					      struct wr_error *err);
static inline struct wr_str wr_adopt_ref_name(const struct wr_adopt_refs *refs, size_t i)
{
	return wr_str_n(refs->text.ptr + refs->v[i].name, refs->v[i].name_len);
}

/* ---- adopt_packs.c ---- */

struct wr_adopt_pack {
	char name[WR_PACK_NAME + 1]; /* in the new folder */
	uint64_t size;
	bool linked, loose; /* loose: made of loose objects */
	bool kept;	    /* comes as it is */
};

struct wr_adoption {
	struct wr_git *git;
	int from, to; /* the old repository; objects/pack of the new folder */
	bool may_link;
	const struct wr_progress *progress;
	const struct wr_cancel *cancel;
	struct wr_error *err;
	struct wr_index_limits limits;
	struct wr_fsck_rules rules;
	struct wr_adopt_refs refs;

	struct wr_adopt_pack *packs; /* in the order of snap's members: the largest first */
	size_t pack_count;
	struct wr_snapshot *snap; /* of all objects that were found, reached or not */
	/* Blobs that trees have as .gitmodules; objects that break rules; loose ones that are damaged. Reached or not.
	 */
	struct wr_oidmap special, faulty, damaged;

	struct wr_closure closure;
	uint8_t **types; /* of what is marked */
	uint64_t reached;
	struct wr_place *places[2]; /* to be copied: what heads and tags reach, and what only others do */
	size_t place_count[2];
	struct wr_member *members; /* of the new repository */
	size_t member_count;
	struct wr_adopted *out;
};

/* Every pack and loose object in `to`, indexed, and snap of them. */
WR_MUST_CHECK enum wr_code wr_adopt_packs(struct wr_adoption *a);

/* ---- adopt_choose.c ---- */

/* Walks from all refs, refusing what is missing or wrong, and says what comes as it is and what is copied. */
WR_MUST_CHECK enum wr_code wr_adopt_choose(struct wr_adoption *a);
void wr_adopt_choose_fini(struct wr_adoption *a);

#endif
