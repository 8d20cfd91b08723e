/*
 * Walks where requests and histories share much: each thing is read once, counted by the questions whether to go on, of
 * which there is one before each reading.
 */
#include "core/git/parse.h"
#include "core/git/plan.h"
#include "core/git/reach.h"
#include "tests/unit/git_fixture.h"

#define LONG_CHAIN 60
#define OUTER 10000
#define WIDE 400

struct asked {
	unsigned times, stop_at; /* 0: never */
};

static bool count(void *arg)
{
	struct asked *asked = arg;

	return ++asked->times == asked->stop_at;
}

static const struct wr_oids none = {NULL, 0, 0};

static void add_tag(struct pb *pack, struct wr_oid *out, const struct wr_oid *target, enum wr_type type, unsigned i)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1024);
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, target);
	wr_buf_printf(&text, "object %s\ntype %s\ntag t%u\ntagger T <t@example.org> 1700000000 +0000\n\nm\n", hex,
		      wr_type_name(type), i);
	oid_of(out, WR_TAG, wr_buf_str(&text));
	pb_object(pack, WR_TAG, wr_buf_str(&text));
}

static void push_refs(struct fx *f, struct wr_str pack, const struct wr_oids *tips)
{
	WR_AUTO_MEM struct wr_ref_update *u = calloc(tips->len, sizeof *u);
	WR_AUTO_MEM char (*names)[32] = calloc(tips->len, sizeof *names);
	struct wr_change change = {.updates = u, .count = tips->len};
	WR_AUTO(wr_quarantine) *q = NULL;

	assert_true(u && names);
	for (size_t i = 0; i < tips->len; i++) {
		snprintf(names[i], sizeof names[i], "refs/tags/t%zu", i);
		u[i] = (struct wr_ref_update){.name = wr_str(names[i]), .new = tips->v[i], .any_old = true};
	}
	assert_ok(take_pack(&q, f, pack));
	change.objects = q;
	assert_ok(wr_git_append(f->repo, &change, &f->err));
	for (size_t i = 0; i < tips->len; i++)
		assert_string_equal(u[i].reason, "");
}

/* Very many tags, each of the last one of a long chain of tags that leads to commit. */
static struct wr_snapshot *many_tags(struct fx *f, struct wr_oids *outer, struct wr_oid *commit)
{
	struct wr_snapshot *snap = NULL;
	struct wr_oid inner, oid;
	struct pb pack;

	sh(f, "git init -q work; cd work; git commit -q --allow-empty -m c");
	push_all(f, "work");
	sh_oid(f, commit, "git -C work rev-parse HEAD");
	pb_begin(&pack, LONG_CHAIN + OUTER);
	add_tag(&pack, &inner, commit, WR_COMMIT, 0);
	for (unsigned i = 1; i < LONG_CHAIN; i++)
		add_tag(&pack, &inner, &inner, WR_TAG, i);
	for (unsigned i = 0; i < OUTER; i++) {
		add_tag(&pack, &oid, &inner, WR_TAG, LONG_CHAIN + i);
		assert_ok(wr_oids_add(outer, &oid, NULL));
	}
	push_refs(f, pb_end(&pack), outer);
	wr_buf_fini(&pack.out);
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	return snap;
}

/* Each tag, the commit and its tree, and now and then between; not the chain again for each tag, which is 600,000. */
#define ONCE (OUTER + LONG_CHAIN + 200)

static void plans_of_many_tags(struct fx *f, struct wr_snapshot *snap, const struct wr_oids *outer,
			       const struct wr_oids *commit)
{
	struct wr_plan_request requests[] = {
		{.wants = outer, .haves = &none, .client_shallow = &none},
		{.wants = commit, .haves = outer, .client_shallow = &none},
		{.wants = commit, .haves = &none, .client_shallow = &none, .include_tag = true},
	};
	const uint32_t objects[] = {OUTER + LONG_CHAIN + 2, 0, OUTER + LONG_CHAIN + 2};

	for (size_t i = 0; i < WR_ARRAY_LEN(requests); i++) {
		struct asked asked = {0, 0};
		const struct wr_cancel cancel = {count, &asked};
		WR_AUTO(wr_plan) *plan = NULL;

		assert_ok(wr_plan_new(&plan, snap, &requests[i], NULL, &cancel, &f->err));
		assert_int_equal(wr_plan_objects(plan), objects[i]);
		assert_in_range(asked.times, OUTER, ONCE);
	}
}

static void walks_of_many_tags(struct fx *f, struct wr_snapshot *snap, const struct wr_oids *outer,
			       const struct wr_oids *commit)
{
	struct asked asked = {0, 0};
	const struct wr_cancel cancel = {count, &asked};
	WR_AUTO_S(wr_oids) shallow = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) unshallow = {NULL, 0, 0};
	bool is;

	assert_ok(wr_walk_ready(&is, snap, outer, outer, &none, INT64_MIN, &cancel, &f->err));
	assert_true(is);
	assert_in_range(asked.times, 2 * OUTER, 2 * ONCE);
	asked.times = 0;
	assert_ok(wr_walk_depth(&shallow, &unshallow, snap, outer, &none, 1, &cancel, &f->err));
	assert_true(shallow.len == 1 && wr_oid_eq(&shallow.v[0], &commit->v[0]) && unshallow.len == 0);
	assert_in_range(asked.times, OUTER, ONCE);
	asked.times = 0;
	assert_ok(wr_walk_choice(&is, &shallow, &unshallow, snap, outer, outer, INT64_MIN, &none, &cancel, &f->err));
	assert_false(is);
	assert_in_range(asked.times, 2 * OUTER, 2 * ONCE);
}

static void a_chain_of_many_tags(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_oids) outer = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) commits = {NULL, 0, 0};
	struct wr_oid commit, inner;
	WR_AUTO(wr_snapshot) *snap = many_tags(f, &outer, &commit);
	WR_AUTO(wr_reach) *reach = NULL;
	bool reached;

	assert_ok(wr_oids_add(&commits, &commit, NULL));
	plans_of_many_tags(f, snap, &outer, &commits);
	walks_of_many_tags(f, snap, &outer, &commits);
	/* A tag within the chain, which no ref names: from each outer one a step to it, and one to where others were. */
	{
		WR_AUTO_S(wr_object) obj = {.data = NULL};
		enum wr_type type;

		assert_ok(wr_snapshot_read(&obj, snap, &outer.v[0], &f->err));
		assert_ok(wr_tag_parse(&inner, &type, wr_str_n(obj.data, obj.size), &f->err));
	}
	assert_ok(wr_reach_new(&reach, snap, NULL, &f->err));
	assert_ok(wr_reach_cheap(&reached, reach, &inner, &f->err));
	assert_true(reached);
	assert_in_range(wr_reach_steps(reach), OUTER, 2 * OUTER + LONG_CHAIN + 200);
}

/* ---- wide histories ---- */

static void add_commit(struct pb *pack, struct wr_oid *out, const struct wr_oid *tree, const struct wr_oids *parents,
		       int64_t date)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, tree);
	wr_buf_printf(&text, "tree %s\n", hex);
	for (size_t i = 0; i < parents->len; i++) {
		wr_oid_hex(hex, &parents->v[i]);
		wr_buf_printf(&text, "parent %s\n", hex);
	}
	wr_buf_printf(&text,
		      "author A <a@example.org> %lld +0000\ncommitter A <a@example.org> %lld +0000\n\n%lld\n",
		      (long long)date, (long long)date, (long long)date);
	oid_of(out, WR_COMMIT, wr_buf_str(&text));
	pb_object(pack, WR_COMMIT, wr_buf_str(&text));
}

/* So many roots, and so many merges of all of them: 160,000 lines of parents, of which the first 400 tell all. */
static struct wr_snapshot *wide_history(struct fx *f, struct wr_oids *roots, struct wr_oids *merges)
{
	struct wr_snapshot *snap = NULL;
	struct wr_oid oid, tree;
	struct pb pack;

	pb_begin(&pack, 2 * WIDE + 1);
	oid_of(&tree, WR_TREE, wr_str_n("", 0));
	pb_object(&pack, WR_TREE, wr_str_n("", 0));
	for (unsigned i = 0; i < WIDE; i++) {
		add_commit(&pack, &oid, &tree, &none, 1000 + i);
		assert_ok(wr_oids_add(roots, &oid, NULL));
	}
	for (unsigned i = 0; i < WIDE; i++) {
		add_commit(&pack, &oid, &tree, roots, 2000 + i);
		assert_ok(wr_oids_add(merges, &oid, NULL));
	}
	push_refs(f, pb_end(&pack), merges);
	wr_buf_fini(&pack.out);
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	return snap;
}

static void a_wide_history(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_oids) roots = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) merges = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) out = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) ends = {NULL, 0, 0};
	WR_AUTO(wr_snapshot) *snap = wide_history(f, &roots, &merges);
	struct asked asked = {0, 0};
	const struct wr_cancel cancel = {count, &asked};
	int64_t oldest;
	bool is;

	assert_ok(wr_walk_parents(&out, &oldest, snap, &merges, NULL, &cancel, &f->err));
	assert_int_equal(oldest, 2000);
	assert_int_equal(out.len, WIDE);
	for (size_t i = 0; i < WIDE; i++)
		assert_true(wr_oid_eq(&out.v[i], &roots.v[i]));
	assert_int_equal(asked.times, WIDE);
	/* Where a client's history ends at all of them but one, that one has them. */
	out.len = 0;
	for (size_t i = 1; i < WIDE; i++)
		assert_ok(wr_oids_add(&ends, &merges.v[i], NULL));
	assert_ok(wr_walk_parents(&out, NULL, snap, &merges, &ends, NULL, &f->err));
	assert_int_equal(out.len, WIDE);
	/* One root is in common: all merges have it, and no walk looks at anything twice. */
	asked.times = 0;
	roots.len = 1;
	assert_ok(wr_walk_ready(&is, snap, &merges, &roots, &none, INT64_MIN, &cancel, &f->err));
	assert_true(is);
	assert_in_range(asked.times, 2 * WIDE, 3 * WIDE + 10);
	/* The client's ends are in the way of all but the first. */
	assert_ok(wr_walk_ready(&is, snap, &merges, &roots, &ends, INT64_MIN, NULL, &f->err));
	assert_false(is);
	roots.len = WIDE;
}

static void a_wide_history_cut(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_oids) roots = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) merges = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) shallow = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) unshallow = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) deeper = {NULL, 0, 0};
	WR_AUTO(wr_snapshot) *snap = wide_history(f, &roots, &merges);
	struct asked asked = {0, 0};
	const struct wr_cancel cancel = {count, &asked};
	bool any;

	assert_ok(wr_walk_depth(&shallow, &unshallow, snap, &merges, &none, 1, &cancel, &f->err));
	assert_true(shallow.len == WIDE && unshallow.len == 0);
	assert_int_equal(asked.times, 2 * WIDE);
	asked.times = 0;
	assert_ok(wr_walk_depth(&deeper, &unshallow, snap, &merges, &shallow, 2, &cancel, &f->err));
	assert_true(deeper.len == WIDE && unshallow.len == WIDE);
	assert_int_equal(asked.times, 3 * WIDE);
	/* By date: the last root alone is young enough, so that each merge is a new end, but not that root. */
	asked.times = 0;
	shallow.len = unshallow.len = 0;
	assert_ok(wr_walk_choice(&any, &shallow, &unshallow, snap, &merges, &none, 1000 + WIDE - 1, &none, &cancel,
				 &f->err));
	assert_true(any && shallow.len == WIDE && unshallow.len == 0);
	assert_int_equal(asked.times, 3 * WIDE);
	/* What the first merge reaches is left out, which are all roots; a client that had ended there has not any more. */
	shallow.len = 0;
	merges.len = 1;
	assert_ok(wr_walk_choice(&any, &shallow, &unshallow, snap, &merges, &roots, INT64_MIN, &none, NULL, &f->err));
	assert_true(any && shallow.len == 1 && wr_oid_eq(&shallow.v[0], &merges.v[0]));
	assert_ok(wr_walk_choice(&any, &shallow, &unshallow, snap, &merges, &none, INT64_MIN, &merges, NULL, &f->err));
	assert_true(any && shallow.len == 1 && unshallow.len == 1 && wr_oid_eq(&unshallow.v[0], &merges.v[0]));
	/* Nothing is left over. */
	assert_ok(wr_walk_choice(&any, &shallow, &unshallow, snap, &merges, &merges, INT64_MIN, &none, NULL, &f->err));
	assert_true(!any && shallow.len == 1 && unshallow.len == 1);
}

/* ---- given up ---- */

struct story {
	struct wr_snapshot *snap;
	struct wr_oids wants, haves, roots;
};

static enum wr_code ready(struct story *s, const struct wr_cancel *cancel, struct wr_error *err)
{
	bool is;

	return wr_walk_ready(&is, s->snap, &s->wants, &s->haves, &none, INT64_MIN, cancel, err);
}

static enum wr_code parents(struct story *s, const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO_S(wr_oids) out = {NULL, 0, 0};
	int64_t oldest = 7;
	enum wr_code code = wr_walk_parents(&out, &oldest, s->snap, &s->roots, NULL, cancel, err);

	assert_int_equal(code == WR_OK, oldest != 7);
	return code;
}

static enum wr_code depth(struct story *s, const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO_S(wr_oids) shallow = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) unshallow = {NULL, 0, 0};

	return wr_walk_depth(&shallow, &unshallow, s->snap, &s->wants, &s->roots, 30, cancel, err);
}

static enum wr_code choice(struct story *s, const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO_S(wr_oids) shallow = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) unshallow = {NULL, 0, 0};
	bool any;

	return wr_walk_choice(&any, &shallow, &unshallow, s->snap, &s->wants, &s->haves, 1700000000, &s->roots, cancel,
			      err);
}

static enum wr_code plan(struct story *s, const struct wr_cancel *cancel, struct wr_error *err)
{
	struct wr_plan_request req = {
		.wants = &s->wants, .haves = &s->haves, .client_shallow = &none, .include_tag = true};
	WR_AUTO_S(wr_buf) out = WR_BUF_INIT(64u << 20);
	WR_AUTO(wr_plan) *plan = NULL;
	struct wr_buf_sink sink;
	enum wr_code code = wr_plan_new(&plan, s->snap, &req, NULL, cancel, err);

	wr_buf_sink_init(&sink, &out);
	return code == WR_OK ? wr_plan_write(plan, &sink.base, NULL, cancel, err) : code;
}

static enum wr_code reach(struct story *s, const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO(wr_reach) *reach = NULL;
	bool reached;
	size_t bad;
	enum wr_code code = wr_reach_new(&reach, s->snap, cancel, err);

	for (size_t i = 0; i < s->roots.len && code == WR_OK; i++)
		code = wr_reach_cheap(&reached, reach, &s->roots.v[i], err);
	return code == WR_OK ? wr_reach_all(&bad, reach, &s->roots, err) : code;
}

/* Every walk ends where it is told to, whichever of its questions that is, and holds nothing any more then. */
static void given_up_in_the_midst(void **state)
{
	static enum wr_code (*const walks[])(struct story *, const struct wr_cancel *, struct wr_error *) = {
		ready, parents, depth, choice, plan, reach};
	struct fx *f = *state;
	struct story s = {.snap = NULL};
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);

	make_history(f, "work", 120);
	push_all(f, "work");
	assert_ok(wr_snapshot_take(&s.snap, f->repo, &f->err));
	sh_out(f, &text, "git -C work for-each-ref --format='%%(objectname)'");
	oids_of(&s.wants, &text);
	sh_out(f, &text, "git -C work rev-list --all --topo-order | tail -n 40 | head -1");
	oids_of(&s.haves, &text);
	sh_out(f, &text, "git -C work rev-list --all | tail -n 30");
	oids_of(&s.roots, &text);
	for (size_t i = 0; i < WR_ARRAY_LEN(walks); i++) {
		struct asked asked = {0, 0};
		const struct wr_cancel cancel = {count, &asked};
		unsigned all;

		assert_ok(walks[i](&s, &cancel, &f->err));
		all = asked.times;
		assert_true(all >= 20);
		for (unsigned at = 1; at <= all; at++) {
			asked = (struct asked){0, at};
			assert_int_equal(walks[i](&s, &cancel, &f->err), WR_E_CANCELLED);
			assert_int_equal(asked.times, at);
		}
	}
	wr_oids_fini(&s.wants);
	wr_oids_fini(&s.haves);
	wr_oids_fini(&s.roots);
	wr_snapshot_unref(s.snap);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
	const struct CMUnitTest tests[] = {
		T(a_chain_of_many_tags),
		T(a_wide_history),
		T(a_wide_history_cut),
		T(given_up_in_the_midst),
	};

	return cmocka_run_group_tests_name("git_walk", tests, NULL, NULL);
}
