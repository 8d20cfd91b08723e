#include "core/git/checkpoint.h"
#include "core/git/git_internal.h"
#include "core/git/keeper.h"

static enum wr_code bytes_of(uint64_t *out, struct wr_git_repo *repo, struct wr_error *err)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	enum wr_code code = wr_repo_current(&snap, NULL, repo, err);

	if (code != WR_OK)
		return code;
	*out = 0;
	for (size_t i = 0; i < snap->member_count; i++)
		*out += snap->members[i].pack->size + snap->members[i].pack->idx_size;
	for (size_t i = 0; i < snap->journal_count; i++)
		*out += wr_journal_size(snap->journals[i]);
	return WR_OK;
}

enum wr_code wr_git_repo_maintain(struct wr_maintained *out, struct wr_git_repo *repo, bool redelta,
				  const struct wr_progress *progress, const struct wr_cancel *cancel, struct wr_error *err)
{
	const struct wr_checkpoint_manner manner = {.whole = true, .redelta = redelta, .progress = progress};
	WR_AUTO_S(wr_checkpoint) first = {0};
	WR_AUTO_S(wr_checkpoint) c = {0};
	struct wr_maintained m = {0};
	enum wr_code code;
	bool did;

	/* What an earlier checkpoint left undone comes first, so that the second one covers all. */
	if ((code = bytes_of(&m.bytes_before, repo, err)) != WR_OK ||
	    (code = wr_keeper_care(&first, &did, repo, NULL, cancel, err)) != WR_OK ||
	    (code = wr_keeper_care(&c, &did, repo, &manner, cancel, err)) != WR_OK ||
	    (code = bytes_of(&m.bytes_after, repo, err)) != WR_OK)
		return code;
	m.cruft_objects = c.cruft;
	m.dropped_objects = first.dropped + c.dropped;
	m.rebased = first.rebased || c.rebased;
	*out = m;
	return WR_OK;
}
