#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "server/http/credential.h"
#include "server/http/route.h"

/* "path|seg|seg?name=value&..." of a parsed target, with / and NUL visible, or "400". */
static const char *parsed(const char *target)
{
	static struct wr_buf text = WR_BUF_INIT(100000);
	WR_AUTO_S(wr_url) url = {.memory = NULL};

	wr_buf_clear(&text);
	if (wr_url_parse(&url, wr_str(target), NULL))
		return "400";
	wr_buf_adds(&text, url.path);
	for (size_t i = 0; i < url.n_segments; i++) {
		wr_buf_addc(&text, '|');
		wr_buf_adds(&text, url.segments[i]);
	}
	for (size_t i = 0; i < url.n_pairs; i++) {
		wr_buf_addc(&text, i ? '&' : '?');
		wr_buf_adds(&text, url.pairs[i].name);
		wr_buf_addc(&text, '=');
		wr_buf_adds(&text, url.pairs[i].value);
	}
	return text.ptr;
}

static void test_decoding(void **state)
{
	(void)state;
	assert_string_equal(parsed("/"), "/|");
	assert_string_equal(parsed("/a/b"), "/a/b|a|b");
	assert_string_equal(parsed("/a//b/"), "/a//b/|a||b|");
	assert_string_equal(parsed("/feat%2Fx"), "/feat%2Fx|feat/x");
	assert_string_equal(parsed("/%252F"), "/%252F|%2F");
	assert_string_equal(parsed("/a+b%2Bc%20d"), "/a+b%2Bc%20d|a+b+c d");
	assert_string_equal(parsed("/a/../b/./%2e%2e"), "/a/../b/./%2e%2e|a|..|b|.|..");
	assert_string_equal(parsed("/%c3%A4"), "/%c3%A4|\xc3\xa4");
	assert_string_equal(parsed("/\xc3\xa4"), "/\xc3\xa4|\xc3\xa4");
	assert_string_equal(parsed("/a?"), "/a|a");
	assert_string_equal(parsed("/a?x"), "/a|a?x=");
	assert_string_equal(parsed("/a?x=1&&y=2=3&=z"), "/a|a?x=1&y=2=3&=z");
	assert_string_equal(parsed("/a?q=a+b%2B%20c&r=a/b?c"), "/a|a?q=a b+ c&r=a/b?c");
	assert_string_equal(parsed("http://host:80/a?b=c"), "/a|a?b=c");
	assert_string_equal(parsed("https://host/"), "/|");
}

static void test_refusals(void **state)
{
	static const char *const bad[] = {"",       "a",        "*",         "http://host", "http://host?x",
					  "/%",     "/%1",      "/%zz",      "/%0",         "/%00",
					  "/a%00b", "/a?x=%00", "/a?%=1",    "/a b",        "/a\tb",
					  "/a\x7f", "/a#b",     "ftp://h/a", "?x"};
	char *target = malloc(WR_URL_MAX + 2);

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(bad); i++)
		if (strcmp(parsed(bad[i]), "400") != 0)
			fail_msg("\"%s\" gave %s", bad[i], parsed(bad[i]));
	memset(target, '/', WR_URL_MAX + 1);
	target[WR_URL_MAX + 1] = '\0';
	assert_string_equal(parsed(target), "400");
	target[WR_URL_MAX] = '\0';
	assert_string_not_equal(parsed(target), "400");
	free(target);
}

/* ---- routes ---- */

static enum wr_code none(struct wr_app *app, struct wr_request *req, struct wr_error *err)
{
	(void)app;
	(void)req;
	(void)err;
	return WR_OK;
}

#define ROW(method, path)                                                                                              \
	{                                                                                                              \
		method, path, WR_ACCESS_NONE, WR_BODY_NONE, WR_LANE_INLINE, none                                       \
	}
static const struct wr_route rows[] = {
	ROW("GET", "/api/{repo}/contents/{path*}"),
	ROW("GET", "/api/{repo}"),
	ROW("PUT", "/api/{repo}"),
	ROW("GET", "/api/search"),
	ROW("POST", "/api/search"),
	ROW("DELETE", "/api/{repo}/{item}"),
	ROW("GET", "/api/{repo}/fixed"),
	ROW("GET", "/{repo.git}/info/refs"),
};
static const struct wr_route_table table = {.rows = rows, .n = WR_ARRAY_LEN(rows)};

/* "pattern name=value ..." of the row that takes the request; "405 methods"; "404". */
static const char *routed(const char *method, const char *target)
{
	static struct wr_buf text = WR_BUF_INIT(100000);
	WR_AUTO_S(wr_url) url = {.memory = NULL};
	struct wr_match match = {.route = NULL};
	bool nomem;

	wr_buf_clear(&text);
	assert_int_equal(wr_url_parse(&url, wr_str(target), NULL), WR_OK);
	if (!wr_route_match(&match, &table, wr_str(method), &url, &nomem))
		return "404";
	if (!match.route) {
		wr_buf_addz(&text, "405 ");
		wr_route_allow(&text, &table, &url);
		return text.ptr;
	}
	wr_buf_addz(&text, match.route->path);
	for (size_t i = 0; i < match.n_params; i++) {
		wr_buf_addc(&text, ' ');
		wr_buf_adds(&text, match.params[i].name);
		wr_buf_addc(&text, '=');
		wr_buf_adds(&text, match.params[i].value);
	}
	wr_match_fini(&match);
	return text.ptr;
}

static void test_routes(void **state)
{
	(void)state;
	assert_string_equal(routed("GET", "/api/x"), "/api/{repo} repo=x");
	assert_string_equal(routed("HEAD", "/api/x"), "/api/{repo} repo=x");
	assert_string_equal(routed("GET", "/api/search"), "/api/search");
	assert_string_equal(routed("GET", "/api/search/"), "/api/search");
	assert_string_equal(routed("PUT", "/api/search"), "/api/{repo} repo=search");
	assert_string_equal(routed("GET", "/api/x/"), "404");
	assert_string_equal(routed("GET", "/api/"), "404");
	assert_string_equal(routed("GET", "/api"), "404");
	assert_string_equal(routed("get", "/api/x"), "405 GET, HEAD, PUT, OPTIONS");
	assert_string_equal(routed("PATCH", "/api/search"), "405 GET, HEAD, POST, PUT, OPTIONS");
	assert_string_equal(routed("OPTIONS", "/api/x/fixed"), "405 GET, HEAD, DELETE, OPTIONS");
	assert_string_equal(routed("GET", "/api/x/fixed"), "/api/{repo}/fixed repo=x");
	assert_string_equal(routed("DELETE", "/api/x/fixed"), "/api/{repo}/{item} repo=x item=fixed");
	assert_string_equal(routed("GET", "/api/x/contents"), "/api/{repo}/contents/{path*} repo=x path=");
	assert_string_equal(routed("GET", "/api/x/contents/"), "/api/{repo}/contents/{path*} repo=x path=");
	assert_string_equal(routed("GET", "/api/x/contents/a%2Fb/c%252F/"),
			    "/api/{repo}/contents/{path*} repo=x path=a/b/c%2F/");
	assert_string_equal(routed("GET", "/x/info/refs"), "/{repo.git}/info/refs repo=x");
	assert_string_equal(routed("GET", "/x.git/info/refs/"), "/{repo.git}/info/refs repo=x");
	assert_string_equal(routed("GET", "/x.git.git/info/refs"), "/{repo.git}/info/refs repo=x.git");
	assert_string_equal(routed("GET", "/.git/info/refs"), "404");
	assert_string_equal(routed("GET", "//info/refs"), "404");
	assert_string_equal(routed("GET", "/a%2Finfo/refs"), "404");
	assert_string_equal(routed("GET", "/x/info%2Frefs"), "404");
	assert_string_equal(routed("GET", "/api%2Fsearch"), "404");
	assert_string_equal(routed("GET", "/api/x/fixe"), "405 DELETE, OPTIONS");
	assert_string_equal(routed("GET", "/api/x/fixedly"), "405 DELETE, OPTIONS");
	assert_string_equal(routed("GET", "/x/HEAD"), "404");
	assert_string_equal(routed("GET", "/"), "404");
}

/* ---- credentials ---- */

static const char *read_as(const char *authorization, const char *token, bool git)
{
	static const char *const kinds[] = {"none", "any ", "token ", "unreadable"};
	static char text[WR_CREDENTIAL_MAX + 20];
	struct wr_credential_buf cred;

	wr_credential_read(&cred, wr_str(authorization), wr_str(token), git);
	snprintf(text, sizeof text, "%s%.*s", kinds[cred.cred.kind], (int)cred.cred.secret.len,
		 cred.cred.secret.ptr ? cred.cred.secret.ptr : "");
	wr_credential_wipe(&cred);
	assert_int_equal(cred.cred.kind, WR_CRED_NONE);
	assert_int_equal(cred.bytes[0], 0);
	return text;
}

static void test_credentials(void **state)
{
	char *longer = malloc(3000);

	(void)state;
	assert_string_equal(read_as(NULL, NULL, false), "none");
	assert_string_equal(read_as("Bearer abc", NULL, false), "any abc");
	assert_string_equal(read_as("bEARER  abc \t", NULL, true), "any abc");
	assert_string_equal(read_as(NULL, "tok", false), "token tok");
	assert_string_equal(read_as(NULL, "tok", true), "none");
	assert_string_equal(read_as("Bearer abc", "tok", false), "any abc");
	assert_string_equal(read_as("", "tok", false), "unreadable");
	assert_string_equal(read_as(NULL, "", false), "unreadable");
	assert_string_equal(read_as("Bearer", NULL, false), "unreadable");
	assert_string_equal(read_as("Bearer ", NULL, false), "unreadable");
	assert_string_equal(read_as("Bearerabc", NULL, false), "unreadable");
	assert_string_equal(read_as("Token abc", NULL, true), "unreadable");
	assert_string_equal(read_as("Basic YTpi", NULL, false), "unreadable");
	assert_string_equal(read_as("Basic YTpi", NULL, true), "any b");       /* a:b */
	assert_string_equal(read_as("basic YTpiOmM=", NULL, true), "any b:c"); /* a:b:c */
	assert_string_equal(read_as("Basic OmFi", NULL, true), "any ab");      /* :ab */
	assert_string_equal(read_as("Basic YTpiYw==", NULL, true), "any bc");  /* a:bc */
	assert_string_equal(read_as("Basic YWJj", NULL, true), "unreadable");  /* abc */
	assert_string_equal(read_as("Basic YTo=", NULL, true), "unreadable");  /* a: */
	assert_string_equal(read_as("Basic YTpi=", NULL, true), "unreadable");
	assert_string_equal(read_as("Basic YTp", NULL, true), "unreadable");
	assert_string_equal(read_as("Basic =", NULL, true), "unreadable");
	assert_string_equal(read_as("Basic ====", NULL, true), "unreadable");
	assert_string_equal(read_as("Basic Y=pi", NULL, true), "unreadable");
	assert_string_equal(read_as("Basic YTpi YTpi", NULL, true), "unreadable");
	assert_string_equal(read_as("Basic", NULL, true), "unreadable");
	memset(longer, 'a', 2999);
	longer[2999] = '\0';
	memcpy(longer, "Bearer ", 7);
	assert_string_equal(read_as(longer, NULL, true), "unreadable");
	memcpy(longer, "Basic  ", 7);
	assert_string_equal(read_as(longer, NULL, true), "unreadable");
	free(longer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decoding),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_credentials),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
