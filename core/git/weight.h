/*
 * core/git/weight.h: what a repository costs while it is kept open without a user, and how much of that there may be.
 * Ownership: values.
 * Threads:   any; wr_repo_weigh() takes the repository's mutex for a moment.
 * Blocks on: nothing; wr_git_room() reads a file of the kernel's.
 */
#ifndef WR_WEIGHT_H
#define WR_WEIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wr_git_config;
struct wr_git_repo;

struct wr_weight {
	uint64_t fds;
	uint64_t maps;
	uint64_t bytes; /* of memory of its own, about: mapped files are the page cache's */
};

/* 0 where nothing is open. */
void wr_repo_weigh(struct wr_weight *out, struct wr_git_repo *repo);

/*
 * At most a quarter of the descriptors and of the maps that the process may have, so that there are some for those in use
 * and for connections.
 */
void wr_git_room(struct wr_weight *out, const struct wr_git_config *cfg);

/* How many small repositories that is, idle_repos at most. */
size_t wr_weight_repos(const struct wr_weight *room, unsigned idle_repos);

static inline void wr_weight_add(struct wr_weight *sum, const struct wr_weight *w)
{
	sum->fds += w->fds;
	sum->maps += w->maps;
	sum->bytes += w->bytes;
}

static inline void wr_weight_sub(struct wr_weight *sum, const struct wr_weight *w)
{
	sum->fds -= w->fds;
	sum->maps -= w->maps;
	sum->bytes -= w->bytes;
}

static inline bool wr_weight_within(const struct wr_weight *sum, const struct wr_weight *room)
{
	return sum->fds <= room->fds && sum->maps <= room->maps && sum->bytes <= room->bytes;
}

#endif
