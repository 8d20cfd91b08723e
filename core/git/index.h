/*
 * core/git/index.h: takes in one pack from outside: checks it whole, completes it, and gives its entries in memory or
 * as files, whichever its size asks for.
 * Ownership: source and snapshot stay the caller's; what *out holds is released by wr_intake_fini(). After an error
 *            files may be left in the folder, which the caller removes as a whole.
 * Threads:   one per call; it may start others for a while, which end before it returns.
 * Blocks on: disk, the source.
 * Errors:    WR_E_BAD_PACK with a sentence, WR_E_SHALLOW_ROOT, WR_E_TOO_LARGE, WR_E_STORAGE_FULL, WR_E_UNAVAILABLE,
 *            WR_E_CANCELLED, and what the source says.
 *
 * Checked: framing and trailer, every zlib stream, every delta, ids (recomputed with collision detection), commits,
 * trees and tags by the rules, and that what they refer to is in the pack or in the snapshot with the right type. An
 * object that comes twice, or that the repository has, is no error; but in files it is one where a delta names its
 * base by id, and the base's twins would lead the reader back to it.
 */
#ifndef WR_INDEX_H
#define WR_INDEX_H

#include "core/base/room.h"
#include "core/git/append.h"
#include "core/git/fsck.h"
#include "core/git/journal.h"

struct wr_index_limits {
	uint64_t max_bytes; /* of the pack as it arrives */
	uint32_t max_objects;
	uint64_t max_object;   /* inflated size of one */
	uint64_t max_unpacked; /* inflated size of all, deltas and what they make included */
	size_t max_memory;     /* a pack of more bytes than this becomes files (WR_INTAKE_MEMORY in production) */
	unsigned max_depth;    /* deltas that build on each other; at most WR_DELTA_DEPTH (pack.h) */
	/*
	 * Who counts the memory, the intake's too; NULL: nobody. What there is no room for lies in files, the pack as
	 * well; where there is none even for little it is WR_E_UNAVAILABLE.
	 */
	const struct wr_room *room;
};
#define WR_INTAKE_MEMORY ((size_t)1 << 20)

/* What the objects have to be, beside complete; as in struct wr_refs_check. Each may be NULL. */
struct wr_index_rules {
	const struct wr_fsck_rules *fsck;
	const struct wr_oidmap *roots, *cut;
};

struct wr_intake {
	uint32_t count;	 /* entries, completed ones included; 0: an empty pack */
	bool in_files;	 /* <name>.pack, .idx and .rev are in the folder, flushed (the folder itself is not) */
	/*
	 * Else the entries, in the order of the pack but for bases that stood behind their deltas, ready for a record:
	 * raw points into bytes; base is a row before its own; an entry whose object the snapshot has is known, unless no
	 * ref reaches it there: until it is written down the stored one may go. A delta on an object outside stays one (REF_DELTA, base WR_NO_ROW) while the chain is not longer than WR_THIN_DEPTH;
	 * else its base is added as a known, full entry before it. Of an object that comes twice the later entries are
	 * known too.
	 */
	struct wr_record_object *objects;
	uint8_t *bytes;
	struct wr_oidmap special; /* blobs that the rules want to see, as wr_fsck_tree() notes them */
	struct wr_oidmap faulty;  /* a set; wr_index_stored() only */
	struct wr_oidmap relied;  /* a set: objects of the snapshot that these build on, and that no ref reaches there */
};
#define WR_THIN_DEPTH 200
void wr_intake_fini(struct wr_intake *intake);
WR_DEFINE_AUTO_S(wr_intake);

/*
 * The folder for files, an open descriptor that stays the callee's; asked for when first needed: for a large pack, or
 * for a huge object (more than 16 MB inflated) in a small one.
 */
struct wr_index_folder {
	enum wr_code (*open)(int *fd, void *arg, struct wr_error *err);
	void *arg;
};

/* Reads the source to its end, which must be the end of the pack. name: of the files, without extension. */
WR_MUST_CHECK enum wr_code wr_index_pack(struct wr_intake *out, const struct wr_index_folder *folder, const char *name,
					 struct wr_source *src, const struct wr_snapshot *snap,
					 const struct wr_index_limits *limits, const struct wr_index_rules *rules,
					 const struct wr_progress *progress, const struct wr_cancel *cancel,
					 struct wr_error *err);

/*
 * A pack that lies in the folder (an open descriptor) already, whole and with all bases of its deltas: it is not changed
 * but flushed, and gets its .idx and .rev, whose names must be free. Each object is checked by itself: what it refers to
 * is not looked for, and what breaks the rules is no error but noted. max_memory does not count.
 */
WR_MUST_CHECK enum wr_code wr_index_stored(struct wr_intake *out, int dir, const char *name,
					   const struct wr_index_limits *limits, const struct wr_index_rules *rules,
					   const struct wr_progress *progress, const struct wr_cancel *cancel,
					   struct wr_error *err);

#endif
