/*
 * core/auth/lately.h: what this thread last found out about callers and repositories, good for as long as nothing was
 * written to the database since (wr_db_stamp()): the very next request after a revocation asks again.
 * Ownership: what is given is borrowed until the thread's next call of this module. Kept things are copied.
 * Threads:   each has its own, released at its end.
 * Blocks on: nothing.
 * Only what was found is kept, never that something is absent.
 */
#ifndef WR_LATELY_H
#define WR_LATELY_H

#include "core/auth/access.h"

struct wr_lately_caller {
	struct wr_caller caller;
	/* Of a token: its id, when it ends (0: never), and its use that the database knows of. */
	char token_id[WR_UUID_LEN + 1];
	int64_t expires_ms, last_used_ms;
};

struct wr_lately_repo {
	struct wr_repo repo;
	enum wr_level level;
};

/* NULL: not kept, or something was written since. */
const struct wr_lately_caller *wr_lately_caller(const struct wr_db_stamp *now, const unsigned char hash[WR_SECRET_HASH]);
const struct wr_lately_repo *wr_lately_repo(const struct wr_db_stamp *now, const struct wr_caller *caller, const char *id,
					    bool for_git);

/* before, after: the stamps around the reading; nothing is kept where they are not the same. */
void wr_lately_keep_caller(const struct wr_db_stamp *before, const struct wr_db_stamp *after,
			   const struct wr_lately_caller *found);
void wr_lately_keep_repo(const struct wr_db_stamp *before, const struct wr_db_stamp *after, const struct wr_caller *caller,
			 bool for_git, const struct wr_lately_repo *found);

#endif
