/*
 * object-info (gitprotocol-v2):   size   <oid> <size> ... 0000
 * Of an object that is not here, or that no ref reaches, the size is left empty, as git leaves it.
 */
#include <inttypes.h>

#include "core/git/reach.h"
#include "smart-http/upload_internal.h"

static enum wr_code info_line(struct wr_pkt_writer *w, const struct wr_snapshot *snap, const struct wr_oid *oid,
			      bool size, bool reached, struct wr_error *err)
{
	char hex[WR_OID_HEX + 1];
	uint64_t n;
	enum wr_code code;

	wr_oid_hex(hex, oid);
	if (!size) {
		wr_pkt_printf(w, "%s", hex);
	} else if (!reached) {
		wr_pkt_printf(w, "%s ", hex);
	} else {
		if ((code = wr_snapshot_stat(snap, oid, NULL, &n, err)) != WR_OK)
			return code == WR_E_NOT_THERE
				       ? wr_fail(err, WR_E_INTERNAL, "a reachable object is missing: %s", hex)
				       : code;
		wr_pkt_printf(w, "%s %" PRIu64, hex, n);
	}
	return WR_OK;
}

static enum wr_code info(struct wr_upload *up, struct wr_snapshot *snap, struct wr_pkt_writer *w,
			 const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO(wr_reach) *reach = NULL;
	WR_AUTO_MEM bool *yes = calloc(up->wants.len + 1, sizeof *yes);
	enum wr_code code;

	if (!yes)
		return wr_fail_nomem(err);
	if ((code = wr_reach_new(&reach, snap, cancel, err)) != WR_OK ||
	    (code = wr_reach_each(yes, reach, &up->wants, err)) != WR_OK)
		return code;
	if (up->wants.len && up->size)
		wr_pkt_write(w, WR_S("size"));
	for (size_t i = 0; i < up->wants.len && code == WR_OK; i++)
		code = info_line(w, snap, &up->wants.v[i], up->size, yes[i], err);
	if (code != WR_OK)
		return code;
	wr_pkt_flush(w);
	return wr_pkt_writer_send(w);
}

enum wr_code wr_upload_answer_info(struct wr_upload *up, struct wr_snapshot *snap, struct wr_sink *sink,
				   const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO_S(wr_pkt_writer) w;

	wr_pkt_writer_init(&w, sink, err);
	return wr_upload_tell(up, &w, info(up, snap, &w, cancel, err));
}
