#include "core/git/pack.h"
#include "core/git/summed.h"

enum wr_code wr_pack_write_rev(int dir, const char *name, const uint32_t *order, uint32_t count,
			       const uint8_t pack_sum[WR_PACK_SUM], struct wr_error *err)
{
	WR_AUTO_MEM struct wr_summed *s = malloc(sizeof *s);
	char file[WR_PACK_NAME + 8];
	enum wr_code code;

	if (!s)
		return wr_fail_nomem(err);
	if (strlen(name) > WR_PACK_NAME)
		return wr_fail(err, WR_E_INTERNAL, "pack name too long");
	snprintf(file, sizeof file, "%s.rev", name);
	wr_summed_begin(s, dir, file, err);
	wr_summed_put(s, WR_REV_MAGIC, WR_REV_HEADER);
	for (uint32_t i = 0; i < count; i++)
		wr_summed_put32(s, order[i]);
	wr_summed_put(s, pack_sum, WR_PACK_SUM);
	code = wr_summed_end(s);
	wr_summed_fini(s);
	return code;
}
