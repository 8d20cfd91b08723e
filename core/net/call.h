/*
 * core/net/call.h: one HTTP request to somebody else's server, and its answer as a source.
 *
 * Every connection is checked when its address is known, just before it is made, so that neither a redirect nor a name
 * that changes its address leads where nobody may go. Only http and https; no proxies, no cookies, no files of credentials;
 * a credential goes to the host that it was given for and to no other; certificates are verified.
 * Ownership: wr_net_open() gives *out for wr_net_close(); what ask points to is borrowed until then.
 * Threads:   one per call. The process ignores SIGPIPE.
 * Blocks on: the network, by deadlines; cancel is asked.
 * Errors:    WR_E_NET_REFUSED (the address is not public), WR_E_NET_UNREACHABLE (name, connection, TLS, an answer that
 *            is no HTTP or breaks off), WR_E_NET_SLOW (deadline, minimum rate), WR_E_TOO_LARGE (more than max_bytes), WR_E_CANCELLED,
 *            WR_E_UNAVAILABLE. The words never contain the URL's user name, password or query.
 */
#ifndef WR_NET_CALL_H
#define WR_NET_CALL_H

#include "core/base/cancel.h"
#include "core/base/stream.h"

struct wr_net_rules {
	bool private_networks; /* addresses that are not public are fine, too */
	const char *ca_file;   /* "" or NULL: the system's certificates */
	unsigned redirects;    /* at most so many; 0: an answer that redirects is the answer */
	int64_t connect_ms;    /* for name and connection */
	int64_t deadline_ms;   /* for all of it; 0: none */
	uint64_t min_rate;     /* bytes a second, over min_rate_ms of waiting for them; 0: none */
	int64_t min_rate_ms;
	uint64_t max_bytes; /* of the answer's body */
};

struct wr_net_ask {
	const char *method;	     /* "GET" or "POST" */
	const char *url;	     /* without user name and password */
	const char *user, *password; /* NULL: none */
	const char *const *headers;  /* "Name: value", NULL at the end; may be NULL */
	struct wr_str body;	     /* of a POST */
	const struct wr_net_rules *rules;
	const struct wr_cancel *cancel; /* may be NULL */
	bool patient;			/* see wr_net_patient() */
};

struct wr_net_call;
/* Returns when the answer's head is there, whatever its status. */
WR_MUST_CHECK enum wr_code wr_net_open(struct wr_net_call **out, const struct wr_net_ask *ask, struct wr_error *err);
void wr_net_close(struct wr_net_call *call);
WR_DEFINE_AUTO_AS(wr_net_call, struct wr_net_call, wr_net_close);

int wr_net_status(const struct wr_net_call *call);
/* Of the last answer, after redirects; "" when there is none. */
struct wr_str wr_net_header(const struct wr_net_call *call, const char *name);
/* Where the answer came from in the end. */
const char *wr_net_url(const struct wr_net_call *call);
/* While so, there is no minimum rate but only the deadline: the other server has to work before it can send. */
void wr_net_patient(struct wr_net_call *call, bool patient);
/* The body as it was sent (identity encoding). A failed read fails again. */
struct wr_source *wr_net_body(struct wr_net_call *call);

#endif
