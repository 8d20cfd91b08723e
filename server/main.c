/*
 * server/main.c: the composition root, the one file that knows every module: commands, and the start and stop of a server.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/auth/repos.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/content/history.h"
#include "core/content/keep.h"
#include "server/admin.h"
#include "server/api/api.h"
#include "server/app.h"
#include "server/cli.h"
#include "server/control.h"
#include "server/datadir.h"
#include "server/due_rows.h"
#include "server/follow.h"
#include "server/http/http.h"
#include "server/jobs_repo.h"
#include "server/journal_events.h"
#include "server/making.h"
#include "server/reaper.h"
#include "server/supervisor.h"
#include "server/webhooks.h"
#include "triggers/signing.h"

/* Histories that are kept for who lists them next. */
#define ORDERS_BYTES ((size_t)64 << 20)
#define SIZES_BYTES ((size_t)16 << 20)
#define FILES_BYTES ((size_t)32 << 20)
#define TREES_BYTES ((size_t)16 << 20)

/* Connections that idle are left open for so long at a hand-over. */
#define LINGER_MS 5000
#define HAND_OVER_TICK_MS 50
#define WEBHOOKS_WAIT_MS 3000
/* A worker whose supervisor was killed has the folder, and may need so long beyond server.stop_timeout to end. */
#define ORPHAN_MS 10000

static int complain(const struct wr_error *err)
{
	fprintf(stderr, "warren: %s\n", err->detail[0] ? err->detail : wr_error_text(err));
	return 1;
}

static enum wr_code default_branch(void *db, char *out, size_t cap, const char *id, struct wr_error *err)
{
	return wr_repo_default_branch(out, cap, db, id, err);
}

/* Set when this process hands over: then another one has control.sock, and perhaps what this one still needs. */
static atomic_bool handing_over;

static void ask_owner(void *data, const char *id)
{
	if (atomic_load(&handing_over))
		wr_control_ask_yield(data, id);
}

/* What neither option shows alone. */
static enum wr_code check_grace(const struct wr_config *cfg, struct wr_error *err)
{
	if (cfg->git_cruft_grace >= cfg->http_request_timeout)
		return WR_OK;
	return wr_fail(err, WR_E_INVALID_REQUEST,
		       "git.cruft_grace (%llu s) is shorter than http.request_timeout (%llu s): a push may take that long, and "
		       "refers to what was there when it began; raise git.cruft_grace, or lower http.request_timeout",
		       (unsigned long long)cfg->git_cruft_grace / 1000,
		       (unsigned long long)cfg->http_request_timeout / 1000);
}

/* events NULL: a command, after which nothing goes on. Else initialised, and its sink takes the store's events. */
static enum wr_code open_git(struct wr_git **out, const struct wr_config *cfg, struct wr_db *db,
			     struct wr_journal_events *events, struct wr_due_rows *due, struct wr_error *err)
{
	const struct wr_git_config git = {
		.data = cfg->server_data,
		.max_pack_bytes = cfg->git_max_pack,
		.max_pack_objects = (uint32_t)cfg->git_max_pack_objects,
		.max_unpacked_bytes = cfg->git_max_unpacked,
		.max_object_bytes = cfg->git_max_object,
		.max_delta_depth = (unsigned)cfg->git_max_delta_depth,
		.fsck_ignore = cfg->git_fsck_ignore,
		.idle_repos = (unsigned)cfg->git_idle_repos,
		.idle_bytes = cfg->git_idle_memory,
		.cruft_grace_ms = (int64_t)cfg->git_cruft_grace,
		.events = events ? &events->sink : NULL,
		.default_branch = default_branch,
		.default_branch_arg = db,
		.prepare = wr_orders_prepare,
		.no_keeper = events == NULL,
		.due = &due->list,
		.care_threads = (unsigned)cfg->maintenance_threads,
		.care_pause_ms = (int64_t)cfg->maintenance_pause,
		.quiet_ms = (int64_t)cfg->maintenance_quiet,
		.redelta_clones = (unsigned)cfg->maintenance_redelta_clones,
		.ask_owner = events ? ask_owner : NULL,
		.ask_owner_arg = cfg->server_data,
	};

	enum wr_code code = check_grace(cfg, err);

	if (code != WR_OK)
		return code;
	wr_due_rows_init(due, db);
	return wr_git_open(out, &git, err);
}

static enum wr_code set_log_level(const char *name, struct wr_error *err)
{
	static const char *const names[] = {"debug", "info", "warn", "error"};

	for (size_t i = 0; i < WR_ARRAY_LEN(names); i++) {
		if (strcmp(name, names[i]) == 0) {
			wr_log_set_threshold((enum wr_log_level)i);
			return WR_OK;
		}
	}
	return wr_fail(err, WR_E_INVALID_REQUEST, "server.log_level is debug, info, warn or error, not \"%s\"", name);
}

static enum wr_code check_config(const struct wr_config *cfg, struct wr_error *err)
{
	enum wr_code code = set_log_level(cfg->server_log_level, err);

	if (code == WR_OK)
		code = wr_making_check_public_url(cfg->server_public_url, err);
	return code == WR_OK ? check_grace(cfg, err) : code;
}

/* Packs are mapped and connections are many: take as many descriptors as the system gives without asking. */
static void raise_limits(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur < lim.rlim_max) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
	/* Many threads that hold little: few arenas, and large blocks go back to the system at once. */
	mallopt(M_ARENA_MAX, 4);
	mallopt(M_MMAP_THRESHOLD, 256 * 1024);
}

struct parts {
	struct wr_app app;
	struct wr_webhooks webhooks;
	struct wr_journal_events events;
	struct wr_due_rows due;
	struct wr_control *control;
	struct wr_http *http;
};

static enum wr_code open_signing(struct wr_signing **out, const struct wr_config *cfg, struct wr_error *err)
{
	const struct wr_signing_times times = {.life_ms = (int64_t)cfg->webhooks_signature_life,
					       .overlap_ms = (int64_t)cfg->webhooks_key_overlap};

	return wr_signing_open(out, cfg->server_data, &times, err);
}

static enum wr_code start(struct parts *p, const struct wr_config *cfg, const struct wr_listener *listener,
			  struct wr_error *err)
{
	enum wr_code code;

	p->app.cfg = cfg;
	p->app.url = listener->url;
	code = wr_log_gather((unsigned)cfg->server_log_delay, err);
	if (!code)
		code = wr_db_open(&p->app.db, cfg->server_data, err);
	wr_webhooks_init(&p->webhooks, p->app.db);
	wr_journal_events_init(&p->events, p->app.db, &p->webhooks.subscriber, 1);
	if (!code)
		code = open_signing(&p->app.signing, cfg, err);
	if (!code)
		code = open_git(&p->app.git, cfg, p->app.db, &p->events, &p->due, err);
	if (!code)
		code = wr_orders_new(&p->app.orders, ORDERS_BYTES, err);
	if (!code)
		wr_orders_store_in(p->app.orders, p->app.git);
	if (!code)
		code = wr_keep_new(&p->app.sizes, SIZES_BYTES, err);
	if (!code)
		code = wr_keep_new(&p->app.files, FILES_BYTES, err);
	if (!code)
		code = wr_keep_new(&p->app.trees, TREES_BYTES, err);
	if (code == WR_OK)
		code = wr_reaper_start(&p->app.reaper, p->app.db, p->app.git, err);
	if (!code)
		code = wr_repo_jobs_start(&p->app.jobs, &p->app, NULL, err);
	if (!code)
		code = wr_webhooks_start(&p->webhooks, &p->app, err);
	if (!code)
		code = wr_makers_start(&p->app.makers, &p->app, err);
	if (!code)
		code = wr_control_start(&p->control, cfg->server_data, &p->app, err);
	if (!code)
		code = wr_http_start(&p->http, &p->app, cfg, listener, err);
	return code;
}

/* Deliveries under way may end, but an endpoint that hangs is not waited for. */
static int64_t webhooks_wait(const struct parts *p)
{
	int64_t share = (int64_t)(p->app.cfg->server_stop_timeout / 4);

	return share < WEBHOOKS_WAIT_MS ? share : WEBHOOKS_WAIT_MS;
}

/* Backwards through start(), from wherever it got to. */
static void stop(struct parts *p)
{
	wr_log_gather_end();
	/* A handler that will not end still uses what follows; leaving without it is what a kill would do, and is safe. */
	if (p->http && !wr_http_stop(p->http))
		_exit(0);
	if (p->control)
		wr_control_stop(p->control);
	/* A maker may be waiting for somebody else's server, where nothing can wake it. */
	if (!wr_makers_stop(p->app.makers))
		_exit(0);
	wr_webhooks_stop(&p->webhooks, &p->app, webhooks_wait(p));
	wr_jobs_stop(p->app.jobs);
	if (p->app.reaper)
		wr_reaper_stop(p->app.reaper);
	wr_orders_free(p->app.orders);
	wr_keep_free(p->app.sizes);
	wr_keep_free(p->app.files);
	wr_keep_free(p->app.trees);
	if (p->app.git)
		wr_git_close(p->app.git);
	wr_signing_free(p->app.signing);
	if (p->app.db)
		wr_db_close(p->app.db);
}

/* What the supervisor has and its workers share. */
struct service {
	const struct wr_config *cfg;
	struct wr_listener listener;
};

/* Creations get most of the time that there is: so that who waits for one still hears what became of it. */
static void retire_makers(struct parts *p, const struct wr_config *cfg)
{
	wr_makers_retire(p->app.makers, (int64_t)(cfg->server_stop_timeout - cfg->server_stop_timeout / 8));
}

/*
 * Another worker accepts, and takes over one repository after the other. What comes on open connections is served; those
 * on which nothing comes for a while are closed like any that idles. Clones may go on for as long as a request may. The
 * signal that ends this earlier, or SIGUSR1.
 */
static int hand_over(struct parts *p, const struct wr_config *cfg)
{
	int64_t began = wr_mono_ms(), linger = (int64_t)cfg->http_idle_timeout;
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct timespec tick = {.tv_nsec = HAND_OVER_TICK_MS * 1000000};
	size_t running = 1;
	sigset_t stops;

	WR_LOG(WR_INFO, NULL, HANDING_OVER);
	if (linger > LINGER_MS)
		linger = LINGER_MS;
	atomic_store(&handing_over, true);
	wr_http_hand_over(p->http);
	/* They go on there, where they wait for what they need until it is given back here. */
	wr_jobs_retire(p->app.jobs);
	wr_sender_retire(p->app.sender);
	retire_makers(p, cfg);
	/* Without its thread a repository is given back when it is used next, or asked for by the process's end. */
	if (wr_git_hand_over(p->app.git, &err) != WR_OK)
		wr_log_error(NULL, WR_EV_SERVER_WARNING, &err);
	sigemptyset(&stops);
	sigaddset(&stops, SIGTERM);
	sigaddset(&stops, SIGINT);
	sigaddset(&stops, SIGHUP);
	while ((wr_http_open(p->http, &running) && (running || wr_mono_ms() - began < linger)) ||
	       wr_makers_running(p->app.makers)) {
		int sig = sigtimedwait(&stops, NULL, &tick);

		if (sig > 0)
			return sig;
		if (wr_mono_ms() - began > (int64_t)cfg->http_request_timeout)
			break;
	}
	return SIGUSR1;
}

/* One worker: until it is told to stop. */
static int work(void *arg, const struct wr_worker_link *link)
{
	const struct service *service = arg;
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct parts p = {.app.supervisor = link->supervisor};
	sigset_t stops;
	int sig;

	raise_limits();
	signal(SIGPIPE, SIG_IGN);
	if (start(&p, service->cfg, &service->listener, &err)) {
		stop(&p);
		if (link->first)
			return complain(&err);
		wr_log_error(NULL, WR_EV_WORKER_FAILED, &err);
		return 1;
	}
	wr_worker_ready(link);
	WR_LOG(WR_INFO, NULL, SERVER_READY, WR_STR("url", wr_http_url(p.http)), WR_STR("version", WR_VERSION));
	/* They were blocked before any thread existed: only this sees them. */
	sigemptyset(&stops);
	sigaddset(&stops, SIGTERM);
	sigaddset(&stops, SIGINT);
	sigaddset(&stops, SIGHUP);
	sigaddset(&stops, SIGUSR1);
	while (sigwait(&stops, &sig) != 0)
		continue;
	if (sig == SIGUSR1)
		sig = hand_over(&p, service->cfg);
	WR_LOG(WR_INFO, NULL, SERVER_DRAINING, WR_STR("signal", sig == SIGTERM	? "TERM"
								 : sig == SIGINT ? "INT"
								 : sig == SIGHUP ? "HUP"
										 : "USR1"));
	wr_sender_retire(p.app.sender);
	retire_makers(&p, service->cfg);
	wr_http_drain(p.http);
	stop(&p);
	WR_LOG(WR_INFO, NULL, SERVER_STOPPED);
	return 0;
}

static void announce_service(void *arg)
{
	const struct service *service = arg;

	printf("warren: listening on %s\n", service->listener.url);
	fflush(stdout);
}

static void close_service(void *arg)
{
	struct service *service = arg;

	close(service->listener.fd);
}

/* Where a server is about to become this program: what it would end of then. */
static enum wr_code check_takeover(const struct wr_config *cfg, struct wr_error *err)
{
	struct wr_listener listener;
	struct wr_takeover t;
	enum wr_code code;

	wr_takeover_read(&t);
	if (t.lock_fd < 0)
		return WR_OK;
	code = wr_datadir_same(cfg->server_data, t.lock_fd, err);
	return code == WR_OK ? wr_http_listen(&listener, cfg, t.listen_fd, err) : code;
}

static int serve(const struct wr_cli *cli, char **argv, struct wr_error *err)
{
	struct service service = {.cfg = &cli->config};
	struct wr_supervisor s = {
		.work = work,
		.ready = announce_service,
		.close = close_service,
		.arg = &service,
		.stop_ms = (int64_t)cli->config.server_stop_timeout,
		.argv = argv,
		.command = cli->command_word,
	};
	const char *data = cli->config.server_data;
	int status = 1;
	enum wr_code code;

	wr_takeover_read(&s.own);
	if ((code = check_config(&cli->config, err)) != WR_OK || (code = wr_datadir_make(data, err)) != WR_OK)
		return complain(err);
	/* Of the open file, which all workers share: so one whose supervisor was killed keeps it until it has ended. */
	if (s.own.lock_fd < 0)
		code = wr_datadir_lock(&s.own.lock_fd, data, s.stop_ms + ORPHAN_MS, err);
	if (code == WR_OK)
		code = wr_http_listen(&service.listener, service.cfg, s.own.listen_fd, err);
	if (code != WR_OK)
		return complain(err);
	s.own.listen_fd = service.listener.fd;
	if (wr_supervise(&status, &s, err) != WR_OK)
		return complain(err);
	return status;
}

/*
 * The store for one command. Nobody takes events here: their journals stay for the next server. Who serves the folder
 * just now may also be stopping, and then its end is waited for.
 */
static enum wr_code open_store(struct wr_git **out, struct wr_due_rows *due, int *lock, const struct wr_config *cfg,
			       struct wr_db *db, struct wr_error *err)
{
	enum wr_code code = wr_datadir_lock(lock, cfg->server_data, (int64_t)cfg->server_stop_timeout, err);

	return code == WR_OK ? open_git(out, cfg, db, NULL, due, err) : code;
}

static volatile sig_atomic_t interrupted;

static void interrupt(int sig)
{
	(void)sig;
	interrupted = 1;
}

static enum wr_code call_here(void *app, json_t **out, json_t *command, bool *no_server, struct wr_error *err)
{
	*no_server = false;
	return wr_admin_run(out, app, command, NULL, err);
}

/* Without a server the job is done here; a signal cancels it. *out: the job, then its result. */
static enum wr_code run_job_here(json_t **out, struct wr_app *app, struct wr_error *err)
{
	const struct wr_follow follow = {call_here, app, &interrupted};
	const struct sigaction action = {.sa_handler = interrupt};
	WR_AUTO(json_t) *job = *out;
	const char *id = json_string_value(json_object_get(job, "jobId"));
	enum wr_code code;

	*out = NULL;
	if (!id)
		return wr_fail(err, WR_E_INTERNAL, "a job without an id");
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	code = wr_repo_jobs_start(&app->jobs, app, id, err);
	if (code == WR_OK)
		code = wr_follow_job(out, &follow, id, err);
	wr_jobs_stop(app->jobs);
	app->jobs = NULL;
	return code;
}

static bool is_followed(const struct wr_cli *cli, json_t *command)
{
	return wr_admin_makes_job(json_string_value(json_object_get(command, "cmd"))) && !cli->options[WR_CLI_DETACH];
}

/* *served: a server has the folder after all, and has to do it. */
static enum wr_code do_alone(json_t **out, const struct wr_cli *cli, json_t *command, bool *served,
			     struct wr_error *err)
{
	const struct wr_config *cfg = &cli->config;
	struct wr_app app = {.cfg = cfg};
	struct wr_due_rows due;
	WR_AUTO_FD int lock = -1;
	enum wr_code code = wr_db_open(&app.db, cfg->server_data, err);

	if (!code && wr_admin_needs_git(json_string_value(json_object_get(command, "cmd"))))
		code = open_store(&app.git, &due, &lock, cfg, app.db, err);
	*served = code == WR_E_EXISTS;
	if (!code)
		code = wr_admin_run(out, &app, command, NULL, err);
	if (!code && is_followed(cli, command))
		code = run_job_here(out, &app, err);
	wr_git_close(app.git);
	if (app.db)
		wr_db_close(app.db);
	return code;
}

static enum wr_code call_server(void *cfg, json_t **out, json_t *command, bool *no_server, struct wr_error *err)
{
	return wr_control_call(out, ((const struct wr_config *)cfg)->server_data, command, no_server, err);
}

/* Where a server runs: *out is the job that the server made, then its result. */
static enum wr_code follow_there(json_t **out, const struct wr_cli *cli, json_t *command, struct wr_error *err)
{
	const struct wr_follow follow = {call_server, (void *)(uintptr_t)&cli->config, NULL};
	WR_AUTO(json_t) *job = NULL;
	const char *id;

	if (!is_followed(cli, command))
		return WR_OK;
	job = WR_STEAL(*out);
	id = json_string_value(json_object_get(job, "jobId"));
	return id ? wr_follow_job(out, &follow, id, err) : wr_fail(err, WR_E_INTERNAL, "a job without an id");
}

/* The running server does it where there is one; else this process, on the data folder itself. */
static enum wr_code administer(json_t **out, const struct wr_cli *cli, json_t *command, struct wr_error *err)
{
	const char *data = cli->config.server_data;
	bool no_server = false, served = false;
	enum wr_code code = wr_datadir_make(data, err);

	if (code)
		return code;
	code = wr_control_call(out, data, command, &no_server, err);
	if (no_server) {
		code = do_alone(out, cli, command, &served, err);
		if (!served)
			return code;
		/* One that began to serve in between listens by now. */
		code = wr_control_call(out, data, command, &no_server, err);
		if (no_server)
			return wr_fail(err, WR_E_UNAVAILABLE, "%s is locked, but nobody listens in it", data);
	}
	return code ? code : follow_there(out, cli, command, err);
}

static int admin(const struct wr_cli *cli, struct wr_error *err)
{
	json_t *command = NULL, *out = NULL;
	char *text;
	int status;

	if (wr_cli_json(&command, cli, err) || administer(&out, cli, command, err)) {
		json_decref(command);
		return complain(err);
	}
	json_decref(command);
	text = json_dumps(out, JSON_COMPACT);
	status = text && puts(text) >= 0 && fflush(stdout) == 0 ? 0 : 1;
	/* What "repo verify" found. */
	if (json_integer_value(json_object_get(out, "problemCount")) > 0)
		status = 1;
	free(text);
	json_decref(out);
	return status;
}

static int print(void (*fill)(struct wr_buf *out))
{
	WR_AUTO_S(wr_buf) out = WR_BUF_INIT(1024 * 1024);

	fill(&out);
	fputs(out.ptr ? out.ptr : "", stdout);
	return wr_buf_ok(&out) && fflush(stdout) == 0 ? 0 : 1;
}

/* The next file to be opened must not get the number of a stream that is closed, and then what is printed. */
static bool have_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
	return fd >= 0;
}

int main(int argc, char **argv)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	WR_AUTO_S(wr_cli) cli = {.command = NULL};

	if (!have_streams())
		return 1;
	if (wr_cli_parse(&cli, argc, argv, &err)) {
		complain(&err);
		return 2;
	}
	if (cli.help) {
		WR_AUTO_S(wr_buf) text = WR_BUF_INIT(64 * 1024);

		wr_cli_help(&cli, &text);
		fputs(text.ptr, stdout);
		return 0;
	}
	if (strcmp(cli.command->name, "serve") == 0)
		return serve(&cli, argv, &err);
	if (strcmp(cli.command->name, "version") == 0) {
		printf("warren %s\n", WR_VERSION);
		return 0;
	}
	if (strcmp(cli.command->name, "config check") == 0)
		return check_config(&cli.config, &err) || check_takeover(&cli.config, &err) ? complain(&err) : 0;
	if (strcmp(cli.command->name, "config example") == 0)
		return print(wr_config_example);
	return admin(&cli, &err);
}
