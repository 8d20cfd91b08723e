/*
 * smart-http/advert.h: the answer to GET info/refs.
 * Formats: gitprotocol-http, gitprotocol-pack ("Reference Discovery"), gitprotocol-v2 ("Capability Advertisement").
 * Threads: any. Blocks on: the sink. Errors: what the sink says.
 */
#ifndef WR_ADVERT_H
#define WR_ADVERT_H

#include "core/base/stream.h"
#include "core/git/snapshot.h"

enum wr_service { WR_UPLOAD_PACK, WR_RECEIVE_PACK };

/* "git-upload-pack" or "git-receive-pack"; false for anything else. */
bool wr_service_parse(enum wr_service *out, struct wr_str name);
const char *wr_service_name(enum wr_service service);

/*
 * The protocol version that a Git-Protocol header asks for ("version=2", keys separated by colons; the highest known
 * one counts, unknown keys are ignored): 0, 1 or 2. Absent or strange: 0. Pushing knows 0 and 1 only: 2 means 0 there.
 */
int wr_protocol_version(enum wr_service service, struct wr_str header);

/* default_branch: short name that HEAD leads to; HEAD is advertised only when that branch exists (v0, v1). */
WR_MUST_CHECK enum wr_code wr_advert_write(struct wr_sink *sink, struct wr_snapshot *snap,
					   enum wr_service service, int version, struct wr_str default_branch,
					   struct wr_error *err);

#endif
