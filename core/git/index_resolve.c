/* The second pass, from the map of the pack to the last family: by the caller's thread, and a second one if it pays. */
#include <sys/mman.h>
#include <time.h>

#include "core/base/threads.h"
#include "core/git/index_internal.h"

/* Fewer deltas than this are done before a second thread has begun. */
#define HELP_FROM 1000
#define HELP_WAIT_MS 50

static int by_base_oid(const void *a, const void *b)
{
	const struct wr_index_ref *p = a, *q = b;
	int c = wr_oid_cmp(&p->base, &q->base);

	return c ? c : (p->child > q->child) - (p->child < q->child);
}

void wr_index_unmap(struct wr_indexer *x)
{
	if (x->fd >= 0 && x->map && x->map != x->in) {
		wr_guard_free(x->guard);
		munmap((void *)(uintptr_t)x->map, x->map_size);
	}
	x->map = NULL;
	x->guard = NULL;
}

/* What came, without the trailer. */
static enum wr_code map_pack(struct wr_indexer *x)
{
	enum wr_code code;
	void *p;

	if (x->fd < 0) {
		x->map_size = x->pos - SHA1_LEN;
		x->map = x->in;
		return WR_OK;
	}
	x->map_size = (size_t)x->base - SHA1_LEN;
	p = mmap(NULL, x->map_size, PROT_READ, MAP_SHARED, x->fd, 0);
	if (p == MAP_FAILED)
		return wr_fail_errno(x->main.err, "mmap of a pack");
	x->map = p;
	if ((code = wr_guard_new(&x->guard, p, x->map_size, x->main.err)) != WR_OK)
		wr_index_unmap(x);
	return code;
}

/* Each entry's deltas, in the order of the pack; and those that name their base. */
static enum wr_code list_children(struct wr_indexer *x)
{
	void *first, *next, *taken = NULL, *rows = NULL;
	enum wr_code code;

	if ((code = wr_index_table_resize(&first, x, WR_TABLE_FIRST, x->count, sizeof *x->first)) != WR_OK ||
	    (code = wr_index_table_resize(&next, x, WR_TABLE_NEXT, x->count, sizeof *x->next)) != WR_OK ||
	    (x->ref_count &&
	     (code = wr_index_table_resize(&taken, x, WR_TABLE_TAKEN, x->ref_count, sizeof *x->taken)) != WR_OK) ||
	    (x->fd < 0 &&
	     (code = wr_index_table_resize(&rows, x, WR_TABLE_ROWS, x->count, sizeof *x->rows)) != WR_OK))
		return code;
	x->first = first;
	x->next = next;
	x->taken = taken;
	x->rows = rows;
	if (taken)
		memset(taken, 0, x->ref_count * sizeof *x->taken);
	if (rows)
		memset(rows, 0, x->count * sizeof *x->rows);
	for (uint32_t i = 0; i < x->count; i++)
		x->first[i] = NO_ENTRY;
	for (uint32_t i = x->count; i-- > 0;) {
		if (x->v[i].kind != WR_OFS_DELTA)
			continue;
		x->next[i] = x->first[x->v[i].base];
		x->first[x->v[i].base] = i;
	}
	if (x->ref_count)
		qsort(x->ref, x->ref_count, sizeof *x->ref, by_base_oid);
	return WR_OK;
}

/* ---- the second thread ---- */

struct helper {
	struct wr_index_worker w;
	struct wr_error err;
	pthread_t thread;
	pthread_mutex_t mutex; /* done */
	pthread_cond_t cond;
	bool done;
};

static void help(void *arg)
{
	struct helper *h = arg;

	h->w.code = wr_index_families(&h->w);
	pthread_mutex_lock(&h->mutex);
	h->done = true;
	pthread_cond_signal(&h->cond);
	pthread_mutex_unlock(&h->mutex);
}

/* Whether the helper has ended, after a short while at most. */
static bool helper_done(struct helper *h)
{
	struct timespec until;
	bool done;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += HELP_WAIT_MS * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&h->mutex);
	if (!h->done)
		(void)pthread_cond_timedwait(&h->cond, &h->mutex, &until);
	done = h->done;
	pthread_mutex_unlock(&h->mutex);
	return done;
}

static enum wr_code resolve_with(struct helper *h, struct wr_indexer *x)
{
	enum wr_code code = wr_index_families(&x->main);

	/* Nothing left for the caller's thread but to keep its client informed, until the helper ends or has to. */
	while (code == WR_OK && !helper_done(h)) {
		wr_index_tell(x, false);
		if ((code = wr_index_cancelled(x)) != WR_OK)
			atomic_store_explicit(&x->stop, true, memory_order_relaxed);
	}
	pthread_join(h->thread, NULL);
	if (code == WR_OK && h->w.code != WR_OK) {
		code = h->w.code;
		wr_error_move(x->main.err, &h->err);
	}
	x->help_check = h->w.check;
	h->w.check = wr_index_check(x, NULL);
	return code;
}

/* With the help of another thread if there is one to be had. */
static enum wr_code resolve_helped(struct wr_indexer *x)
{
	struct helper h = {.err = WR_ERROR_INIT};
	pthread_condattr_t attr;
	enum wr_code code;

	h.w = (struct wr_index_worker){
		.x = x, .err = &h.err, .check = wr_index_check(x, &x->read_check), .helper = true};
	pthread_mutex_init(&h.mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&h.cond, &attr);
	pthread_condattr_destroy(&attr);
	if (wr_thread_start(&h.thread, "wr-index", 0, help, &h, NULL) == WR_OK)
		code = resolve_with(&h, x);
	else
		code = wr_index_families(&x->main);
	pthread_cond_destroy(&h.cond);
	pthread_mutex_destroy(&h.mutex);
	wr_index_worker_fini(&h.w);
	wr_error_fini(&h.err);
	return code;
}

enum wr_code wr_index_resolve(struct wr_indexer *x)
{
	enum wr_code code;

	if ((code = map_pack(x)) != WR_OK || (code = list_children(x)) != WR_OK || x->delta_count == 0)
		return code;
	if (x->fd >= 0 && x->delta_count >= HELP_FROM && sysconf(_SC_NPROCESSORS_ONLN) > 1)
		return resolve_helped(x);
	return wr_index_families(&x->main);
}
