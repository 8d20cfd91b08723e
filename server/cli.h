/*
 * server/cli.h: the command line: which command, with which options and words.
 * Ownership: a wr_cli is the caller's; wr_cli_fini(). Words are borrowed from argv.
 * Threads:   the main thread.
 * Errors:    WR_E_INVALID_REQUEST with a sentence for the person at the keyboard.
 */
#ifndef WR_CLI_H
#define WR_CLI_H

#include "core/base/config.h"

#define WR_CLI_WORDS 2

/* Options of single commands, beside those of the configuration. */
enum wr_cli_option {
	WR_CLI_WITH_REPOSITORIES,
	WR_CLI_NAME,
	WR_CLI_BRANCH,
	WR_CLI_LINK,
	WR_CLI_REDELTA,
	WR_CLI_DETACH,
	WR_CLI_ACCOUNT,
	WR_CLI_REPO,
	WR_CLI_OPTIONS
};

struct wr_command {
	const char *name; /* "account create" */
	struct wr_cli_word {
		const char *usage; /* "NAME"; NULL behind the last */
		const char *key;   /* in the command's JSON (server/admin.h) */
		bool path;	   /* made absolute */
	} words[WR_CLI_WORDS];
	unsigned options; /* a bit for each of enum wr_cli_option */
	const char *help;
};

struct wr_cli {
	const struct wr_command *command; /* NULL: only help was asked for */
	const char *command_word; /* the first word of it, as it stands in argv */
	struct wr_config config;	  /* defaults, file, environment, flags, in rising order */
	const char *words[WR_CLI_WORDS];
	const char *options[WR_CLI_OPTIONS]; /* NULL: not given; "" for those without a value */
	bool help; /* print wr_cli_help() and leave */
	char group[32]; /* what help was asked for: "", "account", "account create" */
};

WR_MUST_CHECK enum wr_code wr_cli_parse(struct wr_cli *cli, int argc, char **argv, struct wr_error *err);
void wr_cli_fini(struct wr_cli *cli);
WR_DEFINE_AUTO_S(wr_cli);

/* The command as server/admin.h has it. *out is a new reference. */
WR_MUST_CHECK enum wr_code wr_cli_json(json_t **out, const struct wr_cli *cli, struct wr_error *err);

/* The help text for cli->group. */
void wr_cli_help(const struct wr_cli *cli, struct wr_buf *out);

#endif
