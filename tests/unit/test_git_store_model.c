/*
 * Random operations on several repositories of one store, by calls: pushes that bring what they need, or rely on what
 * no ref reaches any more, also while a checkpoint is built; forks, folders that go out and come in again, deletion,
 * crashes, hand-over, readers that take their time, and a clock that moves. After each one it is what the model says.
 */
#include "tests/unit/store_pushes.h"

#include <dirent.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/git/adopt.h"
#include "core/git/fork.h"
#include "core/git/git_internal.h"
#include "core/git/keeper.h"
#include "core/git/verify.h"

/* Nothing here asks what a power cut would leave, so nobody waits for the disk. */
int fsync(int fd)
{
	(void)fd;
	return 0;
}

int fdatasync(int fd)
{
	(void)fd;
	return 0;
}

static struct pushing pending; /* of objects that were checked, and are not appended yet */

static void push_once(struct model *m)
{
	static struct pushing x;

	if (begin_push(m, &x, some_place(m)))
		end_push(m, &x);
}

static void push_later(struct model *m)
{
	if (pending.p)
		end_push(m, &pending);
	else if (!begin_push(m, &pending, some_place(m)))
		memset(&pending, 0, sizeof pending);
}

/* Before its repository goes. */
static void drop_pending(const struct place *p)
{
	if (pending.p && (!p || pending.p == p))
		give_up(&pending);
}

/* ---- looking ---- */

static void same_object(struct model *m, const struct wr_snapshot *snap, uint32_t o)
{
	WR_AUTO_S(wr_object) got = {.data = NULL};

	assert_ok(wr_snapshot_read(&got, snap, &m->objects[o].oid, &m->f->err));
	assert_int_equal(got.type, m->objects[o].type);
	assert_int_equal(got.size, m->objects[o].len);
	assert_memory_equal(got.data, m->objects[o].data, got.size);
}

static void same_refs(struct model *m, const struct place *p, const struct wr_snapshot *snap)
{
	size_t n, wanted = 0;

	(void)wr_snapshot_refs(snap, &n);
	for (unsigned i = 0; i < REFS; i++) {
		const struct wr_ref *ref = wr_snapshot_ref(snap, wr_str(ref_names[i]));
		uint32_t end = p->refs[i];

		must_be(m, p, !ref == (p->refs[i] == NONE), "%s", ref_names[i]);
		if (!ref)
			continue;
		wanted++;
		must_be(m, p, wr_oid_eq(&ref->oid, &m->objects[p->refs[i]].oid), "%s is another one", ref_names[i]);
		while (m->objects[end].type == WR_TAG)
			end = m->objects[end].links[0];
		must_be(m, p,
			end == p->refs[i] ? wr_oid_zero(&ref->peeled)
					  : wr_oid_eq(&ref->peeled, &m->objects[end].oid),
			"%s leads elsewhere", ref_names[i]);
	}
	must_be(m, p, n == wanted, "%zu refs, and not %zu", n, wanted);
}

/* every: each of so many objects is looked at. */
static void look_at(struct model *m, const struct place *p, unsigned every)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	char hex[WR_OID_HEX + 1];
	set reached;

	assert_ok(wr_snapshot_take(&snap, p->repo, &m->f->err));
	same_refs(m, p, snap);
	reached_by(m, reached, p);
	for (uint32_t o = chance(m->f, every); o < m->count; o += 1 + chance(m->f, 2 * every - 1)) {
		enum sure sure = is_there(p, o, reached);
		bool has = wr_snapshot_has(snap, &m->objects[o].oid);

		wr_oid_hex(hex, &m->objects[o].oid);
		must_be(m, p, sure == EITHER || has == (sure == THERE), "object %u, %s: %s", o, hex,
			has ? "is there" : reached[o] ? "is missing" : "went before its time");
		if (has)
			same_object(m, snap, o);
	}
}

/* The files in one folder of it; marks that they have are set in found[]. */
static void search_folder(struct model *m, set found, const struct place *p, const char *below)
{
	char path[256];
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof path, "%s/%s/%s", m->f->dir, place_path(p), below);
	dir = opendir(path);
	while (dir && (e = readdir(dir))) {
		WR_AUTO_MEM char *data = NULL;
		enum wr_code code;
		size_t len;

		if (e->d_type != DT_REG)
			continue;
		code = wr_file_read(&data, &len, dirfd(dir), e->d_name, 1u << 30, NULL);
		/* A journal that was handed over may be swept just then. */
		if (code == WR_E_NOT_THERE)
			continue;
		assert_int_equal(code, WR_OK);
		for (unsigned i = 0; i < m->mark_count; i++)
			found[m->marks[i]] |= memmem(data, len, m->objects[m->marks[i]].data,
						     m->objects[m->marks[i]].len) != NULL;
	}
	if (dir)
		closedir(dir);
}

/* Every file. Of what may not be there: any of it. */
static bool search_files(struct model *m, set found, const struct place *p, const set may)
{
	bool any = false;

	memset(found, 0, sizeof(set));
	search_folder(m, found, p, "");
	search_folder(m, found, p, "warren");
	search_folder(m, found, p, "objects/pack");
	for (unsigned i = 0; i < m->mark_count; i++)
		any |= found[m->marks[i]] && !may[m->marks[i]];
	return any;
}

static void stored_in_packs(struct model *m, set out, const struct place *p)
{
	WR_AUTO(wr_snapshot) *snap = NULL;

	memset(out, 0, sizeof(set));
	assert_ok(wr_snapshot_take(&snap, p->repo, &m->f->err));
	for (size_t i = 0; i < snap->member_count; i++) {
		for (uint32_t pos = 0; pos < snap->members[i].pack->count; pos++) {
			struct wr_oid oid;

			wr_pack_oid(&oid, snap->members[i].pack, pos);
			out[*wr_oidmap_slot(&m->map, &oid) - 1] = 1;
		}
	}
}

/*
 * What is gone is in no file, nor what never was here. exact: nor is what no ref reaches, as in a repository that was
 * made just now.
 */
static void look_at_files(struct model *m, const struct place *p, bool exact)
{
	set reached, found, stored, may;

	reached_by(m, reached, p);
	for (uint32_t o = 0; o < m->count; o++)
		may[o] = exact ? reached[o] : !p->gone[o] && p->ever[o];
	/* Journals stay until their events are handed over. */
	for (unsigned n = 0; n < 20000 && search_files(m, found, p, may); n++)
		usleep(1000);
	stored_in_packs(m, stored, p);
	for (uint32_t o = 0; o < m->count; o++) {
		must_be(m, p, may[o] || (!stored[o] && !found[o]), "object %u is in a %s", o,
			stored[o] ? "pack" : "file");
		must_be(m, p, !exact || stored[o] || !reached[o], "object %u is in no pack", o);
	}
	for (unsigned i = 0; i < m->mark_count; i++)
		must_be(m, p, found[m->marks[i]] || !reached[m->marks[i]], "bytes of object %u", m->marks[i]);
}

static void verify(struct model *m, const struct place *p)
{
	WR_AUTO_S(wr_verified) v = {0};

	assert_ok(wr_verify_repo(&v, p->repo, NULL, &m->f->err));
	must_be(m, p, v.problem_count == 0, "%s", v.problems[0]);
}

static void look_closely(struct model *m)
{
	struct place *p = some_place(m);

	look_at(m, p, 1);
	verify(m, p);
}

/* ---- care ---- */

static void checkpoint_of(struct model *m, struct place *p)
{
	bool did;

	/* What was broken off comes first, and alone. */
	for (unsigned n = p->left_over ? 2 : 1; n > 0; n--)
		assert_ok(wr_git_repo_checkpoint(&did, p->repo, &m->f->err));
	p->left_over = false;
	checkpointed(m, p, did);
}

static void checkpoint(struct model *m)
{
	checkpoint_of(m, some_place(m));
}

static void maintain(struct model *m)
{
	struct place *p = some_place(m);
	struct wr_maintained done;
	uint64_t bytes = 0;

	assert_ok(wr_git_repo_maintain(&done, p->repo, chance(m->f, 4) == 0, NULL, NULL, &m->f->err));
	p->left_over = false;
	checkpointed(m, p, true);
	look_at_files(m, p, false);
	look_at(m, p, 1);
	for (uint32_t o = 0; o < m->count; o++)
		bytes += p->ever[o] && !p->gone[o] ? m->objects[o].len + 120 : 0;
	must_be(m, p, done.bytes_after <= bytes + 8192, "%" PRIu64 " bytes for %" PRIu64, done.bytes_after, bytes);
}

/* Somebody pushes while it is built, or breaks it off. */
struct beside {
	struct model *m;
	struct place *p;
	unsigned at; /* at which question whether to go on */
	bool breaks, fired;
};

static bool meet(void *arg)
{
	static struct pushing x;
	struct beside *b = arg;

	if (b->fired || b->at-- > 0)
		return b->fired && b->breaks;
	b->fired = true;
	if (chance(b->m->f, 3) == 0)
		model_clock += chance(b->m->f, 2) ? HOUR : GRACE / 2;
	for (unsigned n = b->breaks ? 0 : 1 + chance(b->m->f, 3); n > 0; n--)
		if (begin_push(b->m, &x, b->p))
			end_push(b->m, &x);
	if (pending.p == b->p && chance(b->m->f, 2))
		end_push(b->m, &pending);
	return b->breaks;
}

static void care_beside(struct model *m)
{
	struct beside b = {.m = m, .p = some_place(m), .at = chance(m->f, 12), .breaks = chance(m->f, 5) == 0};
	const struct wr_cancel hook = {meet, &b};
	struct wr_maintained done;
	bool did = true, whole = chance(m->f, 3) == 0;
	enum wr_code code;

	/* So that it drops something. */
	if (chance(m->f, 2))
		model_clock += GRACE + 1000;
	code = whole ? wr_git_repo_maintain(&done, b.p->repo, false, NULL, &hook, &m->f->err)
		     : wr_keeper_run(&did, b.p->repo, &hook, &m->f->err);
	must_be(m, b.p, code == WR_OK || (code == WR_E_CANCELLED && b.breaks && b.fired), "%d %s %s", code,
		m->f->err.text, m->f->err.detail);
	/* Whoever pushed may have needed what would have been dropped. */
	if (code == WR_OK && !b.fired && (whole || !b.p->left_over))
		checkpointed(m, b.p, did);
	if (code != WR_OK || whole)
		b.p->left_over = code != WR_OK;
	look_at(m, b.p, 1);
	verify(m, b.p);
}

/* Time passes between the look at a push and its append, and something that was old already goes. */
static void lapse(struct model *m)
{
	static const int64_t steps[] = {HOUR, GRACE / 2, GRACE - 1};
	static struct pushing x;
	struct place *p = some_place(m);

	if (!begin_push(m, &x, p))
		return;
	model_clock += steps[chance(m->f, WR_ARRAY_LEN(steps))];
	checkpoint_of(m, p);
	end_push(m, &x);
}

/* ---- repositories come and go ---- */

static void remove_place(struct model *m)
{
	unsigned i = chance(m->f, m->place_count);
	struct place *p = m->places[i];
	struct wr_ref_update u = {.name = WR_S("refs/heads/late"), .any_old = true};
	struct wr_change change = {.updates = &u, .count = 1};
	char path[256];

	if (m->place_count < 2)
		return;
	drop_pending(p);
	wr_git_kill(m->f->git, p->id);
	assert_int_equal(wr_git_append(p->repo, &change, &m->f->err), WR_E_NOT_THERE);
	assert_ok(wr_git_remove(m->f->git, p->id, &m->f->err));
	snprintf(path, sizeof path, "%s/%s", m->f->dir, place_path(p));
	assert_int_not_equal(access(path, F_OK), 0);
	wr_git_repo_unref(p->repo);
	drop_row(p->id);
	free_place(m, i);
}

/* Its refs are set. */
static void made_place(struct model *m, struct place *p)
{
	set none = {0}, reached;

	open_place(m, p);
	reached_by(m, reached, p);
	refs_changed(m, p, none, none);
	look_at_files(m, p, true);
	look_at(m, p, 1);
	verify(m, p);
}

static void fork_place(struct model *m)
{
	struct place *from = some_place(m), *p;
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_ref refs[REFS];
	struct wr_fork fork = {.refs = refs, .default_branch = WR_S("b0")};
	bool all = chance(m->f, 2);

	if (m->place_count == PLACES) {
		remove_place(m);
		return;
	}
	assert_ok(wr_snapshot_take(&snap, from->repo, &m->f->err));
	p = new_place(m);
	for (unsigned i = 0; i < REFS; i++) {
		const struct wr_ref *ref = wr_snapshot_ref(snap, wr_str(ref_names[i]));

		if (!ref || is_pull(i) || (!all && chance(m->f, 3) == 0))
			continue;
		refs[fork.ref_count++] = *ref;
		p->refs[i] = from->refs[i];
	}
	if (fork.ref_count)
		assert_ok(wr_git_fork(&fork, m->f->git, p->id, from->repo, snap, NULL, &m->f->err));
	made_place(m, p);
}

/* Out to a folder that git looks at, and in again. */
static void move_in(struct model *m)
{
	struct place *from = some_place(m), *p;
	struct wr_adopted done;
	char path[128];
	set reached;
	bool any = false;

	if (m->place_count == PLACES) {
		remove_place(m);
		return;
	}
	reached_by(m, reached, from);
	for (unsigned i = 0; i < REFS; i++)
		any |= from->refs[i] != NONE;
	if (!any)
		return;
	p = new_place(m);
	snprintf(path, sizeof path, "%s/out-%u.git", m->f->dir, m->made);
	assert_ok(wr_git_export(&done, from->repo, path, WR_S("b0"), chance(m->f, 2), NULL, NULL, &m->f->err));
	if (chance(m->f, 3) == 0)
		sh(m->f, "git --git-dir=%s fsck --full --strict --no-dangling 2>said", path);
	assert_ok(wr_git_adopt(&done, m->f->git, p->id, path, chance(m->f, 2), NULL, NULL, &m->f->err));
	assert_ok(wr_file_remove(AT_FDCWD, path, &m->f->err));
	memcpy(p->refs, from->refs, sizeof p->refs);
	made_place(m, p);
}

/* Plain git reads the folder after a checkpoint. */
static void git_reads(struct model *m)
{
	struct place *p = some_place(m);
	WR_AUTO_S(wr_buf) said = WR_BUF_INIT(1 << 16);
	unsigned refs = 0;

	for (unsigned i = 0; i < REFS; i++)
		refs += p->refs[i] != NONE;
	if (refs == 0)
		return;
	checkpoint_of(m, p);
	sh_out(m->f, &said,
	       "git --git-dir=%s fsck --full --strict --no-dangling 2>said; git --git-dir=%s for-each-ref | wc -l",
	       place_path(p), place_path(p));
	assert_int_equal(strtoul(said.ptr, NULL, 10), refs);
}

/* ---- readers ---- */

static void hold(struct model *m)
{
	struct held *h = &m->held[chance(m->f, 2)];
	struct place *p = some_place(m);

	if (!h->snap) {
		assert_ok(wr_snapshot_take(&h->snap, p->repo, &m->f->err));
		reached_by(m, h->reached, p);
		return;
	}
	for (uint32_t o = 0; o < m->count; o++)
		if (h->reached[o])
			same_object(m, h->snap, o);
	wr_snapshot_unref(h->snap);
	h->snap = NULL;
}

static void let_go(struct model *m)
{
	for (unsigned i = 0; i < 2; i++) {
		wr_snapshot_unref(m->held[i].snap);
		m->held[i].snap = NULL;
	}
}

/* ---- the store ---- */

/* Which store another one asks for a repository that it has. */
static struct side {
	struct wr_git *other;
} sides[2];
static pthread_rwlock_t sides_lock = PTHREAD_RWLOCK_INITIALIZER;
static unsigned side; /* that of the store which is open */

static void ask_owner(void *arg, const char *id)
{
	pthread_rwlock_rdlock(&sides_lock);
	if (((struct side *)arg)->other)
		wr_git_yield(((struct side *)arg)->other, id);
	pthread_rwlock_unlock(&sides_lock);
}

static void sides_are(struct wr_git *first, struct wr_git *second)
{
	pthread_rwlock_wrlock(&sides_lock);
	sides[side].other = second;
	sides[!side].other = first;
	pthread_rwlock_unlock(&sides_lock);
}

static void open_store(struct model *m)
{
	m->f->cfg.ask_owner = ask_owner;
	m->f->cfg.ask_owner_arg = &sides[side];
	assert_ok(wr_git_open(&m->f->git, &m->f->cfg, &m->f->err));
	wr_events_set_times(m->f->git->events, 2000, 2, 20);
}

static void open_places(struct model *m)
{
	for (unsigned i = 0; i < m->place_count; i++)
		open_place(m, m->places[i]);
}

static void close_store(struct model *m)
{
	drop_pending(NULL);
	let_go(m);
	for (unsigned i = 0; i < m->place_count; i++)
		wr_git_repo_unref(m->places[i]->repo);
	wr_git_close(m->f->git);
}

static void reopen(struct model *m)
{
	close_store(m);
	open_store(m);
	open_places(m);
}

static void later(struct model *m)
{
	static const int64_t steps[] = {1,	   1000,  HOUR,		GRACE / 2,	    GRACE - 1,
					GRACE, GRACE + 1000, GRACE + GRACE / 16, 3 * GRACE};

	model_clock += steps[chance(m->f, WR_ARRAY_LEN(steps))];
}

/* Only the next process believes a clock that goes back. What may have gone stays so, and the rest counts from then on. */
static void earlier(struct model *m)
{
	close_store(m);
	for (unsigned i = 0; i < m->place_count; i++) {
		struct place *p = m->places[i];

		for (uint32_t o = 0; o < m->count; o++) {
			if (p->left[o] >= 0 && model_clock - p->left[o] >= GRACE)
				p->left[o] = -1;
			else if (p->left[o] > model_clock - HOUR)
				p->left[o] = model_clock - HOUR;
		}
	}
	model_clock -= HOUR;
	open_store(m);
	open_places(m);
}

/* The folder as it is while the store is open. */
static void crash(struct model *m)
{
	sh(m->f, "cp -a data crashed");
	close_store(m);
	sh(m->f, "rm -rf data; mv crashed data");
	open_store(m);
	open_places(m);
}

/* Another store takes over, while something is under way in the old one. */
static void hand_over(struct model *m)
{
	struct wr_git *old = m->f->git;
	struct wr_git_repo *repos[PLACES];

	for (unsigned i = 0; i < m->place_count; i++)
		repos[i] = m->places[i]->repo;
	side = !side;
	open_store(m);
	sides_are(m->f->git, old);
	assert_ok(wr_git_hand_over(old, &m->f->err));
	open_places(m);
	for (unsigned i = 0; i < m->place_count; i++)
		look_at(m, m->places[i], 10);
	if (pending.p)
		end_push(m, &pending);
	for (unsigned i = 0; i < m->place_count; i++)
		wr_git_repo_unref(repos[i]);
	let_go(m);
	sides_are(NULL, NULL);
	wr_git_close(old);
}

static void yield(struct model *m)
{
	wr_git_yield(m->f->git, some_place(m)->id);
}

/* ---- rounds ---- */

static const struct operation {
	const char *name;
	void (*fn)(struct model *m);
	unsigned weight;
} operations[] = {
	{"push", push_once, 600},     {"push_later", push_later, 100}, {"checkpoint", checkpoint, 100},
	{"maintain", maintain, 30},   {"beside", care_beside, 80},     {"later", later, 100},
	{"fork", fork_place, 40},     {"move_in", move_in, 12},	       {"remove", remove_place, 15},
	{"hold", hold, 30},	      {"look", look_closely, 30},      {"yield", yield, 20},
	{"reopen", reopen, 12},	      {"crash", crash, 2},	       {"hand_over", hand_over, 6},
	{"git", git_reads, 4},	      {"earlier", earlier, 4},
	{"lapse", lapse, 80},
};

static const struct operation *some_operation(struct model *m)
{
	unsigned sum = 0, at;

	for (size_t i = 0; i < WR_ARRAY_LEN(operations); i++)
		sum += operations[i].weight;
	at = chance(m->f, sum);
	for (size_t i = 0;; i++) {
		if (at < operations[i].weight)
			return &operations[i];
		at -= operations[i].weight;
	}
}

static int setup(void **state)
{
	struct model *m = calloc(1, sizeof *m);

	assert_non_null(m);
	fx_setup((void **)&m->f);
	fx_stop(m->f);
	m->f->cfg.no_keeper = true;
	m->f->cfg.cruft_grace_ms = GRACE;
	m->f->cfg.now_ms = read_model_clock;
	m->f->cfg.events = &row_sink;
	*state = m;
	return 0;
}

static void forget_objects(struct model *m)
{
	for (uint32_t o = 0; o < m->count; o++)
		free(m->objects[o].data);
	wr_oidmap_fini(&m->map);
	m->count = m->mark_count = 0;
}

static int teardown(void **state)
{
	struct model *m = *state;

	if (!m->done) {
		fprintf(stderr, "WARREN_TEST_SEED=%u; the last operations:", m->seed);
		for (unsigned i = m->said_count > 24 ? m->said_count - 24 : 0; i < m->said_count; i++)
			fprintf(stderr, " %s", m->said[i % 24]);
		fprintf(stderr, "\n");
	}
	if (m->f->git) {
		close_store(m);
		m->f->git = NULL;
	}
	while (m->place_count)
		free_place(m, 0);
	forget_objects(m);
	fx_teardown((void **)&m->f);
	free(m);
	return 0;
}

/* From an empty store until there are too many objects. */
static void go_round(struct model *m)
{
	m->seed = m->f->seed;
	m->said_count = m->made = m->turn = 0;
	row_count = 0;
	model_clock = 1700000000123;
	side = 0;
	open_store(m);
	for (unsigned i = 0; i < 2; i++)
		open_place(m, new_place(m));
	while (!full(m)) {
		const struct operation *op = some_operation(m);

		m->said[m->said_count++ % 24] = op->name;
		op->fn(m);
		for (unsigned i = 0; i < m->place_count; i++)
			look_at(m, m->places[i], 40);
	}
	for (unsigned i = 0; i < m->place_count; i++) {
		struct place *p = m->places[i];

		look_at(m, p, 1);
		verify(m, p);
		for (unsigned k = 0; k < 20000 && events_of(p->id) != p->updates; k++)
			usleep(1000);
		must_be(m, p, events_of(p->id) == p->updates, "%zu events of %zu", events_of(p->id), p->updates);
	}
	close_store(m);
	m->f->git = NULL;
	while (m->place_count)
		free_place(m, 0);
	forget_objects(m);
	assert_ok(wr_file_remove(AT_FDCWD, m->f->cfg.data, &m->f->err));
}

static void random_operations(void **state)
{
	struct model *m = *state;
	/* Each goes on with the seed that the one before left; a run of that one alone is the same. */
	for (unsigned i = 0; i < rounds(1); i++)
		go_round(m);
	/* All that matters was met. */
	assert_true(m->relied > 0 && m->refused > 0 && m->dropped > 0);
	m->done = true;
}

int main(void)
{
	wr_log_set_threshold(WR_ERROR);
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(random_operations, setup, teardown)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
