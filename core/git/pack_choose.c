/*
 * Objects are sorted by type, by the name under which some tree has them, and by size, the largest first; each is tried
 * against some before it. So histories of one file stand together, and no choice leads back to where it came from.
 */
#include "core/git/delta_make.h"
#include "core/git/parse.h"
#include "core/git/pack_write.h"

#define WINDOW 10
#define DEPTH (WR_PACK_CHAIN / 5)
/* Larger ones stay whole. */
#define SIZE_MAX_EACH ((uint64_t)16 << 20)
#define SIZE_MIN_EACH 50

struct sorted {
	uint32_t item, name; /* the name's hash */
	uint64_t size;
	enum wr_type type;
};

struct seen {
	struct wr_object obj;
	uint32_t item;
};

struct chooser {
	struct wr_pack_writer *w;
	const struct wr_progress *progress;
	struct sorted *v;
	uint32_t *names;  /* of each item; once all are sorted, its place among them */
	uint8_t *depths;
	struct seen window[WINDOW];
	uint32_t next; /* of the window, which is replaced next */
};

static void forget(struct seen *s)
{
	wr_object_fini(&s->obj);
	s->item = WR_NO_ITEM;
}

static void chooser_fini(struct chooser *c)
{
	for (size_t i = 0; i < WINDOW; i++)
		wr_object_fini(&c->window[i].obj);
	free(c->v);
	free(c->names);
	free(c->depths);
}

static enum wr_code step(const struct chooser *c, const char *stage, uint32_t done)
{
	bool last = done == c->w->count;

	if (done % 256 && !last)
		return WR_OK;
	if (c->progress && c->progress->fn)
		c->progress->fn(c->progress->arg, stage, done, c->w->count, last);
	return wr_cancelled(c->w->cancel, c->w->err);
}

/* ---- names ---- */

/* FNV-1a; who has two names is as good under either. */
static uint32_t hash(struct wr_str name)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < name.len; i++)
		h = (h ^ (unsigned char)name.ptr[i]) * 16777619u;
	return h;
}

static enum wr_code name_entries(struct chooser *c, const struct sorted *s)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	struct wr_tree_entry e;
	struct wr_str rest;
	enum wr_code code = wr_snapshot_read_at(&obj, c->w->snap, c->w->items[s->item].place, c->w->cache, c->w->err);

	if (code != WR_OK)
		return code;
	rest = wr_str_n(obj.data, obj.size);
	while (wr_tree_next(&e, &rest, NULL) == WR_OK) {
		uint32_t item = e.mode == WR_MODE_LINK ? WR_NO_ITEM : wr_pack_item(c->w, &e.oid);

		if (item != WR_NO_ITEM)
			c->names[item] = hash(e.name);
	}
	return WR_OK;
}

static int by_likeness(const void *a, const void *b)
{
	const struct sorted *x = a, *y = b;

	if (x->type != y->type)
		return x->type < y->type ? -1 : 1;
	if (x->name != y->name)
		return x->name < y->name ? -1 : 1;
	if (x->size != y->size)
		return x->size > y->size ? -1 : 1;
	return (x->item > y->item) - (x->item < y->item);
}

static enum wr_code sort(struct chooser *c)
{
	uint32_t n = c->w->count;
	enum wr_code code = WR_OK;

	for (uint32_t i = 0; i < n && code == WR_OK; i++) {
		struct sorted *s = &c->v[i];

		s->item = i;
		code = wr_snapshot_stat(c->w->snap, &c->w->items[i].oid, &s->type, &s->size, c->w->err);
		if (code == WR_OK && s->type == WR_TREE)
			code = name_entries(c, s);
		if (code == WR_OK)
			code = step(c, "Looking at objects", i + 1);
	}
	for (uint32_t i = 0; i < n; i++)
		c->v[i].name = c->names[i];
	if (n)
		qsort(c->v, n, sizeof *c->v, by_likeness);
	for (uint32_t i = 0; i < n; i++)
		c->names[c->v[i].item] = i;
	return code;
}

/* ---- bases ---- */

/* The smallest delta on something in the window, which must be worth it. */
static enum wr_code try_window(struct chooser *c, const struct sorted *s, const struct wr_object *obj)
{
	size_t best = obj->size / 2;
	enum wr_code code;

	for (uint32_t k = 0; k < WINDOW; k++) {
		/* The last one first: it is the most alike. */
		const struct seen *on = &c->window[(c->next + WINDOW - 1 - k) % WINDOW];
		WR_AUTO_MEM uint8_t *delta = NULL;
		size_t len = 0;

		if (!on->obj.data || on->obj.type != s->type || c->depths[on->item] >= DEPTH ||
		    on->obj.size / 32 > obj->size)
			continue;
		code = wr_delta_make(&delta, &len, wr_str_n(on->obj.data, on->obj.size), wr_str_n(obj->data, obj->size),
				     best, c->w->err);
		if (code == WR_E_NOT_THERE)
			continue;
		if (code != WR_OK)
			return code;
		best = len;
		c->w->choice[s->item] = on->item;
		c->depths[s->item] = (uint8_t)(c->depths[on->item] + 1);
	}
	return WR_OK;
}

/* As it is stored, where that leads to one before it. */
static enum wr_code keep_stored(struct chooser *c, const struct sorted *s)
{
	struct wr_stored e;
	struct wr_oid oid;
	uint32_t base;
	enum wr_code code = wr_snapshot_stored(&e, c->w->snap, c->w->items[s->item].place, c->w->err);

	if (code != WR_OK || e.kind <= WR_TAG)
		return code;
	wr_snapshot_oid(&oid, c->w->snap, e.base);
	base = wr_pack_item(c->w, &oid);
	if (base == WR_NO_ITEM || c->names[base] >= c->names[s->item] || c->depths[base] >= DEPTH)
		return WR_OK;
	c->w->choice[s->item] = base;
	c->depths[s->item] = (uint8_t)(c->depths[base] + 1);
	return WR_OK;
}

static enum wr_code choose(struct chooser *c, const struct sorted *s)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	struct seen *slot = &c->window[c->next];
	enum wr_code code;

	if (s->size < SIZE_MIN_EACH || s->size > SIZE_MAX_EACH)
		return keep_stored(c, s);
	code = wr_snapshot_read_at(&obj, c->w->snap, c->w->items[s->item].place, c->w->cache, c->w->err);
	if (code != WR_OK || (code = try_window(c, s, &obj)) != WR_OK)
		return code;
	forget(slot);
	slot->obj = obj;
	slot->item = s->item;
	obj.data = NULL;
	c->next = (c->next + 1) % WINDOW;
	return c->w->choice[s->item] == WR_NO_ITEM ? keep_stored(c, s) : WR_OK;
}

enum wr_code wr_pack_choose(struct wr_pack_writer *w, const struct wr_progress *progress)
{
	WR_CLEANUP(chooser_fini) struct chooser c = {.w = w, .progress = progress};
	enum wr_code code;

	w->choice = malloc(((size_t)w->count + 1) * sizeof *w->choice);
	c.v = calloc((size_t)w->count + 1, sizeof *c.v);
	c.names = calloc((size_t)w->count + 1, sizeof *c.names);
	c.depths = calloc((size_t)w->count + 1, sizeof *c.depths);
	if (!w->choice || !c.v || !c.names || !c.depths)
		return wr_fail_nomem(w->err);
	memset(w->choice, 0xff, ((size_t)w->count + 1) * sizeof *w->choice);
	code = sort(&c);
	for (uint32_t i = 0; i < w->count && code == WR_OK; i++)
		if ((code = choose(&c, &c.v[i])) == WR_OK)
			code = step(&c, "Choosing deltas", i + 1);
	return code;
}
