#include "server/cli.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#define BIT(option) (1u << WR_CLI_##option)
#define NO_WORDS {{NULL, NULL, false}}
#define ONE(usage, key) {{usage, key, false}}
#define TWO(usage, key, usage2, key2) {{usage, key, false}, {usage2, key2, false}}
#define AND_PATH(usage, key) {{usage, key, false}, {"PATH", "path", true}}

static const struct wr_command commands[] = {
	{"serve", NO_WORDS, 0, "serve repositories over HTTP until SIGTERM"},
	{"account create", ONE("NAME", "name"), 0,
	 "make an account and print its first API key, which is shown only here"},
	{"account list", NO_WORDS, 0, "list the accounts"},
	{"account delete", ONE("ACCOUNT", "account"), BIT(WITH_REPOSITORIES),
	 "delete an account by name or id; refused while it has repositories, unless --with-repositories"},
	{"key create", TWO("ACCOUNT", "account", "NAME", "name"), 0, "make another API key, which is shown only here"},
	{"key list", ONE("ACCOUNT", "account"), 0, "list an account's API keys"},
	{"key revoke", TWO("ACCOUNT", "account", "KEY", "key"), 0, "revoke an API key by name or id, at once"},
	{"key rotate-signing", NO_WORDS, 0,
	 "make the key that signs webhooks next; it signs once every consumer has had the time to fetch it"},
	{"webhook status", NO_WORDS, 0, "say how many deliveries wait, since when, and whether they are late"},
	{"repo show", ONE("ID", "repo"), 0, "say what a repository consists of: refs, journals, packs"},
	{"repo verify", ONE("ID", "repo"), 0,
	 "read all of a repository and say what is wrong; the exit code tells, too"},
	{"repo checkpoint", ONE("ID", "repo"), 0, "write a repository's journals to packs now, for plain git to read"},
	{"repo fork", ONE("ID", "repo"), BIT(NAME) | BIT(BRANCH) | BIT(DETACH),
	 "make a repository with the branches and tags of another one, in the same account"},
	{"repo adopt", AND_PATH("ACCOUNT", "account"), BIT(NAME) | BIT(LINK) | BIT(DETACH),
	 "take a bare repository of plain git into an account, as a new repository; the folder stays as it is"},
	{"repo export", AND_PATH("ID", "repo"), BIT(LINK) | BIT(DETACH),
	 "write a repository to a new folder, as a bare repository of plain git"},
	{"repo maintain", ONE("ID", "repo"), BIT(REDELTA) | BIT(DETACH),
	 "do all the care a repository may need now: a checkpoint, its packs written anew, what nothing reaches dropped"},
	{"repo parked", NO_WORDS, 0,
	 "list the repositories that are out of service because they stopped the server twice"},
	{"repo unpark", ONE("ID", "repo"), 0, "put such a repository into service again"},
	{"job list", NO_WORDS, BIT(ACCOUNT) | BIT(REPO), "list the newest jobs: forks, maintenance and the like"},
	{"job show", ONE("JOB", "job"), 0, "say how far a job is, or how it ended"},
	{"job cancel", ONE("JOB", "job"), 0, "have a job end; what it was making is removed"},
	{"config check", NO_WORDS, 0, "say what is wrong with the options that serve would get, if anything is"},
	{"config example", NO_WORDS, 0, "print the commented example of a configuration file"},
	{"upgrade", NO_WORDS, 0, "have the running server become the program that its file is now, without a pause"},
	{"version", NO_WORDS, 0, "print the version"},
};

static const struct {
	const char *flag, *value; /* value: NULL where there is none */
	const char *key;	  /* in the command's JSON; NULL: not for the server */
	const char *help;
} options[WR_CLI_OPTIONS] = {
	[WR_CLI_WITH_REPOSITORIES] = {"with-repositories", NULL, "withRepositories",
				      "delete its repositories as well; this cannot be undone"},
	[WR_CLI_NAME] = {"name", "NAME", "name", "name of the new repository"},
	[WR_CLI_BRANCH] = {"branch", "BRANCH", "branch", "only this branch, which is the new default branch then"},
	[WR_CLI_LINK] = {"link", NULL, "link",
			 "share files by hard links instead of copying them: only where nobody but git writes there"},
	[WR_CLI_REDELTA] = {"redelta", NULL, "redelta", "also pack everything anew, smaller; this takes long"},
	[WR_CLI_DETACH] = {"detach", NULL, NULL, "print the job's id at once and do not wait for its end"},
	[WR_CLI_ACCOUNT] = {"account", "ACCOUNT", "account", "only those of this account, by name or id"},
	[WR_CLI_REPO] = {"repo", "ID", "repo", "only those on this repository"},
};

static size_t word_count(const struct wr_command *c)
{
	size_t n = 0;

	while (n < WR_CLI_WORDS && c->words[n].usage)
		n++;
	return n;
}

/* "repo export ID PATH" */
static void usage(struct wr_buf *out, const struct wr_command *c)
{
	wr_buf_addz(out, c->name);
	for (size_t i = 0; i < word_count(c); i++)
		wr_buf_printf(out, " %s", c->words[i].usage);
}

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

/* WR_CLI_OPTIONS: it is none of a command's own. */
static size_t find_option(struct wr_str name)
{
	size_t i = 0;

	while (i < WR_CLI_OPTIONS && !wr_str_eqz(name, options[i].flag))
		i++;
	return i;
}

/* Splits argv into words and flags; flags keep their order, since the file is read before any of them counts. */
static enum wr_code split(struct wr_cli *cli, int argc, char **argv, const char **words, size_t *words_found,
			  struct flag_value *flags, size_t *flag_count, const char **file, struct wr_error *err)
{
	for (int i = 1; i < argc; i++) {
		const char *arg = argv[i], *eq;
		struct wr_str name;
		const char *value;
		size_t option;

		if (strcmp(arg, "-h") == 0 || strcmp(arg, "--help") == 0) {
			cli->help = true;
			continue;
		}
		if (arg[0] != '-' || arg[1] == '\0') {
			if (*words_found == 2 + WR_CLI_WORDS)
				return wr_fail(err, WR_E_INVALID_REQUEST, "too many words: \"%s\"", arg);
			words[(*words_found)++] = arg;
			continue;
		}
		if (arg[1] != '-')
			return wr_fail(err, WR_E_INVALID_REQUEST, "unknown option %s", arg);
		eq = strchr(arg, '=');
		name = eq ? wr_str_n(arg + 2, (size_t)(eq - arg - 2)) : wr_str(arg + 2);
		option = find_option(name);
		if (option < WR_CLI_OPTIONS && !options[option].value) {
			if (eq)
				return wr_fail(err, WR_E_INVALID_REQUEST, "--%s takes no value", options[option].flag);
			cli->options[option] = "";
			continue;
		}
		value = eq ? eq + 1 : i + 1 < argc ? argv[++i] : NULL;
		if (!value)
			return wr_fail(err, WR_E_INVALID_REQUEST, "%s needs a value", arg);
		if (option < WR_CLI_OPTIONS) {
			cli->options[option] = value;
			continue;
		}
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

static enum wr_code check_words(struct wr_cli *cli, const char *const *words, size_t n, struct wr_error *err)
{
	const struct wr_command *c = cli->command;

	if (n != word_count(c)) {
		WR_AUTO_S(wr_buf) text = WR_BUF_INIT(256);

		usage(&text, c);
		return wr_fail(err, WR_E_INVALID_REQUEST, "usage: warren %s", text.ptr ? text.ptr : c->name);
	}
	for (size_t i = 0; i < n; i++)
		cli->words[i] = words[i];
	for (size_t i = 0; i < WR_CLI_OPTIONS; i++)
		if (cli->options[i] && !(c->options & 1u << i))
			return wr_fail(err, WR_E_INVALID_REQUEST, "--%s does not go with %s; see warren %s --help",
				       options[i].flag, c->name, c->name);
	return WR_OK;
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
	cli->command_word = words[0];
	snprintf(cli->group, sizeof cli->group, "%s", cli->command->name);
	if (cli->help)
		return WR_OK;
	return check_words(cli, words + used, n - used, err);
}

enum wr_code wr_cli_parse(struct wr_cli *cli, int argc, char **argv, struct wr_error *err)
{
	const char *words[2 + WR_CLI_WORDS], *file = NULL;
	size_t words_found = 0, flag_count = 0;
	WR_AUTO_MEM struct flag_value *flags = calloc((size_t)argc + 1, sizeof *flags);
	enum wr_code code;

	memset(cli, 0, sizeof *cli);
	if (!flags)
		return wr_fail_nomem(err);
	code = wr_config_init(&cli->config, err);
	if (code)
		return code;
	code = split(cli, argc, argv, words, &words_found, flags, &flag_count, &file, err);
	if (!code)
		code = pick_command(cli, words, words_found, err);
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

static void option_help(const struct wr_command *c, struct wr_buf *out)
{
	for (size_t i = 0; i < WR_CLI_OPTIONS; i++) {
		char flag[40];

		if (!(c->options & 1u << i))
			continue;
		snprintf(flag, sizeof flag, "--%s%s%s", options[i].flag, options[i].value ? " " : "",
			 options[i].value ? options[i].value : "");
		wr_buf_printf(out, "  %-16s %s\n", flag, options[i].help);
	}
}

/* What stands below the options. */
static const char *more_help(const struct wr_command *c)
{
	if (strcmp(c->name, "upgrade") == 0)
		return "\nThe log says how it went: upgrade.begins and upgrade.ends, or upgrade.failed, and then the "
		       "server goes on as it is.\n";
	if (strcmp(c->name, "serve") == 0)
		return "\nEvery option is also a key of the INI file and an environment variable "
		       "WARREN_<SECTION>_<KEY>.\nPrints \"warren: listening on URL\" when it is ready; logs go to "
		       "stderr, one JSON object a line.\n";
	if (c->options & BIT(DETACH))
		return "\nPrints one JSON object when it is done; how far it is stands on stderr. Works beside a "
		       "running server, which goes on\nwith it when the command is broken off (see warren job), and "
		       "without one: then breaking it off cancels it, and with\n--detach it waits for the next "
		       "server.\n";
	if (strchr(c->name, ' ') && strncmp(c->name, "config", 6) != 0)
		return "\nPrints one JSON object. Works beside a running server and without one.\n";
	return "";
}

static void one_command(const struct wr_command *c, struct wr_buf *out)
{
	wr_buf_addz(out, "Usage: warren ");
	usage(out, c);
	wr_buf_printf(out, " [options]\n\n%c%s.\n\nOptions:\n", c->help[0] - 'a' + 'A', c->help + 1);
	option_help(c, out);
	wr_buf_addz(out, "  --config FILE    read options from this INI file; see warren config example\n");
	if (strcmp(c->name, "serve") == 0 || strcmp(c->name, "config check") == 0)
		wr_config_flags_help(out);
	else
		wr_buf_addz(out, "  --data DIR       the server's data folder (warren-data)\n");
	wr_buf_addz(out, more_help(c));
}

void wr_cli_help(const struct wr_cli *cli, struct wr_buf *out)
{
	if (cli->command) {
		one_command(cli->command, out);
		return;
	}
	wr_buf_addz(out, "Warren, a multi-tenant Git hosting server.\n\n"
			 "Usage: warren COMMAND [options]\n\nCommands:\n");
	for (size_t i = 0; i < WR_ARRAY_LEN(commands); i++) {
		const struct wr_command *c = &commands[i];
		WR_AUTO_S(wr_buf) words = WR_BUF_INIT(256);

		if (cli->group[0] && !wr_str_starts(wr_str(c->name), wr_str(cli->group)))
			continue;
		usage(&words, c);
		wr_buf_printf(out, "  %-24s %s\n", words.ptr ? words.ptr : c->name, c->help);
	}
	wr_buf_addz(out, "\nwarren COMMAND --help tells more.\n");
}

/* ---- the command as JSON ---- */

/* What does not begin with a slash is meant from here, and the server is elsewhere. */
static enum wr_code absolute(char out[PATH_MAX], const char *path, struct wr_error *err)
{
	char here[PATH_MAX];
	int n;

	if (path[0] != '/' && !getcwd(here, sizeof here))
		return wr_fail_errno(err, "getcwd");
	if (path[0] == '/')
		n = snprintf(out, PATH_MAX, "%s", path);
	else
		n = snprintf(out, PATH_MAX, "%s/%s", here, path);
	if (n < 0 || n >= PATH_MAX)
		return wr_fail(err, WR_E_INVALID_REQUEST, "the path \"%s\" is too long", path);
	return WR_OK;
}

static enum wr_code set_text(json_t *args, const char *key, const char *value, struct wr_error *err)
{
	if (!wr_str_utf8(wr_str(value)))
		return wr_fail(err, WR_E_INVALID_REQUEST, "the %s is not UTF-8 text", key);
	return json_object_set_new(args, key, json_string(value)) == 0 ? WR_OK : wr_fail_nomem(err);
}

static enum wr_code set_word(json_t *args, const struct wr_cli_word *word, const char *value, struct wr_error *err)
{
	char path[PATH_MAX];
	enum wr_code code;

	if (!word->path)
		return set_text(args, word->key, value, err);
	if ((code = absolute(path, value, err)) != WR_OK)
		return code;
	return set_text(args, word->key, path, err);
}

static enum wr_code set_option(json_t *args, size_t option, const char *value, struct wr_error *err)
{
	if (options[option].value)
		return set_text(args, options[option].key, value, err);
	return json_object_set_new(args, options[option].key, json_true()) == 0 ? WR_OK : wr_fail_nomem(err);
}

enum wr_code wr_cli_json(json_t **out, const struct wr_cli *cli, struct wr_error *err)
{
	const struct wr_command *c = cli->command;
	json_t *args = json_object(), *command;
	enum wr_code code = args ? WR_OK : wr_fail_nomem(err);
	char dotted[32], *space;

	for (size_t i = 0; i < word_count(c) && code == WR_OK; i++)
		code = set_word(args, &c->words[i], cli->words[i], err);
	for (size_t i = 0; i < WR_CLI_OPTIONS && code == WR_OK; i++)
		if (cli->options[i] && options[i].key)
			code = set_option(args, i, cli->options[i], err);
	if (code != WR_OK) {
		json_decref(args);
		return code;
	}
	snprintf(dotted, sizeof dotted, "%s", c->name);
	space = strchr(dotted, ' ');
	if (space)
		*space = '.';
	command = json_pack("{s:s, s:o}", "cmd", dotted, "args", args);
	if (!command)
		return wr_fail_nomem(err);
	*out = command;
	return WR_OK;
}
