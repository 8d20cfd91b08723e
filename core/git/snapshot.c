/*
 * The refs of a snapshot, and how one snapshot follows from another. Objects are objects.c's.
 */
#include "core/git/snapshot.h"

#include <assert.h>

#include "core/git/lost.h"
#include "core/git/parse.h"

/* ---- overlays ---- */

void wr_overlay_unref(struct wr_overlay *o)
{
	if (!o || atomic_fetch_sub_explicit(&o->users, 1, memory_order_acq_rel) != 1)
		return;
	free(o->v);
	free(o->text);
	free(o);
}

size_t wr_overlay_lower(const struct wr_overlay *o, struct wr_str name, bool *exact)
{
	size_t lo = 0, hi = o ? o->count : 0;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (wr_refname_cmp(o->v[mid].name, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*exact = o && lo < o->count && wr_str_eq(o->v[lo].name, name);
	return lo;
}

static void overlay_put(struct wr_overlay *o, struct wr_str name, const struct wr_oid *oid, const struct wr_oid *peeled)
{
	char *to = o->text + o->text_len;

	memcpy(to, name.ptr, name.len);
	o->text_len += name.len;
	o->v[o->count++] = (struct wr_ref){wr_str_n(to, name.len), *oid, *peeled};
}

/* Of one name, in the order of the updates. */
static int update_cmp(const void *a, const void *b)
{
	const struct wr_record_update *const *x = a, *const *y = b;
	int c = wr_refname_cmp((*x)->name, (*y)->name);

	return c ? c : (*x > *y) - (*x < *y);
}

/* old with updates; of several for one ref the last one counts. */
static enum wr_code overlay_merge(struct wr_overlay **out, const struct wr_overlay *old,
				  const struct wr_record_update *updates, size_t n, struct wr_error *err)
{
	WR_AUTO_MEM const struct wr_record_update **sorted = calloc(n ? n : 1, sizeof *sorted);
	struct wr_overlay *o = calloc(1, sizeof *o);
	size_t text = old ? old->text_len : 0, i = 0, k = 0;

	for (size_t u = 0; sorted && u < n; u++) {
		sorted[u] = &updates[u];
		text += updates[u].name.len;
	}
	if (o) {
		atomic_init(&o->users, 1);
		o->v = calloc((old ? old->count : 0) + n + 1, sizeof *o->v);
		o->text = malloc(text + 1);
	}
	if (!sorted || !o || !o->v || !o->text) {
		wr_overlay_unref(o);
		return wr_fail_nomem(err);
	}
	qsort(sorted, n, sizeof *sorted, update_cmp);
	for (size_t u = 1; u < n; u++)
		if (wr_refname_cmp(sorted[u - 1]->name, sorted[u]->name) == 0)
			sorted[u - 1] = NULL;
	while ((old && i < old->count) || k < n) {
		int c;

		if (k < n && !sorted[k]) {
			k++;
			continue;
		}
		c = !old || i == old->count ? 1 : k == n ? -1 : wr_refname_cmp(old->v[i].name, sorted[k]->name);
		if (c < 0) {
			overlay_put(o, old->v[i].name, &old->v[i].oid, &old->v[i].peeled);
			i++;
			continue;
		}
		overlay_put(o, sorted[k]->name, &sorted[k]->new, &sorted[k]->peeled);
		k++;
		i += c == 0;
	}
	*out = o;
	return WR_OK;
}

/* ---- life ---- */

enum wr_code wr_snapshot_new(struct wr_snapshot **out, uint64_t max_object, struct wr_error *err)
{
	struct wr_snapshot *snap = calloc(1, sizeof *snap);

	if (!snap)
		return wr_fail_nomem(err);
	atomic_init(&snap->users, 1);
	atomic_init(&snap->flat, NULL);
	atomic_init(&snap->suspects, NULL);
	atomic_init(&snap->gone, NULL);
	snap->max_object = max_object;
	*out = snap;
	return WR_OK;
}

struct wr_snapshot *wr_snapshot_ref_more(struct wr_snapshot *snap)
{
	atomic_fetch_add_explicit(&snap->users, 1, memory_order_relaxed);
	return snap;
}

void wr_snapshot_unref(struct wr_snapshot *snap)
{
	if (!snap || atomic_fetch_sub_explicit(&snap->users, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < snap->member_count; i++) {
		wr_pack_unref(snap->members[i].pack);
		wr_dead_unref(snap->members[i].dead);
	}
	for (size_t i = 0; i < snap->journal_count; i++)
		wr_journal_unref(snap->journals[i]);
	if (snap->stored)
		wr_refsfile_unref(snap->stored);
	wr_overlay_unref(snap->overlay);
	free(snap->members);
	free(atomic_load(&snap->flat));
	wr_lost_free(atomic_load(&snap->suspects));
	wr_lost_free(atomic_load(&snap->gone));
	free(snap);
}

enum wr_code wr_snapshot_add(struct wr_snapshot *snap, const struct wr_member *m, struct wr_error *err)
{
	struct wr_member *v;

	/* Positions ascend, so this covers all of them; the ref file cannot know how long the pack is. */
	if (m->dead && m->dead->v[m->dead->count - 1] >= m->pack->count)
		return wr_fail(err, WR_E_INTERNAL, "%s lacks an entry that is said to be dead", m->pack->name);
	v = reallocarray(snap->members, snap->member_count + 1, sizeof *v);
	if (!v)
		return wr_fail_nomem(err);
	snap->members = v;
	v[snap->member_count] = *m;
	wr_pack_ref(m->pack);
	wr_dead_ref(m->dead);
	snap->member_count++;
	snap->oldest = wr_since_min(snap->oldest, m->since);
	if (m->dead)
		snap->oldest = wr_since_min(snap->oldest, m->dead->oldest);
	return WR_OK;
}

enum wr_code wr_snapshot_add_member(struct wr_snapshot *snap, struct wr_pack *pack, enum wr_role role,
				    struct wr_dead *dead, struct wr_error *err)
{
	return wr_snapshot_add(snap, &(struct wr_member){.pack = pack, .role = role, .dead = dead}, err);
}

enum wr_code wr_snapshot_copy(struct wr_snapshot **out, const struct wr_snapshot *old, struct wr_error *err)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	enum wr_code code;

	if ((code = wr_snapshot_new(&snap, old->max_object, err)) != WR_OK)
		return code;
	snap->members = calloc(old->member_count + 1, sizeof *snap->members);
	if (!snap->members)
		return wr_fail_nomem(err);
	for (size_t i = 0; i < old->member_count; i++) {
		snap->members[i] = old->members[i];
		wr_pack_ref(snap->members[i].pack);
		wr_dead_ref(snap->members[i].dead);
	}
	snap->member_count = old->member_count;
	snap->oldest = old->oldest;
	for (size_t i = 0; i < old->journal_count; i++) {
		snap->journals[i] = wr_journal_ref(old->journals[i]);
		snap->limits[i] = old->limits[i];
	}
	snap->journal_count = old->journal_count;
	snap->stored = old->stored ? wr_refsfile_ref(old->stored) : NULL;
	snap->overlay = old->overlay;
	if (snap->overlay)
		atomic_fetch_add_explicit(&snap->overlay->users, 1, memory_order_relaxed);
	snap->seq = old->seq;
	snap->lost = old->lost;
	*out = WR_STEAL(snap);
	return WR_OK;
}

enum wr_code wr_snapshot_apply(struct wr_snapshot *snap, const struct wr_record_update *updates, size_t n, uint64_t seq,
			       struct wr_error *err)
{
	struct wr_overlay *merged = NULL;
	enum wr_code code = n ? overlay_merge(&merged, snap->overlay, updates, n, err) : WR_OK;

	if (code != WR_OK)
		return code;
	if (n) {
		wr_overlay_unref(snap->overlay);
		snap->overlay = merged;
	}
	snap->seq = seq;
	for (size_t i = 0; i < n; i++)
		snap->lost |= updates[i].lossy;
	return WR_OK;
}

uint64_t wr_snapshot_seq(const struct wr_snapshot *snap)
{
	return snap->seq;
}

/* ---- refs ---- */

bool wr_snapshot_find_ref(struct wr_ref *out, const struct wr_snapshot *snap, struct wr_str name)
{
	bool exact;
	size_t i = wr_overlay_lower(snap->overlay, name, &exact);

	if (exact) {
		if (wr_oid_zero(&snap->overlay->v[i].oid))
			return false;
		*out = snap->overlay->v[i];
		return true;
	}
	if (!snap->stored)
		return false;
	i = wr_refsfile_lower(snap->stored, name, &exact);
	if (exact)
		wr_refsfile_ref_at(out, snap->stored, i);
	return exact;
}

void wr_ref_cursor_init(struct wr_ref_cursor *c, const struct wr_snapshot *snap, struct wr_str from)
{
	bool exact;

	c->snap = snap;
	c->stored = snap->stored ? wr_refsfile_lower(snap->stored, from, &exact) : 0;
	c->stored_end = snap->stored ? wr_refsfile_count(snap->stored) : 0;
	c->over = wr_overlay_lower(snap->overlay, from, &exact);
	c->over_end = snap->overlay ? snap->overlay->count : 0;
}

void wr_ref_cursor_below(struct wr_ref_cursor *c, const struct wr_snapshot *snap, struct wr_str folder)
{
	char behind[WR_REFNAME_MAX + 1];
	bool exact;

	assert(folder.len > 0 && folder.len <= sizeof behind && folder.ptr[folder.len - 1] == '/');
	wr_ref_cursor_init(c, snap, folder);
	memcpy(behind, folder.ptr, folder.len);
	behind[folder.len - 1]++;
	if (snap->stored)
		c->stored_end = wr_refsfile_lower(snap->stored, wr_str_n(behind, folder.len), &exact);
	c->over_end = wr_overlay_lower(snap->overlay, wr_str_n(behind, folder.len), &exact);
}

bool wr_ref_cursor_next(struct wr_ref *out, struct wr_ref_cursor *c)
{
	const struct wr_overlay *o = c->snap->overlay;

	for (;;) {
		bool has_stored = c->stored < c->stored_end, has_over = c->over < c->over_end;
		struct wr_ref ref;
		int cmp;

		if (!has_stored && !has_over)
			return false;
		if (has_stored)
			wr_refsfile_ref_at(&ref, c->snap->stored, c->stored);
		cmp = !has_over ? -1 : !has_stored ? 1 : wr_refname_cmp(ref.name, o->v[c->over].name);
		if (cmp < 0) {
			c->stored++;
			*out = ref;
			return true;
		}
		c->stored += cmp == 0;
		*out = o->v[c->over++];
		if (!wr_oid_zero(&out->oid))
			return true;
	}
}

/* The list is one block: a count is not stored in it, because it is set before the pointer is published. */
struct flat {
	size_t count;
	struct wr_ref v[];
};

enum wr_code wr_snapshot_flatten(struct wr_snapshot *snap, struct wr_error *err)
{
	size_t room = (snap->stored ? wr_refsfile_count(snap->stored) : 0) + (snap->overlay ? snap->overlay->count : 0);
	struct flat *flat, *none = NULL;
	struct wr_ref_cursor c;

	if (atomic_load_explicit(&snap->flat, memory_order_acquire))
		return WR_OK;
	flat = calloc(1, sizeof *flat + (room + 1) * sizeof flat->v[0]);
	if (!flat)
		return wr_fail_nomem(err);
	wr_ref_cursor_init(&c, snap, WR_S(""));
	while (wr_ref_cursor_next(&flat->v[flat->count], &c))
		flat->count++;
	if (!atomic_compare_exchange_strong_explicit(&snap->flat, (void **)&none, flat, memory_order_acq_rel,
						     memory_order_acquire))
		free(flat);
	return WR_OK;
}

const struct wr_ref *wr_snapshot_refs(const struct wr_snapshot *snap, size_t *n)
{
	const struct flat *flat = atomic_load_explicit(&snap->flat, memory_order_acquire);

	assert(flat); /* taken by wr_snapshot_take() */
	*n = flat->count;
	return flat->v;
}

const struct wr_ref *wr_snapshot_ref(const struct wr_snapshot *snap, struct wr_str name)
{
	size_t n, lo = 0;
	const struct wr_ref *v = wr_snapshot_refs(snap, &n);

	while (lo < n) {
		size_t mid = lo + (n - lo) / 2;
		int c = wr_refname_cmp(name, v[mid].name);

		if (c == 0)
			return &v[mid];
		if (c < 0)
			n = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

enum wr_code wr_snapshot_roots(struct wr_oids *out, const struct wr_snapshot *snap, struct wr_error *err)
{
	out->len = 0;
	return snap->stored ? wr_refsfile_shallow(out, snap->stored, err) : WR_OK;
}

enum wr_code wr_snapshot_ends(struct wr_oidmap *out, const struct wr_snapshot *snap, struct wr_error *err)
{
	WR_AUTO_S(wr_oids) roots = {NULL, 0, 0};
	enum wr_code code = wr_snapshot_roots(&roots, snap, err);

	for (size_t i = 0; i < roots.len && code == WR_OK; i++)
		code = wr_oidmap_add(out, &roots.v[i], 0, NULL, err);
	return code;
}
