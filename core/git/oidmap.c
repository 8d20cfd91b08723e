#include "core/git/oidmap.h"

#include <pthread.h>

#include "core/git/hold.h"

#define FIRST_CAP 64

static uint64_t seeds[3];
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void make_seeds(void)
{
	wr_random_bytes(seeds, sizeof seeds);
}

/* All bits of x and y in all bits of the result, by which nobody who lacks the seeds can pick ids that meet. */
static uint64_t mix(uint64_t x, uint64_t y)
{
	unsigned __int128 p = (unsigned __int128)x * y;

	return (uint64_t)p ^ (uint64_t)(p >> 64);
}

uint64_t wr_oid_hash(const struct wr_oid *oid)
{
	uint64_t head, middle;
	uint32_t tail;

	pthread_once(&seed_once, make_seeds);
	memcpy(&head, oid->id, sizeof head);
	memcpy(&middle, oid->id + 8, sizeof middle);
	memcpy(&tail, oid->id + 16, sizeof tail);
	return mix(mix(head ^ seeds[0], middle ^ seeds[1]), tail ^ seeds[2]);
}

static size_t home(const struct wr_oid *key, size_t cap)
{
	return (size_t)wr_oid_hash(key) & (cap - 1);
}

/* The slot that holds key, or the free one where it belongs. cap > 0, and never all slots are taken. */
static size_t probe(const struct wr_oidmap *map, const struct wr_oid *key)
{
	size_t i = home(key, map->cap);

	while (map->values[i] && !wr_oid_eq(&map->keys[i], key))
		i = (i + 1) & (map->cap - 1);
	return i;
}

/* Where a hold gives the memory, values lie behind keys. */
#define SLOT (sizeof(struct wr_oid) + sizeof(uint32_t))

void wr_oidmap_fini(struct wr_oidmap *map)
{
	struct wr_held block = {map->keys, map->cap * SLOT, map->mapped, map->hold};

	if (map->hold) {
		wr_held_free(&block);
	} else {
		free(map->keys);
		free(map->values);
	}
	*map = (struct wr_oidmap){.hold = map->hold};
}

static enum wr_code get_memory(struct wr_oidmap *map, struct wr_error *err)
{
	struct wr_held block = {.p = NULL};
	enum wr_code code;

	if (map->hold) {
		if ((code = wr_held_resize(&block, map->hold, map->cap * SLOT, WR_HOLD_TABLE, err)) != WR_OK)
			return code;
		map->keys = block.p;
		map->values = (uint32_t *)(void *)(map->keys + map->cap);
		map->mapped = block.mapped;
		memset(map->values, 0, map->cap * sizeof *map->values);
		return WR_OK;
	}
	map->keys = malloc(map->cap * sizeof *map->keys);
	map->values = calloc(map->cap, sizeof *map->values);
	if (map->keys && map->values)
		return WR_OK;
	wr_oidmap_fini(map);
	return wr_fail_nomem(err);
}

static enum wr_code grow(struct wr_oidmap *map, struct wr_error *err)
{
	struct wr_oidmap big = {.cap = map->cap ? map->cap * 2 : FIRST_CAP, .len = map->len, .hold = map->hold};
	enum wr_code code = get_memory(&big, err);

	if (code != WR_OK)
		return code;
	for (size_t i = 0; i < map->cap; i++) {
		size_t to;

		if (!map->values[i])
			continue;
		to = probe(&big, &map->keys[i]);
		big.keys[to] = map->keys[i];
		big.values[to] = map->values[i];
	}
	wr_oidmap_fini(map);
	*map = big;
	return WR_OK;
}

enum wr_code wr_oidmap_add(struct wr_oidmap *map, const struct wr_oid *key, uint32_t value, bool *added,
			   struct wr_error *err)
{
	enum wr_code code;
	size_t i;

	/* At most three quarters full: probes stay short, and one slot is always free. */
	if (map->len + 1 > map->cap - map->cap / 4 && (code = grow(map, err)) != WR_OK)
		return code;
	i = probe(map, key);
	if (added)
		*added = map->values[i] == 0;
	if (map->values[i])
		return WR_OK;
	map->keys[i] = *key;
	map->values[i] = value + 1;
	map->len++;
	return WR_OK;
}

uint32_t *wr_oidmap_slot(const struct wr_oidmap *map, const struct wr_oid *key)
{
	size_t i;

	if (map->len == 0)
		return NULL;
	i = probe(map, key);
	return map->values[i] ? &map->values[i] : NULL;
}

void wr_oids_fini(struct wr_oids *list)
{
	free(list->v);
	*list = (struct wr_oids){NULL, 0, 0};
}

enum wr_code wr_oids_add(struct wr_oids *list, const struct wr_oid *oid, struct wr_error *err)
{
	if (list->len == list->cap) {
		size_t cap = list->cap ? list->cap * 2 : 16;
		struct wr_oid *v = reallocarray(list->v, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(err);
		list->v = v;
		list->cap = cap;
	}
	list->v[list->len++] = *oid;
	return WR_OK;
}
