/* Two stores on one data folder, as two processes have it: each repository is one's at a time, and changes hands. */
#include "tests/unit/git_fixture.h"

#include <pthread.h>

#include "core/base/clock.h"
#include "core/base/id.h"
#include "core/git/git_internal.h"

#define REPOS 3
#define BIG_BLOB ((size_t)2 << 20) /* more than a record takes */
#define WRITERS 3 /* in each store */
#define EVENTS_MAX 4096
#define PATIENCE_MS 60000

/* cmocka's checks jump, which only its own thread may: in others failures are abort()s. */
#define must(cond)                                                                                                     \
	do {                                                                                                           \
		if (!(cond)) {                                                                                         \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                                     \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

/* ---- rows, as the database has them ---- */

struct seen {
	uint64_t seq;
	char ref[32];
	struct wr_oid old, new;
};

static struct row {
	char id[WR_UUID_LEN + 1], token[WR_EVENT_TOKEN + 1];
	uint64_t seq;
	struct seen *v;
	size_t n;
} rows[REPOS];
static pthread_mutex_t rows_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int fails_left; /* transactions that fail */

static struct row *row_of(const char *id)
{
	for (size_t i = 0; i < REPOS; i++)
		if (strcmp(rows[i].id, id) == 0)
			return &rows[i];
	abort();
}

static enum wr_code mark(void *arg, size_t n, const char *const *ids, const char (*tokens)[WR_EVENT_TOKEN + 1],
			 struct wr_marked *out, struct wr_error *err)
{
	(void)arg;
	(void)err;
	pthread_mutex_lock(&rows_lock);
	for (size_t i = 0; i < n; i++) {
		memcpy(row_of(ids[i])->token, tokens[i], sizeof tokens[i]);
		out[i] = (struct wr_marked){.event_seq = row_of(ids[i])->seq};
	}
	pthread_mutex_unlock(&rows_lock);
	return WR_OK;
}

static void hand_over_one(struct wr_delivery *d)
{
	struct row *row = row_of(d->repo_id);

	d->code = WR_OK;
	d->event_seq = row->seq;
	if (row->seq != d->from)
		return;
	for (size_t i = 0; i < d->n; i++) {
		struct seen *s = &row->v[row->n++];

		must(row->n < EVENTS_MAX);
		*s = (struct seen){.seq = d->events[i].seq, .old = d->events[i].old, .new = d->events[i].new};
		snprintf(s->ref, sizeof s->ref, "%.*s", (int)d->events[i].ref.len, d->events[i].ref.ptr);
	}
	d->event_seq = row->seq = d->to;
}

static enum wr_code deliver(void *arg, struct wr_delivery *v, size_t n, struct wr_error *err)
{
	(void)arg;
	if (atomic_load(&fails_left) > 0 && atomic_fetch_sub(&fails_left, 1) > 0)
		return wr_fail(err, WR_E_UNAVAILABLE, "as told");
	pthread_mutex_lock(&rows_lock);
	for (size_t i = 0; i < n; i++)
		hand_over_one(&v[i]);
	pthread_mutex_unlock(&rows_lock);
	return WR_OK;
}

static enum wr_code unmark(void *arg, const char *id, const char *token, const struct wr_due *due, struct wr_error *err)
{
	(void)arg;
	(void)due;
	(void)err;
	pthread_mutex_lock(&rows_lock);
	if (strcmp(row_of(id)->token, token) == 0)
		row_of(id)->token[0] = '\0';
	pthread_mutex_unlock(&rows_lock);
	return WR_OK;
}

static enum wr_code next_marked(void *arg, char out[WR_UUID_LEN + 1], const char *after, struct wr_error *err)
{
	enum wr_code code = WR_E_NOT_THERE;

	(void)arg;
	(void)err;
	pthread_mutex_lock(&rows_lock);
	for (size_t i = 0; i < REPOS && code != WR_OK; i++) {
		if (!rows[i].token[0] || strcmp(rows[i].id, after) <= 0)
			continue;
		memcpy(out, rows[i].id, WR_UUID_LEN + 1);
		code = WR_OK;
	}
	pthread_mutex_unlock(&rows_lock);
	return code;
}

static const struct wr_event_sink sink = {
	.mark = mark, .deliver = deliver, .unmark = unmark, .next_marked = next_marked};

/* ---- two stores ---- */

/* Whom a store asks for a repository: the other one. */
struct side {
	struct wr_git *git;
	struct side *other;
	pthread_rwlock_t lock; /* git, while the other one asks it */
};

static void ask(void *arg, const char *id)
{
	struct side *other = ((struct side *)arg)->other;

	pthread_rwlock_rdlock(&other->lock);
	if (other->git)
		wr_git_yield(other->git, id);
	pthread_rwlock_unlock(&other->lock);
}

struct pair {
	struct fx *f;
	struct side a, b;
};

static void side_open(struct pair *p, struct side *s, bool asks)
{
	struct wr_git_config cfg = p->f->cfg;

	cfg.events = &sink;
	cfg.ask_owner = asks ? ask : NULL;
	cfg.ask_owner_arg = s;
	s->other = s == &p->a ? &p->b : &p->a;
	pthread_rwlock_wrlock(&s->lock);
	assert_ok(wr_git_open(&s->git, &cfg, &p->f->err));
	pthread_rwlock_unlock(&s->lock);
	wr_events_set_times(s->git->events, 20, 5, 20);
}

static void side_close(struct side *s)
{
	struct wr_git *git = s->git;

	pthread_rwlock_wrlock(&s->lock);
	s->git = NULL;
	pthread_rwlock_unlock(&s->lock);
	wr_git_close(git);
}

static struct pair *pair_new(void **state)
{
	static struct pair p;

	p = (struct pair){.f = *state};
	fx_stop(p.f);
	pthread_rwlock_init(&p.a.lock, NULL);
	pthread_rwlock_init(&p.b.lock, NULL);
	for (size_t i = 0; i < REPOS; i++) {
		free(rows[i].v);
		rows[i] = (struct row){.v = calloc(EVENTS_MAX, sizeof *rows[i].v)};
		assert_non_null(rows[i].v);
		snprintf(rows[i].id, sizeof rows[i].id, "01234567-89ab-4def-8123-456789abcd%02x", (unsigned)i);
	}
	return &p;
}

static enum wr_code commit(struct wr_quarantine **out, struct wr_oid *oid, struct wr_git_repo *repo,
			   const struct wr_oid *parent, const char *message, struct wr_str blob, struct wr_error *err)
{
	WR_AUTO(wr_quarantine) *q = NULL;
	char hex[WR_OID_HEX + 1], over[WR_OID_HEX + 1], text[512];
	struct wr_oid tree, id;
	uint8_t entry[8 + WR_OID_RAW] = "100644 f";
	WR_AUTO_S(wr_buf) rows_of_tree = WR_BUF_INIT(256);
	enum wr_code code;

	if ((code = wr_quarantine_new(&q, repo, err)) != WR_OK ||
	    (code = wr_quarantine_add(&id, q, WR_BLOB, blob, NULL, err)) != WR_OK)
		return code;
	wr_buf_add(&rows_of_tree, entry, 8);
	wr_buf_add(&rows_of_tree, "", 1);
	wr_buf_add(&rows_of_tree, id.id, WR_OID_RAW);
	if ((code = wr_quarantine_add(&tree, q, WR_TREE, wr_buf_str(&rows_of_tree), NULL, err)) != WR_OK)
		return code;
	wr_oid_hex(hex, &tree);
	if (parent)
		wr_oid_hex(over, parent);
	snprintf(text, sizeof text, "tree %s\n%s%s%sauthor A <a> 1 +0000\ncommitter A <a> 1 +0000\n\n%s\n", hex,
		 parent ? "parent " : "", parent ? over : "", parent ? "\n" : "", message);
	if ((code = wr_quarantine_add(oid, q, WR_COMMIT, wr_str(text), NULL, err)) == WR_OK)
		*out = WR_STEAL(q);
	return code;
}

/* One commit on top of what the store says the ref is. */
static enum wr_code step(struct wr_oid *tip, struct wr_git *git, const char *id, const char *ref, const char *message,
			 struct wr_str blob, struct wr_error *err)
{
	WR_AUTO(wr_git_repo) *repo = NULL;
	WR_AUTO(wr_snapshot) *snap = NULL;
	WR_AUTO(wr_quarantine) *q = NULL;
	struct wr_ref_update u = {.name = wr_str(ref)};
	struct wr_change change = {.updates = &u, .count = 1};
	const struct wr_ref *now;
	enum wr_code code;

	if ((code = wr_git_repo_open(&repo, git, id, err)) != WR_OK ||
	    (code = wr_snapshot_take(&snap, repo, err)) != WR_OK)
		return code;
	now = wr_snapshot_ref(snap, u.name);
	if (now)
		u.old = now->oid;
	if ((code = commit(&q, &u.new, repo, now ? &now->oid : NULL, message, blob, err)) != WR_OK)
		return code;
	change.objects = q;
	if ((code = wr_git_append(repo, &change, err)) != WR_OK)
		return code;
	if (u.result == WR_OK)
		*tip = u.new;
	return u.result;
}

static void assert_tip(struct pair *p, struct wr_git *git, const char *id, const char *ref, const struct wr_oid *oid)
{
	WR_AUTO(wr_git_repo) *repo = NULL;
	WR_AUTO(wr_snapshot) *snap = NULL;
	const struct wr_ref *now;

	assert_ok(wr_git_repo_open(&repo, git, id, &p->f->err));
	assert_ok(wr_snapshot_take(&snap, repo, &p->f->err));
	now = wr_snapshot_ref(snap, wr_str(ref));
	assert_non_null(now);
	assert_true(wr_oid_eq(&now->oid, oid));
}

/* All that was written is handed over, each change once, and nothing is marked. */
static void assert_events(struct pair *p, struct wr_git *git)
{
	int64_t deadline = wr_mono_ms() + PATIENCE_MS;

	for (size_t i = 0; i < REPOS; i++) {
		WR_AUTO(wr_git_repo) *repo = NULL;
		WR_AUTO(wr_snapshot) *snap = NULL;
		bool done = false;

		assert_ok(wr_git_repo_open(&repo, git, rows[i].id, &p->f->err));
		assert_ok(wr_snapshot_take(&snap, repo, &p->f->err));
		while (!done) {
			assert_true(wr_mono_ms() < deadline);
			nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
			pthread_mutex_lock(&rows_lock);
			done = rows[i].seq == snap->seq && !rows[i].token[0];
			pthread_mutex_unlock(&rows_lock);
		}
		for (size_t k = 0; k < rows[i].n; k++) {
			struct wr_oid before = {{0}};

			for (size_t m = 0; m < k; m++)
				if (strcmp(rows[i].v[m].ref, rows[i].v[k].ref) == 0)
					before = rows[i].v[m].new;
			assert_true(wr_oid_eq(&before, &rows[i].v[k].old));
			assert_true(k == 0 || rows[i].v[k - 1].seq <= rows[i].v[k].seq);
		}
		for (size_t k = 0; k < rows[i].n; k++) {
			const struct wr_ref *ref = wr_snapshot_ref(snap, wr_str(rows[i].v[k].ref));
			bool last = true;

			for (size_t m = k + 1; m < rows[i].n; m++)
				last = last && strcmp(rows[i].v[m].ref, rows[i].v[k].ref) != 0;
			assert_non_null(ref);
			assert_true(!last || wr_oid_eq(&ref->oid, &rows[i].v[k].new));
		}
	}
}

/* ---- one after the other ---- */

static void who_needs_it_is_given_it(void **state)
{
	struct pair *p = pair_new(state);
	struct wr_oid one, two;

	side_open(p, &p->a, true);
	side_open(p, &p->b, true);
	for (unsigned i = 0; i < rounds(20); i++) {
		char message[16];

		snprintf(message, sizeof message, "%u", i);
		assert_ok(step(&one, p->a.git, rows[0].id, "refs/heads/a", message, WR_S("a"), &p->f->err));
		assert_tip(p, p->b.git, rows[0].id, "refs/heads/a", &one);
		assert_ok(step(&two, p->b.git, rows[0].id, "refs/heads/b", message, WR_S("b"), &p->f->err));
		assert_tip(p, p->a.git, rows[0].id, "refs/heads/b", &two);
	}
	side_close(&p->a);
	assert_events(p, p->b.git);
	assert_int_equal(rows[0].n, 2 * rounds(20));
	side_close(&p->b);
}

static void who_is_not_asked_keeps_it(void **state)
{
	struct pair *p = pair_new(state);
	struct wr_git_repo *repo = NULL;
	struct wr_oid oid;

	side_open(p, &p->a, false);
	side_open(p, &p->b, false);
	assert_true(wr_git_others(p->a.git));
	assert_ok(step(&oid, p->a.git, rows[0].id, "refs/heads/a", "x", WR_S("a"), &p->f->err));
	assert_int_equal(wr_git_repo_open(&repo, p->b.git, rows[0].id, &p->f->err), WR_E_UNAVAILABLE);
	assert_int_equal(wr_git_owned(p->a.git), 1);
	wr_git_yield(p->a.git, rows[0].id);
	wr_git_yield(p->a.git, rows[1].id);
	assert_int_equal(wr_git_owned(p->a.git), 0);
	assert_int_equal(rows[0].seq, 1);
	assert_int_equal(rows[0].token[0], 0);
	assert_tip(p, p->b.git, rows[0].id, "refs/heads/a", &oid);
	side_close(&p->b);
	assert_false(wr_git_others(p->a.git));
	side_close(&p->a);
}

static void until_nothing_is_owned(struct wr_git *git)
{
	int64_t deadline = wr_mono_ms() + PATIENCE_MS;

	while (wr_git_owned(git)) {
		assert_true(wr_mono_ms() < deadline);
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
}

/* Long after the hand-over a request opens it again, while something keeps it from being given back at once. */
static void what_is_opened_late_is_given_back(void **state)
{
	struct pair *p = pair_new(state);
	WR_AUTO(wr_git_repo) *repo = NULL;
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_oid oid;

	/* It asks: what was marked the other one opens by itself. */
	side_open(p, &p->a, true);
	side_open(p, &p->b, false);
	assert_ok(step(&oid, p->a.git, rows[0].id, "refs/heads/a", "x", WR_S("a"), &p->f->err));
	assert_ok(wr_git_repo_open(&repo, p->a.git, rows[0].id, &p->f->err));
	assert_ok(wr_git_hand_over(p->a.git, &p->f->err));
	until_nothing_is_owned(p->a.git);
	/* So that what looks only while something is owned does not look any more. */
	nanosleep(&(struct timespec){.tv_nsec = 100 * 1000000}, NULL);
	pthread_mutex_lock(&repo->keeping);
	assert_ok(wr_snapshot_take(&snap, repo, &p->f->err));
	assert_int_equal(wr_git_owned(p->a.git), 1);
	pthread_mutex_unlock(&repo->keeping);
	until_nothing_is_owned(p->a.git);
	assert_tip(p, p->b.git, rows[0].id, "refs/heads/a", &oid);
	wr_snapshot_unref(WR_STEAL(snap));
	wr_git_repo_unref(WR_STEAL(repo));
	side_close(&p->a);
	side_close(&p->b);
}

/* What could not be handed over before the repository went away is, by who has it next; once. */
static void events_follow_their_repository(void **state)
{
	struct pair *p = pair_new(state);
	struct wr_oid oid;

	side_open(p, &p->a, true);
	atomic_store(&fails_left, 1000000);
	assert_ok(step(&oid, p->a.git, rows[0].id, "refs/heads/a", "x", WR_S("a"), &p->f->err));
	wr_git_yield(p->a.git, rows[0].id);
	assert_int_equal(wr_git_owned(p->a.git), 0);
	assert_int_equal(rows[0].seq, 0);
	assert_int_not_equal(rows[0].token[0], 0);
	atomic_store(&fails_left, 0);
	/* Nobody writes to it, and nobody asks for it. */
	side_open(p, &p->b, true);
	assert_events(p, p->b.git);
	assert_int_equal(rows[0].n, 1);
	/* While another process lives, its rows are looked at again; and once more when it has gone. */
	assert_ok(step(&oid, p->a.git, rows[1].id, "refs/heads/a", "y", WR_S("a"), &p->f->err));
	side_close(&p->a);
	assert_events(p, p->b.git);
	side_close(&p->b);
}

struct racing {
	struct pair *p;
	bool lost;
	struct wr_oid theirs;
	struct wr_ref_update update;
};

static enum wr_code lose_the_race(void *arg, struct wr_snapshot *tips, struct wr_change *change, struct wr_error *err)
{
	struct racing *r = arg;

	(void)tips;
	change->updates = &r->update;
	change->count = 1;
	if (r->lost)
		return WR_OK;
	r->lost = true;
	assert_ok(step(&r->theirs, r->p->b.git, rows[0].id, "refs/heads/b", "b", WR_S("b"), err));
	return WR_OK;
}

/* big: its objects are a pack of their own, which lies in the loser's folder by then. */
static void lose_a_first_push(void **state, bool big)
{
	struct pair *p = pair_new(state);
	WR_AUTO_MEM char *blob = malloc(BIG_BLOB);
	WR_AUTO(wr_quarantine) *q = NULL;
	struct racing r = {.p = p, .update = {.name = WR_S("refs/heads/a")}};
	struct wr_change change = {.fn = lose_the_race, .arg = &r};
	struct wr_git_repo *repo;
	struct wr_oid oid;

	side_open(p, &p->a, true);
	side_open(p, &p->b, true);
	assert_ok(wr_git_repo_open(&repo, p->a.git, rows[0].id, &p->f->err));
	wr_random_bytes(blob, BIG_BLOB);
	assert_ok(commit(&q, &r.update.new, repo, NULL, "a", wr_str_n(blob, big ? BIG_BLOB : 1), &p->f->err));
	change.objects = q;
	assert_ok(wr_git_append(repo, &change, &p->f->err));
	assert_int_equal(r.update.result, WR_OK);
	wr_git_repo_unref(repo);
	assert_tip(p, p->a.git, rows[0].id, "refs/heads/a", &r.update.new);
	assert_tip(p, p->b.git, rows[0].id, "refs/heads/b", &r.theirs);
	assert_ok(step(&oid, p->a.git, rows[0].id, "refs/heads/c", "c", WR_S("c"), &p->f->err));
	assert_tip(p, p->b.git, rows[0].id, "refs/heads/c", &oid);
	sh(p->f, "test $(ls data/repos/01/23 | wc -l) = 1");
	wr_quarantine_free(WR_STEAL(q));
	side_close(&p->a);
	assert_events(p, p->b.git);
	side_close(&p->b);
}

static void of_two_first_pushes_both_are_there(void **state)
{
	lose_a_first_push(state, false);
}

static void of_two_large_first_pushes_both_are_there(void **state)
{
	lose_a_first_push(state, true);
}

/* ---- deletion ---- */

static enum wr_code not_deleted(void *arg, char *out, size_t cap, const char *id, struct wr_error *err)
{
	(void)err;
	(void)id;
	snprintf(out, cap, "main");
	return atomic_load((atomic_bool *)arg) ? WR_E_NOT_THERE : WR_OK;
}

struct deleting {
	struct pair *p;
	atomic_bool *gone;
	struct wr_ref_update update;
};

/* The push has its mark; then another process deletes the repository, and finds nothing to remove. */
static enum wr_code delete_it(void *arg, struct wr_snapshot *tips, struct wr_change *change, struct wr_error *err)
{
	struct deleting *d = arg;

	(void)tips;
	atomic_store(d->gone, true);
	wr_git_kill(d->p->b.git, rows[0].id);
	assert_ok(wr_git_remove(d->p->b.git, rows[0].id, err));
	change->updates = &d->update;
	change->count = 1;
	return WR_OK;
}

static void a_first_push_brings_nothing_back(void **state)
{
	struct pair *p = pair_new(state);
	WR_AUTO(wr_quarantine) *q = NULL;
	atomic_bool gone = false;
	struct deleting d = {.p = p, .gone = &gone, .update = {.name = WR_S("refs/heads/a")}};
	struct wr_change change = {.fn = delete_it, .arg = &d};
	struct wr_git_repo *repo;

	p->f->cfg.default_branch = not_deleted;
	p->f->cfg.default_branch_arg = &gone;
	side_open(p, &p->a, false);
	side_open(p, &p->b, false);
	assert_ok(wr_git_repo_open(&repo, p->a.git, rows[0].id, &p->f->err));
	assert_ok(commit(&q, &d.update.new, repo, NULL, "a", WR_S("a"), &p->f->err));
	change.objects = q;
	assert_int_equal(wr_git_append(repo, &change, &p->f->err), WR_E_NOT_THERE);
	wr_error_fini(&p->f->err);
	wr_git_repo_unref(repo);
	sh(p->f, "test -z \"$(ls data/repos/01/23)\"");
	wr_quarantine_free(WR_STEAL(q));
	side_close(&p->a);
	side_close(&p->b);
	p->f->cfg.default_branch = NULL;
}

/* What another process builds is no leftover; and of a repository that it has nothing is removed. */
static void what_another_builds_stays(void **state)
{
	struct pair *p = pair_new(state);
	struct wr_git_repo *repo;
	char built[PATH_MAX];
	struct wr_folder *made;
	struct wr_oid oid;

	side_open(p, &p->a, false);
	side_open(p, &p->b, false);
	assert_ok(wr_folder_make(&made, built, p->a.git, rows[0].id, &p->f->err));
	assert_ok(wr_git_repo_open(&repo, p->b.git, rows[0].id, &p->f->err));
	wr_git_repo_unref(repo);
	assert_int_equal(access(built, F_OK), 0);
	wr_git_kill(p->b.git, rows[0].id);
	assert_int_equal(wr_git_remove(p->b.git, rows[0].id, &p->f->err), WR_E_UNAVAILABLE);
	assert_int_equal(access(built, F_OK), 0);
	wr_folder_abort(made, built);
	assert_ok(wr_git_remove(p->b.git, rows[0].id, &p->f->err));

	assert_ok(step(&oid, p->a.git, rows[1].id, "refs/heads/a", "x", WR_S("a"), &p->f->err));
	wr_git_kill(p->b.git, rows[1].id);
	assert_int_equal(wr_git_remove(p->b.git, rows[1].id, &p->f->err), WR_E_UNAVAILABLE);
	assert_tip(p, p->a.git, rows[1].id, "refs/heads/a", &oid);
	wr_git_yield(p->a.git, rows[1].id);
	assert_ok(wr_git_remove(p->b.git, rows[1].id, &p->f->err));
	sh(p->f, "test -z \"$(ls data/repos/01/23)\"");
	side_close(&p->a);
	side_close(&p->b);
}

static void spools_of_the_living_stay(void **state)
{
	struct pair *p = pair_new(state);

	side_open(p, &p->a, false);
	sh(p->f, "cd data/run; mkdir old $(ls -d */)spool; touch old/x worker-000000000000000000000000.lock; "
		 "mkdir 000000000000000000000000");
	side_open(p, &p->b, false);
	sh(p->f, "cd data/run; test $(ls | wc -l) = 4 && ls */ | grep -q spool");
	side_close(&p->b);
	sh(p->f, "cd data/run; test $(ls | wc -l) = 2");
	side_close(&p->a);
	sh(p->f, "test -z \"$(ls data/run)\"");
}

/* ---- all at once ---- */

struct writer {
	struct pair *p;
	struct side *side;
	unsigned number, seed, steps;
	struct wr_oid tips[REPOS]; /* of its own ref */
	unsigned own[REPOS], shared[REPOS];
	pthread_t thread;
};

static unsigned some(unsigned *seed, unsigned n)
{
	return (unsigned)rand_r(seed) % n;
}

static void one_step(struct writer *w, unsigned i)
{
	static const char big[1200000];
	unsigned r = some(&w->seed, REPOS);
	WR_AUTO_MEM char *noise = NULL;
	struct wr_str blob = WR_S("small");
	char ref[32] = "refs/heads/shared", message[64];
	bool shared = some(&w->seed, 2);
	struct wr_oid tip;
	enum wr_code code;

	if (some(&w->seed, 12) == 0) {
		noise = malloc(sizeof big);
		must(noise);
		wr_random_bytes(noise, sizeof big);
		blob = wr_str_n(noise, sizeof big);
	}
	if (!shared)
		snprintf(ref, sizeof ref, "refs/heads/own%u", w->number);
	/* No two commits are the same, not even the first ones of two branches. */
	snprintf(message, sizeof message, "%u %u %s", w->number, i, ref);
	do {
		code = step(&tip, w->side->git, rows[r].id, ref, message, blob, NULL);
		must(code == WR_OK || code == WR_E_UNAVAILABLE || code == WR_E_REF_CONFLICT);
	} while (code != WR_OK);
	if (shared) {
		w->shared[r]++;
	} else {
		w->own[r]++;
		w->tips[r] = tip;
	}
}

static void one_look(struct writer *w)
{
	unsigned r = some(&w->seed, REPOS);
	WR_AUTO(wr_git_repo) *repo = NULL;
	WR_AUTO(wr_snapshot) *snap = NULL;
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	WR_AUTO_S(wr_git_info) info = {.exists = false};
	char name[32];
	enum wr_code code;
	bool did;

	code = wr_git_repo_open(&repo, w->side->git, rows[r].id, NULL);
	if (code == WR_OK && some(&w->seed, 3) == 0) {
		code = wr_git_repo_info(&info, repo, NULL);
		must(code == WR_OK || code == WR_E_UNAVAILABLE);
		return;
	}
	if (code == WR_OK && some(&w->seed, 3) == 0) {
		code = wr_git_repo_checkpoint(&did, repo, NULL);
		must(code == WR_OK || code == WR_E_UNAVAILABLE || code == WR_E_CANCELLED);
		return;
	}
	if (code == WR_OK)
		code = wr_snapshot_take(&snap, repo, NULL);
	must(code == WR_OK || code == WR_E_UNAVAILABLE);
	snprintf(name, sizeof name, "refs/heads/own%u", w->number);
	if (code != WR_OK || w->own[r] == 0)
		return;
	/* Its own writes are there, whoever has had the repository since; and they stay readable in what it holds. */
	must(wr_snapshot_ref(snap, wr_str(name)) && wr_oid_eq(&wr_snapshot_ref(snap, wr_str(name))->oid, &w->tips[r]));
	nanosleep(&(struct timespec){.tv_nsec = 3 * 1000 * 1000}, NULL);
	must(wr_snapshot_read(&obj, snap, &w->tips[r], NULL) == WR_OK);
}

static void *write_and_look(void *arg)
{
	struct writer *w = arg;

	for (unsigned i = 0; i < w->steps; i++) {
		one_step(w, i);
		if (some(&w->seed, 2))
			one_look(w);
	}
	return NULL;
}

static void begin(struct pair *p, struct writer *w, struct side *side, unsigned steps)
{
	for (unsigned i = 0; i < WRITERS; i++) {
		w[i].p = p;
		w[i].side = side;
		w[i].steps = steps;
		assert_int_equal(pthread_create(&w[i].thread, NULL, write_and_look, &w[i]), 0);
	}
}

static void join(struct writer *w)
{
	for (unsigned i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_join(w[i].thread, NULL), 0);
}

static void nothing_is_lost_or_doubled(void **state)
{
	struct pair *p = pair_new(state);
	struct writer w[2][WRITERS] = {0};
	struct side *old = &p->a, *new = &p->b;

	for (unsigned i = 0; i < 2 * WRITERS; i++) {
		w[i / WRITERS][i % WRITERS].number = i;
		w[i / WRITERS][i % WRITERS].seed = first_seed() * 100 + i;
	}
	side_open(p, old, true);
	for (unsigned i = 0; i < rounds(4); i++) {
		struct side *was = old;

		/* The old one's writers go on for a while after it was told. */
		begin(p, w[0], old, 12);
		side_open(p, new, true);
		begin(p, w[1], new, 12);
		nanosleep(&(struct timespec){.tv_nsec = (long)(i % 3) * 20 * 1000 * 1000}, NULL);
		assert_ok(wr_git_hand_over(old->git, &p->f->err));
		join(w[0]);
		for (int64_t deadline = wr_mono_ms() + PATIENCE_MS; wr_git_owned(old->git);) {
			assert_true(wr_mono_ms() < deadline);
			nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
		}
		side_close(old);
		join(w[1]);
		old = new;
		new = was;
	}
	assert_events(p, old->git);
	for (size_t r = 0; r < REPOS; r++) {
		unsigned shared = 0, all = 0;

		for (unsigned i = 0; i < 2 * WRITERS; i++) {
			const struct writer *one = &w[i / WRITERS][i % WRITERS];
			char ref[32];

			snprintf(ref, sizeof ref, "refs/heads/own%u", one->number);
			if (one->own[r])
				assert_tip(p, old->git, rows[r].id, ref, &one->tips[r]);
			shared += one->shared[r];
			all += one->own[r] + one->shared[r];
		}
		assert_int_equal(rows[r].n, all);
		{
			WR_AUTO(wr_git_repo) *repo = NULL;
			bool did = true;

			/* The first may only go on where one that was broken off ended. */
			assert_ok(wr_git_repo_open(&repo, old->git, rows[r].id, &p->f->err));
			while (did)
				assert_ok(wr_git_repo_checkpoint(&did, repo, &p->f->err));
		}
		/* A commit stands on the one before it, so each that was lost or came twice would show. */
		sh(p->f, "cd data/repos/01/23/%s.git && git fsck --strict --no-dangling 2>/dev/null && "
			 "test $(git rev-list --count refs/heads/shared) = %u && "
			 "test $(git rev-list --count --all) = %u", rows[r].id, shared, all);
	}
	side_close(old);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(who_needs_it_is_given_it),
		T(who_is_not_asked_keeps_it),
		T(what_is_opened_late_is_given_back),
		T(events_follow_their_repository),
		T(of_two_first_pushes_both_are_there),
		T(of_two_large_first_pushes_both_are_there),
		T(a_first_push_brings_nothing_back),
		T(what_another_builds_stays),
		T(spools_of_the_living_stay),
		T(nothing_is_lost_or_doubled),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	for (size_t i = 0; i < REPOS; i++)
		free(rows[i].v);
	return failed;
}
