/*
 * Plans that leave objects out, and wants of every type: over random histories and requests, a pack holds what real git
 * says, and a client that left the same out before can take it.
 *
 * git judges each want and each part of a combination alone, and the sets are put together here: of a want that lies
 * within another it forgets that it was asked for, and of a combination with tree:<depth> what it meets too deep first.
 */
#include "tests/unit/git_fixture.h"

#include "core/git/plan_internal.h"

static const struct wr_oids none = {NULL, 0, 0};

#define MAX_PARTS 3

struct world {
	struct wr_oids commits, others; /* all that refs reach; others: tags, trees and blobs */
	struct wr_snapshot *snap;
};

static void world_fini(struct world *w)
{
	wr_oids_fini(&w->commits);
	wr_oids_fini(&w->others);
	wr_snapshot_unref(w->snap);
}

/* ---- histories ---- */

static void put_file(struct wr_buf *in, const char *path, unsigned content)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 16);

	/* Of 0 to 380 bytes, each much like the others. */
	for (unsigned i = 0; i < content % 20; i++)
		wr_buf_printf(&text, "a line, number %04u\n", i == content % 7 ? content : i);
	wr_buf_printf(in, "M 100%s inline %s\ndata %zu\n", content % 9 == 0 ? "755" : "644", path, text.len);
	wr_buf_adds(in, wr_buf_str(&text));
}

/* One of few folders of so many levels: the same tree comes to stand in many places. */
static void put_folder(struct wr_buf *in, const char *path, unsigned levels)
{
	WR_AUTO_S(wr_buf) name = WR_BUF_INIT(4096);

	wr_buf_printf(&name, "%s/file", path);
	put_file(in, name.ptr, levels * 7);
	if (!levels)
		return;
	wr_buf_clear(&name);
	wr_buf_printf(&name, "%s/in", path);
	put_folder(in, name.ptr, levels - 1);
}

static void random_path(struct fx *f, struct wr_buf *path)
{
	wr_buf_clear(path);
	wr_buf_addz(path, "");
	for (unsigned depth = chance(f, 5); depth; depth--)
		wr_buf_printf(path, "%c/", 'a' + (int)chance(f, 3));
}

static void random_change(struct fx *f, struct wr_buf *in)
{
	WR_AUTO_S(wr_buf) path = WR_BUF_INIT(4096);
	unsigned what = chance(f, 10);

	random_path(f, &path);
	if (what < 5) {
		wr_buf_printf(&path, "f%u", chance(f, 4));
		put_file(in, path.ptr, chance(f, 60));
	} else if (what < 8) {
		wr_buf_printf(&path, "%c", 'a' + (int)chance(f, 3));
		put_folder(in, path.ptr, chance(f, 4));
	} else if (what < 9) {
		wr_buf_printf(in, "M 160000 %040u %ssub\n", 1 + chance(f, 3), path.ptr);
	} else {
		wr_buf_printf(in, "D %sa\n", path.ptr);
	}
}

static void make_world(struct fx *f, struct world *w, unsigned commits)
{
	WR_AUTO_S(wr_buf) in = WR_BUF_INIT(64u << 20);
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(4u << 20);

	for (unsigned i = 1; i <= commits; i++) {
		unsigned from = i > 1 ? i - 1 - (i > 4 ? chance(f, 4) : 0) : 0;
		unsigned with = i > 6 && chance(f, 4) == 0 ? 1 + chance(f, i - 1) : 0;

		wr_buf_printf(&in, "commit refs/heads/b%u\nmark :%u\ncommitter C <c@example.org> %u +0000\ndata 2\nm\n",
			      i, i, 1700000000 + i * 100);
		if (from)
			wr_buf_printf(&in, "from :%u\n", from);
		if (with && with != from)
			wr_buf_printf(&in, "merge :%u\n", with);
		for (unsigned k = 1 + chance(f, 5); k; k--)
			random_change(f, &in);
	}
	assert_true(wr_buf_ok(&in));
	write_whole(f, "import", wr_buf_str(&in));
	sh(f,
	   "git init -q --bare work; cd work; git fast-import --quiet < ../import; git config advice.nestedTag false; "
	   "git tag -am x t1 b1; git tag -am x t2 b%u; git tag -am x t3 t2; git tag -am x t4 t3; git tag light b2; "
	   "git tag -am x tree b%u^{tree}; git tag -am x tree2 tree; "
	   "git ls-tree -r b%u | grep blob | cut -c13-52 | sort -u | head -3 | while read b; do "
	   "git tag -am x of-$b $b; git tag -am x on-$b of-$b; git update-ref refs/x/blob-$b $b; done; "
	   "git ls-tree -rt b%u | grep tree | cut -c13-52 | tail -3 | while read t; do "
	   "git update-ref refs/x/tree-$t $t; done; "
	   "git for-each-ref refs/heads --format='%%(refname)' | while read r; do "
	   "git merge-base --is-ancestor $r b%u && test $r != refs/heads/b%u && git update-ref -d $r || true; done; "
	   "git repack -adfq --depth=30 --window=30",
	   commits / 2, commits / 3, commits, commits, commits, commits);
	push_all(f, "work");
	sh_out(f, &text, "git -C work rev-list --all");
	oids_of(&w->commits, &text);
	sh_out(f, &text,
	       "cd work; git rev-list --objects --all --no-object-names | git cat-file --batch-check | "
	       "grep -v ' commit '");
	oids_of(&w->others, &text);
	assert_ok(wr_snapshot_take(&w->snap, f->repo, &f->err));
}

/* ---- sets ---- */

static void set_add(struct wr_oidmap *set, const struct wr_buf *text)
{
	WR_AUTO_S(wr_oids) list = {NULL, 0, 0};

	assert_true(wr_buf_ok(text));
	oids_of(&list, text);
	for (size_t i = 0; i < list.len; i++)
		assert_ok(wr_oidmap_add(set, &list.v[i], 0, NULL, NULL));
}

/* The ids that a command prints. */
#define set_of(f, set, ...)                                                                                            \
	do {                                                                                                           \
		WR_AUTO_S(wr_buf) ids_ = WR_BUF_INIT(4u << 20);                                                        \
		sh_out((f), &ids_, __VA_ARGS__);                                                                       \
		set_add((set), &ids_);                                                                                 \
	} while (0)

/* How many of a are not in b; one of them to *which. */
static size_t missing(struct wr_oid *which, const struct wr_oidmap *a, const struct wr_oidmap *b)
{
	size_t n = 0;

	for (size_t i = 0; i < a->cap; i++)
		if (a->values[i] && !wr_oidmap_has(b, &a->keys[i])) {
			*which = a->keys[i];
			n++;
		}
	return n;
}

static void keep_common(struct wr_oidmap *set, const struct wr_oidmap *other)
{
	struct wr_oidmap both = {0};

	for (size_t i = 0; i < set->cap; i++)
		if (set->values[i] && wr_oidmap_has(other, &set->keys[i]))
			assert_ok(wr_oidmap_add(&both, &set->keys[i], 0, NULL, NULL));
	wr_oidmap_fini(set);
	*set = both;
}

/* ---- requests ---- */

struct asked {
	char parts[MAX_PARTS][64];
	unsigned count;	 /* 0: no filter */
	char spec[1024]; /* "" or all parts together */
	struct wr_filter filter;
	struct wr_oids wants, haves;
	char *want_words, *have_words;
};

static void asked_fini(struct asked *a)
{
	wr_oids_fini(&a->wants);
	wr_oids_fini(&a->haves);
	free(a->want_words);
	free(a->have_words);
}

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

static void random_part(struct fx *f, char *out, size_t cap)
{
	static const char *const types[] = {"commit", "tree", "blob", "tag"};

	switch (chance(f, 5)) {
	case 0:
		snprintf(out, cap, "blob:none");
		break;
	case 1:
		snprintf(out, cap, "blob:limit=%u", chance(f, 16) * 20 + (chance(f, 4) == 0));
		break;
	case 2:
	case 3:
		snprintf(out, cap, "tree:%u", chance(f, 7));
		break;
	default:
		snprintf(out, cap, "object:type=%s", types[chance(f, 4)]);
	}
}

static void random_filter(struct fx *f, struct asked *a, bool may_be_none)
{
	WR_AUTO_S(wr_buf) spec = WR_BUF_INIT(sizeof a->spec);

	a->count = chance(f, 5) < 3 ? 1 : 1 + chance(f, MAX_PARTS);
	if (may_be_none && chance(f, 6) == 0)
		a->count = 0;
	wr_buf_addz(&spec, a->count > 1 ? "combine:" : "");
	for (unsigned i = 0; i < a->count; i++) {
		random_part(f, a->parts[i], sizeof a->parts[i]);
		wr_buf_addz(&spec, i ? "+" : "");
		for (const char *c = a->parts[i]; *c; c++)
			if (a->count > 1 && chance(f, 4) == 0)
				wr_buf_printf(&spec, "%%%02X", (unsigned)*c);
			else
				wr_buf_addc(&spec, *c);
	}
	snprintf(a->spec, sizeof a->spec, "%.*s", (int)spec.len, spec.ptr);
	a->filter = (struct wr_filter)WR_FILTER_INIT;
	if (a->count)
		assert_ok(wr_filter_parse(&a->filter, wr_buf_str(&spec), &f->err));
}

static void random_request(struct fx *f, struct asked *a, const struct world *w, bool haves)
{
	random_filter(f, a, true);
	for (unsigned n = 1 + chance(f, 3); n; n--) {
		const struct wr_oids *from = chance(f, 2) ? &w->commits : &w->others;

		assert_ok(wr_oids_add(&a->wants, &from->v[chance(f, (unsigned)from->len)], NULL));
	}
	for (unsigned n = haves ? 1 + chance(f, 3) : 0; n; n--)
		assert_ok(wr_oids_add(&a->haves, &w->commits.v[chance(f, (unsigned)w->commits.len)], NULL));
	a->want_words = words(&a->wants);
	a->have_words = words(&a->haves);
}

/* What a clone of the wants holds, by git. */
static void expect(struct fx *f, struct wr_oidmap *out, const struct asked *a)
{
	set_of(f, out, "for i in %s; do git -C work rev-list --objects --no-object-names $i; done", a->want_words);
	for (unsigned i = 0; i < a->count; i++) {
		WR_AUTO_S(wr_oidmap) part = {0};

		set_of(f, &part,
		       "for i in %s; do git -C work rev-list --objects --no-object-names --filter=%s $i; done",
		       a->want_words, a->parts[i]);
		keep_common(out, &part);
	}
}

static uint32_t plan_to(struct fx *f, struct wr_snapshot *snap, const struct wr_plan_request *req)
{
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(256u << 20);
	WR_AUTO(wr_plan) *plan = NULL;
	struct wr_buf_sink sink;

	wr_buf_sink_init(&sink, &pack);
	assert_ok(wr_plan_new(&plan, snap, req, NULL, NULL, &f->err));
	assert_ok(wr_plan_write(plan, &sink.base, NULL, NULL, &f->err));
	write_whole(f, "out.pack", wr_buf_str(&pack));
	return wr_plan_objects(plan);
}

static void tell(const struct asked *a, const char *what, const struct wr_oid *oid)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	fail_msg("%s: %s; filter '%s', wants%s, haves%s", what, hex, a->spec, a->want_words, a->have_words);
}

#define assert_within(a, b, asked, what)                                                                               \
	do {                                                                                                           \
		struct wr_oid which_;                                                                                  \
		if (missing(&which_, (a), (b)))                                                                        \
			tell((asked), (what), &which_);                                                                \
	} while (0)

/* ---- clones ---- */

static void one_clone(struct fx *f, const struct world *w)
{
	struct asked a = {.count = 0};
	WR_AUTO_S(wr_oidmap) ours = {0};
	WR_AUTO_S(wr_oidmap) theirs = {0};
	WR_AUTO_S(wr_oidmap) right = {0};
	struct wr_plan_request req = {.wants = &a.wants, .haves = &none, .client_shallow = &none, .filter = &a.filter};

	random_request(f, &a, w, false);
	req.thin = chance(f, 2);
	req.ofs_delta = chance(f, 2);
	expect(f, &right, &a);
	plan_to(f, w->snap, &req);
	set_of(f, &ours, "git index-pack -o x.idx out.pack >/dev/null; git show-index <x.idx | cut -d' ' -f2");
	assert_within(&ours, &right, &a, "too much");
	assert_within(&right, &ours, &a, "too little");
	set_of(f, &theirs,
	       "for i in %s; do echo $i; done | git -C work pack-objects --revs --stdout -q %s%s >theirs.pack; "
	       "git index-pack -o y.idx theirs.pack >/dev/null; git show-index <y.idx | cut -d' ' -f2",
	       a.want_words, a.count ? "--filter=" : "", a.spec);
	assert_within(&theirs, &ours, &a, "git has more");
	if (a.wants.len == 1 && a.count < 2)
		assert_within(&ours, &theirs, &a, "git has less");
	asked_fini(&a);
}

static void clones(void **state)
{
	struct fx *f = *state;
	struct world w = {.snap = NULL};

	make_world(f, &w, 25);
	for (unsigned i = 0; i < rounds(60); i++)
		one_clone(f, &w);
	world_fini(&w);
}

/* Tags that go along are nobody's want, and still no filter asks for their type. */
static void one_clone_with_tags(struct fx *f, const struct world *w)
{
	struct asked a = {.count = 0};
	WR_AUTO_S(wr_oidmap) ours = {0};
	WR_AUTO_S(wr_oidmap) theirs = {0};
	struct wr_plan_request req = {.wants = &a.wants, .haves = &none, .client_shallow = &none, .include_tag = true};

	do {
		asked_fini(&a);
		a = (struct asked){.count = 0};
		random_request(f, &a, w, false);
	} while (a.wants.len > 1 || a.count > 1);
	req.filter = a.count ? &a.filter : NULL;
	plan_to(f, w->snap, &req);
	set_of(f, &ours, "git index-pack -o x.idx out.pack >/dev/null; git show-index <x.idx | cut -d' ' -f2");
	set_of(f, &theirs,
	       "echo %s | tr -d ' ' | git -C work pack-objects --revs --stdout -q --include-tag %s%s >theirs.pack; "
	       "git index-pack -o y.idx theirs.pack >/dev/null; git show-index <y.idx | cut -d' ' -f2",
	       a.want_words, a.count ? "--filter=" : "", a.spec);
	assert_within(&theirs, &ours, &a, "git has more");
	assert_within(&ours, &theirs, &a, "git has less");
	asked_fini(&a);
}

static void tags_go_along(void **state)
{
	struct fx *f = *state;
	struct world w = {.snap = NULL};

	make_world(f, &w, 25);
	for (unsigned i = 0; i < rounds(25); i++)
		one_clone_with_tags(f, &w);
	world_fini(&w);
}

/* ---- fetches ---- */

/* Of the haves, what the same filter let through. */
static void make_client(struct fx *f, const struct asked *a)
{
	sh(f,
	   "rm -rf client; git init -q --bare client; for i in %s; do echo $i; done | git -C work pack-objects "
	   "--revs -q --stdout %s%s | git -C client index-pack --stdin >/dev/null",
	   a->have_words, a->count ? "--filter=" : "", a->spec);
}

/* The client takes the pack, whose bases it has to have; the ids of what was sent. */
static void client_takes(struct fx *f, struct wr_oidmap *out, uint32_t count, bool thin)
{
	set_of(f, out,
	       "n=$(git -C client index-pack %s --stdin <out.pack | cut -f2); "
	       "git show-index <client/objects/pack/pack-$n.idx | sort -n | head -n %u | cut -d' ' -f2",
	       thin ? "--fix-thin" : "", count);
}

static void one_fetch(struct fx *f, const struct world *w)
{
	struct asked a = {.count = 0};
	WR_AUTO_S(wr_oidmap) ours = {0};
	WR_AUTO_S(wr_oidmap) right = {0};
	WR_AUTO_S(wr_oidmap) direct = {0};
	WR_AUTO_S(wr_oidmap) held = {0};
	WR_AUTO_S(wr_oidmap) old = {0};
	struct wr_plan_request req = {
		.wants = &a.wants, .haves = &a.haves, .client_shallow = &none, .filter = &a.filter};
	struct wr_oid which;

	random_request(f, &a, w, true);
	req.thin = chance(f, 3) > 0;
	req.ofs_delta = chance(f, 2);
	make_client(f, &a);
	client_takes(f, &ours, plan_to(f, w->snap, &req), req.thin);
	expect(f, &right, &a);
	set_of(f, &old, "git -C work rev-list %s", a.have_words);
	set_of(f, &held, "git -C work rev-list --objects --no-object-names %s", a.have_words);
	set_of(f, &direct,
	       "cd work; for i in %s; do git rev-parse $i^{}; done | git cat-file --batch-check | "
	       "grep -v ' commit ' || true",
	       a.want_words);
	assert_within(&ours, &right, &a, "too much");
	assert_within(&direct, &ours, &a, "a tree or blob that is wanted does not come");
	for (size_t i = 0; i < ours.cap; i++)
		if (ours.values[i] && wr_oidmap_has(&old, &ours.keys[i]))
			tell(&a, "the client has this commit", &ours.keys[i]);
	/* All else that is right lies in commits that the client has. */
	for (size_t i = 0; i < ours.cap; i++)
		if (ours.values[i])
			assert_ok(wr_oidmap_add(&held, &ours.keys[i], 0, NULL, NULL));
	if (missing(&which, &right, &held))
		tell(&a, "too little", &which);
	asked_fini(&a);
}

static void fetches(void **state)
{
	struct fx *f = *state;
	struct world w = {.snap = NULL};

	make_world(f, &w, 25);
	for (unsigned i = 0; i < rounds(50); i++)
		one_fetch(f, &w);
	world_fini(&w);
}

/* ---- shallow ---- */

/* One branch's last commits, as git clones them. */
static void one_shallow(struct fx *f, const struct world *w)
{
	struct asked a = {.count = 0};
	WR_AUTO_S(wr_oidmap) ours = {0};
	WR_AUTO_S(wr_oidmap) right = {0};
	WR_AUTO_S(wr_oids) roots = {NULL, 0, 0};
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);
	struct wr_plan_request req = {.wants = &a.wants,
				      .haves = &none,
				      .client_shallow = &none,
				      .new_shallow = &roots,
				      .thin = true,
				      .filter = &a.filter};
	unsigned depth = 1 + chance(f, 4);

	random_filter(f, &a, false);
	assert_ok(wr_oids_add(&a.wants, &w->commits.v[chance(f, (unsigned)w->commits.len)], NULL));
	a.want_words = words(&a.wants);
	a.have_words = words(&a.haves);
	for (unsigned i = 0; i < a.count; i++) {
		WR_AUTO_S(wr_oidmap) part = {0};

		sh(f,
		   "rm -rf theirs; git -C work config uploadpack.allowFilter true; "
		   "git -C work update-ref refs/heads/pick %s; git clone -q --bare --no-tags --single-branch -b pick "
		   "--depth %u --filter=%s file://$PWD/work theirs",
		   a.want_words, depth, a.parts[i]);
		/* Its clone lets tags go along. */
		set_of(f, i ? &part : &right,
		       "git -C theirs cat-file --batch-all-objects --batch-check 2>/dev/null | grep -v ' tag '");
		if (i)
			keep_common(&right, &part);
	}
	sh_out(f, &text, "test ! -e theirs/shallow || cat theirs/shallow; git -C work update-ref -d refs/heads/pick");
	oids_of(&roots, &text);
	plan_to(f, w->snap, &req);
	set_of(f, &ours, "git index-pack -o x.idx out.pack >/dev/null; git show-index <x.idx | cut -d' ' -f2");
	assert_within(&ours, &right, &a, "too much");
	assert_within(&right, &ours, &a, "too little");
	asked_fini(&a);
}

static void shallow_clones(void **state)
{
	struct fx *f = *state;
	struct world w = {.snap = NULL};

	make_world(f, &w, 25);
	for (unsigned i = 0; i < rounds(15); i++)
		one_shallow(f, &w);
	world_fini(&w);
}

/* ---- particular ones ---- */

static const struct wr_plan_item *item_of(const struct wr_plan *plan, const struct wr_oid *oid)
{
	const uint32_t *slot = wr_oidmap_slot(&plan->objects, oid);

	return slot && wr_plan_is_item(*slot - 1) ? &plan->items[*slot - 2] : NULL;
}

/* An object lies deep in one commit, and less deep in another that comes later or earlier in the walk. */
static void the_least_depth_counts(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_filter filter = WR_FILTER_INIT;
	struct wr_plan_request req = {.wants = &wants, .haves = &none, .client_shallow = &none, .filter = &filter};
	struct wr_oid tip, old, inner, leaf;

	sh(f, "git init -q work; cd work; mkdir -p a/b/c; echo x >a/b/c/leaf; git add .; git commit -qm deep; "
	      "git mv a/b/c c; git commit -qm up; mkdir -p a/b; git mv c a/b/c; git commit -qm 'deep again'");
	push_all(f, "work");
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	sh_oid(f, &tip, "git -C work rev-parse HEAD");
	sh_oid(f, &old, "git -C work rev-parse HEAD~2");
	sh_oid(f, &inner, "git -C work rev-parse HEAD:a/b/c");
	sh_oid(f, &leaf, "git -C work rev-parse HEAD:a/b/c/leaf");
	for (uint64_t depth = 0; depth < 6; depth++)
		for (unsigned all = 0; all < 2; all++) {
			WR_AUTO(wr_plan) *plan = NULL;
			/* The first commit has c three levels down, the second one at the top. */
			uint64_t at = all ? 1 : 3;

			wants.len = 0;
			assert_ok(wr_oids_add(&wants, all ? &tip : &old, NULL));
			filter.tree_depth = depth;
			assert_ok(wr_plan_new(&plan, snap, &req, NULL, NULL, &f->err));
			assert_int_equal(item_of(plan, &inner) != NULL, depth > at);
			assert_int_equal(item_of(plan, &leaf) != NULL, depth > at + 1);
		}
}

/* Of a clone without blobs nothing is kept in memory about any, not even that it was left out. */
static void nobody_looks_at_blobs(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_oidmap) known = {0};
	WR_AUTO(wr_plan) *plan = NULL;
	struct wr_filter filter = {0, UINT64_MAX, WR_FILTER_ALL_TYPES};
	struct world w = {.snap = NULL};
	struct wr_plan_request req = {.haves = &none, .client_shallow = &none, .filter = &filter};
	struct wr_oid which;

	make_world(f, &w, 20);
	req.wants = &w.commits;
	assert_ok(wr_plan_new(&plan, w.snap, &req, NULL, NULL, &f->err));
	set_of(f, &known, "git -C work rev-list --objects --branches --no-object-names | git -C work cat-file "
			  "--batch-check | grep -v ' blob '");
	assert_int_equal(missing(&which, &plan->objects, &known), 0);
	assert_int_equal(missing(&which, &known, &plan->objects), 0);
	world_fini(&w);
}

/*
 * A delta's base is in a commit that the client has, but is larger than what it lets through: it may not have it, so
 * what is sent stands on its own.
 */
static void bases_that_were_left_out(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) haves = {NULL, 0, 0};
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_filter filter = WR_FILTER_INIT;
	struct wr_plan_request req = {.wants = &wants,
				      .haves = &haves,
				      .client_shallow = &none,
				      .thin = true,
				      .ofs_delta = true,
				      .filter = &filter};
	struct wr_oid oid;

	/* git makes the smaller and older one the delta. */
	sh(f, "git init -q work; cd work; seq 1 400 >f; git add f; git commit -qm large; git branch large; "
	      "seq 1 390 >f; git commit -qam small; git repack -adfq; "
	      "git verify-pack -v .git/objects/pack/*.idx | grep "
	      "\"$(git rev-parse HEAD:f) blob\" | grep -q \"$(git rev-parse large:f)\"");
	push_all(f, "work");
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	sh_oid(f, &oid, "git -C work rev-parse HEAD");
	assert_ok(wr_oids_add(&wants, &oid, NULL));
	sh_oid(f, &oid, "git -C work rev-parse large");
	assert_ok(wr_oids_add(&haves, &oid, NULL));
	for (unsigned i = 0; i < 4; i++) {
		/* Neither; the small one only; both; the blob by its own id, out of a clone without blobs. */
		static const uint64_t limits[] = {UINT64_MAX, 1485, 1493, 0};

		filter.blob_limit = limits[i];
		if (i == 3) {
			sh_oid(f, &oid, "git -C work rev-parse HEAD:f");
			wants.v[0] = oid;
		}
		plan_to(f, snap, &req);
		sh(f,
		   "rm -rf client; git init -q --bare client; git -C work rev-parse large | git -C work pack-objects "
		   "--revs -q --stdout --filter=blob:limit=%llu | git -C client index-pack --stdin >/dev/null; "
		   "git -C client index-pack --fix-thin --stdin <out.pack >/dev/null; "
		   "test $(git -C client cat-file -s $(git -C work rev-parse HEAD:f)) = 1452",
		   (unsigned long long)(limits[i] == UINT64_MAX ? 1000000 : limits[i]));
	}
}

/* Who asks for files and folders by their ids gets them, though he has a commit that holds them. */
static void objects_by_their_ids(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) haves = {NULL, 0, 0};
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_filter filter = {0, 0, WR_FILTER_ALL_TYPES};
	struct wr_plan_request req = {.wants = &wants, .haves = &haves, .client_shallow = &none};
	struct wr_oid tip;

	sh(f, "git init -q work; cd work; mkdir -p d/e; echo 1 >d/e/f; echo 2 >g; git add .; git commit -qm 1");
	push_all(f, "work");
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	sh_oid(f, &tip, "git -C work rev-parse HEAD");
	assert_ok(wr_oids_add(&haves, &tip, NULL));
	for (unsigned i = 0; i < 2; i++) {
		WR_AUTO_S(wr_buf) text = WR_BUF_INIT(4096);

		wants.len = 0;
		sh_out(f, &text, "git -C work rev-parse HEAD:g HEAD:d HEAD HEAD:g HEAD:d");
		oids_of(&wants, &text);
		req.filter = i ? &filter : NULL;
		assert_int_equal(plan_to(f, snap, &req), 2);
		sh(f, "git index-pack -o x.idx out.pack >/dev/null; git show-index <x.idx | cut -d' ' -f2 | sort >got; "
		      "git -C work rev-parse HEAD:g HEAD:d | sort | cmp - got");
	}
	/* Without haves the whole folder comes, but for what a filter leaves out of it. */
	haves.len = 0;
	req.filter = NULL;
	assert_int_equal(plan_to(f, snap, &req), 6);
	req.filter = &filter;
	assert_int_equal(plan_to(f, snap, &req), 3);
	filter.tree_depth = 1;
	assert_int_equal(plan_to(f, snap, &req), 5);
	filter.tree_depth = UINT64_MAX;
	filter.types = 1u << WR_BLOB;
	filter.blob_limit = UINT64_MAX;
	wants.len = 2;
	assert_int_equal(plan_to(f, snap, &req), 3);
}

/* Deeper than any stack of calls would stand, and cut at any level. */
static void nested_folders(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_oids) wants = {NULL, 0, 0};
	WR_AUTO(wr_quarantine) *q = NULL;
	WR_AUTO(wr_snapshot) *snap = NULL;
	struct wr_ref_update u = {.name = WR_S("refs/x/deep"), .any_old = true};
	struct wr_change change = {.updates = &u, .count = 1};
	struct wr_filter filter = WR_FILTER_INIT;
	struct wr_plan_request req = {.wants = &wants, .haves = &none, .client_shallow = &none, .filter = &filter};
	static const uint64_t depths[] = {0, 1, 2, 999, 4999, 5000, 5001, UINT64_MAX - 1, UINT64_MAX};
	char entry[8 + WR_OID_RAW] = "40000 d";
	struct wr_oid oid;

	assert_ok(wr_quarantine_new(&q, f->repo, &f->err));
	assert_ok(wr_quarantine_add(&oid, q, WR_TREE, WR_S(""), NULL, &f->err));
	for (int i = 0; i < 5000; i++) {
		memcpy(entry + 8, oid.id, WR_OID_RAW);
		assert_ok(wr_quarantine_add(&oid, q, WR_TREE, wr_str_n(entry, sizeof(entry)), NULL, &f->err));
	}
	u.new = oid;
	change.objects = q;
	assert_ok(wr_git_append(f->repo, &change, &f->err));
	assert_ok(u.result);
	assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
	assert_ok(wr_oids_add(&wants, &oid, NULL));
	for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++) {
		filter.tree_depth = depths[i];
		assert_int_equal(plan_to(f, snap, &req), 1 + (depths[i] < 5000 ? depths[i] : 5000));
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
	const struct CMUnitTest tests[] = {
		T(clones),		  T(tags_go_along),
		T(fetches),		  T(shallow_clones),
		T(the_least_depth_counts),
		T(nobody_looks_at_blobs),
		T(bases_that_were_left_out),
		T(objects_by_their_ids),
		T(nested_folders),
	};

	return cmocka_run_group_tests_name("git_plan_filter", tests, NULL, NULL);
}
