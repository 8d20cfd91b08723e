/*
 * Bases and tails that go as they are.
 *
 * Base and tails hold exactly what heads and tags reached at the checkpoint ("the closure"). While none of these refs
 * was rewound or deleted since, each of them still reaches what it did. So who wants all that these refs are now,
 * wants the closure, and gets the stored bytes without anybody looking at a single object. Entries that are dead,
 * because an earlier rewind took them out of the closure, are left out on the way: what follows moves up, and
 * distances to bases change where such a gap lies between.
 */
#include <pthread.h>
#include <sys/mman.h>

#include "core/git/delta.h"
#include "core/git/plan_internal.h"

/* Between two looks at whether anybody still waits. */
#define STRETCH ((size_t)256 << 10)
#define AHEAD_STEP ((size_t)1 << 20)
#define AHEAD ((size_t)2 << 20)

void wr_plan_whole_fini(struct wr_plan *plan)
{
	for (size_t i = 0; i < plan->whole_count; i++)
		free(plan->wholes[i].shifts);
	free(plan->wholes);
	plan->wholes = NULL;
	plan->whole_count = 0;
}

/* ---- whether ---- */

static bool is_head_or_tag(struct wr_str name)
{
	return wr_str_starts(name, WR_S("refs/heads/")) || wr_str_starts(name, WR_S("refs/tags/"));
}

static bool in_closure(const struct wr_member *m)
{
	return m->role == WR_ROLE_BASE || m->role == WR_ROLE_TAIL;
}

/* Values in the map of wants. */
#define OPEN_WANT 0u
#define MET_WANT 1u /* it is what a stored head or tag still is, so it is in the closure */

/* Whether what every stored head and tag is now, is wanted. */
static enum wr_code covers(bool *out, struct wr_oidmap *wanted, const struct wr_snapshot *snap,
			   const struct wr_oids *wants, struct wr_error *err)
{
	size_t n = wr_refsfile_count(snap->stored);
	enum wr_code code;

	*out = false;
	for (size_t i = 0; i < wants->len; i++)
		if ((code = wr_oidmap_add(wanted, &wants->v[i], OPEN_WANT, NULL, err)) != WR_OK)
			return code;
	for (size_t i = 0; i < n; i++) {
		struct wr_ref stored, now;
		uint32_t *slot;

		wr_refsfile_ref_at(&stored, snap->stored, i);
		if (!is_head_or_tag(stored.name))
			continue;
		now = stored;
		if (snap->overlay && !wr_snapshot_find_ref(&now, snap, stored.name))
			return WR_OK;
		slot = wr_oidmap_slot(wanted, &now.oid);
		if (!slot)
			return WR_OK;
		if (wr_oid_eq(&now.oid, &stored.oid))
			*slot = 1 + MET_WANT;
	}
	*out = true;
	return WR_OK;
}

static enum wr_code list_wholes(struct wr_plan *plan, struct wr_error *err)
{
	const struct wr_snapshot *snap = plan->snap;

	plan->wholes = calloc(snap->member_count, sizeof *plan->wholes);
	if (!plan->wholes)
		return wr_fail_nomem(err);
	for (size_t i = 0; i < snap->member_count; i++) {
		const struct wr_member *m = &snap->members[i];
		uint32_t dead = m->dead ? m->dead->count : 0, n;

		if (!in_closure(m))
			continue;
		if (dead > m->pack->count || memcmp(m->pack->data, "PACK\0\0\0\2", 8) != 0)
			return wr_fail(err, WR_E_INTERNAL, "%s is damaged", m->pack->name);
		n = m->pack->count - dead;
		if (n > UINT32_MAX - plan->total)
			return wr_fail(err, WR_E_TOO_LARGE, "More objects than a pack can hold");
		plan->wholes[plan->whole_count++].src = (uint32_t)i;
		plan->total += n;
	}
	return WR_OK;
}

/* The stored bytes have distances to bases, which is all that stands against clients that cannot read those. */
/* One more clone: where there are many, smaller deltas pay. */
static void count(const struct wr_snapshot *snap)
{
	for (size_t i = 0; i < snap->member_count; i++)
		if (snap->members[i].role == WR_ROLE_BASE)
			atomic_fetch_add(&snap->members[i].pack->clones, 1);
}

enum wr_code wr_plan_whole(bool *out, struct wr_oids *rest, struct wr_plan *plan, const struct wr_plan_request *req,
			   struct wr_error *err)
{
	const struct wr_snapshot *snap = plan->snap;
	WR_AUTO_S(wr_oidmap) wanted = {0};
	bool any = false;
	enum wr_code code;

	for (size_t i = 0; i < snap->member_count; i++)
		any |= in_closure(&snap->members[i]);
	*out = any && snap->stored && !snap->lost && req->ofs_delta && !req->haves->len && !req->client_shallow->len &&
	       !req->new_shallow && !req->unshallow && wr_filter_is_all(&plan->filter);
	if (!*out)
		return WR_OK;
	if ((code = covers(out, &wanted, snap, req->wants, err)) != WR_OK || !*out)
		return code;
	for (size_t i = 0; i < req->wants->len; i++)
		if (*wr_oidmap_slot(&wanted, &req->wants->v[i]) == 1 + OPEN_WANT &&
		    (code = wr_oids_add(rest, &req->wants->v[i], err)) != WR_OK)
			return code;
	if ((code = list_wholes(plan, err)) == WR_OK)
		count(snap);
	return code;
}

/* ---- where things come to stand ---- */

/* The last change at or before this stored offset. */
static const struct wr_shift *shift_before(const struct wr_plan_whole *whole, uint64_t at)
{
	size_t lo = 0, hi = whole->len;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (whole->shifts[mid].from <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo ? &whole->shifts[lo - 1] : NULL;
}

/* How much earlier than without any gaps the entry at this stored offset is written; false: it is dead. */
static bool shift_of(int64_t *by, const struct wr_plan_whole *whole, uint64_t at)
{
	const struct wr_shift *s = shift_before(whole, at);

	*by = 0;
	if (!s)
		return true;
	if (s->from != at) {
		*by = s->by;
		return true;
	}
	if (s > whole->shifts)
		*by = s[-1].by;
	return !s->dead;
}

static enum wr_code add_shift(struct wr_plan_whole *whole, uint64_t from, uint64_t to, uint64_t instead, bool dead,
			      struct wr_error *err)
{
	int64_t by = whole->len ? whole->shifts[whole->len - 1].by : 0;

	if (whole->len == whole->cap) {
		size_t cap = whole->cap ? whole->cap * 2 : 64;
		struct wr_shift *v = reallocarray(whole->shifts, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(err);
		whole->shifts = v;
		whole->cap = cap;
	}
	by += (int64_t)(to - from) - (int64_t)instead;
	whole->shifts[whole->len++] = (struct wr_shift){from, to, by, dead};
	return WR_OK;
}

bool wr_plan_whole_find(uint64_t *out, const struct wr_plan *plan, const struct wr_oid *oid)
{
	for (size_t i = 0; i < plan->whole_count; i++) {
		const struct wr_plan_whole *whole = &plan->wholes[i];
		const struct wr_member *m = &plan->snap->members[whole->src];
		uint64_t at;
		uint32_t pos;
		int64_t by;

		if (!wr_pack_find(&pos, m->pack, oid) || wr_dead_has(m->dead, pos))
			continue;
		at = wr_pack_offset(m->pack, pos);
		/* An index that is damaged by now may say anything. */
		if (at < WR_PACK_HEADER || !shift_of(&by, whole, at))
			continue;
		*out = (uint64_t)((int64_t)(whole->out + at - WR_PACK_HEADER) - by);
		return true;
	}
	return false;
}

/* ---- writing ---- */

struct copying {
	struct wr_plan_writer *w;
	struct wr_plan_whole *whole;
	const struct wr_member *m;
	uint64_t from; /* stored bytes before it are dealt with */
};

/* The disk, where it comes to that, reads what is sent next while this is sent. */
static void read_ahead(const struct wr_pack *p, uint64_t from)
{
	uint64_t page = from & ~(uint64_t)4095, n = p->size > page ? p->size - page : 0;

	if (n)
		madvise((void *)(uintptr_t)(p->data + page), n < AHEAD ? n : AHEAD, MADV_WILLNEED);
}

static enum wr_code copy_to(struct copying *c, uint64_t to)
{
	enum wr_code code;

	while (c->from < to) {
		size_t n = to - c->from < STRETCH ? (size_t)(to - c->from) : STRETCH;

		if (c->from / AHEAD_STEP != (c->from + n) / AHEAD_STEP)
			read_ahead(c->m->pack, c->from + n);
		if ((code = wr_cancelled(c->w->cancel, c->w->err)) != WR_OK ||
		    (code = wr_plan_put_stored(c->w, c->whole->src, c->m->pack->data + c->from, n)) != WR_OK)
			return code;
		c->from += n;
	}
	return WR_OK;
}

/* The entry at..end is written in another way, by whoever calls this; len: what came out for its bytes up to `to`. */
static enum wr_code replaced(struct copying *c, uint64_t at, uint64_t to, uint64_t len, bool dead)
{
	c->from = to;
	return add_shift(c->whole, at, to, len, dead, c->w->err);
}

/* Its base is gone: the object as a whole. */
static enum wr_code put_anew(struct copying *c, uint32_t pos, uint64_t at, uint64_t end)
{
	uint64_t before;
	enum wr_code code = copy_to(c, at);

	before = c->w->written;
	if (code != WR_OK || (code = wr_plan_put_full(c->w, (struct wr_place){c->whole->src, pos})) != WR_OK)
		return code;
	return replaced(c, at, end, c->w->written - before, false);
}

/* The front of a delta whose base has come nearer. The stream behind it stays. */
static enum wr_code put_front(struct copying *c, uint64_t at, uint64_t data, uint64_t size, uint64_t distance)
{
	uint8_t head[32];
	size_t n = wr_entry_put(head, WR_OFS_DELTA, size);
	enum wr_code code = copy_to(c, at);

	n += wr_entry_put_distance(head + n, distance);
	if (code != WR_OK || (code = wr_plan_put(c->w, head, n)) != WR_OK)
		return code;
	return replaced(c, at, data, n, false);
}

static enum wr_code bad_entry(const struct copying *c, uint64_t at)
{
	return wr_fail(c->w->err, WR_E_INTERNAL, "%s: bad entry at %llu", c->m->pack->name, (unsigned long long)at);
}

/* An entry that lives, and what dead ones did to it. */
static enum wr_code look_at(struct copying *c, uint32_t pos, uint64_t at, uint64_t end)
{
	const struct wr_shift *last = c->whole->len ? &c->whole->shifts[c->whole->len - 1] : NULL;
	const uint8_t *raw = c->m->pack->data + at;
	uint64_t size, distance;
	struct wr_oid base;
	unsigned kind;
	size_t n = wr_entry_head(&kind, &size, raw, (size_t)(end - at)), m;
	uint32_t base_pos;
	int64_t by;

	if (n == 0)
		return bad_entry(c, at);
	if (kind == WR_REF_DELTA) {
		if (end - at < n + WR_OID_RAW)
			return bad_entry(c, at);
		memcpy(base.id, raw + n, WR_OID_RAW);
		if (!wr_pack_find(&base_pos, c->m->pack, &base))
			return bad_entry(c, at);
		return wr_dead_has(c->m->dead, base_pos) ? put_anew(c, pos, at, end) : WR_OK;
	}
	if (kind != WR_OFS_DELTA)
		return WR_OK;
	m = wr_entry_distance(&distance, raw + n, (size_t)(end - at) - n);
	if (m == 0 || distance == 0 || distance > at)
		return bad_entry(c, at);
	/* Mostly: nothing changed in between. */
	if (!last || last->from < at - distance)
		return WR_OK;
	if (!shift_of(&by, c->whole, at - distance))
		return put_anew(c, pos, at, end);
	if (by == last->by)
		return WR_OK;
	return put_front(c, at, at + n + m, size, (uint64_t)((int64_t)distance - (last->by - by)));
}

static enum wr_code put_living(struct copying *c)
{
	const struct wr_pack *p = c->m->pack;
	uint64_t at, next = WR_PACK_HEADER, end = p->size - WR_PACK_SUM;
	uint32_t pos, next_pos;
	enum wr_code code;

	if ((code = wr_pack_at_rank(&next_pos, p, 0, c->w->err)) != WR_OK)
		return code;
	for (uint32_t rank = 0; rank < p->count; rank++) {
		at = next;
		pos = next_pos;
		next = end;
		if (rank + 1 < p->count) {
			if ((code = wr_pack_at_rank(&next_pos, p, rank + 1, c->w->err)) != WR_OK)
				return code;
			next = wr_pack_offset(p, next_pos);
		}
		if (next <= at || next > end)
			return bad_entry(c, at);
		if (wr_dead_has(c->m->dead, pos)) {
			if ((code = copy_to(c, at)) != WR_OK || (code = replaced(c, at, next, 0, true)) != WR_OK)
				return code;
		} else if ((code = look_at(c, pos, at, next)) != WR_OK) {
			return code;
		}
	}
	return copy_to(c, end);
}

enum wr_code wr_plan_put_whole(struct wr_plan_writer *w, struct wr_plan_whole *whole)
{
	struct copying c = {w, whole, &w->plan->snap->members[whole->src], WR_PACK_HEADER};

	whole->out = w->written;
	if (!c.m->dead || c.m->pack->count == 0)
		return copy_to(&c, c.m->pack->size - WR_PACK_SUM);
	return put_living(&c);
}

/* ---- trailers ---- */

#define SUMS 256

/*
 * Of the same sources, with the same entries left out and added, the same bytes are made. Lost with the process: they
 * cost one clone's hashing to find again.
 */
static struct {
	uint8_t key[WR_PLAN_KEY], sum[WR_PLAN_SUM];
} sums[SUMS]; /* under sums_lock; a place that the key says */
static pthread_mutex_t sums_lock = PTHREAD_MUTEX_INITIALIZER;

static size_t sum_place(const uint8_t key[WR_PLAN_KEY])
{
	return key[0] % SUMS;
}

static bool add_key(EVP_MD_CTX *ctx, const void *data, size_t n)
{
	return EVP_DigestUpdate(ctx, data, n) == 1;
}

/* Names of packs are random, and numbers of journals are not used again beside them: they say what their bytes are. */
static bool add_sources(EVP_MD_CTX *ctx, const struct wr_snapshot *snap)
{
	bool ok = true;

	for (size_t i = 0; i < snap->member_count && ok; i++)
		ok = add_key(ctx, snap->members[i].pack->name, sizeof snap->members[i].pack->name);
	for (size_t i = 0; i < snap->journal_count && ok; i++) {
		uint64_t number = wr_journal_number(snap->journals[i]);

		ok = add_key(ctx, &number, sizeof number);
	}
	return ok;
}

/* What is written follows from the places of all entries, since nothing of it depends on what the client has. */
static bool make_key(uint8_t key[WR_PLAN_KEY], const struct wr_plan *plan)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 && add_sources(ctx, plan->snap);

	for (size_t i = 0; i < plan->whole_count && ok; i++) {
		const struct wr_dead *dead = plan->snap->members[plan->wholes[i].src].dead;
		uint32_t head[] = {plan->wholes[i].src, dead ? dead->count : 0};

		ok = add_key(ctx, head, sizeof head) &&
		     (!dead || add_key(ctx, dead->v, dead->count * sizeof dead->v[0]));
	}
	for (uint32_t i = 0; i < plan->count && ok; i++)
		ok = add_key(ctx, &plan->items[i].place, sizeof plan->items[i].place);
	ok = ok && EVP_DigestFinal_ex(ctx, key, NULL) == 1;
	EVP_MD_CTX_free(ctx);
	return ok;
}

bool wr_plan_sum_known(uint8_t sum[WR_PLAN_SUM], uint8_t key[WR_PLAN_KEY], bool *keep, const struct wr_plan *plan)
{
	const struct wr_member *first = plan->whole_count ? &plan->snap->members[plan->wholes[0].src] : NULL;
	bool found = false;

	*keep = false;
	if (!first)
		return false;
	if (plan->whole_count == 1 && plan->count == 0 && !first->dead) {
		memcpy(sum, first->pack->data + first->pack->size - WR_PACK_SUM, WR_PLAN_SUM);
		return wr_be32(first->pack->data + 8) == plan->total;
	}
	if (!make_key(key, plan))
		return false;
	pthread_mutex_lock(&sums_lock);
	found = memcmp(sums[sum_place(key)].key, key, WR_PLAN_KEY) == 0;
	if (found)
		memcpy(sum, sums[sum_place(key)].sum, WR_PLAN_SUM);
	pthread_mutex_unlock(&sums_lock);
	*keep = !found;
	return found;
}

void wr_plan_sum_keep(const uint8_t key[WR_PLAN_KEY], const uint8_t sum[WR_PLAN_SUM])
{
	pthread_mutex_lock(&sums_lock);
	memcpy(sums[sum_place(key)].key, key, WR_PLAN_KEY);
	memcpy(sums[sum_place(key)].sum, sum, WR_PLAN_SUM);
	pthread_mutex_unlock(&sums_lock);
}
