/* core/store/jobs: queue, leases, recovery of what dead processes had, turns, cancelling, trying again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/auth/accounts.h"
#include "core/auth/repos.h"
#include "core/base/alive.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/store/jobs_internal.h"
#include "tests/unit/folder.h"

#define PATIENCE_MS 60000

struct place {
	char root[64];
	struct wr_db *db;
	struct wr_account a, b;
	struct wr_jobs *jobs;
	/* What the handlers did; guarded by lock. */
	pthread_mutex_t lock;
	char begun[64][WR_UUID_LEN + 1]; /* accounts, in their order */
	size_t begun_count;
	atomic_uint runs, ended;
	atomic_uint fail; /* so many times */
	enum wr_code with;
	atomic_bool hold; /* handlers wait until this falls, or they are to stop */
	atomic_bool stubborn; /* they do not stop */
	atomic_bool hold_b; /* as hold, for the second account alone */
};

/* Called when a thread was made, before whoever made it knows. */
static void (*made)(struct place *p);
static struct place *made_in;

int pthread_create(pthread_t *out, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
	int rc;

	*(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
	rc = real(out, attr, fn, arg);
	if (rc == 0 && made)
		made(made_in);
	return rc;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static int open_place(void **state)
{
	struct place *p = calloc(1, sizeof *p);
	struct wr_secret_text key;

	new_folder(p->root, sizeof p->root, "test_jobs");
	pthread_mutex_init(&p->lock, NULL);
	assert_int_equal(wr_db_open(&p->db, p->root, NULL), WR_OK);
	assert_int_equal(wr_account_create(&p->a, &key, p->db, WR_S("one"), NULL), WR_OK);
	assert_int_equal(wr_account_create(&p->b, &key, p->db, WR_S("two"), NULL), WR_OK);
	*state = p;
	return 0;
}

static int close_place(void **state)
{
	struct place *p = *state;

	wr_jobs_stop(p->jobs);
	wr_db_close(p->db);
	pthread_mutex_destroy(&p->lock);
	nftw(p->root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(p);
	return 0;
}

/* ---- kinds ---- */

static enum wr_code handle(void *arg, json_t **result, const struct wr_job_run *run, struct wr_error *err)
{
	struct place *p = arg;
	unsigned left;

	pthread_mutex_lock(&p->lock);
	if (p->begun_count < WR_ARRAY_LEN(p->begun))
		snprintf(p->begun[p->begun_count++], sizeof p->begun[0], "%s", run->job->account_id);
	pthread_mutex_unlock(&p->lock);
	atomic_fetch_add(&p->runs, 1);
	run->progress(run->arg, "counting", 3, 10);
	while (atomic_load(&p->hold) || (atomic_load(&p->hold_b) && strcmp(run->job->account_id, p->b.id) == 0)) {
		if (run->stop(run->arg) && !atomic_load(&p->stubborn))
			return wr_fail(err, WR_E_CANCELLED, "told to stop");
		usleep(1000);
	}
	left = atomic_load(&p->fail);
	if (left > 0) {
		atomic_store(&p->fail, left - 1);
		return wr_fail(err, p->with, "as the test wants");
	}
	*result = json_pack("{s:O}", "args", run->job->args);
	return *result ? WR_OK : wr_fail_nomem(err);
}

static const struct wr_job_kind kinds[] = {{"work", false, handle}, {"once", true, handle}, {"own", true, NULL}};

static void note_end(void *arg, const struct wr_job *job)
{
	struct place *p = arg;

	(void)job;
	atomic_fetch_add(&p->ended, 1);
}

static struct wr_jobs_config config(struct place *p, unsigned threads)
{
	return (struct wr_jobs_config){.db = p->db, .kinds = kinds, .kind_count = WR_ARRAY_LEN(kinds), .arg = p,
				       .threads = threads, .retry_ms = 2, .ended = note_end};
}

static void start(struct place *p, unsigned threads)
{
	struct wr_jobs_config cfg = config(p, threads);

	assert_int_equal(wr_jobs_start(&p->jobs, &cfg, NULL), WR_OK);
}

/* ---- what tests ask ---- */

struct addition {
	const char *id, *account, *repo, *kind;
	json_t *args;
};

static enum wr_code add_in(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct addition *a = arg;

	return wr_job_add(tx, a->id, a->account, a->repo, a->kind, a->args, err);
}

static enum wr_code try_add(struct place *p, char id[WR_UUID_LEN + 1], const char *account, const char *repo,
			    const char *kind)
{
	struct addition a = {id, account, repo, kind, json_pack("{s:s}", "hello", "world")};
	enum wr_code code;

	wr_uuid_new(id);
	code = wr_db_write(p->db, WR_DB_FULL, add_in, &a, NULL);
	json_decref(a.args);
	return code;
}

static void add(struct place *p, char id[WR_UUID_LEN + 1], const char *account, const char *kind)
{
	assert_int_equal(try_add(p, id, account, NULL, kind), WR_OK);
}

static struct wr_job get(struct place *p, const char *id)
{
	struct wr_job job;

	assert_int_equal(wr_job_get(&job, p->db, NULL, wr_str(id), NULL), WR_OK);
	return job;
}

static enum wr_job_state state_of(struct place *p, const char *id)
{
	WR_AUTO_S(wr_job) job = get(p, id);

	return job.state;
}

static void until_state(struct place *p, const char *id, enum wr_job_state state)
{
	int64_t deadline = wr_mono_ms() + PATIENCE_MS;

	while (state_of(p, id) != state) {
		if (wr_mono_ms() > deadline)
			fail_msg("still %s", wr_job_state_name(state_of(p, id)));
		usleep(1000);
	}
}

static void until(atomic_uint *what, unsigned n)
{
	int64_t deadline = wr_mono_ms() + PATIENCE_MS;

	while (atomic_load(what) < n) {
		assert_true(wr_mono_ms() < deadline);
		usleep(1000);
	}
}

/* ---- tests ---- */

static void a_job_runs_and_its_end_stays_visible(void **state)
{
	struct place *p = *state;
	char id[WR_UUID_LEN + 1];
	bool ended = false;

	start(p, 2);
	add(p, id, p->a.id, "work");
	wr_jobs_poke(p->jobs);
	assert_int_equal(wr_jobs_wait(&ended, p->jobs, id, PATIENCE_MS, NULL), WR_OK);
	assert_true(ended);
	WR_AUTO_S(wr_job) job = get(p, id);
	assert_int_equal(job.state, WR_JOB_DONE);
	assert_int_equal(job.attempts, 1);
	assert_string_equal(job.kind, "work");
	assert_true(job.created_ms > 0 && job.started_ms >= job.created_ms && job.ended_ms >= job.started_ms);
	assert_string_equal(json_string_value(json_object_get(json_object_get(job.result, "args"), "hello")), "world");
	assert_string_equal(job.code, "");
	assert_int_equal(atomic_load(&p->ended), 0);
	assert_int_equal(atomic_load(&p->runs), 1);
}

static void a_job_is_its_accounts_alone(void **state)
{
	struct place *p = *state;
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_job job, list[4];
	char id[WR_UUID_LEN + 1], other[WR_UUID_LEN + 1], repo[WR_UUID_LEN + 1];
	size_t n = 0;

	wr_uuid_new(repo);
	assert_int_equal(try_add(p, id, p->a.id, repo, "work"), WR_OK);
	add(p, other, p->b.id, "work");
	assert_int_equal(wr_job_get(&job, p->db, p->b.id, wr_str(id), &err), WR_E_JOB_NOT_FOUND);
	assert_string_equal(json_string_value(json_object_get(err.fields, "jobId")), id);
	assert_int_equal(wr_job_get(&job, p->db, p->a.id, wr_str("nonsense"), NULL), WR_E_JOB_NOT_FOUND);
	assert_int_equal(wr_job_cancel(p->db, p->b.id, wr_str(id), NULL), WR_E_JOB_NOT_FOUND);
	assert_int_equal(state_of(p, id), WR_JOB_QUEUED);

	assert_int_equal(wr_job_list(list, &n, 4, p->db, NULL, NULL, NULL), WR_OK);
	assert_int_equal(n, 2);
	assert_string_equal(list[0].id, other);
	assert_string_equal(list[1].id, id);
	wr_job_fini(&list[0]);
	wr_job_fini(&list[1]);
	assert_int_equal(wr_job_list(list, &n, 4, p->db, p->a.id, NULL, NULL), WR_OK);
	assert_int_equal(n, 1);
	assert_string_equal(list[0].id, id);
	assert_string_equal(list[0].repo_id, repo);
	wr_job_fini(&list[0]);
	assert_int_equal(wr_job_list(list, &n, 4, p->db, p->b.id, repo, NULL), WR_OK);
	assert_int_equal(n, 0);
	assert_int_equal(wr_job_list(list, &n, 1, p->db, NULL, repo, NULL), WR_OK);
	assert_int_equal(n, 1);
	wr_job_fini(&list[0]);
}

static void sizes_and_numbers_are_bounded(void **state)
{
	struct place *p = *state;
	WR_AUTO_MEM char *big = malloc(WR_JOB_ARGS_MAX + 1);
	char id[WR_UUID_LEN + 1];
	struct addition a = {id, p->a.id, NULL, "work", NULL};

	memset(big, 'x', WR_JOB_ARGS_MAX);
	big[WR_JOB_ARGS_MAX] = '\0';
	a.args = json_pack("{s:s}", "a", big);
	wr_uuid_new(id);
	assert_int_equal(wr_db_write(p->db, WR_DB_FULL, add_in, &a, NULL), WR_E_INVALID_REQUEST);
	json_decref(a.args);
	for (int i = 0; i < WR_JOBS_QUEUED_MAX; i++)
		add(p, id, p->a.id, "work");
	assert_int_equal(try_add(p, id, p->a.id, NULL, "work"), WR_E_UNAVAILABLE);
	assert_int_equal(try_add(p, id, p->b.id, NULL, "work"), WR_OK);
}

static void accounts_take_turns(void **state)
{
	struct place *p = *state;
	char first[WR_UUID_LEN + 1], id[WR_UUID_LEN + 1];
	size_t at = 0;

	atomic_store(&p->hold, true);
	add(p, first, p->a.id, "work");
	start(p, 1);
	until(&p->runs, 1);
	for (int i = 0; i < 20; i++)
		add(p, id, p->a.id, "work");
	add(p, id, p->b.id, "work");
	atomic_store(&p->hold, false);
	until_state(p, id, WR_JOB_DONE);
	pthread_mutex_lock(&p->lock);
	while (at < p->begun_count && strcmp(p->begun[at], p->b.id) != 0)
		at++;
	pthread_mutex_unlock(&p->lock);
	/* Behind the one that ran, and at most one more. */
	assert_true(at <= 2);
}

static void no_account_has_all_workers(void **state)
{
	struct place *p = *state;
	char id[WR_UUID_LEN + 1], one[WR_UUID_LEN + 1], two[WR_UUID_LEN + 1];

	atomic_store(&p->hold, true);
	add(p, one, p->a.id, "work");
	add(p, two, p->a.id, "work");
	start(p, 2);
	until(&p->runs, 1);
	add(p, id, p->b.id, "work");
	wr_jobs_poke(p->jobs);
	until_state(p, id, WR_JOB_RUNNING);
	assert_true((state_of(p, one) == WR_JOB_QUEUED) != (state_of(p, two) == WR_JOB_QUEUED));
	atomic_store(&p->hold, false);
	until_state(p, one, WR_JOB_DONE);
	until_state(p, two, WR_JOB_DONE);
}

static void cancelling(void **state)
{
	struct place *p = *state;
	char waits[WR_UUID_LEN + 1], runs[WR_UUID_LEN + 1];

	atomic_store(&p->hold, true);
	add(p, runs, p->a.id, "work");
	start(p, 1);
	until_state(p, runs, WR_JOB_RUNNING);
	add(p, waits, p->a.id, "work");
	assert_int_equal(wr_job_cancel(p->db, p->a.id, wr_str(waits), NULL), WR_OK);
	assert_int_equal(state_of(p, waits), WR_JOB_CANCELLED);
	assert_int_equal(wr_job_cancel(p->db, NULL, wr_str(runs), NULL), WR_OK);
	until_state(p, runs, WR_JOB_CANCELLED);
	until(&p->ended, 1);
	/* What has ended stays as it is. */
	assert_int_equal(wr_job_cancel(p->db, NULL, wr_str(runs), NULL), WR_OK);
	assert_int_equal(state_of(p, runs), WR_JOB_CANCELLED);
	assert_int_equal(atomic_load(&p->runs), 1);
}

static void what_ends_in_spite_of_it_is_done(void **state)
{
	struct place *p = *state;
	char id[WR_UUID_LEN + 1];

	atomic_store(&p->hold, true);
	atomic_store(&p->stubborn, true);
	add(p, id, p->a.id, "work");
	start(p, 1);
	until_state(p, id, WR_JOB_RUNNING);
	assert_int_equal(wr_job_cancel(p->db, NULL, wr_str(id), NULL), WR_OK);
	atomic_store(&p->hold, false);
	until_state(p, id, WR_JOB_DONE);
}

static void transient_errors_are_tried_again(void **state)
{
	struct place *p = *state;
	char id[WR_UUID_LEN + 1];

	p->with = WR_E_STORAGE_FULL;
	atomic_store(&p->fail, 3);
	add(p, id, p->a.id, "once");
	start(p, 1);
	until_state(p, id, WR_JOB_DONE);
	assert_int_equal(atomic_load(&p->runs), 4);
	WR_AUTO_S(wr_job) job = get(p, id);
	assert_int_equal(job.attempts, 4);
	assert_string_equal(job.code, "");
}

static void but_not_for_ever(void **state)
{
	struct place *p = *state;
	char id[WR_UUID_LEN + 1];

	p->with = WR_E_UNAVAILABLE;
	atomic_store(&p->fail, 1000);
	add(p, id, p->a.id, "work");
	start(p, 1);
	until_state(p, id, WR_JOB_FAILED);
	assert_int_equal(atomic_load(&p->runs), WR_JOB_ATTEMPTS);
	WR_AUTO_S(wr_job) job = get(p, id);
	assert_string_equal(job.code, "UNAVAILABLE");
	assert_string_not_equal(job.message, "");
	until(&p->ended, 1);
}

static void other_errors_end_it(void **state)
{
	struct place *p = *state;
	char id[WR_UUID_LEN + 1];

	p->with = WR_E_INVALID_REQUEST;
	atomic_store(&p->fail, 1);
	add(p, id, p->a.id, "work");
	start(p, 1);
	until_state(p, id, WR_JOB_FAILED);
	WR_AUTO_S(wr_job) job = get(p, id);
	assert_string_equal(job.code, "GIT_INVALID_REQUEST");
	assert_string_equal(job.message, "as the test wants");
	assert_null(job.result);
	assert_int_equal(atomic_load(&p->runs), 1);
	until(&p->ended, 1);
}

static void stopping_gives_running_jobs_back(void **state)
{
	struct place *p = *state;
	char id[WR_UUID_LEN + 1], once[WR_UUID_LEN + 1];

	atomic_store(&p->hold, true);
	add(p, id, p->a.id, "work");
	add(p, once, p->b.id, "once");
	start(p, 2);
	until_state(p, id, WR_JOB_RUNNING);
	until_state(p, once, WR_JOB_RUNNING);
	wr_jobs_stop(p->jobs);
	p->jobs = NULL;
	/* In order, so that it is no attempt, and even what is not repeated after a crash goes on. */
	{
		WR_AUTO_S(wr_job) job = get(p, id);
		WR_AUTO_S(wr_job) other = get(p, once);

		assert_int_equal(job.state, WR_JOB_QUEUED);
		assert_int_equal(other.state, WR_JOB_QUEUED);
		assert_int_equal(job.attempts, 0);
	}
	atomic_store(&p->hold, false);
	start(p, 2);
	until_state(p, id, WR_JOB_DONE);
	until_state(p, once, WR_JOB_DONE);
}

/* A process of its own that runs jobs on the same data folder, holds them, and is killed. */
static pid_t other_process(struct place *p)
{
	int up[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(up), 0);
	/* SQLite does not survive a fork, so the child opens its own. */
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct place q = {.hold = true};
		struct wr_jobs_config cfg = config(&q, 2);

		/* One that is stopped would outlive a test that fails, and keep its output open. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pthread_mutex_init(&q.lock, NULL);
		if (wr_db_open(&q.db, p->root, NULL) != WR_OK)
			_exit(1);
		cfg.db = q.db;
		if (wr_jobs_start(&q.jobs, &cfg, NULL) != WR_OK)
			_exit(2);
		until(&q.runs, 2);
		(void)!write(up[1], "x", 1);
		for (;;)
			pause();
	}
	close(up[1]);
	assert_int_equal(read(up[0], &c, 1), 1);
	close(up[0]);
	return pid;
}

static void reap(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void reopen(struct place *p)
{
	assert_int_equal(wr_db_open(&p->db, p->root, NULL), WR_OK);
}

static void jobs_of_a_dead_process_are_taken_over(void **state)
{
	struct place *p = *state;
	char id[WR_UUID_LEN + 1], once[WR_UUID_LEN + 1];
	pid_t pid;

	add(p, id, p->a.id, "work");
	add(p, once, p->b.id, "once");
	/* A fork takes no thread along, so none may be at work. */
	wr_db_close(WR_STEAL(p->db));
	pid = other_process(p);
	reopen(p);
	start(p, 2);
	/* While it lives they are its own. */
	assert_int_equal(state_of(p, id), WR_JOB_RUNNING);
	assert_int_equal(state_of(p, once), WR_JOB_RUNNING);
	assert_int_equal(atomic_load(&p->runs), 0);
	reap(pid);
	until_state(p, id, WR_JOB_DONE);
	until_state(p, once, WR_JOB_FAILED);
	until(&p->ended, 1);
	assert_int_equal(atomic_load(&p->runs), 1);
	WR_AUTO_S(wr_job) job = get(p, id);
	WR_AUTO_S(wr_job) failed = get(p, once);
	assert_int_equal(job.attempts, 2);
	assert_string_equal(failed.code, "INTERNAL_ERROR");
	assert_string_not_equal(failed.message, "");
}

static void what_was_cancelled_in_a_dead_process_is_not_repeated(void **state)
{
	struct place *p = *state;
	char id[WR_UUID_LEN + 1], other[WR_UUID_LEN + 1];
	pid_t pid;

	add(p, id, p->a.id, "work");
	add(p, other, p->b.id, "work");
	wr_db_close(WR_STEAL(p->db));
	pid = other_process(p);
	reopen(p);
	/* Where it was stopped while it wrote, nobody else can. */
	do {
		assert_int_equal(kill(pid, SIGCONT), 0);
		usleep(20000);
		assert_int_equal(kill(pid, SIGSTOP), 0);
	} while (wr_job_cancel(p->db, NULL, wr_str(id), NULL) != WR_OK);
	reap(pid);
	start(p, 1);
	assert_int_equal(state_of(p, id), WR_JOB_CANCELLED);
	until_state(p, other, WR_JOB_DONE);
	assert_int_equal(atomic_load(&p->runs), 1);
}

/* By its lease: rows that this process took, and which no thread of it runs. */
static void what_nobody_runs_is_found(void **state)
{
	struct place *p = *state;
	char id[WR_UUID_LEN + 1];
	struct wr_job job;
	bool got = false;

	atomic_store(&p->hold, true);
	start(p, 1);
	add(p, id, p->a.id, "work");
	assert_int_equal(wr_job_lease(&got, &job, p->db, id, wr_jobs_process(p->jobs), NULL), WR_OK);
	if (got)
		wr_job_fini(&job);
	atomic_store(&p->hold, false);
	until_state(p, id, WR_JOB_DONE);
	assert_int_equal(atomic_load(&p->runs), 1);
}

/* The name that a process had. */
static void dead_name(struct place *p, char name[WR_ALIVE_NAME])
{
	struct wr_alive dead = WR_ALIVE_INIT;
	char run[100];

	snprintf(run, sizeof run, "%s/run", p->root);
	assert_int_equal(wr_alive_begin(&dead, run, "job-", NULL), WR_OK);
	snprintf(name, WR_ALIVE_NAME, "%s", dead.name);
	wr_alive_end(&dead);
}

/* The second of two threads has a job when whoever started it does not know of it yet, and the first one recovers. */
static void while_the_second_thread_is_started(struct place *p)
{
	char one[WR_UUID_LEN + 1], two[WR_UUID_LEN + 1], lost[WR_UUID_LEN + 1], name[WR_ALIVE_NAME];
	unsigned runs = atomic_load(&p->runs);
	bool got = false;
	struct wr_job job;

	if (runs == 0) {
		add(p, one, p->a.id, "work");
		until(&p->runs, 1);
		return;
	}
	made = NULL;
	add(p, two, p->b.id, "work");
	until(&p->runs, 2);
	atomic_store(&p->hold, false);
	dead_name(p, name);
	add(p, lost, p->a.id, "future");
	assert_int_equal(wr_job_lease(&got, &job, p->db, lost, name, NULL), WR_OK);
	if (got)
		wr_job_fini(&job);
	/* Now there was a recovery. */
	until_state(p, lost, WR_JOB_FAILED);
	WR_AUTO_S(wr_job) held = get(p, two);
	assert_int_equal(held.state, WR_JOB_RUNNING);
	assert_int_equal(held.attempts, 1);
}

static void what_a_new_thread_runs_is_not_repeated(void **state)
{
	struct place *p = *state;
	struct wr_jobs_config cfg = config(p, 2);

	atomic_store(&p->hold, true);
	atomic_store(&p->hold_b, true);
	cfg.recovery_ms = 1;
	made_in = p;
	made = while_the_second_thread_is_started;
	assert_int_equal(wr_jobs_start(&p->jobs, &cfg, NULL), WR_OK);
	assert_null(made);
	assert_int_equal(atomic_load(&p->runs), 2);
	atomic_store(&p->hold_b, false);
}

/* What a process leaves that was killed: its file, which nobody has locked. */
static void left_file(struct place *p, char name[WR_ALIVE_NAME], char path[200])
{
	int fd;

	dead_name(p, name);
	snprintf(path, 200, "%s/run/%s", p->root, name);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
}

static void until_gone(const char *path)
{
	for (int i = 0; access(path, F_OK) == 0; i++) {
		assert_true(i < 60000);
		usleep(1000);
	}
}

static void files_of_the_dead_go_once_their_jobs_were_found(void **state)
{
	char id[WR_UUID_LEN + 1], name[WR_ALIVE_NAME], path[200], run[100], like[200];
	struct place *p = *state;
	struct wr_jobs_config cfg = config(p, 1);
	struct wr_alive other = WR_ALIVE_INIT;
	struct wr_job job;
	bool got = false;
	int fd;

	snprintf(run, sizeof run, "%s/run", p->root);
	assert_int_equal(wr_alive_begin(&other, run, "job-", NULL), WR_OK);
	left_file(p, name, path);
	/* Not one of these files. */
	snprintf(like, sizeof like, "%s/job-0.lock", run);
	fd = open(like, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	add(p, id, p->a.id, "work");
	assert_int_equal(wr_job_lease(&got, &job, p->db, id, name, NULL), WR_OK);
	assert_true(got);
	wr_job_fini(&job);
	cfg.recovery_ms = 1;
	assert_int_equal(wr_jobs_start(&p->jobs, &cfg, NULL), WR_OK);
	assert_int_equal(access(path, F_OK), -1);
	until_state(p, id, WR_JOB_DONE);
	/* And of those that die beside this one. */
	left_file(p, name, path);
	wr_jobs_poke(p->jobs);
	until_gone(path);
	assert_int_equal(access(other.path, F_OK), 0);
	assert_int_equal(access(like, F_OK), 0);
	assert_true(wr_alive_check(run, wr_jobs_process(p->jobs)));
	wr_alive_end(&other);
}

static void what_crashes_again_and_again_fails(void **state)
{
	struct place *p = *state;
	char id[WR_UUID_LEN + 1], name[WR_ALIVE_NAME];

	dead_name(p, name);
	add(p, id, p->a.id, "work");
	for (int i = 1; i <= WR_JOB_ATTEMPTS; i++) {
		bool got = false;
		struct wr_job job;
		const struct wr_job_outcome again = {.state = WR_JOB_QUEUED, .attempts = (unsigned)i};

		assert_int_equal(wr_job_lease(&got, &job, p->db, id, name, NULL), WR_OK);
		assert_true(got);
		assert_int_equal(job.attempts, i);
		if (i < WR_JOB_ATTEMPTS)
			assert_int_equal(wr_job_leave(&got, p->db, &job, name, &again, NULL), WR_OK);
		wr_job_fini(&job);
	}
	start(p, 1);
	assert_int_equal(state_of(p, id), WR_JOB_FAILED);
	assert_int_equal(atomic_load(&p->runs), 0);
	assert_int_equal(atomic_load(&p->ended), 1);
}

/* A worker that lost its lease (its process was thought dead) ends nothing. */
static void an_old_lease_ends_nothing(void **state)
{
	struct place *p = *state;
	const struct wr_job_outcome done = {.state = WR_JOB_DONE}, again = {.state = WR_JOB_QUEUED, .attempts = 1};
	char id[WR_UUID_LEN + 1];
	struct wr_job first, second;
	bool got = false;

	add(p, id, p->a.id, "work");
	assert_int_equal(wr_job_lease(&got, &first, p->db, id, "x", NULL), WR_OK);
	assert_true(got);
	assert_int_equal(wr_job_lease(&got, &second, p->db, id, "y", NULL), WR_OK);
	assert_false(got);
	assert_int_equal(wr_job_leave(&got, p->db, &first, "x", &again, NULL), WR_OK);
	assert_true(got);
	assert_int_equal(wr_job_lease(&got, &second, p->db, id, "x", NULL), WR_OK);
	assert_true(got);
	assert_int_equal(wr_job_leave(&got, p->db, &first, "x", &done, NULL), WR_OK);
	assert_false(got);
	assert_int_equal(wr_job_leave(&got, p->db, &second, "y", &done, NULL), WR_OK);
	assert_false(got);
	assert_true(wr_job_wanted(p->db, id, "x"));
	assert_false(wr_job_wanted(p->db, id, "y"));
	assert_int_equal(wr_job_leave(&got, p->db, &second, "x", &done, NULL), WR_OK);
	assert_true(got);
	wr_job_fini(&first);
	wr_job_fini(&second);
}

static void progress_is_seen(void **state)
{
	struct place *p = *state;
	int64_t deadline = wr_mono_ms() + PATIENCE_MS;
	char id[WR_UUID_LEN + 1];

	atomic_store(&p->hold, true);
	add(p, id, p->a.id, "work");
	start(p, 1);
	for (;;) {
		WR_AUTO_S(wr_job) job = get(p, id);

		if (strcmp(job.stage, "counting") == 0 && job.done == 3 && job.total == 10)
			break;
		assert_true(wr_mono_ms() < deadline);
		usleep(1000);
	}
}

static void a_kind_that_is_not_known_waits(void **state)
{
	struct place *p = *state;
	char id[WR_UUID_LEN + 1];

	add(p, id, p->a.id, "future");
	start(p, 1);
	until_state(p, id, WR_JOB_FAILED);
	WR_AUTO_S(wr_job) job = get(p, id);
	assert_int_equal(job.attempts, WR_JOB_ATTEMPTS);
}

static void only_one(void **state)
{
	struct place *p = *state;
	char other[WR_UUID_LEN + 1], id[WR_UUID_LEN + 1];
	struct wr_jobs_config cfg = config(p, 1);

	add(p, other, p->a.id, "work");
	add(p, id, p->a.id, "work");
	cfg.only = id;
	assert_int_equal(wr_jobs_start(&p->jobs, &cfg, NULL), WR_OK);
	until_state(p, id, WR_JOB_DONE);
	wr_jobs_stop(p->jobs);
	p->jobs = NULL;
	assert_int_equal(state_of(p, other), WR_JOB_QUEUED);
}

static void what_ended_is_forgotten(void **state)
{
	struct place *p = *state;
	char ids[5][WR_UUID_LEN + 1], waits[WR_UUID_LEN + 1], other[WR_UUID_LEN + 1];
	struct wr_job list[8];
	size_t n = 0;

	add(p, waits, p->a.id, "work");
	for (int i = 0; i < 5; i++) {
		add(p, ids[i], p->a.id, "work");
		assert_int_equal(wr_job_cancel(p->db, NULL, wr_str(ids[i]), NULL), WR_OK);
	}
	add(p, other, p->b.id, "work");
	assert_int_equal(wr_job_cancel(p->db, NULL, wr_str(other), NULL), WR_OK);
	assert_int_equal(wr_jobs_forget_of(p->db, p->a.id, 3, NULL), WR_OK);
	assert_int_equal(wr_job_list(list, &n, 8, p->db, NULL, NULL, NULL), WR_OK);
	assert_int_equal(n, 5);
	assert_string_equal(list[3].id, ids[2]);
	assert_string_equal(list[4].id, waits);
	for (size_t i = 0; i < n; i++)
		wr_job_fini(&list[i]);
	assert_int_equal(wr_jobs_forget(p->db, 1, NULL), WR_OK);
	assert_int_equal(state_of(p, ids[4]), WR_JOB_CANCELLED);
	assert_int_equal(wr_jobs_forget(p->db, INT64_MAX, NULL), WR_OK);
	assert_int_equal(wr_job_list(list, &n, 8, p->db, NULL, NULL, NULL), WR_OK);
	assert_int_equal(n, 1);
	assert_string_equal(list[0].id, waits);
	wr_job_fini(&list[0]);
}

/* ---- creations ---- */

struct creation {
	char job[WR_UUID_LEN + 1], repo[WR_UUID_LEN + 1];
	const char *account, *maker; /* maker NULL: the job */
};

static enum wr_code begin_in(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct wr_repo_new new = {WR_S("Name"), true, WR_S("main")};
	const struct creation *c = arg;
	json_t *args = json_object();
	enum wr_code code = wr_repo_begin(tx, c->repo, c->account, &new, c->maker ? c->maker : c->job, err);

	if (code == WR_OK && !c->maker)
		code = wr_job_add(tx, c->job, c->account, c->repo, "work", args, err);
	json_decref(args);
	return code;
}

static struct creation begin(struct place *p, const char *maker)
{
	struct creation c = {.account = p->a.id, .maker = maker};

	wr_uuid_new(c.job);
	wr_uuid_new(c.repo);
	assert_int_equal(wr_db_write(p->db, WR_DB_FULL, begin_in, &c, NULL), WR_OK);
	return c;
}

static size_t doomed(struct place *p, bool *busy)
{
	struct wr_doomed rows[8];
	size_t n = 0;

	assert_int_equal(wr_repo_doomed(rows, &n, p->db, NULL, 0, 8, NULL), WR_OK);
	if (n > 0)
		*busy = rows[0].busy;
	return n;
}

static void a_creation_is_seen_when_it_is_finished(void **state)
{
	struct place *p = *state;
	struct creation c = begin(p, NULL);
	struct wr_repo repo;
	bool making = false;

	assert_int_equal(wr_repo_get(&repo, p->db, p->a.id, wr_str(c.repo), NULL), WR_E_REPO_NOT_FOUND);
	assert_int_equal(wr_repo_find(&repo, p->db, wr_str(c.repo), NULL), WR_E_REPO_NOT_FOUND);
	assert_int_equal(wr_repo_making(&making, p->db, p->a.id, c.repo, c.job, NULL), WR_OK);
	assert_true(making);
	assert_int_equal(wr_repo_making(&making, p->db, p->a.id, c.repo, "job-other.lock", NULL), WR_E_REPO_NOT_FOUND);
	assert_int_equal(wr_repo_finish(p->db, p->a.id, c.repo, "job-other.lock", WR_S("x"), NULL),
			 WR_E_REPO_NOT_FOUND);
	assert_int_equal(wr_repo_finish(p->db, p->a.id, c.repo, c.job, WR_S("trunk"), NULL), WR_OK);
	assert_int_equal(wr_repo_find(&repo, p->db, wr_str(c.repo), NULL), WR_OK);
	assert_string_equal(repo.default_branch, "trunk");
	assert_string_equal(repo.name, "Name");
	assert_true(repo.public_);
	/* Its job runs again after a crash. */
	assert_int_equal(wr_repo_making(&making, p->db, p->a.id, c.repo, c.job, NULL), WR_OK);
	assert_false(making);
}

static void a_creation_stays_while_its_job_may_run(void **state)
{
	struct place *p = *state;
	struct creation c = begin(p, NULL);
	bool busy = true;

	assert_int_equal(wr_repo_abandon_creations(p->db, NULL), WR_OK);
	assert_int_equal(doomed(p, &busy), 0);
	assert_int_equal(wr_job_cancel(p->db, NULL, wr_str(c.job), NULL), WR_OK);
	assert_int_equal(wr_repo_abandon_creations(p->db, NULL), WR_OK);
	assert_int_equal(doomed(p, &busy), 1);
	assert_false(busy);
}

static void a_creation_goes_with_its_process(void **state)
{
	struct place *p = *state;
	struct wr_alive alive = WR_ALIVE_INIT;
	bool busy = true;
	char run[100];

	snprintf(run, sizeof run, "%s/run", p->root);
	assert_int_equal(wr_alive_begin(&alive, run, "job-", NULL), WR_OK);
	begin(p, alive.name);
	assert_int_equal(wr_repo_abandon_creations(p->db, NULL), WR_OK);
	assert_int_equal(doomed(p, &busy), 0);
	wr_alive_end(&alive);
	assert_int_equal(wr_repo_abandon_creations(p->db, NULL), WR_OK);
	assert_int_equal(doomed(p, &busy), 1);
	assert_false(busy);
}

/* Its account is deleted in the middle: the row waits for the job that may yet make the folder. */
static void nothing_is_removed_that_is_being_made(void **state)
{
	struct place *p = *state;
	struct creation c = begin(p, NULL);
	struct wr_job job;
	bool busy = false, got = false;
	const struct wr_job_outcome over = {.state = WR_JOB_CANCELLED};

	/* Another one, whose job has not begun. */
	begin(p, NULL);
	assert_int_equal(wr_job_lease(&got, &job, p->db, c.job, "job-x.lock", NULL), WR_OK);
	assert_true(got);
	assert_int_equal(wr_account_delete(p->db, p->a.id, true, NULL), WR_OK);
	assert_false(wr_job_wanted(p->db, c.job, "job-x.lock"));
	assert_int_equal(wr_repo_finish(p->db, p->a.id, c.repo, c.job, WR_S("main"), NULL), WR_E_REPO_NOT_FOUND);
	{
		struct wr_doomed rows[4];
		size_t n = 0, waiting = 0;

		assert_int_equal(wr_repo_doomed(rows, &n, p->db, NULL, 0, 4, NULL), WR_OK);
		assert_int_equal(n, 2);
		for (size_t i = 0; i < n; i++) {
			assert_int_equal(rows[i].busy, strcmp(rows[i].id, c.repo) == 0);
			waiting += rows[i].busy ? 1 : 0;
		}
		assert_int_equal(waiting, 1);
	}
	assert_int_equal(wr_job_leave(&got, p->db, &job, "job-x.lock", &over, NULL), WR_OK);
	assert_true(got);
	wr_job_fini(&job);
	assert_int_equal(doomed(p, &busy), 2);
	assert_false(busy);
	/* Nobody begins anything in an account that goes. */
	assert_int_equal(wr_db_write(p->db, WR_DB_FULL, begin_in, &c, NULL), WR_E_NOT_FOUND);
}

/* ---- jobs of one's own ---- */

static enum wr_code add_own(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct wr_job_own *own = arg;
	json_t *args = json_pack("{s:s}", "note", "at the birth");
	enum wr_code code = wr_job_own_add(tx, own, args, err);

	json_decref(args);
	return code;
}

static void begin_own(struct wr_job_own *own, struct place *p)
{
	char id[WR_UUID_LEN + 1];

	wr_uuid_new(id);
	wr_job_own_init(own, p->jobs, id, p->a.id, NULL, "own");
	assert_int_equal(wr_db_write(p->db, WR_DB_FULL, add_own, own, NULL), WR_OK);
}

/* Recovery looks at everything meanwhile, more than once. */
static void let_recovery_look(struct place *p)
{
	for (int i = 0; i < 3; i++) {
		char id[WR_UUID_LEN + 1];

		add(p, id, p->b.id, "work");
		wr_jobs_poke(p->jobs);
		until_state(p, id, WR_JOB_DONE);
		usleep(2000);
	}
}

static enum wr_code refuse(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	(void)tx;
	(void)arg;
	return wr_fail(err, WR_E_NOT_FOUND, "as the test wants");
}

static enum wr_code add_another(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct addition *a = arg;

	return wr_job_add(tx, a->id, a->account, NULL, a->kind, a->args, err);
}

static void start_looking(struct place *p)
{
	struct wr_jobs_config cfg = config(p, 1);

	cfg.recovery_ms = 1;
	assert_int_equal(wr_jobs_start(&p->jobs, &cfg, NULL), WR_OK);
}

static void ones_own_job_runs_from_its_birth(void **state)
{
	struct place *p = *state;
	char id[WR_UUID_LEN + 1];
	struct addition also = {id, p->a.id, NULL, "work", json_object()};
	struct wr_job_own own;
	json_t *result = json_pack("{s:i}", "made", 7);

	start_looking(p);
	begin_own(&own, p);
	let_recovery_look(p);
	{
		WR_AUTO_S(wr_job) job = get(p, own.job.id);

		assert_int_equal(job.state, WR_JOB_RUNNING);
		assert_int_equal(job.attempts, 1);
		assert_true(job.started_ms > 0);
		assert_string_equal(json_string_value(json_object_get(job.args, "note")), "at the birth");
	}
	assert_false(wr_job_own_stop(&own));
	wr_job_own_note(&own, "one", 1, 2);
	wr_job_own_note(&own, "two", 3, 4); /* another stage does not wait for its turn */
	/* Both or neither. */
	assert_int_equal(wr_job_own_done(&own, result, refuse, NULL, NULL), WR_E_NOT_FOUND);
	assert_int_equal(state_of(p, own.job.id), WR_JOB_RUNNING);
	wr_uuid_new(id);
	assert_int_equal(wr_job_own_done(&own, result, add_another, &also, NULL), WR_OK);
	wr_jobs_poke(p->jobs);
	until_state(p, id, WR_JOB_DONE);
	WR_AUTO_S(wr_job) job = get(p, own.job.id);
	assert_int_equal(job.state, WR_JOB_DONE);
	assert_int_equal(json_integer_value(json_object_get(job.result, "made")), 7);
	assert_string_equal(job.stage, "two");
	assert_int_equal(job.done, 3);
	/* It ends once. */
	wr_uuid_new(id);
	assert_int_equal(wr_job_own_done(&own, result, add_another, &also, NULL), WR_E_CANCELLED);
	wr_job_own_fini(&own);
	json_decref(result);
	json_decref(also.args);
}

static void ones_own_job_fails_with_the_members_of_its_error(void **state)
{
	struct place *p = *state;
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_job_own own, other;

	start_looking(p);
	begin_own(&own, p);
	begin_own(&other, p);
	(void)wr_fail(&err, WR_E_SOURCE_NOT_FOUND, "not there");
	wr_error_field(&err, "url", WR_S("http://x/"));
	wr_job_own_fail(&own, false, &err);
	wr_job_own_fini(&own);
	assert_int_equal(wr_job_cancel(p->db, p->a.id, wr_str(other.job.id), NULL), WR_OK);
	for (int64_t end = wr_mono_ms() + PATIENCE_MS; !wr_job_own_stop(&other); usleep(1000))
		assert_true(wr_mono_ms() < end);
	let_recovery_look(p);
	assert_int_equal(state_of(p, other.job.id), WR_JOB_RUNNING);
	wr_job_own_fail(&other, true, &err);
	wr_job_own_fini(&other);
	WR_AUTO_S(wr_job) failed = get(p, own.job.id);
	WR_AUTO_S(wr_job) cancelled = get(p, other.job.id);
	assert_int_equal(failed.state, WR_JOB_FAILED);
	assert_string_equal(failed.code, "SOURCE_NOT_FOUND");
	assert_string_equal(failed.message, "not there");
	assert_string_equal(json_string_value(json_object_get(failed.result, "url")), "http://x/");
	assert_int_equal(cancelled.state, WR_JOB_CANCELLED);
	assert_string_equal(cancelled.code, "");
	assert_null(cancelled.result);
}

static void ones_own_job_that_nobody_runs_any_more_has_failed(void **state)
{
	struct place *p = *state;
	struct wr_job_own own;

	start_looking(p);
	begin_own(&own, p);
	wr_job_own_fini(&own);
	wr_jobs_poke(p->jobs);
	until_state(p, own.job.id, WR_JOB_FAILED);
	until(&p->ended, 1);
	assert_int_equal(atomic_load(&p->runs), 0);
	/* One that a program put into the queue which did not know the kind. */
	char id[WR_UUID_LEN + 1];
	add(p, id, p->a.id, "own");
	wr_jobs_poke(p->jobs);
	until_state(p, id, WR_JOB_FAILED);
}

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, open_place, close_place)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_PLACE(a_job_runs_and_its_end_stays_visible),
		IN_PLACE(a_job_is_its_accounts_alone),
		IN_PLACE(sizes_and_numbers_are_bounded),
		IN_PLACE(accounts_take_turns),
		IN_PLACE(no_account_has_all_workers),
		IN_PLACE(cancelling),
		IN_PLACE(what_ends_in_spite_of_it_is_done),
		IN_PLACE(transient_errors_are_tried_again),
		IN_PLACE(but_not_for_ever),
		IN_PLACE(other_errors_end_it),
		IN_PLACE(stopping_gives_running_jobs_back),
		IN_PLACE(jobs_of_a_dead_process_are_taken_over),
		IN_PLACE(what_was_cancelled_in_a_dead_process_is_not_repeated),
		IN_PLACE(what_nobody_runs_is_found),
		IN_PLACE(what_a_new_thread_runs_is_not_repeated),
		IN_PLACE(files_of_the_dead_go_once_their_jobs_were_found),
		IN_PLACE(what_crashes_again_and_again_fails),
		IN_PLACE(an_old_lease_ends_nothing),
		IN_PLACE(progress_is_seen),
		IN_PLACE(a_kind_that_is_not_known_waits),
		IN_PLACE(only_one),
		IN_PLACE(what_ended_is_forgotten),
		IN_PLACE(a_creation_is_seen_when_it_is_finished),
		IN_PLACE(a_creation_stays_while_its_job_may_run),
		IN_PLACE(a_creation_goes_with_its_process),
		IN_PLACE(nothing_is_removed_that_is_being_made),
		IN_PLACE(ones_own_job_runs_from_its_birth),
		IN_PLACE(ones_own_job_fails_with_the_members_of_its_error),
		IN_PLACE(ones_own_job_that_nobody_runs_any_more_has_failed),
	};

	wr_log_set_threshold(WR_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
