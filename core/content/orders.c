#include "core/content/orders.h"

#include <pthread.h>

#include "core/base/id.h"
#include "core/content/orders_file.h"

/* A new tip is looked for on top of a known one by this many steps along commits with one parent. */
#define STEPS_MAX 4096
/* Of one repository so many known tips are looked for. */
#define NEAR_MAX 8
/* So many are kept, that looking through them costs little. */
#define KEPT_MAX 1000
/*
 * One that is shorter is made anew as quickly as it is read. One that was stored is stored again when it lacks so many, or
 * this part, so that histories that grow are not written too often.
 */
#define STORED_MIN 400
#define UNSTORED_MAX 256
/* What nobody has asked for yet is not worth more memory than this takes, some 400 MB. No history of today is longer. */
#define PREPARED_MAX 2000000

struct kept {
	char repo_id[WR_UUID_LEN + 1];
	struct wr_order *order;
	struct kept *next; /* the one used before */
};

struct wr_orders {
	pthread_mutex_t mutex; /* the list */
	struct kept *last;     /* used last */
	size_t max_bytes;
	struct wr_git *git; /* NULL: none is stored */
};

static size_t order_bytes(const struct wr_order *o)
{
	return sizeof(struct kept) + sizeof *o + (size_t)o->count * (sizeof *o->commits + sizeof *o->first) +
	       (size_t)o->first[o->count] * sizeof *o->parents;
}

void wr_order_unref(struct wr_order *order)
{
	if (!order || atomic_fetch_sub_explicit(&order->users, 1, memory_order_acq_rel) != 1)
		return;
	if (!order->bytes) {
		free(order->commits);
		free(order->first);
		free(order->parents);
	}
	free(order->bytes);
	free(order);
}

enum wr_code wr_order_new(struct wr_order **out, uint32_t count, uint32_t parents, struct wr_error *err)
{
	struct wr_order *o = calloc(1, sizeof *o);

	if (!o)
		return wr_fail_nomem(err);
	atomic_init(&o->users, 1);
	o->commits = calloc((size_t)count + 1, sizeof *o->commits);
	o->first = calloc((size_t)count + 1, sizeof *o->first);
	o->parents = calloc((size_t)parents + 1, sizeof *o->parents);
	if (!o->commits || !o->first || !o->parents) {
		wr_order_unref(o);
		return wr_fail_nomem(err);
	}
	o->count = count;
	*out = o;
	return WR_OK;
}

/* ---- on top of another one ---- */

static enum wr_code prepend(struct wr_order **out, const struct wr_order *old, const struct wr_oids *more,
			    struct wr_error *err)
{
	uint32_t n = (uint32_t)more->len, edges = old->first[old->count];
	enum wr_code code = wr_order_new(out, old->count + n, edges + n, err);
	struct wr_order *o = *out;

	if (code != WR_OK)
		return code;
	o->unstored = old->unstored + n;
	memcpy(o->commits, more->v, n * sizeof *o->commits);
	memcpy(o->commits + n, old->commits, old->count * sizeof *o->commits);
	for (uint32_t i = 0; i < n; i++) {
		o->first[i] = i;
		o->parents[i] = i + 1;
	}
	for (uint32_t i = 0; i <= old->count; i++)
		o->first[n + i] = old->first[i] + n;
	for (uint32_t i = 0; i < edges; i++)
		o->parents[n + i] = old->parents[i] + n;
	return WR_OK;
}

/* ---- those that are kept ---- */

/* With a reference; it becomes the one used last. */
static struct wr_order *take_kept(struct wr_orders *orders, const char *repo_id, const struct wr_oid *tip)
{
	struct wr_order *found = NULL;

	pthread_mutex_lock(&orders->mutex);
	for (struct kept **p = &orders->last; *p; p = &(*p)->next) {
		struct kept *k = *p;

		if (strcmp(k->repo_id, repo_id) != 0 || !wr_oid_eq(&k->order->commits[0], tip))
			continue;
		*p = k->next;
		k->next = orders->last;
		orders->last = k;
		found = k->order;
		atomic_fetch_add(&found->users, 1);
		break;
	}
	pthread_mutex_unlock(&orders->mutex);
	return found;
}

/* Those of one repository, used last first, each with a reference. */
static size_t take_near(struct wr_order *near[NEAR_MAX], struct wr_orders *orders, const char *repo_id)
{
	size_t n = 0;

	pthread_mutex_lock(&orders->mutex);
	for (struct kept *k = orders->last; k && n < NEAR_MAX; k = k->next) {
		if (strcmp(k->repo_id, repo_id) != 0)
			continue;
		atomic_fetch_add(&k->order->users, 1);
		near[n++] = k->order;
	}
	pthread_mutex_unlock(&orders->mutex);
	return n;
}

static void kept_free(struct kept *k)
{
	wr_order_unref(k->order);
	free(k);
}

/* Drops what was used longest ago; those used last stay. */
static struct kept *take_surplus(struct wr_orders *orders)
{
	struct kept **p = &orders->last, *surplus;
	size_t bytes = 0, count = 0;

	while (*p && ++count <= KEPT_MAX && (bytes += order_bytes((*p)->order)) <= orders->max_bytes)
		p = &(*p)->next;
	surplus = *p;
	*p = NULL;
	return surplus;
}

/* One that is too large, or for which there is no memory, is not kept. */
static void keep(struct wr_orders *orders, const char *repo_id, struct wr_order *order)
{
	struct kept *k, *surplus;

	if (order_bytes(order) > orders->max_bytes / 2 || !(k = calloc(1, sizeof *k)))
		return;
	snprintf(k->repo_id, sizeof k->repo_id, "%s", repo_id);
	k->order = order;
	atomic_fetch_add(&order->users, 1);
	pthread_mutex_lock(&orders->mutex);
	k->next = orders->last;
	orders->last = k;
	surplus = take_surplus(orders);
	pthread_mutex_unlock(&orders->mutex);
	while (surplus) {
		struct kept *next = surplus->next;

		kept_free(surplus);
		surplus = next;
	}
}

/* The tip, and what is below it down to the tip of one of these. *out NULL: none of them is near. */
static enum wr_code on_top(struct wr_order **out, struct wr_order *const *near, size_t count, const struct wr_view *v,
			   const struct wr_oid *tip, struct wr_error *err)
{
	WR_AUTO_S(wr_oids) more = {NULL, 0, 0};
	struct wr_oid at = *tip;

	*out = NULL;
	while (count > 0 && more.len < STEPS_MAX) {
		WR_AUTO_S(wr_commit) commit = {.parents = NULL};
		enum wr_code code;

		if ((code = wr_oids_add(&more, &at, err)) != WR_OK ||
		    (code = wr_view_commit(&commit, v, &at, err)) != WR_OK || commit.parent_count != 1)
			return code;
		at = commit.parents[0];
		for (size_t i = 0; i < count; i++)
			if (wr_oid_eq(&near[i]->commits[0], &at))
				return prepend(out, near[i], &more, err);
	}
	return WR_OK;
}

static enum wr_code make_near(struct wr_order **out, struct wr_orders *orders, const char *repo_id,
			      const struct wr_view *v, const struct wr_oid *tip, struct wr_error *err)
{
	struct wr_order *near[NEAR_MAX] = {NULL};
	size_t count = take_near(near, orders, repo_id);
	enum wr_code code = on_top(out, near, count, v, tip, err);

	for (size_t i = 0; i < count; i++)
		wr_order_unref(near[i]);
	return code;
}

/* Of the default branch only, which most ask for. */
static bool is_stored_kind(const struct wr_orders *orders, const struct wr_view *v, const struct wr_oid *tip)
{
	struct wr_oid head;

	return orders && orders->git && wr_view_head(&head, v) == WR_OK && wr_oid_eq(&head, tip);
}

/* From the file, and what is on top of that. *out NULL: it is of no use. */
static enum wr_code make_from_file(struct wr_order **out, struct wr_git *git, const char *repo_id,
				   const struct wr_view *v, const struct wr_oid *tip, struct wr_error *err)
{
	WR_AUTO(wr_order) *o = wr_order_load(git, repo_id, v);

	*out = NULL;
	if (!o)
		return WR_OK;
	if (!wr_oid_eq(&o->commits[0], tip))
		return on_top(out, &(struct wr_order *){o}, 1, v, tip, err);
	*out = WR_STEAL(o);
	return WR_OK;
}

/* Before others see it. */
static void store_if_due(struct wr_order *o, struct wr_git *git, const char *repo_id, const struct wr_view *v)
{
	if (o->count < STORED_MIN || o->unstored < UNSTORED_MAX || o->unstored < o->count / UNSTORED_MAX)
		return;
	wr_order_store(git, repo_id, v, o);
	o->unstored = 0;
}

enum wr_code wr_order_of(struct wr_order **out, struct wr_orders *orders, const char *repo_id, const struct wr_view *v,
			 const struct wr_oid *tip, struct wr_error *err)
{
	struct wr_order *o = orders ? take_kept(orders, repo_id, tip) : NULL;
	enum wr_code code = WR_OK;

	if (!o) {
		bool stored = is_stored_kind(orders, v, tip);

		if (orders)
			code = make_near(&o, orders, repo_id, v, tip, err);
		if (code == WR_OK && !o && stored)
			code = make_from_file(&o, orders->git, repo_id, v, tip, err);
		if (code == WR_OK && !o)
			code = wr_order_make(&o, v, tip, UINT32_MAX, err);
		if (code == WR_OK && stored)
			store_if_due(o, orders->git, repo_id, v);
		if (code == WR_OK && orders)
			keep(orders, repo_id, o);
	}
	if (code == WR_OK)
		*out = o;
	return code;
}

void wr_orders_prepare(struct wr_git *git, struct wr_git_repo *repo, const char *branch, const struct wr_cancel *cancel)
{
	const char *id = wr_git_repo_id(repo);
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	WR_AUTO(wr_order) *o = NULL;
	struct wr_oid tip;
	enum wr_code code;

	if (wr_view_open(&v, repo, wr_str(branch), true, cancel, NULL) != WR_OK || wr_view_head(&tip, &v) != WR_OK)
		return;
	code = make_from_file(&o, git, id, &v, &tip, NULL);
	if (code == WR_OK && !o)
		code = wr_order_make(&o, &v, &tip, PREPARED_MAX, NULL);
	if (code == WR_OK)
		store_if_due(o, git, id, &v);
}

uint32_t wr_order_find(const struct wr_order *order, const struct wr_oid *oid)
{
	for (uint32_t i = 0; i < order->count; i++)
		if (wr_oid_eq(&order->commits[i], oid))
			return i;
	return UINT32_MAX;
}

void wr_order_mark(bool *yes, const struct wr_order *order, uint32_t from)
{
	yes[from] = true;
	for (uint32_t i = from; i < order->count; i++)
		for (uint32_t k = order->first[i]; yes[i] && k < order->first[i + 1]; k++)
			yes[order->parents[k]] = true;
}

void wr_orders_store_in(struct wr_orders *orders, struct wr_git *git)
{
	orders->git = git;
}

enum wr_code wr_orders_new(struct wr_orders **out, size_t max_bytes, struct wr_error *err)
{
	struct wr_orders *orders = calloc(1, sizeof *orders);

	if (!orders)
		return wr_fail_nomem(err);
	pthread_mutex_init(&orders->mutex, NULL);
	orders->max_bytes = max_bytes;
	*out = orders;
	return WR_OK;
}

void wr_orders_free(struct wr_orders *orders)
{
	if (!orders)
		return;
	while (orders->last) {
		struct kept *k = orders->last;

		orders->last = k->next;
		kept_free(k);
	}
	pthread_mutex_destroy(&orders->mutex);
	free(orders);
}
