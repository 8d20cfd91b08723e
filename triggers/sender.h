/*
 * triggers/sender.h: sends what the queue has, and looks at what has to be looked at before.
 *
 * A delivery is a signed POST (signing.h, core/net/post.h); any 2xx is success. All else is tried again after about 1, 2, 5,
 * 15 and 60 s, 5 and 30 min, then each hour, later where Retry-After asks for it (an hour at most), until give_up_ms after
 * the event; then it is given up.
 * Ownership: wr_sender_start() gives *out for wr_sender_stop(); cfg is copied, what it points to outlives the sender.
 * Threads:   two of its own: "wr-webhooks" sends, "wr-judge" (niced) looks at trees. The functions: any thread.
 * Blocks on: wr_sender_stop() until what is under way has ended, for as long as it is told.
 * Errors:    WR_E_UNAVAILABLE (threads).
 */
#ifndef WR_SENDER_H
#define WR_SENDER_H

#include "core/net/post.h"
#include "triggers/judge.h"
#include "triggers/signing.h"

struct wr_sender_config {
	struct wr_db *db;
	struct wr_git *git;
	struct wr_signing *signing;
	const char *issuer;	  /* the server's public URL */
	const char *run, *lease;  /* the folder run/, and this process's file in it */
	struct wr_post_rules rules;
	struct wr_judge_bounds bounds;
	size_t parallel, parallel_account, parallel_host; /* deliveries under way: of all, one account, one host of one account */
	int64_t retry_ms;   /* the first pause; the others in proportion to it */
	int64_t give_up_ms;
	int64_t keep_ms;
	unsigned keep_max;
	int64_t waiting_account; /* most deliveries of one account that have not ended */
};

struct wr_sender;
WR_MUST_CHECK enum wr_code wr_sender_start(struct wr_sender **out, const struct wr_sender_config *cfg,
					   struct wr_error *err);
/* There is something new. NULL-safe; does not block. */
void wr_sender_poke(struct wr_sender *sender);
/* Takes nothing new any more, for another process: what is under way ends. Returns at once. NULL-safe. */
void wr_sender_retire(struct wr_sender *sender);
/* The same, and waits: what is under way after wait_ms is cut off, and ready for whoever comes next. NULL-safe. */
void wr_sender_stop(struct wr_sender *sender, int64_t wait_ms);

#endif
