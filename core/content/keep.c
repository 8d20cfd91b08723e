#include "core/content/keep.h"

#include <pthread.h>
#include <xxhash.h>

#include "core/base/id.h"

#define BUCKETS 8192
#define LARGE 16 /* what takes more than this part of a half is not kept */

struct entry {
	struct entry *next;
	struct wr_kept *kept;
	size_t key_len;
	char key[];
};

struct half {
	struct entry *buckets[BUCKETS];
	size_t bytes;
};

/*
 * Two halves: what is new, or asked for again, goes to the young one. When that is full the old one is dropped, and the
 * young one grows old: what nobody asked for meanwhile goes, without an order to keep.
 */
struct wr_keep {
	pthread_mutex_t mutex; /* young, old and all in them */
	struct half *young, *old;
	size_t max_bytes; /* of one half */
	uint64_t seed;
};

void wr_kept_unref(struct wr_kept *kept)
{
	if (kept && atomic_fetch_sub_explicit(&kept->users, 1, memory_order_acq_rel) == 1)
		free(kept);
}

static size_t bytes_of(const struct entry *e)
{
	return sizeof *e + e->key_len + sizeof *e->kept + e->kept->len;
}

static void entry_free(struct entry *e)
{
	wr_kept_unref(e->kept);
	free(e);
}

static void empty(struct half *h)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		while (h->buckets[i]) {
			struct entry *e = h->buckets[i];

			h->buckets[i] = e->next;
			entry_free(e);
		}
	}
	h->bytes = 0;
}

static struct entry **find(struct half *h, uint64_t hash, struct wr_str key)
{
	struct entry **p = &h->buckets[hash % BUCKETS];

	while (*p && !wr_str_eq(wr_str_n((*p)->key, (*p)->key_len), key))
		p = &(*p)->next;
	return p;
}

/* With the mutex. Takes e over, which is in neither half. */
static void put(struct wr_keep *keep, uint64_t hash, struct entry *e)
{
	struct half *full = keep->young;

	if (full->bytes > keep->max_bytes) {
		keep->young = keep->old;
		keep->old = full;
		empty(keep->young);
	}
	e->next = keep->young->buckets[hash % BUCKETS];
	keep->young->buckets[hash % BUCKETS] = e;
	keep->young->bytes += bytes_of(e);
}

static uint64_t hash_of(const struct wr_keep *keep, struct wr_str key)
{
	return XXH3_64bits_withSeed(key.ptr, key.len, keep->seed);
}

struct wr_kept *wr_keep_find(struct wr_keep *keep, struct wr_str key)
{
	uint64_t hash = keep ? hash_of(keep, key) : 0;
	struct wr_kept *kept = NULL;
	struct entry **p, *e;

	if (!keep)
		return NULL;
	pthread_mutex_lock(&keep->mutex);
	e = *find(keep->young, hash, key);
	if (!e && (e = *(p = find(keep->old, hash, key)))) {
		*p = e->next;
		keep->old->bytes -= bytes_of(e);
		put(keep, hash, e);
	}
	if (e) {
		kept = e->kept;
		atomic_fetch_add_explicit(&kept->users, 1, memory_order_relaxed);
	}
	pthread_mutex_unlock(&keep->mutex);
	return kept;
}

/* NULL without memory: then it is not kept. */
static struct entry *make(struct wr_str key, struct wr_str bytes)
{
	struct entry *e = malloc(sizeof *e + key.len);

	if (!e)
		return NULL;
	e->key_len = key.len;
	memcpy(e->key, key.ptr, key.len);
	e->kept = malloc(sizeof *e->kept + bytes.len);
	if (!e->kept) {
		free(e);
		return NULL;
	}
	atomic_init(&e->kept->users, 1);
	e->kept->len = bytes.len;
	if (bytes.len)
		memcpy(e->kept->bytes, bytes.ptr, bytes.len);
	return e;
}

void wr_keep_add(struct wr_keep *keep, struct wr_str key, struct wr_str bytes)
{
	struct entry *e;
	uint64_t hash;

	if (!keep || key.len > keep->max_bytes / LARGE || bytes.len > keep->max_bytes / LARGE || !(e = make(key, bytes)))
		return;
	hash = hash_of(keep, key);
	pthread_mutex_lock(&keep->mutex);
	if (!*find(keep->young, hash, key) && !*find(keep->old, hash, key)) {
		put(keep, hash, e);
		e = NULL;
	}
	pthread_mutex_unlock(&keep->mutex);
	if (e)
		entry_free(e);
}

enum wr_code wr_keep_new(struct wr_keep **out, size_t max_bytes, struct wr_error *err)
{
	struct wr_keep *keep = calloc(1, sizeof *keep);

	if (!keep || !(keep->young = calloc(1, sizeof *keep->young)) || !(keep->old = calloc(1, sizeof *keep->old))) {
		if (keep)
			free(keep->young);
		free(keep);
		return wr_fail_nomem(err);
	}
	pthread_mutex_init(&keep->mutex, NULL);
	keep->max_bytes = max_bytes / 2;
	wr_random_bytes(&keep->seed, sizeof keep->seed);
	*out = keep;
	return WR_OK;
}

void wr_keep_free(struct wr_keep *keep)
{
	if (!keep)
		return;
	empty(keep->young);
	empty(keep->old);
	pthread_mutex_destroy(&keep->mutex);
	free(keep->young);
	free(keep->old);
	free(keep);
}
