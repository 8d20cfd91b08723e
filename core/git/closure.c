#include "core/git/closure.h"

#include "core/git/graph.h"
#include "core/git/parse.h"

/*
 * Bases of one history that are read in its order. A few versions of the largest folders and their subfolders, times
 * the length of a chain.
 */
#define CACHE_BYTES ((size_t)48 << 20)
#define RECENT 65536u

struct wr_closure_item {
	struct wr_place place;
	uint32_t type; /* enum wr_type, as what refers to it says */
};

static uint32_t source_count(const struct wr_snapshot *snap, size_t src)
{
	return src < snap->member_count ? snap->members[src].pack->count : snap->limits[src - snap->member_count];
}

static int by_id(const void *a, const void *b)
{
	return wr_oid_cmp(a, b);
}

enum wr_code wr_closure_init(struct wr_closure *c, const struct wr_snapshot *snap, bool gains,
			     const struct wr_cancel *cancel, struct wr_error *err)
{
	size_t sources = snap->member_count + snap->journal_count;
	enum wr_code code;

	*c = (struct wr_closure){.snap = snap, .cancel = cancel, .gains = gains, .sources = sources};
	c->marks = calloc(sources + 1, sizeof *c->marks);
	c->counts = calloc(sources + 1, sizeof *c->counts);
	c->marked = calloc(sources + 1, sizeof *c->marked);
	c->recent = calloc(RECENT, sizeof *c->recent);
	c->recent_types = calloc(RECENT, sizeof *c->recent_types);
	if (!c->marks || !c->counts || !c->marked || !c->recent || !c->recent_types)
		return wr_fail_nomem(err);
	/* An id that belongs to another slot, lest the zeros of this one pass for an id that was met. */
	memset(c->recent, 0xff, sizeof *c->recent);
	for (size_t i = 0; i < sources; i++) {
		c->counts[i] = source_count(snap, i);
		c->marks[i] = calloc((size_t)c->counts[i] / 64 + 1, sizeof **c->marks);
		if (!c->marks[i])
			return wr_fail_nomem(err);
	}
	if (snap->stored && (code = wr_refsfile_shallow(&c->shallow, snap->stored, err)) != WR_OK)
		return code;
	if (c->shallow.len)
		qsort(c->shallow.v, c->shallow.len, sizeof *c->shallow.v, by_id);
	return wr_cache_new(&c->cache, CACHE_BYTES, err);
}

void wr_closure_fini(struct wr_closure *c)
{
	for (size_t i = 0; c->marks && i < c->sources; i++)
		free(c->marks[i]);
	free(c->marks);
	free(c->counts);
	free(c->marked);
	free(c->recent);
	free(c->recent_types);
	free(c->stack);
	wr_oids_fini(&c->shallow);
	wr_cache_free(c->cache);
	*c = (struct wr_closure){.snap = NULL};
}

bool wr_closure_is_head_or_tag(struct wr_str name)
{
	return wr_str_starts(name, WR_S("refs/heads/")) || wr_str_starts(name, WR_S("refs/tags/"));
}

bool wr_closure_home(struct wr_place *out, const struct wr_closure *c, const struct wr_oid *oid)
{
	const struct wr_snapshot *snap = c->snap;
	uint32_t pos;

	for (size_t i = 0; i < snap->member_count; i++) {
		const struct wr_member *m = &snap->members[i];

		if (!wr_closure_role(m->role) || !wr_pack_find(&pos, m->pack, oid) || wr_dead_is_gone(m->dead, pos))
			continue;
		*out = (struct wr_place){(uint32_t)i, pos};
		return true;
	}
	return wr_snapshot_find(out, snap, oid);
}

static bool alive_before(const struct wr_closure *c, struct wr_place home)
{
	const struct wr_member *m = home.src < c->snap->member_count ? &c->snap->members[home.src] : NULL;

	return m && wr_closure_role(m->role) && !wr_dead_has(m->dead, home.pos);
}

bool wr_closure_has(const struct wr_closure *c, struct wr_place home)
{
	return wr_closure_marked(c, home) || (c->gains && alive_before(c, home));
}

static enum wr_code told(const struct wr_closure *c, const struct wr_oid *oid, enum wr_type type, enum wr_code code,
			 struct wr_error *err)
{
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;

	if (code == WR_E_CANCELLED || code == WR_E_UNAVAILABLE || !c->bad)
		return code;
	if (err)
		wr_error_move(&why, err);
	return c->bad(c->arg, oid, type, &why);
}

static enum wr_code missing(const struct wr_closure *c, const struct wr_oid *oid, enum wr_type type,
			    struct wr_error *err)
{
	char hex[WR_OID_HEX + 1];
	enum wr_code code;

	wr_oid_hex(hex, oid);
	code = wr_fail(err, WR_E_INTERNAL, "%s %s is missing", type ? wr_type_name(type) : "object", hex);
	return told(c, oid, type, code, err);
}

static enum wr_code push(struct wr_closure *c, struct wr_place place, enum wr_type type, struct wr_error *err)
{
	if (c->len == c->cap) {
		size_t cap = c->cap ? c->cap * 2 : 1024;
		struct wr_closure_item *v = reallocarray(c->stack, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(err);
		c->stack = v;
		c->cap = cap;
	}
	c->stack[c->len++] = (struct wr_closure_item){place, type};
	return WR_OK;
}

/* Something refers to oid as an object of this type. */
static enum wr_code reach(struct wr_closure *c, const struct wr_oid *oid, enum wr_type type, struct wr_error *err)
{
	size_t slot = (size_t)oid->id[0] << 8 | oid->id[1];
	struct wr_place home;
	enum wr_code code;

	if (wr_oid_eq(&c->recent[slot], oid) && c->recent_types[slot] == type)
		return WR_OK;
	if (!wr_closure_home(&home, c, oid))
		return missing(c, oid, type, err);
	c->recent[slot] = *oid;
	c->recent_types[slot] = (uint8_t)type;
	if (wr_closure_has(c, home))
		return c->again ? c->again(c->arg, home, oid, type, err) : WR_OK;
	c->marks[home.src][home.pos / 64] |= UINT64_C(1) << (home.pos % 64);
	c->marked[home.src]++;
	if (c->reached && (code = c->reached(c->arg, home, oid, type, err)) != WR_OK)
		return code;
	return type == WR_BLOB ? WR_OK : push(c, home, type, err);
}

static bool is_shallow(const struct wr_closure *c, const struct wr_oid *oid)
{
	return c->shallow.len && bsearch(oid, c->shallow.v, c->shallow.len, sizeof *oid, by_id);
}

/* The tree goes on top: the trees of one commit are read before those of the next, which are deltas on them. */
static enum wr_code enter_commit(struct wr_closure *c, const struct wr_oid *oid, struct wr_str bytes,
				 struct wr_error *err)
{
	WR_AUTO_S(wr_commit) commit = {.parents = NULL};
	enum wr_code code = wr_commit_parse(&commit, bytes, err);

	if (code == WR_OK && is_shallow(c, oid))
		commit.parent_count = 0;
	for (size_t i = commit.parent_count; code == WR_OK && i > 0; i--)
		code = reach(c, &commit.parents[i - 1], WR_COMMIT, err);
	return code == WR_OK ? reach(c, &commit.tree, WR_TREE, err) : code;
}

static enum wr_code enter_tree(struct wr_closure *c, struct wr_str bytes, struct wr_error *err)
{
	struct wr_tree_entry e;
	enum wr_code code;

	while ((code = wr_tree_next(&e, &bytes, err)) == WR_OK) {
		if (e.mode == WR_MODE_LINK)
			continue;
		code = reach(c, &e.oid, e.mode == WR_MODE_TREE ? WR_TREE : WR_BLOB, err);
		if (code != WR_OK)
			return code;
	}
	return code == WR_E_NOT_THERE ? WR_OK : code;
}

static enum wr_code enter_tag(struct wr_closure *c, struct wr_str bytes, struct wr_error *err)
{
	struct wr_oid target;
	enum wr_type type;
	enum wr_code code = wr_tag_parse(&target, &type, bytes, err);

	return code == WR_OK ? reach(c, &target, type, err) : code;
}

static enum wr_code enter(struct wr_closure *c, const struct wr_oid *oid, enum wr_type wanted, struct wr_error *err)
{
	char hex[WR_OID_HEX + 1];
	enum wr_type type;
	struct wr_str bytes;
	enum wr_code code = wr_snapshot_borrow(&type, &bytes, c->snap, oid, c->cache, err);

	if (code != WR_OK)
		return code;
	wr_oid_hex(hex, oid);
	if (type != wanted)
		return wr_fail(err, WR_E_INTERNAL, "%s is a %s where a %s is needed", hex, wr_type_name(type),
			       wr_type_name(wanted));
	code = type == WR_COMMIT ? enter_commit(c, oid, bytes, err)
	       : type == WR_TREE ? enter_tree(c, bytes, err)
				 : enter_tag(c, bytes, err);
	return code == WR_E_BAD_PACK ? wr_fail(err, WR_E_INTERNAL, "%s %s is damaged", wr_type_name(type), hex) : code;
}

static enum wr_code drain(struct wr_closure *c, struct wr_error *err)
{
	enum wr_code code;

	while (c->len) {
		struct wr_closure_item item = c->stack[--c->len];
		struct wr_oid oid;

		if (++c->steps % 1024 == 0 && (code = wr_cancelled(c->cancel, err)) != WR_OK)
			return code;
		wr_snapshot_oid(&oid, c->snap, item.place);
		code = enter(c, &oid, (enum wr_type)item.type, err);
		if (code != WR_OK && (code = told(c, &oid, (enum wr_type)item.type, code, err)) != WR_OK)
			return code;
	}
	return WR_OK;
}

enum wr_code wr_closure_walk_from(struct wr_closure *c, const struct wr_oid *tip, struct wr_error *err)
{
	enum wr_type type = 0;
	struct wr_place home;
	enum wr_code code;

	if (wr_closure_home(&home, c, tip) && wr_closure_has(c, home))
		return WR_OK;
	code = wr_snapshot_stat(c->snap, tip, &type, NULL, err);
	if (code == WR_E_NOT_THERE)
		return missing(c, tip, 0, err);
	if (code == WR_OK)
		code = reach(c, tip, type, err);
	else
		code = told(c, tip, 0, code, err);
	return code == WR_OK ? drain(c, err) : code;
}

/* Refs that did not change since the checkpoint lead to nothing that it lacks. */
static enum wr_code walk_changed(struct wr_closure *c, struct wr_error *err)
{
	const struct wr_overlay *changed = c->snap->overlay;
	enum wr_code code = WR_OK;

	for (size_t i = 0; changed && i < changed->count && code == WR_OK; i++)
		if (!wr_oid_zero(&changed->v[i].oid) && wr_closure_is_head_or_tag(changed->v[i].name))
			code = wr_closure_walk_from(c, &changed->v[i].oid, err);
	return code;
}

static enum wr_code walk_all(struct wr_closure *c, struct wr_str from, struct wr_error *err)
{
	struct wr_ref_cursor cursor;
	struct wr_ref ref;
	enum wr_code code = WR_OK;

	wr_ref_cursor_init(&cursor, c->snap, from);
	while (code == WR_OK && wr_ref_cursor_next(&ref, &cursor) && wr_str_starts(ref.name, from))
		code = wr_closure_walk_from(c, &ref.oid, err);
	return code;
}

enum wr_code wr_closure_walk_others(struct wr_closure *c, struct wr_error *err)
{
	struct wr_ref_cursor cursor;
	struct wr_ref ref;
	enum wr_code code = WR_OK;

	wr_ref_cursor_init(&cursor, c->snap, WR_S(""));
	while (code == WR_OK && wr_ref_cursor_next(&ref, &cursor))
		if (!wr_closure_is_head_or_tag(ref.name))
			code = wr_closure_walk_from(c, &ref.oid, err);
	return code;
}

enum wr_code wr_closure_walk(struct wr_closure *c, bool others, struct wr_error *err)
{
	enum wr_code code;

	if (c->gains)
		return walk_changed(c, err);
	if ((code = walk_all(c, WR_S("refs/heads/"), err)) != WR_OK ||
	    (code = walk_all(c, WR_S("refs/tags/"), err)) != WR_OK)
		return code;
	return others ? wr_closure_walk_others(c, err) : WR_OK;
}
