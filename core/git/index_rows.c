/* What becomes of a pack in memory: the rows of a record. */
#include "core/git/index_internal.h"
#include "core/git/snapshot_internal.h"

#define HEAD_MAX 16 /* of an entry */
/* Of a row: in the map that finds twins, and in that of the quarantine. */
#define IN_MAPS 128

/* An object outside, whose chain would become too long with what is based on it, joins the pack's bytes. */
static enum wr_code add_outside(bool *fits, struct wr_indexer *x, struct wr_index_outside *o)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	WR_AUTO_MEM uint8_t *zip = NULL;
	enum wr_code code;
	size_t n, len;
	uint8_t *p;

	if ((code = wr_snapshot_read(&obj, x->snap, &o->oid, x->main.err)) != WR_OK ||
	    (code = wr_deflate(&zip, &len, wr_str_n(obj.data, obj.size), x->main.err)) != WR_OK)
		return code;
	*fits = x->len + len + HEAD_MAX <= wr_index_memory(x);
	if (!*fits || (code = wr_index_widen(fits, x, x->len + len + HEAD_MAX)) != WR_OK || !*fits)
		return code;
	x->map = p = x->in;
	n = wr_entry_put(p + x->len, (unsigned)obj.type, obj.size);
	memcpy(p + x->len + n, zip, len);
	*o = (struct wr_index_outside){.oid = o->oid,
				       .depth = o->depth,
				       .above = o->above,
				       .row = WR_NO_ROW,
				       .size = obj.size,
				       .at = x->len,
				       .len = n + len,
				       .type = obj.type};
	x->len += o->len;
	return WR_OK;
}

/* *more: how many rows the objects outside come to. */
static enum wr_code look_outside(uint32_t *more, bool *fits, struct wr_indexer *x)
{
	enum wr_code code;

	*more = 0;
	*fits = true;
	for (uint32_t i = 0; i < x->outside_count && *fits; i++) {
		struct wr_index_outside *o = &x->outside[i];
		struct wr_place place;
		unsigned depth;

		o->row = WR_NO_ROW;
		if (!wr_snapshot_find(&place, x->snap, &o->oid))
			return wr_fail(x->main.err, WR_E_INTERNAL, "a delta's base has vanished");
		if ((code = wr_snapshot_depth(&depth, x->snap, place, x->main.err)) != WR_OK)
			return code;
		o->depth = depth;
		if (depth + o->above <= WR_THIN_DEPTH)
			continue;
		if ((code = add_outside(fits, x, o)) != WR_OK)
			return code;
		++*more;
	}
	return WR_OK;
}

struct rows {
	struct wr_indexer *x;
	struct wr_record_object *v;
	uint32_t len;
	struct wr_oidmap seen;
};

static void rows_fini(struct rows *r)
{
	free(r->v);
	wr_oidmap_fini(&r->seen);
}

static void emit_outside(struct rows *r, struct wr_index_outside *o)
{
	o->row = r->len;
	r->v[r->len++] = (struct wr_record_object){.oid = o->oid,
						   .type = o->type,
						   .known = true,
						   .base = WR_NO_ROW,
						   .size = o->size,
						   .raw = r->x->in + o->at,
						   .raw_len = (uint32_t)o->len};
}

/* Its base, if that is an entry, has a row. */
static enum wr_code emit(struct rows *r, uint32_t i)
{
	struct wr_indexer *x = r->x;
	const struct wr_index_entry *e = &x->v[i];
	struct wr_index_row *row = &x->rows[i];
	struct wr_index_outside *o =
		e->kind > WR_TAG && row->outside != NO_ENTRY ? &x->outside[row->outside] : NULL;
	bool stored, fresh, added = o && o->len;
	struct wr_record_object *out;
	struct wr_place place;
	enum wr_code code;

	stored = wr_snapshot_find(&place, x->snap, &e->oid) && !wr_snapshot_unreached(x->snap, place);
	if ((code = wr_oidmap_add(&r->seen, &e->oid, 0, &fresh, x->main.err)) != WR_OK)
		return code;
	if (added && o->row == WR_NO_ROW)
		emit_outside(r, o);
	row->row = r->len;
	out = &r->v[r->len++];
	*out = (struct wr_record_object){.oid = e->oid,
					 .type = (enum wr_type)e->type,
					 .known = stored || !fresh,
					 .depth = (uint16_t)(row->depth + (o && !added ? o->depth : 0)),
					 .base = WR_NO_ROW,
					 .size = row->size,
					 .raw = x->in + e->offset,
					 .raw_len = (uint32_t)(wr_index_entry_end(x, i) - e->offset)};
	if (e->kind <= WR_TAG)
		(void)wr_index_entry_stream(x, i, &out->size);
	else if (e->base != NO_ENTRY)
		out->base = x->rows[e->base].row;
	else if (added)
		out->base = o->row;
	return WR_OK;
}

/* The entry, and before it those of its chain that have no row yet: a delta may stand before its base. */
static enum wr_code emit_chain(struct rows *r, uint32_t i)
{
	uint32_t chain[WR_DELTA_DEPTH + 1];
	size_t n = 0;
	enum wr_code code;

	for (; i != NO_ENTRY && r->x->rows[i].row == WR_NO_ROW; i = r->x->v[i].base)
		chain[n++] = i;
	while (n > 0)
		if ((code = emit(r, chain[--n])) != WR_OK)
			return code;
	return WR_OK;
}

static enum wr_code room_for(bool *fits, struct wr_indexer *x, uint64_t rows)
{
	uint64_t size = rows * (sizeof(struct wr_record_object) + IN_MAPS);

	if (size <= WR_HOLD_SMALL)
		return wr_hold_count(&x->hold, size, x->main.err);
	*fits = wr_hold_spare(&x->hold, size);
	return WR_OK;
}

enum wr_code wr_index_rows(struct wr_intake *out, bool *fits, struct wr_indexer *x)
{
	struct rows r = {.x = x};
	enum wr_code code;
	uint32_t more;

	if ((code = look_outside(&more, fits, x)) != WR_OK || !*fits ||
	    (code = room_for(fits, x, (uint64_t)x->count + more)) != WR_OK || !*fits)
		return code;
	r.v = reallocarray(NULL, (size_t)x->count + more, sizeof *r.v);
	if (!r.v)
		return wr_fail_nomem(x->main.err);
	for (uint32_t i = 0; i < x->count; i++)
		x->rows[i].row = WR_NO_ROW;
	for (uint32_t i = 0; i < x->count && code == WR_OK; i++)
		code = emit_chain(&r, i);
	if (code == WR_OK) {
		*out = (struct wr_intake){.count = r.len, .objects = WR_STEAL(r.v), .bytes = WR_STEAL(x->in)};
		x->window = (struct wr_held){.p = NULL};
	}
	rows_fini(&r);
	return code;
}
