#include "server/webhooks.h"

#include <stdio.h>

#include "core/base/config.h"
#include "core/store/jobs.h"

/* For one update; a push of 10,000 files compares some 20,000 entries, and computes for 5 ms. */
#define JUDGE_ENTRIES 2000000
#define JUDGE_COMMITS 200000
#define JUDGE_MS 5000
#define JUDGE_CPU_MS 250
#define ANSWER_READ ((uint64_t)64 << 10)

static void added(void *arg)
{
	struct wr_webhooks *webhooks = arg;

	pthread_mutex_lock(&webhooks->lock);
	wr_sender_poke(webhooks->sender);
	pthread_mutex_unlock(&webhooks->lock);
}

static void set_sender(struct wr_webhooks *webhooks, struct wr_sender *sender)
{
	pthread_mutex_lock(&webhooks->lock);
	webhooks->sender = sender;
	pthread_mutex_unlock(&webhooks->lock);
}

void wr_webhooks_init(struct wr_webhooks *webhooks, struct wr_db *db)
{
	pthread_mutex_init(&webhooks->lock, NULL);
	webhooks->sender = NULL;
	webhooks->deliveries = (struct wr_deliveries){.db = db, .added = added, .arg = webhooks};
	webhooks->subscriber = (struct wr_event_subscriber){.fn = wr_deliveries_event, .awaits = wr_deliveries_await,
							    .arg = &webhooks->deliveries, .done = wr_deliveries_done};
}

static struct wr_sender_config config(const struct wr_webhooks *webhooks, const struct wr_app *app)
{
	const struct wr_config *cfg = app->cfg;

	return (struct wr_sender_config){
		.db = app->db,
		.git = app->git,
		.signing = app->signing,
		.issuer = webhooks->issuer,
		.run = webhooks->run,
		.lease = wr_jobs_process(app->jobs),
		.rules = {
			.private_networks = cfg->webhooks_allow_private_networks,
			.ca_file = cfg->webhooks_ca_file,
			.agent = webhooks->agent,
			.connect_ms = (int64_t)cfg->webhooks_connect_timeout,
			.total_ms = (int64_t)cfg->webhooks_timeout,
			.max_answer = ANSWER_READ,
			.connections = (unsigned)cfg->webhooks_parallel,
		},
		.bounds = {.entries = JUDGE_ENTRIES, .commits = JUDGE_COMMITS, .ms = JUDGE_MS,
			   .cpu_ms = JUDGE_CPU_MS},
		.parallel = cfg->webhooks_parallel,
		.parallel_account = cfg->webhooks_parallel_account,
		.parallel_host = cfg->webhooks_parallel_host,
		.retry_ms = (int64_t)cfg->webhooks_retry_pause,
		.give_up_ms = (int64_t)cfg->webhooks_give_up,
		.keep_ms = (int64_t)cfg->webhooks_keep,
		.keep_max = (unsigned)cfg->webhooks_keep_max,
		.waiting_account = (int64_t)cfg->webhooks_waiting_account,
	};
}

/* Without a slash at its end, so that the keys are at what it is with /.well-known/jwks.json behind. */
static void set_issuer(struct wr_webhooks *webhooks, const struct wr_app *app)
{
	const char *url = app->cfg->server_public_url[0] ? app->cfg->server_public_url : app->url;
	size_t len;

	snprintf(webhooks->issuer, sizeof webhooks->issuer, "%s", url);
	len = strlen(webhooks->issuer);
	while (len > 0 && webhooks->issuer[len - 1] == '/')
		webhooks->issuer[--len] = '\0';
}

enum wr_code wr_webhooks_start(struct wr_webhooks *webhooks, struct wr_app *app, struct wr_error *err)
{
	struct wr_sender_config cfg;
	struct wr_sender *sender;
	enum wr_code code;

	if (snprintf(webhooks->run, sizeof webhooks->run, "%s/run", app->cfg->server_data) >= (int)sizeof webhooks->run)
		return wr_fail(err, WR_E_INVALID_REQUEST, "the data folder's path is too long");
	snprintf(webhooks->agent, sizeof webhooks->agent, "warren/%s", WR_VERSION);
	set_issuer(webhooks, app);
	cfg = config(webhooks, app);
	if ((code = wr_sender_start(&sender, &cfg, err)) != WR_OK)
		return code;
	app->sender = sender;
	set_sender(webhooks, sender);
	/* What came in between. */
	wr_sender_poke(sender);
	return WR_OK;
}

void wr_webhooks_stop(struct wr_webhooks *webhooks, struct wr_app *app, int64_t wait_ms)
{
	/* Nobody calls the API any more; events that are handed over from now on are for the next start. */
	set_sender(webhooks, NULL);
	wr_sender_stop(app->sender, wait_ms);
	app->sender = NULL;
}
