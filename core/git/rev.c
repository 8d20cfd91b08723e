#include "core/git/pack.h"
#include "core/git/summed.h"

enum wr_code wr_pack_write_rev(int dir, const char *name, const uint32_t *order, uint32_t count,
			       const uint8_t pack_sum[WR_PACK_SUM], struct wr_error *err)
{
	WR_AUTO(wr_summed) *s = NULL;
	enum wr_code code = wr_summed_new(&s, dir, name, ".rev", err);

	if (code != WR_OK)
		return code;
	wr_summed_put(s, WR_REV_MAGIC, WR_REV_HEADER);
	for (uint32_t i = 0; i < count; i++)
		wr_summed_put32(s, order[i]);
	wr_summed_put(s, pack_sum, WR_PACK_SUM);
	return wr_summed_end(s);
}
