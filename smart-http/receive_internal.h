/*
 * smart-http/receive_internal.h: a parsed push, between receive_parse.c (what stands before the pack), receive.c (the
 * pack and the refs), receive_alive.c and receive_report.c (the answer).
 */
#ifndef WR_RECEIVE_INTERNAL_H
#define WR_RECEIVE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/git/oidmap.h"
#include "core/git/pktline.h"
#include "smart-http/receive.h"
#include "smart-http/sideband.h"

struct wr_command {
	struct wr_str name; /* in wr_receive.names */
	struct wr_oid old, new;
	const char *refused; /* why, for the report; lives as long as the run. NULL: it was not, so far */
};

struct wr_receive {
	struct wr_pkt_reader *reader; /* has read ahead into the pack */
	struct wr_command *commands;
	size_t count, cap;
	struct wr_buf names;	/* the bytes of all names, one after the other */
	struct wr_oids shallow; /* where the pusher's history ends */
	const struct wr_room *room;
	uint64_t held, taken; /* bytes of commands, names and roots; and of room for them */
	struct wr_room objects; /* room for the pack */
	atomic_bool crowded;	/* there was none */
	size_t options;		/* push options */
	bool report, bands, atomic, quiet, takes_options;
	bool shallow_refused; /* new shallow roots would have been needed */
	char limit[160]; /* the limit that was passed, as the pusher is told; then nothing is stored. "": none */
};

static inline bool wr_command_deletes(const struct wr_command *c)
{
	return wr_oid_zero(&c->new);
}
static inline bool wr_command_is_of(const struct wr_command *c, struct wr_str branch)
{
	return wr_str_starts(c->name, WR_S("refs/heads/")) && wr_str_eq(wr_str_skip(c->name, 11), branch);
}

/*
 * Says on band 2 now and then that a push is still worked on, from a thread of its own: what comes after a large pack's
 * last byte (sorting, flushing) may take longer than proxies are patient. Until stop the side-bands are used under the
 * lock, which is held while the sink takes them: whoever waits for it writes to the same client.
 */
struct wr_alive {
	struct wr_sideband *sb;
	pthread_mutex_t lock; /* what sb has and does; stop */
	pthread_cond_t stopped;
	pthread_t thread;
	bool started, stop;
};
void wr_alive_init(struct wr_alive *a, struct wr_sideband *sb);
void wr_alive_fini(struct wr_alive *a);
/* Both may be called more than once; after stop it does not start again. */
void wr_alive_start(struct wr_alive *a);
void wr_alive_stop(struct wr_alive *a);

/* The whole answer: words for people on band 2, the report where it was asked for, the end of the bands. */
WR_MUST_CHECK enum wr_code wr_receive_report(struct wr_sideband *sb, const struct wr_receive *rx,
					     const struct wr_receive_result *result, struct wr_str default_branch,
					     struct wr_error *err);

#endif
