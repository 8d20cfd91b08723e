/*
 * sync/exchange.h: one request of Git's smart HTTP protocol, and what its status, type and encoding mean.
 * Ownership: the struct is the caller's, zero-initialised; wr_exchange_close() makes it so again. What ask points to is
 *            borrowed until then.
 * Threads:   one at a time.
 * Blocks on: the network, by the rules' deadlines; cancel is asked.
 * Errors:    WR_E_SOURCE_UNAUTHORIZED (401, 403), WR_E_SOURCE_NOT_FOUND (any other status that is no success, a web page
 *            where refs are due), WR_E_INVALID_REQUEST (a redirect, what is not Git's), those of core/net/call.h.
 */
#ifndef WR_SYNC_EXCHANGE_H
#define WR_SYNC_EXCHANGE_H

#include "core/base/buf.h"
#include "core/base/gunzip.h"
#include "core/net/call.h"

struct wr_exchange {
	struct wr_net_call *call;
	struct wr_gunzip *gunzip; /* NULL: the body is not zipped */
	struct wr_source *body;
};

struct wr_exchange_ask {
	const char *url;
	const char *user, *password;  /* NULL: none */
	const struct wr_str *request; /* NULL: GET, which asks for the refs */
	bool version2;
	bool patient; /* the answer may take a while to begin: wr_net_patient() */
	const struct wr_net_rules *rules;
	const struct wr_cancel *cancel;
};
WR_MUST_CHECK enum wr_code wr_exchange_open(struct wr_exchange *x, const struct wr_exchange_ask *ask,
					    struct wr_error *err);
void wr_exchange_close(struct wr_exchange *x);

#endif
