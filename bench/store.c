/*
 * bench/store.c: single works of the store on one repository of a data folder that no server uses.
 *
 *	store fork DATA ID COUNT          COUNT forks with all its branches and tags, one after the other
 *	store checkpoint DATA ID COMMITS  that many commits, the checkpoint after them, and the base written anew
 *
 * Prints one JSON object: milliseconds, of which wall_ms and cpu_ms are medians of COUNT. The CPU is the whole process's,
 * what its threads and the kernel do for it included.
 */
#include <stdio.h>

#include "bench/commits.h"
#include "core/base/log.h"
#include "core/git/fork.h"

#define BRANCH "refs/heads/warren-bench"
#define FORKS_MAX 1000

struct span {
	double wall, cpu;
};

static struct span span_begin(void)
{
	return (struct span){bench_seconds(CLOCK_MONOTONIC), bench_seconds(CLOCK_PROCESS_CPUTIME_ID)};
}

static struct span span_end(struct span s)
{
	return (struct span){(bench_seconds(CLOCK_MONOTONIC) - s.wall) * 1e3,
			     (bench_seconds(CLOCK_PROCESS_CPUTIME_ID) - s.cpu) * 1e3};
}

static struct wr_git_repo *open_one(struct wr_git **git, const char *data, const char *id)
{
	struct wr_git_config cfg = {.data = data, .max_pack_bytes = UINT64_C(1) << 40, .max_pack_objects = 10000000,
				    .max_unpacked_bytes = UINT64_C(1) << 41, .max_object_bytes = 1u << 30,
				    .idle_repos = 4, .no_keeper = true};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_git_repo *repo;

	if (wr_git_open(git, &cfg, &err) != WR_OK || wr_git_repo_open(&repo, *git, id, &err) != WR_OK)
		bench_die("open", &err);
	return repo;
}

static int cmp(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static struct wr_fork fork_once(struct wr_git *git, struct wr_git_repo *source, char id[WR_UUID_LEN + 1])
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_fork fork = {.default_branch = WR_S("main")};

	wr_uuid_new(id);
	if (wr_snapshot_take(&snap, source, &err) != WR_OK)
		bench_die("snapshot", &err);
	fork.refs = wr_snapshot_refs(snap, &fork.ref_count);
	if (wr_git_fork(&fork, git, id, source, snap, NULL, &err) != WR_OK)
		bench_die("fork", &err);
	return fork;
}

static int forks(const char *data, const char *source, size_t n)
{
	double wall[FORKS_MAX], cpu[FORKS_MAX];
	struct wr_fork fork = {.linked = 0};
	struct wr_git *git;
	struct wr_git_repo *repo = open_one(&git, data, source);

	n = n < 1 ? 1 : n > FORKS_MAX ? FORKS_MAX : n;
	for (size_t i = 0; i < n; i++) {
		WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
		char id[WR_UUID_LEN + 1];
		struct span s = span_begin();

		fork = fork_once(git, repo, id);
		s = span_end(s);
		wall[i] = s.wall;
		cpu[i] = s.cpu;
		if (wr_git_remove(git, id, &err) != WR_OK)
			bench_die("remove", &err);
	}
	qsort(wall, n, sizeof *wall, cmp);
	qsort(cpu, n, sizeof *cpu, cmp);
	printf("{\"wall_ms\":%.3f,\"cpu_ms\":%.3f,\"linked\":%u,\"copied\":%u,\"written\":%llu}\n", wall[n / 2], cpu[n / 2],
	       fork.linked, fork.copied, (unsigned long long)fork.written);
	wr_git_repo_unref(repo);
	wr_git_close(git);
	return 0;
}

static int checkpoint(const char *data, const char *id, unsigned long commits)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_maintained done;
	struct wr_git *git;
	struct wr_git_repo *repo = open_one(&git, data, id);
	struct bench_writer w = {.repo = repo, .ref = BRANCH};
	struct span point, base;
	bool did;

	/* What is measured is the thousand commits, not the tree that they are made on. */
	bench_first(repo, BRANCH);
	if (wr_git_repo_checkpoint(&did, repo, &err) != WR_OK)
		bench_die("checkpoint", &err);
	for (unsigned long i = 0; i < commits; i++)
		bench_commit(&w);
	point = span_begin();
	if (wr_git_repo_checkpoint(&did, repo, &err) != WR_OK || !did)
		bench_die("checkpoint", &err);
	point = span_end(point);
	base = span_begin();
	if (wr_git_repo_maintain(&done, repo, false, NULL, NULL, &err) != WR_OK)
		bench_die("maintain", &err);
	base = span_end(base);
	printf("{\"checkpoint_ms\":%.1f,\"checkpoint_cpu_ms\":%.1f,\"rebase_ms\":%.1f,\"rebase_cpu_ms\":%.1f,"
	       "\"rebased\":%s,\"bytes\":%llu}\n",
	       point.wall, point.cpu, base.wall, base.cpu, done.rebased ? "true" : "false",
	       (unsigned long long)done.bytes_after);
	wr_git_repo_unref(repo);
	wr_git_close(git);
	return 0;
}

int main(int argc, char **argv)
{
	wr_log_set_threshold(WR_WARN);
	if (argc == 5 && strcmp(argv[1], "fork") == 0)
		return forks(argv[2], argv[3], strtoul(argv[4], NULL, 10));
	if (argc == 5 && strcmp(argv[1], "checkpoint") == 0)
		return checkpoint(argv[2], argv[3], strtoul(argv[4], NULL, 10));
	fprintf(stderr, "store fork DATA ID COUNT | store checkpoint DATA ID COMMITS\n");
	return 2;
}
