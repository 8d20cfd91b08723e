/*
 * core/git/refsfile.h: warren/<checkpoint>.refs: what a checkpoint is made of: refs, shallow roots, packs, dead
 * entries and since when.
 * The format is documented in docs/store-format.md.
 * Ownership: counted; wr_refsfile_open() gives one reference. Names lie in the mapped file.
 * Threads:   immutable.
 * Blocks on: disk.
 * Errors:    WR_E_INTERNAL for damage; WR_E_STORAGE_FULL.
 */
#ifndef WR_REFSFILE_H
#define WR_REFSFILE_H

#include <stdatomic.h>

#include "core/git/oidmap.h"
#include "core/git/snapshot.h"

/* What a pack is to its repository. */
enum wr_role {
	WR_ROLE_BASE = 0,  /* the closure of refs/heads/ and refs/tags/ at some checkpoint, each object once */
	WR_ROLE_TAIL = 1,  /* what the closure has gained since */
	WR_ROLE_OTHER = 2, /* objects that only other refs reach; may repeat what others hold */
	WR_ROLE_CRUFT = 3, /* objects that no ref reaches, with times (mtimes.h); may repeat what others hold */
};

/*
 * Entries that do not count for their pack's role: positions in its index, sorted. since: the second at which a
 * checkpoint first found that no ref reaches the object; 0: refs outside the closure do; WR_DEAD_GONE: it is past its
 * grace, and its bytes are nobody's any more. Counted, immutable.
 */
struct wr_dead {
	atomic_uint users;
	uint32_t count;
	uint32_t gone;	 /* how many are WR_DEAD_GONE */
	uint32_t oldest; /* of since, neither 0 nor WR_DEAD_GONE; 0: there is none */
	uint32_t *since; /* behind v */
	uint32_t v[];
};
#define WR_DEAD_GONE UINT32_MAX
struct wr_dead *wr_dead_new(uint32_t count); /* v is the caller's to fill, since is all 0; NULL without memory */
void wr_dead_put(struct wr_dead *dead, uint32_t i, uint32_t pos, uint32_t since); /* each i once */
struct wr_dead *wr_dead_ref(struct wr_dead *dead);
void wr_dead_unref(struct wr_dead *dead); /* NULL-safe */
bool wr_dead_has(const struct wr_dead *dead, uint32_t pos); /* NULL: none */
/* 0 also for an entry that is alive. */
uint32_t wr_dead_since(const struct wr_dead *dead, uint32_t pos);
static inline bool wr_dead_is_gone(const struct wr_dead *dead, uint32_t pos)
{
	return dead && dead->gone && wr_dead_since(dead, pos) == WR_DEAD_GONE;
}
/* The earlier of two times, where 0 is none. */
static inline uint32_t wr_since_min(uint32_t a, uint32_t b)
{
	return a == 0 || (b && b < a) ? b : a;
}

struct wr_refsfile_pack {
	char name[46]; /* "pack-" and 40 hexadecimal digits */
	enum wr_role role;
	struct wr_dead *dead; /* NULL: none; of cruft only such as are gone */
	uint32_t since;	      /* of cruft: the earliest time of an object in it; else 0 */
};

struct wr_refsfile_contents {
	uint64_t seq; /* the last record that is in it */
	const struct wr_refsfile_pack *packs; /* base, tails, cruft, others */
	size_t pack_count;
	const struct wr_ref *refs; /* sorted by name */
	size_t ref_count;
	const struct wr_oids *shallow; /* NULL: none */
};

/* Writes and flushes <number>.refs in the folder (an open descriptor of "warren"); the folder is not flushed. */
WR_MUST_CHECK enum wr_code wr_refsfile_write(int dir, uint64_t number, const struct wr_refsfile_contents *contents,
					     struct wr_error *err);
/* The same without a flush, which is the caller's to do before anybody relies on it. */
WR_MUST_CHECK enum wr_code wr_refsfile_put(int dir, uint64_t number, const struct wr_refsfile_contents *contents,
					   struct wr_error *err);

struct wr_refsfile;
/* Maps it and verifies its checksum and structure. */
WR_MUST_CHECK enum wr_code wr_refsfile_open(struct wr_refsfile **out, int dir, uint64_t number, struct wr_error *err);
struct wr_refsfile *wr_refsfile_ref(struct wr_refsfile *f);
void wr_refsfile_unref(struct wr_refsfile *f);
WR_DEFINE_AUTO_AS(wr_refsfile, struct wr_refsfile, wr_refsfile_unref);

uint64_t wr_refsfile_seq(const struct wr_refsfile *f);
/*
 * Whether its checkpoint told what other refs reach from what none does. Those of version 1 did not: packs of role OTHER
 * may hold either, and dead entries have no time.
 */
bool wr_refsfile_sorted(const struct wr_refsfile *f);
/*
 * Whether looking at it waits for no disk just now, or did not within the last second: of what is in use, the system does not
 * take the memory so soon. A large one is not said to be, since that would take long to say.
 */
bool wr_refsfile_in_memory(struct wr_refsfile *f);
size_t wr_refsfile_count(const struct wr_refsfile *f);
void wr_refsfile_ref_at(struct wr_ref *out, const struct wr_refsfile *f, size_t i);
/* The index of the first ref whose name is not before this one; *exact: it is this one. */
size_t wr_refsfile_lower(const struct wr_refsfile *f, struct wr_str name, bool *exact);
size_t wr_refsfile_pack_count(const struct wr_refsfile *f);
/* dead is a reference of the caller's. WR_E_UNAVAILABLE without memory. */
WR_MUST_CHECK enum wr_code wr_refsfile_pack(struct wr_refsfile_pack *out, const struct wr_refsfile *f, size_t i,
					    struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_refsfile_shallow(struct wr_oids *out, const struct wr_refsfile *f, struct wr_error *err);

#endif
