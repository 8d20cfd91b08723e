/*
 * server/webhooks.h: the triggers' part of the program: events become deliveries, and deliveries are sent.
 * Ownership: the struct is the caller's; it outlives the store that has its sink's subscriber.
 * Threads:   main's; the subscriber runs on the store's and the database's.
 * Blocks on: wr_webhooks_stop() until what is under way has ended, for some seconds at most.
 * Errors:    WR_E_UNAVAILABLE (threads, memory), those of signing.h.
 */
#ifndef WR_WEBHOOKS_H
#define WR_WEBHOOKS_H

#include <limits.h>
#include <pthread.h>

#include "core/net/url.h"
#include "server/app.h"
#include "server/journal_events.h"
#include "triggers/delivery.h"
#include "triggers/sender.h"

struct wr_webhooks {
	struct wr_deliveries deliveries;
	struct wr_event_subscriber subscriber; /* for wr_journal_events_init() */
	pthread_mutex_t lock;		       /* of sender, for who adds deliveries */
	struct wr_sender *sender;	       /* NULL before the start and after the stop */
	char run[PATH_MAX], agent[64], issuer[WR_NET_URL_MAX + 1];
};

/* Before the store is opened: the subscriber is ready, and what it adds waits for the sender. */
void wr_webhooks_init(struct wr_webhooks *webhooks, struct wr_db *db);
/* After the jobs, whose file in run/ it uses, and the signing keys; sets app->sender. */
WR_MUST_CHECK enum wr_code wr_webhooks_start(struct wr_webhooks *webhooks, struct wr_app *app, struct wr_error *err);
void wr_webhooks_stop(struct wr_webhooks *webhooks, struct wr_app *app, int64_t wait_ms);

#endif
