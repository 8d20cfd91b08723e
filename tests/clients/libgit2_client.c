/*
 * libgit2, driven by tests/clients/rounds.py: verbs and arguments come as lines split by tabs, an answer is a line.
 */
#include <git2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ARGS 64

/* A failure of libgit2 in its own words. */
static void say_error(void)
{
	const git_error *e = git_error_last();
	char text[512];

	snprintf(text, sizeof(text), "%s", e ? e->message : "no word from libgit2");
	for (char *p = text; *p; p++) {
		if (*p == '\n' || *p == '\t')
			*p = ' ';
	}
	printf("error\t%s\n", text);
}

static int clone(char **args, int n)
{
	git_repository *repo = NULL;
	int rc;

	if (n < 3 || strcmp(args[2], "0") != 0) {
		git_error_set_str(GIT_ERROR_INVALID, "no depth in this version");
		return -1;
	}
	rc = git_clone(&repo, args[0], args[1], NULL);
	git_repository_free(repo);
	if (rc == 0)
		printf("ok\n");
	return rc;
}

static int fetch(char **args, int n)
{
	git_repository *repo = NULL;
	git_remote *remote = NULL;
	git_strarray specs = {args + 2, (size_t)n - 2};
	int rc;

	if ((rc = git_repository_open(&repo, args[0])) == 0 && (rc = git_remote_create_anonymous(&remote, repo, args[1])) == 0)
		rc = git_remote_fetch(remote, &specs, NULL, NULL);
	git_remote_free(remote);
	git_repository_free(repo);
	if (rc == 0)
		printf("ok\n");
	return rc;
}

/* What the server's report says about each ref, gathered into the answer. */
static int ref_said(const char *name, const char *status, void *data)
{
	char *answer = data;
	size_t used = strlen(answer);

	snprintf(answer + used, 8192 - used, "\t%s=%s", name, status ? status : "ok");
	return 0;
}

static int push(char **args, int n)
{
	char answer[8192] = "ok";
	git_repository *repo = NULL;
	git_remote *remote = NULL;
	git_strarray specs = {args + 2, (size_t)n - 2};
	git_push_options options;
	int rc;

	git_push_options_init(&options, GIT_PUSH_OPTIONS_VERSION);
	options.callbacks.push_update_reference = ref_said;
	options.callbacks.payload = answer;
	if ((rc = git_repository_open(&repo, args[0])) == 0 && (rc = git_remote_create_anonymous(&remote, repo, args[1])) == 0)
		rc = git_remote_push(remote, &specs, &options);
	git_remote_free(remote);
	git_repository_free(repo);
	if (rc == 0)
		printf("%s\n", answer);
	return rc;
}

static int ls(char **args)
{
	git_remote *remote = NULL;
	const git_remote_head **heads = NULL;
	size_t count = 0;
	int rc;

	if ((rc = git_remote_create_detached(&remote, args[0])) == 0 &&
	    (rc = git_remote_connect(remote, GIT_DIRECTION_FETCH, NULL, NULL, NULL)) == 0 &&
	    (rc = git_remote_ls(&heads, &count, remote)) == 0) {
		printf("ok");
		for (size_t i = 0; i < count; i++) {
			if (!strstr(heads[i]->name, "^{}"))
				printf("\t%s=%s", heads[i]->name, git_oid_tostr_s(&heads[i]->oid));
		}
		printf("\n");
	}
	git_remote_free(remote);
	return rc;
}

int main(void)
{
	char *line = NULL;
	size_t cap = 0;

	git_libgit2_init();
	while (getline(&line, &cap, stdin) > 0) {
		char *args[MAX_ARGS], *save = NULL;
		int n = 0, rc = -1;

		for (char *p = strtok_r(line, "\t\n", &save); p && n < MAX_ARGS; p = strtok_r(NULL, "\t\n", &save))
			args[n++] = p;
		git_error_clear();
		if (n > 1 && strcmp(args[0], "clone") == 0)
			rc = clone(args + 1, n - 1);
		else if (n > 3 && strcmp(args[0], "fetch") == 0)
			rc = fetch(args + 1, n - 1);
		else if (n > 3 && strcmp(args[0], "push") == 0)
			rc = push(args + 1, n - 1);
		else if (n > 1 && strcmp(args[0], "ls") == 0)
			rc = ls(args + 1);
		if (rc != 0)
			say_error();
		fflush(stdout);
	}
	free(line);
	git_libgit2_shutdown();
	return 0;
}
