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

void wr_build_fini(struct wr_build *b)
{
	for (size_t i = 0; i < b->kin.len; i++)
		wr_dead_unref(b->kin.v[i].dead);
	free(b->kin.v);
	free(b->others.v);
	free(b->fresh.v);
	free(b->loose.v);
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

static const struct wr_member *member(const struct wr_build *b, uint32_t src)
{
	return &b->snap->members[src];
}

static void add_stay(struct wr_stays *list, const struct wr_build *b, uint32_t src)
{
	list->v[list->len++] = (struct wr_stay){.src = src, .bytes = member(b, src)->pack->size};
}

/* ---- what the closure has lost, and what is in it again ---- */

static enum wr_code bury(struct wr_stay *stay, struct wr_build *b)
{
	const struct wr_closure *c = &b->closure;
	const struct wr_member *m = member(b, stay->src);
	uint32_t count = 0;

	if (c->gains && c->marked[stay->src] == 0) {
		stay->dead = m->dead ? wr_dead_ref(m->dead) : NULL;
		return WR_OK;
	}
	for (uint32_t pos = 0; pos < m->pack->count; pos++) {
		bool is = wr_closure_has(c, (struct wr_place){stay->src, pos}), was = !wr_dead_has(m->dead, pos);

		b->gained += is && !was;
		b->died += was && !is;
		count += !is;
	}
	if (count == 0)
		return WR_OK;
	stay->dead = wr_dead_new(count);
	if (!stay->dead)
		return wr_fail_nomem(b->err);
	for (uint32_t pos = 0, n = 0; pos < m->pack->count; pos++)
		if (!wr_closure_has(c, (struct wr_place){stay->src, pos}))
			stay->dead->v[n++] = pos;
	return WR_OK;
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

/* ---- which packs are candidates ---- */

/* Whether the last checkpoint had this pack already. */
static enum wr_code was_listed(bool *out, const struct wr_build *b, const struct wr_pack *pack)
{
	size_t n = b->snap->stored ? wr_refsfile_pack_count(b->snap->stored) : 0;

	*out = false;
	for (size_t i = 0; i < n && !*out; i++) {
		struct wr_refsfile_pack p;
		enum wr_code code = wr_refsfile_pack(&p, b->snap->stored, i, b->err);

		if (code != WR_OK)
			return code;
		wr_dead_unref(p.dead);
		*out = strcmp(p.name, pack->name) == 0;
	}
	return WR_OK;
}

static bool at_home(const struct wr_build *b, struct wr_place place)
{
	struct wr_place home;
	struct wr_oid oid;

	wr_snapshot_oid(&oid, b->snap, place);
	return wr_closure_home(&home, &b->closure, &oid) && home.src == place.src && home.pos == place.pos;
}

/* Objects that are only here and not in the closure. */
static bool is_loose(const struct wr_build *b, struct wr_place place)
{
	return !wr_closure_marked(&b->closure, place) && at_home(b, place);
}

/*
 * A pack that is neither base nor tail becomes one if all of it is at home here and in the closure, and copying it is
 * worth avoiding. It goes if nothing would be lost. One that the last checkpoint had and from which the closure gained
 * nothing need not be looked at.
 */
static enum wr_code sort_other(struct wr_build *b, uint32_t src)
{
	const struct wr_pack *pack = member(b, src)->pack;
	uint32_t marked = b->closure.marked[src], loose = 0;
	bool listed;
	enum wr_code code = was_listed(&listed, b, pack);

	if (code != WR_OK)
		return code;
	if (listed && marked == 0) {
		add_stay(&b->others, b, src);
		return WR_OK;
	}
	if (marked == pack->count && (marked >= ADOPT_COUNT || pack->size >= ADOPT_BYTES)) {
		b->gained += marked;
		add_stay(&b->kin, b, src);
		return WR_OK;
	}
	for (uint32_t pos = 0; pos < pack->count; pos++)
		loose += is_loose(b, (struct wr_place){src, pos});
	if (loose == 0)
		return WR_OK;
	add_stay(&b->others, b, src);
	/* One that mostly repeats what others hold is not worth its place. */
	b->others.v[b->others.len - 1].merged = loose < pack->count / 2;
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
	if (!b->kin.v || !b->others.v)
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

static enum wr_code add_loose(struct wr_build *b, uint32_t src)
{
	enum wr_code code = WR_OK;

	for (uint32_t pos = 0; pos < b->closure.counts[src] && code == WR_OK; pos++) {
		struct wr_place place = {src, pos};

		if (is_loose(b, place))
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
			code = add_loose(b, src);
	}
	return code;
}

/* A base or tail that does not stay. */
static enum wr_code add_kin(struct wr_build *b, const struct wr_stay *stay)
{
	enum wr_code code = WR_OK;

	for (uint32_t pos = 0; pos < b->closure.counts[stay->src] && code == WR_OK; pos++) {
		struct wr_place place = {stay->src, pos};

		code = wr_dead_has(stay->dead, pos) ? add_place(&b->loose, b, place) : push_place(&b->fresh, b, place);
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
	if ((code = dead_bytes(&dead, &b->kin.v[0], b)) != WR_OK)
		return code;
	for (size_t i = 1; i < b->kin.len; i++)
		beside += b->kin.v[i].bytes;
	merge_small(&b->kin, 1, b->fresh.bytes);
	if (beside + dead > b->kin.v[0].bytes / REBASE)
		for (size_t i = 0; i < b->kin.len; i++)
			b->kin.v[i].merged = true;
	for (size_t i = 0; i < b->kin.len && code == WR_OK; i++)
		if (b->kin.v[i].merged)
			code = add_kin(b, &b->kin.v[i]);
	return code;
}

static enum wr_code merge_others(struct wr_build *b)
{
	enum wr_code code = WR_OK;

	merge_small(&b->others, 0, b->loose.bytes);
	for (size_t i = 0; i < b->others.len && code == WR_OK; i++)
		if (b->others.v[i].merged)
			code = add_loose(b, b->others.v[i].src);
	return code;
}

enum wr_code wr_build_plan(struct wr_build *b)
{
	enum wr_code code = sort_members(b);

	if (code == WR_OK)
		code = add_sources(b);
	if (code == WR_OK)
		code = merge_kin(b);
	return code == WR_OK ? merge_others(b) : code;
}
