#include "core/git/oidmap.h"

#include <pthread.h>

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

void wr_oidmap_fini(struct wr_oidmap *map)
{
	free(map->keys);
	free(map->values);
	*map = (struct wr_oidmap){NULL, NULL, 0, 0};
}

static enum wr_code grow(struct wr_oidmap *map, struct wr_error *err)
{
	struct wr_oidmap big = {NULL, NULL, map->cap ? map->cap * 2 : FIRST_CAP, map->len};

	big.keys = malloc(big.cap * sizeof *big.keys);
	big.values = calloc(big.cap, sizeof *big.values);
	if (!big.keys || !big.values) {
		wr_oidmap_fini(&big);
		return wr_fail_nomem(err);
	}
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
