#include "core/net/url.h"

#include <curl/curl.h>

static enum wr_code refuse(CURLUcode rc, struct wr_error *err)
{
	switch (rc) {
	case CURLUE_OUT_OF_MEMORY:
		return wr_fail_nomem(err);
	case CURLUE_BAD_SCHEME:
	case CURLUE_UNSUPPORTED_SCHEME:
		return wr_fail(err, WR_E_INVALID_REQUEST, "The URL must begin with http:// or https://");
	case CURLUE_URLDECODE:
	case CURLUE_BAD_LOGIN:
	case CURLUE_BAD_USER:
	case CURLUE_BAD_PASSWORD:
		return wr_fail(err, WR_E_INVALID_REQUEST, "The URL's user name or password has a control character");
	case CURLUE_BAD_HOSTNAME:
	case CURLUE_NO_HOST:
	case CURLUE_BAD_IPV6:
	case CURLUE_BAD_PORT_NUMBER:
		return wr_fail(err, WR_E_INVALID_REQUEST, "The URL's host or port is not well-formed");
	default:
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "The URL is not well-formed; encode spaces and unusual characters as %%XX");
	}
}

/* A copy that free() may have; *out stays NULL where the URL has no such part. */
static CURLUcode part(char **out, CURLU *u, CURLUPart which, unsigned flags)
{
	char *theirs = NULL;
	CURLUcode rc = curl_url_get(u, which, &theirs, flags);

	if (rc == CURLUE_NO_USER || rc == CURLUE_NO_PASSWORD)
		return CURLUE_OK;
	if (rc != CURLUE_OK)
		return rc;
	*out = wr_str_dup(wr_str(theirs));
	curl_free(theirs);
	return *out ? CURLUE_OK : CURLUE_OUT_OF_MEMORY;
}

/*
 * libcurl decodes a host's %XX, writes some of them otherwise than it read them, and takes any other byte; with the zone
 * of an address it reaches this machine's networks alone. No host that works has any of this.
 */
static CURLUcode judge_host(CURLU *u, const char *url)
{
	WR_AUTO_MEM char *host = NULL, *zone = NULL;
	const char *from = url + strcspn(url, ":"), *user;
	CURLUcode rc = part(&host, u, CURLUPART_HOST, 0);
	size_t len;

	from += strspn(from, ":/");
	len = strcspn(from, "/?#");
	user = memrchr(from, '@', len);
	if (part(&zone, u, CURLUPART_ZONEID, 0) == CURLUE_OK ||
	    memchr(user ? user : from, '%', user ? (size_t)(from + len - user) : len))
		return CURLUE_BAD_HOSTNAME;
	for (const char *p = host; rc == CURLUE_OK && *p; p++) {
		bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9');

		if (!plain && !strchr(".-_[:]", *p) && !(*p & 0x80))
			rc = CURLUE_BAD_HOSTNAME;
	}
	return rc;
}

static CURLUcode take_apart(struct wr_net_url *out, CURLU *u, const char *url)
{
	WR_AUTO_MEM char *scheme = NULL;
	CURLUcode rc;

	if ((rc = curl_url_set(u, CURLUPART_URL, url, 0)) != CURLUE_OK ||
	    (rc = part(&scheme, u, CURLUPART_SCHEME, 0)) != CURLUE_OK)
		return rc;
	if (!wr_str_eqz(wr_str(scheme), "http") && !wr_str_eqz(wr_str(scheme), "https"))
		return CURLUE_UNSUPPORTED_SCHEME;
	if ((rc = judge_host(u, url)) != CURLUE_OK ||
	    (rc = part(&out->user, u, CURLUPART_USER, CURLU_URLDECODE)) != CURLUE_OK ||
	    (rc = part(&out->password, u, CURLUPART_PASSWORD, CURLU_URLDECODE)) != CURLUE_OK ||
	    (rc = curl_url_set(u, CURLUPART_USER, NULL, 0)) != CURLUE_OK ||
	    (rc = curl_url_set(u, CURLUPART_PASSWORD, NULL, 0)) != CURLUE_OK ||
	    (rc = curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0)) != CURLUE_OK ||
	    (rc = part(&out->ask, u, CURLUPART_URL, 0)) != CURLUE_OK ||
	    (rc = curl_url_set(u, CURLUPART_QUERY, NULL, 0)) != CURLUE_OK)
		return rc;
	return part(&out->shown, u, CURLUPART_URL, 0);
}

enum wr_code wr_net_url_split(struct wr_net_url *out, struct wr_str url, struct wr_error *err)
{
	WR_AUTO_S(wr_net_url) made = {0};
	WR_AUTO_MEM char *text = NULL;
	CURLU *u;
	CURLUcode rc;

	if (url.len == 0 || url.len > WR_NET_URL_MAX)
		return wr_fail(err, WR_E_INVALID_REQUEST, "A URL has 1 to %d bytes", WR_NET_URL_MAX);
	if (memchr(url.ptr, 0, url.len))
		return refuse(CURLUE_MALFORMED_INPUT, err);
	text = wr_str_dup(url);
	u = curl_url();
	rc = text && u ? take_apart(&made, u, text) : CURLUE_OUT_OF_MEMORY;
	curl_url_cleanup(u);
	if (text)
		explicit_bzero(text, url.len);
	if (rc != CURLUE_OK)
		return refuse(rc, err);
	*out = made;
	made = (struct wr_net_url){0};
	return WR_OK;
}

static void forget(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

void wr_net_url_fini(struct wr_net_url *url)
{
	free(url->ask);
	free(url->shown);
	forget(url->user);
	forget(url->password);
	*url = (struct wr_net_url){0};
}

static bool same_part(CURLU *a, CURLU *b, CURLUPart which)
{
	char *one = NULL, *two = NULL;
	bool same = curl_url_get(a, which, &one, CURLU_DEFAULT_PORT) == CURLUE_OK &&
		    curl_url_get(b, which, &two, CURLU_DEFAULT_PORT) == CURLUE_OK &&
		    wr_str_caseeq(wr_str(one), wr_str(two));

	curl_free(one);
	curl_free(two);
	return same;
}

bool wr_net_same_origin(const char *a, const char *b)
{
	CURLU *one = curl_url(), *two = curl_url();
	bool same = one && two && curl_url_set(one, CURLUPART_URL, a, 0) == CURLUE_OK &&
		    curl_url_set(two, CURLUPART_URL, b, 0) == CURLUE_OK && same_part(one, two, CURLUPART_SCHEME) &&
		    same_part(one, two, CURLUPART_HOST) && same_part(one, two, CURLUPART_PORT);

	curl_url_cleanup(one);
	curl_url_cleanup(two);
	return same;
}
