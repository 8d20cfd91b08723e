/*
 * smart-http/upload.h: POST git-upload-pack: clone and fetch, protocol versions 0, 1 and 2.
 * Formats: gitprotocol-pack ("Packfile Negotiation"), gitprotocol-v2 ("ls-refs", "fetch"), gitprotocol-common,
 *          gitprotocol-capabilities, gitprotocol-http.
 * Two steps, so that nonsense is a 400 and not a broken 200: parse the whole (bounded) body, then answer. What is well
 * formed and not granted parses; the answer then is the sentence, since git shows its user no words of a 400.
 * Ownership: a wr_upload is the caller's; wr_upload_free(). It borrows nothing from the body.
 * Threads:   one per request. Blocks on: disk and the sink.
 */
#ifndef WR_UPLOAD_H
#define WR_UPLOAD_H

#include "core/base/stream.h"
#include "core/git/plan.h"

struct wr_upload;

struct wr_upload_limits {
	size_t max_wants, max_haves; /* object-info's ids count as wants */
	size_t max_prefixes;	     /* so many or more mean all refs */
	size_t max_depth_lines;			   /* shallow and deepen-not */
	size_t max_preamble; /* bytes of all lines besides those above: commands, capabilities, options, arguments */
};

/*
 * Parses a request body. Errors: WR_E_INVALID_REQUEST with a sentence: bad framing, a body that ends too early, ids and
 * numbers that are none. An empty body or a lone flush (git's probe for credentials) is a request that answers nothing.
 */
WR_MUST_CHECK enum wr_code wr_upload_parse(struct wr_upload **out, struct wr_str body, int version,
					   const struct wr_upload_limits *limits, struct wr_error *err);
void wr_upload_free(struct wr_upload *up);
WR_DEFINE_AUTO(wr_upload);

/*
 * Answers the request to the sink. What goes wrong once the answer has begun, is told inside it (ERR packet, side-band
 * 3) and also returned for the log. WR_E_INVALID_REQUEST: limits passed, unknown commands, capabilities and arguments,
 * filters and depths that cannot be met, a want that no ref reaches ("upload-pack: not our ref <oid>").
 */
WR_MUST_CHECK enum wr_code wr_upload_answer(struct wr_upload *up, struct wr_snapshot *snap,
					    struct wr_str default_branch, struct wr_sink *sink,
					    const struct wr_cancel *cancel, struct wr_error *err);

/*
 * After an error: whether the answer itself told the client of it, so that it is complete as it is. False where nothing
 * was written yet (then it can become an HTTP status), and where only cutting the connection still tells.
 */
bool wr_upload_told(const struct wr_upload *up);

#endif
