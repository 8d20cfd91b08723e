/* Index: see idx.c; reverse index: see rev.c. */
#include "core/git/pack_write.h"

static int by_offset(const void *a, const void *b, void *arg)
{
	const struct wr_pack_item *items = arg;
	uint64_t x = items[*(const uint32_t *)a].offset, y = items[*(const uint32_t *)b].offset;

	return (x > y) - (x < y);
}

static enum wr_code write_reverse(int dir, const char *name, const struct wr_pack_item *items, uint32_t count,
				  const uint8_t sum[WR_PACK_SUM], struct wr_error *err)
{
	WR_AUTO_MEM uint32_t *order = calloc((size_t)count + 1, sizeof *order);

	if (!order)
		return wr_fail_nomem(err);
	for (uint32_t i = 0; i < count; i++)
		order[i] = i;
	qsort_r(order, count, sizeof *order, by_offset, (void *)(uintptr_t)items);
	return wr_pack_write_rev(dir, name, order, count, sum, err);
}

static struct wr_idx_item item_at(const void *arg, uint32_t i)
{
	const struct wr_pack_item *items = arg;

	return (struct wr_idx_item){&items[i].oid, items[i].crc, items[i].offset};
}

enum wr_code wr_pack_write_index(uint64_t *written, int dir, const char *name, const struct wr_pack_item *items,
				 uint32_t count, const uint8_t sum[WR_PACK_SUM], struct wr_error *err)
{
	const struct wr_idx_source src = {item_at, items};
	uint64_t longs = 0;
	enum wr_code code;

	for (uint32_t i = 0; i < count; i++)
		longs += items[i].offset >= 0x80000000;
	if ((code = wr_pack_write_idx(dir, name, &src, count, sum, err)) != WR_OK)
		return code;
	*written += 8 + 1024 + 28 * (uint64_t)count + 8 * longs + 2 * WR_PACK_SUM;
	*written += WR_REV_HEADER + 4 * (uint64_t)count + 2 * WR_PACK_SUM;
	return write_reverse(dir, name, items, count, sum, err);
}
