#include "core/git/append_internal.h"
#include "core/git/delta.h"

static const struct wr_record_object *row_of(uint32_t *row, const struct wr_incoming *in, const struct wr_oid *oid)
{
	const uint32_t *slot = in->rows ? wr_oidmap_slot(in->rows, oid) : NULL;

	if (!slot)
		return NULL;
	*row = *slot - 1;
	return &in->objects[*row];
}

enum wr_code wr_incoming_stat(enum wr_type *type, uint64_t *size, const struct wr_incoming *in,
			      const struct wr_snapshot *snap, const struct wr_oid *oid, struct wr_error *err)
{
	const struct wr_record_object *o;
	uint32_t row;

	if (!(o = row_of(&row, in, oid)))
		return wr_snapshot_stat(snap, oid, type, size, err);
	*type = o->type;
	if (size)
		*size = o->size;
	return WR_OK;
}

/* The zlib stream of a row, behind its header and the base that it may name. */
static enum wr_code stream(struct wr_str *out, unsigned *kind, uint64_t *size, const struct wr_record_object *o,
			   struct wr_error *err)
{
	uint64_t distance;
	size_t n = wr_entry_head(kind, size, o->raw, o->raw_len);

	if (n && *kind == WR_REF_DELTA)
		n += WR_OID_RAW;
	else if (n && *kind == WR_OFS_DELTA)
		n += wr_entry_distance(&distance, o->raw + n, o->raw_len - n);
	if (n == 0 || n >= o->raw_len)
		return wr_fail(err, WR_E_INTERNAL, "a new entry has no header");
	*out = wr_str_n(o->raw + n, o->raw_len - n);
	return WR_OK;
}

static enum wr_code inflate_row(uint8_t **out, struct wr_unzip *unzip, struct wr_str in, uint64_t size,
				struct wr_error *err)
{
	size_t used;

	return wr_unzip_all(out, &used, unzip, in, (size_t)size) == WR_ZIP_OK
		       ? WR_OK
		       : wr_fail(err, WR_E_INTERNAL, "a new entry does not inflate");
}

/* *obj becomes what the row's delta makes of it. */
static enum wr_code apply(struct wr_object *obj, struct wr_unzip *unzip, const struct wr_record_object *o,
			  struct wr_error *err)
{
	WR_AUTO_MEM uint8_t *delta = NULL;
	uint64_t base_size, size, delta_size;
	struct wr_str zip, body;
	enum wr_code code;
	unsigned kind;
	uint8_t *made;

	if ((code = stream(&zip, &kind, &delta_size, o, err)) != WR_OK ||
	    (code = inflate_row(&delta, unzip, zip, delta_size, err)) != WR_OK)
		return code;
	if (!wr_delta_sizes(&base_size, &size, &body, wr_str_n(delta, (size_t)delta_size)) || base_size != obj->size ||
	    size != o->size || !wr_delta_ok(body, base_size, size))
		return wr_fail(err, WR_E_INTERNAL, "a new delta does not fit its base");
	made = malloc((size_t)size + 1);
	if (!made)
		return wr_fail_nomem(err);
	wr_delta_apply(made, obj->data, body);
	made[size] = '\0';
	free(obj->data);
	*obj = (struct wr_object){o->type, (size_t)size, made};
	return WR_OK;
}

/* What the chain of rows ends in. */
static enum wr_code read_root(struct wr_object *out, struct wr_unzip *unzip, const struct wr_snapshot *snap,
			      const struct wr_record_object *o, bool *is_full, struct wr_error *err)
{
	struct wr_oid base;
	struct wr_str zip;
	enum wr_code code;
	unsigned kind;
	uint64_t size;
	uint8_t *data = NULL;

	if ((code = stream(&zip, &kind, &size, o, err)) != WR_OK)
		return code;
	*is_full = kind <= WR_TAG;
	if (!*is_full) {
		memcpy(base.id, (const uint8_t *)zip.ptr - WR_OID_RAW, WR_OID_RAW);
		return wr_snapshot_read(out, snap, &base, err);
	}
	if ((code = inflate_row(&data, unzip, zip, size, err)) != WR_OK)
		return code;
	*out = (struct wr_object){o->type, (size_t)size, data};
	return WR_OK;
}

/* A row's base is a row before it, so the chain ends. */
static enum wr_code read_row(struct wr_object *out, const struct wr_incoming *in, const struct wr_snapshot *snap,
			     uint32_t row, struct wr_error *err)
{
	WR_AUTO_S(wr_unzip) unzip = {.ready = false};
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	WR_AUTO_MEM uint32_t *chain = NULL;
	enum wr_code code = WR_OK;
	size_t len = 0, n = 1;
	bool full;

	for (uint32_t r = row; in->objects[r].base != WR_NO_ROW; r = in->objects[r].base)
		n++;
	chain = calloc(n, sizeof *chain);
	if (!chain)
		return wr_fail_nomem(err);
	for (uint32_t r = row; r != WR_NO_ROW; r = in->objects[r].base)
		chain[len++] = r;
	if ((code = read_root(&obj, &unzip, snap, &in->objects[chain[len - 1]], &full, err)) != WR_OK)
		return code;
	len -= full;
	while (len > 0 && code == WR_OK)
		code = apply(&obj, &unzip, &in->objects[chain[--len]], err);
	if (code != WR_OK)
		return code;
	*out = (struct wr_object){obj.type, obj.size, WR_STEAL(obj.data)};
	return WR_OK;
}

enum wr_code wr_incoming_read(struct wr_object *out, const struct wr_incoming *in, const struct wr_snapshot *snap,
			      const struct wr_oid *oid, struct wr_error *err)
{
	uint32_t row;

	if (row_of(&row, in, oid))
		return read_row(out, in, snap, row, err);
	return wr_snapshot_read(out, snap, oid, err);
}
