/*
 * triggers/signing_internal.h: the keys as a set, and the file that they stand in: signing_file.c, for signing.c.
 *
 *	{"keys": [{"kid": "...", "d": "...", "createdMs": 1, "signsFromMs": 1}, ...]}
 *
 * d is the private key as in RFC 8037, kid what follows from it. The oldest comes first, and signs until the next one's
 * time has come. Their order counts, not the times themselves: clocks may step back.
 * Ownership: a set is counted, wr_signing_set_unref(); immutable once anybody else may have it.
 * Threads:   any.
 * Blocks on: disk; wr_signing_lock() up to 10 s for another process that changes the file.
 * Errors:    WR_E_NOT_THERE from wr_signing_load() alone: no file. WR_E_INTERNAL with a sentence for who runs the server.
 */
#ifndef WR_SIGNING_INTERNAL_H
#define WR_SIGNING_INTERNAL_H

#include <openssl/evp.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "triggers/signing.h"

#define WR_SIGNING_KEYS 32    /* at most */
#define WR_SIGNING_BYTES 32   /* of a private key, and of a public one */
#define WR_SIGNATURE_BYTES 64 /* RFC 8032 */

struct wr_signing_key {
	EVP_PKEY *pair;
	int64_t created_ms, signs_from_ms;
	char id[WR_SIGNING_KEY_ID + 1];
	char public[WR_SIGNING_KEY_ID + 1]; /* base64url; as long, for a SHA-256 has as many bytes */
	char header[128];		    /* of its tokens, with the dot behind it */
};

struct wr_signing_set {
	atomic_uint users;
	struct stat file; /* as it was when this was read */
	size_t n;
	struct wr_signing_key keys[WR_SIGNING_KEYS];
};
WR_MUST_CHECK enum wr_code wr_signing_set_new(struct wr_signing_set **out, struct wr_error *err);
void wr_signing_set_unref(struct wr_signing_set *set);
WR_DEFINE_AUTO_AS(wr_signing_set, struct wr_signing_set, wr_signing_set_unref);

/* Appends one; bytes NULL: a new one, of randomness. */
WR_MUST_CHECK enum wr_code wr_signing_set_add(struct wr_signing_set *set, const unsigned char bytes[WR_SIGNING_BYTES],
					      int64_t created_ms, int64_t signs_from_ms, struct wr_error *err);
/* Removes the oldest. */
void wr_signing_set_drop(struct wr_signing_set *set);

/* In what follows dir is the data folder. */

/* The descriptor whose closing gives the lock back. */
WR_MUST_CHECK enum wr_code wr_signing_lock(int *fd, int dir, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_signing_load(struct wr_signing_set **out, int dir, struct wr_error *err);
/* Within the lock. */
WR_MUST_CHECK enum wr_code wr_signing_store(const struct wr_signing_set *set, int dir, struct wr_error *err);
/* Whether the file is still the one that this was read from. */
bool wr_signing_same_file(const struct wr_signing_set *set, int dir);

WR_MUST_CHECK enum wr_code wr_signing_bytes(unsigned char out[WR_SIGNATURE_BYTES], const struct wr_signing_key *key,
					    struct wr_str bytes, struct wr_error *err);

#endif
