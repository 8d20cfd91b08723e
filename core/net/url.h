/*
 * core/net/url.h: http and https URLs that users gave, taken apart as libcurl does it when it asks for them.
 * Ownership: the struct is the caller's; wr_net_url_fini() releases what it holds, the password overwritten.
 * Threads:   values, no state.
 * Errors:    WR_E_INVALID_REQUEST for what is no such URL (no word of it is repeated), WR_E_UNAVAILABLE (memory).
 */
#ifndef WR_NET_URL_H
#define WR_NET_URL_H

#include "core/base/error.h"

#define WR_NET_URL_MAX 8192

struct wr_net_url {
	char *ask;	       /* what to ask for: without user name, password and fragment */
	char *shown;	       /* for people and logs: without the query, too */
	char *user, *password; /* percent-decoded; NULL where there is none */
};
WR_MUST_CHECK enum wr_code wr_net_url_split(struct wr_net_url *out, struct wr_str url, struct wr_error *err);
void wr_net_url_fini(struct wr_net_url *url);
WR_DEFINE_AUTO_S(wr_net_url);

/* Whether both have the same scheme, host and port; false where one is no URL. */
bool wr_net_same_origin(const char *a, const char *b);

#endif
