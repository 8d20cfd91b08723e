/* The index of a pack in files (gitformat-pack, version 2), and the reverse index. */
#include "core/git/index_internal.h"

struct by_oid {
	const struct wr_index_entry *v;
	const uint32_t *order;
};

static struct wr_idx_item item_at(const void *arg, uint32_t i)
{
	const struct by_oid *by = arg;
	const struct wr_index_entry *e = &by->v[by->order[i]];

	return (struct wr_idx_item){&e->oid, e->crc, e->offset};
}

/* By id, twins by offset. */
static int by_oid_cmp(const void *a, const void *b, void *arg)
{
	const struct wr_index_entry *v = arg;
	uint32_t p = *(const uint32_t *)a, q = *(const uint32_t *)b;
	int c = wr_oid_cmp(&v[p].oid, &v[q].oid);

	return c ? c : (p > q) - (p < q);
}

static unsigned bucket_of(const struct wr_index_entry *e)
{
	return (unsigned)e->oid.id[0] << 8 | e->oid.id[1];
}

/* Entries by id. Ids are sums, so their first two bytes do most of the work. */
static enum wr_code sort(uint32_t *out, const struct wr_indexer *x)
{
	WR_AUTO_MEM uint32_t *ends = calloc(65536 + 1, sizeof *ends);

	if (!ends)
		return wr_fail_nomem(x->main.err);
	for (uint32_t i = 0; i < x->count; i++)
		ends[bucket_of(&x->v[i]) + 1]++;
	for (unsigned b = 0; b < 65536; b++)
		ends[b + 1] += ends[b];
	/* Each bucket's beginning moves on to its end, which is where the next one began. */
	for (uint32_t i = 0; i < x->count; i++)
		out[ends[bucket_of(&x->v[i])]++] = i;
	for (unsigned b = 0; b < 65536; b++) {
		uint32_t from = b ? ends[b - 1] : 0;

		if (ends[b] - from > 1)
			qsort_r(out + from, ends[b] - from, sizeof *out, by_oid_cmp, x->v);
	}
	return WR_OK;
}

/*
 * Whether some delta names a base that came twice, once as a delta. It was resolved on one of the two here, but the
 * reader finds some twin, from which the way may lead back to where it came from.
 */
static bool twins_matter(const struct wr_indexer *x, const uint32_t *by_oid)
{
	size_t ref = 0;

	for (uint32_t i = 1; i < x->count && ref < x->ref_count; i++) {
		const struct wr_index_entry *a = &x->v[by_oid[i - 1]], *b = &x->v[by_oid[i]];

		if (!wr_oid_eq(&a->oid, &b->oid) || (a->kind <= WR_TAG && b->kind <= WR_TAG))
			continue;
		/* Both lists are sorted. */
		while (ref < x->ref_count && wr_oid_cmp(&x->ref[ref].base, &a->oid) < 0)
			ref++;
		if (ref < x->ref_count && wr_oid_eq(&x->ref[ref].base, &a->oid))
			return true;
	}
	return false;
}

/* How deep the entry lies for the reader; depths: of each position, 0 where that is not known, else one more. */
static enum wr_code walk_chain(uint16_t *depths, struct wr_indexer *x, const struct wr_pack *pack, uint32_t pos)
{
	uint32_t chain[WR_DELTA_DEPTH + 1];
	struct wr_entry e = {.kind = WR_REF_DELTA};
	size_t n = 0, depth;
	enum wr_code code;

	for (; !depths[pos] && e.kind > WR_TAG; pos = e.kind > WR_TAG ? e.base : pos) {
		if (n == WR_ARRAY_LEN(chain))
			break;
		if ((code = wr_pack_entry(&e, pack, pos, x->main.err)) != WR_OK)
			return code;
		chain[n++] = pos;
	}
	depth = depths[pos];
	if (!depth && e.kind > WR_TAG)
		depth = WR_DELTA_DEPTH + 1;
	if (depth + n > WR_DELTA_DEPTH + 1)
		return wr_index_bad(&x->main, "a delta base comes twice, and they lead to each other");
	while (n > 0)
		depths[chain[--n]] = (uint16_t)++depth;
	return WR_OK;
}

/* What was written, as it is read. */
static enum wr_code check_chains(struct wr_indexer *x)
{
	WR_AUTO(wr_pack) *pack = NULL;
	WR_AUTO_MEM uint16_t *depths = calloc(x->count, sizeof *depths);
	enum wr_code code;

	if (!depths)
		return wr_fail_nomem(x->main.err);
	code = wr_pack_open(&pack, x->dir, x->name, x->main.err);
	for (uint32_t pos = 0; code == WR_OK && pos < x->count; pos++)
		code = walk_chain(depths, x, pack, pos);
	return code;
}

enum wr_code wr_index_write(struct wr_indexer *x)
{
	WR_AUTO_MEM uint32_t *by_oid = reallocarray(NULL, x->count, sizeof *by_oid);
	WR_AUTO_MEM uint32_t *order = reallocarray(NULL, x->count, sizeof *order);
	const struct by_oid by = {x->v, by_oid};
	const struct wr_idx_source src = {item_at, &by};
	enum wr_code code;

	if (!by_oid || !order)
		return wr_fail_nomem(x->main.err);
	if ((code = sort(by_oid, x)) != WR_OK ||
	    (code = wr_pack_write_idx(x->dir, x->name, &src, x->count, x->sum, x->main.err)) != WR_OK)
		return code;
	for (uint32_t i = 0; i < x->count; i++)
		order[by_oid[i]] = i;
	if ((code = wr_pack_write_rev(x->dir, x->name, order, x->count, x->sum, x->main.err)) != WR_OK)
		return code;
	return twins_matter(x, by_oid) ? check_chains(x) : WR_OK;
}
