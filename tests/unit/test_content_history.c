/*
 * Lists of commits: the order is that of `git rev-list --date-order`, equal dates included; what selectors and pages
 * take of it, and how two tips compare, is worked out the obvious way.
 */
#include "tests/unit/content_fixture.h"

#include <pthread.h>
#include <xxhash.h>

#include "core/content/edit.h"
#include "core/content/orders_file.h"
#include "core/git/derived.h"
#include "core/git/le.h"

#define NODES 400
#define PARENTS 5
#define LONG 500 /* enough to be stored */

/* A history as it was made: by numbers, parents before children. */
struct dag {
	unsigned count;
	unsigned parents[NODES][PARENTS], parent_count[NODES];
	struct wr_oid oid[NODES];
	bool above[NODES][NODES]; /* above[a][b]: a reaches b; itself too */
};

static struct dag dag;

/* ---- making it ---- */

enum shape { LINEAR, WILD, MANY_ROOTS, OCTOPUSES, SAME_DATES, SKEWED, SHAPES };

static unsigned pick_parents(struct fx *f, unsigned i, enum shape shape)
{
	unsigned wanted, n = 0;

	if (i == 0 || (shape == MANY_ROOTS && chance(f, 4) == 0) || (shape == WILD && chance(f, 30) == 0))
		return 0;
	wanted = shape == LINEAR || shape == SKEWED ? 1
		 : shape == OCTOPUSES		    ? 1 + chance(f, PARENTS)
						    : 1 + (chance(f, 3) == 0);
	while (n < wanted && n < i) {
		unsigned parent = n == 0 && chance(f, 3) ? i - 1 : i - 1 - chance(f, i < 12 ? i : 12);
		bool twice = false;

		for (unsigned k = 0; k < n; k++)
			twice |= dag.parents[i][k] == parent;
		if (!twice)
			dag.parents[i][n++] = parent;
		else if (chance(f, 4) == 0)
			break;
	}
	return n;
}

static unsigned pick_date(struct fx *f, unsigned i, enum shape shape)
{
	unsigned date = 1700000000 + i / 3 * 60;

	if (shape == SAME_DATES)
		return 1700000000 + (chance(f, 9) == 0);
	return shape == SKEWED || chance(f, 10) == 0 ? date - chance(f, 20000) : date;
}

static void reach(unsigned i)
{
	memset(dag.above[i], 0, sizeof dag.above[i]);
	dag.above[i][i] = true;
	for (unsigned k = 0; k < dag.parent_count[i]; k++)
		for (unsigned b = 0; b < i; b++)
			dag.above[i][b] |= dag.above[dag.parents[i][k]][b];
}

/* refs/heads/n<i> for each commit, so that all are there. */
static void make_dag(struct fx *f, unsigned count, enum shape shape)
{
	WR_AUTO_S(wr_buf) in = WR_BUF_INIT(4 << 20), out = WR_BUF_INIT(1 << 20);
	struct wr_str rest, line;

	dag.count = count;
	for (unsigned i = 0; i < count; i++) {
		dag.parent_count[i] = pick_parents(f, i, shape);
		reach(i);
		wr_buf_printf(&in, "reset refs/heads/n%u\ncommit refs/heads/n%u\nmark :%u\n", i, i, i + 1);
		wr_buf_printf(&in, "committer C <c@example.org> %u +0000\ndata <<END\n%u %u\nEND\n",
			      pick_date(f, i, shape), i, (unsigned)shape);
		for (unsigned k = 0; k < dag.parent_count[i]; k++)
			wr_buf_printf(&in, "%s :%u\n", k ? "merge" : "from", dag.parents[i][k] + 1);
		wr_buf_addc(&in, '\n');
	}
	sh(f, "rm -rf src");
	import(f, "src", &in);
	sh_out(f, &out, "git -C src for-each-ref --format='%%(refname:lstrip=2) %%(objectname)'");
	for (rest = wr_buf_str(&out); next_line(&line, &rest, '\n');) {
		struct wr_str name = next_word(&line);
		uint64_t i;

		assert_true(wr_str_u64(wr_str_skip(name, 1), count - 1, &i) && wr_oid_parse(&dag.oid[i], line));
	}
	push_all(f, "src");
}

static unsigned number_of(const struct wr_oid *oid)
{
	for (unsigned i = 0; i < dag.count; i++)
		if (wr_oid_eq(&dag.oid[i], oid))
			return i;
	fail_msg("a commit out of nowhere");
	return 0;
}

/* ---- what is expected ---- */

struct list {
	unsigned v[NODES], len;
};

/* Of several tips at once, one git each would be slow. */
static void order_of(struct list *out, struct fx *f, unsigned tip)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);
	struct wr_str rest, line;

	sh_out(f, &text, "git -C src rev-list --date-order refs/heads/n%u", tip);
	out->len = 0;
	for (rest = wr_buf_str(&text); next_line(&line, &rest, '\n');) {
		struct wr_oid oid;

		assert_true(wr_oid_parse(&oid, line));
		out->v[out->len++] = number_of(&oid);
	}
}

static void reverse(struct list *l)
{
	for (unsigned i = 0; i < l->len / 2; i++) {
		unsigned x = l->v[i];

		l->v[i] = l->v[l->len - 1 - i];
		l->v[l->len - 1 - i] = x;
	}
}

struct asked {
	unsigned tip;
	int since, until; /* -1: none */
	bool ascending;
};

/* The words of the reference, one after another. */
static void expect_list(struct list *out, const struct list *order, const struct asked *a)
{
	bool from = false, to = true;

	out->len = 0;
	for (unsigned i = 0; i < order->len; i++) {
		unsigned c = order->v[i];
		bool takes = true;

		if (a->since >= 0 && a->until >= 0)
			takes = dag.above[a->until][c] && !dag.above[a->since][c];
		else if (a->until >= 0 && !a->ascending)
			takes = from |= c == (unsigned)a->until;
		else if (a->until >= 0)
			takes = dag.above[a->until][c];
		else if (a->since >= 0 && !a->ascending)
			takes = !dag.above[a->since][c];
		else if (a->since >= 0) {
			takes = to;
			to &= c != (unsigned)a->since;
		}
		if (takes)
			out->v[out->len++] = c;
	}
	if (a->ascending)
		reverse(out);
}

/* ---- asking ---- */

static enum wr_code ask(struct wr_history *out, struct fx *f, struct wr_view *v, struct wr_orders *orders,
			const struct asked *a, uint64_t offset, uint64_t limit, bool count)
{
	struct wr_history_ask h = {.tip = dag.oid[a->tip],
				   .since = a->since >= 0 ? &dag.oid[a->since] : NULL,
				   .until = a->until >= 0 ? &dag.oid[a->until] : NULL,
				   .ascending = a->ascending,
				   .offset = offset,
				   .limit = limit,
				   .count = count};

	return wr_history_list(out, v, orders, REPO_ID, &h, &f->err);
}

static void assert_page(struct fx *f, struct wr_view *v, struct wr_orders *orders, const struct asked *a,
			const struct list *wanted, uint64_t offset, uint64_t limit)
{
	WR_AUTO_S(wr_history) h = {.total = 0};
	uint64_t left = offset < wanted->len ? wanted->len - offset : 0, len = limit < left ? limit : left;
	bool count = chance(f, 2);

	assert_ok(ask(&h, f, v, orders, a, offset, limit, count));
	assert_int_equal(h.commits.len, len);
	for (uint64_t i = 0; i < len; i++)
		assert_int_equal(number_of(&h.commits.v[i]), wanted->v[offset + i]);
	if (count)
		assert_int_equal(h.total, wanted->len);
	if (left > len)
		assert_int_equal(number_of(&h.next), wanted->v[offset + len]);
	else
		assert_true(wr_oid_zero(&h.next));
}

/* A selector outside the history, or a range that leads nowhere. */
static bool assert_outside(struct fx *f, struct wr_view *v, struct wr_orders *orders, const struct asked *a)
{
	const int ends[] = {a->since, a->until};
	struct wr_history h = {.total = 0};
	char hex[WR_OID_HEX + 1];

	for (unsigned i = 0; i < 2; i++) {
		if (ends[i] < 0 || dag.above[a->tip][ends[i]])
			continue;
		wr_oid_hex(hex, &dag.oid[ends[i]]);
		assert_refused(f, ask(&h, f, v, orders, a, 0, 9, true), WR_E_COMMIT_NOT_IN_BRANCH, "sha", wr_str(hex));
		return true;
	}
	if (a->since < 0 || a->until < 0 || dag.above[a->until][a->since])
		return false;
	wr_oid_hex(hex, &dag.oid[a->until]);
	assert_refused(f, ask(&h, f, v, orders, a, 0, 9, true), WR_E_INVALID_RANGE, "until", wr_str(hex));
	return true;
}

/* Page after page by next_commit: all of it, once each. Not for what is bounded on both sides, as the reference says.
 */
static void assert_cursors(struct fx *f, struct wr_view *v, struct wr_orders *orders, const struct asked *first,
			   const struct list *wanted)
{
	struct asked a = *first;
	unsigned at = 0;
	bool more = true;

	if (a.ascending ? a.until >= 0 : a.since >= 0)
		return;
	while (more) {
		WR_AUTO_S(wr_history) h = {.total = 0};

		assert_ok(ask(&h, f, v, orders, &a, 0, 1 + chance(f, 9), false));
		for (size_t i = 0; i < h.commits.len; i++, at++)
			assert_true(at < wanted->len && number_of(&h.commits.v[i]) == wanted->v[at]);
		more = !wr_oid_zero(&h.next);
		if (more && a.ascending)
			a.since = (int)number_of(&h.next);
		else if (more)
			a.until = (int)number_of(&h.next);
	}
	assert_int_equal(at, wanted->len);
}

static int selector(struct fx *f, unsigned tip)
{
	unsigned below[NODES], n = 0;

	if (chance(f, 8) == 0)
		return (int)chance(f, dag.count);
	for (unsigned i = 0; i < dag.count; i++)
		if (dag.above[tip][i])
			below[n++] = i;
	return (int)below[chance(f, n)];
}

static void ask_all(struct fx *f, struct wr_orders *orders, unsigned tips)
{
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	static struct list order, wanted;

	view_open(&v, f, "main", false);
	for (unsigned i = 0; i < tips; i++) {
		struct asked a = {.tip = i ? chance(f, dag.count) : dag.count - 1, .since = -1, .until = -1};
		unsigned tip = a.tip;

		order_of(&order, f, tip);
		for (unsigned k = 0; k < 12; k++) {
			a = (struct asked){.tip = tip, .ascending = chance(f, 2)};
			a.since = k % 4 & 1 ? selector(f, tip) : -1;
			a.until = k % 4 & 2 ? selector(f, tip) : -1;
			if (assert_outside(f, &v, orders, &a))
				continue;
			expect_list(&wanted, &order, &a);
			assert_page(f, &v, orders, &a, &wanted, 0, NODES);
			assert_page(f, &v, orders, &a, &wanted, chance(f, dag.count + 2), chance(f, 20));
			assert_page(f, &v, orders, &a, &wanted, (uint64_t)1 << 53, 500);
			assert_cursors(f, &v, orders, &a, &wanted);
		}
	}
}

static void by_chance(void **state)
{
	struct fx *f = *state;

	for (unsigned i = 0; i < rounds(2 * SHAPES); i++) {
		struct wr_orders *orders = NULL;

		fx_stop(f);
		sh(f, "rm -rf data");
		fx_start(f);
		make_dag(f, 2 + chance(f, i % 3 ? 40 : 200), i % SHAPES);
		/* All kept, some, none. */
		if (i % 4 != 3)
			assert_ok(wr_orders_new(&orders, i % 4 == 2 ? 6000 : 1 << 20, &f->err));
		ask_all(f, orders, 6);
		wr_orders_free(orders);
	}
}

/* ---- two tips ---- */

static void assert_compared(struct fx *f, struct wr_view *v, struct wr_orders *orders, unsigned base, unsigned head)
{
	uint64_t ahead, behind, wanted_ahead = 0, wanted_behind = 0;
	WR_AUTO_S(wr_oids) bases = {NULL, 0, 0};
	size_t best = 0;

	assert_ok(wr_history_compare(&ahead, &behind, &bases, v, orders, REPO_ID, &dag.oid[base], &dag.oid[head],
				     &f->err));
	for (unsigned i = 0; i < dag.count; i++) {
		bool common = dag.above[base][i] && dag.above[head][i], covered = false;

		wanted_ahead += dag.above[head][i] && !dag.above[base][i];
		wanted_behind += dag.above[base][i] && !dag.above[head][i];
		for (unsigned k = 0; k < dag.count && common; k++)
			covered |= k != i && dag.above[base][k] && dag.above[head][k] && dag.above[k][i];
		if (common && !covered) {
			bool found = false;

			best++;
			for (size_t k = 0; k < bases.len; k++)
				found |= wr_oid_eq(&bases.v[k], &dag.oid[i]);
			assert_true(found);
		}
	}
	assert_int_equal(ahead, wanted_ahead);
	assert_int_equal(behind, wanted_behind);
	assert_int_equal(bases.len, best);
}

static void two_tips(void **state)
{
	struct fx *f = *state;

	for (unsigned i = 0; i < SHAPES; i++) {
		WR_AUTO_S(wr_view) v = {.snap = NULL};
		struct wr_orders *orders = NULL;

		fx_stop(f);
		sh(f, "rm -rf data");
		fx_start(f);
		make_dag(f, 60, i);
		view_open(&v, f, "main", false);
		if (i % 2)
			assert_ok(wr_orders_new(&orders, 1 << 20, &f->err));
		for (unsigned k = 0; k < rounds(150); k++)
			assert_compared(f, &v, orders, chance(f, dag.count), chance(f, dag.count));
		wr_view_fini(&v);
		wr_orders_free(orders);
	}
}

/* ---- growth ---- */

static void commit_on(struct fx *f, struct wr_oid *out, const char *branch)
{
	WR_AUTO_S(wr_buf) bytes = WR_BUF_INIT(1 << 16);
	const struct wr_person who = {.name = WR_S("N"), .mail = WR_S("n@example.org"), .when_ms = 1700000000000};
	const struct wr_edit e = {.branch = wr_str(branch), .message = WR_S("grown"), .author = who, .committer = who};

	assert_ok(wr_edit_commit(out, &bytes, f->repo, &e, NULL, &f->err));
}

/* The order of a tip, made on top of another one or anew, is the same. */
static void growth(void **state)
{
	struct fx *f = *state;
	struct wr_orders *orders;

	make_dag(f, 120, WILD);
	assert_ok(wr_orders_new(&orders, 1 << 20, &f->err));
	for (unsigned i = 0; i < 60; i++) {
		WR_AUTO_S(wr_view) v = {.snap = NULL};
		WR_AUTO(wr_order) *kept = NULL, *anew = NULL;
		const char *branch = i % 3 ? "n119" : i % 2 ? "n100" : "n7";
		struct wr_oid tip;

		for (unsigned k = chance(f, 4); k > 0; k--)
			commit_on(f, &tip, branch);
		commit_on(f, &tip, branch);
		view_open(&v, f, "main", false);
		assert_ok(wr_order_of(&kept, orders, REPO_ID, &v, &tip, &f->err));
		assert_ok(wr_order_of(&anew, NULL, REPO_ID, &v, &tip, &f->err));
		assert_int_equal(kept->count, anew->count);
		assert_memory_equal(kept->commits, anew->commits, kept->count * sizeof *kept->commits);
		assert_memory_equal(kept->first, anew->first, (kept->count + 1) * sizeof *kept->first);
		assert_memory_equal(kept->parents, anew->parents, kept->first[kept->count] * sizeof *kept->parents);
		assert_int_equal(wr_order_find(kept, &tip), 0);
	}
	wr_orders_free(orders);
}

/* One repository's orders are not another one's. */
static void of_one_repository(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	WR_AUTO(wr_order) *first = NULL, *again = NULL, *other = NULL;
	struct wr_orders *orders;

	make_dag(f, 9, LINEAR);
	view_open(&v, f, "main", false);
	assert_ok(wr_orders_new(&orders, 1 << 20, &f->err));
	assert_ok(wr_order_of(&first, orders, REPO_ID, &v, &dag.oid[8], &f->err));
	assert_ok(wr_order_of(&again, orders, REPO_ID, &v, &dag.oid[8], &f->err));
	assert_ok(wr_order_of(&other, orders, "11111111-89ab-4def-8123-456789abcdef", &v, &dag.oid[8], &f->err));
	assert_ptr_equal(first, again);
	assert_ptr_not_equal(first, other);
	wr_orders_free(orders);
}

static void assert_same(const struct wr_order *a, const struct wr_order *b)
{
	assert_int_equal(a->count, b->count);
	assert_memory_equal(a->commits, b->commits, a->count * sizeof *a->commits);
	assert_memory_equal(a->first, b->first, (a->count + 1) * sizeof *a->first);
	assert_memory_equal(a->parents, b->parents, a->first[a->count] * sizeof *a->parents);
}

/* What a start finds in the repository's folder is the order, or nothing. */
static void stored(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) in = WR_BUF_INIT(4 << 20);
	struct wr_oid tip;

	for (unsigned i = 0; i < LONG; i++)
		wr_buf_printf(&in, "commit refs/heads/long\ncommitter C <c@example.org> %u +0000\ndata 0\n\n",
			      1700000000 + i / 7);
	sh(f, "rm -rf src");
	import(f, "src", &in);
	push_all(f, "src");
	for (unsigned i = 0; i < 4; i++) {
		WR_AUTO_S(wr_view) v = {.snap = NULL};
		WR_AUTO(wr_order) *first = NULL, *anew = NULL, *loaded = NULL;
		struct wr_orders *orders;

		commit_on(f, &tip, "long");
		view_open(&v, f, "long", false);
		assert_ok(wr_orders_new(&orders, 1 << 20, &f->err));
		wr_orders_store_in(orders, f->git);
		assert_ok(wr_order_of(&first, orders, REPO_ID, &v, &tip, &f->err));
		wr_orders_free(orders);
		assert_ok(wr_order_of(&anew, NULL, REPO_ID, &v, &tip, &f->err));
		assert_same(first, anew);
		/* The file is from the first time, and the rest was found on top of it. */
		loaded = wr_order_load(f->git, REPO_ID, &v);
		assert_non_null(loaded);
		assert_int_equal(loaded->count + i, anew->count);
	}
}

/* ---- stored before anybody asks ---- */

static enum wr_code long_branch(void *arg, char *out, size_t cap, const char *id, struct wr_error *err)
{
	(void)arg;
	(void)id;
	(void)err;
	snprintf(out, cap, "long");
	return WR_OK;
}

/* Checkpoints are those that the test asks for. */
static void start_preparing(struct fx *f)
{
	fx_stop(f);
	f->cfg.no_keeper = true;
	f->cfg.prepare = wr_orders_prepare;
	f->cfg.default_branch = long_branch;
	fx_start(f);
}

static void checkpoint(struct fx *f)
{
	bool did;

	assert_ok(wr_git_repo_checkpoint(&did, f->repo, &f->err));
	assert_true(did);
}

/* What is stored is so many commits of the tip's history; 0: nothing is. */
static void assert_stored(struct fx *f, uint32_t count)
{
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	WR_AUTO(wr_order) *loaded = NULL, *anew = NULL;

	view_open(&v, f, "long", true);
	loaded = wr_order_load(f->git, REPO_ID, &v);
	assert_int_equal(loaded != NULL, count > 0);
	if (!loaded)
		return;
	assert_int_equal(loaded->count, count);
	assert_ok(wr_order_of(&anew, NULL, REPO_ID, &v, &loaded->commits[0], &f->err));
	assert_same(loaded, anew);
}

static void add_commits(struct fx *f, unsigned count)
{
	struct wr_oid tip;

	for (unsigned i = 0; i < count; i++)
		commit_on(f, &tip, "long");
}

/* Each checkpoint leaves the order of the default branch, where it is long enough and the file lacks enough of it. */
static void prepared(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) in = WR_BUF_INIT(1 << 20);

	start_preparing(f);
	add_commits(f, 399);
	checkpoint(f);
	assert_stored(f, 0);
	add_commits(f, 1);
	checkpoint(f);
	assert_stored(f, 400);
	add_commits(f, 255);
	checkpoint(f);
	assert_stored(f, 400);
	add_commits(f, 1);
	checkpoint(f);
	assert_stored(f, 656);
	/* Another branch is nobody's default. */
	for (unsigned i = 0; i < LONG; i++)
		wr_buf_printf(&in, "commit refs/heads/other\ncommitter C <c@example.org> %u +0000\ndata 0\n\n", i + 1);
	sh(f, "rm -rf src");
	import(f, "src", &in);
	push_all(f, "src");
	checkpoint(f);
	assert_stored(f, 656);
}

static bool at_once_cancelled(void *arg)
{
	(void)arg;
	return true;
}

/* Given up: nothing is stored, and nothing fails. */
static void prepared_in_vain(void **state)
{
	struct fx *f = *state;
	const struct wr_cancel cancel = {at_once_cancelled, NULL};

	add_commits(f, 400);
	wr_orders_prepare(f->git, f->repo, "none", &(struct wr_cancel){NULL, NULL});
	wr_orders_prepare(f->git, f->repo, "long", &cancel);
	assert_stored(f, 0);
	wr_orders_prepare(f->git, f->repo, "long", &(struct wr_cancel){NULL, NULL});
	assert_stored(f, 400);
}

struct preparing {
	struct fx *f;
	enum wr_code code;
};

static void *checkpoint_often(void *arg)
{
	struct preparing *p = arg;
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	bool did;

	for (unsigned i = 0; i < 20 && p->code == WR_OK; i++)
		p->code = wr_git_repo_checkpoint(&did, p->f->repo, &err);
	return NULL;
}

/* Who asks meanwhile gets the order, wherever it is from. */
static void prepared_beside_askers(void **state)
{
	struct fx *f = *state;
	struct preparing p = {f, WR_OK};
	struct wr_orders *orders;
	pthread_t thread;

	start_preparing(f);
	add_commits(f, 400);
	assert_ok(wr_orders_new(&orders, 1 << 20, &f->err));
	wr_orders_store_in(orders, f->git);
	assert_int_equal(pthread_create(&thread, NULL, checkpoint_often, &p), 0);
	for (uint32_t count = 401; count <= 440; count++) {
		WR_AUTO_S(wr_view) v = {.snap = NULL};
		WR_AUTO(wr_order) *o = NULL;
		struct wr_oid tip;

		commit_on(f, &tip, "long");
		view_open(&v, f, "long", false);
		assert_ok(wr_order_of(&o, orders, REPO_ID, &v, &tip, &f->err));
		assert_int_equal(o->count, count);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(p.code, WR_OK);
	wr_orders_free(orders);
}

/* ---- what else may stand in the file ---- */

static void damaged_file(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	WR_AUTO(wr_order) *o = NULL, *loaded = NULL;
	WR_AUTO_MEM char *bytes = NULL;
	size_t len;

	make_dag(f, 60, WILD);
	view_open(&v, f, "main", false);
	assert_null(wr_order_load(f->git, REPO_ID, &v));
	assert_ok(wr_order_of(&o, NULL, REPO_ID, &v, &dag.oid[59], &f->err));
	wr_order_store(f->git, REPO_ID, &v, o);
	loaded = wr_order_load(f->git, REPO_ID, &v);
	assert_non_null(loaded);
	assert_same(o, loaded);
	assert_ok(wr_git_derived_read(&bytes, &len, f->git, REPO_ID, 1 << 20, &f->err));
	for (size_t i = 0; i < len; i++) {
		bytes[i] ^= 1;
		wr_git_derived_write(f->git, REPO_ID, wr_str_n(bytes, len));
		assert_null(wr_order_load(f->git, REPO_ID, &v));
		bytes[i] ^= 1;
	}
	for (size_t i = 0; i < len; i += 1 + i / 7) {
		wr_git_derived_write(f->git, REPO_ID, wr_str_n(bytes, i));
		assert_null(wr_order_load(f->git, REPO_ID, &v));
	}
	/* Whole, but of a history that was cut off elsewhere. */
	wr_git_derived_write(f->git, REPO_ID, wr_str_n(bytes, len));
	assert_ok(wr_oids_add(&v.roots, &dag.oid[3], &f->err));
	assert_null(wr_order_load(f->git, REPO_ID, &v));
}

/* A sum says that nothing fell over, and not who wrote it: whatever stands there, nothing is read or written outside.
 */
static void forged_file(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	WR_AUTO(wr_order) *o = NULL;
	WR_AUTO_MEM char *bytes = NULL;
	unsigned believed = 0;
	size_t len;

	make_dag(f, 60, WILD);
	view_open(&v, f, "main", false);
	assert_ok(wr_order_of(&o, NULL, REPO_ID, &v, &dag.oid[59], &f->err));
	wr_order_store(f->git, REPO_ID, &v, o);
	assert_ok(wr_git_derived_read(&bytes, &len, f->git, REPO_ID, 1 << 20, &f->err));
	for (unsigned i = 0; i < rounds(600); i++) {
		WR_AUTO(wr_order) *loaded = NULL;
		/* The counts, and what stands behind the ids. */
		size_t at = i % 5 ? 32 + o->count * WR_OID_RAW + 4 * chance(f, o->count + 1 + o->first[o->count])
				  : 8 + 4 * chance(f, 2);
		uint32_t was = wr_le32((const uint8_t *)bytes + at);
		uint64_t sum;

		wr_put_le32((uint8_t *)bytes + at, i % 3 ? chance(f, o->count + 20) : (unsigned)rand_r(&f->seed));
		sum = XXH3_64bits(bytes, len - 8);
		memcpy(bytes + len - 8, &sum, 8);
		wr_git_derived_write(f->git, REPO_ID, wr_str_n(bytes, len));
		loaded = wr_order_load(f->git, REPO_ID, &v);
		for (uint32_t k = 0; loaded && k < loaded->count; k++)
			for (uint32_t p = loaded->first[k]; p < loaded->first[k + 1]; p++)
				assert_true(loaded->parents[p] > k && loaded->parents[p] < loaded->count);
		believed += loaded != NULL;
		wr_put_le32((uint8_t *)bytes + at, was);
	}
	assert_true(believed > 0 && believed < rounds(600));
}

/* ---- several at once ---- */

struct asker {
	struct fx *f;
	struct wr_orders *orders;
	unsigned seed;
	bool failed;
};

static void *ask_often(void *arg)
{
	struct asker *a = arg;
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;

	for (unsigned i = 0; i < 150 && !a->failed; i++) {
		WR_AUTO_S(wr_view) v = {.snap = NULL};
		WR_AUTO(wr_order) *o = NULL;
		unsigned tip = (unsigned)rand_r(&a->seed) % dag.count;
		uint32_t reached = 0;

		for (unsigned k = 0; k < dag.count; k++)
			reached += dag.above[tip][k];
		a->failed = wr_view_open(&v, a->f->repo, WR_S("n7"), false, NULL, &err) != WR_OK ||
			    wr_order_of(&o, a->orders, REPO_ID, &v, &dag.oid[tip], &err) != WR_OK ||
			    o->count != reached || !wr_oid_eq(&o->commits[0], &dag.oid[tip]);
	}
	return NULL;
}

/* Room for a few: what one takes out another may just be using. */
static void at_once(void **state)
{
	struct fx *f = *state;
	struct wr_orders *orders;
	struct asker askers[4];
	pthread_t threads[4];

	make_dag(f, 80, WILD);
	assert_ok(wr_orders_new(&orders, 20000, &f->err));
	wr_orders_store_in(orders, f->git);
	for (unsigned i = 0; i < 4; i++) {
		askers[i] = (struct asker){.f = f, .orders = orders, .seed = f->seed + i};
		assert_int_equal(pthread_create(&threads[i], NULL, ask_often, &askers[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_false(askers[i].failed);
	}
	wr_orders_free(orders);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
	const struct CMUnitTest tests[] = {T(by_chance), T(two_tips),	  T(growth),	  T(of_one_repository),
					   T(stored),	 T(prepared),	  T(prepared_in_vain),
					   T(prepared_beside_askers), T(damaged_file), T(forged_file), T(at_once)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
