/*
 * triggers/signing.h: the keys by which deliveries are signed, and the signatures.
 *
 * A key is Ed25519 (RFC 8032), its id the RFC 7638 thumbprint. All keys stand in <data>/signing-keys.json (mode 0600), which
 * is replaced as a whole: a new one is shown in the key set at once, and signs only when every consumer that keeps the set
 * as long as it is told to has seen it; the old one is shown until what it signed last has expired. Another process's change
 * is seen within a second.
 * Ownership: wr_signing_open() gives *out for wr_signing_free().
 * Threads:   any.
 * Blocks on: disk, when the file has changed; a lock on the file while it is changed.
 * Errors:    WR_E_INTERNAL (the file does not parse, or others may read it: it says what to do), WR_E_STORAGE_FULL,
 *            WR_E_UNAVAILABLE (the lock; memory).
 */
#ifndef WR_SIGNING_H
#define WR_SIGNING_H

#include <jansson.h>

#include "core/base/buf.h"
#include "core/base/error.h"

#define WR_SIGNING_KEY_ID 43 /* characters */

struct wr_signing;
struct wr_signing_times {
	int64_t life_ms;    /* of a signature */
	int64_t overlap_ms; /* before a new key signs, and that an old one is shown beyond the life of its signatures */
	/* NULL, or the clock (milliseconds since 1970), for tests. */
	int64_t (*now_ms)(void *arg);
	void *now_arg;
};

/* Makes the file, with one key that signs at once, where there is none. data: the data folder. */
WR_MUST_CHECK enum wr_code wr_signing_open(struct wr_signing **out, const char *data,
					   const struct wr_signing_times *times, struct wr_error *err);
void wr_signing_free(struct wr_signing *signing);
WR_DEFINE_AUTO(wr_signing);

/*
 * A new key; one that waits for its time already stays the next. *out: {"keyId","signsFrom"}, a new reference.
 * WR_E_INVALID_REQUEST where there are too many.
 */
WR_MUST_CHECK enum wr_code wr_signing_rotate(json_t **out, struct wr_signing *signing, struct wr_error *err);

/* The key set (RFC 7517): a new reference. The key that signs comes first. */
WR_MUST_CHECK enum wr_code wr_signing_jwks(json_t **out, struct wr_signing *signing, struct wr_error *err);
/* How long others may keep it, in seconds: Cache-Control. */
int64_t wr_signing_max_age(const struct wr_signing *signing);

/* A compact JWT (RFC 7519, RFC 8037) for this body: alg EdDSA, kid, typ; iss, aud, iat, exp, jti, repoId, body_sha256. */
struct wr_signing_claims {
	const char *issuer, *audience, *delivery_id, *repo_id;
	struct wr_str body;
};
WR_MUST_CHECK enum wr_code wr_signing_sign(struct wr_buf *out, struct wr_signing *signing,
					   const struct wr_signing_claims *claims, struct wr_error *err);

#endif
