/*
 * unpack ok\n                       or what was wrong with all of it
 * ok <name>\n
 * ng <name> <why>\n                 one line a command, in their order
 * 0000
 */
#include "smart-http/receive_internal.h"

/* A reason that needs more words than the report's one line. */
static enum wr_code explain(struct wr_sideband *sb, const struct wr_receive *rx,
			    const struct wr_receive_result *result, struct wr_str default_branch, struct wr_error *err)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1024);

	for (size_t i = 0; i < rx->count; i++) {
		const struct wr_command *c = &rx->commands[i];

		if (c->refused && wr_command_deletes(c) && wr_command_is_of(c, default_branch)) {
			wr_buf_addz(&text, "error: refusing to delete the default branch ");
			wr_buf_adds(&text, default_branch);
			wr_buf_addz(&text, "; make another branch the default first\n");
			break;
		}
	}
	if (rx->shallow_refused)
		wr_buf_addz(&text, "error: your clone is shallow, and the repository lacks the history behind what it "
				   "pushes; run git fetch --unshallow, then push again\n");
	if (result->pack_refused[0])
		wr_buf_printf(&text, "error: %s\n", result->pack_refused);
	return wr_sideband_text(sb, wr_buf_str(&text), err);
}

static enum wr_code lines(struct wr_sideband *sb, const struct wr_receive *rx, const struct wr_receive_result *result,
			  struct wr_error *err)
{
	WR_AUTO_S(wr_pkt_writer) w;

	wr_pkt_writer_init(&w, &sb->base, err);
	wr_pkt_printf(&w, "unpack %s\n", result->pack_refused[0] ? result->pack_refused : "ok");
	for (size_t i = 0; i < rx->count; i++) {
		const struct wr_command *c = &rx->commands[i];

		if (c->refused)
			wr_pkt_printf(&w, "ng %.*s %s\n", (int)c->name.len, c->name.ptr, c->refused);
		else
			wr_pkt_printf(&w, "ok %.*s\n", (int)c->name.len, c->name.ptr);
	}
	wr_pkt_flush(&w);
	return wr_pkt_writer_send(&w);
}

enum wr_code wr_receive_report(struct wr_sideband *sb, const struct wr_receive *rx,
			       const struct wr_receive_result *result, struct wr_str default_branch,
			       struct wr_error *err)
{
	enum wr_code code = explain(sb, rx, result, default_branch, err);

	if (code == WR_OK && rx->report)
		code = lines(sb, rx, result, err);
	return code == WR_OK ? wr_sideband_end(sb, err) : code;
}
