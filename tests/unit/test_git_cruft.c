/* What no ref reaches: kept for its grace, whole again where it is referred to, then gone; with a clock that the test moves. */
#include "tests/unit/git_fixture.h"

#include <xxhash.h>

#include "core/git/git_internal.h"
#include "core/git/keeper.h"
#include "core/git/le.h"
#include "core/git/mtimes.h"
#include "core/git/verify.h"

#define HOUR INT64_C(3600000)
#define GRACE (100 * HOUR)
#define REFS 8

static int64_t clock_ms;

static int64_t moved_clock(void *arg)
{
	(void)arg;
	return clock_ms;
}

static const struct wr_oid zero;

static int setup(void **state)
{
	struct fx *f;

	clock_ms = 1700000000000;
	fx_setup(state);
	f = *state;
	fx_stop(f);
	f->cfg.no_keeper = true;
	f->cfg.cruft_grace_ms = GRACE;
	f->cfg.now_ms = moved_clock;
	fx_start(f);
	return 0;
}

static bool checkpoint(struct fx *f)
{
	bool did;

	if (wr_git_repo_checkpoint(&did, f->repo, &f->err) != WR_OK)
		fail_msg("%s %s", f->err.text, f->err.detail);
	return did;
}

static void restart(struct fx *f)
{
	fx_stop(f);
	fx_start(f);
}

static const char *folder(void)
{
	static char path[128];

	snprintf(path, sizeof path, "data/repos/%.2s/%.2s/%s.git", REPO_ID, REPO_ID + 2, REPO_ID);
	return path;
}

static bool has(struct fx *f, const struct wr_oid *oid)
{
	WR_AUTO(wr_snapshot) *snap = NULL;

	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	return wr_snapshot_has(snap, oid);
}

static void verify(struct fx *f)
{
	WR_AUTO_S(wr_verified) v = {0};

	if (wr_verify_repo(&v, f->repo, NULL, &f->err) != WR_OK)
		fail_msg("%s %s", f->err.text, f->err.detail);
	if (v.problem_count)
		fail_msg("%s", v.problems[0]);
}

/* A commit with a file of its own on a parent, and a pack of both with their tree. */
static void new_commit(struct fx *f, struct wr_oid *out, const struct wr_oid *parent, const char *text)
{
	char hex[WR_OID_HEX + 1] = "";

	if (parent)
		wr_oid_hex(hex, parent);
	sh(f, "test -d src || git init -q --bare src");
	sh_oid(f, out,
	       "cd src; b=$(printf '%%s' '%s' | git hash-object -w --stdin); t=$(printf '100644 blob %%s\\t%s\\n' $b | git "
	       "mktree); git commit-tree -m m %s%s $t", text, text, parent ? "-p " : "", hex);
}

/* Pushes what src has of this commit beyond another one (may be NULL). */
static enum wr_code push_commit(struct fx *f, const char *ref, const struct wr_oid *oid, const struct wr_oid *beyond)
{
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(64u << 20);
	char hex[WR_OID_HEX + 1], old[WR_OID_HEX + 2] = "";

	wr_oid_hex(hex, oid);
	if (beyond) {
		old[0] = '^';
		wr_oid_hex(old + 1, beyond);
	}
	sh_out(f, &pack, "printf '%%s\\n' %s %s | git -C src pack-objects -q --revs --thin --stdout", hex, old);
	return push(f, wr_buf_str(&pack), ref, oid);
}

/* Stores what src has of this commit beyond another one (may be NULL), without a ref. */
static void keep_commit(struct fx *f, const struct wr_oid *oid, const struct wr_oid *beyond)
{
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(64u << 20);
	struct wr_change change = {.keep = true};
	WR_AUTO(wr_quarantine) *q = NULL;
	char hex[WR_OID_HEX + 1], old[WR_OID_HEX + 2] = "";

	wr_oid_hex(hex, oid);
	if (beyond) {
		old[0] = '^';
		wr_oid_hex(old + 1, beyond);
	}
	sh_out(f, &pack, "printf '%%s\\n' %s %s | git -C src pack-objects -q --revs --thin --stdout", hex, old);
	assert_ok(take_pack(&q, f, wr_buf_str(&pack)));
	change.objects = q;
	assert_ok(wr_git_append(f->repo, &change, &f->err));
}

static uint64_t role_objects(struct fx *f, const char *role)
{
	WR_AUTO_S(wr_git_info) info = {0};
	uint64_t n = 0;

	assert_ok(wr_git_repo_info(&info, f->repo, &f->err));
	for (size_t i = 0; i < info.pack_count; i++)
		if (strcmp(info.packs[i].role, role) == 0)
			n += info.packs[i].objects;
	return n;
}

/* ---- by hand ---- */

static void kept_for_its_grace_and_then_gone(void **state)
{
	struct fx *f = *state;
	char hex[WR_OID_HEX + 1];
	struct wr_oid a, b;

	new_commit(f, &a, NULL, "a");
	new_commit(f, &b, NULL, "b");
	assert_ok(push_commit(f, "refs/heads/a", &a, NULL));
	assert_ok(push_commit(f, "refs/heads/b", &b, NULL));
	assert_ok(push(f, WR_S(""), "refs/heads/b", &zero));
	assert_true(checkpoint(f));
	assert_int_equal(role_objects(f, "cruft"), 3);
	verify(f);
	/* Plain git knows what it is. */
	wr_oid_hex(hex, &b);
	sh(f, "cd %s; test -e objects/pack/*.mtimes; git fsck --full --strict >fsck 2>&1; grep -q 'dangling commit %s' fsck; "
	      "rm fsck; git cat-file -e %s^{tree}; git count-objects -v | grep -qx 'in-pack: 6'", folder(), hex, hex);
	clock_ms += GRACE - HOUR;
	assert_false(checkpoint(f));
	restart(f);
	assert_true(has(f, &b));
	clock_ms += HOUR + GRACE / 8;
	assert_true(checkpoint(f));
	assert_false(has(f, &b));
	assert_true(has(f, &a));
	assert_int_equal(role_objects(f, "cruft"), 0);
	sh(f, "cd %s; ! test -e objects/pack/*.mtimes; git fsck --full --strict; git count-objects -v | grep -qx 'in-pack: 3'",
	   folder());
	assert_int_equal(push(f, WR_S(""), "refs/heads/b", &b), WR_E_BAD_PACK);
	assert_false(checkpoint(f));
	/* With all that belongs to it, it may come again. */
	assert_ok(push_commit(f, "refs/heads/b", &b, NULL));
	assert_true(checkpoint(f));
	verify(f);
}

static void referred_to_in_time_it_is_whole_again(void **state)
{
	struct fx *f = *state;
	struct wr_oid a, b, c;

	new_commit(f, &a, NULL, "a");
	new_commit(f, &b, &a, "b");
	new_commit(f, &c, &b, "c");
	assert_ok(push_commit(f, "refs/heads/main", &a, NULL));
	assert_ok(push_commit(f, "refs/heads/b", &b, NULL));
	assert_ok(push(f, WR_S(""), "refs/heads/b", &zero));
	assert_true(checkpoint(f));
	clock_ms += GRACE / 2;
	/* By a name only. */
	assert_ok(push(f, WR_S(""), "refs/heads/b", &b));
	assert_true(checkpoint(f));
	assert_int_equal(role_objects(f, "base") + role_objects(f, "tail"), 6);
	verify(f);
	clock_ms += GRACE;
	assert_false(checkpoint(f));
	assert_ok(push(f, WR_S(""), "refs/heads/b", &zero));
	assert_true(checkpoint(f));
	/* By a commit on top of it; its time began anew. */
	clock_ms += GRACE - HOUR;
	assert_ok(push_commit(f, "refs/pull/1", &c, &b));
	assert_true(checkpoint(f));
	clock_ms += 2 * GRACE;
	checkpoint(f);
	verify(f);
	sh(f, "rm -rf clone; git clone -q --mirror %s clone; git -C clone fsck --full --strict", folder());
	assert_ok(push(f, WR_S(""), "refs/pull/1", &zero));
	assert_true(checkpoint(f));
	assert_true(has(f, &c) && has(f, &b));
	clock_ms += 2 * GRACE;
	assert_true(checkpoint(f));
	assert_false(has(f, &c) || has(f, &b));
	assert_true(has(f, &a));
	verify(f);
}

/* An old tree becomes part of a new commit that nobody keeps: it has to stay as long as that. */
static void what_a_young_one_needs_stays(void **state)
{
	struct fx *f = *state;
	struct wr_oid a, b, c;

	new_commit(f, &a, NULL, "a");
	new_commit(f, &b, NULL, "b");
	new_commit(f, &c, &b, "c");
	assert_ok(push_commit(f, "refs/heads/main", &a, NULL));
	assert_ok(push_commit(f, "refs/heads/b", &b, NULL));
	assert_ok(push(f, WR_S(""), "refs/heads/b", &zero));
	assert_true(checkpoint(f));
	clock_ms += GRACE / 2;
	assert_ok(push_commit(f, "refs/heads/c", &c, &b));
	assert_ok(push(f, WR_S(""), "refs/heads/c", &zero));
	assert_true(checkpoint(f));
	clock_ms += GRACE - HOUR;
	checkpoint(f);
	assert_ok(push(f, WR_S(""), "refs/heads/c", &c));
	checkpoint(f);
	verify(f);
	/* So it is with what was only shown for a while. */
	assert_ok(push(f, WR_S(""), "refs/heads/c", &zero));
	assert_true(checkpoint(f));
	clock_ms += GRACE / 2;
	assert_ok(push(f, WR_S(""), "refs/heads/d", &b));
	assert_ok(push(f, WR_S(""), "refs/heads/d", &zero));
	assert_true(checkpoint(f));
	clock_ms += GRACE - HOUR;
	checkpoint(f);
	assert_true(has(f, &b));
	assert_false(has(f, &c));
	verify(f);
}

/* ---- pushes beside checkpoints ---- */

struct beside {
	struct fx *f;
	unsigned at; /* at which question whether to go on */
	struct wr_oid value;
	struct wr_quarantine *objects;
	enum wr_code code;
};

static bool push_beside(void *arg)
{
	struct beside *b = arg;
	struct wr_ref_update u = {.name = WR_S("refs/heads/beside"), .new = b->value, .any_old = true};
	struct wr_change change = {.updates = &u, .count = 1, .objects = b->objects};

	if (b->at == 0 || --b->at > 0)
		return false;
	b->code = wr_git_append(b->f->repo, &change, &b->f->err);
	if (b->code == WR_OK)
		b->code = u.result;
	return false;
}

static void checkpoint_beside(struct fx *f, struct beside *b)
{
	const struct wr_cancel hook = {push_beside, b};
	bool did;

	b->f = f;
	assert_ok(wr_keeper_run(&did, f->repo, &hook, &f->err));
}

/* At every place of the build where it may happen; by a name, and by a commit on top. */
static void a_push_beside_the_checkpoint_that_drops(void **state)
{
	struct fx *f = *state;
	struct wr_oid a, b, c, more;
	unsigned met = 0;
	char text[32];

	new_commit(f, &a, NULL, "a");
	new_commit(f, &b, NULL, "b");
	new_commit(f, &c, &b, "c");
	assert_ok(push_commit(f, "refs/heads/main", &a, NULL));
	for (unsigned i = 1; i < 16; i++) {
		struct beside beside = {.at = (i + 1) / 2, .value = i % 2 ? b : c, .code = WR_E_INTERNAL};
		WR_AUTO(wr_quarantine) *q = NULL;

		assert_ok(push_commit(f, "refs/heads/b", &b, NULL));
		assert_ok(push(f, WR_S(""), "refs/heads/b", &zero));
		assert_true(checkpoint(f));
		clock_ms += 2 * GRACE;
		if (i % 2 == 0) {
			WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(1 << 20);
			char hex[2][WR_OID_HEX + 1];

			wr_oid_hex(hex[0], &b);
			wr_oid_hex(hex[1], &c);
			sh_out(f, &pack, "printf '%%s\\n' %s ^%s | git -C src pack-objects -q --revs --stdout", hex[1],
			       hex[0]);
			assert_ok(take_pack(&q, f, wr_buf_str(&pack)));
			beside.objects = q;
		}
		snprintf(text, sizeof text, "more %u", i);
		new_commit(f, &more, NULL, text);
		assert_ok(push_commit(f, "refs/heads/main", &more, NULL));
		checkpoint_beside(f, &beside);
		if (beside.at == 0) {
			met++;
			assert_ok(beside.code);
			assert_true(has(f, &b));
			verify(f);
		} else {
			assert_false(has(f, &b));
		}
		checkpoint(f);
		verify(f);
		if (beside.at == 0)
			assert_ok(push(f, WR_S(""), "refs/heads/beside", &zero));
		checkpoint(f);
		clock_ms += 2 * GRACE;
		checkpoint(f);
		assert_false(has(f, &b) || has(f, &c));
	}
	assert_true(met >= 4);
}

/* The push was checked before the checkpoint, and appended after it. */
static void what_went_since_is_missing(void **state)
{
	struct fx *f = *state;
	struct wr_oid a, b, c;
	WR_AUTO(wr_quarantine) *q = NULL;
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(1 << 20);
	struct wr_ref_update u = {.name = WR_S("refs/heads/c"), .any_old = true};
	struct wr_change change = {.updates = &u, .count = 1};
	char hex[2][WR_OID_HEX + 1];

	new_commit(f, &a, NULL, "a");
	new_commit(f, &b, NULL, "b");
	new_commit(f, &c, &b, "c");
	wr_oid_hex(hex[0], &b);
	wr_oid_hex(hex[1], &c);
	sh_out(f, &pack, "printf '%%s\\n' %s ^%s | git -C src pack-objects -q --revs --stdout", hex[1], hex[0]);
	assert_ok(push_commit(f, "refs/heads/main", &a, NULL));
	assert_ok(push_commit(f, "refs/heads/b", &b, NULL));
	assert_ok(push(f, WR_S(""), "refs/heads/b", &zero));
	assert_true(checkpoint(f));
	clock_ms += GRACE - HOUR;
	assert_ok(take_pack(&q, f, wr_buf_str(&pack)));
	clock_ms += HOUR + GRACE / 8;
	assert_true(checkpoint(f));
	u.new = c;
	change.objects = q;
	assert_int_equal(wr_git_append(f->repo, &change, &f->err), WR_E_BAD_PACK);
	assert_non_null(strstr(f->err.text, "missing object"));
	assert_false(has(f, &c));
	wr_quarantine_free(q);
	q = NULL;
	/* One that brings all of it does not care. */
	assert_ok(push_commit(f, "refs/heads/b", &b, NULL));
	assert_ok(push(f, WR_S(""), "refs/heads/b", &zero));
	assert_true(checkpoint(f));
	clock_ms += GRACE - HOUR;
	wr_buf_clear(&pack);
	sh_out(f, &pack, "printf '%%s\\n' %s | git -C src pack-objects -q --revs --stdout", hex[1]);
	assert_ok(take_pack(&q, f, wr_buf_str(&pack)));
	clock_ms += HOUR + GRACE / 8;
	assert_true(checkpoint(f));
	change.objects = q;
	assert_ok(wr_git_append(f->repo, &change, &f->err));
	assert_ok(u.result);
	verify(f);
	checkpoint(f);
	verify(f);
}

/* Objects that this server makes, and which lie among what no ref reaches until just before they are appended. */
static void what_is_made_again_relies_on_nothing(void **state)
{
	struct fx *f = *state;
	struct wr_oid a, b, made;
	WR_AUTO(wr_quarantine) *q = NULL;
	struct wr_ref_update u = {.name = WR_S("refs/heads/b"), .any_old = true};
	struct wr_change change = {.updates = &u, .count = 1};
	static const char *const parts[3][2] = {{"blob", "b:b"}, {"tree", "b^{tree}"}, {"commit", "b"}};
	static const enum wr_type types[3] = {WR_BLOB, WR_TREE, WR_COMMIT};
	char hex[WR_OID_HEX + 1];

	new_commit(f, &a, NULL, "a");
	new_commit(f, &b, NULL, "b");
	wr_oid_hex(hex, &b);
	sh(f, "git -C src branch b %s", hex);
	assert_ok(push_commit(f, "refs/heads/main", &a, NULL));
	assert_ok(push_commit(f, "refs/heads/b", &b, NULL));
	assert_ok(push(f, WR_S(""), "refs/heads/b", &zero));
	assert_true(checkpoint(f));
	clock_ms += GRACE - HOUR;
	assert_ok(wr_quarantine_new(&q, f->repo, &f->err));
	for (unsigned i = 0; i < 3; i++) {
		WR_AUTO_S(wr_buf) bytes = WR_BUF_INIT(1 << 20);

		sh_out(f, &bytes, "git -C src cat-file %s %s", parts[i][0], parts[i][1]);
		assert_ok(wr_quarantine_add(&made, q, types[i], wr_buf_str(&bytes), NULL, &f->err));
	}
	assert_true(wr_oid_eq(&made, &b));
	clock_ms += HOUR + GRACE / 8;
	assert_true(checkpoint(f));
	assert_false(has(f, &b));
	u.new = b;
	change.objects = q;
	assert_ok(wr_git_append(f->repo, &change, &f->err));
	assert_ok(u.result);
	verify(f);
}

static void a_push_older_than_the_grace_is_refused(void **state)
{
	struct fx *f = *state;
	struct wr_oid a, b;
	WR_AUTO(wr_quarantine) *q = NULL;
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(1 << 20);
	struct wr_ref_update u = {.name = WR_S("refs/heads/b"), .any_old = true};
	struct wr_change change = {.updates = &u, .count = 1};
	char hex[2][WR_OID_HEX + 1];

	new_commit(f, &a, NULL, "a");
	new_commit(f, &b, &a, "b");
	wr_oid_hex(hex[0], &a);
	wr_oid_hex(hex[1], &b);
	sh_out(f, &pack, "printf '%%s\\n' %s ^%s | git -C src pack-objects -q --revs --stdout", hex[1], hex[0]);
	assert_ok(push_commit(f, "refs/heads/main", &a, NULL));
	assert_ok(take_pack(&q, f, wr_buf_str(&pack)));
	/* What it builds on was reached when it began. */
	assert_ok(push(f, WR_S(""), "refs/heads/main", &zero));
	assert_true(checkpoint(f));
	clock_ms += 2 * GRACE;
	assert_true(checkpoint(f));
	u.new = b;
	change.objects = q;
	assert_int_equal(wr_git_append(f->repo, &change, &f->err), WR_E_BAD_PACK);
	assert_false(has(f, &a) || has(f, &b));
}

/* Both as they come, in threads of their own: a name for what may be gone any moment is refused, or all of it is there. */
struct both {
	struct fx *f;
	struct wr_oid value;
	atomic_bool stop;
	unsigned taken, refused;
};

static _Atomic int64_t shared_clock;

static int64_t read_shared(void *arg)
{
	(void)arg;
	return atomic_load(&shared_clock);
}

static void *name_it(void *arg)
{
	struct both *b = arg;

	while (!atomic_load(&b->stop)) {
		struct wr_ref_update u = {.name = WR_S("refs/heads/again"), .new = b->value, .any_old = true};
		struct wr_change change = {.updates = &u, .count = 1};
		WR_AUTO_S(wr_error) err = WR_ERROR_INIT;

		if (wr_git_append(b->f->repo, &change, &err) != WR_OK)
			break;
		b->taken += u.result == WR_OK;
		b->refused += u.result == WR_E_BAD_PACK;
		if (u.result == WR_OK) {
			u.new = zero;
			if (wr_git_append(b->f->repo, &change, &err) != WR_OK)
				break;
		}
		sched_yield();
	}
	return NULL;
}

static void in_threads(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(1 << 20);
	struct both b = {.f = f};
	struct wr_oid a;
	char hex[WR_OID_HEX + 1];
	pthread_t thread;

	fx_stop(f);
	atomic_store(&shared_clock, clock_ms);
	f->cfg.now_ms = read_shared;
	fx_start(f);
	new_commit(f, &a, NULL, "a");
	new_commit(f, &b.value, NULL, "b");
	wr_oid_hex(hex, &b.value);
	sh_out(f, &pack, "echo %s | git -C src pack-objects -q --revs --stdout", hex);
	assert_ok(push_commit(f, "refs/heads/main", &a, NULL));
	assert_int_equal(pthread_create(&thread, NULL, name_it, &b), 0);
	for (unsigned i = 0; i < rounds(60); i++) {
		WR_AUTO(wr_snapshot) *snap = NULL;
		WR_AUTO_S(wr_verified) v = {0};

		if (i % 3 == 0)
			assert_ok(push(f, wr_buf_str(&pack), "refs/heads/b", &b.value));
		else if (i % 3 == 1)
			assert_ok(push(f, WR_S(""), "refs/heads/b", &zero));
		checkpoint(f);
		atomic_fetch_add(&shared_clock, i % 2 ? 2 * GRACE : GRACE / 3);
		checkpoint(f);
		assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
		assert_ok(wr_verify(&v, snap, -1, NULL, &f->err));
		if (v.problem_count)
			fail_msg("%s", v.problems[0]);
	}
	atomic_store(&b.stop, true);
	pthread_join(thread, NULL);
	assert_true(b.taken > 0);
	verify(f);
}

/* Nothing of a checkpoint that was broken off is there, and what it would have dropped is. */
static bool stop_at(void *arg)
{
	unsigned *at = arg;

	return *at == 0 || --*at == 0;
}

static void one_that_is_broken_off_drops_nothing(void **state)
{
	struct fx *f = *state;
	enum wr_code code = WR_E_CANCELLED;
	struct wr_oid a, b;
	unsigned n;

	new_commit(f, &a, NULL, "a");
	new_commit(f, &b, NULL, "b");
	assert_ok(push_commit(f, "refs/heads/a", &a, NULL));
	assert_ok(push_commit(f, "refs/heads/b", &b, NULL));
	assert_ok(push(f, WR_S(""), "refs/heads/b", &zero));
	assert_true(checkpoint(f));
	clock_ms += 2 * GRACE;
	for (n = 1; code == WR_E_CANCELLED; n++) {
		unsigned at = n;
		const struct wr_cancel cancel = {stop_at, &at};
		bool did;

		assert_true(has(f, &b));
		sh(f, "cd %s; git count-objects -v | grep -qx 'in-pack: 6'", folder());
		code = wr_keeper_run(&did, f->repo, &cancel, &f->err);
	}
	assert_ok(code);
	assert_true(n > 2);
	assert_false(has(f, &b));
	verify(f);
}

/* Also what was written after one that was broken off. */
static void one_that_is_asked_for_covers_all(void **state)
{
	struct fx *f = *state;
	unsigned at = 1;
	const struct wr_cancel cancel = {stop_at, &at};
	struct wr_oid a, b;
	bool did;

	new_commit(f, &a, NULL, "a");
	new_commit(f, &b, NULL, "b");
	assert_ok(push_commit(f, "refs/heads/a", &a, NULL));
	assert_int_equal(wr_keeper_run(&did, f->repo, &cancel, &f->err), WR_E_CANCELLED);
	assert_ok(push_commit(f, "refs/heads/b", &b, NULL));
	assert_true(checkpoint(f));
	sh(f, "cd %s; git show-ref --verify -q refs/heads/a; git show-ref --verify -q refs/heads/b", folder());
	verify(f);
}

/* Times that are lost are taken for now. */
static void lost_times(void **state)
{
	struct fx *f = *state;
	struct wr_oid a, b;

	new_commit(f, &a, NULL, "a");
	new_commit(f, &b, NULL, "b");
	assert_ok(push_commit(f, "refs/heads/a", &a, NULL));
	assert_ok(push_commit(f, "refs/heads/b", &b, NULL));
	assert_ok(push(f, WR_S(""), "refs/heads/b", &zero));
	assert_true(checkpoint(f));
	clock_ms += 2 * GRACE;
	sh(f, "cd %s/objects/pack; chmod u+w *.mtimes; printf X | dd of=$(echo *.mtimes) bs=1 seek=14 conv=notrunc 2>/dev/null",
	   folder());
	assert_true(checkpoint(f));
	assert_true(has(f, &b));
	verify(f);
	clock_ms += GRACE / 2;
	assert_ok(push(f, WR_S(""), "refs/heads/b", &b));
	assert_ok(push(f, WR_S(""), "refs/heads/b", &zero));
	assert_true(checkpoint(f));
	sh(f, "rm %s/objects/pack/*.mtimes", folder());
	clock_ms += GRACE + GRACE / 8;
	assert_true(checkpoint(f));
	assert_true(has(f, &b));
	clock_ms += GRACE + GRACE / 8;
	assert_true(checkpoint(f));
	assert_false(has(f, &b));
	verify(f);
}

/* What nobody reaches and nobody can read goes, and keeps no checkpoint from being made. */
static void damage_of_what_nobody_reaches(void **state)
{
	struct fx *f = *state;
	struct wr_oid a, b, c, d;

	new_commit(f, &a, NULL, "a");
	new_commit(f, &b, NULL, "b");
	new_commit(f, &c, NULL, "c");
	new_commit(f, &d, NULL, "d");
	new_commit(f, &d, &d, "more");
	new_commit(f, &d, &d, "still more");
	assert_ok(push_commit(f, "refs/heads/a", &a, NULL));
	assert_ok(push_commit(f, "refs/heads/b", &b, NULL));
	assert_ok(push_commit(f, "refs/heads/c", &c, NULL));
	assert_ok(push(f, WR_S(""), "refs/heads/b", &zero));
	assert_ok(push(f, WR_S(""), "refs/heads/c", &zero));
	assert_true(checkpoint(f));
	fx_stop(f);
	sh(f, "cd %s/objects/pack; chmod u+w *.pack; m=$(echo *.mtimes); printf X | dd of=${m%%.mtimes}.pack bs=1 seek=20 "
	      "conv=notrunc 2>/dev/null", folder());
	fx_start(f);
	assert_ok(push_commit(f, "refs/heads/d", &d, NULL));
	assert_ok(push(f, WR_S(""), "refs/heads/d", &zero));
	assert_true(checkpoint(f));
	assert_true(has(f, &a) && has(f, &d));
	/* One of the six went. */
	assert_int_equal(role_objects(f, "cruft"), 5 + 9);
	clock_ms += 2 * GRACE;
	assert_true(checkpoint(f));
	verify(f);
}

/* A clock that was wrong for a while keeps nothing for ever: no cruft, no dead entry of base or tails or of other packs. */
static void a_time_ahead_of_the_clock(void **state)
{
	struct fx *f = *state;
	struct wr_oid a, b, c, d, noise;

	new_commit(f, &a, NULL, "a");
	new_commit(f, &b, NULL, "b");
	new_commit(f, &c, NULL, "c");
	new_commit(f, &d, NULL, "d");
	new_commit(f, &noise, NULL, "noise");
	for (unsigned i = 0; i < 20; i++) {
		char text[32];

		snprintf(text, sizeof text, "more %u", i);
		new_commit(f, &noise, &noise, text);
	}
	assert_ok(push_commit(f, "refs/heads/a", &a, NULL));
	assert_ok(push_commit(f, "refs/heads/b", &b, NULL));
	assert_ok(push_commit(f, "refs/heads/c", &c, NULL));
	assert_ok(push_commit(f, "refs/pull/noise", &noise, NULL));
	assert_ok(push_commit(f, "refs/pull/d", &d, NULL));
	assert_ok(push(f, WR_S(""), "refs/heads/b", &zero));
	assert_true(checkpoint(f));
	clock_ms += 1000 * GRACE;
	assert_ok(push(f, WR_S(""), "refs/heads/x", &b));
	assert_true(checkpoint(f));
	assert_ok(push(f, WR_S(""), "refs/heads/x", &zero));
	assert_ok(push(f, WR_S(""), "refs/heads/c", &zero));
	assert_ok(push(f, WR_S(""), "refs/pull/d", &zero));
	assert_true(checkpoint(f));
	clock_ms -= 1000 * GRACE;
	assert_ok(push(f, WR_S(""), "refs/heads/x", &a));
	assert_true(checkpoint(f));
	assert_true(has(f, &b) && has(f, &c) && has(f, &d));
	verify(f);
	clock_ms += 2 * GRACE;
	assert_true(checkpoint(f));
	assert_false(has(f, &b) || has(f, &c) || has(f, &d));
	verify(f);
}

/* What is found after the clock went back is not dropped before what needs it, which lies in one pack with older things. */
static void a_clock_that_goes_back_between_the_times_of_a_pack(void **state)
{
	struct fx *f = *state;
	struct wr_maintained done;
	struct wr_oid a, old, x, y;

	new_commit(f, &a, NULL, "a");
	new_commit(f, &old, NULL, "old");
	new_commit(f, &x, NULL, "x");
	new_commit(f, &y, &x, "y");
	assert_ok(push_commit(f, "refs/heads/a", &a, NULL));
	assert_ok(push_commit(f, "refs/heads/old", &old, NULL));
	assert_ok(push_commit(f, "refs/heads/x", &x, NULL));
	assert_ok(push_commit(f, "refs/heads/y", &y, &x));
	assert_ok(push(f, WR_S(""), "refs/heads/old", &zero));
	assert_true(checkpoint(f));
	clock_ms += GRACE / 2;
	assert_ok(push(f, WR_S(""), "refs/heads/y", &zero));
	assert_ok(wr_git_repo_maintain(&done, f->repo, false, NULL, NULL, &f->err));
	clock_ms -= GRACE / 4;
	restart(f);
	assert_ok(push(f, WR_S(""), "refs/heads/x", &zero));
	assert_true(checkpoint(f));
	verify(f);
	clock_ms += GRACE + HOUR;
	assert_true(checkpoint(f));
	assert_false(has(f, &x) || has(f, &y));
	verify(f);
}

/* The ref file in force as a program wrote it that knew no cruft. */
static void make_version_1(struct fx *f)
{
	WR_AUTO_S(wr_buf) name = WR_BUF_INIT(4096);
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);
	uint64_t dead;
	uint32_t packs;
	size_t at, len;
	uint8_t *b;

	sh_out(f, &name, "cd %s/warren; ls *.refs", folder());
	name.ptr[name.len - 1] = '\0';
	sh_out(f, &text, "cat %s/warren/%s", folder(), name.ptr);
	b = (uint8_t *)text.ptr;
	packs = wr_le32(b + 24);
	dead = wr_le64(b + 40);
	memcpy(b, "WRNREFS1", 8);
	for (uint32_t i = 0; i < packs; i++) {
		uint8_t *row = b + 64 + 48 * i;

		row[20] = row[20] == WR_ROLE_CRUFT ? WR_ROLE_OTHER : row[20];
		wr_put_le64(row + 32, 0);
	}
	at = 64 + 48 * (packs + wr_le64(b + 32));
	for (uint64_t i = 0; i < dead; i++)
		memmove(b + at + 4 * i, b + at + 8 * i, 4);
	memmove(b + at + 4 * dead, b + at + 8 * dead, text.len - at - 8 * dead);
	len = text.len - 4 * dead;
	if (len % 8) {
		memset(b + len - 8, 0, 4);
		len += 4;
	}
	wr_put_le64(b + len - 8, XXH3_64bits(b, len - 8));
	write_whole(f, "v1", wr_str_n(text.ptr, len));
	sh(f, "mv v1 %s/warren/%s; rm -f %s/objects/pack/*.mtimes", folder(), name.ptr, folder());
}

/* The ref file in force, with another last position among its dead entries. */
static void set_last_dead(struct fx *f, uint32_t pos)
{
	WR_AUTO_S(wr_buf) name = WR_BUF_INIT(4096);
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);
	uint8_t *b;

	sh_out(f, &name, "ls %s/warren/*.refs", folder());
	name.ptr[name.len - 1] = '\0';
	read_whole(&text, f, name.ptr);
	b = (uint8_t *)text.ptr;
	wr_put_le32(b + 64 + 48 * ((size_t)wr_le32(b + 24) + (size_t)wr_le64(b + 32)) + 8 * (size_t)(wr_le64(b + 40) - 1), pos);
	wr_put_le64(b + text.len - 8, XXH3_64bits(b, text.len - 8));
	write_whole(f, name.ptr, wr_buf_str(&text));
}

/* A pack has no entries behind its last. */
static void dead_entries_that_are_none(void **state)
{
	struct fx *f = *state;
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_oid a, b;
	uint32_t count;

	new_commit(f, &a, NULL, "a");
	new_commit(f, &b, NULL, "b");
	for (unsigned i = 0; i < 20; i++) {
		char text[32];

		snprintf(text, sizeof text, "more %u", i);
		new_commit(f, &a, &a, text);
	}
	assert_ok(push_commit(f, "refs/heads/a", &a, NULL));
	assert_ok(push_commit(f, "refs/heads/b", &b, NULL));
	assert_true(checkpoint(f));
	assert_ok(push(f, WR_S(""), "refs/heads/b", &zero));
	assert_true(checkpoint(f));
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	assert_int_equal(snap->member_count, 1);
	count = snap->members[0].pack->count;
	wr_snapshot_unref(snap);
	snap = NULL;
	fx_stop(f);
	set_last_dead(f, count);
	assert_ok(wr_git_open(&f->git, &f->cfg, &f->err));
	assert_int_equal(wr_git_repo_open(&f->repo, f->git, REPO_ID, &f->err), WR_E_INTERNAL);
	wr_git_close(f->git);
	set_last_dead(f, count - 1);
	fx_start(f);
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
}

static void what_an_older_program_left_is_sorted(void **state)
{
	struct fx *f = *state;
	struct wr_oid a, b, c, d;

	new_commit(f, &a, NULL, "a");
	new_commit(f, &b, NULL, "b");
	new_commit(f, &c, NULL, "c");
	new_commit(f, &d, NULL, "d");
	for (unsigned i = 0; i < 20; i++) {
		char text[32];

		snprintf(text, sizeof text, "more %u", i);
		new_commit(f, &a, &a, text);
	}
	assert_ok(push_commit(f, "refs/heads/a", &a, NULL));
	assert_ok(push_commit(f, "refs/heads/b", &b, NULL));
	assert_ok(push_commit(f, "refs/pull/c", &c, NULL));
	assert_ok(push_commit(f, "refs/heads/d", &d, NULL));
	assert_ok(push(f, WR_S(""), "refs/heads/d", &zero));
	assert_true(checkpoint(f));
	assert_ok(push(f, WR_S(""), "refs/heads/b", &zero));
	assert_true(checkpoint(f));
	fx_stop(f);
	make_version_1(f);
	fx_start(f);
	verify(f);
	assert_int_equal(role_objects(f, "cruft"), 0);
	assert_true(has(f, &b) && has(f, &c) && has(f, &d));
	clock_ms += 2 * GRACE;
	assert_false(checkpoint(f));
	assert_ok(push(f, WR_S(""), "refs/heads/x", &a));
	assert_true(checkpoint(f));
	/* Nobody knew since when. */
	assert_true(has(f, &b) && has(f, &c) && has(f, &d));
	assert_int_equal(role_objects(f, "cruft"), 3);
	verify(f);
	clock_ms += 2 * GRACE;
	assert_true(checkpoint(f));
	assert_false(has(f, &b) || has(f, &d));
	assert_true(has(f, &c));
	verify(f);
}

static void maintenance_leaves_nothing_that_is_not_needed(void **state)
{
	struct fx *f = *state;
	struct wr_maintained m;
	struct wr_oid a, b, c, d;

	new_commit(f, &a, NULL, "a");
	new_commit(f, &b, NULL, "b");
	new_commit(f, &c, NULL, "c");
	new_commit(f, &d, NULL, "d");
	assert_ok(wr_git_repo_maintain(&m, f->repo, false, NULL, NULL, &f->err));
	assert_int_equal(m.bytes_after + m.cruft_objects, 0);
	assert_ok(push_commit(f, "refs/heads/a", &a, NULL));
	assert_ok(push_commit(f, "refs/heads/b", &b, NULL));
	checkpoint(f);
	assert_ok(push_commit(f, "refs/heads/c", &c, NULL));
	assert_ok(push_commit(f, "refs/pull/d", &d, NULL));
	assert_ok(push(f, WR_S(""), "refs/heads/b", &zero));
	assert_ok(wr_git_repo_maintain(&m, f->repo, false, NULL, NULL, &f->err));
	assert_int_equal(m.cruft_objects, 3);
	assert_int_equal(m.dropped_objects, 0);
	assert_int_equal(role_objects(f, "base"), 6);
	assert_int_equal(role_objects(f, "other"), 3);
	assert_int_equal(role_objects(f, "cruft"), 3);
	clock_ms += GRACE;
	assert_ok(wr_git_repo_maintain(&m, f->repo, false, NULL, NULL, &f->err));
	/* The second in which it was found is not over yet. */
	clock_ms += 1000;
	if (m.dropped_objects == 0)
		assert_ok(wr_git_repo_maintain(&m, f->repo, false, NULL, NULL, &f->err));
	assert_int_equal(m.dropped_objects, 3);
	assert_true(m.bytes_after < m.bytes_before);
	sh(f, "cd %s; git count-objects -v | grep -qx 'in-pack: 9'", folder());
	verify(f);
}

/* Versions of files that came whole, each a push of its own, become deltas on each other. */
static void stage(void *arg, const char *name, uint64_t done, uint64_t total, bool last)
{
	unsigned *told = arg;

	assert_true(name[0] && done <= total);
	*told += last;
}

static void deltas_are_found_by_content(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(64u << 20);
	struct wr_maintained first, m;
	unsigned told = 0;
	const struct wr_progress progress = {stage, &told};
	struct wr_oid tip;

	make_history(f, "src", 80);
	sh_oid(f, &tip, "git -C src rev-parse b1");
	sh_out(f, &pack, "git -C src rev-list --objects b1 | cut -c1-40 | git -C src -c pack.window=0 pack-objects -q --window=0 "
			 "--no-reuse-delta --stdout");
	assert_ok(push(f, wr_buf_str(&pack), "refs/heads/b1", &tip));
	assert_ok(wr_git_repo_maintain(&first, f->repo, false, NULL, NULL, &f->err));
	assert_ok(wr_git_repo_maintain(&m, f->repo, true, &progress, NULL, &f->err));
	assert_true(m.rebased && told == 2);
	assert_true(m.bytes_after < m.bytes_before - m.bytes_before / 4);
	verify(f);
	sh(f, "cd %s; git fsck --full --strict; git rev-list --objects b1 | wc -l > ../n; test $(git -C ~/src rev-list --objects b1 | wc -l) = $(cat ../n)",
	   folder());
	/* Nothing better is found the next time. */
	assert_ok(wr_git_repo_maintain(&first, f->repo, true, NULL, NULL, &f->err));
	assert_true(first.bytes_after <= first.bytes_before);
	verify(f);
}

static void one_that_is_told_to_stop_changes_nothing(void **state)
{
	struct fx *f = *state;
	enum wr_code code = WR_E_CANCELLED;
	struct wr_maintained m;
	unsigned n;

	make_history(f, "src", 40);
	push_all(f, "src");
	checkpoint(f);
	for (n = 1; code == WR_E_CANCELLED; n++) {
		unsigned at = n;
		const struct wr_cancel cancel = {stop_at, &at};

		code = wr_git_repo_maintain(&m, f->repo, true, NULL, &cancel, &f->err);
		sh(f, "test $(ls %s/objects/pack/*.pack | wc -l) = 1", folder());
	}
	assert_ok(code);
	assert_true(n > 4);
	verify(f);
}

/* ---- against a model ---- */

#define TIPS 200
#define NO_TIP (-1)

struct model {
	struct fx *f;
	struct wr_oids objects;
	struct wr_oidmap index;
	size_t tips;
	struct wr_oid tip[TIPS]; /* none twice: a ref changes exactly where its tip does */
	bool commit[TIPS];
	bool *below[TIPS]; /* what each reaches, itself included */
	int refs[REFS];	   /* tips */
	bool *stored;
	uint32_t *since;
	bool shown[TIPS]; /* a ref since the last checkpoint */
	unsigned dropped, revived, refused, abandoned;
};

static const char *const ref_names[REFS] = {"refs/heads/b0", "refs/heads/b1", "refs/heads/b2", "refs/tags/t0",
					    "refs/tags/t1",  "refs/pull/0",   "refs/pull/1",   "refs/pull/2"};

static bool is_tip(const struct model *m, const struct wr_oid *oid)
{
	for (size_t t = 0; t < m->tips; t++)
		if (wr_oid_eq(&m->tip[t], oid))
			return true;
	return false;
}

/* Two tags may have one value, or that of a branch; a push of what a ref has already relies on nothing. */
static void add_tips(struct model *m, const char *cmd, bool commit)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);
	WR_AUTO_S(wr_oids) list = {NULL, 0, 0};

	sh_out(m->f, &text, "%s", cmd);
	oids_of(&list, &text);
	for (size_t i = 0; i < list.len && m->tips < TIPS; i++) {
		if (is_tip(m, &list.v[i]))
			continue;
		m->tip[m->tips] = list.v[i];
		m->commit[m->tips++] = commit;
	}
}

static void model_init(struct model *m, struct fx *f, unsigned commits)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(16u << 20);

	*m = (struct model){.f = f};
	sh(f, "rm -rf src");
	make_history(f, "src", commits);
	add_tips(m, "git -C src rev-list --all", true);
	add_tips(m, "git -C src for-each-ref refs/tags --format='%(objectname)'", false);
	sh_out(f, &text, "git -C src cat-file --batch-all-objects --batch-check='%%(objectname)'");
	oids_of(&m->objects, &text);
	for (size_t i = 0; i < m->objects.len; i++)
		assert_ok(wr_oidmap_add(&m->index, &m->objects.v[i], (uint32_t)i, NULL, NULL));
	m->stored = calloc(m->objects.len, sizeof *m->stored);
	m->since = calloc(m->objects.len, sizeof *m->since);
	for (size_t t = 0; t < m->tips; t++) {
		WR_AUTO_S(wr_oids) list = {NULL, 0, 0};
		char hex[WR_OID_HEX + 1];

		m->below[t] = calloc(m->objects.len, sizeof **m->below);
		wr_oid_hex(hex, &m->tip[t]);
		wr_buf_clear(&text);
		sh_out(f, &text, "git -C src rev-list --objects %s | cut -c1-40", hex);
		oids_of(&list, &text);
		for (size_t i = 0; i < list.len; i++)
			m->below[t][*wr_oidmap_slot(&m->index, &list.v[i]) - 1] = true;
	}
	for (size_t r = 0; r < REFS; r++)
		m->refs[r] = NO_TIP;
}

static void model_fini(struct model *m)
{
	for (size_t t = 0; t < m->tips; t++)
		free(m->below[t]);
	free(m->stored);
	free(m->since);
	wr_oids_fini(&m->objects);
	wr_oidmap_fini(&m->index);
}

static bool tip_stored(const struct model *m, size_t t)
{
	return m->stored[*wr_oidmap_slot(&m->index, &m->tip[t]) - 1];
}

static bool reached(const struct model *m, const int refs[REFS], size_t i)
{
	for (size_t r = 0; r < REFS; r++)
		if (refs[r] != NO_TIP && m->below[refs[r]][i])
			return true;
	return false;
}

/* What a checkpoint of these refs and of what was shown does at this time. */
static void model_checkpoint(struct model *m, const int refs[REFS], const bool shown[TIPS], bool keep)
{
	uint32_t now = (uint32_t)((clock_ms + 999) / 1000);
	size_t n = m->objects.len;
	bool *young = calloc(n, sizeof *young);

	for (size_t t = 0; t < m->tips; t++)
		for (size_t i = 0; shown[t] && i < n; i++)
			young[i] |= m->below[t][i];
	for (size_t t = 0; t < m->tips; t++) {
		size_t own = *wr_oidmap_slot(&m->index, &m->tip[t]) - 1;

		if (m->stored[own] && m->since[own] == 0 && !reached(m, refs, own))
			for (size_t i = 0; i < n; i++)
				young[i] |= m->below[t][i];
	}
	for (size_t i = 0; i < n; i++) {
		if (!m->stored[i])
			continue;
		if (reached(m, refs, i)) {
			m->revived += m->since[i] != 0;
			m->since[i] = 0;
			continue;
		}
		if (m->since[i] == 0 || young[i])
			m->since[i] = now;
		if (!keep && (int64_t)m->since[i] * 1000 + GRACE <= clock_ms) {
			m->stored[i] = false;
			m->since[i] = 0;
			m->dropped++;
		}
	}
	free(young);
}

static bool would_drop(const struct model *m, const int refs[REFS], const bool shown[TIPS])
{
	struct model copy = *m;
	bool any;

	copy.stored = malloc(m->objects.len * sizeof *m->stored);
	copy.since = malloc(m->objects.len * sizeof *m->since);
	memcpy(copy.stored, m->stored, m->objects.len * sizeof *m->stored);
	memcpy(copy.since, m->since, m->objects.len * sizeof *m->since);
	model_checkpoint(&copy, refs, shown, false);
	any = copy.dropped > m->dropped;
	free(copy.stored);
	free(copy.since);
	return any;
}

static uint32_t time_of(struct model *m, const struct wr_snapshot *snap, struct wr_place place, uint32_t **times)
{
	const struct wr_member *member = &snap->members[place.src];

	if (place.src >= snap->member_count)
		return 0;
	if (member->role != WR_ROLE_CRUFT)
		return wr_dead_since(member->dead, place.pos);
	if (!times[place.src]) {
		char path[256];
		WR_AUTO_FD int dir = -1;

		snprintf(path, sizeof path, "%s/%s/objects/pack", m->f->dir, folder());
		dir = open(path, O_RDONLY | O_DIRECTORY);
		assert_ok(wr_mtimes_read(&times[place.src], dir, member->pack, &m->f->err));
	}
	assert_true(times[place.src][place.pos] >= member->since);
	return times[place.src][place.pos];
}

/* Exactly what the model has is findable; after a checkpoint its times are known, too. */
static void compare(struct model *m, bool with_times)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	WR_AUTO_MEM uint32_t **times = NULL;

	assert_ok(wr_snapshot_take(&snap, m->f->repo, &m->f->err));
	times = calloc(snap->member_count + 1, sizeof *times);
	for (size_t i = 0; i < m->objects.len; i++) {
		char hex[WR_OID_HEX + 1];
		struct wr_place place;
		bool found = wr_snapshot_find(&place, snap, &m->objects.v[i]);

		wr_oid_hex(hex, &m->objects.v[i]);
		if (found != m->stored[i])
			fail_msg("%s is %s", hex, found ? "there" : "not there");
		if (found && with_times && time_of(m, snap, place, times) != m->since[i])
			fail_msg("%s: time %u instead of %u", hex, time_of(m, snap, place, times), m->since[i]);
	}
	for (size_t i = 0; i < snap->member_count; i++)
		free(times[i]);
}

/* Of what is past its grace no more than a quarter of each pack is left. */
static void check_files(struct model *m)
{
	WR_AUTO(wr_snapshot) *snap = NULL;

	assert_ok(wr_snapshot_take(&snap, m->f->repo, &m->f->err));
	for (size_t i = 0; i < snap->member_count; i++) {
		const struct wr_member *member = &snap->members[i];
		uint64_t gone = 0;

		for (uint32_t pos = 0; pos < member->pack->count; pos++) {
			struct wr_place place = {(uint32_t)i, pos}, home;
			struct wr_stored e;
			struct wr_oid oid;

			wr_snapshot_oid(&oid, snap, place);
			if (wr_snapshot_find(&home, snap, &oid))
				continue;
			assert_true(wr_dead_is_gone(member->dead, pos));
			assert_ok(wr_snapshot_stored(&e, snap, place, &m->f->err));
			gone += e.raw_len;
		}
		assert_true(gone <= member->pack->size / 4);
	}
}

/* The pack for a tip, thin on another one where that is not NO_TIP. */
static void pack_of(struct model *m, struct wr_buf *pack, size_t t, int on)
{
	char hex[WR_OID_HEX + 1], old[WR_OID_HEX + 2] = "";

	wr_oid_hex(hex, &m->tip[t]);
	if (on != NO_TIP) {
		old[0] = '^';
		wr_oid_hex(old + 1, &m->tip[on]);
	}
	sh_out(m->f, pack, "printf '%%s\\n' %s %s | git -C src pack-objects -q --revs --thin --stdout --delta-base-offset", hex,
	       old);
}

static void now_stored(struct model *m, size_t t)
{
	for (size_t i = 0; i < m->objects.len; i++)
		m->stored[i] |= m->below[t][i];
}

/* Some ref becomes some tip: by its name, with a pack, or with a thin one. */
static void model_push(struct model *m)
{
	struct fx *f = m->f;
	size_t r = chance(f, REFS), t = chance(f, (unsigned)m->tips);
	unsigned kind = chance(f, 4);
	int on = kind == 2 ? (int)chance(f, (unsigned)m->tips) : NO_TIP;
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(16u << 20);
	bool expected = kind == 3 || tip_stored(m, t);
	enum wr_code code;

	while (r < 3 && !m->commit[t])
		t = chance(f, (unsigned)m->tips);
	expected = kind == 3 || tip_stored(m, t);
	if (kind >= 2)
		pack_of(m, &pack, t, on);
	if (kind == 2)
		expected = tip_stored(m, (size_t)on);
	code = push(f, wr_buf_str(&pack), ref_names[r], &m->tip[t]);
	if (kind == 2 && !expected && code == WR_OK) {
		/* What it was thin on is not there as such, but all that was needed of it is. */
		WR_AUTO_S(wr_oids) brought = {NULL, 0, 0};

		for (size_t i = 0; i < m->objects.len; i++)
			assert_true(!m->below[t][i] || m->stored[i] || !m->below[on][i]);
	} else {
		assert_int_equal(code == WR_OK, expected);
	}
	m->refused += code != WR_OK;
	if (code != WR_OK)
		return;
	now_stored(m, t);
	m->refs[r] = (int)t;
	m->shown[t] = true;
}

static void model_delete(struct model *m)
{
	size_t r = chance(m->f, REFS);

	if (m->refs[r] == NO_TIP)
		return;
	assert_ok(push(m->f, WR_S(""), ref_names[r], &zero));
	m->refs[r] = NO_TIP;
}

struct hook {
	struct model *m;
	unsigned at;
	bool relied; /* on something that had a time */
};

/* A name for something stored, while a checkpoint is being built. */
static bool push_by_name(void *arg)
{
	struct hook *h = arg;
	struct model *m = h->m;
	size_t r = 5 + chance(m->f, 3), t = chance(m->f, (unsigned)m->tips);

	if (h->at == 0 || --h->at > 0)
		return false;
	for (unsigned i = 0; i < 20 && m->since[*wr_oidmap_slot(&m->index, &m->tip[t]) - 1] == 0; i++)
		t = chance(m->f, (unsigned)m->tips);
	assert_int_equal(push(m->f, WR_S(""), ref_names[r], &m->tip[t]) == WR_OK, tip_stored(m, t));
	if (!tip_stored(m, t))
		return false;
	/* What changes nothing relies on nothing. */
	if (m->refs[r] == (int)t)
		return false;
	m->refs[r] = (int)t;
	m->shown[t] = true;
	h->relied = m->since[*wr_oidmap_slot(&m->index, &m->tip[t]) - 1] != 0;
	return false;
}

static void model_run(struct model *m)
{
	struct hook h = {m, chance(m->f, 5), false};
	const struct wr_cancel hook = {push_by_name, &h};
	bool shown[TIPS], did, drops;
	int refs[REFS];

	memcpy(shown, m->shown, sizeof shown);
	memcpy(refs, m->refs, sizeof refs);
	memset(m->shown, 0, sizeof m->shown);
	drops = would_drop(m, refs, shown);
	if (wr_keeper_run(&did, m->f->repo, &hook, &m->f->err) != WR_OK)
		fail_msg("%s %s", m->f->err.text, m->f->err.detail);
	if (!did) {
		for (size_t i = 0; i < TIPS; i++)
			m->shown[i] |= shown[i];
		return;
	}
	m->abandoned += h.relied && drops;
	model_checkpoint(m, refs, shown, h.relied);
	compare(m, memcmp(refs, m->refs, sizeof refs) == 0);
	check_files(m);
}

static void model_maintain(struct model *m)
{
	struct wr_maintained done;

	assert_ok(wr_git_repo_maintain(&done, m->f->repo, false, NULL, NULL, &m->f->err));
	model_checkpoint(m, m->refs, m->shown, false);
	memset(m->shown, 0, sizeof m->shown);
	compare(m, true);
}

static bool saw_enough(const struct model *m)
{
	return m->dropped > 50 && m->revived > 50 && m->refused > 5 && m->abandoned > 0;
}

/* Chance may keep one of the rare cases away for long: then it goes on, up to eight times as far. */
static void whatever_happens(void **state)
{
	struct fx *f = *state;
	unsigned n = rounds(150), most = n < 100 ? n : 8 * n;
	struct model m;

	model_init(&m, f, 60);
	for (unsigned i = 0; i < n || (i < most && !saw_enough(&m)); i++) {
		for (unsigned k = chance(f, 3); k > 0; k--)
			chance(f, 3) ? model_push(&m) : model_delete(&m);
		clock_ms += chance(f, 4) * (GRACE / 5) + chance(f, 5000);
		if (chance(f, 12) == 0)
			restart(f);
		compare(&m, false);
		if (chance(f, 20) == 0)
			model_maintain(&m);
		else if (chance(f, 3))
			model_run(&m);
		if (i % 16 == 15)
			verify(f);
		if (i % 32 == 31)
			sh(f, "cd %s; git fsck --full --strict --no-dangling 2>&1 | grep -v '^notice' | wc -l | grep -qx 0",
			   folder());
	}
	assert_true(n < 100 || saw_enough(&m));
	model_fini(&m);
}

/* ---- pushes that take long ---- */

#define LONG 4

struct long_push {
	struct wr_quarantine *q; /* NULL: none */
	size_t t;
	int on;
	int64_t began_ms;
};

static void long_begin(struct long_push *p, struct model *m)
{
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(16u << 20);

	*p = (struct long_push){.t = chance(m->f, (unsigned)m->tips), .on = NO_TIP, .began_ms = clock_ms};
	if (chance(m->f, 4))
		p->on = (int)chance(m->f, (unsigned)m->tips);
	pack_of(m, &pack, p->t, p->on);
	if (take_pack(&p->q, m->f, wr_buf_str(&pack)) != WR_OK)
		assert_true(p->on != NO_TIP && !tip_stored(m, (size_t)p->on));
}

/* Whether the push may be refused: something that it has not brought is gone, or the push is too old. */
static bool long_may_fail(const struct long_push *p, const struct model *m)
{
	for (size_t i = 0; p->on != NO_TIP && i < m->objects.len; i++)
		if (m->below[p->on][i] && !m->stored[i])
			return true;
	return clock_ms - p->began_ms >= GRACE;
}

/* It is refused, or all that the new value reaches is there. */
static void long_end(struct long_push *p, struct model *m)
{
	size_t r = 3 + chance(m->f, REFS - 3);
	struct wr_ref_update u = {.name = wr_str(ref_names[r]), .new = m->tip[p->t], .any_old = true};
	struct wr_change change = {.updates = &u, .count = 1, .objects = p->q};
	enum wr_code code = wr_git_append(m->f->repo, &change, &m->f->err);

	wr_quarantine_free(p->q);
	p->q = NULL;
	if (code != WR_OK || u.result != WR_OK) {
		assert_true(long_may_fail(p, m));
		m->refused++;
		return;
	}
	now_stored(m, p->t);
	m->refs[r] = (int)p->t;
	m->shown[p->t] = true;
	compare(m, false);
}

static void pushes_that_take_long(void **state)
{
	struct fx *f = *state;
	struct long_push pushes[LONG] = {{.q = NULL}};
	struct model m;

	model_init(&m, f, 60);
	for (unsigned i = 0; i < rounds(200); i++) {
		struct long_push *p = &pushes[chance(f, LONG)];

		p->q ? long_end(p, &m) : long_begin(p, &m);
		chance(f, 3) ? model_delete(&m) : model_push(&m);
		clock_ms += chance(f, 4) * (GRACE / 8) + chance(f, 5000);
		if (chance(f, 3))
			model_run(&m);
		if (i % 16 == 15)
			verify(f);
	}
	for (size_t k = 0; k < LONG; k++)
		wr_quarantine_free(pushes[k].q);
	assert_true(rounds(200) < 100 || (m.dropped > 50 && m.refused > 5));
	model_fini(&m);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, fx_teardown)

/* ---- stored without a ref ---- */

static void kept_without_a_ref(void **state)
{
	struct fx *f = *state;
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_oid a, b;
	size_t refs;

	/* Also as the first thing that a repository gets. */
	new_commit(f, &a, NULL, "a");
	new_commit(f, &b, &a, "b");
	keep_commit(f, &a, NULL);
	assert_true(has(f, &a));
	restart(f);
	keep_commit(f, &b, &a);
	assert_true(has(f, &a) && has(f, &b));
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	wr_snapshot_refs(snap, &refs);
	assert_int_equal(refs, 0);
	verify(f);
	assert_true(checkpoint(f));
	assert_int_equal(role_objects(f, "cruft"), 6);
	restart(f);
	assert_true(has(f, &a) && has(f, &b));
	verify(f);
	clock_ms += GRACE - HOUR;
	/* A branch makes them whole again. */
	assert_ok(push(f, WR_S(""), "refs/heads/a", &a));
	checkpoint(f);
	assert_int_equal(role_objects(f, "base"), 3);
	clock_ms += GRACE / 8;
	assert_true(checkpoint(f));
	assert_true(has(f, &a));
	assert_false(has(f, &b));
	verify(f);
}

/* Whoever stores what is there already may count on it for as long as on what was not. */
static void kept_again_is_young_again(void **state)
{
	struct fx *f = *state;
	struct wr_oid a, b, c;

	new_commit(f, &a, NULL, "a");
	new_commit(f, &b, &a, "b");
	new_commit(f, &c, NULL, "c");
	keep_commit(f, &b, NULL);
	assert_true(checkpoint(f));
	clock_ms += GRACE - HOUR;
	keep_commit(f, &b, NULL);
	assert_true(checkpoint(f));
	clock_ms += 2 * HOUR;
	assert_ok(push_commit(f, "refs/heads/c", &c, NULL));
	assert_true(checkpoint(f));
	assert_true(has(f, &a) && has(f, &b));
	verify(f);
	clock_ms += GRACE + GRACE / 8;
	assert_true(checkpoint(f));
	assert_false(has(f, &a) || has(f, &b));
	verify(f);
}

/* The commit alone is there again; what it refers to is as old as it was, and must not go before it. */
static void what_kept_ones_refer_to_stays_with_them(void **state)
{
	struct fx *f = *state;
	struct wr_oid a, b, c;

	new_commit(f, &a, NULL, "a");
	new_commit(f, &b, &a, "b");
	new_commit(f, &c, NULL, "c");
	keep_commit(f, &a, NULL);
	assert_true(checkpoint(f));
	clock_ms += GRACE - HOUR;
	keep_commit(f, &b, &a);
	assert_true(checkpoint(f));
	clock_ms += 2 * HOUR;
	assert_ok(push_commit(f, "refs/heads/c", &c, NULL));
	assert_true(checkpoint(f));
	assert_true(has(f, &a) && has(f, &b));
	verify(f);
}

static void kept_whatever_becomes_of_updates(void **state)
{
	struct fx *f = *state;
	struct wr_ref_update u = {.name = WR_S("refs/heads/x")};
	struct wr_change change = {.updates = &u, .count = 1};
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(1 << 20);
	char hex[WR_OID_HEX + 1];
	struct wr_oid a;

	new_commit(f, &a, NULL, "a");
	wr_oid_hex(hex, &a);
	u.new = u.old = a;
	sh_out(f, &pack, "printf '%%s\\n' %s | git -C src pack-objects -q --revs --stdout", hex);
	for (unsigned i = 0; i < 2; i++) {
		WR_AUTO(wr_quarantine) *q = NULL;

		assert_ok(take_pack(&q, f, wr_buf_str(&pack)));
		change.objects = q;
		change.keep = i > 0;
		assert_ok(wr_git_append(f->repo, &change, &f->err));
		assert_int_equal(u.result, WR_E_REF_CONFLICT);
		assert_int_equal(has(f, &a), i > 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(kept_for_its_grace_and_then_gone),
		T(kept_without_a_ref),
		T(kept_again_is_young_again),
		T(what_kept_ones_refer_to_stays_with_them),
		T(kept_whatever_becomes_of_updates),
		T(referred_to_in_time_it_is_whole_again),
		T(what_a_young_one_needs_stays),
		T(a_push_beside_the_checkpoint_that_drops),
		T(what_went_since_is_missing),
		T(what_is_made_again_relies_on_nothing),
		T(a_push_older_than_the_grace_is_refused),
		T(in_threads),
		T(one_that_is_asked_for_covers_all),
		T(one_that_is_broken_off_drops_nothing),
		T(lost_times),
		T(damage_of_what_nobody_reaches),
		T(a_time_ahead_of_the_clock),
		T(a_clock_that_goes_back_between_the_times_of_a_pack),
		T(what_an_older_program_left_is_sorted),
		T(dead_entries_that_are_none),
		T(maintenance_leaves_nothing_that_is_not_needed),
		T(deltas_are_found_by_content),
		T(one_that_is_told_to_stop_changes_nothing),
		T(whatever_happens),
		T(pushes_that_take_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
