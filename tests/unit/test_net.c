/* core/net: URLs taken apart, and which addresses are public. What calls do: tests/protocol/outgoing.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "core/net/address.h"
#include "core/net/call.h"
#include "core/net/url.h"

static void assert_same(const char *got, const char *wanted)
{
	if (!wanted)
		assert_null(got);
	else
		assert_string_equal(got, wanted);
}

static void urls(void **state)
{
	static const struct {
		const char *url, *ask, *shown, *user, *password;
	} rows[] = {
		{"http://h/r.git", "http://h/r.git", "http://h/r.git", NULL, NULL},
		{"https://h", "https://h/", "https://h/", NULL, NULL},
		{"HTTPS://h:8443/a?b=c#d", "https://h:8443/a?b=c", "https://h:8443/a", NULL, NULL},
		{"https://u:p@h/a", "https://h/a", "https://h/a", "u", "p"},
		{"https://token@h/a", "https://h/a", "https://h/a", "token", NULL},
		{"https://u:@h/a", "https://h/a", "https://h/a", "u", ""},
		{"https://:p@h/a", "https://h/a", "https://h/a", "", "p"},
		{"https://u%40x:p%3A%2F%25@h/a", "https://h/a", "https://h/a", "u@x", "p:/%"},
		{"http://h/a@b:c", "http://h/a@b:c", "http://h/a@b:c", NULL, NULL},
		{"http://u:p@[::1]:80/a", "http://[::1]:80/a", "http://[::1]:80/a", "u", "p"},
		{"http://h/?t=secret", "http://h/?t=secret", "http://h/", NULL, NULL},
		{"http://h/#me@x", "http://h/", "http://h/", NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		WR_AUTO_S(wr_net_url) url = {0};

		if (wr_net_url_split(&url, wr_str(rows[i].url), NULL) != WR_OK)
			fail_msg("refused: %s", rows[i].url);
		assert_same(url.ask, rows[i].ask);
		assert_same(url.shown, rows[i].shown);
		assert_same(url.user, rows[i].user);
		assert_same(url.password, rows[i].password);
	}
}

static void refused_urls(void **state)
{
	static const char *const rows[] = {
		"",
		"h",
		"/a",
		"//h/a",
		"http:",
		"http://",
		"https://@",
		"http://:80/",
		"ftp://u:secret@h/",
		"file:///etc/passwd",
		"git@h:r.git",
		"ssh://h/r",
		"javascript:secret",
		"http://h:99999/",
		"http://h:x/",
		"http://[::1/",
		"http://[zz]/",
		"http://h h/",
		"http://h/a b",
		"http://h/\n",
		"http://h\t/",
		"http://u%0asecret@h/",
		"http://u:%00secret@h/",
		/* Which @ ends it is a matter of taste, of which much mischief was made. */
		"http://secret@b:c@h/",
		"http://u%00@h/",
		" http://h/",
		"http://h/\x7f",
		"http://a:secret@h:x/",
		"http://h%2fx/",
		"http://%32/",
		"http://u:p@h%30/",
		"http://[fe80::1%25lo]/",
		"http://h+x/",
		"http://h%/",
		"http://h!secret/",
	};
	static char large[WR_NET_URL_MAX + 2];

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		struct wr_net_url url = {.user = large};
		WR_AUTO_S(wr_error) err = WR_ERROR_INIT;

		if (wr_net_url_split(&url, wr_str(rows[i]), &err) != WR_E_INVALID_REQUEST)
			fail_msg("taken: %s", rows[i]);
		assert_null(strstr(err.text, "secret"));
		assert_ptr_equal(url.user, large);
	}
	memset(large, 'x', sizeof large - 1);
	memcpy(large, "http://h/", 9);
	struct wr_net_url url = {0};
	assert_int_equal(wr_net_url_split(&url, wr_str(large), NULL), WR_E_INVALID_REQUEST);
	assert_int_equal(wr_net_url_split(&url, wr_str_n("http://h/\0x", 11), NULL), WR_E_INVALID_REQUEST);
	large[WR_NET_URL_MAX] = '\0';
	assert_int_equal(wr_net_url_split(&url, wr_str(large), NULL), WR_OK);
	wr_net_url_fini(&url);
	assert_null(url.ask);
}

static void origins(void **state)
{
	(void)state;
	assert_true(wr_net_same_origin("http://h/a", "HTTP://H:80/b?c"));
	assert_true(wr_net_same_origin("https://h:443/", "https://h/"));
	assert_true(wr_net_same_origin("http://[::1]:81/", "http://[::1]:81/x"));
	assert_false(wr_net_same_origin("http://h/", "https://h/"));
	assert_false(wr_net_same_origin("http://h/", "http://h:81/"));
	assert_false(wr_net_same_origin("http://h/", "http://h.example/"));
	assert_false(wr_net_same_origin("http://h/", "h"));
	assert_false(wr_net_same_origin("", ""));
}

static bool is_public(const char *text)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

	if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
		return wr_address_public((struct sockaddr *)&in);
	assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
	return wr_address_public((struct sockaddr *)&in6);
}

/* The first and the last address of each range, and those beside it. */
static void addresses(void **state)
{
	static const char *const ranges[][4] = {
		{NULL, "0.0.0.0", "0.255.255.255", "1.0.0.0"},
		{"9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"},
		{"100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"},
		{"126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"},
		{"169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"},
		{"172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"},
		{"191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"},
		{"192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"},
		{"192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0"},
		{"192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"},
		{"198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"},
		{"198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0"},
		{"203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0"},
		{"223.255.255.255", "224.0.0.0", "255.255.255.255", NULL},
		{"::ffff:126.255.255.255", "::ffff:127.0.0.0", "::ffff:127.255.255.255", "::ffff:128.0.0.0"},
		{"64:ff9b::9.255.255.255", "64:ff9b::10.0.0.0", "64:ff9b::10.255.255.255", "64:ff9b::11.0.0.0"},
		{NULL, "::", "::1", NULL},
		{NULL, "::8.8.8.8", "::ffff:0:8.8.8.8", NULL},
		{NULL, "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", NULL},
		{NULL, "100::", "100::ffff:ffff:ffff:ffff", NULL},
		{NULL, "2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::"},
		{"2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
		 "2001:db9::"},
		{"2002:9ff:ffff::", "2002:a00::", "2002:aff:ffff:ffff:ffff:ffff:ffff:ffff", "2002:b00::"},
		{"3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
		 "3fff:1000::"},
		{"2000::", "4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3ffd::"},
		{NULL, "fc00::", "fdff::1", NULL},
		{NULL, "fe80::1", "febf::1", NULL},
		{NULL, "ff02::1", "ff0e::1", NULL},
	};
	struct sockaddr local = {.sa_family = AF_UNIX};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(ranges); i++)
		for (size_t k = 0; k < 4; k++)
			if (ranges[i][k] && is_public(ranges[i][k]) != (k == 0 || k == 3))
				fail_msg("%s", ranges[i][k]);
	assert_true(is_public("2606:4700:4700::1111"));
	assert_false(wr_address_public(&local));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(urls),
		cmocka_unit_test(refused_urls),
		cmocka_unit_test(origins),
		cmocka_unit_test(addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
