/*
 * core/git/fsck.h: whether objects are as git wants them, by the rules and with the message ids of its
 * receive.fsckObjects. That is `git index-pack --strict`: errors and warnings refuse an object, what git calls info
 * passes. Of several faults in one object the first that git would name is told. Whether what an object refers to is
 * there is refs_check.h's, and so is all that the store's own readers need: nothing here has to be refused for its
 * sake.
 * Ownership: values; wr_fsck_tree() uses memory only while it runs.
 * Threads:   no state.
 * Errors:    a fault is a result, no error; wr_fsck_fail() makes one of it. WR_E_UNAVAILABLE without memory,
 *            WR_E_TOO_LARGE for more than WR_FSCK_SPECIAL_MAX blobs to look at.
 * All of it takes hostile bytes: no recursion, and no more memory than the object has bytes.
 */
#ifndef WR_FSCK_H
#define WR_FSCK_H

#include "core/git/oidmap.h"

enum wr_fsck_id {
#define X(name, spelling, grave, taken, words) WR_FSCK_##name,
#include "core/git/fsck.def"
#undef X
	WR_FSCK_COUNT,
	WR_FSCK_SOUND = WR_FSCK_COUNT
};

/* As git spells it; "" for WR_FSCK_SOUND. */
const char *wr_fsck_spelling(enum wr_fsck_id id);

struct wr_fsck_rules {
	uint64_t pass; /* bit i: id i is no reason to refuse an object */
};

static inline bool wr_fsck_passes(const struct wr_fsck_rules *rules, enum wr_fsck_id id)
{
	return rules->pass >> id & 1;
}

/*
 * For what is pushed. ignore: ids to let pass, by spaces or commas, in any case; NULL: none.
 * Errors: WR_E_INVALID_REQUEST with a sentence about git.fsck_ignore: an id that git does not have, or one that it does
 * not let pass either.
 */
WR_MUST_CHECK enum wr_code wr_fsck_rules_parse(struct wr_fsck_rules *out, const char *ignore, struct wr_error *err);
/* The same for what comes from elsewhere as it is: refused are only names that stand for .git, and .gitmodules. */
struct wr_fsck_rules wr_fsck_rules_taken(const struct wr_fsck_rules *pushed);

/* What an object is refused for. */
struct wr_fault {
	enum wr_fsck_id id; /* WR_FSCK_SOUND: nothing */
	char about[80];	    /* the words of the object that are at fault, as far as they can be shown; or "" */
};

/* Notes the fault unless the rules let it pass; whether it did. */
bool wr_fsck_note(struct wr_fault *fault, const struct wr_fsck_rules *rules, enum wr_fsck_id id);

/* WR_E_BAD_PACK with "object <oid>: <id>: <words>". */
enum wr_code wr_fsck_fail(const struct wr_oid *oid, const struct wr_fault *fault, struct wr_error *err);

void wr_fsck_commit(struct wr_fault *out, struct wr_str bytes, const struct wr_fsck_rules *rules);
void wr_fsck_tag(struct wr_fault *out, struct wr_str bytes, const struct wr_fsck_rules *rules);

/* What a blob is looked at for, because a tree has it under such a name; values of a map of blobs. */
enum { WR_FSCK_MODULES = 1, WR_FSCK_ATTRIBUTES = 2 };

struct wr_fsck_tree {
	struct wr_fault fault;
	bool in_order; /* sorted, and no name twice, whatever the rules let pass */
	bool special;  /* has entries for which their blobs have to be looked at */
};
/* special: NULL, or where those blobs are noted, as wr_fsck_special_add() does. */
WR_MUST_CHECK enum wr_code wr_fsck_tree(struct wr_fsck_tree *out, struct wr_str bytes,
					const struct wr_fsck_rules *rules, struct wr_oidmap *special,
					struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_fsck_special_add(struct wr_oidmap *special, const struct wr_oid *oid, unsigned what,
					       struct wr_error *err);

/*
 * Blobs by the names that trees have for them: what is WR_FSCK_MODULES, WR_FSCK_ATTRIBUTES or both. size: of the blob;
 * bytes: all of it, or ptr NULL where wr_fsck_blob_wanted() says that nobody needs to read it.
 */
bool wr_fsck_blob_wanted(unsigned what, uint64_t size, const struct wr_fsck_rules *rules);
WR_MUST_CHECK enum wr_code wr_fsck_blob(struct wr_fault *out, unsigned what, uint64_t size, struct wr_str bytes,
					const struct wr_fsck_rules *rules, struct wr_error *err);
/* The same where there is no such blob: nothing at all, or an object of another type. */
void wr_fsck_no_blob(struct wr_fault *out, unsigned what, bool missing, const struct wr_fsck_rules *rules);

/* Of what one push brings. */
#define WR_FSCK_SPECIAL_MAX 1000000u
/* Git's bound for .gitattributes. It reads a .gitmodules of any size, which here would be memory. */
#define WR_FSCK_ATTRIBUTES_MAX ((uint64_t)100 << 20)
#define WR_FSCK_MODULES_MAX ((uint64_t)16 << 20)

#endif
