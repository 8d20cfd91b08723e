#include "server/http/cors.h"

#include <stdio.h>

#define MAX_ORIGIN 256

enum wr_code wr_cors_init(struct wr_cors *cors, const char *origins, struct wr_error *err)
{
	cors->any = strcmp(origins, "*") == 0;
	cors->list = wr_str_dup(wr_str(origins));
	return cors->list ? WR_OK : wr_fail_nomem(err);
}

void wr_cors_fini(struct wr_cors *cors)
{
	free(cors->list);
	cors->list = NULL;
}

static bool listed(const struct wr_cors *cors, struct wr_str origin)
{
	const char *p = cors->list;

	while (*p) {
		size_t n = strcspn(p, " \t,");

		if (n && wr_str_eq(wr_str_n(p, n), origin))
			return true;
		p += n + (p[n] != '\0');
	}
	return false;
}

void wr_cors_headers(const struct wr_cors *cors, struct wr_str origin, const char *allow,
		     void (*add)(void *arg, const char *name, const char *value), void *arg)
{
	char value[MAX_ORIGIN];

	if (cors->any) {
		add(arg, "Access-Control-Allow-Origin", "*");
	} else {
		/* The answer depends on the origin also where there is none, or another: caches have to know. */
		add(arg, "Vary", "Origin");
		if (origin.len == 0 || origin.len >= sizeof value || !listed(cors, origin))
			return;
		memcpy(value, origin.ptr, origin.len);
		value[origin.len] = '\0';
		add(arg, "Access-Control-Allow-Origin", value);
	}
	add(arg, "Access-Control-Expose-Headers", "x-freestyle-trace-id, www-authenticate, retry-after, "
	    "location, preference-applied");
	if (!allow)
		return;
	add(arg, "Access-Control-Allow-Methods", allow);
	add(arg, "Access-Control-Allow-Headers",
	    "authorization, content-type, git-protocol, x-freestyle-identity-access-token, x-freestyle-sdk, "
	    "x-freestyle-sdk-version, idempotency-key, if-none-match, range, prefer");
	add(arg, "Access-Control-Max-Age", "7200");
}
