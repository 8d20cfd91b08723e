/* The index of a pack (gitformat-pack, version 2); its layout stands in pack.c. */
#include "core/git/pack.h"
#include "core/git/summed.h"

static void fill(struct wr_summed *s, const struct wr_idx_source *src, uint32_t count)
{
	uint32_t n = 0, longs = 0;

	wr_summed_put(s, "\377tOc\0\0\0\2", 8);
	for (unsigned first = 0; first < 256; first++) {
		while (n < count && src->item(src->arg, n).oid->id[0] == first)
			n++;
		wr_summed_put32(s, n);
	}
	for (uint32_t i = 0; i < count; i++)
		wr_summed_put(s, src->item(src->arg, i).oid->id, WR_OID_RAW);
	for (uint32_t i = 0; i < count; i++)
		wr_summed_put32(s, src->item(src->arg, i).crc);
	for (uint32_t i = 0; i < count; i++) {
		uint64_t at = src->item(src->arg, i).offset;

		wr_summed_put32(s, at < 0x80000000 ? (uint32_t)at : 0x80000000 | longs++);
	}
	for (uint32_t i = 0; longs && i < count; i++) {
		uint64_t at = src->item(src->arg, i).offset;

		if (at < 0x80000000)
			continue;
		wr_summed_put32(s, (uint32_t)(at >> 32));
		wr_summed_put32(s, (uint32_t)at);
	}
}

enum wr_code wr_pack_write_idx(int dir, const char *name, const struct wr_idx_source *src, uint32_t count,
			       const uint8_t pack_sum[WR_PACK_SUM], struct wr_error *err)
{
	WR_AUTO(wr_summed) *s = NULL;
	enum wr_code code = wr_summed_new(&s, dir, name, ".idx", err);

	if (code != WR_OK)
		return code;
	fill(s, src, count);
	wr_summed_put(s, pack_sum, WR_PACK_SUM);
	return wr_summed_end(s);
}
