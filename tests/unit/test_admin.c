/* server/admin and server/control: each command, directly and through the socket; server/reaper behind a deletion. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "core/auth/accounts.h"
#include "core/auth/identities.h"
#include "core/auth/repos.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "server/control.h"
#include "server/reaper.h"
#include "tests/unit/folder.h"

struct place {
	char root[64];
	char dir[300]; /* the data folder, below root */
	struct wr_db *db;
	struct wr_app app; /* db alone, until a test says more */
};

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static int open_at(void **state, const char *below)
{
	struct place *p = calloc(1, sizeof *p);

	new_folder(p->root, sizeof p->root, "test_admin");
	snprintf(p->dir, sizeof p->dir, "%s/%s", p->root, below);
	assert_int_equal(wr_db_open(&p->db, p->dir, NULL), WR_OK);
	p->app.db = p->db;
	*state = p;
	return 0;
}

static int open_place(void **state)
{
	return open_at(state, "data");
}

/* Longer than what fits into a socket's address. */
static int open_far_place(void **state)
{
	char name[200];

	memset(name, 'd', sizeof name);
	name[sizeof name - 1] = '\0';
	return open_at(state, name);
}

static int close_place(void **state)
{
	struct place *p = *state;

	wr_db_close(p->db);
	nftw(p->root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(p);
	return 0;
}

static json_t *command(const char *cmd, json_t *args)
{
	json_t *c = json_pack("{s:s, s:o}", "cmd", cmd, "args", args);

	assert_non_null(c);
	return c;
}

/* The result, or NULL when it was refused with the expected code. */
static json_t *run(struct place *p, enum wr_code expected, const char *cmd, json_t *args)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	json_t *c = command(cmd, args), *out = NULL;
	enum wr_code code = wr_admin_run(&out, &p->app, c, NULL, &err);

	json_decref(c);
	if (code != expected)
		fail_msg("%s: code %d, %s %s", cmd, code, err.text, err.detail);
	if (code != WR_OK) {
		assert_null(out);
		assert_string_not_equal(err.text, "");
	}
	return out;
}

static void refused(struct place *p, enum wr_code expected, const char *cmd, json_t *args)
{
	run(p, expected, cmd, args);
}

static const char *text(json_t *object, const char *key)
{
	const char *z = json_string_value(json_object_get(object, key));

	assert_non_null(z);
	return z;
}

static enum wr_code use_key(struct place *p, const char *key)
{
	struct wr_credential cred = {WR_CRED_KEY_OR_TOKEN, wr_str(key)};
	struct wr_caller c;

	return wr_access_caller(&c, p->db, &cred, NULL);
}

static void accounts_and_keys(void **state)
{
	struct place *p = *state;
	json_t *made = run(p, WR_OK, "account.create", json_pack("{s:s}", "name", "acme"));
	json_t *key, *list, *row, *gone;

	assert_int_equal(json_object_size(made), 3);
	assert_string_equal(text(made, "name"), "acme");
	assert_int_equal(use_key(p, text(made, "apiKey")), WR_OK);

	key = run(p, WR_OK, "key.create", json_pack("{s:s, s:s}", "account", "acme", "name", "deploy"));
	assert_string_equal(text(key, "accountId"), text(made, "accountId"));
	assert_int_equal(use_key(p, text(key, "apiKey")), WR_OK);

	list = run(p, WR_OK, "account.list", json_object());
	assert_int_equal(json_array_size(json_object_get(list, "accounts")), 1);
	row = json_array_get(json_object_get(list, "accounts"), 0);
	assert_string_equal(text(row, "accountId"), text(made, "accountId"));
	assert_int_equal(json_integer_value(json_object_get(row, "keys")), 2);
	assert_int_equal(json_integer_value(json_object_get(row, "repositories")), 0);
	assert_int_equal(strlen(text(row, "createdAt")), 24);
	json_decref(list);

	list = run(p, WR_OK, "key.list", json_pack("{s:s}", "account", text(made, "accountId")));
	assert_int_equal(json_array_size(json_object_get(list, "keys")), 2);
	row = json_array_get(json_object_get(list, "keys"), 0);
	assert_string_equal(text(row, "name"), "default");
	assert_null(json_object_get(row, "apiKey"));
	json_decref(list);

	gone = run(p, WR_OK, "key.revoke", json_pack("{s:s, s:s}", "account", "acme", "key", text(key, "keyId")));
	assert_string_equal(text(gone, "name"), "deploy");
	assert_int_equal(use_key(p, text(key, "apiKey")), WR_E_UNAUTHORIZED);
	assert_int_equal(use_key(p, text(made, "apiKey")), WR_OK);
	json_decref(gone);

	gone = run(p, WR_OK, "account.delete", json_pack("{s:s}", "account", "acme"));
	assert_int_equal(use_key(p, text(made, "apiKey")), WR_E_UNAUTHORIZED);
	json_decref(gone);
	json_decref(key);
	json_decref(made);
}

static void refusals_say_why(void **state)
{
	struct place *p = *state;
	char longest[101 * 2 + 1] = "";

	for (int i = 0; i < 101; i++)
		memcpy(longest + 2 * i, "\xc3\xa4", 2);
	json_decref(run(p, WR_OK, "account.create", json_pack("{s:s}", "name", "acme")));
	json_decref(run(p, WR_OK, "account.create", json_pack("{s:s}", "name", longest + 2)));
	refused(p, WR_E_INVALID_REQUEST, "account.create", json_pack("{s:s}", "name", "acme"));
	refused(p, WR_E_INVALID_REQUEST, "account.create", json_pack("{s:s}", "name", longest));
	refused(p, WR_E_INVALID_REQUEST, "account.create", json_pack("{s:s}", "name", ""));
	refused(p, WR_E_INVALID_REQUEST, "account.create", json_pack("{s:s}", "name", "a\nb"));
	refused(p, WR_E_INVALID_REQUEST, "account.create",
		json_pack("{s:s}", "name", "12345678-1234-4234-8234-123456789abc"));
	refused(p, WR_E_INVALID_REQUEST, "account.create", json_pack("{s:i}", "name", 1));
	refused(p, WR_E_INVALID_REQUEST, "account.create", json_object());
	refused(p, WR_E_INVALID_REQUEST, "account.rename", json_object());
	refused(p, WR_E_NOT_FOUND, "account.delete", json_object());
	refused(p, WR_E_NOT_FOUND, "account.delete", json_pack("{s:s}", "account", "nobody"));
	refused(p, WR_E_NOT_FOUND, "key.list", json_pack("{s:s}", "account", "nobody"));
	refused(p, WR_E_INVALID_REQUEST, "key.create", json_pack("{s:s, s:s}", "account", "acme", "name", "default"));
	refused(p, WR_E_NOT_FOUND, "key.revoke", json_pack("{s:s, s:s}", "account", "acme", "key", "other"));
	refused(p, WR_E_NOT_FOUND, "key.revoke", json_pack("{s:s}", "account", "acme"));
}

/* Without a server the folders stay, and their rows with them, for the next start to find. */
static void deleting_with_repositories_leaves_work_for_the_reaper(void **state)
{
	struct place *p = *state;
	json_t *made = run(p, WR_OK, "account.create", json_pack("{s:s}", "name", "acme")), *gone;
	struct wr_repo_new new = {{NULL, 0}, false, WR_S("main")};
	struct wr_doomed doomed[8];
	struct wr_repo repo;
	size_t n;

	for (int i = 0; i < 3; i++)
		assert_int_equal(wr_repo_create(&repo, p->db, text(made, "accountId"), &new, NULL), WR_OK);
	refused(p, WR_E_INVALID_REQUEST, "account.delete", json_pack("{s:s}", "account", "acme"));
	refused(p, WR_E_INVALID_REQUEST, "account.delete",
		json_pack("{s:s, s:b}", "account", "acme", "withRepositories", 0));
	assert_int_equal(use_key(p, text(made, "apiKey")), WR_OK);
	gone = run(p, WR_OK, "account.delete", json_pack("{s:s, s:b}", "account", "acme", "withRepositories", 1));
	assert_int_equal(json_integer_value(json_object_get(gone, "repositories")), 3);
	assert_int_equal(wr_repo_doomed(doomed, &n, p->db, NULL, 0, 8, NULL), WR_OK);
	assert_int_equal(n, 3);
	json_decref(gone);
	json_decref(made);
}

static struct wr_git_config store_config(const struct place *p)
{
	return (struct wr_git_config){
		.data = p->dir,
		.max_pack_bytes = 1 << 20,
		.max_pack_objects = 1000,
		.max_unpacked_bytes = 1 << 30,
		.max_object_bytes = 1 << 20,
		.idle_repos = 4,
		.no_keeper = true,
	};
}

/* The reaper, on a real store. */

static void the_reaper_removes_folders_and_rows(void **state)
{
	struct place *p = *state;
	const struct wr_git_config cfg = store_config(p);
	struct wr_repo_new new = {{NULL, 0}, false, WR_S("main")};
	int64_t deadline = wr_mono_ms() + 60000;
	struct wr_reaper *reaper = NULL;
	struct wr_git *git = NULL;
	struct wr_secret_text key;
	struct wr_account account;
	struct wr_doomed doomed[4];
	struct wr_repo repos[3];
	json_t *c, *out = NULL;
	size_t n = 1;

	assert_int_equal(wr_account_create(&account, &key, p->db, WR_S("acme"), NULL), WR_OK);
	for (int i = 0; i < 3; i++)
		assert_int_equal(wr_repo_create(&repos[i], p->db, account.id, &new, NULL), WR_OK);
	assert_int_equal(wr_git_open(&git, &cfg, NULL), WR_OK);
	/* One waits from before the start, two more come later. */
	assert_int_equal(wr_repo_delete(p->db, account.id, repos[0].id, NULL), WR_OK);
	assert_int_equal(wr_reaper_start(&reaper, p->db, git, NULL), WR_OK);
	c = command("account.delete", json_pack("{s:s, s:b}", "account", "acme", "withRepositories", 1));
	p->app.git = git;
	p->app.reaper = reaper;
	assert_int_equal(wr_admin_run(&out, &p->app, c, NULL, NULL), WR_OK);
	while (n > 0) {
		assert_int_equal(wr_repo_doomed(doomed, &n, p->db, NULL, 0, 4, NULL), WR_OK);
		assert_true(wr_mono_ms() < deadline);
		sched_yield();
	}
	wr_reaper_stop(reaper);
	wr_git_close(git);
	json_decref(c);
	json_decref(out);
}

/* Repositories: what a store without any folder says. Full ones are tested through the program. */

static json_t *through_socket(struct place *p, const char *cmd, const char *id, enum wr_code expected)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	json_t *c = command(cmd, json_pack("{s:s}", "repo", id)), *out = NULL;
	bool no_server = false;
	enum wr_code code = wr_control_call(&out, p->dir, c, &no_server, &err);

	assert_false(no_server);
	json_decref(c);
	if (code != expected)
		fail_msg("%s: code %d, %s %s", cmd, code, err.text, err.detail);
	return out;
}

static void repositories_are_shown_verified_and_packed(void **state)
{
	static const char *const commands[] = {"repo.show", "repo.verify", "repo.checkpoint"};
	struct place *p = *state;
	const struct wr_git_config cfg = store_config(p);
	struct wr_repo_new new = {{NULL, 0}, false, WR_S("main")};
	struct wr_control *control = NULL;
	struct wr_secret_text key;
	struct wr_account account;
	struct wr_git *git = NULL;
	struct wr_repo repo;
	json_t *out;

	assert_int_equal(wr_account_create(&account, &key, p->db, WR_S("acme"), NULL), WR_OK);
	assert_int_equal(wr_repo_create(&repo, p->db, account.id, &new, NULL), WR_OK);
	assert_int_equal(wr_git_open(&git, &cfg, NULL), WR_OK);
	p->app.git = git;
	assert_int_equal(wr_control_start(&control, p->dir, &p->app, NULL), WR_OK);
	for (size_t i = 0; i < WR_ARRAY_LEN(commands); i++) {
		assert_true(wr_admin_needs_git(commands[i]));
		assert_null(through_socket(p, commands[i], "rubbish", WR_E_REPO_NOT_FOUND));
		assert_null(through_socket(p, commands[i], "01234567-89ab-4def-8123-456789abcdef",
					   WR_E_REPO_NOT_FOUND));
	}
	assert_false(wr_admin_needs_git("account.list"));
	out = through_socket(p, "repo.show", repo.id, WR_OK);
	assert_true(json_is_false(json_object_get(out, "exists")));
	assert_string_equal(text(out, "repoId"), repo.id);
	json_decref(out);
	out = through_socket(p, "repo.verify", repo.id, WR_OK);
	assert_int_equal(json_integer_value(json_object_get(out, "problemCount")), 0);
	assert_int_equal(json_array_size(json_object_get(out, "problems")), 0);
	json_decref(out);
	out = through_socket(p, "repo.checkpoint", repo.id, WR_OK);
	assert_true(json_is_false(json_object_get(out, "done")));
	json_decref(out);
	wr_control_stop(control);
	wr_git_close(git);
}

/* The socket. */

static void commands_pass_through_the_socket(void **state)
{
	struct place *p = *state;
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_control *control = NULL;
	json_t *c = command("account.create", json_pack("{s:s}", "name", "acme")), *out = NULL;
	bool no_server = false;
	struct stat st;
	char path[320];

	assert_int_equal(wr_control_call(&out, p->dir, c, &no_server, NULL), WR_OK);
	assert_true(no_server);
	assert_null(out);

	assert_int_equal(wr_control_start(&control, p->dir, &p->app, NULL), WR_OK);
	snprintf(path, sizeof path, "%s/control.sock", p->dir);
	assert_int_equal(lstat(path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(wr_control_call(&out, p->dir, c, &no_server, NULL), WR_OK);
	assert_false(no_server);
	assert_int_equal(use_key(p, text(out, "apiKey")), WR_OK);
	json_decref(out);
	out = NULL;

	/* The same name again: the sentence arrives. */
	assert_int_equal(wr_control_call(&out, p->dir, c, &no_server, &err), WR_E_INVALID_REQUEST);
	assert_null(out);
	assert_non_null(strstr(err.text, "exists already"));

	/* Gone with its server. */
	wr_control_stop(control);
	assert_int_equal(lstat(path, &st), -1);
	assert_int_equal(wr_control_call(&out, p->dir, c, &no_server, NULL), WR_OK);
	assert_true(no_server);
	json_decref(c);
}

static int connect_raw(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
	assert_int_equal(connect(fd, (const struct sockaddr *)&addr, sizeof addr), 0);
	return fd;
}

static void rubbish_is_answered_and_harms_nothing(void **state)
{
	static const char *const lines[] = {
		"\n", "rubbish\n", "[]\n", "{\"cmd\":1}\n", "{}\n", "{\"cmd\":\"x\",\"args\":[]}\n",
	};
	struct place *p = *state;
	struct wr_control *control = NULL;
	json_t *c = command("account.list", json_object()), *out = NULL;
	bool no_server = false;
	char path[320];
	int fd;

	assert_int_equal(wr_control_start(&control, p->dir, &p->app, NULL), WR_OK);
	snprintf(path, sizeof path, "%s/control.sock", p->dir);
	for (size_t i = 0; i < WR_ARRAY_LEN(lines); i++) {
		char answer[600] = "";
		size_t got = 0;
		ssize_t n;

		fd = connect_raw(path);
		assert_int_equal(send(fd, lines[i], strlen(lines[i]), MSG_NOSIGNAL), strlen(lines[i]));
		while ((n = recv(fd, answer + got, sizeof answer - 1 - got, 0)) > 0)
			got += (size_t)n;
		close(fd);
		assert_non_null(strstr(answer, "GIT_INVALID_REQUEST"));
		assert_int_equal(answer[got - 1], '\n');
	}
	/* A client that leaves in the middle of its line. */
	fd = connect_raw(path);
	assert_int_equal(send(fd, "{\"cmd\"", 6, MSG_NOSIGNAL), 6);
	close(fd);
	assert_int_equal(wr_control_call(&out, p->dir, c, &no_server, NULL), WR_OK);
	assert_false(no_server);
	json_decref(out);
	json_decref(c);
	/* One that says nothing does not hold the stop up. */
	fd = connect_raw(path);
	wr_control_stop(control);
	close(fd);
}

static void a_command_that_is_too_long_is_refused(void **state)
{
	struct place *p = *state;
	struct wr_control *control = NULL;
	char *name = malloc(100001);
	json_t *c, *out = NULL;
	bool no_server = false;
	enum wr_code code;

	memset(name, 'x', 100000);
	name[100000] = '\0';
	c = command("account.create", json_pack("{s:s}", "name", name));
	assert_int_equal(wr_control_start(&control, p->dir, &p->app, NULL), WR_OK);
	code = wr_control_call(&out, p->dir, c, &no_server, NULL);
	/* The server need not read it all before it says so. */
	assert_true(code == WR_E_TOO_LARGE || code == WR_E_UNAVAILABLE || code == WR_E_INTERNAL);
	assert_false(no_server);
	wr_control_stop(control);
	json_decref(c);
	free(name);
}

static void a_stale_socket_means_no_server(void **state)
{
	struct place *p = *state;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct wr_control *control = NULL;
	json_t *c = command("account.list", json_object()), *out = NULL;
	bool no_server = false;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof addr.sun_path, "%.80s/control.sock", p->dir);
	assert_int_equal(bind(fd, (const struct sockaddr *)&addr, sizeof addr), 0);
	close(fd);
	assert_int_equal(wr_control_call(&out, p->dir, c, &no_server, NULL), WR_OK);
	assert_true(no_server);
	/* A new server takes its place. */
	assert_int_equal(wr_control_start(&control, p->dir, &p->app, NULL), WR_OK);
	assert_int_equal(wr_control_call(&out, p->dir, c, &no_server, NULL), WR_OK);
	assert_false(no_server);
	assert_non_null(json_object_get(out, "accounts"));
	json_decref(out);
	json_decref(c);
	wr_control_stop(control);
}

static void the_last_one_started_has_the_socket(void **state)
{
	struct place *p = *state;
	struct wr_control *first = NULL, *second = NULL;
	json_t *c = command("account.list", json_object()), *out = NULL;
	bool no_server = false;

	assert_int_equal(wr_control_start(&first, p->dir, &p->app, NULL), WR_OK);
	assert_int_equal(wr_control_start(&second, p->dir, &p->app, NULL), WR_OK);
	/* The first one's end does not take it away. */
	wr_control_stop(first);
	assert_int_equal(wr_control_call(&out, p->dir, c, &no_server, NULL), WR_OK);
	assert_false(no_server);
	wr_control_stop(second);
	json_decref(out);
	json_decref(c);
}

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, open_place, close_place)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_PLACE(accounts_and_keys),
		IN_PLACE(refusals_say_why),
		IN_PLACE(deleting_with_repositories_leaves_work_for_the_reaper),
		IN_PLACE(the_reaper_removes_folders_and_rows),
		IN_PLACE(repositories_are_shown_verified_and_packed),
		IN_PLACE(commands_pass_through_the_socket),
		{"commands_pass_through_the_socket_far_away", commands_pass_through_the_socket, open_far_place,
		 close_place, NULL},
		IN_PLACE(rubbish_is_answered_and_harms_nothing),
		IN_PLACE(a_command_that_is_too_long_is_refused),
		IN_PLACE(a_stale_socket_means_no_server),
		IN_PLACE(the_last_one_started_has_the_socket),
	};

	wr_log_set_threshold(WR_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
