/*
 * URLs that users give: what is asked for and shown has no credential in it, is a URL again, and leads to the same
 * place; a refusal repeats nothing.
 */
#include <assert.h>

#include "core/net/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_http(const char *url)
{
	return wr_str_starts(wr_str(url), WR_S("http://")) || wr_str_starts(wr_str(url), WR_S("https://"));
}

static void check(const struct wr_net_url *url)
{
	WR_AUTO_S(wr_net_url) again = {0};
	const char *host = strstr(url->ask, "://") + 3;

	assert(is_http(url->ask) && is_http(url->shown));
	assert(!memchr(host, '@', strcspn(host, "/?#")));
	assert(!strchr(url->shown, '?') && !strchr(url->ask, '#'));
	assert(strncmp(url->ask, url->shown, strcspn(url->ask, "?")) == 0);
	for (const char *p = url->ask; *p; p++)
		assert((unsigned char)*p > ' ' && *p != 0x7f);
	for (const char *p = url->user; p && *p; p++)
		assert((unsigned char)*p >= ' ');
	for (const char *p = url->password; p && *p; p++)
		assert((unsigned char)*p >= ' ');
	if (strlen(url->ask) > WR_NET_URL_MAX)
		return;
	assert(wr_net_url_split(&again, wr_str(url->ask), NULL) == WR_OK);
	assert(!again.user && !again.password && strcmp(again.ask, url->ask) == 0 &&
	       strcmp(again.shown, url->shown) == 0);
	assert(wr_net_same_origin(url->ask, url->shown));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WR_AUTO_S(wr_net_url) url = {0};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	enum wr_code code = wr_net_url_split(&url, wr_str_n(data, size), &err);

	if (code == WR_OK)
		check(&url);
	else
		assert(code == WR_E_INVALID_REQUEST && err.text[0] && !url.ask);
	return 0;
}
