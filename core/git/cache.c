#include "core/git/cache.h"

#define NONE UINT32_MAX
#define MOST_SLOTS ((uint32_t)1 << 28)
#define FIRST_SLOTS 64

struct slot {
	uint64_t key;
	struct wr_cached what;
	uint32_t next; /* of its bucket, or of the free ones */
	uint32_t older, newer;
};

struct wr_cache {
	size_t max, bytes;
	struct slot *slots;
	uint32_t *buckets; /* twice as many as slots, a power of two */
	uint32_t cap, spare;
	uint32_t oldest, newest;
	uint8_t *kept; /* what did not fit, until the next call */
};

enum wr_code wr_cache_new(struct wr_cache **out, size_t max, struct wr_error *err)
{
	struct wr_cache *c = calloc(1, sizeof *c);

	if (!c)
		return wr_fail_nomem(err);
	c->max = max;
	c->spare = c->oldest = c->newest = NONE;
	*out = c;
	return WR_OK;
}

void wr_cache_free(struct wr_cache *c)
{
	if (!c)
		return;
	for (uint32_t i = 0; i < c->cap; i++)
		wr_object_fini(&c->slots[i].what.obj);
	free(c->slots);
	free(c->buckets);
	free(c->kept);
	free(c);
}

static uint64_t key_of(struct wr_place place)
{
	return (uint64_t)place.src << 32 | place.pos;
}

static uint32_t *bucket(const struct wr_cache *c, uint64_t key)
{
	return &c->buckets[(key * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (2 * c->cap - 1)];
}

/* What holding it costs, beside the object itself its slot and what malloc() adds. */
static size_t cost(size_t size)
{
	return size + sizeof(struct slot) + 2 * sizeof(uint32_t) + 32;
}

bool wr_cache_fits(const struct wr_cache *c, size_t size)
{
	return c && size < c->max && cost(size) <= c->max;
}

/* ---- by age ---- */

static void unlink_age(struct wr_cache *c, const struct slot *s)
{
	*(s->older == NONE ? &c->oldest : &c->slots[s->older].newer) = s->newer;
	*(s->newer == NONE ? &c->newest : &c->slots[s->newer].older) = s->older;
}

static void link_newest(struct wr_cache *c, uint32_t i)
{
	struct slot *s = &c->slots[i];

	s->newer = NONE;
	s->older = c->newest;
	*(c->newest == NONE ? &c->oldest : &c->slots[c->newest].newer) = i;
	c->newest = i;
}

static void drop_oldest(struct wr_cache *c)
{
	uint32_t i = c->oldest, *at;
	struct slot *s = &c->slots[i];

	for (at = bucket(c, s->key); *at != i; at = &c->slots[*at].next)
		;
	*at = s->next;
	unlink_age(c, s);
	c->bytes -= cost(s->what.obj.size);
	wr_object_fini(&s->what.obj);
	s->next = c->spare;
	c->spare = i;
}

/* ---- by key ---- */

/* Twice as many slots, where memory allows; those in use stay where they are. */
static bool grow(struct wr_cache *c)
{
	uint32_t cap = c->cap ? c->cap * 2 : FIRST_SLOTS, old = c->cap;
	struct slot *slots;
	uint32_t *buckets;

	if (cap > MOST_SLOTS)
		return false;
	buckets = reallocarray(NULL, (size_t)cap * 2, sizeof *buckets);
	slots = buckets ? reallocarray(c->slots, cap, sizeof *slots) : NULL;
	if (!slots) {
		free(buckets);
		return false;
	}
	free(c->buckets);
	c->buckets = buckets;
	c->slots = slots;
	c->cap = cap;
	memset(buckets, 0xff, (size_t)cap * 2 * sizeof *buckets);
	for (uint32_t i = c->newest; i != NONE; i = slots[i].older) {
		slots[i].next = *bucket(c, slots[i].key);
		*bucket(c, slots[i].key) = i;
	}
	for (uint32_t i = cap; i-- > old;) {
		slots[i] = (struct slot){.next = c->spare};
		c->spare = i;
	}
	return true;
}

static uint32_t find(const struct wr_cache *c, uint64_t key)
{
	uint32_t i;

	if (c->cap == 0)
		return NONE;
	for (i = *bucket(c, key); i != NONE && c->slots[i].key != key; i = c->slots[i].next)
		;
	return i;
}

static void let_go(struct wr_cache *c)
{
	free(c->kept);
	c->kept = NULL;
}

bool wr_cache_get(struct wr_cached *out, struct wr_cache *c, struct wr_place place)
{
	uint32_t i;

	if (!c)
		return false;
	let_go(c);
	i = find(c, key_of(place));
	if (i == NONE)
		return false;
	unlink_age(c, &c->slots[i]);
	link_newest(c, i);
	*out = c->slots[i].what;
	return true;
}

/* False where it is not held. */
static bool add(struct wr_cache *c, uint64_t key, const struct wr_cached *what)
{
	struct slot *s;
	uint32_t i;

	if (!wr_cache_fits(c, what->obj.size) || find(c, key) != NONE)
		return false;
	while (c->bytes + cost(what->obj.size) > c->max)
		drop_oldest(c);
	if (c->spare == NONE && !grow(c)) {
		if (c->oldest == NONE)
			return false;
		drop_oldest(c);
	}
	i = c->spare;
	s = &c->slots[i];
	c->spare = s->next;
	s->key = key;
	s->what = *what;
	s->next = *bucket(c, key);
	*bucket(c, key) = i;
	link_newest(c, i);
	c->bytes += cost(what->obj.size);
	return true;
}

void wr_cache_give(struct wr_cache *c, struct wr_place place, const struct wr_cached *what)
{
	if (c)
		let_go(c);
	if (!c || !add(c, key_of(place), what))
		free(what->obj.data);
}

void wr_cache_keep(struct wr_cache *c, struct wr_place place, const struct wr_cached *what)
{
	let_go(c);
	if (!add(c, key_of(place), what))
		c->kept = what->obj.data;
}
