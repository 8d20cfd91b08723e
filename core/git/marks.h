/*
 * core/git/marks.h: one bit for each stored entry of a snapshot.
 * Ownership: wr_marks_init() fills the caller's struct, wr_marks_fini() releases it (also after an error of init).
 * Threads:   one writer, or many readers.
 * Errors:    WR_E_UNAVAILABLE (memory).
 * An object that is stored more than once has the place that wr_snapshot_find() says; who sets and asks bits by that
 * place only, has one bit for each object, where a set of ids would need some hundred times as much memory.
 */
#ifndef WR_MARKS_H
#define WR_MARKS_H

#include "core/git/snapshot_internal.h"

struct wr_marks {
	uint64_t **v; /* of each source */
	size_t sources;
};
WR_MUST_CHECK enum wr_code wr_marks_init(struct wr_marks *m, const struct wr_snapshot *snap, struct wr_error *err);
void wr_marks_fini(struct wr_marks *m);
WR_DEFINE_AUTO_S(wr_marks);

static inline bool wr_marks_has(const struct wr_marks *m, struct wr_place place)
{
	return m->v[place.src][place.pos / 64] >> (place.pos % 64) & 1;
}
/* Sets it; false: it was set. */
static inline bool wr_marks_add(struct wr_marks *m, struct wr_place place)
{
	uint64_t *word = &m->v[place.src][place.pos / 64], bit = UINT64_C(1) << (place.pos % 64);
	bool added = !(*word & bit);

	*word |= bit;
	return added;
}
/* Clears in m whatever is set in gone; both are of one snapshot. */
void wr_marks_clear(struct wr_marks *m, const struct wr_marks *gone, const struct wr_snapshot *snap);
/* Both get the same bits. */
void wr_marks_copy(struct wr_marks *to, const struct wr_marks *from, const struct wr_snapshot *snap);

#endif
