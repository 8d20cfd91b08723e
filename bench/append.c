/*
 * bench/append.c: commits as an API makes them (one file of a tree of 10,000 changed), appended durably.
 *
 *	append compare [SECONDS]          in a new store: alone, 16 writers on 16 repositories, 16 on one; and the disk's own
 *	                                  pace: a bare loop of write and fdatasync
 *	append alone FOLDER COMMITS       in a new store in this folder: so many by one writer, one after the other
 *	append rate DATA ID RATE SECONDS  that many commits a second onto refs/heads/warren-bench of an existing repository (no
 *	                                  server may be running), while one thread plans and writes full clones, one after the
 *	                                  other; bytes written against bytes appended
 *
 * Prints one JSON object a line.
 */
#include <limits.h>
#include <pthread.h>
#include <stdio.h>

#include "bench/commits.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/git/plan.h"

#define BRANCH "refs/heads/warren-bench"

static uint64_t bytes_written(void)
{
	char line[128];
	unsigned long long n = 0;
	FILE *io = fopen("/proc/self/io", "r");

	while (io && fgets(line, sizeof line, io))
		if (strncmp(line, "wchar: ", 7) == 0)
			n = strtoull(line + 7, NULL, 10);
	if (io)
		fclose(io);
	return n;
}

/* ---- compare ---- */

static void *write_until(void *arg)
{
	struct bench_writer *w = arg;

	while (bench_seconds(CLOCK_MONOTONIC) < w->end)
		bench_commit(w);
	return NULL;
}

static double run(const char *name, struct wr_git *git, unsigned writers, bool one_repo, double secs)
{
	struct bench_writer w[16] = {{.number = 0}};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	double cpu, began, longest = 0;
	pthread_t threads[16];
	uint64_t made = 0;

	for (unsigned i = 0; i < writers; i++) {
		char id[WR_UUID_LEN + 1];

		wr_uuid_new(id);
		w[i].number = i;
		snprintf(w[i].ref, sizeof w[i].ref, "refs/heads/w%u", i);
		if (one_repo && i)
			w[i].repo = w[0].repo;
		else if (wr_git_repo_open(&w[i].repo, git, id, &err) != WR_OK)
			bench_die("open", &err);
		bench_first(w[i].repo, w[i].ref);
		bench_commit(&w[i]);
		w[i].made = 0;
		w[i].wait = 0;
	}
	cpu = bench_seconds(CLOCK_PROCESS_CPUTIME_ID);
	began = bench_seconds(CLOCK_MONOTONIC);
	for (unsigned i = 0; i < writers; i++) {
		w[i].end = began + secs;
		if (pthread_create(&threads[i], NULL, write_until, &w[i]) != 0)
			bench_die("thread", NULL);
	}
	for (unsigned i = 0; i < writers; i++) {
		pthread_join(threads[i], NULL);
		made += w[i].made;
		longest = w[i].wait > longest ? w[i].wait : longest;
	}
	cpu = bench_seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	began = bench_seconds(CLOCK_MONOTONIC) - began;
	printf("{\"work\":\"%s\",\"commits_per_s\":%.0f,\"cpu_us\":%.0f,\"mean_ms\":%.2f,\"longest_ms\":%.1f}\n", name,
	       (double)made / began, cpu / (double)made * 1e6, began * writers / (double)made * 1e3, longest * 1e3);
	fflush(stdout);
	for (unsigned i = 0; i < writers; i++)
		if (i == 0 || !one_repo)
			wr_git_repo_unref(w[i].repo);
	return (double)made / began;
}

/* What the disk gives: records of the size that a commit has, one after the other, each flushed. */
static double bare(const char *folder, double secs)
{
	char path[4200], record[700];
	uint64_t n = 0;
	double began;
	int fd;

	snprintf(path, sizeof path, "%s/bare", folder);
	memset(record, 'x', sizeof record);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		bench_die("open", NULL);
	began = bench_seconds(CLOCK_MONOTONIC);
	while (bench_seconds(CLOCK_MONOTONIC) - began < secs) {
		if (write(fd, record, sizeof record) != sizeof record || fdatasync(fd) != 0)
			bench_die("write", NULL);
		n++;
	}
	close(fd);
	unlink(path);
	printf("{\"work\":\"a bare loop of write and fdatasync\",\"commits_per_s\":%.0f}\n", (double)n / secs);
	fflush(stdout);
	return (double)n / secs;
}

static int compare(double secs)
{
	char dir[] = "/tmp/warren-bench-XXXXXX";
	struct wr_git_config cfg = {.max_pack_bytes = 1u << 30, .max_pack_objects = 1000000,
				    .max_unpacked_bytes = UINT64_C(1) << 41, .max_object_bytes = 64u << 20,
				    .idle_repos = 64};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	double own = 0, disk = 0, rate;
	struct wr_git *git;

	if (!mkdtemp(dir))
		bench_die("mkdtemp", NULL);
	cfg.data = dir;
	if (wr_git_open(&git, &cfg, &err) != WR_OK)
		bench_die("open", &err);
	/* In turns, because the disk's own pace changes from one minute to the next. */
	for (int i = 0; i < 3; i++) {
		rate = bare(dir, secs / 3);
		disk += rate;
		own += run("one writer", git, 1, false, secs / 3);
	}
	printf("{\"work\":\"one writer against the bare loop\",\"ratio\":%.2f}\n", own / disk);
	run("16 writers on 16 repositories", git, 16, false, secs);
	run("16 writers on one repository", git, 16, true, secs);
	wr_git_close(git);
	return wr_file_remove(AT_FDCWD, dir, NULL) == WR_OK ? 0 : 1;
}

/* ---- alone ---- */

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static int alone(const char *folder, size_t commits)
{
	char dir[PATH_MAX], id[WR_UUID_LEN + 1];
	struct wr_git_config cfg = {.data = dir, .max_pack_bytes = 1u << 30, .max_pack_objects = 1000000,
				    .max_unpacked_bytes = UINT64_C(1) << 41, .max_object_bytes = 64u << 20};
	struct bench_writer w = {.ref = BRANCH};
	double *took = calloc(commits + 1, sizeof *took), cpu;
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_git *git;

	if (!took || commits == 0 || snprintf(dir, sizeof dir, "%s/append-XXXXXX", folder) >= (int)sizeof dir || !mkdtemp(dir))
		bench_die("mkdtemp", NULL);
	wr_uuid_new(id);
	if (wr_git_open(&git, &cfg, &err) != WR_OK || wr_git_repo_open(&w.repo, git, id, &err) != WR_OK)
		bench_die("open", &err);
	bench_first(w.repo, BRANCH);
	bench_commit(&w);
	cpu = bench_seconds(CLOCK_PROCESS_CPUTIME_ID);
	for (size_t i = 0; i < commits; i++) {
		double began = bench_seconds(CLOCK_MONOTONIC);

		bench_commit(&w);
		took[i] = (bench_seconds(CLOCK_MONOTONIC) - began) * 1e3;
	}
	cpu = bench_seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	qsort(took, commits, sizeof *took, by_value);
	printf("{\"median_ms\":%.3f,\"p99_ms\":%.3f,\"cpu_ms\":%.4f}\n", took[commits / 2], took[commits * 99 / 100],
	       cpu * 1e3 / (double)commits);
	free(took);
	wr_git_repo_unref(w.repo);
	wr_git_close(git);
	return wr_file_remove(AT_FDCWD, dir, NULL) == WR_OK ? 0 : 1;
}

/* ---- rate ---- */

struct nothing {
	struct wr_sink base;
	uint64_t bytes;
};

static enum wr_code swallow(struct wr_sink *base, const void *data, size_t len, struct wr_error *err)
{
	(void)data;
	(void)err;
	((struct nothing *)base)->bytes += len;
	return WR_OK;
}

struct cloner {
	struct wr_git_repo *repo;
	double end, cpu;
	unsigned clones;
	uint64_t bytes;
};

static void *clone_until(void *arg)
{
	struct cloner *c = arg;
	double began = bench_seconds(CLOCK_THREAD_CPUTIME_ID);

	while (bench_seconds(CLOCK_MONOTONIC) < c->end) {
		WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
		WR_AUTO_S(wr_oids) wants = {0}, none = {0};
		WR_AUTO(wr_snapshot) *snap = NULL;
		WR_AUTO(wr_plan) *plan = NULL;
		struct wr_plan_request req = {
			.wants = &wants, .haves = &none, .client_shallow = &none, .ofs_delta = true};
		struct nothing sink = {.base = {swallow}};
		const struct wr_ref *refs;
		size_t n;

		if (wr_snapshot_take(&snap, c->repo, &err) != WR_OK)
			bench_die("snapshot", &err);
		refs = wr_snapshot_refs(snap, &n);
		for (size_t i = 0; i < n; i++)
			if (wr_oids_add(&wants, &refs[i].oid, &err) != WR_OK)
				bench_die("wants", &err);
		if (wr_plan_new(&plan, snap, &req, NULL, NULL, &err) != WR_OK ||
		    wr_plan_write(plan, &sink.base, NULL, NULL, &err) != WR_OK)
			bench_die("clone", &err);
		c->clones++;
		c->bytes += sink.bytes;
	}
	c->cpu = bench_seconds(CLOCK_THREAD_CPUTIME_ID) - began;
	return NULL;
}

static void clones(struct wr_git_repo *repo, const char *name, double secs, double per_second)
{
	struct cloner c = {.repo = repo, .end = bench_seconds(CLOCK_MONOTONIC) + secs};
	struct bench_writer w = {.repo = repo, .ref = BRANCH};
	uint64_t written = bytes_written();
	double began = bench_seconds(CLOCK_MONOTONIC);
	pthread_t thread;

	if (pthread_create(&thread, NULL, clone_until, &c) != 0)
		bench_die("thread", NULL);
	while (per_second > 0 && bench_seconds(CLOCK_MONOTONIC) < c.end) {
		double ahead = (double)w.made / per_second - (bench_seconds(CLOCK_MONOTONIC) - began);

		if (ahead > 0)
			nanosleep(&(struct timespec){.tv_nsec = (long)(ahead < 0.5 ? ahead * 1e9 : 5e8)}, NULL);
		bench_commit(&w);
	}
	pthread_join(thread, NULL);
	began = bench_seconds(CLOCK_MONOTONIC) - began;
	printf("{\"work\":\"%s\",\"commits\":%llu,\"commits_per_s\":%.0f,\"longest_append_ms\":%.1f,\"clones\":%u,"
	       "\"clone_cpu_s\":%.3f,\"clone_mb\":%.1f,\"written_mb\":%.1f}\n",
	       name, (unsigned long long)w.made, (double)w.made / began, w.wait * 1e3, c.clones,
	       c.cpu / (c.clones ? c.clones : 1), (double)c.bytes / 1e6 / (c.clones ? c.clones : 1),
	       (double)(bytes_written() - written) / 1e6);
	fflush(stdout);
}

static int rate(const char *data, const char *id, double per_second, double secs)
{
	struct wr_git_config cfg = {.data = data, .max_pack_bytes = UINT64_C(1) << 40, .max_pack_objects = 10000000,
				    .max_unpacked_bytes = UINT64_C(1) << 41, .max_object_bytes = 1u << 30,
				    .idle_repos = 4};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	WR_AUTO_S(wr_git_info) before = {.exists = false}, after = {.exists = false};
	struct wr_git_repo *repo;
	struct wr_git *git;
	bool did;

	if (wr_git_open(&git, &cfg, &err) != WR_OK || wr_git_repo_open(&repo, git, id, &err) != WR_OK)
		bench_die("open", &err);
	bench_first(repo, BRANCH);
	if (wr_git_repo_checkpoint(&did, repo, &err) != WR_OK || wr_git_repo_info(&before, repo, &err) != WR_OK)
		bench_die("checkpoint", &err);
	clones(repo, "clones alone", secs / 4, 0);
	clones(repo, "clones beside commits", secs, per_second);
	if (wr_git_repo_info(&after, repo, &err) != WR_OK)
		bench_die("info", &err);
	if (after.journal_records)
		printf("{\"work\":\"a record\",\"bytes\":%.0f}\n",
		       (double)after.journal_bytes / (double)after.journal_records);
	for (size_t i = 0; i < after.pack_count; i++)
		printf("{\"pack\":\"%s\",\"role\":\"%s\",\"objects\":%llu,\"mb\":%.1f}\n", after.packs[i].name,
		       after.packs[i].role, (unsigned long long)after.packs[i].objects,
		       (double)after.packs[i].bytes / 1e6);
	wr_git_repo_unref(repo);
	wr_git_close(git);
	return 0;
}

int main(int argc, char **argv)
{
	wr_log_set_threshold(WR_WARN);
	if (argc >= 2 && strcmp(argv[1], "compare") == 0)
		return compare(argc > 2 ? strtod(argv[2], NULL) : 15);
	if (argc == 4 && strcmp(argv[1], "alone") == 0)
		return alone(argv[2], strtoul(argv[3], NULL, 10));
	if (argc == 6 && strcmp(argv[1], "rate") == 0)
		return rate(argv[2], argv[3], strtod(argv[4], NULL), strtod(argv[5], NULL));
	fprintf(stderr, "append compare [SECONDS] | append alone FOLDER COMMITS | append rate DATA ID RATE SECONDS\n");
	return 2;
}
