#include "core/git/unreached.h"

#include "core/git/mtimes.h"

#define SECOND 1000

void wr_unreached_fini(struct wr_unreached *u)
{
	wr_marks_fini(&u->others);
	wr_marks_fini(&u->young);
	free(u->other_counts);
	free(u->young_counts);
	free(u->looked);
	free(u->v);
}

bool wr_closure_at_home(const struct wr_closure *closure, struct wr_place place)
{
	struct wr_place home;
	struct wr_oid oid;

	wr_snapshot_oid(&oid, closure->snap, place);
	return wr_closure_home(&home, closure, &oid) && home.src == place.src && home.pos == place.pos;
}

static int by_home(const void *a, const void *b)
{
	const struct wr_unreached_item *x = a, *y = b;

	if (x->home.src != y->home.src)
		return x->home.src < y->home.src ? -1 : 1;
	return (x->home.pos > y->home.pos) - (x->home.pos < y->home.pos);
}

const struct wr_unreached_item *wr_unreached_at(const struct wr_unreached *u, struct wr_place home)
{
	const struct wr_unreached_item key = {.home = home};

	return u->len ? bsearch(&key, u->v, u->len, sizeof *u->v, by_home) : NULL;
}

static const struct wr_member *member(const struct wr_unreached *u, size_t src)
{
	return src < u->snap->member_count ? &u->snap->members[src] : NULL;
}

/* since: 0 for one that is new. */
static enum wr_code add(struct wr_unreached *u, struct wr_place home, uint32_t since)
{
	if (u->len == u->cap) {
		size_t cap = u->cap ? u->cap * 2 : 256;
		struct wr_unreached_item *v = reallocarray(u->v, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(u->err);
		u->v = v;
		u->cap = cap;
	}
	u->v[u->len++] = (struct wr_unreached_item){.home = home,
						    .since = since && since < u->now ? since : u->now,
						    .is_new = since == 0,
						    .was_ahead = since > u->now};
	return WR_OK;
}

/* ---- what other refs reach ---- */

static bool other_ref_changed(const struct wr_snapshot *snap)
{
	for (size_t i = 0; snap->overlay && i < snap->overlay->count; i++)
		if (!wr_closure_is_head_or_tag(snap->overlay->v[i].name))
			return true;
	return false;
}

static enum wr_code is_others(void *arg, struct wr_place home, const struct wr_oid *oid, enum wr_type type,
			      struct wr_error *err)
{
	struct wr_unreached *u = arg;

	(void)oid;
	(void)type;
	(void)err;
	u->other_counts[home.src] += wr_marks_add(&u->others, home);
	return WR_OK;
}

static enum wr_code walk_others(struct wr_unreached *u)
{
	struct wr_closure *c = u->closure;
	enum wr_code code;

	u->walked = !c->gains || u->all || !u->snap->stored || !wr_refsfile_sorted(u->snap->stored) ||
		    other_ref_changed(u->snap);
	if (!u->walked)
		return WR_OK;
	c->reached = is_others;
	c->arg = u;
	code = wr_closure_walk_others(c, u->err);
	c->reached = NULL;
	return code;
}

/* ---- what none reaches, but for cruft ---- */

/* Whether the last checkpoint had the object among those of other refs. */
static bool was_others(const struct wr_unreached *u, struct wr_place place)
{
	struct wr_oid oid;
	uint32_t pos;

	wr_snapshot_oid(&oid, u->snap, place);
	for (size_t i = 0; i < u->listed; i++) {
		const struct wr_member *m = &u->snap->members[i];

		if (m->role == WR_ROLE_OTHER && wr_pack_find(&pos, m->pack, &oid) && !wr_dead_has(m->dead, pos))
			return true;
	}
	return false;
}

/* An entry of base or tail that the closure does not have. */
static enum wr_code look_at_dead(struct wr_unreached *u, struct wr_place place, uint32_t since)
{
	if (wr_closure_marked(u->closure, place) || since == WR_DEAD_GONE || (since == 0 && !u->walked))
		return WR_OK;
	return add(u, place, since);
}

static enum wr_code look_at_kin(struct wr_unreached *u, uint32_t src)
{
	const struct wr_member *m = member(u, src);
	enum wr_code code = WR_OK;

	u->looked[src] = true;
	if (u->closure->gains) {
		for (uint32_t i = 0; m->dead && i < m->dead->count && code == WR_OK; i++)
			code = look_at_dead(u, (struct wr_place){src, m->dead->v[i]}, m->dead->since[i]);
		return code;
	}
	for (uint32_t pos = 0; pos < m->pack->count && code == WR_OK; pos++)
		code = look_at_dead(u, (struct wr_place){src, pos}, wr_dead_since(m->dead, pos));
	return code;
}

static enum wr_code look_at_home(struct wr_unreached *u, struct wr_place place, uint32_t since)
{
	if (wr_closure_marked(u->closure, place) || since == WR_DEAD_GONE || !wr_closure_at_home(u->closure, place))
		return WR_OK;
	return add(u, place, since);
}

/* A pack of objects of other refs. Where nobody walked they are still reached, but those that had a time before. */
static enum wr_code look_at_other(struct wr_unreached *u, uint32_t src)
{
	const struct wr_member *m = member(u, src);
	enum wr_code code = WR_OK;

	u->looked[src] = u->walked || u->closure->marked[src];
	if (!u->walked) {
		for (uint32_t i = 0; m->dead && i < m->dead->count && code == WR_OK; i++) {
			size_t before = u->len;

			code = look_at_home(u, (struct wr_place){src, m->dead->v[i]}, m->dead->since[i]);
			/* Reached again, or come again; or it gets another time. */
			u->looked[src] |= u->len == before ? m->dead->since[i] != WR_DEAD_GONE : u->v[before].was_ahead;
		}
		return code;
	}
	for (uint32_t pos = 0; pos < m->pack->count && code == WR_OK; pos++)
		code = look_at_home(u, (struct wr_place){src, pos}, wr_dead_since(m->dead, pos));
	return code;
}

/* What came since the last checkpoint, in a pack or a journal. */
static enum wr_code look_at_new(struct wr_unreached *u, uint32_t src)
{
	const struct wr_closure *c = u->closure;
	enum wr_code code = WR_OK;

	u->looked[src] = true;
	for (uint32_t pos = 0; c->marked[src] < c->counts[src] && pos < c->counts[src] && code == WR_OK; pos++) {
		struct wr_place place = {src, pos};

		if (wr_closure_marked(c, place) || !wr_closure_at_home(c, place) || (!u->walked && was_others(u, place)))
			continue;
		code = add(u, place, 0);
	}
	return code;
}

static enum wr_code look_at_all_but_cruft(struct wr_unreached *u)
{
	enum wr_code code = WR_OK;

	for (uint32_t src = 0; src < u->closure->sources && code == WR_OK; src++) {
		const struct wr_member *m = member(u, src);

		if (m && wr_closure_role(m->role))
			code = look_at_kin(u, src);
		else if (!m || src >= u->listed)
			code = look_at_new(u, src);
		else if (m->role == WR_ROLE_OTHER)
			code = look_at_other(u, src);
	}
	return code;
}

/* ---- what new ones reach is as young as they are ---- */

static enum wr_code is_young(void *arg, struct wr_place home, const struct wr_oid *oid, enum wr_type type,
			     struct wr_error *err)
{
	struct wr_unreached *u = arg;

	(void)oid;
	(void)type;
	(void)err;
	u->young_counts[home.src] += wr_marks_add(&u->young, home);
	return WR_OK;
}

/* Damage in what nobody reaches keeps no checkpoint from being made. */
static enum wr_code never_mind(void *arg, const struct wr_oid *oid, enum wr_type type, const struct wr_error *why)
{
	(void)arg;
	(void)oid;
	(void)type;
	(void)why;
	return WR_OK;
}

/*
 * What a ref was between the last checkpoint and this one was shown to clients, who may build on it. So was what somebody
 * stored without a ref though it was there: of a record without updates all rows count.
 */
static enum wr_code walk_from_record(struct wr_unreached *u, const struct wr_journal *j, uint32_t i)
{
	WR_AUTO_S(wr_record) record = {0};
	uint32_t first;
	enum wr_code code = wr_journal_record(&record, &first, j, i, u->err);

	for (uint32_t k = 0; code == WR_OK && record.update_count == 0 && k < record.object_count; k++)
		code = wr_closure_walk_from(u->closure, &record.objects[k].oid, u->err);
	for (uint32_t k = 0; code == WR_OK && k < record.update_count; k++)
		if (!wr_oid_zero(&record.updates[k].new))
			code = wr_closure_walk_from(u->closure, &record.updates[k].new, u->err);
	return code;
}

static enum wr_code walk_young(struct wr_unreached *u)
{
	struct wr_closure *c = u->closure;
	enum wr_code code = WR_OK;

	/* Nothing has a time that could be too early. */
	if (u->snap->oldest == 0)
		return WR_OK;
	c->reached = is_young;
	c->bad = never_mind;
	c->arg = u;
	for (size_t i = 0; i < u->len && code == WR_OK; i++) {
		struct wr_oid oid;

		if (!u->v[i].is_new)
			continue;
		wr_snapshot_oid(&oid, u->snap, u->v[i].home);
		code = wr_closure_walk_from(c, &oid, u->err);
	}
	for (size_t k = 0; k < u->snap->journal_count; k++)
		for (uint32_t i = 0; i < wr_journal_flushed(u->snap->journals[k]) && code == WR_OK; i++)
			code = walk_from_record(u, u->snap->journals[k], i);
	c->reached = NULL;
	c->bad = NULL;
	return code;
}

/* ---- cruft ---- */

static bool past(const struct wr_unreached *u, uint32_t since)
{
	const struct wr_grace *g = u->grace;

	return !g->keep && g->grace_ms && (int64_t)since * SECOND <= g->now_ms - g->grace_ms;
}

static enum wr_code look_at_cruft(struct wr_unreached *u, uint32_t src)
{
	const struct wr_member *m = member(u, src);
	WR_AUTO_MEM uint32_t *times = NULL;
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	enum wr_code code = wr_mtimes_read(&times, u->packs, m->pack, &why);

	if (code == WR_E_UNAVAILABLE) {
		wr_error_move(u->err, &why);
		return code;
	}
	u->timeless |= code != WR_OK;
	u->looked[src] = true;
	code = WR_OK;
	for (uint32_t pos = 0; pos < m->pack->count && code == WR_OK; pos++) {
		struct wr_place place = {src, pos};

		if ((wr_closure_marked(u->closure, place) && !wr_marks_has(&u->young, place)) ||
		    wr_dead_is_gone(m->dead, pos) || !wr_closure_at_home(u->closure, place))
			continue;
		code = add(u, place, !times ? u->now : times[pos] ? times[pos] : 1);
	}
	return code;
}

/*
 * Whether a time in the pack lies ahead of the clock, which was put back since: what is found now, and what the pack
 * has may need, would go before it. A list that cannot be read is for look_at_cruft().
 */
static enum wr_code is_ahead(bool *out, const struct wr_unreached *u, const struct wr_pack *pack)
{
	WR_AUTO_MEM uint32_t *times = NULL;
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	enum wr_code code = wr_mtimes_read(&times, u->packs, pack, &why);

	if (code == WR_E_UNAVAILABLE) {
		wr_error_move(u->err, &why);
		return code;
	}
	*out = !times;
	for (uint32_t pos = 0; times && pos < pack->count && !*out; pos++)
		*out = times[pos] > u->now;
	return WR_OK;
}

static enum wr_code look_at_all_cruft(struct wr_unreached *u)
{
	enum wr_code code = WR_OK;

	for (uint32_t src = 0; src < u->listed && code == WR_OK; src++) {
		const struct wr_member *m = member(u, src);
		bool look;

		if (m->role != WR_ROLE_CRUFT || u->looked[src])
			continue;
		look = u->all || u->closure->marked[src] || past(u, m->since) || m->since > u->now;
		if (!look)
			code = is_ahead(&look, u, m->pack);
		if (look)
			code = look_at_cruft(u, src);
	}
	return code;
}

static bool has_what_goes(const struct wr_unreached *u, const struct wr_pack *pack, size_t n)
{
	struct wr_oid oid;
	uint32_t pos;

	for (size_t i = 0; i < n; i++) {
		if (!past(u, u->v[i].since))
			continue;
		wr_snapshot_oid(&oid, u->snap, u->v[i].home);
		if (wr_pack_find(&pos, pack, &oid))
			return true;
	}
	return false;
}

/* Packs that there was no reason to look at may hold what gets another time, or copies of what goes. */
static enum wr_code look_at_copies(struct wr_unreached *u)
{
	size_t n = u->len;
	enum wr_code code = WR_OK;

	for (uint32_t src = 0; src < u->listed && code == WR_OK; src++) {
		const struct wr_member *m = member(u, src);

		if (u->looked[src] || (!u->young_counts[src] && !has_what_goes(u, m->pack, n)))
			continue;
		u->looked[src] = true;
		if (m->role == WR_ROLE_CRUFT)
			code = look_at_cruft(u, src);
	}
	return code;
}

/* Where times are lost everything that no ref reaches counts as found now: else something could go before what needs it. */
static enum wr_code look_at_times(struct wr_unreached *u)
{
	enum wr_code code = look_at_all_cruft(u);

	for (size_t i = 0; i < u->len; i++)
		if (wr_marks_has(&u->young, u->v[i].home))
			u->v[i].since = u->now;
	if (code == WR_OK && !u->timeless)
		code = look_at_copies(u);
	if (code != WR_OK || !u->timeless)
		return code;
	u->all = true;
	code = look_at_all_cruft(u);
	for (size_t i = 0; i < u->len; i++)
		u->v[i].since = u->now;
	return code;
}

/* ---- all of it ---- */

static enum wr_code prepare(struct wr_unreached *u)
{
	enum wr_code code;
	size_t n = u->closure->sources + 1;

	u->other_counts = calloc(n, sizeof *u->other_counts);
	u->young_counts = calloc(n, sizeof *u->young_counts);
	u->looked = calloc(n, sizeof *u->looked);
	if (!u->other_counts || !u->young_counts || !u->looked)
		return wr_fail_nomem(u->err);
	code = wr_marks_init(&u->others, u->snap, u->err);
	return code == WR_OK ? wr_marks_init(&u->young, u->snap, u->err) : code;
}

static void unmark(struct wr_unreached *u)
{
	struct wr_closure *c = u->closure;
	struct wr_marks marks = {c->marks, c->sources};

	wr_marks_clear(&marks, &u->others, u->snap);
	wr_marks_clear(&marks, &u->young, u->snap);
	for (size_t i = 0; i < c->sources; i++)
		c->marked[i] -= u->other_counts[i] + u->young_counts[i];
}

static void sort(struct wr_unreached *u)
{
	if (u->len)
		qsort(u->v, u->len, sizeof *u->v, by_home);
}

enum wr_code wr_unreached_look(struct wr_unreached *u, bool *known, uint32_t src)
{
	bool timeless = u->timeless;
	size_t len = u->len;
	enum wr_code code;

	u->timeless = false;
	code = look_at_cruft(u, src);
	*known = !u->timeless;
	u->timeless = timeless;
	if (!*known) {
		u->len = len;
		u->looked[src] = false;
	}
	sort(u);
	return code;
}

static void finish(struct wr_unreached *u)
{
	for (size_t i = 0; i < u->len; i++) {
		struct wr_unreached_item *item = &u->v[i];

		item->drop = past(u, item->since);
		u->dropped += item->drop;
		u->kept += !item->drop;
	}
	for (uint32_t src = 0; src < u->listed; src++) {
		const struct wr_member *m = member(u, src);

		if (m->role == WR_ROLE_CRUFT && !u->looked[src])
			u->kept += m->pack->count - (m->dead ? m->dead->gone : 0);
	}
	sort(u);
}

enum wr_code wr_unreached_find(struct wr_unreached *u, struct wr_closure *closure, int packs, const struct wr_grace *grace,
			       bool all, struct wr_error *err)
{
	int64_t now = (grace->now_ms + SECOND - 1) / SECOND;
	enum wr_code code;

	*u = (struct wr_unreached){
		.closure = closure, .snap = closure->snap, .grace = grace, .packs = packs, .all = all, .err = err};
	u->listed = u->snap->stored ? wr_refsfile_pack_count(u->snap->stored) : 0;
	u->now = now < 1 ? 1 : now >= WR_DEAD_GONE ? WR_DEAD_GONE - 1 : (uint32_t)now;
	if ((code = prepare(u)) != WR_OK || (code = walk_others(u)) != WR_OK ||
	    (code = look_at_all_but_cruft(u)) != WR_OK || (code = walk_young(u)) != WR_OK ||
	    (code = look_at_times(u)) != WR_OK)
		return code;
	unmark(u);
	finish(u);
	return WR_OK;
}
