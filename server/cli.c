#include "server/cli.h"

static const struct wr_command commands[] = {
	{"serve", "", 0, "serve repositories over HTTP until SIGTERM", false},
	{"account create", "NAME", 1, "make an account and print its first API key, which is shown only here", false},
	{"account list", "", 0, "list the accounts", false},
	{"account delete", "ACCOUNT", 1,
	 "delete an account by name or id; refused while it has repositories, unless --with-repositories", true},
	{"key create", "ACCOUNT NAME", 2, "make another API key, which is shown only here", false},
	{"key list", "ACCOUNT", 1, "list an account's API keys", false},
	{"key revoke", "ACCOUNT KEY", 2, "revoke an API key by name or id, at once", false},
	{"repo show", "ID", 1, "say what a repository consists of: refs, journals, packs", false},
	{"repo verify", "ID", 1, "read all of a repository and say what is wrong; the exit code tells, too", false},
	{"repo checkpoint", "ID", 1, "write a repository's journals to packs now, for plain git to read", false},
	{"repo parked", "", 0, "list the repositories that are out of service because they stopped the server twice", false},
	{"repo unpark", "ID", 1, "put such a repository into service again", false},
	{"config check", "", 0, "say what is wrong with the options that serve would get, if anything is", false},
	{"config example", "", 0, "print the commented example of a configuration file", false},
	{"upgrade", "", 0, "have the running server become the program that its file is now, without a pause", false},
	{"version", "", 0, "print the version", false},
};

/* The command whose words stand first in words; *used says how many they are. */
static const struct wr_command *find(const char *const *words, size_t n, size_t *used)
{
	for (size_t i = 0; i < WR_ARRAY_LEN(commands); i++) {
		const char *name = commands[i].name, *space = strchr(name, ' ');
		size_t first = space ? (size_t)(space - name) : strlen(name);

		if (n < 1 || !wr_str_eq(wr_str(words[0]), wr_str_n(name, first)))
			continue;
		if (space && (n < 2 || strcmp(words[1], space + 1) != 0))
			continue;
		*used = space ? 2 : 1;
		return &commands[i];
	}
	return NULL;
}

static bool is_group(const char *word)
{
	for (size_t i = 0; i < WR_ARRAY_LEN(commands); i++)
		if (wr_str_starts(wr_str(commands[i].name), wr_str(word)) && commands[i].name[strlen(word)] == ' ')
			return true;
	return false;
}

struct flag_value {
	struct wr_str name;
	const char *value;
};

/* Splits argv into words and flags; flags keep their order, since the file is read before any of them counts. */
static enum wr_code split(struct wr_cli *cli, int argc, char **argv, const char **words, size_t *word_count,
			  struct flag_value *flags, size_t *flag_count, const char **file, struct wr_error *err)
{
	for (int i = 1; i < argc; i++) {
		const char *arg = argv[i], *eq;
		struct wr_str name;
		const char *value;

		if (strcmp(arg, "-h") == 0 || strcmp(arg, "--help") == 0) {
			cli->help = true;
			continue;
		}
		if (strcmp(arg, "--with-repositories") == 0) {
			cli->with_repositories = true;
			continue;
		}
		if (arg[0] != '-' || arg[1] == '\0') {
			if (*word_count == 2 + WR_CLI_WORDS)
				return wr_fail(err, WR_E_INVALID_REQUEST, "too many words: \"%s\"", arg);
			words[(*word_count)++] = arg;
			continue;
		}
		if (arg[1] != '-')
			return wr_fail(err, WR_E_INVALID_REQUEST, "unknown option %s", arg);
		eq = strchr(arg, '=');
		name = eq ? wr_str_n(arg + 2, (size_t)(eq - arg - 2)) : wr_str(arg + 2);
		value = eq ? eq + 1 : i + 1 < argc ? argv[++i] : NULL;
		if (!value)
			return wr_fail(err, WR_E_INVALID_REQUEST, "%s needs a value", arg);
		if (wr_str_eqz(name, "config")) {
			*file = value;
			continue;
		}
		flags[*flag_count].name = name;
		flags[(*flag_count)++].value = value;
	}
	return WR_OK;
}

static enum wr_code load_config(struct wr_config *cfg, const char *file, const struct flag_value *flags, size_t n,
				struct wr_error *err)
{
	enum wr_code code = WR_OK;

	if (file)
		code = wr_config_read_file(cfg, file, err);
	if (!code)
		code = wr_config_read_env(cfg, err);
	for (size_t i = 0; i < n && !code; i++) {
		bool known;

		code = wr_config_flag(cfg, flags[i].name, flags[i].value, &known, err);
		if (!code && !known)
			code = wr_fail(err, WR_E_INVALID_REQUEST, "unknown option --%.*s", (int)flags[i].name.len,
				       flags[i].name.ptr);
	}
	return code;
}

static enum wr_code pick_command(struct wr_cli *cli, const char *const *words, size_t n, struct wr_error *err)
{
	size_t used = 0;

	cli->command = find(words, n, &used);
	if (!cli->command) {
		if (n == 0 || (n == 1 && strcmp(words[0], "help") == 0)) {
			cli->help = true;
			return WR_OK;
		}
		if (n == 1 && is_group(words[0])) {
			cli->help = true;
			snprintf(cli->group, sizeof cli->group, "%s", words[0]);
			return WR_OK;
		}
		return wr_fail(err, WR_E_INVALID_REQUEST, "unknown command \"%s%s%s\"; see warren --help", words[0],
			       n > 1 ? " " : "", n > 1 ? words[1] : "");
	}
	snprintf(cli->group, sizeof cli->group, "%s", cli->command->name);
	if (cli->help)
		return WR_OK;
	if (n - used != cli->command->word_count)
		return wr_fail(err, WR_E_INVALID_REQUEST, "usage: warren %s%s%s", cli->command->name,
			       cli->command->words[0] ? " " : "", cli->command->words);
	for (size_t i = used; i < n; i++)
		cli->words[i - used] = words[i];
	if (cli->with_repositories && !cli->command->with_repositories)
		return wr_fail(err, WR_E_INVALID_REQUEST, "--with-repositories goes with account delete");
	return WR_OK;
}

enum wr_code wr_cli_parse(struct wr_cli *cli, int argc, char **argv, struct wr_error *err)
{
	const char *words[2 + WR_CLI_WORDS], *file = NULL;
	size_t word_count = 0, flag_count = 0;
	WR_AUTO_MEM struct flag_value *flags = calloc((size_t)argc + 1, sizeof *flags);
	enum wr_code code;

	memset(cli, 0, sizeof *cli);
	if (!flags)
		return wr_fail_nomem(err);
	code = wr_config_init(&cli->config, err);
	if (code)
		return code;
	code = split(cli, argc, argv, words, &word_count, flags, &flag_count, &file, err);
	if (!code)
		code = pick_command(cli, words, word_count, err);
	if (!code && !cli->help)
		code = load_config(&cli->config, file, flags, flag_count, err);
	if (code)
		wr_cli_fini(cli);
	return code;
}

void wr_cli_fini(struct wr_cli *cli)
{
	wr_config_fini(&cli->config);
}

static void one_command(const struct wr_command *c, struct wr_buf *out)
{
	wr_buf_printf(out, "Usage: warren %s%s%s [options]\n\n%c%s.\n\nOptions:\n", c->name, c->words[0] ? " " : "",
		      c->words, c->help[0] - 'a' + 'A', c->help + 1);
	if (c->with_repositories)
		wr_buf_addz(out, "  --with-repositories  delete its repositories as well; this cannot be undone\n");
	wr_buf_addz(out, "  --config FILE    read options from this INI file; see warren config example\n");
	if (strcmp(c->name, "serve") == 0 || strcmp(c->name, "config check") == 0)
		wr_config_flags_help(out);
	else
		wr_buf_addz(out, "  --data DIR       the server's data folder (warren-data)\n");
	if (strcmp(c->name, "upgrade") == 0)
		wr_buf_addz(out, "\nThe log says how it went: upgrade.begins and upgrade.ends, or upgrade.failed, and then the "
				 "server goes on as it is.\n");
	if (strncmp(c->name, "account", 7) == 0 || strncmp(c->name, "key", 3) == 0 || strncmp(c->name, "repo", 4) == 0)
		wr_buf_addz(out, "\nPrints one JSON object. Works beside a running server and without one.\n");
	if (strcmp(c->name, "serve") == 0)
		wr_buf_addz(out, "\nEvery option is also a key of the INI file and an environment variable "
				 "WARREN_<SECTION>_<KEY>.\nPrints \"warren: listening on URL\" when it is ready; logs go to "
				 "stderr, one JSON object a line.\n");
}

void wr_cli_help(const struct wr_cli *cli, struct wr_buf *out)
{
	if (cli->command) {
		one_command(cli->command, out);
		return;
	}
	wr_buf_addz(out, "Warren, a multi-tenant Git hosting server.\n\nUsage: warren COMMAND [options]\n\nCommands:\n");
	for (size_t i = 0; i < WR_ARRAY_LEN(commands); i++) {
		const struct wr_command *c = &commands[i];
		char usage[64];

		if (cli->group[0] && !wr_str_starts(wr_str(c->name), wr_str(cli->group)))
			continue;
		snprintf(usage, sizeof usage, "%s%s%s", c->name, c->words[0] ? " " : "", c->words);
		wr_buf_printf(out, "  %-24s %s\n", usage, c->help);
	}
	wr_buf_addz(out, "\nwarren COMMAND --help tells more.\n");
}
