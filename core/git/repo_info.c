#include "core/git/git_internal.h"

void wr_git_info_fini(struct wr_git_info *info)
{
	free(info->packs);
	info->packs = NULL;
}

static const char *role_name(enum wr_role role)
{
	static const char *const names[] = {"base", "tail", "other", "cruft"};

	return names[role];
}

enum wr_code wr_git_repo_info(struct wr_git_info *out, struct wr_git_repo *repo, struct wr_error *err)
{
	WR_AUTO_S(wr_git_info) info = {.exists = false};
	WR_AUTO(wr_snapshot) *snap = NULL;
	size_t checkpointed, refs;
	enum wr_code code;

	if ((code = wr_repo_current(&snap, &info.exists, repo, err)) != WR_OK ||
	    (code = wr_snapshot_flatten(snap, err)) != WR_OK)
		return code;
	info.packs = calloc(snap->member_count + 1, sizeof *info.packs);
	if (!info.packs)
		return wr_fail_nomem(err);
	wr_snapshot_refs(snap, &refs);
	info.refs = refs;
	info.seq = snap->seq;
	info.lost = snap->lost;
	pthread_mutex_lock(&repo->mutex);
	if (repo->folder) {
		info.checkpoint = repo->folder->checkpoint;
		info.read_only = repo->folder->damaged || repo->folder->to_copy;
	}
	pthread_mutex_unlock(&repo->mutex);
	info.journals = snap->journal_count;
	for (size_t i = 0; i < snap->journal_count; i++) {
		info.journal_bytes += wr_journal_size(snap->journals[i]);
		info.journal_records += wr_journal_flushed(snap->journals[i]);
	}
	checkpointed = snap->stored ? wr_refsfile_pack_count(snap->stored) : 0;
	for (size_t i = 0; i < snap->member_count; i++) {
		const struct wr_member *m = &snap->members[i];
		struct wr_git_pack_info *p = &info.packs[info.pack_count++];

		snprintf(p->name, sizeof p->name, "%s", m->pack->name);
		p->role = i < checkpointed ? role_name(m->role) : "journal";
		p->objects = m->pack->count;
		p->bytes = m->pack->size;
		p->dead = m->dead ? m->dead->count : 0;
	}
	*out = info;
	info.packs = NULL;
	return WR_OK;
}
