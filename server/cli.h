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

struct wr_command {
	const char *name;  /* "account create" */
	const char *words; /* what follows it: "NAME" */
	size_t word_count;
	const char *help;
	bool with_repositories; /* takes --with-repositories */
};

struct wr_cli {
	const struct wr_command *command; /* NULL: only help was asked for */
	struct wr_config config;	  /* defaults, file, environment, flags, in rising order */
	const char *words[WR_CLI_WORDS];
	bool with_repositories;
	bool help; /* print wr_cli_help() and leave */
	char group[32]; /* what help was asked for: "", "account", "account create" */
};

WR_MUST_CHECK enum wr_code wr_cli_parse(struct wr_cli *cli, int argc, char **argv, struct wr_error *err);
void wr_cli_fini(struct wr_cli *cli);
WR_DEFINE_AUTO_S(wr_cli);

/* The help text for cli->group. */
void wr_cli_help(const struct wr_cli *cli, struct wr_buf *out);

#endif
