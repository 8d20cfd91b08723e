/*
 * core/git/snapshot.h: what a repository was at one instant: its refs and every object they reach.
 * Ownership: counted; wr_snapshot_take() gives one reference. Borrowed results live as long as the snapshot.
 * Threads:   a snapshot may be used by many threads at once; it never changes, never locks a writer, never waits for
 * one. Blocks on: disk (mapped packs). Errors:    WR_E_NOT_THERE for an absent object; WR_E_TOO_LARGE past
 * max_object_bytes; WR_E_INTERNAL for damage.
 */
#ifndef WR_SNAPSHOT_H
#define WR_SNAPSHOT_H

#include "core/git/git.h"
#include "core/git/oidmap.h"

struct wr_snapshot;

struct wr_ref {
	struct wr_str name; /* full name: refs/heads/main */
	struct wr_oid oid;
	struct wr_oid peeled; /* what an annotated tag leads to in the end; zero when oid is no tag */
};

/* refs/warren/ is the server's own: clients neither see nor write it, and what only it reaches is not theirs. */
static inline bool wr_ref_shown(const struct wr_ref *ref)
{
	return !wr_str_starts(ref->name, WR_S("refs/warren/"));
}

WR_MUST_CHECK enum wr_code wr_snapshot_take(struct wr_snapshot **out, struct wr_git_repo *repo, struct wr_error *err);
void wr_snapshot_unref(struct wr_snapshot *snap);
WR_DEFINE_AUTO_AS(wr_snapshot, struct wr_snapshot, wr_snapshot_unref);

/* The sequence of the last record in it (events.h); 0: there was none. */
uint64_t wr_snapshot_seq(const struct wr_snapshot *snap);

/* All refs, in byte order of their names. */
const struct wr_ref *wr_snapshot_refs(const struct wr_snapshot *snap, size_t *n);
/* One ref by its full name; false when there is none. Without a list of all refs, so that it is cheap in any repository. */
bool wr_snapshot_find_ref(struct wr_ref *out, const struct wr_snapshot *snap, struct wr_str name);
/* The same from the list, or NULL. Not for the tips that a change's function gets, which have no list. */
const struct wr_ref *wr_snapshot_ref(const struct wr_snapshot *snap, struct wr_str name);

/* The commits at which the repository's own history ends, though they name parents (gitprotocol-pack, "shallow"). */
WR_MUST_CHECK enum wr_code wr_snapshot_roots(struct wr_oids *out, const struct wr_snapshot *snap, struct wr_error *err);
/* The same as a set. */
WR_MUST_CHECK enum wr_code wr_snapshot_ends(struct wr_oidmap *out, const struct wr_snapshot *snap, struct wr_error *err);

struct wr_object {
	enum wr_type type;
	size_t size;
	uint8_t *data; /* malloc'ed; followed by a NUL that size does not count */
};
void wr_object_fini(struct wr_object *obj);
WR_DEFINE_AUTO_S(wr_object);

bool wr_snapshot_has(const struct wr_snapshot *snap, const struct wr_oid *oid);
/*
 * The ids of stored objects that begin with these 4 to 40 hexadecimal digits (of either case), each once; at most max of
 * them, which are enough to tell one from several. WR_E_INVALID_REQUEST for another text.
 */
WR_MUST_CHECK enum wr_code wr_snapshot_prefix(struct wr_oids *out, const struct wr_snapshot *snap, struct wr_str digits,
					      size_t max, struct wr_error *err);
/* Type and inflated size, without inflating the object. Either output may be NULL. */
WR_MUST_CHECK enum wr_code wr_snapshot_stat(const struct wr_snapshot *snap, const struct wr_oid *oid,
					    enum wr_type *type, uint64_t *size, struct wr_error *err);
/* The sizes of many, each as by itself, but faster: what is waited for of them is fetched side by side. */
WR_MUST_CHECK enum wr_code wr_snapshot_sizes(uint64_t *sizes, const struct wr_snapshot *snap, const struct wr_oid *oids,
					     size_t n, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_snapshot_read(struct wr_object *out, const struct wr_snapshot *snap,
					    const struct wr_oid *oid, struct wr_error *err);

/*
 * For who reads one object after the other and needs none of them for longer: each is made in the memory of those before
 * it, because new memory costs about as much as what is put into it. A reader serves one snapshot, which it borrows, and
 * one thread at a time.
 */
struct wr_reader;
WR_MUST_CHECK enum wr_code wr_reader_new(struct wr_reader **out, const struct wr_snapshot *snap, struct wr_error *err);
void wr_reader_free(struct wr_reader *reader);
WR_DEFINE_AUTO(wr_reader);
/*
 * What has more than 16 MB, an object or what its delta is made from, lies in files without names in the store's folder of
 * this process from now on: it costs the disk, and no memory that cannot be had back. git, which may be NULL, outlives
 * the reader. Reads may fail with WR_E_STORAGE_FULL then.
 */
void wr_reader_spill(struct wr_reader *reader, const struct wr_git *git);
/* As wr_snapshot_read(), but out's data are the reader's, and there until the next call with it. */
WR_MUST_CHECK enum wr_code wr_reader_read(struct wr_object *out, struct wr_reader *reader, const struct wr_oid *oid,
					  struct wr_error *err);
/* How many bytes of memory it holds, of which few are for small objects; and lets all go, with the last object. */
size_t wr_reader_holds(const struct wr_reader *reader);
/* And how many in files. */
uint64_t wr_reader_files(const struct wr_reader *reader);
void wr_reader_drop(struct wr_reader *reader);

#endif
