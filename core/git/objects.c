/*
 * The objects of a snapshot: where they are, and what they unpack to. Chains of deltas are followed by a loop, through
 * packs and journals alike, and each step of one is checked before it is taken.
 */
#include <fcntl.h>
#include <unistd.h>

#include "core/git/cache.h"
#include "core/git/delta.h"
#include "core/git/git_internal.h"
#include "core/git/hold.h"
#include "core/git/index.h"

void wr_object_fini(struct wr_object *obj)
{
	free(obj->data);
	obj->data = NULL;
}

/* ---- places ---- */

static const struct wr_pack *pack_of(const struct wr_snapshot *snap, struct wr_place place)
{
	return place.src < snap->member_count ? snap->members[place.src].pack : NULL;
}

static void row_of(struct wr_row_entry *out, const struct wr_snapshot *snap, struct wr_place place)
{
	wr_journal_row(out, snap->journals[place.src - snap->member_count], place.pos);
}

static bool is_kin(const struct wr_member *m)
{
	return m->role == WR_ROLE_BASE || m->role == WR_ROLE_TAIL;
}

/* In base and tails, or in the other packs. */
static bool find_in_packs(struct wr_place *out, const struct wr_snapshot *snap, const struct wr_oid *oid, bool kin)
{
	uint32_t pos;

	for (size_t i = snap->member_count; i-- > 0;) {
		const struct wr_member *m = &snap->members[i];

		if (is_kin(m) == kin && wr_pack_find(&pos, m->pack, oid) && !wr_dead_is_gone(m->dead, pos)) {
			*out = (struct wr_place){(uint32_t)i, pos};
			return true;
		}
	}
	return false;
}

bool wr_snapshot_find(struct wr_place *out, const struct wr_snapshot *snap, const struct wr_oid *oid)
{
	uint32_t pos;

	for (size_t i = snap->journal_count; i-- > 0;) {
		if (wr_journal_find(&pos, snap->journals[i], snap->limits[i], oid)) {
			*out = (struct wr_place){(uint32_t)(snap->member_count + i), pos};
			return true;
		}
	}
	return find_in_packs(out, snap, oid, true) || find_in_packs(out, snap, oid, false);
}

bool wr_snapshot_unreached(const struct wr_snapshot *snap, struct wr_place place)
{
	const struct wr_member *m = place.src < snap->member_count ? &snap->members[place.src] : NULL;

	return m && (m->role == WR_ROLE_CRUFT || wr_dead_since(m->dead, place.pos) != 0);
}

void wr_snapshot_oid(struct wr_oid *out, const struct wr_snapshot *snap, struct wr_place place)
{
	const struct wr_pack *p = pack_of(snap, place);
	struct wr_row_entry row;

	if (p) {
		wr_pack_oid(out, p, place.pos);
		return;
	}
	row_of(&row, snap, place);
	*out = row.oid;
}

uint64_t wr_snapshot_offset(const struct wr_snapshot *snap, struct wr_place place)
{
	const struct wr_pack *p = pack_of(snap, place);
	struct wr_row_entry row;

	if (p)
		return wr_pack_offset(p, place.pos);
	row_of(&row, snap, place);
	return row.offset;
}

bool wr_snapshot_in_closure(const struct wr_snapshot *snap, const struct wr_oid *oid)
{
	uint32_t pos;

	for (size_t i = snap->member_count; i-- > 0;) {
		const struct wr_member *m = &snap->members[i];

		if (is_kin(m) && wr_pack_find(&pos, m->pack, oid) && !wr_dead_has(m->dead, pos))
			return true;
	}
	return false;
}

bool wr_snapshot_has(const struct wr_snapshot *snap, const struct wr_oid *oid)
{
	struct wr_place place;

	return wr_snapshot_find(&place, snap, oid);
}

/* Always an error: that it is not there, unless an index is too damaged to tell. */
static enum wr_code absent(const struct wr_snapshot *snap, const struct wr_oid *oid, struct wr_error *err)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	for (size_t i = 0; i < snap->member_count; i++)
		if (!wr_pack_finds(snap->members[i].pack, oid))
			return wr_fail(err, WR_E_INTERNAL, "%s.idx is damaged: looking for %s",
				       snap->members[i].pack->name, hex);
	return wr_fail(err, WR_E_NOT_THERE, "object %s is not there", hex);
}

static enum wr_code damaged(const struct wr_snapshot *snap, struct wr_place place, struct wr_error *err)
{
	const struct wr_pack *p = pack_of(snap, place);
	char hex[WR_OID_HEX + 1];
	struct wr_oid oid;

	wr_snapshot_oid(&oid, snap, place);
	wr_oid_hex(hex, &oid);
	return wr_fail(err, WR_E_INTERNAL, "object %s is damaged in %s", hex, p ? p->name : "a journal");
}

static enum wr_code too_large(const struct wr_snapshot *snap, struct wr_error *err)
{
	return wr_fail(err, WR_E_TOO_LARGE, "The object has more than %llu bytes",
		       (unsigned long long)snap->max_object);
}

/* ---- entries as they are stored ---- */

/* *rank: of the entry where it is known, then of its base where that is (pack.h). */
static enum wr_code stored_in_pack(struct wr_stored *out, uint32_t *rank, const struct wr_pack *p,
				   struct wr_place place, struct wr_error *err)
{
	struct wr_entry e;
	enum wr_code code = wr_pack_entry_ranked(&e, p, place.pos, *rank, err);

	if (code != WR_OK)
		return code;
	*rank = e.base_rank;
	*out = (struct wr_stored){
		.kind = e.kind,
		.size = e.size,
		.raw = p->data + e.at,
		.raw_len = (size_t)(e.end - e.at),
		.zip = p->data + e.data,
		.zip_len = (size_t)(e.end - e.data),
		.base = {place.src, e.base},
	};
	return WR_OK;
}

/* How long the base's name in front of a row's zlib stream is; 0: cut off, or no delta. */
static size_t base_len(const struct wr_stored *s, const uint8_t *bytes, size_t len)
{
	uint64_t distance;

	if (s->kind == WR_OFS_DELTA)
		return wr_entry_distance(&distance, bytes, len);
	return s->kind == WR_REF_DELTA && len >= WR_OID_RAW ? WR_OID_RAW : 0;
}

/* A row's base is an earlier row, or whatever has the id that its entry names. */
static bool base_of_row(struct wr_place *out, const struct wr_snapshot *snap, struct wr_place place,
			const struct wr_row_entry *row, const struct wr_stored *s, const uint8_t *name)
{
	struct wr_oid oid;

	*out = (struct wr_place){place.src, row->base};
	if (row->base != WR_NO_ROW)
		return row->base < place.pos;
	if (s->kind != WR_REF_DELTA)
		return false;
	memcpy(oid.id, name, WR_OID_RAW);
	return wr_snapshot_find(out, snap, &oid);
}

static enum wr_code stored_in_journal(struct wr_stored *out, const struct wr_snapshot *snap, struct wr_place place,
				      struct wr_error *err)
{
	struct wr_stored s = {0};
	struct wr_row_entry row;
	size_t n, name;

	row_of(&row, snap, place);
	s.raw = row.raw;
	s.raw_len = row.raw_len;
	n = wr_entry_head(&s.kind, &s.size, s.raw, s.raw_len);
	if (n == 0)
		return damaged(snap, place, err);
	if (s.kind == (unsigned)row.type) {
		if (s.size != row.size)
			return damaged(snap, place, err);
	} else {
		name = base_len(&s, s.raw + n, s.raw_len - n);
		if (name == 0 || !base_of_row(&s.base, snap, place, &row, &s, s.raw + n))
			return damaged(snap, place, err);
		n += name;
	}
	s.zip = s.raw + n;
	s.zip_len = s.raw_len - n;
	*out = s;
	return WR_OK;
}

static enum wr_code stored_ranked(struct wr_stored *out, uint32_t *rank, const struct wr_snapshot *snap,
				  struct wr_place place, struct wr_error *err)
{
	const struct wr_pack *p = pack_of(snap, place);

	if (p)
		return stored_in_pack(out, rank, p, place, err);
	*rank = WR_NO_RANK;
	return stored_in_journal(out, snap, place, err);
}

enum wr_code wr_snapshot_stored(struct wr_stored *out, const struct wr_snapshot *snap, struct wr_place place,
				struct wr_error *err)
{
	uint32_t rank = WR_NO_RANK;

	return stored_ranked(out, &rank, snap, place, err);
}

static enum wr_code too_deep(const struct wr_snapshot *snap, struct wr_place place, struct wr_error *err)
{
	char hex[WR_OID_HEX + 1];
	struct wr_oid oid;

	wr_snapshot_oid(&oid, snap, place);
	wr_oid_hex(hex, &oid);
	return wr_fail(err, WR_E_INTERNAL, "the delta chain of object %s is too long", hex);
}

/*
 * A row's chain was bounded when it came. Then a pack may have brought its base once more, as the end of the longest
 * chain that a pack may have.
 */
static unsigned most_deltas(const struct wr_snapshot *snap, struct wr_place place)
{
	return pack_of(snap, place) ? WR_DELTA_DEPTH : WR_DELTA_DEPTH + WR_THIN_DEPTH;
}

/* The full object at the end of the chain, and how many deltas come before it. */
static enum wr_code find_root(struct wr_stored *root, unsigned *depth, const struct wr_snapshot *snap,
			      struct wr_place place, struct wr_error *err)
{
	struct wr_place at = place;
	uint32_t rank = WR_NO_RANK;
	enum wr_code code;

	for (*depth = 0; (code = stored_ranked(root, &rank, snap, at, err)) == WR_OK && root->kind > WR_TAG; ++*depth) {
		if (*depth == most_deltas(snap, place))
			return too_deep(snap, place, err);
		at = root->base;
	}
	return code;
}

enum wr_code wr_snapshot_depth(unsigned *out, const struct wr_snapshot *snap, struct wr_place place,
			       struct wr_error *err)
{
	struct wr_stored root;
	unsigned depth;
	enum wr_code code = find_root(&root, &depth, snap, place, err);

	if (code == WR_OK)
		*out = depth;
	return code;
}

/* ---- type and size ---- */

/* What a delta makes. */
static enum wr_code result_size(uint64_t *size, const struct wr_snapshot *snap, struct wr_place place, struct wr_str zip,
				struct wr_error *err)
{
	uint64_t base_size;
	enum wr_zip zc = wr_delta_front(&base_size, size, zip);

	if (zc == WR_ZIP_NOMEM)
		return wr_fail_nomem(err);
	return zc == WR_ZIP_OK ? WR_OK : damaged(snap, place, err);
}

/* Without the type, for which a delta would have to be followed to its root. */
static enum wr_code size_at(uint64_t *size, const struct wr_snapshot *snap, struct wr_place place, struct wr_error *err)
{
	const struct wr_pack *p = pack_of(snap, place);
	struct wr_row_entry row;
	struct wr_str zip;
	unsigned kind;
	enum wr_code code;

	if (!p) {
		row_of(&row, snap, place);
		*size = row.size;
		return WR_OK;
	}
	code = wr_pack_front(&kind, size, &zip, p, place.pos, err);
	if (code == WR_OK && (kind == WR_OFS_DELTA || kind == WR_REF_DELTA))
		code = result_size(size, snap, place, zip, err);
	return code;
}

static enum wr_code stat_at(enum wr_type *type, uint64_t *size, const struct wr_snapshot *snap, struct wr_place place,
			    struct wr_error *err)
{
	struct wr_stored s, root;
	struct wr_row_entry row;
	enum wr_code code;
	unsigned depth;

	if (!pack_of(snap, place)) {
		row_of(&row, snap, place);
		*type = row.type;
		*size = row.size;
		return WR_OK;
	}
	if ((code = find_root(&root, &depth, snap, place, err)) != WR_OK)
		return code;
	*type = (enum wr_type)root.kind;
	*size = root.size;
	if (depth == 0)
		return WR_OK;
	if ((code = wr_snapshot_stored(&s, snap, place, err)) != WR_OK)
		return code;
	return result_size(size, snap, place, wr_str_n(s.zip, s.zip_len), err);
}

enum wr_code wr_snapshot_stat(const struct wr_snapshot *snap, const struct wr_oid *oid, enum wr_type *type,
			      uint64_t *size, struct wr_error *err)
{
	enum wr_type found_type;
	struct wr_place place;
	uint64_t found_size;
	enum wr_code code;

	if (!wr_snapshot_find(&place, snap, oid))
		return absent(snap, oid, err);
	code = type ? stat_at(&found_type, &found_size, snap, place, err) : size_at(&found_size, snap, place, err);
	if (code != WR_OK)
		return code;
	if (type)
		*type = found_type;
	if (size)
		*size = found_size;
	return WR_OK;
}

/* ---- many sizes ---- */

/*
 * In a large repository each place that is looked at, in the index and in the pack, is mostly in no cache of the processor.
 * So all of a group take a step before any takes the next one.
 */
#define GROUP 32

static void hint_ids(const struct wr_snapshot *snap, const struct wr_oid *oids, size_t n, bool again)
{
	for (size_t i = 0; i < n; i++)
		for (size_t m = 0; m < snap->member_count; m++)
			if (is_kin(&snap->members[m]))
				wr_pack_hint_id(snap->members[m].pack, &oids[i], again);
}

static void hint_entries(const struct wr_snapshot *snap, const struct wr_place *places, size_t n, bool again)
{
	const struct wr_pack *p;

	for (size_t i = 0; i < n; i++)
		if ((p = pack_of(snap, places[i])) != NULL)
			wr_pack_hint_entry(p, places[i].pos, again);
}

static enum wr_code group_sizes(uint64_t *sizes, const struct wr_snapshot *snap, const struct wr_oid *oids, size_t n,
				struct wr_error *err)
{
	struct wr_place places[GROUP];
	enum wr_code code = WR_OK;

	hint_ids(snap, oids, n, false);
	hint_ids(snap, oids, n, true);
	for (size_t i = 0; i < n; i++)
		if (!wr_snapshot_find(&places[i], snap, &oids[i]))
			return absent(snap, &oids[i], err);
	hint_entries(snap, places, n, false);
	hint_entries(snap, places, n, true);
	for (size_t i = 0; i < n && code == WR_OK; i++)
		code = size_at(&sizes[i], snap, places[i], err);
	return code;
}

enum wr_code wr_snapshot_sizes(uint64_t *sizes, const struct wr_snapshot *snap, const struct wr_oid *oids, size_t n,
			       struct wr_error *err)
{
	enum wr_code code = WR_OK;

	for (size_t at = 0; at < n && code == WR_OK; at += GROUP)
		code = group_sizes(sizes + at, snap, oids + at, n - at < GROUP ? n - at : GROUP, err);
	return code;
}

/* ---- reading ---- */

struct hop {
	struct wr_place place;
	struct wr_str zip;
	uint64_t size;
};

#define LARGE ((size_t)1 << 20)
/* What is larger lies in a file, where the reader has a folder for such. */
#define IN_MEMORY ((size_t)16 << 20)

/* One object on its way: the deltas above what is there already, the object's own first; the rest is working space. */
struct reading {
	const struct wr_snapshot *snap;
	struct wr_cache *cache;
	struct wr_error *err;
	struct wr_unzip unzip;
	struct wr_held delta;
	struct wr_held *made; /* NULL, or the two in which a reader's objects are made in turns, one from the other */
	unsigned turn;
	struct wr_hold *files; /* NULL: everything is made on the heap */
	struct hop *hops;
	size_t len, cap;
};

static void reading_fini(struct reading *r)
{
	wr_unzip_fini(&r->unzip);
	wr_held_free(&r->delta);
	free(r->hops);
}

/* What was in it is gone. What comes next may be a bit larger, unless this is large already. */
static enum wr_code room_in(struct reading *r, struct wr_held *b, size_t n)
{
	size_t cap = n < 4096 ? 4096 : n < LARGE ? n + n / 4 : n;

	if (n <= b->size)
		return WR_OK;
	wr_held_free(b);
	if (r->files && n > IN_MEMORY)
		return wr_held_resize(b, r->files, n, 0, r->err);
	*b = (struct wr_held){.p = malloc(cap), .size = cap};
	if (b->p)
		return WR_OK;
	b->size = 0;
	return wr_fail_nomem(r->err);
}

/* Where an object and its NUL are made; drop() undoes it. */
static enum wr_code room_for(uint8_t **out, struct reading *r, size_t size)
{
	enum wr_code code;

	if (!r->made) {
		*out = malloc(size + 1);
		return *out ? WR_OK : wr_fail_nomem(r->err);
	}
	r->turn ^= 1;
	if ((code = room_in(r, &r->made[r->turn], size + 1)) == WR_OK)
		*out = r->made[r->turn].p;
	return code;
}

/* Files that were needed on the way only; memory is used again. */
static void let_files_go(struct reading *r)
{
	if (r->delta.mapped)
		wr_held_free(&r->delta);
	if (r->made && r->made[r->turn ^ 1].mapped)
		wr_held_free(&r->made[r->turn ^ 1]);
}

static void drop(const struct reading *r, uint8_t *data)
{
	if (!r->made)
		free(data);
}

static enum wr_code add_hop(struct reading *r, struct wr_place place, const struct wr_stored *s)
{
	if (r->len == r->cap) {
		size_t cap = r->cap ? r->cap * 2 : 16;
		struct hop *v = reallocarray(r->hops, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(r->err);
		r->hops = v;
		r->cap = cap;
	}
	r->hops[r->len++] = (struct hop){place, wr_str_n(s->zip, s->zip_len), s->size};
	return WR_OK;
}

/*
 * Down the chain to something that the cache has (*cached, borrowed), or to the full object: then that is the last hop.
 */
static enum wr_code go_down(struct wr_cached *out, bool *cached, struct reading *r, struct wr_place place)
{
	struct wr_place at = place;
	uint32_t rank = WR_NO_RANK;
	struct wr_stored s;
	enum wr_code code;

	while (!(*cached = wr_cache_get(out, r->cache, at))) {
		if ((code = stored_ranked(&s, &rank, r->snap, at, r->err)) != WR_OK ||
		    (code = add_hop(r, at, &s)) != WR_OK)
			return code;
		if (s.kind <= WR_TAG) {
			out->obj.type = (enum wr_type)s.kind;
			return WR_OK;
		}
		if (r->len > most_deltas(r->snap, place))
			return too_deep(r->snap, place, r->err);
		at = s.base;
	}
	return out->depth + r->len > most_deltas(r->snap, place) ? too_deep(r->snap, place, r->err) : WR_OK;
}

/* Before memory is taken for what a stream claims to be. */
static enum wr_code check_claim(struct reading *r, const struct hop *hop)
{
	if (hop->size > r->snap->max_object)
		return too_large(r->snap, r->err);
	return hop->size / WR_ZIP_RATIO > hop->zip.len ? damaged(r->snap, hop->place, r->err) : WR_OK;
}

/* Into data, which has room for one byte more than its size. */
static enum wr_code unzip(uint8_t *data, struct reading *r, const struct hop *hop)
{
	size_t used = 0;
	enum wr_zip zc = wr_unzip_into(data, &used, &r->unzip, hop->zip, (size_t)hop->size);

	if (zc == WR_ZIP_NOMEM)
		return wr_fail_nomem(r->err);
	return zc == WR_ZIP_OK && used == hop->zip.len ? WR_OK : damaged(r->snap, hop->place, r->err);
}

static enum wr_code inflate_full(struct wr_object *obj, struct reading *r, const struct hop *hop)
{
	enum wr_code code = check_claim(r, hop);
	uint8_t *data;

	if (code != WR_OK || (code = room_for(&data, r, (size_t)hop->size)) != WR_OK)
		return code;
	if ((code = unzip(data, r, hop)) != WR_OK) {
		drop(r, data);
		return code;
	}
	obj->size = (size_t)hop->size;
	obj->data = data;
	return WR_OK;
}

/* Into r->delta. */
static enum wr_code inflate_delta(struct reading *r, const struct hop *hop)
{
	enum wr_code code = check_claim(r, hop);

	if (code == WR_OK)
		code = room_in(r, &r->delta, (size_t)hop->size + 1);
	return code == WR_OK ? unzip(r->delta.p, r, hop) : code;
}

/* made, in a block that base is not in, from base. */
static enum wr_code apply(struct wr_object *made, struct reading *r, const struct wr_object *base,
			  const struct hop *hop)
{
	uint64_t base_size, size;
	struct wr_str body;
	enum wr_code code;

	if ((code = inflate_delta(r, hop)) != WR_OK)
		return code;
	if (!wr_delta_sizes(&base_size, &size, &body, wr_str_n(r->delta.p, (size_t)hop->size)) ||
	    base_size != base->size || !wr_delta_ok(body, base_size, size))
		return damaged(r->snap, hop->place, r->err);
	if (size > r->snap->max_object)
		return too_large(r->snap, r->err);
	if ((code = room_for(&made->data, r, (size_t)size)) != WR_OK)
		return code;
	made->type = base->type;
	made->size = (size_t)size;
	wr_delta_apply(made->data, base->data, body);
	made->data[size] = '\0';
	return WR_OK;
}

/*
 * Up again, hop by hop; what was a base on the way goes to the cache. *c: what go_down() found, owned says whether it
 * is ours to give; in the end the object, always ours where a hop was left.
 */
static enum wr_code go_up(struct wr_cached *c, bool owned, struct reading *r, struct wr_place place)
{
	while (r->len > 0) {
		const struct hop *hop = &r->hops[--r->len];
		struct wr_cached made = {.depth = c->depth + 1};
		enum wr_code code = apply(&made.obj, r, &c->obj, hop);

		if (owned && !r->made)
			wr_cache_give(code == WR_OK ? r->cache : NULL, place, c);
		if (code != WR_OK)
			return code;
		*c = made;
		owned = true;
		place = hop->place;
	}
	return WR_OK;
}

/* What a journal says of an object must be what its bytes are. */
static bool as_said(const struct wr_snapshot *snap, struct wr_place place, const struct wr_object *obj)
{
	struct wr_row_entry row;

	if (pack_of(snap, place))
		return true;
	row_of(&row, snap, place);
	return row.type == obj->type && row.size == obj->size;
}

/* Inflates what the cache does not have: then out's object is the caller's; else (*cached) borrowed. */
static enum wr_code read_into(struct wr_cached *out, bool *cached, struct reading *r, struct wr_place place)
{
	struct wr_cached found = {.depth = 0};
	bool base_cached;
	enum wr_code code;

	r->len = 0;
	code = go_down(&found, &base_cached, r, place);
	*cached = code == WR_OK && base_cached && r->len == 0;
	if (code == WR_OK && !base_cached) {
		const struct hop *root = &r->hops[--r->len];

		if ((code = inflate_full(&found.obj, r, root)) == WR_OK)
			code = go_up(&found, true, r, root->place);
	} else if (code == WR_OK) {
		code = go_up(&found, false, r, place);
	}
	let_files_go(r);
	if (code == WR_OK && !*cached && !as_said(r->snap, place, &found.obj)) {
		drop(r, found.obj.data);
		code = damaged(r->snap, place, r->err);
	}
	if (code == WR_OK)
		*out = found;
	return code;
}

static enum wr_code read_once(struct wr_cached *out, bool *cached, const struct wr_snapshot *snap,
			      struct wr_place place, struct wr_cache *cache, struct wr_error *err)
{
	struct reading r = {.snap = snap, .cache = cache, .err = err};
	enum wr_code code = read_into(out, cached, &r, place);

	reading_fini(&r);
	return code;
}

static enum wr_code copy_of(struct wr_object *out, const struct wr_object *obj, struct wr_error *err)
{
	uint8_t *data = malloc(obj->size + 1);

	if (!data)
		return wr_fail_nomem(err);
	memcpy(data, obj->data, obj->size + 1);
	*out = (struct wr_object){obj->type, obj->size, data};
	return WR_OK;
}

enum wr_code wr_snapshot_read_at(struct wr_object *out, const struct wr_snapshot *snap, struct wr_place place,
				 struct wr_cache *cache, struct wr_error *err)
{
	struct wr_cached found, copy;
	bool cached;
	enum wr_code code = read_once(&found, &cached, snap, place, cache, err);

	if (code != WR_OK)
		return code;
	if (cached)
		return copy_of(out, &found.obj, err);
	/* Often the base of what is read next. */
	copy.depth = found.depth;
	if (wr_cache_fits(cache, found.obj.size) && copy_of(&copy.obj, &found.obj, NULL) == WR_OK)
		wr_cache_give(cache, place, &copy);
	*out = found.obj;
	return WR_OK;
}

enum wr_code wr_snapshot_read_cached(struct wr_object *out, const struct wr_snapshot *snap, const struct wr_oid *oid,
				     struct wr_cache *cache, struct wr_error *err)
{
	struct wr_place place;

	if (!wr_snapshot_find(&place, snap, oid))
		return absent(snap, oid, err);
	return wr_snapshot_read_at(out, snap, place, cache, err);
}

enum wr_code wr_snapshot_read(struct wr_object *out, const struct wr_snapshot *snap, const struct wr_oid *oid,
			      struct wr_error *err)
{
	return wr_snapshot_read_cached(out, snap, oid, NULL, err);
}

enum wr_code wr_snapshot_borrow(enum wr_type *type, struct wr_str *bytes, const struct wr_snapshot *snap,
				const struct wr_oid *oid, struct wr_cache *cache, struct wr_error *err)
{
	struct wr_place place;
	struct wr_cached found;
	enum wr_code code;
	bool cached;

	if (!wr_snapshot_find(&place, snap, oid))
		return absent(snap, oid, err);
	if ((code = read_once(&found, &cached, snap, place, cache, err)) != WR_OK)
		return code;
	if (!cached)
		wr_cache_keep(cache, place, &found);
	*type = found.obj.type;
	*bytes = wr_str_n(found.obj.data, found.obj.size);
	return WR_OK;
}

/* ---- many, one after the other ---- */

struct wr_reader {
	struct reading r;
	struct wr_held made[2];
	const struct wr_git *git; /* NULL: nothing is made in files */
	struct wr_hold files;
	int folder;
};

enum wr_code wr_reader_new(struct wr_reader **out, const struct wr_snapshot *snap, struct wr_error *err)
{
	struct wr_reader *reader = calloc(1, sizeof *reader);

	if (!reader)
		return wr_fail_nomem(err);
	reader->r = (struct reading){.snap = snap, .made = reader->made};
	reader->folder = -1;
	*out = reader;
	return WR_OK;
}

static enum wr_code folder_of(int *fd, void *arg, struct wr_error *err)
{
	struct wr_reader *reader = arg;

	if (reader->folder < 0)
		reader->folder = open(reader->git->run.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (reader->folder < 0)
		return wr_fail_errno(err, "open the folder for spool files");
	*fd = reader->folder;
	return WR_OK;
}

void wr_reader_spill(struct wr_reader *reader, const struct wr_git *git)
{
	reader->git = git;
	reader->files = (struct wr_hold){.dir = folder_of, .arg = reader};
	reader->r.files = git ? &reader->files : NULL;
}

enum wr_code wr_reader_read(struct wr_object *out, struct wr_reader *reader, const struct wr_oid *oid,
			    struct wr_error *err)
{
	struct wr_cached found;
	struct wr_place place;
	enum wr_code code;
	bool cached;

	if (!wr_snapshot_find(&place, reader->r.snap, oid))
		return absent(reader->r.snap, oid, err);
	reader->r.err = err;
	code = read_into(&found, &cached, &reader->r, place);
	if (code == WR_OK)
		*out = found.obj;
	return code;
}

static size_t sum(const struct wr_reader *reader, bool mapped)
{
	const struct wr_held *all[] = {&reader->r.delta, &reader->made[0], &reader->made[1]};
	size_t n = 0;

	for (size_t i = 0; i < WR_ARRAY_LEN(all); i++)
		n += all[i]->mapped == mapped ? all[i]->size : 0;
	return n;
}

size_t wr_reader_holds(const struct wr_reader *reader)
{
	return sum(reader, false);
}

uint64_t wr_reader_files(const struct wr_reader *reader)
{
	return sum(reader, true);
}

void wr_reader_drop(struct wr_reader *reader)
{
	wr_held_free(&reader->r.delta);
	wr_held_free(&reader->made[0]);
	wr_held_free(&reader->made[1]);
}

void wr_reader_free(struct wr_reader *reader)
{
	if (!reader)
		return;
	wr_reader_drop(reader);
	reading_fini(&reader->r);
	if (reader->folder >= 0)
		close(reader->folder);
	free(reader);
}
