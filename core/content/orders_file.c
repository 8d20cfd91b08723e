/*
 * Header (32 bytes): "WRNORDR1", count of commits, count of parents (4 each), sum of the shallow roots' ids, 8 zeros. Then
 * the ids of the commits (20 each), where each one's parents begin (4 each, one more than commits), parents as places (4
 * each), zeros to a multiple of 8, XXH3-64 of all before.
 */
#include "core/content/orders_file.h"

#include <xxhash.h>

#include "core/base/buf.h"
#include "core/git/derived.h"
#include "core/git/le.h"

#define MAGIC "WRNORDR1"
#define HEADER ((size_t)32)
#define SUM ((size_t)8)
#define FILE_MAX_BYTES ((size_t)1 << 30)

/* Parents of a root are not followed, so an order holds for the roots that it was made with. */
static uint64_t roots_sum(const struct wr_view *v)
{
	return v->roots.len ? XXH3_64bits(v->roots.v, v->roots.len * sizeof *v->roots.v) : 0;
}

static size_t file_len(uint64_t count, uint64_t parents)
{
	uint64_t n = HEADER + count * WR_OID_RAW + (count + 1) * 4 + parents * 4;

	return (size_t)((n + 7) / 8 * 8 + SUM);
}

static bool is_whole(const uint8_t *p, size_t len, const struct wr_view *v)
{
	return len >= HEADER + SUM && memcmp(p, MAGIC, 8) == 0 && wr_le32(p + 8) > 0 &&
	       file_len(wr_le32(p + 8), wr_le32(p + 12)) == len && wr_le64(p + 16) == roots_sum(v) &&
	       wr_le64(p + 24) == 0 && XXH3_64bits(p, len - SUM) == wr_le64(p + len - SUM);
}

/* In place: of the machine's own order from then on. */
static uint32_t *read_numbers(uint8_t *p, size_t n)
{
	uint32_t *v = (uint32_t *)(void *)p;

	for (size_t i = 0; i < n; i++)
		v[i] = le32toh(v[i]);
	return v;
}

static bool is_sound(const struct wr_order *o, uint32_t edges)
{
	if (o->first[0] != 0 || o->first[o->count] != edges)
		return false;
	for (uint32_t i = 0; i < o->count; i++) {
		if (o->first[i] > o->first[i + 1] || o->first[i + 1] > edges)
			return false;
		for (uint32_t k = o->first[i]; k < o->first[i + 1]; k++)
			if (o->parents[k] <= i || o->parents[k] >= o->count)
				return false;
	}
	return true;
}

/* malloc'ed memory is aligned, and so is what begins at a multiple of 4 in it. */
struct wr_order *wr_order_load(struct wr_git *git, const char *repo_id, const struct wr_view *v)
{
	WR_AUTO(wr_order) *o = NULL;
	WR_AUTO_MEM char *bytes = NULL;
	uint32_t edges;
	uint8_t *p;
	size_t len;

	if (wr_git_derived_read(&bytes, &len, git, repo_id, FILE_MAX_BYTES, NULL) != WR_OK ||
	    !is_whole((uint8_t *)bytes, len, v) || !(o = calloc(1, sizeof *o)))
		return NULL;
	p = (uint8_t *)bytes + HEADER;
	atomic_init(&o->users, 1);
	o->count = wr_le32((uint8_t *)bytes + 8);
	edges = wr_le32((uint8_t *)bytes + 12);
	o->bytes = WR_STEAL(bytes);
	o->commits = (struct wr_oid *)(void *)p;
	o->first = read_numbers(p + (size_t)o->count * WR_OID_RAW, (size_t)o->count + 1);
	o->parents = read_numbers((uint8_t *)(o->first + o->count + 1), edges);
	return is_sound(o, edges) ? WR_STEAL(o) : NULL;
}

void wr_order_store(struct wr_git *git, const char *repo_id, const struct wr_view *v, const struct wr_order *order)
{
	uint32_t edges = order->first[order->count];
	size_t len = file_len(order->count, edges);
	WR_AUTO_MEM uint8_t *bytes = len <= FILE_MAX_BYTES ? calloc(1, len) : NULL;
	uint8_t *p = bytes;

	if (!bytes)
		return;
	memcpy(p, MAGIC, 8);
	wr_put_le32(p + 8, order->count);
	wr_put_le32(p + 12, edges);
	wr_put_le64(p + 16, roots_sum(v));
	p += HEADER;
	memcpy(p, order->commits, (size_t)order->count * WR_OID_RAW);
	p += (size_t)order->count * WR_OID_RAW;
	for (uint32_t i = 0; i <= order->count; i++, p += 4)
		wr_put_le32(p, order->first[i]);
	for (uint32_t k = 0; k < edges; k++, p += 4)
		wr_put_le32(p, order->parents[k]);
	wr_put_le64(bytes + len - SUM, XXH3_64bits(bytes, len - SUM));
	wr_git_derived_write(git, repo_id, wr_str_n(bytes, len));
}
