#include "core/git/snapshot.h"

#include "core/git/snapshot_internal.h"

void wr_object_fini(struct wr_object *obj)
{
	free(obj->data);
	obj->data = NULL;
}

enum wr_code wr_snapshot_new(struct wr_snapshot **out, uint64_t max_object, struct wr_error *err)
{
	struct wr_snapshot *snap = calloc(1, sizeof *snap);

	if (!snap)
		return wr_fail_nomem(err);
	atomic_init(&snap->users, 1);
	snap->max_object = max_object;
	*out = snap;
	return WR_OK;
}

enum wr_code wr_snapshot_room(struct wr_snapshot *snap, size_t count, struct wr_error *err)
{
	snap->packs = calloc(count ? count : 1, sizeof(struct wr_pack *));
	return snap->packs ? WR_OK : wr_fail_nomem(err);
}

enum wr_code wr_snapshot_extend(struct wr_snapshot **out, const struct wr_snapshot *old, struct wr_pack *more,
				struct wr_error *err)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	enum wr_code code;

	if ((code = wr_snapshot_new(&snap, old->max_object, err)) != WR_OK ||
	    (code = wr_snapshot_room(snap, old->pack_count + 1, err)) != WR_OK)
		return code;
	for (size_t i = 0; i < old->pack_count; i++)
		snap->packs[snap->pack_count++] = wr_pack_ref(old->packs[i]);
	if (more)
		snap->packs[snap->pack_count++] = wr_pack_ref(more);
	*out = WR_STEAL(snap);
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
	for (size_t i = 0; i < snap->pack_count; i++)
		wr_pack_unref(snap->packs[i]);
	free(snap->packs);
	free(snap->refs);
	free(snap->text);
	free(snap);
}

const struct wr_ref *wr_snapshot_refs(const struct wr_snapshot *snap, size_t *n)
{
	*n = snap->ref_count;
	return snap->refs;
}

static int name_cmp(struct wr_str a, struct wr_str b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int c = n ? memcmp(a.ptr, b.ptr, n) : 0;

	return c ? c : (a.len > b.len) - (a.len < b.len);
}

const struct wr_ref *wr_snapshot_ref(const struct wr_snapshot *snap, struct wr_str name)
{
	size_t lo = 0, hi = snap->ref_count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = name_cmp(name, snap->refs[mid].name);

		if (c == 0)
			return &snap->refs[mid];
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

bool wr_snapshot_find(size_t *pack, uint32_t *pos, const struct wr_snapshot *snap, const struct wr_oid *oid)
{
	for (size_t i = snap->pack_count; i-- > 0;) {
		if (wr_pack_find(pos, snap->packs[i], oid)) {
			*pack = i;
			return true;
		}
	}
	return false;
}

bool wr_snapshot_has(const struct wr_snapshot *snap, const struct wr_oid *oid)
{
	uint32_t pos;
	size_t pack;

	return wr_snapshot_find(&pack, &pos, snap, oid);
}

static enum wr_code absent(const struct wr_oid *oid, struct wr_error *err)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	return wr_fail(err, WR_E_NOT_THERE, "object %s is not there", hex);
}

enum wr_code wr_snapshot_stat(const struct wr_snapshot *snap, const struct wr_oid *oid, enum wr_type *type,
			      uint64_t *size, struct wr_error *err)
{
	enum wr_type found_type;
	uint64_t found_size;
	enum wr_code code;
	uint32_t pos;
	size_t pack;

	if (!wr_snapshot_find(&pack, &pos, snap, oid))
		return absent(oid, err);
	if ((code = wr_pack_stat(&found_type, &found_size, snap->packs[pack], pos, err)) != WR_OK)
		return code;
	if (type)
		*type = found_type;
	if (size)
		*size = found_size;
	return WR_OK;
}

enum wr_code wr_snapshot_read(struct wr_object *out, const struct wr_snapshot *snap, const struct wr_oid *oid,
			      struct wr_error *err)
{
	uint32_t pos;
	size_t pack;

	if (!wr_snapshot_find(&pack, &pos, snap, oid))
		return absent(oid, err);
	return wr_pack_read(out, snap->packs[pack], pos, snap->max_object, err);
}
