/*
 * core/git/state.h: the text file that says what a repository is: its packs and refs.
 *
 *	warren-state 1
 *	packs 1
 *	pack-<40 characters>
 *	refs 2
 *	<40 hex> - refs/heads/main
 *	<40 hex> <40 hex, the peeled id> refs/tags/v1
 *	sha256 <64 hex of all before this line>
 *
 * Ownership: wr_state_parse() takes its text over; wr_state_fini() releases what it gave.
 * Threads:   values, no state.
 * Errors:    WR_E_INTERNAL for damage.
 */
#ifndef WR_STATE_H
#define WR_STATE_H

#include "core/base/buf.h"
#include "core/git/snapshot.h"

#define WR_STATE_MAX ((size_t)1 << 30)

struct wr_state {
	char *text;
	struct wr_str *packs; /* names, in text */
	size_t pack_count;
	struct wr_ref *refs; /* sorted; names in text */
	size_t ref_count;
};
void wr_state_fini(struct wr_state *state);
WR_DEFINE_AUTO_S(wr_state);

WR_MUST_CHECK enum wr_code wr_state_parse(struct wr_state *out, char *text, size_t len, struct wr_error *err);

/* The text of a snapshot's refs and packs. */
WR_MUST_CHECK enum wr_code wr_state_write(struct wr_buf *out, const struct wr_snapshot *snap, struct wr_error *err);

#endif
