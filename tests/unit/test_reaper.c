/*
 * server/reaper: a deletion, and a creation that was cut off, killed at every step that reaches the disk in turn. The
 * test's own rename(), unlinkat(), fsync() ... stand before libc's and count.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <ftw.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "core/auth/accounts.h"
#include "core/auth/repos.h"
#include "core/base/clock.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "server/reaper.h"
#include "tests/unit/folder.h"

#define PATIENCE_MS 60000

static struct shared {
	atomic_int left; /* steps until the process is killed; 0: never */
	atomic_bool deleted; /* the deletion was acknowledged */
	char account[WR_UUID_LEN + 1], repo[WR_UUID_LEN + 1];
} *shared;

static char dir[64];

/* ---- steps ---- */

static void step(void)
{
	int n;

	if (!shared)
		return;
	n = atomic_load(&shared->left);
	while (n > 0)
		if (atomic_compare_exchange_weak(&shared->left, &n, n - 1)) {
			if (n == 1)
				kill(getpid(), SIGKILL);
			return;
		}
}

int rename(const char *from, const char *to)
{
	step();
	return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	step();
	return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
}

int unlinkat(int at, const char *path, int flags)
{
	step();
	return (int)syscall(SYS_unlinkat, at, path, flags);
}

int fsync(int fd)
{
	step();
	return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
	step();
	return (int)syscall(SYS_fdatasync, fd);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at)
{
	step();
	return syscall(SYS_pwrite64, fd, data, len, at);
}

/* ---- the place ---- */

static const char *const files[] = {"HEAD", "config", "objects/pack/pack-1.pack", "objects/pack/pack-1.idx",
				    "warren/current", "warren/journal.1"};

static void shard_path(char *out, size_t size, const char *name)
{
	snprintf(out, size, "%s/repos/%.2s/%.2s/%s", dir, shared->repo, shared->repo + 2, name);
}

/* A folder of the repository: <id><suffix>, with what such folders hold as far as removing them goes. */
static void make_folder(const char *suffix)
{
	static const char *const folders[] = {"objects/pack", "warren", "refs/heads"};
	char name[64], path[200], below[300];

	snprintf(name, sizeof name, "%s%s", shared->repo, suffix);
	shard_path(path, sizeof path, name);
	for (size_t i = 0; i < WR_ARRAY_LEN(folders); i++) {
		snprintf(below, sizeof below, "%s/%s", path, folders[i]);
		assert_int_equal(wr_file_mkdirs(below, NULL), WR_OK);
	}
	for (size_t i = 0; i < WR_ARRAY_LEN(files); i++) {
		snprintf(below, sizeof below, "%s/%s", path, files[i]);
		assert_int_equal(wr_file_create(AT_FDCWD, below, WR_S("x"), NULL), WR_OK);
	}
}

/* How many entries of the shard are the repository's, by whatever suffix. */
static size_t folders_left(void)
{
	struct dirent *e;
	char path[200];
	size_t n = 0;
	DIR *d;

	shard_path(path, sizeof path, "");
	d = opendir(path);
	assert_non_null(d);
	while ((e = readdir(d)))
		n += strncmp(e->d_name, shared->repo, WR_UUID_LEN) == 0 ? 1 : 0;
	closedir(d);
	return n;
}

static bool folder_is_whole(void)
{
	char name[100], path[300];
	struct stat st;
	bool whole = true;

	for (size_t i = 0; i < WR_ARRAY_LEN(files); i++) {
		snprintf(name, sizeof name, "%s.git/%s", shared->repo, files[i]);
		shard_path(path, sizeof path, name);
		whole = whole && stat(path, &st) == 0;
	}
	return whole;
}

static void on_file(const char *sql, int64_t *out)
{
	sqlite3_stmt *stmt = NULL;
	sqlite3 *sq = NULL;
	char path[96];
	int rc;

	snprintf(path, sizeof path, "%s/warren.db", dir);
	assert_int_equal(sqlite3_open(path, &sq), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(sq, sql, -1, &stmt, NULL), SQLITE_OK);
	rc = sqlite3_step(stmt);
	assert_int_equal(rc, out ? SQLITE_ROW : SQLITE_DONE);
	if (out)
		*out = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	sqlite3_close(sq);
}

static int64_t rows_left(void)
{
	int64_t n = 0;

	on_file("SELECT count(*) FROM repo", &n);
	return n;
}

static int64_t rows_alive(void)
{
	int64_t n = 0;

	on_file("SELECT count(*) FROM repo WHERE state = 'live'", &n);
	return n;
}

static void make_place(bool folder)
{
	struct wr_repo_new new = {{NULL, 0}, false, WR_S("main")};
	struct wr_account account;
	struct wr_secret_text key;
	struct wr_repo repo;
	struct wr_db *db;

	atomic_store(&shared->left, 0);
	atomic_store(&shared->deleted, false);
	new_folder(dir, sizeof dir, "test_reaper");
	assert_int_equal(wr_db_open(&db, dir, NULL), WR_OK);
	assert_int_equal(wr_account_create(&account, &key, db, WR_S("owner"), NULL), WR_OK);
	assert_int_equal(wr_repo_create(&repo, db, account.id, &new, NULL), WR_OK);
	memcpy(shared->account, account.id, sizeof shared->account);
	memcpy(shared->repo, repo.id, sizeof shared->repo);
	wr_db_close(db);
	if (folder)
		make_folder(".git");
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void drop_place(void)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- one process's life ---- */

struct server {
	struct wr_db *db;
	struct wr_git *git;
	struct wr_reaper *reaper;
};

static void start(struct server *s)
{
	const struct wr_git_config cfg = {.data = dir,
					  .max_pack_bytes = 1 << 20,
					  .max_pack_objects = 1000,
					  .max_unpacked_bytes = 1 << 30,
					  .max_object_bytes = 1 << 20,
					  .idle_repos = 4,
					  .no_keeper = true};

	assert_int_equal(wr_db_open(&s->db, dir, NULL), WR_OK);
	assert_int_equal(wr_git_open(&s->git, &cfg, NULL), WR_OK);
	assert_int_equal(wr_reaper_start(&s->reaper, s->db, s->git, NULL), WR_OK);
}

static void until_nothing_is_doomed(struct server *s)
{
	int64_t deadline = wr_mono_ms() + PATIENCE_MS;
	struct wr_doomed doomed[2];
	size_t n = 1;

	while (n > 0) {
		assert_int_equal(wr_repo_doomed(doomed, &n, s->db, NULL, 0, 2, NULL), WR_OK);
		assert_true(wr_mono_ms() < deadline);
		usleep(200);
	}
}

static void stop(struct server *s)
{
	wr_reaper_stop(s->reaper);
	wr_git_close(s->git);
	wr_db_close(s->db);
}

static void live_and_delete(void)
{
	struct server s;

	start(&s);
	assert_int_equal(wr_repo_delete(s.db, shared->account, shared->repo, NULL), WR_OK);
	atomic_store(&shared->deleted, true);
	wr_git_kill(s.git, shared->repo);
	wr_reaper_poke(s.reaper);
	until_nothing_is_doomed(&s);
	stop(&s);
}

static void recover(void)
{
	struct server s;

	start(&s);
	until_nothing_is_doomed(&s);
	stop(&s);
}

/* Whether fn came to its end; else it was killed at the k-th step. k = 0: it must come to its end. */
static bool survives(void (*fn)(void), int k)
{
	int status = 0;
	pid_t pid;

	atomic_store(&shared->left, k);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		/* A failed assertion must not go on with the parent's tests. */
		setenv("CMOCKA_TEST_ABORT", "1", 1);
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	atomic_store(&shared->left, 0);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && k > 0)
		return false;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	return true;
}

/* ---- tests ---- */

static void a_deletion_survives_being_killed_at_any_step(void **state)
{
	bool done = false;
	int stayed = 0, went = 0;

	(void)state;
	for (int k = 1; !done; k++) {
		make_place(true);
		done = survives(live_and_delete, k);
		if (rows_alive() > 0)
			assert_true(folder_is_whole());
		(void)survives(recover, k);
		assert_true(survives(recover, 0));
		if (rows_left() > 0) {
			assert_false(atomic_load(&shared->deleted));
			assert_true(folder_is_whole());
			stayed++;
		} else {
			assert_int_equal(folders_left(), 0);
			went++;
		}
		drop_place();
	}
	/* Both ends were seen, and a folder of six files has more than ten steps. */
	assert_true(stayed > 0);
	assert_true(went > 10);
}

static void a_creation_that_was_cut_off_goes(void **state)
{
	bool done = false;
	int k;

	(void)state;
	for (k = 1; !done; k++) {
		make_place(true);
		make_folder(".new-abcdefghijkl");
		on_file("UPDATE repo SET state = 'creating'", NULL);
		done = survives(recover, k);
		assert_true(survives(recover, 0));
		assert_int_equal(rows_left(), 0);
		assert_int_equal(folders_left(), 0);
		drop_place();
	}
	assert_true(k > 20);
}

static void an_empty_creation_goes(void **state)
{
	(void)state;
	make_place(false);
	on_file("UPDATE repo SET state = 'creating'", NULL);
	assert_true(survives(recover, 0));
	assert_int_equal(rows_left(), 0);
	drop_place();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_deletion_survives_being_killed_at_any_step),
		cmocka_unit_test(a_creation_that_was_cut_off_goes),
		cmocka_unit_test(an_empty_creation_goes),
	};

	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 1;
	wr_log_set_threshold(WR_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
