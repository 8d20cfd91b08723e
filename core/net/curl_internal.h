/*
 * core/net/curl_internal.h: what every request of libcurl's needs, so that it leads nowhere where it may not.
 * Ownership: the guard is the caller's and outlives the handle.
 * Threads:   a handle and its guard are one thread's at a time.
 */
#ifndef WR_CURL_INTERNAL_H
#define WR_CURL_INTERNAL_H

#include <curl/curl.h>
#include <stdbool.h>

struct wr_curl_guard {
	bool private_networks; /* addresses that are not public are fine, too */
	bool refused;	       /* an address was not public */
	int error;	       /* errno, where the system gave no socket */
};

/* Once in the process, before all else. */
void wr_curl_init(void);

/*
 * http and https only; each connection is checked when its address is known, just before it is made, and made to that
 * address; no proxies, no user names in URLs, no files of credentials, no signals; version 1.1, for what asks for one
 * thing has no use for version 2. False: no memory, or an option that this libcurl does not know.
 */
bool wr_curl_set_safety(CURL *e, struct wr_curl_guard *guard, unsigned redirects);
/* ca_file in the place of the system's certificates. */
bool wr_curl_set_ca(CURL *e, const char *ca_file);

#endif
