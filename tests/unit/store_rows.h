/*
 * tests/unit/store_rows.h: the rows of repositories as the database has them, which take their events and count them.
 */
#ifndef STORE_ROWS_H
#define STORE_ROWS_H

#include "tests/unit/git_fixture.h"

#include <pthread.h>

#include "core/base/id.h"
#include "core/git/events.h"

#define ROWS 1024

static struct row {
	char id[WR_UUID_LEN + 1], token[WR_EVENT_TOKEN + 1];
	uint64_t seq;
	size_t events;
} rows[ROWS];
static pthread_mutex_t rows_lock = PTHREAD_MUTEX_INITIALIZER; /* rows, row_count */
static size_t row_count;

/* With the lock. Which thread calls is not known, so failures are abort()s. */
static inline struct row *row_of(const char *id)
{
	for (size_t i = 0; i < row_count; i++)
		if (strcmp(rows[i].id, id) == 0)
			return &rows[i];
	abort();
}

static inline enum wr_code mark_rows(void *arg, size_t n, const char *const *ids,
				     const char (*tokens)[WR_EVENT_TOKEN + 1], struct wr_marked *out, struct wr_error *err)
{
	(void)arg;
	(void)err;
	pthread_mutex_lock(&rows_lock);
	for (size_t i = 0; i < n; i++) {
		memcpy(row_of(ids[i])->token, tokens[i], sizeof tokens[i]);
		out[i] = (struct wr_marked){.event_seq = row_of(ids[i])->seq};
	}
	pthread_mutex_unlock(&rows_lock);
	return WR_OK;
}

static inline enum wr_code deliver_rows(void *arg, struct wr_delivery *v, size_t n, struct wr_error *err)
{
	(void)arg;
	(void)err;
	pthread_mutex_lock(&rows_lock);
	for (size_t i = 0; i < n; i++) {
		struct row *row = row_of(v[i].repo_id);

		if (row->seq == v[i].from) {
			row->seq = v[i].to;
			row->events += v[i].n;
		}
		v[i].code = WR_OK;
		v[i].event_seq = row->seq;
	}
	pthread_mutex_unlock(&rows_lock);
	return WR_OK;
}

static inline enum wr_code unmark_row(void *arg, const char *id, const char *token, const struct wr_due *due,
				      struct wr_error *err)
{
	(void)arg;
	(void)due;
	(void)err;
	pthread_mutex_lock(&rows_lock);
	if (strcmp(row_of(id)->token, token) == 0)
		row_of(id)->token[0] = '\0';
	pthread_mutex_unlock(&rows_lock);
	return WR_OK;
}

static inline enum wr_code next_marked_row(void *arg, char out[WR_UUID_LEN + 1], const char *after,
					   struct wr_error *err)
{
	const struct row *next = NULL;

	(void)arg;
	(void)err;
	pthread_mutex_lock(&rows_lock);
	for (size_t i = 0; i < row_count; i++)
		if (rows[i].token[0] && strcmp(rows[i].id, after) > 0 && (!next || strcmp(rows[i].id, next->id) < 0))
			next = &rows[i];
	if (next)
		memcpy(out, next->id, WR_UUID_LEN + 1);
	pthread_mutex_unlock(&rows_lock);
	return next ? WR_OK : WR_E_NOT_THERE;
}

static const struct wr_event_sink row_sink = {
	.mark = mark_rows, .deliver = deliver_rows, .unmark = unmark_row, .next_marked = next_marked_row};

static inline void add_row(const char *id)
{
	pthread_mutex_lock(&rows_lock);
	assert_true(row_count < ROWS);
	rows[row_count] = (struct row){.seq = 0};
	snprintf(rows[row_count++].id, sizeof rows[0].id, "%s", id);
	pthread_mutex_unlock(&rows_lock);
}

static inline void drop_row(const char *id)
{
	pthread_mutex_lock(&rows_lock);
	row_of(id)->token[0] = '\0';
	pthread_mutex_unlock(&rows_lock);
}

static inline size_t events_of(const char *id)
{
	size_t n;

	pthread_mutex_lock(&rows_lock);
	n = row_of(id)->events;
	pthread_mutex_unlock(&rows_lock);
	return n;
}

#endif
