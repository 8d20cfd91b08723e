/* What endpoints are sent: the reference's BranchUpdate, and what extended adds to it. */
#include <stdio.h>

#include "core/base/clock.h"
#include "core/base/json.h"
#include "triggers/delivery.h"

static void add_oid(struct wr_buf *out, const char *key, const struct wr_oid *oid)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	wr_json_member(out, key, wr_str_n(hex, WR_OID_HEX));
}

static void add_pusher(struct wr_buf *out, const char *author)
{
	const char *id = strchr(author, ':');

	wr_json_key(out, "pusher");
	if (!id) {
		wr_buf_addz(out, "null");
		return;
	}
	wr_buf_addc(out, '{');
	wr_json_member(out, "type", wr_str_n(author, (size_t)(id - author)));
	wr_json_member(out, "id", wr_str(id + 1));
	wr_buf_addc(out, '}');
}

static void add_extended(struct wr_buf *out, const struct wr_hook *hook)
{
	char at[WR_TIME_LEN + 1];

	if (wr_oid_zero(&hook->old)) {
		wr_json_key(out, "before");
		wr_buf_addz(out, "null");
	} else {
		add_oid(out, "before", &hook->old);
	}
	wr_json_key(out, "forced");
	wr_buf_addz(out, !hook->forced_known ? "null" : hook->forced ? "true" : "false");
	add_pusher(out, hook->author);
	wr_time_text(at, hook->occurred_ms);
	wr_json_member(out, "occurredAt", wr_str(at));
}

void wr_hook_body(struct wr_buf *out, const struct wr_hook *hook)
{
	wr_buf_addc(out, '{');
	wr_json_member(out, "event", WR_S("branchUpdate"));
	wr_json_member(out, "repoId", wr_str(hook->repo_id));
	wr_json_member(out, "branch", wr_str(hook->branch));
	add_oid(out, "commit", &hook->new);
	if (hook->extended)
		add_extended(out, hook);
	wr_buf_addc(out, '}');
}
