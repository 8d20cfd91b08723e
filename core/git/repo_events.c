/*
 * What the journals of a repository say for events, and which of them are not needed any more.
 */
#include "core/base/buf.h"
#include "core/git/git_internal.h"

/* The journals with records after this sequence, oldest first, a reference each; also how many of their records count. */
static size_t journals_after(struct wr_journal **v, uint32_t *records, size_t max, struct wr_git_repo *repo, uint64_t after)
{
	size_t n = 0;

	pthread_mutex_lock(&repo->mutex);
	for (size_t i = 0; repo->folder && i < repo->folder->old_count && n < max; i++) {
		if (repo->folder->old[i].last_seq <= after)
			continue;
		v[n] = wr_journal_ref(repo->folder->old[i].journal);
		records[n++] = UINT32_MAX;
	}
	for (size_t i = 0; repo->snap && i < repo->snap->journal_count && n < max; i++) {
		uint64_t first = wr_journal_first_seq(repo->snap->journals[i]);

		if (repo->snap->seq < first || (i + 1 < repo->snap->journal_count &&
						wr_journal_next_seq(repo->snap->journals[i]) <= after + 1))
			continue;
		v[n] = wr_journal_ref(repo->snap->journals[i]);
		records[n++] = (uint32_t)(repo->snap->seq - first + 1);
	}
	pthread_mutex_unlock(&repo->mutex);
	return n;
}

struct event_list {
	struct wr_event *v;
	size_t len, cap;
	struct wr_buf text;
};

/* Texts become offsets until all are in: the buffer moves. */
static enum wr_code add_events(struct event_list *list, const struct wr_record *r, struct wr_error *err)
{
	size_t author = list->text.len;

	wr_buf_adds(&list->text, r->author);
	for (uint32_t i = 0; i < r->update_count; i++) {
		const struct wr_record_update *u = &r->updates[i];

		if (list->len == list->cap) {
			size_t cap = list->cap ? list->cap * 2 : 64;
			struct wr_event *v = reallocarray(list->v, cap, sizeof *v);

			if (!v)
				return wr_fail_nomem(err);
			list->v = v;
			list->cap = cap;
		}
		list->v[list->len] = (struct wr_event){.seq = r->seq, .time_ms = r->time_ms, .old = u->old, .new = u->new};
		memcpy(list->v[list->len].operation, r->operation, sizeof r->operation);
		list->v[list->len].author = wr_str_n((const char *)(uintptr_t)author, r->author.len);
		list->v[list->len++].ref = wr_str_n((const char *)(uintptr_t)list->text.len, u->name.len);
		wr_buf_adds(&list->text, u->name);
	}
	return wr_buf_ok(&list->text) ? WR_OK : wr_fail_nomem(err);
}

static enum wr_code collect(struct event_list *list, uint64_t *last, const struct wr_journal *j, uint32_t records,
			    uint64_t after, size_t max, struct wr_error *err)
{
	uint64_t first = wr_journal_first_seq(j);
	uint32_t n = wr_journal_flushed(j) < records ? wr_journal_flushed(j) : records;

	for (uint32_t i = after >= first ? (uint32_t)(after - first + 1) : 0; i < n && list->len < max; i++) {
		WR_AUTO_S(wr_record) r = {0};
		enum wr_code code;
		uint32_t row;

		if ((code = wr_journal_record(&r, &row, j, i, err)) != WR_OK || (code = add_events(list, &r, err)) != WR_OK)
			return code;
		*last = r.seq;
	}
	return WR_OK;
}

enum wr_code wr_repo_events_after(struct wr_event **v, size_t *n, char **text, uint64_t *last, struct wr_git_repo *repo,
				  uint64_t after, size_t max, struct wr_error *err)
{
	struct event_list list = {NULL, 0, 0, WR_BUF_INIT((size_t)1 << 30)};
	struct wr_journal *journals[64];
	uint32_t records[64];
	size_t count = journals_after(journals, records, WR_ARRAY_LEN(journals), repo, after);
	enum wr_code code = WR_OK;

	*last = after;
	for (size_t i = 0; i < count; i++) {
		if (code == WR_OK && list.len < max)
			code = collect(&list, last, journals[i], records[i], *last, max, err);
		wr_journal_unref(journals[i]);
	}
	if (code != WR_OK) {
		free(list.v);
		wr_buf_fini(&list.text);
		return code;
	}
	for (size_t i = 0; i < list.len; i++) {
		list.v[i].author.ptr = list.text.ptr + (uintptr_t)list.v[i].author.ptr;
		list.v[i].ref.ptr = list.text.ptr + (uintptr_t)list.v[i].ref.ptr;
	}
	*v = list.v;
	*n = list.len;
	*text = list.text.ptr;
	return WR_OK;
}

/* Asked after each handing over, when there is mostly nothing to do: no turn is taken for that. */
static bool to_sweep(struct wr_git_repo *repo, uint64_t delivered)
{
	bool any = false;

	pthread_mutex_lock(&repo->mutex);
	for (size_t i = 0; repo->folder && i < repo->folder->old_count; i++)
		any |= repo->folder->old[i].last_seq <= delivered;
	pthread_mutex_unlock(&repo->mutex);
	return any;
}

void wr_repo_sweep_journals(struct wr_git_repo *repo)
{
	struct wr_turn turn;
	uint64_t delivered;

	/* Asking how far events are makes a mark, which is only for who has the folder. */
	if (!repo->git->cfg.events || !to_sweep(repo, UINT64_MAX))
		return;
	delivered = wr_events_delivered(repo->git->events, repo);
	if (!to_sweep(repo, delivered) || wr_repo_turn_begin(repo, &turn, NULL) != WR_OK)
		return;
	/* While a copy is asked for, perhaps because the folder could not be flushed, nothing goes. */
	if (repo->folder && !repo->folder->to_copy) {
		struct wr_old_journal gone[64];
		size_t n;

		pthread_mutex_lock(&repo->mutex);
		n = wr_folder_take_old(gone, WR_ARRAY_LEN(gone), repo->folder, delivered);
		pthread_mutex_unlock(&repo->mutex);
		wr_folder_drop_old(repo->folder, gone, n);
	}
	wr_repo_turn_end(repo, &turn);
}

bool wr_git_repo_events_reach(struct wr_git_repo *repo, uint64_t seq, int64_t ms)
{
	return wr_events_reach(repo->git->events, repo, seq, ms);
}
