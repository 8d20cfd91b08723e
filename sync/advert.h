/*
 * sync/advert.h: what a server says of itself and of its refs (gitprotocol-http, gitprotocol-v2, gitprotocol-pack).
 *
 *   GET info/refs, version 2                     version 0
 *   001e# service=git-upload-pack\n              001e# service=git-upload-pack\n
 *   0000                                         0000
 *   000eversion 2\n                              ....ID SP HEAD NUL capabilities\n
 *   ....agent=git/2.39.5\n                       ....ID SP refs/heads/main\n
 *   ....fetch=shallow\n                          ....ID SP refs/tags/v1\n
 *   0000                                         ....ID SP refs/tags/v1^{}\n
 *                                                ....shallow ID\n
 *                                                0000
 *   POST git-upload-pack, command=ls-refs, then answers
 *   ....ID SP refs/tags/v1 SP peeled:ID\n  ....ID SP HEAD SP symref-target:refs/heads/main\n  0000
 *
 * Ownership: the struct is the caller's, wr_advert_fini(); the refs' names lie in it.
 * Threads:   one at a time.
 * Blocks on: the reader's source.
 * Errors:    WR_E_INVALID_REQUEST for an answer that makes no sense, what wr_remote_said() makes of an ERR packet,
 *            WR_E_TOO_LARGE (more than WR_REMOTE_REFS_MAX refs), WR_E_UNAVAILABLE, what the source says.
 */
#ifndef WR_SYNC_ADVERT_H
#define WR_SYNC_ADVERT_H

#include "core/base/buf.h"
#include "core/git/pktline.h"
#include "sync/fetch.h"

struct wr_advert {
	unsigned version; /* 0 (which 1 is but for one line), or 2 */
	/* What it can do. */
	bool shallow, side_band, ofs_delta, no_progress, multi_ack, unborn, names_format;
	/* Branches and tags. */
	struct wr_remote_ref *refs;
	size_t count, cap, seen;
	struct wr_buf names;
	struct wr_buf head; /* full name of the branch; empty: none */
	struct wr_oid head_oid;
	struct wr_oids roots; /* version 0: where the history ends that the server has */
};
void wr_advert_init(struct wr_advert *a);
void wr_advert_fini(struct wr_advert *a);
WR_DEFINE_AUTO_S(wr_advert);

/* The answer to info/refs; of version 2 there are no refs in it. */
WR_MUST_CHECK enum wr_code wr_advert_read(struct wr_advert *a, struct wr_pkt_reader *r, struct wr_error *err);
/* Version 2: the answer to ls-refs. */
WR_MUST_CHECK enum wr_code wr_advert_read_refs(struct wr_advert *a, struct wr_pkt_reader *r, struct wr_error *err);

/* In front of words of the other server's in an error's text. */
#define WR_REMOTE_SAYS "The other server says: "
/*
 * The failure that another server's words mean: WR_E_SOURCE_NOT_FOUND, WR_E_INVALID_REVISION (field revision) for an
 * object that it has not or does not give, else WR_E_INVALID_REQUEST with the words, made harmless and not too long.
 */
WR_MUST_CHECK enum wr_code wr_remote_said(struct wr_str words, struct wr_error *err);

/* Adds the id that follows "shallow ". */
WR_MUST_CHECK enum wr_code wr_remote_root(struct wr_oids *roots, struct wr_str hex, struct wr_error *err);

#endif
