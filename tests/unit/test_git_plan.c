/* Walks and plans over histories made by chance; real git says whether a client can live with what it gets. */
#include "core/git/graph.h"
#include "tests/unit/git_fixture.h"

struct hist {
	struct wr_oids commits, tags;
	struct wr_snapshot *snap;
};

/*
 * The history in the store, from three pushes: a part, more as a thin pack, then everything, so that objects lie in
 * several packs, some in more than one.
 */
static void store_history(struct fx *f, struct hist *h, unsigned commits)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(64u << 20);
	struct wr_oid tip;

	make_history(f, "work", commits);
	sh_oid(f, &tip, "git -C work rev-list --all --topo-order | tail -n %u | head -1", commits / 3);
	sh_out(f, &text,
	       "cd work; git rev-list --all --topo-order | tail -n %u | head -1 | git pack-objects --revs --stdout -q",
	       commits / 3);
	assert_ok(push(f, wr_buf_str(&text), "refs/heads/first", &tip));
	sh_oid(f, &tip, "git -C work rev-list --all --topo-order | tail -n %u | head -1", commits / 2);
	sh_out(f, &text,
	       "cd work; (git rev-list --all --topo-order | tail -n %u | head -1; echo --not; git rev-list --all "
	       "--topo-order | tail -n %u | head -1) | git pack-objects --revs --thin --stdout -q",
	       commits / 2, commits / 3);
	assert_ok(push(f, wr_buf_str(&text), "refs/heads/second", &tip));
	push_all(f, "work");
	sh_out(f, &text, "git -C work rev-list --all");
	oids_of(&h->commits, &text);
	sh_out(f, &text, "git -C work for-each-ref refs/tags --format='%%(objectname)'");
	oids_of(&h->tags, &text);
	assert_ok(wr_snapshot_take(&h->snap, f->repo, &f->err));
}

static void hist_fini(struct hist *h)
{
	wr_oids_fini(&h->commits);
	wr_oids_fini(&h->tags);
	wr_snapshot_unref(h->snap);
}

static void pick(struct fx *f, struct wr_oids *out, const struct wr_oids *from, unsigned n)
{
	while (n--)
		assert_ok(wr_oids_add(out, &from->v[chance(f, (unsigned)from->len)], NULL));
}

/* "<hex> <hex> ..." */
static char *words(const struct wr_oids *list)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);
	char hex[WR_OID_HEX + 1];

	wr_buf_addz(&text, " ");
	for (size_t i = 0; i < list->len; i++) {
		wr_oid_hex(hex, &list->v[i]);
		wr_buf_printf(&text, "%s ", hex);
	}
	return wr_buf_take(&text);
}

static uint32_t plan_to(struct fx *f, const char *file, struct wr_snapshot *snap, const struct wr_plan_request *req)
{
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(256u << 20);
	WR_AUTO_S(wr_buf) again = WR_BUF_INIT(256u << 20);
	uint32_t count = 0;

	for (int i = 0; i < 2; i++) {
		WR_AUTO(wr_plan) *plan = NULL;
		struct wr_buf_sink sink;

		wr_buf_sink_init(&sink, i ? &again : &pack);
		assert_ok(wr_plan_new(&plan, snap, req, NULL, NULL, &f->err));
		count = wr_plan_objects(plan);
		assert_ok(wr_plan_write(plan, &sink.base, NULL, NULL, &f->err));
	}
	/* The same request gives the same bytes. */
	assert_true(wr_str_eq(wr_buf_str(&pack), wr_buf_str(&again)));
	write_whole(f, file, wr_buf_str(&pack));
	return count;
}

/* ---- plans ---- */

static const struct wr_oids none = {NULL, 0, 0};

static void one_fetch(struct fx *f, struct hist *h, unsigned round)
{
	WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) haves = {NULL, 0, 0};
	struct wr_plan_request req = {.wants = &wants,
				      .haves = &haves,
				      .client_shallow = &none,
				      .thin = chance(f, 2),
				      .ofs_delta = chance(f, 2)};
	WR_AUTO_MEM char *w = NULL;
	WR_AUTO_MEM char *hv = NULL;

	pick(f, &wants, &h->commits, 1 + chance(f, 3));
	if (h->tags.len && chance(f, 3) == 0)
		pick(f, &wants, &h->tags, 1);
	pick(f, &haves, &h->commits, round % 4 == 0 ? 0 : chance(f, 4));
	w = words(&wants);
	hv = words(&haves);
	plan_to(f, "out.pack", h->snap, &req);
	sh(f,
	   "rm -rf client; git init -q --bare client; for i in %s; do echo $i; done | git -C work pack-objects --revs "
	   "-q "
	   "--stdout | git -C client index-pack --stdin >/dev/null; for i in %s; do git -C client update-ref "
	   "refs/heads/h$i $i; done",
	   hv, hv);
	if (req.thin)
		sh(f, "git -C client index-pack --fix-thin --stdin < out.pack > /dev/null");
	else
		sh(f, "git -C client index-pack --strict --stdin < out.pack > /dev/null");
	/* Whole for the client, */
	sh(f,
	   "for i in %s; do git -C client update-ref refs/x/$i $i; done; git -C client fsck --no-dangling 2>/dev/null",
	   w);
	/* and nothing in it that the wants do not reach. */
	if (!req.thin)
		sh(f,
		   "rm -rf only; mkdir only; git index-pack -o only/x.idx out.pack >/dev/null; git show-index < "
		   "only/x.idx | "
		   "cut -d' ' -f2 | sort > got; git -C work rev-list --objects %s | cut -d' ' -f1 | sort > may; "
		   "for i in %s; do git -C work rev-parse $i; done | sort > tags; sort -u may tags > all; "
		   "test -z \"$(comm -23 got all)\"",
		   w, w);
}

static void fetches(void **state)
{
	struct fx *f = *state;
	struct hist h = {.snap = NULL};

	store_history(f, &h, 70);
	for (unsigned i = 0; i < rounds(24); i++)
		one_fetch(f, &h, i);
	hist_fini(&h);
}

static void a_whole_clone(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};
	struct wr_plan_request req = {.wants = &wants, .haves = &none, .client_shallow = &none, .ofs_delta = true};
	struct hist h = {.snap = NULL};
	const struct wr_ref *refs;
	size_t n;

	store_history(f, &h, 60);
	refs = wr_snapshot_refs(h.snap, &n);
	for (size_t i = 0; i < n; i++)
		assert_ok(wr_oids_add(&wants, &refs[i].oid, NULL));
	plan_to(f, "out.pack", h.snap, &req);
	sh(f, "git init -q --bare client; git -C client index-pack --strict --stdin < out.pack > /dev/null; "
	      "git -C client cat-file --batch-check --batch-all-objects > a; "
	      "git -C work cat-file --batch-check --batch-all-objects > b; cmp a b");
	/* Stored entries serve as they are: it is not much larger than what git itself makes. */
	sh(f, "git -C work pack-objects --all --stdout -q --delta-base-offset < /dev/null > ref.pack; "
	      "test $(stat -c %%s out.pack) -lt $(($(stat -c %%s ref.pack) * 3 / 2))");
	/* Who has everything gets nothing. */
	req.haves = &wants;
	assert_int_equal(plan_to(f, "out.pack", h.snap, &req), 0);
	hist_fini(&h);
}

static void tags_go_along(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) haves = {NULL, 0, 0};
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_plan_request req = {.wants = &wants, .haves = &haves, .client_shallow = &none, .include_tag = true};
	struct wr_oid oid;
	uint32_t without;

	sh(f, "git init -q work; cd work; git commit -q --allow-empty -m 1; git tag -am x old; git commit -q "
	      "--allow-empty -m 2; "
	      "git tag -am x new; git -c advice.nestedTag=false tag -am x nested new; git tag light; git branch side; "
	      "git commit -q --allow-empty -m 3; git tag -am x later");
	push_all(f, "work");
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	sh_oid(f, &oid, "git -C work rev-parse side");
	assert_ok(wr_oids_add(&wants, &oid, NULL));
	sh_oid(f, &oid, "git -C work rev-parse side~1");
	assert_ok(wr_oids_add(&haves, &oid, NULL));
	req.include_tag = false;
	without = plan_to(f, "out.pack", snap, &req);
	assert_int_equal(without, 1);
	req.include_tag = true;
	assert_int_equal(plan_to(f, "out.pack", snap, &req), without + 2);
	sh(f, "git index-pack -o x.idx out.pack >/dev/null; git show-index < x.idx | cut -d' ' -f2 | sort > got; "
	      "git -C work rev-parse side new nested | sort | cmp - got");
}

static void other_wants(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};
	WR_AUTO(wr_snapshot) *snap = NULL;
	WR_AUTO(wr_plan) *plan = NULL;
	struct wr_plan_request req = {.wants = &wants, .haves = &none, .client_shallow = &none};
	struct wr_oid oid, absent = {{3}};

	sh(f, "git init -q work; cd work; mkdir -p d/e; echo 1 > d/e/f; echo 2 > g; git add .; git commit -qm 1; "
	      "git tag blob HEAD:g; git tag -am x tree HEAD:d");
	push_all(f, "work");
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	sh_oid(f, &oid, "git -C work rev-parse blob");
	assert_ok(wr_oids_add(&wants, &oid, NULL));
	sh_oid(f, &oid, "git -C work rev-parse tree");
	assert_ok(wr_oids_add(&wants, &oid, NULL));
	plan_to(f, "out.pack", snap, &req);
	sh(f, "git index-pack -o x.idx out.pack >/dev/null; git show-index < x.idx | cut -d' ' -f2 | sort > got; "
	      "git -C work rev-parse blob tree HEAD:d HEAD:d/e HEAD:d/e/f | sort | cmp - got");
	assert_ok(wr_oids_add(&wants, &absent, NULL));
	assert_int_equal(wr_plan_new(&plan, snap, &req, NULL, NULL, &f->err), WR_E_INTERNAL);
}

/* Deeper than any stack of calls would stand. */
static void nested_folders(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};
	WR_AUTO(wr_quarantine) *q = NULL;
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_ref_update u = {.name = WR_S("refs/x/deep"), .any_old = true};
	struct wr_change change = {.updates = &u, .count = 1};
	struct wr_plan_request req = {.wants = &wants, .haves = &none, .client_shallow = &none};
	char entry[8 + WR_OID_RAW] = "40000 d";
	struct wr_oid oid;

	assert_ok(wr_quarantine_new(&q, f->repo, &f->err));
	assert_ok(wr_quarantine_add(&oid, q, WR_TREE, WR_S(""), NULL, &f->err));
	for (int i = 0; i < 20000; i++) {
		memcpy(entry + 8, oid.id, WR_OID_RAW);
		assert_ok(wr_quarantine_add(&oid, q, WR_TREE, wr_str_n(entry, sizeof(entry)), NULL, &f->err));
	}
	u.new = oid;
	change.objects = q;
	assert_ok(wr_git_append(f->repo, &change, &f->err));
	assert_ok(u.result);
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	assert_ok(wr_oids_add(&wants, &oid, NULL));
	assert_int_equal(plan_to(f, "out.pack", snap, &req), 20001);
}

static bool stop_at_once(void *arg)
{
	++*(unsigned *)arg;
	return true;
}

static void count_calls(void *arg, const char *stage, uint64_t done, uint64_t total, bool last)
{
	assert_string_equal(stage, "Enumerating objects");
	assert_true(!last || done == total);
	++*(unsigned *)arg;
}

static enum wr_code full_sink(struct wr_sink *sink, const void *data, size_t len, struct wr_error *err)
{
	(void)sink;
	(void)data;
	return wr_fail(err, WR_E_CANCELLED, "the client left after %zu bytes", len);
}

static void cancelling(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};
	WR_AUTO(wr_plan) *plan = NULL;
	struct wr_plan_request req = {.wants = &wants, .haves = &none, .client_shallow = &none};
	struct hist h = {.snap = NULL};
	struct wr_sink sink = {.write = full_sink};
	unsigned asked = 0, told = 0;
	const struct wr_cancel cancel = {stop_at_once, &asked};
	const struct wr_progress progress = {count_calls, &told};

	store_history(f, &h, 200);
	assert_ok(wr_oids_add(&wants, &h.commits.v[0], NULL));
	assert_int_equal(wr_plan_new(&plan, h.snap, &req, NULL, &cancel, &f->err), WR_E_CANCELLED);
	assert_int_equal(asked, 1);
	assert_ok(wr_plan_new(&plan, h.snap, &req, &progress, NULL, &f->err));
	assert_true(told >= 1 && told < 500);
	assert_int_equal(wr_plan_write(plan, &sink, NULL, &cancel, &f->err), WR_E_CANCELLED);
	wr_plan_free(WR_STEAL(plan));
	assert_ok(wr_plan_new(&plan, h.snap, &req, NULL, NULL, &f->err));
	assert_int_equal(wr_plan_write(plan, &sink, NULL, NULL, &f->err), WR_E_CANCELLED);
	/* Once per plan. */
	assert_int_equal(wr_plan_write(plan, &sink, NULL, NULL, &f->err), WR_E_INTERNAL);
	hist_fini(&h);
}

/* ---- depth ---- */

/* Takes out.pack into the client, whose history then ends at `roots`. */
static void client_takes(struct fx *f, const struct wr_oids *roots, const char *want)
{
	WR_AUTO_MEM char *w = words(roots);

	sh(f,
	   "git -C client index-pack --fix-thin --stdin < out.pack > /dev/null; rm -f client/shallow; "
	   "for i in %s; do echo $i; done > client/shallow; test -s client/shallow || rm client/shallow; "
	   "git -C client update-ref refs/heads/main %s; git -C client fsck --no-dangling 2>/dev/null",
	   w, want);
}

static void shallow_clone_and_on(struct fx *f, struct hist *h, unsigned round)
{
	WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) roots = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) none_yet = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) more = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) gone = {NULL, 0, 0};
	uint32_t depth = 1 + chance(f, 6), deeper = round % 3 == 0 ? INT32_MAX : depth + 1 + chance(f, 8), count;
	struct wr_plan_request req = {.wants = &wants,
				      .haves = &none,
				      .client_shallow = &none,
				      .new_shallow = &roots,
				      .thin = true,
				      .ofs_delta = true};
	char hex[WR_OID_HEX + 1];

	pick(f, &wants, &h->commits, 1);
	wr_oid_hex(hex, &wants.v[0]);
	assert_ok(wr_walk_depth(&roots, &none_yet, h->snap, &wants, &none, depth, NULL, &f->err));
	assert_int_equal(none_yet.len, 0);
	sh(f,
	   "rm -rf theirs.git client; git -C work update-ref refs/heads/pick %s; git init -q --bare client; "
	   "git clone -q --bare --depth %u --branch pick --single-branch --no-tags file://$PWD/work theirs.git; "
	   "touch theirs.git/shallow",
	   hex, depth);
	{
		WR_AUTO_MEM char *w = words(&roots);

		sh(f, "for i in %s; do echo $i; done | sort > ours; sort theirs.git/shallow | cmp ours -", w);
	}
	count = plan_to(f, "out.pack", h->snap, &req);
	sh(f, "test $(git -C theirs.git rev-list --objects pick | wc -l) = %u", count);
	client_takes(f, &roots, hex);
	/* Deeper, or whole. */
	assert_ok(wr_walk_depth(&more, &gone, h->snap, &wants, &roots, deeper, NULL, &f->err));
	sh(f, "git -C theirs.git fetch -q --depth %u origin pick; touch theirs.git/shallow", deeper);
	{
		WR_AUTO_S(wr_oids) now = {NULL, 0, 0};

		for (size_t i = 0; i < more.len; i++)
			assert_ok(wr_oids_add(&now, &more.v[i], NULL));
		for (size_t i = 0; i < roots.len; i++) {
			bool is_gone = false;

			for (size_t k = 0; k < gone.len; k++)
				is_gone = is_gone || wr_oid_eq(&gone.v[k], &roots.v[i]);
			if (!is_gone)
				assert_ok(wr_oids_add(&now, &roots.v[i], NULL));
		}
		req.haves = &wants;
		req.client_shallow = &roots;
		req.new_shallow = &more;
		req.unshallow = &gone;
		plan_to(f, "out.pack", h->snap, &req);
		client_takes(f, &now, hex);
		sh(f, "git -C client rev-list main | sort > a; git -C theirs.git rev-list pick | sort > b; cmp a b");
		/* Nothing from behind the cut. */
		sh(f, "git -C client cat-file --batch-all-objects --batch-check | cut -c1-40 | sort > a; "
		      "git -C theirs.git rev-list --objects pick | cut -c1-40 | sort > b; test -z \"$(comm -23 a b)\"");
	}
	sh(f, "git -C work update-ref -d refs/heads/pick");
}

static void shallow_clones(void **state)
{
	struct fx *f = *state;
	struct hist h = {.snap = NULL};

	store_history(f, &h, 60);
	for (unsigned i = 0; i < rounds(10); i++)
		shallow_clone_and_on(f, &h, i);
	hist_fini(&h);
}

/*
 * A shallow client has the commit A, cut off there, and wants B, whose other parent brings in what lies behind A: the
 * client lacks it, although an unlimited walk from A would say that it has it.
 */
static void what_lies_behind_the_cut(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) haves = {NULL, 0, 0};
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_plan_request req = {.wants = &wants, .haves = &haves, .client_shallow = &haves, .thin = true};
	struct wr_oid oid;
	bool ready;

	sh(f, "git init -q work; cd work; for i in 1 2 3; do seq $i 400 > f$i; git add .; git commit -qm $i; done; "
	      "git branch a; git checkout -q -b side a~1; echo s > s; git add .; git commit -qm s; git checkout -q a; "
	      "git merge -q -m b side; git branch b");
	push_all(f, "work");
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	sh_oid(f, &oid, "git -C work rev-parse b");
	assert_ok(wr_oids_add(&wants, &oid, NULL));
	sh_oid(f, &oid, "git -C work rev-parse b^1");
	assert_ok(wr_oids_add(&haves, &oid, NULL));
	/* Behind the cut of A: side, 2 and 1 come, with all that they hold. */
	plan_to(f, "out.pack", snap, &req);
	sh(f, "git init -q --bare client; git -C work rev-parse b^1 > client/shallow; "
	      "(cd work; git rev-parse b^1 b^1^{tree}; git ls-tree -r b^1 | cut -c13-52) | git -C work pack-objects "
	      "--stdout -q "
	      "| git -C client index-pack --stdin >/dev/null");
	client_takes(f, &haves, "$(git -C work rev-parse b)");
	sh(f, "test $(git -C client rev-list main | wc -l) = 5");
	assert_ok(wr_walk_ready(&ready, snap, &wants, &haves, &haves, INT64_MIN, NULL, &f->err));
	assert_true(ready);
	/* The root commit is an ancestor only behind the cut. */
	sh_oid(f, &oid, "git -C work rev-parse b^1~2");
	haves.v[0] = oid;
	{
		WR_AUTO_S(wr_oids) cut = {NULL, 0, 0};

		sh_oid(f, &oid, "git -C work rev-parse b^1");
		assert_ok(wr_oids_add(&cut, &oid, NULL));
		wants.v[0] = oid;
		assert_ok(wr_walk_ready(&ready, snap, &wants, &haves, &cut, INT64_MIN, NULL, &f->err));
		assert_false(ready);
		assert_ok(wr_walk_ready(&ready, snap, &wants, &haves, &none, INT64_MIN, NULL, &f->err));
		assert_true(ready);
	}
}

/*
 * The haves are H and its parent A, and no commit before H was made is looked at, but for the wants: W, whose parent is
 * A, and X, whose parent is W.
 */
static void wants_older_than_the_haves(void **state)
{
	static const char *const names[] = {"x", "w", "x"};
	struct fx *f = *state;
	WR_AUTO_S(wr_oids) haves = {NULL, 0, 0};
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_oid oid;
	bool ready;

	sh(f, "git init -q work; cd work; "
	      "c() { GIT_COMMITTER_DATE=\"$1 +0000\" git commit -q --allow-empty -m $2; git branch $2; }; "
	      "c 1000000010 a; c 1000000020 w; c 1000000040 x; git checkout -q --detach a; c 1000000030 h");
	push_all(f, "work");
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	sh_oid(f, &oid, "git -C work rev-parse h");
	assert_ok(wr_oids_add(&haves, &oid, NULL));
	sh_oid(f, &oid, "git -C work rev-parse a");
	assert_ok(wr_oids_add(&haves, &oid, NULL));
	for (int first = 0; first < 2; first++) {
		WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};

		for (int i = first; i < first + 2; i++) {
			sh_oid(f, &oid, "git -C work rev-parse %s", names[i]);
			assert_ok(wr_oids_add(&wants, &oid, NULL));
		}
		assert_ok(wr_walk_ready(&ready, snap, &wants, &haves, &none, 1000000030, NULL, &f->err));
		assert_true(ready);
		/* Alone X is not, because the way to A is too old. */
		wants.v[0] = wants.v[first == 0 ? 0 : 1];
		wants.len = 1;
		assert_ok(wr_walk_ready(&ready, snap, &wants, &haves, &none, 1000000030, NULL, &f->err));
		assert_false(ready);
	}
}

/* A request may name very many tags, all of which go through the same chain. */
static void tags_are_read_once(void **state)
{
	struct fx *f = *state;
	WR_AUTO(wr_snapshot) *snap = NULL;
	WR_AUTO_S(wr_oids) chain = {NULL, 0, 0};
	WR_AUTO_S(wr_peeler) peeler = {0};
	struct wr_oid a, b, inner, commit, out;
	enum wr_type type;
	bool again;

	sh(f, "git init -q work; cd work; git commit -q --allow-empty -m c; git tag -a -m i inner; "
	      "git tag -a -m a a inner 2>/dev/null; git tag -a -m b b inner 2>/dev/null");
	push_all(f, "work");
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	sh_oid(f, &a, "git -C work rev-parse a");
	sh_oid(f, &b, "git -C work rev-parse b");
	sh_oid(f, &inner, "git -C work rev-parse inner");
	sh_oid(f, &commit, "git -C work rev-parse HEAD");
	peeler.snap = snap;
	assert_ok(wr_peel(&again, &out, &type, &chain, &peeler, &a, &f->err));
	assert_false(again);
	assert_true(type == WR_COMMIT && wr_oid_eq(&out, &commit));
	assert_int_equal(chain.len, 2);
	assert_ok(wr_peel(&again, &out, &type, &chain, &peeler, &b, &f->err));
	assert_true(again);
	assert_true(chain.len == 3 && wr_oid_eq(&chain.v[2], &b));
	assert_ok(wr_peel(&again, &out, &type, &chain, &peeler, &inner, &f->err));
	assert_true(again);
	assert_ok(wr_peel(&again, &out, &type, &chain, &peeler, &commit, &f->err));
	assert_true(again);
	assert_int_equal(chain.len, 3);
}

static size_t plan_size(struct fx *f, struct wr_snapshot *snap, const struct wr_oids *wants, bool tags)
{
	struct wr_plan_request req = {.wants = wants, .haves = &none, .client_shallow = &none, .include_tag = tags};

	return plan_to(f, "out.pack", snap, &req);
}

/* The same, and the parts of one chain, asked for again and again: each object once, and no tag forgotten. */
static void wants_that_share_tags(void **state)
{
	static const char *const names[] = {"a", "HEAD", "inner", "b", "a", "HEAD^{tree}", "a", "inner"};
	struct fx *f = *state;
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_oid oid;

	sh(f, "git init -q work; cd work; echo x > x; git add x; git commit -qm c; git tag -a -m i inner; "
	      "git tag -a -m a a inner 2>/dev/null; git tag -a -m b b inner 2>/dev/null");
	push_all(f, "work");
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	for (size_t first = 0; first < WR_ARRAY_LEN(names); first++) {
		WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};

		for (size_t i = 0; i < WR_ARRAY_LEN(names); i++) {
			sh_oid(f, &oid, "git -C work rev-parse %s", names[(first + i) % WR_ARRAY_LEN(names)]);
			assert_ok(wr_oids_add(&wants, &oid, NULL));
		}
		assert_int_equal(plan_size(f, snap, &wants, false), 6);
		/* The commit brings all tags that lead to it. */
		sh_oid(f, &wants.v[0], "git -C work rev-parse HEAD");
		wants.len = 1;
		assert_int_equal(plan_size(f, snap, &wants, true), 6);
	}
}

static bool counts(void *arg)
{
	++*(unsigned *)arg;
	return false;
}

/* Wide merges share their parents, and a request may name very many such merges. */
static void parents_come_once(void **state)
{
	struct fx *f = *state;
	WR_AUTO(wr_snapshot) *snap = NULL;
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);
	WR_AUTO_S(wr_oids) merges = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) parents = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) ends = {NULL, 0, 0};
	unsigned asked = 0;
	const struct wr_cancel cancel = {counts, &asked};
	int64_t oldest;

	sh(f, "git init -q work; cd work; t=$(git write-tree); "
	      "for i in 1 2 3; do p=\"$p -p $(echo $i | git commit-tree $t)\"; done; "
	      "for i in $(seq 40); do c=$(echo $i | GIT_COMMITTER_DATE=\"$((1000000000 + i)) +0000\" "
	      "git commit-tree $p $t); git branch m$i $c; done");
	push_all(f, "work");
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	sh_out(f, &text, "git -C work for-each-ref 'refs/heads/m*' --format='%%(objectname)'");
	oids_of(&merges, &text);
	assert_int_equal(merges.len, 40);
	assert_ok(wr_walk_parents(&parents, &oldest, snap, &merges, &none, &cancel, &f->err));
	assert_int_equal(parents.len, 3);
	assert_int_equal(oldest, 1000000001);
	assert_true(asked > 0);
	/* A commit at which the client's history ends has none. */
	parents.len = 0;
	assert_ok(wr_oids_add(&ends, &merges.v[0], NULL));
	merges.len = 1;
	assert_ok(wr_walk_parents(&parents, NULL, snap, &merges, &ends, NULL, &f->err));
	assert_int_equal(parents.len, 0);
}

/*
 * The have is dated long before its own parents, so that the walk has taken these for wanted before it comes to the
 * have.
 */
static void dates_that_lie(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) haves = {NULL, 0, 0};
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_plan_request req = {.wants = &wants, .haves = &haves, .client_shallow = &none};
	struct wr_oid oid;

	sh(f, "git init -q work; cd work; echo 1 > f; git add f; for i in 1 2 3 4 5 6 7 8 9; do "
	      "GIT_COMMITTER_DATE=\"17000000${i}0 +0000\" git commit -q --allow-empty -m $i; done; git branch want; "
	      "git checkout -q want~1; GIT_COMMITTER_DATE='1500000000 +0000' git commit -q --allow-empty -m have; git "
	      "branch have");
	push_all(f, "work");
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	sh_oid(f, &oid, "git -C work rev-parse want");
	assert_ok(wr_oids_add(&wants, &oid, NULL));
	sh_oid(f, &oid, "git -C work rev-parse have");
	assert_ok(wr_oids_add(&haves, &oid, NULL));
	assert_int_equal(plan_to(f, "out.pack", snap, &req), 1);
}

/* A shallow client fetches on, and is not given what it did not ask for. */
static void a_shallow_client_fetches_on(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) haves = {NULL, 0, 0};
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_plan_request req = {.wants = &wants, .haves = &haves, .client_shallow = &haves};
	struct wr_oid oid;

	sh(f, "git init -q work; cd work; for i in 1 2 3 4 5; do git commit -q --allow-empty -m $i; done");
	push_all(f, "work");
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	sh_oid(f, &oid, "git -C work rev-parse HEAD");
	assert_ok(wr_oids_add(&wants, &oid, NULL));
	sh_oid(f, &oid, "git -C work rev-parse HEAD~2");
	assert_ok(wr_oids_add(&haves, &oid, NULL));
	assert_int_equal(plan_to(f, "out.pack", snap, &req), 2);
	/* Also when it wants the cut itself, having nothing. */
	req.haves = &none;
	wants.v[0] = oid;
	assert_int_equal(plan_to(f, "out.pack", snap, &req), 2);
}

/* ---- walks ---- */

static void ready_as_git_judges(void **state)
{
	struct fx *f = *state;
	struct hist h = {.snap = NULL};
	unsigned yes = 0, tries = rounds(25);

	store_history(f, &h, 50);
	for (unsigned i = 0; i < tries; i++) {
		WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};
		WR_AUTO_S(wr_oids) commons = {NULL, 0, 0};
		WR_AUTO_MEM char *w = NULL;
		WR_AUTO_MEM char *c = NULL;
		bool is, expected;

		pick(f, &wants, &h.commits, 1 + chance(f, 3));
		pick(f, &commons, &h.commits, chance(f, 3));
		w = words(&wants);
		c = words(&commons);
		assert_ok(wr_walk_ready(&is, h.snap, &wants, &commons, &none, INT64_MIN, NULL, &f->err));
		expected = sh_try(f, NULL,
				  "cd work; for w in %s; do ok=; for c in %s; do if git merge-base --is-ancestor $c "
				  "$w; then ok=1; "
				  "fi; done; test -n \"$ok\"; done",
				  w, c) == 0;
		assert_int_equal(is, expected);
		yes += is;
	}
	assert_true(yes > 0 && yes < tries);
	hist_fini(&h);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
	const struct CMUnitTest tests[] = {
		T(fetches),	   T(a_whole_clone),
		T(tags_go_along),  T(other_wants),
		T(nested_folders), T(cancelling),
		T(shallow_clones), T(what_lies_behind_the_cut), T(wants_older_than_the_haves),
		T(dates_that_lie), T(a_shallow_client_fetches_on),
		T(ready_as_git_judges), T(tags_are_read_once), T(wants_that_share_tags), T(parents_come_once),
	};

	return cmocka_run_group_tests_name("git_plan", tests, NULL, NULL);
}
