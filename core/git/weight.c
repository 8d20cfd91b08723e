#include "core/git/weight.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/git/git_internal.h"
#include "core/git/journal_internal.h"

/* Descriptors of a folder: itself, warren/ and its lock; and the journal's. What most repositories need twice over. */
#define FOLDER_FDS 3
#define FDS_OF_A_REPO 8
#define SHARE 4
/* The kernel's default, where it does not say. */
#define MAPS 65530
/* A row of a journal and its places in the tables that find it. */
#define ROW_BYTES (sizeof(struct wr_journal_slot) + 32)

static void weigh_journal(struct wr_weight *w, const struct wr_journal *j)
{
	w->fds++;
	w->maps++;
	w->bytes += sizeof *j + (uint64_t)atomic_load(&j->rows) * ROW_BYTES +
		    (uint64_t)atomic_load(&j->records) * sizeof(struct wr_journal_place);
}

static void weigh_member(struct wr_weight *w, const struct wr_member *m)
{
	w->maps += m->pack->rev ? 3 : 2;
	w->bytes += sizeof *m->pack;
	if (atomic_load(&m->pack->order))
		w->bytes += (uint64_t)m->pack->count * sizeof(uint32_t);
	if (m->dead)
		w->bytes += (uint64_t)m->dead->count * 2 * sizeof(uint32_t);
}

static void weigh_snapshot(struct wr_weight *w, const struct wr_snapshot *snap)
{
	uint64_t marks = (atomic_load(&snap->suspects) ? 1u : 0u) + (atomic_load(&snap->gone) ? 1u : 0u);
	uint64_t refs = snap->overlay ? snap->overlay->count : 0;

	for (size_t i = 0; i < snap->member_count; i++) {
		weigh_member(w, &snap->members[i]);
		w->bytes += marks * snap->members[i].pack->count / 8;
	}
	for (size_t i = 0; i < snap->journal_count; i++)
		weigh_journal(w, snap->journals[i]);
	w->maps += snap->stored != NULL;
	w->bytes += sizeof *snap + refs * sizeof(struct wr_ref) + (snap->overlay ? snap->overlay->text_len : 0);
	if (atomic_load(&snap->flat))
		w->bytes += (refs + (snap->stored ? wr_refsfile_count(snap->stored) : 0)) * sizeof(struct wr_ref);
}

void wr_repo_weigh(struct wr_weight *out, struct wr_git_repo *repo)
{
	struct wr_weight w = {0, 0, 0};

	pthread_mutex_lock(&repo->mutex);
	if (repo->folder) {
		w.fds = FOLDER_FDS;
		for (size_t i = 0; i < repo->folder->old_count; i++)
			weigh_journal(&w, repo->folder->old[i].journal);
	}
	if (repo->snap)
		weigh_snapshot(&w, repo->snap);
	pthread_mutex_unlock(&repo->mutex);
	w.bytes += sizeof *repo;
	*out = w;
}

size_t wr_weight_repos(const struct wr_weight *room, unsigned idle_repos)
{
	uint64_t n = room->fds / (FOLDER_FDS + 1);

	return n < idle_repos ? (size_t)n : idle_repos;
}

static uint64_t maps_allowed(void)
{
	WR_AUTO_FD int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
	char text[32];
	ssize_t len = fd >= 0 ? read(fd, text, sizeof text) : -1;
	uint64_t n;

	/* Digits and the end of a line. */
	if (len < 2 || !wr_str_u64(wr_str_n(text, (size_t)len - 1), INT64_MAX, &n))
		return MAPS;
	return n;
}

void wr_git_room(struct wr_weight *out, const struct wr_git_config *cfg)
{
	uint64_t fds = (uint64_t)cfg->idle_repos * FDS_OF_A_REPO;
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur != RLIM_INFINITY && lim.rlim_cur / SHARE < fds)
		fds = lim.rlim_cur / SHARE;
	out->fds = fds;
	out->maps = maps_allowed() / SHARE;
	out->bytes = cfg->idle_bytes ? cfg->idle_bytes : UINT64_MAX;
}
