/*
 * Families of deltas. Each hangs from a full object, and is followed depth first, so that what lives is one chain and
 * not one level. Families share nothing but the lists of deltas, and of those only the ones that name their base: an
 * object that came twice offers them twice, and the first to ask gets each.
 */
#include <sys/mman.h>

#include "core/git/index_internal.h"

/* The most that the bases on the way from a full object down to a delta may hold together. */
#define STACK_BYTES ((uint64_t)32 << 20)
/* The most of the mapped pack that is kept after it was read. */
#define MAP_BYTES ((size_t)64 << 20)
#define ASK_BYTES ((uint64_t)16 << 20)
/* Entries that a thread takes at a time, to look for families among them. */
#define ROOT_STEP 64

static size_t first_ref(const struct wr_indexer *x, const struct wr_oid *base)
{
	size_t lo = 0, hi = x->ref_count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (wr_oid_cmp(&x->ref[mid].base, base) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* One object on the way down from a full one. */
struct frame {
	uint32_t entry;		   /* NO_ENTRY: an object outside of a pack in memory */
	struct wr_index_blob data; /* p is NULL when it had to make room */
	uint32_t ofs;		   /* the next delta on it in each list */
	size_t ref;
	bool sound; /* as refs_check.h has it */
};

struct stack {
	struct frame *v;
	size_t len, cap;
	uint64_t bytes;
	uint32_t outside; /* of x->outside, what the family hangs from; or NO_ENTRY */
	enum wr_type type;
};

static void stack_pop(struct stack *s)
{
	struct frame *f = &s->v[--s->len];

	if (f->data.p)
		s->bytes -= f->data.size;
	wr_index_blob_free(&f->data);
}

/* The frame at top is in use; those at the bottom are needed again last. */
static void make_room(struct stack *s, size_t top)
{
	for (size_t i = 0; i < top && s->bytes > STACK_BYTES; i++) {
		if (!s->v[i].data.p)
			continue;
		s->bytes -= s->v[i].data.size;
		wr_index_blob_free(&s->v[i].data);
	}
}

/* Takes data over, also when it fails. */
static enum wr_code stack_push(struct stack *s, struct wr_index_worker *w, struct frame f)
{
	if (s->len == s->cap) {
		size_t cap = s->cap ? s->cap * 2 : 64;
		struct frame *v = reallocarray(s->v, cap, sizeof *v);

		if (!v) {
			wr_index_blob_free(&f.data);
			return wr_fail_nomem(w->err);
		}
		s->v = v;
		s->cap = cap;
	}
	s->v[s->len++] = f;
	s->bytes += f.data.p ? f.data.size : 0;
	make_room(s, s->len - 1);
	return WR_OK;
}

size_t wr_index_entry_end(const struct wr_indexer *x, uint32_t i)
{
	return i + 1 < x->claimed ? (size_t)x->v[i + 1].offset : x->map_size;
}

struct wr_str wr_index_entry_stream(const struct wr_indexer *x, uint32_t i, uint64_t *size)
{
	uint64_t at = x->v[i].offset, distance;
	size_t end = wr_index_entry_end(x, i);
	unsigned kind;
	size_t n = wr_entry_head(&kind, size, x->map + at, end - (size_t)at);

	if (kind == WR_REF_DELTA)
		n += WR_OID_RAW;
	else if (kind == WR_OFS_DELTA)
		n += wr_entry_distance(&distance, x->map + at + n, end - (size_t)at - n);
	return wr_str_n(x->map + at + n, end - (size_t)at - n);
}

/* Pages of the map that were read count as this process's memory until they are let go; nothing is lost by that. */
static void let_go(struct wr_index_worker *w, size_t read)
{
	w->touched += read;
	if (w->touched < MAP_BYTES || w->x->fd < 0)
		return;
	madvise((void *)(uintptr_t)w->x->map, w->x->map_size, MADV_DONTNEED);
	w->touched = 0;
}

static enum wr_code inflate_to(uint8_t *out, struct wr_index_worker *w, uint32_t i, struct wr_str in, size_t size)
{
	enum wr_zip zc;
	size_t used;

	zc = wr_unzip_into(out, &used, &w->unzip, in, size);
	let_go(w, in.len);
	if (zc == WR_ZIP_NOMEM)
		return wr_fail_nomem(w->err);
	return zc == WR_ZIP_OK ? WR_OK : wr_index_bad_at(w, w->x->v[i].offset, "damaged data");
}

static enum wr_code inflate_entry(struct wr_index_blob *out, struct wr_index_worker *w, uint32_t i)
{
	struct wr_index_blob b = {.p = NULL};
	enum wr_code code;
	uint64_t size;
	struct wr_str in = wr_index_entry_stream(w->x, i, &size);

	if ((code = wr_index_blob_new(&b, w, size)) != WR_OK)
		return code;
	if ((code = inflate_to(b.p, w, i, in, b.size)) == WR_OK)
		*out = b;
	else
		wr_index_blob_free(&b);
	return code;
}

/* A few deltas can make gigabytes, so it is not their number that says when to ask whether somebody still waits. */
static enum wr_code spend(struct wr_index_worker *w, uint64_t size)
{
	enum wr_code code = wr_index_spend(w, size);

	if (code != WR_OK || w->helper)
		return code;
	w->spent += size;
	if (w->spent < ASK_BYTES)
		return WR_OK;
	w->spent = 0;
	return wr_index_cancelled(w->x);
}

/* Content made of a delta: a block of its own, or the worker's, which the next delta needs again. */
struct made {
	struct wr_index_blob b;
	bool lent;
};

static void made_free(struct made *made)
{
	if (!made->lent)
		wr_index_blob_free(&made->b);
	*made = (struct made){.lent = true};
}

/* What a delta makes of its base. keep: in a block of its own. */
static enum wr_code apply(struct made *out, struct wr_index_worker *w, const struct wr_index_blob *base, uint32_t i,
			  struct wr_str delta, bool keep)
{
	struct made made = {.lent = true};
	uint64_t base_size, size;
	struct wr_str body;
	enum wr_code code;

	if (!wr_delta_sizes(&base_size, &size, &body, delta) || base_size != base->size ||
	    !wr_delta_ok(body, base_size, size))
		return wr_index_bad_at(w, w->x->v[i].offset, "a wrong delta");
	if (size > w->x->limits->max_object)
		return wr_index_too_large(w);
	if ((code = spend(w, size)) != WR_OK)
		return code;
	if (keep || size > WR_INDEX_IN_MEMORY) {
		if ((code = wr_index_blob_new(&made.b, w, size)) != WR_OK)
			return code;
		made.lent = false;
	} else {
		if ((code = wr_index_scratch(&w->made, w, size)) != WR_OK)
			return code;
		made.b = (struct wr_index_blob){.p = w->made.p, .size = (size_t)size};
	}
	wr_delta_apply(made.b.p, base->p, body);
	made.b.p[made.b.size] = '\0';
	*out = made;
	return WR_OK;
}

/* The same of entry i. */
static enum wr_code apply_entry(struct made *out, struct wr_index_worker *w, const struct wr_index_blob *base,
				uint32_t i, bool keep)
{
	struct wr_index_blob large = {.p = NULL};
	enum wr_code code;
	uint64_t size;
	struct wr_str in = wr_index_entry_stream(w->x, i, &size);

	if (size > WR_INDEX_IN_MEMORY) {
		if ((code = inflate_entry(&large, w, i)) == WR_OK)
			code = apply(out, w, base, i, wr_str_n(large.p, large.size), keep);
		wr_index_blob_free(&large);
		return code;
	}
	if ((code = wr_index_scratch(&w->delta, w, size)) != WR_OK ||
	    (code = inflate_to(w->delta.p, w, i, in, (size_t)size)) != WR_OK)
		return code;
	return apply(out, w, base, i, wr_str_n(w->delta.p, (size_t)size), keep);
}

/* The content that a family hangs from, again. */
static enum wr_code reread_root(struct stack *s, struct wr_index_worker *w)
{
	struct frame *f = &s->v[0];
	struct wr_object obj;
	enum wr_code code;

	if (s->outside == NO_ENTRY)
		return inflate_entry(&f->data, w, f->entry);
	if ((code = wr_snapshot_read(&obj, w->x->snap, &w->x->outside[s->outside].oid, w->err)) == WR_OK)
		f->data = (struct wr_index_blob){.p = obj.data, .size = obj.size};
	return code;
}

/*
 * Makes sure that the uppermost frame has its content: from the nearest one below that has. What is made on the way is
 * kept as far as there is room, because the frames next to the top are needed next.
 */
static enum wr_code refill(struct stack *s, struct wr_index_worker *w)
{
	size_t top = s->len - 1, from = top;
	struct made made;
	enum wr_code code;

	while (from > 0 && !s->v[from].data.p)
		from--;
	if (!s->v[from].data.p) {
		if ((code = reread_root(s, w)) != WR_OK)
			return code;
		s->bytes += s->v[from].data.size;
	}
	for (size_t i = from + 1; i <= top; i++) {
		if ((code = apply_entry(&made, w, &s->v[i - 1].data, s->v[i].entry, true)) != WR_OK)
			return code;
		s->v[i].data = made.b;
		s->bytes += made.b.size;
		make_room(s, i);
	}
	return WR_OK;
}

static bool ref_to(const struct wr_indexer *x, size_t ref, const struct wr_oid *oid)
{
	return ref < x->ref_count && wr_oid_eq(&x->ref[ref].base, oid);
}

/* A frame of entry i without content. */
static struct frame frame_of(const struct wr_indexer *x, uint32_t i)
{
	return (struct frame){
		.entry = i, .ofs = x->first[i], .ref = first_ref(x, &x->v[i].oid), .sound = x->v[i].sound};
}

static bool has_children(const struct wr_indexer *x, const struct frame *f)
{
	return f->ofs != NO_ENTRY || ref_to(x, f->ref, &x->v[f->entry].oid);
}

/* The next delta on this frame's object that is not resolved. */
static bool next_child(uint32_t *out, struct stack *s, struct wr_indexer *x)
{
	struct frame *f = &s->v[s->len - 1];
	const struct wr_oid *oid = f->entry == NO_ENTRY ? &x->outside[s->outside].oid : &x->v[f->entry].oid;

	if (f->ofs != NO_ENTRY) {
		*out = f->ofs;
		f->ofs = x->next[f->ofs];
		return true;
	}
	while (ref_to(x, f->ref, oid)) {
		size_t i = f->ref++;

		if (!atomic_exchange_explicit(&x->taken[i], 1, memory_order_relaxed)) {
			*out = x->ref[i].child;
			return true;
		}
	}
	return false;
}

void wr_index_tell(struct wr_indexer *x, bool last)
{
	uint64_t total = x->delta_count;
	uint32_t resolved = atomic_load_explicit(&x->resolved, memory_order_relaxed);
	unsigned percent;

	if (!x->progress || !x->progress->fn || total == 0)
		return;
	percent = (unsigned)(resolved * 100ull / total);
	if (!last && percent == x->percent)
		return;
	x->percent = percent;
	x->progress->fn(x->progress->arg, "Resolving deltas", resolved, total, last);
}

static enum wr_code count_child(struct wr_index_worker *w)
{
	uint32_t resolved = atomic_fetch_add_explicit(&w->x->resolved, 1, memory_order_relaxed);
	enum wr_code code;

	if (w->helper)
		return WR_OK;
	if (resolved % 256 == 0 && (code = wr_index_cancelled(w->x)) != WR_OK)
		return code;
	wr_index_tell(w->x, false);
	return WR_OK;
}

/* The child's content is known: what it is, and whether others hang from it. */
static enum wr_code settle_child(struct stack *s, struct wr_index_worker *w, uint32_t child, struct made *made)
{
	struct wr_indexer *x = w->x;
	const struct frame *top = &s->v[s->len - 1];
	const struct wr_refs_like like = {wr_str_n(top->data.p, top->data.size), top->sound};
	struct wr_str data = wr_str_n(made->b.p, made->b.size);
	struct frame f;
	enum wr_code code;

	x->v[child].base = top->entry;
	if (x->rows)
		x->rows[child] = (struct wr_index_row){
			.size = made->b.size, .outside = s->outside, .depth = (uint32_t)s->len};
	if (s->outside != NO_ENTRY && x->outside[s->outside].above < s->len)
		x->outside[s->outside].above = (uint32_t)s->len;
	if ((code = wr_index_settle(w, &x->v[child], s->type, data, &like)) != WR_OK)
		return code;
	f = frame_of(x, child);
	if (!has_children(x, &f))
		return WR_OK;
	if (made->lent) {
		if ((code = wr_index_blob_new(&f.data, w, data.len)) != WR_OK)
			return code;
		memcpy(f.data.p, data.ptr, data.len + 1);
	} else {
		f.data = made->b;
		made->lent = true;
	}
	return stack_push(s, w, f);
}

static enum wr_code resolve_child(struct stack *s, struct wr_index_worker *w, uint32_t child)
{
	struct made made;
	enum wr_code code;

	if (s->len > w->x->limits->max_depth)
		return wr_fail(w->err, WR_E_TOO_LARGE,
			       "the pack has more than %u deltas that build on each other; repack with a smaller depth",
			       w->x->limits->max_depth);
	if ((code = refill(s, w)) != WR_OK ||
	    (code = apply_entry(&made, w, &s->v[s->len - 1].data, child, w->x->first[child] != NO_ENTRY)) != WR_OK)
		return code;
	if ((code = count_child(w)) == WR_OK)
		code = settle_child(s, w, child, &made);
	made_free(&made);
	return code;
}

/* Everything that is made of the root, directly or not. */
static enum wr_code resolve_family(struct stack *s, struct wr_index_worker *w, struct frame root)
{
	enum wr_code code = stack_push(s, w, root);
	uint32_t child;

	while (code == WR_OK && s->len > 0 && !atomic_load_explicit(&w->x->stop, memory_order_relaxed)) {
		if (next_child(&child, s, w->x))
			code = resolve_child(s, w, child);
		else
			stack_pop(s);
	}
	while (s->len > 0)
		stack_pop(s);
	return code;
}

enum wr_code wr_index_families(struct wr_index_worker *w)
{
	struct wr_indexer *x = w->x;
	struct stack s = {.outside = NO_ENTRY};
	enum wr_code code = WR_OK;

	while (code == WR_OK && !atomic_load_explicit(&x->stop, memory_order_relaxed)) {
		uint32_t i = atomic_fetch_add_explicit(&x->root, ROOT_STEP, memory_order_relaxed);

		if (i >= x->claimed)
			break;
		for (uint32_t n = 0; n < ROOT_STEP && i < x->claimed && code == WR_OK; n++, i++) {
			struct frame root;

			if (x->v[i].kind > WR_TAG)
				continue;
			root = frame_of(x, i);
			s.type = (enum wr_type)x->v[i].kind;
			if (has_children(x, &root))
				code = resolve_family(&s, w, root);
		}
	}
	if (code != WR_OK)
		atomic_store_explicit(&x->stop, true, memory_order_relaxed);
	free(s.v);
	return code;
}

enum wr_code wr_index_resolve_outside(struct wr_indexer *x, struct wr_object *obj, uint32_t entry, uint32_t outside)
{
	const struct wr_oid *oid = &x->outside[outside].oid;
	struct stack s = {.outside = outside, .type = obj->type};
	struct frame root = {.entry = entry,
			     .data = {.p = WR_STEAL(obj->data), .size = obj->size},
			     .ofs = NO_ENTRY,
			     .ref = first_ref(x, oid)};
	enum wr_code code = wr_refs_check_stored(&root.sound, &x->main.check, obj->type,
						 wr_str_n(root.data.p, root.data.size), x->main.err);

	if (code == WR_OK)
		code = resolve_family(&s, &x->main, root);
	else
		wr_index_blob_free(&root.data);
	free(s.v);
	return code;
}
