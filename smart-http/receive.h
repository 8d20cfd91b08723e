/*
 * smart-http/receive.h: POST git-receive-pack: push.
 * Formats: gitprotocol-pack ("Pushing Data To a Server"), gitprotocol-capabilities (report-status, report-status-v2,
 *          delete-refs, side-band-64k, quiet, atomic, push-options, ofs-delta, object-format, agent), gitprotocol-http.
 * Ownership: a wr_receive is the caller's; wr_receive_free().
 * Threads:   one per request. Blocks on: the source, disk, the repository's turn, the sink.
 * The body is read to its end before the first byte is written to the sink: HTTP/1.1 clients read the answer only then.
 */
#ifndef WR_RECEIVE_H
#define WR_RECEIVE_H

#include "core/base/room.h"
#include "core/base/stream.h"
#include "core/git/append.h"

struct wr_receive;

struct wr_receive_limits {
	size_t max_commands;	/* ref updates in one push */
	size_t max_depth_lines; /* shallow lines */
	size_t max_options;	/* push options */
	/* Who counts the memory of the push, borrowed until wr_receive_free(); NULL: nobody. No room: WR_E_UNAVAILABLE. */
	const struct wr_room *room;
};

/*
 * Reads what stands before the pack: commands, shallow lines, push options. Errors: WR_E_INVALID_REQUEST with a
 * sentence (bad framing, no legal command line, a body that ends before all is there, push certificates, sha256) and
 * what the source says. A limit that is passed is no error here: wr_receive_run() reports it. An empty body or a lone
 * flush is a request that changes nothing and answers nothing.
 */
WR_MUST_CHECK enum wr_code wr_receive_parse(struct wr_receive **out, struct wr_source *src,
					    const struct wr_receive_limits *limits, struct wr_error *err);
void wr_receive_free(struct wr_receive *rx);
WR_DEFINE_AUTO(wr_receive);

struct wr_receive_result {
	size_t accepted, refused; /* ref updates */
	size_t options;		  /* push options that came along */
	char pack_refused[256];	  /* why nothing of it was taken, as the client was told, or "" */
	bool told;		  /* of an error return: the answer is complete and tells the client of it */
};

/*
 * Whether the pusher still may: asked when the pack was read and the repository's turn has come, right before anything
 * is stored, since uploads take long and permissions are withdrawn meanwhile. May be asked on another thread that pushes
 * to the same repository. WR_E_UNAUTHORIZED, WR_E_REPO_ACCESS_DENIED and WR_E_REPO_NOT_FOUND refuse all commands, other
 * errors are trouble as any.
 */
struct wr_receive_permit {
	enum wr_code (*fn)(void *arg, struct wr_error *err);
	void *arg;
	struct wr_asker asker; /* the pusher, for the journal */
};

/*
 * Reads the pack where one follows, appends, reports. A refusal that the report carries (bad pack, stale old id,
 * illegal name, a limit, a permission that is gone) is WR_OK here with result saying so. Errors before anything was
 * written to the sink become an HTTP status; *result is filled whatever is returned.
 * default_branch (short name): its deletion is refused, as git does by default. permit: NULL where nobody has to be
 * asked.
 */
WR_MUST_CHECK enum wr_code wr_receive_run(struct wr_receive_result *result, struct wr_receive *rx,
					  struct wr_git_repo *repo, struct wr_str default_branch,
					  const struct wr_receive_permit *permit, struct wr_source *src,
					  struct wr_sink *sink, const struct wr_cancel *cancel, struct wr_error *err);

#endif
