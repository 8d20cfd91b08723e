/*
 * Care that is due, known by the database: found again after any end of the process, by nobody's request, once, and with a
 * clock that the test moves. The store, its keeper and the database are real.
 */
#include "tests/unit/git_fixture.h"

#include <signal.h>
#include <sys/wait.h>

#include "core/auth/due.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/git/git_internal.h"
#include "core/git/keeper_internal.h"
#include "core/git/plan.h"
#include "core/store/db_internal.h"
#include "server/due_rows.h"
#include "server/journal_events.h"

#define HOUR INT64_C(3600000)
#define GRACE (100 * HOUR)
#define PATIENCE_MS 60000
#define ACCOUNT "aaaaaaaa-89ab-4def-8123-456789abcdef"

static struct wr_db *db;
static struct wr_journal_events je;
static struct wr_due_rows rows;
static _Atomic int64_t clock_ms;
static const struct wr_oid zero;

static int64_t moved_clock(void *arg)
{
	(void)arg;
	return atomic_load(&clock_ms);
}

/* ---- the database ---- */

static int64_t ask(const struct fx *f, const char *sql, const char *id)
{
	char path[160];
	sqlite3 *sq = NULL;
	sqlite3_stmt *stmt = NULL;
	int64_t n = -1;

	snprintf(path, sizeof path, "%s/warren.db", f->cfg.data);
	assert_int_equal(sqlite3_open(path, &sq), SQLITE_OK);
	sqlite3_busy_timeout(sq, 10000);
	assert_int_equal(sqlite3_prepare_v2(sq, sql, -1, &stmt, NULL), SQLITE_OK);
	sqlite3_bind_text(stmt, 1, id, -1, SQLITE_STATIC);
	if (sqlite3_step(stmt) == SQLITE_ROW)
		n = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	sqlite3_close(sq);
	return n;
}

static int64_t due_at(const struct fx *f, const char *id)
{
	return ask(f, "SELECT coalesce(due_ms, 0) FROM repo WHERE id = ?1", id);
}

static bool due_why(const struct fx *f, const char *id, const char *why)
{
	char sql[160];

	snprintf(sql, sizeof sql, "SELECT coalesce(due_why, '') = '%s' FROM repo WHERE id = ?1", why);
	return ask(f, sql, id) == 1;
}

static bool is_marked(const struct fx *f, const char *id)
{
	return ask(f, "SELECT mark IS NOT NULL FROM repo WHERE id = ?1", id) == 1;
}

static bool all_is_done(const struct fx *f)
{
	return ask(f, "SELECT count(*) FROM repo WHERE due_ms IS NOT NULL OR mark IS NOT NULL", "") == 0;
}

static void add_account(const struct fx *f, const char *id)
{
	ask(f, "INSERT OR IGNORE INTO account (id, name, created_ms) VALUES (?1, ?1, 1)", id);
}

static void add_repo(const struct fx *f, const char *id, const char *account)
{
	char sql[256];

	snprintf(sql, sizeof sql,
		 "INSERT INTO repo (id, account_id, visibility, default_branch, state, created_ms)"
		 " VALUES (?1, '%s', 'private', 'main', 'live', 1)", account);
	ask(f, sql, id);
}

/* Until it is true. */
#define wait_for(what)                                                                                                 \
	do {                                                                                                           \
		int64_t until_ = wr_mono_ms() + PATIENCE_MS;                                                           \
		while (!(what)) {                                                                                      \
			if (wr_mono_ms() > until_)                                                                     \
				fail_msg("in vain: " #what);                                                           \
			nanosleep(&(struct timespec){.tv_nsec = 2 * 1000 * 1000}, NULL);                               \
		}                                                                                                      \
	} while (0)

/* ---- a life of the server ---- */

static void open_db(struct fx *f)
{
	assert_ok(wr_db_open(&db, f->cfg.data, &f->err));
	wr_journal_events_init(&je, db, NULL, 0);
	wr_due_rows_init(&rows, db);
}

/* Without a handle to any repository. */
static void begin(struct fx *f)
{
	open_db(f);
	assert_ok(wr_git_open(&f->git, &f->cfg, &f->err));
	if (f->git->events)
		wr_events_set_times(f->git->events, 1, 0, 5);
}

static void leave(struct fx *f)
{
	if (f->repo)
		wr_git_repo_unref(f->repo);
	f->repo = NULL;
}

static void end(struct fx *f)
{
	leave(f);
	wr_git_close(f->git);
	f->git = NULL;
	wr_db_close(db);
	db = NULL;
}

static void use(struct fx *f, const char *id)
{
	leave(f);
	assert_ok(wr_git_repo_open(&f->repo, f->git, id, &f->err));
}

static int setup(void **state)
{
	struct fx *f;

	wr_log_set_threshold(WR_ERROR);
	atomic_store(&clock_ms, 1700000000000);
	fx_setup(state);
	f = *state;
	fx_stop(f);
	f->cfg.cruft_grace_ms = GRACE;
	f->cfg.now_ms = moved_clock;
	f->cfg.events = &je.sink;
	f->cfg.due = &rows.list;
	f->cfg.care_poll_ms = 5;
	open_db(f);
	add_account(f, ACCOUNT);
	add_repo(f, REPO_ID, ACCOUNT);
	wr_db_close(db);
	db = NULL;
	return 0;
}

/* ---- what is pushed ---- */

static void push_new(struct fx *f, struct wr_oid *out, const char *ref, const char *text)
{
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(64u << 20);
	char hex[WR_OID_HEX + 1];

	sh(f, "test -d src || git init -q --bare src");
	sh_oid(f, out,
	       "cd src; b=$(printf '%%s' '%s' | git hash-object -w --stdin); t=$(printf '100644 blob %%s\\t%s\\n' $b | git "
	       "mktree); git commit-tree -m m $t", text, text);
	wr_oid_hex(hex, out);
	sh_out(f, &pack, "printf '%%s\\n' %s | git -C src pack-objects -q --revs --stdout", hex);
	assert_ok(push(f, wr_buf_str(&pack), ref, out));
}

/* A history of so many objects at least, at once. */
static void push_many(struct fx *f, const char *ref, unsigned n)
{
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(64u << 20);
	struct wr_oid oid;
	char hex[WR_OID_HEX + 1];

	sh_oid(f, &oid,
	       "test -d src || git init -q --bare src; cd src; mkdir -p w; for i in $(seq %u); do echo %s $i >w/$i; done; seq -f "
	       "w/%%.0f %u | git hash-object -w --stdin-paths | awk '{print \"100644 blob \" $1 \"\\tf\" NR}' | git mktree >t; "
	       "git commit-tree -m m $(cat t)", n, ref, n);
	wr_oid_hex(hex, &oid);
	sh_out(f, &pack, "printf '%%s\\n' %s | git -C src pack-objects -q --revs --stdout", hex);
	assert_ok(push(f, wr_buf_str(&pack), ref, &oid));
}

static bool has(struct fx *f, const struct wr_oid *oid)
{
	WR_AUTO(wr_snapshot) *snap = NULL;

	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	return wr_snapshot_has(snap, oid);
}

static uint64_t checkpoint_of(struct fx *f)
{
	WR_AUTO_S(wr_git_info) info = {0};

	assert_ok(wr_git_repo_info(&info, f->repo, &f->err));
	return info.checkpoint;
}

static bool checkpoint(struct fx *f)
{
	bool did;

	if (wr_git_repo_checkpoint(&did, f->repo, &f->err) != WR_OK)
		fail_msg("%s %s", f->err.text, f->err.detail);
	return did;
}

/* ---- by nobody's request ---- */

static void cruft_goes_when_its_grace_is_over(void **state)
{
	struct fx *f = *state;
	struct wr_oid a, b;
	int64_t at;

	begin(f);
	use(f, REPO_ID);
	push_new(f, &a, "refs/heads/a", "a");
	push_new(f, &b, "refs/heads/b", "b");
	assert_ok(push(f, WR_S(""), "refs/heads/b", &zero));
	assert_true(checkpoint(f));
	wait_for(!is_marked(f, REPO_ID));
	at = due_at(f, REPO_ID);
	assert_true(due_why(f, REPO_ID, "cruft"));
	assert_true(at > atomic_load(&clock_ms) + GRACE && at < atomic_load(&clock_ms) + GRACE + GRACE / 8);
	/* While it is open, ... */
	assert_true(has(f, &b));
	atomic_store(&clock_ms, at);
	wait_for(!has(f, &b));
	wait_for(all_is_done(f));
	push_new(f, &b, "refs/heads/b", "b");
	assert_ok(push(f, WR_S(""), "refs/heads/b", &zero));
	assert_true(checkpoint(f));
	end(f);
	/* ... and while it is not. */
	assert_false(is_marked(f, REPO_ID));
	at = due_at(f, REPO_ID);
	atomic_store(&clock_ms, at - 1);
	begin(f);
	nanosleep(&(struct timespec){.tv_nsec = 50 * 1000 * 1000}, NULL);
	assert_int_equal(due_at(f, REPO_ID), at);
	assert_int_equal(wr_git_owned(f->git), 0);
	atomic_store(&clock_ms, at);
	wait_for(all_is_done(f));
	use(f, REPO_ID);
	assert_false(has(f, &b));
	assert_true(has(f, &a));
	end(f);
}

static void a_rewound_repository_waits_not_for_ever(void **state)
{
	struct fx *f = *state;
	struct wr_oid a, b;
	uint64_t before;

	begin(f);
	use(f, REPO_ID);
	push_new(f, &a, "refs/heads/a", "a");
	push_new(f, &b, "refs/heads/b", "b");
	assert_true(checkpoint(f));
	before = checkpoint_of(f);
	assert_ok(push(f, WR_S(""), "refs/heads/b", &a));
	wait_for(due_at(f, REPO_ID) != 0);
	assert_true(due_why(f, REPO_ID, "rewound"));
	assert_int_equal(checkpoint_of(f), before);
	end(f);
	atomic_fetch_add(&clock_ms, HOUR);
	begin(f);
	wait_for(!due_why(f, REPO_ID, "rewound"));
	wait_for(due_why(f, REPO_ID, "cruft"));
	use(f, REPO_ID);
	assert_true(checkpoint_of(f) > before);
	end(f);
}

/* Work is due and the process is killed: with its mark, and a while after that was taken back. */
static void a_kill_forgets_nothing(void **state)
{
	struct fx *f = *state;

	for (int marked = 0; marked < 2; marked++) {
		char ref[32];
		int status;
		pid_t pid = fork();

		snprintf(ref, sizeof ref, "refs/heads/b%d", marked);
		assert_true(pid >= 0);
		if (pid == 0) {
			begin(f);
			if (marked)
				wr_events_set_times(f->git->events, PATIENCE_MS, 0, 5);
			use(f, REPO_ID);
			push_many(f, ref, 70);
			wait_for(marked ? is_marked(f, REPO_ID) : due_why(f, REPO_ID, "journals"));
			kill(getpid(), SIGKILL);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		assert_false(all_is_done(f));
		atomic_fetch_add(&clock_ms, HOUR);
		begin(f);
		wait_for(all_is_done(f));
		use(f, REPO_ID);
		assert_true(checkpoint_of(f) > (uint64_t)marked);
		end(f);
	}
}

/* ---- many, and none held open ---- */

static void id_of(char out[WR_UUID_LEN + 1], unsigned account, unsigned n)
{
	snprintf(out, WR_UUID_LEN + 1, "%08x-89ab-4def-8123-%012x", account, n);
}

static void what_waits_is_not_open(void **state)
{
	enum { N = 24 };
	struct fx *f = *state;
	char id[WR_UUID_LEN + 1];

	f->cfg.idle_repos = 2;
	begin(f);
	for (unsigned i = 0; i < N; i++) {
		id_of(id, 1, i);
		add_repo(f, id, ACCOUNT);
		use(f, id);
		push_many(f, "refs/heads/a", 70);
	}
	leave(f);
	/* They are due when they have been quiet for a while, which the clock says is not yet over. */
	wait_for(ask(f, "SELECT count(*) FROM repo WHERE mark IS NOT NULL", "") == 0);
	wait_for(wr_git_owned(f->git) <= 2);
	/* On a slow machine the first have been quiet for long enough, and are done, before the last were made. */
	assert_in_range(ask(f, "SELECT count(*) FROM repo WHERE due_why = 'journals'", ""), 1, N);
	atomic_fetch_add(&clock_ms, HOUR);
	for (int64_t until = wr_mono_ms() + PATIENCE_MS; !all_is_done(f);) {
		assert_true(wr_mono_ms() < until);
		/* The idle ones, the one that is cared for, and those whose mark is just taken back. */
		assert_true(wr_git_owned(f->git) < N);
		/* One that stayed open is quiet only for a moment by the steady clock: it is due when this one has gone on. */
		atomic_fetch_add(&clock_ms, 10);
		nanosleep(&(struct timespec){.tv_nsec = 1000 * 1000}, NULL);
	}
	for (unsigned i = 0; i < N; i++) {
		id_of(id, 1, i);
		use(f, id);
		assert_int_equal(checkpoint_of(f), 1);
	}
	end(f);
}

/* ---- the rows ---- */

static void set_due(const struct fx *f, const char *id, int64_t at)
{
	char sql[160];

	snprintf(sql, sizeof sql, "UPDATE repo SET due_ms = %lld, due_why = 'cruft' WHERE id = ?1", (long long)at);
	ask(f, sql, id);
}

/* One account has hundreds that are due, another one: that comes with the first page. Nothing of it is moved twice. */
static void accounts_take_turns(void **state)
{
	struct fx *f = *state;
	char id[WR_UUID_LEN + 1], last[WR_UUID_LEN + 1], account[WR_UUID_LEN + 1];
	struct wr_due_row page[8];
	size_t n = 0, seen = 0, pages = 0;
	bool met = false, mine;
	int64_t next = 0;

	open_db(f);
	for (unsigned a = 1; a <= 3; a++) {
		id_of(account, a, 0);
		add_account(f, account);
		for (unsigned i = 0; i < (a == 1 ? 100 : 1); i++) {
			id_of(id, a, i + 1);
			add_repo(f, id, account);
			set_due(f, id, a == 3 ? 5000 : 1000 + (int64_t)i);
		}
	}
	id_of(last, 2, 1);
	set_due(f, last, 2000);
	do {
		assert_ok(rows.list.page(&rows, page, &n, 8, 3000, &next, &f->err));
		assert_int_equal(next, 5000);
		for (size_t i = 0; i < n; i++) {
			assert_true(page[i].due.at_ms <= 3000);
			assert_int_equal(page[i].due.why, WR_DUE_CRUFT);
			if (strcmp(page[i].repo_id, last) == 0) {
				met = true;
				assert_int_equal(pages, 0);
			}
			assert_ok(rows.list.move(&rows, &mine, page[i].repo_id, page[i].due.at_ms, 9000, &f->err));
			assert_true(mine);
			assert_ok(rows.list.move(&rows, &mine, page[i].repo_id, page[i].due.at_ms, 9000, &f->err));
			assert_false(mine);
		}
		seen += n;
		pages++;
	} while (n > 0);
	assert_true(met);
	assert_int_equal(seen, 101);
	assert_true(pages < 20);
	/* What is deleted is not due. */
	ask(f, "UPDATE repo SET state = 'deleting' WHERE due_ms = 9000 AND ?1 = ''", "");
	assert_ok(rows.list.page(&rows, page, &n, 8, 10000, &next, &f->err));
	assert_int_equal(n, 1);
	assert_int_equal(page[0].due.at_ms, 5000);
	assert_int_equal(next, INT64_MAX);
	assert_ok(rows.list.move(&rows, &mine, page[0].repo_id, 5000, 0, &f->err));
	assert_true(mine);
	assert_true(due_why(f, page[0].repo_id, ""));
	wr_db_close(db);
	db = NULL;
}

/* ---- failures ---- */

static void what_fails_is_put_off_and_holds_up_nothing(void **state)
{
	struct fx *f = *state;
	char other[WR_UUID_LEN + 1], path[128];
	int64_t now;

	id_of(other, 1, 1);
	snprintf(path, sizeof path, "data/repos/%.2s/%.2s/%s.git/objects", REPO_ID, REPO_ID + 2, REPO_ID);
	add_repo(f, other, ACCOUNT);
	begin(f);
	use(f, REPO_ID);
	push_many(f, "refs/heads/a", 70);
	leave(f);
	wait_for(due_why(f, REPO_ID, "journals"));
	sh(f, "mv %s/pack %s/away", path, path);
	atomic_fetch_add(&clock_ms, HOUR);
	now = atomic_load(&clock_ms);
	/* First a lease of minutes, then what comes of the failure. */
	wait_for(!is_marked(f, REPO_ID) && due_at(f, REPO_ID) > now && due_at(f, REPO_ID) <= now + 5000);
	sh(f, "mv %s/away %s/pack", path, path);
	use(f, other);
	push_many(f, "refs/heads/a", 70);
	leave(f);
	wait_for(due_why(f, other, "journals"));
	wait_for((atomic_fetch_add(&clock_ms, 50), due_why(f, other, "") && !is_marked(f, other)));
	wait_for((atomic_fetch_add(&clock_ms, 50), all_is_done(f)));
	use(f, REPO_ID);
	assert_int_equal(checkpoint_of(f), 1);
	end(f);
}

static void pauses_grow(void **state)
{
	struct wr_troubles *t = calloc(1, sizeof *t);
	char id[WR_UUID_LEN + 1];
	int64_t before = 0;

	(void)state;
	assert_non_null(t);
	for (int i = 0; i < 5; i++) {
		const struct wr_trouble *one = wr_trouble_add(t, REPO_ID);

		assert_true(one->until_ms - one->tried_ms > before);
		before = one->until_ms - one->tried_ms;
	}
	assert_int_equal(wr_trouble_find(t, REPO_ID)->failures, 5);
	for (int i = 0; i < 5; i++)
		wr_trouble_add(t, REPO_ID);
	assert_int_equal(wr_trouble_find(t, REPO_ID)->until_ms - wr_trouble_find(t, REPO_ID)->tried_ms, before);
	wr_trouble_over(t, REPO_ID);
	assert_null(wr_trouble_find(t, REPO_ID));
	for (unsigned i = 0; i < 3 * WR_TROUBLES; i++) {
		id_of(id, 1, i);
		assert_int_equal(wr_trouble_add(t, id)->failures, 1);
	}
	assert_int_equal(t->len, WR_TROUBLES);
	assert_non_null(wr_trouble_find(t, id));
	free(t);
}

/* ---- a hot one ---- */

struct pusher {
	struct fx *f;
	unsigned number, pushes;
	atomic_bool *bad;
	pthread_t thread;
};

/* Of one new object each, without a pause. */
static void *push_on(void *arg)
{
	struct pusher *p = arg;

	for (unsigned i = 0; i < p->pushes && !atomic_load(p->bad); i++) {
		WR_AUTO(wr_quarantine) *q = NULL;
		char text[48], ref[48];
		struct wr_oid oid;
		struct wr_ref_update u = {.any_old = true};
		struct wr_change change = {.updates = &u, .count = 1};
		int n = snprintf(text, sizeof text, "%u of %u", i, p->number);

		snprintf(ref, sizeof ref, "refs/notes/%u", p->number);
		u.name = wr_str(ref);
		if (wr_quarantine_new(&q, p->f->repo, NULL) != WR_OK ||
		    wr_quarantine_add(&oid, q, WR_BLOB, wr_str_n(text, (size_t)n), NULL, NULL) != WR_OK)
			atomic_store(p->bad, true);
		u.new = oid;
		change.objects = q;
		if (wr_git_append(p->f->repo, &change, NULL) != WR_OK || u.result != WR_OK)
			atomic_store(p->bad, true);
	}
	return NULL;
}

static uint64_t folder_bytes(const struct fx *f)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(4096);

	/* Files may go meanwhile. */
	(void)sh_try(f, &text, "du -sb data/repos/%.2s/%.2s/%s.git 2>/dev/null", REPO_ID, REPO_ID + 2, REPO_ID);
	return text.len ? strtoull(text.ptr, NULL, 10) : 0;
}

/* docs/operation.md has the bounds. */
static void constant_pushes_stay_within_bounds(void **state)
{
	enum { THREADS = 16 };
	struct fx *f = *state;
	struct pusher pushers[THREADS];
	atomic_bool bad = false;
	uint64_t seen = 0;

	begin(f);
	use(f, REPO_ID);
	for (unsigned i = 0; i < THREADS; i++) {
		pushers[i] = (struct pusher){.f = f, .number = i, .pushes = 1 + rounds(8000) / THREADS, .bad = &bad};
		assert_int_equal(pthread_create(&pushers[i].thread, NULL, push_on, &pushers[i]), 0);
	}
	for (bool on = true; on;) {
		WR_AUTO_S(wr_git_info) info = {0};
		uint64_t live = 0;

		nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
		assert_ok(wr_git_repo_info(&info, f->repo, &f->err));
		assert_true(info.journals <= WR_SNAPSHOT_JOURNALS);
		assert_true(info.journal_records < 64 * 1000);
		assert_true(info.pack_count < 32);
		for (size_t i = 0; i < info.pack_count; i++)
			live += info.packs[i].bytes;
		/* Twice what lives, journals as yet, those whose events are handed over soon, and room for a start. */
		assert_true(folder_bytes(f) < 4 * (live + info.journal_bytes) + ((uint64_t)64 << 20));
		seen = info.checkpoint;
		on = !atomic_load(&bad) && info.seq < THREADS * pushers[0].pushes;
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(pushers[i].thread, NULL);
	assert_false(atomic_load(&bad));
	assert_true(seen > 0);
	end(f);
}

/* ---- clones ---- */

static void often_cloned_is_packed_anew_once(void **state)
{
	struct fx *f = *state;
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_pack *base;

	f->cfg.redelta_clones = 3;
	begin(f);
	use(f, REPO_ID);
	push_many(f, "refs/heads/a", 70);
	assert_true(checkpoint(f));
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	for (unsigned i = 0; i < 3; i++) {
		const struct wr_ref *ref = wr_snapshot_ref(snap, WR_S("refs/heads/a"));
		struct wr_oid want = ref->oid;
		const struct wr_oids wants = {&want, 1, 1}, none = {NULL, 0, 0};
		const struct wr_plan_request req = {
			.wants = &wants, .haves = &none, .client_shallow = &none, .ofs_delta = true};
		WR_AUTO(wr_plan) *plan = NULL;

		assert_false(wr_keeper_wants_redelta(f->repo, snap));
		assert_ok(wr_plan_new(&plan, snap, &req, NULL, NULL, &f->err));
	}
	assert_true(wr_keeper_wants_redelta(f->repo, snap));
	base = snap->members[0].pack;
	wait_for(({
		wr_snapshot_unref(snap);
		snap = NULL;
		assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
		!wr_keeper_wants_redelta(f->repo, snap);
	}));
	assert_true(snap->members[0].pack != base);
	end(f);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test_setup_teardown(cruft_goes_when_its_grace_is_over, setup, fx_teardown),
	cmocka_unit_test_setup_teardown(a_rewound_repository_waits_not_for_ever, setup, fx_teardown),
	cmocka_unit_test_setup_teardown(a_kill_forgets_nothing, setup, fx_teardown),
	cmocka_unit_test_setup_teardown(what_waits_is_not_open, setup, fx_teardown),
	cmocka_unit_test_setup_teardown(accounts_take_turns, setup, fx_teardown),
	cmocka_unit_test_setup_teardown(what_fails_is_put_off_and_holds_up_nothing, setup, fx_teardown),
	cmocka_unit_test(pauses_grow),
	cmocka_unit_test_setup_teardown(constant_pushes_stay_within_bounds, setup, fx_teardown),
	cmocka_unit_test_setup_teardown(often_cloned_is_packed_anew_once, setup, fx_teardown),
};

int main(void)
{
	cmocka_set_test_filter(getenv("WARREN_TEST_FILTER"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
