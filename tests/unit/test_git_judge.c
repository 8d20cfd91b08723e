/* What becomes of ref updates, by an own opinion of what is right; and of long chains of tags. */
#include "tests/unit/git_fixture.h"

#include <pthread.h>

#include "core/git/append.h"

#define MAX_REFS 512
#define UP(ref, oid) {.name = wr_str(ref), .new = (oid), .any_old = true}

static struct wr_quarantine *new_commit(struct fx *f, struct wr_oid *out)
{
	static const char text[] = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n"
				   "author A <a> 1 +0000\ncommitter A <a> 1 +0000\n\nx\n";
	WR_AUTO(wr_quarantine) *q = NULL;
	struct wr_oid tree;

	assert_ok(wr_quarantine_new(&q, f->repo, &f->err));
	assert_ok(wr_quarantine_add(&tree, q, WR_TREE, WR_S(""), NULL, &f->err));
	assert_ok(wr_quarantine_add(out, q, WR_COMMIT, wr_str(text), NULL, &f->err));
	return WR_STEAL(q);
}

/* ---- folders ---- */

struct name {
	char z[80];
};

/* Every ref that there is. */
struct model {
	struct name names[MAX_REFS];
	size_t count;
};

static size_t find(const struct model *m, const char *name)
{
	size_t i = 0;

	while (i < m->count && strcmp(m->names[i].z, name) != 0)
		i++;
	return i;
}

static bool is_folder(const char *a, const char *b)
{
	return strncmp(a, b, strlen(a)) == 0 && b[strlen(a)] == '/';
}

static bool in_the_way(const struct model *m, const char *name)
{
	for (size_t i = 0; i < m->count; i++)
		if (is_folder(m->names[i].z, name) || is_folder(name, m->names[i].z))
			return true;
	return false;
}

/* Names that nest, and names that only begin alike. */
static struct name make_name(struct fx *f)
{
	static const char *const parts[] = {"a", "b", "a-", "a-b", "aa", "a0", "a.b"};
	unsigned n = 1 + chance(f, 5);
	struct name out;
	int len = snprintf(out.z, sizeof(out.z), "refs/%s", chance(f, 8) ? "heads" : "tags");

	for (unsigned i = 0; i < n; i++)
		len += snprintf(out.z + len, sizeof(out.z) - (size_t)len, "/%s",
				parts[chance(f, chance(f, 2) ? 2 : WR_ARRAY_LEN(parts))]);
	return out;
}

struct round {
	struct name names[40];
	struct wr_ref_update updates[40];
	size_t count;
};

static void make_round(struct round *r, struct fx *f, const struct model *m, const struct wr_oid *commit)
{
	static const struct wr_oid zero, wrong = {{1}};
	size_t n = 1 + chance(f, chance(f, 3) ? 6 : 40);

	r->count = 0;
	for (size_t i = 0; i < n; i++) {
		struct wr_ref_update *u = &r->updates[r->count];
		bool old = m->count && chance(f, 3) == 0, there, twice = false;
		const char *name = r->names[r->count].z;

		r->names[r->count] = old ? m->names[chance(f, (unsigned)m->count)] : make_name(f);
		for (size_t k = 0; k < r->count; k++)
			twice = twice || strcmp(r->names[k].z, name) == 0;
		if (twice)
			continue;
		there = find(m, name) < m->count;
		*u = (struct wr_ref_update){.name = wr_str(name), .old = there ? *commit : zero, .new = *commit};
		if (there && chance(f, 3))
			u->new = zero;
		if (chance(f, 10) == 0)
			u->old = wrong;
		r->count++;
	}
}

/* Deletions first, then one after the other. */
static void expect_round(bool *ok, struct model *m, const struct round *r, const struct wr_oid *commit)
{
	static const struct wr_oid zero;

	for (size_t i = 0; i < r->count; i++) {
		size_t at = find(m, r->names[i].z);
		const struct wr_ref_update *u = &r->updates[i];

		ok[i] = wr_oid_eq(&u->old, at < m->count ? commit : &zero);
	}
	for (size_t i = 0; i < r->count; i++) {
		size_t at = find(m, r->names[i].z);

		if (ok[i] && wr_oid_zero(&r->updates[i].new) && at < m->count)
			m->names[at] = m->names[--m->count];
	}
	for (size_t i = 0; i < r->count; i++) {
		if (!ok[i] || wr_oid_zero(&r->updates[i].new) || find(m, r->names[i].z) < m->count)
			continue;
		ok[i] = !in_the_way(m, r->names[i].z);
		if (ok[i])
			m->names[m->count++] = r->names[i];
		assert_true(m->count < MAX_REFS);
	}
}

static void same_refs(struct fx *f, const struct model *m)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	size_t n;

	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	(void)wr_snapshot_refs(snap, &n);
	assert_int_equal(n, m->count);
	for (size_t i = 0; i < m->count; i++)
		assert_non_null(wr_snapshot_ref(snap, wr_str(m->names[i].z)));
}

static void no_ref_is_a_folder_of_another(void **state)
{
	struct fx *f = *state;
	static struct model m, before;
	static struct round r;
	struct wr_oid commit;
	WR_AUTO(wr_quarantine) *q = new_commit(f, &commit);
	struct wr_ref_update first = UP("refs/heads/first", commit);
	struct wr_change begin = {.updates = &first, .count = 1, .objects = q};

	assert_ok(wr_git_append(f->repo, &begin, &f->err));
	m = (struct model){{{"refs/heads/first"}}, 1};
	for (unsigned round = 0; round < rounds(300); round++) {
		bool ok[40], all = true;
		bool atomic = chance(f, 4) == 0;
		struct wr_change change = {.updates = r.updates, .atomic = atomic};

		if (chance(f, 20) == 0) {
			bool did;

			assert_ok(wr_git_repo_checkpoint(&did, f->repo, &f->err));
		}
		before = m;
		make_round(&r, f, &m, &commit);
		expect_round(ok, &m, &r, &commit);
		change.count = r.count;
		assert_ok(wr_git_append(f->repo, &change, &f->err));
		for (size_t i = 0; i < r.count; i++)
			all = all && ok[i];
		if (atomic && !all)
			m = before;
		for (size_t i = 0; i < r.count; i++) {
			if ((r.updates[i].result == WR_OK) != (ok[i] && (!atomic || all)))
				fail_msg("round %u, %s: %s", round, r.names[i].z, r.updates[i].reason);
		}
		same_refs(f, &m);
	}
}

/* Thousands of folders, by thousands of names: no more than their lengths together. */
static void deep_names(void **state)
{
	struct fx *f = *state;
	enum { COUNT = 2000 };
	struct wr_oid commit;
	WR_AUTO(wr_quarantine) *q = new_commit(f, &commit);
	struct wr_ref_update *u = calloc(COUNT, sizeof(*u));
	char *names = calloc(COUNT, 4097);
	struct wr_change change = {.updates = u, .count = COUNT, .objects = q};

	assert_non_null(u);
	assert_non_null(names);
	/* refs/heads/a, refs/heads/a/a, ...: the deepest comes first. */
	for (size_t i = 0; i < COUNT; i++) {
		char *name = names + i * 4097;

		memcpy(name, "refs/heads", 10);
		for (size_t k = 0; k < COUNT - i; k++)
			memcpy(name + 10 + 2 * k, "/a", 3);
		u[i] = (struct wr_ref_update)UP(name, commit);
	}
	assert_ok(wr_git_append(f->repo, &change, &f->err));
	assert_ok(u[0].result);
	for (size_t i = 1; i < COUNT; i++)
		assert_int_equal(u[i].result, WR_E_REF_CONFLICT);
	/* Beside it one on each level, then all of that goes and the first level comes. */
	change.objects = NULL;
	for (size_t i = 1; i < COUNT; i++) {
		memcpy(names + i * 4097 + u[i].name.len, "-", 2);
		u[i].name = wr_str(names + i * 4097);
	}
	assert_ok(wr_git_append(f->repo, &change, &f->err));
	for (size_t i = 0; i < COUNT; i++) {
		assert_ok(u[i].result);
		u[i].new = (struct wr_oid){{0}};
	}
	u[COUNT - 1] = (struct wr_ref_update)UP("refs/heads/a", commit);
	assert_ok(wr_git_append(f->repo, &change, &f->err));
	for (size_t i = 0; i < COUNT; i++)
		assert_ok(u[i].result);
	free(names);
	free(u);
}

/* ---- turns ---- */

struct waiter {
	struct fx *f;
	struct wr_oid commit;
	pthread_mutex_t lock; /* told, begun */
	pthread_cond_t moved;
	bool told, begun;
};

/* The first one's turn lasts until the second one, who waits for it, was told so. */
static enum wr_code hold_the_turn(void *arg, struct wr_snapshot *tips, struct wr_change *change, struct wr_error *err)
{
	struct waiter *w = arg;

	(void)tips;
	(void)change;
	(void)err;
	pthread_mutex_lock(&w->lock);
	w->begun = true;
	pthread_cond_broadcast(&w->moved);
	while (!w->told)
		pthread_cond_wait(&w->moved, &w->lock);
	pthread_mutex_unlock(&w->lock);
	return WR_OK;
}

static void was_told(void *arg)
{
	struct waiter *w = arg;

	pthread_mutex_lock(&w->lock);
	w->told = true;
	pthread_cond_broadcast(&w->moved);
	pthread_mutex_unlock(&w->lock);
}

static void *append_first(void *arg)
{
	struct waiter *w = arg;
	struct wr_ref_update u = UP("refs/heads/first", w->commit);
	struct wr_change change = {.updates = &u, .count = 1, .fn = hold_the_turn, .arg = w};
	enum wr_code code = wr_git_append(w->f->repo, &change, NULL);

	return code == WR_OK && u.result == WR_OK ? w : NULL;
}

static void who_waits_is_told(void **state)
{
	struct waiter w = {.f = *state, .lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};
	struct fx *f = *state;
	WR_AUTO(wr_quarantine) *q = new_commit(f, &w.commit);
	struct wr_ref_update u[2] = {UP("refs/heads/zero", w.commit), UP("refs/heads/second", w.commit)};
	struct wr_change zero = {.updates = u, .count = 1, .objects = q};
	struct wr_change second = {.updates = u + 1, .count = 1, .waiting = was_told, .arg = &w};
	pthread_t thread;
	void *ended;

	assert_ok(wr_git_append(f->repo, &zero, &f->err));
	assert_int_equal(pthread_create(&thread, NULL, append_first, &w), 0);
	pthread_mutex_lock(&w.lock);
	while (!w.begun)
		pthread_cond_wait(&w.moved, &w.lock);
	pthread_mutex_unlock(&w.lock);
	assert_ok(wr_git_append(f->repo, &second, &f->err));
	assert_ok(u[1].result);
	pthread_join(thread, &ended);
	assert_non_null(ended);
}

/* ---- tags ---- */

static void chains_of_tags(void **state)
{
	struct fx *f = *state;
	struct wr_oid commit, tags[66];
	WR_AUTO(wr_quarantine) *q = new_commit(f, &commit);
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_ref_update u[132];
	struct wr_change change = {.updates = u, .objects = q};
	char names[132][32];

	for (unsigned i = 0; i < 66; i++) {
		char hex[WR_OID_HEX + 1], text[256];

		wr_oid_hex(hex, i ? &tags[i - 1] : &commit);
		snprintf(text, sizeof(text), "object %s\ntype %s\ntag t%u\ntagger A <a> 1 +0000\n\nx\n", hex,
			 i ? "tag" : "commit", i);
		assert_ok(wr_quarantine_add(&tags[i], q, WR_TAG, wr_str(text), NULL, &f->err));
	}
	/* Whatever their order: 64 of them may follow each other. */
	for (unsigned i = 0; i < 132; i++) {
		unsigned tag = i < 66 ? (i * 7) % 66 : i - 66;

		snprintf(names[i], sizeof(names[i]), "refs/%s/t%u", i < 66 ? "tags" : "other", tag);
		u[change.count++] = (struct wr_ref_update)UP(names[i], tags[tag]);
	}
	if (wr_git_append(f->repo, &change, &f->err) != WR_OK)
		fail_msg("append: %s %s", wr_error_text(&f->err), f->err.detail);
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	for (unsigned i = 0; i < 132; i++) {
		unsigned tag = i < 66 ? (i * 7) % 66 : i - 66;
		const struct wr_ref *ref = wr_snapshot_ref(snap, u[i].name);

		assert_int_equal(u[i].result, tag < 64 ? WR_OK : WR_E_BAD_PACK);
		assert_true((ref != NULL) == (tag < 64));
		assert_true(!ref || wr_oid_eq(&ref->peeled, &commit));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(no_ref_is_a_folder_of_another, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(deep_names, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(who_waits_is_told, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(chains_of_tags, fx_setup, fx_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
