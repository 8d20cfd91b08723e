/*
 * server/http/url.h: a request target (RFC 9112 section 3.2) split into path segments and query parameters.
 * Each is decoded exactly once: %2F stays inside its segment, %252F is the three characters %2F. Dot segments are kept
 * as they are. In the query + is a space. Refused: an escape that is none, %00, control characters and spaces, a
 * fragment, a path that does not begin with "/", anything longer than WR_URL_MAX.
 * Ownership: wr_url_parse() fills *out; wr_url_fini() releases it. Nothing of the target is borrowed.
 * Threads:   values, no shared state.
 * Errors:    WR_E_INVALID_REQUEST; WR_E_UNAVAILABLE without memory.
 */
#ifndef WR_URL_H
#define WR_URL_H

#include "core/base/error.h"

#define WR_URL_MAX ((size_t)8192)

struct wr_url_pair {
	struct wr_str name, value;
};

struct wr_url {
	void *memory;
	struct wr_str path;      /* as it was sent, without the query */
	struct wr_str *segments; /* "/a/b/" has three: "a", "b" and "" */
	size_t n_segments;
	struct wr_url_pair *pairs;
	size_t n_pairs;
};

/* target: origin form ("/path?query"), or absolute form ("http://host/path?query"), whose authority is passed over. */
WR_MUST_CHECK enum wr_code wr_url_parse(struct wr_url *out, struct wr_str target, struct wr_error *err);
void wr_url_fini(struct wr_url *url);
WR_DEFINE_AUTO_S(wr_url);

#endif
