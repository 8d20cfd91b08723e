#include "server/control.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/id.h"
#include "core/base/log.h"
#include "core/base/threads.h"

#define NAME "control.sock"
#define COMMAND_MAX (64 * 1024)
#define ANSWER_MAX (64 * 1024 * 1024)
#define CLIENT_MS 5000
#define SERVER_MS 60000
#define YIELD_MS 1000
#define BEAT_MS 5000
#define STALE_S 60
#define COMMANDS_MAX 8

/* One command under way. */
struct client {
	struct wr_control *control;
	int fd;
	bool used, ended, answering; /* under the control's mutex */
	pthread_t thread;
};

struct wr_control {
	const struct wr_app *app;
	int folder;   /* the data folder */
	int listener; /* -1 until it listens */
	int stop;     /* an eventfd, readable once the thread has to end */
	dev_t dev;    /* whose socket the name leads to */
	ino_t ino;
	pthread_t thread;
	pthread_mutex_t mutex; /* used, ended and answering of clients, and what is sent before an answer */
	struct client clients[COMMANDS_MAX]; /* used is the listening thread's to change */
};

/*
 * An address of a file in a folder. A socket's path has room for 107 bytes; a longer one is reached through the
 * folder's descriptor. Not always that way, because /proc may not be mounted.
 */
static enum wr_code fill_address(struct sockaddr_un *addr, const char *data, int folder, const char *name,
				 struct wr_error *err)
{
	int n = snprintf(addr->sun_path, sizeof addr->sun_path, "%s/%s", data, name);

	addr->sun_family = AF_UNIX;
	if (n >= 0 && (size_t)n < sizeof addr->sun_path)
		return WR_OK;
	n = snprintf(addr->sun_path, sizeof addr->sun_path, "/proc/self/fd/%d/%s", folder, name);
	if (n >= 0 && (size_t)n < sizeof addr->sun_path)
		return WR_OK;
	return wr_fail(err, WR_E_INTERNAL, "the name of the control socket is too long");
}

static bool trusted(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof peer;

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && (peer.uid == 0 || peer.uid == geteuid());
}

/*
 * One end of a connection, with a deadline for what is done next, which each byte that arrives puts off by patience_ms;
 * stop is readable once it has to end, or -1.
 */
struct end {
	int fd, stop;
	int64_t deadline, patience_ms;
};

static enum wr_code wait_for(const struct end *e, short events, struct wr_error *err)
{
	for (;;) {
		struct pollfd p[2] = {{.fd = e->fd, .events = events}, {.fd = e->stop, .events = POLLIN}};
		int64_t left = e->deadline - wr_mono_ms();

		if (left <= 0)
			return wr_fail(err, WR_E_UNAVAILABLE, "the control socket's other end took too long");
		if (poll(p, 2, (int)left) < 0 && errno != EINTR)
			return wr_fail_errno(err, "waiting for the control socket");
		if (p[1].revents)
			return wr_fail(err, WR_E_UNAVAILABLE, "the server stops");
		if (p[0].revents)
			return WR_OK;
	}
}

/* Up to the newline; what stands behind it is ignored. */
static enum wr_code read_line(struct wr_buf *line, struct end *e, struct wr_error *err)
{
	for (;;) {
		char *room = wr_buf_room(line, 4096);
		char *end;
		ssize_t n;
		enum wr_code code;

		if (!room)
			return wr_fail(err, WR_E_TOO_LARGE, "a line on the control socket is too long");
		if ((code = wait_for(e, POLLIN, err)) != WR_OK)
			return code;
		n = recv(e->fd, room, 4096, MSG_DONTWAIT);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return wr_fail_errno(err, "reading from the control socket");
		if (n == 0)
			return wr_fail(err, WR_E_UNAVAILABLE, "the control socket closed in the middle of a line");
		if (e->patience_ms)
			e->deadline = wr_mono_ms() + e->patience_ms;
		end = memchr(room, '\n', (size_t)n);
		line->len += end ? (size_t)(end - room) : (size_t)n;
		if (end)
			return WR_OK;
	}
}

static enum wr_code write_bytes(const struct end *e, const char *text, size_t len, struct wr_error *err)
{
	while (len > 0) {
		enum wr_code code = wait_for(e, POLLOUT, err);
		ssize_t n;

		if (code != WR_OK)
			return code;
		n = send(e->fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return wr_fail_errno(err, "writing to the control socket");
		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
	}
	return WR_OK;
}

static enum wr_code write_line(const struct end *e, const json_t *value, struct wr_error *err)
{
	WR_AUTO_MEM char *text = json_dumps(value, JSON_COMPACT);
	enum wr_code code;

	if (!text)
		return wr_fail_nomem(err);
	code = write_bytes(e, text, strlen(text), err);
	return code == WR_OK ? write_bytes(e, "\n", 1, err) : code;
}

/* The server's end. */

static json_t *error_json(const struct wr_error *err)
{
	return json_pack("{s:{s:s, s:o, s:o}}", "error", "code", wr_code_wire(err->code), "message",
			 wr_json_str(wr_str(wr_error_text(err))), "detail", wr_json_str(wr_str(err->detail)));
}

static bool stopping(void *arg)
{
	const struct wr_control *c = arg;

	return poll(&(struct pollfd){.fd = c->stop, .events = POLLIN}, 1, 0) > 0;
}

static bool is_command(const json_t *command, const char *name)
{
	const char *cmd = json_string_value(json_object_get(command, "cmd"));

	return cmd && strcmp(cmd, name) == 0;
}

/* Not an administrator's: nothing is changed by it. */
static enum wr_code yield(json_t **out, struct wr_control *c, json_t *command, struct wr_error *err)
{
	const char *repo = json_string_value(json_object_get(json_object_get(command, "args"), "repo"));
	char id[WR_UUID_LEN + 1];

	if (!repo || !wr_uuid_parse(wr_str(repo), id))
		return wr_fail(err, WR_E_INVALID_REQUEST, "repo.yield takes a repository's id");
	if (c->app->git)
		wr_git_yield(c->app->git, id);
	*out = json_object();
	return *out ? WR_OK : wr_fail_nomem(err);
}

static enum wr_code run_command(json_t **out, struct wr_control *c, int fd, struct wr_error *err)
{
	WR_AUTO_S(wr_buf) line = WR_BUF_INIT(COMMAND_MAX + 4096);
	struct end client = {fd, c->stop, wr_mono_ms() + CLIENT_MS, 0};
	const struct wr_cancel cancel = {stopping, c};
	json_t *command;
	enum wr_code code = read_line(&line, &client, err);

	if (code != WR_OK)
		return code;
	if (line.len > COMMAND_MAX)
		return wr_fail(err, WR_E_TOO_LARGE, "a command has at most %d bytes", COMMAND_MAX);
	command = json_loadb(line.ptr, line.len, JSON_REJECT_DUPLICATES, NULL);
	if (!command)
		return wr_fail(err, WR_E_INVALID_REQUEST, "a command is one line of JSON");
	if (is_command(command, "repo.yield")) {
		code = yield(out, c, command, err);
		json_decref(command);
		return code;
	}
	code = wr_admin_run(out, c->app, command, &cancel, err);
	/* Who follows a job asks every second. */
	WR_LOG(is_command(command, "job.wait") ? WR_DEBUG : WR_INFO, NULL, ADMIN,
	       WR_STR("command", json_string_value(json_object_get(command, "cmd"))),
	       WR_STR("result", wr_code_wire(code)));
	json_decref(command);
	return code;
}

/* The answer goes out by itself; nothing is sent in between from now on. */
static void begin_answer(struct client *cl)
{
	pthread_mutex_lock(&cl->control->mutex);
	cl->answering = true;
	pthread_mutex_unlock(&cl->control->mutex);
}

static void answer_one(struct client *cl)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_control *c = cl->control;
	json_t *result = NULL, *answer;
	/* Also what ran into the stop is told how it went. */
	struct end client = {cl->fd, -1, 0, 0};

	if (run_command(&result, c, cl->fd, &err) == WR_OK) {
		answer = json_pack("{s:o}", "ok", result);
	} else {
		if (wr_code_status(err.code) >= 500)
			wr_log_error(NULL, WR_EV_ADMIN, &err);
		answer = error_json(&err);
	}
	begin_answer(cl);
	/* A client that left is told nothing, and nobody else can be. */
	client.deadline = wr_mono_ms() + CLIENT_MS;
	if (answer && write_line(&client, answer, &err) != WR_OK)
		wr_log_error(NULL, WR_EV_ADMIN, &err);
	json_decref(answer);
}

static void serve_client(void *arg)
{
	struct client *cl = arg;

	if (trusted(cl->fd))
		answer_one(cl);
	shutdown(cl->fd, SHUT_RDWR);
	pthread_mutex_lock(&cl->control->mutex);
	cl->ended = true;
	pthread_mutex_unlock(&cl->control->mutex);
}

/* Threads that have ended are joined, and the clients of others learn that they live. *place: for one more, or NULL. */
static void look_after(struct wr_control *c, bool beat, struct client **place)
{
	*place = NULL;
	for (size_t i = 0; i < COMMANDS_MAX; i++) {
		struct client *cl = &c->clients[i];
		bool ended;

		pthread_mutex_lock(&c->mutex);
		ended = cl->used && cl->ended;
		if (cl->used && !cl->answering && beat)
			(void)!send(cl->fd, " ", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		pthread_mutex_unlock(&c->mutex);
		if (ended) {
			pthread_join(cl->thread, NULL);
			close(cl->fd);
			cl->used = false;
		}
		if (!cl->used)
			*place = cl;
	}
}

static void take_client(struct wr_control *c, struct client *place)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	int fd = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		/* Without descriptors the connection stays in the queue and poll() would spin. */
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			poll(&(struct pollfd){.fd = c->stop, .events = POLLIN}, 1, 100);
		return;
	}
	*place = (struct client){.control = c, .fd = fd, .used = true};
	if (wr_thread_start(&place->thread, "wr-command", 0, serve_client, place, &err) != WR_OK) {
		wr_log_error(NULL, WR_EV_ADMIN, &err);
		place->used = false;
		close(fd);
	}
}

static void serve(void *arg)
{
	struct wr_control *c = arg;
	int64_t beat = wr_mono_ms() + BEAT_MS;
	struct client *place;

	for (;;) {
		struct pollfd p[2] = {{.fd = c->listener, .events = POLLIN}, {.fd = c->stop, .events = POLLIN}};
		bool due = wr_mono_ms() >= beat;

		look_after(c, due, &place);
		if (due)
			beat = wr_mono_ms() + BEAT_MS;
		/* With all places taken: until one of them is free, which nothing tells but a look. */
		p[0].events = place ? POLLIN : 0;
		if (poll(p, 2, place ? BEAT_MS : 50) < 0 && errno != EINTR)
			return;
		if (p[1].revents)
			return;
		if (place && p[0].revents)
			take_client(c, place);
	}
}

/* What a process left that ended between the two names; one of a process that is just there may be younger. */
static void sweep(const struct wr_control *c, const char *data)
{
	DIR *dir = opendir(data);
	const struct dirent *e;

	while (dir && (e = readdir(dir))) {
		struct stat st;

		if (strncmp(e->d_name, NAME ".", sizeof NAME) == 0 &&
		    fstatat(c->folder, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(st.st_mode) &&
		    st.st_mtim.tv_sec + STALE_S < wr_now_ms() / 1000)
			unlinkat(c->folder, e->d_name, 0);
	}
	if (dir)
		closedir(dir);
}

/* Made under a name of its own, then renamed: the public name always leads to a socket of mode 0600 that listens. */
static enum wr_code listen_at(struct wr_control *c, const char *data, struct wr_error *err)
{
	char id[WR_UUID_LEN + 1], name[sizeof NAME + WR_UUID_LEN + 1];
	struct sockaddr_un addr = {0};
	struct stat st;
	enum wr_code code;

	wr_uuid_new(id);
	snprintf(name, sizeof name, "%s.%.8s", NAME, id);
	if ((code = fill_address(&addr, data, c->folder, name, err)) != WR_OK)
		return code;
	c->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->listener < 0)
		return wr_fail_errno(err, "making the control socket");
	if (bind(c->listener, (const struct sockaddr *)&addr, sizeof addr) != 0)
		return wr_fail_errno(err, "binding the control socket %s/%s", data, name);
	if (fchmodat(c->folder, name, 0600, 0) != 0 || listen(c->listener, 16) != 0 ||
	    fstatat(c->folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
	    renameat(c->folder, name, c->folder, NAME) != 0) {
		code = wr_fail_errno(err, "opening the control socket %s/%s", data, name);
		unlinkat(c->folder, name, 0);
		return code;
	}
	c->dev = st.st_dev;
	c->ino = st.st_ino;
	return WR_OK;
}

static void drop(struct wr_control *c)
{
	struct stat st;

	/* Another process may have taken the name meanwhile. */
	if (c->ino && fstatat(c->folder, NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == c->dev &&
	    st.st_ino == c->ino)
		unlinkat(c->folder, NAME, 0);
	if (c->listener >= 0)
		close(c->listener);
	if (c->stop >= 0)
		close(c->stop);
	if (c->folder >= 0)
		close(c->folder);
	pthread_mutex_destroy(&c->mutex);
	free(c);
}

enum wr_code wr_control_start(struct wr_control **out, const char *data, const struct wr_app *app,
			      struct wr_error *err)
{
	struct wr_control *c = calloc(1, sizeof *c);
	enum wr_code code = WR_OK;

	if (!c)
		return wr_fail_nomem(err);
	*c = (struct wr_control){.app = app, .listener = -1};
	pthread_mutex_init(&c->mutex, NULL);
	c->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	c->folder = open(data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->stop < 0 || c->folder < 0)
		code = wr_fail_errno(err, "opening %s for the control socket", data);
	if (code == WR_OK)
		code = listen_at(c, data, err);
	if (code == WR_OK)
		sweep(c, data);
	if (code == WR_OK)
		code = wr_thread_start(&c->thread, "wr-control", 0, serve, c, err);
	if (code != WR_OK) {
		drop(c);
		return code;
	}
	*out = c;
	return WR_OK;
}

void wr_control_stop(struct wr_control *control)
{
	if (!control)
		return;
	eventfd_write(control->stop, 1);
	pthread_join(control->thread, NULL);
	for (size_t i = 0; i < COMMANDS_MAX; i++) {
		if (!control->clients[i].used)
			continue;
		pthread_join(control->clients[i].thread, NULL);
		close(control->clients[i].fd);
	}
	drop(control);
}

/* The client's end. */

static enum wr_code connect_to(int *out, const char *data, bool *no_server, struct wr_error *err)
{
	WR_AUTO_FD int folder = open(data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	WR_AUTO_FD int fd = -1;
	struct sockaddr_un addr = {0};
	struct timeval limit = {.tv_sec = CLIENT_MS / 1000};
	enum wr_code code;

	*no_server = folder < 0 && errno == ENOENT;
	if (*no_server)
		return WR_OK;
	if (folder < 0)
		return wr_fail_errno(err, "opening the data folder %s", data);
	if ((code = fill_address(&addr, data, folder, NAME, err)) != WR_OK)
		return code;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* This bounds connect(), which waits where the server's queue is full. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0)
		return wr_fail_errno(err, "making a control socket");
	if (connect(fd, (const struct sockaddr *)&addr, sizeof addr) != 0) {
		*no_server = errno == ENOENT || errno == ECONNREFUSED;
		return *no_server ? WR_OK : wr_fail_errno(err, "connecting to the server at %s/%s", data, NAME);
	}
	if (!trusted(fd))
		return wr_fail(err, WR_E_INTERNAL, "the control socket of %s belongs to another user", data);
	*out = fd;
	fd = -1;
	return WR_OK;
}

/* The server's error as ours: the code by its name on the wire, which several may share; the first will do. */
static enum wr_code take_error(json_t *said, struct wr_error *err)
{
	const char *wire = json_string_value(json_object_get(said, "code"));
	const char *message = json_string_value(json_object_get(said, "message"));
	const char *detail = json_string_value(json_object_get(said, "detail"));
	int code = WR_OK + 1;

	while (code < WR_CODE_COUNT && strcmp(wr_code_wire((enum wr_code)code), wire ? wire : "") != 0)
		code++;
	if (code == WR_CODE_COUNT || !message)
		return wr_fail(err, WR_E_INTERNAL, "the server's answer is no answer");
	return wr_fail(err, (enum wr_code)code, "%s", detail && detail[0] ? detail : message);
}

static enum wr_code take_answer(json_t **out, struct wr_str line, struct wr_error *err)
{
	json_t *answer = json_loadb(line.ptr, line.len, 0, NULL);
	json_t *ok = json_object_get(answer, "ok");
	enum wr_code code = WR_OK;

	if (ok)
		*out = json_incref(ok);
	else
		code = take_error(json_object_get(answer, "error"), err);
	json_decref(answer);
	return code;
}

/* patience_ms: without a sign of life. */
static enum wr_code call(json_t **out, const char *data, json_t *command, int64_t patience_ms, bool *no_server,
			 struct wr_error *err)
{
	WR_AUTO_S(wr_buf) line = WR_BUF_INIT(ANSWER_MAX);
	WR_AUTO_FD int fd = -1;
	struct end server;
	enum wr_code code;

	*no_server = false;
	code = connect_to(&fd, data, no_server, err);
	if (code != WR_OK || *no_server)
		return code;
	server = (struct end){fd, -1, wr_mono_ms() + patience_ms, patience_ms};
	code = write_line(&server, command, err);
	if (code == WR_OK)
		code = read_line(&line, &server, err);
	return code == WR_OK ? take_answer(out, wr_buf_str(&line), err) : code;
}

enum wr_code wr_control_call(json_t **out, const char *data, json_t *command, bool *no_server, struct wr_error *err)
{
	return call(out, data, command, SERVER_MS, no_server, err);
}

void wr_control_ask_yield(const char *data, const char *repo_id)
{
	json_t *command = json_pack("{s:s, s:{s:s}}", "cmd", "repo.yield", "args", "repo", repo_id), *out = NULL;
	bool no_server;

	/* Who asks waits for the lock, and asks again; why an answer does not come is not his to judge. */
	if (command && call(&out, data, command, YIELD_MS, &no_server, NULL) == WR_OK)
		json_decref(out);
	json_decref(command);
}
