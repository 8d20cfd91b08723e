/*
 * What the heads and tags reach is found (closure.c), and what no ref does (unreached.c); which packs stay is decided
 * (checkpoint_plan.c), the rest is written to at most three new packs (pack_write.c), and all is named in a new ref file.
 * Whoever called makes it count.
 */
#include "core/git/checkpoint.h"

#include <sys/stat.h>

#include "core/base/file.h"
#include "core/git/checkpoint_internal.h"
#include "core/git/mtimes.h"

/* A base whose deltas were found anew is taken if it is smaller by its size divided by this. */
#define PAYS 20

void wr_checkpoint_fini(struct wr_checkpoint *c)
{
	wr_refsfile_unref(c->stored);
	for (size_t i = 0; i < c->member_count; i++) {
		wr_pack_unref(c->members[i].pack);
		wr_dead_unref(c->members[i].dead);
	}
	free(c->members);
	*c = (struct wr_checkpoint){.number = 0};
}

/* ---- members ---- */

static void add_old(struct wr_checkpoint *out, const struct wr_build *b, const struct wr_stay *stay, enum wr_role role)
{
	out->members[out->member_count++] = (struct wr_member){
		.pack = wr_pack_ref(b->snap->members[stay->src].pack),
		.role = role,
		.dead = wr_dead_ref(stay->dead),
		.since = role == WR_ROLE_CRUFT ? stay->since : 0,
	};
}

/* With other deltas, unless those that there are do as well. */
static enum wr_code write_smaller(struct wr_pack **pack, struct wr_checkpoint *out, const struct wr_build *b, int packs,
				  const struct wr_places *places)
{
	struct wr_pack *anew = NULL;
	uint64_t stored = 0;
	enum wr_code code;

	for (size_t i = 0; i < places->len; i++) {
		struct wr_stored e;

		if ((code = wr_snapshot_stored(&e, b->snap, places->v[i], b->err)) != WR_OK)
			return code;
		stored += e.raw_len;
	}
	code = wr_pack_write_anew(&anew, &out->written, packs, b->snap, places->v, places->len, b->manner.progress,
				  b->cancel, b->err);
	if (code != WR_OK)
		return code;
	if (anew->size <= stored - stored / PAYS) {
		*pack = anew;
		return WR_OK;
	}
	wr_pack_remove(packs, anew->name);
	wr_pack_unref(anew);
	return wr_pack_write(pack, &out->written, packs, b->snap, places->v, places->len, b->cancel, b->err);
}

static enum wr_code add_new(struct wr_checkpoint *out, const struct wr_build *b, int packs,
			    const struct wr_places *places, enum wr_role role)
{
	struct wr_pack *pack = NULL;
	enum wr_code code;

	if (places->len == 0)
		return WR_OK;
	code = role == WR_ROLE_BASE && b->manner.redelta
		       ? write_smaller(&pack, out, b, packs, places)
		       : wr_pack_write(&pack, &out->written, packs, b->snap, places->v, places->len, b->cancel, b->err);
	if (code == WR_OK)
		out->members[out->member_count++] = (struct wr_member){.pack = pack, .role = role};
	return code;
}

static enum wr_code write_times(struct wr_checkpoint *out, struct wr_member *m, const struct wr_build *b, int packs)
{
	WR_AUTO_MEM uint32_t *times = calloc((size_t)m->pack->count + 1, sizeof *times);
	struct wr_oid oid;
	uint32_t pos;

	if (!times)
		return wr_fail_nomem(b->err);
	for (size_t i = 0; i < b->cruft.len; i++) {
		wr_snapshot_oid(&oid, b->snap, b->cruft.v[i]);
		if (!wr_pack_find(&pos, m->pack, &oid))
			return wr_fail(b->err, WR_E_INTERNAL, "%s lacks what was written to it", m->pack->name);
		times[pos] = b->cruft.since[i];
		m->since = wr_since_min(m->since, b->cruft.since[i]);
	}
	return wr_mtimes_write(&out->written, packs, m->pack, times, b->err);
}

/* For certain: not for want of memory, nor for its size. */
static bool is_damaged(const struct wr_build *b, struct wr_place place)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	struct wr_stored e;
	enum wr_code code = wr_snapshot_stored(&e, b->snap, place, NULL);

	if (code == WR_OK && !wr_pack_sound(b->snap, place, &e))
		return true;
	if (code == WR_OK)
		code = wr_snapshot_read_at(&obj, b->snap, place, NULL, NULL);
	return code == WR_E_INTERNAL;
}

/* Damage in what nobody reaches keeps no checkpoint from being made. false: there is none, so something else is wrong. */
static bool leave_damage_out(struct wr_build *b)
{
	size_t kept = 0, all = b->cruft.len;

	for (size_t i = 0; i < all; i++) {
		if (is_damaged(b, b->cruft.v[i]))
			continue;
		b->cruft.v[kept] = b->cruft.v[i];
		b->cruft.since[kept++] = b->cruft.since[i];
	}
	b->cruft.len = kept;
	return kept < all;
}

static enum wr_code add_cruft(struct wr_checkpoint *out, struct wr_build *b, int packs)
{
	size_t before = out->member_count;
	enum wr_code code = add_new(out, b, packs, &b->cruft, WR_ROLE_CRUFT);

	if (code == WR_E_INTERNAL && leave_damage_out(b)) {
		if (b->err)
			wr_error_fini(b->err);
		code = add_new(out, b, packs, &b->cruft, WR_ROLE_CRUFT);
	}
	return code == WR_OK && out->member_count > before ? write_times(out, &out->members[before], b, packs) : code;
}

static enum wr_role kin_role(const struct wr_checkpoint *out)
{
	return out->member_count ? WR_ROLE_TAIL : WR_ROLE_BASE;
}

/* The base is the largest: those that stay come by size, and what is new is smaller than any of them. */
static enum wr_code gather(struct wr_checkpoint *out, struct wr_build *b, int packs)
{
	enum wr_code code;

	out->members = calloc(b->kin.len + b->others.len + b->crufts.len + 3, sizeof *out->members);
	if (!out->members)
		return wr_fail_nomem(b->err);
	for (size_t i = 0; i < b->kin.len; i++)
		if (!b->kin.v[i].merged)
			add_old(out, b, &b->kin.v[i], kin_role(out));
	if ((code = add_new(out, b, packs, &b->fresh, kin_role(out))) != WR_OK)
		return code;
	for (size_t i = 0; i < b->crufts.len; i++)
		if (!b->crufts.v[i].merged)
			add_old(out, b, &b->crufts.v[i], WR_ROLE_CRUFT);
	if ((code = add_cruft(out, b, packs)) != WR_OK)
		return code;
	for (size_t i = 0; i < b->others.len; i++)
		if (!b->others.v[i].merged)
			add_old(out, b, &b->others.v[i], WR_ROLE_OTHER);
	return add_new(out, b, packs, &b->loose, WR_ROLE_OTHER);
}

static bool had(const struct wr_snapshot *snap, const struct wr_pack *pack)
{
	for (size_t i = 0; i < snap->member_count; i++)
		if (snap->members[i].pack == pack)
			return true;
	return false;
}

static bool base_went(const struct wr_checkpoint *out, const struct wr_snapshot *snap)
{
	for (size_t i = 0; i < snap->member_count; i++) {
		if (snap->members[i].role != WR_ROLE_BASE)
			continue;
		for (size_t k = 0; k < out->member_count; k++)
			if (out->members[k].pack == snap->members[i].pack)
				return false;
		return true;
	}
	return false;
}

/* ---- the ref file ---- */

static void refs_name(char out[32], uint64_t number)
{
	snprintf(out, 32, "%llu.refs", (unsigned long long)number);
}

static enum wr_code list_refs(struct wr_ref **out, size_t *n, const struct wr_build *b)
{
	WR_AUTO_MEM struct wr_ref *v = NULL;
	struct wr_ref_cursor cursor;
	struct wr_ref ref;
	size_t cap = 0;

	*n = 0;
	wr_ref_cursor_init(&cursor, b->snap, WR_S(""));
	while (wr_ref_cursor_next(&ref, &cursor)) {
		if (*n == cap) {
			struct wr_ref *more = reallocarray(v, cap = cap ? cap * 2 : 64, sizeof *more);

			if (!more)
				return wr_fail_nomem(b->err);
			v = more;
		}
		v[(*n)++] = ref;
	}
	*out = WR_STEAL(v);
	return WR_OK;
}

/* One that goes must not end walks should it come back with its parents. */
static enum wr_code keep_roots(struct wr_oids *out, const struct wr_build *b)
{
	const struct wr_oids *all = &b->closure.shallow;
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < all->len && code == WR_OK; i++) {
		const struct wr_unreached_item *item;
		struct wr_place home;

		if (!wr_closure_home(&home, &b->closure, &all->v[i]))
			continue;
		item = wr_unreached_at(&b->unreached, home);
		if (!item || !item->drop)
			code = wr_oids_add(out, &all->v[i], b->err);
	}
	return code;
}

static enum wr_code write_refs(const struct wr_checkpoint *out, const struct wr_build *b, int warren)
{
	WR_AUTO_MEM struct wr_refsfile_pack *packs = calloc(out->member_count + 1, sizeof *packs);
	struct wr_refsfile_contents contents = {.seq = b->snap->seq, .packs = packs, .pack_count = out->member_count};
	WR_AUTO_MEM struct wr_ref *refs = NULL;
	WR_AUTO_S(wr_oids) roots = {NULL, 0, 0};
	enum wr_code code;

	if (!packs)
		return wr_fail_nomem(b->err);
	for (size_t i = 0; i < out->member_count; i++) {
		packs[i].role = out->members[i].role;
		packs[i].dead = out->members[i].dead;
		packs[i].since = out->members[i].since;
		snprintf(packs[i].name, sizeof packs[i].name, "%s", out->members[i].pack->name);
	}
	if ((code = list_refs(&refs, &contents.ref_count, b)) != WR_OK || (code = keep_roots(&roots, b)) != WR_OK)
		return code;
	contents.refs = refs;
	contents.shallow = roots.len ? &roots : NULL;
	return wr_refsfile_write(warren, out->number, &contents, b->err);
}

/* New files are flushed before the ref file names them, and their folder before that one's. */
static enum wr_code name_all(struct wr_checkpoint *out, const struct wr_build *b, int packs, int warren)
{
	char name[32];
	struct stat st;
	enum wr_code code;

	if (out->written && (code = wr_file_sync_dir(packs, ".", b->err)) != WR_OK)
		return code;
	if ((code = wr_cancelled(b->cancel, b->err)) != WR_OK || (code = write_refs(out, b, warren)) != WR_OK ||
	    (code = wr_file_sync_dir(warren, ".", b->err)) != WR_OK)
		return code;
	refs_name(name, out->number);
	if (fstatat(warren, name, &st, 0) == 0)
		out->written += (uint64_t)st.st_size;
	return wr_refsfile_open(&out->stored, warren, out->number, b->err);
}

void wr_checkpoint_undo(const struct wr_checkpoint *out, const struct wr_snapshot *snap, int packs, int warren)
{
	char name[32];

	refs_name(name, out->number);
	unlinkat(warren, name, 0);
	for (size_t i = 0; i < out->member_count; i++)
		if (!had(snap, out->members[i].pack))
			wr_pack_remove(packs, out->members[i].pack->name);
}

enum wr_code wr_checkpoint_build(struct wr_checkpoint *out, struct wr_snapshot *snap, int packs, int warren,
				 uint64_t number, const struct wr_checkpoint_how *how, const struct wr_cancel *cancel,
				 struct wr_error *err)
{
	WR_AUTO_S(wr_build) b = {.snap = snap, .cancel = cancel, .err = err};
	WR_AUTO_S(wr_checkpoint) made = {.number = number};
	enum wr_code code;

	if (how->manner)
		b.manner = *how->manner;
	code = wr_closure_init(&b.closure, snap, !snap->lost, cancel, err);

	if (code == WR_OK)
		code = wr_closure_walk(&b.closure, false, err);
	if (code == WR_OK)
		code = wr_unreached_find(&b.unreached, &b.closure, packs, &how->grace, b.manner.whole, err);
	if (code == WR_OK)
		code = wr_build_plan(&b);
	if (code != WR_OK)
		return code;
	code = gather(&made, &b, packs);
	if (code == WR_OK)
		code = name_all(&made, &b, packs, warren);
	if (code != WR_OK) {
		wr_checkpoint_undo(&made, snap, packs, warren);
		return code;
	}
	made.gained = b.gained;
	made.died = b.died;
	made.cruft = b.unreached.kept;
	made.dropped = b.unreached.dropped;
	made.rebased = base_went(&made, snap);
	*out = made;
	made = (struct wr_checkpoint){.number = 0};
	return WR_OK;
}
