/*
 * bench/append.c: commits as an API makes them (one file of a tree of 10,000 changed), appended durably.
 *
 *	append compare [SECONDS]          in a new store: alone, 16 writers on 16 repositories, 16 on one; and the disk's own
 *	                                  pace: a bare loop of write and fdatasync
 *	append rate DATA ID RATE SECONDS  that many commits a second onto refs/heads/warren-bench of an existing repository (no
 *	                                  server may be running), while one thread plans and writes full clones, one after the
 *	                                  other; bytes written against bytes appended
 *
 * Prints one JSON object a line.
 */
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/git/append.h"
#include "core/git/parse.h"
#include "core/git/snapshot_internal.h"

#define DIRS 100
#define FILES 100
#define BRANCH "refs/heads/warren-bench"

static void die(const char *what, const struct wr_error *err)
{
	fprintf(stderr, "%s: %s %s\n", what, err ? err->text : "", err ? err->detail : "");
	exit(1);
}

static double seconds(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

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

/* ---- one commit ---- */

struct writer {
	struct wr_git_repo *repo;
	char ref[64];
	unsigned number;
	uint64_t made;
	double end;
	double wait; /* longest time from call to return */
	/* of the change under way */
	struct wr_quarantine *q;
	struct wr_ref_update update;
};

static enum wr_code add(struct wr_oid *out, struct wr_quarantine *q, enum wr_type type, struct wr_str bytes,
			const struct wr_like *like, struct wr_error *err)
{
	return wr_quarantine_add(out, q, type, bytes, like, err);
}

/* bytes of a tree with the id of one entry replaced; *was: its id before. */
static enum wr_code replaced(struct wr_buf *out, struct wr_oid *was, struct wr_str tree, struct wr_str name,
			     const struct wr_oid *new)
{
	struct wr_str rest = tree;
	struct wr_tree_entry e;

	while (wr_tree_next(&e, &rest, NULL) == WR_OK) {
		if (!wr_str_eq(e.name, name))
			continue;
		*was = e.oid;
		if (new) {
			size_t at = tree.len - rest.len - WR_OID_RAW;

			wr_buf_add(out, tree.ptr, tree.len);
			memcpy(out->ptr + at, new->id, WR_OID_RAW);
		}
		return !out || wr_buf_ok(out) ? WR_OK : WR_E_UNAVAILABLE;
	}
	return WR_E_NOT_THERE;
}

static enum wr_code commit_text(struct wr_buf *out, const struct wr_oid *tree, const struct wr_oid *parent, uint64_t n)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, tree);
	wr_buf_printf(out, "tree %s\n", hex);
	if (parent) {
		wr_oid_hex(hex, parent);
		wr_buf_printf(out, "parent %s\n", hex);
	}
	wr_buf_printf(out, "author A <a@example.org> %llu +0000\ncommitter A <a@example.org> %llu +0000\n\nchange %llu\n",
		      1700000000ull + (unsigned long long)n, 1700000000ull + (unsigned long long)n, (unsigned long long)n);
	return wr_buf_ok(out) ? WR_OK : WR_E_UNAVAILABLE;
}

static enum wr_code change(void *arg, struct wr_snapshot *tips, struct wr_change *c, struct wr_error *err)
{
	struct writer *w = arg;
	WR_AUTO_S(wr_buf) dir_text = WR_BUF_INIT(1 << 20), root_text = WR_BUF_INIT(1 << 20), text = WR_BUF_INIT(4096);
	WR_AUTO_S(wr_object) commit = {.data = NULL}, root = {.data = NULL}, dir = {.data = NULL};
	WR_AUTO_S(wr_commit) parsed = {.parents = NULL};
	struct wr_oid blob, new_dir, new_root, dir_oid, file_oid;
	char dir_name[16], file_name[16], content[64];
	struct wr_ref ref;
	enum wr_code code;

	snprintf(dir_name, sizeof dir_name, "d%03llu", (unsigned long long)(w->made * 7 + w->number) % DIRS);
	snprintf(file_name, sizeof file_name, "f%03llu", (unsigned long long)(w->made * 13) % FILES);
	snprintf(content, sizeof content, "writer %u, version %llu\n", w->number, (unsigned long long)w->made);
	if (!wr_snapshot_find_ref(&ref, tips, wr_str(w->ref)))
		return wr_fail(err, WR_E_INTERNAL, "no branch");
	if ((code = wr_snapshot_read(&commit, tips, &ref.oid, err)) != WR_OK ||
	    (code = wr_commit_parse(&parsed, wr_str_n(commit.data, commit.size), err)) != WR_OK ||
	    (code = wr_snapshot_read(&root, tips, &parsed.tree, err)) != WR_OK ||
	    (code = wr_quarantine_on(&w->q, w->repo, tips, err)) != WR_OK ||
	    (code = add(&blob, w->q, WR_BLOB, wr_str(content), NULL, err)) != WR_OK ||
	    (code = replaced(NULL, &dir_oid, wr_str_n(root.data, root.size), wr_str(dir_name), NULL)) != WR_OK ||
	    (code = wr_snapshot_read(&dir, tips, &dir_oid, err)) != WR_OK ||
	    (code = replaced(&dir_text, &file_oid, wr_str_n(dir.data, dir.size), wr_str(file_name), &blob)) != WR_OK ||
	    (code = add(&new_dir, w->q, WR_TREE, wr_buf_str(&dir_text),
			&(struct wr_like){dir_oid, wr_str_n(dir.data, dir.size)}, err)) != WR_OK ||
	    (code = replaced(&root_text, &dir_oid, wr_str_n(root.data, root.size), wr_str(dir_name), &new_dir)) != WR_OK ||
	    (code = add(&new_root, w->q, WR_TREE, wr_buf_str(&root_text),
			&(struct wr_like){parsed.tree, wr_str_n(root.data, root.size)}, err)) != WR_OK ||
	    (code = commit_text(&text, &new_root, &ref.oid, w->made)) != WR_OK ||
	    (code = add(&w->update.new, w->q, WR_COMMIT, wr_buf_str(&text), NULL, err)) != WR_OK)
		return code;
	w->update.name = wr_str(w->ref);
	w->update.old = ref.oid;
	c->updates = &w->update;
	c->count = 1;
	c->objects = w->q;
	return WR_OK;
}

static void one(struct writer *w)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_change c = {.fn = change, .arg = w, .author = WR_S("bench")};
	double began = seconds(CLOCK_MONOTONIC), took;

	if (wr_git_append(w->repo, &c, &err) != WR_OK || w->update.result != WR_OK)
		die("append", &err);
	wr_quarantine_free(w->q);
	w->q = NULL;
	w->made++;
	took = seconds(CLOCK_MONOTONIC) - began;
	w->wait = took > w->wait ? took : w->wait;
}

/* The first commit: 10,000 files, or on top of what a branch has. */
static void first(struct wr_git_repo *repo, const char *branch)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	WR_AUTO_S(wr_buf) root = WR_BUF_INIT(1 << 20), text = WR_BUF_INIT(4096);
	WR_AUTO(wr_quarantine) *q = NULL;
	struct wr_ref_update u = {.name = wr_str(branch), .any_old = true};
	struct wr_change c = {.updates = &u, .count = 1};
	struct wr_oid oid;
	char part[64];

	if (wr_quarantine_new(&q, repo, &err) != WR_OK)
		die("quarantine", &err);
	for (int d = 0; d < DIRS; d++) {
		WR_AUTO_S(wr_buf) dir = WR_BUF_INIT(1 << 20);

		for (int f = 0; f < FILES; f++) {
			snprintf(part, sizeof part, "file %d of folder %d\n", f, d);
			if (add(&oid, q, WR_BLOB, wr_str(part), NULL, &err) != WR_OK)
				die("add", &err);
			wr_buf_printf(&dir, "100644 f%03d", f);
			wr_buf_add(&dir, "", 1);
			wr_buf_add(&dir, oid.id, sizeof oid.id);
		}
		if (add(&oid, q, WR_TREE, wr_buf_str(&dir), NULL, &err) != WR_OK)
			die("add", &err);
		wr_buf_printf(&root, "40000 d%03d", d);
		wr_buf_add(&root, "", 1);
		wr_buf_add(&root, oid.id, sizeof oid.id);
	}
	if (add(&oid, q, WR_TREE, wr_buf_str(&root), NULL, &err) != WR_OK || commit_text(&text, &oid, NULL, 0) != WR_OK ||
	    add(&u.new, q, WR_COMMIT, wr_buf_str(&text), NULL, &err) != WR_OK)
		die("add", &err);
	c.objects = q;
	if (wr_git_append(repo, &c, &err) != WR_OK || u.result != WR_OK)
		die("first append", &err);
}

/* ---- compare ---- */

static void *write_until(void *arg)
{
	struct writer *w = arg;

	while (seconds(CLOCK_MONOTONIC) < w->end)
		one(w);
	return NULL;
}

static double run(const char *name, struct wr_git *git, unsigned writers, bool one_repo, double secs)
{
	struct writer w[16] = {{.number = 0}};
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
			die("open", &err);
		first(w[i].repo, w[i].ref);
		one(&w[i]);
		w[i].made = 0;
		w[i].wait = 0;
	}
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
	began = seconds(CLOCK_MONOTONIC);
	for (unsigned i = 0; i < writers; i++) {
		w[i].end = began + secs;
		if (pthread_create(&threads[i], NULL, write_until, &w[i]) != 0)
			die("thread", NULL);
	}
	for (unsigned i = 0; i < writers; i++) {
		pthread_join(threads[i], NULL);
		made += w[i].made;
		longest = w[i].wait > longest ? w[i].wait : longest;
	}
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	began = seconds(CLOCK_MONOTONIC) - began;
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
		die("open", NULL);
	began = seconds(CLOCK_MONOTONIC);
	while (seconds(CLOCK_MONOTONIC) - began < secs) {
		if (write(fd, record, sizeof record) != sizeof record || fdatasync(fd) != 0)
			die("write", NULL);
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
		die("mkdtemp", NULL);
	cfg.data = dir;
	if (wr_git_open(&git, &cfg, &err) != WR_OK)
		die("open", &err);
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
	double began = seconds(CLOCK_THREAD_CPUTIME_ID);

	while (seconds(CLOCK_MONOTONIC) < c->end) {
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
			die("snapshot", &err);
		refs = wr_snapshot_refs(snap, &n);
		for (size_t i = 0; i < n; i++)
			if (wr_oids_add(&wants, &refs[i].oid, &err) != WR_OK)
				die("wants", &err);
		if (wr_plan_new(&plan, snap, &req, NULL, NULL, &err) != WR_OK ||
		    wr_plan_write(plan, &sink.base, NULL, NULL, &err) != WR_OK)
			die("clone", &err);
		c->clones++;
		c->bytes += sink.bytes;
	}
	c->cpu = seconds(CLOCK_THREAD_CPUTIME_ID) - began;
	return NULL;
}

static void clones(struct wr_git_repo *repo, const char *name, double secs, double per_second)
{
	struct cloner c = {.repo = repo, .end = seconds(CLOCK_MONOTONIC) + secs};
	struct writer w = {.repo = repo, .ref = BRANCH};
	uint64_t written = bytes_written();
	double began = seconds(CLOCK_MONOTONIC);
	pthread_t thread;

	if (pthread_create(&thread, NULL, clone_until, &c) != 0)
		die("thread", NULL);
	while (per_second > 0 && seconds(CLOCK_MONOTONIC) < c.end) {
		double ahead = (double)w.made / per_second - (seconds(CLOCK_MONOTONIC) - began);

		if (ahead > 0)
			nanosleep(&(struct timespec){.tv_nsec = (long)(ahead < 0.5 ? ahead * 1e9 : 5e8)}, NULL);
		one(&w);
	}
	pthread_join(thread, NULL);
	began = seconds(CLOCK_MONOTONIC) - began;
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
		die("open", &err);
	first(repo, BRANCH);
	if (wr_git_repo_checkpoint(&did, repo, &err) != WR_OK || wr_git_repo_info(&before, repo, &err) != WR_OK)
		die("checkpoint", &err);
	clones(repo, "clones alone", secs / 4, 0);
	clones(repo, "clones beside commits", secs, per_second);
	if (wr_git_repo_info(&after, repo, &err) != WR_OK)
		die("info", &err);
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
	if (argc == 6 && strcmp(argv[1], "rate") == 0)
		return rate(argv[2], argv[3], strtod(argv[4], NULL), strtod(argv[5], NULL));
	fprintf(stderr, "append compare [SECONDS] | append rate DATA ID RATE SECONDS\n");
	return 2;
}
