/*
 * core/git/current.h: warren/current, the text file that says which checkpoint is in force and where its journals begin.
 *
 *	warren-current 1
 *	checkpoint 7
 *	journal 12
 *	xxh3 <16 hex of all before this line>
 *
 * Checkpoint 0 is the empty one, which has no ref file.
 * Threads:   values, no state.
 * Blocks on: disk.
 * Errors:    WR_E_NOT_THERE when it is absent; WR_E_INTERNAL for damage.
 */
#ifndef WR_CURRENT_H
#define WR_CURRENT_H

#include "core/base/error.h"

struct wr_current {
	uint64_t checkpoint, journal;
};

/* warren: an open descriptor of that folder. */
WR_MUST_CHECK enum wr_code wr_current_read(struct wr_current *out, int warren, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_current_parse(struct wr_current *out, struct wr_str text, struct wr_error *err);
/* The first one, in a folder that nobody sees yet. Not flushed. */
WR_MUST_CHECK enum wr_code wr_current_put(int warren, const struct wr_current *current, struct wr_error *err);
/* By a durable rename. After an error the old or the new one is in place. */
WR_MUST_CHECK enum wr_code wr_current_write(int warren, const struct wr_current *current, struct wr_error *err);

#endif
