#include "core/git/object_source.h"

#include <limits.h>

#include "core/git/snapshot_internal.h"

/* zlib counts in unsigned int. */
#define SLICE ((size_t)UINT_MAX / 2)

static enum wr_code damaged(const struct wr_object_source *src, struct wr_error *err)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, &src->oid);
	return wr_fail(err, WR_E_INTERNAL, "object %s is damaged", hex);
}

/* Until buf is full, or the stream has ended and was what its head said. */
static enum wr_code read_on(struct wr_source *base, void *buf, size_t cap, size_t *got, struct wr_error *err)
{
	struct wr_object_source *src = (struct wr_object_source *)base;
	size_t n = cap < SLICE ? cap : SLICE;
	z_stream *z = &src->unzip.z;

	z->next_out = buf;
	z->avail_out = (uInt)n;
	while (!src->ended && z->avail_out > 0) {
		size_t in = src->zip.len < SLICE ? src->zip.len : SLICE;
		int rc;

		z->next_in = (Bytef *)(uintptr_t)src->zip.ptr;
		z->avail_in = (uInt)in;
		rc = inflate(z, Z_NO_FLUSH);
		src->zip = wr_str_skip(src->zip, in - z->avail_in);
		src->ended = rc == Z_STREAM_END;
		/* Without anything more to read it is a Z_BUF_ERROR. */
		if (rc != Z_OK && rc != Z_STREAM_END)
			return damaged(src, err);
	}
	n -= z->avail_out;
	if (n > src->left || (src->ended && (n < src->left || src->zip.len > 0)))
		return damaged(src, err);
	src->left -= n;
	*got = n;
	return WR_OK;
}

/* From the entry's head alone, as the most are not. */
static bool is_large(const struct wr_snapshot *snap, struct wr_place place, uint64_t min)
{
	struct wr_row_entry row;
	struct wr_str zip;
	uint64_t size;
	unsigned kind;

	if (place.src < snap->member_count)
		return wr_pack_front(&kind, &size, &zip, snap->members[place.src].pack, place.pos, NULL) == WR_OK &&
		       kind <= WR_TAG && size >= min;
	wr_journal_row(&row, snap->journals[place.src - snap->member_count], place.pos);
	return row.size >= min;
}

enum wr_code wr_object_source_open(struct wr_object_source *src, bool *opened, const struct wr_snapshot *snap,
				   const struct wr_oid *oid, uint64_t min, struct wr_error *err)
{
	struct wr_stored stored;
	struct wr_place place;
	enum wr_zip zc;

	*opened = false;
	if (!wr_snapshot_find(&place, snap, oid) || !is_large(snap, place, min) ||
	    wr_snapshot_stored(&stored, snap, place, NULL) != WR_OK || stored.kind > WR_TAG)
		return WR_OK;
	if (stored.size > snap->max_object)
		return wr_fail(err, WR_E_TOO_LARGE, "The object has more than %llu bytes",
			       (unsigned long long)snap->max_object);
	*src = (struct wr_object_source){.base = {read_on}, .size = stored.size, .left = stored.size, .oid = *oid,
					 .zip = wr_str_n(stored.zip, stored.zip_len)};
	zc = wr_unzip_begin(&src->unzip);
	if (zc != WR_ZIP_OK)
		return wr_fail_nomem(err);
	*opened = true;
	return WR_OK;
}

void wr_object_source_fini(struct wr_object_source *src)
{
	wr_unzip_fini(&src->unzip);
}
