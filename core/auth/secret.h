/*
 * core/auth/secret.h: API keys and identity tokens as text: "wrk_" or "wrt_" and 43 characters of [A-Za-z0-9], 256
 * random bits. The prefixes tell the two apart, for the server and for scanners that look for leaked secrets.
 * Only a secret's SHA-256 is stored: it cannot be guessed, so neither salt nor slowness would add anything.
 * Threads: values, no state.
 */
#ifndef WR_SECRET_H
#define WR_SECRET_H

#include "core/base/str.h"

enum wr_secret_kind { WR_SECRET_NONE, WR_SECRET_KEY, WR_SECRET_TOKEN };

#define WR_SECRET_LEN 47
#define WR_SECRET_HASH 32

void wr_secret_new(char out[WR_SECRET_LEN + 1], enum wr_secret_kind kind);

/* What text has the form of; WR_SECRET_NONE for anything else. */
enum wr_secret_kind wr_secret_form(struct wr_str text);

/* False only where the library fails. */
bool wr_secret_hash(unsigned char out[WR_SECRET_HASH], struct wr_str text);

#endif
