#include "core/content/sizes.h"

#include <pthread.h>

#define BUCKETS 4096

struct kept {
	struct wr_oid tree;
	struct wr_sizes_list *list;
	struct kept *next;
};

struct half {
	struct kept *buckets[BUCKETS];
	size_t bytes;
};

/*
 * Two halves: what is new, or asked for again, goes to the young one. When that is full the old one is dropped, and the
 * young one grows old: what nobody asked for meanwhile goes, without an order to keep.
 */
struct wr_sizes {
	pthread_mutex_t mutex; /* all below */
	struct half *young, *old;
	size_t max_bytes; /* of one half */
};

void wr_sizes_list_unref(struct wr_sizes_list *list)
{
	if (list && atomic_fetch_sub_explicit(&list->users, 1, memory_order_acq_rel) == 1)
		free(list);
}

static size_t bytes_of(const struct kept *k)
{
	return sizeof *k + sizeof *k->list + k->list->count * sizeof k->list->v[0];
}

static void empty(struct half *h)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		while (h->buckets[i]) {
			struct kept *k = h->buckets[i];

			h->buckets[i] = k->next;
			wr_sizes_list_unref(k->list);
			free(k);
		}
	}
	h->bytes = 0;
}

static struct kept **find(struct half *h, const struct wr_oid *tree)
{
	struct kept **p = &h->buckets[wr_oid_hash(tree) % BUCKETS];

	while (*p && !wr_oid_eq(&(*p)->tree, tree))
		p = &(*p)->next;
	return p;
}

/* With the mutex. Takes k over. */
static void put(struct wr_sizes *s, struct kept *k)
{
	struct half *full = s->young;
	struct kept **p;

	if (full->bytes > s->max_bytes) {
		s->young = s->old;
		s->old = full;
		empty(s->young);
	}
	p = find(s->young, &k->tree);
	k->next = *p;
	*p = k;
	s->young->bytes += bytes_of(k);
}

struct wr_sizes_list *wr_sizes_find(struct wr_sizes *sizes, const struct wr_oid *tree)
{
	struct wr_sizes_list *list = NULL;
	struct kept **p, *k;

	if (!sizes)
		return NULL;
	pthread_mutex_lock(&sizes->mutex);
	k = *find(sizes->young, tree);
	if (!k && (k = *(p = find(sizes->old, tree)))) {
		*p = k->next;
		sizes->old->bytes -= bytes_of(k);
		put(sizes, k);
	}
	if (k) {
		list = k->list;
		atomic_fetch_add_explicit(&list->users, 1, memory_order_relaxed);
	}
	pthread_mutex_unlock(&sizes->mutex);
	return list;
}

/* One that is large would push all others out, and without memory nothing is kept. */
static struct kept *make(const struct wr_sizes *sizes, const struct wr_oid *tree, const uint64_t *v, size_t count)
{
	struct kept *k;

	if (!sizes || count > sizes->max_bytes / 4 / sizeof *v || !(k = calloc(1, sizeof *k)))
		return NULL;
	k->tree = *tree;
	k->list = malloc(sizeof *k->list + count * sizeof *v);
	if (!k->list) {
		free(k);
		return NULL;
	}
	atomic_init(&k->list->users, 1);
	k->list->count = (uint32_t)count;
	if (count)
		memcpy(k->list->v, v, count * sizeof *v);
	return k;
}

void wr_sizes_keep(struct wr_sizes *sizes, const struct wr_oid *tree, const uint64_t *v, size_t count)
{
	struct kept *k = make(sizes, tree, v, count);

	if (!k)
		return;
	pthread_mutex_lock(&sizes->mutex);
	if (!*find(sizes->young, tree) && !*find(sizes->old, tree)) {
		put(sizes, k);
		k = NULL;
	}
	pthread_mutex_unlock(&sizes->mutex);
	if (k)
		wr_sizes_list_unref(k->list);
	free(k);
}

enum wr_code wr_sizes_new(struct wr_sizes **out, size_t max_bytes, struct wr_error *err)
{
	struct wr_sizes *s = calloc(1, sizeof *s);

	if (!s || !(s->young = calloc(1, sizeof *s->young)) || !(s->old = calloc(1, sizeof *s->old))) {
		if (s)
			free(s->young);
		free(s);
		return wr_fail_nomem(err);
	}
	pthread_mutex_init(&s->mutex, NULL);
	s->max_bytes = max_bytes / 2;
	*out = s;
	return WR_OK;
}

void wr_sizes_free(struct wr_sizes *sizes)
{
	if (!sizes)
		return;
	empty(sizes->young);
	empty(sizes->old);
	pthread_mutex_destroy(&sizes->mutex);
	free(sizes->young);
	free(sizes->old);
	free(sizes);
}
