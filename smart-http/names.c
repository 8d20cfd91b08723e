#include "smart-http/names.h"

#include "core/base/buf.h"

const struct wr_ref *wr_ref_head(const struct wr_snapshot *snap, struct wr_str default_branch)
{
	WR_AUTO_S(wr_buf) name = WR_BUF_INIT(4096);

	wr_buf_addz(&name, "refs/heads/");
	wr_buf_adds(&name, default_branch);
	return wr_buf_ok(&name) ? wr_snapshot_ref(snap, wr_buf_str(&name)) : NULL;
}
