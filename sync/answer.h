/*
 * sync/answer.h: the answer to a fetch, down to the pack's bytes.
 *
 *   version 2                                    version 0
 *   0011shallow-info\n                           ....shallow ID\n        only after deepen
 *   ....shallow ID\n                             0000
 *   0001                                         0008NAK\n
 *   000dpackfile\n
 *   then in both: length, a byte for the band (1 pack, 2 progress, 3 the last error), bytes; 0000 ends the pack.
 *
 * Ownership: the struct is the caller's, init and fini; the body stays the caller's and outlives it.
 * Threads:   one at a time.
 * Blocks on: the body.
 * Errors:    WR_E_INVALID_REQUEST for an answer that makes no sense, breaks off before the pack's end, or ends with an
 *            error on band 3; what wr_remote_said() makes of an ERR packet; what the body says.
 */
#ifndef WR_SYNC_ANSWER_H
#define WR_SYNC_ANSWER_H

#include "core/git/pktline.h"
#include "sync/fetch.h"

struct wr_answer {
	struct wr_source base; /* the pack */
	struct wr_pkt_reader *reader;
	struct wr_str left; /* of the packet that the reader holds */
	bool began, ended;  /* the pack */
	enum wr_code failed;
};
WR_MUST_CHECK enum wr_code wr_answer_init(struct wr_answer *a, struct wr_source *body, struct wr_error *err);
void wr_answer_fini(struct wr_answer *a);
WR_DEFINE_AUTO_S(wr_answer);

/* Reads up to the pack; what is said of shallow commits is added to *shallow. deepened: a depth was asked for. */
WR_MUST_CHECK enum wr_code wr_answer_begin(struct wr_answer *a, struct wr_oids *shallow, unsigned version,
					   bool deepened, struct wr_error *err);

#endif
