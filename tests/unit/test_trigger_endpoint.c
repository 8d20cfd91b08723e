/* triggers/endpoint: which URLs a trigger may have, whose hosts are only read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "triggers/trigger.h"

static void check(const char *url, bool private_networks, const char *words)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	enum wr_code code = wr_trigger_check_endpoint(wr_str(url), private_networks, &err);

	if (!words && code != WR_OK)
		fail_msg("%s: %s", url, err.text);
	if (words && (code != WR_E_INVALID_REQUEST || !strstr(err.text, words) ||
		      !wr_str_starts(wr_str(err.text), WR_S("action.endpoint"))))
		fail_msg("%s: code %d, \"%s\"", url, code, err.text);
}

static void taken(void **state)
{
	static const char *const urls[] = {
		"https://example.com",
		"http://EXAMPLE.com.:8080/a?b=c#d",
		"https://hooks.example/%7Bx%7D/@x:y",
		"http://8.8.8.8/",
		"http://134744072/",
		"http://[2606:4700:4700::1111]:443/a",
		"http://[::ffff:8.8.8.8]/",
		"https://xn--bcher-kva.example/",
		"http://a_b.example/",
		"http://1.example/",
		"http://127.0.0.1.example/",
		"http://0x7f000001.example/",
		"http://localhost.example/",
		"http://mylocalhost/",
		"http://0xyz/",
		"http://face/",
		"http://h/http://127.0.0.1/",
		"http://h?http://127.0.0.1/",
	};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(urls); i++) {
		check(urls[i], false, NULL);
		check(urls[i], true, NULL);
	}
}

/* Every way to write them; with private networks allowed they are fine. */
static void not_public(void **state)
{
	static const char *const addresses[] = {
		"127.0.0.1", "127.1", "127.0.1", "127.0.0.1.", "0x7f000001", "0X7F.1", "0x7F.0x0.0x0.0x1",
		"2130706433", "0177.0.0.1", "017700000001", "00000177.1", "0", "0.0.0.0", "0.", "10.1.2.3",
		"172.31.0.1", "192.168.1", "100.64.0.1", "169.254.169.254", "0xa9fea9fe", "2852039166",
		"224.0.0.1", "255.255.255.255", "4294967295", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]",
		"[::ffff:127.0.0.1]", "[::FFFF:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]",
		"[64:ff9b::10.0.0.1]", "[fe80::1]", "[fd00::1]", "[2002:7f00:1::]", "[ff02::1]",
	};
	static const char *const names[] = {
		"localhost", "LOCALHOST", "LocalHost.", "a.localhost", "a.B.LocalHost.", "ip6-loopback",
		"localhost.localdomain",
	};
	char url[200];

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(addresses); i++) {
		snprintf(url, sizeof url, "http://%s:8080/a", addresses[i]);
		check(url, false, "its address is not public");
		check(url, true, NULL);
		snprintf(url, sizeof url, "https:///%s", addresses[i]);
		check(url, false, "its address is not public");
	}
	for (size_t i = 0; i < WR_ARRAY_LEN(names); i++) {
		snprintf(url, sizeof url, "http://%s/", names[i]);
		check(url, false, "its name means this server");
		check(url, true, NULL);
	}
}

static void refused(void **state)
{
	static const struct {
		const char *url, *words;
	} rows[] = {
		{"", ""},
		{"example.com", "http://"},
		{"ftp://example.com/", "http://"},
		{"file:///etc/passwd", "http://"},
		{"http://me@example.com/", "no user name"},
		{"http://me:secret@example.com/", "no user name"},
		{"http://:secret@example.com/", "no user name"},
		{"http://a b/", "not well-formed"},
		{"http://example.com:99999/", "port"},
		{"http://%6cocalhost/", "host"},
		{"http://127.0.0%2e1/", "host"},
		{"http://[fe80::1%25eth0]/", "host"},
		{"http://[::1%251]/", "host"},
		{"http://[::1/", "host"},
		{"http://[1.2.3.4]/", ""},
		{"http://[::12345]/", ""},
		{"http://127\xe3\x80\x82" "0\xe3\x80\x82" "0\xe3\x80\x82" "1/", "xn--"},
		{"http://\xef\xbd\x8c" "ocalhost/", "xn--"},
		{"http://b\xc3\xbc" "cher.example/", "xn--"},
		{"http://1.2.3.4.5/", "no well-formed address"},
		{"http://256.256.256.256/", "no well-formed address"},
		{"http://4294967296/", "no well-formed address"},
		{"http://127.0.0.0x100/", "no well-formed address"},
		{"http://1.2.3.08/", "no well-formed address"},
		{"http://0x/", "no well-formed address"},
		{"http://127..1/", "empty part"},
		{"http://localhost../", "empty part"},
		{"http://.localhost/", "empty part"},
		{"http://./", "empty part"},
	};
	char large[WR_TRIGGER_ENDPOINT_MAX + 2];

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		check(rows[i].url, false, rows[i].words);
		check(rows[i].url, true, rows[i].words);
	}
	memset(large, 'a', sizeof large);
	memcpy(large, "http://h/", 9);
	large[sizeof large - 1] = '\0';
	check(large, false, "more than 2048 bytes");
	large[sizeof large - 2] = '\0';
	check(large, false, NULL);
	memset(large, 'a', sizeof large);
	memcpy(large, "http://", 7);
	large[7 + 253] = '\0';
	check(large, false, NULL);
	large[7 + 253] = 'a';
	large[7 + 254] = '\0';
	check(large, false, "more than 253 bytes");
	assert_int_equal(wr_trigger_check_endpoint(wr_str_n("http://h/\0x", 11), true, NULL), WR_E_INVALID_REQUEST);
}

static void hosts(void **state)
{
	static const struct {
		const char *url, *host;
	} rows[] = {
		{"https://Hooks.Example.:8443/a?b", "hooks.example"},
		{"http://h", "h"},
		{"http://h?a:b", "h"},
		{"http://127.1:80/", "127.0.0.1"},
		{"http://0x7F000001/", "127.0.0.1"},
		{"http://[2606:4700:0:0:0::1111]:80/", "2606:4700::1111"},
		{"http://[::FFFF:1.2.3.4]/", "::ffff:1.2.3.4"},
	};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		char host[WR_TRIGGER_HOST_MAX + 1] = "";

		assert_int_equal(wr_trigger_host(host, wr_str(rows[i].url), NULL), WR_OK);
		assert_string_equal(host, rows[i].host);
	}
	assert_int_equal(wr_trigger_host((char[WR_TRIGGER_HOST_MAX + 1]){0}, WR_S("nonsense"), NULL),
			 WR_E_INVALID_REQUEST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(taken),
		cmocka_unit_test(not_public),
		cmocka_unit_test(refused),
		cmocka_unit_test(hosts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
