/*
 * server/http/credential.h: which secret a request brings along, by Authorization or the SDK's own header.
 * REST takes Bearer, Git URLs take Bearer and Basic (any user name, the secret is the password). Where both headers are
 * sent, Authorization alone counts.
 * Ownership: wr_credential_read() fills *out, which holds a copy; wr_credential_wipe() clears it as soon as it was
 * used. Threads:   values, no shared state.
 */
#ifndef WR_CREDENTIAL_H
#define WR_CREDENTIAL_H

#include "core/auth/access.h"

#define WR_CREDENTIAL_MAX 1024

struct wr_credential_buf {
	struct wr_credential cred; /* its secret lies in bytes */
	unsigned char bytes[WR_CREDENTIAL_MAX + 4];
};

/* authorization, token: the headers' values; a NULL ptr means that the header is absent. git: Basic is taken too. */
void wr_credential_read(struct wr_credential_buf *out, struct wr_str authorization, struct wr_str token, bool git);
void wr_credential_wipe(struct wr_credential_buf *cred);

#endif
