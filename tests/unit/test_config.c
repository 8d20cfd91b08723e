/* core/base/config: every type, every refusal with its place, the order of file, environment and flag. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/config.h"

static void refused(const char *text, const char *part)
{
	WR_AUTO_S(wr_config) cfg;
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;

	assert_int_equal(wr_config_init(&cfg, &err), WR_OK);
	assert_int_equal(wr_config_parse(&cfg, "w.conf", wr_str(text), &err), WR_E_INVALID_REQUEST);
	if (!strstr(err.text, part))
		fail_msg("\"%s\" does not say \"%s\"", err.text, part);
}

static void file_sets_values(void **state)
{
	WR_AUTO_S(wr_config) cfg;
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	const char *text = "# comment\r\n\n[server]\nlisten = 0.0.0.0:80 ; not a comment\r\nstop_timeout=2m\n"
			   "[git]\n  max_pack = 3M  \n; x\n[http]\ncors_origins =\nidle_timeout = 1500ms";

	(void)state;
	assert_int_equal(wr_config_init(&cfg, &err), WR_OK);
	assert_int_equal(cfg.server_stop_timeout, 10000);
	assert_int_equal(wr_config_parse(&cfg, "w.conf", wr_str(text), &err), WR_OK);
	assert_string_equal(cfg.server_listen, "0.0.0.0:80 ; not a comment");
	assert_int_equal(cfg.server_stop_timeout, 120000);
	assert_int_equal(cfg.git_max_pack, 3 * 1024 * 1024);
	assert_string_equal(cfg.http_cors_origins, "");
	assert_int_equal(cfg.http_idle_timeout, 1500);
}

static void refusals_name_file_line_and_key(void **state)
{
	(void)state;
	refused("[server]\nlistne = x\n", "w.conf:2: unknown key \"listne\" in section [server]");
	refused("[sevrer]\n", "w.conf:1: unknown section [sevrer]");
	refused("listen = x\n", "w.conf:1: unknown key \"listen\"");
	refused("[server\n", "w.conf:1");
	refused("[server]\n\nnonsense\n", "w.conf:3: expected \"key = value\"");
	refused("[git]\nmax_pack = 12q\n", "w.conf:2: git.max_pack");
	refused("[git]\nmax_pack = 99999999999999999999g\n", "w.conf:2: git.max_pack");
	refused("[git]\nmax_pack = 18446744073709551615g\n", "w.conf:2: git.max_pack");
	refused("[git]\nmax_pack = 1\n", "lies between");
	refused("[lanes]\ngit_threads = -3\n", "w.conf:2: lanes.git_threads");
	refused("[lanes]\ngit_threads =\n", "w.conf:2: lanes.git_threads");
	refused("[server]\nlisten = \xff\n", "not UTF-8");
}

static void flag_beats_environment(void **state)
{
	WR_AUTO_S(wr_config) cfg;
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	bool known;

	(void)state;
	setenv("WARREN_SERVER_LISTEN", "from-env:1", 1);
	setenv("WARREN_LANES_QUEUE", "7", 1);
	assert_int_equal(wr_config_init(&cfg, &err), WR_OK);
	assert_int_equal(wr_config_read_env(&cfg, &err), WR_OK);
	assert_string_equal(cfg.server_listen, "from-env:1");
	assert_int_equal(cfg.lanes_queue, 7);
	assert_int_equal(wr_config_flag(&cfg, WR_S("listen"), "from-flag:1", &known, &err), WR_OK);
	assert_true(known);
	assert_string_equal(cfg.server_listen, "from-flag:1");
	assert_int_equal(wr_config_flag(&cfg, WR_S("nope"), "x", &known, &err), WR_OK);
	assert_false(known);
	assert_int_equal(wr_config_flag(&cfg, WR_S("stop-timeout"), "soon", &known, &err), WR_E_INVALID_REQUEST);
	assert_non_null(strstr(err.text, "--stop-timeout"));
	setenv("WARREN_LANES_QUEUE", "many", 1);
	assert_int_equal(wr_config_read_env(&cfg, &err), WR_E_INVALID_REQUEST);
	assert_non_null(strstr(err.text, "WARREN_LANES_QUEUE"));
	unsetenv("WARREN_SERVER_LISTEN");
	unsetenv("WARREN_LANES_QUEUE");
}

static void example_parses_to_the_defaults(void **state)
{
	WR_AUTO_S(wr_config) cfg;
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1024 * 1024), live = WR_BUF_INIT(1024 * 1024);

	(void)state;
	wr_config_example(&text);
	/* With every key uncommented too: "#key = value" is a key, "# words" is its help. */
	for (size_t i = 0; i < text.len; i++)
		if (!(text.ptr[i] == '#' && i + 1 < text.len && text.ptr[i + 1] != ' '))
			wr_buf_addc(&live, text.ptr[i]);
	assert_int_equal(wr_config_init(&cfg, &err), WR_OK);
	assert_int_equal(wr_config_parse(&cfg, "example", wr_buf_str(&text), &err), WR_OK);
	assert_int_equal(wr_config_parse(&cfg, "example", wr_buf_str(&live), &err), WR_OK);
	assert_string_equal(cfg.server_listen, "127.0.0.1:8080");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(file_sets_values),
		cmocka_unit_test(refusals_name_file_line_and_key),
		cmocka_unit_test(flag_beats_environment),
		cmocka_unit_test(example_parses_to_the_defaults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
