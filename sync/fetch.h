/*
 * sync/fetch.h: a client of Git's smart HTTP protocol (gitprotocol-http, gitprotocol-v2; version 0 where a server knows
 * no other): what a repository elsewhere has, and packs from it.
 * Ownership: a wr_remote is the caller's, wr_remote_free(); its refs live as long. The pack's source is the call's.
 * Threads:   one per remote.
 * Blocks on: the network, by the rules' deadlines; cancel is asked.
 * Errors:    WR_E_SOURCE_NOT_FOUND, WR_E_SOURCE_UNAUTHORIZED (both with field url, without its user name, password and
 *            query), WR_E_INVALID_REVISION (field revision: an id that the other server has not, or does not give),
 *            those of core/net/call.h, WR_E_INVALID_REQUEST with what is wrong with the URL, what the other server said
 *            in an ERR packet or why its answer makes no sense, WR_E_TOO_LARGE.
 */
#ifndef WR_FETCH_H
#define WR_FETCH_H

#include "core/git/oidmap.h"
#include "core/net/call.h"

/* More refs than this no server may have. */
#define WR_REMOTE_REFS_MAX 1000000

struct wr_remote_ref {
	struct wr_str name;
	struct wr_oid oid, peeled; /* peeled: zero where it is no tag */
};
struct wr_remote;

/*
 * url: http or https, without a query; a user name and a password in it are for its host alone, and are nowhere else.
 * deadline_ms of the rules is for all that is done with this remote, max_bytes for each pack.
 */
WR_MUST_CHECK enum wr_code wr_remote_open(struct wr_remote **out, struct wr_str url, const struct wr_net_rules *rules,
					  const struct wr_cancel *cancel, struct wr_error *err);
void wr_remote_free(struct wr_remote *remote);
WR_DEFINE_AUTO_AS(wr_remote, struct wr_remote, wr_remote_free);

/* Branches and tags, in byte order of their names; only those that wr_refname_ok() takes. */
const struct wr_remote_ref *wr_remote_refs(const struct wr_remote *remote, size_t *n);
/* The branch that its HEAD leads to (full name), "" where it leads to none; and HEAD's id, zero for an unborn one. */
struct wr_str wr_remote_head(const struct wr_remote *remote, struct wr_oid *oid);

struct wr_fetch {
	const struct wr_oid *wants;
	size_t want_count;
	uint32_t depth; /* 0: all of it */
	/* out, the caller's to release: where the history ends that was sent, which may be so without a depth, too */
	struct wr_oids shallow;
};
/*
 * Asks for what wants reach. *pack: the pack's bytes, to be read to their end before the next call with this remote;
 * progress of the other server is dropped. An id that is no ref's value is asked for, too, where the server lets one.
 */
WR_MUST_CHECK enum wr_code wr_remote_fetch(struct wr_source **pack, struct wr_fetch *fetch, struct wr_remote *remote,
					   struct wr_error *err);

#endif
