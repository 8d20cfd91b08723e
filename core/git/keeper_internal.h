/*
 * core/git/keeper_internal.h: the keeper's state, for the files of it: keeper.c has what others call, keeper_thread.c what
 * the threads do, keeper_trouble.c what failed of late, keeper_run.c one checkpoint.
 * Threads:   everything here is under the mutex, which comes before the store's two.
 */
#ifndef WR_KEEPER_INTERNAL_H
#define WR_KEEPER_INTERNAL_H

#include "core/git/keeper.h"

#define WR_KEEP_PAGE 16
#define WR_KEEP_THREADS 16
#define WR_TROUBLES 128

/* Repositories whose care failed of late, also those that are not open. When there are too many, the oldest is forgotten. */
struct wr_trouble {
	char id[WR_UUID_LEN + 1];
	unsigned failures;
	int64_t tried_ms, until_ms; /* monotonic */
};
struct wr_troubles {
	struct wr_trouble v[WR_TROUBLES];
	size_t len;
};
/* NULL: it is in none. */
const struct wr_trouble *wr_trouble_find(const struct wr_troubles *t, const char *id);
/* It failed, once more perhaps. */
const struct wr_trouble *wr_trouble_add(struct wr_troubles *t, const char *id);
void wr_trouble_over(struct wr_troubles *t, const char *id);

struct wr_keep_list {
	struct wr_git_repo *first, *last; /* a reference each */
};

struct wr_keeper {
	struct wr_git *git;
	pthread_mutex_t mutex; /* guards what follows, and queued, cared_for, keep_* of each repository */
	pthread_cond_t cond;
	struct wr_keep_list now, later; /* later: by keep_at */
	struct wr_due_row page[WR_KEEP_PAGE]; /* of the list; those from page_at on are still to be done */
	size_t page_at, page_len;
	bool reading;	 /* one thread reads the next page */
	bool list_first; /* its turn */
	int64_t read_at; /* monotonic; INT64_MAX without a list */
	int64_t poll_ms;
	struct wr_troubles troubles;
	bool stop;
	pthread_t threads[WR_KEEP_THREADS]; /* of who begins and ends */
	unsigned thread_count;
};

/* From whichever list it is in; the reference is the caller's then. */
void wr_keeper_unqueue(struct wr_keeper *k, struct wr_git_repo *repo);
/* Where it is in none, or only waits for its quiet and is due at once now. */
void wr_keeper_enqueue(struct wr_keeper *k, struct wr_git_repo *repo, bool at_once);
void wr_keeper_push(struct wr_keep_list *list, struct wr_git_repo *repo);
struct wr_git_repo *wr_keeper_pop(struct wr_keep_list *list);

/* The threads' work; arg: the keeper. */
void wr_keeper_work(void *arg);

/* The base is as it was wanted: nobody looks for smaller deltas again before it is another one. */
void wr_keeper_packed_anew(struct wr_git_repo *repo);

#endif
