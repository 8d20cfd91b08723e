/* Handles, appends, and what is on the disk after them. */
#include "tests/unit/git_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "core/base/id.h"
#include "core/git/git_internal.h"

#define REPO "data/repos/01/23/" REPO_ID ".git"

/* A commit without parents on the empty tree, made different by its message. Both in one quarantine. */
static struct wr_quarantine *new_commit(struct fx *f, struct wr_git_repo *repo, struct wr_oid *out, const char *message)
{
	WR_AUTO(wr_quarantine) *q = NULL;
	char hex[WR_OID_HEX + 1], text[256];
	struct wr_oid tree;

	assert_ok(wr_quarantine_new(&q, repo, &f->err));
	assert_ok(wr_quarantine_add(&tree, q, WR_TREE, WR_S(""), NULL, &f->err));
	wr_oid_hex(hex, &tree);
	snprintf(text, sizeof(text), "tree %s\nauthor A <a> 1 +0000\ncommitter A <a> 1 +0000\n\n%s\n", hex, message);
	assert_ok(wr_quarantine_add(out, q, WR_COMMIT, wr_str(text), NULL, &f->err));
	return WR_STEAL(q);
}

static void append_commit(struct fx *f, struct wr_oid *out, const char *ref, const char *message)
{
	WR_AUTO(wr_quarantine) *q = new_commit(f, f->repo, out, message);
	struct wr_ref_update u = {.name = wr_str(ref), .new = *out, .any_old = true};
	struct wr_change change = {.updates = &u, .count = 1, .objects = q};

	assert_ok(wr_git_append(f->repo, &change, &f->err));
	assert_string_equal(u.reason, "");
	assert_ok(u.result);
}

static void assert_ref(struct fx *f, const char *name, const struct wr_oid *oid)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	const struct wr_ref *ref;

	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	ref = wr_snapshot_ref(snap, wr_str(name));
	if (!oid) {
		assert_null(ref);
		return;
	}
	assert_non_null(ref);
	assert_true(wr_oid_eq(&ref->oid, oid));
}

static void nothing_before_the_first_push(void **state)
{
	struct fx *f = *state;
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_object obj;
	struct wr_oid oid = {{7}};
	size_t n;

	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	wr_snapshot_refs(snap, &n);
	assert_int_equal(n, 0);
	assert_int_equal(wr_snapshot_seq(snap), 0);
	assert_false(wr_snapshot_has(snap, &oid));
	assert_int_equal(wr_snapshot_read(&obj, snap, &oid, &f->err), WR_E_NOT_THERE);
	sh(f, "test -z \"$(ls data/repos)\"");
	/* A snapshot is of its instant: what is pushed later is not in it. */
	append_commit(f, &oid, "refs/heads/main", "one");
	assert_false(wr_snapshot_has(snap, &oid));
	assert_int_equal(wr_snapshot_seq(snap), 0);
	wr_snapshot_unref(snap);
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	assert_int_equal(wr_snapshot_seq(snap), 1);
	assert_ref(f, "refs/heads/main", &oid);
	assert_string_equal(wr_git_repo_id(f->repo), REPO_ID);
}

static void compare_object(struct fx *f, const struct wr_snapshot *snap, struct wr_str *rest)
{
	/* "<oid> <type> <size>\n<bytes>\n" */
	const char *nl = memchr(rest->ptr, '\n', rest->len);
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	enum wr_type type;
	struct wr_oid oid;
	char word[16];
	uint64_t size;
	unsigned long long said;

	assert_true(wr_oid_parse(&oid, wr_str_n(rest->ptr, WR_OID_HEX)));
	assert_int_equal(sscanf(rest->ptr + WR_OID_HEX, " %15s %llu", word, &said), 2);
	*rest = wr_str_skip(*rest, (size_t)(nl + 1 - rest->ptr));
	assert_true(wr_snapshot_has(snap, &oid));
	assert_ok(wr_snapshot_stat(snap, &oid, &type, &size, &f->err));
	assert_string_equal(wr_type_name(type), word);
	assert_int_equal(size, said);
	assert_ok(wr_snapshot_read(&obj, snap, &oid, &f->err));
	assert_int_equal(obj.type, type);
	assert_true(wr_str_eq(wr_str_n(obj.data, obj.size), wr_str_n(rest->ptr, (size_t)said)));
	assert_int_equal(obj.data[obj.size], 0);
	*rest = wr_str_skip(*rest, (size_t)said + 1);
}

static void every_object_and_ref_comes_back(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) all = WR_BUF_INIT(64u << 20);
	WR_AUTO_S(wr_buf) refs = WR_BUF_INIT(1 << 20);
	WR_AUTO_S(wr_buf) ours = WR_BUF_INIT(1 << 20);

	make_history(f, "work", 80);
	push_all(f, "work");
	sh_out(f, &all, "git -C work cat-file --batch --batch-all-objects");
	sh_out(f, &refs, "git -C work for-each-ref --format='%%(objectname) %%(refname)'");
	for (int again = 0; again < 2; again++) {
		WR_AUTO(wr_snapshot) *snap = NULL;
		struct wr_str rest = wr_buf_str(&all);
		const struct wr_ref *v;
		char hex[WR_OID_HEX + 1];
		size_t n;

		assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
		while (rest.len)
			compare_object(f, snap, &rest);
		v = wr_snapshot_refs(snap, &n);
		wr_buf_clear(&ours);
		for (size_t i = 0; i < n; i++) {
			wr_oid_hex(hex, &v[i].oid);
			wr_buf_printf(&ours, "%s %.*s\n", hex, (int)v[i].name.len, v[i].name.ptr);
		}
		assert_string_equal(ours.ptr, refs.ptr);
		/* The same from the disk. */
		wr_snapshot_unref(WR_STEAL(snap));
		fx_stop(f);
		fx_start(f);
	}
	sh(f, "cd " REPO " && git rev-parse --is-bare-repository | grep true && git fsck --strict");
}

static void peeled_tags(void **state)
{
	struct fx *f = *state;
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_oid commit, nested;
	const struct wr_ref *ref;

	sh(f, "git init -q work; cd work; git commit -q --allow-empty -m 1; git tag light; git tag -am x t; "
	      "git -c advice.nestedTag=false tag -am x nested t; git tag -am x tree HEAD^{tree}");
	push_all(f, "work");
	sh_oid(f, &commit, "git -C work rev-parse HEAD");
	sh_oid(f, &nested, "git -C work rev-parse nested");
	for (int again = 0; again < 2; again++) {
		assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
		ref = wr_snapshot_ref(snap, WR_S("refs/tags/nested"));
		assert_true(wr_oid_eq(&ref->oid, &nested) && wr_oid_eq(&ref->peeled, &commit));
		ref = wr_snapshot_ref(snap, WR_S("refs/tags/light"));
		assert_true(wr_oid_eq(&ref->oid, &commit) && wr_oid_zero(&ref->peeled));
		ref = wr_snapshot_ref(snap, WR_S("refs/tags/tree"));
		assert_false(wr_oid_zero(&ref->peeled));
		wr_snapshot_unref(WR_STEAL(snap));
		fx_stop(f);
		fx_start(f);
	}
}

/* ---- refusals ---- */

static enum wr_code one(struct fx *f, struct wr_ref_update *u)
{
	struct wr_change change = {.updates = u, .count = 1};

	assert_ok(wr_git_append(f->repo, &change, &f->err));
	assert_int_equal(u->result == WR_OK, u->reason[0] == '\0');
	return u->result;
}

static void old_ids_are_compared(void **state)
{
	struct fx *f = *state;
	struct wr_oid a, b, zero = {{0}};
	struct wr_ref_update u;

	append_commit(f, &a, "refs/heads/a", "a");
	append_commit(f, &b, "refs/heads/b", "b");
	u = (struct wr_ref_update){.name = WR_S("refs/heads/a"), .old = b, .new = b};
	assert_int_equal(one(f, &u), WR_E_REF_CONFLICT);
	assert_non_null(strstr(u.reason, "has moved"));
	assert_true(wr_oid_eq(&u.before, &a));
	u = (struct wr_ref_update){.name = WR_S("refs/heads/a"), .old = zero, .new = b};
	assert_int_equal(one(f, &u), WR_E_REF_CONFLICT);
	u = (struct wr_ref_update){.name = WR_S("refs/heads/c"), .old = a, .new = b};
	assert_int_equal(one(f, &u), WR_E_REF_CONFLICT);
	u = (struct wr_ref_update){.name = WR_S("refs/heads/c"), .old = a, .new = zero};
	assert_int_equal(one(f, &u), WR_E_REF_CONFLICT);
	/* What changes nothing is fine, deletion of what is not there included (as git has it). */
	u = (struct wr_ref_update){.name = WR_S("refs/heads/c"), .old = zero, .new = zero};
	assert_ok(one(f, &u));
	u = (struct wr_ref_update){.name = WR_S("refs/heads/a"), .old = a, .new = a};
	assert_ok(one(f, &u));
	u = (struct wr_ref_update){.name = WR_S("refs/heads/a"), .old = a, .new = b};
	assert_ok(one(f, &u));
	assert_ref(f, "refs/heads/a", &b);
	u = (struct wr_ref_update){.name = WR_S("refs/heads/a"), .old = a, .new = zero};
	assert_int_equal(one(f, &u), WR_E_REF_CONFLICT);
	u = (struct wr_ref_update){.name = WR_S("refs/heads/a"), .old = b, .new = zero};
	assert_ok(one(f, &u));
	assert_ref(f, "refs/heads/a", NULL);
	fx_stop(f);
	fx_start(f);
	assert_ref(f, "refs/heads/a", NULL);
	assert_ref(f, "refs/heads/b", &b);
}

static void names_and_values(void **state)
{
	struct fx *f = *state;
	static const char *const names[] = {"HEAD", "refs/heads/a..b", "refs/warren/x",
					    "main", "refs/heads/",     "refs/stash"};
	struct wr_oid a, tree, none = {{9}};
	struct wr_ref_update u;

	append_commit(f, &a, "refs/heads/a", "a");
	for (size_t i = 0; i < WR_ARRAY_LEN(names); i++) {
		u = (struct wr_ref_update){.name = wr_str(names[i]), .new = a, .any_old = true};
		assert_int_equal(one(f, &u), WR_E_INVALID_REQUEST);
	}
	u = (struct wr_ref_update){.name = WR_S("refs/heads/x"), .new = none, .any_old = true};
	assert_int_equal(one(f, &u), WR_E_BAD_PACK);
	oid_of(&tree, WR_TREE, WR_S(""));
	u = (struct wr_ref_update){.name = WR_S("refs/heads/x"), .new = tree, .any_old = true};
	assert_int_equal(one(f, &u), WR_E_INVALID_REQUEST);
	u = (struct wr_ref_update){.name = WR_S("refs/tags/x"), .new = tree, .any_old = true};
	assert_ok(one(f, &u));
	u = (struct wr_ref_update){.name = WR_S("refs/notes/commits/x"), .new = a, .any_old = true};
	assert_ok(one(f, &u));
}

#define UP(n, value)                                                                                                   \
	{                                                                                                              \
		.name = WR_S(n), .new = (value), .any_old = true                                                       \
	}

static void folders(void **state)
{
	struct fx *f = *state;
	struct wr_oid a, zero = {{0}};

	append_commit(f, &a, "refs/heads/a", "a");
	append_commit(f, &a, "refs/heads/d/e", "a");
	append_commit(f, &a, "refs/heads/d-x", "a");
	{
		struct wr_ref_update u[] = {UP("refs/heads/a/b", a), UP("refs/heads/d", a), UP("refs/heads/d.", a),
					    UP("refs/heads/d/e/f/g", a), UP("refs/heads/ab", a)};
		struct wr_change change = {.updates = u, .count = 5};

		assert_ok(wr_git_append(f->repo, &change, &f->err));
		assert_int_equal(u[0].result, WR_E_REF_CONFLICT);
		assert_non_null(strstr(u[0].reason, "refs/heads/a is in the way"));
		assert_int_equal(u[1].result, WR_E_REF_CONFLICT);
		assert_int_equal(u[2].result, WR_E_INVALID_REQUEST);
		assert_int_equal(u[3].result, WR_E_REF_CONFLICT);
		assert_ok(u[4].result);
	}
	{
		/* Room made in the same change, whatever the order; and two of one change against each other. */
		struct wr_ref_update u[] = {UP("refs/heads/a/b", a),	UP("refs/heads/d", a),
					    UP("refs/heads/d/e", zero), UP("refs/heads/a", zero),
					    UP("refs/heads/n/m", a),	UP("refs/heads/n", a)};
		struct wr_change change = {.updates = u, .count = 6};

		assert_ok(wr_git_append(f->repo, &change, &f->err));
		for (size_t i = 0; i < 5; i++)
			assert_string_equal(u[i].reason, "");
		assert_int_equal(u[5].result, WR_E_REF_CONFLICT);
	}
	{
		/* A deletion that is refused makes no room. */
		struct wr_ref_update u[] = {{.name = WR_S("refs/heads/d"), .old = zero}, UP("refs/heads/d/x", a)};
		struct wr_change change = {.updates = u, .count = 2};

		assert_ok(wr_git_append(f->repo, &change, &f->err));
		assert_int_equal(u[0].result, WR_E_REF_CONFLICT);
		assert_int_equal(u[1].result, WR_E_REF_CONFLICT);
	}
	assert_ref(f, "refs/heads/n/m", &a);
	assert_ref(f, "refs/heads/n", NULL);
	assert_ref(f, "refs/heads/a", NULL);
}

static void twice_and_atomic(void **state)
{
	struct fx *f = *state;
	struct wr_oid a, none = {{9}};

	append_commit(f, &a, "refs/heads/a", "a");
	{
		struct wr_ref_update u[] = {UP("refs/heads/t", a), UP("refs/heads/u", a), UP("refs/heads/t", a)};
		struct wr_change change = {.updates = u, .count = 3};

		assert_ok(wr_git_append(f->repo, &change, &f->err));
		assert_int_equal(u[0].result, WR_E_INVALID_REQUEST);
		assert_ok(u[1].result);
		assert_int_equal(u[2].result, WR_E_INVALID_REQUEST);
	}
	{
		struct wr_ref_update u[] = {UP("refs/heads/p", a), UP("refs/heads/q", none), UP("refs/heads/r", a)};
		struct wr_change change = {.updates = u, .count = 3, .atomic = true};

		assert_ok(wr_git_append(f->repo, &change, &f->err));
		assert_string_equal(u[0].reason, "atomic push failure");
		assert_int_equal(u[1].result, WR_E_BAD_PACK);
		assert_string_equal(u[2].reason, "atomic push failure");
	}
	assert_ref(f, "refs/heads/p", NULL);
	assert_ref(f, "refs/heads/u", &a);
}

/* ---- quarantines ---- */

static void refused_objects_leave_nothing(void **state)
{
	struct fx *f = *state;
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_oid a, b;

	append_commit(f, &a, "refs/heads/a", "a");
	{
		WR_AUTO(wr_quarantine) *q = new_commit(f, f->repo, &b, "b");
		struct wr_ref_update u = {.name = WR_S("refs/heads/a"), .old = b, .new = b};
		struct wr_change change = {.updates = &u, .count = 1, .objects = q};

		assert_ok(wr_git_append(f->repo, &change, &f->err));
		assert_int_equal(u.result, WR_E_REF_CONFLICT);
	}
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	assert_false(wr_snapshot_has(snap, &b));
	sh(f, "test -z \"$(ls data/run/*/)\" && test -z \"$(ls " REPO "/objects/pack)\"");
}

static void added_objects_are_checked(void **state)
{
	struct fx *f = *state;
	WR_AUTO(wr_quarantine) *q = NULL;
	struct wr_ref_update u = {.name = WR_S("refs/heads/a"), .any_old = true};
	struct wr_change change = {.updates = &u, .count = 1};

	assert_ok(wr_quarantine_new(&q, f->repo, &f->err));
	assert_ok(wr_quarantine_add(&u.new, q, WR_COMMIT,
				    WR_S("tree 0000000000000000000000000000000000000001\nauthor A <a> 1 +0000\n"
					 "committer A <a> 1 +0000\n\nm\n"),
				    NULL, &f->err));
	change.objects = q;
	assert_int_equal(wr_git_append(f->repo, &change, &f->err), WR_E_BAD_PACK);
	assert_non_null(strstr(f->err.text, "missing tree 0000000000000000000000000000000000000001"));
	assert_ref(f, "refs/heads/a", NULL);
	sh(f, "test -z \"$(ls data/repos)\"");
}

struct counter {
	struct fx *f;
	struct wr_quarantine *q;
	struct wr_ref_update update;
	unsigned calls;
	bool fail;
};

static enum wr_code count_up(void *arg, struct wr_snapshot *tips, struct wr_change *change, struct wr_error *err)
{
	struct counter *c = arg;
	struct wr_ref ref = {.oid = {{0}}};
	char message[32];

	if (c->fail)
		return wr_fail(err, WR_E_EXISTS, "enough");
	snprintf(message, sizeof(message), "%u", ++c->calls);
	c->q = new_commit(c->f, c->f->repo, &c->update.new, message);
	c->update.name = WR_S("refs/heads/n");
	c->update.any_old = false;
	c->update.old = wr_snapshot_find_ref(&ref, tips, WR_S("refs/heads/n")) ? ref.oid : (struct wr_oid){{0}};
	change->updates = &c->update;
	change->count = 1;
	change->objects = c->q;
	return WR_OK;
}

static void a_function_of_the_tips(void **state)
{
	struct fx *f = *state;
	struct counter c = {.f = f};

	for (int i = 0; i < 3; i++) {
		struct wr_change change = {.fn = count_up, .arg = &c};

		assert_ok(wr_git_append(f->repo, &change, &f->err));
		assert_ok(c.update.result);
		wr_quarantine_free(c.q);
	}
	assert_ref(f, "refs/heads/n", &c.update.new);
	{
		struct wr_change change = {.fn = count_up, .arg = &c};

		c.fail = true;
		assert_int_equal(wr_git_append(f->repo, &change, &f->err), WR_E_EXISTS);
	}
	assert_ref(f, "refs/heads/n", &c.update.new);
}

/* ---- many at once ---- */

#define WRITERS 8
#define TRIES 6

struct worker {
	struct fx *f;
	struct wr_git_repo *repo;
	unsigned number, won;
};

/*
 * Everybody counts one ref on, by compare and swap from a snapshot, and sets a ref of his own; and reads all the while.
 * cmocka's checks jump, which only its own thread may: here failures are abort()s.
 */
#define must(cond)                                                                                                     \
	do {                                                                                                           \
		if (!(cond)) {                                                                                         \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                                     \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

static void *writer(void *arg)
{
	struct worker *w = arg;
	struct wr_error err = WR_ERROR_INIT;

	for (unsigned i = 0; i < TRIES; i++) {
		WR_AUTO(wr_snapshot) *snap = NULL;
		WR_AUTO(wr_quarantine) *q = NULL;
		const struct wr_ref *ref;
		struct wr_oid oid, tree;
		char name[64], text[256], hex[WR_OID_HEX + 1];

		must(wr_snapshot_take(&snap, w->repo, &err) == WR_OK);
		ref = wr_snapshot_ref(snap, WR_S("refs/heads/shared"));
		must(wr_quarantine_new(&q, w->repo, &err) == WR_OK);
		must(wr_quarantine_add(&tree, q, WR_TREE, WR_S(""), NULL, &err) == WR_OK);
		wr_oid_hex(hex, &tree);
		snprintf(text, sizeof(text), "tree %s\nauthor A <a> 1 +0000\ncommitter A <a> 1 +0000\n\n%u %u\n", hex,
			 w->number, i);
		must(wr_quarantine_add(&oid, q, WR_COMMIT, wr_str(text), NULL, &err) == WR_OK);
		snprintf(name, sizeof(name), "refs/heads/own%u", w->number);
		{
			struct wr_ref_update u[2] = {{.name = WR_S("refs/heads/shared"), .new = oid},
						     {.name = wr_str(name), .new = oid, .any_old = true}};
			struct wr_change change = {.updates = u, .count = 2, .objects = q};

			u[0].old = ref ? ref->oid : (struct wr_oid){{0}};
			must(wr_git_append(w->repo, &change, &err) == WR_OK);
			must(u[1].result == WR_OK);
			must(u[0].result == WR_OK || u[0].result == WR_E_REF_CONFLICT);
			w->won += u[0].result == WR_OK;
		}
		{
			WR_AUTO(wr_snapshot) *after = NULL;
			enum wr_type type;

			must(wr_snapshot_take(&after, w->repo, &err) == WR_OK);
			must(wr_snapshot_stat(after, &oid, &type, NULL, &err) == WR_OK);
			must(wr_oid_eq(&wr_snapshot_ref(after, wr_str(name))->oid, &oid));
		}
	}
	return NULL;
}

static void writers_take_turns(void **state)
{
	struct fx *f = *state;
	struct worker w[WRITERS];
	pthread_t threads[WRITERS];
	unsigned won = 0;
	bool did;
	size_t n;

	for (unsigned i = 0; i < WRITERS; i++) {
		w[i] = (struct worker){.f = f, .number = i};
		assert_ok(wr_git_repo_open(&w[i].repo, f->git, REPO_ID, &f->err));
	}
	for (unsigned i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, writer, &w[i]), 0);
	for (unsigned i = 0; i < WRITERS; i++) {
		pthread_join(threads[i], NULL);
		wr_git_repo_unref(w[i].repo);
		won += w[i].won;
	}
	assert_true(won >= TRIES && won <= WRITERS * TRIES);
	fx_stop(f);
	fx_start(f);
	{
		WR_AUTO(wr_snapshot) *snap = NULL;

		assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
		wr_snapshot_refs(snap, &n);
		assert_int_equal(n, WRITERS + 1);
	}
	/* Whatever shared a flush, each change that won is there once. */
	assert_ok(wr_git_repo_checkpoint(&did, f->repo, &f->err));
	sh(f, "cd " REPO " && git fsck --strict && test $(git rev-list --count refs/heads/shared) = 1 && "
	      "test $(git for-each-ref | wc -l) = %d", WRITERS + 1);
}

static void *opener(void *arg)
{
	struct worker *w = arg;
	struct wr_error err = WR_ERROR_INIT;

	for (unsigned i = 0; i < 60; i++) {
		WR_AUTO(wr_git_repo) *repo = NULL;
		WR_AUTO(wr_snapshot) *snap = NULL;
		char id[WR_UUID_LEN + 1];

		snprintf(id, sizeof(id), "01234567-89ab-4def-8123-4567%08x", (w->number + i) % 12);
		must(wr_git_repo_open(&repo, w->f->git, id, &err) == WR_OK);
		must(wr_snapshot_take(&snap, repo, &err) == WR_OK);
	}
	return NULL;
}

static void handles_come_and_go(void **state)
{
	struct fx *f = *state;
	struct worker w[4];
	pthread_t threads[4];
	struct wr_oid oid;

	/* More repositories than are kept open; half of them exist. */
	for (unsigned i = 0; i < 12; i += 2) {
		char id[WR_UUID_LEN + 1];
		struct wr_git_repo *mine = f->repo;

		snprintf(id, sizeof(id), "01234567-89ab-4def-8123-4567%08x", i);
		assert_ok(wr_git_repo_open(&f->repo, f->git, id, &f->err));
		append_commit(f, &oid, "refs/heads/main", id);
		wr_git_repo_unref(f->repo);
		f->repo = mine;
	}
	for (unsigned i = 0; i < 4; i++) {
		w[i] = (struct worker){.f = f, .number = i};
		assert_int_equal(pthread_create(&threads[i], NULL, opener, &w[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

/* What is kept in memory of a deleted one goes when its row has gone, and its last user. */
static void deleted_ones_are_forgotten(void **state)
{
	static const char never[] = "01234567-89ab-4def-8123-00000000000f";
	struct fx *f = *state;
	struct wr_oid a;
	size_t n;

	append_commit(f, &a, "refs/heads/main", "a");
	n = f->git->count;
	wr_git_forget(f->git, REPO_ID);
	assert_ref(f, "refs/heads/main", &a);
	wr_git_kill(f->git, REPO_ID);
	wr_git_kill(f->git, never);
	assert_ok(wr_git_remove(f->git, REPO_ID, &f->err));
	assert_ok(wr_git_remove(f->git, never, &f->err));
	assert_ok(wr_git_remove_flush(f->git, never, &f->err));
	assert_int_equal(f->git->count, n + 1);
	wr_git_forget(f->git, never);
	wr_git_forget(f->git, never);
	wr_git_forget(f->git, REPO_ID);
	assert_int_equal(f->git->count, n);
	wr_git_repo_unref(WR_STEAL(f->repo));
	assert_int_equal(f->git->count, n - 1);
	assert_ok(wr_git_repo_open(&f->repo, f->git, REPO_ID, &f->err));
	assert_ref(f, "refs/heads/main", NULL);
}

static void snapshots_outlive_their_repository(void **state)
{
	struct fx *f = *state;
	WR_AUTO(wr_snapshot) *snap = NULL;
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	struct wr_oid a, b;

	append_commit(f, &a, "refs/heads/main", "a");
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	wr_git_kill(f->git, REPO_ID);
	{
		WR_AUTO(wr_quarantine) *q = new_commit(f, f->repo, &b, "b");
		struct wr_ref_update u = UP("refs/heads/x", b);
		struct wr_change change = {.updates = &u, .count = 1, .objects = q};

		assert_int_equal(wr_git_append(f->repo, &change, &f->err), WR_E_NOT_THERE);
	}
	assert_ok(wr_git_remove(f->git, REPO_ID, &f->err));
	assert_ok(wr_git_remove(f->git, REPO_ID, &f->err));
	sh(f, "test -z \"$(ls data/repos/01/23)\"");
	assert_ok(wr_snapshot_read(&obj, snap, &a, &f->err));
	{
		/* Opened again: empty, and dead. */
		WR_AUTO(wr_git_repo) *repo = NULL;
		WR_AUTO(wr_snapshot) *now = NULL;
		struct wr_ref_update u = UP("refs/heads/x", a);
		struct wr_change change = {.updates = &u, .count = 1};
		size_t n;

		assert_ok(wr_git_repo_open(&repo, f->git, REPO_ID, &f->err));
		assert_ok(wr_snapshot_take(&now, repo, &f->err));
		wr_snapshot_refs(now, &n);
		assert_int_equal(n, 0);
		assert_int_equal(wr_git_append(repo, &change, &f->err), WR_E_NOT_THERE);
	}
	{
		/* A pack is nothing to complain of: it may build on what was there. */
		WR_AUTO(wr_quarantine) *q = NULL;

		assert_int_equal(take_pack(&q, f, WR_S("PACK\0\0\0\2\0\0\0\1")), WR_E_NOT_THERE);
	}
	assert_ok(wr_git_remove_flush(f->git, REPO_ID, &f->err));
	/* One that this process never opened. */
	wr_snapshot_unref(WR_STEAL(snap));
	fx_stop(f);
	fx_start(f);
	append_commit(f, &a, "refs/heads/main", "a");
	fx_stop(f);
	assert_ok(wr_git_open(&f->git, &f->cfg, &f->err));
	assert_ok(wr_git_remove(f->git, REPO_ID, &f->err));
	assert_ok(wr_git_repo_open(&f->repo, f->git, REPO_ID, &f->err));
	assert_ref(f, "refs/heads/main", NULL);
}

/* ---- what is found on the disk ---- */

#define UNCLEAN ": > " REPO "/warren/lock; "

static void leftovers_are_swept(void **state)
{
	struct fx *f = *state;
	struct wr_oid a;

	/* Of a first push that was cut off. */
	fx_stop(f);
	sh(f, "mkdir -p data/run/x/y data/repos/01/23; touch data/run/x/y/z; cd data/repos/01/23; mkdir -p " REPO_ID
	      ".new-abc/objects " REPO_ID ".new-abc/warren " REPO_ID ".new-old " REPO_ID
	      ".gone-q 01234567-89ab-4def-8123-000000000000.new-a; touch " REPO_ID ".new-abc/warren/lock");
	fx_start(f);
	assert_ref(f, "refs/heads/main", NULL);
	sh(f, "test -z \"$(ls data/run/*/)\"; test $(ls data/run | wc -l) = 2; cd data/repos/01/23; "
	      "test \"$(ls)\" = 01234567-89ab-4def-8123-000000000000.new-a");
	append_commit(f, &a, "refs/heads/main", "a");
	fx_stop(f);
	/* Of whatever wrote when the process ended. */
	sh(f, UNCLEAN "cd " REPO "; touch objects/pack/pack-stray.pack objects/pack/pack-stray.idx objects/pack/tmp "
		      "warren/9.refs warren/journal.7.new warren/current.tmp-x");
	fx_start(f);
	assert_ref(f, "refs/heads/main", &a);
	sh(f, "cd " REPO "; test -z \"$(ls objects/pack)\"; test \"$(echo $(ls warren))\" = 'current journal.2 lock'");
}

static void reopen_expecting(struct fx *f, enum wr_code expected)
{
	struct wr_git_repo *repo = NULL;

	assert_ok(wr_git_open(&f->git, &f->cfg, &f->err));
	assert_int_equal(wr_git_repo_open(&repo, f->git, REPO_ID, &f->err), expected);
	if (repo)
		wr_git_repo_unref(repo);
	wr_git_close(f->git);
	f->git = NULL;
}

static void damage_is_reported(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(4096);
	struct wr_oid a;

	append_commit(f, &a, "refs/heads/main", "a");
	fx_stop(f);
	read_whole(&text, f, REPO "/warren/current");
	for (size_t i = 0; i < text.len; i++) {
		text.ptr[i] ^= 1;
		write_whole(f, REPO "/warren/current", wr_buf_str(&text));
		reopen_expecting(f, WR_E_INTERNAL);
		text.ptr[i] ^= 1;
	}
	for (size_t i = 0; i < text.len; i += 7) {
		write_whole(f, REPO "/warren/current", wr_str_n(text.ptr, i));
		reopen_expecting(f, WR_E_INTERNAL);
	}
	/* Nothing is swept from a damaged repository: somebody may repair it. */
	sh(f, "test -f " REPO "/warren/journal.1; rm " REPO "/warren/current");
	reopen_expecting(f, WR_E_INTERNAL);
	write_whole(f, REPO "/warren/current", wr_buf_str(&text));
	sh(f, "cd " REPO "/warren; mv journal.1 away");
	reopen_expecting(f, WR_E_INTERNAL);
	sh(f, "cd " REPO "/warren; mv away journal.1");
	reopen_expecting(f, WR_OK);
}

static void damaged_checkpoints_are_reported(void **state)
{
	struct fx *f = *state;
	struct wr_oid a;
	bool did;

	append_commit(f, &a, "refs/heads/main", "a");
	assert_ok(wr_git_repo_checkpoint(&did, f->repo, &f->err));
	assert_true(did);
	assert_ok(wr_git_repo_checkpoint(&did, f->repo, &f->err));
	assert_false(did);
	sh(f, "cd " REPO "; git fsck --full --strict; test \"$(git log --format=%%s main)\" = a");
	fx_stop(f);
	sh(f, "cd " REPO "/objects/pack; for i in *.pack; do mv $i $i.away; done");
	reopen_expecting(f, WR_E_INTERNAL);
	sh(f, "cd " REPO "/objects/pack; for i in *.pack.away; do mv $i ${i%%.away}; done; cd ../../warren; mv 1.refs r");
	reopen_expecting(f, WR_E_INTERNAL);
	sh(f, "cd " REPO "/warren; mv r 1.refs");
	reopen_expecting(f, WR_OK);
	fx_start(f);
	assert_ref(f, "refs/heads/main", &a);
}

/* The journal's tail after an unclean end: what was acknowledged is there, what is half is cut and kept aside. */
static void unclean_ends(void **state)
{
	struct fx *f = *state;
	struct wr_oid a, b;

	append_commit(f, &a, "refs/heads/main", "a");
	append_commit(f, &b, "refs/heads/b", "b");
	fx_stop(f);
	/* Closed in order: nothing is copied. */
	fx_start(f);
	assert_ref(f, "refs/heads/b", &b);
	fx_stop(f);
	sh(f, "cd " REPO "/warren; test -f journal.1; cp journal.1 whole; head -c -9 whole > journal.1");
	fx_start(f);
	assert_ref(f, "refs/heads/main", &a);
	assert_ref(f, "refs/heads/b", NULL);
	sh(f, "cd " REPO "/warren; test -f journal.2; test -f cut; test ! -e journal.1");
	append_commit(f, &b, "refs/heads/c", "c");
	fx_stop(f);
	fx_start(f);
	assert_ref(f, "refs/heads/c", &b);
	fx_stop(f);
	/* What was flushed once is damaged: served as far as it goes, and not written to. */
	sh(f, "cd " REPO "/warren; b=$(od -An -tu1 -j100 -N1 journal.2); "
	      "printf \"\\\\$(printf %%o $((b ^ 255)))\" | dd of=journal.2 bs=1 seek=100 conv=notrunc status=none");
	fx_start(f);
	assert_ref(f, "refs/heads/c", NULL);
	{
		WR_AUTO(wr_quarantine) *q = new_commit(f, f->repo, &b, "d");
		struct wr_ref_update u = UP("refs/heads/d", b);
		struct wr_change change = {.updates = &u, .count = 1, .objects = q};

		assert_int_equal(wr_git_append(f->repo, &change, &f->err), WR_E_INTERNAL);
		assert_non_null(strstr(f->err.detail, "damaged"));
	}
	assert_ref(f, "refs/heads/d", NULL);
}

/* What an earlier process wrote counts as flushed, so a checkpoint has all of it; and writes go on between the two. */
static void checkpoints_of_what_was_found(void **state)
{
	struct fx *f = *state;
	struct wr_oid oid[6];
	char name[32];
	bool did;

	for (int i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "refs/heads/b%d", i);
		append_commit(f, &oid[i], name, name);
		if (i % 2 == 0) {
			fx_stop(f);
			if (i == 2)
				sh(f, UNCLEAN);
			fx_start(f);
		}
		if (i == 3) {
			assert_ok(wr_git_repo_checkpoint(&did, f->repo, &f->err));
			assert_true(did);
			sh(f, "cd " REPO " && git fsck --strict && test $(git for-each-ref | wc -l) = 4");
		}
	}
	assert_ok(wr_git_repo_checkpoint(&did, f->repo, &f->err));
	fx_stop(f);
	/* What plain git reads is not flushed, so it is made again. */
	sh(f, UNCLEAN ": > " REPO "/packed-refs; rm " REPO "/HEAD");
	fx_start(f);
	for (int i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "refs/heads/b%d", i);
		assert_ref(f, name, &oid[i]);
	}
	sh(f, "cd " REPO " && git fsck --strict && test $(git for-each-ref | wc -l) = 6");
}

/* A journal whose folder could not be flushed may come back, though another one took its place. */
static void the_younger_journal_counts(void **state)
{
	struct fx *f = *state;
	struct wr_oid a, b;

	append_commit(f, &a, "refs/heads/main", "a");
	fx_stop(f);
	sh(f, UNCLEAN);
	fx_start(f);
	sh(f, "test ! -e " REPO "/warren/journal.1; cp " REPO "/warren/journal.2 kept");
	fx_stop(f);
	sh(f, UNCLEAN);
	fx_start(f);
	append_commit(f, &b, "refs/heads/b", "b");
	fx_stop(f);
	sh(f, "test -f " REPO "/warren/journal.3; cp kept " REPO "/warren/journal.2");
	fx_start(f);
	assert_ref(f, "refs/heads/main", &a);
	assert_ref(f, "refs/heads/b", &b);
	sh(f, "cd " REPO "/warren; test ! -e journal.2");
}

/* Which removals of journals that a checkpoint stands for a power cut leaves is chance. */
static void old_journals_say_nothing_of_the_one_in_force(void **state)
{
	struct fx *f = *state;
	struct wr_oid oid[4];
	char name[32];
	bool did;

	for (int i = 0; i < 3; i++) {
		snprintf(name, sizeof name, "refs/heads/b%d", i);
		append_commit(f, &oid[i], name, name);
		sh(f, "cp " REPO "/warren/journal.%d old.%d", i + 1, i + 1);
		assert_ok(wr_git_repo_checkpoint(&did, f->repo, &f->err));
		assert_true(did);
	}
	for (int there = 0; there < 8; there++) {
		fx_stop(f);
		sh(f, UNCLEAN "rm -f " REPO "/warren/journal.[1-3]");
		for (int i = 1; i <= 3; i++)
			if (there & 1 << (i - 1))
				sh(f, "cp old.%d " REPO "/warren/journal.%d", i, i);
		fx_start(f);
		for (int i = 0; i < 3; i++) {
			snprintf(name, sizeof name, "refs/heads/b%d", i);
			assert_ref(f, name, &oid[i]);
		}
		sh(f, "test -f " REPO "/warren/journal.4");
	}
	append_commit(f, &oid[3], "refs/heads/b3", "b3");
	fx_stop(f);
	fx_start(f);
	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof name, "refs/heads/b%d", i);
		assert_ref(f, name, &oid[i]);
	}
}

/* Where the disk takes no more, nothing changes, in memory and on the disk. */
static void a_failed_write_changes_nothing(void **state)
{
	struct fx *f = *state;
	struct rlimit limit, small = {64, RLIM_INFINITY};
	struct wr_oid a, b;
	int status;
	pid_t pid;

	append_commit(f, &a, "refs/heads/main", "a");
	/* In a process of its own, because the limit and its signal concern all files. */
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		WR_AUTO(wr_snapshot) *snap = NULL;
		WR_AUTO(wr_quarantine) *q = new_commit(f, f->repo, &b, "b");
		struct wr_ref_update u = UP("refs/heads/main", b);
		struct wr_change change = {.updates = &u, .count = 1, .objects = q};
		enum wr_code code;

		signal(SIGXFSZ, SIG_IGN);
		must(getrlimit(RLIMIT_FSIZE, &limit) == 0);
		small.rlim_max = limit.rlim_max;
		must(setrlimit(RLIMIT_FSIZE, &small) == 0);
		code = wr_git_append(f->repo, &change, &f->err);
		must(setrlimit(RLIMIT_FSIZE, &limit) == 0);
		must(code == WR_E_STORAGE_FULL);
		must(wr_snapshot_take(&snap, f->repo, &f->err) == WR_OK);
		must(wr_oid_eq(&wr_snapshot_ref(snap, WR_S("refs/heads/main"))->oid, &a));
		wr_quarantine_free(WR_STEAL(q));
		/* And afterwards everything goes on. */
		q = new_commit(f, f->repo, &b, "b");
		change.objects = q;
		must(wr_git_append(f->repo, &change, &f->err) == WR_OK && u.result == WR_OK);
		wr_quarantine_free(WR_STEAL(q));
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	fx_stop(f);
	fx_start(f);
	{
		WR_AUTO(wr_snapshot) *snap = NULL;

		assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
		assert_false(wr_oid_eq(&wr_snapshot_ref(snap, WR_S("refs/heads/main"))->oid, &a));
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
	const struct CMUnitTest tests[] = {
		T(nothing_before_the_first_push),
		T(every_object_and_ref_comes_back),
		T(peeled_tags),
		T(old_ids_are_compared),
		T(names_and_values),
		T(folders),
		T(twice_and_atomic),
		T(refused_objects_leave_nothing),
		T(added_objects_are_checked),
		T(a_function_of_the_tips),
		T(writers_take_turns),
		T(handles_come_and_go),
		T(deleted_ones_are_forgotten),
		T(snapshots_outlive_their_repository),
		T(leftovers_are_swept),
		T(damage_is_reported),
		T(damaged_checkpoints_are_reported),
		T(unclean_ends),
		T(checkpoints_of_what_was_found),
		T(the_younger_journal_counts),
		T(old_journals_say_nothing_of_the_one_in_force),
		T(a_failed_write_changes_nothing),
	};

	return cmocka_run_group_tests_name("git_store", tests, NULL, NULL);
}
