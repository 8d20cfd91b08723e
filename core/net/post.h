/*
 * core/net/post.h: many small POSTs to other servers at once, from one thread.
 *
 * As with call.h every connection is checked when its address is known, just before it is made, and made to that
 * address; only http and https, no redirects, no proxies, no cookies; certificates are verified. Connections are used
 * again for some seconds, and for a minute at most, for the next POST to the same scheme, host and port; what a name
 * resolves to for a second. Where one turns out to be closed by the other side, and nothing was answered, the POST is
 * sent again.
 * Ownership: wr_posts_new() gives *out for wr_posts_free(), which aborts what is under way without a result. What an
 *            ask and rules point to is copied.
 * Threads:   one, but for wr_posts_wake(), which any may call.
 * Blocks on: wr_posts_wait() alone.
 * Errors:    of the set: WR_E_UNAVAILABLE. Of one POST: in its wr_post_end.
 */
#ifndef WR_NET_POST_H
#define WR_NET_POST_H

#include "core/base/str.h"
#include "core/net/call.h"

#define WR_POST_ANSWER 4096 /* bytes of an answer that are kept */
#define WR_POST_ERROR 200

struct wr_post_rules {
	bool private_networks;	  /* addresses that are not public are fine, too */
	const char *ca_file;	  /* "" or NULL: the system's certificates */
	const char *agent;	  /* User-Agent */
	int64_t connect_ms;	  /* for name and connection */
	int64_t total_ms;	  /* for all of it */
	uint64_t max_answer;	  /* bytes of an answer's body that are read; the connection is closed then */
	unsigned connections;	  /* kept for later POSTs, beside those in use */
};

struct wr_posts;
WR_MUST_CHECK enum wr_code wr_posts_new(struct wr_posts **out, const struct wr_post_rules *rules, struct wr_error *err);
void wr_posts_free(struct wr_posts *posts);
WR_DEFINE_AUTO(wr_posts);

struct wr_post_ask {
	const char *url;	    /* without user name and password: wr_net_url_split() */
	const char *const *headers; /* "Name: value", NULL at the end */
	struct wr_str body;
	bool fresh; /* on a new connection, for the host may have moved */
	void *tag;  /* comes back with its end */
};
WR_MUST_CHECK enum wr_code wr_posts_begin(struct wr_posts *posts, const struct wr_post_ask *ask, struct wr_error *err);

/*
 * What became of one. code WR_OK: there was an answer, and status is its status; as soon as the head of an answer of
 * 2xx is there it counts, whatever becomes of its body. Else no answer came, and error says in words for the endpoint's
 * owner why: WR_E_NET_REFUSED, WR_E_NET_UNREACHABLE, WR_E_NET_SLOW.
 */
struct wr_post_end {
	void *tag;
	enum wr_code code;
	int status;	       /* 0: none */
	int64_t latency_ms;    /* from the beginning to the answer's head, or to the failure */
	int64_t retry_after_s; /* Retry-After (RFC 9110, 10.2.3; both forms), -1: none */
	char error[WR_POST_ERROR];
	size_t answer_len;
	char answer[WR_POST_ANSWER]; /* its first bytes, as they came */
};

/*
 * Goes on with all of them until some have ended, wr_posts_wake() was called or the time is over; -1: no time limit.
 * Returns how many of ends (up to max) were filled in.
 */
size_t wr_posts_wait(struct wr_post_end *ends, size_t max, struct wr_posts *posts, int64_t timeout_ms);
void wr_posts_wake(struct wr_posts *posts);
/* How many were begun whose end was not returned yet. */
size_t wr_posts_count(const struct wr_posts *posts);

#endif
