#include "core/git/filter.h"

enum wr_code wr_filter_parse(struct wr_filter *out, struct wr_str spec, struct wr_error *err)
{
	if (!wr_str_eqz(spec, "blob:none"))
		return wr_fail(err, WR_E_INVALID_REQUEST, "Unknown filter");
	*out = (struct wr_filter)WR_FILTER_INIT;
	out->blob_limit = 0;
	return WR_OK;
}
