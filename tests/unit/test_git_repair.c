/* Disks that fail in the middle of something, and what comes to light once they work again. */
#include "tests/unit/git_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/git/events_internal.h"
#include "core/git/git_internal.h"
#include "core/git/journal_internal.h"

#define REPO "data/repos/01/23/" REPO_ID ".git"
#define UNCLEAN ": > " REPO "/warren/lock; "

/* ---- the disk ---- */

/* How many calls go well before all others fail; below 0: all go well. */
static atomic_int links_left = -1, writes_left = -1, flushes_left = -1;
static atomic_bool watch, flushed, too_early, hold_flush;
static char wanted[512]; /* hold_flush: the first flush of a folder once this is there */
static sem_t in_flush, go;

static bool fails(atomic_int *left)
{
	int n = atomic_load(left);

	if (n > 0)
		atomic_store(left, n - 1);
	return n == 0;
}

static int refuse(int why)
{
	errno = why;
	return -1;
}

int linkat(int from, const char *old, int to, const char *new, int flags)
{
	return fails(&links_left) ? refuse(ENOSPC) : (int)syscall(SYS_linkat, from, old, to, new, flags);
}

ssize_t pwrite(int fd, const void *buf, size_t n, off_t at)
{
	return fails(&writes_left) ? refuse(ENOSPC) : syscall(SYS_pwrite64, fd, buf, n, at);
}

int fdatasync(int fd)
{
	return fails(&flushes_left) ? refuse(EIO) : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
	atomic_store(&flushed, true);
	if (atomic_load(&hold_flush) && access(wanted, F_OK) == 0) {
		atomic_store(&hold_flush, false);
		sem_post(&in_flush);
		while (sem_wait(&go) != 0)
			;
	}
	return (int)syscall(SYS_fsync, fd);
}

int unlinkat(int dir, const char *name, int flags)
{
	if (atomic_load(&watch) && !atomic_load(&flushed))
		atomic_store(&too_early, true);
	return (int)syscall(SYS_unlinkat, dir, name, flags);
}

/* ---- changes ---- */

struct made {
	struct wr_oid oid;
	struct wr_ref_update update;
	struct wr_error err;
	enum wr_code code;
};

static struct wr_quarantine *new_commit(struct fx *f, struct wr_oid *out, const char *message, size_t more)
{
	WR_AUTO_MEM char *text = malloc(more + 256), *noise = malloc(more + 1);
	WR_AUTO(wr_quarantine) *q = NULL;
	char hex[WR_OID_HEX + 1];
	struct wr_oid tree;

	assert_non_null(text);
	assert_non_null(noise);
	assert_ok(wr_quarantine_new(&q, f->repo, &f->err));
	assert_ok(wr_quarantine_add(&tree, q, WR_TREE, WR_S(""), NULL, &f->err));
	wr_oid_hex(hex, &tree);
	wr_random_text(noise, more);
	noise[more] = '\0';
	snprintf(text, more + 256, "tree %s\nauthor A <a> 1 +0000\ncommitter A <a> 1 +0000\n\n%s%s\n", hex, message, noise);
	assert_ok(wr_quarantine_add(out, q, WR_COMMIT, wr_str(text), NULL, &f->err));
	return WR_STEAL(q);
}

/* old: NULL for whatever it is. What became of it is in the error's code, or the update's. */
static enum wr_code try_commit(struct fx *f, struct wr_oid *out, const char *ref, const struct wr_oid *old,
			       const char *message, size_t more)
{
	WR_AUTO(wr_quarantine) *q = new_commit(f, out, message, more);
	struct wr_ref_update u = {.name = wr_str(ref), .new = *out, .any_old = !old};
	struct wr_change change = {.updates = &u, .count = 1, .objects = q};
	enum wr_code code;

	if (old)
		u.old = *old;
	code = wr_git_append(f->repo, &change, &f->err);
	if (code != WR_OK)
		wr_error_fini(&f->err);
	return code != WR_OK ? code : u.result;
}

static void append_commit(struct fx *f, struct wr_oid *out, const char *ref, const char *message)
{
	assert_ok(try_commit(f, out, ref, NULL, message, 0));
}

static bool ref_is(struct fx *f, const char *name, const struct wr_oid *oid)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	const struct wr_ref *ref;

	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	ref = wr_snapshot_ref(snap, wr_str(name));
	return oid ? ref && wr_oid_eq(&ref->oid, oid) : !ref;
}

static void restart(struct fx *f)
{
	fx_stop(f);
	fx_start(f);
}

/* main is at a for certain; that b came after it no later record says, and no copy can be made. */
static void leave_uncertain(struct fx *f, struct wr_oid *a, struct wr_oid *b)
{
	append_commit(f, a, "refs/heads/main", "a");
	append_commit(f, b, "refs/heads/main", "b");
	fx_stop(f);
	sh(f, UNCLEAN);
	atomic_store(&links_left, 0);
	fx_start(f);
	assert_true(ref_is(f, "refs/heads/main", a));
}

/* ---- tests ---- */

/* The copy is made, and then the record finds no room: what follows goes to the copy, since the old file is gone. */
static void a_copy_counts_though_the_change_fails(void **state)
{
	struct fx *f = *state;
	struct wr_oid a, b, c, d;

	leave_uncertain(f, &a, &b);
	atomic_store(&links_left, -1);
	atomic_store(&writes_left, 3); /* header, two records */
	assert_int_equal(try_commit(f, &c, "refs/heads/c", NULL, "c", 0), WR_E_STORAGE_FULL);
	atomic_store(&writes_left, -1);
	append_commit(f, &d, "refs/heads/d", "d");
	for (int i = 0; i < 2; i++) {
		assert_true(ref_is(f, "refs/heads/main", &b));
		assert_true(ref_is(f, "refs/heads/c", NULL));
		assert_true(ref_is(f, "refs/heads/d", &d));
		restart(f);
	}
}

/* A change is judged by what the copy brought to light. */
static void nothing_uncertain_is_written_over(void **state)
{
	struct fx *f = *state;
	struct wr_oid a, b, c;

	leave_uncertain(f, &a, &b);
	atomic_store(&links_left, -1);
	assert_int_equal(try_commit(f, &c, "refs/heads/main", &a, "c", 0), WR_E_REF_CONFLICT);
	assert_true(ref_is(f, "refs/heads/main", &b));
	restart(f);
	assert_true(ref_is(f, "refs/heads/main", &b));
}

/* ---- a round that needs two journals ---- */

static struct fx *shared;
static sem_t has_turn;

static enum wr_code when_another_waits(void *arg, struct wr_snapshot *tips, struct wr_change *change,
				       struct wr_error *err)
{
	struct wr_git_repo *repo = shared->repo;
	bool waits = false;

	(void)arg, (void)tips, (void)change, (void)err;
	sem_post(&has_turn);
	while (!waits) {
		pthread_mutex_lock(&repo->mutex);
		waits = repo->turns != repo->turns_end;
		pthread_mutex_unlock(&repo->mutex);
		sched_yield();
	}
	return WR_OK;
}

static void *first_change(void *arg)
{
	struct made *m = arg;
	WR_AUTO(wr_quarantine) *q = new_commit(shared, &m->oid, "first", 0);
	struct wr_change change = {.updates = &m->update, .count = 1, .objects = q, .fn = when_another_waits};

	m->update = (struct wr_ref_update){.name = WR_S("refs/heads/first"), .new = m->oid, .any_old = true};
	m->code = wr_git_append(shared->repo, &change, &m->err);
	return NULL;
}

#define LARGE 900000

static void a_flush_fails_behind_a_turned_journal(void **state)
{
	struct fx *f = *state;
	struct made first = {.code = WR_OK};
	struct wr_oid a, b, c;
	pthread_t thread;

	fx_stop(f);
	f->cfg.no_keeper = true;
	fx_start(f);
	do {
		assert_ok(try_commit(f, &a, "refs/heads/main", NULL, "a", LARGE));
	} while (wr_journal_fits(f->repo->snap->journals[0], LARGE));
	shared = f;
	sem_init(&has_turn, 0, 0);
	assert_int_equal(pthread_create(&thread, NULL, first_change, &first), 0);
	while (sem_wait(&has_turn) != 0)
		;
	atomic_store(&flushes_left, 1);
	assert_int_equal(try_commit(f, &b, "refs/heads/b", NULL, "b", LARGE), WR_E_INTERNAL);
	assert_int_equal(pthread_join(thread, NULL), 0);
	atomic_store(&flushes_left, -1);
	/* Its flush went well. */
	assert_ok(first.code);
	append_commit(f, &c, "refs/heads/c", "c");
	for (int i = 0; i < 2; i++) {
		assert_true(ref_is(f, "refs/heads/main", &a));
		assert_true(ref_is(f, "refs/heads/first", &first.oid));
		assert_true(ref_is(f, "refs/heads/b", NULL));
		assert_true(ref_is(f, "refs/heads/c", &c));
		fx_stop(f);
		if (i == 0)
			sh(f, UNCLEAN);
		fx_start(f);
	}
	append_commit(f, &c, "refs/heads/c", "d");
}

/* ---- a reader beside a first push ---- */

static void *push_first(void *arg)
{
	struct made *m = arg;
	WR_AUTO(wr_quarantine) *q = new_commit(shared, &m->oid, "first", 0);
	struct wr_change change = {.updates = &m->update, .count = 1, .objects = q};

	m->update = (struct wr_ref_update){.name = WR_S("refs/heads/main"), .new = m->oid, .any_old = true};
	m->code = wr_git_append(shared->repo, &change, &m->err);
	return NULL;
}

static void *read_refs(void *arg)
{
	struct made *m = arg;
	WR_AUTO(wr_snapshot) *snap = NULL;

	sem_post(&has_turn);
	m->code = wr_snapshot_take(&snap, shared->repo, &m->err);
	return NULL;
}

/* The folder is in place, locked, and not yet flushed: who reads waits for that, and for no longer. */
static void readers_beside_a_first_push(void **state)
{
	struct fx *f = *state;
	struct made pushed = {.code = WR_OK}, read = {.code = WR_OK};
	pthread_t push, reader;

	shared = f;
	sem_init(&in_flush, 0, 0);
	sem_init(&go, 0, 0);
	sem_init(&has_turn, 0, 0);
	snprintf(wanted, sizeof wanted, "%s/" REPO, f->dir);
	atomic_store(&hold_flush, true);
	assert_int_equal(pthread_create(&push, NULL, push_first, &pushed), 0);
	while (sem_wait(&in_flush) != 0)
		;
	assert_int_equal(pthread_create(&reader, NULL, read_refs, &read), 0);
	while (sem_wait(&has_turn) != 0)
		;
	usleep(50000);
	sem_post(&go);
	assert_int_equal(pthread_join(push, NULL), 0);
	assert_int_equal(pthread_join(reader, NULL), 0);
	assert_ok(pushed.code);
	assert_ok(read.code);
	assert_true(ref_is(f, "refs/heads/main", &pushed.oid));
}

/* ---- events ---- */

static atomic_uint_least64_t row_seq;
static atomic_bool deliver_fails;

static enum wr_code mark(void *arg, size_t n, const char *const *ids, const char (*tokens)[WR_EVENT_TOKEN + 1],
			 struct wr_marked *out, struct wr_error *err)
{
	(void)arg, (void)ids, (void)tokens, (void)err;
	for (size_t i = 0; i < n; i++)
		out[i] = (struct wr_marked){.event_seq = atomic_load(&row_seq)};
	return WR_OK;
}

static enum wr_code deliver(void *arg, struct wr_delivery *v, size_t n, struct wr_error *err)
{
	(void)arg;
	if (atomic_load(&deliver_fails))
		return wr_fail(err, WR_E_INTERNAL, "no jobs today");
	for (size_t i = 0; i < n; i++) {
		if (atomic_load(&row_seq) == v[i].from)
			atomic_store(&row_seq, v[i].to);
		v[i].event_seq = atomic_load(&row_seq);
	}
	return WR_OK;
}

static enum wr_code unmark(void *arg, const char *id, const char *token, const struct wr_due *due, struct wr_error *err)
{
	(void)arg, (void)id, (void)token, (void)due, (void)err;
	return WR_OK;
}

static enum wr_code next_marked(void *arg, char out[WR_UUID_LEN + 1], const char *after, struct wr_error *err)
{
	(void)arg;
	if (*after)
		return wr_fail(err, WR_E_NOT_THERE, "no more");
	memcpy(out, REPO_ID, WR_UUID_LEN + 1);
	return WR_OK;
}

static const struct wr_event_sink sink = {NULL, mark, deliver, unmark, next_marked};

static void until_delivered(uint64_t seq)
{
	for (int i = 0; atomic_load(&row_seq) != seq && i < 20000; i++)
		usleep(1000);
	assert_int_equal(atomic_load(&row_seq), seq);
}

/* What comes to light late has its events all the same, and the mark lasts until then. */
static void events_of_what_was_uncertain(void **state)
{
	struct fx *f = *state;
	struct wr_oid a, b;
	int state_then;

	atomic_store(&row_seq, 0);
	f->cfg.events = &sink;
	leave_uncertain(f, &a, &b);
	wr_events_set_times(f->git->events, 1, 1, 1);
	until_delivered(1);
	usleep(200000); /* time to take the mark back, which must not be */
	pthread_mutex_lock(&f->git->events->mutex);
	state_then = (int)f->repo->events.state;
	pthread_mutex_unlock(&f->git->events->mutex);
	assert_int_equal(state_then, WR_MARKED);
	atomic_store(&links_left, -1);
	assert_true(ref_is(f, "refs/heads/main", &b));
	until_delivered(2);
}

/* While events cannot be handed over each checkpoint leaves a journal behind; a start finds them all. */
static void more_journals_than_anybody_thought(void **state)
{
	enum { MANY = 70 };
	struct fx *f = *state;
	struct wr_oid oid;
	char name[32];
	bool did;

	atomic_store(&row_seq, 0);
	atomic_store(&deliver_fails, true);
	fx_stop(f);
	f->cfg.events = &sink;
	f->cfg.no_keeper = true;
	fx_start(f);
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof name, "b%d", i);
		append_commit(f, &oid, "refs/heads/main", name);
		assert_ok(wr_git_repo_checkpoint(&did, f->repo, &f->err));
	}
	restart(f);
	assert_true(ref_is(f, "refs/heads/main", &oid));
	atomic_store(&deliver_fails, false);
	wr_events_set_times(f->git->events, 10000, 1, 1);
	until_delivered(MANY);
}

/* Killed after `current` was renamed and before that was flushed: until it is, what it no longer names must stay. */
static void nothing_goes_before_current_is_flushed(void **state)
{
	struct fx *f = *state;
	struct wr_oid a;
	bool did;

	append_commit(f, &a, "refs/heads/main", "a");
	assert_ok(wr_git_repo_checkpoint(&did, f->repo, &f->err));
	fx_stop(f);
	sh(f, UNCLEAN "touch " REPO "/objects/pack/pack-old.pack");
	assert_ok(wr_git_open(&f->git, &f->cfg, &f->err));
	atomic_store(&flushed, false);
	atomic_store(&too_early, false);
	atomic_store(&watch, true);
	assert_ok(wr_git_repo_open(&f->repo, f->git, REPO_ID, &f->err));
	atomic_store(&watch, false);
	sh(f, "test ! -e " REPO "/objects/pack/pack-old.pack");
	assert_false(atomic_load(&too_early));
	assert_true(ref_is(f, "refs/heads/main", &a));
}

static int setup(void **state)
{
	atomic_store(&links_left, -1);
	atomic_store(&writes_left, -1);
	atomic_store(&flushes_left, -1);
	atomic_store(&hold_flush, false);
	atomic_store(&watch, false);
	atomic_store(&deliver_fails, false);
	return fx_setup(state);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, fx_teardown)
	const struct CMUnitTest tests[] = {
		T(a_copy_counts_though_the_change_fails),
		T(nothing_uncertain_is_written_over),
		T(a_flush_fails_behind_a_turned_journal),
		T(readers_beside_a_first_push),
		T(events_of_what_was_uncertain),
		T(more_journals_than_anybody_thought),
		T(nothing_goes_before_current_is_flushed),
	};

	return cmocka_run_group_tests_name("git_repair", tests, NULL, NULL);
}
