#include "core/git/checkpoint_internal.h"

/* A pushed pack of this many objects or bytes is not copied to become a part of the closure. */
#define ADOPT_COUNT 1000u
#define ADOPT_BYTES ((uint64_t)1 << 20)
/* The base is written anew when what lies beside it or is dead in it passes its size divided by this. */
#define REBASE 4
/*
 * Each pack is at least so many times larger than all smaller ones together, or they are merged: an entry is then
 * copied about as often as its pack can double, and there are no more packs than that either.
 */
#define STEP 2

static void stays_fini(struct wr_stays *list)
{
	for (size_t i = 0; i < list->len; i++)
		wr_dead_unref(list->v[i].dead);
	free(list->v);
}

void wr_build_fini(struct wr_build *b)
{
	stays_fini(&b->kin);
	stays_fini(&b->others);
	stays_fini(&b->crufts);
	free(b->fresh.v);
	free(b->loose.v);
	free(b->cruft.v);
	free(b->cruft.since);
	wr_unreached_fini(&b->unreached);
	wr_closure_fini(&b->closure);
}

static enum wr_code push_place(struct wr_places *list, const struct wr_build *b, struct wr_place place)
{
	if (list->len == list->cap) {
		size_t cap = list->cap ? list->cap * 2 : 256;
		struct wr_place *v = reallocarray(list->v, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(b->err);
		list->v = v;
		list->cap = cap;
	}
	list->v[list->len++] = place;
	return WR_OK;
}

/* The same, where the sum of the bytes decides something. */
static enum wr_code add_place(struct wr_places *list, const struct wr_build *b, struct wr_place place)
{
	struct wr_stored e;
	enum wr_code code = wr_snapshot_stored(&e, b->snap, place, b->err);

	if (code != WR_OK)
		return code;
	list->bytes += e.raw_len;
	return push_place(list, b, place);
}

static enum wr_code add_cruft(struct wr_build *b, const struct wr_unreached_item *item)
{
	size_t cap = b->cruft.cap;
	enum wr_code code;

	if (item->drop)
		return WR_OK;
	if ((code = add_place(&b->cruft, b, item->home)) != WR_OK)
		return code;
	if (b->cruft.cap != cap) {
		uint32_t *since = reallocarray(b->cruft.since, b->cruft.cap, sizeof *since);

		if (!since)
			return wr_fail_nomem(b->err);
		b->cruft.since = since;
	}
	b->cruft.since[b->cruft.len - 1] = item->since;
	return WR_OK;
}

static const struct wr_member *member(const struct wr_build *b, uint32_t src)
{
	return &b->snap->members[src];
}

static struct wr_stay *add_stay(struct wr_stays *list, const struct wr_build *b, uint32_t src)
{
	list->v[list->len] = (struct wr_stay){
		.src = src, .bytes = member(b, src)->pack->size, .since = member(b, src)->since};
	return &list->v[list->len++];
}

/* ---- entries that do not count for the role of a pack that stays ---- */

struct corpses {
	uint32_t *v; /* positions and times in turn */
	size_t len, cap;
};

static void corpses_fini(struct corpses *list)
{
	free(list->v);
}
#define CORPSES WR_CLEANUP(corpses_fini) struct corpses

static enum wr_code add_corpse(struct corpses *list, const struct wr_build *b, uint32_t pos, uint32_t since)
{
	if (list->len + 2 > list->cap) {
		size_t cap = list->cap ? list->cap * 2 : 64;
		uint32_t *v = reallocarray(list->v, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(b->err);
		list->v = v;
		list->cap = cap;
	}
	list->v[list->len++] = pos;
	list->v[list->len++] = since;
	return WR_OK;
}

static enum wr_code set_dead(struct wr_stay *stay, const struct corpses *list, const struct wr_build *b)
{
	uint32_t n = (uint32_t)(list->len / 2);

	if (n == 0)
		return WR_OK;
	stay->dead = wr_dead_new(n);
	if (!stay->dead)
		return wr_fail_nomem(b->err);
	for (uint32_t i = 0; i < n; i++)
		wr_dead_put(stay->dead, i, list->v[2 * i], list->v[2 * i + 1]);
	return WR_OK;
}

static uint32_t time_of(const struct wr_unreached_item *item)
{
	return item->drop ? WR_DEAD_GONE : item->since;
}

/* ---- base and tails: what the closure has lost, and what is in it again ---- */

static enum wr_code bury_one(struct corpses *list, struct wr_build *b, struct wr_place place)
{
	const struct wr_dead *dead = member(b, place.src)->dead;
	bool is = wr_closure_has(&b->closure, place), was = !wr_dead_has(dead, place.pos);
	const struct wr_unreached_item *item;

	b->gained += is && !was;
	b->died += was && !is;
	if (is)
		return WR_OK;
	item = wr_unreached_at(&b->unreached, place);
	return add_corpse(list, b, place.pos,
			  item					 ? time_of(item)
			  : wr_dead_is_gone(dead, place.pos) ? WR_DEAD_GONE
								 : 0);
}

static enum wr_code bury(struct wr_stay *stay, struct wr_build *b)
{
	const struct wr_member *m = member(b, stay->src);
	CORPSES list = {NULL, 0, 0};
	enum wr_code code = WR_OK;

	if (b->closure.gains)
		for (uint32_t i = 0; m->dead && i < m->dead->count && code == WR_OK; i++)
			code = bury_one(&list, b, (struct wr_place){stay->src, m->dead->v[i]});
	else
		for (uint32_t pos = 0; pos < m->pack->count && code == WR_OK; pos++)
			code = bury_one(&list, b, (struct wr_place){stay->src, pos});
	return code == WR_OK ? set_dead(stay, &list, b) : code;
}

static enum wr_code dead_bytes(uint64_t *out, const struct wr_stay *stay, const struct wr_build *b)
{
	struct wr_stored e;
	enum wr_code code;

	*out = 0;
	for (uint32_t i = 0; stay->dead && i < stay->dead->count; i++) {
		code = wr_snapshot_stored(&e, b->snap, (struct wr_place){stay->src, stay->dead->v[i]}, b->err);
		if (code != WR_OK)
			return code;
		*out += e.raw_len;
	}
	return WR_OK;
}

/* ---- the other packs ---- */

/* Objects that are only here, not in the closure, and reached by other refs. */
static bool is_loose(const struct wr_build *b, struct wr_place place)
{
	return !wr_closure_marked(&b->closure, place) && !wr_unreached_at(&b->unreached, place) &&
	       wr_closure_at_home(&b->closure, place);
}

/*
 * What of the pack counts: of one of other refs what they reach, of cruft what nothing does. In the former objects that
 * nothing reaches any more stay with a time; all else is gone here, because it is, or because it is elsewhere now.
 */
static enum wr_code bury_other(struct wr_stay *stay, struct wr_build *b, bool cruft)
{
	const struct wr_pack *pack = member(b, stay->src)->pack;
	CORPSES list = {NULL, 0, 0};
	enum wr_code code = WR_OK;

	stay->since = 0;
	for (uint32_t pos = 0; pos < pack->count && code == WR_OK; pos++) {
		struct wr_place place = {stay->src, pos};
		const struct wr_unreached_item *item = wr_unreached_at(&b->unreached, place);

		if (cruft && item && !item->drop) {
			stay->since = wr_since_min(stay->since, item->since);
			/* A time that is not the file's. */
			stay->merged |= item->was_ahead || wr_marks_has(&b->unreached.young, place) ||
					b->unreached.timeless;
		} else if (item && !cruft) {
			code = add_corpse(&list, b, pos, time_of(item));
		} else if (cruft || !is_loose(b, place)) {
			code = add_corpse(&list, b, pos, WR_DEAD_GONE);
		}
	}
	return code == WR_OK ? set_dead(stay, &list, b) : code;
}

/*
 * A pack that is neither base nor tail becomes one if all of it is at home here and in the closure, and copying it is
 * worth avoiding. It goes if nothing would be lost, and is written anew when a quarter of it counts no more. One from
 * which nothing can have gone since the last checkpoint is not looked at.
 */
static enum wr_code sort_other(struct wr_build *b, uint32_t src)
{
	const struct wr_member *m = member(b, src);
	bool cruft = m->role == WR_ROLE_CRUFT;
	uint32_t marked = b->closure.marked[src];
	struct wr_stay *stay;
	uint64_t dead;
	enum wr_code code;

	/* Beside cruft lie its times, which git goes by. */
	if (!cruft && marked == m->pack->count &&
	    (marked >= ADOPT_COUNT || m->pack->size >= ADOPT_BYTES)) {
		b->gained += marked;
		add_stay(&b->kin, b, src);
		return WR_OK;
	}
	stay = add_stay(cruft ? &b->crufts : &b->others, b, src);
	if (!b->unreached.looked[src]) {
		stay->dead = wr_dead_ref(m->dead);
		return WR_OK;
	}
	if ((code = bury_other(stay, b, cruft)) != WR_OK || (code = dead_bytes(&dead, stay, b)) != WR_OK)
		return code;
	stay->merged |= dead > stay->bytes / REBASE || (stay->dead && stay->dead->count >= m->pack->count / 2) ||
			(b->manner.whole && stay->dead);
	return WR_OK;
}

static int larger_first(const void *a, const void *b)
{
	const struct wr_stay *x = a, *y = b;

	if (x->bytes != y->bytes)
		return x->bytes > y->bytes ? -1 : 1;
	return (x->src > y->src) - (x->src < y->src);
}

static enum wr_code sort_members(struct wr_build *b)
{
	enum wr_code code = WR_OK;

	b->kin.v = calloc(b->snap->member_count + 1, sizeof *b->kin.v);
	b->others.v = calloc(b->snap->member_count + 1, sizeof *b->others.v);
	b->crufts.v = calloc(b->snap->member_count + 1, sizeof *b->crufts.v);
	if (!b->kin.v || !b->others.v || !b->crufts.v)
		return wr_fail_nomem(b->err);
	for (uint32_t src = 0; src < b->snap->member_count && code == WR_OK; src++) {
		if (!wr_closure_role(member(b, src)->role)) {
			code = sort_other(b, src);
			continue;
		}
		add_stay(&b->kin, b, src);
		code = bury(&b->kin.v[b->kin.len - 1], b);
	}
	qsort(b->kin.v, b->kin.len, sizeof *b->kin.v, larger_first);
	qsort(b->others.v, b->others.len, sizeof *b->others.v, larger_first);
	qsort(b->crufts.v, b->crufts.len, sizeof *b->crufts.v, larger_first);
	return code;
}

/* ---- which entries are written ---- */

static bool stays_kin(const struct wr_build *b, uint32_t src)
{
	for (size_t i = 0; i < b->kin.len; i++)
		if (b->kin.v[i].src == src)
			return true;
	return false;
}

static enum wr_code add_fresh(struct wr_build *b, uint32_t src)
{
	const struct wr_closure *c = &b->closure;
	enum wr_code code = WR_OK;

	for (uint32_t word = 0; word <= c->counts[src] / 64 && code == WR_OK; word++) {
		uint64_t bits = c->marks[src][word];

		for (; bits && code == WR_OK; bits &= bits - 1)
			code = add_place(&b->fresh, b,
					 (struct wr_place){src, word * 64 + (uint32_t)__builtin_ctzll(bits)});
	}
	b->gained += c->marked[src];
	return code;
}

/* What the closure does not have of a source: what other refs reach, and what none does. */
static enum wr_code add_rest(struct wr_build *b, uint32_t src, bool loose, bool cruft)
{
	enum wr_code code = WR_OK;

	for (uint32_t pos = 0; pos < b->closure.counts[src] && code == WR_OK; pos++) {
		struct wr_place place = {src, pos};
		const struct wr_unreached_item *item = wr_unreached_at(&b->unreached, place);

		if (item && cruft)
			code = add_cruft(b, item);
		else if (!item && loose && is_loose(b, place))
			code = add_place(&b->loose, b, place);
	}
	return code;
}

static enum wr_code add_sources(struct wr_build *b)
{
	enum wr_code code = WR_OK;

	for (uint32_t src = 0; src < b->closure.sources && code == WR_OK; src++) {
		if (stays_kin(b, src))
			continue;
		code = add_fresh(b, src);
		/* A row that is known is at home elsewhere. */
		if (code == WR_OK && src >= b->snap->member_count)
			code = add_rest(b, src, true, true);
	}
	return code;
}

/* A base or tail that does not stay. */
static enum wr_code add_kin(struct wr_build *b, const struct wr_stay *stay)
{
	enum wr_code code = WR_OK;

	for (uint32_t pos = 0; pos < b->closure.counts[stay->src] && code == WR_OK; pos++) {
		struct wr_place place = {stay->src, pos};
		const struct wr_unreached_item *item = wr_unreached_at(&b->unreached, place);

		if (item)
			code = add_cruft(b, item);
		else if (!wr_dead_has(stay->dead, pos))
			code = push_place(&b->fresh, b, place);
		else if (!wr_dead_is_gone(stay->dead, pos))
			code = add_place(&b->loose, b, place);
	}
	return code;
}

/* ---- which packs are merged ---- */

static void merge_small(struct wr_stays *list, size_t first, uint64_t fresh)
{
	uint64_t below = fresh;
	size_t from = list->len;

	for (size_t i = list->len; i-- > first;) {
		if (list->v[i].bytes / STEP < below)
			from = i;
		below += list->v[i].bytes;
	}
	for (size_t i = from; i < list->len; i++)
		list->v[i].merged = true;
}

static enum wr_code merge_kin(struct wr_build *b)
{
	uint64_t beside = b->fresh.bytes, dead;
	enum wr_code code;

	if (b->kin.len == 0)
		return WR_OK;
	for (size_t i = 1; i < b->kin.len; i++) {
		if ((code = dead_bytes(&dead, &b->kin.v[i], b)) != WR_OK)
			return code;
		b->kin.v[i].merged = dead > b->kin.v[i].bytes / REBASE;
		beside += b->kin.v[i].bytes;
	}
	if ((code = dead_bytes(&dead, &b->kin.v[0], b)) != WR_OK)
		return code;
	merge_small(&b->kin, 1, b->fresh.bytes);
	if (beside + dead > b->kin.v[0].bytes / REBASE || (b->manner.whole && (beside || b->kin.v[0].dead)) ||
	    b->manner.redelta)
		for (size_t i = 0; i < b->kin.len; i++)
			b->kin.v[i].merged = true;
	for (size_t i = 0; i < b->kin.len && code == WR_OK; i++)
		if (b->kin.v[i].merged)
			code = add_kin(b, &b->kin.v[i]);
	return code;
}

static void merge_list(const struct wr_build *b, struct wr_stays *list, const struct wr_places *fresh)
{
	if (b->manner.whole && (list->len > 1 || fresh->len))
		for (size_t i = 0; i < list->len; i++)
			list->v[i].merged = true;
	else
		merge_small(list, 0, fresh->bytes);
}

static enum wr_code merge_others(struct wr_build *b)
{
	enum wr_code code = WR_OK;

	/* What other refs reach again leaves its cruft pack, whether that stays or not. */
	for (size_t i = 0; i < b->crufts.len && code == WR_OK; i++)
		if (b->unreached.looked[b->crufts.v[i].src])
			code = add_rest(b, b->crufts.v[i].src, true, false);
	merge_list(b, &b->others, &b->loose);
	for (size_t i = 0; i < b->others.len && code == WR_OK; i++)
		if (b->others.v[i].merged)
			code = add_rest(b, b->others.v[i].src, true, true);
	return code;
}

static enum wr_code merge_crufts(struct wr_build *b)
{
	enum wr_code code = WR_OK;

	merge_list(b, &b->crufts, &b->cruft);
	for (size_t i = 0; i < b->crufts.len && code == WR_OK; i++) {
		struct wr_stay *stay = &b->crufts.v[i];

		if (stay->merged && !b->unreached.looked[stay->src])
			code = wr_unreached_look(&b->unreached, &stay->merged, stay->src);
		if (code == WR_OK && stay->merged)
			code = add_rest(b, stay->src, false, true);
	}
	return code;
}

enum wr_code wr_build_plan(struct wr_build *b)
{
	enum wr_code code = sort_members(b);

	if (code == WR_OK)
		code = add_sources(b);
	if (code == WR_OK)
		code = merge_kin(b);
	if (code == WR_OK)
		code = merge_others(b);
	return code == WR_OK ? merge_crufts(b) : code;
}
