/*
 * server/http/cors.h: what lets a browser's page call this server (the Fetch standard, "CORS protocol").
 * Ownership: the struct is the caller's: init, fini.
 * Threads:   read-only once initialised.
 */
#ifndef WR_CORS_H
#define WR_CORS_H

#include "core/base/error.h"

struct wr_cors {
	char *list; /* origins, separated by spaces */
	bool any;   /* the list is "*" */
};

/* origins: the configured value: "*", origins separated by spaces, or nothing. */
WR_MUST_CHECK enum wr_code wr_cors_init(struct wr_cors *cors, const char *origins, struct wr_error *err);
void wr_cors_fini(struct wr_cors *cors);

/*
 * Hands the headers of a reply to add(). origin: the request's, or empty. allow: the path's methods for a reply to
 * OPTIONS, else NULL. Never with credentials: a page sends its token itself.
 */
void wr_cors_headers(const struct wr_cors *cors, struct wr_str origin, const char *allow,
		     void (*add)(void *arg, const char *name, const char *value), void *arg);

#endif
