/*
 * tests/unit/store_pushes.h: pushes chosen by chance, which bring all that they need, or rely on what no ref reaches
 * any more, and what has to become of them.
 */
#ifndef STORE_PUSHES_H
#define STORE_PUSHES_H

#include "tests/unit/store_model.h"

#define UPDATES 3

struct pushing {
	struct place *p; /* NULL: none */
	struct wr_git_repo *repo;
	struct wr_quarantine *q;
	unsigned n, ref[UPDATES];
	uint32_t value[UPDATES]; /* NONE: is deleted */
	bool wrong[UPDATES];	 /* with another old value than there is */
	bool atomic;
	set sent, bases; /* in the pack; elsewhere, and deltas in the pack build on them */
	set whole;	 /* all that values and whatever else is in the pack reach */
	int64_t began;
	bool lacked; /* something then, which may have come since */
};

/* A check of the repository p. */
#define must_be(m, p, cond, ...)                                                                                       \
	do {                                                                                                           \
		if (!(cond)) {                                                                                         \
			fprintf(stderr, "%s: ", (p)->id);                                                              \
			fail_msg(__VA_ARGS__);                                                                         \
		}                                                                                                      \
	} while (0)

static inline uint32_t pick(struct model *m, const set from, enum wr_type type)
{
	uint32_t n = 0, found = NONE;

	for (uint32_t o = 0; o < m->count; o++)
		if (from[o] && (type == 0 || m->objects[o].type == type) && chance(m->f, ++n) == 0)
			found = o;
	return found;
}

static inline struct place *some_place(struct model *m)
{
	return m->places[chance(m->f, m->place_count)];
}

/* ---- packs ---- */

static inline void put_size(struct wr_buf *out, size_t n)
{
	for (; n >= 0x80; n >>= 7)
		wr_buf_addc(out, (char)(n | 0x80));
	wr_buf_addc(out, (char)n);
}

static inline void delta_of(struct wr_buf *out, struct wr_str base, struct wr_str target)
{
	size_t same = 0;

	put_size(out, base.len);
	put_size(out, target.len);
	while (same < base.len && same < target.len && same < 0xffff && base.ptr[same] == target.ptr[same])
		same++;
	if (same) {
		wr_buf_addc(out, (char)0xb0);
		wr_buf_addc(out, (char)same);
		wr_buf_addc(out, (char)(same >> 8));
	}
	for (struct wr_str rest = wr_str_skip(target, same); rest.len;) {
		size_t n = rest.len < 127 ? rest.len : 127;

		wr_buf_addc(out, (char)n);
		wr_buf_add(out, rest.ptr, n);
		rest = wr_str_skip(rest, n);
	}
}

static inline void put_object(struct model *m, struct pb *b, struct pushing *x, const set reached, uint32_t o)
{
	const struct object *obj = &m->objects[o];
	WR_AUTO_S(wr_buf) delta = WR_BUF_INIT(1 << 17);

	if (obj->like == NONE || (!x->sent[obj->like] && !reached[obj->like]) || chance(m->f, 3) == 0) {
		pb_object(b, obj->type, content(m, o));
		return;
	}
	delta_of(&delta, content(m, obj->like), content(m, o));
	pb_ref_delta(b, &m->objects[obj->like].oid, wr_buf_str(&delta));
	x->bases[obj->like] = !x->sent[obj->like];
}

static inline enum wr_code take_in(struct model *m, struct pushing *x, const set reached)
{
	struct pb b;
	struct dribble src = {{dribble_read}, {NULL, 0}, 1000};
	bool backwards = chance(m->f, 2);
	uint32_t n = 0;
	enum wr_code code;

	for (uint32_t o = 0; o < m->count; o++)
		n += x->sent[o];
	pb_begin(&b, n);
	for (uint32_t i = 0; i < m->count; i++) {
		uint32_t o = backwards ? m->count - 1 - i : i;

		if (x->sent[o])
			put_object(m, &b, x, reached, o);
	}
	src.rest = pb_end(&b);
	code = wr_quarantine_pack(x->q, &src.base, NULL, NULL, &m->f->err);
	wr_buf_fini(&b.out);
	return code;
}

/* As the server makes them itself. */
static inline enum wr_code make_each(struct model *m, struct pushing *x, const set reached)
{
	enum wr_code code = WR_OK;

	for (uint32_t o = 0; o < m->count && code == WR_OK; o++) {
		const struct object *obj = &m->objects[o];
		bool resembles = obj->like != NONE && reached[obj->like];
		struct wr_like like = {.oid = resembles ? m->objects[obj->like].oid : obj->oid};
		struct wr_oid oid;

		if (!x->sent[o])
			continue;
		x->bases[obj->like == NONE ? o : obj->like] |= resembles;
		code = wr_quarantine_add(&oid, x->q, obj->type, content(m, o), resembles ? &like : NULL, &m->f->err);
		assert_true(code != WR_OK || wr_oid_eq(&oid, &obj->oid));
	}
	return code;
}

/* ---- pushes ---- */

/* Whether all of whole[] that does not come along is there. */
static inline enum sure needs(struct model *m, const struct pushing *x, const set whole)
{
	enum sure all = THERE, one;
	set reached;

	reached_by(m, reached, x->p);
	for (uint32_t o = 0; o < m->count && all != GONE; o++) {
		if (whole[o] ? x->sent[o] : !x->bases[o])
			continue;
		one = is_there(x->p, o, reached);
		/* A base may have been completed already. */
		if (!whole[o] && one == GONE)
			one = EITHER;
		all = one == THERE ? all : one;
	}
	/* What it is checked against may have changed too much meanwhile. */
	return all == THERE && model_clock - x->began >= GRACE ? EITHER : all;
}

static inline void refused_rightly(struct model *m, const struct pushing *x)
{
	const struct wr_error *err = &m->f->err;

	must_be(m, x->p, err->code == WR_E_BAD_PACK && (x->lacked || needs(m, x, x->whole) != THERE),
		"refused, and all is there: %s %s", err->text, err->detail);
	must_be(m, x->p, strstr(err->text, "missing") || strstr(err->text, "took so long"), "%s", err->text);
	m->refused++;
}

/* A commit on one of refs or on one that no ref reaches, or that one itself. */
static inline uint32_t commit_for(struct model *m, uint32_t old, const set reached, const set lost)
{
	set own = {0};
	uint32_t parents[2] = {pick(m, chance(m->f, 2) ? lost : reached, WR_COMMIT), pick(m, reached, WR_COMMIT)};
	uint32_t tree = chance(m->f, 15) ? NONE : pick(m, lost, WR_TREE);
	bool merge;

	if (tree != NONE)
		return commit_of(m, tree, NULL, 0);
	if (parents[0] != NONE && chance(m->f, 3) == 0)
		return parents[0];
	if (old != NONE && chance(m->f, 3) == 0) {
		/* Back. */
		reach(m, own, old, NULL);
		parents[0] = pick(m, own, WR_COMMIT);
	} else if (old != NONE && m->objects[old].type == WR_COMMIT && chance(m->f, 4)) {
		parents[0] = old;
	}
	if (parents[0] == NONE || chance(m->f, 12) == 0)
		return some_commit_on(m, NULL, 0);
	merge = parents[1] != NONE && parents[1] != parents[0] && chance(m->f, 8) == 0;
	return some_commit_on(m, parents, 1 + merge);
}

static inline uint32_t value_for(struct model *m, const struct place *p, unsigned ref, const set reached,
				 const set lost)
{
	uint32_t value;

	if (is_pull(ref) && chance(m->f, 2))
		return chance(m->f, 2) ? pick(m, reached, 0) : some_blob(m);
	value = commit_for(m, p->refs[ref], reached, lost);
	return !is_head(ref) && chance(m->f, 2) ? tag_of(m, value) : value;
}

static inline void choose_updates(struct model *m, struct pushing *x, const set reached, const set lost)
{
	unsigned n = chance(m->f, 4) ? 1 : UPDATES;

	for (unsigned i = 0; i < n; i++) {
		unsigned ref = chance(m->f, REFS);
		uint32_t old = x->p->refs[ref], value;
		bool again = full(m);

		for (unsigned k = 0; k < x->n; k++)
			again |= x->ref[k] == ref;
		if (again)
			continue;
		value = old != NONE && chance(m->f, 4) == 0 ? NONE : value_for(m, x->p, ref, reached, lost);
		if (value == old)
			continue;
		x->ref[x->n] = ref;
		x->value[x->n] = value;
		x->wrong[x->n++] = chance(m->f, 25) == 0;
	}
	x->atomic = chance(m->f, 4) == 0;
}

/* What comes along: what no ref reaches; or only what was never here; or everything. */
static inline void choose_objects(struct model *m, struct pushing *x, const set reached)
{
	static const set none;
	unsigned how = chance(m->f, 10);
	const uint8_t *known = how == 0 ? none : how < 6 ? reached : x->p->ever;
	uint32_t parent = pick(m, reached, WR_COMMIT);
	uint32_t spare = chance(m->f, 15) ? NONE : some_commit_on(m, &parent, parent != NONE);

	for (unsigned i = 0; i < x->n; i++) {
		reach(m, x->sent, x->value[i], known);
		reach(m, x->whole, x->value[i], NULL);
	}
	reach(m, x->sent, spare, known);
	reach(m, x->whole, spare, NULL);
}

static inline void give_up(struct pushing *x)
{
	wr_quarantine_free(x->q);
	memset(x, 0, sizeof *x);
}

/* Up to the quarantine. false: it came to nothing. */
static inline bool begin_push(struct model *m, struct pushing *x, struct place *p)
{
	set reached, lost;
	enum wr_code code;
	bool any = false;

	memset(x, 0, sizeof *x);
	x->p = p;
	x->repo = p->repo;
	x->began = model_clock;
	reached_by(m, reached, p);
	for (uint32_t o = 0; o < OBJECTS; o++)
		lost[o] = p->ever[o] && !reached[o];
	choose_updates(m, x, reached, lost);
	if (x->n == 0)
		return false;
	choose_objects(m, x, reached);
	for (uint32_t o = 0; o < m->count; o++)
		any |= x->sent[o];
	if (!any)
		return true;
	x->lacked = needs(m, x, x->whole) != THERE;
	assert_ok(wr_quarantine_new(&x->q, x->repo, &m->f->err));
	code = chance(m->f, 4) ? take_in(m, x, reached) : make_each(m, x, reached);
	if (code == WR_OK)
		return true;
	refused_rightly(m, x);
	give_up(x);
	return false;
}

static inline void other_oid(struct model *m, struct wr_oid *out, uint32_t than)
{
	do
		*out = m->objects[chance(m->f, m->count)].oid;
	while (than != NONE && wr_oid_eq(out, &m->objects[than].oid));
}

/* *may_fail: by itself, whatever becomes of the others. */
static inline void judge_update(bool *may_fail, struct model *m, const struct pushing *x, unsigned i,
				const struct wr_ref_update *u)
{
	set whole = {0};
	enum sure sure;

	reach(m, whole, x->value[i], NULL);
	sure = x->wrong[i] ? GONE : needs(m, x, whole);
	*may_fail |= sure != THERE;
	must_be(m, x->p, u->result == WR_OK ? sure != GONE : sure != THERE || x->atomic, "%s: %d %s, where %s",
		ref_names[x->ref[i]], u->result, u->reason, sure == GONE ? "something is gone" : "all is there");
}

static inline void end_push(struct model *m, struct pushing *x)
{
	struct wr_ref_update u[UPDATES] = {{.old = {{0}}}};
	struct wr_change change = {.updates = u, .count = x->n, .atomic = x->atomic, .objects = x->q};
	bool any = false, failed = false, may_fail = false;
	set before;

	for (unsigned i = 0; i < x->n; i++) {
		uint32_t old = x->p->refs[x->ref[i]];

		u[i].name = wr_str(ref_names[x->ref[i]]);
		if (old != NONE)
			u[i].old = m->objects[old].oid;
		if (x->wrong[i])
			other_oid(m, &u[i].old, old);
		if (x->value[i] != NONE)
			u[i].new = m->objects[x->value[i]].oid;
	}
	if (wr_git_append(x->repo, &change, &m->f->err) != WR_OK) {
		refused_rightly(m, x);
		give_up(x);
		return;
	}
	for (unsigned i = 0; i < x->n; i++) {
		failed |= u[i].result != WR_OK;
		judge_update(&may_fail, m, x, i, &u[i]);
	}
	must_be(m, x->p, may_fail || !failed, "refused for no reason: %s", u[0].reason);
	reached_by(m, before, x->p);
	for (unsigned i = 0; i < x->n; i++) {
		must_be(m, x->p, !x->atomic || failed == (u[i].result != WR_OK), "an atomic push in part");
		if (u[i].result != WR_OK)
			continue;
		/* What is so already is no event. */
		x->p->updates += x->p->refs[x->ref[i]] != x->value[i];
		x->p->refs[x->ref[i]] = x->value[i];
		any = true;
	}
	for (uint32_t o = 0; o < m->count && any; o++)
		m->relied += x->whole[o] && !x->sent[o] && !before[o];
	if (any)
		refs_changed(m, x->p, before, x->whole);
	give_up(x);
}

#endif
