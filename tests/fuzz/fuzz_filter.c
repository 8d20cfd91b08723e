/* Filters of partial clones: the same whether encoded or not, and what is understood can be said again. */
#include <assert.h>

#include "core/base/buf.h"
#include "core/git/filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same(const struct wr_filter *a, const struct wr_filter *b)
{
	return a->blob_limit == b->blob_limit && a->tree_depth == b->tree_depth && a->types == b->types;
}

/* The whole as the only part of a combination, every byte of it encoded. */
static void encoded(struct wr_str spec, enum wr_code code, const struct wr_filter *f)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);
	struct wr_filter again;

	wr_buf_addz(&text, "combine:");
	for (size_t i = 0; i < spec.len; i++)
		wr_buf_printf(&text, "%%%02x", (unsigned char)spec.ptr[i]);
	if (!wr_buf_ok(&text))
		return;
	/* One level more may be one too many. */
	if (wr_filter_parse(&again, wr_buf_str(&text), NULL) == WR_OK)
		assert(code == WR_OK && same(&again, f));
	else
		assert(code != WR_OK || wr_str_starts(spec, WR_S("combine:")));
}

static void said_again(const struct wr_filter *f)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(4096);
	struct wr_filter again;

	wr_buf_printf(&text, "combine:blob:limit=%llu+tree:%llu", (unsigned long long)f->blob_limit,
		      (unsigned long long)f->tree_depth);
	/* One type after another leaves none. */
	if (f->types == 0)
		wr_buf_addz(&text, "+object:type=tree+object:type=blob");
	for (enum wr_type type = WR_COMMIT; type <= WR_TAG && f->types != WR_FILTER_ALL_TYPES; type++)
		if (f->types & 1u << type)
			wr_buf_printf(&text, "+object:type=%s", wr_type_name(type));
	assert(wr_filter_parse(&again, wr_buf_str(&text), NULL) == WR_OK && same(&again, f));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wr_str spec = wr_str_n(data, size);
	struct wr_filter f = WR_FILTER_INIT;
	enum wr_code code = wr_filter_parse(&f, spec, NULL);

	assert(code == WR_OK || (code == WR_E_INVALID_REQUEST && wr_filter_is_all(&f)));
	assert((f.types & ~WR_FILTER_ALL_TYPES) == 0 &&
	       (f.types == WR_FILTER_ALL_TYPES || (f.types & (f.types - 1)) == 0));
	encoded(spec, code, &f);
	if (code == WR_OK)
		said_again(&f);
	return 0;
}
